"""Settings of gradient descent: what is accepted, what is refused, and the way back from a file."""

import json

import numpy as np
import pytest
from algorithm_options import COSINE

from dmft.training.gradient_descent import GradientDescent


def test_plain_types_are_stored():
    method = GradientDescent(step_size=np.float64(0.5), n_steps=np.int32(7))
    assert method == GradientDescent(0.5, 7)
    assert (type(method.step_size), type(method.n_steps)) == (float, int)
    assert GradientDescent(1, 0).step_size == 1.0


@pytest.mark.parametrize("step_size", [0.0, -0.1, float("nan"), float("inf"), "0.1", None, True])
def test_step_size_is_checked(step_size):
    with pytest.raises(ValueError, match="step_size must be a positive finite number, got"):
        GradientDescent(step_size, 10)


@pytest.mark.parametrize("n_steps", [-1, 1.0, 2.5, "3", None, True, np.bool_(True), np.float64(3)])
def test_n_steps_is_checked(n_steps):
    with pytest.raises(ValueError, match="n_steps must be an integer >= 0, got"):
        GradientDescent(0.1, n_steps)


def test_config_round_trip():
    method = GradientDescent(0.1, 12)
    assert GradientDescent.from_config(json.loads(json.dumps(method.to_config()))) == method


def test_bad_configs():
    with pytest.raises(ValueError, match=r"got 'stepsize' \(did you mean 'step_size'\?\)"):
        GradientDescent.from_config({"stepsize": 0.1, "n_steps": 1})
    with pytest.raises(ValueError, match="method must have a key 'n_steps'"):
        GradientDescent.from_config({"step_size": 0.1})


def test_direction_weights_are_sums_over_later_steps():
    etas = np.random.default_rng(0).uniform(0.1, 0.4, 200)
    method = GradientDescent(etas, 200, momentum=0.8)
    longer = np.append(etas, np.full(100, etas[-1]))  # a list goes on with its last entry
    direct = [np.sum(0.8 ** np.arange(300 - t) * longer[t:]) for t in range(200)]
    np.testing.assert_allclose(method.direction_weights[:-1], direct, rtol=2e-3)
    assert np.all(method.direction_weights <= method.largest_direction_weight)
    constant = GradientDescent(0.1, 5, momentum=0.9)
    np.testing.assert_allclose(constant.direction_weights, 1.0, rtol=2e-3)
    assert np.array_equal(GradientDescent(etas, 9).direction_weights[:9], etas[:9])


def test_curvature_limits():
    method = GradientDescent([0.5, 0.0, 0.25], 3, batch_fraction=0.5, momentum=0.5)
    limits = method.curvature_limits(4.0, 0.1)
    np.testing.assert_allclose(limits[:3], [2.0 * (6.0 - 0.1), np.inf, 2.0 * (12.0 - 0.1)])
    plain = GradientDescent(0.5, 2).curvature_limits(4.0, 0.1)
    assert np.array_equal(plain, np.full(3, 4.0 * (2.0 / 0.5 - 0.1)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_fraction": 0.0}, "batch_fraction must be above 0 and at most 1, got 0"),
        ({"batch_fraction": 1.5}, "batch_fraction must be above 0 and at most 1, got 1.5"),
        ({"batch_fraction": np.nan}, "batch_fraction must be a finite number, got nan"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, got 1"),
        ({"momentum": -0.1}, "momentum must be at least 0 and below 1, got -0.1"),
        ({"momentum": "0.9"}, "momentum must be a finite number, got '0.9'"),
        ({"step_size": [0.1] * 4}, "step_size must have at least n_steps = 5 entries, got 4"),
        ({"step_size": [0.1, -0.1] * 4}, "step_size must have entries >= 0, got -0.1"),
        ({"step_size": [0.1, np.nan] * 4}, "step_size must have finite entries"),
        ({"step_size": [[0.1] * 5]}, r"a schedule, got shape \(1, 5\)"),
        ({"step_size": ["a"] * 5}, "step_size must be a number, a sequence of numbers"),
        ({"step_size": 0.0}, "step_size must be a positive finite number, got 0.0"),
        ({"step_size": {"peak": 0.1}}, "step_size must have a key 'schedule'"),
        ({"step_size": {"schedule": "cosin"}}, "did you mean 'cosine'"),
        ({"step_size": {"schedule": "cosine"}}, "step_size must have a key 'peak'"),
        ({"step_size": {**COSINE, "peek": 1}}, "did you mean 'peak'"),
        ({"step_size": {**COSINE, "final": 0.5}}, "step_size: final must be at most peak = 0.3"),
        ({"step_size": {**COSINE, "peak": 0}}, "step_size: peak must be a positive finite number"),
        ({"step_size": {"schedule": "warm-up", "peak": 1.0, "warmup_steps": 0.5}}, "warmup_steps"),
        ({"step_size": {"schedule": "inverse-time", "peak": 1, "half_time": 0}}, "half_time"),
        ({"second_layer_step_size": -0.1}, "second_layer_step_size must be a finite number >= 0"),
        ({"second_layer_step_size": "x"}, "second_layer_step_size must be a finite number >= 0"),
        ({"second_layer_step_size": [0.1]}, "second_layer_step_size must have at least n_steps"),
        ({"second_layer_step_size": None}, "second_layer_step_size must be a finite number"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        GradientDescent(**{"step_size": 0.1, "n_steps": 5, **settings})
    assert "\n" not in str(caught.value)
