"""The command that draws delta_NN against the horizon."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.cli.arguments import in_bytes, run_file, setting, stated, until
from dmft.cli.exits import DONE, NUMERICAL
from dmft.cli.output import (
    Output,
    cell,
    paths_line,
    problem_lines,
    progress,
    resumable,
    text_table,
)
from dmft.solver.stability import SHARE_TOLERANCE

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.threshold.curve import ThresholdCurve
    from dmft.threshold.extrapolation import Extrapolation

__all__ = ["run_curve"]

_POINTS = 9  # as delta_nn_curve
_REFINEMENTS = 5  # what the curve usually takes after the first grid
_ROWS = 10


def run_curve(arguments: argparse.Namespace) -> int:
    """Find delta_NN at many horizons, and its limit."""
    from dmft.threshold.horizon import delta_nn_curve

    run = _curve_run(arguments)
    settings = run.curve
    in_file = run.threshold.bracket if settings.bracket is None else settings.bracket
    bracket = setting(None, in_file, "curve.bracket", "--bracket LO HI")
    numbers = {
        name: getattr(settings, name)
        for name in ("points", "max_solves")
        if getattr(settings, name) is not None
    }
    with Output(arguments, run) as output:
        total = numbers.get("points", _POINTS) + _REFINEMENTS
        with resumable(arguments.checkpoint), progress(total, "values of delta") as advance:
            result = delta_nn_curve(
                run.problem,
                run.method,
                bracket,
                settings.steps,
                run.sampling,
                threads=arguments.threads,
                progress=advance,
                checkpoint=arguments.checkpoint,
                max_memory=in_bytes(arguments.max_memory),
                **numbers,
            )
        output.save("curve", result)
        if np.isfinite(result.gap).any():
            output.draw("curve", "plot_curve", result)
    status = result.status
    if status.ok and arguments.require_limit:
        status = result.limit.status
    output.report(
        "curve",
        status,
        _json(result),
        [*problem_lines(run), paths_line(run), *_lines(result)],
        _table(result),
    )
    return DONE if status.ok else NUMERICAL


def _curve_run(arguments: argparse.Namespace) -> RunFile:
    """Return the run file with the overrides of the command line, and the curve's own horizon."""
    run = run_file(arguments)
    given = stated(arguments, "bracket", "steps", "points", "max_solves", "n_steps")
    settings = dataclasses.replace(run.curve, **given)
    method = until(run.method, settings.n_steps)
    return dataclasses.replace(run, method=method, curve=settings)


def _json(result: ThresholdCurve) -> dict[str, Any]:
    return {
        "steps": result.steps,
        "times": result.times,
        "value": result.value,
        "stderr": result.stderr,
        "interpolation_error": result.interpolation_error,
        "bias": result.bias,
        "statuses": [status.name for status in result.statuses],
        "crossings": [[vars(crossing) for crossing in step] for step in result.crossings],
        "bracket": result.bracket,
        "limit": result.limit.to_config(),
        "detail": result.detail,
        "edge_at_threshold": result.edge_at_threshold,
        "edge_at_threshold_stderr": result.edge_at_threshold_stderr,
        "unstable_share": result.unstable_share,
        "n_evaluations": result.n_evaluations,
        "delta": result.delta,
        "gap": result.gap,
        "gap_stderr": result.gap_stderr,
        "left_edge": result.left_edge,
        "left_edge_stderr": result.left_edge_stderr,
    }


def _lines(result: ThresholdCurve) -> list[tuple[str, str]]:
    lines = [
        ("solves", f"{result.n_evaluations} values of delta"),
        ("limit", _limit_text(result.limit, known_late=bool(np.isfinite(result.value[-1])))),
    ]
    if result.detail:
        lines.append(("detail", result.detail))
    if not np.isfinite(result.gap).any():
        lines.append(("figure", "none: there is no finite gap to draw"))
    share = float(np.max(result.unstable_share, initial=0.0, where=result.unstable_share > 0.0))
    if share > SHARE_TOLERANCE:
        text = f"carry up to {share:.1%} of an average at the threshold: a smaller step_size"
        lines.append(("unstable paths", f"{text}, or gradient flow, has fewer or none"))
    return lines


def _limit_text(limit: Extrapolation, *, known_late: bool) -> str:
    """Say the limit and its interval, and in words what is open about it."""
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
    """About ten of the steps, the first and last among them."""
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
