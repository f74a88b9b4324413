"""Probability of recovery at dimension d: runs drawn, their fractions, and where these are 1/2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_instance, check_integer
from dmft._numerics.value_text import text_table
from dmft.io.marks import DELTA, STEPS
from dmft.io.records import check_status_names
from dmft.io.report_text import problem_lines
from dmft.io.results import reporting
from dmft.io.saved_result import SavedResult
from dmft.io.stored_settings import check_settings
from dmft.studies.logistic import LogisticCrossing, fit_crossing, jeffreys_interval
from dmft.studies.sweep_result import Sweep, crossing_sentence
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    import os

    from dmft.io.report_text import Lines

__all__ = ["RecoveryProbability"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class RecoveryProbability(
    SavedResult, kind="recovery probability", settings=("problem", "method", "hard_overlap")
):
    """Predicted recovery of the hard directions at each size and delta, from R runs drawn of each.

    Made by :func:`dmft.recovery_probability`. All probabilities are fractions of the draws, with
    Jeffreys' intervals: the runs drawn have the law of runs at that d, and the number of draws is
    the only source of error.

    Attributes
    ----------
    d : tuple of int
        Dimensions, increasing.
    deltas : ndarray, shape (n_delta,)
        Increasing.
    recovery : float
        Squared cosine that counts as recovered.
    seed : int
    recovery_step : ndarray of int, shape (n_d, n_delta, R)
        First step at which the squared cosine between a hard direction and the span of the neurons
        reached ``recovery``; -1 if it never did.
    largest_cosine : ndarray, shape (n_d, n_delta, R)
        Largest value of that squared cosine.
    rank : ndarray of int, shape (n_d, n_delta, R)
        Number of coordinates of the run.
    statuses : ndarray of str, shape (n_d, n_delta, R)
        Names of the `Status` of each run.
    config : dict
        Problem, method, overlap with the hard directions at the start (None: random).

    References
    ----------
    Montanari and Wang, arXiv:2602.01434; Lu, arXiv:2101.07464.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    >>> method = dmft.GradientDescent(0.2, 60)
    >>> found = dmft.recovery_probability(problem, [1, 4, 16], 100, method, draws=16, workers=1)
    >>> crossing = found.crossing(100)
    >>> crossing.status.name, bool(1 < crossing.lower < crossing.value < crossing.upper < 16)
    ('SUCCESS', True)
    >>> lower, upper = found.probability_interval()
    >>> early = found.probability_by(10)
    >>> bool(np.all(early <= found.probability)), float(lower[0, 0]), float(upper[0, 2])
    (True, 0.0, 1.0)
    """

    _axes: ClassVar = {"n_d": "d", "n_delta": "delta", "R": "draw"}
    _rows: ClassVar = ("d", "delta", "draw")

    d: Annotated[tuple[int, ...], "n_d"]
    deltas: Annotated[FloatArray, "n_delta", DELTA]
    recovery: float
    seed: int
    recovery_step: Annotated[NDArray[np.int64], "n_d n_delta R", STEPS]
    largest_cosine: Annotated[FloatArray, "n_d n_delta R"]
    rank: Annotated[NDArray[np.int64], "n_d n_delta R"]
    statuses: Annotated[NDArray[np.str_], "n_d n_delta R"]
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def n_steps(self) -> int:
        """The step budget."""
        return int(self.config["method"]["n_steps"])

    @property
    def draws(self) -> int:
        """Number of runs drawn at each size and delta."""
        return int(self.recovery_step.shape[2])

    @property
    def recovered(self) -> Annotated[NDArray[np.bool_], "n_d n_delta R"]:
        """Which runs recovered within the budget; those that diverged did not."""
        return np.asarray(self._recovered_by(self.n_steps))

    @property
    def probability(self) -> Annotated[FloatArray, "n_d n_delta"]:
        """Fraction of the draws that recovered within the budget, shape (n_d, n_delta)."""
        return np.asarray(self.recovered.mean(axis=2))

    @property
    def status(self) -> Status:
        """SUCCESS, or the status of the first run that failed."""
        return first_failure(Status[name] for name in self.statuses.ravel().tolist())

    def probability_by(self, step: int) -> FloatArray:
        """Return the fraction of the draws that recovered by a step, shape (n_d, n_delta).

        Raises
        ------
        ValueError
            If the step is not in 0..n_steps.
        """
        return np.asarray(self._recovered_by(self._checked(step)).mean(axis=2))

    def probability_interval(
        self, level: float = 0.95, step: int | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Compute Jeffreys' interval of the recovery probability at each size and delta.

        Parameters
        ----------
        level : float
            Between 0 and 1.
        step : int, optional
            By which a run has to recover; default: the last.

        Returns
        -------
        lower, upper : ndarray, shape (n_d, n_delta)

        Raises
        ------
        ValueError
            If an argument is out of range.
        """
        step = self.n_steps if step is None else self._checked(step)
        return jeffreys_interval(self._recovered_by(step).sum(axis=2), self.draws, level)

    def crossing(self, d: int, *, step: int | None = None, level: float = 0.95) -> LogisticCrossing:
        """Fit the delta at which the recovery probability crosses one half at one size.

        Parameters
        ----------
        d : int
            One of the sizes.
        step : int, optional
            By which a run has to recover; default: the last.
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
        step = self.n_steps if step is None else self._checked(step)
        recovered = self._recovered_by(step)[self.d.index(d)].sum(axis=1)
        trials = np.full(len(self.deltas), self.draws)
        return fit_crossing(self.deltas, recovered, trials, level=level)

    def _recovered_by(self, step: int) -> NDArray[np.bool_]:
        failed = self.statuses != Status.SUCCESS.name
        found = (self.recovery_step >= 0) & (self.recovery_step <= step) & ~failed
        return np.asarray(found)

    def _checked(self, step: int) -> int:
        return check_integer("step", step, minimum=0, maximum=self.n_steps)

    def _report(self) -> tuple[Lines, str]:
        lines = [
            *problem_lines(self.config),
            ("runs drawn", f"{self.draws} of each, with up to {self.rank.max()} coordinates"),
        ]
        return lines, self.table()

    def table(self, sweep: Sweep | None = None) -> str:
        """Return the results as text: a crossing for every size, then one line for each delta.

        Parameters
        ----------
        sweep : Sweep, optional
            Simulated runs to set beside: those of the same sizes and deltas.

        Returns
        -------
        str

        Raises
        ------
        ValueError
            If `sweep` is something else.
        """
        if sweep is not None:
            check_instance("sweep", sweep, Sweep)
        lines = [
            f"predicted: squared cosine {self.recovery:g} within {self.n_steps} steps; "
            f"{self.draws} run{'s' if self.draws != 1 else ''} drawn per delta; intervals 95 %"
        ]
        head = ["delta", "probability", "interval", "median step", "rank"]
        if len(self.deltas) == 1:
            rows = [[str(d), *self._row(i, 0)] for i, d in enumerate(self.d)]
            return "\n".join([*lines, "", text_table(["d", *head], rows)])
        for i, d in enumerate(self.d):
            lines += ["", f"d = {d}: {crossing_sentence(self.crossing(d))}"]
            rows, head_of_size = [self._row(i, j) for j in range(len(self.deltas))], head
            if sweep is not None and d in sweep.d:
                lines.append(f"simulated: {crossing_sentence(sweep.crossing(d))}")
                head_of_size = [*head, "simulated"]
                simulated = [_simulated(sweep, d, delta) for delta in self.deltas]
                rows = [[*row, count] for row, count in zip(rows, simulated, strict=True)]
            lines.append(text_table(head_of_size, rows))
        return "\n".join(lines)

    def _row(self, i: int, j: int) -> list[str]:
        lower, upper = self.probability_interval()
        steps = self.recovery_step[i, j][self.recovered[i, j]]
        return [
            f"{self.deltas[j]:.4g}",
            f"{self.probability[i, j]:.2f}",
            f"{lower[i, j]:.2f} to {upper[i, j]:.2f}",
            f"{np.median(steps):.0f}" if len(steps) else "-",
            f"{np.median(self.rank[i, j]):.0f}",
        ]

    def check_settings(self) -> None:
        """Raise unless the settings are complete and allowed, and there are draws."""
        check_settings(self.config, *self._settings)
        if not self.draws:
            raise ValueError("it has no draws")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RecoveryProbability:
        """Read a prediction written by :meth:`save`.

        Raises
        ------
        ValueError
            If the file is of another kind, is damaged, or was written by a newer version.
        """
        found = super().load(path)
        with reporting(path):
            check_status_names(found.statuses)
        return found

    def __repr__(self) -> str:
        return (
            f"RecoveryProbability(d={self.d}, n_delta={len(self.deltas)}, draws={self.draws}, "
            f"n_steps={self.n_steps}, recovery={self.recovery:g}, status={self.status.name})"
        )


def _simulated(sweep: Sweep, d: int, delta: float) -> str:
    """Return how many of how many seeds recovered; nothing where the sweep has no such delta."""
    at = np.flatnonzero(sweep.deltas == delta)
    if not len(at):
        return ""
    recovered = sweep.recovered[sweep.d.index(d), int(at[0])]
    return f"{np.count_nonzero(recovered)}/{len(recovered)}"
