"""The figure of delta_NN against the horizon: curve, limit, left edge, and what is missing."""

import dataclasses

import numpy as np
import pytest
from figures import curve, gap_limit, limit, texts

from dmft import Status
from dmft.plotting import plot_curve, save_figure

STEPS = curve().steps


def marker(axes, kind):
    return [line for line in axes.lines if line.get_marker() == kind and len(line.get_xdata())]


def test_both_panels(tmp_path):
    figure = plot_curve(curve())
    left, right, above = figure.axes
    assert r"\eta t" in left.get_xlabel()
    assert "NN" in left.get_ylabel()
    assert above.get_xlabel() == "step"
    # The two axes of one panel say the same: eta * step = time, at both ends.
    np.testing.assert_allclose(left.get_xlim(), 0.2 * np.array(above.get_xlim()), rtol=1e-9)
    (line,) = marker(left, "o")
    np.testing.assert_allclose(line.get_ydata(), curve().value)
    assert (right.get_xscale(), right.get_yscale()) == ("log", "log")
    np.testing.assert_allclose(right.lines[0].get_ydata(), -curve().edge_at_threshold[1:])
    assert "delta = 3" in texts(figure)
    assert "slope" in texts(figure)
    assert "limit: 6.1 (5.9 to 6.4)" in texts(figure)
    assert "not settled" not in texts(figure)
    (diamond,) = marker(left, "D")
    assert diamond.get_ydata()[0] == 6.1
    assert diamond.get_xdata()[0] > 1  # beyond the right margin
    path = save_figure(figure, tmp_path / "figure.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_both_estimates_of_the_limit():
    shown = texts(plot_curve(curve()))
    assert "by time: 6 (5.8 to 6.5)" in shown
    assert "by gaps: 6.1 (5.9 to 6.4)" in shown
    open_above = limit(in_time=(np.nan, 5.9, np.inf))
    none = gap_limit(threshold=np.nan, threshold_lower=0.0, threshold_upper=np.inf)
    shown = texts(plot_curve(curve(limit=open_above, gap_limit=none)))
    assert "by time" not in shown
    assert "by gaps" not in shown


def test_an_open_interval_has_an_arrow():
    open_above = limit(value=np.nan, upper=np.inf, status=Status.NOT_SETTLED)
    figure = plot_curve(curve(limit=open_above))
    assert "limit: above 5.9" in texts(figure)
    assert "not settled" in texts(figure)
    assert len(marker(figure.axes[0], "^")) == 1
    assert not marker(figure.axes[0], "D")
    nothing = limit(value=np.nan, lower=-np.inf, upper=np.inf, status=Status.NOT_SETTLED)
    figure = plot_curve(curve(limit=nothing))
    assert "limit: open" in texts(figure)
    assert len(marker(figure.axes[0], "v")) == 1


def test_a_wide_interval_does_not_flatten_the_curve():
    figure = plot_curve(curve(limit=limit(upper=500.0, status=Status.NOT_SETTLED)))
    assert figure.axes[0].get_ylim()[1] < 12


def test_steps_without_a_value_are_marked():
    value = np.where(STEPS > 50, np.nan, curve().value)
    statuses = tuple(Status.NO_BRACKET if step > 50 else Status.SUCCESS for step in STEPS)
    figure = plot_curve(curve(value=value, statuses=statuses))
    (crosses,) = marker(figure.axes[0], "x")
    np.testing.assert_allclose(crosses.get_xdata(), [20.0, 60.0])
    assert "NO_BRACKET" in figure.axes[0].get_title()


@pytest.mark.slow
@pytest.mark.parametrize("steps", [[0], [3], [0, 1]])
def test_few_steps(tmp_path, steps):
    full = curve()
    chosen = np.isin(STEPS, steps)
    cut = {
        name: getattr(full, name)[..., chosen]
        for name in (
            "steps", "times", "value", "stderr", "interpolation_error", "replicates", "gap",
            "gap_stderr", "left_edge", "left_edge_stderr", "edge_at_threshold",
            "edge_at_threshold_stderr",
            "unstable_share",
        )
    }  # fmt: skip
    figure = plot_curve(
        dataclasses.replace(
            full, **cut, statuses=full.statuses[: len(steps)], crossings=((),) * len(steps)
        )
    )
    save_figure(figure, tmp_path / "figure.png")
    assert len(marker(figure.axes[0], "o")) == 1


def test_no_values_at_all(tmp_path):
    nothing = np.full(7, np.nan)
    infinite = np.full((4, 7), -np.inf)
    figure = plot_curve(
        curve(
            value=nothing, stderr=nothing, edge_at_threshold=nothing, left_edge=infinite,
            statuses=(Status.UNBOUNDED_EDGE,) * 7,
            limit=limit(value=np.nan, lower=-np.inf, upper=np.inf, status=Status.NOT_SETTLED),
        )
    )  # fmt: skip
    assert "no threshold at any step" in texts(figure)
    assert "no left edge below zero" in texts(figure)
    assert "UNBOUNDED_EDGE" in texts(figure)
    save_figure(figure, tmp_path / "figure.png")


def test_a_method_without_steps_has_one_axis_of_time():
    flow = {**curve().config, "method": {"t_max": 60.0, "tol": 1e-3}}
    figure = plot_curve(curve(config=flow))
    assert len(figure.axes) == 2
    assert r"\eta" not in figure.axes[0].get_xlabel()
    assert r"\eta" not in texts(figure)


def test_nothing_is_drawn_of_a_curve_without_a_finite_gap():
    with pytest.raises(ValueError, match="finite gap to be drawn, got none"):
        plot_curve(curve(gap=np.full((4, 7), np.inf)))
