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
# # Phase retrieval on the sphere: BBP at the start, along the flow, and recovery
#
# **The question.** A neuron $f(x) = \langle\theta, x\rangle^2$ of norm one learns $y =
# \langle\theta_*, x\rangle^2$ from $n = \delta d$ samples. A random start has no overlap with
# $\theta_*$. When do samples suffice for the landscape to point to it, at the start and later?
#
# **What theory says.** The Hessian of the risk *on the sphere* is $P (H - \mu I) P$, with $\mu =
# \langle\theta, \nabla \mathrm{Risk}\rangle$ the normal force that holds the neuron, and P the
# projection on tangent directions. With enough samples its smallest eigenvalue is an outlier
# along $\theta_*$: the transition of Baik, Ben Arous and Péché (BBP). At a random start this
# takes few samples. But the neuron moves on: it fits what it can without $\theta_*$, the bulk of
# the Hessian narrows and its shape changes, and the outlier may dive back into the bulk. Then the
# way out that was there at the start is gone. The threshold $\delta_{NN}(t)$ as a function of time
# says when.

# %%
# %matplotlib inline
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import dmft
import dmft.plotting
import rmt.plotting

small = bool(os.environ.get("DELTA_NN_SMALL"))  # sizes that run in a minute
folder = os.environ.get("DELTA_NN_FIGURES")  # where the figures are written, if anywhere

sampling = dmft.Sampling(n_paths=512 if small else 16384, replicates=8, seed=0)
problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
n_steps = 20 if small else 80
method = dmft.GradientDescent(step_size=0.2, n_steps=n_steps, constraint="sphere")
free = dmft.GradientDescent(step_size=0.2, n_steps=n_steps)


def keep(figure, name):
    """Write a figure to the folder, if there is one, and return it."""
    if folder:
        dmft.plotting.save_figure(figure, Path(folder) / f"{name}.png")
    return figure


# %% [markdown]
# ## BBP at the start
#
# At step 0 the law of the curvatures is explicit, so thresholds are quadratures. The normal force
# moves bulk and outlier of one neuron alike: as long as the edge is negative, the threshold is that
# of the whole space. Under the correlation loss $-f y$ with capped labels $\min(z^2, 5)$ the
# Hessian is that of a spectral method with weights $-\min(z^2, 5)$, and the literature counts an
# outlier that leaves the bulk on the left.

# %%
capped = dmft.Problem(
    dmft.Target({"name": "capped-square", "cap": 5.0}), dmft.Network("quadratic"), "correlation"
)
for name, case, criterion in (
    ("pseudo-Huber", problem, "negative"),
    ("normalised square", dmft.Problem("phase-retrieval", dmft.Network("quadratic"),
                                       {"name": "normalised-square", "a": 1.0}), "negative"),
    ("correlation, labels up to 5", capped, "left"),
):  # fmt: skip
    found = dmft.find_delta_nn(case, method, (0.3, 8.0), step=0, criterion=criterion)
    print(f"{name:30s} delta_NN(0) = {found.value:.6f}")

# %% [markdown]
# ## Along the trajectory
#
# The threshold for a negative eigenvalue along $\theta_*$ rises from below one to several times
# that: between the two, the landscape shows the way at the start and hides it later. On the whole
# space, where the neuron may also change its norm, it rises likewise.
#
# **How to read the figure.** $\delta_{NN}(t)$ against the step, with its standard errors. Above a
# line the Hessian at that step has the outlier.

# %%
steps = [0, 5, 10, n_steps] if small else [0, 2, 5, 10, 20, 40, n_steps]
curves = {
    name: dmft.delta_nn_curve(problem, chosen, (0.5, 16.0), steps, sampling, points=6)
    for name, chosen in (("on the sphere", method), ("in the whole space", free))
}
with dmft.plotting.style():
    figure, axes = plt.subplots(figsize=(4.2, 3.0), layout="constrained")
    for name, curve in curves.items():
        axes.errorbar(curve.steps, curve.value, curve.error, marker="o", markersize=3, label=name)
        print(
            name, ", ".join(f"{t}: {v:.2f}" for t, v in zip(curve.steps, curve.value, strict=True))
        )
    axes.set_xlabel("step $t$")
    axes.set_ylabel(r"threshold $\delta_{NN}(t)$")
    axes.legend()
keep(figure, "sphere-threshold")

# %% [markdown]
# ## The outlier, between the two
#
# At a $\delta$ between the threshold at the start and the later one the outlier is there first and
# dives into the bulk. Above both it stays.

# %%
last = curves["on the sphere"].value[-1]
chosen = [float(np.round(factor * last, 1)) for factor in (0.6, 2.0)]
shown = sorted({0, 2, 5, 10, n_steps // 2, n_steps})
for delta in chosen:
    trajectory = dmft.solve(problem, delta, method, sampling, hessian_steps=shown)
    laws = [trajectory.hessian(t) for t in shown]
    for t, law in zip(shown, laws, strict=True):
        below = [o for o in law.outliers("hard") if o.side == "left" and o.separated]
        text = f"{below[0].value:.3f}, overlap {below[0].hard_overlap:.2f}" if below else "none"
        print(f"delta {delta:g}, step {t:3d}: edge {law.edges().left:.3f}, outlier {text}, "
              f"normal force {-law.shift:.3f}")  # fmt: skip
    title = rf"Hessian on the sphere, $\delta = {delta:g}$"
    keep(rmt.plotting.plot_flow(shown, laws, title=title), f"sphere-hessian-{delta:g}")

# %% [markdown]
# ## Recovery in runs
#
# Runs of finite dimension start with an overlap of order $d^{-1/2}$, to which the noise of the data
# adds, and which an unstable direction multiplies. How often it becomes one of order one within the
# horizon is predicted by `dmft.recovery_probability`, and counted in runs.
#
# **How to read the figure.** Left: fraction of the runs (bars 68 %) that reach a squared cosine of
# one half with $\theta_*$, and the predicted bands. Vertical: the thresholds at the start and at
# the last step of theory. An outlier that is there for a few steps only multiplies the overlap by
# a few: that is enough at small d, and less and less so as d grows, so that the delta where half of
# the runs recover rises with d. Right: test loss of every run at the end.

# %%
sizes = (60, 120) if small else (250, 1000)
seeds, draws = (4, 16) if small else (16, 64)
deltas = np.round(np.geomspace(0.35 * last, 1.4 * last, 4 if small else 8), 2)
runs = dmft.sweep(problem, deltas, method, d=sizes, seeds=seeds)
predicted = dmft.recovery_probability(problem, deltas, sizes, method, draws=draws)
first = curves["on the sphere"].value[0]
late = (last, curves["on the sphere"].error[-1], rf"$\delta_{{NN}}$, step {n_steps}")
lines = [(first, 0.0, r"$\delta_{NN}$, step 0"), late]
figure = dmft.plotting.plot_sweep(runs, lines, predicted)
keep(figure, "sphere-recovery")
for d in sizes:
    for name, found in (("runs", runs.crossing(d)), ("predicted", predicted.crossing(d))):
        print(f"d = {d}, {name}: half recover at delta = {found.value:.2f} "
              f"({found.lower:.2f} to {found.upper:.2f})")  # fmt: skip
