"""Files appear whole or not at all, with a checksum; leftovers of killed processes go."""

from __future__ import annotations

import errno
import os
import signal
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from children import contents, forked
from damage import same
from numpy.typing import NDArray

import dmft
from dmft.io.records import read_record, write_record
from dmft.io.results import read_result, whole_file, write_result
from dmft.plotting.common import new_figure, save_figure

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes and signals")


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.endswith(".partial")]


def killed_while_writing(path):
    def child():
        with whole_file(path) as stream:
            stream.write(b"half")
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(forked(child), 0)


# ------------------------------------------------------------------ leftovers


@pytest.mark.processes
@posix
@pytest.mark.parametrize("name", ["result.npz", "figure.png", "with\nline.npz"])
def test_what_a_kill_leaves_is_cleared_by_the_next_file(tmp_path, name):
    killed_while_writing(tmp_path / name)
    assert len(leftovers(tmp_path)) == 1
    assert not (tmp_path / name).exists()
    write_result(tmp_path / "other.npz", "thing", {}, {"x": np.arange(3)})
    assert set(contents(tmp_path)) == {"other.npz"}


@posix
def test_what_another_process_is_writing_is_left_alone(tmp_path):
    """From its first moment on, as another open file of the same process shows."""
    with whole_file(tmp_path / "slow.npz") as slow:
        slow.write(b"whole")
        for index in range(3):
            write_result(tmp_path / f"{index}.npz", "thing", {}, {})
        assert len(leftovers(tmp_path)) == 1
    assert (tmp_path / "slow.npz").read_bytes() == b"whole"
    assert leftovers(tmp_path) == []


@posix
def test_a_temporary_file_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    """Removed between its making and its lock."""
    open_file, made = Path.open, []

    def opened(path, mode="r", *rest):
        stream = open_file(path, mode, *rest)
        if mode == "x+b":
            made.append(path)
            if len(made) == 1:
                path.unlink()
        return stream

    monkeypatch.setattr(Path, "open", opened)
    with whole_file(tmp_path / "file") as stream:
        stream.write(b"whole")
    assert len(made) == 2
    assert contents(tmp_path) == {"file": b"whole"}


def test_other_files_are_no_leftovers(tmp_path):
    names = ["x.partial", ".x.partial", ".x.0123.partial", f"x.{'0' * 32}.partial"]
    for name in names:
        (tmp_path / name).touch()
    write_result(tmp_path / "r.npz", "thing", {}, {})
    assert set(contents(tmp_path)) == {*names, "r.npz"}


@pytest.mark.processes
@posix
def test_a_figure_is_whole_too(tmp_path):
    figure, _ = new_figure((2.0, 2.0))
    killed_while_writing(tmp_path / "figure.png")
    save_figure(figure, tmp_path / "figure.png")
    assert set(contents(tmp_path)) == {"figure.png"}
    assert contents(tmp_path)["figure.png"].startswith(b"\x89PNG")
    for suffix, start in ((".pdf", b"%PDF"), (".svg", b"<?xml")):
        path = save_figure(figure, tmp_path / f"figure{suffix}")
        assert path.read_bytes().startswith(start)


def test_a_full_disk_leaves_the_file_before(tmp_path, monkeypatch):
    path = write_result(tmp_path / "r.npz", "thing", {}, {"x": np.arange(3)})
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_result(path, "thing", {}, {"x": np.arange(4)})
    assert contents(tmp_path) == {"r.npz": before}


# ------------------------------------------------------------------ what is in a file


def test_a_file_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.standard_normal((3, 2)),
        "fortran": np.asfortranarray(rng.standard_normal((3, 4))),
        "none/of it": np.zeros((0, 5), np.int32),
        "scalar": np.array(2.5),
        "text": np.array(["SUCCESS", "x"]),
    }
    for compress in (True, False):
        path = write_result(tmp_path / "r", "thing", {"n": [1, None]}, arrays, compress=compress)
        config, found = read_result(path, "thing")
        assert config.pop("version")
        assert config == {"n": [1, None]}
        assert same(found, arrays)
        with np.load(path) as data:
            assert same({name: data[name] for name in arrays}, arrays)
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_result(tmp_path / "nothing", "thing")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ValueError, match=r"folder\.npz is a folder"):
        read_result(tmp_path / "folder.npz", "thing")


# ------------------------------------------------------------------ declarations


@dataclass(frozen=True)
class Inner:
    y: Annotated[NDArray[np.float64], "n"]
    status: dmft.Status


@dataclass(frozen=True)
class Outer:
    n: Annotated[int, "n"]
    x: Annotated[NDArray[np.float64], "n n+1 2"]
    maybe: Annotated[NDArray[np.intp] | None, "n"]
    names: Annotated[tuple[str, ...], "n"]
    inner: dict[str, Inner]
    pair: tuple[float, int | None]
    config: dict[str, Any]


def test_a_declaration_writes_reads_and_checks(tmp_path):
    inner = {
        "a b/c": Inner(np.ones(4), dmft.Status.SUCCESS),  # its own n
        "plain": Inner(np.zeros(1), dmft.Status.DIVERGED),
    }
    value = Outer(2, np.arange(12.0).reshape(2, 3, 2), None, ("x", "y"), inner, (0.1, None), {})
    path = write_record(tmp_path / "r.npz", "thing", value)
    assert same(read_record(path, "thing", Outer), value)
    assert set(read_result(path, "thing")[1]) == {"x", "inner/0/y", "inner/plain/y"}
    for changes, why in (
        ({"x": np.zeros((2, 2, 2))}, r"must have n\+1 = 3 there, got 2"),
        ({"x": np.zeros((2, 3, 3))}, "must have 2 there, got 3"),
        ({"names": ("x",)}, "names, of 1 entries, must have n = 2 there, got 1"),
        ({"maybe": np.zeros(2)}, "array 'maybe' must be of int64, got float64"),
        ({"pair": (0.1,)}, "pair must have 2 entries, got 1"),
        ({"pair": (0.1, 1.5)}, r"pair\[1\] must be an integer, got 1\.5"),
        ({"n": 3}, "must have n = 3 there, got 2"),
    ):
        path = write_record(tmp_path / "bad.npz", "thing", Outer(**{**vars(value), **changes}))
        with pytest.raises(ValueError, match=why):
            read_record(path, "thing", Outer)
