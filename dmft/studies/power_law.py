"""Power laws fitted to a few points with errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PowerLaw"]

FloatArray = NDArray[np.float64]

_FEWEST = 3  # points of a fit


@dataclass(frozen=True)
class PowerLaw:
    """Fit of a power law, ``value = factor * x**exponent``.

    Attributes
    ----------
    exponent, stderr : float
        NaN with fewer than three points. The error is that of the points, or what they scatter
        about the line, whichever is larger.
    factor : float
    points : int
        Number of points.

    Examples
    --------
    >>> import numpy as np
    >>> fit = PowerLaw.through(np.array([1.0, 2.0, 4.0]), np.array([3.0, 12.0, 48.0]), np.ones(3))
    >>> f"{fit.exponent:.6f} {fit.factor:.6f}"
    '2.000000 3.000000'
    """

    exponent: float
    stderr: float
    factor: float
    points: int

    @classmethod
    def through(cls, x: FloatArray, y: FloatArray, relative_error: FloatArray) -> PowerLaw:
        """Fit points by least squares in the logarithms.

        Parameters
        ----------
        x, y, relative_error : ndarray, shape (n,)
            Positive; the error is that of y.
        """
        if len(x) < _FEWEST or np.ptp(np.log(x)) == 0.0:
            return cls(np.nan, np.nan, np.nan, len(x))
        weights = 1.0 / relative_error
        (slope, start), covariance = np.polyfit(np.log(x), np.log(y), 1, w=weights, cov="unscaled")
        residuals = weights * (np.log(y) - start - slope * np.log(x))
        scatter = float(residuals @ residuals) / (len(x) - 2)
        error = float(np.sqrt(covariance[0, 0] * max(1.0, scatter)))
        return cls(float(slope), error, float(np.exp(start)), len(x))
