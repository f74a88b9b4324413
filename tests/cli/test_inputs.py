"""Inputs of other laws through run files, overrides and commands."""

import pytest
from commands import called, commands_on, json_of

import dmft
from dmft.config.config import RunFile, load_run

RUN = """
[target]
classes = "component"
k = 2
flip = 0.05

[network]
activation = "gelu"
second_layer = [2.0, -2.0]

[problem]
loss = "logistic"

[problem.inputs]
law = "gaussian-mixture"
weights = [0.4, 0.6]
means = [[1.0, 0.0], [-0.5, 0.0]]
covariances = [[[1.0, 0.0], [0.0, 0.3]], [[0.5, 0.0], [0.0, 3.0]]]
scales = [1.0, 1.2]

[method]
step_size = 0.3
n_steps = 3

[sampling]
n_paths = 128
replicates = 2

[threshold]
bracket = [4.0, 8.0]
scan_points = 3

[trajectory]
delta = 6.0

[spectrum]
delta = 6.0

[simulation]
d = [30, 40]
seeds = 3
"""
run_file, answer = commands_on(RUN, options=("--json",))


@pytest.fixture
def call(answer):
    return json_of(answer)


def test_a_run_file_describes_the_law(run_file):
    run = load_run(run_file)
    assert run.problem.inputs.scales == (1.0, 1.2)
    assert run.problem.target.hard_basis.tolist() == [[0.0], [1.0]]
    assert RunFile.from_config(run.to_config(), run.name) == run
    other = load_run(run_file, {"problem.inputs.scales": [1.0, 3.0]})
    assert other.problem.inputs.scales == (1.0, 3.0)
    with pytest.raises(ValueError, match=r"\[problem\]: scales must be 2 positive numbers"):
        load_run(run_file, {"problem.inputs.scales": [1.0, 0.0]})
    with pytest.raises(ValueError, match=r"target.label: missing; it has no default"):
        load_run(run_file, {"target.classes": None, "target.flip": None})


@pytest.mark.slow
def test_commands_follow_the_law(call, tmp_path):
    for command in ("trajectory", "spectrum", "threshold"):
        code, found, err = call(command)
        assert code in (0, 3), err
        assert found["status"] in ("SUCCESS", "NO_BRACKET")
    code, found, err = call("compare", "--workers", 1, "--out", tmp_path)
    assert code in (0, 1), err
    assert "test_error" in found["quantities"]
    result = dmft.load(next(tmp_path.glob("*-simulation-d30*.npz")))
    assert result.problem.inputs.n_components == 2
    assert "mixture of 2 Gaussian clusters, scales 1, 1.2" in str(result)


def test_other_inputs_of_simulations_are_refused(call):
    code, _, err = call("simulate", "--inputs", "rademacher", "--workers", 1)
    assert code == 2
    assert "inputs must be left out for a problem that has inputs of its own" in err
    assert len(err.strip().splitlines()) == 1


def test_hardness_keeps_gaussian_latents_and_says_so(call, capsys):
    code, _, err = call("hardness", "--n-points", 2**16)
    assert code == 2
    assert "target must not depend on clusters" in err
    options = ["--n-points", str(2**16), "--preset", "student-t-inputs"]
    _, out, _ = called(capsys, ["hardness", *options])
    assert "standard Gaussian, not those of the inputs (elliptical, student-t(3))" in out


def test_a_quantile_function_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def scales(u):\n    return 0.5 + u\n\n\ndef wide(width):\n"
        "    def quantile(u):\n        return 1 + width * u\n    return quantile\n"
    )
    text = RUN.replace('classes = "component"', 'label = "easy-hard"\nclasses = "sign"')
    start, end = text.index("[problem.inputs]"), text.index("[method]")
    for entry in ('"mine.py:scales"', '{ python = "mine.py:wide", width = 0.5 }'):
        inputs = f'[problem.inputs]\nlaw = "elliptical"\nscales = {entry}\n\n'
        path = tmp_path / "own.toml"
        path.write_text(text[:start] + inputs + text[end:])
        run = load_run(path)
        assert run.problem.inputs.name.startswith("mine.py:")
        config = run.problem.to_config()["inputs"]["scales"]
        assert config["custom"] == run.problem.inputs.name
        assert "def scales" in config["source"]
    assert run.problem.inputs.scale_range == (1.0, 1.5)


def test_files_of_the_command_line_are_those_of_its_folder(tmp_path, monkeypatch, capsys):
    """Also under keys of a table of the problem, beside what the run file has there."""
    beside, here = tmp_path / "beside", tmp_path / "here"
    for folder, name in ((beside, "of_the_file"), (here, "given")):
        folder.mkdir()
        text = f"def {name}(y):\n    return y.clip(-2, 2)\n\n\ndef scales(u):\n    return 0.5 + u\n"
        (folder / "mine.py").write_text(text)
    start = 'preprocessing = "mine.py:of_the_file", share = 0.5'
    path = beside / "run.toml"
    path.write_text(
        f'[target]\nlabel = "phase-retrieval"\n[problem]\nspectral_start = {{ {start} }}\n'
        "[method]\nstep_size = 0.1\nn_steps = 1\n[sampling]\nn_paths = 256\nreplicates = 2\n"
        "[trajectory]\ndelta = 4.0\n"
    )
    monkeypatch.chdir(here)
    for stated in (
        "problem.spectral_start.preprocessing=mine.py:given",
        'problem.spectral_start={ preprocessing = "mine.py:given", share = 0.5 }',
    ):
        more = ["--set", stated, "--set", "problem.inputs.law=elliptical"]
        more += ["--set", "problem.inputs.scales=mine.py:scales", "--force"]
        code, _, err = called(capsys, ["trajectory", str(path), *more, "--out", str(tmp_path)])
        assert code == 0, err
        problem = dmft.load(tmp_path / "run-trajectory.npz").config["problem"]
        assert problem["spectral_start"]["preprocessing"]["custom"] == "mine.py:given"
        assert problem["spectral_start"]["share"] == 0.5
        assert "def given" in problem["inputs"]["scales"]["source"]


def test_latent_coordinates_of_several_laws(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("def skewed(u):\n    return 3.0 * u**2 - 1.0\n")
    text = RUN.replace('classes = "component"', 'label = "easy-hard"\nclasses = "sign"')
    start, end = text.index("[problem.inputs]"), text.index("[method]")
    law = 'law = "independent-latents"\nlatents = ["mine.py:skewed", "student-t"]\n'
    path = tmp_path / "own.toml"
    path.write_text(f"{text[:start]}[problem.inputs]\n{law}degrees_of_freedom = [4]\n{text[end:]}")
    run = load_run(path)
    assert run.problem.inputs.describe() == ("independent latents, mine.py:skewed, student-t(4)")
    assert RunFile.from_config({**run.to_config(), "problem": {"inputs": {
        "law": "independent-latents", "latents": [f"{tmp_path}/mine.py:skewed", "student-t"],
        "degrees_of_freedom": 4.0,
    }, "loss": "logistic"}}, run.name).problem.inputs == run.problem.inputs  # fmt: skip
    code, out, err = called(capsys, ["trajectory", str(path), "--out", str(tmp_path)])
    assert code == 0, err
    assert "independent latents, mine.py:skewed, student-t(4)" in out
    code, _, err = called(
        capsys, ["trajectory", str(path), "--set", "problem.inputs.latents=['normal']"]
    )
    assert code == 2
    assert "degrees_of_freedom must be a number, or one for each of the 0 latent" in err
    stored = dmft.load(tmp_path / "own-trajectory.npz")
    assert "mine.py:skewed" in str(stored)
