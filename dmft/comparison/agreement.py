r"""Test whether a few simulations are compatible with the theory.

A quantity simulated at dimension d differs from its limit by a bias of order 1/d and a fluctuation
of order d^(-1/2). From runs of one size the mean is compared as it is. From two or more, the means
are extrapolated by weighted least squares in 1/d to 1/d = 0: the estimate is a sum of
:math:`w_j \bar q_j` over sizes, with weights that do not depend on the values, and a bias a/d drops
out exactly.

Eight seeds give a standard error that is itself uncertain by a quarter, and entries at neighbouring
steps are strongly correlated, so "three standard errors on each of some hundred entries" fails by
luck. Three measures make it sound:

* the covariance over seeds is proportional to 1/d, so it is pooled over the sizes, and over
  further runs that enter it only (``variance_only``);
* each entry's deviation is turned into a p-value with Student's law (Welch's degrees of freedom);
  the smallest one is multiplied by the effective number of independent entries, which is read off
  the correlation matrix;
* a Hotelling statistic on the leading principal components of the fluctuations, more powerful
  against deviations common to all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_array, check_integer, check_real

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["THREE_SIGMA", "Agreement", "extrapolation_weights", "measure_agreement"]

FloatArray = NDArray[np.float64]

#: Two-sided probability of more than three standard errors under a normal law.
THREE_SIGMA: Final = 0.0027

# Theory errors by which an entry that does not fluctuate may differ.
_FIXED_TOLERANCE: Final = 4.0
# Components of the fluctuations below this ratio to the leading one are rounding.
_SMALLEST_COMPONENT: Final = 1e-6


@dataclass(frozen=True, eq=False)
class Agreement:
    """Deviation of simulation from theory, entry by entry and as a whole.

    Arrays have the shape of the theory. Entries that do not fluctuate over runs must equal the
    theory and are left out of the statistics: their ratio is 0 with p = 1, or infinite with p = 0.

    Attributes
    ----------
    simulated : ndarray
        Mean over runs, extrapolated to 1/d = 0 where there is more than one size.
    simulated_stderr, theory_stderr : ndarray
    deviation : ndarray
        Simulated minus theory.
    stderr : ndarray
        Of the deviation: both standard errors in quadrature.
    ratio : ndarray
        Deviation over its standard error.
    degrees_of_freedom : ndarray
        Of ``stderr`` (Welch).
    p : ndarray
        Two-sided, for each entry by itself (Student).
    entry : tuple of int
        Index of the entry with the smallest p.
    entry_p : float
        Family-wise: smallest p times ``n_effective``, at most 1.
    joint_p : float
        That of ``joint_statistic``, Hotelling's T^2 on ``n_components`` principal components; 0 if
        an entry that does not fluctuate differs, which makes the statistic infinite.
    joint_statistic : float
    n_components : int
    n_effective : float
        Effective number of independent entries.
    """

    simulated: FloatArray
    simulated_stderr: FloatArray
    theory_stderr: FloatArray
    deviation: FloatArray
    stderr: FloatArray
    ratio: FloatArray
    degrees_of_freedom: FloatArray
    p: FloatArray
    entry: tuple[int, ...]
    entry_p: float
    joint_p: float
    joint_statistic: float
    n_components: int
    n_effective: float

    @property
    def significant(self) -> bool:
        """Whether the theory falls at the level of three standard errors, entry-wise or jointly.

        One of the two p-values is below `THREE_SIGMA`.
        """
        return min(self.entry_p, self.joint_p) < THREE_SIGMA

    def __str__(self) -> str:
        at = self.entry
        return (
            f"entry {at} deviates by {self.deviation[at]:.2e}, error {self.stderr[at]:.2e} "
            f"(ratio {abs(self.ratio[at]):.2f}, family-wise p = {self.entry_p:.2g}); "
            f"joint p = {self.joint_p:.2g}"
        )


def extrapolation_weights(sizes: Sequence[int], counts: Sequence[int]) -> FloatArray:
    r"""Compute the weights w_j of the intercept of a line in 1/d through means at several sizes.

    The mean of S_j runs at size d_j has variance proportional to 1/(d_j S_j). The weights satisfy
    :math:`\sum_j w_j = 1` and :math:`\sum_j w_j / d_j = 0`.

    Parameters
    ----------
    sizes : sequence of int, length J
        Dimensions d_j > 0, distinct.
    counts : sequence of int, length J
        Numbers S_j of runs.

    Returns
    -------
    ndarray, shape (J,)
        For one size, 1: no extrapolation.

    Raises
    ------
    ValueError
        If sizes are not distinct positive integers, or counts not as many.

    Examples
    --------
    >>> extrapolation_weights([1000, 2000], [8, 8])
    array([-1.,  2.])
    """
    d = np.array([check_integer("sizes", size, minimum=1) for size in sizes], dtype=np.float64)
    runs = np.array([check_integer("counts", n, minimum=1) for n in counts], dtype=np.float64)
    if len(d) != len(runs) or not len(d):
        raise ValueError(f"counts must be as many as sizes, got {len(runs)} and {len(d)}")
    if len(set(d.tolist())) < len(d):
        raise ValueError(f"sizes must be distinct, got {list(sizes)}")
    if len(d) == 1:
        return np.ones(1)
    x = d.min() / d  # in units of the largest 1/d
    precision = runs * d
    moments = [float(np.sum(precision * x**power)) for power in range(3)]
    determinant = moments[0] * moments[2] - moments[1] ** 2
    return np.asarray(precision * (moments[2] - moments[1] * x) / determinant)


def measure_agreement(
    samples: Sequence[ArrayLike],
    sizes: Sequence[int],
    theory: ArrayLike,
    theory_stderr: ArrayLike = 0.0,
    *,
    theory_freedom: int = 7,
    variance_only: Sequence[tuple[ArrayLike, int]] = (),
    max_components: int = 3,
    floor: float = 1e-10,
) -> Agreement:
    """Compare runs at one or more dimensions with a theoretical value.

    Parameters
    ----------
    samples : sequence of array_like, shapes (S_j, ...)
        For each size, one array per run, of the shape of the theory.
    sizes : sequence of int
        The dimension d_j of each; with more than one, the means are extrapolated to 1/d = 0.
    theory : array_like
    theory_stderr : array_like
        Its standard error; 0 for an exact value.
    theory_freedom : int
        Degrees of freedom of that standard error: number of replicates minus one.
    variance_only : sequence of (array_like, int)
        Further runs and their dimension, used for the covariance only.
    max_components : int
        Number of principal components in the joint statistic, fewer where there are not as many.
    floor : float
        Entries whose mean has a standard error below this, in units of the theory where that is
        above one, do not fluctuate. They must equal the theory within it plus four theory errors.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        If shapes do not match, a value is not finite, there is no size with two runs, or an
        option is out of range.

    Examples
    --------
    A quantity with limit 1 and bias 2/d, exactly:

    >>> runs = [1.0 + 2.0 / d + np.array([-1.0, 0.0, 1.0]) / d**0.5 for d in (100, 400)]
    >>> result = measure_agreement(runs, [100, 400], theory=1.0)
    >>> round(float(result.simulated), 12), round(float(result.stderr), 3), result.significant
    (1.0, 0.043, False)
    """
    from scipy.stats import f as f_distribution
    from scipy.stats import t as student

    theory_freedom = check_integer("theory_freedom", theory_freedom, minimum=1)
    max_components = check_integer("max_components", max_components, minimum=1)
    floor = check_real("floor", floor, minimum=0.0)
    value = _finite("theory", theory)
    shape = value.shape
    error = np.broadcast_to(_finite("theory_stderr", theory_stderr), shape).ravel()
    runs = [_finite("samples", array, shape) for array in samples]
    if len(runs) != len(sizes):
        raise ValueError(f"sizes must be one for each of the {len(runs)} samples, got {len(sizes)}")
    counts = [len(array) for array in runs]
    weights = extrapolation_weights(sizes, counts)
    further = [(_finite("variance_only", array, shape), size) for array, size in variance_only]

    # Rows of sqrt(d) (q - mean): their Gram matrix estimates d times the covariance of one run.
    rows = [
        np.sqrt(check_integer("sizes", size, minimum=1)) * (array - array.mean(axis=0))
        for array, size in [*zip(runs, sizes, strict=True), *further]
    ]
    freedom = sum(len(array) - 1 for array in rows)
    if freedom < 1:
        raise ValueError("samples must hold at least two runs of one size, got one of each")
    dilution = sum(
        w**2 / (count * size) for w, count, size in zip(weights, counts, sizes, strict=True)
    )
    scatter = np.concatenate(rows).reshape(-1, value.size) * np.sqrt(dilution / freedom)
    simulated = np.tensordot(weights, np.stack([array.mean(axis=0) for array in runs]), 1)
    deviation = (simulated - value).ravel()
    spread = np.sqrt((scatter**2).sum(axis=0))
    total = np.hypot(spread, error)

    smallest = floor * np.maximum(np.abs(value.ravel()), 1.0)
    fixed = spread < smallest
    differs = fixed & (np.abs(deviation) > smallest + _FIXED_TOLERANCE * error)
    ratio = np.where(differs, np.copysign(np.inf, deviation), 0.0)
    p = np.where(differs, 0.0, 1.0)
    welch = np.full(value.size, float(freedom))
    moving = np.flatnonzero(~fixed)
    effective, joint, statistic, components = 1.0, 1.0, 0.0, 0
    if moving.size:
        ratio[moving] = deviation[moving] / total[moving]
        # In units of the total, so that powers of tiny numbers do not underflow.
        share = spread[moving] / total[moving]
        own, other = share**4, (error[moving] / total[moving]) ** 4
        welch[moving] = 1.0 / (own / freedom + other / theory_freedom)
        p[moving] = 2.0 * student.sf(np.abs(ratio[moving]), welch[moving])
        _, values, axes = np.linalg.svd(scatter[:, moving] / spread[moving], full_matrices=False)
        effective = _effective_number(values, freedom)

        components = int((values > _SMALLEST_COMPONENT * values[0]).sum())
        components = min(components, max_components, freedom)
        axes = axes[:components]
        # The correlations of the theory's error are unknown: bounded by the worst case.
        common = np.abs(axes) @ (error[moving] / spread[moving])
        variance = values[:components] ** 2 + common**2
        scores = axes @ (deviation[moving] / spread[moving])
        statistic = float(np.sum(scores**2 / variance))
        # Least of the components' degrees of freedom, as for the entries.
        shares = (values[:components] ** 2 / variance, common**2 / variance)
        total_freedom = np.min(1.0 / (shares[0] ** 2 / freedom + shares[1] ** 2 / theory_freedom))
        rest = max(total_freedom - components + 1.0, 1.0)
        joint = float(
            f_distribution.sf(statistic * rest / (total_freedom * components), components, rest)
        )
    if differs.any():  # by infinitely many standard errors
        joint, statistic = 0.0, np.inf
    # Of equal p, the largest ratio.
    at = int(np.lexsort((-np.abs(ratio), p))[0]) if value.size else 0
    return Agreement(
        simulated=np.asarray(simulated),
        simulated_stderr=spread.reshape(shape),
        theory_stderr=error.reshape(shape),
        deviation=deviation.reshape(shape),
        stderr=total.reshape(shape),
        ratio=ratio.reshape(shape),
        degrees_of_freedom=welch.reshape(shape),
        p=p.reshape(shape),
        entry=tuple(int(i) for i in np.unravel_index(at, shape)) if value.size else (),
        entry_p=float(min(1.0, effective * p[at])) if value.size else 1.0,
        joint_p=joint,
        joint_statistic=statistic,
        n_components=components,
        n_effective=effective,
    )


def _effective_number(values: FloatArray, freedom: int) -> float:
    """Estimate the number of independent entries from singular values of standardised rows.

    With v the eigenvalues of the correlation matrix of p entries, M = (sum sqrt v)^2 / sum v
    (Galwey 2009). That cannot exceed the degrees of freedom; where there are more independent
    entries than that, M = p^2 / sum v^2 is larger, the squares corrected for what chance adds to
    them. M is made for the 5 % level and normal tails. Far out in the tails neighbours count as
    more independent, so 1 + 2 (M - 1) is returned, at most p (where it is Bonferroni's bound).
    """
    v = values**2
    p = float(v.sum())
    if freedom < 2:
        return p  # nothing is known of correlations
    galwey = float(values.sum() ** 2 / p)
    # Sum over pairs of squared correlations; a chance one has expectation 1 / freedom.
    pairs = (float(np.sum(v**2)) - p - p * (p - 1.0) / freedom) / (1.0 - 1.0 / freedom)
    effective = max(galwey, p**2 / (p + max(pairs, 0.0)), 1.0)
    return min(1.0 + 2.0 * (effective - 1.0), p)


def _finite(name: str, value: ArrayLike, shape: tuple[int, ...] | None = None) -> FloatArray:
    """Return a float array of finite numbers; of shape (S, *shape) with S > 0 if one is given."""
    array = check_array(name, value)
    if shape is not None and (array.ndim == 0 or array.shape[1:] != shape or not len(array)):
        raise ValueError(f"{name} must have shape (S, *{shape}), got {array.shape}")
    return array
