"""Comparison of a Hessian at finite dimension with its limiting spectral law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rmt._lanczos import extreme_eigenpairs
from rmt._validation import as_array, check_integer, check_real
from rmt.outliers import has_outliers, known_outliers
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

    from rmt._packing import Array
    from rmt.law import HessianLaw

__all__ = ["SpectrumComparison", "airy_scale", "compare_spectrum"]

# Mean and standard deviation of the Tracy-Widom law of real symmetric matrices (beta = 1).
TRACY_WIDOM_MEAN: Final = -1.2065335745820
TRACY_WIDOM_STD: Final = 1.2680340580063

_CDF_POINTS: Final = 400  # the distribution is interpolated between these
_APPLY_BLOCK: Final = 256


@dataclass(frozen=True, eq=False)
class SpectrumComparison:
    """Eigenvalues of one matrix and the predictions of its spectral law.

    Attributes
    ----------
    size : int
        Order of the matrix, m d.
    eigenvalues : (size,) array or None
        All of them, ascending; None where only the extreme ones were computed.
    smallest, largest : (k,) arrays
        The extreme eigenvalues, each ascending.
    expected_smallest, expected_largest : (k,) arrays
        For each of them in turn the outlier that the law puts there, and the edge once the
        outliers of that side are used up.
    n_outliers : (int, int)
        Number of predicted outliers on the left and on the right.
    edge_scale : (float, float)
        Width of the finite-size fluctuation at the left and right edge, see `airy_scale`.
    distance : float or None
        Kolmogorov distance of the eigenvalues from ``law.cdf``; outliers count 1 / size each.
        NaN, with a status, if the law could not be evaluated at one of them.
    status : Status
        SUCCESS, or the first other status among edges and outliers of the law
        (``UNBOUNDED_EDGE`` included), its distribution function, and the Lanczos iteration
        (`smallest` and `largest` are then NaN).
    """

    size: int
    eigenvalues: Array | None
    smallest: Array
    largest: Array
    expected_smallest: Array
    expected_largest: Array
    n_outliers: tuple[int, int]
    edge_scale: tuple[float, float]
    distance: float | None
    status: Status = Status.SUCCESS

    def __str__(self) -> str:
        distance = "not computed" if self.distance is None else f"{self.distance:.4f}"
        rows = [f"{self.size} eigenvalues, Kolmogorov distance {distance}"]
        if not self.status.ok:
            rows.append(f"{self.status.name}: {self.status.value}")
        for name, found, expected, count in (
            ("smallest", self.smallest, self.expected_smallest, self.n_outliers[0]),
            ("largest", self.largest[::-1], self.expected_largest[::-1], self.n_outliers[1]),
        ):
            for i, (value, limit) in enumerate(zip(found, expected, strict=True)):
                kind = "outlier" if i < count else "edge"
                rows.append(f"{name:>8}  {value:12.6g}   {kind} {limit:.6g}")
        return "\n".join(rows)


def airy_scale(law: HessianLaw, size: int) -> tuple[float, float]:
    r"""Compute the width of the fluctuation of the extreme eigenvalues of a matrix.

    Where the density vanishes as ``a sqrt(distance) / pi`` at an edge, `size` eigenvalues look
    like the Airy process on the scale ``w = (size a)^(-2/3)``: at the left edge the smallest one
    is at ``edge - w TW``, at the right edge the largest one at ``edge + w TW``, with TW of the
    Tracy-Widom law of real symmetric matrices (mean -1.2065, standard deviation 1.2680).

    This holds for given weights. Weights drawn at random move the edge itself by n^(-1/2), which
    is to be added, or left out by taking the spectral law of the weights actually drawn.

    Parameters
    ----------
    law : HessianLaw
    size : int
        Order m d of the matrix.

    Returns
    -------
    (float, float)
        At the left and right edge; NaN where the edge is infinite or the density does not vanish
        as a square root (an atom at zero at the edge, a hard edge).

    Examples
    --------
    Marchenko-Pastur at ratio 4, for d = 1000: the scale of Johnstone (2001),
    (n d)^(-1/6) / n times (sqrt(n) + sqrt(d))^(4/3).

    >>> import rmt
    >>> from rmt.overlay import airy_scale
    >>> n, d = 4000, 1000
    >>> exact = (n**0.5 + d**0.5) ** (4 / 3) / (n * d) ** (1 / 6) / n
    >>> bool(abs(airy_scale(rmt.HessianLaw([1.0], 4.0), d)[1] / exact - 1) < 1e-3)
    True
    """
    size = check_integer("size", size, minimum=1)
    edges = law.edges()
    finite = [edge for edge in edges if np.isfinite(edge)]
    widths = []
    span = max((abs(edge - law.centre) for edge in finite), default=0.0)
    span = max(span, float(law.shifts[-1] - law.shifts[0])) if finite else span
    for edge, inwards in zip(edges, (1.0, -1.0), strict=True):
        if not np.isfinite(edge) or np.any(law.shifts == edge) or span <= 0.0:
            widths.append(np.nan)
            continue
        # Density / sqrt(distance) = a / pi + a' distance: extrapolated from two distances, which
        # shrink until they lie where the square root rules.
        step, previous, slope = 1e-3 * span, np.nan, np.nan
        for _ in range(12):
            near, far = np.array([1.0, 2.0]) * step
            points = edge + inwards * np.array([near, far])
            low, high = law.density(points, throw=False) / np.sqrt([near, far])
            slope = 2.0 * low - high
            if abs(slope - previous) <= 1e-3 * slope:
                break
            previous, step = slope, 0.25 * step
        else:
            slope = np.nan
        widths.append(float((size * np.pi * slope) ** (-2 / 3)) if slope > 0 else np.nan)
    return widths[0], widths[1]


def compare_spectrum(
    law: HessianLaw,
    hessian: Array | LinearOperator,
    *,
    k_extreme: int = 5,
    dense_limit: int = 4000,
    tolerance: float = 1e-6,
) -> SpectrumComparison:
    """Compare the eigenvalues of a Hessian with its spectral law.

    Parameters
    ----------
    law : HessianLaw
        With the outliers it knows of: in hard directions if ``hard`` was given to it, in all
        directions if it has a ``span``.
    hessian : (m d, m d) array, scipy.sparse.linalg.LinearOperator, or (m d,) array
        Symmetric, including the multiple of I that the law has as ``shift``; or its eigenvalues,
        all of them, in any order.
    k_extreme : int, optional
        How many eigenvalues to compute at either end.
    dense_limit : int, optional
        Largest order for which an operator is turned into a matrix by applying it to the
        identity. Beyond that the extreme eigenvalues come from the Lanczos iteration and there is
        no Kolmogorov distance. Arrays are always treated as dense.
    tolerance : float, optional
        Largest residual of the Lanczos iteration, relative to the distance of an eigenvalue from
        the mean eigenvalue; the error of the eigenvalue is of second order in it.

    Returns
    -------
    SpectrumComparison

    Raises
    ------
    ValueError
        If the Hessian is not square, not symmetric (to 1e-8; an operator is probed with two
        vectors), not finite, or its order is not a multiple of law.m; if an option is out of
        range.

    Examples
    --------
    >>> import rmt
    >>> from rmt.overlay import compare_spectrum
    >>> law = rmt.HessianLaw([1.0, -1.0, 0.5], ratio=2.0)
    >>> result = compare_spectrum(law, law.sample_matrix(300, seed=0))
    >>> bool(result.distance < 0.02)
    True
    """
    eigenvalues: Array | None = None
    k_extreme = check_integer("k_extreme", k_extreme, minimum=1)
    dense_limit = check_integer("dense_limit", dense_limit, minimum=0)
    tolerance = check_real("tolerance", tolerance, minimum=0.0, maximum=1.0, exclusive=True)
    shape = getattr(hessian, "shape", None)
    is_operator = callable(getattr(hessian, "matvec", None))
    if not is_operator:
        hessian = as_array("hessian", hessian)
        shape = hessian.shape
        if len(shape) == 1:  # eigenvalues
            eigenvalues = np.sort(hessian.astype(np.float64))
            shape = (hessian.size, hessian.size)
    if shape is None or len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"hessian must be square, got shape {shape}")
    size = int(shape[0])
    if size == 0 or size % law.m:
        raise ValueError(f"hessian must have an order m d with m = {law.m} neurons, got {size}")
    count = min(int(k_extreme), size)
    found = Status.SUCCESS
    if is_operator:
        _check_operator(hessian, size)
        if size <= max(dense_limit, 3 * count):
            hessian = _materialise(hessian, size)
            is_operator = False
    if is_operator:
        operator: Any = hessian
        ends, _, found = extreme_eigenpairs(
            lambda v: np.ravel(operator.matvec(v)), size, count, tolerance=tolerance
        )
        smallest, largest = ends[:count], ends[count:]
    else:
        if eigenvalues is None:
            eigenvalues = np.asarray(np.linalg.eigvalsh(_symmetric(hessian)), dtype=np.float64)
        eigenvalues.setflags(write=False)
        smallest, largest = eigenvalues[:count], eigenvalues[size - count :]
    left, right = law.edges()
    outliers = known_outliers(law)
    distance = None if eigenvalues is None else kolmogorov_distance(law, eigenvalues)
    lost = Status.UNRESOLVED if distance is not None and np.isnan(distance) else Status.SUCCESS
    known = law.outlier_status if has_outliers(law) else Status.SUCCESS
    statuses = (law.edges().status, known, lost, found)
    below, above = (
        [outlier.value for outlier in outliers if outlier.side == side]
        for side in ("left", "right")
    )
    return SpectrumComparison(
        size=size,
        eigenvalues=eigenvalues,
        smallest=smallest,
        largest=largest,
        expected_smallest=np.array([*below, *[left] * count][:count]),
        expected_largest=np.array([*[right] * count, *above][-count:]),
        n_outliers=(len(below), len(above)),
        edge_scale=airy_scale(law, size),
        distance=distance,
        status=first_failure(statuses),
    )


def kolmogorov_distance(law: HessianLaw, eigenvalues: Array) -> float:
    """Compute the largest difference between ``law.cdf`` and that of ascending eigenvalues.

    NaN where the law could not be evaluated at one of them.
    """
    from scipy.interpolate import pchip_interpolate

    size = eigenvalues.size
    # Eigenvalues zero up to rounding belong to the atom.
    zero = law.centre
    spread = max(1e-9 * float(np.abs(eigenvalues - zero).max()), 1e-15 * abs(zero), 1e-300)
    places = [place for place, _ in law.atoms() if np.any(np.abs(eigenvalues - place) <= spread)]
    at_atom = np.zeros(size, dtype=bool)
    for place in places:
        at_atom |= np.abs(eigenvalues - place) <= spread
    distance = 0.0
    between = np.searchsorted(places, eigenvalues)
    for part in range(len(places) + 1):
        # Either side of an atom for itself: the distribution jumps there.
        chosen = ~at_atom & (between == part)
        rank = np.flatnonzero(chosen)
        points, first = np.unique(eigenvalues[chosen], return_index=True)
        if points.size > _CDF_POINTS:
            some = np.unique(np.linspace(0, points.size - 1, _CDF_POINTS).astype(int))
            coarse = law.cdf(points[some], throw=False)
            if np.isnan(coarse).any():
                return np.nan
            exact = pchip_interpolate(points[some], coarse, points)
        else:
            exact = law.cdf(points, throw=False)
        below = rank[first]
        upto = np.append(rank[first[1:] - 1], rank[-1:]) + 1
        apart = np.maximum(np.abs(exact - below / size), np.abs(exact - upto / size))
        distance = float(np.maximum(distance, apart.max(initial=0.0)))
    for place in places:
        around = place + np.array([-10.0, 10.0]) * spread
        found = np.searchsorted(eigenvalues, around) / size
        jump = np.abs(law.cdf(around, throw=False) - found).max()
        distance = float(np.maximum(distance, jump))
    return distance


def _symmetric(matrix: Any) -> Array:
    if not np.all(np.isfinite(matrix)):
        bad = int(matrix.size - np.count_nonzero(np.isfinite(matrix)))
        raise ValueError(f"hessian must be finite, got {bad} entries that are NaN or infinite")
    asymmetry = float(np.abs(matrix - matrix.T).max())
    if asymmetry > 1e-8 * float(np.abs(matrix).max()):
        raise ValueError(
            "hessian must be symmetric (relative tolerance 1e-8), "
            f"got an asymmetry of {asymmetry:.3g}"
        )
    return np.asarray(matrix, dtype=np.float64)


def _check_operator(operator: Any, size: int) -> None:
    if np.dtype(operator.dtype).kind not in "fiub":
        raise ValueError(f"hessian must be real, got an operator of dtype {operator.dtype}")
    u, v = np.random.default_rng(0).standard_normal((2, size))
    hu, hv = np.ravel(operator.matvec(u)), np.ravel(operator.matvec(v))
    if not (np.all(np.isfinite(hu)) and np.all(np.isfinite(hv))):
        raise ValueError("hessian must be finite, its product with a vector is not")
    asymmetry = abs(float(u @ hv - v @ hu))
    if asymmetry > 1e-7 * float(np.linalg.norm(hu) * np.linalg.norm(v)):
        raise ValueError(f"hessian must be symmetric, got u H v - v H u = {asymmetry:.3g}")


def _materialise(operator: Any, size: int) -> Array:
    matrix = np.empty((size, size))
    for start in range(0, size, _APPLY_BLOCK):
        stop = min(start + _APPLY_BLOCK, size)
        block = np.zeros((size, stop - start))
        block[np.arange(start, stop), np.arange(stop - start)] = 1.0
        matrix[:, start:stop] = operator.matmat(block)
    return matrix
