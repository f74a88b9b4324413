"""Command ``cascade``: thresholds of all features, before and after some are learned."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from dmft.cli.output import Output, execution, first_lines, picked, unused_accuracy
from dmft.cli.run_files import given, needed, run_file, until

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.studies.cascade import Cascade

__all__ = ["run_cascade"]

_JSON = "steps times value stderr interpolation_error bias error statuses multiplicity jump limit"


def run_cascade(arguments: argparse.Namespace) -> int:
    """Find the thresholds of all features."""
    from dmft.studies.cascade import cascade
    from dmft.studies.cascade_report import cascade_lines, cascade_table

    run = _cascade_run(arguments)
    settings = run.cascade
    bracket = needed(
        settings.bracket or run.curve.bracket or run.threshold.bracket, "cascade.bracket"
    )
    options = run.threshold.stated("criterion") | run.curve.stated("criterion")
    options |= settings.stated("learned", "features", "points", "max_solves", "criterion")
    with Output(arguments, run) as output:
        with execution(arguments, output, "cascade", lambda: first_lines(run, "curve")) as running:
            result = cascade(
                run.problem,
                run.method,
                bracket,
                settings.steps,
                run.sampling,
                **options,
                **running.options(),
            )
        output.save("cascade", result)
        output.draw("cascade", "plot_cascade", result)
    lines = unused_accuracy(cascade_lines(result, run.name), run)
    return output.report("cascade", result.status, _json(result), lines, cascade_table(result))


def _cascade_run(arguments: argparse.Namespace) -> RunFile:
    """Return the run file with the options of the command line, and its own horizon."""
    run = run_file(arguments)
    n_steps = given(arguments, "method").get("n_steps", run.cascade.n_steps)
    settings = dataclasses.replace(run.cascade, n_steps=n_steps)
    return dataclasses.replace(run, method=until(run.method, n_steps), cascade=settings)


def _json(result: Cascade) -> dict[str, Any]:
    return {
        "criterion": result.criterion,
        "bracket": result.bracket,
        "detail": result.detail,
        "stages": [
            {
                "overlap": stage.overlap,
                "hard": stage.hard,
                "made_easy": stage.made_easy,
                "features": [picked(curve, _JSON) for curve in stage.curves],
            }
            for stage in result.stages
        ],
    }
