"""Figure of the predicted probability that runs of finite dimension recover a hard direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.validation import check_instance
from dmft.plotting.common import (
    GREY,
    color_of,
    describe,
    log_ticks,
    marker_of,
    new_figure,
    set_title,
    step_axis,
)
from dmft.studies.recovery_result import RecoveryProbability
from rmt.canvas import drawing, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_predicted", "plot_recovery"]

_POINTS = 400
_MARGIN = 1.06


@drawing
def plot_recovery(found: RecoveryProbability) -> Figure:
    """Draw the predicted recovery probability against delta, and against the step.

    Parameters
    ----------
    found : RecoveryProbability

    Returns
    -------
    matplotlib.figure.Figure
        Left, with two values of delta or more: fractions of the draws with 68 % intervals, and the
        logistic curve of each size. Right: the fraction that has recovered by each step, at the
        delta whose final fraction is nearest to one half.

    Raises
    ------
    ValueError
        If the argument is of another kind.
    """
    check_instance("found", found, RecoveryProbability)
    if len(found.deltas) > 1:
        figure, (left, right) = new_figure((7.0, 3.2), 1, 2)
        _draw_against_delta(left, found)
    else:
        figure, (right,) = new_figure((3.4, 3.2), 1, 1)
        left = right
    steps = np.arange(found.n_steps + 1)
    for index, d in enumerate(found.d):
        nearest = int(np.argmin(np.abs(found.probability[index] - 0.5)))
        reached = np.where(found.recovered[index, nearest], found.recovery_step[index, nearest], -1)
        by_step = np.array([np.mean((reached >= 0) & (reached <= step)) for step in steps])
        label = rf"$d = {d}$, $\delta = {found.deltas[nearest]:.4g}$"
        right.plot(steps, by_step, color=color_of(index), linewidth=1, label=label)
    step_axis(right)
    right.set_xlim(0, max(found.n_steps, 1))
    right.set_ylim(-0.03, 1.03)
    right.set_ylabel("recovered by this step")
    right.legend(loc="best")
    set_title(
        figure,
        f"{describe(found.config)}\n{found.draws} runs drawn per point, recovered "
        rf"if $\cos^2 \geq {found.recovery:g}$ within {found.n_steps} steps",
    )
    if left is not right:
        handles, labels = left.get_legend_handles_labels()
        legend_below(figure, left, handles, labels, ncols=3)
    return figure


def _draw_against_delta(axes: Axes, found: RecoveryProbability) -> None:
    axes.set_xscale("log")
    ends = float(found.deltas.min()), float(found.deltas.max())
    log_ticks(axes, (ends[0] / _MARGIN, _MARGIN * ends[1]))
    axes.set_xlabel(r"samples per dimension  $\delta = n/d$")
    axes.axhline(0.5, color=GREY, linewidth=0.5, zorder=0)
    lower, upper = found.probability_interval(0.68)
    for index, d in enumerate(found.d):
        value = found.probability[index]
        bars = np.maximum([value - lower[index], upper[index] - value], 0.0)
        crossing = found.crossing(d)
        at = f": 1/2 at {crossing.value:.3g}" if crossing.status.ok else ""
        axes.errorbar(
            found.deltas, value, bars, markersize=3.4, capsize=1.7, elinewidth=0.7,
            linestyle="none", label=f"$d = {d}${at}", **marker_of(index),
        )  # fmt: skip
        if crossing.status.ok:
            x = np.geomspace(*ends, _POINTS)
            axes.plot(x, crossing.probability(x), color=color_of(index), linewidth=1, zorder=2)
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("predicted recovery probability")


def draw_predicted(axes: Axes, found: RecoveryProbability, sizes: tuple[int, ...]) -> None:
    """Add predicted probabilities of these sizes, as bands of 68 %, to a panel against delta."""
    lower, upper = found.probability_interval(0.68)
    label: str | None = "predicted, 68 %"
    for index, d in enumerate(sizes):
        if d in found.d:
            row = found.d.index(d)
            axes.fill_between(
                found.deltas, lower[row], upper[row], color=color_of(index), alpha=0.18,
                linewidth=0, zorder=1, label=label,
            )  # fmt: skip
            label = None
