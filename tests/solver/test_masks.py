"""Mini-batches on paths: masks, their noise, their memory."""

import numpy as np
import pytest
import scipy.stats
from algorithm_options import GELU, PAIR, SAMPLING, method_with

import dmft
from dmft.solver.masks import MaskStream
from dmft.solver.streams import GaussianStream


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 0.999])
def test_masks_have_the_right_law_and_little_noise(fraction):
    sampling = dmft.Sampling(n_paths=1024, seed=1)
    leading = GaussianStream(sampling, 0, 3, 1).leading()
    stream = MaskStream(sampling, 0, fraction, leading)
    used = np.array([stream.block(t) for t in range(400)])
    assert set(np.unique(used)) <= {0.0, 1.0 / fraction}
    counts = (used > 0.0).sum(axis=0)  # of each path, over 400 steps
    tails = (
        scipy.stats.binom.cdf(counts, 400, fraction),
        scipy.stats.binom.sf(counts - 1, 400, fraction),
    )
    assert min(tail.min() for tail in tails) > 1e-7
    assert (used > 0.0).mean() == pytest.approx(fraction, rel=0.05)
    # Neighbours share a batch evenly: averages of functions of the leading coordinates are quiet.
    function = np.tanh(leading[0]) * leading[1] + leading[0] ** 2
    found = (used * function).mean(axis=1)
    independent = np.sqrt(np.mean(function**2) * (1.0 / fraction - 1.0) / 1024)
    assert found.std() < (0.85 if fraction <= 0.5 else 1.05) * independent
    assert np.array_equal(stream.block(7), MaskStream(sampling, 0, fraction, leading).block(7))


def test_masks_are_uncorrelated_in_time():
    sampling = dmft.Sampling(n_paths=4096, seed=1)
    leading = GaussianStream(sampling, 0, 2, 1).leading()
    stream = MaskStream(sampling, 0, 0.5, leading)
    used = np.array([stream.block(t) for t in range(20)]) - 1.0
    covariance = used @ used.T / 4096
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 5.0 / np.sqrt(4096)


def test_mirrored_paths_share_their_batch():
    """An overlap with the hard direction is then linear in its start, without noise of its own."""
    method = method_with("batches", 6)
    starts = (1e-3, 2e-3)
    runs = [dmft.solve(GELU.with_hard_overlap(x), 6.0, method, SAMPLING) for x in starts]
    small, large = (run.overlap[:, 0, 0] for run in runs)
    np.testing.assert_allclose(large / small, 2.0, rtol=1e-3)
    assert small[-1] > small[0]


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_a_batch_adds_its_noise_to_the_first_step(fraction):
    """|grad_batch|^2 = |grad|^2 + (1/p - 1) E|g|^2 / delta, seen in C(1, 1)."""
    sampling = dmft.Sampling(n_paths=8192)
    plain = dmft.solve(PAIR, 3.0, dmft.GradientDescent(0.3, 1), sampling)
    batch = dmft.solve(PAIR, 3.0, dmft.GradientDescent(0.3, 1, fraction), sampling)
    noise = 0.3**2 * (1.0 / fraction - 1.0) / 3.0 * plain.gradient_covariance[0, 0]
    expected = plain.norm[1] + noise
    error = np.hypot(batch.stderr["norm"][1], plain.stderr["norm"][1])
    assert np.all(np.abs(batch.norm[1] - expected) < 4.0 * error + 1e-12)
    assert np.all(error < 0.15 * np.abs(noise).max())
    # Full gradients are the same before any batch was used.
    assert batch.gradient_norm[0] == pytest.approx(plain.gradient_norm[0], rel=0.02)
    assert np.array_equal(batch.train_loss[0], plain.train_loss[0])


def test_memory_of_batches_is_counted():
    sampling = dmft.Sampling(n_paths=1024, replicates=2)
    small = 3e6
    found = dmft.solve(
        GELU, 3.0, method_with("batches", 60), sampling, max_memory=small, hessian_steps=[]
    )
    assert found.status is dmft.Status.OUT_OF_MEMORY
    assert 0 < found.n_steps < 60
