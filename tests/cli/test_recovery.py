"""Predicted recovery by the commands recovery, sweep and grokking: files, numbers, bad input."""

import json

import numpy as np
import pytest
from commands import RETRIEVAL, assert_one_line, called, commands_on, names

import dmft

RUN = f"""
title = "Small"
{RETRIEVAL}
[method]
step_size = 0.2
n_steps = 12
[sampling]
n_paths = 64
replicates = 2
[sweep]
deltas = [2.0, 12.0]
d = [20, 30]
seeds = 2
recovery = 0.4
recovery_draws = 3
"""
run_file, call = commands_on(RUN, "recovery")


def test_recovery(call):
    code, out, err = call("--workers", 1, "--json")
    assert (code, err) == (0, "")
    assert names(call.out) == ["small-recovery", "small-recovery.npz", "small-recovery.png"]
    data = json.loads(out)
    loaded = dmft.load(call.out / "small-recovery.npz")
    assert isinstance(loaded, dmft.RecoveryProbability)
    assert (loaded.recovery, loaded.draws, loaded.n_steps, loaded.seed) == (0.4, 3, 12, 0)
    assert data["probability"] == loaded.probability.tolist()
    assert np.array_equal(data["interval"], loaded.probability_interval())
    assert sorted(data["crossing"]) == ["20", "30"]
    code, out, _ = call("--workers", 1, "--recovery-draws", 4, "--n-steps", 12)
    assert code == 0
    assert "4 runs drawn per delta" in out
    assert "d = 30: " in out


def test_sweep_and_grokking_predict_recovery(run_file, tmp_path, capsys):
    where = [str(run_file), "--workers", "1", "--out", str(tmp_path / "out"), "--json"]
    code, out, err = called(capsys, ["sweep", *where, "--set", "threshold.bracket=[1,12]"])
    assert err == ""
    data = json.loads(out)["predicted_recovery"]
    found = dmft.load(tmp_path / "out" / "small-sweep-recovery.npz")
    assert data["probability"] == found.probability.tolist()
    runs = dmft.load(tmp_path / "out" / "small-sweep.npz")
    assert (runs.d, runs.recovery) == (found.d, found.recovery)
    options = ["--delta", "12", "--d", "30", "60", "--seeds", "0", "--recovery-draws", "2"]
    code, out, err = called(capsys, ["grokking", *where, *options])
    recovery = dmft.load(tmp_path / "out" / "small-grokking-recovery.npz")
    assert code in (0, 3)
    assert json.loads(out)["recovery"]["probability"] == recovery.probability.tolist()
    assert np.allclose(np.ravel(recovery.config["hard_overlap"]), [30**-0.5, 60**-0.5])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recovery-draws", 0], ["recovery_draws", ">= 1", "0"]),
        (["--d", 1], ["d must be at least k"]),
        (["--seed", -1], ["seed", ">= 0"]),
        (["--fresh-batches"], ["fresh_batches"]),
        (["--spectral-start", "optimal"], ["spectral_start"]),
        (["--set", "sweep.inputs=rademacher"], ["sweep.inputs must be gaussian", "rademacher"]),
        (["--set", "target.label=linear"], ["hard direction"]),
        (["--deltas", 2, 2.01], ["delta must give different numbers"]),
    ],
)
def test_bad_arguments(call, arguments, words):
    result = call("--workers", 1, *arguments)
    assert result[0] == 2
    assert_one_line(result, *words)
    assert not call.out.exists()


def test_other_settings_overwrite_nothing(call):
    """A folder of draws serves other grids and other seeds; the result of these has a number."""
    first = call.out / "small-recovery.npz"
    for number, more in enumerate([[], ["--deltas", 3], ["--seed", 5]], start=1):
        code, _, err = call("--workers", 1, "--recovery-draws", 1, "--d", 20, *more)
        assert code == 0
        assert ("has files of other settings" in err) is (number > 1)
    assert dmft.load(first).deltas.tolist() == [2.0, 12.0]
    assert dmft.load(call.out / "small-recovery-2.npz").deltas.tolist() == [3.0]
    assert dmft.load(call.out / "small-recovery-3.npz").seed == 5
    assert "small-recovery-seed-5" in names(call.out)


def test_sweeps_of_other_settings_overwrite_nothing(run_file, tmp_path, capsys):
    where = [str(run_file), "--workers", "1", "--out", str(tmp_path), "--seeds", "1", "--d", "20"]
    for deltas in (["2"], ["3"], ["2"]):
        options = ["--recovery-draws", "1", "--n-steps", "3", "--deltas", *deltas]
        assert called(capsys, ["sweep", *where, *options])[0] in (0, 3)
    for kind in ("sweep", "sweep-recovery"):
        for stem, delta in ((f"small-{kind}", 2.0), (f"small-{kind}-2", 3.0)):
            assert dmft.load(tmp_path / f"{stem}.npz").deltas.tolist() == [delta]
