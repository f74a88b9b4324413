"""Solves under laws of the inputs: the plain twin, cases that are Gaussian, saved and resumed."""

import dataclasses

import numpy as np
import plain_paths
import pytest

import dmft
from dmft.model.gradients import curvature

CLUSTERS = dmft.GaussianMixture(
    [0.35, 0.65], [[1.0], [-0.6]], covariances=[0.5, 1.5], scales=[1.0, 1.6]
)
LOGISTIC = dmft.Problem(
    dmft.Target(classes="component"), dmft.Network("tanh", [1.0, -0.5]), "logistic", inputs=CLUSTERS
)
HEAVY = dmft.Problem(
    "phase-retrieval",
    dmft.Network("gelu"),
    "pseudo-huber",
    inputs=dmft.Elliptical("student-t", degrees_of_freedom=3),
)
# Twice the same, compiled and not.
OWN = dmft.Activation(
    np.tanh, lambda r: 1 - np.tanh(r) ** 2, lambda r: -2 * np.tanh(r) / np.cosh(r) ** 2
)
SAMPLING = dmft.Sampling(n_paths=512, replicates=2, rank_tolerance=1e-12)


@pytest.mark.parametrize("problem", [LOGISTIC, HEAVY], ids=["clusters", "student-t"])
def test_plain_twin_follows_the_same_process(problem):
    method = dmft.GradientDescent(0.3, 12)
    solved = dmft.solve(problem, 3.0, method, SAMPLING)
    leading, fresh = plain_paths.same_numbers(problem, SAMPLING)
    norm, _ = plain_paths.run(problem, 3.0, method, leading, fresh, orthogonalise=True)
    np.testing.assert_allclose(solved.norm, norm, rtol=0, atol=1e-10)


def test_numpy_and_compiled_laws_agree_under_scales():
    method = dmft.GradientDescent(0.3, 6, second_layer_step_size=0.1)
    plain = dataclasses.replace(LOGISTIC, network=dmft.Network(OWN, [1.0, -0.5]))
    one, other = (dmft.solve(each, 3.0, method, SAMPLING) for each in (LOGISTIC, plain))
    for name in ("norm", "train_loss", "test_loss", "second_layer", "gradient_covariance"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-8, atol=1e-10)
    shares = one.unstable_paths, other.unstable_paths
    np.testing.assert_allclose(shares[0].fraction, shares[1].fraction, atol=1e-12)


def test_one_standard_cluster_is_the_gaussian_problem():
    """Labels without hard directions: the random numbers are the same."""
    network = dmft.Network("gelu", [0.8, -0.5])
    problem = dmft.Problem(dmft.Target("linear", noise=0.3), network, "pseudo-huber")
    cluster = dataclasses.replace(problem, inputs=dmft.GaussianMixture([1.0], [[0.0]]))
    method = dmft.GradientDescent(0.3, 5, momentum=0.5, batch_fraction=0.5)
    one, other = (dmft.solve(each, 3.0, method, SAMPLING) for each in (problem, cluster))
    for name in ("norm", "overlap", "train_loss", "test_loss"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12)
    assert one.hessian(5).edges().left == pytest.approx(other.hessian(5).edges().left, rel=1e-9)
    initial = [each.hessian(0).edges().left for each in (one, other)]
    assert initial[0] == pytest.approx(initial[1], rel=1e-6)


def test_a_scale_of_all_inputs_is_that_of_the_weights():
    """Inputs 2 x and neurons of radius 1 are inputs x and neurons of radius 2, in shorter steps."""
    doubled = dmft.GaussianMixture([1.0], [[0.0]], scales=[2.0])
    network = dmft.Network("gelu")
    problem = dmft.Problem("linear", network, "pseudo-huber", inputs=doubled)

    def half(z, eps):  # labels of inputs half as long
        return z[:, 0] / 2

    problem = dataclasses.replace(problem, target=dmft.Target(half))
    plain = dmft.Problem("linear", network, "pseudo-huber", init_radius=2.0)
    # A step of x is one of 2 x four times as long, in weights twice as large.
    one = dmft.solve(problem, 3.0, dmft.GradientDescent(0.1, 5), SAMPLING)
    other = dmft.solve(plain, 3.0, dmft.GradientDescent(0.4, 5), SAMPLING)
    np.testing.assert_allclose(4.0 * one.norm, other.norm, rtol=1e-10)
    np.testing.assert_allclose(one.train_loss, other.train_loss, rtol=1e-10)
    np.testing.assert_allclose(one.test_loss, other.test_loss, rtol=1e-6)
    laws = one.hessian(5), other.hessian(5)
    assert laws[0].edges().left == pytest.approx(4.0 * laws[1].edges().left, rel=1e-6)
    values = [sorted(outlier.value for outlier in law.outliers()) for law in laws]
    np.testing.assert_allclose(values[0], 4.0 * np.array(values[1]), rtol=1e-5)


def test_weights_of_the_law_are_s2_d():
    solved = dmft.solve(LOGISTIC, 3.0, dmft.GradientDescent(0.3, 3), SAMPLING)
    run = solved._runs[0]
    D = curvature(LOGISTIC, run.pre_activations[3], run.labels)
    expected = D * (run.scales**2)[:, None, None]
    np.testing.assert_array_equal(solved.hessian(3).weights, expected)
    assert set(run.scales) == {1.0, 1.6}
    # The labels are the clusters.
    np.testing.assert_array_equal(run.labels, np.where(run.scales == 1.0, -1.0, 1.0))


def test_batches_flow_and_fresh_samples_run_under_scales():
    for method in (
        dmft.GradientDescent(0.2, 4, batch_fraction=0.5, momentum=0.3),
        dmft.GradientDescent(0.2, 4, fresh_batches=True),
        dmft.GradientFlow(0.8),
    ):
        solved = dmft.solve(LOGISTIC, 3.0, method, SAMPLING)
        assert solved.status.ok
        assert solved.train_loss[-1] < solved.train_loss[0]


def test_saved_and_resumed_solves_are_equal(tmp_path):
    method = dmft.GradientDescent(0.3, 4)
    solved = dmft.solve(LOGISTIC, 3.0, method, SAMPLING, checkpoint=tmp_path / "folder")
    again = dmft.solve(LOGISTIC, 3.0, method, SAMPLING, checkpoint=tmp_path / "folder")
    solved.save(tmp_path / "a.npz")
    loaded = dmft.load(tmp_path / "a.npz")
    assert loaded.problem == LOGISTIC
    for other in (again, loaded):
        for name in ("norm", "overlap", "test_loss", "test_error"):
            np.testing.assert_array_equal(getattr(other, name), getattr(solved, name))
        np.testing.assert_array_equal(other.hessian(2).weights, solved.hessian(2).weights)


def test_latent_coordinates_without_variance_extend_nothing():
    """One cluster at a point in latent space: z / s is a constant."""
    point = dmft.GaussianMixture([1.0], [[2.0]], covariances=[0.0])
    problem = dmft.Problem(dmft.Target("linear", noise=0.5), dmft.Network("gelu"), inputs=point)
    solved = dmft.solve(problem, 3.0, dmft.GradientDescent(0.1, 5), SAMPLING)
    assert solved.status.ok
    assert solved.overlap[-1, 0, 0] > 0.1


def test_a_scale_with_too_heavy_tails_is_a_status():
    """E (s g)^2 is infinite for r^2 under a Student t of three degrees of freedom."""
    problem = dataclasses.replace(HEAVY, network=dmft.Network("quadratic"), loss="square")
    solved = dmft.solve(problem, 3.0, dmft.GradientDescent(0.01, 2), SAMPLING)
    assert solved.status is dmft.Status.UNDEFINED_AVERAGE
