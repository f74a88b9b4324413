"""Figures of theory against simulation: order parameters along the steps, the Hessian at one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dmft.comparison.comparison import check_comparable
from dmft.comparison.smallest_eigenvalue import predict_smallest_at
from dmft.plotting.common import (
    DASHES,
    GREY,
    VERMILLION,
    color_of,
    describe,
    fill_band,
    new_figure,
    set_title,
)
from dmft.plotting.spectra import draw_spectrum, limit_to, useful_range, zeros_of
from dmft.trajectory.spectra import spectrum
from rmt.canvas import drawing, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dmft.comparison.comparison import Comparison
    from dmft.comparison.quantities import QuantityComparison
    from dmft.comparison.smallest_eigenvalue import SmallestEigenvalue
    from dmft.simulation.simulation import Simulation
    from dmft.trajectory.spectra import Spectrum
    from dmft.trajectory.trajectory import Trajectory

__all__ = ["plot_comparison", "plot_hessian_comparison"]

_AXIS_LABELS: Final = {
    "norm": r"$C(t,t)$",
    "overlap": r"overlap $M(t)$",
    "gradient_covariance": r"$G(t,t)$",
    "gradient_norm": r"$\Vert\nabla\,\mathrm{Risk}\Vert_F$",
    "train_loss": "train loss",
    "test_loss": "test loss",
    "test_error": "test error",
    "second_layer": "second layer $a(t)$",
    "biases": "biases $b(t)$",
    "smallest_eigenvalue": "smallest eigenvalue",
    "hard_overlap": "its hard overlap",
}
_MOST_ENTRIES: Final = 4  # drawn in one panel; the others are in the panel of ratios
_STEPS_WITH_POINTS: Final = 11
_AT_FEW_STEPS: Final = ("smallest_eigenvalue", "hard_overlap")
_MOST_SPARSE: Final = 6
_MARKERS: Final = ("o", "D", "s", "^")


@drawing
def plot_comparison(comparison: Comparison) -> Figure:
    """Draw theory and seeds of every quantity, with deviations in standard errors below.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    matplotlib.figure.Figure
        For each quantity two panels. Above: theory as a line with a band of one standard error,
        every seed as a point, a marker for each size (at some steps only, side by side). Below:
        simulated minus theory over the combined standard error, extrapolated to 1/d = 0 where
        there are two sizes; dashed lines at three.
    """
    quantities = list(comparison.quantities.values())
    count = len(quantities)
    columns = next(c for c in (1, 2, 3) if c == 3 or count <= max(c * (c - 1), c))
    rows = max(-(-count // columns), 1)
    wide = columns > 1
    above = [2 * row * columns + column for row in range(rows) for column in range(columns)][:count]
    used = sorted([*above, *(place + columns for place in above)])
    figure, panels = new_figure(
        (7.0 if wide else 3.4, 2.35 * rows + (0.7 if wide else 1.5)),
        2 * rows,
        columns,
        heights=(2.3, 1.1) * rows,
        used=used,
    )
    for place, quantity in zip(above, quantities, strict=True):
        _draw_quantity(panels[used.index(place)], quantity, comparison)
        under = panels[used.index(place + columns)]
        _draw_ratios(under, quantity, comparison, first=place % columns == 0)
    lines = [describe(comparison.config), rf"$\delta = {comparison.delta:g}$"]
    title = (", " if wide else "\n").join(lines)
    set_title(figure, f"{title}\n{_outcome(comparison, wide)}")
    keys = _keys(comparison)
    names = [str(key.get_label()) for key in keys]
    if panels:
        legend_below(figure, panels[0], keys, names, ncols=5 if wide else 2)
    return figure


def _outcome(comparison: Comparison, wide: bool) -> str:
    total = sum(q.ratio.size for q in comparison.quantities.values())
    beyond = sum(q.n_beyond for q in comparison.quantities.values())
    largest = f"(largest {comparison.largest_ratio:.1f}, p = {comparison.p_value:.2g} over all)"
    apart = " " if wide else "\n"
    return f"{total - beyond} of {total} deviations within 3 standard errors{apart}{largest}"


def _keys(comparison: Comparison) -> list[Line2D]:
    """Return the legend of lines and markers, whatever their colour."""
    keys = [Line2D([], [], color=GREY, label="theory")]
    keys += [
        Line2D([], [], **_point(j, GREY), label=f"seeds, $d = {d}$")
        for j, d in enumerate(comparison.sizes)
    ]
    keys.append(Line2D([], [], color=GREY, linestyle=(0, (4, 2)), linewidth=0.7, label=r"$\pm 3$"))
    if comparison.regime_end is not None:
        keys.append(
            Line2D([], [], color=GREY, linewidth=4.1, alpha=0.2, label="hard direction found")
        )
    return keys


def _point(size: int, color: str) -> dict[str, Any]:
    """Return the look of the seeds of a size: hollow for the smallest."""
    return {
        "linestyle": "",
        "marker": _MARKERS[size % len(_MARKERS)],
        "markersize": 3.2,
        "color": color,
        "markerfacecolor": "white" if size == 0 else color,
        "markeredgewidth": 0.7,
        "alpha": 0.75,
    }


def _is_sparse(quantity: QuantityComparison) -> bool:
    """Return whether a quantity is known at few steps only, between which no line is drawn."""
    return quantity.name in _AT_FEW_STEPS and len(quantity.steps) <= _MOST_SPARSE


def _shown(quantity: QuantityComparison) -> list[int]:
    """Return the entries to draw: all if they are few, otherwise diagonal ones first."""
    names = quantity.labels
    order = sorted(range(len(names)), key=lambda e: (names[e][1:2] != names[e][2:3], e))
    return sorted(order[:_MOST_ENTRIES]) if len(names) > _MOST_ENTRIES else list(range(len(names)))


def _draw_quantity(axes: Axes, quantity: QuantityComparison, comparison: Comparison) -> None:
    steps, few = quantity.steps, _is_sparse(quantity)
    chosen = np.unique(np.linspace(0, len(steps) - 1, _STEPS_WITH_POINTS).round().astype(int))
    n_sizes = len(comparison.sizes)
    gap = float(np.diff(steps[chosen]).min()) if len(chosen) > 1 else comparison.last_step + 1.0
    apart = min(0.3 * gap, 1.0 + comparison.last_step / 60)
    shifts = apart * (np.arange(n_sizes) - 0.5 * (n_sizes - 1)) / max(n_sizes - 1, 1)
    shown = _shown(quantity)
    for n, entry in enumerate(shown):
        color, label = color_of(n), quantity.labels[entry]
        value, error = quantity.theory[:, entry], quantity.theory_stderr[:, entry]
        if few:
            axes.errorbar(steps, value, error, fmt="none", ecolor=color, elinewidth=0.8, zorder=3)
        else:
            fill_band(axes, steps, value, error, color)
        axes.plot(
            steps, value, color=color, linestyle="" if few else DASHES[n % len(DASHES)], zorder=3,
            label=f"${label[0]}_{{{label[1:]}}}$" if label else None,
            marker="_" if few else None, markersize=10.9, markeredgewidth=1.2,
        )  # fmt: skip
        for j, runs in enumerate(quantity.runs):
            times = np.repeat(steps[chosen] + shifts[j], len(runs))
            axes.plot(times, runs[:, chosen, entry].T.ravel(), zorder=2, **_point(j, color))
    _mark_regime(axes, comparison)
    axes.set_ylabel(_AXIS_LABELS[quantity.name])
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelbottom=False)
    _limit_steps(axes, quantity, comparison)
    if shown and quantity.labels[shown[0]]:
        more = len(quantity.labels) - len(shown)
        axes.legend(
            loc="best", ncols=2, columnspacing=1.0, handletextpad=0.5,
            title=f"and {more} more below" if more else None,
        )  # fmt: skip


def _draw_ratios(
    axes: Axes, quantity: QuantityComparison, comparison: Comparison, first: bool
) -> None:
    shown = _shown(quantity)
    few = _is_sparse(quantity)
    marker = "o" if few or len(quantity.steps) < 3 else None
    for entry in range(len(quantity.labels)):
        n = shown.index(entry) if entry in shown else None
        axes.plot(
            quantity.steps, quantity.ratio[:, entry], linewidth=1.0 if n is not None else 0.6,
            color=GREY if n is None else color_of(n), marker=marker, markersize=2.7,
            linestyle="" if few else "-" if n is None else DASHES[n % len(DASHES)],
            zorder=1 if n is None else 2,
        )  # fmt: skip
    for level in (-3.0, 3.0):
        axes.axhline(level, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
    axes.axhline(0.0, color=GREY, linewidth=0.5, zorder=0)
    finite = np.abs(quantity.ratio[np.isfinite(quantity.ratio)])
    reach = max(4.2, 1.15 * float(finite.max(initial=0.0)))
    axes.set_ylim(-reach, reach)
    axes.set_yticks([-3, 0, 3] if reach < 9 else MaxNLocator(4).tick_values(-reach, reach)[1:-1])
    _mark_regime(axes, comparison)
    _limit_steps(axes, quantity, comparison)
    axes.set_xlabel("step $t$")
    if first:
        axes.set_ylabel("dev./err.")


def _mark_regime(axes: Axes, comparison: Comparison) -> None:
    """Shade the steps at which runs have found a hard direction."""
    if comparison.regime_end is not None:
        axes.axvspan(
            comparison.regime_end, comparison.last_step + 1, color=GREY, alpha=0.13, linewidth=0,
            zorder=0,
        )  # fmt: skip


def _limit_steps(axes: Axes, quantity: QuantityComparison, comparison: Comparison) -> None:
    last = comparison.last_step
    margin = max(0.06 * last, 0.9)
    axes.set_xlim(-margin, last + margin)
    if _is_sparse(quantity):
        axes.set_xticks(quantity.steps)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


# -- Hessian -------------------------------------------------------------------------------------


@drawing
def plot_hessian_comparison(
    trajectory: Trajectory, simulation: Simulation | Sequence[Simulation], step: int
) -> Figure:
    """Draw the spectrum of the Hessian over its density, smallest eigenvalues and their overlaps.

    Parameters
    ----------
    trajectory : Trajectory
    simulation : Simulation or sequence of Simulation
        With the step recorded. The histogram is that of the largest size at which all eigenvalues
        were computed.
    step : int

    Returns
    -------
    matplotlib.figure.Figure
        Left: histogram of all eigenvalues of all seeds over the predicted density, with edges and
        outliers. Right: for each seed the smallest eigenvalue and the overlap of its eigenvector
        with the hard space, with the prediction as a cross; where none is predicted, a line at
        the edge.

    Raises
    ------
    ValueError
        If the step was not recorded, or the simulations do not belong to the trajectory.
    """
    runs = check_comparable(trajectory, simulation)
    for run in runs:
        if step not in run.hessian:
            recorded = ", ".join(map(str, sorted(run.hessian))) or "none"
            raise ValueError(
                f"step must be one recorded by the simulation at d = {run.d} ({recorded}), "
                f"got {step}"
            )
    theory = spectrum(trajectory, step)
    smallest = predict_smallest_at(trajectory, runs, step)
    complete = [run for run in runs if run.hessian[step].complete]
    figure, (whole, zoom, scatter) = new_figure((7.0, 3.2), 1, 3, widths=(1.35, 1.0, 1.0))
    lower, upper = useful_range(theory)
    near, far = _around_left_edge(theory, runs, step)
    for axes, ends in ((whole, (lower, upper)), (zoom, (near, far))):
        if complete:
            _draw_histogram(axes, complete[-1], step, theory, ends)
        draw_spectrum(axes, theory)
        limit_to(axes, theory, *ends)
        _draw_smallest(axes, runs, step)
        axes.set_xlabel(r"eigenvalue $\lambda$")
        axes.xaxis.set_major_locator(MaxNLocator(4))
    zoom.xaxis.set_major_locator(MaxNLocator(3))
    whole.set_ylabel(r"spectral density $\rho(\lambda)$")
    zoom.set_title("around the left edge")
    _draw_overlaps(scatter, runs, smallest)
    place = rf"$\delta = {trajectory.delta:g}$, step {step}"
    set_title(figure, f"{describe(theory.config)}, {place}")
    handles, labels = whole.get_legend_handles_labels()
    legend_below(figure, whole, handles, labels, ncols=4)
    return figure


def _around_left_edge(
    theory: Spectrum, runs: Sequence[Simulation], step: int
) -> tuple[float, float]:
    """Return a range with the left end of the bulk and all smallest eigenvalues."""
    values = np.concatenate([run.hessian[step].smallest[:, 0] for run in runs])
    # An unbounded bulk begins, for the eye, where its mass does.
    start = theory.x[0] if np.isfinite(theory.left_edge) else theory.quantile(1e-3)
    values = np.append(values[np.isfinite(values)], start)
    values = np.append(values, [o.value for o in theory.outliers if o.side == "left"])
    reach = max(np.ptp(values), 0.02 * (theory.quantile(0.99) - start))
    inside = max(values.max(), start + 0.6 * reach)
    return float(values.min() - 0.15 * reach), float(inside + 0.2 * reach)


def _draw_histogram(
    axes: Axes, run: Simulation, step: int, theory: Spectrum, ends: tuple[float, float]
) -> None:
    """Draw eigenvalues of all seeds, but for the atom at zero."""
    found = run.hessian[step].eigenvalues
    values = found[np.isfinite(found)]
    total = values.size
    if theory.atom_at_zero > 0.0:
        for zero in zeros_of(theory):
            values = values[np.abs(values - zero) > 1e-9 * np.abs(values - zero).max()]
        if theory.shift is not None:  # runs have normal forces, and places of atoms, of their own
            values = np.sort(values)
            apart = np.diff(values, prepend=-np.inf, append=np.inf) > 1e-9 * np.ptp(values)
            values = values[apart[1:] & apart[:-1]]
    inside = int(np.count_nonzero((values > ends[0]) & (values < ends[1])))
    bins = np.linspace(*ends, int(np.clip(2.5 * inside ** (1 / 3), 6, 80)) + 1)
    heights = np.histogram(values, bins)[0] / (total * np.diff(bins))
    axes.stairs(
        heights, bins, fill=True, color="#C9C9C9", zorder=0,
        label=f"simulation, $d = {run.d}$, {len(run.seeds)} seeds",
    )  # fmt: skip


def _draw_smallest(axes: Axes, runs: Sequence[Simulation], step: int) -> None:
    """Draw a tick at the foot for the smallest eigenvalue of every seed."""
    for j, run in enumerate(runs):
        values = run.hessian[step].smallest[:, 0]
        axes.plot(
            values, np.full(len(values), 0.03 + 0.05 * j), "|", color=color_of(2 + j % 4),
            markersize=5.4, markeredgewidth=1, transform=axes.get_xaxis_transform(), zorder=5,
            label=f"smallest, $d = {run.d}$",
        )  # fmt: skip


def _draw_overlaps(axes: Axes, runs: Sequence[Simulation], smallest: SmallestEigenvalue) -> None:
    """Draw smallest eigenvalue and hard overlap of every seed, with the prediction."""
    p = smallest.prediction
    for j, run in enumerate(runs):
        record = run.hessian[p.step]
        x = record.smallest[:, : p.count].mean(axis=1)
        y = record.overlaps[:, : p.count].mean(axis=1)
        color = color_of(2 + j % 4)
        axes.plot(
            x, y, _MARKERS[j % len(_MARKERS)], color=color, markersize=3.4,
            markerfacecolor="white" if j == 0 and len(runs) > 1 else color,
            label=f"seeds, $d = {run.d}$",
        )  # fmt: skip
    if p.kind == "hard outlier":
        axes.errorbar(
            p.value, p.overlap, np.nan_to_num(p.overlap_stderr), np.nan_to_num(p.stderr),
            fmt="+", color=VERMILLION, markersize=10.9, markeredgewidth=1.5, zorder=4,
            label="theory" if p.law == "limit" else f"theory: $n$ weights, $d = {runs[-1].d}$",
        )  # fmt: skip
    elif np.isfinite(p.value):
        name = "edge of the bulk" if p.kind == "edge" else "outlier, not hard"
        if p.law == "n weights":
            name = f"$n$ weights, $d = {runs[-1].d}$"
        axes.axvline(p.value, color=VERMILLION, linewidth=1.1, label=f"theory: {name}")
        for j, (run, shift) in enumerate(zip(runs, smallest.shifts, strict=True)):
            if shift:
                axes.axvline(
                    p.value + shift, color=color_of(2 + j % 4), linewidth=1,
                    linestyle=(0, (4, 2)), label=f"its expected mean, $d = {run.d}$",
                )  # fmt: skip
    what = "smallest eigenvalue" if p.count == 1 else f"mean of the {p.count} smallest eigenvalues"
    axes.set_xlabel(what)
    axes.set_ylabel("hard overlap")
    axes.set_title("outlier and overlap" if "outlier" in p.kind else "smallest eigenvalue")
    axes.set_ylim(-0.04, 1.04)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.margins(x=0.15)
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none")
