"""Predicted recovery at dimension d: against sweeps of runs, and what results can be asked for."""

import numpy as np
import pytest

import dmft
from dmft import GradientDescent, Network, Problem, Status
from dmft.plotting import plot_recovery, plot_sweep
from dmft.studies import recovery_draws as draws

PROBLEM = Problem("phase-retrieval", Network("quadratic"), "pseudo-huber")
METHOD = GradientDescent(0.2, 60)
DELTAS = [2.0, 4.0, 8.0]


@pytest.fixture(scope="module")
def found():
    return dmft.recovery_probability(PROBLEM, DELTAS, [40, 60], METHOD, draws=32, workers=1)


@pytest.fixture(scope="module")
def runs():
    return dmft.sweep(PROBLEM, DELTAS, METHOD, d=[40, 60], seeds=16, workers=1)


def test_fractions_are_those_of_runs(found, runs):
    pooled = (32 * found.probability + 16 * runs.probability) / 48
    error = np.sqrt(np.maximum(pooled * (1 - pooled), 0.02) * (1 / 32 + 1 / 16))
    assert np.all(np.abs(found.probability - runs.probability) < 3.5 * error)
    for d in found.d:
        theory, simulated = found.crossing(d), runs.crossing(d)
        assert theory.lower < simulated.upper
        assert simulated.lower < theory.upper


def test_probability_grows_with_delta_and_time(found):
    assert np.all(found.probability[:, 0] < found.probability[:, 2])
    curve = np.array([found.probability_by(step) for step in (0, 10, 30, 60)])
    assert np.all(np.diff(curve, axis=0) >= 0.0)
    assert np.array_equal(curve[-1], found.probability)
    assert np.all(curve[0] < curve[-1].max())
    lower, upper = found.probability_interval(step=30)
    assert np.all((lower <= curve[2]) & (curve[2] <= upper))
    late, early = found.crossing(60), found.crossing(60, step=15)
    assert not early.status.ok or early.value > late.value


def test_draws_are_added_to(found):
    fewer = dmft.recovery_probability(PROBLEM, DELTAS[1:2], 60, METHOD, draws=3, workers=1)
    assert np.array_equal(fewer.recovery_step[0, 0], found.recovery_step[1, 1, :3])
    assert np.array_equal(fewer.largest_cosine[0, 0], found.largest_cosine[1, 1, :3])


def test_finished_draws_are_kept(tmp_path, monkeypatch):
    first = dmft.recovery_probability(
        PROBLEM, 4.0, 20, METHOD, draws=3, workers=1, checkpoint=tmp_path
    )
    assert len(list((tmp_path / "d20" / "delta-4.0").glob("seed-*.npz"))) == 3
    drawn = []
    plain = draws.reduced_run
    monkeypatch.setattr(draws, "reduced_run", lambda *a: drawn.append(a[2]) or plain(*a))
    options = {"draws": 5, "workers": 1}
    more = dmft.recovery_probability(PROBLEM, 4.0, 20, METHOD, checkpoint=tmp_path, **options)
    assert drawn == [3, 4]
    assert np.array_equal(more.recovery_step[..., :3], first.recovery_step)
    assert more == dmft.recovery_probability(PROBLEM, 4.0, 20, METHOD, **options)
    with pytest.raises(ValueError, match="seed"):
        dmft.recovery_probability(PROBLEM, 4.0, 20, METHOD, checkpoint=tmp_path, seed=1, **options)


def test_a_dimension_whose_data_fit_in_no_memory():
    """Of a matrix of 2.5e11 numbers; its overlap hardly moves in two steps."""
    found = dmft.recovery_probability(
        PROBLEM, 0.1, 1_600_000, GradientDescent(0.2, 2), draws=1, workers=1
    )
    assert found.rank.tolist() == [[[4]]]
    assert found.largest_cosine.max() < 1e-3


def test_a_larger_start_recovers_more_often():
    options = {"draws": 16, "workers": 1}
    method = GradientDescent(0.2, 25)
    small, large = (
        dmft.recovery_probability(PROBLEM, 5.0, [60, 80], method, hard_overlap=start, **options)
        for start in ([0.0, 0.0], [0.5, 0.4])
    )
    assert np.all(small.probability < large.probability)
    assert large.config["hard_overlap"] == [[[0.5]], [[0.4]]]


def test_diverged_runs_do_not_recover():
    problem = Problem("phase-retrieval", Network("quadratic"), "square")
    found = dmft.recovery_probability(problem, 8.0, 20, GradientDescent(3.0, 4), draws=3, workers=1)
    assert found.status is Status.DIVERGED
    assert np.all(found.probability == 0.0)
    with pytest.raises(dmft.NumericalFailure, match="Probabilities"):
        dmft.recovery_probability(
            problem, 8.0, 20, GradientDescent(3.0, 4), draws=1, workers=1, throw=True
        )


def test_file_text_and_figures(found, runs, tmp_path):
    found.save(tmp_path / "found")
    assert dmft.load(tmp_path / "found.npz") == found
    assert "d = 40: crossing" in found.table()
    assert "/16" in found.table(runs)
    assert "draw" in found.to_dataframe().reset_index().columns
    assert found.to_xarray()["recovery_step"].shape == (2, 3, 32)
    assert "draws=32" in repr(found)
    assert len(plot_recovery(found).axes) == 2
    axes = plot_sweep(runs, None, found).axes[0]
    assert len(axes.collections) >= 2
    one = dmft.recovery_probability(PROBLEM, 4.0, 20, METHOD, draws=2, workers=1)
    assert len(plot_recovery(one).axes) == 1
    assert "crossing" not in one.table()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": Problem("linear", Network("linear"))}, "must have a hard direction"),
        ({"delta": []}, "^delta must be one or more"),
        ({"delta": -1.0}, "^delta must be"),
        ({"delta": [4.0, 4.01]}, "^delta must give different numbers of samples"),
        ({"d": 1}, "d must be at least k"),
        ({"d": 2.5}, "d must be an integer"),
        ({"draws": 0}, "draws must be an integer >= 1"),
        ({"recovery": 1.0}, "recovery must be a number between 0 and 1"),
        ({"recovery": float("nan")}, "recovery must be a number between 0 and 1, got nan"),
        ({"seed": -1}, "seed must be an integer >= 0"),
        ({"seed": 2**63}, "seed must be .* above 9223372036854775807"),  # a file could not hold it
        ({"hard_overlap": [0.1, 0.2, 0.3]}, "hard_overlap must be a number"),
        ({"hard_overlap": 2.0}, "hard_overlap"),
        ({"hard_overlap": "much"}, "hard_overlap must be a number"),
        ({"method": dmft.GradientFlow(1.0)}, "method must be a dmft.GradientDescent"),
    ],
)
def test_bad_input(change, message):
    arguments = {"problem": PROBLEM, "delta": 4.0, "d": 20, "method": GradientDescent(0.2, 2)}
    given = {**arguments, "draws": 1, "workers": 1, **change}
    with pytest.raises(ValueError, match=message):
        dmft.recovery_probability(**given)


def test_bad_questions(found):
    with pytest.raises(ValueError, match="step must be"):
        found.probability_by(61)
    with pytest.raises(ValueError, match="d must be one of the sizes"):
        found.crossing(41)
    with pytest.raises(ValueError, match=r"sweep must be a dmft\.Sweep, got int"):
        found.table(5)
    with pytest.raises(ValueError, match="level must be a number between 0 and 1"):
        found.probability_interval(1.0)
