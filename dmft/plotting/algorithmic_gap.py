"""Figure of delta_NN of several networks against delta_alg, and of the step size."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from dmft.model.classification import describe_label
from dmft.plotting.common import (
    DASHES,
    GREY,
    VERMILLION,
    color_of,
    fill_band,
    filled_marks,
    format_number,
    leave_room,
    log_subs,
    logarithmic_after,
    look,
    mark_missing,
    name_of,
    new_figure,
    plain_ticks,
    say_within,
    sentence,
    set_title,
    time_label,
)
from dmft.solver.stability import SHARE_TOLERANCE
from dmft.training.gradient_descent import describe_method
from rmt.canvas import drawing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dmft.studies.algorithmic_threshold import AlgorithmicGap
    from dmft.studies.step_axis import EigenvalueCheck, StepAxis, StepSeries
    from dmft.threshold.curve import ThresholdCurve

    FloatArray = NDArray[np.float64]

__all__ = ["plot_algorithmic_gap"]

_LINE = 0.078  # height of a label, in panels
_UNSTABLE = "unstable paths matter"
_REUSE, _FRESH = "same samples in each step", "fresh samples in each step"


@drawing
def plot_algorithmic_gap(result: AlgorithmicGap) -> Figure:
    """Draw delta_NN against time for each network, with delta_alg; against the step size.

    Parameters
    ----------
    result : AlgorithmicGap

    Returns
    -------
    matplotlib.figure.Figure
        First: delta_NN(t) of each network with a band of one standard error, on a logarithmic axis
        of time with time 0 at its left end, and delta_alg. Next, where it was asked for: delta_NN
        at one time against the step size, gradient flow at the left end; then the smallest
        eigenvalue of the Hessian at the largest step size, and the overlap of its eigenvector with
        the hard directions, with simulations. Thick bars: error of the difference from the first
        point. Open marks: unstable paths carry more than 1 % of an average; with simulations, too
        close to the edge to be compared. Crosses at the bottom: no value.
    """
    axis = result.step_axis
    columns = 1 + (axis is not None) + bool(axis is not None and axis.check)
    if columns < 3:
        figure, panels = new_figure((3.9 if columns == 1 else 7.0, 2.9), 1, columns)
    else:
        figure, panels = new_figure((7.0, 5.4), 2, 2)
    _draw_curves(panels[0], result)
    if axis is not None:
        index = list(result.curves).index(axis.network)
        _draw_steps(panels[1], axis, index)
        if axis.check:
            _draw_check(panels[2], panels[3], axis, index)
    target, method = result.config["target"], result.config["method"]
    noise = f" + {target['noise']:g} noise" if target.get("noise") else ""
    how = describe_method(method) if "step_size" in method else "gradient flow"
    losses = {name_of(curve.config["problem"]["loss"]) for curve in result.curves.values()}
    loss = f", {losses.pop()} loss" if len(losses) == 1 else ""
    title = f"{name_of(describe_label(target))}{noise}{loss}, {how}"
    if not result.status.ok:
        title += f"\n{sentence(result.status)}"
    color = "black" if result.status.ok else VERMILLION
    set_title(figure, title, color)
    leave_room(figure)  # for the names
    return figure


# -- against time --------------------------------------------------------------------------------


def _draw_curves(axes: Axes, result: AlgorithmicGap) -> None:
    curves = list(result.curves.items())
    _time_axis(axes, curves[0][1])
    axes.set_yscale("log")
    axes.set_ylabel(r"threshold  $\delta_{\mathrm{NN}}(t)$")
    ends: list[tuple[str, float, str]] = []
    shown: list[float] = []
    for index, (name, curve) in enumerate(curves):
        color = color_of(index)
        known = np.isfinite(curve.value)
        t, value = curve.times[known], curve.value[known]
        error = curve.error[known]
        if len(t):
            lower = np.maximum(value - error, 0.1 * value)
            fill_band(axes, t, value, error, color, lower)
            unstable = curve.unstable_share[known] > SHARE_TOLERANCE
            _draw_points(axes, t, value, unstable, _look(index, False), name)
            ends.append((name, float(value[-1]), color))
            shown += [float(lower.min()), float((value + error).max())]
        mark_missing(axes, curve.times[~known], color, index)
        if not len(t):
            ends.append((f"{name}: none", np.nan, color))
    delta, delta_error = result.delta_alg, result.delta_alg_stderr
    with_delta = bool(np.isfinite(delta) and delta > 0.0)
    if with_delta:
        shown.append(delta)
    if shown:
        low, high = min(shown), max(shown)
        pad = (high / low) ** 0.08 if high > low else 1.2
        missing = any(np.isnan(curve.value).any() for _, curve in curves)
        foot = (high / low) ** 0.15 if missing else 1.0  # for crosses
        axes.set_ylim(low / pad / foot, high * pad)
        few = high < 15.0 * low
        subs = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0) if few else log_subs(low, high)
        plain_ticks(axes.yaxis, subs)
    if with_delta:
        # Four digits are more than can be seen.
        shown_delta = format_number(delta, delta_error if delta_error > 1e-4 * delta else 0.0)
        lower_end = max(delta - delta_error, 0.1 * delta)
        axes.axhspan(lower_end, delta + delta_error, color="black", alpha=0.15, linewidth=0)
        axes.axhline(delta, color="black", linestyle="--", linewidth=1, label="delta_alg")
        axes.annotate(
            rf"$\delta_{{\mathrm{{alg}}}} =\ ${shown_delta}", (0.98, delta),
            xycoords=("axes fraction", "data"), xytext=(0, 4), textcoords="offset points",
            ha="right", va="bottom",
        )  # fmt: skip
    else:
        infinite = bool(np.isinf(delta))
        words = r"$\delta_{\mathrm{alg}} = \infty$" if infinite else "no hard direction"
        if result.hardness is None:
            words = r"$\delta_{\mathrm{alg}}$ is known for Gaussian inputs only"
        axes.text(0.98, 0.03, words, transform=axes.transAxes, ha="right", va="bottom")
    if any((curve.unstable_share > SHARE_TOLERANCE).any() for _, curve in curves):
        (mark,) = axes.plot([], [], "o", color=GREY, markerfacecolor="white", label=_UNSTABLE)
        axes.legend(handles=[mark], loc="upper left")
    _label_ends(axes, ends)


def _draw_points(
    axes: Axes,
    x: FloatArray,
    value: FloatArray,
    unstable: NDArray[np.bool_],
    look: tuple[str, Any],
    name: str,
) -> None:
    """Draw a line with a mark for each point, open where it is unstable."""
    color, dashes = look
    axes.plot(x, value, color=color, linestyle=dashes, label=name)
    filled_marks(axes, x, value, ~unstable, marker="o", color=color, markersize=3.1, zorder=3)


def _label_ends(axes: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    """Write names at the right end of their curves, moved apart where they would overlap."""
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = [
        float(to_axes.transform((axes.get_xlim()[1], value))[1]) if np.isfinite(value) else 0.0
        for _, value, _ in ends
    ]
    for (name, value, color), height, place in zip(ends, heights, _spread(heights), strict=True):
        axes.annotate(
            name_of(name), (1.0, height), xycoords="axes fraction", xytext=(1.06, place),
            textcoords="axes fraction", color=color, va="center", ha="left",
            arrowprops={
                "arrowstyle": "-", "color": color, "linewidth": 0.7, "shrinkA": 2, "shrinkB": 0,
            } if np.isfinite(value) else None,
        )  # fmt: skip


def _spread(heights: Sequence[float]) -> list[float]:
    """Move heights apart to a line each, in their order, about where they were."""
    order = np.argsort(heights, kind="stable")
    places = np.array(heights, dtype=np.float64)[order]
    for _ in range(200):
        close = np.diff(places) < _LINE - 1e-6
        if not close.any():
            break
        for i in np.flatnonzero(close):
            excess = 0.5 * (_LINE - (places[i + 1] - places[i]))
            places[i] -= excess
            places[i + 1] += excess
    found = np.empty_like(places)
    found[order] = places
    return [float(place) for place in found]


def _time_axis(axes: Axes, curve: ThresholdCurve) -> None:
    """Make an axis of time, logarithmic after its first point, with time 0 at the left end."""
    axes.set_xlabel(time_label(curve.config))
    t = curve.times
    if len(t) > 1:
        logarithmic_after(axes, float(t[t > 0][0]), float(t[-1]), bool(t[0] == 0.0))
    elif not t[0]:
        _only_zero(axes)


def _only_zero(axes: Axes) -> None:
    axes.set_xlim(-0.25, 1.0)
    axes.set_xticks([0.0])


# -- against the step size -----------------------------------------------------------------------


def _draw_steps(axes: Axes, axis: StepAxis, index: int) -> None:
    sizes = axis.reuse.step_sizes
    positive = sizes[sizes > 0.0]
    if len(positive):
        logarithmic_after(axes, float(positive[0]), float(positive[-1]), bool(sizes[0] == 0.0))
        ticks = sizes.tolist()
        apart = [True, *(b > 1.25 * a for a, b in itertools.pairwise(ticks))]
        axes.set_xticks([tick for tick, far in zip(ticks, apart, strict=True) if far])
    else:
        _only_zero(axes)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g}" if size else "flow"))
    axes.set_xlabel(r"step size  $\eta$")
    axes.set_ylabel(rf"$\delta_{{\mathrm{{NN}}}}$ at time {axis.time:g}")
    axes.set_title(name_of(axis.network))
    heights: list[float] = []
    for row, series in enumerate(axis.series):
        _draw_series(axes, axis, series, index, row)
        known = np.isfinite(series.value)
        heights += (series.value - series.stderr)[known].tolist()
        heights += (series.value + series.stderr)[known].tolist()
    if heights:
        low, high = min(heights), max(heights)
        margin = 0.1 * (high - low) or 0.1 * high
        axes.set_ylim(max(low - margin, 0.0), high + 2.2 * margin)
    axes.plot([], [], "-", color=GREY, linewidth=2.7, alpha=0.5, label="error of the difference")
    if any(series.unstable.any() for series in axis.series):
        axes.plot([], [], "o", color=GREY, markerfacecolor="white", label=_UNSTABLE)
    axes.legend(loc="best")


def _draw_series(axes: Axes, axis: StepAxis, series: StepSeries, index: int, row: int) -> None:
    """Draw values with two bars: their error, and thick, that of the difference from the first."""
    look = color, _ = _look(index, row == 1)
    known = np.isfinite(series.value)
    x, value = series.step_sizes[known], series.value[known]
    _, paired = series.shift(axis.reuse)
    bars = [(series.stderr[known], 1.0)]
    if row == 0:  # errors in common cancel
        bars.append((paired[known], 4.0))
    for error, width in bars:
        alpha = 0.5 if width > 1.0 else 1.0
        axes.errorbar(
            x, value, np.nan_to_num(error), fmt="none", ecolor=color, elinewidth=width, alpha=alpha
        )
    _draw_points(axes, x, value, series.unstable[known], look, (_REUSE, _FRESH)[row])
    mark_missing(axes, series.step_sizes[~known], color, row)
    for size, status in zip(series.step_sizes, series.statuses, strict=True):
        if not status.ok:
            axes.annotate(
                status.name, (size, 0.03 + 0.05 * row), xycoords=("data", "axes fraction"),
                xytext=(0, 7), textcoords="offset points", ha="center", va="bottom", color=color,
                rotation=90,
            )  # fmt: skip


def _look(index: int, fresh: bool) -> tuple[str, Any]:
    """Return colour and dashes of a network; those of fresh batches are no network's."""
    color, dashes = look(index).values()
    return ("black", DASHES[1]) if fresh else (color, dashes)


def _draw_check(upper: Axes, lower: Axes, axis: StepAxis, index: int) -> None:
    """Draw smallest eigenvalue and hard overlap: theory as lines, runs as squares with errors."""
    first = axis.check[0]
    upper.set_title(rf"step {first.step}, $\eta = {first.step_size:g}$, $d = {first.d}$")
    upper.set_ylabel("smallest eigenvalue")
    upper.set_xlabel(r"$\delta$")
    lower.set_ylabel("its hard overlap")
    lower.set_xlabel(r"$\delta$")
    for fresh in (False, True):
        found = [entry for entry in axis.check if entry.fresh is fresh]
        _draw_runs(upper, found, "value", "simulated", _look(index, fresh))
        _draw_runs(lower, found, "overlap", "simulated_overlap", _look(index, fresh))
    for series, fresh in zip(axis.series, (False, True), strict=False):
        at = float(series.value[series.step_sizes == first.step_size][0])
        if np.isfinite(at):
            color, _ = _look(index, fresh)
            for axes in (upper, lower):
                axes.axvline(at, color=color, linestyle=":", linewidth=1)
    # Colours are those of the panel before.
    lower.plot([], [], "-", color=GREY, marker=".", label="theory")
    lower.plot([], [], "s", color=GREY, label="runs")
    lower.plot([], [], ":", color=GREY, linewidth=1, label=r"$\delta_{\mathrm{NN}}$")
    if any(entry.prediction for entry in axis.check):
        lower.legend(loc="best")
    else:
        say_within(upper, sentence(first.status), VERMILLION)


def _draw_runs(
    axes: Axes, checks: Sequence[EigenvalueCheck], theory: str, runs: str, look: tuple[str, Any]
) -> None:
    """Draw one quantity of the theory, and of the runs where these have it."""
    color, dashes = look
    found = [(entry.delta, entry.prediction) for entry in checks if entry.prediction is not None]
    if not found:
        return
    delta = [at for at, _ in found]
    lines = [getattr(prediction, theory) for _, prediction in found]
    if theory == "overlap":  # at an edge it vanishes in the limit
        lines = np.nan_to_num(lines)
    axes.plot(delta, lines, color=color, linestyle=dashes, marker=".")
    for at, prediction in found:
        axes.errorbar(
            [at], [getattr(prediction, runs)], [getattr(prediction, f"{runs}_stderr")], fmt="s",
            color=color, markersize=3.7, capsize=1.4,
            markerfacecolor=color if prediction.compared else "white",
        )  # fmt: skip
