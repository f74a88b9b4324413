"""Biases: exact answers at the start, zeros that are none, flows, finite dimension, files."""

import math

import numpy as np
import plain_algorithms
import plain_paths
import problems
import pytest
from scipy.special import ndtr

import dmft
from dmft.hessian.hessian import initial_law
from dmft.model.curvature_support import curvature_support
from dmft.model.gradients import curvature

RELU = dmft.Problem("tanh-hermite3", dmft.Network("relu", [1.0, -1.0], biases=[0.5, -0.3]))
PAIR = dmft.Problem(
    "easy-hard",
    dmft.Network("gelu", [1.0, -0.5], biases={"law": "gaussian", "std": 0.5, "seed": 3}),
    "pseudo-huber",
    bias_weight_decay=0.1,
)
TRAINED = dmft.GradientDescent(0.2, 6, bias_step_size=0.3)
SMALL = dmft.Sampling(n_paths=512, replicates=4)


def density(x):
    return math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


@pytest.fixture(scope="module")
def trained():
    return dmft.solve(PAIR, 3.0, TRAINED, SMALL)


# -- exact answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("b", [-1.7, 0.4])
def test_the_kink_of_a_rectifier_is_where_its_bias_puts_it(b):
    """D is 1 where r + b > 0: to all digits of the rule, so its panels end there."""
    problem = dmft.Problem("linear", dmft.Network("relu", biases=b), init_radius=0.8)
    law = initial_law(problem, 3.0)
    assert not law.replicates  # quadrature
    share = law.probabilities @ law.weights[:, 0, 0]
    np.testing.assert_allclose(share, ndtr(b / 0.8), rtol=1e-13)


def test_losses_and_errors_of_a_rectifier_at_the_start():
    """f = relu(r + b), independent of y = z or its sign."""
    b, none = 0.4, dmft.GradientDescent(0.2, 0)
    network = dmft.Network("relu", biases=b)
    found = dmft.solve(dmft.Problem("linear", network), 3.0, none, dmft.Sampling(4096, 8))
    exact = 0.5 * ((1.0 + b * b) * ndtr(b) + b * density(b) + 1.0)
    for name in ("train_loss", "test_loss"):
        error = 4.0 * found.stderr[name][0] + 1e-4
        assert abs(getattr(found, name)[0] - exact) < error
    signs = dmft.Problem(dmft.Target("linear", classes="sign"), network)
    found = dmft.solve(signs, 3.0, none, SMALL)
    np.testing.assert_allclose(found.test_error, [0.5 * ndtr(b)], atol=2e-6)


@pytest.mark.slow
def test_digits_are_those_of_the_quadrature():
    problem = dmft.Problem("phase-retrieval", dmft.Network("gelu", biases=0.3), "pseudo-huber")
    plain = dmft.find_delta_nn(problem, TRAINED, (1.0, 4.0), step=0)
    many = dmft.find_delta_nn(problem, TRAINED, (1.0, 4.0), step=0, digits=6)
    assert abs(plain.value - many.value) < 1e-5
    other = dmft.find_delta_nn(dmft.Problem("phase-retrieval", loss="pseudo-huber"), TRAINED,
                               (1.0, 4.0), step=0)  # fmt: skip
    assert abs(other.value - many.value) > 0.01


def test_the_support_of_the_curvature_has_no_biases():
    """All r occur, and with them all r + b; where they do not, b matters."""
    without = PAIR.without_biases
    supports = [curvature_support(each, each.initial_weights()) for each in (PAIR, without)]
    assert np.array_equal(supports[0].points, supports[1].points)
    at_zero = [
        dmft.Problem("linear", dmft.Network("quadratic", biases=b), "square", init_radius=0.0)
        for b in (0.0, 0.7)
    ]
    laws = [initial_law(each, 2.0) for each in at_zero]
    D = [np.average(law.weights[:, 0, 0], weights=law.probabilities) for law in laws]
    np.testing.assert_allclose(D, [0.0, 6.0 * 0.7**2], atol=1e-5)  # (2 b)^2 + 2 (b^2 - y)


def test_equal_and_opposite_neurons_have_equal_and_opposite_biases():
    signs = np.outer([1.0, 1.0, -1.0], [1.0, 1.0, -1.0])
    network = dmft.Network("tanh", [0.5, 0.5, -0.5], biases=[0.3, 0.3, -0.3])
    found = dmft.solve(dmft.Problem("linear", network, init_gram=signs), 2.0, TRAINED, SMALL)
    assert np.array_equal(found.biases[:, 0], found.biases[:, 1])
    assert np.array_equal(found.biases[:, 0], -found.biases[:, 2])
    apart = dmft.Network("tanh", [0.5, 0.5, -0.5], biases=[0.3, 0.2, 0.3])
    found = dmft.solve(dmft.Problem("linear", apart, init_gram=signs), 2.0, TRAINED, SMALL)
    assert not np.array_equal(found.norm[-1, 0, 0], found.norm[-1, 1, 1])


# -- what changes nothing --------------------------------------------------------------------------


def test_zeros_are_no_biases():
    plain = dmft.Network("gelu", [1.0, -0.5])
    for zeros in (0, [0.0, -0.0], {"law": "gaussian", "std": 0.0}):
        network = dmft.Network("gelu", [1.0, -0.5], biases=zeros)
        assert network == plain
        assert network.to_config() == plain.to_config()


def test_biases_that_stay_are_fixed_ones(trained):
    """Trained with steps of zero: the code of trained ones, the numbers of fixed ones."""
    fixed = dmft.solve(PAIR, 3.0, dmft.GradientDescent(0.2, 4), SMALL)
    still = dmft.GradientDescent(0.2, 4, bias_step_size=[0.0] * 4)
    found = dmft.solve(PAIR, 3.0, still, SMALL)
    for name in ("norm", "overlap", "train_loss", "test_loss", "biases"):
        assert np.array_equal(getattr(found, name), getattr(fixed, name)), name
    assert not fixed.stderr["biases"].any()
    assert np.array_equal(fixed.biases, np.tile(PAIR.network.biases, (5, 1)))
    assert not np.array_equal(trained.norm[4], fixed.norm[4])


# -- trained ---------------------------------------------------------------------------------------


def test_initial_biases_are_those_of_the_plain_twin():
    network = dmft.Network("tanh", [1.0, -1.0], biases=[0.5, -0.3])
    problem = dmft.Problem("easy-hard", network)
    case = problems.Case(
        "twin", "tanh", (1.0, -1.0), problems.easy_and_hard, 2, "square",
        delta=3.0, step_size=0.2, n_steps=6, hard=(1,),
    )  # fmt: skip
    streams = plain_paths.streams(problem, SMALL)
    leading = np.concatenate([stream.leading() for stream in streams], axis=1)
    twin = plain_algorithms.run(
        case,
        case.label(leading[:2].T, np.zeros(leading.shape[1])),
        leading,
        lambda t: np.concatenate([stream.block(t) for stream in streams], axis=1),
        lambda t: 1.0,
        etas=TRAINED.step_sizes,
        layer_etas=np.zeros(6),
        bias_etas=TRAINED.bias_step_sizes,
        biases=network.biases,
    )
    found = dmft.solve(problem, 3.0, TRAINED, SMALL)
    for name, key in {
        "norm": "C",
        "overlap": "M",
        "biases": "c",
        "train_loss": "train_loss",
    }.items():
        np.testing.assert_allclose(getattr(found, name), twin[key], atol=1e-10, err_msg=name)


def test_the_hessian_has_the_biases_of_its_step(trained):
    law = trained.hessian(6)
    for index, one in enumerate([law, *law.replicates]):
        run = trained._runs[index]
        at = PAIR.with_layers(biases=run.biases[6])
        assert np.array_equal(one.weights, curvature(at, run.pre_activations[6], run.labels))


def test_a_flow_is_the_limit_of_small_steps():
    flow = dmft.solve(PAIR, 3.0, dmft.GradientFlow(1.0, 1e-4, [0, 1], bias_rate=2.0), SMALL)
    coarse, fine = (
        dmft.solve(PAIR, 3.0, dmft.GradientDescent(h, round(1 / h), bias_step_size=2 * h), SMALL)
        for h in (0.1, 0.05)
    )
    for name in ("biases", "norm", "train_loss"):
        extrapolated = 2.0 * getattr(fine, name)[-1] - getattr(coarse, name)[-1]
        np.testing.assert_allclose(getattr(flow, name)[-1], extrapolated, atol=3e-3, err_msg=name)
    fixed = dmft.solve(PAIR, 3.0, dmft.GradientFlow(1.0, 1e-4, [0, 1]), SMALL)
    assert abs(fixed.train_loss[-1] - flow.train_loss[-1]) > 0.01


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.parametrize("problem", [RELU, PAIR], ids=["relu", "gelu"])
def test_theory_agrees_with_simulation(problem):
    trajectory = dmft.solve(problem, 3.0, TRAINED, dmft.Sampling(n_paths=4096))
    runs = [dmft.simulate(problem, 3.0, TRAINED, d, 16, workers=1) for d in (100, 200)]
    comparison = dmft.compare(trajectory, runs)
    assert not comparison.significant, comparison.table()
    assert "biases" in comparison.quantities
    assert np.abs(trajectory.biases[-1] - trajectory.biases[0]).max() > 0.1


def test_results_are_stored_and_read(trained, tmp_path):
    run = dmft.simulate(PAIR, 3.0, TRAINED, 20, 2, workers=1)
    assert run.biases.shape == (2, 7, 2)
    np.testing.assert_array_equal(run.biases[:, 0], [PAIR.network.biases] * 2)
    for result in (trained, run):
        path = tmp_path / "result.npz"
        result.save(path)
        again = dmft.load(path)
        assert again.problem == PAIR
        assert np.array_equal(again.biases, result.biases)
        text = str(again)
        assert "Gaussian biases, std 0.5, seed 3" in text
        assert "biases 0.3" in text
        assert "b1" in text
    fixed = dmft.simulate(PAIR, 3.0, dmft.GradientDescent(0.2, 2), 20, 2, workers=1)
    np.testing.assert_array_equal(fixed.biases, np.tile(PAIR.network.biases, (2, 3, 1)))


def test_figures_have_a_panel_of_biases(trained):
    labels = [axes.get_ylabel() for axes in trained.plot()]
    assert "biases  $b(t)$" in labels
    run = dmft.simulate(PAIR, 3.0, TRAINED, 20, 2, workers=1)
    assert "biases $b(t)$" in [axes.get_ylabel() for axes in run.plot()]


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("biases", "message"),
    [
        ([0.1], "biases must be a number, a sequence of m = 2 of them, or a law, got 1 numbers"),
        ("0.1", "biases must be a finite number, got '0.1'"),
        (np.nan, "biases must be a finite number, got nan"),
        ([0.1, np.inf], "biases must have finite entries"),
        ([[0.1, 0.2]], "biases must be a number, a sequence"),
        ({"std": 1.0}, "biases: missing key 'law'|law"),
        ({"law": "uniform"}, "biases must have the law 'gaussian', got 'uniform'"),
        ({"law": "gaussian", "std": -1}, "std of biases must be a finite number >= 0, got -1"),
        (
            {"law": "gaussian", "std": 1e308, "mean": 1.7e308},
            "biases must be finite, got a law of std 1e",
        ),
        ({"law": "gaussian", "sd": 1}, r"a key of biases must be one of .*; got 'sd'"),
        ({"law": "gaussian", "seed": 0.5}, "seed of biases must be an integer >= 0, got 0.5"),
    ],
)
def test_one_line_for_what_are_no_biases(biases, message):
    with pytest.raises(ValueError, match=message) as caught:
        dmft.Network("gelu", [1.0, -0.5], biases=biases)
    assert "\n" not in str(caught.value)


def test_where_they_must_not_be_trained():
    with pytest.raises(ValueError, match="full-batch gradient descent of the first layer"):
        dmft.predict_grokking(
            dmft.Problem("phase-retrieval", loss="pseudo-huber"), 6.0, TRAINED, 100
        )
    with pytest.raises(ValueError, match="bias_step_size must have at least n_steps = 6"):
        dmft.GradientDescent(0.2, 6, bias_step_size=[0.1])
    with pytest.raises(ValueError, match="bias_rate must be a finite number >= 0, got -1"):
        dmft.GradientFlow(1.0, bias_rate=-1.0)
