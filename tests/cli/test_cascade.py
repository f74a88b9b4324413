"""The command that draws the thresholds of all features: files, numbers, bad input."""

import json
import os

import pytest
from commands import RETRIEVAL, assert_one_line, commands_on

import dmft

RUN = f"""
title = "Small"
{RETRIEVAL.replace("phase-retrieval", "product")}
[method]
step_size = 0.2
n_steps = 3
[sampling]
n_paths = 128
replicates = 4
seed = 5
[threshold]
bracket = [1.0, 9.0]
criterion = "any"
[cascade]
n_steps = 1
steps = [1]
points = 4
max_solves = 6
features = 1
learned = [[0.2, 0.0]]
"""
run_file, call = commands_on(RUN, "cascade")


def test_cascade(call):
    """Bracket and criterion of [threshold]; once z1 is learned, z2 is easy in z1 z2."""
    code, out, err = call("--json")
    data = json.loads(out)
    assert err == ""
    assert (data["criterion"], data["bracket"]) == ("any", [1.0, 9.0])
    assert [stage["made_easy"] for stage in data["stages"]] == [0, 1]
    assert [len(stage["features"]) for stage in data["stages"]] == [1, 0]
    assert sorted(os.listdir(call.out)) == ["small-cascade.npz", "small-cascade.png"]
    loaded = dmft.Cascade.load(call.out / "small-cascade.npz")
    assert data["stages"][0]["features"][0]["value"] == loaded.stages[0].curves[0].value.tolist()
    assert code == (0 if loaded.status.ok else 3)


def test_cascade_of_runs(call):
    code, out, _ = call(
        "--json", "--d", 40, "--draws", 8, "--set", "problem.loss=square", "--set",
        "cascade.learned=[]", "--steps", 0, "--bracket", 0.5, 20,
    )  # fmt: skip
    [feature] = json.loads(out)["stages"][0]["features"]
    assert json.loads(out)["d"] == 40
    assert feature["draws"] == 8
    assert feature["band"][0] < feature["value"] < feature["band"][1]
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--features", 3], ["features", "1..m k_h = 1..2", "3"]),
        (["--features", 0], ["features", ">= 1", "0"]),
        (["--set", "cascade.index=2"], ["index", "belongs to threshold and curve"]),
        (["--set", "cascade.learned=[[0.0, 0.0]]"], ["learned", "zero"]),
        (["--set", "cascade.learned=0.2"], ["cascade.learned", "array"]),
        (["--set", "cascade.learned=[[5.0, 0.0]]"], ["initial_overlap"]),
        (["--steps", 2], ["steps", "1", "2"]),
        (["--d", 100, 200], ["d must be one size here", "100", "200"]),
        (["--draws", 8], ["draws", "dimension d"]),
        (["--d", 100, "--rtol", 0.1], ["rtol must not come with d"]),
        (["--d", 3], ["d must", "3"]),
        (["--set", "target.label=linear"], ["hard direction"]),
    ],
)
def test_bad_input_is_one_line(call, arguments, words):
    assert_one_line(call(*arguments), *words)
    assert not call.out.exists()
