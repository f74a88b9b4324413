"""The solver: exact identities, symmetries, statuses, and bits that do not depend on threads."""

import numpy as np
import pytest
from small import easy_label, easy_problem

import dmft
from dmft.trajectory.solving import solve

SAMPLING = dmft.Sampling(n_paths=2048, replicates=8, seed=1)


def agree(a, b, error, factor=4.0):
    """All entries within ``factor`` standard errors (and rounding)."""
    assert np.all(np.abs(a - b) <= factor * error + 1e-12)


@pytest.fixture(scope="module")
def trajectory():
    return solve(easy_problem(3), 2.0, dmft.GradientDescent(0.3, 12), SAMPLING)


# -- identities -------------------------------------------------------------------------------


@pytest.mark.slow
def test_shapes(trajectory):
    assert trajectory.correlation.shape == (13, 13, 3, 3)
    assert trajectory.overlap.shape == (13, 3, 1)
    assert trajectory.gradient_covariance.shape == (13, 13, 3, 3)
    assert trajectory.response.shape == (13, 13, 3, 3)
    assert trajectory.train_loss.shape == trajectory.test_loss.shape == (13,)
    for name in trajectory.stderr:
        assert trajectory.stderr[name].shape == getattr(trajectory, name).shape
    assert trajectory.status is dmft.Status.SUCCESS


@pytest.mark.parametrize("name", ["correlation", "gradient_covariance"])
def test_two_time_functions_are_symmetric_and_positive(trajectory, name):
    two_times = getattr(trajectory, name)
    np.testing.assert_allclose(two_times, two_times.transpose(1, 0, 3, 2), atol=1e-13)
    matrix = two_times.transpose(0, 2, 1, 3).reshape(39, 39)
    assert np.linalg.eigvalsh(matrix).min() > -1e-10


def test_gradient_norm_is_the_length_of_the_step(trajectory):
    C = trajectory.correlation
    times = np.arange(12)
    step = C[times + 1, times + 1] - 2 * C[times + 1, times] + C[times, times]
    length = np.sqrt(np.trace(step, axis1=1, axis2=2)) / 0.3
    np.testing.assert_allclose(trajectory.gradient_norm[:12], length, rtol=1e-9)


def test_response_is_causal_and_starts_with_the_step_size(trajectory):
    R = trajectory.response
    later = np.arange(13)[:, np.newaxis] <= np.arange(13)
    assert np.all(R[later] == 0.0)
    for t in range(12):
        np.testing.assert_allclose(R[t + 1, t], 0.3 * np.eye(3), atol=1e-8)


def test_losses_start_equal_and_training_fits_better_than_testing(trajectory):
    error = trajectory.stderr["train_loss"]
    agree(trajectory.train_loss[0], trajectory.test_loss[0], error[0])
    assert np.all(np.diff(trajectory.train_loss) < 0)
    assert np.all(trajectory.train_loss[1:] < trajectory.test_loss[1:])


def test_weight_decay_alone_shrinks_the_weights_exactly():
    flat = dmft.Loss(*[lambda f, y: np.zeros_like(f)] * 3, name="flat")
    problem = dmft.Problem(
        "linear", dmft.Network("tanh", [1.0, 2.0]), flat, init_radius=0.8, weight_decay=0.7
    )
    trajectory = solve(problem, 1.5, dmft.GradientDescent(0.2, 6), SAMPLING)
    shrink = (1 - 0.2 * 0.7) ** (2 * np.arange(7))
    expected = 0.64 * shrink[:, np.newaxis, np.newaxis] * np.eye(2)
    np.testing.assert_allclose(trajectory.norm, expected, atol=1e-14)


def test_infinite_data_is_population_gradient_descent():
    problem = dmft.Problem("linear", dmft.Network("linear"), "square", init_radius=0.5)
    trajectory = solve(problem, 1e9, dmft.GradientDescent(0.1, 20), SAMPLING)
    times = np.arange(21)
    agree(trajectory.overlap[:, 0, 0], 1 - 0.9**times, trajectory.stderr["overlap"][:, 0, 0] + 1e-5)
    np.testing.assert_allclose(trajectory.train_loss, trajectory.test_loss, atol=2e-3)


def test_initial_overlap_is_where_the_trajectory_starts():
    problem = easy_problem(2, initial_overlap=[[0.6], [-0.3]])
    trajectory = solve(problem, 2.0, dmft.GradientDescent(0.1, 1), SAMPLING)
    np.testing.assert_allclose(trajectory.overlap[0], [[0.6], [-0.3]], atol=1e-15)
    np.testing.assert_allclose(trajectory.norm[0], np.eye(2), atol=1e-12)


# -- symmetries -------------------------------------------------------------------------------


@pytest.mark.slow
def test_neurons_that_do_not_interact_are_copies_of_one():
    # A loss linear in f: the gradient of a neuron does not see the others.
    additive = dmft.Loss(
        lambda f, y: -f * np.tanh(y),
        lambda f, y: -np.tanh(y) + 0.0 * f,
        lambda f, y: np.zeros_like(f),
        name="additive",
    )
    method = dmft.GradientDescent(0.4, 8)

    def run(second_layer):
        problem = dmft.Problem(
            dmft.Target(easy_label), dmft.Network("tanh", second_layer), additive
        )
        return solve(problem, 1.5, method, SAMPLING)

    both, one, two = run([1.0, -0.6]), run([1.0]), run([-0.6])
    for j, alone in enumerate((one, two)):
        error = np.hypot(both.stderr["norm"][:, j, j], alone.stderr["norm"][:, 0, 0])
        agree(both.norm[:, j, j], alone.norm[:, 0, 0], error)
        error = np.hypot(both.stderr["overlap"][:, j], alone.stderr["overlap"][:, 0])
        agree(both.overlap[:, j], alone.overlap[:, 0], error)
    # What they have in common is the latent direction and the samples.
    assert np.all(np.abs(both.norm[1:, 0, 1]) > 1e-4)


def test_equal_neurons_are_exchangeable():
    problem = dmft.Problem(dmft.Target(easy_label), dmft.Network("gelu", [0.8, 0.8]), "square")
    sampling = dmft.Sampling(n_paths=2048, replicates=16, seed=1)  # an error of the error of 18 %
    trajectory = solve(problem, 3.0, dmft.GradientDescent(0.2, 10), sampling)
    norm, error = trajectory.norm, trajectory.stderr["norm"]
    agree(norm[:, 0, 0], norm[:, 1, 1], np.hypot(error[:, 0, 0], error[:, 1, 1]))


def test_rotating_the_latent_frame_rotates_the_overlap():
    c, s = np.cos(0.7), np.sin(0.7)
    rotation = np.array([[c, -s], [s, c]])
    method = dmft.GradientDescent(0.3, 8)
    network = dmft.Network("tanh", [1.0, -0.5])

    def label(z, eps):
        return np.tanh(2 * z[:, 0]) + 0.5 * z[:, 1]

    def rotated(z, eps):
        return label(z @ rotation, eps)

    plain, turned = (
        solve(dmft.Problem(dmft.Target(f, k=2, hard_directions=[]), network), 2.0, method, SAMPLING)
        for f in (label, rotated)
    )
    error = plain.stderr["overlap"].max() + turned.stderr["overlap"].max()
    agree(turned.overlap, plain.overlap @ rotation.T, error)
    assert np.abs(plain.overlap).max() > 0.2


def test_overlap_with_hard_directions_is_exactly_zero():
    problem = dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, -0.5]), "pseudo-huber")
    trajectory = solve(problem, 3.0, dmft.GradientDescent(0.3, 20), SAMPLING)
    assert np.all(trajectory.overlap[:, :, 1] == 0.0)
    assert np.abs(trajectory.overlap[-1, :, 0]).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("m", "k"), [(4, 3), (1, 3), (4, 1)])
def test_any_number_of_neurons_and_directions(m, k):
    def label(z, eps):
        return np.tanh(z.sum(axis=1)) + 0.1 * eps

    target = dmft.Target(label, k=k)
    problem = dmft.Problem(target, dmft.Network("tanh", np.linspace(-1, 1, m) + 0.1), "square")
    trajectory = solve(problem, 1.5, dmft.GradientDescent(0.3, 5), SAMPLING)
    # The label sees z only along (1, ..., 1): so do the weights, the hard complement exactly.
    spread = trajectory.overlap - trajectory.overlap.mean(axis=2, keepdims=True)
    assert np.abs(spread).max() < 1e-14
    assert np.abs(trajectory.overlap[-1]).max() > 0.05


# -- rank tolerance ---------------------------------------------------------------------------


@pytest.mark.slow
def test_default_rank_tolerance_changes_little_of_the_sampling_noise():
    method = dmft.GradientDescent(0.2, 60)
    default = solve(easy_problem(), 3.0, method, SAMPLING)
    exact = solve(
        easy_problem(), 3.0, method, dmft.Sampling(n_paths=2048, seed=1, rank_tolerance=0.0)
    )
    assert default.rank < exact.rank
    for name in ("norm", "overlap", "train_loss", "test_loss"):
        a, b = getattr(default, name), getattr(exact, name)
        assert np.all(np.abs(a - b) <= 0.3 * exact.stderr[name] + 1e-9)


@pytest.mark.slow
def test_hundreds_of_steps_are_stable_at_any_tolerance():
    # With normalised rounding errors as directions, C(200, 200) would be in the thousands.
    method = dmft.GradientDescent(0.1, 200)
    runs = [
        solve(
            easy_problem(),
            3.0,
            method,
            dmft.Sampling(n_paths=1024, replicates=4, seed=1, rank_tolerance=tolerance),
        )
        for tolerance in (0.0, 1e-10, 1e-5)
    ]
    reference = runs[0]
    assert reference.status is dmft.Status.SUCCESS
    assert reference.norm.max() < 10
    for run in runs[1:]:
        for name in ("norm", "overlap", "train_loss", "test_loss"):
            error = np.hypot(run.stderr[name], reference.stderr[name])
            agree(getattr(run, name), getattr(reference, name), error, factor=3.0)
    assert runs[2].rank < 0.5 * reference.rank


# -- replicates, threads, custom callables ----------------------------------------------------


@pytest.mark.slow
def test_same_seed_same_bits_with_one_and_two_threads():
    method = dmft.GradientDescent(0.3, 10)
    runs = [
        solve(easy_problem(2), 2.0, method, dmft.Sampling(n_paths=8192, seed=4), threads=threads)
        for threads in (1, 2, 3)
    ]
    for other in runs[1:]:
        for name in ("correlation", "overlap", "gradient_covariance", "train_loss", "test_loss"):
            np.testing.assert_array_equal(getattr(other, name), getattr(runs[0], name))
            np.testing.assert_array_equal(other.stderr[name], runs[0].stderr[name])
        left, right = other.hessian(10), runs[0].hessian(10)
        np.testing.assert_array_equal(left.weights, right.weights)


def test_a_users_own_callables_give_the_catalogue_result():
    def sigmoid(r):
        return 1 / (1 + np.exp(-r))

    softplus = dmft.Activation(
        lambda r: np.logaddexp(0, r), sigmoid, lambda r: sigmoid(r) * sigmoid(-r), name="mine"
    )
    square = dmft.Loss(
        lambda f, y: (f - y) ** 2 / 2, lambda f, y: f - y, lambda f, y: np.ones_like(f), name="mine"
    )
    method = dmft.GradientDescent(0.2, 5)
    target = dmft.Target(lambda z, eps: z[:, 0] * z[:, 1], k=2)
    mine = solve(dmft.Problem(target, dmft.Network(softplus), square), 2.0, method, SAMPLING)
    catalogue = solve(
        dmft.Problem("product", dmft.Network("softplus"), "square"), 2.0, method, SAMPLING
    )
    np.testing.assert_allclose(mine.correlation, catalogue.correlation, rtol=1e-9)
    np.testing.assert_allclose(mine.test_loss, catalogue.test_loss, rtol=1e-9)


def test_progress_counts_every_step_of_every_run():
    calls = []
    solve(
        easy_problem(),
        2.0,
        dmft.GradientDescent(0.1, 3),
        SAMPLING,
        progress=calls.append,
        threads=2,
    )
    assert sum(calls) == 3 * 9


# -- ends other than success ------------------------------------------------------------------


def test_divergence_is_a_status_and_keeps_what_was_computed():
    problem = dmft.Problem("linear", dmft.Network("linear"), "square")
    method = dmft.GradientDescent(100.0, 50)
    trajectory = solve(problem, 2.0, method, SAMPLING)
    assert trajectory.status is dmft.Status.DIVERGED
    assert 0 < trajectory.n_steps < 10
    assert len(trajectory.train_loss) == trajectory.n_steps + 1
    for name in ("correlation", "train_loss", "test_loss", "gradient_covariance"):
        assert np.isfinite(getattr(trajectory, name)).all()
    with pytest.raises(dmft.NumericalFailure, match="DIVERGED"):
        solve(problem, 2.0, method, SAMPLING, throw=True)


def test_more_directions_than_the_paths_can_resolve_is_a_status():
    trajectory = solve(
        easy_problem(3),
        1.0,
        dmft.GradientDescent(0.5, 40),
        dmft.Sampling(n_paths=256, replicates=2, rank_tolerance=0.0),
    )
    assert trajectory.status is dmft.Status.TOO_FEW_PATHS
    assert 0 < trajectory.n_steps < 40


# -- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": -1.0}, "delta must be a positive finite number, got -1"),
        ({"delta": float("nan")}, "delta must be a positive finite number, got nan"),
        ({"delta": "3"}, "delta must be a positive finite number, got '3'"),
        ({"problem": "phase-retrieval"}, "problem must be a dmft.Problem, got str"),
        ({"method": 0.1}, "method must be a dmft.GradientDescent or dmft.GradientFlow, got float"),
        ({"sampling": 1024}, "sampling must be a dmft.Sampling, got int"),
        ({"hessian_steps": [4]}, r"hessian_steps must lie in 0\.\.n_steps = 0\.\.3, got 4"),
        ({"hessian_steps": [-1]}, "hessian_steps"),
        ({"threads": 0}, "threads"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {
        "problem": easy_problem(),
        "delta": 2.0,
        "method": dmft.GradientDescent(0.1, 3),
        "sampling": SAMPLING,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        solve(**arguments)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (lambda z, eps: z, r"label must return an array of shape \(N,\)"),
        (lambda z, eps: np.log(z[:, 0]), "label returned non-finite values"),
        (lambda z, eps: z[:, 5], "label .* failed"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_unusable_label_functions(label, message):
    with pytest.raises(ValueError, match=message):
        dmft.Target(label, hard_directions=[])


def test_a_label_that_works_in_place_changes_nothing():
    def in_place(z, eps):
        z *= 2
        return z[:, 0] ** 2

    method = dmft.GradientDescent(0.1, 2)
    problems = [
        dmft.Problem(dmft.Target(label), loss="pseudo-huber")
        for label in (in_place, lambda z, eps: 4 * z[:, 0] ** 2)
    ]
    dirty, clean = (solve(problem, 2.0, method, SAMPLING).train_loss for problem in problems)
    np.testing.assert_array_equal(dirty, clean)


def test_overlapping_solves_leave_blas_as_it_was():
    from threadpoolctl import threadpool_info

    from dmft._numerics.workers import single_threaded_blas

    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    first, second = single_threaded_blas(), single_threaded_blas()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(threads()) == {1}
    second.__exit__(None, None, None)
    assert threads() == before


def test_the_basis_stays_orthonormal_over_many_steps():
    """Errors of earlier rows must not be passed on enlarged, or they grow exponentially."""
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), loss="pseudo-huber")
    found = dmft.solve(
        problem, 6.0, dmft.GradientDescent(0.1, 120),
        dmft.Sampling(n_paths=512, replicates=2, rank_tolerance=1e-8), keep_paths=True,
    )  # fmt: skip
    paths = found._runs[0].paths
    w = np.concatenate(paths.basis.blocks(paths.basis.n_rows), axis=1)
    assert len(w) > 120
    assert np.abs(w @ w.T / w.shape[1] - np.eye(len(w))).max() < 1e-12
