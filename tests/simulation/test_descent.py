"""Gradient descent on given data: every option against the algorithm written down once more."""

import numpy as np
import problems
import pytest
from algorithm_options import GELU, OPTIONS, PAIR, method_with, pair_for

import dmft
from dmft.simulation.descent import descend
from dmft.simulation.finite_data import draw_batch


@pytest.mark.parametrize("name", OPTIONS)
def test_descent_is_what_it_says(name):
    """The simulation against the algorithm written down once more, on the same data."""
    method = method_with(name, 6)
    rng = np.random.default_rng(0)
    n, d, m = 60, 20, 2
    X, frame = rng.standard_normal((n, d)), np.eye(2, d)
    y = PAIR.sample_labels(X[:, :2], np.zeros(n))
    theta = rng.standard_normal((m, d)) / np.sqrt(d)
    value, slope = problems.ACTIVATIONS["gelu"][:2]
    loss_slope = problems.LOSSES["pseudo-huber"][1]
    p = method.batch_fraction

    def masks(t):
        return draw_batch(n, d, 7, p, t)

    problem = pair_for(name)
    run = descend(problem, X, y, theta, frame, method, masks=masks)
    on_spheres = method.constraint == "sphere"
    if on_spheres:
        theta = theta / np.linalg.norm(theta, axis=1, keepdims=True)
    a, V, W = np.array([1.0, -0.5]), np.zeros((m, d)), np.zeros(m)
    c, U = np.zeros(m), np.zeros(m)
    for t in range(7):
        r = theta @ X.T + c[:, None]
        residual = loss_slope(a @ value(r), y)
        g = a[:, None] * slope(r) * residual
        np.testing.assert_allclose(run.correlation[t], theta @ theta.T, atol=1e-12)
        np.testing.assert_allclose(run.second_layer[t], a, atol=1e-12)
        np.testing.assert_allclose(run.biases[t], c, atol=1e-12)
        np.testing.assert_allclose(run.gradient_norm[t], np.linalg.norm(g @ X / n), atol=1e-12)
        np.testing.assert_allclose(run.gradient_covariance[t], g @ g.T / n, atol=1e-12)
        if t == 6:
            break
        b = masks(t) / p
        G = (g * b) @ X / n + problem.weight_decay * theta
        H = (value(r) * residual) @ b / n + 0.1 * a
        V, W = method.momentum * V + G, method.momentum * W + H
        if method.nesterov:
            G, H = G + method.momentum * V, H + method.momentum * W
        else:
            G, H = V, W
        theta = theta - method.step_sizes[t] * G
        a = a - method.second_layer_step_sizes[t] * H
        if on_spheres:
            theta = theta / np.linalg.norm(theta, axis=1, keepdims=True)
        K = g @ b / n + 0.2 * c
        U = method.momentum * U + K
        c = c - method.bias_step_sizes[t] * (K + method.momentum * U if method.nesterov else U)


def test_batches_are_their_own_random_numbers():
    """Data and start do not depend on them, and a shorter run has the same ones."""
    plain = dmft.simulate(GELU, 3.0, dmft.GradientDescent(0.2, 4), 30, 2, workers=1)
    batch = method_with("batches", 8)
    long, short = (
        dmft.simulate(GELU, 3.0, each, 30, 2, workers=1) for each in (batch, batch.until(4))
    )
    assert np.array_equal(long.train_loss[:, 0], plain.train_loss[:, 0])
    assert np.array_equal(long.gradient_norm[:, :2][:, 0], plain.gradient_norm[:, 0])
    assert np.array_equal(long.correlation[:, :5], short.correlation)
    assert not np.array_equal(long.correlation[:, 1], plain.correlation[:, 1])
    with pytest.raises(ValueError, match="masks must be given"):
        descend(GELU, np.eye(3), np.ones(3), np.ones((1, 3)), np.eye(1, 3), batch)
