"""Run files: what is read, and the one line said about what is not."""

import pytest

from dmft import GradientDescent, Network, Problem, Sampling, Target, load_preset, load_run
from dmft.config import RunFile, ThresholdSettings, preset_names, preset_text

FULL = """
title = "A title"
description = "Words."

[target]
label = "easy-hard"
k = 2
noise = 0.1
hard_directions = [1]

[network]
activation = "tanh"
second_layer = [1, -0.5]
neurons = 2

[problem]
loss = "pseudo-huber"
init_radius = 2
weight_decay = 0.1
initial_overlap = [[0.5, 0], [0.25, 0]]

[method]
step_size = 0.25
n_steps = 7

[sampling]
n_paths = 128
replicates = 4
seed = 3
rank_tolerance = 1e-9
sobol_blocks = 2

[threshold]
bracket = [1, 5]
step = 6
scan_points = 3

[trajectory]
delta = 2.5

[spectrum]
delta = 3.5
step = 4
"""
SHORT = """
[target]
label = "linear"
[method]
step_size = 0.1
n_steps = 3
"""


def write(folder, text):
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_that_can_be_stated_is_read(tmp_path):
    run = load_run(write(tmp_path, FULL))
    assert (run.name, run.title, run.description) == ("run", "A title", "Words.")
    assert run.problem == Problem(
        Target("easy-hard", noise=0.1, hard_directions=[1]),
        Network("tanh", [1.0, -0.5]),
        "pseudo-huber",
        init_radius=2.0,
        weight_decay=0.1,
        initial_overlap=[[0.5, 0.0], [0.25, 0.0]],
    )
    assert run.method == GradientDescent(0.25, 7)
    assert run.sampling == Sampling(128, 4, 3, 1e-9, 2)
    assert run.threshold == ThresholdSettings((1.0, 5.0), 6, 3)
    assert run.trajectory.delta == 2.5
    assert (run.spectrum.delta, run.spectrum.step) == (3.5, 4)


def test_what_is_left_out_has_the_defaults_of_the_library(tmp_path):
    run = load_run(write(tmp_path, SHORT))
    assert run.problem == Problem("linear")
    assert run.sampling == Sampling()
    assert run.threshold == ThresholdSettings()
    assert run.trajectory.delta is None


def test_hard_directions_may_be_columns(tmp_path):
    text = SHORT.replace('"linear"', '"product"\nhard_directions = [[1.0, 0.0], [0.0, 1.0]]')
    assert load_run(write(tmp_path, text)).problem.target.hard_basis.shape == (2, 2)


@pytest.mark.parametrize("text", [FULL, SHORT])
def test_configuration_round_trip(tmp_path, text):
    run = load_run(write(tmp_path, text))
    assert RunFile.from_config(run.to_config(), "run") == run


@pytest.mark.parametrize("name", preset_names())
def test_presets_read_and_are_documented(name):
    run = load_preset(name)
    assert run.title
    assert run.description
    assert run.threshold.bracket is not None
    assert run.trajectory.delta is not None
    assert run.spectrum.delta is not None
    assert run.problem.target.hard_basis.shape[1] > 0
    assert 'label = "' in preset_text(name)
    assert RunFile.from_config(run.to_config(), name) == run


def test_the_presets_are_those_announced():
    assert preset_names() == (
        "easy-hard",
        "product",
        "robust-phase-retrieval",
        "robust-phase-retrieval-gelu",
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("label", "lable", ["target.lable", "unknown key", "'label'", "noise"]),
        ("[method]", "[metod]", ["metod", "unknown key", "'method'", "sampling"]),
        ('"linear"', '"linear"\nloss = "square"', ["target.loss", "problem.loss", "noise"]),
        ("0.1", '"small"', ["method.step_size", "a number", "a string 'small'"]),
        ("0.1", "true", ["method.step_size", "a number", "true or false"]),
        ("= 3", "= 3.5", ["method.n_steps", "an integer", "3.5"]),
        ("n_steps = 3", "", ["method.n_steps", "missing"]),
        ("[method]\nstep_size = 0.1\nn_steps = 3", "", ["[method]", "missing", "n_steps"]),
        ('[target]\nlabel = "linear"', 'target = "linear"', ["target", "a table", "a string"]),
        ("[method]", "[threshold]\nbracket = [1, 2, 3]\n[method]",
         ["threshold.bracket", "length 2", "length 3"]),
        ("[method]", '[network]\nsecond_layer = [1, "a"]\n[method]',
         ["network.second_layer", "a number", "a string"]),
        ("[method]", '[network]\nactivation = "gelo"\n[method]',
         ["[network]", "activation", "'gelo'", "did you mean 'gelu'?"]),
        ("[method]", "[network]\nsecond_layer = [1.0]\nneurons = 2\n[method]",
         ["[network]", "neurons", "2"]),
        ("[method]", "[sampling]\nn_paths = 1000\n[method]",
         ["[sampling]", "n_paths", "power of two", "1000"]),
        ("[method]", "[threshold]\nbracket = [5, 1]\n[method]",
         ["[threshold]", "bracket", "lower < upper", "(5, 1)"]),
        ("[method]", "[trajectory]\ndelta = -1\n[method]", ["[trajectory]", "delta", "-1"]),
        ("[method]", "[spectrum]\nstep = -1\n[method]", ["[spectrum]", "step", "-1"]),
        ("0.1", "0.0", ["[method]", "step_size", "positive", "0.0"]),
        ("0.1", "nan", ["[method]", "step_size", "finite", "nan"]),
        ("[method]", "[method", ["not valid TOML", "line"]),
    ],
)  # fmt: skip
def test_one_line_says_where_and_what(tmp_path, old, new, words):
    assert old in SHORT
    path = write(tmp_path, SHORT.replace(old, new))
    with pytest.raises(ValueError, match=r"run\.toml") as caught:
        load_run(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_not_text(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        load_run(path)


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ValueError, match=r"easy-hard.*'eazy-hard'.*did you mean 'easy-hard'\?"):
        load_preset("eazy-hard")
    with pytest.raises(ValueError, match="did you mean 'robust-phase-retrieval' or"):
        load_preset("robust")
