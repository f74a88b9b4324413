"""Features of decreasing strength: hard outliers of runs against the thresholds of scaling laws."""

import numpy as np
import pytest

import dmft

K = 3


@pytest.mark.slow
def test_runs_have_as_many_outliers_as_thresholds_are_passed():
    """One neuron, d = 400, far from the thresholds: a negative outlier for each feature."""
    weights = np.arange(1.0, K + 1.0) ** -1.0
    label = dmft.Target(lambda z, eps: z**2 @ weights, K, noise=0.5, hard_directions=range(K))
    problem = dmft.Problem(label, dmft.Network("quadratic"), "pseudo-huber")
    method = dmft.GradientDescent(step_size=0.1, n_steps=6)
    law = dmft.scaling_law(
        problem, method, (1.0, 100.0), (1,), sampling=dmft.Sampling(512, 8), n_points=2**16
    )
    first, second, third = law.threshold[2]
    deltas = [0.5 * first, np.sqrt(first * second), np.sqrt(second * third), 2.0 * third]
    found = []
    for delta in deltas:
        runs = dmft.simulate(
            problem, float(delta), method, d=400, seeds=4, hold_hard=True, hessian_steps=[6],
            n_extreme=K, dense_limit=0, workers=1,
        )  # fmt: skip
        hessian = runs.hessian[6]
        outliers = (hessian.smallest < 0.0) & (hessian.overlaps > 0.15)
        found.append(outliers.sum(axis=1).mean())
    np.testing.assert_allclose(found, law.n_features(deltas)[2], atol=0.5)
