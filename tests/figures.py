"""Results to be drawn, with round numbers, and what is asked of every figure."""

import numpy as np

from dmft import (
    Crossing,
    Extrapolation,
    GapLimit,
    GradientDescent,
    Network,
    Problem,
    Sampling,
    Status,
    Threshold,
    ThresholdCurve,
)
from dmft.plotting import save_figure
from dmft.trajectory.spectra import Spectrum, SpectrumOutlier

SAMPLING = Sampling(n_paths=256, replicates=4, seed=1)
METHOD = GradientDescent(0.2, 4)
PROBLEM = Problem("easy-hard", Network("gelu", [1.0, -1.0]), "pseudo-huber", weight_decay=0.1)
CONFIG = {
    "problem": PROBLEM.to_config(),
    "method": METHOD.to_config(),
    "sampling": SAMPLING.to_config(),
}
CURVE = {
    "problem": Problem("phase-retrieval", loss="pseudo-huber").to_config(),
    "method": GradientDescent(0.2, 300).to_config(),
    "sampling": Sampling().to_config(),
}
#: A method whose description does not fit into one line.
LONG = GradientDescent(
    {"schedule": "cosine", "peak": 0.4, "warmup_steps": 2}, 3, momentum=0.5, batch_fraction=0.5
)


def threshold(**changes):
    settings = {
        "value": 4.0,
        "stderr": 0.1,
        "status": Status.SUCCESS,
        "crossings": (Crossing(1.5, 1.0, 2.0, True), Crossing(4.0, 2.0, 8.0, True, True)),
        "step": 4,
        "bracket": (1.0, 8.0),
        "delta": np.array([1.0, 2.0, 4.0, 8.0]),
        "gap": np.array([1.0, 0.5, 0.0, -0.5]),
        "gap_stderr": np.full(4, 0.02),
        "residual": 0.0,
        "config": CONFIG,
    }
    return Threshold(**{**settings, **changes})


def spectrum(**changes):
    x = np.linspace(-1.0, 3.0, 400)
    settings = {
        "delta": 2.0,
        "step": 4,
        "x": x,
        "density": np.sqrt((x + 1.0) * (3.0 - x)) / (2 * np.pi),
        "left_edge": -1.0,
        "left_edge_stderr": 0.01,
        "right_edge": 3.0,
        "right_edge_stderr": 0.02,
        "outliers": (SpectrumOutlier(-1.3, 0.01, 0.4, 0.02, "left"),),
        "outlier_status": Status.SUCCESS,
        "hard_gap": -0.3,
        "hard_gap_stderr": 0.01,
        "atom_at_zero": 0.0,
        "status": Status.SUCCESS,
        "config": CONFIG,
    }
    return Spectrum(**{**settings, **changes})


def limit(**changes):
    settings = {
        "value": 6.1,
        "lower": 5.9,
        "upper": 6.4,
        "status": Status.SUCCESS,
        "level": 0.95,
        "last": 5.9,
        "window": (2.0, 60.0),
        "n_points": 12,
        "powers": (0.8, 1.2),
        "narrower": (5.9, 6.3),
        "wider": (5.8, 6.6),
        "in_time": (6.0, 5.8, 6.5),
    }
    return Extrapolation(**{**settings, **changes})


def gap_limit(**changes):
    settings = {
        "delta": np.array([3.0, 6.0, 12.0]),
        "value": np.array([0.08, 0.002, -0.06]),
        "lower": np.array([0.07, -0.003, -0.07]),
        "upper": np.array([0.09, 0.007, -0.05]),
        "by_edge": np.ones(3, dtype=bool),
        "threshold": 6.1,
        "threshold_lower": 5.9,
        "threshold_upper": 6.4,
        "positive": 3.0,
        "negative": 12.0,
    }
    return GapLimit(**{**settings, **changes})


def curve(**changes):
    steps, delta = np.array([0, 1, 3, 10, 30, 100, 300]), np.array([1.0, 3.0, 6.0, 12.0])
    times = 0.2 * steps
    edge = -1.0 / (1 + times)
    settings = {
        "steps": steps,
        "times": times,
        "value": 6 - 4 / (1 + times),
        "stderr": np.full(7, 0.1),
        "interpolation_error": np.zeros(7),
        "statuses": (Status.SUCCESS,) * 7,
        "replicates": np.ones((4, 7)),
        "crossings": ((),) * 7,
        "bracket": (1.0, 12.0),
        "delta": delta,
        "gap": np.zeros((4, 7)),
        "gap_stderr": np.zeros((4, 7)),
        "left_edge": edge / delta[:, np.newaxis],
        "left_edge_stderr": np.full((4, 7), 0.001),
        "edge_at_threshold": edge,
        "edge_at_threshold_stderr": np.full(7, 0.001),
        "unstable_share": np.zeros(7),
        "limit": limit(),
        "gap_limit": gap_limit(),
        "config": CURVE,
    }
    return ThresholdCurve(**{**settings, **changes})


def texts(figure):
    """All text of the legends, titles and notes."""
    found = [figure.get_suptitle()]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        found += [axes.get_title(), *(text.get_text() for text in axes.texts)]
        if axes.get_legend() is not None:
            found += [text.get_text() for text in axes.get_legend().get_texts()]
    return " | ".join(found)


def assert_readable(figure, tmp_path):
    for axes in figure.axes:
        assert axes.get_xlabel()
    assert figure.axes[0].get_ylabel()
    path = save_figure(figure, tmp_path / "figure.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [entry.name for entry in tmp_path.iterdir()] == ["figure.png"]


def inside(figure):
    """Whether every title lies within its figure."""
    figure.draw_without_rendering()
    titles = [axes.title for axes in figure.axes]
    if figure._suptitle is not None:
        titles.append(figure._suptitle)
    boxes = [title.get_window_extent() for title in titles if title.get_text()]
    return all(box.x0 >= 0.0 and box.x1 <= figure.bbox.x1 for box in boxes)
