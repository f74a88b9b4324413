"""Labels -1 and +1: their law, hard directions, losses at the door, test error."""

from functools import partial

import numpy as np
import pytest
import small
from scipy.stats import norm
from small import SAMPLING

import dmft
from dmft import GradientDescent, Network, Problem, Sampling, Target
from dmft.hessian.hessian import initial_law
from dmft.model.classification import ClassLaw, describe_label
from dmft.observables.classification_error import expected_test_error, sign_masses

METHOD = GradientDescent(step_size=0.5, n_steps=5)
solve = partial(small.solve, method=METHOD)


def signs(label="linear", flip=0.0, **settings):
    return Target(label, classes="sign", flip=flip, **settings)


def problem(target=None, activation="linear", second_layer=(1.0,), loss="logistic", **settings):
    target = signs() if target is None else target
    return Problem(target, Network(activation, second_layer), loss, **settings)


# -- the law of the labels -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "probability"),
    [
        (signs(), lambda z: z[:, 0] >= 0),
        (signs("product", flip=0.2), lambda z: np.where(z[:, 0] * z[:, 1] >= 0, 0.8, 0.2)),
        (signs("phase-retrieval", threshold=1.0), lambda z: z[:, 0] ** 2 >= 1),
        (
            Target("linear", classes="logistic", slope=2.0, threshold=0.5),
            lambda z: 1.0 / (1.0 + np.exp(-2.0 * (z[:, 0] - 0.5))),
        ),
        (
            Target(lambda z, eps: z[:, 0] + 100.0 * eps, classes="logistic"),
            lambda z: 1.0 / (1.0 + np.exp(-z[:, 0])),  # asked at eps = 0
        ),
    ],
)
def test_labels_follow_their_probability(target, probability):
    rng = np.random.default_rng(0)
    z, eps = rng.standard_normal((3, target.k)), rng.standard_normal(40_000)
    p = probability(z)
    np.testing.assert_allclose(target.class_probability(z), p, rtol=1e-14)
    for row, expected in zip(z, p, strict=True):
        y = target.sample_labels(np.tile(row, (len(eps), 1)), eps)
        assert set(np.unique(y)) <= {-1.0, 1.0}
        error = np.sqrt(expected * (1 - expected) / len(eps))
        assert abs(np.mean(y > 0) - expected) <= 4.5 * error
    # +1 where the uniform number Phi(eps) lies below the probability; certain far out, too.
    y = target.sample_labels(np.tile(z[0], (3, 1)), norm.ppf([0.01, 0.99, 0.5]))
    np.testing.assert_array_equal(y, np.where(np.array([0.01, 0.99, 0.5]) < p[0], 1.0, -1.0))
    certain = target.sample_labels(z[:1], [40.0])
    assert certain == (1.0 if p[0] == 1.0 else -1.0)


def test_what_is_known_of_the_labels():
    assert signs().has_sign_labels
    assert Target(lambda z, eps: np.sign(z[:, 0] + eps)).has_sign_labels
    assert not Target("linear").has_sign_labels
    assert not Target(lambda z, eps: z[:, 0]).has_sign_labels
    assert not signs().uses_noise
    assert signs(flip=0.1).uses_noise
    assert Target("linear", classes="logistic").uses_noise
    assert signs(flip=0.1).description == "sign of linear (flip 0.1)"
    assert describe_label(Target("modulus").to_config()) == "modulus"
    assert Target("modulus", classes="logistic", threshold=-1).description == (
        "logistic classes of modulus + 1 (slope 1)"
    )
    with pytest.raises(ValueError, match="classes must be given for the probability"):
        Target("linear").class_probability(np.zeros((1, 1)))


@pytest.mark.parametrize(
    ("target", "hard"),
    [
        (signs(), []),
        (signs("easy-hard", flip=0.3), [1]),
        (Target("easy-hard", classes="logistic"), [1]),
        (signs("product", flip=0.4), [0, 1]),
        (signs("phase-retrieval", threshold=1.0), [0]),
        (signs("hermite3"), []),
        (signs("staircase"), []),
        (signs("easy-hard", hard_directions=[1]), [1]),
    ],
)
def test_hard_directions_of_classes(target, hard):
    np.testing.assert_array_equal(target.hard_basis, np.eye(target.k)[:, hard])


@pytest.mark.parametrize("flip", [0.0, 0.2])
def test_hardness_of_flipped_labels_in_closed_form(flip):
    """y = sign(z^2 - 1), flipped: 1/delta_alg = E_y[E[z^2 - 1 | y]^2]."""
    found = dmft.hardness(signs("phase-retrieval", flip, threshold=1.0), n_points=2**19)
    inside = 2.0 * norm.sf(1.0)  # P(z^2 > 1)
    moment = (1.0 - 2.0 * flip) * 2.0 * norm.pdf(1.0)  # E[(z^2 - 1) 1(y = 1)]
    up = inside * (1.0 - flip) + (1.0 - inside) * flip
    exact = moment**2 * (1.0 / up + 1.0 / (1.0 - up))
    assert found.status.ok
    assert (found.information_exponent, found.generative_exponent) == (2, 2)
    assert found.inverse_delta_alg == pytest.approx(exact, abs=5 * found.inverse_delta_alg_stderr
                                                    + 1e-4)  # fmt: skip


def test_a_slope_that_hides_a_direction_is_asked_about():
    faint = Target("linear", classes="logistic", slope=0.005)
    with pytest.raises(ValueError, match="hard_directions must be stated"):
        _ = faint.hard_basis
    assert dmft.hardness(faint, n_points=2**16).status.name == "UNDECIDED"
    stated = Target("linear", classes="logistic", slope=0.005, hard_directions=())
    assert stated.hard_basis.shape == (1, 0)


def test_hardness_of_noisy_classes():
    easy = dmft.hardness(Target("linear", classes="logistic"), n_points=2**18)
    assert (easy.status.name, easy.information_exponent, easy.k_hard) == ("SUCCESS", 1, 0)
    both = dmft.hardness(signs("product", 0.1), n_points=2**19)
    assert (both.status.name, both.k_hard, both.generative_exponent) == ("SUCCESS", 2, 2)
    # G = +-(2/pi)(1 - 2 flip) off the diagonal: 1/delta_alg is its square.
    assert both.inverse_delta_alg == pytest.approx((0.8 * 2.0 / np.pi) ** 2, rel=0.02)


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"classes": "signs"},
            r"classes must be one of 'sign', 'logistic', 'component'; got 'signs'",
        ),
        ({"classes": "sign", "flip": 0.5}, "flip must be at least 0 and less than 1/2"),
        ({"classes": "sign", "flip": -0.1}, "flip must be a finite number >= 0"),
        ({"classes": "sign", "slope": 1.0}, "slope must be left out for classes 'sign'"),
        ({"classes": "logistic", "flip": 0.1}, "flip must be left out for classes 'logistic'"),
        ({"classes": "logistic", "slope": 0.0}, "slope must be a positive finite number"),
        ({"classes": "logistic", "threshold": np.inf}, "threshold must be a finite number"),
        ({"flip": 0.1}, "flip must be left out without classes, got 0.1"),
        ({"threshold": 1.0}, "threshold must be left out without classes"),
        ({"classes": "sign", "noise": 0.1}, "noise must be 0 for classes 'sign'"),
    ],
)
def test_bad_classes(settings, message):
    with pytest.raises(ValueError, match=message) as info:
        Target("linear", **settings)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("loss", ["logistic", "smoothed-hinge"])
@pytest.mark.parametrize(
    "call",
    [
        lambda p: solve(p),
        lambda p: dmft.simulate(p, 2.0, METHOD, 50, 2),
        lambda p: dmft.find_delta_nn(p, METHOD, (1.0, 4.0), 0, SAMPLING),
    ],
)
def test_other_labels_are_refused_at_the_door(loss, call):
    zeros = Target(lambda z, eps: np.where(np.abs(z[:, 0]) > 1, 1.0, 0.0), hard_directions=[0])
    for target in ("phase-retrieval", zeros):
        with pytest.raises(ValueError, match=rf"only -1 and \+1 for loss '{loss}', got") as info:
            call(Problem(target, loss=loss))
        assert "\n" not in str(info.value)


# -- test error ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("flip", [0.0, 0.15])
@pytest.mark.parametrize("loss", ["logistic", "smoothed-hinge", "square"])
def test_linear_classifier_errs_by_its_angle(flip, loss):
    """P(y f < 0) = p + (1 - 2p) arccos(rho)/pi, rho the cosine of neuron and direction."""
    theory = solve(problem(signs(flip=flip), loss=loss, initial_overlap=[[0.2]]))
    cosine = theory.overlap[:, 0, 0] / np.sqrt(theory.norm[:, 0, 0])
    exact = flip + (1.0 - 2.0 * flip) * np.arccos(cosine) / np.pi
    np.testing.assert_allclose(theory.test_error, exact, rtol=0, atol=1e-6)
    assert theory.test_error.shape == theory.stderr["test_error"].shape == (6,)
    assert theory.test_error[-1] < theory.test_error[0] - 0.1
    assert np.all(theory.stderr["test_error"][1:] < 0.01)


def test_error_of_a_network_that_knows_the_direction():
    for cosine, exact in ((1.0, 0.1), (-1.0, 0.9), (0.0, 0.5)):
        found = expected_test_error(
            problem(signs(flip=0.1)), np.array([[[cosine]]]), np.ones((1, 1, 1)), SAMPLING, [0]
        )
        assert found[0] == pytest.approx(exact, abs=1e-8)
    nothing = expected_test_error(
        problem(), np.zeros((1, 1, 1)), np.zeros((1, 1, 1)), SAMPLING, [0]
    )
    assert nothing[0] == 0.0  # an output of zero is no error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "activation", "second_layer"),
    [
        (Target("easy-hard", classes="logistic", slope=2.0), "relu", (1.0, -1.0)),
        (signs("phase-retrieval", 0.1, threshold=1.0), "quadratic", (1.0, -0.7)),
        (signs("product"), "gelu", (1.0, 0.5, -0.8)),
        (signs("hermite3"), "clipped-linear", (1.0,)),
        (Target(lambda z, e: np.where(z[:, 0] + 0.3 * e > 0, 1.0, -1.0)), "tanh", (1.0, -1.0)),
        (signs("linear", 0.2), "relu", (1.0,)),  # an output that is zero half the time
    ],
)
def test_test_error_and_loss_on_fresh_samples(target, activation, second_layer):
    net = problem(target, activation, second_layer)
    m, k = net.m, net.k
    rng = np.random.default_rng(5)
    B = 0.5 * rng.standard_normal((m, k + m))
    M, C = B[np.newaxis, :, :k], (B @ B.T)[np.newaxis]
    each = [expected_test_error(net, M, C, SAMPLING, [i])[0] for i in range(8)]
    value = expected_test_error(net, M, C, SAMPLING, range(8))[0]
    loss = dmft.observables.generalization.expected_test_loss(net, M, C, SAMPLING, range(8))[0]
    n = 1_000_000
    q = rng.standard_normal((k + m, n))
    y = target.sample_labels(np.ascontiguousarray(q[:k].T), rng.standard_normal(n))
    f = net.network.output(B @ q)
    fresh, losses = np.mean(y * f < 0), np.logaddexp(0.0, -y * f)
    error = np.hypot(np.sqrt(fresh * (1 - fresh) / n), np.std(each, ddof=1) / np.sqrt(8))
    assert abs(value - fresh) < 4.0 * error
    assert np.std(each, ddof=1) / np.sqrt(8) < 3e-4
    assert abs(loss - losses.mean()) < 4.0 * losses.std() / np.sqrt(n) + 2e-4


@pytest.mark.slow
def test_sign_masses_find_every_change():
    s = np.linspace(-9.0, 9.0, 400_001)
    w = norm.pdf(s) * (s[1] - s[0])
    rng = np.random.default_rng(2)
    direction = np.array([0.3, 0.8])
    for activation in ("relu", "quadratic", "gelu", "clipped-linear", "tanh"):
        net = Network(activation, [1.0, -1.0])
        start = 0.7 * rng.standard_normal((2, 40))
        positive, negative = sign_masses(net.output, start, direction, net.activation.kinks)
        for line in range(40):
            f = net.output(start[:, [line]] + direction[:, None] * s)
            assert positive[line] == pytest.approx(w @ (f > 0), abs=5e-5)
            assert negative[line] == pytest.approx(w @ (f < 0), abs=5e-5)
    # Two changes between neighbouring points of the grid.
    dip = sign_masses(lambda h: (h[0] - 0.1) ** 2 - 1e-4, np.zeros((1, 1)), np.ones(1))
    assert dip[1][0] == pytest.approx(norm.cdf(0.11) - norm.cdf(0.09), abs=1e-6)


def test_no_test_error_for_real_labels():
    theory = solve(Problem("linear"))
    assert theory.test_error.shape == (6,)
    assert np.isnan(theory.test_error).all()
    assert np.isnan(theory.stderr["test_error"]).all()
    run = dmft.simulate(Problem("linear"), 2.0, METHOD, 40, 2, workers=1)
    assert run.test_error.shape == (2, 6)
    assert np.isnan(run.test_error).all()
    assert np.isnan(run.mean["test_error"]).all()
    assert "test_error" not in dmft.compare(solve(Problem("linear"), 2.0), run).quantities


# -- through simulation, comparison, files and Hessian -------------------------------------------


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.parametrize("loss", ["logistic", "smoothed-hinge"])
def test_theory_and_simulation_of_flipped_labels(loss):
    net = problem(signs("easy-hard", 0.1), "gelu", (2.0, -1.0), loss)
    theory = solve(net, sampling=Sampling(4096, 8))
    runs = [dmft.simulate(net, 4.0, METHOD, d, 12, workers=1, hold_hard=True) for d in (200, 400)]
    found = dmft.compare(theory, runs)
    assert "test_error" in found.quantities
    assert found.p_value > 1e-3
    assert theory.test_error[-1] < 0.45


def test_inputs_that_are_not_gaussian_have_a_test_error_of_samples():
    net = problem(signs(flip=0.1), initial_overlap=[[0.5]])
    run = dmft.simulate(net, 4.0, METHOD, 100, 4, inputs="rademacher", n_test=4000, workers=1)
    theory = solve(net)
    assert run.test_error.shape == (4, 6)
    np.testing.assert_allclose(run.mean["test_error"], theory.test_error, atol=0.03)
    # A multiple of 1/n_test: these are counts.
    np.testing.assert_allclose(run.test_error * 4000, np.round(run.test_error * 4000), atol=1e-9)


@pytest.mark.slow
def test_files_keep_the_test_error(tmp_path):
    net = problem(signs(flip=0.1), "gelu", (1.0, -1.0))
    theory = solve(net)
    theory.save(tmp_path / "t.npz")
    again = dmft.Trajectory.load(tmp_path / "t.npz")
    assert again.problem == net
    np.testing.assert_array_equal(again.test_error, theory.test_error)
    np.testing.assert_array_equal(again.stderr["test_error"], theory.stderr["test_error"])
    run = dmft.simulate(net, 4.0, METHOD, 40, 2, workers=1, checkpoint=tmp_path / "runs")
    run.save(tmp_path / "s.npz")
    loaded = dmft.Simulation.load(tmp_path / "s.npz")
    np.testing.assert_array_equal(loaded.test_error, run.test_error)
    resumed = dmft.simulate(net, 4.0, METHOD, 40, 2, workers=1, checkpoint=tmp_path / "runs")
    np.testing.assert_array_equal(resumed.test_error, run.test_error)


def test_step_zero_sums_over_the_noise_of_classes():
    """E[D z^2] of a linear network under the logistic loss by hand, and against drawn labels."""
    net = problem(Target("linear", classes="logistic", slope=2.0), "tanh", (1.5,))
    law = initial_law(net, 4.0)
    assert not law.replicates
    assert law.probabilities.sum() == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    z, r = rng.standard_normal((2, 1_000_000))
    y = net.target.sample_labels(z[:, None], rng.standard_normal(len(z)))
    f, slope = 1.5 * np.tanh(r), 1.5 / np.cosh(r) ** 2
    bend = -2.0 * np.tanh(r) * slope
    p = 1.0 / (1.0 + np.exp(y * f))
    samples = p * (1 - p) * slope**2 - y * p * bend
    mean = law.probabilities @ law.weights[:, 0, 0]
    assert abs(mean - samples.mean()) < 4.0 * samples.std() / 1000.0


@pytest.mark.slow
def test_threshold_and_spectrum_of_flipped_labels():
    net = problem(signs("easy-hard", 0.1), "gelu", (2.0, 2.0), init_radius=1.0)
    found = dmft.find_delta_nn(
        net, GradientDescent(0.3, 10), (2.0, 12.0), 10, SAMPLING, scan_points=4, threads=1
    )
    assert found.status.ok
    assert 3.5 < found.value < 6.5  # 4.82 +- 0.07 with more paths
    law = solve(net, delta=9.0, method=GradientDescent(0.3, 10)).hessian(10)
    assert law.hard_gap() < 0.0
    assert len(law.outliers("hard")) == 1


def test_configurations_round_trip():
    for target in (
        signs("easy-hard", 0.1),
        Target("phase-retrieval", classes="logistic", slope=3, threshold=1, hard_directions=[0]),
    ):
        assert Target.from_config(target.to_config()) == target
    assert signs(flip=0.1) != signs(flip=0.2)
    assert ClassLaw.of("logistic") == ClassLaw("logistic", 0.0, None, 1.0)


@pytest.mark.slow
def test_a_boundary_through_the_nodes_of_a_rule():
    """Labels are classes with probability one; z1 = -z2 happens on symmetric rules alone."""
    target = Target(lambda z, eps: np.sign(z[:, 0] + z[:, 1]), k=2)
    same = Target(lambda z, eps: np.sign(z[:, 0] + z[:, 1] + 1e-9), k=2)
    sampling = dmft.Sampling(n_paths=512, replicates=4)
    found = []
    for each in (target, same):
        problem = Problem(each, Network("tanh", [1.0]), "logistic")
        trajectory = dmft.solve(problem, 3.0, dmft.GradientDescent(0.5, 3), sampling)
        found.append((trajectory.test_loss[3], trajectory.test_error[3]))
    np.testing.assert_allclose(found[0], found[1], rtol=0.01)
