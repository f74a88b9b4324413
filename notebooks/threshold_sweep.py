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
# # Threshold sweep: how many samples does one neuron need?
#
# **The question.** A neuron $f(x) = \langle\theta, x\rangle^2$ sees $n$ samples in $d$ dimensions.
# Their labels are $y = z^2$ with $z = \langle\theta_*, x\rangle$, and $\theta_*$ is unknown: phase
# retrieval. It learns by plain gradient descent on the robust loss $\sqrt{1 + (f - y)^2} - 1$, from
# a random start. How many samples per dimension, $\delta = n/d$, until it finds $\theta_*$?
#
# **What theory says.** The label does not tell $z$ from $-z$, so no fixed number of steps aligns
# $\theta$ with $\theta_*$ in the limit of large $d$: the direction is *hard*. But the Hessian of
# the loss, at the point that gradient descent has reached after $t$ steps, may have a negative
# eigenvalue outside its bulk whose eigenvector points along $\theta_*$. Then the small overlap
# $\langle\theta, \theta_*\rangle \sim d^{-1/2}$ of the random start grows exponentially until the
# neuron has found the direction. The eigenvalue exists for $\delta > \delta_{NN}(t)$ (Montanari and
# Wang, arXiv:2602.01434).
#
# **The horizon** $t$ is part of the answer: it is the step at which one looks at the Hessian.

# %%
# %matplotlib inline
import os
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from scipy.special import erfc

import dmft
import dmft.plotting
import rmt
import rmt.plotting
from dmft.comparison.agreement import measure_agreement
from dmft.studies.initial_overlap import effective_initial_overlap
from dmft.studies.logistic import fit_crossing

small = bool(os.environ.get("DELTA_NN_SMALL"))  # sizes that run in a minute
folder = os.environ.get("DELTA_NN_FIGURES")  # where the figures are written, if anywhere

sampling = dmft.Sampling(n_paths=512 if small else 16384, replicates=8, seed=0)
horizons = (0, 10, 20) if small else (0, 5, 10, 20, 30, 40, 60)
method = dmft.GradientDescent(step_size=0.2, n_steps=60 if small else 200)  # the step budget
hessian_step, late = 10, 20 if small else 40
deltas = (2, 4, 6, 8) if small else (2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8)
sizes = (100, 200) if small else (250, 500, 1000)
seeds = 4 if small else 16

colors = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")

problem = dmft.Problem(
    target=dmft.Target("phase-retrieval"),
    network=dmft.Network(activation="quadratic"),
    loss="pseudo-huber",
)


def keep(figure, name):
    """Write a figure to the folder, if there is one, and return it."""
    plt.close(figure)
    if folder:
        dmft.plotting.save_figure(figure, Path(folder) / f"{name}.png")
    return figure


# %% [markdown]
# ## The threshold at several horizons
#
# No simulation here: `find_delta_nn` follows the equations of the limit $n, d \to \infty$ for $t$
# steps, takes the law of the Hessian there, and looks for the $\delta$ above which the hard outlier
# stays. The standard error is that of the random paths it uses.

# %%
thresholds = {
    t: dmft.find_delta_nn(
        problem,
        method,
        bracket=(0.5 if t < 10 else 2, 12),
        step=t,
        sampling=sampling,
        scan_points=7,
    )
    for t in horizons
}
for t, threshold in thresholds.items():
    print(f"delta_NN({t:2d}) = {threshold.value:.3f} +- {threshold.stderr:.3f}")

# %% [markdown]
# ## What happens at the threshold
#
# The Hessian's eigenvalues after ten steps, a little below and well above $\delta_{NN}(10)$. Below,
# all of them belong to the bulk. Above, one lies outside, to the left of it: the disc, with the
# squared overlap of its eigenvector with $\theta_*$ written above.

# %%
early = dmft.GradientDescent(step_size=0.2, n_steps=hessian_step)
center = thresholds[hessian_step].value
below, above = (
    dmft.solve(problem, delta, early, sampling).hessian(hessian_step)
    for delta in (0.7 * center, 2.0 * center)
)
rmt.plotting.plot_density(below, title=rf"$\delta = {below.ratio:.2f}$, step {hessian_step}")

# %%
rmt.plotting.plot_density(above, title=rf"$\delta = {above.ratio:.2f}$, step {hessian_step}")

# %% [markdown]
# ## The sweep
#
# Now real runs: several random seeds for each $\delta$ and each dimension $d$, from random starts.
# A run has *recovered* $\theta_*$ when the squared cosine between $\theta$ and $\theta_*$ reaches
# one half within the budget of steps.

# %%
sweep = dmft.sweep(problem, deltas, method, d=sizes, seeds=seeds, hessian_step=hessian_step)
print(sweep)

# %% [markdown]
# **How to read the figure.** Top left: fraction of runs that recovered, with a logistic curve for
# each dimension. Top right: the generalisation error, that is the loss on fresh samples, of every
# run at the end (full marks: recovered). Bottom: smallest eigenvalue of the Hessian after ten steps
# and the overlap of its eigenvector with $\theta_*$, with the prediction for $d \to \infty$ as a
# dashed line. Vertical lines: $\delta_{NN}(t)$.

# %%
figure = dmft.plotting.plot_sweep(sweep, [thresholds[t] for t in (0, hessian_step, late)])
laws = [dmft.solve(problem, delta, early, sampling).hessian(hessian_step) for delta in deltas]
lowest = [law.smallest_eigenvalue() for law in laws]
overlaps = [sum(outlier.hard_overlap for outlier in law.outliers("hard")) for law in laws]
for axes, values in zip(figure.axes[2:], (lowest, overlaps), strict=True):
    axes.plot(deltas, values, color="0.2", linewidth=1.2, linestyle="--", zorder=4)
keep(figure, "threshold-sweep")

# %% [markdown]
# At the cliff the loss on fresh samples falls by a factor of twenty. It does not reach zero because
# of the step size: at $\theta = \pm\theta_*$ the Hessian has the eigenvalue $4\,E[z^4] = 12$ along
# $\theta_*$, and $0.2 \cdot 12 > 2$, so the runs hop to and fro across the minimum, ending on one
# side or the other after 200 steps: two clusters of marks.
#
# After ten steps the Hessian has its outlier from $\delta_{NN}(10)$ on, as predicted. The cliff in
# recovery and generalisation error sits further right, and moves with the dimension. Why: recovery
# takes more than ten steps, and the outlier must stay until it is complete. For $\delta_{NN}(0) <
# \delta < \delta_{NN}(40)$, say, the Hessians of the first steps have the outlier and that of step
# 40 does not. How far the overlap gets in the meantime depends on where it started, $d^{-1/2}$: the
# smaller the dimension, the better the chances. In the limit $d \to \infty$ only late horizons
# count, because an overlap of nearly zero takes many steps to grow.
#
# ## The cliff at finite dimension, predicted
#
# Theory can also follow a run that starts with an overlap $\mu > 0$. That gives two numbers for
# each $\delta$:
#
# - $\mu_c$, the smallest initial overlap from which the neuron recovers within the budget of steps,
#   found by bisection;
# - $S$, the noise that a finite number of samples adds: it acts as if the initial overlap had been
#   drawn with variance $(1 + S)/d$ instead of the $1/d$ of a random direction. We take it where the
#   overlap has been amplified most.
#
# Together, the probability of recovery is that of a Gaussian to exceed $\mu_c$ in absolute value:
# $P = \mathrm{erfc}\big(\mu_c \sqrt{d / (2 (1 + S))}\big)$. Nothing in it is fitted.

# %%
run_samplings = [
    dmft.Sampling(n_paths=1024 if small else 2048, replicates=2, seed=seed)
    for seed in range(2 if small else 4)
]
noise_sampling = dmft.Sampling(n_paths=512 if small else 4096, replicates=8, seed=0)
growth = dmft.GradientDescent(step_size=0.2, n_steps=20 if small else 60)


def recovers(delta, overlap, run_sampling):
    """Whether a run from an overlap recovers within the budget."""
    run = dmft.solve(problem.with_hard_overlap(overlap), delta, method, run_sampling)
    return np.max(run.overlap[:, 0, 0] ** 2 / run.norm[:, 0, 0]) >= sweep.recovery


def critical_overlap(delta, run_sampling, low=2e-4, high=0.5):
    """Smallest initial overlap that leads to recovery, by bisection of its logarithm."""
    for _ in range(4 if small else 8):
        middle = (low * high) ** 0.5
        found = recovers(delta, middle, run_sampling)
        low, high = (low, middle) if found else (middle, high)
    return (low * high) ** 0.5


start, start_error = [], []  # logarithm of mu_c / sqrt(1 + S), and its standard error
for delta in deltas:
    critical = np.log([critical_overlap(delta, paths) for paths in run_samplings])
    law = effective_initial_overlap(problem, delta, growth, noise_sampling)
    noise = law.covariance[0, 0]
    start.append(critical.mean() - 0.5 * np.log(1 + noise))
    start_error.append(critical.std(ddof=1) / np.sqrt(len(critical)))
    print(
        f"delta = {delta:3g}: critical overlap {np.exp(critical.mean()):.4f} +- "
        f"{start_error[-1]:.0%}, S = {noise:.2f}; "
        f"amplified up to {law.largest_gain.max():.1f} at step {law.largest_gain.argmax()}"
    )


def probability(delta, d, shift=0.0):
    """Predicted probability of recovery, interpolated in log delta; shift in standard errors."""
    values = np.array(start) + shift * np.array(start_error)
    return erfc(np.exp(np.interp(np.log(delta), np.log(deltas), values)) * np.sqrt(d / 2.0))


# %% [markdown]
# **How to read the figure.** Left: the probability of recovery, predicted (lines, bands: standard
# error) and simulated (marks, with 68 % intervals). Right: $\delta_{NN}$ against its horizon;
# dashed lines are the $\delta$ at which half of the simulated runs recover, with 95 % intervals.

# %%
crossings = {d: sweep.crossing(d) for d in sizes}
t = np.array(horizons)
value, error = np.array([(thresholds[i].value, thresholds[i].stderr) for i in horizons]).T
x = np.geomspace(deltas[0], deltas[-1], 200)
lower, upper = sweep.probability_interval(0.68)
with dmft.plotting.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.3), layout="constrained")
    for i, (d, color, marker) in enumerate(zip(sizes, colors, "osD", strict=False)):
        found = sweep.probability[i]
        bars = np.maximum([found - lower[i], upper[i] - found], 0.0)
        shift = 1 + 0.008 * (i - 1)
        left.errorbar(
            shift * sweep.deltas, found, bars, fmt=marker, color=color, markersize=5, capsize=2,
            elinewidth=1.0, label=f"$d = {d}$",
        )  # fmt: skip
        left.plot(x, probability(x, d), color=color)
        band = probability(x, d, 1), probability(x, d, -1)
        left.fill_between(x, *band, color=color, alpha=0.15, linewidth=0)
        crossing = crossings[d]
        if crossing.status.ok:
            right.axhline(crossing.value, color=color, linewidth=1.0, linestyle="--")
            bar = [[crossing.value - crossing.lower], [min(crossing.upper, 12) - crossing.value]]
            right.errorbar(
                (0.06 + 0.05 * i) * t[-1], crossing.value, bar, fmt=marker, color=color,
                markersize=5, capsize=3, label=f"half of the runs recover, $d = {d}$",
            )  # fmt: skip
    left.set_xlabel(r"samples per dimension  $\delta = n/d$")
    left.set_ylabel("recovery probability")
    left.legend(loc="lower right")
    right.errorbar(
        t, value, error, color="0.2", marker="o", markersize=4, capsize=3,
        label=r"theory, $\delta_{\mathrm{NN}}(t)$",
    )  # fmt: skip
    right.set_xlabel("horizon $t$")
    right.set_ylabel(r"$\delta$")
    right.legend(loc="lower right")
keep(figure, "threshold-finite-size")

# %% [markdown]
# ## In numbers

# %%
print("delta at which half of the runs recover: logistic fit to the runs and to the prediction")
squares, cells = 0.0, 0
for i, d in enumerate(sizes):
    crossing, found = crossings[d], "no crossing on the grid"
    if crossing.status.ok:
        found = f"{crossing.value:.2f} (95 %: {crossing.lower:.2f} to {crossing.upper:.2f})"
    trials = 1000  # as many runs as make counting exact
    predicted = [
        fit_crossing(
            deltas,
            np.round(trials * probability(np.array(deltas), d, shift)),
            np.full(len(deltas), trials),
        ).value
        for shift in (0, -1, 1)
    ]
    print(
        f"  d = {d:4d}: predicted {predicted[0]:.2f} (standard error: {predicted[1]:.2f} to "
        f"{predicted[2]:.2f}), simulated {found}"
    )
    # Cell by cell: binomial variance, and the prediction's own.
    for delta, recovered in zip(deltas, sweep.recovered[i], strict=True):
        chance, other = probability(delta, d), probability(delta, d, 1)
        if 0.02 < chance < 0.98:
            variance = seeds * chance * (1 - chance) + (seeds * (other - chance)) ** 2
            squares += (recovered.sum() - seeds * chance) ** 2 / variance
            cells += 1
print(
    f"  squared deviation over variance, sum over {cells} cells: {squares:.1f} "
    f"(expected {cells} +- {(2 * cells) ** 0.5:.1f})"
)

print(f"\nsmallest eigenvalue at step {hessian_step}, simulations extrapolated to 1/d = 0")
print("  delta     theory               simulated         difference / error")
for j, (delta, law) in enumerate(zip(deltas, laws, strict=True)):
    if delta < 1.3 * thresholds[hessian_step].value:
        continue  # the eigenvalue is at the edge, which finite d reaches more slowly than 1/d
    error = law.stderr("smallest_eigenvalue")
    samples = list(sweep.smallest_eigenvalue[:, j])
    found = measure_agreement(samples, sizes, lowest[j], error)
    print(
        f"  {delta:5.3g}  {lowest[j]:8.4f} +- {error:.4f}  {found.simulated:8.4f} +- "
        f"{found.simulated_stderr:.4f}  {found.ratio:8.2f}"
    )
