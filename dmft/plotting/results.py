"""Draw a result of any kind."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from dmft.plotting.algorithmic_gap import plot_algorithmic_gap
from dmft.plotting.cascade import plot_cascade
from dmft.plotting.comparison import plot_comparison
from dmft.plotting.finite_law import plot_finite_law
from dmft.plotting.grokking import plot_grokking
from dmft.plotting.hardness import plot_hardness
from dmft.plotting.horizon import plot_curve
from dmft.plotting.margins import plot_margins
from dmft.plotting.recovery import plot_recovery
from dmft.plotting.scaling_law import plot_scaling_law
from dmft.plotting.scan import plot_scan
from dmft.plotting.simulation import plot_simulation
from dmft.plotting.sizes import plot_sizes
from dmft.plotting.spectra import plot_spectrum
from dmft.plotting.spectral_method import plot_spectral_method
from dmft.plotting.sweep import plot_sweep
from dmft.plotting.sweep_laws import plot_sweep_prediction
from dmft.plotting.theory import plot_threshold, plot_trajectory
from rmt.canvas import drawn

__all__ = ["figure_of", "picture", "plot_result"]

#: The function that draws a result, by the name of its class.
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "AlgorithmicGap": plot_algorithmic_gap,
    "Cascade": plot_cascade,
    "Comparison": plot_comparison,
    "FiniteLaw": plot_finite_law,
    "Grokking": plot_grokking,
    "Hardness": plot_hardness,
    "RecoveryProbability": plot_recovery,
    "RiskMinimizer": plot_margins,
    "ScalingLaw": plot_scaling_law,
    "Scan": plot_scan,
    "Simulation": plot_simulation,
    "SpectralMethod": plot_spectral_method,
    "Spectrum": plot_spectrum,
    "Sweep": plot_sweep,
    "SweepPrediction": plot_sweep_prediction,
    "Threshold": plot_threshold,
    "ThresholdCurve": plot_curve,
    "ThresholdsAtSizes": plot_sizes,
    "Trajectory": plot_trajectory,
}


def plot_result(
    result: Any, ax: Any = None, *, size: Any = None, settings: Any = None, **style: Any
) -> Any:
    """Draw a result with the function for its class; return the axes, an array if several.

    Parameters
    ----------
    result : any result
    ax, size, settings
        See `dmft.plotting`.
    **style
        Settings of matplotlib with underscores for dots, such as ``font_size=8``.

    Returns
    -------
    matplotlib.axes.Axes or ndarray of them

    Raises
    ------
    ValueError
        If there is no function for it, nothing to draw, not one of `ax` for each panel, or no such
        setting.
    """
    name = type(result).__name__
    if name not in _FUNCTIONS:
        raise ValueError(f"result must be one of {', '.join(_FUNCTIONS)}; got {name}")
    settings = {**(settings or {}), **style}
    return drawn(_FUNCTIONS[name], result, ax=ax, size=size, settings=settings)


def picture(result: Any) -> bytes:
    """Return a small PNG of the figure of a result.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    stream = io.BytesIO()
    figure_of(result).savefig(stream, format="png", dpi=100)
    return stream.getvalue()


def figure_of(result: Any) -> Figure:
    """Return the figure of a result.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    figure: Figure = np.ravel(np.asarray(plot_result(result), dtype=object))[0].figure
    return figure
