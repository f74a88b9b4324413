r"""Catalogue of activations: value, first and second derivative, one entry per law.

================== ============================ =============================================
name               :math:`\sigma(r)`            remark
================== ============================ =============================================
``quadratic``      :math:`r^2`
``gelu``           :math:`r\,\Phi(r)`           :math:`\Phi` the exact normal distribution function
``tanh``           :math:`\tanh r`
``erf``            :math:`\mathrm{erf}(r)`      not :math:`\mathrm{erf}(r/\sqrt 2)`
``softplus``       :math:`\log(1 + e^r)`
``silu``           :math:`r/(1 + e^{-r})`
``linear``         :math:`r`
``relu``           :math:`\max(r, 0)`           kink at 0
``leaky-relu``     :math:`\max(r, r/100)`       kink at 0
``abs``            :math:`|r|`                  kink at 0
``clipped-linear`` r clipped to [-1, 1]         kinks at -1 and 1
================== ============================ =============================================

`dmft.model.activation_families` has ``erf-scaled``, :math:`\mathrm{erf}(r/\sqrt 2)`, ``softsign``,
and activations with parameters, which a table names: ``{"name": "swish", "beta": 1.5}``.

All are evaluated without overflow or loss of digits in the tails.

``relu``, ``leaky-relu``, ``abs`` and ``clipped-linear`` are smooth except at their *kinks*,
where :math:`\sigma'` jumps. On a kink itself
:math:`\sigma'` is the slope of the flatter side (0 for ``abs``), so that a neuron at r = 0 for all
samples does not move; that happens only with an initial radius of zero. :math:`\sigma''` is zero
everywhere: the curvature D of a sample, and with it the Hessian of n samples, has no contribution
from a kink, which no sample hits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.derivatives import complete_derivatives
from dmft._numerics.frozen import set_fields
from dmft._numerics.validation import check_finite_array
from dmft.model.catalogue import CatalogueFunction

__all__ = ["ACTIVATIONS", "Activation", "get_activation"]

Array = NDArray[np.float64]

# Where functions of one's own are checked: irrational numbers, which no kink is likely to be.
_POINTS = np.concatenate(
    [np.linspace(-4.0, 4.0, 40), np.array([-24.0, -15.0, -9.0, -6.0, 6.0, 9.0, 15.0, 24.0])]
) * (math.pi / 3.2)
_DENSE = np.arange(-10.0, 10.0, 0.25) + 0.125

_SQRT_2 = math.sqrt(2.0)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
LEAK = 0.01
"""Slope of ``leaky-relu`` at negative arguments."""


@dataclass(frozen=True)
class Activation(CatalogueFunction):
    r"""An activation :math:`\sigma` with its first two derivatives.

    Parameters
    ----------
    value, derivative, second_derivative : callable
        :math:`\sigma, \sigma', \sigma''`; each maps an array of any shape to a float array of the
        same shape, element by element. Derivatives given are checked against numerical ones; those
        left out are found numerically (`dmft._numerics.derivatives`), to rounding or nearly so and
        at some ten evaluations each.
    name : str
        How results and messages call it.
    kernel_code : int or None
        Number of the compiled twin of a catalogue entry; leave None for your own.
    kinks : tuple of float
        Arguments at which the first derivative jumps. Dynamics and Hessians need none of it;
        quadrature and numerical derivatives do, which otherwise take the activation to be smooth.

    Attributes
    ----------
    derivatives : str
        Where the derivatives come from: "given", "complex-step", "interpolation", or
        "given, second by" one of the last two.

    Raises
    ------
    ValueError
        If one of the three is not callable or does not act element by element, if one is not the
        derivative of the one before, if `kinks` is no sequence of numbers, or a derivative left out
        cannot be found.

    Examples
    --------
    >>> import numpy as np
    >>> cubic = Activation(lambda r: r**3, lambda r: 3 * r**2, lambda r: 6 * r, name="cubic")
    >>> cubic.derivative(np.array([1.0, 2.0]))
    array([ 3., 12.])

    >>> sine = Activation(np.sin, name="sine")
    >>> sine.derivatives, sine.second_derivative(np.array([0.5])).round(12)
    ('complex-step', array([-0.47942554]))
    >>> Activation(np.sin, np.sin)
    Traceback (most recent call last):
    ...
    ValueError: activation 'custom': derivative must be the derivative of value, got ...
    """

    kinks: tuple[float, ...] = ()

    kind: ClassVar[str] = "activation"
    catalogue: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def families(cls) -> Mapping[str, Any]:
        """Return the families of activations with parameters."""
        from dmft.model.activation_families import FAMILIES

        return FAMILIES

    def __post_init__(self) -> None:
        super().__post_init__()
        kinks = check_finite_array(
            f"{self._label}: kinks", self.kinks, ndim=1, expected="a sequence of numbers"
        )
        set_fields(self, kinks=tuple(sorted(set(kinks.tolist()))))
        if self.kernel_code is None:  # the catalogue's own are for the tests to check
            found = complete_derivatives(
                self._label,
                (self.value, self.derivative, self.second_derivative),
                _POINTS,
                dense=_DENSE,
                kinks=self.kinks,
                argument="r",
                advice="state it in kinks",
            )
            set_fields(self, **found)


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


def _relu(r: Array) -> Array:
    return np.asarray(np.maximum(r, 0.0))


def _relu_1(r: Array) -> Array:
    # Unlike a comparison, heaviside keeps NaN.
    return np.asarray(np.heaviside(r, 0.0))


def _leaky_relu(r: Array, slope: float = LEAK) -> Array:
    return np.asarray(np.maximum(r, slope * np.asarray(r)))


def _leaky_relu_1(r: Array, slope: float = LEAK) -> Array:
    return np.asarray(slope + (1.0 - slope) * np.heaviside(r, 0.0))


def _abs(r: Array) -> Array:
    return np.asarray(np.abs(r))


def _abs_1(r: Array) -> Array:
    return np.asarray(np.sign(r))


def _clipped_linear(r: Array) -> Array:
    return np.asarray(np.clip(r, -1.0, 1.0))


def _clipped_linear_1(r: Array) -> Array:
    return np.asarray(np.heaviside(1.0 - np.abs(r), 0.0))


#: The catalogue, in the order of the codes in ``dmft._numerics.kernels`` (which is not imported
#: here: numba is slow to load). A new activation comes last.
ACTIVATIONS: dict[str, Activation] = {
    name: Activation(*members, name=name, kernel_code=code, kinks=kinks)
    for code, (name, members, kinks) in enumerate(
        [
            ("quadratic", (_quadratic, _quadratic_1, _quadratic_2), ()),
            ("gelu", (_gelu, _gelu_1, _gelu_2), ()),
            ("tanh", (_tanh, _tanh_1, _tanh_2), ()),
            ("erf", (_erf, _erf_1, _erf_2), ()),
            ("softplus", (_softplus, _sigmoid, _sigmoid_1), ()),
            ("silu", (_silu, _silu_1, _silu_2), ()),
            ("linear", (_linear, _linear_1, _linear_2), ()),
            ("relu", (_relu, _relu_1, _linear_2), (0.0,)),
            ("leaky-relu", (_leaky_relu, _leaky_relu_1, _linear_2), (0.0,)),
            ("abs", (_abs, _abs_1, _linear_2), (0.0,)),
            ("clipped-linear", (_clipped_linear, _clipped_linear_1, _linear_2), (-1.0, 1.0)),
        ]
    )
}
Activation.catalogue = ACTIVATIONS


def get_activation(activation: Any) -> Activation:
    """Return the `Activation` for a catalogue name or for an object with value and derivatives.

    Parameters
    ----------
    activation : str, mapping, Activation or object
        A name in ``ACTIVATIONS``; a table of the name and parameters of a family
        (`dmft.model.activation_families`); or anything with a callable attribute `value` (and, if
        it likes, `derivative`, `second_derivative`, a `name` and `kinks`).

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        If the name is unknown, the object has no value, or `Activation` refuses it.

    Examples
    --------
    >>> get_activation("gelu").name
    'gelu'
    >>> get_activation({"name": "swish", "beta": 1.5}).name
    'swish(beta=1.5)'
    >>> get_activation("gleu")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: activation must be one of 'quadratic', ... (did you mean 'gelu'?)
    """
    return Activation.of(activation)
