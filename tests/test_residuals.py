"""New rows of the basis by numbers, written a visit later, against Gram-Schmidt on the paths."""

import numpy as np
import pytest

from dmft.paths import Paths
from dmft.residuals import Correction, InNumbers, OnPaths

N, DELTA = 512, 2.5


def split(rows, blocks):
    return [np.ascontiguousarray(piece) for piece in np.split(rows, blocks, axis=1)]


def grown(m, steps, *, later, seed=0, blocks=2, closeness=1.0, faint=0.0):
    """Paths fed with gradients that differ by ``closeness`` from combinations of their basis."""
    rng = np.random.default_rng(seed)
    paths = Paths(split(rng.standard_normal((2 + m, N)), blocks), faint=faint)
    found = []
    for _ in range(steps):
        weights = rng.standard_normal((m, paths.n_coordinates)) / 2
        r = np.concatenate([paths.combine(weights, b) for b in range(blocks)], axis=1)
        g = r + closeness * np.tanh(r) ** 2
        pieces = split(np.concatenate([g, rng.standard_normal((m, N))]), blocks)
        averages = paths.total(lambda b, pieces=pieces: paths.average(pieces[b], b))
        gram = paths.total(lambda b, pieces=pieces: pieces[b] @ pieces[b].T)
        gram = gram if later else None
        squares = np.mean(g**2, axis=1)
        found.append(paths.absorb(pieces, averages, squares, 1e-12, DELTA, gram=gram, images=False))
    return paths, found


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("faint", [0.0, 0.5])
def test_rows_written_later_are_those_written_at_once(m, faint):
    at_once, expected = grown(m, 6, later=False, faint=faint)
    later, found = grown(m, 6, later=True, faint=faint)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.gamma_past, theirs.gamma_past, atol=1e-11)
        np.testing.assert_allclose(ours.gamma_diagonal, theirs.gamma_diagonal, atol=1e-11)
        np.testing.assert_allclose(ours.correlation, theirs.correlation, atol=1e-11)
    assert later.n_rows == at_once.n_rows > 1 + 2 + m + 6
    for b in range(2):
        np.testing.assert_allclose(later.basis(b), at_once.basis(b), atol=1e-10)


@pytest.mark.parametrize("closeness", [1.0, 0.2])
def test_rows_written_later_are_orthonormal_to_rounding(closeness):
    paths, found = grown(2, 8, later=True, closeness=closeness)
    assert any(len(x.kept) for x in found)
    w = np.concatenate([paths.basis(b) for b in range(2)], axis=1)
    assert np.abs(w @ w.T / N - np.eye(len(w))).max() < 1e-14


def test_nothing_is_written_before_the_next_visit():
    paths, _ = grown(1, 3, later=True)
    n_stored = paths.state()["basis"][0].shape[0]
    assert n_stored == paths.n_rows - 2
    before = [block.copy() for block in paths.state()["basis"]]
    paths.finish()
    for block, stored in zip(before, paths.state()["basis"], strict=True):
        assert len(stored) == paths.n_rows
        # Rows there before stay what they are, but for corrections of the order of rounding.
        np.testing.assert_allclose(stored[:n_stored], block, atol=1e-11)


def test_a_state_with_unwritten_rows_goes_on_to_the_same_bits():
    paths, _ = grown(2, 5, later=True, closeness=0.2)
    state = paths.state()
    rng = np.random.default_rng(0)
    other = Paths(split(rng.standard_normal((4, N)), 2))
    copied = {**state, "basis": [block.copy() for block in state["basis"]]}
    other.restore(copied)
    for b in range(2):
        assert np.array_equal(other.basis(b), paths.basis(b))


def test_what_numbers_cannot_tell_is_done_on_the_paths():
    """A gradient all but in the span: its residual is rounding beside it."""
    rng = np.random.default_rng(1)
    paths = Paths(split(rng.standard_normal((3, N)), 2))
    g = np.concatenate([paths.combine(np.ones((1, 3)), b) for b in range(2)], axis=1)
    g += 1e-7 * rng.standard_normal((1, N))
    pieces = split(np.concatenate([g, rng.standard_normal((1, N))]), 2)
    averages = paths.total(lambda b: paths.average(pieces[b], b))
    gram = paths.total(lambda b: pieces[b] @ pieces[b].T)
    found = paths.absorb(
        pieces, averages, np.diagonal(gram)[:1], 1e-12, DELTA, gram=gram, images=False
    )
    assert len(found.kept) == 1
    assert paths.state()["basis"][0].shape[0] == paths.n_rows
    w = np.concatenate([paths.basis(b) for b in range(2)], axis=1)
    assert np.abs(w @ w.T / N - np.eye(len(w))).max() < 1e-8


def test_numbers_and_paths_take_the_same_steps():
    rng = np.random.default_rng(2)
    basis = np.empty((9, N))
    basis[:3] = np.sqrt(N) * np.linalg.qr(rng.standard_normal((N, 3)))[0].T
    rows = rng.standard_normal((4, N)) + rng.standard_normal((4, 3)) @ basis[:3]
    coefficients = rows @ basis[:3].T / N
    numbers = InNumbers(rows @ rows.T / N, coefficients)
    on_paths = OnPaths([rows - coefficients @ basis[:3]], [basis], 3)
    for j in range(4):
        for new in range(j):
            taken = numbers.take_off(j, new), on_paths.take_off(j, new)
            assert taken[0] == pytest.approx(taken[1], abs=1e-13)
        assert numbers.square(j) == pytest.approx(on_paths.square(j), rel=1e-12)
        assert numbers.leaves(4)[j] == pytest.approx(on_paths.square(j), rel=1e-12)
        norm = np.sqrt(numbers.square(j))
        numbers.append(j, norm)
        on_paths.append(j, norm)
    to_write = numbers.unwritten([rows], np.arange(2))
    written = to_write.from_rows @ rows + to_write.from_basis @ basis[:3]
    np.testing.assert_allclose(written, basis[3:7], atol=1e-12)
    assert to_write.checked.tolist() == [3, 4]


def test_a_correction_makes_rows_orthonormal_and_translates():
    rng = np.random.default_rng(3)
    w = np.sqrt(N) * np.linalg.qr(rng.standard_normal((N, 6)))[0].T
    doubtful = np.array([2, 4])
    w[doubtful] += 1e-6 * rng.standard_normal((2, N))
    correction = Correction.of(doubtful, w[doubtful] @ w.T / N)
    right = w.copy()
    right[doubtful] = correction.matrix @ w
    # What is left is the square of what was corrected.
    assert np.abs(right @ right.T / N - np.eye(6)).max() < 1e-10
    weights = rng.standard_normal((3, 6))
    np.testing.assert_allclose(correction.of_stored(weights) @ w, weights @ right, atol=1e-13)
    x = rng.standard_normal((2, N))
    np.testing.assert_allclose(correction.of_corrected(x @ w.T), x @ right.T, atol=1e-11)


def test_rows_that_numbers_call_dependent_leave_nothing():
    row = np.random.default_rng(4).standard_normal((1, N))
    rows = np.concatenate([row, row])
    assert InNumbers(rows @ rows.T / N, np.zeros((2, 0))).leaves(2).tolist() == [0.0, 0.0]
