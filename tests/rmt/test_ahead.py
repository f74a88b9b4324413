"""A second process that compiles ahead: started where there is something to compile, and ended."""

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.processes]

KERNEL = """
from rmt._compiled import compiled

@compiled(nogil=True, ahead="second")
def f(x):
    return 3.0 * x
"""
SECOND = """
import pathlib, time
pathlib.Path(__file__).with_name("ran").touch()
time.sleep({seconds})
"""
# Prints the second process.
CALL = """
import sys
sys.path.insert(0, sys.argv[1])
from rmt import _ahead
import kernel

def call():
    assert kernel.f(2.0) == 6.0
    print(_ahead._process and _ahead._process.pid, flush=True)

if __name__ == "__main__":
    {run}
"""
WAIT = "call(); _ahead._process.wait()"
IN_WORKER = """import multiprocessing
    worker = multiprocessing.get_context("fork").Process(target=call)
    worker.start()
    worker.join()"""


@pytest.fixture
def package(tmp_path):
    """Folder with a module of one compiled function, and one that is run ahead."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "kernel.py").write_text(KERNEL, encoding="utf-8")
    (folder / "second.py").write_text(SECOND.format(seconds=0), encoding="utf-8")
    return folder


def second_process(package, run, threads="2"):
    """Number of the second process that a call starts, as text."""
    script = package.parent / "call.py"
    script.write_text(CALL.format(run=run), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(package)],
        env=os.environ | {"NUMBA_NUM_THREADS": threads}, cwd=package.parent,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_a_second_process_runs_once_there_is_something_to_compile(package):
    assert second_process(package, "call()", threads="1") == "None"
    for file in package.rglob("*.nbc"):
        file.unlink()
    assert second_process(package, WAIT).isdecimal()
    assert (package / "ran").exists()
    assert second_process(package, "call()") == "None"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_workers_start_none(package):
    assert second_process(package, IN_WORKER) == "None"
    assert list(package.rglob("*.nbc"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="asks for a process by its number")
def test_it_ends_with_the_first_process(package):
    (package / "second.py").write_text(SECOND.format(seconds=1000), encoding="utf-8")
    number = int(second_process(package, "call()"))
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_process_that_cannot_start_is_not_missed(package):
    run = "sys.executable = sys.argv[1] + '/no-python'; call()"
    assert second_process(package, run) == "None"
    assert second_process(package, "call()") == "None"
