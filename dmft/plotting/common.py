"""What the figures share: canvas, palette, a curve with its band, words and numbers.

Figures are built on the Agg canvas without pyplot, so no window opens and no global state changes;
in a notebook a returned figure shows itself.
"""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from dmft.io.results import whole_file
from dmft.model.classification import describe_label
from dmft.training.gradient_descent import describe_method
from rmt.plotting import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, Canvas, style

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from matplotlib.axes import Axes
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
    "ORANGE",
    "PURPLE",
    "SKY",
    "VERMILLION",
    "broken",
    "config_of",
    "describe",
    "draw_band",
    "format_number",
    "hard_coordinates",
    "log_subs",
    "log_ticks",
    "logarithmic_after",
    "name_of",
    "new_figure",
    "save_figure",
    "sentence",
    "set_title",
    "style",
]

# Of a title, on average.
_LETTERS_PER_INCH = 10.5

# Curves are told apart by colour and by dashes.
CYCLE: Final = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
DASHES: Final[tuple[Any, ...]] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
)


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
    with style():
        figure.savefig(drawn, format=kind)
    with whole_file(target) as stream:
        stream.write(drawn.getbuffer())
    return target


def new_figure(
    size: tuple[float, float],
    rows: int = 1,
    columns: int = 1,
    widths: tuple[float, ...] | None = None,
    heights: tuple[float, ...] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Figure of the given size in inches on its own canvas, and its panels row by row.

    Call it, and all drawing, under `style`.
    """
    figure = Figure(figsize=size, layout="constrained")
    Canvas(figure)
    panels = figure.subplots(
        rows, columns, squeeze=False, width_ratios=widths, height_ratios=heights
    )
    return figure, list(panels.ravel())


def describe(config: Mapping[str, Any]) -> str:
    """Problem and method in one line."""
    problem, method = config.get("problem"), config.get("method")
    parts = []
    if problem:
        activation = problem["network"]["activation"]
        m = len(problem["network"]["second_layer"])
        neurons = f"{m} {name_of(activation)} neuron{'s' if m > 1 else ''}"
        parts += [
            name_of(describe_label(problem["target"])),
            neurons,
            f"{name_of(problem['loss'])} loss",
        ]
        if problem["weight_decay"]:
            parts.append(rf"$\lambda = {problem['weight_decay']:g}$")
    if method and "step_size" in method:
        if method.keys() == {"step_size", "n_steps"} and has_one_step_size(method):
            parts.append(rf"$\eta = {method['step_size']:g}$")
        else:
            parts.append(describe_method(method))
    return ", ".join(parts)


def set_title(figure: Figure, text: str, color: str = "black") -> None:
    """Put a title above a figure, broken after commas where it would be wider than the figure."""
    figure.suptitle(broken(text, figure), fontsize=12, color=color)


def broken(text: str, figure: Figure) -> str:
    """Return a title in lines no wider than the figure, broken after commas."""
    most = int(_LETTERS_PER_INCH * figure.get_figwidth())
    lines = []
    for line in text.split("\n"):
        start = ""
        for part in line.split(", "):
            joined = f"{start}, {part}" if start else part
            if start and len(joined) > most:
                lines.append(f"{start},")
                joined = part.lstrip()
            start = joined
        lines.append(start)
    return "\n".join(lines)


def has_one_step_size(method: Mapping[str, Any]) -> bool:
    """Whether the method of a configuration is gradient descent with steps of one size."""
    return isinstance(method.get("step_size"), float)


def name_of(entry: str | Mapping[str, str]) -> str:
    """Catalogue name, or that of a custom law; nothing in it is taken for mathematics."""
    name = entry if isinstance(entry, str) else entry["custom"]
    return name.replace("$", r"\$")


def format_number(value: float, stderr: float) -> str:
    """Value and standard error, rounded to two digits of the error."""
    if not (np.isfinite(stderr) and stderr >= 5e-7):  # nothing of it would be seen
        return f"${value:.4g}$"
    digits = int(np.clip(1 - np.floor(np.log10(stderr)), 0, 6))
    return rf"${value:.{digits}f} \pm {stderr:.{digits}f}$"


def sentence(status: Status) -> str:
    """First clause of what a status says, in short lines."""
    text = f"{status.name}: {status.value.split(';')[0].rstrip('.')}."
    return textwrap.fill(text, 64)


def log_ticks(axes: Axes, bracket: tuple[float, float]) -> None:
    """Plain numbers on a logarithmic axis that may span less than a decade."""
    lower, upper = bracket
    pad = (upper / lower) ** 0.03
    axes.set_xlim(lower / pad, upper * pad)
    subs = (1.0, 2.0, 3.0, 5.0, 7.0) if upper / lower < 50 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def draw_band(
    axes: Axes, t: NDArray[Any], value: FloatArray, error: FloatArray, index: int, label: str | None
) -> None:
    """One curve with a band of one standard error, told apart by colour and by dashes."""
    color = CYCLE[index % len(CYCLE)]
    finite = np.isfinite(value)
    axes.plot(
        t[finite], value[finite], color=color, linestyle=DASHES[index % len(DASHES)], label=label,
        marker="o" if finite.sum() == 1 else None,
    )  # fmt: skip
    axes.fill_between(
        t, value - error, value + error, where=finite.tolist(), color=color, alpha=0.25, linewidth=0
    )


def hard_coordinates(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Which latent coordinates lie in the hard space."""
    if trajectory.problem is not None:
        projector = trajectory.problem.target.easy_projector
        return np.asarray(~np.any(projector, axis=0))
    return np.asarray(~np.any(trajectory.overlap, axis=(0, 1)))


def config_of(trajectory: Trajectory) -> Mapping[str, Any]:
    """Problem and method as plain types, for `describe`."""
    problem = trajectory.problem.to_config() if trajectory.problem is not None else None
    return {"problem": problem, "method": trajectory.method.to_config()}


def logarithmic_after(axes: Axes, first: float, last: float, with_zero: bool) -> None:
    """Scale, range and ticks from 0 (or the first point) to the last."""
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
    """Multiples of powers of ten that get a number, on a logarithmic axis of such length."""
    return (1.0, 2.0, 5.0) if last < 100 * first else (1.0,)
