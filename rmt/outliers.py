"""Eigenvalues of H outside the bulk along hard latent directions, and the gap.

For z outside the bulk and z_h the hard latent coordinates of a sample (Montanari & Wang,
arXiv:2602.01434)

    A_h(z) = E[ (I + D c)^{-1} D (x) z_h z_h^T ] - z I,      (m k_h, m k_h),

decreasing in z; z is an outlier where det A_h(z) = 0, and a null vector u with |u| = 1 gives the
squared norm of the eigenvector's projection on the hard space, 1 / (- u^T A_h'(z) u). In terms of
B = c^{-1} and Y = (B + D)^{-1}, (I + D c)^{-1} D = B - B Y B. The right side is the left side of
-D: A_h(z; D) = - A_h(-z; -D).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from rmt._packing import Array, Atoms, kernels, unpack
from rmt.edges import RealBranch
from rmt.status import NumericalFailure, Status

__all__ = ["Outlier", "by_rank", "distant_matrix", "hard_matrix", "outliers_below"]

_ZERO: Final = 1e-12


@dataclass(frozen=True, eq=False)
class Outlier:
    """An eigenvalue outside the bulk, and where its eigenvector v in R^(m d) points.

    Write v = (v_1, ..., v_m) with v_j in R^d the part of neuron j. Squared overlaps are between 0
    and 1; those with different latent directions add up to at most ``span_overlap``.

    Attributes
    ----------
    value : float
        The eigenvalue.
    hard_overlap : float
        Squared norm of the projection of v on the hard space (times R^m). An eigenvector lies
        either in the hard directions or across them: exactly zero, or equal to ``span_overlap``.
    vector : (m, K) array
        Direction of the projection of v on the coordinates, of unit norm: entry (j, a) belongs to
        neuron j and coordinate a. With ``directions="hard"`` the coordinates are the k_h hard
        ones, otherwise those of the span.
    side : "left" or "right"
        The side of the bulk.
    span_overlap : float
        Squared norm of the projection of v on all coordinates.
    latent_overlap : (k,) array
        For each latent direction l, the sum over neurons of <v_j, direction l>^2. The latent
        directions are those of the span; without one, the k_h hard coordinates.
    neuron_overlap : (m, m) array or None
        Entry (j, p): squared overlap of v with the weights of neuron p (of unit norm) in block j,
        ``<v_j, theta_p>^2 / |theta_p|^2``. The sum of the diagonal is a change of length of the
        neurons; weights of norm zero give zero. None where the span has no ``neurons``.
    separated : bool
        Whether it is further from the edge of the bulk than the errors of both together, over the
        replicates of its law. Otherwise it is not told from the edge: a sampled law shows such an
        outlier where the limit may have none. True for a law without replicates.

    Examples
    --------
    >>> from rmt.closed_forms import SpikedCovariance
    >>> [outlier] = SpikedCovariance(ratio=4.0, spike=1.0).law().outliers()
    >>> outlier.side, round(outlier.value, 6)
    ('right', 2.5)
    """

    value: float
    hard_overlap: float
    vector: Array
    side: Literal["left", "right"]
    span_overlap: float
    latent_overlap: Array
    neuron_overlap: Array | None = None
    separated: bool = True


def by_rank(outliers: Sequence[Outlier]) -> dict[tuple[str, bool, int], Outlier]:
    """Outliers given in ascending order, by side, whether hard, and place from the outside in.

    By these the outliers of one randomisation are matched with those of another.
    """
    kinds = [(outlier.side, outlier.hard_overlap > 0) for outlier in outliers]
    return {
        (*kind, (kinds[:i] if kind[0] == "left" else kinds[i + 1 :]).count(kind)): outlier
        for i, (kind, outlier) in enumerate(zip(kinds, outliers, strict=True))
    }


def _hard_order(atoms: Atoms) -> int:
    if atoms.zz is None:  # pragma: no cover - the law checks
        raise ValueError("hard must be given")
    return round(float(np.sqrt(8 * atoms.zz.shape[0] + 1) - 1) / 2)


def _kron(a: Array, k: int) -> Array:
    return np.asarray(np.kron(a, np.eye(k)))


def _moments(atoms: Atoms, b: Array, x: Array) -> tuple[Array, Array, Array]:
    """E[z z^T], E[Y (x) z z^T], E[Y X Y (x) z z^T], the last two (m k_h, m k_h)."""
    m, k = atoms.m, _hard_order(atoms)
    size, q = m * (m + 1) // 2, k * (k + 1) // 2
    first, second = np.empty((size, q)), np.empty((size, q))
    zz = atoms.zz
    if zz is None:  # pragma: no cover - the law checks
        raise ValueError("hard must be given")
    x = np.ascontiguousarray(x)
    for packed in atoms.moved_inwards(b):
        if not kernels().hard_moments(packed, atoms.d, atoms.p, zz, x, first, second):
            break
    else:
        raise NumericalFailure(Status.UNRESOLVED, "(B + D > 0 is lost in rounding)")
    return unpack(atoms.average(zz), k), _block(first, m, k), _block(second, m, k)


def _block(packed: Array, m: int, k: int) -> Array:
    """(m k, m k) matrix from (m (m + 1) / 2, k (k + 1) / 2) packed products."""
    full = unpack(np.moveaxis(unpack(packed, k), 0, -1), m)  # (j, l, a, b)
    return np.asarray(full.transpose(2, 0, 3, 1).reshape(m * k, m * k))


def distant_matrix(atoms: Atoms) -> Array:
    """E[D (x) z_h z_h^T], the limit of A_h(z) + z I at infinity."""
    assert atoms.zz is not None
    products = (atoms.d[:, None] * atoms.zz[None]).reshape(-1, atoms.p.size)
    packed = atoms.average(products).reshape(len(atoms.d), len(atoms.zz))
    return _block(packed, atoms.m, _hard_order(atoms))


def hard_matrix(atoms: Atoms, b: Array, z: float) -> Array:
    """A_h(z) with B = B(z) given: shape (m k_h, m k_h), neuron index first."""
    zz, y, _ = _moments(atoms, b, np.zeros_like(b))
    frame = _kron(b, zz.shape[0])
    a = np.kron(b, zz) - frame @ y @ frame - z * np.eye(y.shape[0])
    return np.asarray(0.5 * (a + a.T))


def hard_slope(atoms: Atoms, b: Array, tangent: Array) -> Array:
    """A_h'(z) = E[ T B' T^T (x) z z^T ] - I with T = D Y = I - B Y and B' = dB/dz."""
    zz, y, yxy = _moments(atoms, b, tangent)
    k = zz.shape[0]
    frame = _kron(b, k)
    cross = frame @ y @ _kron(tangent, k)
    a = np.kron(tangent, zz) - cross - cross.T + frame @ yxy @ frame - np.eye(y.shape[0])
    return np.asarray(0.5 * (a + a.T))


def outliers_below(branch: RealBranch) -> list[tuple[float, float, Array]]:
    """Outliers left of the bulk as (value, overlap, u), ascending.

    Every eigenvalue of A_h decreases with z and tends to +infinity at -infinity, so those that
    are negative at the edge have exactly one root each below it, and no others have any.
    """
    from scipy.optimize import brentq

    atoms = branch.atoms
    k = _hard_order(atoms)
    edge = branch.edge
    at_edge = np.linalg.eigvalsh(hard_matrix(atoms, edge.b, edge.value))
    size = abs(edge.value) + float(np.abs(edge.b).max())
    found = []
    for position in range(int(np.count_nonzero(at_edge < -_ZERO * size))):

        def level(t: float, position: int = position) -> float:
            z, b = branch.descend(t)
            return float(np.linalg.eigvalsh(hard_matrix(atoms, b, z))[position])

        high = np.sqrt(size) if atoms.m > 1 else size
        while level(high) <= 0.0:
            high *= 2.0
        t = brentq(level, 0.0, high, xtol=1e-15 * high, rtol=1e-14, maxiter=200)
        z, b = branch.descend(float(t))
        vector = np.linalg.eigh(hard_matrix(atoms, b, z))[1][:, position]
        slope = float(vector @ hard_slope(atoms, b, branch.tangent(b)) @ vector)
        vector = vector * np.sign(vector[np.abs(vector).argmax()])
        overlap = min(1.0, max(0.0, -1.0 / slope)) if np.isfinite(slope) else 0.0
        found.append((z, overlap, vector.reshape(atoms.m, k)))
    return sorted(found, key=lambda item: item[0])
