"""Activations: numpy callables and compiled twins against independent mpmath definitions."""

import dataclasses
import functools
import pickle
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
from kernel_blocks import in_blocks

from dmft._numerics import kernels as _kernels
from dmft.model.activations import ACTIVATIONS, LEAK, Activation, get_activation

MEMBERS = ("value", "derivative", "second_derivative")

DEFINITION = {
    "quadratic": lambda r: r**2,
    "gelu": lambda r: r * mpmath.erfc(-r / mpmath.sqrt(2)) / 2,
    "tanh": mpmath.tanh,
    "erf": mpmath.erf,
    "softplus": lambda r: mpmath.log(1 + mpmath.exp(r)),
    "silu": lambda r: r / (1 + mpmath.exp(-r)),
    "linear": lambda r: r,
    "relu": lambda r: r if r > 0 else mpmath.mpf(0),
    "leaky-relu": lambda r: r if r > 0 else r * mpmath.mpf(LEAK),
    "abs": abs,
    "clipped-linear": lambda r: max(min(r, mpmath.mpf(1)), mpmath.mpf(-1)),
}
KINKED = ("relu", "leaky-relu", "abs", "clipped-linear")

_RNG = np.random.default_rng(20)
CENTRE = np.concatenate([_RNG.uniform(-6.0, 6.0, 40), [0.0, 1e-9, -1e-9, 0.35, -0.35]])
TAILS = np.concatenate([_RNG.uniform(6.0, 40.0, 4), [50.0]])
TAILS = np.concatenate([TAILS, -TAILS])


@functools.cache
def exact(name, where):
    """Array (3, N): value and two derivatives; e^{-1250} beside 1 takes hundreds of digits."""
    r, digits = (CENTRE, 60) if where == "centre" else (TAILS, 400)
    with mpmath.workdps(digits):
        return np.array(
            [
                [float(mpmath.diff(DEFINITION[name], mpmath.mpf(x), n)) for x in r.tolist()]
                for n in range(3)
            ]
        )


def by_numpy(name, r):
    activation = ACTIVATIONS[name]
    return np.array([getattr(activation, member)(r) for member in MEMBERS])


def by_kernel(name, r):
    return in_blocks(
        _kernels.activate, (ACTIVATIONS[name].kernel_code,), {0: r}, ("_S", "_S1", "_S2")
    )


def test_the_bank_of_definitions_is_complete():
    assert set(DEFINITION) == set(ACTIVATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("evaluate", [by_numpy, by_kernel])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_matches_mpmath(name, evaluate):
    # On a kink there is no derivative to compare with; there is a test of its own.
    away = ~np.isin(CENTRE, ACTIVATIONS[name].kinks)
    # Around zeros of a derivative only the absolute error can be small.
    np.testing.assert_allclose(
        evaluate(name, CENTRE[away]), exact(name, "centre")[:, away], rtol=1e-14, atol=4e-16
    )
    # In the tails every digit counts, down to where numbers of double precision end. An error of
    # 1e-16 in r^2/2 = 1250 is one of 1e-13 in its exponential.
    np.testing.assert_allclose(evaluate(name, TAILS), exact(name, "tails"), rtol=5e-13, atol=1e-300)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_compiled_twins_agree_to_a_few_units_of_the_last_place(name):
    r = np.concatenate([np.linspace(-3.0, 3.0, 3001), _RNG.normal(size=1000)])
    np.testing.assert_allclose(by_kernel(name, r), by_numpy(name, r), rtol=2e-15, atol=5e-16)


@pytest.mark.parametrize("evaluate", [by_numpy, by_kernel])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_far_arguments_reach_their_limits_without_warnings(name, evaluate):
    r = np.array([-1e4, 1e4])
    limits = {
        "quadratic": [[1e8, 1e8], [-2e4, 2e4], [2.0, 2.0]],
        "tanh": [[-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]],
        "erf": [[-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]],
        "linear": [[-1e4, 1e4], [1.0, 1.0], [0.0, 0.0]],
        "leaky-relu": [[-1e2, 1e4], [0.01, 1.0], [0.0, 0.0]],
        "abs": [[1e4, 1e4], [-1.0, 1.0], [0.0, 0.0]],
        "clipped-linear": [[-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]],
    }
    rectifier = [[0.0, 1e4], [0.0, 1.0], [0.0, 0.0]]
    np.testing.assert_array_equal(evaluate(name, r), limits.get(name, rectifier))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_shape_and_type_are_kept(name):
    r = np.linspace(-1.0, 1.0, 12).reshape(3, 4)
    for member in MEMBERS:
        result = getattr(ACTIVATIONS[name], member)(r)
        assert result.shape == (3, 4)
        assert result.dtype == np.float64
        assert not np.shares_memory(result, r)


def test_codes_are_those_of_the_kernels():
    codes = {name: activation.kernel_code for name, activation in ACTIVATIONS.items()}
    names = {name: name.upper().replace("-", "_") for name in ACTIVATIONS}
    assert codes == {name: getattr(_kernels, names[name]) for name in ACTIVATIONS}
    assert _kernels._LEAK == LEAK


@pytest.mark.parametrize("evaluate", [by_numpy, by_kernel])
def test_on_a_kink_the_slope_is_the_flatter_one(evaluate):
    slopes = {"relu": [0.0], "leaky-relu": [LEAK], "abs": [0.0], "clipped-linear": [0.0, 0.0]}
    for name in KINKED:
        kinks = np.array(ACTIVATIONS[name].kinks)
        _, slope, bend = evaluate(name, kinks)
        np.testing.assert_array_equal(slope, slopes[name])
        np.testing.assert_array_equal(bend, np.zeros(len(kinks)))
        # The declared kinks are where the slope jumps, and the only places.
        near = evaluate(name, np.concatenate([kinks - 1e-9, kinks + 1e-9]))[1].reshape(2, -1)
        assert np.all(near[0] != near[1])
    assert [name for name, entry in ACTIVATIONS.items() if entry.kinks] == list(KINKED)


@pytest.mark.parametrize("evaluate", [by_numpy, by_kernel])
@pytest.mark.parametrize("name", KINKED)
def test_nan_stays_nan(name, evaluate):
    value, slope, _ = evaluate(name, np.array([np.nan]))
    assert np.isnan(value).all()
    assert np.isnan(slope).all()


def test_kinks_of_ones_own():
    def hat(r):
        return np.maximum(1.0 - np.abs(r), 0.0)

    def slope(r):
        return -np.sign(r) * (np.abs(r) < 1.0)

    own = Activation(hat, slope, np.zeros_like, kinks=[1, -1.0, 0, 0])
    assert own.kinks == (-1.0, 0.0, 1.0)
    duck = SimpleNamespace(
        value=hat, derivative=slope, second_derivative=np.zeros_like, kinks=(0.5,)
    )
    assert get_activation(duck).kinks == (0.5,)
    del duck.kinks
    assert get_activation(duck).kinks == ()
    with pytest.raises(ValueError, match="kinks must be a sequence of numbers, got shape"):
        Activation(hat, hat, hat, kinks=0.0)
    with pytest.raises(ValueError, match="kinks must have finite entries"):
        Activation(hat, hat, hat, kinks=(np.inf,))


def test_get_activation():
    assert get_activation("tanh") is ACTIVATIONS["tanh"]
    cubic = Activation(lambda r: r**3, lambda r: 3 * r**2, lambda r: 6 * r)
    assert get_activation(cubic) is cubic
    duck = SimpleNamespace(
        value=np.sin, derivative=np.cos, second_derivative=lambda r: -np.sin(r), name="sine"
    )
    wrapped = get_activation(duck)
    assert (wrapped.name, wrapped.kernel_code, wrapped.value) == ("sine", None, np.sin)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(
        ValueError, match=r"activation must be one of 'quadratic', 'gelu'.*"
    ) as info:
        get_activation("gleu")
    assert str(info.value).endswith("got 'gleu' (did you mean 'gelu'?)")
    with pytest.raises(ValueError, match=r"did you mean 'softplus'"):
        get_activation("Soft_Plus")


def test_incomplete_objects_are_refused():
    with pytest.raises(ValueError, match="must be a catalogue name or have a callable value"):
        get_activation(SimpleNamespace(derivative=np.cos))
    found = get_activation(SimpleNamespace(value=np.sin, derivative=np.cos))
    assert found.derivatives == "given, second by complex-step"
    with pytest.raises(ValueError, match="derivative must be callable, got 1"):
        Activation(np.sin, 1, np.cos)


def test_catalogue_entries_are_frozen_and_survive_pickling():
    gelu = ACTIVATIONS["gelu"]
    assert pickle.loads(pickle.dumps(gelu)) == gelu
    with pytest.raises(dataclasses.FrozenInstanceError):
        gelu.name = "other"
