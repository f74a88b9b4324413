"""Inputs in Gaussian clusters: `GaussianMixture`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.frozen import set_fields
from dmft._numerics.validation import check_array, check_finite_array
from dmft.model.base_input_law import BaseInputLaw, Latents

__all__ = ["GaussianMixture"]

Array = NDArray[np.float64]

_ROUNDING = 1e-10  # of eigenvalues and sums, relative
_LARGEST = 1e30  # of means, scales and their inverses: squares of ratios are numbers


@dataclass(frozen=True, init=False)
class GaussianMixture(BaseInputLaw):
    r"""Law of inputs that come in Gaussian clusters.

    A sample belongs to cluster c with probability ``weights[c]``; its latent coordinates are
    :math:`N(\mu_c, \Sigma_c)`, its other ones independent :math:`N(0, s_c^2)`.

    Parameters
    ----------
    weights : array_like, shape (J,)
        Positive, of sum one.
    means : array_like, shape (J, k)
        In latent space.
    covariances : array_like, shape (J, k, k) or (J,), optional
        In latent space, symmetric and positive semidefinite; numbers are multiples of the identity.
        Default: :math:`s_c^2 I`, isotropic clusters.
    scales : array_like, shape (J,), optional
        Standard deviations of all other coordinates, positive; default one.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    Examples
    --------
    >>> clusters = GaussianMixture([0.3, 0.7], [[1.0], [-1.0]], scales=[1.0, 2.0])
    >>> clusters.n_components, clusters.covariances
    (2, (((1.0,),), ((4.0,),)))
    >>> GaussianMixture([0.5, 0.6], [[1.0], [-1.0]])
    Traceback (most recent call last):
    ...
    ValueError: weights must be positive and of sum 1, got [0.5, 0.6] (sum 1.1)
    """

    law: ClassVar[str] = "gaussian-mixture"

    weights: tuple[float, ...]
    means: tuple[tuple[float, ...], ...]
    covariances: tuple[tuple[tuple[float, ...], ...], ...]
    scales: tuple[float, ...]

    def __init__(
        self,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike | None = None,
        scales: ArrayLike | None = None,
    ) -> None:
        w = check_finite_array("weights", weights, ndim=1, expected="a sequence of probabilities")
        n = len(w)
        if not n or np.any(w <= 0.0) or abs(w.sum() - 1.0) > _ROUNDING:
            raise ValueError(
                f"weights must be positive and of sum 1, got {w.tolist()} (sum {w.sum():.12g})"
            )
        mu = check_finite_array(
            "means", means, ndim=2, expected=f"an array of shape (J, k), J = {n}"
        )
        if len(mu) != n or not mu.shape[1]:
            raise ValueError(
                f"means must have shape (J, k) with J = {n} weights, got shape {mu.shape}"
            )
        k = mu.shape[1]
        given = np.ones(n) if scales is None else scales
        s = check_finite_array("scales", given, ndim=1, expected="a sequence of positive numbers")
        if s.shape != (n,) or np.any(s <= 0.0):
            raise ValueError(f"scales must be {n} positive numbers, got {s.tolist()}")
        if np.any(s < 1.0 / _LARGEST) or max(s.max(), np.abs(mu).max()) > _LARGEST:
            raise ValueError(
                f"scales and means must be at most {_LARGEST:g} in size, and scales at least "
                f"{1.0 / _LARGEST:g}, got {s.tolist()} and {mu.tolist()}"
            )
        set_fields(
            self,
            weights=tuple(w.tolist()),
            means=tuple(map(tuple, mu.tolist())),
            covariances=tuple(
                tuple(map(tuple, matrix.tolist())) for matrix in _covariances(covariances, s, k)
            ),
            scales=tuple(s.tolist()),
        )

    @property
    def n_latent(self) -> int:
        """Number of latent directions."""
        return len(self.means[0])

    @property
    def component_weights(self) -> tuple[float, ...]:
        """The weights."""
        return self.weights

    @property
    def scale_range(self) -> tuple[float, float]:
        """Smallest and largest scale."""
        return min(self.scales), max(self.scales)

    def component_scales(self, index: int) -> tuple[float, float]:
        """Return the scale of a component, twice."""
        return self.scales[index], self.scales[index]

    def of_component(self, index: int, x: Array, extra: Array) -> Latents:
        """Return samples of a cluster from normals x (k, N)."""
        n, s = x.shape[1], self.scales[index]
        z = np.array(self.means[index])[:, np.newaxis] + self._roots[index] @ x
        scales = np.full(n, s) if self.has_scales else np.empty(0)
        return Latents(z / s, scales, np.full(n, index))

    def draw(self, x: Array, extra: Array) -> Latents:
        """Return samples from normals x (k, N) and, where there are several clusters, extra."""
        from scipy.special import ndtr

        if self.n_components == 1:
            return self.of_component(0, x, extra)
        ends = np.cumsum(self.weights)[:-1]
        component = np.searchsorted(ends, ndtr(extra[0]), side="right")
        reduced = np.empty_like(x)
        for index in range(self.n_components):
            own = component == index
            reduced[:, own] = self.of_component(index, x[:, own], extra[:, own]).reduced
        scales = np.array(self.scales)[component] if self.has_scales else np.empty(0)
        return Latents(reduced, scales, component)

    def far(self, index: int, x: Array) -> Array:
        """Return points of the affine subspace that a cluster lies in."""
        root = self._roots[index]
        values, vectors = np.linalg.eigh(root @ root.T)
        inside = vectors[:, values > _ROUNDING * max(float(values.max()), 1.0)]
        mean = np.array(self.means[index])[:, np.newaxis]
        return np.asarray(mean + inside @ (inside.T @ (x - mean)))

    def is_symmetric(self, basis: Array) -> bool:
        """Whether every cluster is its own mirror image."""
        mirror = np.eye(self.n_latent) - 2.0 * basis @ basis.T
        covariances = np.array(self.covariances)
        size = 1.0 + float(np.abs(covariances).max()) + float(np.abs(self.means).max())
        return bool(
            np.abs(np.array(self.means) @ basis).max(initial=0.0) < _ROUNDING * size
            and np.abs(mirror @ covariances @ mirror - covariances).max() < _ROUNDING * size
        )

    def axes(self, k: int) -> tuple[Array, int]:
        """Return axes, first those of the smallest invariant subspace that has all means.

        The covariances map it to itself, and the rest, in which every cluster is symmetric.
        """
        covariances = np.array(self.covariances)
        found = _span(np.array(self.means).T)
        for _ in range(k):
            found = _span(np.concatenate([found, *(matrix @ found for matrix in covariances)], 1))
        n = found.shape[1]
        support = np.flatnonzero(np.abs(found).max(axis=1, initial=0.0) > _ROUNDING)
        if len(support) == n:  # along coordinate axes: exactly
            order = [*support.tolist(), *(i for i in range(k) if i not in support)]
            return np.eye(k)[:, order], n
        return np.linalg.qr(found, mode="complete")[0], n

    @property
    def _roots(self) -> Array:
        return np.array([_root(np.array(matrix)) for matrix in self.covariances])

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict of plain types.

        Examples
        --------
        >>> GaussianMixture([1.0], [[0.0]]).to_config()["covariances"]
        [[[1.0]]]
        """
        return {
            "law": self.law,
            "weights": list(self.weights),
            "means": [list(row) for row in self.means],
            "covariances": [[list(row) for row in matrix] for matrix in self.covariances],
            "scales": list(self.scales),
        }

    def describe(self) -> str:
        """Name the law in a few words."""
        n = self.n_components
        text = f"mixture of {n} Gaussian cluster{'s' if n > 1 else ''}"
        if not self.has_scales:
            return text
        return f"{text}, scales {', '.join(f'{scale:g}' for scale in self.scales)}"


def _covariances(given: ArrayLike | None, scales: Array, k: int) -> Array:
    """Return covariances (J, k, k), checked."""
    n = len(scales)
    expected = f"positive semidefinite matrices, an array of shape {(n, k, k)}, or {n} numbers"
    array = check_array("covariances", scales**2 if given is None else given, expected=expected)
    if array.ndim == 1:
        array = array[:, np.newaxis, np.newaxis] * np.eye(k)
    if array.shape != (n, k, k):
        raise ValueError(f"covariances must be {expected}, got shape {array.shape}")
    for index, matrix in enumerate(array):
        size = float(np.abs(matrix).max())
        if size > _LARGEST**2:
            raise ValueError(f"covariances must be at most {_LARGEST**2:g}, got {size:g}")
        lowest = float(np.linalg.eigvalsh(0.5 * (matrix + matrix.T))[0])
        if np.abs(matrix - matrix.T).max() > _ROUNDING * size or lowest < -_ROUNDING * size:
            raise ValueError(
                f"covariances must be symmetric and positive semidefinite, got {matrix.tolist()} "
                f"for cluster {index} (smallest eigenvalue {lowest:.6g})"
            )
    return 0.5 * (array + np.swapaxes(array, 1, 2))


def _root(matrix: Array) -> Array:
    """Return the Cholesky factor of a positive semidefinite matrix; blocks stay exact."""
    root = np.zeros_like(matrix)
    for j in range(len(matrix)):
        rest = matrix[j:, j] - root[j:, :j] @ root[j, :j]
        if rest[0] > _ROUNDING * max(float(matrix[j, j]), 1e-300):
            root[j:, j] = rest / np.sqrt(rest[0])
    return root


def _span(columns: Array) -> Array:
    """Return an orthonormal basis of the span of columns, in the order given."""
    size = float(np.linalg.norm(columns, axis=0).max(initial=0.0))
    basis = np.zeros((len(columns), 0))
    for column in columns.T:
        norm = float(np.linalg.norm(column))
        for _ in range(2):
            column = column - basis @ (basis.T @ column)
        left = float(np.linalg.norm(column))
        if left > 1e-9 * max(norm, 1e-9 * size) and left > 0.0:
            basis = np.concatenate([basis, (column / left)[:, np.newaxis]], axis=1)
    return basis
