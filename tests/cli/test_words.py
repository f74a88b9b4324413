"""Typing mistakes: one line on stderr that says what was probably meant, and exit code 2."""

import pytest
from commands import RETRIEVAL, assert_one_line, called, commands_on

RUN = f"""{RETRIEVAL}
[method]
step_size = 0.2
n_steps = 1
[sampling]
n_paths = 64
replicates = 2
[threshold]
bracket = [0.5, 8.0]
[trajectory]
delta = 3.0
[spectrum]
delta = 3.0
[simulation]
d = 20
[sweep]
d = 20
deltas = [2.0]
"""
run_file, call = commands_on(RUN)
COMMANDS = (
    "threshold", "curve", "algorithmic-gap", "trajectory", "spectrum", "simulate", "compare",
    "sweep", "grokking",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_mistakes_of_every_command(call, run_file, command):
    more = f"(see delta-nn {command} --help)"
    for wrong, meant in (
        ("--nsteps", "--n-steps"), ("--n_steps", "--n-steps"), ("-n-steps", "--n-steps"),
        ("--N-STEPS", "--n-steps"), ("--n-steps-", "--n-steps"), ("--nsteps=3", "--n-steps"),
        ("--stepsize", "--step-size"), ("--lr", "--step-size"), ("--learning-rate", "--step-size"),
        ("--momentun", "--momentum"), ("--batch-fracton", "--batch-fraction"),
        ("--output", "--out"), ("--fromat", "--format"), ("--jsn", "--json"),
        ("--second-layer-stepsize", "--second-layer-step-size"),
    ):  # fmt: skip
        assert_one_line(call(command, wrong, 3), f"{wrong} 3 (did you mean {meant}?)", more)
    for wrong in ("--nsteps", "--lr"):
        assert_one_line(call(command, wrong, 1, "--jsn"), "did you mean --", "and --json?)")
    for arguments, words in (
        (["--n-steps", "2.5"], "--n-steps: must be an integer, got '2.5'"),
        (["--n-steps", "1e3"], "--n-steps: must be an integer, got '1e3'"),
        (["--n-steps", ""], "--n-steps: must be an integer, got ''"),
        (["--n-steps"], "--n-steps: expected one argument"),
        (["--n-steps", 2**63], "--n-steps: must be an integer of at most 64 bits"),
        (["--n-steps", -(2**63) - 1], "--n-steps: must be an integer of at most 64 bits"),
        (["--n-steps", "9" * 5000], "--n-steps: must be an integer"),
        (["--n-steps", -(2**63)], "n_steps must be an integer >= "),
        (["--step-size", "0,2"], "--step-size: must be a number, got '0,2'"),
        (["--step-size", "1e999"], "step_size must be a positive finite number, got inf"),
        (["--step-size", "-1e-3"], "step_size must be a positive finite number, got -0.001"),
        (["--step-size", "-inf"], "step_size must be a positive finite number, got -inf"),
        (["--format", "gif"], "'gif' (choose from"),
        (["more"], "unrecognized arguments: more"),
        (["--preset", "product"], f"not both {run_file} and it"),
    ):
        assert_one_line(call(command, *arguments), words)
    assert_one_line(
        call(command, source=()), "neither is given" if command != "algorithmic-gap" else "either"
    )
    assert not call.out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["threshold", "--n-paths", 1000], "got 1000 (did you mean 1024?)"),
        (["threshold", "--n-paths", 100], "got 100 (did you mean 128?)"),
        (["threshold", "--n-paths", 3], "got 3 (did you mean 64?)"),
        (["threshold", "--n-paths", 2**62 + 1], "(did you mean 536870912?)"),
        (["threshold", "--seed", 2**63], "--seed: must be an integer of at most 64 bits"),
        (["threshold", "--scan-points", 2**63 - 1], "got 9223372036854775807, above 1000000"),
        (["trajectory", "--n-steps", 2**63 - 1], ""),
        (["simulate", "--d", 2**63 - 1, "--workers", 1], ""),
        (["gap", "--activations", "swish"], "got 'swish' (did you mean 'silu'?)"),
        (["gap", "--activations", "square"], "got 'square' (did you mean 'quadratic'?)"),
        (["gap", "--activations", "Hardtanh"], "got 'Hardtanh' (did you mean 'clipped-linear'?)"),
        (["gap", "--losses", "mse"], "got 'mse' (did you mean 'square'?)"),
        (["gap", "--losses", "huber"], "got 'huber' (did you mean 'pseudo-huber'?)"),
        (["gap", "--losses", "cross_entropy"], "(did you mean 'logistic'?)"),
        (["simulate", "--inputs", "normal"], "got 'normal' (did you mean 'gaussian'?)"),
        (["simulate", "--dim", 20], "(did you mean --d?)"),
        (["sweep", "--delta", 3], "(did you mean --deltas?)"),
        (["spectrum", "--flw"], "(did you mean --flow?)"),
        (["curve", "--pionts", 4], "(did you mean --points?)"),
    ],
)
def test_what_was_probably_meant(call, arguments, words):
    assert_one_line(call(*arguments), words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["treshold"], "unknown command 'treshold' (did you mean threshold?), commands: "),
        (["Simulate"], "(did you mean simulate?)"),
        (["hessian"], "(did you mean spectrum?)"),
        (["help"], "(did you mean --help?)"),
        (["--verison"], "(did you mean --version?)"),
        (["xyz"], "unknown command 'xyz', commands: threshold, curve, "),
        (["hardness", "xor"], "got 'xor' (did you mean 'product'?)"),
        (["hardness", "product", "--n-points", "100000"], "(did you mean 131072?)"),
        (["hardness", "product", "--noize", "1"], "(did you mean --noise?)"),
        (["hardness", "product", "--preset", "product"], "either LABEL"),
        (["presets", "--shw", "product"], "(did you mean --show?)"),
        (["presets", "product"], "unrecognized arguments: product (see delta-nn presets --help)"),
    ],
)
def test_mistakes_that_need_no_file(capsys, arguments, words):
    assert_one_line(called(capsys, arguments), words)


@pytest.mark.parametrize("bad", ["swish", "mse", "huber"])
def test_other_names_are_no_aliases(bad):
    """They may stand for another function: the mean squared error has no factor 1/2."""
    import dmft

    with pytest.raises(ValueError, match="did you mean"):
        dmft.Problem("linear", dmft.Network("swish") if bad == "swish" else None, loss=bad)
