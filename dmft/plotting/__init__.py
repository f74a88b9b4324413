"""Figures: thresholds, delta_NN and delta_alg, trajectory, spectrum, theory against simulation.

The only package of ``dmft`` that imports matplotlib. One module for each subject; what they share
is in ``common``, where they draw in `rmt.canvas`.

Every ``plot_...`` function makes a figure of the size at which it is printed: 3.4 inches wide where
it has one panel, 7 where it has several, with letters of 9 points. All take ``ax`` (axes of yours,
one for each panel), ``size`` ("column", "page" or width and height in inches) and ``settings``
(of matplotlib, for this figure). The look of all figures is `STYLE`, to be changed in place:

>>> from dmft import plotting
>>> plotting.STYLE["font.size"], plotting.STYLE["pdf.fonttype"]
(9.0, 42)
>>> with plotting.style({"lines.linewidth": 2.0}):
...     pass  # figures of your own in this look, with thicker lines

``result.plot(...)`` draws in the same way and returns the axes.
"""

import rmt._matplotlib  # noqa: F401

# isort: split
from dmft.plotting.algorithmic_gap import plot_algorithmic_gap
from dmft.plotting.cascade import plot_cascade
from dmft.plotting.common import save_figure, style
from dmft.plotting.comparison import plot_comparison, plot_hessian_comparison
from dmft.plotting.finite_law import plot_finite_law
from dmft.plotting.grokking import plot_grokking
from dmft.plotting.hardness import plot_hardness
from dmft.plotting.horizon import plot_curve
from dmft.plotting.margins import plot_margins
from dmft.plotting.recovery import plot_recovery
from dmft.plotting.results import figure_of, picture, plot_result
from dmft.plotting.scaling_law import plot_scaling_law
from dmft.plotting.scan import plot_scan
from dmft.plotting.simulation import plot_simulation
from dmft.plotting.sizes import plot_sizes
from dmft.plotting.spectra import plot_flow, plot_spectrum
from dmft.plotting.spectral_method import plot_spectral_method
from dmft.plotting.sweep import plot_sweep
from dmft.plotting.sweep_laws import plot_sweep_prediction
from dmft.plotting.theory import plot_threshold, plot_trajectory
from rmt.canvas import COLUMN, PAGE
from rmt.plotting import STYLE

#: Former name.
plot_gap = plot_algorithmic_gap

__all__ = [
    "COLUMN",
    "PAGE",
    "STYLE",
    "figure_of",
    "picture",
    "plot_algorithmic_gap",
    "plot_cascade",
    "plot_comparison",
    "plot_curve",
    "plot_finite_law",
    "plot_flow",
    "plot_gap",
    "plot_grokking",
    "plot_hardness",
    "plot_hessian_comparison",
    "plot_margins",
    "plot_recovery",
    "plot_result",
    "plot_scaling_law",
    "plot_scan",
    "plot_simulation",
    "plot_sizes",
    "plot_spectral_method",
    "plot_spectrum",
    "plot_sweep",
    "plot_sweep_prediction",
    "plot_threshold",
    "plot_trajectory",
    "save_figure",
    "style",
]
