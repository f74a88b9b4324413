"""Command ``scaling-law``: thresholds of all features at several widths, and power laws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dmft.cli.output import Output, execution, first_lines, picked, unused_accuracy
from dmft.cli.run_files import needed, run_of_horizon

if TYPE_CHECKING:
    import argparse

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
    bracket = needed(
        settings.bracket or run.curve.bracket or run.threshold.bracket, "scaling-law.bracket"
    )
    options = run.threshold.stated("criterion") | run.curve.stated("criterion")
    options |= settings.stated("widths", "points", "max_solves", "criterion", "n_points")
    step = settings.steps[0] if settings.steps else None
    with Output(arguments, run) as output:
        with execution(
            arguments, output, "scaling-law", lambda: first_lines(run, "curve")
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


def _json(result: ScalingLaw) -> dict[str, Any]:
    learners = range(len(result.names))
    laws = {
        name: [picked(getattr(result, name)(i), "exponent stderr factor points") for i in learners]
        for name in _LAWS
    }
    return {**picked(result, _JSON), "detail": result.detail, **laws}
