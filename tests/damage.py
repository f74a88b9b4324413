"""Ways in which a file on disk may come to hold something else, and what must come of it."""

from __future__ import annotations

import dataclasses
import io
import json
import struct
import zlib

import numpy as np


def _place(rng, data):
    return int(rng.integers(len(data))), int(rng.integers(1, 65))


def flipped_bit(rng, data):
    at, _ = _place(rng, data)
    return data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]


def overwritten(rng, data):
    at, size = _place(rng, data)
    new = rng.bytes(len(data[at : at + size]))
    return data[:at] + (new if new != data[at : at + size] else b"") + data[at + size :]


def zeros(rng, data):
    at, size = _place(rng, data)
    part = data[at : at + size]
    return data[:at] + bytes(len(part)) + data[at + size :] if any(part) else data[:-1]


def truncated(rng, data):
    return data[: int(rng.integers(len(data)))]


def beheaded(rng, data):
    return data[int(rng.integers(1, len(data))) :]


def extended(rng, data):
    return data + rng.bytes(int(rng.integers(1, 65)))


def inserted(rng, data):
    at, size = _place(rng, data)
    return data[:at] + rng.bytes(size) + data[at:]


def twice(rng, data):
    return data + data


BYTES = (flipped_bit, overwritten, zeros, truncated, beheaded, extended, inserted, twice)


def parts(data):
    """Header and arrays of a result file, by plain numpy."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return json.loads(bytes(arrays.pop("header"))), arrays


def sealed(header, arrays, save=np.savez):
    """A result file with a right checksum, written here from its description."""
    stream = io.BytesIO()
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    save(stream, header=text, **arrays)
    return seal(stream.getvalue())


def seal(archive):
    """Put the right checksum at the end of a zip file."""
    data = archive[:-2] + struct.pack("<H", 23) + b"delta-nn crc32 "
    return data + b"%08x" % zlib.crc32(data)


# ------------------------------------------------------------------ well-formed, but wrong


def _nodes(value, found=None, holder=None):
    """All (container, key) of a nested structure."""
    found = [] if found is None else found
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, entry in list(pairs):
        found.append((value, key))
        if isinstance(entry, dict | list):
            _nodes(entry, found)
    return found


def edited_header(rng, header, arrays):
    """One entry of the header goes, comes, or becomes something else."""
    nodes = _nodes(header["config"])
    container, key = nodes[int(rng.integers(len(nodes)))]
    what = int(rng.integers(4))
    if what == 0:
        del container[key]
    elif what == 1:
        other = {"another": 1.5} if isinstance(container, dict) else None
        container.update(other) if other else container.append(container[key])
    else:
        entries = [None, True, -1, 10**400, 1.5, float("nan"), "text", [], [[1.5]], {}, {"a": 1}]
        container[key] = entries[int(rng.integers(len(entries)))]


def edited_top(rng, header, arrays):
    key = list(header)[int(rng.integers(len(header)))]
    entries = [None, True, "x", [], {}, 1.5]
    header[key] = entries[int(rng.integers(len(entries)))]


def _one(rng, arrays):
    return list(arrays)[int(rng.integers(len(arrays)))]


def renamed_array(rng, header, arrays):
    name = _one(rng, arrays)
    arrays[name + "x"] = arrays.pop(name)


def missing_array(rng, header, arrays):
    del arrays[_one(rng, arrays)]


def another_array(rng, header, arrays):
    arrays["another"] = np.zeros(3)


def swapped_arrays(rng, header, arrays):
    one, two = _one(rng, arrays), _one(rng, arrays)
    arrays[one], arrays[two] = arrays[two], arrays[one]


def another_dtype(rng, header, arrays):
    name = _one(rng, arrays)
    dtypes = [np.float32, np.complex128, np.int16, np.uint64, bool, "S8", ">f4"]
    with np.errstate(all="ignore"):
        as_text = arrays[name].dtype.kind == "U"
        dtype = "S8" if as_text else dtypes[int(rng.integers(len(dtypes)))]
        values = np.nan_to_num(arrays[name]) if arrays[name].dtype.kind == "f" else arrays[name]
        real = not (as_text or dtype == "S8")
        arrays[name] = (np.zeros(values.shape) if real else values).astype(dtype)


def another_shape(rng, header, arrays):
    name = _one(rng, arrays)
    array, axis = arrays[name], int(rng.integers(max(arrays[name].ndim, 1)))
    what = int(rng.integers(4))
    if what == 0 or not array.ndim:
        arrays[name] = array[np.newaxis]
    elif what == 1:
        arrays[name] = array.take(range(max(array.shape[axis] - 1, 0)), axis)
    elif what == 2:
        arrays[name] = np.concatenate([array, array], axis)
    else:
        arrays[name] = array.ravel() if array.ndim > 1 else array[..., np.newaxis]


WELL_FORMED = (
    *(edited_header, edited_header, edited_top, renamed_array, missing_array),
    *(another_array, swapped_arrays, another_dtype, another_shape),
)


# ------------------------------------------------------------------ what must come of it


def outcome(action, *arguments):
    """Return what an action returns, and the line of its ValueError, or None."""
    try:
        return action(*arguments), None
    except ValueError as error:
        return None, str(error)


# ------------------------------------------------------------------ equality to the bit


def same(a, b):
    """Whether two results hold the same, arrays to the bit."""
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if type(a) is not type(b):
        return False
    if dataclasses.is_dataclass(a):
        names = [field.name for field in dataclasses.fields(a)]
        return all(same(getattr(a, name), getattr(b, name)) for name in names)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)
