"""Mini-batches, momentum, schedules and a trained second layer: exact answers, simulations."""

import numpy as np
import problems
import pytest
from algorithm_options import COSINE, OPTIONS, PAIR, method_with, pair_for

import dmft

# -- exact answers ---------------------------------------------------------------------------------


def linear_moments(delta, etas, momentum, decay, noise, radius, nesterov=False):
    """M, C(t, t), |grad|^2 and train loss of a linear neuron: polynomials of the Gram matrix.

    Theta^t = P_t(S) Theta^0 + Q_t(S) X^T y / n, by the recursion of the algorithm on both.
    """
    x, w = problems.marchenko_pastur_nodes(delta)
    P, Q, VP, VQ = np.ones_like(x), np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    rho2, s2 = radius**2, noise**2 / delta
    out = []
    for t in range(len(etas) + 1):
        moments = rho2 * P**2 + (x * Q) ** 2 + s2 * x * Q**2
        miss = rho2 * (x * P) ** 2 + (x * (x * Q - 1.0)) ** 2 + s2 * x * (x * Q - 1.0) ** 2
        squares = rho2 * x * P**2 + x * (x * Q - 1.0) ** 2 + s2 * ((x * Q - 1.0) ** 2 - 1.0)
        loss = 0.5 * (squares @ w + noise**2)
        out.append(((x * Q) @ w, moments @ w, miss @ w, loss))
        if t < len(etas):
            GP, GQ = (x + decay) * P, (x + decay) * Q - 1.0
            VP, VQ = momentum * VP + GP, momentum * VQ + GQ
            if nesterov:
                P, Q = P - etas[t] * (GP + momentum * VP), Q - etas[t] * (GQ + momentum * VQ)
            else:
                P, Q = P - etas[t] * VP, Q - etas[t] * VQ
    return np.array(out).T


@pytest.mark.slow
@pytest.mark.parametrize("delta", [0.5, 3.0])
@pytest.mark.parametrize(
    "settings",
    [
        {"step_size": 0.05, "momentum": 0.9},
        {"step_size": 0.05, "momentum": 0.9, "nesterov": True},
        {"step_size": COSINE},
        {"step_size": dmft.InverseTime(0.4, 5.0), "momentum": 0.5},
        {"step_size": [0.3, 0.0, 0.1] * 10},
    ],
    ids=["momentum", "nesterov", "cosine", "both", "list"],
)
def test_linear_network_is_exact(delta, settings):
    problem = dmft.Problem(
        dmft.Target("linear", noise=0.5), dmft.Network("linear"), init_radius=1.0, weight_decay=0.3
    )
    method = dmft.GradientDescent(n_steps=30, **settings)
    got = dmft.solve(problem, delta, method, dmft.Sampling(n_paths=8192, replicates=4))
    M, C, square, loss = linear_moments(
        delta, method.step_sizes, method.momentum, 0.3, 0.5, 1.0, method.nesterov
    )
    assert np.abs(got.overlap[:, 0, 0] - M).max() < 1e-3
    assert np.abs(got.norm[:, 0, 0] - C).max() < 1e-3
    assert np.abs(got.gradient_norm - np.sqrt(square)).max() < 2e-3
    assert np.abs(got.train_loss - loss).max() < 1e-3


def test_the_formula_without_options_is_that_of_the_bank():
    exact = problems.LinearNetwork(3.0, 0.1, 0.3, 0.5, 1.0).solve(20)
    M, C, _, loss = linear_moments(3.0, [0.1] * 20, 0.0, 0.3, 0.5, 1.0)
    np.testing.assert_allclose(M, exact["M"], atol=1e-8)
    np.testing.assert_allclose(C, np.diag(exact["C"]), atol=1e-8)
    np.testing.assert_allclose(loss, exact["train_loss"], atol=1e-8)


def test_the_second_layer_of_a_linear_network():
    """One neuron, small steps of a alone: a(t) follows the exact average of its gradient."""
    problem = dmft.Problem("linear", dmft.Network("linear"), second_layer_weight_decay=0.2)
    method = dmft.GradientDescent([0.0] * 6, 6, second_layer_step_size=0.3, momentum=0.5)
    found = dmft.solve(problem, 2.0, method, dmft.Sampling(n_paths=8192))
    a, W, exact = 1.0, 0.0, [1.0]
    for _ in range(6):
        W = 0.5 * W + a + 0.2 * a  # E[(a r - z) r] = a, r independent of z
        a -= 0.3 * W
        exact.append(a)
    np.testing.assert_allclose(found.second_layer[:, 0], exact, atol=3e-4)
    np.testing.assert_allclose(found.norm[:, 0, 0], 1.0, atol=1e-12)
    np.testing.assert_allclose(found.test_loss, 0.5 * (1.0 + np.array(exact) ** 2), rtol=1e-4)


# -- against gradient descent at finite d ----------------------------------------------------------


@pytest.fixture(scope="module")
def plain():
    return dmft.solve(PAIR, 3.0, dmft.GradientDescent(0.2, 10), dmft.Sampling(n_paths=4096))


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.parametrize("name", OPTIONS)
def test_theory_agrees_with_simulation(plain, name):
    method, pair = method_with(name), pair_for(name)
    trajectory = dmft.solve(pair, 3.0, method, dmft.Sampling(n_paths=4096))
    runs = [
        dmft.simulate(pair, 3.0, method, d, 16, hold_hard=True, hessian_steps=[10], workers=1)
        for d in (80, 160)
    ]
    comparison = dmft.compare(trajectory, runs)
    assert not comparison.significant, comparison.table()
    assert ("second_layer" in comparison.quantities) is method.trains_second_layer
    assert ("biases" in comparison.quantities) is method.trains_biases
    # And plain descent does not, or nothing would have been shown.
    moved = np.abs(plain.norm - trajectory.norm)
    assert np.any(moved > 4.0 * np.hypot(plain.stderr["norm"], trajectory.stderr["norm"]) + 1e-3)
