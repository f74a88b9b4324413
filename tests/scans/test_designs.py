"""Designs: which points there are, counted before any of them is made."""

import re

import numpy as np
import pytest

from dmft.scans.designs import MOST_POINTS, design_of

NOISE = {"from": 0.0, "to": 0.3, "num": 4}


def points(*arguments, **settings):
    design = design_of(*arguments, **settings)
    return [design.settings(index) for index in range(design.points)]


def test_the_last_axis_of_a_product_changes_first():
    found = points({"target.noise": NOISE, "network.activation": ["gelu", "relu"]})
    assert [p["target.noise"] for p in found] == [0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    assert [p["network.activation"] for p in found] == ["gelu", "relu"] * 4


def test_ranges_have_the_ends_and_ratios_that_they_state():
    [*values] = (
        p["delta"] for p in points({"delta": {"from": 1, "to": 16, "num": 5, "scale": "log"}})
    )
    assert values == [1.0, 2.0, 4.0, 8.0, 16.0]
    whole = {"sampling.n_paths": {"from": 64, "to": 512, "num": 4, "scale": "log"}}
    assert [p["sampling.n_paths"] for p in points(whole)] == [64, 128, 256, 512]
    assert all(type(p["sampling.n_paths"]) is int for p in points(whole))


def test_zips_lists_and_keys_that_change_together():
    axes = {"target.noise": [0.0, 0.5], "network.activation": ["gelu", "relu"]}
    both = [
        {"target.noise": 0.0, "network.activation": "gelu"},
        {"target.noise": 0.5, "network.activation": "relu"},
    ]
    assert points(axes, "zip") == both
    assert points(None, "list", both) == both
    assert points({"target.noise, network.activation": [[0.0, "gelu"], [0.5, "relu"]]}) == both


def test_an_axis_of_a_zip_may_repeat_what_another_changes():
    axes = {"delta": [1, 1, 2], "target.noise": [0.0, 0.5, 0.5]}
    assert [tuple(p.values()) for p in points(axes, "zip")] == [(1, 0.0), (1, 0.5), (2, 0.5)]


def test_numbers_of_numpy_are_numbers():
    [one] = points({"target.noise": [np.float64(0.5)]})
    assert type(one["target.noise"]) is float
    assert points({"target.noise": np.array([0.5])}) == [one]


def test_tables_of_a_run_file_need_no_quotes():
    assert points({"target": {"noise": [0.0, 0.5]}}) == points({"target.noise": [0.0, 0.5]})


@pytest.mark.parametrize("kind", ["random", "sobol"])
def test_more_points_begin_with_the_same_ones_within_the_ranges(kind):
    axes = {
        "target.noise": {"from": 0.1, "to": 0.4},
        "problem.init_radius": {"from": 0.1, "to": 10, "scale": "log"},
        "network.activation": ["gelu", "relu", "erf"],
    }
    many = points(axes, kind, 48, 3)
    assert points(axes, kind, 20, 3) == many[:20]
    assert points(axes, kind, 20, 4) != many[:20]
    noise = np.array([p["target.noise"] for p in many])
    radius = np.array([p["problem.init_radius"] for p in many])
    assert (noise.min() > 0.1) & (noise.max() < 0.4) & (radius.min() > 0.1) & (radius.max() < 10)
    # Even in the logarithm: as many below 1 as above, within five standard deviations.
    assert abs((radius < 1).sum() - 24) < 5 * np.sqrt(12)
    assert {p["network.activation"] for p in many} == {"gelu", "relu", "erf"}


def test_sobol_points_are_more_even_than_random_ones():
    axes = {"target.noise": {"from": 0.0, "to": 1.0}}
    sobol = np.sort([p["target.noise"] for p in points(axes, "sobol", 64)])
    # One point in each sixty-fourth part.
    np.testing.assert_array_equal(np.floor(64 * sobol), np.arange(64))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (({"target.noise": {"from": 0, "to": 1, "num": 10**7}},), "at most 100000 points, got 100"),
        (({"target.nose": [1]},), "unknown key (did you mean 'noise'?)"),
        (({"taget.noise": [1]},), "unknown key (did you mean 'target'?)"),
        (({"noise": [1]},), "must be dotted"),
        (({3: [1]},), "must be names"),
        (({"scan.seed": [1]},), "settings of a point"),
        (({"target.noise": []},), "a list of values"),
        (({"target.noise": 0.5},), "a list of values"),
        (({"target.noise": "gelu"},), "a list of values"),
        (({"target.noise": {"from": 0, "to": 1}},), "num"),
        (({"target.noise": {"from": 0, "to": 1, "num": 0}},), "num must be an integer >= 1"),
        (({"target.noise": {"from": 0, "to": float("nan"), "num": 3}},), "to must be"),
        (({"target.noise": {"from": 0, "to": 1, "num": 3, "scale": "log"}},), "positive"),
        (({"target.noise": {"from": 0, "to": 1, "n": 3, "num": 2}},), "'n'"),
        (({"target.noise": [1], "delta": [1], "trajectory.delta": [1]},), "delta twice"),
        (({"target.noise": [0, 1], "delta": [1]}, "zip"), "same number"),
        (({"target.noise, delta": [[0, 1], [1]]},), "2 values at a time"),
        (({},), "scan.axes is missing"),
        (({"delta": [1]}, "grid"), "scan.design must be one of"),
        (({"delta": [1]}, "product", 5), "scan.points belongs to"),
        (({"delta": [1]}, "random"), "number of points"),
        (({"delta": {"from": 1, "to": 2, "num": 3}}, "sobol", 4), "num belongs to other"),
        ((None, "list", 4), "a list of tables"),
        ((None, "list", []), "a list of tables"),
        ((None, "list", [{}]), "points[0]"),
        (({"delta": [1]}, "list", [{"delta": 1}]), "scan.axes belongs to other"),
        (({"delta": [1, 2, 1.0]},), "scan.axes.delta must have each value once, got 1 twice"),
        (({"problem.init_radius": [[1, 2], [1.0, 2.0]]},), "got [1, 2] twice"),
        (({"network.neurons": {"from": 1, "to": 3, "num": 4}},), "neurons must have each value"),
        (({"delta": {"from": 2, "to": 2, "num": 2}},), "got 2 twice"),
        (({"delta, step": [[1, 2], [1, 2]]},), "got 1, 2 twice"),
        (({"delta": [1, 1], "step": [2, 2]}, "zip"), "scan.axes must have each value once"),
        ((None, "list", [{"delta": 1}, {"delta": 1.0}]), "scan.points must have each value once"),
        (({"network.activation": ["gelu", "gelu"]}, "sobol", 4), 'got "gelu" twice'),
        (({"delta": [1.0, float("nan")]},), "scan.axes.delta must not have a value nan"),
        ((None, "list", [{"delta": float("nan")}]), "scan.points must not have a value nan"),
    ],
)
def test_bad_designs_are_refused_in_one_line(arguments, words):
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        design_of(*arguments)
    assert "\n" not in str(refused.value)


def test_large_designs_are_counted_not_made():
    axes = {
        "target.noise": {"from": 0, "to": 1, "num": 10**3},
        "delta": {"from": 1, "to": 2, "num": 10**2},
    }
    design = design_of(axes)
    assert design.points == MOST_POINTS
    assert design.settings(MOST_POINTS - 1) == {"target.noise": 1.0, "delta": 2.0}


def test_keys_without_quotes_are_tables_in_tables():
    """TOML makes nested tables of them; a range is none."""
    scale = {"from": 1.0, "to": 2.0, "num": 2}
    nested = {
        "problem": {"inputs": {"degrees_of_freedom": [3, 5]}, "spectral_start": {"cap": scale}}
    }
    design = design_of({**nested, "target": {"noise": scale}})
    assert design.keys == (
        "problem.inputs.degrees_of_freedom", "problem.spectral_start.cap", "target.noise",
    )  # fmt: skip
    assert design.settings(1)["target.noise"] == 2.0
