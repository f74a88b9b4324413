"""Commands ``simulate`` and ``compare``: runs of finite dimension, and the theory against them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from dmft.cli.exits import UsageError
from dmft.cli.output import Output, execution, keeping_seeds, picked, unused_accuracy
from dmft.cli.run_files import check_steps_of, descent_of, given, needed, run_file

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from dmft.config.config import RunFile
    from dmft.simulation.simulation import Simulation

__all__ = ["run_compare", "run_simulate", "simulated"]


def run_simulate(arguments: argparse.Namespace) -> int:
    """Run gradient descent at one or more sizes."""
    from dmft.simulation.report import simulation_lines, simulation_table

    run = _simulated_run(arguments)
    with Output(arguments, run) as output, keeping_seeds(output):
        simulations = _simulate(arguments, run, output)
        output.draw(_kind(run), "plot_simulation", simulations)
    status = next((one.status for one in simulations if not one.status.ok), simulations[0].status)
    data = {"simulations": [_simulation_json(simulation) for simulation in simulations]}
    lines = simulation_lines(simulations[0], run.name)
    return output.report("simulate", status, data, lines, simulation_table(simulations))


def run_compare(arguments: argparse.Namespace) -> int:
    """Simulate, solve, and compare the two."""
    from dmft.comparison.comparison import compare
    from dmft.solver.memory import check_solve
    from dmft.trajectory.solving import solve

    run = _simulated_run(arguments, hold_hard=True)
    settings = run.simulation
    if settings.seeds < 2:
        raise UsageError(f"seeds must be at least 2 for a standard error, got {settings.seeds}")
    if settings.hard_overlap is not None:  # theory and simulation start from the same problem
        problem = run.problem.with_hard_overlap(settings.hard_overlap)
        settings = dataclasses.replace(settings, hard_overlap=None)
        run = dataclasses.replace(run, problem=problem, simulation=settings)
    assert settings.delta is not None  # _simulated_run has seen to it
    n_kept = len(set(settings.hessian_steps))
    check_solve(run.problem, descent_of(run), run.sampling, n_kept)
    with Output(arguments, run) as output, keeping_seeds(output):
        simulations = _simulate(arguments, run, output)
        with execution(arguments) as running:
            trajectory = solve(
                run.problem,
                settings.delta,
                descent_of(run),
                run.sampling,
                hessian_steps=settings.hessian_steps,
                **running.options(),
            )
        result = compare(trajectory, simulations)
        kind = "comparison" if settings.hold_hard else "comparison-free"
        output.save(kind, result)
        output.draw(kind, "plot_comparison", result)
        for step in settings.hessian_steps:
            if step <= result.last_step:
                name = f"{kind}-hessian-{step}"
                output.draw(name, "plot_hessian_comparison", trajectory, simulations, step)
    # The table begins with what the header would say.
    lines = unused_accuracy([], run)
    return output.report("compare", result.status, result.to_config(), lines, result.table())


# -- settings ------------------------------------------------------------------------------------


def _simulated_run(arguments: argparse.Namespace, *, hold_hard: bool = False) -> RunFile:
    """Return the run file with delta and the treatment of hard directions settled."""
    run = run_file(arguments)
    settings = run.simulation
    delta = run.trajectory.delta if settings.delta is None else settings.delta
    needed(settings.d, "simulation.d")
    settings = dataclasses.replace(settings, delta=needed(delta, "simulation.delta"))
    starts_free = settings.hard_overlap is not None or run.problem.starts_on_hard
    if settings.hold_hard is None and not starts_free:
        settings = dataclasses.replace(settings, hold_hard=hold_hard)
    stated = given(arguments, "simulation")
    check_steps_of(stated, settings, "hessian_steps", run.method.n_steps)
    return dataclasses.replace(run, simulation=settings)


def _kind(run: RunFile, d: int | None = None) -> str:
    """Name the runs: those kept off the hard directions and free ones are kept apart."""
    size = "" if d is None else f"-d{d}"
    return f"simulation{size}{'-held' if run.simulation.hold_hard else ''}"


# -- runs ----------------------------------------------------------------------------------------


def _simulate(arguments: argparse.Namespace, run: RunFile, output: Output) -> list[Simulation]:
    settings = run.simulation
    names = ("inputs", "hard_overlap", "n_extreme", "dense_limit", "n_test", "hessian_steps")
    options = {**settings.stated(*names), "hold_hard": bool(settings.hold_hard)}
    sizes = {d: (_kind(run, d), options) for d in settings.d or ()}
    return simulated(arguments, run, output, settings.delta, settings.seeds, sizes)


def simulated(
    arguments: argparse.Namespace,
    run: RunFile,
    output: Output,
    delta: float | None,
    seeds: int,
    sizes: Mapping[int, tuple[str, Mapping[str, Any]]],
) -> list[Simulation]:
    """Run and save the seeds of each size, with the name of its files and its options."""
    from dmft.simulation.simulation import simulate

    assert delta is not None  # the command has seen to it
    simulations = []
    with execution(arguments, total=len(sizes) * seeds, unit="seeds") as running:
        for d, (kind, options) in sizes.items():
            simulation = simulate(
                run.problem,
                delta,
                descent_of(run),
                d,
                seeds,
                checkpoint=output.subfolder(kind),
                **running.options("workers", "progress"),
                **options,
            )
            output.save(kind, simulation, of_folder=True)
            simulations.append(simulation)
    return simulations


# -- what is said --------------------------------------------------------------------------------


def _simulation_json(run: Simulation) -> dict[str, Any]:
    return {
        **picked(run, "d n delta seeds statuses mean stderr"),
        "hessian": {
            step: picked(hessian, "smallest largest hard_overlap complete")
            for step, hessian in sorted(run.hessian.items())
        },
    }
