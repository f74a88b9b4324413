r"""An orthonormal basis of rows over the paths, extended by block Gram-Schmidt.

The rows ``w`` (the only large array, rows x paths) are orthonormal *as sample averages*, to
rounding: ``E[w w^T] = I``. Nothing here knows what they stand for.

A *full pass* reads every row once, in slices that stay in cache, and does to a slice all that is to
be done: it writes rows that are pending from the step before, reorthogonalises those measured in
the last pass, combines rows, and averages products with them (``begin_pass``, the kernels,
``end_pass``). Everything else that reads the basis first writes what is pending.

Paths are stored in blocks. Work on different blocks may run on different threads; sums over blocks
are always taken in the same order, so the bits do not depend on how many there are.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.aligned import aligned_empty, padded_rows
from dmft.solver.residuals import ExplicitResiduals, PendingRows, Reorthogonalisation
from dmft.solver.state import fields_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from dmft._numerics.kernels import BasisUpdate
    from dmft._numerics.workers import Mapper
    from dmft.solver.residuals import Residuals

    FloatArray = NDArray[np.float64]
    Blocks = list[FloatArray]

__all__ = ["SECOND_PASS_BELOW", "SPAN_TOLERANCE", "FullPass", "OrthonormalBasis", "row_space"]

# A component of a row smaller than this, relative to the row, is rounding: it lies in the span.
SPAN_TOLERANCE = 1e-13
# Kahan's criterion: one Gram-Schmidt pass suffices when no more than this much of a row was lost.
# Every row passes on the errors of the earlier ones, enlarged by what it lost: a weaker criterion
# lets them grow exponentially.
SECOND_PASS_BELOW = 0.5
_GROWTH = 1.5


@dataclass(frozen=True, eq=False)
class FullPass:
    """Changes that a full pass makes to the basis before it uses it, and the combinations it makes.

    Attributes
    ----------
    stacked : ndarray, shape (reorthogonalised rows + new rows + m, n_stored)
        Combinations of the rows stored so far.
    reorthogonalised, checked : ndarray of int
    from_rows : ndarray, shape (new rows, j)
    of_new : ndarray, shape (m, new rows)
    rows : list of ndarray
    n_stored : int
        See ``dmft._numerics.kernels.BasisUpdate``.
    """

    stacked: FloatArray
    reorthogonalised: NDArray[np.intp]
    checked: NDArray[np.intp]
    from_rows: FloatArray
    of_new: FloatArray
    rows: Blocks
    n_stored: int

    def update(self, block: int) -> BasisUpdate:
        """Return the changes on a block, for the kernels."""
        from dmft._numerics.kernels import BasisUpdate

        return BasisUpdate(
            self.stacked,
            self.reorthogonalised,
            self.from_rows,
            self.rows[block],
            self.checked,
            self.n_stored,
        )


class OrthonormalBasis:
    """Rows over all paths, orthonormal as sample averages.

    Parameters
    ----------
    block_sizes : list of int
        Paths of each block.
    run : callable
        ``map``, or a pool's ``map`` to work on the blocks concurrently.
    capacity : int
        Rows to reserve memory for; it grows when needed,
    max_rows : int
        to no more than these.

    Attributes
    ----------
    n_rows : int
        Rows in use.
    n_paths : int
    max_rows : int
        As given.
    padded : list of ndarray
        The rows of each block for compiled kernels, with more columns than there are paths.
    """

    def __init__(
        self,
        block_sizes: list[int],
        run: Mapper = map,
        capacity: int = 128,
        max_rows: int = sys.maxsize,
    ) -> None:
        self.n_rows = 0
        self.n_paths = sum(block_sizes)
        self.max_rows = max_rows
        self._run = run
        self.padded = [padded_rows(capacity, size) for size in block_sizes]
        self._blocks = [
            padded[:, :size] for padded, size in zip(self.padded, block_sizes, strict=True)
        ]
        self._pending: PendingRows | None = None
        self._reorthogonalisation: Reorthogonalisation | None = None

    # -- reading -----------------------------------------------------------------------------

    @property
    def n_stored(self) -> int:
        """Rows that are written."""
        pending = 0 if self._pending is None else len(self._pending.from_rows)
        return self.n_rows - pending

    @property
    def capacity(self) -> int:
        """Rows that memory is reserved for."""
        return len(self._blocks[0])

    @property
    def n_blocks(self) -> int:
        """Number of blocks of paths."""
        return len(self._blocks)

    def rows(self, block: int) -> FloatArray:
        """Return the rows on a block, (n_rows, paths of the block); a view."""
        self.write_pending()
        return self._blocks[block][: self.n_rows]

    def blocks(self, n_rows: int) -> Blocks:
        """Return the first rows on every block; views."""
        self.write_pending()
        return [block[:n_rows] for block in self._blocks]

    def combine(self, coefficients: FloatArray, block: int) -> FloatArray:
        """Combine rows on a block: (j, n_rows) -> (j, paths of the block)."""
        from dmft._numerics.kernels import combine_kernel

        self.write_pending()
        combined = np.empty((len(coefficients), self._blocks[block].shape[1]))
        combine_kernel(coefficients, self.padded[block], self.n_rows, combined)
        return combined

    def products(self, rows: FloatArray, block: int) -> FloatArray:
        """Sum products of rows with the basis over a block: (j, paths) -> (j, n_rows)."""
        from dmft._numerics.kernels import average_kernel

        self.write_pending()
        products = np.empty((len(rows), self.n_rows))
        average_kernel(rows, self.padded[block], self.n_rows, products)
        return products

    def average(self, of_block: Callable[[int], FloatArray]) -> FloatArray:
        """Average over paths a quantity summed within each block, in a fixed order."""
        total = sum(self._run(of_block, range(self.n_blocks)))
        return np.asarray(total / self.n_paths)

    # -- full passes -------------------------------------------------------------------------

    def begin_pass(self, coefficients: FloatArray) -> FullPass:
        """Prepare a full pass that combines rows of the basis, (m, n_rows)."""
        nothing = np.empty(0, dtype=np.intp)
        checked, from_rows, rows = nothing, np.empty((0, 0)), [np.empty((0, 0))] * self.n_blocks
        n_stored = self.n_stored
        of_new = np.ascontiguousarray(coefficients[:, n_stored:])
        stacked = np.ascontiguousarray(coefficients[:, :n_stored])
        if self._pending is not None:
            checked, from_rows = self._pending.checked, self._pending.from_rows
            rows = self._pending.rows
            stacked = np.concatenate([self._pending.from_basis, stacked])
        again = nothing
        if self._reorthogonalisation is not None:
            again, matrix = self._reorthogonalisation.rows, self._reorthogonalisation.matrix
            stacked = np.concatenate([matrix, self._reorthogonalisation.of_stored(stacked)])
        return FullPass(stacked, again, checked, from_rows, of_new, rows, n_stored)

    def end_pass(self, full_pass: FullPass, products: FloatArray) -> FloatArray:
        """Record that a full pass has been over every block.

        Takes the averages over paths of its products, those of the rows checked last, and returns
        the others with the orthonormal basis.
        """
        self._pending = self._reorthogonalisation = None
        n_checked = len(full_pass.checked)
        if not n_checked:
            return products
        kept = len(products) - n_checked
        self._reorthogonalisation = Reorthogonalisation.of(full_pass.checked, products[kept:])
        return self._reorthogonalisation.of_basis(products[:kept])

    def write_pending(self) -> None:
        """Write pending rows, and reorthogonalise those that need it.

        A full pass does it at no cost. Not to be called by concurrent threads unless there is
        nothing to do.
        """
        from dmft._numerics.kernels import write_kernel

        while self._pending is not None or self._reorthogonalisation is not None:
            full_pass = self.begin_pass(np.empty((0, self.n_rows)))

            def write(b: int, full_pass: FullPass = full_pass) -> FloatArray:
                products = np.empty((len(full_pass.checked), self.n_rows))
                n = self._blocks[b].shape[1]
                write_kernel(full_pass.update(b), self.padded[b], n, products)
                return products

            self.end_pass(full_pass, self.average(write))

    # -- growing -----------------------------------------------------------------------------

    def explicit_residuals(self, rows: Blocks) -> ExplicitResiduals:
        """Return residuals of rows that are orthogonal to the basis, to be appended to it."""
        return ExplicitResiduals(rows, self._blocks, self.n_rows)

    def append(self, residuals: Residuals, row: int, norm: float) -> None:
        """Append the residual of a row, divided by its norm."""
        if self.n_rows == self.capacity:
            self._grow()
        residuals.append(row, norm)
        self.n_rows += 1

    def postpone(self, pending: PendingRows) -> None:
        """Leave the rows just appended in Gram space to the next full pass."""
        self._pending = pending

    def project_out(
        self, rows: Blocks, gradients: FloatArray, others: FloatArray, parts: FloatArray
    ) -> tuple[FloatArray, Blocks]:
        """Subtract the components of rows along the basis.

        A second pass follows where the first cancelled most of one of the first m rows: its
        rounding errors would otherwise leave the residual far from orthogonal. The other rows,
        fresh Gaussians, lose next to nothing.

        Parameters
        ----------
        rows : list of ndarray, shape (>= m + j, paths of the block)
            Changed.
        gradients, others : ndarray, shapes (m, n_rows) and (j, n_rows)
            Sample averages of the first m rows with the basis, and of the next ones.
        parts : ndarray, shape (i, n_rows)
            Combinations of the basis to be made in the same pass.

        Returns
        -------
        coefficients : ndarray, shape (m, n_rows)
            Those of the first m rows, refined.
        combined : list of ndarray, shape (i, paths of the block)
        """
        m, n_rows = gradients.shape
        coefficients = np.concatenate([gradients, others])
        combined = [aligned_empty((len(parts), block.shape[1])) for block in rows]

        def subtract(b: int) -> FloatArray:
            chosen = rows[b][: len(coefficients)]
            shares = self._subtract(coefficients, chosen, m, b, parts, combined[b])
            left = np.einsum("ij,ij->i", rows[b][:m], rows[b][:m])
            return np.concatenate([shares.ravel(), left])

        sums = self.average(subtract)
        shares, left = sums[: m * n_rows].reshape(m, n_rows), sums[m * n_rows :]
        lost = np.sum(gradients**2, axis=1)
        again = np.flatnonzero(left < SECOND_PASS_BELOW**2 * (left + lost))
        if len(again):
            chosen = slice(again[0], again[-1] + 1)  # a slice: fancy indexing would copy
            self.average(lambda b: self._subtract(shares[chosen], rows[b][chosen], 0, b))
            gradients = gradients.copy()
            gradients[chosen] += shares[chosen]
        return gradients, combined

    def _subtract(
        self,
        coefficients: FloatArray,
        rows: FloatArray,
        again: int,
        block: int,
        parts: FloatArray | None = None,
        combined: FloatArray | None = None,
    ) -> FloatArray:
        """Subtract from rows on a block; returns products of the first with the basis after it.

        Also fills ``combined`` with combinations of the basis, if asked to.
        """
        from dmft._numerics.kernels import remove_kernel

        n_rows = coefficients.shape[1]
        products = np.empty((again, n_rows))
        if parts is None or combined is None:
            parts, combined = np.empty((0, n_rows)), np.empty((0, rows.shape[1]))
        remove_kernel(
            coefficients, rows, again, parts, combined, self.padded[block], n_rows, products
        )
        return products

    def restrict(self, span: FloatArray) -> None:
        """Keep the combinations of rows in an orthonormal table, (n_kept, n_rows), alone."""
        n_rows, n_kept = self.n_rows, len(span)

        def narrow(b: int) -> None:
            self._blocks[b][:n_kept] = span @ self._blocks[b][:n_rows]

        list(self._run(narrow, range(len(self._blocks))))
        self.n_rows = n_kept

    def _make_block(self, b: int, capacity: int, rows: FloatArray) -> None:
        """Make room for the rows of a block, of which the first are given."""
        n = rows.shape[1]
        padded = padded_rows(capacity, n)
        padded[: len(rows), :n] = rows
        self.padded[b], self._blocks[b] = padded, padded[:, :n]

    def _grow(self) -> None:
        new = min(int(_GROWTH * self.capacity) + 1, self.max_rows)

        def grow(b: int) -> None:
            self._make_block(b, new, self._blocks[b])

        # In limited memory never more than one block twice.
        run = self._run if self.max_rows == sys.maxsize else map
        list(run(grow, range(len(self._blocks))))

    # -- state -------------------------------------------------------------------------------

    def close(self) -> None:
        """Write what is pending, and release the pool."""
        self.write_pending()
        self._run = map

    def state(self) -> dict[str, Any]:
        """Return everything the basis holds, in what ``dmft.io.snapshots.pack`` accepts."""
        return {
            "n_rows": self.n_rows,
            "rows": [block[: self.n_stored] for block in self._blocks],
            "capacity": self.capacity,
            # Not written before: a run that goes on from here must find the same bits.
            "pending": fields_of(self._pending),
            "reorthogonalisation": fields_of(self._reorthogonalisation),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state` of a basis made of the same arguments; takes it apart."""
        self.n_rows = state["n_rows"]
        capacity = max(min(state["capacity"], self.max_rows), self.n_rows)
        for b, stored in enumerate(state["rows"]):
            self._make_block(b, capacity, stored)
            state["rows"][b] = None  # never all blocks twice
        pending, again = state["pending"], state["reorthogonalisation"]
        self._pending = None if pending is None else PendingRows(**pending)
        self._reorthogonalisation = None if again is None else Reorthogonalisation(**again)


def row_space(rows: FloatArray) -> FloatArray:
    """Return an orthonormal basis (j, n) of the space that rows (i, n) span."""
    from scipy.linalg import qr

    basis, triangle, _ = qr(rows.T, mode="economic", pivoting=True)
    sizes = np.abs(np.diagonal(triangle))
    return np.ascontiguousarray(basis[:, sizes > SPAN_TOLERANCE * sizes[0]].T)
