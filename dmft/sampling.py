"""The random numbers behind the paths: scrambled Sobol points first, fresh Gaussians after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dmft._suggestions import nearest_power_of_two
from dmft._validation import check_integer, check_real
from dmft.digital_nets import nested_scrambles, sobol_digits
from dmft.gradient_flow import GradientFlow

if TYPE_CHECKING:
    from dmft.methods import Method

__all__ = ["RANDOM_NUMBERS", "RANK_TOLERANCE_FLOOR", "HardCoordinates", "Sampling", "bias_of_paths"]

RANK_TOLERANCE_FLOOR = 1e-12
"""Smallest rank tolerance ever used: below it, normalised rounding errors become directions."""

RANDOM_NUMBERS = 3
"""Raised whenever the same seed begins to give other numbers: unfinished work must not mix them."""

_COMPRESSION_OF_FLOW = 0.02
_SOBOL_BITS = 30  # one Sobol sequence holds at most 2**30 points
# The families of streams spawned from one seed.
_LEADING, _FRESH, _CUBATURE, _HARD = 0, 1, 2, 3
# Easy coordinates over which the label is averaged to order the hard ones.
_EASY_POINTS = 16


@dataclass(frozen=True)
class Sampling:
    r"""How the expectations of the self-consistent process are estimated.

    There are ``replicates`` independent randomisations of ``n_paths`` paths each. Reported values
    come from the self-consistent solution on all of these paths together; standard errors are the
    standard deviation between the solutions on the paths of each replicate alone, divided by
    ``sqrt(replicates)``.

    Parameters
    ----------
    n_paths : int
        Paths per replicate; a power of two, at least 64 (Sobol points are balanced only then).
    replicates : int
        Independent randomisations, at least 2. With fewer than 8 the standard error itself is
        unreliable.
    seed : int
        Non-negative. The same seed gives the same bits, whatever the number of threads.
    rank_tolerance : float
        A direction opened by the gradient at step t is kept if the weight it receives,
        ``step_size * |Gamma(t, t)| / sqrt(delta)``, is at least this. Anything below
        ``RANK_TOLERANCE_FLOOR`` (1e-12) is raised to it: with zero, rounding errors are
        normalised into directions and the run blows up. Up to twice the floor, runs are exact:
        rounding errors stay below 1e-10 over hundreds of steps. Beyond, finitely many paths amplify
        whatever is left out, rounding too, until it is a fraction of the sampling noise; in return
        the rank grows slowly and sampling errors are somewhat smaller.
    sobol_blocks : int
        Number of leading fresh blocks (of m coordinates each) driven by Sobol points, after the
        latent coordinates, the initial weights and the label noise. Later blocks are pseudo-random.
    compression : float, optional
        Directions are let go when what gradients had along them has long been less than this much
        of what would open them, so that the rank of a long run stays bounded; 0 keeps them all,
        1 is the most. Default: 0 for gradient descent, 0.02 along a gradient flow. Of no effect
        where directions are opened that are smaller than rounding can tell (for gradient descent
        at rank tolerances below about 1e-7), with fresh batches, and where hard directions are
        followed. Of the Hessian of a run that has let go of any, outliers in hard directions only
        are known.

    Raises
    ------
    ValueError
        If a parameter is outside the range given above.

    Examples
    --------
    >>> Sampling(n_paths=4096, replicates=8, seed=1).n_paths
    4096
    >>> Sampling(n_paths=1000)
    Traceback (most recent call last):
        ...
    ValueError: n_paths must be a power of two, at least 64, got 1000 (did you mean 1024?)
    """

    n_paths: int = 16384
    replicates: int = 8
    seed: int = 0
    rank_tolerance: float = 1e-10
    sobol_blocks: int = 4
    compression: float | None = None

    def __post_init__(self) -> None:
        n = check_integer("n_paths", self.n_paths, minimum=1)
        if n < 64 or n & (n - 1):
            near = nearest_power_of_two(n, 64, 2 ** (_SOBOL_BITS - 1))
            raise ValueError(
                f"n_paths must be a power of two, at least 64, got {n} (did you mean {near}?)"
            )
        if n.bit_length() > _SOBOL_BITS:
            raise ValueError(f"n_paths must be at most 2**{_SOBOL_BITS - 1}, got {n}")
        object.__setattr__(self, "n_paths", n)
        for name, minimum in (("replicates", 2), ("seed", 0), ("sobol_blocks", 0)):
            largest = None if name == "seed" else 2**63 - 1
            value = check_integer(name, getattr(self, name), minimum=minimum, maximum=largest)
            object.__setattr__(self, name, value)
        tolerance = check_real("rank_tolerance", self.rank_tolerance, minimum=0.0)
        object.__setattr__(self, "rank_tolerance", tolerance)
        if self.compression is not None:
            compression = check_real("compression", self.compression, minimum=0.0)
            if compression > 1.0:
                raise ValueError(f"compression must be at most 1, got {compression:g}")
            object.__setattr__(self, "compression", compression)

    @property
    def effective_rank_tolerance(self) -> float:
        """``rank_tolerance``, raised to the rounding floor where it lies below it."""
        return max(self.rank_tolerance, RANK_TOLERANCE_FLOOR)

    def compression_along(self, method: Method) -> float:
        """``compression``, or what it is by default along the trajectory of a method."""
        if self.compression is not None:
            return self.compression
        return _COMPRESSION_OF_FLOW if isinstance(method, GradientFlow) else 0.0

    def to_config(self) -> dict[str, Any]:
        """Plain-type description, the inverse of ``Sampling(**config)``."""
        return {
            "n_paths": self.n_paths,
            "replicates": self.replicates,
            "seed": self.seed,
            "rank_tolerance": self.rank_tolerance,
            "sobol_blocks": self.sobol_blocks,
            "compression": self.compression,
        }


def bias_of_paths(
    value: NDArray[np.float64] | float, mean: NDArray[np.float64] | float, replicates: int
) -> NDArray[np.float64]:
    """Bias of a value that finitely many paths leave, from the mean over replicates.

    The value comes from all paths together, and the bias is inversely proportional to their number.
    """
    return np.asarray((mean - value) / (replicates - 1))


@dataclass(frozen=True, eq=False)
class HardCoordinates:
    """Latent coordinates that gradients know through the label alone.

    With the overlaps zero, a path depends on its hard coordinates only by the label it is given.
    However many they are, they then count as one coordinate, the label, and the label is monotone
    in its rank: `GaussianStream` draws Sobol points of the hard coordinates and the label noise,
    puts them in the order of their labels, and deals them out by one coordinate of the Sobol points
    of everything else.

    Parameters
    ----------
    basis : ndarray, shape (k, k_h)
        Orthonormal basis of the hard directions, k_h >= 1.
    uses_noise : bool
        Whether the label has noise.
    label : callable
        Latent coordinates (N, k) and noise (N,) to labels (N,).
    """

    basis: NDArray[np.float64]
    uses_noise: bool
    label: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

    def ordered(
        self, n_points: int, seed: np.random.SeedSequence
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coordinates along the basis (k_h, n_points) and noise (n_points,), by label.

        By the average label over a few easy coordinates: a single one could put all points of a
        discontinuous label in one class. Ties are broken by what Hessians depend on besides.
        """
        from scipy.special import ndtri

        k, k_h = self.basis.shape
        points = sobol_normals(k_h + int(self.uses_noise), n_points, seed)
        hard, noise = points[:k_h], points[k_h] if self.uses_noise else np.zeros(n_points)
        n_easy = _EASY_POINTS if k > k_h else 1
        quantiles = ndtri((np.arange(n_easy) + 0.5) / n_easy)
        rng = np.random.default_rng(0)  # always the same Latin hypercube
        easy = np.array([rng.permutation(quantiles) for _ in range(k - k_h)])
        around = self.easy_basis() @ easy.reshape(k - k_h, n_easy)
        total = np.zeros(n_points)
        for at in around.T:
            z = at[:, np.newaxis] + self.basis @ hard
            total += self.label(np.ascontiguousarray(z.T), noise)
        order = np.lexsort((np.sum(hard**2, axis=0), np.round(total, 12)))
        return hard[:, order], noise[order]

    def easy_basis(self) -> NDArray[np.float64]:
        """Orthonormal basis of the other directions, (k, k - k_h); axes come out exactly."""
        k, k_h = self.basis.shape
        axes = np.flatnonzero(~self.basis.any(axis=1))
        if len(axes) == k - k_h:
            return np.eye(k)[:, axes]
        complete, _ = np.linalg.qr(self.basis, mode="complete")
        return np.asarray(complete[:, k_h:])


class GaussianStream:
    """The Gaussians of one replicate, each block a function of (seed, replicate, step) alone.

    Because a block never depends on which earlier blocks were kept, runs at neighbouring delta see
    the same random numbers, and the gap is smooth in delta.

    Parameters
    ----------
    sampling : Sampling
    replicate : int
    n_leading : int
        Number of leading coordinates: latent directions, initial weights, label noise.
    block_size : int
        Coordinates per fresh block (m, the number of neurons).
    hard : HardCoordinates, optional
        Those among the latent coordinates that only the label depends on.
    """

    def __init__(
        self,
        sampling: Sampling,
        replicate: int,
        n_leading: int,
        block_size: int,
        hard: HardCoordinates | None = None,
    ) -> None:
        self._sampling = sampling
        self._replicate = replicate
        self._n_leading = n_leading
        self._block_size = block_size
        n_fresh = block_size * sampling.sobol_blocks
        seed = self._seed_sequence(_LEADING)
        if hard is None:
            self._sobol = sobol_normals(n_leading + n_fresh, sampling.n_paths, seed)
            return
        k, k_h = hard.basis.shape
        easy_basis = hard.easy_basis()
        points = sobol_normals(1 + k - k_h + block_size + n_fresh, sampling.n_paths, seed)
        values, noise = hard.ordered(sampling.n_paths, self._seed_sequence(_HARD))
        rank = np.empty(sampling.n_paths, dtype=np.intp)
        rank[np.argsort(points[0], kind="stable")] = np.arange(sampling.n_paths)
        z = hard.basis @ values[:, rank] + easy_basis @ points[1 : 1 + k - k_h]
        parts = [z, points[1 + k - k_h : 1 + k - k_h + block_size]]
        if hard.uses_noise:
            parts.append(noise[np.newaxis, rank])
        self._sobol = np.concatenate([*parts, points[1 + k - k_h + block_size :]])

    def _seed_sequence(self, *key: int) -> np.random.SeedSequence:
        return _seed_sequence(self._sampling, self._replicate, *key)

    def leading(self) -> NDArray[np.float64]:
        """Leading coordinates, shape (n_leading, n_paths), standard normal."""
        return self._sobol[: self._n_leading]

    def block(self, step: int) -> NDArray[np.float64]:
        """Fresh block of a step, shape (block_size, n_paths), standard normal; a new array."""
        m = self._block_size
        if step < self._sampling.sobol_blocks:
            start = self._n_leading + step * m
            return self._sobol[start : start + m].copy()
        generator = np.random.Generator(np.random.SFC64(self._seed_sequence(_FRESH, step)))
        return generator.standard_normal((m, self._sampling.n_paths))


def cubature_normals(
    sampling: Sampling, replicate: int, dimension: int, n_points: int
) -> NDArray[np.float64]:
    """Sobol normals, shape (dimension, n_points), independent of the paths of the replicate."""
    return sobol_normals(dimension, n_points, _seed_sequence(sampling, replicate, _CUBATURE))


def _seed_sequence(sampling: Sampling, replicate: int, *key: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(sampling.seed, spawn_key=(replicate, *key))


def sobol_normals(
    dimension: int, n_points: int, seed: np.random.SeedSequence
) -> NDArray[np.float64]:
    """Scrambled Sobol points mapped to standard normals, one coordinate per row.

    Parameters
    ----------
    dimension : int
    n_points : int
        A power of two.
    seed : numpy.random.SeedSequence

    Returns
    -------
    numpy.ndarray of float64, shape (dimension, n_points), C order
    """
    from scipy.special import ndtri

    rng = np.random.default_rng(seed)
    points = nested_scrambles(sobol_digits(dimension, n_points), 1, rng)[0]
    normals: NDArray[np.float64] = ndtri(np.ascontiguousarray(points.T))
    return normals
