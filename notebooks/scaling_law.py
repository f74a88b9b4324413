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
# # A scaling law from a cascade: features that are recovered one after the other
#
# **The question.** Labels $y = \sum_j j^{-\gamma} z_j^2 + \text{noise}$ have features of very
# different strength. How many of them does a network, or a spectral method, recover from
# $n = \delta d$ samples, and how does the test error fall with $\delta$?
#
# **What theory says.** The leading eigenvectors of $\frac1n \sum_i T(y_i)\, x_i x_i^T$ recover
# feature j from $\delta_j$ on. With the best real $T$ for it,
# $1/\delta_j = E[(E[z_j^2 - 1 | y])^2]$. That is at least what the correlation of $z_j^2$ with y
# says (Cauchy-Schwarz), $\delta_j \le \mathrm{Var}(y)\, j^{2\gamma}/4$: thresholds grow nearly like
# $j^{2\gamma}$, and the number of features recovered like $\delta^{1/2\gamma}$. A feature that is
# recovered takes its share $\propto j^{-2\gamma}$ of the variance out of the test error, which falls
# like $\delta^{-(1 - 1/2\gamma)}$ for $\gamma > 1/2$: a smooth power law made of sharp transitions
# (Wortsman and Zurich; Tabanelli, Dandi, Krzakala and Loureiro).
#
# The Hessian of a network has the same structure. The label is even in every $z_j$, so $A_h$
# consists of one block for each feature, of order m for m neurons started at random; feature j
# appears when the smallest eigenvalue of its own block turns negative, at $\delta_j$.
# `dmft.scaling_law` finds these thresholds.
#
# A constant in the label means nothing to a spectral method. To a network without an output bias it
# does: neurons $r^2$ fit $\sum_j j^{-\gamma} z_j^2$, not $\sum_j j^{-\gamma} (z_j^2 - 1)$.

# %%
# %matplotlib inline
import os
from pathlib import Path

import numpy as np

import dmft
import dmft.plotting
import rmt

small = bool(os.environ.get("DELTA_NN_SMALL"))  # sizes that run in a minute
folder = os.environ.get("DELTA_NN_FIGURES")  # where the figure is written, if anywhere

exponents = (1.0,) if small else (0.5, 1.0, 1.5)
sizes = (4,) if small else (8, 16)
widths = (1, 2) if small else (1, 2, 4)
n_points = 2**15 if small else 2**18
sampling = dmft.Sampling(n_paths=256 if small else 1024, replicates=4 if small else 8)
points = 7 if small else 11
d, n_runs = (80, 2) if small else (250, 4)
n_steps = 100 if small else 600
deltas = (4.0, 16.0) if small else (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
noise = 0.5


def target(gamma, k):
    def power_sum(z, eps):
        return z**2 @ np.arange(1, k + 1.0) ** -gamma

    return dmft.Target(power_sum, k, noise=noise, hard_directions=range(k))


def problem(gamma, k, m=1):
    network = dmft.Network("quadratic", neurons=m)  # f = sum_j r_j^2 / m
    return dmft.Problem(target(gamma, k), network, "pseudo-huber")


def descent(gamma, k, m, n_steps):
    return dmft.GradientDescent(0.2 * m / np.sum(np.arange(1, k + 1.0) ** -gamma), n_steps)


# %% [markdown]
# ## Thresholds of the features
#
# Networks after 30 steps of $0.2\,m / \sum_j j^{-\gamma}$: the sum is the squared norm that neurons
# end with, and larger steps would be unstable. A power law is fitted to the thresholds that are known within a
# quarter, against their rank and the other way round, and to the test error just after each
# transition; the last column is the exponent of that if $\delta_j$ were exactly $j^{2\gamma}$: with
# few features it is not that of infinitely many. m neurons hold m features at most.
# "In sequence": all stronger features are known and subtracted from the label, which is the most
# that learning them first can be worth.

# %%
upper = {0.5: 30.0, 1.0: 6.0, 1.5: 4.0}
laws = {}
for gamma in exponents:
    for k in sizes:
        wide = (8,) if (gamma, k) == (1.0, 8) else ()
        laws[gamma, k] = dmft.scaling_law(
            problem(gamma, k), descent(gamma, k, 1, 6 if small else 30),
            (2.0, upper[gamma] * k ** (2 * gamma)), (*widths, *wide), sampling=sampling,
            points=points, max_solves=points + 2, n_points=n_points,
        )  # fmt: skip
        print(f"gamma = {gamma:g}, k = {k}, 2 gamma = {2 * gamma:g}", end="")
        print(f", 1/(2 gamma) - 1 = {0.5 / gamma - 1:.2f}, {laws[gamma, k].status.name}")
        print(laws[gamma, k].table)
        print()

# %% [markdown]
# Below $2\gamma$: the label tells of the weaker features more than correlations do. Networks come
# later than the best spectral method, the later the narrower they are (the output of a single
# neuron fluctuates, and is noise to the search for a feature), with thresholds that grow in the
# same way.
#
# ## Runs of dimension d
#
# For $\gamma = 1$. With the eigenvectors of the spectral methods, or the trained weights of a
# network, let P be the projection of the latent space on their span. A feature counts as recovered
# in a run if $P_{jj} > 1/2$, and the error is that of the best quadratic function of the inputs'
# projections on the span, $2 \sum_{ij} (\delta_{ij} - P_{ij}^2) / (i j)^\gamma$: what is learned in
# the first layer, without what the second makes of it. Predictions for the spectral methods take
# the overlaps of `rmt.spectral_method`.

# %%
gamma, k, count = 1.0, sizes[0], 3
strength = np.arange(1, k + 1.0) ** -gamma
law = dmft.label_law(target(gamma, k), n_points=n_points)
preprocessings = [rmt.optimal_preprocessing(law, np.eye(k)[j]) for j in range(k)]


def recovered(projection):
    """Return the number of features in a span, and the excess error of the best read-out."""
    error = 2.0 * np.sum(np.outer(strength, strength) * (np.eye(k) - projection**2))
    return np.sum(np.diag(projection) > 0.5), error


rng = np.random.default_rng(0)
predicted = np.zeros((len(deltas), k))
overlaps = np.zeros((len(deltas), n_runs, k))
spectral = np.zeros((len(deltas), n_runs, 2))
for i, delta in enumerate(deltas):
    for run in range(n_runs):
        X = rng.standard_normal((round(delta * d), d))
        y = target(gamma, k).sample_labels(X[:, :k], rng.standard_normal(len(X)))
        found = []
        for j, preprocessing in enumerate(preprocessings):
            vectors = np.linalg.eigh((X.T * preprocessing(y)) @ X / len(X))[1]
            found.append(vectors[:, -1 - j])
            overlaps[i, run, j] = vectors[j, -1 - j] ** 2
        V = np.array(found).T
        spectral[i, run] = recovered(V[:k] @ np.linalg.solve(V.T @ V, V[:k].T))
    for j, preprocessing in enumerate(preprocessings):
        outliers = rmt.spectral_method(preprocessing, law, delta).outliers
        if len(outliers) > j:
            predicted[i, j] = outliers[j].latent_overlap[j]

print(f"squared overlap with features 1 to {count}, d = {d}: theory, runs")
for delta, theory, runs in zip(deltas, predicted, overlaps, strict=True):
    error = runs.std(axis=0, ddof=1) / np.sqrt(n_runs)
    cells = zip(theory[:count], runs.mean(axis=0)[:count], error[:count], strict=True)
    text = "   ".join(f"{p:.3f}  {s:.3f} +- {e:.3f}" for p, s, e in cells)
    print(f"  delta = {delta:4g}:  {text}")

# %%
networks = {}
for m in (widths[-1], k):
    networks[m] = np.zeros((len(deltas), n_runs, 2))
    method = descent(gamma, k, m, n_steps)
    for i, delta in enumerate(deltas):
        runs = dmft.simulate(problem(gamma, k, m), delta, method, d=d, seeds=n_runs, workers=1)
        for run in range(n_runs):
            M, C = runs.overlap[run, -1], runs.correlation[run, -1]
            networks[m][i, run] = recovered(M.T @ np.linalg.solve(C, M))

scaling = laws[gamma, k]
print(f"number of features and excess test error, gamma = {gamma:g}, k = {k}, runs of d = {d}")
theory = np.array([recovered(np.diag(q)) for q in predicted])
for i, delta in enumerate(deltas):
    text = (
        f"  delta = {delta:4g}:  spectral method {theory[i, 0]:.0f}, {theory[i, 1]:.3f} predicted"
    )
    for name, runs in (("runs", spectral), *((f"{m} neurons", networks[m]) for m in networks)):
        mean, error = runs[i].mean(axis=0), runs[i].std(axis=0, ddof=1) / np.sqrt(n_runs)
        text += f";  {name} {mean[0]:.1f} +- {error[0]:.1f}, {mean[1]:.3f} +- {error[1]:.3f}"
    print(text)
for name, runs in (
    ("spectral method", spectral),
    *((f"{m} neurons", networks[m]) for m in networks),
):
    mean, error = runs[..., 1].mean(axis=1), runs[..., 1].std(axis=1, ddof=1) / np.sqrt(n_runs)
    fit = dmft.PowerLaw.through(np.array(deltas), mean, np.hypot(error / mean, 0.02))
    print(f"excess error of runs, {name}: exponent {fit.exponent:.2f} +- {fit.stderr:.2f}")

# %% [markdown]
# **How to read the figure.** Left: thresholds and fitted power laws. Middle: features recovered;
# steps are theory, with one colour for each learner, marks are runs: dots of the spectral method,
# squares and triangles of networks. Right: excess test error, where steps take features that are
# recovered for perfectly learned, and the dashed line has the overlaps of the spectral methods.

# %%
axes = scaling.plot()
for name, runs in (
    ("spectral method", spectral),
    *((f"{m} neurons", networks[m]) for m in networks),
):
    at = scaling.names.index(name) if name in scaling.names else None
    color = "black" if at is None else f"C{at}"
    mean, error = runs.mean(axis=1), runs.std(axis=1, ddof=1) / np.sqrt(n_runs)
    for panel, column in ((axes[1], 0), (axes[2], 1)):
        panel.errorbar(
            deltas, mean[:, column], error[:, column], fmt="o" if at == 0 else "s", color=color,
            markersize=4, markerfacecolor="white",
        )  # fmt: skip
axes[2].plot(deltas, theory[:, 1], "--", color="C0", linewidth=1)
if folder:
    dmft.plotting.save_figure(axes[0].figure, Path(folder) / "scaling-law.png")
