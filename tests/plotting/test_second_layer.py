"""Figures of runs that train the second layer, with and without classes."""

import numpy as np
import pytest

import dmft
from dmft.plotting import plot_simulation, plot_trajectory

TRAINED = dmft.GradientDescent(0.2, 5, second_layer_step_size=0.3)
FIXED = dmft.GradientDescent(0.2, 5)


def problem(classes):
    if classes:
        target = dmft.Target("linear", classes="sign", flip=0.1)
        return dmft.Problem(target, dmft.Network("tanh", [1.0, 0.5]), "logistic")
    return dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, 0.5]), "pseudo-huber")


def panel(figure, name):
    """Return the panels whose vertical axis has that name."""
    return [axes for axes in figure.axes if name in axes.get_ylabel()]


@pytest.mark.slow
@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("method", [FIXED, TRAINED])
def test_a_panel_for_what_there_is(method, classes):
    sampling = dmft.Sampling(n_paths=256, replicates=2)
    trajectory = dmft.solve(problem(classes), 3.0, method, sampling)
    run = dmft.simulate(problem(classes), 3.0, method, d=40, seeds=2, workers=1)
    for figure in (plot_trajectory(trajectory), plot_simulation(run)):
        assert len(panel(figure, "test error")) == classes
        layer = panel(figure, "second layer")
        assert len(layer) == (method is TRAINED)
        assert len(figure.axes) == 4 + classes + (method is TRAINED)
    if method is TRAINED:
        (axes,) = panel(plot_trajectory(trajectory), "second layer")
        drawn = [line.get_ydata() for line in axes.lines]
        for j in range(2):
            assert any(np.array_equal(line, trajectory.second_layer[:, j]) for line in drawn)
