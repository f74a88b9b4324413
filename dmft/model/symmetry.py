"""Permutation and sign symmetries of neurons, kept through rounding.

Two neurons with the same initial weights and the same second-layer weight receive the same
gradient, in every step, and stay equal for ever. So do opposite ones with an even activation, and
opposite ones with opposite second-layer weights and an odd activation: they stay opposite. (Biases
are equal then, or opposite.) Sums in
floating point know nothing of it; the difference they leave, 1e-16 at first, grows exponentially
wherever the symmetric state is unstable. Gradients of such neurons are therefore copies of each
other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dmft.model.activations import Activation
    from dmft.model.network import Network

    FloatArray = NDArray[np.float64]

__all__ = ["NeuronSymmetry", "parity"]

# Where the parity of an activation is looked at, and up to what rounding.
_POINTS = np.geomspace(1e-3, 30.0, 64)
_ROUNDING = 1e-12


@dataclass(frozen=True)
class NeuronSymmetry:
    """Pairs of neurons that are equal or opposite.

    Attributes
    ----------
    pairs : tuple of (int, int, float, float)
        Neuron, the one (before it) that it is a copy of, and the signs of its weights and of its
        second-layer weight relative to that one.
    """

    pairs: tuple[tuple[int, int, float, float], ...] = ()

    @classmethod
    def of(
        cls,
        weights: FloatArray,
        second_layer: FloatArray,
        activation: Activation,
        biases: FloatArray | Sequence[float] = (),
    ) -> NeuronSymmetry:
        """Find the pairs among neurons, equal or opposite to the bit.

        Parameters
        ----------
        weights : ndarray, shape (m, ...)
        second_layer : ndarray, shape (m,)
        activation : Activation
        biases : ndarray, shape (m,) or (0,)

        Examples
        --------
        >>> from dmft.model.activations import get_activation
        >>> weights, layer = np.array([[1.0, 0.5], [1.0, 0.5], [-1.0, -0.5]]), np.ones(3)
        >>> NeuronSymmetry.of(weights, layer, get_activation("gelu")).pairs
        ((1, 0, 1.0, 1.0),)
        >>> NeuronSymmetry.of(weights, layer, get_activation("quadratic")).pairs
        ((1, 0, 1.0, 1.0), (2, 0, -1.0, 1.0))
        >>> biases = np.array([0.5, 0.1, -0.5])
        >>> NeuronSymmetry.of(weights, layer, get_activation("quadratic"), biases).pairs
        ((2, 0, -1.0, 1.0),)
        """
        b = biases if len(biases) else np.zeros(len(weights))
        pairs: list[tuple[int, int, float, float]] = []
        copies: set[int] = set()
        for j in range(1, len(weights)):
            for i in range(j):
                if i in copies or abs(second_layer[i]) != abs(second_layer[j]):
                    continue
                same = second_layer[i] == second_layer[j]
                if same and b[i] == b[j] and np.array_equal(weights[i], weights[j]):
                    pairs.append((j, i, 1.0, 1.0))
                elif (
                    b[i] == -b[j]
                    and np.array_equal(weights[i], -weights[j])
                    and ((sign := parity(activation)) and second_layer[j] == sign * second_layer[i])
                ):
                    pairs.append((j, i, -1.0, float(sign)))
                else:
                    continue
                copies.add(j)
                break
        return cls(tuple(pairs))

    def holding(self, weights: FloatArray, network: Network) -> NeuronSymmetry:
        """Return the pairs that weights (m, ...) and those of a network respect to the bit."""
        layer, b = network.second_layer, network.biases or np.zeros(len(weights))
        return NeuronSymmetry(
            tuple(
                (j, i, sign, sign_of_layer)
                for j, i, sign, sign_of_layer in self.pairs
                if layer[j] == sign_of_layer * layer[i]
                and b[j] == sign * b[i]
                and np.array_equal(weights[j], sign * weights[i])
            )
        )

    def impose(self, *arrays: FloatArray) -> None:
        """Make rows of arrays (m, ...), weights or gradients in them, copies where they should be.

        Examples
        --------
        >>> rows = np.array([[1.0, 2.0], [-1.0, -2.1]])
        >>> NeuronSymmetry(((1, 0, -1.0, 1.0),)).impose(rows)
        >>> rows
        array([[ 1.,  2.],
               [-1., -2.]])
        """
        for j, i, sign, _ in self.pairs:
            for rows in arrays:
                rows[j] = sign * rows[i]

    def impose_on_layer(self, layer: FloatArray) -> None:
        """Do the same with second-layer weights or their gradient, (m,) or (0,)."""
        for j, i, _, sign in self.pairs:
            if len(layer):
                layer[j] = sign * layer[i]

    def impose_on_biases(self, biases: FloatArray) -> None:
        """Do the same with biases or their gradient, (m,) or (0,)."""
        for j, i, sign, _ in self.pairs:
            if len(biases):
                biases[j] = sign * biases[i]


def parity(activation: Activation) -> int:
    """Return 1 for an even activation, -1 for an odd one, 0 for any other, to rounding.

    Examples
    --------
    >>> from dmft.model.activations import get_activation
    >>> [parity(get_activation(name)) for name in ("quadratic", "tanh", "gelu")]
    [1, -1, 0]
    """
    with np.errstate(all="ignore"):
        value, mirrored = activation.value(_POINTS), activation.value(-_POINTS)
        slope, mirrored_slope = activation.derivative(_POINTS), activation.derivative(-_POINTS)
        for sign in (1, -1):
            if all(
                np.allclose(there, here, rtol=_ROUNDING, atol=0.0, equal_nan=True)
                for here, there in ((sign * value, mirrored), (-sign * slope, mirrored_slope))
            ):
                return sign
    return 0
