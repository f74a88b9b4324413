"""Command ``recovery``: how often runs of finite dimension recover a hard direction, predicted."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from dmft.cli.output import Output, execution, keeping_seeds, picked
from dmft.cli.run_files import descent_of, needed, run_file
from dmft.io.report_text import problem_lines

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.studies.recovery_result import RecoveryProbability

__all__ = ["check_gaussian", "recovery_json", "run_of_sweep", "run_recovery"]

_JSON = """d deltas draws seed n_steps recovery probability recovery_step largest_cosine rank
statuses"""


def run_recovery(arguments: argparse.Namespace) -> int:
    """Predict recovery over a grid of delta and sizes."""
    from dmft.studies.recovery_draws import recovery_probability

    run, sizes, grid, budget = run_of_sweep(arguments)
    settings = run.sweep
    drawing: dict[str, Any] = {}
    if settings.recovery_draws is not None:
        drawing["draws"] = settings.recovery_draws
    folder = "recovery"
    if arguments.seed:  # draws of other seeds have folders of their own
        drawing["seed"] = arguments.seed
        folder = f"recovery-seed-{arguments.seed}"
    check_gaussian("sweep.inputs", settings.inputs)
    with Output(arguments, run) as output, keeping_seeds(output):
        with execution(arguments) as running:
            result = recovery_probability(
                run.problem,
                grid,
                sizes,
                descent_of(run).until(budget),
                checkpoint=output.subfolder(folder),
                **drawing,
                **settings.stated("recovery"),
                **running.options("workers", "progress"),
            )
        output.save("recovery", result)
        output.draw("recovery", "plot_recovery", result)
    lines = problem_lines(result.config, run.name)
    return output.report("recovery", result.status, recovery_json(result), lines, result.table())


def run_of_sweep(
    arguments: argparse.Namespace,
) -> tuple[RunFile, tuple[int, ...], tuple[float, ...], int]:
    """Return the run file, with the step budget in its table, and sizes, deltas and budget.

    Raises
    ------
    UsageError
        If there are no sizes or deltas.
    """
    run = run_file(arguments)
    settings = run.sweep
    sizes = needed(settings.d, "sweep.d")
    grid = needed(settings.grid, "sweep.deltas")
    budget = run.method.n_steps if settings.n_steps is None else settings.n_steps
    settings = dataclasses.replace(settings, n_steps=budget)
    return dataclasses.replace(run, sweep=settings), sizes, grid, budget


def check_gaussian(key: str, inputs: Any) -> None:
    """Raise unless the inputs are those of the theory.

    Raises
    ------
    UsageError
        If the run file asks for another law of the inputs of runs.
    """
    from dmft.cli.exits import UsageError

    if inputs is not None and not inputs.is_gaussian:
        raise UsageError(f"{key} must be gaussian to predict runs, got {inputs.law}")


def recovery_json(result: RecoveryProbability) -> dict[str, Any]:
    """Return the numbers of a prediction, with its interval and crossings."""
    return {
        **picked(result, _JSON),
        "interval": result.probability_interval(),
        "crossing": {d: result.crossing(d) for d in result.d},
    }
