"""The coordinate form written down plainly in numpy: the solver's twin, and what it is measured by.

Coordinates ``q`` and normalised gradients ``ghat`` are arrays over all paths, a step is the few
lines that the equations are, and nothing is adapted, batched or remembered (Celentano, Cheng &
Montanari, arXiv:2112.07572)::

    r^t      = B_t q
    g^t      = sum_{v<=t} Gamma(t, v) ghat^v              Gram-Schmidt over samples
    q^t      = zeta^t - ghat^t / sqrt(delta)              zeta^t fresh
    B_{t+1}  = B_t - eta ((E[g^t q^T], -Gamma(t, t) / sqrt(delta)) + lam B_t)

With scales s of the inputs, r^t = s B_t q, and s g^t stands for g^t. Only problem, labels and
element-wise gradient are shared with ``dmft``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import dmft
from dmft.model.drawn_inputs import labels_and_scales
from dmft.model.gradients import pre_activation_gradient
from dmft.solver import replicates as solver
from dmft.solver.streams import GaussianStream

Array = np.ndarray

FAINT = 3e-4  # of the largest gradient: what fresh blocks of an exact run keep


def run(
    problem: dmft.Problem,
    delta: float,
    method: dmft.GradientDescent,
    leading: Array,
    fresh: Callable[[int], Array],
    *,
    rank_tolerance: float = 1e-12,
    orthogonalise: bool = False,
    faint: float = FAINT,
) -> tuple[Array, int]:
    """Follow gradient descent on the given random numbers.

    Parameters
    ----------
    problem, delta, method
    leading : ndarray, shape (k + m or more, n_paths)
        Latent coordinates over scales, initial weights, label noise, scales and clusters.
    fresh : callable
        Step to Gaussians (m, n_paths).
    rank_tolerance : float
        Directions that would receive a weight below this are left out.
    orthogonalise : bool
        Whether fresh blocks are made orthogonal, as sample averages, to everything before them but
        what is new and faint in a gradient, and of unit variance.
    faint : float
        What is faint, relative to the largest gradient.

    Returns
    -------
    correlation : ndarray, shape (n_steps + 1, m, m)
        C(t, t).
    n_coordinates : int
    """
    m, k, n = problem.m, problem.k, leading.shape[1]
    eta, lam = method.step_size, problem.weight_decay
    smallest = rank_tolerance * np.sqrt(delta) / eta
    y, s = labels_and_scales(problem, leading)
    s = s if len(s) else 1.0
    hard = problem.target.hard_basis
    q, ghat, basis, avoided = (
        _Rows(leading[: k + m]),
        *(_Rows(np.empty((0, n))) for _ in range(3)),
    )
    if orthogonalise:
        for row in (np.ones(n), *leading[: k + m]):
            avoided.append(basis.append_part_of(row.copy())[0])
    largest = 0.0
    B = problem.initial_weights()
    correlation = [B @ B.T]
    for t in range(method.n_steps):
        g, _ = pre_activation_gradient(problem, s * (B @ q.rows), y)
        g *= s
        largest = max(largest, float(np.sqrt(np.mean(g**2, axis=1)).max()))
        gradient = g @ q.rows.T / n
        gradient[:, :k] -= (gradient[:, :k] @ hard) @ hard.T
        first, gamma, kept = ghat.n, np.zeros((m, m)), []
        for j in range(m):
            rest = g[j].copy()
            overlaps, size = ghat.remove_from(rest)
            if size >= smallest and size > 1e-13 * np.sqrt(np.mean(g[j] ** 2)):
                gamma[j, : ghat.n - first] = overlaps[first:]
                gamma[j, ghat.n - first] = size
                ghat.append(rest / size)
                kept.append(j)
            else:
                gamma[j, : ghat.n - first] = overlaps[first:]
        zeta = fresh(t)[kept] if kept else np.empty((0, n))
        new = ghat.rows[first:]
        if orthogonalise:
            for row, j in zip(new, kept, strict=True):
                part, size = basis.append_part_of(row.copy())
                if size * gamma[j, kept.index(j)] >= faint * largest:
                    avoided.append(part)
            for row in zeta:
                row[:], _ = avoided.append_part_of(row.copy())
                basis.append_part_of(row.copy())
        for x, normalised in zip(zeta, new, strict=True):
            q.append(x - normalised / np.sqrt(delta))
        gradient = np.concatenate([gradient, -gamma[:, : len(kept)] / np.sqrt(delta)], axis=1)
        B = np.pad(B, ((0, 0), (0, len(kept))))
        B = (1.0 - eta * lam) * B - eta * gradient
        correlation.append(B @ B.T)
    return np.array(correlation), q.n


def plain_monte_carlo(
    problem: dmft.Problem,
    delta: float,
    method: dmft.GradientDescent,
    n_paths: int,
    seed: int,
    rank_tolerance: float = 1e-12,
) -> tuple[Array, int]:
    """`run` on pseudo-random numbers alone, without sample-orthogonality."""
    rng = np.random.default_rng(seed)
    leading = rng.standard_normal((problem.k + problem.m + 1, n_paths))
    return run(
        problem,
        delta,
        method,
        leading,
        lambda _: rng.standard_normal((problem.m, n_paths)),
        rank_tolerance=rank_tolerance,
    )


def same_numbers(
    problem: dmft.Problem, sampling: dmft.Sampling
) -> tuple[Array, Callable[[int], Array]]:
    """Arguments ``leading`` and ``fresh`` of `run`: the numbers of the solver."""
    drawn = streams(problem, sampling)
    leading = np.concatenate([stream.leading() for stream in drawn], axis=1)
    return leading, lambda t: np.concatenate([stream.block(t) for stream in drawn], axis=1)


def streams(problem: dmft.Problem, sampling: dmft.Sampling) -> list[GaussianStream]:
    """Random numbers of each replicate, as the solver has them."""
    shared = solver._Shared(
        problem,
        1.0,
        dmft.GradientDescent(0.1, 1),
        sampling,
        frozenset(),
        0,
        problem.target.hard_basis,
        None,
    )
    return [shared.stream(i) for i in range(sampling.replicates)]


class _Rows:
    """A growing array of rows over the paths."""

    def __init__(self, rows: Array) -> None:
        self.n = len(rows)
        self._all = np.empty((max(64, 2 * self.n), rows.shape[1]))
        self._all[: self.n] = rows

    @property
    def rows(self) -> Array:
        return self._all[: self.n]

    def append(self, row: Array) -> None:
        if self.n == len(self._all):
            self._all = np.concatenate([self._all, np.empty_like(self._all)])
        self._all[self.n] = row
        self.n += 1

    def remove_from(self, row: Array) -> tuple[Array, float]:
        """Gram-Schmidt, twice: takes orthonormal rows off `row`. Overlaps, and what is left."""
        overlaps = np.zeros(self.n)
        for _ in range(2):
            part = self.rows @ row / len(row)
            row -= part @ self.rows
            overlaps += part
        return overlaps, float(np.sqrt(np.mean(row**2)))

    def append_part_of(self, row: Array) -> tuple[Array, float]:
        """Append what the rows leave of `row`, normalised, unless it is rounding; its size too."""
        before = np.sqrt(np.mean(row**2))
        _, size = self.remove_from(row)
        row /= size
        if size > 1e-13 * before:
            self.append(row)
        return row, size
