"""Figure of a cascade: thresholds of all features against time, and outliers against delta."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dmft.plotting.common import (
    CYCLE,
    DASHES,
    VERMILLION,
    describe,
    fill_band,
    log_if_wide,
    log_ticks,
    new_figure,
    say_within,
    sentence,
    set_title,
    time_label,
)
from rmt.canvas import drawing, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dmft.studies.cascade import Cascade, CascadeStage

__all__ = ["plot_cascade"]

_LABELLED = 8  # features with a line of their own in the legend


@drawing
def plot_cascade(cascade: Cascade) -> Figure:
    """Draw the thresholds of all features against time, and the number of outliers against delta.

    Parameters
    ----------
    cascade : Cascade

    Returns
    -------
    matplotlib.figure.Figure
        Left: delta_NN^(j)(t) of each feature with a band of one error; colours are features, dashes
        stages. Of runs of dimension d, a wider band has 68 % of them. Right: number of hard
        outliers at the last step.
    """
    curves = [curve for stage in cascade.stages for curve in stage.curves]
    figure, (axes, counts) = new_figure((7.0, 3.1), 1, 2)
    handles: list[Line2D] = []
    for index, stage in enumerate(cascade.stages):
        n_before = cascade.stages[0].hard.shape[1] - stage.hard.shape[1]
        n_before *= len(stage.overlap)  # an outlier for each neuron
        handles += _draw_stage(axes, stage, index, n_before, cascade.bracket)
        _draw_counts(counts, stage, index, cascade.bracket)
    if not axes.lines:
        say_within(axes, "no threshold at any step", VERMILLION)
    log_if_wide(axes, np.concatenate([curve.value for curve in curves]))
    size = "" if cascade.d is None else f"; d={cascade.d}"
    axes.set_ylabel(rf"thresholds  $\delta_{{\mathrm{{NN}}}}^{{(j)}}(t{size})$")
    axes.set_xlabel(time_label(cascade.config))
    counts.set_xscale("log")
    counts.set_xlabel(r"samples per dimension  $\delta = n/d$")
    counts.set_ylabel("hard outliers")
    counts.set_title("at the last step")
    counts.yaxis.set_major_locator(MaxNLocator(integer=True))
    if len(cascade.stages) > 1 and counts.lines:
        counts.legend(loc="upper left")
    log_ticks(counts, cascade.bracket)
    if not cascade.status.ok:
        axes.set_title(sentence(cascade.status, 44), color=VERMILLION)
    set_title(figure, describe(cascade.config))
    if handles:
        legend_below(figure, axes, handles, [str(line.get_label()) for line in handles], ncols=2)
    return figure


def _draw_stage(
    axes: Axes, stage: CascadeStage, index: int, n_before: int, bracket: tuple[float, float]
) -> list[Line2D]:
    """Draw the curves of a stage; return lines for the legend, whose dashes no marker hides."""
    handles = []
    for j, curve in enumerate(stage.curves):
        known = np.isfinite(curve.value)
        if not known.any():
            continue
        color = CYCLE[(j + n_before) % len(CYCLE)]
        name = f"feature {j + 1}" + (f" of those left, stage {index + 1}" if index else "")
        t, value, error = curve.times[known], curve.value[known], curve.error[known]
        if curve.band is not None:
            lower, upper = np.clip(curve.band[:, known], *bracket)
            axes.fill_between(t, lower, upper, color=color, alpha=0.1, linewidth=0)
        fill_band(axes, t, value, np.where(np.isfinite(error), error, 0.0), color)
        dashes = DASHES[index % len(DASHES)]
        axes.plot(t, value, "o", linestyle=dashes, color=color, markersize=2.4, label=name)
        if j < _LABELLED:
            handles.append(Line2D([], [], linestyle=dashes, color=color, label=name))
    return handles


def _draw_counts(axes: Axes, stage: CascadeStage, index: int, bracket: tuple[float, float]) -> None:
    last = np.sort([curve.value[-1] for curve in stage.curves if np.isfinite(curve.value[-1])])
    if not len(last):
        if not index:
            say_within(axes, "no threshold at the last step", VERMILLION)
        return
    delta = np.concatenate([[bracket[0]], last, [bracket[1]]])
    count = np.concatenate([[0], np.arange(1, len(last) + 1), [len(last)]])
    axes.step(
        delta, count, where="post", color="black", linestyle=DASHES[index % len(DASHES)],
        label=f"stage {index + 1}",
    )  # fmt: skip
