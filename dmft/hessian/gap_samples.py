"""Samples of the gap lambda_min A_h and of the left edge: the limit, and each replicate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rmt import HessianLaw

    FloatArray = NDArray[np.float64]

__all__ = ["GapSample", "sample_gap", "standard_error"]


@dataclass(frozen=True)
class GapSample:
    """Gap and left edge of a spectral law and of its R replicates.

    Attributes
    ----------
    gap, edge : ndarray, shape (R + 1,)
        Of the law over all paths, then of each replicate. NaN unless `status` is SUCCESS; for
        UNBOUNDED_EDGE the gap is +infinity and the edge -infinity.
    edge_sensitivity : float
        Dependence of the left edge on the most extreme curvature weight; NaN if not asked for.
    status : Status
        The first status of law and replicates that is no success.
    """

    gap: FloatArray
    edge: FloatArray
    edge_sensitivity: float
    status: Status

    @classmethod
    def missing(cls, status: Status, n_laws: int = 1) -> GapSample:
        """Return a sample without numbers."""
        nothing = np.full(n_laws, np.nan)
        return cls(nothing, nothing, np.nan, status)

    @property
    def stderr(self) -> float:
        """Standard error of the gap over the replicates; zero without any or where all agree."""
        return 0.0 if len(self.gap) == 1 else float(standard_error(self.gap[1:], axis=0))


def standard_error(replicates: FloatArray, axis: int) -> FloatArray:
    """Compute the standard error of a mean over replicates; exactly zero where all agree."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = replicates.std(axis=axis, ddof=1) / np.sqrt(replicates.shape[axis])
    return np.where(replicates.max(axis=axis) == replicates.min(axis=axis), 0.0, error)


def sample_gap(law: HessianLaw, *, edge_sensitivity: bool = False) -> GapSample:
    """Compute gap and left edge of a spectral law and its replicates; failures are a status.

    A replicate whose edge was not found would make the standard error wrong, so it counts as much
    as the law itself. What would be a numpy warning (ratios near the ends of what a float holds)
    is NONFINITE.

    Parameters
    ----------
    law : rmt.HessianLaw
        With hard directions.
    edge_sensitivity : bool
        Whether to compute that too.

    Returns
    -------
    GapSample

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import numpy as np
    >>> import rmt
    >>> y = np.random.default_rng(0).standard_normal(200) ** 2
    >>> law = rmt.HessianLaw(1 / (0.1 + y) - 1, 2.0, hard=np.sqrt(y))
    >>> sample_gap(law).status.name, sample_gap(law).gap.shape
    ('SUCCESS', (1,))
    """
    laws = [law, *law.replicates]
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            statuses = [one.edges().status for one in laws]
            status = next((status for status in statuses if not status.ok), Status.SUCCESS)
            if status is Status.UNBOUNDED_EDGE:
                infinite = np.full(len(laws), np.inf)
                return GapSample(infinite, -infinite, 0.0, status)
            if status.ok:
                gap = np.array([one.hard_gap() for one in laws])
                edge = np.array([one.edges().left for one in laws])
                sensitivity = abs(law.edge_sensitivity()[0]) if edge_sensitivity else np.nan
                found = GapSample(gap, edge, sensitivity, status)
                numbers = [*gap, *edge, found.stderr, sensitivity if edge_sensitivity else 0.0]
                if np.isfinite(numbers).all():
                    return found
                status = Status.NONFINITE
    except NumericalFailure as failure:
        status = failure.status
    except FloatingPointError:
        status = Status.NONFINITE
    except (ArithmeticError, np.linalg.LinAlgError):
        status = Status.UNPHYSICAL_BRANCH
    return GapSample.missing(status, len(laws))
