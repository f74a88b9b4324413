r"""What is learned, by what, under which loss: `Target`, `Network` and `Problem`.

Setting of Montanari & Wang, arXiv:2602.01434: inputs :math:`x \sim N(0, I_d)`, orthonormal latent
directions :math:`\Theta_*` with :math:`z = \Theta_*^T x \in R^k`, labels
:math:`y = \varphi(z, \varepsilon)` with :math:`\varepsilon \sim N(0, 1)`, a two-layer network
:math:`f(x) = \sum_j a_j \sigma(\langle\theta_j, x\rangle)` of `m` neurons whose first layer is
trained.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.machine_memory import available_memory, check_fits
from dmft._numerics.validation import (
    as_array,
    check_choice,
    check_finite_array,
    check_instance,
    check_integer,
    check_keys,
    check_real,
)
from dmft.model.activations import ACTIVATIONS, Activation, get_activation
from dmft.model.classification import ClassLaw, describe_label
from dmft.model.initialization import (
    INIT_LAWS,
    check_gram,
    check_radius,
    check_remainder,
    starting_coordinates,
)
from dmft.model.losses import LOSSES, Loss, get_loss
from dmft.model.targets import TargetFunction, get_target_function

__all__ = ["Network", "Problem", "Target"]

Array = NDArray[np.float64]
LabelFunction = Callable[[Array, Array], ArrayLike]
T = TypeVar("T")


@dataclass(frozen=True, init=False)
class Target:
    r"""Law of the labels, :math:`y = \varphi(z, \varepsilon)`.

    Parameters
    ----------
    label : str or callable
        A catalogue name (see `dmft.model.targets`), or a function ``(z (N, k), eps (N,)) -> y
        (N,)`` of independent standard normal `z` and `eps`, row by row and without chance of its
        own: it is tried at once. With `classes`, the noise decides the class: the
        function is then asked at ``eps = 0``.
    k : int, optional
        Number of latent directions; a catalogue name implies it, for a callable the default is 1.
    noise : float
        For a catalogue name, labels are :math:`\varphi(z) + \mathrm{noise}\cdot\varepsilon`. A
        callable gets `eps` as an argument, so here it must be 0.
    hard_directions : optional
        The latent directions that no number of O(1) steps can pick up: a sequence of coordinate
        indices, or an array (k, k_h) whose columns span them, or an empty sequence if there are
        none. Default None: known for the catalogue, found numerically for a callable and for
        classes (`dmft.model.hard_directions.hard_subspace`). On first use, a direction stated that
        labels clearly tell of is refused; one that is hard and not stated is not.
    classes : {"sign", "logistic"}, optional
        Make labels -1 and +1 of the function: its sign, or +1 with probability
        :math:`1/(1 + e^{-\beta(\varphi(z) - \text{threshold})})`. See `dmft.model.classification`.
    flip : float, optional
        Of ``classes="sign"``: labels are flipped with this probability, 0 <= flip < 1/2; default 0.
    slope : float, optional
        Of ``classes="logistic"``: :math:`\beta > 0`, default 1.
    threshold : float, optional
        Of either: what is subtracted from the function first, default 0.

    Raises
    ------
    ValueError
        If an argument is not allowed; if `label` fails, returns the wrong shape or numbers that are
        not real and finite, or other labels for the same rows; on first use if its hard directions
        cannot be decided, or are stated wrongly.

    Examples
    --------
    >>> Target("easy-hard").k
    2
    >>> Target("easy-hard").hard_basis
    array([[0.],
           [1.]])
    >>> target = Target(lambda z, eps: z[:, 0] ** 2 + 0.1 * eps)
    >>> target.uses_noise, target.hard_basis.shape
    (True, (1, 1))
    >>> Target("linear", classes="sign", flip=0.1).sample_labels([[0.3], [-2.0]], [0.0, 0.0])
    array([ 1., -1.])
    """

    label: str | LabelFunction
    k: int
    noise: float
    hard_directions: tuple[int, ...] | tuple[tuple[float, ...], ...] | None
    classes: ClassLaw | None

    def __init__(
        self,
        label: str | LabelFunction,
        k: int | None = None,
        noise: float = 0.0,
        hard_directions: Iterable[int] | ArrayLike | None = None,
        *,
        classes: str | None = None,
        flip: float | None = None,
        slope: float | None = None,
        threshold: float | None = None,
    ) -> None:
        noise = check_real("noise", noise, minimum=0.0)
        law = _class_law(classes, threshold, flip, slope)
        if k is not None:
            k = check_integer("k", k, minimum=1)
        if isinstance(label, str) or not callable(label):
            entry = get_target_function(label)
            if k is not None and k != entry.k:
                raise ValueError(f"k must be {entry.k} for label {entry.name!r}, got {k}")
            k = entry.k
        else:
            k = 1 if k is None else k
            if noise != 0.0:
                raise ValueError(
                    "noise must be 0 when label is a callable (which gets eps as its second "
                    f"argument), got {noise}"
                )
        if law is not None and noise != 0.0:
            raise ValueError(
                f"noise must be 0 for classes {law.law!r}, whose labels have noise of their own, "
                f"got {noise:g}"
            )
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "k", k)
        object.__setattr__(self, "noise", noise)
        object.__setattr__(self, "hard_directions", _hard_directions(hard_directions, k))
        object.__setattr__(self, "classes", law)
        if not isinstance(label, str):
            needed = 3 * 8.0 * 512  # bytes for each direction, to check the label
            check_fits("k", k, lambda k: needed * k, available_memory())
            self._check_label()

    def _check_label(self) -> None:
        """Raise unless a label of one's own is a function of the rows of z and eps."""
        rng = np.random.default_rng(0)
        z, eps = rng.standard_normal((512, self.k)), rng.standard_normal(512)
        y = self._values(z, eps)
        other = np.flatnonzero(self._values(z, eps) != y)
        if other.size:
            raise ValueError(
                f"label {self.name!r} must give the same labels every time, but {other.size} of "
                "512 change when it is called again; noise comes from its argument eps"
            )
        # Fewer rows, in another order; matrix products then round differently.
        some = np.arange(300)[::-1]
        again = self._values(np.ascontiguousarray(z[some]), eps[some])
        same = np.isclose(again, y[some], rtol=1e-9, atol=1e-12 * float(np.max(np.abs(y))))
        if not same.all():
            at = int(np.argmin(same))
            raise ValueError(
                f"label {self.name!r} must depend on one row of z and one eps only, but the same "
                f"row gives {y[some][at]:.6g} among 512 and {again[at]:.6g} among 300 others"
            )

    @property
    def name(self) -> str:
        """Catalogue name, or the name of the callable."""
        return self.label if isinstance(self.label, str) else _name_of(self.label)

    @property
    def description(self) -> str:
        """Name of the function, and what classes are made of it.

        Examples
        --------
        >>> Target("modulus", classes="sign", threshold=1).description
        'sign of modulus - 1'
        """
        return describe_label(self.to_config())

    @property
    def _entry(self) -> TargetFunction | None:
        return get_target_function(self.label) if isinstance(self.label, str) else None

    def sample_labels(self, z: ArrayLike, eps: ArrayLike) -> Array:
        """Return the labels at given latent coordinates and noise.

        Parameters
        ----------
        z : array_like, shape (N, k)
            Latent coordinates.
        eps : array_like, shape (N,)
            Noise, standard normal.

        Returns
        -------
        ndarray, shape (N,), float64

        Raises
        ------
        ValueError
            If `z` or `eps` has the wrong shape, or the label function fails, or returns another
            shape or non-finite numbers.

        Examples
        --------
        >>> Target("product", noise=0.5).sample_labels([[1.0, 2.0], [3.0, -1.0]], [0.0, 2.0])
        array([ 2., -2.])
        """
        z = as_array("z", z)
        eps = as_array("eps", eps)
        if z.ndim != 2 or z.shape[1] != self.k:
            raise ValueError(f"z must have shape (N, {self.k}), got shape {z.shape}")
        n = z.shape[0]
        if eps.shape != (n,):
            raise ValueError(f"eps must have shape ({n},), got shape {eps.shape}")
        if self.classes is None:
            return self._values(z, eps)
        return self.classes.draw(self._values(z, np.zeros(n)), eps)

    def class_probability(self, z: ArrayLike) -> Array:
        """Return the probability of the label +1 at given latent coordinates.

        Parameters
        ----------
        z : array_like, shape (N, k)

        Returns
        -------
        ndarray, shape (N,)

        Raises
        ------
        ValueError
            If the target has no `classes`, or as `sample_labels`.

        Examples
        --------
        >>> Target("linear", classes="logistic").class_probability([[0.0]])
        array([0.5])
        """
        if self.classes is None:
            raise ValueError(f"classes must be given for the probability of a label {self.name!r}")
        z = as_array("z", z)
        if z.ndim != 2 or z.shape[1] != self.k:
            raise ValueError(f"z must have shape (N, {self.k}), got shape {z.shape}")
        return self.classes.probability(self._values(z, np.zeros(len(z))))

    @functools.cached_property
    def has_sign_labels(self) -> bool:
        """Whether all labels are -1 or +1: stated by `classes`, otherwise found by trying.

        Examples
        --------
        >>> Target("linear").has_sign_labels, Target("linear", classes="sign").has_sign_labels
        (False, True)
        """
        if self.classes is not None:
            return True
        if isinstance(self.label, str):
            return False
        rng = np.random.default_rng(0)
        y = self._values(rng.standard_normal((512, self.k)), rng.standard_normal(512))
        return bool(np.all(np.abs(y) == 1.0))

    def _values(self, z: Array, eps: Array) -> Array:
        """Return the function itself at float64 arrays of the right shapes, checked."""
        n = len(z)
        entry = self._entry
        if entry is not None:
            y = np.asarray(entry(z, eps))
            return y + self.noise * eps if self.noise else y
        assert callable(self.label)
        try:
            result = self.label(z.copy(), eps.copy())  # a label may work in place
        except Exception as error:
            raise ValueError(
                f"label {self.name!r} failed on z {z.shape}, eps {eps.shape}: "
                f"{type(error).__name__}: {error}"
            ) from error
        expected = (
            f"label must return an array of shape (N,) = ({n},) from z (N,k) = {z.shape}, "
            "eps (N,); got "
        )
        try:
            raw = np.asarray(result)
            if np.ma.is_masked(result):
                raise TypeError("labels with masked entries")
            if raw.dtype.kind not in "fiubO":  # comparisons return booleans
                raise TypeError("labels that are no numbers")
            y = raw.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(
                f"{expected}{type(result).__name__} of {_dtype(result)}, not real numbers"
            ) from None
        if y.shape != (n,):
            raise ValueError(f"{expected}shape {y.shape}")
        bad = n - int(np.count_nonzero(np.isfinite(y)))
        if bad:
            raise ValueError(f"label returned non-finite values for {bad} of {n} samples")
        return y

    @functools.cached_property
    def uses_noise(self) -> bool:
        """Whether the labels depend on `eps`, found by changing `eps` at fixed `z`."""
        if self.classes is not None:
            return self.classes.is_random
        if isinstance(self.label, str):
            return self.noise > 0.0
        rng = np.random.default_rng(0)
        z = rng.standard_normal((512, self.k))
        y = self.sample_labels(z, rng.standard_normal(512))
        return any(
            not np.array_equal(y, self.sample_labels(z, scale * rng.standard_normal(512)))
            for scale in (1.0, 1.0, 1.0, 3.0)
        )

    @functools.cached_property
    def hard_basis(self) -> Array:
        r"""Orthonormal basis of the hard directions, shape (k, k_h); read-only.

        A direction :math:`v` is hard if :math:`E[\langle v, z\rangle \mid y, z_E] = 0`, with
        :math:`z_E` the coordinates in the easy subspace. Coordinate axes come out exactly.
        """
        stated = self.hard_directions
        entry = self._entry
        if stated is None and entry is not None and self.classes is None:
            stated = entry.hard_indices
        if stated is None:
            basis = self._found_hard_basis()
        elif all(isinstance(index, int) for index in stated):
            basis = np.eye(self.k)[:, np.array(stated, dtype=np.intp)]
        else:
            basis = _orthonormal(np.array(stated))
        if self.hard_directions:
            from dmft.model.hard_directions import refuse_easy

            refuse_easy(self.sample_labels, basis, uses_noise=self.uses_noise)
        basis = np.ascontiguousarray(basis)
        basis.flags.writeable = False
        return basis

    def _found_hard_basis(self) -> Array:
        """Hard directions by search; where classes have noise, with what is known of it."""
        from dmft.model.hard_directions import hard_subspace

        if self.classes is None:
            return hard_subspace(self.sample_labels, self.k, uses_noise=self.uses_noise)

        def unflipped(z: Array, eps: Array) -> Array:
            return np.where(self.class_probability(z) > 0.5, 1.0, -1.0)

        def probability(z: Array, eps: Array) -> Array:
            return self.class_probability(z)

        if self.classes.law == "sign":
            # Flips scale E[<v, z> y | z_E] by 1 - 2 flip > 0: they hide no direction.
            return hard_subspace(unflipped, self.k, uses_noise=False)
        # What is hard for the probability is hard for the label; what is not usually is not, but
        # may be too little to be seen through the noise.
        at_least = hard_subspace(probability, self.k, uses_noise=False)
        found = hard_subspace(self.sample_labels, self.k, uses_noise=True)
        if np.linalg.norm(at_least @ at_least.T - found @ found.T) > 1e-3:
            raise ValueError(
                f"hard_directions must be stated for {self.description!r}: numerically it is not "
                "clear whether directions that its probability tells of can be told from labels"
            )
        return at_least

    @functools.cached_property
    def is_even(self) -> bool:
        """Whether labels stay the same when all hard coordinates change sign, by trying.

        Examples
        --------
        >>> Target("product").is_even
        True
        """
        rng = np.random.default_rng(0)
        z, eps = rng.standard_normal((512, self.k)), rng.standard_normal(512)
        y, mirrored = self.sample_labels(z, eps), self.sample_labels(self.mirror(z.T).T, eps)
        return bool(np.allclose(y, mirrored, rtol=1e-9, atol=1e-12))

    def mirror(self, z: Array) -> Array:
        """Return latent coordinates (k, N) with the sign of the hard ones changed."""
        return np.asarray(z - 2.0 * (self.hard_basis @ (self.hard_basis.T @ z)))

    @functools.cached_property
    def easy_projector(self) -> Array:
        """Orthogonal projector on the easy subspace, shape (k, k); read-only.

        Examples
        --------
        >>> Target("easy-hard").easy_projector
        array([[1., 0.],
               [0., 0.]])
        """
        projector = np.eye(self.k) - self.hard_basis @ self.hard_basis.T
        projector.flags.writeable = False
        return projector

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict of plain types; a callable becomes ``{"custom": name}``.

        Examples
        --------
        >>> Target("modulus", noise=0.1).to_config()
        {'label': 'modulus', 'k': 1, 'noise': 0.1, 'hard_directions': None}
        """
        hard = self.hard_directions
        return {
            "label": self.label if isinstance(self.label, str) else {"custom": self.name},
            "k": self.k,
            "noise": self.noise,
            "hard_directions": None
            if hard is None
            else [list(row) if isinstance(row, tuple) else row for row in hard],
            # Only where there are some: files of earlier versions describe the same target.
            **({} if self.classes is None else self.classes.to_config()),
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], *, label: LabelFunction | None = None
    ) -> Target:
        """Return the target described by `config`, the inverse of `to_config`.

        Parameters
        ----------
        config : mapping
            Keys ``label``, ``k``, ``noise``, ``hard_directions``, ``classes``, ``flip``, ``slope``,
            ``threshold``; only the first is required.
        label : callable, optional
            The label function, needed where `config` says it is custom.

        Raises
        ------
        ValueError
            If a key or value is not allowed, or a custom `label` is not supplied.
        """
        keys = ("label", "k", "noise", "hard_directions", "classes", "flip", "slope", "threshold")
        settings = check_keys("target", config, keys, required=("label",))
        settings["label"] = _supplied("label", settings["label"], label)
        return cls(**settings)

    @classmethod
    def of_record(cls, config: Mapping[str, Any]) -> Target | None:
        """Return the target a result file speaks of; None if it has a custom label.

        Raises
        ------
        ValueError
            If the file describes none.
        """
        try:
            return cls.from_config(config)
        except ValueError:
            cls.from_config(config, label=_first)
            return None


@dataclass(frozen=True, init=False)
class Network:
    r"""Two-layer network :math:`f = \sum_j a_j \sigma(r_j)` with a fixed second layer.

    Parameters
    ----------
    activation : str, Activation or object
        A catalogue name (see `dmft.model.activations`) or an object with callables `value`,
        `derivative`, `second_derivative`.
    second_layer : sequence of float
        The weights :math:`a_j`, one per neuron, used as they are (put any 1/m into them).
    neurons : int, optional
        Number of neurons, if you want to state it; must be the length of `second_layer`.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    Examples
    --------
    >>> network = Network(activation="tanh", second_layer=[1.0, -0.5])
    >>> network.m, network.activation.name
    (2, 'tanh')
    """

    activation: Activation
    second_layer: tuple[float, ...]

    def __init__(
        self,
        activation: object = "gelu",
        second_layer: Iterable[float] | ArrayLike = (1.0,),
        neurons: int | None = None,
    ) -> None:
        object.__setattr__(self, "activation", get_activation(activation))
        weights = check_finite_array(
            "second_layer",
            second_layer if hasattr(second_layer, "__array__") else _listed(second_layer),
            ndim=1,
            expected="a sequence of numbers, one per neuron",
        )
        if weights.size == 0:
            raise ValueError("second_layer must have at least one entry, got none")
        if neurons is not None and check_integer("neurons", neurons, minimum=1) != weights.size:
            raise ValueError(
                f"neurons must be the length of second_layer, {weights.size}, got {neurons}"
            )
        object.__setattr__(self, "second_layer", tuple(weights.tolist()))

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
        return np.asarray(np.array(self.second_layer) @ self.activation.value(r))

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict of plain types; a custom law becomes ``{"custom": name}``.

        Examples
        --------
        >>> Network("gelu", [1.0, -0.5]).to_config()
        {'activation': 'gelu', 'second_layer': [1.0, -0.5]}
        """
        catalogued = ACTIVATIONS.get(self.activation.name) == self.activation
        name = self.activation.name
        return {
            "activation": name if catalogued else _custom(self.activation),
            "second_layer": list(self.second_layer),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, activation: object | None = None) -> Network:
        """Return the network described by `config`, the inverse of `to_config`.

        Parameters
        ----------
        config : mapping
            Keys ``activation``, ``second_layer``, ``neurons``, all optional.
        activation : Activation or object, optional
            The activation, needed where `config` says it is custom.

        Raises
        ------
        ValueError
            If a key or value is not allowed, or a custom `activation` is not supplied.
        """
        settings = check_keys("network", config, ("activation", "second_layer", "neurons"))
        if "activation" in settings:
            settings["activation"] = _supplied("activation", settings["activation"], activation)
        return cls(**settings)


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
        A catalogue name (see `dmft.model.losses`) or an object with callables `value`,
        `derivative`, `second_derivative`.
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
    ) -> None:
        if isinstance(target, str):
            target = Target(target)
        elif isinstance(target, Mapping):
            target = Target.from_config(target)
        if not isinstance(target, Target):
            raise ValueError(f"target must be a Target or a catalogue name, got {target!r}")
        if network is None:
            network = Network()
        elif isinstance(network, Mapping):
            network = Network.from_config(network)
        if not isinstance(network, Network):
            raise ValueError(f"network must be a Network, got {network!r}")
        object.__setattr__(self, "target", target)
        object.__setattr__(self, "network", network)
        object.__setattr__(self, "loss", get_loss(loss))
        gram = None if init_gram is None else check_gram(init_gram, self.m)
        object.__setattr__(self, "init_gram", gram)
        object.__setattr__(self, "init_radius", _radius(init_radius, gram, self.m))
        object.__setattr__(self, "init_law", check_choice("init_law", init_law, INIT_LAWS))
        object.__setattr__(
            self, "weight_decay", check_real("weight_decay", weight_decay, minimum=0.0)
        )
        overlap = None if initial_overlap is None else self._check_overlap(initial_overlap)
        object.__setattr__(self, "initial_overlap", overlap)
        decay = check_real("second_layer_weight_decay", second_layer_weight_decay, minimum=0.0)
        object.__setattr__(self, "second_layer_weight_decay", decay)

    def _check_overlap(self, initial_overlap: ArrayLike) -> Array:
        shape = (self.m, self.k)
        overlap = check_finite_array(
            "initial_overlap", initial_overlap, ndim=2, expected=f"an array of shape {shape}"
        )
        if overlap.shape != shape:
            raise ValueError(
                f"initial_overlap must have shape (m, k) = {shape}, got shape {overlap.shape}"
            )
        largest = float(np.linalg.norm(overlap, 2))
        if not (self.init_gram is None and isinstance(self.init_radius, float)):
            check_remainder("initial_overlap", self.gram, overlap)
        elif largest > self.init_radius * (1.0 + 1e-12):
            raise ValueError(
                "initial_overlap must have singular values of at most init_radius = "
                f"{self.init_radius:g}, got {largest:g}"
            )
        hard = self.target.hard_basis
        leak = float(np.max(np.abs(overlap @ hard), initial=0.0))
        if 0.0 < leak <= 1e-12 * self.largest_radius:  # rounding of a basis that is not along axes
            overlap = overlap - overlap @ hard @ hard.T
        elif leak > 0.0 and not self.target.is_even:
            raise ValueError(
                "initial_overlap must be zero on the hard directions unless the label is unchanged "
                f"when all of them change sign, got {leak:g} for label {self.target.name!r}"
            )
        overlap.flags.writeable = False
        return overlap

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
        return overlap is not None and bool(np.max(np.abs(overlap @ basis), initial=0.0) > 1e-300)

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
        """Return the same problem with other weights in its second layer.

        Parameters
        ----------
        second_layer : array_like, shape (m,)

        Examples
        --------
        >>> Problem("product").with_second_layer([0.5]).network.second_layer
        (0.5,)
        """
        network = Network(self.network.activation, np.asarray(second_layer), self.m)
        if network == self.network:
            return self
        changed = copy.copy(self)
        object.__setattr__(changed, "network", network)
        changed.__dict__.pop("_remembered", None)
        return changed

    def remembered(self, what: object, find: Callable[[], T]) -> T:
        """Return what is found about this problem, asking for it once."""
        known: dict[object, T] = self.__dict__.setdefault("_remembered", {})
        if what not in known:
            known[what] = find()
        return known[what]

    @property
    def is_catalogued(self) -> bool:
        """Whether label, activation and loss are the catalogue's own, whatever makes classes."""
        return (
            isinstance(self.target.label, str)
            and ACTIVATIONS.get(self.network.activation.name) == self.network.activation
            and LOSSES.get(self.loss.name) == self.loss
        )

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
        if isinstance(self.init_radius, float):
            return self.init_radius**2 * np.eye(self.m)
        return np.diag(np.square(self.init_radius))

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
        m, k = self.m, self.k
        weights = np.zeros((m, k + m))
        if not (self.init_gram is None and isinstance(self.init_radius, float)):
            overlap = np.zeros((m, k)) if self.initial_overlap is None else self.initial_overlap
            weights[:, :k], weights[:, k:] = starting_coordinates(self.gram, overlap)
            return weights
        if self.initial_overlap is None:
            weights[:, k:] = self.init_radius * np.eye(m)
            return weights
        weights[:, :k] = self.initial_overlap
        rest = self.init_radius**2 * np.eye(m) - self.initial_overlap @ self.initial_overlap.T
        # The Cholesky factor of a matrix that may be singular: L^T is the R factor of its root.
        values, vectors = np.linalg.eigh(rest)
        factor = np.linalg.qr(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T)[1].T
        weights[:, k:] = factor * np.where(np.diag(factor) < 0.0, -1.0, 1.0)
        return weights

    def sample_labels(self, z: ArrayLike, eps: ArrayLike) -> Array:
        """Return the labels, as `Target.sample_labels`, checked against what the loss allows.

        Parameters
        ----------
        z : array_like, shape (N, k)
            Latent coordinates.
        eps : array_like, shape (N,)
            Noise, standard normal.

        Returns
        -------
        ndarray, shape (N,), float64

        Raises
        ------
        ValueError
            As `Target.sample_labels`, and if the loss needs labels -1 and +1 and gets others.

        Examples
        --------
        >>> signs = Target("linear", classes="sign")
        >>> Problem(signs, loss="logistic").sample_labels([[0.3], [-1.0]], [0.0, 0.0])
        array([ 1., -1.])
        """
        y = self.target.sample_labels(z, eps)
        if self.loss.labels == "sign":
            other = y[np.abs(y) != 1.0]
            if other.size:
                raise ValueError(
                    f"label must return only -1 and +1 for loss {self.loss.name!r}, "
                    f"got {float(other[0]):g} (Target(..., classes='sign') makes such labels)"
                )
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
        if self.loss.labels == "sign" or self.loss.kernel_code is None:
            self.remembered("checked labels", self._check_labels)

    def _check_labels(self) -> None:
        rng = np.random.default_rng(0)
        y = self.sample_labels(rng.standard_normal((64, self.k)), rng.standard_normal(64))
        self.loss.check_at(np.unique(y)[:: max(1, len(np.unique(y)) // 8)])

    def _key(self) -> tuple[object, ...]:
        overlap, gram = self.initial_overlap, self.init_gram
        return (
            self.target,
            self.network,
            self.loss,
            self.init_radius,
            self.weight_decay,
            None if overlap is None else tuple(map(tuple, overlap.tolist())),
            None if gram is None else tuple(map(tuple, gram.tolist())),
            self.init_law,
            self.second_layer_weight_decay,
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
        catalogued = LOSSES.get(self.loss.name) == self.loss
        overlap, radius = self.initial_overlap, self.init_radius
        # Later settings only where they are not the default: older files stay those of the problem.
        later: dict[str, Any] = {}
        if self.init_gram is not None:
            later["init_gram"] = self.init_gram.tolist()
        if self.init_law != "sphere":
            later["init_law"] = self.init_law
        if self.second_layer_weight_decay:
            later["second_layer_weight_decay"] = self.second_layer_weight_decay
        return {
            "target": self.target.to_config(),
            "network": self.network.to_config(),
            "loss": self.loss.name if catalogued else _custom(self.loss),
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
    ) -> Problem:
        """Return the problem described by `config`, the inverse of `to_config`.

        Parameters
        ----------
        config : mapping
            Keys ``target`` (required), ``network``, ``loss``, ``init_radius``, ``weight_decay``,
            ``initial_overlap``, ``init_gram``, ``init_law``, ``second_layer_weight_decay``.
        label, activation, loss : optional
            The custom laws, each needed where `config` says it is custom.

        Raises
        ------
        ValueError
            If a key or value is not allowed, or a custom law is not supplied.
        """
        keys = ("target", "network", "loss", "init_radius", "weight_decay", "initial_overlap",
                "init_gram", "init_law", "second_layer_weight_decay")  # fmt: skip
        settings = check_keys("problem", config, keys, required=("target",))
        if isinstance(settings["target"], Mapping):
            settings["target"] = Target.from_config(settings["target"], label=label)
        if isinstance(settings.get("network"), Mapping):
            settings["network"] = Network.from_config(settings["network"], activation=activation)
        if "loss" in settings:
            settings["loss"] = _supplied("loss", settings["loss"], loss)
        return cls(**settings)

    @classmethod
    def of_record(cls, config: Mapping[str, Any], given: Problem | None) -> Problem | None:
        """Return the problem a result file speaks of.

        Parameters
        ----------
        config : mapping
            As in the file.
        given : Problem or None
            The problem, where its custom laws are not in the file.

        Returns
        -------
        Problem or None
            None if the file has a custom law and no problem is given.

        Raises
        ------
        ValueError
            If `given` is not the problem of the file, or the file describes none.
        """
        if given is None:
            try:
                return cls.from_config(config)
            except ValueError:  # for want of a custom law, or is there more to it?
                cls.from_config(config, label=_first, activation="gelu", loss="square")
                return None
        check_instance("problem", given, Problem)
        asked = given.to_config()
        for key in {**config, **asked}:
            stored, own = config.get(key), asked.get(key)
            if stored != own:
                raise ValueError(
                    f"problem must be the one in the file; its {key} is {stored}, got {own}"
                )
        return given


def _radius(
    init_radius: float | ArrayLike | None, gram: Array | None, m: int
) -> float | tuple[float, ...]:
    """Return the radius or radii, which a Gram matrix decides."""
    if gram is None:
        return check_radius(1.0 if init_radius is None else init_radius, m)
    own = np.sqrt(np.maximum(np.diag(gram), 0.0))
    if init_radius is not None:
        radii = np.broadcast_to(check_radius(init_radius, m), (m,))
        if not np.allclose(radii, own, rtol=1e-12, atol=0.0):
            raise ValueError(
                "init_radius must be left out with init_gram, whose diagonal says "
                f"{own.tolist()}, got {init_radius}"
            )
    return check_radius(own, m)


def _class_law(
    classes: str | None, threshold: float | None, flip: float | None, slope: float | None
) -> ClassLaw | None:
    """Return the law of the classes; None, and nothing else given, if there are none."""
    if classes is not None:
        return ClassLaw.of(classes, threshold, flip, slope)
    for name, value in (("threshold", threshold), ("flip", flip), ("slope", slope)):
        if value is not None:
            raise ValueError(f"{name} must be left out without classes, got {value!r}")
    return None


def _name_of(function: object) -> str:
    """Name of a callable for messages and records."""
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__


def _first(z: Array, eps: Array) -> Array:
    """Stand in for a custom label where the other settings are looked at."""
    first: Array = z[:, 0]
    return first


def _listed(values: object) -> object:
    """Return iterables that are no text as lists, anything else as it is."""
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str) else values


def _custom(law: Activation | Loss) -> dict[str, str]:
    """Return the entry of a law of one's own in a configuration."""
    numerical = {} if law.derivatives == "given" else {"derivatives": law.derivatives}
    return {"custom": law.name, **numerical}


def _dtype(values: object) -> str:
    """Return what a label function returned is made of."""
    kind = getattr(values, "dtype", None)
    return "other things" if kind is None else str(kind)


def _supplied(argument: str, entry: object, supplied: object | None) -> Any:
    """Return the law a configuration entry stands for: itself, or what the caller supplies."""
    if not isinstance(entry, Mapping):
        return entry
    check_keys(argument, entry, ("custom", "derivatives"), required=("custom",))
    if supplied is None:
        raise ValueError(
            f"{argument} must be supplied: the configuration records only the name of a custom "
            f"one, {entry['custom']!r}"
        )
    return supplied


def _hard_directions(
    value: Iterable[int] | ArrayLike | None, k: int
) -> tuple[int, ...] | tuple[tuple[float, ...], ...] | None:
    """Return hard directions in plain form: sorted indices, or the rows of a (k, k_h) array."""
    if value is None:
        return None
    expected = (
        f"None, a sequence of distinct indices from 0 to {k - 1}, or an array (k, k_h) with k = {k}"
    )
    try:
        array = np.asarray(value if isinstance(value, np.ndarray) else list(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"hard_directions must be {expected}, got {value!r}") from None
    if array.size == 0 and array.shape in ((0,), (k, 0)):
        return ()
    if array.ndim == 1 and array.dtype.kind in "iu":
        indices = sorted(int(index) for index in array)
        if len(set(indices)) < len(indices) or indices[0] < 0 or indices[-1] >= k:
            raise ValueError(f"hard_directions must be {expected}, got {array.tolist()}")
        return tuple(indices)
    if array.ndim != 2 or array.shape[0] != k or array.dtype.kind not in "iuf":
        raise ValueError(f"hard_directions must be {expected}, got {array.tolist()}")
    columns = array.astype(np.float64)
    if not np.all(np.isfinite(columns)):
        raise ValueError("hard_directions must have finite entries")
    singular = np.linalg.svd(columns, compute_uv=False)
    if array.shape[1] > k or singular[-1] <= 1e-10 * singular[0]:
        raise ValueError(
            "hard_directions must have linearly independent columns, got singular values "
            f"{singular.tolist()}"
        )
    return tuple(map(tuple, columns.tolist()))


def _orthonormal(columns: Array) -> Array:
    """Return an orthonormal basis of the column span, exact unit vectors if it is coordinate."""
    k, k_h = columns.shape
    support = np.flatnonzero(np.any(columns != 0.0, axis=1))
    if support.size == k_h:
        return np.eye(k)[:, support]
    basis = np.zeros((k, k_h))
    basis[support], _ = np.linalg.qr(columns[support])
    # QR fixes the columns up to sign: keep the direction the caller gave.
    signs = np.sign(np.sum(basis * columns, axis=0))
    return basis * np.where(signs == 0.0, 1.0, signs)
