"""The command of scaling laws: files, numbers, bad input."""

import json
import os

import numpy as np
import pytest
from commands import assert_one_line, commands_on

import dmft

RUN = """
title = "Small"
[target]
label = { name = "power-law", gamma = 1.0, features = 2 }
noise = 0.5
[network]
activation = "quadratic"
[problem]
loss = "pseudo-huber"
[method]
step_size = 0.2
n_steps = 3
[sampling]
n_paths = 128
replicates = 4
[curve]
bracket = [1.0, 20.0]
[scaling-law]
widths = [1, 2]
steps = [2]
points = 4
max_solves = 4
n_points = 16384
"""
run_file, call = commands_on(RUN, "scaling-law")


def test_scaling_law(call):
    """Bracket of [curve], everything else of [scaling-law]; options replace it."""
    code, out, err = call("--json", "--widths", 1, "--criterion", "left")
    data = json.loads(out)
    assert err == ""
    assert (data["criterion"], data["bracket"], data["step"]) == ("left", [1.0, 20.0], 2)
    assert data["names"] == ["spectral method", "spectral, in sequence", "1 neuron"]
    assert sorted(os.listdir(call.out)) == ["small-scaling-law.npz", "small-scaling-law.png"]
    loaded = dmft.ScalingLaw.load(call.out / "small-scaling-law.npz")
    np.testing.assert_array_equal(np.array(data["threshold"], dtype=float), loaded.threshold)
    assert data["thresholds_law"][0]["points"] == loaded.thresholds_law(0).points
    assert code == (0 if loaded.status.ok else 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--widths", 0], ["widths", ">= 1", "0"]),
        (["--widths", 2, 1], ["widths", "ascending"]),
        (["--criterion", "any"], ["criterion", "any"]),
        (["--steps", 1, 2], ["steps", "single step", "[1, 2]"]),
        (["--steps", 4], ["steps", "3", "4"]),
        (["--n-points", 8], ["n_points", "8"]),
        (["--set", "scaling-law.index=2"], ["index", "belongs to threshold and curve"]),
        (["--set", "target.label=product"], ["changes sign", "coordinate 1"]),
        (["--set", "network.second_layer=[0.5, 0.5]"], ["one neuron", "2"]),
    ],
)
def test_bad_input_is_one_line(call, arguments, words):
    assert_one_line(call(*arguments), *words)
    assert not call.out.exists()
