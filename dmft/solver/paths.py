r"""The paths of one run: coordinates ``q`` and normalised gradients ``ghat`` in one basis.

What gradient descent sees of the inputs after t steps is their restriction to a space that grows
by m directions per step. For one sample the coordinates in that space are

    q = (z, xi, q^0, q^1, ...),       q^t = zeta^t - ghat^t / sqrt(delta),

with z the latent coordinates, xi those of the initial weights, zeta^t fresh Gaussians and ghat^t
the gradients, orthonormalised over samples. ``Paths`` holds both families as tables of
coefficients in a common orthonormal basis (``dmft.solver.basis``):

    q = Q w,    ghat = H w,    w = (1, z, xi, zeta and gradient directions, orthonormalised).

This buys three things. Every average against all coordinates is one matrix product with ``w``;
Gram-Schmidt of the gradients happens between short rows of coefficients, where it is cheap and
accurate; and a fresh block made orthogonal to ``w`` is orthogonal to everything the trajectory has
seen, which removes the leading sampling fluctuations for free (``dmft.solver.orthogonality`` says
where that has a price).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dmft.solver.basis import SECOND_PASS_BELOW, SPAN_TOLERANCE, OrthonormalBasis, row_space
from dmft.solver.coefficients import CoefficientTable
from dmft.solver.orthogonality import EveryRow
from dmft.solver.residuals import GramResiduals

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from dmft._numerics.workers import Mapper
    from dmft.solver.residuals import Residuals

    FloatArray = NDArray[np.float64]
    Blocks = list[FloatArray]

__all__ = ["GradientBlock", "Paths"]

# The square of a residual, by Pythagoras, is known to this much of the square of the row.
_PYTHAGORAS = 1e-13
# Residuals smaller than this much of the smallest direction kept do not extend the basis.
_LEAST_EXTENSION = 0.3
# A residual is found in Gram space if its square is more than this much of that of the row:
# rounding errors are then some thirty times those of the row.
_LEAST_IN_GRAM_SPACE = 1e-3


@dataclass(frozen=True, eq=False)
class GradientBlock:
    """The gradients of a step in the coordinates and directions, and how they extend these.

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
    directional : list of ndarray, shape (m, paths of the block), or None
        Directional pre-activations ``grad . q`` on every path, with
        ``grad = (E[g^t q^T], -Gamma(t, t) / sqrt(delta))``. None where no pass was made.
    truncation_residuals : ndarray, shape (m,)
        Norm of the component of each gradient outside the kept directions; smaller than the
        tolerance.
    truncated : ndarray of bool, shape (m,), or None
        Neurons whose residual is smaller than the tolerance and does not extend the basis; it is
        then in ``rows``. None where no pass was made.
    """

    correlation: FloatArray
    gamma_past: FloatArray
    gamma_diagonal: FloatArray
    kept: NDArray[np.intp]
    coefficients: FloatArray
    directional: Blocks | None
    truncation_residuals: FloatArray
    truncated: NDArray[np.bool_] | None


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
    max_rows : int
        to no more than these.
    orthogonality : EveryRow, optional
        Strategy by which fresh Gaussians are made orthogonal to the basis, to every row by default.
    past : list of ndarray, shape (2, paths of the block), optional
        Gaussian and gradient of a direction that the start was made with, see
        ``dmft.solver.spectral_start``: the first fresh coordinate, and the first direction.
    delta : float
        n/d; with ``past``.

    Attributes
    ----------
    basis : OrthonormalBasis
    n_leading : int
    least_in_gram_space : float
        A residual is found in Gram space if its square is more than this much of that of the row.
    """

    def __init__(
        self,
        leading: Blocks,
        run: Mapper = map,
        capacity: int = EveryRow.capacity,
        max_rows: int = sys.maxsize,
        orthogonality: EveryRow | None = None,
        past: Blocks | None = None,
        delta: float = np.inf,
    ) -> None:
        self.n_leading = n_rows = leading[0].shape[0]
        if past is not None:
            leading = [np.concatenate(pair) for pair in zip(leading, past, strict=True)]
            n_rows += 2
        self._orthogonality = EveryRow() if orthogonality is None else orthogonality
        self.least_in_gram_space = _LEAST_IN_GRAM_SPACE
        rows = min(max(capacity, 2 * n_rows + 2), max_rows)
        self.basis = OrthonormalBasis([block.shape[1] for block in leading], run, rows, max_rows)
        self._coordinates = CoefficientTable(self.basis)
        self._directions = CoefficientTable(self.basis)
        self._rotation: FloatArray | None = None  # of the directions first kept to those held
        first = [np.concatenate([np.ones((1, block.shape[1])), block]) for block in leading]
        residuals = self.basis.explicit_residuals(first)
        self.basis.append(residuals, 0, 1.0)
        found: list[FloatArray] = []
        for i in range(1, n_rows + 1):
            coefficients = [residuals.subtract(i, j) for j in range(self.basis.n_rows)]
            norm = np.sqrt(residuals.square(i))
            # Latent coordinates of no variance, given those before them, extend nothing.
            if norm > SPAN_TOLERANCE * np.linalg.norm(coefficients):
                self.basis.append(residuals, i, norm)
                coefficients.append(norm)
            found.append(np.array(coefficients))
        list(map(self._coordinates.append, found[: self.n_leading]))
        if past is not None:
            zeta, gradient = found[self.n_leading :]
            ghat = gradient / np.linalg.norm(gradient)
            self._directions.append(ghat)
            zeta = np.pad(zeta, (0, len(ghat) - len(zeta)))
            self._coordinates.append(zeta - ghat / np.sqrt(delta))

    # -- reading -----------------------------------------------------------------------------

    @property
    def n_coordinates(self) -> int:
        """Length of q: leading coordinates, and fresh ones kept and not discarded since."""
        return len(self._coordinates)

    @property
    def n_directions(self) -> int:
        """Number of normalised gradients kept and not discarded since."""
        return len(self._directions)

    @property
    def coordinate_coefficients(self) -> FloatArray:
        """Q with q = Q w, shape (n_coordinates, n_rows); a view."""
        return self._coordinates.vectors

    @property
    def gradient_coefficients(self) -> FloatArray:
        """H with ghat = H w, shape (n_directions, n_rows); a view."""
        return self._directions.vectors

    @property
    def is_truncated(self) -> bool:
        """Whether `truncate` has discarded anything."""
        return self._rotation is not None

    def in_first_directions(self, rows: FloatArray, n_leading: int = 0) -> FloatArray:
        """Turn components along the directions held into those along all that were ever kept.

        Shapes (j, n_directions) -> (j, all). Of weights along coordinates the first ``n_leading``
        stay as they are.
        """
        if self._rotation is None:
            return rows
        fresh = rows[:, n_leading:]
        first = fresh @ self._rotation[: fresh.shape[1]]
        return np.concatenate([rows[:, :n_leading], first], axis=1)

    def combine(self, weights: FloatArray, block: int) -> FloatArray:
        """Return pre-activations ``r = B q`` on a block: (m, n_coordinates) -> (m, paths)."""
        return self.basis.combine(weights @ self.coordinate_coefficients, block)

    def close(self) -> None:
        """Release the pool: the paths will not grow any more."""
        self.basis.close()

    def state(self) -> dict[str, Any]:
        """Return everything the paths hold, in what ``dmft.io.snapshots.pack`` accepts."""
        return {
            "basis": self.basis.state(),
            "coordinates": self.coordinate_coefficients,
            "directions": self.gradient_coefficients,
            "rotation": self._rotation,
            "orthogonality": self._orthogonality.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state` of paths made of the same arguments; takes it apart."""
        self.basis.restore(state["basis"])
        self._coordinates.restore(state["coordinates"])
        self._directions.restore(state["directions"])
        self._rotation = state["rotation"]
        self._orthogonality.restore(state["orthogonality"])

    # -- growing -----------------------------------------------------------------------------

    def add_gradients(
        self,
        rows: Blocks,
        coefficients: FloatArray,
        squares: FloatArray,
        smallest: float,
        delta: float | None,
        predicted: FloatArray | float = 0.0,
        *,
        gram: FloatArray | None = None,
        find_residuals: bool = False,
        directional: bool = True,
        projection: Callable[[FloatArray], FloatArray] | None = None,
    ) -> GradientBlock:
        """Orthogonalise the gradients of a step, and add the coordinates worth keeping.

        The basis is read only if some direction is kept, or if it takes a pass to know; not even
        then if ``gram`` says enough and no directional pre-activations are asked for.

        Parameters
        ----------
        rows : list of ndarray, shape (2 m, paths of the block)
            Innovations of the gradients g^t, then raw Gaussians zeta^t. Overwritten, or kept until
            the next full pass, and not to be changed before. The latter are made orthogonal, as
            sample averages, to the basis as the strategy says, and given unit variance; the
            former become their residuals outside the basis.
        coefficients : ndarray, shape (2 m, n_rows)
            Sample averages of ``rows`` with the basis; m rows of them where ``delta`` is None.
        squares : ndarray, shape (m,)
            Sample averages of the squares of the first m rows.
        smallest : float
            Directions with a norm below this are not kept.
        delta : float or None
            n/d; None to add no coordinates.
        predicted : ndarray, shape (m, n_rows), optional
            Coefficients of the gradients without their innovations; they lie in the span of the
            basis. The smaller the innovation, the more can be said of it without a pass.
        gram : ndarray, shape (2 m, 2 m), optional
            Sample averages of products of ``rows`` with each other.
        find_residuals : bool
            Whether to find residuals outside the basis even if they are too small to be kept.
        directional : bool
            Whether to make the directional pre-activations of a step that adds directions.
        projection : callable, optional
            Applied to E[g q^T] before directional pre-activations are made of it: removes what the
            dynamics does not see.

        Returns
        -------
        GradientBlock
        """
        m, basis = len(squares), self.basis
        first_new = basis.n_rows
        gradients, gaussians = coefficients[:m], coefficients[m:]
        outside = squares - np.sum(gradients**2, axis=1)
        extension = np.empty((m, 0))
        truncated = made = in_gram_space = None
        lost = np.sqrt(np.maximum(outside, 0.0))
        inside = gradients + predicted
        past = self.gradient_coefficients
        innovation = inside - (inside @ past.T) @ past
        sizes = np.sum(inside**2, axis=1) + np.maximum(outside, 0.0)
        self._orthogonality.observe(float(np.sqrt(sizes.max())))
        outside += _PYTHAGORAS * squares
        may_extend = delta is not None and bool(
            np.any(outside + np.sum(innovation**2, axis=1) >= smallest**2)
        )
        if find_residuals or may_extend or np.any(outside >= smallest**2):
            # A direction worth keeping may lie partly in the span.
            least = _LEAST_EXTENSION * smallest if may_extend else smallest
            if may_extend and not directional and gram is not None:
                candidates = GramResiduals(gram, coefficients)
                beside = candidates.squares_beside(m)
                enough = np.maximum(self.least_in_gram_space * squares, (1.01 * least) ** 2)
                if np.all(beside > enough):
                    in_gram_space = candidates
            residuals: Residuals
            if in_gram_space is not None:
                residuals = in_gram_space
            else:
                basis.write_pending()
                parts = np.empty((0, first_new))
                if directional or not may_extend:
                    correlation = inside @ self.coordinate_coefficients.T
                    correlation = correlation if projection is None else projection(correlation)
                    parts = correlation @ self.coordinate_coefficients
                if directional and may_extend:
                    retained = self._orthogonality.retained_rows(gaussians)
                    parts = np.concatenate([parts, innovation, retained])
                gradients, combined = basis.project_out(
                    rows, gradients, gaussians if may_extend else gaussians[:0], parts
                )
                residuals = basis.explicit_residuals(rows)
                if len(parts):
                    made = [block[:m] for block in combined]
                for block, rest in zip(combined, rows, strict=True):
                    innovations = block[m : 2 * m]
                    innovations += rest[: len(innovations)]
            extension, lost, truncated = self._extend_basis(gradients, residuals, least)
        full = np.concatenate([gradients + predicted, extension], axis=1)
        correlation = full[:, :first_new] @ self.coordinate_coefficients[:, :first_new].T
        gamma_past, gamma_diagonal, kept, unkept = self._orthonormalise(full, smallest)
        if delta is not None and kept:
            fresh = self._add_coordinates(residuals, gaussians, kept, first_new, delta)
            if made is not None:
                self._complete_directional(made, combined, gamma_diagonal, kept, fresh, delta)
        if in_gram_space is not None:
            doubtful = beside < SECOND_PASS_BELOW**2 * squares
            basis.postpone(in_gram_space.pending(rows, np.flatnonzero(doubtful)))
        return GradientBlock(
            correlation,
            gamma_past,
            gamma_diagonal,
            np.array(kept, dtype=np.intp),
            full,
            made,
            np.hypot(lost, unkept),
            truncated,
        )

    def truncate(self, rotation: FloatArray) -> None:
        """Keep combinations of directions, and of the coordinates that belong to them, alone.

        Not where the strategy of orthogonality cannot truncate.

        Parameters
        ----------
        rotation : ndarray, shape (n_kept, n_directions)
            With orthonormal rows.
        """
        self.basis.write_pending()
        first = self.n_leading
        q = self.coordinate_coefficients
        q = np.concatenate([q[:first], rotation @ q[first:]])
        ghat = rotation @ self.gradient_coefficients
        constant = np.zeros((1, self.basis.n_rows))
        constant[0, 0] = 1.0
        span = row_space(np.concatenate([constant, q, ghat]))
        self.basis.restrict(span)
        self._coordinates.replace(q @ span.T)
        self._directions.replace(ghat @ span.T)
        self._rotation = rotation if self._rotation is None else rotation @ self._rotation

    def _extend_basis(
        self, coefficients: FloatArray, residuals: Residuals, smallest: float
    ) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Append the residuals of gradients as basis rows.

        Returns their coefficients (m, new rows), the norms of those truncated, and which these are.
        """
        m, basis = len(coefficients), self.basis
        first = basis.n_rows
        extension = np.zeros((m, m))
        lost = np.zeros(m)
        truncated = np.ones(m, dtype=bool)
        for j in range(m):
            size = np.sqrt(np.sum(coefficients[j] ** 2) + residuals.square(j))
            for i in range(basis.n_rows - first):
                extension[j, i] = residuals.subtract(j, i)
            norm = np.sqrt(residuals.square(j))
            if norm >= smallest and norm > SPAN_TOLERANCE * size:
                extension[j, basis.n_rows - first] = norm
                basis.append(residuals, j, norm)
                truncated[j] = False
                self._orthogonality.classify(norm, basis.n_rows)
            else:
                lost[j] = norm
        return extension[:, : basis.n_rows - first], lost, truncated

    def _orthonormalise(
        self, full: FloatArray, smallest: float
    ) -> tuple[FloatArray, FloatArray, list[int], FloatArray]:
        """Gram-Schmidt of gradients given by their coefficients; keeps the directions.

        Returns Gamma(t, v) and Gamma(t, t), the neurons kept, and the norms of the others.
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
            if norm >= smallest and norm > SPAN_TOLERANCE * size[j]:
                gamma_diagonal[j, len(directions)] = norm
                directions.append(row / norm)
                kept.append(j)
            else:
                unkept[j] = norm
        for direction in directions:
            self._directions.append(direction)
        return gamma_past, gamma_diagonal[:, : len(kept)], kept, unkept

    def _add_coordinates(
        self,
        residuals: Residuals,
        gaussians: FloatArray,
        kept: list[int],
        first_new: int,
        delta: float,
    ) -> tuple[FloatArray, FloatArray]:
        """Add the Gaussians of the neurons kept to the basis, and their coordinates to q.

        Returns what the Gaussians are made of: weights (kept, m) of the components that
        ``gaussians`` retain, and (kept, new rows) of the rows that this step has added.
        """
        m, basis = len(gaussians), self.basis
        mixed: list[FloatArray] = []
        made: list[FloatArray] = []
        for direction, j in enumerate(kept, start=self.n_directions - len(kept)):
            more = [residuals.subtract(m + j, new) for new in range(basis.n_rows - first_new)]
            components = np.concatenate([gaussians[j], more])
            retained = self._orthogonality.retained(components)
            mix = np.zeros(m)
            mix[j] = 1.0
            for earlier, vector in zip(mixed, made, strict=True):
                mix -= (vector @ components[: len(vector)]) * earlier
            size = np.sqrt(residuals.square(m + j))
            basis.append(residuals, m + j, size)
            vector = np.append(retained, size)
            norm = float(np.linalg.norm(vector))
            vector /= norm
            self._orthogonality.avoid(vector)
            mixed.append(mix / norm)
            made.append(vector)
            ghat = self.gradient_coefficients[direction]
            self._coordinates.append(vector - ghat / np.sqrt(delta))
            if self._rotation is not None:
                self._rotation = np.pad(self._rotation, ((0, 1), (0, 1)))
                self._rotation[-1, -1] = 1.0
        of_new = np.zeros((len(made), basis.n_rows - first_new))
        for row, vector in zip(of_new, made, strict=True):
            row[: len(vector) - first_new] = vector[first_new:]
        return np.array(mixed), of_new

    def _complete_directional(
        self,
        directional: Blocks,
        combined: Blocks,
        gamma_diagonal: FloatArray,
        kept: list[int],
        fresh_weights: tuple[FloatArray, FloatArray],
        delta: float,
    ) -> None:
        """Add ``-Gamma(t, t) / sqrt(delta) . (zeta - ghat / sqrt(delta))`` to ``directional``.

        ``combined`` has, after the old coordinates' part, the gradients without their components
        along earlier directions, and the retained components of the Gaussians.
        """
        m = len(gamma_diagonal)
        triangle = np.linalg.inv(gamma_diagonal[kept])
        mixed, made = fresh_weights
        n_rows = self.basis.n_rows
        for b, image in enumerate(directional):
            ghat = triangle @ combined[b][m : 2 * m][kept]
            fresh = made @ self.basis.rows(b)[n_rows - made.shape[1] :]
            if len(combined[b]) > 2 * m:
                fresh += mixed @ combined[b][2 * m :]
            image -= (gamma_diagonal / np.sqrt(delta)) @ (fresh - ghat / np.sqrt(delta))
