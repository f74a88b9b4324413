"""Axes of the user: as many as the figure returns, for every figure that may leave places empty."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

import dmft
import rmt
from dmft.plotting import plot_flow
from rmt.overlay import compare_spectrum
from rmt.plotting import plot_density

PROBLEM = dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, -0.5]), "pseudo-huber")
METHOD = dmft.GradientDescent(0.2, 2, second_layer_step_size=0.1)


@pytest.fixture(scope="module")
def trajectory():
    return dmft.solve(PROBLEM, 3.0, METHOD, dmft.Sampling(64, 2))


@pytest.fixture(scope="module")
def run():
    return dmft.simulate(PROBLEM, 3.0, METHOD, 12, 3, workers=1)


@pytest.fixture(scope="module")
def results(trajectory, run):
    names = ["norm", "overlap", "train_loss", "test_loss", "gradient_norm"]
    axes = {"delta": [1.0, 2.0, 3.0, 4.0]}
    tables = {
        "target": {"label": "linear"}, "method": {"step_size": 0.1, "n_steps": 1},
        "sampling": {"n_paths": 64, "replicates": 2},
    }  # fmt: skip
    return {
        "comparison": dmft.compare(trajectory, run, quantities=names),
        "trajectory": trajectory,
        "simulation": run,
        "scan": dmft.scan(tables, axes, [*names[:1], "overlap", "train_loss", "test_loss"],
                          workers=1),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["comparison", "trajectory", "simulation", "scan"])
def test_a_figure_is_drawn_in_as_many_axes_as_it_has(results, name):
    """Five quantities in rows of three, a second layer but no test error: places stay empty."""
    panels = np.ravel(results[name].plot())
    own = Figure().subplots(1, len(panels))
    assert np.all(np.ravel(results[name].plot(own)) == own)
    assert all(axes.has_data() and axes.axison for axes in own)
    with pytest.raises(ValueError, match=f"ax must be {len(panels)} axes, .* got 1"):
        results[name].plot(own[0])


def test_the_flow_and_figures_of_a_law_have_axes_sizes_and_settings(trajectory):
    law = rmt.HessianLaw([1.0, 2.0, -1.0], 3.0)
    found = compare_spectrum(law, np.linspace(-1, 4, 50))
    for draw in (
        lambda **more: plot_flow(trajectory, [0, 1, 2], **more),
        lambda **more: rmt.plotting.plot_flow([0, 1], [law, law], title="a, b", **more),
        lambda **more: plot_density(law, found, title="a law", **more),
    ):
        axes = Figure().subplots()
        assert draw(ax=axes) is axes.figure
        assert len(axes.figure.axes) == 1
        assert axes.has_data()
        assert axes.get_legend() is not None  # within: the figure is the user's
        figure = draw(size="page", settings={"axes_labelsize": 7.0})
        assert figure.get_figwidth() == 7.0
        assert figure.axes[0].xaxis.label.get_size() == 7.0
        assert figure.axes[0].get_legend() is None  # below all panels
        assert figure.legends
        with pytest.raises(ValueError, match="ax must be 1 axes"):
            draw(ax=Figure().subplots(1, 2))
    assert plt.get_fignums() == []
