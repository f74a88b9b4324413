"""The figure of runs at finite dimension: every seed thin, the mean thick, sizes by colour."""

from dataclasses import replace

import numpy as np
import pytest
from figures import assert_readable, texts

from dmft import GradientDescent, Network, Problem, Status, simulate
from dmft.plotting import plot_simulation

PROBLEM = Problem("easy-hard", Network("gelu", [1.0, 0.5]), "pseudo-huber")


def run(d=12, seeds=3, problem=PROBLEM, n_steps=3, **options):
    return simulate(problem, 3.0, GradientDescent(0.2, n_steps), d, seeds, workers=1, **options)


def drawn(axes):
    """Thin and thick lines of a panel."""
    thin = [line for line in axes.lines if line.get_linewidth() < 1]
    return thin, [line for line in axes.lines if line.get_linewidth() > 1]


def test_every_seed_and_the_mean_of_each_size(tmp_path):
    runs = [run(12, hessian_steps=[0, 3]), run(16, seeds=2, hessian_steps=[0, 3])]
    figure = plot_simulation(runs)
    assert len(figure.axes) == 6
    for axes, per_seed in zip(figure.axes[:4], (3, 3, 2, 1), strict=True):
        thin, thick = drawn(axes)
        assert (len(thin), len(thick)) == (per_seed * 5, per_seed * 2)
    losses = [line.get_ydata() for line in drawn(figure.axes[2])[1]]
    np.testing.assert_array_equal(losses[0], runs[0].mean["train_loss"])
    np.testing.assert_array_equal(losses[3], runs[1].mean["test_loss"])
    for line, name in zip(drawn(figure.axes[1])[1], ("hard_cosine", "overlap"), strict=False):
        mean = runs[0].mean[name]
        np.testing.assert_array_equal(line.get_ydata(), mean if mean.ndim == 1 else mean[:, 0, 0])
    marks = [line for line in figure.axes[4].lines if line.get_linestyle() == "None"]
    np.testing.assert_array_equal(
        marks[1].get_ydata(), np.concatenate([runs[1].hessian[t].smallest[:, 0] for t in (0, 3)])
    )
    words = texts(figure)
    for word in ("easy-hard", "2 gelu neurons", "d = 12$, 3 seeds", "d = 16$, 2 seeds", "M_{21}"):
        assert word in words
    assert "M_{12}" not in words  # hard: a squared cosine instead
    assert_readable(figure, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "options", "word"),
    [
        (PROBLEM, {"hold_hard": True}, "held at 0"),
        (PROBLEM, {"inputs": "rademacher"}, "rademacher inputs"),
        (PROBLEM, {"n_steps": 0}, "hard"),
        (PROBLEM, {"seeds": 1}, "1 seed"),
        (Problem("phase-retrieval", Network("quadratic"), "pseudo-huber"), {}, r"\cos^2"),
        (Problem("linear", Network("linear")), {"n_steps": 60}, "M_{11}"),
    ],
)
def test_other_settings(tmp_path, problem, options, word):
    figure = plot_simulation(run(problem=problem, **options))
    assert len(figure.axes) == 4
    assert word in texts(figure)
    assert_readable(figure, tmp_path)


def test_runs_that_diverged(tmp_path):
    good = run()
    lost = good.train_loss.copy()
    lost[1, 2:] = np.nan
    statuses = (Status.SUCCESS, Status.DIVERGED, Status.SUCCESS)
    figure = plot_simulation(replace(good, train_loss=lost, statuses=statuses))
    assert "1 of 3 runs: DIVERGED" in figure.get_suptitle()
    assert_readable(figure, tmp_path)


@pytest.mark.parametrize("wrong", [[], [1.0], "runs", None])
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match="simulations must be"):
        plot_simulation(wrong)
