"""The basis of the paths: exact sample identities of the coordinate form."""

import numpy as np
import pytest
from grown_paths import DELTA, N, coordinates, directions, grown

from dmft.solver.paths import Paths


@pytest.mark.parametrize("m", [1, 2, 3])
def test_gradients_are_orthonormal_and_reproduced_by_gamma(m):
    paths, fed = grown(m, 6)
    ghat = directions(paths)
    assert np.abs(ghat @ ghat.T / N - np.eye(len(ghat))).max() < 1e-13
    used = 0
    for g, _, found in fed:
        gamma = np.concatenate([found.gamma_past, found.gamma_diagonal], axis=1)
        used += len(found.kept)
        assert gamma.shape == (m, used)
        np.testing.assert_allclose(gamma @ ghat[:used], g, atol=1e-12)
        assert np.array_equal(found.gamma_diagonal, np.tril(found.gamma_diagonal))


@pytest.mark.parametrize("m", [1, 2, 3])
def test_correlations_with_the_coordinates_are_sample_averages(m):
    _, fed = grown(m, 5)
    for g, q, found in fed:
        np.testing.assert_allclose(found.correlation, g @ q.T / N, atol=1e-13)


@pytest.mark.parametrize("m", [1, 3])
def test_fresh_coordinates_remember_exactly_minus_ghat_over_sqrt_delta(m):
    paths, _ = grown(m, 5)
    q, ghat = coordinates(paths), directions(paths)
    zeta = q[2 + m :] + ghat / np.sqrt(DELTA)
    np.testing.assert_allclose(zeta @ zeta.T / N, np.eye(len(zeta)), atol=1e-13)
    leading = q[: 2 + m]
    assert np.abs(zeta @ leading.T / N).max() < 1e-13
    # zeta^t is orthogonal to every gradient up to and including step t, not to later ones.
    overlap = zeta @ ghat.T / N
    for t in range(5):
        assert np.abs(overlap[t * m : (t + 1) * m, : (t + 1) * m]).max() < 1e-13
    assert np.abs(overlap).max() > 1e-3


def test_blocks_change_nothing_but_rounding():
    whole, _ = grown(2, 5, blocks=1)
    split, _ = grown(2, 5, blocks=4)
    np.testing.assert_allclose(coordinates(split, 4), coordinates(whole), atol=1e-12)


def test_a_gradient_inside_the_span_adds_a_direction_but_no_basis_row():
    rng = np.random.default_rng(1)
    paths = Paths([rng.standard_normal((2, N))])
    g = paths.combine(np.array([[0.6, 0.8]]), 0)
    rows = [np.concatenate([g, rng.standard_normal((1, N))])]
    before = paths.basis.n_rows
    averages = paths.basis.average(lambda b: paths.basis.products(rows[b], b))
    paths.add_gradients(rows, averages, np.mean(g**2, axis=1), 1e-12, DELTA)
    assert paths.n_directions == 1
    assert paths.basis.n_rows == before + 1  # zeta only


def test_directions_below_the_tolerance_are_truncated_one_by_one():
    rng = np.random.default_rng(2)
    paths = Paths([rng.standard_normal((3, N))])
    strong = rng.standard_normal(N)
    g = np.stack([strong, strong + 1e-6 * rng.standard_normal(N)])
    rows = [np.concatenate([g, rng.standard_normal((2, N))])]
    averages = paths.basis.average(lambda b: paths.basis.products(rows[b], b))
    found = paths.add_gradients(rows, averages, np.mean(g**2, axis=1), 1e-4, DELTA)
    assert found.kept.tolist() == [0]
    assert found.truncated.tolist() == [False, True]
    assert found.gamma_diagonal.shape == (2, 1)
    assert paths.n_coordinates == 4


def test_the_basis_grows_beyond_its_capacity():
    rng = np.random.default_rng(3)
    paths = Paths([rng.standard_normal((1, N))], capacity=4)
    for _ in range(10):
        rows = [rng.standard_normal((2, N))]
        averages = paths.basis.average(lambda b: paths.basis.products(rows[b], b))  # noqa: B023
        paths.add_gradients(rows, averages, np.mean(rows[0][:1] ** 2, axis=1), 1e-12, DELTA)
    w = paths.basis.rows(0)
    assert np.abs(w @ w.T / N - np.eye(len(w))).max() < 1e-13


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("smallest", [1e-9, 1e-2])
def test_directional_pre_activations_are_those_of_the_gradient_on_every_path(m, smallest):
    """With every direction kept, and with some truncated; large rows stand for innovations."""
    paths, _ = grown(m, 3, seed=2)
    rng = np.random.default_rng(5)
    before = coordinates(paths)
    weights = rng.standard_normal((m, paths.n_coordinates))
    scales = np.array([1e-4, 3.0, 1.0])[-m:, np.newaxis]
    g = scales * (np.tanh(weights @ before) + (weights @ before) ** 2)
    rows = [np.concatenate([g, rng.standard_normal((m, N))])]
    averages = paths.basis.average(lambda b: paths.basis.products(rows[b], b))
    found = paths.add_gradients(
        rows, averages, np.mean(g**2, axis=1), smallest, DELTA, find_residuals=True
    )
    gradient = np.concatenate([found.correlation, -found.gamma_diagonal / np.sqrt(DELTA)], axis=1)
    np.testing.assert_allclose(found.directional[0], gradient @ coordinates(paths), atol=1e-12)
    assert len(found.kept) == (m if smallest < 1e-4 or m < 3 else 2)


def test_a_truncated_gradient_leaves_the_paths_untouched():
    rng = np.random.default_rng(5)
    paths = Paths([rng.standard_normal((3, N))])
    g = rng.standard_normal((1, N))
    rows = [np.concatenate([g, rng.standard_normal((1, N))])]
    averages = paths.basis.average(lambda b: paths.basis.products(rows[b], b))
    before = paths.basis.n_rows
    found = paths.add_gradients(rows, averages, np.mean(g**2, axis=1), 10.0, DELTA)
    assert len(found.kept) == 0
    assert found.truncated is None
    assert paths.basis.n_rows == before
    assert np.array_equal(rows[0][:1], g)
