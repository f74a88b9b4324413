"""Gradients of the loss on the paths, block by block, and the sums they enter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.aligned import aligned_empty
from dmft.model.drawn_inputs import labels_and_scales, scaled
from dmft.model.gradients import (
    compiled_law,
    curvature_bound,
    pre_activation_gradient,
    second_layer_gradient,
)
from dmft.solver.basis import FullPass
from dmft.solver.evaluation import packed_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft._numerics import kernels
    from dmft.model.problem import Problem
    from dmft.solver.basis import OrthonormalBasis
    from dmft.solver.blocks import PathBlocks
    from dmft.solver.recycling import GradientHistory, RecycledSubspace

    FloatArray = NDArray[np.float64]

__all__ = ["PathGradients"]


class PathGradients:
    """Labels of all paths, and pre-activations and gradients at the last point.

    Parameters
    ----------
    problem : Problem
    blocks : PathBlocks
    has_masks : bool
        Whether gradients count by factors, those of batches.
    trains : pair of bool
        Whether gradients in the second layer, in the biases, are summed.

    Attributes
    ----------
    at : Problem
        With the second layer and biases of the last point.
    labels, latent : list of ndarray, shapes (paths of the block,) and (k, paths of the block)
    scales : list of ndarray, shape (paths of the block,), or (0,)
        Scales s of the inputs; empty where all are one.
    r, g : list of ndarray, shape (m, paths of the block)
        B q and gradients at the last point: pre-activations are s B q, and g is s dl/dr.
    rows : list of ndarray, shape (2 m, paths of the block)
        Innovations of the gradients, with the factors of a batch, then fresh Gaussians.
    masks : list of ndarray, shape (paths of the block,), or (0,)
    limit : float
        Curvature above which paths are counted.
    """

    def __init__(
        self, problem: Problem, blocks: PathBlocks, has_masks: bool, trains: tuple[bool, bool]
    ) -> None:
        m, k = problem.m, problem.k
        self.at = problem
        self.limit = np.inf
        self._law = compiled_law(problem)
        self.trains = trains
        drawn = [labels_and_scales(problem, block) for block in blocks.leading]
        self.labels, self.scales = [y for y, _ in drawn], [scales for _, scales in drawn]
        self.latent = [block[:k] for block in blocks.leading]
        sizes = blocks.sizes
        self.r = [aligned_empty((m, size)) for size in sizes]
        self.g = [aligned_empty((m, size)) for size in sizes]
        self.rows = [aligned_empty((2 * m, size)) for size in sizes]
        # The basis may keep the rows of a full pass until the next one, which uses these.
        self._spare_rows = [aligned_empty((2 * m, size)) for size in sizes]
        self.masks = [np.empty(size if has_masks else 0) for size in sizes]
        self._losses = [np.empty(size) for size in sizes]
        self._above = [np.empty(4) for _ in sizes]

    @property
    def is_compiled(self) -> bool:
        """Whether activation and loss have compiled kernels."""
        return self._law is not None

    def use_layers(self, second_layer: FloatArray | None, biases: FloatArray | None) -> None:
        """Evaluate later points with another second layer, or other biases."""
        changed = self.at.with_layers(second_layer, biases)
        if changed is not self.at:
            self.at, self._law = changed, compiled_law(changed)

    def exchange_rows(self) -> None:
        """Use other memory for the rows of the next full pass."""
        self.rows, self._spare_rows = self._spare_rows, self.rows

    def from_subspace(
        self, b: int, beta: FloatArray, predicted: FloatArray, subspace: RecycledSubspace
    ) -> FloatArray:
        """Evaluate a point of the recycled subspace on a block, from the rows of its history.

        Takes weights of the points, and of the gradients that are predicted. Returns the sums of
        `packed_sums`, with the residuals beside the prediction as innovations.
        """
        from dmft._numerics.kernels import recycled_kernel

        points, gradients, m = subspace.points, subspace.gradients, len(beta)
        residuals, products = self._spare_rows[b][:m], np.empty((m, gradients.n_rows))
        point = self._point(b)
        recycled_kernel(
            beta,
            points.rows[b],
            points.n_rows,
            self._samples(b),
            predicted,
            gradients.rows[b],
            gradients.n_rows,
            point,
            residuals,
            products,
        )
        squares = np.einsum("ij,ij->i", residuals, residuals)
        of_layers, none = self._layer_sums(b), np.empty((0, 0))
        return packed_sums(
            scaled(point.r, self.scales[b]),
            point.losses,
            point.g,
            none,
            point.above,
            squares,
            of_layers,
            products,
            none,
        )

    def full_pass(
        self,
        b: int,
        point: FloatArray | FullPass | None,
        basis: OrthonormalBasis,
        prediction: tuple[FloatArray, NDArray[np.intp]],
        history: GradientHistory,
        n_gradients: int,
        n_rhs: int,
    ) -> FloatArray:
        """Evaluate a point on a block, and average with the whole basis.

        Parameters
        ----------
        b : int
        point : ndarray, shape (m, n_rows), or FullPass, or None
            The point as a combination of the basis; None where `from_subspace` has just evaluated
            it.
        basis : OrthonormalBasis
        prediction : tuple
            Weights of gradients in the history, and which these are.
        history : GradientHistory
        n_gradients : int
            Of how many of them products are taken.
        n_rhs : int
            Rows, of innovations and Gaussians, that are multiplied with the basis.

        Returns
        -------
        ndarray
            The sums of `packed_sums`.
        """
        from dmft._numerics.kernels import Innovation, Predictor, innovation_kernel, step_kernel

        r, g, rows, mask = self.r[b], self.g[b], self.rows[b], self.masks[b]
        m = len(r)
        losses, above = self._losses[b], self._above[b]
        innovation = Innovation(rows, np.empty((m, n_gradients)), np.zeros(m))
        with np.errstate(all="ignore"):
            if isinstance(point, FullPass) or point is None:
                predictor = Predictor(*prediction, history.rows[b], history.residuals[b])
            if point is None:
                innovation_kernel(predictor, g, innovation)
                products = basis.products(rows[:n_rhs], b)
            elif isinstance(point, FullPass):
                n_products = n_rhs + (m if len(mask) else 0) + len(point.checked)
                products = np.empty((n_products, basis.n_rows))
                step_kernel(
                    point.update(b),
                    point.of_new,
                    basis.padded[b],
                    self._samples(b),
                    predictor,
                    self._point(b),
                    innovation,
                    n_rhs,
                    mask,
                    products,
                )
            else:
                r[:] = basis.combine(point, b)
                pre_activations = scaled(r, self.scales[b])
                _, losses = pre_activation_gradient(self.at, pre_activations, self.labels[b], out=g)
                if len(self.scales[b]):
                    g *= self.scales[b]
                rows[:m] = g
                averaged = rows[:n_rhs]
                if len(mask):
                    rows[:m] *= mask
                    averaged = np.concatenate([averaged, g])
                above = self._above_limit(pre_activations, g, losses, b)
                products = basis.products(averaged, b)
            gram = rows[:n_rhs] @ rows[:n_rhs].T
            return packed_sums(
                scaled(r, self.scales[b]),
                losses,
                g,
                gram,
                above,
                innovation.squares,
                self._layer_sums(b),
                innovation.with_gradients,
                products,
            )

    def _samples(self, b: int) -> kernels.Samples:
        from dmft._numerics.kernels import Samples

        assert self._law is not None
        return Samples(self.labels[b], self._law, self.limit, self.scales[b])

    def _point(self, b: int) -> kernels.Point:
        from dmft._numerics.kernels import Point

        return Point(self.r[b], self.g[b], self._losses[b], self._above[b])

    def _layer_sums(self, b: int) -> FloatArray:
        """Sum over a block the gradients in second layer and biases, those that are asked for."""
        found = np.empty(0)
        of_layer, of_biases = self.trains
        scales = self.scales[b]
        if of_layer:
            found = second_layer_gradient(self.at, scaled(self.r[b], scales), self.labels[b])
        if not of_biases:
            return found
        g = self.g[b] / scales if len(scales) else self.g[b]
        return np.append(found, g.sum(axis=1))

    def _above_limit(self, r: FloatArray, g: FloatArray, losses: FloatArray, b: int) -> FloatArray:
        """Count paths with a curvature above the limit, as the compiled kernels do."""
        if not np.isfinite(self.limit):
            return np.zeros(4)
        bounds = curvature_bound(self.at, r, self.labels[b])
        high = scaled(bounds, self.scales[b] ** 2) > self.limit
        return np.array(
            [high.sum(), losses[high].sum(), *(np.sum(x[:, high] ** 2) for x in (g, r))]
        )
