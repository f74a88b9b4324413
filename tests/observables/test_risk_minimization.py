"""The minimiser of the empirical risk: closed forms, separability, and where descent ends."""

import functools

import numpy as np
import pytest
from faces import assert_faces

import dmft
from dmft import Status, erm_limit

LINEAR = dmft.Network("linear")
CLASSES = dmft.Target("linear", classes="logistic")


# As good as random, and averaged over in closed form.
RANDOM_CLASSES = dmft.Target("linear", classes="logistic", slope=1e-9, hard_directions=[[1.0]])


def test_ridge_regression_of_marchenko_pastur():
    """M = E[x/(x + lam)]: 0.61399906 at delta 3, lam 0.5 (docs/theory.md, exact answers)."""
    found = erm_limit(dmft.Problem("linear", LINEAR, weight_decay=0.5), 3.0)
    assert found.status is Status.SUCCESS
    assert found.overlap[0] == pytest.approx(0.61399906, abs=5e-9)
    assert found.norm_stderr == 0.0


@pytest.mark.parametrize("scale", [1.0, -2.0])
def test_least_squares_without_ridge(scale):
    """Excess test loss noise^2/(delta - 1)/2, whatever the second layer."""
    network = dmft.Network("linear", [scale])
    problem = dmft.Problem(dmft.Target("linear", noise=0.5), network)
    found = erm_limit(problem, 3.0)
    assert found.overlap[0] * scale == pytest.approx(1.0, abs=1e-9)
    assert found.train_loss == pytest.approx(0.125 * (1.0 - 1.0 / 3.0), abs=1e-9)
    assert found.test_loss == pytest.approx(0.125 * (1.0 + 1.0 / 2.0), abs=1e-9)


def test_interpolation_without_noise():
    found = erm_limit(dmft.Problem("linear", LINEAR), 3.0)
    assert (found.status, found.norm) == (Status.SUCCESS, pytest.approx(1.0, abs=1e-9))
    assert found.train_loss < 1e-20


def test_random_classes_are_separable_below_two():
    """Cover: n random classes of points in d dimensions are separable up to n = 2 d."""
    problem = functools.partial(dmft.Problem, RANDOM_CLASSES, LINEAR)
    assert erm_limit(problem("logistic"), 1.99).status is Status.SEPARABLE
    assert erm_limit(problem("smoothed-hinge"), 1.99).status is Status.NOT_UNIQUE
    assert erm_limit(problem("logistic"), 2.6).status is Status.SUCCESS
    below = erm_limit(problem("logistic", weight_decay=0.1), 1.5)
    assert below.status is Status.SUCCESS
    assert below.test_error == pytest.approx(0.5, abs=1e-6)


def test_fewer_samples_than_dimensions_are_interpolated():
    assert erm_limit(dmft.Problem("linear", LINEAR), 0.9).status is Status.NOT_UNIQUE
    with pytest.raises(dmft.NumericalFailure, match="NOT_UNIQUE"):
        erm_limit(dmft.Problem("linear", LINEAR), 0.9, throw=True)


def test_margins_of_the_data():
    """Their law is that of r: its mean loss is the train loss."""
    problem = dmft.Problem(CLASSES, LINEAR, "logistic", weight_decay=0.1)
    found = erm_limit(problem, 4.0)
    margins = np.linspace(-12.0, 12.0, 401)
    cdf = found.margin_cdf(margins)
    assert np.all(np.diff(cdf) >= 0.0)
    assert (cdf[0], cdf[-1]) == (pytest.approx(0.0, abs=1e-6), pytest.approx(1.0, abs=1e-6))
    middle = 0.5 * (margins[1:] + margins[:-1])
    assert np.diff(cdf) @ np.logaddexp(0.0, -middle) == pytest.approx(found.train_loss, abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["logistic", "smoothed-hinge"])
def test_descent_ends_there(loss):
    problem = dmft.Problem(CLASSES, LINEAR, loss, weight_decay=0.2)
    found = erm_limit(problem, 3.0)
    sampling = dmft.Sampling(n_paths=2048, replicates=8)
    end = dmft.solve(problem, 3.0, dmft.GradientDescent(0.4, 100), sampling, hessian_steps=())
    for name, ours in (
        ("overlap", found.overlap[0]), ("norm", found.norm),
        ("train_loss", found.train_loss), ("test_error", found.test_error),
    ):  # fmt: skip
        value = np.ravel(getattr(end, name)[-1])[0]
        error = np.ravel(np.hypot(end.stderr[name][-1], end.bias[name][-1]))[0]
        own = np.ravel(getattr(found, f"{name}_stderr"))[0]
        assert abs(value - ours) < 3.0 * np.hypot(error, own) + 1e-4, name
    assert found.status is Status.SUCCESS


def test_text_figure_tables_and_files(tmp_path):
    found = erm_limit(dmft.Problem(CLASSES, LINEAR, "logistic", weight_decay=0.1), 4.0)
    assert_faces(found, tmp_path)
    assert dmft.load(tmp_path / "result.npz") == found


def test_margins_of_fresh_data_are_those_of_the_test_error():
    found = erm_limit(dmft.Problem(CLASSES, LINEAR, "logistic", weight_decay=0.1), 4.0)
    assert found.margin_cdf([0.0], fresh=True)[0] == pytest.approx(found.test_error, abs=1e-12)


@pytest.mark.parametrize(
    ("problem", "delta", "words"),
    [
        (lambda: dmft.Problem("linear", dmft.Network("relu")), 2.0, "must have one linear neuron"),
        (
            lambda: dmft.Problem("linear", dmft.Network("linear", [0.5, 0.5])),
            2.0,
            "got 2 linear neurons",
        ),
        (lambda: dmft.Problem("linear", dmft.Network("linear", [0.0])), 2.0, "second layer"),
        (
            lambda: dmft.Problem("linear", LINEAR, dmft.Loss(lambda f, y: np.log1p((f - y) ** 2))),
            2.0,
            "must have a convex loss",
        ),
        (lambda: dmft.Problem("linear", LINEAR), 0.0, "delta must be"),
        (lambda: "linear", 1.0, "problem must be a dmft.Problem"),
    ],
)
def test_bad_arguments(problem, delta, words):
    with pytest.raises(ValueError, match=words):
        erm_limit(problem(), delta)


def test_few_samples_and_little_ridge_lose_no_digits():
    """Samples that are all but fitted: M = delta and C = delta (1 + noise^2) to first order."""
    problem = dmft.Problem(dmft.Target("linear", noise=0.5), LINEAR, weight_decay=1e-10)
    found = erm_limit(problem, 1e-6)
    assert found.overlap[0] == pytest.approx(1e-6, rel=3e-4)
    assert found.norm == pytest.approx(1.25e-6, rel=3e-4)


def test_a_loss_of_exponential_growth():
    loss = dmft.Loss(
        lambda f, y: np.exp(-f * y), lambda f, y: -y * np.exp(-f * y),
        lambda f, y: y * y * np.exp(-f * y), name="exponential", labels="sign",
    )  # fmt: skip
    found = erm_limit(dmft.Problem(CLASSES, LINEAR, loss, weight_decay=0.1), 2.0)
    assert found.status is Status.SUCCESS
    assert found.residual < 1e-10
    linear = dmft.Loss(
        lambda f, y: -f * y, lambda f, y: -y + 0 * f, lambda f, y: 0 * f * y, name="c"
    )
    assert erm_limit(dmft.Problem("linear", LINEAR, linear), 2.0).status is Status.MAX_STEPS
    ridge = erm_limit(dmft.Problem("linear", LINEAR, linear, weight_decay=0.5), 2.0)
    assert ridge.overlap[0] == pytest.approx(2.0)  # theta = E[y x] / lam
    assert ridge.norm == pytest.approx(4.0 + 4.0 / 2.0)  # and its noise, E[y^2] / (delta lam^2)
