"""Features of a label: groups of hard directions in which it is even by itself."""

import numpy as np
import pytest

import dmft
from dmft.model.features import reflected, separate_features
from dmft.model.held_directions import made_easy_by


def columns(target):
    return [sorted(np.flatnonzero(np.abs(basis).max(axis=1)).tolist()) for basis in
            separate_features(target)]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "k", "expected"),
    [
        (lambda z, eps: z[:, 0] ** 2 + z[:, 1] ** 2, 2, [[0], [1]]),
        (lambda z, eps: z[:, 0] * z[:, 1] + z[:, 2] ** 2, 3, [[2], [0, 1]]),
        (lambda z, eps: np.tanh(z[:, 0]) + z[:, 1] ** 2, 2, [[1]]),  # z1 is easy
        (lambda z, eps: (z[:, 0] * z[:, 1] + eps) ** 2, 2, [[0, 1]]),  # noise keeps its sign
        (lambda z, eps: (z[:, 0] + z[:, 1]) ** 2 + 3 * (z[:, 0] - z[:, 1]) ** 2, 2, [[0, 1]]),
    ],
)
def test_the_smallest_groups(label, k, expected):
    assert columns(dmft.Target(label, k=k)) == expected


def test_inputs_must_be_even_too():
    """Clusters at z2 = 1 and -1 are mirror images of themselves in z1 alone."""
    target = dmft.Target(lambda z, eps: z[:, 0] ** 2 + z[:, 1] ** 2, k=2, hard_directions=[0, 1])
    mixture = dmft.GaussianMixture([0.5, 0.5], [[0.0, 1.0], [0.0, -1.0]])
    problem = dmft.Problem(target, dmft.Network("gelu"), "pseudo-huber", inputs=mixture)
    assert columns(problem.target) == [[0]]


def test_reflections_change_the_signs_of_a_feature_alone():
    z = np.random.default_rng(0).standard_normal((3, 5))
    np.testing.assert_allclose(reflected(z, np.eye(3)[:, 1:]), [z[0], -z[1], -z[2]], atol=1e-15)


def test_staircases():
    """z1 makes z2 easy and z2 makes z1 easy; z3^2 neither makes nor is made easy."""
    label = dmft.Target(lambda z, eps: z[:, 0] ** 2 + z[:, 0] * z[:, 1] + z[:, 2] ** 2, k=3)
    np.testing.assert_array_equal(made_easy_by(label), [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    # z1 z2 + z1 z2 z3 z4: only together do the first two tell of the others.
    four = dmft.Target(lambda z, eps: z[:, 0] * z[:, 1] * (1 + z[:, 2] * z[:, 3]), k=4)
    np.testing.assert_array_equal(made_easy_by(four)[:2, :2], [[0, 1], [1, 0]])
