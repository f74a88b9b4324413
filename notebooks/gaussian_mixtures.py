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
# # Gaussian mixtures: mini-batch descent, its limit and the Bayes error
#
# **The question.** Logistic regression tells two Gaussian clusters apart. What do mini-batches cost
# on the way, and how far from the best possible error does it end?
#
# **What theory says.** Clusters at $\pm\mu$ along one hidden direction, with unit covariance: the
# Bayes error is $\Phi(-\mu)$, and a linear classifier with overlap $M$ and squared norm $C$ has the
# error $\Phi(-\mu M/\sqrt C)$. Gradient descent with mini-batches follows $M(t)$, $C(t)$ of
# `dmft.solve`. With a ridge the risk has one minimiser, where full batches end; mini-batches of a
# share $p$ go on fluctuating around it, with a variance that grows with $\eta (1/p - 1)$.

# %%
# %matplotlib inline
import os
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from scipy.special import ndtr

import dmft
import dmft.plotting

small = bool(os.environ.get("DELTA_NN_SMALL"))  # sizes that run in a minute
figures = os.environ.get("DELTA_NN_FIGURES")  # where the figure is written, if anywhere

mu, delta, ridge = 1.0, 4.0, 0.05
n_steps = 20 if small else 80
fractions = (1.0, 0.2, 0.05)
sampling = dmft.Sampling(n_paths=512 if small else 8192, replicates=8, seed=0)
d, seeds = (200, 4) if small else (1000, 8)

problem = dmft.Problem(
    target=dmft.Target(classes="component"),
    network=dmft.Network("linear"),
    loss="logistic",
    weight_decay=ridge,
    inputs=dmft.GaussianMixture([0.5, 0.5], [[-mu], [mu]]),
)
colors = dict(zip(fractions, ("#0072B2", "#E69F00", "#D55E00"), strict=True))
bayes = float(ndtr(-mu))
minimiser = dmft.erm_limit(problem, delta)  # where full batches end

# %% [markdown]
# ## Theory and runs
#
# One solve for each share of the samples in a batch, and runs of the same inputs beside it.

# %%
theory, runs = {}, {}
for fraction in fractions:
    method = dmft.GradientDescent(step_size=0.5, n_steps=n_steps, batch_fraction=fraction)
    theory[fraction] = dmft.solve(problem, delta, method, sampling, hessian_steps=[])
    runs[fraction] = dmft.simulate(problem, delta, method, d=d, seeds=seeds)

# %% [markdown]
# The test error needs the order parameters only: it is the error of a linear classifier.

# %%
for found in theory.values():
    cosine = found.overlap[:, 0, 0] / np.sqrt(found.norm[:, 0, 0])
    assert np.allclose(found.test_error, ndtr(-mu * cosine), rtol=0, atol=1e-6)

# %% [markdown]
# ## The figure

# %%
with dmft.plotting.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.6), layout="constrained")
    for fraction in fractions:
        found, simulated = theory[fraction], runs[fraction]
        steps = np.arange(n_steps + 1)
        name = "full batch" if fraction == 1.0 else f"batches of {fraction:.0%}"
        for axes, quantity in ((left, "test_error"), (right, "train_loss")):
            axes.plot(steps, getattr(found, quantity), color=colors[fraction], label=name)
            chosen = slice(0, None, max(1, n_steps // 12))
            axes.errorbar(
                steps[chosen],
                simulated.mean[quantity][chosen],
                simulated.stderr[quantity][chosen],
                fmt="o",
                markersize=3,
                color=colors[fraction],
            )
    left.axhline(bayes, color="0.4", linestyle="--", label="Bayes error")
    left.axhline(minimiser.test_error, color="0.4", linestyle=":", label="minimiser of the risk")
    right.axhline(minimiser.train_loss, color="0.4", linestyle=":")
    left.set_xlabel("step")
    left.set_ylabel("test error")
    left.legend()
    right.set_xlabel("step")
    right.set_ylabel("train loss")
if figures:
    Path(figures).mkdir(parents=True, exist_ok=True)
    figure.savefig(Path(figures) / "gaussian-mixtures.png", dpi=160)

# %% [markdown]
# ## What it says
#
# Marks are runs. The error of mini-batches lies above that of full batches by the noise of their
# gradients, which the overlap does not feel and the norm does.

# %%
print(f"Bayes error                 {bayes:.4f}")
print(f"minimiser of the risk       {minimiser.test_error:.4f}")
for fraction in fractions:
    found, simulated = theory[fraction], runs[fraction]
    print(
        f"batches of {fraction:4.0%}, step {n_steps}:  theory {found.test_error[-1]:.4f} +- "
        f"{found.stderr['test_error'][-1]:.4f}, runs {simulated.mean['test_error'][-1]:.4f} +- "
        f"{simulated.stderr['test_error'][-1]:.4f}; above Bayes {found.test_error[-1] - bayes:.4f}"
    )
