"""Command ``curve``: delta_NN against the horizon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft.cli.output import Output, execution, first_lines, picked
from dmft.cli.run_files import bracket_of, run_of_horizon, which_of

if TYPE_CHECKING:
    import argparse


__all__ = ["run_curve"]

_JSON = """steps times value stderr interpolation_error bias error statuses crossings bracket
limit detail edge_at_threshold edge_at_threshold_stderr unstable_share n_evaluations delta gap
gap_stderr left_edge left_edge_stderr rtol n_paths paths_of_solve gap_limit criterion index
jump jump_stderr edge_kinds d draws band"""


def run_curve(arguments: argparse.Namespace) -> int:
    """Find delta_NN at many horizons, and its limit."""
    from dmft.threshold.horizon import delta_nn_curve
    from dmft.threshold.report import curve_lines, curve_table

    run = run_of_horizon(arguments, "curve")
    settings = run.curve
    bracket = bracket_of(run, "curve")
    with Output(arguments, run) as output:
        with execution(arguments, output, "curve", lambda: first_lines(run, "curve")) as running:
            result = delta_nn_curve(
                run.problem,
                run.method,
                bracket,
                settings.steps,
                run.sampling,
                **settings.stated("points", "max_solves"),
                **which_of(run, "curve", "criterion", "index"),
                **settings.of_size,
                **run.accuracy_options,
                **running.options(),
            )
        output.save("curve", result)
        if np.isfinite(result.gap).any():
            output.draw("curve", "plot_curve", result)
    status = result.status
    if status.ok and arguments.require_limit:
        status = result.limit.status
    lines, table = curve_lines(result, run.name), curve_table(result)
    return output.report("curve", status, picked(result, _JSON), lines, table)
