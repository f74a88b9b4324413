"""The command that predicts when runs of finite dimension learn a hard direction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dmft.cli.arguments import run_file, setting, stated
from dmft.cli.exits import DONE, NUMERICAL
from dmft.cli.output import (
    Output,
    keeping_seeds,
    paths_line,
    problem_lines,
    progress,
    text_table,
)

if TYPE_CHECKING:
    import argparse

    from dmft.config import RunFile
    from dmft.grokking import Grokking
    from dmft.simulation import Simulation

__all__ = ["run_grokking"]


def run_grokking(arguments: argparse.Namespace) -> int:
    """Predict the fall of the test loss against d, and simulate it."""
    from dmft._validation import check_integer
    from dmft.grokking import predict_grokking

    run = run_file(arguments)
    given = stated(arguments, "d", "delta", "seeds")
    stored = run.trajectory.delta if run.simulation.delta is None else run.simulation.delta
    delta = setting(given.get("delta"), stored, "simulation.delta", "--delta")
    sizes = setting(given.get("d"), run.simulation.d, "simulation.d", "--d")
    seeds = check_integer("seeds", given.get("seeds", run.simulation.seeds), minimum=0)
    # An overlap of one standard deviation of a random start, or the random start itself.
    radius = run.problem.init_radius
    starts = None if arguments.random_start else [radius / math.sqrt(max(d, 1)) for d in sizes]
    with Output(arguments, run) as output, keeping_seeds(output):
        with progress(3 * len(sizes), "predicted runs") as advance:
            result = predict_grokking(
                run.problem,
                delta,
                run.method,
                sizes,
                hard_overlap=starts,
                sampling=run.sampling,
                threads=arguments.threads,
                progress=advance,
            )
        output.save("grokking", result)
        simulations = _simulate(arguments, run, output, delta, sizes, seeds, starts)
        from dmft.plotting import plot_grokking

        output.draw("grokking", plot_grokking(result, simulations))
    lines = [
        *problem_lines(run),
        ("delta, steps", f"{delta:g}, {run.method.n_steps}"),
        ("start", "random" if starts is None else "overlap d^(-1/2) with the hard direction"),
        paths_line(run),
    ]
    table = _table(result, simulations)
    output.report("grokking", result.status, _json(result, simulations), lines, table)
    return DONE if result.status.ok else NUMERICAL


def _simulate(
    arguments: argparse.Namespace,
    run: RunFile,
    output: Output,
    delta: float,
    sizes: tuple[int, ...],
    seeds: int,
    starts: list[float] | None,
) -> list[Simulation]:
    """Seeds of each size; none if their number is 0."""
    from dmft.simulation import simulate

    if not seeds:
        return []
    simulations = []
    with progress(len(sizes) * seeds, "seeds") as advance:
        for i, d in enumerate(sizes):
            simulation = simulate(
                run.problem,
                delta,
                run.method,
                d,
                seeds,
                hard_overlap=None if starts is None else starts[i],
                out=output.subfolder(f"grokking-d{d}"),
                workers=arguments.workers,
                progress=advance,
            )
            output.save(f"grokking-d{d}", simulation)
            simulations.append(simulation)
    return simulations


def _fall_times(result: Grokking, simulation: Simulation) -> list[float]:
    from dmft.grokking import fall_step

    level = float(result.fall_level[result.d.index(simulation.d)])
    return [fall_step(loss, level) for loss in simulation.test_loss]


def _table(result: Grokking, simulations: list[Simulation]) -> str:
    """Return the time of the fall, a row for each size."""
    levels = [f"{level:.0%}" for level in result.probabilities]
    header = ["test loss falls at step", *levels]
    if simulations:
        header += ["simulated median", "from", "to", "in the band"]
    rows = []
    for d, times in zip(result.d, result.fall_time, strict=True):
        row = [f"d = {d}", *(_time(time) for time in times)]
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


def _time(time: float) -> str:
    return f"{time:.1f}" if math.isfinite(time) else "later"


def _json(result: Grokking, simulations: list[Simulation]) -> dict[str, Any]:
    return {
        "d": result.d,
        "probabilities": result.probabilities,
        "fall_time": result.fall_time,
        "fall_level": result.fall_level,
        "start": result.start,
        "start_covariance": result.start_covariance,
        "simulated": {
            simulation.d: {
                "seeds": simulation.seeds,
                "fall_time": _fall_times(result, simulation),
            }
            for simulation in simulations
        },
    }
