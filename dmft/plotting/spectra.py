"""Figures of spectra of the Hessian: at a step, and edges and outliers along a trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from dmft.plotting.common import (
    BLUE,
    DASHES,
    GREEN,
    GREY,
    PURPLE,
    VERMILLION,
    broken,
    describe,
    format_number,
    name_step,
    new_figure,
    set_title,
)
from dmft.plotting.finite_law import draw_smallest
from rmt.canvas import drawing, legend_below

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dmft.hessian.finite_law import FiniteLaw
    from dmft.trajectory.spectra import Spectrum, SpectrumOutlier
    from dmft.trajectory.trajectory import Trajectory

    FloatArray = NDArray[np.float64]

__all__ = ["draw_spectrum", "limit_to", "plot_flow", "plot_spectrum", "useful_range", "zeros_of"]

_LABELLED_OUTLIERS = 4


@drawing
def plot_spectrum(spectrum: Spectrum, finite: Sequence[FiniteLaw] = ()) -> Figure:
    """Draw the density of the Hessian, its edges, and its outliers with their overlaps.

    Parameters
    ----------
    spectrum : Spectrum
    finite : sequence of FiniteLaw, optional
        The laws of runs of finite dimension at the same step.

    Returns
    -------
    matplotlib.figure.Figure
        The density up to where 99 % of its mass lies; if there are outliers on the left, a second
        panel enlarges what is around them and the left edge. Hollow squares at the foot: outliers
        not told from the edge. Bands: where 68 % of runs of dimension d have their smallest
        eigenvalue.
    """
    left = [o.value for o in spectrum.outliers if o.side == "left" and o.separated]
    lower, upper = useful_range(spectrum)
    if left:
        figure, (axes, zoom) = new_figure((7.0, 3.3), 1, 2, widths=(1.5, 1.0))
        distance = max(spectrum.x[0] - min(left), 0.01 * (upper - lower))
        draw_spectrum(zoom, spectrum)
        limit_to(zoom, spectrum, min(left) - 0.4 * distance, spectrum.x[0] + 0.8 * distance)
        zoom.set_title("around the left edge")
        zoom.set_xlabel(r"eigenvalue $\lambda$")
        zoom.xaxis.set_major_locator(MaxNLocator(4))
    else:
        figure, (axes,) = new_figure((3.4, 3.0))
    draw_spectrum(axes, spectrum)
    for law in finite:
        lower = min(lower, draw_smallest(axes, law) - 0.04 * (upper - lower))
    limit_to(axes, spectrum, lower, upper)
    axes.set_xlabel(r"eigenvalue $\lambda$ of the Hessian")
    axes.set_ylabel(r"spectral density $\rho(\lambda)$")
    place = rf"$\delta = {spectrum.delta:g}$, {name_step(spectrum.config, spectrum.step)}"
    if left:
        axes.set_title(place)
        set_title(figure, describe(spectrum.config))
    else:
        axes.set_title(broken(f"{describe(spectrum.config)}\n{place}", figure))
    handles, labels = axes.get_legend_handles_labels()
    legend_below(figure, axes, handles, labels, ncols=3 if left else 2)
    return figure


@drawing
def plot_flow(trajectory: Trajectory, steps: Sequence[int] | None = None) -> Figure:
    """Draw edges and outliers of the Hessian along a trajectory: the BBP transition in time.

    Parameters
    ----------
    trajectory : Trajectory
    steps : sequence of int, optional
        Ascending; by default about a dozen, evenly spaced.

    Returns
    -------
    matplotlib.figure.Figure
        See `rmt.plotting.plot_flow`.

    Raises
    ------
    ValueError
        If a step is out of range, or the steps do not ascend.
    """
    from rmt import plotting

    if steps is None:
        steps = np.unique(np.linspace(0, trajectory.n_steps, 13).round().astype(int)).tolist()
    place = rf"$\delta = {trajectory.delta:g}$"
    title = f"{describe(trajectory.config)}, {place}"
    laws = [trajectory.hessian(step) for step in steps]
    figure: Figure = plotting.plot_flow(steps, laws, title=title)
    return figure


def draw_spectrum(axes: Axes, spectrum: Spectrum) -> None:
    """Draw density, edges, outliers and the atom at zero, each with its label."""
    x, density = spectrum.x, spectrum.density
    axes.fill_between(x, 0.0, np.nan_to_num(density), color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(x, density, color=BLUE, label="bulk")
    for edge, name in ((spectrum.left_edge, "left"), (spectrum.right_edge, "right")):
        if np.isfinite(edge) and (name == "left" or edge <= 1.5 * spectrum.quantile(0.99)):
            stderr = getattr(spectrum, f"{name}_edge_stderr")
            axes.axvline(
                edge, 0.0, 0.3, color=BLUE, linewidth=0.9, linestyle=(0, (1.5, 1.5)), zorder=1,
                label=f"{name} edge {format_number(edge, stderr)}",
            )  # fmt: skip
    unbounded = not np.isfinite(spectrum.left_edge), not np.isfinite(spectrum.right_edge)
    if any(unbounded):
        sides = " and ".join(
            n for n, open_ in zip(("left", "right"), unbounded, strict=True) if open_
        )
        axes.plot([], [], " ", label=f"no edge on the {sides}")
    for n, outlier in enumerate(o for o in spectrum.outliers if o.separated):
        axes.axvline(
            outlier.value, color=VERMILLION if outlier.hard_overlap > 0 else PURPLE,
            linewidth=1, zorder=3, linestyle=DASHES[n % len(DASHES)],
            label=_outlier_label(outlier) if n < _LABELLED_OUTLIERS else None,
        )  # fmt: skip
    doubtful = [outlier.value for outlier in spectrum.outliers if not outlier.separated]
    if doubtful:
        axes.plot(
            doubtful, np.full(len(doubtful), 0.02), "s", color=GREY, markersize=4.1, zorder=4,
            markerfacecolor="white", transform=axes.get_xaxis_transform(),
            label="not told from the edge",
        )  # fmt: skip
    if spectrum.atom_at_zero > 0:
        places = zeros_of(spectrum)
        axes.plot(
            places, np.zeros(len(places)), "^", color=GREEN, markersize=6.1, clip_on=False,
            zorder=5, label=f"atom of mass {spectrum.atom_at_zero:.3g}",
        )  # fmt: skip


def _outlier_label(outlier: SpectrumOutlier) -> str:
    value = format_number(outlier.value, outlier.stderr)
    if outlier.hard_overlap > 0:
        return f"outlier {value},\nhard overlap {outlier.hard_overlap:.2f}"
    return f"outlier {value},\noverlap with easy directions {sum(outlier.latent_overlap):.2f}"


def zeros_of(spectrum: Spectrum) -> list[float]:
    """Return the places of atoms: eigenvalues zero without weight decay or normal forces."""
    if spectrum.shift is not None:
        return sorted(set(spectrum.shift.tolist()))
    problem = spectrum.config.get("problem")
    return [float(problem["weight_decay"]) if problem else 0.0]


def useful_range(spectrum: Spectrum) -> tuple[float, float]:
    """Return a range with all but a long tail, the outliers and zero."""
    values = [outlier.value for outlier in spectrum.outliers]
    low, high = spectrum.quantile(0.01), spectrum.quantile(0.99)
    width = high - low
    if np.isfinite(spectrum.left_edge) and low - spectrum.left_edge < 0.5 * width:
        low = spectrum.left_edge
    if np.isfinite(spectrum.right_edge) and spectrum.right_edge - high < 0.5 * width:
        high = spectrum.right_edge
    low, high = min([low, *values, 0.0]), max([high, *values, 0.0])
    margin = 0.04 * (high - low) or 0.5
    return low - margin, high + margin


def limit_to(axes: Axes, spectrum: Spectrum, lower: float, upper: float) -> None:
    """Show the eigenvalues in a range; cut off only narrow singularities (next to zero)."""
    x = np.linspace(lower, upper, 1000)
    density = np.interp(x, spectrum.x, np.nan_to_num(spectrum.density), left=0.0, right=0.0)
    top = min(float(density.max()), 3.0 * float(np.quantile(density, 0.95)))
    axes.set_xlim(lower, upper)
    axes.set_ylim(0.0, 1.12 * top or 1.0)
