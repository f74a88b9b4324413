r"""The law of the labels: `Target`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.frozen import set_fields
from dmft._numerics.machine_memory import available_memory, check_fits
from dmft._numerics.user_functions import real_array, result_of
from dmft._numerics.validation import as_array, check_integer, check_keys, check_real
from dmft._numerics.weighted_points import sign_patterns
from dmft.model.catalogue import law_name, supplied
from dmft.model.classification import ClassLaw, describe_label
from dmft.model.label_functions import TargetFunction, get_target_function
from dmft.model.law_sources import LawSource
from dmft.model.stated_directions import StatedDirections, check_stated, orthonormal_basis

__all__ = ["LabelFunction", "Target", "first_coordinate"]

Array = NDArray[np.float64]
LabelFunction = Callable[[Array, Array], ArrayLike]


@dataclass(frozen=True, init=False)
class Target:
    r"""Law of the labels, :math:`y = \varphi(z, \varepsilon)`.

    Parameters
    ----------
    label : str, mapping or callable
        A catalogue name or a table of a name and a parameter (see `dmft.model.label_functions`), or
        a function
        ``(z (N, k), eps (N,)) -> y (N,)`` of independent standard normal `z` and `eps`, row by row
        and without chance of its own: it is tried at once. With `classes`, the noise decides the
        class, and the function is evaluated at ``eps = 0``.
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

    label: str | LabelFunction | TargetFunction
    k: int
    noise: float
    hard_directions: StatedDirections | None
    classes: ClassLaw | None

    def __init__(
        self,
        label: str | LabelFunction | Mapping[str, Any],
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
        if isinstance(label, str) or not callable(label):
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
        stated = check_stated(hard_directions, k)
        set_fields(self, label=label, k=k, noise=noise, hard_directions=stated, classes=law)
        if not isinstance(label, str):
            needed = 3 * 8.0 * 512  # bytes for each direction, to check the label
            check_fits("k", k, lambda k: needed * k, available_memory())
            self._check_label()
            if noise != 0.0 and self._label_uses_eps():
                raise ValueError(
                    f"noise must be 0 for a label that has noise of its own, as {self.name!r} by "
                    f"its argument eps, got {noise:g}"
                )

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
        entry = self._entry
        return _name_of(self.label) if entry is None else law_name(entry.config)

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
        z, eps = self._latent(z), as_array("eps", eps)
        if eps.shape != z.shape[:1]:
            raise ValueError(f"eps must have shape ({len(z)},), got shape {eps.shape}")
        if self.classes is None:
            return self._values(z, eps)
        return self.classes.draw(self._values(z, np.zeros(len(z))), eps)

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
        z = self._latent(z)
        return self.classes.probability(self._values(z, np.zeros(len(z))))

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
        if isinstance(self.label, str):
            return False
        rng = np.random.default_rng(0)
        y = self._values(rng.standard_normal((512, self.k)), rng.standard_normal(512))
        return bool(np.all(np.abs(y) == 1.0))

    def _values(self, z: Array, eps: Array) -> Array:
        """Return function and noise at float64 arrays of the right shapes."""
        entry = self._entry
        y = self._own_values(z, eps) if entry is None else np.asarray(entry(z, eps))
        return y + self.noise * eps if self.noise else y

    def _own_values(self, z: Array, eps: Array) -> Array:
        """Return the values of a label of one's own, checked."""
        n = len(z)
        assert callable(self.label)
        failed = f"label {self.name!r} failed on z {z.shape}, eps {eps.shape}: "
        result = result_of(self.label, z.copy(), eps.copy(), failed=failed)  # may work in place
        expected = (
            f"label must return an array of shape (N,) = ({n},) from z (N,k) = {z.shape}, "
            "eps (N,); got "
        )
        try:
            y = np.array(real_array(result))
        except (TypeError, ValueError):
            made_of = getattr(result, "dtype", "other things")
            raise ValueError(
                f"{expected}{type(result).__name__} of {made_of}, not real numbers"
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
        if isinstance(self.label, str) or self.noise:
            return self.noise > 0.0
        return self._label_uses_eps()

    def _label_uses_eps(self) -> bool:
        """Return whether a label of one's own depends on `eps`, whatever the noise."""
        rng = np.random.default_rng(0)
        z = rng.standard_normal((512, self.k))
        y = self._own_values(z, rng.standard_normal(512))
        return any(
            not np.array_equal(y, self._own_values(z, scale * rng.standard_normal(512)))
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
        basis = self._found_hard_basis() if stated is None else orthonormal_basis(stated, self.k)
        if self.hard_directions:
            from dmft.model.hard_directions import refuse_easy

            refuse_easy(self.sample_labels, basis, uses_noise=self.uses_noise)
        basis = np.ascontiguousarray(basis)
        basis.flags.writeable = False
        return basis

    def _found_hard_basis(self) -> Array:
        """Find the hard directions; where classes have noise, from their probability."""
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
        y, reflected = self.sample_labels(z, eps), self.sample_labels(self.mirror(z.T).T, eps)
        return bool(np.allclose(y, reflected, rtol=1e-9, atol=1e-12))

    def mirror(self, z: Array) -> Array:
        """Return latent coordinates (k, N) reflected in the hard directions (antithetic pairs)."""
        return np.asarray(z - 2.0 * (self.hard_basis @ (self.hard_basis.T @ z)))

    def sign_flips(self) -> NDArray[np.int64]:
        """Find the sign patterns (s, k) that keep labels, with the same noise or its mirror image.

        Examples
        --------
        >>> Target("product").sign_flips()
        array([[-1, -1]])
        """
        rng = np.random.default_rng(0)
        z, eps = rng.standard_normal((1024, self.k)), rng.standard_normal(1024)
        y = self.sample_labels(z, eps)

        def keeps(flip: Array, noise: Array) -> bool:
            return bool(np.allclose(y, self.sample_labels(z * flip, noise), rtol=1e-9, atol=1e-12))

        kept = [
            flip
            for flip in sign_patterns(self.k)[1:]
            if keeps(flip, eps) or (self.uses_noise and keeps(flip, -eps))
        ]
        return np.array(kept, dtype=np.int64).reshape(-1, self.k)

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

    def _own_config(self) -> dict[str, Any]:
        """Return the entry of a label of one's own, with its source where a run file names it."""
        source = getattr(self.label, "source", None)
        stored = source.to_config() if isinstance(source, LawSource) else {}
        return {"custom": self.name, **stored}

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
