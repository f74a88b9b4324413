r"""Spectral methods of the label of a problem: outliers, overlaps and thresholds, in one result.

The leading eigenvectors of :math:`(1/n) \sum_i T(y_i) \otimes x_i x_i^T` recover latent directions
without training (Mondelli and Montanari, arXiv:1708.05932; several directions: Defilippis, Dandi,
Mergny, Krzakala and Loureiro, arXiv:2502.02545). The computation is that of `rmt.spectral`, the law
of label and latent coordinates that of `dmft.label_law`, under any law of the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.user_functions import result_of
from dmft._numerics.validation import check_instance, check_real
from dmft.io.marks import DELTA, ErrorOf
from dmft.io.saved_result import SavedResult
from dmft.model.law_sources import custom_entry
from dmft.model.problem import Problem
from dmft.model.spectral_start import SpectralStart
from dmft.model.target import Target
from dmft.recovery.label_points import label_law
from dmft.recovery.spectral_rule import HELD, TAIL
from rmt._validation import shown
from rmt.spectral import SpectralThreshold
from rmt.spectral import spectral_method as of_labels
from rmt.spectral import spectral_threshold as threshold_of_labels
from rmt.status import NumericalFailure, Status, first_failure

if TYPE_CHECKING:
    from dmft.io.report_text import Lines
    from rmt.label_law import LabelLaw
    from rmt.spectral import Preprocessing, SideName

__all__ = [
    "SpectralMethod",
    "check_bracket",
    "check_preprocessing",
    "find_threshold",
    "spectral_method",
]

Array = NDArray[np.float64]

_POINTS = 2**17
_BRACKET = (0.01, 1000.0)
_OPTIMAL = ("optimal", "optimal-scalar")
_GRID = 241  # of the density
_UNBOUNDED = (
    "The preprocessing T (times the squared scales of the inputs) is unbounded on this side: the "
    "edge is infinite and no outlier exists in the limit; clip T, at a cap that samples reach."
)
_REACHED = 32  # samples beyond a cap that show what it does to the edge
_OF_BINS = (1e-2, 0.5)  # in place of TAIL, HELD: preprocessings learned from bins of labels


@dataclass(frozen=True, eq=False, repr=False)
class SpectralMethod(
    SavedResult,
    kind="spectral method",
    settings=("problem", "delta", "preprocessing", "side", "bracket", "n_points", "replicates",
              "seed"),
):  # fmt: skip
    """Spectrum of a spectral method of the label of a problem, and its threshold.

    Attributes
    ----------
    edge, edge_stderr : float
        Edge of the bulk on the side looked at.
    gap, gap_stderr : float
        Smallest eigenvalue of A_h at a left edge, of -A_h at a right one: negative exactly where
        an outlier has left the bulk.
    outlier, outlier_stderr : ndarray, shape (J,)
        Eigenvalues outside the bulk, from the outside in.
    overlap, overlap_stderr : ndarray, shape (J,)
        Squared overlaps of their eigenvectors with the latent directions.
    latent_overlap : ndarray, shape (J, k)
        With each of them.
    x, density : ndarray, shape (n,)
        Density of the bulk; empty where T is unbounded.
    threshold, threshold_stderr : float
        Smallest n/d from which on there is an outlier on this side; NaN where there is none.
    crossings : tuple of float
        All n/d in the bracket at which an outlier comes or goes.
    spectrum_status, threshold_status : Status
        Of the spectrum and of the threshold: UNBOUNDED_EDGE where T (times the squared scales of
        the inputs) is unbounded on that side, so that no outlier exists in the limit; NO_BRACKET
        where no delta in the bracket is the threshold.
    config : dict
        Label and inputs as a problem, delta, preprocessing and sampling as plain types.

    Examples
    --------
    >>> import dmft
    >>> found = dmft.spectral_method("phase-retrieval", 1.0)
    >>> print(f"{found.threshold:.2f}, overlap {found.overlap[0]:.2f} at delta = 1")
    0.50, overlap 0.23 at delta = 1
    """

    _axes: ClassVar = {"J": "outlier", "k": "direction", "n": "x"}
    _rows: ClassVar = ("outlier",)
    _shown: ClassVar = ("edge", "outlier", "overlap", "threshold")

    edge: float
    edge_stderr: float
    gap: float
    gap_stderr: float
    outlier: Annotated[Array, "J"]
    outlier_stderr: Annotated[Array, "J", ErrorOf("outlier")]
    overlap: Annotated[Array, "J"]
    overlap_stderr: Annotated[Array, "J", ErrorOf("overlap")]
    latent_overlap: Annotated[Array, "J k"]
    x: Annotated[Array, "n"]
    density: Annotated[Array, "n"]
    threshold: Annotated[float, DELTA]
    threshold_stderr: Annotated[float, DELTA]
    crossings: tuple[float, ...]
    spectrum_status: Status
    threshold_status: Status
    config: dict[str, Any] = field(repr=False)

    @property
    def status(self) -> Status:
        """That of the spectrum; where that is SUCCESS, that of the threshold."""
        return first_failure([self.spectrum_status, self.threshold_status])

    @property
    def _status_text(self) -> str:
        return _UNBOUNDED if self.status is Status.UNBOUNDED_EDGE else ""

    def _report(self) -> tuple[Lines, str]:
        from dmft.recovery.report import spectral_lines

        return spectral_lines(self), ""


def spectral_method(
    problem: Problem | Target | str,
    delta: float,
    preprocessing: str | Callable[[Array], Any] = "optimal",
    *,
    cap: float | None = None,
    side: Literal["left", "right"] = "right",
    bracket: Sequence[float] = _BRACKET,
    n_points: int = _POINTS,
    replicates: int = 8,
    seed: int = 0,
    throw: bool = False,
) -> SpectralMethod:
    """Compute outliers, overlaps and threshold of a spectral method of a label.

    Parameters
    ----------
    problem : Problem, Target or str
        Whose label it is, under the inputs of the problem; its network is of no account.
    delta : float
        n/d > 0.
    preprocessing : {"optimal", "optimal-scalar", "clipped"} or callable
        T, labels (N,) to weights (N,), or symmetric (N, m, m). "optimal" is the matrix
        I - E[z z^T | y]^{-1}, with the lowest threshold there is (a minute for 8 directions, more
        than a quarter of an hour for 16), "optimal-scalar" the best real one, for inputs without
        scales; "clipped" is clip(y, -cap, cap).
    cap : float, optional
        Of "clipped", default 3.
    side : {"right", "left"}
        Whether the leading eigenvalues are the largest or the smallest.
    bracket : pair of float
        Between which n/d to look for the threshold.
    n_points, replicates, seed : int
        Of the points of the label's law, as in :func:`dmft.label_law`.
    throw : bool
        Raise :class:`dmft.NumericalFailure` instead of returning a status other than SUCCESS.

    Returns
    -------
    SpectralMethod

    Raises
    ------
    ValueError
        If an argument is not allowed, T fails, or an optimal preprocessing is asked for where
        E[z z^T | y] has no inverse, the inputs have scales, or n_points are fewer than 16384 and
        labels have many values; or if n_points do not fit in memory.

    References
    ----------
    Mondelli and Montanari, arXiv:1708.05932; Defilippis et al., arXiv:2502.02545.

    Examples
    --------
    >>> import dmft
    >>> heavy = dmft.Problem("modulus", inputs=dmft.Elliptical(lambda u: 0.5 + u))
    >>> found = dmft.spectral_method(heavy, 8.0, "clipped", cap=2.0, n_points=2**14)
    >>> bool(found.threshold < 8.0), found.outlier.shape
    (True, (1,))
    """
    base = _of_label(problem)
    delta = check_real("delta", delta, minimum=0.0, exclusive=True)
    bracket = check_bracket(bracket)
    law = label_law(base.target, n_points=n_points, replicates=replicates, seed=seed)
    rule, entry = _rule(base, preprocessing, cap)
    is_bounded = _bounded(base, rule, law, side)
    found = of_labels(rule, law, delta, side=side, **is_bounded)
    threshold = threshold_of_labels(rule, law, side=side, bracket=bracket, **is_bounded)
    x, density = np.empty(0), np.empty(0)
    left, right = found.law.edges()
    if found.law.edges().status.ok and np.isfinite(left + right) and right > left:
        # Dense at the edges.
        x = 0.5 * (left + right) - 0.5 * (right - left) * np.cos(np.linspace(0.0, np.pi, _GRID))
        density = np.asarray(found.law.density(x, throw=False))
    k = base.k
    latent = np.array([outlier.latent_overlap for outlier in found.outliers]).reshape(-1, k)
    result = SpectralMethod(
        edge=found.edge,
        edge_stderr=found.edge_stderr,
        gap=found.gap,
        gap_stderr=found.gap_stderr,
        outlier=np.array([outlier.value for outlier in found.outliers]),
        outlier_stderr=found.value_stderr,
        overlap=np.array([outlier.hard_overlap for outlier in found.outliers]),
        overlap_stderr=found.overlap_stderr,
        latent_overlap=latent,
        x=x,
        density=density,
        threshold=threshold.value,
        threshold_stderr=threshold.stderr,
        crossings=threshold.crossings,
        spectrum_status=found.status,
        threshold_status=threshold.status,
        config={
            "problem": base.to_config(),
            "delta": delta,
            "preprocessing": entry,
            "side": side,
            "bracket": list(bracket),
            "n_points": n_points,
            "replicates": replicates,
            "seed": seed,
        },
    )
    if throw and not result.status.ok:
        raise NumericalFailure(result.status, text=result._status_text)
    return result


def find_threshold(
    problem: Problem,
    preprocessing: str | Callable[[Array], Any] = "optimal",
    *,
    cap: float | None = None,
    side: Literal["left", "right"] = "right",
    bracket: Sequence[float] = _BRACKET,
    n_points: int = _POINTS,
    replicates: int = 8,
    seed: int = 0,
) -> SpectralThreshold:
    """Find the threshold of a spectral method alone; arguments are those of `spectral_method`.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval")
    >>> round(find_threshold(problem, "optimal-scalar").value, 2)
    0.5
    """
    base = _of_label(problem)
    law = label_law(base.target, n_points=n_points, replicates=replicates, seed=seed)
    rule, _ = _rule(base, preprocessing, cap)
    is_bounded = _bounded(base, rule, law, side)
    return threshold_of_labels(rule, law, side=side, bracket=check_bracket(bracket), **is_bounded)


def _of_label(problem: Problem | Target | str) -> Problem:
    """Return the label and its inputs as a problem, whose network is of no account."""
    if isinstance(problem, Problem):
        problem = problem.target
    target = Target(problem) if isinstance(problem, str) else problem
    check_instance("problem", target, (Problem, Target))
    return Problem(target, inputs=target.inputs)


def check_bracket(bracket: Sequence[float]) -> tuple[float, float]:
    """Return two ends, checked.

    Raises
    ------
    ValueError
        Unless they are positive and increase.
    """
    ends = tuple(check_real("bracket", end, minimum=0.0, exclusive=True) for end in bracket)
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ValueError(f"bracket must have lower < upper, got {bracket!r}")
    return ends[0], ends[1]


def check_preprocessing(preprocessing: Any) -> Any:
    """Return the name of a preprocessing, or a function, as it is.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> check_preprocessing("optimal")
    'optimal'
    """
    if not callable(preprocessing) and preprocessing not in (*_OPTIMAL, "clipped"):
        names = ", ".join(map(repr, (*_OPTIMAL, "clipped")))
        raise ValueError(
            f"preprocessing must be {names} or a function of the label, got {shown(preprocessing)}"
        )
    return preprocessing


def _rule(
    base: Problem, preprocessing: str | Callable[[Array], Any], cap: float | None
) -> tuple[Preprocessing, Any]:
    """Return a preprocessing as `rmt` takes it, and its entry in a configuration."""
    check_preprocessing(preprocessing)
    if isinstance(preprocessing, str) and preprocessing in _OPTIMAL:
        if cap is not None:
            raise ValueError(f"cap belongs to the preprocessing 'clipped', got {preprocessing!r}")
        if base.inputs is not None and base.inputs.has_scales:
            raise ValueError(
                "preprocessing must be 'clipped' or a function of the label where the inputs have "
                f"scales, got {preprocessing!r}"
            )
        return preprocessing, preprocessing
    start = SpectralStart(preprocessing, cap=cap)
    if callable(preprocessing):
        name = str(getattr(preprocessing, "__name__", "custom"))
        own: Callable[[Array], Any] = preprocessing
        failed = f"preprocessing {name!r} failed: "
        return lambda y: result_of(own, y.copy(), failed=failed), custom_entry(own, name)
    return start.weights, {"preprocessing": "clipped", "cap": start.cap}


def _bounded(base: Problem, rule: Preprocessing, law: LabelLaw, side: SideName) -> dict[str, bool]:
    """Say whether T is bounded: not where the edge is held by the largest of its values."""
    spread = base.inputs is not None and bool(np.isinf(base.inputs.scale_range[1]))
    is_named = isinstance(rule, str)  # below one
    at = int(side == "right")
    start = getattr(rule, "__self__", None)
    is_clipped = False
    if isinstance(start, SpectralStart) and start.cap is not None:
        # Of a cap that next to no sample reaches, the sample does not say what it does to the edge.
        outward = law.labels if at else -law.labels
        is_clipped = int(np.count_nonzero(outward >= start.cap)) >= _REACHED
    if (is_named and at) or (is_clipped and not spread):
        return {}
    of_law = of_labels(rule, law, 1.0, side=side).law
    mass, held = _OF_BINS if is_named else (TAIL, HELD)
    moved = abs(of_law.tail_sensitivity(mass)[at])
    name = ("bounded_below", "bounded_above")[at]
    return {name: bool(moved <= held * abs(of_law.edges()[at]))}
