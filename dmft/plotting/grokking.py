"""Figure of an escape along a hard direction: predicted and simulated runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from dmft.observables.alignment import hard_cosine
from dmft.plotting.common import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    describe,
    new_figure,
    set_title,
    step_axis,
)
from dmft.studies.fall_times import fall_step
from rmt.canvas import drawing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dmft.simulation.simulation import Simulation
    from dmft.studies.grokking import Grokking

    FloatArray = NDArray[np.float64]

__all__ = ["plot_grokking"]

_COLORS = (GREEN, PURPLE, ORANGE, SKY)  # of features, apart from those of the losses


@drawing
def plot_grokking(
    grokking: Grokking, simulations: Sequence[Simulation] = (), *, d: int | None = None
) -> Figure:
    """Draw losses and hard cosine against the step, and the time of the fall against d.

    Parameters
    ----------
    grokking : Grokking
    simulations : sequence of Simulation
        Runs to lay over the prediction, of any of its dimensions.
    d : int, optional
        The dimension whose runs are shown step by step; default: the largest one simulated,
        otherwise the first predicted.

    Returns
    -------
    matplotlib.figure.Figure
        Lines: the median run; bands: between the outermost ``probabilities`` at each step; of
        several falls, levels, cosines and times of each, a colour for each feature. Black
        bars: what the number of starts leaves of error in the median time, where it does. Thin
        lines and points: one simulated run each; runs that did not fall are drawn as triangles at
        the upper end.

    Raises
    ------
    ValueError
        If `d`, or the dimension of a simulation, is not among those predicted.
    """
    for simulation in simulations:
        if simulation.d not in grokking.d:
            raise ValueError(f"simulations must have d among {grokking.d}, got {simulation.d}")
    if d is None:
        d = max((simulation.d for simulation in simulations), default=grokking.d[0])
    if d not in grokking.d:
        raise ValueError(f"d must be one of {grokking.d}, got {d}")
    index = grokking.d.index(d)
    shown = [simulation for simulation in simulations if simulation.d == d]
    figure, (losses, cosine, times) = new_figure((7.0, 2.7), 1, 3, widths=(1.2, 1.0, 1.0))
    for name, color in (("train", BLUE), ("test", VERMILLION)):
        runs = [getattr(simulation, f"{name}_loss") for simulation in shown]
        curves = getattr(grokking, f"{name}_loss")[index]
        _draw_runs(losses, grokking, curves, runs, color, f"{name} loss")
    for level, _, _ in grokking.falls:
        losses.axhline(level[index], color=GREY, linewidth=0.6, linestyle=":")
    losses.set_ylabel("loss")
    losses.set_ylim(bottom=0.0)
    if grokking.drops:
        for j, drop in enumerate(grokking.drops):
            runs = [
                hard_cosine(simulation.overlap, simulation.correlation, drop.directions)
                for simulation in shown
            ]
            _draw_runs(
                cosine, grokking, drop.hard_cosine[index], runs, _color(j), f"feature {j + 1}"
            )
        cosine.legend(loc="lower right")
    else:
        runs = [simulation.hard_cosine for simulation in shown]
        _draw_runs(cosine, grokking, grokking.hard_cosine[index], runs, GREEN, "hard direction")
    cosine.set_ylabel("squared cosine,\nhard direction")
    cosine.set_ylim(0.0, 1.02)
    for axes in (losses, cosine):
        step_axis(axes)
        axes.set_xlim(0, grokking.steps[-1])
        if grokking.drops:  # long runs: fewer numbers, which do not meet
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_title(f"$d = {d}$")
    losses.legend(loc="upper right")
    for j in range(len(grokking.falls)):
        _draw_times(times, grokking, simulations, j)
    _finish_times(times, grokking)
    delta = grokking.config["delta"]
    low, high = grokking.probabilities[0], grokking.probabilities[-1]
    set_title(
        figure,
        f"{describe(grokking.config)}, $\\delta = {delta:g}$\n"
        f"lines: predicted median run, bands: {low:.0%} to {high:.0%} of runs"
        + ("; thin lines and points: simulated runs" if len(simulations) else ""),
    )
    return figure


def _color(fall: int) -> str:
    return _COLORS[fall % len(_COLORS)]


def _draw_runs(
    axes: Axes,
    grokking: Grokking,
    curves: FloatArray,
    runs: list[FloatArray],
    color: str,
    label: str,
) -> None:
    """Draw median and band of the predicted runs, and simulated ones as thin lines."""
    t = grokking.steps
    axes.fill_between(
        t, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.2, linewidth=0
    )
    for run in (run for group in runs for run in group):
        axes.plot(np.arange(len(run)), run, color=color, linewidth=0.4, alpha=0.55)
    median = curves[grokking.probabilities.index(0.5)]
    axes.plot(t, median, color=color, linewidth=1.5, label=label)


def _draw_times(
    axes: Axes, grokking: Grokking, simulations: Sequence[Simulation], index: int
) -> None:
    """Draw the time of a fall against the dimension."""
    fall_level, fall_time, fall_error = grokking.falls[index]
    color, runs_color = (_color(index),) * 2 if grokking.drops else (GREEN, VERMILLION)
    d = np.array(grokking.d, dtype=np.float64)
    order = np.argsort(d)
    last = float(grokking.steps[-1])
    fall = np.where(np.isnan(fall_time), last, fall_time)[order]
    level = grokking.probabilities.index(0.5)
    median, error = fall_time[order, level], fall_error[order, level]
    axes.set_xscale("log")
    if len(d) > 1:
        axes.fill_between(d[order], fall[:, 0], fall[:, -1], color=color, alpha=0.2, linewidth=0)
        axes.plot(d[order], median, color=color, marker="o", markersize=2.7)
    else:
        below, above = median - fall[:, 0], fall[:, -1] - median
        axes.errorbar(d, median, [below, above], fmt="o", color=color, capsize=2.7, elinewidth=2.7,
                      ecolor=color, alpha=0.6)  # fmt: skip
    if (error > 0.0).any():
        axes.errorbar(
            d[order], median, error, fmt="none", ecolor="black", capsize=2, elinewidth=0.8,
            label=None if index else "error of the drawn starts", zorder=4,
        )  # fmt: skip
    for simulation in simulations:
        level = fall_level[grokking.d.index(simulation.d)]
        found = np.array([fall_step(loss, level) for loss in simulation.test_loss])
        # Beside each other, so that runs that fall at the same time are seen.
        place = simulation.d * np.exp(0.06 * (np.arange(len(found)) / len(found) - 0.5))
        fell = np.isfinite(found)
        axes.plot(
            place[fell], found[fell], "o", color=runs_color, markersize=2.4, alpha=0.7, zorder=3
        )
        if not fell.all():
            axes.plot(
                place[~fell], np.full(np.count_nonzero(~fell), last), "^", color=runs_color,
                markersize=3.4, markerfacecolor="white", zorder=3,
            )  # fmt: skip


def _finish_times(axes: Axes, grokking: Grokking) -> None:
    """Label the axes of the times."""
    d, last = np.array(grokking.d, dtype=np.float64), float(grokking.steps[-1])
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best")
    axes.set_xlim(d.min() / 1.2, d.max() * 1.2)  # first: of a single d ticks leave no room
    axes.set_xticks(d, [f"{value:g}" for value in d])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(0.0, 1.03 * last)
    axes.set_xlabel("dimension $d$")
    axes.set_ylabel("step at which\nthe test loss falls")
