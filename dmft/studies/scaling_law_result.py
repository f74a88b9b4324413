"""Thresholds of the features of a label as a result, and the power laws that they add up to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.validation import check_array, check_integer
from dmft.io.marks import DELTA, ErrorOf
from dmft.io.saved_result import SavedResult
from dmft.studies.power_law import PowerLaw
from rmt.hard import Criterion
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    from dmft.io.report_text import Lines

__all__ = ["ScalingLaw"]

FloatArray = NDArray[np.float64]

# Thresholds with larger relative errors are in no fit; the others have this one besides their own,
# because no power law is exact.
_KNOWN, _MISFIT = 0.25, 0.02
_NOTHING = 1e-9  # of the variance, where all features are recovered


@dataclass(frozen=True, eq=False, repr=False)
class ScalingLaw(SavedResult, kind="scaling law", settings=("problem", "method", "sampling")):
    r"""Thresholds of the features of a label, and the power laws that they add up to.

    The first two learners are the spectral method with the best real preprocessing for each
    feature, on the label as it is, and with all stronger features known and subtracted from it; the
    others are networks.

    Attributes
    ----------
    widths : tuple of int
        Of the learners: 0 for the spectral method, twice, then numbers of neurons.
    step : int
        Of the Hessian of the networks.
    threshold : ndarray, shape (L, k_h)
        delta from which each learner recovers each feature, the columns of
        ``problem.target.hard_basis``; NaN where it is not known, infinite where the label does not
        tell enough of the feature for the spectral method.
    error : ndarray, shape (L, k_h)
        Of sampling, of finitely many paths, and of bins of labels in which z_j^2 is averaged.
    statuses : tuple of Status
        Of all thresholds, learner by learner.
    unstable_share : ndarray, shape (L, k_h)
        At each threshold of a network, as in :class:`dmft.Threshold`; NaN for spectral methods.
    share : ndarray, shape (k_h,)
        Variance of the label explained by each feature, E[y (z_j^2 - 1)]^2 / 2.
    variance : float
        Of the label.
    bracket : tuple of float
    criterion : str
    config : dict
        Problem (with the network of one neuron), method, sampling as plain types.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> label = dmft.Target({"name": "power-law", "gamma": 1.0, "features": 3}, noise=0.5)
    >>> problem = dmft.Problem(label, dmft.Network("quadratic"), "pseudo-huber")
    >>> law = dmft.scaling_law(
    ...     problem, dmft.GradientDescent(0.2, 2), (0.5, 20), (1,), sampling=dmft.Sampling(256, 4),
    ...     n_points=2**14,
    ... )
    >>> law.threshold.shape, law.n_features([0.1, 20.0]).tolist()
    ((3, 3), [[0.0, 3.0], [0.0, 3.0], [0.0, 2.0]])
    """

    _axes: ClassVar = {"L": "learner", "j": "feature"}
    _rows: ClassVar = ("learner", "feature")
    _shown: ClassVar = ("widths", "step", "bracket")

    widths: Annotated[tuple[int, ...], "L"]
    step: int
    threshold: Annotated[FloatArray, "L j", DELTA]
    error: Annotated[FloatArray, "L j", DELTA, ErrorOf("threshold")]
    statuses: tuple[Status, ...]
    unstable_share: Annotated[FloatArray, "L j"]
    share: Annotated[FloatArray, "j"]
    variance: float
    bracket: Annotated[tuple[float, float], DELTA]
    criterion: Criterion
    config: dict[str, Any] = field(repr=False)
    detail: str = ""

    @property
    def status(self) -> Status:
        """SUCCESS if all thresholds are, otherwise the first failure."""
        return first_failure(self.statuses)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the learners."""
        networks = (f"{m} neuron{'s' if m > 1 else ''}" for m in self.widths[2:])
        return "spectral method", "spectral, in sequence", *networks

    @property
    def is_known(self) -> Annotated[NDArray[np.bool_], "L j"]:
        """Which thresholds are known to a quarter, shape (L, k_h): those that fits rest on."""
        with np.errstate(invalid="ignore"):
            return np.isfinite(self.threshold) & (self.error < _KNOWN * self.threshold)

    def n_features(self, delta: ArrayLike) -> FloatArray:
        """Return the number of features whose threshold is passed.

        Parameters
        ----------
        delta : array_like, shape (n,)

        Returns
        -------
        ndarray, shape (L, n)
            NaN for networks beyond the bracket, where nothing is known.
        """
        found = np.array([row.sum(axis=0) for row in self._recovered(delta)], dtype=np.float64)
        return self._inside(found, delta)

    def excess_error(self, delta: ArrayLike) -> FloatArray:
        """Return the mean squared test error above that of the best sum of squares.

        Every feature whose threshold is passed is taken to be learned perfectly, and its share of
        the variance of the label removed; m neurons hold the m strongest of them at most.

        Parameters
        ----------
        delta : array_like, shape (n,)

        Returns
        -------
        ndarray, shape (L, n)
        """
        out = []
        for m, recovered in zip(self.widths, self._recovered(delta), strict=True):
            held = recovered * self.share[:, np.newaxis]
            held = -np.sort(-held, axis=0)[: m or None]
            out.append(self.share.sum() - held.sum(axis=0))
        return self._inside(np.array(out), delta)

    def thresholds_law(self, learner: int) -> PowerLaw:
        """Fit the thresholds against the rank j of the features, delta_j ~ j^p."""
        ranks, relative = self._known_ranks(learner)
        at = self.threshold[learner, self.ranking[ranks]]
        return PowerLaw.through(np.float64(1.0) + ranks, at, relative)

    def features_law(self, learner: int) -> PowerLaw:
        """Return the same fit the other way round, N ~ delta^(1/p) features recovered."""
        fit = self.thresholds_law(learner)
        q = 1.0 / fit.exponent
        return PowerLaw(q, fit.stderr * q**2, fit.factor**-q, fit.points)

    def error_law(self, learner: int) -> PowerLaw:
        """Fit the excess test error just after each transition against delta."""
        return self._error_law(learner, self.threshold)

    def expected_error_law(self, learner: int) -> PowerLaw:
        """Fit the same points with thresholds inversely proportional to the share of the variance.

        That is what they are for weak features in noise: 1/delta_j of the spectral method is at
        least twice the share over the variance of the label. For j^-gamma and infinitely many
        features the exponent is 1/(2 gamma) - 1 where gamma > 1/2, and that of the thresholds
        2 gamma.
        """
        return self._error_law(learner)

    @property
    def ranking(self) -> Annotated[NDArray[np.intp], "j"]:
        """Features by decreasing share, shape (k_h,)."""
        return np.argsort(-self.share, kind="stable")

    def _known_ranks(self, learner: int) -> tuple[NDArray[np.intp], FloatArray]:
        """Return ranks (from 0) of the features that are known, and their relative errors."""
        learner = check_integer("learner", learner, minimum=0, maximum=len(self.widths) - 1)
        ranks = np.flatnonzero(self.is_known[learner][self.ranking])
        chosen = self.ranking[ranks]
        relative = self.error[learner, chosen] / self.threshold[learner, chosen]
        return ranks, np.asarray(np.hypot(relative, _MISFIT))

    def _error_law(self, learner: int, thresholds: FloatArray | None = None) -> PowerLaw:
        ranks, relative = self._known_ranks(learner)
        share = self.share[self.ranking]
        after = share.sum() - np.cumsum(share)
        most = self.widths[learner] or len(share)
        used = (ranks < most) & (after[ranks] > _NOTHING * self.variance)
        ranks, relative = ranks[used], relative[used]
        at = 1.0 / share[ranks]
        if thresholds is not None:
            at = thresholds[learner, self.ranking[ranks]]
        # The error of delta moves a point along the line: about as much as it does along y.
        return PowerLaw.through(at, after[ranks], relative)

    def _recovered(self, delta: ArrayLike) -> NDArray[np.bool_]:
        """Return which features are, shape (L, k_h, n)."""
        at = np.atleast_1d(check_array("delta", delta))
        if at.ndim > 1:
            raise ValueError(f"delta must be one number or a list of numbers, got {delta!r}")
        with np.errstate(invalid="ignore"):
            return self.threshold[..., np.newaxis] <= at

    def _inside(self, values: FloatArray, delta: ArrayLike) -> FloatArray:
        at = np.atleast_1d(np.asarray(delta, dtype=np.float64))
        networks = np.array(self.widths)[:, np.newaxis] > 0
        return np.where(networks & (at > self.bracket[1]), np.nan, values)

    @property
    def table(self) -> str:
        """Thresholds and exponents as text."""
        return self._report()[1]

    def _report(self) -> tuple[Lines, str]:
        from dmft.studies.scaling_law_report import scaling_law_lines, scaling_law_table

        return scaling_law_lines(self), scaling_law_table(self)
