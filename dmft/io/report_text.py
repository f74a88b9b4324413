"""Text of results, as the command line prints it: lines of names and values, and tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dmft._numerics.value_text import value_text
from dmft.model.input_laws import describe_inputs
from dmft.model.problem_text import describe_problem
from dmft.training.methods import describe, method_from_config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rmt.status import Status

    Lines = list[tuple[str, str]]

__all__ = [
    "cell",
    "inputs_line",
    "paths_line",
    "problem_lines",
    "report_text",
    "status_line",
    "with_error",
]


def report_text(
    lines: Sequence[tuple[str, str]],
    last: Sequence[tuple[str, str]],
    table: str = "",
    width: int = 0,
) -> str:
    """Write lines, a table that follows them, and the last lines, names in a column of one width.

    At least of the `width` given, as of lines that were written before.

    Examples
    --------
    >>> print(report_text([("problem", "linear"), ("loss", "square")], [("status", "SUCCESS")]))
    problem  linear
    loss     square
    status   SUCCESS
    """
    width = max([width, *(len(name) for name, _ in (*lines, *last))])

    def block(part: Sequence[tuple[str, str]]) -> str:
        return "\n".join(f"{name:{width}}  {text}" for name, text in part)

    if table:
        return "\n\n".join(part for part in (block(lines), table, block(last)) if part)
    return block([*lines, *last])


def status_line(status: Status, text: str = "") -> tuple[str, str]:
    """Write a status, with what to try next where it is no success."""
    return "status", status.name if status.ok else f"{status.name}: {text or status.value}"


def problem_lines(config: Mapping[str, Any], name: str = "") -> Lines:
    """Write problem and method of a configuration, after the name of a run."""
    problem = config["problem"]
    text = describe_problem(problem, inputs=False)
    lines = [("problem", f"{name}: {text}" if name else text), method_line(config["method"])]
    if "inputs" in problem and "inputs" not in config:  # others have a line of inputs
        lines.append(inputs_line(None, problem))
    return lines


def method_line(config: Mapping[str, Any]) -> tuple[str, str]:
    """Name a method, given by its configuration."""
    return "method", describe(method_from_config(dict(config)))


def inputs_line(
    config: Mapping[str, Any] | None, problem: Mapping[str, Any] | None = None
) -> tuple[str, str]:
    """Name the law of the inputs, that of the problem where it has one; None: Gaussian ones."""
    if problem is not None and "inputs" in problem:
        return "inputs", describe_inputs(problem["inputs"])
    law, *parameters = ({"law": "gaussian"} if config is None else config).values()
    return "inputs", " ".join([law, *map(str, parameters)])


def paths_line(config: Mapping[str, Any], rtol: float | None = None) -> tuple[str, str]:
    """Name the sampling of the theory, and the accuracy that it was chosen for."""
    text = f"{config['replicates']} x {config['n_paths']}, seed {config['seed']}"
    if rtol is not None:
        text = f"up to {text}, for an accuracy of {rtol:g}"
    return "paths", text


def with_error(value: float, stderr: float) -> str:
    """Write ``value +- stderr``, or the source of a value without error."""
    return value_text(value, stderr, exact=" (quadrature)", unknown=" (error unknown)")


def cell(value: float, error: float) -> str:
    """Write a number of a table with its error; "none" where there is none."""
    if not math.isfinite(value):
        return "none"
    # The extreme nodes of a quadrature move an edge by less than any digit shown.
    return with_error(float(value), 0.0 if error <= 1e-7 * abs(value) else float(error))
