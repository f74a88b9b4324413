"""Damaged files of scans: refused by name, or exactly what they say."""

import copy
import json

import numpy as np
import pytest
from damage import BYTES, WELL_FORMED, outcome, parts, sealed

import dmft

N_CASES = 60


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    found = dmft.scan(
        {
            "target": {"label": "phase-retrieval"},
            "problem": {"loss": "pseudo-huber"},
            "method": {"step_size": 0.2, "n_steps": 1},
        },
        {"threshold.bracket": [[1.5, 1.8], [2.5, 3.0]], "target.noise": [0.0, -1.0]},
        ["threshold@0"],
        design="zip",
        workers=1,
    )
    assert set(found.statuses.ravel()) == {"SUCCESS", "FAILED"}
    path = tmp_path_factory.mktemp("scan") / "good.npz"
    found.save(path)
    return path.read_bytes()


def as_text(header):
    """What a header says of the scan; 1 and 1.0 are the same number."""
    return json.dumps(json.loads(json.dumps(header["config"], sort_keys=True), parse_int=float))


def test_damaged_scans_are_refused_or_what_they_say(good, tmp_path):
    rng, path, accepted = np.random.default_rng(3), tmp_path / "damaged.npz", 0
    for case in range(N_CASES):
        if case % 2:
            data = BYTES[int(rng.integers(len(BYTES)))](rng, good)
        else:
            header, arrays = copy.deepcopy(parts(good))
            WELL_FORMED[int(rng.integers(len(WELL_FORMED)))](rng, header, arrays)
            data = sealed(header, arrays)
        path.write_bytes(data)
        loaded, refusal = outcome(dmft.Scan.load, path)
        if refusal is not None:
            assert str(path) in refusal
            assert "\n" not in refusal
            continue
        assert not case % 2
        accepted += 1
        assert loaded.table()
        assert loaded.summary()
        assert len(loaded.columns()) == len(loaded.settings) + 4
        loaded.save(path)
        assert as_text(parts(path.read_bytes())[0]) == as_text(header)
    assert 0 < accepted < N_CASES // 4
