"""The commands at finite d: simulate, and compare with theory."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from dmft.cli.arguments import descent_of, run_file, setting, stated
from dmft.cli.exits import DONE, NUMERICAL, UsageError
from dmft.cli.output import (
    Output,
    inputs_line,
    keeping_seeds,
    problem_lines,
    progress,
    text_table,
    with_error,
)

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.simulation.simulation import Simulation

__all__ = ["run_compare", "run_simulate"]

_ROUNDING = 1e-12


def run_simulate(arguments: argparse.Namespace) -> int:
    """Run gradient descent at one or more sizes."""
    run = _simulated_run(arguments)
    with Output(arguments, run) as output, keeping_seeds(output):
        simulations = _simulate(arguments, run, output)
        output.draw(_kind(run), "plot_simulation", simulations)
    status = next((one.status for one in simulations if not one.status.ok), simulations[0].status)
    data = {"simulations": [_simulation_json(simulation) for simulation in simulations]}
    output.report("simulate", status, data, _header(run), _simulation_table(simulations))
    return DONE if status.ok else NUMERICAL


def run_compare(arguments: argparse.Namespace) -> int:
    """Simulate, solve, and set one against the other."""
    from dmft._numerics.machine_memory import available_memory
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
    check_solve(run.problem, descent_of(run), run.sampling, n_kept, available_memory())
    with Output(arguments, run) as output, keeping_seeds(output):
        simulations = _simulate(arguments, run, output)
        n_solves = run.sampling.replicates + 1
        with progress(run.method.n_steps * n_solves, "steps of theory") as advance:
            trajectory = solve(
                run.problem,
                settings.delta,
                descent_of(run),
                run.sampling,
                hessian_steps=settings.hessian_steps,
                threads=arguments.threads,
                progress=advance,
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
    output.report("compare", result.status, result.to_config(), [], result.table())
    return DONE if result.status.ok else NUMERICAL


# -- settings ------------------------------------------------------------------------------------


def _simulated_run(arguments: argparse.Namespace, *, hold_hard: bool = False) -> RunFile:
    """Return the run file with the overrides of the command line in its simulation table."""
    from dmft.simulation.simulation_plan import check_steps

    run = run_file(arguments)
    in_file = run.simulation
    given = stated(arguments, "d", "seeds", "inputs", "hold_hard", "hessian_steps")
    setting(given.get("d"), in_file.d, "simulation.d", "--d")
    delta = run.trajectory.delta if in_file.delta is None else in_file.delta
    given["delta"] = setting(arguments.delta, delta, "simulation.delta", "--delta")
    starts_free = in_file.hard_overlap is not None or run.problem.starts_on_hard
    if in_file.hold_hard is None and not starts_free:
        given.setdefault("hold_hard", hold_hard)
    settings = dataclasses.replace(in_file, **given)
    try:
        check_steps("hessian_steps", settings.hessian_steps, run.method.n_steps)
    except ValueError as error:
        hint = "" if "hessian_steps" in given else "; give --hessian-steps"
        raise UsageError(f"{error}{hint}") from None
    return dataclasses.replace(run, simulation=settings)


def _kind(run: RunFile, d: int | None = None) -> str:
    """Name what was simulated: runs held and free are kept apart, for both have their use."""
    size = "" if d is None else f"-d{d}"
    return f"simulation{size}{'-held' if run.simulation.hold_hard else ''}"


# -- runs ----------------------------------------------------------------------------------------


def _simulate(arguments: argparse.Namespace, run: RunFile, output: Output) -> list[Simulation]:
    from dmft.simulation.simulation import simulate

    settings = run.simulation
    assert settings.d is not None  # _simulated_run has seen to both
    assert settings.delta is not None
    optional = {
        name: value
        for name in ("inputs", "hard_overlap", "n_extreme", "dense_limit", "n_test")
        if (value := getattr(settings, name)) is not None
    }
    simulations = []
    total = len(settings.d) * settings.seeds
    with progress(total, "seeds") as advance:
        for d in settings.d:
            simulation = simulate(
                run.problem,
                settings.delta,
                descent_of(run),
                d,
                settings.seeds,
                hold_hard=bool(settings.hold_hard),
                hessian_steps=settings.hessian_steps,
                checkpoint=output.subfolder(_kind(run, d)),
                workers=arguments.workers,
                progress=advance,
                **optional,
            )
            output.save(_kind(run, d), simulation)
            simulations.append(simulation)
    return simulations


# -- what is said --------------------------------------------------------------------------------


def _header(run: RunFile) -> list[tuple[str, str]]:
    settings = run.simulation
    lines = [
        *problem_lines(run),
        ("delta, steps", f"{settings.delta:g}, {run.method.n_steps}"),
        inputs_line(settings.inputs),
    ]
    if run.problem.target.hard_basis.shape[1]:
        how = "held at overlap 0" if settings.hold_hard else "free"
        lines.append(("hard directions", how))
    return lines


def _simulation_table(simulations: list[Simulation]) -> str:
    """Return means and standard errors at the last step, a column for each size."""
    columns = [_simulation_column(simulation) for simulation in simulations]
    last = simulations[0].method.n_steps
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return text_table([f"after {last} steps", *(f"d = {one.d}" for one in simulations)], rows)


def _simulation_column(run: Simulation) -> dict[str, str]:
    def last(name: str, *index: int) -> str:
        at = (-1, *index)
        return _with_error(float(run.mean[name][at]), float(run.stderr[name][at]))

    failed = sum(not status.ok for status in run.statuses)
    column = {
        "samples n": str(run.n),
        "seeds": str(len(run.seeds)) + (f", {failed} failed" if failed else ""),
        "train loss": last("train_loss"),
        "test loss": last("test_loss"),
        "gradient norm": last("gradient_norm"),
    }
    if math.isfinite(run.mean["test_error"][0]):  # of labels -1 and +1
        column["test error"] = last("test_error")
    for j in range(run.m):
        column[f"squared norm C{j + 1}{j + 1}"] = last("correlation", j, j)
    if run.method.trains_second_layer:
        for j in range(run.m):
            column[f"second layer a{j + 1}"] = last("second_layer", j)
    import numpy as np

    assert run.problem is not None  # it was simulated, not loaded
    easy = np.any(run.problem.target.easy_projector, axis=0).tolist()
    has_hard = run.problem.target.hard_basis.shape[1] > 0
    for i, j in ((i, j) for i in range(run.k) if easy[i] for j in range(run.m)):
        column[f"overlap M{j + 1}{i + 1}"] = last("overlap", j, i)
    if has_hard and not run.hold_hard:
        column["hard cosine^2"] = last("hard_cosine")
    for step, hessian in sorted(run.hessian.items()):
        column[f"step {step}: smallest eigenvalue"] = _mean(hessian.smallest[:, 0])
        if has_hard:
            column[f"step {step}: its hard overlap"] = _mean(hessian.hard_overlap)
        column[f"step {step}: largest eigenvalue"] = _mean(hessian.largest[:, -1])
    return column


def _mean(values: Any) -> str:
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return _with_error(float(values.mean()), float(error))


def _with_error(value: float, stderr: float) -> str:
    """Value and error; the value alone where seeds differ by rounding, as norms do at the start."""
    return f"{value:.6g}" if stderr < _ROUNDING * abs(value) else with_error(value, stderr)


def _simulation_json(run: Simulation) -> dict[str, Any]:
    return {
        "d": run.d,
        "n": run.n,
        "delta": run.delta,
        "seeds": run.seeds,
        "statuses": [status.name for status in run.statuses],
        "mean": run.mean,
        "stderr": run.stderr,
        "hessian": {
            step: {
                "smallest": hessian.smallest,
                "largest": hessian.largest,
                "hard_overlap": hessian.hard_overlap,
                "complete": hessian.complete,
            }
            for step, hessian in sorted(run.hessian.items())
        },
    }
