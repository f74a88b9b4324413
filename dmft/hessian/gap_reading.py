"""The hard gap and left edge that a Hessian's law has, with how their computation ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rmt import HessianLaw

    FloatArray = NDArray[np.float64]

__all__ = ["GapReading", "read_gap"]


@dataclass(frozen=True)
class GapReading:
    """Gap and left edge of a law and of its R replicates.

    Attributes
    ----------
    gap, edge : ndarray, shape (R + 1,)
        Of the law, then of each replicate. NaN unless `status` is SUCCESS; for UNBOUNDED_EDGE the
        gap is +infinity and the edge -infinity.
    sensitivity : float
        By how much the left edge depends on the most extreme weight; NaN if not asked for.
    status : Status
        The first of law and replicates that is no success.
    """

    gap: FloatArray
    edge: FloatArray
    sensitivity: float
    status: Status

    @property
    def stderr(self) -> float:
        """Standard error of the gap over the replicates; zero without any, or where all agree."""
        if len(self.gap) == 1 or self.status is Status.UNBOUNDED_EDGE:
            return 0.0
        return float(self.gap[1:].std(ddof=1) / np.sqrt(len(self.gap) - 1))


def read_gap(law: HessianLaw, *, sensitivity: bool = False) -> GapReading:
    """Read gap and left edge; a number that is none, in the law or a replicate, is a status.

    A replicate whose edge was not found would make the standard error wrong, so it counts as much
    as the law itself. What would be a numpy warning (ratios near the ends of what a float holds)
    is NONFINITE.

    Parameters
    ----------
    law : rmt.HessianLaw
        With hard directions.
    sensitivity : bool
        Whether to find that of the edge too.

    Returns
    -------
    GapReading

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import numpy as np
    >>> import rmt
    >>> y = np.random.default_rng(0).standard_normal(200) ** 2
    >>> law = rmt.HessianLaw(1 / (0.1 + y) - 1, 2.0, hard=np.sqrt(y))
    >>> read_gap(law).status.name, read_gap(law).gap.shape
    ('SUCCESS', (1,))
    """
    laws = [law, *law.replicates]
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            statuses = [one.edges().status for one in laws]
            status = next((status for status in statuses if not status.ok), Status.SUCCESS)
            if status is Status.UNBOUNDED_EDGE:
                infinite = np.full(len(laws), np.inf)
                return GapReading(infinite, -infinite, 0.0, status)
            if status.ok:
                gap = np.array([one.hard_gap() for one in laws])
                edge = np.array([one.edges().left for one in laws])
                moved = abs(law.edge_sensitivity()[0]) if sensitivity else np.nan
                found = GapReading(gap, edge, moved, status)
                numbers = [*gap, *edge, found.stderr, *([moved] if sensitivity else [])]
                if np.isfinite(numbers).all():
                    return found
                status = Status.NONFINITE
    except NumericalFailure as failure:
        status = failure.status
    except FloatingPointError:
        status = Status.NONFINITE
    except (ArithmeticError, np.linalg.LinAlgError):
        status = Status.UNPHYSICAL_BRANCH
    missing = np.full(len(laws), np.nan)
    return GapReading(missing, missing, np.nan, status)
