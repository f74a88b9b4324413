"""The limit of delta_NN from the gap at fixed delta: its interval is honest, and agrees or not."""

from types import SimpleNamespace

import numpy as np
import pytest

import dmft
from dmft.threshold.extrapolation import extrapolate
from dmft.threshold.gap_limit import agreed, gap_limit, gap_samples, joined

Status = dmft.Status
TIMES = np.geomspace(20, 1600, 25)
DELTA = np.geomspace(5, 14, 6)
LIMIT = 10.7
COUNT = 8
T, D = TIMES[np.newaxis], DELTA[:, np.newaxis]


def final(delta):
    """Limit of the gap, as large as that of a GELU neuron."""
    return -0.18 * np.log(delta / LIMIT) + 0.02 * np.log(delta / LIMIT) ** 2


def distance(power, remains=0.0):
    """Minus the left edge: a power of time, or one that stops at a distance."""
    return 0.073 * (D / 11.4) ** -0.44 * ((T / 20) ** -power + remains)


DISTANCE = distance(0.8)
CASES = {
    "linear in the edge": (DISTANCE, final(D) - 1.07 * DISTANCE),
    "fast": (distance(1.0), final(D) - 1.07 * distance(1.0)),
    "a power of the edge": (DISTANCE, final(D) - 0.6 * DISTANCE**0.75),
    "another": (DISTANCE, final(D) - 4 * DISTANCE**1.4),
    "quadratic": (DISTANCE, final(D) - 0.7 * DISTANCE - 5 * DISTANCE**2),
    "slower than the edge": (DISTANCE, final(D) - 0.8 * DISTANCE - 0.02 * (T / 20) ** -0.5),
    "an edge that stays away": (distance(0.8, 0.15), final(D) - 1.07 * DISTANCE),
}


def samples(distances, gaps, generator, error=1e-3, edge_error=4e-4):
    """Gap and edge of all paths and each replicate; errors are correlated in time and delta."""
    log_t = np.log(TIMES)
    root = np.linalg.cholesky(np.exp(-np.abs(log_t[:, np.newaxis] - log_t) / 0.5))
    growth = 1 + 1.5 * (TIMES / TIMES[-1]) ** 3

    def noise(size):
        own = generator.standard_normal((len(DELTA), COUNT, len(TIMES)))
        shared = generator.standard_normal((COUNT, len(TIMES)))
        each = (
            size * np.sqrt(COUNT) * growth * ((np.sqrt(0.3) * own + np.sqrt(0.7) * shared) @ root.T)
        )
        return np.concatenate([each.mean(axis=1, keepdims=True), each], axis=1)

    return gaps[:, np.newaxis] + noise(error), -distances[:, np.newaxis] + noise(edge_error)


def of_curve(gap):
    """The limit of the curve of roots, interpolated linearly in log delta."""
    crossings = np.array([
        [np.exp(np.interp(0.0, -gap[:, row, s], np.log(DELTA))) for s in range(len(TIMES))]
        for row in range(COUNT + 1)
    ])  # fmt: skip
    return extrapolate(TIMES, crossings[0], crossings[1:])


@pytest.mark.slow
def test_the_gap_is_nearly_linear_in_the_edge():
    """Near the threshold of a GELU neuron, along gradient flow, with a slope of about one."""
    problem = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
    flow = dmft.GradientFlow(80.0, times=[0, 10, 20, 40, 80])
    sampling = dmft.Sampling(n_paths=4096, replicates=4, rank_tolerance=1e-6)
    solved = dmft.solve(problem, 9.3, flow, sampling, hessian_steps=[1, 2, 3, 4])
    laws = [solved.hessian(step) for step in (1, 2, 3, 4)]
    edges = np.array([law.edges().left for law in laws])
    gaps = np.array([law.hard_gap() for law in laws])
    assert edges[0] < 4 * edges[-1] < 0
    slopes = np.diff(gaps) / np.diff(edges)
    assert np.all(np.abs(slopes - 1.0) < 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_interval_covers_the_limit(name):
    generator = np.random.default_rng(1)
    covered, agreeing, between = [], [], []
    for _ in range(40):
        gap, edge = samples(*CASES[name], generator)
        found = gap_limit(TIMES, DELTA, gap, edge)
        covered.append(found.threshold_lower <= LIMIT <= found.threshold_upper)
        both = agreed(of_curve(gap), found)
        agreeing.append(both.lower <= LIMIT <= both.upper)
        between.append(found.positive < LIMIT < found.negative)
    assert np.mean(between) >= 0.9
    assert np.mean(covered) >= 0.9
    assert np.mean(agreeing) >= 0.9


def test_what_the_edge_says_is_more_precise_than_time_alone():
    gap, edge = samples(*CASES["linear in the edge"], np.random.default_rng(2))
    found = gap_limit(TIMES, DELTA, gap, edge)
    assert found.by_edge.all()
    assert found.lower.shape == DELTA.shape
    assert np.all((found.lower < final(DELTA)) & (final(DELTA) < found.upper))
    curve = of_curve(gap)
    limit = agreed(curve, found)
    assert limit.status is Status.SUCCESS
    assert limit.lower < LIMIT < limit.upper
    assert limit.upper - limit.lower < 0.7 * (curve.upper - curve.lower)
    assert limit.in_time == (curve.value, curve.lower, curve.upper)
    assert (found.positive, found.negative) == (DELTA[3], DELTA[4])


def test_an_edge_that_stays_away_from_zero_is_no_clock():
    distances, gaps = CASES["an edge that stays away"]
    found = gap_limit(TIMES, DELTA, *samples(distances, gaps, np.random.default_rng(3)))
    assert not found.by_edge.any()
    assert found.threshold_lower < LIMIT < found.threshold_upper
    positive = gap_limit(TIMES, DELTA, *samples(-distances, gaps, np.random.default_rng(3)))
    assert not positive.by_edge.any()
    assert positive.threshold_lower < LIMIT < positive.threshold_upper


def test_a_threshold_that_grows_for_ever_is_not_settled():
    gaps = 0.18 * np.log((6.8 + 0.9 * np.log(T / 20)) / D)
    generator = np.random.default_rng(4)
    for _ in range(5):
        gap, edge = samples(DISTANCE, gaps, generator)
        assert (
            agreed(of_curve(gap), gap_limit(TIMES, DELTA, gap, edge)).status is not Status.SUCCESS
        )


def test_no_change_of_sign_means_no_second_estimate():
    gap, edge = samples(*CASES["linear in the edge"], np.random.default_rng(5))
    curve = of_curve(gap)
    found = gap_limit(TIMES, DELTA[:4], gap[:4], edge[:4])
    assert not found.is_known
    assert (found.positive, found.negative) == (DELTA[3], np.inf)
    limit = agreed(curve, found)
    assert limit.status is Status.NOT_SETTLED
    assert "no second estimate" in limit.detail
    assert (limit.value, limit.lower, limit.upper) == curve.in_time
    # A delta that ends early says nothing of its limit.
    gap[4:, :, -1] = np.nan
    assert gap_limit(TIMES, DELTA, gap, edge).delta.tolist() == DELTA[:4].tolist()
    assert gap_limit(TIMES, DELTA, np.full_like(gap, np.nan), edge).delta.size == 0


def test_estimates_that_disagree_are_joined_and_not_settled():
    gap, edge = samples(*CASES["fast"], np.random.default_rng(6))
    curve = of_curve(gap)
    found = gap_limit(TIMES, DELTA, gap + 0.04, edge)
    limit = agreed(curve, found)
    assert limit.status is Status.NOT_SETTLED
    assert "disagree" in limit.detail
    assert limit.lower <= curve.lower
    assert limit.upper >= found.threshold_upper


def test_fewer_paths_serve_where_the_most_have_too_few_deltas():
    distances, gaps = CASES["linear in the edge"]
    gap, edge = samples(distances, gaps, np.random.default_rng(7))
    fine = gap_limit(TIMES, DELTA[1:4], gap[1:4], edge[1:4])  # below the limit throughout
    assert not fine.is_known
    gap, edge = samples(distances, gaps, np.random.default_rng(8), error=4e-3, edge_error=1e-3)
    coarse = gap_limit(TIMES, DELTA, gap, edge)
    both = joined(fine, coarse)
    assert both.threshold_lower < LIMIT < both.threshold_upper
    # What fewer paths say of the same delta, or not for certain, is not used.
    there = np.isin(both.delta, fine.delta)
    np.testing.assert_array_equal(both.value[there], fine.value)
    assert np.all(both.lower[~there] * both.upper[~there] > 0.0)
    assert both.positive == fine.positive


def test_samples_are_those_of_the_memo():
    def at(step):
        deltas = np.array([1.0, 2.0]) if step else np.array([2.0])
        gaps = step + deltas + np.arange(3)[:, np.newaxis]
        return SimpleNamespace(delta=deltas), gaps, -gaps

    memo = SimpleNamespace(samples=at, sampling=SimpleNamespace(replicates=2))
    delta, gap, edge = gap_samples(memo, [0, 5])
    assert delta.tolist() == [1.0, 2.0]
    assert np.isnan(gap[0, :, 0]).all()
    assert gap[1].tolist() == [[2.0, 7.0], [3.0, 8.0], [4.0, 9.0]]
    np.testing.assert_array_equal(edge, -gap)
