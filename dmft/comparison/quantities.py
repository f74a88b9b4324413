"""Compare single quantities of the theory with simulations, along the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from dmft.comparison.agreement import Agreement, measure_agreement
from dmft.io.marks import STEPS

if TYPE_CHECKING:
    from dmft.comparison.smallest_eigenvalue import SmallestEigenvalue
    from dmft.model.problem import Problem
    from dmft.simulation.simulation import Simulation
    from dmft.trajectory.trajectory import Trajectory

__all__ = ["LIMIT", "QUANTITIES", "QuantityComparison", "compare_eigenvalues", "compare_quantity"]

FloatArray = NDArray[np.float64]

#: What can be compared, with the name it has in tables.
QUANTITIES: Final[dict[str, str]] = {
    "norm": "C(t,t)",
    "overlap": "M(t)",
    "gradient_covariance": "G(t,t)",
    "gradient_norm": "gradient norm",
    "train_loss": "train loss",
    "test_loss": "test loss",
    "test_error": "test error",
    "second_layer": "a(t)",
    "biases": "b(t)",
    "smallest_eigenvalue": "smallest eigenvalue",
    "hard_overlap": "its hard overlap",
}
#: Standard errors within which an entry is compatible.
LIMIT: Final = 3.0
# Letters of the entries of quantities, whose axes are (S, T+1, ...).
_LETTERS: Final = {
    "norm": "C",
    "overlap": "M",
    "gradient_covariance": "G",
    "gradient_norm": "",
    "train_loss": "",
    "test_loss": "",
    "test_error": "",
    "second_layer": "a",
    "biases": "b",
}


@dataclass(frozen=True, eq=False)
class QuantityComparison(Agreement):
    """Deviation of one quantity along the steps, theory and simulation.

    An `Agreement` whose arrays have shape (n_steps, n_entries); a symmetric matrix has each of its
    entries once.

    Attributes
    ----------
    name : str
        A key of `QUANTITIES`.
    steps : ndarray of int, shape (n_steps,)
    labels : tuple of str, length n_entries
        Such as ``C12``; empty for a scalar.
    theory : ndarray
    runs : tuple of ndarray, shapes (S_j, n_steps, n_entries)
        The seeds of each size.
    """

    _axes: ClassVar = {"t": "step", "e": ".label"}
    _default_axes: ClassVar = "t e"

    name: str
    steps: Annotated[NDArray[np.intp], "t", STEPS]
    labels: Annotated[tuple[str, ...], "e"]
    theory: Annotated[FloatArray, "t e"]
    runs: tuple[FloatArray, ...] = field(repr=False)

    @property
    def title(self) -> str:
        """Name in tables."""
        return QUANTITIES[self.name]

    @property
    def largest_ratio(self) -> float:
        """Largest deviation in standard errors, in absolute value."""
        return self.largest_until(None)[0]

    @property
    def where(self) -> tuple[int, str]:
        """Step and label of the largest ratio."""
        return self.largest_until(None)[1:]

    def largest_until(self, step: int | None) -> tuple[float, int, str]:
        """Return the largest |ratio| up to a step (None: all), with its step and label.

        Zero at step -1 if there is none.
        """
        sizes = np.abs(self.ratio if step is None else self.ratio[self.steps <= step])
        if not sizes.size:
            return 0.0, -1, ""
        row, column = np.unravel_index(int(sizes.argmax()), sizes.shape)
        return float(sizes[row, column]), int(self.steps[row]), self.labels[column]

    @property
    def n_beyond(self) -> int:
        """Number of entries beyond three standard errors."""
        return int(np.count_nonzero(np.abs(self.ratio) > LIMIT))

    @property
    def compatible(self) -> bool:
        """Whether every entry is within three standard errors."""
        return self.n_beyond == 0


def compare_quantity(
    name: str, trajectory: Trajectory, runs: Sequence[Any], steps: NDArray[np.intp]
) -> QuantityComparison | None:
    """Compare a quantity recorded along the steps.

    Parameters
    ----------
    name : str
        A key of `QUANTITIES`; those of the Hessian are for `compare_eigenvalues`.
    trajectory : Trajectory
    runs : sequence of Simulation, or of runs of others
        One for each dimension.
    steps : ndarray of int
        Steps that all have recorded.

    Returns
    -------
    QuantityComparison or None
        None where there is nothing to compare.
    """
    problem = trajectory.problem
    assert problem is not None
    if name not in _LETTERS:
        return None
    nothing_to_see = {
        "test_error": not problem.target.has_sign_labels,
        "second_layer": not trajectory.method.trains_second_layer,
        "biases": not trajectory.method.trains_biases,
    }
    if nothing_to_see.get(name):
        return None
    value, error = getattr(trajectory, name), trajectory.stderr[name]
    if any(name not in run.measured for run in runs):
        return None
    letter = _LETTERS[name]
    found = [getattr(run, name) for run in runs]
    rows = [np.searchsorted(run.steps, steps) for run in runs]
    samples = [np.asarray(array)[:, row] for array, row in zip(found, rows, strict=True)]
    m, labels = problem.m, [""]
    if name == "gradient_covariance":
        times = np.arange(trajectory.n_steps + 1)
        value, error = value[times, times], error[times, times]
    if name == "overlap":
        directions, names = _overlap_directions(problem)
        # The error of a rotated overlap, from the replicates themselves.
        each = np.stack([array @ directions for array in trajectory.per_replicate(name)])
        value = value @ directions
        error = each.std(axis=0, ddof=1) / np.sqrt(len(each))
        samples = [array @ directions for array in samples]
        labels = [f"{letter}{j + 1}{i}" for j in range(m) for i in names]
    elif name in ("second_layer", "biases"):
        labels = [f"{letter}{j + 1}" for j in range(m)]
    elif value.ndim == 3:
        i, j = np.triu_indices(m)
        apart = "," if m > 9 else ""
        labels = [f"{letter}{row + 1}{apart}{column + 1}" for row, column in zip(i, j, strict=True)]
        value, error = value[:, i, j], error[:, i, j]
        samples = [array[:, :, i, j] for array in samples]
    if not labels:
        return None
    return _measure(
        name,
        trajectory,
        runs,
        labels if len(labels) > 1 else [""],
        steps,
        value.reshape(len(value), -1)[steps],
        error.reshape(len(error), -1)[steps],
        [array.reshape(*array.shape[:2], -1) for array in samples],
    )


def compare_eigenvalues(
    trajectory: Trajectory, runs: Sequence[Simulation], found: Sequence[SmallestEigenvalue]
) -> dict[str, QuantityComparison]:
    """Compare smallest eigenvalue and hard overlap along the steps whose Hessian was recorded.

    Parameters
    ----------
    trajectory : Trajectory
    runs : sequence of Simulation
    found : sequence of SmallestEigenvalue
        One for each step.

    Returns
    -------
    dict of str to QuantityComparison
        Without those that no step allows to compare.
    """
    compared = [(entry, entry.prediction) for entry in found if entry.prediction.compared]
    columns = {
        "smallest_eigenvalue": [(p.step, p.value, p.stderr, entry.values) for entry, p in compared],
        "hard_overlap": [
            (p.step, p.overlap, p.overlap_stderr, entry.overlaps)
            for entry, p in compared
            if entry.overlaps is not None
        ],
    }
    result = {}
    for name, entries in columns.items():
        if entries:
            steps, theory, stderr, seeds = zip(*entries, strict=True)
            result[name] = _measure(
                name,
                trajectory,
                runs,
                [""],
                np.array(steps, dtype=np.intp),
                np.array(theory)[:, None],
                np.array(stderr)[:, None],
                [np.stack(of_size, axis=1)[:, :, None] for of_size in zip(*seeds, strict=True)],
            )
    return result


def _measure(
    name: str,
    trajectory: Trajectory,
    runs: Sequence[Simulation],
    labels: Sequence[str],
    steps: NDArray[np.intp],
    theory: FloatArray,
    stderr: FloatArray,
    samples: Sequence[FloatArray],
) -> QuantityComparison:
    """Measure the agreement of theory and its error (n_steps, entries) with seeds (S, ...)."""
    found = measure_agreement(
        samples,
        [run.d for run in runs],
        theory,
        stderr,
        theory_freedom=trajectory.sampling.replicates - 1,
    )
    return QuantityComparison(
        **vars(found),
        name=name,
        steps=steps,
        labels=tuple(labels),
        theory=theory,
        runs=tuple(samples),
    )


def _overlap_directions(problem: Problem) -> tuple[FloatArray, list[str]]:
    """Return the latent directions (k, q) whose overlaps the theory predicts, and their names."""
    basis = problem.target.hard_basis
    if problem.starts_on_hard or not basis.shape[1]:
        return np.eye(problem.k), [str(i + 1) for i in range(problem.k)]
    projector = problem.target.easy_projector
    if np.array_equal(projector, np.diag(np.diag(projector))):
        axes = np.flatnonzero(np.diag(projector))
        return np.eye(problem.k)[:, axes], [str(i + 1) for i in axes]
    values, vectors = np.linalg.eigh(projector)
    easy = np.ascontiguousarray(vectors[:, values > 0.5])
    return easy, [f"e{i + 1}" for i in range(easy.shape[1])]
