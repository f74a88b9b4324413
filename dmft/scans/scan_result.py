"""Result of a scan: the table of its points, with value, error and status of each quantity."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_choice
from dmft._numerics.value_text import text_table, value_text
from dmft.io.records import check_status_names
from dmft.io.results import reporting, whole_file
from dmft.io.saved_result import SavedResult
from dmft.io.tables import library, origin
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from dmft.io.report_text import Lines

__all__ = ["Scan", "points_line"]

FloatArray = NDArray[np.float64]

_MOST_ROWS = 60
_ROUNDING = 1e-7
_FEW = 5


@dataclass(frozen=True, eq=False, repr=False)
class Scan(SavedResult, kind="scan", settings=()):
    """Values, errors and statuses of q quantities at n points.

    Made by :func:`dmft.scan`.

    Attributes
    ----------
    settings : dict
        The n values of each setting that changes, by key; None where a point does not state it.
    quantities : tuple of str
    value, error : ndarray, shape (n, q)
        NaN where there is none. What an error is depends on the quantity: `errors` says it. An
        error of zero is that of an exact value.
    statuses : ndarray of str, shape (n, q)
        Names of a `Status`; FAILED where the computation ended with an error.
    details : dict
        Explanations of a status, by ``"point,quantity"``; few points have one.
    design : str
        ``product``, ``zip``, ``list``, ``random`` or ``sobol``.
    shape : tuple of int
        Lengths of the axes of a product; ``(n,)`` elsewhere.
    axes : tuple of tuple of str
        Keys of each axis; of a list, all keys.
    errors : tuple of str
        What the error of each quantity is.
    config : dict
        Tables of the run file that the points change, as plain types.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> axes = {"problem.init_radius": [1.0, 2.0]}
    >>> found = dmft.scan("robust-phase-retrieval-gelu", axes, "threshold@0", workers=1)
    >>> found
    Scan(2 points, quantities=('threshold@0',), design='product', status=SUCCESS)
    >>> found.grid("threshold@0").round(2)
    array([1.69, 3.66])
    """

    settings: dict[str, Any]
    quantities: Annotated[tuple[str, ...], "q"]
    value: Annotated[FloatArray, "n q"]
    error: Annotated[FloatArray, "n q"]
    statuses: Annotated[NDArray[np.str_], "n q"]
    details: dict[str, str]
    design: str
    shape: tuple[int, ...]
    axes: tuple[tuple[str, ...], ...]
    errors: Annotated[tuple[str, ...], "q"]
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def n_points(self) -> int:
        """Number of points."""
        return len(self.value)

    @property
    def status(self) -> Status:
        """SUCCESS, or the first other status, in the order of the points."""
        return first_failure(self._each())

    def _each(self) -> Iterator[Status]:
        return (Status[str(name)] for name in self.statuses.ravel())

    def column(self, quantity: str | None = None) -> int:
        """Return the place of a quantity; without a name, of the first one.

        Raises
        ------
        ValueError
            If there is none of that name.
        """
        if quantity is None:
            return 0
        name = check_choice("quantity", quantity, self.quantities)
        return self.quantities.index(name)

    def grid(self, quantity: str | None = None, what: str = "value") -> NDArray[Any]:
        """Return the values of a quantity along the axes.

        Parameters
        ----------
        quantity : str, optional
            Default: the first one.
        what : {"value", "error", "statuses"}

        Returns
        -------
        ndarray, shape `shape`

        Raises
        ------
        ValueError
            If there is no such quantity or array.
        """
        name = check_choice("what", what, ("value", "error", "statuses"))
        return np.asarray(getattr(self, name)[:, self.column(quantity)].reshape(self.shape))

    def axis(self, index: int) -> list[Any]:
        """Return the values along an axis of a product: of its first key."""
        values = self.settings[self.axes[index][0]]
        stride = int(np.prod(self.shape[index + 1 :]))
        return [values[place * stride] for place in range(self.shape[index])]

    def detail(self, point: int, quantity: str | None = None) -> str:
        """Return the explanation of a status; empty where there is none."""
        return self.details.get(f"{point},{self.column(quantity)}", "")

    # -- tables -----------------------------------------------------------------------------------

    def columns(self) -> dict[str, list[Any]]:
        """Return one row for each point, by column.

        Settings come first; then for each quantity ``NAME``, ``NAME_error``, ``NAME_status`` and
        ``NAME_detail``.
        """
        found = {key: list(map(_cell, values)) for key, values in self.settings.items()}
        for place, name in enumerate(self.quantities):
            found[name] = self.value[:, place].tolist()
            found[f"{name}_error"] = self.error[:, place].tolist()
            found[f"{name}_status"] = self.statuses[:, place].tolist()
            found[f"{name}_detail"] = [
                self.details.get(f"{point},{place}", "") for point in range(self.n_points)
            ]
        return found

    def to_dataframe(self, *along: str) -> Any:
        """Return the table of `columns` as a ``pandas.DataFrame``.

        Raises
        ------
        ImportError
            If pandas is not installed.
        ValueError
            If there are dimensions: a scan has one row for each point.
        """
        if along:
            raise ValueError(f"along must be empty: rows are points, got {along[0]!r}")
        pandas = library("pandas", "to_dataframe")
        return pandas.DataFrame(self.columns())

    def to_xarray(self, *names: str) -> Any:
        """Return quantities along the axes as an ``xarray.Dataset``, with errors and statuses.

        Parameters
        ----------
        *names : str
            Quantities; default: all.

        Raises
        ------
        ImportError
            If xarray is not installed.
        ValueError
            If there is no such quantity.
        """
        xarray = library("xarray", "to_xarray")
        product = self.design == "product"
        dims = tuple(keys[0] for keys in self.axes) if product else ("point",)
        data: dict[str, Any] = {}
        for name in names or self.quantities:
            data[name] = (dims, self.grid(name), {"error": self.errors[self.column(name)]})
            data[f"{name}_error"] = (dims, self.grid(name, "error"))
            data[f"{name}_status"] = (dims, self.grid(name, "statuses").astype(object))
        places: dict[str, Any] = {
            dim: list(map(_cell, self.axis(place))) for place, dim in enumerate(dims) if product
        }
        for key, values in self.settings.items():
            if not product:
                places[key] = ("point", list(map(_cell, values)))
        words = {"design": self.design, "status": self.status.name, **origin(self)}
        return xarray.Dataset(data, places, words)

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the table of `columns` as CSV, numbers to the last digit; return the file.

        Raises
        ------
        OSError
            If it cannot be written; nothing is left behind.
        """
        columns = self.columns()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        target = Path(path)
        with whole_file(target) as stream:
            stream.write(text.getvalue().encode())
        return target

    def table(self, most: int = _MOST_ROWS) -> str:
        """Return the points as text, one line for each, the first `most` of them."""
        head = [*(key.partition(".")[2] or key for key in self.settings)]
        head += [text for name in self.quantities for text in (name, "status")]
        rows = []
        for point in range(min(self.n_points, most)):
            row = [_text(_cell(values[point])) for values in self.settings.values()]
            for place in range(len(self.quantities)):
                value, error = float(self.value[point, place]), float(self.error[point, place])
                # Of a smaller error nothing would be seen.
                text = value_text(value, error, smallest=_ROUNDING * abs(value), exact=" (exact)")
                row.append("none" if np.isnan(value) else text)
                row.append(str(self.statuses[point, place]))
            rows.append(row)
        lines = [text_table(head, rows)]
        if self.n_points > most:
            lines.append(f"... and {self.n_points - most} more points")
        return "\n".join(lines)

    def _report(self) -> tuple[Lines, str]:
        """Return what there is to say about the scan as a whole, and the first of its points."""
        return self.lines(), self.table()

    def lines(self) -> list[tuple[str, str]]:
        """Return what there is to say about the scan as a whole, as pairs of name and text."""
        found = [points_line(self.n_points, self.design, self.shape)]
        found += [(key, _range(values)) for key, values in self.settings.items()]
        for place, name in enumerate(self.quantities):
            counts = Counter(self.statuses[:, place].tolist())
            found.append((name, ", ".join(f"{count} {status}" for status, count in counts.items())))
        failed = [key for key in self.details if self._status_of(key) == Status.FAILED.name]
        for text in list(dict.fromkeys(self.details[key] for key in failed))[:3]:
            found.append(("failed", text))
        return found

    def _status_of(self, key: str) -> str:
        point, place = map(int, key.split(","))
        return str(self.statuses[point, place])

    # -- files ------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scan:
        """Read a scan written by :meth:`save`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is not a scan, is damaged, or was written by a newer version.
        """
        found = super().load(path)
        with reporting(path):
            check_status_names(found.statuses)
            for key in found.details:
                point, _, place = key.partition(",")
                if not (point.isdecimal() and place.isdecimal()) or (
                    int(point) >= found.n_points or int(place) >= len(found.quantities)
                ):
                    raise ValueError(f"details must be of points and quantities, got {key!r}")
        return found

    def check_settings(self) -> None:
        """Raise unless the parts of a scan belong together."""
        n = len(self.value)
        expected = len(self.axes) if self.design == "product" else 1
        if int(np.prod(self.shape)) != n or len(self.shape) != expected:
            raise ValueError(f"shape must be that of {n} points, got {self.shape}")
        for key, values in self.settings.items():
            if not isinstance(values, list) or len(values) != n:
                raise ValueError(f"settings must have {n} values of {key!r}")
        if not self.quantities:
            raise ValueError("it has no quantity")
        if any(key not in self.settings for axis in self.axes for key in axis):
            raise ValueError("axes must name settings")

    def __repr__(self) -> str:
        return (
            f"Scan({self.n_points} points, quantities={self.quantities}, design={self.design!r}, "
            f"status={self.status.name})"
        )


def points_line(number: int, design: str, shape: Sequence[int]) -> tuple[str, str]:
    """Write the number of points of a design, and of each axis of several."""
    axes = f", {' x '.join(map(str, shape))}" if len(shape) > 1 else ""
    return "points", f"{number} ({design}{axes})"


def _cell(value: Any) -> Any:
    """Return a setting as a cell of a table: numbers and words as they are, others as JSON."""
    return value if isinstance(value, str | int | float | None) else json.dumps(value)


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _range(values: list[Any]) -> str:
    """Write the values of a setting: a few of them, or from where to where they go."""
    different = list(dict.fromkeys(_text(_cell(value)) for value in values))
    if len(different) <= _FEW:
        return ", ".join(different)
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) == len(values):
        return f"{len(different)} values, {_text(min(numbers))} to {_text(max(numbers))}"
    return f"{len(different)} values, {', '.join(different[:_FEW])}, ..."
