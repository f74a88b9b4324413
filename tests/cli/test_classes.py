"""Classes, starts and kinks through run files, presets and commands."""

import numpy as np
import pytest
from commands import commands_on, json_of

import dmft
from dmft.config.config import RunFile

RUN = """
[target]
label = "easy-hard"
classes = "sign"
flip = 0.1
threshold = 0.25

[network]
activation = "leaky-relu"
second_layer = [1.0, -0.5]

[problem]
loss = "smoothed-hinge"
init_gram = [[1.0, 0.5], [0.5, 0.8]]
initial_overlap = [[0.3, 0.0], [-0.1, 0.0]]
init_law = "gaussian"

[method]
step_size = 0.2
n_steps = 3

[sampling]
n_paths = 256
replicates = 4

[threshold]
bracket = [1.0, 4.0]
scan_points = 3

[trajectory]
delta = 3.0

[spectrum]
delta = 3.0

[simulation]
d = [30, 40]
seeds = 3
"""
run_file, answer = commands_on(RUN, options=("--json",))


@pytest.fixture
def call(answer):
    return json_of(answer)


def test_a_run_file_describes_the_problem(run_file):
    run = dmft.load_run(run_file)
    expected = dmft.Problem(
        dmft.Target("easy-hard", classes="sign", flip=0.1, threshold=0.25),
        dmft.Network("leaky-relu", [1.0, -0.5]),
        "smoothed-hinge",
        init_gram=[[1.0, 0.5], [0.5, 0.8]],
        initial_overlap=[[0.3, 0.0], [-0.1, 0.0]],
        init_law="gaussian",
    )
    assert run.problem == expected
    assert RunFile.from_config(run.to_config(), "small") == run


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"sign"', '"signs"', ["[target]", "classes", "'signs'", "did you mean 'sign'?"]),
        ("flip = 0.1", "flip = 0.7", ["[target]", "flip", "less than 1/2", "0.7"]),
        ("flip = 0.1", "slope = 2.0", ["[target]", "slope", "'logistic'"]),
        ("flip = 0.1", "flipp = 0.1", ["target.flipp", "did you mean 'flip'?"]),
        ("0.5], [0.5, 0.8]", "2.0], [2.0, 0.8]", ["[problem]", "init_gram", "semidefinite"]),
        ("[[0.3, 0.0]", "[[1.3, 0.0]", ["[problem]", "initial_overlap", "Q - M M^T"]),
        ('"gaussian"', '"uniform"', ["[problem]", "init_law", "'sphere', 'gaussian'"]),
        ("init_gram = [[1.0, 0.5], [0.5, 0.8]]", "init_radius = [1.0]", ["init_radius", "m = 2"]),
        ('classes = "sign"\nflip = 0.1\nthreshold = 0.25', "", ["-1 and +1", "smoothed-hinge"]),
    ],
)
def test_bad_files_are_answered_in_one_line(call, run_file, old, new, words):
    assert old in RUN
    run_file.write_text(RUN.replace(old, new), encoding="utf-8")
    code, _, err = call("trajectory")
    assert code == 2
    assert err.count("\n") == 1
    assert all(word in err for word in ["small.toml", *words]), err


def test_radii_in_a_run_file(run_file):
    run_file.write_text(
        RUN.replace("init_gram = [[1.0, 0.5], [0.5, 0.8]]", "init_radius = [1.0, 0.5]")
    )
    assert dmft.load_run(run_file).problem.init_radius == (1.0, 0.5)


@pytest.mark.slow
def test_trajectory_and_spectrum(call, tmp_path):
    code, found, _ = call("trajectory")
    assert code == 0
    assert len(found["test_error"]) == len(found["stderr"]["test_error"]) == 4
    loaded = dmft.Trajectory.load(tmp_path / "out" / "small-trajectory.npz")
    np.testing.assert_array_equal(loaded.test_error, found["test_error"])
    assert 0.1 < found["test_error"][-1] < 0.5
    code, found, _ = call("spectrum")
    assert code in (0, 3)
    assert found["step"] == 3
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


@pytest.mark.slow
def test_threshold_of_a_piecewise_linear_network_says_there_is_none(call):
    code, found, _ = call("threshold")
    assert code == 3
    assert found["status"] == "NO_BRACKET"


@pytest.mark.slow
def test_simulate_and_compare(call, tmp_path):
    code, found, _ = call("simulate", "--workers", 1)
    assert code == 0
    assert all(0.0 < value < 1.0 for value in found["simulations"][0]["mean"]["test_error"])
    code, found, _ = call("compare", "--workers", 1)
    assert code == 0
    assert "test_error" in found["quantities"]
    result = dmft.Comparison.load(tmp_path / "out" / "small-comparison.npz")
    assert "test error" in result.table()
    assert result.table().startswith("sign of easy-hard - 0.25 (flip 0.1), 2 leaky-relu neurons")


@pytest.mark.slow
def test_hardness_of_classes(call):
    code, found, _ = call("hardness", "--n-points", 2**18)
    assert code == 0
    assert found["hard_basis"] == [[0.0], [1.0]]
    options = ("--classes", "sign", "--threshold", 1, "--flip", 0.2, "--n-points", 2**18)
    code, found, _ = call("hardness", *options, source=["phase-retrieval"])
    assert code == 0
    assert found["generative_exponent"] == 2
    code, found, _ = call("hardness", "--classes", "logistic", "--n-points", 2**18)
    assert code == 0  # of the file's label, without the flips that belong to the sign
    code, _, err = call("hardness", "--flip", 0.2, source=["linear"])
    assert code == 2
    assert "without classes" in err


@pytest.mark.parametrize("name", ["relu", "correlated-initialisation", "logistic-flips"])
def test_presets_of_the_problems(name):
    run = dmft.load_preset(name)
    assert run.simulation.d == (1000, 2000)
    assert run.simulation.seeds == 8
    assert run.method.n_steps == 30
    assert RunFile.from_config(run.to_config(), name) == run
