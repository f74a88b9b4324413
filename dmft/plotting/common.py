"""Canvas, palette, axes, bands, marks, words and numbers of all figures.

Figures are built on the Agg canvas without pyplot, so no window opens and no global state changes;
in a notebook a returned figure shows itself.
"""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib import rcParams
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from dmft._numerics.value_text import value_text
from dmft.io.results import whole_file
from dmft.io.stamps import figure_metadata
from dmft.model.catalogue import law_name
from dmft.model.problem_text import describe_problem
from dmft.training.gradient_descent import describe_method
from dmft.training.methods import horizon
from rmt.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    broken,
    is_own,
    new_figure,
    style,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dmft.trajectory.trajectory import Trajectory
    from rmt.status import Status

    FloatArray = NDArray[np.float64]

__all__ = [
    "BLUE",
    "CYCLE",
    "DASHES",
    "GREEN",
    "GREY",
    "MARKERS",
    "ORANGE",
    "PURPLE",
    "SKY",
    "VERMILLION",
    "broken",
    "color_of",
    "describe",
    "draw_band",
    "fill_band",
    "filled_marks",
    "flatten_rounding",
    "format_number",
    "hard_coordinates",
    "leave_room",
    "log_if_wide",
    "log_subs",
    "log_ticks",
    "logarithmic_after",
    "look",
    "mark_missing",
    "marker_of",
    "name_of",
    "name_step",
    "new_figure",
    "plain_ticks",
    "save_figure",
    "say_within",
    "sentence",
    "set_title",
    "step_axis",
    "style",
    "time_label",
]

_WIDE = 30.0
_ROUNDING = 1e-9
PLUS_MINUS: Final = r"\pm"

# Curves are told apart by colour and by dashes.
CYCLE: Final = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
DASHES: Final[tuple[Any, ...]] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
)
MARKERS: Final = "osD^v"


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure; the file appears complete or not at all.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path-like
        The suffix (``.png``, ``.pdf``, ``.svg``) says the format.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    ValueError
        If the suffix is none that matplotlib can write.
    OSError
        If the directory cannot be written.
    """
    target = Path(path)
    allowed = figure.canvas.get_supported_filetypes()
    kind = target.suffix[1:].lower()
    if kind not in allowed:
        raise ValueError(f"path must end in one of {', '.join(sorted(allowed))}; got {str(path)!r}")
    drawn = io.BytesIO()
    with style(getattr(figure.canvas, "settings", None)):
        figure.savefig(drawn, format=kind, metadata=figure_metadata(kind) or None)
    with whole_file(target) as stream:
        stream.write(drawn.getbuffer())
    return target


def describe(config: Mapping[str, Any]) -> str:
    """Describe problem and method in one line."""
    problem, method = config.get("problem"), config.get("method")
    parts = []
    if problem:
        parts.append(describe_problem(problem).replace("$", r"\$"))
    if method and "step_size" in method:
        if method.keys() == {"step_size", "n_steps"} and has_one_step_size(method):
            parts.append(rf"$\eta = {method['step_size']:g}$")
        else:
            parts.append(describe_method(method))
    elif method and method.get("constraint"):
        parts.append("on spheres")
    return ", ".join(parts)


def set_title(figure: Figure, text: str, color: str = "black") -> None:
    """Put a title above a figure made here, in lines no wider than it."""
    if is_own(figure):
        figure.suptitle(broken(text, figure), color=color)


def has_one_step_size(method: Mapping[str, Any]) -> bool:
    """Return whether a method is gradient descent with steps of one size."""
    return isinstance(method.get("step_size"), float)


def name_of(entry: str | Mapping[str, Any]) -> str:
    """Return a catalogue name, or that of a custom object, with no mathematics in it."""
    return law_name(entry).replace("$", r"\$")


def format_number(value: float, stderr: float) -> str:
    """Write a value and its standard error as mathematics."""
    # Of a smaller error nothing would be seen.
    return f"${value_text(value, stderr, most=6, plain='.4g', smallest=5e-7, sign=PLUS_MINUS)}$"


def sentence(status: Status, width: int = 64) -> str:
    """Return the first clause of a status in short lines."""
    text = f"{status.name}: {status.value.split(';')[0].rstrip('.')}."
    return textwrap.fill(text, width)


def log_ticks(axes: Axes, bracket: tuple[float, float]) -> None:
    """Put plain numbers on a logarithmic axis that may span less than a decade."""
    lower, upper = bracket
    pad = (upper / lower) ** 0.03
    axes.set_xlim(lower / pad, upper * pad)
    plain_ticks(axes.xaxis, (1.0, 2.0, 3.0, 5.0, 7.0) if upper / lower < 50 else (1.0, 2.0, 5.0))


def plain_ticks(axis: Axis, subs: tuple[float, ...]) -> None:
    """Put plain numbers at these multiples of powers of ten."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def step_axis(axes: Axes) -> None:
    """Name the steps, with a few ticks at integers."""
    axes.set_xlabel("step $t$")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def log_if_wide(axes: Axes, values: NDArray[Any]) -> None:
    """Make the vertical axis logarithmic where positive values span many decades."""
    values = values[values > 0]  # NaN compares false
    if values.size and values.max() > _WIDE * values.min():
        axes.set_yscale("log")


def flatten_rounding(axes: Axes) -> None:
    """Widen the vertical range where all that is seen in it is rounding."""
    low, high = axes.get_ylim()
    size = max(abs(low), abs(high))
    if axes.get_yscale() == "linear" and high - low < _ROUNDING * size:
        axes.set_ylim(0.5 * (low + high) - 0.05 * size, 0.5 * (low + high) + 0.05 * size)


def name_step(config: Mapping[str, Any], step: int) -> str:
    """Name a step: by its number, or by its time in a gradient flow."""
    kind = "time" if "times" in config["method"] else "step"
    return f"{kind} {horizon(config['method'], step)}"


def time_label(config: Mapping[str, Any]) -> str:
    """Name the time of a method: that of a flow, or the sum of the step sizes."""
    if "step_size" not in config["method"]:
        return "time  $t$"
    one_size = has_one_step_size(config["method"])
    return r"time  $\eta t$" if one_size else r"time  $\sum_t \eta_t$"


def leave_room(figure: Figure) -> None:
    """Leave room between panels for what stands at their right margin."""
    engine = figure.get_layout_engine()
    if is_own(figure) and isinstance(engine, ConstrainedLayoutEngine):
        engine.set(wspace=0.06)


def color_of(index: int) -> str:
    """Return a colour of the palette in use."""
    colors = rcParams["axes.prop_cycle"].by_key().get("color", CYCLE)
    return str(colors[index % len(colors)])


def look(index: int) -> dict[str, Any]:
    """Return colour and dashes of a curve."""
    return {"color": color_of(index), "linestyle": DASHES[index % len(DASHES)]}


def marker_of(index: int) -> dict[str, Any]:
    """Return colour and marker of a size."""
    return {"color": color_of(index), "marker": MARKERS[index % len(MARKERS)]}


def fill_band(
    axes: Axes,
    x: NDArray[Any],
    value: FloatArray,
    error: FloatArray,
    color: str,
    lower: FloatArray | None = None,
) -> None:
    """Fill one standard error about a curve."""
    lower = value - error if lower is None else lower
    axes.fill_between(x, lower, value + error, color=color, alpha=0.25, linewidth=0)


def filled_marks(
    axes: Axes, x: NDArray[Any], y: NDArray[Any], filled: NDArray[np.bool_], **marks: Any
) -> None:
    """Draw points without a line, filled or open."""
    for chosen, face in ((filled, marks["color"]), (~filled, "white")):
        axes.plot(x[chosen], y[chosen], linestyle="none", markerfacecolor=face, **marks)


def mark_missing(
    axes: Axes, x: NDArray[Any], color: str, row: int = 0, label: str | None = None
) -> None:
    """Draw crosses at the bottom of a panel, in a row of their own for each curve."""
    if len(x):
        axes.plot(
            x, np.full(len(x), 0.03 + 0.05 * row), "x", color=color, markersize=4.5,
            markeredgewidth=1.1, transform=axes.get_xaxis_transform(), label=label, clip_on=False,
        )  # fmt: skip


def say_within(axes: Axes, text: str, color: str) -> None:
    """Write in the middle of a panel that has nothing to show."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=color)


def draw_band(
    axes: Axes, t: NDArray[Any], value: FloatArray, error: FloatArray, index: int, label: str | None
) -> None:
    """Draw a curve with a band of one standard error, told apart by colour and by dashes."""
    finite = np.isfinite(value)
    axes.plot(
        t[finite], value[finite], **look(index), label=label,
        marker="o" if finite.sum() == 1 else None,
    )  # fmt: skip
    fill_band(axes, t, value, error, color_of(index))


def hard_coordinates(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Return which latent coordinates lie in the hard space."""
    if trajectory.problem is not None:
        projector = trajectory.problem.target.easy_projector
        return np.asarray(~np.any(projector, axis=0))
    return np.asarray(~np.any(trajectory.overlap, axis=(0, 1)))


def logarithmic_after(axes: Axes, first: float, last: float, with_zero: bool) -> None:
    """Set scale, range and ticks from 0 (or the first point) to the last."""
    pad = (last / first) ** 0.03 if last > first else 1.1
    if with_zero:
        axes.set_xscale("symlog", linthresh=first, linscale=0.4)
        axes.set_xlim(-0.25 * first, last * pad)
    else:
        axes.set_xscale("log")
        axes.set_xlim(first / pad, last * pad)
    locator = LogLocator(subs=log_subs(first, last))
    ticks = [float(tick) for tick in locator.tick_values(first, last)]
    ticks = [tick for tick in ticks if 1.5 * first <= tick <= last * pad or tick == first]
    axes.xaxis.set_major_locator(FixedLocator([0.0, *ticks] if with_zero else ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def log_subs(first: float, last: float) -> tuple[float, ...]:
    """Return the multiples of powers of ten that get a number on a logarithmic axis."""
    return (1.0, 2.0, 5.0) if last < 100 * first else (1.0,)
