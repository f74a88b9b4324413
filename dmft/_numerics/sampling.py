"""Sampling of expectations: numbers of paths and replicates, seeds, Sobol points."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.digital_nets import nested_scrambles, sobol_digits
from dmft._numerics.frozen import set_fields
from dmft._numerics.suggestions import nearest_power_of_two
from dmft._numerics.validation import check_integer, check_real

__all__ = [
    "MOST_PATHS",
    "RANDOM_NUMBERS",
    "RANK_TOLERANCE_FLOOR",
    "Sampling",
    "bias_of_paths",
    "cubature_normals",
    "is_biased",
    "power_of_two",
    "seed_sequence",
    "sobol_normals",
]

RANK_TOLERANCE_FLOOR = 1e-12
"""Smallest rank tolerance ever used: below it, normalised rounding errors become directions."""

RANDOM_NUMBERS = 3
"""Raised whenever the same seed begins to give other numbers: unfinished work must not mix them."""

_SOBOL_BITS = 30  # one Sobol sequence holds at most 2**30 points
MOST_PATHS = 2 ** (_SOBOL_BITS - 1)
"""Paths per replicate at most."""

_SMALL_BIAS = 1e-4
# The families of streams spawned from one seed.
LEADING, FRESH, CUBATURE, HARD = 0, 1, 2, 3


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
    rank_tolerance : float, optional
        The basis is extended by the gradient at step t if the weight of the new direction,
        ``step_size * |Gamma(t, t)| / sqrt(delta)``, is at least this. By default matched to the
        sampling errors: 1e-10 in the first 100 steps of gradient descent; then it grows like the
        eighth power of the step, up to 0.001 over the square root of the number of paths, from
        step 400 on or so. What is truncated then adds less than a fifth of the standard error, and
        the outliers of Hessians in all directions stay known to about step 300: for later ones,
        state 1e-10, and no compression. It is 1e-10 throughout where hard directions are followed,
        and along a gradient flow, which raises it to a tenth of its ``tol``.
        ``Trajectory.rank_tolerance`` says what was used. Of those stated, anything below
        ``RANK_TOLERANCE_FLOOR`` (1e-12) is raised to it: with zero, rounding errors are
        normalised into directions and the run blows up. Up to twice the floor, runs are exact:
        rounding errors stay below 1e-10 over hundreds of steps. Beyond, finitely many paths amplify
        the truncation residual, rounding too, until it is a fraction of the sampling noise; in
        return the rank grows slowly and sampling errors are somewhat smaller.
    sobol_blocks : int
        Number of leading fresh blocks (of m coordinates each) driven by Sobol points, after the
        latent coordinates, the initial weights and the label noise. Later blocks are pseudo-random.
    compression : float, optional
        Directions are discarded when gradients along them have long been less than this fraction
        of the weight of a new direction, so that the rank of a long run stays bounded (thick
        restart); 0 keeps them all, 1 is the most. Default: 0.02, and 0 for gradient descent with a
        stated rank tolerance. Of no effect where the basis is extended by directions smaller than
        rounding can tell (for gradient descent at rank tolerances below about 1e-7, so in the
        first few hundred steps), with fresh batches, and where hard directions are followed. Of
        the Hessian of a run that has discarded any, outliers in hard directions only are known.

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
    rank_tolerance: float | None = None
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
        set_fields(
            self,
            n_paths=n,
            replicates=check_integer("replicates", self.replicates, minimum=2),
            seed=check_integer("seed", self.seed, minimum=0, maximum=None),
            sobol_blocks=check_integer("sobol_blocks", self.sobol_blocks, minimum=0),
        )
        if self.rank_tolerance is not None:
            tolerance = check_real("rank_tolerance", self.rank_tolerance, minimum=0.0)
            set_fields(self, rank_tolerance=tolerance)
        if self.compression is not None:
            compression = check_real("compression", self.compression, minimum=0.0)
            if compression > 1.0:
                raise ValueError(f"compression must be at most 1, got {compression:g}")
            set_fields(self, compression=compression)

    @property
    def effective_rank_tolerance(self) -> float | None:
        """``rank_tolerance``, raised to the rounding floor where it lies below it."""
        stated = self.rank_tolerance
        return None if stated is None else max(stated, RANK_TOLERANCE_FLOOR)

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict of plain types, the inverse of ``Sampling(**config)``."""
        return asdict(self)


def bias_of_paths(
    value: NDArray[np.float64] | float, mean: NDArray[np.float64] | float, replicates: int
) -> NDArray[np.float64]:
    """Estimate the bias of a value by finitely many paths, from the mean over replicates.

    The value comes from all paths together, and the bias is inversely proportional to their number.
    """
    return np.asarray((mean - value) / (replicates - 1))


def is_biased(
    bias: NDArray[np.float64] | float,
    stderr: NDArray[np.float64] | float,
    value: NDArray[np.float64] | float,
) -> NDArray[np.bool_]:
    """Return where a bias is larger than the standard error, and than 1e-4 of the value.

    Below that it may be rounding, of what is computed by quadrature.
    """
    return np.asarray(np.abs(bias) > np.maximum(stderr, _SMALL_BIAS * np.abs(value)))


def cubature_normals(
    sampling: Sampling, replicate: int, dimension: int, n_points: int
) -> NDArray[np.float64]:
    """Return Sobol normals (dimension, n_points), independent of the paths of the replicate."""
    return sobol_normals(dimension, n_points, seed_sequence(sampling, replicate, CUBATURE))


def seed_sequence(sampling: Sampling, replicate: int, *key: int) -> np.random.SeedSequence:
    """Return the seed of one family of streams of a replicate."""
    return np.random.SeedSequence(sampling.seed, spawn_key=(replicate, *key))


def sobol_normals(
    dimension: int, n_points: int, seed: np.random.SeedSequence
) -> NDArray[np.float64]:
    """Return scrambled Sobol points mapped to standard normals, one coordinate per row.

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


def power_of_two(number: float) -> int:
    """Return the smallest power of two that is not below a number: Sobol points come in these.

    Examples
    --------
    >>> power_of_two(1000), power_of_two(64), power_of_two(0.5)
    (1024, 64, 1)
    """
    return 1 << max(math.ceil(math.log2(number)), 0)
