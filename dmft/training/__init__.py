"""Training algorithms: gradient descent and its options, gradient flow, step-size schedules."""
