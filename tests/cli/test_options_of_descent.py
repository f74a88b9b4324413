"""Options of gradient descent in run files and on the command line."""

import json

import pytest

import dmft
from dmft.cli import main
from dmft.config.config import RunFile

RUN = """
[target]
label = "easy-hard"
[network]
activation = "gelu"
second_layer = [1.0, -0.5]
[problem]
loss = "pseudo-huber"
second_layer_weight_decay = 0.1
[method]
step_size = {{ schedule = "cosine", peak = 0.4, final = 0.0, warmup_steps = 2 }}
n_steps = 4
{more}
[sampling]
n_paths = 128
replicates = 2
[threshold]
bracket = [1.0, 12.0]
scan_points = 2
[trajectory]
delta = 4.0
[simulation]
d = [20, 40]
seeds = 2
hessian_steps = []
[sweep]
deltas = [2.0, 4.0]
d = 20
seeds = 2
"""
MORE = "batch_fraction = 0.5\nmomentum = 0.5\nsecond_layer_step_size = [0.1, 0.2, 0.2, 0.1]"


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(more=MORE), encoding="utf-8")
    return path


def test_a_run_file_states_the_options(run_file):
    run = dmft.load_run(run_file)
    assert run.method == dmft.GradientDescent(
        dmft.Cosine(0.4, 0.0, 2), 4, 0.5, 0.5, [0.1, 0.2, 0.2, 0.1]
    )
    assert run.problem.second_layer_weight_decay == 0.1
    assert RunFile.from_config(run.to_config(), "run") == run


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("batch_fraction = 0.0", ["[method]", "batch_fraction", "above 0"]),
        ("momentum = 1.0", ["[method]", "momentum", "below 1"]),
        ("momentum = 'a'", ["method.momentum", "a number", "a string"]),
        ("second_layer_step_size = [0.1]", ["second_layer_step_size", "at least n_steps = 4"]),
        (
            "second_layer_step_size = 'a'",
            ["second_layer_step_size", "a number or a table or an array"],
        ),
        ("batch_size = 3", ["method.batch_size", "unknown key", "batch_fraction"]),
        ("t_max = 1.0", ["gradient descent", "one or the other"]),
    ],
)
def test_a_run_file_with_nonsense_is_refused(tmp_path, more, words):
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(more=more), encoding="utf-8")
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        dmft.load_run(path)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("trajectory", ""),
        ("simulate", "--workers 1"),
        ("compare", "--workers 1"),
        ("spectrum", "--delta 4 --step 2"),
        ("threshold", "--scan-points 2"),
        ("curve", "--steps 2 4 --points 4 --max-solves 4"),
        ("sweep", "--workers 1 --step 1"),
    ],
)
def test_commands_take_the_options(run_file, tmp_path, capsys, command, more):
    given = [command, str(run_file), "--out", str(tmp_path / "out"), "--json"]
    assert main([*given, *more.split()]) in (0, 3)  # so few paths may find no threshold
    out, err = capsys.readouterr()
    assert json.loads(out)
    assert "Traceback" not in err


def test_the_command_line_overrides_the_file(run_file, tmp_path, capsys):
    given = ["trajectory", str(run_file), "--out", str(tmp_path / "out")]
    options = ["--step-size", "0.1", "--batch-fraction", "0.25", "--momentum", "0.2"]
    assert main([*given, *options, "--second-layer-step-size", "0.3"]) == 0
    loaded = dmft.Trajectory.load(tmp_path / "out" / "run-trajectory.npz")
    assert loaded.method == dmft.GradientDescent(0.1, 4, 0.25, 0.2, 0.3)
    assert "batches of 0.25 n, momentum 0.2, second layer 0.3" in capsys.readouterr().out
    assert main([*given, "--momentum", "1"]) == 2
    assert "momentum must be at least 0 and below 1, got 1" in capsys.readouterr().err
    assert main([*given, "--t-max", "1", "--momentum", "0.5"]) == 2
    assert main(["grokking", str(run_file), "--d", "50", "--delta", "4"]) == 2
    assert "method must be full-batch" in capsys.readouterr().err
