"""Initial biases of a network: given, or drawn from a Gaussian law whose seed is stated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_finite_array, check_integer, check_keys, check_real
from dmft.model.catalogue import law_name

__all__ = ["BiasEntry", "check_biases", "describe_biases", "describe_neurons"]

Array = NDArray[np.float64]
#: What states biases: one number for all neurons, one for each, or a law.
BiasEntry = float | list[float] | dict[str, Any]

_DEFAULTS: dict[str, Any] = {"std": 1.0, "mean": 0.0, "seed": 0}
# More biases than this are told by their range.
_MOST_SHOWN = 4


def check_biases(given: Any, m: int) -> tuple[tuple[float, ...], BiasEntry | None]:
    """Return the biases (m,), and what states them in a configuration.

    Parameters
    ----------
    given : None, float, sequence of m floats, or mapping
        A mapping is a law, ``{"law": "gaussian", "std": 0.5, "mean": 0.0, "seed": 0}``; all but the
        name may be left out.
    m : int

    Returns
    -------
    biases : tuple of float
        Empty where all are zero: the network without biases.
    entry : float, list or dict, or None

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> check_biases(0.5, 2)
    ((0.5, 0.5), 0.5)
    >>> check_biases([0.0, 0.0], 2)
    ((), None)
    >>> check_biases({"law": "gaussian", "std": 0.5}, 1)[1]
    {'law': 'gaussian', 'std': 0.5, 'mean': 0.0, 'seed': 0}
    """
    if given is None:
        return (), None
    entry: BiasEntry
    if isinstance(given, Mapping):
        entry = _checked_law(given)
        rng = np.random.default_rng(np.random.SeedSequence(entry["seed"]))
        with np.errstate(over="ignore"):
            values = entry["mean"] + entry["std"] * rng.standard_normal(m)
        if not np.isfinite(values).all():
            raise ValueError(f"biases must be finite, got a law of std {entry['std']:g}")
    elif not isinstance(given, Iterable) or isinstance(given, str | bytes) or _is_scalar(given):
        entry = check_real("biases", given)
        values = np.full(m, entry)
    else:
        expected = f"a number, a sequence of m = {m} of them, or a law"
        values = check_finite_array(
            "biases",
            given if hasattr(given, "__array__") else list(given),
            ndim=1,
            expected=expected,
        )
        if len(values) != m:
            raise ValueError(f"biases must be {expected}, got {len(values)} numbers")
        # One configuration of one network: a number where all are equal.
        entry = values.tolist() if np.ptp(values) else float(values[0])
    return (tuple(values.tolist()), entry) if np.any(values) else ((), None)


def _is_scalar(given: Any) -> bool:
    return getattr(given, "ndim", 1) == 0


def _checked_law(given: Mapping[str, Any]) -> dict[str, Any]:
    settings = check_keys("biases", given, ("law", *_DEFAULTS), required=("law",))
    if settings["law"] != "gaussian":
        raise ValueError(f"biases must have the law 'gaussian', got {settings['law']!r}")
    settings = {**_DEFAULTS, **settings}
    return {
        "law": "gaussian",
        "std": check_real("std of biases", settings["std"], minimum=0.0),
        "mean": check_real("mean of biases", settings["mean"]),
        "seed": check_integer("seed of biases", settings["seed"], minimum=0),
    }


def describe_neurons(network: Mapping[str, Any]) -> str:
    """Name neurons and biases of a network, given by its ``to_config``.

    Examples
    --------
    >>> describe_neurons({"activation": "gelu", "second_layer": [1.0]})
    '1 gelu neuron'
    >>> describe_neurons({"activation": "relu", "second_layer": [1.0, 1.0], "biases": [0.5, -0.5]})
    '2 relu neurons (biases 0.5, -0.5)'
    """
    m = len(network["second_layer"])
    text = f"{m} {law_name(network['activation'])} neuron{'s' if m > 1 else ''}"
    biases = describe_biases(network)
    return f"{text} ({biases})" if biases else text


def describe_biases(network: Mapping[str, Any]) -> str:
    """Name the biases of a network, given by its ``to_config``; empty where there are none.

    Examples
    --------
    >>> describe_biases({"activation": "gelu", "second_layer": [1.0], "biases": 0.5})
    'bias 0.5'
    """
    entry = network.get("biases")
    if entry is None:
        return ""
    if isinstance(entry, Mapping):
        mean = f"mean {entry['mean']:g}, " if entry["mean"] else ""
        return f"Gaussian biases, {mean}std {entry['std']:g}, seed {entry['seed']}"
    values = entry if isinstance(entry, list) else [entry]
    if len(values) > _MOST_SHOWN:
        return f"biases {min(values):g} to {max(values):g}"
    return f"bias{'es' if len(values) > 1 else ''} {', '.join(f'{b:g}' for b in values)}"
