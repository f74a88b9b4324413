"""Accuracies asked for: how many paths, and which budgets end them."""

import numpy as np
import pytest

from dmft._numerics.accuracy import Accuracy, requested


def test_paths_grow_with_the_square_of_the_statistical_error():
    accuracy = Accuracy(0.01)
    assert accuracy.more_paths(1024, 0.02, 0.0) == 8192  # 4 x 1.15^2, rounded up
    assert accuracy.more_paths(1024, 0.017, 0.0) == 4096
    assert accuracy.more_paths(1024, 0.0, 0.04) == 8192  # a bias falls like 1/N at the least


def test_paths_always_grow_and_never_by_more_than_a_factor():
    accuracy = Accuracy(0.01)
    assert accuracy.more_paths(1024, 0.005, 0.005) == 2048
    assert accuracy.more_paths(1024, 10.0, 0.0) == 8 * 1024
    assert accuracy.more_paths(1024, np.inf, 0.0) == 8 * 1024
    assert accuracy.more_paths(1024, np.nan, np.nan) == 8 * 1024


def test_paths_end_at_the_budget():
    accuracy = Accuracy(0.01, max_paths=5000)
    assert accuracy.more_paths(1024, 1.0, 0.0) == 4096
    assert accuracy.more_paths(4096, 1.0, 0.0) is None
    assert Accuracy(0.01, max_paths=256).first_paths(1e6) == 256


def test_paths_to_begin_with_grow_with_the_horizon():
    accuracy = Accuracy(0.01)
    first = [accuracy.first_paths(time) for time in (0.0, 8.0, 400.0, 1600.0, 1e12)]
    assert first == [1024, 1024, 1024, 4096, accuracy.max_paths]


def test_time_is_that_since_the_request():
    assert Accuracy(0.01).has_time_for(1e9)
    assert Accuracy(0.01, max_seconds=60.0).has_time_for(30.0)
    assert not Accuracy(0.01, max_seconds=60.0).has_time_for(61.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, None, None), "rtol must be a positive finite number, got 0"),
        ((1.0, None, None), "rtol must be below 1, got 1"),
        ((np.nan, None, None), "rtol must be"),
        ((0.1, 63, None), "max_paths must be an integer >= 64"),
        ((0.1, 2.5, None), "max_paths must be an integer"),
        ((0.1, None, 0.0), "max_seconds must be a positive finite number"),
        ((None, 1024, None), "max_paths must come with rtol"),
        ((None, None, 3.0), "max_seconds must come with rtol"),
    ],
)
def test_what_is_no_accuracy_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        requested(*arguments)


def test_no_accuracy_is_none_and_one_says_what_it_was():
    assert requested(None, None, None) is None
    assert requested(0.1, None, None).options() == {"rtol": 0.1}
    stated = {"rtol": 0.1, "max_paths": 4096, "max_seconds": 60.0}
    assert requested(**stated).options() == stated
