"""Compiled functions: kept on disk and checked, or not kept and compiled anew; never fatal."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rmt._compiled
from dmft.cli.output import finish

SOURCE = """
from rmt._compiled import compiled

@compiled(nogil=True)
def f(x):
    return {factor} * x
"""
# Says whether the result came from a file.
CALL = """
import sys
sys.path.insert(0, sys.argv[1])
import kernel
print(kernel.f(2.0), len(kernel.f.stats.cache_hits) if hasattr(kernel.f, "stats") else 0)
from rmt._compiled import could_not_keep
print(could_not_keep())
"""


@pytest.fixture
def package(tmp_path):
    """Folder with a module of one compiled function."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "kernel.py").write_text(SOURCE.format(factor=3.0), encoding="utf-8")
    return folder


def ran(package, prefix=(), **environment):
    """Result, whether it was compiled before, and whether nothing could be kept, as printed."""
    done = subprocess.run(
        [*prefix, sys.executable, "-W", "error", "-c", CALL, str(package)],
        env=os.environ | {"HOME": str(package.parent / "home")} | environment,
        capture_output=True, text=True, timeout=100, check=False, cwd=package.parent,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def files(package):
    return sorted(package.rglob("*.nbc"))


def loaded(package):
    """The function, as a new process would see it."""
    spec = importlib.util.spec_from_file_location("kernel", package / "kernel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.f


def hits(function):
    return sum(function.stats.cache_hits.values())


def test_every_kernel_is_kept_and_checked():
    from dmft._numerics import elementary
    from dmft._numerics import kernels as _kernels
    from dmft._numerics import passes as _passes
    from rmt import _kernels as of_laws

    found = [
        value
        for module in (elementary, _kernels, _passes, of_laws)
        for value in vars(module).values()
        if hasattr(value, "py_func")
    ]
    assert len(found) > 40
    for kernel in found:
        assert isinstance(kernel._cache, rmt._compiled._Cache)
        assert isinstance(kernel._cache._cache_file, rmt._compiled._CheckedFiles)


def test_what_is_compiled_is_kept(package):
    first = loaded(package)
    assert (first(2.0), hits(first)) == (6.0, 0)
    (file,) = files(package)
    again = loaded(package)
    assert (again(2.0), hits(again)) == (6.0, 1)
    assert files(package) == [file]
    # Of another source, and of another signature.
    (package / "kernel.py").write_text(SOURCE.format(factor=5.0), encoding="utf-8")
    changed = loaded(package)
    assert (changed(2.0), hits(changed)) == (10.0, 0)
    assert files(package) == [file]
    assert changed(2) == 10.0
    assert len(files(package)) == 2
    changed.recompile()
    assert len(files(package)) == 2


def test_a_change_of_a_module_with_functions_called_is_noticed(package, monkeypatch):
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    calling = "from factors import g\n" + SOURCE.replace("{factor} * x", "g(x)")
    (package / "kernel.py").write_text(calling, encoding="utf-8")
    for factor in (3.0, 50.0):
        of_factor = SOURCE.format(factor=factor).replace("def f", "def g")
        (package / "factors.py").write_text(of_factor, encoding="utf-8")
        sys.modules.pop("factors", None)
        function = loaded(package)
        assert (function(2.0), hits(function)) == (2.0 * factor, 0)
    again = loaded(package)
    assert (again(2.0), hits(again)) == (100.0, 1)
    sys.modules.pop("factors")


def test_a_damaged_or_foreign_file_is_compiled_anew(package):
    assert loaded(package)(2.0) == 6.0
    (file,) = files(package)
    whole = file.read_bytes()
    other = package.parent / "other"
    other.mkdir()
    (other / "kernel.py").write_text(SOURCE.format(factor=7.0), encoding="utf-8")
    assert loaded(other)(2.0) == 14.0
    foreign = files(other)[0].read_bytes()
    assert files(other)[0].name == file.name
    flipped = [bytearray(whole) for _ in range(3)]
    for contents, at in zip(flipped, (0, 40, len(whole) // 2), strict=True):
        contents[at] ^= 4
    for contents in (b"", whole[:20], whole[:-1], whole + b"\0", foreign, *flipped):
        file.write_bytes(contents)
        function = loaded(package)
        assert (function(2.0), hits(function)) == (6.0, 0)
        assert file.read_bytes() != bytes(contents)
    function = loaded(package)
    assert (function(2.0), hits(function)) == (6.0, 1)


def test_a_folder_in_the_place_of_the_file_is_not_fatal(package, monkeypatch):
    monkeypatch.setattr(rmt._compiled, "_not_kept", False)
    assert loaded(package)(2.0) == 6.0
    (file,) = files(package)
    file.unlink()
    file.mkdir()
    assert loaded(package)(2.0) == 6.0
    assert rmt._compiled.could_not_keep()
    assert [path.name for path in file.parent.iterdir() if ".tmp" in path.name] == []


def test_no_folder_at_all(package, monkeypatch, capsys):
    monkeypatch.setattr(rmt._compiled, "_not_kept", False)
    finish()
    assert capsys.readouterr().err == ""

    def no_folder(*_):
        raise RuntimeError("cannot cache function 'f': no locator available for file 'kernel.py'")

    monkeypatch.setattr(rmt._compiled.FunctionCache, "__init__", no_folder)
    function = loaded(package)
    assert (function(2.0), function(3.0)) == (6.0, 9.0)
    assert files(package) == []
    finish()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "NUMBA_CACHE_DIR" in captured.err


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(
    not (hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("setpriv")),
    reason="takes the rights of the superuser away",
)
def test_read_only_package_and_home(package):
    """A user without rights and a package of the system; another folder may be named."""
    (package.parent / "home").mkdir()
    (package.parent / "file").touch()
    for folder in (package, package.parent / "home"):
        folder.chmod(0o555)
    powerless = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")
    settings = {
        "PYTHONPATH": str(Path(rmt.__file__).parents[1]),
        "XDG_CACHE_HOME": str(package.parent / "home"),
    }
    assert ran(package, powerless, **settings) == ["6.0", "0", "True"]
    file = {"NUMBA_CACHE_DIR": str(package.parent / "file")}
    assert ran(package, powerless, **settings, **file) == ["6.0", "0", "True"]
    folder = {"NUMBA_CACHE_DIR": str(package.parent / "folder")}
    assert ran(package, powerless, **settings, **folder) == ["6.0", "0", "False"]
    assert ran(package, powerless, **settings, **folder) == ["6.0", "1", "False"]
    assert files(package) == []
    package.chmod(0o755)
