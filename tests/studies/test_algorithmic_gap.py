"""delta_NN of several networks over delta_alg, and against the step size."""

import dataclasses
import importlib

import numpy as np
import pytest

import dmft
from dmft import Status
from dmft.io.records import read_record, write_record
from dmft.studies.algorithmic_threshold import name_networks, wide_networks
from dmft.studies.step_axis import StepAxis, find_step_axis

ALGORITHMIC_GAP = importlib.import_module("dmft.studies.algorithmic_threshold")
SAMPLING = dmft.Sampling(n_paths=128, replicates=4, seed=3)
METHOD = dmft.GradientDescent(0.2, 4)
BRACKET = (0.6, 5.0)
TARGET = dmft.Target("phase-retrieval")


def problem(activation="gelu", second_layer=(1.0,), loss="pseudo-huber", **settings):
    return dmft.Problem(TARGET, dmft.Network(activation, second_layer), loss, **settings)


@pytest.fixture(scope="module")
def found():
    return dmft.algorithmic_gap(
        TARGET,
        [problem("quadratic"), problem()],
        BRACKET,
        method=METHOD,
        steps=[0, 2, 4],
        sampling=SAMPLING,
        step_axis=dmft.StepSizes([0.4, 0, 0.2], time=0.8, network="gelu"),
        n_points=2**18,
    )


@pytest.mark.slow
def test_step_zero_is_exact(found):
    assert found.curves["quadratic"].value[0] == pytest.approx(0.92303, abs=1e-5)
    assert found.curves["gelu"].value[0] == pytest.approx(1.69276, abs=1e-5)
    assert found.delta_alg == pytest.approx(0.5, abs=1e-3)
    assert found.gap["gelu"].value[0] == pytest.approx(2 * 1.69276, rel=1e-3)
    assert found.status is Status.SUCCESS


@pytest.mark.slow
def test_curves_are_those_of_each_network(found):
    alone = dmft.delta_nn_curve(problem(), METHOD, BRACKET, [0, 2, 4], SAMPLING)
    np.testing.assert_array_equal(found.curves["gelu"].value, alone.value)
    np.testing.assert_array_equal(found.curves["gelu"].stderr, alone.stderr)


def test_errors_of_the_ratio(found):
    curve, ratio = found.curves["gelu"], found.gap["gelu"]
    np.testing.assert_allclose(ratio.value, curve.value / found.delta_alg)
    relative = np.hypot(
        np.sqrt(curve.stderr**2 + curve.interpolation_error**2 + curve.bias**2) / curve.value,
        found.delta_alg_stderr / found.delta_alg,
    )
    np.testing.assert_allclose(ratio.stderr, relative * ratio.value)


def test_no_ratio_without_a_finite_delta_alg(found):
    for delta in (np.inf, 0.0):
        hardness = dataclasses.replace(found.hardness, delta_alg=delta)
        changed = dataclasses.replace(found, hardness=hardness)
        assert np.isnan(changed.gap["gelu"].value).all()
        assert np.isnan(changed.gap["gelu"].stderr).all()


@pytest.mark.slow
def test_the_step_axis_is_that_of_single_searches(found):
    axis = found.step_axis
    assert (axis.network, axis.time) == ("gelu", 0.8)
    assert axis.fresh.step_sizes.tolist() == [0.2, 0.4]
    assert axis.reuse.step_sizes.tolist() == [0.0, 0.2, 0.4]
    assert axis.reuse.n_steps.tolist() == [0, 4, 2]
    methods = [
        dmft.GradientFlow(0.8, times=[0.0, 0.8]),
        dmft.GradientDescent(0.2, 4),
        dmft.GradientDescent(0.4, 2),
    ]
    for index, method in enumerate(methods):
        one = dmft.find_delta_nn(problem(), method, BRACKET, sampling=SAMPLING)
        assert one.value == pytest.approx(axis.reuse.value[index], abs=0.3 * one.stderr)
        assert one.unstable_share == pytest.approx(axis.reuse.unstable_share[index], abs=1e-3)
    fresh = dmft.GradientDescent(0.4, 2, fresh_batches=True)
    one = dmft.find_delta_nn(problem(), fresh, BRACKET, sampling=SAMPLING)
    assert one.value == pytest.approx(axis.fresh.value[-1], abs=0.3 * one.stderr)
    assert not axis.reuse.unstable.any()


def test_differences_of_step_sizes_have_errors_of_their_own(found):
    series = found.step_axis.reuse
    shift, error = series.shift(series)
    assert (shift[0], error[0]) == (0.0, 0.0)
    np.testing.assert_allclose(shift, series.value - series.value[0])
    assert (error[1:] < 0.5 * series.stderr[1:]).all()  # the random numbers are common


def test_save_and_load(found, tmp_path):
    found.save(tmp_path / "gap.npz")
    again = dmft.AlgorithmicGap.load(tmp_path / "gap.npz")
    assert list(again.curves) == ["quadratic", "gelu"]
    assert again.config == found.config
    assert again.config["sampling"]["seed"] == 3
    assert again.hardness.delta_alg == found.delta_alg
    assert again.hardness.config == found.hardness.config
    for name, curve in found.curves.items():
        loaded = again.curves[name]
        np.testing.assert_array_equal(loaded.value, curve.value)
        assert (loaded.statuses, loaded.crossings) == (curve.statuses, curve.crossings)
        np.testing.assert_array_equal(again.gap[name].stderr, found.gap[name].stderr)
    np.testing.assert_array_equal(again.step_axis.reuse.value, found.step_axis.reuse.value)
    np.testing.assert_array_equal(
        again.step_axis.reuse.replicates, found.step_axis.reuse.replicates
    )
    assert again.step_axis.reuse.statuses == found.step_axis.reuse.statuses
    assert again.status is Status.SUCCESS
    with pytest.raises(ValueError, match="threshold curve file"):
        dmft.ThresholdCurve.load(tmp_path / "gap.npz")


def test_a_step_axis_that_is_missing_or_has_fresh_batches_comes_back(found, tmp_path):
    series = found.step_axis.reuse
    broken = dataclasses.replace(
        series,
        value=np.array([2.0, np.nan, 2.2]),
        unstable_share=np.array([0.0, np.nan, 0.04]),
        statuses=(Status.SUCCESS, Status.DIVERGED, Status.SUCCESS),
    )
    axis = dataclasses.replace(found.step_axis, fresh=broken)
    dataclasses.replace(found, step_axis=axis).save(tmp_path / "gap.npz")
    again = dmft.AlgorithmicGap.load(tmp_path / "gap.npz")
    assert again.step_axis.fresh.statuses == broken.statuses
    assert again.step_axis.fresh.unstable.tolist() == [False, False, True]
    assert again.status is Status.DIVERGED
    dataclasses.replace(found, step_axis=None).save(tmp_path / "gap.npz")
    assert dmft.AlgorithmicGap.load(tmp_path / "gap.npz").step_axis is None


@pytest.mark.slow
def test_fresh_batches_stand_beside_reuse():
    sizes = dmft.StepSizes([0, 0.2, 0.4], time=0.4)
    assert sizes.n_searches == 5
    axis = find_step_axis(
        problem(),
        (1.0, 4.0),
        sizes,
        SAMPLING,
        simulate=dmft.SimulationCheck(d=60, seeds=2, factors=(1.5, 3.0), workers=1),
    )
    assert axis.fresh.step_sizes.tolist() == [0.2, 0.4]
    # After one step from independent weights nothing has been used twice; the Hessian is that of
    # the same samples, or of new ones.
    assert axis.status is Status.SUCCESS
    assert [(entry.fresh, entry.step) for entry in axis.check] == [
        (False, 1), (True, 1), (False, 1), (True, 1),
    ]  # fmt: skip
    assert axis.check[0].delta == pytest.approx(1.5 * axis.reuse.value[-1], rel=1e-3)
    only = dmft.StepSizes([0, 0.2, 0.4], time=0.4, compare_fresh=False)
    assert only.n_searches == 3


@pytest.mark.slow
def test_runs_beside_the_largest_step_agree_with_the_theory(tmp_path):
    axis = find_step_axis(
        problem(),
        (1.0, 4.0),
        dmft.StepSizes([0.4], time=0.8),
        dmft.Sampling(n_paths=512, replicates=4),
        simulate=dmft.SimulationCheck(d=300, seeds=6, factors=(3.0,), workers=1),
    )
    assert [entry.fresh for entry in axis.check] == [False, True]
    for entry in axis.check:
        assert (entry.d, entry.seeds, entry.step, entry.step_size) == (300, 6, 2, 0.4)
        seen = entry.prediction
        assert seen.kind == "hard outlier"
        # One size only: a bias of order 1/d is left.
        assert seen.simulated == pytest.approx(seen.value, abs=0.05)
        assert seen.simulated_overlap == pytest.approx(seen.overlap, abs=0.12)
    write_record(tmp_path / "axis.npz", "step axis", axis)
    again = read_record(tmp_path / "axis.npz", "step axis", StepAxis).check
    # NaN is NaN here.
    np.testing.assert_equal(*([dataclasses.asdict(one) for one in c] for c in (again, axis.check)))


@pytest.mark.slow
def test_a_step_that_is_too_large_has_a_status_and_no_value():
    axis = find_step_axis(
        problem("quadratic"),
        (1.0, 4.0),
        dmft.StepSizes([0.2, 4.0], time=4.0, compare_fresh=False),
        SAMPLING,
    )
    assert np.isnan(axis.reuse.value[-1])
    assert not axis.reuse.statuses[-1].ok
    assert axis.status is not Status.SUCCESS


@pytest.mark.slow
def test_networks_by_name_and_one_of_them_chosen():
    found = dmft.algorithmic_gap(
        "phase-retrieval",
        {"wide": problem(second_layer=[0.5, 0.5]), "narrow": problem("quadratic")},
        (0.5, 6.0),
        method=dmft.GradientDescent(0.2, 1),
        steps=[1],
        sampling=SAMPLING,
        points=4,
        max_solves=4,
        n_points=2**18,
    )
    assert list(found.curves) == ["wide", "narrow"]
    assert found.config["networks"]["wide"]["network"]["second_layer"] == [0.5, 0.5]


@pytest.mark.slow
def test_a_checkpoint_has_a_folder_for_each_network(tmp_path):
    def run():
        return dmft.algorithmic_gap(
            TARGET,
            [problem(), problem("softplus")],
            BRACKET,
            method=dmft.GradientDescent(0.2, 1),
            sampling=SAMPLING,
            step_axis=dmft.StepSizes([0.2], time=0.2),
            simulate=dmft.SimulationCheck(d=40, seeds=2, factors=(1.0,), workers=1),
            n_points=2**18,
            checkpoint=tmp_path / "kept",
        )

    first = run()
    folders = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert folders == ["gelu", "gelu-step-sizes", "softplus"]
    again = run()
    np.testing.assert_array_equal(again.curves["gelu"].value, first.curves["gelu"].value)
    kept = [entry.prediction.simulated for entry in first.step_axis.check]
    assert [entry.prediction.simulated for entry in again.step_axis.check] == kept
    names = sorted(path.name[:12] for path in (tmp_path / "kept" / "gelu-step-sizes").iterdir())
    assert names == ["check-fresh-", "check-reuse-", "fresh-0.2", "reuse-0.2"]


def test_networks_under_other_inputs_have_thresholds_and_no_ratio(tmp_path):
    cube = dmft.Elliptical(lambda u: 0.5 + u)
    networks = [problem(), problem(inputs=cube)]
    settings = {"method": METHOD.until(0), "steps": [0], "sampling": SAMPLING, "n_points": 2**16}
    found = dmft.algorithmic_gap(TARGET, networks, BRACKET, **settings)
    name = "gelu, inputs elliptical, <lambda>"
    assert list(found.curves) == ["gelu", name]
    alone = dmft.delta_nn_curve(networks[1], METHOD.until(0), BRACKET, [0], SAMPLING)
    np.testing.assert_array_equal(found.curves[name].value, alone.value)
    assert found.gap["gelu"].value[0] == pytest.approx(2 * 1.69276, rel=1e-2)
    assert np.isnan(found.gap[name].value).all()
    assert "of standard Gaussian inputs; not known for others (elliptical, <lambda>)" in str(found)
    alone = dmft.algorithmic_gap(TARGET, networks[1:], BRACKET, **settings)
    assert alone.hardness is None
    assert np.isnan(alone.delta_alg)
    assert alone.status is Status.SUCCESS
    assert "not known for inputs other than standard Gaussian (elliptical, <lambda>)" in str(alone)
    alone.plot()
    alone.save(tmp_path / "gap")
    assert dmft.load(tmp_path / "gap.npz") == alone


def test_labels_of_clusters_have_thresholds():
    target = dmft.Target(classes="component")
    clusters = dmft.GaussianMixture([0.5, 0.5], [[0.0], [0.0]], covariances=[0.2, 4.0])
    network = dmft.Problem(target, dmft.Network("gelu"), "logistic", inputs=clusters)
    found = dmft.algorithmic_gap(
        target, [network], (0.3, 8.0), method=METHOD.until(0), sampling=SAMPLING
    )
    assert found.hardness is None
    assert found.status is Status.SUCCESS


AXIS = dmft.StepSizes([0.2], time=0.4, compare_fresh=False)


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.5, "nesterov": True, "batch_fraction": 0.5},
        {"second_layer_step_size": 0.1, "bias_step_size": 0.3},
        {"constraint": "sphere"},
    ],
)
def test_the_step_axis_is_of_the_method(options):
    """Step sizes of second layer and biases keep their ratio to that of the first layer."""
    one = dmft.Problem(TARGET, dmft.Network("gelu", biases=0.2), "pseudo-huber")
    axis = find_step_axis(
        one, BRACKET, AXIS, SAMPLING, method=dmft.GradientDescent(0.2, 7, **options)
    )
    method = dmft.GradientDescent(0.2, 2, **options)
    curve = dmft.delta_nn_curve(one, method, BRACKET, [2], SAMPLING)
    np.testing.assert_array_equal(axis.reuse.value, curve.value)
    halved = {key: 2 * v if key.endswith("size") else v for key, v in options.items()}
    again = find_step_axis(
        one, BRACKET, AXIS, SAMPLING, method=dmft.GradientDescent(0.4, 1, **halved)
    )
    np.testing.assert_array_equal(again.reuse.value, axis.reuse.value)


def test_small_steps_with_momentum_are_a_faster_flow():
    sizes = dmft.StepSizes([0.0, 0.025], time=0.4, compare_fresh=False)
    method = dmft.GradientDescent(0.2, 2, momentum=0.5)
    axis = find_step_axis(problem(), BRACKET, sizes, SAMPLING, method=method)
    flow = dmft.GradientFlow(0.8, times=[0.0, 0.8])
    twice = dmft.delta_nn_curve(problem(), flow, BRACKET, [1], SAMPLING)
    np.testing.assert_array_equal(axis.reuse.value[:1], twice.value)
    once = dmft.delta_nn_curve(problem(), dmft.GradientFlow(0.4), BRACKET, [60], SAMPLING)
    assert abs(np.diff(axis.reuse.value)[0]) < 0.25 * (twice.value - once.value)[0]


def test_a_step_axis_needs_one_step_size():
    def axis(method, sizes=AXIS):
        return dmft.algorithmic_gap(
            TARGET, [problem()], BRACKET, method=method, sampling=SAMPLING, step_axis=sizes
        )

    fresh = dmft.StepSizes([0.2], time=0.4)
    with pytest.raises(ValueError, match="compare_fresh must be False for batches of a part"):
        axis(dmft.GradientDescent(0.2, 4, batch_fraction=0.5), fresh)
    cosine = {"schedule": "cosine", "peak": 0.4}
    with pytest.raises(ValueError, match="method must have a constant step size"):
        axis(dmft.GradientDescent(cosine, 4))
    with pytest.raises(ValueError, match="step_sizes must be positive where the second layer"):
        axis(
            dmft.GradientDescent(0.2, 4, second_layer_step_size=0.1),
            dmft.StepSizes([0.0, 0.2], time=0.4),
        )


def test_names_of_folders_are_different(tmp_path):
    folders = ALGORITHMIC_GAP._folders(tmp_path, ["a b", "a/b", "gelu, 2 neurons", ".."])
    names = [path.name for path in folders.values()]
    assert names == ["a-b", "a-b-other", "gelu-2-neurons", "network"]


def test_names_say_what_differs():
    problems = [
        problem(),
        problem(second_layer=[0.5, 0.5]),
        problem("relu", [0.5, 0.5], "square"),
        problem(second_layer=[0.5]),
        problem("softplus", weight_decay=0.1, init_radius=2.0),
    ]
    assert name_networks(problems) == [
        "gelu",
        "gelu, 2 neurons",
        "relu, 2 neurons, square",
        "gelu, second layer 0.5",
        "softplus, weight decay 0.1, radius 2",
    ]
    with pytest.raises(ValueError, match="2 are 'gelu'"):
        name_networks([problem(), problem()])


def test_wide_networks():
    found = wide_networks(problem(init_radius=1.5), ["gelu", "relu"], ["square"], [1, 3])
    assert [one.network.second_layer for one in found[:2]] == [(1.0,), (1 / 3,) * 3]
    assert {one.loss.name for one in found} == {"square"}
    assert {one.init_radius for one in found} == {1.5}
    assert [one.network.activation.name for one in found] == ["gelu", "gelu", "relu", "relu"]
    assert wide_networks(problem()) == [problem()]
    gram = [[1.0, 0.3], [0.3, 0.5]]
    given = problem(second_layer=[1, 1], init_gram=gram, init_law="gaussian", weight_decay=0.1)
    (own,) = wide_networks(given, ["relu"], widths=[2])
    assert own == problem("relu", [0.5, 0.5], init_gram=gram, init_law="gaussian", weight_decay=0.1)
    with pytest.raises(ValueError, match="widths must be the 2 of the problem"):
        wide_networks(problem(second_layer=[1, 1], init_radius=[1, 2]), widths=[2, 3])
    with pytest.raises(ValueError, match="widths"):
        wide_networks(problem(), widths=[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"networks": [dmft.Problem("modulus")]}, "networks must all have the target given"),
        ({"networks": []}, "at least one"),
        ({"networks": "gelu"}, "problems by name"),
        ({"networks": [3]}, "networks must be a dmft.Problem"),
        ({"networks": {"a": 3}}, "networks must be a dmft.Problem"),
        ({"target": "linear", "networks": [dmft.Problem("linear")]}, "hard direction"),
        ({"bracket": (4, 1)}, "lower < upper"),
        ({"step_axis": dmft.StepSizes([0.2], 0.8, network="relu")}, "network must be one of"),
        ({"step_axis": [0.2]}, "step_axis must be a dmft.StepSizes"),
        ({"simulate": dmft.SimulationCheck(100)}, "simulate must come with step_axis"),
    ],
)
def test_bad_arguments(changes, words):
    arguments = {
        "target": TARGET, "networks": [problem()], "bracket": BRACKET, "method": METHOD, **changes,
    }  # fmt: skip
    with pytest.raises(ValueError, match=words):
        dmft.algorithmic_gap(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0.3], 8.0), "divide time = 8 into whole steps, got 0.3"),
        (([16.0], 8.0), "divide time"),
        (([], 8.0), "one or more different"),
        (([0.1, 0.1], 8.0), "different"),
        (([-0.1], 8.0), ">= 0"),
        (([0.1], 0.0), "time must be"),
        ((["x"], 8.0), "step_sizes"),
    ],
)
def test_bad_step_sizes(arguments, words):
    with pytest.raises(ValueError, match=words):
        dmft.StepSizes(*arguments)


def test_step_sizes_that_divide_up_to_rounding():
    assert dmft.StepSizes([0.1, 0.2, 0.3], time=0.6).step_sizes == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    "arguments", [{"d": 0}, {"d": 10, "seeds": 1}, {"d": 10, "factors": ()},
                  {"d": 10, "factors": (0.0,)}]
)  # fmt: skip
def test_bad_checks(arguments):
    with pytest.raises(ValueError, match="must"):
        dmft.SimulationCheck(**arguments)


def test_throw():
    with pytest.raises(dmft.NumericalFailure, match="NO_BRACKET"):
        dmft.algorithmic_gap(
            TARGET, [problem()], (4.0, 5.0), method=dmft.GradientDescent(0.2, 0),
            sampling=SAMPLING, n_points=2**18, throw=True,
        )  # fmt: skip


def test_networks_may_differ_in_their_biases():
    problems = [
        dmft.Problem("phase-retrieval", dmft.Network("gelu", [0.5, 0.5], biases=biases))
        for biases in (None, 0.5, [0.3, -0.1])
    ]
    assert name_networks(problems) == ["gelu", "gelu, bias 0.5", "gelu, biases 0.3, -0.1"]
    assert name_networks(problems[::-1])[-1] == "gelu, no biases"
