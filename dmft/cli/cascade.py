"""Command ``cascade``: thresholds of all features, before and after some are learned."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dmft.cli.output import Output, execution, first_lines, picked
from dmft.cli.run_files import bracket_of, run_of_horizon, which_of

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.io.report_text import Lines
    from dmft.studies.cascade import Cascade

__all__ = ["run_cascade"]

_JSON = """index steps times value stderr interpolation_error bias error statuses detail crossings
multiplicity jump jump_stderr edge_kinds unstable_share limit n_paths draws band"""


def run_cascade(arguments: argparse.Namespace) -> int:
    """Find the thresholds of all features."""
    from dmft.studies.cascade import cascade
    from dmft.studies.cascade_report import cascade_lines, cascade_table

    run = run_of_horizon(arguments, "cascade")
    settings = run.cascade
    bracket = bracket_of(run, "cascade")
    options = which_of(run, "cascade", "criterion")
    options |= settings.stated("learned", "features", "points", "max_solves")
    with Output(arguments, run) as output:
        with execution(arguments, output, "cascade", lambda: _first_lines(run, options)) as running:
            result = cascade(
                run.problem,
                run.method,
                bracket,
                settings.steps,
                run.sampling,
                **options,
                **settings.of_size,
                **run.accuracy_options,
                **running.options(),
            )
        output.save("cascade", result)
        output.draw("cascade", "plot_cascade", result)
    lines, table = cascade_lines(result, run.name), cascade_table(result)
    return output.report("cascade", result.status, _json(result), lines, table)


def _first_lines(run: RunFile, options: dict[str, Any]) -> Lines:
    """Name problem and method, and about what the features of all stages take."""
    from dmft.config.settings import CurveSettings
    from dmft.studies.cascade import features_of, problems_of

    grid = CurveSettings(**run.cascade.stated("steps", "points", "d", "draws"))
    parts = []
    for problem in problems_of(run.problem, options.get("learned", ())):
        stage = replace(run, problem=problem, curve=grid)
        count = features_of(problem, options.get("features"))
        parts += [(stage, "curve"), *[(stage, "feature")] * (count - 1)] if count else []
    return first_lines(run, "curve", parts)


def _json(result: Cascade) -> dict[str, Any]:
    return {
        "criterion": result.criterion,
        "bracket": result.bracket,
        "rtol": result.rtol,
        "d": result.d,
        "detail": result.detail,
        "makes_easy": result.makes_easy,
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
