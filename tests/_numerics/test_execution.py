"""Execution settings: those of a part, and what becomes of a failure."""

from pathlib import Path

import pytest

import dmft
from dmft._numerics.execution import Execution


def test_a_part_has_a_subfolder_and_neither_progress_nor_exceptions():
    whole = Execution(2, print, "runs", 5.0, 1e9, throw=True)
    part = whole.part("delta-2.0")
    assert part == Execution(2, None, Path("runs") / "delta-2.0", 5.0, 1e9, throw=False)
    assert Execution().part("delta-2.0").checkpoint is None


def test_progress_is_reported_where_it_is_asked_for():
    steps = []
    Execution(progress=steps.append).advance(3)
    Execution().advance()
    assert steps == [3]


def test_a_failure_is_raised_where_it_is_asked_for():
    Execution().settle(dmft.Status.DIVERGED)
    Execution(throw=True).settle(dmft.Status.SUCCESS)
    with pytest.raises(dmft.NumericalFailure, match=r"DIVERGED: .* at step 3") as caught:
        Execution(throw=True).settle(dmft.Status.DIVERGED, "at step 3")
    assert caught.value.status is dmft.Status.DIVERGED


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"progress": 3}, "progress must be"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds must be"),
        ({"max_memory": 0}, "max_memory must be"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Execution(**settings)
