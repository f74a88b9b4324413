"""The commands of exact companions, and their quantities in scans."""

import numpy as np
import pytest
from commands import called, commands_on, json_of

import dmft

RUN = """
[target]
label = "linear"
classes = "logistic"

[network]
activation = "linear"

[problem]
loss = "logistic"
weight_decay = 0.1

[method]
step_size = 0.5
n_steps = 1

[sampling]
replicates = 4

[trajectory]
delta = 4.0

[spectral-method]
n_points = 16384
"""
run_file, answer = commands_on(RUN, options=("--json",))


@pytest.fixture
def call(answer):
    return json_of(answer)


def test_a_minimiser_is_that_of_the_library(call, tmp_path):
    code, found, err = call("erm-limit", "--out", tmp_path)
    assert (code, err) == (0, "")
    stored = dmft.load(next(tmp_path.glob("*-erm-limit.npz")))
    assert isinstance(stored, dmft.RiskMinimizer)
    assert found["norm"] == stored.norm
    assert len(list(tmp_path.glob("*-erm-limit.png"))) == 1  # of the margins
    code, found, err = call("erm-limit", "--weight-decay", 0, "--delta", 1.5)
    assert (code, found["status"]) == (3, "SEPARABLE")
    code, _, err = call("erm-limit", "--activation", "gelu")
    assert code == 2
    assert "problem must have one linear neuron, got 1 gelu neurons" in err


def test_a_spectral_method_of_a_file_and_of_a_label(call, tmp_path, capsys, run_file, monkeypatch):
    monkeypatch.chdir(run_file.parent)
    (run_file.parent / "mine.py").write_text("def clip(y):\n    return y.clip(-2, 2)\n")
    code, found, err = call("spectral-method", "--out", tmp_path)
    # E[z^2 | y] = 1 for classes of z: no second moment tells of it.
    assert (code, err, found["status"]) == (3, "", "NO_BRACKET")
    stored = dmft.load(next(tmp_path.glob("*-spectral-method.npz")))
    assert found["gap"] == stored.gap
    assert stored.config["n_points"] == 16384
    assert stored.config["replicates"] == 4
    out = ["--out", str(tmp_path)]
    label = ["spectral-method", "--label", "phase-retrieval", *out]
    code, out, err = called(capsys, [*label, "--delta", "1", "--n-points", "16384"])
    assert code == 0, err
    assert "label          phase-retrieval: phase-retrieval" in out
    own = ["--set", "spectral-method.preprocessing=mine.py:clip", "--label", "phase-retrieval"]
    code, found, err = call("spectral-method", *own, "--set", "target.classes=sign")
    assert code in (0, 3), err
    assert found["config"]["spectral-method"]["preprocessing"]["custom"] == "mine.py:clip"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--label", "modulus"], "trajectory.delta is not in the run file"),
        ([], "give either a TOML run file or --preset NAME"),
        (["--label", "modulus", "--preprocessing", "best"], "preprocessing must be 'optimal'"),
        (["--label", "modulus", "--delta", "2", "--cap", "2"], "cap belongs to"),
        (["--label", "modulus", "--delta", "2", "--side", "up"], "side must be"),
        (["--label", "modulus", "--bracket", "3", "1"], "bracket must have lower < upper"),
    ],
)
def test_bad_input_is_one_line(capsys, tmp_path, arguments, words):
    code, _, err = called(capsys, ["spectral-method", *arguments, "--out", str(tmp_path)])
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_quantities_of_scans_are_those_of_the_functions(run_file):
    names = ["erm_norm", "erm_overlap[0]", "erm_test_error", "spectral_threshold", "spectral_gap"]
    names += ["spectral_outlier", "spectral_overlap[1]"]
    found = dmft.scan(run_file, {"delta": [1.5, 4.0]}, names, workers=1)
    run = dmft.load_run(run_file)
    for row, delta in enumerate((1.5, 4.0)):
        limit = dmft.erm_limit(run.problem, delta, run.sampling)
        method = dmft.spectral_method(run.problem, delta, n_points=16384, replicates=4)
        outlier = method.outlier[0] if len(method.outlier) else np.nan
        values = [limit.norm, limit.overlap[0], limit.test_error, method.threshold, method.gap]
        np.testing.assert_array_equal(found.value[row], [*values, outlier, np.nan])
    assert found.statuses[1, 6] == "NO_OUTLIER"
