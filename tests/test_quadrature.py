"""Quadrature over a few Gaussians against closed forms, kinks included."""

import numpy as np
import pytest

from dmft.quadrature import MAX_TENSOR_DIMENSION, gaussian_nodes, normal_rule

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
