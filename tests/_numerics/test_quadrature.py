"""Quadrature over a few Gaussians against closed forms, kinks included."""

import numpy as np
import pytest
from scipy.stats import norm

from dmft._numerics.kinks import axis_breaks
from dmft._numerics.quadrature import MAX_TENSOR_DIMENSION, gaussian_nodes, normal_rule

EXACT = [
    (lambda x: x**4, 3.0),
    (lambda x: x**6, 15.0),
    (lambda x: np.cos(3 * x), np.exp(-4.5)),
    (np.abs, np.sqrt(2 / np.pi)),
    (lambda x: np.sign(x) * x**3, 4 / np.sqrt(2 * np.pi)),
    (lambda x: np.exp(0.5 * x), np.exp(0.125)),
]


@pytest.mark.parametrize(
    ("name", "accuracy"), [("fine", 1e-12), ("medium", 1e-10), ("coarse", 1e-6)]
)
def test_normal_rule_integrates_smooth_and_kinked_functions(name, accuracy):
    x, w = normal_rule(name)
    for function, exact in EXACT:
        assert abs(np.sum(w * function(x)) - exact) < accuracy * max(1.0, abs(exact))


@pytest.mark.parametrize("dimension", range(1, MAX_TENSOR_DIMENSION + 1))
def test_tensor_rule_factorises(dimension):
    x, w = gaussian_nodes(dimension)
    assert x.shape == (dimension, len(w))
    assert abs(w.sum() - 1) < 1e-12
    value = np.sum(w * np.prod(np.abs(x), axis=0))
    assert abs(value - (2 / np.pi) ** (dimension / 2)) < 1e-6


def test_dimension_out_of_range():
    with pytest.raises(ValueError, match="dimension must be in 1"):
        gaussian_nodes(MAX_TENSOR_DIMENSION + 1)


@pytest.mark.parametrize(
    ("function", "exact"),
    [
        (lambda z: np.minimum(z**2, 5.0), 0.954939449090608),
        (lambda z: np.exp(-1000.0 * (z - 1.0) ** 2), None),
        (lambda z: np.exp(-1e5 * (z - 0.7) ** 2), None),
        (lambda z: np.sign(z - 0.7), 1.0 - 2.0 * norm.cdf(0.7)),
        (lambda z: np.floor(z), -0.5),
        (lambda z: np.tanh(50.0 * z - 10.0), None),
        (lambda z: np.sqrt(np.abs(z - 0.3)), None),
        (lambda z: np.abs(np.abs(z) - 0.123456), None),
    ],
)
def test_breaks_make_kinks_and_sharp_features_exact(function, exact):
    (ends, none) = axis_breaks(lambda q: function(q[:1]) * (1.0 + q[1:] ** 2), 2)
    assert none == ()
    averages = []
    for name in ("fine", "fine-shifted"):
        x, w = normal_rule(name, ends)
        averages.append(w @ function(x))
    assert averages[0] == pytest.approx(averages[1], rel=1e-9)
    if exact is not None:
        assert averages[0] == pytest.approx(exact, abs=1e-9)


def test_functions_the_rule_resolves_need_no_breaks():
    assert axis_breaks(lambda q: np.tanh(q[:1] ** 2 - 1.0) + np.abs(q[1:]), 2) == ((), ())
    assert axis_breaks(lambda q: np.abs(q), 1, ((0.5,),)) == ((0.5,),)
    assert axis_breaks(lambda q: np.cos(400.0 * q), 1) is None
    with pytest.raises(ValueError, match="at most 3000000 nodes"):
        gaussian_nodes(3, "fine", ((), (), ()))
