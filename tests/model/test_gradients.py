"""Gradient, curvature, loss: against differentiation, and the compiled path against numpy."""

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from dmft.model.activations import ACTIVATIONS, Activation
from dmft.model.gradients import (
    curvature,
    mean_loss,
    pre_activation_gradient,
    second_layer_gradient,
)
from dmft.model.losses import LOSSES, Loss
from dmft.model.network import Network
from dmft.model.problem import Problem

SECOND_LAYER = (1.0, -0.5, 0.3)
PAIRS = list(itertools.product(ACTIVATIONS, LOSSES))


def samples(m=3, n=200, seed=0, scale=1.5):
    rng = np.random.default_rng(seed)
    return scale * rng.standard_normal((m, n)), np.where(rng.random(n) < 0.5, 1.0, -1.0)


def problem_with(activation="gelu", loss="pseudo-huber", second_layer=SECOND_LAYER):
    return Problem("linear", Network(activation, second_layer), loss)


def uncatalogued(activation, loss):
    """The same laws as a user would bring them: no compiled twin."""
    a, b = ACTIVATIONS[activation], LOSSES[loss]
    return problem_with(
        Activation(a.value, a.derivative, a.second_derivative, name="mine"),
        Loss(b.value, b.derivative, b.second_derivative, name="mine"),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_gradient_is_the_derivative_of_the_loss(activation, loss):
    problem = problem_with(activation, loss)
    r, y = samples()
    g, values = pre_activation_gradient(problem, r, y)
    f = np.array(SECOND_LAYER) @ ACTIVATIONS[activation].value(r)
    np.testing.assert_allclose(values, LOSSES[loss].value(f, y), rtol=1e-12, atol=1e-14)
    h = 1e-5
    for j in range(3):
        step = h * np.eye(3)[:, [j]]
        up = pre_activation_gradient(problem, r + step, y)[1]
        down = pre_activation_gradient(problem, r - step, y)[1]
        np.testing.assert_allclose(g[j], (up - down) / (2 * h), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_curvature_is_the_derivative_of_the_gradient(activation, loss):
    problem = problem_with(activation, loss)
    r, y = samples(seed=1)
    D = curvature(problem, r, y)
    np.testing.assert_array_equal(D, np.swapaxes(D, 1, 2))
    h = 1e-5
    for j in range(3):
        step = h * np.eye(3)[:, [j]]
        up = pre_activation_gradient(problem, r + step, y)[0]
        down = pre_activation_gradient(problem, r - step, y)[0]
        np.testing.assert_allclose(D[:, j, :].T, (up - down) / (2 * h), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_compiled_and_numpy_paths_agree(activation, loss):
    compiled, plain = problem_with(activation, loss), uncatalogued(activation, loss)
    r, y = samples(n=2000, seed=2, scale=4.0)
    tolerance = {"rtol": 1e-13, "atol": 1e-14}
    for ours, theirs in zip(
        pre_activation_gradient(compiled, r, y), pre_activation_gradient(plain, r, y), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, **tolerance)
    np.testing.assert_allclose(curvature(compiled, r, y), curvature(plain, r, y), **tolerance)
    weights = np.random.default_rng(3).random(2000)
    assert mean_loss(compiled, r, y, weights) == pytest.approx(
        mean_loss(plain, r, y, weights), rel=1e-13
    )


def test_closed_form_of_one_quadratic_neuron():
    # l = (r^2 - y)^2/2: gradient 2 r (r^2 - y), curvature 6 r^2 - 2 y.
    problem = problem_with("quadratic", "square", (1.0,))
    r, y = samples(m=1, seed=4)
    g, values = pre_activation_gradient(problem, r, y)
    np.testing.assert_allclose(g[0], 2 * r[0] * (r[0] ** 2 - y), rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(values, (r[0] ** 2 - y) ** 2 / 2, rtol=1e-14)
    np.testing.assert_allclose(
        curvature(problem, r, y)[:, 0, 0], 6 * r[0] ** 2 - 2 * y, rtol=1e-13, atol=1e-13
    )


def test_a_changed_copy_of_a_catalogue_entry_is_not_run_by_its_old_kernel():
    linear = ACTIVATIONS["linear"]
    with pytest.raises(ValueError, match="derivative must be the derivative of value"):
        problem_with(replace(linear, value=lambda r: 2 * r), "square", (1.0,))
    doubled = replace(linear, value=lambda r: 2 * r, derivative=lambda r: np.full_like(r, 2.0))
    problem = problem_with(doubled, "square", (1.0,))
    assert mean_loss(problem, [[1.0]], [0.0]) == 2.0


@pytest.mark.slow
def test_bits_do_not_depend_on_blocks_layout_or_aliasing():
    problem = problem_with()
    r, y = samples(n=1000, seed=5)
    g, values = pre_activation_gradient(problem, r, y)
    D = curvature(problem, r, y)
    for block in (slice(0, 400), slice(400, 1000), slice(37, 38), slice(None, None, 3)):
        part, part_values = pre_activation_gradient(problem, r[:, block], y[block])
        np.testing.assert_array_equal(part, g[:, block])
        np.testing.assert_array_equal(part_values, values[block])
        np.testing.assert_array_equal(curvature(problem, r[:, block], y[block]), D[block])
    np.testing.assert_array_equal(pre_activation_gradient(problem, np.asfortranarray(r), y)[0], g)
    for chosen in (problem, uncatalogued("gelu", "pseudo-huber")):
        expected = pre_activation_gradient(chosen, r, y)[0]
        scratch = r.copy()
        result, _ = pre_activation_gradient(chosen, scratch, y, out=scratch)
        assert result is scratch
        np.testing.assert_array_equal(scratch, expected)


def test_mean_loss_is_weighted_and_summed_accurately():
    problem = problem_with("linear", "square", (1.0,))
    assert mean_loss(problem, [[1.0, 3.0]], [0.0, 0.0]) == 2.5
    assert mean_loss(problem, [[1.0, 3.0]], [0.0, 0.0], [2.0, 1.0]) == 5.5
    # 1e16 + 1 + ... + 1 - 1e16: a plain running sum returns 0.
    weights = np.concatenate([[2e16], np.full(10, 2.0), [-2e16]])
    assert mean_loss(problem, np.ones((1, 12)), np.zeros(12), weights) == 10.0


def test_overflow_is_infinite_not_nan():
    problem = problem_with("quadratic", "square", (1.0,))
    assert mean_loss(problem, [[1e200, 1.0]], [0.0, 0.0]) == np.inf


@pytest.mark.parametrize("member", ["value", "derivative", "second_derivative"])
def test_custom_callables_of_wrong_shape_are_named(member):
    good = ACTIVATIONS["tanh"]
    laws = {name: getattr(good, name) for name in ("value", "derivative", "second_derivative")}
    with pytest.raises(ValueError, match=rf"activation 'mine': {member} must return shape \(48,"):
        Activation(**(laws | {member: lambda r: r.sum(axis=0)}), name="mine")
    # Of two axes, which only a network has.
    right = laws[member]
    bad = Activation(
        **(laws | {member: lambda r: right(r) if r.ndim == 1 else right(r).sum(axis=0)}),
        name="mine",
    )
    r, y = samples()
    with pytest.raises(
        ValueError, match=rf"activation 'mine': {member} must return shape \(3, 200"
    ):
        curvature(problem_with(bad), r, y)
    good_loss = LOSSES["square"]
    laws = {name: getattr(good_loss, name) for name in laws}
    with pytest.raises(ValueError, match=rf"loss 'own': {member} must return shape \(84,\)"):
        Loss(**(laws | {member: lambda f, y: 1.0}), name="own")
    good = laws[member]
    bad_loss = Loss(
        **(laws | {member: lambda f, y: 1.0 if len(f) == 200 else good(f, y)}), name="own"
    )
    use = mean_loss if member == "value" else curvature
    with pytest.raises(ValueError, match=rf"loss 'own': {member} must return shape \(200,\)"):
        use(problem_with(loss=bad_loss), r, y)


def test_wrong_shapes_are_refused():
    problem = problem_with()
    r, y = samples()
    with pytest.raises(ValueError, match=r"r must have shape \(3, N\), got shape \(2, 200\)"):
        pre_activation_gradient(problem, r[:2], y)
    with pytest.raises(ValueError, match=r"y must have shape \(200,\), got shape \(100,\)"):
        curvature(problem, r, y[:100])
    with pytest.raises(ValueError, match=r"weights must have shape \(200,\), got shape \(3,\)"):
        mean_loss(problem, r, y, np.ones(3))
    with pytest.raises(ValueError, match=r"weights must have shape \(200,\), got shape \(3,\)"):
        second_layer_gradient(problem, r, y, np.ones(3))
    with pytest.raises(ValueError, match=r"out must be a float64 array of shape \(3, 200\), got f"):
        pre_activation_gradient(problem, r, y, out=np.empty((3, 200), dtype=np.float32))


@pytest.mark.processes
def test_numba_is_not_loaded_before_it_is_needed():
    code = (
        "import sys, dmft.model.gradients, dmft.model.problem, dmft.training.gradient_descent\n"
        "dmft.model.problem.Problem('easy-hard').target.hard_basis\n"
        "print(sorted({'numba', 'scipy.stats', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
