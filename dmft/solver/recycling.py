r"""The recycled subspace: recent full passes, by which most evaluations need no other.

A full pass reads the whole basis of the paths, which is large. Along gradient descent, and even
more along the stages of a gradient flow, points and gradients change slowly: the weights B of a
step lie in the span of those of the last few full passes, and its gradients in the span of theirs,
to a small residual. Such a step can be taken from the rows of those passes alone,

    r = sum_i beta_i r^i,   g = sum_i c_i g^i + residual,   E[g q^T] = sum_i c_i E[g^i q^T],

at a cost that does not grow with the rank. The residual is *measured*, over all paths, in every
step: its size bounds what the step truncates, so the same tolerance decides whether the step needs
a full pass after all. (As in Krylov methods with subspace recycling; the space is renewed where it
no longer suffices.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.aligned import aligned_zeros
from dmft.solver.coefficients import widened

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    Blocks = list[FloatArray]

__all__ = ["HISTORY_LENGTH", "GradientHistory", "History", "RecycledSubspace"]

# Full passes kept. Smooth gradients need few; each one more costs something in every step.
HISTORY_LENGTH = 20
# Singular values of the coefficients below this, relative to the largest, are rounding.
_SPAN_TOLERANCE = 1e-12
# The residual of a row is rounding below this, relative to the row.
_NEGLIGIBLE = 1e-13
# Rows may not cancel beyond this in a combination: it would lose as many digits.
_CANCELLATION = 1e5


class RecycledSubspace:
    """Points and gradients of the last full passes, on all paths, with their coefficients.

    Parameters
    ----------
    m : int
        Number of neurons.
    block_sizes : list of int
        Paths of each block.

    Attributes
    ----------
    points : History
        Pre-activations of the last pass, then directional pre-activations ``grad . q`` along the
        gradients, each with its weights in the coordinates q.
    gradients : GradientHistory
        Gradients, with their coefficients in the basis of the paths.
    """

    def __init__(self, m: int, block_sizes: list[int]) -> None:
        self.points = History(HISTORY_LENGTH * m, block_sizes, reserved=m)
        self.gradients = GradientHistory(HISTORY_LENGTH * m, block_sizes)
        self._m = m
        self._last: list[FloatArray] = []
        self._passes: list[tuple[int, NDArray[np.intp]]] = []

    def clear(self) -> None:
        """Empty it."""
        self.points.clear()
        self.gradients.clear()
        self._last = []
        self._passes = []

    def state(self) -> dict[str, Any]:
        """Return everything held, in what ``dmft.io.snapshots.pack`` accepts."""
        return {
            "points": self.points.state(),
            "gradients": self.gradients.state(),
            "last": self._last,
            "passes": self._passes,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`."""
        self.points.restore(state["points"])
        self.gradients.restore(state["gradients"])
        self._last = state["last"]
        self._passes = state["passes"]

    def represent(self, weights: FloatArray, tolerance: float) -> FloatArray | None:
        """Represent a new point by weights ``beta`` of the points held, None outside their span.

        Parameters
        ----------
        weights : ndarray, shape (m, n_coordinates)
        tolerance : float
            Distance from the span that is allowed; at least rounding.

        Returns
        -------
        ndarray, shape (m, number of points), or None
        """
        if not self._passes:
            return None
        along, rest = self.points.split(weights)
        size = float(np.linalg.norm(weights))
        if float(np.linalg.norm(rest)) > max(tolerance, _SPAN_TOLERANCE * size):
            return None
        beta = self.points.weights_of(along)
        return beta if np.abs(beta).sum() <= _CANCELLATION else None

    def predictor(self) -> FloatArray:
        """Predict the weights ``c`` of the next gradients, (m, gradients held).

        Linear extrapolation of the last two evaluations.
        """
        if not self._last:
            return np.zeros((self._m, self.gradients.n_rows))
        if len(self._last) == 1:
            return self._last[0]
        newer, older = self._last
        return np.asarray(2.0 * newer - older)

    def predictor_for_pass(self, number: int) -> tuple[FloatArray, NDArray[np.intp]]:
        """Predict the gradients of a full pass by those of the last two in the history.

        The weights are small: a gradient in the history passes on the rounding errors of those it
        was predicted with, and larger weights would let them grow exponentially.

        Parameters
        ----------
        number : int
            Of the evaluation.

        Returns
        -------
        ndarray, shape (m, j), and ndarray of int, shape (j,)
            Weights of some of the gradients held, and which these are.
        """
        unit = np.eye(self._m)
        if not self._passes:
            return unit[:, :0], np.empty(0, dtype=np.intp)
        newer, slots = self._passes[0]
        if len(self._passes) == 1:
            return unit, slots
        older, before = self._passes[1]
        beyond = min((number - newer) / (newer - older), 1.0)
        weights = np.concatenate([(1.0 + beyond) * unit, -beyond * unit], axis=1)
        return weights, np.concatenate([slots, before])

    def record(self, c: FloatArray) -> None:
        """Record the gradients of an evaluation from the subspace, (m, gradients held)."""
        self._last = [c, *self._last[:1]]

    def record_pass(
        self, number: int, coefficients: FloatArray, rows: Blocks, residuals: Blocks | None
    ) -> None:
        """Add the gradients of a full pass.

        Parameters
        ----------
        number : int
            Of the evaluation.
        coefficients : ndarray, shape (m, n_rows)
            In the basis of the paths.
        rows, residuals : list of ndarray, shape (m, paths of the block)
            The gradients, and their residuals outside the basis; None for zero.
        """
        slots = self.gradients.add_with_residuals(coefficients, rows, residuals)
        self._passes = [(number, slots), *self._passes[:1]]
        n_rows = self.gradients.n_rows
        unit = np.zeros((self._m, n_rows))
        unit[np.arange(self._m), slots] = 1.0
        older = []
        for c in self._last[:1]:
            c = widened(c, n_rows)
            if not c[:, slots].any():
                older = [c]
        self._last = [unit, *older]


class History:
    """A ring buffer of rows over all paths, with their coefficient vectors.

    Parameters
    ----------
    length : int
        Rows held; a newer one replaces the oldest.
    block_sizes : list of int
    reserved : int
        Rows in front of the ring, which are replaced together.

    Attributes
    ----------
    rows : list of ndarray, shape (reserved + length, paths of the block)
        The first ``n_rows`` are in use.
    """

    def __init__(self, length: int, block_sizes: list[int], reserved: int = 0) -> None:
        self.rows = [aligned_zeros((reserved + length, size)) for size in block_sizes]
        self.n_rows = reserved
        self._length = length
        self._reserved = reserved
        self._next = 0
        self._vectors: list[FloatArray] = [np.zeros(0)] * reserved
        # Computed of the vectors when asked for, until these change.
        self._factors: tuple[FloatArray, FloatArray, FloatArray] | None = None
        self._tables: dict[int, FloatArray] = {}
        self._widened: dict[int, FloatArray] = {}

    def clear(self) -> None:
        """Empty it but for the reserved rows."""
        self.n_rows = self._reserved
        self._next = 0
        self._vectors = [np.zeros(0)] * self._reserved
        self._forget()

    def state(self) -> dict[str, Any]:
        """Return everything held, in what ``dmft.io.snapshots.pack`` accepts."""
        rows = [rows[: self.n_rows] for rows in self.rows]
        return {"rows": rows, "vectors": self._vectors, "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`."""
        self._vectors = state["vectors"]
        self._next = state["next"]
        self.n_rows = len(self._vectors)
        self._forget()
        for own, rows in zip(self.rows, state["rows"], strict=True):
            own[: self.n_rows] = rows

    def add(self, vectors: FloatArray, rows: Blocks) -> NDArray[np.intp]:
        """Add rows with their coefficients; returns the slots they went to."""
        slots = (self._next + np.arange(len(vectors))) % self._length
        self._next = int(slots[-1] + 1) % self._length
        slots += self._reserved
        for own, new in zip(self.rows, rows, strict=True):
            own[slots] = new
        for slot, vector in zip(slots, vectors.copy(), strict=True):
            if slot < len(self._vectors):
                self._vectors[slot] = vector
            else:
                self._vectors.append(vector)
        self.n_rows = len(self._vectors)
        self._forget()
        return slots

    def replace_reserved(self, vectors: FloatArray, rows: Blocks) -> None:
        """Replace the reserved rows and their coefficients."""
        for own, new in zip(self.rows, rows, strict=True):
            own[: self._reserved] = new
        self._vectors[: self._reserved] = list(vectors.copy())
        self._forget()

    def combine(
        self, weights: FloatArray, width: int, chosen: NDArray[np.intp] | None = None
    ) -> FloatArray:
        """Return coefficients of a combination of (chosen) rows: (j, n_rows) -> (j, width)."""
        if chosen is None:
            return np.asarray(weights @ self._table(width))
        out = np.zeros((len(weights), width))
        for slot, column in zip(chosen, weights.T, strict=True):
            vector = self._vectors[slot]
            out[:, : len(vector)] += column[:, np.newaxis] * vector
        return out

    def split(self, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Split vectors into components along an orthonormal basis of those held, and residuals."""
        width = vectors.shape[1]
        _, _, right = self._svd()
        if width not in self._widened:
            self._widened = {width: widened(right, width)}
        right = self._widened[width]
        along = vectors @ right.T
        rest = vectors - along @ right
        again = rest @ right.T
        return along + again, rest - again @ right

    def weights_of(self, along: FloatArray) -> FloatArray:
        """Return weights of the rows from components of `split`: (j, dim) -> (j, n_rows)."""
        left, sizes, _ = self._svd()
        return np.asarray((along / sizes) @ left.T)

    def along(self, products: FloatArray) -> FloatArray:
        """Turn averages with the rows into components of `split`: (j, n_rows) -> (j, dim)."""
        left, sizes, _ = self._svd()
        return np.asarray((products @ left) / sizes)

    def _forget(self) -> None:
        """Forget what was computed of the vectors: they change."""
        self._factors = None
        self._tables = {}
        self._widened = {}

    def _width(self) -> int:
        return max(len(vector) for vector in self._vectors)

    def _table(self, width: int) -> FloatArray:
        if width not in self._tables:
            table = np.zeros((self.n_rows, width))
            for row, vector in zip(table, self._vectors, strict=True):
                row[: len(vector)] = vector
            self._tables = {width: table}
        return self._tables[width]

    def _vectors_to_factor(self) -> FloatArray:
        """Return vectors with the inner products of the rows."""
        return self._table(self._width())

    def _svd(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Factor ``vectors = left @ diag(sizes) @ right``, without sizes that are rounding."""
        if self._factors is None:
            vectors = self._vectors_to_factor()
            left, sizes, right = np.linalg.svd(vectors, full_matrices=False)
            kept = sizes > _SPAN_TOLERANCE * sizes[0]
            self._factors = left[:, kept], sizes[kept], right[kept]
        return self._factors


class GradientHistory(History):
    """A history of gradients with their residuals outside the basis.

    What a tolerance truncates of one gradient is still there in the next. It is tracked, so that it
    is seen when it has grown to a direction worth keeping, and innovations are told from it.

    Parameters
    ----------
    length : int
    block_sizes : list of int

    Attributes
    ----------
    residuals : list of ndarray, shape (length, paths of the block)
        Components of the rows outside the basis.
    """

    def __init__(self, length: int, block_sizes: list[int]) -> None:
        super().__init__(length, block_sizes)
        self.residuals = [aligned_zeros((length, size)) for size in block_sizes]
        self._n_paths = sum(block_sizes)
        self._gram = np.zeros((length, length))
        self._squares = np.zeros(length)
        self._root: FloatArray | None = None

    @property
    def has_residuals(self) -> bool:
        """Whether any residual is not zero."""
        n = self.n_rows
        return bool(self._gram[:n, :n].any())

    def state(self) -> dict[str, Any]:
        """Return everything held, in what ``dmft.io.snapshots.pack`` accepts."""
        residuals = [rows[: self.n_rows] for rows in self.residuals]
        return {
            **super().state(),
            "residuals": residuals,
            "gram": self._gram,
            "squares": self._squares,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`."""
        super().restore(state)
        self._gram = state["gram"]
        self._squares = state["squares"]
        self._root = None
        for own, rows in zip(self.residuals, state["residuals"], strict=True):
            own[: self.n_rows] = rows

    def clear(self) -> None:
        """Empty it."""
        super().clear()
        self._gram[:] = 0.0
        self._squares[:] = 0.0
        self._root = None

    def add_with_residuals(
        self, vectors: FloatArray, rows: Blocks, residuals: Blocks | None
    ) -> NDArray[np.intp]:
        """`add`, with the residuals of the rows outside the basis; None where they are zero."""
        slots = self.add(vectors, rows)
        n = self.n_rows
        products = np.zeros((len(slots), n))
        if residuals is None:
            for own in self.residuals:
                own[slots] = 0.0
        else:
            for own, new in zip(self.residuals, residuals, strict=True):
                own[slots] = new
                products += own[slots] @ own[:n].T
            products /= self._n_paths
        self._gram[slots, :n] = products
        self._gram[:n, slots] = products.T
        for slot, vector in zip(slots, vectors, strict=True):
            self._squares[slot] = vector @ vector
        self._clear_rounding()
        return slots

    def project_onto_new(self, new: Blocks, first: int) -> None:
        """Move components of the residuals along new rows of the basis, from index ``first`` on."""
        n, width = self.n_rows, first + len(new[0])
        if not n or width == first or not self.has_residuals:
            return  # vectors may be shorter than the basis: they have nothing along its later rows
        products = np.zeros((n, len(new[0])))
        for rest, rows in zip(self.residuals, new, strict=True):
            products += rest[:n] @ rows.T
        products /= self._n_paths
        for rest, rows in zip(self.residuals, new, strict=True):
            rest[:n] -= products @ rows
        for slot, vector in enumerate(self._vectors):
            longer = np.zeros(width)
            longer[: len(vector)] = vector
            longer[first:] += products[slot]
            self._vectors[slot] = longer
        self._gram[:n, :n] -= products @ products.T
        self._clear_rounding()

    def residual_squares(self, weights: FloatArray) -> FloatArray:
        """Return the mean squares of the residuals of combinations: (j, n_rows) -> (j,)."""
        return np.asarray(np.sum((weights @ self._residual_root()) ** 2, axis=1))

    def _clear_rounding(self) -> None:
        """Set residuals to exactly zero where they are rounding.

        Every further pass would make it smaller still, down to subnormal numbers.
        """
        n = self.n_rows
        left = self._gram.diagonal()[:n]
        negligible = np.flatnonzero((left <= _NEGLIGIBLE**2 * self._squares[:n]) & (left != 0.0))
        if len(negligible):
            for rest in self.residuals:
                rest[negligible] = 0.0
            self._gram[negligible] = 0.0
            self._gram[:, negligible] = 0.0
        self._root = None
        self._forget()

    def _residual_root(self) -> FloatArray:
        """Return a root of the Gram matrix of the residuals."""
        if self._root is None:
            values, vectors = np.linalg.eigh(self._gram[: self.n_rows, : self.n_rows])
            self._root = vectors * np.sqrt(np.maximum(values, 0.0))
        return self._root

    def _vectors_to_factor(self) -> FloatArray:
        return np.concatenate([super()._vectors_to_factor(), self._residual_root()], axis=1)
