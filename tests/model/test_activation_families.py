"""Activations with parameters: against mpmath, their entries, refusals, and identity."""

import pickle

import mpmath
import numpy as np
import pytest

import dmft
from dmft._numerics.derivative_checks import slopes
from dmft.model.activation_families import FAMILIES
from dmft.model.activations import ACTIVATIONS, get_activation

MEMBERS = ("value", "derivative", "second_derivative")
DEFINITION = {
    "swish": ({"beta": 1.5}, lambda r: r / (1 + mpmath.exp(-1.5 * r))),
    "leaky-relu": ({"slope": 0.2}, lambda r: max(r, r / 5)),
    "relu": ({"power": 2.5}, lambda r: max(r, mpmath.mpf(0)) ** 2.5),
    "erf": ({"scale": 0.3}, lambda r: mpmath.erf(mpmath.mpf(0.3) * r)),
    "erf-scaled": ({}, lambda r: mpmath.erf(r / mpmath.sqrt(2))),
    "softsign": ({}, lambda r: r / (1 + abs(r))),
}
R = np.array([-30.0, -3.1, -0.7, -1e-3, 1e-3, 0.4, 2.0, 30.0])


def test_the_bank_of_definitions_is_complete():
    assert DEFINITION.keys() == FAMILIES.keys()


@pytest.mark.parametrize("name", FAMILIES)
def test_matches_mpmath(name):
    parameters, definition = DEFINITION[name]
    activation = get_activation({"name": name, **parameters})
    with mpmath.workdps(60):
        exact = [
            [float(mpmath.diff(definition, mpmath.mpf(x), n)) for x in R.tolist()] for n in range(3)
        ]
    found = [getattr(activation, member)(R) for member in MEMBERS]
    # 1e-16 in r^2 = 900 is 1e-13 in its exponential.
    np.testing.assert_allclose(found, exact, rtol=2e-13, atol=1e-16)


@pytest.mark.parametrize("power", [2, 3])
def test_the_power_of_a_rectifier_has_no_kink(power):
    activation = get_activation({"name": "relu", "power": power})
    assert activation.kinks == ()
    at_zero = [float(getattr(activation, member)(np.zeros(1))[0]) for member in MEMBERS]
    assert at_zero == [0.0, 0.0, 0.0]
    slope, error = slopes(activation.derivative, np.array([-0.5, 0.5]))
    assert np.all(error < 1e-6)
    np.testing.assert_allclose(slope, activation.second_derivative(np.array([-0.5, 0.5])))


def test_on_the_kink_the_slope_is_the_flatter_one():
    leaky = get_activation({"name": "leaky-relu", "slope": 0.2})
    assert leaky.kinks == (0.0,)
    assert leaky.derivative(np.zeros(1))[0] == 0.2


@pytest.mark.parametrize(
    ("table", "entry"),
    [
        ({"name": "swish", "beta": 1}, "silu"), ({"name": "relu"}, "relu"),
        ({"name": "leaky-relu", "slope": 0.01}, "leaky-relu"), ({"name": "erf"}, "erf"),
        ({"name": "gelu"}, "gelu"),
    ],
)  # fmt: skip
def test_parameters_of_an_entry_are_the_entry(table, entry):
    assert get_activation(table) is ACTIVATIONS[entry]


@pytest.mark.parametrize(
    "given", [{"name": "swish", "beta": 1.5}, "softsign", {"name": "relu", "power": 2}]
)
def test_a_member_is_itself_again(given):
    activation = get_activation(given)
    problem = dmft.Problem("product", dmft.Network(given))
    assert get_activation(activation.config) is activation
    assert pickle.loads(pickle.dumps(activation)) is activation
    assert dmft.Problem.from_config(problem.to_config()) == problem
    assert pickle.loads(pickle.dumps(problem)) == problem
    assert hash(problem) == hash(dmft.Problem("product", dmft.Network(given)))


def test_a_changed_member_is_a_custom_activation():
    changed = dmft.Activation(np.tanh, family=("swish", (("beta", 1.5),)))
    assert changed.config["custom"] == "custom"


def test_a_trajectory_with_parameters_is_stored_and_read(tmp_path):
    problem = dmft.Problem("phase-retrieval", dmft.Network({"name": "swish", "beta": 2}))
    sampling = dmft.Sampling(64, 2)
    run = dmft.solve(problem, 2.0, dmft.GradientDescent(0.1, 1), sampling, threads=1)
    run.save(tmp_path / "run.npz")
    assert dmft.Trajectory.load(tmp_path / "run.npz").problem == problem


def test_a_swish_is_its_definition_in_a_solve():
    """The value alone, differentiated numerically, gives the trajectory of the catalogue's."""
    sampling, method = dmft.Sampling(64, 2), dmft.GradientDescent(0.1, 2)
    norms = [
        dmft.solve(
            dmft.Problem("product", dmft.Network(activation)), 2.0, method, sampling, threads=1
        ).norm
        for activation in (
            {"name": "swish", "beta": 1.5},
            dmft.Activation(lambda r: r / (1 + np.exp(-1.5 * r))),
        )
    ]
    np.testing.assert_allclose(*norms, rtol=1e-9)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("swish", r"activation must be one of .*softsign'; got 'swish' \(did you mean 'silu'\?\)"),
        ({"name": "swish"}, r"'swish' must have a parameter beta \(beta = 1 is 'silu'\)"),
        ({"name": "swish", "bta": 1}, r"a key of activation 'swish' .* \(did you mean 'beta'\?\)"),
        ({"name": "swish", "beta": 0}, "beta must be a positive finite number, got 0"),
        ({"name": "swish", "beta": "1"}, "beta must be a positive finite number, got '1'"),
        ({"name": "relu", "power": 1.5}, "power must be 1, or at least 2 .*, got 1.5"),
        ({"name": "relu", "power": 0.5}, "power must be a finite number >= 1, got 0.5"),
        ({"name": "leaky-relu", "slope": 1}, "slope must be below 1, got 1"),
        ({"name": "gelu", "beta": 1}, "activation 'gelu' has no parameters, got beta"),
        ({"name": "swsh"}, r"got 'swsh' \(did you mean 'swish'\?\)"),
        ({"beta": 1}, "must be a catalogue name, or a table with the name"),
        ({"name": 3}, "activation must be one of .*; got 3"),
    ],
)
def test_one_line_for_what_is_no_member(given, words):
    with pytest.raises(ValueError, match=words) as caught:
        get_activation(given)
    assert "\n" not in str(caught.value)


def test_losses_of_the_catalogue_have_no_parameters():
    assert dmft.Problem("linear", loss={"name": "square"}) == dmft.Problem("linear")
    with pytest.raises(ValueError, match="loss 'square' has no parameters, got a"):
        dmft.Problem("linear", loss={"name": "square", "a": 1.0})
