"""Steps that change and momentum in the solver: runs cut short, steps of zero, stability."""

import numpy as np
import pytest
from algorithm_options import COSINE, GELU, PAIR, SAMPLING

import dmft


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        {"step_size": list(np.linspace(0.1, 0.3, 12)), "momentum": 0.9},
        {"step_size": COSINE, "momentum": 0.9, "second_layer_step_size": COSINE},
        {"step_size": [0.0, 0.2, 0.0, *[0.1] * 9], "batch_fraction": 0.5},
    ],
    ids=["list", "cosine", "zeros"],
)
def test_a_shorter_run_is_the_beginning_of_the_longer(given):
    """Hessians at a step that was not kept come from a run that stops there: to the same bits."""
    method = dmft.GradientDescent(n_steps=12, **given)
    sampling = dmft.Sampling(n_paths=512, replicates=2, rank_tolerance=1e-4)
    kept = dmft.solve(PAIR, 3.0, method, sampling, hessian_steps=[1, 5])
    again = dmft.solve(PAIR, 3.0, method, sampling, hessian_steps=[])
    for step in (1, 5):
        assert np.array_equal(kept.hessian(step).weights, again.hessian(step).weights)
        short = method.until(step)
        assert np.array_equal(short.step_sizes, method.step_sizes[:step])
        assert np.array_equal(short.direction_weights, method.direction_weights[: step + 1])
        assert short.largest_direction_weight == method.largest_direction_weight
        assert np.array_equal(short.times, method.times[: step + 1])
        assert np.array_equal(short.until(1).step_sizes, method.step_sizes[:1])


def test_steps_of_zero_change_nothing():
    method = dmft.GradientDescent([0.2, 0.0, 0.0, 0.2, 0.0], 5)
    found = dmft.solve(PAIR, 3.0, method, SAMPLING)
    assert found.status.ok
    for name in found.stderr:
        if name not in ("response", "test_error"):
            assert np.isfinite(getattr(found, name)).all(), name
    assert np.array_equal(found.norm[1], found.norm[3])
    assert found.train_loss[1] == pytest.approx(found.train_loss[3], rel=1e-12)
    assert found.gradient_norm[1] == pytest.approx(found.gradient_norm[3], rel=1e-9)
    assert found.rank == 4  # of two steps that move, with two neurons
    assert found.unstable_paths.fraction[1] == 0.0


def test_momentum_gives_weight_to_a_gradient_of_a_step_of_zero():
    """What the first step finds moves the weights in the second."""
    method = dmft.GradientDescent([0.0, 0.3], 2, momentum=0.9)
    # The list goes on with its last entry.
    assert method.direction_weights[0] == pytest.approx(0.3 * 0.9 / (1.0 - 0.9), rel=2e-3)
    found = dmft.solve(PAIR, 3.0, method, SAMPLING)
    plain = dmft.solve(PAIR, 3.0, dmft.GradientDescent(1.9 * 0.3, 1), SAMPLING)
    # Both evaluations are at the start; their gradients are the same, and so is their direction.
    np.testing.assert_allclose(found.norm[2], plain.norm[1], rtol=1e-9)


def test_the_rank_tolerance_sees_momentum():
    """With momentum 0.9 a gradient counts ten times its step, and so opens more directions."""
    sampling = dmft.Sampling(n_paths=512, replicates=2, rank_tolerance=1e-3)
    ranks = [
        dmft.solve(GELU, 6.0, dmft.GradientDescent(eta, 20, momentum=beta), sampling).rank
        for eta, beta in ((0.2, 0.0), (0.02, 0.9), (0.02, 0.0))
    ]
    assert ranks[1] > ranks[2]
    assert ranks[0] > ranks[2]


def test_momentum_is_stable_for_longer_steps():
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    shares = [
        dmft.solve(
            problem, 1.0, dmft.GradientDescent(0.2, 1, momentum=beta), SAMPLING
        ).unstable_paths.fraction[0]
        for beta in (0.0, 0.9)
    ]
    assert shares[0] > shares[1]
