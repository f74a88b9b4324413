"""Every outlier of the Hessian, and its overlaps, against runs of gradient descent."""

from __future__ import annotations

import agreement
import numpy as np
import problems
import pytest
from outlier_cases import CASES
from scipy.sparse.linalg import eigsh
from threadpoolctl import threadpool_limits

import dmft
import rmt

STEPS = {"easy, m = 1": (2, 5, 20), "easy, m = 2": (2, 8, 20)}
STEPS |= {"two hard": (2, 10), "easy and hard": (10, 20)}
pytestmark = [pytest.mark.slow, pytest.mark.simulation]
EXTREME = 4  # eigenvalues computed at each end
D, SEEDS = 640, range(6)  # standard errors as of four runs at d = 1000
CHEAP_D, CHEAP_SEEDS = 250, range(100, 124)  # for the variance only


def simulate(case, d, seed, steps):
    """{(step, side): (values, latent overlaps (.., k), neuron overlaps (.., m m))}."""
    activation, loss = problems.ACTIVATIONS[case.activation], problems.LOSSES[case.loss]
    rng = np.random.default_rng(seed)
    a = np.array(case.second_layer)
    m, n = len(a), round(case.delta * d)
    x = rng.standard_normal((n, d))
    y = case.label(x[:, : case.k], rng.standard_normal(n))
    theta = rng.standard_normal((d, m))
    theta /= np.linalg.norm(theta, axis=0)
    out = {}
    for t in range(max(steps) + 1):
        r = x @ theta
        f = activation[0](r) @ a
        slope = a * activation[1](r)
        g = loss[1](f, y)[:, None] * slope
        if t in steps:
            weights = loss[2](f, y)[:, None, None] * slope[:, :, None] * slope[:, None, :]
            diagonal = np.arange(m)
            weights[:, diagonal, diagonal] += loss[1](f, y)[:, None] * a * activation[2](r)
            h = np.empty((m, d, m, d))
            for j in range(m):
                for k in range(j + 1):
                    h[j, :, k] = (x.T * weights[:, j, k]) @ x / n
                    h[k, :, j] = h[j, :, k].T
            unit = theta / np.linalg.norm(theta, axis=0)
            start = rng.standard_normal((m, d))
            start[:, : case.k] += 5.0
            for side, which in (("left", "SA"), ("right", "LA")):
                values, vectors = eigsh(
                    h.reshape(m * d, m * d), EXTREME, which=which, ncv=40, v0=start.ravel(),
                    tol=1e-5,
                )  # fmt: skip
                order = np.argsort(values if side == "left" else -values)
                v = vectors[:, order].T.reshape(EXTREME, m, d)
                latent = np.sum(v[:, :, : case.k] ** 2, axis=1)
                neuron = ((v @ unit) ** 2).reshape(EXTREME, -1)
                out[t, side] = np.concatenate([values[order, None], latent, neuron], axis=1)
        theta = theta - case.step_size * (x.T @ g / n)
    return out


def ensemble(case, d, seeds, steps):
    with threadpool_limits(1):
        runs = [simulate(case, d, seed, steps) for seed in seeds]
    return {key: np.array([run[key] for run in runs]) for key in runs[0]}


def theory(case, sampling, steps):
    """{step: law} of one solve."""
    problem, method = case.to_dmft(n_steps=max(steps))
    trajectory = dmft.solve(problem, case.delta, method, sampling)
    return {step: trajectory.hessian(step) for step in steps}


def rows(outliers, side):
    """Value, latent and neuron overlaps of the outliers on a side, from the outside in."""
    here = [o for o in outliers if o.side == side]
    here = here if side == "left" else here[::-1]
    return [np.concatenate([[o.value], o.latent_overlap, o.neuron_overlap.ravel()]) for o in here]


@pytest.fixture(scope="module", params=CASES)
def setting(request):
    case, steps = CASES[request.param], STEPS[request.param]
    return (
        case,
        steps,
        ensemble(case, D, SEEDS, steps),
        ensemble(case, CHEAP_D, CHEAP_SEEDS, steps),
        theory(case, dmft.Sampling(n_paths=4096, replicates=8, seed=1), steps),
    )


def isolated(law, outliers, index, spread):
    """Whether an outlier stands clear of the edge and of its neighbours at finite size."""
    edges, own = law.edges(), outliers[index]
    others = [o.value for o in outliers if o is not own]
    others.append(edges.left if own.side == "left" else edges.right)
    return min(abs(own.value - other) for other in others) > 4 * spread


def test_outliers_agree_with_simulation(setting):
    """Location of every outlier clear of the edge; its overlaps if clear of its neighbours too."""
    case, steps, runs, cheap, laws = setting
    compared = 0
    for step in steps:
        law = laws[step]
        outliers, edges = law.outliers(), law.edges()
        for side in ("left", "right"):
            others = [rows(replicate.outliers(), side) for replicate in law.replicates]
            ordered = [o for o in outliers if o.side == side][:: 1 if side == "left" else -1]
            for rank, expected in enumerate(rows(outliers, side)):
                more = cheap[step, side][:, rank]
                spread = more[:, 0].std(ddof=1) * np.sqrt(CHEAP_D / D)
                if abs(expected[0] - edges[side == "right"]) < 2 * spread:
                    continue
                columns = len(expected) if isolated(law, ordered, rank, spread) else 1
                same_rank = np.array([other[rank] for other in others])
                result = agreement.compare(
                    runs[step, side][:, rank, :columns],
                    expected[:columns],
                    same_rank[:, :columns].std(axis=0, ddof=1) / np.sqrt(len(same_rank)),
                    more=more[:, :columns],
                    more_scale=CHEAP_D / D,
                    floor=1e-6,
                )
                assert not result.significant, f"{case.name}, step {step}, {side} {rank}: {result}"
                compared += 1
    assert compared >= 1


def test_no_false_and_no_missing_outlier(setting):
    """The first eigenvalue that should not be an outlier is within fluctuations of the edge."""
    case, steps, runs, _, laws = setting
    for step in steps:
        law = laws[step]
        edges = law.edges()
        fluctuation = (edges.right - edges.left) * (case.delta * D) ** (-2 / 3)
        for side, edge, sign in (("left", edges.left, 1), ("right", edges.right, -1)):
            count = len(rows(law.outliers(), side))
            values = runs[step, side][:, :, 0].mean(axis=0)
            beyond = sign * (edge - values)  # > 0 outside the bulk
            assert beyond[count] < 3 * fluctuation, (case.name, step, side)
            # Eigenvalues may lag behind an edge with thin density, outliers near it likewise.
            assert beyond[count] > -20 * fluctuation, (case.name, step, side)


def test_errors_of_outliers(setting):
    *_, laws = setting
    for law in laws.values():
        outliers, errors = law.outliers(), law.outlier_stderr()
        assert errors.shape == (len(outliers),)
        assert np.all(errors < 0.02)
        hard = law.outlier_stderr("hard") if law.k_hard else np.empty(0)
        np.testing.assert_array_equal(errors[[o.hard_overlap > 0 for o in outliers]], hard)


def test_hard_outliers_are_those_of_the_hard_block(setting):
    case, _, _, _, laws = setting
    for law in laws.values():
        in_all = [o for o in law.outliers() if o.hard_overlap > 0]
        alone = law.outliers("hard") if law.k_hard else []
        assert [(o.value, o.hard_overlap) for o in in_all] == [
            (o.value, o.hard_overlap) for o in alone
        ]
        for o in law.outliers():
            if o.hard_overlap > 0:
                assert np.all(o.latent_overlap[case.easy] == 0.0)
                assert np.all(o.neuron_overlap == 0.0)
            else:
                assert np.all(o.latent_overlap[list(case.hard)] == 0.0)


def test_dropping_the_gradients_moves_the_outliers(setting):
    """The comparison with simulation has teeth: without the gradients it would fail."""
    case, steps, _, _, laws = setting
    if not case.easy:
        pytest.skip("hard outliers do not feel the gradients")
    moved = 0.0
    for step in steps:
        law = laws[step]
        span = law.span
        blind = rmt.Span(list(span.blocks), span.coordinates, hard=span.hard)
        wrong = rmt.HessianLaw(
            law.weights, law.ratio, law.hard, support=law.support, span=blind
        ).outliers()
        right = law.outliers()
        if len(wrong) != len(right):
            moved = np.inf
        else:
            moved = max(
                [moved, *(abs(a.value - b.value) for a, b in zip(wrong, right, strict=True))]
            )
    assert moved > 0.02
