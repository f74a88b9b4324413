"""Limits of curves: honest intervals on synthetic ones, and no limit where there is none."""

import numpy as np
import pytest

from dmft import Extrapolation, Status
from dmft.threshold.extrapolation import extrapolate

TIMES = np.unique(np.expm1(np.linspace(0.0, np.log1p(1000), 36)).round())[1:] * 0.2
LIMIT = 10.0
CURVES = {
    "power 0.3": lambda t: LIMIT - 6 * (1 + t) ** -0.3,
    "power 0.5": lambda t: LIMIT - 8 * (1 + t) ** -0.5,
    "power 1": lambda t: LIMIT - 8 / (1 + t),
    "power 1, late": lambda t: LIMIT - 8 / (1 + t / 10),
    "power 1.5, late": lambda t: LIMIT - 8 * (1 + t / 15) ** -1.5,
    "two powers": lambda t: LIMIT - 4 * (1 + t) ** -0.5 - 4 * (1 + t) ** -1.5,
    "from above": lambda t: LIMIT + 4 * (1 + t) ** -0.7,
    "exponential": lambda t: LIMIT - 8 * np.exp(-t / 20),
    "constant": lambda t: LIMIT + 0 * t,
    "stretched exponential": lambda t: LIMIT - 8 * np.exp(-np.sqrt(t / 5)),
    "logarithmic correction": lambda t: LIMIT - 3 * np.log(2 + t) / (1 + t),
    "two powers, opposite": lambda t: LIMIT - 9 * (1 + t) ** -0.75 + 4 * (1 + t) ** -1.5,
    "crossover": lambda t: LIMIT - 4 / np.sqrt(1 + (t / 5) ** 2),
}


def noisy(curve, error, generator, correlation=1.0, count=8):
    """Values, and replicates with errors correlated over a factor e**correlation in time."""
    log_t = np.log(TIMES)
    covariance = np.exp(-np.abs(log_t[:, np.newaxis] - log_t) / correlation)
    root = np.linalg.cholesky(covariance)
    noise = error * np.sqrt(count) * generator.standard_normal((count, len(TIMES))) @ root.T
    return curve(TIMES) + noise.mean(axis=0), curve(TIMES) + noise


@pytest.mark.slow
@pytest.mark.parametrize("error", [0.01, 0.1])
@pytest.mark.parametrize("correlation", [0.3, 3.0])
@pytest.mark.parametrize("name", CURVES)
def test_the_interval_covers_the_limit(name, error, correlation):
    generator = np.random.default_rng(1)
    found = [
        extrapolate(TIMES, *noisy(CURVES[name], error, generator, correlation)) for _ in range(30)
    ]
    covered = [limit.lower <= LIMIT <= limit.upper for limit in found]
    assert np.mean(covered) >= 0.9
    # What is called settled is near the limit.
    wrong = [limit.status.ok and abs(limit.value - LIMIT) > 0.1 * LIMIT for limit in found]
    assert np.mean(wrong) <= 0.1


@pytest.mark.parametrize("name", ["power 0.5", "power 1", "power 1, late", "constant"])
def test_a_precise_curve_has_a_limit(name):
    generator = np.random.default_rng(2)
    found = [extrapolate(TIMES, *noisy(CURVES[name], 0.01, generator)) for _ in range(20)]
    assert np.mean([limit.status is Status.SUCCESS for limit in found]) >= 0.8
    settled = [limit for limit in found if limit.status.ok]
    assert all(abs(limit.value - LIMIT) < 0.1 * LIMIT for limit in settled)
    assert all(limit.lower < limit.value < limit.upper for limit in settled)


@pytest.mark.parametrize("error", [0.003, 0.03, 0.3])
def test_logarithmic_growth_has_no_limit(error):
    generator = np.random.default_rng(3)
    found = [
        extrapolate(TIMES, *noisy(lambda t: 3 + np.log(1 + t), error, generator)) for _ in range(20)
    ]
    assert all(limit.status is Status.NOT_SETTLED for limit in found)
    assert np.mean([limit.upper == np.inf for limit in found]) >= 0.9
    assert all(np.isnan(limit.value) for limit in found if limit.upper == np.inf)


def test_growth_without_bound_gives_a_lower_bound():
    generator = np.random.default_rng(4)
    values, replicates = noisy(lambda t: 3 + np.log(1 + t), 0.01, generator)
    limit = extrapolate(TIMES, values, replicates)
    assert limit.upper == np.inf
    assert abs(limit.lower - values[-1]) < 0.1  # it will not fall
    falling = extrapolate(TIMES, 20 - values, 20 - replicates)
    assert falling.lower == -np.inf
    assert abs(falling.upper - (20 - values[-1])) < 0.1


def test_the_exponent_is_found():
    generator = np.random.default_rng(5)
    for power in (0.3, 0.7, 1.5):
        values, replicates = noisy(lambda t, p=power: 10 - 8 * t**-p, 1e-4, generator)
        low, high = extrapolate(TIMES, values, replicates).powers
        assert low * 0.85 < power < high * 1.15
        assert high < 4 * low


def test_more_noise_means_a_wider_interval():
    def width(error):
        generator = np.random.default_rng(6)
        limit = extrapolate(TIMES, *noisy(CURVES["constant"], error, generator))
        return limit.upper - limit.lower

    assert width(0.01) < width(0.1) < width(1.0)


def test_further_errors_widen_the_interval():
    values, replicates = noisy(CURVES["power 1"], 0.003, np.random.default_rng(7))
    narrow = extrapolate(TIMES, values, replicates)
    wide = extrapolate(TIMES, values, replicates, np.full(len(TIMES), 0.03))
    assert wide.upper - wide.lower > 1.5 * (narrow.upper - narrow.lower)


def test_a_bias_widens_the_interval_to_where_points_would_be_without():
    values, replicates = noisy(CURVES["power 1"], 0.003, np.random.default_rng(7))
    bias = 0.5 * TIMES / (5.0 + TIMES)
    narrow = extrapolate(TIMES, values + bias, replicates)
    wide = extrapolate(TIMES, values + bias, replicates, bias=bias)
    assert not narrow.lower < LIMIT < narrow.upper
    assert wide.lower < LIMIT < wide.upper


def test_curves_without_noise_are_extrapolated_exactly():
    values = 10 - 8 / (1 + TIMES)
    limit = extrapolate(TIMES, values, np.tile(values, (8, 1)))
    assert limit.status is Status.SUCCESS
    assert limit.lower < LIMIT < limit.upper


@pytest.mark.parametrize("n_points", [0, 1, 5])
def test_too_few_points_say_nothing(n_points):
    times = np.arange(n_points, dtype=float)
    limit = extrapolate(times, np.ones(n_points), np.ones((8, n_points)))
    assert limit.status is Status.NOT_SETTLED
    assert (limit.lower, limit.upper, limit.n_points) == (-np.inf, np.inf, 0)
    assert np.isnan(limit.value)


def test_the_range_of_powers_matters_where_the_data_leave_it_open():
    values, replicates = noisy(CURVES["power 1"], 0.003, np.random.default_rng(10))
    precise = extrapolate(TIMES, values, replicates)
    assert 0.1 < precise.powers[0] < precise.powers[1] < 4.0  # the data decide, not the range
    assert precise.wider == (precise.lower, precise.upper)
    values, replicates = noisy(lambda t: LIMIT - 8 * t**-0.15, 0.003, np.random.default_rng(10))
    slow = extrapolate(TIMES, values, replicates)
    assert np.isnan(slow.narrower).all()  # none of these powers describes it
    assert slow.wider[0] <= slow.lower < LIMIT < slow.upper < slow.wider[1]


def test_more_of_the_curve_is_used_where_one_law_describes_it():
    values, replicates = noisy(CURVES["power 1"], 0.03, np.random.default_rng(11))
    assert extrapolate(TIMES, values, replicates).window[0] < TIMES[-1] / 50
    jump = np.where(TIMES < 10, -1.0, 0.0)
    late = extrapolate(TIMES, values + jump, replicates + jump)
    assert 10 <= late.window[0] < 50
    assert late.lower < LIMIT < late.upper


def test_points_without_a_value_are_left_out():
    values, replicates = noisy(CURVES["power 1"], 0.01, np.random.default_rng(8))
    gone = np.isin(np.arange(len(TIMES)), [0, 3, 20])
    with_gaps = extrapolate(TIMES, np.where(gone, np.nan, values), replicates)
    without = extrapolate(TIMES[~gone], values[~gone], replicates[:, ~gone])
    assert with_gaps == without


def test_plain_types_and_back():
    limit = extrapolate(TIMES, *noisy(CURVES["power 1"], 0.01, np.random.default_rng(9)))
    config = limit.to_config()
    assert config["status"] == limit.status.name
    assert Extrapolation(**{**config, "status": limit.status}) == limit
