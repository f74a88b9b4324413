"""Figure of runs at finite dimension: every seed as a thin line, the mean over seeds on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D

from dmft._numerics.validation import check_instance
from dmft.plotting.common import (
    GREY,
    color_of,
    describe,
    flatten_rounding,
    log_if_wide,
    look,
    marker_of,
    new_figure,
    set_title,
    step_axis,
)
from dmft.simulation.simulation import Simulation
from rmt.canvas import drawing, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    Curves = dict[str, FloatArray]

__all__ = ["plot_simulation"]

_HARD = "hard"
# Sizes share their steps: marks of the Hessian stand this far apart, as a fraction of the axis.
_STAGGER = 0.012


@drawing
def plot_simulation(simulations: Simulation | Sequence[Simulation]) -> Figure:
    """Draw norms, overlaps, losses and gradient of every seed; Hessian and test error if any.

    Parameters
    ----------
    simulations : Simulation or sequence of Simulation
        Of the same problem, one for each size.

    Returns
    -------
    matplotlib.figure.Figure
        Colour tells sizes apart, dashes tell curves of one panel apart. Thin: every seed; thick:
        the mean, as far as all seeds go. The overlaps are those with the easy directions; for the
        hard ones, whose sign is a matter of chance, the panel has the largest squared cosine with
        the neurons. With Hessians, two more panels: the smallest eigenvalue and the overlap of its
        eigenvector with the hard directions, a mark for each seed and a line through the means. At
        the end a panel of the test error, for labels -1 and +1, and those of the second layer and
        the biases, if they are trained.

    Raises
    ------
    ValueError
        If an argument is of another kind, or there is none.
    """
    runs = list(simulations) if isinstance(simulations, Sequence) else [simulations]
    for run in runs:
        check_instance("simulations", run, Simulation)
    if not runs:
        raise ValueError("simulations must be one Simulation or several, got none")
    recorded = any(run.hessian for run in runs)
    classes = any(np.isfinite(run.test_error).any() for run in runs)
    trained = [
        (name, letter, words)
        for name, letter, words in (
            ("second_layer", "a", "second layer"),
            ("biases", "b", "biases"),
        )
        if any(np.ptp(getattr(run, name), axis=1).any() for run in runs)
    ]
    rows = 2 + recorded + -(-(classes + len(trained)) // 2)
    count = 4 + 2 * recorded + classes + len(trained)
    figure, panels = new_figure((7.0, 0.7 + 1.9 * rows), rows, 2, used=range(count))
    norms, overlaps, losses, gradient = panels[:4]
    _draw(norms, runs, [_norms(run) for run in runs])
    norms.set_ylabel(r"$C(t,t) = \Theta_t^{\top}\Theta_t$")
    curves = [_overlaps(run) for run in runs]
    _draw(overlaps, runs, curves)
    overlaps.set_ylabel("overlap with\nlatent directions")
    if all(name.startswith(_HARD) for name in curves[0]):  # a squared cosine and nothing else
        overlaps.set_ylim(-0.03, 1.03)
    _draw(losses, runs, [{"train": run.train_loss, "test": run.test_loss} for run in runs])
    losses.set_ylabel("loss")
    _draw(gradient, runs, [{"": run.gradient_norm} for run in runs])
    gradient.set_ylabel(r"$\Vert\nabla\,\mathrm{Risk}\Vert_F$")
    log_if_wide(gradient, np.concatenate([run.gradient_norm.ravel() for run in runs]))
    if recorded:
        _draw_hessian(panels[4], runs, "smallest")
        panels[4].set_ylabel("smallest eigenvalue\nof the Hessian")
        _draw_hessian(panels[5], runs, "overlaps")
        panels[5].set_ylabel("hard overlap\nof its eigenvector")
        panels[5].set_ylim(-0.03, 1.03)
    further = panels[4 + 2 * recorded :]
    if classes:
        _draw(further[0], runs, [{"": run.test_error} for run in runs])
        further[0].set_ylabel("test error")
    for axes, (name, letter, words) in zip(further[classes:], trained, strict=False):
        names = [f"${letter}_{j + 1}$" for j in range(runs[0].m)]
        layers = [
            dict(zip(names, getattr(run, name).transpose(2, 0, 1), strict=True)) for run in runs
        ]
        _draw(axes, runs, layers)
        axes.set_ylabel(f"{words} ${letter}(t)$")
    along_steps = panels[:4] + panels[6 if recorded else 4 :]
    for axes in panels:
        step_axis(axes)
        flatten_rounding(axes)
        last = max(int(run.steps[-1]) for run in runs)
        margin = 0.0 if axes in along_steps and last else 0.04 * max(last, 1)
        axes.set_xlim(-margin, last + margin)
    set_title(figure, _title(runs))
    handles = [
        Line2D([], [], color=color_of(index), label=_size_label(run))
        for index, run in enumerate(runs)
    ]
    names = [str(handle.get_label()) for handle in handles]
    legend_below(figure, panels[0], handles, names, ncols=3)
    return figure


def _norms(run: Simulation) -> Curves:
    """Return squared norms of the neurons, and, for few, their products."""
    m = run.m
    pairs = [(j, j) for j in range(m)]
    if m <= 3:
        pairs += [(i, j) for i in range(m) for j in range(i + 1, m)]
    return {
        rf"$C_{{{i + 1}{j + 1}}}$" if m > 1 else "": run.correlation[:, :, i, j] for i, j in pairs
    }


def _overlaps(run: Simulation) -> Curves:
    """Return overlaps with easy directions by coordinate, with hard ones as one squared cosine."""
    curves = {}
    if run.problem is None or run.problem.target.hard_basis.shape[1]:
        name = ": held at 0" if run.hold_hard else r": $\cos^2$"
        curves[_HARD + name] = run.hard_cosine
    for i in range(run.k):
        if run.problem is not None and not np.any(run.problem.target.easy_projector[:, i]):
            continue
        for j in range(run.m):
            curves[rf"$M_{{{j + 1}{i + 1}}}$"] = run.overlap[:, :, j, i]
    return curves


def _draw(axes: Axes, runs: list[Simulation], curves: list[Curves]) -> None:
    for index, (run, own) in enumerate(zip(runs, curves, strict=True)):
        for dash, values in enumerate(own.values()):
            line = {**look(dash), "color": color_of(index)}
            axes.plot(run.steps, values.T, linewidth=0.4, alpha=0.35, **line)
            alone = "o" if len(run.steps) == 1 else None
            axes.plot(run.steps, values.mean(axis=0), linewidth=1.3, marker=alone, **line)
    names = list(curves[0])
    if any(names):
        handles = [
            Line2D([], [], **{**look(dash), "color": GREY}, label=name)
            for dash, name in enumerate(names)
        ]
        # Above the panel: within, thin lines leave no corner empty.
        axes.legend(
            handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0),
            ncols=min(4, len(names)), columnspacing=1.2,
        )  # fmt: skip


def _draw_hessian(axes: Axes, runs: list[Simulation], name: str) -> None:
    """Draw one entry of each recorded Hessian: that of the smallest eigenvalue."""
    span = max(max(int(run.steps[-1]) for run in runs), 1)
    for index, run in enumerate(runs):
        look_of_size = marker_of(index)
        steps = np.array(sorted(run.hessian))
        if not len(steps):
            continue
        values = np.array([getattr(run.hessian[step], name)[:, 0] for step in steps])
        x = steps + (index - (len(runs) - 1) / 2) * _STAGGER * span
        axes.plot(x, values.mean(axis=1), color=look_of_size["color"], linewidth=1)
        axes.plot(
            np.repeat(x, values.shape[1]), values.ravel(), markersize=2.7, alpha=0.45,
            linestyle="none", **look_of_size,
        )  # fmt: skip


def _size_label(run: Simulation) -> str:
    seeds = len(run.seeds)
    return f"$d = {run.d}$, {seeds} seed{'s' if seeds > 1 else ''}"


def _title(runs: list[Simulation]) -> str:
    title = rf"{describe(runs[0].config)}, $\delta = {runs[0].delta:g}$"
    if not runs[0].inputs.is_gaussian:
        title += f", {runs[0].inputs.law} inputs"
    failed = sum(not status.ok for run in runs for status in run.statuses)
    if failed:
        total = sum(len(run.seeds) for run in runs)
        status = next(run.status for run in runs if not run.status.ok)
        title += f"\n{failed} of {total} runs: {status.name}"
    return title
