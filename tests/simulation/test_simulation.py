"""`dmft.simulate`: exact against plain numpy on the same data, in law against exact answers."""

from __future__ import annotations

import dataclasses

import finite_size
import numpy as np
import problems
import pytest

import dmft
from dmft.model.inputs import Inputs
from dmft.observables.alignment import hard_cosine
from dmft.simulation.descent import descend
from dmft.simulation.finite_data import ImposedOverlap, draw_run
from dmft.simulation.simulation_plan import SimulationPlan
from rmt.status import NumericalFailure, Status

RETRIEVAL = dmft.Problem("phase-retrieval", dmft.Network("gelu", [1.0]), "pseudo-huber")
PAIR = dmft.Problem(
    "easy-hard", dmft.Network("tanh", [1.0, -0.7]), "square", init_radius=1.3, weight_decay=0.05
)
METHOD = dmft.GradientDescent(0.4, 6)


def run_one(problem, method=METHOD, delta=3.0, d=40, **options):
    """One seed in this process."""
    return dmft.simulate(problem, delta, method, d, 1, workers=1, **options)


def plain_descent(case, X, y, theta, frame, method, held=None):
    """Gradient descent written down once more: theta (d, m), frame (d, k), held (d, k_h)."""
    value, slope = problems.ACTIVATIONS[case.activation][:2]
    loss, loss_slope = problems.LOSSES[case.loss][:2]
    a, n = np.asarray(case.second_layer), len(X)
    out = {key: [] for key in ("C", "M", "G", "train_loss", "gradient_norm")}
    keep = np.eye(len(theta)) if held is None else np.eye(len(theta)) - held @ held.T
    theta = keep @ theta
    for _ in range(method.n_steps + 1):
        r = X @ theta
        f = value(r) @ a
        g = loss_slope(f, y)[:, None] * a * slope(r)
        gradient = X.T @ g / n
        out["C"].append(theta.T @ theta)
        out["M"].append(theta.T @ frame)
        out["G"].append(g.T @ g / n)
        out["train_loss"].append(loss(f, y).mean())
        out["gradient_norm"].append(np.sqrt(np.sum(gradient**2)))
        theta = keep @ (theta - method.step_size * (gradient + case.weight_decay * theta))
    return {key: np.array(values) for key, values in out.items()}


NAMES = {
    "C": "correlation",
    "M": "overlap",
    "G": "gradient_covariance",
    "train_loss": "train_loss",
    "gradient_norm": "gradient_norm",
}


# ------------------------------------------------------------------ exact, on the same data


@pytest.mark.parametrize(
    "case", [problems.SINGLE, problems.PAIR, problems.TRIPLE], ids=lambda case: case.name
)
@pytest.mark.parametrize("hold_hard", [False, True])
def test_descent_is_plain_gradient_descent(case, hold_hard):
    """On given inputs, labels and weights the whole trajectory agrees to rounding."""
    problem, method = case.to_dmft()
    rng = np.random.default_rng(5)
    n, d = 1111, 313  # several blocks, the last one not full
    X = rng.standard_normal((n, d))
    frame = np.linalg.qr(rng.standard_normal((d, case.k)))[0]
    y = case.label(X @ frame, rng.standard_normal(n))
    theta = rng.standard_normal((d, problem.m)) / np.sqrt(d)
    hard = frame @ problem.target.hard_basis
    exact = plain_descent(case, X, y, theta, frame, method, hard if hold_hard else None)
    weights = np.ascontiguousarray(theta.T)
    found = descend(
        problem, X, y, weights, np.ascontiguousarray(frame.T), method, hold_hard=hold_hard
    )
    np.testing.assert_array_equal(weights, theta.T)  # the caller's weights are left alone
    for key, name in NAMES.items():
        np.testing.assert_allclose(
            getattr(found, name), exact[key], rtol=1e-12, atol=1e-12, err_msg=name
        )


def test_simulate_is_descent_on_the_drawn_data():
    """What a seed draws, run through plain gradient descent, gives the reported arrays."""
    case = dataclasses.replace(problems.PAIR, n_steps=6)
    problem, method = case.to_dmft()
    n, d, seed = 160, 40, 11
    data = draw_run(problem, n, d, seed, Inputs(), ImposedOverlap.of(problem, None))
    exact = plain_descent(case, data.X, data.y, data.weights.T, data.frame.T, method)
    found = dmft.simulate(problem, 4.0, method, d, [3, seed], workers=1)
    assert found.seeds == (3, seed)
    for key, name in NAMES.items():
        np.testing.assert_allclose(getattr(found, name)[1], exact[key], rtol=1e-12, atol=1e-12)
        assert not np.allclose(getattr(found, name)[0], exact[key])


def test_recorded_hessian_is_that_of_the_run():
    """Eigenvalues and hard overlap from the Hessian of the loss itself, by finite differences."""
    problem, method, n, d = PAIR, dmft.GradientDescent(0.4, 3), 60, 15
    data = draw_run(problem, n, d, 0, Inputs(), ImposedOverlap.of(problem, None))
    at = {}
    descend(
        problem, data.X, data.y, data.weights, data.frame, method,
        observe=lambda step, weights, r, _: at.update({step: weights.copy()}),
    )  # fmt: skip

    def gradient(flat):
        theta = flat.reshape(2, d)
        a = np.array([1.0, -0.7])
        f = a @ np.tanh(theta @ data.X.T)
        g = (f - data.y) * a[:, None] * (1.0 - np.tanh(theta @ data.X.T) ** 2)
        return (g @ data.X / n + problem.weight_decay * theta).ravel()

    sim = dmft.simulate(problem, n / d, method, d, 1, hessian_steps=[3, 0, 3], workers=1)
    assert list(sim.hessian) == [0, 3]
    for step, found in sim.hessian.items():
        flat, h = at[step].ravel(), 1e-5
        matrix = np.array(
            [(gradient(flat + h * e) - gradient(flat - h * e)) / (2 * h) for e in np.eye(2 * d)]
        )
        values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
        np.testing.assert_allclose(found.eigenvalues[0], values, rtol=0, atol=1e-7)
        hard = data.frame[1]  # easy-hard: the second latent direction
        overlap = np.sum((vectors[:, 0].reshape(2, d) @ hard) ** 2)
        assert found.hard_overlap[0] == pytest.approx(overlap, abs=1e-6)
        assert found.complete
        assert found.smallest.shape == found.largest.shape == found.overlaps.shape == (1, 1)
        assert found.residual[0] < 1e-10


def test_spectra_with_and_without_the_matrix():
    options = {"hessian_steps": [0, 6], "n_extreme": 3}
    dense = run_one(PAIR, **options)
    free = run_one(PAIR, dense_limit=79, **options)
    np.testing.assert_array_equal(dense.correlation, free.correlation)
    for step in (0, 6):
        a, b = dense.hessian[step], free.hessian[step]
        assert (a.complete, b.complete) == (True, False)
        assert (a.eigenvalues.shape, b.eigenvalues.shape) == ((1, 80), (1, 6))
        np.testing.assert_allclose(b.eigenvalues[0, :3], a.eigenvalues[0, :3], atol=1e-8)
        np.testing.assert_allclose(b.eigenvalues[0, 3:], a.eigenvalues[0, -3:], atol=1e-8)
        for name in ("smallest", "largest"):
            np.testing.assert_allclose(getattr(b, name), getattr(a, name), atol=1e-8)
        np.testing.assert_allclose(b.overlaps, a.overlaps, atol=1e-4)


def test_custom_laws_run_through_numpy():
    """A custom activation and loss equal to the catalogue's give the catalogue's numbers."""

    class Tanh:
        name = "my tanh"
        value = staticmethod(np.tanh)
        derivative = staticmethod(lambda r: 1.0 - np.tanh(r) ** 2)
        second_derivative = staticmethod(lambda r: -2.0 * np.tanh(r) * (1.0 - np.tanh(r) ** 2))

    custom = dmft.Problem(
        dmft.Target(lambda z, eps: np.tanh(z[:, 0]) + np.tanh(z[:, 1] ** 2 - 1.0), k=2),
        dmft.Network(Tanh(), [1.0, -0.7]), "square", init_radius=1.3, weight_decay=0.05,
    )  # fmt: skip
    a, b = run_one(PAIR, hessian_steps=[6]), run_one(custom, hessian_steps=[6])
    for name in a.mean:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(a.hessian[6].eigenvalues, b.hessian[6].eigenvalues, atol=1e-10)


# ------------------------------------------------------------------ what a seed draws


def test_frame_is_orthonormal_and_spread_out():
    data = draw_run(PAIR, 30, 400, 0, Inputs(), ImposedOverlap.of(PAIR, None))
    np.testing.assert_allclose(data.frame @ data.frame.T, np.eye(2), atol=1e-14)
    assert np.abs(data.frame).max() < 5.0 / np.sqrt(400)


def test_frame_is_uniform():
    """First and second moments of a Haar frame, over many seeds."""
    frames = np.array(
        [
            draw_run(PAIR, 1, 5, seed, Inputs(), ImposedOverlap.of(PAIR, None)).frame
            for seed in range(2000)
        ]
    ).reshape(2000, -1)
    assert np.abs(frames.mean(axis=0)).max() < 4.5 / np.sqrt(5 * 2000)
    moments = frames.T @ frames / 2000
    assert np.abs(moments - np.eye(10) / 5).max() < 4.5 * 0.35 / np.sqrt(2000)


def test_start_is_on_the_sphere():
    sim = dmft.simulate(PAIR, 1.0, dmft.GradientDescent(0.1, 0), 30, 20, workers=1)
    norms = np.diagonal(sim.correlation[:, 0], axis1=1, axis2=2)
    np.testing.assert_allclose(norms, 1.3**2, rtol=1e-13)
    # Independent neurons: the scalar product has mean 0 and variance rho^4 / d.
    product = sim.correlation[:, 0, 0, 1] / 1.3**2
    assert 0.02 < product.std() < 0.4
    assert np.abs(sim.overlap[:, 0]).min() > 0.0


def test_streams_depend_on_seed_and_size():
    """Other seeds, dimensions and sample numbers draw independent data; families do not mix."""
    imposed = ImposedOverlap.of(PAIR, None)

    def draw(n, d, seed, law="gaussian", n_test=None):
        return draw_run(PAIR, n, d, seed, Inputs(law), imposed, n_test)

    base = draw(50, 20, 0)
    for other in (draw(50, 20, 1), draw(50, 21, 0), draw(51, 20, 0)):
        assert not np.any(other.X[:50, :20] == base.X)
        assert not np.any(other.frame[:, :20] == base.frame)
        assert not np.any(other.weights[:, :20] == base.weights)
    # Which inputs, and how many fresh samples, changes nothing else.
    other = draw(50, 20, 0, "student-t", n_test=7)
    np.testing.assert_array_equal(other.frame, base.frame)
    np.testing.assert_array_equal(other.weights, base.weights)
    assert other.test.X.shape == (7, 20)
    more = draw(50, 20, 0, "student-t", n_test=9)
    np.testing.assert_array_equal(more.X, other.X)
    np.testing.assert_array_equal(more.test.X[:7], other.test.X)


def test_stated_overlap_is_imposed_exactly():
    """On the easy direction as stated; on the hard one, where nothing is, it is left to chance."""
    stated = [[0.5, 0.0], [-0.3, 0.0]]
    problem = dmft.Problem("easy-hard", dmft.Network("tanh", [1.0, -0.7]), initial_overlap=stated)
    sim = dmft.simulate(problem, 1.0, dmft.GradientDescent(0.1, 0), 50, 40, workers=1)
    np.testing.assert_allclose(sim.overlap[:, 0, :, 0] - np.array(stated)[:, 0], 0.0, atol=1e-14)
    assert 0.3 < np.sqrt(50) * sim.overlap[:, 0, :, 1].std() < 1.5
    # Theta^T Theta is the identity on average, as in the limit.
    error = sim.stderr["correlation"][0]
    assert np.all(np.abs(sim.mean["correlation"][0] - np.eye(2)) < 4.5 * error)
    assert error.max() < 0.1


def test_hard_overlap_is_imposed_exactly():
    method = dmft.GradientDescent(0.1, 0)
    sim = dmft.simulate(PAIR, 1.0, method, 50, 4, hard_overlap=[[0.2], [-0.1]], workers=1)
    np.testing.assert_allclose(sim.overlap[:, 0, :, 1] - [0.2, -0.1], 0.0, atol=1e-14)
    assert np.abs(sim.overlap[:, 0, :, 0]).min() > 1e-6  # the easy one is random
    scalar = dmft.simulate(PAIR, 1.0, method, 50, 4, hard_overlap=0.2, workers=1)
    np.testing.assert_allclose(scalar.overlap[:, 0, :, 1], 0.2, atol=1e-14)
    np.testing.assert_array_equal(scalar.hard_overlap, [[0.2], [0.2]])
    # The same said by the problem itself.
    problem = dmft.Problem("phase-retrieval", initial_overlap=[[0.2]])
    stated = dmft.simulate(problem, 1.0, method, 50, 4, workers=1)
    np.testing.assert_allclose(stated.overlap[:, 0], 0.2, atol=1e-14)
    plain = dmft.simulate(
        dmft.Problem("phase-retrieval"), 1.0, method, 50, 4, hard_overlap=0.2, workers=1
    )
    np.testing.assert_array_equal(stated.correlation, plain.correlation)


@pytest.mark.parametrize("problem", [RETRIEVAL, PAIR], ids=["one hard", "easy and hard"])
def test_held_hard_directions_stay_at_zero(problem):
    sim = run_one(problem, hold_hard=True)
    free = run_one(problem)
    hard = problem.target.hard_basis
    assert np.all(sim.overlap @ hard == 0.0)
    assert np.all(sim.hard_cosine == 0.0)
    assert np.abs(free.overlap @ hard).min() > 0.0
    np.testing.assert_allclose(
        np.diagonal(sim.correlation[:, 0], axis1=1, axis2=2), problem.init_radius**2, rtol=1e-13
    )
    if problem.k == 2:
        assert np.abs(sim.overlap[..., 0]).min() > 0.0


def test_directions_that_are_hard_along_no_axis():
    """Hard directions given as a basis: held and imposed in that basis."""
    s = np.sqrt(0.5)
    target = dmft.Target(
        lambda z, eps: np.tanh(s * (z[:, 0] + z[:, 1])) + s * (z[:, 0] - z[:, 1]) ** 2,
        k=2, hard_directions=[[s], [-s]],
    )  # fmt: skip
    problem = dmft.Problem(target, dmft.Network("gelu", [1.0, -0.5]))
    hard = target.hard_basis
    held = run_one(problem, hold_hard=True)
    assert np.abs(held.overlap @ hard).max() < 1e-15
    imposed = run_one(problem, hard_overlap=[[0.3], [0.1]])
    np.testing.assert_allclose((imposed.overlap[0, 0] @ hard)[:, 0], [0.3, 0.1], atol=1e-14)


def test_hard_cosine_is_the_canonical_correlation():
    rng = np.random.default_rng(0)
    frame = np.linalg.qr(rng.standard_normal((30, 3)))[0]
    basis = np.eye(3)[:, 1:]
    for m in (1, 2, 4):
        theta = rng.standard_normal((30, m)) @ np.diag(10.0 ** np.arange(m))
        found = hard_cosine((theta.T @ frame)[None], (theta.T @ theta)[None], basis)
        q = np.linalg.qr(theta)[0]
        exact = np.linalg.norm((frame @ basis).T @ q, 2) ** 2
        assert found[0] == pytest.approx(exact, rel=1e-8)
    zero = hard_cosine(np.zeros((1, 2, 3)), np.zeros((1, 2, 2)), basis)
    assert zero[0] == 0.0
    twice = np.repeat(theta[:, :1], 2, axis=1)  # two neurons that are one
    found = hard_cosine((twice.T @ frame)[None], (twice.T @ twice)[None], basis)
    exact = np.sum((theta[:, 0] @ frame @ basis) ** 2) / np.sum(theta[:, 0] ** 2)
    assert found[0] == pytest.approx(exact, rel=1e-8)


# ------------------------------------------------------------------ in law


def deviations(a, a_error, b, b_error=0.0):
    """Differences in standard errors, entries without fluctuation left out."""
    error = np.sqrt(a_error**2 + b_error**2)
    moving = error > 1e-12
    return np.abs(a - b)[moving] / error[moving]


@pytest.mark.slow
def test_linear_network_has_its_exact_answer():
    """Marchenko-Pastur averages, 40 seeds at d = 500; a step 12 % longer is refused."""
    problem = dmft.Problem(
        dmft.Target("linear", noise=0.5), dmft.Network("linear"), "square", weight_decay=0.3
    )
    method = dmft.GradientDescent(0.1, 8)
    sim = dmft.simulate(problem, 0.5, method, 500, 40, workers=1)
    got = {
        "M": "overlap", "C": "correlation", "G": "gradient_covariance",
        "train_loss": "train_loss", "test_loss": "test_loss",
    }  # fmt: skip

    def worst(step_size):
        exact = problems.LinearNetwork(0.5, step_size, 0.3, 0.5, 1.0).solve(8)
        exact["C"], exact["G"] = np.diag(exact["C"]), np.diag(exact["G"])
        return max(
            deviations(sim.mean[name].ravel(), sim.stderr[name].ravel(), exact[key]).max()
            for key, name in got.items()
        )

    assert worst(0.1) < 4.5
    assert worst(0.112) > 6.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "refused"), [(problems.PAIR, 1.2), (problems.TRIPLE, 1.3)], ids=["m=2", "m=3"]
)
def test_agrees_with_the_independent_implementation(case, refused):
    """Means over 48 seeds each at d = 100, test loss and Hessian included; sharp enough to
    refuse another delta.
    """
    case = dataclasses.replace(case, n_steps=5)
    problem, method = case.to_dmft()
    d, step = 100, 5
    runs = finite_size.ensemble(
        range(500, 548), d=d, n_test=5000, hessian_steps=[step], largest=True, **case.settings()
    )
    mean, error = finite_size.mean_and_error(runs)
    times = np.arange(step + 1)
    for key in ("C", "G"):
        mean[key], error[key] = mean[key][times, times], error[key][times, times]

    def worst(delta):
        sim = dmft.simulate(problem, delta, method, d, 48, hessian_steps=[step], workers=1)
        found = {key: (sim.mean[name], sim.stderr[name]) for key, name in NAMES.items()}
        found.pop("gradient_norm")
        found["test_loss"] = sim.mean["test_loss"], sim.stderr["test_loss"]
        hessian = sim.hessian[step]
        for key, values in (
            ("smallest", hessian.smallest[:, 0]),
            ("largest", hessian.largest[:, -1]),
            ("overlap", hessian.hard_overlap),
        ):
            if key == "overlap" and not case.hard:
                continue
            found[f"{key}:{step}"] = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
        return max(
            deviations(np.asarray(a), np.asarray(e), mean[key], error[key]).max(initial=0.0)
            for key, (a, e) in found.items()
        )

    assert worst(case.delta) < 4.5
    assert worst(refused * case.delta) > 5.0


@pytest.mark.parametrize("law", ["rademacher", "uniform", "student-t", "covariance", "mixture"])
def test_other_inputs(law):
    """Deterministic, and the test loss is that of fresh samples of the same law."""
    inputs = Inputs(law, spectrum=[0.5, 2.0]) if law == "covariance" else Inputs(law)
    options = {"inputs": inputs, "n_test": 20_000}
    sim, gaussian = run_one(PAIR, **options), run_one(PAIR)
    assert sim.inputs == inputs
    assert sim.status is Status.SUCCESS
    np.testing.assert_array_equal(sim.correlation[:, 0], gaussian.correlation[:, 0])  # the start
    assert not np.array_equal(sim.correlation[:, -1], gaussian.correlation[:, -1])
    np.testing.assert_array_equal(run_one(PAIR, **options).test_loss, sim.test_loss)
    # The same run again, with the loss of 20000 samples of a stream of its own.
    n, d = 120, 40
    weights = {}
    data = draw_run(PAIR, n, d, 0, inputs, ImposedOverlap.of(PAIR, None))
    descend(
        PAIR, data.X, data.y, data.weights, data.frame, METHOD,
        observe=lambda step, theta, r, _: weights.update({step: theta.copy()}),
    )  # fmt: skip
    sampler = inputs.sampler(
        d, np.random.default_rng(np.random.SeedSequence(0, spawn_key=(2, d, n)))
    )
    X = sampler.fill(np.empty((20_000, d)), np.random.default_rng(99))
    y = PAIR.sample_labels(X @ data.frame.T, np.zeros(len(X)))
    for step in (0, 6):
        losses = 0.5 * (np.array([1.0, -0.7]) @ np.tanh(weights[step] @ X.T) - y) ** 2
        error = np.sqrt(2.0) * losses.std() / np.sqrt(len(losses))
        assert abs(sim.test_loss[0, step] - losses.mean()) < 4.5 * error


def test_gaussian_test_loss_is_the_expectation():
    """Against fresh Gaussian samples at the weights of the run."""
    sim = run_one(PAIR)
    data = draw_run(PAIR, 120, 40, 0, Inputs(), ImposedOverlap.of(PAIR, None))
    weights = {}
    descend(
        PAIR, data.X, data.y, data.weights, data.frame, METHOD,
        observe=lambda step, theta, r, _: weights.update({step: theta.copy()}),
    )  # fmt: skip
    X = np.random.default_rng(1).standard_normal((200_000, 40))
    y = PAIR.sample_labels(X @ data.frame.T, np.zeros(len(X)))
    for step in (0, 6):
        losses = 0.5 * (np.array([1.0, -0.7]) @ np.tanh(weights[step] @ X.T) - y) ** 2
        error = losses.std() / np.sqrt(len(losses))
        assert abs(sim.test_loss[0, step] - losses.mean()) < 4.5 * error


# ------------------------------------------------------------------ the result


def test_shapes_means_and_errors():
    sim = dmft.simulate(PAIR, 2.5, METHOD, 31, 3, workers=1)
    assert (sim.d, sim.n, sim.m, sim.k, sim.seeds) == (31, 78, 2, 2, (0, 1, 2))
    assert sim.correlation.shape == sim.gradient_covariance.shape == (3, 7, 2, 2)
    assert sim.overlap.shape == (3, 7, 2, 2)
    assert list(sim.steps) == list(range(7))
    assert sim.hessian == {}
    assert sim.statuses == (Status.SUCCESS,) * 3
    for name in sim.mean:
        values = getattr(sim, name)
        assert values.shape[:2] == (3, 7)
        np.testing.assert_allclose(sim.mean[name], np.mean(values, axis=0))
        np.testing.assert_allclose(
            sim.stderr[name], np.std(values, axis=0, ddof=1) / np.sqrt(3), atol=1e-15
        )
    one = run_one(PAIR)
    assert np.isnan(one.stderr["train_loss"]).all()
    assert "d=31" in repr(sim)


@pytest.mark.parametrize("hard_overlap", [None, 0.1])
def test_file_round_trip(tmp_path, hard_overlap):
    sim = dmft.simulate(
        PAIR, 2.0, METHOD, 30, [4, 9], inputs={"law": "student-t", "degrees_of_freedom": 6},
        hard_overlap=hard_overlap, hessian_steps=[0, 6], n_extreme=2, workers=1,
    )  # fmt: skip
    sim.save(tmp_path / "result")
    again = dmft.Simulation.load(tmp_path / "result.npz")
    for field in ("problem", "delta", "method", "d", "n", "seeds", "inputs", "statuses", "config"):
        assert getattr(again, field) == getattr(sim, field), field
    np.testing.assert_array_equal(again.hard_overlap, sim.hard_overlap)
    for name in sim.mean:
        np.testing.assert_array_equal(getattr(again, name), getattr(sim, name))
    for step in (0, 6):
        for name in ("eigenvalues", "smallest", "largest", "overlaps", "hard_overlap", "residual"):
            np.testing.assert_array_equal(
                getattr(again.hessian[step], name), getattr(sim.hessian[step], name)
            )
        assert again.hessian[step].complete


def test_file_of_a_custom_problem(tmp_path):
    def label(z, eps):
        return z[:, 0] ** 2

    problem = dmft.Problem(dmft.Target(label))
    sim = run_one(problem)
    sim.save(tmp_path / "result.npz")
    assert dmft.Simulation.load(tmp_path / "result.npz").problem is None
    assert dmft.Simulation.load(tmp_path / "result.npz", problem).problem is problem
    other = dmft.Problem(dmft.Target(label), None, "pseudo-huber")
    with pytest.raises(ValueError, match="loss is square, got pseudo-huber"):
        dmft.Simulation.load(tmp_path / "result.npz", other)


def test_divergence_is_a_status():
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "square")
    method = dmft.GradientDescent(2.0, 12)
    sim = dmft.simulate(problem, 3.0, method, 30, 2, hessian_steps=[0, 12], workers=1)
    assert sim.status is Status.DIVERGED
    assert sim.statuses == (Status.DIVERGED,) * 2
    for name in sim.mean:
        values = getattr(sim, name)
        if name == "test_error":  # of real labels: there is none
            continue
        assert np.isfinite(values[:, 0]).all(), name
        assert np.isnan(values[:, -1]).all(), name
    assert np.isfinite(sim.hessian[0].eigenvalues).all()
    assert np.isnan(sim.hessian[12].eigenvalues).all()
    with pytest.raises(NumericalFailure, match=r"DIVERGED.*Seeds: 0, 1"):
        dmft.simulate(problem, 3.0, method, 30, 2, workers=1, throw=True)


def test_progress_counts_seeds():
    ticks = []
    dmft.simulate(PAIR, 1.0, METHOD, 10, 3, workers=1, progress=ticks.append)
    assert ticks == [1, 1, 1]


EASY = dmft.Problem("linear")
STATED = dmft.Problem("phase-retrieval", initial_overlap=[[0.1]])
MANY = 10_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"d": 3}, ["d must be at least k + m = 2 + 2", "got 3"]),
        ({"d": 0}, ["d must be", "got 0"]),
        ({"d": 30.5}, ["d must be", "30.5"]),
        ({"delta": 0.01}, ["delta", "at least one sample", "0.01", "d = 30"]),
        ({"delta": -1.0}, ["delta", "-1"]),
        ({"problem": "phase-retrieval"}, ["problem", "Problem"]),
        ({"method": 3}, ["method", "GradientDescent"]),
        ({"seeds": 0}, ["seeds", "0"]),
        ({"seeds": []}, ["seeds", "empty"]),
        ({"seeds": [1, 2, 1]}, ["seeds", "distinct", "1"]),
        ({"seeds": [0, -1]}, ["seeds", "-1"]),
        ({"seeds": "ab"}, ["seeds", "ab"]),
        ({"workers": MANY}, ["workers", "cores", str(MANY)]),
        ({"workers": 0}, ["workers", "0"]),
        ({"inputs": "cauchy"}, ["inputs", "cauchy", "'student-t'"]),
        ({"hessian_steps": [7]}, ["hessian_steps", "0..6", "7"]),
        ({"hessian_steps": [-1]}, ["hessian_steps", "-1"]),
        ({"hessian_steps": 3}, ["hessian_steps", "list", "3"]),
        ({"n_extreme": 0}, ["n_extreme", "0"]),
        ({"n_extreme": 31}, ["n_extreme", "30", "got 31; raise d or lower n_extreme"]),
        ({"dense_limit": -1}, ["dense_limit", "-1"]),
        ({"n_test": 100}, ["n_test", "Gaussian", "100"]),
        ({"n_test": 0, "inputs": "uniform"}, ["n_test", "0"]),
        ({"hold_hard": 1}, ["hold_hard", "1"]),
        ({"hold_hard": True, "hard_overlap": 0.1}, ["hard_overlap", "hold_hard"]),
        ({"hold_hard": True, "problem": STATED}, ["hold_hard", "initial_overlap"]),
        ({"hard_overlap": 0.1, "problem": STATED}, ["hard_overlap", "initial_overlap"]),
        ({"hard_overlap": 0.1, "problem": EASY}, ["hard_overlap", "'linear'"]),
        ({"hard_overlap": [0.1, 0.2, 0.3]}, ["hard_overlap", "(2, 1)", "(3,)"]),
        ({"hard_overlap": [[1, 2], [3]]}, ["hard_overlap", "shape (2, 1)", "[[1, 2], [3]]"]),
        ({"hard_overlap": 2.0}, ["hard_overlap", "1.3", "2.8"]),
        ({"hard_overlap": "x"}, ["hard_overlap", "'x'"]),
        ({"hard_overlap": np.nan}, ["hard_overlap", "finite"]),
        ({"checkpoint": 3}, ["checkpoint", "3"]),
        ({"checkpoint": ""}, ["checkpoint must be the path of a folder", "''"]),
    ],
)
def test_bad_arguments_give_one_line_and_no_folder(tmp_path, changes, words):
    arguments = {
        "problem": PAIR, "delta": 2.0, "method": METHOD, "d": 30, "seeds": 2, "workers": 1,
        "checkpoint": tmp_path / "runs",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        dmft.simulate(**arguments | changes)
    assert all(word in str(caught.value) for word in words), caught.value
    assert not (tmp_path / "runs").exists()


def test_label_error_comes_through():
    """A label that fails on the data of the run, though not when it was tried before."""

    def label(z, eps):
        return np.full(len(z), np.nan) if len(z) == 77 else z[:, 0]

    problem = dmft.Problem(dmft.Target(label, hard_directions=[]))
    with pytest.raises(ValueError, match=r"label returned non-finite values for 77 of 77"):
        dmft.simulate(problem, 1.0, METHOD, 77, 1, workers=1)


def test_plan_describes_itself():
    plan = SimulationPlan.of(
        PAIR, 2.0, METHOD, 30, inputs="uniform", hold_hard=False, hard_overlap=None,
        hessian_steps=[3], n_extreme=1, dense_limit=4000, n_test=None,
    )  # fmt: skip
    assert plan.config["n_test"] == 60
    assert plan.config["n"] == 60
    assert plan.config["inputs"] == {"law": "uniform"}
