"""Figure of delta_NN against the horizon, with its limit and the left edge of the bulk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.hessian.gap_samples import WhichOutlier
from dmft.plotting.common import (
    BLUE,
    GREEN,
    GREY,
    VERMILLION,
    color_of,
    describe,
    fill_band,
    format_number,
    has_one_step_size,
    leave_room,
    log_subs,
    logarithmic_after,
    look,
    mark_missing,
    new_figure,
    plain_ticks,
    say_within,
    sentence,
    set_title,
    time_label,
)
from rmt.canvas import drawing
from rmt.status import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dmft.threshold.curve import ThresholdCurve

    FloatArray = NDArray[np.float64]

__all__ = ["plot_curve"]

_FIXED_DELTAS = 3
_BEYOND = 1.045  # where the limit stands, in widths of the panel
_APART = 0.018  # its two estimates from it
_NEXT_TO_LIMIT = 0.965  # a tick further than that has its number where the limit has its own
_HIGHEST = 1.5  # an interval is drawn up to this multiple of the largest value


@drawing
def plot_curve(curve: ThresholdCurve) -> Figure:
    """Draw the threshold against time, with its limit, and the left edge of the bulk.

    Parameters
    ----------
    curve : ThresholdCurve

    Returns
    -------
    matplotlib.figure.Figure
        Left: delta_NN(t) with a band of one standard error, and at the right margin the interval
        of its limit, with thin lines on either side for its two estimates: from the curve against
        time, and from limits of the gap at fixed delta. An arrow: no bound on that side.
        Right: distance of the left edge from zero, at the threshold and at a few fixed values of
        delta; edges above zero are not shown.

    Raises
    ------
    ValueError
        If no gap is finite: there is nothing to draw.
    """
    if not np.isfinite(curve.gap).any():
        raise ValueError(
            f"curve must have a finite gap to be drawn, got none; its status is {curve.status.name}"
        )
    figure, (axes, edges) = new_figure((7.0, 3.1), 1, 2)
    _draw_threshold(axes, curve)
    _draw_edges(edges, curve)
    for panel in (axes, edges):
        panel.set_xlabel(time_label(curve.config))
    if not curve.status.ok:
        axes.set_title(sentence(curve.status), color=VERMILLION)
    set_title(figure, describe(curve.config))
    leave_room(figure)  # for the limit
    return figure


def _draw_threshold(axes: Axes, curve: ThresholdCurve) -> None:
    known = np.isfinite(curve.value)
    t, value = curve.times[known], curve.value[known]
    error = curve.error[known]
    _time_axis(axes, curve)
    size = "" if curve.d is None else f"; d = {curve.d}"
    axes.set_ylabel(rf"threshold  $\delta_{{\mathrm{{NN}}}}(t{size})$")
    if curve.which != WhichOutlier():
        axes.set_ylabel(f"{axes.get_ylabel()}\n({curve.which.words})")
    if not len(t):
        say_within(axes, "no threshold at any step", VERMILLION)
        return
    fill_band(axes, t, value, error, BLUE)
    if curve.band is not None:
        axes.plot(
            t, curve.band[0, known], ":", t, curve.band[1, known], ":", color=GREY, linewidth=1
        )
        axes.plot([], [], ":", color=GREY, label="68 % of the runs")
    axes.plot(
        t, value, "o-", color=BLUE, markersize=2.4, label=r"$\delta_{\mathrm{NN}}$, $\pm$ error"
    )
    last = rf"last: {format_number(float(value[-1]), float(error[-1]))}"
    axes.plot([], [], " ", label=last)
    mark_missing(axes, curve.times[~known], VERMILLION, label="no value")
    # Only the values set the range; intervals beyond it are cut off.
    low, high = float((value - error).min()), float((value + error).max())
    limit = curve.limit
    if np.isfinite(limit.upper):
        high = max(high, min(limit.upper, _HIGHEST * float(value.max())))
    if curve.band is not None:
        low = min(low, float(curve.band[0, known].min()))
        high = max(high, min(float(curve.band[1, known].max()), _HIGHEST * float(value.max())))
    margin = 0.06 * (high - low) or 0.1 * high
    axes.set_ylim(max(low - margin, 0.0), high + margin)
    _draw_limit(axes, curve)
    rises = value[-1] > value[0]
    axes.legend(loc="upper left" if rises else "upper right", handlelength=1.3)


def _draw_limit(axes: Axes, curve: ThresholdCurve) -> None:
    """Draw the interval of the limit at the right margin, with arrows where it is unbounded."""
    limit, (bottom, top) = curve.limit, axes.get_ylim()
    where: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "clip_on": False}
    settled = limit.status is Status.SUCCESS
    color = VERMILLION if settled else GREY
    start, end = np.clip([limit.lower, limit.upper], bottom, top)
    words = "limit: open"
    if np.isfinite(limit.value):
        words = f"limit: {limit.value:.4g} ({limit.lower:.4g} to {limit.upper:.4g})"
    elif np.isfinite(limit.lower):
        words = f"limit: above {limit.lower:.3g}"
    if not settled:
        words += ",\nnot settled"
    # A line of the legend stands for it; the line itself is outside the panel.
    axes.plot([], [], color=color, linewidth=2, label=words)
    _draw_estimates(axes, curve)
    if end > start:
        axes.plot([_BEYOND] * 2, [start, end], color=color, linewidth=2, **where)
    if np.isfinite(limit.value) and bottom <= limit.value <= top:
        axes.plot([_BEYOND], [limit.value], "D", color=color, markersize=4.8, **where)
    if limit.upper > top:
        axes.plot([_BEYOND], [top], "^", color=color, markersize=5.4, **where)
    if limit.lower < bottom:
        axes.plot([_BEYOND], [bottom], "v", color=color, markersize=5.4, **where)
    ticks = axes.get_xaxis_transform().transform([(tick, 0.0) for tick in axes.get_xticks()])
    last = float(axes.transAxes.inverted().transform(ticks)[-1, 0])
    below = 7 if last < _NEXT_TO_LIMIT else 21  # the number at the last tick
    axes.annotate(
        r"$t\to\infty$", (_BEYOND, 0.0), xycoords="axes fraction", xytext=(0, -below),
        textcoords="offset points", ha="center", va="top", color=color,
    )  # fmt: skip


def _draw_estimates(axes: Axes, curve: ThresholdCurve) -> None:
    """Draw both estimates of the limit beside it, as far as they are bounded."""
    fixed = curve.gap_limit
    numbers = (np.nan, np.nan, np.nan)
    if fixed is not None:
        numbers = (fixed.threshold, fixed.threshold_lower, fixed.threshold_upper)
    places: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "clip_on": False}
    for side, estimate, color, name in (
        (-1, curve.limit.in_time, BLUE, "by time"),
        (1, numbers, GREEN, "by gaps"),
    ):
        if not np.isfinite(estimate).all():
            continue
        start, end = np.clip(estimate[1:], *axes.get_ylim())
        if end > start:
            axes.plot([_BEYOND + side * _APART] * 2, [start, end], color=color, lw=0.9, **places)
            words = f"{name}: {estimate[0]:.4g} ({estimate[1]:.4g} to {estimate[2]:.4g})"
            axes.plot([], [], color=color, linewidth=0.9, label=words)


def _draw_edges(axes: Axes, curve: ThresholdCurve) -> None:
    """Draw minus the left edge against time, on logarithmic axes."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylabel(r"$-$ left edge of the Hessian's bulk")
    t = curve.times
    label = r"at $\delta = \delta_{\mathrm{NN}}(t)$"
    lines = [(curve.edge_at_threshold, curve.edge_at_threshold_stderr, label)]
    for index in _fixed(curve):
        label = rf"at $\delta = {curve.delta[index]:.3g}$"
        lines.append((curve.left_edge[index], curve.left_edge_stderr[index], label))
    drawn = []
    for n, (edge, error, label) in enumerate(lines):
        shown = (t > 0) & np.isfinite(edge) & (edge < 0)
        if not shown.any():
            continue
        distance = -edge[shown]
        lower = np.maximum(distance - error[shown], 0.1 * distance)
        fill_band(axes, t[shown], distance, error[shown], color_of(n), lower)
        axes.plot(
            t[shown], distance, **look(n), label=label,
            linewidth=1.5 if n == 0 else 1.3, marker="o" if shown.sum() == 1 else None,
        )  # fmt: skip
        drawn.append((t[shown], distance))
    if not drawn:
        say_within(axes, "no left edge below zero", GREY)
        return
    _guide(axes, *min(drawn, key=lambda line: float(line[1][-1])))
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        plain_ticks(axis, log_subs(*limits))
    axes.legend(loc="lower left")


def _guide(axes: Axes, t: FloatArray, distance: FloatArray) -> None:
    """Draw a dotted line of slope -1 below the end of the last curve."""
    late = np.array([max(t[0], 0.2 * t[-1]), t[-1]])
    guide = 0.6 * float(distance[-1]) * late[-1] / late
    axes.plot(late, guide, color=GREY, linestyle=":", linewidth=1, label=r"slope $1/t$")


def _fixed(curve: ThresholdCurve) -> list[int]:
    """Return a few deltas with an edge at all steps, or most; spread over the range of values."""
    complete = np.isfinite(curve.left_edge).sum(axis=1)
    if not complete.any():
        return []
    known = curve.value[np.isfinite(curve.value)]
    late = np.isfinite(curve.left_edge[:, -1])
    if curve.paths_of_solve is not None and late.any():  # late edges on few paths are noise
        late &= curve.paths_of_solve == curve.paths_of_solve[late].max()
    candidates = np.flatnonzero(late if late.any() else complete == complete.max())
    if len(known):  # those far below the curve are in another phase throughout
        near = candidates[curve.delta[candidates] >= 0.9 * known.min()]
        candidates = near if len(near) else candidates
    places = np.linspace(0, len(candidates) - 1, min(_FIXED_DELTAS, len(candidates)))
    return [int(candidates[place]) for place in np.unique(places.round().astype(int))]


def _time_axis(axes: Axes, curve: ThresholdCurve) -> None:
    """Make an axis of time, logarithmic after its first point, and for descent one of steps."""
    t, steps = curve.times, curve.steps
    if len(t) < 2 or t[-1] <= 0:
        return
    first = float(t[t > 0][0])
    logarithmic_after(axes, first, float(t[-1]), 0 in steps)
    if has_one_step_size(curve.config["method"]):  # otherwise steps are not even in time
        above = axes.twiny()
        scale = float(steps[-1] / t[-1])
        logarithmic_after(above, first * scale, float(steps[-1]), 0 in steps)
        above.set_xlabel("step")
        above.grid(False)
