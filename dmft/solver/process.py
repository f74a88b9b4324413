r"""The self-consistent process of one run: the gradient of the risk at a point.

``Process.evaluate`` takes weights B in the coordinates q of ``dmft.solver.paths`` and returns the
gradient of the risk there,

    grad = (E[g q^T], -Gamma / sqrt(delta)),

where Gamma are the components of g along new directions, orthogonal to all earlier gradients. Every
evaluation, wherever in the space known so far, extends that space by what it needs; so any
first-order method (gradient descent, the stages of a gradient flow) is exact in it (Celentano,
Cheng & Montanari, arXiv:2112.07572).

Most evaluations need the recycled subspace of the last few full passes only
(``dmft.solver.recycling``). Not those of mini-batches, whose gradients ``(b/p) g`` with fresh
b ~ Bernoulli(p) lie in no such span. As b is independent of g and of q, E[(b/p) g q^T] = E[g q^T],
and the average without b has less noise; b enters by the new direction.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dmft.model.features import reflected
from dmft.solver.basis import FullPass
from dmft.solver.blocks import PathBlocks
from dmft.solver.coefficients import widened
from dmft.solver.evaluation import Averages, initial_symmetry, symmetrised
from dmft.solver.gradients import PathGradients
from dmft.solver.orthogonality import EveryRow, WellDeterminedRows
from dmft.solver.paths import Paths
from dmft.solver.recycling import RecycledSubspace
from dmft.solver.room import Room
from dmft.solver.spectral_start import start_of
from dmft.solver.state import DeclaredState
from dmft.solver.truncation import Activity
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from dmft._numerics.workers import Mapper
    from dmft.model.problem import Problem
    from dmft.solver.evaluation import Evaluation
    from dmft.solver.masks import MaskStream
    from dmft.solver.paths import GradientBlock
    from dmft.solver.streams import GaussianStream

    FloatArray = NDArray[np.float64]

__all__ = ["Process"]

# A step is taken from the recycled subspace if the residual of its gradient there is below this
# much of the smallest direction kept: less than the steps that extend nothing truncate.
_RESIDUAL = 0.5
# ... and unless a direction with this much of it has grown. More than one, so that a full pass,
# which may round its square the other way, keeps it.
_UNKEPT = 1.1
# Innovations above this much of it, outside the span of the history, enter the history.
_INNOVATION = 0.5
# After this many evaluations in a row that extend the basis, recycling is not worth its cost.
_MOST_EXTENSIONS = 4
# Weights count as a combination of those in the history up to this much of a step along it.
_POINT = 0.6


class Process(DeclaredState):
    """Paths, labels and gradients of one run.

    Parameters
    ----------
    problem : Problem
    delta : float
        n/d.
    streams : list of GaussianStream
        The random numbers, one block of paths (or several) for each.
    run : callable
        ``map``, or a pool's ``map`` to work on the blocks concurrently.
    antithetic : bool
        Whether paths are pairs with the hard coordinates z_h and -z_h. Otherwise gradients are
        projected off the hard directions, and the overlap with them stays what it is.
    held : ndarray, shape (k, r), optional
        With antithetic paths: directions off which gradients are projected all the same.
    features : sequence of ndarray, shape (k, r)
        With antithetic paths: each has pairs of its own, in place of one for all hard directions.
    masks : list of MaskStream, optional
        The batches, one for each stream; all samples count where there are none.
    trains : pair of bool
        Whether evaluations return the gradient in the second layer, in the biases.
    max_rows : int
        Rows that the basis of the paths may have.
    rows_per_path : float
        TOO_FEW_PATHS beyond this.
    exact : bool
        Whether rounding errors must not grow: for tolerances at which they could be told.
    compression : float
        Directions are discarded when they have long been smaller than this much of the smallest one
        that is kept; 0 to keep all. Not with antithetic paths, nor when exact.

    Attributes
    ----------
    time : float
        Of the next evaluations, > 0; set by who asks for them.
    paths : Paths
    labels, latent, scales : list of ndarray
        As in `PathGradients`; and r, B q of the last evaluation.
    n_full_passes : int
        Evaluations so far that read the whole basis.
    initial_weights : ndarray, shape (m, n_coordinates at the start)
        B_0.
    """

    _STATE = ("_n_evaluations", "_n_extensions", "n_full_passes", "time")

    def __init__(
        self,
        problem: Problem,
        delta: float,
        streams: list[GaussianStream],
        run: Mapper,
        *,
        antithetic: bool = False,
        held: FloatArray | None = None,
        features: Sequence[FloatArray] = (),
        masks: list[MaskStream] | None = None,
        trains: tuple[bool, bool] = (False, False),
        max_rows: int = sys.maxsize,
        rows_per_path: float = 0.25,
        exact: bool = False,
        compression: float = 0.0,
    ) -> None:
        m, k = problem.m, problem.k
        self.problem = problem
        self.delta = delta
        self.time = 1.0
        self._streams = streams
        self._run = run
        self._rows_per_path = rows_per_path
        self._mask_streams = masks
        mirrored = features or ((problem.target.hard_basis,) if antithetic else ())
        mirrors = [partial(reflected, basis=basis) for basis in mirrored]
        self._blocks = PathBlocks(streams, k, mirrors)
        self._gradients = PathGradients(problem, self._blocks, masks is not None, trains)
        self.labels, self.latent = self._gradients.labels, self._gradients.latent
        self.scales, self.r = self._gradients.scales, self._gradients.r
        start = start_of(problem, delta, self.labels, self.scales, self._blocks.leading)
        self.initial_weights = start.weights
        # Off which gradients are projected; with antithetic paths those that stay hard, if any.
        self._hard_basis = held if antithetic else start.held
        self._symmetry = initial_symmetry(problem, start.weights)
        orthogonality = WellDeterminedRows() if exact else EveryRow()
        self.paths = Paths(
            [block[: k + m] for block in self._blocks.leading],
            run,
            # Where memory is limited, none is reserved that may not be needed.
            capacity=orthogonality.capacity if max_rows == sys.maxsize else EveryRow.capacity,
            max_rows=max_rows,
            orthogonality=orthogonality,
            past=start.past,
            delta=delta,
        )
        self._compression = compression
        truncates = compression > 0.0 and orthogonality.can_truncate and not antithetic
        self._activity = Activity(delta) if truncates else None
        self._subspace = RecycledSubspace(m, self._blocks.sizes)
        # Antithetic paths must see the same decisions, to rounding: none are left to a subspace
        # whose tolerance is that of the larger, common component.
        self._recycles = self._gradients.is_compiled and not antithetic and masks is None
        self._room = Room(self.paths.basis, self._blocks.sizes)
        self._n_evaluations = 0
        self._n_extensions = 0  # consecutive evaluations, so far, that kept a direction
        self.n_full_passes = 0

    @property
    def at(self) -> Problem:
        """The problem with second layer and biases of the last evaluation."""
        return self._gradients.at

    @property
    def limit(self) -> float:
        """Curvature above which paths are counted; infinite unless it is set."""
        return self._gradients.limit

    @limit.setter
    def limit(self, value: float) -> None:
        self._gradients.limit = value

    @property
    def counts(self) -> tuple[int, int, int]:
        """Coordinates, directions and rows of the basis that the paths hold."""
        return self.paths.n_coordinates, self.paths.n_directions, self.paths.basis.n_rows

    def close(self) -> None:
        """Release the pool: nothing will be evaluated any more."""
        self._run = map
        self.paths.close()

    def state(self) -> dict[str, Any]:
        """Return all that later evaluations depend on, for ``dmft.io.snapshots.pack``."""
        return {
            **super().state(),
            "paths": self.paths.state(),
            "subspace": self._subspace.state(),
            "r": self.r,
            "activity": None if self._activity is None else self._activity.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state` of a process made of the same arguments."""
        super().restore(state)
        self.paths.restore(state["paths"])
        self._subspace.restore(state["subspace"])
        for own, stored in zip(self.r, state["r"], strict=True):
            own[:] = stored
        if self._activity is not None:
            self._activity.restore(state["activity"])

    def evaluate(
        self,
        weights: FloatArray,
        step: float,
        tolerance: float,
        block: int | None,
        *,
        second_layer: FloatArray | None = None,
        biases: FloatArray | None = None,
        batch: int = 0,
    ) -> Evaluation:
        """Evaluate the gradient of the risk at a point.

        Parameters
        ----------
        weights : ndarray, shape (m, <= n_coordinates)
            Zero on coordinates beyond its width.
        step : float
            What the gradient is going to be multiplied with, > 0.
        tolerance : float
            Directions that would receive a weight below this are truncated.
        block : int or None
            Which Gaussians a new direction receives; None to keep none.
        second_layer, biases : ndarray, shape (m,), optional
            Those of the network; where not given, as before.
        batch : int
            Which of the batches to use, where there are any.

        Returns
        -------
        Evaluation
        """
        gradients = self._gradients
        gradients.use_layers(second_layer, biases)
        if self._mask_streams is not None:
            self._draw_masks(self._mask_streams, batch)
        smallest = tolerance * np.sqrt(self.delta) / step
        weights = widened(weights, self.paths.n_coordinates)
        self._n_evaluations += 1
        found = self._evaluated(weights, step, smallest, block)
        return symmetrised(found, self._symmetry, gradients.at, weights, self.r, gradients.g)

    def _evaluated(
        self, weights: FloatArray, step: float, smallest: float, block: int | None
    ) -> Evaluation:
        """Evaluate from the recycled subspace if it suffices, otherwise by a full pass."""
        beta = None
        if self._recycles and self._n_extensions < _MOST_EXTENSIONS:
            beta = self._subspace.represent(weights, _POINT * step * smallest)
            if beta is not None:
                found = self._from_subspace(beta, smallest)
                if found is not None:
                    return found
        return self._full_pass(weights, smallest, block, is_known=beta is not None)

    def truncate(
        self, vectors: list[FloatArray], step: float, tolerance: float
    ) -> tuple[list[FloatArray], float]:
        """Discard directions that no longer matter, now and then.

        Parameters
        ----------
        vectors : list of ndarray, shape (m, <= n_coordinates)
            Weights and gradients that are still needed.
        step, tolerance : float
            As in `evaluate`.

        Returns
        -------
        vectors : list of ndarray
            The same, in the coordinates kept.
        residual : float
            Root mean square of the recent gradients along the directions discarded.
        """
        paths, first = self.paths, self.paths.n_leading
        if self._activity is None or not paths.n_directions:
            return vectors, 0.0
        fresh = [widened(vector, paths.n_coordinates)[:, first:] for vector in vectors]
        smallest = self._compression * tolerance * np.sqrt(self.delta) / step
        found = self._activity.rotation(np.concatenate(fresh), smallest)
        if found is None:
            return vectors, 0.0
        rotation, residual = found
        paths.truncate(rotation)
        self._subspace.clear()
        self._n_extensions = 0
        turned = [
            np.concatenate([vector[:, :first], x @ rotation.T], axis=1)
            for vector, x in zip(vectors, fresh, strict=True)
        ]
        self._symmetry.holding(np.hstack(vectors), self.at.network).impose(*turned)
        return turned, residual

    # -- from the recycled subspace -----------------------------------------------------------

    def _from_subspace(self, beta: FloatArray, smallest: float) -> Evaluation | None:
        """Evaluate from the recycled subspace, None if the residual is too large."""
        subspace, history, basis = self._subspace, self._subspace.gradients, self.paths.basis
        predicted = subspace.predictor()
        sums = basis.average(lambda b: self._gradients.from_subspace(b, beta, predicted, subspace))
        averages = self._averages(sums, len(beta), history.n_rows, 0)
        if not averages.finite:
            return None
        along, rest = self._against_history(averages)
        if np.any(rest >= (_RESIDUAL * smallest) ** 2):
            return None
        c = predicted + history.weights_of(along)
        coefficients = history.combine(c, basis.n_rows)
        kept = self.paths.gradient_coefficients
        gamma = coefficients @ kept.T
        unkept = np.sum((coefficients - gamma @ kept) ** 2, axis=1)
        unkept += history.residual_squares(c) + rest
        if np.any(unkept >= (_UNKEPT * smallest) ** 2):
            return None
        subspace.record(c)
        self._n_extensions = 0
        gradient = self._projected(coefficients @ self.paths.coordinate_coefficients.T)
        residual = float(np.sqrt(np.sum(unkept)))
        square = float(np.sum(gradient**2)) + residual**2 / self.delta
        self._record_activity(gamma, gradient)
        return averages.evaluation(gradient, square, gamma, np.empty(0, dtype=np.intp), residual)

    # -- by a full pass -----------------------------------------------------------------------

    def _full_pass(
        self, weights: FloatArray, smallest: float, block: int | None, is_known: bool
    ) -> Evaluation:
        """Evaluate with the whole basis; keeps the directions worth it."""
        paths, basis, subspace, m = self.paths, self.paths.basis, self._subspace, len(weights)
        gradients, history = self._gradients, self._subspace.gradients
        self.n_full_passes += 1
        n_rhs = m if block is None else 2 * m
        gradients.exchange_rows()
        draw = self._drawing_gaussians(block)
        extending = self._n_extensions >= _MOST_EXTENSIONS or not self._recycles
        # Mini-batches: there is no history, so nothing is predicted.
        prediction = subspace.predictor_for_pass(self._n_evaluations)
        n_gradients = 0 if extending else history.n_rows
        point: FloatArray | FullPass | None = None
        if not is_known:
            point = weights @ paths.coordinate_coefficients
            if gradients.is_compiled:
                point = basis.begin_pass(point)
        if not isinstance(point, FullPass):
            basis.write_pending()

        def of_block(b: int) -> FloatArray:
            draw(b)
            return gradients.full_pass(b, point, basis, prediction, history, n_gradients, n_rhs)

        averages = self._averages(basis.average(of_block), m, n_gradients, n_rhs)
        products = averages.products(basis.n_rows)
        if isinstance(point, FullPass):
            # Whatever comes of it, rows have been written.
            products = basis.end_pass(point, products)
        if not averages.finite:
            return averages.failure(weights, Status.DIVERGED)
        if block is not None and basis.n_rows + 2 * m > self._rows_per_path * basis.n_paths:
            return averages.failure(weights, Status.TOO_FEW_PATHS)
        if block is not None and not self._room.has(basis.n_rows + 2 * m):
            return averages.failure(weights, Status.OUT_OF_MEMORY)
        innovates = not extending and self._has_innovation(averages, smallest)
        first_new = basis.n_rows
        unmasked = None
        if self._mask_streams is not None:
            unmasked = self._unmasked(averages, products[n_rhs:])
        found = paths.add_gradients(
            gradients.rows,
            products[:n_rhs],
            np.diagonal(averages.gram)[:m],
            np.inf if block is None else smallest,
            None if block is None else self.delta,
            history.combine(prediction[0], basis.n_rows, prediction[1]),
            # Residuals of earlier gradients must be compared with new rows at once.
            gram=None if history.has_residuals else averages.gram,
            find_residuals=innovates,
            directional=not extending,
            projection=self._projected,
        )
        correlation = self._projected(found.correlation) if unmasked is None else unmasked[0]
        gradient = np.concatenate(
            [correlation, -found.gamma_diagonal / np.sqrt(self.delta)], axis=1
        )
        if self._recycles:
            subspace.points.replace_reserved(weights, self.r)
        if gradients.is_compiled and self._mask_streams is None:
            keeps = innovates or extending or len(found.kept) > 0
            self._update_history(found, gradient, first_new, keeps)
        self._n_extensions = self._n_extensions + 1 if len(found.kept) else 0
        gamma = np.concatenate([found.gamma_past, found.gamma_diagonal], axis=1)
        self._record_activity(gamma, gradient)
        residual = float(np.linalg.norm(found.truncation_residuals))
        square = float(np.sum(gradient**2)) + residual**2 / self.delta
        return averages.evaluation(
            gradient, square if unmasked is None else unmasked[1], gamma, found.kept, residual
        )

    def _update_history(
        self, found: GradientBlock, gradient: FloatArray, first_new: int, keeps: bool
    ) -> None:
        """Add the gradients of a full pass to the history if it is kept, and follow the basis."""
        subspace, basis, gradients = self._subspace, self.paths.basis, self._gradients
        if keeps and found.truncated is not None:
            residuals = None
            if found.truncated.any():
                residuals = [rows[: len(gradient)] for rows in gradients.rows]
                for rest in residuals:
                    rest[~found.truncated] = 0.0
            subspace.record_pass(self._n_evaluations, found.coefficients, gradients.g, residuals)
            if found.directional is not None:
                subspace.points.add(gradient, found.directional)
        if basis.n_rows > first_new and subspace.gradients.has_residuals:
            new_rows = [basis.rows(b)[first_new:] for b in range(basis.n_blocks)]
            subspace.gradients.project_onto_new(new_rows, first_new)

    def _unmasked(self, averages: Averages, products: FloatArray) -> tuple[FloatArray, float]:
        """Return E[g q^T] without the batch, before its direction is kept, and |grad Risk|^2.

        The latter is ``|E[g q^T]|^2 + (E|g|^2 - |E[g ghat^T]|^2) / delta``: the residual of g
        beside the earlier gradients, all of them of batches, would be its new direction. In the
        limit that is ``|grad_batch|^2 - (1/p - 1) E|g|^2 / delta``.
        """
        correlation = self._projected(products @ self.paths.coordinate_coefficients.T)
        past = products @ self.paths.gradient_coefficients.T
        rest = max(averages.mean_square - float(np.sum(past**2)), 0.0)
        return correlation, float(np.sum(correlation**2)) + rest / self.delta

    # -- parts of both ------------------------------------------------------------------------

    def _averages(self, sums: FloatArray, m: int, n_gradients: int, n_rhs: int) -> Averages:
        return Averages(sums, m, n_gradients, n_rhs, self._gradients.trains)

    def _against_history(self, averages: Averages) -> tuple[FloatArray, FloatArray]:
        """Split innovations into components along the history, and mean squares of residuals."""
        along = self._subspace.gradients.along(averages.with_gradients)
        return along, np.maximum(averages.innovation_squares - np.sum(along**2, axis=1), 0.0)

    def _has_innovation(self, averages: Averages, smallest: float) -> bool:
        """Whether gradients lie outside the span of the history."""
        if not averages.with_gradients.shape[1]:
            return True
        _, rest = self._against_history(averages)
        return bool(np.any(rest >= (_INNOVATION * smallest) ** 2))

    def _projected(self, gradient: FloatArray) -> FloatArray:
        """Project E[g q^T] off the hard directions, in place.

        They cannot be picked up in O(1) steps; the components of E[g z^T] along them are noise
        which the instability under study would amplify.
        """
        if self._hard_basis is not None:
            k, hard = self.problem.k, self._hard_basis
            gradient[:, :k] -= (gradient[:, :k] @ hard) @ hard.T
        return gradient

    def _record_activity(self, gamma: FloatArray, gradient: FloatArray) -> None:
        if self._activity is not None:
            self._activity.add(self.time, gamma, gradient[:, self.paths.n_leading :])

    def _drawing_gaussians(self, block: int | None) -> Callable[[int], None]:
        """Return a function that fills in the fresh Gaussians of a block of paths."""
        if block is None:
            return lambda b: None
        m = self.problem.m
        targets = [rows[m:] for rows in self._gradients.rows]
        return self._blocks.filling(
            targets, self._streams, lambda stream: stream.block(block), self._run
        )

    def _draw_masks(self, streams: list[MaskStream], batch: int) -> None:
        """Fill in the batch; antithetic paths are used together."""
        masks = self._gradients.masks
        fill = self._blocks.filling(masks, streams, lambda stream: stream.block(batch), self._run)
        list(self._run(fill, range(len(masks))))
