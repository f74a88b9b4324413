"""Gradient flow on the command line and in run files."""

import json

import numpy as np
import pytest
from commands import RETRIEVAL, called

import dmft

FLOW = f"""
{RETRIEVAL}
[method]
t_max = 2.0
tol = 1e-2
times = [0, 0.5, 2]
[sampling]
n_paths = 128
replicates = 4
[threshold]
bracket = [0.8, 8.0]
scan_points = 4
[curve]
points = 5
[trajectory]
delta = 4.0
[spectrum]
delta = 8.0
"""
DESCENT = FLOW.replace(
    "t_max = 2.0\ntol = 1e-2\ntimes = [0, 0.5, 2]", "step_size = 0.2\nn_steps = 2"
)


@pytest.fixture
def call(tmp_path, capsys):
    """Run a command on a run file: exit code, stdout, stderr."""

    def run(command, text, *arguments):
        path = tmp_path / "small.toml"
        path.write_text(text, encoding="utf-8")
        return called(capsys, [command, str(path), "--out", str(tmp_path), *map(str, arguments)])

    run.out = tmp_path
    return run


def test_trajectory_of_a_file_with_a_flow(call):
    code, out, err = call("trajectory", FLOW)
    assert (code, err) == (0, "")
    assert "gradient flow, tolerance 0.01" in out
    loaded = dmft.Trajectory.load(call.out / "small-trajectory.npz")
    np.testing.assert_array_equal(loaded.times, [0.0, 0.5, 2.0])
    assert (call.out / "small-trajectory.png").stat().st_size > 5000


@pytest.mark.slow
def test_flow_in_place_of_the_steps_of_a_file(call):
    code, out, _ = call("trajectory", DESCENT, "--t-max", 1, "--tol", "0.01", "--json")
    assert code == 0
    assert json.loads(out)["steps_computed"] == 60
    assert dmft.Trajectory.load(call.out / "small-trajectory.npz").times[-1] == 1.0
    code, out, _ = call("trajectory", FLOW, "--tol", "0.02", "--force")
    method = dmft.Trajectory.load(call.out / "small-trajectory.npz").method
    assert (method.tol, method.n_steps) == (0.02, 2)  # the times of the file


@pytest.mark.slow
def test_threshold_and_spectrum_name_the_time(call):
    code, out, _ = call("threshold", FLOW, "--step", 1)
    assert code == 0
    assert "delta_NN(t=0.5)" in out
    assert dmft.Threshold.load(call.out / "small-threshold.npz").step == 1
    code, out, _ = call("spectrum", FLOW)
    assert code == 0
    assert dmft.Spectrum.load(call.out / "small-spectrum.npz").step == 2


@pytest.mark.slow
def test_curve_along_a_flow(call):
    code, _, _ = call("curve", FLOW)
    assert code == 0
    curve = dmft.ThresholdCurve.load(call.out / "small-curve.npz")
    np.testing.assert_array_equal(curve.times, [0.0, 0.5, 2.0])
    assert np.all(np.diff(curve.value) > 0)
    # The number of steps that the file gives its curve is not that of a flow in its place.
    text = DESCENT.replace("points = 5", "points = 5\nn_steps = 400")
    assert call("curve", text, "--t-max", "0.2")[0] == 0


@pytest.mark.parametrize(
    ("command", "text", "arguments", "words"),
    [
        ("trajectory", DESCENT, ["--t-max", 1, "--n-steps", 3], ["--step-size", "--t-max"]),
        ("trajectory", DESCENT, ["--tol", 0.01], ["--tol", "--t-max"]),
        ("trajectory", FLOW, ["--n-steps", 3], ["gradient flow", "--t-max"]),
        ("trajectory", DESCENT, ["--t-max", -1], ["t_max", ">= 0"]),
        ("simulate", FLOW, ["--d", 50], ["step_size", "gradient descent"]),
        ("compare", FLOW, ["--d", 50], ["step_size", "gradient descent"]),
        ("sweep", FLOW, ["--d", 50, "--deltas", 2, 4], ["step_size", "gradient descent"]),
        ("grokking", FLOW, ["--d", 50], ["step_size", "gradient descent"]),
        ("trajectory", FLOW.replace("t_max = 2.0\n", ""), [], ["method.t_max", "missing"]),
        ("trajectory", FLOW + "\n", ["--step-size", 0.1], ["gradient flow"]),
        (
            "trajectory",
            FLOW.replace("tol = 1e-2", "step_size = 0.1"),
            [],
            ["step_size", "gradient descent", "one or the other"],
        ),
        ("trajectory", FLOW.replace("0.5, 2]", "0.5, 3]"), [], ["times", "t_max = 2"]),
    ],
)
def test_bad_combinations_are_one_line(call, command, text, arguments, words):
    code, out, err = call(command, text, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


@pytest.mark.slow
def test_spectrum_of_a_truncated_flow(call):
    text = FLOW.replace('"gelu"', '"quadratic"').replace("delta = 8.0", "delta = 2.0")
    text = text.replace("t_max = 2.0\ntol = 1e-2\ntimes = [0, 0.5, 2]", "t_max = 60.0\ntol = 2e-3")
    text = text.replace("n_paths = 128\nreplicates = 4", "n_paths = 1024\nreplicates = 2")
    code, out, err = call("spectrum", text)
    assert (code, err) == (0, "")
    assert "hard ones only" in out
    assert "compression = 0 if they were truncated" in out
    assert "hard gap" in out


@pytest.mark.slow
def test_a_bias_larger_than_the_error_is_told(call, monkeypatch):
    assert "finite paths" not in call("trajectory", FLOW)[1]
    bias = dmft.Trajectory._bias
    monkeypatch.setattr(
        dmft.Trajectory, "_bias", lambda self, name: bias(self, name) + 3.0 * self.stderr[name]
    )
    lines = call("trajectory", FLOW)[1].splitlines()
    told = next(line for line in lines if line.startswith("finite paths"))
    assert "train loss off by about" in told
    assert told.endswith("raise n_paths")
