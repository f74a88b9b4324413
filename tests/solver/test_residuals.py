"""Rows found in Gram space and written a pass later, against explicit Gram-Schmidt."""

import copy

import numpy as np
import pytest
from small import RETRIEVAL as PROBLEM

import dmft
import dmft.solver.paths
from dmft._numerics import kernels
from dmft._numerics.aligned import PADDING, padded_rows
from dmft.model.gradients import compiled_law
from dmft.solver.orthogonality import WellDeterminedRows
from dmft.solver.paths import Paths
from dmft.solver.process import Process
from dmft.solver.residuals import (
    ExplicitResiduals,
    GramResiduals,
    PendingRows,
    Reorthogonalisation,
)
from dmft.solver.streams import GaussianStream
from rmt.status import Status

N, DELTA = 512, 2.5


def split(rows, blocks):
    return [np.ascontiguousarray(piece) for piece in np.split(rows, blocks, axis=1)]


def grown(m, steps, *, later, seed=0, blocks=2, closeness=1.0, threshold=0.0):
    """Paths fed with gradients that differ by ``closeness`` from combinations of their basis."""
    rng = np.random.default_rng(seed)
    paths = Paths(
        split(rng.standard_normal((2 + m, N)), blocks),
        capacity=128,
        orthogonality=WellDeterminedRows(threshold),
    )
    found = []
    for _ in range(steps):
        weights = rng.standard_normal((m, paths.n_coordinates)) / 2
        r = np.concatenate([paths.combine(weights, b) for b in range(blocks)], axis=1)
        g = r + closeness * np.tanh(r) ** 2
        pieces = split(np.concatenate([g, rng.standard_normal((m, N))]), blocks)
        averages = paths.basis.average(lambda b, pieces=pieces: paths.basis.products(pieces[b], b))
        gram = paths.basis.average(lambda b, pieces=pieces: pieces[b] @ pieces[b].T)
        gram = gram if later else None
        squares = np.mean(g**2, axis=1)
        found.append(
            paths.add_gradients(
                pieces, averages, squares, 1e-12, DELTA, gram=gram, directional=False
            )
        )
    return paths, found


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_rows_written_later_are_those_written_at_once(m, threshold):
    at_once, expected = grown(m, 6, later=False, threshold=threshold)
    later, found = grown(m, 6, later=True, threshold=threshold)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.gamma_past, theirs.gamma_past, atol=1e-11)
        np.testing.assert_allclose(ours.gamma_diagonal, theirs.gamma_diagonal, atol=1e-11)
        np.testing.assert_allclose(ours.correlation, theirs.correlation, atol=1e-11)
    assert later.basis.n_rows == at_once.basis.n_rows > 1 + 2 + m + 6
    for b in range(2):
        np.testing.assert_allclose(later.basis.rows(b), at_once.basis.rows(b), atol=1e-10)


@pytest.mark.parametrize("closeness", [1.0, 0.2])
def test_rows_written_later_are_orthonormal_to_rounding(closeness):
    paths, found = grown(2, 8, later=True, closeness=closeness)
    assert any(len(x.kept) for x in found)
    w = np.concatenate([paths.basis.rows(b) for b in range(2)], axis=1)
    assert np.abs(w @ w.T / N - np.eye(len(w))).max() < 1e-14


def test_nothing_is_written_before_the_next_pass():
    paths, _ = grown(1, 3, later=True)
    n_stored = paths.state()["basis"]["rows"][0].shape[0]
    assert n_stored == paths.basis.n_rows - 2
    before = [block.copy() for block in paths.state()["basis"]["rows"]]
    paths.basis.write_pending()
    for block, stored in zip(before, paths.state()["basis"]["rows"], strict=True):
        assert len(stored) == paths.basis.n_rows
        # Rows there before stay what they are, but for corrections of the order of rounding.
        np.testing.assert_allclose(stored[:n_stored], block, atol=1e-11)


def test_a_state_with_pending_rows_goes_on_to_the_same_bits():
    paths, _ = grown(2, 5, later=True, closeness=0.2)
    state = paths.state()
    rng = np.random.default_rng(0)
    other = Paths(split(rng.standard_normal((4, N)), 2))
    other.restore(copy.deepcopy(state))
    for b in range(2):
        assert np.array_equal(other.basis.rows(b), paths.basis.rows(b))


def test_what_gram_space_cannot_tell_is_done_explicitly():
    """A gradient all but in the span: its residual is rounding beside it."""
    rng = np.random.default_rng(1)
    paths = Paths(split(rng.standard_normal((3, N)), 2))
    g = np.concatenate([paths.combine(np.ones((1, 3)), b) for b in range(2)], axis=1)
    g += 1e-7 * rng.standard_normal((1, N))
    pieces = split(np.concatenate([g, rng.standard_normal((1, N))]), 2)
    averages = paths.basis.average(lambda b: paths.basis.products(pieces[b], b))
    gram = paths.basis.average(lambda b: pieces[b] @ pieces[b].T)
    found = paths.add_gradients(
        pieces, averages, np.diagonal(gram)[:1], 1e-12, DELTA, gram=gram, directional=False
    )
    assert len(found.kept) == 1
    assert paths.state()["basis"]["rows"][0].shape[0] == paths.basis.n_rows
    w = np.concatenate([paths.basis.rows(b) for b in range(2)], axis=1)
    assert np.abs(w @ w.T / N - np.eye(len(w))).max() < 1e-8


def test_gram_space_and_explicit_residuals_take_the_same_steps():
    rng = np.random.default_rng(2)
    basis = np.empty((9, N))
    basis[:3] = np.sqrt(N) * np.linalg.qr(rng.standard_normal((N, 3)))[0].T
    rows = rng.standard_normal((4, N)) + rng.standard_normal((4, 3)) @ basis[:3]
    coefficients = rows @ basis[:3].T / N
    numbers = GramResiduals(rows @ rows.T / N, coefficients)
    on_paths = ExplicitResiduals([rows - coefficients @ basis[:3]], [basis], 3)
    for j in range(4):
        for new in range(j):
            taken = numbers.subtract(j, new), on_paths.subtract(j, new)
            assert taken[0] == pytest.approx(taken[1], abs=1e-13)
        assert numbers.square(j) == pytest.approx(on_paths.square(j), rel=1e-12)
        assert numbers.squares_beside(4)[j] == pytest.approx(on_paths.square(j), rel=1e-12)
        norm = np.sqrt(numbers.square(j))
        numbers.append(j, norm)
        on_paths.append(j, norm)
    to_write = numbers.pending([rows], np.arange(2))
    written = to_write.from_rows @ rows + to_write.from_basis @ basis[:3]
    np.testing.assert_allclose(written, basis[3:7], atol=1e-12)
    assert to_write.checked.tolist() == [3, 4]


def test_reorthogonalisation_makes_rows_orthonormal_and_translates():
    rng = np.random.default_rng(3)
    w = np.sqrt(N) * np.linalg.qr(rng.standard_normal((N, 6)))[0].T
    doubtful = np.array([2, 4])
    w[doubtful] += 1e-6 * rng.standard_normal((2, N))
    correction = Reorthogonalisation.of(doubtful, w[doubtful] @ w.T / N)
    right = w.copy()
    right[doubtful] = correction.matrix @ w
    # What is left is the square of what was corrected.
    assert np.abs(right @ right.T / N - np.eye(6)).max() < 1e-10
    weights = rng.standard_normal((3, 6))
    np.testing.assert_allclose(correction.of_stored(weights) @ w, weights @ right, atol=1e-13)
    x = rng.standard_normal((2, N))
    np.testing.assert_allclose(correction.of_basis(x @ w.T), x @ right.T, atol=1e-11)


def test_rows_dependent_in_gram_space_have_no_residual():
    row = np.random.default_rng(4).standard_normal((1, N))
    rows = np.concatenate([row, row])
    assert GramResiduals(rows @ rows.T / N, np.zeros((2, 0))).squares_beside(2).tolist() == [
        0.0,
        0.0,
    ]


# -- full passes --------------------------------------------------------------------------------


def passed(paths, coefficients, labels, rows):
    """One full pass over all blocks: pre-activations, averages of ``rows[:2]`` with the basis."""
    full_pass = paths.basis.begin_pass(coefficients)
    sizes = [block.shape[1] for block in rows]
    r = [np.empty((1, n)) for n in sizes]

    def of_block(b):
        n = sizes[b]
        products = np.empty((2 + len(full_pass.checked), paths.basis.n_rows))
        none, innovation = np.empty((0, n)), (rows[b], np.empty((1, 0)), np.empty(1))
        kernels.step_kernel(
            full_pass.update(b),
            full_pass.of_new,
            paths.basis.padded[b],
            kernels.Samples(labels[b], compiled_law(PROBLEM), np.inf, np.empty(0)),
            kernels.Predictor(np.zeros((1, 0)), np.empty(0, dtype=np.intp), none, none),
            kernels.Point(r[b], np.empty((1, n)), np.empty(n), np.empty(4)),
            kernels.Innovation(*innovation),
            2,
            np.empty(0),
            products,
        )
        return products

    products = paths.basis.end_pass(full_pass, paths.basis.average(of_block))
    return np.concatenate(r, axis=1), products


def test_passes_see_the_basis_as_it_will_be_when_it_is_reorthogonalised(monkeypatch):
    """Rows are written off by 1e-5: what the next two passes find must not be."""
    proper = GramResiduals.pending

    def careless(self, rows, doubtful):
        found = proper(self, rows, np.array([0]))
        off = found.from_basis.copy()
        off[0] += 1e-5
        return PendingRows(found.rows, found.from_rows, off, found.checked)

    monkeypatch.setattr(GramResiduals, "pending", careless)
    rng = np.random.default_rng(5)
    paths, _ = grown(1, 2, later=True)
    paths.basis.write_pending()
    labels = split(rng.standard_normal((1, N)) ** 2, 2)
    labels = [block[0] for block in labels]
    seen = []
    for _ in range(3):
        rows = split(rng.standard_normal((2, N)), 2)
        weights = rng.standard_normal((1, paths.basis.n_rows)) / 3
        r, products = passed(paths, weights, labels, rows)
        seen.append((weights, r, products, [block.copy() for block in rows]))
        gram = paths.basis.average(lambda b, rows=rows: rows[b] @ rows[b].T)
        squares = np.diagonal(gram)[:1]
        paths.add_gradients(rows, products, squares, 1e-12, DELTA, gram=gram, directional=False)
    assert paths.basis._pending is not None
    assert paths.basis._reorthogonalisation is not None
    paths.basis.write_pending()
    w = np.concatenate([paths.basis.rows(b) for b in range(2)], axis=1)
    assert np.abs(w @ w.T / N - np.eye(len(w))).max() < 1e-8
    for index, (weights, r, products, rows) in enumerate(seen):
        of_then = w[: weights.shape[1]]
        averages = np.concatenate(rows, axis=1) @ of_then.T / N
        np.testing.assert_allclose(products, averages, atol=1e-8)
        # The point itself is a combination of the last two rows as they were first written.
        off = np.abs(r - weights @ of_then).max()
        assert off < (1e-3 if index else 1e-8)


def process(case=PROBLEM, n_paths=1024, tolerance=1e-12):
    sampling = dmft.Sampling(n_paths=n_paths, replicates=2, rank_tolerance=tolerance)
    n_leading = case.k + case.m + int(case.target.uses_noise)
    stream = GaussianStream(sampling, 0, n_leading, case.m)
    return Process(case, 6.0, [stream], map, exact=tolerance < 1e-11)


def descended(run, n_steps, *, before=None, eta=0.2):
    """Weights after steps of gradient descent, and what was pending at each of them."""
    B, pending = run.problem.initial_weights(), []
    for t in range(n_steps):
        if before is not None:
            before(t, B)
        found = run.evaluate(B, eta, 1e-12, t)
        assert found.status.ok
        wide = np.zeros_like(found.gradient)
        wide[:, : B.shape[1]] = B
        B = wide - eta * found.gradient
        paths = run.paths
        pending.append(
            (paths.basis._pending is not None, paths.basis._reorthogonalisation is not None)
        )
    return B, pending


@pytest.mark.parametrize("second_layer", [[1.0], [1.0, -0.5]])
def test_steps_of_an_exact_run_are_those_of_explicit_residuals(second_layer):
    case = dmft.Problem("phase-retrieval", dmft.Network("gelu", second_layer), "pseudo-huber")
    later, pending = descended(process(case), 40)
    assert sum(waiting for waiting, _ in pending) > 20
    assert any(waiting and doubtful for waiting, doubtful in pending)
    explicit = process(case)
    explicit.paths.least_in_gram_space = np.inf
    at_once, pending = descended(explicit, 40)
    assert not any(waiting or doubtful for waiting, doubtful in pending)
    np.testing.assert_allclose(later, at_once, atol=1e-11)


def test_an_evaluation_that_diverges_leaves_the_basis_as_it_should_be():
    """A flow tries again with a shorter step."""
    case = dmft.Problem("product", dmft.Network("quadratic", [1.0, -1.0]), "square")
    tried, untouched = process(case), process(case)

    def too_far(t, B):
        if t == 18:
            assert tried.evaluate(1e100 * B, 0.02, 1e-12, t).status is Status.DIVERGED

    found, pending = descended(tried, 22, before=too_far, eta=0.02)
    assert pending[17][0]
    expected, _ = descended(untouched, 22, eta=0.02)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    w = tried.paths.basis.rows(0)
    assert np.abs(w @ w.T / w.shape[1] - np.eye(len(w))).max() < 1e-13


def test_a_process_goes_on_to_the_same_bits_whatever_is_pending():
    whole, states = process(), {}

    def keep(t, B):
        if (
            whole.paths.basis._pending is not None
            and whole.paths.basis._reorthogonalisation is not None
        ):
            states[t] = copy.deepcopy((whole.state(), B))

    descended(whole, 16, before=keep)
    assert states
    t, (state, B) = max(states.items())
    resumed = process()
    resumed.restore(state)
    again = process()
    descended(again, t)
    ours, theirs = (run.evaluate(B, 0.2, 1e-12, t) for run in (resumed, again))
    assert np.array_equal(ours.gradient, theirs.gradient)
    for b in range(len(again.r)):
        assert np.array_equal(resumed.paths.basis.rows(b), again.paths.basis.rows(b))


def test_rows_a_power_of_two_apart_are_padded():
    assert padded_rows(3, 4096).shape == (3, 4096 + PADDING)
    assert padded_rows(3, 1000).shape == (3, 1000)
    assert PADDING % 8 == 0
    assert PADDING // 8 % 2 == 1
