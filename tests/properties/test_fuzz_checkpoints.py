"""A hundred damaged checkpoints, and damaged seeds: the same bits as undisturbed, or a refusal."""

from __future__ import annotations

import copy
import shutil

import numpy as np
import pytest
import small
from children import contents
from damage import BYTES, outcome, parts, same, sealed
from small import RETRIEVAL as PROBLEM

import dmft
import dmft.io.results
from dmft.solver.checkpoints import RunCheckpoint

RECORD = "configuration.json"
N_CASES = 100
SAMPLING = dmft.Sampling(n_paths=64, replicates=2, seed=1)
METHODS = {
    "descent": dmft.GradientDescent(0.2, 5),
    "flow": dmft.GradientFlow(1.0, 1e-2, np.linspace(0.0, 1.0, 4)),
}
RUNS = ("run-all", "run-000", "run-001")


def solve(folder=None, kind="descent", delta=2.0, **settings):
    return small.solve(PROBLEM, delta, METHODS[kind], SAMPLING, checkpoint=folder, **settings)


class StopError(Exception):
    pass


def stopped(folder, kind, after, delta=2.0):
    """Solve until as many snapshots have been written."""
    count, offer = [0], RunCheckpoint.offer

    def counting(self, driver):
        offer(self, driver)
        count[0] += 1
        if count[0] == after:
            raise StopError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunCheckpoint, "offer", counting)
        with pytest.raises(StopError):
            solve(folder, kind, delta, checkpoint_seconds=0)
    return contents(folder)


def held(trajectory):
    return [
        {name: value for name, value in vars(run).items() if name != "paths"}
        for run in trajectory._runs
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """By kind: the result, what a folder holds at several stages, and one of other settings."""
    found = {}
    for kind, method in METHODS.items():
        folder = tmp_path_factory.mktemp(kind)
        n_offers = method.n_steps
        stages = [stopped(folder / f"{after}", kind, after) for after in (2, 4)]
        stages.append(stopped(folder / "late", kind, 2 * n_offers))
        whole = solve(folder / "whole", kind)
        stages.append(contents(folder / "whole"))
        other = stopped(folder / "other", kind, 2 * n_offers, delta=2.5)
        solve(folder / "other", kind, delta=2.5)
        found[kind] = held(whole), stages, {**other, **contents(folder / "other")}
    return found


# Each returns whether the folder may be refused.


def damaged(rng, files, stages, other):
    name = _one(rng, files)
    files[name] = BYTES[int(rng.integers(len(BYTES)))](rng, files[name])
    return False


def missing(rng, files, stages, other):
    del files[_one(rng, files)]
    return False


def older(rng, files, stages, other):
    """Files of different stages side by side, as a backup may give them back."""
    stage = stages[int(rng.integers(len(stages)))]
    for name in files.keys() | stage:
        if rng.random() < 0.5 and name in stage:
            files[name] = stage[name]
    return False


def renumbered(rng, files, stages, other):
    for name in list(files):
        if "snapshot" in name:
            stem, _, number = name.removesuffix(".npz").rpartition("-")
            files[f"{stem}-{int(number) + int(rng.integers(1, 9)):05d}.npz"] = files.pop(name)
    return False


def leftover(rng, files, stages, other):
    name = _one(rng, files)
    files[f".{name}.{rng.bytes(16).hex()}.partial"] = files[name][: int(rng.integers(99))]
    return False


def copied(rng, files, stages, other):
    """One file under the name of another, of the same folder."""
    source = _one(rng, files)
    files[_one(rng, files)] = files[source]
    return True


def foreign(rng, files, stages, other):
    """A file of other settings."""
    shared = sorted(files.keys() & other.keys())
    for name in shared if rng.random() < 0.3 else shared[: 1 + int(rng.integers(len(shared)))]:
        files[name] = other[name]
    return True


def rewritten(rng, files, stages, other):
    """An array under another name, of another dtype or shape; the checksum is right.

    Shapes of finished runs only: those of an unfinished one are what its parts make of them.
    """
    name = _one(rng, {name: data for name, data in files.items() if name.endswith(".npz")})
    header, arrays = copy.deepcopy(parts(files[name]))
    key = list(arrays)[int(rng.integers(len(arrays)))]
    what = int(rng.integers(3 if "snapshot" in name else 5))
    if what == 0:
        arrays[key + "x"] = arrays.pop(key)
    elif what == 3:
        arrays[key] = arrays[key].astype(np.float32)
    elif what == 4:
        arrays[key] = arrays[key][np.newaxis]
    elif what == 1:
        del header["config"][list(header["config"])[int(rng.integers(len(header["config"])))]]
    else:
        header["kind"] = "another"
    files[name] = sealed(header, arrays)
    return True


def _one(rng, files):
    return sorted(files)[int(rng.integers(len(files)))]


CASES = (damaged, damaged, missing, older, renumbered, leftover, copied, foreign, rewritten)


def put(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)


@pytest.mark.slow
def test_damaged_checkpoints(folders, tmp_path):
    rng = np.random.default_rng(14)
    folder, n_refused = tmp_path / "checkpoint", 0
    for case in range(N_CASES):
        kind = list(METHODS)[case % 2]
        whole, stages, other = folders[kind]
        files = dict(stages[int(rng.integers(len(stages)))])
        change = CASES[case % len(CASES)]
        may_refuse = change(rng, files, stages, other)
        put(folder, files)
        result, refusal = outcome(solve, folder, kind)
        if refusal is not None:
            assert may_refuse, (case, change, refusal)
            assert str(folder) in refusal
            assert "\n" not in refusal
            assert contents(folder) == files  # nothing is made of a folder that is refused
            n_refused += 1
        else:
            assert same(held(result), whole), (case, change)
            assert not list(folder.glob(".*"))
            assert {RECORD, *(f"{name}.npz" for name in RUNS)} <= set(contents(folder))
    assert 10 < n_refused < N_CASES // 3


@pytest.mark.parametrize(("source", "name"), [("run-all", "run-000"), ("run-001", "run-000")])
@pytest.mark.parametrize("stage", ["finished", "unfinished"])
def test_a_run_under_the_name_of_another(folders, tmp_path, source, name, stage):
    """As after ``cp run-all.npz run-000.npz``."""
    _, stages, _ = folders["descent"]
    if stage == "finished":
        files, end = dict(stages[-1]), ".npz"
    else:
        files, end = dict(stages[0]), ".snapshot-00002.npz"
        source = "run-all"
    files[name + end] = files[source + end]
    files.pop(f"{name}.npz", None) if stage == "unfinished" else None
    put(tmp_path / "folder", files)
    with pytest.raises(ValueError, match=rf"{name}\S* holds {source}: move it back, or remove it"):
        solve(tmp_path / "folder")


def test_a_header_that_says_another_shape(folders, tmp_path):
    """A single bit in the header of an array, which zip's own checksums see only if it is read."""
    whole, stages, _ = folders["descent"]
    for stage in stages[:3]:
        for name, data in stage.items():
            start = data.find(b"'shape': (")
            while start >= 0 and name.endswith(".npz"):
                for bit in (1, 2, 4):
                    at = start + len(b"'shape': (")
                    broken = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
                    (tmp_path / "file.npz").write_bytes(broken)
                    with pytest.raises(ValueError, match="it is damaged"):
                        dmft.io.results.read_result(tmp_path / "file.npz", "finished run")
                start = data.find(b"'shape': (", start + 1)
    assert whole


def test_a_configuration_of_somebody_else_is_left_alone(tmp_path):
    mine = b'{"editor": {"indent": 4}}'
    (tmp_path / RECORD).write_bytes(mine)
    with pytest.raises(ValueError, match=r"^checkpoint must .*configuration\.json is not a file"):
        solve(tmp_path)
    with pytest.raises(
        ValueError, match=r"^checkpoint must be .*configuration\.json is not a file"
    ):
        dmft.simulate(PROBLEM, 2.0, METHODS["descent"], 10, 1, checkpoint=tmp_path, workers=1)
    assert contents(tmp_path) == {RECORD: mine}


# ------------------------------------------------------------------ seeds


def simulate(out=None, delta=2.0):
    return dmft.simulate(
        PROBLEM, delta, METHODS["descent"], 10, 2, checkpoint=out, hessian_steps=[5], workers=1
    )


def test_damaged_seeds(tmp_path):
    """The same for the files of finite runs."""
    rng = np.random.default_rng(14)
    whole = simulate(tmp_path / "whole")
    files, folder, n_refused = contents(tmp_path / "whole"), tmp_path / "out", 0
    simulate(tmp_path / "other", 2.5)
    other = contents(tmp_path / "other")
    changes = (damaged, damaged, missing, leftover, copied, foreign, rewritten)
    for case in range(60):
        change = changes[case % len(changes)]
        now = dict(files)
        may_refuse = change(rng, now, [files], other)
        put(folder, now)
        result, refusal = outcome(simulate, folder)
        if refusal is not None:
            assert may_refuse, (case, change, refusal)
            assert str(folder) in refusal
            assert "\n" not in refusal
            assert contents(folder) == now  # nothing is made of a folder that is refused
            n_refused += 1
        else:
            assert same(result, whole), (case, change)
            assert set(contents(folder)) == set(files)
    assert 5 < n_refused < 30
