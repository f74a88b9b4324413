"""The figure of networks beside delta_alg: curves, labels, step sizes, and what is missing."""

import dataclasses

import numpy as np
import pytest
from figures import LONG, curve, inside, limit, texts

import dmft
from dmft import Status
from dmft.comparison.smallest_eigenvalue import HessianPrediction
from dmft.plotting import plot_algorithmic_gap, save_figure
from dmft.plotting.algorithmic_gap import _spread
from dmft.studies.step_axis import EigenvalueCheck, StepSeries

N = 7


@pytest.fixture(scope="module")
def hardness():
    return dmft.hardness("phase-retrieval", n_points=2**18)


def series(**changes):
    settings = {
        "step_sizes": np.array([0.0, 0.1, 0.4, 1.0]),
        "n_steps": np.array([0, 80, 20, 8]),
        "value": np.array([4.0, 4.1, 4.4, 5.0]),
        "stderr": np.full(4, 0.2),
        "replicates": np.array([4.0, 4.1, 4.4, 5.0]) + np.array([[-0.2], [0.0], [0.2]]),
        "unstable_share": np.array([0.0, 0.0, 0.0, 0.03]),
        "statuses": (Status.SUCCESS,) * 4,
    }
    return StepSeries(**{**settings, **changes})


def check(delta, fresh=False, compared=True):
    numbers = {
        "value": -0.5, "stderr": 0.01, "simulated": -0.48, "simulated_stderr": 0.02,
        "overlap": 0.4, "overlap_stderr": 0.01, "simulated_overlap": 0.41,
        "simulated_overlap_stderr": 0.02, "edge": -0.3, "edge_stderr": 0.01,
    }  # fmt: skip
    prediction = HessianPrediction(8, "hard outlier", compared, "", 1, **numbers)
    return EigenvalueCheck(delta, fresh, 1.0, 8, 400, 8, Status.SUCCESS, prediction)


def result(hardness, axis=None, curves=None):
    share = np.where(np.arange(N) == 2, 0.05, 0.0)
    curves = curves or {
        "gelu": curve(unstable_share=share),
        "softplus": curve(value=curve().value * 0.98),
    }
    config = {
        "target": dmft.Target("phase-retrieval").to_config(),
        "method": dmft.GradientDescent(0.2, 300).to_config(),
    }
    return dmft.AlgorithmicGap(hardness, curves, axis, config)


def line(axes, label):
    (found,) = [one for one in axes.lines if one.get_label() == label]
    return found


def marks(axes, kind, face=None):
    return [
        one
        for one in axes.lines
        if one.get_marker() == kind
        and len(one.get_xdata())
        and (face is None or one.get_markerfacecolor() == face)
    ]


def test_curves_beside_delta_alg(hardness, tmp_path):
    figure = plot_algorithmic_gap(result(hardness))
    (axes,) = figure.axes
    np.testing.assert_allclose(line(axes, "gelu").get_ydata(), curve().value)
    np.testing.assert_allclose(line(axes, "gelu").get_xdata(), curve().times)
    np.testing.assert_allclose(line(axes, "delta_alg").get_ydata(), hardness.delta_alg)
    assert axes.get_xlim()[0] < 0 < axes.get_xlim()[1]  # step 0 is inside
    assert axes.get_ylim()[0] < 0.5
    assert axes.get_yscale() == "log"
    assert r"\eta t" in axes.get_xlabel()
    (unstable,) = marks(axes, "o", "white")
    np.testing.assert_allclose(unstable.get_xdata(), curve().times[2:3])
    assert "gelu" in texts(figure)
    assert r"\delta_{\mathrm{alg}}" in texts(figure)
    assert "0.5" in texts(figure)
    path = save_figure(figure, tmp_path / "figure.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_names_do_not_overlap(hardness):
    figure = plot_algorithmic_gap(result(hardness))
    figure.canvas.draw()
    boxes = [
        text.get_window_extent() for text in figure.axes[0].texts
        if text.get_text() in ("gelu", "softplus")
    ]  # fmt: skip
    assert len(boxes) == 2
    assert not boxes[0].overlaps(boxes[1])


def test_spread_keeps_the_order():
    places = _spread([0.5, 0.1, 0.51, 0.505])
    assert np.argsort(places).tolist() == np.argsort([0.5, 0.1, 0.51, 0.505]).tolist()
    assert np.diff(sorted(places)).min() > 0.05
    assert _spread([0.3]) == [0.3]


def test_step_sizes(hardness, tmp_path):
    fresh = series(
        step_sizes=np.array([0.1, 0.4, 1.0]),
        n_steps=np.array([80, 20, 8]),
        value=np.array([3.9, 3.8, np.nan]),
        stderr=np.array([0.2, 0.2, np.nan]),
        replicates=np.full((3, 3), np.nan),
        unstable_share=np.array([0.0, 0.0, np.nan]),
        statuses=(Status.SUCCESS, Status.SUCCESS, Status.DIVERGED),
    )
    axis = dmft.StepAxis("softplus", 8.0, series(), fresh)
    figure = plot_algorithmic_gap(result(hardness, axis))
    _, right = figure.axes
    assert right.get_title() == "softplus"
    assert "time 8" in right.get_ylabel()
    reuse = line(right, "same samples in each step")
    np.testing.assert_allclose(reuse.get_ydata(), series().value)
    assert reuse.get_color() == line(figure.axes[0], "softplus").get_color()
    assert len(line(right, "fresh samples in each step").get_xdata()) == 2
    (unstable,) = marks(right, "o", "white")
    assert unstable.get_xdata().tolist() == [1.0]
    (cross,) = marks(right, "x")
    assert cross.get_xdata().tolist() == [1.0]
    assert "DIVERGED" in texts(figure)
    figure.canvas.draw()
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["flow", "0.1", "0.4", "1"]
    save_figure(figure, tmp_path / "figure.png")


@pytest.mark.slow
def test_runs_beside_the_largest_step(hardness, tmp_path):
    checks = (check(2.0, compared=False), check(8.0), check(2.0, True), check(8.0, True))
    axis = dmft.StepAxis("gelu", 8.0, series(), series(), checks)
    figure = plot_algorithmic_gap(result(hardness, axis))
    _, _, panel, overlaps = figure.axes
    assert "d = 400" in panel.get_title()
    theory, fresh_theory = [one for one in marks(panel, ".") if len(one.get_xdata()) == 2]
    np.testing.assert_allclose(theory.get_xdata(), [2.0, 8.0])
    assert theory.get_color() != fresh_theory.get_color()
    assert len(marks(panel, "s", "white")) == 1
    np.testing.assert_allclose(marks(overlaps, ".")[1].get_ydata(), [0.4, 0.4])
    np.testing.assert_allclose(marks(overlaps, "s")[0].get_ydata(orig=False), [0.41])
    assert "runs" in texts(figure)
    save_figure(figure, tmp_path / "figure.png")
    failed = dataclasses.replace(check(2.0), status=Status.DIVERGED, prediction=None)
    axis = dmft.StepAxis("gelu", 8.0, series(), None, (failed,))
    figure = plot_algorithmic_gap(result(hardness, axis))
    assert "DIVERGED" in texts(figure)
    save_figure(figure, tmp_path / "figure.png")


def test_what_has_no_value_is_marked(hardness, tmp_path):
    nothing = curve(
        value=np.full(N, np.nan), statuses=(Status.UNBOUNDED_EDGE,) * N,
        unstable_share=np.full(N, np.nan), limit=limit(status=Status.NOT_SETTLED),
    )  # fmt: skip
    full = curve()
    figure = plot_algorithmic_gap(result(hardness, curves={"gelu": full, "square": nothing}))
    (crosses,) = marks(figure.axes[0], "x")
    np.testing.assert_allclose(crosses.get_xdata(), full.times)
    assert "square: none" in texts(figure)
    assert "UNBOUNDED_EDGE" in texts(figure)
    save_figure(figure, tmp_path / "figure.png")


def test_a_label_without_a_finite_delta_alg(hardness):
    infinite = dataclasses.replace(hardness, delta_alg=np.inf, delta_alg_stderr=np.nan)
    assert r"\infty" in texts(plot_algorithmic_gap(result(infinite)))


def test_one_horizon_only(hardness, tmp_path):
    full = curve()
    cut = {
        name: getattr(full, name)[..., :1]
        for name in (
            "steps", "times", "value", "stderr", "interpolation_error", "replicates", "gap",
            "gap_stderr", "left_edge", "left_edge_stderr", "edge_at_threshold",
            "edge_at_threshold_stderr", "unstable_share",
        )
    }  # fmt: skip
    one = dataclasses.replace(full, **cut, statuses=full.statuses[:1], crossings=((),))
    figure = plot_algorithmic_gap(result(hardness, curves={"gelu": one}))
    (axes,) = figure.axes
    assert axes.get_xticks().tolist() == [0.0]
    assert axes.get_xlim()[0] < 0.0 < axes.get_xlim()[1]
    points = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [line.get_xydata().tolist() for line in points] == [[[0.0, float(one.value[0])]]]
    low, high = axes.get_ylim()
    assert low < one.value[0] < high
    assert inside(figure)
    save_figure(figure, tmp_path / "figure.png")


def test_a_long_title_is_broken(hardness):
    target = dmft.Target("phase-retrieval", noise=0.25)
    shown = result(hardness)
    config = {**shown.config, "target": target.to_config(), "method": LONG.to_config()}
    figure = plot_algorithmic_gap(dataclasses.replace(shown, config=config))
    assert "\n" in figure.get_suptitle()
    assert inside(figure)
