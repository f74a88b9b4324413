"""Run files: what is read, and the one line said about what is not."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from run_files import FULL

from dmft import GradientDescent, Network, Problem, Sampling, Target, load_preset, load_run
from dmft.config.config import (
    CurveSettings,
    RunFile,
    SimulationSettings,
    SweepSettings,
    ThresholdSettings,
    preset_names,
    preset_text,
)
from dmft.model.inputs import Inputs

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
    assert run.curve == CurveSettings((1.0, 6.0), 9, (0, 3, 9), 4, 8)
    assert run.trajectory.delta == 2.5
    assert (run.spectrum.delta, run.spectrum.step) == (3.5, 4)
    assert run.simulation == SimulationSettings(
        d=(40, 60),
        seeds=3,
        delta=1.5,
        inputs=Inputs("student-t", degrees_of_freedom=7.0),
        hessian_steps=(0, 7),
        hold_hard=False,
        hard_overlap=((0.1,), (-0.1,)),
        n_extreme=2,
        n_test=50,
    )
    assert run.sweep == SweepSettings(
        bracket=(1.0, 16.0),
        points=3,
        d=(50,),
        seeds=4,
        n_steps=20,
        recovery=0.25,
        hessian_step=20,
        inputs=Inputs("rademacher"),
    )
    assert run.sweep.grid == (1.0, 4.0, 16.0)


def test_what_is_left_out_has_the_defaults_of_the_library(tmp_path):
    run = load_run(write(tmp_path, SHORT))
    assert run.problem == Problem("linear")
    assert run.sampling == Sampling()
    assert run.threshold == ThresholdSettings()
    assert run.curve == CurveSettings()
    assert run.trajectory.delta is None
    assert (run.simulation.d, run.simulation.seeds, run.simulation.inputs) == (None, 8, None)
    assert (run.sweep.grid, run.sweep.seeds, run.sweep.recovery) == (None, 8, 0.5)


def test_values_of_delta_may_be_listed(tmp_path):
    run = load_run(write(tmp_path, SHORT + "[sweep]\ndeltas = [4, 2.5]\n"))
    assert run.sweep.grid == (2.5, 4.0)


def test_values_of_delta_in_a_bracket_are_even_in_log_with_few_digits():
    grid = SweepSettings(bracket=(1.0, 12.0), points=9).grid
    assert (grid[0], grid[-1], len(grid)) == (1.0, 12.0, 9)
    ratios = [b / a for a, b in pairwise(grid)]
    assert ratios == pytest.approx([12 ** (1 / 8)] * 8, rel=1e-3)
    assert all(len(f"{value!r}") <= 5 for value in grid)


@pytest.mark.parametrize(
    "inputs", ['"mixture"', '{ law = "covariance", spectrum = [1, 3] }', '{ law = "gaussian" }']
)
def test_inputs_are_a_name_or_a_table(tmp_path, inputs):
    run = load_run(write(tmp_path, f"{SHORT}[simulation]\ninputs = {inputs}\n"))
    assert run.simulation.inputs.law in inputs
    assert RunFile.from_config(run.to_config(), "run") == run


def test_the_tables_in_the_documentation_are_read(tmp_path):
    commands = Path(__file__).parents[2] / "docs" / "commands"
    pages = ((commands / name).read_text(encoding="utf-8") for name in ("curve.md", "index.md"))
    text = "".join(page.partition("\n## ")[2] for page in pages)
    blocks = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    block = "\n".join(block for block in blocks if "[target]" not in block)
    run = load_run(write(tmp_path, SHORT.replace("= 3", "= 40") + block))
    assert run.simulation.hold_hard is True
    assert len(run.sweep.grid) == 9
    assert run.curve.points == 9


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
    starts_informed = run.problem.spectral_start is not None  # nothing is hard from there
    assert (run.threshold.bracket is None) == starts_informed
    assert run.trajectory.delta is not None
    assert run.spectrum.delta is not None
    assert len(run.simulation.d) >= 2  # otherwise nothing to extrapolate in 1/d
    assert run.simulation.seeds >= 8
    if run.problem.target.hard_basis.shape[1]:
        assert run.simulation.hessian_steps
        assert starts_informed or len(run.sweep.grid) >= 5
        assert starts_informed or len(run.sweep.d) >= 2
    else:  # nothing to recover, and a smallest eigenvalue that is an edge
        assert name in ("relu", "biases-relu")
    assert "label = " in preset_text(name)
    assert RunFile.from_config(run.to_config(), name) == run


def test_the_presets_are_those_announced():
    assert preset_names() == (
        "biases-gelu",
        "biases-relu",
        "capped-correlation",
        "correlated-initialisation",
        "cosine-decay",
        "easy-hard",
        "easy-hard-square",
        "fresh-batches",
        "gaussian-mixture",
        "logistic-flips",
        "mini-batch",
        "momentum",
        "nesterov",
        "normalised-square",
        "phase-retrieval-square",
        "phase-retrieval-square-gelu",
        "product",
        "product-square",
        "rademacher-latents",
        "relu",
        "robust-phase-retrieval",
        "robust-phase-retrieval-gelu",
        "spectral-start",
        "sphere",
        "student-t-inputs",
        "trained-second-layer",
        "two-features",
        "two-spheres",
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
        ("[method]", "[simulation]\nd = 10.5\n[method]",
         ["simulation.d", "an integer or an array", "10.5"]),
        ("[method]", "[simulation]\nd = [10, 10]\n[method]", ["[simulation]", "d", "[10, 10]"]),
        ("[method]", "[simulation]\nd = []\n[method]", ["[simulation]", "d", "one or more"]),
        ("[method]", "[simulation]\nd = [0]\n[method]", ["[simulation]", "d", ">= 1", "0"]),
        ("[method]", "[simulation]\nseeds = 0\n[method]", ["[simulation]", "seeds", ">= 1"]),
        ("[method]", "[simulation]\ndelta = 0\n[method]", ["[simulation]", "delta", "positive"]),
        ("[method]", '[simulation]\ninputs = "gausian"\n[method]',
         ["[simulation]", "inputs", "'gausian'", "did you mean 'gaussian'?", "student-t"]),
        ("[method]", '[simulation]\ninputs = { law = "gaussian", separation = 0.5 }\n[method]',
         ["[simulation]", "separation", "mixture"]),
        ("[method]", '[simulation]\ninputs = { low = "gaussian" }\n[method]',
         ["[simulation]", "inputs", "'low'", "'law'"]),
        ("[method]", "[simulation]\ninputs = 3\n[method]",
         ["simulation.inputs", "a string or a table", "3"]),
        ("[method]", "[simulation]\nhessian_steps = [0, 4]\n[method]",
         ["[simulation]", "hessian_steps", "0..n_steps = 0..3", "4"]),
        ("[method]", "[simulation]\nhessian_steps = 3\n[method]",
         ["simulation.hessian_steps", "an array", "3"]),
        ("[method]", "[simulation]\nhold_hard = 1\n[method]",
         ["simulation.hold_hard", "true or false", "an integer 1"]),
        ("[method]", "[simulation]\nhold_hard = true\nhard_overlap = 0.1\n[method]",
         ["[simulation]", "hold_hard", "hard_overlap"]),
        ("[method]", "[simulation]\nn_test = 0\n[method]", ["[simulation]", "n_test", ">= 1"]),
        ("[method]", "[simulation]\nsize = 10\n[method]",
         ["simulation.size", "unknown key", "hold_hard"]),
        ("[method]", "[sweep]\ndeltas = [1, 2]\nbracket = [1, 2]\n[method]",
         ["[sweep]", "either deltas", "bracket"]),
        ("[method]", "[sweep]\ndeltas = []\n[method]", ["[sweep]", "deltas", "one or more"]),
        ("[method]", "[sweep]\ndeltas = [1, -1]\n[method]", ["[sweep]", "deltas", "positive"]),
        ("[method]", "[sweep]\nbracket = [2, 1]\n[method]", ["[sweep]", "bracket", "(2, 1)"]),
        ("[method]", "[sweep]\npoints = 1\n[method]", ["[sweep]", "points", ">= 2", "1"]),
        ("[method]", "[sweep]\nrecovery = 1\n[method]", ["[sweep]", "recovery", "(0, 1)", "1"]),
        ("[method]", "[sweep]\nhessian_step = 4\n[method]",
         ["[sweep]", "hessian_step", "0..n_steps = 0..3", "4"]),
        ("[method]", "[sweep]\nn_steps = 0\n[method]", ["[sweep]", "n_steps", ">= 1", "0"]),
        ("[method]", '[sweep]\ninputs = "gausian"\n[method]', ["[sweep]", "inputs", "gaussian"]),
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


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"#" * 2**24 + b"\n", "must be a TOML file of at most 16777216 bytes"),
        (b"\xff\xfe\x00", "must be a TOML file in UTF-8; this one is in UTF-16"),
        (SHORT.encode("utf-16"), "this one is in UTF-16"),
        (SHORT.encode("utf-16-be"), "not valid TOML"),
        (("\n# \u00e9" + SHORT).encode("latin-1"), "in UTF-8; it is not in line 2"),
        (SHORT.encode() + b"\0", "not valid TOML"),
    ],
)
def test_other_encodings(tmp_path, contents, words):
    path = tmp_path / "run.toml"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        load_run(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(SHORT.lstrip(), encoding="utf-8-sig")
    assert load_run(path).problem == Problem("linear")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a = " + "[" * 300 + "]" * 300, "nested too deeply"),
        (".".join("a" * 5000) + " = 1", "nested too deeply"),
        (f"{SHORT}[sampling]\nseed = {2**63}", "sampling.seed: integers must have at most 64 bits"),
        (f"{SHORT}[trajectory]\ndelta = -{2**63 + 1}", "trajectory.delta: integers must have"),
        (f"{SHORT}[sweep]\nd = [1, {10**30}]", "sweep.d: integers must have at most 64 bits"),
        (f"{SHORT}[sampling]\nseed = {'9' * 5000}", "not valid TOML"),
        (f'{SHORT}[sampling]\n"a\\nb" = 1', "sampling.a b: unknown key"),
        (f'"\\u001b[2J" = 1\n{SHORT}', "[2J: unknown key"),
    ],
)
def test_one_line_for_what_can_be_no_setting(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        load_run(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


def test_the_largest_seed_is_read(tmp_path):
    text = f"{SHORT}[sampling]\nseed = {2**63 - 1}\n"
    assert load_run(write(tmp_path, text)).sampling.seed == 2**63 - 1


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ValueError, match=r"easy-hard.*'eazy-hard'.*did you mean 'easy-hard'"):
        load_preset("eazy-hard")
    with pytest.raises(ValueError, match="did you mean 'robust-phase-retrieval' or"):
        load_preset("robust")
