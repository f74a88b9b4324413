"""Command ``sweep``: the threshold in simulations."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from dmft.cli.output import (
    Output,
    execution,
    keeping_seeds,
    picked,
)
from dmft.cli.run_files import check_steps_of, descent_of, given, needed, run_file
from dmft.cli.theory import threshold_of
from dmft.io.report_text import inputs_line, paths_line, problem_lines, with_error

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.studies.sweep_result import Sweep
    from dmft.threshold.threshold import Threshold

__all__ = ["run_sweep"]

_JSON = """d deltas seeds n_steps recovery hessian_step probability recovery_step largest_cosine
train_loss test_loss smallest_eigenvalue hard_overlap statuses"""


def run_sweep(arguments: argparse.Namespace) -> int:
    """Simulate over a grid of delta and sizes, and draw in the theory."""
    from dmft.simulation.simulation_plan import check_steps
    from dmft.studies.sweeps import sweep

    run = run_file(arguments)
    settings, horizon = run.sweep, run.threshold.step
    needed(settings.d, "sweep.d")
    grid = needed(settings.grid, "sweep.deltas")
    budget = run.method.n_steps if settings.n_steps is None else settings.n_steps
    run = dataclasses.replace(run, sweep=dataclasses.replace(settings, n_steps=budget))
    check_steps_of(given(arguments, "sweep"), settings, "hessian_step", budget)
    if horizon is not None:
        check_steps("step", [horizon], run.method.n_steps)
    bracket = _bracket(run, grid)
    threshold: Threshold | None = None
    with Output(arguments, run) as output, keeping_seeds(output):
        with execution(arguments) as running:
            result = sweep(
                run.problem,
                grid,
                descent_of(run).until(budget),
                checkpoint=output.subfolder("sweep"),
                **running.options("workers", "progress"),
                **settings.stated("d", "seeds", "recovery", "hessian_step", "inputs"),
            )
        output.save("sweep", result)
        if bracket is not None:
            threshold = threshold_of(arguments, run, bracket, output)
            output.save("sweep-threshold", threshold)
        output.draw("sweep", "plot_sweep", result, threshold)
    status = result.status
    if status.ok and threshold is not None:
        status = threshold.status
    data, lines = _json(result, threshold), _lines(run, result, threshold)
    return output.report("sweep", status, data, lines, result.table())


def _bracket(run: RunFile, grid: tuple[float, ...]) -> tuple[float, float] | None:
    """Return the bracket of the theory's threshold; None if there can be none."""
    if run.problem.starts_on_hard:
        return None
    if run.threshold.bracket is not None:
        return run.threshold.bracket
    return (grid[0], grid[-1]) if len(grid) > 1 else None


def _lines(run: RunFile, result: Sweep, threshold: Threshold | None) -> list[tuple[str, str]]:
    lines = [
        *problem_lines(result.config, run.name),
        inputs_line(result.config["inputs"], result.config["problem"]),
    ]
    if threshold is not None:
        value = f"none found: {threshold.status.name}"
        if math.isfinite(threshold.value):
            error = threshold.stderr if threshold.rtol is None else threshold.error
            value = with_error(threshold.value, error)
            value += "" if threshold.status.ok else f" ({threshold.status.name})"
        paths = paths_line(threshold.config["sampling"], threshold.rtol)
        lines += [paths, (f"delta_NN(t={threshold.step})", value)]
        if threshold.detail:
            lines.append(("detail", threshold.detail))
    return lines


def _json(result: Sweep, threshold: Threshold | None) -> dict[str, Any]:
    names = "value stderr error step status detail"
    theory = None if threshold is None else picked(threshold, names)
    crossings = {d: result.crossing(d) for d in result.d}
    return {**picked(result, _JSON), "crossing": crossings, "theory": theory}
