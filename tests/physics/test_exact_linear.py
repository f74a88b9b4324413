"""Linear network, square loss: the solver against Marchenko-Pastur integrals, to 5e-4."""

from __future__ import annotations

import finite_size
import numpy as np
import problems
import pytest

import dmft

STEPS, ETA = 50, 0.1
SETTINGS = [
    pytest.param(delta, decay, noise, radius, id=f"delta{delta}-lam{decay}-s{noise}-rho{radius}")
    for delta in (0.5, 3.0, 10.0)
    for decay, noise, radius in (
        (0.0, 0.0, 1.0),
        (0.5, 0.0, 1.0),
        (0.0, 0.5, 1.0),
        (0.5, 0.5, 1.0),
        (0.5, 0.0, 0.0),
        (0.0, 0.5, 0.0),
    )
]


def solve(delta, decay, noise, radius, n_steps=STEPS, **sampling):
    problem = dmft.Problem(
        target=dmft.Target(label="linear", noise=noise),
        network=dmft.Network(activation="linear", second_layer=[1.0]),
        loss="square",
        init_radius=radius,
        weight_decay=decay,
    )
    return dmft.solve(
        problem,
        delta=delta,
        method=dmft.GradientDescent(step_size=ETA, n_steps=n_steps),
        sampling=dmft.Sampling(**({"n_paths": 8192, "replicates": 4, "seed": 0} | sampling)),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("delta", "decay", "noise", "radius"), SETTINGS)
def test_order_parameters_and_losses(delta, decay, noise, radius):
    exact = problems.LinearNetwork(delta, ETA, decay, noise, radius).solve(STEPS)
    trajectory = solve(delta, decay, noise, radius)
    steps = np.arange(STEPS + 1)
    got = {
        "M": trajectory.overlap[:, 0, 0],
        "C": trajectory.correlation[steps, steps, 0, 0],
        "train_loss": trajectory.train_loss,
        "test_loss": trajectory.test_loss,
    }
    exact["C"] = np.diag(exact["C"])
    worst = {name: np.abs(got[name] - exact[name]).max() for name in got}
    assert max(worst.values()) < 5e-4, worst


@pytest.mark.parametrize("delta", [0.5, 3.0])
def test_two_time_functions(delta):
    """C(t,s), G(t,s) and the response R(t,s), ten steps."""
    exact = problems.LinearNetwork(delta, ETA, 0.5, 0.5, 1.0).solve(10)
    trajectory = solve(delta, 0.5, 0.5, 1.0, n_steps=10)
    for name, key in (
        ("correlation", "C"),
        ("gradient_covariance", "G"),
        ("response", "R"),
    ):
        got = getattr(trajectory, name)[:, :, 0, 0]
        if name == "response":  # later ones divide by innovations at rounding level: NaN
            known = trajectory.response_steps + 1
            assert known > 6
            got, exact["R"] = got[:known, :known], exact["R"][:known, :known]
        np.testing.assert_allclose(got, exact[key], rtol=0, atol=2e-3, err_msg=name)


def test_published_overlaps():
    """The bank's formula gives the recorded numbers, and the solver gives the formula's."""
    exact = problems.LinearNetwork(3.0, ETA, 0.5, 0.0, 0.0).solve(50)["M"]
    for step, value in problems.LINEAR_OVERLAP.items():
        assert exact[step] == pytest.approx(value, abs=1e-8)


@pytest.mark.slow
@pytest.mark.simulation
def test_formula_agrees_with_finite_size():
    """The closed form itself, against sixteen runs at d = 800."""
    settings = {
        "activation": problems.ACTIVATIONS["linear"],
        "loss": problems.LOSSES["square"],
        "label": lambda z, eps: z[:, 0] + 0.5 * eps,
        "k": 1,
        "second_layer": (1.0,),
        "delta": 0.5,
        "step_size": ETA,
        "n_steps": 8,
        "weight_decay": 0.3,
    }
    exact = problems.LinearNetwork(0.5, ETA, 0.3, 0.5, 1.0).solve(8)
    runs = finite_size.ensemble(range(16), d=800, **settings)
    mean, error = finite_size.mean_and_error(runs)
    for key in ("M", "C", "G", "train_loss", "test_loss"):
        deviation = np.abs(mean[key].reshape(exact[key].shape) - exact[key])
        bound = 3.5 * error[key].reshape(exact[key].shape) + 1e-10
        assert np.all(deviation <= bound), key
