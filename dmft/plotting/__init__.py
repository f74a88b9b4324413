"""Figures: thresholds, delta_NN and delta_alg, trajectory, spectrum, theory against simulation.

The only package of ``dmft`` that imports matplotlib. One module for each subject; what they share
is in ``common``.
"""

import rmt._matplotlib  # noqa: F401

# isort: split
from dmft.plotting.algorithmic_gap import plot_algorithmic_gap
from dmft.plotting.common import save_figure, style
from dmft.plotting.comparison import plot_comparison, plot_hessian_comparison
from dmft.plotting.grokking import plot_grokking
from dmft.plotting.hardness import plot_hardness
from dmft.plotting.horizon import plot_curve
from dmft.plotting.scan import plot_scan
from dmft.plotting.simulation import plot_simulation
from dmft.plotting.sweep import plot_sweep
from dmft.plotting.theory import plot_flow, plot_spectrum, plot_threshold, plot_trajectory

#: Former name.
plot_gap = plot_algorithmic_gap

__all__ = [
    "plot_algorithmic_gap",
    "plot_comparison",
    "plot_curve",
    "plot_flow",
    "plot_gap",
    "plot_grokking",
    "plot_hardness",
    "plot_hessian_comparison",
    "plot_scan",
    "plot_simulation",
    "plot_spectrum",
    "plot_sweep",
    "plot_threshold",
    "plot_trajectory",
    "save_figure",
    "style",
]
