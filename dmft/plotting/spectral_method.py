"""Figure of a spectral method: the density of its bulk, and outliers with their overlaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.validation import check_instance
from dmft.model.classification import describe_label
from dmft.model.input_laws import describe_inputs
from dmft.plotting.common import BLUE, GREY, VERMILLION, broken, format_number, new_figure
from dmft.recovery.report import describe_preprocessing
from dmft.recovery.spectral_methods import SpectralMethod
from rmt.canvas import drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_spectral_method"]


@drawing
def plot_spectral_method(result: SpectralMethod) -> Figure:
    """Draw the density of the bulk, its edge, and the outliers with their squared overlaps.

    Parameters
    ----------
    result : SpectralMethod

    Returns
    -------
    matplotlib.figure.Figure
        Dashed: the edge on the side looked at. Lines with a disc: outliers, with the squared
        overlap of their eigenvectors with the latent directions.

    Raises
    ------
    ValueError
        If there is no bulk to draw.
    """
    check_instance("result", result, SpectralMethod)
    if not len(result.x):
        raise ValueError(f"result must have a bulk to be drawn: {result.spectrum_status.name}")
    figure, (axes,) = new_figure((3.4, 2.7))
    density = np.nan_to_num(result.density)
    top = min(float(density.max()), 3.0 * float(np.quantile(density, 0.95)))
    axes.fill_between(result.x, 0.0, density, color=BLUE, alpha=0.15, linewidth=0)
    axes.plot(result.x, result.density, color=BLUE)
    edge = format_number(result.edge, result.edge_stderr)
    axes.axvline(result.edge, color=GREY, linestyle="--", linewidth=0.9, label=f"edge {edge}")
    for value, overlap, error in zip(
        result.outlier, result.overlap, result.overlap_stderr, strict=True
    ):
        words = f"outlier, overlap {format_number(float(overlap), float(error))}"
        axes.plot([value, value], [0.0, 0.6 * top], color=VERMILLION, label=words)
        axes.plot([value], [0.6 * top], "o", color=VERMILLION)
    axes.set_ylim(0.0, 1.15 * top)
    axes.set(xlabel=r"eigenvalue $\lambda$", ylabel="density")
    axes.legend(loc="best")
    config = result.config
    inputs = config["problem"].get("inputs")
    words = describe_label(config["problem"]["target"])
    words += f", {describe_inputs(inputs)} inputs" if inputs else ""
    words += f"\n{describe_preprocessing(config['preprocessing'])}, $\\delta = {config['delta']:g}$"
    axes.set_title(broken(words, figure))
    return figure
