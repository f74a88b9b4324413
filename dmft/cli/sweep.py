"""The command that finds the threshold in simulations."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from dmft.cli.arguments import descent_of, run_file, setting, stated
from dmft.cli.exits import DONE, NUMERICAL, UsageError
from dmft.cli.output import (
    Output,
    inputs_line,
    keeping_seeds,
    paths_line,
    problem_lines,
    progress,
    with_error,
)
from dmft.cli.theory import threshold_of

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.studies.sweep_result import Sweep
    from dmft.threshold.threshold import Threshold

__all__ = ["run_sweep"]


def run_sweep(arguments: argparse.Namespace) -> int:
    """Simulate over a grid of delta and sizes, and draw in the theory."""
    from dmft.simulation.simulation_plan import check_steps
    from dmft.studies.sweeps import sweep

    run = _swept_run(arguments)
    settings, horizon = run.sweep, stated(arguments, "step").get("step", run.threshold.step)
    if horizon is not None:
        check_steps("step", [horizon], run.method.n_steps)
    grid, sizes, budget = settings.grid, settings.d, settings.n_steps
    assert grid is not None  # _swept_run has seen to all three
    assert sizes is not None
    assert budget is not None
    bracket = _bracket(run, grid)
    inputs: dict[str, Any] = {} if settings.inputs is None else {"inputs": settings.inputs}
    threshold: Threshold | None = None
    with Output(arguments, run) as output, keeping_seeds(output):
        total = len(sizes) * len(grid) * settings.seeds
        with progress(total, "seeds") as advance:
            result = sweep(
                run.problem,
                grid,
                descent_of(run).until(budget),
                d=sizes,
                seeds=settings.seeds,
                recovery=settings.recovery,
                hessian_step=settings.hessian_step,
                checkpoint=output.subfolder("sweep"),
                workers=arguments.workers,
                progress=advance,
                **inputs,
            )
        output.save("sweep", result)
        if bracket is not None:
            threshold = threshold_of(run, bracket, horizon, arguments.threads)
            output.save("sweep-threshold", threshold)
        output.draw("sweep", "plot_sweep", result, threshold)
    status = result.status
    if status.ok and threshold is not None:
        status = threshold.status
    data, lines = _json(result, threshold), _lines(run, threshold)
    output.report("sweep", status, data, lines, result.table())
    return DONE if status.ok else NUMERICAL


def _swept_run(arguments: argparse.Namespace) -> RunFile:
    """Return the run file with the overrides of the command line in its sweep table."""
    from dmft.simulation.simulation_plan import check_steps

    run = run_file(arguments)
    given = stated(
        arguments, "d", "seeds", "inputs", "deltas", "recovery", "hessian_step", "budget"
    )
    setting(given.get("d"), run.sweep.d, "sweep.d", "--d")
    setting(given.get("deltas"), run.sweep.grid, "sweep.deltas", "--deltas")
    in_file = run.method.n_steps if run.sweep.n_steps is None else run.sweep.n_steps
    given["n_steps"] = given.pop("budget", in_file)
    if "deltas" in given:
        given["bracket"] = None
    settings = dataclasses.replace(run.sweep, **given)
    if settings.hessian_step is not None:
        try:
            check_steps("hessian_step", [settings.hessian_step], given["n_steps"])
        except ValueError as error:
            hint = "" if "hessian_step" in given else "; give --hessian-step"
            raise UsageError(f"{error}{hint}") from None
    return dataclasses.replace(run, sweep=settings)


def _bracket(run: RunFile, grid: tuple[float, ...]) -> tuple[float, float] | None:
    """Return where to look for the theory's threshold; None if there can be none."""
    if run.problem.starts_on_hard:
        return None
    if run.threshold.bracket is not None:
        return run.threshold.bracket
    return (grid[0], grid[-1]) if len(grid) > 1 else None


def _lines(run: RunFile, threshold: Threshold | None) -> list[tuple[str, str]]:
    lines = [*problem_lines(run), inputs_line(run.sweep.inputs)]
    if threshold is not None:
        value = with_error(threshold.value, threshold.stderr)
        if not threshold.status.ok:
            value = f"none found: {threshold.status.name}"
        lines += [paths_line(run), (f"delta_NN(t={threshold.step})", value)]
        if threshold.detail:
            lines.append(("detail", threshold.detail))
    return lines


def _json(result: Sweep, threshold: Threshold | None) -> dict[str, Any]:
    crossings = {d: result.crossing(d) for d in result.d}
    theory = None
    if threshold is not None:
        theory = {
            "value": threshold.value,
            "stderr": threshold.stderr,
            "step": threshold.step,
            "status": threshold.status.name,
            "detail": threshold.detail,
        }
    return {
        "d": result.d,
        "deltas": result.deltas,
        "seeds": result.seeds,
        "n_steps": result.n_steps,
        "recovery": result.recovery,
        "hessian_step": result.hessian_step,
        "probability": result.probability,
        "recovery_step": result.recovery_step,
        "largest_cosine": result.largest_cosine,
        "train_loss": result.train_loss,
        "test_loss": result.test_loss,
        "smallest_eigenvalue": result.smallest_eigenvalue,
        "hard_overlap": result.hard_overlap,
        "statuses": result.statuses,
        "crossing": {
            d: {**vars(crossing), "status": crossing.status.name}
            for d, crossing in crossings.items()
        },
        "theory": theory,
    }
