"""Scans: numbers of the functions they call, to the bit, whatever else is computed beside them."""

import contextlib
import csv
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest

import dmft
from dmft import Scan, Status
from dmft._numerics.workers import worker_count
from dmft.config.config import RunFile
from dmft.io.tables import to_csv
from dmft.scans import running, scans
from dmft.scans.cost import bytes_of, estimate, roughly
from dmft.scans.quantities import QUANTITIES, check_quantity
from dmft.scans.running import workers_within
from dmft.scans.scans import dry_run, question_of
from dmft.scans.tasks import Outcome

TABLES = {
    "target": {"label": "phase-retrieval"},
    "network": {"activation": "gelu"},
    "problem": {"loss": "pseudo-huber"},
    "method": {"step_size": 0.2, "n_steps": 5},
    "sampling": {"n_paths": 64, "replicates": 4},
    "threshold": {"bracket": [0.5, 16.0], "scan_points": 3},
    "trajectory": {"delta": 4.0},
    "spectrum": {"step": 3},
    "sweep": {"d": [20, 30], "seeds": 4, "n_steps": 30},
}
AXES = {"target.noise": [0.0, 0.5]}
NAMES = [
    "gap",
    "gap@0",
    "gap_left@0",
    "left_edge",
    "outlier",
    "outlier_overlap",
    "test_loss",
    "norm@2",
]


def run(**changes):
    settings = {"axes": AXES, "quantity": NAMES, "workers": 1, **changes}
    tables = settings.pop("tables", TABLES)
    return dmft.scan(tables, settings.pop("axes"), settings.pop("quantity"), **settings)


def assert_same(one, two):
    for name in ("value", "error", "statuses"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    for name in ("settings", "quantities", "details", "design", "shape", "axes", "config"):
        assert getattr(one, name) == getattr(two, name), name


@pytest.fixture(scope="module")
def small():
    return run()


@pytest.fixture(scope="module")
def trajectories():
    settings = dmft.Sampling(64, 4)
    problems = [
        dmft.Problem(dmft.Target("phase-retrieval", noise=noise), loss="pseudo-huber")
        for noise in AXES["target.noise"]
    ]
    method = dmft.GradientDescent(0.2, 5)
    return [dmft.solve(problem, 4.0, method, settings) for problem in problems]


def test_settings_are_shown_and_kept_as_they_are(small, tmp_path):
    """An infinite setting is none that is missing, and an exact value says so."""
    found = replace(small, settings={"target.noise": [0.0, np.inf]})
    found = replace(found, error=np.where(np.isnan(small.error), np.nan, 0.0))
    rows = found.table().split("\n")[1:]
    assert [row.split()[0] for row in rows] == ["0", "inf"]
    assert rows[0].count(" (exact)") == int(np.isfinite(small.value[0]).sum())
    assert "+-" not in rows[0]
    found.save(tmp_path / "a")
    again = Scan.load(tmp_path / "a")
    assert again == found
    one, two = found.to_csv(tmp_path / "a.csv"), to_csv(again, tmp_path / "b.csv")
    assert one.read_bytes() == two.read_bytes()  # as the commands scan and show write it
    assert again.columns()["target.noise"] == [0.0, np.inf]
    assert again.plot() is not None
    tiny = replace(
        small, value=np.full_like(small.value, 1e-9), error=np.full_like(small.error, 2e-12)
    )
    assert "1.0000e-09 +- 2.0e-12" in tiny.table()


# -- numbers -------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_functions(small, trajectories):
    for row, trajectory in enumerate(trajectories):
        found = dict(zip(small.quantities, small.value[row], strict=True))
        law = trajectory.hessian(3)
        assert found["gap"] == law.hard_gap()
        assert found["gap@0"] == trajectory.hessian(0).hard_gap()
        assert found["gap_left@0"] == trajectory.hessian(0).hard_gap("left")
        assert found["left_edge"] == law.edges().left
        assert found["test_loss"] == trajectory.test_loss[5]
        assert found["norm@2"] == trajectory.norm[2, 0, 0]
        outliers = [o for o in law.outliers("hard") if o.side == "left" and o.separated]
        assert bool(outliers) == np.isfinite(found["outlier"])
        if outliers:
            assert (found["outlier"], found["outlier_overlap"]) == (
                outliers[0].value, outliers[0].hard_overlap
            )  # fmt: skip
    place = small.column("gap@0")
    assert (small.error[:, place] == 0).all()  # quadrature
    assert (small.error[:, small.column("gap")] > 0).all()


def test_errors_contain_the_bias_of_finitely_many_paths(small, trajectories):
    place = small.column("test_loss")
    for row, trajectory in enumerate(trajectories):
        parts = trajectory.stderr["test_loss"][5], trajectory.bias["test_loss"][5]
        assert small.error[row, place] == pytest.approx(np.hypot(*parts), rel=1e-15)


def test_a_number_does_not_depend_on_what_is_read_beside_it(small):
    alone = run(quantity="gap")
    assert alone.value[:, 0].tobytes() == small.value[:, small.column("gap")].tobytes()
    assert alone.error[:, 0].tobytes() == small.error[:, small.column("gap")].tobytes()


def test_a_flow_read_early_is_that_read_to_its_end():
    flow = TABLES | {"method": {"t_max": 1.5, "tol": 1e-2}, "spectrum": {}}
    both = run(tables=flow, axes={"delta": [4.0]}, quantity=["train_loss@2", "test_loss"])
    alone = run(tables=flow, axes={"delta": [4.0]}, quantity="train_loss@2")
    assert both.value[0, 0] == alone.value[0, 0]


def test_a_threshold_is_that_of_the_search():
    found = run(axes={"delta": [3.0, 4.0]}, quantity=["threshold@0", "recovery", "run_test_loss"])
    search = dmft.find_delta_nn(
        dmft.Problem("phase-retrieval", loss="pseudo-huber"),
        dmft.GradientDescent(0.2, 5),
        (0.5, 16.0),
        0,
        dmft.Sampling(64, 4),
        scan_points=3,
    )
    assert found.value[:, 0].tolist() == [search.value] * 2
    assert found.statuses[0, 0] == search.status.name
    sweep = dmft.sweep(
        dmft.Problem("phase-retrieval", loss="pseudo-huber"), [3.0, 4.0],
        dmft.GradientDescent(0.2, 30), d=30, seeds=4, workers=1,
    )  # fmt: skip
    assert found.value[:, 1].tolist() == sweep.probability[0].tolist()
    np.testing.assert_allclose(found.value[:, 2], sweep.test_loss[0].mean(axis=1), rtol=1e-14)


def test_points_share_what_does_not_depend_on_their_settings():
    axes = {"delta": [2.0, 3.0, 4.0], "target.noise": [0.0, 0.5], "spectrum.step": [1, 2]}
    question = question_of(TABLES, axes, ["threshold", "gap", "test_loss", "recovery"])
    plan = question.plan()
    kinds = [task.computation for task in plan.tasks.values()]
    # Thresholds: by noise alone. Trajectories: by noise and delta; both steps are read from one.
    assert {kind: kinds.count(kind) for kind in kinds} == {"threshold": 2, "hessian": 6, "runs": 6}
    assert max(len(task.readings) for task in plan.tasks.values()) == 3


def test_biases_are_an_axis_and_a_quantity():
    tables = {**TABLES, "method": {**TABLES["method"], "bias_step_size": 0.2}}
    found = run(tables=tables, axes={"network.biases": [0.0, 0.5]}, quantity=["biases[0]@0"])
    np.testing.assert_array_equal(found.value[:, 0], [0.0, 0.5])


def test_inputs_starts_constraints_and_momentum_are_axes(tmp_path):
    """Each point is the problem that its settings say; laws of one's own are beside the file."""
    (tmp_path / "mine.py").write_text(
        "def clip(y):\n    return y.clip(-2, 2)\n\n\ndef q(u):\n    return 0.5 + u\n"
    )
    path = tmp_path / "run.toml"
    path.write_text(
        '[target]\nlabel = "phase-retrieval"\n[network]\nactivation = "gelu"\n'
        "[method]\nstep_size = 0.2\nn_steps = 2\n[sampling]\nn_paths = 64\nreplicates = 2\n"
        "[trajectory]\ndelta = 4.0\n"
    )
    elliptical = {"problem.inputs.law": "elliptical"}
    mixture = {"problem.inputs.law": "gaussian-mixture"}
    points = [
        elliptical | {"problem.inputs.degrees_of_freedom": 9.0},
        elliptical | {"problem.inputs.scales": "mine.py:q"},
        {"problem.inputs": {"law": "independent-latents", "latents": ["uniform"]}},
        mixture | {"problem.inputs.weights": [0.5, 0.5], "problem.inputs.means": [[1.0], [-1.0]]},
        {"method.constraint": "sphere"},
        {"method.momentum": 0.5, "method.nesterov": True},
        {"network.biases": {"law": "gaussian", "std": 0.5}},
        {"problem.spectral_start.preprocessing": "mine.py:clip"},
        {"problem.spectral_start.preprocessing": "clipped", "problem.spectral_start.cap": 2.0},
        {"problem.spectral_start": "none"},
    ]
    found = dmft.scan(path, None, "train_loss", design="list", points=points, workers=1)
    assert found.status is Status.SUCCESS
    for point, value in zip(points, found.value[:, 0], strict=True):
        one = dmft.load_run(path, point)
        theory = dmft.solve(one.problem, 4.0, one.method, one.sampling)
        assert theory.train_loss[-1] == value
    # The same function by another name, and no start at all.
    assert found.value[7, 0] == found.value[8, 0]
    assert len(set(found.value[:, 0].tolist())) == 9
    found.plot()


def test_a_hessian_is_held_to_no_accuracy_and_losses_are():
    accurate = TABLES | {"sampling": {"rtol": 0.05, "replicates": 4}}
    tasks = question_of(accurate, AXES, ["gap", "test_loss"]).plan().tasks.values()
    rtols = {task.computation: task.run.accuracy_options.get("rtol") for task in tasks}
    assert rtols == {"hessian": None, "trajectory": 0.05}


# -- failures ------------------------------------------------------------------------------------


def test_settings_that_are_not_allowed_fail_at_their_points_alone(small):
    found = run(axes={"target.noise": [0.0, -1.0]}, quantity=["gap", "threshold@0"])
    assert found.statuses.tolist() == [["SUCCESS", "SUCCESS"], ["FAILED", "FAILED"]]
    assert found.value[0, 0] == small.value[0, small.column("gap")]
    assert "noise" in found.detail(1, "gap")
    assert "noise" in found.summary()
    assert found.status is Status.FAILED


def test_a_failing_computation_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("dmft.scans.computations.solve", lambda *_, **__: 1 / 0)
    found = run(quantity="gap", checkpoint=tmp_path)
    assert set(found.statuses.ravel()) == {"FAILED"}
    assert found.detail(0).startswith("ZeroDivisionError")
    monkeypatch.undo()
    assert run(quantity="gap", checkpoint=tmp_path).status.ok


def test_statuses_of_a_part_arrive():
    wide = TABLES | {"method": {"step_size": 1e9, "n_steps": 5}}
    found = run(tables=wide, axes={"delta": [4.0]}, quantity=["test_loss", "norm", "gap"])
    assert set(found.statuses.ravel()) <= {"DIVERGED", "NONFINITE"}
    assert np.isnan(found.value).all()
    narrow = run(axes={"threshold.bracket": [[15.0, 16.0]]}, quantity="threshold@0")
    assert narrow.statuses.item() == "NO_BRACKET"
    assert "negative at both ends" in narrow.detail(0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quantity": "treshold"}, "did you mean 'threshold'"),
        ({"quantity": []}, "a name or a list"),
        ({"quantity": "norm[0]"}, "2 indices"),
        ({"quantity": "recovery@3"}, "no step"),
        ({"quantity": "gap@9"}, "step must be in 0..n_steps = 0..5, got 9"),
        ({"quantity": 3}, "a name or a list"),
        ({"axes": {"target.label": ["linear"]}, "quantity": "gap"}, "no hard direction"),
        ({"axes": {"target.noise": [-1.0]}}, "noise"),
        ({"quantity": "test_error"}, "labels -1 and +1"),
        ({"tables": {**TABLES, "threshold": {}}, "quantity": "threshold"}, "threshold.bracket"),
        ({"tables": {**TABLES, "sweep": {}}, "quantity": "recovery"}, "sweep.d is missing"),
        ({"tables": {**TABLES, "trajectory": {}}}, "trajectory.delta is missing"),
        ({"workers": 0}, "workers must be an integer >= 1"),
        ({"dask": "somewhere"}, "dask must be one of"),
        ({"progress": 3}, "progress"),
        ({"tables": 5}, "run must be a run file"),
        ({"tables": "no-such-preset"}, "preset must be one of"),
    ],
)
def test_bad_input_is_refused_in_one_line(changes, words):
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        run(**changes)
    assert "\n" not in str(refused.value)


def test_laws_of_ones_own_are_scanned_by_name_or_not_at_all(tmp_path):
    problem = dmft.Problem(dmft.Target(lambda z, eps: z[:, 0] ** 2, k=1), loss="pseudo-huber")
    given = replace(RunFile.from_config(TABLES, "own"), problem=problem)
    same = run(tables=given, axes={"delta": [4.0]}, quantity="gap")
    assert same.value.item() == run(axes={"delta": [4.0]}, quantity="gap").value.item()
    with pytest.raises(ValueError, match="laws by name"):
        run(tables=given)
    (tmp_path / "mine.py").write_text("def square(z, eps):\n    return z[:, 0] ** 2\n")
    (tmp_path / "mine.toml").write_text(
        '[target]\nlabel = "mine.py:square"\n[problem]\nloss = "pseudo-huber"\n[method]\n'
        "step_size = 0.2\nn_steps = 5\n[sampling]\nn_paths = 64\nreplicates = 4\n"
        "[trajectory]\ndelta = 4.0\n[spectrum]\nstep = 3\n"
        "[scan]\nquantity = 'gap'\n[scan.axes]\ntarget.noise = [0.0, 0.5]\n"
    )
    named = dmft.scan(str(tmp_path / "mine.toml"), workers=1)
    np.testing.assert_array_equal(named.value[:, 0], run(quantity="gap").value[:, 0])
    # What the label alone decides is one computation for all networks and losses.
    axes = {"network.activation": ["gelu", "relu"], "problem.loss": ["pseudo-huber", "square"]}
    plan = question_of(str(tmp_path / "mine.toml"), axes, ["delta_alg"]).plan()
    assert len(plan.tasks) == 1


# -- resumption ----------------------------------------------------------------------------------


def test_an_interrupted_scan_goes_on_to_the_same_bits(small, tmp_path):
    def interrupt(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=tmp_path, progress=interrupt)
    counts = []
    assert_same(run(checkpoint=tmp_path, progress=counts.append), small)
    assert counts == [1, 1]  # one was there
    files = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 2
    assert all(name.endswith(".json") for name in files)


def test_an_edited_scan_computes_only_what_is_new(small, tmp_path, monkeypatch):
    run(axes={"target.noise": [0.5]}, quantity=["gap", "norm@2"], checkpoint=tmp_path)
    done = []
    real = scans.run_here
    monkeypatch.setattr(
        scans, "run_here", lambda tasks, workers: done.extend(tasks) or real(tasks, workers)
    )
    assert_same(run(checkpoint=tmp_path), small)
    names = {task.run.problem.target.noise: set(task.readings) for task in done}
    assert len(names[0.0]) == len(NAMES)
    assert names[0.5] == names[0.0] - {"gap@3", "norm@2"}
    done.clear()
    assert_same(run(checkpoint=tmp_path), small)
    assert done == []


def test_a_damaged_or_foreign_file_counts_as_missing(small, tmp_path):
    run(checkpoint=tmp_path)
    one, two = sorted(tmp_path.rglob("*.json"))
    data = bytearray(one.read_bytes())
    data[len(data) // 2] ^= 1
    one.write_bytes(data)
    two.write_text(json.dumps({"body": {}}))
    assert_same(run(checkpoint=tmp_path), small)


def test_other_settings_and_versions_have_other_keys(monkeypatch):
    def keys(tables):
        return set(question_of(tables, AXES, "gap").plan().tasks)

    before = keys(TABLES)
    assert before == keys({**TABLES, "title": "Other words", "threshold": {}})
    assert before.isdisjoint(keys({**TABLES, "sampling": {"n_paths": 64, "seed": 1}}))
    monkeypatch.setattr("dmft.scans.tasks.software_version", lambda: "0.0.0")
    assert before.isdisjoint(keys(TABLES))


# -- processes -----------------------------------------------------------------------------------

LETHAL = """
import os
PARENT = int(os.environ["DELTA_NN_TEST_PARENT"])

def square(lethal):
    def label(z, eps):
        if lethal and os.getpid() != PARENT:
            os._exit(1)
        return z[:, 0] ** 2
    return label
"""


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(worker_count(None, 2) < 2, reason="needs two cores")
def test_a_task_that_kills_its_worker_fails_and_the_others_do_not(tmp_path, monkeypatch):
    monkeypatch.setenv("DELTA_NN_TEST_PARENT", str(os.getpid()))
    (tmp_path / "lethal.py").write_text(LETHAL)
    labels = [{"python": f"{tmp_path}/lethal.py:square", "lethal": yes} for yes in (1, 0)]
    axes = {"target.label": labels, "delta": [2.0, 4.0]}
    found = run(axes=axes, quantity="norm", workers=2)
    assert found.grid(what="statuses").tolist() == [["FAILED"] * 2, ["SUCCESS"] * 2]
    assert "its worker process was killed" in found.detail(0)
    serial = run(axes={"delta": [2.0, 4.0]}, quantity="norm")
    assert found.grid()[1].tobytes() == serial.grid().tobytes()


def test_memory_limits_the_number_of_processes(monkeypatch):
    tasks = list(question_of(TABLES, AXES, "gap").plan().tasks.values())
    monkeypatch.setattr(running, "check_workers", lambda workers: 8)
    monkeypatch.setattr(running, "available_memory", lambda: 1.5 * max(map(bytes_of, tasks)))
    assert workers_within(tasks, None) == 1
    monkeypatch.setattr(running, "available_memory", lambda: 1e15)
    assert workers_within(tasks, None) == len(tasks) == 2


def test_no_quantity_needs_a_table_that_has_defaults():
    names = ["spectral_threshold", "spectral_gap", "spectral_outlier", "spectral_overlap"]
    found = run(quantity=names, axes={"trajectory.delta": [2.0]})
    problem, sampling = dmft.Problem("phase-retrieval"), TABLES["sampling"]
    alone = dmft.spectral_method(problem, 2.0, replicates=sampling["replicates"])
    assert found.value[0].tolist() == [
        alone.threshold, alone.gap, alone.outlier[0], alone.overlap[0]
    ]  # fmt: skip
    for name in QUANTITIES:
        with contextlib.suppress(ValueError):  # of a problem that has no such quantity
            assert question_of(TABLES, AXES, name).plan().tasks


# -- estimates -----------------------------------------------------------------------------------


def test_a_dry_run_counts_and_learns_from_what_is_done(tmp_path):
    question = question_of(TABLES, AXES, ["gap", "threshold@0"])
    before = dry_run(question, tmp_path)
    assert (before.n_tasks, before.n_done, before.measured) == (4, 0, False)
    assert before.seconds > 0
    run(axes={"target.noise": [0.0]}, quantity=["gap", "threshold@0"], checkpoint=tmp_path)
    after = dry_run(question, tmp_path)
    assert (after.n_tasks, after.n_done, after.measured) == (4, 2, True)


def test_what_short_computations_took_is_scaled_to_long_ones():
    axes = {"method.n_steps": [2, 200]}
    short, long = question_of(TABLES, axes, "test_loss").plan().tasks.values()
    assert (short.run.method.n_steps, long.run.method.n_steps) == (2, 200)
    done = {short.key: Outcome(short.key, {}, seconds=1.0)}
    found = estimate([short, long], done)
    assert (found.n_done, found.measured) == (1, True)
    assert 50 < found.seconds < 1000


def test_estimates_count_solves_laws_and_draws():
    def seconds(computation, **tables):
        changes = {"curve": {"bracket": [1.0, 9.0]}, "threshold": {"bracket": [1.0, 9.0]}, **tables}
        return roughly(RunFile.from_config({**TABLES, **changes}, "run"), computation)[0]

    two = {"network": {"second_layer": [1.0, -1.0]}}
    # Laws of matrices take long: more of them, more time, whatever the solves take.
    assert seconds("curve", **two) > 10 * seconds("curve")
    last = {"curve": {"bracket": [1.0, 9.0], "steps": [2]}}
    assert seconds("curve", **two) > 1.5 * seconds("curve", **two, **last)
    start = {"bracket": [1.0, 9.0], "step": 0}
    assert seconds("threshold", **two, threshold=start) > 10 * seconds("threshold", threshold=start)
    drawn = {"bracket": [1.0, 9.0], "d": [500]}
    assert seconds("threshold", threshold=drawn) > 1.5 * seconds("threshold")
    # What is exact takes no solve.
    assert seconds("spectral-threshold") == seconds("minimizer") < seconds("label")


def test_more_paths_need_more_memory():
    def needed(**changes):
        tables = {**TABLES, "sampling": {**TABLES["sampling"], **changes}}
        return max(map(bytes_of, question_of(tables, AXES, "gap").plan().tasks.values()))

    arrays = needed(n_paths=2**16) - needed(n_paths=2**15)
    # Linear in the number of paths, and more than the numbers of one step alone.
    assert needed(n_paths=2**17) - needed(n_paths=2**16) == pytest.approx(2 * arrays, rel=0.01)
    assert arrays > 8 * 4 * 2**15


# -- the result ----------------------------------------------------------------------------------


def test_a_saved_scan_comes_back_to_the_bit(small, tmp_path):
    small.save(tmp_path / "a.npz")
    assert_same(Scan.load(tmp_path / "a.npz"), small)
    wrong = replace(small, shape=(3,))
    wrong.save(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="shape must be that of 2 points"):
        Scan.load(tmp_path / "b.npz")
    replace(small, statuses=np.full(small.statuses.shape, "FINE")).save(tmp_path / "c.npz")
    with pytest.raises(ValueError, match="names of a Status"):
        Scan.load(tmp_path / "c.npz")


def test_tables_hold_every_number(small, tmp_path):
    pytest.importorskip("pandas")
    frame = small.to_dataframe()
    assert frame["gap"].tolist() == small.value[:, 0].tolist()
    assert frame["gap_status"].tolist() == small.statuses[:, 0].tolist()
    with small.to_csv(tmp_path / "a.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["test_loss_error"]) for row in rows] == frame["test_loss_error"].tolist()
    assert [float(row["target.noise"]) for row in rows] == AXES["target.noise"]


def test_grids_have_the_shape_of_the_axes():
    axes = {"network.activation": ["quadratic", "gelu"], "threshold.bracket": [[0.5, 8], [0.7, 9]]}
    found = run(axes=axes, quantity="threshold@0")
    assert found.shape == found.grid().shape == (2, 2)
    assert [found.axis(0), found.axis(1)] == list(axes.values())
    np.testing.assert_allclose(found.grid()[0], 0.923, rtol=1e-3)
    np.testing.assert_allclose(found.grid()[:, 0], found.grid()[:, 1], rtol=1e-6)


def test_a_scan_is_a_result_as_the_others(small, tmp_path):
    small.save(tmp_path / "a.npz")
    again = dmft.load(tmp_path / "a.npz")
    assert again == small
    assert again != replace(small, value=small.value + 1.0)
    assert "norm@2" in small.summary()
    panels = small.plot()
    assert panels[0].get_ylabel() == QUANTITIES["gap"].label


def test_datasets_have_the_axes_as_dimensions(small, tmp_path):
    xarray = pytest.importorskip("xarray")
    found = small.to_xarray()
    assert found["gap"].dims == ("target.noise",)
    assert found["gap"].sel({"target.noise": 0.5}).item() == small.value[1, 0]
    path = small.to_netcdf(tmp_path / "a.nc", "gap", "test_loss")
    with xarray.open_dataset(path, engine="scipy") as read:
        np.testing.assert_array_equal(read["gap_error"], small.error[:, 0])
        assert [str(name) for name in read["gap_status"].values] == ["SUCCESS"] * 2


def test_every_quantity_says_what_it_is():
    for name, quantity in QUANTITIES.items():
        assert quantity.text
        assert quantity.error
        assert quantity.label
        assert str(check_quantity(name)) == name


def test_what_unstable_paths_carry_is_no_success():
    """`dmft.solve` says it beside its status."""
    run = {
        "target": {"label": "phase-retrieval"}, "network": {"activation": "gelu"},
        "problem": {"loss": "pseudo-huber"}, "method": {"step_size": 0.2, "n_steps": 2},
        "sampling": {"n_paths": 64}, "trajectory": {"delta": 2.0},
    }  # fmt: skip
    found = dmft.scan(run, {"method.step_size": [0.2, 50.0]}, ["train_loss", "gap@1"], workers=1)
    statuses = found.statuses.tolist()
    assert statuses[1] == ["UNSTABLE_PATHS", "UNSTABLE_PATHS"]
    assert "UNSTABLE_PATHS" not in statuses[0]
    assert found.to_xarray().attrs["status"] == found.status.name
