r"""The paths of one run: coordinates ``q``, normalised gradients ``ghat``, and their basis.

What gradient descent sees of the inputs after t steps is their restriction to a space that grows
by m directions per step. For one sample the coordinates in that space are

    q = (z, xi, q^0, q^1, ...),       q^t = zeta^t - ghat^t / sqrt(delta),

with z the latent coordinates, xi those of the initial weights, zeta^t fresh Gaussians and ghat^t
the gradients, orthonormalised over samples. ``Paths`` holds both families in a common basis:

    q = Q w,    ghat = H w,    w = (1, z, xi, zeta and gradient directions, orthonormalised),

where the rows of ``w`` (the only large array, rows x paths) are orthonormal *as sample averages*,
to rounding. This buys three things. Every average against all coordinates is one matrix product
with ``w``; Gram-Schmidt of the gradients happens between short rows of coefficients, where it is
cheap and accurate; and a fresh block made orthogonal to ``w`` is orthogonal to everything the
trajectory has seen, which removes the leading sampling fluctuations for free.

That has a price where directions of any size are kept. What a gradient has outside all earlier rows
may be tiny beside the gradient; normalised, it is known to few digits. A Gaussian made orthogonal
to it mixes its error with directions that weigh much more, and errors grow exponentially in time.
So Gaussians can keep their components along *faint* rows, which are tracked as a space of
coefficients, orthogonal to everything a Gaussian has to avoid. Rounding errors then stay what they
are, but gradients never settle below the fluctuations of those components: rank and sampling errors
are larger.

Paths are stored in blocks. Work on different blocks may run on different threads; sums over blocks
are always taken in the same order, so the bits do not depend on how many there are.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.aligned import aligned_empty, padded_rows
from dmft.solver.residuals import Correction, InNumbers, OnPaths, Unwritten

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from dmft.solver.residuals import Residuals

    FloatArray = NDArray[np.float64]
    CompiledLaw = tuple[FloatArray, int, int]
    Blocks = list[FloatArray]
    from dmft._numerics.workers import Mapper

__all__ = ["Absorbed", "Paths", "Visit"]

# A part of a row smaller than this, relative to the row, is rounding: the row lies in the span.
_SPAN_TOLERANCE = 1e-13
# Kahan's criterion: one Gram-Schmidt pass suffices when no more than this much of a row was lost.
# Every row passes on the errors of the earlier ones, enlarged by what it lost: a weaker criterion
# lets them grow exponentially.
_SECOND_PASS_BELOW = 0.5
# The square of what is left of a row, from what was taken out of it (Pythagoras), is known to this
# much of the square of the row.
_PYTHAGORAS = 1e-13
# Parts outside the span smaller than this much of the smallest direction kept are left out of it.
_LEAST_EXTENSION = 0.3
# What a row leaves outside the span is known by numbers alone if its square is more than this much
# of that of the row: rounding errors are then some thirty times those of the row.
_LEAST_IN_NUMBERS = 1e-3
_GROWTH = 1.5


@dataclass(frozen=True, eq=False)
class Absorbed:
    """What the gradients of a step are, and what they opened.

    Attributes
    ----------
    correlation : ndarray, shape (m, n_coordinates before this step)
        ``E[g^t q^T]``.
    gamma_past : ndarray, shape (m, n_directions before this step)
        ``Gamma(t, v)``, v < t, in the order in which directions were kept.
    gamma_diagonal : ndarray, shape (m, n_kept)
        The kept columns of the lower triangular ``Gamma(t, t)``.
    kept : ndarray of int
        The neurons whose direction was kept, increasing.
    coefficients : ndarray, shape (m, n_rows before this step + those that gradients added)
        Of the gradients in the basis.
    images : list of ndarray, shape (m, paths of the block), or None
        ``grad . q`` on every path, with ``grad = (E[g^t q^T], -Gamma(t, t) / sqrt(delta))``. None
        where the paths were not visited.
    dropped : ndarray, shape (m,)
        Norm of the part of each gradient that no kept direction holds; smaller than the tolerance.
    left_out : ndarray of bool, shape (m,), or None
        Neurons whose part outside the basis is smaller than the tolerance and was left out; it is
        what is left in ``rows``. None where the paths were not visited.
    """

    correlation: FloatArray
    gamma_past: FloatArray
    gamma_diagonal: FloatArray
    kept: NDArray[np.intp]
    coefficients: FloatArray
    images: Blocks | None
    dropped: FloatArray
    left_out: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class Visit:
    """What a visit does to the basis before it uses it, and the point it evaluates.

    Attributes
    ----------
    stacked : ndarray, shape (corrected rows + new rows + m, n_stored)
        Combinations of the rows stored so far.
    corrected, checked : ndarray of int
    from_rows : ndarray, shape (new rows, j)
    of_new : ndarray, shape (m, new rows)
    rows : list of ndarray
    n_stored : int
        See ``dmft._numerics.kernels.step_kernel``.
    """

    stacked: FloatArray
    corrected: NDArray[np.intp]
    checked: NDArray[np.intp]
    from_rows: FloatArray
    of_new: FloatArray
    rows: Blocks
    n_stored: int


class Paths:
    """Coordinates and normalised gradients of all paths of one run.

    Parameters
    ----------
    leading : list of ndarray, shape (n_leading, paths of the block)
        The coordinates known from the start, (z, xi), block by block.
    run : callable, optional
        ``map``, or a pool's ``map`` to work on the blocks concurrently.
    capacity : int
        Rows of the basis to reserve; it grows when needed,
    most_rows : int
        to no more than these.
    faint : float
        Rows less than this of the largest gradient so far are faint.

    Attributes
    ----------
    n_coordinates : int
        Length of q: leading coordinates plus fresh ones kept so far, but what `compress` let go.
    n_directions : int
        Number of normalised gradients kept so far, but for those.
    most_rows : int
        As given.
    """

    def __init__(
        self,
        leading: Blocks,
        run: Mapper = map,
        capacity: int = 128,
        most_rows: int = sys.maxsize,
        faint: float = 0.0,
    ) -> None:
        self.n_leading = leading[0].shape[0]
        self.n_paths = sum(block.shape[1] for block in leading)
        self.n_coordinates = 0
        self.n_directions = 0
        self._run = run
        self._n_rows = 0
        self.most_rows = most_rows
        rows = min(max(capacity, 2 * self.n_leading + 2), most_rows)
        # For compiled kernels, with columns more than there are paths; and without these.
        self._padded = [padded_rows(rows, block.shape[1]) for block in leading]
        self._basis = [
            padded[:, : block.shape[1]] for padded, block in zip(self._padded, leading, strict=True)
        ]
        self._q = np.zeros((rows, rows))
        self._ghat = np.zeros((rows, rows))
        self._frame: FloatArray | None = None
        self._faint_below = faint
        self._faint = np.zeros((0, 0))  # orthonormal coefficient vectors; shorter ones are padded
        self._largest = 0.0  # gradient so far
        self._unwritten: Unwritten | None = None
        self._correction: Correction | None = None
        first = [np.concatenate([np.ones((1, block.shape[1])), block]) for block in leading]
        residuals = OnPaths(first, self._basis, 0)
        self._append(residuals, 0, 1.0)
        for i in range(1, self.n_leading + 1):
            coefficients = [residuals.take_off(i, earlier) for earlier in range(i)]
            norm = np.sqrt(residuals.square(i))
            self._append(residuals, i, norm)
            self._append_coordinate(np.append(coefficients, norm))

    # -- reading -----------------------------------------------------------------------------

    @property
    def n_rows(self) -> int:
        """Rows of the basis in use."""
        return self._n_rows

    @property
    def _n_stored(self) -> int:
        """Rows of the basis that are written."""
        unwritten = 0 if self._unwritten is None else len(self._unwritten.from_rows)
        return self._n_rows - unwritten

    @property
    def capacity(self) -> int:
        """Rows of the basis that memory is reserved for."""
        return len(self._basis[0])

    @property
    def coordinate_coefficients(self) -> FloatArray:
        """Q with q = Q w, shape (n_coordinates, n_rows); a view."""
        return self._q[: self.n_coordinates, : self._n_rows]

    @property
    def gradient_coefficients(self) -> FloatArray:
        """H with ghat = H w, shape (n_directions, n_rows); a view."""
        return self._ghat[: self.n_directions, : self._n_rows]

    @property
    def is_compressed(self) -> bool:
        """Whether `compress` has let go of anything."""
        return self._frame is not None

    def in_opened(self, rows: FloatArray, n_leading: int = 0) -> FloatArray:
        """Components along all directions as they were opened: (j, n_directions) -> (j, n_opened).

        Of weights along coordinates the first ``n_leading`` stay as they are.
        """
        if self._frame is None:
            return rows
        fresh = rows[:, n_leading:]
        opened = fresh @ self._frame[: fresh.shape[1]]
        return np.concatenate([rows[:, :n_leading], opened], axis=1)

    def basis(self, block: int) -> FloatArray:
        """Return the orthonormal rows w on a block, (n_rows, paths of the block); a view."""
        self.finish()
        return self._basis[block][: self._n_rows]

    def blocks(self, n_rows: int) -> Blocks:
        """Return the first rows of the basis on every block; views."""
        self.finish()
        return [basis[:n_rows] for basis in self._basis]

    def combine(self, weights: FloatArray, block: int) -> FloatArray:
        """Pre-activations ``r = B q`` on a block: (m, n_coordinates) -> (m, paths of the block)."""
        return self.combine_rows(weights @ self.coordinate_coefficients, block)

    def combine_rows(self, coefficients: FloatArray, block: int) -> FloatArray:
        """Combine rows of the basis on a block: (m, n_rows) -> (m, paths of the block)."""
        from dmft._numerics.kernels import combine_kernel

        self.finish()
        r = np.empty((len(coefficients), self._basis[block].shape[1]))
        combine_kernel(coefficients, self._padded[block], self._n_rows, r)
        return r

    def average(self, rows: FloatArray, block: int) -> FloatArray:
        """Sum products of rows with the basis over a block: (j, paths) -> (j, n_rows)."""
        from dmft._numerics.kernels import average_kernel

        self.finish()
        products = np.empty((len(rows), self._n_rows))
        average_kernel(rows, self._padded[block], self._n_rows, products)
        return products

    def begin_visit(self, coefficients: FloatArray) -> Visit:
        """Prepare a visit that combines rows of the basis, (m, n_rows), as pre-activations."""
        nothing = np.empty(0, dtype=np.intp)
        checked, from_rows, rows = nothing, np.empty((0, 0)), [np.empty((0, 0))] * len(self._basis)
        n_stored = self._n_stored
        of_new = np.ascontiguousarray(coefficients[:, n_stored:])
        stacked = np.ascontiguousarray(coefficients[:, :n_stored])
        if self._unwritten is not None:
            checked, from_rows = self._unwritten.checked, self._unwritten.from_rows
            rows = self._unwritten.rows
            stacked = np.concatenate([self._unwritten.from_basis, stacked])
        corrected = nothing
        if self._correction is not None:
            corrected = self._correction.rows
            stacked = np.concatenate([self._correction.matrix, self._correction.of_stored(stacked)])
        return Visit(stacked, corrected, checked, from_rows, of_new, rows, n_stored)

    def visit(
        self,
        visit: Visit,
        block: int,
        law: CompiledLaw,
        limit: float,
        labels: FloatArray,
        r: FloatArray,
        g: FloatArray,
        forecast: FloatArray,
        chosen: NDArray[np.intp],
        gradients: FloatArray,
        outside: FloatArray,
        n_gradients: int,
        rows: FloatArray,
        few: int,
        mask: FloatArray,
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
        """`combine_rows`, gradients of a compiled law, and `average`, in one pass over a block.

        Parameters
        ----------
        visit : Visit
        block : int
        law : tuple
            Second layer, and codes of activation and loss.
        limit : float
            Curvature above which a path is counted.
        labels : ndarray, shape (paths of the block,)
        r, g : ndarray, shape (m, paths of the block)
            Receive pre-activations and gradients.
        forecast : ndarray, shape (m, i)
        chosen : ndarray of int, shape (i,)
        gradients, outside : ndarray, shape (>= n_gradients, paths of the block)
            Rows to forecast g with, and what of them lies outside the basis.
        n_gradients : int
            Of how many of them products are taken.
        rows : ndarray, shape (>= m, paths of the block)
            The first m receive ``g - forecast @ (gradients - outside)[chosen]``.
        few : int
            How many of `rows` to multiply with the basis.
        mask : ndarray, shape (paths of the block,) or (0,)
            Factors that the first m of `rows` receive, if any.

        Returns
        -------
        products : ndarray, shape (few [+ m] + rows to be measured, n_rows)
            Of ``rows[:few]``, of g itself where there is a mask, and what `end_visit` needs.
        with_gradients : ndarray, shape (m, n_gradients)
            Products of ``g - forecast @ gradients[chosen]`` with the gradients,
        squares : ndarray, shape (m,)
            and sums of its squares.
        losses : ndarray, shape (paths of the block,)
        above : ndarray, shape (4,)
            Of the paths with a curvature above the limit: number, losses, squares of gradients and
            of pre-activations.
        """
        from dmft._numerics.kernels import step_kernel

        n_products = few + (len(r) if len(mask) else 0) + len(visit.checked)
        products, losses = np.empty((n_products, self._n_rows)), np.empty(len(labels))
        above, with_gradients = np.empty(4), np.empty((len(r), n_gradients))
        squares = np.empty(len(r))
        step_kernel(
            visit.stacked,
            visit.corrected,
            visit.from_rows,
            visit.rows[block],
            visit.checked,
            visit.of_new,
            self._padded[block],
            visit.n_stored,
            labels,
            *law,
            limit,
            forecast,
            chosen,
            gradients,
            outside,
            r,
            g,
            rows,
            few,
            losses,
            above,
            products,
            with_gradients,
            squares,
            mask,
        )
        return products, with_gradients, squares, losses, above

    def end_visit(self, visit: Visit, products: FloatArray) -> FloatArray:
        """Take note that a visit has been to every block.

        Takes the averages over paths of its products, and returns those with the basis proper.
        """
        self._unwritten = self._correction = None
        n_checked = len(visit.checked)
        if not n_checked:
            return products
        kept = len(products) - n_checked
        self._correction = Correction.of(visit.checked, products[kept:])
        return self._correction.of_corrected(products[:kept])

    def finish(self) -> None:
        """Write the rows of the basis that are left to be written.

        A visit does it at no cost; everything else that reads the basis begins with this. Not to
        be called by concurrent threads unless there is nothing to do.
        """
        from dmft._numerics.kernels import write_kernel

        while self._unwritten is not None or self._correction is not None:
            visit = self.begin_visit(np.empty((0, self._n_rows)))

            def write(b: int, visit: Visit = visit) -> FloatArray:
                products = np.empty((len(visit.checked), self._n_rows))
                write_kernel(
                    visit.stacked,
                    visit.corrected,
                    visit.from_rows,
                    visit.rows[b],
                    visit.checked,
                    self._padded[b],
                    visit.n_stored,
                    self._basis[b].shape[1],
                    products,
                )
                return products

            self.end_visit(visit, self.total(write))

    def close(self) -> None:
        """Say that the paths will not grow any more: lets go of the pool."""
        self.finish()
        self._run = map

    def state(self) -> dict[str, Any]:
        """Everything the paths hold, in what ``dmft.io.snapshots.pack`` accepts."""
        return {
            "basis": [basis[: self._n_stored] for basis in self._basis],
            "q": self.coordinate_coefficients,
            "ghat": self.gradient_coefficients,
            "frame": self._frame,
            "faint": self._faint,
            "largest": self._largest,
            "capacity": self.capacity,
            # Not written before: a run that goes on from here must find the same bits.
            "unwritten": None if self._unwritten is None else vars(self._unwritten),
            "correction": None if self._correction is None else vars(self._correction),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state` of paths made of the same arguments; takes it apart."""
        q, ghat, capacity = state["q"], state["ghat"], state["capacity"]
        self._n_rows = q.shape[1]
        capacity = max(min(capacity, self.most_rows), self._n_rows)
        self.n_coordinates, self.n_directions = len(q), len(ghat)
        self._frame = state["frame"]
        self._faint, self._largest = state["faint"], state["largest"]
        for b, stored in enumerate(state["basis"]):
            self._make_block(b, capacity, stored)
            state["basis"][b] = None  # never all blocks twice
        self._q, self._ghat = np.zeros((capacity, capacity)), np.zeros((capacity, capacity))
        self._q[: len(q), : self._n_rows] = q
        self._ghat[: len(ghat), : self._n_rows] = ghat
        unwritten, correction = state["unwritten"], state["correction"]
        self._unwritten = None if unwritten is None else Unwritten(**unwritten)
        self._correction = None if correction is None else Correction(**correction)

    # -- growing -----------------------------------------------------------------------------

    def total(self, of_block: Callable[[int], FloatArray]) -> FloatArray:
        """Average over paths of a quantity summed within each block, in a fixed order."""
        total: FloatArray = sum(self._run(of_block, range(len(self._basis)))) / self.n_paths
        return total

    def absorb(
        self,
        rows: Blocks,
        coefficients: FloatArray,
        squares: FloatArray,
        smallest: float,
        delta: float | None,
        known: FloatArray | float = 0.0,
        *,
        gram: FloatArray | None = None,
        wanted: bool = False,
        images: bool = True,
        held: Callable[[FloatArray], FloatArray] | None = None,
    ) -> Absorbed:
        """Gram-Schmidt the gradients of a step, and open the coordinates worth keeping.

        The paths are visited only if some direction is kept, or if it takes a visit to know; not
        even then if ``gram`` says enough and no images are to be made.

        Parameters
        ----------
        rows : list of ndarray, shape (2 m, paths of the block)
            What is not known of the gradients g^t, then raw Gaussians zeta^t. Overwritten, or held
            until the next visit, and not to be changed before. The latter are made orthogonal, as
            sample averages, to everything the paths hold but the faint rows, and given unit
            variance; what is left of the former is what lies outside the basis.
        coefficients : ndarray, shape (2 m, n_rows)
            Sample averages of ``rows`` with the basis; m rows of them where ``delta`` is None.
        squares : ndarray, shape (m,)
            Sample averages of the squares of the first m rows.
        smallest : float
            Directions with a norm below this are dropped.
        delta : float or None
            n/d; None to open no coordinates.
        known : ndarray, shape (m, n_rows), optional
            Coefficients of the part of the gradients that ``rows`` leave out; it lies in the span
            of the basis. The smaller the rest, the more can be said of it without a visit.
        gram : ndarray, shape (2 m, 2 m), optional
            Sample averages of products of ``rows`` with each other.
        wanted : bool
            Whether to find what lies outside the basis even if it is too small to be kept.
        images : bool
            Whether to make the images of a step that opens directions.
        held : callable, optional
            Applied to E[g q^T] before the images are made of it: takes off it what the dynamics
            does not see.

        Returns
        -------
        Absorbed
        """
        m = len(squares)
        first_new = self._n_rows
        gradients, gaussians = coefficients[:m], coefficients[m:]
        outside = squares - np.sum(gradients**2, axis=1)
        extension = np.empty((m, 0))
        left_out = made = later = None
        lost = np.sqrt(np.maximum(outside, 0.0))
        inside = gradients + known
        past = self.gradient_coefficients
        news = inside - (inside @ past.T) @ past
        sizes = np.sum(inside**2, axis=1) + np.maximum(outside, 0.0)
        self._largest = max(self._largest, float(np.sqrt(sizes.max())))
        outside += _PYTHAGORAS * squares
        may_open = delta is not None and bool(
            np.any(outside + np.sum(news**2, axis=1) >= smallest**2)
        )
        if wanted or may_open or np.any(outside >= smallest**2):
            # A direction worth keeping may lie partly in the span.
            least = _LEAST_EXTENSION * smallest if may_open else smallest
            if may_open and not images and gram is not None:
                numbers = InNumbers(gram, coefficients)
                leaves = numbers.leaves(m)
                if np.all(leaves > np.maximum(_LEAST_IN_NUMBERS * squares, (1.01 * least) ** 2)):
                    later = numbers
            residuals: Residuals
            if later is not None:
                residuals = later
            else:
                self.finish()
                parts = np.empty((0, first_new))
                if images or not may_open:
                    correlation = inside @ self.coordinate_coefficients.T
                    correlation = correlation if held is None else held(correlation)
                    parts = correlation @ self.coordinate_coefficients
                if images and may_open:
                    along = self._along_faint(gaussians) if len(self._faint) else gaussians[:0]
                    parts = np.concatenate([parts, news, along])
                gradients, combined = self._remove(
                    rows, gradients, gaussians if may_open else gaussians[:0], parts
                )
                residuals = OnPaths(rows, self._basis, first_new)
                if len(parts):
                    made = [block[:m] for block in combined]
                for block, rest in zip(combined, rows, strict=True):
                    news_there = block[m : 2 * m]
                    news_there += rest[: len(news_there)]
            extension, lost, left_out = self._extend_basis(gradients, residuals, least)
        full = np.concatenate([gradients + known, extension], axis=1)
        correlation = full[:, :first_new] @ self._q[: self.n_coordinates, :first_new].T
        gamma_past, gamma_diagonal, kept, unkept = self._orthonormalise(full, smallest)
        if delta is not None and kept:
            opened = self._open(residuals, gaussians, kept, first_new, delta)
            if made is not None:
                self._add_new_coordinates(made, combined, gamma_diagonal, kept, opened, delta)
        if later is not None:
            doubtful = leaves < _SECOND_PASS_BELOW**2 * squares
            self._unwritten = later.unwritten(rows, np.flatnonzero(doubtful))
        return Absorbed(
            correlation,
            gamma_past,
            gamma_diagonal,
            np.array(kept, dtype=np.intp),
            full,
            made,
            np.hypot(lost, unkept),
            left_out,
        )

    def compress(self, rotation: FloatArray) -> None:
        """Keep combinations of directions, and of the coordinates that belong to them, alone.

        Not for paths with faint rows: their space is not kept track of.

        Parameters
        ----------
        rotation : ndarray, shape (n_kept, n_directions)
            With orthonormal rows.
        """
        self.finish()
        first, n_rows = self.n_leading, self._n_rows
        q = self.coordinate_coefficients
        q = np.concatenate([q[:first], rotation @ q[first:]])
        ghat = rotation @ self.gradient_coefficients
        constant = np.zeros((1, n_rows))
        constant[0, 0] = 1.0
        span = _row_space(np.concatenate([constant, q, ghat]))
        n_kept = len(span)

        def narrow(b: int) -> None:
            self._basis[b][:n_kept] = span @ self._basis[b][:n_rows]

        list(self._run(narrow, range(len(self._basis))))
        self._n_rows = n_kept
        for table, rows in ((self._q, q), (self._ghat, ghat)):
            table[:] = 0.0
            table[: len(rows), :n_kept] = rows @ span.T
        self._frame = rotation if self._frame is None else rotation @ self._frame
        self.n_directions = len(ghat)
        self.n_coordinates = len(q)

    def _open(
        self,
        residuals: Residuals,
        gaussians: FloatArray,
        kept: list[int],
        first_new: int,
        delta: float,
    ) -> tuple[FloatArray, FloatArray]:
        """Add the Gaussians of the neurons kept to the basis, and their coordinates to q.

        Returns what the Gaussians are made of: weights (kept, m) of the components along faint rows
        that ``gaussians`` have, and (kept, new rows) of the rows that this step has added.
        """
        m = len(gaussians)
        mixed: list[FloatArray] = []
        made: list[FloatArray] = []
        for direction, j in enumerate(kept, start=self.n_directions - len(kept)):
            more = [residuals.take_off(m + j, new) for new in range(self._n_rows - first_new)]
            components = np.concatenate([gaussians[j], more])
            along = self._along_faint(components)
            mix = np.zeros(m)
            mix[j] = 1.0
            for earlier, vector in zip(mixed, made, strict=True):
                mix -= (vector @ components[: len(vector)]) * earlier
            size = np.sqrt(residuals.square(m + j))
            self._append(residuals, m + j, size)
            vector = np.append(along, size)
            norm = float(np.linalg.norm(vector))
            vector /= norm
            self._avoid(vector)
            mixed.append(mix / norm)
            made.append(vector)
            coordinate = vector - self._ghat[direction, : self._n_rows] / np.sqrt(delta)
            self._append_coordinate(coordinate)
            if self._frame is not None:
                self._frame = np.pad(self._frame, ((0, 1), (0, 1)))
                self._frame[-1, -1] = 1.0
        of_new = np.zeros((len(made), self._n_rows - first_new))
        for row, vector in zip(of_new, made, strict=True):
            row[: len(vector) - first_new] = vector[first_new:]
        return np.array(mixed), of_new

    def _add_new_coordinates(
        self,
        images: Blocks,
        combined: Blocks,
        gamma_diagonal: FloatArray,
        kept: list[int],
        opened: tuple[FloatArray, FloatArray],
        delta: float,
    ) -> None:
        """Add ``-Gamma(t, t) / sqrt(delta) . (zeta - ghat / sqrt(delta))`` to the images.

        ``combined`` has, after the images, the gradients without what earlier ones hold, and the
        components of the Gaussians along faint rows.
        """
        m = len(gamma_diagonal)
        triangle = np.linalg.inv(gamma_diagonal[kept])
        mixed, made = opened
        for b, image in enumerate(images):
            ghat = triangle @ combined[b][m : 2 * m][kept]
            fresh = made @ self._basis[b][self._n_rows - made.shape[1] : self._n_rows]
            if len(combined[b]) > 2 * m:
                fresh += mixed @ combined[b][2 * m :]
            image -= (gamma_diagonal / np.sqrt(delta)) @ (fresh - ghat / np.sqrt(delta))

    def _along_faint(self, vectors: FloatArray) -> FloatArray:
        """Components of coefficient vectors (..., j) in the space of the faint rows."""
        faint = self._faint[:, : vectors.shape[-1]]
        padded = np.zeros((len(faint), vectors.shape[-1]))
        padded[:, : faint.shape[1]] = faint
        return np.asarray((vectors @ padded.T) @ padded)

    def _add_faint_row(self) -> None:
        """Count the last row of the basis among the faint ones."""
        n_faint, width = self._faint.shape
        faint = np.zeros((n_faint + 1, self._n_rows))
        faint[:n_faint, :width] = self._faint
        faint[n_faint, -1] = 1.0
        self._faint = faint

    def _avoid(self, vector: FloatArray) -> None:
        """Take a unit vector, the last component of which is new, out of the faint space.

        A Householder reflection moves it to the last of the vectors that span it and the space.
        """
        n_faint = len(self._faint)
        if not n_faint:
            return
        spanning = np.zeros((n_faint + 1, len(vector)))
        spanning[:n_faint, : self._faint.shape[1]] = self._faint
        spanning[-1, -1] = 1.0
        axis = spanning @ vector
        axis[-1] += np.copysign(np.linalg.norm(axis), axis[-1])
        axis /= np.linalg.norm(axis)
        spanning -= np.outer(2.0 * axis, axis @ spanning)
        self._faint = spanning[:-1]

    def _orthonormalise(
        self, full: FloatArray, smallest: float
    ) -> tuple[FloatArray, FloatArray, list[int], FloatArray]:
        """Gram-Schmidt of gradients given by their coefficients; keeps the directions.

        Returns Gamma(t, v) and Gamma(t, t), the neurons kept, and the norms of what was not.
        """
        size = np.linalg.norm(full, axis=1)
        past = self.gradient_coefficients
        gamma_past = np.zeros((len(full), self.n_directions))
        for _ in range(2):
            overlaps = full @ past.T
            full = full - overlaps @ past
            gamma_past += overlaps
        gamma_diagonal = np.zeros((len(full), len(full)))
        directions: list[FloatArray] = []
        kept: list[int] = []
        unkept = np.zeros(len(full))
        for j, row in enumerate(full):
            for i, earlier in enumerate(directions):
                for _ in range(2):
                    overlap = float(earlier @ row)
                    gamma_diagonal[j, i] += overlap
                    row = row - overlap * earlier
            norm = float(np.linalg.norm(row))
            if norm >= smallest and norm > _SPAN_TOLERANCE * size[j]:
                gamma_diagonal[j, len(directions)] = norm
                directions.append(row / norm)
                kept.append(j)
            else:
                unkept[j] = norm
        for direction in directions:
            self._ghat[self.n_directions, : len(direction)] = direction
            self.n_directions += 1
        return gamma_past, gamma_diagonal[:, : len(kept)], kept, unkept

    def _extend_basis(
        self, coefficients: FloatArray, residuals: Residuals, smallest: float
    ) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Append the parts outside the span as basis rows.

        Returns their coefficients (m, new rows), the norms of those left out, and which these are.
        """
        m = len(coefficients)
        first = self._n_rows
        extension = np.zeros((m, m))
        lost = np.zeros(m)
        left_out = np.ones(m, dtype=bool)
        for j in range(m):
            size = np.sqrt(np.sum(coefficients[j] ** 2) + residuals.square(j))
            for i in range(self._n_rows - first):
                extension[j, i] = residuals.take_off(j, i)
            norm = np.sqrt(residuals.square(j))
            if norm >= smallest and norm > _SPAN_TOLERANCE * size:
                extension[j, self._n_rows - first] = norm
                self._append(residuals, j, norm)
                left_out[j] = False
                if norm < self._faint_below * self._largest:
                    self._add_faint_row()
            else:
                lost[j] = norm
        return extension[:, : self._n_rows - first], lost, left_out

    def _remove(
        self, rows: Blocks, gradients: FloatArray, rest: FloatArray, parts: FloatArray
    ) -> tuple[FloatArray, Blocks]:
        """Subtract from the rows their part in the span; returns refined coefficients.

        Returns also the combinations ``parts`` of the basis, made in the same visit. A second pass
        follows where the first cancelled most of a gradient: its rounding errors would otherwise
        leave the rest far from orthogonal. The other rows, fresh Gaussians, lose next to nothing.
        """
        m, n_rows = gradients.shape
        coefficients = np.concatenate([gradients, rest])
        combined = [aligned_empty((len(parts), block.shape[1])) for block in rows]

        def subtract(b: int) -> FloatArray:
            chosen = rows[b][: len(coefficients)]
            shares = self._subtract(coefficients, chosen, m, b, parts, combined[b])
            left = np.einsum("ij,ij->i", rows[b][:m], rows[b][:m])
            return np.concatenate([shares.ravel(), left])

        sums = self.total(subtract)
        shares, left = sums[: m * n_rows].reshape(m, n_rows), sums[m * n_rows :]
        lost = np.sum(gradients**2, axis=1)
        again = np.flatnonzero(left < _SECOND_PASS_BELOW**2 * (left + lost))
        if len(again):
            chosen = slice(again[0], again[-1] + 1)  # a slice: fancy indexing would copy
            self.total(lambda b: self._subtract(shares[chosen], rows[b][chosen], 0, b))
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
            coefficients, rows, again, parts, combined, self._padded[block], n_rows, products
        )
        return products

    def _append(self, residuals: Residuals, row: int, norm: float) -> None:
        if self._n_rows == len(self._basis[0]):
            self._grow()
        residuals.append(row, norm)
        self._n_rows += 1

    def _make_block(self, b: int, capacity: int, rows: FloatArray) -> None:
        """Make room for the rows of a block, of which the first are given."""
        n = rows.shape[1]
        padded = padded_rows(capacity, n)
        padded[: len(rows), :n] = rows
        self._padded[b], self._basis[b] = padded, padded[:, :n]

    def _append_coordinate(self, coefficients: FloatArray) -> None:
        self._q[self.n_coordinates, : len(coefficients)] = coefficients
        self.n_coordinates += 1

    def _grow(self) -> None:
        old = len(self._basis[0])
        new = min(int(_GROWTH * old) + 1, self.most_rows)

        def grow(b: int) -> None:
            self._make_block(b, new, self._basis[b])

        # In limited memory never more than one block twice.
        run = self._run if self.most_rows == sys.maxsize else map
        list(run(grow, range(len(self._basis))))
        self._q = np.pad(self._q, ((0, new - old), (0, new - old)))
        self._ghat = np.pad(self._ghat, ((0, new - old), (0, new - old)))


def _row_space(rows: FloatArray) -> FloatArray:
    """Orthonormal basis (n, j) of the space that rows (i, j) span."""
    from scipy.linalg import qr

    basis, triangle, _ = qr(rows.T, mode="economic", pivoting=True)
    sizes = np.abs(np.diagonal(triangle))
    return np.ascontiguousarray(basis[:, sizes > _SPAN_TOLERANCE * sizes[0]].T)
