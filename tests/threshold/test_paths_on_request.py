"""Thresholds and curves to an accuracy that is asked for."""

from dataclasses import replace

import numpy as np
import pytest

import dmft
from dmft.io import records
from dmft.threshold import paths_on_request
from dmft.threshold.refinement import NewtonRoot

RUN = dmft.load_preset("robust-phase-retrieval")
METHOD = dmft.GradientDescent(0.2, 10)
BRACKET = (0.5, 6.0)
SAMPLING = dmft.Sampling(rank_tolerance=1e-6)


def find(rtol, **settings):
    """Return delta_NN at the last step, to an accuracy."""
    sampling = settings.pop("sampling", SAMPLING)
    return dmft.find_delta_nn(
        RUN.problem, METHOD, BRACKET, rtol=rtol, sampling=sampling, **settings
    )


@pytest.fixture(scope="module")
def found():
    return find(0.003)


@pytest.fixture(scope="module")
def curve():
    problem = dmft.load_preset("robust-phase-retrieval-gelu").problem
    method = dmft.GradientDescent(0.2, 12)
    return dmft.delta_nn_curve(problem, method, (1.2, 8), [0, 1, 4, 12], SAMPLING, rtol=0.008)


class Announced:
    """A progress function that remembers what is announced to it."""

    def __init__(self):
        self.count, self.parts = 0, []

    def __call__(self, count):
        self.count += count

    def expect(self, count, seconds, words):
        self.parts.append((count, seconds, words))


def test_the_error_is_within_the_tolerance_and_few_solves_are_on_many_paths(found):
    assert found.status.ok
    assert 0.0 < found.error <= 0.003 * found.value
    assert found.rtol == 0.003
    assert found.n_paths.min() == 1024 < found.n_paths.max()
    assert (found.n_paths == found.n_paths.max()).sum() <= 3
    assert found.config["sampling"]["n_paths"] == found.n_paths.max()


def test_it_agrees_with_a_search_on_as_many_paths_throughout(found):
    """Same random numbers: the root of the same gap, located twice."""
    sampling = dmft.Sampling(**found.config["sampling"])
    whole = dmft.find_delta_nn(RUN.problem, METHOD, BRACKET, sampling=sampling)
    assert abs(found.value - whole.value) <= 2 * (found.interpolation_error + 0.1 * whole.stderr)
    assert found.stderr == pytest.approx(whole.stderr, rel=0.15)


def test_a_finer_accuracy_agrees_with_a_coarse_one_within_its_error(found):
    finer = find(0.0015)
    assert finer.status.ok
    assert finer.error <= 0.0015 * finer.value
    assert abs(finer.value - found.value) < 3 * found.error


def test_bits_do_not_depend_on_threads_or_on_resumption(found, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(count):
        if (tmp_path / f"paths-{found.n_paths.max()}").exists():
            raise StoppedError

    with pytest.raises(StoppedError):
        find(0.003, checkpoint=tmp_path, progress=stop, threads=1)
    again = find(0.003, checkpoint=tmp_path, threads=2)
    for name in ("value", "stderr", "bias", "interpolation_error"):
        assert getattr(again, name) == getattr(found, name)
    np.testing.assert_array_equal(again.gap, found.gap)


def test_paths_of_the_sampling_are_not_used(found):
    sampling = dmft.Sampling(n_paths=64, rank_tolerance=1e-6)
    assert find(0.003, sampling=sampling).value == found.value


def test_a_budget_of_paths_ends_with_what_was_reached(found):
    result = find(1e-4, max_paths=2048)
    assert result.status is dmft.Status.MAX_PATHS
    assert result.value == pytest.approx(found.value, rel=0.05)
    assert result.error > 1e-4 * result.value
    assert result.config["sampling"]["n_paths"] == 2048
    with pytest.raises(dmft.NumericalFailure) as failure:
        find(1e-4, max_paths=1024, throw=True)
    assert failure.value.status is dmft.Status.MAX_PATHS


def test_a_budget_of_time_ends_with_what_was_reached():
    result = find(1e-5, max_seconds=1e-3)
    assert result.status is dmft.Status.MAX_PATHS
    assert result.n_paths.max() == 1024
    assert np.isfinite(result.value)


def test_a_budget_of_memory_ends_with_what_was_reached(found):
    result = find(1e-4, max_memory=3e7)
    assert result.status is dmft.Status.OUT_OF_MEMORY
    assert 1024 <= result.config["sampling"]["n_paths"] < found.n_paths.max() * 1024
    assert abs(result.value - found.value) < 4 * np.hypot(result.error, found.error)


def test_at_step_0_nothing_is_left_to_reach():
    result = find(1e-9, step=0)
    assert result.status.ok
    assert result.stderr == 0.0
    assert result.error < 1e-8
    assert round(result.value, 5) == 0.92303


def test_without_a_threshold_the_status_is_that_of_the_scan():
    low = dmft.find_delta_nn(RUN.problem, METHOD, (0.3, 1.2), rtol=0.01, sampling=SAMPLING)
    assert low.status is dmft.Status.NO_BRACKET
    assert np.isnan(low.value)
    assert np.isnan(low.stderr)
    wide = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "square")
    assert dmft.find_delta_nn(wide, METHOD, BRACKET, rtol=0.1).status is (
        dmft.Status.UNBOUNDED_EDGE
    )


def test_the_long_part_is_announced_before_it_begins():
    announced = Announced()
    result = find(0.003, progress=announced)
    assert announced.count == result.n_evaluations
    count, seconds, words = announced.parts[-1]
    assert words == f"8 x {result.n_paths.max()} paths"
    assert count >= 1
    assert seconds > 0.0


def test_every_step_of_a_curve_is_within_the_tolerance(curve):
    assert curve.status.ok
    assert np.all(curve.error <= 0.008 * curve.value)
    assert curve.error[0] == 0.0
    assert curve.n_paths[0] == 1024
    assert set(curve.paths_of_solve) > {1024}
    for step, value in zip(curve.steps, curve.value, strict=True):
        fine = curve.delta[curve.paths_of_solve == curve.n_paths.max()]
        if step and curve.n_paths[curve.steps == step] == curve.n_paths.max():
            assert fine.min() < value < fine.max()


def test_a_curve_agrees_with_thresholds_to_an_accuracy(curve):
    problem = dmft.load_preset("robust-phase-retrieval-gelu").problem
    method = dmft.GradientDescent(0.2, 12)
    alone = dmft.find_delta_nn(problem, method, (1.2, 8), sampling=SAMPLING, rtol=0.008)
    assert abs(alone.value - curve.value[-1]) < 3 * np.hypot(alone.error, curve.error[-1])


def test_a_curve_on_a_small_budget_says_which_steps_are_less_accurate():
    problem = dmft.load_preset("robust-phase-retrieval-gelu").problem
    method = dmft.GradientDescent(0.2, 12)
    result = dmft.delta_nn_curve(
        problem, method, (1.2, 8), [0, 1, 12], SAMPLING, rtol=0.005, max_paths=1024
    )
    assert [status.name for status in result.statuses] == ["SUCCESS", "MAX_PATHS", "MAX_PATHS"]
    assert np.isfinite(result.value).all()
    assert result.status is dmft.Status.MAX_PATHS


@pytest.mark.parametrize("kind", ["found", "curve"])
def test_results_are_read_back(kind, request, tmp_path):
    result = request.getfixturevalue(kind)
    result.save(tmp_path / "result.npz")
    again = type(result).load(tmp_path / "result.npz")
    assert again.rtol == result.rtol
    np.testing.assert_array_equal(again.n_paths, result.n_paths)
    np.testing.assert_array_equal(again.error, result.error)


def test_files_of_before_have_the_defaults(found, tmp_path, monkeypatch):
    """A file without the fields that came later is read, with their defaults."""
    later = {"bias", "interpolation_error", "rtol", "n_paths"}
    stored = records._stored
    with monkeypatch.context() as patch:
        patch.setattr(
            records, "_stored", lambda cls: [f for f in stored(cls) if f.name not in later]
        )
        found.save(tmp_path / "before.npz")
    again = dmft.Threshold.load(tmp_path / "before.npz")
    assert again.value == found.value
    assert again.stderr == found.stderr
    assert (again.bias, again.interpolation_error, again.rtol, again.n_paths) == (0, 0, None, None)


def test_a_bracket_narrower_than_the_error_of_the_root_is_no_obstacle():
    """Without evaluations far from the root its slope is that between near ones."""
    coarse = find(0.05, max_paths=1024)
    ends = coarse.value * 0.999, coarse.value * 1.001
    narrow = dmft.find_delta_nn(RUN.problem, METHOD, ends, rtol=0.05, sampling=SAMPLING)
    assert narrow.status.ok
    assert narrow.value == pytest.approx(coarse.value, rel=1e-4)
    assert narrow.error == pytest.approx(coarse.error, rel=0.1)
    plain = dmft.find_delta_nn(RUN.problem, METHOD, ends, sampling=replace(SAMPLING, n_paths=1024))
    assert plain.error == pytest.approx(narrow.error, rel=0.01)


def test_a_root_that_more_paths_move_out_of_the_bracket_is_none(found):
    coarse = find(0.05, max_paths=1024)
    assert coarse.value > 1.01 * found.value
    bracket = 1.01 * found.value, 6.0
    result = dmft.find_delta_nn(RUN.problem, METHOD, bracket, rtol=0.005, sampling=SAMPLING)
    assert result.status is dmft.Status.NO_BRACKET
    assert np.isnan(result.value)
    assert result.bracket == bracket
    assert "lower the lower end" in result.detail


def test_a_sign_change_just_outside_the_bracket_takes_no_endless_paths(found):
    """No number of paths tells on which side of the end it is; the tolerance says when to stop."""
    bracket = 0.5, found.value * 0.999
    result = dmft.find_delta_nn(
        RUN.problem, METHOD, bracket, rtol=0.02, scan_points=4, sampling=SAMPLING
    )
    assert result.n_paths.max() <= 4096
    if result.status is not dmft.Status.NO_BRACKET:
        assert result.status.ok
        assert result.value <= bracket[1]


def test_a_scan_in_doubt_is_no_success_where_the_budget_ends(monkeypatch):
    monkeypatch.setattr(paths_on_request.Scan, "is_doubtful", lambda *_: True)
    result = find(0.05, max_paths=1024)
    assert result.status is dmft.Status.MAX_PATHS
    assert result.error <= 0.05 * result.value


def test_an_unknown_error_is_not_within_a_tolerance():
    assert NewtonRoot(2.0, 0.01, 0.005, 0.0).is_within(0.01)
    assert not NewtonRoot(2.0, 0.01, np.nan, 0.0).is_within(0.01)
    assert not NewtonRoot(np.nan, 0.01, 0.0, 0.0).is_within(0.01)
    assert NewtonRoot(2.0, 0.001, 0.002, 0.0).is_biased


def test_evaluations_on_few_paths_are_kept(found):
    """Of the scan, which is repeated where it leaves a sign in doubt, and of each level."""
    levels = []

    class Counting(Announced):
        def expect(self, count, seconds, words):
            levels.append(words)

    result = find(0.003, progress=Counting())
    assert len(set(result.n_paths)) == 1 + len(levels)


def curve_of_few_steps(bracket, steps, rtol, **settings):
    return dmft.delta_nn_curve(RUN.problem, METHOD, bracket, steps, SAMPLING, rtol=rtol, **settings)


def test_a_curve_keeps_the_evaluations_of_its_scan():
    result = curve_of_few_steps(BRACKET, [5], 0.01)
    assert result.status.ok
    assert result.paths_of_solve.min() == 1024 < result.n_paths[0]
    assert result.delta[-1] == BRACKET[1]
    assert np.isfinite(result.gap).all()


def test_a_step_of_a_curve_outside_the_bracket_has_no_value():
    """Few paths have the root in it; more of them do not."""
    result = curve_of_few_steps((2.83, 6.0), [10], 0.005)
    assert result.status is dmft.Status.NO_BRACKET
    assert np.isnan(result.value[0])
    assert "lower the lower end 2.83" in result.detail


def test_the_bias_of_a_curve_is_that_on_the_paths_of_each_step():
    """Early steps on fewer paths say nothing of late ones; the errors are those of the search."""
    result = curve_of_few_steps(BRACKET, [1, 10], 0.008)
    assert result.status.ok
    assert result.n_paths[0] < result.n_paths[1]
    assert np.all(result.error <= 0.008 * result.value)
    late = result.replicates[:, 1].mean() - result.value[1]
    assert result.bias[1] == pytest.approx(late / 8, rel=1e-6)
    assert not np.isclose(replace(result, estimated_bias=None).bias[1], result.bias[1])


@pytest.mark.slow
def test_step_0_of_a_curve_reaches_the_accuracy_where_it_is_sampled():
    problem = dmft.Problem(
        dmft.Target("phase-retrieval", noise=0.3), dmft.Network("gelu", [0.5, 0.5]), "pseudo-huber"
    )
    result = dmft.delta_nn_curve(problem, METHOD, (1.4, 1.9), [0], SAMPLING, points=4, rtol=1.5e-4)
    assert result.status.ok
    assert 0.0 < result.error[0] <= 1.5e-4 * result.value[0]
    assert result.n_paths[0] > 1024
