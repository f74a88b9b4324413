"""The coordinate form with batches, momentum, schedules, second layer and biases, plainly in numpy.

Independent of ``dmft`` but for the numbers it is given: element-wise formulas are those of
``problems``, nothing is adapted, batched or remembered. With b^t in {0, 1} of mean p::

    gt^t     = (b^t / p) g^t = sum_{v<=t} Gamma(t, v) ghat^v
    q^t      = zeta^t - ghat^t / sqrt(delta)
    V        = beta V + (E[gt^t q^T], -Gamma(t, t) / sqrt(delta)) + lam B,         B -= eta_t V
    W        = beta W + E[(b^t / p) L' sigma(r + c)] + lam_a a,                    a -= eta^a_t W
    U        = beta U + E[gt^t] + lam_c c,                                         c -= eta^c_t U

with biases c, g and the output f those at r + c.

(Nesterov: what has just been added to V, plus beta V, in the place of V.) On spheres each row of B
is scaled back to the radius that it started with.

b^t is independent of what is known at step t, so E[gt^t q^T] = E[g^t q^T] and the same in W: the
averages may be taken with or without it.
"""

from __future__ import annotations

import numpy as np
import plain_paths
import problems


def run(
    case,
    labels,
    leading,
    fresh,
    masks,
    *,
    etas,
    layer_etas,
    momentum=0.0,
    nesterov=False,
    sphere=False,
    fraction=1.0,
    layer_decay=0.0,
    bias_etas=None,
    bias_decay=0.0,
    biases=None,
    orthogonalise=True,
    masked_averages=False,
):
    """Follow a `problems.Case` on the given random numbers, opening every direction.

    ``leading`` (k + m, N), ``fresh`` and ``masks`` step to (m, N) and to b^t (N,), ``etas`` and
    ``layer_etas`` (T,). Returns C(t, t), M(t), a(t), c(t), train loss, E[g g^T] and |grad Risk|^2
    of all samples, each with T + 1 steps first; and "inferred" (T,), |grad Risk|^2 from that of the
    batch.
    ``masked_averages``: whether averages that b^t drops out of are taken with it all the same.
    """
    value, slope = problems.ACTIVATIONS[case.activation][:2]
    loss, loss_slope = problems.LOSSES[case.loss][:2]
    k, m, n = case.k, len(case.second_layer), leading.shape[1]
    root = np.sqrt(case.delta)
    q = plain_paths._Rows(leading)
    ghat, basis = plain_paths._Rows(np.empty((0, n))), plain_paths._Rows(np.empty((0, n)))
    if orthogonalise:
        for row in (np.ones(n), *leading):
            basis.append_part_of(row.copy())
    a = np.array(case.second_layer, dtype=float)
    B = np.concatenate([np.zeros((m, k)), case.init_radius * np.eye(m)], axis=1)
    V, W, U = np.zeros_like(B), np.zeros(m), np.zeros(m)
    c = np.zeros(m) if biases is None else np.array(biases)
    bias_etas = np.zeros(len(etas)) if bias_etas is None else bias_etas
    easy = np.ones(k)
    easy[list(case.hard)] = 0.0
    out = {key: [] for key in ("C", "M", "a", "c", "train_loss", "G", "square", "inferred")}
    for t in range(len(etas) + 1):
        r = B @ q.rows + c[:, None]
        f = a @ value(r)
        g = a[:, None] * slope(r) * loss_slope(f, labels)
        full = np.concatenate([(g @ q.rows[:k].T) * easy, g @ q.rows[k:].T], axis=1) / n
        rest = g - (g @ ghat.rows.T / n) @ ghat.rows  # gradients of past batches are not all of it
        for key, entry in {
            "C": B @ B.T,
            "M": B[:, :k],
            "a": a,
            "c": c,
            "train_loss": loss(f, labels).mean(),
            "G": g @ g.T / n,
            "square": np.sum(full**2) + np.sum(rest**2) / n / case.delta,
        }.items():
            out[key].append(entry)
        if t == len(etas):
            break
        factor = masks(t) / fraction
        masked = g * factor
        chosen = masked if masked_averages else g
        gradient = chosen @ q.rows.T / n
        gradient[:, :k] *= easy
        counts = factor if masked_averages else np.ones(n)
        layer_gradient = (value(r) * loss_slope(f, labels)) @ counts / n
        bias_gradient = g @ counts / n
        gamma, first = np.zeros((m, m)), ghat.n
        for j in range(m):
            row = masked[j].copy()
            overlaps, size = ghat.remove_from(row)
            gamma[j, :j], gamma[j, j] = overlaps[first:], size
            ghat.append(row / size)
        zeta, new = fresh(t), ghat.rows[first:]
        if orthogonalise:
            for row in new:
                basis.append_part_of(row.copy())
            for row in zeta:
                row[:], _ = basis.append_part_of(row.copy())
        for x, normalised in zip(zeta, new, strict=True):
            q.append(x - normalised / root)
        noise = (1.0 / fraction - 1.0) * np.trace(out["G"][-1])
        out["inferred"].append(np.sum(gradient**2) + (np.sum(gamma**2) - noise) / case.delta)
        gradient = np.concatenate([gradient, -gamma / root], axis=1)
        B, V = (np.pad(x, ((0, 0), (0, m))) for x in (B, V))
        gradient = gradient + case.weight_decay * B
        layer_gradient = layer_gradient + layer_decay * a
        V, W = momentum * V + gradient, momentum * W + layer_gradient
        B = B - etas[t] * (gradient + momentum * V if nesterov else V)
        a = a - layer_etas[t] * (layer_gradient + momentum * W if nesterov else W)
        if sphere:
            B *= case.init_radius / np.linalg.norm(B, axis=1, keepdims=True)
        bias_gradient = bias_gradient + bias_decay * c
        U = momentum * U + bias_gradient
        c = c - bias_etas[t] * (bias_gradient + momentum * U if nesterov else U)
    return {key: np.array(values) for key, values in out.items()}
