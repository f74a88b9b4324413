"""Draw the random numbers of a finite-size run: latent directions, weights, inputs, labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dmft.model.drawn_inputs import scaled
from dmft.model.initialization import starting_coordinates
from dmft.model.symmetry import NeuronSymmetry
from dmft.simulation.descent import project, row_blocks
from dmft.simulation.spectral_start import spectral_weights

if TYPE_CHECKING:
    from dmft.model.inputs import Inputs, InputSampler
    from dmft.model.problem import Problem

__all__ = [
    "ImposedOverlap",
    "RunData",
    "TestData",
    "draw_batch",
    "draw_fresh",
    "draw_run",
    "initial_weights",
]

Array = NDArray[np.float64]

# Families of random numbers. Each is a stream of its own, so that no one of them depends on how
# many numbers another takes.
_FRAME, _WEIGHTS, _INPUTS, _NOISE, _TEST = range(5)
_BATCHES = 16
_FRESH = 17


@dataclass(frozen=True, eq=False)
class ImposedOverlap:
    """Initial overlap imposed exactly on a subspace of the latent space.

    Attributes
    ----------
    basis : ndarray, shape (k, q)
        Orthonormal columns; latent directions outside their span are not constrained.
    overlap : ndarray, shape (m, q)
        Overlap of every neuron with each of them.
    """

    basis: Array
    overlap: Array

    @classmethod
    def of(cls, problem: Problem, hard_overlap: Array | None) -> ImposedOverlap:
        """Combine the easy overlap that `problem` states with `hard_overlap` (m, k_h).

        Parameters
        ----------
        problem : Problem
        hard_overlap : ndarray, shape (m, k_h), or None
            None leaves the hard directions to chance, unless the problem itself states them.
        """
        hard = problem.target.hard_basis
        bases, overlaps = [np.zeros((problem.k, 0))], [np.zeros((problem.m, 0))]
        stated = problem.initial_overlap
        if stated is not None:
            easy = _complement(hard)
            bases.append(easy)
            overlaps.append(stated @ easy)
            if hard_overlap is None and problem.starts_on_hard:
                hard_overlap = stated @ hard
        if hard_overlap is not None:
            bases.append(hard)
            overlaps.append(hard_overlap)
        return cls(np.concatenate(bases, axis=1), np.concatenate(overlaps, axis=1))


@dataclass(frozen=True, eq=False)
class TestData:
    """Fresh samples for the test loss: inputs (n_test, d) and labels (n_test,)."""

    __test__ = False  # not a test case, whatever its name looks like

    X: Array
    y: Array


@dataclass(frozen=True, eq=False)
class RunData:
    """Data and initial weights of gradient descent.

    Attributes
    ----------
    X : ndarray, shape (n, d)
        Inputs.
    y : ndarray, shape (n,)
        Labels.
    weights : ndarray, shape (m, d)
        Initial weights, one neuron a row.
    frame : ndarray, shape (k, d)
        Latent directions, orthonormal rows.
    test : TestData or None
    sampler : InputSampler
        Source of further inputs of the same law.
    scales : ndarray, shape (n,), or (0,)
        Scales of the inputs of the problem; empty where all are one.
    """

    X: Array
    y: Array
    weights: Array
    frame: Array
    test: TestData | None
    sampler: InputSampler
    scales: Array


def draw_run(
    problem: Problem,
    n: int,
    d: int,
    seed: int,
    inputs: Inputs,
    imposed: ImposedOverlap,
    n_test: int | None = None,
) -> RunData:
    """Draw everything random in one run.

    Streams depend on (seed, d, n): runs of the same seed at another size or another number of
    samples are independent, as an extrapolation in 1/d or a fit over delta takes them to be. Two
    deltas that round to the same n draw the same numbers: at one size they are one run.

    Parameters
    ----------
    problem : Problem
    n, d : int
        Number of samples, dimension.
    seed : int
    inputs : Inputs
    imposed : ImposedOverlap
    n_test : int or None
        Number of fresh samples.

    Returns
    -------
    RunData
    """

    def stream(family: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(family, d, n)))

    frame = _random_frame(problem.k, d, stream(_FRAME))
    weights, symmetry = initial_weights(problem, frame, imposed, stream(_WEIGHTS))
    rng, noise = stream(_INPUTS), stream(_NOISE)
    sampler = inputs.sampler(d, rng)
    X, y, scales = _samples(problem, sampler, frame, n, rng, noise)
    if problem.spectral_start is not None:
        weights = spectral_weights(problem, X, y, frame, stream(_WEIGHTS))
        symmetry.impose(weights)
    test = None
    if n_test is not None:
        rng = stream(_TEST)
        test = TestData(*_samples(problem, sampler, frame, n_test, rng, rng)[:2])
    return RunData(X, y, weights, frame, test, sampler, scales)


def draw_batch(n: int, d: int, seed: int, fraction: float, step: int) -> NDArray[np.bool_]:
    """Draw the mini-batch of a step: each sample with probability `fraction`, independently.

    A function of (seed, d, n, step), from streams that nothing else in `draw_run` draws from.

    Parameters
    ----------
    n, d : int
    seed : int
    fraction : float
    step : int

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> draw_batch(1000, 50, 0, 0.25, step=3).mean()
    np.float64(0.252)
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(_BATCHES, d, n, step))
    return np.random.default_rng(sequence).random(n) < fraction


def draw_fresh(
    problem: Problem, n: int, data: RunData, seed: int, step: int
) -> tuple[Array, Array, Array]:
    """Draw the samples of a step that uses them alone: inputs (n, d), labels (n,), scales.

    A function of (seed, d, n, step), from streams that nothing else in `draw_run` draws from.

    Parameters
    ----------
    problem : Problem
    n : int
    data : RunData
        The run; supplies latent directions and the law of the inputs.
    seed : int
    step : int

    Returns
    -------
    X : ndarray, shape (n, d)
    y : ndarray, shape (n,)
    scales : ndarray, shape (n,), or (0,)
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(_FRESH, data.sampler.d, n, step))
    rng, noise = (np.random.default_rng(one) for one in sequence.spawn(2))
    return _samples(problem, data.sampler, data.frame, n, rng, noise)


def _samples(
    problem: Problem,
    sampler: InputSampler,
    frame: Array,
    n: int,
    rng: np.random.Generator,
    noise: np.random.Generator,
) -> tuple[Array, Array, Array]:
    """Draw inputs (n, d), labels (n,) and scales, (0,) where all are one."""
    X = sampler.fill(np.empty((n, sampler.d)), rng)
    x = project(X, frame)
    eps = noise.standard_normal(n)
    if problem.inputs is None:
        return X, problem.sample_labels(np.ascontiguousarray(x.T), eps), np.empty(0)
    drawn = problem.inputs.draw(x, noise.standard_normal((problem.inputs.n_normals, n)))
    z, scales = drawn.z, drawn.scales
    for rows in row_blocks(n, sampler.d):
        # x = s (Gaussian on the complement) + Theta_* z, in place.
        if len(scales):
            X[rows] *= scales[rows, np.newaxis]
        X[rows] += (z[:, rows] - scaled(x[:, rows], scales[rows])).T @ frame
    return X, problem.sample_labels(np.ascontiguousarray(z.T), eps, drawn.component), scales


def _random_frame(k: int, d: int, rng: np.random.Generator) -> Array:
    """Draw uniformly random orthonormal rows, shape (k, d)."""
    return _orthonormal_rows(rng.standard_normal((d, k)).T)


def _orthonormal_rows(gaussian: Array) -> Array:
    """Orthonormalise Gaussian rows (m, d): the result is uniform in their space."""
    q, r = np.linalg.qr(gaussian.T)
    # The signs make it uniform: those of the factorisation follow a convention.
    return np.ascontiguousarray((q * np.where(np.diag(r) < 0.0, -1.0, 1.0)).T)


def initial_weights(
    problem: Problem, frame: Array, imposed: ImposedOverlap, rng: np.random.Generator
) -> tuple[Array, NeuronSymmetry]:
    """Draw weights (m, d) with the imposed overlap; return them with the symmetry they have.

    Parameters
    ----------
    problem : Problem
    frame : ndarray, shape (k, d)
        Latent directions, orthonormal rows.
    imposed : ImposedOverlap
    rng : numpy.random.Generator

    Returns
    -------
    weights : ndarray, shape (m, d)
    symmetry : NeuronSymmetry
    """
    weights = _drawn_weights(problem, frame, imposed, rng)
    layer = np.array(problem.network.second_layer)
    # Neurons that are equal in the limit are so here, to rounding: to the bit.
    network = problem.network
    symmetry = NeuronSymmetry.of(
        problem.initial_weights(), layer, network.activation, network.biases
    )
    symmetry.impose(weights)
    weights[np.diag(problem.gram) == 0.0] = 0.0
    return weights, symmetry


def _drawn_weights(
    problem: Problem, frame: Array, imposed: ImposedOverlap, rng: np.random.Generator
) -> Array:
    """Draw weights (m, d) with the imposed overlap, the rest from the problem's initial law.

    With F the imposed latent directions and Q the Gram matrix of the problem,

    - ``M0 F + S U``, ``S^2 = Q - M0 M0^T`` and U independent uniform unit vectors orthogonal to F,
      on spheres, with the rows of ``S U`` stretched to the lengths that they have in the limit:
      ``Theta^T Theta`` is Q in the limit, as the theory has it, and exactly on its diagonal;
    - ``M0 F + L V``, ``L L^T = Q - M0 M0^T`` and V uniform orthonormal rows orthogonal to F, where
      a Gram matrix is given: it holds exactly;
    - ``M0 F + L W``, W with independent entries N(0, 1/d), for Gaussian weights: Gram matrix and
      overlaps hold in expectation.
    """
    m, d = problem.m, frame.shape[1]
    known = imposed.basis.T @ frame
    units = rng.standard_normal((m, d))
    if problem.init_law == "gaussian":
        overlap, factor = starting_coordinates(problem.gram, imposed.overlap)
        return np.ascontiguousarray(overlap @ known + factor @ (units / np.sqrt(d)))
    for _ in range(2):  # once more for what rounding left
        units -= (units @ known.T) @ known
    if problem.init_gram is not None:
        rows = _orthonormal_rows(units)
        overlap, factor = starting_coordinates(problem.gram, imposed.overlap)
        return np.ascontiguousarray(overlap @ known + factor @ rows)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    rest = problem.gram - imposed.overlap @ imposed.overlap.T
    values, vectors = np.linalg.eigh(rest)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    free = root @ units
    if m > 1 and np.any(imposed.overlap):
        length, limit = np.linalg.norm(free, axis=1), np.sqrt(np.maximum(np.diag(rest), 0.0))
        free *= np.divide(limit, length, out=np.zeros_like(length), where=length > 0.0)[:, None]
    return np.ascontiguousarray(imposed.overlap @ known + free)


def _complement(basis: Array) -> Array:
    """Return an orthonormal basis of the orthogonal complement of orthonormal columns."""
    k, q = basis.shape
    if q == 0:
        return np.eye(k)
    left = np.linalg.svd(basis)[0]
    return np.ascontiguousarray(left[:, q:])
