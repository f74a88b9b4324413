"""The minimiser of the empirical risk, drawn into the figure of a run that ends there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rmt.canvas import GREY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from dmft.observables.risk_minimization import RiskMinimizer
    from dmft.trajectory.trajectory import Trajectory

__all__ = ["draw_minimizer"]


def draw_minimizer(panels: Sequence[Axes], trajectory: Trajectory, limit: RiskMinimizer) -> None:
    """Draw norm, overlaps, losses and test error of a minimiser as dashed lines.

    Raises
    ------
    ValueError
        If it is that of another problem, by what decides it, or of another delta.
    """
    own, other = trajectory.config["problem"], limit.config["problem"]
    for key in ("target", "network", "loss", "weight_decay", "inputs"):
        if own.get(key) != other.get(key):
            raise ValueError(
                f"limit must be that of the run's problem; its {key} is {other.get(key)}, "
                f"not {own.get(key)}"
            )
    delta = limit.config["delta"]
    if delta != trajectory.delta:
        raise ValueError(f"limit must be at delta = {trajectory.delta:g}, got {delta:g}")
    norms, overlaps, losses = panels[:3]
    lines = [(norms, limit.norm), *((overlaps, value) for value in limit.overlap if value)]
    lines += [(losses, limit.train_loss), (losses, limit.test_loss)]
    if np.isfinite(limit.test_error):
        lines.append((panels[4], limit.test_error))
    for axes, value in lines:
        if np.isfinite(value):
            axes.axhline(value, color=GREY, linewidth=1, linestyle=(0, (4, 2)))
