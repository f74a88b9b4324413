"""Settings of gradient descent: what is accepted, what is refused, and the way back from a file."""

import json

import numpy as np
import pytest

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
