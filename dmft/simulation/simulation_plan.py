"""Check the arguments of ``simulate`` and collect them in a plan."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.machine_memory import available_memory, check_fits
from dmft._numerics.validation import check_finite_array, check_instance, check_integer, check_real
from dmft._numerics.workers import worker_count
from dmft.model.custom_laws import fingerprint
from dmft.model.initialization import check_remainder
from dmft.model.inputs import Inputs, get_inputs
from dmft.model.problem import Problem
from dmft.model.spectral_start import FRESH_EIGENVECTOR, stated_overlap
from dmft.simulation.finite_data import ImposedOverlap
from dmft.training.constraints import check_constrained
from dmft.training.gradient_descent import GradientDescent

__all__ = [
    "SimulationPlan",
    "check_deltas",
    "check_seeds",
    "check_sizes",
    "check_steps",
    "check_workers",
]

Array = NDArray[np.float64]

# Raised whenever the same seed would give other numbers, so that files of both are not mixed.
_DRAWS = 1
_MAX_TEST = 10_000


@dataclass(frozen=True, eq=False)
class SimulationPlan:
    """Arguments that determine the numbers of a run together with its seed."""

    problem: Problem
    delta: float
    method: GradientDescent
    d: int
    n: int
    inputs: Inputs
    hold_hard: bool
    hard_overlap: Array | None
    hessian_steps: tuple[int, ...]
    n_extreme: int
    dense_limit: int
    n_test: int | None
    imposed: ImposedOverlap

    @classmethod
    def of(
        cls,
        problem: Problem,
        delta: float,
        method: GradientDescent,
        d: int,
        *,
        inputs: str | Inputs | Mapping[str, Any] = "gaussian",
        hold_hard: bool = False,
        hard_overlap: ArrayLike | None = None,
        hessian_steps: Iterable[int] = (),
        n_extreme: int = 1,
        dense_limit: int = 4000,
        n_test: int | None = None,
        reduced: bool = False,
    ) -> SimulationPlan:
        """Check the arguments of `simulate`; memory not of `reduced` runs, without a matrix."""
        check_instance("problem", problem, Problem)
        problem.check_labels()
        check_instance("method", method, GradientDescent)
        check_constrained(problem, method)
        delta = check_real("delta", delta, minimum=0.0, exclusive=True)
        m, k = problem.m, problem.k
        d = check_integer("d", d, minimum=1)
        if d < k + m:
            raise ValueError(
                f"d must be at least k + m = {k} + {m} (latent directions and neurons), got {d}"
            )
        n = round(min(delta * d, sys.maxsize))
        if n < 1:
            raise ValueError(
                f"delta must give at least one sample, n = round(delta d) >= 1; got {delta:g} "
                f"with d = {d}"
            )
        if method.fresh_batches and problem.spectral_start is not None:
            raise ValueError(FRESH_EIGENVECTOR)
        law = get_inputs(inputs)
        if problem.inputs is not None and not law.is_gaussian:
            raise ValueError(
                f"inputs must be left out for a problem that has inputs of its own "
                f"({problem.inputs.describe()}), got {law.law!r}"
            )
        if not isinstance(hold_hard, bool):
            raise ValueError(f"hold_hard must be True or False, got {hold_hard!r}")
        overlap = _hard_overlap(problem, hard_overlap, hold_hard)
        steps = _hessian_steps(hessian_steps, method.n_steps)
        n_extreme = check_integer("n_extreme", n_extreme, minimum=1)
        order = _order_of_hessian(method, m, d)
        if 2 * n_extreme > order:
            raise ValueError(
                f"n_extreme must be at most {'m d' if order == m * d else 'm (d - 1)'} / 2 = "
                f"{order // 2} (half the eigenvalues), got {n_extreme}; raise d or lower n_extreme"
            )
        dense_limit = check_integer("dense_limit", dense_limit, minimum=0)
        if law.is_gaussian:
            if n_test is not None:
                raise ValueError(
                    "n_test must be left out for Gaussian inputs, whose test loss is an exact "
                    f"expectation, got {n_test!r}"
                )
        elif n_test is None:
            n_test = min(n, _MAX_TEST)
        else:
            n_test = check_integer("n_test", n_test, minimum=1)
        imposed = ImposedOverlap.of(
            problem, np.zeros((m, problem.target.hard_basis.shape[1])) if hold_hard else overlap
        )
        plan = cls(
            problem, delta, method, d, n, law, hold_hard, overlap, steps, n_extreme, dense_limit,
            n_test, imposed,
        )  # fmt: skip
        if not reduced:
            plan.check_memory(available_memory())
        return plan

    @property
    def order(self) -> int:
        """Order of the Hessian."""
        return _order_of_hessian(self.method, self.problem.m, self.d)

    def check_memory(self, available: float, n_seeds: int = 1) -> None:
        """Raise unless one run, and the results of all, fit in memory.

        Parameters
        ----------
        available : float
            In bytes.
        n_seeds : int

        Raises
        ------
        ValueError
            Naming the argument that would have to be smaller, and the largest value that fits.
        """
        largest = self.dense_limit if self.hessian_steps else 0
        if self.problem.m * self.d <= largest:
            size = self.problem.m * self.d
            check_fits(
                "m d",
                size,
                lambda order: 16.0 * order**2,
                available,
                advice=f" for a Hessian; with dense_limit below {size} it is never formed",
            )
        check_fits("d", self.d, self.bytes_of_run, available, least=self.problem.k + self.problem.m)
        check_fits("n_steps", self.method.n_steps, self._bytes_of_result, available, least=0)
        of_seed = self._bytes_of_result(self.method.n_steps)
        check_fits("seeds", n_seeds, lambda count: 2.0 * of_seed * count, available)

    def side_by_side(self, available: float, n_workers: int) -> int:
        """Return how many of so many processes have the memory for a run each, at least one."""
        return min(n_workers, max(int(available / self.bytes_of_run()), 1))

    def bytes_of_run(self, d: int | None = None) -> float:
        """Return the least memory of a run in bytes, in this dimension or another."""
        d = self.d if d is None else d
        n = round(min(self.delta * d, sys.maxsize))
        m = self.problem.m
        times = 3 if self.method.fresh_batches and self.method.n_steps > 1 else 1
        inputs = times * n + (0 if self.n_test is None else min(self.n_test, n))
        return 8.0 * (float(inputs) * d + m * n)

    def _bytes_of_result(self, n_steps: int) -> float:
        """Return the bytes of the arrays of one seed."""
        m, size = self.problem.m, self.problem.m * self.d
        of_step = m * (2 * m + self.problem.k) + 5
        eigenvalues = size if size <= self.dense_limit else 2 * self.n_extreme
        return 8.0 * (of_step * (n_steps + 1) + eigenvalues * len(self.hessian_steps))

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """Description in plain types."""
        overlap = self.hard_overlap
        return {
            "problem": self.problem.to_config(),
            "delta": self.delta,
            "method": self.method.to_config(),
            "d": self.d,
            "n": self.n,
            "inputs": self.inputs.to_config(),
            "hold_hard": self.hold_hard,
            "hard_overlap": None if overlap is None else overlap.tolist(),
            "hessian_steps": list(self.hessian_steps),
            "n_extreme": self.n_extreme,
            "dense_limit": self.dense_limit,
            "n_test": self.n_test,
            "draws": _DRAWS,
        }

    @functools.cached_property
    def config_of_files(self) -> dict[str, Any]:
        """`config` with a fingerprint of custom laws, which their names do not tell apart."""
        code = fingerprint(self.problem)
        return self.config if code is None else {**self.config, "code of custom laws": code}


def _order_of_hessian(method: GradientDescent, m: int, d: int) -> int:
    """Return the number of eigenvalues of a Hessian: on spheres one less for each neuron."""
    return m * (d - (method.constraint is not None))


def check_seeds(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """Return the seeds 0, ..., seeds - 1, or those given.

    Raises
    ------
    ValueError
        If there is none, or one is no integer >= 0 or given twice.

    Examples
    --------
    >>> check_seeds(3), check_seeds([7, 2])
    ((0, 1, 2), (7, 2))
    """
    if isinstance(seeds, np.ndarray) and seeds.ndim == 0:
        seeds = seeds[()]
    if isinstance(seeds, Iterable) and not isinstance(seeds, str | bytes):
        chosen = tuple(check_integer("seeds", seed, minimum=0) for seed in seeds)
        if not chosen:
            raise ValueError("seeds must be a number of seeds or a list of them, got an empty one")
        if len(set(chosen)) < len(chosen):
            twice = next(seed for seed in chosen if chosen.count(seed) > 1)
            raise ValueError(f"seeds must be distinct, got {twice} more than once")
        return chosen
    count = check_integer("seeds", seeds, minimum=1)
    check_fits("seeds", count, lambda seeds: 40.0 * seeds, available_memory())  # their numbers
    return tuple(range(count))


def check_workers(workers: int | None) -> int:
    """Return the number of processes to use at most; None means one for each core.

    Raises
    ------
    ValueError
        If there are not as many cores.
    """
    cores = worker_count(None, sys.maxsize)
    if workers is None:
        return cores
    workers = check_integer("workers", workers, minimum=1)
    if workers > cores:
        raise ValueError(f"workers must be at most the number of cores, {cores}, got {workers}")
    return workers


def _hessian_steps(steps: Iterable[int], n_steps: int) -> tuple[int, ...]:
    if not isinstance(steps, Iterable) or isinstance(steps, str | bytes):
        raise ValueError(f"hessian_steps must be a list of steps, got {steps!r}")
    chosen = {check_integer("hessian_steps", step, minimum=0) for step in steps}
    for step in sorted(chosen):
        if step > n_steps:
            raise ValueError(f"hessian_steps must lie in 0..n_steps = 0..{n_steps}, got {step}")
    return tuple(sorted(chosen))


def _hard_overlap(problem: Problem, value: ArrayLike | None, hold_hard: bool) -> Array | None:
    """Check the imposed overlap; return it with shape (m, k_h)."""
    if problem.init_law == "gaussian" and (value is not None or problem.starts_on_hard):
        raise ValueError(
            "init_law must be 'sphere' for an overlap with hard directions, which 'gaussian' would "
            "give in expectation only"
        )
    if hold_hard and problem.starts_on_hard:
        raise ValueError(
            "hold_hard must be False for a problem that starts with an overlap with the hard "
            f"directions ({stated_overlap(problem)}), got True"
        )
    if value is None:
        return None
    if hold_hard:
        raise ValueError("hard_overlap must be left out with hold_hard, which makes it zero")
    hard = problem.target.hard_basis
    shape = (problem.m, hard.shape[1])
    if hard.shape[1] == 0:
        raise ValueError(
            f"hard_overlap must be left out for label {problem.target.name!r}, which has no hard "
            "direction"
        )
    if problem.starts_on_hard:
        raise ValueError(
            "hard_overlap must be left out for a problem that states it already, by "
            f"{stated_overlap(problem)}"
        )
    try:
        ndim = np.ndim(value)
    except ValueError:  # rows of different lengths: no array of any shape, refused below
        ndim = len(shape)
    given = check_finite_array(
        "hard_overlap", value, ndim=ndim, expected=f"a number or an array of shape {shape}"
    )
    try:
        overlap = np.array(np.broadcast_to(given, shape))
    except ValueError:
        raise ValueError(
            f"hard_overlap must be a number or an array of shape (m, k_h) = {shape}, got shape "
            f"{given.shape}"
        ) from None
    imposed = ImposedOverlap.of(problem, overlap).overlap
    together = " (together with initial_overlap)"
    stated = problem.init_gram is not None
    check_remainder("hard_overlap", problem.gram, imposed, together, is_stated=stated)
    return overlap


def check_sizes(d: int | Sequence[int]) -> tuple[int, ...]:
    """Return one or more input dimensions, ascending.

    Raises
    ------
    ValueError
        If there is none, or one is no positive integer or given twice.

    Examples
    --------
    >>> check_sizes(1000), check_sizes([2000, 1000])
    ((1000,), (1000, 2000))
    """
    sizes = sorted(
        check_integer("d", size, minimum=1) for size in (d if isinstance(d, Sequence) else [d])
    )
    if not sizes or len(set(sizes)) < len(sizes):
        raise ValueError(f"d must be one or more different sizes, got {sizes}")
    return tuple(sizes)


def check_deltas(deltas: Sequence[float], name: str = "deltas") -> tuple[float, ...]:
    """Return values of delta, ascending.

    Raises
    ------
    ValueError
        If there is none, or one is not positive or given twice.

    Examples
    --------
    >>> check_deltas([4, 2.5])
    (2.5, 4.0)
    """
    values = sorted(check_real(name, delta, minimum=0.0, exclusive=True) for delta in deltas)
    if not values or len(set(values)) < len(values):
        raise ValueError(f"{name} must be one or more different values, got {values}")
    return tuple(values)


def check_steps(name: str, steps: Sequence[int], n_steps: int) -> None:
    """Raise unless all steps are in 0, ..., n_steps.

    Raises
    ------
    ValueError
        Naming the first that is not.

    Examples
    --------
    >>> check_steps("hessian_steps", [0, 50], 40)
    Traceback (most recent call last):
    ...
    ValueError: hessian_steps must be in 0..n_steps = 0..40, got 50
    """
    for step in steps:
        if step > n_steps:
            raise ValueError(f"{name} must be in 0..n_steps = 0..{n_steps}, got {step}")
