"""The minimiser of the empirical risk: closed forms, separability, and where descent ends."""

import dataclasses
import functools

import numpy as np
import pytest
from faces import assert_faces
from scipy import stats

import dmft
from dmft import Status, erm_limit
from dmft.observables import state_evolution
from dmft.observables.risk_minimization import _inverse_separability
from dmft.observables.state_evolution import _fixed_point, _sobol
from dmft.plotting import plot_trajectory

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


@pytest.mark.slow
def test_close_to_separability_rules_agree_in_the_solution():
    """There a residual of 9e-8 moves the norm by 2e-5: finer rules say 533.338375."""
    found = erm_limit(dmft.Problem(CLASSES, LINEAR, "logistic"), 2.3010027500336725)
    assert (found.status, found.norm_stderr) == (Status.SUCCESS, 0.0)
    assert found.norm == pytest.approx(533.338375, rel=1e-7)


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


CLUSTERS = dmft.GaussianMixture(
    [0.4, 0.6], [[1.2], [-0.8]], covariances=[[[0.5]], [[1.5]]], scales=[0.8, 1.3]
)
OF_CLUSTERS = dmft.Target(classes="component")


def clusters(ridge=0.1, **network):
    return dmft.Problem(
        OF_CLUSTERS,
        dmft.Network("linear", **network),
        "logistic",
        weight_decay=ridge,
        inputs=CLUSTERS,
    )


def finite_minimizer(rng, d, delta, ridge, bias):
    """Newton's method for a logistic regression of the two clusters in d dimensions."""
    n = round(delta * d)
    second = rng.random(n) < 0.6
    X = rng.standard_normal((n, d)) * np.where(second, 1.3, 0.8)[:, np.newaxis]
    X[:, 0] = np.where(second, -0.8, 1.2) + rng.standard_normal(n) * np.sqrt(
        np.where(second, 1.5, 0.5)
    )
    y = np.where(second, 1.0, -1.0)
    theta = np.zeros(d)
    for _ in range(12):
        p = 1.0 / (1.0 + np.exp(y * (X @ theta + bias)))
        gradient = X.T @ (-y * p) / n + ridge * theta
        hessian = (X.T * (p * (1.0 - p))) @ X / n + ridge * np.eye(d)
        theta -= np.linalg.solve(hessian, gradient)
    margins = y * (X @ theta + bias)
    loss = np.mean(np.log1p(np.exp(-margins)))
    return theta[0], theta @ theta, loss, np.mean(margins < 0.5)


@pytest.mark.parametrize("bias", [0.0, 0.4])
def test_two_clusters_of_different_mean_spread_and_scale(bias):
    problem = clusters(**({"biases": [bias]} if bias else {}))
    found = erm_limit(problem, 4.0)
    assert found.status is Status.SUCCESS
    assert found.residual < 1e-9
    rng = np.random.default_rng(3)
    means, errors = [], []
    for d in (60, 120):
        runs = [finite_minimizer(rng, d, 4.0, 0.1, bias) for _ in range(2400 // d)]
        means.append(np.mean(runs, axis=0))
        errors.append(np.std(runs, axis=0, ddof=1) / np.sqrt(len(runs)))
    limit, error = 2.0 * means[1] - means[0], np.hypot(2.0 * errors[1], errors[0])
    margin = found.margin_cdf([0.5])[0]
    ours = [found.overlap[0], found.norm, found.train_loss, margin]
    assert np.all(np.abs(limit - ours) < 3.5 * error)


def test_descent_of_clusters_ends_there():
    """The engine with structured inputs, against equations that know nothing of it."""
    problem = clusters(0.3)
    found = erm_limit(problem, 3.0)
    sampling = dmft.Sampling(n_paths=1024, replicates=8)
    end = dmft.solve(problem, 3.0, dmft.GradientDescent(0.5, 50), sampling, hessian_steps=())
    for name, ours in (
        ("overlap", found.overlap[0]), ("norm", found.norm),
        ("train_loss", found.train_loss), ("test_loss", found.test_loss),
        ("test_error", found.test_error),
    ):  # fmt: skip
        value = np.ravel(getattr(end, name)[-1])[0]
        error = np.ravel(np.hypot(end.stderr[name][-1], end.bias[name][-1]))[0]
        assert abs(value - ours) < 3.0 * error + 1e-4, name
    figure = plot_trajectory(end, found)
    assert any(line.get_ydata()[0] == found.norm for line in figure.axes[0].lines[1:])
    with pytest.raises(ValueError, match="limit must be"):
        plot_trajectory(end, erm_limit(clusters(0.2), 3.0))


def test_scales_leave_the_separability_of_random_labels_where_it_is():
    """Signs of y <theta, x> do not change when inputs are stretched: they separate at delta = 2."""
    target = dmft.Target(lambda z, eps: eps, k=1, classes="sign")
    inputs = dmft.Elliptical(degrees_of_freedom=3.0)
    problem = dmft.Problem(target, LINEAR, "logistic", inputs=inputs)
    assert _inverse_separability(problem) == pytest.approx(0.5, abs=1e-3)
    assert erm_limit(problem, 1.9).status is Status.SEPARABLE


def test_elliptical_least_squares_scale_out():
    """Without ridge, inputs times a constant are those of a minimiser divided by it."""
    ends = [
        erm_limit(
            dmft.Problem(
                dmft.Target("linear", noise=0.5),
                LINEAR,
                "square",
                inputs=dmft.GaussianMixture([1.0], [[0.0]], [[[s**2]]], scales=[s]),
            ),
            3.0,
        )
        for s in (1.0, 2.0)
    ]
    # z has variance s^2: M = 1, and the rest of the norm is noise / ((delta - 1) s^2).
    for s, end in zip((1.0, 2.0), ends, strict=True):
        assert end.overlap[0] == pytest.approx(1.0, rel=1e-8)
        assert end.norm - 1.0 == pytest.approx(0.25 / (2.0 * s**2), rel=1e-7)


def test_progress_and_tails_without_averages():
    told = []
    erm_limit(clusters(), 4.0, progress=told.append)
    assert sum(told) == dmft.Sampling().replicates + 2
    heavy = dmft.Problem("linear", LINEAR, inputs=dmft.Elliptical(degrees_of_freedom=3.0))
    assert erm_limit(heavy, 3.0).status in (Status.SUCCESS, Status.UNDEFINED_AVERAGE)


def _classes(z, eps):
    return np.where(z[:, 0] + 0.5 * eps > 0.0, 1.0, -1.0)


def test_margins_of_a_label_of_ones_own(tmp_path):
    problem = dmft.Problem(dmft.Target(_classes, k=1), LINEAR, "logistic", weight_decay=1.0)
    known = dmft.Problem("linear", LINEAR, weight_decay=0.5)
    solved = erm_limit(known, 4.0)
    assert solved.problem is known
    config = {"problem": problem.to_config(), "delta": 4.0}
    found = dataclasses.replace(solved, problem=problem, config=config)  # averages take a minute
    assert 0.0 < found.margin_cdf([0.0])[0] < 0.5
    found.save(tmp_path / "found")
    bare = dmft.load(tmp_path / "found.npz")
    assert bare == found
    with pytest.raises(ValueError, match="problem must be given on loading"):
        bare.margin_cdf([0.0])
    again = dmft.load(tmp_path / "found.npz", problem)
    assert again.margin_cdf([0.0]) == found.margin_cdf([0.0])


@pytest.mark.parametrize("delta", [1e300, 5e-324])
def test_numbers_that_no_float_holds_are_a_status(delta):
    found = erm_limit(dmft.Problem("linear", LINEAR, weight_decay=0.5), delta)
    assert found.status is Status.NONFINITE


def test_text_of_no_overlap_and_of_no_minimiser():
    """Labels without odd part have overlap zero, of which rounding leaves 1e-121."""
    even = dmft.Problem("phase-retrieval", LINEAR, weight_decay=0.5)
    assert "overlap       0 (quadrature)" in erm_limit(even, 3.0).summary()
    text = erm_limit(dmft.Problem("linear", LINEAR), 0.5).summary()
    assert text.count("none") == 2
    assert "nan" not in text


def _oblique(z, eps):
    return np.where(z[:, 0] + 0.5 * eps > 0.0, 1.0, -1.0)


def test_close_to_interpolation_of_sampled_labels():
    """Least squares of labels whose averages are sampled: S = (E y^2 - M^2) / (delta - 1).

    Where E xi^2, E xi y and E xi z were those of the sample, delta was 1.0001 give or take 1e-3.
    """
    problem = dmft.Problem(dmft.Target(_oblique, k=1), LINEAR)
    points = _sobol(problem, dmft.Sampling(), range(1))
    values, status = _fixed_point(problem, 1.0001, points)
    assert status is Status.SUCCESS
    overlap = points.mass @ (points.y * points.z[0]) / (points.mass @ points.z[0] ** 2)
    noise = points.mass @ (points.y - overlap * points.z[0]) ** 2
    assert values["overlap"][0] == pytest.approx(overlap, rel=1e-9)
    assert values["noise"] == pytest.approx(noise / 1e-4, rel=1e-7)
    assert values["train_loss"] == pytest.approx(0.5 * noise * (1.0 - 1.0 / 1.0001), rel=1e-7)


def test_of_what_is_not_solved_on_all_points_there_are_no_numbers(monkeypatch):
    """Values without an error are none to cite."""

    def fixed_point(problem, delta, points, start=None):
        values, status = _fixed_point(problem, delta, points, start)
        few = len(points.y) < 8 * state_evolution._SOBOL_POINTS
        return values, Status.MAX_STEPS if few and start is not None and failing else status

    problem = dmft.Problem(dmft.Target(_oblique, k=1), LINEAR, weight_decay=1.0)
    monkeypatch.setattr(state_evolution, "_SOBOL_POINTS", 2**8)
    monkeypatch.setattr(state_evolution, "_rules", lambda problem: iter(()))
    monkeypatch.setattr(state_evolution, "_fixed_point", fixed_point)
    failing = True
    found = erm_limit(problem, 4.0)
    assert (found.status, np.isnan(found.norm)) == (Status.MAX_STEPS, True)
    failing = False
    found = erm_limit(problem, 4.0)
    assert found.status is Status.SUCCESS
    assert 0.0 < found.norm_stderr < 0.1


@pytest.mark.parametrize("smooth", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_least_absolute_deviations(monkeypatch, smooth):
    """P(|xi| < c) = 1/delta, k = delta E min(xi^2, c^2), S = noise^2 k / (1 - k); M = 1.

    The slope of the loss jumps, also where it is said to be smooth: a mean of its second
    derivative, which is zero, would be wrong by all of it.
    """
    loss = dmft.Loss(
        lambda f, y: np.abs(f - y), lambda f, y: np.sign(f - y), lambda f, y: 0.0 * f * y,
        name="absolute", smooth=smooth,
    )  # fmt: skip
    monkeypatch.setattr(state_evolution, "_SOBOL_POINTS", 2**9)
    problem = dmft.Problem(dmft.Target("linear", noise=0.5), LINEAR, loss)
    found = erm_limit(problem, 2.5, dmft.Sampling(replicates=4))
    c = stats.norm.ppf(0.5 * (1.0 + 1.0 / 2.5))
    inside = 1.0 / 2.5 - 2.0 * c * stats.norm.pdf(c)
    k = 2.5 * (inside + 2.0 * c**2 * stats.norm.sf(c))
    assert found.status is Status.SUCCESS
    assert found.overlap[0] == pytest.approx(1.0, abs=5.0 * found.overlap_stderr[0])
    assert found.noise == pytest.approx(0.25 * k / (1.0 - k), abs=5.0 * found.norm_stderr)
    assert found.norm_stderr < 0.01
