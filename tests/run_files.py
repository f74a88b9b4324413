"""A run file that states everything that can be stated."""

FULL = """
title = "A title"
description = "Words."

[target]
label = "easy-hard"
k = 2
noise = 0.1
hard_directions = [1]

[network]
activation = "tanh"
second_layer = [1, -0.5]
neurons = 2

[problem]
loss = "pseudo-huber"
init_radius = 2
weight_decay = 0.1
initial_overlap = [[0.5, 0], [0.25, 0]]

[method]
step_size = 0.25
n_steps = 7

[sampling]
n_paths = 128
replicates = 4
seed = 3
rank_tolerance = 1e-9
sobol_blocks = 2

[threshold]
bracket = [1, 5]
step = 6
scan_points = 3

[curve]
bracket = [1, 6]
n_steps = 9
steps = [0, 3, 9]
points = 4
max_solves = 8

[trajectory]
delta = 2.5

[spectrum]
delta = 3.5
step = 4

[simulation]
d = [60, 40]
seeds = 3
delta = 1.5
inputs = { law = "student-t", degrees_of_freedom = 7 }
hessian_steps = [0, 7]
hold_hard = false
hard_overlap = [[0.1], [-0.1]]
n_extreme = 2
n_test = 50

[sweep]
bracket = [1, 16]
points = 3
d = 50
seeds = 4
n_steps = 20
recovery = 0.25
hessian_step = 20
inputs = "rademacher"

[scan]
quantity = ["threshold", "gap@2"]
design = "sobol"
points = 4
seed = 2

[scan.axes]
"target.noise" = { from = 0, to = 1.5 }
"""
