"""The gap, its root delta_NN(t), and the curve against the horizon."""
