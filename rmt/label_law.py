"""The joint law of a label and the latent coordinates of its sample, as weighted points.

A spectral method knows a sample by its label y, and what it finds of the latent directions depends
on the conditional second moment Gamma(y) = E[z z^T | y] alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from rmt._packing import Array
from rmt._validation import check_array, check_groups, check_integer, check_masses, shown

__all__ = ["Conditional", "LabelLaw", "atoms_of"]

_TIE = 1e-12  # labels closer than this (relative) are one label computed in two ways
_POINTS_PER_BIN = 512
#: Points are drawn wider than the Gaussian by this factor, and weighted: it covers the tails.
_STRETCH: Final = 1.3
_MOST_DIMENSIONS = 16
_MOST_BITS = 30  # of a Sobol sequence


class LabelLaw:
    """Joint law of a label y and latent coordinates z of its sample, as weighted points.

    Give `latents`, the coordinates of points of the joint law, or `second_moments`, the conditional
    second moments at the labels.

    Parameters
    ----------
    labels : (N,) array
    latents : (N, k) array, optional
        Latent coordinates z; standard normal for Gaussian inputs, z/s for inputs of scale s.
    probabilities : (N,) array, optional
        Masses of the points, non-negative with sum 1 (to 1e-9); uniform by default.
    second_moments : (N, k, k) array, optional
        Gamma = E[z z^T | y] at each label, positive semidefinite.
    scales : (N,) array, optional
        Scale s > 0 of the inputs of each point, where it is not 1: x = z + s (standard normal in
        all other directions).
    groups : int or (N,) integer array, optional
        Independent randomisations of the points, for error bars: a number R of equal contiguous
        groups, or the group of each point. Points without groups are taken for exact.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or range; the message names it.

    Examples
    --------
    Noiseless phase retrieval on the nodes of a quadrature:

    >>> import numpy as np
    >>> import rmt
    >>> z, p = np.polynomial.hermite_e.hermegauss(40)
    >>> law = rmt.LabelLaw(z**2, z[:, None], p / p.sum())
    >>> law.k, law.labels.shape
    (1, (40,))
    """

    def __init__(
        self,
        labels: ArrayLike,
        latents: ArrayLike | None = None,
        probabilities: ArrayLike | None = None,
        *,
        second_moments: ArrayLike | None = None,
        scales: ArrayLike | None = None,
        groups: int | ArrayLike | None = None,
    ) -> None:
        self.labels = check_array("labels", labels)
        if self.labels.ndim != 1 or not self.labels.size:
            raise ValueError(f"labels must have shape (N,), N >= 1, got {self.labels.shape}")
        n = len(self.labels)
        if (latents is None) == (second_moments is None):
            raise ValueError("latents must be given, or second_moments, one of the two")
        self.latents = None if latents is None else _points("latents", latents, n)
        self.second_moments = None if second_moments is None else _moments(second_moments, n)
        self.probabilities = check_masses(probabilities, n, "labels")
        self.scales = None if scales is None else _positive("scales", scales, n)
        if self.scales is not None and self.latents is None:
            raise ValueError("scales must come with latents, the points they belong to")
        self.groups = check_groups(groups, n, "labels")
        if self.groups is not None and len(np.unique(self.groups)) < 2:
            raise ValueError(f"groups must be at least 2, which give errors, got {groups!r}")
        for array in vars(self).values():
            if array is not None:
                array.setflags(write=False)

    @property
    def k(self) -> int:
        """Number of latent coordinates."""
        points = self.latents if self.latents is not None else self.second_moments
        assert points is not None
        return int(points.shape[1])

    def __repr__(self) -> str:
        return f"LabelLaw(k={self.k}, points={len(self.labels)})"

    @classmethod
    def from_function(
        cls,
        label: Callable[[Array, Array], ArrayLike],
        k: int,
        *,
        n_points: int = 2**18,
        replicates: int = 8,
        seed: int = 0,
    ) -> LabelLaw:
        """Draw points of the law of a label function under Gaussian inputs.

        Parameters
        ----------
        label : callable
            ``(z (N, k), eps (N,)) -> y (N,)``, with standard normal noise eps.
        k : int
        n_points : int, optional
            Of all replicates together; rounded up to a power of two for each.
        replicates : int, optional
            Independent scrambled Sobol sets, which give the error bars.
        seed : int, optional

        Examples
        --------
        >>> import rmt
        >>> rmt.LabelLaw.from_function(lambda z, eps: z[:, 0] * z[:, 1], 2, n_points=4096)
        LabelLaw(k=2, points=4096)
        """
        from scipy.special import ndtri
        from scipy.stats import qmc

        k = check_integer("k", k, minimum=1, maximum=_MOST_DIMENSIONS)
        replicates = check_integer("replicates", replicates, minimum=2)
        n_points = check_integer("n_points", n_points, minimum=64 * replicates)
        seed = check_integer("seed", seed, minimum=0)
        each = max(-(-n_points // replicates) - 1, 1).bit_length()
        if each > _MOST_BITS:
            raise ValueError(
                f"n_points must be at most {replicates << _MOST_BITS}, got {shown(n_points)}"
            )
        stretch = 1.0 + (_STRETCH - 1.0) / k
        drawn, masses = [], []
        for rng in np.random.default_rng(seed).spawn(replicates):
            uniform = qmc.Sobol(k + 1, rng=rng).random_base2(each)
            points = ndtri(np.clip(uniform, 1e-15, 1.0 - 1e-15))
            points[:, :k] *= stretch
            squares = np.sum(points[:, :k] ** 2, axis=1)
            mass = np.exp(-0.5 * squares * (1.0 - stretch**-2))
            drawn.append(points)
            masses.append(mass / mass.sum() / replicates)
        z = np.concatenate(drawn)
        y = label(np.ascontiguousarray(z[:, :k]), np.ascontiguousarray(z[:, k]))
        return cls(y, z[:, :k], np.concatenate(masses), groups=replicates)

    def conditional(self, joined: int = 1) -> Conditional:
        """Return the conditional second moments, over bins of labels where points are sampled.

        Parameters
        ----------
        joined : int, optional
            How many neighbouring bins to join, to see what binning costs.
        """
        if self.second_moments is not None:
            order = np.argsort(self.labels, kind="stable")
            labels, masses = self.labels[order], self.probabilities[order]
            ends = 0.5 * (labels[1:] + labels[:-1])
            return Conditional(masses[None], self.second_moments[order][None], True, ends)
        assert self.latents is not None
        order = np.argsort(self.labels, kind="stable")
        ordered = self.labels[order]
        spread = float(ordered[-1] - ordered[0])
        new = np.diff(ordered) > _TIE * (np.abs(ordered[1:]) + spread)
        starts = np.concatenate([[0], np.flatnonzero(new) + 1])
        exact = self.groups is None
        binned = not exact and len(starts) > len(ordered) // _POINTS_PER_BIN
        if binned:
            cuts = np.arange(0, len(ordered), _POINTS_PER_BIN * joined)
            starts = np.unique(starts[np.searchsorted(starts, cuts, side="right") - 1])
            if len(starts) > 1 and len(ordered) - starts[-1] < _POINTS_PER_BIN:
                starts = starts[:-1]
        bins = np.empty(len(ordered), dtype=np.intp)
        bins[order] = np.searchsorted(starts, np.arange(len(ordered)), side="right") - 1
        names = np.zeros(len(ordered), dtype=np.intp)
        if self.groups is not None:
            names = np.unique(self.groups, return_inverse=True)[1]
        count, k = int(names.max()) + 1, self.k
        place, shape = names * len(starts) + bins, (count, len(starts))
        sums = np.bincount(place, self.probabilities, count * len(starts))
        p: Array = np.asarray(sums.reshape(shape), dtype=np.float64)
        moments = np.empty((*shape, k, k))
        for i in range(k):
            for j in range(i + 1):
                weighted = self.probabilities * self.latents[:, i] * self.latents[:, j]
                sums = np.bincount(place, weighted, count * len(starts))
                moments[..., i, j] = moments[..., j, i] = sums.reshape(shape)
        moments /= np.where(p > 0.0, p, 1.0)[..., None, None]
        ends = 0.5 * (ordered[starts[1:]] + ordered[starts[1:] - 1])
        return Conditional(p, moments, exact, ends, binned)


@dataclass(frozen=True, eq=False)
class Conditional:
    """Conditional second moments of the latent coordinates over bins of labels.

    Attributes
    ----------
    probability : (R, bins) array
        Mass of each bin in each group of points; its sum is 1.
    moment : (R, bins, k, k) array
        Mean of z z^T over the points of a group in a bin; zero where there are none.
    exact : bool
        Whether they are free of sampling noise, so that groups need not be held apart.
    ends : (bins - 1,) array
        Labels between the bins, ascending.
    binned : bool
        Whether bins hold different labels, over which moments are averaged.
    """

    probability: Array
    moment: Array
    exact: bool
    ends: Array
    binned: bool = False

    def pooled(self) -> tuple[Array, Array]:
        """Return masses (bins,) and moments (bins, k, k) over all groups."""
        return _mean(self.probability, self.moment)

    def of_others(self) -> Array:
        """Return the moments (R, bins, k, k) over all groups but one; the same where exact."""
        if len(self.probability) == 1:
            return self.moment
        rows = []
        for r in range(len(self.probability)):
            others = np.delete(np.arange(len(self.probability)), r)
            rows.append(_mean(self.probability[others], self.moment[others])[1])
        return np.stack(rows)


def atoms_of(moments: Array, p: Array) -> tuple[Array, Array]:
    """Return k points for each second moment: coordinates (N k, k) and masses (N k,)."""
    k = moments.shape[-1]
    values, vectors = np.linalg.eigh(moments)
    root = vectors * np.sqrt(k * np.maximum(values, 0.0))[:, None, :]
    return np.ascontiguousarray(root.transpose(0, 2, 1)).reshape(-1, k), np.repeat(p / k, k)


def _mean(p: Array, moment: Array) -> tuple[Array, Array]:
    mass = p.sum(axis=0)
    total = np.einsum("rb,rbij->bij", p, moment)
    return mass, total / np.where(mass > 0.0, mass, 1.0)[:, None, None]


def _points(name: str, value: ArrayLike, n: int) -> Array:
    array = check_array(name, value)
    if array.ndim != 2 or len(array) != n or not array.shape[1]:
        raise ValueError(f"{name} must have shape ({n}, k) like labels, got {array.shape}")
    return array


def _moments(value: ArrayLike, n: int) -> Array:
    array = check_array("second_moments", value)
    k = array.shape[-1] if array.ndim else 0
    if array.shape != (n, k, k) or not k:
        raise ValueError(f"second_moments must have shape ({n}, k, k), got {array.shape}")
    size = np.abs(array).max(axis=(1, 2), initial=0.0)
    if np.any(np.abs(array - array.transpose(0, 2, 1)).max(axis=(1, 2)) > 1e-8 * size):
        raise ValueError("second_moments must be symmetric matrices (relative tolerance 1e-8)")
    smallest = np.linalg.eigvalsh(array)[:, 0]
    if np.any(smallest < -1e-8 * size):
        raise ValueError(
            f"second_moments must be positive semidefinite, got eigenvalue {smallest.min():.6g}"
        )
    return np.asarray(0.5 * (array + array.transpose(0, 2, 1)))


def _positive(name: str, value: ArrayLike, n: int) -> Array:
    array = check_array(name, value)
    if array.shape != (n,) or np.any(array <= 0.0):
        raise ValueError(f"{name} must be {n} positive numbers like labels, got {value!r}")
    return array
