"""Averages that are infinite or undefined are found, reported, and nothing else is lost."""

import numpy as np
import pytest
import small

import dmft
from dmft.hessian.hessian import initial_law
from dmft.model.curvature_support import curvature_support
from dmft.observables.integrability import average_of

METHOD = dmft.GradientDescent(0.2, 2)
SAMPLING = dmft.Sampling(n_paths=256, replicates=4)


@pytest.mark.parametrize(
    ("function", "dimension", "expected"),
    [
        (lambda q: np.abs(q[0] / q[1]), 2, np.inf),
        (lambda q: np.sqrt(1 + (q[2] ** 2 - q[0] / q[1]) ** 2), 3, np.inf),
        (lambda q: 1 / q[0], 1, np.nan),
        (lambda q: -1 / np.abs(q[0]), 1, -np.inf),
        (lambda q: np.abs(q[0]) ** -0.9, 1, 0.0),
        (lambda q: 1 / (q[0] - 1 / 3) ** 2, 1, np.inf),
        (lambda q: 1 / (q[0] ** 3 - 2), 2, np.nan),
        (lambda q: 1 / (q[0] - q[1]), 2, np.nan),
        (lambda q: np.abs(q[0] * q[1] - 1) ** -0.5, 2, 0.0),
        (lambda q: 1 / (q[0] ** 2 + q[1] ** 2), 2, np.inf),
        (lambda q: 1 / np.hypot(q[0], q[1]), 2, 0.0),
        (lambda q: np.exp(q[0] ** 2) + q[1], 2, np.inf),
        (lambda q: np.exp(0.5 * q[0] ** 2), 1, np.inf),
        (lambda q: np.exp(0.49 * q[0] ** 2) + q[1] ** 4, 2, 0.0),
        (lambda q: np.exp(q[0] * q[1]), 2, np.inf),
        (lambda q: np.exp(0.9 * q[0] * q[1]), 2, 0.0),
        (lambda q: np.exp(5 * q[0]) + q[0] ** 20, 1, 0.0),
        (lambda q: 1e6 * np.exp(-1e5 * (q[0] - 0.7) ** 2), 2, 0.0),
        (lambda q: np.log(np.abs(q[0])) + np.floor(q[1]), 2, 0.0),
        (lambda q: np.tan(q[0]), 2, np.nan),
    ],
)
def test_averages_that_do_not_exist(function, dimension, expected):
    assert average_of(function, dimension) == pytest.approx(expected, nan_ok=True)


def solve(label, k=1, loss="pseudo-huber", hard=(), method=METHOD):
    target = dmft.Target(label, k=k, hard_directions=hard)
    return small.solve(dmft.Problem(target, loss=loss), 3.0, method, SAMPLING)


@pytest.mark.parametrize(
    ("label", "k"),
    [
        (lambda z, eps: z[:, 0] / z[:, 1], 2),
        (lambda z, eps: 1 / z[:, 0], 1),
        (lambda z, eps: np.exp(z[:, 0] ** 2), 1),
        (lambda z, eps: np.abs(z[:, 0] + eps) ** -1.5, 1),
    ],
)
def test_infinite_losses_under_bounded_gradients(label, k, tmp_path):
    found = solve(label, k)
    assert found.status.ok
    assert found.loss_status is dmft.Status.UNDEFINED_AVERAGE
    assert "UNDEFINED_AVERAGE" in repr(found)
    for name in ("train_loss", "test_loss"):
        assert np.all(getattr(found, name) == np.inf)
        assert np.all(np.isnan(found.stderr[name]))
        assert np.all(np.isnan(found.bias[name]))
    assert np.all(np.isfinite(found.gradient_norm))
    assert np.all(np.isfinite(found.stderr["norm"]))
    found.save(tmp_path / "trajectory.npz")
    loaded = dmft.Trajectory.load(tmp_path / "trajectory.npz")
    assert loaded.loss_status is dmft.Status.UNDEFINED_AVERAGE
    assert np.all(loaded.train_loss == np.inf)


def test_ordinary_losses_are_left_alone():
    found = solve(lambda z, eps: z[:, 0] ** 2 + eps**3, loss="square", hard=[0])
    assert found.loss_status.ok
    assert np.all(np.isfinite(found.train_loss))


def test_no_second_moment_of_the_gradient_ends_the_trajectory():
    found = solve(lambda z, eps: z[:, 0] / z[:, 1], 2, "square")
    assert found.status is dmft.Status.UNDEFINED_AVERAGE
    assert found.n_steps == 0
    assert found.train_loss[0] == np.inf
    assert np.isnan(found.gradient_norm[0])
    with pytest.raises(dmft.NumericalFailure, match="UNDEFINED_AVERAGE"):
        dmft.solve(found.problem, 3.0, METHOD, SAMPLING, threads=1, throw=True)


@pytest.mark.slow
def test_the_gap_of_bounded_gradients_stays_a_number():
    # y = exp(z^2): the curvature of a robust loss is bounded, and so is the gap.
    case = dmft.Problem(
        dmft.Target(lambda z, eps: np.exp(z[:, 0] ** 2), hard_directions=[0]),
        dmft.Network("quadratic"),
        "pseudo-huber",
    )
    found = dmft.find_delta_nn(case, METHOD, (0.3, 20), step=0)
    assert found.status.ok
    assert found.value == pytest.approx(
        dmft.find_delta_nn(case, METHOD, (0.3, 20), step=0, digits=8).value, rel=3e-7
    )


def test_weights_with_a_pole_are_unbounded():
    loss = dmft.Loss(lambda f, y: -f * y, lambda f, y: -y, lambda f, y: 0 * f)
    for label, k in ((lambda z, eps: z[:, 0] / z[:, 1], 2), (lambda z, eps: 1 / abs(z[:, 0]), 1)):
        target = dmft.Target(label, k=k, hard_directions=range(k))
        case = dmft.Problem(target, dmft.Network("quadratic"), loss)
        assert not curvature_support(case).bounded_below
        edges = initial_law(case, 2.0, SAMPLING).edges()
        assert edges.status is dmft.Status.UNBOUNDED_EDGE
