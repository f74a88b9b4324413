"""The statistics of a comparison are honest: right error bars, few false alarms, and power.

Synthetic runs with a known covariance: fluctuations correlated over the steps, of size d^(-1/2),
with a bias exactly proportional to 1/d.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, ttest_1samp

from dmft.comparison.agreement import THREE_SIGMA, extrapolation_weights, measure_agreement

STEPS = 41
SCALE = np.geomspace(1.0, 10.0, STEPS)  # fluctuations grow along the steps, as those of runs do
BIAS = 50.0 * SCALE
TRUTH = 3.0
ONE, TWO = ((1000, 8),), ((1000, 8), (2000, 8))


def root(length):
    """Square root of the correlation between steps; length 0: independent ones."""
    t = np.arange(STEPS)
    kernel = np.eye(STEPS)
    if length:
        kernel = np.exp(-0.5 * ((t[:, None] - t) / length) ** 2) + 1e-9 * np.eye(STEPS)
    return np.linalg.cholesky(kernel)


def draw(rng, L, ensembles, theory_error=0.0, shift=0.0):
    """Agreement of one synthetic experiment; ``shift`` is a bias left at 1/d = 0."""
    samples, sizes = [], []
    for d, count in ensembles:
        noise = SCALE * (rng.standard_normal((count, STEPS)) @ L.T) / np.sqrt(d)
        samples.append(TRUTH + shift + BIAS / d + noise)
        sizes.append(d)
    theory, error = np.full(STEPS, TRUTH), np.zeros(STEPS)
    if len(sizes) == 1:
        theory = theory + BIAS / sizes[0]  # nothing removes it: not the subject here
    if theory_error:
        replicates = SCALE * (rng.standard_normal((8, STEPS)) @ L.T) * theory_error * np.sqrt(8)
        theory = theory + replicates.mean(axis=0)
        error = replicates.std(axis=0, ddof=1) / np.sqrt(8)
    return measure_agreement(samples, sizes, theory, error)


def true_error(ensembles):
    """Standard error of the estimate, in units of SCALE."""
    weights = extrapolation_weights(*zip(*ensembles, strict=True))
    return np.sqrt(sum(w**2 / (d * n) for w, (d, n) in zip(weights, ensembles, strict=True)))


# ------------------------------------------------------------------ extrapolation


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [((500, 1000), (8, 3)), ((200, 400, 1600), (8, 5, 2)), ((70, 7000), (1, 9))],
)
def test_weights_are_those_of_weighted_least_squares(sizes, counts):
    weights = extrapolation_weights(sizes, counts)
    d = np.array(sizes, dtype=float)
    assert weights.sum() == pytest.approx(1.0, abs=1e-13)
    assert (weights / d).sum() == pytest.approx(0.0, abs=1e-15)
    precision = np.sqrt(np.array(counts) * d)
    design = precision[:, None] * np.stack([np.ones_like(d), 1 / d], axis=1)
    intercept = np.linalg.pinv(design)[0] * precision
    np.testing.assert_allclose(weights, intercept, rtol=1e-9)


def test_an_exact_bias_in_1_over_d_is_removed():
    runs = [2.0 + 7.0 / d + np.array([[-1.0, 0.5], [1.0, -0.5]]) / d**0.5 for d in (100, 300, 900)]
    result = measure_agreement(runs, [100, 300, 900], [2.0, 2.0])
    np.testing.assert_allclose(result.simulated, 2.0, atol=1e-14)
    assert not result.significant
    single = measure_agreement(runs[:1], [100], [2.0, 2.0])
    np.testing.assert_allclose(single.deviation, 0.07, atol=1e-14)


# ------------------------------------------------------------------ false alarms and power


@pytest.mark.slow
@pytest.mark.parametrize("length", [0, 2, 8])
@pytest.mark.parametrize("ensembles", [ONE, TWO], ids=["one size", "two sizes"])
def test_p_values_are_honest_under_the_null(ensembles, length):
    """Single p-values uniform; family-wise ones below twice their level, 0.01 at three sigma."""
    rng, L = np.random.default_rng([length, len(ensembles)]), root(length)
    results = [draw(rng, L, ensembles) for _ in range(1500)]
    single = np.array([result.p[STEPS // 2] for result in results])
    assert kstest(single, "uniform").pvalue > 1e-3
    for name in ("entry_p", "joint_p"):
        p = np.array([getattr(result, name) for result in results])
        assert np.mean(p < THREE_SIGMA) < 0.01, name
        assert np.mean(p < 0.05) < 0.1, name
    assert np.mean([result.significant for result in results]) < 0.012


def test_p_values_are_honest_with_an_error_of_the_theory():
    rng, L = np.random.default_rng(1), root(8)
    error = true_error(TWO)
    results = [draw(rng, L, TWO, theory_error=error) for _ in range(1500)]
    assert kstest([result.p[7] for result in results], "uniform").pvalue > 1e-3
    assert np.mean([result.significant for result in results]) < 0.012


@pytest.mark.slow
@pytest.mark.parametrize("ensembles", [ONE, TWO], ids=["one size", "two sizes"])
def test_error_bars_are_right(ensembles):
    """Standard errors have the right mean square, and the estimate is unbiased."""
    rng, L = np.random.default_rng(2), root(8)
    results = [draw(rng, L, ensembles) for _ in range(1500)]
    variance = np.mean([result.stderr**2 for result in results], axis=0)
    np.testing.assert_allclose(np.sqrt(variance), true_error(ensembles) * SCALE, rtol=0.05)
    deviation = np.array([result.deviation for result in results])
    np.testing.assert_allclose(deviation.std(axis=0), true_error(ensembles) * SCALE, rtol=0.1)
    error = true_error(ensembles) * SCALE / np.sqrt(len(results))
    assert np.all(np.abs(deviation.mean(axis=0)) < 4.5 * error)


@pytest.mark.parametrize(
    ("ensembles", "power"), [(ONE, 0.8), (TWO, 0.95)], ids=["one size", "two sizes"]
)
def test_a_bias_of_five_errors_is_detected(ensembles, power):
    rng, L = np.random.default_rng(3), root(8)
    shift = 5.0 * true_error(ensembles) * SCALE
    results = [draw(rng, L, ensembles, shift=shift) for _ in range(200)]
    assert np.mean([result.significant for result in results]) > power
    ratios = [np.median(result.ratio) for result in results]
    assert np.mean(ratios) == pytest.approx(5.0, rel=0.15)


def test_a_bias_left_by_one_size_is_detected_there_and_not_after_extrapolation():
    rng, L = np.random.default_rng(4), root(8)
    slope = 6.0 * true_error(ONE) * 1000 * SCALE  # six errors at d = 1000
    sizes = [1000, 2000]
    samples = [
        TRUTH + slope / d + SCALE * (rng.standard_normal((8, STEPS)) @ L.T) / np.sqrt(d)
        for d in sizes
    ]
    theory = np.full(STEPS, TRUTH)
    assert measure_agreement(samples[:1], sizes[:1], theory).significant
    assert not measure_agreement(samples, sizes, theory).significant


# ------------------------------------------------------------------ exactness


def test_one_entry_is_the_t_test():
    runs = np.random.default_rng(5).normal(0.3, 1.0, 9)
    result = measure_agreement([runs], [50], 0.0)
    expected = ttest_1samp(runs, 0.0)
    assert float(result.ratio) == pytest.approx(expected.statistic, rel=1e-12)
    assert float(result.p) == pytest.approx(expected.pvalue, rel=1e-10)
    assert result.entry == ()
    assert result.entry_p == pytest.approx(expected.pvalue, rel=1e-10)
    assert result.joint_p == pytest.approx(expected.pvalue, rel=1e-10)
    assert result.n_effective == pytest.approx(1.0)


def test_variance_is_pooled_over_sizes_and_further_runs():
    rng = np.random.default_rng(6)
    a, b, c = rng.standard_normal((8, 3)), rng.standard_normal((5, 3)), rng.standard_normal((20, 3))
    result = measure_agreement([a, b], [100, 200], np.zeros(3), variance_only=[(c, 50)])
    squares = [
        d * ((x - x.mean(axis=0)) ** 2).sum(axis=0) for x, d in ((a, 100), (b, 200), (c, 50))
    ]
    per_run = sum(squares) / (7 + 4 + 19)
    w = extrapolation_weights([100, 200], [8, 5])
    expected = np.sqrt(per_run * (w[0] ** 2 / 800 + w[1] ** 2 / 1000))
    np.testing.assert_allclose(result.stderr, expected, rtol=1e-12)
    np.testing.assert_allclose(result.degrees_of_freedom, 30)
    np.testing.assert_allclose(result.simulated, w[0] * a.mean(axis=0) + w[1] * b.mean(axis=0))


def test_theory_errors_add_in_quadrature_with_their_degrees_of_freedom():
    runs = np.array([[-1.0], [1.0], [0.0]])
    alone = measure_agreement([runs], [1], [0.0])
    both = measure_agreement([runs], [1], [0.0], alone.stderr, theory_freedom=2)
    np.testing.assert_allclose(both.stderr, np.sqrt(2.0) * alone.stderr)
    np.testing.assert_allclose(both.degrees_of_freedom, 4.0)  # 2 + 2 of equal variance
    large = measure_agreement([runs], [1], [0.0], 1e6, theory_freedom=7)
    np.testing.assert_allclose(large.degrees_of_freedom, 7.0, rtol=1e-6)


def test_entries_that_do_not_fluctuate_must_equal_the_theory():
    runs = np.random.default_rng(7).standard_normal((8, 2))
    runs[:, 0] = 1.0
    equal = measure_agreement([runs], [10], [1.0, 0.0])
    assert equal.ratio[0] == 0.0
    assert equal.p[0] == 1.0
    assert not equal.significant
    close = measure_agreement([runs], [10], [1.0 + 3e-4, 0.0], 1e-4)
    assert close.ratio[0] == 0.0
    different = measure_agreement([runs], [10], [1.0 + 1e-3, 0.0], 1e-4)
    assert different.ratio[0] == -np.inf
    assert different.entry == (0,)
    assert different.entry_p == 0.0
    assert different.significant
    constant = measure_agreement([np.ones((4, 2))], [10], np.ones(2))
    assert (constant.entry_p, constant.joint_p, constant.n_components) == (1.0, 1.0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([np.zeros((3, 2))], [10, 20], np.zeros(2)),
            "sizes must be one for each",
        ),
        (([np.zeros((3, 2))] * 2, [10, 10], np.zeros(2)), "sizes must be distinct"),
        (([np.zeros((3, 2))], [0], np.zeros(2)), "sizes must be an integer >= 1"),
        (([np.zeros((3, 2))], [10], np.zeros(3)), r"samples must have shape \(S, \*\(3,\)\)"),
        (([np.full((3, 1), np.nan)], [10], np.zeros(1)), "samples must have finite entries, got 3"),
        (([np.zeros((3, 1))], [10], [np.inf]), "theory must have finite entries"),
        (([np.zeros((1, 1))] * 2, [10, 20], [0.0]), "at least two runs of one size"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        measure_agreement(*arguments)


def test_rounding_of_a_large_constant_is_no_fluctuation():
    """Of norms 1e8 in all runs the last digits differ."""
    runs = 1e8 * (1.0 + 1e-16 * np.arange(8.0)[:, None] + np.array([0.0, 1e-6]))
    result = measure_agreement([runs], [100], theory=[1e8, 1e8])
    assert result.ratio[0] == 0.0
    assert result.p[0] == 1.0
    assert result.ratio[1] == np.inf  # off by 100, and the runs agree on it
