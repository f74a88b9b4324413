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
# # Hessian spectroscopy: watching the outlier work
#
# **The question.** A neuron $f(x) = \langle\theta, x\rangle^2$ learns the labels
# $y = \langle\theta_*, x\rangle^2$ by gradient descent from a random start, with $\delta = n/d = 7$
# samples per dimension. For many steps nothing seems to happen; then it finds $\theta_*$ and the
# loss on fresh samples falls to zero. Does the Hessian announce that, and can its eigenvalues be
# predicted at every step, before, during and after?
#
# **What theory says.** Before: the overlap $\langle\theta, \theta_*\rangle$ is of order $d^{-1/2}$,
# in the limit $d \to \infty$ exactly zero. The Hessian $\frac1n \sum_i D_i x_i x_i^T$ has a bulk
# and, for $\delta > \delta_{NN}(t)$, one negative eigenvalue left of it whose eigenvector points
# partly along $\theta_*$. During and after: once the overlap has grown to order one, that limit no
# longer applies. The same equations do if one lets them start from a small overlap.

# %%
# %matplotlib inline
import os
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

import dmft
import dmft.plotting
import rmt
import rmt.overlay

small = bool(os.environ.get("DELTA_NN_SMALL"))  # sizes that run in a minute
folder = os.environ.get("DELTA_NN_FIGURES")  # where the figures are written, if anywhere

sampling = dmft.Sampling(n_paths=512 if small else 4096, replicates=8, seed=0)
run_sampling = dmft.Sampling(n_paths=512 if small else 2048, replicates=8, seed=0)
delta = 7.0
sizes = (150, 300) if small else (500, 1000)
seeds = 3 if small else 8
shown = 3 if small else 4  # runs drawn one by one
n_steps = 60 if small else 120
every, fine = (20, 20) if small else (10, 5)
method = dmft.GradientDescent(step_size=0.1, n_steps=n_steps)
steps = range(0, n_steps + 1, every)  # Hessians of the runs
early_steps = (0, 10) if small else (0, 10, 20, 30)  # before they leave the limit
fine_steps = range(0, n_steps + 1, fine)  # Hessians of the theory
escaped = 0.05  # squared cosine with the hard direction from which a run has left the limit
colors = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")

problem = dmft.Problem(
    target=dmft.Target("phase-retrieval"),
    network=dmft.Network(activation="quadratic"),
    loss="pseudo-huber",
)


def solve_from(overlap, hessian_steps=()):
    """Theory of a run that starts from an overlap with the hard direction."""
    started = problem.with_hard_overlap(overlap)
    return dmft.solve(started, delta, method, run_sampling, hessian_steps=hessian_steps)


def keep(figure, name):
    """Write a figure to the folder, if there is one, and return it."""
    plt.close(figure)
    if folder:
        dmft.plotting.save_figure(figure, Path(folder) / f"{name}.png")
    return figure


# %% [markdown]
# ## The runs
#
# Gradient descent at two dimensions, several seeds each. At the larger one all eigenvalues of the
# Hessian are recorded every few steps. The smaller one serves to extrapolate the early steps to
# $1/d = 0$.

# %%
smaller = dmft.simulate(problem, delta, method, d=sizes[0], seeds=seeds, hessian_steps=early_steps)
largest = dmft.simulate(
    problem, delta, method, d=sizes[1], seeds=seeds, hessian_steps={*steps, *early_steps}
)
largest

# %% [markdown]
# ## Theory before the escape
#
# `dmft.solve` with overlap zero: the limit of large $d$ at a fixed number of steps. The figure has
# the left edge of the bulk and the outlier (the size of its mark grows with the overlap of the
# eigenvector). The outlier is there from the first step, is lowest after some ten steps, and then
# approaches the bulk: if nothing else happened, it would stay there as long as
# $\delta > \delta_{NN}(t)$.

# %%
limit = dmft.solve(problem, delta, method, sampling, hessian_steps={*fine_steps, *early_steps})
keep(dmft.plotting.plot_flow(limit, list(steps)), "hessian-flow")

# %% [markdown]
# ## Theory through the escape
#
# The outlier amplifies the overlap, and the noise of the data pushes it. While the overlap is small
# both act linearly, so a run is characterised by one number: the overlap $\mu_0$ from which a run
# without noise would have had to start. We read it off each run at the step $t_0$ where it leaves
# the limit, when its squared cosine with $\theta_*$ reaches 0.05: a solution of the theory from a
# tiny overlap gives the amplification up to $t_0$, and $\mu_0 = |M(t_0)|\, / \,$amplification. From
# then on there is nothing left to adjust: the solution from $\mu_0$ predicts losses, spectrum and
# alignment of that run.

# %%
tiny = 1e-3
growth = solve_from(tiny).overlap[:, 0, 0] / tiny
beyond = largest.hard_cosine > escaped
leaves = np.where(beyond.any(axis=1), beyond.argmax(axis=1), n_steps)
escapes = []
for run, t in enumerate(leaves[:shown]):
    start = abs(largest.overlap[run, t, 0, 0]) / growth[t]
    print(f"seed {largest.seeds[run]}: mu_0 = {start:.4f} = {start * largest.d**0.5:.2f} / sqrt(d)")
    escapes.append(solve_from(start, fine_steps))


# %%
def lowest(trajectory, step):
    """Lowest eigenvalue predicted, and the overlap of its eigenvector with the hard direction."""
    law = trajectory.hessian(step)
    which = "hard" if trajectory is limit else "all"
    outliers = [o for o in law.outliers(which, throw=False) if o.side == "left"]
    if not outliers:
        return law.edges().left, 0.0
    return outliers[0].value, float(outliers[0].latent_overlap[0])


predicted = np.array([[lowest(escape, step) for step in fine_steps] for escape in escapes])
unescaped = np.array([lowest(limit, step) for step in fine_steps])
left_edge = [limit.hessian(step).edges().left for step in fine_steps]

# %% [markdown]
# **How to read the figure.** Each colour is one run (one seed): thin lines and points are
# simulated, dashed curves are the theory from that run's $\mu_0$. Dotted vertical lines: $t_0$,
# where the run leaves the limit without overlap (grey curves, and the bulk in light grey). After
# that the grey curves do not describe it any more.

# %%
with dmft.plotting.style():
    figure, panels = plt.subplots(3, 1, figsize=(5.4, 6.6), sharex=True, layout="constrained")
    losses, values, overlaps = panels
    grey = {"color": "0.55", "zorder": 1}
    losses.plot(limit.steps, limit.test_loss, **grey)
    values.plot(fine_steps, unescaped[:, 0], label="outlier, theory without overlap", **grey)
    overlaps.plot(fine_steps, unescaped[:, 1], **grey)
    values.fill_between(
        fine_steps, left_edge, 1.0, color="0.92", linewidth=0, label="bulk, theory without overlap"
    )
    spectra = [largest.hessian[step] for step in steps]
    for run, (color, escape) in enumerate(zip(colors, escapes, strict=False)):
        thin, dashed = {"color": color, "linewidth": 1.0}, {"color": color, "linestyle": "--"}
        dots = {"color": color, "marker": "o", "linestyle": "none", "markersize": 5}
        losses.plot(largest.steps, largest.test_loss[run], **thin)
        losses.plot(escape.steps, escape.test_loss, **dashed)
        values.plot(steps, [spectrum.smallest[run, 0] for spectrum in spectra], **dots)
        values.plot(fine_steps, predicted[run, :, 0], **dashed)
        overlaps.plot(steps, [spectrum.hard_overlap[run] for spectrum in spectra], **dots)
        overlaps.plot(fine_steps, predicted[run, :, 1], **dashed)
        for axes in panels:
            axes.axvline(leaves[run], color=color, linewidth=0.9, linestyle=":")
    losses.set_ylabel("test loss")
    losses.set_ylim(bottom=0.0)
    values.set_ylabel("smallest eigenvalue")
    values.set_ylim(-1.3, 1.0)
    values.legend(loc="lower right")
    overlaps.set_ylabel("alignment of its eigenvector")
    overlaps.set_ylim(0.0, 1.0)
    overlaps.set_xlabel("step $t$")
    overlaps.set_xlim(-2, n_steps + 2)
    losses.set_title(
        rf"$d = {largest.d}$, $\delta = {delta:g}$: thin lines and points simulated, dashed theory"
    )
keep(figure, "hessian-spectroscopy")

# %% [markdown]
# What one sees: the outlier comes first. It is deepest while the test loss is flat, because the
# overlap that it amplifies is still too small to matter. The loss falls when the amplification is
# complete; as it does, the outlier is pulled back into the bulk and the whole spectrum becomes
# positive. Nothing is left to learn: the neuron sits in a minimum, at $\pm\theta_*$.
#
# ## The whole spectrum of one run
#
# The histogram has all eigenvalues of one run at four steps. The curve is the density of the bulk
# predicted from its $\mu_0$, the stem the outlier, with a disc as high as the predicted alignment
# on a scale from 0 to 1 over the height of the panel. During the fall the spectrum moves fast: a
# run that is two steps behind its prediction has its eigenvalues a little to the left of it.

# %%
falls = [dmft.fall_step(loss, 0.3) for loss in largest.test_loss[:shown]]
run = int(np.argsort(falls)[shown // 2])
during = every * round(falls[run] / every)
moments = sorted({0, every, min(during, n_steps - every), n_steps})
with dmft.plotting.style():
    figure, panels = plt.subplots(2, 2, figsize=(7.0, 5.0), layout="constrained")
    for axes, step in zip(panels.ravel(), moments, strict=False):
        law, eigenvalues = escapes[run].hessian(step), largest.hessian[step].eigenvalues[run]
        value, alignment = predicted[run, list(fine_steps).index(step)]
        low = min(value, eigenvalues[0]) - 0.1
        x = np.linspace(low, 3.5, 500)
        axes.hist(
            eigenvalues, np.linspace(low, 3.5, 50), color="0.8", label="simulated",
            weights=np.full(len(eigenvalues), 50 / (3.5 - low) / len(eigenvalues)),
        )  # fmt: skip
        axes.plot(x, law.density(x), color=colors[0], label="theory, bulk")
        if alignment > 0.02:
            top = axes.get_ylim()[1]
            axes.plot(
                [value, value], [0, alignment * top], color=colors[1], label="theory, outlier"
            )
            axes.plot(value, alignment * top, "o", color=colors[1])
            axes.set_ylim(0, top)
        axes.plot(eigenvalues[:1], [0.0], "|", color="k", markersize=16, label="lowest, simulated")
        axes.set_xlim(low, 3.5)
        axes.set_title(f"step {step}, test loss {largest.test_loss[run, step]:.2f}")
        axes.set_xlabel(r"eigenvalue $\lambda$")
    panels[0, 0].set_ylabel("density")
    panels[1, 0].set_ylabel("density")
    panels[0, 0].legend(loc="upper right")
keep(figure, "hessian-bulk")

# %% [markdown]
# ## In numbers
#
# Before the escape: `dmft.compare` lays the smallest eigenvalue and its overlap, extrapolated to
# $1/d = 0$ from both dimensions, beside the limit without overlap. Only steps before the runs leave
# it count.

# %%
comparison = dmft.compare(
    limit, [smaller, largest], quantities=["smallest_eigenvalue", "hard_overlap"]
)
print("step   lowest eigenvalue: simulated, theory        its overlap: simulated, theory")
for entry in comparison.hessian:
    marker = " " if comparison.regime_end is None or entry.step < comparison.regime_end else "*"
    print(
        f"{entry.step:4d}{marker} {entry.simulated:9.3f} +- {entry.simulated_stderr:.3f} "
        f"{entry.value:9.3f} +- {entry.stderr:.3f}  {entry.simulated_overlap:12.3f} +- "
        f"{entry.simulated_overlap_stderr:.3f} {entry.overlap:9.3f} +- {entry.overlap_stderr:.3f}"
    )
print("* some runs have left the limit without overlap")
print(comparison.verdict())

# %% [markdown]
# Through the escape: each run against the theory from its own $\mu_0$. The differences that remain
# are the fluctuations of a single run, of order $d^{-1/2}$.

# %%
print(f"d = {largest.d}, d^(-1/2) = {largest.d**-0.5:.3f}")
print("seed  test loss falls at step    root mean square difference over all steps of")
print("      simulated  predicted       lowest eigenvalue   alignment   bulk (Kolmogorov)")
which = [list(fine_steps).index(step) for step in steps]
for run, escape in enumerate(escapes):
    level = 0.5 * escape.test_loss.max()
    values = [spectrum.smallest[run, 0] for spectrum in spectra] - predicted[run, which, 0]
    overlaps = [spectrum.hard_overlap[run] for spectrum in spectra] - predicted[run, which, 1]
    distance = [
        rmt.overlay.compare_spectrum(
            escape.hessian(step), np.diag(largest.hessian[step].eigenvalues[run])
        ).distance
        for step in steps
    ]
    print(
        f"{largest.seeds[run]:4d}  {dmft.fall_step(largest.test_loss[run], level):9.1f}  "
        f"{dmft.fall_step(escape.test_loss, level):9.1f}  {np.sqrt(np.mean(values**2)):22.3f} "
        f"{np.sqrt(np.mean(overlaps**2)):11.3f} {np.sqrt(np.mean(np.square(distance))):19.3f}"
    )
