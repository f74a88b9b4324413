r"""Catalogue of losses :math:`L(f, y)` of the network output :math:`f` and the label :math:`y`.

================== ============================================ ==================
name               :math:`L(f, y)`                              labels
================== ============================================ ==================
``square``         :math:`(f-y)^2/2`                            real
``pseudo-huber``   :math:`\sqrt{1+(f-y)^2} - 1`                 real
``logistic``       :math:`\log(1 + e^{-t})`, :math:`t = yf`     :math:`\pm 1`
``smoothed-hinge`` :math:`1/2 - t` for :math:`t \le 0`;         :math:`\pm 1`
                   :math:`(1-t)^2/2` for :math:`0 < t < 1`;
                   0 for :math:`t \ge 1`
``correlation``    :math:`-f y`                                 real
================== ============================================ ==================

`dmft.model.loss_families` has losses with a parameter, which a table names:
``{"name": "normalised-square", "a": 1.0}``.

The smoothed hinge is that of Rennie and Srebro (IJCAI Workshop on Advances in Preference Handling,
2005): continuous with its first derivative, of which the second, 1 for :math:`0 < t < 1` and 0
outside, exists almost everywhere.

The correlation loss is bounded below for no label but 0, and trained for few steps only: runs that
go on diverge.

Derivatives are with respect to :math:`f`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.derivatives import complete_derivatives
from dmft._numerics.frozen import set_fields
from dmft._numerics.validation import check_choice
from dmft.model.catalogue import CatalogueFunction

__all__ = ["LOSSES", "Loss", "get_loss"]

Array = NDArray[np.float64]

# Outputs at which losses of one's own are checked: irrational numbers, which no kink is likely to
# be.
_POINTS = math.pi / 3.2 * np.concatenate([np.linspace(-4.0, 4.0, 40), np.array([-9.0, 9.0])])
_DENSE = np.arange(-6.0, 6.0, 0.25) + 0.125


@dataclass(frozen=True)
class Loss(CatalogueFunction):
    r"""A loss :math:`L(f, y)` with its first two derivatives with respect to :math:`f`.

    Parameters
    ----------
    value, derivative, second_derivative : callable
        :math:`L, \partial_f L, \partial_f^2 L`; each maps arrays ``(f, y)`` of equal shape to a
        float array of that shape, element by element. Derivatives given are checked against
        numerical ones, at the labels -1 and +1 here and at those of the target in a `Problem`;
        those left out are found numerically (`dmft._numerics.derivatives`).
    name : str
        How results and messages call it.
    kernel_code : int or None
        Number of the compiled twin of a catalogue entry; leave None for your own.
    labels : {"real", "sign"}
        Which labels it is meant for: any real number, or only -1 and +1.
    smooth : bool
        Whether :math:`\partial_f^2 L` is continuous. Quadrature relies on it.
    labels_above : float
        Labels must be larger than this number. Default: any will do.

    Attributes
    ----------
    derivatives : str
        Where the derivatives come from, as for `dmft.Activation`.

    Raises
    ------
    ValueError
        If one of the three is not callable or does not act element by element, if one is not the
        derivative of the one before, if `labels` is unknown, or a derivative left out cannot be
        found.

    Examples
    --------
    >>> import numpy as np
    >>> quartic = Loss(lambda f, y: (f - y)**4 / 4, lambda f, y: (f - y)**3,
    ...                lambda f, y: 3 * (f - y)**2, name="quartic")
    >>> quartic.derivative(np.array([3.0]), np.array([1.0]))
    array([8.])

    >>> Loss(lambda f, y: np.log(np.cosh(f - y))).derivatives
    'complex-step'
    """

    labels: Literal["real", "sign"] = "real"
    smooth: bool = True
    labels_above: float = field(default=-math.inf, kw_only=True)

    kind: ClassVar[str] = "loss"
    catalogue: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def families(cls) -> Mapping[str, Any]:
        """Return the families of losses with a parameter."""
        from dmft.model.loss_families import FAMILIES

        return FAMILIES

    @property
    def parameter(self) -> float:
        """Parameter of the compiled twin; 0 for losses without one."""
        return 0.0 if self.family is None else self.family[1][0][1]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(f"{self._label}: labels", self.labels, ("real", "sign"))
        if not isinstance(self.smooth, bool):
            raise ValueError(f"{self._label}: smooth must be True or False, got {self.smooth!r}")
        if not isinstance(self.labels_above, int | float) or math.isnan(self.labels_above):
            raise ValueError(
                f"{self._label}: labels_above must be a number, got {self.labels_above!r}"
            )
        if self.kernel_code is None:  # the catalogue's own are for the tests to check
            lowest = -2.0 if self.labels_above == -math.inf else self.labels_above
            set_fields(self, **self._completed(lowest + np.array([1.0, 3.0])))

    def check_at(self, labels: Array) -> None:
        """Raise unless the derivatives are right at given labels (n,).

        Raises
        ------
        ValueError
            With the first point at which they are not.

        Examples
        --------
        A derivative that relies on y^2 = 1:

        >>> loss = Loss(
        ...     lambda f, y: np.logaddexp(0, -y * f), lambda f, y: -y / (1 + np.exp(y * f)),
        ...     lambda f, y: 0.25 / np.cosh(f / 2) ** 2, name="mine",
        ... )
        >>> loss.check_at(np.array([0.5]))
        Traceback (most recent call last):
        ...
        ValueError: loss 'mine': second_derivative must be the derivative of derivative, got ...
        """
        if self.kernel_code is None:
            self._completed(labels)

    def _completed(self, labels: Array) -> dict[str, Any]:
        """Find the derivatives left out, check those given; return what is new."""
        return complete_derivatives(
            self._label,
            (self.value, self.derivative, self.second_derivative),
            np.repeat(_POINTS, len(labels)),
            np.tile(labels, len(_POINTS)),
            dense=np.repeat(_DENSE, len(labels)),
            dense_rest=(np.tile(labels, len(_DENSE)),),
            argument="f",
            advice="give the derivatives",
        )


# ---------------------------------------------------------------------------------------------
# The laws.


def _square(f: Array, y: Array) -> Array:
    return np.asarray(0.5 * np.square(np.subtract(f, y)))


def _square_1(f: Array, y: Array) -> Array:
    return np.asarray(np.subtract(f, y))


def _square_2(f: Array, y: Array) -> Array:
    return np.ones(np.broadcast_shapes(np.shape(f), np.shape(y)))


def _pseudo_huber(f: Array, y: Array) -> Array:
    # u^2/(1 + sqrt(1 + u^2)): no cancellation for small u, no overflow for large u.
    u = np.abs(np.subtract(f, y))
    return np.asarray(u * (u / (1.0 + np.hypot(1.0, u))))


def _pseudo_huber_1(f: Array, y: Array) -> Array:
    u = np.subtract(f, y)
    return np.asarray(u / np.hypot(1.0, u))


def _pseudo_huber_2(f: Array, y: Array) -> Array:
    return np.asarray((1.0 / np.hypot(1.0, np.subtract(f, y))) ** 3)


def _logistic(f: Array, y: Array) -> Array:
    t = np.multiply(f, y)
    return np.asarray(np.maximum(-t, 0.0) + np.log1p(np.exp(-np.abs(t))))


def _logistic_1(f: Array, y: Array) -> Array:
    t = np.multiply(f, y)
    e = np.exp(-np.abs(t))
    return np.asarray(-y * np.where(t >= 0.0, e, 1.0) / (1.0 + e))


def _logistic_2(f: Array, y: Array) -> Array:
    e = np.exp(-np.abs(np.multiply(f, y)))
    return np.asarray(np.square(y) * e / np.square(1.0 + e))


def _correlation(f: Array, y: Array) -> Array:
    return np.asarray(-np.multiply(f, y))


def _correlation_1(f: Array, y: Array) -> Array:
    return np.asarray(-np.broadcast_to(y, np.broadcast_shapes(np.shape(f), np.shape(y))))


def _correlation_2(f: Array, y: Array) -> Array:
    return np.zeros(np.broadcast_shapes(np.shape(f), np.shape(y)))


def _smoothed_hinge(f: Array, y: Array) -> Array:
    missing = np.maximum(1.0 - np.multiply(f, y), 0.0)
    return np.asarray(np.where(missing < 1.0, 0.5 * np.square(missing), missing - 0.5))


def _smoothed_hinge_1(f: Array, y: Array) -> Array:
    return np.asarray(-y * np.clip(1.0 - np.multiply(f, y), 0.0, 1.0))


def _smoothed_hinge_2(f: Array, y: Array) -> Array:
    t = np.multiply(f, y)
    # Products of step functions, which keep NaN.
    return np.asarray(np.square(y) * np.heaviside(t, 0.0) * np.heaviside(1.0 - t, 0.0))


_ENTRIES: list[tuple[str, tuple[Any, Any, Any], Literal["real", "sign"], bool]] = [
    ("square", (_square, _square_1, _square_2), "real", True),
    ("pseudo-huber", (_pseudo_huber, _pseudo_huber_1, _pseudo_huber_2), "real", True),
    ("logistic", (_logistic, _logistic_1, _logistic_2), "sign", True),
    ("smoothed-hinge", (_smoothed_hinge, _smoothed_hinge_1, _smoothed_hinge_2), "sign", False),
    ("correlation", (_correlation, _correlation_1, _correlation_2), "real", True),
]
#: The catalogue, in the order of the codes in ``dmft._numerics.kernels``. A new loss comes last.
LOSSES: dict[str, Loss] = {
    name: Loss(*members, name=name, kernel_code=code, labels=labels, smooth=smooth)
    for code, (name, members, labels, smooth) in enumerate(_ENTRIES)
}
Loss.catalogue = LOSSES


def get_loss(loss: Any) -> Loss:
    """Return the `Loss` for a catalogue name or for an object with value and derivatives.

    Parameters
    ----------
    loss : str, Loss or object
        A name in ``LOSSES``; a table of a name and a parameter (`dmft.model.loss_families`); or
        anything with a callable attribute `value` (and, if it likes, `derivative`,
        `second_derivative`, a `name`, `labels`, `smooth` and `labels_above`).

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        If the name is unknown, the object has no value, or `Loss` refuses it.

    Examples
    --------
    >>> get_loss("pseudo-huber").labels
    'real'
    >>> get_loss({"name": "normalised-square", "a": 1}).name
    'normalised-square(a=1)'
    >>> get_loss("huber")
    Traceback (most recent call last):
    ...
    ValueError: loss must be one of 'square', 'pseudo-huber', 'logistic', 'smoothed-hinge', 'correlation'; got 'huber' (did you mean 'pseudo-huber'?)
    """  # noqa: E501
    return Loss.of(loss)
