"""The second phase: what is kept of it in docs/data, and what the page says of that."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs" / "data" / "second-phase"


def test_the_page_prints_what_the_notebook_makes_of_the_data(tmp_path):
    """No number is computed anew: all tables are there, with the settings of the notebook."""
    environment = {name: v for name, v in os.environ.items() if name != "DELTA_NN_SMALL"}
    environment |= {
        "DELTA_NN_DATA": str(DATA),
        "DELTA_NN_FIGURES": str(tmp_path),
        "MPLBACKEND": "Agg",
        "PYTHONPATH": str(ROOT),
    }
    before = sorted(DATA.iterdir())
    run = subprocess.run(
        [sys.executable, ROOT / "notebooks" / "second_phase.py"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    printed = "\n".join(line.rstrip() for line in run.stdout.rstrip().splitlines())
    assert printed.startswith("gap lambda_min A_h")
    assert printed in (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    assert sorted(DATA.iterdir()) == before
    assert (tmp_path / "second-phase.png").stat().st_size > 10_000


def test_the_gap_ends_on_either_side_of_zero_around_the_limit():
    """It falls with delta at all late times; at 8 and 10 it ends above zero, at 11 below."""
    tables = [np.loadtxt(DATA / f"gap-{d}.csv", delimiter=",") for d in (8, 10, 11, 12, 14)]
    late = [table[table[:, 0] > 20] for table in tables]
    values = np.array([table[:, 1] for table in late])
    assert (np.diff(values, axis=0) < 0).all()
    errors = np.array([table[-1, 2] for table in late])
    assert (np.sign(values[:, -1]) == [1, 1, -1, -1, -1]).all()
    assert (np.abs(values[:, -1]) > 3 * errors).all()


def test_recovery_is_later_the_smaller_the_start_and_delta():
    tables = [np.loadtxt(DATA / f"starts-{d}.csv", delimiter=",") for d in (8, 10, 11, 12, 14)]
    for table in tables:
        assert (np.diff(table[:, 0]) < 0).all()
        assert (np.diff(table[:, 1]) > 0).all()
    common = np.array([table[:5, 1] for table in tables])  # overlaps 0.3 to 0.019
    assert (np.diff(common, axis=0) < 0).all()
