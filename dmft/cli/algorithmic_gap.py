"""Command ``algorithmic-gap``: networks against the best algorithm for one label."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft._numerics.value_text import text_table
from dmft.cli.exits import UsageError
from dmft.cli.output import (
    Output,
    cell,
    execution,
    expected_solves,
    paths_line,
    picked,
    with_error,
)
from dmft.cli.run_files import given, needed, overlaid, run_file, until
from dmft.solver.stability import SHARE_TOLERANCE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from dmft.config.config import RunFile
    from dmft.model.problem import Problem
    from dmft.studies.algorithmic_threshold import AlgorithmicGap
    from dmft.studies.step_axis import EigenvalueCheck, StepAxis, StepSeries

__all__ = ["run_algorithmic_gap"]

_STEP_SIZE, _N_STEPS = 0.2, 40  # where only a label is given
_CURVE = "steps times value stderr interpolation_error bias statuses detail unstable_share"


def run_algorithmic_gap(arguments: argparse.Namespace) -> int:
    """Find delta_alg, delta_NN of several networks, and how it changes with the step size."""
    from dmft.studies.algorithmic_threshold import algorithmic_gap

    run = _gap_run(arguments)
    settings, problems = run.algorithmic_gap, _networks(run)
    bracket = needed(
        settings.bracket or run.curve.bracket or run.threshold.bracket, "algorithmic-gap.bracket"
    )
    check, axis = settings.simulation, settings.step_axis
    if check is not None and arguments.workers is not None:
        check = dataclasses.replace(check, workers=arguments.workers)
    total = len(problems) * expected_solves(settings.points)
    total += 0 if axis is None else axis.n_searches * expected_solves(None)
    with Output(arguments, run) as output:
        with execution(arguments, total, "values of delta") as options:
            result = algorithmic_gap(
                run.problem.target,
                problems,
                bracket,
                method=run.method,
                steps=settings.steps,
                sampling=run.sampling,
                step_axis=axis,
                simulate=check,
                **settings.stated("points", "max_solves"),
                **options,
            )
        output.save("gap", result)
        output.draw("gap", "plot_algorithmic_gap", result)
    tables = [_table(result), *([] if result.step_axis is None else _axis_tables(result.step_axis))]
    return output.report(
        "algorithmic-gap", result.status, _json(result), _lines(run, result), "\n\n".join(tables)
    )


def _gap_run(arguments: argparse.Namespace) -> RunFile:
    """Return the run file, or that of a label, with the command line and its own horizon."""
    if arguments.label is None:
        run = run_file(arguments)
    elif arguments.file is None and arguments.preset is None:
        run = overlaid(arguments, _run_of_label(arguments.label))
    else:
        raise UsageError("give --label NAME, a TOML run file, or --preset NAME: one of them")
    n_steps = given(arguments, "method").get("n_steps", run.algorithmic_gap.n_steps)
    settings = dataclasses.replace(run.algorithmic_gap, n_steps=n_steps)
    return dataclasses.replace(run, method=until(run.method, n_steps), algorithmic_gap=settings)


def _run_of_label(label: str) -> RunFile:
    """Return the run file of a label alone: one GELU neuron, pseudo-Huber loss."""
    from dmft.config.config import RunFile
    from dmft.model.problem import Problem
    from dmft.training.methods import GradientDescent

    problem = Problem(label, loss="pseudo-huber")
    return RunFile(label, problem, GradientDescent(_STEP_SIZE, _N_STEPS))


def _networks(run: RunFile) -> list[Problem]:
    """Return the problems of the settings; none twice."""
    from dmft.studies.algorithmic_threshold import wide_networks

    found = run.algorithmic_gap
    for name in ("activations", "losses", "widths"):
        entries = getattr(found, name) or ()
        if len(set(entries)) < len(entries):
            raise ValueError(f"{name} must be different, got {', '.join(map(str, entries))}")
    problems = wide_networks(
        run.problem, found.activations or (), found.losses or (), found.widths or ()
    )
    for problem in problems:
        problem.check_labels()
    return problems


# -- what is said --------------------------------------------------------------------------------


def _json(result: AlgorithmicGap) -> dict[str, Any]:
    return {
        "delta_alg": result.delta_alg,
        "delta_alg_infinite": math.isinf(result.delta_alg),
        "delta_alg_stderr": result.delta_alg_stderr,
        "hardness_status": result.hardness.status.name,
        "networks": {
            name: {
                **picked(curve, _CURVE),
                "ratio": ratio.value,
                "ratio_stderr": ratio.stderr,
                "limit": curve.limit,
                "problem": result.config["networks"][name],
            }
            for (name, curve), ratio in zip(result.curves.items(), result.gap.values(), strict=True)
        },
        "step_axis": None if result.step_axis is None else _axis_json(result.step_axis),
    }


def _axis_json(axis: StepAxis) -> dict[str, Any]:
    def series(found: StepSeries | None) -> dict[str, Any] | None:
        if found is None:
            return None
        shift, error = found.shift(axis.reuse)
        return {
            **vars(found),
            "shift": shift,
            "shift_stderr": error,
            "unstable": found.unstable,
        }

    return {
        "network": axis.network,
        "time": axis.time,
        "reuse": series(axis.reuse),
        "fresh": series(axis.fresh),
        "check": [entry.to_config() for entry in axis.check],
    }


def _lines(run: RunFile, result: AlgorithmicGap) -> list[tuple[str, str]]:
    from dmft.training.methods import describe

    value = with_error(result.delta_alg, result.delta_alg_stderr)
    if math.isinf(result.delta_alg):
        value = "infinite: no number of order d samples is enough"
    if not result.hardness.status.ok:
        value += f"; {result.hardness.status.name}"
    details = [(name, curve.detail) for name, curve in result.curves.items() if curve.detail]
    return [
        ("label", f"{run.name}: {run.problem.target.description}"),
        ("method", describe(run.method)),
        paths_line(run.sampling, run),
        ("delta_alg", value),
        *details,
    ]


def _table(result: AlgorithmicGap) -> str:
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
