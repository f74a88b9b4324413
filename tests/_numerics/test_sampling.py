"""The random numbers: law, independence of what was kept, and bad input."""

import numpy as np
import pytest

from dmft._numerics.sampling import Sampling, cubature_normals, sobol_normals
from dmft.solver.streams import GaussianStream


def test_sobol_normals_have_the_moments_of_a_gaussian_beyond_monte_carlo():
    x = sobol_normals(4, 2**12, np.random.SeedSequence(0))
    assert x.shape == (4, 4096)
    assert np.isfinite(x).all()
    # Plain Monte Carlo would miss the second moments by about sqrt(2 / 4096) = 0.02.
    assert np.abs(x @ x.T / 4096 - np.eye(4)).max() < 5e-3
    assert np.abs(x.mean(axis=1)).max() < 5e-4


def test_blocks_do_not_depend_on_the_order_in_which_they_are_asked_for():
    sampling = Sampling(n_paths=256, sobol_blocks=2, seed=3)
    forward = GaussianStream(sampling, 1, 3, 2)
    backward = GaussianStream(sampling, 1, 3, 2)
    first = [forward.block(t).copy() for t in range(5)]
    last = [backward.block(t).copy() for t in reversed(range(5))][::-1]
    for a, b in zip(first, last, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_block_is_a_copy_that_may_be_overwritten():
    stream = GaussianStream(Sampling(n_paths=64, sobol_blocks=1), 0, 1, 1)
    block = stream.block(0)
    reference = block.copy()
    block[:] = 0.0
    np.testing.assert_array_equal(stream.block(0), reference)


def test_fresh_blocks_of_all_steps_and_replicates_are_uncorrelated():
    sampling = Sampling(n_paths=4096, sobol_blocks=0)
    blocks = [GaussianStream(sampling, i, 1, 2).block(t) for i in range(3) for t in range(3)]
    correlation = np.corrcoef(np.concatenate(blocks))
    off_diagonal = correlation[~np.eye(len(correlation), dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(4096)


def test_replicates_and_purposes_use_different_sobol_points():
    # As sets: point by point, scrambles of one sequence are always strongly dependent.
    sampling = Sampling(n_paths=64)
    sets = [GaussianStream(sampling, i, 1, 1).leading() for i in range(3)]
    sets += [cubature_normals(sampling, i, 1, 64) for i in range(3)]
    points = np.sort(np.concatenate(sets), axis=1)
    for i, a in enumerate(points):
        for b in points[:i]:
            assert np.abs(a - b).max() > 1e-3


def test_seed_decides_the_numbers():
    a, b = (GaussianStream(Sampling(n_paths=64, seed=s), 0, 1, 1).leading() for s in (0, 1))
    assert np.abs(a - b).max() > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_paths": 1000}, "n_paths must be a power of two, at least 64, got 1000"),
        ({"n_paths": 32}, "n_paths must be a power of two, at least 64, got 32"),
        ({"n_paths": 1024.0}, "n_paths"),
        ({"n_paths": 2**30}, r"n_paths must be at most 2\*\*29"),
        ({"replicates": 1}, "replicates"),
        ({"seed": -1}, "seed"),
        ({"rank_tolerance": -1e-9}, "rank_tolerance"),
        ({"rank_tolerance": float("nan")}, "rank_tolerance"),
        ({"sobol_blocks": -1}, "sobol_blocks"),
    ],
)
def test_bad_settings_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**arguments)


def test_rank_tolerance_is_raised_to_the_rounding_floor():
    assert Sampling(rank_tolerance=0.0).effective_rank_tolerance == 1e-12
    assert Sampling(rank_tolerance=1e-6).effective_rank_tolerance == 1e-6


def test_config_round_trip():
    sampling = Sampling(n_paths=256, replicates=3, seed=5, rank_tolerance=1e-7, sobol_blocks=1)
    assert Sampling(**sampling.to_config()) == sampling
