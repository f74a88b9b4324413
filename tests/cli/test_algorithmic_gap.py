"""The command that sets networks against delta_alg: files, numbers, exit codes, bad input."""

import json
import os

import numpy as np
import pytest
from commands import RETRIEVAL, called, commands_on

import dmft

RUN = f"""
{RETRIEVAL}
[method]
step_size = 0.2
n_steps = 3
[sampling]
n_paths = 128
replicates = 4
seed = 5
[curve]
bracket = [0.6, 4.0]
[algorithmic-gap]
activations = ["quadratic", "gelu"]
n_steps = 2
step_sizes = [0, 0.2]
time = 0.4
network = "gelu"
"""
#: Of one network, where the others do not matter.
SHORT = ("--activations", "gelu", "--points", 4)
run_file, call = commands_on(RUN, "algorithmic-gap")


@pytest.mark.slow
def test_gap(call):
    code, out, err = call()
    assert (code, err) == (0, "")
    assert sorted(os.listdir(call.out)) == ["small-gap.npz", "small-gap.png"]
    loaded = dmft.AlgorithmicGap.load(call.out / "small-gap.npz")
    assert loaded.curves["gelu"].steps.tolist() == [0, 1, 2]  # the gap's own horizon
    assert loaded.config["sampling"]["seed"] == 5
    assert loaded.config["bracket"] == [0.6, 4.0]  # that of the curve
    assert loaded.step_axis.network == "gelu"
    assert "1.69276 (quadrature)" in out
    assert "0.92302" in out
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert float(lines["delta_alg"][1]) == pytest.approx(0.5, abs=1e-4)
    assert "gelu, time 0.4" in out
    assert lines["flow"][-1] == "SUCCESS"


def test_inputs_of_another_law_have_no_delta_alg(call):
    code, out, err = call(
        *SHORT, "--set", "problem.inputs.law=independent-latents", "--n-steps", 0,
        "--step-sizes", 0.2, "--time", 0.2, "--no-fresh", "--bracket", 4, 8, "--json",
    )  # fmt: skip
    assert code == 3, err  # no threshold in the bracket
    found = json.loads(out)
    assert found["delta_alg"] is None
    assert found["hardness_status"] is None
    assert found["networks"]["gelu"]["ratio"] == [None]
    text = call.out / "small-gap.npz"
    assert (
        "not known for inputs other than standard Gaussian (independent latents, rademacher)"
        in (str(dmft.load(text)))
    )


@pytest.mark.slow
def test_a_label_and_the_command_line(call):
    code, out, err = call(
        "--json", "--activations", "gelu", "--losses", "pseudo-huber", "--widths", 1, 2,
        "--step-size", 0.1, "--n-steps", 1, "--bracket", 0.5, 6, "--n-paths", 128,
        "--replicates", 4, "--seed", 5, "--steps", 1, "--points", 4,
        source=["--label", "phase-retrieval"],
    )  # fmt: skip
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert data["delta_alg"] == pytest.approx(0.5, abs=1e-4)
    assert list(data["networks"]) == ["gelu", "gelu, 2 neurons"]
    one, two = data["networks"].values()
    assert 0.5 < one["value"][0] < 6.0
    assert one["ratio"][0] == pytest.approx(one["value"][0] / data["delta_alg"])
    assert two["problem"]["network"]["second_layer"] == [0.5, 0.5]
    assert data["step_axis"] is None
    assert data["config"]["method"] == {"step_size": 0.1, "n_steps": 1}
    assert data["config"]["algorithmic-gap"]["widths"] == [1, 2]
    assert [os.path.basename(path) for path in data["files"]] == sorted(os.listdir(call.out))


@pytest.mark.slow
def test_json_of_the_step_axis_and_runs(call):
    code, out, _ = call("--json", *SHORT, "--steps", 0, "--d", 40, "--seeds", 2, "--workers", 1)
    assert code == 0
    axis = json.loads(out)["step_axis"]
    loaded = dmft.AlgorithmicGap.load(call.out / "small-gap.npz").step_axis
    assert axis["reuse"]["value"] == loaded.reuse.value.tolist()
    assert axis["reuse"]["shift"][0] == 0.0
    assert axis["reuse"]["statuses"] == ["SUCCESS", "SUCCESS"]
    assert axis["fresh"]["step_sizes"] == [0.2]
    assert [(entry["d"], entry["fresh"]) for entry in axis["check"]] == [
        (40, False),
        (40, True),
    ] * 5


@pytest.mark.slow
def test_fresh_batches(call):
    code, out, _ = call(*SHORT, "--steps", 0, "--d", 40, "--seeds", 2, "--workers", 1)
    assert (code, "0.2 fresh" in out) == (0, True)
    assert "lowest eigenvalue at step 2 of size 0.2, d = 40, 2 seeds" in out
    code, out, _ = call("--no-fresh", *SHORT, "--steps", 0, "--json")
    assert (code, json.loads(out)["step_axis"]["fresh"]) == (0, None)


@pytest.mark.slow
def test_a_threshold_outside_the_bracket(call):
    code, out, _ = call(*SHORT, "--bracket", 3, 4, "--steps", 0)
    assert code == 3
    assert "NO_BRACKET" in out
    assert sorted(os.listdir(call.out)) == ["small-gap.npz", "small-gap.png"]


@pytest.mark.slow
def test_gradient_flow(call):
    code, out, _ = call("--json", *SHORT, "--t-max", 0.4, "--tol", 0.01)
    assert code == 0
    times = json.loads(out)["networks"]["gelu"]["times"]
    assert (times[0], times[-1]) == (0.0, 0.4)


def test_a_preset_has_settings_of_its_own():
    gap = dmft.load_preset("robust-phase-retrieval-gelu").gap
    assert gap.activations == ("gelu", "quadratic", "softplus")
    assert gap.step_axis.time == 8.0
    assert dmft.load_preset("product").gap.step_axis is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--label", "phase-retrieval"], ["--label", "one of them"]),
        (["--bracket", 8, 1], ["bracket", "lower < upper", "(8, 1)"]),
        (["--activations", "glu"], ["activation", "'glu'", "did you mean"]),
        (["--activations", "gelu", "gelu"], ["activations must be different"]),
        (["--losses", "huber"], ["loss", "pseudo-huber"]),
        (["--widths", 0], ["widths", ">= 1", "0"]),
        (["--step-sizes", 0.3], ["divide time = 0.4", "0.3"]),
        (["--network", "relu"], ["network must be one of", "'relu'"]),
        (["--steps", 9], ["steps", "0..2", "9"]),
        (["--points", 3], ["points", ">= 4", "3"]),
        (["--d", 0], ["d must be", ">= 1"]),
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
    ("arguments", "words"),
    [
        ([], ["run file or --preset"]),
        (["--label", "linear", "--bracket", "1", "2"], ["hard direction", "linear"]),
        (["--label", "phase"], ["label", "'phase'"]),
        (["--label", "phase-retrieval"], ["gap.bracket", "--bracket LO HI"]),
        (["--label", "phase-retrieval", "--time", "8"], ["step_sizes and time"]),
    ],
)
def test_bad_sources(call, arguments, words):
    code, out, err = call(source=arguments)
    assert (code, out) == (2, "")
    for word in words:
        assert word in err
    assert not call.out.exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("time = 0.4", "times = 0.4", ["gap.times", "did you mean 'time'?"]),
        ("time = 0.4", "time = 0.5", ["[algorithmic-gap]", "divide time = 0.5"]),
        ("time = 0.4\n", "", ["[algorithmic-gap]", "step_sizes and time must come together"]),
        ("n_steps = 2", "steps = [0, 9]", ["[algorithmic-gap]", "steps", "0..n_steps = 0..3", "9"]),
        ('["quadratic", "gelu"]', '"gelu"', ["gap.activations", "an array"]),
        ('"quadratic"', '"cubic"', ["[algorithmic-gap]", "activation", "'cubic'"]),
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


def test_the_old_names_of_command_and_table(run_file, capsys):
    old = RUN.replace("[algorithmic-gap]", "[gap]")
    present = dmft.load_run(run_file)
    run_file.write_text(old, encoding="utf-8")
    run = dmft.load_run(run_file)
    assert run == present
    assert run.gap is run.algorithmic_gap
    assert "gap" not in run.to_config()
    for text, words in (
        (old.replace("time = 0.4", "times = 0.4"), "gap.times: unknown key (did you mean 'time'?)"),
        (old.replace("time = 0.4", "time = 0.5"), "[gap]: "),
        (RUN + "[gap]\n", "gap: it is the old name of [algorithmic-gap]"),
    ):
        run_file.write_text(text, encoding="utf-8")
        code, out, err = called(capsys, ["gap", str(run_file)])
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"small.toml: {words}" in err
    assert called(capsys, ["--help"])[1].count("algorithmic-gap (gap)") == 1
    help_text = called(capsys, ["gap", "--help"])[1]
    assert help_text.startswith("usage: delta-nn algorithmic-gap [-h]")


def test_a_run_file_comes_back_from_its_tables(run_file):
    run = dmft.load_run(run_file)
    again = dmft.config.config.RunFile.from_config(run.to_config(), "small")
    assert again == run
    assert again.algorithmic_gap.step_axis.step_sizes == (0.0, 0.2)
    assert np.isclose(again.algorithmic_gap.time, 0.4)


@pytest.mark.parametrize("n_steps", [2, 8])
def test_the_horizon_does_not_stretch_a_schedule(run_file, n_steps):
    """As of the curve: steps are what they are for the threshold, and go on where it ends."""
    from dmft.cli.algorithmic_gap import _gap_run
    from dmft.cli.arguments import command_parser

    cosine = 'step_size = { schedule = "cosine", peak = 0.4, final = 0.1 }'
    text = RUN.replace("step_size = 0.2", cosine).replace("n_steps = 2", f"n_steps = {n_steps}")
    run_file.write_text(text, encoding="utf-8")
    method = dmft.load_run(run_file).method
    run = _gap_run(command_parser().parse_args(["algorithmic-gap", str(run_file)]))
    assert (method.n_steps, run.method.n_steps) == (3, n_steps)
    common = min(n_steps, 3)
    np.testing.assert_array_equal(run.method.step_sizes[:common], method.step_sizes[:common])
    np.testing.assert_allclose(run.method.step_sizes[3:], 0.1)
