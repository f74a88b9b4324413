"""Text of studies: algorithmic gaps, and the times at which runs learn a hard direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.value_text import text_table
from dmft.io.report_text import cell, method_line, paths_line, problem_lines, with_error
from dmft.model.classification import describe_label
from dmft.solver.stability import SHARE_TOLERANCE
from dmft.studies.fall_times import fall_step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft.io.report_text import Lines
    from dmft.simulation.simulation import Simulation
    from dmft.studies.algorithmic_threshold import AlgorithmicGap
    from dmft.studies.grokking import Grokking
    from dmft.studies.step_axis import EigenvalueCheck, StepAxis

__all__ = ["fall_times", "gap_lines", "gap_tables", "grokking_lines", "grokking_table"]


# -- algorithmic gap -----------------------------------------------------------------------------


def gap_lines(result: AlgorithmicGap, name: str = "") -> Lines:
    """Write the label (after the name of the run), the method and delta_alg."""
    value = with_error(result.delta_alg, result.delta_alg_stderr)
    if math.isinf(result.delta_alg):
        value = "infinite: no number of order d samples is enough"
    others = list(dict.fromkeys(result.other_inputs.values()))
    if result.hardness is None:
        value = f"not known for inputs other than standard Gaussian ({'; '.join(others)})"
    elif not result.hardness.status.ok:
        value += f"; {result.hardness.status.name}"
    if others and result.hardness is not None:
        value += f", of standard Gaussian inputs; not known for others ({'; '.join(others)})"
    label = describe_label(result.config["target"])
    return [
        ("label", f"{name}: {label}" if name else label),
        method_line(result.config["method"]),
        paths_line(result.config["sampling"]),
        ("delta_alg", value),
        *((of, curve.detail) for of, curve in result.curves.items() if curve.detail),
    ]


def gap_tables(result: AlgorithmicGap) -> str:
    """Write thresholds of the networks, and those against the step size."""
    axis = [] if result.step_axis is None else _axis_tables(result.step_axis)
    return "\n\n".join([_gap_table(result), *axis])


def _gap_table(result: AlgorithmicGap) -> str:
    """Return a table of the first and last horizon of every network."""
    head = ["network", "step", "delta_NN", "of delta_alg", "unstable", "status"]
    rows = []
    for (name, curve), ratio in zip(result.curves.items(), result.gap.values(), strict=True):
        for row in dict.fromkeys((0, len(curve.steps) - 1)):
            error = float(curve.error[row])
            rows.append(
                [
                    name if row == 0 else "",
                    str(curve.steps[row]),
                    cell(float(curve.value[row]), error),
                    f"{ratio.value[row]:.2f}" if np.isfinite(ratio.value[row]) else "none",
                    _share(float(curve.unstable_share[row])),
                    curve.statuses[row].name,
                ]
            )
    return text_table(head, rows)


def _axis_tables(axis: StepAxis) -> list[str]:
    """Return tables of the threshold for each step size, and of eigenvalues with simulations."""
    first_size = axis.reuse.step_sizes[0]
    change = f"change from {f'{first_size:g}' if first_size else 'flow'}"
    head = ["step size", "steps", "delta_NN", change, "unstable", "status"]
    rows = []
    for series, kind in zip(axis.series, ("", " fresh"), strict=False):
        shift, error = series.shift(axis.reuse)
        for row, size in enumerate(series.step_sizes):
            rows.append(
                [
                    f"{size:g}{kind}" if size else "flow",
                    str(series.n_steps[row]) if size else "",
                    cell(float(series.value[row]), float(series.stderr[row])),
                    cell(float(shift[row]), float(error[row])) if error[row] else "",
                    _share(float(series.unstable_share[row])),
                    series.statuses[row].name,
                ]
            )
    tables = [f"{axis.network}, time {axis.time:g}\n{text_table(head, rows)}"]
    if axis.check:
        first = axis.check[0]
        title = (
            f"lowest eigenvalue at step {first.step} of size {first.step_size:g}, "
            f"d = {first.d}, {first.seeds} seeds"
        )
        head = ["delta", "is", "theory", "simulated", "overlap: theory", "simulated"]
        tables.append(f"{title}\n{text_table(head, list(map(_check_row, axis.check)))}")
    return tables


def _check_row(entry: EigenvalueCheck) -> Sequence[str]:
    delta = f"{entry.delta:g}{' fresh' if entry.fresh else ''}"
    found = entry.prediction
    if found is None:
        return [delta, entry.status.name, "none", "none", "none", "none"]
    kind = found.kind if found.compared else f"{found.kind} (close)"
    return [
        delta,
        kind,
        cell(found.value, found.stderr),
        cell(found.simulated, found.simulated_stderr),
        cell(found.overlap, found.overlap_stderr),
        cell(found.simulated_overlap, found.simulated_overlap_stderr),
    ]


def _share(share: float) -> str:
    """Write the share of unstable paths; marked where it is too large."""
    if not math.isfinite(share):
        return "none"
    return f"{share:.1%}{' *' if share > SHARE_TOLERANCE else ''}" if share else "0"


# -- grokking ------------------------------------------------------------------------------------


def grokking_lines(result: Grokking, name: str = "", start: str | None = None) -> Lines:
    """Write the settings of predicted runs, with a text of how they start."""
    config = result.config
    if start is None:
        given = config["hard_overlap"] is not None
        start = "stated overlap with the hard directions" if given else "random"
    return [
        *problem_lines(config, name),
        ("delta, steps", f"{config['delta']:g}, {result.steps[-1]}"),
        ("start", start),
        paths_line(config["sampling"]),
        *_drawn_line(result),
        *([("detail", result.detail)] if result.detail else []),
    ]


def _drawn_line(result: Grokking) -> list[tuple[str, str]]:
    """Write the number of starts drawn, if they were, and its effect on the times."""
    if not (result.fall_time_stderr > 0.0).any():
        return []
    counts = ", ".join(str(count) for count in result.n_starts)
    return [("starts drawn", f"{counts}; errors below are those of so many starts")]


def fall_times(result: Grokking, simulation: Simulation, drop: int = 0) -> list[float]:
    """Return the step at which the test loss of each seed falls through the level of its size."""
    level = float(result.falls[drop][0][result.d.index(simulation.d)])
    return [fall_step(loss, level) for loss in simulation.test_loss]


def grokking_table(result: Grokking, simulations: Sequence[Simulation] = ()) -> str:
    """Write the time of the fall, a row for each size; of several falls for each of them."""
    levels = [f"{level:.0%}" for level in result.probabilities]
    header = ["test loss falls at step", *(["by feature"] if result.drops else []), *levels]
    if simulations:
        header += ["simulated median", "from", "to", "in the band"]
    rows = []
    for i, j in np.ndindex(len(result.d), len(result.falls)):
        d, (_, of_drop, error) = result.d[i], result.falls[j]
        times, errors = of_drop[i], error[i]
        row = [f"d = {d}" if not j else "", *map(_time, times, errors)]
        if result.drops:
            row.insert(1, f"{j + 1}: {_direction(result.drops[j].directions)}")
        for simulation in (one for one in simulations if one.d == d):
            found = sorted(_last(time) for time in fall_times(result, simulation, j))
            low, high = _last(-math.inf if math.isnan(times[0]) else times[0]), _last(times[-1])
            inside = sum(low <= time <= high for time in found)
            middle = 0.5 * (found[(len(found) - 1) // 2] + found[len(found) // 2])
            row += [_time(middle), _time(found[0]), _time(found[-1]), f"{inside} of {len(found)}"]
        rows.append(row)
    return text_table(header, rows)


def _direction(basis: NDArray[np.float64]) -> str:
    """Write the latent coordinates that a feature consists of."""
    axes = np.flatnonzero(np.abs(basis).max(axis=1) > 1e-9)
    return " ".join(f"z{axis + 1}" for axis in axes)


def _last(time: float) -> float:
    """Sort a run that did not fall after all that did."""
    return math.inf if math.isnan(time) else time


def _time(time: float, error: float = 0.0) -> str:
    if not math.isfinite(time):
        return "later"
    return f"{time:.1f} +- {error:.1f}" if error > 0.0 else f"{time:.1f}"
