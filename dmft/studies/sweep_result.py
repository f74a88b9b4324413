"""Recovery of the hard directions by every run on a grid of delta and sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft.io.marks import DELTA, STEPS
from dmft.io.records import check_status_names
from dmft.io.report_text import inputs_line, problem_lines
from dmft.io.results import reporting
from dmft.io.saved_result import SavedResult
from dmft.studies.logistic import LogisticCrossing, fit_crossing, jeffreys_interval
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    import os

    from dmft.io.report_text import Lines

__all__ = ["Sweep", "crossing_sentence"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Sweep(SavedResult, kind="sweep", settings=("problem", "method", "inputs")):
    """Outcome of every run on a grid of sizes and deltas.

    Made by :func:`dmft.sweep`. The arrays below have shape (n_d, n_delta, S): size, delta, seed.

    =======================  ======================================================================
    attribute                quantity
    =======================  ======================================================================
    ``recovery_step``        first step at which the squared cosine between a hard direction and the
                             span of the neurons reached ``recovery``; -1 if it never did (int)
    ``final_cosine``         that squared cosine at the last step
    ``largest_cosine``       its largest value along the run
    ``train_loss``           at the last step
    ``test_loss``            at the last step: the generalisation error
    ``smallest_eigenvalue``  of the Hessian at ``hessian_step``; NaN if none was asked for
    ``hard_overlap``         squared norm of the projection of its eigenvector on the hard space
    ``statuses``             name of the `Status` of the run (str)
    =======================  ======================================================================

    Values at the last step are NaN for a run that diverged.

    Attributes
    ----------
    d : tuple of int
        Sizes, increasing.
    deltas : ndarray, shape (n_delta,)
        Increasing.
    seeds : tuple of int
    recovery : float
        Squared cosine that counts as recovered.
    hessian_step : int or None
    config : dict
        Problem, method and inputs as plain types.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    >>> method = dmft.GradientDescent(0.2, 20)
    >>> found = dmft.sweep(problem, [1.0, 20.0], method, d=20, seeds=2, workers=1)
    >>> found.deltas, found.probability.shape, found.status.name
    (array([ 1., 20.]), (1, 2), 'SUCCESS')
    """

    _axes: ClassVar = {"n_d": "d", "n_delta": "delta", "S": "seed"}
    _rows: ClassVar = ("d", "delta", "seed")

    d: Annotated[tuple[int, ...], "n_d"]
    deltas: Annotated[FloatArray, "n_delta", DELTA]
    seeds: Annotated[tuple[int, ...], "S"]
    recovery: float
    hessian_step: int | None
    recovery_step: Annotated[NDArray[np.int64], "n_d n_delta S", STEPS]
    final_cosine: Annotated[FloatArray, "n_d n_delta S"]
    largest_cosine: Annotated[FloatArray, "n_d n_delta S"]
    train_loss: Annotated[FloatArray, "n_d n_delta S"]
    test_loss: Annotated[FloatArray, "n_d n_delta S"]
    smallest_eigenvalue: Annotated[FloatArray, "n_d n_delta S"]
    hard_overlap: Annotated[FloatArray, "n_d n_delta S"]
    statuses: Annotated[NDArray[np.str_], "n_d n_delta S"]
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def n_steps(self) -> int:
        """The step budget."""
        return int(self.config["method"]["n_steps"])

    @property
    def diverged(self) -> Annotated[NDArray[np.bool_], "n_d n_delta S"]:
        """Which runs diverged, shape (n_d, n_delta, S)."""
        return np.asarray(self.statuses == Status.DIVERGED.name)

    @property
    def recovered(self) -> Annotated[NDArray[np.bool_], "n_d n_delta S"]:
        """Which runs recovered within the budget; those that diverged did not."""
        return np.asarray((self.recovery_step >= 0) & ~self.diverged)

    @property
    def probability(self) -> Annotated[FloatArray, "n_d n_delta"]:
        """Fraction of the seeds that recovered, shape (n_d, n_delta)."""
        return np.asarray(self.recovered.mean(axis=2))

    @property
    def excess_loss(self) -> Annotated[FloatArray, "n_d n_delta S"]:
        """Test loss minus training loss at the last step, shape (n_d, n_delta, S)."""
        return np.asarray(self.test_loss - self.train_loss)

    @property
    def status(self) -> Status:
        """SUCCESS, or the status of the first run that failed."""
        return first_failure(Status[name] for name in self.statuses.ravel().tolist())

    def probability_interval(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Compute the interval of the recovery probability at each size and delta.

        Jeffreys' interval: the central part of Beta(r + 1/2, S - r + 1/2) after r recoveries of S,
        from 0 if there was none and to 1 if all recovered.

        Parameters
        ----------
        level : float
            Between 0 and 1.

        Returns
        -------
        lower, upper : ndarray, shape (n_d, n_delta)

        Raises
        ------
        ValueError
            If the level is out of range.
        """
        return jeffreys_interval(self.recovered.sum(axis=2), len(self.seeds), level)

    def crossing(self, d: int, *, level: float = 0.95) -> LogisticCrossing:
        """Fit the delta at which the recovery probability crosses one half at one size.

        Parameters
        ----------
        d : int
            One of the sizes.
        level : float
            Of the likelihood interval, see `dmft.studies.logistic.fit_crossing`.

        Returns
        -------
        LogisticCrossing
            With status NO_BRACKET, and no value, where the grid does not bracket a crossing.

        Raises
        ------
        ValueError
            If there is no such size, or an argument is out of range.
        """
        if d not in self.d:
            raise ValueError(f"d must be one of the sizes {', '.join(map(str, self.d))}; got {d!r}")
        recovered = self.recovered[self.d.index(d)].sum(axis=1)
        trials = np.full(len(self.deltas), len(self.seeds))
        return fit_crossing(self.deltas, recovered, trials, level=level)

    def _report(self) -> tuple[Lines, str]:
        lines = [
            *problem_lines(self.config),
            inputs_line(self.config["inputs"], self.config["problem"]),
        ]
        return lines, self.table()

    def table(self) -> str:
        """Return the results as text: for every size its crossing, then one line for each delta."""
        lower, upper = self.probability_interval()
        count = len(self.seeds)
        lines = [
            f"recovered: squared cosine {self.recovery:g} within {self.n_steps} steps; "
            f"{count} seed{'s' if count != 1 else ''} per delta; intervals 95 %"
        ]
        head = f"{'delta':>9} {'recovered':>10} {'probability':>23} {'median step':>12}"
        head += f" {'test loss':>10} {'excess':>10} {'diverged':>9}"
        if self.hessian_step is not None:
            head += f" {'eigenvalue':>11} {'overlap':>8}"
        for i, d in enumerate(self.d):
            lines += ["", f"d = {d}: {crossing_sentence(self.crossing(d))}", head]
            for j, delta in enumerate(self.deltas):
                recovered = self.recovered[i, j]
                steps = self.recovery_step[i, j][recovered]
                interval = f"({lower[i, j]:.2f} to {upper[i, j]:.2f})"
                line = f"{delta:9.4g} {f'{recovered.sum()}/{count}':>10}"
                line += f" {self.probability[i, j]:7.2f} {interval:>15}"
                line += f" {f'{np.median(steps):.0f}' if len(steps) else '-':>12}"
                line += (
                    f" {_median(self.test_loss[i, j]):>10} {_median(self.excess_loss[i, j]):>10}"
                )
                line += f" {self.diverged[i, j].sum():9d}"
                if self.hessian_step is not None:
                    line += f" {_median(self.smallest_eigenvalue[i, j]):>11}"
                    line += f" {_median(self.hard_overlap[i, j]):>8}"
                lines.append(line)
        return "\n".join(lines)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sweep:
        """Read a sweep written by :meth:`save`.

        Raises
        ------
        ValueError
            If the file is not a sweep, is damaged, or was written by a newer version.
        """
        found = super().load(path)
        with reporting(path):
            check_status_names(found.statuses)
        return found

    def __repr__(self) -> str:
        return (
            f"Sweep(d={self.d}, n_delta={len(self.deltas)}, seeds={len(self.seeds)}, "
            f"n_steps={self.n_steps}, recovery={self.recovery:g}, status={self.status.name})"
        )


def crossing_sentence(crossing: LogisticCrossing) -> str:
    """Say where a recovery probability crosses one half, or why it is not known."""
    if crossing.status is Status.NO_BRACKET:
        return "the grid does not bracket a crossing; widen it"
    if not crossing.status.ok:
        return f"{crossing.status.name}: {crossing.status.value}"
    low = f"{crossing.lower:.4g}" if crossing.lower > 0 else "below the grid"
    high = f"{crossing.upper:.4g}" if np.isfinite(crossing.upper) else "above the grid"
    return (
        f"crossing at delta = {crossing.value:.4g} ({low} to {high}), "
        f"width {crossing.width:.2g} in log delta"
    )


def _median(values: FloatArray) -> str:
    finite = values[np.isfinite(values)]
    return f"{np.median(finite):.4g}" if len(finite) else "-"
