"""The second process compiles what a threshold calls, and nothing else is compiled after it."""

import os
import subprocess
import sys

import pytest

# Prints what is compiled for a threshold after a rehearsal.
FIND = """
import dmft
from dmft._numerics import kernels
from dmft._numerics.rehearsal import rehearse
from rmt import _kernels

def compiled():
    return {
        (name, signature)
        for module in (kernels, _kernels)
        for name, function in vars(module).items()
        for signature in getattr(function, "signatures", ())
    }

rehearse()
before = compiled()
run = dmft.load_preset("robust-phase-retrieval")
sampling = dmft.Sampling(n_paths=64, replicates=2)
dmft.find_delta_nn(run.problem, run.method, (1.0, 12.0), 40, sampling, scan_points=4)
for name, _ in compiled() - before:
    print(name)
"""


@pytest.mark.slow
def test_nothing_but_the_step_is_left_to_compile(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FIND],
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["step_kernel"]
    kept = {path.name.split("-")[0].split(".")[1] for path in tmp_path.rglob("*.nbc")}
    assert {"step_kernel", "remove_kernel", "scalar_sums"} <= kept
