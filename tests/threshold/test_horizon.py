"""delta_NN against the horizon: the same numbers as one search per step, from one set of solves."""

from types import SimpleNamespace

import numpy as np
import pytest

import dmft
import rmt
from dmft.solver.process import Process
from dmft.threshold import gap_memo
from dmft.threshold.horizon import default_steps
from dmft.threshold.interpolation import disagreement, local_polynomial, root_between

METHOD = dmft.GradientDescent(0.2, 10)
SAMPLING = dmft.Sampling(n_paths=512, replicates=8, seed=0)
Status = dmft.Status


def retrieval(activation="gelu", loss="pseudo-huber", **more):
    return dmft.Problem("phase-retrieval", dmft.Network(activation), loss, **more)


@pytest.fixture(scope="module")
def curve():
    return dmft.delta_nn_curve(retrieval(), METHOD, (1, 8), sampling=SAMPLING)


# -- the numbers ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_agrees_with_a_search_at_each_step(curve):
    assert curve.status is Status.SUCCESS
    for step in (1, 4, 10):
        one = dmft.find_delta_nn(retrieval(), METHOD, (1, 8), step=step, sampling=SAMPLING)
        place = list(curve.steps).index(step)
        assert abs(curve.value[place] - one.value) < 0.3 * one.stderr + 1e-4 * one.value
        assert 0.5 < curve.stderr[place] / one.stderr < 2.0
        assert one.stderr > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "bracket", "exact"),
    [("quadratic", (0.3, 4), 0.923026284518), ("gelu", (0.5, 6), 1.692756688659)],
)
def test_exact_threshold_at_step_zero(activation, bracket, exact):
    # Values from an independent two-dimensional quadrature (tests/problems.py).
    result = dmft.delta_nn_curve(retrieval(activation), METHOD, bracket, steps=[0])
    assert abs(result.value[0] - exact) < 1e-6
    assert result.stderr[0] == 0.0
    assert result.status is Status.SUCCESS
    assert result.crossings[0][-1].refined


def test_step_zero_is_exact_in_a_curve_too(curve):
    assert curve.steps[0] == 0
    assert abs(curve.value[0] - 1.692756688659) < 1e-6
    assert curve.stderr[0] == 0.0
    np.testing.assert_allclose(curve.replicates[:, 0], curve.value[0], rtol=1e-12)


def test_rises_and_the_edge_comes_closer_to_zero(curve):
    # GELU on z^2: the threshold grows with the horizon, and the bulk approaches marginality.
    assert np.all(np.diff(curve.value) > 0)
    assert np.all(curve.edge_at_threshold < 0)
    assert np.all(np.diff(curve.edge_at_threshold) > 0)
    assert np.all(curve.edge_at_threshold_stderr[1:] > 0)


def test_the_edge_at_the_threshold_is_that_of_a_solve_there(curve):
    trajectory = dmft.solve(retrieval(), float(curve.value[-1]), METHOD, SAMPLING)
    law = trajectory.hessian(10)
    assert abs(law.edges().left - curve.edge_at_threshold[-1]) < 0.3 * law.edge_errors()[0]
    assert abs(law.hard_gap()) < 0.3 * law.stderr("hard_gap")


def test_gaps_and_edges_are_those_of_a_solve(curve):
    index = len(curve.delta) // 2
    step = int(curve.steps[np.flatnonzero(np.isfinite(curve.gap[index]))[-1]])
    method = METHOD.until(int(step))
    trajectory = dmft.solve(retrieval(), curve.delta[index], method, SAMPLING)
    law = trajectory.hessian(step)
    place = list(curve.steps).index(step)
    assert curve.gap[index, place] == pytest.approx(law.hard_gap(), rel=1e-9)
    assert curve.gap_stderr[index, place] == pytest.approx(law.stderr("hard_gap"), rel=1e-9)
    assert curve.left_edge[index, place] == pytest.approx(law.edges().left, rel=1e-9)
    assert curve.left_edge_stderr[index, place] == pytest.approx(law.edge_errors()[0], rel=1e-9)


@pytest.mark.slow
def test_one_solve_for_each_delta(monkeypatch):
    asked, called = [], []
    original = gap_memo.solve_with

    def counted(execution, problem, delta, *rest, **more):
        asked.append(delta)
        return original(execution, problem, delta, *rest, **more)

    monkeypatch.setattr(gap_memo, "solve_with", counted)
    result = dmft.delta_nn_curve(
        retrieval(), METHOD, (1, 8), sampling=SAMPLING, progress=called.append
    )
    assert sorted(asked) == result.delta.tolist()
    assert called == [1] * result.n_evaluations
    assert result.n_evaluations < 2 * len(result.steps)  # a search takes more than ten for each


@pytest.mark.slow
def test_numbers_do_not_depend_on_threads(curve):
    again = dmft.delta_nn_curve(retrieval(), METHOD, (1, 8), sampling=SAMPLING, threads=1)
    np.testing.assert_array_equal(again.value, curve.value)
    np.testing.assert_array_equal(again.replicates, curve.replicates)


@pytest.mark.slow
def test_standard_error_is_honest():
    method = dmft.GradientDescent(0.2, 4)
    results = [
        dmft.delta_nn_curve(
            retrieval(), method, (1.2, 4), [2, 4], dmft.Sampling(n_paths=128, seed=seed), points=4
        )
        for seed in range(12)
    ]
    spread = np.std([result.value for result in results], axis=0, ddof=1)
    reported = np.sqrt(np.mean([result.stderr**2 for result in results], axis=0))
    assert np.all(spread / reported > 0.4)
    assert np.all(spread / reported < 2.0)


def test_unbounded_left_edge_is_seen_at_once():
    result = dmft.delta_nn_curve(retrieval("quadratic", "square"), METHOD, (1, 8), [0, 2])
    assert set(result.statuses) == {Status.UNBOUNDED_EDGE}
    assert result.n_evaluations == 1
    assert np.isnan(result.value).all()
    assert result.limit.status is Status.NOT_SETTLED


@pytest.mark.slow
def test_many_gaussians_have_an_error_at_step_zero(monkeypatch):
    monkeypatch.setattr("dmft.hessian.hessian._SOBOL_POINTS_AT_START", 2**10)
    network = dmft.Network("gelu", [1.0, 0.5, -0.5])
    problem = dmft.Problem("phase-retrieval", network, "pseudo-huber")
    sampling = dmft.Sampling(n_paths=64, replicates=4)
    result = dmft.delta_nn_curve(problem, METHOD, (0.5, 8), [0], sampling, points=5)
    one = dmft.find_delta_nn(problem, METHOD, (0.5, 8), step=0, sampling=sampling, scan_points=5)
    assert abs(result.value[0] - one.value) < 0.3 * one.stderr
    assert 0.3 < result.stderr[0] / one.stderr < 3


# -- gaps with known roots -----------------------------------------------------------------------


class Law:
    """A stand-in for the law of a Hessian."""

    def __init__(self, gap, edge, replicates=(), status=Status.SUCCESS):
        self.gap, self.edge, self.replicates, self.status = gap, edge, replicates, status

    def hard_gap(self, criterion, index):
        return self.gap

    def hard_levels(self, criterion):
        one = np.array([[1.0]])
        return rmt.HardLevels(np.array([self.gap]), np.zeros(1), ("square-root",), one, one)

    def edges(self):
        return SimpleNamespace(left=self.edge, status=self.status, sides=(self.status, None))

    def edge_kinds(self):
        return (rmt.EdgeKind("square-root", 1.0, 0.0, True),) * 2

    def edge_sensitivity(self):
        return 0.0, 0.0


def find(
    monkeypatch, gap, bracket, *, common=0.01, noise=0.0, lasts=None, n_steps=40, spoil=None, **more
):
    """Curve of a given gap(delta, step); ``lasts(delta)`` is the step at which runs end.

    Each replicate has an error of its own that is the same for all delta, of standard deviation
    ``common`` in the mean, and another, ``noise``, which differs from one delta to the next.
    ``spoil(delta, step)`` is the status of the edge of one of them.
    """
    shifts = common * np.sqrt(8) * np.linspace(-1.5, 1.5, 8) / 1.0247

    def law(delta, step):
        own = np.random.default_rng([int(1e6 * delta), step]).standard_normal(8)
        gaps = gap(delta, step) + shifts + noise * np.sqrt(8) * own
        status = Status.SUCCESS if spoil is None else spoil(delta, step)
        laws = [Law(value, -1.0 / (1 + step)) for value in gaps]
        laws[-1].status = status
        return Law(gap(delta, step) + noise * own.mean() * np.sqrt(8), -1.0 / (1 + step), laws)

    def solve_with(execution, problem, delta, method, sampling, **_):
        last = method.n_steps if lasts is None else min(method.n_steps, lasts(delta))
        status = Status.SUCCESS if last == method.n_steps else Status.DIVERGED
        return SimpleNamespace(
            n_steps=last,
            status=status,
            hessian=lambda step, *, keep: law(delta, step),
            unstable_paths=SimpleNamespace(share_until=lambda step: 0.0),
            rank=1,
        )

    monkeypatch.setattr(gap_memo, "solve_with", solve_with)
    steps = more.pop("steps", default_steps(dmft.GradientDescent(0.2, n_steps).times)[1:])
    return dmft.delta_nn_curve(
        retrieval(), dmft.GradientDescent(0.2, n_steps), bracket, steps, SAMPLING, **more
    )


def rising(delta, step):
    return np.log((3 + np.log1p(step)) / delta) * (1 + 0.3 * delta / (1 + delta))


def test_known_roots_are_found_to_a_fraction_of_their_error(monkeypatch):
    result = find(monkeypatch, rising, (1, 12))
    exact = 3 + np.log1p(result.steps)
    assert result.status is Status.SUCCESS
    assert np.all(np.abs(result.value - exact) < 0.2 * result.stderr)
    # The reported error of the interpolation covers the true one.
    assert np.all(np.abs(result.value - exact) < result.interpolation_error + 1e-4 * exact)
    # The gap's error over its slope.
    slope = (rising(exact * 1.001, result.steps) - rising(exact, result.steps)) / (0.001 * exact)
    np.testing.assert_allclose(result.stderr, 0.01 / np.abs(slope), rtol=0.15)


@pytest.mark.slow
def test_a_smaller_error_asks_for_more_solves(monkeypatch):
    def steep(delta, step):
        return np.cos(2 * np.log(delta)) - 0.1 * np.log1p(step) - 0.3

    rough = find(monkeypatch, steep, (1, 4), points=4, common=0.1)
    fine = find(monkeypatch, steep, (1, 4), points=4, common=1e-4)
    assert rough.n_evaluations < fine.n_evaluations
    exact = np.exp(np.arccos(0.3 + 0.1 * np.log1p(fine.steps)) / 2)
    assert np.all(np.abs(fine.value - exact) < 2e-4 * exact)


def test_noise_that_differs_between_deltas_is_not_chased(monkeypatch):
    result = find(monkeypatch, rising, (1, 12), common=0.0, noise=0.01)
    exact = 3 + np.log1p(result.steps)
    assert result.n_evaluations < 20
    deviation = np.sqrt(np.mean((result.value - exact) ** 2))
    assert 0.5 < deviation / np.sqrt(np.mean(result.stderr**2)) < 1.5


@pytest.mark.slow
def test_every_sign_change_is_reported_and_the_last_one_counts(monkeypatch):
    # + on (1, 2), - on (2, 4), + on (4, r), - beyond, with r moving.
    def gap(delta, step):
        return (2 - delta) * (4 - delta) * (6 + 0.01 * step - delta) / 10

    result = find(monkeypatch, gap, (1, 10), points=25)
    np.testing.assert_allclose(result.value, 6 + 0.01 * result.steps, rtol=2e-3)
    for crossings in result.crossings:
        assert [crossing.opens for crossing in crossings] == [True, False, True]
        assert all(c.lower <= c.value <= c.upper for c in crossings)
        assert all(c.refined for c in crossings)
        np.testing.assert_allclose([c.value for c in crossings[:2]], [2, 4], rtol=2e-3)


@pytest.mark.slow
def test_crossings_that_are_not_delta_nn_are_located_too(monkeypatch):
    """On a grid too coarse for them: off by more than their errors without further solves."""

    def gap(delta, step):
        return np.sin(3 * np.log(delta)) * (1 + 0.01 * step)

    result = find(monkeypatch, gap, (1.5, 30), points=7, common=1e-3)
    roots = np.exp(np.pi / 3 * np.arange(1, 4))
    for crossings in result.crossings:
        np.testing.assert_allclose([c.value for c in crossings], roots, rtol=5e-4)
        assert all(c.refined for c in crossings)
        assert all(0.2 < c.stderr / (1e-3 * c.value / 3) < 5 for c in crossings)


@pytest.mark.parametrize("width", [0.3, 0.15])
def test_a_window_between_the_deltas_of_the_grid_is_found(monkeypatch, width):
    def gap(delta, step):
        return np.log(delta / 3) ** 2 - (width / 2) ** 2 - 1e-5 * step

    result = find(monkeypatch, gap, (0.5, 16), common=1e-5)
    assert set(result.statuses) == {Status.NO_BRACKET}
    for step, crossings in zip(result.steps, result.crossings, strict=True):
        half = np.sqrt((width / 2) ** 2 + 1e-5 * step)
        assert [c.opens for c in crossings] == [True, False]
        np.testing.assert_allclose(
            [c.value for c in crossings], 3 * np.exp([-half, half]), rtol=5e-4
        )
    assert "disappears at delta" in result.detail


@pytest.mark.slow
def test_a_window_at_step_zero_is_found_without_a_solve():
    loss = dmft.Loss(
        lambda f, y: (f - y) ** 2 / (2 * (0.01 + y)),
        lambda f, y: (f - y) / (0.01 + y),
        lambda f, y: np.ones_like(f) / (0.01 + y),
    )
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), loss)
    result = dmft.delta_nn_curve(problem, METHOD, (1, 10), [0])
    assert result.n_evaluations == 9
    values = [crossing.value for crossing in result.crossings[0]]
    np.testing.assert_allclose(values, [2.850752, 3.092141], atol=2e-6)  # see test_threshold.py
    assert result.status is Status.NO_BRACKET


@pytest.mark.parametrize("status", [Status.MAX_STEPS, Status.NONFINITE, Status.UNPHYSICAL_BRANCH])
def test_any_status_of_an_edge_arrives_in_the_curve(monkeypatch, status, tmp_path):
    """One replicate's edge at steps from 10 on, where delta_NN is and above it."""

    def spoil(delta, step):
        return status if step >= 10 and delta > 4 else Status.SUCCESS

    result = find(monkeypatch, rising, (1, 12), spoil=spoil)
    early = result.steps < 10
    assert [s is Status.SUCCESS for s in result.statuses] == early.tolist()
    assert set(np.array(result.statuses)[~early]) == {status}
    assert result.status is status
    assert np.isnan(result.value[~early]).all()
    assert result.limit.status is Status.NOT_SETTLED
    assert f"{status.name} at delta = " in result.detail
    result.save(tmp_path / "curve.npz")
    loaded = dmft.ThresholdCurve.load(tmp_path / "curve.npz")
    assert (loaded.status, loaded.detail) == (status, result.detail)
    # The whole that is made of it.
    hardness = SimpleNamespace(status=Status.SUCCESS, delta_alg=0.5, delta_alg_stderr=0.0)
    whole = dmft.AlgorithmicGap(hardness, {"gelu": result}, None, {})
    assert whole.status is status
    assert result.detail in whole.detail
    assert np.isnan(whole.gap["gelu"].value[~early]).all()


@pytest.mark.slow
def test_an_outlier_that_does_not_stay_defines_no_threshold(monkeypatch):
    result = find(monkeypatch, lambda delta, step: (2 - delta) * (5 - delta), (1, 10))
    assert set(result.statuses) == {Status.NO_BRACKET}
    assert np.isnan(result.value).all()
    assert result.status is Status.NO_BRACKET


def test_a_curve_that_leaves_the_bracket(monkeypatch):
    result = find(monkeypatch, rising, (1, 5))
    inside = 3 + np.log1p(result.steps) < 5
    np.testing.assert_array_equal(np.isfinite(result.value), inside)
    assert {Status.SUCCESS, Status.NO_BRACKET} == set(result.statuses)
    assert result.limit.status is Status.NOT_SETTLED
    with pytest.raises(dmft.NumericalFailure, match=r"NO_BRACKET.*First at step 7"):
        find(monkeypatch, rising, (1, 5), throw=True)


def test_a_settled_curve_has_its_limit(monkeypatch):
    def gap(delta, step):
        return np.log((6 - 3 / (1 + 0.2 * step)) / delta)

    result = find(monkeypatch, gap, (1, 12), common=0.002, n_steps=1000)
    assert result.limit.status is Status.SUCCESS
    assert result.limit.lower < 6 < result.limit.upper
    late = find(monkeypatch, gap, (1, 5.5), common=0.002, n_steps=1000)
    assert late.limit.status is Status.NOT_SETTLED  # its end is not in the bracket


def test_a_run_that_diverges_late_serves_the_earlier_steps(monkeypatch):
    result = find(monkeypatch, rising, (1, 12), lasts=lambda delta: 10)
    early = result.steps <= 10
    assert all(status is Status.SUCCESS for status in np.array(result.statuses)[early])
    assert all(status is Status.DIVERGED for status in np.array(result.statuses)[~early])
    np.testing.assert_allclose(result.value[early], 3 + np.log1p(result.steps[early]), rtol=1e-3)
    assert np.isnan(result.value[~early]).all()
    assert result.status is Status.DIVERGED


def test_runs_that_diverge_below_the_crossing_do_not_spoil_it(monkeypatch):
    result = find(monkeypatch, rising, (1, 12), lasts=lambda delta: 5 if delta < 2.5 else 99)
    assert result.status is Status.SUCCESS
    assert np.isnan(result.gap[0, -1])


def test_the_limit_on_solves_is_said(monkeypatch):
    def steep(delta, step):
        return np.cos(2 * np.log(delta)) - 0.1 * np.log1p(step) - 0.3

    result = find(monkeypatch, steep, (1, 4), points=4, max_solves=5, common=1e-4)
    assert result.n_evaluations == 5
    assert result.status is Status.MAX_STEPS
    assert np.isfinite(result.value).all()
    poor = np.array([status is Status.MAX_STEPS for status in result.statuses])
    assert np.all(result.interpolation_error[poor] > 0.2 * result.stderr[poor])


def test_replicates_without_a_root_of_their_own(monkeypatch):
    # The gap of some replicates stays positive in the bracket: their roots by the common slope.
    result = find(monkeypatch, lambda delta, step: 0.1 * np.log(3.9 / delta), (1, 4), common=0.01)
    assert result.status is Status.SUCCESS
    np.testing.assert_allclose(result.stderr, 0.1 * 3.9, rtol=0.25)


# -- parts ---------------------------------------------------------------------------------------


def test_default_steps():
    def steps_of(n_steps):
        return default_steps(dmft.GradientDescent(0.2, n_steps).times)

    assert steps_of(0) == [0]
    assert steps_of(3) == [0, 1, 2, 3]
    for n_steps in (29, 30, 50, 400, 10_000):
        steps = steps_of(n_steps)
        assert (steps[0], steps[-1]) == (0, n_steps)
        assert 30 <= len(steps) <= 32
        assert np.all(np.diff(steps) > 0)
    late = np.diff(np.log1p([step for step in steps_of(400) if step > 40]))
    assert late.max() < 1.2 * late.min()


def test_default_steps_of_uneven_times():
    times = np.concatenate([[0.0], np.geomspace(1e-2, 1e3, 200)])
    steps = default_steps(times)
    assert (steps[0], steps[-1]) == (0, 200)
    assert 30 <= len(steps) <= 32
    late = np.diff(np.log(times[[step for step in steps if step > 50]]))
    assert late.max() < 1.3 * late.min()


def test_interpolation_is_exact_for_cubics():
    x = np.array([0.0, 0.7, 1.0, 2.5, 3.0])
    y = (x - 1.7) * (x + 2) * (x - 9)
    assert root_between(x, y, 2, 1, 1) == pytest.approx(1.7, abs=1e-12)
    assert local_polynomial(x, y, 2).derivative(1.7) == pytest.approx(3.7 * -7.3, rel=1e-10)
    line = 2 - x
    difference, noise = disagreement(x, line, np.tile(line, (3, 1)), 2)
    assert difference < 1e-12
    assert noise < 1e-12


def test_interpolation_at_the_ends_of_the_grid():
    x = np.array([1.0, 2.0, 4.0])
    for interval, root in ((0, 1.5), (1, 3.0)):
        y = (root - x) * (x + 1)
        assert root_between(x, y, interval, 1, 1) == pytest.approx(root, abs=1e-12)


# -- files and arguments -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["curve", "threshold"])
def test_a_search_that_was_stopped_goes_on(kind, tmp_path, monkeypatch):
    """To the same numbers, without solving again what is finished."""
    problem, method = retrieval(), dmft.GradientDescent(0.2, 6)
    sampling = dmft.Sampling(n_paths=256, replicates=2)
    evaluations = []
    evaluate = Process.evaluate
    monkeypatch.setattr(
        Process,
        "evaluate",
        lambda self, *a, **k: evaluations.append(1) or evaluate(self, *a, **k),
    )

    def search(**settings):
        evaluations.clear()
        if kind == "curve":
            return dmft.delta_nn_curve(problem, method, (1, 4), None, sampling, **settings)
        return dmft.find_delta_nn(problem, method, (1, 4), None, sampling, **settings)

    def stop(_):
        if len(list(tmp_path.glob("delta-*"))) == 4:
            raise KeyboardInterrupt

    whole = search()
    n_whole = len(evaluations)
    with pytest.raises(KeyboardInterrupt):
        search(checkpoint=tmp_path, progress=stop)
    n_before = len(evaluations)
    resumed = search(checkpoint=tmp_path)
    assert 0 < n_before < n_whole
    assert n_before + len(evaluations) == n_whole
    np.testing.assert_array_equal(resumed.value, whole.value)
    np.testing.assert_array_equal(resumed.stderr, whole.stderr)
    sampling = dmft.Sampling(n_paths=512, replicates=2)
    with pytest.raises(ValueError, match="checkpoint must be a folder of the same solve"):
        search(checkpoint=tmp_path)


def test_too_little_memory_is_a_status():
    """Enough for the first steps, not for the last."""
    curve = dmft.delta_nn_curve(
        retrieval(),
        dmft.GradientDescent(0.2, 40),
        (1, 8),
        [1, 40],
        dmft.Sampling(n_paths=512, replicates=2),
        points=4,
        max_memory=1.2e6,
    )
    assert [status.name for status in curve.statuses] == ["SUCCESS", "OUT_OF_MEMORY"]


def test_share_of_unstable_paths_along_the_curve():
    """r^2 with a large step near delta = 1; it is that of a solve at the threshold."""
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    sampling = dmft.Sampling(n_paths=512, replicates=4)
    method = dmft.GradientDescent(0.2, 4)
    curve = dmft.delta_nn_curve(problem, method, (0.7, 3), [0, 1, 4], sampling)
    assert curve.unstable_share[0] == 0.0
    assert np.all(curve.unstable_share[1:] > 0.0)
    there = dmft.solve(problem, curve.value[2], method, sampling)
    np.testing.assert_allclose(curve.unstable_share[2], there.unstable_paths.largest[0], rtol=0.1)


def test_saved_curve_loads_back(curve, tmp_path):
    curve.save(tmp_path / "curve.npz")
    loaded = dmft.ThresholdCurve.load(tmp_path / "curve.npz")
    arrays = [name for name, value in vars(curve).items() if isinstance(value, np.ndarray)]
    assert len(arrays) == 20
    for name in arrays:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(curve, name))
    assert loaded.crossings == curve.crossings
    assert loaded.statuses == curve.statuses
    assert repr(loaded.limit) == repr(curve.limit)  # it may hold NaN
    assert loaded.bracket == curve.bracket
    assert loaded.config == curve.config
    with pytest.raises(ValueError, match="threshold curve"):
        dmft.Threshold.load(tmp_path / "curve.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bracket": (4, 1)}, r"bracket must have lower < upper, got \(4, 1\)"),
        ({"bracket": (0, 2)}, r"bracket\[0\] must be a positive finite number, got 0"),
        ({"bracket": 3.0}, "bracket must be a pair"),
        ({"steps": [0, 11]}, r"steps must be in 0\.\.n_steps = 0\.\.10, got 11"),
        ({"steps": [-1]}, "steps must be an integer >= 0, got -1"),
        ({"steps": [2.5]}, "steps must be an integer >= 0, got 2.5"),
        ({"steps": []}, r"steps must be one or more different steps, ascending, got \[\]"),
        ({"steps": [3, 1]}, r"steps must be .* ascending, got \[3, 1\]"),
        ({"steps": [1, 1]}, r"steps must be .* ascending, got \[1, 1\]"),
        ({"steps": 5}, "steps must be a list of steps, got 5"),
        ({"points": 3}, "points must be an integer >= 4, got 3"),
        ({"max_solves": 8}, "max_solves must be an integer >= 9, got 8"),
        ({"problem": "x"}, "problem must be a dmft.Problem"),
        ({"sampling": "x"}, "sampling must be a dmft.Sampling"),
        ({"problem": dmft.Problem("staircase")}, "problem must have a hard direction"),
        ({"problem": retrieval(initial_overlap=[[0.1]])}, "problem must start without overlap"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"problem": retrieval(), "method": METHOD, "bracket": (1, 4), **change}
    with pytest.raises(ValueError, match=message) as caught:
        dmft.delta_nn_curve(**arguments)
    assert "\n" not in str(caught.value)


def test_default_steps_of_times_far_from_zero():
    times = np.concatenate([[0.0], 1e4 + 0.1 * np.arange(40)])
    steps = default_steps(times)
    assert steps[0] == 0
    assert steps[-1] == 40
    assert 30 <= len(steps) <= 41
