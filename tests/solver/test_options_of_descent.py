"""Options of gradient descent in the solver: same bits without them, plain twin with them."""

import dataclasses

import numpy as np
import plain_algorithms
import plain_paths
import problems
import pytest
from algorithm_options import GELU, OPTIONS, PAIR, SAMPLING, bits, method_with, pair_for

import dmft
from dmft.solver.masks import MaskStream

# -- no option, no change --------------------------------------------------------------------------

SAME = {
    "list": [0.2] * 10,
    "longer array": np.full(14, 0.2),
    "constant": dmft.Constant(0.2),
    "table": {"schedule": "constant", "value": 0.2},
    "warm-up of no steps": dmft.WarmUp(0.2, 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("given", SAME.values(), ids=SAME)
def test_constant_steps_are_plain_descent_to_the_last_bit(given):
    plain = dmft.GradientDescent(0.2, 10)
    method = dmft.GradientDescent(
        given, 10, batch_fraction=1.0, momentum=0.0, second_layer_step_size=0
    )
    assert method.times.tobytes() == plain.times.tobytes()
    for problem in (GELU, PAIR):
        ours, theirs = (dmft.solve(problem, 3.0, each, SAMPLING) for each in (method, plain))
        assert bits(ours) == bits(theirs)
        ours, theirs = (
            dmft.simulate(problem, 3.0, each, 40, 2, hessian_steps=[10], workers=1)
            for each in (method, plain)
        )
        for name in ours.mean:
            assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes(), name
        assert ours.hessian[10].eigenvalues.tobytes() == theirs.hessian[10].eigenvalues.tobytes()


@pytest.mark.slow
def test_a_second_layer_that_stays_is_a_fixed_one():
    """Trained by zeros: the code of a trained one, the numbers of a fixed one."""
    fixed = dmft.solve(PAIR, 3.0, dmft.GradientDescent(0.2, 8), SAMPLING)
    still = dmft.GradientDescent(0.2, 8, second_layer_step_size=[0.0] * 8)
    assert bits(dmft.solve(PAIR, 3.0, still, SAMPLING)) == bits(fixed)
    assert np.array_equal(fixed.second_layer, np.tile([1.0, -0.5], (9, 1)))
    assert not fixed.stderr["second_layer"].any()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_list_of_equal_steps_is_a_number(momentum):
    """Also in what counts beyond the last step: weights of directions, unstable paths."""
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    sampling = dmft.Sampling(n_paths=512, replicates=2, rank_tolerance=1e-4)
    eta = 0.3 if momentum == 0.0 else 0.02
    one, other = (
        dmft.solve(problem, 1.5, dmft.GradientDescent(size, 30, momentum=momentum), sampling)
        for size in (eta, [eta] * 30)
    )
    for name in ("norm", "train_loss", "gradient_covariance"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    assert one.unstable_paths.fraction.tobytes() == other.unstable_paths.fraction.tobytes()
    assert one.rank == other.rank


# -- the plain twin --------------------------------------------------------------------------------

TWIN = dataclasses.replace(
    problems.Case(
        "twin", "gelu", (1.0, -0.5), problems.easy_and_hard, 2, "pseudo-huber",
        delta=3.0, step_size=0.2, n_steps=8, hard=(1,), weight_decay=0.05,
    )
)  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_the_solver_is_its_plain_twin(name):
    """On the same random numbers, to rounding."""
    method = method_with(name, 8)
    problem = dmft.Problem(
        dmft.Target("easy-hard"),
        dmft.Network("gelu", [1.0, -0.5]),
        "pseudo-huber",
        weight_decay=pair_for(name).weight_decay,
        second_layer_weight_decay=0.1,
        bias_weight_decay=0.2,
    )
    sampling = dmft.Sampling(n_paths=512, replicates=2, seed=5)
    streams = plain_paths.streams(problem, sampling)
    draws = [
        MaskStream(sampling, i, method.batch_fraction, stream.leading())
        for i, stream in enumerate(streams)
    ]
    leading = np.concatenate([stream.leading() for stream in streams], axis=1)
    twin = plain_algorithms.run(
        dataclasses.replace(TWIN, weight_decay=problem.weight_decay),
        TWIN.label(leading[:2].T, np.zeros(leading.shape[1])),
        leading,
        lambda t: np.concatenate([stream.block(t) for stream in streams], axis=1),
        lambda t: np.concatenate([draw.block(t) for draw in draws]) > 0.0,
        etas=method.step_sizes,
        layer_etas=method.second_layer_step_sizes,
        momentum=method.momentum,
        nesterov=method.nesterov,
        sphere=method.constraint == "sphere",
        fraction=method.batch_fraction,
        layer_decay=0.1,
        bias_etas=method.bias_step_sizes,
        bias_decay=0.2,
    )
    found = dmft.solve(problem, 3.0, method, sampling)
    steps = np.arange(9)
    np.testing.assert_allclose(found.norm, twin["C"], atol=1e-10)
    np.testing.assert_allclose(found.overlap, twin["M"], atol=1e-10)
    np.testing.assert_allclose(found.second_layer, twin["a"], atol=1e-10)
    np.testing.assert_allclose(found.biases, twin["c"], atol=1e-10)
    np.testing.assert_allclose(found.train_loss, twin["train_loss"], atol=1e-10)
    np.testing.assert_allclose(found.gradient_covariance[steps, steps], twin["G"], atol=1e-10)
    np.testing.assert_allclose(found.gradient_norm**2, twin["square"], atol=1e-10)


def test_averages_with_and_without_the_batch_agree():
    """b^t drops out of E[(b/p) g q^T] and dl/da; |grad|^2 is that of the batch less its noise."""
    n, m, fraction = 40_000, 2, 0.5
    found = []
    for masked in (True, False):
        rng, draws = np.random.default_rng(1), np.random.default_rng(2)
        leading = rng.standard_normal((4, n))
        found.append(
            plain_algorithms.run(
                TWIN,
                TWIN.label(leading[:2].T, np.zeros(n)),
                leading,
                lambda t, rng=rng: rng.standard_normal((m, n)),
                lambda t, draws=draws: draws.random(n) < fraction,
                etas=[0.3] * 4,
                layer_etas=[0.2] * 4,
                fraction=fraction,
                orthogonalise=False,
                masked_averages=masked,
            )
        )
    for key in ("C", "M", "a", "square"):
        np.testing.assert_allclose(found[0][key], found[1][key], atol=0.02, err_msg=key)
    for each in found:
        np.testing.assert_allclose(each["inferred"], each["square"][:-1], rtol=0.04)


def test_a_custom_law_takes_every_option():
    """No compiled kernel: the same numbers as with one."""
    mine = dmft.Activation(
        np.tanh,
        lambda r: 1.0 - np.tanh(r) ** 2,
        lambda r: -2.0 * np.tanh(r) * (1.0 - np.tanh(r) ** 2),
        name="mine",
    )
    method = method_with("all", 5)
    found = [
        dmft.solve(
            dmft.Problem("staircase", dmft.Network(activation, [1.0, 0.5]), "square"),
            3.0, method, dmft.Sampling(n_paths=256, replicates=2),
        )
        for activation in ("tanh", mine)
    ]  # fmt: skip
    for name in ("norm", "second_layer", "train_loss", "gradient_norm"):
        ours, theirs = (getattr(each, name) for each in found)
        np.testing.assert_allclose(ours, theirs, atol=1e-9, err_msg=name)


# -- the second layer of a step --------------------------------------------------------------------


@pytest.mark.slow
def test_the_hessian_has_the_second_layer_of_its_step():
    """Weights D are those of a(t), for all paths and for each replicate."""
    from dmft.model.gradients import curvature

    method = method_with("second layer", 6)
    trajectory = dmft.solve(PAIR, 3.0, method, SAMPLING)
    law = trajectory.hessian(6)
    for index, one in enumerate([law, *law.replicates]):
        run = trajectory._runs[index]
        at = PAIR.with_second_layer(run.second_layer[6])
        D = curvature(at, run.pre_activations[6], run.labels)
        assert np.array_equal(one.weights, D)
    assert np.abs(trajectory.second_layer[6] - [1.0, -0.5]).max() > 0.05


# -- stopped solves --------------------------------------------------------------------------------


class StopError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_a_solve_that_is_stopped_goes_on_to_the_same_bits(tmp_path, name):
    method = method_with(name)
    sampling = dmft.Sampling(n_paths=256, replicates=2, seed=3)
    whole = dmft.solve(pair_for(name), 3.0, method, sampling)
    for after in (4, 17):
        ticks = []

        def stop(count, ticks=ticks, after=after):
            ticks.append(count)
            if len(ticks) > after:
                raise StopError

        with pytest.raises(StopError):
            dmft.solve(
                pair_for(name), 3.0, method, sampling,
                progress=stop, checkpoint=tmp_path, checkpoint_seconds=0, threads=1,
            )  # fmt: skip
    resumed = dmft.solve(pair_for(name), 3.0, method, sampling, checkpoint=tmp_path)
    assert bits(resumed) == bits(whole)
    other = dataclasses.replace(method, momentum=0.123)
    with pytest.raises(ValueError, match=r"method.momentum"):
        dmft.solve(pair_for(name), 3.0, other, sampling, checkpoint=tmp_path)
