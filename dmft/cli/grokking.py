"""Command ``grokking``: the step at which runs of finite dimension learn a hard direction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dmft._numerics.value_text import text_table
from dmft.cli.exits import UsageError
from dmft.cli.output import (
    Output,
    keeping_seeds,
    paths_line,
    picked,
    problem_lines,
    progress,
)
from dmft.cli.run_files import descent_of, needed, run_file
from dmft.cli.simulation import simulated

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.simulation.simulation import Simulation
    from dmft.studies.grokking import Grokking

__all__ = ["run_grokking"]

_OF_ONE_NUMBER, _DRAWN = 3, 16  # runs that are followed, as predict_grokking
_JSON = "d probabilities fall_time fall_time_stderr n_starts fall_level start start_covariance"


def run_grokking(arguments: argparse.Namespace) -> int:
    """Predict the fall of the test loss against d, and simulate it."""
    from dmft._numerics.validation import check_integer
    from dmft.simulation.simulation_plan import check_workers
    from dmft.studies.grokking import predict_grokking

    run = run_file(arguments)
    stored = run.trajectory.delta if run.simulation.delta is None else run.simulation.delta
    delta = needed(stored, "simulation.delta")
    sizes = needed(run.simulation.d, "simulation.d")
    seeds = run.simulation.seeds if arguments.seeds is None else arguments.seeds
    check_integer("seeds", seeds, minimum=0)
    check_workers(arguments.workers)
    _refuse_what_is_ignored(run)
    starts = _starts(arguments, run, sizes)
    kind = "grokking-random" if starts is None else "grokking"
    with Output(arguments, run) as output, keeping_seeds(output):
        is_number = run.problem.m * run.problem.target.hard_basis.shape[1] == 1
        at_first = _OF_ONE_NUMBER if is_number else _DRAWN  # more where their error is large
        with progress(at_first * len(sizes), "predicted runs") as advance:
            result = predict_grokking(
                run.problem,
                delta,
                descent_of(run),
                sizes,
                hard_overlap=starts,
                sampling=run.sampling,
                threads=arguments.threads,
                progress=advance,
            )
        # Saved after the simulations, whose folders may be refused.
        files = {
            d: (f"{kind}-d{d}", {"hard_overlap": None if starts is None else starts[i]})
            for i, d in enumerate(sizes if seeds else ())
        }
        simulations = simulated(arguments, run, output, delta, seeds, files)
        output.save(kind, result)
        output.draw(kind, "plot_grokking", result, simulations)
    lines = [
        *problem_lines(run),
        ("delta, steps", f"{delta:g}, {run.method.n_steps}"),
        ("start", _start_line(run, starts)),
        paths_line(run.sampling, run),
        *_drawn_line(result),
    ]
    table = _table(result, simulations)
    return output.report("grokking", result.status, _json(result, simulations), lines, table)


def _refuse_what_is_ignored(run: RunFile) -> None:
    """Refuse settings of the run file that a prediction cannot have."""
    settings = run.simulation
    if settings.inputs is not None and not settings.inputs.is_gaussian:
        raise UsageError(
            f"simulation.inputs must be gaussian to predict runs, got {settings.inputs.law}"
        )
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


def _drawn_line(result: Grokking) -> list[tuple[str, str]]:
    """Write the number of starts drawn, if they were, and its effect on the times."""
    if not (result.fall_time_stderr > 0.0).any():
        return []
    counts = ", ".join(str(count) for count in result.n_starts)
    return [("starts drawn", f"{counts}; errors below are those of so many starts")]


def _fall_times(result: Grokking, simulation: Simulation) -> list[float]:
    from dmft.studies.fall_times import fall_step

    level = float(result.fall_level[result.d.index(simulation.d)])
    return [fall_step(loss, level) for loss in simulation.test_loss]


def _table(result: Grokking, simulations: list[Simulation]) -> str:
    """Return the time of the fall, a row for each size."""
    levels = [f"{level:.0%}" for level in result.probabilities]
    header = ["test loss falls at step", *levels]
    if simulations:
        header += ["simulated median", "from", "to", "in the band"]
    rows = []
    for d, times, errors in zip(result.d, result.fall_time, result.fall_time_stderr, strict=True):
        row = [f"d = {d}", *map(_time, times, errors)]
        for simulation in (one for one in simulations if one.d == d):
            found = sorted(_last(time) for time in _fall_times(result, simulation))
            low, high = _last(-math.inf if math.isnan(times[0]) else times[0]), _last(times[-1])
            inside = sum(low <= time <= high for time in found)
            middle = 0.5 * (found[(len(found) - 1) // 2] + found[len(found) // 2])
            row += [_time(middle), _time(found[0]), _time(found[-1]), f"{inside} of {len(found)}"]
        rows.append(row)
    return text_table(header, rows)


def _last(time: float) -> float:
    """Sort a run that did not fall after all that did."""
    return math.inf if math.isnan(time) else time


def _time(time: float, error: float = 0.0) -> str:
    if not math.isfinite(time):
        return "later"
    return f"{time:.1f} +- {error:.1f}" if error > 0.0 else f"{time:.1f}"


def _json(result: Grokking, simulations: list[Simulation]) -> dict[str, Any]:
    return {
        **picked(result, _JSON),
        "simulated": {
            simulation.d: {
                "seeds": simulation.seeds,
                "fall_time": _fall_times(result, simulation),
            }
            for simulation in simulations
        },
    }
