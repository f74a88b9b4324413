"""Plain full-batch gradient descent on a two-layer network at finite dimension, in numpy.

Independent of ``dmft.simulate``: written only to check the theory. Inputs are standard Gaussian,
the latent directions are the first k coordinate axes (no loss of generality, the law is rotation
invariant), and each neuron starts uniformly on the sphere of radius ``init_radius``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh
from threadpoolctl import threadpool_limits


def simulate(
    activation,
    loss,
    label,
    k: int,
    second_layer: Sequence[float],
    delta: float,
    step_size: float,
    n_steps: int,
    d: int,
    seed: int,
    weight_decay: float = 0.0,
    init_radius: float = 1.0,
    hard: Sequence[int] = (),
    hessian_steps: Sequence[int] = (),
    largest: bool = False,
    n_test: int = 200_000,
) -> dict:
    """One run; keys ``C`` (T+1, T+1, m, m), ``M`` (T+1, m, k), ``G`` (T+1, T+1, m, m),
    ``train_loss``, ``test_loss`` (T+1,), and for each step in ``hessian_steps`` the keys
    ``smallest:t``, ``largest:t`` (extreme Hessian eigenvalues, weight decay included; the second
    where it is asked for) and ``overlap:t`` (squared norm of the lowest eigenvector on the hard
    directions).
    """
    rng = np.random.default_rng(seed)
    a = np.asarray(second_layer, dtype=float)
    m, n = len(a), round(delta * d)
    X = rng.standard_normal((n, d))
    y = label(X[:, :k], rng.standard_normal(n))
    theta = rng.standard_normal((d, m))
    theta *= init_radius / np.linalg.norm(theta, axis=0)
    weights, gradients = [], []
    train, test = np.zeros(n_steps + 1), np.zeros(n_steps + 1)
    out: dict = {}
    for t in range(n_steps + 1):
        r = X @ theta
        f = activation[0](r) @ a
        train[t] = loss[0](f, y).mean()
        test[t] = _test_loss(rng, n_test, activation, loss, label, k, a, theta)
        s1 = a * activation[1](r)
        g = loss[1](f, y)[:, None] * s1
        weights.append(theta)
        gradients.append(g)
        if t in hessian_steps:
            D = loss[2](f, y)[:, None, None] * s1[:, :, None] * s1[:, None, :]
            index = np.arange(m)
            D[:, index, index] += loss[1](f, y)[:, None] * a * activation[2](r)
            low, overlap = smallest_eigenvalue(X, D, hard)
            out[f"smallest:{t}"] = low + weight_decay
            out[f"overlap:{t}"] = overlap
            if largest:
                out[f"largest:{t}"] = largest_eigenvalue(X, D) + weight_decay
        if t < n_steps:
            theta = theta - step_size * (X.T @ g / n + weight_decay * theta)
    W, g = np.array(weights), np.array(gradients)
    out["C"] = np.einsum("tdi,sdj->tsij", W, W, optimize=True)
    out["M"] = W[:, :k].transpose(0, 2, 1)
    out["G"] = np.einsum("tni,snj->tsij", g, g, optimize=True) / n
    out["train_loss"], out["test_loss"] = train, test
    return out


def hessian_of(X, D):
    """(1/n) sum_i D_i (x) x_i x_i^T, matrix-free, and a vector to start from."""
    n, d = X.shape
    m = D.shape[1]

    def apply(v):
        response = np.einsum("nij,nj->ni", D, X @ v.reshape(d, m))
        return (X.T @ response / n).ravel()

    H = LinearOperator((d * m, d * m), matvec=apply, dtype=float)
    start = np.ones(d * m)
    start[: m * 4] += 10.0  # both the hard axes and the rest are present in the start vector
    return H, start


def smallest_eigenvalue(X, D, hard):
    """The smallest eigenvalue, and its squared overlap with the hard axes."""
    H, start = hessian_of(X, D)
    values, vectors = eigsh(H, k=1, which="SA", ncv=30, v0=start, tol=1e-7, maxiter=5000)
    lowest = vectors[:, 0].reshape(X.shape[1], -1)
    return values[0], np.sum(lowest[list(hard)] ** 2)


def largest_eigenvalue(X, D):
    """It sits at the edge, where digits are expensive and not needed."""
    H, start = hessian_of(X, D)
    return eigsh(H, k=1, which="LA", ncv=30, v0=start, tol=1e-4, return_eigenvectors=False)[0]


def _test_loss(rng, n, activation, loss, label, k, a, theta):
    """Mean loss over n fresh samples; (z, h) given theta is exactly Gaussian."""
    M = theta[:k].T
    root = np.linalg.cholesky(theta.T @ theta - M @ M.T + 1e-14 * np.eye(len(a)))
    z, eps = rng.standard_normal((n, k)), rng.standard_normal(n)
    r = z @ M.T + rng.standard_normal((n, len(a))) @ root.T
    return loss[0](activation[0](r) @ a, label(z, eps)).mean()


def ensemble(seeds: Sequence[int], **settings) -> dict[str, np.ndarray]:
    """All runs stacked along a first axis of length len(seeds)."""
    with threadpool_limits(1):  # many small products: threads only get in each other's way
        runs = [simulate(seed=seed, **settings) for seed in seeds]
    return {key: np.array([run[key] for run in runs]) for key in runs[0]}


def mean_and_error(runs: dict[str, np.ndarray]) -> tuple[dict, dict]:
    """Mean over seeds and its standard error, key by key."""
    count = len(next(iter(runs.values())))
    mean = {key: value.mean(axis=0) for key, value in runs.items()}
    error = {key: value.std(axis=0, ddof=1) / np.sqrt(count) for key, value in runs.items()}
    return mean, error
