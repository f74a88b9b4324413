"""Problems: what is accepted, what is refused, the way back from a file."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from dmft import GradientDescent, Sampling, solve
from dmft.model.activations import Activation
from dmft.model.losses import LOSSES, Loss
from dmft.model.network import Network
from dmft.model.problem import Problem
from dmft.model.target import Target


def first(z, eps):
    return z[:, 0]


def second(z, eps):
    return z[:, 1]


def noisy_square(z, eps):
    return z[:, 0] ** 2 + 0.1 * eps


CUBIC = Activation(lambda r: r**3, lambda r: 3 * r**2, lambda r: 6 * r, name="cubic")


class TestProblem:
    def test_shorthands(self):
        problem = Problem("product", {"second_layer": [1.0, 2.0]}, "pseudo-huber")
        assert problem.target == Target("product")
        assert problem.network == Network("gelu", [1.0, 2.0])
        assert problem.loss is LOSSES["pseudo-huber"]
        assert (problem.m, problem.k) == (2, 2)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"target": first}, "target must be a Target or a catalogue name"),
            ({"network": "gelu"}, "network must be a Network, got 'gelu'"),
            ({"loss": "sqare"}, r"loss must be one of .*did you mean 'square'"),
            ({"init_radius": -1.0}, r"init_radius must be a finite number >= 0, got -1.0"),
            ({"weight_decay": float("nan")}, "weight_decay must be a finite number >= 0, got nan"),
            (
                {"initial_overlap": [0.1, 0.2]},
                r"initial_overlap must be an array of shape \(1, 2\)",
            ),
            (
                {"initial_overlap": [[0.1]]},
                r"must have shape \(m, k\) = \(1, 2\), got shape \(1, 1",
            ),
            ({"initial_overlap": [[1.5, 0.0]]}, "singular values of at most init_radius = 1, got"),
            ({"initial_overlap": [[np.nan, 0]]}, "initial_overlap must have finite entries"),
        ],
    )
    def test_bad_settings(self, settings, message):
        with pytest.raises(ValueError, match=message):
            Problem(**({"target": "easy-hard"} | settings))

    @pytest.mark.parametrize("loss", ["logistic", "smoothed-hinge"])
    def test_losses_of_classes_need_signs(self, loss):
        z, eps = np.array([[0.5], [-2.0]]), np.zeros(2)
        signs = Problem(Target(lambda z, eps: np.sign(z[:, 0])), loss=loss)
        assert signs.sample_labels(z, eps).tolist() == [1.0, -1.0]
        # At the door, and for labels that are only rarely others.
        with pytest.raises(ValueError, match=rf"only -1 and \+1 for loss '{loss}', got 0\.1"):
            Problem(Target(first), loss=loss).check_labels()
        rarely = Target(lambda z, eps: np.where(z[:, 0] > 6.0, 0.5, 1.0))
        with pytest.raises(ValueError, match=rf"only -1 and \+1 for loss '{loss}', got 0\.5"):
            Problem(rarely, loss=loss).sample_labels([[7.0]], [0.0])

    @pytest.mark.parametrize("overlap", [None, [[0.3, 0.0], [-0.4, 0.0]], [[2.0, 0.0], [0.0, 0.0]]])
    def test_initial_weights_have_the_right_gram_matrix(self, overlap):
        network = Network(second_layer=[1.0, 1.0])
        problem = Problem("easy-hard", network, init_radius=2.0, initial_overlap=overlap)
        B = problem.initial_weights()
        np.testing.assert_allclose(B @ B.T, 4.0 * np.eye(2), atol=1e-14)
        np.testing.assert_array_equal(B[:, :2], np.zeros((2, 2)) if overlap is None else overlap)
        assert B[0, 3] == 0.0  # lower triangular, as a Cholesky factor
        assert np.all(np.diag(B[:, 2:]) >= 0.0)

    def test_initial_weights_of_radius_zero(self):
        np.testing.assert_array_equal(
            Problem("linear", init_radius=0.0).initial_weights(), np.zeros((1, 2))
        )

    def test_equality_and_hash(self):
        one = Problem("easy-hard", initial_overlap=[[0.5, 0.0]])
        same = Problem("easy-hard", initial_overlap=np.array([[0.5, 0.0]]))
        assert one == same
        assert hash(one) == hash(same)
        assert one != Problem("easy-hard")
        assert one != "easy-hard"

    def test_pickling(self):
        problem = Problem(Target(noisy_square), Network("silu", [1.0, -1.0]), "pseudo-huber")
        _ = problem.target.hard_basis
        assert pickle.loads(pickle.dumps(problem)) == problem


class TestConfig:
    @pytest.mark.parametrize(
        "problem",
        [
            Problem("linear"),
            Problem(
                Target("easy-hard", noise=0.2, hard_directions=[[0.0], [1.0]]),
                Network("erf", [1.0, 0.5]),
                "pseudo-huber",
                init_radius=0.7,
                weight_decay=0.01,
                initial_overlap=[[0.1, 0.0], [0.2, 0.0]],
            ),
            Problem(Target("product", hard_directions=[0])),
        ],
    )
    def test_round_trip(self, problem):
        assert Problem.from_config(json.loads(json.dumps(problem.to_config()))) == problem

    def test_custom_laws_must_be_supplied(self):
        loss = Loss(lambda f, y: f - y, lambda f, y: 0 * f + 1, lambda f, y: 0 * f, name="odd")
        problem = Problem(Target(first, k=2, hard_directions=[1]), Network(CUBIC), loss)
        config = json.loads(json.dumps(problem.to_config()))
        assert config["target"]["label"] == {"custom": "first"}
        assert config["network"]["activation"] == {"custom": "cubic"}
        assert config["loss"] == {"custom": "odd"}
        supplied = {"label": first, "activation": CUBIC, "loss": loss}
        assert Problem.from_config(config, **supplied) == problem
        for name in supplied:
            rest = {key: value for key, value in supplied.items() if key != name}
            with pytest.raises(ValueError, match=f"{name} must be supplied.* custom"):
                Problem.from_config(config, **rest)

    def test_a_changed_catalogue_entry_is_custom(self):
        changed = Activation(np.sin, np.cos, lambda r: -np.sin(r), name="gelu")
        assert Network(changed).to_config()["activation"] == {"custom": "gelu"}

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({}, "problem must have a key 'target'"),
            ({"target": "linear", "los": "square"}, r"a key of problem .*did you mean 'loss'"),
            ({"target": {"noise": 1.0}}, "target must have a key 'label'"),
            ({"target": "linear", "network": {"neuron": 1}}, r"a key of network .*'neurons'"),
            ({"target": "linear", "network": 3}, "network must be a Network, got 3"),
            ("linear", "problem must be a table of settings, got 'linear'"),
        ],
    )
    def test_bad_configs(self, config, message):
        with pytest.raises(ValueError, match=message):
            Problem.from_config(config)


def test_what_solves_ask_of_labels_is_asked_once():
    calls = []

    def label(z, eps):
        calls.append(len(z))
        return z[:, 0] ** 2

    problem = Problem(Target(label, hard_directions=[0]), Network("gelu"), "pseudo-huber")
    method, sampling = GradientDescent(0.1, 1), Sampling(n_paths=64, replicates=2)
    counts = []
    for _ in range(3):
        solve(problem, 2.0, method, sampling)
        counts.append(len(calls))
        calls.clear()
    # Later: those of the paths, one for each replicate, and for the place of the hard coordinates.
    assert counts[0] > 50 > counts[1] == counts[2]
    assert problem.with_second_layer([2.0]).__dict__.get("_remembered") is None


def test_settings_are_replaced_one_at_a_time():
    network = dataclasses.replace(Network("gelu", [1.0, 1.0], biases=0.5), second_layer=[1.0, 2.0])
    assert (network.second_layer, network.biases) == ((1.0, 2.0), (0.5, 0.5))
    assert dataclasses.replace(Target("linear"), noise=0.1).noise == 0.1


def test_equal_biases_are_one_configuration():
    one, other = Network("gelu", [1, 1], biases=0.5), Network("gelu", [1, 1], biases=[0.5, 0.5])
    assert one == other
    assert one.to_config() == other.to_config()


def test_a_record_of_own_laws_is_read_without_them():
    """What the laws that are missing decide is not checked against those that stand for them."""
    target = Target(lambda z, eps: z[:, 0] ** 2, hard_directions=[0])
    problem = Problem(target, loss="pseudo-huber", initial_overlap=[[0.1]])
    assert Problem.of_record(problem.to_config(), None) is None
    assert Problem.of_record(problem.to_config(), problem) is problem
