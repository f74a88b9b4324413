r"""The window: the last visits to the paths, by which most steps need no other.

A visit reads the whole basis of the paths, which is large. Along gradient descent, and even more
along the stages of a gradient flow, points and gradients change slowly: the weights B of a step lie
in the span of those of the last few visits, and its gradients in the span of theirs, to a small
rest. Such a step can be taken from the rows of those visits alone,

    r = sum_i beta_i r^i,     g = sum_i c_i g^i + rest,     E[g q^T] = sum_i c_i E[g^i q^T],

at a cost that does not grow with the rank. The rest is *measured*, over all paths, in every step:
its size bounds what the step leaves out, so the same tolerance decides whether the step needs a
visit after all. (The window is a Krylov space, renewed where it no longer suffices.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.aligned import aligned_zeros

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    Blocks = list[FloatArray]

__all__ = ["WINDOW_LENGTH", "Window", "widened"]

# Visits remembered. Smooth gradients need few; each one more costs something in every step.
WINDOW_LENGTH = 20
# Directions of the remembered coefficients below this, relative to the largest, are rounding.
_SPAN_TOLERANCE = 1e-12
# What a basis leaves of a row is rounding below this, relative to the row.
_NOTHING = 1e-13
# Remembered rows may not cancel beyond this in a combination: it would lose as many digits.
_CANCELLATION = 1e5


class Window:
    """Points and gradients of the last visits, on all paths, with their coefficients.

    Parameters
    ----------
    m : int
        Number of neurons.
    block_sizes : list of int
        Paths of each block.

    Attributes
    ----------
    points : Remembered
        The pre-activations of the last visit, then ``grad . q`` for the gradients, each with its
        weights in the coordinates q.
    gradients : RememberedGradients
        Gradients, with their coefficients in the basis of the paths.
    """

    def __init__(self, m: int, block_sizes: list[int]) -> None:
        self.points = Remembered(WINDOW_LENGTH * m, block_sizes, reserved=m)
        self.gradients = RememberedGradients(WINDOW_LENGTH * m, block_sizes)
        self._m = m
        self._recent: list[FloatArray] = []
        self._visits: list[tuple[int, NDArray[np.intp]]] = []

    def clear(self) -> None:
        """Forget everything."""
        self.points.clear()
        self.gradients.clear()
        self._recent = []
        self._visits = []

    def state(self) -> dict[str, Any]:
        """Everything remembered, in what ``dmft.io.snapshots.pack`` accepts."""
        return {
            "points": self.points.state(),
            "gradients": self.gradients.state(),
            "recent": self._recent,
            "visits": self._visits,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`."""
        self.points.restore(state["points"])
        self.gradients.restore(state["gradients"])
        self._recent = state["recent"]
        self._visits = state["visits"]

    def represent(self, weights: FloatArray, tolerance: float) -> FloatArray | None:
        """Weights ``beta`` of the remembered points for a new one, None outside their span.

        Parameters
        ----------
        weights : ndarray, shape (m, n_coordinates)
        tolerance : float
            Distance from the span that is allowed; at least rounding.

        Returns
        -------
        ndarray, shape (m, remembered points), or None
        """
        if not self._visits:
            return None
        along, rest = self.points.split(weights)
        size = float(np.linalg.norm(weights))
        if float(np.linalg.norm(rest)) > max(tolerance, _SPAN_TOLERANCE * size):
            return None
        beta = self.points.weights_of(along)
        return beta if np.abs(beta).sum() <= _CANCELLATION else None

    def forecast(self) -> FloatArray:
        """Guess the weights ``c`` of the next gradients, (m, remembered gradients).

        From those of the last two evaluations.
        """
        if not self._recent:
            return np.zeros((self._m, self.gradients.n_rows))
        if len(self._recent) == 1:
            return self._recent[0]
        newer, older = self._recent
        return np.asarray(2.0 * newer - older)

    def forecast_for_visit(self, time: int) -> tuple[FloatArray, NDArray[np.intp]]:
        """`forecast` for an evaluation that may be remembered, by the last two that are.

        Its weights are small: a remembered gradient passes on the rounding errors of those it was
        forecast with, and larger weights would let them grow exponentially.

        Parameters
        ----------
        time : int
            Number of the evaluation.

        Returns
        -------
        ndarray, shape (m, j), and ndarray of int, shape (j,)
            Weights of some of the remembered gradients, and which these are.
        """
        unit = np.eye(self._m)
        if not self._visits:
            return unit[:, :0], np.empty(0, dtype=np.intp)
        newer, slots = self._visits[0]
        if len(self._visits) == 1:
            return unit, slots
        older, before = self._visits[1]
        beyond = min((time - newer) / (newer - older), 1.0)
        weights = np.concatenate([(1.0 + beyond) * unit, -beyond * unit], axis=1)
        return weights, np.concatenate([slots, before])

    def found(self, c: FloatArray) -> None:
        """Take note of the gradients of an evaluation without a visit, (m, gradients)."""
        self._recent = [c, *self._recent[:1]]

    def remember(
        self, time: int, coefficients: FloatArray, rows: Blocks, outside: Blocks | None
    ) -> None:
        """Add the gradients of a visit.

        Parameters
        ----------
        time : int
            Number of the evaluation.
        coefficients : ndarray, shape (m, n_rows)
            In the basis of the paths.
        rows, outside : list of ndarray, shape (m, paths of the block)
            The gradients, and what of them lies outside the span of the basis; None for nothing.
        """
        slots = self.gradients.add_with_rest(coefficients, rows, outside)
        self._visits = [(time, slots), *self._visits[:1]]
        n_rows = self.gradients.n_rows
        unit = np.zeros((self._m, n_rows))
        unit[np.arange(self._m), slots] = 1.0
        older = []
        for c in self._recent[:1]:
            c = widened(c, n_rows)
            if not c[:, slots].any():
                older = [c]
        self._recent = [unit, *older]


class Remembered:
    """A ring of rows over all paths, with their coefficient vectors.

    Parameters
    ----------
    length : int
        Rows remembered; a newer one replaces the oldest.
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
        self._factors: tuple[FloatArray, FloatArray, FloatArray] | None = None

    def clear(self) -> None:
        """Forget everything but that rows are reserved."""
        self.n_rows = self._reserved
        self._next = 0
        self._vectors = [np.zeros(0)] * self._reserved
        self._factors = None

    def state(self) -> dict[str, Any]:
        """Everything remembered, in what ``dmft.io.snapshots.pack`` accepts."""
        rows = [rows[: self.n_rows] for rows in self.rows]
        return {"rows": rows, "vectors": self._vectors, "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`."""
        self._vectors = state["vectors"]
        self._next = state["next"]
        self.n_rows = len(self._vectors)
        self._factors = None
        for own, rows in zip(self.rows, state["rows"], strict=True):
            own[: self.n_rows] = rows

    def add(self, vectors: FloatArray, rows: Blocks) -> NDArray[np.intp]:
        """Remember rows with their coefficients; returns the slots they went to."""
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
        self._factors = None
        return slots

    def replace_reserved(self, vectors: FloatArray, rows: Blocks) -> None:
        """Replace the reserved rows and their coefficients."""
        for own, new in zip(self.rows, rows, strict=True):
            own[: self._reserved] = new
        self._vectors[: self._reserved] = list(vectors.copy())
        self._factors = None

    def combine(
        self, weights: FloatArray, width: int, chosen: NDArray[np.intp] | None = None
    ) -> FloatArray:
        """Coefficients of a combination of (chosen) rows: (j, n_rows) -> (j, width)."""
        if chosen is None:
            return np.asarray(weights @ self._table(width))
        out = np.zeros((len(weights), width))
        for slot, column in zip(chosen, weights.T, strict=True):
            vector = self._vectors[slot]
            out[:, : len(vector)] += column[:, np.newaxis] * vector
        return out

    def split(self, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Part of some vectors along an orthonormal basis of the remembered ones, and the rest."""
        _, _, right = self._svd()
        right = widened(right, vectors.shape[1])
        along = vectors @ right.T
        rest = vectors - along @ right
        again = rest @ right.T
        return along + again, rest - again @ right

    def weights_of(self, along: FloatArray) -> FloatArray:
        """Weights of the rows that give a combination of that basis: (j, dim) -> (j, n_rows)."""
        left, sizes, _ = self._svd()
        return np.asarray((along / sizes) @ left.T)

    def along(self, products: FloatArray) -> FloatArray:
        """Averages with that basis from averages with the rows: (j, n_rows) -> (j, dim)."""
        left, sizes, _ = self._svd()
        return np.asarray((products @ left) / sizes)

    def _width(self) -> int:
        return max(len(vector) for vector in self._vectors)

    def _table(self, width: int) -> FloatArray:
        table = np.zeros((self.n_rows, width))
        for row, vector in zip(table, self._vectors, strict=True):
            row[: len(vector)] = vector
        return table

    def _vectors_to_factor(self) -> FloatArray:
        """Vectors with the inner products of the rows."""
        return self._table(self._width())

    def _svd(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return ``vectors = left @ diag(sizes) @ right``, without what is rounding."""
        if self._factors is None:
            vectors = self._vectors_to_factor()
            left, sizes, right = np.linalg.svd(vectors, full_matrices=False)
            kept = sizes > _SPAN_TOLERANCE * sizes[0]
            self._factors = left[:, kept], sizes[kept], right[kept]
        return self._factors


class RememberedGradients(Remembered):
    """Gradients, whose parts outside the span of the basis are remembered too.

    What a tolerance leaves out of one gradient is still there in the next. It is followed, so that
    it can be told when it has grown to a direction worth keeping, and what is new from what is not.

    Parameters
    ----------
    length : int
    block_sizes : list of int

    Attributes
    ----------
    outside : list of ndarray, shape (length, paths of the block)
        What of the rows lies outside the span of the basis.
    """

    def __init__(self, length: int, block_sizes: list[int]) -> None:
        super().__init__(length, block_sizes)
        self.outside = [aligned_zeros((length, size)) for size in block_sizes]
        self._n_paths = sum(block_sizes)
        self._gram = np.zeros((length, length))
        self._squares = np.zeros(length)
        self._root: FloatArray | None = None

    @property
    def has_outside(self) -> bool:
        """Whether anything lies outside."""
        n = self.n_rows
        return bool(self._gram[:n, :n].any())

    def state(self) -> dict[str, Any]:
        """Everything remembered, in what ``dmft.io.snapshots.pack`` accepts."""
        outside = [rows[: self.n_rows] for rows in self.outside]
        return {
            **super().state(),
            "outside": outside,
            "gram": self._gram,
            "squares": self._squares,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`."""
        super().restore(state)
        self._gram = state["gram"]
        self._squares = state["squares"]
        self._root = None
        for own, rows in zip(self.outside, state["outside"], strict=True):
            own[: self.n_rows] = rows

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        self._gram[:] = 0.0
        self._squares[:] = 0.0
        self._root = None

    def add_with_rest(
        self, vectors: FloatArray, rows: Blocks, outside: Blocks | None
    ) -> NDArray[np.intp]:
        """`add`, with the parts of the rows outside the span; None where there are none."""
        slots = self.add(vectors, rows)
        n = self.n_rows
        products = np.zeros((len(slots), n))
        if outside is None:
            for own in self.outside:
                own[slots] = 0.0
        else:
            for own, new in zip(self.outside, outside, strict=True):
                own[slots] = new
                products += own[slots] @ own[:n].T
            products /= self._n_paths
        self._gram[slots, :n] = products
        self._gram[:n, slots] = products.T
        for slot, vector in zip(slots, vectors, strict=True):
            self._squares[slot] = vector @ vector
        self._forget_rounding()
        return slots

    def basis_has_grown(self, new: Blocks, first: int) -> None:
        """Take new rows of the basis, the first of which has index ``first``, into account."""
        n, width = self.n_rows, first + len(new[0])
        if not n or width == first or not self.has_outside:
            return  # vectors may be shorter than the basis: they have nothing along its later rows
        products = np.zeros((n, len(new[0])))
        for rest, rows in zip(self.outside, new, strict=True):
            products += rest[:n] @ rows.T
        products /= self._n_paths
        for rest, rows in zip(self.outside, new, strict=True):
            rest[:n] -= products @ rows
        for slot, vector in enumerate(self._vectors):
            longer = np.zeros(width)
            longer[: len(vector)] = vector
            longer[first:] += products[slot]
            self._vectors[slot] = longer
        self._gram[:n, :n] -= products @ products.T
        self._forget_rounding()

    def outside_of(self, weights: FloatArray) -> FloatArray:
        """Squared norm of what lies outside the span, of combinations: (j, n_rows) -> (j,)."""
        return np.asarray(np.sum((weights @ self._outside_root()) ** 2, axis=1))

    def _forget_rounding(self) -> None:
        """Set what lies outside to exactly nothing where it is rounding.

        Every further pass would make it smaller still, down to subnormal numbers.
        """
        n = self.n_rows
        left = self._gram.diagonal()[:n]
        nothing = np.flatnonzero((left <= _NOTHING**2 * self._squares[:n]) & (left != 0.0))
        if len(nothing):
            for rest in self.outside:
                rest[nothing] = 0.0
            self._gram[nothing] = 0.0
            self._gram[:, nothing] = 0.0
        self._root = None
        self._factors = None

    def _outside_root(self) -> FloatArray:
        """Root of the Gram matrix of what lies outside."""
        if self._root is None:
            values, vectors = np.linalg.eigh(self._gram[: self.n_rows, : self.n_rows])
            self._root = vectors * np.sqrt(np.maximum(values, 0.0))
        return self._root

    def _vectors_to_factor(self) -> FloatArray:
        return np.concatenate([super()._vectors_to_factor(), self._outside_root()], axis=1)


def widened(rows: FloatArray, width: int) -> FloatArray:
    """Append zeros to rows, up to a width."""
    if rows.shape[1] == width:
        return rows
    out = np.zeros((len(rows), width))
    out[:, : rows.shape[1]] = rows
    return out
