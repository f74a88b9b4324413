"""From symmetric matrices to the packed, padded arrays the kernels read, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmt._blas import single_threaded_blas
from rmt.status import NumericalFailure, Status

__all__ = [
    "LANES",
    "Array",
    "Atoms",
    "CArray",
    "kernels",
    "pack",
    "packed_index",
    "tensor_product",
    "unpack",
]

Array = NDArray[np.float64]
CArray = NDArray[np.complex128]

LANES = 32  # atoms come in multiples of this
_FEW = 4  # hard coordinates whose products are kept


@cache
def kernels() -> Any:
    """Import the compiled kernels on first use: numba costs more than the rest of ``rmt``."""
    from rmt import _kernels

    if _kernels.LANES != LANES:  # pragma: no cover - a slip of the programmer
        raise RuntimeError("rmt._packing and rmt._kernels disagree on the number of lanes")
    return _kernels


@cache
def packed_index(m: int) -> NDArray[np.intp]:
    """(m, m) table of the position of entry (i, j) in packed storage."""
    table = np.empty((m, m), dtype=np.intp)
    rows, cols = np.tril_indices(m)
    table[rows, cols] = table[cols, rows] = np.arange(rows.size)
    table.setflags(write=False)
    return table


def tensor_product(a: Array, b: Array) -> Array:
    """Return a (x) b of matrices, the same bits as `numpy.kron` in a fraction of its time."""
    product = a[:, None, :, None] * b[None, :, None, :]
    return np.asarray(product.reshape(len(a) * len(b), -1))


def pack(matrices: Array) -> Array:
    """Lower triangles of (..., m, m) symmetric matrices as (..., m (m + 1) / 2)."""
    rows, cols = np.tril_indices(matrices.shape[-1])
    return np.ascontiguousarray(matrices[..., rows, cols])


def unpack(packed: Array) -> Array:
    """Inverse of `pack`."""
    return np.asarray(packed[..., packed_index((isqrt(8 * packed.shape[-1] + 1) - 1) // 2)])


@dataclass(frozen=True, eq=False)
class Atoms:
    """The atoms of D in the layout of the kernels: those of zero probability removed, padded.

    Attributes
    ----------
    d : (m (m + 1) / 2, n_padded) array
        Packed weights, one column per atom.
    p : (n_padded,) array
        Probabilities; zero in the padding.
    zz : (q, n_padded) array or None
        Packed products z_h z_h^T of the hard latent coordinates; None without any, and of more than
        four, whose products would be most of the memory.
    ratio : float
        n / d.
    m : int
        Order of the weights.
    offset : (m, m) array or None
        Symmetric matrix Lambda added to F: the law is that of ``H + Lambda (x) I``. None for zero.
    """

    d: Array
    p: Array
    zz: Array | None
    ratio: float
    m: int
    offset: Array | None = None
    z: Array | None = None  # (k_h, n_padded) coordinates, of more than four

    @classmethod
    def build(
        cls,
        weights: Array,
        probabilities: Array,
        hard: Array | None,
        ratio: float,
        offset: Array | None = None,
    ) -> Atoms:
        """Pack (N, m, m) weights, (N,) probabilities and (N, k_h) hard coordinates."""
        keep = probabilities > 0
        weights, probabilities = weights[keep], probabilities[keep]
        n = probabilities.size
        padding = np.zeros(-n % LANES, dtype=np.intp)  # copies of the first atom, of no mass
        take = np.append(np.arange(n), padding)
        p = np.append(probabilities, np.zeros(padding.size))
        d = np.ascontiguousarray(pack(weights)[take].T)
        zz = many = None
        if hard is not None and hard.shape[1] > _FEW:
            many = np.ascontiguousarray(hard[keep][take].T)
        elif hard is not None:
            z = hard[keep]
            rows, cols = np.tril_indices(z.shape[1])
            zz = np.ascontiguousarray((z[:, rows] * z[:, cols])[take].T)
        return cls(d=d, p=p, zz=zz, ratio=ratio, m=weights.shape[-1], offset=offset, z=many)

    def reflected(self) -> Atoms:
        """Return the atoms of -D, with minus the offset."""
        return replace(self, d=-self.d, offset=None if self.offset is None else -self.offset)

    def offset_on(self, k: int) -> Array:
        """Return Lambda (x) I_k, neuron index first; zero without an offset."""
        offset = np.zeros((self.m, self.m)) if self.offset is None else self.offset
        return np.asarray(np.kron(offset, np.eye(k)))

    @property
    def offset_size(self) -> float:
        """Largest entry of the offset."""
        return 0.0 if self.offset is None else float(np.abs(self.offset).max())

    def resolvents(self, b: Array, x: Array | None = None) -> tuple[Array, Array]:
        """Packed Y = (B + D)^{-1} and Y X Y of every atom, (size, n_padded); X = 0 by default.

        On the boundary of B + D > 0, where that may be singular for an atom, B is moved a little
        inwards; limits are finite.
        """
        y, yxy = np.empty_like(self.d), np.empty_like(self.d)
        x = np.zeros_like(b) if x is None else np.ascontiguousarray(x)
        resolvents = _scalar_resolvents if self.m == 1 else kernels().resolvents
        size = float(np.abs(b).max()) or float(np.abs(self.d).max()) or 1.0
        for inwards in (0.0, 1e-14, 1e-12, 1e-10):
            moved = pack(b + inwards * size * np.eye(len(b)))
            if not resolvents(moved, self.d, x, y, yxy):
                return y, yxy
        raise NumericalFailure(Status.UNRESOLVED, "(B + D > 0 is lost in rounding)")

    @cached_property
    def mean_zz(self) -> Array:
        """Packed E[z_h z_h^T]."""
        if self.zz is not None:
            return self.average(self.zz)
        return np.asarray(self.hard_moments(np.ones((1, self.p.size)))[0])

    def hard_moments(self, factors: Array) -> Array:
        """Packed E[x z_h z_h^T] for each row x of factors (j, n_padded): shape (j, q)."""
        if self.zz is not None:
            return np.stack([self.average(self.zz, factor) for factor in factors])
        z = self.z
        assert z is not None  # HessianLaw checks
        rows, cols = np.tril_indices(len(z))
        with single_threaded_blas():  # its sums depend on the number of threads
            return np.stack([((z * (self.p * x)) @ z.T)[rows, cols] for x in factors])

    def average(self, packed: Array, factor: Array | None = None) -> Array:
        """E[x] or E[factor x] for x of shape (q, n_padded), in the fixed order of summation."""
        out = np.empty(packed.shape[0])
        p = self.p if factor is None else self.p * factor
        kernels().weighted_sum(p, np.ascontiguousarray(packed), out)
        return out


@np.errstate(all="ignore")
def _scalar_resolvents(b: Array, d: Array, x: Array, y_out: Array, yxy_out: Array) -> bool:
    """Do what the kernel `resolvents` does, for m = 1, where there is nothing worth compiling."""
    shifted = d + b[0]
    np.divide(1.0, shifted, out=y_out)
    np.multiply(y_out, x[0, 0] * y_out, out=yxy_out)
    return not shifted.min() > 0.0
