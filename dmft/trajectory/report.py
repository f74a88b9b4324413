"""Text of a trajectory and of a spectrum."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dmft.io.report_text import paths_line, problem_lines, with_error
from dmft.solver.stability import SHARE_TOLERANCE
from rmt.status import Status

if TYPE_CHECKING:
    from dmft.io.report_text import Lines
    from dmft.trajectory.spectra import Spectrum
    from dmft.trajectory.trajectory import Trajectory

__all__ = ["has_test_error", "last_meaningful_step", "spectrum_lines", "trajectory_lines"]

_ROUNDING = 1e-9  # a bias smaller than this of a value is none


def trajectory_lines(result: Trajectory, name: str = "", rtol: float | None = None) -> Lines:
    """Write a trajectory: problem (after the name of the run), paths, losses at the last step."""
    lines = [
        *problem_lines(result.config, name),
        paths_line(result.config["sampling"], rtol),
        ("delta", f"{result.delta:g}"),
        ("steps", f"{result.n_steps}"),
    ]
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
    if has_test_error(result):
        lines.append(("test error", last("test_error")))
    lines.append(("gradient norm", last("gradient_norm")))
    if result.method.trains_second_layer:
        layer, errors = result.second_layer[step], result.stderr["second_layer"][step]
        for j, (value, error) in enumerate(zip(layer, errors, strict=True)):
            lines.append((f"second layer a{j + 1}", with_error(float(value), float(error))))
    if result.method.trains_biases:
        layer, errors = result.biases[step], result.stderr["biases"][step]
        for j, (value, error) in enumerate(zip(layer, errors, strict=True)):
            lines.append((f"bias b{j + 1}", with_error(float(value), float(error))))
    lines.append(("unstable paths", _stability(result)))
    if step == result.n_steps and (too_few := _biased(result)):
        lines.append(("finite paths", too_few))
    return lines


def last_meaningful_step(trajectory: Trajectory) -> int:
    """Find the last step before the blow-up of a run that diverged.

    The blow-up begins after a step with linearly unstable paths that carry more than
    `SHARE_TOLERANCE` of an average, or at values with errors as large as they are. For any other
    status it is the last step.

    Parameters
    ----------
    trajectory : Trajectory
        With at least one step.

    Returns
    -------
    int
    """
    if trajectory.status is not Status.DIVERGED:
        return trajectory.n_steps
    for step in range(trajectory.n_steps):
        names = ("train_loss", "gradient_norm")
        values = np.array([getattr(trajectory, name)[step + 1] for name in names])
        errors = np.array([trajectory.stderr[name][step + 1] for name in names])
        known = np.isfinite(values).all() and bool(np.all(errors <= np.abs(values)))
        if not known or trajectory.unstable_paths.share_until(step) > SHARE_TOLERANCE:
            return step
    return trajectory.n_steps


def has_test_error(result: Trajectory) -> bool:
    """Return whether labels are -1 and +1."""
    return result.problem is not None and result.problem.target.has_sign_labels


def _biased(result: Trajectory) -> str:
    """Write the bias of the last values by finitely many paths, where it exceeds their errors."""
    found = []
    for name, words in (("train_loss", "train loss"), ("gradient_norm", "gradient norm")):
        bias, error = float(result.bias[name][-1]), float(result.stderr[name][-1])
        if abs(bias) > max(error, _ROUNDING * abs(float(getattr(result, name)[-1]))):
            found.append(f"{words} off by about {bias:.2g}")
    return f"{', '.join(found)}; raise n_paths" if found else ""


def _stability(result: Trajectory) -> str:
    share, name, step = result.unstable_paths.largest
    if not share:
        return "none"
    of = {"fraction": "paths", "loss_share": "the train loss", "gradient_share": "E|g|^2"}
    text = f"{share:.2%} of {of.get(name, 'E|r|^2')} at step {step}"
    status = result.stability_status
    return text if status.ok else f"{text}. {status.name}: {status.value}"


def spectrum_lines(result: Spectrum, name: str = "") -> Lines:
    """Write a spectrum: problem (after the name of the run), edges, gap, outliers."""
    lines = [
        *problem_lines(result.config, name),
        paths_line(result.config["sampling"]),
        ("delta, step", f"{result.delta:g}, {result.step}"),
        ("left edge", with_error(result.left_edge, result.left_edge_stderr) + _held(result, 0)),
        ("right edge", with_error(result.right_edge, result.right_edge_stderr) + _held(result, 1)),
    ]
    if result.atom_at_zero:
        lines.append(("atom at zero", f"{result.atom_at_zero:.6g}"))
    if result.shift is not None:
        lines.append(("normal forces", ", ".join(f"{-force:.6g}" for force in result.shift)))
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


def _held(result: Spectrum, end: int) -> str:
    """Say that an edge is held by the support, where outliers set in discontinuously."""
    if result.edge_kinds[end] != "support":
        return ""
    certain = "" if result.edge_kinds_are_certain[end] else " in this sample"
    return f", held by the support of D{certain}: transitions there are discontinuous"
