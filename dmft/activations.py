r"""Catalogue of activations: value, first and second derivative, one entry per law.

============== ============================ =============================================
name           :math:`\sigma(r)`            remark
============== ============================ =============================================
``quadratic``  :math:`r^2`
``gelu``       :math:`r\,\Phi(r)`           :math:`\Phi` the exact normal distribution function
``tanh``       :math:`\tanh r`
``erf``        :math:`\mathrm{erf}(r)`      not :math:`\mathrm{erf}(r/\sqrt 2)`
``softplus``   :math:`\log(1 + e^r)`
``silu``       :math:`r/(1 + e^{-r})`
``linear``     :math:`r`
============== ============================ =============================================

All are smooth, and evaluated without overflow or loss of digits in the tails.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft._validation import check_choice, check_derivatives

__all__ = ["ACTIVATIONS", "Activation", "get_activation"]

Array = NDArray[np.float64]

_SQRT_2 = math.sqrt(2.0)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)


@dataclass(frozen=True)
class Activation:
    r"""An activation :math:`\sigma` with its first two derivatives.

    Parameters
    ----------
    value, derivative, second_derivative : callable
        :math:`\sigma, \sigma', \sigma''`; each maps an array of any shape to a float array of the
        same shape, element by element.
    name : str
        How results and messages call it.
    kernel_code : int or None
        Number of the compiled twin of a catalogue entry; leave None for your own.

    Raises
    ------
    ValueError
        If one of the three is not callable.

    Examples
    --------
    >>> import numpy as np
    >>> cubic = Activation(lambda r: r**3, lambda r: 3 * r**2, lambda r: 6 * r, name="cubic")
    >>> cubic.derivative(np.array([1.0, 2.0]))
    array([ 3., 12.])
    """

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    second_derivative: Callable[[Array], Array]
    name: str = "custom"
    kernel_code: int | None = None

    def __post_init__(self) -> None:
        for member in ("value", "derivative", "second_derivative"):
            if not callable(getattr(self, member)):
                raise ValueError(
                    f"activation {self.name!r}: {member} must be callable, "
                    f"got {getattr(self, member)!r}"
                )


# ---------------------------------------------------------------------------------------------
# The laws. Arguments are float arrays of any shape.


def _quadratic(r: Array) -> Array:
    return np.square(r)


def _quadratic_1(r: Array) -> Array:
    return 2.0 * np.asarray(r)


def _quadratic_2(r: Array) -> Array:
    return np.full_like(r, 2.0, dtype=np.float64)


def _linear(r: Array) -> Array:
    return np.array(r, dtype=np.float64)


def _linear_1(r: Array) -> Array:
    return np.ones_like(r, dtype=np.float64)


def _linear_2(r: Array) -> Array:
    return np.zeros_like(r, dtype=np.float64)


def _normal_density(r: Array) -> Array:
    return np.asarray(_INV_SQRT_2PI * np.exp(-0.5 * np.square(r)))


def _normal_cdf(r: Array) -> Array:
    from scipy.special import erfc

    return np.asarray(0.5 * erfc(np.asarray(r) / -_SQRT_2))


def _gelu(r: Array) -> Array:
    return np.asarray(r * _normal_cdf(r))


def _gelu_1(r: Array) -> Array:
    return np.asarray(_normal_cdf(r) + r * _normal_density(r))


def _gelu_2(r: Array) -> Array:
    return np.asarray(_normal_density(r) * (2.0 - np.square(r)))


def _tanh(r: Array) -> Array:
    return np.asarray(np.tanh(r))


def _tanh_1(r: Array) -> Array:
    # sech^2 from e^{-2|r|}: 1 - tanh^2 would lose all digits in the tails.
    e = np.exp(-2.0 * np.abs(r))
    return np.asarray(4.0 * e / np.square(1.0 + e))


def _tanh_2(r: Array) -> Array:
    return -2.0 * _tanh(r) * _tanh_1(r)


def _erf(r: Array) -> Array:
    from scipy.special import erf

    return np.asarray(erf(r))


def _erf_1(r: Array) -> Array:
    return np.asarray(_TWO_OVER_SQRT_PI * np.exp(-np.square(r)))


def _erf_2(r: Array) -> Array:
    return np.asarray(-2.0 * np.asarray(r) * _erf_1(r))


def _sigmoid(r: Array) -> Array:
    e = np.exp(-np.abs(r))
    return np.asarray(np.where(np.asarray(r) >= 0.0, 1.0, e) / (1.0 + e))


def _sigmoid_1(r: Array) -> Array:
    e = np.exp(-np.abs(r))
    return np.asarray(e / np.square(1.0 + e))


def _softplus(r: Array) -> Array:
    return np.asarray(np.maximum(r, 0.0) + np.log1p(np.exp(-np.abs(r))))


def _silu(r: Array) -> Array:
    return np.asarray(r * _sigmoid(r))


def _silu_1(r: Array) -> Array:
    return np.asarray(_sigmoid(r) + r * _sigmoid_1(r))


def _silu_2(r: Array) -> Array:
    return np.asarray(_sigmoid_1(r) * (2.0 - r * np.tanh(0.5 * np.asarray(r))))


#: The catalogue. The codes are those of ``dmft._kernels`` (which is not imported here: numba is
#: slow to load).
ACTIVATIONS: dict[str, Activation] = {
    entry.name: entry
    for entry in (
        Activation(_quadratic, _quadratic_1, _quadratic_2, "quadratic", 0),
        Activation(_gelu, _gelu_1, _gelu_2, "gelu", 1),
        Activation(_tanh, _tanh_1, _tanh_2, "tanh", 2),
        Activation(_erf, _erf_1, _erf_2, "erf", 3),
        Activation(_softplus, _sigmoid, _sigmoid_1, "softplus", 4),
        Activation(_silu, _silu_1, _silu_2, "silu", 5),
        Activation(_linear, _linear_1, _linear_2, "linear", 6),
    )
}


def get_activation(activation: Any) -> Activation:
    """Return the `Activation` for a catalogue name or for an object with value and derivatives.

    Parameters
    ----------
    activation : str, Activation or object
        A name in ``ACTIVATIONS``, or anything with callable attributes `value`, `derivative` and
        `second_derivative` (and, if it likes, a `name`).

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        If the name is unknown or the object lacks one of the callables.

    Examples
    --------
    >>> get_activation("gelu").name
    'gelu'
    >>> get_activation("gleu")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: activation must be one of 'quadratic', ... (did you mean 'gelu'?)
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        return ACTIVATIONS[check_choice("activation", activation, ACTIVATIONS)]
    name = check_derivatives("activation", activation)
    return Activation(
        activation.value,
        activation.derivative,
        activation.second_derivative,
        name=name,
    )
