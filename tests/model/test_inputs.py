"""Laws of the inputs: moments, what is shared by a sample, configuration and bad arguments."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.model.inputs import LAWS, Inputs, get_inputs

D, N = 12, 60_000
SPECTRUM = (0.5, 1.0, 3.0)
#: One of each law, with its fourth moment per entry (None: not the same for all entries).
CASES = {
    "gaussian": (Inputs(), 3.0),
    "rademacher": (Inputs("rademacher"), 1.0),
    "uniform": (Inputs("uniform"), 9.0 / 5.0),
    # E t^4 / (E t^2)^2 = 3 (nu - 2) / (nu - 4)
    "student-t": (Inputs("student-t", degrees_of_freedom=12.0), 3.0 * 10.0 / 8.0),
    "covariance": (Inputs("covariance", spectrum=SPECTRUM), None),
    "mixture": (Inputs("mixture", separation=0.95), None),
}


def sample(inputs, n=N, d=D, seed=0):
    rng = np.random.default_rng(seed)
    return inputs.sampler(d, rng).fill(np.empty((n, d)), rng)


def moment_error(products):
    """Standard error of the mean of each column."""
    return products.std(axis=0) / np.sqrt(len(products))


@pytest.mark.parametrize("name", CASES)
def test_mean_and_covariance(name):
    inputs, _ = CASES[name]
    X = sample(inputs)
    variances = np.ones(D)
    if name == "covariance":
        variances = np.repeat(SPECTRUM, D // 3) / np.mean(SPECTRUM)
    assert np.sum(variances) == pytest.approx(D)
    assert np.all(np.abs(X.mean(axis=0)) < 4.5 * moment_error(X))
    rows, columns = np.triu_indices(D)
    products = X[:, rows] * X[:, columns]
    wanted = np.diag(variances)[rows, columns]
    assert np.all(np.abs(products.mean(axis=0) - wanted) < 4.5 * moment_error(products) + 1e-12)


@pytest.mark.parametrize("name", [name for name, (_, fourth) in CASES.items() if fourth])
def test_fourth_moment_tells_the_laws_apart(name):
    inputs, fourth = CASES[name]
    entries = sample(inputs).ravel() ** 4
    assert abs(entries.mean() - fourth) < 5.0 * moment_error(entries) + 1e-12


def test_rademacher_is_plus_or_minus_one():
    assert set(np.unique(sample(CASES["rademacher"][0], n=100))) == {-1.0, 1.0}


def test_mixture_has_two_clusters_along_one_direction():
    separation = 0.95
    inputs = Inputs("mixture", separation=separation)
    rng = np.random.default_rng(3)
    sampler = inputs.sampler(D, rng)
    X = sampler.fill(np.empty((N, D)), rng)
    direction = np.random.default_rng(3).standard_normal(D)
    direction /= np.linalg.norm(direction)
    along = X @ direction
    # Two Gaussians of variance 1 - s^2 at +-s: fourth moment s^4 + 6 s^2 v + 3 v^2.
    v = 1.0 - separation**2
    fourth = separation**4 + 6.0 * separation**2 * v + 3.0 * v**2
    assert abs(np.mean(along**4) - fourth) < 5.0 * moment_error(along**4)
    assert abs(np.mean(np.abs(along) < 0.3)) < 0.05  # the gap between the clusters
    across = X - np.outer(along, direction)
    other = across @ np.linalg.svd(direction[None, :])[2][1]
    assert abs(np.mean(other**4) - 3.0) < 5.0 * moment_error(other**4)
    # Fresh samples of the same sampler share the clusters.
    again = sampler.fill(np.empty((N, D)), rng)
    assert not np.array_equal(again, X)
    assert abs(np.mean((again @ direction) ** 4) - fourth) < 0.1


def test_mixture_without_separation_is_gaussian():
    X = sample(Inputs("mixture", separation=0.0))
    assert abs(np.mean(X**4) - 3.0) < 0.05


@pytest.mark.parametrize(("d", "counts"), [(6, [2, 2, 2]), (7, [3, 2, 2]), (8, [3, 3, 2])])
def test_spectrum_is_repeated_evenly(d, counts):
    X = sample(Inputs("covariance", spectrum=(1e-6, 1.0, 1e6)), n=2000, d=d)
    scales = np.log10(X.std(axis=0) ** 2)
    assert np.all(np.diff(scales) > -0.5)
    groups = np.round((scales - scales[-1]) / 6.0).astype(int)
    assert [np.sum(groups == g) for g in (-2, -1, 0)] == counts


@pytest.mark.parametrize("name", CASES)
def test_same_seed_same_bits_in_blocks_of_any_call(name):
    """Filling is deterministic; a wide sample crosses the border of the internal blocks."""
    inputs, _ = CASES[name]
    first, second = sample(inputs, n=700, d=500), sample(inputs, n=700, d=500)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, sample(inputs, n=700, d=500, seed=1))
    assert len(np.unique(first[:, 0])) > 1
    assert not np.array_equal(first[:300], first[300:600])


@pytest.mark.parametrize("name", CASES)
def test_configuration_round_trip(name):
    inputs, _ = CASES[name]
    assert get_inputs(inputs.to_config()) == inputs
    assert get_inputs(inputs) is inputs
    assert inputs.is_gaussian == (name == "gaussian")
    assert inputs.to_config()["law"] == name


def test_every_law_is_covered_here():
    assert set(CASES) == set(LAWS)


def test_defaults():
    assert Inputs("student-t").degrees_of_freedom == 5.0
    assert 0.0 < Inputs("mixture").separation < 1.0
    assert get_inputs("uniform") == Inputs("uniform")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: get_inputs("normal"), ["inputs", "'normal'", "'gaussian'"]),
        (lambda: get_inputs(3), ["inputs", "3", "'gaussian'"]),
        (lambda: get_inputs({"law": "uniform", "nu": 3}), ["'nu'", "degrees_of_freedom"]),
        (lambda: get_inputs({}), ["inputs", "'law'"]),
        (lambda: Inputs("uniform", degrees_of_freedom=3), ["degrees_of_freedom", "student-t"]),
        (lambda: Inputs("student-t", spectrum=[1.0]), ["spectrum", "covariance"]),
        (lambda: Inputs("student-t", degrees_of_freedom=2), ["degrees_of_freedom", "2"]),
        (lambda: Inputs("student-t", degrees_of_freedom=float("inf")), ["degrees_of_freedom"]),
        (lambda: Inputs("covariance"), ["spectrum", "covariance"]),
        (lambda: Inputs("covariance", spectrum=[1.0, 0.0]), ["spectrum", "positive"]),
        (lambda: Inputs("covariance", spectrum=[]), ["spectrum", "positive"]),
        (lambda: Inputs("covariance", spectrum=2.0), ["spectrum"]),
        (lambda: Inputs("mixture", separation=1.0), ["separation", "1"]),
        (lambda: Inputs("mixture", separation=-0.1), ["separation", "-0.1"]),
    ],
)
def test_bad_arguments_give_one_line(call, words):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        call()
    assert all(word in str(caught.value) for word in words), caught.value
