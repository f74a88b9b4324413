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
# # Activations compared: who learns $z^2$ with how much data?
#
# **The question.** One neuron $f(x) = \sigma(\langle\theta, x\rangle)$ is trained by gradient
# descent on labels $y = z^2$, $z = \langle\theta_*, x\rangle$, with the robust loss $\sqrt{1 + (f -
# y)^2} - 1$. How does the number of samples per dimension, $\delta = n/d$, that it needs to find
# $\theta_*$ depend on the activation $\sigma$?
#
# | $\sigma(r)$ | can one neuron represent the label? |
# |---|---|
# | quadratic $r^2$ | yes, exactly |
# | GELU | roughly, on one side of zero |
# | softplus $\log(1 + e^r)$ | roughly, on one side of zero, more smoothly |
# | tanh | no: it is odd and the label is even |
#
# **What theory says.** The direction $\theta_*$ is *hard* for all of them: it is found only if the
# Hessian along the trajectory has a negative eigenvalue outside its bulk that points at it. At step
# $t$ that is so above $\delta_{NN}(t)$. The threshold depends on $\sigma$, and on the horizon $t$.

# %%
# %matplotlib inline
import os
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

import dmft
import dmft.plotting
import rmt

small = bool(os.environ.get("DELTA_NN_SMALL"))  # sizes that run in a minute
folder = os.environ.get("DELTA_NN_FIGURES")  # where the figures are written, if anywhere

activations = ("quadratic", "gelu", "softplus", "tanh")
sampling = dmft.Sampling(n_paths=512 if small else 4096, replicates=8, seed=0)
horizons = (0, 5, 10) if small else (0, 5, 10, 20, 40, 80, 160)
method = dmft.GradientDescent(step_size=0.2, n_steps=100 if small else 400)  # the step budget
d = 100 if small else 400
seeds = 4 if small else 16
grids = {
    "quadratic": (2, 4, 8) if small else (2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 8),
    "gelu": (4, 8, 16) if small else (3, 4, 5, 6, 7, 8, 10, 12, 16),
    "softplus": (4, 12, 24) if small else (3, 4, 6, 8, 12, 16, 24, 32),
    "tanh": (8, 16) if small else (4, 8, 16, 32),
}
style = {  # colour, marker
    "quadratic": ("#0072B2", "o"),
    "gelu": ("#D55E00", "s"),
    "softplus": ("#009E73", "D"),
    "tanh": ("#CC79A7", "^"),
}


def problem(activation):
    """Robust phase retrieval by one neuron."""
    return dmft.Problem(
        target=dmft.Target("phase-retrieval"),
        network=dmft.Network(activation=activation),
        loss="pseudo-huber",
    )


def keep(figure, name):
    """Write a figure to the folder, if there is one, and return it."""
    plt.close(figure)
    if folder:
        dmft.plotting.save_figure(figure, Path(folder) / f"{name}.png")
    return figure


# %% [markdown]
# ## Theory: thresholds at several horizons
#
# `find_delta_nn` reports a status where there is no threshold, and all sign changes that it saw:
# for tanh the outlier exists only in a window of $\delta$, and only at early steps.

# %%
thresholds = {}
for activation in activations:
    lower = 4.0 if activation == "tanh" else 0.5
    for t in horizons:
        threshold = dmft.find_delta_nn(
            problem(activation),
            method,
            bracket=(lower, 200 if activation == "tanh" else 32),
            step=t,
            sampling=sampling,
            scan_points=12 if activation == "tanh" else 7,
        )
        thresholds[activation, t] = threshold
        if threshold.status.ok:
            # The threshold grows with t: the next one is searched from a little below this one.
            lower = 0.8 * threshold.value
            outcome = f"{threshold.value:7.3f} +- {threshold.stderr:.3f}"
        else:
            window = ", ".join(
                f"{'appears' if c.opens else 'disappears'} at {c.value:.1f}"
                for c in threshold.crossings
            )
            outcome = f"{threshold.status.name} (outlier {window or 'nowhere in the bracket'})"
        print(f"{activation:10s} delta_NN({t:3d}): {outcome}")

# %% [markdown]
# Why tanh has none at later steps: with an odd network and an even label, the best that the neuron
# can do is to output nothing, so it shrinks. The closer $\langle\theta, x\rangle$ is to zero, the
# more the Hessian looks like that of a convex problem, and its negative eigenvalues go away.

# %%
for activation in activations:
    trajectory = dmft.solve(
        problem(activation),
        24.0,
        dmft.GradientDescent(step_size=0.2, n_steps=horizons[-1]),
        sampling,
        hessian_steps=[horizons[-1]],
    )
    law: rmt.HessianLaw = trajectory.hessian(horizons[-1])
    print(
        f"{activation:10s} delta = 24, step {horizons[-1]}: squared norm of the neuron "
        f"{trajectory.norm[-1, 0, 0]:.3f}, left edge of the Hessian {law.edges().left:+.3f}, "
        f"outliers along theta_*: {[round(o.value, 3) for o in law.outliers('hard')]}"
    )

# %% [markdown]
# ## Simulation: who recovers the direction?
#
# Runs from random starts at dimension $d$; recovered means a squared cosine of one half between
# $\theta$ and $\theta_*$ within the budget of steps.

# %%
sweeps = {
    activation: dmft.sweep(problem(activation), grids[activation], method, d=d, seeds=seeds)
    for activation in activations
}
for activation, sweep in sweeps.items():
    print(f"{activation}\n{sweep.table()}\n")

# %% [markdown]
# **How to read the figures.** First figure: the predicted threshold against the horizon; for tanh
# bars span the window of $\delta$ in which the outlier exists. Second figure: fraction of runs that
# recovered, and median test loss at the end, against $\delta$; the vertical ticks at the top are
# $\delta_{NN}(t)$ at the three largest horizons.

# %%
with dmft.plotting.style():
    figure, axes = plt.subplots(figsize=(5.0, 3.5), layout="constrained")
    for activation in activations:
        color, marker = style[activation]
        found = [thresholds[activation, t] for t in horizons]
        axes.errorbar(
            horizons, [f.value for f in found], [f.stderr for f in found], color=color,
            marker=marker, markersize=5, capsize=3, label=activation,
        )  # fmt: skip
        for f in found:
            if not f.status.ok and len(f.crossings) == 2:
                ends = [crossing.value for crossing in f.crossings]
                axes.plot([f.step, f.step], ends, color=color, linewidth=5, alpha=0.5)
    axes.set_xscale("symlog", linthresh=10, linscale=1.0)
    axes.set_xticks(horizons, [str(t) for t in horizons])
    axes.minorticks_off()
    axes.set_yscale("log")
    axes.set_yticks((1, 2, 5, 10, 20, 50, 100), ("1", "2", "5", "10", "20", "50", "100"))
    axes.set_xlabel("horizon $t$")
    axes.set_ylabel(r"$\delta_{\mathrm{NN}}(t)$")
    axes.set_title(r"phase retrieval, one neuron, pseudo-Huber loss, $\eta = 0.2$")
    figure.legend(loc="outside lower center", ncols=4)
keep(figure, "activation-thresholds")

# %%
with dmft.plotting.style():
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(5.0, 5.0), sharex=True, layout="constrained"
    )
    for activation, sweep in sweeps.items():
        color, marker = style[activation]
        probability = sweep.probability[0]
        low, high = (bound[0] for bound in sweep.probability_interval(0.68))
        bars = np.maximum([probability - low, high - probability], 0.0)
        top.errorbar(
            sweep.deltas, probability, bars, color=color, marker=marker, markersize=5, capsize=2,
            linewidth=1.2, label=activation,
        )  # fmt: skip
        median = np.nanmedian(sweep.test_loss[0], axis=1)
        bottom.plot(sweep.deltas, median, color=color, marker=marker, markersize=5)
        for t in horizons[-3:]:
            if thresholds[activation, t].status.ok:
                top.plot([thresholds[activation, t].value] * 2, [1.05, 1.13], color=color)
    top.set_ylim(-0.03, 1.15)
    top.set_ylabel("recovery probability")
    bottom.set_ylabel("median test loss at the end")
    bottom.set_ylim(bottom=0.0)
    bottom.set_xscale("log")
    ticks = (2, 3, 5, 8, 12, 20, 30)
    bottom.set_xticks(ticks, [str(tick) for tick in ticks])
    bottom.minorticks_off()
    bottom.set_xlabel(r"samples per dimension  $\delta = n/d$")
    names = ", ".join(str(t) for t in horizons[-3:])
    top.set_title(
        f"$d = {d}$, {seeds} seeds per point, {method.n_steps} steps\n"
        rf"ticks at the top: $\delta_{{\mathrm{{NN}}}}(t)$ for $t = {names}$"
    )
    figure.legend(loc="outside lower center", ncols=4)
keep(figure, "activation-sweep")

# %% [markdown]
# ## In numbers
#
# The threshold says where escape begins to be possible, not how fast it is. The speed follows from
# the same equations: `predict_grokking` starts them from the overlap of a random start and gives
# the median and the spread of the time of the escape. Beside it, the runs of the sweep.

# %%
chosen = {"quadratic": 8, "gelu": 12, "softplus": 24}
if small:
    chosen = {"quadratic": 8}
print(f"step at which the squared cosine reaches 0.5, d = {d}")
print("                  predicted               simulated             runs before   runs in")
print("                  median (10 to 90 %)     median (10 to 90 %)   the median    the band")
for activation, delta in chosen.items():
    prediction = dmft.predict_grokking(problem(activation), delta, method, d, sampling=sampling)
    reached = prediction.hard_cosine[0] >= sweeps[activation].recovery
    low, median, high = np.where(reached.any(axis=1), reached.argmax(axis=1), np.inf)
    column = list(sweeps[activation].deltas).index(delta)
    steps = sweeps[activation].recovery_step[0, column].astype(float)
    steps[steps < 0] = np.inf  # not within the budget
    middle = np.median(steps)
    first, last = np.quantile(steps, (0.1, 0.9), method="nearest")  # of steps that may be inf
    predicted = f"{median:.0f} ({low:.0f} to {high:.0f})"
    simulated = f"{middle:.0f} ({first:.0f} to {last:.0f})"
    before, inside = np.mean(steps < median), np.mean((low <= steps) & (steps <= high))
    print(
        f"{activation:10s} {delta:4g}   {predicted:22s}  {simulated:20s}  "
        f"{before:.2f} +- {0.5 / seeds**0.5:.2f}  {inside:.2f} +- {0.4 / seeds**0.5:.2f}"
    )
print("expected" + 63 * " " + "0.50          0.80")

# %%
for activation, sweep in sweeps.items():
    crossing, last = sweep.crossing(d), thresholds[activation, horizons[-1]]
    theory = f"{last.value:.2f} +- {last.stderr:.2f}" if last.status.ok else last.status.name
    if crossing.status.ok:
        found = (
            f"half of the runs recover within {method.n_steps} steps at delta = "
            f"{crossing.value:.2f} (95 %: {crossing.lower:.2f} to {crossing.upper:.2f})"
        )
    else:
        found = f"{sweep.recovered.sum()} of {sweep.recovered.size} runs recovered, no crossing"
    print(f"{activation:10s} delta_NN({horizons[-1]}) = {theory}; {found}")

# %% [markdown]
# So the order of the thresholds is not the order in which the activations need samples.
#
# - *Quadratic*: a deep outlier. Runs of this size typically escape within sixty steps, before the
#   outlier of the first steps is gone, hence at $\delta$ below $\delta_{NN}(t)$ of late horizons.
# - *Softplus*: the lowest threshold, but a shallow outlier. Escape is possible early and takes
#   hundreds of steps; what limits it is the budget, and the prediction of the time says so.
# - *GELU* is between the two.
# - *Tanh* has no threshold at late horizons, and none of its runs recovers.
