"""Outliers of H across the hard directions, from the coordinates and gradients of a span.

With c(z) real outside the bulk, B = c^{-1} and Y = (B + D)^{-1} (Montanari & Wang,
arXiv:2602.01434; Celentano, Cheng & Montanari, arXiv:2112.07572), and q, ghat of `rmt.span`,

    W = E[Y (x) ghat ghat^T],    U = E[D Y (x) q ghat^T],
    A(z) = E[(D - D Y D) (x) q q^T] + U W^{-1} U^T + shift (x) I - z I,       (m K, m K).

A(z) is the inverse of the resolvent of H projected on the coordinate directions: eigenvalues of H
outside the bulk are the zeros of det A, and a null vector u, |u| = 1, gives the squared norm of the
eigenvector's projection, 1 / (- u^T A'(z) u). With X = D Y (x) q - U W^{-1} (Y (x) ghat)

    A'(z) = E[X (dB/dz) X^T] - I <= -I       left of the bulk (dB/dz < 0, Y > 0),

also for the averages over finitely many samples: every eigenvalue of A falls with z, so there are
as many outliers on the left as A has negative eigenvalues at the left edge. The right side is the
left side of -D: A(z; D) = - A(-z; -D).

A hard direction is decoupled from all others by definition (E[z_h | everything else] = 0): its
cross averages are zero, what samples show of them is noise. Hard directions are therefore projected
out here, and treated alone in `rmt.hard`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from rmt._packing import Array, Atoms, packed_index
from rmt.real_branch import RealBranch, zeros_below
from rmt.span import Span
from rmt.status import NumericalFailure, Status

__all__ = ["outliers_below"]

# Gradients closer to linear dependence than this cannot be told apart from rounding.
_SMALLEST_GRADIENT: Final = 1e-10
# Coordinates are close to standard normal; A loses the digits of far larger ones.
_LARGEST_GRAM: Final = 1e10
# Directions missing from the span move an outlier by about their weight.
_LARGEST_DEFECT: Final = 1e-4


class _Projected:
    """A(z) on the free coordinates, neuron index first: row j K_free + a.

    The Schur complement of H restricted to some of these directions is the same restriction of A.
    """

    def __init__(self, atoms: Atoms, span: Span) -> None:
        self._atoms = atoms
        self._blocks = span.blocks
        self._index = packed_index(atoms.m)
        self._k = span.free.shape[1]
        self._moves = span.moves
        self._rows = np.concatenate([span.free.T @ span.coordinates, span.gradients])
        with np.errstate(over="ignore", invalid="ignore"):
            (plain,) = self._gram(np.ones((1, atoms.d.shape[1])), positive=[True])
        largest = float(np.abs(plain).max(initial=0.0))
        if not largest <= _LARGEST_GRAM:
            raise NumericalFailure(
                Status.UNRESOLVED, f"(averages of squares in the span up to {largest:.1e})"
            )
        self._plain = plain
        squares = plain[self._k :, self._k :]
        if len(squares):
            values = np.linalg.eigvalsh(squares)
            if not values[0] > _SMALLEST_GRADIENT * values[-1]:
                raise NumericalFailure(
                    Status.ILL_CONDITIONED,
                    f"(E[ghat ghat^T] has eigenvalues from {values[0]:.1e} to {values[-1]:.1e})",
                )

    def _gram(self, weights: Array, positive: list[bool]) -> list[Array]:
        """E[weights (q, ghat)(q, ghat)^T] for each row of (size, n_padded) weights."""
        weighted = weights * self._atoms.p
        size = len(self._blocks[0])
        total = np.zeros((len(weights), size, size))
        start = 0
        for block in self._blocks:
            here = weighted[:, start : start + block.shape[1]]
            start += block.shape[1]
            for out, row, symmetric in zip(total, here, positive, strict=True):
                if symmetric:  # numpy then calls syrk: half the work
                    scaled = block * np.sqrt(row)
                    out += scaled @ scaled.T
                else:
                    out += (block * row) @ block.T
        return [self._rows @ gram @ self._rows.T for gram in total]

    def _full(self, packed: list[Array]) -> tuple[Array, Array, Array]:
        """From one Gram matrix per packed entry of Y to its (q q), (q ghat), (ghat ghat) blocks."""
        m, k = self._atoms.m, self._k
        grams = np.stack(packed)[self._index]  # (j, l, a, b)
        width = grams.shape[-1]

        def block(rows: slice, columns: slice) -> Array:
            part = grams[:, :, rows, columns].transpose(0, 2, 1, 3)
            return np.ascontiguousarray(part).reshape(m * part.shape[1], m * part.shape[3])

        q, g = slice(0, k), slice(k, width)
        return block(q, q), block(q, g), block(g, g)

    def _blocks_of(self, packed: Array) -> tuple[Array, Array, Array]:
        """Blocks of E[X (x) ...] for packed X, Y or Y x Y of every atom with x > 0."""
        rows, columns = np.tril_indices(self._atoms.m)
        return self._full(self._gram(packed, (rows == columns).tolist()))

    def matrix(self, b: Array, z: float) -> Array:
        """A(z) with B = B(z) given."""
        a = self._assemble(b, z, self._blocks_of(self._atoms.resolvents(b)[0]))[0]
        return a if self._moves is None else self._moves.T @ a @ self._moves

    def on_coordinates(self, vector: Array) -> Array:
        """Return a null vector of `matrix` on all free coordinates."""
        return vector if self._moves is None else self._moves @ vector

    def _assemble(
        self, b: Array, z: float, moments: tuple[Array, Array, Array]
    ) -> tuple[Array, Array]:
        """Put A together; with it W^{-1} U^T."""
        from scipy.linalg import cho_factor, cho_solve

        yqq, yqg, ygg = moments
        k, eye = self._k, np.eye(self._atoms.m)
        wide = np.kron(b, np.eye(k))
        a = np.kron(b, self._plain[:k, :k]) - wide @ yqq @ wide - z * np.eye(len(yqq))
        if self._atoms.offset is not None:
            a = a + self._atoms.offset_on(k)
        u = np.kron(eye, self._plain[:k, k:]) - wide @ yqg
        solved = u.T
        if len(ygg):
            scale = 1.0 / np.sqrt(np.diagonal(ygg))
            try:
                factor = cho_factor(ygg * np.outer(scale, scale))
            except np.linalg.LinAlgError as error:
                raise NumericalFailure(
                    Status.ILL_CONDITIONED, "(E[Y (x) ghat ghat^T] is not positive definite)"
                ) from error
            solved = scale[:, np.newaxis] * cho_solve(factor, scale[:, np.newaxis] * u.T)
            a = a + u @ solved
        return np.asarray(0.5 * (a + a.T)), solved

    def overlap(self, b: Array, z: float, tangent: Array, vector: Array) -> float:
        """Squared norm of the projection, 1 / (- u^T A'(z) u)."""
        moments, (sqq, sqg, sgg) = map(self._blocks_of, self._atoms.resolvents(b, -tangent))
        solved = self._assemble(b, z, moments)[1]
        k = self._k
        # E[(X^T u)^T (-B') (X^T u)] with X^T u = u(q) - Y v, u(q) = u q, v = B u q + (W^-1 U^T u)
        # ghat: expanded in the Gram matrices of -B', -B' Y and Y (-B') Y.
        wide, slope = np.kron(b, np.eye(k)), np.kron(-tangent, np.eye(k))
        lifted = wide @ vector
        weights = solved @ vector
        plain = float(vector @ np.kron(-tangent, self._plain[:k, :k]) @ vector)
        cross = float((slope @ vector) @ (moments[0] @ lifted + moments[1] @ weights))
        square = float(lifted @ sqq @ lifted + 2.0 * lifted @ sqg @ weights)
        square += float(weights @ sgg @ weights)
        return 1.0 / (1.0 + max(plain - 2.0 * cross + square, 0.0))


def outliers_below(branch: RealBranch, span: Span) -> list[tuple[float, float, Array]]:
    """Find the outliers left of the bulk outside the hard directions, ascending.

    Returns
    -------
    list of (float, float, (m, K) array)
        Position, squared norm of the projection on the coordinates, and its direction.
    """
    if span.defect > _LARGEST_DEFECT:
        raise NumericalFailure(
            Status.ILL_CONDITIONED,
            f"(directions of weight up to {span.defect:.1e} are missing from the span)",
        )
    if span.free.shape[1] <= int(span.tangent):
        return []
    projected = _Projected(branch.atoms, span)
    found = []
    # Every evaluation is a pass over all samples: none is wasted.
    for z, b, vector in zeros_below(branch, projected.matrix, 1e-12, 1e-12, narrow=True):
        vector = projected.on_coordinates(vector)
        overlap = projected.overlap(b, z, branch.tangent(b), vector)
        vector = vector.reshape(branch.atoms.m, -1) @ span.free.T
        vector = vector * np.sign(vector.ravel()[np.abs(vector).argmax()])
        found.append((z, overlap, vector))
    return sorted(found, key=lambda item: item[0])
