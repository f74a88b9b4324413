"""Runs that discard directions: what stays exact, what is bounded, and what is refused."""

import numpy as np
import pytest
from grown_paths import DELTA, N, coordinates, directions, grown
from small import RETRIEVAL

import dmft
from dmft.solver.truncation import Activity

TWO = dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, -0.5]), "pseudo-huber")


def rotation(n_kept, n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n_kept)))[0].T


# -- of the paths --------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "blocks"), [(1, 1), (3, 4)])
def test_paths_hold_exactly_the_combinations_asked_for(m, blocks):
    paths, _ = grown(m, 6, blocks=blocks)
    q, ghat, first = coordinates(paths, blocks), directions(paths, blocks), 2 + m
    U = rotation(2 * m, len(ghat))
    rows_before = paths.basis.n_rows
    paths.truncate(U)
    assert (paths.n_directions, paths.n_coordinates) == (2 * m, first + 2 * m)
    assert paths.basis.n_rows == 1 + first + 4 * m < rows_before
    w = np.concatenate([paths.basis.rows(b) for b in range(blocks)], axis=1)
    assert np.abs(w @ w.T / N - np.eye(len(w))).max() < 1e-13
    np.testing.assert_allclose(directions(paths, blocks), U @ ghat, atol=1e-12)
    expected = np.concatenate([q[:first], U @ q[first:]])
    np.testing.assert_allclose(coordinates(paths, blocks), expected, atol=1e-12)
    # Still coordinates of the process: what is left without ghat is orthonormal.
    zeta = coordinates(paths, blocks)[first:] + directions(paths, blocks) / np.sqrt(DELTA)
    np.testing.assert_allclose(zeta @ zeta.T / N, np.eye(2 * m), atol=1e-12)
    assert np.abs(np.mean(zeta, axis=1)).max() < 1e-13


def test_components_in_the_directions_first_kept():
    paths, _ = grown(2, 4)
    ghat = directions(paths)
    first, second = rotation(5, 8), rotation(3, 5, seed=1)
    paths.truncate(first)
    paths.truncate(second)
    rows = np.random.default_rng(2).standard_normal((2, 3))
    first_ones = paths.in_first_directions(rows)
    assert first_ones.shape == (2, 8)
    np.testing.assert_allclose(first_ones @ ghat, rows @ directions(paths), atol=1e-12)
    np.testing.assert_allclose(first_ones @ first_ones.T, rows @ rows.T, atol=1e-13)


# -- what to keep --------------------------------------------------------------------------------


def test_directions_in_use_are_kept_and_others_discarded():
    """100 directions; from time 10 on, gradients know the last 30 only."""
    rng = np.random.default_rng(0)
    activity, protected = Activity(4.0), np.zeros((1, 100))
    protected[0, 0] = 1.0
    nothing = np.zeros((1, 100))
    for time in np.arange(1.0, 10.0):
        activity.add(time, rng.standard_normal((20, 100)), np.zeros((20, 100)))
    assert activity.rotation(protected, 1e-3) is None  # all of them still matter
    for time in np.arange(10.0, 400.0):
        gamma = np.where(np.arange(100) >= 70, rng.standard_normal((1, 100)), 0.0)
        activity.add(time, gamma, nothing)
    activity._last_size = 0
    U, residual = activity.rotation(protected, 1e-3)
    assert U.shape == (31, 100)
    np.testing.assert_allclose(U @ U.T, np.eye(31), atol=1e-13)
    kept = np.zeros(100)
    kept[[0, *range(70, 100)]] = 1.0
    np.testing.assert_allclose(np.sum(U**2, axis=0), kept, atol=1e-6)
    assert 0.0 < residual < 1e-3 * np.sqrt(69)


def test_gradients_along_the_coordinates_count_as_much_as_what_they_do_to_the_weights():
    small, nothing = np.zeros((1, 100)), np.zeros((1, 100))
    small[0, :50] = 1e-3
    for delta, n_kept in ((4.0, 2), (0.25, 1)):  # sqrt(delta) times 1e-3, all along one direction
        activity = Activity(delta)
        activity.add(1.0, nothing, small)
        U, _ = activity.rotation(np.eye(1, 100, 99), 5e-3)
        assert len(U) == n_kept


# -- of runs -------------------------------------------------------------------------------------


def solve(problem, method, n_paths=2048, **sampling):
    given = {"replicates": 8, "rank_tolerance": 1e-6, **sampling}
    return dmft.solve(problem, 6.0, method, dmft.Sampling(n_paths, **given))


@pytest.mark.parametrize("problem", [RETRIEVAL, TWO], ids=["one neuron", "two"])
def test_a_rotation_without_loss_changes_nothing(problem, monkeypatch):
    """All directions kept, in other coordinates.

    Rounding grows, as truncation residuals do, but stays far below sampling errors.
    """
    method, asked = dmft.GradientDescent(0.2, 30), {"n_paths": 512, "replicates": 2}
    whole = solve(problem, method, rank_tolerance=5e-12, **asked)
    count = []

    def turn(self, protected, smallest):
        n = protected.shape[1]
        if n < 4 or n % 5:
            return None
        count.append(n)
        U = rotation(n, n, seed=n)
        self._flush()
        self._moment = U @ self._moment @ U.T
        return U, 0.0

    monkeypatch.setattr(Activity, "rotation", turn)
    turned = solve(problem, method, rank_tolerance=5e-12, compression=1e-3, **asked)
    assert len(count) >= 3
    two_times = ("correlation", "gradient_covariance")
    for name in ("correlation", "overlap", "train_loss", "gradient_norm", "gradient_covariance"):
        difference = np.abs(getattr(whole, name) - getattr(turned, name))
        early = difference[:13, :13] if name in two_times else difference[:13]
        assert early.max() < 1e-8, name
        assert difference.max() <= 0.1 * whole.stderr[name].max(), name
    np.testing.assert_allclose(turned.response[:9, :9], whole.response[:9, :9], atol=1e-6)


@pytest.mark.slow
def test_a_compressed_run_agrees_with_the_whole_one_within_its_error():
    """And two-time averages with steps long before directions were discarded."""
    method = dmft.GradientDescent(0.2, 1200)
    whole, found = (
        solve(RETRIEVAL, method, compression=compression, n_paths=1024, replicates=4)
        for compression in (0.0, 0.02)
    )
    assert found.status.ok
    assert found.rank < 0.75 * whole.rank
    assert found._runs[0].is_compressed
    assert not whole._runs[0].is_compressed
    later = np.arange(0, 1201, 50)
    for name in ("norm", "train_loss", "test_loss"):
        error = np.hypot(whole.stderr[name], found.stderr[name])[later]
        difference = np.abs(getattr(found, name) - getattr(whole, name))[later]
        assert np.all(difference <= 2.0 * error + 1e-12), name
    two_times = np.abs(found.correlation - whole.correlation)[np.ix_(later, later)]
    error = np.hypot(whole.stderr["correlation"], found.stderr["correlation"])
    assert np.all(two_times <= 2.0 * error[np.ix_(later, later)] + 1e-12)


@pytest.mark.slow
def test_the_rank_stays_bounded_where_directions_are_added_all_the_time():
    """With r^2 single samples change sides for ever: each adds a direction."""
    flow = dmft.GradientFlow(160.0, 1e-2, [0.0, 40.0, 80.0, 160.0])
    problem = dmft.load_preset("robust-phase-retrieval").problem
    found, kept = (
        dmft.solve(problem, 2.0, flow, dmft.Sampling(1024, replicates=2, compression=compression))
        for compression in (None, 0.0)
    )
    held = found._runs[0].counts[:, 1]
    assert held[3] < 0.8 * len(found._runs[0].direction_step)
    every = kept._runs[0].counts[: kept.n_steps + 1, 1]
    assert held[2] < 0.8 * every[2]


@pytest.mark.slow
def test_a_file_knows_what_was_discarded(tmp_path):
    found = solve(RETRIEVAL, dmft.GradientDescent(0.2, 400), n_paths=512, compression=0.05)
    found.save(tmp_path / "long.npz")
    again = dmft.Trajectory.load(tmp_path / "long.npz")
    assert again.rank == found.rank
    assert again._runs[0].is_truncated_at(400)
    assert not again._runs[0].is_truncated_at(3)


def test_nothing_is_discarded_that_rounding_cannot_tell():
    rng, activity = np.random.default_rng(0), Activity(4.0)
    scales = np.geomspace(1.0, 1e-10, 100)
    for time in np.arange(1.0, 30.0):
        gamma = scales * rng.standard_normal((20, 100))
        activity.add(time, gamma, np.zeros((20, 100)))
    assert activity.rotation(np.eye(1, 100), 1e-9) is None
    activity._last_size = 0
    U, residual = activity.rotation(np.eye(1, 100), 1e-5)
    assert 50 <= len(U) <= 60  # gradients of 20 neurons count together
    assert 0.5e-5 < residual < 4e-5


@pytest.mark.slow
def test_switched_off_nothing_is_discarded():
    flow = dmft.GradientFlow(30.0, 2e-3, [0.0, 30.0])
    kept, default = (
        dmft.solve(
            dmft.load_preset("robust-phase-retrieval").problem,
            2.0,
            flow,
            dmft.Sampling(1024, replicates=2, compression=compression),
        )
        for compression in (0.0, None)
    )
    assert kept.status.ok
    assert not kept._runs[0].is_compressed
    assert default._runs[0].is_compressed
    assert default.rank < kept.rank
    assert default.norm[-1, 0, 0] == pytest.approx(kept.norm[-1, 0, 0], rel=3e-2)


@pytest.mark.slow
def test_outliers_in_all_directions_are_refused():
    found = solve(RETRIEVAL, dmft.GradientDescent(0.2, 700), n_paths=512, compression=0.05)
    assert found._runs[0].is_compressed
    law = found.hessian(700)
    assert law.outlier_status is dmft.Status.ILL_CONDITIONED
    with pytest.raises(dmft.NumericalFailure, match="compression must be 0"):
        law.outliers()
    hard = law.outliers("hard")
    assert law.outliers(throw=False) == hard
    early = found.hessian(5)  # before anything was discarded
    assert early.outlier_status.ok
    spectrum = dmft.spectrum(found, 700)
    assert spectrum.outlier_status is dmft.Status.ILL_CONDITIONED


@pytest.mark.parametrize("compression", [-0.1, 1.5, float("nan"), "much"])
def test_bad_values_are_named(compression):
    with pytest.raises(ValueError, match="compression"):
        dmft.Sampling(compression=compression)
