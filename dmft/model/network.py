"""The network that learns: `Network`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.frozen import set_fields
from dmft._numerics.machine_memory import available_memory, check_fits
from dmft._numerics.validation import as_array, check_finite_array, check_integer, check_keys
from dmft.model.activations import Activation, get_activation
from dmft.model.biases import BiasEntry, check_biases
from dmft.model.catalogue import supplied

__all__ = ["Network"]

Array = NDArray[np.float64]


@dataclass(frozen=True, init=False)
class Network:
    r"""Two-layer network :math:`f = \sum_j a_j \sigma(r_j + b_j)`, its second layer and biases.

    Both are fixed unless the method trains them (`dmft.GradientDescent`).

    Parameters
    ----------
    activation : str, mapping, Activation or object
        A catalogue name (see `dmft.model.activations`), a table of a name and parameters (see
        `dmft.model.activation_families`), or an object with callables `value`, `derivative`,
        `second_derivative`.
    second_layer : sequence of float, optional
        The weights :math:`a_j`, one per neuron, used as they are (put any 1/m into them). Default:
        1/m for each of `neurons`.
    neurons : int, optional
        Number m of neurons; the length of `second_layer`, where that is given. Default: 1.
    biases : float, sequence of m floats, or mapping, optional
        Initial biases :math:`b_j`: the same for all neurons, one for each, or Gaussian ones,
        ``{"law": "gaussian", "std": 0.5, "mean": 0.0, "seed": 0}``, drawn once: their seed is part
        of the network, in theory and simulation alike. Default: none; zeros are none.

    Attributes
    ----------
    biases : tuple of float
        :math:`b_j`; empty where there are none.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    Examples
    --------
    >>> network = Network(activation="tanh", second_layer=[1.0, -0.5])
    >>> network.m, network.activation.name
    (2, 'tanh')
    >>> Network({"name": "swish", "beta": 1.5}).activation.name
    'swish(beta=1.5)'
    >>> Network("tanh", neurons=4).second_layer
    (0.25, 0.25, 0.25, 0.25)
    >>> Network("relu", [1.0, -1.0], biases=0.5).output([[-1.0], [0.5]])
    array([-1.])
    """

    activation: Activation
    second_layer: tuple[float, ...]
    biases: tuple[float, ...] = ()
    # What states them in a configuration.
    _biases: BiasEntry | None = field(default=None, init=False, compare=False, repr=False)

    def __init__(
        self,
        activation: object = "gelu",
        second_layer: Iterable[float] | ArrayLike | None = None,
        neurons: int | None = None,
        biases: float | Iterable[float] | ArrayLike | Mapping[str, Any] | None = None,
    ) -> None:
        found = get_activation(activation)
        if neurons is not None:
            neurons = check_integer("neurons", neurons, minimum=1)
        if second_layer is None:
            m = 1 if neurons is None else neurons
            check_fits("neurons", m, lambda m: 8.0 * m * m, available_memory())
            second_layer = np.full(m, 1.0 / m)
        weights = check_finite_array(
            "second_layer",
            second_layer if hasattr(second_layer, "__array__") else _listed(second_layer),
            ndim=1,
            expected="a sequence of numbers, one per neuron",
        )
        if weights.size == 0:
            raise ValueError("second_layer must have at least one entry, got none")
        if neurons not in (None, weights.size):
            raise ValueError(
                f"neurons must be the length of second_layer, {weights.size}, got {neurons}"
            )
        values, entry = check_biases(biases, weights.size)
        set_fields(
            self,
            activation=found,
            second_layer=tuple(weights.tolist()),
            biases=values,
            _biases=entry,
        )

    @property
    def m(self) -> int:
        """Number of neurons."""
        return len(self.second_layer)

    @property
    def neurons(self) -> int:
        """Number of neurons, the same as `m`."""
        return len(self.second_layer)

    def output(self, r: ArrayLike) -> Array:
        """Return the network output (N,) at pre-activations `r` (m, N).

        Examples
        --------
        >>> Network("quadratic", [1.0, -1.0]).output([[2.0, 3.0], [1.0, 1.0]])
        array([3., 8.])
        """
        r = as_array("r", r)
        if r.ndim != 2 or r.shape[0] != self.m:
            raise ValueError(f"r must have shape ({self.m}, N), got shape {r.shape}")
        return np.asarray(np.array(self.second_layer) @ self.activation.value(self.shifted(r)))

    def shifted(self, r: Array) -> Array:
        """Return the arguments of the activation at pre-activations (m, N): with biases added."""
        return r + np.array(self.biases)[:, np.newaxis] if self.biases else r

    def with_layers(
        self, second_layer: ArrayLike | None = None, biases: ArrayLike | None = None
    ) -> Network:
        """Return the network with another second layer, or other biases; None keeps them.

        Examples
        --------
        >>> Network("relu", [1.0, 1.0], biases=0.5).with_layers(biases=[0.5, 0.25]).biases
        (0.5, 0.25)
        """
        return Network(
            self.activation,
            self.second_layer if second_layer is None else np.asarray(second_layer),
            self.m,
            self._biases if biases is None else np.asarray(biases),
        )

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict of plain types; a custom law becomes ``{"custom": name}``.

        Examples
        --------
        >>> Network("gelu", [1.0, -0.5]).to_config()
        {'activation': 'gelu', 'second_layer': [1.0, -0.5]}
        """
        biases = {} if self._biases is None else {"biases": self._biases}
        return {
            "activation": self.activation.config,
            "second_layer": list(self.second_layer),
            **biases,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, activation: object | None = None) -> Network:
        """Return the network described by `config`, the inverse of `to_config`.

        Parameters
        ----------
        config : mapping
            Keys ``activation``, ``second_layer``, ``neurons``, ``biases``, all optional.
        activation : Activation or object, optional
            The activation, needed where `config` says it is custom.

        Raises
        ------
        ValueError
            If a key or value is not allowed, or a custom `activation` is not supplied.
        """
        settings = check_keys(
            "network", config, ("activation", "second_layer", "neurons", "biases")
        )
        if "activation" in settings:
            settings["activation"] = supplied("activation", settings["activation"], activation)
        return cls(**settings)


def _listed(values: object) -> object:
    """Return iterables that are no text as lists, anything else as it is."""
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str) else values
