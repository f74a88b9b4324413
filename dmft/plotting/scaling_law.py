"""Figure of a scaling law: thresholds by feature, features recovered and error against delta."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from dmft.plotting.common import (
    VERMILLION,
    color_of,
    describe,
    new_figure,
    sentence,
    set_title,
)
from rmt.canvas import drawing, legend_below

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dmft.studies.scaling_law_result import ScalingLaw

__all__ = ["plot_scaling_law"]

_BEYOND = 1.5  # steps are drawn so far beyond the last threshold


@drawing
def plot_scaling_law(law: ScalingLaw) -> Figure:
    """Draw thresholds of the features, features recovered and excess test error against delta.

    Parameters
    ----------
    law : ScalingLaw

    Returns
    -------
    matplotlib.figure.Figure
        Left: thresholds against the rank of the feature, with errors and fitted power laws.
        Middle: number of features whose threshold is passed. Right: what is left of the variance
        that the features explain. Colours are learners.
    """
    figure, (left, middle, right) = new_figure((7.4, 3.0), 1, 3)
    ranks = np.arange(1, law.share.size + 1)
    for i, name in enumerate(law.names):
        color = color_of(i)
        value, error = law.threshold[i, law.ranking], law.error[i, law.ranking]
        known = np.isfinite(value)
        left.errorbar(
            ranks[known], value[known], error[known], fmt="o", color=color, markersize=3.0,
            label=name,
        )  # fmt: skip
        fit = law.thresholds_law(i)
        if fit.points and np.isfinite(fit.exponent):
            left.plot(ranks, fit.factor * ranks**fit.exponent, color=color, linewidth=0.8)
        if not known.any():
            continue
        inside = np.sort(value[known & (value <= law.bracket[1])]) if law.widths[i] else value
        inside = np.sort(inside[np.isfinite(inside)])
        delta = np.concatenate([[law.bracket[0]], inside, [inside[-1] * _BEYOND]])
        if law.widths[i]:
            delta = np.minimum(delta, law.bracket[1])
        delta = np.unique(delta)
        middle.step(delta, law.n_features(delta)[i], where="post", color=color)
        excess = law.excess_error(delta)[i]
        excess[excess < 1e-9 * law.variance] = np.nan
        right.step(delta, excess, where="post", color=color)
    left.set(xscale="log", yscale="log", xlabel="rank j of the feature", ylabel="threshold")
    middle.set(xscale="log", ylabel="features recovered")
    middle.yaxis.set_major_locator(MaxNLocator(integer=True))
    right.set(xscale="log", yscale="log", ylabel="excess test error")
    for axes in (middle, right):
        axes.set_xlabel(r"$\delta = n/d$")
    if not law.status.ok:
        left.set_title(sentence(law.status), color=VERMILLION)
    set_title(figure, describe(law.config))
    legend_below(figure, left, *left.get_legend_handles_labels(), ncols=4)
    return figure
