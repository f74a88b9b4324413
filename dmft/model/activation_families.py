r"""Activations with parameters, and those of the catalogue that have no compiled twin.

============== ================= =================================== ===========================
name           parameters        :math:`\sigma(r)`                   remark
============== ================= =================================== ===========================
``swish``      beta > 0          :math:`r/(1 + e^{-\beta r})`        beta = 1 is ``silu``
``leaky-relu`` 0 <= slope < 1    :math:`\max(r, s r)`, s the slope   default 0.01; kink at 0
``relu``       power, 1 or >= 2  :math:`\max(r, 0)^p`, p the power   default 1; then kink at 0
``erf``        scale > 0         :math:`\mathrm{erf}(s r)`, s the    default 1
                                 scale
``erf-scaled``                   :math:`\mathrm{erf}(r/\sqrt 2)`     :math:`2\Phi(r) - 1`
``softsign``                     :math:`r/(1 + |r|)`
============== ================= =================================== ===========================

A power between 1 and 2 has a second derivative that is not bounded, and the Hessian of any number
of samples no smallest eigenvalue in the limit; it is refused.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_keys, check_real
from dmft.model import activations as plain
from dmft.model.activations import ACTIVATIONS, Activation
from dmft.model.catalogue import law_name

__all__ = ["FAMILIES", "Family"]

Array = NDArray[np.float64]
_SQRT_HALF = math.sqrt(0.5)
Law = Callable[..., Array]
Check = Callable[[str, Any], float]


class Family(NamedTuple):
    """Declaration of a family of activations.

    Attributes
    ----------
    members : tuple of three callables
        Value and derivatives; each takes r and the parameters as keywords.
    parameters : dict
        The check of each, by name.
    defaults : dict
        Values of those that may be left out.
    kinks : tuple of float
    entry : tuple of str and dict, optional
        An entry of the catalogue, and the parameters for which it is the member.
    """

    members: tuple[Law, Law, Law]
    parameters: dict[str, Check]
    defaults: dict[str, float]
    kinks: tuple[float, ...] = ()
    entry: tuple[str, dict[str, float]] | None = None

    def member(self, name: str, given: Mapping[str, Any]) -> Activation:
        """Return the activation with given parameters, the same object for the same ones.

        Raises
        ------
        ValueError
            If a parameter is unknown, missing or not allowed.
        """
        check_keys(f"activation {name!r}", given, tuple(self.parameters))
        values = {**self.defaults, **given}
        for key in self.parameters:
            if key not in values:
                at = f" ({key} = 1 is {self.entry[0]!r})" if self.entry else ""
                raise ValueError(f"activation {name!r} must have a parameter {key}{at}")
        numbers = {key: check(key, values[key]) for key, check in self.parameters.items()}
        return _member(name, tuple(numbers.items()))


@functools.lru_cache(maxsize=256)
def _member(name: str, parameters: tuple[tuple[str, float], ...]) -> Activation:
    found, numbers = FAMILIES[name], dict(parameters)
    if found.entry is not None and found.entry[1] == numbers:
        return ACTIVATIONS[found.entry[0]]
    value, first, second = (functools.partial(law, **numbers) for law in found.members)
    shown = law_name({"name": name, **numbers})
    return Activation(
        value, first, second, name=shown, kinks=found.kinks, family=(name, parameters)
    )


# -- checks --------------------------------------------------------------------------------------


_positive: Check = functools.partial(check_real, minimum=0.0, exclusive=True)


def _slope(name: str, value: Any) -> float:
    slope: float = check_real(name, value, minimum=0.0)
    if slope >= 1.0:
        raise ValueError(f"{name} must be below 1, got {slope:g}")
    return slope


def _power(name: str, value: Any) -> float:
    power: float = check_real(name, value, minimum=1.0)
    if 1.0 < power < 2.0:
        raise ValueError(f"{name} must be 1, or at least 2 (bounded curvature), got {power:g}")
    return power


# -- laws ----------------------------------------------------------------------------------------


def _swish(r: Array, beta: float) -> Array:
    return np.asarray(plain._silu(beta * np.asarray(r)) / beta)


def _swish_1(r: Array, beta: float) -> Array:
    return plain._silu_1(beta * np.asarray(r))


def _swish_2(r: Array, beta: float) -> Array:
    return np.asarray(beta * plain._silu_2(beta * np.asarray(r)))


def _leaky_2(r: Array, slope: float) -> Array:
    return np.zeros_like(r, dtype=np.float64)


def _relu(r: Array, power: float) -> Array:
    return np.asarray(np.maximum(r, 0.0) ** power)


def _relu_1(r: Array, power: float) -> Array:
    return np.asarray(power * np.maximum(r, 0.0) ** (power - 1.0))


def _relu_2(r: Array, power: float) -> Array:
    # The step function keeps NaN, and is 0 where 0^0 would be 1.
    positive = np.maximum(r, 0.0) ** (power - 2.0)
    return np.asarray(power * (power - 1.0) * positive * np.heaviside(r, 0.0))


def _erf(r: Array, scale: float) -> Array:
    return plain._erf(scale * np.asarray(r))


def _erf_1(r: Array, scale: float) -> Array:
    return np.asarray(scale * plain._erf_1(scale * np.asarray(r)))


def _erf_2(r: Array, scale: float) -> Array:
    return np.asarray(scale**2 * plain._erf_2(scale * np.asarray(r)))


def _scaled(r: Array) -> Array:
    return _erf(r, _SQRT_HALF)


def _scaled_1(r: Array) -> Array:
    return _erf_1(r, _SQRT_HALF)


def _scaled_2(r: Array) -> Array:
    return _erf_2(r, _SQRT_HALF)


def _softsign(r: Array) -> Array:
    return np.asarray(r / (1.0 + np.abs(r)))


def _softsign_1(r: Array) -> Array:
    return np.asarray((1.0 / (1.0 + np.abs(r))) ** 2)


def _softsign_2(r: Array) -> Array:
    return np.asarray(-2.0 * np.sign(r) * (1.0 / (1.0 + np.abs(r))) ** 3)


#: All families. Those without parameters are names like those of the catalogue.
FAMILIES: dict[str, Family] = {
    "swish": Family(
        (_swish, _swish_1, _swish_2), {"beta": _positive}, {}, entry=("silu", {"beta": 1.0})
    ),
    "leaky-relu": Family(
        (plain._leaky_relu, plain._leaky_relu_1, _leaky_2),
        {"slope": _slope},
        {"slope": plain.LEAK},
        (0.0,),
        ("leaky-relu", {"slope": plain.LEAK}),
    ),
    "relu": Family(
        (_relu, _relu_1, _relu_2), {"power": _power}, {"power": 1.0},
        entry=("relu", {"power": 1.0}),
    ),
    "erf": Family(
        (_erf, _erf_1, _erf_2), {"scale": _positive}, {"scale": 1.0},
        entry=("erf", {"scale": 1.0}),
    ),
    "erf-scaled": Family((_scaled, _scaled_1, _scaled_2), {}, {}),
    "softsign": Family((_softsign, _softsign_1, _softsign_2), {}, {}),
}  # fmt: skip
