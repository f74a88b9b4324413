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
# a standard error. At the end of a cell every result shows a small table and its figure.

# %%
trajectory = dmft.solve(problem, delta=8.0, method=method, sampling=sampling)
trajectory

# %% [markdown]
# ## The Hessian at the last step
#
# Its bulk, and the outlier that points at the hard direction: `hard_overlap` is the squared norm of
# the projection of its eigenvector on that direction.

# %%
spectrum = dmft.spectrum(trajectory)
spectrum

# %% [markdown]
# ## Where it appears
#
# `gap` is negative where the outlier exists; delta_NN(t) is where it turns negative for good.

# %%
threshold = dmft.find_delta_nn(problem, method, bracket=(1, 12), sampling=sampling, scan_points=7)
print(threshold)

# %%
threshold.plot().figure

# %% [markdown]
# As a table, with errors (`to_xarray` has the rest, and dimensions by name):

# %%
threshold.to_dataframe()
