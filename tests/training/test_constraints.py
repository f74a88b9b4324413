"""Neurons on spheres: what is asked for, what is refused, and what the Hessian is there."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm

import dmft
from dmft.hessian.hessian import initial_law
from dmft.model.gradients import pre_activation_gradient
from dmft.training.constraints import check_constrained, onto_spheres

GELU = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
SPHERE = dmft.GradientDescent(0.2, 3, constraint="sphere")
FLOW = dmft.GradientFlow(2.0, times=[0.0, 0.5, 2.0], constraint="sphere")
SAMPLING = dmft.Sampling(n_paths=512, replicates=2, seed=1)


@pytest.mark.parametrize("method", [SPHERE, FLOW], ids=["descent", "flow"])
def test_settings_are_kept(method):
    config = method.to_config()
    assert config["constraint"] == "sphere"
    assert type(method).from_config(config) == method
    assert method.until(1).constraint == "sphere"
    plain = dataclasses.replace(method, constraint=None)
    assert plain != method
    assert "constraint" not in plain.to_config()
    assert dataclasses.replace(method, constraint="none") == plain


def test_nesterov_settings():
    method = dmft.GradientDescent(0.2, 3, momentum=0.5, nesterov=True)
    assert dmft.GradientDescent.from_config(method.to_config()) == method
    assert method.until(2).nesterov
    # What a gradient counts in all is the same in the end, and at once it counts for more.
    heavy_ball = dataclasses.replace(method, nesterov=False)
    assert method.direction_weights[0] == pytest.approx(heavy_ball.direction_weights[0], rel=2e-3)
    # x -> (1 + b)(1 - h) x - b (1 - h) x_before oscillates without decay at the limit.
    h = 0.2 * (method.curvature_limits(1.0, 0.0)[0])
    roots = np.roots([1.0, -1.5 * (1.0 - h), 0.5 * (1.0 - h)])
    assert np.abs(roots).max() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"constraint": "ball"}, "constraint must be one of 'sphere' or None; got 'ball'"),
        ({"constraint": 1}, "constraint must be one of 'sphere' or None; got 1"),
        ({"nesterov": 1}, "nesterov must be True or False, got 1"),
        ({"nesterov": True}, "momentum must be above 0 with nesterov, got 0"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        dmft.GradientDescent(0.2, 3, **arguments)


@pytest.mark.parametrize("method", [SPHERE, FLOW], ids=["descent", "flow"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_decay": 0.1}, "weight_decay must be 0 with constraint = 'sphere'.*got 0.1"),
        ({"init_radius": 0.0}, "init_radius must be above 0 for every neuron.*got 0"),
    ],
)
def test_what_a_constraint_makes_meaningless(method, changes, message):
    problem = dataclasses.replace(GELU, **changes)
    calls = [
        lambda: check_constrained(problem, method),
        lambda: dmft.solve(problem, 3.0, method, SAMPLING),
        lambda: dmft.find_delta_nn(problem, method, (1, 4), step=0),
    ]
    if method is SPHERE:
        calls.append(lambda: dmft.simulate(problem, 3.0, method, 20, 1, workers=1))
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()


def test_studies_that_know_no_spheres_say_so():
    with pytest.raises(ValueError, match="no constraint to predict grokking"):
        dmft.predict_grokking(GELU, 6.0, SPHERE, 100)
    with pytest.raises(ValueError, match="method must have no constraint for a threshold to"):
        dmft.find_delta_nn(GELU, SPHERE, (1, 4), step=0, digits=8)


def test_rows_are_scaled_alike():
    rows = np.array([[3.0, 4.0], [-3.0, -4.0], [0.3, 0.4]])
    found, largest = onto_spheres(rows, np.array([1.0, 1.0, 2.0]))
    assert np.array_equal(found[0], -found[1])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1.0, 1.0, 2.0])
    assert largest == pytest.approx(4.0)
    found, _ = onto_spheres(np.array([[3e300, -4e300]]), np.ones(1))
    np.testing.assert_allclose(found, [[0.6, -0.8]])


@pytest.mark.parametrize("law", ["sphere", "gaussian"])
def test_runs_stay_on_the_sphere_of_the_problem(law):
    """Also those whose initial weights are drawn from another law."""
    problem = dataclasses.replace(
        GELU, network=dmft.Network("gelu", [1.0, 0.5]), init_radius=[1.0, 0.7], init_law=law
    )
    run = dmft.simulate(problem, 3.0, SPHERE, 30, 2, hessian_steps=[0, 3], workers=1)
    norms = np.einsum("stjj->stj", run.correlation)
    np.testing.assert_allclose(norms, np.broadcast_to([1.0, 0.49], norms.shape), rtol=1e-12)
    assert run.hessian[3].eigenvalues.shape == (2, 2 * 29)
    assert run.hessian[3].complete
    assert run.hessian[3].residual.max() < 1e-10


def test_the_hessian_has_the_normal_forces_of_its_step():
    """Minus <theta_j, grad_j> / rho_j^2, of the weights and of the step that is taken."""
    problem = dmft.Problem(
        "easy-hard", dmft.Network("gelu", [1.0, -0.5]), "pseudo-huber", init_radius=[1.0, 0.8]
    )
    trajectory = dmft.solve(problem, 3.0, SPHERE, SAMPLING)
    run, rho2 = trajectory._runs[0], np.array([1.0, 0.64])
    for step in (1, 2):
        r = run.pre_activations[step]
        g = pre_activation_gradient(problem, r, run.labels)[0]
        forces = np.mean(g * r, axis=1) / rho2
        np.testing.assert_allclose(np.diag(trajectory.hessian(step).shift), -forces, rtol=1e-9)
        # The same from the step: B' = s (B - eta grad), whose part along B is s (1 - eta mu) B; the
        # rest is s eta times the tangent gradient, and |grad|^2 is known.
        B, after = run.weights[step], run.weights[step + 1]
        along = np.sum(B * after, axis=1) / rho2
        scale = along / (1.0 - 0.2 * forces)
        gradient = (B - after / scale[:, np.newaxis]) / 0.2
        square = trajectory.gradient_norm[step] ** 2
        assert np.sum(gradient**2) == pytest.approx(square, rel=1e-6)
    spectrum = dmft.spectrum(trajectory, 2)
    np.testing.assert_allclose(spectrum.shift, np.diag(trajectory.hessian(2).shift))


def test_step_0_by_quadrature_and_by_paths():
    law = initial_law(GELU, 4.0, constraint="sphere")
    assert law.replicates == ()
    plain = initial_law(GELU, 4.0)
    # One neuron: every eigenvalue of the plain law, moved by the force.
    assert law.edges().left == pytest.approx(plain.edges().left + law.shift)
    r = np.polynomial.hermite_e.hermegauss(60)
    z, w = r[0], r[1] / np.sqrt(2.0 * np.pi)
    R, Z = np.meshgrid(z, z, indexing="ij")
    f, slope = R * norm.cdf(R), norm.cdf(R) + R * norm.pdf(R)
    error = f - Z**2
    force = np.einsum("i,j,ij->", w, w, R * slope * error / np.sqrt(1.0 + error**2))
    assert law.shift == pytest.approx(-force, abs=1e-6)
    sampled = dmft.solve(GELU, 4.0, SPHERE, dmft.Sampling(n_paths=4096)).hessian(1)
    assert len(sampled.replicates) == 8
    assert {one.shift for one in sampled.replicates} != {sampled.shift}


def test_a_linear_neuron_on_the_circle_turns_to_its_minimum():
    """The flow of M on the sphere, dM/dt = (1 - M^2)(1 + small terms of the data), to M = 1."""
    problem = dmft.Problem("linear", dmft.Network("linear"), "square")
    flow = dmft.GradientFlow(30.0, times=[0.0, 1.0, 5.0, 30.0], constraint="sphere")
    found = dmft.solve(problem, 4.0, flow, dmft.Sampling(n_paths=2048, replicates=4))
    np.testing.assert_allclose(found.norm[:, 0, 0], 1.0, rtol=1e-12)
    assert found.overlap[-1, 0, 0] == pytest.approx(1.0, abs=1e-4)  # no noise: theta = theta_*
    assert found.train_loss[-1] < 1e-4


def test_the_flow_is_the_limit_of_small_steps():
    problem = dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, -0.5]), "pseudo-huber")
    flow = dmft.solve(
        problem, 3.0, dmft.GradientFlow(2.0, 1e-5, [0.0, 1.0, 2.0], constraint="sphere"), SAMPLING
    )
    found = [
        dmft.solve(problem, 3.0, dmft.GradientDescent(2.0 / n, n, constraint="sphere"), SAMPLING)
        for n in (20, 40)
    ]
    for name in ("norm", "overlap", "train_loss"):
        coarse, fine = (getattr(each, name)[-1] for each in found)
        limit = getattr(flow, name)[-1]
        np.testing.assert_allclose(2.0 * fine - coarse, limit, atol=2e-3)
        assert np.abs(fine - limit).max() <= 0.6 * np.abs(coarse - limit).max() + 1e-4


def test_the_error_of_the_flow_is_as_small_as_asked():
    """The same paths, so that the sampling errors cancel: those of the steps are left."""
    times = [0.0, 0.3, 1.0, 3.0]
    problem = dmft.Problem(dmft.Target("linear", noise=0.5), dmft.Network("linear"), "square")
    found = {
        tol: dmft.solve(
            problem, 2.0, dmft.GradientFlow(3.0, tol, times, constraint="sphere"), SAMPLING
        )
        for tol in (1e-2, 1e-3, 1e-6)
    }
    for name in ("overlap", "train_loss"):
        exact = getattr(found[1e-6], name)
        for tol in (1e-2, 1e-3):
            assert np.abs(getattr(found[tol], name) - exact).max() < 2.0 * tol


def test_results_know_their_sphere(tmp_path):
    trajectory = dmft.solve(GELU, 3.0, FLOW, SAMPLING)
    trajectory.save(tmp_path / "a")
    assert dmft.Trajectory.load(tmp_path / "a.npz").method == FLOW
    spectrum = dmft.spectrum(trajectory, 1)
    spectrum.save(tmp_path / "b")
    again = dmft.Spectrum.load(tmp_path / "b.npz")
    assert again.shift.tobytes() == spectrum.shift.tobytes()
    assert "normal forces" in str(again)
    law = initial_law(GELU, 3.0, d=60, draws=4, constraint="sphere")
    law.save(tmp_path / "c")
    assert type(law).load(tmp_path / "c.npz").config == law.config
