"""Kinked activations: exact answers, quadrature that splits at kinks, finite Hessians."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm
from small import METHOD, SAMPLING, solve

import dmft
from dmft import Activation, GradientDescent, Network, Problem, Sampling
from dmft.hessian.hessian import initial_law
from dmft.model.activations import ACTIVATIONS

KINKED = ("relu", "leaky-relu", "abs", "clipped-linear")


def test_relu_of_r_less_relu_of_minus_r_is_linear():
    """As one activation of one's own, along the whole trajectory; and as two neurons, at step 0."""
    relu, step = ACTIVATIONS["relu"].value, ACTIVATIONS["relu"].derivative
    both = Activation(
        lambda r: relu(r) - relu(-r), lambda r: step(r) + step(-r), np.zeros_like,
        name="both", kinks=(0.0,),
    )  # fmt: skip
    kinked, linear = (
        solve(Problem("linear", Network(activation, [1.0]), weight_decay=0.1), 3.0)
        for activation in (both, "linear")
    )
    for name in ("correlation", "overlap", "train_loss", "gradient_norm"):
        np.testing.assert_allclose(getattr(kinked, name), getattr(linear, name), rtol=0, atol=1e-12)
    # Kinks rule out the tensor rule, which the smooth network may use: Sobol points and an error.
    difference = np.abs(kinked.test_loss - linear.test_loss)
    assert np.all(difference < 5.0 * np.hypot(kinked.stderr["test_loss"],
                                              linear.stderr["test_loss"]) + 1e-12)  # fmt: skip

    pair = Problem("linear", Network("relu", [1.0, -1.0]), init_gram=[[1.0, -1.0], [-1.0, 1.0]])
    run = dmft.simulate(pair, 3.0, GradientDescent(0.2, 0), 50, 2, workers=1)
    r = np.random.default_rng(0).standard_normal(100)
    np.testing.assert_array_equal(pair.network.output(np.stack([r, -r])), r)
    np.testing.assert_allclose(run.correlation[:, 0, 0, 1], -1.0, rtol=1e-13)
    theory = solve(pair, 3.0, method=GradientDescent(0.2, 0))
    assert theory.train_loss[0] == pytest.approx(1.0, abs=2e-3)  # E[(xi - z)^2] / 2


def test_clipped_linear_is_linear_before_it_clips():
    problems = [
        Problem(
            dmft.Target(lambda z, eps: 0.05 * z[:, 0], hard_directions=()),
            Network(activation, [1.0, 0.5]),
            init_radius=0.02,
        )
        for activation in ("clipped-linear", "linear")
    ]
    clipped, linear = map(solve, problems)
    np.testing.assert_array_equal(clipped.correlation, linear.correlation)
    np.testing.assert_array_equal(clipped.train_loss, linear.train_loss)


@pytest.mark.slow
@pytest.mark.parametrize("activation", KINKED)
def test_compiled_and_plain_activation_give_the_same_run(activation):
    entry = ACTIVATIONS[activation]
    own = Activation(entry.value, entry.derivative, entry.second_derivative, kinks=entry.kinks)
    compiled, plain = (
        solve(Problem("easy-hard", Network(which, [1.0, -0.5]), "pseudo-huber"), 3.0)
        for which in (activation, own)
    )
    np.testing.assert_allclose(plain.correlation, compiled.correlation, rtol=0, atol=1e-10)
    np.testing.assert_allclose(plain.test_loss, compiled.test_loss, rtol=0, atol=1e-10)


# -- step 0 --------------------------------------------------------------------------------------


def pieces(ends):
    """Gauss-Legendre with 60 nodes on each piece, weighted by the normal density."""
    x, w = np.polynomial.legendre.leggauss(60)
    nodes, weights = [], []
    for a, b in itertools.pairwise(sorted({-9.0, -3.0, 0.0, 3.0, 9.0, *ends})):
        nodes.append(0.5 * (a + b) + 0.5 * (b - a) * x)
        weights.append(0.5 * (b - a) * w * norm.pdf(nodes[-1]))
    return np.concatenate(nodes), np.concatenate(weights)


def split_expectation(function, kinks, rho):
    """E[function(z, rho xi)] on pieces between kinks and z = 0."""
    (z, p), (x, q) = pieces([]), pieces([kink / rho for kink in kinks])
    return p @ function(z[:, None], rho * x[None, :]) @ q


@pytest.mark.parametrize("activation", KINKED)
def test_step_zero_by_an_independent_split_quadrature(activation):
    rho = 0.8
    problem = Problem("modulus", Network(activation, [1.3]), "pseudo-huber", init_radius=rho)
    law = initial_law(problem, 4.0)
    assert not law.replicates  # quadrature, no sampling
    pieces_of = {  # (value, slope), written out
        "relu": lambda r: (np.where(r > 0, r, 0), np.where(r > 0, 1.0, 0)),
        "leaky-relu": lambda r: (np.where(r > 0, r, r / 100), np.where(r > 0, 1.0, 0.01)),
        "abs": lambda r: (np.where(r > 0, r, -r), np.where(r > 0, 1.0, -1.0)),
        "clipped-linear": lambda r: (
            np.where(r > 1, 1, np.where(r < -1, -1, r)), np.where(abs(r) < 1, 1.0, 0)
        ),
    }[activation]  # fmt: skip

    def weight(z, r):
        f, s = pieces_of(r)
        return (1.0 + (1.3 * f - abs(z)) ** 2) ** -1.5 * (1.3 * s) ** 2

    D, p = law.weights[:, 0, 0], law.probabilities
    kinks = ACTIVATIONS[activation].kinks
    for function, mean in (
        (weight, p @ D),
        (lambda z, r: weight(z, r) ** 2, p @ D**2),
        (lambda z, r: weight(z, r) * z**2, p @ (D * law.hard[:, 0] ** 2)),
    ):
        assert mean == pytest.approx(split_expectation(function, kinks, rho), abs=2e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "start", [{"initial_overlap": [[0.6], [0.0]]}, {"init_gram": [[1.0, 0.5], [0.5, 1.0]]}]
)
def test_where_kinks_lie_across_the_axes_the_error_is_honest(start):
    problem = Problem("linear", Network("relu", [1.0, -1.0]), "pseudo-huber", **start)
    law = initial_law(problem, 4.0, Sampling(n_paths=64, replicates=8))
    assert len(law.replicates) == 8
    rng = np.random.default_rng(1)
    q = rng.standard_normal((3, 2_000_000))
    r = problem.initial_weights() @ q
    s = (r > 0.0) * np.array([[1.0], [-1.0]])
    bend = (1.0 + (np.sum(np.maximum(r, 0.0) * [[1.0], [-1.0]], axis=0) - q[0]) ** 2) ** -1.5
    samples = bend * s[0] * s[1]
    exact, error = samples.mean(), samples.std() / np.sqrt(samples.size)
    each = np.array([part.weights[:, 0, 1].mean() for part in law.replicates])
    stderr = each.std(ddof=1) / np.sqrt(8)
    assert 0.0 < stderr < 1e-3
    assert abs(law.weights[:, 0, 1].mean() - exact) < 4.0 * np.hypot(stderr, error)


@pytest.mark.slow
def test_a_convex_loss_of_relus_has_no_negative_curvature():
    """D = L'' g g^T: the Hessian of n samples has no Dirac mass, so no negative outlier either."""
    problem = Problem("phase-retrieval", Network("relu", [1.0, 1.0]), "pseudo-huber")
    result = dmft.find_delta_nn(problem, METHOD, (1.0, 12.0), 4, SAMPLING, scan_points=3, threads=1)
    assert result.status.name == "NO_BRACKET"
    assert np.all(result.gap >= 0.0)
    trajectory = solve(problem, 4.0)
    law = trajectory.hessian(METHOD.n_steps)
    assert law.edges().left >= -1e-6
    assert law.outliers("hard") == []


def test_the_hessian_of_a_run_is_that_of_its_samples():
    problem = Problem("easy-hard", Network("relu", [1.0, -0.5]), "square", weight_decay=0.1)
    theory = solve(problem, 3.0, METHOD, Sampling(4096, 8))
    run = dmft.simulate(
        problem, 3.0, METHOD, 200, 8, hessian_steps=[0, 6], hold_hard=True, workers=1
    )
    for step in (0, 6):
        law = theory.hessian(step)
        trace = law.probabilities @ np.trace(law.weights, axis1=1, axis2=2)
        means = run.hessian[step].eigenvalues.mean(axis=1) - 0.1
        error = means.std(ddof=1) / np.sqrt(len(means))
        assert abs(means.mean() - 0.5 * trace) < 4.0 * error + 0.01
        assert run.hessian[step].smallest.min() >= 0.1 - 1e-12


# -- dynamics ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.simulation
def test_two_relus_stay_with_the_simulation():
    """The problem on which redrawn noise and a dropped Dirac mass go wrong by 30 %."""
    problem = dmft.load_preset("relu").problem
    method = GradientDescent(0.2, 40)
    theory = solve(problem, 3.0, method, Sampling(4096, 8))
    runs = [dmft.simulate(problem, 3.0, method, d, s, workers=1) for d, s in ((200, 24), (400, 12))]
    found = dmft.compare(theory, runs, quantities=("norm", "overlap", "train_loss", "test_loss"))
    assert found.p_value > 1e-3
    assert found.last_step == 40
    assert found.largest_ratio < 4.0


def test_the_response_holds_the_dirac_mass_that_the_curvature_lacks():
    """R(2,0) = eta (1 - eta E[dg^1/dw^1]), the derivative of an average over moving kinks."""
    eta, delta = 0.2, 3.0
    problem = Problem("phase-retrieval", Network("relu", [1.0]), "square")
    theory = solve(problem, delta, GradientDescent(eta, 2), Sampling(16384, 8))
    rng = np.random.default_rng(0)
    n = 2_000_000
    z, w0, fresh = rng.standard_normal((3, n))

    def gradient(r):
        return (np.maximum(r, 0.0) - z**2) * (r > 0.0)

    C = theory.correlation[:2, :2, 0, 0]  # z is hard: w is independent of it
    w1 = C[1, 0] * w0 + np.sqrt(C[1, 1] - C[1, 0] ** 2) * fresh
    r1 = w1 - eta / delta * gradient(w0)
    step = 0.1
    moved = (gradient(r1 + step) - gradient(r1 - step)) / (2.0 * step)
    exact, error = moved.mean(), moved.std() / np.sqrt(n)
    curvature_alone = np.mean(r1 > 0.0)
    found = (1.0 - theory.response[2, 0, 0, 0] / eta) / eta
    spread = theory.stderr["response"][2, 0, 0, 0] / eta**2
    assert abs(found - exact) < 4.0 * np.hypot(error, spread) + 5e-3  # step^2 of the difference
    assert found < curvature_alone - 0.2
    law = theory.hessian(1)
    assert law.probabilities @ law.weights[:, 0, 0] == pytest.approx(curvature_alone, abs=0.01)
