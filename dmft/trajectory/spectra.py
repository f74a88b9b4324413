"""Spectrum of the Hessian at a step as one result: density, edges, outliers, gap, errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_integer
from dmft.hessian.gap_samples import sample_gap
from dmft.io.marks import DELTA, STEPS
from dmft.io.saved_result import SavedResult
from rmt.outliers import by_rank
from rmt.real_branch import Kind
from rmt.status import Status

if TYPE_CHECKING:
    from dmft.io.report_text import Lines
    from dmft.trajectory.trajectory import Trajectory
    from rmt import HessianLaw

__all__ = ["Spectrum", "SpectrumOutlier", "spectrum"]

FloatArray = NDArray[np.float64]

_MOST_POINTS = 10**7


@dataclass(frozen=True)
class SpectrumOutlier:
    """An eigenvalue outside the bulk.

    Attributes
    ----------
    value, hard_overlap : float
        The eigenvalue; the squared norm of its eigenvector's projection on the hard space, zero
        for an outlier in other directions.
    stderr, hard_overlap_stderr : float
        Standard errors over replicates; NaN if the outlier is missing in some of them.
    side : "left" or "right"
        Of the bulk.
    latent_overlap : tuple of float
        Squared norm of the projection on each latent direction, all neurons together.
    separated : bool
        Whether it is further from the edge than the errors of both together. Otherwise it is not
        told from the edge, and may be none: finitely many paths show such outliers.
    """

    value: float
    stderr: float
    hard_overlap: float
    hard_overlap_stderr: float
    side: Literal["left", "right"]
    latent_overlap: tuple[float, ...] = ()
    separated: bool = True


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum(SavedResult, kind="spectrum", settings=("problem", "method", "sampling")):
    """Spectral law of the Hessian of the risk (with weight decay) at one step of a trajectory.

    Standard errors are over replicates; zero where it is computed by quadrature (step 0, up to
    three Gaussians).

    Attributes
    ----------
    delta : float
    step : int
    x : ndarray, shape (n_points,)
        Eigenvalues, increasing, over the whole bulk; dense where the density varies. Where D is
        unbounded the grid ends where the sampled curvature weights do.
    density : ndarray, shape (n_points,)
        Continuous part, of mass 1 - ``atom_at_zero``; NaN where it could not be solved.
    left_edge, right_edge : float
        Ends of the bulk; infinite where D is unbounded.
    left_edge_stderr, right_edge_stderr : float
        Sampling error and dependence on the most extreme curvature weight together, see
        :meth:`rmt.HessianLaw.edge_errors`. Infinite for an edge that did not converge, over all
        paths or in a replicate; its value is then a bound from outside.
    outliers : tuple of SpectrumOutlier
        In all directions, increasing in value; only the hard ones where ``outlier_status`` is not
        SUCCESS.
    outlier_status : Status
        ILL_CONDITIONED where the outliers in other than hard directions cannot be relied on.
    hard_gap, hard_gap_stderr : float
        As :meth:`rmt.HessianLaw.hard_gap`; both NaN if the problem has no hard direction, NaN and
        infinite if the gap could not be computed.
    atom_at_zero : float
        Mass of the eigenvalue 0 (of the Hessian without weight decay or normal forces), a
        consequence of rank.
    status : Status
        SUCCESS; UNBOUNDED_EDGE if the left edge is -infinity; the status of an edge or of the gap,
        over all paths or in a replicate; UNPHYSICAL_BRANCH if the density is missing somewhere.
    config : dict
        Problem, method, sampling as plain types.
    shift : ndarray, shape (m,), or None
        With neurons on spheres: minus their normal forces, which stand in place of weight decay.
    edge_kinds : (str, str)
        What holds each edge, as in `rmt.Edges.kind`; "none" in older files.
    edge_kinds_are_certain : (bool, bool)
        Whether replicates agree on it, as in `rmt.EdgeKind.is_certain`.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem(target="linear", network=dmft.Network(activation="linear"))
    >>> method = dmft.GradientDescent(step_size=0.1, n_steps=2)
    >>> trajectory = dmft.solve(problem, 4.0, method, dmft.Sampling(n_paths=64))
    >>> found = dmft.spectrum(trajectory, step=2)
    >>> found.x.shape == found.density.shape, round(found.left_edge, 6), found.outliers
    (True, 0.25, ())
    """

    _axes: ClassVar = {"n": "x"}
    _rows: ClassVar = ("x",)
    _shown: ClassVar = ("delta", "step", "left_edge", "right_edge", "hard_gap")

    delta: Annotated[float, DELTA]
    step: Annotated[int, STEPS]
    x: Annotated[FloatArray, "n"]
    density: Annotated[FloatArray, "n"]
    left_edge: float
    left_edge_stderr: float
    right_edge: float
    right_edge_stderr: float
    outliers: tuple[SpectrumOutlier, ...]
    outlier_status: Status
    hard_gap: float
    hard_gap_stderr: float
    atom_at_zero: float
    status: Status
    config: dict[str, Any] = field(repr=False)
    shift: Annotated[FloatArray, "m"] | None = None
    edge_kinds: tuple[Kind, Kind] = ("none", "none")
    edge_kinds_are_certain: tuple[bool, bool] = (False, False)

    @property
    def mass(self) -> float:
        """Integral of ``density`` by the trapezoidal rule, plus the atom; 1 up to the grid."""
        return float(np.trapezoid(self.density, self.x)) + self.atom_at_zero

    def _report(self) -> tuple[Lines, str]:
        from dmft.trajectory.report import spectrum_lines

        return spectrum_lines(self), ""

    def quantile(self, mass: float) -> float:
        """Eigenvalue below which a fraction ``mass`` of the continuous part lies."""
        cumulative = _cumulative(self.x, np.nan_to_num(self.density))
        return float(np.interp(mass, cumulative, self.x))


def spectrum(trajectory: Trajectory, step: int | None = None, *, points: int = 600) -> Spectrum:
    """Compute density, edges and outliers of the Hessian at a step of a trajectory.

    Parameters
    ----------
    trajectory : Trajectory
    step : int, optional
        0 to ``trajectory.n_steps`` (default).
    points : int
        About how many points the density is evaluated at; at least 16.

    Returns
    -------
    Spectrum

    Raises
    ------
    ValueError
        If the step is out of range, or the trajectory does not know its problem.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    Linear regression has the Hessian of Marchenko and Pastur:

    >>> import dmft
    >>> problem = dmft.Problem(target="linear", network=dmft.Network(activation="linear"))
    >>> method = dmft.GradientDescent(step_size=0.1, n_steps=1)
    >>> trajectory = dmft.solve(problem, 4.0, method, dmft.Sampling(n_paths=64))
    >>> result = dmft.spectrum(trajectory, step=1)
    >>> round(result.left_edge, 6), round(result.right_edge, 6), round(result.mass, 3)
    (0.25, 2.25, 1.0)
    """
    step = max(trajectory.n_steps, 0) if step is None else check_integer("step", step, minimum=0)
    points = check_integer("points", points, minimum=16, maximum=_MOST_POINTS)
    law = trajectory.hessian(step)
    assert trajectory.problem is not None  # hessian() asks for it
    edges = law.edges()
    errors = law.edge_errors()
    kinds = law.edge_kinds()
    x, density = _density(law, points)
    status = law.status
    gap = gap_stderr = np.nan
    if law.k_hard:
        sample = sample_gap(law)
        gap = float(sample.gap[0])
        gap_stderr = np.inf if np.isnan(gap) else sample.stderr
        status = sample.status if status.ok else status
    if status.ok and np.isnan(density).any():
        status = Status.UNPHYSICAL_BRANCH
    return Spectrum(
        delta=trajectory.delta,
        step=step,
        x=x,
        density=density,
        left_edge=float(edges.left),
        left_edge_stderr=errors[0],
        right_edge=float(edges.right),
        right_edge_stderr=errors[1],
        outliers=_outliers(law),
        outlier_status=law.outlier_status,
        hard_gap=gap,
        hard_gap_stderr=gap_stderr,
        atom_at_zero=float(law.atom_at_zero()),
        status=status,
        config={
            "problem": trajectory.problem.to_config(),
            "method": trajectory.method.to_config(),
            "sampling": trajectory.sampling.to_config(),
        },
        shift=None if trajectory.method.constraint is None else np.diag(np.atleast_2d(law.shift)),
        edge_kinds=(kinds[0].name, kinds[1].name),
        edge_kinds_are_certain=(kinds[0].is_certain, kinds[1].is_certain),
    )


def _outliers(law: HessianLaw) -> tuple[SpectrumOutlier, ...]:
    """Compute outliers with errors over the replicates."""
    others = [by_rank(other.outliers(throw=False)) for other in law.replicates]
    found = []
    for key, outlier in by_rank(law.outliers(throw=False)).items():
        errors = (0.0, 0.0)
        if others:
            errors = (np.nan, np.nan)
            if all(key in other for other in others):
                pairs = np.array([(o[key].value, o[key].hard_overlap) for o in others])
                value, overlap = pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs))
                errors = (float(value), float(overlap))
        latent = () if outlier.latent_overlap is None else outlier.latent_overlap.tolist()
        found.append(
            SpectrumOutlier(
                float(outlier.value),
                errors[0],
                float(outlier.hard_overlap),
                errors[1],
                outlier.side,
                tuple(latent),
                outlier.separated,
            )
        )
    return tuple(found)


def _density(law: HessianLaw, points: int) -> tuple[FloatArray, FloatArray]:
    """Compute the density on a grid over the bulk, denser where its graph is long."""
    left, right = _range(law)
    if not left < right:  # no weights, no bulk
        x = np.array([left - 0.5, left + 0.5])
        return x, np.zeros(2)
    n = points // 4
    # Square-root edges want points as (1 - cos); tails and the neighbourhood of an atom at zero
    # want them even in the logarithm of the distance from zero.
    even = left + (right - left) * (0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, n)))
    size = 1e-3 * min(float(np.median(np.abs(law.weights))) or np.inf, right - left)
    ends = np.arcsinh((np.array([left, right]) - law.centre) / size)
    logarithmic = law.centre + size * np.sinh(np.linspace(ends[0], ends[1], n))
    x = _distinct(np.concatenate([even, logarithmic]), left, right)
    density = law.density(x, throw=False)
    # In the plane of mass scale and height, equal lengths of the graph.
    rounds = 2
    for _ in range(rounds):
        known = np.nan_to_num(density)
        low, high = np.interp([0.005, 0.995], _cumulative(x, known), x)
        height = float(known.max())
        inside = known[(x >= low) & (x <= high)]
        if inside.size:  # none where all mass is at a hard edge, between two points
            height = min(height, 5.0 * float(np.median(inside)))
        if not (high > low and height > 0):
            break
        lengths = np.hypot(
            np.diff(np.clip(x, low, high)) / (high - low),
            np.diff(np.minimum(known, height)) / height,
        )
        arc = np.concatenate([[0.0], np.cumsum(lengths)])
        more = np.interp(np.linspace(0.0, arc[-1], (points - 2 * n) // rounds + 2)[1:-1], arc, x)
        new = np.setdiff1d(_distinct(np.concatenate([x, more]), left, right), x)
        x = np.concatenate([x, new])
        density = np.concatenate([density, law.density(new, throw=False)])
        order = np.argsort(x)
        x, density = x[order], density[order]
    return x, density


def _distinct(x: FloatArray, left: float, right: float) -> FloatArray:
    """Sort the points, with both ends and none closer to them or each other than rounding."""
    apart = 1e-11 * (right - left)
    x = np.sort(x[(x > left + apart) & (x < right - apart)])
    return np.concatenate([[left], x[np.diff(x, prepend=left) > apart], [right]])


def _range(law: HessianLaw) -> tuple[float, float]:
    """Return the ends of the bulk, no further out than these curvature weights allow."""
    values = np.linalg.eigvalsh(law.weights)
    largest = (1.0 + 1.0 / np.sqrt(law.ratio)) ** 2
    left, right = law.edges()
    return (
        max(left, float(law.shifts[0]) + largest * min(float(values.min()), 0.0)),
        min(right, float(law.shifts[-1]) + largest * max(float(values.max()), 0.0)),
    )


def _cumulative(x: FloatArray, density: FloatArray) -> FloatArray:
    """Compute the fraction of the continuous mass below each grid point."""
    steps = 0.5 * (density[1:] + density[:-1]) * np.diff(x)
    cumulative = np.concatenate([[0.0], np.cumsum(steps)])
    total = cumulative[-1]
    return np.asarray(cumulative / total) if total > 0 else np.linspace(0.0, 1.0, len(x))
