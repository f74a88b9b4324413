"""Checks at the door."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import dmft
from dmft._validation import check_finite_array


@pytest.mark.parametrize("value", [[1.0 + 2.0j], np.array([1.0 + 0.0j]), [1.0, np.complex64(2j)]])
def test_complex_arrays_are_refused(value):
    with pytest.raises(ValueError, match="kinks must be a list of numbers, got") as info:
        check_finite_array("kinks", value, ndim=1, expected="a list of numbers")
    assert "\n" not in str(info.value)


def test_a_complex_overlap_is_refused():
    with pytest.raises(ValueError, match=r"initial_overlap must be an array of shape \(1, 1\)"):
        dmft.Problem("linear", initial_overlap=[[0.1j]])


@pytest.mark.parametrize(
    "value", [[1, 2], [Fraction(1), Decimal(2)], np.array([1, 2], dtype=object)]
)
def test_numbers_of_any_type_are_accepted(value):
    array = check_finite_array("x", value, ndim=1, expected="numbers")
    np.testing.assert_array_equal(array, [1.0, 2.0])
