"""Figures of a law: the density with everything that lies outside it, and its flow along steps.

Figures are built without pyplot: no window opens and no global state changes. Both functions take
``ax`` (axes of yours), ``size`` ("column", "page" or width and height in inches) and ``settings``
(of matplotlib, for this figure). The look of all figures is `STYLE`, to be changed in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import rmt._matplotlib  # noqa: F401

# isort: split
import numpy as np
from matplotlib.ticker import MaxNLocator

from rmt._validation import check_array, check_integer
from rmt.canvas import (
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    STYLE,
    VERMILLION,
    broken,
    drawing,
    legend_below,
    new_figure,
    style,
)
from rmt.outliers import known_outliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rmt._packing import Array
    from rmt.law import HessianLaw
    from rmt.outliers import Outlier
    from rmt.overlay import SpectrumComparison

__all__ = ["STYLE", "plot_density", "plot_flow", "style"]

_POINTS: Final = 601
_TALL: Final = 4.0  # a peak higher than this many times the 97 % level of the curve is cut off


# -- density -------------------------------------------------------------------------------------


@drawing
def plot_density(
    law: HessianLaw,
    comparison: SpectrumComparison | None = None,
    *,
    bins: int | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the density of the bulk with edges, outliers, the atom, and eigenvalues if there are.

    Parameters
    ----------
    law : HessianLaw
    comparison : SpectrumComparison, optional
        From `rmt.overlay.compare_spectrum`: its eigenvalues become a histogram; where only the
        extreme ones were computed, they become ticks.
    bins : int, optional
        Number of bins between the edges; chosen from the number of eigenvalues by default.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        Line: density of the continuous part. Dashed: edges. Stems: outliers, with a disc in hard
        directions and a diamond in others; above them the squared overlap of the eigenvector
        with these directions. Hollow squares at the foot: outliers not told from the edge, see
        `Outlier.separated`. Square at the top of a bar: the atom at zero with its mass. Ticks
        at the foot: eigenvalues beyond the edges. A peak that would flatten all else is cut off.

    Raises
    ------
    ValueError
        If bins is not at least 1.
    """
    if bins is not None:
        bins = check_integer("bins", bins, minimum=1)
    left, right = law.edges()
    low, high = _window(law, comparison)
    x = _grid(law, max(left, low), min(right, high))
    density = law.density(x, throw=False)
    outliers = known_outliers(law)
    atom = law.atom_at_zero()
    figure, (axes,) = new_figure((3.4, 2.6))
    top = 1.15 * _height(density)
    if comparison is not None:
        top = max(top, _histogram(axes, law, comparison, bins, (low, high)))
    axes.fill_between(x, density, color=BLUE, alpha=0.12, linewidth=0)
    axes.plot(x, density, color=BLUE, label="theory", zorder=3)
    marks = [edge for edge in (left, right) if np.isfinite(edge)]
    if right > left:
        for i, edge in enumerate(marks):
            axes.plot(
                [edge, edge], [0.0, 0.45 * top], color=GREY, linewidth=0.9,
                linestyle=(0, (4, 2.5)), label="edge of the bulk" if i == 0 else None, zorder=2,
            )  # fmt: skip
    if atom > 0.0:
        _draw_atom(axes, law, atom, top)
    _draw_outliers(axes, outliers, top, high - low)
    positions = [o.value for o in outliers]
    if comparison is not None:
        positions += [float(comparison.smallest[0]), float(comparison.largest[-1])]
    reach = 0.06 * (high - low)
    axes.set_xlim(min([low, *positions]) - reach, max([high, *positions]) + reach)
    axes.set_ylim(0.0, top)
    axes.set_xlabel(r"eigenvalue $\lambda$")
    axes.set_ylabel("density")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if title is not None:
        axes.set_title(broken(title, figure))
    legend_below(figure, axes, *axes.get_legend_handles_labels(), ncols=2)
    return figure


def _window(law: HessianLaw, comparison: SpectrumComparison | None) -> tuple[float, float]:
    """Range to draw: the bulk; where it is unbounded, what holds all but a thousandth of it."""
    left, right = law.edges()
    size = max([abs(e - law.centre) for e in (left, right) if np.isfinite(e)], default=1.0)
    size = max(size, np.sqrt(abs(float(law.moments(2)[1]))) if np.isinf(left + right) else 0.0)
    low = left if np.isfinite(left) else law.centre - 2.0 * size
    high = right if np.isfinite(right) else law.centre + 2.0 * size
    if comparison is not None:
        values = [comparison.smallest, comparison.largest]
        if comparison.eigenvalues is not None:
            values = [np.quantile(comparison.eigenvalues, [0.005, 0.995])]
        low, high = min(low, *map(np.min, values)), max(high, *map(np.max, values))
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return float(low), float(high)


def _grid(law: HessianLaw, low: float, high: float) -> Array:
    """Points dense at the ends, and around zero, where the density may peak."""
    if not high > low:
        return np.array([low, high])
    u = 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, _POINTS))
    points = [low + (high - low) * u]
    places = np.unique(law.shifts)
    for end in (low, high):
        points += [at + (end - at) * np.geomspace(1e-4, 1.0, _POINTS // 3) for at in places]
    x = np.unique(np.concatenate(points))
    return np.asarray(x[(x >= low) & (x <= high)])


def _height(density: Array) -> float:
    finite = density[np.isfinite(density)]
    if not finite.size or finite.max() <= 0.0:
        return 1.0
    return float(min(finite.max(), _TALL * np.quantile(finite, 0.8)) or finite.max())


def _histogram(
    axes: Axes,
    law: HessianLaw,
    comparison: SpectrumComparison,
    bins: int | None,
    window: tuple[float, float],
) -> float:
    """Histogram of the eigenvalues off the atom; returns the height it needs."""
    low, high = window
    if comparison.eigenvalues is None:
        for i, values in enumerate((comparison.smallest, comparison.largest)):
            axes.plot(
                values, np.zeros(values.size), "|", color=VERMILLION, markersize=8,
                markeredgewidth=1.1, clip_on=False, zorder=5,
                label=f"extreme eigenvalues, $md = {comparison.size}$" if i == 0 else None,
            )  # fmt: skip
        return 0.0
    values = comparison.eigenvalues
    if law.atom_at_zero() > 0.0:
        tiny = 1e-9 * float(np.abs(values - law.centre).max())
        for place, _ in law.atoms():
            values = values[np.abs(values - place) > tiny]
    count = bins or int(np.clip(2.0 * values.size ** (1 / 3) * 1.5, 12, 80))
    width = (high - low) / count
    # Continue the bins beyond the bulk, so that outliers show as single boxes.
    first = int(np.ceil((low - values.min(initial=low)) / width))
    last = int(np.ceil((values.max(initial=high) - high) / width))
    ends = low + width * np.arange(-min(first, 10 * count), count + min(last, 10 * count) + 1)
    heights = np.histogram(values, ends)[0] / (comparison.size * width)
    axes.stairs(
        heights, ends, fill=True, color="#C9C9C9", zorder=1,
        label=f"simulation, $md = {comparison.size}$",
    )  # fmt: skip
    left, right = law.edges()
    beyond = values[(values < left) | (values > right)]
    axes.plot(
        beyond, np.zeros(beyond.size), "|", color="black", markersize=4.5, markeredgewidth=0.8,
        zorder=5,
    )  # fmt: skip
    return float(1.1 * heights.max()) if np.median(heights) * 8 > heights.max() else 0.0


def _draw_atom(axes: Axes, law: HessianLaw, atom: float, top: float) -> None:
    for i, (place, _) in enumerate(law.atoms()):
        axes.plot(
            [place, place], [0.0, 0.86 * top], color=GREEN, linewidth=1.8, zorder=4,
            solid_capstyle="butt",
        )  # fmt: skip
        axes.plot(
            place, 0.86 * top, "s", color=GREEN, markersize=4.5, zorder=4,
            label=None if i else f"atom, mass {atom:.3g}",
        )  # fmt: skip


def _draw_outliers(axes: Axes, outliers: Sequence[Outlier], top: float, width: float) -> None:
    """Stems, with the overlap written above, higher where two are close."""
    previous, level = -np.inf, 0
    named: set[str] = set()
    for outlier in sorted(outliers, key=lambda o: o.value):
        level = level + 1 if outlier.value - previous < 0.12 * width else 0
        previous = outlier.value
        height = top * min(0.3 + 0.13 * level, 0.82)
        name, marker, color = _kind(outlier)
        if not outlier.separated:
            axes.plot(
                outlier.value, 0.02 * top, marker, color=color, markersize=4.5, zorder=4,
                linestyle="", markerfacecolor="white", label=None if name in named else name,
            )  # fmt: skip
            named.add(name)
            continue
        axes.plot(
            [outlier.value, outlier.value], [0.0, height], color=color, linewidth=1.1, zorder=4
        )
        axes.plot(
            outlier.value, height, marker, color=color, markersize=4.5, zorder=4, linestyle="",
            label=None if name in named else f"{name}, overlap",
        )  # fmt: skip
        axes.annotate(
            f"{outlier.span_overlap:.2f}", (outlier.value, height), xytext=(0, 4),
            textcoords="offset points", ha="center",
        )  # fmt: skip
        named.add(name)


def _kind(outlier: Outlier) -> tuple[str, str, str]:
    """Name, marker and colour: told apart by shape as well as by colour."""
    if not outlier.separated:
        return "not told from the edge", "s", GREY
    if outlier.hard_overlap > 0.0:
        return "hard outlier", "o", VERMILLION
    return "other outlier", "D", PURPLE


# -- flow ----------------------------------------------------------------------------------------


@drawing
def plot_flow(
    steps: Sequence[int],
    laws: Sequence[HessianLaw],
    *,
    title: str | None = None,
) -> Figure:
    """Draw edges and outliers along the steps of a trajectory: the BBP transition seen in time.

    Parameters
    ----------
    steps : sequence of int
        Ascending.
    laws : sequence of HessianLaw
        One for each step, for example ``trajectory.hessian(step)``.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        Band: the bulk between its edges (no line where it is unbounded). Discs: outliers in hard
        directions, diamonds: in others; their area grows with the squared overlap of the
        eigenvector with these directions, which is zero where an outlier touches the bulk. Outliers
        of neighbouring steps are joined side by side, from the outermost inwards. Hollow squares:
        not told from the edge.

    Raises
    ------
    ValueError
        If steps and laws differ in length, are empty, or steps do not ascend.
    """
    times = check_array("steps", steps)
    if times.ndim != 1 or times.size == 0 or times.size != len(laws):
        raise ValueError(
            f"steps must be a list as long as laws, got {times.size} steps and {len(laws)} laws"
        )
    if np.any(np.diff(times) <= 0):
        raise ValueError("steps must ascend")
    edges = np.array([tuple(law.edges()) for law in laws])
    outliers = [known_outliers(law) for law in laws]
    inside = [edges[np.isfinite(edges)], [o.value for row in outliers for o in row]]
    drawn = np.concatenate([*inside, [law.centre for law in laws]])
    reach = 0.08 * (float(drawn.max() - drawn.min()) or 1.0)
    low, high = float(drawn.min()) - reach, float(drawn.max()) + reach
    if not np.all(np.isfinite(edges[:, 0])):
        low -= 3.0 * reach
    if not np.all(np.isfinite(edges[:, 1])):
        high += 3.0 * reach
    span = float(times[-1] - times[0]) or 1.0
    figure, (axes,) = new_figure((3.4, 2.9))
    bottom = np.where(np.isfinite(edges[:, 0]), edges[:, 0], low)
    ceiling = np.where(np.isfinite(edges[:, 1]), edges[:, 1], high)
    axes.fill_between(times, bottom, ceiling, color=BLUE, alpha=0.15, linewidth=0, label="bulk")
    for side in (0, 1):
        finite = np.where(np.isfinite(edges[:, side]), edges[:, side], np.nan)
        axes.plot(times, finite, color=BLUE, label="edges" if side == 0 else None)
    axes.axhline(0.0, color=GREY, linewidth=1.0, zorder=1)
    _draw_flow(axes, times, outliers)
    axes.set_ylim(low, high)
    axes.set_xlabel("step $t$")
    axes.set_ylabel(r"eigenvalues of the Hessian")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlim(times[0] - 0.03 * span, times[-1] + 0.03 * span)
    if title is not None:
        axes.set_title(broken(title, figure))
    legend_below(figure, axes, *axes.get_legend_handles_labels(), ncols=2)
    return figure


def _draw_flow(axes: Axes, times: Array, outliers: Sequence[Sequence[Outlier]]) -> None:
    named: set[str] = set()
    for i, row in enumerate(outliers):
        for outlier in row:
            name, marker, color = _kind(outlier)
            told = f"{name}, area: overlap" if outlier.separated else name
            axes.plot(
                times[i], outlier.value, marker, color=color, zorder=4, linestyle="",
                markersize=2.0 + 4.0 * np.sqrt(outlier.span_overlap),
                markerfacecolor=color if outlier.separated else "white",
                label=None if name in named else told,
            )  # fmt: skip
            named.add(name)
        if i + 1 == len(outliers):
            continue
        kinds = {(o.side, _kind(o)) for o in row if o.separated}
        for side, kind in sorted(kinds):
            here, there = (
                sorted(
                    (o.value for o in some if (o.side, _kind(o)) == (side, kind)),
                    reverse=side == "right",
                )
                for some in (row, outliers[i + 1])
            )
            # An outlier without a partner has left the bulk or entered it.
            for a, b in zip(here, there, strict=False):
                axes.plot(times[i : i + 2], [a, b], color=kind[2], linewidth=1.0, zorder=3)
