r"""Losses with a parameter.

===================== ========== ======================================= ====================
name                  parameter  :math:`L(f, y)`                         labels
===================== ========== ======================================= ====================
``normalised-square`` a > 0      :math:`(f - y)^2 / (2 (a + y))`         :math:`y > -a`
===================== ========== ======================================= ====================

A run file names one by a table, ``loss = { name = "normalised-square", a = 1.0 }``, Python by a
mapping with the same entries.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_keys, check_real
from dmft.model.catalogue import law_name
from dmft.model.losses import Loss

__all__ = ["FAMILIES", "Family"]

Array = NDArray[np.float64]
Law = Callable[..., Array]


class Family(NamedTuple):
    """Declaration of a family of losses with one parameter, which is positive.

    Attributes
    ----------
    members : tuple of three callables
        Value and derivatives; each takes f, y and the parameter as a keyword.
    parameters : tuple of str
        Its name.
    kernel_code : int
        Number of the compiled twin in ``dmft._numerics.kernels``.
    labels_above : callable
        Parameter to the number that labels must be larger than.
    """

    members: tuple[Law, Law, Law]
    parameters: tuple[str]
    kernel_code: int
    labels_above: Callable[[float], float]

    def member(self, name: str, given: Mapping[str, Any]) -> Loss:
        """Return the loss with a given parameter, the same object for the same one.

        Raises
        ------
        ValueError
            If the parameter is missing or not allowed, or there is another one.
        """
        (key,) = self.parameters
        check_keys(f"loss {name!r}", given, self.parameters)
        if key not in given:
            raise ValueError(f"loss {name!r} must have a parameter {key}")
        return _member(name, check_real(key, given[key], minimum=0.0, exclusive=True))


@functools.lru_cache(maxsize=256)
def _member(name: str, parameter: float) -> Loss:
    found = FAMILIES[name]
    named = {found.parameters[0]: parameter}
    value, first, second = (functools.partial(law, **named) for law in found.members)
    return Loss(
        value,
        first,
        second,
        name=law_name({"name": name, **named}),
        kernel_code=found.kernel_code,
        family=(name, tuple(named.items())),
        labels_above=found.labels_above(parameter),
    )


def _normalised_square(f: Array, y: Array, a: float) -> Array:
    return np.asarray(0.5 * np.square(np.subtract(f, y)) / np.add(a, y))


def _normalised_square_1(f: Array, y: Array, a: float) -> Array:
    return np.asarray(np.subtract(f, y) / np.add(a, y))


def _normalised_square_2(f: Array, y: Array, a: float) -> Array:
    shape = np.broadcast_shapes(np.shape(f), np.shape(y))
    return np.asarray(np.broadcast_to(1.0 / np.add(a, y), shape))


#: All families.
FAMILIES: dict[str, Family] = {
    "normalised-square": Family(
        (_normalised_square, _normalised_square_1, _normalised_square_2),
        ("a",),
        5,
        lambda a: -a,
    ),
}
