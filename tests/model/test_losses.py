"""Losses: numpy callables and compiled twins against independent mpmath definitions."""

from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
from kernel_blocks import in_blocks

from dmft._numerics import kernels as _kernels
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
}


def arguments(name):
    """Outputs and labels: ordinary, nearly equal, and far apart."""
    rng = np.random.default_rng(21)
    f = np.concatenate([rng.normal(0.0, 2.0, 40), rng.uniform(-50.0, 50.0, 20), [50.0, -50.0]])
    if LOSSES[name].labels == "sign":
        return f, np.where(rng.random(f.size) < 0.5, 1.0, -1.0)
    y = rng.normal(0.0, 2.0, f.size)
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
    return np.array([getattr(LOSSES[name], member)(f, y) for member in MEMBERS])


def by_kernel(name, f, y):
    given = {_kernels._F: f, _kernels._Y: y}
    return in_blocks(_kernels.lose, LOSSES[name].kernel_code, given, ("_L", "_L1", "_L2"))


EVALUATORS = pytest.mark.parametrize("evaluate", [by_numpy, by_kernel])


@EVALUATORS
@pytest.mark.parametrize("name", LOSSES)
def test_matches_mpmath(name, evaluate):
    f, y = arguments(name)
    # No cancellation anywhere: every digit counts, for tiny values as well.
    np.testing.assert_allclose(evaluate(name, f, y), exact(name, f, y), rtol=5e-15, atol=0.0)


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
    for name, loss in LOSSES.items():
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
