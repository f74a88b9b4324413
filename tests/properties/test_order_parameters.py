"""Order parameters of random problems: C is a covariance, R is causal."""

import numpy as np
import pytest
from drawn import SAMPLING, deltas, examples, problems, steps
from hypothesis import given
from hypothesis import strategies as st

import dmft

T = 5


@pytest.mark.slow
@examples(25)
@given(
    problem=problems(), delta=deltas(), sizes=steps(T),
    momentum=st.sampled_from([0.0, 0.5]), batch=st.sampled_from([1.0, 0.5]),
)  # fmt: skip
def test_covariances_are_symmetric_and_positive_semidefinite(
    problem, delta, sizes, momentum, batch
):
    method = dmft.GradientDescent(sizes, T, batch, momentum=momentum)
    found = dmft.solve(problem, delta, method, SAMPLING, threads=1)
    order = (found.n_steps + 1) * problem.m
    for name in ("correlation", "gradient_covariance"):
        matrix = getattr(found, name).transpose(0, 2, 1, 3).reshape(order, order)
        size = np.abs(matrix).max()
        np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-12 * size)
        if batch == 1.0 or name == "correlation":  # of two times, G has the batch of the earlier
            assert np.linalg.eigvalsh(matrix)[0] > -1e-11 * size
    np.testing.assert_allclose(
        found.norm, np.einsum("ttij->tij", found.correlation), rtol=1e-10, atol=1e-14
    )
    # C less what the latent directions explain is the covariance of a Gaussian, too.
    M = found.overlap.reshape(order, -1)
    matrix = found.correlation.transpose(0, 2, 1, 3).reshape(order, order) - M @ M.T
    assert np.linalg.eigvalsh(matrix)[0] > -1e-11 * np.abs(found.correlation).max()


@pytest.mark.slow
@examples(25)
@given(problem=problems(), delta=deltas(), sizes=steps(T), later=steps(2))
def test_the_response_is_causal(problem, delta, sizes, later):
    """R(t, s) = 0 for s >= t, R(t + 1, t) = eta I, and later steps change nothing earlier."""

    def response(sizes):
        method = dmft.GradientDescent(sizes, len(sizes))
        found = dmft.solve(problem, delta, method, SAMPLING, threads=1)
        return found.response[: found.response_steps + 1, : found.response_steps + 1]

    R = response(sizes)
    times = np.arange(len(R))
    assert np.all(R[times[:, np.newaxis] <= times] == 0.0)
    for t in times[:-1]:
        np.testing.assert_allclose(R[t + 1, t], sizes[t] * np.eye(problem.m), rtol=1e-6, atol=1e-8)
    changed = response([*sizes[:-2], *later])
    known = min(len(R), len(changed), T - 1)
    np.testing.assert_array_equal(changed[:known, :known], R[:known, :known])
