"""Text of runs at finite dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft._numerics.value_text import text_table
from dmft.io.report_text import inputs_line, problem_lines, with_error

if TYPE_CHECKING:
    from dmft.io.report_text import Lines
    from dmft.simulation.simulation import Simulation

__all__ = ["simulation_lines", "simulation_table"]

_ROUNDING = 1e-12


def simulation_lines(run: Simulation, name: str = "") -> Lines:
    """Write the settings of runs: problem (after the name of the run), delta, inputs."""
    lines = [
        *problem_lines(run.config, name),
        ("delta, steps", f"{run.delta:g}, {run.method.n_steps}"),
        inputs_line(run.config["inputs"], run.config["problem"]),
    ]
    if run.problem is not None and run.problem.target.hard_basis.shape[1]:
        how = "held at overlap 0" if run.hold_hard else "free"
        lines.append(("hard directions", how))
    return lines


def simulation_table(simulations: Sequence[Simulation]) -> str:
    """Return means and standard errors at the last step, a column for each size."""
    columns = [_simulation_column(simulation) for simulation in simulations]
    last = simulations[0].method.n_steps
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return text_table([f"after {last} steps", *(f"d = {one.d}" for one in simulations)], rows)


def _simulation_column(run: Simulation) -> dict[str, str]:
    def last(name: str, *index: int) -> str:
        at = (-1, *index)
        return _with_error(float(run.mean[name][at]), float(run.stderr[name][at]))

    failed = sum(not status.ok for status in run.statuses)
    column = {
        "samples n": str(run.n),
        "seeds": str(len(run.seeds)) + (f", {failed} failed" if failed else ""),
        "train loss": last("train_loss"),
        "test loss": last("test_loss"),
        "gradient norm": last("gradient_norm"),
    }
    if math.isfinite(run.mean["test_error"][0]):  # of labels -1 and +1
        column["test error"] = last("test_error")
    for j in range(run.m):
        column[f"squared norm C{j + 1}{j + 1}"] = last("correlation", j, j)
    if run.method.trains_second_layer:
        for j in range(run.m):
            column[f"second layer a{j + 1}"] = last("second_layer", j)
    if run.method.trains_biases:
        for j in range(run.m):
            column[f"bias b{j + 1}"] = last("biases", j)
    easy, has_hard = [True] * run.k, True  # as far as is known of one loaded without its problem
    if run.problem is not None:
        easy = np.any(run.problem.target.easy_projector, axis=0).tolist()
        has_hard = run.problem.target.hard_basis.shape[1] > 0
    for i, j in ((i, j) for i in range(run.k) if easy[i] for j in range(run.m)):
        column[f"overlap M{j + 1}{i + 1}"] = last("overlap", j, i)
    if has_hard and not run.hold_hard:
        column["hard cosine^2"] = last("hard_cosine")
    for step, hessian in sorted(run.hessian.items()):
        column[f"step {step}: smallest eigenvalue"] = _mean(hessian.smallest[:, 0])
        if has_hard:
            column[f"step {step}: its hard overlap"] = _mean(hessian.hard_overlap)
        column[f"step {step}: largest eigenvalue"] = _mean(hessian.largest[:, -1])
    return column


def _mean(values: Any) -> str:
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return _with_error(float(values.mean()), float(error))


def _with_error(value: float, stderr: float) -> str:
    """Write value and error; the value alone where seeds differ by rounding."""
    return f"{value:.6g}" if stderr < _ROUNDING * abs(value) else with_error(value, stderr)
