"""Fingerprints of custom labels, activations, losses and inputs, which names do not tell apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dmft.model.drawn_inputs import labels_and_scales, leading_rows, n_leading_normals
from dmft.model.gradients import curvature, pre_activation_gradient

if TYPE_CHECKING:
    from dmft.model.problem import Problem

__all__ = ["fingerprint"]

# Enough to see what a label does beyond three standard deviations.
_POINTS = 4096


def fingerprint(problem: Problem) -> str | None:
    """Return a digest of labels, gradients and curvatures at a few thousand Gaussian points.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    str or None
        None if label, activation, loss and inputs are all from the catalogues.
    """
    config = problem.to_config()
    inputs = config.get("inputs", {})
    laws = [config["target"]["label"], config["network"]["activation"], config["loss"]]
    latents = inputs.get("latents", "")
    laws += latents if isinstance(latents, list) else [latents]
    own_scales = isinstance(inputs.get("scales"), Mapping)
    start = problem.spectral_start
    own_start = start is not None and callable(start.preprocessing)
    if all(isinstance(law, str) for law in laws) and not own_scales and not own_start:
        return None
    rng = np.random.default_rng(0)
    more: list[NDArray[np.float64]] = []
    if problem.inputs is None:
        z, eps = rng.standard_normal((_POINTS, problem.k)), rng.standard_normal(_POINTS)
        y = problem.sample_labels(z, eps)
    else:
        n = n_leading_normals(problem)
        leading = leading_rows(problem, rng.standard_normal((n, _POINTS)))
        y, scales = labels_and_scales(problem, leading)
        more = [leading[: problem.k], scales]
    r = rng.standard_normal((problem.m, _POINTS))
    with np.errstate(all="ignore"):
        values = [*more, y, *pre_activation_gradient(problem, r, y), curvature(problem, r, y)]
    if start is not None and own_start:
        values.append(start.weights(y))
    digest = hashlib.sha256()
    for array in values:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
