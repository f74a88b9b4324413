"""Designs of a scan: which settings its points have, none of them made before it is asked for."""

from __future__ import annotations

import json
import math
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.sampling import power_of_two
from dmft._numerics.validation import check_choice, check_integer, check_keys, check_real
from dmft.config.config import TABLES
from dmft.config.options import check_known, declared

__all__ = ["ALIASES", "DESIGNS", "MOST_POINTS", "Axis", "Design", "design_of"]

DesignName = Literal["product", "zip", "list", "random", "sobol"]

DESIGNS: Final = typing.get_args(DesignName)
MOST_POINTS: Final = 10**5

#: Keys of a scan that set several of a run file.
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "delta": ("trajectory.delta", "spectrum.delta"),
    "step": ("threshold.step", "spectrum.step"),
}
_RANGE: Final = ("from", "to", "num", "scale")
_DIGITS: Final = 12  # of the numbers of a range, so that they read as they were meant
_MOST_AXES: Final = 16


@dataclass(frozen=True)
class Axis:
    """Values of one key of a run file, or of several that change together.

    Attributes
    ----------
    keys : tuple of str
        Dotted names, ``target.noise``, or one of `ALIASES`.
    values : tuple or None
        As listed; tuples of one value for each key where there are several.
    ends : tuple of float or None
        Of a range.
    count : int or None
        Number of values; None for a range of a random design.
    logarithmic, integer : bool
        Of a range: whether it is even in the logarithm, and rounded to integers.
    """

    keys: tuple[str, ...]
    values: tuple[Any, ...] | None = None
    ends: tuple[float, float] | None = None
    count: int | None = None
    logarithmic: bool = False
    integer: bool = False

    @property
    def name(self) -> str:
        """The keys as one text."""
        return ", ".join(self.keys)

    def settings(self, index: int) -> dict[str, Any]:
        """Return the settings at a place of the axis."""
        if self.values is not None:
            value = self.values[index]
        else:
            assert self.count is not None
            value = self._between(index / (self.count - 1) if self.count > 1 else 0.0)
        return self._named(value)

    def drawn(self, share: float) -> dict[str, Any]:
        """Return the settings at a fraction, 0 to 1, of the axis."""
        if self.values is not None:
            return self._named(
                self.values[min(int(share * len(self.values)), len(self.values) - 1)]
            )
        return self._named(self._between(share))

    def _between(self, share: float) -> float | int:
        assert self.ends is not None
        lower, upper = self.ends
        if self.logarithmic:
            value = math.exp((1.0 - share) * math.log(lower) + share * math.log(upper))
        else:
            value = (1.0 - share) * lower + share * upper
        return round(value) if self.integer else float(f"{value:.{_DIGITS}g}")

    def _named(self, value: Any) -> dict[str, Any]:
        values = (value,) if len(self.keys) == 1 else value
        return dict(zip(self.keys, values, strict=True))


@dataclass(frozen=True)
class Design:
    """Points of a scan.

    Attributes
    ----------
    kind : str
        One of `DESIGNS`.
    axes : tuple of Axis
        None for a list.
    points : int
        Their number.
    seed : int
        Of a random design.
    listed : tuple of dict
        Settings of each point of a list.

    Examples
    --------
    >>> design = design_of({"target.noise": {"from": 0, "to": 1, "num": 3},
    ...                     "network.activation": ["gelu", "relu"]})
    >>> design.points, design.shape, design.settings(3)
    (6, (3, 2), {'target.noise': 0.5, 'network.activation': 'relu'})
    """

    kind: DesignName
    axes: tuple[Axis, ...]
    points: int
    seed: int = 0
    listed: tuple[Mapping[str, Any], ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of all settings that change."""
        if self.kind == "list":
            return tuple(dict.fromkeys(key for point in self.listed for key in point))
        return tuple(key for axis in self.axes for key in axis.keys)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes of a product; of others, the number of points."""
        if self.kind != "product":
            return (self.points,)
        return tuple(axis.count or 1 for axis in self.axes)

    def settings(self, index: int) -> dict[str, Any]:
        """Return the settings of a point, by key; the last axis of a product changes first."""
        if self.kind == "list":
            return dict(self.listed[index])
        found: dict[str, Any] = {}
        if self.kind in ("random", "sobol"):
            for axis, share in zip(self.axes, self._shares[index].tolist(), strict=True):
                found |= axis.drawn(share)
            return found
        places = (index,) * len(self.axes)
        if self.kind == "product":
            places = tuple(int(place) for place in np.unravel_index(index, self.shape))
        for axis, place in zip(self.axes, places, strict=True):
            found |= axis.settings(place)
        return found

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        """Places on the axes, shape (points, n_axes); more points begin with the same ones."""
        if self.kind == "random":
            return np.random.default_rng(self.seed).random((self.points, len(self.axes)))
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(self.axes), scramble=True, rng=self.seed)
        whole = power_of_two(self.points)  # scipy warns of others
        return np.asarray(sequence.random(whole)[: self.points])


def design_of(
    axes: Mapping[str, Any] | None = None,
    design: str = "product",
    points: int | Sequence[Mapping[str, Any]] | None = None,
    seed: int = 0,
) -> Design:
    """Check axes and points of a scan.

    Parameters
    ----------
    axes : mapping, optional
        By key, or several keys with commas: a list of values, or a range, ``{"from": 0, "to": 1,
        "num": 8}`` with an optional ``"scale": "log"``; in random designs without ``num``.
    design : {"product", "zip", "list", "random", "sobol"}
    points : int or sequence of mapping, optional
        Number of points of a random design; the settings of each point of a list.
    seed : int
        Of random designs.

    Returns
    -------
    Design

    Raises
    ------
    ValueError
        Naming axis, value and what is allowed; also above `MOST_POINTS` points.
    """
    kind = check_choice("scan.design", design, DESIGNS)
    seed = check_integer("scan.seed", seed, minimum=0)
    axes = {} if axes is None else axes
    if not isinstance(axes, Mapping):
        raise ValueError(f"scan.axes must be a table of keys and their values, got {axes!r}")
    if kind == "list":
        return _list(axes, points)
    if not axes:
        raise ValueError('scan.axes is missing: a key and its values, "target.noise" = [0, 0.5]')
    if len(axes) > _MOST_AXES:
        raise ValueError(f"scan.axes must be at most {_MOST_AXES}, got {len(axes)}")
    drawn = kind in ("random", "sobol")
    if drawn:
        if isinstance(points, Sequence) or points is None:
            raise ValueError(f"scan.points must be the number of points of a {kind} design")
        points = check_integer("scan.points", points, minimum=1)
    elif points is not None:
        raise ValueError(f"scan.points belongs to list, random and sobol designs, not to {kind}")
    found = tuple(_axis(name, entry, drawn) for name, entry in _flat(axes))
    keys = [key for axis in found for key in axis.keys]
    _check_different(keys)
    if kind == "zip" and len({axis.count for axis in found}) > 1:
        lengths = ", ".join(f"{axis.name} {axis.count}" for axis in found)
        raise ValueError(f"scan.axes of a zip must all have the same number of values: {lengths}")
    if drawn:
        number = typing.cast(int, points)
    elif kind == "zip":
        number = found[0].count or 0
    else:
        number = math.prod(axis.count or 1 for axis in found)
    _check_number(number)
    if kind == "zip":
        rows = [
            {k: v for axis in found for k, v in axis.settings(i).items()} for i in range(number)
        ]
        _check_points("scan.axes", rows)
    else:
        for axis in found:
            if axis.count is not None:
                _check_points(f"scan.axes.{axis.name}", map(axis.settings, range(axis.count)))
    return Design(typing.cast(DesignName, kind), found, number, seed)


def _list(axes: Mapping[str, Any], points: Any) -> Design:
    if axes:
        raise ValueError("scan.axes belongs to other designs: a list has scan.points only")
    if isinstance(points, str | Mapping) or not isinstance(points, Sequence) or not points:
        raise ValueError(
            'scan.points must be a list of tables, one for each point: [{ "target.noise" = 0.5 }]'
        )
    _check_number(len(points))
    listed = []
    for index, point in enumerate(points):
        if not isinstance(point, Mapping) or not point:
            raise ValueError(f"scan.points[{index}] must be a table of settings, got {point!r}")
        for key in point:
            _check_key(key)
        listed.append({str(key): value for key, value in point.items()})
    _check_points("scan.points", listed)
    return Design("list", (), len(points), listed=tuple(listed))


def _flat(axes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield axes by dotted key: TOML makes tables of ``target.noise`` without quotes."""
    for name, entry in axes.items():
        if isinstance(name, str) and name.partition(".")[0] in TABLES and _is_table(name, entry):
            yield from _flat({f"{name}.{inner}": value for inner, value in entry.items()})
        else:
            yield name, entry


def _is_table(name: str, entry: Any) -> bool:
    """Whether an axis is a table of further keys, and no range."""
    return isinstance(entry, Mapping) and ("." not in name or not entry.keys() & set(_RANGE))


def _axis(name: str, entry: Any, drawn: bool) -> Axis:
    if not isinstance(name, str):
        raise ValueError(f"keys of a scan must be names like target.noise, got {name!r}")
    keys = tuple(key.strip() for key in name.split(","))
    kinds = [_check_key(key) for key in keys]
    where = f"scan.axes.{name}"
    if isinstance(entry, Mapping):
        if len(keys) > 1:
            raise ValueError(f"{where}: several keys change together by a list, not by a range")
        return _range(where, keys, dict(entry), kinds[0], drawn)
    if isinstance(entry, str) or not isinstance(entry, Sequence | np.ndarray) or not len(entry):
        raise ValueError(
            f"{where} must be a list of values, or a range {{ from = 0, to = 1, num = 8 }}, "
            f"got {entry!r}"
        )
    listed = entry.tolist() if isinstance(entry, np.ndarray) else entry
    values = tuple(value.item() if isinstance(value, np.generic) else value for value in listed)
    if len(keys) > 1:
        for value in values:
            if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != len(keys):
                raise ValueError(f"{where} must list {len(keys)} values at a time, got {value!r}")
        values = tuple(map(tuple, values))
    return Axis(keys, values=values, count=len(values))


def _range(
    where: str, keys: tuple[str, ...], entry: dict[str, Any], kind: Any, drawn: bool
) -> Axis:
    needed = ("from", "to") if drawn else ("from", "to", "num")
    check_keys(where, entry, _RANGE, needed)
    ends = tuple(check_real(f"{where}.{name}", entry[name]) for name in ("from", "to"))
    scale = check_choice(f"{where}.scale", entry.get("scale", "linear"), ("linear", "log"))
    if scale == "log" and min(ends) <= 0:
        raise ValueError(
            f"{where} must be positive for a log scale, got {ends[0]:g} to {ends[1]:g}"
        )
    if drawn and "num" in entry:
        raise ValueError(f"{where}.num belongs to other designs: this one has scan.points")
    number = None if drawn else check_integer(f"{where}.num", entry["num"], minimum=1)
    types = set(typing.get_args(kind)) or {kind}
    return Axis(
        keys,
        ends=(ends[0], ends[1]),
        count=number,
        logarithmic=scale == "log",
        integer=int in types and float not in types,
    )


def _check_key(key: Any) -> Any:
    """Raise unless a run file has such a key; return its type."""
    if not isinstance(key, str):
        raise ValueError(f"keys of a scan must be names like target.noise, got {key!r}")
    if key in ALIASES:
        return _check_key(ALIASES[key][0])
    table, dot, name = key.partition(".")
    if not dot:
        names = ", ".join(ALIASES)
        raise ValueError(
            f"keys of a scan must be dotted, like target.noise, or one of {names}; got {key!r}"
        )
    try:
        check_known({table: {name.partition(".")[0]: None}}, TABLES, {})
    except ValueError as error:
        raise ValueError(f"scan: {error}") from None
    if table == "scan":
        raise ValueError(f"keys of a scan must be settings of a point, got {key!r}")
    return declared(TABLES[table])[name.partition(".")[0]][1]


def _check_different(keys: Sequence[str]) -> None:
    flat = [inner for key in keys for inner in ALIASES.get(key, (key,))]
    twice = [key for key in flat if flat.count(key) > 1]
    if twice:
        raise ValueError(f"scan.axes must not set {twice[0]} twice")


def _check_points(where: str, points: Iterable[Mapping[str, Any]]) -> None:
    """Raise at a value that is no number, and at settings that are there twice."""
    known: set[str] = set()
    for point in points:
        text = json.dumps(_comparable(dict(point)), sort_keys=True, default=repr)
        values = [json.dumps(_comparable(value), default=repr) for value in point.values()]
        if "NaN" in text and any(value == "NaN" for value in values):
            raise ValueError(f"{where} must not have a value nan")
        if text in known:
            raise ValueError(f"{where} must have each value once, got {', '.join(values)} twice")
        known.add(text)


def _comparable(value: Any) -> Any:
    """Return a value in which equal numbers look the same, 1 and 1.0 say."""
    if isinstance(value, Mapping):
        return {str(key): _comparable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_comparable(inner) for inner in value]
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if is_whole else value


def _check_number(number: int) -> None:
    if number > MOST_POINTS:
        raise ValueError(
            f"a scan must have at most {MOST_POINTS} points, got {number}: take fewer values, or a "
            "random or sobol design"
        )
