"""The logistic fit: the right maximum, honest intervals, a status where nothing crosses."""

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit
from scipy.stats import chi2

from dmft import Status
from dmft.studies.logistic import fit_crossing


def data(rng, delta, center, width, runs):
    return rng.binomial(runs, expit(np.log(delta / center) / width))


def penalised_likelihood(delta, k, n, center, width):
    """Log likelihood plus the prior stated in the docstring, 1/w ~ Gamma(3/2, scale 20)."""
    eta = np.log(delta / center) / width
    likelihood = k @ -np.logaddexp(0, -eta) + (n - k) @ -np.logaddexp(0, eta)
    return likelihood + 0.5 * np.log(1 / width) - 1 / width / 20


@pytest.mark.parametrize("seed", range(6))
def test_the_fit_is_the_maximum(seed):
    rng = np.random.default_rng(seed)
    delta = np.sort(rng.uniform(1, 8, 7))
    n = rng.integers(2, 40, 7)
    k = data(rng, delta, 3.0, 0.3, n)
    fit = fit_crossing(delta, k, n)
    assert fit.status is Status.SUCCESS
    best = minimize(
        lambda p: -penalised_likelihood(delta, k, n, np.exp(p[0]), np.exp(p[1])),
        [np.log(3.0), np.log(0.2)],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000},
    )
    assert fit.value == pytest.approx(np.exp(best.x[0]), rel=1e-6)
    assert fit.width == pytest.approx(np.exp(best.x[1]), rel=1e-6)
    assert 0 <= fit.residual <= 1e-16
    assert 0 < fit.n_iterations < 20


@pytest.mark.parametrize("width", [0.05, 0.2, 0.6])
def test_recovers_known_parameters(width):
    rng = np.random.default_rng(1)
    delta, runs = np.geomspace(1, 8, 12), 400
    fits = [
        fit_crossing(delta, data(rng, delta, 3.3, width, runs), np.full(12, runs))
        for _ in range(60)
    ]
    for values, exact in (
        (np.log([fit.value for fit in fits]), np.log(3.3)),
        (np.log([fit.width for fit in fits]), np.log(width)),
    ):
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert abs(np.mean(values) - exact) < 3.5 * error
        assert error < 0.02  # so that the line above says something


# Both a crossing that several deltas resolve, and one that falls between two of them.
@pytest.mark.slow
@pytest.mark.parametrize(("width", "widest"), [(0.3, 0.6), (0.1, 0.3), (0.03, 0.25)])
def test_the_interval_covers_as_often_as_it_says(width, widest):
    rng = np.random.default_rng(2)
    delta, runs, n_sets, level = np.geomspace(2, 8, 8), 8, 250, 0.9
    hits, lengths = 0, []
    for _ in range(n_sets):
        center = np.exp(rng.uniform(np.log(3.3), np.log(4.7)))
        k = data(rng, delta, center, width, runs)
        fit = fit_crossing(delta, k, np.full(8, runs), level=level)
        hits += fit.lower <= center <= fit.upper
        lengths.append((fit.upper - fit.lower) / center)
    tolerance = 4 * np.sqrt(level * (1 - level) / n_sets)
    assert hits / n_sets > level - tolerance
    assert np.median(lengths) < widest


def test_separated_outcomes():
    delta = np.array([1.0, 1.5, 2.25, 3.375])
    fit = fit_crossing(delta, [0, 0, 8, 8], [8] * 4)
    assert fit.status is Status.SUCCESS
    assert fit.value == pytest.approx(np.sqrt(1.5 * 2.25))
    assert 0 < fit.width < np.log(1.5)
    # The data do not say where between the two deltas; more runs do not either.
    assert fit.upper / fit.lower > 1.2
    many = fit_crossing(delta, [0, 0, 800, 800], [800] * 4)
    assert many.value == pytest.approx(fit.value)
    assert many.width < fit.width
    assert many.upper / many.lower < fit.upper / fit.lower


@pytest.mark.parametrize(
    "successes", [[0, 0, 0], [8, 8, 8], [8, 4, 0], [4, 4, 4], [0, 0, 1], [7, 8, 8]]
)
def test_no_crossing_is_a_status(successes):
    fit = fit_crossing([1, 2, 4], successes, [8] * 3)
    assert fit.status is Status.NO_BRACKET
    assert np.isnan([fit.value, fit.lower, fit.upper, fit.width]).all()
    assert np.isnan(fit.probability([1.0, 2.0])).all()


def test_one_delta_brackets_nothing():
    assert fit_crossing([2.0], [4], [8]).status is Status.NO_BRACKET
    # Deltas without runs are no data.
    fit = fit_crossing([1.0, 2.0, 4.0], [0, 1, 0], [0, 2, 0])
    assert fit.status is Status.NO_BRACKET


def test_scaling_and_reflection():
    rng = np.random.default_rng(3)
    delta = np.geomspace(1, 8, 9)
    k, n = data(rng, delta, 3.0, 0.2, 8), np.full(9, 8)
    fit = fit_crossing(delta, k, n)
    scaled = fit_crossing(5 * delta, k, n)
    for name in ("value", "lower", "upper"):
        assert getattr(scaled, name) == pytest.approx(5 * getattr(fit, name))
    assert scaled.width == pytest.approx(fit.width)
    # Failures instead of successes, seen from large delta.
    reflected = fit_crossing(1 / delta[::-1], (n - k)[::-1], n)
    assert reflected.value == pytest.approx(1 / fit.value)
    assert reflected.width == pytest.approx(fit.width)
    # Units of log delta: a stretched axis stretches the crossing (these data outweigh the prior).
    many = data(rng, delta, 3.0, 0.2, 100_000)
    one, two = (fit_crossing(delta**power, many, [100_000] * 9) for power in (1, 2))
    assert two.value == pytest.approx(one.value**2, rel=1e-4)
    assert two.width == pytest.approx(2 * one.width, rel=1e-3)


def test_more_successes_move_the_crossing_down():
    delta, n = np.geomspace(1, 8, 6), np.full(6, 8)
    k = np.array([0, 1, 2, 4, 7, 8])
    before = fit_crossing(delta, k, n)
    for i in range(5):
        more = k.copy()
        more[i] += 1
        assert fit_crossing(delta, more, n).value < before.value


def test_an_interval_may_be_open():
    fit = fit_crossing([1.0, 2.0], [0, 2], [2, 2])
    assert fit.status is Status.SUCCESS
    assert (fit.lower, fit.upper) == (0.0, np.inf)
    half = fit_crossing([1.0, 2.0, 4.0, 8.0], [0, 0, 4, 5], [8] * 4)
    assert 1.0 < half.lower < half.value < 8.0
    assert half.upper == np.inf


def test_the_interval_is_that_of_the_profile_likelihood():
    delta, k, n = np.geomspace(1, 8, 6), np.array([0, 1, 2, 4, 7, 8]), np.full(6, 8)
    fit = fit_crossing(delta, k, n)
    assert fit == fit_crossing(delta, k, n)
    top = penalised_likelihood(delta, k, n, fit.value, fit.width)
    for end in (fit.lower, fit.upper):
        best = minimize_scalar(
            lambda w, end=end: -penalised_likelihood(delta, k, n, end, np.exp(w)), (-3.0, 0.0)
        )
        assert 2.0 * (top + best.fun) == pytest.approx(chi2.ppf(0.95, 1), rel=1e-6)
    narrow = fit_crossing(delta, k, n, level=0.5)
    assert fit.lower < narrow.lower < narrow.value < narrow.upper < fit.upper
    assert float(narrow) == narrow.value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": [1.0, 1.0]}, "delta must be positive and strictly increasing, got"),
        ({"delta": [0.0, 1.0]}, "delta must be positive and strictly increasing, got"),
        ({"delta": []}, "delta must be positive and strictly increasing, got"),
        ({"successes": [1, 2, 3]}, r"successes must have shape \(2,\), got shape \(3,\)"),
        ({"successes": [0.5, 2]}, "successes must be integers >= 0, got"),
        ({"successes": [0, 9]}, "successes must be at most trials, got"),
        ({"trials": [8, -8]}, "trials must be integers >= 0, got"),
        ({"level": 1.0}, "level must be a number between 0 and 1, got 1"),
        ({"level": 0.0}, "level must be a number between 0 and 1, got 0"),
    ],
)
def test_refuses(change, message):
    settings = {"delta": [1.0, 2.0], "successes": [0, 8], "trials": [8, 8], **change}
    with pytest.raises(ValueError, match=message):
        fit_crossing(**settings)


def test_no_crossing_is_said_in_words_of_the_deltas():
    fit = fit_crossing([1.0, 2.0], [8, 8], [8, 8])
    assert fit.detail.startswith("no crossing of 1/2 inside the deltas given")
    assert fit.detail in repr(fit)
    assert "bulk" not in repr(fit)
    assert fit_crossing([1.0, 2.0, 4.0, 8.0], [0, 1, 7, 8], [8, 8, 8, 8]).detail == ""
