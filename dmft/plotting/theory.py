"""Figures of the theory alone: the gap against delta, a trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from dmft.hessian.gap_samples import WhichOutlier
from dmft.plotting.common import (
    BLUE,
    GREY,
    VERMILLION,
    broken,
    describe,
    draw_band,
    fill_band,
    flatten_rounding,
    format_number,
    hard_coordinates,
    log_if_wide,
    log_ticks,
    mark_missing,
    name_step,
    new_figure,
    sentence,
    set_title,
    step_axis,
)
from dmft.plotting.minimizer import draw_minimizer
from dmft.training.methods import horizon
from dmft.trajectory.report import last_meaningful_step
from rmt.canvas import covers_data, drawing, is_own, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dmft.observables.risk_minimization import RiskMinimizer
    from dmft.threshold.threshold import Threshold
    from dmft.trajectory.trajectory import Trajectory

    FloatArray = NDArray[np.float64]

__all__ = ["plot_threshold", "plot_trajectory"]

_LINEAR_TIME = 20.0  # longer flows have their axis logarithmic beyond 1

# Places of the enlarged crossing in its panel: the first at which it covers no data.
_INSETS = ((0.42, 0.6, 0.4, 0.28), (0.52, 0.62, 0.3, 0.26), (0.58, 0.7, 0.24, 0.18))

# Least height below and above the zero line for what it says, relative to the other side.
_ROOM = 0.09
# A gap within so many standard errors of zero is superseded by those on more paths.
_NEAR_ZERO = 2.0


# -- threshold -----------------------------------------------------------------------------------


@drawing
def plot_threshold(threshold: Threshold) -> Figure:
    """Draw the gap against delta, with delta_NN and its standard error.

    Parameters
    ----------
    threshold : Threshold

    Returns
    -------
    matplotlib.figure.Figure
        Points: every evaluation with its error bar (with an accuracy asked for, next to the root
        those on the most paths alone); crosses at the foot: gradient descent
        ended early there (diverged), or the computation of the gap did. Line and band: between
        evaluations. Grey bars: sign changes known to be between two evaluations.

    Raises
    ------
    ValueError
        If no gap is finite: there is nothing to draw.
    """
    if not np.isfinite(threshold.gap).any():
        raise ValueError(
            "threshold must have a finite gap to be drawn, got none; its status is "
            f"{threshold.status.name}"
        )
    figure, (axes,) = new_figure((3.4, 2.7))
    finite = np.isfinite(threshold.gap) & ~_superseded(threshold)
    delta, gap = threshold.delta[finite], threshold.gap[finite]
    error = np.where(np.isfinite(threshold.gap_stderr[finite]), threshold.gap_stderr[finite], 0)
    axes.set_xscale("log")
    axes.set_xlabel(r"samples per dimension  $\delta = n/d$")
    size = "" if threshold.d is None else f", $d = {threshold.d}$"
    axes.set_ylabel(f"hard gap at {name_step(threshold.config, threshold.step)}{size}")
    if threshold.which != WhichOutlier():
        axes.set_ylabel(f"{axes.get_ylabel()}\n({threshold.which.words})")
    axes.set_title(broken(describe(threshold.config), figure))
    axes.axhline(0.0, color=GREY, linewidth=0.7, zorder=1)
    if len(delta):
        fill_band(axes, delta, gap, error, BLUE)
        axes.plot(delta, gap, color=BLUE, zorder=2)
        axes.errorbar(
            delta, gap, error, fmt="o", color=BLUE, markersize=3.1, capsize=1.7, elinewidth=0.8,
            label="theory, $\\pm$ standard error", zorder=3,
        )  # fmt: skip
    mark_missing(axes, threshold.delta[np.isnan(threshold.gap)], VERMILLION, label="no value")
    _draw_other_crossings(axes, threshold)
    if np.isfinite(threshold.value):
        _mark_crossing(axes, threshold)
    if not threshold.status.ok:
        title = f"{describe(threshold.config)}\n{sentence(threshold.status)}"
        axes.set_title(broken(title, figure), color=VERMILLION)
    log_ticks(axes, threshold.bracket)
    if len(delta):
        _region_names(axes, left=bool(np.isfinite(threshold.gap[0])))
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        legend_below(figure, axes, handles, labels, ncols=2)
    if np.isfinite(threshold.value) and is_own(figure) and _falls(gap) and threshold.stderr > 0:
        for place in _INSETS:
            inset = _enlarge_crossing(axes.inset_axes(place), threshold, delta, gap, error)
            if not covers_data(axes, inset):
                break
            inset.remove()
    return figure


def _superseded(threshold: Threshold) -> NDArray[np.bool_]:
    """Mark evaluations next to the root on fewer paths than others: they zigzag around these."""
    if threshold.n_paths is None:
        return np.zeros(len(threshold.delta), dtype=bool)
    fewer: NDArray[np.bool_] = threshold.n_paths < threshold.n_paths.max()
    near = np.abs(threshold.gap) < _NEAR_ZERO * threshold.gap_stderr
    return np.logical_and(near, fewer)


def _draw_other_crossings(axes: Axes, threshold: Threshold) -> None:
    """Draw sign changes other than delta_NN, as bars where only their ends are known."""
    others = [c for c in threshold.crossings if c.value != threshold.value]
    located = [c for c in others if c.refined]
    if located:
        axes.plot(
            [c.value for c in located], np.zeros(len(located)), "D", markerfacecolor="white",
            color=GREY, markersize=4.8, label="other sign changes", zorder=4,
        )  # fmt: skip
    for n, c in enumerate(c for c in others if not c.refined):
        axes.plot(
            [c.lower, c.upper], [0.0, 0.0], color=GREY, linewidth=3.4, alpha=0.6, zorder=4,
            label=None if n else "a sign change in between",
        )  # fmt: skip


def _mark_crossing(axes: Axes, threshold: Threshold) -> None:
    """Draw a line from the crossing down to the axis, as wide as the standard error."""
    value, stderr = threshold.value, threshold.stderr
    step = horizon(threshold.config["method"], threshold.step)
    bottom = axes.get_ylim()[0]
    axes.fill_betweenx(
        [bottom, 0.0], max(value - stderr, 1e-3 * value), value + stderr, color=VERMILLION,
        alpha=0.3, linewidth=0, zorder=0,
    )  # fmt: skip
    axes.plot(
        [value, value], [bottom, 0.0], color=VERMILLION, linewidth=1, zorder=1,
        label=rf"$\delta_{{\mathrm{{NN}}}}({step}) = $ {format_number(value, stderr)}",
    )  # fmt: skip
    if threshold.is_discontinuous:
        jump = format_number(threshold.jump, threshold.jump_stderr)
        axes.plot([], [], " ", label=f"overlap$^2$ jumps to {jump}")
    axes.set_ylim(bottom=bottom)


def _enlarge_crossing(
    inset: Axes, threshold: Threshold, delta: FloatArray, gap: FloatArray, error: FloatArray
) -> Axes:
    """Show the crossing and its error band in the empty corner above a falling curve."""
    value, stderr = threshold.value, threshold.stderr
    x = np.linspace(max(value - 5 * stderr, delta[0]), min(value + 5 * stderr, delta[-1]), 201)
    y, band = np.interp(x, delta, gap), np.interp(x, delta, error)
    inset.axhline(0.0, color=GREY, linewidth=0.6)
    inset.axvspan(value - stderr, value + stderr, color=VERMILLION, alpha=0.3, linewidth=0)
    inset.axvline(value, color=VERMILLION, linewidth=0.8)
    fill_band(inset, x, y, band, BLUE)
    inset.plot(x, y, color=BLUE, linewidth=1)
    inside = (delta >= x[0]) & (delta <= x[-1])
    inset.plot(delta[inside], gap[inside], "o", color=BLUE, markersize=2.4)
    inset.set_xlim(x[0], x[-1])
    inset.set_title("around the crossing", pad=3)
    inset.xaxis.set_major_locator(MaxNLocator(3))
    inset.yaxis.set_major_locator(MaxNLocator(3))
    inset.yaxis.tick_right()
    inset.spines["left"].set_visible(False)
    inset.spines["right"].set_visible(True)
    return inset


def _falls(gap: FloatArray) -> bool:
    """Return whether the gap falls so far to below zero that two corners are empty."""
    return bool(len(gap) and gap[0] > 0.5 * np.max(np.abs(gap)) and gap[-1] < 0)


def _region_names(axes: Axes, left: bool) -> None:
    """Name either sign at one end of the zero line, with room for both names."""
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -_ROOM * high), max(high, -_ROOM * low))
    place, side = (0.012, "left") if left else (0.988, "right")
    for text, offset, vertical in (("no outlier", 4, "bottom"), ("outlier", -4, "top")):
        axes.annotate(
            text, (place, 0.0), xycoords=axes.get_yaxis_transform(), xytext=(0, offset),
            textcoords="offset points", va=vertical, ha=side, color=GREY,
        )  # fmt: skip


# -- trajectory ----------------------------------------------------------------------------------


@drawing
def plot_trajectory(trajectory: Trajectory, limit: RiskMinimizer | None = None) -> Figure:
    """Draw order parameters, losses and gradient norm against the step, with error bands.

    Parameters
    ----------
    trajectory : Trajectory
    limit : RiskMinimizer, optional
        Where it ends, of a linear neuron under a convex loss (`dmft.erm_limit`): dashed lines.

    Returns
    -------
    matplotlib.figure.Figure
        Four panels: squared norms C_jj(t, t) and products of neurons; overlaps M(t) on the easy
        directions (the hard ones are stated: zero); train and test loss; norm of the gradient.
        Then, where there is something to say: test error, for labels -1 and +1, the second layer
        and the biases, if they are trained. Of a run that diverged, the steps before
        `dmft.trajectory.report.last_meaningful_step`.
    """
    classes = bool(np.isfinite(trajectory.test_error).any())
    method = trajectory.method
    trained = [
        (name, letter, words)
        for name, letter, words, is_trained in (
            ("second_layer", "a", "second layer", method.trains_second_layer),
            ("biases", "b", "biases", method.trains_biases),
        )
        if is_trained
    ]
    rows = 2 + -(-(classes + len(trained)) // 2)
    count = 4 + classes + len(trained)
    figure, panels = new_figure((7.0, 0.6 + 2.0 * rows), rows, 2, used=range(count))
    norms, overlaps, losses, gradient = panels[:4]
    m, k = trajectory.m, trajectory.k
    config = trajectory.config
    flow = "times" in config["method"]
    last = last_meaningful_step(trajectory)
    t = (trajectory.times if flow else trajectory.steps)[: last + 1]

    def draw(
        axes: Axes, value: FloatArray, error: FloatArray, index: int, label: str | None
    ) -> None:
        draw_band(axes, t, value[: len(t)], error[: len(t)], index, label)

    value, error = trajectory.norm, trajectory.stderr["norm"]
    for j in range(m):
        label = rf"$C_{{{j + 1}{j + 1}}}$" if m > 1 else None
        draw(norms, value[:, j, j], error[:, j, j], j, label)
    pairs = [(i, j) for i in range(m) for j in range(i + 1, m)] if m <= 3 else []
    for n, (i, j) in enumerate(pairs):
        draw(norms, value[:, i, j], error[:, i, j], m + n, rf"$C_{{{i + 1}{j + 1}}}$")
    norms.set_ylabel(r"$C(t,t) = \Theta_t^{\top}\Theta_t$")

    hard = hard_coordinates(trajectory)
    value, error = trajectory.overlap, trajectory.stderr["overlap"]
    lines = 0
    for i in (i for i in range(k) if not hard[i]):
        for j in range(m):
            label = rf"$M_{{{j + 1}{i + 1}}}$"
            draw(overlaps, value[:, j, i], error[:, j, i], lines, label)
            lines += 1
    if hard.any():
        names = ", ".join(f"$z_{{{i + 1}}}$" for i in np.flatnonzero(hard))
        overlaps.axhline(
            0.0, color=GREY, linewidth=1, linestyle=(0, (4, 2)),
            label=f"hard {names}: 0 exactly",
        )  # fmt: skip
        if not lines:
            overlaps.set_ylim(-1.0, 1.0)
    overlaps.set_ylabel(r"overlap  $M(t) = \Theta_t^{\top}\Theta_*$")

    for n, (name, label) in enumerate((("train_loss", "train"), ("test_loss", "test"))):
        draw(losses, getattr(trajectory, name), trajectory.stderr[name], n, label)
    losses.set_ylabel("loss")

    draw(gradient, trajectory.gradient_norm, trajectory.stderr["gradient_norm"], 0, None)
    gradient.set_ylabel(r"$\Vert\nabla\,\mathrm{Risk}\Vert_F$")
    log_if_wide(gradient, trajectory.gradient_norm[: len(t)])

    if classes:
        draw(panels[4], trajectory.test_error, trajectory.stderr["test_error"], 0, None)
        panels[4].set_ylabel("test error")
    for axes, (name, letter, words) in zip(panels[4 + classes :], trained, strict=False):
        value, error = getattr(trajectory, name), trajectory.stderr[name]
        for j in range(m):
            draw(axes, value[:, j], error[:, j], j, f"${letter}_{j + 1}$" if m > 1 else None)
        axes.set_ylabel(f"{words}  ${letter}(t)$")

    if limit is not None:
        draw_minimizer(panels, trajectory, limit)
    for axes in panels:
        if not flow:
            step_axis(axes)
        else:
            axes.set_xlabel("time $t$")
            if t[-1] > _LINEAR_TIME:
                axes.set_xscale("symlog", linthresh=1.0, linscale=0.5)
        axes.set_xlim(0, t[-1] if t[-1] > 0 else 1)
        flatten_rounding(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best", ncols=2 if len(axes.lines) > 3 else 1)
    title = f"{describe(config)}, $\\delta = {trajectory.delta:g}$ (bands: standard error)"
    if not trajectory.status.ok:
        title += f"\n{trajectory.status.name} after step {trajectory.n_steps}"
        if last < trajectory.n_steps:
            title += f"; only the divergence follows step {last}"
    set_title(figure, title)
    return figure
