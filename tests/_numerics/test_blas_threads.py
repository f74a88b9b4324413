"""Bits do not depend on the number of BLAS threads, however many the user allows.

With two threads BLAS shares out the products below, and adds their parts in another order.
"""

import numpy as np
import pytest
import threadpoolctl
from threadpoolctl import threadpool_limits

import dmft
import rmt
from dmft.trajectory.trajectory import Trajectory
from rmt import _blas

PROBLEM = dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, -0.5]), "pseudo-huber")
METHOD = dmft.GradientDescent(0.2, 12)
SAMPLING = dmft.Sampling(n_paths=512, replicates=4, rank_tolerance=1e-12)


def read(threads, function):
    with threadpool_limits(limits=threads, user_api="blas"):
        return function()


@pytest.fixture(scope="module")
def trajectory():
    return dmft.solve(PROBLEM, 4.0, METHOD, SAMPLING)


def test_response(trajectory):
    def values():
        fresh = Trajectory(PROBLEM, 4.0, METHOD, SAMPLING, trajectory._runs)  # nothing computed yet
        return fresh.response, fresh.stderr["response"], fresh.bias["response"]

    for one, two in zip(read(1, values), read(2, values), strict=True):
        np.testing.assert_array_equal(one, two)


def test_outliers_in_all_directions():
    basis = np.random.default_rng(0).standard_normal((12, 30_001))
    off = 0.3 * np.tanh(basis[2])
    weights = np.array([[np.minimum(basis[0] ** 2, 9.0), off], [off, np.tanh(basis[1])]])

    def outliers():
        law = rmt.HessianLaw(weights.transpose(2, 0, 1), 4.0, span=rmt.Span(basis))
        return [(o.value, o.span_overlap, *o.vector.ravel()) for o in law.outliers()]

    one, two = read(1, outliers), read(2, outliers)
    assert one
    np.testing.assert_array_equal(one, two)


def test_libraries_are_looked_for_once(monkeypatch):
    """That takes longer than the small products for which the number of threads is set."""
    looked = []
    controller = threadpoolctl.ThreadpoolController
    monkeypatch.setattr(
        threadpoolctl, "ThreadpoolController", lambda: looked.append(1) or controller()
    )
    _blas._found.clear()
    for _ in range(3):
        with _blas.single_threaded_blas():
            pass
    assert len(looked) == 1
