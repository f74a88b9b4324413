"""Checks of the settings of a problem that concern several of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.validation import check_finite_array, check_instance
from dmft.model.features import inputs_are_even
from dmft.model.initialization import check_radius, check_remainder
from dmft.model.quantile_laws import unit_interval
from dmft.model.target import first_coordinate
from rmt._validation import shown

if TYPE_CHECKING:
    from dmft.model.losses import Loss
    from dmft.model.problem import Problem
    from dmft.model.target import Target

__all__ = [
    "check_class_labels",
    "check_same_settings",
    "checked_overlap",
    "checked_radius",
    "recorded",
]

Array = NDArray[np.float64]


def checked_overlap(
    initial_overlap: ArrayLike, target: Target, gram: Array, *, is_stated: bool
) -> Array:
    """Return the initial overlap (m, k), read-only, zero on hard directions to the bit or not.

    Parameters
    ----------
    initial_overlap : array_like
    target : Target
    gram : ndarray, shape (m, m)
        Of the initial neurons.
    is_stated : bool
        Whether the Gram matrix is.

    Raises
    ------
    ValueError
        If it is not allowed.
    """
    shape = (len(gram), target.k)
    overlap = check_finite_array(
        "initial_overlap", initial_overlap, ndim=2, expected=f"an array of shape {shape}"
    )
    if overlap.shape != shape:
        raise ValueError(
            f"initial_overlap must have shape (m, k) = {shape}, got shape {overlap.shape}"
        )
    check_remainder("initial_overlap", gram, overlap, is_stated=is_stated)
    hard = target.hard_basis
    leak = float(np.max(np.abs(overlap @ hard), initial=0.0))
    largest = float(np.sqrt(np.max(np.diag(gram))))
    if 0.0 < leak <= 1e-12 * largest:  # rounding of a basis that is not along axes
        overlap = overlap - overlap @ hard @ hard.T
    elif leak > 0.0 and not target.is_even:
        even_inputs = inputs_are_even(target, target.hard_basis)
        what = "the label" if even_inputs else "the law of the inputs"
        raise ValueError(
            f"initial_overlap must be zero on the hard directions unless {what} is unchanged "
            f"when all of them change sign, got {leak:g} for label {target.name!r}"
        )
    overlap.flags.writeable = False
    return overlap


def check_class_labels(loss: Loss, y: Array) -> None:
    """Raise unless labels are what a loss allows.

    Raises
    ------
    ValueError
        If it needs labels -1 and +1, or labels above a number, and gets others.
    """
    if loss.labels == "sign":
        other = y[np.abs(y) != 1.0]
        if other.size:
            raise ValueError(
                f"label must return only -1 and +1 for loss {loss.name!r}, "
                f"got {float(other[0]):g} (Target(..., classes='sign') makes such labels)"
            )
    low = y[y <= loss.labels_above]
    if low.size:
        raise ValueError(
            f"label must return numbers above {loss.labels_above:g} for loss {loss.name!r}, "
            f"got {float(low[0]):g}"
        )


def checked_radius(
    init_radius: float | ArrayLike | None, gram: Array | None, m: int
) -> float | tuple[float, ...]:
    """Return the radius or radii, which a Gram matrix decides."""
    if gram is None:
        return check_radius(1.0 if init_radius is None else init_radius, m)
    own = np.sqrt(np.maximum(np.diag(gram), 0.0))
    if init_radius is not None:
        radii = np.broadcast_to(check_radius(init_radius, m), (m,))
        if not np.allclose(radii, own, rtol=1e-12, atol=0.0):
            raise ValueError(
                "init_radius must be left out with init_gram, whose diagonal says "
                f"{own.tolist()}, got {init_radius}"
            )
    return check_radius(own, m)


def check_same_settings(config: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise unless the problem of a file has the settings of the one given.

    Raises
    ------
    ValueError
        Naming the first setting that it has not.
    """
    _check_same("", config, own)


def _check_same(where: str, config: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    for key in {**config, **own}:
        stored, given = config.get(key), own.get(key)
        if stored == given:
            continue
        if isinstance(stored, Mapping) and isinstance(given, Mapping):
            _check_same(f"{where}{key}.", stored, given)
        said = f"its {where}{key} is {_word(stored)}, got {_word(given)}"
        if key == "sha256" and stored and given:
            said = f"the source code of {where[:-1]} ({config.get('custom')}) has changed"
        raise ValueError(f"problem must be the one in the file; {said}")


def _word(value: object) -> str:
    return value if isinstance(value, str) else shown(value)


def recorded(
    kind: type[Problem], config: Mapping[str, Any], given: Problem | None
) -> Problem | None:
    """Return the problem of a result file, the one given, or None: see `Problem.of_record`."""
    if given is None:
        try:
            return kind.from_config(config)
        except ValueError:  # for want of a custom law, or is there more to it?
            others: dict[str, Any] = {"activation": "gelu", "loss": "square"}
            others |= {"quantile": unit_interval, "preprocessing": np.square}
            # Which overlaps are allowed depends on the laws that are not there.
            free = {**config, "initial_overlap": None}
            kind.from_config(free, label=first_coordinate, **others)
            return None
    check_instance("problem", given, kind)
    check_same_settings(config, given.to_config())
    return given
