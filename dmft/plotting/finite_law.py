"""Figure of the law of n weights: outliers and edges of draws, as single runs scatter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft.plotting.common import (
    BLUE,
    GREY,
    VERMILLION,
    broken,
    describe,
    format_number,
    new_figure,
)
from dmft.training.methods import horizon
from rmt.canvas import drawing, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dmft.hessian.finite_law import FiniteLaw

__all__ = ["draw_smallest", "plot_finite_law"]

_FAINTEST = 0.12  # of the bands of several sizes


@drawing
def plot_finite_law(law: FiniteLaw) -> Figure:
    """Draw the smallest eigenvalue of each draw of n weights against its hard overlap.

    Parameters
    ----------
    law : FiniteLaw

    Returns
    -------
    matplotlib.figure.Figure
        Points: the smallest eigenvalue of each draw, at the height of its hard overlap. Ticks at
        the foot: left edges. Band and line: 68 % of the draws, and their median.

    Raises
    ------
    ValueError
        If no draw has a finite edge: there is nothing to draw.
    """
    values, overlaps = law.lowest()
    if not np.isfinite(values).any():
        raise ValueError("law must have a finite edge to be drawn, got none")
    figure, (axes,) = new_figure((3.4, 2.7))
    draw_smallest(axes, law)
    axes.plot(values, overlaps, "o", color=VERMILLION, markersize=3.1, label="draws", zorder=3)
    axes.plot(
        law.edge, np.zeros(law.draws), "|", color=BLUE, markersize=7, label="left edges",
        transform=axes.get_xaxis_transform(), clip_on=False,
    )  # fmt: skip
    if np.isfinite(law.quantile):
        axes.axvline(
            law.quantile, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0,
            label=r"$m d\,F = 1$ in the limit",
        )  # fmt: skip
    axes.set_ylim(-0.03 * max(1.0, float(overlaps.max())), None)
    axes.set_xlabel(r"smallest eigenvalue  $\lambda$")
    axes.set_ylabel("squared hard overlap")
    place = rf"$\delta = {law.delta:g}$, $d = {law.d}$, {_place(law)}"
    title = describe(law.config) if "method" in law.config else ""
    axes.set_title(broken(f"{title}\n{place}".strip(), figure))
    handles, labels = axes.get_legend_handles_labels()
    legend_below(figure, axes, handles, labels, ncols=2)
    return figure


def draw_smallest(axes: Axes, law: FiniteLaw) -> float:
    """Draw the band of the smallest eigenvalue over draws, with its median; return its lower end.

    Bands of larger sizes are fainter, so that those of several sizes are told apart.
    """
    found = law.smallest_eigenvalue
    if not np.isfinite(found.value):
        return np.inf
    alpha = max(_FAINTEST, 0.35 / (1.0 + np.log10(max(law.d, 100) / 100)))
    axes.axvspan(found.lower, found.upper, color=VERMILLION, alpha=alpha, linewidth=0, zorder=0)
    axes.axvline(
        found.value, color=VERMILLION, linewidth=1, zorder=2, alpha=min(1.0, 3 * alpha),
        label=f"$d = {law.d}$: {format_number(found.value, found.stderr)}",
    )  # fmt: skip
    return found.lower


def _place(law: FiniteLaw) -> str:
    """Name the step: by its number, or by its time in a gradient flow."""
    if "method" not in law.config:
        return f"step {law.step}"
    kind = "time" if "times" in law.config["method"] else "step"
    return f"{kind} {horizon(law.config['method'], law.step)}"
