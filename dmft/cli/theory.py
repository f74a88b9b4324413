"""Commands ``threshold``, ``trajectory`` and ``spectrum``: the theory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft._numerics.sampling import Sampling
from dmft.cli.output import (
    Output,
    execution,
    expected_solves,
    paths_line,
    picked,
    problem_lines,
    unstable_line,
    with_error,
)
from dmft.cli.run_files import needed, run_file
from dmft.trajectory.trajectory import last_meaningful_step

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.threshold.threshold import Crossing, Threshold
    from dmft.trajectory.spectra import Spectrum
    from dmft.trajectory.trajectory import Trajectory

__all__ = ["run_spectrum", "run_threshold", "run_trajectory", "threshold_of"]

_ROUNDING = 1e-9  # a bias smaller than this of a value is none
_THRESHOLD = """value stderr bias interpolation_error error rtol n_paths step bracket
gap_at_bracket crossings residual n_evaluations unstable_share
statuses detail delta gap gap_stderr"""
_SPECTRUM = """delta step left_edge left_edge_stderr right_edge right_edge_stderr outliers
outlier_status hard_gap hard_gap_stderr atom_at_zero x density"""


def run_threshold(arguments: argparse.Namespace) -> int:
    """Find delta_NN."""
    run = run_file(arguments)
    bracket = needed(run.threshold.bracket, "threshold.bracket")
    with Output(arguments, run) as output:
        result = threshold_of(arguments, run, bracket)
        output.save("threshold", result)
        if np.isfinite(result.gap).any():
            output.draw("threshold", "plot_threshold", result)
    data = picked(result, _THRESHOLD)
    if result.digits:
        data["digits"] = result.digits
    sampling = Sampling(**result.config["sampling"])
    lines = [
        *problem_lines(run),
        paths_line(sampling, run, to_accuracy=True),
        *_threshold_lines(result),
    ]
    return output.report("threshold", result.status, data, lines)


def run_trajectory(arguments: argparse.Namespace) -> int:
    """Follow the order parameters and losses."""
    from dmft.trajectory.solving import solve

    run = run_file(arguments)
    delta = needed(run.trajectory.delta, "trajectory.delta")
    with Output(arguments, run) as output:
        total = _solver_steps(run, run.method.n_steps)
        with execution(arguments, total, "steps") as options:
            result = solve(
                run.problem,
                delta,
                run.method,
                run.sampling,
                hessian_steps=(),
                **run.accuracy_options,
                **options,
            )
        if result.steps.size:
            output.save("trajectory", result)
            output.draw("trajectory", "plot_trajectory", result)
    lines = [
        *problem_lines(run),
        paths_line(result.sampling, run, to_accuracy=True),
        *_trajectory_lines(result),
    ]
    return output.report("trajectory", result.status, _trajectory_json(result), lines)


def run_spectrum(arguments: argparse.Namespace) -> int:
    """Compute the density, edges and outliers of the Hessian."""
    from dmft.simulation.simulation_plan import check_steps
    from dmft.trajectory.solving import solve
    from dmft.trajectory.spectra import spectrum

    run = run_file(arguments)
    delta = needed(run.spectrum.delta, "spectrum.delta")
    step = run.method.n_steps if run.spectrum.step is None else run.spectrum.step
    check_steps("step", [step], run.method.n_steps)
    with Output(arguments, run) as output:
        with execution(arguments, _solver_steps(run, step), "steps") as options:
            # What happens after the step does not matter to it.
            trajectory = solve(
                run.problem,
                delta,
                run.method.until(step),
                run.sampling,
                keep_paths=True if arguments.flow else None,
                **options,
            )
        if trajectory.n_steps >= step:
            result = spectrum(trajectory, step)
            status, data, lines = result.status, picked(result, _SPECTRUM), _spectrum_lines(result)
            output.save("spectrum", result)
            output.draw("spectrum", "plot_spectrum", result)
            if arguments.flow:
                output.draw("flow", "plot_flow", trajectory)
        else:
            status, last = trajectory.status, trajectory.n_steps
            data = {"delta": delta, "step": step, "steps_computed": last}
            lines = [("delta", f"{delta:g}"), ("no spectrum", f"last step computed: {last}")]
    return output.report("spectrum", status, data, [*_header(run), *lines])


def threshold_of(
    arguments: argparse.Namespace, run: RunFile, bracket: tuple[float, float]
) -> Threshold:
    """Find delta_NN in a bracket, with a progress bar."""
    from dmft.threshold.search import find_delta_nn

    total = expected_solves(run.threshold.scan_points)
    with execution(arguments, total, "values of delta") as options:
        return find_delta_nn(
            run.problem,
            run.method,
            bracket,
            run.threshold.step,
            run.sampling,
            digits=getattr(arguments, "digits", None),
            **run.threshold.stated("scan_points"),
            **run.accuracy_options,
            **options,
        )


def _header(run: RunFile) -> list[tuple[str, str]]:
    return [*problem_lines(run), paths_line(run.sampling, run)]


def _solver_steps(run: RunFile, n_steps: int) -> int:
    return n_steps * (run.sampling.replicates + 1)


def _threshold_lines(result: Threshold) -> list[tuple[str, str]]:
    def end(index: int) -> str:
        gap = with_error(float(result.gap[index]), float(result.gap_stderr[index]))
        return f"{gap if np.isfinite(result.gap[index]) else 'no value'} at {result.delta[index]:g}"

    def place(crossing: Crossing) -> str:
        if crossing.refined:
            return f"{crossing.value:.4g}"
        return f"between {crossing.lower:.4g} and {crossing.upper:.4g}"

    crossings = ", ".join(
        f"{place(crossing)} (outlier {'appears' if crossing.opens else 'disappears'})"
        for crossing in result.crossings
    )
    from dmft.training.methods import horizon

    error = result.stderr if result.rtol is None else result.error
    value = with_error(result.value, error) if np.isfinite(result.value) else "none found"
    value = f"{result.digits} (all digits)" if result.digits else value
    lines = [
        (f"delta_NN(t={horizon(result.config['method'], result.step)})", value),
        ("crossings", crossings or "none"),
        ("gap", f"{end(0)}, {end(-1)}; {result.n_evaluations} evaluations"),
    ]
    if result.detail:
        lines.append(("detail", result.detail))
    if not np.isfinite(result.gap).any():
        lines.append(("figure", "none: there is no finite gap to draw"))
    share = result.unstable_share
    return lines + unstable_line(share, f"{share:.1%} of an average at the root")


def _trajectory_json(result: Trajectory) -> dict[str, Any]:
    names = ["norm", "overlap", "train_loss", "test_loss", "gradient_norm"]
    if _has_test_error(result):
        names.append("test_error")
    if result.method.trains_second_layer:
        names.append("second_layer")
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


def _trajectory_lines(result: Trajectory) -> list[tuple[str, str]]:
    lines = [("delta", f"{result.delta:g}"), ("steps", f"{result.n_steps}")]
    if result.steps.size == 0:
        return lines

    step = last_meaningful_step(result)
    if step < result.n_steps:
        lines.append(("values", f"at step {step}: what follows is no more than the divergence"))

    def last(name: str) -> str:
        value, error = getattr(result, name)[step], result.stderr[name][step]
        return with_error(float(value), float(error))

    lines += [("train loss", last("train_loss")), ("test loss", last("test_loss"))]
    if not result.loss_status.ok:
        lines.append(("losses", f"{result.loss_status.name}: {result.loss_status.value}"))
    if _has_test_error(result):
        lines.append(("test error", last("test_error")))
    lines.append(("gradient norm", last("gradient_norm")))
    if result.method.trains_second_layer:
        layer, errors = result.second_layer[step], result.stderr["second_layer"][step]
        for j, (value, error) in enumerate(zip(layer, errors, strict=True)):
            lines.append((f"second layer a{j + 1}", with_error(float(value), float(error))))
    lines.append(("unstable paths", _stability(result)))
    if step == result.n_steps and (too_few := _biased(result)):
        lines.append(("finite paths", too_few))
    return lines


def _biased(result: Trajectory) -> str:
    """Write the bias of the last values by finitely many paths, where it exceeds their errors."""
    found = []
    for name, words in (("train_loss", "train loss"), ("gradient_norm", "gradient norm")):
        bias, error = float(result.bias[name][-1]), float(result.stderr[name][-1])
        if abs(bias) > max(error, _ROUNDING * abs(float(getattr(result, name)[-1]))):
            found.append(f"{words} off by about {bias:.2g}")
    return f"{', '.join(found)}; raise n_paths" if found else ""


def _has_test_error(result: Trajectory) -> bool:
    """Return whether labels are -1 and +1."""
    return result.problem is not None and result.problem.target.has_sign_labels


def _stability(result: Trajectory) -> str:
    share, name, step = result.unstable_paths.largest
    if not share:
        return "none"
    of = {"fraction": "paths", "loss_share": "the train loss", "gradient_share": "E|g|^2"}
    text = f"{share:.2%} of {of.get(name, 'E|r|^2')} at step {step}"
    status = result.stability_status
    return text if status.ok else f"{text}. {status.name}: {status.value}"


def _spectrum_lines(result: Spectrum) -> list[tuple[str, str]]:
    lines = [
        ("delta, step", f"{result.delta:g}, {result.step}"),
        ("left edge", with_error(result.left_edge, result.left_edge_stderr)),
        ("right edge", with_error(result.right_edge, result.right_edge_stderr)),
    ]
    if result.atom_at_zero:
        lines.append(("atom at zero", f"{result.atom_at_zero:.6g}"))
    gap = with_error(result.hard_gap, result.hard_gap_stderr)
    if math.isnan(result.hard_gap):
        gap = "no hard direction" if math.isnan(result.hard_gap_stderr) else "not known"
    lines.append(("hard gap", gap))
    for outlier in result.outliers:
        text = with_error(outlier.value, outlier.stderr)
        if not outlier.separated:
            text += f": an outlier or the {outlier.side} edge itself, more paths would tell"
        elif outlier.hard_overlap > 0:
            overlap = with_error(outlier.hard_overlap, outlier.hard_overlap_stderr)
            text += f", hard overlap {overlap}"
        else:
            easy = sum(outlier.latent_overlap)
            text += f", overlap with easy directions {easy:.4f}"
        lines.append(("outlier" if outlier.separated else "at the edge", text))
    if not result.outlier_status.ok:
        lines.append(("outliers", f"hard ones only: {result.outlier_status.value}"))
    if not any(outlier.separated for outlier in result.outliers):
        lines.append(("outlier", "none"))
    return lines
