"""Text of a threshold and of a curve of thresholds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft._numerics.value_text import text_table
from dmft.hessian.gap_samples import WhichOutlier
from dmft.io.report_text import cell, paths_line, problem_lines, with_error
from dmft.solver.stability import SHARE_TOLERANCE
from dmft.training.methods import horizon

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dmft.io.report_text import Lines
    from dmft.threshold.curve import ThresholdCurve
    from dmft.threshold.extrapolation import Extrapolation
    from dmft.threshold.sizes import ThresholdsAtSizes
    from dmft.threshold.threshold import Crossing, Threshold

__all__ = [
    "curve_lines",
    "curve_table",
    "jump_lines",
    "runs_line",
    "size_lines",
    "sizes_lines",
    "sizes_table",
    "threshold_lines",
    "unstable_line",
]

_ROWS = 10


def threshold_lines(result: Threshold, name: str = "") -> Lines:
    """Write a threshold: problem (after the name of the run), value, crossings, gap at the ends."""

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
    config = result.config
    error = result.stderr if result.rtol is None else result.error
    value = with_error(result.value, error) if np.isfinite(result.value) else "none found"
    value = f"{result.digits} (all digits)" if result.digits else value
    lines = [
        *problem_lines(config, name),
        paths_line(config["sampling"], result.rtol),
        *_value_lines(result, value),
        ("crossings", crossings or "none"),
        ("gap", f"{end(0)}, {end(-1)}; {result.n_evaluations} evaluations"),
    ]
    if result.is_discontinuous:
        certain = "" if result.edge_kind_is_certain else " (in this sample of D; raise n_paths)"
        jump = with_error(result.jump, result.jump_stderr)
        lines.append(("transition", f"discontinuous{certain}: squared overlap {jump} just above"))
    if result.multiplicity > 1:
        lines.append(("multiplicity", f"{result.multiplicity} outliers appear there at once"))
    share = result.unstable_share
    return lines + _last_lines(result, share, f"{share:.1%} of an average at the root")


def size_lines(result: Threshold) -> Lines:
    """Write the threshold of one dimension: value, which outlier, draws."""
    known = np.isfinite(result.value)
    return _value_lines(result, with_error(result.value, result.stderr) if known else "none found")


def _value_lines(result: Threshold, value: str) -> Lines:
    return [(_named(result), value), *_which_lines(result), *_draws_line(result)]


def _named(result: Threshold | ThresholdCurve, step: int | None = None) -> str:
    """Name a threshold: delta_NN with its horizon, and the dimension if it is that of runs."""
    size = "" if result.d is None else f"; d={result.d}"
    place = getattr(result, "step", None) if step is None else step
    time = "t" if place is None else f"t={horizon(result.config['method'], place)}"
    return f"delta_NN({time}{size})"


def _draws_line(result: Threshold) -> Lines:
    """Write the band of single runs, and over how many draws the threshold is a median."""
    if result.d is None:
        return []
    text = f"{result.draws} of n weights{_rounding(result.config)}"
    if not math.isnan(result.band[0]):
        text += f"; 68 % of the runs have theirs from {_end(result.band[0])} to "
        text += _end(result.band[1])
    return [("draws", text)]


def runs_line(result: ThresholdCurve) -> Lines:
    """Write the dimension of the runs that a curve is about, and over how many draws."""
    if result.d is None:
        return []
    return [("runs", f"d = {result.d}, {result.draws} draws{_rounding(result.config)}")]


def _rounding(config: Mapping[str, Any]) -> str:
    """Say why draws may be more than were asked for."""
    return f", a multiple of the {config['sampling']['replicates']} replicates"


def _end(value: float) -> str:
    """Write an end of a band, which may lie beyond the bracket."""
    return f"{value:.3g}" if 0.0 < value < math.inf else "beyond the bracket"


def sizes_lines(result: ThresholdsAtSizes, name: str = "") -> Lines:
    """Write thresholds at several dimensions: problem (after the name of the run), the limit."""
    limit = result.limit
    text = "none: D is unbounded below, and the threshold drifts with log d"
    if not result.drifts:
        known = np.isfinite(limit.value)
        text = with_error(limit.value, limit.stderr) if known else f"none: {limit.status.name}"
    lines = [
        *problem_lines(result.config, name),
        paths_line(result.config["sampling"]),
        ("limit", f"{_named(limit)}: {text}"),
        *_which_lines(limit),
    ]
    for one in result.thresholds:
        if one.detail:
            lines.append((f"d = {one.d}", one.detail))
        if one.unstable_share > SHARE_TOLERANCE:
            text = f"d = {one.d}: carry {one.unstable_share:.1%} of an average at the root"
            lines.append(("unstable paths", text))
    return lines


def sizes_table(result: ThresholdsAtSizes) -> str:
    """Write one line for each dimension."""
    head = ("d", "delta_NN(t; d)", "68 % of the runs", "draws", "status")
    cells = [
        (
            str(one.d),
            cell(one.value, one.stderr),
            "none" if math.isnan(one.band[0]) else " to ".join(map(_end, one.band)),
            str(one.draws),
            one.status.name,
        )
        for one in result.thresholds
    ]
    return text_table(head, cells)


def curve_lines(result: ThresholdCurve, name: str = "") -> Lines:
    """Write a curve: problem (after the name of the run), number of solves, limit, estimates."""
    config = result.config
    known_late = bool(np.isfinite(result.value[-1]))
    lines = [
        *problem_lines(config, name),
        paths_line(config["sampling"], result.rtol),
        *_which_lines(result),
        *runs_line(result),
        ("solves", f"{result.n_evaluations} values of delta"),
        *jump_lines(result),
        ("limit", _limit_text(result.limit, known_late=known_late)),
        *_estimates(result),
    ]
    if result.limit.detail:
        lines.append(("", result.limit.detail))
    share = float(np.max(result.unstable_share, initial=0.0, where=result.unstable_share > 0.0))
    return lines + _last_lines(result, share, f"up to {share:.1%} of an average at the threshold")


def curve_table(result: ThresholdCurve) -> str:
    """Write a table of about ten steps, the first and last among them."""
    rows = np.unique(np.linspace(0, len(result.steps) - 1, _ROWS).round().astype(int))
    head = ("step", "time", "delta_NN", "left edge there", "status")
    cells = [
        (
            str(result.steps[row]),
            f"{result.times[row]:.4g}",
            cell(result.value[row], result.error[row]),
            cell(result.edge_at_threshold[row], result.edge_at_threshold_stderr[row]),
            result.statuses[row].name,
        )
        for row in rows
    ]
    return text_table(head, cells)


def _which_lines(result: Threshold | ThresholdCurve) -> Lines:
    """Write which outlier the thresholds are about, unless it is the first negative one."""
    return [] if result.which == WhichOutlier() else [("of the", result.which.words)]


def jump_lines(result: ThresholdCurve) -> Lines:
    """Write where the transition is discontinuous, if it is anywhere."""
    if result.jump is None or result.jump_stderr is None or not (result.jump > 0.0).any():
        return []
    rows = np.flatnonzero(result.jump > 0.0)
    jump = with_error(float(result.jump[rows[-1]]), float(result.jump_stderr[rows[-1]]))
    steps = f"step {result.steps[rows[0]]}"
    if len(rows) > 1:
        steps = f"{len(rows)} steps, {result.steps[rows[0]]} to {result.steps[rows[-1]]}"
    words = "at finite d the jump is rounded, and sets in below the threshold"
    return [("discontinuous", f"at {steps}; squared overlap {jump} just above the last; {words}")]


def _estimates(result: ThresholdCurve) -> Lines:
    """Write the two estimates that the limit consists of, and what is assumed of the first."""
    limit, fixed = result.limit, result.gap_limit
    lines = []
    if limit.n_points:
        value, lower, upper = limit.in_time
        curve = f"{value:.4g}, {lower:.4g} to {upper:.4g}"
        ranges = [
            "none" if math.isnan(low) else f"{low:.4g} to {high:.4g}"
            for low, high in (limit.narrower, limit.wider)
        ]
        prior = f"with half and twice the range of powers {' and '.join(ranges)}"
        lines.append(("  by the curve", f"{curve}; {prior}"))
    if fixed is not None and fixed.is_known:
        ends = f"{fixed.threshold_lower:.4g} to {fixed.threshold_upper:.4g}"
        lines.append(("  by the gap", f"{fixed.threshold:.4g}, {ends}, at fixed delta"))
    return lines


def _limit_text(limit: Extrapolation, *, known_late: bool) -> str:
    """Write the limit and its interval, or why there is none."""
    if not limit.n_points and not known_late:
        return "none: there is no threshold at the last step"
    level = f"{100 * limit.level:.0f} %"
    if np.isfinite(limit.value):
        text = f"{limit.value:.4g}, {level} interval {limit.lower:.4g} to {limit.upper:.4g}"
    elif np.isfinite(limit.lower):
        text = f"above {limit.lower:.4g} ({level}), no upper bound"
    elif np.isfinite(limit.upper):
        text = f"below {limit.upper:.4g} ({level}), no lower bound"
    else:
        text = "none of the laws considered describes the late points"
    return text if limit.status.ok else f"{text}; {limit.status.name}: {limit.status.value}"


def _last_lines(result: Threshold | ThresholdCurve, share: float, words: str) -> Lines:
    """Write what is behind the status, a figure left out, and unstable paths that carry much."""
    lines = [("detail", result.detail)] if result.detail else []
    if not np.isfinite(result.gap).any():
        lines.append(("figure", "none: there is no finite gap to draw"))
    if share > SHARE_TOLERANCE:  # not where it is not known
        lines.append(unstable_line(words))
    return lines


def unstable_line(words: str) -> tuple[str, str]:
    """Write what unstable paths carry, and what to do."""
    text = f"carry {words}: a smaller step_size, or gradient flow, has fewer or none"
    return "unstable paths", text
