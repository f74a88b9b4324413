"""Kinks, jumps and sharp features of functions, located by bisection.

A panel is bisected until a Gauss-Legendre rule on it agrees with those on its halves; around a kink
panels shrink until it is located.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.quadrature import RULES, normal_rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["axis_breaks", "bisected", "located_kinks", "resolving_panels"]

# Lines parallel to an axis along which kinks are looked for.
_LINES = 6
# A rule that misses this much of the average of a function between -1 and 1 along a line needs
# breaks, and panels on which bisection changes less need none.
_MISSED, _RESOLVED, _LOCATED = 3e-8, 1e-11, 3e-14
# Points at which a line is looked at for features that fall between the nodes of the rule.
_DENSE_PANELS, _DENSE_NODES = 2048, 8
# Panels narrower than this hold a kink; those of a located one are merged.
_KINK = 1e-4
_NARROWEST, _NARROWEST_KINK = 1e-14, 1e-12
_MAX_PANELS, _MAX_BREAKS = 10_000, 120


def axis_breaks(
    function: Callable[[FloatArray], FloatArray],
    dimension: int,
    known: tuple[tuple[float, ...], ...] | None = None,
) -> tuple[tuple[float, ...], ...] | None:
    """Locate kinks, jumps and sharp features of a function of independent normals on each axis.

    Along a few lines parallel to each axis the function is compared with what the fine rule sees
    of it, and where that is not all, panels are bisected until they resolve it. What is no tensor
    product (a kink along a diagonal) is not found this way: only a comparison of two rules tells.

    Parameters
    ----------
    function : callable
        (dimension, n) -> (j, n), of any size: it is looked at through u / sqrt(1 + u^2), u in
        units of its median.
    dimension : int
    known : tuple of tuple of float, optional
        Breaks for each Gaussian that are known beforehand.

    Returns
    -------
    tuple of tuple of float, or None
        Breaks for each Gaussian, increasing, the known ones among them; None where there are too
        many.

    Examples
    --------
    >>> (kink,), none = axis_breaks(lambda q: np.abs(q[:1] - 0.3) * q[1:], 2)
    >>> round(kink, 9), none
    (0.3, ())
    """
    found = []
    for axis, on_lines in enumerate(_lines(function, dimension)):
        ends = _needed_breaks(on_lines, known[axis] if known else ())
        if ends is None:
            return None
        found.append(ends)
    return tuple(found)


def located_kinks(
    function: Callable[[FloatArray], FloatArray], dimension: int, reach: float
) -> tuple[tuple[float, ...], ...] | None:
    """Locate kinks and jumps of a function of independent normals on each axis, far out too.

    Parameters
    ----------
    function, dimension
        As for `axis_breaks`.
    reach : float
        Largest size of the Gaussians, however improbable.

    Returns
    -------
    tuple of tuple of float, or None
        For each Gaussian, increasing; None where there are too many.

    Examples
    --------
    >>> ((kink,),) = located_kinks(lambda q: np.abs(q - 10.5), 1, 12.0)
    >>> round(kink, 9)
    10.5
    """
    ends = _dense_ends(reach)
    found = []
    for on_lines in _lines(function, dimension):
        kinks = _kinks(_undamped(on_lines), ends)
        if kinks is None:
            return None
        found.append(tuple(kinks))
    return tuple(found)


def _dense_ends(reach: float) -> FloatArray:
    """Return ends of many panels, no inner one where a kink is likely to be."""
    ends = np.linspace(-reach, reach, _DENSE_PANELS + 1)
    ends[1:-1] += (math.sqrt(2.0) - 1.0) * reach / _DENSE_PANELS
    return ends


def _lines(
    function: Callable[[FloatArray], FloatArray], dimension: int
) -> list[Callable[[FloatArray], FloatArray]]:
    """Return, for each axis, the function (n,) -> (j, n) along lines parallel to it."""
    rng = np.random.default_rng(0)
    others = rng.standard_normal((_LINES, dimension))
    units = np.median(np.abs(function(rng.standard_normal((dimension, 255)))), axis=1)
    units = np.where(np.isfinite(units) & (units > 0.0), units, 1.0)[:, np.newaxis]

    def on_lines(axis: int, x: FloatArray) -> FloatArray:
        points = np.repeat(others.T[:, :, None], x.size, axis=2)
        points[axis] = x
        values = function(points.reshape(dimension, -1)) / units
        with np.errstate(invalid="ignore"):
            values = np.where(np.isinf(values), np.sign(values), values / np.hypot(1.0, values))
        return np.asarray(values.reshape(-1, x.size))

    return [partial(on_lines, axis) for axis in range(dimension)]


def _undamped(function: Callable[[FloatArray], FloatArray]) -> Callable[[FloatArray], FloatArray]:
    """Return the function times what the normal density takes from it."""
    return lambda x: function(x) * np.exp(0.5 * x**2)


def _needed_breaks(
    function: Callable[[FloatArray], FloatArray], known: tuple[float, ...]
) -> tuple[float, ...] | None:
    """Find breaks in addition to the ends of the fine rule; values (j, n) are between -1 and 1."""
    half = RULES["fine"][0]
    start = np.unique([*half, *(-end for end in half), *known])
    nodes, weights = normal_rule("fine", known)
    dense = np.unique([*_dense_ends(float(start[-1])), *known])
    seen = _panel_averages(function, dense[:-1], dense[1:], _DENSE_NODES).sum(axis=1)
    if np.abs(function(nodes) @ weights - seen).max() < _MISSED:
        return known
    kinks = _kinks(function, dense)
    if kinks is None:
        return None
    leaves = _resolved(function, np.unique([*start, *kinks]), absolute=_RESOLVED)
    if leaves is None:
        return None
    breaks = sorted({*leaves[0].tolist()} - {*start.tolist()} | {*known})
    return tuple(breaks) if len(breaks) <= _MAX_BREAKS else None


def _kinks(function: Callable[[FloatArray], FloatArray], ends: FloatArray) -> list[float] | None:
    """Locate kinks and jumps of functions (n,) -> (j, n) between the ends; None if too many."""
    panels = _resolved(function, ends, per_width=_LOCATED)
    if panels is None:
        return None
    # Around a kink panels are tiny: one kink for each cluster of them.
    left, right = (side[panels[1] - panels[0] < _KINK] for side in panels)
    new = np.flatnonzero(np.diff(left, prepend=-np.inf) > 2.0 * _KINK)
    clusters = zip(np.split(left, new[1:]), np.split(right, new[1:]), strict=True)
    return [_located(function, a[0], b[-1]) for a, b in clusters if len(a)]


def _located(function: Callable[[FloatArray], FloatArray], left: float, right: float) -> float:
    """Return where between two points the function is furthest from straight."""
    left, right = 2.0 * left - right, 2.0 * right - left
    while right - left > _NARROWEST_KINK * (1.0 + abs(left)):
        x = np.linspace(left, right, 5)
        f = function(x)
        bends = np.abs(f[:, 1:-1] - 0.5 * (f[:, :-2] + f[:, 2:])).sum(axis=0)
        place = int(np.argmax(bends))
        left, right = float(x[place]), float(x[place + 2])
    return 0.5 * (left + right)


def resolving_panels(
    function: Callable[[FloatArray], FloatArray], ends: FloatArray, nodes: int
) -> FloatArray:
    """Return ends of panels on each of which a rule resolves a function, given ones among them.

    Parameters
    ----------
    function : callable
        (n,) -> (j, n), of values between -1 and 1, smooth between the given ends.
    ends : ndarray
        Increasing.
    nodes : int
        Of the Gauss-Legendre rule on each panel.

    Raises
    ------
    ValueError
        If there are too many.
    """
    panels = _resolved(_undamped(function), ends, per_width=_RESOLVED, n=nodes)
    if panels is None:
        raise ValueError(f"function must be resolved by at most {_MAX_PANELS} panels")
    return np.append(panels[0], panels[1][-1])


def _resolved(
    function: Callable[[FloatArray], FloatArray],
    ends: FloatArray,
    absolute: float = 0.0,
    per_width: float = 0.0,
    n: int = RULES["fine"][1],
) -> tuple[FloatArray, FloatArray] | None:
    """Find panels on which a Gauss-Legendre rule resolves a function; None if there are too many.

    An error allowed ``per_width`` of a panel makes panels shrink around a kink until it is located.
    """

    def is_rough(left: FloatArray, right: FloatArray) -> NDArray[np.bool_]:
        middle = 0.5 * (left + right)
        whole = _panel_averages(function, left, right, n)
        halves = _panel_averages(function, left, middle, n) + _panel_averages(
            function, middle, right, n
        )
        error = np.abs(whole - halves).max(axis=0)
        return np.asarray(~(error < absolute + per_width * (right - left)))  # NaN is rough

    return bisected(is_rough, ends, _NARROWEST)


def bisected(
    is_rough: Callable[[FloatArray, FloatArray], NDArray[np.bool_]],
    ends: FloatArray,
    narrowest: float,
) -> tuple[FloatArray, FloatArray] | None:
    """Bisect panels until none is rough, or those that are have become narrow.

    Parameters
    ----------
    is_rough : callable
        Left and right ends (n,) to booleans (n,).
    ends : ndarray
        Increasing; ends of the panels to begin with.
    narrowest : float
        Width, relative to ``1 + |x|``, below which no panel is bisected.

    Returns
    -------
    left, right : ndarray, or None
        Ends of the panels, increasing; None if there are too many.

    Examples
    --------
    >>> left, right = bisected(lambda a, b: (a < 0.3) & (0.3 < b), np.array([0.0, 1.0]), 0.2)
    >>> left, right
    (array([0.  , 0.25, 0.5 ]), array([0.25, 0.5 , 1.  ]))
    """
    left, right = ends[:-1], ends[1:]
    done: list[tuple[FloatArray, FloatArray]] = []
    count = 0
    while len(left):
        middle = 0.5 * (left + right)
        rough = right - left >= narrowest * (1.0 + np.abs(middle))
        rough &= is_rough(left, right)
        done.append((left[~rough], right[~rough]))
        count += int((~rough).sum())
        left, middle, right = left[rough], middle[rough], right[rough]
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
        if count + len(left) > _MAX_PANELS + len(ends):
            return None
    lefts = np.concatenate([a for a, _ in done])
    order = np.argsort(lefts)
    return lefts[order], np.concatenate([b for _, b in done])[order]


def _panel_averages(
    function: Callable[[FloatArray], FloatArray], left: FloatArray, right: FloatArray, n: int
) -> FloatArray:
    """Return the parts (j, panels) of the averages of a function over a standard normal."""
    x, w = np.polynomial.legendre.leggauss(n)
    half = 0.5 * (right - left)[:, None]
    nodes = 0.5 * (left + right)[:, None] + half * x
    weights = half * w * np.exp(-0.5 * nodes**2) / math.sqrt(2.0 * math.pi)
    values = function(nodes.ravel()).reshape(-1, *nodes.shape)
    parts: FloatArray = np.einsum("jpn,pn->jp", values, weights)
    return parts
