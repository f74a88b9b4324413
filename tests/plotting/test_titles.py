"""Titles fit their figures, whatever the method and the label are called."""

import pytest
from figures import LONG, inside

import dmft
from dmft.plotting import plot_spectrum, plot_threshold, plot_trajectory

SAMPLING = dmft.Sampling(n_paths=256, replicates=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trajectory", "spectrum", "threshold"])
def test_long_titles_are_broken(kind):
    target = dmft.Target("easy-hard", classes="logistic", slope=3.0)
    problem = dmft.Problem(target, dmft.Network("gelu", [1.0, 0.5]), "logistic", weight_decay=0.05)
    if kind == "threshold":
        found = dmft.find_delta_nn(problem, LONG, (2, 9), 2, SAMPLING, scan_points=3)
        assert inside(plot_threshold(found))
        return
    trajectory = dmft.solve(problem, 3.0, LONG, SAMPLING)
    if kind == "trajectory":
        assert inside(plot_trajectory(trajectory))
    else:
        assert inside(plot_spectrum(dmft.spectrum(trajectory, 3, points=64)))
