"""Figures of theory beside simulation: what is drawn, from which numbers, and readable."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import dmft
from dmft import GradientDescent, Network, Problem, Sampling
from dmft.plotting import plot_comparison, plot_hessian_comparison, save_figure

METHOD = GradientDescent(0.3, 12)
PAIR = Problem("easy-hard", Network("gelu", [1.0, 0.8]), "pseudo-huber")


def simulate(problem, method, d, **changes):
    settings = {"seeds": 4, "hold_hard": True, "workers": 1} | changes
    return dmft.simulate(problem, 6.0, method, d=d, **settings)


@pytest.fixture(scope="module")
def trajectory():
    return dmft.solve(PAIR, 6.0, METHOD, Sampling(n_paths=1024, replicates=4, seed=1))


@pytest.fixture(scope="module")
def runs():
    return [
        simulate(PAIR, METHOD, 60, hessian_steps=(6, 12), n_extreme=2),
        simulate(PAIR, METHOD, 120, hessian_steps=(6, 12), n_extreme=2, dense_limit=100),
    ]


@pytest.fixture(scope="module")
def comparison(trajectory, runs):
    return dmft.compare(trajectory, runs)


def texts(figure):
    found = [figure.get_suptitle()]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        found += [axes.get_title(), *(text.get_text() for text in axes.texts)]
        if axes.get_legend() is not None:
            found += [text.get_text() for text in axes.get_legend().get_texts()]
    return " | ".join(found)


def assert_no_overlap(figure):
    """Panels with their labels, legends outside and the title do not cover one another."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
    boxes.append(figure._suptitle.get_window_extent(renderer))
    width, height = figure.canvas.get_width_height()
    for i, box in enumerate(boxes):
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -2.0, i
        for other in boxes[:i]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            down = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert min(across, down) < 2.0, (i, across, down)


def panel_pairs(figure):
    """Upper and lower panels, in the order of the quantities."""
    ratios = [axes for axes in figure.axes if axes.get_xlabel() == "step $t$"]
    return [axes for axes in figure.axes if axes not in ratios], ratios


@pytest.mark.slow
def test_two_panels_for_each_quantity(comparison, tmp_path):
    figure = plot_comparison(comparison)
    quantities = list(comparison.quantities.values())
    assert len(figure.axes) == 2 * len(quantities)
    panels = {axes.get_ylabel(): axes for axes in figure.axes}
    assert {"train loss", "test loss", "overlap $M(t)$"} <= set(panels)
    above, below = panel_pairs(figure)
    for q, top, bottom in zip(quantities[:6], above, below, strict=True):
        # One curve of theory with a band for each entry, and one set of points for each size too.
        assert len(top.lines) == 3 * len(q.labels), q.name
        assert len(top.collections) == len(q.labels)
        np.testing.assert_array_equal(top.lines[0].get_ydata(), q.theory[:, 0])
        curves = [line for line in bottom.lines if len(line.get_xdata()) == 13]
        assert len(curves) == len(q.labels)
        np.testing.assert_array_equal(curves[-1].get_ydata(), q.ratio[:, -1])
        levels = {line.get_ydata()[0] for line in bottom.lines if line not in curves}
        assert levels == {-3.0, 0.0, 3.0}
        assert bottom.get_xlabel() == "step $t$"
    found = texts(figure)
    assert "seeds, $d = 60$" in found
    assert "seeds, $d = 120$" in found
    assert "$C_{12}$" in found
    assert "within 3 standard errors" in found
    assert_no_overlap(figure)
    assert save_figure(figure, tmp_path / "figure.png").stat().st_size > 10_000


def test_every_seed_is_a_point(comparison):
    figure = plot_comparison(comparison)
    q = comparison.quantities["train_loss"]
    (panel,) = (axes for axes in figure.axes if axes.get_ylabel() == "train loss")
    _, small, large = panel.lines
    steps = len(small.get_ydata()) // 4
    assert steps == 11
    np.testing.assert_array_equal(small.get_ydata()[:4], q.runs[0][:, 0, 0])
    np.testing.assert_array_equal(large.get_ydata()[-4:], q.runs[1][:, -1, 0])
    assert np.all(small.get_xdata() < large.get_xdata())  # side by side


def test_deviations_far_beyond_three_are_shown(comparison):
    q = comparison.quantities["train_loss"]
    far = dataclasses.replace(q, ratio=q.ratio + 40.0)
    figure = plot_comparison(dataclasses.replace(comparison, quantities={"train_loss": far}))
    top, bottom = figure.axes
    assert bottom.get_ylim()[1] > 40.0
    infinite = dataclasses.replace(q, ratio=np.full_like(q.ratio, np.inf))
    figure = plot_comparison(dataclasses.replace(comparison, quantities={"train_loss": infinite}))
    assert np.isfinite(figure.axes[1].get_ylim()).all()
    assert_no_overlap(figure)
    assert top.get_ylabel() == "train loss"


def test_runs_that_learn_a_hard_direction_are_shaded(comparison):
    cosine = np.zeros((2, 13))
    cosine[:, 8:] = 0.2
    figure = plot_comparison(dataclasses.replace(comparison, hard_cosine=cosine))
    assert "hard direction" in texts(figure)
    (span,) = figure.axes[0].patches
    assert span.get_x() == 8


def test_many_neurons_show_some_entries_above_and_all_below():
    problem = Problem("linear", Network("gelu", [0.5] * 4), "square")
    method = GradientDescent(0.1, 3)
    theory = dmft.solve(problem, 6.0, method, Sampling(n_paths=512, replicates=4))
    run = simulate(problem, method, 60, hold_hard=False)
    figure = plot_comparison(dmft.compare(theory, run, quantities=["norm"]))
    top, bottom = figure.axes
    assert "$C_{44}$" in texts(figure)
    assert "$C_{12}$" not in texts(figure)
    assert top.get_legend().get_title().get_text() == "and 6 more below"
    assert sum(len(line.get_xdata()) == 4 for line in bottom.lines) == 10
    assert_no_overlap(figure)


def test_nothing_to_compare(comparison):
    figure = plot_comparison(dataclasses.replace(comparison, quantities={}))
    assert figure.axes == []
    assert "0 of 0 deviations within 3 standard errors" in figure.get_suptitle()


@pytest.mark.slow
def test_hessian(trajectory, runs, tmp_path):
    figure = plot_hessian_comparison(trajectory, runs, 12)
    whole, zoom, scatter = figure.axes
    (histogram,) = whole.patches
    data = histogram.get_data()
    assert np.sum(data.values * np.diff(data.edges)) == pytest.approx(1.0, abs=0.05)
    found = texts(figure)
    assert "simulation, $d = 60$, 4 seeds" in found  # all eigenvalues at this size only
    assert "smallest, $d = 120$" in found
    assert "step 12" in found
    points = {len(line.get_xdata()): line for line in scatter.lines if line.get_marker() in "oD"}
    assert set(points) == {4}
    seeds = [line for line in scatter.lines if line.get_marker() == "D"]
    np.testing.assert_array_equal(seeds[0].get_xdata(), runs[1].hessian[12].smallest[:, 0])
    np.testing.assert_array_equal(seeds[0].get_ydata(), runs[1].hessian[12].hard_overlap)
    (cross,) = scatter.containers
    lowest = min(trajectory.hessian(12).outliers("hard"), key=lambda o: o.value)
    assert cross.lines[0].get_xdata()[0] == lowest.value
    assert cross.lines[0].get_ydata()[0] == lowest.hard_overlap
    low, high = zoom.get_xlim()
    for run in runs:
        assert np.all((run.hessian[12].smallest > low) & (run.hessian[12].smallest < high))
    assert low < trajectory.hessian(12).edges().left < high
    assert_no_overlap(figure)
    save_figure(figure, tmp_path / "figure.pdf")


def test_hessian_without_outlier_of_one_run():
    problem = Problem("linear", Network("linear"))
    method = GradientDescent(0.1, 1)
    theory = dmft.solve(problem, 6.0, method, Sampling(n_paths=256, replicates=4))
    run = simulate(problem, method, 60, seeds=1, hold_hard=False, hessian_steps=(1,))
    figure = plot_hessian_comparison(theory, run, 1)
    scatter = figure.axes[2]
    assert "theory: edge of the bulk" in texts(figure)
    assert "its expected mean, $d = 60$" in texts(figure)
    assert not scatter.containers
    low, high = figure.axes[1].get_xlim()
    assert low < run.hessian[1].smallest[0, 0] < high
    assert_no_overlap(figure)


def test_hessian_with_an_atom_at_zero():
    problem = Problem("linear", Network("linear"), weight_decay=0.5)
    method = GradientDescent(0.1, 0)
    theory = dmft.solve(problem, 0.5, method, Sampling(n_paths=256, replicates=4))
    run = dmft.simulate(problem, 0.5, method, d=80, seeds=3, hessian_steps=(0,), workers=1)
    figure = plot_hessian_comparison(theory, run, 0)
    (histogram,) = figure.axes[0].patches
    data = histogram.get_data()
    assert np.sum(data.values * np.diff(data.edges)) == pytest.approx(0.5, abs=0.05)
    assert "atom of mass 0.5" in texts(figure)


@pytest.mark.slow
def test_hessian_of_an_unbounded_bulk_is_that_of_n_weights():
    problem = Problem("phase-retrieval", Network("gelu"), "square")
    method = GradientDescent(0.05, 0)
    theory = dmft.solve(problem, 6.0, method, Sampling(n_paths=256, replicates=4))
    run = simulate(problem, method, 60, hessian_steps=(0,))
    figure = plot_hessian_comparison(theory, run, 0)
    assert "theory: $n$ weights, $d = 60$" in texts(figure)
    # The far end of the weights is nothing to enlarge.
    low, high = figure.axes[1].get_xlim()
    smallest = run.hessian[0].smallest[:, 0]
    assert low < smallest.min() < smallest.max() < high
    assert high - low < 10 * np.ptp(np.append(smallest, 0.0))
    assert_no_overlap(figure)


def test_bad_input(trajectory, runs):
    with pytest.raises(ValueError, match=r"step must be one recorded .* d = 60 \(6, 12\), got 3"):
        plot_hessian_comparison(trajectory, runs, 3)
    other = dataclasses.replace(runs[0], delta=5.0)
    with pytest.raises(ValueError, match=r"has delta = 5\.0"):
        plot_hessian_comparison(trajectory, other, 0)
