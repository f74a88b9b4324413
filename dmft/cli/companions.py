"""Commands ``erm-limit`` and ``spectral-method``: exact companions of trained networks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.cli.output import Output, picked, progress
from dmft.cli.run_files import given, needed, overlaid, overrides, run_file, run_of_label

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile

__all__ = ["run_erm_limit", "run_spectral_method"]

_MINIMIZER = """overlap overlap_stderr norm norm_stderr train_loss train_loss_stderr test_loss
test_loss_stderr test_error test_error_stderr noise susceptibility residual"""
_SPECTRAL = """edge edge_stderr gap gap_stderr outlier outlier_stderr overlap overlap_stderr
latent_overlap threshold threshold_stderr crossings spectrum_status threshold_status"""


def run_erm_limit(arguments: argparse.Namespace) -> int:
    """Find the minimiser of the empirical risk of a linear neuron under a convex loss."""
    from dmft.observables.risk_minimization import erm_limit, minimizer_lines

    run = run_file(arguments)
    delta = needed(run.trajectory.delta, "trajectory.delta")
    with Output(arguments, run) as output:
        with progress() as advance:
            result = erm_limit(run.problem, delta, run.sampling, progress=advance)
        output.save("erm-limit", result)
        if math.isfinite(result.test_error):
            output.draw("erm-limit", "plot_margins", result)
    data = {"delta": delta, **picked(result, _MINIMIZER)}
    return output.report("erm-limit", result.status, data, minimizer_lines(result, run.name))


def run_spectral_method(arguments: argparse.Namespace) -> int:
    """Compute outliers, overlaps and threshold of a spectral method of a label."""
    from dmft.recovery.report import spectral_lines
    from dmft.recovery.spectral_methods import spectral_method

    run = _run(arguments)
    delta = needed(run.trajectory.delta, "trajectory.delta")
    with Output(arguments, run) as output:
        result = spectral_method(
            run.problem,
            delta,
            **run.spectral_method.stated(),
            replicates=run.sampling.replicates,
            seed=run.sampling.seed,
        )
        output.save("spectral-method", result)
        if np.size(result.x):
            output.draw("spectral-method", "plot_spectral_method", result)
    data: dict[str, Any] = {"delta": delta, **picked(result, _SPECTRAL)}
    lines, text = spectral_lines(result, run.name), result._status_text
    return output.report("spectral-method", result.status, data, lines, text=text)


def _run(arguments: argparse.Namespace) -> RunFile:
    """Return the run file, or that of a label alone."""
    label = given(arguments, "target").get("label")
    if label is None or arguments.file is not None or arguments.preset is not None:
        return run_file(arguments)
    stated = overrides(arguments)
    del stated["target.label"]
    return overlaid(arguments, run_of_label(label, stated))
