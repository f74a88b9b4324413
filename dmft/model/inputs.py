r"""Laws of the inputs of a finite-size run: Gaussian, as the theory has them, and others.

The theory (Montanari & Wang, arXiv:2602.01434) assumes :math:`x \sim N(0, I_d)`. The other laws are
there to see how far its predictions reach. All are standardised: :math:`E[x] = 0`,
:math:`E|x|^2 = d`, and covariance :math:`I` except where a covariance is what is asked for.

================ ======================== =====================================================
law              parameter                entries of x
================ ======================== =====================================================
``gaussian``                              independent N(0, 1)
``rademacher``                            independent, -1 or +1 with probability 1/2
``uniform``                               independent, uniform on [-sqrt(3), sqrt(3)]
``student-t``    ``degrees_of_freedom``   independent, Student's t scaled to variance 1
``covariance``   ``spectrum``             independent N(0, s_j) with the given variances s_j
``mixture``      ``separation``           two clusters at +-separation u, u a random unit vector
================ ======================== =====================================================

Latent directions are drawn uniformly, so a covariance that is diagonal in the coordinate axes is no
loss of generality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.frozen import set_fields
from dmft._numerics.validation import (
    check_choice,
    check_finite_array,
    check_keys,
    check_real,
    own_parameter,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LAWS", "InputSampler", "Inputs", "get_inputs"]

Array = NDArray[np.float64]

#: Laws of the inputs, each with the name of its parameter and that parameter's default.
LAWS: dict[str, tuple[str, Any] | None] = {
    "gaussian": None,
    "rademacher": None,
    "uniform": None,
    "student-t": ("degrees_of_freedom", 5.0),
    "covariance": ("spectrum", None),
    "mixture": ("separation", 0.9),
}
_PARAMETERS = ("degrees_of_freedom", "spectrum", "separation")
# Rows filled at a time: what a law allocates besides the result stays this small.
_FILL_BYTES = 2**21


@dataclass(frozen=True, init=False)
class Inputs:
    """Law of the inputs, standardised to mean 0 and mean square norm d.

    Parameters
    ----------
    law : str
        ``"gaussian"``, ``"rademacher"``, ``"uniform"``, ``"student-t"``, ``"covariance"`` or
        ``"mixture"``.
    degrees_of_freedom : float, optional
        Of ``"student-t"``, above 2 (the variance is infinite otherwise); default 5.
    spectrum : sequence of float, optional
        Of ``"covariance"``, required: positive eigenvalues, repeated as evenly as possible over
        the d dimensions and scaled to mean 1.
    separation : float, optional
        Of ``"mixture"``: the clusters lie at +-separation along a random unit vector, 0 <=
        separation < 1 (default 0.9). Within a cluster the variance along that vector is
        1 - separation^2, so the covariance of the whole is I.

    Raises
    ------
    ValueError
        If there is no such law, a parameter is not allowed, or belongs to another law.

    Examples
    --------
    >>> Inputs("student-t").degrees_of_freedom
    5.0
    >>> Inputs("gaussian", separation=0.5)
    Traceback (most recent call last):
    ...
    ValueError: separation must be left out for inputs 'gaussian' (it belongs to 'mixture'), got 0.5
    """

    law: str
    degrees_of_freedom: float | None
    spectrum: tuple[float, ...] | None
    separation: float | None

    def __init__(
        self,
        law: str = "gaussian",
        *,
        degrees_of_freedom: float | None = None,
        spectrum: Any = None,
        separation: float | None = None,
    ) -> None:
        law = check_choice("inputs", law, LAWS)
        given = {
            "degrees_of_freedom": degrees_of_freedom,
            "spectrum": spectrum,
            "separation": separation,
        }
        own = own_parameter("inputs", law, LAWS, given)
        checked = {} if own is None else {own[0]: _CHECKS[own[0]](own[1])}
        set_fields(self, law=law, **{**dict.fromkeys(_PARAMETERS), **checked})

    @property
    def is_gaussian(self) -> bool:
        """Whether the inputs are standard Gaussian, as the theory assumes."""
        return self.law == "gaussian"

    def sampler(self, d: int, rng: np.random.Generator) -> InputSampler:
        """Return a source of inputs in `d` dimensions; what all inputs share is drawn from `rng`.

        Parameters
        ----------
        d : int
            Dimension.
        rng : numpy.random.Generator
            Supplies the direction that separates the clusters of ``"mixture"``; other laws leave
            it untouched.

        Returns
        -------
        InputSampler
        """
        return InputSampler(self, d, rng)

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict of plain types.

        Examples
        --------
        >>> Inputs("mixture", separation=0.5).to_config()
        {'law': 'mixture', 'separation': 0.5}
        """
        config: dict[str, Any] = {"law": self.law}
        own = LAWS[self.law]
        if own is not None:
            value = getattr(self, own[0])
            config[own[0]] = list(value) if isinstance(value, tuple) else value
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Inputs:
        """Return the law described by `config`, the inverse of `to_config`.

        Raises
        ------
        ValueError
            If a key or value is not allowed.

        Examples
        --------
        >>> Inputs.from_config({"law": "covariance", "spectrum": [1, 3]}).spectrum
        (1.0, 3.0)
        """
        return cls(**check_keys("inputs", config, ("law", *_PARAMETERS), required=("law",)))


class InputSampler:
    """Inputs of one law in a given dimension; successive calls of `fill` continue the stream."""

    def __init__(self, inputs: Inputs, d: int, rng: np.random.Generator) -> None:
        self.inputs = inputs
        self.d = d
        self._direction: Array | None = None
        self._scale: Array | None = None
        if inputs.law == "mixture":
            direction = rng.standard_normal(d)
            self._direction = direction / np.linalg.norm(direction)
        elif inputs.law == "covariance":
            assert inputs.spectrum is not None  # required by the law
            variances = np.array(inputs.spectrum)[np.arange(d) * len(inputs.spectrum) // d]
            self._scale = np.sqrt(variances / variances.mean())

    def fill(self, out: Array, rng: np.random.Generator) -> Array:
        """Fill `out` with independent inputs, one a row, block by block, and return it.

        Parameters
        ----------
        out : ndarray, shape (n, d), float64, C-contiguous
            Receives the inputs; nothing of its size is allocated besides.
        rng : numpy.random.Generator

        Returns
        -------
        ndarray, shape (n, d)
            `out`.
        """
        for block in _row_blocks(out):
            self._fill(block, rng)
        return out

    def _fill(self, block: Array, rng: np.random.Generator) -> None:
        inputs = self.inputs
        if inputs.law == "rademacher":
            block[:] = rng.integers(0, 2, size=block.shape, dtype=np.int8)
            block *= 2.0
            block -= 1.0
        elif inputs.law == "uniform":
            rng.random(out=block)
            block -= 0.5
            block *= np.sqrt(12.0)
        elif inputs.law == "student-t":
            freedom = inputs.degrees_of_freedom
            assert freedom is not None  # the law has a default
            block[:] = rng.standard_t(freedom, size=block.shape)
            block *= np.sqrt((freedom - 2.0) / freedom)
        else:
            rng.standard_normal(out=block)
            if self._scale is not None:
                block *= self._scale
            if self._direction is not None:
                separation = inputs.separation
                assert separation is not None  # the law has a default
                signs = 2.0 * rng.integers(0, 2, size=len(block)) - 1.0
                along = block @ self._direction
                shrunk = np.sqrt(1.0 - separation**2)
                block += np.outer(
                    signs * separation + (shrunk - 1.0) * along, self._direction
                )  # the component along the direction becomes sign * separation + shrunk * along


def get_inputs(inputs: str | Inputs | Mapping[str, Any]) -> Inputs:
    """Return the law named, described or given.

    Parameters
    ----------
    inputs : str, Inputs or mapping
        A name, the law itself, or a table as written by `Inputs.to_config`.

    Raises
    ------
    ValueError
        If it describes no law.

    Examples
    --------
    >>> get_inputs("rademacher").law
    'rademacher'
    >>> get_inputs("student")
    Traceback (most recent call last):
    ...
    ValueError: inputs must be one of 'gaussian', 'rademacher', 'uniform', 'student-t',
    'covariance', 'mixture'; got 'student' (did you mean 'student-t'?)
    """
    if isinstance(inputs, Inputs):
        return inputs
    if isinstance(inputs, Mapping):
        return Inputs.from_config(inputs)
    return Inputs(inputs)


def _row_blocks(out: Array) -> Iterator[Array]:
    """Yield blocks of rows of a size that depends on the width alone."""
    rows = max(1, _FILL_BYTES // (8 * max(1, out.shape[1])))
    for start in range(0, len(out), rows):
        yield out[start : start + rows]


def _check_freedom(value: object) -> float:
    return check_real("degrees_of_freedom", value, minimum=2.0, exclusive=True)


def _check_spectrum(value: object) -> tuple[float, ...]:
    if value is None:
        raise ValueError("spectrum must be given for inputs 'covariance'")
    array = check_finite_array(
        "spectrum", value, ndim=1, expected="a sequence of positive eigenvalues"
    )
    if array.size == 0 or np.any(array <= 0.0):
        raise ValueError(
            f"spectrum must be a sequence of positive eigenvalues, got {array.tolist()}"
        )
    return tuple(array.tolist())


def _check_separation(value: object) -> float:
    number = check_real("separation", value, minimum=0.0)
    if number >= 1.0:
        raise ValueError(f"separation must be at least 0 and less than 1, got {number:g}")
    return number


_CHECKS = {
    "degrees_of_freedom": _check_freedom,
    "spectrum": _check_spectrum,
    "separation": _check_separation,
}
