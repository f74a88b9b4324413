"""Seeds on disk: killed, damaged, refused, shared between processes; nothing is lost or mixed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from children import contents, exit_code, forked, killed

import dmft
from dmft._numerics.workers import worker_count
from dmft.io.results import write_result
from dmft.simulation.seed_store import SeedStore

N_SEEDS, D = 30, 16
METHOD = dmft.GradientDescent(0.3, 5)
RECORD = "configuration.json"
OPTIONS = {"hessian_steps": [0, 5], "inputs": "student-t"}

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes and signals")
two_cores = pytest.mark.skipif(worker_count(None, 2) < 2, reason="needs two cores")


def make_problem(pause=0.0):
    """A problem whose labels take their time to be drawn; recorded as custom label ``label``."""

    def label(z, eps):
        time.sleep(pause)
        return z[:, 0] ** 2

    target = dmft.Target(label, hard_directions=[0])
    return dmft.Problem(target, dmft.Network("gelu", [1.0, 0.5]), "pseudo-huber")


def simulate(folder=None, seeds=N_SEEDS, pause=0.0, **changes):
    arguments = {"delta": 4.0, "method": METHOD, "d": D, "workers": 1} | OPTIONS | changes
    problem = arguments.pop("problem", None) or make_problem(pause)
    return dmft.simulate(problem, seeds=seeds, checkpoint=folder, **arguments)


@pytest.fixture(scope="module")
def uninterrupted():
    return simulate()


def assert_same_bits(a, b):
    assert a.seeds == b.seeds
    assert a.statuses == b.statuses
    for name in a.mean:
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
    assert a.hessian.keys() == b.hessian.keys()
    for step in a.hessian:
        for name in ("eigenvalues", "smallest", "largest", "overlaps", "residual"):
            ours, theirs = getattr(a.hessian[step], name), getattr(b.hessian[step], name)
            assert ours.tobytes() == theirs.tobytes(), (step, name)


def finished(folder):
    return len(list(Path(folder).glob("seed-*.npz"))) if Path(folder).is_dir() else 0


def recorded(folder):
    return json.loads((folder / RECORD).read_text())["configuration"]


def leftovers(folder):
    names = [path.name for path in Path(folder).iterdir()]
    return [name for name in names if not name.startswith("seed-") and name != RECORD]


# ------------------------------------------------------------------ kill -9


@pytest.mark.slow
@pytest.mark.processes
@posix
def test_twenty_kills_then_resume(tmp_path, uninterrupted):
    """Killed at twenty random times; the result is that of the run without interruption."""
    rng = np.random.default_rng(0)
    n_alive, n_seen = 0, set()
    for _ in range(20):
        before = finished(tmp_path)
        pid = forked(lambda: simulate(tmp_path, pause=0.01))
        deadline = time.monotonic() + 20.0
        # Some kills come before the first new seed, most after it: there is always progress to
        # lose, however slow the machine.
        if rng.random() < 0.7:
            while finished(tmp_path) == before < N_SEEDS and time.monotonic() < deadline:
                time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.05))
        n_alive += killed(pid)
        n_seen.add(finished(tmp_path))
        for name, data in contents(tmp_path).items():  # what has a name is whole
            if name.startswith("seed-"):
                assert data[:2] == b"PK"
                with zipfile.ZipFile(tmp_path / name) as archive:
                    assert archive.testzip() is None
    assert n_alive >= 10
    assert len(n_seen) >= 5
    kept = contents(tmp_path)
    ticks = []
    result = simulate(tmp_path, progress=ticks.append)
    assert_same_bits(result, uninterrupted)
    assert len(ticks) == N_SEEDS
    assert leftovers(tmp_path) == []
    after = contents(tmp_path)
    assert len(after) == N_SEEDS + 1
    for name, data in kept.items():  # what was finished was not made again
        if name.startswith("seed-"):
            assert after[name] == data


@pytest.mark.slow
@pytest.mark.processes
@posix
@pytest.mark.parametrize("stage", ["half written", "before the rename", "after the rename"])
def test_killed_while_writing(tmp_path, uninterrupted, stage):
    """The worst moments, one by one: the third file is being written."""

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def child():
        replace, count = os.replace, iter(range(100))

        def at_rename(source, target):
            if next(count) == 2:
                if stage == "half written":
                    os.truncate(source, Path(source).stat().st_size // 2)
                if stage == "after the rename":
                    replace(source, target)
                die()
            replace(source, target)

        os.replace = at_rename
        simulate(tmp_path)

    assert exit_code(forked(child)) == -signal.SIGKILL
    assert finished(tmp_path) == (3 if stage == "after the rename" else 2)
    assert len(leftovers(tmp_path)) == (0 if stage == "after the rename" else 1)
    assert_same_bits(simulate(tmp_path), uninterrupted)
    assert leftovers(tmp_path) == []


ORPHANS = """
import os, sys, time, pathlib, dmft
folder, parent = pathlib.Path(sys.argv[1]), os.getpid()
def label(z, eps):
    if os.getpid() != parent:  # which looks at the label too
        (folder / f"pid-{os.getpid()}").touch()
        time.sleep(120.0)
    return z[:, 0] ** 2
problem = dmft.Problem(dmft.Target(label, hard_directions=[0]))
print("ready", flush=True)
method = dmft.GradientDescent(0.1, 1)
dmft.simulate(problem, 2.0, method, 10, 2, workers=2, checkpoint=folder / "out")
"""


def alive(pid):
    """Whether a process runs; one that ended but was not collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


@pytest.mark.slow
@pytest.mark.processes
@posix
@two_cores
def test_workers_end_with_their_parent(tmp_path):
    """Kill -9 of the parent: the workers, in the middle of their seeds, are gone soon after."""
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS, str(tmp_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as parent:  # fmt: skip
        workers = []
        deadline = time.monotonic() + 60.0
        try:
            while len(workers) < 2 and time.monotonic() < deadline and parent.poll() is None:
                time.sleep(0.05)
                workers = [int(path.name[4:]) for path in tmp_path.glob("pid-*")]
            assert len(workers) == 2
            assert all(alive(pid) for pid in workers)
            assert parent.pid not in workers
        finally:
            parent.kill()
    deadline = time.monotonic() + 15.0
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)


# ------------------------------------------------------------------ workers


@pytest.mark.slow
@two_cores
def test_result_does_not_depend_on_the_number_of_workers(tmp_path, uninterrupted):
    ticks = []
    assert_same_bits(simulate(workers=2, progress=ticks.append), uninterrupted)
    assert len(ticks) == N_SEEDS
    simulate(tmp_path, seeds=[3, 17])
    first = contents(tmp_path)
    assert_same_bits(simulate(tmp_path, workers=2), uninterrupted)
    assert leftovers(tmp_path) == []
    assert contents(tmp_path).items() >= first.items()
    # Errors in a worker arrive as they are.
    problem = dmft.Problem(
        dmft.Target(lambda z, eps: np.full(len(z), np.nan) if len(z) == 77 else z[:, 0],
                    hard_directions=[]),
    )  # fmt: skip
    with pytest.raises(ValueError, match="non-finite values for 77 of 77"):
        simulate(tmp_path / "bad", problem=problem, delta=1.0, d=77, workers=2)
    assert contents(tmp_path / "bad") == {}


# ------------------------------------------------------------------ damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: b"\0" * len(data),
        lambda data: np.random.default_rng(0).bytes(len(data)),
        lambda data: data[:200] + bytes(255 - byte for byte in data[200:220]) + data[220:],
        lambda data: b"not a result",
    ],
    ids=["empty", "1 byte", "half", "last byte", "zeros", "garbage", "flipped bits", "text"],
)
def test_damaged_files_are_made_again(tmp_path, damage):
    whole = simulate(tmp_path, seeds=3)
    good = contents(tmp_path)
    name = "seed-00001.npz"
    (tmp_path / name).write_bytes(damage(good[name]))
    (tmp_path / f".{name}.0123.partial").write_bytes(good[name][:100])
    again = simulate(tmp_path, seeds=3)
    assert_same_bits(again, whole)
    for other in ("seed-00000.npz", "seed-00002.npz"):
        assert contents(tmp_path)[other] == good[other]
    assert set(contents(tmp_path)) == set(good)
    assert_same_bits(simulate(tmp_path, seeds=3, progress=lambda _: None), whole)


@pytest.mark.slow
def test_bits_flipped_anywhere_are_noticed_or_harmless(tmp_path):
    """One byte changed at each of a hundred places: the same numbers, from the file or again."""
    whole = simulate(tmp_path, seeds=1)
    path = tmp_path / "seed-00000.npz"
    good = path.read_bytes()
    for place in np.linspace(0, len(good) - 1, 100).astype(int):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        assert_same_bits(simulate(tmp_path, seeds=1), whole)


def test_file_with_an_array_missing_is_made_again(tmp_path):
    whole = simulate(tmp_path, seeds=2)
    good = contents(tmp_path)
    store = SeedStore(tmp_path, recorded(tmp_path))
    _, arrays = store.read([1])[1]
    arrays.pop("test_loss")
    store.write(1, "SUCCESS", arrays)
    assert contents(tmp_path) != good
    assert_same_bits(simulate(tmp_path, seeds=2), whole)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("delta", {"delta": 4.001}),
        ("d", {"d": D + 1}),
        ("method.step_size", {"method": dmft.GradientDescent(0.31, 5)}),
        ("method.n_steps", {"method": dmft.GradientDescent(0.3, 6)}),
        ("inputs.law", {"inputs": "uniform"}),
        ("inputs.degrees_of_freedom", {"inputs": dmft.Inputs("student-t", degrees_of_freedom=6)}),
        ("hold_hard", {"hold_hard": True}),
        ("hard_overlap", {"hard_overlap": 0.1}),
        ("hessian_steps", {"hessian_steps": [0]}),
        ("n_extreme", {"n_extreme": 2}),
        ("dense_limit", {"dense_limit": 10}),
        ("n_test", {"n_test": 50}),
        ("problem.loss", {"problem": dmft.Problem(make_problem().target, make_problem().network)}),
    ],
)
def test_another_configuration_is_refused(tmp_path, key, change):
    """In one line that names what differs; the folder stays as it is."""
    simulate(tmp_path, seeds=2)
    (tmp_path / ".seed-00007.npz.0123.partial").write_bytes(b"half")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        simulate(tmp_path, seeds=[5], **change)  # not even a seed that is there
    message = str(caught.value)
    assert f"{key} = " in message
    assert "another folder" in message
    assert str(tmp_path) in message
    assert contents(tmp_path) == before


def test_other_code_behind_a_name_is_refused(tmp_path):
    """Also where it differs beyond three standard deviations only."""

    def label(z, eps):
        return z[:, 0] ** 2 + np.maximum(np.abs(z[:, 0]) - 3.0, 0.0)

    problem = dmft.Problem(
        dmft.Target(label, hard_directions=[0]), make_problem().network, "pseudo-huber"
    )
    assert problem.to_config() == make_problem().to_config()
    simulate(tmp_path, seeds=1)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"made with code of custom laws = '.*use another folder"):
        simulate(tmp_path, seeds=1, problem=problem)
    assert contents(tmp_path) == before


def test_the_folder_may_have_its_former_name(tmp_path):
    first = simulate(tmp_path / "seeds", seeds=1)
    with pytest.warns(DeprecationWarning, match="call it checkpoint"):
        assert_same_bits(simulate(seeds=1, out=tmp_path / "seeds"), first)
    with pytest.raises(ValueError, match="give checkpoint only"):
        simulate(tmp_path / "seeds", seeds=1, out=tmp_path)


def test_a_seed_under_another_name_is_refused(tmp_path):
    simulate(tmp_path, seeds=1)
    (tmp_path / "seed-00000.npz").rename(tmp_path / "seed-00004.npz")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="holds seed-00000"):
        simulate(tmp_path, seeds=1)
    assert contents(tmp_path) == before


def test_other_files_are_left_alone(tmp_path):
    """A result of another kind under the name of a seed is refused, not overwritten."""
    (tmp_path / "notes.txt").write_text("mine")
    write_result(tmp_path / "seed-00000.npz", "trajectory", {}, {"x": np.zeros(1)})
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="holds 'trajectory'"):
        simulate(tmp_path, seeds=1)
    assert contents(tmp_path) == before
    (tmp_path / "seed-00000.npz").unlink()
    simulate(tmp_path, seeds=1)
    assert set(contents(tmp_path)) == {"notes.txt", "seed-00000.npz", RECORD}


def test_seeds_may_be_added(tmp_path):
    first = simulate(tmp_path, seeds=[8, 2])
    before = contents(tmp_path)
    more = simulate(tmp_path, seeds=[2, 5, 8])
    assert more.seeds == (2, 5, 8)
    assert contents(tmp_path).items() >= before.items()
    assert finished(tmp_path) == 3
    np.testing.assert_array_equal(more.train_loss[[2, 0]], first.train_loss)
    assert_same_bits(simulate(seeds=[2, 5, 8]), more)


def test_diverged_seeds_are_kept(tmp_path):
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "square")
    settings = {"problem": problem, "method": dmft.GradientDescent(2.0, 12), "hessian_steps": [12]}
    first = simulate(tmp_path, seeds=2, **settings)
    before = contents(tmp_path)
    assert not first.status.ok
    assert_same_bits(simulate(tmp_path, seeds=2, **settings), first)
    assert contents(tmp_path) == before


# ------------------------------------------------------------------ where nothing can be written


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"^[^\n]+$"):
            simulate(out, seeds=1)
    assert contents(tmp_path) == {"file": b"mine"}


def test_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    """Found out before anything is computed."""

    def refuse(self, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr("dmft.simulation.seed_runs.run_seed", lambda *_: pytest.fail("computed"))
    with pytest.raises(PermissionError, match=r"^[^\n]+$"):
        simulate(tmp_path, seeds=1)
    assert contents(tmp_path) == {}


def test_full_disk(tmp_path, monkeypatch):
    """The third file does not fit: an OSError, two whole files, and later the rest."""
    whole = simulate(seeds=4)
    fsync, count = os.fsync, iter(range(100))

    def full(descriptor):
        if next(count) == 3:  # the first was the configuration
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            simulate(tmp_path, seeds=4)
    assert set(contents(tmp_path)) == {"seed-00000.npz", "seed-00001.npz", RECORD}
    assert_same_bits(simulate(tmp_path, seeds=4), whole)


@pytest.mark.processes
@posix
def test_file_size_limit(tmp_path):
    """A limit set by the system, reached in the middle of a file."""

    def child():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            simulate(tmp_path, seeds=1)
        except OSError as error:
            os._exit(17 if error.errno == errno.EFBIG else 18)

    assert exit_code(forked(child)) == 17
    assert contents(tmp_path) == {}


# ------------------------------------------------------------------ several processes, one folder


@posix
def test_temporary_files_of_another_process_are_left_alone(tmp_path):
    config = {"d": 3}
    first, second = SeedStore(tmp_path, config), SeedStore(tmp_path, config)
    half = tmp_path / ".seed-00000.npz.0123.partial"
    with first.open():
        half.write_bytes(b"half")
        with second.open():
            assert half.exists()
        assert half.exists()
        with second.open():  # the lock was given back as it was found
            assert half.exists()
    assert not half.exists()
    half.write_bytes(b"half")
    with second.open():
        assert not half.exists()


@pytest.mark.slow
@pytest.mark.processes
@posix
def test_two_processes_share_a_folder(tmp_path, uninterrupted):
    pids = [forked(lambda: simulate(tmp_path, pause=0.002)) for _ in range(2)]
    assert [exit_code(pid) for pid in pids] == [0, 0]
    assert leftovers(tmp_path) == []
    assert_same_bits(simulate(tmp_path), uninterrupted)


def test_two_configurations_in_one_new_folder(tmp_path):
    """The second process is refused though no seed is finished, and nothing is left of it."""
    first, second = SeedStore(tmp_path, {"d": 3}), SeedStore(tmp_path, {"d": 4})
    line = rf"^checkpoint must .*{RECORD} was made with d = 3, asked for is 4: use another folder$"
    with first.open():
        before = contents(tmp_path)
        with pytest.raises(ValueError, match=line), second.open():
            pytest.fail("opened")
        with pytest.raises(ValueError, match=line):
            second.read([0])
        first.write(0, "SUCCESS", {"x": np.zeros(1)})
    assert set(contents(tmp_path)) == {*before, "seed-00000.npz"}
    (tmp_path / "seed-00000.npz").write_bytes(b"damaged")  # the record still says what it was
    with pytest.raises(ValueError, match=line):
        second.read([0])


def test_a_record_that_nothing_was_made_with_goes(tmp_path):
    with SeedStore(tmp_path, {"d": 3}).open():
        assert set(contents(tmp_path)) == {RECORD}
    assert contents(tmp_path) == {}
    with SeedStore(tmp_path, {"d": 4}).open():
        assert set(contents(tmp_path)) == {RECORD}


@pytest.mark.slow
@pytest.mark.processes
@posix
def test_racing_configurations(tmp_path):
    """Started at the same moment in a new folder: one configuration wins, all others are told."""
    n_refused, steps = 0, [0.1, 0.2, 0.3, 0.3]
    for attempt in range(5):
        folder, start = tmp_path / str(attempt), time.monotonic() + 0.1

        def child(step_size, folder=folder, start=start):
            time.sleep(max(0.0, start - time.monotonic()))
            try:
                simulate(folder, seeds=3, method=dmft.GradientDescent(step_size, 5))
            except ValueError as error:
                os._exit(17 if "use another folder" in str(error) else 18)

        pids = [forked(lambda step=step, run=child: run(step)) for step in steps]
        codes = [exit_code(pid) for pid in pids]
        assert set(codes) == {0, 17}
        won = {step for step, code in zip(steps, codes, strict=True) if code == 0}
        assert len(won) == 1
        n_refused += codes.count(17)
        assert leftovers(folder) == []
        method = dmft.GradientDescent(won.pop(), 5)
        assert_same_bits(simulate(folder, seeds=3, method=method), simulate(seeds=3, method=method))
    assert n_refused >= 10


@pytest.mark.parametrize(
    "record",
    [None, b"", b"{", b"\xff\x00", b"[1]", b"[" * 100_000],
    ids=["missing", "empty", "half", "bytes", "list", "deep"],
)
def test_missing_or_damaged_record(tmp_path, record):
    """As in a folder of an older version: the seeds tell, and the record is made again."""
    whole = simulate(tmp_path, seeds=2)
    good, config = contents(tmp_path), recorded(tmp_path)
    path = tmp_path / RECORD
    path.unlink()
    if record is not None:
        path.write_bytes(record)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"seed-00000\.npz was made with delta = 4\.0"):
        simulate(tmp_path, seeds=2, delta=5.0)
    other = SeedStore(tmp_path, {**config, "delta": 5.0})
    with pytest.raises(ValueError, match=r"delta = 4\.0"), other.open():
        pytest.fail("opened")
    assert contents(tmp_path) == before
    assert_same_bits(simulate(tmp_path, seeds=2), whole)
    assert contents(tmp_path) == good


def test_record_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first, second = SeedStore(tmp_path, {"d": 3}), SeedStore(tmp_path, {"d": 4})
    with first.open():
        assert set(contents(tmp_path)) == {RECORD}
        with pytest.raises(ValueError, match="d = 3, asked for is 4"), second.open():
            pytest.fail("opened")
