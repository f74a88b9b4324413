"""Thresholds at step 0 to many digits by mpmath, the referee of the fast path."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

import dmft
from dmft import Activation, Loss, Network, Problem, Target

METHOD = dmft.GradientDescent(0.2, 10)
PLAIN = Loss(lambda f, y: -f * y, lambda f, y: -y, lambda f, y: 0 * f, name="-fy")
RATIO = Loss(
    lambda f, y: f**2 / 2 * (1 - y) / (1 + y),
    lambda f, y: f * (1 - y) / (1 + y),
    lambda f, y: (1 - y) / (1 + y) + 0 * f,
)
CLIPPED_CUBE = Activation(
    lambda r: np.clip(r**3, -1, 1),
    lambda r: 3 * r**2 * (abs(r) < 1),
    lambda r: 6 * r * (abs(r) < 1),
)

SIGMOID = Activation(
    expit,
    lambda r: expit(r) * expit(-r),
    lambda r: expit(r) * expit(-r) * (expit(-r) - expit(r)),
)


def problem(label, activation="quadratic", loss="pseudo-huber", **more):
    target = Target(label) if callable(label) else label
    return Problem(target, Network(activation), loss, **more)


def classes(**more):
    return Target("phase-retrieval", classes="sign", threshold=1, **more)


def find(case, bracket, **more):
    return dmft.find_delta_nn(case, METHOD, bracket, step=0, scan_points=5, **more)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "bracket"),
    [
        (problem(lambda z, eps: np.minimum(z[:, 0] ** 2, 5), loss=PLAIN), (0.3, 3)),
        (problem(lambda z, eps: np.floor(np.minimum(z[:, 0] ** 2, 6)), loss=PLAIN), (0.1, 3)),
        (problem(lambda z, eps: np.tanh(5 * (z[:, 0] ** 2 - 1)), loss=PLAIN), (0.1, 8)),
        (problem(lambda z, eps: np.minimum(abs(abs(z[:, 0]) - 0.7), 1), loss=PLAIN), (0.3, 30)),
        (problem("phase-retrieval", "linear", RATIO), (0.3, 4)),
        (problem(lambda z, eps: np.where(abs(z[:, 0]) > 0.7, 1, -1), "gelu"), (1, 10)),
        (problem(lambda z, eps: np.minimum(z[:, 0] ** 2, 2), "gelu"), (1, 6)),
        (problem(classes(flip=0.1), loss="logistic"), (1, 4)),
        (problem("phase-retrieval", CLIPPED_CUBE), (2, 10)),
        (problem("phase-retrieval", "quadratic"), (0.3, 4)),
        (problem("phase-retrieval", "gelu", weight_decay=0.5), (0.5, 2)),
    ],
)
def test_the_fast_path_is_exact_where_it_says_so(case, bracket):
    fast = find(case, bracket)
    assert fast.status.ok
    assert fast.stderr == 0.0
    assert fast.digits == ""
    referee = find(case, bracket, digits=9)
    assert referee.status.ok
    assert fast.value == pytest.approx(referee.value, rel=3e-7)


@pytest.mark.slow
def test_values_known_otherwise():
    # -f y with one quadratic neuron: D = -2 min(z^2, 5), weights of one Gaussian.
    clipped = problem(lambda z, eps: np.minimum(z[:, 0] ** 2, 5), loss=PLAIN)
    found = find(clipped, (0.3, 3), digits=25)
    assert found.value == pytest.approx(0.721012, abs=5e-7)
    assert len(found.digits) == 27
    assert float(found.digits) == found.value == found.crossings[-1].value
    assert found.stderr == 0.0
    # The same root by scipy's adaptive quadrature.
    assert found.value == pytest.approx(_by_scipy(), rel=1e-10)
    # An edge held by the support of D: the threshold is 1 (theory of the kind of edge).
    assert find(problem("phase-retrieval", "linear", RATIO), (0.3, 4), digits=20).digits == (
        "1.0000000000000000000"
    )


def _by_scipy():
    from scipy.integrate import quad
    from scipy.optimize import brentq

    def mean(function):
        ends = [0.0, np.sqrt(5.0), 12.0]
        parts = (
            quad(lambda z: 2 * norm.pdf(z) * function(z), a, b, epsabs=1e-14, epsrel=1e-13)[0]
            for a, b in pairwise(ends)
        )
        return sum(parts)

    def u(z, B):
        D = -2.0 * min(z * z, 5.0)
        return D / (B + D)

    def root_of(B):
        return mean(lambda z: u(z, B) * (z * z - 1.0)) + mean(lambda z: u(z, B) ** 2)

    B = brentq(root_of, 10.2, 40.0, xtol=1e-13)
    return 1.0 / mean(lambda z: u(z, B) ** 2)


@pytest.mark.slow
def test_digits_survive_a_file(tmp_path):
    found = find(
        problem(lambda z, eps: np.minimum(z[:, 0] ** 2, 5), loss=PLAIN), (0.3, 3), digits=12
    )
    found.save(tmp_path / "threshold.npz")
    assert dmft.Threshold.load(tmp_path / "threshold.npz").digits == found.digits


@pytest.mark.parametrize(
    ("case", "more", "message"),
    [
        (problem("phase-retrieval"), {"digits": 0}, "digits must be"),
        (problem("phase-retrieval"), {"digits": 100}, "digits must be at most 40, got 100"),
        (problem("phase-retrieval"), {"digits": 9, "step": 1}, "step must be 0"),
        (Problem("phase-retrieval", Network("gelu", [1, 1])), {"digits": 9}, "one neuron"),
        (Problem("product"), {"digits": 9}, "one latent direction"),
        (Problem(Target("phase-retrieval", noise=0.1)), {"digits": 9}, "must have no noise"),
        (
            problem(lambda z, eps: np.asarray(z[:, 0], dtype=float) ** 2),
            {"digits": 20},
            "label must return mpmath numbers",
        ),
        (
            problem("phase-retrieval", SIGMOID),
            {"digits": 20},
            "activation: value must work on arrays of mpmath numbers",
        ),
    ],
)
def test_what_cannot_be_computed_to_many_digits_is_refused(case, more, message):
    with pytest.raises(ValueError, match=message):
        dmft.find_delta_nn(case, METHOD, (1, 4), **{"step": 0, **more})


def test_no_crossing_stays_no_crossing():
    found = find(problem("phase-retrieval"), (2, 4), digits=9)
    assert found.status is dmft.Status.NO_BRACKET
    assert found.digits == ""
