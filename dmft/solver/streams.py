"""Random numbers of the paths, tied to steps: scrambled Sobol points, then fresh Gaussians."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.sampling import FRESH, HARD, LEADING, Sampling, seed_sequence, sobol_normals

__all__ = ["GaussianStream", "HardCoordinates"]

# Easy coordinates over which the label is averaged to order the hard ones.
_EASY_POINTS = 16


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
        """Return coordinates along the basis (k_h, n_points) and noise (n_points,), by label.

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
        """Return an orthonormal basis of the other directions, (k, k - k_h); axes are exact."""
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
    transform : callable, optional
        Turns the leading normals (n_leading, n_paths) into the rows of a law of the inputs.
    """

    def __init__(
        self,
        sampling: Sampling,
        replicate: int,
        n_leading: int,
        block_size: int,
        hard: HardCoordinates | None = None,
        transform: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    ) -> None:
        self._sampling = sampling
        self._replicate = replicate
        self._n_leading = n_leading
        self._block_size = block_size
        n_fresh = block_size * sampling.sobol_blocks
        seed = self._seed_sequence(LEADING)
        if hard is None:
            self._sobol = sobol_normals(n_leading + n_fresh, sampling.n_paths, seed)
            if transform is not None:
                rows = transform(self._sobol[:n_leading])
                self._n_leading = len(rows)
                self._sobol = np.concatenate([rows, self._sobol[n_leading:]])
            return
        k, k_h = hard.basis.shape
        easy_basis = hard.easy_basis()
        points = sobol_normals(1 + k - k_h + block_size + n_fresh, sampling.n_paths, seed)
        values, noise = hard.ordered(sampling.n_paths, self._seed_sequence(HARD))
        rank = np.empty(sampling.n_paths, dtype=np.intp)
        rank[np.argsort(points[0], kind="stable")] = np.arange(sampling.n_paths)
        z = hard.basis @ values[:, rank] + easy_basis @ points[1 : 1 + k - k_h]
        parts = [z, points[1 + k - k_h : 1 + k - k_h + block_size]]
        if hard.uses_noise:
            parts.append(noise[np.newaxis, rank])
        self._sobol = np.concatenate([*parts, points[1 + k - k_h + block_size :]])

    def _seed_sequence(self, *key: int) -> np.random.SeedSequence:
        return seed_sequence(self._sampling, self._replicate, *key)

    def leading(self) -> NDArray[np.float64]:
        """Return the leading rows, shape (n_leading, n_paths): standard normal, or transformed."""
        return self._sobol[: self._n_leading]

    def block(self, step: int) -> NDArray[np.float64]:
        """Return the fresh block of a step, (block_size, n_paths), standard normal; a new array."""
        m = self._block_size
        if step < self._sampling.sobol_blocks:
            start = self._n_leading + step * m
            return self._sobol[start : start + m].copy()
        generator = np.random.Generator(np.random.SFC64(self._seed_sequence(FRESH, step)))
        return generator.standard_normal((m, self._sampling.n_paths))
