"""Gradient flow: exact answers, small steps of gradient descent, and finite-size runs."""

import numpy as np
import pytest
from problems import marchenko_pastur_nodes
from small import RETRIEVAL

import dmft
from dmft._numerics.legendre import error_factor, legendre_stages, n_legendre_stages

SAMPLING = dmft.Sampling(n_paths=1024, replicates=8, seed=3)


def linear(weight_decay=0.5, m=1):
    return dmft.Problem(
        "linear",
        dmft.Network("linear", second_layer=[1.0] + [0.0] * (m - 1)),
        "square",
        weight_decay=weight_decay,
    )


def one_step(s, slope, y, h):
    start, before, current = y, y, y
    of_start = slope(y)
    value = of_start
    for j, stage in enumerate(legendre_stages(s)):
        if j:
            value = slope(current)
        new = stage.of_start * start + stage.of_last * current
        new = new + stage.of_second_last * before
        new = new + h * (stage.slope * value + stage.slope_of_start * of_start)
        before, current = current, new
    return current


@pytest.mark.parametrize("s", [3, 5, 7, 41])
def test_stages_integrate_a_parabola_exactly_and_stay_stable(s):
    """y' = 2 t (as an autonomous pair), then y' = -lam y up to the largest step allowed."""
    found = one_step(s, lambda y: np.array([1.0, 2.0 * y[0]]), np.array([0.5, 0.25]), 0.3)
    np.testing.assert_allclose(found, [0.8, 0.64], rtol=1e-12)
    stable = (s**2 + s - 2) / 2
    assert n_legendre_stages(stable) == s
    assert n_legendre_stages(stable + 1e-9) == s + 2
    rates = np.linspace(0.0, stable, 2001)
    left = one_step(s, lambda y: -rates * y, np.ones_like(rates), 1.0)
    assert np.abs(left).max() <= 1.0 + 1e-12
    assert np.abs(left[rates > 1.0]).max() < 0.78  # fast modes decay in every step


@pytest.mark.parametrize("s", [3, 5, 13])
def test_the_error_of_a_step_is_known_to_leading_order(s):
    """Of y' = y, where every derivative is one."""
    h = 1e-2
    end = one_step(s, lambda y: y, np.ones(1), h)
    estimate = error_factor(s) * (1.0 - end + 0.5 * h * (1.0 + end))
    assert estimate == pytest.approx(np.exp(h) - end, rel=3e-2)


@pytest.mark.slow
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_linear_network_follows_the_exact_flow(weight_decay):
    times = [0.0, 0.3, 1.0, 4.0, 20.0]
    flow = dmft.GradientFlow(20.0, tol=1e-5, times=times)
    found = dmft.solve(linear(weight_decay), 3.0, flow, SAMPLING)
    x, probability = marchenko_pastur_nodes(3.0)
    decayed = -np.expm1(-(x + weight_decay) * np.array(times)[:, np.newaxis])
    exact = (x / (x + weight_decay) * decayed) @ probability
    np.testing.assert_array_equal(found.times, times)
    error = 4 * found.stderr["overlap"][:, 0, 0] + 5e-4
    assert np.all(np.abs(found.overlap[:, 0, 0] - exact) < error)
    assert found.rank < 40


@pytest.mark.slow
def test_error_of_the_flow_is_as_small_as_asked():
    """The same paths, so that the sampling errors cancel."""
    times = np.array([0.0, 1.0, 3.0, 10.0])
    found = {
        tol: dmft.solve(linear(), 3.0, dmft.GradientFlow(10.0, tol, times), SAMPLING)
        for tol in (1e-2, 1e-3, 1e-4, 1e-6)
    }
    exact = found[1e-6].overlap[:, 0, 0]
    for tol in (1e-2, 1e-3, 1e-4):
        assert np.abs(found[tol].overlap[:, 0, 0] - exact).max() < 2 * tol


@pytest.mark.slow
def test_agrees_with_small_steps_of_gradient_descent():
    times = [0.0, 0.4, 1.0, 2.0, 5.0]
    flow = dmft.solve(RETRIEVAL, 8.0, dmft.GradientFlow(5.0, 1e-4, times), SAMPLING)
    coarse, fine = (
        dmft.solve(RETRIEVAL, 8.0, dmft.GradientDescent(eta, round(5 / eta)), SAMPLING)
        for eta in (0.04, 0.02)
    )
    for name in ("norm", "train_loss", "test_loss", "gradient_norm"):
        steps = np.round(np.array(times) / 0.02).astype(int)
        limit = 2 * getattr(fine, name)[steps] - getattr(coarse, name)[steps // 2]
        error = np.hypot(flow.stderr[name], fine.stderr[name][steps])
        assert np.all(np.abs(getattr(flow, name) - limit) < 3 * error + 1e-3), name


@pytest.mark.slow
@pytest.mark.parametrize("a", [0.1, 1.0])
def test_accuracy_does_not_depend_on_the_scale_of_the_gradients(a):
    """A coarse tolerance against a fine one, at times in units of the rate of a small network."""
    problem = dmft.Problem("phase-retrieval", dmft.Network("gelu", [a]), "pseudo-huber")
    times = [0.0, 1.0 / np.sqrt(a), 4.0 / np.sqrt(a)]
    coarse, fine = (
        dmft.solve(problem, 3.0, dmft.GradientFlow(times[-1], tol, times), SAMPLING)
        for tol in (1e-2, 1e-5)
    )
    np.testing.assert_allclose(coarse.norm, fine.norm, rtol=1e-2)


def test_start_from_nothing():
    """Zero weights stay there where the gradient is zero, and leave at the exact rate."""
    still = dmft.Problem(
        "phase-retrieval", dmft.Network("quadratic"), "pseudo-huber", init_radius=0.0
    )
    found = dmft.solve(still, 3.0, dmft.GradientFlow(2.0, times=[0, 2]), SAMPLING)
    assert found.status.ok
    assert not found.norm.any()
    problem = dmft.Problem("linear", dmft.Network("linear", [0.1]), "square", init_radius=0.0)
    times = [0.0, 3.0]
    early = dmft.solve(problem, 3.0, dmft.GradientFlow(3.0, 1e-2, times), SAMPLING)
    x, probability = marchenko_pastur_nodes(3.0)
    decayed = -np.expm1(-0.01 * x * 3.0) / 0.1
    # a Theta follows the flow of a network with a = 1 at time a^2 t
    assert early.overlap[-1, 0, 0] == pytest.approx(decayed @ probability, rel=2e-2)
    labels_seen = np.sqrt(early.norm[-1, 0, 0]) / early.overlap[-1, 0, 0]
    assert labels_seen == pytest.approx(
        np.sqrt(decayed**2 @ probability) / (decayed @ probability), rel=2e-2
    )


def test_a_flow_that_grows_without_bound_says_so():
    downhill = dmft.Loss(lambda f, y: -f * f / 2, lambda f, y: -f, lambda f, y: -np.ones_like(f))
    problem = dmft.Problem("linear", dmft.Network("linear"), downhill)
    sampling = dmft.Sampling(n_paths=256, replicates=2, seed=1)
    flow = dmft.GradientFlow(100.0, 1e-2, [0, 1, 100])
    found = dmft.solve(problem, 3.0, flow, sampling)
    assert found.status is dmft.Status.DIVERGED
    assert found.n_steps == 1


def test_a_stage_that_overflows_shortens_the_step():
    steep = dmft.Activation(np.expm1, np.exp, np.exp, name="expm1")
    problem = dmft.Problem("phase-retrieval", dmft.Network(steep, [0.3]), "square")
    flow = dmft.GradientFlow(0.5, 1e-2, [0, 0.1, 0.5])
    found = dmft.solve(problem, 3.0, flow, dmft.Sampling(n_paths=512, replicates=2, seed=1))
    assert found.status.ok
    assert np.all(np.diff(found.train_loss) < 0)


def test_hessian_computed_again_is_that_of_the_same_run():
    flow = dmft.GradientFlow(5.0, 1e-2, [0, 1, 3, 5])
    sampling = dmft.Sampling(n_paths=256, replicates=2, seed=1)
    kept, again = (
        dmft.solve(RETRIEVAL, 3.0, flow, sampling, hessian_steps=[step]).hessian(1).edges().left
        for step in (1, 3)
    )
    assert kept == again


def test_dense_output_does_not_depend_on_the_times_asked_for():
    few = dmft.solve(RETRIEVAL, 8.0, dmft.GradientFlow(5.0, 1e-3, [0.0, 5.0]), SAMPLING)
    times = np.linspace(0.0, 5.0, 41)
    many = dmft.solve(RETRIEVAL, 8.0, dmft.GradientFlow(5.0, 1e-3, times), SAMPLING)
    # What the window forecasts differs, to a part of the tolerance.
    np.testing.assert_allclose(many.norm[-1], few.norm[-1], rtol=1e-3)
    assert np.all(np.diff(many.train_loss) < 0)


def test_stiff_paths_are_stable_where_a_finite_step_is_not():
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    flow = dmft.solve(problem, 2.0, dmft.GradientFlow(2.0, 1e-2), SAMPLING)
    assert flow.status.ok
    assert np.all(np.diff(flow.train_loss) < 0)


def test_hessian_of_the_flow_is_that_of_gradient_descent_with_small_steps():
    flow = dmft.solve(RETRIEVAL, 6.0, dmft.GradientFlow(2.0, 1e-4, [0.0, 2.0]), SAMPLING)
    descent = dmft.solve(RETRIEVAL, 6.0, dmft.GradientDescent(0.02, 100), SAMPLING)
    ours, theirs = flow.hessian(1), descent.hessian(100)
    for name in ("left_edge", "hard_gap"):
        values = [
            law.edges().left if name == "left_edge" else law.hard_gap() for law in (ours, theirs)
        ]
        error = np.hypot(ours.stderr(name), theirs.stderr(name))
        assert abs(values[0] - values[1]) < 3 * error + 2e-2, name
    assert all(abs(o.value) < 100 for o in ours.outliers())


def test_threads_do_not_change_the_bits():
    flow = dmft.GradientFlow(2.0, 1e-3)
    one, two = (dmft.solve(RETRIEVAL, 4.0, flow, SAMPLING, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.norm, two.norm)
    np.testing.assert_array_equal(one.stderr["train_loss"], two.stderr["train_loss"])


def test_saved_flow_loads_back(tmp_path):
    flow = dmft.GradientFlow(1.0, 1e-2, [0.0, 0.25, 1.0])
    found = dmft.solve(RETRIEVAL, 4.0, flow, SAMPLING)
    found.save(tmp_path / "flow.npz")
    loaded = dmft.Trajectory.load(tmp_path / "flow.npz")
    assert loaded.method == flow
    np.testing.assert_array_equal(loaded.times, flow.times)
    np.testing.assert_array_equal(loaded.norm, found.norm)
    assert np.isnan(loaded.response[1:]).all()
    assert not loaded.response_status.ok


@pytest.mark.slow
def test_threshold_along_the_flow():
    """At time 0 that of every method; later one of its own, close to that of small steps."""
    flow = dmft.GradientFlow(1.0, 1e-3, [0.0, 1.0])
    start = dmft.find_delta_nn(RETRIEVAL, flow, (0.5, 8), step=0)
    assert start.value == pytest.approx(1.69276, abs=1e-5)
    late = dmft.find_delta_nn(RETRIEVAL, flow, (0.5, 8), sampling=SAMPLING, scan_points=4)
    small = dmft.GradientDescent(0.05, 20)
    other = dmft.find_delta_nn(RETRIEVAL, small, (0.5, 8), sampling=SAMPLING, scan_points=4)
    assert abs(late.value - other.value) < 3 * np.hypot(late.stderr, other.stderr) + 0.05


def test_default_times_are_even_in_the_logarithm():
    flow = dmft.GradientFlow(100.0)
    assert flow.times[0] == 0.0
    assert flow.times[-1] == 100.0
    np.testing.assert_allclose(np.diff(np.log1p(flow.times)), np.log(101) / flow.n_steps)
    assert dmft.GradientFlow(0.0).n_steps == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"t_max": -1.0}, "t_max"),
        ({"t_max": np.inf}, "t_max"),
        ({"t_max": 1.0, "tol": 0.0}, "tol"),
        ({"t_max": 1.0, "tol": 0.5}, "tol must lie in 1e-10..0.1"),
        ({"t_max": 1.0, "times": [0.0, 2.0]}, "from 0 to t_max = 1"),
        ({"t_max": 1.0, "times": [0.5, 1.0]}, "times"),
        ({"t_max": 1.0, "times": [0.0, 0.7, 0.6, 1.0]}, "times must be increasing"),
        ({"t_max": 1.0, "times": []}, "times"),
        ({"t_max": 1.0, "times": "abc"}, "times"),
        ({"t_max": 1.0, "times": ["a", "b"]}, "times"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        dmft.GradientFlow(**settings)


def test_options_of_descent_are_not_settings_of_a_flow():
    """They can be asked for, as of any method, but not given."""
    flow = dmft.GradientFlow(1.0)
    found = (flow.batch_fraction, flow.trains_second_layer, flow.fresh_batches)
    assert found == (1.0, False, False)
    assert set(flow.to_config()) == {"t_max", "tol", "times"}
    with pytest.raises(TypeError, match="batch_fraction"):
        dmft.GradientFlow(1.0, batch_fraction=0.5)


def test_equal_settings_are_equal_methods():
    flow = dmft.GradientFlow(1.0, 1e-2, [0.0, 1.0])
    assert flow == dmft.GradientFlow(1.0, 1e-2, np.array([0.0, 1.0]))
    assert hash(flow) == hash(dmft.GradientFlow(1.0, 1e-2, (0.0, 1.0)))
    assert flow != dmft.GradientFlow(1.0, 1e-2, [0.0, 0.5, 1.0])
    assert flow == dmft.GradientFlow.from_config(flow.to_config())
    assert flow.until(0).n_steps == 0
    with pytest.raises(ValueError, match=r"step must be in 0\.\.n_steps = 0\.\.1, got 2"):
        flow.until(2)
