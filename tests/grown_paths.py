"""Paths that have been fed with gradients, without the rest of the solver."""

import numpy as np

from dmft.solver.paths import Paths

N, DELTA = 512, 2.5


def grown(m, steps, seed=0, smallest=1e-12, blocks=1):
    """Paths fed with nonlinear functions of their own coordinates; what was fed, step by step."""
    rng = np.random.default_rng(seed)
    leading = rng.standard_normal((2 + m, N))
    paths = Paths(np.split(leading, blocks, axis=1))
    fed = []
    for _ in range(steps):
        weights = rng.standard_normal((m, paths.n_coordinates)) / 2
        r = np.concatenate([paths.combine(weights, b) for b in range(blocks)], axis=1)
        g = np.tanh(r) + 0.3 * r**2
        rows = np.concatenate([g, rng.standard_normal((m, N))])
        pieces = [piece.copy() for piece in np.split(rows, blocks, axis=1)]
        averages = paths.basis.average(lambda b, pieces=pieces: paths.basis.products(pieces[b], b))
        q = coordinates(paths, blocks)
        squares = np.mean(g**2, axis=1)
        result = paths.add_gradients(pieces, averages, squares, smallest, DELTA)
        fed.append((g, q, result))
    return paths, fed


def coordinates(paths, blocks=1):
    return np.concatenate(
        [paths.coordinate_coefficients @ paths.basis.rows(b) for b in range(blocks)], axis=1
    )


def directions(paths, blocks=1):
    return np.concatenate(
        [paths.gradient_coefficients @ paths.basis.rows(b) for b in range(blocks)], axis=1
    )
