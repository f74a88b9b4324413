r"""The self-consistent process of one run: what the gradient of the risk is at a point.

``Process.evaluate`` takes weights B in the coordinates q of ``dmft.solver.paths`` and returns the
gradient of the risk there,

    grad = (E[g q^T], -Gamma / sqrt(delta)),

where Gamma is the part of g that no earlier gradient holds, normalised into new coordinates. Every
evaluation, wherever in the space known so far, adds what it must to that space; so any first-order
method (gradient descent, the stages of a gradient flow) is exact in it (Celentano, Cheng &
Montanari, arXiv:2112.07572).

Most evaluations need the rows of the last few visits only (``dmft.solver.window``). Not those of
mini-batches, whose gradients ``(b/p) g`` with fresh b ~ Bernoulli(p) lie in no such span. As b is
independent of g and of q, E[(b/p) g q^T] = E[g q^T], and the average without b has less noise; b
enters by the new direction.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.aligned import aligned_empty
from dmft._numerics.machine_memory import available_memory
from dmft.model.gradients import (
    compiled_law,
    curvature_bound,
    pre_activation_gradient,
    second_layer_gradient,
)
from dmft.model.symmetry import NeuronSymmetry
from dmft.solver.compression import Activity
from dmft.solver.paths import Paths, Visit
from dmft.solver.window import Window, widened
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from numpy.typing import NDArray

    from dmft._numerics.workers import Mapper
    from dmft.model.problem import Problem
    from dmft.solver.masks import MaskStream
    from dmft.solver.streams import GaussianStream

    FloatArray = NDArray[np.float64]
    S = TypeVar("S")

__all__ = [
    "BLOCK_PATHS",
    "LARGEST_NUMBER",
    "Evaluation",
    "Process",
    "block_width",
    "start_symmetry",
    "symmetrised",
]

LARGEST_NUMBER = 1e150
"""Averages from here on count as overflowed: their squares, which errors are made of, would."""

# Of an exact process: rounding errors then stay below 1e-10 over hundreds of steps, and sampling
# errors are hardly larger than without faint rows.
_FAINT = 3e-4
# Rows of the basis that an exact process has room for from the start, unless memory is limited: it
# will need them.
_EXACT_CAPACITY = 512
# Paths that a thread works on at a time; compiled kernels take them in slices that fit a cache.
BLOCK_PATHS = 16384
# Before the basis grows by this many rows, or bytes if they are more, the machine is asked whether
# it has memory for them.
_ROWS_AHEAD, _BYTES_AHEAD = 32, 2**24
# Few paths make two blocks, for two threads, down to this size of a block.
_LEAST_BLOCK = 1024
# A step is taken from the window if this much of the smallest direction kept is left of its
# gradient there: less than the steps that open no direction leave out.
_WINDOW_REST = 0.5
# ... and unless a direction with this much of it has grown. More than one, so that a visit, which
# may round its square the other way, opens it.
_WINDOW_UNKEPT = 1.1
# Gradients further than this much of it from those remembered are worth remembering.
_WINDOW_NEWS = 0.5
# While this many evaluations in a row open directions the window is not worth its cost.
_BUSY = 4
# Weights are taken for a combination of those remembered up to this much of a step along it.
_WINDOW_POINT = 0.6


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The gradient at a point, and what it is made of.

    Attributes
    ----------
    gradient : ndarray, shape (m, n_coordinates after the evaluation)
        Of the risk, without weight decay, in the coordinates q; of a batch of it, where there are
        batches.
    square : float
        Squared norm of the gradient of the risk over all samples.
    gamma : ndarray, shape (m, n_directions after the evaluation)
        ``g = gamma @ ghat``, or ``(b/p) g``.
    opened : ndarray of int
        Neurons for which a direction was opened, increasing.
    loss : float
        E[l].
    second_moment : ndarray, shape (m, m)
        E[g g^T].
    left_out : float
        Norm of the part of the gradients that was left out.
    above : ndarray, shape (4,)
        Of the paths with a curvature above the limit: their fraction, and their shares of loss,
        squared gradients and squared pre-activations.
    second_layer_gradient : ndarray, shape (m,), or (0,)
        E[dl/da]; empty where it was not asked for.
    status : Status
        DIVERGED if something is not finite or beyond `LARGEST_NUMBER`, TOO_FEW_PATHS,
        OUT_OF_MEMORY; the rest is then meaningless.
    """

    gradient: FloatArray
    square: float
    gamma: FloatArray
    opened: NDArray[np.intp]
    loss: float
    second_moment: FloatArray
    left_out: float
    above: FloatArray
    second_layer_gradient: FloatArray
    status: Status = Status.SUCCESS


class Process:
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
    mirrored : bool
        Every path also with the signs of the hard coordinates changed. Otherwise the overlap with
        hard directions stays what it is.
    masks : list of MaskStream, optional
        The batches, one for each stream; all samples count where there are none.
    trains_second_layer : bool
        Whether evaluations return the gradient in the second layer.
    most_rows : int
        Rows that the basis of the paths may have.
    rows_per_path : float
        TOO_FEW_PATHS beyond this.
    exact : bool
        Whether rounding errors must not grow: for tolerances at which they could be told.
    compression : float
        Directions are let go when they have long been smaller than this much of the smallest one
        that is opened; 0 to keep all. Not with mirror images, nor when exact.

    Attributes
    ----------
    clock : float
        Time of the next evaluations, > 0; set by who asks for them.
    limit : float
        Curvature above which paths are counted; infinite unless it is set.
    paths : Paths
    labels, latent : list of ndarray, shapes (paths of the block,) and (k, paths of the block)
    r : list of ndarray, shape (m, paths of the block)
        Pre-activations of the last evaluation.
    n_visits : int
        Evaluations so far that read the whole basis.
    """

    def __init__(
        self,
        problem: Problem,
        delta: float,
        streams: list[GaussianStream],
        run: Mapper,
        *,
        mirrored: bool = False,
        masks: list[MaskStream] | None = None,
        trains_second_layer: bool = False,
        most_rows: int = sys.maxsize,
        rows_per_path: float = 0.25,
        exact: bool = False,
        compression: float = 0.0,
    ) -> None:
        m, k = problem.m, problem.k
        self.problem = problem
        self.delta = delta
        self.limit = np.inf
        self.clock = 1.0
        self._compression = compression
        keeps_all = compression == 0.0 or mirrored or exact
        self._activity = None if keeps_all else Activity(delta)
        self._streams = streams
        self._run = run
        self._rows_per_path = rows_per_path
        self._mask_streams = masks
        self._trains_second_layer = trains_second_layer
        self._at = problem  # with the second layer of this evaluation
        self._symmetry = start_symmetry(problem)
        self._mirror = problem.target.mirror if mirrored else None
        self._hard_basis = problem.target.hard_basis
        self._law = compiled_law(problem)
        leading, self._pieces = _blocks([stream.leading() for stream in streams], k, self._mirror)
        used = [i for pieces in self._pieces for i, _ in pieces]
        self._splits_streams = len(used) > len(set(used))
        self.labels = []
        for block in leading:
            eps = block[k + m] if problem.target.uses_noise else np.zeros(block.shape[1])
            self.labels.append(problem.sample_labels(np.ascontiguousarray(block[:k].T), eps))
        self.latent = [block[:k] for block in leading]
        self.paths = Paths(
            [block[: k + m] for block in leading],
            run,
            capacity=_EXACT_CAPACITY if exact and most_rows == sys.maxsize else 128,
            most_rows=most_rows,
            faint=_FAINT if exact else 0.0,
        )
        sizes = [block.shape[1] for block in leading]
        self.r = [aligned_empty((m, size)) for size in sizes]
        self._g = [aligned_empty((m, size)) for size in sizes]
        self._rows = [aligned_empty((2 * m, size)) for size in sizes]
        # The paths may hold the rows of a visit until the next one, which uses these.
        self._other_rows = [aligned_empty((2 * m, size)) for size in sizes]
        self._masks = [np.empty(0 if masks is None else size) for size in sizes]
        self._window = Window(m, sizes)
        self._known = [(np.empty(size), np.empty(4)) for size in sizes]  # losses, high curvature
        self._time = 0
        # Paths and their mirror images must see the same decisions, to rounding: none are left to
        # a window whose tolerance is that of the larger, common part.
        self._uses_window = self._law is not None and not mirrored and masks is None
        self._ahead = max(_ROWS_AHEAD, _BYTES_AHEAD // (8 * self.paths.n_paths))
        # Rows that the machine has memory for, as far as known.
        self._room = self.paths.n_rows + self._ahead
        self._streak = 0  # consecutive evaluations, so far, that opened a direction
        self.n_visits = 0

    @property
    def counts(self) -> tuple[int, int, int]:
        """Coordinates, directions and rows of the basis that the paths hold."""
        return self.paths.n_coordinates, self.paths.n_directions, self.paths.n_rows

    def close(self) -> None:
        """Say that nothing will be evaluated any more: lets go of the pool."""
        self._run = map
        self.paths.close()

    def state(self) -> dict[str, Any]:
        """All that later evaluations depend on, in types ``dmft.io.snapshots.pack`` accepts."""
        return {
            "paths": self.paths.state(),
            "window": self._window.state(),
            "r": self.r,
            "time": self._time,
            "streak": self._streak,
            "n_visits": self.n_visits,
            "clock": self.clock,
            "activity": None if self._activity is None else self._activity.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state` of a process made of the same arguments."""
        self.paths.restore(state["paths"])
        self._window.restore(state["window"])
        for own, stored in zip(self.r, state["r"], strict=True):
            own[:] = stored
        self._time = state["time"]
        self._streak = state["streak"]
        self.n_visits = state["n_visits"]
        self.clock = state["clock"]
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
        batch: int = 0,
    ) -> Evaluation:
        """Gradient of the risk at a point.

        Parameters
        ----------
        weights : ndarray, shape (m, <= n_coordinates)
            Zero on coordinates beyond its width.
        step : float
            What the gradient is going to be multiplied with, > 0.
        tolerance : float
            Directions that would receive a weight below this are not opened.
        block : int or None
            Which Gaussians a new direction receives; None to open none.
        second_layer : ndarray, shape (m,), optional
            That of the network; the one of the problem if it is not given.
        batch : int
            Which of the batches to use, where there are any.

        Returns
        -------
        Evaluation
        """
        if second_layer is not None:
            self._at = self.problem.with_second_layer(second_layer)
            self._law = compiled_law(self._at)
        if self._mask_streams is not None:
            self._draw_masks(batch)
        smallest = tolerance * np.sqrt(self.delta) / step
        weights = widened(weights, self.paths.n_coordinates)
        self._time += 1
        found = self._evaluated(weights, step, smallest, block)
        return symmetrised(found, self._symmetry, self._at, weights, self.r, self._g)

    def _evaluated(
        self, weights: FloatArray, step: float, smallest: float, block: int | None
    ) -> Evaluation:
        if self._uses_window and self._streak < _BUSY:
            beta = self._window.represent(weights, _WINDOW_POINT * step * smallest)
            if beta is not None:
                found = self._from_window(beta, smallest)
                if found is not None:
                    return found
                return self._visit(weights, smallest, block, known_point=True)
        return self._visit(weights, smallest, block, known_point=False)

    def compress(
        self, vectors: list[FloatArray], step: float, tolerance: float
    ) -> tuple[list[FloatArray], float]:
        """Let go of directions that no longer matter, now and then.

        Parameters
        ----------
        vectors : list of ndarray, shape (m, <= n_coordinates)
            Weights and gradients that are still needed.
        step, tolerance : float
            As in `evaluate`.

        Returns
        -------
        vectors : list of ndarray
            The same, in the coordinates that are left.
        left_out : float
            Root mean square of what gradients lately had along the directions let go.
        """
        paths, first = self.paths, self.paths.n_leading
        if self._activity is None or not paths.n_directions:
            return vectors, 0.0
        fresh = [widened(vector, paths.n_coordinates)[:, first:] for vector in vectors]
        smallest = self._compression * tolerance * np.sqrt(self.delta) / step
        found = self._activity.rotation(np.concatenate(fresh), smallest)
        if found is None:
            return vectors, 0.0
        rotation, left_out = found
        paths.compress(rotation)
        self._window.clear()
        self._streak = 0
        turned = [
            np.concatenate([vector[:, :first], x @ rotation.T], axis=1)
            for vector, x in zip(vectors, fresh, strict=True)
        ]
        if self._symmetry.pairs:
            layer = np.array(self._at.network.second_layer)
            self._symmetry.holding(np.concatenate(vectors, axis=1), layer).impose(*turned)
        return turned, left_out

    # -- from the window ----------------------------------------------------------------------

    def _from_window(self, beta: FloatArray, smallest: float) -> Evaluation | None:
        """Evaluate from the rows of the window, None if too much of the gradient is left."""
        from dmft._numerics.kernels import window_kernel

        window = self._window
        points, gradients = window.points, window.gradients
        forecast = window.forecast()
        m = len(beta)

        def evaluate(b: int) -> FloatArray:
            r, labels, g, rest = self.r[b], self.labels[b], self._g[b], self._other_rows[b][:m]
            losses, above = self._known[b]
            products = np.empty((m, gradients.n_rows))
            with np.errstate(all="ignore"):
                window_kernel(
                    beta,
                    points.rows[b],
                    points.n_rows,
                    labels,
                    *self._law,  # type: ignore[misc]  # evaluate() has looked
                    self.limit,
                    forecast,
                    gradients.rows[b],
                    gradients.n_rows,
                    r,
                    g,
                    rest,
                    losses,
                    above,
                    products,
                )
            squares = np.einsum("ij,ij->i", rest, rest)
            outer = self._second_layer_products(b)
            none = np.empty((0, 0))
            return _sums(r, losses, g, none, above, squares, outer, products, none)

        sums = _Sums(self.paths.total(evaluate), m, gradients.n_rows, 0, self._trains_second_layer)
        if not sums.finite:
            return None
        along, rest = self._against_window(sums)
        if np.any(rest >= (_WINDOW_REST * smallest) ** 2):
            return None
        c = forecast + gradients.weights_of(along)
        coefficients = gradients.combine(c, self.paths.n_rows)
        kept = self.paths.gradient_coefficients
        gamma = coefficients @ kept.T
        unkept = np.sum((coefficients - gamma @ kept) ** 2, axis=1)
        unkept += gradients.outside_of(c) + rest
        if np.any(unkept >= (_WINDOW_UNKEPT * smallest) ** 2):
            return None
        window.found(c)
        self._streak = 0
        gradient = self._held(coefficients @ self.paths.coordinate_coefficients.T)
        left_out = float(np.sqrt(np.sum(unkept)))
        square = float(np.sum(gradient**2)) + left_out**2 / self.delta
        self._take_note(gamma, gradient)
        return sums.evaluation(gradient, square, gamma, np.empty(0, dtype=np.intp), left_out)

    # -- from the paths -----------------------------------------------------------------------

    def _visit(
        self, weights: FloatArray, smallest: float, block: int | None, known_point: bool
    ) -> Evaluation:
        """Evaluate by visiting the paths; opens the directions worth keeping."""
        paths, window, m = self.paths, self._window, len(weights)
        self.n_visits += 1
        few = m if block is None else 2 * m
        self._rows, self._other_rows = self._other_rows, self._rows
        draw = self._gaussians(block)
        busy = self._streak >= _BUSY or not self._uses_window
        # Mini-batches: nothing is remembered, so nothing is forecast.
        forecast, chosen = window.forecast_for_visit(self._time)
        n_gradients = 0 if busy else window.gradients.n_rows
        masked = self._mask_streams is not None
        point: FloatArray | Visit | None = None
        if not known_point:
            point = weights @ paths.coordinate_coefficients
            if self._law is not None:
                point = paths.begin_visit(point)
        if not isinstance(point, Visit):
            paths.finish()

        def visit(b: int) -> FloatArray:
            draw(b)
            return self._visit_block(point, b, forecast, chosen, n_gradients, few)

        sums = _Sums(
            paths.total(visit),
            m,
            n_gradients,
            few,
            self._trains_second_layer,
        )
        products = sums.products(paths.n_rows)
        if isinstance(point, Visit):
            # Whatever comes of it, rows have been written.
            products = paths.end_visit(point, products)
        nothing = np.empty(0, dtype=np.intp)
        if not sums.finite:
            return sums.evaluation(weights, 0.0, weights, nothing, 0.0, Status.DIVERGED)
        if block is not None and paths.n_rows + 2 * m > self._rows_per_path * paths.n_paths:
            return sums.evaluation(weights, 0.0, weights, nothing, 0.0, Status.TOO_FEW_PATHS)
        if block is not None and not self._has_room(paths.n_rows + 2 * m):
            return sums.evaluation(weights, 0.0, weights, nothing, 0.0, Status.OUT_OF_MEMORY)
        news = not busy and self._is_news(sums, smallest)
        first_new = paths.n_rows
        of_all = self._of_all(sums, products[few:]) if masked else None
        found = paths.absorb(
            self._rows,
            products[:few],
            np.diagonal(sums.gram)[:m],
            np.inf if block is None else smallest,
            None if block is None else self.delta,
            window.gradients.combine(forecast, paths.n_rows, chosen),
            # What was remembered of earlier gradients must be compared with new rows at once.
            gram=None if window.gradients.has_outside else sums.gram,
            wanted=news,
            images=not busy,
            held=self._held,
        )
        correlation = self._held(found.correlation) if of_all is None else of_all[0]
        gradient = np.concatenate(
            [correlation, -found.gamma_diagonal / np.sqrt(self.delta)], axis=1
        )
        if self._uses_window:
            window.points.replace_reserved(weights, self.r)
        if self._law is not None and self._mask_streams is None:
            if (news or len(found.kept) or busy) and found.left_out is not None:
                outside = None
                if found.left_out.any():
                    outside = [rows[:m] for rows in self._rows]
                    for rest in outside:
                        rest[~found.left_out] = 0.0
                window.remember(self._time, found.coefficients, self._g, outside)
                if found.images is not None:
                    window.points.add(gradient, found.images)
            if paths.n_rows > first_new and window.gradients.has_outside:
                new_rows = [paths.basis(b)[first_new:] for b in range(len(self.r))]
                window.gradients.basis_has_grown(new_rows, first_new)
        self._streak = self._streak + 1 if len(found.kept) else 0
        gamma = np.concatenate([found.gamma_past, found.gamma_diagonal], axis=1)
        self._take_note(gamma, gradient)
        left_out = float(np.linalg.norm(found.dropped))
        square = float(np.sum(gradient**2)) + left_out**2 / self.delta
        return sums.evaluation(
            gradient, square if of_all is None else of_all[1], gamma, found.kept, left_out
        )

    def _has_room(self, n_rows: int) -> bool:
        """Whether there is memory for so many rows of the basis: of the budget, and the machine."""
        paths = self.paths
        if n_rows > paths.most_rows:
            return False
        if n_rows > self._room:
            numbers = (n_rows + self._ahead - paths.n_rows) * paths.n_paths
            if n_rows > paths.capacity:  # a block has its old rows beside it while it grows
                numbers += paths.n_rows * max(block.shape[1] for block in self.r)
            if 8.0 * numbers > available_memory():
                return False
            self._room = n_rows + self._ahead
        return True

    def _take_note(self, gamma: FloatArray, gradient: FloatArray) -> None:
        if self._activity is not None:
            self._activity.add(self.clock, gamma, gradient[:, self.paths.n_leading :])

    def _of_all(self, sums: _Sums, products: FloatArray) -> tuple[FloatArray, float]:
        """E[g q^T] without the batch, before its direction opens, and |grad Risk|^2.

        The latter is ``|E[g q^T]|^2 + (E|g|^2 - |E[g ghat^T]|^2) / delta``: what is left of g
        beside the earlier gradients, all of them of batches, would be its new direction. In the
        limit that is ``|grad_batch|^2 - (1/p - 1) E|g|^2 / delta``.
        """
        correlation = self._held(products @ self.paths.coordinate_coefficients.T)
        past = products @ self.paths.gradient_coefficients.T
        rest = max(sums.mean_square - float(np.sum(past**2)), 0.0)
        return correlation, float(np.sum(correlation**2)) + rest / self.delta

    def _visit_block(
        self,
        point: FloatArray | Visit | None,
        b: int,
        forecast: FloatArray,
        chosen: NDArray[np.intp],
        n_gradients: int,
        few: int,
    ) -> FloatArray:
        """One visit to a block: pre-activations, gradients, and all averages they enter.

        Without a point, pre-activations and gradients are those that the window
        has left.
        """
        from dmft._numerics.kernels import forecast_kernel

        r, g, rows = self.r[b], self._g[b], self._rows[b]
        m = len(r)
        losses, above = self._known[b]
        remembered = self._window.gradients
        gradients, outside = remembered.rows[b], remembered.outside[b]
        mask = self._masks[b]
        with_gradients, squares = np.empty((m, n_gradients)), np.zeros(m)
        with np.errstate(all="ignore"):
            if point is None:
                forecast_kernel(
                    forecast, chosen, gradients, outside, g, rows, with_gradients, squares
                )
                products = self.paths.average(rows[:few], b)
            elif isinstance(point, Visit):
                assert self._law is not None
                products, with_gradients, squares, losses, above = self.paths.visit(
                    point,
                    b,
                    self._law,
                    self.limit,
                    self.labels[b],
                    r,
                    g,
                    forecast,
                    chosen,
                    gradients,
                    outside,
                    n_gradients,
                    rows,
                    few,
                    mask,
                )
            else:
                r[:] = self.paths.combine_rows(point, b)
                _, losses = pre_activation_gradient(self._at, r, self.labels[b], out=g)
                rows[:m] = g
                looked_at = rows[:few]
                if len(mask):
                    rows[:m] *= mask
                    looked_at = np.concatenate([looked_at, g])
                above = self._above(r, g, losses, self.labels[b])
                products = self.paths.average(looked_at, b)
            gram = rows[:few] @ rows[:few].T
            outer = self._second_layer_products(b)
            return _sums(r, losses, g, gram, above, squares, outer, with_gradients, products)

    def _second_layer_products(self, b: int) -> FloatArray:
        """Sum over a block of the gradients in the second layer, if they are asked for."""
        if not self._trains_second_layer:
            return np.empty(0)
        return second_layer_gradient(self._at, self.r[b], self.labels[b])

    def _above(
        self, r: FloatArray, g: FloatArray, losses: FloatArray, labels: FloatArray
    ) -> FloatArray:
        """Paths with a curvature above the limit, as the compiled kernels count them."""
        if not np.isfinite(self.limit):
            return np.zeros(4)
        high = curvature_bound(self._at, r, labels) > self.limit
        return np.array(
            [high.sum(), losses[high].sum(), *(np.sum(x[:, high] ** 2) for x in (g, r))]
        )

    def _gaussians(self, block: int | None) -> Callable[[int], None]:
        """Return what fills in the fresh Gaussians of a block of paths."""
        if block is None:
            return lambda b: None
        m = self.problem.m
        targets = [rows[m:] for rows in self._rows]
        return self._filling(targets, self._streams, lambda stream: stream.block(block))

    def _draw_masks(self, batch: int) -> None:
        """Fill in the batch; a path and its mirror image are used together."""
        fill = self._filling(
            self._masks, self._mask_streams or [], lambda stream: stream.block(batch)
        )
        list(self._run(fill, range(len(self._masks))))

    def _filling(
        self, targets: list[FloatArray], streams: list[S], draw: Callable[[S], FloatArray]
    ) -> Callable[[int], None]:
        """Return what fills in the numbers of the streams, (..., paths of the block)."""
        drawn = list(self._run(draw, streams)) if self._splits_streams else None

        def fill(b: int) -> None:
            numbers = [
                (draw(streams[i]) if drawn is None else drawn[i])[..., columns]
                for i, columns in self._pieces[b]
            ]
            together = np.concatenate(numbers, axis=-1)
            targets[b][...] = together if self._mirror is None else np.tile(together, 2)

        return fill

    def _against_window(self, sums: _Sums) -> tuple[FloatArray, FloatArray]:
        """Split what a forecast left of the gradients: along those remembered, squares beyond."""
        along = self._window.gradients.along(sums.with_gradients)
        return along, np.maximum(sums.against_window - np.sum(along**2, axis=1), 0.0)

    def _is_news(self, sums: _Sums, smallest: float) -> bool:
        """Whether gradients lie outside the span of those remembered."""
        if not sums.with_gradients.shape[1]:
            return True
        _, rest = self._against_window(sums)
        return bool(np.any(rest >= (_WINDOW_NEWS * smallest) ** 2))

    def _held(self, gradient: FloatArray) -> FloatArray:
        """Take what moves hard directions off E[g q^T].

        They cannot be picked up in O(1) steps; what E[g z^T] holds of them is noise which the
        instability under study would amplify.
        """
        if self._mirror is None:
            k, hard = self.problem.k, self._hard_basis
            gradient[:, :k] -= (gradient[:, :k] @ hard) @ hard.T
        return gradient


def start_symmetry(problem: Problem) -> NeuronSymmetry:
    """Neurons of a problem that start equal or opposite, and so remain."""
    network = problem.network
    layer = np.array(network.second_layer)
    return NeuronSymmetry.of(problem.initial_weights(), layer, network.activation)


def symmetrised(
    found: Evaluation,
    symmetry: NeuronSymmetry,
    problem: Problem,
    weights: FloatArray,
    r: list[FloatArray],
    g: list[FloatArray],
) -> Evaluation:
    """Take off an evaluation at some weights what rounding made of neurons that are equal.

    Also what it made of gradients that are zero on every path: those of neurons without output, or
    at the origin of an even activation. The pre-activations ``r`` are changed in place.
    """
    if not found.status.ok:
        return found
    layer = np.array(problem.network.second_layer)
    pairs = symmetry.holding(weights, layer) if symmetry.pairs else symmetry
    squares = np.diagonal(found.second_moment)
    still = [j for j in np.flatnonzero(squares == 0.0) if not any(rows[j].any() for rows in g)]
    if not (pairs.pairs or still):
        return found
    gradient, gamma = found.gradient.copy(), found.gamma.copy()
    second_moment = found.second_moment.copy()
    of_layer = found.second_layer_gradient.copy()
    gradient[still] = gamma[still] = 0.0
    pairs.impose(gradient, gamma, second_moment, second_moment.T, *r)
    pairs.impose_on_layer(of_layer)
    return replace(
        found,
        gradient=gradient,
        gamma=gamma,
        second_moment=second_moment,
        second_layer_gradient=of_layer,
    )


def _sums(
    r: FloatArray,
    losses: FloatArray,
    g: FloatArray,
    gram: FloatArray,
    above: FloatArray,
    against_window: FloatArray,
    outer: FloatArray,
    with_gradients: FloatArray,
    products: FloatArray,
) -> FloatArray:
    """All sums over a block in one array."""
    return np.concatenate(
        [
            [np.sum(losses), np.vdot(r, r)],
            above,
            (g @ g.T).ravel(),
            gram.ravel(),
            against_window,
            outer,
            with_gradients.ravel(),
            products.ravel(),
        ]
    )


class _Sums:
    """Averages over the paths, taken apart."""

    def __init__(
        self, sums: FloatArray, m: int, n_gradients: int, few: int, has_outer: bool
    ) -> None:
        self.finite = bool((np.abs(sums) < LARGEST_NUMBER).all())
        self._loss, self._square, self._above = float(sums[0]), float(sums[1]), sums[2:6]
        first = 6

        def take(size: int) -> FloatArray:
            nonlocal first
            first += size
            return sums[first - size : first]

        self._second_moment = take(m * m).reshape(m, m)
        self.gram = take(few * few).reshape(few, few)
        self.against_window = take(m)
        self._outer = take(m if has_outer else 0)
        self.with_gradients = take(m * n_gradients).reshape(m, n_gradients)
        self._products = sums[first:]

    @property
    def mean_square(self) -> float:
        """E|g|^2, of all samples."""
        return float(np.trace(self._second_moment))

    def products(self, n_columns: int) -> FloatArray:
        """Averages of rows with rows, (j, n_columns)."""
        return self._products.reshape(-1, n_columns)

    def evaluation(
        self,
        gradient: FloatArray,
        square: float,
        gamma: FloatArray,
        opened: NDArray[np.intp],
        left_out: float,
        status: Status = Status.SUCCESS,
    ) -> Evaluation:
        """Put together what belongs to a gradient."""
        totals = np.array([1.0, self._loss, np.trace(self._second_moment), self._square])
        known = np.isfinite(totals) & (totals > 0)
        above = np.divide(self._above, totals, out=np.zeros(4), where=known)
        return Evaluation(
            gradient,
            square,
            gamma,
            opened,
            self._loss,
            self._second_moment,
            left_out,
            above,
            self._outer,
            status,
        )


def block_width(n_paths: int) -> int:
    """Paths of a block, at most, of a run over so many."""
    return min(BLOCK_PATHS, max(_LEAST_BLOCK, n_paths // 2))


def _blocks(
    streams: list[FloatArray], k: int, mirror: Callable[[FloatArray], FloatArray] | None
) -> tuple[list[FloatArray], list[list[tuple[int, slice]]]]:
    """Split the paths of all streams into blocks that stay in cache during a visit.

    With ``mirror``, the second half of each block are the mirror images of the first. Returns the
    blocks, and for each the streams and columns that its paths (of the first half) come from.
    """
    total = sum(leading.shape[1] for leading in streams)
    width = block_width(total)
    if mirror is not None:
        width //= 2
    pieces: list[list[tuple[int, slice]]] = []
    room = 0
    for index, leading in enumerate(streams):
        for start in range(0, leading.shape[1], width):
            stop = min(start + width, leading.shape[1])
            if stop - start > room:
                pieces.append([])
                room = width
            pieces[-1].append((index, slice(start, stop)))
            room -= stop - start
    blocks = []
    for of_block in pieces:
        block = np.concatenate([streams[i][:, columns] for i, columns in of_block], axis=1)
        if mirror is not None:
            image = np.concatenate([mirror(block[:k]), block[k:]])
            block = np.concatenate([block, image], axis=1)
        blocks.append(np.ascontiguousarray(block))
    return blocks, pieces
