"""Several falls of the test loss: features learned one after the other at finite dimension."""

from types import SimpleNamespace

import numpy as np
import pytest

import dmft
from dmft._numerics.execution import Execution
from dmft.model.features import separate_features
from dmft.model.gradients import pre_activation_gradient
from dmft.solver.replicates import solve_antithetic
from dmft.studies.fall_predictions import explained
from dmft.studies.followed_runs import _noise_force, follow_features

FEW = dmft.Sampling(n_paths=256, replicates=4, seed=3)


def two_squares(**settings):
    network = dmft.Network("quadratic", [1.0, 1.0])
    label = dmft.Target({"name": "two-squares", "weight": 0.3})
    return dmft.Problem(label, network, "pseudo-huber", **settings)


def descent(n_steps, eta=0.2):
    return dmft.GradientDescent(eta, n_steps)


def test_pairs_of_each_feature_keep_the_other_at_zero():
    """Also where the first has an overlap of order one, which one pair of paths would not."""
    problem = two_squares(initial_overlap=[[0.5, 0.0], [0.1, 0.0]])
    features = separate_features(problem.target)
    run = solve_antithetic(problem, 16.0, descent(8), FEW, features=features)
    assert np.max(np.abs(run.weights[:, :, 1])) < 1e-12
    paired = solve_antithetic(problem, 16.0, descent(8), FEW)
    assert np.max(np.abs(paired.weights[:, :, 1])) > 1e-4
    held = dmft.solve(problem, 16.0, descent(8), FEW)
    error = held.stderr["overlap"][1:, :, 0]
    assert np.all(np.abs(run.weights[1:, :, 0] - held.overlap[1:, :, 0]) < 5 * error)


def test_noise_of_the_data_has_its_covariance():
    """E[g^s g^s'^T z^2] / n over steps and neurons."""
    problem, n, rng = two_squares(), 50, np.random.default_rng(0)
    z, r = rng.standard_normal((2, 400)), rng.standard_normal((3, 2, 400))
    labels = problem.sample_labels(z.T, np.zeros(400))

    def drawn():
        run = SimpleNamespace(
            latent=z, labels=labels, scales=None, n_times=4,
            pre_activations={t: r[t].copy() for t in range(3)},
        )  # fmt: skip
        return _noise_force(problem, run, np.eye(2)[:, 1:], n, rng)

    draws = np.array([drawn() for _ in range(4000)])
    np.testing.assert_array_equal(draws[..., 0], 0.0)
    flat = draws[..., 1].reshape(4000, -1)
    g = np.array([pre_activation_gradient(problem, r[t], labels)[0] for t in range(3)])
    rows = (g * z[1]).reshape(6, -1)
    expected = rows @ rows.T / 400 / n
    sizes = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.all(np.abs(flat.T @ flat / 4000 - expected) < 5 * sizes / 4000**0.5)


@pytest.fixture(scope="module")
def found():
    return dmft.predict_grokking(
        two_squares(), 16.0, descent(90), 200, drops=2, n_draws=8, max_draws=8,
        sampling=FEW, probabilities=(0.5,),
    )  # fmt: skip


@pytest.mark.slow
def test_the_second_feature_falls_after_the_first(found, tmp_path):
    first, second = found.drops
    np.testing.assert_array_equal(first.directions, [[1.0], [0.0]])
    np.testing.assert_array_equal(second.directions, [[0.0], [1.0]])
    np.testing.assert_array_equal(first.fall_time, found.fall_time)
    assert found.drop_time.shape == (2, 1, 1)
    assert second.fall_level[0] < first.fall_level[0]
    assert np.all(second.fall_time > 1.5 * first.fall_time)
    at = int(second.fall_time[0, 0])
    assert first.hard_cosine[0, 0, at] > 0.9
    assert second.hard_cosine[0, 0, 0] < 0.2
    assert second.hard_cosine[0, 0, -1] > 0.9
    found.save(tmp_path / "found")
    loaded = dmft.load(tmp_path / "found.npz")
    np.testing.assert_array_equal(loaded.drops[1].fall_time, second.fall_time)
    assert str(loaded) == str(found)
    assert "2: z2" in str(found)
    assert found.to_xarray()["drop_time"].dims == ("drop", "d", "probability")


@pytest.mark.slow
def test_simulated_runs_fall_when_predicted(found):
    """Medians of eight predicted and sixteen simulated runs, each fall."""
    runs = dmft.simulate(two_squares(), 16.0, descent(90), 200, 16, workers=1)
    for drop in found.drops:
        times = np.array([dmft.fall_step(loss, drop.fall_level[0]) for loss in runs.test_loss])
        times[np.isnan(times)] = np.inf
        spread = np.subtract(*np.quantile(times, (0.75, 0.25))) / 1.35
        error = np.hypot(1.25 * spread / 4, max(drop.fall_time_stderr[0, 0], spread / 8**0.5))
        assert abs(np.median(times) - drop.fall_time[0, 0]) < 3 * error


@pytest.mark.slow
def test_spread_of_a_later_overlap_while_the_first_feature_is_learned():
    """From exactly zero, by the noise of the data alone: forced runs against simulated ones."""
    delta, d, n_steps, start = 16.0, 200, 16, np.array([[0.5, 0.0], [0.0, 0.0]])
    problem, method = two_squares(), descent(n_steps)
    runs = dmft.simulate(problem, delta, method, d, 200, hard_overlap=start, workers=1)
    simulated = runs.overlap[:, -1, :, 1]
    assert np.median(runs.overlap[:, -1, 0, 0]) > 0.8  # it is learned meanwhile
    features = separate_features(problem.target)
    forced = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        chain = follow_features(
            problem, delta, method, dmft.Sampling(128, 4), start, features, round(delta * d), rng,
            Execution(),
        )  # fmt: skip
        forced.append(chain[-1].feature_cosines[1, -1])
    cosines = runs.overlap[..., 1]  # of each neuron; together they span what the cosine is of
    inverse = np.linalg.inv(runs.correlation[:, -1])
    of_runs = np.einsum("si,sij,sj->s", cosines[:, -1], inverse, cosines[:, -1])
    assert simulated.std() > 0.01
    ratio = np.mean(forced) / np.mean(of_runs)
    # A mean of squares over 24 draws, with two degrees of freedom at most: 20 to 30 %.
    assert 0.4 < ratio < 1.8


@pytest.mark.parametrize(
    ("label", "options", "message"),
    [
        ("two", {"drops": 0}, "drops must be"),
        ("two", {"drops": 5}, "drops must be"),
        ("two", {"drops": 3}, "drops must be at most 2, the features of label"),
        ("product", {"drops": 2}, "drops must be at most 1, the features of label 'product'"),
    ],
)
def test_one_line_for_bad_input(label, options, message):
    problem = two_squares()
    if label == "product":
        problem = dmft.Problem("product", problem.network, "pseudo-huber")
    with pytest.raises(ValueError, match=message):
        dmft.predict_grokking(problem, 8.0, descent(3), 100, sampling=FEW, **options)


def test_detail_names_the_limit_that_was_reached(found):
    """MAX_STEPS by steps: later falls of starts left out of the fit; by draws: the error."""
    drawn, late = np.linspace(4.0, 12.0, 16), np.array([np.nan, np.nan])
    known, times = np.array([[8.0]]), np.array([drawn])
    assert not explained(100, (0.5,), known, times, 20)
    times[0, :2] = late  # two of sixteen: more than a tenth, though the median is known
    assert "2 of 16 starts have not fallen by step 20" in explained(100, (0.5,), known, times, 20)
    text = explained(100, (0.5,), np.repeat(known, 2, 0), np.array([drawn, times[0]]), 20)
    assert text.startswith("d = 100, fall 2: ")
    assert "raise n_steps" in text
    text = explained(100, (0.5,), np.array([[np.nan]]), drawn[np.newaxis, :4], 20)
    assert "raise n_draws to 6" in text
    text = explained(100, (0.5,), np.array([[np.nan]]), np.array([[*drawn[:4], *late]]), 20)
    assert "4 of 6 starts have fallen by step 20, too few for a fit: raise n_steps" in text
    text = explained(
        100, (0.5, 0.9), np.array([[8.0, np.nan]]), np.array([[8.0, np.nan]]), 20, is_drawn=False
    )
    assert "probability 0.9 is later than step 20: raise n_steps" in text
    assert found.status is dmft.Status.MAX_STEPS
    assert "errors from 8 starts are above rtol = 0.03 of a median: raise max_draws" in found.detail
    assert found.detail in str(found)


def test_inputs_that_change_are_not_said_of_the_label():
    inputs = dmft.GaussianMixture([0.5, 0.5], [[1, 0], [-1, 0]])
    network = dmft.Network("quadratic")
    problem = dmft.Problem(two_squares().target, network, "pseudo-huber", inputs=inputs)
    with pytest.raises(ValueError, match="must have inputs whose law stays the same when all hard"):
        dmft.predict_grokking(problem, 8.0, descent(3), 100, sampling=FEW)


def test_starts_are_drawn_until_there_are_enough_for_a_fit():
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic", [0.5, 0.5]), "pseudo-huber")
    found = dmft.predict_grokking(
        problem, 16.0, descent(40), 40, n_draws=4, max_draws=8, rtol=0.9, sampling=FEW
    )
    assert found.n_starts.tolist() == [8]
    assert np.isfinite(found.fall_time[0, 1])
