"""The command that predicts the fall of the test loss, and its figure."""

import dataclasses
import json

import numpy as np
import pytest
from commands import assert_one_line, called, names
from figures import assert_readable

import dmft
from dmft.plotting import plot_grokking

SAMPLING = dmft.Sampling(n_paths=256, replicates=2, seed=1)  # a seed of which all runs fall
OPTIONS = ("--delta", 6, "--n-steps", 40, "--n-paths", 256, "--replicates", 2, "--seed", 1,
           "--workers", 1)  # fmt: skip


@pytest.fixture
def call(tmp_path, capsys):
    """Run the command on a preset: exit code, stdout, stderr."""

    def run(*arguments):
        out = ["--preset", "robust-phase-retrieval", "--out", tmp_path / "out"]
        return called(capsys, ["grokking", *map(str, [*out, *arguments])])

    run.out = tmp_path / "out"
    return run


def prediction(d=(30, 60), n_steps=40):
    problem = dmft.load_preset("robust-phase-retrieval").problem
    method = dmft.GradientDescent(0.2, n_steps)
    starts = [size**-0.5 for size in d]
    return dmft.predict_grokking(problem, 6.0, method, d, hard_overlap=starts, sampling=SAMPLING)


def simulation(d, n_steps=40):
    problem = dmft.load_preset("robust-phase-retrieval").problem
    method = dmft.GradientDescent(0.2, n_steps)
    return dmft.simulate(problem, 6.0, method, d, 3, hard_overlap=d**-0.5, workers=1)


@pytest.mark.slow
def test_files_and_numbers(call):
    code, out, err = call(*OPTIONS, "--d", 30, 60, "--seeds", 2, "--json")
    assert (code, err) == (0, "")
    assert names(call.out) == [
        "robust-phase-retrieval-grokking-d30",
        "robust-phase-retrieval-grokking-d30.npz",
        "robust-phase-retrieval-grokking-d60",
        "robust-phase-retrieval-grokking-d60.npz",
        "robust-phase-retrieval-grokking.npz",
        "robust-phase-retrieval-grokking.png",
    ]
    data = json.loads(out)
    loaded = dmft.Grokking.load(call.out / "robust-phase-retrieval-grokking.npz")
    np.testing.assert_array_equal(data["fall_time"], loaded.fall_time)
    np.testing.assert_allclose(loaded.fall_time, prediction().fall_time, rtol=1e-9)
    runs = dmft.Simulation.load(call.out / "robust-phase-retrieval-grokking-d30.npz")
    np.testing.assert_allclose(runs.overlap[:, 0, 0, 0], 30**-0.5)
    assert len(data["simulated"]["30"]["fall_time"]) == 2


def test_prediction_alone_from_a_random_start(call):
    code, out, _ = call(*OPTIONS, "--d", 300, "--seeds", 0, "--random-start", "--n-steps", 10)
    assert code == 3  # no run falls in so few steps, and that is said
    assert "MAX_STEPS" in out
    assert "simulated" not in out
    assert "random" in out
    loaded = dmft.Grokking.load(call.out / "robust-phase-retrieval-grokking-random.npz")
    assert loaded.config["hard_overlap"] is None


def test_falls_of_several_features(tmp_path, capsys):
    """Drops of the run file: a row and a colour for each; too few steps, and that is said."""
    out = tmp_path / "out"
    arguments = [
        "grokking", "--preset", "two-features", "--random-start", "--d", 200, "--seeds", 1,
        "--n-steps", 8, "--n-paths", 256, "--replicates", 2, "--n-draws", 4, "--max-draws", 4,
        "--workers", 1, "--out", out,
    ]  # fmt: skip
    code, text, err = called(capsys, list(map(str, arguments)))
    assert (code, err) == (3, "")
    assert "1: z1" in text
    assert "2: z2" in text
    loaded = dmft.Grokking.load(out / "two-features-grokking-random.npz")
    assert [drop.directions.argmax() for drop in loaded.drops] == [0, 1]
    assert (out / "two-features-grokking-random.png").exists()
    code, text, _ = called(capsys, [*map(str, arguments), "--json"])
    data = json.loads(text)
    assert len(data["drops"]) == 2
    assert len(data["simulated"]["200"]["drops"]) == 2
    runs = dmft.Simulation.load(out / "two-features-grokking-random-d200.npz")
    cosine = plot_grokking(loaded, [runs]).axes[1]
    assert [line.get_label() for line in cosine.lines if line.get_linewidth() > 1] == [
        "feature 1", "feature 2",
    ]  # fmt: skip
    code, _, err = called(capsys, [*map(str, arguments), "--drops", "3"])
    assert code == 2
    assert "drops must be at most 2" in err


@pytest.mark.slow
def test_the_default_start_of_each_neuron_is_in_proportion_to_its_radius(tmp_path, capsys):
    path = tmp_path / "two.toml"
    path.write_text(
        """
[target]
label = "phase-retrieval"
[network]
activation = "quadratic"
second_layer = [1.0, 1.0]
[problem]
loss = "pseudo-huber"
init_radius = [1.0, 0.05]
[method]
step_size = 0.2
n_steps = 3
"""
    )
    arguments = [*OPTIONS, "--n-steps", 3, "--d", 400, "--seeds", 1, "--out", tmp_path / "out"]
    code, _, err = called(capsys, ["grokking", *map(str, [path, *arguments])])
    assert code == 3, err  # no fall in so few steps
    runs = dmft.Simulation.load(tmp_path / "out" / "two-grokking-d400.npz")
    np.testing.assert_allclose(runs.overlap[0, 0, :, 0], [0.05, 0.0025])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--d", 1), "d must be an integer >= 3, got 1"),
        (("--d", 50, 50), "d must"),
        (("--workers", 99), "workers must be at most the number of cores"),
        (("--seeds", -1), "seeds must be an integer >= 0, got -1"),
        (("--delta", 0), "delta must be a positive finite number"),
        (("--n-steps", 0), "n_steps >= 1"),
    ],
)
def test_bad_input_is_one_line(call, arguments, message):
    assert_one_line(call(*OPTIONS, "--d", 30, *arguments), message)
    assert not call.out.exists()


# ------------------------------------------------------------------ figure


@pytest.mark.slow
def test_figure_shows_the_runs_of_one_dimension_and_the_times_of_all(tmp_path):
    found, runs = prediction(), [simulation(30), simulation(60)]
    figure = plot_grokking(found, runs)
    losses, cosine, times = figure.axes
    thin = [line for line in losses.lines if line.get_linewidth() < 0.5]
    assert len(thin) == 2 * 3  # train and test, three seeds of the larger d
    medians = [line for line in losses.lines if line.get_linewidth() > 1]
    np.testing.assert_array_equal(medians[1].get_ydata(), found.test_loss[1, 1])
    np.testing.assert_array_equal(cosine.lines[-1].get_ydata(), found.hard_cosine[1, 1])
    np.testing.assert_array_equal(times.lines[0].get_ydata(), found.fall_time[:, 1])
    assert_readable(figure, tmp_path)


@pytest.mark.slow
def test_figure_of_a_prediction_alone(tmp_path):
    assert_readable(plot_grokking(prediction((40,))), tmp_path)


def test_figure_refuses_other_dimensions():
    found = prediction((30,), 4)
    with pytest.raises(ValueError, match="d among"):
        plot_grokking(found, [simulation(60, 4)])
    with pytest.raises(ValueError, match="d must be one of"):
        plot_grokking(found, d=31)


def test_errors_of_drawn_starts_are_printed_and_drawn():
    from dmft.cli.grokking import _json
    from dmft.studies.report import grokking_lines, grokking_table

    found = prediction()
    assert "starts drawn" not in dict(grokking_lines(found))
    assert "+-" not in grokking_table(found)
    drawn = dataclasses.replace(
        found, fall_time_stderr=np.full_like(found.fall_time, 1.25), n_starts=np.array([16, 32])
    )
    assert dict(grokking_lines(drawn))["starts drawn"].startswith("16, 32; ")
    assert grokking_table(drawn).count("+- 1.2") == 6
    assert _json(drawn, [])["n_starts"].tolist() == [16, 32]

    def labels(result):
        return plot_grokking(result).axes[2].get_legend_handles_labels()[1]

    assert "error of the drawn starts" in labels(drawn)
    assert "error of the drawn starts" not in labels(found)


def test_an_interrupted_prediction_does_not_speak_of_finished_seeds(call, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dmft.studies.grokking.predict_grokking", interrupted)
    code, out, err = call(*OPTIONS, "--d", 30, "--seeds", 2)
    assert (code, out, err) == (130, "", "delta-nn: interrupted\n")
    assert not call.out.exists()
