r"""Predict the Hessians that a sweep has recorded, each from the law of n weights at its own size.

Every run of a sweep is free, and of finite dimension: at the step of the Hessian its smallest
eigenvalue and the overlap of the eigenvector with the hard directions are those of n = delta d
curvatures (`dmft.hessian.finite_law`), as long as the overlap of the weights themselves is small
(setting of Montanari & Wang, arXiv:2602.01434). Medians over seeds stand beside medians over draws.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.execution import Execution
from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_instance
from dmft._numerics.value_text import text_table
from dmft.hessian.finite_law import DrawnMedian, is_large
from dmft.io.marks import DELTA, ErrorOf
from dmft.io.report_text import cell, paths_line, problem_lines
from dmft.io.saved_result import SavedResult
from dmft.model.custom_laws import problem_of_record
from dmft.model.problem import Problem
from dmft.solver.stability import SHARE_TOLERANCE
from dmft.studies.sweep_result import Sweep
from dmft.training.methods import method_from_config
from dmft.trajectory.finite_law import check_same_samples
from dmft.trajectory.solving import solve
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from dmft.io.report_text import Lines

__all__ = ["SweepPrediction", "predict_sweep"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class SweepPrediction(
    SavedResult, kind="prediction of a sweep", settings=("problem", "method", "sampling")
):
    """Smallest eigenvalue and hard overlap at each size and delta of a sweep, predicted.

    Medians over draws, shape (n_d, n_delta), with standard errors, and medians over the seeds of
    the sweep with theirs. NaN where the theory has no Hessian at that step (it diverged), or n is
    less than 10 m.

    Attributes
    ----------
    d : tuple of int
    deltas : ndarray, shape (n_delta,)
    step : int
        Of the Hessian.
    smallest_eigenvalue, smallest_eigenvalue_stderr : ndarray
        Of the law of n weights.
    lower, upper : ndarray
        Ends of the band in which 68 % of single runs have it.
    hard_overlap, hard_overlap_stderr : ndarray
    hard_gap : ndarray
        Where it is negative most runs have a negative hard outlier.
    run_eigenvalue, run_eigenvalue_stderr, run_overlap, run_overlap_stderr : ndarray
        Of the runs of the sweep.
    unstable_share : ndarray, shape (n_delta,)
        As in `FiniteLaw`.
    status : Status
        SUCCESS, or the first status of a solve or a law that is none.
    config : dict
        Problem, method, sampling as plain types.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "square")
    >>> method = dmft.GradientDescent(step_size=0.02, n_steps=4)
    >>> runs = dmft.sweep(problem, [4, 8], method, d=60, seeds=4, hessian_step=2, workers=1)
    >>> found = dmft.predict_sweep(runs, dmft.Sampling(n_paths=256))
    >>> found.smallest_eigenvalue.shape, bool(abs(found.deviation[0]).max() < 5)
    ((1, 2), True)
    """

    _axes: ClassVar = {"n_d": "d", "n_delta": "delta", "q": "quantity"}
    _rows: ClassVar = ("d", "delta")
    _shown: ClassVar = ("step", "smallest_eigenvalue")

    d: Annotated[tuple[int, ...], "n_d"]
    deltas: Annotated[FloatArray, "n_delta", DELTA]
    step: int
    smallest_eigenvalue: Annotated[FloatArray, "n_d n_delta"]
    smallest_eigenvalue_stderr: Annotated[FloatArray, "n_d n_delta", ErrorOf("smallest_eigenvalue")]
    lower: Annotated[FloatArray, "n_d n_delta"]
    upper: Annotated[FloatArray, "n_d n_delta"]
    hard_overlap: Annotated[FloatArray, "n_d n_delta"]
    hard_overlap_stderr: Annotated[FloatArray, "n_d n_delta", ErrorOf("hard_overlap")]
    hard_gap: Annotated[FloatArray, "n_d n_delta"]
    run_eigenvalue: Annotated[FloatArray, "n_d n_delta"]
    run_eigenvalue_stderr: Annotated[FloatArray, "n_d n_delta", ErrorOf("run_eigenvalue")]
    run_overlap: Annotated[FloatArray, "n_d n_delta"]
    run_overlap_stderr: Annotated[FloatArray, "n_d n_delta", ErrorOf("run_overlap")]
    unstable_share: Annotated[FloatArray, "n_delta"]
    status: Status
    config: dict[str, Any] = field(repr=False)

    @property
    def deviation(self) -> FloatArray:
        """Runs less law, in combined standard errors, shape (2, n_d, n_delta).

        Of the eigenvalue, then of the overlap; NaN where neither has an error, and of overlaps
        where most draws have no hard outlier: there they are O(1/d), which no law tells.
        """
        pairs = (
            ("run_eigenvalue", "smallest_eigenvalue"),
            ("run_overlap", "hard_overlap"),
        )
        found = []
        for run, law in pairs:
            error = np.hypot(getattr(self, f"{run}_stderr"), getattr(self, f"{law}_stderr"))
            with np.errstate(invalid="ignore", divide="ignore"):
                found.append((getattr(self, run) - getattr(self, law)) / error)
        found[1][~self.has_outlier] = np.nan
        return np.array(found)

    @property
    def has_outlier(self) -> NDArray[np.bool_]:
        """Where most draws have a hard outlier at the bottom, shape (n_d, n_delta)."""
        return np.asarray(self.hard_overlap > _NO_OVERLAP)

    def _report(self) -> tuple[Lines, str]:
        lines = [
            *problem_lines(self.config),
            paths_line(self.config["sampling"]),
            ("Hessian", f"at step {self.step}: medians over the runs, and of the law of n weights"),
        ]
        share = float(np.nanmax(self.unstable_share, initial=0.0))
        if share > SHARE_TOLERANCE:
            text = f"carry up to {share:.1%} of an average: runs rest on rare samples"
            lines.append(("unstable paths", text))
        return lines, self.table()

    def table(self) -> str:
        """Return one line for each size and delta, runs beside the law."""
        head = ("d", "delta", "eigenvalue", "law", "overlap", "law", "gap", "deviations")
        cells = []
        deviation = self.deviation
        for i, d in enumerate(self.d):
            for j, delta in enumerate(self.deltas):
                at = (i, j)
                apart = [f"{value:+.1f}" for value in deviation[:, i, j] if np.isfinite(value)]
                overlap = cell(self.hard_overlap[at], self.hard_overlap_stderr[at])
                cells.append(
                    (
                        *(str(d), f"{delta:.4g}"),
                        cell(self.run_eigenvalue[at], self.run_eigenvalue_stderr[at]),
                        cell(self.smallest_eigenvalue[at], self.smallest_eigenvalue_stderr[at]),
                        cell(self.run_overlap[at], self.run_overlap_stderr[at]),
                        overlap if self.has_outlier[at] else "no outlier",
                        *(f"{self.hard_gap[at]:.2g}", ", ".join(apart)),
                    )
                )
        return text_table(head, cells)


def predict_sweep(
    sweep: Sweep,
    sampling: Sampling | None = None,
    *,
    problem: Problem | None = None,
    draws: int | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | bool | None = None,
) -> SweepPrediction:
    """Predict smallest eigenvalue and hard overlap at every size and delta of a sweep.

    Parameters
    ----------
    sweep : Sweep
        With a ``hessian_step``.
    sampling : Sampling, optional
    problem : Problem, optional
        That of the sweep, where it has laws of one's own.
    draws : int, optional
        As in `Trajectory.hessian`.
    threads, progress : optional
        As in :func:`dmft.solve`; progress is called with 1 for each delta.

    Returns
    -------
    SweepPrediction

    Raises
    ------
    ValueError
        If the sweep has no Hessians or another problem, or every step takes fresh samples.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    See `SweepPrediction`.
    """
    check_instance("sweep", sweep, Sweep)
    if sweep.hessian_step is None:
        raise ValueError("sweep must have a hessian_step, whose Hessians are predicted")
    known = problem_of_record(sweep.config, problem)
    if known is None:
        raise ValueError("problem must be given for a sweep with laws of your own")
    sampling = Sampling() if sampling is None else sampling
    step = sweep.hessian_step
    method = method_from_config(sweep.config["method"]).until(step)
    check_same_samples(method)
    shape = len(sweep.d), len(sweep.deltas)
    values = {name: np.full(shape, np.nan) for name in (*_MEDIANS, "hard_gap", "lower", "upper")}
    errors = {f"{name}_stderr": np.full(shape, np.nan) for name in _MEDIANS}
    shares, status = np.full(len(sweep.deltas), np.nan), Status.SUCCESS
    with Execution(threads, progress).shown(len(sweep.deltas), "values of delta") as execution:
        for j, delta in enumerate(sweep.deltas.tolist()):
            trajectory = solve(
                known, delta, method, sampling, hessian_steps=[step] if step else (),
                threads=threads,
            )  # fmt: skip
            status = status if not status.ok else trajectory.status
            for i, d in enumerate(sweep.d):
                for name, entries in (
                    ("run_eigenvalue", sweep.smallest_eigenvalue[i, j]),
                    ("run_overlap", sweep.hard_overlap[i, j]),
                ):
                    median = (
                        DrawnMedian.of(entries[np.isfinite(entries)]) if _two(entries) else _NONE
                    )
                    values[name][i, j] = median.value
                    errors[f"{name}_stderr"][i, j] = median.stderr
                if trajectory.n_steps < step or not is_large(d, delta, known.m):
                    continue
                try:
                    law = trajectory.hessian(step, d=d, draws=draws)
                except NumericalFailure as failure:  # of a further solve, for more draws
                    status = status if not status.ok else failure.status
                    continue
                status = status if not status.ok else law.status
                shares[j] = law.unstable_share
                for name in ("smallest_eigenvalue", "hard_overlap"):
                    median = getattr(law, name)
                    values[name][i, j] = median.value
                    errors[f"{name}_stderr"][i, j] = median.stderr
                ends = law.smallest_eigenvalue
                values["lower"][i, j], values["upper"][i, j] = ends.lower, ends.upper
                values["hard_gap"][i, j] = law.gap.value
            execution.advance()
    config = {"problem": sweep.config["problem"], "method": method.to_config()}
    return SweepPrediction(
        d=sweep.d,
        deltas=sweep.deltas,
        step=step,
        unstable_share=shares,
        status=status,
        config={**config, "sampling": sampling.to_config()},
        **values,
        **errors,
    )


_NO_OVERLAP = 1e-6  # a median beneath is that of draws without a hard outlier
_MEDIANS = ("smallest_eigenvalue", "hard_overlap", "run_eigenvalue", "run_overlap")
_NONE = DrawnMedian(np.nan, np.nan, np.nan, np.nan)


def _two(values: FloatArray) -> bool:
    """Return whether at least two values are finite, so that a median has an error."""
    return int(np.count_nonzero(np.isfinite(values))) > 1
