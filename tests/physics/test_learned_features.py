"""Runs of finite d with the first of two features learned, against theory: the later feature."""

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, eigsh

import dmft

D, DELTA, STEP_SIZE, STEPS = 300, 12.0, 0.2, (0, 10)


def run(seed):
    """Overlap, squared norm, and the eigenvalue and overlap along z2, which is held at zero."""
    rng = np.random.default_rng(seed)
    n, found = int(DELTA * D), []
    x = rng.standard_normal((n, D))
    y = x[:, 0] ** 2 + 0.6 * x[:, 1] ** 2
    w = np.concatenate([[0.3, 0.0], rng.standard_normal(D - 2)])
    w[2:] *= np.sqrt(1 - 0.09) / np.linalg.norm(w[2:])
    for t in range(STEPS[-1] + 1):
        r = x @ w
        u = r**2 - y
        slope, bend = u / np.sqrt(1 + u**2), (1 + u**2) ** -1.5
        if t in STEPS:
            weights = 2 * slope + 4 * bend * r**2
            hessian = LinearOperator(
                (D, D), lambda v, k=weights: x.T @ (k * (x @ v)) / n, dtype=float
            )
            values, vectors = eigsh(hessian, 6, which="SA")
            j = int(np.argmax(vectors[1] ** 2))
            found.append((w[0], w @ w, values[j], vectors[1, j] ** 2))
        gradient = x.T @ (2 * slope * r) / n
        gradient[1] = 0.0
        w = w - STEP_SIZE * gradient
    return found


@pytest.mark.slow
def test_later_feature_once_the_first_is_learned():
    """Its eigenvalue and overlap before and after the first feature has grown from .3 to .9."""
    label = dmft.Target(lambda z, eps: z[:, 0] ** 2 + 0.6 * z[:, 1] ** 2, k=2)
    problem = dmft.Problem(
        label, dmft.Network("quadratic"), "pseudo-huber", initial_overlap=[[0.3, 0.0]]
    )
    method = dmft.GradientDescent(STEP_SIZE, STEPS[-1])
    theory = dmft.solve(problem, DELTA, method, dmft.Sampling(4096, 8), hessian_steps=STEPS)
    runs = np.array([run(seed) for seed in range(8)])
    mean, error = runs.mean(axis=0), runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    for row, step in enumerate(STEPS):
        [outlier] = [o for o in theory.hessian(step).outliers("hard") if o.side == "left"]
        expected = [
            theory.overlap[step, 0, 0], theory.norm[step, 0, 0], outlier.value, outlier.hard_overlap
        ]  # fmt: skip
        assert np.all(np.abs(mean[row] - expected) < 3 * error[row] + 10 / D), step
    assert theory.overlap[-1, 0, 0] > 0.8
