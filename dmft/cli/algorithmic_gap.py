"""Command ``algorithmic-gap``: networks against the best algorithm for one label."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from dmft.cli.exits import UsageError
from dmft.cli.output import Output, execution, first_lines, picked, unused_accuracy
from dmft.cli.run_files import (
    bracket_of,
    given,
    overlaid,
    overrides,
    run_file,
    run_of_label,
    until,
    which_of,
)

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.io.report_text import Lines
    from dmft.model.problem import Problem
    from dmft.studies.algorithmic_threshold import AlgorithmicGap
    from dmft.studies.step_axis import StepAxis, StepSeries

__all__ = ["run_algorithmic_gap"]

_FIRST = ("method", "estimate")
_CURVE = "steps times value stderr interpolation_error bias statuses detail unstable_share"


def run_algorithmic_gap(arguments: argparse.Namespace) -> int:
    """Find delta_alg, delta_NN of several networks, and how it changes with the step size."""
    from dmft.studies.algorithmic_threshold import algorithmic_gap
    from dmft.studies.report import gap_lines, gap_tables

    run = _gap_run(arguments)
    settings, problems = run.algorithmic_gap, _networks(run)
    bracket = bracket_of(run, "algorithmic-gap")
    check, axis = settings.simulation, settings.step_axis
    if check is not None and arguments.workers is not None:
        check = dataclasses.replace(check, workers=arguments.workers)
    with Output(arguments, run) as output:
        with execution(arguments, output, "gap", lambda: _first_lines(run, problems)) as running:
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
                **which_of(run, "algorithmic-gap", "criterion", "index"),
                **running.options(),
            )
        output.save("gap", result)
        output.draw("gap", "plot_algorithmic_gap", result)
    return output.report(
        "algorithmic-gap",
        result.status,
        _json(result),
        unused_accuracy(gap_lines(result, run.name), run),
        gap_tables(result),
    )


def _gap_run(arguments: argparse.Namespace) -> RunFile:
    """Return the run file, or that of a label, with the command line and its own horizon."""
    if arguments.label is None:
        run = run_file(arguments)
    elif arguments.file is None and arguments.preset is None:
        run = overlaid(arguments, run_of_label(arguments.label, overrides(arguments)))
    else:
        raise UsageError("give --label NAME, a TOML run file, or --preset NAME: one of them")
    n_steps = given(arguments, "method").get("n_steps", run.algorithmic_gap.n_steps)
    settings = dataclasses.replace(run.algorithmic_gap, n_steps=n_steps)
    return dataclasses.replace(run, method=until(run.method, n_steps), algorithmic_gap=settings)


def _first_lines(run: RunFile, problems: list[Problem]) -> Lines:
    """Name label and method, and about what the curves of all networks and step sizes take."""
    from dmft.config.settings import CurveSettings, ThresholdSettings
    from dmft.model.classification import describe_label
    from dmft.training.gradient_descent import GradientDescent

    settings = run.algorithmic_gap
    grid = CurveSettings(**settings.stated("steps", "points"))
    run = dataclasses.replace(run, curve=grid, threshold=ThresholdSettings(), accuracy=None)
    each = [dataclasses.replace(run, problem=problem) for problem in problems]
    parts = [(run, "label"), *((one, "curve") for one in each)]
    for size in filter(None, settings.step_sizes or ()):  # of a flow it is not known
        steps = max(round((settings.time or 0.0) / size), 1)
        descent = dataclasses.replace(each[0], method=GradientDescent(size, steps))
        parts += [(descent, "threshold")] * (2 if settings.compare_fresh else 1)
    lines = dict(first_lines(run, "curve", parts))
    label = describe_label(run.problem.target.to_config())
    return [("label", f"{run.name}: {label}"), *((name, lines[name]) for name in _FIRST)]


def _networks(run: RunFile) -> list[Problem]:
    """Return the problems of the settings; none twice."""
    from dmft.studies.algorithmic_threshold import wide_networks

    found = run.algorithmic_gap
    for name in ("activations", "losses", "widths"):
        entries = getattr(found, name) or ()
        if len(set(entries)) < len(entries):
            shown = ", ".join(str(getattr(entry, "name", entry)) for entry in entries)
            raise ValueError(f"{name} must be different, got {shown}")
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
        "hardness_status": None if result.hardness is None else result.hardness.status.name,
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
