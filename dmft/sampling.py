"""The random numbers behind the paths: scrambled Sobol points first, fresh Gaussians after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft._validation import check_integer, check_real

__all__ = ["RANK_TOLERANCE_FLOOR", "Sampling"]

RANK_TOLERANCE_FLOOR = 1e-12
"""Smallest rank tolerance ever used: below it, normalised rounding errors become directions."""

_SOBOL_BITS = 30  # scipy's default; one Sobol sequence then holds at most 2**30 points
_LEADING, _FRESH, _CUBATURE = 0, 1, 2  # the families of streams spawned from one seed


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
        normalised into directions and the run blows up. The default changes no reported digit of
        a run of up to 100 steps; in longer ones it redraws a fraction of the sampling noise.
    sobol_blocks : int
        Number of leading fresh blocks (of m coordinates each) driven by Sobol points, after the
        latent coordinates, the initial weights and the label noise. Later blocks are pseudo-random.

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
    ValueError: n_paths must be a power of two, at least 64, got 1000
    """

    n_paths: int = 16384
    replicates: int = 8
    seed: int = 0
    rank_tolerance: float = 1e-10
    sobol_blocks: int = 4

    def __post_init__(self) -> None:
        n = check_integer("n_paths", self.n_paths, minimum=1)
        if n < 64 or n & (n - 1):
            raise ValueError(f"n_paths must be a power of two, at least 64, got {n}")
        if n.bit_length() > _SOBOL_BITS:
            raise ValueError(f"n_paths must be at most 2**{_SOBOL_BITS - 1}, got {n}")
        object.__setattr__(self, "n_paths", n)
        for name, minimum in (("replicates", 2), ("seed", 0), ("sobol_blocks", 0)):
            value = check_integer(name, getattr(self, name), minimum=minimum)
            object.__setattr__(self, name, value)
        tolerance = check_real("rank_tolerance", self.rank_tolerance, minimum=0.0)
        object.__setattr__(self, "rank_tolerance", tolerance)

    @property
    def effective_rank_tolerance(self) -> float:
        """``rank_tolerance``, raised to the rounding floor where it lies below it."""
        return max(self.rank_tolerance, RANK_TOLERANCE_FLOOR)

    def to_config(self) -> dict[str, Any]:
        """Plain-type description, the inverse of ``Sampling(**config)``."""
        return {
            "n_paths": self.n_paths,
            "replicates": self.replicates,
            "seed": self.seed,
            "rank_tolerance": self.rank_tolerance,
            "sobol_blocks": self.sobol_blocks,
        }


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
    """

    def __init__(self, sampling: Sampling, replicate: int, n_leading: int, block_size: int) -> None:
        self._sampling = sampling
        self._replicate = replicate
        self._n_leading = n_leading
        self._block_size = block_size
        self._sobol = sobol_normals(
            n_leading + block_size * sampling.sobol_blocks,
            sampling.n_paths,
            self._seed_sequence(_LEADING),
        )

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
    from scipy.stats import qmc

    engine = qmc.Sobol(dimension, scramble=True, bits=_SOBOL_BITS, rng=np.random.default_rng(seed))
    points = engine.random_base2(n_points.bit_length() - 1)
    # Points sit on the left end of cells of size 2**-bits; the cell centre is never 0.
    normals: NDArray[np.float64] = ndtri(np.ascontiguousarray(points.T) + 0.5 ** (_SOBOL_BITS + 1))
    return normals
