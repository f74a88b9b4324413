"""Steps from the recycled subspace, against steps by full passes."""

import numpy as np
import pytest
from small import RETRIEVAL

import dmft
from dmft.solver import process
from dmft.solver.paths import Paths
from dmft.solver.recycling import History, RecycledSubspace

N, DELTA = 512, 2.5
PAIR = dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, -0.7]), "pseudo-huber")
LINEAR = dmft.Problem("linear", dmft.Network("linear"), "square", weight_decay=0.3)


def test_a_history_gives_back_combinations_of_its_rows():
    rng = np.random.default_rng(0)
    vectors, basis = rng.standard_normal((9, 6)), rng.standard_normal((6, N))
    ring = History(4, [N // 2, N // 2])
    for start in (0, 3, 6):
        chosen = vectors[start : start + 3]
        ring.add(chosen, np.split(chosen @ basis, 2, axis=1))
    # Of nine rows the last four are left; two-dimensional combinations of them are recognised.
    wanted = rng.standard_normal((2, 4)) @ vectors[5:]
    along, rest = ring.split(wanted)
    assert np.abs(rest).max() < 1e-13
    weights = ring.weights_of(along)
    rows = np.concatenate([block[:4] for block in ring.rows], axis=1)
    np.testing.assert_allclose(weights @ rows, wanted @ basis, atol=1e-11)
    np.testing.assert_allclose(ring.combine(weights, 6), wanted, atol=1e-12)
    _, rest = ring.split(vectors[:1])
    assert np.linalg.norm(rest) > 0.1  # a row that was replaced is no longer known


@pytest.mark.parametrize("m", [1, 2])
def test_gradients_remain_known_as_the_basis_grows(m):
    """Each is its combination of the basis plus what lies outside, orthogonal to the basis."""
    rng = np.random.default_rng(m)
    paths = Paths([rng.standard_normal((2 + m, N))])
    subspace = RecycledSubspace(m, [N])
    small = 1e-3 * rng.standard_normal((3, N))  # what a tolerance truncates, again and again
    for step in range(6):
        first = paths.basis.n_rows
        q = paths.coordinate_coefficients @ paths.basis.rows(0)
        g = np.tanh(rng.standard_normal((m, len(q))) @ q / 2) if step % 2 else np.tanh(2 * q[:m])
        g = g + rng.standard_normal((m, 3)) @ small
        rows = [np.concatenate([g, rng.standard_normal((m, N))])]
        averages = paths.basis.average(lambda b, rows=rows: paths.basis.products(rows[b], b))
        found = paths.add_gradients(
            rows, averages, np.mean(g**2, axis=1), 0.01, DELTA, find_residuals=True
        )
        outside = rows[0][:m]
        outside[~found.truncated] = 0.0
        subspace.record_pass(step, found.coefficients, [g], [outside])
        subspace.gradients.project_onto_new([paths.basis.rows(0)[first:]], first)
    ring, w = subspace.gradients, paths.basis.rows(0)
    held = ring.combine(np.eye(ring.n_rows), paths.basis.n_rows) @ w
    outside = ring.residuals[0][: ring.n_rows]
    np.testing.assert_allclose(held + outside, ring.rows[0][: ring.n_rows], atol=1e-12)
    assert np.abs(outside @ w.T / N).max() < 1e-15
    assert (np.linalg.norm(outside, axis=1) > 0).sum() >= 2
    weights = rng.standard_normal((2, ring.n_rows))
    expected = np.mean((weights @ outside) ** 2, axis=1)
    np.testing.assert_allclose(ring.residual_squares(weights), expected, rtol=1e-8)


def solved(problem, n_steps, tolerance, monkeypatch, only_full_passes):
    sampling = dmft.Sampling(n_paths=1024, replicates=4, seed=1, rank_tolerance=tolerance)
    with monkeypatch.context() as patch:
        if only_full_passes:
            patch.setattr(process, "_MOST_EXTENSIONS", 0)
        return dmft.solve(problem, 6.0, dmft.GradientDescent(0.2, n_steps), sampling)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "n_steps", "tolerance", "allowed"),
    [(LINEAR, 120, 1e-12, 1e-9), (PAIR, 40, 1e-10, 1e-6)],
)
def test_small_tolerances_are_kept_with_the_subspace(
    problem, n_steps, tolerance, allowed, monkeypatch
):
    """The pair is not exact: its paths amplify truncation residuals by a factor per step."""
    ours, passes = (
        solved(problem, n_steps, tolerance, monkeypatch, always) for always in (False, True)
    )
    assert ours._runs[0].n_visits < passes._runs[0].n_visits
    for name in ("norm", "overlap", "train_loss", "gradient_norm"):
        a, b = getattr(ours, name), getattr(passes, name)
        np.testing.assert_allclose(a, b, rtol=0, atol=allowed, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("problem", [RETRIEVAL, PAIR])
def test_few_steps_take_a_full_pass_and_none_is_missed(problem, monkeypatch):
    """At a coarse tolerance: both runs differ by less than their error, and by truncation."""
    ours, passes = (solved(problem, 300, 1e-5, monkeypatch, always) for always in (False, True))
    assert passes._runs[0].n_visits == 301
    assert ours._runs[0].n_visits < 160
    for name in ("norm", "train_loss", "test_loss"):
        difference = np.abs(getattr(ours, name) - getattr(passes, name))
        error = np.hypot(ours.stderr[name], passes.stderr[name])
        assert np.all(difference[::10] <= 3 * error[::10] + 1e-5), name
    # The weight truncated is bounded by the tolerance in every step.
    left = np.diff(ours._runs[0].left_out)
    assert np.all(left <= 1.2e-5 * np.sqrt(problem.m))
    assert left.max() > 0
