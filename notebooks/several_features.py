# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Features one after the other
#
# **The question.** Two neurons $r^2$ learn $y = z_1^2 + 0.3\, z_2^2$. Both directions are hard: at
# the start no gradient points to either. How many samples does each feature need, and when does a
# run learn it?
#
# **What theory says.** The Hessian has two outliers per neuron at most, and each appears at a
# threshold of its own, $\delta_{NN}^{(j)}(t)$. Once the first feature is learned the rest is
# another problem, with a threshold of its own for the second. A run of dimension d starts with
# overlaps of about $d^{-1/2}$ with both. The first is amplified and learned, and the test loss
# falls; the second grows meanwhile, and goes on growing, until the test loss falls again.

# %%
# %matplotlib inline
import os
from pathlib import Path

import numpy as np

import dmft
import dmft.plotting

small = bool(os.environ.get("DELTA_NN_SMALL"))  # sizes that run in a minute
folder = os.environ.get("DELTA_NN_FIGURES")  # where the figures are written, if anywhere

problem = dmft.load_preset("two-features").problem
delta = 16.0


def keep(figure, name):
    """Write a figure to the folder, if there is one, and return it."""
    if folder:
        dmft.plotting.save_figure(figure, Path(folder) / f"{name}.png")
    return figure


# %% [markdown]
# ## Thresholds of both, before and after the first is learned
#
# Two neurons times two directions make four outliers; neurons of equal weight are symmetric, so
# that each feature appears twice: the first two are $z_1$, the third is $z_2$. Stage 2 starts with
# the first neuron at an overlap of 0.9 with $z_1$: the other one has its threshold for $z_2$, and
# the one that has learned $z_1$ has none in the bracket, which the status says.
#
# **How to read the figure.** Left: thresholds against time, a colour for each outlier, dashes where
# the first feature is learned. Right: how many hard outliers there are at the last step.

# %%
steps = [5, 8] if small else [5, 10, 20, 40]
thresholds = dmft.cascade(
    problem,
    dmft.GradientDescent(step_size=0.1, n_steps=steps[-1]),
    (0.8, 24.0),
    steps,
    dmft.Sampling(n_paths=512 if small else 8192, replicates=8, seed=0),
    learned=[[[0.9, 0.0], [0.0, 0.0]]],
    features=3,
    points=5 if small else 9,
)
print(thresholds)
keep(dmft.plotting.plot_cascade(thresholds), "several-features-cascade")

# %% [markdown]
# ## A run that learns both
#
# `predict_grokking(..., drops=2)` follows each of a number of starts twice: with the first feature
# alone, and then with both, the noise that a finite number of samples adds along the second drawn
# along the first run. No simulation enters, and no parameter is fitted.

# %%
sizes = (200,) if small else (500, 1000)
seeds = 6 if small else 24
draws = 8 if small else 24
method = dmft.GradientDescent(step_size=0.1, n_steps=150 if small else 240)
prediction = dmft.predict_grokking(
    problem,
    delta,
    method,
    sizes,
    drops=2,
    n_draws=draws,
    max_draws=draws,
    sampling=dmft.Sampling(n_paths=256 if small else 512, replicates=8),
)
simulations = [dmft.simulate(problem, delta, method, d=d, seeds=seeds) for d in sizes]

# %% [markdown]
# **How to read the figure.** Left: train and test loss at the largest dimension; thick lines are
# the predicted run nearest to the median of the second fall, thin lines simulated runs, dotted the
# two levels. Middle: squared cosines between either direction and the span of both neurons. Right:
# the steps of both falls against $d$, each point a run.

# %%
keep(dmft.plotting.plot_grokking(prediction, simulations), "several-features")

# %% [markdown]
# ## In numbers
#
# If the prediction is right, half of the runs fall before the predicted median, and eight of ten
# within the band, up to the standard error of counting and that of the starts drawn.

# %%
for i, simulation in enumerate(simulations):
    for j, drop in enumerate(prediction.drops):
        level, error = drop.fall_level[i], drop.fall_time_stderr[i, 1]
        times = np.array([dmft.fall_step(loss, level) for loss in simulation.test_loss])
        times[np.isnan(times)] = np.inf  # not within the budget
        low, median, high = np.nan_to_num(drop.fall_time[i], nan=np.inf)
        tenth, last = np.quantile(times, (0.1, 0.9), method="nearest")  # of times that may be inf
        inside = np.count_nonzero((low <= times) & (times <= high))
        print(
            f"d = {simulation.d:4d}, fall {j + 1}, median (10 % to 90 %): predicted {median:5.1f} "
            f"+- {error:.1f} ({low:.1f} to {high:.1f}), simulated {np.median(times):5.1f} "
            f"({tenth:.1f} to {last:.1f}); {inside} of {seeds} in the band"
        )
