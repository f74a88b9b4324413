"""Escape along a hard direction: the law of the initial overlap, and the runs from it."""

import finite_size
import numpy as np
import problems
import pytest
import scipy.stats

import dmft
from dmft.simulation.finite_data import ImposedOverlap, initial_weights
from dmft.solver.replicates import solve_antithetic
from dmft.studies.fall_times import fall_step, fall_time_quantiles
from dmft.studies.grokking import Grokking, predict_grokking
from dmft.studies.initial_overlap import effective_initial_overlap, random_covariance

SAMPLING = dmft.Sampling(n_paths=1024, replicates=4, seed=3)


def retrieval(**settings):
    return dmft.Problem(
        "phase-retrieval", dmft.Network("quadratic"), loss="pseudo-huber", **settings
    )


def step(n_steps, eta=0.2):
    return dmft.GradientDescent(eta, n_steps)


# ------------------------------------------------------------------ antithetic paths


def test_without_overlap_antithetic_paths_keep_it_at_zero():
    run = solve_antithetic(retrieval(), 8.0, step(30), SAMPLING)
    assert np.max(np.abs(run.weights[:, :, 0])) < 1e-12
    # The spread of the mirrored runs over seeds: one run has no error of its own.
    runs = [
        run,
        *(
            solve_antithetic(retrieval(), 8.0, step(30), dmft.Sampling(1024, 4, seed))
            for seed in range(4, 11)
        ),
    ]
    norms = np.array([np.sum(run.weights[1:, 0] ** 2, axis=1) for run in runs])
    plain = dmft.solve(retrieval(), 8.0, step(30), dmft.Sampling(2048, 8, seed=3))
    error = np.hypot(norms.std(axis=0, ddof=1) / np.sqrt(8), plain.stderr["norm"][1:, 0, 0])
    assert np.all(np.abs(norms.mean(axis=0) - plain.norm[1:, 0, 0]) < 3.5 * error)


def test_small_overlaps_grow_in_proportion():
    # GELU: with r^2, a few paths of large r are unstable and chaotic in so small a sample.
    network = dmft.Network("gelu")
    runs = [
        solve_antithetic(
            dmft.Problem(
                "phase-retrieval", network, loss="pseudo-huber", initial_overlap=[[start]]
            ),
            12.0, step(60), SAMPLING,
        )
        for start in (5e-4, 1e-3, -1e-3)
    ]  # fmt: skip
    gains = [run.weights[:, 0, 0] / run.weights[0, 0, 0] for run in runs]
    assert gains[0][60] > 5.0  # an instability: noise of the paths would have been amplified too
    np.testing.assert_allclose(gains[0], gains[1], rtol=3e-3)
    np.testing.assert_allclose(gains[1], gains[2], rtol=1e-5)


@pytest.mark.slow
def test_a_solve_from_an_overlap_follows_simulations():
    start, d, n_steps = 0.3, 600, 12
    found = dmft.solve(retrieval(initial_overlap=[[start]]), 6.0, step(n_steps), SAMPLING)
    overlaps = []
    for seed in range(24):
        run = descend(d, 6.0, n_steps, seed, start)
        overlaps.append(run[0])
    mean = np.mean(overlaps, axis=0)
    error = np.std(overlaps, axis=0, ddof=1) / np.sqrt(len(overlaps))
    total = np.hypot(error[1:], found.stderr["overlap"][1:, 0, 0])
    assert np.max(np.abs(mean[1:] - found.overlap[1:, 0, 0]) / total) < 3.5


def descend(d, delta, n_steps, seed, start=None):
    """Overlap and squared norm of plain gradient descent, phase retrieval by one neuron r^2."""
    rng = np.random.default_rng(seed)
    n = round(delta * d)
    X = rng.standard_normal((n, d))
    y = X[:, 0] ** 2
    theta = rng.standard_normal(d)
    if start is not None:
        theta[0] = 0.0
        theta *= np.sqrt(1.0 - start**2) / np.linalg.norm(theta)
        theta[0] = start
    else:
        theta /= np.linalg.norm(theta)
    activation, loss = problems.ACTIVATIONS["quadratic"], problems.LOSSES["pseudo-huber"]
    overlap, square = [theta[0]], [theta @ theta]
    for _ in range(n_steps):
        r = X @ theta
        g = loss[1](activation[0](r), y) * activation[1](r)
        theta = theta - 0.2 * (X.T @ g) / n
        overlap.append(theta[0])
        square.append(theta @ theta)
    return np.array(overlap), np.array(square)


# ------------------------------------------------------------------ law of the initial overlap


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_linear_network_on_labels_that_ignore_the_inputs(noise):
    """Theta^t = u_t(S) Theta^0 + v_t(S) X^T y / n: everything is a Marchenko-Pastur average."""
    delta, eta, n_steps = 2.0, 0.3, 12
    target = dmft.Target(lambda z, eps: noise * eps, hard_directions=[0])
    problem = dmft.Problem(target, dmft.Network("linear"))
    law = effective_initial_overlap(
        problem, delta, step(n_steps, eta), dmft.Sampling(n_paths=4096, replicates=8)
    )
    x, w = problems.marchenko_pastur_nodes(delta)
    t = np.arange(n_steps + 1)[:, None]
    u = (1.0 - eta * x) ** t
    v = (1.0 - u) / x
    gain, variance = u @ w, (u**2) @ w - (u @ w) ** 2 + noise**2 / delta * ((x * v**2) @ w)
    assert law.last_step == n_steps
    np.testing.assert_allclose(law.gain[:, 0, 0, 0, 0], gain, atol=2e-3)
    np.testing.assert_allclose(law.noise[:, 0, 0, 0, 0], variance, rtol=0.02, atol=2e-4)
    np.testing.assert_array_equal(law.covariance, 0.0)  # the overlap only shrinks


@pytest.mark.slow
def test_mean_and_spread_of_simulated_overlaps():
    delta, d, n_steps, seeds, start = 6.0, 400, 8, 300, 0.05
    law = effective_initial_overlap(retrieval(), delta, step(n_steps), SAMPLING)
    overlaps = np.array([descend(d, delta, n_steps, s, start)[0] for s in range(seeds)])
    gain, variance = law.gain[:, 0, 0, 0, 0], law.noise[:, 0, 0, 0, 0] / d
    mean, spread = overlaps.mean(axis=0), overlaps.var(axis=0, ddof=1)
    assert np.all(np.abs(mean - gain * start)[1:] < 3.5 * np.sqrt(spread[1:] / seeds))
    # A variance over 300 runs is known to 8 % (one standard error).
    assert np.all(np.abs(spread[1:] / variance[1:] - 1.0) < 3.5 * np.sqrt(2.0 / seeds))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"init_gram": [[1.0, 0.5], [0.5, 0.8]]},
        {"init_radius": [1.0, 0.7], "init_law": "gaussian"},
        {"init_radius": 1.0},
    ],
)
@pytest.mark.parametrize("overlap", [None, [[0.8, 0.0], [0.2, 0.0]]])
def test_covariance_of_arandom_covariance(settings, overlap):
    network = dmft.Network("gelu", [1.0, -0.5])
    problem = dmft.Problem("easy-hard", network, initial_overlap=overlap, **settings)
    imposed, d, draws = ImposedOverlap.of(problem, None), 150, 4000
    frame, rng = np.eye(2, d), np.random.default_rng(5)
    hard = [initial_weights(problem, frame, imposed, rng)[0][:, 1] for _ in range(draws)]
    expected = random_covariance(problem)
    variance = np.diag(expected)
    # Of Gaussian entries; the d - 2 free coordinates of a sphere are told from d at 1 %.
    error = np.sqrt((expected**2 + np.outer(variance, variance)) / draws)
    assert np.all(np.abs(d * np.cov(hard, rowvar=False) - expected) < 4.0 * error + 0.02)


def test_neurons_that_do_not_interact_have_no_cross_gain():
    """At two neurons with opposite weights the gain is symmetric under their exchange."""
    problem = dmft.Problem("product", dmft.Network("quadratic", [0.5, -0.5]), loss="pseudo-huber")
    law = effective_initial_overlap(problem, 6.0, step(6), SAMPLING)
    gain = law.gain[-1]  # (m, k_h, m, k_h)
    # y = z1 z2 is unchanged by (z1, z2) -> (z2, z1), and by z1 -> -z1 together with a exchange of
    # the neurons and of the sign of f - y: latent directions enter alike.
    np.testing.assert_allclose(gain, gain[:, ::-1, :, ::-1], atol=0.05)
    assert law.covariance.shape == (4, 4)
    assert np.linalg.eigvalsh(law.covariance)[0] > -1e-12


# ------------------------------------------------------------------ runs of finite dimension


@pytest.mark.slow
def test_time_of_the_fall_against_simulation():
    d, delta, n_steps, seeds = 300, 6.0, 120, 80
    found = predict_grokking(
        retrieval(), delta, step(n_steps), d, sampling=SAMPLING, probabilities=(0.25, 0.5, 0.75)
    )
    assert found.status.ok
    assert found.fall_time[0, 0] < found.fall_time[0, 1] < found.fall_time[0, 2]
    np.testing.assert_array_equal(found.fall_time_stderr, 0.0)  # quantiles of one number
    times = []
    for seed in range(seeds):
        overlap, square = descend(d, delta, n_steps, seed)
        times.append(np.argmax(overlap**2 > 0.5 * square) or np.inf)
    # The direction is learned when the squared cosine passes 1/2; the same in the predicted runs.
    for j, level in enumerate(found.probabilities):
        predicted = np.argmax(found.hard_cosine[0, j] > 0.5)
        below = np.count_nonzero(np.array(times) < predicted) / seeds
        assert abs(below - level) < 3.0 * np.sqrt(level * (1 - level) / seeds) + 0.06


@pytest.mark.slow
def test_larger_dimensions_escape_later_and_quantiles_are_ordered():
    found = predict_grokking(retrieval(), 6.0, step(90), [200, 800], sampling=SAMPLING,
                     probabilities=(0.3, 0.5))  # fmt: skip
    assert np.all(np.diff(found.fall_time, axis=0) > 0)
    assert np.all(np.diff(found.fall_time, axis=1) > 0)
    assert np.all(np.diff(found.start[:, :, 0, 0], axis=1) < 0)
    late = found.test_loss[:, :, -1]
    assert np.all(late < found.fall_level[:, None])
    assert np.all(found.hard_cosine[:, :, -1] > 0.9)


@pytest.mark.slow
def test_two_neurons_follow_drawn_starts():
    problem = dmft.Problem("product", dmft.Network("quadratic", [0.5, -0.5]), loss="pseudo-huber")
    found = predict_grokking(
        problem, 10.0, step(60), 200, n_draws=5, max_draws=5, probabilities=(0.5,),
        sampling=dmft.Sampling(n_paths=256, replicates=2),
    )  # fmt: skip
    assert found.start.shape == (1, 1, 2, 2)
    assert found.hard_cosine[0, 0, 0] < 0.2
    assert found.hard_cosine[0, 0, -1] > 0.5
    assert found.n_starts.tolist() == [5]


def test_times_over_the_law_of_the_initial_overlap():
    """T = 100 - 20 log |x|, x standard normal: 100 - 20 log of the quantiles of |x|."""
    levels = (0.1, 0.5, 0.9)
    exact = 100.0 - 20.0 * np.log(scipy.stats.halfnorm.ppf([0.9, 0.5, 0.1]))
    everything = np.log(np.abs(scipy.stats.norm.ppf((np.arange(1000) + 0.5) / 1000)))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        drawn = np.log(np.abs(rng.standard_normal(16)))
        times = 100.0 - 20.0 * drawn + 5.0 * rng.standard_normal(16)
        found.append(fall_time_quantiles(times, drawn, everything, levels, np.inf))
    values, errors = np.array(found).transpose(1, 0, 2)
    # With the scatter by 5 the law is that of T, a little wider at its ends.
    wide = 100.0 - 20.0 * everything[:, None] + 5.0 * rng.standard_normal(200)
    np.testing.assert_allclose(np.quantile(wide, levels), exact, atol=3.0)
    true = values.std(axis=0)
    covered = np.abs(values - np.quantile(wide, levels)) < 2.0 * errors
    assert np.all(covered.mean(axis=0) > 0.85)
    assert np.all(np.median(errors, axis=0) < 1.5 * true)
    # Of sixteen raw times the middle one scatters by a quarter of their spread.
    raw = np.std([np.median(100.0 - 20.0 * np.log(np.abs(rng.standard_normal(16))))
                  for _ in range(400)])  # fmt: skip
    assert true[1] < 0.4 * raw
    # Exact in x: nothing is left to chance.
    drawn = np.linspace(-3.0, 1.0, 16)
    value, error = fall_time_quantiles(100.0 - 20.0 * drawn, drawn, everything, levels, np.inf)
    np.testing.assert_allclose(value, exact, rtol=2e-3)
    np.testing.assert_allclose(error, 0.0, atol=1e-9)


def test_times_that_are_not_reached_are_not_extrapolated():
    drawn = np.linspace(-3.0, 1.0, 16)
    times = 100.0 - 20.0 * drawn
    late = np.where(times > 120.0, np.nan, times)  # half of them
    value, error = fall_time_quantiles(late, drawn, drawn, (0.1, 0.4, 0.9), 120.0)
    assert np.isnan(value).tolist() == np.isnan(error).tolist() == [False, False, True]
    value, _ = fall_time_quantiles(np.full(16, np.nan), drawn, drawn, (0.5,), 120.0)
    assert np.isnan(value).all()


@pytest.mark.slow
def test_the_error_of_drawn_starts_is_reported():
    """easy-hard by two neurons: the time depends on one direction of the start alone."""
    problem = dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, 1.0]), "pseudo-huber")
    few = dmft.Sampling(n_paths=256, replicates=2, seed=3)
    settings = {"d": 40, "sampling": few, "probabilities": (0.25, 0.5)}
    rough = predict_grokking(problem, 8.0, step(90), n_draws=8, max_draws=8, rtol=1e-6, **settings)
    found = predict_grokking(problem, 8.0, step(90), n_draws=12, **settings)
    assert (rough.n_starts.tolist(), found.n_starts.tolist()) == ([8], [12])
    assert np.all(rough.fall_time_stderr > 0)
    error = np.hypot(rough.fall_time_stderr, found.fall_time_stderr)
    assert np.all(np.abs(rough.fall_time - found.fall_time) < 4 * error)
    # A third of the starts fall later than step 90: the status says so, of either.
    assert found.status is rough.status is dmft.Status.MAX_STEPS
    assert "raise n_steps" in found.detail
    assert "rtol" not in found.detail
    assert np.all(found.fall_time_stderr < 0.03 * found.fall_time)
    assert "above rtol = 1e-06" in rough.detail


@pytest.mark.slow
def test_a_small_neuron_beside_a_large_one():
    network = dmft.Network("quadratic", [1.0, 1.0])
    problem = dmft.Problem("phase-retrieval", network, "pseudo-huber", init_radius=[1.0, 0.05])
    few = dmft.Sampling(n_paths=256, replicates=2)
    found = predict_grokking(problem, 6.0, step(6), 4000, sampling=few, n_draws=4)
    assert np.isfinite(found.hard_cosine).all()
    sizes = np.abs(found.start[0, :, :, 0]).max(axis=0)
    assert 0.0 < sizes[1] < 0.05
    # The pushes are small beside either neuron: the other direction of the gain is linear too.
    law = effective_initial_overlap(problem, 6.0, step(6), few)
    assert law.last_step == 6
    np.testing.assert_array_equal(law.gain[0, :, 0, :, 0], np.eye(2))
    with pytest.raises(ValueError, match=r"small start: .* init_radius is \[1\.0, 0\.05\]$"):
        predict_grokking(
            problem, 6.0, step(2), 4000, sampling=few, n_draws=4, hard_overlap=[[0.0], [0.0499]]
        )


@pytest.mark.slow
def test_a_large_overlap_with_an_easy_direction_leaves_little_room():
    problem = dmft.Problem("easy-hard", dmft.Network("gelu"), "pseudo-huber",
                           initial_overlap=[[0.9999, 0.0]])  # fmt: skip
    few = dmft.Sampling(n_paths=256, replicates=2)
    found = predict_grokking(problem, 8.0, step(3), 10**6, sampling=few)
    assert np.isfinite(found.hard_cosine).all()
    with pytest.raises(ValueError, match="d must be large enough for a small start"):
        predict_grokking(problem, 8.0, step(3), 10**6, sampling=few, hard_overlap=0.0135)


def test_an_imposed_overlap_is_the_mean_of_the_start():
    sampling = dmft.Sampling(n_paths=256, replicates=2)
    found = predict_grokking(
        retrieval(), 6.0, step(40), [300, 30_000], hard_overlap=[0.2, 0.2],
        probabilities=(0.2, 0.5), sampling=sampling,
    )  # fmt: skip
    np.testing.assert_allclose(found.start[1, 1], 0.2, rtol=1e-3)
    spread = found.start[:, 0, 0, 0] - found.start[:, 1, 0, 0]
    np.testing.assert_allclose(spread[0] / spread[1], 10.0, rtol=0.05)  # d^(1/2)


@pytest.mark.slow
@pytest.mark.parametrize(("n_steps", "d"), [(4, 10_000), (12, 100_000), (20, 10**7)])
def test_a_run_without_a_fall_says_so(n_steps, d):
    """The test loss falls from its start in any case: that is not what is asked."""
    found = predict_grokking(retrieval(), 6.0, step(n_steps), d, sampling=SAMPLING)
    assert found.status is dmft.Status.MAX_STEPS
    assert np.isnan(found.fall_time).all()
    assert np.all(found.hard_cosine < 0.1)


@pytest.mark.slow
def test_learning_an_easy_direction_is_not_a_fall():
    problem = dmft.Problem("easy-hard", dmft.Network("gelu"), "pseudo-huber")
    found = predict_grokking(
        problem, 8.0, step(30), 30_000, sampling=dmft.Sampling(n_paths=256, replicates=2),
        probabilities=(0.5,),
    )  # fmt: skip
    assert found.test_loss[0, 0, -1] < 0.7 * found.test_loss[0, 0, 0]
    assert found.status is dmft.Status.NO_OUTLIER  # the overlap with the hard one only shrinks
    assert np.max(found.gain) <= 1.0
    assert np.isnan(found.fall_time).all()


@pytest.mark.slow
def test_the_unit_of_the_overlap_is_the_radius():
    """A network r^2 at radius rho, with a = 1/rho^2, is that of radius one with steps rho^-2."""
    one = effective_initial_overlap(retrieval(), 8.0, step(40), SAMPLING)
    network = dmft.Network("quadratic", [0.01])
    ten = dmft.Problem("phase-retrieval", network, "pseudo-huber", init_radius=10.0)
    scaled = effective_initial_overlap(ten, 8.0, step(40, 20.0), SAMPLING)
    assert scaled.last_step == one.last_step < 40
    np.testing.assert_allclose(scaled.gain, one.gain, rtol=1e-3)
    np.testing.assert_allclose(scaled.covariance, 100.0 * one.covariance, rtol=1e-2)


def test_save_and_load(tmp_path):
    found = predict_grokking(
        retrieval(), 6.0, step(10), 100, sampling=SAMPLING, probabilities=(0.5,)
    )
    found.save(tmp_path / "run.npz")
    loaded = Grokking.load(tmp_path / "run.npz")
    np.testing.assert_array_equal(loaded.test_loss, found.test_loss)
    np.testing.assert_array_equal(loaded.fall_time_stderr, found.fall_time_stderr)
    np.testing.assert_array_equal(loaded.n_starts, [1])
    assert loaded.d == found.d
    assert loaded.status is found.status
    assert loaded.config["delta"] == 6.0


def test_fall_step():
    assert fall_step([3.0, 4.0, 2.0, 3.5, 1.0], 3.0) == 1.5
    assert np.isnan(fall_step([1.0, 2.0, 1.9], 1.5))
    assert np.isnan(fall_step([np.nan, np.nan], 1.5))


# ------------------------------------------------------------------ the Hessian along an escape


@pytest.mark.slow
@pytest.mark.simulation
def test_the_outlier_of_an_escaped_run_is_gone_in_simulation_and_theory():
    start, n_steps, d = 0.6, 10, 500
    problem = retrieval(initial_overlap=[[start]])
    found = dmft.solve(problem, 8.0, step(n_steps), dmft.Sampling(n_paths=2048, replicates=8))
    law = found.hessian(n_steps)
    assert law.hard is None  # coupled to the trajectory now
    left = [outlier for outlier in law.outliers("all") if outlier.side == "left"]
    runs = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n = round(8.0 * d)
        X = rng.standard_normal((n, d))
        y = X[:, 0] ** 2
        theta = rng.standard_normal((d, 1))
        theta[0] = 0.0
        theta *= np.sqrt(1.0 - start**2) / np.linalg.norm(theta)
        theta[0] = start
        act, loss = problems.ACTIVATIONS["quadratic"], problems.LOSSES["pseudo-huber"]
        for _ in range(n_steps):
            r = (X @ theta)[:, 0]
            g = loss[1](act[0](r), y) * act[1](r)
            theta = theta - 0.2 * (X.T @ g)[:, None] / n
        r = (X @ theta)[:, 0]
        D = loss[2](act[0](r), y) * act[1](r) ** 2 + loss[1](act[0](r), y) * act[2](r)
        runs.append(finite_size.smallest_eigenvalue(X, D[:, None, None], [0])[0])
    mean, error = np.mean(runs), np.std(runs, ddof=1) / np.sqrt(len(runs))
    predicted = left[0].value if left else law.edges().left
    # The edge itself is approached from above at finite d, by d^(-2/3).
    slack = 0.0 if left else 3.0 * d ** (-2 / 3)
    assert abs(mean - predicted) < 4 * error + slack + 5.0 / d


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"problem": dmft.Problem("linear")}, "problem must have a hard direction"),
        ({"problem": retrieval(initial_overlap=[[0.1]])}, "give it as hard_overlap"),
        ({"problem": retrieval(init_radius=0.0)}, "init_radius > 0"),
        ({"d": 2}, "d must be an integer >= 3, got 2"),
        ({"d": []}, "d must name at least one"),
        ({"d": [50, 50]}, "d must name distinct dimensions"),
        ({"d": 4, "hard_overlap": 0.99}, "d must be large enough for a small start"),
        ({"probabilities": (0.1, 0.9)}, "0.5 among them"),
        ({"probabilities": (0.5, 0.5)}, "increase strictly"),
        ({"hard_overlap": [0.1, 0.2, 0.3]}, r"hard_overlap must be .* got shape"),
        ({"hard_overlap": 1.5}, "singular values of at most init_radius"),
        ({"hard_overlap": "x"}, "hard_overlap must be"),
        ({"n_draws": 1}, "n_draws must be an integer >= 4, got 1"),
        ({"max_draws": 8}, "max_draws must be an integer >= 16, got 8"),
        ({"rtol": 0.0}, "rtol must be"),
        ({"method": step(0)}, "n_steps >= 1"),
        ({"delta": -1.0}, "delta must be"),
    ],
)
def test_bad_input(settings, message):
    arguments = {"problem": retrieval(), "delta": 4.0, "method": step(4), "d": 100} | settings
    with pytest.raises(ValueError, match=message):
        predict_grokking(**arguments, sampling=dmft.Sampling(n_paths=64, replicates=2))


def test_labels_must_be_even():
    def odd(z, eps):
        return z[:, 0] ** 2 + np.sign(z[:, 0] * eps)

    target = dmft.Target(odd, hard_directions=[0])
    with pytest.raises(ValueError, match="unchanged when all of them change sign"):
        dmft.Problem(target, initial_overlap=[[0.1]])
    with pytest.raises(ValueError, match="stay the same when all hard coordinates change sign"):
        predict_grokking(dmft.Problem(target), 4.0, step(3), 100)


def test_a_threshold_needs_a_start_without_overlap():
    problem = retrieval(initial_overlap=[[0.1]])
    with pytest.raises(ValueError, match="must start without overlap"):
        dmft.find_delta_nn(problem, step(3), (1.0, 4.0))
