"""Schedules of the step size: values, files."""

import dataclasses
import json

import numpy as np
import pytest

import dmft


@pytest.mark.parametrize(
    "schedule",
    [
        dmft.Constant(0.1),
        dmft.WarmUp(0.1, 4),
        dmft.Cosine(0.4, 0.1, 2, 30),
        dmft.Cosine(0.4),
        dmft.InverseTime(0.4, 3.0),
    ],
)
def test_schedules_survive_a_file(schedule):
    method = dmft.GradientDescent(schedule, 7, 0.5, 0.9, [0.1] * 7)
    assert dmft.GradientDescent.from_config(json.loads(json.dumps(method.to_config()))) == method
    assert np.all(method.step_sizes <= schedule.largest)
    assert np.all(schedule.sizes(40, 30) >= 0.0)
    assert hash(method) == hash(dataclasses.replace(method))


def test_a_cosine_ends_where_it_should():
    sizes = dmft.Cosine(0.4, 0.1, 3).sizes(15, 10)
    np.testing.assert_allclose(sizes[:4], [0.1, 0.2, 0.3, 0.4])
    assert np.all(np.diff(sizes[3:11]) < 0.0)
    np.testing.assert_allclose(sizes[10:], 0.1)
    assert dmft.Cosine(0.4, warmup_steps=5).sizes(3, 3).max() < 0.4  # all of it warm-up
    assert dmft.Cosine(0.4, warmup_steps=5).over(3).n_steps == 5
