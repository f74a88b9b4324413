"""The spectral law of H = (1/n) sum_i D_i (x) x_i x_i^T + shift (x) I: weights in, spectrum out.

Here are the arguments of `HessianLaw` and what it is made of; each group of methods has a module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rmt import bulk, sampling
from rmt import edge_kinds as edge_kinds_
from rmt import edges as edges_
from rmt import hard as hard_
from rmt import outliers as outliers_
from rmt import replicates as replicates_
from rmt._packing import Array
from rmt._validation import check_array, check_groups, check_masses, check_real
from rmt.scaling import Scaled
from rmt.span import Span
from rmt.status import Status, first_failure

__all__ = ["HessianLaw"]

_T = TypeVar("_T")


class HessianLaw:
    """Limiting spectral law of ``H = (1/n) sum_i D_i (x) x_i x_i^T + shift (x) I``.

    D_i are independent copies of a random symmetric (m, m) matrix D of any sign, the x_i are
    standard normal in d dimensions and independent of the D_i, and n/d = ratio as both grow.
    With latent coordinates z_h = Theta_h^T x that D depends on in a *hard* way, eigenvalues leave
    the bulk; the bulk itself does not feel them (Montanari & Wang, arXiv:2602.01434).

    Parameters
    ----------
    weights : (N,) or (N, m, m) array
        Curvature weights D: samples of their law, or nodes of a quadrature. Symmetric up to 1e-8.
    ratio : float
        n / d > 0. `delta` is another name for it: give one of the two.
    hard : (N, k_h) array, optional
        Hard latent coordinates of each sample, in units where z_h is standard normal. Needed for
        `hard_matrix`, `hard_gap` and `outliers`.
    probabilities : (N,) array, optional
        Masses of the atoms, non-negative with sum 1 (to 1e-9); uniform by default. An atom of
        mass zero has no effect at all.
    shift : float or (m, m) array, optional
        Symmetric matrix added to H for each input, ``shift (x) I``; a number stands for that
        multiple of the identity (weight decay). For neurons on spheres it is minus the diagonal
        matrix of the normal forces ``<theta_j, grad_j> / |theta_j|^2``.
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
        Coordinates and gradients of the inputs that D depends on, hard directions apart; gives
        `outliers` in every direction. A callable is called when (and each time) the span is
        needed, and must not be a lambda if the law is to be pickled.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or range; the message names it.

    Notes
    -----
    All methods refer to H including ``shift``. A law is immutable and computes each quantity once.
    Every group of methods is in a module of its own, see `rmt`.

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
        ratio: float | None = None,
        hard: ArrayLike | None = None,
        probabilities: ArrayLike | None = None,
        *,
        delta: float | None = None,
        shift: float | ArrayLike = 0.0,
        support: ArrayLike | None = None,
        bounded_below: bool = True,
        bounded_above: bool = True,
        groups: int | ArrayLike | None = None,
        replicates: Sequence[HessianLaw] = (),
        span: Span | Callable[[], Span] | None = None,
    ) -> None:
        self._weights = _frozen(_symmetric(weights, "weights"))
        n, m = self._weights.shape[:2]
        self._ratio = _one_ratio(ratio, delta)
        self._shift, self._centre, self._offset = _shift(shift, m)
        self._probabilities = _frozen(check_masses(probabilities, n, "weights"))
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
        self._groups = _frozen(check_groups(groups, n, "weights"))
        if self._groups is not None:
            for label in np.unique(self._groups):
                if not self._probabilities[self._groups == label].sum() > 0:
                    raise ValueError(f"groups must each have positive mass, got 0 in group {label}")
        if isinstance(span, Span):
            self._check_span(span)
        elif span is not None and not callable(span):
            raise ValueError(f"span must be a Span or a callable, got {type(span).__name__}")
        self._span = span

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
    def shift(self) -> float | Array:
        """What is included in H: a multiple of the identity, or an (m, m) matrix, read-only."""
        return self._shift

    @property
    def centre(self) -> float:
        """Mean of the eigenvalues of the shift, by which the whole spectrum is moved."""
        return self._centre

    @cached_property
    def shifts(self) -> Array:
        """(m,) eigenvalues of the shift, ascending, where want of rank leaves eigenvalues of H."""
        if self._offset is None:
            return np.full(self.m, self._centre)
        return np.asarray(self._centre + np.linalg.eigvalsh(self._offset))

    @property
    def weights(self) -> Array:
        """(N, m, m) curvature weights D, read-only."""
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
    def support(self) -> Array:
        """(S, m, m) additional points of the support of D, read-only."""
        return self._support

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
    def status(self) -> Status:
        """Status of the computation of the edges, on which everything real rests.

        The status of this law's edges if it is not SUCCESS, else that of the first of the
        ``replicates`` whose edges are not: an error bar over replicates rests on all of them.
        """
        statuses = [law.edges().status for law in (self, *self.replicates)]
        return first_failure(statuses)

    def __repr__(self) -> str:
        shift = f"{self._shift:g}" if isinstance(self._shift, float) else str(self._shift.tolist())
        return (
            f"HessianLaw(m={self.m}, atoms={self._weights.shape[0]}, ratio={self._ratio:g}, "
            f"k_hard={self.k_hard}, shift={shift})"
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

    # -- computed once -------------------------------------------------------------------------

    @cached_property
    def _scaled(self) -> Scaled:
        return Scaled(
            self._weights, self._probabilities, self._hard, self._support, self._ratio, self._offset
        )

    _edges = cached_property(edges_.find_edges)
    _edge_errors = cached_property(replicates_.find_edge_errors)
    _zeros = cached_property(bulk.find_zeros)
    _cores_of_cdf = cached_property(bulk.cores_of_cdf)
    _cores_of_density = cached_property(bulk.cores_of_density)
    _levels = cached_property(hard_.find_levels)
    _levels_left = cached_property(partial(hard_.find_levels, criterion="left"))
    _levels_any = cached_property(partial(hard_.find_levels, criterion="any"))
    _hard_outliers = cached_property(outliers_.find_hard)
    _all_outliers = cached_property(outliers_.find_all)

    # -- methods, in the module of their subject -----------------------------------------------

    edges = edges_.edges
    edge_kinds = edge_kinds_.edge_kinds
    edge_sensitivity = edges_.edge_sensitivity
    tail_sensitivity = edges_.tail_sensitivity
    support_intervals = edges_.support_intervals

    stieltjes = bulk.stieltjes
    matrix_stieltjes = bulk.matrix_stieltjes
    density = bulk.density
    cdf = bulk.cdf
    quantiles = bulk.quantiles
    atom_at_zero = bulk.atom_at_zero
    atoms = bulk.atoms
    moments = bulk.moments

    hard_matrix = hard_.hard_matrix
    hard_gap = hard_.hard_gap
    hard_levels = hard_.hard_levels

    outliers = outliers_.outliers
    outlier_status = property(outliers_.outlier_status)
    smallest_eigenvalue = outliers_.smallest_eigenvalue

    stderr = replicates_.stderr
    edge_errors = replicates_.edge_errors
    outlier_stderr = replicates_.outlier_stderr

    sample_matrix = sampling.sample_matrix


def _frozen(array: _T) -> _T:
    if isinstance(array, np.ndarray):
        array.setflags(write=False)
    return array


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
    asymmetry = np.abs(array - transposed).max(axis=(1, 2), initial=0.0)
    allowed = 1e-8 * np.abs(array).max(axis=(1, 2), initial=0.0)
    if np.any(asymmetry > allowed):
        worst = int(np.argmax(asymmetry - allowed))
        raise ValueError(
            f"{name} must be symmetric matrices (relative tolerance 1e-8), "
            f"got an asymmetry of {asymmetry[worst]:.3g} in {name}[{worst}]"
        )
    return np.asarray(0.5 * array + 0.5 * transposed)


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


def _shift(value: float | ArrayLike, m: int) -> tuple[float | Array, float, Array | None]:
    """Check the shift; return it, its mean eigenvalue, and what is left, None for nothing.

    Raises
    ------
    ValueError
        If it is neither a number nor a symmetric (m, m) matrix.
    """
    if np.ndim(value) == 0:
        number = check_real("shift", value)
        return number, number, None
    matrix = check_array("shift", value)
    if matrix.shape != (m, m):
        raise ValueError(
            f"shift must be a number or a symmetric ({m}, {m}) matrix like weights, "
            f"got shape {matrix.shape}"
        )
    matrix = _symmetric(matrix[np.newaxis], "shift")[0]
    first, centre = float(matrix[0, 0]), float(np.trace(matrix)) / m
    if np.abs(matrix - first * np.eye(m)).max() <= 1e-14 * abs(first):  # a number, to rounding
        return first, first, None
    return _frozen(matrix), centre, _frozen(matrix - centre * np.eye(m))


def _one_ratio(ratio: float | None, delta: float | None) -> float:
    """Return n / d, given under one of its two names."""
    if (ratio is None) == (delta is None):
        given = "neither" if ratio is None else f"ratio = {ratio!r} and delta = {delta!r}"
        raise ValueError(f"ratio must be given, or delta, one of the two; got {given}")
    if ratio is None:
        return check_real("delta", delta, minimum=0.0, exclusive=True)
    return check_real("ratio", ratio, minimum=0.0, exclusive=True)
