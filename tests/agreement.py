"""Is a theoretical value compatible with a few simulations? Statistics shared by the tests.

Eight seeds give a standard error that is itself uncertain by a quarter, and entries at
neighbouring steps are strongly correlated, so "three standard errors on each of some hundred
entries" would need luck. Two measures make it sound:

* the variance over seeds is proportional to 1/d, so it is pooled over the few runs at the
  dimension compared and many cheap runs at a smaller dimension (which enter the variance only);
* besides the largest entrywise deviation, a Hotelling statistic on the leading principal
  components of the fluctuations accounts for the correlations, and turns each quantity into one
  p-value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import f as f_distribution


@dataclass(frozen=True)
class Agreement:
    """Largest |deviation| / standard error, where, and the p-value of the joint test."""

    worst: float
    entry: tuple[int, ...]
    deviation: float
    error: float
    p_value: float

    def __str__(self):
        return (
            f"worst {self.worst:.2f} standard errors at {self.entry} "
            f"(deviation {self.deviation:.2e}, error {self.error:.2e}), p = {self.p_value:.3g}"
        )


def compare(runs, cheap, cheap_scale, theory, theory_error, components=3, floor=1e-10):
    """Compare the mean of ``runs`` (S, ...) with ``theory`` (...).

    ``cheap`` (S', ...) are runs whose variance is ``1 / cheap_scale`` times larger; None if there
    are none. Entries that do not fluctuate over runs must equal the theory within ``floor`` plus
    three theory errors and are left out of the statistics.
    """
    runs, theory = np.asarray(runs), np.asarray(theory)
    error = np.broadcast_to(theory_error, theory.shape)
    count = len(runs)
    centred = [runs - runs.mean(axis=0)]
    freedom = count - 1
    if cheap is not None:
        cheap = np.asarray(cheap)
        centred.append(np.sqrt(cheap_scale) * (cheap - cheap.mean(axis=0)))
        freedom += len(cheap) - 1
    scatter = np.concatenate(centred).reshape(-1, theory.size)
    deviation = (runs.mean(axis=0) - theory).ravel()
    error = error.ravel()
    spread = np.sqrt((scatter**2).sum(axis=0) / freedom / count)
    fixed = spread < floor
    if np.any(np.abs(deviation[fixed]) > floor + 3.0 * error[fixed]):
        raise AssertionError("an entry that does not fluctuate differs from the theory")
    moving = np.flatnonzero(~fixed)
    total = np.hypot(spread, error)[moving]
    z = deviation[moving] / total
    at = int(np.abs(z).argmax())
    # Joint test in units of the standard error, along the leading principal components.
    scaled = scatter[:, moving] / np.sqrt(freedom * count) / total
    _, values, axes = np.linalg.svd(scaled, full_matrices=False)
    components = min(components, int((values > 1e-6 * values[0]).sum()))
    common = axes[:components] @ (error[moving] / total)
    variance = values[:components] ** 2 + common**2
    statistic = np.sum((axes[:components] @ z) ** 2 / variance)
    rest = freedom - components + 1
    p_value = f_distribution.sf(statistic * rest / (freedom * components), components, rest)
    return Agreement(
        worst=float(np.abs(z[at])),
        entry=tuple(int(i) for i in np.unravel_index(moving[at], theory.shape)),
        deviation=float(deviation[moving[at]]),
        error=float(total[at]),
        p_value=float(p_value),
    )


def lower_triangle(array):
    """Entries t >= s of an array (..., T+1, T+1, m, m) as (..., pairs, m, m): each pair once."""
    size = array.shape[-4]
    rows, columns = np.tril_indices(size)
    return array[..., rows, columns, :, :]


def diagonal(array):
    """Equal-time entries of an array (..., T+1, T+1, m, m): (..., T+1, m, m)."""
    steps = np.arange(array.shape[-4])
    return array[..., steps, steps, :, :]
