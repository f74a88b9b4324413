"""Derivatives of functions of one's own: checked against each other, or found numerically."""

import json
import pickle
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
from scipy import special

import dmft
from dmft import Activation, Loss, Network, Problem
from dmft.model.activations import ACTIVATIONS, get_activation
from dmft.model.losses import LOSSES, get_loss

RNG = np.random.default_rng(1)
R = np.random.default_rng(0).normal(scale=3.0, size=4000)
POINTS = {"own": R, "far": np.array([-700.0, -30.0, 12.0, 40.0, 1e4])}


def logcosh(f, y):
    u = np.abs(f - y)
    return u + np.log1p(np.exp(-2.0 * u)) - np.log(2.0)


# -- the check --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("stated", [True, False])
def test_the_catalogue_passes_as_ones_own(name, stated):
    """With kinks stated and without: derivatives are right almost everywhere."""
    entry = ACTIVATIONS[name]
    members = entry.value, entry.derivative, entry.second_derivative
    own = Activation(*members, kinks=entry.kinks if stated else ())
    assert own.derivatives == "given"
    assert own.derivative is entry.derivative


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_functions_in_single_precision_pass(name):
    entry = ACTIVATIONS[name]

    def single(function, out):
        return lambda r: function(r.astype(np.float32).astype(np.float64)).astype(out)

    for out in (np.float32, np.float64):
        members = [single(f, out) for f in (entry.value, entry.derivative, entry.second_derivative)]
        assert Activation(*members).derivatives == "given"


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("member", ["derivative", "second_derivative"])
@pytest.mark.parametrize("change", [lambda g: 1.001 * g, lambda g: g + 1e-3])
def test_a_derivative_that_is_off_by_a_thousandth_is_refused(name, member, change):
    entry = ACTIVATIONS[name]
    laws = {key: getattr(entry, key) for key in ("value", "derivative", "second_derivative")}
    right = laws[member]
    laws[member] = lambda r: change(right(r))
    if np.array_equal(laws[member](R), right(R)):
        pytest.skip("1.001 times zero")
    with pytest.raises(ValueError, match=f"{member} must be the derivative of") as info:
        Activation(**laws, kinks=entry.kinks)
    assert "\n" not in str(info.value)


STEEP = {
    f"{kind} {s:g}": members
    for s in (30.0, 1e3, 1e5)
    for kind, members in {
        "tanh": (
            lambda r, s=s: np.tanh(s * r),
            lambda r, s=s: s * (1.0 - np.tanh(s * r) ** 2),
            lambda r, s=s: -2.0 * s**2 * np.tanh(s * r) * (1.0 - np.tanh(s * r) ** 2),
        ),
        "sine": (
            lambda r, s=s: np.sin(s * r),
            lambda r, s=s: s * np.cos(s * r),
            lambda r, s=s: -(s**2) * np.sin(s * r),
        ),
    }.items()
}
RIGHT = {
    **STEEP,
    "overflows": (lambda r: np.exp(r**4), lambda r: 4 * r**3 * np.exp(r**4),
                  lambda r: (12 * r**2 + 16 * r**6) * np.exp(r**4)),
    "naive softplus": (lambda r: np.log1p(np.exp(40 * r)), lambda r: 40 / (1 + np.exp(-40 * r)),
                       lambda r: 1600 * np.exp(40 * r) / (1 + np.exp(40 * r)) ** 2),
    "half a line": (np.sqrt, lambda r: 0.5 / np.sqrt(r), lambda r: -0.25 * r**-1.5),
    "pole": (lambda r: np.log(np.abs(r)), lambda r: 1 / r, lambda r: -1 / r**2),
    "steps": (np.floor, np.zeros_like, np.zeros_like),
    "hard swish": (lambda r: r * np.clip(r + 3, 0, 6) / 6,
                   lambda r: np.where(r < -3, 0, np.where(r > 3, 1, (2 * r + 3) / 6)),
                   lambda r: np.where(np.abs(r) < 3, 1 / 3, 0)),
    "slope as a boolean": (lambda r: np.maximum(r, 0), lambda r: r > 0, np.zeros_like),
    "erf to 1.5e-7": (
        # Abramowitz and Stegun 7.1.26.
        lambda r: np.sign(r) * (1 - np.polyval(
            [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592, 0.0],
            1 / (1 + 0.3275911 * np.abs(r))) * np.exp(-r * r)),
        lambda r: 2 / np.sqrt(np.pi) * np.exp(-r * r),
        lambda r: -4 * r / np.sqrt(np.pi) * np.exp(-r * r)),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_derivatives_of_difficult_functions_pass(name):
    assert Activation(*RIGHT[name]).derivatives == "given"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((np.sin, np.sin, np.sin), "derivative must be the derivative of value"),
        ((np.sin, np.cos, np.sin), "second_derivative must be the derivative of derivative"),
        (
            # The usual approximation of GELU with the derivative of GELU itself.
            (
                lambda r: 0.5 * r * (1 + np.tanh(0.7978845608 * (r + 0.044715 * r**3))),
                ACTIVATIONS["gelu"].derivative,
                ACTIVATIONS["gelu"].second_derivative,
            ),
            "derivative must be the derivative of value",
        ),
        ((lambda r: r, lambda r: np.full_like(r, np.inf), np.zeros_like), "got inf at r = "),
        ((lambda r: r, lambda r: np.full_like(r, np.nan), np.zeros_like), "got nan at r = "),
        ((np.sign, lambda r: np.abs(r) < 1, np.zeros_like), "got 1 at r = "),
        ((lambda r: r / np.abs(r).max(),), "value must act element by element"),
        ((lambda r: r * RNG.random(r.shape),), "value must act element by element"),
        ((lambda r: r.sort() or r,), "value must not change its argument"),
        ((lambda r: r + 1j,), "value must return real numbers, got dtype complex128"),
        ((lambda r: r.astype(str),), "value must return real numbers, got dtype"),
        ((lambda r: r[5000],), "value failed on arrays of shape .*IndexError"),
        ((lambda r: 1.0,), r"value must return shape \(48,\) for such input, got \(\)"),
    ],
)
def test_wrong_functions_are_refused(members, message):
    with pytest.raises(ValueError, match=f"activation 'custom': .*{message}"):
        Activation(*members)
    names = ("value", "derivative", "second_derivative")
    with pytest.raises(ValueError, match=message):
        get_activation(SimpleNamespace(**dict(zip(names, members, strict=False))))


def test_the_loss_of_the_issue_is_refused():
    with pytest.raises(
        ValueError, match=r"second_derivative must be the derivative of derivative, got \S+ at f = "
    ) as info:
        Loss(logcosh, lambda f, y: np.tanh(f - y), lambda f, y: 1 - np.tanh(f - y))
    said = str(info.value)
    f, y = (float(said.split(f"{name} = ")[1].split(",", maxsplit=1)[0]) for name in ("f", "y"))
    got, exact = (
        float(said.split("got ")[1].split(maxsplit=1)[0]),
        float(said.rsplit(maxsplit=1)[-1]),
    )
    assert got == pytest.approx(1 - np.tanh(f - y), rel=1e-5)
    assert exact == pytest.approx(1 - np.tanh(f - y) ** 2, rel=1e-4)


@pytest.mark.slow
def test_a_loss_for_signs_only_is_refused_with_other_labels_only():
    loss = Loss(
        lambda f, y: np.logaddexp(0, -y * f), lambda f, y: -y / (1 + np.exp(y * f)),
        lambda f, y: 0.25 / np.cosh(f / 2) ** 2,
    )  # fmt: skip
    method = dmft.GradientDescent(0.1, 1)
    signs = dmft.Target("linear", classes="sign")
    sampling = dmft.Sampling(n_paths=64, replicates=2)
    assert dmft.solve(Problem(signs, loss=loss), 2.0, method, sampling).status.ok
    for door in (dmft.solve, dmft.simulate):
        with pytest.raises(ValueError, match=r"second_derivative must be .* y = "):
            door(Problem("linear", loss=loss), 2.0, method, **({"d": 9, "seeds": 1}
                 if door is dmft.simulate else {"sampling": sampling}))  # fmt: skip
    with pytest.raises(ValueError, match=r"second_derivative must be .* y = "):
        dmft.find_delta_nn(Problem("modulus", loss=loss), method, (1.0, 2.0), step=0)


@pytest.mark.slow
def test_losses_that_are_finite_for_some_labels_only_pass():
    for value in (
        lambda f, y: (f - np.sqrt(y)) ** 2,
        lambda f, y: (f - y) ** 2 / (2 * (0.01 + y)),
        lambda f, y: f - y * np.log(f),
    ):
        assert Loss(value).labels == "real"


# -- derivatives left out ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("where", POINTS)
def test_derivatives_left_out_of_an_activation(name, where):
    entry, r = ACTIVATIONS[name], POINTS[where]
    own = Activation(entry.value, kinks=entry.kinks)
    assert own.derivatives in ("complex-step", "interpolation")
    # The price of two numerical derivatives of the value: eps / width^2.
    tight = own.derivatives == "complex-step"
    for member, tolerance in (
        ("derivative", 4e-15 if tight else 4e-13),
        ("second_derivative", 4e-13 if tight else 2e-11),
    ):
        scale = max(1.0, float(np.max(np.abs(r)))) if where == "far" else 10.0
        exact, found = getattr(entry, member)(r), getattr(own, member)(r)
        np.testing.assert_allclose(found, exact, rtol=0.0, atol=tolerance * scale)
        assert found.shape == r.shape
    half = Activation(entry.value, entry.derivative, kinks=entry.kinks)
    assert half.derivatives.startswith("given, second by ")
    np.testing.assert_allclose(
        half.second_derivative(r), entry.second_derivative(r), rtol=0.0, atol=4e-12
    )


def test_which_way_is_taken():
    for function in (np.tanh, np.sin, special.erf, np.exp, lambda r: r * np.exp(-(r**2))):
        assert Activation(function).derivatives == "complex-step"
    # Complex numbers are refused, or taken and lost.
    for function in (special.expit, lambda r: np.logaddexp(0, r), lambda r: np.real(r) ** 2,
                     lambda r: np.abs(r) ** 3,
                     np.vectorize(lambda r: max(r, 0.0) ** 3)):  # fmt: skip
        assert Activation(function).derivatives == "interpolation"


def test_second_derivative_against_many_digits():
    own = Activation(lambda r: r * np.tanh(np.log1p(np.exp(r))))  # mish
    r = np.array([-3.3, -0.4, 0.0, 0.7, 5.0])
    with mpmath.workdps(30):
        exact = [
            float(mpmath.diff(lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))), x, 2))
            for x in r
        ]
    np.testing.assert_allclose(own.second_derivative(r), exact, rtol=0.0, atol=1e-12)
    assert own.second_derivative.error < 1e-12


def test_kinks_are_never_reached_across():
    own = Activation(lambda r: np.maximum(r, 0.0) ** 2 - np.minimum(r, 0.0), kinks=(0.0,))
    r = np.array([-1e-3, -1e-9, -1e-300, 1e-300, 1e-9, 1e-3])
    np.testing.assert_allclose(own.derivative(r), np.where(r < 0, -1.0, 2 * r), atol=1e-15)
    np.testing.assert_allclose(own.second_derivative(r), np.where(r < 0, 0, 2), atol=1e-10)
    for name in ("relu", "leaky-relu", "abs", "clipped-linear"):
        entry = ACTIVATIONS[name]
        own, on = Activation(entry.value, kinks=entry.kinks), np.array(entry.kinks)
        np.testing.assert_allclose(own.derivative(on), entry.derivative(on), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["relu", "leaky-relu", "abs", "clipped-linear"])
def test_kinks_must_be_stated_where_derivatives_are_left_out(name):
    entry = ACTIVATIONS[name]
    for members in ((entry.value,), (entry.value, entry.derivative)):
        with pytest.raises(ValueError, match=r"jumps near -?[01]; state it in kinks"):
            Activation(*members)


def test_jumps_of_the_second_derivative_need_not_be_stated():
    own = Activation(lambda r: np.maximum(r, 0.0) ** 2)
    away = R[np.abs(R) > 1e-4]
    np.testing.assert_allclose(own.second_derivative(away), 2.0 * (away > 0), atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_derivatives_left_out_of_a_loss(name):
    entry = LOSSES[name]
    own = Loss(entry.value, labels=entry.labels, smooth=entry.smooth)
    y = np.where(R[::-1] > 0, 1.0, -1.0)
    away = np.minimum(np.abs(R * y), np.abs(R * y - 1)) > 1e-4
    np.testing.assert_allclose(own.derivative(R, y), entry.derivative(R, y), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        own.second_derivative(R, y)[away], entry.second_derivative(R, y)[away], rtol=0, atol=2e-9
    )


def test_a_loss_with_a_kink_needs_derivatives():
    with pytest.raises(ValueError, match="jumps near -1; give the derivatives"):
        Loss(lambda f, y: np.maximum(0.3 * (y - f), 0.7 * (f - y)))


def test_what_cannot_be_differentiated_is_refused():
    with pytest.raises(ValueError, match=r"numerically to .* only; give the derivatives"):
        Activation(lambda r: np.sin(1e7 * r))
    with pytest.raises(ValueError, match="give the derivatives"):
        Activation(lambda r: np.tanh(r.astype(np.float32)))  # the second derivative has no digits


def test_configurations_say_how():
    assert Network(Activation(np.tanh, name="mine")).to_config()["activation"] == {
        "custom": "mine",
        "derivatives": "complex-step",
    }
    problem = Problem(
        "linear", Network(Activation(np.sin, np.cos)), Loss(logcosh, name="mine"), init_radius=0.5
    )
    config = json.loads(json.dumps(problem.to_config()))
    assert config["network"]["activation"]["derivatives"] == "given, second by complex-step"
    assert config["loss"] == {"custom": "mine", "derivatives": "interpolation"}
    again = Problem.from_config(config, activation=Activation(np.sin, np.cos), loss=problem.loss)
    assert again == problem
    assert "complex-step" in repr(Activation(np.tanh))


def test_equal_pickled_and_found_by_name():
    own = Activation(np.tanh)
    assert own == Activation(np.tanh)
    assert pickle.loads(pickle.dumps(own)) == own
    assert get_loss(SimpleNamespace(value=logcosh)).derivatives == "interpolation"


@pytest.mark.slow
def test_a_run_without_derivatives_is_that_of_the_catalogue():
    method, sampling = dmft.GradientDescent(0.3, 4), dmft.Sampling(n_paths=128, replicates=2)
    runs = [
        dmft.solve(Problem("easy-hard", Network(activation, [1.0, -0.5]), loss), 3.0, method,
                   sampling)
        for activation, loss in (("tanh", "pseudo-huber"),
                                 (Activation(np.tanh), Loss(LOSSES["pseudo-huber"].value)))
    ]  # fmt: skip
    np.testing.assert_allclose(runs[1].correlation, runs[0].correlation, rtol=0, atol=1e-11)
    left, right = (run.hessian(4).edges() for run in runs)
    np.testing.assert_allclose(left, right, rtol=0, atol=1e-9)
