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
# $j^{2\gamma}$, and the number of features recovered like $\delta^{1/2\gamma}$. Each takes its
# share $\propto j^{-2\gamma}$ of the variance out of the test error, which falls like
# $\delta^{-(1 - 1/2\gamma)}$ for $\gamma > 1/2$: a smooth power law made of sharp transitions
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
# end with, and larger steps would be unstable. A power law is fitted to the thresholds that are
# known within a quarter, against their rank and the other way round, and to the test error just
# after each transition; the last column is the exponent of that if $\delta_j$ were exactly
# $j^{2\gamma}$: with few features it is not that of infinitely many. m neurons hold m features at
# most. "In sequence": all stronger features are known and subtracted from the label, which is the
# most that learning them first can be worth.

# %%
upper = {0.5: 80.0, 1.0: 8.0, 1.5: 4.0}
laws = {}
for gamma in exponents:
    for k in sizes:
        wide = (k,) if k == 8 else ()  # of 16 neurons: docs/data/sixteen-features.toml
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
simulated = {"spectral method": spectral}
simulated |= {f"{m} neurons": found for m, found in networks.items()}
theory = np.array([recovered(np.diag(q)) for q in predicted])
print(f"features recovered and excess error, gamma = {gamma:g}, k = {k}, runs of d = {d}")
for i, delta in enumerate(deltas):
    cells = [f"predicted {theory[i, 0]:.0f}, {theory[i, 1]:.3f}"]
    for name, runs in simulated.items():
        number, left = runs[i].mean(axis=0)
        error = runs[i].std(axis=0, ddof=1) / np.sqrt(n_runs)
        cells.append(f"{name} {number:.1f} +- {error[0]:.1f}, {left:.3f} +- {error[1]:.3f}")
    print(f"  delta = {delta:4g}:  " + ";  ".join(cells))
for name, runs in simulated.items():
    mean, error = runs[..., 1].mean(axis=1), runs[..., 1].std(axis=1, ddof=1) / np.sqrt(n_runs)
    fit = dmft.PowerLaw.through(np.array(deltas), mean, np.hypot(error / mean, 0.02))
    print(f"exponent of the excess error of runs, {name}: {fit.exponent:.2f} +- {fit.stderr:.2f}")

# %% [markdown]
# The steps of the networks themselves, held against runs: with one neuron, kept orthogonal to all
# features, a feature is an outlier of the Hessian, a negative eigenvalue whose eigenvector lies in
# their space (squared overlap above 1/4).

# %%
step = scaling.step
outliers = np.zeros((len(deltas), n_runs))
for i, delta in enumerate(deltas):
    runs = dmft.simulate(
        problem(gamma, k), delta, descent(gamma, k, 1, step), d=d, seeds=n_runs, hold_hard=True,
        hessian_steps=[step], n_extreme=k, dense_limit=0, workers=1,
    )  # fmt: skip
    hessian = runs.hessian[step]
    outliers[i] = np.sum((hessian.smallest < 0.0) & (hessian.overlaps > 0.25), axis=1)
print(f"hard outliers of one neuron after {step} steps: theory, runs of d = {d}")
for delta, count, found in zip(deltas, scaling.n_features(deltas)[2], outliers, strict=True):
    error = found.std(ddof=1) / np.sqrt(n_runs)
    print(f"  delta = {delta:4g}:  {count:.0f}  {found.mean():.2f} +- {error:.2f}")

# %% [markdown]
# **How to read the figure.** Left: thresholds and fitted power laws. Middle: features recovered;
# steps are theory, with one colour for each learner, open marks are runs, circles of the spectral
# method and squares of networks (black where there are no steps of that width), triangles outliers
# of one neuron that is kept orthogonal to all features. Right: excess test error. Steps take
# features that are recovered for perfectly learned; the dashed line has the overlaps of the
# spectral method instead. Wide networks recover the weaker features earlier than their steps say,
# because the stronger ones are learned first.

# %%
axes = scaling.plot()
colors = dict(zip(scaling.names, [f"C{i}" for i in range(6)], strict=False))
for name, runs in simulated.items():
    mean, error = runs.mean(axis=1), runs.std(axis=1, ddof=1) / np.sqrt(n_runs)
    marks = {
        "fmt": "o" if name == "spectral method" else "s",
        "color": colors.get(name, "black"), "markersize": 4, "markerfacecolor": "white",
    }  # fmt: skip
    axes[1].errorbar(deltas, mean[:, 0], error[:, 0], **marks)
    axes[2].errorbar(deltas, mean[:, 1], error[:, 1], **marks)
axes[1].errorbar(
    deltas, outliers.mean(axis=1), outliers.std(axis=1, ddof=1) / np.sqrt(n_runs), fmt="^",
    color=colors["1 neuron"], markersize=4, markerfacecolor="white",
)  # fmt: skip
axes[2].plot(deltas, theory[:, 1], "--", color=colors["spectral method"], linewidth=1)
if folder:
    dmft.plotting.save_figure(axes[0].figure, Path(folder) / "scaling-law.png")
