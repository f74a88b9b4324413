"""The bulk: Stieltjes transform, density, distribution function, quantiles and moments.

Everything is read from the complex branch c(z) of `rmt.stieltjes`; next to the eigenvalue zero, as
far as double precision resolves it (`rmt.near_zero`).
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rmt import near_zero
from rmt import stieltjes as stieltjes_
from rmt._validation import check_array, check_complex, check_integer
from rmt.edges import edge_trouble
from rmt.scaling import power_of_two, reciprocal
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from rmt._packing import Array, CArray
    from rmt.law import HessianLaw

__all__ = [
    "atom_at_zero",
    "atoms",
    "cdf",
    "density",
    "matrix_stieltjes",
    "moments",
    "quantiles",
    "stieltjes",
]


def matrix_stieltjes(law: HessianLaw, z: ArrayLike, *, throw: bool = True) -> CArray:
    """Compute the (m, m) matrix c(z), from which everything about the bulk is read.

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
    return _solve(law, z, throw)[0]


def _solve(law: HessianLaw, z: ArrayLike, throw: bool) -> tuple[CArray, CArray]:
    points = check_complex("z", z)
    with np.errstate(over="ignore"):
        flat = points.ravel() - law.centre
    for zero in _zeros_among(law, flat):
        if zero.mass > 0 or zero.diverges:
            reason = (
                f"the law has an atom of mass {zero.mass:.6g} and s(z) a pole"
                if zero.mass > 0
                else "s(z) diverges"
            )
            raise ValueError(f"z must avoid {law.centre + _in_frame(law, zero)!r}, where {reason}")
    lower = flat.imag < 0
    flat = np.where(lower, flat.conj(), flat)
    c: CArray = np.empty((flat.size, law.m, law.m), dtype=np.complex128)
    modulus = np.maximum(np.abs(flat.real), flat.imag)
    far = modulus > law._scaled.far
    with np.errstate(over="ignore", under="ignore"):
        c[far] = (reciprocal(-flat[far]) / law.ratio)[:, None, None] * np.eye(law.m)
    near = flat[~far] if law._scaled.unit == 1.0 else flat[~far] / law._scaled.unit
    branch = stieltjes_.solve(law._scaled.atoms, near)
    if throw and not branch.status.ok:
        bad = points.ravel()[~far][~branch.ok]
        raise NumericalFailure(
            branch.status, f"({bad.size} of {flat.size} points, the first is z = {bad[0]})"
        )
    b = np.where(branch.ok[:, None, None], branch.b, np.eye(law.m))
    solved: CArray = np.linalg.inv(b).astype(np.complex128)
    solved[~branch.ok] = np.nan
    if law._scaled.unit != 1.0:
        with np.errstate(over="ignore", under="ignore"):
            solved = (solved.view(np.float64) / law._scaled.unit).view(np.complex128)
    c[~far] = solved
    c[lower] = c[lower].conj()
    return c.reshape(*points.shape, law.m, law.m), points


def stieltjes(law: HessianLaw, z: ArrayLike, *, throw: bool = True) -> CArray:
    """Compute the Stieltjes transform s(z) = E[1 / (lambda - z)] = ratio tr c(z) / m.

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
    c, points = _solve(law, z, throw)
    s = np.asarray(law.ratio / law.m * np.trace(c, axis1=-2, axis2=-1)).ravel()
    lost = (s == 0) & (points.ravel() != 0)  # c underflows where s does not
    if np.any(lost):
        with np.errstate(over="ignore", under="ignore"):
            s[lost] = reciprocal(law.centre - points.ravel()[lost])
    return s.reshape(points.shape)


def density(law: HessianLaw, x: ArrayLike, *, throw: bool = True) -> Array:
    """Compute the density of the continuous part of the spectrum, Im s(x + i0) / pi.

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
    left, right = law.edges()
    out = np.zeros(points.shape)
    inside = (points > left) & (points < right)
    diverges = np.zeros(points.shape, dtype=bool)
    from_centre = points - law.centre
    for zero in _zeros_among(law, from_centre):
        diverges |= (from_centre == _in_frame(law, zero)) & zero.diverges
    inside &= ~diverges
    if np.any(inside):
        x0 = from_centre[inside]
        moved, resolved, _ = _clear_of_zero(law, x0, "density", throw)
        z = np.where(moved == x0, points[inside], law.centre + moved)
        values = np.maximum(law.stieltjes(z, throw=throw).imag / np.pi, 0.0)
        out[inside] = np.where(resolved, values, np.nan)
    out[diverges] = np.inf
    return out


def cdf(law: HessianLaw, x: ArrayLike, *, throw: bool = True) -> Array:
    """Compute the distribution function: the fraction of eigenvalues up to x, atom included.

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
        point is so close to ``shift`` that rounding hides the mass in between.

    Examples
    --------
    >>> import rmt
    >>> float(rmt.HessianLaw([1.0, -1.0], ratio=4.0).cdf(0.0).round(12))
    0.5
    """
    points = check_array("x", x)
    left, right = law.edges()
    with np.errstate(over="ignore"):
        distance = points - law.centre
    # A support point can hold an edge beyond which the spectrum has no mass.
    out = np.where((points >= right) | (distance > law._scaled.far), 1.0, 0.0)
    inside = (points > left) & (points < right) & (np.abs(distance) <= law._scaled.far)
    for place, zero in zip(_places(law), law._zeros, strict=True):
        if zero.mass > 0 and left == place:
            inside |= points == left
    if np.any(inside):
        x0 = distance[inside]
        moved, resolved, even = _clear_of_zero(law, x0, "cdf", throw)
        near = moved if law._scaled.unit == 1.0 else moved / law._scaled.unit
        values, _, ok = stieltjes_.distribution(law._scaled.atoms, near)
        if np.any(moved != x0):  # mass that is not resolved is spread evenly
            values -= even
        if throw and not ok.all():
            raise NumericalFailure(Status.UNPHYSICAL_BRANCH, f"({(~ok).sum()} points)")
        # Adding zero turns a negative zero into a positive one.
        out[inside] = np.where(ok & resolved, np.clip(values, 0.0, 1.0) + 0.0, np.nan)
    return out


def quantiles(law: HessianLaw, q: ArrayLike, *, throw: bool = True) -> Array:
    """Compute quantiles: the eigenvalues below which the fractions q of the spectrum lie.

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
    left, right = law.edges()
    status, detail = edge_trouble(law)
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
        below = law.cdf(middle, throw=throw)
        lost |= np.isnan(below)
        above = below >= levels
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    middle = 0.5 * low + 0.5 * high
    for place, mass in law.atoms():
        upto = float(law.cdf(place, throw=throw))
        # A fraction that differs by rounding from the boundary is outside the atom.
        inside = (levels <= upto) & (levels > upto - mass + 1e-12)
        middle, lost = np.where(inside, place, middle), lost & ~inside
    return np.where(lost, np.nan, middle)


def _clear_of_zero(
    law: HessianLaw, x0: Array, quantity: Literal["cdf", "density"], throw: bool
) -> tuple[Array, NDArray[np.bool_], Array]:
    """Move points too close to the eigenvalue zero outwards, to where the density is resolved.

    So for each eigenvalue of the shift. Returns the points, whether the answer there holds at the
    points asked for, and the mass passed on the way if it is spread evenly.
    """
    moved, known, even = x0, np.ones(x0.shape, dtype=bool), np.zeros(x0.shape)
    for index, zero in enumerate(law._zeros):
        outermost = law._scaled.unit * near_zero.outermost(law._scaled.atoms, zero.mass)
        from_zero = x0 - _in_frame(law, zero)
        if not np.any(np.abs(from_zero) < outermost):
            continue
        core = law._cores_of_cdf[index] if quantity == "cdf" else law._cores_of_density[index]
        radius = core.radius * law._scaled.unit
        is_known = core.smooth if quantity == "density" else core.mass <= core.allowed
        resolved = (np.abs(from_zero) >= radius) | is_known
        if throw and not resolved.all():
            raise NumericalFailure(
                Status.UNRESOLVED,
                f"({(~resolved).sum()} points closer than {radius:.2g} to {_places(law)[index]!r}, "
                f"where rounding hides a mass of {core.mass:.2g})",
            )
        out = near_zero.moved_out(from_zero, radius)
        even = even + 0.5 * core.mass * (out - from_zero) / radius
        moved = np.where(out == from_zero, moved, _in_frame(law, zero) + out)
        known &= resolved
    return moved, known, even


def _in_frame(law: HessianLaw, zero: stieltjes_.Zero) -> float:
    """Return an eigenvalue that want of rank causes, less the centre."""
    return law._scaled.unit * zero.value


def _zeros_among(law: HessianLaw, x: Array | CArray) -> list[stieltjes_.Zero]:
    """Return the eigenvalues for want of rank that are among points, given less the centre."""
    if law._scaled.offset is None and not np.any(x == 0):
        return []
    return [zero for zero in law._zeros if np.any(x == _in_frame(law, zero))]


def _places(law: HessianLaw) -> list[float]:
    """Return the eigenvalues of H that want of rank causes: those of the shift."""
    return [law.centre + _in_frame(law, zero) for zero in law._zeros]


def cores_of_cdf(law: HessianLaw) -> tuple[near_zero.Core, ...]:
    cores = []
    for index, zero in enumerate(law._zeros):
        core = near_zero.core(law._scaled.atoms, zero, "cdf")
        if core.mass > core.allowed and law._cores_of_density[index].smooth:
            core = law._cores_of_density[index]
        cores.append(core)
    return tuple(cores)


def cores_of_density(law: HessianLaw) -> tuple[near_zero.Core, ...]:
    return tuple(near_zero.core(law._scaled.atoms, zero, "density") for zero in law._zeros)


def find_zeros(law: HessianLaw) -> tuple[stieltjes_.Zero, ...]:
    return stieltjes_.eigenvalue_zeros(law._scaled.atoms)


def atom_at_zero(law: HessianLaw) -> float:
    """Return the mass of the eigenvalue 0 of H - shift, a consequence of rank.

    For m = 1 this is max(0, 1 - ratio P(D != 0)); in general it is the maximum over subspaces
    V of R^m of (dim V - ratio E[rank(D V)]) / m. For a matrix as shift: the mass of all its
    eigenvalues together, each with V in its eigenspace, see `atoms`.
    """
    return float(sum(zero.mass for zero in law._zeros))


def atoms(law: HessianLaw) -> list[tuple[float, float]]:
    """Return positions and masses of the atoms of the spectrum, ascending.

    Want of rank leaves eigenvalues of the shift: one atom at most for a number, see
    `atom_at_zero`.

    Examples
    --------
    >>> import numpy as np
    >>> import rmt
    >>> law = rmt.HessianLaw([np.eye(2)], ratio=0.5, shift=np.diag([0.1, -0.2]))
    >>> [(round(place, 12), round(mass, 12)) for place, mass in law.atoms()]
    [(-0.2, 0.25), (0.1, 0.25)]
    """
    places = zip(_places(law), law._zeros, strict=True)
    return [(place, zero.mass) for place, zero in places if zero.mass > 0.0]


def moments(law: HessianLaw, order: int) -> Array:
    """Compute the exact moments E[lambda^1], ..., E[lambda^order], atom included.

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
    unit = power_of_two(max(law._scaled.size, abs(law.centre)))
    weights = law.weights if unit == 1.0 else law.weights / unit
    shift = law.centre / unit
    offset = None if law._scaled.offset is None else law._scaled.offset / unit
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        raw = stieltjes_.moments(weights, law.probabilities, law.ratio, order, offset)
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
