r"""Catalogue of label functions of the latent coordinates :math:`z \sim N(0, I_k)`.

==================== === ================================================= ===============
name                 k   :math:`\varphi(z)`                                hard directions
==================== === ================================================= ===============
``phase-retrieval``  1   :math:`z^2`                                       :math:`z`
``modulus``          1   :math:`|z|`                                       :math:`z`
``linear``           1   :math:`z`                                         none
``product``          2   :math:`z_1 z_2`                                   :math:`z_1, z_2`
``staircase``        2   :math:`z_1 + z_1 z_2`                             none
``easy-hard``        2   :math:`\tanh z_1 + \tanh(z_2^2 - 1)`              :math:`z_2`
``hermite3``         1   :math:`z^3 - 3z`                                  none
``hermite4``         1   :math:`z^4 - 6z^2 + 3`                            :math:`z`
``hermite3-squared`` 1   :math:`(z^3 - 3z)^2`                              :math:`z`
``tanh-hermite3``    2   :math:`\tanh(z_1 + z_2^3 - 3z_2)`                 none
==================== === ================================================= ===============

A table names a function with parameters, ``{"name": "capped-square", "cap": 5.0}``:

================= ======================== ======================================== ==============
name              parameters               :math:`\varphi(z)`                       hard directions
================= ======================== ======================================== ==============
``capped-square`` cap M > 0                :math:`\min(z^2, M)`                     :math:`z`
``power-law``     gamma > 0, features k    :math:`\sum_j j^{-\gamma} (z_j^2 - 1)`   all
``two-squares``   weight w > 0             :math:`z_1^2 + w z_2^2`                  both
================= ======================== ======================================== ==============

``hermite3`` and the two that follow it are for :func:`dmft.hardness`: the first of them tells of z,
although its correlation with every function of z of degree below 3 vanishes.

`Target` adds Gaussian noise of any size; that leaves the hard directions as they are (the noise
convolves :math:`p(y)\,E[z|y]` with a Gaussian, which vanishes only if the function itself does).
Or it makes labels -1 and +1 of the function (`dmft.model.classification`), after which a direction
that was easy may be hard.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_choice, check_integer, check_keys, check_real
from rmt._validation import shown

__all__ = ["FAMILIES", "TARGETS", "TargetFunction", "get_target_function"]

Array = NDArray[np.float64]

_MOST_FEATURES = 16


@dataclass(frozen=True)
class TargetFunction:
    """A catalogue entry: a noiseless label function and what is known of it.

    Parameters
    ----------
    name : str
        Its name in the catalogue.
    k : int
        Number of latent directions.
    function : callable
        ``(z (N, k), eps (N,)) -> y (N,)``; `eps` is not used.
    hard_indices : tuple of int
        Latent coordinates that no number of O(1) steps can pick up.
    formula : str
        The function as text.
    parameters : tuple of str and float
        Those of a member of a family.
    bounds : tuple of float, optional
        Infimum and supremum of the function, where they are known.

    Examples
    --------
    >>> import numpy as np
    >>> TARGETS["product"](np.array([[2.0, 3.0]]), np.zeros(1))
    array([6.])
    """

    name: str
    k: int
    function: Callable[[Array, Array], Array] = field(compare=False)
    hard_indices: tuple[int, ...]
    formula: str
    parameters: tuple[tuple[str, float], ...] = ()
    bounds: tuple[float, float] | None = None

    @property
    def config(self) -> str | dict[str, Any]:
        """Entry in a configuration: the name, or a table of the name and parameters."""
        return {"name": self.name, **dict(self.parameters)} if self.parameters else self.name

    def __call__(self, z: Array, eps: Array) -> Array:
        """Return labels (N,) at latent coordinates `z` (N, k)."""
        return self.function(z, eps)


def _phase_retrieval(z: Array, eps: Array) -> Array:
    return np.square(z[:, 0])


def _modulus(z: Array, eps: Array) -> Array:
    return np.abs(z[:, 0])


def _linear(z: Array, eps: Array) -> Array:
    return z[:, 0].copy()


def _product(z: Array, eps: Array) -> Array:
    return np.asarray(z[:, 0] * z[:, 1])


def _staircase(z: Array, eps: Array) -> Array:
    return np.asarray(z[:, 0] + z[:, 0] * z[:, 1])


def _easy_hard(z: Array, eps: Array) -> Array:
    return np.asarray(np.tanh(z[:, 0]) + np.tanh(np.square(z[:, 1]) - 1.0))


def _hermite3(z: Array, eps: Array) -> Array:
    return np.asarray(z[:, 0] * (np.square(z[:, 0]) - 3.0))


def _hermite4(z: Array, eps: Array) -> Array:
    square = np.square(z[:, 0])
    return np.asarray(square * (square - 6.0) + 3.0)


def _hermite3_squared(z: Array, eps: Array) -> Array:
    return np.square(_hermite3(z, eps))


def _tanh_hermite3(z: Array, eps: Array) -> Array:
    return np.asarray(np.tanh(z[:, 0] + z[:, 1] * (np.square(z[:, 1]) - 3.0)))


#: The catalogue.
TARGETS: dict[str, TargetFunction] = {
    entry.name: entry
    for entry in (
        TargetFunction("phase-retrieval", 1, _phase_retrieval, (0,), "z^2"),
        TargetFunction("modulus", 1, _modulus, (0,), "|z|"),
        TargetFunction("linear", 1, _linear, (), "z"),
        TargetFunction("product", 2, _product, (0, 1), "z1 z2"),
        TargetFunction("staircase", 2, _staircase, (), "z1 + z1 z2"),
        TargetFunction("easy-hard", 2, _easy_hard, (1,), "tanh(z1) + tanh(z2^2 - 1)"),
        TargetFunction("hermite3", 1, _hermite3, (), "z^3 - 3 z"),
        TargetFunction("hermite4", 1, _hermite4, (0,), "z^4 - 6 z^2 + 3"),
        TargetFunction("hermite3-squared", 1, _hermite3_squared, (0,), "(z^3 - 3 z)^2"),
        TargetFunction("tanh-hermite3", 2, _tanh_hermite3, (), "tanh(z1 + z2^3 - 3 z2)"),
    )
}


def _square_up_to(z: Array, eps: Array, cap: float) -> Array:
    return np.minimum(np.square(z[:, 0]), cap)


@functools.lru_cache(maxsize=256)
def _capped_square(cap: float) -> TargetFunction:
    function = functools.partial(_square_up_to, cap=cap)
    text = f"min(z^2, {cap:g})"
    return TargetFunction(
        "capped-square", 1, function, (0,), text, (("cap", cap),), bounds=(0.0, cap)
    )


def _power_sum(z: Array, eps: Array, gamma: float) -> Array:
    weights = np.arange(1.0, z.shape[1] + 1.0) ** -gamma
    return np.asarray((np.square(z) - 1.0) @ weights)


@functools.lru_cache(maxsize=256)
def _power_law(gamma: float, features: int) -> TargetFunction:
    function = functools.partial(_power_sum, gamma=gamma)
    text = f"sum_j j^-{gamma:g} (z_j^2 - 1), j = 1..{features}"
    parameters = (("gamma", gamma), ("features", features))
    return TargetFunction("power-law", features, function, tuple(range(features)), text, parameters)


def _weighted_squares(z: Array, eps: Array, weight: float) -> Array:
    return np.asarray(np.square(z[:, 0]) + weight * np.square(z[:, 1]))


@functools.lru_cache(maxsize=256)
def _two_squares(weight: float) -> TargetFunction:
    function = functools.partial(_weighted_squares, weight=weight)
    text = f"z1^2 + {weight:g} z2^2"
    return TargetFunction("two-squares", 2, function, (0, 1), text, (("weight", weight),))


_positive = functools.partial(check_real, minimum=0.0, exclusive=True)
_features = functools.partial(check_integer, minimum=1, maximum=_MOST_FEATURES)

#: Functions with parameters: their names with checks, and what makes the function of them.
FAMILIES: dict[str, tuple[dict[str, Callable[[str, Any], Any]], Callable[..., TargetFunction]]] = {
    "capped-square": ({"cap": _positive}, _capped_square),
    "power-law": ({"gamma": _positive, "features": _features}, _power_law),
    "two-squares": ({"weight": _positive}, _two_squares),
}


def get_target_function(given: object) -> TargetFunction:
    """Return a catalogue entry by its name, or a table of its name and parameters.

    Raises
    ------
    ValueError
        If there is none of that name, or a parameter is missing or not allowed.

    Examples
    --------
    >>> get_target_function("easy-hard").hard_indices
    (1,)
    >>> get_target_function({"name": "capped-square", "cap": 5}).formula
    'min(z^2, 5)'
    """
    parameters = dict(given) if isinstance(given, Mapping) else {}
    name = parameters.pop("name", None) if isinstance(given, Mapping) else given
    if isinstance(given, Mapping) and name is None:
        raise ValueError(
            "label must be a catalogue name, or a table with the name of one that has a parameter; "
            f"got {shown(dict(given))}"
        )
    if isinstance(name, str) and name in FAMILIES:
        checks, make = FAMILIES[name]
        check_keys(f"label {name!r}", parameters, tuple(checks))
        for key in checks:
            if key not in parameters:
                raise ValueError(f"label {name!r} must have a parameter {key}")
        return make(*(check(key, parameters[key]) for key, check in checks.items()))
    entry = TARGETS[
        check_choice(
            "label", name, (*TARGETS, *FAMILIES), also=", or a callable (z (N,k), eps (N,)) -> (N,)"
        )
    ]
    if parameters:
        raise ValueError(f"label {name!r} has no parameters, got {next(iter(parameters))}")
    return entry
