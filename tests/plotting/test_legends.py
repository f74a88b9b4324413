"""Legends do not cover data, whatever the others need."""

import numpy as np

from rmt.canvas import _covers, drawing, new_figure


@drawing
def two_panels():
    """A legend that finds no room within its panel beside one that does, until that is lower."""
    figure, (left, right) = new_figure((7.0, 2.2), columns=2)
    x = np.linspace(0.0, 1.0, 50)
    left.plot(x, x**4, label="one\ntwo\nthree")
    left.legend(loc="upper left")
    for slope in np.linspace(-1.0, 1.0, 6):
        right.plot(x, slope * (x - 0.5), label=f"slope {slope:.1f}")
    right.legend()
    return figure


def test_a_legend_that_goes_below_leaves_none_over_data():
    figure = two_panels()
    figure.draw_without_rendering()
    for panel in figure.axes:
        assert not _covers(panel, panel.get_legend().get_window_extent())
    right = figure.axes[1]
    assert right.get_legend().get_window_extent().y1 < right.bbox.y0  # it is below its panel
