"""delta_NN: exact values at step 0, honest statuses, every crossing, smooth in delta."""

import numpy as np
import pytest

import dmft
from dmft import threshold as threshold_module

METHOD = dmft.GradientDescent(0.2, 10)
SAMPLING = dmft.Sampling(n_paths=2048, replicates=8, seed=0)


def retrieval(activation="quadratic", loss="pseudo-huber", **more):
    return dmft.Problem("phase-retrieval", dmft.Network(activation), loss, **more)


@pytest.mark.parametrize(
    ("activation", "bracket", "exact"),
    [("quadratic", (0.3, 4), 0.923026284518), ("gelu", (0.5, 6), 1.692756688659)],
)
def test_exact_threshold_at_step_zero(activation, bracket, exact):
    # Values from an independent two-dimensional quadrature (tests/problems.py).
    result = dmft.find_delta_nn(retrieval(activation), METHOD, bracket, step=0)
    assert result.status is dmft.Status.SUCCESS
    assert abs(result.value - exact) < 1e-6
    assert result.stderr == 0.0
    assert result.residual < 1e-6


def test_threshold_after_some_steps():
    result = dmft.find_delta_nn(retrieval("gelu"), METHOD, (1, 10), sampling=SAMPLING)
    assert result.status is dmft.Status.SUCCESS
    assert result.step == 10
    assert 1.693 < result.value < 10  # later than at step 0
    assert 0 < result.stderr < 0.1 * result.value
    assert result.residual < result.stderr  # slope of the gap is below one here
    (crossing,) = result.crossings
    assert crossing.refined
    assert crossing.opens
    assert crossing.lower <= result.value <= crossing.upper
    # The crossing separates the two phases.
    assert np.all(result.gap[result.delta < crossing.lower] > 0)
    assert np.all(result.gap[result.delta > crossing.upper] < 0)


def test_standard_error_is_honest():
    values = [
        dmft.find_delta_nn(
            retrieval("gelu"),
            dmft.GradientDescent(0.2, 5),
            (1.5, 4),
            sampling=dmft.Sampling(n_paths=256, seed=seed),
            scan_points=3,
        )
        for seed in range(12)
    ]
    spread = np.std([result.value for result in values], ddof=1)
    reported = np.sqrt(np.mean([result.stderr**2 for result in values]))
    assert 0.4 < spread / reported < 2.0


def test_gap_is_smooth_in_delta():
    # Common random numbers: over 0.1 % in delta the gap moves with its slope, not with its error.
    gap = threshold_module._Gap(retrieval("gelu"), METHOD, SAMPLING, 10, None, None)
    deltas = 3.0 * (1 + 1e-3 * np.arange(5))
    values = np.array([gap(delta) for delta in deltas])
    error = gap.values[deltas[0]][1]
    curvature = np.abs(np.diff(values, 2))
    assert curvature.max() < 0.01 * error


def test_no_crossing_is_a_status_with_the_gap_at_both_ends():
    result = dmft.find_delta_nn(retrieval("gelu"), METHOD, (3, 8), step=0)
    assert result.status is dmft.Status.NO_BRACKET
    assert np.isnan(result.value)
    assert result.crossings == ()
    assert result.gap_at_bracket[0] < 0
    assert result.gap_at_bracket[1] < 0
    with pytest.raises(dmft.NumericalFailure, match="NO_BRACKET"):
        dmft.find_delta_nn(retrieval("gelu"), METHOD, (3, 8), step=0, throw=True)


def test_unbounded_left_edge_is_a_status():
    result = dmft.find_delta_nn(retrieval(loss="square"), METHOD, (1, 8), step=0)
    assert result.status is dmft.Status.UNBOUNDED_EDGE
    assert np.isnan(result.value)


def test_divergence_in_the_bracket_is_a_status():
    method = dmft.GradientDescent(1e4, 30)
    result = dmft.find_delta_nn(
        retrieval("quadratic", weight_decay=1.0), method, (1, 4), sampling=SAMPLING, scan_points=3
    )
    assert result.status is dmft.Status.DIVERGED
    assert np.isnan(result.gap).all()


class Synthetic:
    """A stand-in for the gap with known roots."""

    def __init__(self, function, error=0.0):
        self.function, self.error = function, error

    def __call__(self, gap, delta):
        value = self.function(delta)
        if np.isnan(value):
            gap.failure[delta] = dmft.Status.DIVERGED
        return value, self.error


def find(monkeypatch, function, bracket, error=0.0, **more):
    synthetic = Synthetic(function, error)
    monkeypatch.setattr(
        threshold_module._Gap, "_evaluate", lambda self, delta: synthetic(self, delta)
    )
    return dmft.find_delta_nn(retrieval(), METHOD, bracket, **more)


def test_every_sign_change_is_reported_and_the_last_one_refined(monkeypatch):
    # + on (1, 2), - on (2, 4), + on (4, 6), - beyond.
    result = find(monkeypatch, lambda d: (2 - d) * (4 - d) * (6 - d), (1, 10), scan_points=25)
    assert result.status is dmft.Status.SUCCESS
    assert abs(result.value - 6) < 1e-5
    assert [crossing.opens for crossing in result.crossings] == [True, False, True]
    assert [crossing.refined for crossing in result.crossings] == [False, False, True]
    for crossing, root in zip(result.crossings, (2, 4, 6), strict=True):
        assert crossing.lower <= root <= crossing.upper


def test_an_outlier_that_does_not_stay_defines_no_threshold(monkeypatch):
    result = find(monkeypatch, lambda d: (2 - d) * (5 - d), (1, 10))
    assert result.status is dmft.Status.NO_BRACKET
    assert len(result.crossings) == 2


def test_refinement_stops_at_the_sampling_error(monkeypatch):
    fine = find(monkeypatch, lambda d: np.cos(d / 2), (1, 5), error=0.0)
    rough = find(monkeypatch, lambda d: np.cos(d / 2), (1, 5), error=0.1)
    assert rough.n_evaluations < fine.n_evaluations
    assert abs(fine.value - np.pi) < 1e-6
    assert abs(rough.value - np.pi) < 0.1 * rough.stderr
    assert abs(rough.stderr - 0.2) < 0.02  # error over slope


def test_diverged_points_outside_the_crossing_do_not_spoil_it(monkeypatch):
    result = find(monkeypatch, lambda d: np.nan if d < 1.5 else 3 - d, (1, 10))
    assert result.status is dmft.Status.SUCCESS
    assert abs(result.value - 3) < 1e-5
    assert np.isnan(result.gap_at_bracket[0])


def test_diverged_points_inside_the_crossing_leave_it_open(monkeypatch):
    result = find(monkeypatch, lambda d: np.nan if 2 < d < 5 else 3 - d, (1, 10))
    assert result.status is dmft.Status.DIVERGED
    assert np.isnan(result.value)


def test_divergence_met_while_refining_leaves_it_open(monkeypatch):
    result = find(monkeypatch, lambda d: np.nan if 2.9 < d < 3.1 else 3 - d, (1, 10))
    assert result.status is dmft.Status.DIVERGED


def test_saved_threshold_loads_back(tmp_path):
    result = dmft.find_delta_nn(retrieval("gelu"), METHOD, (0.5, 6), step=0, scan_points=4)
    result.save(tmp_path / "threshold.npz")
    loaded = dmft.Threshold.load(tmp_path / "threshold.npz")
    assert loaded.value == result.value
    assert loaded.crossings == result.crossings
    assert loaded.status is result.status
    np.testing.assert_array_equal(loaded.gap, result.gap)
    assert loaded.config["problem"]["network"]["activation"] == "gelu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bracket": (4, 1)}, r"bracket must have lower < upper, got \(4, 1\)"),
        ({"bracket": (2, 2)}, "bracket must have lower < upper"),
        ({"bracket": (0, 2)}, r"bracket\[0\] must be a positive finite number, got 0"),
        ({"bracket": (1, float("inf"))}, r"bracket\[1\] must be a positive finite number"),
        ({"bracket": 3.0}, "bracket must be a pair"),
        ({"step": 11}, r"step must be in 0\.\.n_steps = 0\.\.10, got 11"),
        ({"step": -1}, "step"),
        ({"scan_points": 1}, "scan_points"),
        ({"problem": "x"}, "problem must be a dmft.Problem"),
        ({"method": "x"}, "method must be a dmft.GradientDescent"),
        ({"problem": dmft.Problem("staircase")}, "problem must have a hard direction"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"problem": retrieval(), "method": METHOD, "bracket": (1, 4), **change}
    with pytest.raises(ValueError, match=message):
        dmft.find_delta_nn(**arguments)


@pytest.mark.parametrize("errors", [0.5, 3.0])
def test_zooming_in_on_the_threshold(errors):
    sampling = dmft.Sampling(n_paths=128, replicates=4)
    method = dmft.GradientDescent(0.2, 3)
    wide = dmft.find_delta_nn(retrieval("gelu"), method, (1, 6), sampling=sampling)
    width = errors * wide.stderr
    bracket = (wide.value - width / 2, wide.value + width / 2)
    close = dmft.find_delta_nn(retrieval("gelu"), method, bracket, sampling=sampling, scan_points=2)
    assert close.status is dmft.Status.SUCCESS
    assert abs(close.value - wide.value) < 0.3 * wide.stderr
    assert 0.5 < close.stderr / wide.stderr < 2.0


def test_unusable_sampling():
    with pytest.raises(ValueError, match=r"sampling must be a dmft\.Sampling, got str"):
        dmft.find_delta_nn(retrieval(), METHOD, (1, 4), step=0, sampling="x")
