r"""The law of the labels: `Target`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.frozen import set_fields
from dmft._numerics.machine_memory import available_memory, check_fits
from dmft._numerics.validation import as_array, check_integer, check_keys, check_real
from dmft.model.catalogue import law_name, supplied
from dmft.model.classification import COMPONENT, ClassLaw, describe_label
from dmft.model.features import is_even_along, reflected
from dmft.model.label_functions import TargetFunction, get_target_function
from dmft.model.law_sources import custom_entry
from dmft.model.stated_directions import StatedDirections, check_stated
from dmft.model.target_directions import hard_basis_of, sign_flips_of
from dmft.model.target_inputs import (
    check_clusters,
    check_inputs,
    check_label,
    own_label_values,
    takes_component,
)

if TYPE_CHECKING:
    from dmft.model.input_laws import InputLaw

__all__ = ["LabelFunction", "Target", "first_coordinate"]

Array = NDArray[np.float64]
Integers = NDArray[np.intp]
LabelFunction = Callable[..., ArrayLike]


@dataclass(frozen=True, init=False)
class Target:
    r"""Law of the labels, :math:`y = \varphi(z, \varepsilon)`.

    Parameters
    ----------
    label : str, mapping or callable, optional
        A catalogue name or a table of a name and a parameter (see `dmft.model.label_functions`), or
        a function
        ``(z (N, k), eps (N,)) -> y (N,)`` of independent standard normal `z` and `eps`, row by row
        and without chance of its own: it is tried at once. With `classes`, the noise decides the
        class, and the function is evaluated at ``eps = 0``. A function of three arguments,
        ``(z, eps, component (N,))``, also sees the cluster, of inputs that are a mixture. To be
        left out with ``classes="component"``.
    k : int, optional
        Number of latent directions; a catalogue name implies it, for a callable the default is 1.
    noise : float
        Labels are :math:`\varphi(z) + \mathrm{noise}\cdot\varepsilon`. For a callable that uses
        its argument `eps` itself it must be 0.
    hard_directions : optional
        The latent directions that no number of O(1) steps can pick up: a sequence of coordinate
        indices, or an array (k, k_h) whose columns span them, or an empty sequence if there are
        none. Default None: known for the catalogue, found numerically for a callable and for
        classes (`dmft.model.hard_directions.hard_subspace`). On first use, a direction stated that
        labels clearly tell of is refused; one that is hard and not stated is not.
    classes : {"sign", "logistic", "component"}, optional
        Make labels -1 and +1 of the function: its sign, or +1 with probability
        :math:`1/(1 + e^{-\beta(\varphi(z) - \text{threshold})})`. See `dmft.model.classification`.
        Or the cluster of a mixture of two: -1 in the first, +1 in the second.
    flip : float, optional
        Of ``"sign"`` and ``"component"``: labels are flipped with this probability, 0 <= flip <
        1/2; default 0.
    slope : float, optional
        Of ``classes="logistic"``: :math:`\beta > 0`, default 1.
    threshold : float, optional
        Of ``"sign"`` and ``"logistic"``: what is subtracted from the function first, default 0.

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
    >>> Target(classes="component").sample_labels([[0.3], [-2.0]], [0.0, 0.0], [1, 0])
    array([ 1., -1.])
    """

    label: str | LabelFunction | TargetFunction
    k: int
    noise: float
    hard_directions: StatedDirections | None
    classes: ClassLaw | None
    inputs: InputLaw | None = field(init=False, compare=False, repr=False)

    def __init__(
        self,
        label: str | LabelFunction | Mapping[str, Any] | None = None,
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
        law = ClassLaw.of(classes, threshold, flip, slope)
        if k is not None:
            k = check_integer("k", k, minimum=1)
        by_component = law is not None and law.law == COMPONENT
        if by_component != (label is None or label == COMPONENT):
            raise ValueError(
                f"label must be left out with classes 'component', and given without, got {label!r}"
                f" and classes {classes!r}"
            )
        if by_component:
            label, k = COMPONENT, 1 if k is None else k
        elif isinstance(label, str) or not callable(label):
            entry = get_target_function(label)
            if k not in (None, entry.k):
                raise ValueError(f"k must be {entry.k} for label {entry.name!r}, got {k}")
            k = entry.k
            label = entry if entry.parameters else entry.name
        else:
            k = 1 if k is None else k
        if law is not None and noise != 0.0:
            raise ValueError(
                f"noise must be 0 for classes {law.law!r}, whose labels have noise of their own, "
                f"got {noise:g}"
            )
        assert label is not None
        stated = check_stated(hard_directions, k)
        set_fields(
            self, label=label, k=k, noise=noise, hard_directions=stated, classes=law, inputs=None
        )
        if not isinstance(label, str):
            needed = 3 * 8.0 * 512  # bytes for each direction, to check the label
            check_fits("k", k, lambda k: needed * k, available_memory())
            check_label(self.name, self._values, self.trial(512))
            if noise != 0.0 and self._label_uses_eps():
                raise ValueError(
                    f"noise must be 0 for a label that has noise of its own, as {self.name!r} by "
                    f"its argument eps, got {noise:g}"
                )

    @property
    def name(self) -> str:
        """Catalogue name, or the name of the callable."""
        entry = self._entry
        if entry is None:
            return COMPONENT if self.label == COMPONENT else _name_of(self.label)
        return law_name(entry.config)

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
        if isinstance(self.label, TargetFunction):
            return self.label
        if not isinstance(self.label, str) or self.label == COMPONENT:
            return None
        return get_target_function(self.label)

    @functools.cached_property
    def uses_component(self) -> bool:
        """Whether labels depend on the cluster of a mixture.

        Examples
        --------
        >>> Target(lambda z, eps, component: z[:, 0] + component).uses_component
        True
        """
        return self.label == COMPONENT or takes_component(self.label)

    def under(self, inputs: InputLaw | None) -> Target:
        """Return the same labels where the inputs have a law: its hard directions may be others.

        Parameters
        ----------
        inputs : GaussianMixture, Elliptical, IndependentLatents or None

        Raises
        ------
        ValueError
            If the law has another number of latent directions; if labels depend on a cluster that
            it does not have.

        Examples
        --------
        >>> from dmft.model.input_laws import GaussianMixture
        >>> clusters = GaussianMixture([0.5, 0.5], [[1.0], [-1.0]])
        >>> target = Target("modulus")
        >>> target.hard_basis.shape, target.under(clusters).hard_basis.shape
        ((1, 1), (1, 1))
        """
        if inputs == self.inputs:
            return self
        check_inputs(self, inputs)
        changed = object.__new__(type(self))
        own = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        set_fields(changed, **{**own, "inputs": inputs})
        if not isinstance(self.label, str):
            check_label(changed.name, changed._values, changed.trial(512))
        return changed

    def trial(self, n: int) -> tuple[Array, Array, Integers]:
        """Draw latent coordinates (n, k), noise and clusters, always the same."""
        rng = np.random.default_rng(0)
        x, eps = rng.standard_normal((n, self.k)), rng.standard_normal(n)
        if self.inputs is None:
            return x, eps, np.zeros(n, dtype=np.intp)
        drawn = self.inputs.draw(x.T, rng.standard_normal((self.inputs.n_normals, n)))
        return np.ascontiguousarray(drawn.z.T), eps, drawn.component

    def sample_labels(
        self, z: ArrayLike, eps: ArrayLike, component: ArrayLike | None = None
    ) -> Array:
        """Return the labels at given latent coordinates and noise.

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
            If an argument has the wrong shape or is missing, or the label function fails, or
            returns another shape or non-finite numbers.

        Examples
        --------
        >>> Target("product", noise=0.5).sample_labels([[1.0, 2.0], [3.0, -1.0]], [0.0, 2.0])
        array([ 2., -2.])
        """
        z, eps = self._latent(z), as_array("eps", eps)
        if eps.shape != z.shape[:1]:
            raise ValueError(f"eps must have shape ({len(z)},), got shape {eps.shape}")
        clusters = self._clusters(component, len(z))
        if self.classes is None:
            return self._values(z, eps, clusters)
        return self.classes.draw(self._values(z, np.zeros(len(z)), clusters), eps)

    def class_probability(self, z: ArrayLike, component: ArrayLike | None = None) -> Array:
        """Return the probability of the label +1 at given latent coordinates.

        Parameters
        ----------
        z : array_like, shape (N, k)
        component : array_like of int, shape (N,), optional
            Clusters, where labels depend on them.

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
        z = self._latent(z)
        clusters = self._clusters(component, len(z))
        return self.classes.probability(self._values(z, np.zeros(len(z)), clusters))

    def _clusters(self, component: ArrayLike | None, n: int) -> Integers:
        """Return clusters as integers; none where labels do not depend on them."""
        uses = self.uses_component
        return check_clusters(component, n, self.name) if uses else np.empty(0, dtype=np.intp)

    def _latent(self, z: ArrayLike) -> Array:
        """Return latent coordinates as a float64 array, checked to have shape (N, k)."""
        z = as_array("z", z)
        if z.ndim != 2 or z.shape[1] != self.k:
            raise ValueError(f"z must have shape (N, {self.k}), got shape {z.shape}")
        return z

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
        if isinstance(self.label, str) and self.inputs is None:
            return False
        return bool(np.all(np.abs(self._values(*self.trial(512))) == 1.0))

    def _values(self, z: Array, eps: Array, component: Integers) -> Array:
        """Return function and noise at arrays of the right shapes."""
        if self.label == COMPONENT:
            return np.where(component == 0, -1.0, 1.0)
        entry = self._entry
        y = self._own_values(z, eps, component) if entry is None else np.asarray(entry(z, eps))
        return y + self.noise * eps if self.noise else y

    def _own_values(self, z: Array, eps: Array, component: Integers) -> Array:
        """Return the values of a label of one's own, checked."""
        assert callable(self.label)
        given = (z, eps, component) if self.uses_component else (z, eps)
        return own_label_values(self.label, self.name, given)

    @functools.cached_property
    def uses_noise(self) -> bool:
        """Whether the labels depend on `eps`, found by changing `eps` at fixed `z`."""
        if self.classes is not None:
            return self.classes.is_random
        if isinstance(self.label, str) or self.noise:
            return self.noise > 0.0
        return self._label_uses_eps()

    def _label_uses_eps(self) -> bool:
        """Return whether a label of one's own depends on `eps`, whatever the noise."""
        z, eps, component = self.trial(512)
        y, rng = self._own_values(z, eps, component), np.random.default_rng(1)
        return any(
            not np.array_equal(y, self._own_values(z, scale * rng.standard_normal(512), component))
            for scale in (1.0, 1.0, 1.0, 3.0)
        )

    @functools.cached_property
    def hard_basis(self) -> Array:
        r"""Orthonormal basis of the hard directions, shape (k, k_h); read-only.

        A direction :math:`v` is hard if :math:`E[\langle v, z\rangle \mid y, z_E] = 0`, with
        :math:`z_E` the coordinates in the easy subspace (and the scale s of the inputs, where they
        have one, among what is given). Coordinate axes come out exactly.
        """
        basis = hard_basis_of(self, self._entry)
        basis = np.ascontiguousarray(basis)
        basis.flags.writeable = False
        return basis

    @functools.cached_property
    def is_even(self) -> bool:
        """Whether inputs and labels stay the same when all hard coordinates change sign.

        Of labels by trying.

        Examples
        --------
        >>> Target("product").is_even
        True
        """
        return is_even_along(self, self.hard_basis)

    def mirror(self, z: Array) -> Array:
        """Return latent coordinates (k, N) reflected in the hard directions (antithetic pairs)."""
        return reflected(z, self.hard_basis)

    def sign_flips(self) -> NDArray[np.int64]:
        """Find the sign patterns (s, k) that keep labels, with the same noise or its mirror image.

        Examples
        --------
        >>> Target("product").sign_flips()
        array([[-1, -1]])
        """
        return sign_flips_of(self)

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
        hard, entry = self.hard_directions, self._entry
        return {
            "label": self._own_config() if entry is None else entry.config,
            "k": self.k,
            "noise": self.noise,
            "hard_directions": None
            if hard is None
            else [list(row) if isinstance(row, tuple) else row for row in hard],
            # Only where there are some: files of earlier versions describe the same target.
            **({} if self.classes is None else self.classes.to_config()),
        }

    def _own_config(self) -> str | dict[str, Any]:
        """Return the entry of a label of one's own, with its source where a run file names it."""
        if self.label == COMPONENT:
            return COMPONENT
        return custom_entry(self.label, self.name)

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
        needed = (
            () if isinstance(config, Mapping) and config.get("classes") == COMPONENT else ("label",)
        )
        settings = check_keys("target", config, keys, required=needed)
        if "label" in settings:
            settings["label"] = supplied("label", settings["label"], label)
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
            cls.from_config(config, label=first_coordinate)
            return None


def _name_of(function: object) -> str:
    """Name of a callable for messages and records."""
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__


def first_coordinate(z: Array, eps: Array) -> Array:
    """Stand in for a custom label where the other settings are looked at."""
    first: Array = z[:, 0]
    return first
