"""Initial weights: radii, Gram matrix, overlaps, law; in the limit and at finite dimension."""

import numpy as np
import pytest
from small import METHOD, solve

import dmft
from dmft import GradientDescent, Network, Problem, Sampling
from dmft.model.initialization import semidefinite_factor

GRAM = np.array([[1.0, 0.5], [0.5, 0.8]])
OVERLAP = np.array([[0.3, 0.0], [-0.2, 0.0]])


def two(activation="gelu", second_layer=(1.0, -0.5), target="easy-hard", **settings):
    return Problem(target, Network(activation, second_layer), "pseudo-huber", **settings)


# -- the limit -----------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [None, OVERLAP])
@pytest.mark.parametrize(
    "gram", [GRAM, np.ones((2, 2)) * 0.49, [[1.0, -1.0], [-1.0, 1.0]], np.diag([0.0, 1.0])]
)
def test_initial_weights_have_gram_matrix_and_overlap(gram, overlap):
    gram = np.array(gram)
    if overlap is not None:
        overlap = gram @ np.array([[0.5, 0.0], [0.1, 0.0]])  # in the range of the Gram matrix
        gram = gram + overlap @ overlap.T
    problem = two(init_gram=gram, initial_overlap=overlap)
    B = problem.initial_weights()
    np.testing.assert_allclose(B @ B.T, gram, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(B[:, :2], 0.0 if overlap is None else overlap)
    np.testing.assert_array_equal(problem.gram, gram)


def test_radii_of_ones_own():
    problem = two(init_radius=[0.5, 2.0])
    assert problem.init_radius == (0.5, 2.0)
    np.testing.assert_array_equal(problem.initial_weights()[:, 2:], np.diag([0.5, 2.0]))
    assert two(init_radius=[0.7, 0.7]) == two(init_radius=0.7)
    assert two(init_gram=GRAM).init_radius == (1.0, np.sqrt(0.8))
    assert two(init_gram=GRAM, init_radius=[1.0, np.sqrt(0.8)]) == two(init_gram=GRAM)
    assert two(init_gram=GRAM) != two()
    assert len({two(init_gram=GRAM), two(init_gram=GRAM.tolist()), two()}) == 2


def test_a_gram_matrix_that_says_the_default_changes_no_bit():
    usual, stated = (
        solve(two(**more)) for more in ({"init_radius": 0.8}, {"init_gram": 0.8**2 * np.eye(2)})
    )
    np.testing.assert_allclose(stated.correlation, usual.correlation, rtol=1e-12, atol=1e-13)
    gaussian = solve(two(init_radius=0.8, init_law="gaussian"))
    np.testing.assert_array_equal(gaussian.correlation, usual.correlation)


@pytest.mark.parametrize("activation", ["tanh", "relu", "quadratic"])
def test_equal_neurons_stay_equal_and_are_one_neuron_twice_as_strong(activation):
    double = Problem(
        "easy-hard", Network(activation, [0.5, 0.5]), "pseudo-huber",
        initial_overlap=[[0.3, 0.0], [0.3, 0.0]], init_gram=np.ones((2, 2)),
    )  # fmt: skip
    pair = solve(double)
    C, M = pair.correlation, pair.overlap
    for i, j in ((0, 1), (1, 0), (1, 1)):
        np.testing.assert_allclose(C[..., i, j], C[..., 0, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(M[:, 1], M[:, 0], rtol=0, atol=1e-12)
    # Each of the two sees half of the gradient that the one sees.
    single = Problem(
        "easy-hard", Network(activation, [1.0]), "pseudo-huber", initial_overlap=[[0.3, 0.0]]
    )
    one = solve(single, method=GradientDescent(0.1, 6))
    for name in ("norm", "overlap"):
        error = np.hypot(one.stderr[name][:, 0, 0], pair.stderr[name][:, 0, 0]) + 1e-12
        difference = getattr(one, name)[:, 0, 0] - getattr(pair, name)[:, 0, 0]
        assert np.max(np.abs(difference) / error) < 5.0
    error = np.hypot(one.stderr["train_loss"], pair.stderr["train_loss"])
    assert np.max(np.abs(one.train_loss - pair.train_loss) / error) < 5.0


def test_the_order_of_neurons_does_not_matter():
    forward = two(init_gram=GRAM, initial_overlap=OVERLAP)
    backward = two(
        second_layer=(-0.5, 1.0), init_gram=GRAM[::-1, ::-1], initial_overlap=OVERLAP[::-1]
    )
    a, b = solve(forward), solve(backward)
    error = np.hypot(a.stderr["norm"], b.stderr["norm"][:, ::-1, ::-1]) + 1e-12
    assert np.max(np.abs(a.norm - b.norm[:, ::-1, ::-1]) / error) < 5.0


def test_linear_neurons_learn_as_their_sum_does():
    """w = sum_j a_j theta_j, |a| = 1, is one linear neuron whatever the Gram matrix of the rest.

    Exact overlaps of the test bank: E[x/(x+lam) (1 - (1 - eta(x+lam))^t)], x Marchenko-Pastur.
    """
    a = np.array([0.6, 0.8])
    problem = Problem(
        "linear", Network("linear", a), "square", weight_decay=0.5, init_gram=[[1, -0.9], [-0.9, 1]]
    )
    trajectory = solve(problem, 3.0, GradientDescent(0.1, 10), Sampling(4096, 8))
    M = trajectory.overlap[:, :, 0] @ a
    error = trajectory.stderr["overlap"][:, :, 0] @ a
    for t, exact in ((1, 0.1), (2, 0.18166667), (5, 0.34979584), (10, 0.48846611)):
        assert abs(M[t] - exact) < 5.0 * error[t] + 1e-8
        assert abs(M[t] - exact) < 2e-3


def test_the_first_step_of_a_linear_network_from_a_given_overlap():
    problem = Problem(
        "linear", Network("linear", [0.6, 0.8]), "square", weight_decay=0.1,
        init_gram=GRAM, initial_overlap=[[0.3], [-0.2]],
    )  # fmt: skip
    trajectory = solve(problem, 3.0, GradientDescent(0.2, 1), Sampling(4096, 8))
    a, M = np.array([0.6, 0.8]), np.array([0.3, -0.2])
    exact = M - 0.2 * (a * (a @ M - 1.0) + 0.1 * M)
    np.testing.assert_allclose(trajectory.overlap[1, :, 0], exact, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "abs", "quadratic"])
def test_at_radius_zero_flat_activations_stay_and_nothing_is_divided_by_it(activation):
    problem = two(activation, init_radius=0.0)
    trajectory = solve(problem)
    assert trajectory.status.ok
    np.testing.assert_array_equal(trajectory.norm, 0.0)
    np.testing.assert_array_equal(trajectory.gradient_norm, 0.0)
    np.testing.assert_array_equal(trajectory.train_loss, trajectory.train_loss[0])
    law = trajectory.hessian(METHOD.n_steps)
    assert np.isfinite(law.weights).all()
    run = dmft.simulate(problem, 4.0, METHOD, 40, 2, workers=1, hold_hard=True, hessian_steps=[0])
    assert run.status.ok
    np.testing.assert_array_equal(run.correlation, 0.0)


@pytest.mark.simulation
@pytest.mark.parametrize("activation", ["leaky-relu", "clipped-linear", "gelu"])
def test_others_leave_radius_zero_as_simulations_do(activation):
    problem = two(activation, init_radius=0.0)
    trajectory = solve(problem, method=GradientDescent(0.2, 3))
    assert trajectory.status.ok
    run = dmft.simulate(problem, 4.0, GradientDescent(0.2, 3), 400, 8, workers=1, hold_hard=True)
    error = np.hypot(run.stderr["correlation"], trajectory.stderr["norm"])[1:]
    difference = (run.mean["correlation"] - trajectory.norm)[1:]
    assert np.all(np.abs(difference) < 5.0 * error + 0.1 * np.abs(trajectory.norm[1:]))
    assert trajectory.norm[-1, 0, 0] > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "leaky-relu", "abs"])
@pytest.mark.parametrize("scale", [2.0**-8, 4.0])
def test_homogeneous_activations_know_no_radius(activation, scale):
    """theta -> c theta, a -> a / c, eta -> c^2 eta changes norms only, by c^2."""
    sampling = Sampling(n_paths=1024, replicates=8, rank_tolerance=0.0)  # it is of weights
    one = solve(two(activation), method=GradientDescent(0.2, 4), sampling=sampling)
    other = solve(
        two(activation, second_layer=(1.0 / scale, -0.5 / scale), init_radius=scale),
        method=GradientDescent(0.2 * scale**2, 4),
        sampling=sampling,
    )
    np.testing.assert_allclose(other.norm / scale**2, one.norm, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(other.train_loss, one.train_loss, rtol=1e-8)
    np.testing.assert_allclose(other.test_loss, one.test_loss, rtol=1e-8)


def test_semidefinite_factor_drops_rounding_pivots():
    rng = np.random.default_rng(0)
    for rank in (1, 2, 3):
        root = rng.standard_normal((4, rank))
        factor = semidefinite_factor(root @ root.T, np.full(4, 10.0))
        np.testing.assert_allclose(factor @ factor.T, root @ root.T, atol=1e-13)
        assert np.count_nonzero(np.diag(factor)) == rank
        assert np.array_equal(factor, np.tril(factor))


@pytest.mark.parametrize("overlap", [None, np.array([[0.6, 0.0], [0.0, 0.0]])])
def test_a_tiny_radius_beside_a_large_one_is_kept(overlap):
    problem = two(init_radius=[1.0, 1e-8], initial_overlap=overlap)
    first = 1.0 if overlap is None else 0.8
    np.testing.assert_allclose(problem.initial_weights()[:, 2:], np.diag([first, 1e-8]), rtol=1e-12)


# -- finite dimension ----------------------------------------------------------------------------


def start(problem, d=60, seeds=4, **more):
    return dmft.simulate(problem, 2.0, GradientDescent(0.1, 0), d, seeds, workers=1, **more)


def test_on_the_sphere_gram_matrix_and_overlap_hold_exactly():
    run = start(two(init_gram=GRAM, initial_overlap=OVERLAP))
    np.testing.assert_allclose(run.correlation[:, 0], np.broadcast_to(GRAM, (4, 2, 2)), atol=1e-13)
    np.testing.assert_allclose(run.overlap[:, 0, :, 0], np.tile(OVERLAP[:, 0], (4, 1)), atol=1e-13)
    assert np.all(np.abs(run.overlap[:, 0, :, 1]) > 1e-4)  # the hard direction is left to chance
    held = start(two(init_gram=GRAM, initial_overlap=OVERLAP), hold_hard=True)
    np.testing.assert_allclose(held.correlation[:, 0], np.broadcast_to(GRAM, (4, 2, 2)), atol=1e-13)
    np.testing.assert_array_equal(held.overlap[:, 0, :, 1], 0.0)


def test_radii_hold_exactly_and_equal_neurons_are_equal():
    run = start(two(init_radius=[0.5, 2.0]))
    norms = np.diagonal(run.correlation[:, 0], axis1=1, axis2=2)
    np.testing.assert_allclose(norms, np.tile([0.25, 4.0], (4, 1)), rtol=1e-12)
    equal = two(second_layer=(0.5, 0.5), init_gram=np.full((2, 2), 0.49))
    run = dmft.simulate(equal, 3.0, METHOD, 50, 2, workers=1)
    np.testing.assert_allclose(run.correlation, run.correlation[:, :, :1, :1] + np.zeros((2, 2)),
                               rtol=1e-12)  # fmt: skip


@pytest.mark.parametrize(
    ("radii", "overlap"),
    [([1.0, 1.0], OVERLAP), ([0.5, 2.0], OVERLAP), ([1.0, 1.0], [[0.8, 0.0], [0.6, 0.0]])],
)
def test_radii_hold_exactly_beside_an_overlap(radii, overlap):
    run = start(two(init_radius=radii, initial_overlap=overlap))
    norms = np.diagonal(run.correlation[:, 0], axis1=1, axis2=2)
    np.testing.assert_allclose(norms, np.tile(np.square(radii), (4, 1)), rtol=1e-12)
    expected = np.tile(np.asarray(overlap)[:, 0], (4, 1))
    np.testing.assert_allclose(run.overlap[:, 0, :, 0], expected, atol=1e-13)


@pytest.mark.slow
def test_gaussian_weights_hold_them_in_expectation():
    problem = two(init_gram=GRAM, initial_overlap=OVERLAP, init_law="gaussian")
    d, seeds = 50, 200
    run = start(problem, d, seeds)
    for name, expected in (("correlation", GRAM), ("overlap", OVERLAP)):
        mean, error = run.mean[name][0], run.stderr[name][0]
        assert np.all(np.abs(mean - expected) < 4.5 * error)
        assert np.all(error > 0.2 / np.sqrt(d * seeds))  # and not exactly
    spread = run.overlap[:, 0].std(axis=0) * np.sqrt(d)
    rest = np.sqrt(np.diag(GRAM - OVERLAP @ OVERLAP.T))
    np.testing.assert_allclose(spread, np.stack([rest, rest], axis=1), rtol=0.15)


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.parametrize("law", ["sphere", "gaussian"])
def test_theory_and_simulation_agree_from_a_correlated_start(law):
    problem = two(init_gram=GRAM, initial_overlap=OVERLAP, init_law=law)
    theory = solve(problem, sampling=Sampling(4096, 8))
    runs = [
        dmft.simulate(problem, 4.0, METHOD, d, 12, workers=1, hold_hard=True) for d in (200, 400)
    ]
    assert dmft.compare(theory, runs).p_value > 1e-3


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_gram": [[1.0, 2.0], [2.0, 1.0]]}, r"init_gram must be positive semidefinite.* -1$"),
        ({"init_gram": [[1.0, 0.2], [0.3, 1.0]]}, "init_gram must be a symmetric array"),
        ({"init_gram": np.eye(3)}, r"init_gram must be .*\(2, 2\), got shape \(3, 3\)"),
        ({"init_gram": [1.0, 1.0]}, r"init_gram must be a symmetric array"),
        ({"init_gram": [[np.nan, 0], [0, 1]]}, "init_gram must have finite entries"),
        (
            {"init_gram": np.ones((2, 2)), "initial_overlap": [[0.3, 0.0], [0.1, 0.0]]},
            r"initial_overlap must leave Q - M M\^T positive semidefinite",
        ),
        (
            {"init_radius": [1.0, 0.1], "initial_overlap": [[0.0, 0.0], [0.2, 0.0]]},
            r"initial_overlap must leave Q - M M\^T positive semidefinite",
        ),
        ({"init_gram": GRAM, "init_radius": 1.0}, "init_radius must be left out with init_gram"),
        ({"init_radius": [1.0, 2.0, 3.0]}, "init_radius must be a number >= 0 or a sequence of m"),
        ({"init_radius": [1.0, -2.0]}, "init_radius must be a number >= 0 or a sequence of m"),
        ({"init_radius": "large"}, "init_radius must be a finite number >= 0, got 'large'"),
        ({"init_law": "gausian"}, "init_law must be one of .*did you mean 'gaussian'"),
    ],
)
def test_bad_starts(settings, message):
    with pytest.raises(ValueError, match=message) as info:
        two(**settings)
    assert "\n" not in str(info.value)


def test_gaussian_weights_have_no_exact_overlap_with_hard_directions():
    problem = two(init_law="gaussian")
    with pytest.raises(ValueError, match="init_law must be 'sphere' for an overlap with hard"):
        dmft.simulate(problem, 2.0, METHOD, 50, 2, hard_overlap=0.1)
    with pytest.raises(ValueError, match="init_law must be 'sphere' for an overlap with hard"):
        dmft.simulate(problem.with_hard_overlap(0.1), 2.0, METHOD, 50, 2)
    with pytest.raises(ValueError, match=r"hard_overlap must leave Q - M M\^T"):
        dmft.simulate(two(init_gram=np.ones((2, 2))), 2.0, METHOD, 50, 2,
                      hard_overlap=[[0.1], [0.2]])  # fmt: skip


def test_grokking_wants_independent_neurons():
    problem = Problem(
        "phase-retrieval", Network("quadratic", [1.0, -1.0]), init_gram=np.ones((2, 2))
    )
    with pytest.raises(ValueError, match="linearly independent neurons"):
        dmft.predict_grokking(problem, 4.0, METHOD, 1000)


# -- records -------------------------------------------------------------------------------------


def test_records_of_new_and_old_settings():
    problem = two(init_gram=GRAM, initial_overlap=OVERLAP, init_law="gaussian")
    assert Problem.from_config(problem.to_config()) == problem
    assert Problem.from_config(two(init_radius=[1, 0.5]).to_config()) == two(init_radius=[1, 0.5])
    # What was the whole configuration before still is, where the new settings are not used.
    assert set(two().to_config()) == {
        "target", "network", "loss", "init_radius", "weight_decay", "initial_overlap",
    }  # fmt: skip
    assert set(two().to_config()["target"]) == {"label", "k", "noise", "hard_directions"}
    assert problem.with_hard_overlap(0.01).init_gram.tolist() == GRAM.tolist()


def test_results_of_another_start_are_not_taken_for_one():
    theory = solve(two(), method=GradientDescent(0.2, 1))
    run = dmft.simulate(two(init_gram=np.eye(2)), 4.0, GradientDescent(0.2, 1), 40, 2, workers=1)
    with pytest.raises(ValueError, match="init_gram"):
        dmft.compare(theory, run)


def test_saved_results_keep_the_start(tmp_path):
    problem = two(init_gram=GRAM, initial_overlap=OVERLAP)
    trajectory = solve(problem, method=GradientDescent(0.2, 1))
    trajectory.save(tmp_path / "t.npz")
    assert dmft.Trajectory.load(tmp_path / "t.npz").problem == problem
    with pytest.raises(ValueError, match="its init_gram is"):
        dmft.Trajectory.load(
            tmp_path / "t.npz", two(initial_overlap=OVERLAP, init_radius=[1, 0.8**0.5])
        )
