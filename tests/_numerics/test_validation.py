"""Checks at the door."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import dmft
import rmt
from dmft._numerics.validation import check_finite_array


@pytest.mark.parametrize("value", [[1.0 + 2.0j], np.array([1.0 + 0.0j]), [1.0, np.complex64(2j)]])
def test_complex_arrays_are_refused(value):
    with pytest.raises(ValueError, match="kinks must be a list of numbers, got") as info:
        check_finite_array("kinks", value, ndim=1, expected="a list of numbers")
    assert "\n" not in str(info.value)


def test_a_complex_overlap_is_refused():
    with pytest.raises(ValueError, match=r"initial_overlap must be an array of shape \(1, 1\)"):
        dmft.Problem("linear", initial_overlap=[[0.1j]])


@pytest.mark.parametrize(
    "value", [[1, 2], [Fraction(1), Decimal(2)], np.array([1, 2], dtype=object)]
)
def test_numbers_of_any_type_are_accepted(value):
    array = check_finite_array("x", value, ndim=1, expected="numbers")
    np.testing.assert_array_equal(array, [1.0, 2.0])


# -- one rule for all doors -------------------------------------------------------------------

NO_NUMBERS = [
    True, np.True_, np.array(True), "3", b"3", np.str_("3"), np.array("3"), None, 3j,
    np.complex128(3), np.array(3j), np.array([3.0]), [3.0], (3,), {}, np.timedelta64(3),
    np.datetime64("2020-01-03"), float("nan"), np.array(np.nan), float("inf"), Decimal("NaN"),
    object(), np.ma.masked, range(3), np.array([[3.0]]),
]  # fmt: skip
NUMBERS = [
    3, 3.0, np.float32(3), np.float64(3), np.int8(3), np.uint64(3), np.array(3), np.array(3.0),
    Fraction(3), Decimal(3), np.array(Fraction(3), dtype=object), np.longdouble(3),
]  # fmt: skip
INTEGERS = [3, np.int8(3), np.uint64(3), np.array(3)]
METHOD = dmft.GradientDescent(0.1, 1)
LAW = rmt.HessianLaw([1.0, -1.0, 0.5, 2.0], 2.0, hard=[1.0, -1.0, 0.3, 0.2])


def problem(**settings):
    return dmft.Problem("phase-retrieval", **settings)


REALS = {
    "noise": lambda x: dmft.Target("linear", noise=x).noise,
    "slope": lambda x: dmft.Target("linear", classes="logistic", slope=x).classes.slope,
    "threshold": lambda x: dmft.Target("linear", classes="sign", threshold=x).classes.threshold,
    "init_radius": lambda x: problem(init_radius=x).init_radius,
    "weight_decay": lambda x: problem(weight_decay=x).weight_decay,
    "second_layer_weight_decay": lambda x: (
        problem(second_layer_weight_decay=x).second_layer_weight_decay
    ),
    "step_size": lambda x: dmft.GradientDescent(x, 1).step_size,
    "t_max": lambda x: dmft.GradientFlow(x).t_max,
    "value": lambda x: dmft.Constant(x).value,
    "peak": lambda x: dmft.Cosine(x).peak,
    "half_time": lambda x: dmft.InverseTime(0.1, x).half_time,
    "degrees_of_freedom": lambda x: (
        dmft.Inputs("student-t", degrees_of_freedom=x).degrees_of_freedom
    ),
    "rank_tolerance": lambda x: dmft.Sampling(rank_tolerance=x).rank_tolerance,
    "ratio": lambda x: rmt.HessianLaw([1.0], x).ratio,
    "shift": lambda x: rmt.HessianLaw([1.0], 1.0, shift=x).shift,
    "scale": lambda x: rmt.closed_forms.MarchenkoPastur(2.0, x).scale,
    "d1": lambda x: rmt.closed_forms.TwoAtoms(x, 1.0, 0.5, 2.0).d1,
    "spike": lambda x: rmt.closed_forms.SpikedCovariance(2.0, x).spike,
    "delta": lambda x: (
        dmft.solve(problem(), x, METHOD, dmft.Sampling(n_paths=64, replicates=2)).delta
    ),
}
WHOLE = {
    "k": lambda n: dmft.Target(lambda z, eps: z[:, 0], k=n).k,
    "neurons": lambda n: dmft.Network("tanh", [1.0, 1.0, 1.0], neurons=n).neurons,
    "n_steps": lambda n: dmft.GradientDescent(0.1, n).n_steps,
    "warmup_steps": lambda n: dmft.WarmUp(0.1, n).warmup_steps,
    "order": lambda n: len(LAW.moments(n)),
    "d": lambda n: len(LAW.sample_matrix(n, seed=0)),
    "seed": lambda n: dmft.Sampling(seed=n).seed,
}


@pytest.mark.parametrize("name", REALS)
def test_what_is_a_number_is_the_same_everywhere(name):
    for value in NUMBERS:
        found = REALS[name](value)
        assert type(found) is float, value
        assert found == 3.0
    for value in [*NO_NUMBERS, 10**400, 10**5000]:
        if name == "init_radius" and (value is None or np.ndim(value) > 0):
            continue  # None is the default, and there may be one for each neuron
        if name == "step_size" and (np.ndim(value) > 0 or isinstance(value, dict)):
            continue
        if name == "shift" and np.ndim(value) == 2:
            continue  # a symmetric matrix (m, m)
        defaults = ("slope", "threshold", "degrees_of_freedom", "rank_tolerance")
        if name in defaults and value is None:
            continue
        with pytest.raises(ValueError, match=rf"^{name} must ") as info:
            REALS[name](value)
        assert "\n" not in str(info.value)


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_an_integer_is_the_same_everywhere(name):
    for value in INTEGERS:
        found = WHOLE[name](value)
        assert type(found) is int, value
        assert found == 3
    too_large = [] if name == "seed" else [2**63, 10**5000]
    for value in [*NO_NUMBERS, *too_large, 3.0, np.float64(3), Fraction(3), np.array(3.0)]:
        if name in ("k", "neurons") and value is None:
            continue
        with pytest.raises(ValueError, match=rf"^{name} must ") as info:
            WHOLE[name](value)
        assert "\n" not in str(info.value)


ARRAYS = {
    "second_layer": lambda x: dmft.Network("tanh", x).second_layer,
    "init_radius": lambda x: (
        problem(network=dmft.Network("tanh", [1.0, 1.0]), init_radius=x).init_radius
    ),
    "step_size": lambda x: dmft.GradientDescent(x, 2).step_size,
    "kinks": lambda x: (
        dmft.Activation(np.tanh, lambda r: 1 - np.tanh(r) ** 2, name="mine", kinks=x).kinks
    ),
    "spectrum": lambda x: dmft.Inputs("correlated", spectrum=x).spectrum,
    "weights": lambda x: rmt.HessianLaw(x, 2.0).weights.ravel(),
    "hard": lambda x: rmt.HessianLaw([1.0, 2.0], 2.0, hard=x).hard.ravel(),
    "x": lambda x: LAW.density(x) * 0 + np.asarray(x, dtype=np.float64),
    "basis": lambda x: rmt.Span([x]).blocks[0].ravel(),
    "y": lambda x: dmft.Target("linear").sample_labels(np.zeros((2, 1)), x) * 0 + [1.0, 2.0],
}
NO_ARRAYS = [
    [True, 2.0], [1.0, np.True_], np.array([True, True]), ["1", "2"], np.array(["1", "2"]),
    [1.0, None], [1.0, 2j], np.array([1, 2j], dtype=object), [1.0, np.nan], [1.0, np.inf],
    np.ma.masked_array([1.0, 2.0], [False, True]), [1.0, [2.0, 3.0]], [1.0, 10**400],
    np.array([1, 2], dtype="timedelta64[s]"), "12", [object(), 1.0], [1.0, "2"],
]  # fmt: skip
SOME_ARRAYS = [
    [1, 2.0], (1, 2), np.array([1, 2]), np.float32([1, 2]), [Fraction(1), Decimal(2)],
    np.array([1, Fraction(2)], dtype=object), [np.array(1.0), np.int8(2)], range(1, 3),
]  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_what_is_an_array_of_numbers_is_the_same_everywhere(name):
    for value in SOME_ARRAYS:
        if name == "basis":
            value = [list(value)]
        if name == "spectrum":
            continue
        np.testing.assert_array_equal(np.ravel(np.array(ARRAYS[name](value), float)), [1.0, 2.0])
    for value in NO_ARRAYS:
        if name == "basis" and isinstance(value, list):
            value = [value]
        with pytest.raises(ValueError, match=r"\bmust (be|have|hold)") as info:
            ARRAYS[name](value)
        assert "\n" not in str(info.value)


# -- what a caller's function does -----------------------------------------------------------------


def test_errors_of_progress_are_no_status(tmp_path):
    def stop(_):
        raise ZeroDivisionError("of the caller")

    problem = dmft.Problem("linear", dmft.Network("tanh"))
    method, sampling = dmft.GradientDescent(0.1, 2), dmft.Sampling(64, 2)
    for checkpoint in (None, tmp_path / "run"):
        with pytest.raises(ZeroDivisionError, match="of the caller"):
            dmft.solve(problem, 3.0, method, sampling, progress=stop, checkpoint=checkpoint)
    flow = dmft.GradientFlow(1.0)
    with pytest.raises(ZeroDivisionError, match="of the caller"):
        dmft.solve(problem, 3.0, flow, sampling, progress=stop)


def test_progress_must_be_a_function():
    problem = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
    method = dmft.GradientDescent(0.1, 2)
    for call in (
        lambda: dmft.solve(problem, 3.0, method, progress=3),
        lambda: dmft.find_delta_nn(problem, method, (1, 9), progress=3),
        lambda: dmft.delta_nn_curve(problem, method, (1, 9), progress=3),
        lambda: dmft.simulate(problem, 3.0, method, d=20, progress=3),
        lambda: dmft.sweep(problem, [3.0], method, d=20, progress=3),
        lambda: dmft.predict_grokking(problem, 3.0, method, 20, progress=3),
        lambda: dmft.hardness("linear", progress=3),
    ):
        with pytest.raises(
            ValueError, match=r"^progress must be a function of one number, True or None"
        ):
            call()


@pytest.mark.slow
def test_numbers_that_nobody_waits_for():
    problem = dmft.Problem("phase-retrieval", dmft.Network("gelu", [1.0, 1.0]), "pseudo-huber")
    method, sampling = dmft.GradientDescent(0.1, 2), dmft.Sampling(64, 2)
    trajectory = dmft.solve(problem, 3.0, method, sampling)
    huge = 2**62
    for name, call in {
        "n_draws": lambda: dmft.predict_grokking(problem, 3.0, method, 20, n_draws=huge),
        "max_draws": lambda: dmft.predict_grokking(problem, 3.0, method, 20, max_draws=huge),
        "max_degree": lambda: dmft.hardness("linear", max_degree=huge),
        "points": lambda: dmft.trajectory.spectra.spectrum(trajectory, 0, points=huge),
        "draws": lambda: dmft.trajectory.finite_law.finite_law(trajectory, 0, 100, draws=huge),
        "d": lambda: dmft.trajectory.finite_law.finite_law(trajectory, 0, huge),
        "k": lambda: dmft.Target(lambda z, eps: z[:, 0], k=huge),
    }.items():
        with pytest.raises(ValueError, match=f"^{name} must be "):
            call()


def test_labels_with_masked_entries():
    with pytest.raises(ValueError, match="got MaskedArray of float64, not real numbers"):
        dmft.Target(lambda z, eps: np.ma.masked_less(z[:, 0], 0.0))
