"""Figure of runs at finite size over a grid of delta, with the theory's threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dmft._numerics.validation import check_instance, check_real
from dmft.plotting.common import (
    DASHES,
    GREY,
    color_of,
    describe,
    filled_marks,
    format_number,
    log_if_wide,
    log_ticks,
    marker_of,
    new_figure,
    set_title,
)
from dmft.plotting.recovery import draw_predicted
from dmft.studies.recovery_result import RecoveryProbability
from dmft.studies.sweep_result import Sweep
from dmft.threshold.threshold import Threshold
from rmt.canvas import drawing, legend_below

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dmft.studies.logistic import LogisticCrossing

    FloatArray = NDArray[np.float64]
    Given = Threshold | tuple[float, float, str]

__all__ = ["plot_sweep"]

# Sizes share their deltas: marks stand this far apart, as a fraction of the axis.
_STAGGER = 0.009
# Height of the bars that show the intervals of the crossings.
_BAR = 0.032
_POINTS = 400


@drawing
def plot_sweep(
    sweep: Sweep,
    thresholds: Given | Iterable[Given] | None = None,
    recovery: RecoveryProbability | None = None,
) -> Figure:
    """Draw recovery, test loss and, where recorded, the smallest eigenvalue against delta.

    Parameters
    ----------
    sweep : Sweep
    thresholds : Threshold, (value, standard error, label), or a sequence of these, optional
        The theory's delta_NN: a vertical line in every panel, as wide as its standard error.
    recovery : RecoveryProbability, optional
        Predicted recovery, a band of 68 % for each size.

    Returns
    -------
    matplotlib.figure.Figure
        Recovery probability with 68 % intervals, the logistic curve of each size, and about one
        half a bar that spans the 95 % interval of its crossing; the test loss of every run at the
        end, with a line through the medians; and if the sweep has a ``hessian_step``, smallest
        eigenvalue and hard overlap of its eigenvector there. Sizes stand side by side, told apart
        by colour and marker; marks of runs that recovered are filled.

    Raises
    ------
    ValueError
        If an argument is of another kind.
    """
    check_instance("sweep", sweep, Sweep)
    lines = _checked(thresholds)
    has_hessian = sweep.hessian_step is not None
    if has_hessian:
        figure, panels = new_figure((7.0, 5.4), 2, 2)
    else:
        figure, panels = new_figure((7.0, 3.2), 1, 2)
    for axes in panels:
        _limit(axes, sweep, lines)
        for index, (value, stderr, label) in enumerate(lines):
            _draw_threshold(axes, value, stderr, label, index)
    _draw_probability(panels[0], sweep)
    if recovery is not None:
        check_instance("recovery", recovery, RecoveryProbability)
        draw_predicted(panels[0], recovery, sweep.d)
    _draw_runs(panels[1], sweep, sweep.test_loss)
    panels[1].set_ylabel(f"test loss at step {sweep.n_steps}")
    losses = sweep.test_loss[np.isfinite(sweep.test_loss)]
    if losses.min(initial=np.inf) > 0:
        log_if_wide(panels[1], losses)
    if len(losses) and panels[1].get_yscale() == "linear":
        panels[1].set_ylim(0.0, 1.06 * losses.max())
    if has_hessian:
        _draw_runs(panels[2], sweep, sweep.smallest_eigenvalue)
        panels[2].set_ylabel(f"smallest eigenvalue\nat step {sweep.hessian_step}")
        _draw_runs(panels[3], sweep, sweep.hard_overlap)
        panels[3].set_ylabel("hard overlap\nof its eigenvector")
        panels[3].set_ylim(-0.03, 1.03)
    count = f"{len(sweep.seeds)} seed{'s' if len(sweep.seeds) != 1 else ''} per point"
    set_title(
        figure,
        f"{describe(sweep.config)}\n{count}, recovered "
        rf"if $\cos^2 \geq {sweep.recovery:g}$ within {sweep.n_steps} steps",
    )
    _legend(figure, panels[0], len(lines) + (recovery is not None))
    return figure


def _checked(thresholds: Given | Iterable[Given] | None) -> list[tuple[float, float, str]]:
    if thresholds is None:
        return []
    message = (
        "thresholds must be a Threshold, a (value, standard error, label), or a sequence of these"
    )
    if isinstance(thresholds, Threshold) or (
        isinstance(thresholds, tuple) and len(thresholds) == 3 and isinstance(thresholds[2], str)
    ):
        thresholds = [thresholds]
    try:
        entries = list(thresholds)
    except TypeError:
        raise ValueError(f"{message}, got {type(thresholds).__name__}") from None
    lines = []
    for entry in entries:
        if isinstance(entry, Threshold):
            name = rf"theory, $\delta_{{\mathrm{{NN}}}}({entry.step})$"
            ending = format_number(entry.value, entry.stderr) if entry.status.ok else ""
            label = f"{name} = {ending}" if ending else f"{name}: {entry.status.name}"
            lines.append((entry.value, entry.stderr, label))
            continue
        if not (isinstance(entry, tuple) and len(entry) == 3 and isinstance(entry[2], str)):
            raise ValueError(f"{message}, got {entry!r}")
        value = check_real("value of a threshold", entry[0], minimum=0.0, exclusive=True)
        stderr = check_real("standard error of a threshold", entry[1], minimum=0.0)
        lines.append((value, stderr, f"{entry[2]} = {format_number(value, stderr)}"))
    return lines


def _limit(axes: Axes, sweep: Sweep, lines: list[tuple[float, float, str]]) -> None:
    shown = [*sweep.deltas, *(value for value, _, _ in lines if np.isfinite(value))]
    axes.set_xscale("log")
    log_ticks(axes, (min(shown), max(shown) if max(shown) > min(shown) else 1.1 * min(shown)))
    axes.set_xlabel(r"samples per dimension  $\delta = n/d$")


def _draw_threshold(axes: Axes, value: float, stderr: float, label: str, index: int) -> None:
    if not np.isfinite(value):
        axes.plot([], [], " ", label=label)
        return
    if np.isfinite(stderr) and stderr > 0:
        low, high = max(value - stderr, 1e-3 * value), value + stderr
        axes.axvspan(low, high, color=GREY, alpha=0.25, linewidth=0, zorder=0)
    axes.axvline(
        value, color=GREY, linewidth=1, zorder=1, label=label,
        linestyle=DASHES[(index + 1) % len(DASHES)],
    )  # fmt: skip


def _legend(figure: Figure, axes: Axes, n_lines: int) -> None:
    """Make a legend of sizes in the left column, theory and marks in the right one."""
    handles, labels = axes.get_legend_handles_labels()
    marks: dict[str, Any] = {"marker": "o", "color": GREY, "markersize": 5, "linestyle": "none"}
    sizes = list(zip(handles[n_lines:], labels[n_lines:], strict=True))
    others = list(zip(handles[:n_lines], labels[:n_lines], strict=True))
    others.append((Line2D([], [], **marks), "recovered"))
    others.append((Line2D([], [], markerfacecolor="white", **marks), "not recovered"))
    blank = Line2D([], [], linestyle="none"), ""
    rows = max(len(sizes), len(others))
    entries = sizes + [blank] * (rows - len(sizes)) + others + [blank] * (rows - len(others))
    handles, labels = [handle for handle, _ in entries], [label for _, label in entries]
    legend_below(figure, axes, handles, labels, ncols=2)


def _staggered(sweep: Sweep, axes: Axes, index: int) -> FloatArray:
    """Return the deltas, moved a little for each size."""
    low, high = axes.get_xlim()
    offset = (index - (len(sweep.d) - 1) / 2) * _STAGGER
    return np.asarray(sweep.deltas * (high / low) ** offset)


def _draw_probability(axes: Axes, sweep: Sweep) -> None:
    probability = sweep.probability
    lower, upper = sweep.probability_interval(0.68)
    axes.axhline(0.5, color=GREY, linewidth=0.5, zorder=0)
    for index, d in enumerate(sweep.d):
        crossing, color = sweep.crossing(d), color_of(index)
        bars = [probability[index] - lower[index], upper[index] - probability[index]]
        axes.errorbar(
            _staggered(sweep, axes, index), probability[index], np.maximum(bars, 0.0),
            markersize=3.4, capsize=1.7, elinewidth=0.7, zorder=3, linestyle="none",
            label=f"$d = {d}$: {_crossing_label(crossing)}", **marker_of(index),
        )  # fmt: skip
        if not crossing.status.ok:
            continue
        x = np.geomspace(sweep.deltas[0], sweep.deltas[-1], _POINTS)
        axes.plot(x, crossing.probability(x), color=color, linewidth=1, zorder=2)
        ends = np.clip([crossing.lower, crossing.upper], *axes.get_xlim())
        height = 0.5 + (index - (len(sweep.d) - 1) / 2) * _BAR
        axes.plot(ends, [height, height], color=color, linewidth=3.1, alpha=0.4, zorder=2)
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("recovery probability")


def _crossing_label(crossing: LogisticCrossing) -> str:
    if not crossing.status.ok:
        return "no crossing on the grid"
    digits = _digits(crossing)
    low = f"{crossing.lower:.{digits}f}" if crossing.lower > 0 else "below"
    high = f"{crossing.upper:.{digits}f}" if np.isfinite(crossing.upper) else "above"
    return f"crossing {crossing.value:.{digits}f} (95 %: {low} to {high})"


def _digits(crossing: LogisticCrossing) -> int:
    """Return the decimals that show the interval to two digits."""
    ends = np.array([crossing.value - crossing.lower, crossing.upper - crossing.value])
    scale = float(np.min(ends[np.isfinite(ends)], initial=crossing.value))
    return int(np.clip(1 - np.floor(np.log10(max(scale, 1e-3))), 0, 3))


def _draw_runs(axes: Axes, sweep: Sweep, values: FloatArray) -> None:
    """Draw every run as a mark, recovered ones filled, with a line through the medians."""
    for index in range(len(sweep.d)):
        x = np.broadcast_to(_staggered(sweep, axes, index)[:, np.newaxis], values[index].shape)
        finite = np.isfinite(values[index])
        filled_marks(
            axes, x[finite], values[index][finite], sweep.recovered[index][finite],
            markersize=2.7, markeredgewidth=0.6, alpha=0.55, zorder=2, **marker_of(index),
        )  # fmt: skip
        some = finite.any(axis=1)
        medians = [float(np.median(row[np.isfinite(row)])) for row in values[index][some]]
        axes.plot(sweep.deltas[some], medians, color=color_of(index), linewidth=1, zorder=3)
    axes.yaxis.set_major_locator(MaxNLocator(6))
