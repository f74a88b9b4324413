"""Brute-force twin of the solver: the response form of the DMFT, by plain Monte Carlo.

Nothing here is shared with ``dmft``. One Gaussian path per sample carries its pre-activations
``r``, gradients ``g`` and all tangents ``K(t, s) = d g^t / d w^s``; every expectation is a sample
mean. Equations, with ``w^t = M(t) z + h^t`` (Celentano, Cheng & Montanari, arXiv:2112.07572)::

    r^t      = w^t - (1/delta) sum_{s<t} R(t,s) g^s
    K(t,s)   = D^t ([t=s] I - (1/delta) sum_{s<=u<t} R(t,u) K(u,s)),      Q(t,s) = E K(t,s)
    M(t+1)   = (1 - eta lam) M(t) - eta E[g^t z^T]
    R(t+1,s) = (1 - eta lam) R(t,s) - eta sum_{s<u<=t} Q(t,u) R(u,s) + eta [s=t] I
    P(t+1)   = (1 - eta lam) P(t) - eta sum_{s<=t} Q(t,s) P(s),           P(0) = I

``P(t)`` is the weight of the initial condition. The weights of one generic input coordinate are
then ``P(t) theta^0 + M(t) theta_* + sum_s R(t,s) v^s`` with ``v`` Gaussian of covariance
``G(t,s)/delta``, so that ``h`` can be drawn factor by factor without ever factorising
``C - M M^T``, whose innovations vanish after a dozen steps. The covariance recursion

    C(t+1,p) = (1 - eta lam) C(t,p) - eta [ sum_{s<=t} Q(t,s) C(s,p) + Qz(t) M(p)^T
                                            - (1/delta) sum_{s<p} G(t,s) R(p,s)^T ]

with ``Qz(t) = E[g^t z^T] - sum_s Q(t,s) M(s)`` (integration by parts, so no derivative of the
label is needed) is evaluated as it stands and returned as ``C``; ``factor_mismatch`` is the largest
difference from the factor form, an identity check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Scalar = Callable[[np.ndarray], np.ndarray]
Pair = Callable[[np.ndarray, np.ndarray], np.ndarray]


def sample_gradient(r, y, a, activation, loss):
    """Gradient (N, m), curvature (N, m, m) and loss (N,) of each sample; r has shape (N, m)."""
    f = activation[0](r) @ a
    s1, s2 = a * activation[1](r), a * activation[2](r)
    first, second = loss[1](f, y), loss[2](f, y)
    D = second[:, None, None] * s1[:, :, None] * s1[:, None, :]
    index = np.arange(len(a))
    D[:, index, index] += first[:, None] * s2
    return first[:, None] * s1, D, loss[0](f, y)


def response_form(
    activation: Sequence[Scalar],
    loss: Sequence[Pair],
    label: Callable[[np.ndarray, np.ndarray], np.ndarray],
    k: int,
    second_layer: Sequence[float],
    delta: float,
    step_size: float,
    n_steps: int,
    n_paths: int,
    seed: int,
    weight_decay: float = 0.0,
    init_radius: float = 1.0,
    hard: Sequence[int] = (),
    onsager: float = 1.0,
) -> dict[str, np.ndarray]:
    """One Monte Carlo solution.

    ``activation`` and ``loss`` are triples (value, first, second derivative), the loss in (f, y)
    with derivatives in f. ``hard`` lists the latent coordinates whose overlap is set to zero.
    ``onsager`` multiplies the memory term of r; anything but 1 is wrong on purpose.
    """
    rng = np.random.default_rng(seed)
    a = np.asarray(second_layer, dtype=float)
    m, T, N, eta, lam = len(a), n_steps, n_paths, step_size, weight_decay
    memory = onsager / delta
    z, eps = rng.standard_normal((N, k)), rng.standard_normal(N)
    y = label(z, eps)
    identity = np.eye(m)
    C, G, Q, R = (np.zeros((T + 1, T + 1, m, m)) for _ in range(4))
    M, P, Ez = np.zeros((T + 1, m, k)), np.zeros((T + 1, m, m)), np.zeros((T + 1, m, k))
    train, test = np.zeros(T + 1), np.zeros(T + 1)
    C[0, 0], P[0] = init_radius**2 * identity, identity
    start = init_radius * rng.standard_normal((N, m))
    g: list[np.ndarray] = []
    v: list[np.ndarray] = []
    K: list[list[np.ndarray]] = []
    factor = np.zeros((0, 0))
    fresh: list[np.ndarray] = []
    mismatch = 0.0
    for t in range(T + 1):
        h = start @ P[t].T
        for s in range(t):
            h = h + v[s] @ R[t, s].T
        r = z @ M[t].T + h
        for s in range(t):
            r = r - memory * g[s] @ R[t, s].T
        gt, D, cost = sample_gradient(r, y, a, activation, loss)
        g.append(gt)
        train[t] = cost.mean()
        row = []
        for s in range(t + 1):
            inner = np.broadcast_to(identity if s == t else np.zeros((m, m)), (N, m, m))
            for u in range(s, t):
                inner = inner - memory * (R[t, u] @ K[u][s])
            row.append(D @ inner)
            Q[t, s] = row[-1].mean(axis=0)
            G[t, s] = gt.T @ g[s] / N
            G[s, t] = G[t, s].T
        K.append(row)
        Ez[t] = gt.T @ z / N
        Ez[t][:, list(hard)] = 0.0
        test[t] = _test_loss(rng, N, label, k, M[t], C[t, t], a, activation, loss)
        if t == T:
            break
        # The Gaussian force v^t: covariance G/delta, built from the Gram matrix of the paths.
        gram = G[: t + 1, : t + 1].transpose(0, 2, 1, 3).reshape((t + 1) * m, (t + 1) * m)
        factor = np.linalg.cholesky(gram + 1e-14 * np.trace(gram) * np.eye(len(gram)))
        fresh.append(rng.standard_normal((N, m)))
        v.append(np.hstack(fresh) @ factor[t * m :].T / np.sqrt(delta))
        # Order-parameter updates.
        decay = 1.0 - eta * lam
        M[t + 1] = decay * M[t] - eta * Ez[t]
        P[t + 1] = decay * P[t] - eta * sum(Q[t, s] @ P[s] for s in range(t + 1))
        for s in range(t + 1):
            R[t + 1, s] = decay * R[t, s] + (eta * identity if s == t else 0.0)
            for u in range(s + 1, t + 1):
                R[t + 1, s] -= eta * Q[t, u] @ R[u, s]
        Qz = Ez[t] - sum(Q[t, s] @ M[s] for s in range(t + 1))
        for p in range(t + 2):
            drift = Qz @ M[p].T
            for s in range(t + 1):
                drift = drift + Q[t, s] @ C[s, p]
            for s in range(p):
                drift = drift - G[t, s] @ R[p, s].T / delta
            C[t + 1, p] = decay * C[t, p] - eta * drift
            C[p, t + 1] = C[t + 1, p].T
        mismatch = max(mismatch, abs(_from_factors(M, P, R, G, delta, init_radius, t + 1)
                                     - C[t + 1, t + 1]).max())  # fmt: skip
    return {
        "C": C, "M": M, "G": G, "R": R, "Q": Q, "train_loss": train, "test_loss": test,
        "factor_mismatch": np.array(mismatch),
    }  # fmt: skip


def _from_factors(M, P, R, G, delta, radius, t):
    """C(t,t) = M M^T + rho^2 P P^T + (1/delta) sum R(t,s) G(s,s') R(t,s')^T."""
    out = M[t] @ M[t].T + radius**2 * P[t] @ P[t].T
    for s in range(t):
        for u in range(t):
            out = out + R[t, s] @ G[s, u] @ R[t, u].T / delta
    return out


def _test_loss(rng, n, label, k, M, C, a, activation, loss):
    """Loss on fresh samples (z', h') of covariance [[I, M^T], [M, C]]."""
    z, eps = rng.standard_normal((n, k)), rng.standard_normal(n)
    values, vectors = np.linalg.eigh(C - M @ M.T)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    r = z @ M.T + rng.standard_normal((n, len(a))) @ root.T
    return loss[0](activation[0](r) @ a, label(z, eps)).mean()


def average(runs: list[dict[str, np.ndarray]]) -> tuple[dict, dict]:
    """Mean over independent runs and the standard error of that mean, key by key."""
    mean = {key: np.mean([run[key] for run in runs], axis=0) for key in runs[0]}
    error = {
        key: np.std([run[key] for run in runs], axis=0, ddof=1) / np.sqrt(len(runs))
        for key in runs[0]
    }
    return mean, error
