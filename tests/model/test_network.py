"""The two-layer network."""

import numpy as np
import pytest

from dmft.model.activations import ACTIVATIONS, Activation
from dmft.model.network import Network

CUBIC = Activation(lambda r: r**3, lambda r: 3 * r**2, lambda r: 6 * r, name="cubic")


class TestNetwork:
    def test_settings(self):
        network = Network("tanh", np.array([1, -0.5]), neurons=2)
        assert network.second_layer == (1.0, -0.5)
        assert (network.m, network.neurons) == (2, 2)
        assert Network().activation is ACTIVATIONS["gelu"]
        assert Network(CUBIC).activation is CUBIC

    def test_output(self):
        network = Network("linear", [1.0, 2.0])
        np.testing.assert_array_equal(network.output([[1.0, 0.0], [1.0, -1.0]]), [3.0, -2.0])

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"activation": "gleu"}, r"activation must be one of .*did you mean 'gelu'"),
            ({"second_layer": []}, "second_layer must have at least one entry"),
            ({"second_layer": 1.0}, "second_layer must be a sequence of numbers"),
            ({"second_layer": "ab"}, "second_layer must be a sequence of numbers"),
            ({"second_layer": [[1.0]]}, r"second_layer must be .* got shape \(1, 1\)"),
            ({"second_layer": [1.0, np.nan]}, "second_layer must have finite entries"),
            ({"second_layer": [1.0], "neurons": 3}, "neurons must be the length of .*, 1, got 3"),
            ({"neurons": 1.5}, "neurons must be an integer >= 1, got 1.5"),
        ],
    )
    def test_bad_settings(self, settings, message):
        with pytest.raises(ValueError, match=message):
            Network(**settings)
