"""Figure of the threshold against the dimension of the runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft.plotting.common import (
    BLUE,
    GREEN,
    VERMILLION,
    broken,
    describe,
    format_number,
    log_ticks,
    mark_missing,
    new_figure,
    sentence,
)
from dmft.training.methods import horizon
from rmt.canvas import drawing, legend_below

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dmft.threshold.sizes import ThresholdsAtSizes

__all__ = ["plot_sizes"]


@drawing
def plot_sizes(found: ThresholdsAtSizes) -> Figure:
    """Draw delta_NN(t; d) against d, with the band of single runs, and the limit.

    Parameters
    ----------
    found : ThresholdsAtSizes

    Returns
    -------
    matplotlib.figure.Figure
        Points: medians with their standard errors. Band: where 68 % of single runs have their
        threshold. Line: delta_NN(t) of the limit, where there is one. Crosses: no value.

    Raises
    ------
    ValueError
        If there is no threshold at any dimension: there is nothing to draw.
    """
    known = np.isfinite(found.value)
    if not known.any():
        raise ValueError(
            f"found must have a threshold to be drawn, got none; its status is {found.status.name}"
        )
    figure, (axes,) = new_figure((3.4, 2.7))
    d = np.array(found.d, dtype=np.float64)
    axes.set_xscale("log")
    log_ticks(axes, (d[0] / 1.2, 1.2 * d[-1]))
    low, high = found.limit.bracket
    lower, upper = np.clip(found.lower[known], low, high), np.clip(found.upper[known], low, high)
    axes.fill_between(
        d[known], lower, upper, color=BLUE, alpha=0.18, linewidth=0, label="68 % of the runs"
    )
    axes.errorbar(
        d[known], found.value[known], found.stderr[known], fmt="o-", color=BLUE, markersize=3.1,
        capsize=1.7, elinewidth=0.8, label="median over draws", zorder=3,
    )  # fmt: skip
    mark_missing(axes, d[~known], VERMILLION, label="no value")
    limit = found.limit
    if np.isfinite(limit.value):
        axes.axhline(
            limit.value, color=GREEN, linewidth=1, zorder=2,
            label=f"limit {format_number(limit.value, limit.stderr)}",
        )  # fmt: skip
    elif found.drifts:
        axes.plot([], [], " ", label="no limit: drifts with $\\log d$")
    axes.set_xlabel("dimension  $d$")
    step = horizon(found.config["method"], found.step)
    axes.set_ylabel(rf"threshold  $\delta_{{\mathrm{{NN}}}}({step}; d)$")
    title = describe(found.config)
    if not found.status.ok:
        title = f"{title}\n{sentence(found.status)}"
    axes.set_title(broken(title, figure), color="black" if found.status.ok else VERMILLION)
    handles, labels = axes.get_legend_handles_labels()
    legend_below(figure, axes, handles, labels, ncols=2)
    return figure
