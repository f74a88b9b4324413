"""Command scan: counts, resumes, prints every status, and refuses in one line."""

import csv
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from commands import RETRIEVAL, assert_one_line, called, commands_on, names

import dmft

TEXT = f"""{RETRIEVAL}
[method]
step_size = 0.2
n_steps = 3
[sampling]
n_paths = 64
replicates = 2
[threshold]
bracket = [0.5, 16.0]
[scan]
quantity = ["threshold@0", "test_loss"]
[scan.axes]
problem.init_radius = [1.0, 2.0]
delta = {{ from = 2.0, to = 8.0, num = 2 }}
"""

run_file, call = commands_on(TEXT, "scan", options=("--workers", "1"))


def test_a_scan_writes_table_figure_and_result(call):
    code, out, _ = call("--json")
    assert code == 0
    said = json.loads(out)
    assert names(call.out) == [
        "small-scan-points", "small-scan.csv", "small-scan.npz", "small-scan.png"
    ]  # fmt: skip
    found = dmft.Scan.load(call.out / "small-scan.npz")
    assert said["quantities"]["threshold@0"]["value"] == found.value[:, 0].tolist()
    with (call.out / "small-scan.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["threshold@0"]) for row in rows] == found.value[:, 0].tolist()
    # Again: nothing is computed, and the same is printed.
    code, out, _ = call()
    assert code == 0
    assert "4 (product, 2 x 2)" in out
    assert "4 SUCCESS" in out
    assert "nothing, all 6 computations are on disk" in out
    # Where it is computed is no setting: what was begun on a cluster has the same files at home.
    files = sorted(call.out.iterdir())
    assert call("--dask", "tcp://127.0.0.1:1")[0] == 0
    assert sorted(call.out.iterdir()) == files


def test_failures_are_in_the_table_and_in_the_exit_code(call):
    code, out, _ = call("--set", "scan.axes.problem.init_radius=[1.0, -1.0]")
    assert code == 3
    assert "2 SUCCESS, 2 FAILED" in out
    assert "init_radius" in out


def test_a_dry_run_computes_and_writes_nothing(call):
    code, out, _ = call("--dry-run")
    assert code == 0
    assert "4 (product, 2 x 2)" in out
    assert "6, of which 0 are on disk" in out  # thresholds do not depend on delta
    assert not call.out.exists()
    call()
    assert "6, of which 6 are on disk" in call("--dry-run")[1]
    assert json.loads(call("--dry-run", "--json")[1])["processor_seconds"] == 0


def test_an_axis_in_quotes_is_replaced_too(call, run_file):
    quoted = TEXT.replace("problem.init_radius =", '"problem.init_radius" =')
    run_file.write_text(quoted, encoding="utf-8")
    _, out, _ = call("--set", "scan.axes.problem.init_radius=[1.5]", "--dry-run")
    assert "2 (product, 2 x 1)" in out


def test_a_grid_of_ten_million_points_is_refused_at_once(call):
    axes = "scan.axes.target.noise={ from = 0, to = 1, num = 10000000 }"
    for more in ((), ("--dry-run",)):
        assert_one_line(call("--set", axes, *more), "at most 100000 points, got 40000000")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--quantity", "treshold"), ["did you mean 'threshold'"]),
        (("--set", "scan.axes.target.nose=[1]"), ["target.nose", "did you mean 'noise'"]),
        (("--set", "scan.desing=zip"), ["scan.desing", "design"]),
        (("--set", "scan.design=grid"), ["scan.design must be one of"]),
        (("--set", "scan.axes=3"), ["scan.axes", "table"]),
        (("--dask", "slrum"), ["dask must be one of", "slurm"]),
        (("--dask", "tcp://127.0.0.1:1", "--jobs", "3"), ["--jobs belongs to"]),
        (("--jobs", "3"), ["--jobs belongs to"]),
        (("--workers", "0"), ["workers must be"]),
    ],
)
def test_bad_input_is_one_line(call, arguments, words):
    assert_one_line(call(*arguments), *words)


def test_a_file_without_axes_says_what_is_missing(call, run_file):
    run_file.write_text(TEXT.partition("[scan.axes]")[0], encoding="utf-8")
    assert_one_line(call(), "scan.axes is missing")


def test_quantities_are_listed(capsys):
    code, out, _ = called(capsys, ["scan", "--list"])
    assert code == 0
    assert "delta_alg" in out
    listed = json.loads(called(capsys, ["scan", "--list", "--json"])[1])
    assert {"threshold", "limit", "gap", "recovery"} <= {entry["name"] for entry in listed}


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes and signals")
def test_a_killed_scan_goes_on_to_the_same_bits(run_file, tmp_path, call):
    kill = """
import os, signal, sys
from dmft.scans import store
write = store.PointStore.write
def once(self, *arguments):
    write(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)
store.PointStore.write = once
from dmft.cli import main
sys.exit(main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", kill, "scan", str(run_file), "--workers", "1"]
    for count in (1, 2):
        done = subprocess.run([*command, "--out", str(call.out)], check=False, timeout=120)
        assert done.returncode == -signal.SIGKILL
        assert len(list(call.out.rglob("*.json"))) == count
    assert call()[0] == 0
    found = dmft.Scan.load(call.out / "small-scan.npz")
    whole = dmft.scan(str(run_file), workers=1)
    np.testing.assert_array_equal(found.value, whole.value)
    np.testing.assert_array_equal(found.error, whole.error)
