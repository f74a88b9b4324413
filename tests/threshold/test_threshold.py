"""delta_NN: exact values at step 0, honest statuses, every crossing, smooth in delta."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import brentq

import dmft
import rmt
from dmft import Status
from dmft._numerics.execution import Execution
from dmft.hessian.gap_samples import GapSample
from dmft.threshold.gap_memo import Evaluation, GapFunction, GapMemo
from dmft.threshold.refinement import slope_at

METHOD = dmft.GradientDescent(0.2, 10)
SAMPLING = dmft.Sampling(n_paths=2048, replicates=8, seed=0)


def retrieval(activation="quadratic", loss="pseudo-huber", **more):
    return dmft.Problem("phase-retrieval", dmft.Network(activation), loss, **more)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    gap = GapFunction(GapMemo(retrieval("gelu"), METHOD, SAMPLING, Execution()), 10)
    deltas = 3.0 * (1 + 1e-3 * np.arange(5))
    values = np.array([gap(delta) for delta in deltas])
    error = gap.stderr(deltas[0])
    curvature = np.abs(np.diff(values, 2))
    assert curvature.max() < 0.01 * error


@pytest.mark.slow
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


# -- gaps with known roots -----------------------------------------------------------------------


def evaluation(value, error):
    """A gap, or the status of a run without one, whose two replicates give it an error."""
    if isinstance(value, dmft.Status) or np.isnan(value):
        status = value if isinstance(value, dmft.Status) else dmft.Status.DIVERGED
        return Evaluation(GapSample.missing(status))
    gap = value + error * np.array([0.0, -1.0, 1.0])
    return Evaluation(GapSample(gap, -np.ones(3), np.nan, dmft.Status.SUCCESS), 0.0)


def find(monkeypatch, function, bracket, error=0.0, **more):
    """Threshold of a gap with known roots."""

    def evaluations(memo, delta, steps, advance=None):
        return {step: evaluation(function(delta), error) for step in steps}

    monkeypatch.setattr(GapMemo, "_evaluations", evaluations)
    return dmft.find_delta_nn(retrieval(), METHOD, bracket, **more)


def test_every_sign_change_is_refined_and_the_last_one_counts(monkeypatch):
    # + on (1, 2), - on (2, 4), + on (4, 6), - beyond.
    result = find(monkeypatch, lambda d: (2 - d) * (4 - d) * (6 - d), (1, 10), scan_points=25)
    assert result.status is dmft.Status.SUCCESS
    assert abs(result.value - 6) < 1e-5
    assert [crossing.opens for crossing in result.crossings] == [True, False, True]
    for crossing, root in zip(result.crossings, (2, 4, 6), strict=True):
        assert crossing.refined
        assert crossing.stderr == 0.0
        assert abs(crossing.value - root) < 1e-5
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


@pytest.mark.slow
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


# -- every status of an edge ---------------------------------------------------------------------


class Law:
    """A stand-in for the law of a Hessian."""

    m = 2

    def __init__(self, gap, status=Status.SUCCESS, replicates=(), edge=-1.0):
        self.gap, self.status, self.replicates, self.edge = gap, status, replicates, edge

    def edges(self):
        return SimpleNamespace(left=self.edge, status=self.status, sides=(self.status, None))

    def edge_kinds(self):
        return (rmt.EdgeKind("square-root", 1.0, 0.0, True),) * 2

    def hard_gap(self, criterion, index):
        if isinstance(self.gap, Exception):
            raise self.gap
        return self.gap

    def hard_levels(self, criterion):
        one = np.array([[1.0]])
        return rmt.HardLevels(np.array([self.gap]), np.zeros(1), ("square-root",), one, one)

    def edge_sensitivity(self):
        return 0.0, 0.0


def with_replicates(gap, spoilt=0.01, status=Status.SUCCESS):
    """A law with four replicates, one of them of this gap and status."""
    return Law(gap, replicates=[Law(gap - 0.01), Law(gap), Law(gap), Law(gap + spoilt, status)])


BAD_LAWS = {
    "edge": (lambda gap: Law(gap, Status.MAX_STEPS), Status.MAX_STEPS),
    "edge of a replicate": (
        lambda gap: with_replicates(gap, status=Status.MAX_STEPS),
        Status.MAX_STEPS,
    ),
    "gap of a replicate, NaN": (lambda gap: with_replicates(gap, np.nan), Status.NONFINITE),
    "gap of a replicate, infinite": (lambda gap: with_replicates(gap, np.inf), Status.NONFINITE),
    "edge not a number": (lambda gap: Law(gap, edge=np.nan), Status.NONFINITE),
    "overflow": (lambda gap: Law(FloatingPointError("overflow")), Status.NONFINITE),
    "no start": (lambda gap: Law(ArithmeticError("no point")), Status.UNPHYSICAL_BRANCH),
    "singular": (lambda gap: Law(np.linalg.LinAlgError("singular")), Status.UNPHYSICAL_BRANCH),
    "stated": (
        lambda gap: Law(dmft.NumericalFailure(Status.ILL_CONDITIONED)),
        Status.ILL_CONDITIONED,
    ),
}


@pytest.mark.parametrize("name", BAD_LAWS)
def test_any_status_of_a_law_arrives_in_the_threshold(monkeypatch, name, tmp_path):
    """At deltas from 2.5 to 4, where the gap 3 - delta crosses zero, and in the saved file."""
    spoil, expected = BAD_LAWS[name]

    def law(problem, delta, sampling, **_):
        return spoil(3 - delta) if 2.5 < delta < 4 else with_replicates(3 - delta)

    monkeypatch.setattr("dmft.threshold.gap_memo.initial_law", law)
    result = dmft.find_delta_nn(retrieval(), METHOD, (1, 10), step=0)
    assert result.status is expected
    assert np.isnan(result.value)
    (crossing,) = result.crossings
    assert not crossing.refined
    assert crossing.lower < 2.5 < 4 < crossing.upper
    spoilt = (result.delta > 2.5) & (result.delta < 4)
    assert [status is expected for status in result.statuses] == spoilt.tolist()
    assert np.isnan(result.gap[spoilt]).all()
    assert f"{expected.name} at delta = " in result.detail
    result.save(tmp_path / "threshold.npz")
    loaded = dmft.Threshold.load(tmp_path / "threshold.npz")
    assert (loaded.status, loaded.detail, loaded.statuses) == (
        result.status,
        result.detail,
        result.statuses,
    )
    with pytest.raises(dmft.NumericalFailure, match=rf"{expected.name}: .* at delta = "):
        dmft.find_delta_nn(retrieval(), METHOD, (1, 10), step=0, throw=True)


@pytest.mark.parametrize(
    "status", [Status.TOO_FEW_PATHS, Status.OUT_OF_MEMORY, Status.MAX_STEPS, Status.NONFINITE]
)
@pytest.mark.parametrize(
    ("where", "matters"), [((1.2, 2.0), False), ((2.5, 4.0), True), ((5.0, 8.0), True)]
)
def test_a_failure_matters_at_the_crossing_and_above_it(monkeypatch, status, where, matters):
    """Above it, because the outlier may not stay; below, delta_NN is what it is."""

    def gap(delta):
        return status if where[0] < delta < where[1] else 3 - delta

    result = find(monkeypatch, gap, (1, 10))
    assert result.status is (status if matters else Status.SUCCESS)
    assert np.isnan(result.value) if matters else abs(result.value - 3) < 1e-5
    assert status in result.statuses
    assert status.name in result.detail


def test_unstable_paths_are_a_status_of_their_own():
    # r^2 with a large step near delta = 1.
    method = dmft.GradientDescent(0.2, 4)
    sampling = dmft.Sampling(n_paths=512, replicates=4)
    result = dmft.find_delta_nn(retrieval(), method, (0.7, 3), sampling=sampling)
    assert result.unstable_share > 0.01
    assert result.stability_status is Status.UNSTABLE_PATHS


# -- sign changes between the points of the scan -------------------------------------------------


def relative_square(constant):
    """The loss (f - y)^2 / (2 (constant + y)) of r^2 on z^2: an outlier in a window of delta."""
    loss = dmft.Loss(
        lambda f, y: (f - y) ** 2 / (2 * (constant + y)),
        lambda f, y: (f - y) / (constant + y),
        lambda f, y: np.ones_like(f) / (constant + y),
        name="relative square",
    )
    return dmft.Problem("phase-retrieval", dmft.Network("quadratic"), loss)


def exact_gap(constant):
    """Hard gap of `relative_square` at step 0, from the trapezoidal rule and scipy's brentq.

    D = (6 r^2 - 2 y)/(constant + y), inf D = -2 where y grows: B > 2 in the formula of the edge.
    """
    z, r = np.arange(0, 11, 0.004), np.arange(0, 11, 0.04)
    weight = np.exp(-0.5 * r[:, np.newaxis] ** 2 - 0.5 * z**2)
    weight[0] *= 0.5
    weight[:, 0] *= 0.5
    weight /= weight.sum()
    D = (6 * r[:, np.newaxis] ** 2 - 2 * z**2) / (constant + z**2)

    def gap(delta):
        def slope(B):
            return np.sum(weight * (D / (B + D)) ** 2) - 1 / delta

        def value(B):
            return B * (np.sum(weight * D / (B + D)) - 1 / delta)

        B = 2.0 + 1e-12 if slope(2.0 + 1e-12) <= 0 else brentq(slope, 2.0 + 1e-12, 1e6)
        edge = value(B)
        if edge > 0:
            B, edge = brentq(value, B, 1e7), 0.0
        return np.sum(weight * z**2 * B * D / (B + D)) - edge

    return gap


@pytest.mark.slow
@pytest.mark.parametrize("bracket", [(0.5, 16), (1, 10), (0.5, 8)])
def test_a_window_between_the_points_of_the_scan_is_found(bracket):
    result = dmft.find_delta_nn(relative_square(0.01), METHOD, bracket, step=0)
    assert result.status is Status.NO_BRACKET
    appears, disappears = result.crossings
    assert (appears.opens, disappears.opens) == (True, False)
    assert appears.refined
    assert disappears.refined
    # By `exact_gap` with a spacing of 0.03 in r.
    assert abs(appears.value - 2.850752) < 2e-6
    assert abs(disappears.value - 3.092141) < 2e-6
    plain = np.geomspace(*bracket, 9)
    assert not ((plain > appears.value) & (plain < disappears.value)).any()
    assert "disappears at delta = 3.092" in result.detail


@pytest.mark.slow
def test_every_crossing_at_step_zero_is_exact():
    gap = exact_gap(0.1)
    exact = [brentq(gap, 2, 2.5, xtol=1e-8), brentq(gap, 3.3, 3.8, xtol=1e-8)]
    result = dmft.find_delta_nn(relative_square(0.1), METHOD, (0.5, 16), step=0)
    values = [crossing.value for crossing in result.crossings]
    np.testing.assert_allclose(values, exact, atol=2e-6)
    assert [crossing.stderr for crossing in result.crossings] == [0.0, 0.0]


@pytest.mark.parametrize("width", [0.3, 0.15, 0.08])
@pytest.mark.parametrize("centre", [2.1, 3.0, 3.7])
@pytest.mark.parametrize("sign", [1, -1])
def test_near_tangencies_at_later_steps(monkeypatch, width, centre, sign):
    """A parabola in log delta dips below zero by a window of that width; seen with nine points."""

    def gap(delta):
        x = np.log(delta / centre)
        return sign * (x**2 - (width / 2) ** 2)

    result = find(monkeypatch, gap, (0.5, 16))
    edges = centre * np.exp([-width / 2, width / 2])
    np.testing.assert_allclose([c.value for c in result.crossings], edges, rtol=1e-6)
    assert result.n_evaluations < 35


@pytest.mark.parametrize("bottom", [1e-3, 0.0])
def test_a_gap_that_only_comes_near_zero_has_no_crossing(monkeypatch, bottom):
    result = find(monkeypatch, lambda d: np.log(d / 2.9) ** 2 + bottom, (0.5, 16))
    assert result.status is Status.NO_BRACKET
    assert result.crossings == ()
    assert result.n_evaluations <= 18
    assert "smallest" in result.detail


def test_a_minimum_within_its_error_is_said(monkeypatch):
    result = find(monkeypatch, lambda d: np.log(d / 2.8284271) ** 2 + 1e-3, (0.5, 16), error=1e-2)
    assert "zero within two standard errors" in result.detail


@pytest.mark.parametrize(
    "function", [lambda d: 3 - d, lambda d: np.log(3 / d), lambda d: 1 / d - 1 / 3]
)
def test_a_plain_gap_is_evaluated_on_the_scan_and_at_its_root_alone(monkeypatch, function):
    result = find(monkeypatch, function, (1, 10), error=0.01)
    scan = np.geomspace(1, 10, 9)
    assert np.isin(scan.round(9), result.delta.round(9)).all()
    (crossing,) = result.crossings
    others = result.delta[~np.isin(result.delta.round(9), scan.round(9))]
    assert np.all((others > crossing.lower) & (others < crossing.upper))
    assert len(others) <= 5


def test_a_change_that_cannot_be_excluded_leaves_the_threshold_open(monkeypatch):
    # Beyond the crossing at 2 the gap touches zero, at deltas that no scan meets.
    def gap(delta):
        return 2 - delta if delta < 2.2 else 0.2 * np.sin(12 * np.log(delta)) - 0.2

    result = find(monkeypatch, gap, (1, 10))
    assert result.status is Status.MAX_STEPS
    assert np.isnan(result.value)
    assert "raise the number of points" in result.detail
    (crossing,) = result.crossings
    assert abs(crossing.value - 2) < 1e-5


# -- brackets ------------------------------------------------------------------------------------


def test_a_steep_root_in_a_wide_interval_is_located_to_its_error(monkeypatch):
    """The slope between the ends of the interval says nothing of the slope at the root."""
    result = find(monkeypatch, lambda d: 1 / d - 1 / 3, (1e-9, 1e9), error=0.01, scan_points=4)
    assert result.status is Status.SUCCESS
    assert abs(result.value - 3) < 0.1 * result.stderr
    assert abs(result.stderr - 0.01 * 9) < 0.03


def test_the_error_next_to_where_runs_diverge_is_that_of_the_slope_at_the_root(monkeypatch):
    """Beside the crossing the gap is a million, and the scan too close to see the slope else."""

    def gap(delta):
        return 1e6 if delta < 1.5 else 3.0 - 1.5 * delta

    result = find(monkeypatch, gap, (1.0, 16), error=0.1, scan_points=9)
    assert abs(result.value - 2) < 0.1 * result.stderr
    assert 0.5 < result.stderr / (0.1 / 1.5) < 2
    rough = find(monkeypatch, gap, (1.0, 16), error=2.0, scan_points=9)
    assert 0.5 < rough.stderr / (2.0 / 1.5) < 2


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize(
    "bracket",
    [
        (1e-300, 1e300),
        (1e-12, 1e12),
        (1, 1e300),
        (1e-300, 1),
        (1e200, 1e300),
        (1, np.nextafter(1, 2)),
        (3.0, 3.0000001),
        (1e-300, 1e-299),
    ],
)
@pytest.mark.parametrize("second_layer", [[1.0], [0.5, 0.5]])
def test_extreme_brackets_are_answered_by_a_status(bracket, step, second_layer):
    if step == 0 and len(second_layer) > 1:
        pytest.skip("three Gaussians take seconds")
    problem = dmft.Problem("phase-retrieval", dmft.Network("gelu", second_layer), "pseudo-huber")
    method, sampling = dmft.GradientDescent(0.2, 2), dmft.Sampling(n_paths=64, replicates=2)
    result = dmft.find_delta_nn(
        problem, method, bracket, step=step, sampling=sampling, scan_points=4
    )
    curve = dmft.delta_nn_curve(problem, method, bracket, [step], sampling, points=4, max_solves=9)
    for found in (result, curve):
        assert isinstance(found.status, Status)
    if result.status.ok:
        exact = 1.692757 if step == 0 else 1.7
        assert abs(result.value - exact) < max(3 * result.stderr, 1e-5)
    if bracket == (1e-12, 1e12) and len(second_layer) == 1:
        assert result.status.ok


@pytest.mark.parametrize("bracket", [(5e-324, 1), (1, 1.7e308)])
def test_brackets_that_no_float_can_be_divided_by(bracket):
    with pytest.raises(ValueError, match=r"bracket\[\d\] must be from 1e-300 to 1e\+300, got "):
        dmft.find_delta_nn(retrieval(), METHOD, bracket, step=0)


# -- what the messages say -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (lambda d: 20 - d, "positive at both ends and falls towards the upper end: raise it"),
        (lambda d: d, "positive at both ends and falls towards the lower end: lower it below 1"),
        (lambda d: 0.5 - d, "negative at both ends, .* lower the lower end below 1"),
        (lambda d: (d - 4) ** 2 + 1, "smallest .* raise the upper end"),
        (lambda d: (2 - d) * (5 - d), "disappears at delta = 5, .* raise it above 10"),
        (lambda d: np.nan if d < 2 else 20 - d, "positive wherever it has a value"),
    ],
)
def test_no_bracket_says_which_end_to_move(monkeypatch, gap, words):
    result = find(monkeypatch, gap, (1, 10))
    assert result.status is Status.NO_BRACKET
    assert re.search(words, result.detail)


@pytest.mark.parametrize("loss", ["square", "pseudo-huber"])
def test_labels_of_noise_alone_have_no_threshold(loss):
    """Neither another bracket nor runs of finite d have one: no advice to look there."""
    noise = dmft.Target(lambda z, eps: eps, k=1)
    problem = dmft.Problem(noise, dmft.Network("gelu"), loss)
    result = dmft.find_delta_nn(problem, METHOD, (1, 8), step=0)
    assert result.status in (Status.NO_BRACKET, Status.UNBOUNDED_EDGE)
    assert "does not depend on the hard directions" in result.detail
    assert "raise" not in result.detail
    assert "d=1000" not in result.detail


def test_a_part_that_diverged_asks_for_a_smaller_step(monkeypatch):
    result = find(monkeypatch, lambda d: np.nan if d > 4 else 20 - d, (1, 10))
    assert result.status is Status.DIVERGED
    assert "smaller step_size" in result.detail


def test_a_run_that_ended_early_says_where():
    method = dmft.GradientDescent(1e4, 30)
    result = dmft.find_delta_nn(
        retrieval("quadratic", weight_decay=1.0), method, (1, 4), sampling=SAMPLING, scan_points=2
    )
    assert "DIVERGED at delta = 1, 4, after step 1" in result.detail


def test_an_unbounded_edge_names_what_is_unbounded_and_the_law_of_finite_size(tmp_path):
    result = dmft.find_delta_nn(retrieval(loss="square"), METHOD, (1, 8), step=0)
    assert "L' falls to -infinity as y grows to +infinity" in result.detail
    assert "a loss whose first derivative is bounded" in result.detail
    assert "n = delta d weights" in result.detail
    assert "find_delta_nn(..., d=1000)" in result.detail
    result.save(tmp_path / "t.npz")
    assert dmft.Threshold.load(tmp_path / "t.npz").detail == result.detail


def test_a_rough_gap_has_its_slope_from_where_differences_are_told():
    """Next to the root there is only noise: a slope from there would make the error vanish."""
    rng = np.random.default_rng(0)
    delta = np.array([5.0, 7.9, 7.999, 8.0, 8.001, 8.1, 11.0])
    rows = -0.1 * (delta - 8.0)[:, np.newaxis] + 0.03 * rng.standard_normal((7, 9))
    rows[:, 0] = rows[:, 1:].mean(axis=1)
    rows[2:5, 0] = 0.02, 1e-4, -0.02  # a sign changes by chance
    evaluations = {
        place: SimpleNamespace(sample=SimpleNamespace(gap=row))
        for place, row in zip(delta.tolist(), rows, strict=True)
    }
    values = SimpleNamespace(delta=delta, gap=rows[:, 0], evaluations=evaluations)
    gap = SimpleNamespace(values=lambda: values)
    slope = slope_at(gap, dmft.Crossing(8.0, 7.999, 8.001, True, True, 1e-6))
    assert slope.value == pytest.approx(-0.1, rel=0.2)
