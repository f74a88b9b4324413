"""Command ``sweep``: the threshold in simulations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dmft.cli.output import (
    Output,
    execution,
    keeping_seeds,
    picked,
)
from dmft.cli.recovery import check_gaussian, recovery_json, run_of_sweep
from dmft.cli.run_files import check_steps_of, descent_of, given
from dmft.cli.theory import threshold_of
from dmft.io.report_text import inputs_line, paths_line, problem_lines, with_error
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.studies.recovery_result import RecoveryProbability
    from dmft.studies.sweep_laws import SweepPrediction
    from dmft.studies.sweep_result import Sweep
    from dmft.threshold.threshold import Threshold

__all__ = ["run_sweep"]

_JSON = """d deltas seeds n_steps recovery hessian_step probability recovery_step largest_cosine
train_loss test_loss smallest_eigenvalue hard_overlap statuses"""


def run_sweep(arguments: argparse.Namespace) -> int:
    """Simulate over a grid of delta and sizes, and draw in the theory."""
    from dmft.simulation.simulation_plan import check_steps
    from dmft.studies.sweeps import sweep
    from dmft.threshold.report import size_lines

    run, _, grid, budget = run_of_sweep(arguments)
    settings, horizon = run.sweep, run.threshold.step
    check_steps_of(given(arguments, "sweep"), settings, "hessian_step", budget)
    if horizon is not None:
        check_steps("step", [horizon], run.method.n_steps)
    bracket = _bracket(run, grid)
    threshold: Threshold | None = None
    at_sizes: list[Threshold] = []
    if settings.recovery_draws is not None:
        check_gaussian("sweep.inputs", settings.inputs)
    with Output(arguments, run) as output, keeping_seeds(output):
        recovery = _recovery(arguments, run, grid, budget, output)
        if recovery is not None:  # first: what it refuses should cost no simulation
            output.save("sweep-recovery", recovery)
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
            at_sizes = _at_sizes(arguments, run, bracket, threshold)
            for one in at_sizes:
                output.save(f"sweep-threshold-d{one.d}", one)
        prediction = _prediction(arguments, run, result)
        if prediction is not None:
            output.save("sweep-hessian", prediction)
            output.draw("sweep-hessian", "plot_sweep_prediction", prediction)
        drawn = [one for one in at_sizes if math.isfinite(one.value)]
        marks = [(one.value, one.stderr, f"theory, $d = {one.d}$") for one in drawn]
        first = [] if threshold is None or (marks and not threshold.status.ok) else [threshold]
        output.draw("sweep", "plot_sweep", result, [*first, *marks], recovery)
    statuses = [result.status, *(one.status for one in at_sizes)]
    if threshold is not None and not drawn:
        statuses.append(threshold.status)
    if prediction is not None:
        statuses.append(prediction.status)
    if recovery is not None:
        statuses.append(recovery.status)
    status = first_failure(statuses)
    data, lines = _json(result, threshold), _lines(run, result, threshold)
    data["theory_at_sizes"] = [picked(one, "d value stderr band status detail") for one in at_sizes]
    for one in at_sizes:
        details = [(f"detail, d = {one.d}", one.detail)] if one.detail else []
        lines += [*size_lines(one), *details]
    table = result.table()
    if recovery is not None:
        data["predicted_recovery"] = recovery_json(recovery)
        table = f"{table}\n\n{recovery.table(result)}"
    if prediction is not None:
        names = "smallest_eigenvalue smallest_eigenvalue_stderr hard_overlap hard_overlap_stderr"
        data["law_of_n_weights"] = picked(
            prediction, f"{names} lower upper hard_gap deviation unstable_share status"
        )
        words = f"Hessian at step {prediction.step}: medians over runs, and of the law of n weights"
        table = f"{table}\n\n{words}\n{prediction.table()}"
    return output.report("sweep", status, data, lines, table)


def _recovery(
    arguments: argparse.Namespace,
    run: RunFile,
    grid: tuple[float, ...],
    budget: int,
    output: Output,
) -> RecoveryProbability | None:
    """Predict the recovery of the runs, where it is asked for."""
    from dmft.studies.recovery_draws import recovery_probability

    settings = run.sweep
    if settings.recovery_draws is None:
        return None
    assert settings.d is not None  # the command has seen to it
    with execution(arguments) as running:
        return recovery_probability(
            run.problem,
            grid,
            settings.d,
            descent_of(run).until(budget),
            draws=settings.recovery_draws,
            checkpoint=output.subfolder("sweep-recovery"),
            **settings.stated("recovery"),
            **running.options("workers", "progress"),
        )


def _at_sizes(
    arguments: argparse.Namespace,
    run: RunFile,
    bracket: tuple[float, float],
    limit: Threshold,
) -> list[Threshold]:
    """Find the thresholds of runs of the sizes of the sweep, where the limit has none there."""
    from dmft.hessian.finite_law import is_large
    from dmft.threshold.search import find_delta_nn

    settings = run.threshold
    none = Status.UNBOUNDED_EDGE, Status.NO_BRACKET
    if limit.status not in none and not settings.d:
        return []
    found = []
    for d in run.sweep.d or ():
        if is_large(d, bracket[0], run.problem.m):
            with execution(arguments) as running:
                found.append(
                    find_delta_nn(
                        run.problem,
                        run.method,
                        bracket,
                        settings.step,
                        run.sampling,
                        d=d,
                        **settings.stated("draws", "scan_points", "criterion", "index"),
                        **running.options("threads", "progress"),
                    )
                )
    return found


def _prediction(
    arguments: argparse.Namespace, run: RunFile, result: Sweep
) -> SweepPrediction | None:
    """Predict the Hessians of the runs, where the theory is about these."""
    from dmft.studies.sweep_laws import predict_sweep

    method, inputs = descent_of(run), run.sweep.inputs
    if result.hessian_step is None or run.problem.starts_on_hard or method.fresh_batches:
        return None
    if inputs is not None and not inputs.is_gaussian:
        return None
    with execution(arguments) as running:
        return predict_sweep(
            result,
            run.sampling,
            problem=run.problem,
            **run.threshold.stated("draws"),
            **running.options("threads", "progress"),
        )


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
