"""Hessians of a sweep beside the law of n weights at each of its sizes."""

import numpy as np
import pytest

import dmft
from dmft import GradientDescent, Network, Problem, Sampling, Status
from dmft.plotting import plot_sweep_prediction

PROBLEM = Problem("phase-retrieval", Network("quadratic"), "square")
METHOD = GradientDescent(0.02, 3)
SAMPLING = Sampling(n_paths=512, replicates=4)


@pytest.fixture(scope="module")
def runs():
    """Free runs of the square loss, whose limit has no edge; the smallest has too few samples."""
    return dmft.sweep(PROBLEM, [1.0, 8.0], METHOD, d=[8, 80], seeds=8, hessian_step=2, workers=1)


@pytest.fixture(scope="module")
def found(runs):
    return dmft.predict_sweep(runs, SAMPLING, draws=16)


def test_runs_have_the_hessians_of_their_n_weights(found, runs):
    assert found.status.ok
    eigenvalue, overlap = found.deviation
    assert np.all(np.abs(eigenvalue[1]) < 3.5)
    assert abs(overlap[1, 1]) < 3.5
    assert found.hard_gap[1, 0] > 0.0 > found.hard_gap[1, 1]
    assert found.has_outlier[1].tolist() == [False, True]
    assert np.isnan(overlap[1, 0])
    assert np.all(found.lower[1] < found.smallest_eigenvalue[1])
    assert found.run_eigenvalue[1, 1] == np.median(runs.smallest_eigenvalue[1, 1])
    assert "no outlier" in found.table()


def test_sizes_too_small_have_no_law(found):
    assert np.isnan(found.smallest_eigenvalue[0, 0])  # n = 8
    assert np.isfinite(found.smallest_eigenvalue[0, 1])  # n = 64
    assert np.isfinite(found.run_eigenvalue[0]).all()


def test_file_and_figure(found, tmp_path):
    found.save(tmp_path / "found")
    assert dmft.load(tmp_path / "found.npz") == found
    figure = plot_sweep_prediction(found)
    assert len(figure.axes) == 2


def test_a_theory_that_diverges_has_no_numbers():
    method = GradientDescent(3.0, 3)
    runs = dmft.sweep(PROBLEM, [2.0], method, d=20, seeds=2, hessian_step=3, workers=1)
    found = dmft.predict_sweep(runs, Sampling(n_paths=64, replicates=2), draws=2)
    assert found.status is Status.DIVERGED
    assert np.isnan(found.smallest_eigenvalue).all()


def test_bad_input(runs):
    plain = dmft.sweep(PROBLEM, [2.0], METHOD, d=20, seeds=2, workers=1)
    with pytest.raises(ValueError, match="sweep must have a hessian_step"):
        dmft.predict_sweep(plain)
    with pytest.raises(ValueError, match=r"sweep must be a dmft\.Sweep"):
        dmft.predict_sweep(3)
    with pytest.raises(ValueError, match="draws must be an integer >= 2"):
        dmft.predict_sweep(runs, SAMPLING, draws=1)
