"""Command ``scaling-law``: thresholds of all features at several widths, and power laws."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dmft.cli.output import Output, execution, first_lines, picked, unused_accuracy
from dmft.cli.run_files import bracket_of, run_of_horizon, which_of

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.io.report_text import Lines
    from dmft.studies.scaling_law_result import ScalingLaw

__all__ = ["run_scaling_law"]

_JSON = "step names widths threshold error statuses unstable_share share variance bracket criterion"
_LAWS = ("thresholds_law", "features_law", "error_law", "expected_error_law")


def run_scaling_law(arguments: argparse.Namespace) -> int:
    """Find the thresholds of all features for networks of several widths."""
    from dmft.studies.scaling_law import scaling_law
    from dmft.studies.scaling_law_report import scaling_law_lines, scaling_law_table

    run = run_of_horizon(arguments, "scaling_law")
    settings = run.scaling_law
    bracket = bracket_of(run, "scaling-law")
    options = which_of(run, "scaling-law", "criterion")
    options |= settings.stated("widths", "points", "max_solves", "n_points")
    step = settings.steps[0] if settings.steps else None
    with Output(arguments, run) as output:
        with execution(
            arguments, output, "scaling-law", lambda: _first_lines(run, options)
        ) as running:
            result = scaling_law(
                run.problem,
                run.method,
                bracket,
                step=step,
                sampling=run.sampling,
                **options,
                **running.options(),
            )
        output.save("scaling-law", result)
        output.draw("scaling-law", "plot_scaling_law", result)
    lines = unused_accuracy(scaling_law_lines(result, run.name), run)
    return output.report(
        "scaling-law", result.status, _json(result), lines, scaling_law_table(result)
    )


def _first_lines(run: RunFile, options: dict[str, Any]) -> Lines:
    """Name problem and method, and about what networks of all widths take."""
    from dmft.config.settings import CurveSettings
    from dmft.studies.scaling_law import WIDTHS, widened

    settings, widths = run.scaling_law, options.get("widths", WIDTHS)
    grid = CurveSettings(steps=settings.steps or (run.method.n_steps,), points=settings.points)
    run = replace(run, curve=grid, accuracy=None)
    parts = [(replace(run, problem=widened(run.problem, m)), "curve") for m in widths]
    return first_lines(run, "curve", parts)


def _json(result: ScalingLaw) -> dict[str, Any]:
    learners = range(len(result.names))
    laws = {
        name: [picked(getattr(result, name)(i), "exponent stderr factor points") for i in learners]
        for name in _LAWS
    }
    return {**picked(result, _JSON), "detail": result.detail, **laws}
