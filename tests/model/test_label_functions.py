"""The catalogue of targets: values, and stated hard directions against those found."""

import numpy as np
import pytest

from dmft.model.hard_directions import hard_subspace
from dmft.model.label_functions import TARGETS, get_target_function
from dmft.model.target import Target

Z = np.array([[0.5, -2.0], [-1.0, 3.0], [2.0, 0.0]])
VALUES = {
    "phase-retrieval": [0.25, 1.0, 4.0],
    "modulus": [0.5, 1.0, 2.0],
    "linear": [0.5, -1.0, 2.0],
    "product": [-1.0, -3.0, 0.0],
    "staircase": [-0.5, -4.0, 2.0],
    "easy-hard": np.tanh([0.5, -1.0, 2.0]) + np.tanh([3.0, 8.0, -1.0]),
    "hermite3": [-1.375, 2.0, 2.0],
    "hermite4": [1.5625, -2.0, -5.0],
    "hermite3-squared": [1.890625, 4.0, 4.0],
    "tanh-hermite3": np.tanh([-1.5, 17.0, 2.0]),
}


@pytest.mark.parametrize("name", TARGETS)
def test_values(name):
    target = Target(name)
    y = target.sample_labels(Z[:, : target.k], np.full(3, 7.0))
    np.testing.assert_allclose(y, VALUES[name], rtol=1e-15)


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("name", TARGETS)
def test_stated_hard_directions_are_those_found(name, noise):
    stated = Target(name, noise=noise)
    found = hard_subspace(stated.sample_labels, stated.k)
    np.testing.assert_array_equal(stated.hard_basis, found)


def test_noise_is_added():
    eps = np.array([1.0, -1.0, 2.0])
    noisy = Target("product", noise=0.25).sample_labels(Z, eps)
    np.testing.assert_allclose(noisy - VALUES["product"], 0.25 * eps, rtol=1e-14)


def test_labels_do_not_alias_the_latent_coordinates():
    z = np.ones((4, 1))
    assert not np.shares_memory(Target("linear").sample_labels(z, np.zeros(4)), z)


def test_unknown_name():
    with pytest.raises(ValueError, match=r"got 'phase retreival' \(did you mean 'phase-retrieval'"):
        get_target_function("phase retreival")
