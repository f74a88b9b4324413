"""Hard latent directions: the matrix A_h(z), its smallest eigenvalue (the gap), and its zeros.

For z outside the bulk and z_h the hard latent coordinates of a sample (Montanari & Wang,
arXiv:2602.01434)

    A_h(z) = E[ (I + D c)^{-1} D (x) z_h z_h^T ] + shift (x) I - z I,      (m k_h, m k_h),

decreasing in z; z is an outlier where det A_h(z) = 0, and a null vector u with |u| = 1 gives the
squared norm of the eigenvector's projection on the hard space, 1 / (- u^T A_h'(z) u). In terms of
B = c^{-1} and Y = (B + D)^{-1}, (I + D c)^{-1} D = B - B Y B. The right side is the left side of
-D: A_h(z; D) = - A_h(-z; -D).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from rmt._packing import Array, Atoms, tensor_product, unpack
from rmt._validation import check_integer, check_real
from rmt.real_branch import Kind, RealBranch, zeros_below
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from rmt.law import HessianLaw
    from rmt.scaling import Side

__all__ = [
    "CRITERIA",
    "Criterion",
    "HardLevels",
    "check_criterion",
    "find_levels",
    "hard_gap",
    "hard_levels",
    "hard_matrix",
    "outliers_below",
    "require_hard",
]

_AT_POLE: Final = 1e-6  # levels at an edge where B is singular, relative to the weights

Criterion = Literal["negative", "left", "any"]
CRITERIA: Final[tuple[Criterion, ...]] = get_args(Criterion)


@dataclass(frozen=True, eq=False)
class HardLevels:
    """Eigenvalues of A_h at the edge, or at zero, that tell the number of hard outliers.

    Attributes
    ----------
    levels : ndarray, shape (n,)
        Ascending; n = m k_h, twice as many where both sides of the bulk count.
    overlaps : ndarray, shape (n,)
        Squared overlap with the hard directions with which an outlier would leave the bulk there:
        zero at a square-root edge, where the overlap grows continuously.
    kinds : tuple of str
        `Edges.kind` of the edge that each belongs to.
    matrix : ndarray, shape (n, n)
        A_h whose eigenvalues they are; where both sides of the bulk count, block diagonal.
    vectors : ndarray, shape (n, n)
        Its eigenvectors, one column for each level.
    status : Status
    detail : str
    ends : tuple of int
        Of the bulk, to which each belongs: 0 the left one, 1 the right one; empty without levels.

    Examples
    --------
    >>> from rmt.closed_forms import SpectralPhaseRetrieval
    >>> found = SpectralPhaseRetrieval(0.25).law().hard_levels()
    >>> found.levels.round(6), found.kinds, found.status.name
    (array([2.]), ('support',), 'SUCCESS')
    """

    levels: Array
    overlaps: Array
    kinds: tuple[Kind, ...]
    matrix: Array
    vectors: Array
    status: Status = Status.SUCCESS
    detail: str = ""
    ends: tuple[int, ...] = ()


def check_criterion(criterion: object) -> None:
    """Raise ValueError for an unknown criterion."""
    if not isinstance(criterion, str) or criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}")


def _moments(atoms: Atoms, b: Array, x: Array | None = None) -> tuple[Array, Array, Array]:
    """E[z z^T], E[Y (x) z z^T], E[Y X Y (x) z z^T], the last two (m k_h, m k_h).

    The last one is that of X = 0, zero, where there is no X.
    """
    y, yxy = atoms.resolvents(b, x)
    of_y = _block(atoms.hard_moments(y))
    of_yxy = np.zeros_like(of_y) if x is None else _block(atoms.hard_moments(yxy))
    return unpack(atoms.mean_zz), of_y, of_yxy


def _block(packed: Array) -> Array:
    """(m k, m k) matrix from (m (m + 1) / 2, k (k + 1) / 2) packed products."""
    full = unpack(np.moveaxis(unpack(packed), 0, -1))  # (j, l, a, b)
    m, k = full.shape[1:3]
    return np.asarray(full.transpose(2, 0, 3, 1).reshape(m * k, m * k))


def distant_matrix(atoms: Atoms) -> Array:
    """E[D (x) z_h z_h^T], the limit of A_h(z) + z I at infinity."""
    if atoms.zz is None:
        return _block(atoms.hard_moments(atoms.d))
    products = (atoms.d[:, None] * atoms.zz[None]).reshape(-1, atoms.p.size)
    packed = atoms.average(products).reshape(len(atoms.d), len(atoms.zz))
    return _block(packed)


def matrix_on_branch(atoms: Atoms, b: Array, z: float) -> Array:
    """A_h(z) with B = B(z) given: shape (m k_h, m k_h), neuron index first."""
    zz, y, _ = _moments(atoms, b)
    wide = tensor_product(b, np.eye(len(zz)))
    a = tensor_product(b, zz) - wide @ y @ wide - z * np.eye(y.shape[0])
    if atoms.offset is not None:
        a = a + atoms.offset_on(len(zz))
    return np.asarray(0.5 * (a + a.T))


def hard_slope(atoms: Atoms, b: Array, tangent: Array) -> Array:
    """A_h'(z) = E[ T B' T^T (x) z z^T ] - I with T = D Y = I - B Y and B' = dB/dz."""
    zz, y, yxy = _moments(atoms, b, tangent)
    eye = np.eye(len(zz))
    wide = tensor_product(b, eye)
    cross = wide @ y @ tensor_product(tangent, eye)
    a = tensor_product(tangent, zz) - cross - cross.T + wide @ yxy @ wide - np.eye(y.shape[0])
    return np.asarray(0.5 * (a + a.T))


def outliers_below(branch: RealBranch) -> list[tuple[float, float, Array]]:
    """Find the outliers left of the bulk as (value, overlap, u), ascending."""
    atoms = branch.atoms
    found = []
    for z, b, vector in zeros_below(branch, partial(matrix_on_branch, atoms), 1e-15, 1e-14):
        slope = float(vector @ hard_slope(atoms, b, branch.tangent(b)) @ vector)
        vector = vector * np.sign(vector[np.abs(vector).argmax()])
        overlap = min(1.0, max(0.0, -1.0 / slope)) if np.isfinite(slope) else 0.0
        found.append((z, overlap, vector.reshape(atoms.m, -1)))
    return sorted(found, key=lambda item: item[0])


def require_hard(law: HessianLaw) -> None:
    """Raise ValueError for a law without hard coordinates."""
    if law.hard is None:
        raise ValueError("hard must be given to HessianLaw for this quantity, got None")


def hard_matrix(law: HessianLaw, z: float) -> Array:
    """Compute A_h(z) = E[(I + D c)^{-1} D (x) z_h z_h^T] + shift (x) I - z I.

    Outliers are the zeros of its determinant.

    Parameters
    ----------
    z : float
        Not inside the bulk: at most the left or at least the right edge.

    Returns
    -------
    (m k_h, m k_h) array
        Symmetric; decreasing in z. Row a k_h + j belongs to neuron a, hard coordinate j.

    Raises
    ------
    ValueError
        If hard was not given or z lies between the edges.
    NumericalFailure
        As for `hard_gap`.
    """
    require_hard(law)
    point = check_real("z", z)
    left, right = law.edges()
    if left < point < right or not (law._bounded_below or law._bounded_above):
        raise ValueError(f"z must lie outside the bulk ({left!r}, {right!r}), got {z!r}")
    if law.k_hard == 0:
        return np.empty((0, 0))
    law._scaled.check_hard()
    with np.errstate(over="ignore"):
        x = point - law.centre
    if point <= left:
        return _matrix_below(law, x, law._scaled.left)
    return -_matrix_below(law, -x, law._scaled.right)


def _matrix_below(law: HessianLaw, x: float, side: Side) -> Array:
    """A_h(x) for H - centre I, seen from the left of D or -D."""
    if abs(x) > law._scaled.far:
        atoms = side.branch.atoms
        a = (distant_matrix(atoms) + atoms.offset_on(law.k_hard)) * side.unit
        return np.asarray(a - x * np.eye(len(a)))
    x /= side.unit
    return matrix_on_branch(side.branch.atoms, side.branch.solve(x), x) * side.unit


def find_levels(law: HessianLaw, criterion: Criterion = "negative") -> HardLevels:
    """Find the levels by one criterion; their status says whether they can be relied on."""
    size = law.m * law.k_hard
    sides = [
        side
        for side, bounded in (("left", law._bounded_below), ("right", law._bounded_above))
        if bounded and (side == "left" or criterion == "any")
    ]
    if not sides or not size:
        return _no_levels(max(1, size), np.inf)
    levels, overlaps = np.empty(0), np.empty(0)
    kinds: tuple[Kind, ...] = ()
    ends: tuple[int, ...] = ()
    matrix, vectors = np.empty((0, 0)), np.empty((0, 0))
    for name in sides:
        side = law._scaled.left if name == "left" else law._scaled.right
        edge = side.branch.edge
        if not edge.status.ok:
            return _no_levels(size, np.nan, edge.status, f"({name} edge)")
        at = side.unit * edge.value
        z0 = min(at, -law.centre) if criterion == "negative" else at
        try:
            law._scaled.check_hard()
            block = _matrix_below(law, z0, side)
            b = edge.b if abs(z0) > law._scaled.far else side.branch.solve(z0 / side.unit)
            own, own_vectors = np.linalg.eigvalsh(block), np.linalg.eigh(block)[1]
            jumps = edge.kind == "support" and z0 == at
            own_overlaps = _overlaps_at_edge(side, own_vectors) if jumps else np.zeros(size)
        except NumericalFailure as failure:
            return _no_levels(size, np.nan, failure.status, failure.detail)
        # Where c has a pole at z0 = 0 the gap is exactly zero, and rounding has no sign.
        scale = abs(z0) + float(np.abs(b).max()) * side.unit
        own = np.where(np.abs(own) <= 1e-14 * scale, 0.0, own)
        if edge.kind == "zero" and len(sides) > 1:  # that is no place for an outlier to leave at
            own[np.abs(own) <= _AT_POLE * (scale + np.median(np.abs(law.weights)))] = np.inf
        levels, overlaps = np.append(levels, own), np.append(overlaps, own_overlaps)
        kinds = (*kinds, *(edge.kind,) * size)
        ends = (*ends, *(int(name == "right"),) * size)
        matrix, vectors = _direct_sum(matrix, block), _direct_sum(vectors, own_vectors)
    order = np.argsort(levels, kind="stable")
    return HardLevels(
        levels[order],
        overlaps[order],
        tuple(kinds[i] for i in order),
        matrix,
        vectors[:, order],
        ends=tuple(ends[i] for i in order),
    )


def _no_levels(
    size: int, value: float, status: Status = Status.SUCCESS, detail: str = ""
) -> HardLevels:
    nothing: tuple[Kind, ...] = ("none",)
    each, matrix = np.full(size, value), np.full((size, size), np.nan)
    return HardLevels(each, np.zeros(size), nothing * size, matrix, matrix, status, detail)


def _direct_sum(one: Array, other: Array) -> Array:
    n, m = len(one), len(other)
    out = np.zeros((n + m, n + m))
    out[:n, :n], out[n:, n:] = one, other
    return out


def _overlaps_at_edge(side: Side, vectors: Array) -> Array:
    """Compute 1 / (- u^T A_h' u) at an edge held by the support, for each eigenvector u there."""
    branch = side.branch
    slope = hard_slope(branch.atoms, branch.edge.b, branch.tangent(branch.edge.b))
    with np.errstate(all="ignore"):
        overlaps = -1.0 / np.einsum("ai,ab,bi->i", vectors, slope, vectors)
    known = np.nan_to_num(overlaps, nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(np.clip(known, 0.0, 1.0))


def hard_levels(law: HessianLaw, criterion: Criterion = "negative") -> HardLevels:
    """Compute all eigenvalues of A_h where a criterion looks: as many are negative as outliers.

    Parameters
    ----------
    criterion : {"negative", "left", "any"}
        "negative": at z0 = min(left edge, 0), so negative outliers of H in hard directions
        count. "left": at the left edge, so all that leave the bulk on the left do, negative or
        not. "any": those that leave it on either side; with the eigenvalues of A_h at the left
        edge come those of -A_h at the right edge.

    Returns
    -------
    HardLevels
        Unreliable where its status is not SUCCESS. Infinite without an edge on the sides asked
        for, and without hard directions: no such outlier exists.

    Raises
    ------
    ValueError
        If hard was not given, or the criterion is unknown.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    A spike leaves the bulk of Marchenko and Pastur on the right, and nothing does on the left:

    >>> from rmt.closed_forms import SpikedCovariance
    >>> law = SpikedCovariance(ratio=4.0, spike=1.0).law()
    >>> [int((law.hard_levels(name).levels < 0).sum()) for name in ("negative", "left", "any")]
    [0, 0, 1]
    """
    require_hard(law)
    check_criterion(criterion)
    by_name = {"negative": "_levels", "left": "_levels_left", "any": "_levels_any"}
    found: HardLevels = getattr(law, by_name[criterion])
    return found


def hard_gap(
    law: HessianLaw, criterion: Criterion = "negative", index: int = 1, *, throw: bool = True
) -> float:
    """Compute the gap lambda_min A_h(z0) of H, z0 = min(left edge, 0).

    Parameters
    ----------
    criterion : {"negative", "left", "any"}, optional
        Which outliers count, as in `hard_levels`.
    index : int, optional
        j for the j-th smallest eigenvalue, counted with multiplicity: negative if and only if there
        are j such outliers at least.
    throw : bool, optional
        If False, a gap that rests on an edge that did not converge is NaN instead of
        raising.

    Returns
    -------
    float
        Negative if and only if H has a negative outlier in a hard direction, and continuous
        through the transition (Montanari & Wang, arXiv:2602.01434). +inf where D is
        unbounded below, or without hard directions: no such outlier exists.

    Raises
    ------
    ValueError
        If hard was not given, the criterion is unknown, or the index is not in 1..m k_h.
    NumericalFailure
        With the status of the edge if that did not converge; with UNRESOLVED if the
        hard coordinates are too large (beyond 1e5) for the answer to have digits.
    """
    found = hard_levels(law, criterion)
    largest = max(1, law.m * law.k_hard)
    place = check_integer("index", index)
    if not 1 <= place <= largest:
        raise ValueError(
            f"index must be in 1..m k_h = 1..{largest} (neurons times hard directions), got {index}"
        )
    if throw and not found.status.ok:
        raise NumericalFailure(found.status, found.detail)
    return float(found.levels[place - 1])
