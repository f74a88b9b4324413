"""Public face of every result: text, figure, tables, comparison with another."""

from __future__ import annotations

import base64
import dataclasses
import html
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from dmft._numerics.value_text import value_text
from dmft.io.report_text import report_text, status_line

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import pandas as pd
    import xarray as xr

    from dmft.io.report_text import Lines
    from rmt.status import Status

__all__ = ["Result", "same"]

_MOST_LINES: Final = 14  # of a small table


class Result:
    """Base of all results.

    Subclasses say what their axes are (`dmft.io.quantities`), along which dimensions their table
    lies, what their ``repr`` shows, and write their report.
    """

    #: Names of the axes that annotations of the fields state by letters.
    _axes: ClassVar[Mapping[str, str]] = {}
    #: Dimensions of the rows of a data frame.
    _rows: ClassVar[tuple[str, ...]] = ()
    #: Attributes that ``repr`` shows.
    _shown: ClassVar[tuple[str, ...]] = ()

    #: numpy leaves a comparison with an array to `__eq__`.
    __array_ufunc__: ClassVar[None] = None

    if TYPE_CHECKING:

        @property
        def status(self) -> Status:
            """How the computation ended."""

        @property
        def config(self) -> dict[str, Any]:
            """Settings as plain types."""

    def _report(self) -> tuple[Lines, str]:
        """Return lines of names and values, and a table or nothing."""
        raise NotImplementedError

    @property
    def _status_text(self) -> str:
        """What a status says of a result of this kind, if not what it says of all; or nothing."""
        return ""

    def _record(self) -> Any:
        """Return the dataclass that is compared, and stored."""
        return self

    # -- text ---------------------------------------------------------------------------------

    def summary(self) -> str:
        """Write what the command line prints of this result.

        Returns
        -------
        str
            Some lines, problem and method first, the status last.
        """
        lines, table = self._report()
        return report_text(lines, [status_line(self.status, self._status_text)], table)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self._shortly(name)}" for name in self._shown)
        return f"{type(self).__name__}({shown}, status={self.status.name})"

    def _shortly(self, name: str) -> str:
        value = getattr(self, name)
        if isinstance(value, float):
            error = getattr(self, "stderr" if name == "value" else f"{name}_stderr", 0.0)
            return value_text(value, error if isinstance(error, float) else 0.0)
        if isinstance(value, np.ndarray):
            return f"array of {'x'.join(map(str, value.shape))}"
        if isinstance(value, dict):
            return repr(list(value))
        return repr(value)

    def _repr_html_(self) -> str:
        """Return a small table and a figure, as notebooks show them."""
        lines, table = self._report()
        rows = [*lines, status_line(self.status, self._status_text)]
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in rows[:_MOST_LINES]
        )
        parts = [f"<b>{type(self).__name__}</b><table>{cells}</table>"]
        if table and table.count("\n") < _MOST_LINES:
            parts.append(f"<pre>{html.escape(table)}</pre>")
        try:
            drawn = importlib.import_module("dmft.plotting").picture(self)
        except (ImportError, ValueError):  # no matplotlib, or nothing to draw
            drawn = b""
        if drawn:
            data = base64.b64encode(drawn).decode()
            name = html.escape(repr(self), quote=True)
            parts.append(f'<img alt="{name}" src="data:image/png;base64,{data}">')
        return "\n".join(parts)

    # -- figure -------------------------------------------------------------------------------

    def plot(self, ax: Any = None, **style: Any) -> Any:
        """Draw this result as the function of `dmft.plotting` for it does.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or array of them, optional
            Where to draw, one for each panel; a new figure by default.
        **style
            ``size``: "column" (3.4 inches wide), "page" (7 inches) or (width, height); anything
            else is a setting of matplotlib, with underscores for dots: ``font_size=8``,
            ``lines_linewidth=1``. See `dmft.plotting.STYLE`.

        Returns
        -------
        matplotlib.axes.Axes or ndarray of them
            The axes, an array where there are several panels; ``axes.figure`` is the figure.

        Raises
        ------
        ValueError
            If there is nothing to draw, there are not as many axes as panels, or no such setting.
        """
        return importlib.import_module("dmft.plotting").plot_result(self, ax, **style)

    # -- tables -------------------------------------------------------------------------------

    def to_xarray(self, *names: str) -> xr.Dataset:
        """Return the quantities with named dimensions.

        Needs the extra ``data`` (``pip install "delta-nn[data]"``).

        Parameters
        ----------
        *names : str
            Quantities; by default all but those at two times, which are large.

        Returns
        -------
        xarray.Dataset
            Variables have the names of the attributes, ``limit_value`` for ``limit.value``, an
            attribute ``units``, and their standard errors as variables ``NAME_stderr``. Statuses,
            version, commit and settings (``config``, as JSON) are attributes.

        Raises
        ------
        ModuleNotFoundError
            If xarray is not installed.
        ValueError
            If there is no quantity of a name.
        """
        from dmft.io.tables import to_xarray

        return to_xarray(self, names)

    def to_dataframe(self, *along: str) -> pd.DataFrame:
        """Return a table of the quantities along some dimensions.

        Needs the extra ``data``.

        Parameters
        ----------
        *along : str
            Dimensions of the rows; those of the result by default. Quantities that have all of
            them become columns, one for each neuron and direction.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ModuleNotFoundError
            If pandas is not installed.
        ValueError
            If the result has no such dimension.
        """
        from dmft.io.tables import to_dataframe

        return to_dataframe(self, along or self._rows)

    def to_netcdf(self, path: str | os.PathLike[str], *names: str) -> Path:
        """Write `to_xarray` to a netCDF file (of version 3; complete or not at all).

        Needs the extra ``data``. Such files have no dimension of length 0: quantities without an
        entry, the outliers where there is none say, are named in the attribute ``empty``, with
        their dimensions.

        Parameters
        ----------
        path : path-like
            The file; a missing ``.nc`` suffix is added.
        *names : str
            Quantities, as in `to_xarray`.

        Returns
        -------
        pathlib.Path
            The file written.

        Raises
        ------
        ModuleNotFoundError
            If xarray is not installed.
        OSError
            If it cannot be written.
        """
        from dmft.io.tables import to_netcdf

        return to_netcdf(self, path, names)

    # -- comparison ---------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        return same(self._record(), other._record())

    def __hash__(self) -> int:
        config = getattr(self, "config", {})
        return hash((type(self).__name__, repr(config.get("problem")), repr(config.get("method"))))


def same(a: Any, b: Any) -> bool:
    """Return whether two records hold the same: arrays to the bit, NaN equal to NaN."""
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and a.tobytes() == b.tobytes()
        )
    if type(a) is not type(b):
        return False
    if dataclasses.is_dataclass(a):
        stored = [field for field in dataclasses.fields(a) if field.metadata.get("stored", True)]
        return all(same(getattr(a, field.name), getattr(b, field.name)) for field in stored)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b or (a != a and b != b))
