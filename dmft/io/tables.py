"""Results as tables for others: xarray datasets, pandas data frames, netCDF files."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dmft.io.marks import TIME
from dmft.io.quantities import notes, quantities, singular
from dmft.io.results import software_commit, software_version, whole_file

if TYPE_CHECKING:
    import os

    import pandas as pd
    import xarray as xr

    from dmft.io.quantities import Quantity

__all__ = ["library", "origin", "to_csv", "to_dataframe", "to_netcdf", "to_xarray"]

# Dimensions so short that a table has a column for each of their entries.
_LARGEST: Final = 2**31 - 1
_SHORT: Final = ("neuron", "neuron_2", "direction", "hard_direction", "n_extreme")


def to_xarray(result: Any, names: Sequence[str] = ()) -> xr.Dataset:
    """Return the quantities of a result as a dataset, see `dmft.io.result.Result.to_xarray`."""
    xarray = library("xarray", "to_xarray")
    found = _coordinates_first(quantities(result, names))
    variables, coordinates = {}, set()
    sizes: dict[str, int] = {}
    for name, entry in found.items():
        dims = tuple(
            dim if sizes.setdefault(dim, size) == size else f"{name}_{dim}"
            for dim, size in zip(entry.dims, entry.values.shape, strict=True)
        )
        index = singular(name)
        if dims == (index,):  # the dimension's own coordinate
            name = index
        elif entry.unit == TIME.name and len(dims) == 1:
            coordinates.add(name)
        attributes = {"units": entry.unit}
        if entry.error_of:
            attributes["standard_error_of"] = entry.error_of
        variables[name] = (dims, _storable(entry.values), attributes)
    dataset: xr.Dataset = xarray.Dataset(variables, attrs=notes(result) | origin(result))
    return dataset.set_coords(sorted(coordinates))


def origin(result: Any) -> dict[str, str]:
    """Return class, version, commit and settings of a result, as attributes of a dataset."""
    return {
        "result": type(result).__name__,
        "version": software_version(),
        "commit": software_commit() or "",
        "config": json.dumps(result.config),
    }


def to_dataframe(result: Any, along: Sequence[str]) -> pd.DataFrame:
    """Return the quantities along some dimensions, see `dmft.io.result.Result.to_dataframe`."""
    pandas = library("pandas", "to_dataframe")
    found = _coordinates_first(quantities(result))
    known = sorted({dim for entry in found.values() for dim in entry.dims})
    for dim in along:
        if dim not in known:
            allowed = ", ".join(known) or "none"
            raise ValueError(f"along must be dimensions of the result ({allowed}), got {dim!r}")
    if len(set(along)) < len(along):
        raise ValueError(f"along must be different dimensions, got {', '.join(along)}")
    sizes: dict[str, int] = {}
    for entry in found.values():
        for dim, size in zip(entry.dims, entry.values.shape, strict=True):
            sizes.setdefault(dim, size)
    index = [_labels(found, dim, sizes[dim]) for dim in along]
    shape = tuple(map(len, index))
    columns: dict[str, Any] = {}
    for name, entry in found.items():
        others = [dim for dim in entry.dims if dim not in along]
        fits = all(sizes[dim] == n for dim, n in zip(entry.dims, entry.values.shape, strict=True))
        is_index = entry.dims == (singular(name),) and singular(name) in along
        too_many = any(dim not in _SHORT and not dim.endswith("_entry") for dim in others)
        if not set(along) <= set(entry.dims) or is_index or too_many or not fits:
            continue
        values = np.moveaxis(
            entry.values,
            [entry.dims.index(dim) for dim in (*along, *others)],
            range(entry.values.ndim),
        ).reshape(int(np.prod(shape)), math.prod(sizes[dim] for dim in others))
        labels = [_labels(found, dim, sizes[dim], first=1) for dim in others]
        for column, place in zip(values.T, np.ndindex(*map(len, labels)), strict=True):
            at = ",".join(str(label[i]) for label, i in zip(labels, place, strict=True))
            columns[f"{name}[{at}]" if at else name] = column
    if len(along) == 1:
        rows = pandas.Index(index[0], name=along[0])
    else:
        rows = pandas.MultiIndex.from_product(index, names=list(along))
    return pandas.DataFrame(columns, index=rows)


def to_csv(result: Any, path: Path) -> Path:
    """Write the table of a result, see `dmft.io.result.Result.to_dataframe`."""
    if hasattr(result, "to_csv"):  # a scan needs no library for it
        written: Path = result.to_csv(path)
        return written
    text = result.to_dataframe().to_csv()
    with whole_file(path) as stream:
        stream.write(text.encode())
    return path


def to_netcdf(result: Any, path: str | os.PathLike[str], names: Sequence[str] = ()) -> Path:
    """Write the quantities of a result, see `dmft.io.result.Result.to_netcdf`."""
    dataset: xr.Dataset = result.to_xarray(*names)
    # In netCDF 3 a dimension of length 0 is one without an end.
    empty = {str(name): of.dims for name, of in dataset.variables.items() if not of.size}
    dataset = dataset.drop_vars(list(empty))
    if empty:
        dataset.attrs["empty"] = "\n".join(
            f"{name} ({', '.join(map(str, dims))})" for name, dims in empty.items()
        )
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "iu" and np.abs(variable.values).max(initial=0) > _LARGEST:
            dataset[name] = variable.astype(str).astype(object)  # netCDF 3 has 32 bits
    target = Path(path)
    if target.suffix != ".nc":
        target = target.with_name(target.name + ".nc")
    if not target.parent.is_dir():
        raise FileNotFoundError(2, "no such folder to write to", str(target.parent))
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "result.nc"
        dataset.to_netcdf(written, engine="scipy")
        with whole_file(target) as stream:
            stream.write(written.read_bytes())
    return target


def library(name: str, what: str) -> Any:
    """Import a library of the extra ``data``."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ModuleNotFoundError(
            f'{what} needs {name}, which is not installed: pip install "delta-nn[data]"'
        ) from None


def _coordinates_first(found: dict[str, Quantity]) -> dict[str, Quantity]:
    """Return quantities with those first that say how long their dimension is."""
    first = {name: entry for name, entry in found.items() if entry.dims == (singular(name),)}
    return {**first, **found}


def _storable(values: Any) -> Any:
    """Return values of a type that files of other formats have: texts are objects."""
    return values.astype(object) if values.dtype.kind == "U" else values


def _labels(found: dict[str, Quantity], dim: str, size: int, first: int = 0) -> Any:
    """Return the coordinate of a dimension; the numbers of its entries where it has none."""
    own = (
        entry.values for name, entry in found.items() if entry.dims == (dim,) == (singular(name),)
    )
    return next(own, np.arange(first, size + first))
