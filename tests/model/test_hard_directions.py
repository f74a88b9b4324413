"""Hard directions found numerically, against cases worked out by hand."""

import math

import numpy as np
import pytest

from dmft.model import hard_directions
from dmft.model.hard_directions import hard_subspace
from dmft.model.label_scores import label_scores
from dmft.model.target import Target

COS, SIN = math.cos(0.7), math.sin(0.7)
# A rotated latent frame without any special angle.
FRAME = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]


def columns(*indices, k):
    return np.eye(k)[:, list(indices)]


# (k, label, indices of the hard coordinates)
AXIS_CASES = {
    # Even in z: nothing odd can be said of z from y.
    "square": (1, lambda z: z[:, 0] ** 2, [0]),
    "modulus": (1, lambda z: np.abs(z[:, 0]), [0]),
    "exponential of a square": (1, lambda z: np.exp(z[:, 0] ** 2), [0]),
    "He4": (1, lambda z: z[:, 0] ** 4 - 6 * z[:, 0] ** 2 + 3, [0]),
    # E[y z] = 0, and still easy: E[z | y] is not zero. Generative exponent 1.
    "He3": (1, lambda z: z[:, 0] ** 3 - 3 * z[:, 0], []),
    "He5": (1, lambda z: z[:, 0] ** 5 - 10 * z[:, 0] ** 3 + 15 * z[:, 0], []),
    "linear": (1, lambda z: z[:, 0], []),
    "heavy tails": (1, lambda z: 1.0 / z[:, 0], []),
    "sign": (1, lambda z: np.sign(z[:, 0]), []),
    # Symmetric under (z1, z2) -> (-z1, -z2), so E[z | y] = 0.
    "product": (2, lambda z: z[:, 0] * z[:, 1], [0, 1]),
    "product of functions": (2, lambda z: 2 * np.tanh(z[:, 0]) * np.sign(z[:, 1]), [0, 1]),
    "exclusive or": (2, lambda z: np.sign(z[:, 0] * z[:, 1]), [0, 1]),
    # z1 - z2 does not enter: irrelevant counts as hard.
    "square of a sum": (2, lambda z: (z[:, 0] + z[:, 1]) ** 2, [0, 1]),
    "sign of one of two": (2, lambda z: np.sign(z[:, 0]), [1]),
    "easy and hard": (2, lambda z: z[:, 1] + z[:, 0] ** 2, [0]),
    "easy, hard, irrelevant": (3, lambda z: z[:, 1] + z[:, 0] ** 2, [0, 2]),
    # Staircases: each direction found reveals the next.
    "staircase": (2, lambda z: z[:, 0] * (1 + z[:, 1]), []),
    "staircase of three": (3, lambda z: z[:, 0] * (1 + z[:, 1] * (1 + z[:, 2])), []),
    "staircase of four": (4, lambda z: z[:, 0] * (1 + z[:, 1] * (1 + z[:, 2] * (1 + z[:, 3]))), []),
    "rotated staircase": (2, lambda z: (z[:, 0] + z[:, 1]) * (1 + z[:, 0] - z[:, 1]), []),
    "missing stair": (3, lambda z: z[:, 0] + z[:, 1] * z[:, 2], [1, 2]),
    "sign of a missing stair": (3, lambda z: np.sign(z[:, 0] + z[:, 1] * z[:, 2]), [1, 2]),
    "parity": (3, lambda z: np.sign(z[:, 0] * z[:, 1] * z[:, 2]), [0, 1, 2]),
    "constant": (2, lambda z: np.ones(len(z)), [0, 1]),
    # The same label in two ways of rounding: no information.
    "constant up to rounding": (
        2,
        lambda z: np.sin(z[:, 0]) ** 2 + np.cos(z[:, 0]) ** 2 + 1e-16 * z[:, 1],
        [0, 1],
    ),
}


@pytest.mark.parametrize("name", AXIS_CASES)
def test_coordinate_directions_come_out_exactly(name):
    k, label, hard = AXIS_CASES[name]
    found = hard_subspace(lambda z, eps: label(z), k, uses_noise=False)
    np.testing.assert_array_equal(found, columns(*hard, k=k))


@pytest.mark.parametrize(
    "name", ["square", "linear", "He3", "product", "easy and hard", "staircase", "missing stair"]
)
def test_noise_does_not_change_the_answer(name):
    k, label, hard = AXIS_CASES[name]
    found = hard_subspace(lambda z, eps: label(z) + 0.5 * eps, k)
    np.testing.assert_array_equal(found, columns(*hard, k=k))


def test_multiplicative_noise_and_pure_noise():
    # The sign of eps is all the noise there is, and it makes z hard.
    assert hard_subspace(lambda z, eps: z[:, 0] * np.sign(eps), 1).shape == (1, 1)
    assert hard_subspace(lambda z, eps: z[:, 0] * (2 + np.sign(eps)), 1).shape == (1, 0)
    np.testing.assert_array_equal(hard_subspace(lambda z, eps: eps, 2), np.eye(2))


@pytest.mark.slow
def test_diagonal_directions_are_exact_to_rounding():
    found = hard_subspace(lambda z, eps: z[:, 0] + z[:, 1], 2)
    np.testing.assert_allclose(found, np.array([[1.0], [-1.0]]) / math.sqrt(2), rtol=1e-15)
    found = hard_subspace(lambda z, eps: np.tanh(z[:, 0] + 2 * z[:, 1]) + 0.2 * eps, 2)
    np.testing.assert_allclose(found, np.array([[2.0], [-1.0]]) / math.sqrt(5), rtol=1e-15)
    # Only z1 + z2 + z3 enters, of four coordinates: the fourth axis stays exact.
    found = hard_subspace(lambda z, eps: z[:, :3].sum(axis=1), 4)
    np.testing.assert_allclose(found.T @ [1.0, 1.0, 1.0, 0.0], 0.0, atol=1e-15)
    np.testing.assert_array_equal(found[3], [0.0, 0.0, 1.0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "hard"),
    [
        (lambda u, eps: np.tanh(u[0]), [1, 2]),
        (lambda u, eps: np.tanh(u[0]) + u[1] ** 2, [1, 2]),
        (lambda u, eps: u[0] + u[1] * u[2], [1, 2]),
        (lambda u, eps: u[0] + u[0] * u[1] + u[2] ** 2, [2]),
        (lambda u, eps: u[0] + u[0] * u[1] + u[2] ** 2 + 0.3 * eps, [2]),
        (lambda u, eps: u[0] ** 2 - u[1] ** 2 + u[1] * u[2], [0, 1, 2]),
    ],
)
def test_rotated_labels_are_resolved_to_many_digits(label, hard):
    found = hard_subspace(lambda z, eps: label((z @ FRAME).T, eps), 3)
    expected = FRAME[:, hard]
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-8)
    np.testing.assert_allclose(found.T @ found, np.eye(len(hard)), atol=1e-14)


def test_rotated_discrete_labels():
    # Two label values tell less of the angle: one point in N misplaced is 1e-5.
    found = hard_subspace(lambda z, eps: np.sign(COS * z[:, 0] + SIN * z[:, 1]), 2)
    np.testing.assert_allclose(np.abs(found.T @ [COS, SIN]), 0.0, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_the_seed_does_not_matter_to_the_answer(seed):
    label = lambda z, eps: np.tanh(z[:, 0]) + np.tanh(z[:, 1] ** 2 - 1)  # noqa: E731
    np.testing.assert_array_equal(hard_subspace(label, 2, seed=seed), [[0.0], [1.0]])


def test_same_seed_same_bits():
    label = lambda z, eps: COS * z[:, 0] + SIN * z[:, 1] + 0.1 * eps  # noqa: E731
    np.testing.assert_array_equal(hard_subspace(label, 2), hard_subspace(label, 2))


def explained(label, k=1, seed=0):
    points, eps = hard_directions._points(k, True, seed)
    scores = label_scores(label, points, eps, np.eye(k))
    flat = points.reshape(len(points), -1, k)
    return hard_directions._explained(hard_directions._moments(flat[..., :0], flat, scores))


def test_explained_variance_and_its_error_are_honest():
    # y = z + s eps explains 1/(1 + s^2) of the variance of z.
    pulls = []
    for seed in range(20):
        values, _, errors = explained(lambda z, eps: z[:, 0] + 1.5 * eps, seed=seed)
        assert errors[0] < 3e-3
        pulls.append((values[0] - 1 / 3.25) / errors[0])
    assert abs(np.mean(pulls)) < 4 / math.sqrt(20)
    assert 0.6 < np.std(pulls) < 1.6


def test_small_explained_variance_is_resolved():
    # y = z^2 + b z: E[z | y] = (b/2)(z^2 - 1) to first order in b, of variance b^2/2.
    values, _, errors = explained(lambda z, eps: z[:, 0] ** 2 + 0.01 * z[:, 0])
    assert values[0] == pytest.approx(0.01**2 / 2, rel=0.05)
    assert errors[0] < 1e-6


@pytest.mark.parametrize(
    "label",
    [
        lambda z, eps: z[:, 0] ** 2 + 0.01 * z[:, 0],  # significant, but far below the tolerance
        lambda z, eps: z[:, 0] ** 2 + 0.06 * z[:, 0],  # about at it
    ],
)
def test_unclear_cases_are_refused_and_can_be_stated(label):
    with pytest.raises(ValueError, match=r"hard_directions must be stated .* tolerance 0.001"):
        hard_subspace(label, 1)
    with pytest.raises(ValueError, match="hard_directions must be stated"):
        _ = Target(label).hard_basis
    assert Target(label, hard_directions=[]).hard_basis.shape == (1, 0)
    # With another idea of what is small the answer is clear.
    assert hard_subspace(label, 1, tolerance=1e-6).shape == (1, 0)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"k must be at most 16 .* got 17; state hard_directions"):
        hard_subspace(lambda z, eps: z[:, 0], 17)
    with pytest.raises(ValueError, match="tolerance must be a positive finite number, got 0"):
        hard_subspace(lambda z, eps: z[:, 0], 1, tolerance=0.0)
    with pytest.raises(ValueError, match=r"label must return an array of shape .*got shape \(\)"):
        hard_subspace(lambda z, eps: 1.0, 1)
    with pytest.raises(ValueError, match="label returned non-finite values for 131072 of 131072"):
        hard_subspace(lambda z, eps: np.full(len(z), np.nan), 1)
