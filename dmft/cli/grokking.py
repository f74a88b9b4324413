"""Command ``grokking``: the step at which runs of finite dimension learn a hard direction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dmft.cli.exits import UsageError
from dmft.cli.output import Output, execution, keeping_seeds, picked, unused_accuracy
from dmft.cli.recovery import check_gaussian, recovery_json
from dmft.cli.run_files import descent_of, needed, run_file
from dmft.cli.simulation import simulated
from rmt.status import first_failure

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from dmft.config.config import RunFile
    from dmft.simulation.simulation import Simulation
    from dmft.studies.grokking import Grokking
    from dmft.studies.recovery_result import RecoveryProbability

__all__ = ["run_grokking"]

_JSON = (
    "d probabilities fall_time fall_time_stderr n_starts fall_level start start_covariance detail"
)
_DROP = "directions fall_level fall_time fall_time_stderr"


def run_grokking(arguments: argparse.Namespace) -> int:
    """Predict the fall of the test loss against d, and simulate it."""
    from dmft._numerics.validation import check_integer
    from dmft.simulation.simulation_plan import check_workers
    from dmft.studies.grokking import predict_grokking
    from dmft.studies.report import grokking_lines, grokking_table

    run = run_file(arguments)
    stored = run.trajectory.delta if run.simulation.delta is None else run.simulation.delta
    delta = needed(stored, "simulation.delta")
    sizes = needed(run.simulation.d, "simulation.d")
    seeds = run.simulation.seeds if arguments.seeds is None else arguments.seeds
    check_integer("seeds", seeds, minimum=0)
    if arguments.recovery_draws is not None:
        check_integer("--recovery-draws", arguments.recovery_draws, minimum=1)
    check_workers(arguments.workers)
    _refuse_what_is_ignored(run)
    starts = _starts(arguments, run, sizes)
    kind = "grokking-random" if starts is None else "grokking"
    with Output(arguments, run) as output:
        with execution(arguments) as running:
            result = predict_grokking(
                run.problem,
                delta,
                descent_of(run),
                sizes,
                hard_overlap=starts,
                sampling=run.sampling,
                **run.grokking.stated("drops", "n_draws", "max_draws"),
                **running.options("threads", "progress"),
            )
        # Saved after the simulations, whose folders may be refused.
        files = {
            d: (f"{kind}-d{d}", {"hard_overlap": None if starts is None else starts[i]})
            for i, d in enumerate(sizes if seeds else ())
        }
        with keeping_seeds(output):
            simulations = simulated(arguments, run, output, delta, seeds, files)
            kept = output.subfolder(f"{kind}-recovery")
            recovery = _recovery(arguments, run, delta, sizes, starts, kept)
        if recovery is not None:
            output.save(f"{kind}-recovery", recovery)
            output.draw(f"{kind}-recovery", "plot_recovery", recovery)
        output.save(kind, result)
        output.draw(kind, "plot_grokking", result, simulations)
    lines = unused_accuracy(grokking_lines(result, run.name, _start_line(run, starts)), run)
    table, data = grokking_table(result, simulations), _json(result, simulations)
    status = result.status
    if recovery is not None:
        table = f"{table}\n\n{recovery.table()}"
        data["recovery"] = recovery_json(recovery)
        status = first_failure([status, recovery.status])
    return output.report("grokking", status, data, lines, table)


def _recovery(
    arguments: argparse.Namespace,
    run: RunFile,
    delta: float,
    sizes: tuple[int, ...],
    starts: list[Any] | None,
    kept: Path,
) -> RecoveryProbability | None:
    """Predict how many of the runs recover by each step, where it is asked for."""
    from dmft.studies.recovery_draws import recovery_probability

    if arguments.recovery_draws is None:
        return None
    with execution(arguments) as running:
        return recovery_probability(
            run.problem,
            delta,
            sizes,
            descent_of(run),
            draws=arguments.recovery_draws,
            hard_overlap=starts,
            checkpoint=kept,
            **running.options("workers", "progress"),
        )


def _refuse_what_is_ignored(run: RunFile) -> None:
    """Refuse settings of the run file that a prediction cannot have."""
    settings = run.simulation
    check_gaussian("simulation.inputs", settings.inputs)
    if settings.hold_hard:
        raise UsageError("simulation.hold_hard must be false to let runs learn a hard direction")


def _starts(
    arguments: argparse.Namespace, run: RunFile, sizes: tuple[int, ...]
) -> list[Any] | None:
    """Return the initial overlap at each size; None for a random start.

    That of the run file, or one standard deviation of a random start, for each neuron its own.
    """
    import numpy as np

    from dmft.studies.initial_overlap import free_radii

    if arguments.random_start:
        return None
    if run.simulation.hard_overlap is not None:
        return [run.simulation.hard_overlap] * len(sizes)
    problem = run.problem
    if problem.initial_overlap is None and isinstance(problem.init_radius, float):
        return [problem.init_radius / math.sqrt(d) for d in sizes]
    shape = problem.m, problem.target.hard_basis.shape[1]
    radii = np.broadcast_to(free_radii(problem)[:, np.newaxis], shape)
    return [radii / math.sqrt(d) for d in sizes]


def _start_line(run: RunFile, starts: list[Any] | None) -> str:
    if starts is None:
        return "random"
    if run.simulation.hard_overlap is not None:
        return f"overlap {run.simulation.hard_overlap} with the hard directions"
    return "overlap d^(-1/2) with the hard direction, in units of the radius"


def _json(result: Grokking, simulations: list[Simulation]) -> dict[str, Any]:
    from dmft.studies.report import fall_times

    return {
        **picked(result, _JSON),
        "drops": [picked(drop, _DROP) for drop in result.drops],
        "simulated": {
            simulation.d: {
                "seeds": simulation.seeds,
                "fall_time": fall_times(result, simulation),
                "drops": [
                    fall_times(result, simulation, index) for index in range(len(result.drops))
                ],
            }
            for simulation in simulations
        },
    }
