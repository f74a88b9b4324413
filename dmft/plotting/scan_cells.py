"""Figures of a scan over categories alone: tables of coloured cells, with the numbers in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.colors import LogNorm, Normalize

from dmft.plotting.common import GREY
from dmft.plotting.scan_axes import Axis, label_of, part_of
from rmt.canvas import COLUMN, PAGE, new_figure
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dmft.scans.scan_result import Scan

__all__ = ["draw_cells", "is_categorical"]

#: What stands in a cell without a value.
_WORDS: Final = {
    Status.NO_BRACKET.name: "no root",
    Status.UNBOUNDED_EDGE.name: "no edge",
    Status.NO_OUTLIER.name: "no outlier",
    Status.DIVERGED.name: "diverged",
    Status.FAILED.name: "failed",
}
_MOST_PANELS: Final = 12
_ROW, _HEAD, _FOOT = 0.17, 0.3, 0.55  # inches: a row of cells, a title, the names of columns
_SMALL: Final = 6.5
_WIDE: Final = 8.0  # ratio of values from which colours are logarithmic
_CATEGORICAL: Final = 3
_LETTERS: Final = 24  # that fit below a table side by side


def is_categorical(axes: Sequence[Axis]) -> bool:
    """Whether a product has three or more axes with several values, and none of numbers."""
    return len(axes) >= _CATEGORICAL and not any(axis.is_numeric for axis in axes)


def draw_cells(scan: Scan, names: Sequence[str], axes: Sequence[Axis]) -> Figure:
    """Draw quantities over categories: the longest axis down, the next one across.

    Parameters
    ----------
    scan : Scan
    names : sequence of str
        Quantities.
    axes : sequence of Axis
        Three or more, of which the others are panels: the longer one from above to below.

    Returns
    -------
    matplotlib.figure.Figure
        At most 12 panels. Numbers with another status than SUCCESS are in brackets.
    """
    by_length = sorted(axes, key=lambda axis: -len(axis.values))
    down, across, *others = by_length
    rows = others[0]
    sizes = [len(axis.values) for axis in others[1:]]
    places = [
        (name, dict(zip((axis.place for axis in others), (row, *rest), strict=True)))
        for name in names
        for row in range(len(rows.values))
        for rest in np.ndindex(*sizes)
    ][:_MOST_PANELS]
    columns = min(int(np.prod(sizes)), 3)
    n_rows = -(-len(places) // columns)
    width = COLUMN if columns == 1 and len(across.values) <= _CATEGORICAL else PAGE
    height = n_rows * (_HEAD + _ROW * len(down.values)) + _FOOT + 0.3
    figure, panels = new_figure((width, height), n_rows, columns, used=range(len(places)))
    for index, (panel, (name, place)) in enumerate(zip(panels, places, strict=True)):
        _table(panel, scan, name, place, down, across)
        titles = [axis.name(place[axis.place]) for axis in others]
        if len(names) > 1:
            titles.insert(0, label_of(name))
        panel.set_title(", ".join(titles))
        if index % columns:
            panel.set_yticklabels([])
        if index + columns < len(places):
            panel.set_xticklabels([])
    return figure


def _table(
    panel: Axes, scan: Scan, name: str, place: dict[int, int], down: Axis, across: Axis
) -> None:
    """Draw one table."""
    part = part_of(scan, name, place, down.place, across.place)
    value, statuses = part["value"], part["statuses"]
    norm = _norm(scan.grid(name))
    panel.set_facecolor("0.95")
    mesh = panel.pcolormesh(
        np.ma.masked_invalid(value), cmap="viridis", norm=norm, edgecolor="white", linewidth=0.5
    )
    for (i, j), number in np.ndenumerate(value):
        text, color = _WORDS.get(str(statuses[i, j]), ""), GREY
        if np.isfinite(number):
            text = f"{number:.3g}" if number < 1e3 else f"{number:.0f}"
            if statuses[i, j] != Status.SUCCESS.name:
                text = f"({text})"
            red, green, blue, _ = mesh.to_rgba(np.array([number]))[0]
            color = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
        panel.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=color, fontsize=_SMALL)
    names = _name(panel.xaxis, across)
    if sum(map(len, names)) > _LETTERS:
        panel.tick_params("x", labelrotation=20)
        for label in panel.get_xticklabels():
            label.set_horizontalalignment("right")
    _name(panel.yaxis, down)
    panel.invert_yaxis()
    panel.tick_params(length=0)


def _name(axis: Any, values: Axis) -> list[str]:
    names = [values.name(index) for index in range(len(values.values))]
    axis.set_ticks(np.arange(len(names)) + 0.5, names)
    return names


def _norm(values: Any) -> Normalize:
    known = values[np.isfinite(values)]
    if not len(known):
        return Normalize(0.0, 1.0)
    low, high = known.min(), known.max()
    return LogNorm(low, high) if low > 0 and high > _WIDE * low else Normalize(low, high)
