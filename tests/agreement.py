"""Is a theoretical value compatible with a few simulations? Statistics shared by the tests.

Eight seeds give a standard error that is itself uncertain by a quarter, and entries at
neighbouring steps are strongly correlated, so "three standard errors on each of some hundred
entries" fails by luck. Three measures make it sound:

* the variance over seeds is proportional to 1/d, so it is pooled over the few runs at the
  dimension compared and many runs at a smaller one (which enter the variance only);
* each entry's deviation is turned into a p-value with Student's law (Welch's degrees of freedom);
  the smallest one is multiplied by the effective number of independent entries
  (sum sqrt(v))^2 / sum v, v the eigenvalues of the correlation matrix (Galwey 2009);
* a Hotelling statistic on the leading principal components of the fluctuations, more powerful
  against deviations common to all steps.

Both p-values must exceed 0.0027, the level of three standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import f as f_distribution
from scipy.stats import t as student

THREE_SIGMA = 0.0027


@dataclass(frozen=True)
class Agreement:
    """Most significant entry, its deviation and error, and the two p-values."""

    entry: tuple[int, ...]
    deviation: float
    error: float
    entry_p: float
    joint_p: float

    @property
    def compatible(self):
        """Within three combined standard errors, entry by entry and jointly."""
        return min(self.entry_p, self.joint_p) > THREE_SIGMA

    def __str__(self):
        return (
            f"entry {self.entry} deviates by {self.deviation:.2e}, error {self.error:.2e} "
            f"(ratio {abs(self.deviation) / self.error:.2f}, family-wise p = {self.entry_p:.2g}); "
            f"joint p = {self.joint_p:.2g}"
        )


def compare(
    runs,
    theory,
    theory_error,
    more=None,
    more_scale=1.0,
    components=3,
    theory_freedom=7,
    floor=1e-10,
):
    """Compare the mean of ``runs`` (S, ...) with ``theory`` (...).

    ``more`` (S', ...): further runs, used for the variance only; ``more_scale`` is the factor from
    their variance to that of ``runs``. ``theory_error`` is a standard error with
    ``theory_freedom`` degrees of freedom. Entries that do not fluctuate over runs must equal the
    theory within ``floor`` plus four theory errors and are left out of the statistics.
    """
    runs, theory = np.asarray(runs), np.asarray(theory)
    error = np.broadcast_to(theory_error, theory.shape).ravel()
    count = len(runs)
    centred = [runs - runs.mean(axis=0)]
    freedom = count - 1
    if more is not None:
        centred.append(np.sqrt(more_scale) * (more - np.mean(more, axis=0)))
        freedom += len(more) - 1
    scatter = np.concatenate(centred).reshape(-1, theory.size) / np.sqrt(freedom * count)
    deviation = (runs.mean(axis=0) - theory).ravel()
    spread = np.sqrt((scatter**2).sum(axis=0))
    fixed = spread < floor
    if not np.all(np.abs(deviation[fixed]) <= floor + 4.0 * error[fixed]):
        raise AssertionError("an entry that does not fluctuate differs from the theory")
    moving = np.flatnonzero(~fixed)
    spread, error, deviation = spread[moving], error[moving], deviation[moving]
    total = np.hypot(spread, error)
    _, values, axes = np.linalg.svd(scatter[:, moving] / spread, full_matrices=False)
    effective = values.sum() ** 2 / (values**2).sum()

    welch = total**4 / (spread**4 / freedom + error**4 / theory_freedom)
    p = 2.0 * student.sf(np.abs(deviation) / total, welch)
    at = int(p.argmin())

    components = min(components, int((values > 1e-6 * values[0]).sum()))
    axes = axes[:components]
    # The correlations of the theory's error are unknown: bounded by the worst case.
    common = np.abs(axes) @ (error / spread)
    variance = values[:components] ** 2 + common**2
    statistic = np.sum((axes @ (deviation / spread)) ** 2 / variance)
    rest = freedom - components + 1
    joint = f_distribution.sf(statistic * rest / (freedom * components), components, rest)
    return Agreement(
        entry=tuple(int(i) for i in np.unravel_index(moving[at], theory.shape)),
        deviation=float(deviation[at]),
        error=float(total[at]),
        entry_p=float(min(1.0, effective * p[at])),
        joint_p=float(joint),
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
