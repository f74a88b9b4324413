"""Titles fit their figures, whatever the method and the label are called."""

import pytest

import dmft
from dmft.plotting import plot_spectrum, plot_threshold, plot_trajectory

LONG = dmft.GradientDescent(
    {"schedule": "cosine", "peak": 0.4, "warmup_steps": 2}, 3, momentum=0.5, batch_fraction=0.5
)
SAMPLING = dmft.Sampling(n_paths=256, replicates=2)


def inside(figure):
    """Whether every title lies within its figure."""
    figure.draw_without_rendering()
    titles = [axes.title for axes in figure.axes]
    if figure._suptitle is not None:
        titles.append(figure._suptitle)
    boxes = [title.get_window_extent() for title in titles if title.get_text()]
    return all(box.x0 >= 0.0 and box.x1 <= figure.bbox.x1 for box in boxes)


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
