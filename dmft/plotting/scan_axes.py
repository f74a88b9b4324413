"""Axes of the figures of scans: settings with their names, values, scales, and cells."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from dmft.plotting.common import log_subs
from dmft.scans.quantities import QUANTITIES
from dmft.scans.readings import ReadingName

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from dmft.scans.scan_result import Scan

    FloatArray = NDArray[np.float64]

__all__ = [
    "DELTAS",
    "Axis",
    "cell_edges",
    "computation_of",
    "label_of",
    "make_logarithmic",
    "name_axis",
    "part_of",
    "positions",
]

_LABELS: Final = {
    "delta": r"samples per dimension  $\delta = n/d$",
    "method.n_steps": "number of steps",
    "method.step_size": r"step size  $\eta$",
    "method.t_max": "time",
    "network.neurons": r"neurons  $m$",
    "problem.init_radius": r"initial radius  $\rho$",
    "problem.weight_decay": r"weight decay  $\lambda$",
    "spectrum.delta": r"samples per dimension  $\delta = n/d$",
    "spectrum.step": "step  $t$",
    "sweep.d": r"dimension  $d$",
    "target.noise": "label noise",
    "threshold.step": "step  $t$",
    "trajectory.delta": r"samples per dimension  $\delta = n/d$",
}
DELTAS: Final = ("delta", "trajectory.delta", "spectrum.delta")
_WIDE: Final = 8.0
_LONG: Final = 24  # letters of a line of the name of a value


@dataclass(frozen=True)
class Axis:
    """An axis of a product, or a setting of another design."""

    key: str
    place: int
    values: list[Any]

    @property
    def is_numeric(self) -> bool:
        """Whether all values are finite numbers."""
        numbers = [v for v in self.values if isinstance(v, int | float) and not isinstance(v, bool)]
        return len(numbers) == len(self.values) and bool(np.isfinite(numbers).all())

    @property
    def label(self) -> str:
        """Name of the axis, a symbol after two spaces."""
        return _LABELS.get(self.key, self.key.rpartition(".")[2].replace("_", " "))

    @property
    def is_logarithmic(self) -> bool:
        """Whether values are spaced, or spread, as on a logarithmic axis."""
        x = np.unique(np.asarray(self.values, dtype=np.float64))
        if len(x) < 3 or x[0] <= 0:
            return False
        steps = np.diff(np.log(x))
        if np.ptp(steps) < 1e-3 * steps.max():
            return True
        # Spread like numbers even in the logarithm, whose median is the geometric mean of the ends.
        middle, ends = math.log(np.median(x)), (x[0], x[-1])
        logarithmic = abs(middle - 0.5 * math.log(ends[0] * ends[1]))
        return bool(
            ends[1] > _WIDE * ends[0] and logarithmic < abs(middle - math.log(0.5 * sum(ends)))
        )

    def name(self, index: int) -> str:
        """Name a value in a legend or title."""
        value = self.values[index]
        shown = _shown(value).replace("$", r"\$")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return f"{self.label.split('  ')[-1]} = {shown}" if is_number else shown


def _shown(value: Any) -> str:
    """Write a value of any kind that a run file has; None is one that a point does not state."""
    if isinstance(value, str):
        return value.rpartition(":")[2]  # of a law of one's own its name
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_shown, value))})"
    if isinstance(value, dict):  # its law first, under whatever key
        words = [
            _shown(entry) if isinstance(entry, str) else f"{key} = {_shown(entry)}"
            for key, entry in value.items()
        ]
        return ", ".join(words)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:g}"


def computation_of(name: str) -> str:
    """Return the computation that a quantity is read from."""
    return QUANTITIES[ReadingName.parse(name).quantity].computation


def label_of(name: str) -> str:
    """Name a quantity, with its entry and step."""
    parsed = ReadingName.parse(name)
    text = QUANTITIES[parsed.quantity].label
    if parsed.indices:
        text += f"$_{{{','.join(map(str, parsed.indices))}}}$"
    return text if parsed.step is None else f"{text}  at $t = {parsed.step}$"


def positions(x: Axis) -> tuple[FloatArray, list[str] | None]:
    """Return where values stand, and the names of those that are no numbers."""
    if x.is_numeric:
        return np.asarray(x.values, dtype=np.float64), None
    names = [x.name(index) for index in range(len(x.values))]
    return np.arange(len(names), dtype=np.float64), names


def name_axis(axes: Axes, x: Axis, ticks: list[str] | None) -> None:
    """Name the horizontal axis and, where they are no numbers, its values."""
    if ticks is not None:
        # Tables, of inputs say, are long.
        ticks = [textwrap.fill(tick, _LONG, max_lines=3, placeholder=" ...") for tick in ticks]
        turned = sum(map(len, ticks)) > 34
        axes.set_xticks(range(len(ticks)), ticks, rotation=30 if turned else 0,
                        ha="right" if turned else "center")  # fmt: skip
        axes.set_xlim(-0.5, len(ticks) - 0.5)
    elif x.is_logarithmic:
        make_logarithmic(axes, "x", x)
    axes.set_xlabel(x.label)


def make_logarithmic(axes: Axes, which: str, axis: Axis) -> None:
    """Make an axis logarithmic, with plain numbers."""
    getattr(axes, f"set_{which}scale")("log")
    one = getattr(axes, f"{which}axis")
    values = [float(value) for value in axis.values]
    one.set_major_locator(LogLocator(subs=log_subs(min(values), max(values))))
    one.set_minor_locator(NullLocator())
    one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def cell_edges(axis: Axis) -> FloatArray:
    """Return the borders of cells about the values of an axis."""
    x = np.asarray(axis.values, dtype=np.float64)
    if axis.is_logarithmic:
        x = np.log(x)
    middle = 0.5 * (x[1:] + x[:-1])
    edges = np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])
    return np.exp(edges) if axis.is_logarithmic else edges


def part_of(scan: Scan, name: str, place: dict[int, int], *kept: int) -> dict[str, NDArray[Any]]:
    """Return value, error and status of a quantity at a place, along the axes kept, in order."""
    index = tuple(
        slice(None) if axis in kept else place.get(axis, 0) for axis in range(len(scan.shape))
    )
    found = {}
    for what in ("value", "error", "statuses"):
        part = scan.grid(name, what)[index]
        found[what] = part if kept == tuple(sorted(kept)) else part.T
    return found
