"""What tells custom labels, activations, losses and inputs apart, which names do not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft.model.catalogue import law_name
from dmft.model.drawn_inputs import labels_and_scales, leading_rows, n_leading_normals
from dmft.model.gradients import curvature, pre_activation_gradient
from dmft.model.problem import Problem

__all__ = ["fingerprint", "own_laws", "own_laws_entry", "problem_of_record", "same_own_laws"]

# Enough to see what a label does beyond three standard deviations.
_POINTS = 4096
_FEW = 24  # are enough to tell two laws of one name apart
_TOLERANCE = 1e-6  # elementary functions of two machines differ in the last bits


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
    if all(isinstance(entry, str) for entry in _entries(problem)):
        return None
    digest = hashlib.sha256()
    for array in _values(problem, _POINTS):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def own_laws(problem: Problem | None) -> tuple[float, ...] | None:
    """Return values of laws of one's own at a few points, by which a file knows them again.

    Parameters
    ----------
    problem : Problem or None

    Returns
    -------
    tuple of float or None
        None if there is no law of one's own. Where its source code is known, too: that may use
        other files.
    """
    if problem is None:
        return None
    own = [entry for entry in _entries(problem) if isinstance(entry, Mapping)]
    if not any("custom" in entry for entry in own):
        return None
    try:
        values = _values(problem, _FEW)
    except ValueError:  # of a function that is none of single points
        return None
    return tuple(np.concatenate([array.ravel() for array in values]).tolist())


def own_laws_entry(problem: Problem | None) -> dict[str, list[float]]:
    """Return `own_laws` as an entry of the settings of a result, or nothing."""
    values = own_laws(problem)
    return {} if values is None else {"own_laws": list(values)}


def same_own_laws(config: Mapping[str, Any], problem: Problem) -> bool:
    """Whether own laws of a problem give the values in the settings of a result, if these have any.

    Parameters
    ----------
    config : mapping
        With ``own_laws`` perhaps, which older files have not.
    problem : Problem
    """
    stored = config.get("own_laws")
    if stored is None:
        return True
    now = own_laws(problem) or ()
    return len(now) == len(stored) and np.allclose(
        now, stored, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True
    )


def problem_of_record(config: Mapping[str, Any], given: Problem | None) -> Problem | None:
    """Return the problem a result speaks of, as `Problem.of_record`, with the same own laws.

    Parameters
    ----------
    config : mapping
        Settings of a result: ``problem`` and perhaps ``own_laws``, which older files have not.
    given : Problem or None

    Raises
    ------
    ValueError
        Where `Problem.of_record` does, and if own laws give other values than those stored.
    """
    problem = Problem.of_record(config["problem"], given)
    if problem is not None and not same_own_laws(config, problem):
        names = [law_name(one) for one in _entries(problem) if isinstance(one, Mapping)]
        raise ValueError(
            "problem must be the one in the file; its functions have the same names "
            f"({', '.join(names)}), but give other values"
        )
    return problem


def _entries(problem: Problem) -> list[Any]:
    """Return the entries of label, activation, loss, inputs and start in a configuration."""
    config = problem.to_config()
    inputs: Mapping[str, Any] = config.get("inputs", {})
    start: Any = problem.spectral_start
    entries: list[Any] = [
        config["target"]["label"],
        config["network"]["activation"],
        config["loss"],
    ]
    latents = inputs.get("latents", "")
    entries += latents if isinstance(latents, list) else [latents]
    if isinstance(inputs.get("scales"), Mapping):
        entries.append(inputs["scales"])
    if start is not None and callable(start.preprocessing):
        entries.append(start.to_config()["preprocessing"])
    return entries


def _values(problem: Problem, n_points: int) -> list[NDArray[np.float64]]:
    """Return labels, gradients, curvatures and what else is of one's own, at Gaussian points."""
    start = problem.spectral_start
    rng = np.random.default_rng(0)
    more: list[NDArray[np.float64]] = []
    if problem.inputs is None:
        z, eps = rng.standard_normal((n_points, problem.k)), rng.standard_normal(n_points)
        y = problem.sample_labels(z, eps)
    else:
        n = n_leading_normals(problem)
        leading = leading_rows(problem, rng.standard_normal((n, n_points)))
        y, scales = labels_and_scales(problem, leading)
        more = [leading[: problem.k], scales]
    r = rng.standard_normal((problem.m, n_points))
    with np.errstate(all="ignore"):
        values = [*more, y, *pre_activation_gradient(problem, r, y), curvature(problem, r, y)]
    if start is not None and callable(start.preprocessing):
        values.append(start.weights(y))
    return values
