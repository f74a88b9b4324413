"""Command ``scan``: quantities over a grid of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dmft._numerics.progress import duration
from dmft._numerics.value_text import text_table
from dmft.cli.exits import DONE, PROGRAM, UsageError
from dmft.cli.output import Output, print_json, problem_lines, progress
from dmft.cli.run_files import given, overlaid, overrides, run_source
from dmft.cli.streams import put, say

if TYPE_CHECKING:
    import argparse

    from dmft.config.config import RunFile
    from dmft.io.report_text import Lines
    from dmft.scans.cost import Estimate
    from dmft.scans.scan_result import Scan
    from dmft.scans.scans import Question

__all__ = ["run_scan"]


def run_scan(arguments: argparse.Namespace) -> int:
    """Compute the quantities of all points, or say what it would take."""
    if arguments.list:
        return _list(arguments)
    from dmft.scans.scans import answered, dry_run, question_of

    names = given(arguments, "scan").get("quantity")
    source = run_source(arguments)
    question = question_of(source, quantity=names, overrides=overrides(arguments))
    run = overlaid(arguments, question.run)
    output = Output(arguments, run)
    folder = output.subfolder("scan-points")
    if arguments.dry_run:
        return _estimate(arguments, run, question, dry_run(question, folder))
    if arguments.jobs is not None and (arguments.dask is None or "://" in arguments.dask):
        raise UsageError("--jobs belongs to --dask with a batch system, slurm say")
    if arguments.dask is not None:
        from dmft.scans.cluster import check_address

        if "://" not in check_address(arguments.dask):
            say(
                f"{PROGRAM}: waits for jobs of {arguments.dask}, as long as it takes; what is "
                f"finished is kept in {folder}"
            )
    with output:
        plan = question.plan()
        found = dry_run(question, folder, at_once=True)
        names = *question.design.keys, *map(str, question.quantities)
        output.begin(lambda: _first_lines(run, question, found), max(map(len, names)))
        try:
            with progress() as advance:
                result = answered(
                    question,
                    plan,
                    checkpoint=folder,
                    workers=arguments.workers,
                    dask=arguments.dask,
                    jobs=arguments.jobs,
                    progress=advance,
                )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"what is finished is kept in {folder}, the same command resumes"
            ) from None
        output.save("scan", result)
        output.table("scan", result)
        output.draw("scan", "plot_scan", result)
    lines = [*problem_lines(run), *result.lines()]
    return output.report("scan", result.status, _json(result), lines, result.table())


def _list(arguments: argparse.Namespace) -> int:
    """Print the quantities that there are."""
    from dmft.scans.quantities import quantity_table

    rows = quantity_table()
    if arguments.json:
        print_json([dict(zip(("name", "text", "error"), row, strict=True)) for row in rows])
    else:
        put(text_table(("quantity", "what it is", "error"), rows, left=(0, 1, 2)))
    return DONE


def _first_lines(run: RunFile, question: Question, found: Estimate) -> Lines:
    """Name problem, method and points, and about what the scan takes."""
    from dmft._numerics.machine_memory import readable

    left = found.n_tasks - found.n_done
    took = f"nothing, all {found.n_tasks} computations are on disk"
    if left:
        took = (
            f"about {duration(max(found.seconds, 1.0))} of processor time, "
            f"{readable(found.bytes)} for each worker; {left} of {found.n_tasks} computations"
        )
    return [*_begin(run, question), ("estimate", took)]


def _begin(run: RunFile, question: Question) -> Lines:
    """Name problem, method and points."""
    from dmft.scans.scan_result import points_line

    design = question.design
    return [*problem_lines(run), points_line(design.points, design.kind, design.shape)]


def _estimate(
    arguments: argparse.Namespace, run: RunFile, question: Question, found: Estimate
) -> int:
    """Print the number of points and what they take, without computing any."""
    from dmft._numerics.machine_memory import readable
    from dmft.io.report_text import report_text

    design = question.design
    if arguments.json:
        data = {
            "command": "scan",
            "name": run.name,
            "dry_run": True,
            "points": design.points,
            "shape": design.shape,
            "quantities": list(map(str, question.quantities)),
            "computations": found.n_tasks,
            "done": found.n_done,
            "processor_seconds": found.seconds,
            "bytes": found.bytes,
            "from_finished_computations": found.measured,
        }
        print_json(data)
        return DONE
    source = "finished computations" if found.measured else "a solve on few paths"
    lines = [
        *_begin(run, question),
        ("quantities", ", ".join(map(str, question.quantities))),
        ("computations", f"{found.n_tasks}, of which {found.n_done} are on disk"),
        ("time", f"about {duration(found.seconds)} of processor time, from {source}"),
        ("memory", f"about {readable(found.bytes)} for each worker"),
    ]
    put(report_text(lines, []))
    return DONE


def _json(result: Scan) -> dict[str, Any]:
    return {
        "design": result.design,
        "shape": result.shape,
        "axes": result.axes,
        "settings": result.settings,
        "quantities": {
            name: {
                "value": result.value[:, place],
                "error": result.error[:, place],
                "error_is": result.errors[place],
                "statuses": result.statuses[:, place],
            }
            for place, name in enumerate(result.quantities)
        },
        "details": result.details,
    }
