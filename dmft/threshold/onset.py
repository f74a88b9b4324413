r"""Bias of a threshold by finitely many paths, from the time at which parts of them show it.

Late in a run finitely many paths overfit: the gap is too large. That is no 1/N law but an onset, at
a time proportional to the number of paths N: the bias is a function of t/N. Runs over the N paths
of each of R replicates therefore show at time t/R what the run over all R N paths has at time t.
Where a run and its parts begin to disagree, R times as much time is left before the values do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["bias_by_onset", "step_of_onset"]


def bias_by_onset(times: FloatArray, differences: FloatArray, replicates: int) -> FloatArray:
    """Estimate the bias at each time.

    Parameters
    ----------
    times : ndarray, shape (S,)
        Ascending, from 0 on or later.
    differences : ndarray, shape (S,)
        Means over the replicates less the values of the run over all paths; NaN where unknown.
    replicates : int

    Returns
    -------
    ndarray, shape (S,)
        The difference at time t/R, interpolated; that at t over R^2 at least, as if the bias were
        of second order in 1/N. NaN where the difference at t is unknown.

    Examples
    --------
    >>> times = np.array([0.0, 10.0, 20.0, 40.0, 80.0])
    >>> bias_by_onset(times, np.array([0.0, 0.0, 0.1, 0.4, 1.6]), 4).round(3)
    array([0.   , 0.   , 0.006, 0.025, 0.1  ])
    """
    known = np.isfinite(differences)
    if not known.any():
        return np.full(len(times), np.nan)
    x, y = times[known], differences[known]
    if x[0] > 0.0:  # at the start nothing depends on the paths
        x, y = np.append(0.0, x), np.append(0.0, y)
    earlier = np.interp(times / replicates, x, y)
    least = differences / replicates**2
    return np.where(np.abs(least) > np.abs(earlier), least, np.where(known, earlier, np.nan))


def step_of_onset(times: FloatArray, step: int, replicates: int) -> int | None:
    """Return the step at which replicates show the bias at `step`; None if no step lies between."""
    early = int(np.searchsorted(times, times[step] / replicates))
    return early if 0 < early < step else None
