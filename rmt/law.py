"""The law of H = (1/n) sum_i D_i (x) x_i x_i^T + shift I: weights in, spectrum out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rmt import outliers as _outliers
from rmt import span as _span
from rmt import stieltjes as _stieltjes
from rmt._packing import Array, Atoms, CArray
from rmt._validation import check_array, check_complex, check_integer, check_real
from rmt.edges import EdgePoint, Edges, RealBranch, real_branch, scalar_intervals
from rmt.outliers import Outlier
from rmt.span import Span
from rmt.status import NumericalFailure, Status

__all__ = ["HessianLaw"]

_T = TypeVar("_T")
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
        """How the computation of the edges, on which everything real rests, ended."""
        return self.edges().status

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

    def _restricted(self, mask: NDArray[np.bool_]) -> HessianLaw:
        p = self._probabilities[mask]
        return HessianLaw(
            self._weights[mask],
            self._ratio,
            None if self._hard is None else self._hard[mask],
            p / p.sum(),
            shift=self._shift,
            support=self._support,
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
            all replicates agree that the value is infinite, infinite where they disagree on that.

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
            "left_edge": lambda law: law.edges().left,
            "right_edge": lambda law: law.edges().right,
            "hard_gap": HessianLaw.hard_gap,
            "smallest_eigenvalue": HessianLaw.smallest_eigenvalue,
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
            out, see `edge_sensitivity`. Zero for an infinite edge.
        """
        errors = []
        names: tuple[Literal["left_edge", "right_edge"], ...] = ("left_edge", "right_edge")
        several = np.count_nonzero(self._probabilities) > 1
        moves = self.edge_sensitivity() if several else (0.0, 0.0)
        for name, edge, move in zip(names, self.edges(), moves, strict=True):
            sampling = self.stderr(name) if len(self.replicates) > 1 else 0.0
            errors.append(float(np.hypot(sampling, move)) if np.isfinite(edge) else 0.0)
        return errors[0], errors[1]

    # -- private parts, computed once --------------------------------------------------------

    @cached_property
    def _atoms(self) -> Atoms:
        hard = self._hard if self.k_hard else None
        return Atoms.build(self._weights, self._probabilities, hard, self._ratio)

    @cached_property
    def _left(self) -> RealBranch:
        return real_branch(self._atoms, self._support)

    @cached_property
    def _right(self) -> RealBranch:
        return real_branch(self._atoms.reflected(), -self._support)

    # -- the bulk ----------------------------------------------------------------------------

    @cached_property
    def _edges(self) -> Edges:
        residual = 0.0
        status = Status.SUCCESS
        left, right = -np.inf, np.inf
        if self._bounded_above:
            right = self._shift - self._right.edge.value
            residual = self._right.edge.residual
            status = self._right.edge.status
        if self._bounded_below:
            left = self._shift + self._left.edge.value
            residual = max(residual, self._left.edge.residual)
            status = status if self._left.edge.status.ok else self._left.edge.status
        else:
            status = Status.UNBOUNDED_EDGE
        return Edges(left, right, status, residual)

    def edges(self) -> Edges:
        """Left and right edge of the support of the bulk, atoms at zero included.

        The left edge is the maximum over symmetric B > 0, B + D > 0 of lambda_min(F(B)),
        F(B) = E[D - D (B + D)^{-1} D] - B/ratio; the right edge is the reflection of that
        (Montanari & Wang, arXiv:2602.01434). F is a multiple of I at the optimum.

        Returns
        -------
        Edges
            ``left, right = law.edges()``, with ``.status`` and ``.residual``. The status is
            ``UNBOUNDED_EDGE`` for a left edge at -inf; a right edge at +inf is a success.
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
            them; 0 where D is unbounded on that side.

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
        values = np.linalg.eigvalsh(self._weights)
        moved = []
        for bounded, key, side in (
            (self._bounded_below, values[:, 0], 0),
            (self._bounded_above, -values[:, -1], 1),
        ):
            if not bounded:
                moved.append(0.0)
                continue
            keep = mass.copy()
            keep[np.argsort(np.where(mass, key, np.inf), kind="stable")[:count]] = False
            moved.append(self._restricted(keep).edges()[side] - self.edges()[side])
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
        flat = points.ravel() - self._shift
        if np.any(flat == 0) and self.atom_at_zero() > 0:
            raise ValueError(
                f"z must avoid {self._shift!r}, where the law has an atom of mass "
                f"{self.atom_at_zero():.6g} and s(z) a pole"
            )
        lower = flat.imag < 0
        branch = _stieltjes.solve(self._atoms, np.where(lower, flat.conj(), flat))
        if throw and not branch.status.ok:
            bad = points.ravel()[~branch.ok]
            raise NumericalFailure(
                branch.status, f"({bad.size} of {flat.size} points, the first is z = {bad[0]})"
            )
        b = np.where(branch.ok[:, None, None], branch.b, np.eye(self.m))
        c: CArray = np.linalg.inv(b).astype(np.complex128)
        c[lower] = c[lower].conj()
        c[~branch.ok] = np.nan
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
        s = self._ratio / self.m * np.trace(c, axis1=-2, axis2=-1)
        return np.asarray(s).reshape(points.shape)

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
            may sit, the density next to it.

        Raises
        ------
        ValueError
            If x is not real and finite.
        NumericalFailure
            If a point could not be solved on the physical branch.
        """
        points = check_array("x", x)
        left, right = self.edges()
        out = np.zeros(points.shape)
        inside = (points > left) & (points < right)
        if np.any(inside):
            z = points[inside]
            near = self._near_zero
            x0 = z - self._shift
            z = np.where(np.abs(x0) < near, self._shift + np.where(x0 < 0, -near, near), z)
            out[inside] = np.maximum(self.stieltjes(z, throw=throw).imag / np.pi, 0.0)
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
            In [0, 1].

        Raises
        ------
        ValueError
            If x is not real and finite.
        NumericalFailure
            If a point could not be solved on the physical branch.

        Examples
        --------
        >>> import rmt
        >>> float(rmt.HessianLaw([1.0, -1.0], ratio=4.0).cdf(0.0).round(12))
        0.5
        """
        points = check_array("x", x)
        left, right = self.edges()
        out = np.where(points >= right, 1.0, 0.0)
        inside = (points > left) & (points < right)
        if self.atom_at_zero() > 0 and left == self._shift:
            inside |= points == left
        if np.any(inside):
            x0 = points[inside] - self._shift
            near = self._near_zero
            x0 = np.where(np.abs(x0) < near, np.where(x0 < 0, -near, near), x0)
            values, ok = _stieltjes.distribution(self._atoms, x0)
            if throw and not ok.all():
                raise NumericalFailure(Status.UNPHYSICAL_BRANCH, f"({(~ok).sum()} points)")
            out[inside] = np.where(ok, np.clip(values, 0.0, 1.0), np.nan)
        return out

    def quantiles(self, q: ArrayLike) -> Array:
        """Eigenvalues below which the fractions q of the spectrum lie.

        Parameters
        ----------
        q : real array of any shape
            Fractions strictly between 0 and 1.

        Returns
        -------
        float array of the shape of q
            Inverse of `cdf` by bisection; ``shift`` for fractions that fall into the atom.

        Raises
        ------
        ValueError
            If a fraction is not in (0, 1), or an edge is infinite.
        """
        levels = check_array("q", q)
        if np.any((levels <= 0) | (levels >= 1)):
            raise ValueError("q must lie strictly between 0 and 1")
        left, right = self.edges()
        if not (np.isfinite(left) and np.isfinite(right)):
            raise ValueError(f"q needs a bounded spectrum, the edges are ({left!r}, {right!r})")
        low, high = np.full(levels.shape, left), np.full(levels.shape, right)
        for _ in range(52):
            middle = 0.5 * (low + high)
            above = self.cdf(middle) >= levels
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        middle = 0.5 * (low + high)
        if self.atom_at_zero() > 0:
            middle = np.where(
                np.abs(middle - self._shift) <= 1.01 * self._near_zero, self._shift, middle
            )
        return np.asarray(middle)

    @cached_property
    def _near_zero(self) -> float:
        """Distance from the atom at zero (c is a pole plus the rest) that is not resolved."""
        size = _stieltjes.typical_size(self._atoms)
        if not self.atom_at_zero() > 0:
            return 1e-13 * size
        # For m > 1 the matrix B is nearly singular there, and F(B) is rounding below 1e-8.
        return (1e-10 if self.m == 1 else 1e-6) * size

    @cached_property
    def _atom(self) -> float:
        return _stieltjes.atom_at_zero(self._atoms)

    def atom_at_zero(self) -> float:
        """Mass of the eigenvalue 0 of H - shift I, a consequence of rank.

        For m = 1 this is max(0, 1 - ratio P(D != 0)); in general it is the maximum over subspaces
        V of R^m of (dim V - ratio E[rank(D V)]) / m.
        """
        return self._atom

    def moments(self, order: int) -> Array:
        """Exact moments E[lambda^1], ..., E[lambda^order] of the law (atom at zero included).

        Parameters
        ----------
        order : int
            Largest power, at least 1.

        Returns
        -------
        (order,) array
            Normalised traces of the powers of H.
        """
        order = check_integer("order", order, minimum=1)
        raw = _stieltjes.moments(self._weights, self._probabilities, self._ratio, order)
        raw = np.concatenate([[1.0], raw])
        if self._shift == 0.0:
            return raw[1:]
        from math import comb

        return np.array(
            [
                sum(comb(k, j) * self._shift ** (k - j) * raw[j] for j in range(k + 1))
                for k in range(1, order + 1)
            ]
        )

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
        """
        self._require_hard()
        point = check_real("z", z)
        left, right = self.edges()
        if left < point < right or not (self._bounded_below or self._bounded_above):
            raise ValueError(f"z must lie outside the bulk ({left!r}, {right!r}), got {z!r}")
        if self.k_hard == 0:
            return np.empty((0, 0))
        x = point - self._shift
        if point <= left:
            b = self._left.solve(x)
            return _outliers.hard_matrix(self._left.atoms, b, x)
        b = self._right.solve(-x)
        return -_outliers.hard_matrix(self._right.atoms, b, -x)

    @cached_property
    def _gap(self) -> float:
        if not self._bounded_below or self.k_hard == 0:
            return np.inf
        edge: EdgePoint = self._left.edge
        z0 = min(edge.value, -self._shift)
        b = edge.b if z0 == edge.value else self._left.solve(z0)
        a = _outliers.hard_matrix(self._left.atoms, b, z0)
        gap = float(np.linalg.eigvalsh(a)[0])
        # Where c has a pole at z0 = 0 the gap is exactly zero, and rounding has no sign.
        scale = abs(z0) + float(np.abs(b).max())
        return 0.0 if abs(gap) <= 1e-14 * scale else gap

    def hard_gap(self) -> float:
        """Smallest eigenvalue of A_h(z0), z0 = min(left edge, -shift) in the frame of H - shift I.

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
        """
        self._require_hard()
        return self._gap

    # -- outliers ----------------------------------------------------------------------------

    def _sides(self) -> Iterator[tuple[Literal["left", "right"], float, RealBranch]]:
        """Name, sign and branch of each side that has an end."""
        if self._bounded_below:
            yield "left", 1.0, self._left
        if self._bounded_above:
            yield "right", -1.0, self._right

    @cached_property
    def _hard_outliers(self) -> tuple[Outlier, ...]:
        found: list[Outlier] = []
        if self.k_hard:
            for side, sign, branch in self._sides():
                for value, overlap, vector in _outliers.outliers_below(branch):
                    latent = overlap * np.sum(vector**2, axis=0)
                    found.append(
                        Outlier(self._shift + sign * value, overlap, vector, side, overlap, latent)
                    )
        return tuple(sorted(found, key=lambda outlier: outlier.value))

    @cached_property
    def _all_outliers(self) -> tuple[tuple[Outlier, ...], Status, str]:
        """All outliers (only the hard ones if the status is not SUCCESS), status and detail."""
        try:
            span = self.span
        except NumericalFailure as failure:
            return self._hard_outliers, failure.status, failure.detail
        assert span is not None
        status, detail = Status.SUCCESS, ""
        # Hard outliers do not feel the rest; they get the overlaps the span can tell.
        found = [
            _described(span, o.value, o.span_overlap, o.vector @ span.hard.T, o.side, True)
            for o in self._hard_outliers
        ]
        mass = self._probabilities > 0
        aligned = span if mass.all() else span.restricted(mass)
        try:
            rest = [
                _described(span, self._shift + sign * o.value, o.overlap, o.vector, side, False)
                for side, sign, branch in self._sides()
                for o in _span.outliers_below(branch, aligned)
            ]
        except NumericalFailure as failure:
            status, detail, rest = failure.status, failure.detail, []
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
            span (`Span.defect`), or its gradients are linearly dependent to 1e-10.
        """
        which = self._directions(directions)
        if which == "all" and throw and not self._all_outliers[1].ok:
            raise NumericalFailure(*self._all_outliers[1:])
        if which not in self._judged:
            self._judged[which] = self._judge(self._found(which), which)
        return list(self._judged[which])

    def _found(self, which: str) -> tuple[Outlier, ...]:
        return self._hard_outliers if which == "hard" else self._all_outliers[0]

    def _judge(self, found: tuple[Outlier, ...], which: str) -> tuple[Outlier, ...]:
        """Outliers with `Outlier.separated` from the replicates."""
        laws = self.replicates
        if len(laws) < 2 or not found:
            return found
        if all(outlier.hard_overlap > 0 for outlier in found):
            which = "hard"  # the same ones, at a fraction of the cost
        others = [_by_rank(law._found(which)) for law in laws]
        ends, errors = self.edges(), self.edge_errors()
        judged = []
        for key, outlier in zip(_outliers.ranks(found), found, strict=True):
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
        """SUCCESS, or why ``outliers("all")`` cannot be relied on. Computes the outliers."""
        if self._span is None:
            return Status.SUCCESS
        return self._all_outliers[1]

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
            outlier is missing in a replicate: it is not told apart from the edge.

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
        others = [_by_rank(law.outliers(which, throw=throw)) for law in laws]
        values = [
            [other[key].value if key in other else np.nan for other in others]
            for key in _outliers.ranks(self.outliers(which, throw=throw))
        ]
        if not values:
            return np.empty(0)
        return np.asarray(np.std(values, axis=1, ddof=1) / np.sqrt(len(laws)))

    def smallest_eigenvalue(self) -> float:
        """Smallest eigenvalue of H: the left edge, or the lowest outlier if there is one.

        Without ``hard`` and ``span`` this is the left edge; -inf where D is unbounded below. With a
        span, outliers in all directions count.

        Raises
        ------
        NumericalFailure
            As for `outliers`.
        """
        left = self.edges().left
        known = self.k_hard or self._span is not None
        values = [o.value for o in self.outliers() if o.side == "left"] if known else []
        return min([left, *values])


def _by_rank(outliers: Sequence[Outlier]) -> dict[tuple[str, bool, int], Outlier]:
    return dict(zip(_outliers.ranks(outliers), outliers, strict=True))


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
