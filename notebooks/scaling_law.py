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
# # A scaling law from a cascade: features that spectral methods recover one after the other
#
# **The question.** Labels $y = \sum_j j^{-\gamma} (z_j^2 - 1) + \text{noise}$ have features of very
# different strength. How many of them does a spectral method recover from $n = \delta d$ samples?
#
# **What theory says.** The leading eigenvectors of $\frac1n \sum_i T(y_i)\, x_i x_i^T$ recover
# feature j from $\delta_j$ on. With the best real $T$ for it,
# $1/\delta_j = E[(E[z_j^2 - 1 | y])^2]$. That is at least what the correlation of $z_j^2$ with y
# says (Cauchy-Schwarz), $\delta_j \le \mathrm{Var}(y)\, j^{2\gamma}/4$: thresholds grow nearly like
# $j^{2\gamma}$, and the number of features recovered like $\delta^{1/2\gamma}$, a smooth power law
# made of sharp transitions.

# %%
# %matplotlib inline
import os
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

import dmft
import rmt

small = bool(os.environ.get("DELTA_NN_SMALL"))  # sizes that run in a minute
figures = os.environ.get("DELTA_NN_FIGURES")  # where the figure is written, if anywhere

exponents = (0.5, 1.0, 1.5)
sizes = (8,) if small else (8, 16)
n_points = 2**15 if small else 2**19
d, n_runs = (100, 4) if small else (500, 8)
noise = 0.5


def target(gamma, k):
    return dmft.Target({"name": "power-law", "gamma": gamma, "features": k}, noise=noise)


# %% [markdown]
# ## Thresholds of the features
#
# A power law $\delta_j \propto j^p$ is fitted to those that are known within 20 %, weighted by
# their errors.

# %%
fitted = {}
print("gamma   k  exponent p   2 gamma  thresholds of the first four features")
for gamma in exponents:
    for k in sizes:
        law = dmft.label_law(target(gamma, k), n_points=n_points)
        found = rmt.direction_thresholds(law)
        j = np.arange(1, k + 1)
        known = found.stderr < 0.2 * found.value
        x, y = np.log(j[known]), np.log(found.value[known])
        sigma = found.stderr[known] / found.value[known] + 0.01
        (slope, start), covariance = np.polyfit(x, y, 1, w=1.0 / sigma, cov="unscaled")
        fitted[gamma, k] = found, known, slope, start
        first = "  ".join(f"{value:.3f}" for value in found.value[:4])
        error = np.sqrt(covariance[0, 0])
        print(f"{gamma:5.1f} {k:3d}  {slope:.2f} +- {error:.2f}   {2 * gamma:7.1f}  {first}")

# %% [markdown]
# Below $2\gamma$: the label tells of the weaker features more than correlations do.
#
# ## Runs of dimension d
#
# For $\gamma = 1$ the j-th eigenvector of the matrix with the best T for feature j: its squared
# overlap with that feature, predicted and simulated.

# %%
gamma, k, count = 1.0, sizes[0], 3
law = dmft.label_law(target(gamma, k), n_points=n_points)
preprocessings = [rmt.optimal_preprocessing(law, np.eye(k)[j]) for j in range(count)]
deltas = (2.0, 8.0) if small else (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
rng = np.random.default_rng(0)
table = np.zeros((len(deltas), count, 3))  # predicted, simulated, error
for row, delta in zip(table, deltas, strict=True):
    runs = np.zeros((n_runs, count))
    for run in range(n_runs):
        X = rng.standard_normal((round(delta * d), d))
        y = target(gamma, k).sample_labels(X[:, :k], rng.standard_normal(len(X)))
        for j, preprocessing in enumerate(preprocessings):
            vectors = np.linalg.eigh((X.T * preprocessing(y)) @ X / len(X))[1]
            runs[run, j] = vectors[j, -1 - j] ** 2
    for j, preprocessing in enumerate(preprocessings):
        outliers = rmt.spectral_method(preprocessing, law, delta).outliers
        if len(outliers) > j:
            row[j, 0] = outliers[j].latent_overlap[j]
    row[:, 1], row[:, 2] = runs.mean(axis=0), runs.std(axis=0, ddof=1) / np.sqrt(n_runs)

print(f"squared overlap with features 1 to {count}, d = {d}: theory, runs")
for delta, row in zip(deltas, table, strict=True):
    cells = "   ".join(f"{p:.3f}  {s:.3f} +- {e:.3f}" for p, s, e in row)
    print(f"  delta = {delta:4g}:  {cells}")

# %%
with dmft.plotting.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.0), layout="constrained")
    colors = dict(zip(exponents, ("tab:blue", "tab:orange", "tab:green"), strict=True))
    for (gamma_of, k_of), (found, known, slope, start) in fitted.items():
        if k_of != sizes[-1]:
            continue
        j = np.arange(1, k_of + 1)
        left.errorbar(
            j[known], found.value[known], found.stderr[known],
            fmt="o", color=colors[gamma_of], label=rf"$\gamma$ = {gamma_of:g}: $j^{{{slope:.2f}}}$",
        )  # fmt: skip
        left.plot(j, np.exp(start) * j**slope, color=colors[gamma_of], linewidth=1)
    left.set(xscale="log", yscale="log", xlabel="feature j", ylabel=r"threshold $\delta_j$")
    left.legend()
    for j in range(count):
        color = f"C{j}"
        right.plot(deltas, table[:, j, 0], color=color, label=f"feature {j + 1}")
        right.errorbar(deltas, table[:, j, 1], table[:, j, 2], fmt="o", color=color)
    right.set(xscale="log", xlabel=r"$\delta = n/d$", ylabel="squared overlap")
    right.legend()
    if figures:
        Path(figures).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(figures) / "scaling-law.png")
