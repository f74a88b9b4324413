"""The hard directions of a target under its inputs: stated, of the catalogue, or found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.weighted_points import sign_patterns
from dmft.model.features import same_labels
from dmft.model.stated_directions import orthonormal_basis

if TYPE_CHECKING:
    from collections.abc import Callable

    from dmft.model.label_functions import TargetFunction
    from dmft.model.target import Target

__all__ = ["by_labels", "hard_basis_of", "sign_flips_of"]

Array = NDArray[np.float64]


def hard_basis_of(target: Target, entry: TargetFunction | None) -> Array:
    """Return an orthonormal basis (k, k_h) of the hard directions.

    Parameters
    ----------
    target : Target
    entry : TargetFunction, optional
        Of the catalogue.

    Raises
    ------
    ValueError
        If they cannot be decided, or are stated wrongly.
    """
    stated = target.hard_directions
    if stated is None:
        if entry is not None and target.classes is None and target.inputs is None:
            return orthonormal_basis(entry.hard_indices, target.k)
        return _found(target)
    basis = orthonormal_basis(stated, target.k)
    if stated:
        _refuse_easy(target, basis)
    return basis


def _refuse_easy(target: Target, basis: Array) -> None:
    """Raise if a direction stated as hard is clearly easy."""
    from dmft.model.hard_directions import MAX_K, refuse_easy, refuse_easy_of

    if target.inputs is None:
        refuse_easy(target.sample_labels, basis, uses_noise=target.uses_noise)
    elif target.k <= MAX_K:  # not of more: points are closed under all changes of sign
        from dmft.model.structured_directions import search_under

        found = search_under(
            target.sample_labels, target.k, target.inputs, uses_noise=target.uses_noise
        )
        refuse_easy_of(found, basis)


def _found(target: Target) -> Array:
    """Find the hard directions."""

    def search(label: Callable[..., Array], *, uses_noise: bool) -> Array:
        if target.inputs is None:
            from dmft.model.hard_directions import hard_subspace

            return hard_subspace(label, target.k, uses_noise=uses_noise)
        from dmft.model.structured_directions import hard_subspace_under

        return hard_subspace_under(label, target.k, target.inputs, uses_noise=uses_noise)

    return by_labels(target, search)


def by_labels(target: Target, search: Callable[..., Array]) -> Array:
    """Return what a search finds for labels; where classes have noise, for their probability."""
    if target.classes is None:
        return search(target.sample_labels, uses_noise=target.uses_noise)

    def unflipped(z: Array, eps: Array, *component: NDArray[np.intp]) -> Array:
        return np.where(target.class_probability(z, *component) > 0.5, 1.0, -1.0)

    def probability(z: Array, eps: Array, *component: NDArray[np.intp]) -> Array:
        return target.class_probability(z, *component)

    if target.classes.law != "logistic":
        # Flips scale E[<v, z> y | z_E] by 1 - 2 flip > 0: they hide no direction.
        return search(unflipped, uses_noise=False)
    # What is hard for the probability is hard for the label; what is not usually is not, but
    # may be too little to be seen through the noise.
    at_least = search(probability, uses_noise=False)
    found = search(target.sample_labels, uses_noise=True)
    if np.linalg.norm(at_least @ at_least.T - found @ found.T) > 1e-3:
        raise ValueError(
            f"hard_directions must be stated for {target.description!r}: numerically it is not "
            "clear whether directions that its probability tells of can be told from labels"
        )
    return at_least


def sign_flips_of(target: Target) -> NDArray[np.int64]:
    """Find the sign patterns (s, k) that keep labels of standard normal latents."""
    rng = np.random.default_rng(0)
    z, eps = rng.standard_normal((1024, target.k)), rng.standard_normal(1024)
    y = target.sample_labels(z, eps)

    def keeps(flip: Array, noise: Array) -> bool:
        return same_labels(y, target.sample_labels(z * flip, noise))

    kept = [
        flip
        for flip in sign_patterns(target.k)[1:]
        if keeps(flip, eps) or (target.uses_noise and keeps(flip, -eps))
    ]
    return np.array(kept, dtype=np.int64).reshape(-1, target.k)
