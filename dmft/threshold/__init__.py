"""The gap lambda_min A_h, its root delta_NN(t), and the curve against the horizon."""
