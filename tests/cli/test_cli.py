"""The command line, end to end: files, JSON, exit codes, and one line for bad input."""

import json
import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import RETRIEVAL, assert_one_line, called, commands_on, hear_interrupts, names

import dmft
from dmft.cli import main

RUN = f"""
title = "Small"
{RETRIEVAL}
[method]
step_size = 0.2
n_steps = 2
[sampling]
n_paths = 256
replicates = 4
seed = 5
[threshold]
bracket = [0.5, 8.0]
scan_points = 4
[trajectory]
delta = 3.0
[spectrum]
delta = 8.0
"""
run_file, call = commands_on(RUN)


# -- done ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_threshold(call):
    code, out, err = call("threshold")
    assert (code, err) == (0, "")
    assert names(call.out) == ["small-threshold.npz", "small-threshold.png"]
    loaded = dmft.Threshold.load(call.out / "small-threshold.npz")
    run = dmft.load_run(call.out.parent / "small.toml")
    again = dmft.find_delta_nn(
        run.problem, run.method, (0.5, 8.0), sampling=run.sampling, scan_points=4
    )
    assert loaded.value == again.value
    assert loaded.stderr == again.stderr
    np.testing.assert_array_equal(loaded.gap, again.gap)
    assert loaded.config["sampling"]["seed"] == 5
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    value = float(lines["delta_NN(t=2)"].split()[0])
    assert value == pytest.approx(loaded.value, abs=loaded.stderr)
    assert lines["status"] == "SUCCESS"
    assert "appears" in lines["crossings"]
    assert "at 0.5" in lines["gap"]
    assert "at 8" in lines["gap"]
    assert out.count("wrote") == 2
    # Names begin in the first column, texts in one further column.
    assert len({len(line) - len(line.split(maxsplit=1)[1]) for line in out.splitlines()}) == 1


def test_threshold_of_another_outlier(call):
    options = ["--step", 0, "--set", "target.label=product", "--criterion", "left"]
    code, out, err = call("threshold", *options, "--json")
    data = json.loads(out)
    assert (code, err) == (0, "")
    assert (data["criterion"], data["index"], data["multiplicity"]) == ("left", 1, 1)
    assert (data["jump"], data["edge_kind"]) == (0.0, "square-root")
    assert data["config"]["threshold"]["criterion"] == "left"
    code, out, err = call("threshold", *options, "--force")
    assert "hard outlier left of the bulk" in out


def test_threshold_json(call):
    code, out, err = call("threshold", "--json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    loaded = dmft.Threshold.load(call.out / "small-threshold.npz")
    assert data["status"] == "SUCCESS"
    assert data["value"] == loaded.value
    assert data["stderr"] == loaded.stderr
    assert data["gap"] == loaded.gap.tolist()
    assert data["gap_at_bracket"] == list(loaded.gap_at_bracket)
    assert data["crossings"][-1]["refined"] is True
    assert data["config"]["sampling"]["seed"] == 5
    assert data["version"] == dmft.__version__
    assert [os.path.basename(path) for path in data["files"]] == names(call.out)


@pytest.mark.slow
def test_trajectory(call):
    code, out, err = call("trajectory", "--format", "pdf")
    assert (code, err) == (0, "")
    assert names(call.out) == ["small-trajectory.npz", "small-trajectory.pdf"]
    loaded = dmft.Trajectory.load(call.out / "small-trajectory.npz")
    run = dmft.load_run(call.out.parent / "small.toml")
    again = dmft.solve(run.problem, 3.0, run.method, run.sampling)
    np.testing.assert_array_equal(loaded.test_loss, again.test_loss)
    np.testing.assert_array_equal(loaded.norm, again.norm)
    assert "train loss" in out
    code, out, _ = call("trajectory", "--json")
    data = json.loads(out)
    assert data["train_loss"] == again.train_loss.tolist()
    assert data["stderr"]["test_loss"] == again.stderr["test_loss"].tolist()
    assert data["steps_computed"] == 2


@pytest.mark.slow
def test_spectrum_with_its_flow(call):
    code, _, _ = call("spectrum", "--flow", "--n-steps", 2, "--step", 2)
    assert code == 0
    assert names(call.out) == ["small-flow.png", "small-spectrum.npz", "small-spectrum.png"]


@pytest.mark.slow
def test_spectrum_of_runs_of_a_size(call):
    """The square loss has no edge in the limit, runs have one: an answer, and the exit code 0."""
    square = ("--loss", "square", "--step", 0, "--n-paths", 64)
    assert call("spectrum", *square)[0] == 3
    options = ("--d", 40, 80, "--draws", 3)
    code, out, err = call("spectrum", *square, *options, "--json", "--force")
    data = json.loads(out)
    assert (code, err, data["status"]) == (0, "", "SUCCESS")
    laws = [dmft.load(call.out / f"small-spectrum-d{d}.npz") for d in (40, 80)]
    assert [one["gap"]["value"] for one in data["finite"]] == [law.gap.value for law in laws]
    assert [law.draws for law in laws] == [3, 3]
    _, out, _ = call("spectrum", *square, *options, "--force")
    assert "d = 40          n = " in out
    assert "left edge       -inf" in out
    _, _, err = call("spectrum", *square, "--d", 1)
    assert "n = delta d >= 10 samples" in err
    assert err.count("\n") == 1
    _, _, err = call("spectrum", *square, "--d", 40, "--fresh-batches")
    assert "d must not come with fresh_batches" in err


@pytest.mark.slow
def test_spectrum(call):
    code, out, err = call("spectrum", "--json")
    assert (code, err) == (0, "")
    assert names(call.out) == ["small-spectrum.npz", "small-spectrum.png"]
    data = json.loads(out)
    loaded = dmft.Spectrum.load(call.out / "small-spectrum.npz")
    assert data["left_edge"] == loaded.left_edge
    assert data["density"] == loaded.density.tolist()
    assert data["outliers"][0]["value"] == loaded.outliers[0].value
    code, out, _ = call("spectrum", "--step", 0)
    assert code == 0
    assert "(quadrature)" in out
    assert "hard overlap" in out


@pytest.mark.slow
def test_threshold_to_many_digits(call):
    code, out, _ = call("threshold", "--step", 0, "--bracket", 0.5, 4, "--digits", 10, "--json")
    data = json.loads(out)
    assert code == 0
    assert float(data["digits"]) == pytest.approx(data["value"], rel=1e-9)
    assert len(data["digits"]) == 11 + data["digits"].startswith("0")


@pytest.mark.slow
def test_numbers_do_not_depend_on_threads(call):
    first = json.loads(call("spectrum", "--json", "--threads", 1)[1])
    second = json.loads(call("spectrum", "--json", "--threads", 2)[1])
    assert first["hard_gap"] == second["hard_gap"]
    assert first["density"] == second["density"]


@pytest.mark.slow
def test_overrides(call):
    code, out, _ = call(
        "trajectory", "--json", "--delta", 2.5, "--step-size", 0.1, "--n-steps", 1,
        "--n-paths", 128, "--replicates", 2, "--seed", 9,
    )  # fmt: skip
    assert code == 0
    data = json.loads(out)
    assert data["delta"] == 2.5
    assert data["config"]["method"] == {"step_size": 0.1, "n_steps": 1}
    sampling = data["config"]["sampling"]
    assert (sampling["n_paths"], sampling["replicates"], sampling["seed"]) == (128, 2, 9)
    code, out, _ = call("threshold", "--json", "--bracket", 1, 6, "--step", 0, "--scan-points", 3)
    assert code == 0
    data = json.loads(out)
    assert data["bracket"] == [1.0, 6.0]
    assert data["step"] == 0
    assert data["stderr"] == 0.0


def test_unbounded_edge_is_null_in_json(call):
    code, out, _ = call(
        "spectrum", "--json", "--n-steps", 1, "--n-paths", 256,
        source=("--preset", "robust-phase-retrieval"),
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["right_edge"] is None
    assert names(call.out)[0] == "robust-phase-retrieval-spectrum.npz"


def test_a_command_that_reaches_no_accuracy_says_so(call):
    """A run file may ask for one, for other commands."""
    run = call.out.parent / "small.toml"
    run.write_text(
        RUN.replace("n_paths = 256", "n_paths = 64\nrtol = 0.4\nmax_paths = 64"), encoding="utf-8"
    )
    code, out, _ = call("spectrum", "--n-steps", 1)
    assert code == 0
    assert "8 x" not in out
    assert "4 x 64, seed 5; rtol = 0.4 is for threshold, curve and trajectory, and not used" in out
    assert "for an accuracy of 0.4" in call("trajectory", "--n-steps", 1)[1]


def test_presets_are_listed_and_shown(capsys, tmp_path):
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(dmft.preset_names())
    assert all(len(line.split()) > 4 for line in lines)
    assert main(["presets", "--show", "product"]) == 0
    path = tmp_path / "product.toml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert dmft.load_run(path) == dmft.load_preset("product")
    assert main(["presets", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == list(dmft.preset_names())
    assert main(["presets", "--json", "--show", "product"]) == 0
    assert json.loads(capsys.readouterr().out)["target"]["label"] == "product"


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    assert "robust-phase-retrieval" in capsys.readouterr().out
    assert main(["threshold", "--help"]) == 0
    assert "--bracket" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"delta-nn {dmft.__version__}"


# -- a numerical status --------------------------------------------------------------------------


@pytest.mark.slow
def test_no_bracket(call):
    code, out, err = call("threshold", "--bracket", 0.2, 0.5, "--step", 0)
    assert (code, err) == (3, "")
    assert names(call.out) == ["small-threshold.npz", "small-threshold.png"]
    assert "NO_BRACKET: " in out
    assert "none found" in out
    loaded = dmft.Threshold.load(call.out / "small-threshold.npz")
    assert not loaded.status.ok
    code, out, _ = call("threshold", "--bracket", 0.2, 0.5, "--step", 0, "--json")
    data = json.loads(out)
    assert (code, data["value"], data["status"]) == (3, None, "NO_BRACKET")
    assert "widen the bracket" in data["message"]
    assert "raise it above 0.5" in data["detail"]


@pytest.mark.slow
def test_diverging_run_returns_what_was_computed(call):
    source = ("--preset", "robust-phase-retrieval")
    small = ("--n-paths", 256, "--step-size", 50, "--json")
    code, out, err = call("trajectory", *small, source=source)
    data = json.loads(out)
    assert (code, err, data["status"]) == (3, "", "DIVERGED")
    assert 0 <= data["steps_computed"] < 40
    assert len(data["train_loss"]) == data["steps_computed"] + 1
    assert data["last_meaningful_step"] == 0
    loaded = dmft.Trajectory.load(call.out / "robust-phase-retrieval-trajectory.npz")
    assert loaded.status.name == "DIVERGED"
    assert len(names(call.out)) == 2
    code, out, _ = call("trajectory", *small[:-1], source=source)
    shown = {line.split("  ")[0]: line for line in out.splitlines()}
    assert "at step 0" in shown["values"]
    assert "0.80" in shown["train loss"]  # that of the initial weights, not 1e9
    code, out, err = call("spectrum", *small, source=source)
    data = json.loads(out)
    assert (code, err, data["status"], data["files"]) == (3, "", "DIVERGED", [])
    code, out, _ = call("spectrum", *small[:-1], source=source)
    assert code == 3
    assert "no spectrum" in out
    assert len(names(call.out)) == 2


def test_unbounded_left_edge(call, run_file):
    run_file.write_text(
        RUN.replace('"gelu"', '"quadratic"').replace('"pseudo-huber"', '"square"'),
        encoding="utf-8",
    )
    code, out, _ = call("spectrum", "--step", 0, "--json")
    data = json.loads(out)
    assert (code, data["status"], data["left_edge"]) == (3, "UNBOUNDED_EDGE", None)
    assert len(names(call.out)) == 2
    code, out, _ = call("threshold", "--step", 0, "--json")
    data = json.loads(out)
    assert (code, data["status"], data["value"]) == (3, "UNBOUNDED_EDGE", None)
    assert "L' falls to -infinity" in data["detail"]
    assert len(names(call.out)) == 3  # no figure of nothing
    code, out, _ = call("threshold", "--step", 0)
    assert code == 3
    assert "figure" in out
    assert "none: there is no finite gap to draw" in out
    assert "L' falls to -infinity" in out


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("trajectory", ["--delta", -1], ["delta", "positive", "-1"]),
        ("spectrum", ["--delta", 0], ["delta", "positive", "0"]),
        ("spectrum", ["--delta", "nan"], ["delta", "finite", "nan"]),
        ("trajectory", ["--delta", "much"], ["--delta", "'much'"]),
        ("threshold", ["--step-size", 0], ["step_size", "positive", "0.0"]),
        ("threshold", ["--n-steps", -1], ["n_steps", ">= 0", "-1"]),
        ("threshold", ["--n-paths", 1000], ["n_paths", "power of two", "1000"]),
        ("threshold", ["--replicates", 1], ["replicates", ">= 2", "1"]),
        ("threshold", ["--seed", -1], ["seed", ">= 0", "-1"]),
        ("threshold", ["--threads", 0], ["threads", ">= 1", "0"]),
        ("threshold", ["--bracket", 8, 1], ["bracket", "lower < upper", "(8, 1)"]),
        ("threshold", ["--bracket", -1, 1], ["bracket[0]", "positive", "-1"]),
        ("threshold", ["--bracket", 1], ["--bracket", "2"]),
        ("threshold", ["--step", 3], ["step", "0..n_steps = 0..2", "3"]),
        ("spectrum", ["--step", 3], ["step", "0..n_steps = 0..2", "3"]),
        ("spectrum", ["--step", -1], ["step", ">= 0", "-1"]),
        ("threshold", ["--scan-points", 1], ["scan_points", ">= 2", "1"]),
        ("threshold", ["--criterion", "top"], ["criterion", "negative, left, any", "'top'"]),
        ("threshold", ["--index", 0], ["index", ">= 1", "0"]),
        ("threshold", ["--index", 2], ["index", "1..m k_h = 1..1", "2"]),
        ("curve", ["--index", 2], ["index", "1..m k_h = 1..1", "2"]),
        ("threshold", ["--format", "doc"], ["--format", "'doc'", "png"]),
        ("threshold", ["--brackets", 1, 2], ["--brackets"]),
        ("threshold", ["--preset", "product"], ["either", "--preset"]),
    ],
)
def test_bad_arguments(call, command, arguments, words):
    assert_one_line(call(command, *arguments), *words)
    assert not call.out.exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("bracket", "brackets", ["small.toml", "threshold.brackets", "did you mean 'bracket'?"]),
        ("= 0.2", "= '0.2'", ["small.toml", "method.step_size", "a number", "a string"]),
        ("= 256", "= 256.5", ["small.toml", "sampling.n_paths", "an integer", "256.5"]),
        ("= 256", "= 100", ["small.toml", "n_paths", "power of two", "100"]),
        ('"gelu"', '"gleu"', ["small.toml", "activation", "'gleu'", "did you mean 'gelu'?"]),
        (
            '"gelu"',
            '"gelu"\nsecond_layer = [1]\nneurons = 2',
            ["small.toml", "neurons", "second_layer", "2"],
        ),
        ('"gelu"', '"gelu"\nsecond_layer = []', ["small.toml", "second_layer", "at least one"]),
        ('"phase-retrieval"', '"linear"', ["hard direction", "linear"]),
        ('"pseudo-huber"', '"logistic"', ["label", "-1 and +1", "logistic"]),
        ("bracket = [0.5, 8.0]", "", ["threshold.bracket", "--bracket LO HI"]),
        ("bracket = [0.5, 8.0]", "bracket = [8.0, 0.5]", ["small.toml", "bracket", "(8, 0.5)"]),
    ],
)
def test_bad_files(call, run_file, old, new, words):
    assert old in RUN
    run_file.write_text(RUN.replace(old, new), encoding="utf-8")
    assert_one_line(call("threshold"), *words)
    assert not call.out.exists()


def test_missing_settings(call, run_file):
    run_file.write_text(RUN.replace("delta = 3.0", "").replace("delta = 8.0", ""))
    assert_one_line(call("trajectory"), "trajectory.delta", "--delta")
    assert_one_line(call("spectrum"), "spectrum.delta", "--delta")


def test_no_such_file(call, tmp_path):
    assert_one_line(call("threshold", source=("nothing.toml",)), "nothing.toml", "No such file")
    assert_one_line(call("threshold", source=(str(tmp_path),)), str(tmp_path), "directory")
    assert not call.out.exists()


def test_unknown_preset(call, capsys):
    result = call("threshold", source=("--preset", "products"))
    assert_one_line(result, "preset", "'products'", "did you mean 'product'")
    assert main(["presets", "--show", "products"]) == 2
    assert "did you mean 'product'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["treshold"], ["threshold"], ["threshold", "--no"]])
def test_bad_usage(capsys, arguments):
    assert_one_line(called(capsys, arguments))


def test_folder_that_cannot_be_written(call, tmp_path):
    (tmp_path / "out").write_text("a file")
    assert_one_line(call("threshold"), "--out", "folder", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "a file"


def test_folders_made_are_removed_when_nothing_is_written(run_file, tmp_path, capsys):
    folder = tmp_path / "a" / "b"
    arguments = ["trajectory", str(run_file), "--out", str(folder), "--delta", "-1"]
    assert main(arguments) == 2
    assert not (tmp_path / "a").exists()
    (tmp_path / "a").mkdir()
    assert main(arguments) == 2
    assert names(tmp_path / "a") == []


def test_too_little_memory_is_one_line(call, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("dmft.trajectory.solving.solve", fail)
    assert_one_line(call("trajectory"), "memory", "n_paths")
    assert not call.out.exists()


# -- processes -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.processes
def test_module_no_progress_bar_in_a_pipe(run_file, tmp_path):
    command = [sys.executable, "-m", "dmft", "spectrum", str(run_file), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "SUCCESS" in done.stdout


@pytest.mark.slow
@pytest.mark.processes
def test_progress_bar_on_a_terminal(run_file, tmp_path):
    fcntl, pty, termios = map(pytest.importorskip, ("fcntl", "pty", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "dmft", "threshold", str(run_file), "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--n-paths", "2048", "--n-steps", "8"],
        stdout=subprocess.PIPE, stderr=theirs, text=True, timeout=120, check=False,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert done.returncode == 0
    assert b"values of delta" in shown
    assert "values of delta" not in done.stdout


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_interrupted(run_file, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dmft", "threshold", str(run_file), "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--n-paths", "4096", "--n-steps", "60", "--scan-points", "200"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts,
    )  # fmt: skip
    for _ in range(600):  # until it has begun
        if out.exists():
            break
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert stderr == "delta-nn: interrupted\n"
    assert not out.exists()
