"""Figures: named axes, one artist per thing to see, files written whole or not at all."""

import sys

import numpy as np
import pytest
from figures import CONFIG, METHOD, PROBLEM, SAMPLING, assert_readable, spectrum, texts, threshold

import dmft
from dmft import Crossing, GradientDescent, Network, Problem, Status
from dmft.plotting import plot_spectrum, plot_threshold, plot_trajectory, save_figure


def test_threshold(tmp_path):
    figure = plot_threshold(threshold())
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert "delta" in axes.get_xlabel()
    assert "step 4" in axes.get_ylabel()
    assert r"4.00 \pm 0.10" in texts(figure)
    assert "a sign change in between" in texts(figure)
    assert "easy-hard" in axes.get_title()
    vertical = [line for line in axes.lines if list(line.get_xdata()) == [4.0, 4.0]]
    assert len(vertical) == 1
    assert not axes.child_axes  # wherever it stood, it would cover the curve
    (errorbar,) = axes.containers
    np.testing.assert_array_equal(errorbar.lines[0].get_xdata(), [1, 2, 4, 8])
    lower, upper = axes.get_xlim()
    assert 0.8 < lower < 1.0
    assert 8.0 < upper < 10.0
    assert_readable(figure, tmp_path)


def test_the_crossing_is_enlarged_where_nothing_is_covered(tmp_path):
    figure = plot_threshold(threshold(gap=np.array([1.0, 0.05, 0.0, -0.02])))
    (axes,) = figure.axes
    (inset,) = axes.child_axes
    assert inset.get_xlim() == pytest.approx((3.5, 4.5))
    box = inset.get_tightbbox().transformed(axes.transData.inverted())
    curve = next(line for line in axes.lines if len(line.get_xdata()) == 4)
    x = np.geomspace(1.0, 8.0, 200)
    y = np.interp(np.log(x), np.log(curve.get_xdata()), curve.get_ydata())
    inside = (x > box.x0) & (x < box.x1)
    assert inside.any()
    assert (y[inside] < box.y0).all()
    assert_readable(figure, tmp_path)


def test_threshold_marks_runs_that_ended_early(tmp_path):
    result = threshold(gap=np.array([np.nan, 0.5, 0.0, -0.5]))
    figure = plot_threshold(result)
    (line,) = [entry for entry in figure.axes[0].lines if entry.get_marker() == "x"]
    np.testing.assert_array_equal(line.get_xdata(), [1.0])
    assert "no value" in texts(figure)
    assert_readable(figure, tmp_path)


def test_threshold_without_a_value_says_why(tmp_path):
    result = threshold(
        value=np.nan, stderr=np.nan, status=Status.NO_BRACKET, crossings=(),
        gap=np.array([1.0, 0.5, 0.4, 0.3]),
    )  # fmt: skip
    figure = plot_threshold(result)
    assert "NO_BRACKET" in texts(figure)
    assert "NN" not in texts(figure)
    assert_readable(figure, tmp_path)


@pytest.mark.parametrize("gap", [np.inf, np.nan])
def test_nothing_is_drawn_of_a_threshold_without_a_finite_gap(gap):
    result = threshold(
        value=np.nan, stderr=np.nan, status=Status.UNBOUNDED_EDGE, gap=np.full(4, gap), crossings=()
    )
    with pytest.raises(ValueError, match=r"finite gap to be drawn, got none; .* UNBOUNDED_EDGE"):
        plot_threshold(result)


def test_crossings_that_are_not_located_are_drawn_as_intervals():
    figure = plot_threshold(threshold())
    (bar,) = [line for line in figure.axes[0].lines if list(line.get_xdata()) == [1.0, 2.0]]
    assert bar.get_linewidth() > 3
    assert "a sign change in between" in texts(figure)
    located = (Crossing(1.5, 1.0, 2.0, True, True, 0.1), threshold().crossings[1])
    figure = plot_threshold(threshold(crossings=located))
    assert "other sign changes" in texts(figure)
    assert "in between" not in texts(figure)


def test_trajectory(tmp_path):
    trajectory = dmft.solve(PROBLEM, 3.0, METHOD, SAMPLING)
    figure = plot_trajectory(trajectory)
    norms, overlaps, losses, gradient = figure.axes
    assert len(norms.lines) == 3  # C11, C22, C12
    assert len(overlaps.lines) == 3  # two neurons on z1, and the hard z2 at zero
    assert len(losses.lines) == 2
    assert len(gradient.lines) == 1
    for axes in figure.axes:
        assert axes.get_ylabel()
        bands = len(axes.lines) - (axes is overlaps)
        assert len(axes.collections) == bands
    np.testing.assert_array_equal(losses.lines[0].get_ydata(), trajectory.train_loss)
    np.testing.assert_array_equal(overlaps.lines[0].get_ydata(), trajectory.overlap[:, 0, 0])
    assert "z_{2}" in texts(figure)
    assert "0 exactly" in texts(figure)
    assert r"\delta = 3" in texts(figure)
    assert_readable(figure, tmp_path)


def test_trajectory_with_only_hard_directions_and_one_step(tmp_path):
    problem = Problem("phase-retrieval", Network("gelu"))
    trajectory = dmft.solve(problem, 3.0, GradientDescent(0.1, 0), SAMPLING)
    figure = plot_trajectory(trajectory)
    assert len(figure.axes[1].lines) == 1
    assert_readable(figure, tmp_path)


def test_trajectory_that_diverged_says_so(tmp_path):
    problem = Problem("phase-retrieval", Network("quadratic"))
    trajectory = dmft.solve(problem, 3.0, GradientDescent(50.0, 30), SAMPLING)
    assert trajectory.status is Status.DIVERGED
    figure = plot_trajectory(trajectory)
    assert f"DIVERGED after step {trajectory.n_steps}" in texts(figure)
    # The first step already throws samples out of their minimum.
    assert "follows step 0" in texts(figure)
    assert max(len(line.get_xdata()) for line in figure.axes[2].lines) == 1
    assert_readable(figure, tmp_path)


def test_spectrum_with_an_outlier_enlarges_the_left_edge(tmp_path):
    figure = plot_spectrum(spectrum())
    axes, zoom = figure.axes
    assert "eigenvalue" in axes.get_xlabel()
    assert "density" in axes.get_ylabel()
    assert r"-1.300 \pm 0.010" in texts(figure)
    assert "overlap 0.40" in texts(figure)
    assert "left edge" in texts(figure)
    assert "right edge" in texts(figure)
    for panel in figure.axes:
        marked = [float(line.get_xdata()[0]) for line in panel.lines[1:]]
        assert marked == [-1.0, 3.0, -1.3]
    assert axes.get_xlim()[0] < -1.3 < 3.0 < axes.get_xlim()[1]
    assert zoom.get_xlim()[0] < -1.3 < -1.0 < zoom.get_xlim()[1] < 0.0
    assert_readable(figure, tmp_path)


def test_spectrum_without_outlier_is_one_panel(tmp_path):
    figure = plot_spectrum(spectrum(outliers=(), atom_at_zero=0.25))
    assert len(figure.axes) == 1
    assert "atom of mass 0.25" in texts(figure)
    # Zero of the Hessian without weight decay sits at lambda = 0.1.
    (atom,) = [line for line in figure.axes[0].lines if line.get_marker() == "^"]
    assert list(atom.get_xdata()) == [0.1]
    assert_readable(figure, tmp_path)


def test_spectrum_with_a_long_tail_shows_where_the_mass_is(tmp_path):
    x = np.concatenate([np.linspace(-1.0, 3.0, 400), np.geomspace(3.01, 1e4, 200)])
    density = np.where(x < 3.0, np.sqrt(np.maximum((x + 1.0) * (3.0 - x), 0.0)), 0.0)
    density = density + np.where(x > 3.0, 1e-3 * np.maximum(x, 1.0) ** -2, 0.0)
    figure = plot_spectrum(spectrum(x=x, density=density, right_edge=np.inf))
    assert 2.5 < figure.axes[0].get_xlim()[1] < 4.0
    assert "no edge on the right" in texts(figure)
    assert_readable(figure, tmp_path)


def test_no_window_and_no_global_state(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    save_figure(plot_spectrum(spectrum()), tmp_path / "a.svg")
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_custom_names_are_not_taken_for_mathematics(tmp_path):
    config = {**CONFIG, "problem": {**CONFIG["problem"], "loss": {"custom": "my_$loss"}}}
    assert_readable(plot_threshold(threshold(config=config)), tmp_path)


@pytest.mark.parametrize("suffix", ["pdf", "svg"])
def test_other_formats(tmp_path, suffix):
    path = save_figure(plot_threshold(threshold()), tmp_path / f"figure.{suffix}")
    assert path.stat().st_size > 1000


def test_unknown_format(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in one of .*png.*got"):
        save_figure(plot_threshold(threshold()), tmp_path / "figure.doc")
    assert not list(tmp_path.iterdir())
