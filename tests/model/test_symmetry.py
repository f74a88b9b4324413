"""Neurons that start equal, or opposite, are so at every step: to the bit."""

import numpy as np
import pytest

import dmft
from dmft.model.activations import ACTIVATIONS
from dmft.model.symmetry import parity

SAMPLING = dmft.Sampling(n_paths=256, replicates=2, seed=1)
TARGET = dmft.Target(lambda z, eps: np.tanh(z[:, 0]) + 0.5 * z[:, 1] ** 2 + 0.2 * eps, k=2)
EQUAL, OPPOSITE = [[1.0, 1.0], [1.0, 1.0]], [[1.0, -1.0], [-1.0, 1.0]]
MODULUS = dmft.Activation(np.abs, np.sign, lambda r: 0.0 * r)
METHODS = {
    "descent": dmft.GradientDescent(0.3, 40),
    "momentum": dmft.GradientDescent(0.2, 15, momentum=0.8),
    "batches": dmft.GradientDescent(0.2, 15, batch_fraction=0.5),
    "fresh": dmft.GradientDescent(0.2, 15, fresh_batches=True),
    "second layer": dmft.GradientDescent(0.2, 15, second_layer_step_size=0.1),
    "flow": dmft.GradientFlow(10.0, tol=1e-3),
}


def make_problem(activation, layer, **settings):
    return dmft.Problem(TARGET, dmft.Network(activation, layer), "pseudo-huber", **settings)


PROBLEMS = {
    "equal": (make_problem("gelu", [1.0, 1.0], init_gram=EQUAL), 1.0, 1.0),
    "equal, kinks": (make_problem("relu", [1.0, 1.0], init_gram=EQUAL), 1.0, 1.0),
    "opposite, even": (make_problem("quadratic", [0.3, 0.3], init_gram=OPPOSITE), -1.0, 1.0),
    "opposite, own": (make_problem(MODULUS, [0.5, 0.5], init_gram=OPPOSITE), -1.0, 1.0),
    "opposite, odd": (make_problem("tanh", [1.0, -1.0], init_gram=OPPOSITE), -1.0, -1.0),
    "with a third": (
        make_problem(
            "gelu",
            [0.7, 0.7, -0.5],
            init_gram=[[1.0, 1.0, 0.2], [1.0, 1.0, 0.2], [0.2, 0.2, 1.0]],
            initial_overlap=[[0.3, 0.0], [0.3, 0.0], [0.1, 0.0]],
        ),
        1.0,
        1.0,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_theory_keeps_them(name, method):
    problem, sign, sign_of_layer = PROBLEMS[name]
    found = dmft.solve(problem, 3.0, METHODS[method], SAMPLING, threads=1)
    assert found.n_steps >= 10
    for run in found._runs:
        np.testing.assert_array_equal(run.weights[:, 1], sign * run.weights[:, 0])
        np.testing.assert_array_equal(run.gamma[:, 1], sign * run.gamma[:, 0])
        np.testing.assert_array_equal(
            run.second_layer[:, 1], sign_of_layer * run.second_layer[:, 0]
        )
        moment = run.gradient_second_moment
        np.testing.assert_array_equal(moment[:, 1, 1], moment[:, 0, 0])
        for r in run.pre_activations.values():
            np.testing.assert_array_equal(r[1], sign * r[0])
        assert np.any(run.weights[-1, 0] != run.weights[0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["descent", "momentum", "batches", "fresh", "second layer"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_runs_keep_them(name, method):
    problem, sign, sign_of_layer = PROBLEMS[name]
    sim = dmft.simulate(
        problem, 3.0, METHODS[method], d=30, seeds=2, workers=1, hold_hard=method == "descent"
    )
    np.testing.assert_array_equal(sim.correlation[..., 1, 1], sim.correlation[..., 0, 0])
    np.testing.assert_array_equal(sim.overlap[..., 1, :], sign * sim.overlap[..., 0, :])
    np.testing.assert_array_equal(
        sim.second_layer[..., 1], sign_of_layer * sim.second_layer[..., 0]
    )


def test_equal_neurons_are_one_with_a_longer_step():
    # g_j = L'(f) sigma'(r) / m: m neurons a_j = 1/m move as one with a = 1 and a step m times less.
    step, problems = 0.3, []
    problems.append(make_problem("gelu", [0.5, 0.5], init_gram=EQUAL))
    problems.append(make_problem("gelu", [1.0]))
    two, one = (
        dmft.solve(problem, 3.0, dmft.GradientDescent(eta, 8), dmft.Sampling(4096, 8), threads=1)
        for problem, eta in zip(problems, (2.0 * step, step), strict=True)
    )
    for name in ("overlap", "norm"):
        difference = getattr(two, name)[:, 0] - getattr(one, name)[:, 0]
        error = np.hypot(two.stderr[name][:, 0], one.stderr[name][:, 0])
        difference, error = difference[..., 0], error[..., 0]
        assert np.all(np.abs(difference[1:]) < 4.0 * error[1:] + 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["descent", "momentum", "batches", "fresh", "flow"])
def test_neurons_without_gradient_move_by_weight_decay_alone(method):
    # One has no output; the other is at the origin of an even activation.
    problem = make_problem(
        "quadratic", [0.4, 0.0, 0.4], init_radius=[1.0, 1.0, 0.0], weight_decay=0.1
    )
    found = dmft.solve(problem, 3.0, METHODS[method], SAMPLING, threads=1)
    for run in found._runs:
        idle, origin = run.weights[:, 1], run.weights[:, 2]
        assert not np.delete(idle, problem.k + 1, axis=1).any()
        assert not origin.any()
        if method == "descent":
            exact = (1.0 - 0.3 * 0.1) ** np.arange(41.0)
            np.testing.assert_allclose(idle[:, problem.k + 1], exact, rtol=1e-13)
    if method != "flow":
        sim = dmft.simulate(problem, 3.0, METHODS[method], d=30, seeds=1, workers=1)
        assert not sim.correlation[..., 2, :].any()


def test_neurons_that_only_look_alike_are_left_alone():
    # Opposite neurons of an odd activation with equal outputs: their sum is zero, and they part.
    problem = make_problem("tanh", [1.0, 1.0], init_gram=OPPOSITE)
    found = dmft.solve(problem, 3.0, METHODS["momentum"], SAMPLING, threads=1)
    assert np.abs(found.overlap[-1, 1, 0] + found.overlap[-1, 0, 0]) > 0.1
    # Equal neurons with different outputs.
    problem = make_problem("gelu", [1.0, 0.5], init_gram=EQUAL)
    found = dmft.solve(problem, 3.0, METHODS["momentum"], SAMPLING, threads=1)
    assert np.abs(found.overlap[-1, 1, 0] - found.overlap[-1, 0, 0]) > 0.1


def test_a_force_on_one_of_them_parts_them():
    from dmft.solver.replicates import solve_antithetic

    problem = dmft.Problem(
        "phase-retrieval",
        dmft.Network("gelu", [1.0, 1.0]),
        "pseudo-huber",
        init_gram=EQUAL,
        initial_overlap=[[0.2], [0.2]],
    )
    forcing = np.zeros((5, 2, 1))
    forcing[0, 1] = 0.1
    method = dmft.GradientDescent(0.2, 5)
    run = solve_antithetic(problem, 3.0, method, SAMPLING, forcing=forcing)
    apart = run.weights[:, 1] - run.weights[:, 0]
    np.testing.assert_allclose(apart[1, 0], -0.2 * 0.1, rtol=1e-12)
    assert np.abs(apart[2:]).max(axis=1).all()
    run = solve_antithetic(problem, 3.0, method, SAMPLING)
    np.testing.assert_array_equal(run.weights[:, 1], run.weights[:, 0])


def test_parity_of_activations():
    signs = {name: parity(activation) for name, activation in ACTIVATIONS.items()}
    assert all(signs[name] == 1 for name in ("quadratic", "abs"))
    assert all(signs[name] == -1 for name in ("tanh", "erf", "linear"))
    assert not any(signs[name] for name in ("gelu", "relu", "silu", "softplus"))
    assert parity(MODULUS) == parity(dmft.Activation(np.cosh, np.sinh, np.cosh)) == 1
