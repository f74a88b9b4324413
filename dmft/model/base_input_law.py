"""The interface of laws of the inputs: samples as functions of standard normals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["BaseInputLaw", "Latents"]

Array = NDArray[np.float64]
Integers = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Latents:
    """Latent coordinates of samples, with what else their labels and pre-activations need.

    Attributes
    ----------
    reduced : ndarray, shape (k, N)
        z / s.
    scales : ndarray, shape (N,), or (0,)
        s; empty where all are one.
    component : ndarray of int, shape (N,), or (0,)
        Clusters of a mixture; empty elsewhere.
    """

    reduced: Array
    scales: Array
    component: Integers

    @property
    def z(self) -> Array:
        """Latent coordinates, shape (k, N)."""
        return self.reduced * self.scales if len(self.scales) else self.reduced


class BaseInputLaw:
    """Base of the laws: functions of k standard normals, and of `n_extra` more."""

    law: ClassVar[str]

    @property
    def n_latent(self) -> int | None:
        """Number of latent directions of the law; None for any number."""
        return None

    @property
    def component_weights(self) -> tuple[float, ...]:
        """Probabilities of the clusters, which averages are summed over."""
        return (1.0,)

    @property
    def n_components(self) -> int:
        """Number of clusters."""
        return len(self.component_weights)

    @property
    def n_extra(self) -> int:
        """Number of normals that choose the scale of a sample, its cluster given."""
        return 0

    @property
    def scale_range(self) -> tuple[float, float]:
        """Infimum and supremum of the scales."""
        return 1.0, 1.0

    @property
    def has_scales(self) -> bool:
        """Whether some scale is not one."""
        return self.scale_range != (1.0, 1.0)

    @property
    def has_all_moments(self) -> bool:
        """Whether averages of powers exist, as far as known."""
        return True

    @property
    def n_normals(self) -> int:
        """Number of normals of a random sample besides the k of its latent coordinates."""
        return self.n_extra + int(self.n_components > 1)

    def of_component(self, index: int, x: Array, extra: Array) -> Latents:
        """Return the samples of a component from normals x (k, N) and extra (n_extra, N)."""
        raise NotImplementedError

    def draw(self, x: Array, extra: Array) -> Latents:
        """Return samples from normals x (k, N) and extra (n_normals, N)."""
        return self.of_component(0, x, extra)

    def far(self, index: int, x: Array) -> Array:
        """Return latent coordinates of a component (k, N) that the law allows, near x or far."""
        raise NotImplementedError

    def component_scales(self, index: int) -> tuple[float, float]:
        """Return infimum and supremum of the scales of a component."""
        return self.scale_range

    def is_symmetric(self, basis: Array) -> bool:
        """Whether the law stays the same when coordinates along a basis (k, q) change sign."""
        raise NotImplementedError

    def axes(self, k: int) -> tuple[Array, int]:
        """Return orthonormal axes (k, k), and how many of them have no symmetry, the first ones."""
        return np.eye(k), 0

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict of plain types."""
        raise NotImplementedError

    def describe(self) -> str:
        """Name the law and its parameters in a few words."""
        raise NotImplementedError
