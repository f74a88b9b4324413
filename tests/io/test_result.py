"""Faces of results: text, figures in axes of one's own, tables, equality; each refusal one line."""

import sys

import matplotlib
import numpy as np
import pytest
from faces import assert_faces
from figures import curve, spectrum, threshold
from matplotlib.figure import Figure

import dmft
from dmft import plotting
from dmft.io.quantities import quantities

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def trajectory():
    problem = dmft.Problem("linear", dmft.Network("linear", [1.0, -0.5]), "square")
    return dmft.solve(problem, 4.0, dmft.GradientDescent(0.1, 2), dmft.Sampling(64, 2))


@pytest.mark.slow
@pytest.mark.parametrize("make", [threshold, spectrum, curve])
def test_faces(make, tmp_path):
    assert_faces(make(), tmp_path)


def test_faces_of_a_trajectory(trajectory, tmp_path):
    assert_faces(trajectory, tmp_path)
    data = trajectory.to_xarray()
    assert data["overlap"].dims == ("step", "neuron", "direction")
    assert data["overlap_stderr"].attrs["standard_error_of"] == "overlap"
    assert np.array_equal(data["norm_bias"], trajectory.bias["norm"])
    assert np.array_equal(data["step"], [0, 1, 2])
    assert np.array_equal(trajectory.to_dataframe()["overlap[2,1]"], trajectory.overlap[:, 1, 0])


def test_quantities_at_two_times_come_when_they_are_asked_for(trajectory):
    assert "correlation" not in quantities(trajectory)
    data = trajectory.to_xarray("correlation")
    assert data["correlation"].dims == ("step", "step_2", "neuron", "neuron_2")
    assert np.array_equal(data["correlation_stderr"], trajectory.stderr["correlation"])
    with pytest.raises(ValueError, match=r"^names must be .*, got 'energy'$"):
        trajectory.to_xarray("energy")


def test_dimensions_of_a_curve():
    data = curve().to_xarray()
    assert data["gap"].dims == ("delta", "step")
    assert data["replicates"].dims == ("replicate", "step")
    assert data["value_stderr"].attrs["units"] == "samples per dimension"
    assert data["gap_limit_value"].dims == ("gap_limit_delta",)
    assert float(data["limit_value"]) == curve().limit.value
    assert curve().to_dataframe("delta", "step").shape == (28, 4)
    with pytest.raises(ValueError, match=r"^along must be dimensions of the result .* 'time'$"):
        curve().to_dataframe("time")
    with pytest.raises(ValueError, match=r"^along must be different dimensions, got step, step$"):
        curve().to_dataframe("step", "step")


def test_equality_is_of_bits_and_nan_is_nan():
    nan = np.array([1.0, np.nan, 4.0, 8.0])
    assert threshold(gap=nan) == threshold(gap=nan.copy())
    assert threshold() != threshold(value=4.0 + 1e-15)
    assert threshold(gap_stderr=np.zeros(4)) != threshold(gap_stderr=-np.zeros(4))
    assert threshold() != spectrum()
    assert (threshold() == np.zeros(3)) is False


def test_axes_and_style_of_ones_own():
    figure = Figure()
    own = figure.add_subplot()
    assert threshold().plot(ax=own) is own
    assert len(figure.axes) == 1
    panels = curve().plot(figure.subplots(1, 2), size="column")
    assert panels.shape == (2,)
    axes = threshold().plot(size="column", font_size=6, axes_labelsize=6)
    assert axes.xaxis.label.get_size() == 6
    assert axes.figure.get_figwidth() == plotting.COLUMN
    with pytest.raises(ValueError, match=r"^ax must be 2 axes, one for each panel, got 1$"):
        curve().plot(ax=own)
    with pytest.raises(ValueError, match=r"^ax must be matplotlib axes, got str$"):
        curve().plot(ax="here")
    with pytest.raises(ValueError, match=r"^settings must be .*, got 'colour'$"):
        threshold().plot(colour="red")
    with pytest.raises(ValueError, match=r"^size must be 'column', 'page', or .* got \(0, 1\)$"):
        threshold().plot(size=(0, 1))


def test_the_style_of_all_figures_can_be_changed(monkeypatch):
    monkeypatch.setitem(plotting.STYLE, "axes.labelsize", 14.0)
    assert threshold().plot().xaxis.label.get_size() == 14.0


def test_a_legend_makes_room_above_data_that_it_would_cover(trajectory):
    for panel in trajectory.plot():
        legend = panel.get_legend()
        if legend is None:
            continue
        panel.figure.draw_without_rendering()
        box = legend.get_window_extent()
        for line in panel.lines:
            points = line.get_transform().transform(np.column_stack(line.get_data()))
            assert not box.count_contains(points)


def test_what_a_missing_library_costs_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(
        ModuleNotFoundError, match=r'^to_xarray needs xarray, .*"delta-nn\[data\]"$'
    ):
        threshold().to_xarray()


def test_load_knows_every_kind(tmp_path):
    for made in (threshold(), spectrum(), curve()):
        made.save(tmp_path / "a.npz")
        assert dmft.load(tmp_path / "a.npz") == made
    with pytest.raises(ValueError, match=r"^problem must be None for a threshold curve file"):
        dmft.load(tmp_path / "a.npz", dmft.Problem("linear"))
