"""Nested dicts and lists of arrays and numbers, in one file and back to the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.io.results import read_result, reporting, write_result

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["outline", "pack", "read_snapshot", "unpack", "write_snapshot"]


def pack(value: Any) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Take arrays out of a nested structure.

    Parameters
    ----------
    value : dict with str keys, list, tuple, ndarray, numpy scalar, int, float, bool, str or None
        Arrays and scalars of plain dtypes; everything else nested as deep as need be.

    Returns
    -------
    structure : JSON-able
        The value with arrays replaced by where they are.
    arrays : dict of str to ndarray
        Not copies.

    Raises
    ------
    TypeError
        If there is anything else in it.

    Examples
    --------
    >>> structure, arrays = pack({"t": 3, "B": [np.eye(2), None]})
    >>> structure
    {'t': 3, 'B': [{'array': '0'}, None]}
    >>> unpack(structure, arrays)["B"][0]
    array([[1., 0.],
           [0., 1.]])
    """
    arrays: dict[str, NDArray[Any]] = {}

    def packed(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            if array.dtype.kind not in "biuf":
                raise TypeError(f"cannot store an array of {array.dtype}")
            name = str(len(arrays))
            arrays[name] = array
            return {"array" if isinstance(value, np.ndarray) else "scalar": name}
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise TypeError("cannot store a dict with keys other than str")
            entries = {key: packed(entry) for key, entry in value.items()}
            # A dict that looks like one of the marks below is marked itself.
            plain = not (len(entries) == 1 and entries.keys() <= _MARKS)
            return entries if plain else {"dict": entries}
        if isinstance(value, list):
            return [packed(entry) for entry in value]
        if isinstance(value, tuple):
            return {"tuple": [packed(entry) for entry in value]}
        if value is None or type(value) in (bool, int, float, str):
            return value
        raise TypeError(f"cannot store a {type(value).__name__}")

    return packed(value), arrays


_MARKS = {"array", "scalar", "tuple", "dict"}


def unpack(structure: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Return what `pack` was given."""
    if isinstance(structure, list):
        return [unpack(entry, arrays) for entry in structure]
    if not isinstance(structure, dict):
        return structure
    if len(structure) == 1 and structure.keys() <= _MARKS:
        ((mark, content),) = structure.items()
        if mark == "array":
            return arrays[content]
        if mark == "scalar":
            return arrays[content][()]
        if mark == "tuple":
            return tuple(unpack(entry, arrays) for entry in content)
        structure = content
    return {key: unpack(entry, arrays) for key, entry in structure.items()}


def outline(value: Any) -> Any:
    """Return the structure of what `pack` accepts, with types for values and shapes for arrays."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape
    if isinstance(value, dict):
        return {key: outline(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [outline(entry) for entry in value]
    return type(value)


def write_snapshot(
    path: str | os.PathLike[str], kind: str, config: Mapping[str, Any], value: Any
) -> None:
    """Write a structure that `pack` accepts; the file appears complete or not at all.

    Parameters
    ----------
    path : path-like
    kind : str
        What it is, checked by `read_snapshot`.
    config : mapping
        JSON-able description that goes with it.
    value : dict, list, ...

    Raises
    ------
    OSError
        If it cannot be written; nothing is left behind.
    """
    structure, arrays = pack(value)
    header = {"config": dict(config), "structure": structure}
    # The numbers of paths hardly compress, and there are many.
    write_result(path, kind, header, arrays, compress=False)


def read_snapshot(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], Any]:
    """Read a file written by `write_snapshot`: description and structure.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedResultError
        If the file is damaged.
    ValueError
        If it is of another kind, or from a newer format.
    """
    header, arrays = read_result(path, kind)
    with reporting(path):
        return header["config"], unpack(header["structure"], arrays)
