"""Command ``curve``: delta_NN against the horizon."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.sampling import Sampling
from dmft._numerics.value_text import text_table
from dmft.cli.output import (
    Output,
    cell,
    execution,
    expected_solves,
    paths_line,
    picked,
    problem_lines,
    unstable_line,
)
from dmft.cli.run_files import given, needed, run_file, until

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.threshold.curve import ThresholdCurve
    from dmft.threshold.extrapolation import Extrapolation

__all__ = ["run_curve"]

_ROWS = 10
_JSON = """steps times value stderr interpolation_error bias error statuses crossings bracket
limit detail edge_at_threshold edge_at_threshold_stderr unstable_share n_evaluations delta gap
gap_stderr left_edge left_edge_stderr rtol n_paths paths_of_solve gap_limit"""


def run_curve(arguments: argparse.Namespace) -> int:
    """Find delta_NN at many horizons, and its limit."""
    from dmft.threshold.horizon import delta_nn_curve

    run = _curve_run(arguments)
    settings = run.curve
    bracket = needed(settings.bracket or run.threshold.bracket, "curve.bracket")
    with Output(arguments, run) as output:
        total = expected_solves(settings.points)
        with execution(arguments, total, "values of delta") as options:
            result = delta_nn_curve(
                run.problem,
                run.method,
                bracket,
                settings.steps,
                run.sampling,
                **settings.stated("points", "max_solves"),
                **run.accuracy_options,
                **options,
            )
        output.save("curve", result)
        if np.isfinite(result.gap).any():
            output.draw("curve", "plot_curve", result)
    status = result.status
    if status.ok and arguments.require_limit:
        status = result.limit.status
    sampling = Sampling(**result.config["sampling"])
    lines = [*problem_lines(run), paths_line(sampling, run, to_accuracy=True), *_lines(result)]
    return output.report("curve", status, picked(result, _JSON), lines, _table(result))


def _curve_run(arguments: argparse.Namespace) -> RunFile:
    """Return the run file with the options of the command line, and the curve's own horizon."""
    run = run_file(arguments)
    n_steps = given(arguments, "method").get("n_steps", run.curve.n_steps)
    curve = dataclasses.replace(run.curve, n_steps=n_steps)
    return dataclasses.replace(run, method=until(run.method, n_steps), curve=curve)


def _lines(result: ThresholdCurve) -> list[tuple[str, str]]:
    lines = [
        ("solves", f"{result.n_evaluations} values of delta"),
        ("limit", _limit_text(result.limit, known_late=bool(np.isfinite(result.value[-1])))),
    ]
    lines += _estimates(result)
    if result.limit.detail:
        lines.append(("", result.limit.detail))
    if result.detail:
        lines.append(("detail", result.detail))
    if not np.isfinite(result.gap).any():
        lines.append(("figure", "none: there is no finite gap to draw"))
    share = float(np.max(result.unstable_share, initial=0.0, where=result.unstable_share > 0.0))
    return lines + unstable_line(share, f"up to {share:.1%} of an average at the threshold")


def _estimates(result: ThresholdCurve) -> list[tuple[str, str]]:
    """Write the two estimates that the limit consists of, and what is assumed of the first."""
    limit, fixed = result.limit, result.gap_limit
    lines = []
    if limit.n_points:
        value, lower, upper = limit.in_time
        curve = f"{value:.4g}, {lower:.4g} to {upper:.4g}"
        ranges = [
            "none" if np.isnan(low) else f"{low:.4g} to {high:.4g}"
            for low, high in (limit.narrower, limit.wider)
        ]
        prior = f"with half and twice the range of powers {' and '.join(ranges)}"
        lines.append(("  by the curve", f"{curve}; {prior}"))
    if fixed is not None and fixed.is_known:
        ends = f"{fixed.threshold_lower:.4g} to {fixed.threshold_upper:.4g}"
        lines.append(("  by the gap", f"{fixed.threshold:.4g}, {ends}, at fixed delta"))
    return lines


def _limit_text(limit: Extrapolation, *, known_late: bool) -> str:
    """Write the limit and its interval, or why there is none."""
    if not limit.n_points and not known_late:
        return "none: there is no threshold at the last step"
    level = f"{100 * limit.level:.0f} %"
    if np.isfinite(limit.value):
        text = f"{limit.value:.4g}, {level} interval {limit.lower:.4g} to {limit.upper:.4g}"
    elif np.isfinite(limit.lower):
        text = f"above {limit.lower:.4g} ({level}), no upper bound"
    elif np.isfinite(limit.upper):
        text = f"below {limit.upper:.4g} ({level}), no lower bound"
    else:
        text = "none of the laws considered describes the late points"
    return text if limit.status.ok else f"{text}; {limit.status.name}: {limit.status.value}"


def _table(result: ThresholdCurve) -> str:
    """Return a table of about ten steps, the first and last among them."""
    rows = np.unique(np.linspace(0, len(result.steps) - 1, _ROWS).round().astype(int))
    head = ("step", "time", "delta_NN", "left edge there", "status")
    cells = [
        (
            str(result.steps[row]),
            f"{result.times[row]:.4g}",
            cell(result.value[row], result.error[row]),
            cell(result.edge_at_threshold[row], result.edge_at_threshold_stderr[row]),
            result.statuses[row].name,
        )
        for row in rows
    ]
    return text_table(head, cells)
