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
# # A first threshold
#
# One neuron learns robust phase retrieval: labels $y = z^2$ of one hidden direction, which is
# *hard* (the label does not say on which side of it a sample lies). Gradient descent finds it only
# if the Hessian along the trajectory grows a negative outlier eigenvalue pointing there.

# %%
import os

import numpy as np
from matplotlib import pyplot as plt

import dmft

small = bool(os.environ.get("DELTA_NN_SMALL"))
sampling = dmft.Sampling(n_paths=1024 if small else 16384, replicates=8, seed=0)
problem = dmft.Problem(
    target=dmft.Target("phase-retrieval"),
    network=dmft.Network(activation="gelu"),
    loss="pseudo-huber",
)
method = dmft.GradientDescent(step_size=0.2, n_steps=10 if small else 40)

# %% [markdown]
# ## The trajectory
#
# `dmft.solve` follows the order parameters in the limit n, d to infinity; every quantity comes with
# a standard error.

# %%
trajectory = dmft.solve(problem, delta=8.0, method=method, sampling=sampling)
trajectory

# %%
figure, axes = plt.subplots(figsize=(6, 3.5))
for name in ("train_loss", "test_loss"):
    value, error = getattr(trajectory, name), trajectory.stderr[name]
    axes.plot(trajectory.steps, value, label=name.replace("_", " "))
    axes.fill_between(trajectory.steps, value - 2 * error, value + 2 * error, alpha=0.3)
axes.set_xlabel("step t")
axes.set_ylabel("loss")
axes.legend()
# %% [markdown]
# ## The Hessian at the last step
#
# Its bulk, and the outlier that points at the hard direction: `hard_overlap` is the squared norm of
# the projection of its eigenvector on that direction.

# %%
law = trajectory.hessian(step=method.n_steps)
left, right = law.edges()
outliers = law.outliers()
outliers

# %%
x = np.linspace(left - 0.1, right + 0.1, 400)
figure, axes = plt.subplots(figsize=(6, 3.5))
axes.plot(x, law.density(x), label="bulk")
for outlier in outliers:
    axes.axvline(outlier.value, color="C3", label=f"outlier, overlap {outlier.hard_overlap:.2f}")
axes.set_xlabel("eigenvalue")
axes.set_ylabel("density")
axes.legend()
# %% [markdown]
# ## Where it appears
#
# `gap` is negative where the outlier exists; delta_NN(t) is where it turns negative for good.

# %%
threshold = dmft.find_delta_nn(problem, method, bracket=(1, 12), sampling=sampling, scan_points=7)
print(f"delta_NN({threshold.step}) = {threshold.value:.3f} +- {threshold.stderr:.3f}")

# %%
figure, axes = plt.subplots(figsize=(6, 3.5))
axes.errorbar(threshold.delta, threshold.gap, threshold.gap_stderr, fmt="o-", ms=3)
axes.axhline(0, color="0.5", lw=0.8)
axes.axvspan(
    threshold.value - threshold.stderr, threshold.value + threshold.stderr, color="C3", alpha=0.4
)
axes.set_xscale("log")
axes.set_xlabel("delta = n/d")
axes.set_ylabel("gap")
