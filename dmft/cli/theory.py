"""Commands ``threshold``, ``trajectory`` and ``spectrum``: the theory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.cli.output import (
    Output,
    execution,
    first_lines,
    picked,
    problem_lines,
    unused_accuracy,
)
from dmft.cli.run_files import needed, run_file
from dmft.io.report_text import paths_line
from dmft.trajectory.report import last_meaningful_step
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.threshold.sizes import ThresholdsAtSizes
    from dmft.threshold.threshold import Threshold
    from dmft.trajectory.trajectory import Trajectory

__all__ = ["run_spectrum", "run_threshold", "run_trajectory", "threshold_of"]

_THRESHOLD = """value stderr bias interpolation_error error rtol n_paths step bracket
gap_at_bracket crossings residual n_evaluations unstable_share
statuses detail delta gap gap_stderr criterion index jump jump_stderr edge_kind
edge_kind_is_certain multiplicity"""
_SIZE = "d draws value stderr band status detail unstable_share delta gap gap_stderr"
_SPECTRUM = """delta step left_edge left_edge_stderr right_edge right_edge_stderr edge_kinds
outliers outlier_status hard_gap hard_gap_stderr atom_at_zero x density"""


def run_threshold(arguments: argparse.Namespace) -> int:
    """Find delta_NN."""
    from dmft.threshold.report import sizes_lines, sizes_table, threshold_lines

    run = run_file(arguments)
    bracket = needed(run.threshold.bracket, "threshold.bracket")
    sizes = run.threshold.d
    if sizes:
        _check_sizes(arguments, run, bracket)
    at_sizes: ThresholdsAtSizes | None = None
    with Output(arguments, run) as output:
        if sizes:
            at_sizes = _at_sizes(arguments, run, bracket, output)
        result = at_sizes.limit if at_sizes else threshold_of(arguments, run, bracket, output)
        output.save("threshold", result)
        if np.isfinite(result.gap).any():
            output.draw("threshold", "plot_threshold", result)
        if at_sizes:
            output.save("threshold-sizes", at_sizes)
            output.draw("threshold-sizes", "plot_sizes", at_sizes)
    data = picked(result, _THRESHOLD)
    if result.digits:
        data["digits"] = result.digits
    if at_sizes:
        data["sizes"] = [picked(one, _SIZE) for one in at_sizes.thresholds]
        lines, table = sizes_lines(at_sizes, run.name), sizes_table(at_sizes)
        return output.report("threshold", at_sizes.status, data, lines, table)
    return output.report("threshold", result.status, data, threshold_lines(result, run.name))


def _check_sizes(arguments: argparse.Namespace, run: RunFile, bracket: tuple[float, float]) -> None:
    """Raise for dimensions that no threshold is about, before anything is computed."""
    from dmft.threshold.finite_size import FiniteSize

    settings = run.threshold
    rtol = None if run.accuracy is None else run.accuracy.rtol
    for d in settings.d or ():
        FiniteSize.checked(
            d, settings.draws, run.problem, run.method, bracket,
            rtol=rtol, digits=arguments.digits,
        )  # fmt: skip


def _at_sizes(
    arguments: argparse.Namespace, run: RunFile, bracket: tuple[float, float], output: Output
) -> ThresholdsAtSizes:
    """Find delta_NN at all dimensions asked for, and in the limit, with a progress bar."""
    from dmft.threshold.sizes import delta_nn_at_sizes

    settings = run.threshold
    assert settings.d is not None
    limit = replace(settings, d=None, draws=None)
    each = [limit, *(replace(settings, d=(d,)) for d in settings.d)]
    parts = [(replace(run, threshold=one), "threshold") for one in each]
    with execution(
        arguments, output, "threshold", lambda: first_lines(run, "threshold", parts)
    ) as running:
        return delta_nn_at_sizes(
            run.problem,
            run.method,
            bracket,
            settings.d,
            settings.step,
            run.sampling,
            **settings.stated("draws", "scan_points", "criterion", "index"),
            **running.options(),
        )


def run_trajectory(arguments: argparse.Namespace) -> int:
    """Follow the order parameters and losses."""
    from dmft.trajectory.report import trajectory_lines
    from dmft.trajectory.solving import solve

    run = run_file(arguments)
    delta = needed(run.trajectory.delta, "trajectory.delta")
    with Output(arguments, run) as output:
        with execution(
            arguments, output, "trajectory", lambda: first_lines(run, "trajectory")
        ) as running:
            result = solve(
                run.problem,
                delta,
                run.method,
                run.sampling,
                hessian_steps=(),
                **run.accuracy_options,
                **running.options(),
            )
        if result.steps.size:
            output.save("trajectory", result)
            output.draw("trajectory", "plot_trajectory", result)
    lines = trajectory_lines(result, run.name, None if run.accuracy is None else run.accuracy.rtol)
    return output.report("trajectory", result.status, _trajectory_json(result), lines)


def run_spectrum(arguments: argparse.Namespace) -> int:
    """Compute the density, edges and outliers of the Hessian."""
    from dmft.hessian.finite_law import check_dimension
    from dmft.hessian.report import finite_json, finite_lines
    from dmft.simulation.simulation_plan import check_steps
    from dmft.trajectory.finite_law import check_same_samples
    from dmft.trajectory.report import spectrum_lines
    from dmft.trajectory.solving import solve
    from dmft.trajectory.spectra import spectrum

    run = run_file(arguments)
    delta = needed(run.spectrum.delta, "spectrum.delta")
    step = run.method.n_steps if run.spectrum.step is None else run.spectrum.step
    check_steps("step", [step], run.method.n_steps)
    sizes = run.spectrum.d or ()
    if sizes:
        check_same_samples(run.method)
        check_dimension(sizes[0], delta, run.problem.m)
    # What happens after the step does not matter to it, and it is of the paths stated.
    followed = replace(run, method=run.method.until(step), accuracy=None)
    with Output(arguments, run) as output:
        with execution(
            arguments, output, "spectrum", lambda: first_lines(followed, "trajectory")
        ) as running:
            trajectory = solve(
                followed.problem,
                delta,
                followed.method,
                followed.sampling,
                keep_paths=True if arguments.flow else None,
                **running.options(),
            )
        if trajectory.n_steps >= step:
            result = spectrum(trajectory, step)
            status, data = result.status, picked(result, _SPECTRUM)
            lines = spectrum_lines(result, run.name)
            output.save("spectrum", result)
            draws = run.spectrum.stated("draws")
            finite = [trajectory.hessian(step, d=d, **draws) for d in sizes]
            for law in finite:
                output.save(f"spectrum-d{law.d}", law)
                lines += finite_lines(law, alone=False)
            data["finite"] = [finite_json(law) for law in finite]
            if finite and status is Status.UNBOUNDED_EDGE:  # runs have an edge
                status = Status.SUCCESS
            status = first_failure([status, *(law.status for law in finite)])
            output.draw("spectrum", "plot_spectrum", result, finite)
            if arguments.flow:
                output.draw("flow", "plot_flow", trajectory)
        else:
            status, last = trajectory.status, trajectory.n_steps
            data = {"delta": delta, "step": step, "steps_computed": last}
            lines = [
                *problem_lines(run),
                paths_line(run.sampling.to_config()),
                ("delta", f"{delta:g}"),
                ("no spectrum", f"last step computed: {last}"),
            ]
    return output.report("spectrum", status, data, unused_accuracy(lines, run))


def threshold_of(
    arguments: argparse.Namespace, run: RunFile, bracket: tuple[float, float], output: Output
) -> Threshold:
    """Find delta_NN in a bracket, with a progress bar."""
    from dmft.threshold.search import find_delta_nn

    with execution(
        arguments, output, "threshold", lambda: first_lines(run, "threshold")
    ) as running:
        return find_delta_nn(
            run.problem,
            run.method,
            bracket,
            run.threshold.step,
            run.sampling,
            digits=getattr(arguments, "digits", None),
            **run.threshold.stated("scan_points", "criterion", "index"),
            **run.accuracy_options,
            **running.options(),
        )


def _trajectory_json(result: Trajectory) -> dict[str, Any]:
    from dmft.trajectory.report import has_test_error

    names = ["norm", "overlap", "train_loss", "test_loss", "gradient_norm"]
    if has_test_error(result):
        names.append("test_error")
    if result.method.trains_second_layer:
        names.append("second_layer")
    if result.method.trains_biases:
        names.append("biases")
    empty = result.steps.size == 0
    return {
        "delta": result.delta,
        "steps_computed": result.n_steps,
        "last_meaningful_step": None if empty else last_meaningful_step(result),
        "rank": result.rank,
        **{name: [] if empty else getattr(result, name) for name in names},
        "stderr": {name: [] if empty else result.stderr[name] for name in names},
        "bias": {name: [] if empty else result.bias[name] for name in names},
        "stability": result.stability_status,
        "losses": result.loss_status,
        "unstable_paths": result.unstable_paths,
    }
