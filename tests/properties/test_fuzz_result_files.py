"""Three hundred damaged result files of all kinds: refused by name, or what they say they are."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import struct
import zipfile

import numpy as np
import pytest
from damage import BYTES, WELL_FORMED, outcome, parts, same, seal, sealed

import dmft
import dmft.io.results
from dmft.recovery.exponents import Hardness
from dmft.recovery.exponents import hardness as find_hardness
from dmft.studies.grokking import Grokking, predict_grokking
from dmft.studies.step_axis import EigenvalueCheck, StepAxis, StepSeries
from dmft.studies.sweep_result import Sweep
from dmft.studies.sweeps import sweep as run_sweep

pytestmark = pytest.mark.slow  # every kind of result is computed first

PROBLEM = dmft.Problem("phase-retrieval", dmft.Network("gelu", [1.0, -0.5]), "pseudo-huber")
METHOD = dmft.GradientDescent(0.2, 3)
SAMPLING = dmft.Sampling(n_paths=64, replicates=2, seed=1)
N_CASES = 300


def label(z, eps):
    return z[:, 0] ** 2 + 0.3 * eps


def _axis(curve, comparison):
    series = StepSeries(
        np.array([0.0, 0.2]),
        np.array([0, 3]),
        *(np.array([1.5, np.nan]), np.array([0.1, np.nan]), np.ones((2, 2)), np.zeros(2)),
        (dmft.Status.SUCCESS, dmft.Status.NO_BRACKET),
    )
    seen = EigenvalueCheck(2.0, True, 0.2, 3, 20, 2, dmft.Status.SUCCESS, comparison.hessian[0])
    return StepAxis("gelu", 0.6, series, None, (seen,))


@pytest.fixture(scope="module")
def results():
    trajectory = dmft.solve(PROBLEM, 2.0, METHOD, SAMPLING)
    custom = dmft.Problem(dmft.Target(label, hard_directions=[0]), PROBLEM.network, "pseudo-huber")
    runs = dmft.simulate(PROBLEM, 2.0, METHOD, 20, 2, hessian_steps=[3], workers=1)
    # Laws of two neurons at step 0 take seconds each.
    curve = dmft.delta_nn_curve(PROBLEM, METHOD, (0.5, 8.0), [1, 2, 3], SAMPLING, points=4,
                                max_solves=4)  # fmt: skip
    comparison = dmft.compare(trajectory, runs)
    hardness = find_hardness("phase-retrieval", n_points=2**16, max_degree=2)
    one = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
    gap = dmft.AlgorithmicGap(
        hardness,
        {"gelu/2 neurons": curve},
        _axis(curve, comparison),
        {
            "target": PROBLEM.target.to_config(),
            "networks": {"gelu/2 neurons": PROBLEM.to_config()},
            "method": METHOD.to_config(),
            "sampling": SAMPLING.to_config(),
            "bracket": [0.5, 8.0],
        },
    )
    cascade = dmft.Cascade(
        (
            dmft.CascadeStage(np.zeros((2, 1)), np.eye(1), 0, (curve,)),
            dmft.CascadeStage(np.ones((2, 1)), np.zeros((1, 0)), 0, ()),
        ),
        "left", (0.5, 8.0), curve.config,
    )  # fmt: skip
    grokking = predict_grokking(one, 6.0, METHOD, [100], sampling=SAMPLING, probabilities=(0.5,))
    drop = dmft.GrokkingDrop(
        np.eye(1), grokking.hard_cosine, grokking.fall_level, grokking.fall_time,
        grokking.fall_time_stderr,
    )  # fmt: skip
    with_drops = dataclasses.replace(grokking, drops=(drop,))
    power_law = dmft.ScalingLaw(
        (0, 0, 2), 2, np.arange(6.0).reshape(3, 2), np.full((3, 2), np.nan),
        (dmft.Status.SUCCESS,) * 5 + (dmft.Status.NO_BRACKET,), np.zeros((3, 2)),
        np.array([2.0, 0.5]), 3.0, (0.5, 8.0), "negative", curve.config, "It is positive.",
    )  # fmt: skip
    swept = run_sweep(PROBLEM, [2.0, 3.0], METHOD, d=[10, 20], seeds=2, hessian_step=1, workers=1)
    return [
        trajectory,
        dmft.solve(custom, 2.0, dmft.GradientFlow(0.4, 1e-2), SAMPLING),
        dmft.find_delta_nn(one, METHOD, (0.5, 8.0), step=0, scan_points=4),
        curve,
        cascade,
        power_law,
        dmft.spectrum(trajectory, 2, points=20),
        trajectory.hessian(2, d=20, draws=3),
        dmft.delta_nn_at_sizes(one, METHOD, (0.5, 8.0), [30], 0, SAMPLING, draws=2, scan_points=3),
        runs,
        comparison,
        swept,
        dmft.predict_sweep(swept, SAMPLING, draws=2),
        dmft.recovery_probability(PROBLEM, [2.0, 3.0], 20, METHOD, draws=2, workers=1),
        grokking,
        with_drops,
        hardness,
        gap,
        dmft.spectral_method("phase-retrieval", 2.0, "clipped", n_points=2**10),
        dmft.erm_limit(dmft.Problem("linear", dmft.Network("linear")), 3.0),
    ]


def held(result):
    """What of a result a file holds."""
    if isinstance(result, dmft.Trajectory):
        runs = [
            dataclasses.replace(run, paths=None, pre_activations={}, latent=run.latent[:, :0],
                                labels=run.labels[:0])
            for run in result._runs
        ]  # fmt: skip
        config = result.problem.to_config() if result.problem else result._problem_config
        settings = [config, result.method.to_config(), result.sampling.to_config()]
        return [settings, result.delta, runs, np.array([result.test_loss, result.test_error])]
    if isinstance(result, dmft.Simulation):
        return dataclasses.replace(result, method=None, inputs=None)
    return result


def test_every_kind_comes_back_to_the_bit(results, tmp_path):
    kinds = {type(result) for result in results}
    assert kinds == {
        *(dmft.Trajectory, dmft.Threshold, dmft.ThresholdCurve, dmft.Spectrum, dmft.Simulation),
        *(
            dmft.FiniteLaw,
            dmft.SpectralMethod,
            dmft.RiskMinimizer,
            dmft.Cascade,
            dmft.ScalingLaw,
            dmft.ThresholdsAtSizes,
            dmft.SweepPrediction,
            dmft.RecoveryProbability,
            dmft.Comparison,
            Sweep,
            Grokking,
            Hardness,
            dmft.AlgorithmicGap,
        ),
    }
    for result in results:
        result.save(tmp_path / "a.npz")
        again = type(result).load(tmp_path / "a.npz")
        assert same(held(again), held(result)), type(result)
        again.save(tmp_path / "b.npz")
        assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "a.npz").read_bytes()
        for other in kinds - {type(result)}:
            with pytest.raises(ValueError, match=r"^path must be a delta-nn .* holds '"):
                other.load(tmp_path / "a.npz")


CASES = {
    "momentum, batches": (PROBLEM, dmft.GradientDescent([0.2, 0.1], 2, 0.5, momentum=0.9)),
    "schedule, second layer": (
        PROBLEM,
        dmft.GradientDescent({"schedule": "cosine", "peak": 0.4}, 2, second_layer_step_size=1),
    ),
    "fresh batches": (PROBLEM, dmft.GradientDescent(0.2, 2, fresh_batches=True)),
    "two radii": (
        dmft.Problem("easy-hard", dmft.Network("tanh", [1, 2]), init_radius=[1, 0.5]),
        dmft.GradientFlow(0),
    ),
    "mirrored": (
        dmft.Problem("phase-retrieval", dmft.Network("gelu"), initial_overlap=[[0.2]]),
        METHOD,
    ),
    "diverged": (
        dmft.Problem("linear", dmft.Network("linear"), "square"),
        dmft.GradientDescent(100, 50),
    ),
    "no step at all": (
        dmft.Problem("modulus", dmft.Network("quadratic"), "square", init_radius=1e150),
        METHOD,
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_every_kind_of_run_comes_back(tmp_path, case):
    result = dmft.solve(CASES[case][0], 2.0, CASES[case][1], SAMPLING)
    result.save(tmp_path / "a.npz")
    again = dmft.Trajectory.load(tmp_path / "a.npz")
    assert same(held(again), held(result))
    again.save(tmp_path / "b.npz")
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "a.npz").read_bytes()


@pytest.mark.parametrize(
    "settings",
    [
        {"inputs": "uniform"},
        {"inputs": dmft.Inputs("covariance", spectrum=[1, 3])},
        {"hard_overlap": 0.1},
        {"hold_hard": True, "hessian_steps": [0, 2], "dense_limit": 5, "n_extreme": 2},
    ],
)
def test_every_kind_of_simulation_comes_back(tmp_path, settings):
    result = dmft.simulate(PROBLEM, 2.0, METHOD, 10, [7, 2], workers=1, **settings)
    result.save(tmp_path / "a.npz")
    again = dmft.Simulation.load(tmp_path / "a.npz")
    assert same(held(again), held(result))
    assert (again.method, again.inputs) == (result.method, result.inputs)


def as_text(header):
    """A header without the version that wrote it; 1 and 1.0 are the same number."""
    text = json.dumps({**header, "version": "", "commit": ""}, sort_keys=True)
    return json.dumps(json.loads(text, parse_int=float))


def without_defaults(again, header):
    """What was saved again, without entries that a file of before they existed lacks."""
    if isinstance(again, dict) and isinstance(header, dict):
        return {key: without_defaults(again[key], header[key]) for key in again if key in header}
    if isinstance(again, list) and isinstance(header, list) and len(again) == len(header):
        return [without_defaults(*pair) for pair in zip(again, header, strict=True)]
    return again


def check(cls, path, data):
    """Load damaged contents: a line that names the file, or exactly these contents."""
    path.write_bytes(data)
    loaded, refusal = outcome(cls.load, path)
    if refusal is not None:
        assert str(path) in refusal
        assert "\n" not in refusal
        return False
    loaded.save(path)
    (header, arrays), (again, saved) = parts(data), parts(path.read_bytes())
    assert as_text(without_defaults(again, header)) == as_text(header)
    for name in header["public"]:  # which follow from the others
        del saved[name], arrays[name]
    assert same(saved, arrays)
    return True


def test_damaged_files(results, tmp_path):
    rng = np.random.default_rng(14)
    path = tmp_path / "damaged.npz"
    good = []
    for result in results:
        result.save(path)
        good.append(path.read_bytes())
    accepted = 0
    for case in range(N_CASES):
        data, cls = good[case % len(good)], type(results[case % len(good)])
        if case % 2:
            damage = BYTES[int(rng.integers(len(BYTES)))]
            broken = damage(rng, data)
            assert broken != data
            assert not check(cls, path, broken), (case, damage)
        else:
            header, arrays = copy.deepcopy(parts(data))
            WELL_FORMED[int(rng.integers(len(WELL_FORMED)))](rng, header, arrays)
            accepted += check(cls, path, sealed(header, arrays))
    assert 0 < accepted < N_CASES // 4  # of those that are another possible result


# ------------------------------------------------------------------ one by one


@pytest.fixture
def spectrum(results, tmp_path):
    """A good file, and its parts."""
    path = tmp_path / "spectrum.npz"
    next(one for one in results if isinstance(one, dmft.Spectrum)).save(path)
    return path, *parts(path.read_bytes())


def refused(path, data, why):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=why) as caught:
        dmft.Spectrum.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_byte_counts(spectrum):
    """Also those that unpacking does not look at, of the zip file and of its padding."""
    path, *_ = spectrum
    good = path.read_bytes()
    for place in range(len(good)):
        broken = good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :]
        refused(path, broken, "checksum")


def test_a_file_that_numpy_reads_too(spectrum):
    path, header, arrays = spectrum
    assert header["kind"] == "spectrum"
    assert arrays.keys() - header["public"] == {"x", "density"}
    assert arrays["left_edge"] == dmft.Spectrum.load(path).left_edge
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"delta-nn crc32 ")


def test_a_file_without_a_checksum(spectrum):
    path, _, arrays = spectrum
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    refused(path, stream.getvalue(), r"does not end in a checksum .* older than version 0\.1\.0")


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.array([{}, 1.5], dtype=object), "must hold plain numbers or text, got object"),
        (np.zeros(3, dtype=[("a", float)]), "must hold plain numbers"),
        (np.zeros(3, dtype="M8[s]"), "must hold plain numbers"),
        (np.zeros(3), "array 'density', shape .*, must have n = 3"),
        (np.zeros(3, np.float32), "array 'x' must be of float64, got float32"),
        (np.zeros((3, 3)), r"array 'x' must have shape \(n\), got \(3, 3\)"),
    ],
)
def test_wrong_arrays(spectrum, array, why):
    path, header, arrays = spectrum
    refused(path, sealed(header, {**arrays, "x": array}), why)


@pytest.mark.parametrize("shape", ["(1152921504606846976,)", "(4,)", "(-1,)", "(2, 'a')"])
def test_impossible_shapes(spectrum, shape):
    """The size of an array is known before there is memory for it."""
    path, *_ = spectrum
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
        text = text.ljust(117) + "\n"
        start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
        archive.writestr("x.npy", start + bytes(24))
        with np.load(path) as data:
            buffer = io.BytesIO()
            np.save(buffer, data["header"])
        archive.writestr("header.npy", buffer.getvalue())
    refused(path, seal(stream.getvalue()), "path must be a delta-nn result file")


def test_too_large_to_unpack(spectrum, monkeypatch):
    path, header, arrays = spectrum
    bomb = sealed(header, {**arrays, "x": np.zeros(2**18)}, np.savez_compressed)
    assert len(bomb) < 20_000
    read = np.lib.format.read_array
    monkeypatch.setattr(
        np.lib.format,
        "read_array",
        lambda stream, **settings: (
            read(stream, **settings) if "header" in stream.name else pytest.fail("unpacked")
        ),
    )
    refused(path, bomb, "must have n = ")
    monkeypatch.setattr(dmft.io.results, "available_memory", lambda: 2.0**20)
    refused(path, bomb, r"need 2\.1e\+06 bytes, more than this machine's memory")


def test_deep_headers(spectrum):
    path, _, arrays = spectrum
    text = np.frombuffer(b"[" * 100_000, dtype=np.uint8)
    stream = io.BytesIO()
    np.savez(stream, header=text, **arrays)
    refused(path, seal(stream.getvalue()), "RecursionError")


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda c: c.pop("left_edge"), "it lacks left_edge"),
        (lambda c: c.update(gap=1.0), "it has an entry gap that does not belong"),
        (lambda c: c.update(step=1.5), r"step must be an integer, got 1\.5"),
        (lambda c: c.update(delta=True), "delta must be a number, got True"),
        (lambda c: c.update(status="FINE"), "status must be the name of a Status, got 'FINE'"),
        (lambda c: c.update(outliers=[{"value": 1.0}]), r"it lacks outliers\[0\]\.stderr"),
        (lambda c: c["config"].pop("sampling"), "config must have a key 'sampling'"),
        (lambda c: c["config"]["sampling"].update(n_paths=100), "n_paths must be a power of two"),
        (lambda c: c["config"]["problem"]["network"].pop("second_layer"), "must be complete"),
        (lambda c: c["config"]["method"].update(n_steps="3"), "n_steps must be an integer"),
    ],
)
def test_wrong_entries(spectrum, edit, why):
    path, header, arrays = spectrum
    edit(header["config"])
    refused(path, sealed(header, arrays), why)


def test_a_sweep_with_an_unknown_status(results, tmp_path):
    result = next(result for result in results if isinstance(result, Sweep))
    statuses = np.full_like(result.statuses, "FINE")
    dataclasses.replace(result, statuses=statuses).save(tmp_path / "sweep.npz")
    with pytest.raises(ValueError, match=r"sweep\.npz is not one: statuses must be .* got 'FINE'"):
        Sweep.load(tmp_path / "sweep.npz")
