"""The catalogue of targets: values, and stated hard directions against those found."""

import pickle

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


def test_a_capped_square():
    target = Target({"name": "capped-square", "cap": 3})
    np.testing.assert_array_equal(target.sample_labels(Z[:, :1], np.zeros(3)), [0.25, 1.0, 3.0])
    np.testing.assert_array_equal(target.hard_basis, hard_subspace(target.sample_labels, 1))
    assert target.name == target.description == "capped-square(cap=3)"
    assert Target.from_config(target.to_config()) == target == pickle.loads(pickle.dumps(target))
    assert hash(target) == hash(Target({"cap": 3.0, "name": "capped-square"}))
    assert target != Target({"name": "capped-square", "cap": 4})
    noisy = Target({"name": "capped-square", "cap": 3}, noise=0.5, k=1)
    np.testing.assert_array_equal(noisy.sample_labels([[2.0]], np.ones(1)), [3.5])


def test_a_power_law():
    target = Target({"name": "power-law", "gamma": 0.5, "features": 2}, noise=0.5)
    y = target.sample_labels(Z, np.zeros(3))
    np.testing.assert_allclose(y, (Z**2 - 1.0) @ [1.0, 2.0**-0.5], rtol=1e-15)
    np.testing.assert_array_equal(target.hard_basis, hard_subspace(target.sample_labels, 2))
    assert Target.from_config(target.to_config()) == target == pickle.loads(pickle.dumps(target))
    assert Target({"name": "power-law", "gamma": 1.0, "features": 16}).hard_basis.shape == (16, 16)


def test_two_squares():
    target = Target({"name": "two-squares", "weight": 0.3})
    np.testing.assert_allclose(target.sample_labels(Z, np.zeros(3)), Z**2 @ [1.0, 0.3], rtol=1e-15)
    np.testing.assert_array_equal(target.hard_basis, hard_subspace(target.sample_labels, 2))
    assert Target.from_config(target.to_config()) == target == pickle.loads(pickle.dumps(target))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "two-squares", "weight": 0}, "weight must be a positive finite number, got 0"),
        ({"name": "power-law", "gamma": 1.0}, "must have a parameter features"),
        ({"name": "power-law", "gamma": 1.0, "features": 17}, "features must be an integer"),
        ({"name": "power-law", "gamma": -1.0, "features": 2}, "gamma must be a positive"),
        ("capped-square", "label 'capped-square' must have a parameter cap"),
        ({"name": "capped-square", "cap": 0}, "cap must be a positive finite number, got 0"),
        ({"name": "capped-square", "cap": np.inf}, "cap must be a positive finite number, got inf"),
        ({"name": "capped-square", "cup": 1}, r"must be one of 'cap'; got 'cup' \(did you mean"),
        ({"name": "linear", "cap": 1}, "label 'linear' has no parameters, got cap"),
        ({"cap": 1}, "label must be a catalogue name, or a table with the name"),
        ({"name": "capped"}, r"got 'capped' \(did you mean 'capped-square'\?\)"),
    ],
)
def test_one_line_for_what_is_no_label(given, message):
    with pytest.raises(ValueError, match=message):
        Target(given)


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
