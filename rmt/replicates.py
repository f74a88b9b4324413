"""Error bars from independent randomisations of the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from rmt.edges import converged_edges
from rmt.hard import hard_gap
from rmt.outliers import by_rank, chosen_directions, smallest_eigenvalue

if TYPE_CHECKING:
    from rmt._packing import Array
    from rmt.law import HessianLaw

__all__ = ["edge_errors", "find_edge_errors", "outlier_stderr", "stderr"]


_VALUES: Final[dict[str, Callable[[HessianLaw], float]]] = {
    "left_edge": lambda law: converged_edges(law)[0],
    "right_edge": lambda law: converged_edges(law)[1],
    "hard_gap": lambda law: hard_gap(law, throw=False),
    "smallest_eigenvalue": lambda law: smallest_eigenvalue(law, throw=False),
}


def _several(law: HessianLaw, purpose: str) -> tuple[HessianLaw, ...]:
    if len(law.replicates) < 2:
        raise ValueError(
            f"groups or replicates must give at least 2 laws for {purpose}, "
            f"got {len(law.replicates)}"
        )
    return law.replicates


def _standard_error(values: Array) -> Array:
    """Return the standard error of the mean along the last axis."""
    return np.asarray(np.std(values, axis=-1, ddof=1) / np.sqrt(values.shape[-1]))


def stderr(
    law: HessianLaw, name: Literal["left_edge", "right_edge", "hard_gap", "smallest_eigenvalue"]
) -> float:
    """Estimate the standard error of a scalar over the replicates.

    Parameters
    ----------
    name : {"left_edge", "right_edge", "hard_gap", "smallest_eigenvalue"}
        Which scalar.

    Returns
    -------
    float
        Standard deviation over the R replicates (``ddof=1``) divided by sqrt(R). It describes
        the spread, not the bias that an edge has from the extreme sampled weights. Zero where
        all replicates agree that the value is infinite, infinite where they disagree on that
        or where the value of one of them did not converge (see `status`).

    Raises
    ------
    ValueError
        With fewer than two replicates, or an unknown name.
    """
    if name not in _VALUES:
        raise ValueError(f"name must be one of {', '.join(_VALUES)}, got {name!r}")
    values = np.array([_VALUES[name](each) for each in _several(law, "stderr")])
    if not np.all(np.isfinite(values)):
        return 0.0 if np.all(values == values[0]) else np.inf
    return float(_standard_error(values))


def edge_errors(law: HessianLaw) -> tuple[float, float]:
    """Estimate the errors of both edges: sampling and dependence on the extreme weights.

    Returns
    -------
    left, right : float
        Root of the sum of squares of the standard error over replicates (zero without
        replicates) and the distance by which the edge moves if the most extreme atom is left
        out, see `edge_sensitivity` (zero for a single atom). Zero for an infinite edge;
        infinite for an edge that did not converge, or one of whose replicates did not.

    Notes
    -----
    These are errors of the edge of the limit. How far a matrix of finite size falls short of
    it, because it draws too few weights to meet the tail that holds the edge, is told by
    `tail_sensitivity`.
    """
    return law._edge_errors


def find_edge_errors(law: HessianLaw) -> tuple[float, float]:
    """Add up both errors of both edges."""
    errors = []
    names: tuple[Literal["left_edge", "right_edge"], ...] = ("left_edge", "right_edge")
    converged = converged_edges(law)
    single = np.count_nonzero(law.probabilities) == 1
    moved = (0.0, 0.0) if single else law.edge_sensitivity()
    for name, edge, move in zip(names, converged, moved, strict=True):
        if np.isnan(edge):
            errors.append(np.inf)
            continue
        sampling = law.stderr(name) if len(law.replicates) > 1 else 0.0
        errors.append(float(np.hypot(sampling, move)) if np.isfinite(edge) else 0.0)
    return errors[0], errors[1]


def outlier_stderr(
    law: HessianLaw, directions: Literal["all", "hard"] | None = None, *, throw: bool = True
) -> Array:
    """Estimate the standard error of the value of each outlier over the replicates.

    Outliers are matched from the outside in, on each side, hard ones and others apart.

    Parameters
    ----------
    directions, throw
        As for `outliers`.

    Returns
    -------
    float array, one entry per outlier, in the order of `outliers`
        Standard deviation over the R replicates (``ddof=1``) divided by sqrt(R); NaN where an
        outlier is missing in a replicate: it is not told apart from the edge, or (with
        ``throw=False``) the outliers of the replicate are not reliable.

    Raises
    ------
    ValueError
        With fewer than two replicates, and as for `outliers`.
    NumericalFailure
        As for `outliers`.
    """
    laws = _several(law, "outlier_stderr")
    which = chosen_directions(law, directions)
    others = [by_rank(law.outliers(which, throw=throw)) for law in laws]
    values = [
        [other[key].value if key in other else np.nan for other in others]
        for key in by_rank(law.outliers(which, throw=throw))
    ]
    if not values:
        return np.empty(0)
    return _standard_error(np.array(values))
