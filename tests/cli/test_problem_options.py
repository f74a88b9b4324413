"""Options of the problem on the command line: own laws, --set, flags; and files that are kept."""

import json

import numpy as np
import pytest
from commands import ONE_STEP, assert_one_line, called, commands_on, names

import dmft
from dmft.cli.arguments import command_parser

RUN = (
    ONE_STEP.replace("[method]", "second_layer_weight_decay = 0.0\n[method]")
    + """
[simulation]
d = 20
seeds = 2
"""
)
LAWS = """
def parity(z, eps):
    return z[:, 0] * z[:, 1]

def swish(r, beta=1.5):
    return r / (1 + 2.718281828459045 ** (-beta * r))
"""
run_file, call = commands_on(RUN)


@pytest.fixture
def laws(tmp_path, monkeypatch):
    """Laws in the working directory, not beside the run file."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "laws.py").write_text(LAWS, encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


def config_of(result):
    code, out, _ = result
    assert code == 0
    return json.loads(out)["config"]


# -- options -------------------------------------------------------------------------------------


def test_flags_and_set_replace_keys(call, laws):
    flags = ("--activation", "erf", "--loss", "square", "--noise", 0.3, "--init-radius", 0.8)
    more = (
        "--weight-decay",
        0.1,
        "--widths",
        2,
        "--set",
        "trajectory.delta=2",
        "--label",
        "product",
    )
    config = config_of(call("trajectory", "--json", *flags, *more))
    assert config["target"] == {"label": "product", "k": 2, "noise": 0.3}
    assert config["network"] == {"activation": "erf", "second_layer": [0.5, 0.5]}
    assert config["problem"]["loss"] == "square"
    assert config["problem"]["init_radius"] == 0.8
    assert config["problem"]["weight_decay"] == 0.1
    assert config["trajectory"] == {"delta": 2.0}


def test_losses_and_labels_with_parameters(call):
    label, loss = "{ name = 'capped-square', cap = 5 }", "{ name = 'normalised-square', a = 1 }"
    flags = ("--label", label, "--loss", loss, "--set", "problem.loss.a=2", "--json")
    config = config_of(call("trajectory", *flags))
    assert config["target"]["label"] == {"name": "capped-square", "cap": 5.0}
    assert config["problem"]["loss"] == {"name": "normalised-square", "a": 2.0}
    found = dmft.Trajectory.load(call.out / "small-trajectory.npz")
    assert found.problem.loss.parameter == 2.0
    assert "capped-square(cap=5), 1 gelu neuron, normalised-square(a=2) loss" in str(found)


def test_biases_from_the_command_line(call):
    law = "network.biases={ law = 'gaussian', std = 0.5, seed = 3 }"
    flags = ("--bias-step-size", 0.3, "--set", "problem.bias_weight_decay=0.1", "--json")
    config = config_of(call("trajectory", *flags, "--set", law))
    assert config["network"]["biases"] == {"law": "gaussian", "std": 0.5, "mean": 0.0, "seed": 3}
    assert config["method"]["bias_step_size"] == 0.3
    _, out, _ = call("trajectory", *flags, "--biases", 0.5, "--neurons", 2)
    result = json.loads(out)
    assert np.shape(result["biases"]) == np.shape(result["stderr"]["biases"]) == (2, 2)
    assert result["biases"][0] == [0.5, 0.5]
    _, out, _ = call("trajectory", "--biases", 0.5)
    assert "1 gelu neuron (bias 0.5)" in out
    for wrong, words in (
        (("--biases", "x"), ["biases", "x"]),
        (("--set", "network.biases=[0.1, 0.2]"), ["[network]", "biases", "2 numbers"]),
        (("--bias-step-size", -1), ["bias_step_size", "-1"]),
        (("--t-max", 1, "--set", "method.bias_step_size=0.1"), ["bias_step_size"]),
    ):
        assert_one_line(call("trajectory", *wrong), *words)


def test_laws_of_the_working_directory(call, laws):
    activation = "{ python = 'laws.py:swish', beta = 2 }"
    config = config_of(
        call("trajectory", "--json", "--label", "laws.py:parity", "--k", 2,
             "--activation", activation, "--noise", 0.1)
    )  # fmt: skip
    assert config["target"]["label"]["source"] == LAWS
    assert config["target"]["noise"] == 0.1
    assert config["network"]["activation"]["parameters"] == {"beta": 2}
    assert dmft.Trajectory.load(call.out / "small-trajectory.npz").problem is None


def test_hardness_of_a_label_of_ones_own(laws, capsys):
    arguments = ["hardness", "laws.py:parity", "--k", "2", "--n-points", "65536", "--json"]
    own = json.loads(called(capsys, arguments)[1])
    assert own["delta_alg"] == pytest.approx(0.5938, abs=0.002)  # of the label `product`
    assert own["name"] == "parity"
    assert own["config"]["target"]["label"]["custom"] == "laws.py:parity"
    assert sorted(names(laws / "results"))[:2] == ["parity-hardness.npz", "parity-hardness.png"]


@pytest.mark.slow
@pytest.mark.processes
def test_workers_have_the_laws_too(call, laws):
    def result(workers):
        code, out, _ = call("simulate", "--activation", "laws.py:swish", "--json", "--force",
                            "--workers", workers)  # fmt: skip
        assert code == 0
        return json.loads(out)["simulations"][0]["mean"]

    assert result(2) == result(1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "noise=1"], ["small.toml", "noise: unknown key (did you mean target.noise?)"]),
        (["--set", "target.noise"], ["argument --set", "must be KEY=VALUE"]),
        (["--set", "target.noise=[1"], ["argument --set: target.noise: not a value of TOML"]),
        (["--set", "target.noise=1", "--noise", "2"], ["both by --set and by --noise"]),
        (["--noise", "x"], ["--noise: must be a number, got 'x'"]),
        (["--noise", "-1"], ["noise must be a finite number >= 0, got -1"]),
        (["--widths", "0"], ["neurons must be an integer >= 1, got 0"]),
        (["--widths", "1.5"], ["--widths: must be an integer, got '1.5'"]),
        (["--activation", "gleu"], ["did you mean 'gelu'?"]),
        (["--activation", "laws.py:swsh"], ["'laws.py:swsh'", "did you mean 'swish'?"]),
        (["--activation", "nofile.py:f"], ["'nofile.py:f': cannot read", "No such file"]),
        (["--activation", "{ name = 'swish' }"], ["'swish' must have a parameter beta"]),
        (["--label", "laws.py:parity"], ["IndexError", "k, is 1 unless given"]),
        (["--loss", "laws.py:parity"], ["loss 'laws.py:parity': value failed"]),
        (["--label", ""], ["label must be one of"]),
        (["--k", "3"], ["k must be 1 for label 'phase-retrieval', got 3"]),
    ],
)
def test_one_line_for_bad_input(call, laws, arguments, words):
    assert_one_line(call("trajectory", *arguments), *words)


def test_all_commands_of_run_files_have_the_options():
    for command in ("threshold", "curve", "algorithmic-gap", "trajectory", "spectrum", "simulate",
                    "compare", "sweep", "grokking", "hardness"):  # fmt: skip
        options = ["--set", "target.noise=1", "--k", "2", "--noise", "1", "--force"]
        found = command_parser().parse_args([command, *options])
        assert found.set == ["target.noise=1"]
        assert found.force is True


# -- files ---------------------------------------------------------------------------------------


def test_files_of_other_settings_are_kept(call):
    def radius(name):
        with np.load(call.out / name) as file:
            return json.loads(file["header"].tobytes())["config"]["problem"]["init_radius"]

    call("trajectory")
    code, out, err = call("trajectory", "--init-radius", 0.5)
    assert code == 0
    assert err.count("small-trajectory-2.npz (or use --force)") == 1
    assert "small-trajectory-2.png" in out
    call("trajectory", "--init-radius", 0.25, "--json")
    files = ("small-trajectory.npz", "small-trajectory-2.npz", "small-trajectory-3.npz")
    assert [radius(name) for name in files] == [1.0, 0.5, 0.25]
    # The same settings again, with other words: as before.
    written = (call.out / files[1]).read_bytes()
    code, _, err = call("trajectory", "--set", "problem.init_radius=0.5", "--threads", 1)
    assert "small-trajectory-2.npz (or use --force)" in err
    assert (call.out / files[1]).read_bytes() == written
    assert len(names(call.out)) == 6
    _, _, err = call("trajectory", "--init-radius", 0.75, "--force")
    assert err == ""
    assert [radius(name) for name in files] == [0.75, 0.5, 0.25]


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_figures_state_their_settings(call, kind):
    (call.out).mkdir()
    (call.out / f"small-trajectory.{kind}").write_bytes(b"a figure of mine")
    for _ in range(2):
        code, _, err = call("trajectory", "--format", kind)
        assert code == 0
        assert "small-trajectory-2.npz (or use --force)" in err  # files of a run have one number
    assert (call.out / f"small-trajectory.{kind}").read_bytes() == b"a figure of mine"
    assert names(call.out) == [
        "small-trajectory-2.npz", f"small-trajectory-2.{kind}", f"small-trajectory.{kind}"
    ]  # fmt: skip


def test_more_seeds_go_on_from_fewer(call):
    call("simulate", "--workers", 1)
    code, _, err = call("simulate", "--workers", 1, "--seeds", 3)
    assert (code, err) == (0, "")
    assert sum(name.startswith("small-simulation") for name in names(call.out)) == 3
    code, _, err = call("simulate", "--workers", 1, "--d", 30)
    assert "small-simulation-2.png" in err
    assert {"small-simulation-d20.npz", "small-simulation-d30.npz"} <= set(names(call.out))
