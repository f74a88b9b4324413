"""The law of H = (1/n) sum_i D_i (x) x_i x_i^T + shift I: weights in, spectrum out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from math import comb
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rmt import near_zero as _near_zero
from rmt import outliers as _outliers
from rmt import span as _span
from rmt import stieltjes as _stieltjes
from rmt._blas import single_threaded_blas
from rmt._packing import Array, Atoms, CArray
from rmt._validation import check_array, check_complex, check_integer, check_real
from rmt.edges import EdgePoint, Edges, RealBranch, real_branch, scalar_intervals
from rmt.outliers import Outlier, by_rank
from rmt.span import Span
from rmt.status import NumericalFailure, Status

__all__ = ["HessianLaw"]

_T = TypeVar("_T")
# Outside these bounds squares and cubes of the weights are near the ends of double precision.
_ORDINARY: Final = (1e-60, 1e60)
_FAR: Final = 1e30  # in units of the weights: c = -1 / (ratio z) to all digits
_TINY: Final = 1e-280  # smaller weights, in units of the largest, are set to this size
_LARGEST_HARD: Final = 1e5
_STDERR_NAMES: Final = ("left_edge", "right_edge", "hard_gap", "smallest_eigenvalue")


def _symmetric(value: ArrayLike, name: str, *, allow_empty: bool = False) -> Array:
    """Validate (N,) or (N, m, m) symmetric weights; return (N, m, m)."""
    array = check_array(name, value)
    if array.ndim == 1:
        array = array[:, None, None]
    if array.ndim != 3 or array.shape[1] != array.shape[2]:
        raise ValueError(f"{name} must have shape (N,) or (N, m, m), got {np.shape(value)}")
    if array.shape[0] == 0 and not allow_empty:
        raise ValueError(f"{name} must hold at least one weight, got an empty array")
    if array.shape[1] == 0:
        raise ValueError(f"{name} must have m >= 1, got shape {np.shape(value)}")
    transposed = array.transpose(0, 2, 1)
    gap = np.abs(array - transposed).max(axis=(1, 2), initial=0.0)
    allowed = 1e-8 * np.abs(array).max(axis=(1, 2), initial=0.0)
    if np.any(gap > allowed):
        worst = int(np.argmax(gap - allowed))
        raise ValueError(
            f"{name} must be symmetric matrices (relative tolerance 1e-8), "
            f"got an asymmetry of {gap[worst]:.3g} in {name}[{worst}]"
        )
    return np.asarray(0.5 * array + 0.5 * transposed)


def _frozen(array: _T) -> _T:
    if isinstance(array, np.ndarray):
        array.setflags(write=False)
    return array


class HessianLaw:
    """Limiting spectral law of ``H = (1/n) sum_i D_i (x) x_i x_i^T + shift I``.

    D_i are independent copies of a random symmetric (m, m) matrix D of any sign, the x_i are
    standard normal in d dimensions and independent of the D_i, and n/d = ratio as both grow.
    With latent coordinates z_h = Theta_h^T x that D depends on in a *hard* way, eigenvalues leave
    the bulk; the bulk itself does not feel them (Montanari & Wang, arXiv:2602.01434).

    Parameters
    ----------
    weights : (N,) or (N, m, m) array
        Atoms of the law of D: samples, or the nodes of a quadrature. Symmetric up to 1e-8.
    ratio : float
        n / d > 0.
    hard : (N, k_h) array, optional
        Hard latent coordinates of each sample, in units where z_h is standard normal. Needed for
        `hard_matrix`, `hard_gap` and `outliers`.
    probabilities : (N,) array, optional
        Masses of the atoms, non-negative with sum 1 (to 1e-9); uniform by default. An atom of
        mass zero has no effect at all.
    shift : float, optional
        Multiple of the identity added to H (weight decay).
    support : (S,) or (S, m, m) array, optional
        Points of the closed support of D beyond the atoms. They carry no mass, but hold the
        edges back: B + D >= 0 on the left and B - D >= 0 on the right must be true for them too.
        For m = 1 give the essential infimum and supremum of D where they are known.
    bounded_below, bounded_above : bool, optional
        Say False where D is unbounded: the left edge is then -infinity (the right +infinity),
        whatever the smallest sampled D, and no outlier exists on that side in the limit.
    groups : int or (N,) integer array, optional
        Independent randomisations of the weights, for error bars: a number R of equal contiguous
        groups, or the label of the group of each atom.
    replicates : sequence of HessianLaw, optional
        Alternative to ``groups``: the laws of independent randomisations, already made.
    span : Span or callable returning one, optional
        What the weights know of the inputs besides the hard directions; gives `outliers` in every
        direction. A callable is called when (and each time) the span is needed, and must not be a
        lambda if the law is to be pickled.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or range; the message names it.

    Notes
    -----
    All methods refer to H including ``shift``, except `hard_gap`, see there. A law is immutable
    and computes each quantity once.

    Examples
    --------
    Weights +1 and -1 with equal probability:

    >>> import numpy as np
    >>> import rmt
    >>> law = rmt.HessianLaw([1.0, -1.0], ratio=4.0)
    >>> left, right = law.edges()
    >>> bool(abs(left + right) < 1e-12)
    True
    >>> law.density(0.0).shape
    ()
    """

    def __init__(
        self,
        weights: ArrayLike,
        ratio: float,
        hard: ArrayLike | None = None,
        probabilities: ArrayLike | None = None,
        *,
        shift: float = 0.0,
        support: ArrayLike | None = None,
        bounded_below: bool = True,
        bounded_above: bool = True,
        groups: int | ArrayLike | None = None,
        replicates: Sequence[HessianLaw] = (),
        span: Span | Callable[[], Span] | None = None,
    ) -> None:
        self._weights = _frozen(_symmetric(weights, "weights"))
        n, m = self._weights.shape[:2]
        self._ratio = check_real("ratio", ratio, minimum=0.0, exclusive=True)
        self._shift = check_real("shift", shift)
        self._probabilities = _frozen(_masses(probabilities, n))
        self._hard = None if hard is None else _frozen(_hard_coordinates(hard, n))
        if support is None:
            points = np.empty((0, m, m))
        else:
            points = _symmetric(support, "support", allow_empty=True)
            if points.shape[1] != m:
                raise ValueError(
                    f"support must hold ({m}, {m}) matrices like weights, got {np.shape(support)}"
                )
        self._support = _frozen(points)
        for flag, name in ((bounded_below, "bounded_below"), (bounded_above, "bounded_above")):
            if not isinstance(flag, bool | np.bool_):
                raise ValueError(f"{name} must be True or False, got {flag!r}")
        self._bounded_below = bool(bounded_below)
        self._bounded_above = bool(bounded_above)
        self._given = _replicate_laws(replicates, m, self.k_hard)
        if self._given and groups is not None:
            raise ValueError("groups must be None where replicates are given, got both")
        self._groups = _frozen(_group_labels(groups, n))
        if self._groups is not None:
            for label in np.unique(self._groups):
                if not self._probabilities[self._groups == label].sum() > 0:
                    raise ValueError(f"groups must each have positive mass, got 0 in group {label}")
        if isinstance(span, Span):
            self._check_span(span)
        elif span is not None and not callable(span):
            raise ValueError(f"span must be a Span or a callable, got {type(span).__name__}")
        self._span = span
        self._judged: dict[str, tuple[Outlier, ...]] = {}

    # -- what it was made of -----------------------------------------------------------------

    @property
    def m(self) -> int:
        """Order of the weight matrices (number of neurons)."""
        return int(self._weights.shape[1])

    @property
    def k_hard(self) -> int:
        """Number of hard latent coordinates (0 if none were given)."""
        return 0 if self._hard is None else int(self._hard.shape[1])

    @property
    def ratio(self) -> float:
        """Ratio n / d."""
        return self._ratio

    @property
    def shift(self) -> float:
        """Multiple of the identity included in H."""
        return self._shift

    @property
    def weights(self) -> Array:
        """(N, m, m) atoms of D, read-only."""
        return self._weights

    @property
    def probabilities(self) -> Array:
        """(N,) masses of the atoms, read-only."""
        return self._probabilities

    @property
    def hard(self) -> Array | None:
        """(N, k_h) hard latent coordinates, read-only, or None."""
        return self._hard

    @property
    def span(self) -> Span | None:
        """Coordinates and gradients the weights depend on, or None.

        Raises
        ------
        ValueError
            If the span that the callable made does not fit the law.
        NumericalFailure
            Whatever the callable raises, if it has none to give.
        """
        if self._span is None or isinstance(self._span, Span):
            return self._span
        made = self._span()
        if not isinstance(made, Span):
            raise ValueError(f"span must return a Span, got {type(made).__name__}")
        self._check_span(made)
        return made

    def _check_span(self, span: Span) -> None:
        if span.n_samples != len(self._weights):
            raise ValueError(
                f"span must hold one column per weight, {len(self._weights)}, got {span.n_samples}"
            )
        if span.neurons is not None and len(span.neurons) != self.m:
            raise ValueError(
                f"span must have one row of neurons per neuron, {self.m}, got {len(span.neurons)}"
            )
        if span.hard.shape[1] != self.k_hard:
            raise ValueError(
                f"span must have as many hard directions as the law, {self.k_hard}, "
                f"got {span.hard.shape[1]}"
            )

    @property
    def support(self) -> Array:
        """(S, m, m) additional points of the support of D, read-only."""
        return self._support

    @property
    def status(self) -> Status:
        """How the computation of the edges, on which everything real rests, ended.

        The status of this law's edges if it is not SUCCESS, else that of the first of the
        ``replicates`` whose edges are not: an error bar over replicates rests on all of them.
        """
        statuses = [law.edges().status for law in (self, *self.replicates)]
        return next((status for status in statuses if not status.ok), Status.SUCCESS)

    def __repr__(self) -> str:
        return (
            f"HessianLaw(m={self.m}, atoms={self._weights.shape[0]}, ratio={self._ratio:g}, "
            f"k_hard={self.k_hard}, shift={self._shift:g})"
        )

    @cached_property
    def replicates(self) -> tuple[HessianLaw, ...]:
        """The independent randomisations behind this law: one law each; empty without any."""
        if self._groups is None:
            return self._given
        return tuple(self._restricted(self._groups == g) for g in np.unique(self._groups))

    def _restricted(self, mask: NDArray[np.bool_], support: Array | None = None) -> HessianLaw:
        p = self._probabilities[mask]
        return HessianLaw(
            self._weights[mask],
            self._ratio,
            None if self._hard is None else self._hard[mask],
            p / p.sum(),
            shift=self._shift,
            support=self._support if support is None else support,
            bounded_below=self._bounded_below,
            bounded_above=self._bounded_above,
            span=None if self._span is None else partial(self._restricted_span, mask),
        )

    def _restricted_span(self, mask: NDArray[np.bool_]) -> Span:
        span = self.span
        assert span is not None
        return span.restricted(mask)

    def stderr(
        self, name: Literal["left_edge", "right_edge", "hard_gap", "smallest_eigenvalue"]
    ) -> float:
        """Estimate the standard error of a scalar over the replicates.

        Parameters
        ----------
        name : {"left_edge", "right_edge", "hard_gap", "smallest_eigenvalue"}
            Which scalar.

        Returns
        -------
        float
            Standard deviation over the R replicates (``ddof=1``) divided by sqrt(R). It describes
            the spread, not the bias that an edge has from the extreme sampled weights. Zero where
            all replicates agree that the value is infinite, infinite where they disagree on that
            or where the value of one of them did not converge (see `status`).

        Raises
        ------
        ValueError
            With fewer than two replicates, or an unknown name.
        """
        if name not in _STDERR_NAMES:
            raise ValueError(f"name must be one of {', '.join(_STDERR_NAMES)}, got {name!r}")
        laws = self.replicates
        if len(laws) < 2:
            raise ValueError(
                f"groups or replicates must give at least 2 laws for stderr, got {len(laws)}"
            )
        read: dict[str, Callable[[HessianLaw], float]] = {
            "left_edge": lambda law: law._converged_edges[0],
            "right_edge": lambda law: law._converged_edges[1],
            "hard_gap": lambda law: law.hard_gap(throw=False),
            "smallest_eigenvalue": lambda law: law.smallest_eigenvalue(throw=False),
        }
        values = np.array([read[name](law) for law in laws])
        if not np.all(np.isfinite(values)):
            return 0.0 if np.all(values == values[0]) else np.inf
        return float(values.std(ddof=1) / np.sqrt(len(laws)))

    def edge_errors(self) -> tuple[float, float]:
        """Estimate the errors of both edges: sampling and dependence on the extreme weights.

        Returns
        -------
        left, right : float
            Root of the sum of squares of the standard error over replicates (zero without
            replicates) and the distance by which the edge moves if the most extreme atom is left
            out, see `edge_sensitivity` (zero for a law of one atom). Zero for an infinite edge;
            infinite for an edge that did not converge, or one of whose replicates did not.

        Notes
        -----
        These are errors of the edge of the limit. How far a matrix of finite size falls short of
        it, because it draws too few weights to meet the tail that holds the edge, is told by
        `tail_sensitivity`.
        """
        errors = []
        names: tuple[Literal["left_edge", "right_edge"], ...] = ("left_edge", "right_edge")
        converged = self._converged_edges
        single = np.count_nonzero(self._probabilities) == 1
        moved = (0.0, 0.0) if single else self.edge_sensitivity()
        for name, edge, move in zip(names, converged, moved, strict=True):
            if np.isnan(edge):
                errors.append(np.inf)
                continue
            sampling = self.stderr(name) if len(self.replicates) > 1 else 0.0
            errors.append(float(np.hypot(sampling, move)) if np.isfinite(edge) else 0.0)
        return errors[0], errors[1]

    @cached_property
    def _converged_edges(self) -> tuple[float, float]:
        """Edges, infinite ones included; NaN in place of one that did not converge."""
        known = (Status.SUCCESS, Status.UNBOUNDED_EDGE)
        edges = self.edges()
        left, right = (
            edge if status in known else np.nan
            for edge, status in zip(edges, edges.sides, strict=True)
        )
        return left, right

    # -- private parts, computed once --------------------------------------------------------

    @cached_property
    def _size(self) -> float:
        """Largest entry of a weight that carries mass."""
        return float(np.abs(self._weights[self._probabilities > 0]).max())

    @cached_property
    def _unit(self) -> float:
        """Power of two in whose units the bulk is computed; 1 unless the weights are extreme.

        The law of c D is that of D times c, so this changes no digit.
        """
        return _power_of_two(self._size)

    @cached_property
    def _far(self) -> float:
        """Modulus of z - shift beyond which c = -1 / (ratio z) to all digits."""
        size = self._size * (1.0 + 1.0 / self._ratio)
        return _FAR * size if 0.0 < size < 1e270 else np.inf

    def _atoms_in(self, unit: float) -> Atoms:
        hard = self._hard if self.k_hard and self._hard_in_range else None
        weights = self._weights
        if unit != 1.0:
            weights = weights / unit
            # What would vanish keeps its rank.
            size = np.abs(self._weights).max(axis=(1, 2))
            lost = (size > 0) & (size / unit < _TINY)
            weights[lost] = _TINY * (self._weights[lost] / size[lost, None, None])
        return Atoms.build(weights, self._probabilities, hard, self._ratio)

    @cached_property
    def _hard_in_range(self) -> bool:
        """Whether squares of the hard coordinates, which nothing scales, are harmless."""
        return self._hard is None or float(np.abs(self._hard).max(initial=0.0)) <= _LARGEST_HARD

    @cached_property
    def _atoms(self) -> Atoms:
        return self._atoms_in(self._unit)

    def _branch(self, sign: float) -> tuple[RealBranch, float]:
        """Left (right) side of the law for sign 1 (-1), and the unit it is computed in."""
        support = sign * self._support
        # B > 0 anyway: only points below zero hold the edge back.
        support = support[np.linalg.eigvalsh(support)[:, 0] < 0.0]
        unit = _power_of_two(max(self._size, float(np.abs(support).max(initial=0.0))))
        atoms = self._atoms if unit == self._unit else self._atoms_in(unit)
        if unit != 1.0:
            support = support / unit
        return real_branch(atoms if sign > 0 else atoms.reflected(), support), unit

    @cached_property
    def _left_side(self) -> tuple[RealBranch, float]:
        return self._branch(1.0)

    @cached_property
    def _right_side(self) -> tuple[RealBranch, float]:
        return self._branch(-1.0)

    @property
    def _left(self) -> RealBranch:
        return self._left_side[0]

    @property
    def _right(self) -> RealBranch:
        return self._right_side[0]

    # -- the bulk ----------------------------------------------------------------------------

    @cached_property
    def _edges(self) -> Edges:
        residual = 0.0
        left, right = -np.inf, np.inf
        sides = [Status.UNBOUNDED_EDGE, Status.SUCCESS]
        if self._bounded_above:
            branch, unit = self._right_side
            right = self._shift - unit * branch.edge.value
            residual = unit * branch.edge.residual
            sides[1] = branch.edge.status
        if self._bounded_below:
            branch, unit = self._left_side
            left = self._shift + unit * branch.edge.value
            residual = max(residual, unit * branch.edge.residual)
            sides[0] = branch.edge.status
        return Edges(left, right, (sides[0], sides[1]), residual)

    def edges(self) -> Edges:
        """Left and right edge of the support of the bulk, atoms at zero included.

        The left edge is the maximum over symmetric B > 0, B + D > 0 of lambda_min(F(B)),
        F(B) = E[D - D (B + D)^{-1} D] - B/ratio; the right edge is the reflection of that
        (Montanari & Wang, arXiv:2602.01434). F is a multiple of I at the optimum.

        Returns
        -------
        Edges
            ``left, right = law.edges()``, with ``.status``, ``.sides`` (the status of each edge)
            and ``.residual``. The status is ``UNBOUNDED_EDGE`` for a left edge at -inf; a right
            edge at +inf is a success. An edge with any other status is a bound from outside: the
            spectrum ends there or further in.
        """
        return self._edges

    def edge_sensitivity(self, count: int = 1) -> tuple[float, float]:
        """Movement of the edges when the most extreme atoms are left out.

        Edges of a sampled law are biased by the extreme samples, which `stderr` does not show: a
        movement that is not small compared with the accuracy wanted asks for more samples, a
        quadrature, or ``support`` points.

        Parameters
        ----------
        count : int, optional
            How many atoms to leave out: on the left those whose smallest eigenvalue is lowest, on
            the right those whose largest eigenvalue is highest.

        Returns
        -------
        (float, float)
            Left and right edge without those atoms (masses renormalised) minus the edges with
            them; 0 where D is unbounded on that side, infinite where one of the two edges did not
            converge.

        Raises
        ------
        ValueError
            If count is not at least 1 and below the number of atoms of positive mass.
        """
        mass = self._probabilities > 0
        available = int(np.count_nonzero(mass))
        count = check_integer("count", count)
        if not 1 <= count < available:
            raise ValueError(f"count must be from 1 to {available - 1}, got {count}")
        return self._edges_without(lambda order: order[:count], self._support)

    def tail_sensitivity(self, mass: float = 0.0) -> tuple[float, float]:
        """Movement of the edges when the tails of D are left out: how thinly they are held.

        A matrix of finite size draws n weights. It does not feel ``support`` points, nor atoms
        that lie so far out that none of n draws is likely to meet them; where these hold an edge,
        the spectrum of the matrix ends short of the edge of the limit, by about the movement at
        ``mass = 1 / n``.

        Parameters
        ----------
        mass : float, optional
            How much of the law to leave out besides the support: on the left the atoms whose
            smallest eigenvalue is lowest, on the right those whose largest eigenvalue is highest,
            as many as have this much mass together at most. None of them by default.

        Returns
        -------
        (float, float)
            Left and right edge of the law of the remaining atoms (masses renormalised) minus the
            edges with all; 0 where D is unbounded on that side, infinite where one of the two
            edges did not converge.

        Raises
        ------
        ValueError
            If mass is not at least 0 and below 1.

        Examples
        --------
        The left edge of spectral phase retrieval rests on weights -1, reached only as z grows:

        >>> from rmt.closed_forms import SpectralPhaseRetrieval
        >>> law = SpectralPhaseRetrieval(0.25).law()
        >>> [round(law.tail_sensitivity(mass)[0], 3) for mass in (0.0, 1e-3, 1e-1)]
        [0.005, 0.078, 1.198]
        """
        tail = check_real("mass", mass)
        if not 0 <= tail < 1:
            raise ValueError(f"mass must be at least 0 and below 1, got {mass!r}")

        def thin(order: NDArray[np.intp]) -> NDArray[np.intp]:
            return order[np.cumsum(self._probabilities[order]) <= tail]

        return self._edges_without(thin, self._support[:0])

    def _edges_without(
        self, choose: Callable[[NDArray[np.intp]], NDArray[np.intp]], support: Array
    ) -> tuple[float, float]:
        """Edges of the law without some atoms, minus the edges.

        ``choose`` is given the atoms of positive mass, the most extreme one first.
        """
        mass = self._probabilities > 0
        values = np.linalg.eigvalsh(self._weights)
        moved = []
        for bounded, key, side in (
            (self._bounded_below, values[:, 0], 0),
            (self._bounded_above, -values[:, -1], 1),
        ):
            if not bounded:
                moved.append(0.0)
                continue
            order = np.argsort(np.where(mass, key, np.inf), kind="stable")
            keep = mass.copy()
            keep[choose(order[: np.count_nonzero(mass)])] = False
            move = 0.0
            if not (np.array_equal(keep, mass) and len(support) == len(self._support)):
                rest = self._restricted(keep, support)
                move = rest._converged_edges[side] - self._converged_edges[side]
            moved.append(np.inf if np.isnan(move) else move)
        return moved[0], moved[1]

    def matrix_stieltjes(self, z: ArrayLike, *, throw: bool = True) -> CArray:
        """Solve for the (m, m) matrix c(z) of the law.

        Parameters
        ----------
        z : complex array of any shape
            On the real axis the limit from above is meant (outside the bulk both limits agree);
            for Im z < 0 the result is the conjugate of that at conj(z).
        throw : bool, optional
            If False, points that could not be solved hold NaN instead of raising.

        Returns
        -------
        (..., m, m) complex array
            c(z) ~ -1 / (ratio z) at infinity, complex symmetric, Im c > 0 for Im z > 0.

        Raises
        ------
        ValueError
            If z is not finite, or is the position of the atom at zero.
        NumericalFailure
            If a point could not be solved on the physical branch.
        """
        return self._solve(z, throw)[0]

    def _solve(self, z: ArrayLike, throw: bool) -> tuple[CArray, CArray]:
        points = check_complex("z", z)
        with np.errstate(over="ignore"):
            flat = points.ravel() - self._shift
        if np.any(flat == 0) and (self.atom_at_zero() > 0 or self._zero.diverges):
            reason = (
                f"the law has an atom of mass {self.atom_at_zero():.6g} and s(z) a pole"
                if self.atom_at_zero() > 0
                else "s(z) diverges"
            )
            raise ValueError(f"z must avoid {self._shift!r}, where {reason}")
        lower = flat.imag < 0
        flat = np.where(lower, flat.conj(), flat)
        c: CArray = np.empty((flat.size, self.m, self.m), dtype=np.complex128)
        modulus = np.maximum(np.abs(flat.real), flat.imag)
        far = modulus > self._far
        with np.errstate(over="ignore", under="ignore"):
            c[far] = (_reciprocal(-flat[far]) / self._ratio)[:, None, None] * np.eye(self.m)
        near = flat[~far] if self._unit == 1.0 else flat[~far] / self._unit
        branch = _stieltjes.solve(self._atoms, near)
        if throw and not branch.status.ok:
            bad = points.ravel()[~far][~branch.ok]
            raise NumericalFailure(
                branch.status, f"({bad.size} of {flat.size} points, the first is z = {bad[0]})"
            )
        b = np.where(branch.ok[:, None, None], branch.b, np.eye(self.m))
        solved: CArray = np.linalg.inv(b).astype(np.complex128)
        solved[~branch.ok] = np.nan
        if self._unit != 1.0:
            with np.errstate(over="ignore", under="ignore"):
                solved = (solved.view(np.float64) / self._unit).view(np.complex128)
        c[~far] = solved
        c[lower] = c[lower].conj()
        return c.reshape(*points.shape, self.m, self.m), points

    def stieltjes(self, z: ArrayLike, *, throw: bool = True) -> CArray:
        """Stieltjes transform s(z) = E[1 / (lambda - z)] = ratio tr c(z) / m.

        Parameters
        ----------
        z : complex array of any shape
            On the real axis the limit from above is meant.
        throw : bool, optional
            If False, points that could not be solved hold NaN instead of raising.

        Returns
        -------
        complex array of the shape of z
            s(z), normalised so that s(z) ~ -1/z at infinity.

        Raises
        ------
        ValueError
            If z is not finite, or is the position of the atom at zero.
        NumericalFailure
            If a point could not be solved on the physical branch.

        Examples
        --------
        Marchenko-Pastur at ratio 1 and z = -1, where s solves z s^2 + z s + 1 = 0:

        >>> import rmt
        >>> s = rmt.HessianLaw([1.0], ratio=1.0).stieltjes(-1.0)
        >>> bool(abs(s - (5**0.5 - 1) / 2) < 1e-12)
        True
        """
        c, points = self._solve(z, throw)
        s = np.asarray(self._ratio / self.m * np.trace(c, axis1=-2, axis2=-1)).ravel()
        lost = (s == 0) & (points.ravel() != 0)  # c underflows where s does not
        if np.any(lost):
            with np.errstate(over="ignore", under="ignore"):
                s[lost] = _reciprocal(self._shift - points.ravel()[lost])
        return s.reshape(points.shape)

    def density(self, x: ArrayLike, *, throw: bool = True) -> Array:
        """Density of the continuous part of the spectrum, Im s(x + i0) / pi.

        Parameters
        ----------
        x : real array of any shape
            Eigenvalues; zero is returned outside the edges.
        throw : bool, optional
            If False, points that could not be solved hold NaN instead of raising.

        Returns
        -------
        float array of the shape of x
            Non-negative; integrates to 1 - `atom_at_zero`. At ``x = shift`` itself, where an atom
            may sit, the density to its right; +inf where the density diverges there, as at the
            hard edge of Marchenko-Pastur at ratio 1 (in general: where a further kernel is about to
            open, for m = 1 at ratio P(D != 0) = 1).

        Raises
        ------
        ValueError
            If x is not real and finite.
        NumericalFailure
            If a point could not be solved on the physical branch; with status UNRESOLVED, if a
            point is so close to an atom at ``shift`` that rounding hides the density there.
        """
        points = check_array("x", x)
        left, right = self.edges()
        out = np.zeros(points.shape)
        inside = (points > left) & (points < right)
        diverges = np.zeros(points.shape, dtype=bool)
        if np.any(points == self._shift):
            diverges = (points == self._shift) & self._zero.diverges
        inside &= ~diverges
        if np.any(inside):
            x0 = points[inside] - self._shift
            moved, resolved = self._clear_of_zero(x0, "density", throw)
            z = np.where(moved == x0, points[inside], self._shift + moved)
            values = np.maximum(self.stieltjes(z, throw=throw).imag / np.pi, 0.0)
            out[inside] = np.where(resolved, values, np.nan)
        out[diverges] = np.inf
        return out

    def support_intervals(self) -> list[tuple[float, float]]:
        """Intervals that carry the continuous spectrum, for m = 1.

        The outer ends are those of `edges`, unless an atom at zero lies outside the continuous
        part. ``support`` points do not act on interior edges.

        Returns
        -------
        list of (float, float)
            Ascending; empty if D = 0.

        Raises
        ------
        ValueError
            For m > 1.

        Examples
        --------
        >>> import rmt
        >>> law = rmt.HessianLaw([1.0, 10.0], ratio=0.05)
        >>> [(round(a, 2), round(b, 2)) for a, b in law.support_intervals()]
        [(13.72, 26.17), (142.32, 268.79)]
        """
        if self.m != 1:
            raise ValueError(f"support_intervals needs scalar weights (m = 1), got m = {self.m}")
        intervals = scalar_intervals(self._atoms)
        if not intervals:
            return []
        left, right = (edge - self._shift for edge in self.edges())
        if left < min(0.0, intervals[0][0]) or left > intervals[0][0]:
            intervals[0] = (left, intervals[0][1])
        if right > max(0.0, intervals[-1][1]) or right < intervals[-1][1]:
            intervals[-1] = (intervals[-1][0], right)
        return [(a + self._shift, b + self._shift) for a, b in intervals]

    def cdf(self, x: ArrayLike, *, throw: bool = True) -> Array:
        """Fraction of eigenvalues up to x, the atom at zero included.

        Computed in closed form from the solution at x itself, not by integrating a density.

        Parameters
        ----------
        x : real array of any shape
        throw : bool, optional
            If False, points that could not be solved hold NaN instead of raising.

        Returns
        -------
        float array of the shape of x
            In [0, 1]. Next to an atom at ``shift`` it is exact to 1e-6.

        Raises
        ------
        ValueError
            If x is not real and finite.
        NumericalFailure
            If a point could not be solved on the physical branch; with status UNRESOLVED, if a
            point is so close to ``shift`` that rounding hides how much of the law lies in between.

        Examples
        --------
        >>> import rmt
        >>> float(rmt.HessianLaw([1.0, -1.0], ratio=4.0).cdf(0.0).round(12))
        0.5
        """
        points = check_array("x", x)
        left, right = self.edges()
        with np.errstate(over="ignore"):
            distance = points - self._shift
        # A support point can hold an edge where nothing of the law is left.
        out = np.where((points >= right) | (distance > self._far), 1.0, 0.0)
        inside = (points > left) & (points < right) & (np.abs(distance) <= self._far)
        if self.atom_at_zero() > 0 and left == self._shift:
            inside |= points == left
        if np.any(inside):
            x0 = distance[inside]
            moved, resolved = self._clear_of_zero(x0, "cdf", throw)
            near = moved if self._unit == 1.0 else moved / self._unit
            values, _, ok = _stieltjes.distribution(self._atoms, near)
            if np.any(moved != x0):
                # What is not resolved is spread evenly.
                core = self._core_of_cdf
                values -= 0.5 * core.mass * (moved - x0) / (core.radius * self._unit)
            if throw and not ok.all():
                raise NumericalFailure(Status.UNPHYSICAL_BRANCH, f"({(~ok).sum()} points)")
            # Adding zero turns a negative zero into a positive one.
            out[inside] = np.where(ok & resolved, np.clip(values, 0.0, 1.0) + 0.0, np.nan)
        return out

    def quantiles(self, q: ArrayLike, *, throw: bool = True) -> Array:
        """Eigenvalues below which the fractions q of the spectrum lie.

        Parameters
        ----------
        q : real array of any shape
            Fractions strictly between 0 and 1.
        throw : bool, optional
            If False, quantiles that could not be found hold NaN instead of raising.

        Returns
        -------
        float array of the shape of q
            Inverse of `cdf` by bisection; ``shift`` for fractions that fall into the atom.

        Raises
        ------
        ValueError
            If a fraction is not in (0, 1), or an edge is infinite.
        NumericalFailure
            As for `cdf`.
        """
        levels = check_array("q", q)
        if np.any((levels <= 0) | (levels >= 1)):
            raise ValueError("q must lie strictly between 0 and 1")
        left, right = self.edges()
        status, detail = self._edge_trouble()
        if not (np.isfinite(left) and np.isfinite(right)) and not status.ok:
            if throw:
                raise NumericalFailure(status, detail)
            return np.full(levels.shape, np.nan)
        if not (np.isfinite(left) and np.isfinite(right)):
            raise ValueError(f"q needs a bounded spectrum, the edges are ({left!r}, {right!r})")
        low, high = np.full(levels.shape, left), np.full(levels.shape, right)
        lost = np.zeros(levels.shape, dtype=bool)
        for _ in range(52):
            middle = 0.5 * low + 0.5 * high
            below = self.cdf(middle, throw=throw)
            lost |= np.isnan(below)
            above = below >= levels
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        middle = 0.5 * low + 0.5 * high
        if self.atom_at_zero() > 0:
            upto = float(self.cdf(self._shift, throw=throw))
            # A fraction that differs by rounding from the boundary is beside the atom.
            inside = (levels <= upto) & (levels > upto - self.atom_at_zero() + 1e-12)
            middle, lost = np.where(inside, self._shift, middle), lost & ~inside
        return np.where(lost, np.nan, middle)

    def _clear_of_zero(
        self, x0: Array, quantity: Literal["cdf", "density"], throw: bool
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Move points too close to the eigenvalue zero outwards, to where the law is resolved.

        Returns the points, and whether the answer there holds at the points asked for.
        """
        if not np.any(np.abs(x0) < self._outermost):
            return x0, np.ones(x0.shape, dtype=bool)
        core = self._core_of_cdf if quantity == "cdf" else self._core_of_density
        radius = core.radius * self._unit
        known = core.smooth if quantity == "density" else core.mass <= core.allowed
        resolved = (np.abs(x0) >= radius) | known
        if throw and not resolved.all():
            raise NumericalFailure(
                Status.UNRESOLVED,
                f"({(~resolved).sum()} points closer than {radius:.2g} to {self._shift!r}, where "
                f"rounding hides a mass of {core.mass:.2g})",
            )
        return _near_zero.moved_out(x0, radius), resolved

    @cached_property
    def _outermost(self) -> float:
        return self._unit * _near_zero.outermost(self._atoms, self.atom_at_zero())

    @cached_property
    def _core_of_cdf(self) -> _near_zero.Core:
        core = _near_zero.core(self._atoms, self.atom_at_zero(), "cdf")
        if core.mass > core.allowed and self._core_of_density.smooth:
            return self._core_of_density
        return core

    @cached_property
    def _core_of_density(self) -> _near_zero.Core:
        return _near_zero.core(self._atoms, self.atom_at_zero(), "density")

    @cached_property
    def _zero(self) -> _stieltjes.Zero:
        return _stieltjes.eigenvalue_zero(self._atoms)

    def atom_at_zero(self) -> float:
        """Mass of the eigenvalue 0 of H - shift I, a consequence of rank.

        For m = 1 this is max(0, 1 - ratio P(D != 0)); in general it is the maximum over subspaces
        V of R^m of (dim V - ratio E[rank(D V)]) / m.
        """
        return self._zero.mass

    def moments(self, order: int) -> Array:
        """Exact moments E[lambda^1], ..., E[lambda^order] of the law (atom at zero included).

        Parameters
        ----------
        order : int
            Largest power, at least 1.

        Returns
        -------
        (order,) array
            Normalised traces of the powers of H; infinite beyond the range of double precision.

        Raises
        ------
        NumericalFailure
            With status NONFINITE, if sums on the way overflow and the result is undefined.
        """
        order = check_integer("order", order, minimum=1)
        unit = _power_of_two(max(self._size, abs(self._shift)))
        weights = self._weights if unit == 1.0 else self._weights / unit
        shift = self._shift / unit
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            raw = _stieltjes.moments(weights, self._probabilities, self._ratio, order)
            raw = np.concatenate([[1.0], raw])
            if shift != 0.0:
                raw = np.array(
                    [
                        sum(comb(k, j) * shift ** (k - j) * raw[j] for j in range(k + 1))
                        for k in range(order + 1)
                    ]
                )
            out = raw[1:]
            if unit != 1.0:
                out = np.ldexp(out, int(np.log2(unit)) * np.arange(1, order + 1))
        if np.isnan(out).any():
            raise NumericalFailure(Status.NONFINITE, "(moments)")
        return out

    def sample_matrix(self, d: int, seed: int | np.random.Generator) -> Array:
        """Draw H at finite dimension, to look at or to compare with.

        Parameters
        ----------
        d : int
            Dimension of the inputs, at least ``max(k_hard, 1)``; n = round(ratio d) samples,
            at least one.
        seed : int or numpy.random.Generator
            Source of randomness.

        Returns
        -------
        (m d, m d) array
            ``(1/n) sum_i D_i (x) x_i x_i^T + shift I``, row a d + j for neuron a and input j. Every
            atom appears n p_i times up to rounding (systematic sampling). With ``hard`` given, the
            first k_h inputs of a sample are its hard coordinates, the others standard normal.

        Examples
        --------
        >>> import rmt
        >>> law = rmt.HessianLaw([1.0, -1.0], ratio=2.0)
        >>> law.sample_matrix(5, seed=0).shape
        (5, 5)
        """
        d = check_integer("d", d, minimum=max(1, self.k_hard))
        if not isinstance(seed, np.random.Generator):
            seed = check_integer("seed", seed, minimum=0, maximum=None)
        rng = np.random.default_rng(seed)
        n = max(1, round(self._ratio * d))
        levels = (rng.permutation(n) + rng.random()) / n
        drawn = np.searchsorted(np.cumsum(self._probabilities), levels, side="right")
        drawn = np.minimum(drawn, np.flatnonzero(self._probabilities)[-1])
        x = rng.standard_normal((n, d))
        if self._hard is not None:
            x[:, : self.k_hard] = self._hard[drawn]
        m = self.m
        h = np.empty((m, d, m, d))
        for a in range(m):
            for b in range(a + 1):
                block = (x.T * self._weights[drawn, a, b]) @ x / n
                h[a, :, b, :] = block
                h[b, :, a, :] = block.T
        matrix = h.reshape(m * d, m * d)
        matrix = 0.5 * (matrix + matrix.T)
        matrix[np.diag_indices(m * d)] += self._shift
        return matrix

    # -- hard directions ---------------------------------------------------------------------

    def _require_hard(self) -> None:
        if self._hard is None:
            raise ValueError("hard must be given to HessianLaw for this quantity, got None")

    def hard_matrix(self, z: float) -> Array:
        """A_h(z) = E[(I + D c)^{-1} D (x) z_h z_h^T] - z I, whose zeros are outliers.

        Parameters
        ----------
        z : float
            Not inside the bulk: at most the left or at least the right edge.

        Returns
        -------
        (m k_h, m k_h) array
            Symmetric; decreasing in z. Row a k_h + j belongs to neuron a, hard coordinate j.

        Raises
        ------
        ValueError
            If hard was not given or z lies between the edges.
        NumericalFailure
            As for `hard_gap`.
        """
        self._require_hard()
        point = check_real("z", z)
        left, right = self.edges()
        if left < point < right or not (self._bounded_below or self._bounded_above):
            raise ValueError(f"z must lie outside the bulk ({left!r}, {right!r}), got {z!r}")
        if self.k_hard == 0:
            return np.empty((0, 0))
        self._check_hard_range()
        with np.errstate(over="ignore"):
            x = point - self._shift
        if point <= left:
            return self._hard_matrix_below(x, *self._left_side)
        return -self._hard_matrix_below(-x, *self._right_side)

    def _check_hard_range(self) -> None:
        if not self._hard_in_range:
            largest = float(np.abs(self._hard).max()) if self._hard is not None else 0.0
            raise NumericalFailure(
                Status.UNRESOLVED, f"(hard coordinates of a standard normal up to {largest:.2g})"
            )

    def _hard_matrix_below(self, x: float, branch: RealBranch, unit: float) -> Array:
        """A_h(x) of a branch, in the frame of H - shift."""
        if abs(x) > self._far:
            a = _outliers.distant_matrix(branch.atoms) * unit
            return np.asarray(a - x * np.eye(len(a)))
        x /= unit
        return _outliers.hard_matrix(branch.atoms, branch.solve(x), x) * unit

    @cached_property
    def _gap(self) -> tuple[float, Status, str]:
        if not self._bounded_below or self.k_hard == 0:
            return np.inf, Status.SUCCESS, ""
        branch, unit = self._left_side
        edge: EdgePoint = branch.edge
        if not edge.status.ok:
            return np.nan, edge.status, "(left edge)"
        z0 = min(unit * edge.value, -self._shift)
        try:
            self._check_hard_range()
            gap = float(np.linalg.eigvalsh(self._hard_matrix_below(z0, branch, unit))[0])
            b = edge.b if abs(z0) > self._far else branch.solve(z0 / unit)
        except NumericalFailure as failure:
            return np.nan, failure.status, failure.detail
        # Where c has a pole at z0 = 0 the gap is exactly zero, and rounding has no sign.
        scale = abs(z0) + float(np.abs(b).max()) * unit
        return 0.0 if abs(gap) <= 1e-14 * scale else gap, Status.SUCCESS, ""

    def hard_gap(self, *, throw: bool = True) -> float:
        """Smallest eigenvalue of A_h(z0), z0 = min(left edge, -shift) in the frame of H - shift I.

        Parameters
        ----------
        throw : bool, optional
            If False, a gap that rests on a left edge that did not converge is NaN instead of
            raising.

        Returns
        -------
        float
            Negative if and only if H has a negative outlier in a hard direction, and continuous
            through the transition (Montanari & Wang, arXiv:2602.01434). +inf where D is
            unbounded below, or without hard directions: no such outlier exists.

        Raises
        ------
        ValueError
            If hard was not given.
        NumericalFailure
            With the status of the left edge if that did not converge; with UNRESOLVED if the
            hard coordinates are too large (beyond 1e5) for the answer to have digits.
        """
        self._require_hard()
        gap, status, detail = self._gap
        if throw and not status.ok:
            raise NumericalFailure(status, detail)
        return gap

    # -- outliers ----------------------------------------------------------------------------

    def _sides(self) -> Iterator[tuple[Literal["left", "right"], float, RealBranch]]:
        """Name, signed unit and branch of each side that has an end, and a known one."""
        sides = self.edges().sides
        if self._bounded_below and sides[0] is not Status.UNRESOLVED:
            yield "left", self._left_side[1], self._left
        if self._bounded_above and sides[1] is not Status.UNRESOLVED:
            yield "right", -self._right_side[1], self._right

    def _edge_trouble(self) -> tuple[Status, str]:
        """Status of the first edge that has one but did not converge."""
        for name, status in zip(("left", "right"), self.edges().sides, strict=True):
            if not (status.ok or status is Status.UNBOUNDED_EDGE):
                return status, f"({name} edge)"
        return Status.SUCCESS, ""

    @cached_property
    def _hard_outliers(self) -> tuple[tuple[Outlier, ...], Status, str]:
        """Those found, ascending, and whether they can be relied on.

        An edge that did not converge is a bound from outside: what lies beyond it is an outlier,
        but others may lie between it and the edge.
        """
        status, detail = self._edge_trouble()
        found: list[Outlier] = []
        if self.k_hard:
            try:
                self._check_hard_range()
                for side, unit, branch in self._sides():
                    for value, overlap, vector in _outliers.outliers_below(branch):
                        value = self._shift + unit * value
                        latent = overlap * np.sum(vector**2, axis=0)
                        found.append(Outlier(value, overlap, vector, side, overlap, latent))
            except NumericalFailure as failure:
                status, detail = failure.status, failure.detail
        return tuple(sorted(found, key=lambda outlier: outlier.value)), status, detail

    @cached_property
    def _all_outliers(self) -> tuple[tuple[Outlier, ...], Status, str]:
        """All outliers (only the hard ones if the status is not SUCCESS), status and detail."""
        hard, status, detail = self._hard_outliers
        try:
            span = self.span
        except NumericalFailure as failure:
            return hard, failure.status, failure.detail
        assert span is not None
        # Hard outliers do not feel the rest; they get the overlaps the span can tell.
        found = [
            _described(span, o.value, o.span_overlap, o.vector @ span.hard.T, o.side, True)
            for o in hard
        ]
        rest: list[Outlier] = []
        if status.ok:
            mass = self._probabilities > 0
            aligned = span if mass.all() else span.restricted(mass)
            try:
                with single_threaded_blas():
                    rest = [
                        _described(
                            span, self._shift + unit * o.value, o.overlap, o.vector, side, False
                        )
                        for side, unit, branch in self._sides()
                        for o in _span.outliers_below(branch, aligned)
                    ]
            except NumericalFailure as failure:
                status, detail = failure.status, failure.detail
        return tuple(sorted(found + rest, key=lambda outlier: outlier.value)), status, detail

    def _directions(self, directions: str | None) -> str:
        if directions is None:
            directions = "hard" if self._span is None else "all"
        if directions not in ("all", "hard"):
            raise ValueError(f"directions must be 'all' or 'hard', got {directions!r}")
        if directions == "hard":
            self._require_hard()
        elif self._span is None:
            raise ValueError("span must be given to HessianLaw for outliers in all directions")
        return directions

    def outliers(
        self, directions: Literal["all", "hard"] | None = None, *, throw: bool = True
    ) -> list[Outlier]:
        """Eigenvalues outside the bulk, both sides, ascending.

        Outliers in hard directions are decoupled from all others (an eigenvector lies in the hard
        directions or across them) and need the hard coordinates only. All others are the zeros of
        det A(z),

            A(z) = E[(D - D Y D) (x) q q^T] + U W^{-1} U^T - z I,     Y = (B + D)^{-1},
            W = E[Y (x) ghat ghat^T],    U = E[D Y (x) q ghat^T],

        with the coordinates q and gradients ghat of the span (Montanari & Wang, arXiv:2602.01434).

        Parameters
        ----------
        directions : {"all", "hard"}, optional
            Which ones; by default all if the law has a span, otherwise the hard ones.
        throw : bool, optional
            If False, a computation that is not reliable returns the hard outliers alone, and
            `outlier_status` says why.

        Returns
        -------
        list of Outlier
            Near the edge a sampled law can show an outlier that is noise: where the law has
            replicates, `Outlier.separated` says whether it is told from the edge.

        Raises
        ------
        ValueError
            If the law has neither span nor hard coordinates, or not what ``directions`` needs.
        NumericalFailure
            With status ILL_CONDITIONED, if directions of weight above 1e-4 are missing from the
            span (`Span.defect`), or its gradients are linearly dependent to 1e-10; with the status
            of an edge that did not converge, as outliers may hide next to it.
        """
        which = self._directions(directions)
        status, detail = self._outliers_of(which)[1:]
        if throw and not status.ok:
            raise NumericalFailure(status, detail)
        if which not in self._judged:
            self._judged[which] = self._judge(self._outliers_of(which)[0], which)
        return list(self._judged[which])

    def _outliers_of(self, which: str) -> tuple[tuple[Outlier, ...], Status, str]:
        return self._hard_outliers if which == "hard" else self._all_outliers

    def _judge(self, found: tuple[Outlier, ...], which: str) -> tuple[Outlier, ...]:
        """Outliers with `Outlier.separated` from the replicates."""
        laws = self.replicates
        if len(laws) < 2 or not found:
            return found
        if all(outlier.hard_overlap > 0 for outlier in found):
            which = "hard"  # the same ones, at a fraction of the cost
        others = [by_rank(law._outliers_of(which)[0]) for law in laws]
        ends, errors = self.edges(), self.edge_errors()
        judged = []
        for key, outlier in by_rank(found).items():
            end = 0 if outlier.side == "left" else 1
            # A replicate that lacks it has it at the edge, where outliers emerge.
            values = [
                other[key].value if key in other else law.edges()[end]
                for other, law in zip(others, laws, strict=True)
            ]
            error = float(np.std(values, ddof=1) / np.sqrt(len(laws))) + errors[end]
            apart = bool(abs(outlier.value - ends[end]) > error)
            judged.append(replace(outlier, separated=apart))
        return tuple(judged)

    @property
    def outlier_status(self) -> Status:
        """SUCCESS, or why `outliers` cannot be relied on. Computes the outliers.

        Those in all directions where the law has a span, otherwise the hard ones.
        """
        if self._span is not None:
            return self._all_outliers[1]
        return self._hard_outliers[1] if self._hard is not None else Status.SUCCESS

    def outlier_stderr(
        self, directions: Literal["all", "hard"] | None = None, *, throw: bool = True
    ) -> Array:
        """Estimate the standard error of the value of each outlier over the replicates.

        Outliers are matched from the outside in, on each side, hard ones and others apart.

        Parameters
        ----------
        directions, throw
            As for `outliers`.

        Returns
        -------
        float array, one entry per outlier, in the order of `outliers`
            Standard deviation over the R replicates (``ddof=1``) divided by sqrt(R); NaN where an
            outlier is missing in a replicate: it is not told apart from the edge, or (with
            ``throw=False``) the outliers of the replicate are not reliable.

        Raises
        ------
        ValueError
            With fewer than two replicates, and as for `outliers`.
        NumericalFailure
            As for `outliers`.
        """
        laws = self.replicates
        if len(laws) < 2:
            raise ValueError(
                f"groups or replicates must give at least 2 laws for outlier_stderr, "
                f"got {len(laws)}"
            )
        which: Any = self._directions(directions)
        others = [by_rank(law.outliers(which, throw=throw)) for law in laws]
        values = [
            [other[key].value if key in other else np.nan for other in others]
            for key in by_rank(self.outliers(which, throw=throw))
        ]
        if not values:
            return np.empty(0)
        return np.asarray(np.std(values, axis=1, ddof=1) / np.sqrt(len(laws)))

    def smallest_eigenvalue(self, *, throw: bool = True) -> float:
        """Smallest eigenvalue of H: the left edge, or the lowest outlier if there is one.

        Without ``hard`` and ``span`` this is the left edge; -inf where D is unbounded below. With a
        span, outliers in all directions count.

        Parameters
        ----------
        throw : bool, optional
            If False, a value that is not reliable is NaN instead of raising.

        Raises
        ------
        NumericalFailure
            With the status of the left edge if that did not converge, and as for `outliers`.
        """
        left = self._converged_edges[0]
        if np.isnan(left):
            if throw:
                raise NumericalFailure(self.edges().sides[0], "(left edge)")
            return np.nan
        if not (self.k_hard or self._span is not None):
            return left
        found, status, detail = self._outliers_of(self._directions(None))
        if not status.ok:
            if throw:
                raise NumericalFailure(status, detail)
            return np.nan
        return min([left, *(o.value for o in found if o.side == "left")])


def _described(
    span: Span,
    value: float,
    overlap: float,
    vector: Array,
    side: Literal["left", "right"],
    hard: bool,
) -> Outlier:
    """Outlier with the overlaps that the coordinates tell; ``vector`` (m, K) of unit norm."""
    neurons = None
    if span.neurons is not None:
        norms = np.linalg.norm(span.neurons, axis=1, keepdims=True)
        unit = np.divide(span.neurons, norms, out=np.zeros_like(span.neurons), where=norms > 0)
        neurons = overlap * (vector @ unit.T) ** 2
    return Outlier(
        value,
        overlap if hard else 0.0,
        vector,
        side,
        overlap,
        overlap * np.sum(vector[:, : span.latent] ** 2, axis=0),
        neurons,
    )


def _reciprocal(z: CArray) -> CArray:
    """1 / z for complex numbers near the ends of double precision."""
    modulus = np.maximum(np.abs(z.real), np.abs(z.imag))
    return np.asarray(1.0 / (z / modulus) / modulus)


def _power_of_two(size: float) -> float:
    """Power of two to divide numbers up to ``size`` by; 1 if they are of ordinary size."""
    if size == 0.0 or _ORDINARY[0] <= size <= _ORDINARY[1]:
        return 1.0
    return float(np.ldexp(1.0, int(np.frexp(size)[1]) - 1))


def _masses(probabilities: ArrayLike | None, n: int) -> Array:
    if probabilities is None:
        return np.full(n, 1.0 / n)
    p = check_array("probabilities", probabilities)
    if p.shape != (n,):
        raise ValueError(f"probabilities must have shape ({n},) like weights, got {p.shape}")
    if np.any(p < 0):
        raise ValueError(f"probabilities must be non-negative, got {p.min()!r}")
    total = float(p.sum())
    if abs(total - 1.0) > 1e-9:
        raise ValueError(f"probabilities must sum to 1 (to 1e-9), got {total!r}")
    return np.asarray(p / total)


def _hard_coordinates(hard: ArrayLike, n: int) -> Array:
    z = check_array("hard", hard)
    if z.ndim == 1:
        z = z[:, None]
    if z.ndim != 2 or z.shape[0] != n:
        raise ValueError(f"hard must have shape ({n}, k_h) like weights, got {np.shape(hard)}")
    return z


def _replicate_laws(laws: Sequence[HessianLaw], m: int, k_hard: int) -> tuple[HessianLaw, ...]:
    for law in laws:
        if not isinstance(law, HessianLaw):
            raise ValueError(f"replicates must hold HessianLaw objects, got {type(law).__name__}")
        if law.m != m or law.k_hard != k_hard:
            raise ValueError(
                f"replicates must have m = {m} and k_hard = {k_hard}, "
                f"got m = {law.m} and k_hard = {law.k_hard}"
            )
    return tuple(laws)


def _group_labels(groups: int | ArrayLike | None, n: int) -> NDArray[np.int64] | None:
    if groups is None:
        return None
    array = check_array("groups", groups, expected="an integer or integer labels")
    if np.any(array != np.rint(array)):
        raise ValueError(f"groups must be an integer or integer labels, got {groups!r}")
    if array.ndim == 0:
        count = int(array)
        if count < 1 or n % count:
            raise ValueError(f"groups must divide the number of weights {n}, got {count}")
        return np.repeat(np.arange(count), n // count)
    if array.shape != (n,):
        raise ValueError(f"groups must have shape ({n},) like weights, got {array.shape}")
    return array.astype(np.int64)
