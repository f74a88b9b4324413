"""Figures of a scan: curves with bands, heat maps, small multiples, phase diagrams of recovery."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.colors import CenteredNorm
from matplotlib.patheffects import withStroke

from dmft._numerics.validation import check_instance
from dmft.model.classification import describe_label
from dmft.plotting.common import (
    DASHES,
    GREY,
    VERMILLION,
    color_of,
    describe,
    fill_band,
    filled_marks,
    log_if_wide,
    marker_of,
    name_of,
    say_within,
    set_title,
)
from dmft.plotting.scan_axes import (
    DELTAS,
    Axis,
    cell_edges,
    computation_of,
    label_of,
    make_logarithmic,
    name_axis,
    part_of,
    positions,
)
from dmft.plotting.scan_cells import draw_cells, is_categorical
from dmft.scans.scan_result import Scan
from rmt.canvas import COLUMN, PAGE, drawing, legend_below, new_figure
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["plot_scan"]

_OF_DELTA: Final = ("hessian", "trajectory", "runs")  # computations that depend on delta
_FEW: Final = 4  # values of a numeric axis that are lines rather than an axis
_MOST_PANELS, _MOST_COLUMNS = 12, 3
_MOST_LINES: Final = 8
# One column or two of a page, in inches.
_HEIGHT: Final = 2.6
_ASIDE: Final = 0.12  # of marks of one category, side by side


@drawing
def plot_scan(scan: Scan, quantities: str | Sequence[str] | None = None) -> Figure:
    """Draw the quantities of a scan.

    Parameters
    ----------
    scan : Scan
    quantities : str or sequence of str, optional
        Which ones; default: all.

    Returns
    -------
    matplotlib.figure.Figure
        Of a product with one numeric axis: a curve with a band of its error for each value of the
        others. With two: a heat map, with the line where a gap is zero. Further axes are panels
        side by side. With three axes or more and none of them numeric: tables of coloured cells
        with the numbers in them. Where delta is an axis, thresholds of the same scan are lines in
        the panels of recovery, gap and losses: the phase diagram with the theory. Random designs
        and lists: the quantity against each setting. Open marks: a status other than SUCCESS.
        Crosses at the bottom, grey cells: no value.

    Raises
    ------
    ValueError
        If there is no such quantity.
    """
    check_instance("scan", scan, Scan)
    names = [quantities] if isinstance(quantities, str) else quantities
    chosen = list(scan.quantities) if names is None else list(names)
    for name in chosen:
        scan.column(name)
    panels_are_tables = False
    if scan.design != "product":
        figure = _scattered(scan, chosen)
    else:
        axes = [Axis(keys[0], place, scan.axis(place)) for place, keys in enumerate(scan.axes)]
        long = [axis for axis in axes if len(axis.values) > 1]
        panels_are_tables = is_categorical(long)
        figure = (draw_cells if panels_are_tables else _product)(scan, chosen, long or axes)
    title, shown = _title(scan), scan.statuses[:, [scan.column(name) for name in chosen]]
    if len(chosen) == 1 and panels_are_tables:
        title = f"{label_of(chosen[0])}: {title}" if title else label_of(chosen[0])
    count = int((shown != Status.SUCCESS.name).sum())
    if count:
        title += f"\n{count} of {shown.size} values with another status than SUCCESS"
    set_title(figure, title)
    return figure


def _title(scan: Scan) -> str:
    """Name what all points share."""
    changed, config, parts = set(scan.settings), scan.config, []
    if "target.label" not in changed:
        parts.append(name_of(describe_label(config["target"])))
    if "network.activation" not in changed:
        parts.append(name_of(config["network"]["activation"]))
    if "problem.loss" not in changed:
        parts.append(f"{name_of(config['problem']['loss'])} loss")
    if not any(key.startswith("method.") for key in changed):
        found = describe({"method": config["method"]})
        parts += [found] if found else []
        steps = config["method"].get("n_steps")
        parts += [f"{steps} steps"] if steps and "steps" not in found else []
    runs, sweep = [computation_of(name) == "runs" for name in scan.quantities], config.get("sweep")
    if any(runs) and sweep and not any(key.startswith("sweep.") for key in changed):
        d, n_steps = sweep["d"], sweep.get("n_steps") or config["method"]["n_steps"]
        largest = d[-1] if isinstance(d, list | tuple) else d
        parts = [part for part in parts if not part.endswith(" steps")] if all(runs) else parts
        parts.append(rf"runs of $d = {largest}$ and {n_steps} steps")
    return ", ".join(parts)


# -- products ------------------------------------------------------------------------------------


def _product(scan: Scan, names: list[str], axes: list[Axis]) -> Figure:
    long = [axis for axis in axes if len(axis.values) > 1]
    numeric = [axis for axis in long if axis.is_numeric]
    numeric.sort(key=lambda axis: (len(axis.values) > _FEW, axis.key in DELTAS), reverse=True)
    delta = next((axis for axis in numeric if axis.key in DELTAS), None)
    theory: list[str] = []
    if delta is not None:
        theory = [name for name in names if computation_of(name) not in _OF_DELTA]
        if len(theory) == len(names):
            theory = []
    drawn = [name for name in names if name not in theory]
    wide = [axis for axis in numeric if len(axis.values) > _FEW]
    if len(wide) >= 2:
        y = delta if delta in wide else wide[1]
        assert y is not None
        x = next(axis for axis in wide if axis is not y)
        return _maps(scan, drawn, theory, x, y, [a for a in long if a not in (x, y)])
    first = (delta if theory and delta is not None else None) or next(iter(numeric), None)
    x = first or (long or axes)[0]
    return _curves(scan, drawn, theory, x, [a for a in long if a is not x])


def _figure(count: int, columns: int) -> tuple[Figure, list[Axes]]:
    """Make so many panels, in rows of so many."""
    rows = math.ceil(count / columns)
    width = COLUMN if columns == 1 else PAGE
    height = _HEIGHT if columns < _MOST_COLUMNS else 0.85 * _HEIGHT
    return new_figure((width, 0.5 + height * rows), rows, columns, used=range(count))


def _panels(
    scan: Scan, names: list[str], others: list[Axis]
) -> tuple[Figure, list[tuple[Axes, str, dict[int, int]]]]:
    """Make a panel for each quantity and each value of the other axes."""
    places = list(itertools.product(*(range(len(axis.values)) for axis in others)))
    wanted = [
        (name, dict(zip((axis.place for axis in others), place, strict=True)))
        for name in names
        for place in places
    ][:_MOST_PANELS]
    columns = min(len(places) if len(places) > 1 else len(names), _MOST_COLUMNS, len(wanted))
    figure, panels = _figure(len(wanted), columns)
    found = []
    for axes, (name, place) in zip(panels, wanted, strict=True):
        texts = [axis.name(place[axis.place]) for axis in others]
        if texts:
            axes.set_title(", ".join(texts))
        found.append((axes, name, place))
    return figure, found


def _curves(scan: Scan, names: list[str], theory: list[str], x: Axis, others: list[Axis]) -> Figure:
    """Draw quantities against one axis, a line for each value of a second one."""
    # The axis with the fewest values, categories first, is that of the lines.
    others = sorted(others, key=lambda axis: (axis.is_numeric, len(axis.values)))
    lines = next((axis for axis in others if len(axis.values) <= _MOST_LINES), None)
    figure, panels = _panels(scan, names, [axis for axis in others if axis is not lines])
    at, ticks = positions(x)
    for axes, name, place in panels:
        shown = []
        for index in range(1 if lines is None else len(lines.values)):
            here = place if lines is None else {**place, lines.place: index}
            part = part_of(scan, name, here, x.place)
            label = None if lines is None else lines.name(index)
            shown.append(part["value"])
            count = 1 if lines is None else len(lines.values)
            aside = 0.0 if x.is_numeric else _ASIDE * (index - (count - 1) / 2)
            _draw_line(axes, at + aside, part, index, label, joined=x.is_numeric)
            for number, known in enumerate(theory):
                _draw_vertical(axes, scan, known, here, index, number)
        name_axis(axes, x, ticks)
        axes.set_ylabel(label_of(name))
        if name.startswith("recovery") and name != "recovery_step":
            axes.set_ylim(-0.03, 1.03)
        else:
            log_if_wide(axes, np.concatenate(shown)[np.isfinite(np.concatenate(shown))])
        if not np.isfinite(shown).any():
            say_within(axes, "no value", GREY)
    _share_ranges(panels)
    if lines is not None:
        handles, labels = panels[0][0].get_legend_handles_labels()
        legend_below(figure, panels[0][0], handles, labels, min(len(labels), 4))
    if theory:
        _explain_theory(panels[0][0], theory)
    return figure


def _share_ranges(panels: list[tuple[Axes, str, dict[int, int]]]) -> None:
    """Give all panels of a quantity one vertical range."""
    for name in {name for _, name, _ in panels}:
        same = [axes for axes, other, _ in panels if other == name]
        limits = [axes.get_ylim() for axes in same]
        for axes in same:
            if any(other.get_yscale() == "log" for other in same):
                axes.set_yscale("log")
            axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _draw_line(
    axes: Axes,
    x: FloatArray,
    part: dict[str, NDArray[Any]],
    index: int,
    label: str | None,
    *,
    joined: bool,
) -> None:
    value, error = part["value"], np.nan_to_num(part["error"], posinf=0.0)
    color, known = color_of(index), np.isfinite(value)
    good = part["statuses"] == Status.SUCCESS.name
    marks = {**marker_of(index), "markersize": 3.4}
    if joined:
        # A line through a place without a value would say that there is one.
        axes.plot(
            x, np.where(known, value, np.nan), color=color, linestyle=DASHES[index % len(DASHES)]
        )
        fill_band(axes, x, np.where(known, value, np.nan), error, color)
    else:
        axes.errorbar(x[known], value[known], error[known], color=color, linestyle="none")
    filled_marks(axes, x[known], value[known], good[known], **marks)
    axes.plot([], [], label=label, linestyle=DASHES[index % len(DASHES)], **marks)
    missing = x[~known]
    if len(missing):
        axes.plot(
            missing, np.full(len(missing), 0.03 + 0.045 * index), "x", color=color, markersize=4.5,
            markeredgewidth=1.1, transform=axes.get_xaxis_transform(), clip_on=False,
        )  # fmt: skip


def _draw_vertical(
    axes: Axes, scan: Scan, name: str, place: dict[int, int], index: int, number: int
) -> None:
    """Draw a threshold, which does not depend on delta, where it is on the axis of delta."""
    part = part_of(scan, name, place)
    value, error = float(part["value"]), float(part["error"])
    if not math.isfinite(value):
        return
    color = color_of(index)
    if math.isfinite(error) and error > 0:
        axes.axvspan(value - error, value + error, color=color, alpha=0.15, linewidth=0, zorder=0)
    axes.axvline(value, color=color, linewidth=1.0, linestyle=DASHES[(number + 1) % len(DASHES)])


def _explain_theory(axes: Axes, theory: list[str]) -> None:
    """Say in the first panel what the lines of the theory are."""
    for number, name in enumerate(theory):
        axes.plot(
            [], [], color=GREY, linewidth=1.0, linestyle=DASHES[(number + 1) % len(DASHES)],
            label=label_of(name),
        )  # fmt: skip
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[-len(theory) :], labels[-len(theory) :], loc="best")


# -- heat maps -----------------------------------------------------------------------------------


def _maps(
    scan: Scan, names: list[str], theory: list[str], x: Axis, y: Axis, others: list[Axis]
) -> Figure:
    """Draw quantities over two axes, with the lines that delta_NN is."""
    figure, panels = _panels(scan, names, others)
    rows_of: dict[tuple[str, int], list[tuple[Axes, Any]]] = {}
    at_x, at_y = (np.asarray(axis.values, dtype=np.float64) for axis in (x, y))
    for axes, name, place in panels:
        part = part_of(scan, name, place, y.place, x.place)
        # One scale for all panels of a quantity.
        whole = scan.grid(name)
        known = whole[np.isfinite(whole)]
        settings = _colours(name, known)
        axes.set_facecolor("0.85")
        for which, axis in (("x", x), ("y", y)):
            if axis.is_logarithmic:
                make_logarithmic(axes, which, axis)
        mesh = axes.pcolormesh(
            cell_edges(x), cell_edges(y), np.ma.masked_invalid(part["value"]), rasterized=True,
            **settings,
        )  # fmt: skip
        rows_of.setdefault((name, _row(axes)), []).append((axes, mesh))
        doubtful = (part["statuses"] != Status.SUCCESS.name) & np.isfinite(part["value"])
        rows, columns = np.nonzero(doubtful)
        axes.plot(at_x[columns], at_y[rows], "o", color=GREY, markersize=3, markerfacecolor="white")
        if name.partition("@")[0] == "gap" and np.isfinite(part["value"]).all():
            _zero_line(axes, at_x, at_y, part["value"])
        for number, known_line in enumerate(theory):
            _draw_theory(axes, scan, known_line, {**place, y.place: 0}, x, number)
        axes.set_xlim(cell_edges(x)[0], cell_edges(x)[-1])
        axes.set_ylim(cell_edges(y)[0], cell_edges(y)[-1])
        axes.set_xlabel(x.label)
        place_of = axes.get_subplotspec()
        if place_of is None or place_of.is_first_col():
            axes.set_ylabel(y.label.rpartition("  ")[2])
    for (name, _), row in rows_of.items():
        bar = figure.colorbar(row[-1][1], ax=[axes for axes, _ in row], pad=0.02)
        bar.set_label(label_of(name))
    handles: dict[str, Any] = {}
    for axes, _, _ in panels:
        found, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, found, strict=True))
    if handles:
        legend_below(figure, panels[0][0], list(handles.values()), list(handles), len(handles))
    return figure


def _row(axes: Axes) -> int:
    place = axes.get_subplotspec()
    return 0 if place is None else int(place.rowspan.start)


def _colours(name: str, known: FloatArray) -> dict[str, Any]:
    """Return colours of a heat map: two of them about zero for what changes its sign."""
    if name.partition("@")[0] == "recovery":
        return {"cmap": "viridis", "vmin": 0.0, "vmax": 1.0}
    if len(known) and known.min() < 0.0 < known.max():
        return {"cmap": "PuOr", "norm": CenteredNorm(0.0, float(np.abs(known).max()))}
    if not len(known):
        return {"cmap": "viridis"}
    return {"cmap": "viridis", "vmin": known.min(), "vmax": known.max()}


def _zero_line(axes: Axes, x: FloatArray, y: FloatArray, gap: FloatArray) -> None:
    """Draw where the gap is zero: there delta is delta_NN."""
    if gap.min() < 0.0 < gap.max():
        axes.contour(x, y, gap, levels=[0.0], colors="black", linewidths=1.8)
        axes.plot([], [], color="black", label=r"gap $= 0$:  $\delta_{NN}$")


def _draw_theory(
    axes: Axes, scan: Scan, name: str, place: dict[int, int], x: Axis, number: int
) -> None:
    """Draw a threshold against the horizontal axis, with its errors."""
    part = part_of(scan, name, place, x.place)
    value, error = part["value"], np.nan_to_num(part["error"], posinf=0.0)
    color = ("white", VERMILLION)[number % 2]
    at, known = np.asarray(x.values, dtype=np.float64), np.isfinite(value)
    axes.errorbar(
        at[known], value[known], error[known], color=color, linewidth=1.4, elinewidth=1.4,
        linestyle=DASHES[number % len(DASHES)], zorder=4, label=label_of(name),
        path_effects=[withStroke(linewidth=2.8, foreground="black")],
    )  # fmt: skip


# -- other designs -------------------------------------------------------------------------------


def _scattered(scan: Scan, names: list[str]) -> Figure:
    """Draw quantities against each setting that changes."""
    settings = [Axis(key, 0, values) for key, values in scan.settings.items()]
    settings = [axis for axis in settings if len(set(map(str, axis.values))) > 1] or settings[:1]
    pairs = list(itertools.product(names, settings))[:_MOST_PANELS]
    columns = min(len(settings) if len(settings) > 1 else len(pairs), _MOST_COLUMNS)
    figure, panels = _figure(len(pairs), columns)
    for axes, (name, axis) in zip(panels, pairs, strict=True):
        _scatter(axes, scan, name, axis)
    return figure


def _scatter(axes: Axes, scan: Scan, name: str, axis: Axis) -> None:
    place = scan.column(name)
    value, error = scan.value[:, place], np.nan_to_num(scan.error[:, place], posinf=0.0)
    if axis.is_numeric:
        at, ticks = np.asarray(axis.values, dtype=np.float64), None
    else:
        names = list(dict.fromkeys(map(str, axis.values)))
        at = np.array([names.index(str(entry)) for entry in axis.values], dtype=np.float64)
        ticks = names
    known, good = np.isfinite(value), scan.statuses[:, place] == Status.SUCCESS.name
    axes.errorbar(
        at[known], value[known], error[known], color=color_of(0), linestyle="none", elinewidth=1.0
    )
    filled_marks(
        axes, at[known], value[known], good[known], color=color_of(0), marker="o", markersize=3.0
    )
    if (~known).any():
        axes.plot(
            at[~known], np.full((~known).sum(), 0.03), "x", color=color_of(0), markersize=4.5,
            transform=axes.get_xaxis_transform(), clip_on=False,
        )  # fmt: skip
    name_axis(axes, axis, ticks)
    axes.set_ylabel(label_of(name))
    log_if_wide(axes, value[known])
