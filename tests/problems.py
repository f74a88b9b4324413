"""Bank of named cases, with exact answers where there are any.

Own numpy formulas for activations, losses and labels: nothing is imported from the packages under
test, except lazily in ``Case.to_dmft``, which builds the same problem through the public names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import erf, expit, ndtr

# ------------------------------------------------------------------ elementary functions


def _phi(r):
    return np.exp(-0.5 * r * r) / np.sqrt(2.0 * np.pi)


def _sech2(r):
    return 1.0 - np.tanh(r) ** 2


#: name -> (value, first derivative, second derivative)
ACTIVATIONS = {
    "linear": (lambda r: 1.0 * r, np.ones_like, np.zeros_like),
    "quadratic": (lambda r: r * r, lambda r: 2.0 * r, lambda r: np.full_like(r, 2.0)),
    "gelu": (
        lambda r: r * ndtr(r),
        lambda r: ndtr(r) + r * _phi(r),
        lambda r: (2.0 - r * r) * _phi(r),
    ),
    "tanh": (np.tanh, _sech2, lambda r: -2.0 * np.tanh(r) * _sech2(r)),
    "erf": (
        erf,
        lambda r: 2.0 / np.sqrt(np.pi) * np.exp(-r * r),
        lambda r: -4.0 * r / np.sqrt(np.pi) * np.exp(-r * r),
    ),
    "softplus": (
        lambda r: np.logaddexp(0.0, r),
        expit,
        lambda r: expit(r) * expit(-r),
    ),
    "silu": (
        lambda r: r * expit(r),
        lambda r: expit(r) * (1.0 + r * expit(-r)),
        lambda r: expit(r) * expit(-r) * (2.0 + r * (expit(-r) - expit(r))),
    ),
}

#: name -> (value, first, second derivative in f), all functions of (f, y)
LOSSES = {
    "square": (
        lambda f, y: 0.5 * (f - y) ** 2,
        lambda f, y: f - y,
        lambda f, y: np.ones_like(f),
    ),
    "pseudo-huber": (
        lambda f, y: np.sqrt(1.0 + (f - y) ** 2) - 1.0,
        lambda f, y: (f - y) / np.sqrt(1.0 + (f - y) ** 2),
        lambda f, y: (1.0 + (f - y) ** 2) ** -1.5,
    ),
    "logistic": (
        lambda f, y: np.logaddexp(0.0, -y * f),
        lambda f, y: -y * expit(-y * f),
        lambda f, y: y * y * expit(y * f) * expit(-y * f),
    ),
}


# ------------------------------------------------------------------ labels of the cases below


def noisy_single_index(z, eps):
    """One easy direction: E[z | y] is not zero."""
    return np.tanh(1.5 * z[:, 0]) + 0.3 * (z[:, 0] ** 2 - 1.0) + 0.2 * eps


def easy_and_hard(z, eps):
    """z_1 easy, z_2 hard: the label is even in z_2."""
    return np.tanh(z[:, 0]) + np.tanh(z[:, 1] ** 2 - 1.0)


def staircase(z, eps):
    """z_1 easy at once, z_2 easy once z_1 is known."""
    return z[:, 0] + z[:, 0] * z[:, 1]


def phase_retrieval(z, eps):
    """One hard direction."""
    return z[:, 0] ** 2


def sign_of_sum(z, eps):
    """Binary labels; one easy direction."""
    return np.where(z[:, 0] + 0.3 * eps > 0.0, 1.0, -1.0)


@dataclass(frozen=True)
class Case:
    """A problem with its algorithm, in terms both of plain functions and of dmft's names."""

    name: str
    activation: str
    second_layer: tuple[float, ...]
    label: object
    k: int
    loss: str
    delta: float
    step_size: float
    n_steps: int
    hard: tuple[int, ...] = ()
    init_radius: float = 1.0
    weight_decay: float = 0.0

    @property
    def easy(self):
        return [j for j in range(self.k) if j not in self.hard]

    def settings(self, **changes):
        """Keyword arguments of ``finite_size.simulate`` and ``naive.response_form``."""
        return {
            "activation": ACTIVATIONS[self.activation],
            "loss": LOSSES[self.loss],
            "label": self.label,
            "k": self.k,
            "second_layer": self.second_layer,
            "delta": self.delta,
            "step_size": self.step_size,
            "n_steps": self.n_steps,
            "hard": self.hard,
            "init_radius": self.init_radius,
            "weight_decay": self.weight_decay,
        } | changes

    def to_dmft(self, **changes):
        """(problem, method) of dmft; hard directions are left for dmft to find."""
        import dmft

        problem = dmft.Problem(
            target=dmft.Target(label=self.label, k=self.k),
            network=dmft.Network(activation=self.activation, second_layer=list(self.second_layer)),
            loss=self.loss,
            init_radius=self.init_radius,
            weight_decay=self.weight_decay,
        )
        n_steps = changes.get("n_steps", self.n_steps)
        return problem, dmft.GradientDescent(step_size=self.step_size, n_steps=n_steps)


#: Cases with at least one easy direction, m = 1, 2, 3 (10 steps).
SINGLE = Case(
    "single-index, one neuron", "gelu", (1.5,), noisy_single_index, 1, "square",
    delta=3.0, step_size=0.4, n_steps=10,
)  # fmt: skip
PAIR = Case(
    "easy and hard, two neurons", "tanh", (1.0, -0.7), easy_and_hard, 2, "square",
    delta=4.0, step_size=0.5, n_steps=10, hard=(1,), weight_decay=0.05,
)  # fmt: skip
TRIPLE = Case(
    "staircase, three neurons", "softplus", (1.0, -1.0, 0.6), staircase, 2, "pseudo-huber",
    delta=5.0, step_size=0.8, n_steps=10,
)  # fmt: skip
#: Cases whose Hessian after 10 steps has a negative outlier in a hard direction.
RETRIEVAL = Case(
    "robust phase retrieval, one neuron", "gelu", (1.0,), phase_retrieval, 1, "pseudo-huber",
    delta=8.0, step_size=0.2, n_steps=10, hard=(0,),
)  # fmt: skip
RETRIEVAL_PAIR = Case(
    "easy and hard, two quadratic-like neurons", "gelu", (1.0, 0.8), easy_and_hard, 2,
    "pseudo-huber", delta=10.0, step_size=0.3, n_steps=10, hard=(1,),
)  # fmt: skip


# ------------------------------------------------------------------ linear network, exactly


def marchenko_pastur_nodes(delta: float, count: int = 400):
    """Nodes and weights (summing to one) for averages over the spectrum of X^T X / n, n = delta d.

    The density sqrt((b-x)(x-a)) / (2 pi gamma x), gamma = 1/delta, is integrated with x on a
    cosine grid, where the square-root edges become analytic; for delta < 1 the atom 1 - delta
    sits at 0.
    """
    gamma = 1.0 / delta
    low, high = (1.0 - np.sqrt(gamma)) ** 2, (1.0 + np.sqrt(gamma)) ** 2
    angle = np.arange(1, count + 1) * np.pi / (count + 1)
    x = 0.5 * (low + high) + 0.5 * (high - low) * np.cos(angle)
    w = (0.5 * (high - low) * np.sin(angle)) ** 2 * np.pi / (count + 1)
    w = w / (2.0 * np.pi * gamma * x)
    if delta < 1.0:
        x, w = np.append(x, 0.0), np.append(w, 1.0 - delta)
    return x, w


@dataclass(frozen=True)
class LinearNetwork:
    """Linear network, one neuron, a = 1, square loss, y = z + noise * eps: everything is exact.

    With S = X^T X / n and u_t = (1 - eta (S + lam))^t, v_t = (1 - u_t) / (S + lam),

        Theta^t = u_t Theta^0 + v_t (S theta_* + noise X^T eps / n),

    Theta^0 independent of the data, so every order parameter is an average over the
    Marchenko-Pastur law of S.
    """

    delta: float
    step_size: float
    weight_decay: float = 0.0
    noise: float = 0.0
    init_radius: float = 1.0

    def solve(self, n_steps: int) -> dict[str, np.ndarray]:
        """M, C, G, R, train_loss, test_loss at steps 0..n_steps, m = k = 1 axes dropped."""
        x, w = marchenko_pastur_nodes(self.delta)
        rho2, s2, eta = self.init_radius**2, self.noise**2, self.step_size
        steps = np.arange(n_steps + 1)
        rate = x + self.weight_decay
        u = (1.0 - eta * rate) ** steps[:, None]
        # v_t = eta (1 + q + ... + q^{t-1}), q = 1 - eta rate: finite also where rate = 0.
        v = np.zeros_like(u)
        v[1:] = eta * np.cumsum(u, axis=0)[:-1]
        miss = x * v - 1.0

        def pairs(p, q, weight):
            return (p * weight) @ q.T

        C = (
            rho2 * pairs(u, u, w)
            + pairs(x * v, x * v, w)
            + s2 / self.delta * pairs(v, v, x * w)
        )  # fmt: skip
        cross = pairs(v, np.ones_like(v), x * w)
        G = (
            rho2 * pairs(u, u, x * w)
            + pairs(miss, miss, x * w)
            + s2 * (1.0 + (pairs(v, v, x * x * w) - cross - cross.T) / self.delta)
        )
        M = (x * v) @ w
        R = np.zeros_like(C)
        for t in steps:
            for s in range(t):
                R[t, s] = eta * (u[t - 1 - s] @ w)
        return {
            "M": M,
            "C": C,
            "G": G,
            "R": R,
            "train_loss": 0.5 * np.diag(G),
            "test_loss": 0.5 * (1.0 - 2.0 * M + np.diag(C) + s2),
        }


#: M(t) at delta 3, lam 0.5, eta 0.1 from Theta^0 = 0 (and, by symmetry, from any radius).
LINEAR_OVERLAP = {1: 0.1, 2: 0.18166667, 5: 0.34979584, 10: 0.48846611, 50: 0.61244481}


# ------------------------------------------------------------------ delta_NN at step 0


def initial_threshold(activation: str, step: float = 0.02, cut: float = 12.0) -> float:
    """delta_NN at step 0 for one neuron, a = 1, rho = 1, pseudo-Huber loss, y = z^2.

    r and z are independent standard Gaussians. With B = 1/c, the left edge is the maximum over B
    of B E[D/(B+D)] - B/delta, attained where 1/delta = E[(D/(B+D))^2]; the hard outlier detaches
    when E[z^2 B D/(B+D)] equals the edge value. Eliminating delta leaves one equation in B,

        E[(z^2 - 1) B D/(B+D)] + B E[(D/(B+D))^2] = 0,

    valid while the edge is negative. Expectations by the trapezoidal rule, which converges faster
    than any power for a Gaussian weight.
    """
    nodes = np.arange(-cut, cut + 0.5 * step, step)
    density = step * _phi(nodes)
    positive = nodes >= -0.5 * step  # even in z
    z = nodes[positive]
    wz = density[positive] * np.where(np.abs(z) < 0.5 * step, 1.0, 2.0)
    r, wr = nodes[:, None], density[:, None]
    value, first, second = (function(r) for function in ACTIVATIONS[activation])
    f = np.broadcast_to(value, (len(nodes), len(z)))
    y = z**2
    D = LOSSES["pseudo-huber"][2](f, y) * first**2 + LOSSES["pseudo-huber"][1](f, y) * second
    weight = wr * wz

    def balance(B):
        ratio = D / (B + D)
        return np.sum(weight * ((y - 1.0) * B * ratio + B * ratio**2))

    lowest = -D.min()
    grid = lowest + np.geomspace(1e-3, 50.0, 60)
    signs = [balance(B) for B in grid]
    changes = [i for i in range(len(grid) - 1) if signs[i] * signs[i + 1] < 0.0]
    if len(changes) != 1:
        raise ArithmeticError(f"expected one crossing, found {len(changes)}")
    root = brentq(balance, grid[changes[0]], grid[changes[0] + 1], xtol=1e-13)
    ratio = D / (root + D)
    delta = 1.0 / np.sum(weight * ratio**2)
    edge = np.sum(weight * root * ratio) - root / delta
    if not edge < 0.0:
        raise ArithmeticError("the edge is not negative: the elimination does not apply")
    return float(delta)


#: Recomputed by ``initial_threshold`` (agrees under refinement to all digits given).
INITIAL_THRESHOLDS = {"quadratic": 0.923026284518, "gelu": 1.692756688659}
