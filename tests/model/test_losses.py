"""Losses: numpy callables and compiled twins against independent mpmath definitions."""

import pickle
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
from kernel_blocks import in_blocks

import dmft
from dmft._numerics import kernels as _kernels
from dmft.model.curvature_support import curvature_support
from dmft.model.loss_families import FAMILIES
from dmft.model.losses import LOSSES, Loss, get_loss

MEMBERS = ("value", "derivative", "second_derivative")

DEFINITION = {
    "square": lambda f, y: (f - y) ** 2 / 2,
    "pseudo-huber": lambda f, y: mpmath.sqrt(1 + (f - y) ** 2) - 1,
    "logistic": lambda f, y: mpmath.log(1 + mpmath.exp(-y * f)),
    "smoothed-hinge": lambda f, y: (
        mpmath.mpf(0)
        if y * f >= 1
        else ((1 - y * f) ** 2 / 2 if y * f > 0 else mpmath.mpf(1) / 2 - y * f)
    ),
    "correlation": lambda f, y: -f * y,
    "normalised-square": lambda f, y: (f - y) ** 2 / (2 * (mpmath.mpf(0.3) + y)),
}
PARAMETERS = {"normalised-square": {"a": 0.3}}


def entry(name):
    return get_loss({"name": name, **PARAMETERS[name]} if name in PARAMETERS else name)


def test_the_bank_of_definitions_is_complete():
    assert list(DEFINITION) == [*LOSSES, *FAMILIES]


def arguments(name):
    """Outputs and labels: ordinary, nearly equal, and far apart."""
    rng = np.random.default_rng(21)
    f = np.concatenate([rng.normal(0.0, 2.0, 40), rng.uniform(-50.0, 50.0, 20), [50.0, -50.0]])
    if entry(name).labels == "sign":
        return f, np.where(rng.random(f.size) < 0.5, 1.0, -1.0)
    y = rng.normal(0.0, 2.0, f.size)
    if name == "normalised-square":  # from just above -a on
        return f, -0.3 + np.concatenate([np.abs(y[1:]), [1e-9]])
    y[:5] = f[:5] + np.array([0.0, 1e-9, -1e-9, 1e-4, -1e-4])
    return f, y


def exact(name, f, y):
    """Array (3, N): value and two derivatives in f, numerically differentiated with 120 digits."""
    pairs = list(zip(map(mpmath.mpf, f.tolist()), map(mpmath.mpf, y.tolist()), strict=True))
    with mpmath.workdps(120):
        return np.array(
            [
                [float(mpmath.diff(DEFINITION[name], pair, (n, 0))) for pair in pairs]
                for n in range(3)
            ]
        )


def by_numpy(name, f, y):
    return np.array([getattr(entry(name), member)(f, y) for member in MEMBERS])


def by_kernel(name, f, y):
    given = {_kernels._F: f, _kernels._Y: y}
    loss = entry(name)
    codes = loss.kernel_code, loss.parameter
    return in_blocks(_kernels.lose, codes, given, ("_L", "_L1", "_L2"))


EVALUATORS = pytest.mark.parametrize("evaluate", [by_numpy, by_kernel])


@EVALUATORS
@pytest.mark.parametrize("name", DEFINITION)
def test_matches_mpmath(name, evaluate):
    f, y = arguments(name)
    # No cancellation anywhere: every digit counts, for tiny values as well.
    np.testing.assert_allclose(evaluate(name, f, y), exact(name, f, y), rtol=5e-15, atol=0.0)


@pytest.mark.parametrize("name", DEFINITION)
def test_compiled_twins_agree_to_a_few_units_of_the_last_place(name):
    f, y = arguments(name)
    np.testing.assert_allclose(by_kernel(name, f, y), by_numpy(name, f, y), rtol=2e-15, atol=0.0)


@EVALUATORS
def test_pseudo_huber_is_linear_far_out_without_overflow(evaluate):
    f = np.array([1e8, -1e200, 1e300])
    value, slope, bend = evaluate("pseudo-huber", f, np.zeros(3))
    np.testing.assert_allclose(value, np.abs(f) - [1.0, 0.0, 0.0], rtol=1e-15)
    np.testing.assert_array_equal(slope, np.sign(f))
    np.testing.assert_allclose(bend, [1e-24, 0.0, 0.0], rtol=1e-12, atol=1e-300)


@EVALUATORS
def test_logistic_far_out_without_overflow(evaluate):
    value, slope, bend = evaluate("logistic", np.array([1e4, -1e4]), np.ones(2))
    np.testing.assert_array_equal(value, [0.0, 1e4])
    np.testing.assert_array_equal(slope, [0.0, -1.0])
    np.testing.assert_array_equal(bend, [0.0, 0.0])


def test_codes_are_those_of_the_kernels():
    for name, loss in (LOSSES | FAMILIES).items():
        assert loss.kernel_code == getattr(_kernels, name.upper().replace("-", "_"))


@EVALUATORS
def test_smoothed_hinge_at_its_joints_and_at_nan(evaluate):
    f = np.array([-1.0, 0.0, 1.0, 2.0, np.nan])
    for y in (1.0, -1.0):
        value, slope, bend = evaluate("smoothed-hinge", y * f, np.full(5, y))
        np.testing.assert_array_equal(value, [1.5, 0.5, 0.0, 0.0, np.nan])
        np.testing.assert_array_equal(y * slope, [-1.0, -1.0, 0.0, 0.0, np.nan])
        np.testing.assert_array_equal(bend, [0.0, 0.0, 0.0, 0.0, np.nan])


def test_which_losses_need_signs_and_which_are_smooth():
    signs = {name for name, loss in LOSSES.items() if loss.labels == "sign"}
    assert signs == {"logistic", "smoothed-hinge"}
    assert {name for name, loss in LOSSES.items() if not loss.smooth} == {"smoothed-hinge"}


def test_get_loss():
    assert get_loss("square") is LOSSES["square"]
    duck = SimpleNamespace(
        value=lambda f, y: np.cosh(f - y),
        derivative=lambda f, y: np.sinh(f - y),
        second_derivative=lambda f, y: np.cosh(f - y),
    )
    assert get_loss(duck).name == "custom"
    assert get_loss(duck).labels == "real"


NORMALISED = {"name": "normalised-square", "a": 2}


def test_a_loss_with_a_parameter_is_itself_again():
    loss = get_loss(NORMALISED)
    assert (loss.name, loss.config) == ("normalised-square(a=2)", {**NORMALISED, "a": 2.0})
    assert get_loss(loss.config) is loss is pickle.loads(pickle.dumps(loss))
    problem = dmft.Problem("phase-retrieval", loss=NORMALISED)
    assert dmft.Problem.from_config(problem.to_config()) == problem
    assert problem != dmft.Problem("phase-retrieval", loss={**NORMALISED, "a": 3})


def test_compiled_and_numpy_give_one_trajectory():
    """The loss of the catalogue, and its definition as a loss of one's own."""
    own = dmft.Loss(
        lambda f, y: (f - y) ** 2 / (2 * (2 + y)), lambda f, y: (f - y) / (2 + y),
        lambda f, y: 1 / (2 + y) + 0 * f, labels_above=-2.0,
    )  # fmt: skip
    network, method = dmft.Network("gelu", [1.0, -0.5]), dmft.GradientDescent(0.3, 3)
    losses = [
        dmft.solve(
            dmft.Problem("phase-retrieval", network, loss), 2.0, method, dmft.Sampling(64, 2)
        ).train_loss
        for loss in (NORMALISED, own)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "target", "message"),
    [
        ("normalised-square", "phase-retrieval", "must have a parameter a$"),
        ({**NORMALISED, "a": 0.0}, "phase-retrieval", "a must be a positive finite number, got 0"),
        ({**NORMALISED, "b": 1}, "phase-retrieval", "a key of loss 'normalised-square' must be"),
        (NORMALISED, "linear", r"numbers above -2 for loss 'normalised-square\(a=2\)', got -2"),
        ({**NORMALISED, "a": 1}, dmft.Target("linear", classes="sign"), "above -1 .* got -1"),
        ({"a": 2}, "linear", "loss must be a catalogue name, or a table"),
    ],
)
def test_parameters_and_labels_that_do_not_fit(loss, target, message):
    with pytest.raises(ValueError, match=message) as caught:
        dmft.Problem(target, loss=loss).check_labels()
    assert "\n" not in str(caught.value)


def support(target, activation, loss):
    problem = dmft.Problem({"label": target}, dmft.Network(activation), loss)
    found = curvature_support(problem, problem.initial_weights())
    return found, found.points.ravel()


CAPPED = {"name": "capped-square", "cap": 5}


def test_support_of_the_curvature():
    """Inf and sup of D: of -2 y; of -y gelu''; of ((s')^2 + (f - y) s'')/(a + y)."""
    found, D = support(CAPPED, "quadratic", "correlation")
    assert found.bounded_below
    assert (D.min(), D.max()) == (-10.0, 0.0)
    found, D = support(CAPPED, "gelu", "correlation")
    exact = -5.0 * 2.0 / np.sqrt(2.0 * np.pi), 10.0 * np.exp(-2.0) / np.sqrt(2.0 * np.pi)
    np.testing.assert_allclose((D.min(), D.max()), exact, rtol=1e-9)  # gelu'' = (2 - r^2) phi(r)
    found, D = support(CAPPED, "quadratic", NORMALISED)
    assert (found.bounded_below, found.bounded_above) == (True, False)
    np.testing.assert_allclose(D.min(), -10.0 / 7.0, rtol=1e-12)
    found, D = support("phase-retrieval", "quadratic", NORMALISED)
    np.testing.assert_allclose(D.min(), -2.0, rtol=1e-9)
    assert not support("phase-retrieval", "gelu", "correlation")[0].bounded_below


def test_thresholds_at_the_start():
    """With the correlation loss and y = min(z^2, 5) D is -2 y: the value is theory.md's."""
    method = dmft.GradientDescent(0.1, 1)
    quadratic = dmft.Network("quadratic")
    capped = dmft.Problem({"label": CAPPED}, quadratic, "correlation")
    found = dmft.find_delta_nn(capped, method, (0.2, 8.0), step=0)
    assert (found.stderr, found.status.name) == (0.0, "SUCCESS")
    np.testing.assert_allclose(found.value, 0.721012, atol=1e-6)
    unbounded = dmft.Problem("phase-retrieval", quadratic, "correlation")
    found = dmft.find_delta_nn(unbounded, method, (0.2, 8.0), step=0)
    assert found.status.name == "UNBOUNDED_EDGE"


@pytest.mark.slow
def test_many_quadratic_neurons_approach_the_discontinuous_transition():
    """Threshold (1 + a)/2 for infinitely many neurons r^2 under the normalised square loss."""
    loss, method = {"name": "normalised-square", "a": 1}, dmft.GradientDescent(0.1, 1)
    found = [
        dmft.find_delta_nn(
            dmft.Problem("phase-retrieval", dmft.Network("quadratic", neurons=m), loss),
            method, (0.5, 3.0), step=0, threads=1,
        ).value
        for m in (1, 2)
    ]  # fmt: skip
    assert 1.0 < found[1] < 1.03 < found[0] < 1.2


def test_bad_losses_are_refused():
    with pytest.raises(ValueError, match=r"loss must be one of .* got 'huber' \(did you mean"):
        get_loss("huber")
    with pytest.raises(ValueError, match="must be a catalogue name or have a callable value"):
        get_loss(3)
    with pytest.raises(ValueError, match="labels must be one of 'real', 'sign'; got 'signs'"):
        Loss(np.add, np.add, np.add, labels="signs")
    with pytest.raises(ValueError, match="smooth must be True or False, got 'no'"):
        Loss(np.add, np.add, np.add, smooth="no")
    with pytest.raises(ValueError, match="loss 'mine': value must be callable"):
        Loss(None, np.add, np.add, name="mine")
