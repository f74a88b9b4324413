"""The complex branch: c(z) for Im z >= 0, and atom, distribution function and moments from it.

The matrix c(z) solves (Montanari & Wang, arXiv:2602.01434)

    c = (1/ratio) ( E[ (I + D c)^{-1} D ] + Lambda - z I )^{-1},    Im c > 0 for Im z > 0,

Lambda the offset of the atoms (zero unless the shift of the law is a matrix), and with
B = c^{-1} this is F(B) = z I, solved by Newton's method with the exact derivative from point to
point. Im c > 0 is equivalent to Im B < 0 and singles out one solution, so every point is checked on
its own and does not depend on the way it was reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rmt._packing import Array, Atoms, CArray, kernels, packed_index
from rmt.status import Status

__all__ = ["Branch", "Zero", "distribution", "eigenvalue_zeros", "moments", "solve", "typical_size"]

_ROUNDING: Final = 1e-13  # an atom of less is the rounding of a mass of 0 at a critical ratio
_RANK: Final = 1e-12  # singular values of D of less, relative to its largest entry, are rounding
_APPROXIMATE: Final = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # the same, on approximate directions
_EQUAL: Final = 1e-12  # eigenvalues of the offset closer than this, relative to it, are one


@dataclass(frozen=True, eq=False)
class Branch:
    """Solutions B(z) of F(B) = z I.

    Attributes
    ----------
    b, tangent : (Q, m, m) complex arrays
        B and dB/dz; limits from above on the real axis.
    passes : (Q,) int array
        Averages over the atoms that each point took.
    ok : (Q,) bool array
        Whether the point was solved on the physical branch.
    """

    b: CArray
    tangent: CArray
    passes: NDArray[np.int64]
    ok: NDArray[np.bool_]

    @property
    def status(self) -> Status:
        """``SUCCESS`` if every point was solved."""
        return Status.SUCCESS if bool(self.ok.all()) else Status.UNPHYSICAL_BRANCH


def typical_size(atoms: Atoms) -> float:
    """Order of magnitude of the spectrum, insensitive to the tails of D."""
    m = atoms.m
    weight = np.full(atoms.d.shape[0], 2.0)
    weight[[int(packed_index(m)[i, i]) for i in range(m)]] = 1.0
    root = np.sqrt(np.sqrt(weight @ atoms.d**2))
    size = float(atoms.average(root[None, :])[0]) ** 2
    return size * (1.0 + atoms.ratio**-0.5) ** 2 + atoms.offset_size or 1.0


def solve(atoms: Atoms, z: CArray) -> Branch:
    """Solve at (Q,) points with Im z >= 0, in an order that makes neighbours close."""
    m, count = atoms.m, z.size
    order = np.lexsort((z.imag, z.real)) if not z.imag.any() else np.arange(count)
    b = np.empty((count, m, m), dtype=np.complex128)
    tangent = np.empty_like(b)
    passes = np.zeros(count, dtype=np.int64)
    codes = np.zeros(count, dtype=np.int64)
    if count:
        kernels().solve_points(
            np.ascontiguousarray(z[order]),
            atoms.d,
            atoms.p,
            atoms.ratio,
            np.zeros((m, m)) if atoms.offset is None else np.ascontiguousarray(atoms.offset),
            typical_size(atoms),
            b,
            tangent,
            passes,
            codes,
        )
    back = np.empty(count, dtype=np.intp)
    back[order] = np.arange(count)
    return Branch(b[back], tangent[back], passes[back], codes[back] == 0)


class Zero(NamedTuple):
    """An eigenvalue of H for want of rank: its mass, and whether the density there is infinite.

    ``value`` is 0, or an eigenvalue of the offset.
    """

    mass: float
    diverges: bool
    value: float = 0.0


def eigenvalue_zeros(atoms: Atoms) -> tuple[Zero, ...]:
    """Masses of the eigenvalues that want of rank causes, ascending.

    The eigenvalue 0, see `eigenvalue_zero`; with an offset Lambda each of its eigenvalues, on whose
    eigenspace E the kernel of D decides: ``max over V in E of (dim V - ratio E[rank(D V)]) / m``.
    """
    if atoms.offset is None:
        return (eigenvalue_zero(atoms),)
    values, vectors = np.linalg.eigh(atoms.offset)
    apart = np.flatnonzero(np.diff(values) > _EQUAL * atoms.offset_size) + 1
    return tuple(
        _zero_of_eigenspace(atoms, float(values[group].mean()), vectors[:, group])
        for group in np.split(np.arange(atoms.m), apart)
    )


def _zero_of_eigenspace(atoms: Atoms, value: float, axes: Array) -> Zero:
    """Mass of an eigenvalue of the offset with an eigenspace of orthonormal ``axes`` (m, q)."""
    m, q = axes.shape
    occupied = atoms.p > 0
    d = np.moveaxis(atoms.d[packed_index(m)], -1, 0)[occupied]
    p = atoms.p[occupied]
    scale = np.abs(d).max(axis=(1, 2), initial=0.0, keepdims=True)
    unit = np.divide(d, scale, out=np.zeros_like(d), where=scale > 0)
    bound = 1.0
    if q > 1:  # the leading directions of the kernel, from the residue of c
        height = 1e-6j * typical_size(atoms)
        branch = solve(atoms, np.array([value + height]))
        if branch.status.ok:
            residue = (np.linalg.inv(branch.b[0]) * -height * atoms.ratio).real
            bound = float(np.trace(residue)) / m
            residue = axes.T @ residue @ axes
            axes = axes @ np.linalg.eigh(0.5 * (residue + residue.T))[1][:, ::-1]
    masses = {0: 0.0}
    for dim in range(1, q + 1):
        singular = np.linalg.svd(unit @ axes[:, :dim], compute_uv=False)
        # The axes are approximate, but all of them span the eigenspace.
        for tolerance in _APPROXIMATE if dim < q else (_RANK,):
            mass = (dim - atoms.ratio * float(p @ (singular > tolerance).sum(axis=1))) / m
            if mass <= bound * (1.0 + 1e-5) + 1e-12:
                masses[dim] = max(masses.get(dim, -np.inf), mass)
    best = max(masses.values())
    ties = sum(abs(mass - best) <= _ROUNDING for mass in masses.values())
    return Zero(best if best > _ROUNDING else 0.0, ties > 1, value)


def eigenvalue_zero(atoms: Atoms) -> Zero:
    """Mass of the eigenvalue 0 of H, and whether the density diverges there, without an offset.

    For every subspace V the kernel has at least dimension d dim V - n E[rank(D V)], and some V
    attains it: for generic weights V = R^m, for weights with a common kernel a smaller one. The
    candidates are the spans of the leading eigenvectors of the residue of c at 0, computed just
    above the real axis. Where two of them (V = 0 counts) attain the maximum, the ratio is critical:
    the kernel is about to grow, and the density diverges at 0 as it does for Marchenko-Pastur at
    ratio 1.
    """
    m, ratio = atoms.m, atoms.ratio
    occupied = atoms.p > 0
    if not np.any(atoms.d[:, occupied]):
        return Zero(1.0, False)
    if m == 1:
        nonzero = float(atoms.average((atoms.d != 0).astype(np.float64))[0])
        mass = 1.0 - ratio * nonzero
        return Zero(mass if mass > _ROUNDING else 0.0, abs(mass) <= _ROUNDING)
    index = packed_index(m)
    d = np.moveaxis(atoms.d[index], -1, 0)[occupied]
    p = atoms.p[occupied]
    size = typical_size(atoms)
    for height in (1e-6, 1e-5, 1e-4):  # pragma: no branch - the first one works as a rule
        branch = solve(atoms, np.array([1j * height * size]))
        if branch.status.ok:
            break
    dims, axes, bound = range(m, m + 1), np.eye(m), 1.0
    if branch.status.ok:
        residue = (np.linalg.inv(branch.b[0]) * (-1j * height * size * ratio)).real
        dims, axes = range(1, m + 1), np.linalg.eigh(0.5 * (residue + residue.T))[1][:, ::-1]
        # Re(-z s(z)) = E[h^2 / (lambda^2 + h^2)] at z = i h: never below the mass of the atom.
        bound = float(np.trace(residue)) / m
    scale = np.abs(d).max(axis=(1, 2), initial=0.0, keepdims=True)
    unit = np.divide(d, scale, out=np.zeros_like(d), where=scale > 0)
    # D V loses at most the kernel of D: a D that is nearly singular is not.
    full = (np.linalg.svd(_equilibrated(unit), compute_uv=False) > _RANK).sum(axis=1)
    masses = {0: 0.0}
    for dim in dims:
        singular = np.linalg.svd(unit @ axes[:, :dim], compute_uv=False)
        # The axes are approximate, but all m of them span R^m: the ranks are the ranks of D.
        tolerances = _APPROXIMATE if dim < m else (_RANK,)
        for tolerance in tolerances:
            rank = full if dim == m else (singular > tolerance).sum(axis=1)
            rank = np.maximum(rank, full - (m - dim))
            mass = (dim - ratio * float(p @ rank)) / m
            if mass <= bound * (1.0 + 1e-5) + 1e-12:
                masses[dim] = max(masses.get(dim, -np.inf), mass)
    best = max(masses.values())
    ties = sum(abs(mass - best) <= _ROUNDING for mass in masses.values())
    return Zero(best if best > _ROUNDING else 0.0, ties > 1)


def _equilibrated(d: Array) -> Array:
    """Scale rows and columns of symmetric matrices alike, to a largest entry of one in each.

    Blocks of very different size that do not couple then have the same scale; the rank is kept.
    """
    for _ in range(3):
        root = np.sqrt(np.abs(d).max(axis=2))
        root[root == 0.0] = 1.0
        d = d / root[:, :, None] / root[:, None, :]
    return d


def distribution(atoms: Atoms, x: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Fraction of eigenvalues of H below x, without integrating a density, and the density.

    c is stationary for Psi = E log det(I + D c) - log det(c) / ratio - tr (z - Lambda) c, so
    dPsi/dz = -tr c and the integral of s = ratio tr c / m is explicit: in terms of B = 1/c,

        cdf(x) = - ratio/(pi m) Im[ E log det(B + D) - (1 - 1/ratio) log det B
                                    - tr (x - Lambda) B^{-1} ],

    B = B(x + i0), every logarithm continued from B = +infinity through Im B < 0.

    Returns
    -------
    cdf, density, ok : (Q,) arrays
    """
    branch = solve(atoms, x.astype(np.complex128))
    of_b, of_shifted = np.empty(x.size), np.empty(x.size)
    kernels().phases(branch.b, atoms.d, atoms.p, of_b, of_shifted)
    b = np.where(branch.ok[:, None, None], branch.b, np.eye(atoms.m))
    c = np.linalg.inv(b)
    trace = np.trace(c, axis1=-2, axis2=-1).imag
    total = of_shifted - (1.0 - 1.0 / atoms.ratio) * of_b - x * trace
    if atoms.offset is not None:
        total += np.einsum("ab,nba->n", atoms.offset, c).imag
    scale = atoms.ratio / (np.pi * atoms.m)
    return -scale * total, scale * trace, branch.ok


def moments(
    weights: Array, probabilities: Array, ratio: float, order: int, offset: Array | None = None
) -> Array:
    """Exact moments E[lambda^1], ..., E[lambda^order] from the expansion of c at infinity.

    With -ratio z c = sum_k M_k z^{-k}, M_0 = I, and R_j the coefficients of E[(I + D c)^{-1} D]
    plus Lambda,

        M_{k+1} = sum_{i + j = k} M_i R_j,
        P_0 = D,  P_j = (1/ratio) D sum_{i < j} M_i P_{j-1-i},  R_j = E[P_j] + [j=0] Lambda.
    """
    m = weights.shape[-1]
    series = [np.eye(m)]
    powers: list[Array] = []
    means: list[Array] = []
    for k in range(order):
        power = weights
        if k:
            inner = sum(series[i] @ powers[k - 1 - i] for i in range(k))
            power = weights @ inner / ratio
        powers.append(power)
        means.append(np.einsum("n,nab->ab", probabilities, power))
        if offset is not None and not k:
            means[0] = means[0] + offset
        series.append(np.sum([series[i] @ means[k - i] for i in range(k + 1)], axis=0))
    return np.array([np.trace(x) / m for x in series[1:]])
