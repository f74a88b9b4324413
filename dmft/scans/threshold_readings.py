"""Readings of thresholds and of curves of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dmft.scans.readings import Reading, ReadingName
from dmft.solver.stability import SHARE_TOLERANCE
from rmt.status import Status

if TYPE_CHECKING:
    from dmft.threshold.curve import ThresholdCurve
    from dmft.threshold.threshold import Threshold

__all__ = ["jump", "limit", "limit_end", "on_curve", "stable", "threshold"]


def stable(status: Status, unstable_share: float) -> Status:
    """Return a status, or UNSTABLE_PATHS where it is a success that unstable paths carry."""
    return Status.UNSTABLE_PATHS if status.ok and unstable_share > SHARE_TOLERANCE else status


def threshold(result: Threshold, _: ReadingName) -> Reading:
    """Read delta_NN."""
    status = stable(result.status, result.unstable_share)
    return Reading.of(result.value, result.error, status, result.detail)


def jump(result: Threshold, _: ReadingName) -> Reading:
    """Read the squared overlap just above it."""
    if result.d is not None:
        raise ValueError("jump is that of the limit, and threshold.d asks for runs of dimension d")
    status = stable(result.status, result.unstable_share)
    return Reading.of(result.jump, result.jump_stderr, status, result.detail)


def on_curve(result: ThresholdCurve, name: ReadingName) -> Reading:
    """Read delta_NN at a step of a curve."""
    step = int(result.steps[-1]) if name.step is None else name.step
    if step not in result.steps:
        steps = ", ".join(map(str, result.steps.tolist()))
        raise ValueError(f"{name}: the curve has steps {steps}; state curve.steps")
    index = int(np.flatnonzero(result.steps == step)[0])
    status = stable(result.statuses[index], float(result.unstable_share[index]))
    return Reading.of(result.value[index], result.error[index], status)


def limit(result: ThresholdCurve, _: ReadingName) -> Reading:
    """Read the limit of a curve."""
    limit = result.limit
    error = (limit.upper - limit.lower) / 2.0
    return Reading.of(limit.value, error, limit.status, limit.detail)


def limit_end(name: str) -> Callable[[ThresholdCurve, ReadingName], Reading]:
    """Return a reading of an end of the interval of the limit."""

    def read(result: ThresholdCurve, _: ReadingName) -> Reading:
        return Reading(getattr(result.limit, name), math.nan, result.limit.status)

    return read
