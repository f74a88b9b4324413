"""Figure of a scaling law: thresholds by feature, features recovered and error against delta."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from dmft.plotting.common import (
    VERMILLION,
    color_of,
    describe,
    log_subs,
    new_figure,
    plain_ticks,
    say_within,
    sentence,
    set_title,
)
from rmt.canvas import drawing, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dmft.studies.scaling_law_result import ScalingLaw

__all__ = ["plot_scaling_law"]

_BEYOND = 1.5  # steps are drawn so far beyond the last threshold
_ALL = 1e-9  # of the variance, where all features are recovered


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
    left.set(xlabel="rank j of the feature", ylabel="threshold")
    middle.set(xlabel=r"$\delta = n/d$", ylabel="features recovered")
    right.set(xlabel=r"$\delta = n/d$", ylabel="excess test error")
    if np.isfinite(law.threshold).any():
        _draw(law, left, middle, right)
        legend_below(figure, left, *left.get_legend_handles_labels(), ncols=4)
    else:
        say_within(left, "no threshold in the bracket", VERMILLION)
    if not law.status.ok:
        left.set_title(sentence(law.status), color=VERMILLION)
    set_title(figure, describe(law.config))
    return figure


def _draw(law: ScalingLaw, left: Axes, middle: Axes, right: Axes) -> None:
    ranks = np.arange(1, law.share.size + 1)
    first = law.threshold[np.isfinite(law.threshold)].min() / _BEYOND
    last = np.where(np.array(law.widths) > 0, law.bracket[1], np.inf)
    for i, name in enumerate(law.names):
        color = color_of(i)
        value, error = law.threshold[i, law.ranking], law.error[i, law.ranking]
        known = np.isfinite(value)
        left.errorbar(
            ranks[known], value[known], error[known], fmt="o", color=color, markersize=3.0,
            label=name,
        )  # fmt: skip
        fit = law.thresholds_law(i)
        if np.isfinite(fit.exponent):
            left.plot(ranks, fit.factor * ranks**fit.exponent, color=color, linewidth=0.8)
        end = min(value[known].max(initial=first) * _BEYOND, last[i])
        delta = np.unique([first, *value[known], end])
        middle.step(delta, law.n_features(delta)[i], where="post", color=color)
        excess = law.excess_error(delta)[i]
        excess[excess < _ALL * law.variance] = np.nan
        right.step(delta, excess, where="post", color=color)
    for axes in (left, right):
        axes.set(xscale="log", yscale="log")
    middle.set_xscale("log")
    middle.yaxis.set_major_locator(MaxNLocator(integer=True))
    plain_ticks(left.xaxis, log_subs(1.0, float(ranks[-1])))
