r"""The learning problem: target, network, loss, initial condition and weight decay.

Setting of Montanari & Wang, arXiv:2602.01434: inputs :math:`x \sim N(0, I_d)`, orthonormal latent
directions :math:`\Theta_*` with :math:`z = \Theta_*^T x \in R^k`, labels
:math:`y = \varphi(z, \varepsilon)` with :math:`\varepsilon \sim N(0, 1)`, a two-layer network
:math:`f(x) = \sum_j a_j \sigma(\langle\theta_j, x\rangle)` of `m` neurons whose first layer is
trained.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.frozen import set_fields
from dmft._numerics.validation import check_choice, check_keys, check_real
from dmft.model.catalogue import supplied
from dmft.model.initialization import INIT_LAWS, check_gram, first_weights
from dmft.model.input_laws import InputLaw, get_input_law
from dmft.model.losses import Loss, get_loss
from dmft.model.network import Network
from dmft.model.problem_checks import check_class_labels, checked_overlap, checked_radius, recorded
from dmft.model.quantile_laws import Quantile
from dmft.model.spectral_start import SpectralStart, check_start, get_spectral_start
from dmft.model.target import LabelFunction, Target
from dmft.model.target_inputs import check_inputs

__all__ = ["Problem"]

Array = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True, init=False, eq=False)
class Problem:
    r"""A learning problem: target, network, loss, initial condition and weight decay.

    Parameters
    ----------
    target : Target, str or mapping
        Law of the labels; a catalogue name or a table of its settings will do.
    network : Network or mapping
        The network. Default: one GELU neuron with second-layer weight 1.
    loss : str, Loss or object
        A catalogue name (see `dmft.model.losses`), a table of a name and a parameter (see
        `dmft.model.loss_families`), or an object with callables `value`, `derivative`,
        `second_derivative`.
    init_radius : float or sequence of m floats, optional
        Radius :math:`\rho \ge 0` of the sphere on which the columns of :math:`\Theta^0` are drawn,
        or one for each neuron; default 1. With `init_gram` it follows from the diagonal. At zero
        all pre-activations start at zero: kinked activations with slope 0 there, and even ones,
        then stay where they are.
    weight_decay : float
        :math:`\lambda \ge 0`, in the step
        :math:`\Theta \leftarrow \Theta - \eta(\nabla\mathrm{Risk} + \lambda\Theta)`.
    initial_overlap : array_like, shape (m, k), optional
        :math:`M(0) = \Theta^{0T}\Theta_*`, zero by default. Needs
        :math:`Q - M(0) M(0)^T \ge 0`, Q the Gram matrix, :math:`\rho^2 I` by default. On a hard
        direction the limit says zero; an overlap
        given there follows a run of finite dimension out of its O(1) steps (see `dmft.solve`), and
        needs labels that do not change when all hard coordinates change sign.
    init_gram : array_like, shape (m, m), optional
        Gram matrix :math:`Q = \Theta^{0T}\Theta^0` of the initial neurons, positive semidefinite
        (singular is allowed: equal neurons). By default neurons are independent, and orthogonal in
        the limit.
    init_law : {"sphere", "gaussian"}
        How weights are drawn at finite dimension: on spheres, where radii, a Gram matrix and
        overlaps given hold exactly, or Gaussian, where they hold in expectation. The limit is the
        same; runs of dimension d differ by :math:`O(d^{-1/2})`.
    second_layer_weight_decay : float
        :math:`\lambda_a \ge 0`, for a method that trains the second layer; others ignore it.
    bias_weight_decay : float
        :math:`\lambda_b \ge 0`, for a method that trains the biases; others ignore it.
    inputs : GaussianMixture, Elliptical, IndependentLatents, mapping or None
        Law of the inputs; default: standard Gaussian. A table has its name as ``law``:
        ``"gaussian"``, ``"gaussian-mixture"``, ``"elliptical"`` or ``"independent-latents"``.
    spectral_start : SpectralStart, str, callable or mapping, optional
        Start along the leading eigenvector of the data instead, see `dmft.SpectralStart`.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    Examples
    --------
    >>> problem = Problem(target="easy-hard", network=Network("gelu", [1.0, -0.5]))
    >>> problem.m, problem.k, problem.loss.name
    (2, 2, 'square')
    >>> correlated = Problem("linear", Network("relu", [1.0, -1.0]), init_gram=[[1, 0.5], [0.5, 1]])
    >>> correlated.initial_weights()[1, 1].round(12)
    np.float64(0.5)
    """

    target: Target
    network: Network
    loss: Loss
    init_radius: float | tuple[float, ...]
    weight_decay: float
    initial_overlap: Array | None
    init_gram: Array | None
    init_law: str
    second_layer_weight_decay: float
    bias_weight_decay: float
    inputs: InputLaw | None
    spectral_start: SpectralStart | None

    def __init__(
        self,
        target: Target | str | Mapping[str, Any],
        network: Network | Mapping[str, Any] | None = None,
        loss: object = "square",
        init_radius: float | ArrayLike | None = None,
        weight_decay: float = 0.0,
        initial_overlap: ArrayLike | None = None,
        init_gram: ArrayLike | None = None,
        init_law: str = "sphere",
        second_layer_weight_decay: float = 0.0,
        bias_weight_decay: float = 0.0,
        inputs: InputLaw | Mapping[str, Any] | str | None = None,
        spectral_start: object | None = None,
    ) -> None:
        if isinstance(target, str):
            target = Target(target)
        elif isinstance(target, Mapping):
            target = Target.from_config(target)
        if not isinstance(target, Target):
            raise ValueError(f"target must be a Target or a catalogue name, got {target!r}")
        law = get_input_law(inputs)
        check_inputs(target, law)
        if network is None:
            network = Network()
        elif isinstance(network, Mapping):
            network = Network.from_config(network)
        if not isinstance(network, Network):
            raise ValueError(f"network must be a Network, got {network!r}")
        set_fields(self, target=target.under(law), network=network, loss=get_loss(loss), inputs=law)
        set_fields(self, spectral_start=(start := get_spectral_start(spectral_start)))
        gram = None if init_gram is None else check_gram(init_gram, self.m)
        set_fields(
            self,
            init_gram=gram,
            init_radius=checked_radius(init_radius, gram, self.m),
            init_law=check_choice("init_law", init_law, INIT_LAWS),
            weight_decay=check_real("weight_decay", weight_decay, minimum=0.0),
        )
        overlap = None
        if initial_overlap is not None:
            stated = gram is not None
            overlap = checked_overlap(initial_overlap, self.target, self.gram, is_stated=stated)
        decay = check_real("second_layer_weight_decay", second_layer_weight_decay, minimum=0.0)
        of_biases = check_real("bias_weight_decay", bias_weight_decay, minimum=0.0)
        set_fields(
            self,
            initial_overlap=overlap,
            second_layer_weight_decay=decay,
            bias_weight_decay=of_biases,
        )
        if start is not None:
            check_start(self)

    @functools.cached_property
    def starts_on_hard(self) -> bool:
        """Whether an overlap with a hard direction is given, which makes that direction move.

        Examples
        --------
        >>> Problem("phase-retrieval", initial_overlap=[[0.02]]).starts_on_hard
        True
        >>> Problem("easy-hard", initial_overlap=[[0.02, 0.0]]).starts_on_hard
        False
        """
        overlap = self.initial_overlap
        basis = self.target.hard_basis
        if self.spectral_start is not None:
            return bool(basis.shape[1] > 0)
        return overlap is not None and bool(np.max(np.abs(overlap @ basis), initial=0.0) > 1e-300)

    @property
    def is_antithetic(self) -> bool:
        """Whether paths are antithetic pairs: a hard direction moves from a small overlap."""
        return self.spectral_start is None and self.starts_on_hard

    def with_hard_overlap(self, hard_overlap: ArrayLike) -> Problem:
        """Return the same problem with an initial overlap with its hard directions.

        Parameters
        ----------
        hard_overlap : array_like, broadcast to (m, k_h)
            With the columns of ``target.hard_basis``, added to the initial overlap.

        Raises
        ------
        ValueError
            If the overlap is too large for the radius, or the label is not even in the hard
            coordinates.

        Examples
        --------
        >>> Problem("phase-retrieval").with_hard_overlap(0.02).initial_overlap
        array([[0.02]])
        """
        hard = self.target.hard_basis
        overlap = np.broadcast_to(hard_overlap, (self.m, hard.shape[1])) @ hard.T
        if self.initial_overlap is not None:
            overlap = overlap + self.initial_overlap
        return replace(self, initial_overlap=overlap)

    def with_second_layer(self, second_layer: ArrayLike) -> Problem:
        """Return the same problem with other weights (m,) in its second layer.

        Examples
        --------
        >>> Problem("product").with_second_layer([0.5]).network.second_layer
        (0.5,)
        """
        return self.with_layers(second_layer=second_layer)

    def with_layers(
        self, second_layer: ArrayLike | None = None, biases: ArrayLike | None = None
    ) -> Problem:
        """Return the same problem with another second layer, or other biases; None keeps them.

        Parameters
        ----------
        second_layer, biases : array_like, shape (m,), optional

        Examples
        --------
        >>> Problem("product").with_layers(biases=[0.5]).network.biases
        (0.5,)
        """
        if second_layer is None and biases is None:
            return self
        network = self.network.with_layers(second_layer, biases)
        if network == self.network:
            return self
        changed = self._with_network(network)
        if network.second_layer == self.network.second_layer:
            changed.__dict__["_without_biases"] = self.without_biases
        return changed

    def _with_network(self, network: Network) -> Problem:
        changed = copy.copy(self)
        set_fields(changed, network=network)
        for name in ("_remembered", "_without_biases"):
            changed.__dict__.pop(name, None)
        return changed

    @property
    def without_biases(self) -> Problem:
        """The same problem for a network without biases; the same object where only these differ.

        Examples
        --------
        >>> Problem("product", Network("gelu", biases=0.5)).without_biases.network.biases
        ()
        """
        if not self.network.biases:
            return self
        found: Problem | None = self.__dict__.get("_without_biases")
        if found is None:
            found = self._with_network(self.network.with_layers(biases=np.zeros(self.m)))
            self.__dict__["_without_biases"] = found
        return found

    def remembered(self, what: object, find: Callable[[], T]) -> T:
        """Return what is found about this problem, asking for it once."""
        known: dict[object, T] = self.__dict__.setdefault("_remembered", {})
        if what not in known:
            known[what] = find()
        return known[what]

    @property
    def is_catalogued(self) -> bool:
        """Whether label, activation and loss are the catalogue's own, whatever makes classes."""
        laws_known = self.network.activation.in_catalogue and self.loss.in_catalogue
        return laws_known and isinstance(self.target.label, str)

    @property
    def m(self) -> int:
        """Number of neurons."""
        return self.network.m

    @property
    def k(self) -> int:
        """Number of latent directions."""
        return self.target.k

    @property
    def gram(self) -> Array:
        """Gram matrix of the initial neurons in the limit, shape (m, m).

        Examples
        --------
        >>> Problem("linear", Network("tanh", [1.0, 1.0]), init_radius=[1.0, 0.5]).gram
        array([[1.  , 0.  ],
               [0.  , 0.25]])
        """
        if self.init_gram is not None:
            return self.init_gram.copy()
        if self.spectral_start is not None:
            return self.spectral_start.gram(np.array(np.broadcast_to(self.init_radius, self.m)))
        return np.diag(np.square(np.broadcast_to(self.init_radius, self.m)))

    @property
    def largest_radius(self) -> float:
        """Radius of the longest initial neuron."""
        return float(np.max(self.init_radius))

    def initial_weights(self) -> Array:
        r"""Return the initial weights :math:`B_0` in latent and first fresh coordinates.

        Returns
        -------
        ndarray, shape (m, k + m)
            :math:`(M(0),\ \mathrm{chol}(Q - M(0) M(0)^T))`, Q the Gram matrix: each neuron's
            components along the latent directions, then along m directions orthogonal to them.

        Examples
        --------
        >>> Problem("linear", init_radius=1.0, initial_overlap=[[0.6]]).initial_weights()
        array([[0.6, 0.8]])
        """
        stated = self.init_gram is not None or self.spectral_start is not None
        radius = None if stated else self.init_radius
        return first_weights(self.gram, self.initial_overlap, radius, self.k)

    def sample_labels(
        self, z: ArrayLike, eps: ArrayLike, component: ArrayLike | None = None
    ) -> Array:
        """Return the labels, as `Target.sample_labels`, checked against what the loss allows.

        Parameters
        ----------
        z : array_like, shape (N, k)
            Latent coordinates.
        eps : array_like, shape (N,)
            Noise, standard normal.
        component : array_like of int, shape (N,), optional
            Clusters, where labels depend on them.

        Returns
        -------
        ndarray, shape (N,), float64

        Raises
        ------
        ValueError
            As `Target.sample_labels`, and if the loss needs labels -1 and +1, or labels above a
            number, and gets others.

        Examples
        --------
        >>> signs = Target("linear", classes="sign")
        >>> Problem(signs, loss="logistic").sample_labels([[0.3], [-1.0]], [0.0, 0.0])
        array([ 1., -1.])
        """
        y = self.target.sample_labels(z, eps, component)
        check_class_labels(self.loss, y)
        return y

    def check_labels(self) -> None:
        """Raise unless the labels are what the loss allows, by trying some.

        What solves and simulates calls it first, so that a wrong label is said before the work
        begins.

        Raises
        ------
        ValueError
            As `sample_labels`, and if the derivatives of a loss of one's own are wrong at them.

        Examples
        --------
        >>> Problem("linear", loss="logistic").check_labels()
        Traceback (most recent call last):
        ...
        ValueError: label must return only -1 and +1 for loss 'logistic', got 0.12573
        (Target(..., classes='sign') makes such labels)
        """
        loss = self.loss
        if loss.labels == "sign" or loss.kernel_code is None or loss.labels_above > -np.inf:
            self.remembered("checked labels", self._check_labels)

    def _check_labels(self) -> None:
        y = self.sample_labels(*self.target.trial(64))
        self.loss.check_at(np.unique(y)[:: max(1, len(np.unique(y)) // 8)])

    def _key(self) -> tuple[object, ...]:
        values = [getattr(self, entry.name) for entry in fields(self)]
        return tuple(
            tuple(map(tuple, value.tolist())) if isinstance(value, np.ndarray) else value
            for value in values
        )

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Problem) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict of plain types; custom laws become ``{"custom": name}``.

        Examples
        --------
        >>> config = Problem("modulus", loss="pseudo-huber").to_config()
        >>> config["loss"], config["init_radius"]
        ('pseudo-huber', 1.0)
        >>> Problem.from_config(config) == Problem("modulus", loss="pseudo-huber")
        True
        """
        overlap, radius = self.initial_overlap, self.init_radius
        # Later settings only where they are not the default: older files stay those of the problem.
        later: dict[str, Any] = {}
        if self.init_gram is not None:
            later["init_gram"] = self.init_gram.tolist()
        if self.init_law != "sphere":
            later["init_law"] = self.init_law
        if self.second_layer_weight_decay:
            later["second_layer_weight_decay"] = self.second_layer_weight_decay
        if self.bias_weight_decay:
            later["bias_weight_decay"] = self.bias_weight_decay
        if self.inputs is not None:
            later["inputs"] = self.inputs.to_config()
        if self.spectral_start is not None:
            later["spectral_start"] = self.spectral_start.to_config()
        return {
            "target": self.target.to_config(),
            "network": self.network.to_config(),
            "loss": self.loss.config,
            "init_radius": radius if isinstance(radius, float) else list(radius),
            "weight_decay": self.weight_decay,
            "initial_overlap": None if overlap is None else overlap.tolist(),
            **later,
        }

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        *,
        label: LabelFunction | None = None,
        activation: object | None = None,
        loss: object | None = None,
        quantile: Quantile | Sequence[Quantile] | None = None,
        preprocessing: object | None = None,
    ) -> Problem:
        """Return the problem described by `config`, the inverse of `to_config`.

        Parameters
        ----------
        config : mapping
            Keys ``target`` (required), ``network``, ``loss``, ``init_radius``, ``weight_decay``,
            ``initial_overlap``, ``init_gram``, ``init_law``, ``second_layer_weight_decay``,
            ``bias_weight_decay``, ``inputs``, ``spectral_start``.
        label, activation, loss, quantile, preprocessing : optional
            The custom laws, each needed where `config` says it is custom.

        Raises
        ------
        ValueError
            If a key or value is not allowed, or a custom law is not supplied.
        """
        keys = ("target", "network", "loss", "init_radius", "weight_decay", "initial_overlap",
                "init_gram", "init_law", "second_layer_weight_decay",
                "bias_weight_decay", "inputs", "spectral_start")  # fmt: skip
        settings = check_keys("problem", config, keys, required=("target",))
        if isinstance(settings["target"], Mapping):
            settings["target"] = Target.from_config(settings["target"], label=label)
        if isinstance(settings.get("network"), Mapping):
            settings["network"] = Network.from_config(settings["network"], activation=activation)
        if "loss" in settings:
            settings["loss"] = supplied("loss", settings["loss"], loss)
        settings["inputs"] = get_input_law(settings.get("inputs"), quantile=quantile)
        start = settings.pop("spectral_start", None)
        return cls(**settings, spectral_start=get_spectral_start(start, preprocessing))

    @classmethod
    def of_record(cls, config: Mapping[str, Any], given: Problem | None) -> Problem | None:
        """Return the problem a result file speaks of.

        Returns
        -------
        Problem or None
            None if the file has a custom law and none is given.

        Raises
        ------
        ValueError
            If `given`, needed for custom laws, is another, or the file describes none.
        """
        return recorded(cls, config, given)
