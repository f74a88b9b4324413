"""Gradient descent with each of its options, and two problems to train with it."""

import dataclasses

import numpy as np

import dmft

SAMPLING = dmft.Sampling(n_paths=1024, replicates=4, seed=3)
GELU = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
PAIR = dmft.Problem(
    "easy-hard",
    dmft.Network("gelu", [1.0, -0.5]),
    "pseudo-huber",
    weight_decay=0.05,
    second_layer_weight_decay=0.1,
    bias_weight_decay=0.2,
)
COSINE = {"schedule": "cosine", "peak": 0.3, "final": 0.0, "warmup_steps": 3}
OPTIONS = {
    "batches": {"batch_fraction": 0.5},
    "momentum": {"step_size": 0.1, "momentum": 0.8},
    "schedule": {"step_size": COSINE},
    "second layer": {"second_layer_step_size": 0.2},
    "biases": {"bias_step_size": 0.4},
    "all": {
        "step_size": COSINE,
        "batch_fraction": 0.4,
        "momentum": 0.7,
        "second_layer_step_size": dmft.WarmUp(0.2, 3),
        "bias_step_size": dmft.WarmUp(0.2, 2),
    },
    "nesterov": {"step_size": 0.1, "momentum": 0.8, "nesterov": True},
    "sphere": {"constraint": "sphere"},
    "all on spheres": {
        "step_size": COSINE,
        "batch_fraction": 0.4,
        "momentum": 0.7,
        "nesterov": True,
        "second_layer_step_size": dmft.WarmUp(0.2, 3),
        "bias_step_size": dmft.WarmUp(0.2, 2),
        "constraint": "sphere",
    },
}


def method_with(name, n_steps=10):
    return dmft.GradientDescent(**{"step_size": 0.2, "n_steps": n_steps, **OPTIONS[name]})


def pair_for(name):
    """PAIR, which has no weight decay where neurons are on spheres."""
    free = "constraint" not in OPTIONS[name]
    return PAIR if free else dataclasses.replace(PAIR, weight_decay=0.0)


def bits(trajectory):
    """Everything that a trajectory reports, and the Hessian law at its last step."""
    arrays = [getattr(trajectory, name) for name in sorted(trajectory.stderr)]
    arrays += [trajectory.stderr[name] for name in sorted(trajectory.stderr)]
    law = trajectory.hessian(trajectory.n_steps)
    shares = trajectory.unstable_paths
    arrays += [law.weights, np.array(law.hard_gap()), shares.fraction, shares.gradient_share]
    return [np.asarray(array).tobytes() for array in arrays]
