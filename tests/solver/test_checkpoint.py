"""A solve on disk: killed, stopped, damaged, refused; it goes on to the same bits."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import small
from children import contents, exit_code, forked, killed
from small import easy_label
from small import easy_problem as make_problem

import dmft
from dmft.cli import main
from dmft.io.results import DamagedResultError
from dmft.io.snapshots import pack, read_snapshot, unpack, write_snapshot
from dmft.solver.checkpoints import Checkpoint, RunCheckpoint

SAMPLING = dmft.Sampling(n_paths=512, replicates=2, seed=1, rank_tolerance=1e-3)
METHODS = {
    "descent": dmft.GradientDescent(0.2, 16),
    "flow": dmft.GradientFlow(4.0, tol=1e-3, times=np.linspace(0.0, 4.0, 9)),
}
RECORD = "configuration.json"

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes and signals")


def solve(folder=None, problem=None, method=METHODS["descent"], **changes):
    arguments = {"delta": 2.0, "sampling": SAMPLING} | changes
    if folder is not None:
        arguments = {"checkpoint": folder} | arguments
    return small.solve(problem or make_problem(), method=method, **arguments)


class StopError(Exception):
    pass


def stopped(folder, after, **arguments):
    """Solve until that many steps are new; returns how many were found in the folder."""
    ticks = []

    def stop(count):
        ticks.append(count)
        if ticks.count(1) > after:
            raise StopError

    with pytest.raises(StopError):
        solve(folder, progress=stop, **{"checkpoint_seconds": 0} | arguments)
    return sum(ticks) - ticks.count(1)


def assert_same_bits(a, b):
    """Every array of every run, and what is computed from them."""
    assert a.status is b.status
    for ours, theirs in zip(a._runs, b._runs, strict=True):
        for name, value in vars(ours).items():
            other = getattr(theirs, name)
            if isinstance(value, np.ndarray):
                assert value.dtype == other.dtype, name
                assert value.shape == other.shape, name
                assert value.tobytes() == other.tobytes(), name
            elif name == "pre_activations":
                assert value.keys() == other.keys()
                assert all(value[step].tobytes() == other[step].tobytes() for step in value)
            elif name != "paths":
                assert value == other, name
    for name in ("correlation", "test_loss"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
        assert a.stderr[name].tobytes() == b.stderr[name].tobytes()


def inode(path):
    """Of a file that another process may be removing."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def state_of(folder):
    if not Path(folder).is_dir():
        return set()
    return {
        (path.name, inode(path)) for path in Path(folder).glob("run-*") if path.suffix == ".npz"
    }


# ------------------------------------------------------------------ kill -9


@pytest.mark.slow
@pytest.mark.processes
@posix
@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("kind", list(METHODS))
def test_killed_again_and_again(tmp_path, kind, m):
    """Killed at random times, gone on with on one thread and two; then every bit is the same."""
    problem, method = make_problem(m), METHODS[kind]
    rng = np.random.default_rng(m)
    n_alive = 0
    for attempt in range(6):
        before = state_of(tmp_path)
        pid = forked(
            lambda threads=1 + attempt % 2: solve(
                tmp_path,
                problem,
                method,
                threads=threads,
                checkpoint_seconds=0,
                progress=lambda _: time.sleep(0.02),
            )
        )
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline and not state_of(tmp_path) - before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.1))
        n_alive += killed(pid)
    assert n_alive >= 4
    assert state_of(tmp_path)
    ticks = []
    result = solve(tmp_path, problem, method, threads=2, progress=ticks.append)
    assert sum(ticks) == 3 * method.n_steps
    assert_same_bits(result, solve(problem=problem, method=method))
    assert set(contents(tmp_path)) == {RECORD, "run-all.npz", "run-000.npz", "run-001.npz"}


@pytest.mark.slow
@pytest.mark.processes
@posix
@pytest.mark.parametrize(
    ("stage", "left"),
    [("half written", [2, 3]), ("before the rename", [2, 3]), ("after the rename", [2, 3, 4])],
)
def test_killed_while_writing(tmp_path, stage, left):
    """The worst moments, one by one: the fourth snapshot is being written."""

    def child():
        replace, count = os.replace, itertools.count()

        def at_rename(source, target):
            if "run-all.snapshot" in Path(target).name and next(count) == 3:
                if stage == "half written":
                    os.truncate(source, Path(source).stat().st_size // 2)
                if stage == "after the rename":
                    replace(source, target)
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = at_rename
        solve(tmp_path, checkpoint_seconds=0)

    assert exit_code(forked(child)) == -signal.SIGKILL
    names = [f"run-all.snapshot-0000{number}.npz" for number in left]
    assert sorted(name for name in contents(tmp_path) if name.startswith("run-")) == names
    ticks = []
    assert_same_bits(solve(tmp_path, progress=ticks.append), solve())
    assert ticks[0] == (4 if stage == "after the rename" else 3)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.processes
@posix
def test_killed_between_the_end_and_the_last_snapshot(tmp_path):
    """The run is stored, its snapshots are still there: they go with the next reading."""

    def child():
        unlink = Path.unlink

        def at_the_end(path, missing_ok=False):
            if (path.parent / "run-all.npz").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            unlink(path, missing_ok)

        Path.unlink = at_the_end
        solve(tmp_path, checkpoint_seconds=0)

    assert exit_code(forked(child)) == -signal.SIGKILL
    assert {"run-all.npz", "run-all.snapshot-00016.npz"} <= set(contents(tmp_path))
    assert_same_bits(solve(tmp_path), solve())
    assert set(contents(tmp_path)) == {RECORD, "run-all.npz", "run-000.npz", "run-001.npz"}


# ------------------------------------------------------------------ stopped and gone on with


def twice(f, y):
    return 2.0 * (f - y)


CASES = {
    "mirrored": dmft.Problem("phase-retrieval", dmft.Network("gelu"), initial_overlap=[[0.2]]),
    "custom laws": dmft.Problem(
        dmft.Target(easy_label),
        dmft.Network(dmft.Activation(np.sin, np.cos, lambda r: -np.sin(r), name="sin")),
        dmft.Loss(lambda f, y: (f - y) ** 2, twice, lambda f, y: 2.0 + 0.0 * f, name="mine"),
        weight_decay=0.1,
    ),
    "two directions": dmft.Problem("easy-hard", dmft.Network("tanh", [1.0, -0.5])),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(METHODS))
@pytest.mark.parametrize("case", list(CASES))
def test_any_problem_goes_on_to_the_same_bits(tmp_path, case, kind):
    problem, method = CASES[case], METHODS[kind]
    found = [
        stopped(tmp_path, after, problem=problem, method=method)
        for after in (2, 3, 2, method.n_steps)
    ]
    assert found[0] == 0
    assert 0 < found[1] < found[2] < found[3]
    result = solve(tmp_path, problem, method, threads=3)
    assert_same_bits(result, solve(problem=problem, method=method))


def test_hessians_are_the_same_in_all_directions(tmp_path):
    sampling = dmft.Sampling(n_paths=512, replicates=2, seed=1)
    arguments = {"method": dmft.GradientDescent(0.2, 8), "sampling": sampling}
    stopped(tmp_path, 5, **arguments)
    resumed, read, whole = (solve(folder, **arguments) for folder in (tmp_path, tmp_path, None))
    assert resumed._runs[1].paths is not None
    assert read._runs[1].paths is None  # computed again
    for step in (4, 8):
        expected = whole.hessian(step).outliers()
        for other in (resumed, read):
            assert other.hessian(step).outliers() == expected


@pytest.mark.slow
def test_a_long_run_with_many_steps_from_the_recycled_subspace(tmp_path, monkeypatch):
    """Rows of its history, growth of the basis: nothing is told apart by where it was resumed."""
    method = dmft.GradientDescent(0.1, 250)
    sampling = dmft.Sampling(n_paths=1024, replicates=2, seed=1, rank_tolerance=1e-8)
    problem = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
    whole = solve(problem=problem, method=method, sampling=sampling)
    assert whole._runs[0].counts[-1, 2] > 128  # it has grown
    assert whole._runs[0].n_visits < 200
    arguments = {"problem": problem, "method": method, "sampling": sampling}
    count, offer = itertools.count(1), RunCheckpoint.offer
    monkeypatch.setattr(
        RunCheckpoint, "offer", lambda *pair: None if next(count) % 37 else offer(*pair)
    )
    found = [stopped(tmp_path, 100, **arguments) for _ in range(4)]
    assert found[-1] > 200
    assert_same_bits(solve(tmp_path, **arguments), whole)


@pytest.mark.slow
def test_a_run_that_discards_directions(tmp_path, monkeypatch):
    """What gradients lately had along each is part of what a run goes on from."""
    flow = dmft.GradientFlow(40.0, 1e-2, np.linspace(0.0, 40.0, 21))
    problem = dmft.load_preset("robust-phase-retrieval").problem
    sampling = dmft.Sampling(n_paths=512, replicates=2, seed=1, compression=0.1)
    arguments = {"problem": problem, "method": flow, "sampling": sampling}
    whole = solve(**arguments)
    assert whole._runs[0].is_compressed
    count, offer = itertools.count(1), RunCheckpoint.offer
    monkeypatch.setattr(
        RunCheckpoint, "offer", lambda *pair: None if next(count) % 31 else offer(*pair)
    )
    for _ in range(3):
        stopped(tmp_path, 8, **arguments)
    found = solve(tmp_path, **arguments)
    assert found._runs[0].is_compressed
    assert_same_bits(found, whole)


@pytest.mark.slow
def test_a_finished_folder_is_read_and_left_as_it_is(tmp_path, monkeypatch):
    first = solve(tmp_path)
    before = contents(tmp_path)
    monkeypatch.setattr("dmft.solver.replicates._run", None)
    ticks = []
    assert_same_bits(solve(tmp_path, progress=ticks.append), first)
    assert ticks == [48]
    assert contents(tmp_path) == before


def test_a_run_that_ends_early_is_finished_too(tmp_path):
    problem = dmft.Problem("linear", dmft.Network("linear"), "square")
    arguments = {"problem": problem, "method": dmft.GradientDescent(100.0, 50)}
    first = solve(tmp_path, **arguments)
    assert first.status is dmft.Status.DIVERGED
    assert_same_bits(solve(tmp_path, **arguments), first)


def test_snapshots_are_rare_by_default(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "dmft.solver.checkpoints.write_snapshot", lambda path, *_: pytest.fail(f"wrote {path}")
    )
    solve(tmp_path)
    assert set(contents(tmp_path)) == {RECORD, "run-all.npz", "run-000.npz", "run-001.npz"}


# ------------------------------------------------------------------ damage


DAMAGE = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "flipped bits": lambda data: data[:900] + bytes(255 - b for b in data[900:920]) + data[920:],
    "text": lambda data: b"not a result",
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_damaged_snapshot_gives_way_to_the_one_before(tmp_path, damage):
    stopped(tmp_path, 9)
    for number, found in ((9, [8]), (8, [])):
        path = tmp_path / f"run-all.snapshot-0000{number}.npz"
        path.write_bytes(DAMAGE[damage](path.read_bytes()))
        copy = tmp_path / f"copy of {len(found)}"
        copy.mkdir()
        for file in tmp_path.glob("*.*"):
            (copy / file.name).write_bytes(file.read_bytes())
        ticks = []
        result = solve(copy, progress=ticks.append)
        assert [count for count in ticks if count != 1] == found
        assert_same_bits(result, solve())
        path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_damaged_run_or_record_is_made_again(tmp_path, damage):
    whole = solve(tmp_path)
    for name in ("run-001.npz", RECORD):
        path = tmp_path / name
        good = path.read_bytes()
        path.write_bytes(DAMAGE[damage](good))
        assert_same_bits(solve(tmp_path), whole)
        if name == RECORD:
            assert path.read_bytes() == good


@pytest.mark.slow
def test_bits_flipped_anywhere_are_noticed_or_harmless(tmp_path):
    sampling = dmft.Sampling(n_paths=64, replicates=2, seed=1)
    arguments = {"method": dmft.GradientDescent(0.2, 4), "sampling": sampling}
    whole = solve(**arguments)
    stopped(tmp_path, 3, **arguments)
    good = contents(tmp_path)
    newest = max(name for name in good if "snapshot" in name)
    data = good[newest]
    for place in np.linspace(0, len(data) - 1, 20).astype(int):
        for path in tmp_path.iterdir():
            path.unlink()
        for name, other in good.items():
            (tmp_path / name).write_bytes(other)
        (tmp_path / newest).write_bytes(
            data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
        )
        assert_same_bits(solve(tmp_path, **arguments), whole)


@pytest.mark.slow
def test_a_full_disk(tmp_path, monkeypatch):
    """The third snapshot does not fit: an OSError, and later the same bits."""
    fsync, count = os.fsync, itertools.count()

    def full(descriptor):
        if next(count) == 3:  # the first was the configuration
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            solve(tmp_path, checkpoint_seconds=0)
    names = {RECORD, "run-all.snapshot-00001.npz", "run-all.snapshot-00002.npz"}
    assert set(contents(tmp_path)) == names
    assert_same_bits(solve(tmp_path), solve())


# ------------------------------------------------------------------ what is refused


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("delta", {"delta": 2.001}),
        ("method.step_size", {"method": dmft.GradientDescent(0.21, 16)}),
        ("method.n_steps", {"method": dmft.GradientDescent(0.2, 17)}),
        ("method.t_max", {"method": METHODS["flow"]}),
        ("sampling.seed", {"sampling": dmft.Sampling(n_paths=512, replicates=2, seed=2)}),
        ("hessian_steps", {"hessian_steps": [3]}),
        ("problem.weight_decay", {"problem": make_problem(weight_decay=0.1)}),
        ("problem.network.second_layer", {"problem": make_problem(2)}),
        ("problem.target.label", {"problem": dmft.Problem("linear", dmft.Network("gelu"))}),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_another_solve_is_refused(tmp_path, key, change, finished):
    """In one line that names what differs; the folder stays as it is."""
    if finished:
        solve(tmp_path)
    else:
        stopped(tmp_path, 3)
    before = contents(tmp_path)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"made with {key} = .*: use another folder") as caught:
            solve(tmp_path, **change)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert contents(tmp_path) == before
        # The files say so themselves.
        (tmp_path / RECORD).unlink(missing_ok=True)
        before.pop(RECORD, None)


def test_another_version_and_other_code_are_refused(tmp_path, monkeypatch):
    def other(z, eps):
        return z[:, 0]

    other.__name__ = "easy_label"
    problem = dmft.Problem(dmft.Target(other), dmft.Network("gelu"), "pseudo-huber")
    assert problem.to_config() == make_problem().to_config()
    stopped(tmp_path, 3)
    with pytest.raises(ValueError, match="made with code of custom laws = '"):
        solve(tmp_path, problem)
    monkeypatch.setattr("dmft.solver.checkpoints.software_version", lambda: "0.0.1")
    with pytest.raises(ValueError, match=r"made with version = .* asked for is '0\.0\.1'"):
        solve(tmp_path)


def test_other_labels_than_those_of_the_snapshot_are_refused(tmp_path, monkeypatch):
    """Where what custom laws give at a few points does not tell them apart."""
    monkeypatch.setattr("dmft.solver.checkpoints.fingerprint", lambda _: None)

    def problem(kink):
        def label(z, eps):
            return z[:, 0] + np.maximum(np.abs(z[:, 0]) - 3.0, 0.0) * kink

        return dmft.Problem(dmft.Target(label, hard_directions=[]))

    sampling = dmft.Sampling(n_paths=4096, replicates=2)
    stopped(tmp_path, 2, problem=problem(0.0), sampling=sampling)
    with pytest.raises(ValueError, match="made with other labels: use another folder"):
        solve(tmp_path, problem(1.0), sampling=sampling)


def test_one_solve_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    stopped(tmp_path, 3)
    config = json.loads((tmp_path / RECORD).read_text())["configuration"]
    with (
        Checkpoint(tmp_path, config, 0.0).open(),
        pytest.raises(ValueError, match="checkpoint must be a folder that no other solve is using"),
    ):
        solve(tmp_path)
    solve(tmp_path)


@pytest.mark.parametrize("folder", ["", 3])
def test_what_is_no_folder(folder):
    with pytest.raises(ValueError, match="checkpoint must be the path of a folder, got"):
        solve(folder)


def test_other_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="checkpoint_seconds must be a finite number >= 0, got -1"):
        solve(tmp_path / "new", checkpoint_seconds=-1)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        solve(tmp_path / "file")


# ------------------------------------------------------------------ snapshots


def test_a_structure_comes_back_as_it_was(tmp_path):
    rng = np.random.default_rng(0)
    value = {
        "arrays": [rng.standard_normal((3, 2)), np.arange(4), np.zeros((0, 5)), np.array(True)],
        "fortran": np.asfortranarray(rng.standard_normal((3, 4))),
        "numbers": (1, 2.5, np.float64(0.1), np.float64(np.nan), -np.inf, None, True, "text"),
        "nested": {"a": [[], {}, ()], "b": [(3, np.arange(2))]},
        "like a mark": [{"array": "0"}, {"dict": {"tuple": 1}}, {"scalar": 2, "array": 3}],
    }
    write_snapshot(tmp_path / "s.npz", "thing", {"x": [1]}, value)
    config, again = read_snapshot(tmp_path / "s.npz", "thing")
    assert config == {"x": [1]}

    def compare(a, b):
        assert type(a) is type(b)
        if isinstance(a, np.ndarray | np.generic):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
            assert np.asarray(a).flags.f_contiguous == np.asarray(b).flags.f_contiguous
        elif isinstance(a, dict):
            assert list(a) == list(b)
            for key in a:
                compare(a[key], b[key])
        elif isinstance(a, list | tuple):
            assert len(a) == len(b)
            for x, y in zip(a, b, strict=True):
                compare(x, y)
        else:
            assert a == b

    compare(again, value)
    with pytest.raises(ValueError, match="must be a delta-nn other file"):
        read_snapshot(tmp_path / "s.npz", "other")


@pytest.mark.parametrize("value", [object(), np.array([None]), {1: 2}, {"a": {1, 2}}, 1j])
def test_what_cannot_be_stored(value):
    with pytest.raises(TypeError, match="cannot store"):
        pack(value)


def test_a_missing_array_counts_as_damage(tmp_path, monkeypatch):
    structure, arrays = pack({"a": np.arange(3)})
    with pytest.raises(KeyError):
        unpack(structure, {})
    monkeypatch.setattr("dmft.io.snapshots.read_result", lambda *_: (
        {"config": {}, "structure": structure}, {}))  # fmt: skip
    with pytest.raises(DamagedResultError):
        read_snapshot(tmp_path / "s.npz", "thing")
    assert arrays["0"].tolist() == [0, 1, 2]


# ------------------------------------------------------------------ command line


@pytest.mark.slow
def test_the_command_goes_on(tmp_path, capsys, monkeypatch):
    path = tmp_path / "small.toml"
    path.write_text(
        'target = { label = "phase-retrieval" }\nnetwork = { activation = "gelu" }\n'
        'problem = { loss = "pseudo-huber" }\nmethod = { step_size = 0.2, n_steps = 4 }\n'
        "sampling = { n_paths = 256, replicates = 2 }\ntrajectory = { delta = 2.0 }\n"
    )
    folder = tmp_path / "checkpoint"
    command = ["trajectory", str(path), "--out", str(tmp_path), "--json"]
    assert main(command) == 0
    plain = json.loads(capsys.readouterr().out)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dmft.solver.replicates.descend", interrupt)
        assert main([*command, "--checkpoint", str(folder)]) == 130
        assert f"the same command goes on from {folder}" in capsys.readouterr().err
        assert main(command) == 130
        assert capsys.readouterr().err == "delta-nn: interrupted\n"
    for _ in range(2):
        assert main([*command, "--checkpoint", str(folder)]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["norm"] == plain["norm"]
        assert result["stderr"] == plain["stderr"]
        assert (folder / "run-001.npz").exists()
    assert main([*command, "--checkpoint", str(folder), "--delta", "3"]) == 2
    assert "made with delta = 2.0, asked for is 3.0" in capsys.readouterr().err


def test_more_memory_goes_on(tmp_path):
    """What is kept by default would be another matter with more memory."""
    changes = {"method": dmft.GradientDescent(0.2, 30)}
    sampling = dmft.Sampling(n_paths=1024, replicates=2, seed=1, rank_tolerance=1e-12)
    least = 8 * 2 * 1024 * 110
    short = solve(tmp_path, sampling=sampling, max_memory=least, **changes)
    assert short.status is dmft.Status.OUT_OF_MEMORY
    longer = solve(tmp_path, sampling=sampling, max_memory=1e9, **changes)
    assert longer.status.ok
    whole = solve(sampling=sampling, **changes)
    assert longer.norm.tobytes() == whole.norm.tobytes()
