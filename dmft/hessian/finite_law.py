r"""Spectral law of the Hessian for the n curvature weights of a run of dimension d.

The left edge of the limit can lie where no run of ordinary size sees it: at -infinity where D is
unbounded below, or held by values of D that occur in its far tails only. A run of dimension d has
n = delta d values of D, and its spectrum is that of *their* spectral law: n independent copies of D
in place of D, without support points. It has an edge, outliers in hard directions with their
overlaps, and a gap; over draws they scatter, as runs do (setting of Montanari & Wang,
arXiv:2602.01434).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_integer
from dmft.io.marks import DELTA, STEPS
from dmft.io.saved_result import SavedResult
from dmft.io.stored_settings import check_settings
from dmft.solver.stability import SHARE_TOLERANCE
from dmft.training.constraints import check_constraint
from rmt.overlay import TRACY_WIDOM_MEAN, airy_scale
from rmt.status import NumericalFailure, Status, first_failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dmft.io.report_text import Lines
    from rmt import HessianLaw, Outlier

__all__ = [
    "BAND",
    "DRAWS",
    "DrawnMedian",
    "FiniteLaw",
    "check_dimension",
    "check_draws",
    "is_large",
    "law_of_draws",
]

FloatArray = NDArray[np.float64]

DRAWS: Final = (8, 32)
"""Number of draws, unless it is given: at least, and at most."""

BAND: Final = (0.1587, 0.8413)
"""Shares of the draws below the ends of a band: one standard deviation of normal numbers."""

_MOST_ASKED = 10**6  # nobody waits for more
_SAMPLES_PER_NEURON = 10
_PLACE = 1e-5  # accuracy of a quantile, relative to where it may lie


@dataclass(frozen=True)
class DrawnMedian:
    """Median of a number over draws, and how far single runs scatter around it.

    Attributes
    ----------
    value, stderr : float
        Median, and its standard error (Maritz and Jarrett 1978); zero where all draws agree.
    lower, upper : float
        Between them lie 68 % of the draws, and of single runs.

    Examples
    --------
    >>> median = DrawnMedian.of([1.0, 2.0, 3.0, 4.0, 10.0])
    >>> float(median), median.lower < 2.0, median.upper > 4.0
    (3.0, True, True)
    """

    value: float
    stderr: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: FloatArray | list[float]) -> DrawnMedian:
        """Compute the median of draws, shape (draws,); NaN where one of them is."""
        from scipy.stats.mstats import mjci

        values = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values).all():
            return cls(np.nan, np.nan, np.nan, np.nan)
        if values.min() == values.max():  # the estimate would be of rounding
            stderr = 0.0
        elif len(values) == 2:  # their mean, for which the estimate is not defined
            stderr = 0.5 * abs(float(values[0] - values[1]))
        else:
            stderr = float(mjci(values, prob=[0.5])[0])
        lower, upper = np.quantile(values, BAND).tolist()
        return cls(float(np.median(values)), stderr, lower, upper)

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True, eq=False, repr=False)
class FiniteLaw(SavedResult, kind="law of n weights", settings=("problem", "method", "sampling")):
    """Draws of the spectral law of the Hessian of n = delta d samples.

    Made by ``trajectory.hessian(step, d=...)``. With R draws of n curvature weights each, and Q
    outliers at most:

    Attributes
    ----------
    delta : float
    step, d, n : int
    edge : ndarray, shape (R,)
        Left edge of the bulk in each draw.
    edge_shift : ndarray, shape (R,)
        How far inside the edge the smallest of m d eigenvalues is on average (Tracy and Widom);
        zero where the density does not vanish as a square root.
    outliers : ndarray, shape (R, Q)
        Outliers left of the bulk, ascending; NaN beyond the last. In all directions at step 0, in
        the hard ones later: n samples do not tell the gradients of many steps apart.
    hard_overlaps : ndarray, shape (R, Q)
        Of each the squared norm of its projection on the hard space; 0 beyond the last.
    hard_gap : ndarray, shape (R,)
        `rmt.HessianLaw.hard_gap`; NaN without hard directions, or where the edge did not converge.
    status : Status
        SUCCESS, or that of the first draw with an unreliable edge or unreliable outliers.
    quantile : float
        Where m d times the cumulative distribution of the limit reaches one: to leading order in
        log d the edge of n weights. NaN where it is not known.
    unstable_share : float
        Largest fraction of linearly unstable paths, or share of an average that they carry, along
        the trajectory up to the step (see :class:`dmft.UnstablePaths`); 0 at step 0.
    config : dict
        Problem, method (none for `dmft.hessian.hessian.initial_law`) and sampling as plain types.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    The square loss has no left edge in the limit, but every run has one:

    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "square")
    >>> method = dmft.GradientDescent(step_size=0.05, n_steps=0)
    >>> trajectory = dmft.solve(problem, 8.0, method, dmft.Sampling(n_paths=64))
    >>> trajectory.hessian(0).edges().left
    -inf
    >>> law = trajectory.hessian(0, d=1000)
    >>> found = law.smallest_eigenvalue
    >>> -2.8 < found.lower < found.value < found.upper < -2.1
    True
    """

    _axes: ClassVar = {"R": "draw", "Q": "outlier"}
    _rows: ClassVar = ("draw",)
    _shown: ClassVar = ("delta", "step", "d", "n")

    delta: Annotated[float, DELTA]
    step: Annotated[int, STEPS]
    d: int
    n: int
    edge: Annotated[FloatArray, "R"]
    edge_shift: Annotated[FloatArray, "R"]
    outliers: Annotated[FloatArray, "R Q"]
    hard_overlaps: Annotated[FloatArray, "R Q"]
    hard_gap: Annotated[FloatArray, "R"]
    status: Status
    quantile: float
    config: dict[str, Any] = field(repr=False)
    unstable_share: float = 0.0

    @property
    def stability_status(self) -> Status:
        """UNSTABLE_PATHS if these carry more than 1 % of an average: rare samples carry the run."""
        too_many = self.unstable_share > SHARE_TOLERANCE
        return Status.UNSTABLE_PATHS if too_many else Status.SUCCESS

    @property
    def draws(self) -> int:
        """Number of draws."""
        return len(self.edge)

    @property
    def left_edge(self) -> DrawnMedian:
        """Left edge of the bulk."""
        return DrawnMedian.of(self.edge)

    @property
    def smallest_eigenvalue(self) -> DrawnMedian:
        """Smallest eigenvalue: the lowest outlier, or the edge with its shift."""
        return DrawnMedian.of(self.lowest()[0])

    @property
    def hard_overlap(self) -> DrawnMedian:
        """Squared norm of the projection of its eigenvector on the hard space; 0 at the edge."""
        return DrawnMedian.of(self.lowest()[1])

    @property
    def gap(self) -> DrawnMedian:
        """Gap: where its median is negative, most runs have a negative hard outlier."""
        return DrawnMedian.of(self.hard_gap)

    def lowest(self, count: int = 1) -> tuple[FloatArray, FloatArray]:
        """Average the smallest eigenvalues expected in a run, and their hard overlaps.

        Parameters
        ----------
        count : int
            How many are averaged over.

        Returns
        -------
        value, hard_overlap : ndarray, shape (R,)
            For each draw. The place of an outlier that is missing has the edge, with its shift,
            and no overlap.
        """
        missing = max(count - self.outliers.shape[1], 0)
        values = np.pad(self.outliers, ((0, 0), (0, missing)), constant_values=np.nan)[:, :count]
        overlaps = np.pad(self.hard_overlaps, ((0, 0), (0, missing)))[:, :count]
        at_edge = (self.edge + self.edge_shift)[:, np.newaxis]
        values = np.where(np.isnan(values), at_edge, values)
        return values.mean(axis=1), overlaps.mean(axis=1)

    def has_outlier(self, count: int = 1) -> bool:
        """Whether more than half of the draws have as many outliers left of the bulk."""
        if self.outliers.shape[1] < count:
            return False
        return bool(np.mean(np.isfinite(self.outliers[:, count - 1])) > 0.5)

    def _report(self) -> tuple[Lines, str]:
        from dmft.hessian.report import finite_lines

        return finite_lines(self), ""

    def check_settings(self) -> None:
        """Raise unless the settings are complete and allowed, and there are draws."""
        given = self._settings if "method" in self.config else ("problem", "sampling")
        if "constraint" in self.config:
            check_constraint(self.config["constraint"])
            given = (*given, "constraint")
        check_settings(self.config, *given)
        if not self.draws:
            raise ValueError("it has no draws")


def check_dimension(d: object, delta: float, m: int) -> int:
    """Return the dimension of a run of which a law is asked for.

    Raises
    ------
    ValueError
        If d is no positive integer, or its n = delta d samples are fewer than ten for each of the
        m neurons: so few weights have no law.
    """
    size = check_integer("d", d, minimum=1)
    n = round(delta * size)
    if not is_large(size, delta, m):
        raise ValueError(
            f"d must give n = delta d >= {_SAMPLES_PER_NEURON * m} samples (10 a neuron), "
            f"got d = {size}, so n = {n} at delta = {delta:g}"
        )
    return size


def is_large(d: int, delta: float, m: int) -> bool:
    """Return whether the n = delta d weights of a run of dimension d have a law."""
    return round(delta * d) >= _SAMPLES_PER_NEURON * m


def check_draws(draws: object) -> int:
    """Return the number of draws.

    Raises
    ------
    ValueError
        If it is no integer, less than two or beyond reason.
    """
    return check_integer("draws", draws, minimum=2, maximum=_MOST_ASKED)


def law_of_draws(
    laws: Iterator[HessianLaw],
    limit: HessianLaw,
    draws: int,
    config: dict[str, Any],
    *,
    step: int,
    d: int,
    n: int,
    quantile: bool = False,
    unstable_share: float = 0.0,
) -> FiniteLaw:
    """Compute edges, outliers and gap of draws of n weights.

    Parameters
    ----------
    laws : iterator of rmt.HessianLaw
        Draws without end, each of n weights.
    limit : rmt.HessianLaw
        What they are drawn from.
    draws : int
    config : dict
    step, d, n : int
    quantile : bool
        Whether that of the limit is computed too.
    unstable_share : float

    Returns
    -------
    FiniteLaw
    """
    found = [_draw(law, law.m * d) for law in islice(laws, draws)]
    most = max(len(one.outliers) for one in found)
    outliers, overlaps = np.full((draws, most), np.nan), np.zeros((draws, most))
    for i, one in enumerate(found):
        outliers[i, : len(one.outliers)] = [outlier.value for outlier in one.outliers]
        overlaps[i, : len(one.outliers)] = [outlier.hard_overlap for outlier in one.outliers]
    return FiniteLaw(
        delta=limit.ratio,
        step=step,
        d=d,
        n=n,
        edge=np.array([one.edge for one in found]),
        edge_shift=np.array([one.shift for one in found]),
        outliers=outliers,
        hard_overlaps=overlaps,
        hard_gap=np.array([one.gap for one in found]),
        status=first_failure(one.status for one in found),
        quantile=_quantile(limit, 1.0 / (limit.m * d)) if quantile else np.nan,
        config=config,
        unstable_share=unstable_share,
    )


@dataclass(frozen=True, eq=False)
class _Draw:
    edge: float
    shift: float
    gap: float
    outliers: list[Outlier]
    status: Status


def _draw(law: HessianLaw, size: int) -> _Draw:
    edges = law.edges()
    try:
        shift = float(-TRACY_WIDOM_MEAN * airy_scale(law, size)[0])
    except NumericalFailure:
        shift = np.nan
    outliers: list[Outlier] = []
    status = edges.status
    if law.span is not None or law.k_hard:
        outliers = law.outliers(throw=False)
        status = law.outlier_status if status.ok else status
    return _Draw(
        edge=float(edges.left),
        shift=shift if np.isfinite(shift) else 0.0,
        gap=law.hard_gap(throw=False) if law.k_hard else np.nan,
        outliers=[outlier for outlier in outliers if outlier.side == "left"],
        status=status,
    )


def _quantile(law: HessianLaw, mass: float) -> float:
    """Find the place below which a mass of the spectrum lies, where the atoms tell it."""
    from scipy.optimize import brentq

    if mass < 1.0 / np.count_nonzero(law.probabilities):
        return np.nan
    # No eigenvalue lies further out than these atoms allow, whatever the law they stand for.
    furthest = (1.0 + 1.0 / np.sqrt(law.ratio)) ** 2
    smallest = min(float(np.linalg.eigvalsh(law.weights).min()), 0.0)
    right = law.edges().right
    low = float(law.shifts[0]) + furthest * smallest
    high = right if np.isfinite(right) else float(law.shifts[-1])
    try:
        if not (low < high and law.cdf(high) >= mass):
            return np.nan
        found = brentq(lambda x: float(law.cdf(x)) - mass, low, high, xtol=_PLACE * (high - low))
    except NumericalFailure:
        return np.nan
    return float(found)
