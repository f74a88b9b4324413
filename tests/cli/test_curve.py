"""The command that draws delta_NN against the horizon: files, numbers, exit codes, bad input."""

import json
import os

import numpy as np
import pytest
from commands import RETRIEVAL, commands_on

import dmft

RUN = f"""
title = "Small"
{RETRIEVAL}
[method]
step_size = 0.2
n_steps = 3
[sampling]
n_paths = 128
replicates = 4
seed = 5
[curve]
bracket = [1.2, 4.0]
n_steps = 4
points = 5
"""
run_file, call = commands_on(RUN, "curve")


@pytest.mark.slow
def test_curve(call):
    code, out, err = call()
    assert (code, err) == (0, "")
    assert sorted(os.listdir(call.out)) == ["small-curve.npz", "small-curve.png"]
    loaded = dmft.ThresholdCurve.load(call.out / "small-curve.npz")
    assert loaded.steps.tolist() == [0, 1, 2, 3, 4]  # the curve's own horizon
    assert loaded.config["sampling"]["seed"] == 5
    again = dmft.delta_nn_curve(
        dmft.load_run(call.out.parent / "small.toml").problem,
        dmft.GradientDescent(0.2, 4),
        (1.2, 4.0),
        sampling=dmft.Sampling(n_paths=128, replicates=4, seed=5),
        points=5,
    )
    np.testing.assert_array_equal(loaded.value, again.value)
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "NOT_SETTLED" in lines["limit"]
    assert "SUCCESS" in lines["status"]
    assert "1.692757 (quadrature)" in lines["0"] or "1.69276 (quadrature)" in lines["0"]
    assert f"{again.n_evaluations} values of delta" in lines["solves"]


@pytest.mark.slow
def test_json(call):
    code, out, err = call("--json", "--steps", 0, 2, "--n-steps", 2, "--bracket", 1.5, 3)
    assert (code, err) == (0, "")
    data = json.loads(out)
    loaded = dmft.ThresholdCurve.load(call.out / "small-curve.npz")
    assert data["steps"] == [0, 2]
    assert data["times"] == [0.0, 0.4]
    assert data["value"] == loaded.value.tolist()
    assert data["stderr"] == loaded.stderr.tolist()
    assert data["bracket"] == [1.5, 3.0]
    assert data["statuses"] == ["SUCCESS", "SUCCESS"]
    assert data["limit"]["status"] == "NOT_SETTLED"
    assert data["limit"]["upper"] is None  # infinite
    assert data["config"]["method"]["n_steps"] == 2
    assert np.array(data["left_edge"]).shape == (data["n_evaluations"], 2)
    assert [os.path.basename(path) for path in data["files"]] == sorted(os.listdir(call.out))


@pytest.mark.slow
def test_a_limit_that_is_required(call):
    code, out, _ = call("--require-limit", "--steps", 0, 4)
    assert code == 3
    assert "status  NOT_SETTLED" in " ".join(out.split()).replace("status ", "status  ")
    assert sorted(os.listdir(call.out)) == ["small-curve.npz", "small-curve.png"]


@pytest.mark.slow
def test_a_curve_outside_the_bracket(call):
    code, out, _ = call("--bracket", 3, 4, "--steps", 0, 1)
    assert code == 3
    assert "NO_BRACKET" in out
    assert sorted(os.listdir(call.out)) == ["small-curve.npz", "small-curve.png"]


def test_the_bracket_of_the_threshold_will_do(call, run_file):
    text = RUN.replace("bracket = [1.2, 4.0]\n", "") + "\n[threshold]\nbracket = [1.3, 3.0]\n"
    run_file.write_text(text, encoding="utf-8")
    code, out, _ = call("--json", "--steps", 0)
    assert (code, json.loads(out)["bracket"]) == (0, [1.3, 3.0])
    run_file.write_text(RUN.replace("bracket = [1.2, 4.0]\n", ""), encoding="utf-8")
    code, _, err = call()
    assert code == 2
    assert "curve.bracket" in err
    assert "--bracket LO HI" in err


def test_every_preset_has_a_curve():
    for name in dmft.preset_names():
        run = dmft.load_preset(name)
        if run.problem.spectral_start is not None:  # whose threshold is that of no network
            continue
        assert run.curve.bracket is not None
        # Under the square loss the limit has no edge: curves are those at stated dimensions.
        assert run.curve.n_steps >= (40 if name.partition("-square")[1] else 100)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bracket", 8, 1], ["bracket", "lower < upper", "(8, 1)"]),
        (["--steps", 9], ["steps", "0..n_steps = 0..4", "9"]),
        (["--steps", 2, 1], ["steps", "ascending", "[2, 1]"]),
        (["--steps", -1], ["steps", ">= 0", "-1"]),
        (["--steps", "x"], ["--steps", "'x'"]),
        (["--points", 3], ["points", ">= 4", "3"]),
        (["--max-solves", 4], ["max_solves", ">= 5", "4"]),
        (["--n-steps", -1], ["n_steps", ">= 0", "-1"]),
        (["--threads", 0], ["threads", ">= 1", "0"]),
    ],
)
def test_bad_arguments(call, arguments, words):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("delta-nn: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert not call.out.exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("points = 5", "point = 5", ["curve.point", "did you mean 'points'?"]),
        ("points = 5", "points = 2", ["[curve]", "points", ">= 4", "2"]),
        ("points = 5", "steps = [0, 9]", ["[curve]", "steps", "0..n_steps = 0..4", "9"]),
        ("points = 5", "steps = 3", ["curve.steps", "an array", "3"]),
        ("[1.2, 4.0]", "[4.0, 1.2]", ["[curve]", "bracket", "(4, 1.2)"]),
        ('"phase-retrieval"', '"linear"', ["hard direction", "linear"]),
    ],
)
def test_bad_files(call, run_file, old, new, words):
    assert old in RUN
    run_file.write_text(RUN.replace(old, new), encoding="utf-8")
    code, out, err = call()
    assert (code, out) == (2, "")
    for word in words:
        assert word in err
    assert not call.out.exists()


def test_a_longer_curve_does_not_stretch_a_schedule():
    """Steps of the preset are what they are for the threshold, and go on where it ends."""
    from dmft.cli.arguments import command_parser
    from dmft.cli.run_files import run_of_horizon

    preset = dmft.load_preset("cosine-decay")
    run = run_of_horizon(
        command_parser().parse_args(["curve", "--preset", "cosine-decay"]), "curve"
    )
    assert run.method.n_steps == preset.curve.n_steps > preset.method.n_steps
    np.testing.assert_array_equal(
        run.method.step_sizes[: preset.method.n_steps], preset.method.step_sizes
    )


def test_a_curve_without_any_gap_has_no_figure(call, tmp_path):
    text = RUN.replace("n_paths = 128", "n_paths = 64").replace('"pseudo-huber"', '"square"')
    (tmp_path / "small.toml").write_text(text, encoding="utf-8")
    code, out, _ = call()
    assert code == 3
    assert os.listdir(call.out) == ["small-curve.npz"]
    assert "none: there is no finite gap to draw" in out
    assert "none: there is no threshold at the last step" in out
    assert "L' falls to -infinity" in out
    loaded = dmft.ThresholdCurve.load(call.out / "small-curve.npz")
    assert "L' falls to -infinity" in loaded.detail
