"""The commands at finite d: simulate, compare, sweep; resuming, and one line for bad input."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
from commands import assert_one_line, commands_on, hear_interrupts, names
from joblib.externals.loky.process_executor import TerminatedWorkerError

import dmft
import dmft.simulation.seed_runs
import dmft.simulation.seed_store
from dmft.cli import main
from dmft.comparison.comparison import compare

RUN = """
[target]
label = "easy-hard"
[network]
activation = "gelu"
second_layer = [1.0, 0.5]
[problem]
loss = "pseudo-huber"
[method]
step_size = 0.2
n_steps = 3
[sampling]
n_paths = 256
replicates = 4
[threshold]
bracket = [0.5, 8.0]
scan_points = 3
[trajectory]
delta = 3.0
[simulation]
d = [24, 16]
seeds = 3
hessian_steps = [0, 3]
[sweep]
bracket = [1.0, 16.0]
points = 3
d = 20
seeds = 2
n_steps = 40
"""
run_file, call = commands_on(RUN, options=("--workers", "1"))


@pytest.fixture
def figures():
    """Draw them (see below)."""


@pytest.fixture(autouse=True)
def _blank_figures(request, monkeypatch):
    """Write empty figures, except where a test asks for them: drawing takes most of the time."""
    if "figures" not in request.fixturenames:
        for name in ("plot_comparison", "plot_hessian_comparison", "plot_simulation", "plot_sweep"):
            monkeypatch.setattr(f"dmft.plotting.{name}", lambda *_: None)
        monkeypatch.setattr("dmft.plotting.save_figure", lambda _, path: path.touch() or path)


def simulated(run_file, d, seeds=3, **options):
    run = dmft.load_run(run_file)
    options = {"hessian_steps": [0, 3], "workers": 1, **options}
    return dmft.simulate(run.problem, options.pop("delta", 3.0), run.method, d, seeds, **options)


def assert_same_runs(first, second):
    assert first.seeds == second.seeds
    for name in ("correlation", "overlap", "train_loss", "test_loss", "hard_cosine"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.hessian.keys() == second.hessian.keys()
    for step, hessian in first.hessian.items():
        np.testing.assert_array_equal(hessian.eigenvalues, second.hessian[step].eigenvalues)


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def seed_names(*seeds):
    """What is in a folder with these seeds finished."""
    return ["configuration.json", *(f"seed-{seed:05d}.npz" for seed in seeds)]


def cells(line):
    """Columns of a line of a table, which two or more blanks set apart."""
    return [cell for cell in line.split("  ") if cell.strip()]


def one_line(text):
    return " ".join(text.split())


# -- simulate ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("figures")
def test_simulate(call, run_file):
    code, out, err = call("simulate")
    assert (code, err) == (0, "")
    assert names(call.out) == [
        "small-simulation-d16",
        "small-simulation-d16.npz",
        "small-simulation-d24",
        "small-simulation-d24.npz",
        "small-simulation.png",
    ]
    runs = {}
    for d in (16, 24):
        assert names(call.out / f"small-simulation-d{d}") == seed_names(0, 1, 2)
        runs[d] = dmft.Simulation.load(call.out / f"small-simulation-d{d}.npz")
        assert_same_runs(runs[d], simulated(run_file, d))
        assert runs[d].inputs.is_gaussian
        assert not runs[d].hold_hard
    rows = {line[:28].strip(): cells(line[28:]) for line in out.splitlines() if "+-" in line}
    for column, d in enumerate((16, 24)):
        run = runs[d]
        for name, value, error in (
            ("train loss", run.mean["train_loss"][-1], run.stderr["train_loss"][-1]),
            ("overlap M21", run.mean["overlap"][-1, 1, 0], run.stderr["overlap"][-1, 1, 0]),
            ("squared norm C22", run.mean["correlation"][-1, 1, 1],
             run.stderr["correlation"][-1, 1, 1]),
            ("hard cosine^2", run.mean["hard_cosine"][-1], run.stderr["hard_cosine"][-1]),
            ("step 3: smallest eigenvalue", run.hessian[3].smallest.mean(),
             run.hessian[3].smallest.std(ddof=1) / np.sqrt(3)),
            ("step 0: its hard overlap", run.hessian[0].hard_overlap.mean(),
             run.hessian[0].hard_overlap.std(ddof=1) / np.sqrt(3)),
        ):  # fmt: skip
            shown, plus_minus = map(float, rows[name][column].split("+-"))
            assert shown == pytest.approx(value, abs=0.06 * error)
            assert plus_minus == pytest.approx(error, rel=0.06)
    assert "overlap M12" not in out  # hard: its mean says nothing, its sign is a matter of chance
    assert out.count("wrote") == 3


def test_simulate_json(call):
    code, out, err = call("simulate", "--json", "--d", 16)
    data = json.loads(out)
    assert (code, err, data["status"]) == (0, "", "SUCCESS")
    (entry,) = data["simulations"]
    loaded = dmft.Simulation.load(call.out / "small-simulation-d16.npz")
    assert (entry["d"], entry["n"], entry["seeds"]) == (16, 48, [0, 1, 2])
    assert entry["mean"]["test_loss"] == loaded.mean["test_loss"].tolist()
    assert entry["stderr"]["overlap"] == loaded.stderr["overlap"].tolist()
    assert entry["hessian"]["3"]["hard_overlap"] == loaded.hessian[3].hard_overlap.tolist()
    assert data["config"]["simulation"]["d"] == [16]
    assert data["config"]["simulation"]["delta"] == 3.0
    assert [os.path.basename(path) for path in data["files"]] == [
        "small-simulation-d16.npz",
        "small-simulation.png",
    ]


def test_overrides(call, run_file):
    code, out, _ = call(
        "simulate", "--json", "--d", 20, "--seeds", 2, "--delta", 2.5, "--inputs", "rademacher",
        "--hessian-steps", "--hold-hard", "--step-size", 0.1, "--n-steps", 2,
    )  # fmt: skip
    assert code == 0
    loaded = dmft.Simulation.load(call.out / "small-simulation-d20-held.npz")
    assert (loaded.d, loaded.n, loaded.seeds, loaded.delta) == (20, 50, (0, 1), 2.5)
    assert (loaded.inputs.law, loaded.hold_hard, loaded.hessian) == ("rademacher", True, {})
    assert loaded.method == dmft.GradientDescent(0.1, 2)
    np.testing.assert_array_equal(loaded.hard_cosine, 0.0)
    settings = json.loads(out)["config"]["simulation"]
    assert settings["inputs"] == {"law": "rademacher"}
    assert settings["hold_hard"] is True
    # The file's word on holding the hard directions can be taken back.
    run_file.write_text(RUN.replace("seeds = 3", "seeds = 3\nhold_hard = true"), encoding="utf-8")
    assert call("simulate", "--d", 16, "--free")[0] == 0
    assert not dmft.Simulation.load(call.out / "small-simulation-d16.npz").hold_hard


def test_settings_of_the_file_reach_the_simulation(call, run_file):
    stated = """seeds = 3
inputs = { law = "student-t", degrees_of_freedom = 7 }
hard_overlap = [[0.1], [-0.2]]
n_extreme = 2
n_test = 11
delta = 2.0"""
    run_file.write_text(RUN.replace("seeds = 3", stated), encoding="utf-8")
    code, out, _ = call("simulate", "--d", 16)
    assert code == 0
    assert "student-t 7.0" in out
    loaded = dmft.Simulation.load(call.out / "small-simulation-d16.npz")
    expected = simulated(
        run_file, 16, delta=2.0, hard_overlap=[[0.1], [-0.2]], n_extreme=2, n_test=11,
        inputs=dmft.Inputs("student-t", degrees_of_freedom=7),
    )  # fmt: skip
    assert_same_runs(loaded, expected)
    np.testing.assert_allclose(loaded.overlap[:, 0, :, 1], [[0.1, -0.2]] * 3, atol=1e-12)


def test_finished_seeds_are_read_and_others_added(call, monkeypatch):
    assert call("simulate", "--d", 16, "--seeds", 2)[0] == 0
    folder = call.out / "small-simulation-d16"
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    done = []
    work = dmft.simulation.seed_runs.run_seed
    monkeypatch.setattr(
        "dmft.simulation.seed_runs.run_seed",
        lambda plan, seed: done.append(seed) or work(plan, seed),
    )
    code, _, _ = call("simulate", "--d", 16, "--seeds", 3)
    assert (code, done) == (0, [2])
    for name, (modified, data) in before.items():
        assert ((folder / name).stat().st_mtime_ns, (folder / name).read_bytes()) == (
            modified,
            data,
        )
    assert names(folder) == seed_names(0, 1, 2)


def test_progress_counts_seeds_over_all_sizes(call, monkeypatch):
    seen = []

    @contextmanager
    def progress(begin=None, total=None, unit=""):
        counts = []
        seen.append((total, unit, counts))
        yield counts.append

    monkeypatch.setattr("dmft.cli.output.progress", progress)
    assert call("simulate")[0] == 0
    assert call("simulate")[0] == 0  # those read from disk count as well
    assert seen == [(6, "seeds", [1] * 6)] * 2


def test_diverging_runs(call):
    code, out, err = call("simulate", "--step-size", 1e9, "--d", 16, "--hessian-steps", 0)
    assert (code, err) == (3, "")
    assert "DIVERGED: " in out
    assert "3, 3 failed" in out
    assert len(names(call.out)) == 3
    code, out, _ = call("simulate", "--step-size", 1e9, "--d", 16, "--hessian-steps", 0, "--json")
    assert (code, json.loads(out)["status"]) == (3, "DIVERGED")


# -- compare -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("figures")
def test_compare(call, run_file):
    code, out, err = call("compare", "--seeds", 4, "--hessian-steps", 3)
    assert (code, err) == (0, "")
    assert names(call.out) == [
        "small-comparison-hessian-3.png",
        "small-comparison.npz",
        "small-comparison.png",
        "small-simulation-d16-held",
        "small-simulation-d16-held.npz",
        "small-simulation-d24-held",
        "small-simulation-d24-held.npz",
    ]
    run = dmft.load_run(run_file)
    trajectory = dmft.solve(run.problem, 3.0, run.method, run.sampling)
    held = [simulated(run_file, d, 4, hold_hard=True, hessian_steps=[3]) for d in (16, 24)]
    expected = compare(trajectory, held)
    assert expected.table() in out
    assert expected.verdict() in one_line(out)


def test_compare_json(call):
    arguments = ["--seeds", 4, "--hessian-steps"]
    verdict = call("compare", *arguments)[1].split("\n\n")[-2]
    code, out, _ = call("compare", *arguments, "--json")
    data = json.loads(out)
    assert (code, data["command"], data["status"]) == (0, "compare", "SUCCESS")
    assert data["verdict"] == one_line(verdict)
    assert data["config"]["simulation"]["hold_hard"] is True
    assert data["quantities"]["test_loss"]["entries"] == 4


@pytest.mark.slow
def test_compare_free(call):
    """Runs that may move and runs that are held have folders of their own."""
    assert call("compare", "--d", 16, "--n-paths", 128)[0] == 0
    code, out, _ = call("compare", "--d", 16, "--free", "--n-paths", 128)
    assert code == 0
    assert "overlap with hard directions" in out
    found = names(call.out)
    assert {"small-simulation-d16", "small-simulation-d16-held"} <= set(found)
    assert {"small-comparison.npz", "small-comparison-free.npz"} <= set(found)


def test_a_deviation_is_said_and_is_no_failure(call, run_file):
    stated = 'seeds = 30\ninputs = { law = "covariance", spectrum = [1, 1, 30] }'
    run_file.write_text(RUN.replace("seeds = 3", stated), encoding="utf-8")
    code, out, err = call("compare", "--d", 24, "--n-paths", 1024, "--hessian-steps")
    assert (code, err) == (0, "")
    result = dmft.Comparison.load(call.out / "small-comparison.npz")
    assert not result.compatible
    assert result.verdict() in one_line(out)
    assert "covariance" in out


@pytest.mark.slow
def test_compare_with_a_theory_that_diverges(call):
    code, out, _ = call("compare", "--d", 16, "--step-size", 1e9, "--hessian-steps", 0)
    assert code == 3
    assert "DIVERGED" in out
    assert "up to step" in out


def test_help_says_what_is_held(capsys):
    assert main(["compare", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "orthogonal to the hard directions, unless --free" in text
    assert "exit code is 0 also" in text


# -- sweep ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("figures")
def test_sweep(call, run_file):
    code, out, err = call("sweep")
    assert (code, err) == (0, "")
    assert names(call.out) == [
        "small-sweep",
        "small-sweep-threshold.npz",
        "small-sweep.npz",
        "small-sweep.png",
    ]
    run = dmft.load_run(run_file)
    expected = dmft.sweep(
        run.problem, [1, 4, 16], dmft.GradientDescent(0.2, 40), d=20, seeds=2, workers=1
    )
    loaded = dmft.Sweep.load(call.out / "small-sweep.npz")
    np.testing.assert_array_equal(loaded.recovery_step, expected.recovery_step)
    np.testing.assert_array_equal(loaded.test_loss, expected.test_loss)
    assert expected.table() in out
    # The theory looks at its own horizon, whatever the step budget.
    threshold = dmft.Threshold.load(call.out / "small-sweep-threshold.npz")
    assert (threshold.step, threshold.bracket) == (3, (0.5, 8.0))
    assert "delta_NN(t=3)" in out


@pytest.mark.slow
def test_sweep_where_the_limit_has_no_threshold(call):
    """The square loss: thresholds and Hessians of runs of each size."""
    options = (
        "--loss", "square", "--step-size", 0.02, "--deltas", 4, 8, "--d", 4, 40, "--seeds", 2,
        "--n-steps", 5, "--step", 1, "--hessian-step", 2, "--json",
    )  # fmt: skip
    code, out, err = call("sweep", *options)
    data = json.loads(out)
    assert data["theory"]["status"] == "NO_BRACKET"  # its edge is held by far tails
    (one,) = data["theory_at_sizes"]  # d = 4 has too few samples at delta = .5
    assert one["d"] == 40
    assert (code == 0) == (data["status"] == "SUCCESS") == (one["status"] == "SUCCESS")
    assert np.shape(data["law_of_n_weights"]["smallest_eigenvalue"]) == (2, 2)
    assert {"small-sweep-threshold-d40.npz", "small-sweep-hessian.npz"} <= set(names(call.out))
    assert err == ""


@pytest.mark.slow
def test_sweep_options(call):
    options = (
        "--deltas", 12, 2, "--d", 16, 20, "--seeds", 3, "--n-steps", 5, "--step", 1,
        "--recovery", 0.9, "--hessian-step", 2, "--inputs", "uniform", "--json",
    )  # fmt: skip
    code, out, err = call("sweep", *options)
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert (data["d"], data["deltas"], data["seeds"]) == ([16, 20], [2.0, 12.0], [0, 1, 2])
    assert (data["n_steps"], data["recovery"], data["hessian_step"]) == (5, 0.9, 2)
    assert data["theory"]["step"] == 1
    assert data["config"]["sweep"]["inputs"] == {"law": "uniform"}
    assert data["config"]["method"]["n_steps"] == 3
    assert list(data["crossing"]) == ["16", "20"]
    assert np.shape(data["smallest_eigenvalue"]) == (2, 2, 3)
    before = contents(call.out / "small-sweep")
    assert len(before) == 12 + 4  # a configuration for each size and delta
    assert json.loads(call("sweep", *options)[1])["test_loss"] == data["test_loss"]
    assert contents(call.out / "small-sweep") == before


def test_sweep_at_one_delta_needs_no_theory(call, run_file):
    run_file.write_text(RUN.replace("bracket = [0.5, 8.0]", ""), encoding="utf-8")
    code, out, _ = call("sweep", "--deltas", 8, "--n-steps", 2, "--json")
    assert (code, json.loads(out)["theory"]) == (0, None)
    assert names(call.out) == ["small-sweep", "small-sweep.npz", "small-sweep.png"]


def test_sweep_whose_theory_finds_no_threshold(call):
    code, out, _ = call("sweep", "--step-size", 1e9, "--deltas", 2, 3, "--n-steps", 3)
    assert code == 3
    assert "DIVERGED" in out
    assert "none found" in out


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("simulate", ["--d", 3], ["d must be at least k + m = 2 + 2", "3"]),
        ("compare", ["--d", 100, 3], ["d must be at least k + m = 2 + 2", "3"]),
        ("sweep", ["--d", 3], ["d must be at least k + m = 2 + 2", "3"]),
        ("simulate", ["--d", 0], ["d", ">= 1", "0"]),
        ("simulate", ["--d", 20, 20], ["d", "different sizes", "[20, 20]"]),
        ("simulate", ["--d", 20.5], ["--d", "'20.5'"]),
        ("simulate", ["--workers", 4096], ["workers", "number of cores", "4096"]),
        ("compare", ["--workers", 4096], ["workers", "number of cores", "4096"]),
        ("sweep", ["--workers", 4096], ["workers", "number of cores", "4096"]),
        ("simulate", ["--workers", 0], ["workers", ">= 1", "0"]),
        ("simulate", ["--seeds", 0], ["seeds", ">= 1", "0"]),
        ("compare", ["--seeds", 1], ["seeds", "at least 2", "1"]),
        ("simulate", ["--inputs", "gausian"], ["inputs", "did you mean 'gaussian'?"]),
        ("sweep", ["--inputs", "cauchy"], ["inputs", "student-t", "'cauchy'"]),
        ("compare", ["--inputs", "covariance"], ["spectrum", "'covariance'"]),
        ("simulate", ["--hessian-steps", 0, 4], ["hessian_steps", "0..n_steps = 0..3", "4"]),
        ("simulate", ["--hessian-steps", -1], ["hessian_steps", ">= 0", "-1"]),
        ("compare", ["--n-steps", 2], ["hessian_steps", "0..n_steps = 0..2", "3",
                                       "give --hessian-steps"]),
        ("sweep", ["--hessian-step", 41], ["hessian_step", "0..n_steps = 0..40", "41"]),
        ("sweep", ["--deltas", 2, 2.01], ["deltas", "2.0 and 2.01", "n = 40 at d = 20"]),
        ("simulate", ["--delta", 0], ["delta", "positive", "0"]),
        ("simulate", ["--delta", 0.001], ["delta", "at least one sample"]),
        ("simulate", ["--hold-hard", "--free"], ["--free", "--hold-hard"]),
        ("sweep", ["--deltas", 1, -1], ["deltas", "positive", "-1"]),
        ("sweep", ["--deltas", 1, 1], ["deltas", "different values"]),
        ("sweep", ["--recovery", 1], ["recovery", "(0, 1)", "1"]),
        ("sweep", ["--n-steps", 0], ["n_steps", ">= 1", "0"]),
        ("sweep", ["--step", 4], ["step", "0..n_steps = 0..3", "4"]),
        ("sweep", ["--n-paths", 1000], ["n_paths", "power of two", "1000"]),
    ],
)  # fmt: skip
def test_bad_arguments(call, command, arguments, words):
    assert_one_line(call(command, *arguments), *words)
    assert not call.out.exists()


def test_settings_of_the_file_that_an_override_makes_wrong(call, run_file):
    """What to do about it is said: the setting was not given on the command line."""
    text = RUN.replace("hessian_steps = [0, 3]", "hessian_steps = [0, 3]\nn_extreme = 4")
    run_file.write_text(text + "hessian_step = 10\n", encoding="utf-8")
    result = call("sweep", "--n-steps", 5)
    assert_one_line(
        result, "hessian_step must be in 0..n_steps = 0..5, got 10; give --hessian-step"
    )
    result = call("sweep", "--hessian-step", 41)
    assert_one_line(result, "hessian_step", "0..40, got 41")
    assert "give" not in result[2]
    run_file.write_text(text.replace("[1.0, 0.5]", "[1.0]"), encoding="utf-8")
    assert_one_line(call("simulate", "--d", 3), "n_extreme", "got 4; raise d or lower n_extreme")
    assert not call.out.exists()


def test_missing_settings(call, run_file):
    run_file.write_text(RUN[: RUN.index("[trajectory]")], encoding="utf-8")
    assert_one_line(call("simulate"), "simulation.d", "--d")
    assert_one_line(call("simulate", "--d", 16), "simulation.delta", "--delta")
    assert_one_line(call("sweep"), "sweep.d", "--d")
    assert_one_line(call("sweep", "--d", 16), "sweep.deltas", "--deltas")
    assert not call.out.exists()


def test_results_of_another_configuration_are_left_alone(call):
    assert call("simulate", "--d", 16)[0] == 0
    before = contents(call.out)
    result = call("simulate", "--d", 16, "--delta", 2)
    assert_one_line(result, "delta = 3.0", "2.0", "another folder", "small-simulation-d16")
    assert contents(call.out) == before
    result = call("simulate", "--d", 16, "--step-size", 0.1)
    assert_one_line(result, "method.step_size = 0.2", "0.1")
    assert contents(call.out) == before


def test_folder_that_cannot_be_written(call):
    call.out.write_text("a file")
    for command in ("simulate", "compare", "sweep"):
        assert_one_line(call(command), "--out", "folder", str(call.out))
    assert call.out.read_text() == "a file"


def test_full_disk_keeps_what_is_finished(call, run_file, monkeypatch):
    replace = os.replace
    left = [2]

    def fill(*paths):
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        return replace(*paths)

    monkeypatch.setattr("os.replace", fill)
    file = call.out / "small-simulation-d16" / "seed-00002.npz"
    assert_one_line(call("simulate", "--d", 16), f"error: {file}: No space left")
    assert names(call.out) == ["small-simulation-d16"]
    assert names(call.out / "small-simulation-d16") == seed_names(0, 1)
    left[0] = 99
    assert call("simulate", "--d", 16)[0] == 0
    loaded = dmft.Simulation.load(call.out / "small-simulation-d16.npz")
    assert_same_runs(loaded, simulated(run_file, 16))


def test_full_disk_from_the_start_leaves_nothing(call, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("dmft.simulation.seed_store.write_result", fail)
    for command in ("simulate", "compare", "sweep"):
        assert_one_line(call(command), "No space left")
        assert not (call.out / "small-simulation-d16").exists()
        assert not any(path.is_file() for path in call.out.rglob("*"))


def test_too_little_memory_is_one_line(call, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("dmft.simulation.simulation.simulate", fail)
    assert_one_line(call("simulate"), "memory", "--d or --workers")
    assert not call.out.exists()


def test_a_worker_that_is_killed_is_one_line(call, monkeypatch):
    def fail(*_, **__):
        raise TerminatedWorkerError("a long story")

    monkeypatch.setattr("dmft.simulation.simulation.simulate", fail)
    result = call("simulate")
    assert_one_line(result, "killed", "memory", "--workers", "same command resumes")


# -- processes -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_interrupted_runs_resume_to_the_same_bits(run_file, tmp_path):
    arguments = ["simulate", str(run_file), "--d", "60", "--seeds", "12", "--n-steps", "20"]
    arguments += ["--hessian-steps", "0", "--workers", "1", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "dmft", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts,
    )  # fmt: skip
    folder = tmp_path / "out" / "small-simulation-d60"
    for _ in range(6000):  # until a seed is done
        if folder.exists() and any(folder.glob("seed-*.npz")):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert stderr.startswith("delta-nn: interrupted; ")
    assert stderr.count("\n") == 1
    assert "the same command resumes" in stderr
    kept = contents(tmp_path / "out")
    assert 1 <= len(kept) - 1 < 12
    found = {path.name for path in kept} - {"configuration.json"}
    assert all(name.startswith("seed-") for name in found)
    assert main(arguments) == 0
    assert {path: path.read_bytes() for path in kept} == kept
    run = dmft.load_run(run_file)
    method = dmft.GradientDescent(0.2, 20)
    expected = dmft.simulate(run.problem, 3.0, method, 60, 12, hessian_steps=[0], workers=1)
    loaded = dmft.Simulation.load(tmp_path / "out" / "small-simulation-d60.npz")
    assert_same_runs(loaded, expected)
