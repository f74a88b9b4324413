"""The command in a bad environment: streams, disks, memory, interrupts, figures."""

import os
import signal
import subprocess
import sys
import time

import pytest
from commands import ONE_STEP, called, hear_interrupts, names, shell

from dmft.cli import main
from dmft.cli.exits import UsageError
from dmft.cli.limits import check_address_space

pytestmark = pytest.mark.skipif(os.name == "nt", reason="descriptors and signals")
resource = pytest.importorskip("resource")

FILES = ["small-trajectory.npz", "small-trajectory.png"]


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(ONE_STEP, encoding="utf-8")
    return path


@pytest.fixture
def trajectory(run_file, tmp_path, capsys):
    """The command in this process, on the run file; its folder is ``out``."""

    def run():
        return called(capsys, ["trajectory", str(run_file), "--out", str(run.out)])

    run.out = tmp_path / "out"
    return run


TRAJECTORY = 'delta-nn trajectory "$1" --out out '


# -- streams -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_closed_streams(run_file, tmp_path, closed):
    code, out, err = shell(TRAJECTORY + closed, run_file, folder=tmp_path)
    assert (code, err) == (0, "")
    assert ("SUCCESS" in out) == (closed == "2>&-")
    assert names(tmp_path / "out") == FILES


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("delta-nn nothing 2>&-", 2, ""),
        ("delta-nn nothing >&- 2>&-", 2, ""),
        ("delta-nn --help >&-", 0, ""),
        ("delta-nn presets >&-", 0, ""),
        ("delta-nn presets >/dev/full", 2, "standard output: No space left on device"),
        ("delta-nn --help >/dev/full", 2, "standard output: No space left on device"),
        ("delta-nn --version >/dev/full", 2, "standard output: No space left on device"),
        ("delta-nn presets --json | true", 0, ""),
        ("delta-nn presets --show product | head -1 >/dev/null", 0, ""),
        ("delta-nn nothing 2>&1 | true", 2, ""),
    ],
)
def test_streams_that_take_nothing(tmp_path, command, code, said):
    if "/dev/full" in command and not os.path.exists("/dev/full"):
        pytest.skip("no such device")
    expected = f"delta-nn: error: {said}\n" if said else ""
    assert shell(command, folder=tmp_path) == (code, "", expected)


@pytest.mark.slow
@pytest.mark.processes
def test_characters_that_a_terminal_lacks_are_escaped(run_file, tmp_path):
    name = run_file.rename(tmp_path / "é∂.toml")
    code, out, err = shell(TRAJECTORY, name, folder=tmp_path, PYTHONIOENCODING="ascii:strict")
    assert (code, err) == (0, "")
    assert r"out/\xe9\u2202-trajectory.npz" in out
    code, out, err = shell(
        'delta-nn curve "x$1"', name.name, folder=tmp_path, PYTHONIOENCODING="ascii:strict"
    )
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


# -- files ---------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_written_is_named(trajectory):
    (trajectory.out / FILES[0]).mkdir(parents=True)
    expected = f"delta-nn: error: {trajectory.out / FILES[0]}: Is a directory\n"
    code, out, err = trajectory()
    assert (code, err) == (2, expected)
    assert "status" not in out  # the first lines only, which come before the work
    assert names(trajectory.out) == FILES[:1]


@pytest.mark.slow
@pytest.mark.processes
def test_a_full_disk_names_the_file(run_file, tmp_path):
    code, out, err = shell(f"ulimit -f 1; {TRAJECTORY}", run_file, folder=tmp_path)
    assert (code, err) == (2, f"delta-nn: error: out/{FILES[0]}: File too large\n")
    assert "status" not in out
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_a_killed_command_left_is_cleared(trajectory):
    out = trajectory.out
    out.mkdir()
    left = out / f".small-trajectory.npz.{'0' * 32}.partial"
    left.write_bytes(b"half")
    mine = out / ".notes.partial"
    mine.touch()
    fcntl = pytest.importorskip("fcntl")
    held = os.open(left, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)  # as of the command that is writing it
    assert trajectory()[0] == 0
    assert left.exists()
    os.close(held)
    assert trajectory()[0] == 0
    assert names(out) == sorted([mine.name, *FILES])


# -- figures -------------------------------------------------------------------------------------


def test_a_figure_that_fails_is_one_line(trajectory):
    (trajectory.out / FILES[1]).mkdir(parents=True)
    code, out, err = trajectory()
    assert code == 0
    assert err == f"delta-nn: no figure {trajectory.out / FILES[1]}: Is a directory\n"
    assert str(trajectory.out / FILES[0]) in out
    assert FILES[1] not in out


@pytest.mark.slow
@pytest.mark.processes
def test_figures_do_not_depend_on_the_users_matplotlib(run_file, tmp_path):
    assert shell(TRAJECTORY, run_file, folder=tmp_path, MPLBACKEND="agg")[0] == 0
    plain = (tmp_path / "out" / FILES[1]).read_bytes()
    (tmp_path / "matplotlibrc").write_bytes(b"text.usetex: True\naxes.grid: True\nno colon here")
    backend = "module://matplotlib_inline.backend_inline"
    code, _, err = shell(TRAJECTORY, run_file, folder=tmp_path, MPLBACKEND=backend)
    assert (code, err) == (0, "")
    assert (tmp_path / "out" / FILES[1]).read_bytes() == plain


# -- limits and interrupts -----------------------------------------------------------------------


@pytest.mark.processes
@pytest.mark.parametrize("kilobytes", [100_000, 300_000, 600_000])
def test_too_little_address_space_is_one_line(run_file, tmp_path, kilobytes):
    code, out, err = shell(f"ulimit -v {kilobytes}; {TRAJECTORY}", run_file, folder=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"limited to {kilobytes // 1024} MiB (ulimit -v)" in err


def test_libraries_that_do_not_fit_are_one_line(capsys, monkeypatch):
    from dmft.cli import main

    def fail(*_):
        try:
            raise OSError("libx.so: failed to map segment from shared object")
        except OSError as error:
            raise ImportError("Could not find\nthe library") from error

    monkeypatch.setattr("dmft.cli.presets.run_presets", fail)
    assert main(["presets"]) == 2
    assert "not enough memory to load the libraries" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "threads"), [(2**40, "7"), (2**30, "1")])
def test_one_thread_where_there_is_little_address_space(monkeypatch, limit, threads):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    check_address_space(limit)
    assert os.environ["OPENBLAS_NUM_THREADS"] == threads


def test_too_little_address_space():
    with pytest.raises(UsageError, match=r"address space is limited to 512 MiB \(ulimit -v\)"):
        check_address_space(2**29)


@pytest.mark.processes
def test_an_interrupt_while_libraries_are_imported(run_file, tmp_path):
    # The import of numpy waits to be interrupted.
    (tmp_path / "numpy.py").write_text(
        "import time\nprint('importing', flush=True)\ntime.sleep(60)\n", encoding="utf-8"
    )
    search = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "dmft", "trajectory", str(run_file)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": search}, preexec_fn=hear_interrupts,
    )  # fmt: skip
    assert process.stdout.readline() == "importing\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "delta-nn: interrupted\n")


def test_an_interrupt_that_a_finaliser_drops_is_heard_again(monkeypatch, capsys):
    class Dropping:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def wait(_):
        Dropping()
        time.sleep(60)

    monkeypatch.setattr("dmft.cli.presets.run_presets", wait)
    # Processes that a shell starts in the background ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["presets"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "delta-nn: interrupted\n"


@pytest.mark.processes
def test_an_interrupt_within_what_is_executed_has_our_exit_code(tmp_path):
    # As while a dataclass is made; Python ends such a process by the signal, if it is let.
    (tmp_path / "msgspec.py").write_text("exec('raise KeyboardInterrupt')", encoding="utf-8")
    search = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "dmft", "presets", "--show", "product"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": search},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "delta-nn: interrupted\n")


@pytest.mark.slow
@pytest.mark.processes
def test_the_package_imports_nothing_until_it_is_used():
    code = (
        "import sys, dmft, dmft.cli\n"
        "assert not {'numpy', 'msgspec', 'argparse'} & set(sys.modules)\n"
        "import dmft.recovery.exponents, dmft.studies.algorithmic_threshold\n"
        "assert callable(dmft.hardness) and callable(dmft.algorithmic_gap)\n"
        "assert callable(dmft.plotting.plot_threshold)\n"
        "assert set(dmft.__all__) == {name for name in dir(dmft) if name[0] != '_'}\n"
        "assert not hasattr(dmft, 'nothing') and not hasattr(dmft, '__wrapped__')\n"
        "from dmft import *\n"
        "assert solve is dmft.solve\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
