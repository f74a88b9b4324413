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

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rmt._packing import Array, Atoms, unpack
from rmt._validation import check_real
from rmt.real_branch import RealBranch, zeros_below
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from rmt.law import HessianLaw
    from rmt.scaling import Side

__all__ = ["find_gap", "hard_gap", "hard_matrix", "outliers_below", "require_hard"]


def _moments(atoms: Atoms, b: Array, x: Array | None = None) -> tuple[Array, Array, Array]:
    """E[z z^T], E[Y (x) z z^T], E[Y X Y (x) z z^T], the last two (m k_h, m k_h)."""
    zz = atoms.zz
    assert zz is not None  # HessianLaw checks
    of_y, of_yxy = (
        _block(np.stack([atoms.average(zz, entry) for entry in packed]))
        for packed in atoms.resolvents(b, x)
    )
    return unpack(atoms.average(zz)), of_y, of_yxy


def _block(packed: Array) -> Array:
    """(m k, m k) matrix from (m (m + 1) / 2, k (k + 1) / 2) packed products."""
    full = unpack(np.moveaxis(unpack(packed), 0, -1))  # (j, l, a, b)
    m, k = full.shape[1:3]
    return np.asarray(full.transpose(2, 0, 3, 1).reshape(m * k, m * k))


def distant_matrix(atoms: Atoms) -> Array:
    """E[D (x) z_h z_h^T], the limit of A_h(z) + z I at infinity."""
    assert atoms.zz is not None
    products = (atoms.d[:, None] * atoms.zz[None]).reshape(-1, atoms.p.size)
    packed = atoms.average(products).reshape(len(atoms.d), len(atoms.zz))
    return _block(packed)


def matrix_on_branch(atoms: Atoms, b: Array, z: float) -> Array:
    """A_h(z) with B = B(z) given: shape (m k_h, m k_h), neuron index first."""
    zz, y, _ = _moments(atoms, b)
    wide = np.kron(b, np.eye(len(zz)))
    a = np.kron(b, zz) - wide @ y @ wide - z * np.eye(y.shape[0])
    if atoms.offset is not None:
        a = a + atoms.offset_on(len(zz))
    return np.asarray(0.5 * (a + a.T))


def hard_slope(atoms: Atoms, b: Array, tangent: Array) -> Array:
    """A_h'(z) = E[ T B' T^T (x) z z^T ] - I with T = D Y = I - B Y and B' = dB/dz."""
    zz, y, yxy = _moments(atoms, b, tangent)
    eye = np.eye(len(zz))
    wide = np.kron(b, eye)
    cross = wide @ y @ np.kron(tangent, eye)
    a = np.kron(tangent, zz) - cross - cross.T + wide @ yxy @ wide - np.eye(y.shape[0])
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


def find_gap(law: HessianLaw) -> tuple[float, Status, str]:
    """Find the gap; status and detail say whether it can be relied on."""
    if not law._bounded_below or law.k_hard == 0:
        return np.inf, Status.SUCCESS, ""
    side = law._scaled.left
    edge, unit = side.branch.edge, side.unit
    if not edge.status.ok:
        return np.nan, edge.status, "(left edge)"
    z0 = min(unit * edge.value, -law.centre)
    try:
        law._scaled.check_hard()
        gap = float(np.linalg.eigvalsh(_matrix_below(law, z0, side))[0])
        b = edge.b if abs(z0) > law._scaled.far else side.branch.solve(z0 / unit)
    except NumericalFailure as failure:
        return np.nan, failure.status, failure.detail
    # Where c has a pole at z0 = 0 the gap is exactly zero, and rounding has no sign.
    scale = abs(z0) + float(np.abs(b).max()) * unit
    return 0.0 if abs(gap) <= 1e-14 * scale else gap, Status.SUCCESS, ""


def hard_gap(law: HessianLaw, *, throw: bool = True) -> float:
    """Compute the gap lambda_min A_h(z0) of H, z0 = min(left edge, 0).

    Parameters
    ----------
    throw : bool, optional
        If False, a gap that rests on a left edge that did not converge is NaN instead of
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
        If hard was not given.
    NumericalFailure
        With the status of the left edge if that did not converge; with UNRESOLVED if the
        hard coordinates are too large (beyond 1e5) for the answer to have digits.
    """
    require_hard(law)
    gap, status, detail = law._gap
    if throw and not status.ok:
        raise NumericalFailure(status, detail)
    return gap
