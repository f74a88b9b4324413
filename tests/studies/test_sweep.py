"""Sweeps: the runs of simulate, counted honestly, resumed exactly, and drawn with the theory."""

from dataclasses import replace

import numpy as np
import pytest
from figures import assert_readable, texts
from scipy.stats import beta

import dmft
from dmft import GradientDescent, Network, Problem, Status, Sweep
from dmft.plotting import plot_sweep
from dmft.studies.logistic import fit_crossing

PROBLEM = Problem("phase-retrieval", Network("quadratic"), "pseudo-huber")
METHOD = GradientDescent(0.2, 12)
GRID = {"d": [60, 90], "seeds": 3, "workers": 1, "recovery": 0.3}
DELTAS = [1.0, 4.5, 12.0]


def run(**changes):
    settings = {"problem": PROBLEM, "deltas": DELTAS, "method": METHOD, **GRID, **changes}
    return dmft.sweep(settings.pop("problem"), settings.pop("deltas"), **settings)


@pytest.fixture(scope="module")
def small():
    return run(hessian_step=4)


ARRAYS = (
    "deltas",
    "recovery_step",
    "final_cosine",
    "largest_cosine",
    "train_loss",
    "test_loss",
    "smallest_eigenvalue",
    "hard_overlap",
    "statuses",
)


def assert_same(one, two):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    for name in ("d", "seeds", "recovery", "hessian_step", "config"):
        assert getattr(one, name) == getattr(two, name), name


def made_up(recovered, runs=8, **changes):
    """A sweep with given numbers of recoveries (n_d, n_delta)."""
    recovered = np.asarray(recovered)
    n_d, n_delta = recovered.shape
    won = np.arange(runs) < recovered[:, :, np.newaxis]
    rng = np.random.default_rng(0)
    settings = {
        "d": (500, 1000)[:n_d],
        "deltas": np.geomspace(1.0, 8.0, n_delta),
        "seeds": tuple(range(runs)),
        "recovery": 0.5,
        "hessian_step": 10,
        "recovery_step": np.where(won, 20, -1),
        "final_cosine": np.where(won, 0.9, 0.01),
        "largest_cosine": np.where(won, 0.9, 0.02),
        "train_loss": np.where(won, 0.01, 0.8),
        "test_loss": np.where(won, 0.02, 1.0) * rng.uniform(0.9, 1.1, won.shape),
        "smallest_eigenvalue": rng.uniform(-1.0, -0.5, won.shape),
        "hard_overlap": rng.uniform(0.0, 1.0, won.shape),
        "statuses": np.full(won.shape, "SUCCESS"),
        "config": {
            "problem": PROBLEM.to_config(),
            "method": {"step_size": 0.2, "n_steps": 100},
            "inputs": dmft.Inputs().to_config(),
        },
    }
    return Sweep(**{**settings, **changes})


# -- runs ----------------------------------------------------------------------------------------


def test_the_runs_are_those_of_simulate(small):
    for i, d in enumerate((60, 90)):
        for j, delta in enumerate(DELTAS):
            sim = dmft.simulate(PROBLEM, delta, METHOD, d, 3, hessian_steps=[4], workers=1)
            cosine = sim.hard_cosine
            for s in range(3):
                reached = np.flatnonzero(cosine[s] >= 0.3)
                assert small.recovery_step[i, j, s] == (reached[0] if len(reached) else -1)
            np.testing.assert_array_equal(small.final_cosine[i, j], cosine[:, -1])
            np.testing.assert_array_equal(small.largest_cosine[i, j], cosine.max(axis=1))
            np.testing.assert_array_equal(small.train_loss[i, j], sim.train_loss[:, -1])
            np.testing.assert_array_equal(small.test_loss[i, j], sim.test_loss[:, -1])
            hessian = sim.hessian[4]
            np.testing.assert_array_equal(small.smallest_eigenvalue[i, j], hessian.smallest[:, 0])
            np.testing.assert_array_equal(small.hard_overlap[i, j], hessian.hard_overlap)
    np.testing.assert_array_equal(small.recovered, small.largest_cosine >= 0.3)
    assert 0 < small.recovered.sum() < small.recovered.size
    np.testing.assert_array_equal(small.probability, small.recovered.sum(axis=2) / 3)
    np.testing.assert_array_equal(small.excess_loss, small.test_loss - small.train_loss)
    assert small.status is Status.SUCCESS
    assert (small.d, small.seeds, small.n_steps) == ((60, 90), (0, 1, 2), 12)
    assert "n_delta=3, seeds=3" in repr(small)


@pytest.mark.slow
def test_the_order_of_the_grid_and_the_workers_change_nothing(small):
    again = run(hessian_step=4, d=[90, 60], deltas=[12, 1, 4.5], workers=2)
    assert_same(small, again)


def test_cliff_of_phase_retrieval():
    # Well below and well above where the hard outlier appears (delta_NN is about 3 here).
    result = run(
        d=200, deltas=[1, 12], method=GradientDescent(0.2, 200), seeds=6, recovery=0.5, workers=1
    )
    np.testing.assert_array_equal(result.probability, [[0.0, 1.0]])
    assert result.test_loss[0, 0].min() > 5 * result.test_loss[0, 1].max()
    assert result.final_cosine[0, 1].min() > 0.9
    assert result.final_cosine[0, 0].max() < 0.3
    assert result.smallest_eigenvalue.shape == (1, 2, 6)
    assert np.isnan(result.smallest_eigenvalue).all()


def test_diverged_runs_did_not_recover():
    # From so large a start a quadratic neuron leaves at once, at any delta.
    wild = Problem("phase-retrieval", Network("quadratic"), "square", init_radius=30.0)
    result = run(problem=wild, method=GradientDescent(1.0, 30), recovery=1e-9, deltas=[4.0])
    assert result.diverged.all()
    assert (result.recovery_step >= 0).any()  # it did come near before
    assert not result.recovered.any()
    assert result.status is Status.DIVERGED
    assert np.isnan(result.test_loss).all()
    assert np.isfinite(result.largest_cosine).all()
    assert result.crossing(60).status is Status.NO_BRACKET
    assert " ".join(result.table().splitlines()[-1].split()) == "4 0/3 0.00 (0.00 to 0.54) - - - 3"


# -- interrupted and saved -----------------------------------------------------------------------


def test_resumes_and_grows(tmp_path, small):
    counts = []
    first = run(
        hessian_step=4, checkpoint=tmp_path, deltas=[1.0, 4.5], d=60, progress=counts.append
    )
    assert counts == [1] * 6
    folders = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/*"))
    assert folders == ["d60/delta-1.0", "d60/delta-4.5"]
    files = sorted(tmp_path.rglob("*.npz"))
    assert len(files) == 6
    kept = {path: path.stat().st_mtime_ns for path in files}
    assert all((path.parent / "configuration.json").exists() for path in files)
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:100])
    # More deltas, another size: what is there is read, what is not is made.
    full = run(hessian_step=4, checkpoint=tmp_path, progress=counts.append, workers=2)
    assert_same(full, small)
    assert len(counts) == 6 + 18
    assert len(list(tmp_path.rglob("*.npz"))) == 18
    assert not list(tmp_path.rglob("*.partial"))
    assert all(path.stat().st_mtime_ns == kept[path] for path in files[2:])
    again = run(hessian_step=4, checkpoint=tmp_path, deltas=[1.0, 4.5], d=60)
    assert_same(again, first)
    # The trajectories behind the summaries are there for simulate to read.
    folder = tmp_path / "d60" / "delta-4.5"
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    sim = dmft.simulate(
        PROBLEM, 4.5, METHOD, 60, 3, hessian_steps=[4], workers=1, checkpoint=folder
    )
    np.testing.assert_array_equal(sim.test_loss[:, -1], first.test_loss[0, 1])
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times


def test_another_configuration_is_refused_before_anything_runs(tmp_path):
    run(checkpoint=tmp_path, d=60, deltas=[4.5])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"delta-4\.5.*step_size.*use another folder"):
        run(checkpoint=tmp_path, d=60, method=GradientDescent(0.1, 12))
    assert sorted(tmp_path.rglob("*")) == before


def test_folder_names_tell_neighbouring_deltas_apart(tmp_path):
    for delta in (4.5, np.nextafter(4.5, 5.0)):  # not in one sweep: they give the same n
        run(checkpoint=tmp_path, d=60, deltas=[delta], seeds=1)
    assert len(list((tmp_path / "d60").iterdir())) == 2


def test_save_and_load(tmp_path, small):
    small.save(tmp_path / "sweep")
    assert_same(Sweep.load(tmp_path / "sweep.npz"), small)
    assert Sweep.load(tmp_path / "sweep").table() == small.table()
    with pytest.raises(ValueError, match="sweep"):
        dmft.Threshold.load(tmp_path / "sweep.npz")


# -- statistics ----------------------------------------------------------------------------------


def test_interval_of_the_probability():
    result = made_up([[0, 3, 8]])
    lower, upper = result.probability_interval(0.9)
    assert (lower[0, 0], upper[0, 2]) == (0.0, 1.0)
    assert (lower[0, 1], upper[0, 1]) == pytest.approx(beta.ppf([0.05, 0.95], 3.5, 5.5))
    assert upper[0, 0] == pytest.approx(1 - lower[0, 2])
    # Covers as often as it says, averaged over the probability.
    rng = np.random.default_rng(0)
    p = rng.uniform(size=4000)
    counts = rng.binomial(8, p)
    ends = np.array([made_up([[r]]).probability_interval(0.9) for r in range(9)])[:, :, 0, 0]
    covered = (ends[counts, 0] <= p) & (p <= ends[counts, 1])
    assert abs(covered.mean() - 0.9) < 0.03
    with pytest.raises(ValueError, match="level must be a number between 0 and 1, got 1"):
        result.probability_interval(1.0)


def test_crossing_of_each_size():
    result = made_up([[0, 1, 3, 7, 8, 8], [0, 0, 0, 0, 0, 0]])
    fit = result.crossing(500)
    assert fit == fit_crossing(result.deltas, [0, 1, 3, 7, 8, 8], [8] * 6)
    assert fit.lower < fit.value < fit.upper
    assert result.crossing(500, level=0.5).upper < fit.upper
    assert result.crossing(1000).status is Status.NO_BRACKET
    text = result.table()
    assert f"d = 500: crossing at delta = {fit.value:.4g}" in text
    assert "d = 1000: the grid does not bracket a crossing" in text
    assert "7/8" in text
    with pytest.raises(ValueError, match="d must be one of the sizes 500, 1000; got 700"):
        result.crossing(700)


# -- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": "phase-retrieval"}, "problem must be a dmft.Problem, got str"),
        ({"method": 12}, "method must be a dmft.GradientDescent, got int"),
        (
            {"problem": Problem("linear")},
            "problem must have a hard direction, .* 'linear' are easy",
        ),
        ({"deltas": []}, "deltas must be .*different"),
        ({"deltas": [1, 1]}, "deltas must be .*different"),
        (
            {"deltas": [4.5, 1, 4.505], "d": [1000, 60]},
            r"deltas must give different .* got 4\.5 and 4\.505, both n = 270 at d = 60$",
        ),
        ({"deltas": [1, -1]}, "deltas must be a positive finite number, got -1"),
        ({"d": []}, "d must be .*different sizes"),
        ({"d": [60.5]}, "d must be an integer >= 1, got 60.5"),
        ({"d": 1}, r"d must be at least k \+ m"),
        ({"seeds": 0}, "seeds must be an integer >= 1, got 0"),
        ({"recovery": 1.0}, "recovery must be a number between 0 and 1, got 1"),
        ({"recovery": 0.0}, "recovery must be a number between 0 and 1, got 0"),
        ({"hessian_step": 13}, "hessian_step must be in 0..n_steps = 0..12, got 13"),
        ({"inputs": "gausian"}, "did you mean 'gaussian'"),
        ({"workers": 0}, "workers must be an integer >= 1, got 0"),
        ({"checkpoint": ""}, "checkpoint must be the path of a folder, got ''"),
        ({"workers": 10_000}, "workers must be at most the number of cores"),
    ],
)
def test_refuses(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        run(**{"checkpoint": tmp_path / "out", **change})
    assert not list(tmp_path.iterdir())


# -- figure --------------------------------------------------------------------------------------


def threshold(value=3.0, status=Status.SUCCESS):
    nan = np.full(2, np.nan)
    return dmft.Threshold(
        value, 0.1, status, (), 40, (1.0, 8.0), np.array([1.0, 8.0]), nan, nan, 0.0, {}
    )


@pytest.mark.slow
def test_figure(tmp_path):
    result = made_up([[0, 1, 3, 7, 8, 8], [0, 0, 1, 4, 8, 8]])
    figure = plot_sweep(result, [threshold(), (2.0, 0.05, "elsewhere")])
    assert len(figure.axes) == 4
    words = texts(figure)
    assert "theory" in words
    assert r"3.00 \pm 0.10" in words
    assert r"elsewhere = $2.000 \pm 0.050$" in words
    for d in result.d:
        assert f"$d = {d}$: crossing {result.crossing(d).value:.2f}" in words
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        vertical = [list(line.get_xdata()) for line in axes.lines]
        assert [3.0, 3.0] in vertical
        assert [2.0, 2.0] in vertical
    probability, loss, eigenvalue, overlap = figure.axes
    assert len(probability.containers) == 2
    for i, container in enumerate(probability.containers):
        points = container.lines[0]
        np.testing.assert_array_equal(points.get_ydata(), result.probability[i])
        np.testing.assert_allclose(points.get_xdata(), result.deltas, rtol=0.03)
    curves = [line for line in probability.lines if len(line.get_xdata()) > 100]
    assert len(curves) == 2
    assert loss.get_yscale() == "log"
    for axes in (loss, eigenvalue, overlap):
        marks = [line for line in axes.lines if line.get_linestyle() == "None"]
        assert sum(len(line.get_xdata()) for line in marks) == 2 * 6 * 8
    assert_readable(figure, tmp_path)


def test_figure_without_hessian_theory_or_crossing(tmp_path):
    result = replace(made_up([[0, 0, 0, 0]]), hessian_step=None, test_loss=np.ones((1, 4, 8)))
    figure = plot_sweep(result)
    assert len(figure.axes) == 2
    assert "no crossing on the grid" in texts(figure)
    assert figure.axes[1].get_yscale() == "linear"
    assert figure.axes[1].get_ylim()[0] == 0.0
    assert_readable(figure, tmp_path)


def test_figure_of_what_went_wrong(tmp_path):
    lost = np.full((1, 1, 8), np.nan)
    result = made_up(
        [[0]],
        statuses=np.full((1, 1, 8), "DIVERGED"),
        test_loss=lost,
        smallest_eigenvalue=lost,
        hard_overlap=lost,
    )
    figure = plot_sweep(result, threshold(np.nan, Status.UNBOUNDED_EDGE))
    assert "UNBOUNDED_EDGE" in texts(figure)
    assert_readable(figure, tmp_path)


@pytest.mark.parametrize("given", [3.0, [3.0], [(1.0, 2.0)], [(-1.0, 0.1, "x")], "3"])
def test_figure_refuses_other_thresholds(given):
    with pytest.raises(ValueError, match="threshold"):
        plot_sweep(made_up([[0, 8]]), given)
