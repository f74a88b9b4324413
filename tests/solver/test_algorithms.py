"""Mini-batches, momentum, schedules and a trained second layer: theory and simulation."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import plain_algorithms
import plain_paths
import problems
import pytest
import scipy.stats

import dmft
from dmft.cli import main
from dmft.config.config import RunFile
from dmft.simulation.descent import descend
from dmft.simulation.finite_data import draw_batch
from dmft.solver.masks import MaskStream
from dmft.solver.streams import GaussianStream

SAMPLING = dmft.Sampling(n_paths=1024, replicates=4, seed=3)
GELU = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
PAIR = dmft.Problem(
    "easy-hard",
    dmft.Network("gelu", [1.0, -0.5]),
    "pseudo-huber",
    weight_decay=0.05,
    second_layer_weight_decay=0.1,
)
COSINE = {"schedule": "cosine", "peak": 0.3, "final": 0.0, "warmup_steps": 3}
OPTIONS = {
    "batches": {"batch_fraction": 0.5},
    "momentum": {"step_size": 0.1, "momentum": 0.8},
    "schedule": {"step_size": COSINE},
    "second layer": {"second_layer_step_size": 0.2},
    "all": {
        "step_size": COSINE,
        "batch_fraction": 0.4,
        "momentum": 0.7,
        "second_layer_step_size": dmft.WarmUp(0.2, 3),
    },
}


def method_with(name, n_steps=10):
    return dmft.GradientDescent(**{"step_size": 0.2, "n_steps": n_steps, **OPTIONS[name]})


def bits(trajectory):
    """Everything that a trajectory reports, and the Hessian law at its last step."""
    arrays = [getattr(trajectory, name) for name in sorted(trajectory.stderr)]
    arrays += [trajectory.stderr[name] for name in sorted(trajectory.stderr)]
    law = trajectory.hessian(trajectory.n_steps)
    shares = trajectory.unstable_paths
    arrays += [law.weights, np.array(law.hard_gap()), shares.fraction, shares.gradient_share]
    return [np.asarray(array).tobytes() for array in arrays]


# ------------------------------------------------------------------ nothing changed is no change

SAME = {
    "list": [0.2] * 10,
    "longer array": np.full(14, 0.2),
    "constant": dmft.Constant(0.2),
    "table": {"schedule": "constant", "value": 0.2},
    "warm-up of no steps": dmft.WarmUp(0.2, 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("given", SAME.values(), ids=SAME)
def test_constant_steps_are_plain_descent_to_the_last_bit(given):
    plain = dmft.GradientDescent(0.2, 10)
    method = dmft.GradientDescent(
        given, 10, batch_fraction=1.0, momentum=0.0, second_layer_step_size=0
    )
    assert method.times.tobytes() == plain.times.tobytes()
    for problem in (GELU, PAIR):
        ours, theirs = (dmft.solve(problem, 3.0, each, SAMPLING) for each in (method, plain))
        assert bits(ours) == bits(theirs)
        ours, theirs = (
            dmft.simulate(problem, 3.0, each, 40, 2, hessian_steps=[10], workers=1)
            for each in (method, plain)
        )
        for name in ours.mean:
            assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes(), name
        assert ours.hessian[10].eigenvalues.tobytes() == theirs.hessian[10].eigenvalues.tobytes()


@pytest.mark.slow
def test_a_second_layer_that_stays_is_a_fixed_one():
    """Trained by zeros: the code of a trained one, the numbers of a fixed one."""
    fixed = dmft.solve(PAIR, 3.0, dmft.GradientDescent(0.2, 8), SAMPLING)
    still = dmft.GradientDescent(0.2, 8, second_layer_step_size=[0.0] * 8)
    assert bits(dmft.solve(PAIR, 3.0, still, SAMPLING)) == bits(fixed)
    assert np.array_equal(fixed.second_layer, np.tile([1.0, -0.5], (9, 1)))
    assert not fixed.stderr["second_layer"].any()


# ------------------------------------------------------------------ exact answers


def linear_moments(delta, etas, momentum, decay, noise, radius):
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
            VP = momentum * VP + (x + decay) * P
            VQ = momentum * VQ + (x + decay) * Q - 1.0
            P, Q = P - etas[t] * VP, Q - etas[t] * VQ
    return np.array(out).T


@pytest.mark.slow
@pytest.mark.parametrize("delta", [0.5, 3.0])
@pytest.mark.parametrize(
    "settings",
    [
        {"step_size": 0.05, "momentum": 0.9},
        {"step_size": COSINE},
        {"step_size": dmft.InverseTime(0.4, 5.0), "momentum": 0.5},
        {"step_size": [0.3, 0.0, 0.1] * 10},
    ],
    ids=["momentum", "cosine", "both", "list"],
)
def test_linear_network_is_exact(delta, settings):
    problem = dmft.Problem(
        dmft.Target("linear", noise=0.5), dmft.Network("linear"), init_radius=1.0, weight_decay=0.3
    )
    method = dmft.GradientDescent(n_steps=30, **settings)
    got = dmft.solve(problem, delta, method, dmft.Sampling(n_paths=16384))
    M, C, square, loss = linear_moments(delta, method.step_sizes, method.momentum, 0.3, 0.5, 1.0)
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


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_a_batch_adds_its_noise_to_the_first_step(fraction):
    """|grad_batch|^2 = |grad|^2 + (1/p - 1) E|g|^2 / delta, seen in C(1, 1)."""
    sampling = dmft.Sampling(n_paths=8192)
    plain = dmft.solve(PAIR, 3.0, dmft.GradientDescent(0.3, 1), sampling)
    batch = dmft.solve(PAIR, 3.0, dmft.GradientDescent(0.3, 1, fraction), sampling)
    noise = 0.3**2 * (1.0 / fraction - 1.0) / 3.0 * plain.gradient_covariance[0, 0]
    expected = plain.norm[1] + noise
    error = np.hypot(batch.stderr["norm"][1], plain.stderr["norm"][1])
    assert np.all(np.abs(batch.norm[1] - expected) < 4.0 * error + 1e-12)
    assert np.all(error < 0.15 * np.abs(noise).max())
    # Full gradients are the same before any batch was used.
    assert batch.gradient_norm[0] == pytest.approx(plain.gradient_norm[0], rel=0.02)
    assert np.array_equal(batch.train_loss[0], plain.train_loss[0])


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


# ------------------------------------------------------------------ the plain twin

TWIN = dataclasses.replace(
    problems.Case(
        "twin", "gelu", (1.0, -0.5), problems.easy_and_hard, 2, "pseudo-huber",
        delta=3.0, step_size=0.2, n_steps=8, hard=(1,), weight_decay=0.05,
    )
)  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_the_solver_is_its_plain_twin(name):
    """On the same random numbers, to rounding."""
    method = method_with(name, 8)
    problem = dmft.Problem(
        dmft.Target("easy-hard"),
        dmft.Network("gelu", [1.0, -0.5]),
        "pseudo-huber",
        weight_decay=0.05,
        second_layer_weight_decay=0.1,
    )
    sampling = dmft.Sampling(n_paths=512, replicates=2, seed=5)
    streams = plain_paths.streams(problem, sampling)
    draws = [
        MaskStream(sampling, i, method.batch_fraction, stream.leading())
        for i, stream in enumerate(streams)
    ]
    leading = np.concatenate([stream.leading() for stream in streams], axis=1)
    twin = plain_algorithms.run(
        TWIN,
        TWIN.label(leading[:2].T, np.zeros(leading.shape[1])),
        leading,
        lambda t: np.concatenate([stream.block(t) for stream in streams], axis=1),
        lambda t: np.concatenate([draw.block(t) for draw in draws]) > 0.0,
        etas=method.step_sizes,
        layer_etas=method.second_layer_step_sizes,
        momentum=method.momentum,
        fraction=method.batch_fraction,
        layer_decay=0.1,
    )
    found = dmft.solve(problem, 3.0, method, sampling)
    steps = np.arange(9)
    np.testing.assert_allclose(found.norm, twin["C"], atol=1e-10)
    np.testing.assert_allclose(found.overlap, twin["M"], atol=1e-10)
    np.testing.assert_allclose(found.second_layer, twin["a"], atol=1e-10)
    np.testing.assert_allclose(found.train_loss, twin["train_loss"], atol=1e-10)
    np.testing.assert_allclose(found.gradient_covariance[steps, steps], twin["G"], atol=1e-10)
    np.testing.assert_allclose(found.gradient_norm**2, twin["square"], atol=1e-10)


def test_averages_with_and_without_the_batch_agree():
    """b^t drops out of E[(b/p) g q^T] and dl/da; |grad|^2 is that of the batch less its noise."""
    n, m, fraction = 40_000, 2, 0.5
    found = []
    for masked in (True, False):
        rng, draws = np.random.default_rng(1), np.random.default_rng(2)
        leading = rng.standard_normal((4, n))
        found.append(
            plain_algorithms.run(
                TWIN,
                TWIN.label(leading[:2].T, np.zeros(n)),
                leading,
                lambda t, rng=rng: rng.standard_normal((m, n)),
                lambda t, draws=draws: draws.random(n) < fraction,
                etas=[0.3] * 4,
                layer_etas=[0.2] * 4,
                fraction=fraction,
                orthogonalise=False,
                masked_averages=masked,
            )
        )
    for key in ("C", "M", "a", "square"):
        np.testing.assert_allclose(found[0][key], found[1][key], atol=0.02, err_msg=key)
    for each in found:
        np.testing.assert_allclose(each["inferred"], each["square"][:-1], rtol=0.04)


# ------------------------------------------------------------------ against gradient descent


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.parametrize("name", OPTIONS)
def test_theory_agrees_with_simulation(name):
    method = method_with(name)
    trajectory = dmft.solve(PAIR, 3.0, method, dmft.Sampling(n_paths=4096))
    runs = [
        dmft.simulate(PAIR, 3.0, method, d, 16, hold_hard=True, hessian_steps=[10], workers=1)
        for d in (80, 160)
    ]
    comparison = dmft.compare(trajectory, runs)
    assert not comparison.significant, comparison.table()
    assert ("second_layer" in comparison.quantities) is method.trains_second_layer
    # And plain descent does not, or nothing would have been shown.
    plain = dmft.solve(PAIR, 3.0, dmft.GradientDescent(0.2, 10), dmft.Sampling(n_paths=4096))
    moved = np.abs(plain.norm - trajectory.norm)
    assert np.any(moved > 4.0 * np.hypot(plain.stderr["norm"], trajectory.stderr["norm"]) + 1e-3)


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

    run = descend(PAIR, X, y, theta, frame, method, masks=masks)
    a, V, W = np.array([1.0, -0.5]), np.zeros((m, d)), np.zeros(m)
    for t in range(7):
        r = theta @ X.T
        residual = loss_slope(a @ value(r), y)
        g = a[:, None] * slope(r) * residual
        np.testing.assert_allclose(run.correlation[t], theta @ theta.T, atol=1e-12)
        np.testing.assert_allclose(run.second_layer[t], a, atol=1e-12)
        np.testing.assert_allclose(run.gradient_norm[t], np.linalg.norm(g @ X / n), atol=1e-12)
        np.testing.assert_allclose(run.gradient_covariance[t], g @ g.T / n, atol=1e-12)
        if t == 6:
            break
        b = masks(t) / p
        V = method.momentum * V + (g * b) @ X / n + 0.05 * theta
        W = method.momentum * W + (value(r) * residual) @ b / n + 0.1 * a
        theta = theta - method.step_sizes[t] * V
        a = a - method.second_layer_step_sizes[t] * W


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


# ------------------------------------------------------------------ masks on paths


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 0.999])
def test_masks_have_the_right_law_and_little_noise(fraction):
    sampling = dmft.Sampling(n_paths=1024, seed=1)
    leading = GaussianStream(sampling, 0, 3, 1).leading()
    stream = MaskStream(sampling, 0, fraction, leading)
    used = np.array([stream.block(t) for t in range(400)])
    assert set(np.unique(used)) <= {0.0, 1.0 / fraction}
    counts = (used > 0.0).sum(axis=0)  # of each path, over 400 steps
    tails = (
        scipy.stats.binom.cdf(counts, 400, fraction),
        scipy.stats.binom.sf(counts - 1, 400, fraction),
    )
    assert min(tail.min() for tail in tails) > 1e-7
    assert (used > 0.0).mean() == pytest.approx(fraction, rel=0.05)
    # Neighbours share a batch evenly: averages of functions of the leading coordinates are quiet.
    function = np.tanh(leading[0]) * leading[1] + leading[0] ** 2
    found = (used * function).mean(axis=1)
    independent = np.sqrt(np.mean(function**2) * (1.0 / fraction - 1.0) / 1024)
    assert found.std() < (0.85 if fraction <= 0.5 else 1.05) * independent
    assert np.array_equal(stream.block(7), MaskStream(sampling, 0, fraction, leading).block(7))


def test_masks_are_uncorrelated_in_time():
    sampling = dmft.Sampling(n_paths=4096, seed=1)
    leading = GaussianStream(sampling, 0, 2, 1).leading()
    stream = MaskStream(sampling, 0, 0.5, leading)
    used = np.array([stream.block(t) for t in range(20)]) - 1.0
    covariance = used @ used.T / 4096
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 5.0 / np.sqrt(4096)


def test_mirrored_paths_share_their_batch():
    """An overlap with the hard direction is then linear in its start, without noise of its own."""
    method = method_with("batches", 6)
    starts = (1e-3, 2e-3)
    runs = [dmft.solve(GELU.with_hard_overlap(x), 6.0, method, SAMPLING) for x in starts]
    small, large = (run.overlap[:, 0, 0] for run in runs)
    np.testing.assert_allclose(large / small, 2.0, rtol=1e-3)
    assert small[-1] > small[0]


# ------------------------------------------------------------------ steps cut short, steps of zero


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        {"step_size": list(np.linspace(0.1, 0.3, 12)), "momentum": 0.9},
        {"step_size": COSINE, "momentum": 0.9, "second_layer_step_size": COSINE},
        {"step_size": [0.0, 0.2, 0.0, *[0.1] * 9], "batch_fraction": 0.5},
    ],
    ids=["list", "cosine", "zeros"],
)
def test_a_shorter_run_is_the_beginning_of_the_longer(given):
    """Hessians at a step that was not kept come from a run that stops there: to the same bits."""
    method = dmft.GradientDescent(n_steps=12, **given)
    sampling = dmft.Sampling(n_paths=512, replicates=2, rank_tolerance=1e-4)
    kept = dmft.solve(PAIR, 3.0, method, sampling, hessian_steps=[1, 5])
    again = dmft.solve(PAIR, 3.0, method, sampling, hessian_steps=[])
    for step in (1, 5):
        assert np.array_equal(kept.hessian(step).weights, again.hessian(step).weights)
        short = method.until(step)
        assert np.array_equal(short.step_sizes, method.step_sizes[:step])
        assert np.array_equal(short.direction_weights, method.direction_weights[: step + 1])
        assert short.largest_direction_weight == method.largest_direction_weight
        assert np.array_equal(short.times, method.times[: step + 1])
        assert np.array_equal(short.until(1).step_sizes, method.step_sizes[:1])


def test_steps_of_zero_change_nothing():
    method = dmft.GradientDescent([0.2, 0.0, 0.0, 0.2, 0.0], 5)
    found = dmft.solve(PAIR, 3.0, method, SAMPLING)
    assert found.status.ok
    for name in found.stderr:
        if name not in ("response", "test_error"):
            assert np.isfinite(getattr(found, name)).all(), name
    assert np.array_equal(found.norm[1], found.norm[3])
    assert found.train_loss[1] == pytest.approx(found.train_loss[3], rel=1e-12)
    assert found.gradient_norm[1] == pytest.approx(found.gradient_norm[3], rel=1e-9)
    assert found.rank == 4  # of two steps that move, with two neurons
    assert found.unstable_paths.fraction[1] == 0.0


def test_momentum_gives_weight_to_a_gradient_of_a_step_of_zero():
    """What the first step finds moves the weights in the second."""
    method = dmft.GradientDescent([0.0, 0.3], 2, momentum=0.9)
    # The list goes on with its last entry.
    assert method.direction_weights[0] == pytest.approx(0.3 * 0.9 / (1.0 - 0.9), rel=2e-3)
    found = dmft.solve(PAIR, 3.0, method, SAMPLING)
    plain = dmft.solve(PAIR, 3.0, dmft.GradientDescent(1.9 * 0.3, 1), SAMPLING)
    # Both evaluations are at the start; their gradients are the same, and so is their direction.
    np.testing.assert_allclose(found.norm[2], plain.norm[1], rtol=1e-9)


def test_direction_weights_are_sums_over_later_steps():
    etas = np.random.default_rng(0).uniform(0.1, 0.4, 200)
    method = dmft.GradientDescent(etas, 200, momentum=0.8)
    longer = np.append(etas, np.full(100, etas[-1]))  # a list goes on with its last entry
    direct = [np.sum(0.8 ** np.arange(300 - t) * longer[t:]) for t in range(200)]
    np.testing.assert_allclose(method.direction_weights[:-1], direct, rtol=2e-3)
    assert np.all(method.direction_weights <= method.largest_direction_weight)
    constant = dmft.GradientDescent(0.1, 5, momentum=0.9)
    np.testing.assert_allclose(constant.direction_weights, 1.0, rtol=2e-3)
    assert np.array_equal(dmft.GradientDescent(etas, 9).direction_weights[:9], etas[:9])


def test_the_rank_tolerance_sees_momentum():
    """With momentum 0.9 a gradient counts ten times its step, and so opens more directions."""
    sampling = dmft.Sampling(n_paths=512, replicates=2, rank_tolerance=1e-3)
    ranks = [
        dmft.solve(GELU, 6.0, dmft.GradientDescent(eta, 20, momentum=beta), sampling).rank
        for eta, beta in ((0.2, 0.0), (0.02, 0.9), (0.02, 0.0))
    ]
    assert ranks[1] > ranks[2]
    assert ranks[0] > ranks[2]


# ------------------------------------------------------------------ unstable paths


def test_curvature_limits():
    method = dmft.GradientDescent([0.5, 0.0, 0.25], 3, batch_fraction=0.5, momentum=0.5)
    limits = method.curvature_limits(4.0, 0.1)
    np.testing.assert_allclose(limits[:3], [2.0 * (6.0 - 0.1), np.inf, 2.0 * (12.0 - 0.1)])
    plain = dmft.GradientDescent(0.5, 2).curvature_limits(4.0, 0.1)
    assert np.array_equal(plain, np.full(3, 4.0 * (2.0 / 0.5 - 0.1)))


def test_momentum_is_stable_for_longer_steps():
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    shares = [
        dmft.solve(
            problem, 1.0, dmft.GradientDescent(0.2, 1, momentum=beta), SAMPLING
        ).unstable_paths.fraction[0]
        for beta in (0.0, 0.9)
    ]
    assert shares[0] > shares[1]


# ------------------------------------------------------------------ files


class StopError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_a_solve_that_is_stopped_goes_on_to_the_same_bits(tmp_path, name):
    method = method_with(name)
    sampling = dmft.Sampling(n_paths=256, replicates=2, seed=3)
    whole = dmft.solve(PAIR, 3.0, method, sampling)
    for after in (4, 17):
        ticks = []

        def stop(count, ticks=ticks, after=after):
            ticks.append(count)
            if len(ticks) > after:
                raise StopError

        with pytest.raises(StopError):
            dmft.solve(
                PAIR, 3.0, method, sampling,
                progress=stop, checkpoint=tmp_path, checkpoint_seconds=0, threads=1,
            )  # fmt: skip
    resumed = dmft.solve(PAIR, 3.0, method, sampling, checkpoint=tmp_path)
    assert bits(resumed) == bits(whole)
    other = dataclasses.replace(method, momentum=0.123)
    with pytest.raises(ValueError, match=r"method.momentum"):
        dmft.solve(PAIR, 3.0, other, sampling, checkpoint=tmp_path)


@pytest.mark.slow
def test_results_are_stored_with_the_method(tmp_path):
    method = method_with("all", 4)
    trajectory = dmft.solve(PAIR, 3.0, method, SAMPLING)
    trajectory.save(tmp_path / "trajectory")
    loaded = dmft.Trajectory.load(tmp_path / "trajectory.npz")
    assert loaded.method == method
    assert bits(loaded) == bits(trajectory)
    simulation = dmft.simulate(PAIR, 3.0, method, 30, 2, workers=1, checkpoint=tmp_path / "seeds")
    simulation.save(tmp_path / "simulation")
    for again in (
        dmft.Simulation.load(tmp_path / "simulation.npz"),
        dmft.simulate(PAIR, 3.0, method, 30, 2, workers=1, checkpoint=tmp_path / "seeds"),
    ):
        assert again.method == method
        assert np.array_equal(again.second_layer, simulation.second_layer)
    comparison = dmft.compare(trajectory, simulation)
    comparison.save(tmp_path / "comparison")
    text = dmft.Comparison.load(tmp_path / "comparison.npz").table()
    assert "batches of 0.4 n, momentum 0.7, second layer warm-up" in text
    other = dataclasses.replace(method, momentum=0.0)
    with pytest.raises(ValueError, match="momentum"):
        dmft.compare(dmft.solve(PAIR, 3.0, other, SAMPLING), simulation)


def test_memory_of_batches_is_counted():
    sampling = dmft.Sampling(n_paths=1024, replicates=2)
    small = 3e6
    found = dmft.solve(
        GELU, 3.0, method_with("batches", 60), sampling, max_memory=small, hessian_steps=[]
    )
    assert found.status is dmft.Status.OUT_OF_MEMORY
    assert 0 < found.n_steps < 60


# ------------------------------------------------------------------ thresholds and the rest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["batches", "all"])
def test_threshold_and_curve_agree(name):
    method = method_with(name, 4)
    sampling = dmft.Sampling(n_paths=512)
    curve = dmft.delta_nn_curve(GELU, method, (1.2, 8), sampling=sampling, points=6)
    assert np.array_equal(curve.times, method.times)
    one = dmft.find_delta_nn(GELU, method, (1.2, 8), step=4, sampling=sampling, scan_points=5)
    assert abs(one.value - curve.value[-1]) < one.stderr + 1e-3
    spectrum = dmft.spectrum(dmft.solve(GELU, 4.0, method, sampling), 4)
    assert spectrum.config["method"] == method.to_config()


@pytest.mark.slow
def test_the_hessian_has_the_second_layer_of_its_step():
    """Weights D are those of a(t), for all paths and for each replicate."""
    from dmft.model.gradients import curvature

    method = method_with("second layer", 6)
    trajectory = dmft.solve(PAIR, 3.0, method, SAMPLING)
    law = trajectory.hessian(6)
    for index, one in enumerate([law, *law.replicates]):
        run = trajectory._runs[index]
        at = PAIR.with_second_layer(run.second_layer[6])
        D = curvature(at, run.pre_activations[6], run.labels)
        assert np.array_equal(one.weights, D)
    assert np.abs(trajectory.second_layer[6] - [1.0, -0.5]).max() > 0.05


def test_grokking_is_for_plain_descent():
    for name in OPTIONS:
        with pytest.raises(ValueError, match="method must be full-batch gradient descent"):
            dmft.predict_grokking(GELU, 6.0, method_with(name), 100)


def test_a_sweep_follows_its_schedule():
    method = method_with("schedule", 4)
    result = dmft.sweep(GELU, [2.0, 6.0], method, d=30, seeds=2, workers=1)
    assert result.config["method"] == method.to_config()
    assert np.isfinite(result.train_loss).all()


def test_a_custom_law_takes_every_option():
    """No compiled kernel: the same numbers as with one."""
    mine = dmft.Activation(
        np.tanh,
        lambda r: 1.0 - np.tanh(r) ** 2,
        lambda r: -2.0 * np.tanh(r) * (1.0 - np.tanh(r) ** 2),
        name="mine",
    )
    method = method_with("all", 5)
    found = [
        dmft.solve(
            dmft.Problem("staircase", dmft.Network(activation, [1.0, 0.5]), "square"),
            3.0, method, dmft.Sampling(n_paths=256, replicates=2),
        )
        for activation in ("tanh", mine)
    ]  # fmt: skip
    for name in ("norm", "second_layer", "train_loss", "gradient_norm"):
        ours, theirs = (getattr(each, name) for each in found)
        np.testing.assert_allclose(ours, theirs, atol=1e-9, err_msg=name)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_fraction": 0.0}, "batch_fraction must be above 0 and at most 1, got 0"),
        ({"batch_fraction": 1.5}, "batch_fraction must be above 0 and at most 1, got 1.5"),
        ({"batch_fraction": np.nan}, "batch_fraction must be a finite number, got nan"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, got 1"),
        ({"momentum": -0.1}, "momentum must be at least 0 and below 1, got -0.1"),
        ({"momentum": "0.9"}, "momentum must be a finite number, got '0.9'"),
        ({"step_size": [0.1] * 4}, "step_size must have at least n_steps = 5 entries, got 4"),
        ({"step_size": [0.1, -0.1] * 4}, "step_size must have entries >= 0, got -0.1"),
        ({"step_size": [0.1, np.nan] * 4}, "step_size must have finite entries"),
        ({"step_size": [[0.1] * 5]}, r"a schedule, got shape \(1, 5\)"),
        ({"step_size": ["a"] * 5}, "step_size must be a number, a sequence of numbers"),
        ({"step_size": 0.0}, "step_size must be a positive finite number, got 0.0"),
        ({"step_size": {"peak": 0.1}}, "step_size must have a key 'schedule'"),
        ({"step_size": {"schedule": "cosin"}}, "did you mean 'cosine'"),
        ({"step_size": {"schedule": "cosine"}}, "step_size must have a key 'peak'"),
        ({"step_size": {**COSINE, "peek": 1}}, "did you mean 'peak'"),
        ({"step_size": {**COSINE, "final": 0.5}}, "step_size: final must be at most peak = 0.3"),
        ({"step_size": {**COSINE, "peak": 0}}, "step_size: peak must be a positive finite number"),
        ({"step_size": {"schedule": "warm-up", "peak": 1.0, "warmup_steps": 0.5}}, "warmup_steps"),
        ({"step_size": {"schedule": "inverse-time", "peak": 1, "half_time": 0}}, "half_time"),
        ({"second_layer_step_size": -0.1}, "second_layer_step_size must be a finite number >= 0"),
        ({"second_layer_step_size": "x"}, "second_layer_step_size must be a finite number >= 0"),
        ({"second_layer_step_size": [0.1]}, "second_layer_step_size must have at least n_steps"),
        ({"second_layer_step_size": None}, "second_layer_step_size must be a finite number"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        dmft.GradientDescent(**{"step_size": 0.1, "n_steps": 5, **settings})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "schedule",
    [
        dmft.Constant(0.1),
        dmft.WarmUp(0.1, 4),
        dmft.Cosine(0.4, 0.1, 2, 30),
        dmft.Cosine(0.4),
        dmft.InverseTime(0.4, 3.0),
    ],
)
def test_schedules_survive_a_file(schedule):
    method = dmft.GradientDescent(schedule, 7, 0.5, 0.9, [0.1] * 7)
    assert dmft.GradientDescent.from_config(json.loads(json.dumps(method.to_config()))) == method
    assert np.all(method.step_sizes <= schedule.largest)
    assert np.all(schedule.sizes(40, 30) >= 0.0)
    assert hash(method) == hash(dataclasses.replace(method))


def test_a_cosine_ends_where_it_should():
    sizes = dmft.Cosine(0.4, 0.1, 3).sizes(15, 10)
    np.testing.assert_allclose(sizes[:4], [0.1, 0.2, 0.3, 0.4])
    assert np.all(np.diff(sizes[3:11]) < 0.0)
    np.testing.assert_allclose(sizes[10:], 0.1)
    assert dmft.Cosine(0.4, warmup_steps=5).sizes(3, 3).max() < 0.4  # all of it warm-up
    assert dmft.Cosine(0.4, warmup_steps=5).over(3).n_steps == 5


# ------------------------------------------------------------------ run files and commands

RUN = """
[target]
label = "easy-hard"
[network]
activation = "gelu"
second_layer = [1.0, -0.5]
[problem]
loss = "pseudo-huber"
second_layer_weight_decay = 0.1
[method]
step_size = {{ schedule = "cosine", peak = 0.4, final = 0.0, warmup_steps = 2 }}
n_steps = 4
{more}
[sampling]
n_paths = 128
replicates = 2
[threshold]
bracket = [1.0, 12.0]
scan_points = 2
[trajectory]
delta = 4.0
[simulation]
d = [20, 40]
seeds = 2
hessian_steps = []
[sweep]
deltas = [2.0, 4.0]
d = 20
seeds = 2
"""
MORE = "batch_fraction = 0.5\nmomentum = 0.5\nsecond_layer_step_size = [0.1, 0.2, 0.2, 0.1]"


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(more=MORE), encoding="utf-8")
    return path


def test_a_run_file_states_the_options(run_file):
    run = dmft.load_run(run_file)
    assert run.method == dmft.GradientDescent(
        dmft.Cosine(0.4, 0.0, 2), 4, 0.5, 0.5, [0.1, 0.2, 0.2, 0.1]
    )
    assert run.problem.second_layer_weight_decay == 0.1
    assert RunFile.from_config(run.to_config(), "run") == run


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("batch_fraction = 0.0", ["[method]", "batch_fraction", "above 0"]),
        ("momentum = 1.0", ["[method]", "momentum", "below 1"]),
        ("momentum = 'a'", ["method.momentum", "a number", "a string"]),
        ("second_layer_step_size = [0.1]", ["second_layer_step_size", "at least n_steps = 4"]),
        (
            "second_layer_step_size = 'a'",
            ["second_layer_step_size", "a number or a table or an array"],
        ),
        ("batch_size = 3", ["method.batch_size", "unknown key", "batch_fraction"]),
        ("t_max = 1.0", ["gradient descent", "one or the other"]),
    ],
)
def test_a_run_file_with_nonsense_is_refused(tmp_path, more, words):
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(more=more), encoding="utf-8")
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        dmft.load_run(path)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("trajectory", ""),
        ("simulate", "--workers 1"),
        ("compare", "--workers 1"),
        ("spectrum", "--delta 4 --step 2"),
        ("threshold", "--scan-points 2"),
        ("curve", "--steps 2 4 --points 4 --max-solves 4"),
        ("sweep", "--workers 1 --step 1"),
    ],
)
def test_commands_take_the_options(run_file, tmp_path, capsys, command, more):
    given = [command, str(run_file), "--out", str(tmp_path / "out"), "--json"]
    assert main([*given, *more.split()]) in (0, 3)  # so few paths may find no threshold
    out, err = capsys.readouterr()
    assert json.loads(out)
    assert "Traceback" not in err


def test_the_command_line_overrides_the_file(run_file, tmp_path, capsys):
    given = ["trajectory", str(run_file), "--out", str(tmp_path / "out")]
    options = ["--step-size", "0.1", "--batch-fraction", "0.25", "--momentum", "0.2"]
    assert main([*given, *options, "--second-layer-step-size", "0.3"]) == 0
    loaded = dmft.Trajectory.load(tmp_path / "out" / "run-trajectory.npz")
    assert loaded.method == dmft.GradientDescent(0.1, 4, 0.25, 0.2, 0.3)
    assert "batches of 0.25 n, momentum 0.2, second layer 0.3" in capsys.readouterr().out
    assert main([*given, "--momentum", "1"]) == 2
    assert "momentum must be at least 0 and below 1, got 1" in capsys.readouterr().err
    assert main([*given, "--t-max", "1", "--momentum", "0.5"]) == 2
    assert main(["grokking", str(run_file), "--d", "50", "--delta", "4"]) == 2
    assert "method must be full-batch" in capsys.readouterr().err


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_list_of_equal_steps_is_a_number(momentum):
    """Also in what counts beyond the last step: weights of directions, unstable paths."""
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    sampling = dmft.Sampling(n_paths=512, replicates=2, rank_tolerance=1e-4)
    eta = 0.3 if momentum == 0.0 else 0.02
    one, other = (
        dmft.solve(problem, 1.5, dmft.GradientDescent(size, 30, momentum=momentum), sampling)
        for size in (eta, [eta] * 30)
    )
    for name in ("norm", "train_loss", "gradient_covariance"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    assert one.unstable_paths.fraction.tobytes() == other.unstable_paths.fraction.tobytes()
    assert one.rank == other.rank
