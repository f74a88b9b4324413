"""Roots of a curve on several numbers of paths: what fewer of them say above the root."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmft.hessian.gap_samples import GapSample
from dmft.threshold.gap_memo import Evaluation
from dmft.threshold.roots_of_steps import LocatedStep, _with_doubt
from dmft.threshold.step_roots import Root, StepRoots
from dmft.threshold.threshold import Crossing
from rmt.status import Status

FINE = {3.9: 0.02, 4.1: -0.02, 4.3: -0.06}


def memo(gaps, spread):
    """Return a memo with gaps at deltas, whose two replicates differ by twice the spread."""
    found = {
        delta: Evaluation(
            GapSample(gap + spread * np.array([0.0, -1.0, 1.0]), np.zeros(3), 0.0, Status.SUCCESS)
        )
        for delta, gap in gaps.items()
    }
    values = SimpleNamespace(delta=np.array(list(gaps)), gap=np.array(list(gaps.values())))
    return SimpleNamespace(samples=lambda _: (values, None, None), at=lambda _: found)


def located(fine):
    """Return a step with a root at 4.0, known to 0.01, on many paths."""
    crossing = Crossing(4.0, 3.9, 4.1, True, True, 0.01)
    root = Root(crossing, np.array([3.99, 4.01]), 0.0, -0.1, 0.01)
    return LocatedStep(8, StepRoots(Status.SUCCESS, (root,)), fine)


@pytest.mark.parametrize(
    ("few", "doubtful"),
    [
        ({4.05: 0.01, 4.2: -0.03, 6.0: -0.3}, False),  # near the root noise decides
        ({4.8: -0.1, 6.0: -0.3}, False),
        ({4.8: 0.01, 6.0: -0.3}, True),  # positive again
        ({4.8: -0.02, 6.0: -0.3}, True),  # negative, but not beyond doubt
        ({3.0: 0.01}, False),  # below
    ],
)
def test_a_gap_that_is_not_clearly_negative_above_the_root_is_said(few, doubtful):
    fine = memo(FINE, 0.001)
    found = _with_doubt(located(fine), [memo(few, 0.015), fine])
    assert found.status is (Status.MAX_STEPS if doubtful else Status.SUCCESS)
    assert found.roots.threshold.crossing.value == 4.0
