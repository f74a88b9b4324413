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
# # Grokking: memorise first, understand later
#
# **The question.** A network fits its training samples early and does badly on fresh ones; much
# later, with no sign of it in between, the loss on fresh samples falls. That delay is called
# grokking. When does it end?
#
# **What theory says.** One neuron $f(x) = \langle\theta, x\rangle^2$ learns $y = \langle\theta_*,
# x\rangle^2$ from $n = \delta d$ samples. At first $\theta$ has an overlap of only $d^{-1/2}$ with
# $\theta_*$. Gradient descent fits the samples as well as it can without $\theta_*$: the training
# loss falls, and the test loss, after a first drop (the length of $\theta$ adapts), rises. Just
# above $\delta_{NN}$ the Hessian has a negative eigenvalue along $\theta_*$, which multiplies the
# overlap at every step. After a number of steps that grows like $\log d$ the overlap is of order
# one, and the test loss falls.
#
# That time is random even for a given start, because the finite number of samples pushes the
# overlap by a random amount of the same order, $d^{-1/2}$. The push is Gaussian, and theory gives
# its variance: so it predicts the typical time and its spread over runs.

# %%
# %matplotlib inline
import os
from pathlib import Path

import numpy as np

import dmft
import dmft.plotting

small = bool(os.environ.get("DELTA_NN_SMALL"))  # sizes that run in a minute
folder = os.environ.get("DELTA_NN_FIGURES")  # where the figures are written, if anywhere

# The spread over runs needs more paths than the median does.
sampling = dmft.Sampling(n_paths=1024 if small else 8192, replicates=8, seed=0)
threshold_sampling = dmft.Sampling(n_paths=512 if small else 16384, replicates=8, seed=0)
delta = 6.0
sizes = (100, 200) if small else (300, 600, 1200)
seeds = 6 if small else 24
method = dmft.GradientDescent(step_size=0.1, n_steps=100 if small else 200)

problem = dmft.Problem(
    target=dmft.Target("phase-retrieval"),
    network=dmft.Network(activation="quadratic"),
    loss="pseudo-huber",
)


def keep(figure, name):
    """Write a figure to the folder, if there is one, and return it."""
    if folder:
        dmft.plotting.save_figure(figure, Path(folder) / f"{name}.png")
    return figure


# %% [markdown]
# ## Just above the threshold
#
# $\delta_{NN}(t)$, the number of samples per dimension above which the Hessian at step $t$ has the
# negative outlier, grows with the horizon $t$. We choose $\delta$ a little above it for all steps
# that matter here.

# %%
for t in (0, 20) if small else (0, 40, 80, 160):
    threshold = dmft.find_delta_nn(
        problem, method, (0.5 if t < 20 else 2.5, 12), t, threshold_sampling, scan_points=7
    )
    print(f"delta_NN({t:3d}) = {threshold.value:.2f} +- {threshold.stderr:.2f}")
print(f"delta = {delta:g}")

# %% [markdown]
# ## Prediction
#
# `predict_grokking` first follows the equations of the limit with a tiny overlap: that gives the
# amplification, and the size of what the data add. Then it follows the runs that start from the
# median and from the 10 % and 90 % quantiles of the effective initial overlap, all the way to the
# end. No simulation enters, and no parameter is fitted.

# %%
start = [d**-0.5 for d in sizes]
prediction = dmft.predict_grokking(
    problem, delta, method, sizes, hard_overlap=start, sampling=sampling
)
noise = prediction.start_covariance[0, 0] ** 0.5
print(f"effective initial overlap: (1 +- {noise:.2f}) / sqrt(d)")

# %% [markdown]
# ## Simulation, and the figure
#
# The same start in simulations: overlap exactly $d^{-1/2}$, all else random.
#
# **How to read the figure.** Left: train and test loss at the largest dimension; the thick line is
# the predicted median run, the band has 80 % of the runs, thin lines are simulated runs. Middle:
# the squared cosine between $\theta$ and $\theta_*$. Right: the step at which the test loss falls
# through the dotted level, against $d$; each point is a run.

# %%
simulations = [
    dmft.simulate(problem, delta, method, d=d, seeds=seeds, hard_overlap=overlap)
    for d, overlap in zip(sizes, start, strict=True)
]
keep(dmft.plotting.plot_grokking(prediction, simulations), "grokking")

# %% [markdown]
# ## The engine: the outlier
#
# The Hessian's lowest eigenvalue along the trajectory without overlap. Per step of size $\eta$ an
# eigenvalue $\lambda < 0$ multiplies the overlap by about $1 + \eta|\lambda|$. The eigenvector
# changes from step to step and points only partly along $\theta_*$, so the product over steps is an
# order of magnitude, not the amplification itself.

# %%
last = min(len(prediction.gain) - 1, 40 if small else 80)
linear_stage = dmft.solve(
    problem,
    delta,
    dmft.GradientDescent(step_size=0.1, n_steps=last),
    sampling,
    hessian_steps=range(last + 1),
)
shown = list(range(0, last + 1, max(last // 12, 1)))
keep(dmft.plotting.plot_flow(linear_stage, shown), "grokking-outlier")

# %%
lowest = np.array([linear_stage.hessian(t).smallest_eigenvalue() for t in range(last)])
print(f"amplification of the overlap up to step {last}: {prediction.gain[last]:.1f}")
print(f"product of 1 + 0.1 |lowest eigenvalue|:         {np.prod(1 - 0.1 * lowest):.1f}")

# %% [markdown]
# ## In numbers
#
# If the prediction is right, half of the runs fall before the predicted median, and eight of ten
# within the band, up to the standard error of counting.

# %%
before, inside = [], []
for i, simulation in enumerate(simulations):
    level = prediction.fall_level[i]
    times = np.array([dmft.fall_step(loss, level) for loss in simulation.test_loss])
    times[np.isnan(times)] = np.inf  # not within the budget
    low, median, high = np.nan_to_num(prediction.fall_time[i], nan=np.inf)
    before.extend(times < median)
    inside.extend((low <= times) & (times <= high))
    tenth, last = np.quantile(times, (0.1, 0.9), method="nearest")  # of times that may be inf
    print(
        f"d = {simulation.d:4d}, median (10 % to 90 %) of the step of the fall: predicted "
        f"{median:5.1f} ({low:.1f} to {high:.1f}), simulated "
        f"{np.median(times):5.1f} ({tenth:.1f} to {last:.1f})"
    )
count = len(before)
print(f"share of the runs before the median: {np.mean(before):.2f} +- {0.5 / count**0.5:.2f} (0.5)")
print(f"share of the runs inside the band:   {np.mean(inside):.2f} +- {0.4 / count**0.5:.2f} (0.8)")

# Each run: the lowest test loss before the peak, the peak, the end.
rows = []
for loss in simulations[-1].test_loss:
    peak = 10 + int(np.argmax(loss[10:]))
    rows.append((loss[0], loss[: peak + 1].min(), loss[peak], loss[-1]))
start, dip, peak, end = np.median(rows, axis=0)
print(
    f"test loss at d = {sizes[-1]}, medians over runs: {start:.3f} at first, down to {dip:.3f}, "
    f"up to {peak:.3f}, {end:.1e} at step {method.n_steps}"
)
