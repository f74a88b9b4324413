"""Figure of the Hessians of a sweep beside the laws of n weights at its sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft.plotting.common import color_of, describe, log_ticks, marker_of, new_figure, set_title
from rmt.canvas import drawing, legend_below

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dmft.studies.sweep_laws import SweepPrediction

__all__ = ["plot_sweep_prediction"]


@drawing
def plot_sweep_prediction(found: SweepPrediction) -> Figure:
    """Draw smallest eigenvalue and hard overlap against delta: runs, and the law at their size.

    Parameters
    ----------
    found : SweepPrediction

    Returns
    -------
    matplotlib.figure.Figure
        Marks: medians over runs with their standard errors. Lines: medians of the law of n weights;
        bands: where 68 % of single runs have their smallest eigenvalue.
    """
    figure, (left, right) = new_figure((7.0, 3.2), 1, 2)
    deltas = found.deltas
    for axes in (left, right):
        axes.set_xscale("log")
        ends = float(deltas.min()), float(deltas.max())
        log_ticks(axes, (ends[0] / 1.05, 1.05 * ends[1]))
        axes.set_xlabel(r"samples per dimension  $\delta = n/d$")
    for index, d in enumerate(found.d):
        color, marks = color_of(index), marker_of(index)
        left.fill_between(
            deltas, found.lower[index], found.upper[index], color=color, alpha=0.15, linewidth=0
        )
        for axes, law, run, error in (
            (
                left,
                found.smallest_eigenvalue,
                found.run_eigenvalue,
                found.run_eigenvalue_stderr,
            ),
            (right, found.hard_overlap, found.run_overlap, found.run_overlap_stderr),
        ):
            axes.plot(deltas, law[index], color=color, linewidth=1)
            axes.errorbar(
                deltas, run[index], np.nan_to_num(error[index]), linestyle="none", markersize=3.4,
                capsize=1.7, elinewidth=0.7, label=f"$d = {d}$", **marks,
            )  # fmt: skip
    left.set_ylabel(f"smallest eigenvalue\nat step {found.step}")
    right.set_ylabel("hard overlap\nof its eigenvector")
    set_title(figure, f"{describe(found.config)}\nmarks: runs; lines: law of n weights")
    handles, labels = left.get_legend_handles_labels()
    legend_below(figure, left, handles, labels, ncols=3)
    return figure
