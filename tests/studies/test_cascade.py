"""Cascades: thresholds of all features from shared solves, and after some are learned."""

import numpy as np
import pytest

import dmft
from dmft.trajectory import solving

METHOD = dmft.GradientDescent(step_size=0.2, n_steps=2)
SAMPLING = dmft.Sampling(n_paths=256, replicates=4)
BRACKET = (1.0, 40.0)


def features(*weights, more=None):
    def label(z, eps):
        total = (z[:, : len(weights)] ** 2) @ np.array(weights)
        return total if more is None else total + more(z)

    k = len(weights) + (0 if more is None else 2)
    return dmft.Problem(dmft.Target(label, k=k), dmft.Network("quadratic"), "pseudo-huber")


@pytest.fixture(scope="module")
def found():
    return dmft.cascade(
        features(1.0, 0.6), METHOD, BRACKET, [1, 2], SAMPLING, points=5, criterion="left",
        learned=[[0.5, 0.0]],
    )  # fmt: skip


def test_thresholds_are_those_of_single_curves(found):
    """Each is delta_nn_curve with its index; later features add solves to shared ones."""
    first, second = found.stages[0].curves
    alone = dmft.delta_nn_curve(
        features(1.0, 0.6), METHOD, BRACKET, [1, 2], SAMPLING, points=5, criterion="left"
    )
    np.testing.assert_array_equal(first.value, alone.value)
    other = dmft.delta_nn_curve(
        features(1.0, 0.6), METHOD, BRACKET, [1, 2], SAMPLING, points=5, criterion="left", index=2
    )
    error = np.hypot(second.interpolation_error, other.interpolation_error)
    assert np.all(np.abs(second.value - other.value) < 3 * error + 0.05 * second.stderr)
    assert (second.index, second.criterion) == (2, "left")
    assert np.all(second.value > first.value)


def test_outliers_are_counted_against_delta(found):
    curves = found.stages[0].curves
    middle = float(np.sqrt(curves[0].value[-1] * curves[1].value[-1]))
    assert [found.n_outliers(delta) for delta in (1.0, middle, 40.0)] == [0, 1, 2]
    assert found.n_outliers(middle, step=1) in (1, 2)
    with pytest.raises(ValueError, match=r"step must be one of \[1, 2\], got 7"):
        found.n_outliers(2.0, step=7)


def test_features_are_counted_only_where_the_bracket_tells():
    narrow = dmft.cascade(features(1.0, 0.6), METHOD, (20.0, 40.0), [1], SAMPLING, points=5)
    assert not np.isfinite(narrow.value).any()
    with pytest.raises(ValueError, match=r"feature 1 is not known at this step \(NO_BRACKET\)"):
        narrow.n_outliers(30.0)


def test_nothing_is_said_of_learned_features_under_other_inputs():
    problem = dmft.Problem(
        features(1.0, 0.6).target, dmft.Network("quadratic"), "pseudo-huber",
        inputs=dmft.Elliptical("exponential"),
    )  # fmt: skip
    with pytest.raises(ValueError, match="learned must be empty with inputs of a law of their own"):
        dmft.cascade(problem, METHOD, BRACKET, sampling=SAMPLING, learned=[[0.5, 0.0]])


def test_stage_with_the_first_feature_learned(found):
    stage = found.stages[1]
    assert stage.made_easy == 0
    assert len(stage.curves) == 1
    np.testing.assert_array_equal(stage.hard, [[0.0], [1.0]])
    np.testing.assert_array_equal(stage.overlap, [[0.5, 0.0]])
    assert np.isfinite(stage.curves[0].value).all()


def test_saved_and_drawn(found, tmp_path):
    found.save(tmp_path / "found")
    loaded = dmft.load(tmp_path / "found.npz")
    assert isinstance(loaded, dmft.Cascade)
    for one, other in zip(loaded.stages, found.stages, strict=True):
        np.testing.assert_array_equal(one.hard, other.hard)
        for a, b in zip(one.curves, other.curves, strict=True):
            np.testing.assert_array_equal(a.value, b.value)
            np.testing.assert_array_equal(a.multiplicity, b.multiplicity)
    assert str(loaded) == str(found)
    assert "1 hard direction left" in str(found)
    assert np.ravel(found.plot())[0].lines


def test_symmetric_features_and_staircases():
    """Two equal features appear at once; in z1^2 + z2 z3, z2 makes z3 easy."""
    equal = dmft.cascade(features(1.0, 1.0), METHOD, BRACKET, [1], SAMPLING, points=5)
    assert [curve.multiplicity[0] for curve in equal.stages[0].curves] == [2, 2]
    stair = features(1.0, more=lambda z: z[:, 1] * z[:, 2])
    found = dmft.cascade(
        stair, METHOD, BRACKET, [1], SAMPLING, points=5, features=1, learned=[[0.0, 0.3, 0.0]]
    )
    assert [len(stage.curves) for stage in found.stages] == [1, 1]
    assert found.stages[1].made_easy == 1
    np.testing.assert_array_equal(found.stages[1].hard, np.eye(3)[:, :1])
    assert "1 made easy by it" in str(found)
    np.testing.assert_array_equal(found.makes_easy, [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert "z2 makes z3 easy; z3 makes z2 easy" in str(found)
    assert not equal.makes_easy.any()


def test_one_solve_for_each_delta(monkeypatch):
    """However many features: a solve is made once."""
    made, solve_with = [], solving.solve_with

    def counted(execution, problem, delta, *arguments, **options):
        made.append(delta)
        return solve_with(execution, problem, delta, *arguments, **options)

    monkeypatch.setattr("dmft.threshold.gap_memo.solve_with", counted)
    dmft.cascade(features(1.0, 0.8, 0.6, 0.5, 0.4), METHOD, BRACKET, [1], SAMPLING, points=5)
    assert len(made) == len(set(made))


def test_thresholds_of_runs_are_those_of_single_curves(tmp_path):
    """Under the square loss, where the limit has none, from the draws of the first feature."""
    problem = features(1.0, 0.6)
    problem = dmft.Problem(problem.target, problem.network, "square")
    options = {"points": 4, "max_solves": 4, "d": 60, "draws": 8}
    found = dmft.cascade(problem, METHOD, (0.3, 30), [0, 2], SAMPLING, **options)
    assert (found.d, found.stages[0].curves[1].draws) == (60, 8)
    for index, curve in enumerate(found.stages[0].curves, start=1):
        alone = dmft.delta_nn_curve(
            problem, METHOD, (0.3, 30), [0, 2], SAMPLING, index=index, **options
        )
        np.testing.assert_array_equal(curve.value, alone.value)
        np.testing.assert_array_equal(curve.band, alone.band)
    assert np.all(found.value[0, 1] > found.value[0, 0])
    assert np.all(found.multiplicity == 1)
    found.save(tmp_path / "found")
    assert dmft.load(tmp_path / "found.npz").d == 60
    assert "d = 60, 8 draws" in str(found)


def test_thresholds_to_an_accuracy():
    """Later features go on from the solves of earlier ones, on more paths where they need them."""
    found = dmft.cascade(
        features(1.0, 0.6), METHOD, BRACKET, [1], SAMPLING, points=5, rtol=0.1, criterion="left"
    )
    first, second = found.stages[0].curves
    assert found.status.ok
    assert (found.rtol, first.rtol, second.rtol) == (0.1, 0.1, 0.1)
    for curve in (first, second):
        assert curve.error[0] < 0.1 * curve.value[0]
    coarse = second.delta[second.paths_of_solve == 1024]
    assert set(first.delta[first.paths_of_solve == 1024]) & set(coarse)
    rough = dmft.cascade(
        features(1.0, 0.6), METHOD, BRACKET, [1], dmft.Sampling(2048, 4), points=5, criterion="left"
    )
    error = np.hypot(rough.error, found.error)
    assert np.all(np.abs(rough.value - found.value) < 3 * error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learned": [[0.0, 0.0]]}, "learned must not be zero"),
        (
            {"learned": [[0.1, 0.2, 0.3]]},
            r"learned must hold overlaps that broadcast to \(m, k_h\)",
        ),
        ({"learned": ["much"]}, "learned must be overlaps that broadcast to"),
        ({"learned": 0.3}, "learned must be a sequence of overlaps, got 0.3"),
        ({"features": 3}, r"features must be in 1\.\.m k_h = 1\.\.2"),
        ({"features": 0}, "features must be an integer >= 1, got 0"),
        ({"criterion": "top"}, "criterion must be one of negative, left, any"),
        ({"steps": [3]}, r"steps must be in 0\.\.n_steps = 0\.\.2, got 3"),
        ({"points": 3}, "points must be an integer >= 4, got 3"),
        ({"draws": 8}, "draws must come with a dimension d"),
        ({"d": 100, "rtol": 0.1}, "rtol must not come with d"),
        ({"d": 5}, "d must"),
        ({"rtol": 0.0}, "rtol must be a positive"),
        ({"max_paths": 1024}, "max_paths"),
    ],
)
def test_one_line_for_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        dmft.cascade(features(1.0, 0.6), METHOD, BRACKET, sampling=SAMPLING, **options)


def test_what_curves_warn_of_is_said_of_the_cascade():
    """Unstable paths of large steps, paths used for an accuracy, why draws are rounded."""
    problem, method = features(1.0, 0.6), dmft.GradientDescent(1.0, 2)
    options = {"points": 4, "max_solves": 4}
    few = dmft.Sampling(64, 3)
    found = dmft.cascade(problem, method, (1, 60), [2], few, rtol=0.5, **options)
    curves = found.stages[0].curves
    np.testing.assert_array_equal(found.unstable_share[0], [c.unstable_share for c in curves])
    assert f"carry up to {found.unstable_share.max():.1%} of an average" in str(found)
    used = max(int(curve.n_paths.max()) for curve in curves)
    assert used > 64
    assert found.config["sampling"]["n_paths"] == used
    assert f"up to 3 x {used}" in str(found)
    of_runs = dmft.cascade(problem, METHOD, (1, 40), [0], few, d=60, draws=8, **options)
    assert "9 draws, a multiple of the 3 replicates" in str(of_runs)


def test_every_failed_feature_has_its_detail():
    narrow = dmft.cascade(features(1.0, 0.6), METHOD, (20.0, 40.0), [1], SAMPLING, points=5)
    curves = narrow.stages[0].curves
    assert all(curve.detail for curve in curves)
    for j, curve in enumerate(curves, start=1):
        assert f"stage 1, feature {j}: {curve.detail}" in str(narrow)


@pytest.mark.parametrize(
    ("delta", "options", "message"),
    [
        (3.0, {"stage": 7}, "stage must be an integer >= 0, got 7, above 1"),
        (3.0, {"stage": -1}, "stage must be an integer >= 0, got -1"),
        (float("nan"), {}, "delta must be"),
        (-1.0, {}, "delta must be"),
    ],
)
def test_outliers_of_no_stage_or_delta(found, delta, options, message):
    with pytest.raises(ValueError, match=message):
        found.n_outliers(delta, **options)


def test_learned_overlaps_are_added_to_that_of_the_start():
    label = features(1.0, 0.6).target
    problem = dmft.Problem(label, dmft.Network("quadratic"), "pseudo-huber",
                           initial_overlap=[[0.3, 0.0]])  # fmt: skip
    found = dmft.cascade(
        problem, METHOD, BRACKET, [1], SAMPLING, points=4, max_solves=4, learned=[[0.4, 0.0]]
    )
    np.testing.assert_allclose([stage.overlap[0, 0] for stage in found.stages], [0.3, 0.7])
