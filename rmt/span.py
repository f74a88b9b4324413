"""What the weights know of the inputs besides hard directions, and the outliers it causes.

Weights D_i that come out of an algorithm run on the inputs x_i depend on them through

* *coordinates* q of x_i along finitely many directions (orthonormal in input space), and
* *gradients*: the algorithm has evaluated sum_i ghat_i x_i for finitely many ghat, E[ghat ghat^T]
  = I; the inputs across the coordinate directions are those of independent samples, but orthogonal
  to every ghat.

With c(z) real outside the bulk, B = c^{-1} and Y = (B + D)^{-1} (Montanari & Wang,
arXiv:2602.01434; Celentano, Cheng & Montanari, arXiv:2112.07572),

    W = E[Y (x) ghat ghat^T],    U = E[D Y (x) q ghat^T],
    A(z) = E[(D - D Y D) (x) q q^T] + U W^{-1} U^T - z I,             (m K, m K).

A(z) is the inverse of the resolvent of H projected on the coordinate directions: eigenvalues of H
outside the bulk are the zeros of det A, and a null vector u, |u| = 1, gives the squared norm of the
eigenvector's projection, 1 / (- u^T A'(z) u). With X = D Y (x) q - U W^{-1} (Y (x) ghat)

    A'(z) = E[X (dB/dz) X^T] - I <= -I       left of the bulk (dB/dz < 0, Y > 0),

also for the averages over finitely many samples: every eigenvalue of A falls with z, so there are
as many outliers on the left as A has negative eigenvalues at the left edge. The right side is the
left side of -D: A(z; D) = - A(-z; -D).

A hard direction is decoupled from all others by definition (E[z_h | everything else] = 0): its
cross averages are zero, what samples show of them is noise. Hard directions are therefore projected
out here, and treated alone in `rmt.outliers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rmt._packing import Array, Atoms, kernels, packed_index
from rmt._validation import as_array, check_array, check_integer, check_real
from rmt.edges import RealBranch
from rmt.status import NumericalFailure, Status

__all__ = ["Span", "SpanOutlier", "outliers_below"]

_ZERO: Final = 1e-12
# Gradients closer to linear dependence than this cannot be told apart from rounding.
_SMALLEST_GRADIENT: Final = 1e-10
# Coordinates are standard normal up to what the gradients do to them; A loses the digits of others.
_LARGEST_GRAM: Final = 1e10
# What is missing from the span moves an outlier by about as much.
_LARGEST_DEFECT: Final = 1e-4


class Span:
    """Coordinates and gradients that the weights depend on, for all samples.

    Both are given as combinations of the rows of a common basis: q = coordinates @ basis and
    ghat = gradients @ basis. Every average then is a transformation of one weighted Gram matrix.

    Parameters
    ----------
    basis : (rows, N) array, or sequence of (rows, N_b) arrays
        Functions of the sample, one column per weight of the law (in blocks of samples, if a
        sequence). Arrays of float64 are not copied.
    coordinates : (K, rows) array, optional
        Coordinates of a sample along K orthonormal directions of input space; all rows of the
        basis, one by one, if left out.
    gradients : (R, rows) array, optional
        What the algorithm multiplied the inputs with, linearly independent (best orthonormal: E[
        ghat ghat^T] = I). The span of sum_i ghat_i x_i must lie in that of the coordinate
        directions. None by default.
    latent : int, optional
        How many of the leading coordinates are latent directions, for overlaps. 0 by default.
    neurons : (m, K) array, optional
        Current weights of each neuron in the coordinates, for overlaps.
    hard : (K, k_h) array, optional
        Orthonormal columns: the hard directions in the coordinates; ``hard.T @ q`` must be the
        ``hard`` coordinates given to the law. None by default.
    defect : float, optional
        Bound on the weight of directions that were left out of the span. Outliers are reported as
        ILL_CONDITIONED if it exceeds 1e-4.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is not finite; the message names it.

    Examples
    --------
    Weights that depend on one coordinate z of the inputs:

    >>> import numpy as np
    >>> import rmt
    >>> z = np.random.default_rng(0).standard_normal(20000)
    >>> law = rmt.HessianLaw(np.minimum(z**2, 9.0), 4.0, span=rmt.Span(z[None, :]))
    >>> [(o.side, round(o.value, 1), round(o.span_overlap, 1)) for o in law.outliers()]
    [('right', 4.8, 0.4)]
    """

    def __init__(
        self,
        basis: ArrayLike | Sequence[Array],
        coordinates: ArrayLike | None = None,
        gradients: ArrayLike | None = None,
        *,
        latent: int = 0,
        neurons: ArrayLike | None = None,
        hard: ArrayLike | None = None,
        defect: float = 0.0,
    ) -> None:
        self.blocks = _blocks(basis)
        rows = len(self.blocks[0])
        self.coordinates = (
            np.eye(rows) if coordinates is None else _matrix(coordinates, "coordinates", rows)
        )
        self.gradients = (
            np.empty((0, rows)) if gradients is None else _matrix(gradients, "gradients", rows)
        )
        k = len(self.coordinates)
        if k == 0:
            raise ValueError("coordinates must hold at least one row, got none")
        self.latent = check_integer("latent", latent)
        if not 0 <= self.latent <= k:
            raise ValueError(f"latent must be from 0 to {k}, the coordinates, got {latent}")
        self.neurons = None if neurons is None else _matrix(neurons, "neurons", k)
        self.hard = np.empty((k, 0)) if hard is None else _matrix(hard, "hard", None, rows=k)
        gram = self.hard.T @ self.hard
        if np.abs(gram - np.eye(len(gram))).max(initial=0.0) > 1e-8:
            raise ValueError("hard must have orthonormal columns (to 1e-8)")
        unbounded = isinstance(defect, float) and defect == np.inf
        self.defect = np.inf if unbounded else check_real("defect", defect, minimum=0.0)

    @property
    def n_samples(self) -> int:
        """Number N of samples."""
        return sum(block.shape[1] for block in self.blocks)

    @property
    def n_coordinates(self) -> int:
        """Number K of coordinates, hard ones included."""
        return len(self.coordinates)

    @property
    def n_gradients(self) -> int:
        """Number R of gradients."""
        return len(self.gradients)

    def __repr__(self) -> str:
        return (
            f"Span(samples={self.n_samples}, coordinates={self.n_coordinates}, "
            f"gradients={self.n_gradients}, latent={self.latent}, k_hard={self.hard.shape[1]})"
        )

    @cached_property
    def free(self) -> Array:
        """(K, K - k_h) orthonormal columns across the hard ones; unit vectors where possible."""
        k, k_hard = self.hard.shape
        axes = np.flatnonzero(np.all(self.hard == 0.0, axis=1))
        involved = np.flatnonzero(np.any(self.hard != 0.0, axis=1))
        out = np.zeros((k, k - k_hard))
        out[axes, np.arange(len(axes))] = 1.0
        if len(involved) > k_hard:
            frame = np.linalg.qr(self.hard[involved], mode="complete")[0]
            out[involved[:, np.newaxis], np.arange(len(axes), k - k_hard)] = frame[:, k_hard:]
        return out

    def restricted(self, mask: NDArray[np.bool_]) -> Span:
        """Return the span on a subset of the samples; mask has shape (N,)."""
        parts = np.split(mask, np.cumsum([block.shape[1] for block in self.blocks])[:-1])
        chosen = [block[:, part] for block, part in zip(self.blocks, parts, strict=True)]
        return Span(
            [block for block in chosen if block.shape[1]],
            self.coordinates,
            self.gradients,
            latent=self.latent,
            neurons=self.neurons,
            hard=self.hard,
            defect=self.defect,
        )


def _blocks(basis: ArrayLike | Sequence[Array]) -> tuple[Array, ...]:
    several = isinstance(basis, list | tuple) and len(basis) > 0 and _is_matrix(basis[0])
    blocks: Sequence[Any] = basis if several else [basis]  # type: ignore[assignment]
    out: list[Array] = []
    for block in blocks:
        array = as_array("basis", block)
        if array.ndim != 2 or array.size == 0 or (out and len(array) != len(out[0])):
            raise ValueError(f"basis must have shape (rows, N), not empty, got {array.shape}")
        if not np.isfinite(array.sum()) and not np.all(np.isfinite(array)):
            raise ValueError("basis must be finite, got entries that are NaN or infinite")
        out.append(array)
    return tuple(out)


def _is_matrix(block: Any) -> bool:
    try:
        return np.ndim(block) == 2
    except ValueError:  # rows of different lengths
        return False


def _matrix(value: ArrayLike, name: str, columns: int | None, rows: int | None = None) -> Array:
    array = check_array(name, value)
    wrong = array.ndim != 2 or (columns is not None and array.shape[1] != columns)
    if wrong or (rows is not None and array.shape[0] != rows):
        expected = f"({'*' if rows is None else rows}, {'*' if columns is None else columns})"
        raise ValueError(f"{name} must have shape {expected}, got {array.shape}")
    return array


@dataclass(frozen=True)
class SpanOutlier:
    """One zero of det A: position, squared norm of the projection, its direction (m, K)."""

    value: float
    overlap: float
    vector: Array


class _Projected:
    """A(z) on the free coordinates, neuron index first: row j K_free + a."""

    def __init__(self, atoms: Atoms, span: Span) -> None:
        self._atoms = atoms
        self._blocks = span.blocks
        self._index = packed_index(atoms.m)
        self._k = span.free.shape[1]
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

    def _resolvents(self, b: Array, x: Array | None) -> tuple[Array, Array | None]:
        """Packed Y and Y X Y of every atom, (size, n_padded)."""
        y = np.empty_like(self._atoms.d)
        sandwich = None if x is None else np.empty_like(y)
        for packed in self._atoms.moved_inwards(b):
            code = kernels().resolvents(
                packed,
                self._atoms.d,
                np.zeros_like(b) if x is None else np.ascontiguousarray(x),
                y,
                y if sandwich is None else sandwich,
                sandwich is not None,
            )
            if not code:
                return y, sandwich
        raise NumericalFailure(Status.UNRESOLVED, "(B + D > 0 is lost in rounding)")

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

    def _diagonal(self) -> list[bool]:
        rows, cols = np.tril_indices(self._atoms.m)
        return [bool(i == j) for i, j in zip(rows, cols, strict=True)]

    def _averages(self, b: Array, x: Array | None) -> list[tuple[Array, Array, Array]]:
        """Blocks of E[Y (x) ...] and, where x is given, of E[Y x Y (x) ...]; x > 0."""
        diagonal = self._diagonal()
        return [
            self._full(self._gram(packed, diagonal))
            for packed in self._resolvents(b, x)
            if packed is not None
        ]

    def matrix(self, b: Array, z: float) -> Array:
        """A(z) with B = B(z) given."""
        (moments,) = self._averages(b, None)
        return self._assemble(b, z, moments)[0]

    def _assemble(
        self, b: Array, z: float, moments: tuple[Array, Array, Array]
    ) -> tuple[Array, Array]:
        """Put A together; with it W^{-1} U^T."""
        from scipy.linalg import cho_factor, cho_solve

        yqq, yqg, ygg = moments
        k, eye = self._k, np.eye(self._atoms.m)
        frame = np.kron(b, np.eye(k))
        a = np.kron(b, self._plain[:k, :k]) - frame @ yqq @ frame - z * np.eye(len(yqq))
        u = np.kron(eye, self._plain[:k, k:]) - frame @ yqg
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
        moments, (sqq, sqg, sgg) = self._averages(b, -tangent)
        solved = self._assemble(b, z, moments)[1]
        k = self._k
        # E[(X^T u)^T (-B') (X^T u)] with X^T u = u(q) - Y v, u(q) = u q, v = B u q + (W^-1 U^T u)
        # ghat: expanded in the Gram matrices of -B', -B' Y and Y (-B') Y.
        frame, slope = np.kron(b, np.eye(k)), np.kron(-tangent, np.eye(k))
        lifted = frame @ vector
        weights = solved @ vector
        plain = float(vector @ np.kron(-tangent, self._plain[:k, :k]) @ vector)
        cross = float((slope @ vector) @ (moments[0] @ lifted + moments[1] @ weights))
        square = float(lifted @ sqq @ lifted + 2.0 * lifted @ sqg @ weights)
        square += float(weights @ sgg @ weights)
        return 1.0 / (1.0 + max(plain - 2.0 * cross + square, 0.0))


def outliers_below(branch: RealBranch, span: Span) -> list[SpanOutlier]:
    """Outliers left of the bulk outside the hard directions, ascending."""
    from scipy.optimize import brentq

    if span.defect > _LARGEST_DEFECT:
        raise NumericalFailure(
            Status.ILL_CONDITIONED,
            f"(directions of weight up to {span.defect:.1e} are missing from the span)",
        )
    if span.free.shape[1] == 0:
        return []
    atoms, edge = branch.atoms, branch.edge
    projected = _Projected(atoms, span)
    known: dict[float, Array] = {}

    def level(t: float, position: int) -> float:
        if t not in known:
            z, b = branch.descend(t)
            known[t] = np.asarray(np.linalg.eigvalsh(projected.matrix(b, z)))
        return float(known[t][position])

    level(0.0, 0)
    size = abs(edge.value) + float(np.abs(edge.b).max())
    start = size if atoms.m == 1 else float(np.sqrt(size))
    found = []
    for position in range(int(np.count_nonzero(known[0.0] < -_ZERO * size))):
        high = start
        while level(high, position) <= 0.0:
            high *= 2.0
        # The tightest bracket among the points visited for other eigenvalues.
        low = max(t for t, values in known.items() if values[position] < 0.0)
        high = min(t for t, values in known.items() if values[position] > 0.0)
        t = float(brentq(level, low, high, (position,), xtol=1e-12 * high, rtol=1e-12, maxiter=200))
        z, b = branch.descend(t)
        vector = np.linalg.eigh(projected.matrix(b, z))[1][:, position]
        overlap = projected.overlap(b, z, branch.tangent(b), vector)
        vector = vector.reshape(atoms.m, -1) @ span.free.T
        vector = vector * np.sign(vector.ravel()[np.abs(vector).argmax()])
        found.append(SpanOutlier(z, overlap, vector))
    return sorted(found, key=lambda item: item.value)
