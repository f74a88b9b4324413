"""Samples that are new in each step: exact recursions, runs of finite dimension, no memory."""

import numpy as np
import pytest

import dmft
from dmft.cli import main
from dmft.model.gradients import curvature, pre_activation_gradient
from dmft.solver.fresh_batches import neuron_factor

SAMPLING = dmft.Sampling(n_paths=1024, replicates=8, seed=2)
PAIR = dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, -0.5]), "pseudo-huber")


def fresh(n_steps, eta=0.2, **more):
    return dmft.GradientDescent(eta, n_steps, fresh_batches=True, **more)


def bits(trajectory):
    names = ("norm", "overlap", "train_loss", "test_loss", "gradient_norm", "second_layer")
    return [getattr(trajectory, name).tobytes() for name in names]


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_linear_regression_follows_its_exact_recursion(decay):
    """With e = theta - theta_*, y = z: gradient e + noise of variance |e|^2 / delta a dimension."""
    eta, delta, radius = 0.3, 2.0, 0.7
    problem = dmft.Problem("linear", dmft.Network("linear"), init_radius=radius, weight_decay=decay)
    found = dmft.solve(problem, delta, fresh(12, eta), dmft.Sampling(4096, 8))
    M, C, exact = 0.0, radius**2, []
    for _ in range(13):
        square = C - 2.0 * M + 1.0  # |e|^2, the mean square of r - y
        exact.append((M, C, 0.5 * square, np.sqrt(square * (1.0 + 1.0 / delta))))
        keep = 1.0 - eta * (1.0 + decay)
        M, C = (
            keep * M + eta,
            keep**2 * C + 2.0 * keep * eta * M + eta**2 + eta**2 * square / delta,
        )
    for name, expected in zip(
        ("overlap", "norm", "train_loss", "gradient_norm"), np.array(exact).T, strict=True
    ):
        values, error = getattr(found, name).reshape(13, -1)[:, 0], found.stderr[name]
        bound = 4.0 * error.reshape(13, -1)[:, 0] + 1e-3
        assert np.all(np.abs(values - expected) < bound), name
    np.testing.assert_allclose(found.train_loss, found.test_loss, atol=2e-3)


@pytest.mark.slow
@pytest.mark.simulation
def test_runs_of_finite_dimension_agree():
    """Everything, the Hessian too, at two sizes; reused samples are told apart with certainty."""
    method = fresh(10)
    theory = dmft.solve(PAIR, 4.0, method, SAMPLING)
    runs = [
        dmft.simulate(
            PAIR, 4.0, method, d=d, seeds=12, hold_hard=True, hessian_steps=(0, 10), workers=1
        )
        for d in (100, 200)
    ]
    assert not dmft.compare(theory, runs).significant
    reused = dmft.solve(PAIR, 4.0, dmft.GradientDescent(0.2, 10), SAMPLING)
    moved = np.abs(reused.norm[10] - theory.norm[10])
    assert np.all(
        np.diag(moved) > 10.0 * np.diag(np.hypot(reused.stderr["norm"], theory.stderr["norm"])[10])
    )


def test_first_step_is_that_of_reused_samples():
    """Nothing has been used before it."""
    one, other = (
        dmft.solve(PAIR, 4.0, m, SAMPLING) for m in (fresh(1), dmft.GradientDescent(0.2, 1))
    )
    np.testing.assert_allclose(one.norm[1], other.norm[1], rtol=2e-3)
    np.testing.assert_allclose(one.overlap[1], other.overlap[1], atol=1e-12)


@pytest.mark.slow
def test_outlier_of_an_easy_direction():
    """Its value, and its overlaps with the latent direction and with the neuron, at d = 200."""
    problem = dmft.Problem("linear", dmft.Network("quadratic", [0.5]), "pseudo-huber")
    delta, d, eta, n_steps = 40.0, 200, 0.1, 8
    law = dmft.solve(problem, delta, fresh(n_steps, eta), SAMPLING).hessian(n_steps)
    (outlier,) = law.outliers()
    assert outlier.hard_overlap == 0.0
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        theta = rng.standard_normal(d)
        theta[0] = 0.0
        theta /= np.linalg.norm(theta)
        for _ in range(n_steps + 1):
            x = rng.standard_normal((round(delta * d), d))
            r, y = (x @ theta)[np.newaxis], x[:, 0]
            D = curvature(problem, r, y)[:, 0, 0]
            at = theta / np.linalg.norm(theta)
            g, _ = pre_activation_gradient(problem, r, y)
            theta = theta - eta * (g[0] @ x) / len(x)
        values, vectors = np.linalg.eigh((x.T * D) @ x / len(x))
        found.append((values[0], vectors[0, 0] ** 2, (vectors[:, 0] @ at) ** 2))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(12)
    assert abs(mean[0] - outlier.value) < 4.0 * error[0]
    assert abs(mean[1] - outlier.latent_overlap[0]) < 4.0 * error[1]
    assert abs(mean[2] - outlier.neuron_overlap[0, 0]) < 4.0 * error[2] + 5.0 / d


@pytest.mark.slow
def test_threshold_with_fresh_samples():
    """One neuron: at step 0 there is no difference, later it is a number of its own."""
    problem = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
    start = dmft.find_delta_nn(problem, fresh(4), (1, 4), 0, SAMPLING)
    assert start.value == pytest.approx(1.69276, abs=1e-4)
    curve = dmft.delta_nn_curve(problem, fresh(20), (0.8, 4), [0, 5, 20], SAMPLING)
    assert curve.status.ok
    reused = dmft.delta_nn_curve(problem, dmft.GradientDescent(0.2, 20), (1, 6), [20], SAMPLING)
    assert curve.value[2] < reused.value[0] - 5.0 * np.hypot(curve.stderr[2], reused.stderr[0])


@pytest.mark.slow
def test_any_combination(tmp_path):
    """Schedule, momentum, second layer; resumed from a checkpoint to the same bits."""
    method = fresh(8, {"schedule": "cosine", "peak": 0.3}, momentum=0.5, second_layer_step_size=0.1)
    whole = dmft.solve(PAIR, 3.0, method, SAMPLING)
    ticks = []

    def stop(count):
        ticks.append(count)
        if len(ticks) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dmft.solve(
            PAIR, 3.0, method, SAMPLING, checkpoint=tmp_path, checkpoint_seconds=0.0, progress=stop,
            threads=1,
        )  # fmt: skip
    resumed = dmft.solve(PAIR, 3.0, method, SAMPLING, checkpoint=tmp_path)
    assert bits(resumed) == bits(whole)
    assert np.abs(whole.second_layer[8] - whole.second_layer[0]).min() > 1e-3
    steps = dmft.GradientDescent.from_config(method.to_config())
    assert bits(dmft.solve(PAIR, 3.0, steps, SAMPLING)) == bits(whole)
    runs = [
        dmft.simulate(PAIR, 3.0, method, d=d, seeds=8, hold_hard=True, workers=1)
        for d in (100, 200)
    ]
    assert not dmft.compare(whole, runs).significant


def test_factor_of_the_weights():
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((3, 2 + 7))
    L, rows = neuron_factor(weights, 2)
    np.testing.assert_allclose(L @ rows, weights[:, 2:], atol=1e-14)
    np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-14)
    assert np.all(np.diag(L) > 0.0)
    assert np.all(np.triu(L, 1) == 0.0)


def test_bad_input():
    with pytest.raises(ValueError, match="fresh_batches must be True or False, got 1"):
        dmft.GradientDescent(0.2, 4, fresh_batches=1)
    with pytest.raises(ValueError, match="batch_fraction must be 1 with fresh_batches"):
        fresh(4, batch_fraction=0.5)
    start = dmft.Problem("phase-retrieval", dmft.Network("gelu"), initial_overlap=[[0.1]])
    with pytest.raises(ValueError, match="fresh_batches must be False for a problem that starts"):
        dmft.solve(start, 3.0, fresh(4), SAMPLING)


def test_command_line(tmp_path, capsys):
    arguments = "trajectory --preset easy-hard --n-steps 3 --n-paths 512 --json --fresh-batches"
    assert main([*arguments.split(), "--out", str(tmp_path)]) == 0
    assert '"fresh_batches": true' in capsys.readouterr().out
    loaded = dmft.Trajectory.load(next(tmp_path.glob("*.npz")))
    assert loaded.method.fresh_batches
