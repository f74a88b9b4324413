"""Exponential, normal distribution, erf, tanh, log1p: units of the last place, by mpmath."""

import inspect
import re

import mpmath
import numba
import numpy as np
import pytest

from dmft._numerics import elementary
from dmft._numerics.elementary import BLOCK, ERF_JOIN, TANH_JOIN

RNG = np.random.default_rng(50)
TINY = 2.2250738585072014e-308  # the smallest normal number
LEAST = 5e-324


@numba.njit
def _erf(block):
    elementary.gaussian(block, 1.0)
    for i in range(BLOCK):
        block[BLOCK + i] = elementary.erf_of(block[i], block[2 * BLOCK + i])


@numba.njit
def _tanh(block):
    for i in range(BLOCK):
        block[BLOCK + i] = -2.0 * abs(block[i])
    elementary.exponential(block[BLOCK : 2 * BLOCK])
    for i in range(BLOCK):
        block[BLOCK + i] = elementary.tanh_of(block[i], block[BLOCK + i])


@numba.njit
def _log1p(block):
    for i in range(BLOCK):
        block[BLOCK + i] = elementary.log1p(block[i])


def by_blocks(function, x, third=1):
    """A third of the block that `function` fills, for any number of arguments."""
    found = np.empty(len(x))
    for start in range(0, len(x), BLOCK):
        stop = min(start + BLOCK, len(x))
        block = np.zeros(3 * BLOCK)
        block[: stop - start] = x[start:stop]
        function(block)
        found[start:stop] = block[third * BLOCK :][: stop - start]
    return found


def exponential(x):
    def of_block(block):
        elementary.exponential(block[:BLOCK])

    return by_blocks(of_block, x, 0)


def gaussian(x, c, third):
    return by_blocks(lambda block: elementary.gaussian(block, c), x, third)


FUNCTIONS = {
    "exp": (exponential, mpmath.exp),
    "density": (lambda x: gaussian(x, 0.5, 1), lambda x: mpmath.exp(-(x**2) / 2)),
    "square": (lambda x: gaussian(x, 1.0, 1), lambda x: mpmath.exp(-(x**2))),
    "tail": (lambda x: gaussian(x, 0.5, 2), lambda x: mpmath.erfc(abs(x) / mpmath.sqrt(2)) / 2),
    "erf": (lambda x: by_blocks(_erf, x), mpmath.erf),
    "tanh": (lambda x: by_blocks(_tanh, x), mpmath.tanh),
    "log1p": (lambda x: by_blocks(_log1p, x), mpmath.log1p),
}


def around(*centres):
    """The numbers next to each of some, and a few a little further away."""
    near = [[x, np.nextafter(x, np.inf), np.nextafter(x, -np.inf)] for x in centres]
    return np.concatenate([*near, *(x + 1e-9 * RNG.standard_normal(20) for x in centres)])


def signed(x):
    return np.concatenate([x, -x])


SMALL = np.array([0.0, LEAST, 3 * LEAST, TINY / 8, TINY, 1e-200, 1e-20, 1e-8, 1e-3])
POINTS = {
    "exp": [
        signed(SMALL),
        np.linspace(-746.0, 710.0, 600),
        RNG.uniform(-2.0, 2.0, 400),
        around(*(n * np.log(2) / 2 for n in (-3, -1, 1, 3))),
        # Where results are subnormal, and where they end.
        np.linspace(-745.2, -708.0, 200),
        around(-745.1332191019411, -708.3964185322641, 709.782712893384),
    ],
    "density": [signed(SMALL), np.linspace(-39.0, 39.0, 800), RNG.normal(0.0, 2.0, 400)],
    "square": [signed(SMALL), np.linspace(-28.0, 28.0, 800), RNG.normal(0.0, 2.0, 400)],
    "tail": [
        signed(SMALL),
        np.linspace(0.0, 39.0, 1500),
        np.linspace(0.0, 4.0, 1000),
        np.abs(RNG.normal(0.0, 2.0, 500)),
        around(4.0, 37.5, 38.4),
    ],
    "erf": [
        signed(SMALL),
        np.linspace(-6.5, 6.5, 1000),
        RNG.normal(0.0, 1.0, 500),
        signed(around(ERF_JOIN)),
    ],
    "tanh": [
        signed(SMALL),
        np.linspace(-20.0, 20.0, 1000),
        RNG.normal(0.0, 1.0, 500),
        signed(around(TANH_JOIN)),
    ],
    "log1p": [SMALL, np.linspace(0.0, 1.0, 1000), np.exp(-RNG.uniform(0.0, 700.0, 300))],
}
ULPS = {
    "exp": 1.0,
    "density": 1.0,
    "square": 1.0,
    "tail": 3.0,
    "erf": 2.0,
    "tanh": 2.0,
    "log1p": 1.2,
}


def worst(name, x):
    """Largest error in units of the last place of the exact value."""
    function, exact = FUNCTIONS[name]
    found, errors = function(x), []
    with mpmath.workdps(60):
        for at, value in zip(x.tolist(), found.tolist(), strict=True):
            wanted = exact(mpmath.mpf(at))
            if abs(wanted) < 1.797693134862315e308:
                unit = float(np.spacing(abs(float(wanted))))
                errors.append(float(abs(mpmath.mpf(value) - wanted) / unit))
            else:
                assert value == np.inf
    return max(errors)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_digit_is_right(name):
    assert worst(name, np.concatenate(POINTS[name])) <= ULPS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_digit_is_right_at_many_points(name):
    low, high = {"exp": (-745.0, 709.0), "tail": (0.0, 38.5), "log1p": (0.0, 1.0)}.get(
        name, (-3.0, 3.0)
    )
    assert worst(name, RNG.uniform(low, high, 20000)) <= ULPS[name]


def test_infinities_and_nan():
    far = np.array([np.inf, -np.inf, np.nan, 1e300, -1e300])
    limits = {
        "exp": [np.inf, 0.0, np.nan, np.inf, 0.0],
        "density": [0.0, 0.0, np.nan, 0.0, 0.0],
        "square": [0.0, 0.0, np.nan, 0.0, 0.0],
        "tail": [0.0, 0.0, np.nan, 0.0, 0.0],
        "erf": [1.0, -1.0, np.nan, 1.0, -1.0],
        "tanh": [1.0, -1.0, np.nan, 1.0, -1.0],
    }
    for name, wanted in limits.items():
        np.testing.assert_array_equal(FUNCTIONS[name][0](far), wanted)
    assert np.isnan(FUNCTIONS["log1p"][0](far[2:3])).all()


@pytest.mark.parametrize("name", ["erf", "tanh"])
def test_odd_functions_are_odd_to_the_last_bit(name):
    x = np.concatenate(POINTS[name])
    function = FUNCTIONS[name][0]
    np.testing.assert_array_equal(function(-x), -function(x))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bits_do_not_depend_on_the_place_in_the_block(name):
    x = np.concatenate(POINTS[name])
    whole = FUNCTIONS[name][0](x)
    for shift in (1, 5, 100):
        np.testing.assert_array_equal(FUNCTIONS[name][0](x[shift:]), whole[shift:])


def interpolated(function, low, high, degree):
    """Coefficients of powers of the Chebyshev interpolation of a function."""
    low, high, n = mpmath.mpf(low), mpmath.mpf(high), degree + 1
    nodes = [mpmath.cos(mpmath.pi * (2 * k + 1) / (2 * n)) for k in range(n)]
    points = [(low + high + (high - low) * x) / 2 for x in nodes]
    powers = mpmath.matrix([[x**j for j in range(n)] for x in points])
    return list(mpmath.lu_solve(powers, mpmath.matrix([function(x) for x in points])))


def of_mills(t):
    """h of the docstring of `elementary`."""
    x = 3.5 * t / (1 - t)
    q = (x + 3.5) * mpmath.exp(x**2 / 2) * mpmath.erfc(x / mpmath.sqrt(2)) / 2
    return (q - 1 / mpmath.sqrt(2 * mpmath.pi)) * (x + 3.5)


def odd(function):
    """(f(s)/s - f'(0))/s^2 at s^2."""

    def at(square):
        s = mpmath.sqrt(square)
        return (function(s) / s - mpmath.diff(function, 0)) / square

    return at


def of_exp(u):
    u = u if abs(u) > 1e-40 else mpmath.mpf("1e-40")
    return (mpmath.exp(u) - 1 - u) / u**2


def coefficients(function):
    """Coefficients of the polynomial in the source of a function, from the constant term up."""
    lines = inspect.getsource(function.py_func)
    lines = lines[lines.index(" p = ") :]
    lines = lines[: re.search(r"\n +(w|p \*=|near|return) ", lines).start()]
    numbers = re.findall(r"([+-]? ?\d+\.\d+(?:e-\d+)?)", lines)
    return [float(x.replace(" ", "")) for x in numbers][::-1]


def test_coefficients_are_those_of_the_interpolation():
    with mpmath.workdps(150):
        half = mpmath.log(2) / 2
        slope = mpmath.mpf(elementary._TWO_OVER_SQRT_PI)
        cases = {
            "_exp_minus_one": (of_exp, -half, half, 10),
            "log1p": (odd(lambda s: 2 * mpmath.atanh(s)), 0, mpmath.mpf(1) / 9, 10),
            "tanh_of": (odd(mpmath.tanh), 0, mpmath.mpf("0.3025"), 10),
            "erf_of": (lambda v: mpmath.erf(mpmath.sqrt(v)) / mpmath.sqrt(v) - slope, 0, 1, 12),
            "gaussian": (of_mills, 0, mpmath.mpf(40) / 43.5, 23),
        }
        for name, case in cases.items():
            wanted = interpolated(*case)
            found = coefficients(getattr(elementary, name))
            if name == "gaussian":
                leading = wanted.pop(0)
                assert float(leading) == elementary._MILLS_0
                assert float(leading - float(leading)) == elementary._MILLS_0_REST
            assert found == [pytest.approx(float(x), rel=1e-15, abs=2e-17) for x in wanted], name
