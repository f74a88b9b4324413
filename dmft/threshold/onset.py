r"""Bias of a threshold by finitely many paths, from the time at which parts of them show it.

Late in a run finitely many paths overfit: the gap is too large. That is no 1/N law but an onset, at
a time proportional to the number of paths N: the bias is a function of t/N. Runs over the N paths
of each of R replicates therefore show at time t/R what the run over all R N paths has at time t.
Where a run and its parts begin to disagree, R times as much time is left before the values do.

For the gap of one GELU neuron at delta = 10 (flow, 8 replicates) the bias at time 400 is .010 on
8 x 1024 paths, and this says .008. At the same t/N more paths have somewhat less of it: at time 200
on 8 x 512 paths it is .020 (.008), at time 700 on 8 x 2048 paths .002 (.009). A law in 1/N, by what
the replicates show at the time itself, says .031, .026 and .019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["bias_by_onset", "shown_early", "step_of_onset"]


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
    shown = np.interp(times / replicates, x, y)
    return np.where(known, shown_early(shown, differences, replicates), np.nan)


def shown_early(
    shown: FloatArray | float, difference: FloatArray | float, replicates: int
) -> FloatArray:
    """Return the bias at a time, from the differences at time t/R and at the time itself."""
    least = np.asarray(difference) / replicates**2
    return np.where(np.abs(least) > np.abs(shown), least, shown)


def step_of_onset(times: FloatArray, step: int, replicates: int) -> int | None:
    """Return the step at which replicates show the bias at `step`; None if no step lies between."""
    early = int(np.searchsorted(times, times[step] / replicates))
    return early if 0 < early < step else None
