"""Simulate gradient descent at finite dimension, once for each seed.

The results are the order parameters of the theory for every seed (Montanari & Wang,
arXiv:2602.01434): C(t, t), M(t), G(t, t), losses, and the spectrum of the Hessian at chosen steps.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.execution import Execution
from dmft._numerics.machine_memory import available_memory
from dmft.io.folders import renamed_out
from dmft.io.marks import DELTA, STEPS, Along, EachOf
from dmft.io.records import NOT_STORED
from dmft.io.saved_result import SavedResult
from dmft.model.biases import check_biases
from dmft.model.custom_laws import own_laws_entry, problem_of_record
from dmft.model.inputs import Inputs
from dmft.model.problem import Problem
from dmft.simulation.seed_runs import (
    BIASES,
    OF_CLASSES,
    QUANTITIES,
    SECOND_LAYER,
    SPECTRAL,
    complete,
    run_seeds,
)
from dmft.simulation.seed_store import SeedStore
from dmft.simulation.simulation_plan import SimulationPlan, check_seeds, check_workers
from dmft.training.gradient_descent import GradientDescent
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    import os

    from dmft.io.report_text import Lines

__all__ = ["SimulatedHessian", "Simulation", "simulate"]

Array = NDArray[np.float64]

_NAMES = (*QUANTITIES, OF_CLASSES, SECOND_LAYER, BIASES)

# The configuration of a simulation; those that a result has as fields too, and all others.
_FIELDS = ("delta", "d", "n", "hold_hard")
_SETTINGS = (
    *("problem", "method", "inputs", *_FIELDS, "hard_overlap"),
    *("hessian_steps", "n_extreme", "dense_limit", "n_test", "draws"),
)


@dataclass(frozen=True, eq=False)
class SimulatedHessian:
    """Spectra of the Hessian at one step, weight decay included; NaN where a run diverged before.

    On spheres: on the tangent directions, of order m (d - 1), see `dmft.training.constraints`.

    Attributes
    ----------
    step : int
    complete : bool
        Whether `eigenvalues` are all m d of them.
    eigenvalues : ndarray, shape (S, p)
        Ascending: all of them, or the ``n_extreme`` smallest and the ``n_extreme`` largest.
    smallest, largest : ndarray, shape (S, n_extreme)
        Ascending.
    overlaps : ndarray, shape (S, n_extreme)
        Squared norm of the projection of each of the eigenvectors of the smallest on the hard
        space, the tensor product of R^m and the hard directions.
    residual : ndarray, shape (S,)
        Largest ``|H v - lambda v|`` of the smallest eigenvalues and their eigenvectors.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem(target="linear", network=dmft.Network(activation="linear"))
    >>> method = dmft.GradientDescent(step_size=0.1, n_steps=2)
    >>> sim = dmft.simulate(problem, 3.0, method, d=20, seeds=2, hessian_steps=[2], workers=1)
    >>> sim.hessian[2].eigenvalues.shape, bool(sim.hessian[2].residual.max() < 1e-6)
    ((2, 20), True)
    """

    _axes: ClassVar = {"S": "seed", "p": "eigenvalue", "n_extreme": "n_extreme"}

    step: Annotated[int, STEPS]
    complete: bool
    eigenvalues: Annotated[Array, "S p"]
    smallest: Annotated[Array, "S n_extreme"]
    largest: Annotated[Array, "S n_extreme"]
    overlaps: Annotated[Array, "S n_extreme"]
    residual: Annotated[Array, "S"]

    @property
    def hard_overlap(self) -> Annotated[Array, "S"]:
        """Overlap of the eigenvector of the smallest eigenvalue with the hard space, (S,)."""
        return self.overlaps[:, 0]


@dataclass(frozen=True, eq=False, repr=False)
class Simulation(SavedResult, kind="simulation", settings=_SETTINGS):
    r"""Runs of gradient descent at finite dimension, one per seed.

    Made by :func:`dmft.simulate`. S is the number of seeds, T the number of steps.

    =======================  ==================  =================================================
    attribute                shape               quantity
    =======================  ==================  =================================================
    ``correlation``          (S, T+1, m, m)      C(t, t) = Theta^T Theta
    ``overlap``              (S, T+1, m, k)      M(t) = Theta^T Theta_*
    ``gradient_covariance``  (S, T+1, m, m)      G(t, t) = (1/n) sum_i g_i g_i^T
    ``train_loss``           (S, T+1)            mean loss over the samples
    ``test_loss``            (S, T+1)            mean loss over fresh samples
    ``test_error``           (S, T+1)            P(y f < 0) on fresh samples; NaN unless labels
                                                 are -1 and +1
    ``gradient_norm``        (S, T+1)            Frobenius norm of grad Risk, without weight decay
    ``hard_cosine``          (S, T+1)            largest squared cosine between a hard direction
                                                 and the span of the neurons
    ``second_layer``         (S, T+1, m)         a(t); constant unless it is trained
    ``biases``               (S, T+1, m)         b(t); constant unless they are trained
    =======================  ==================  =================================================

    ``mean`` and ``stderr`` map each of these names to its mean over seeds and the standard error
    of that mean. Entries are NaN from the step at which a run diverged; ``statuses`` says which.
    Losses, gradient norm and G are those of all samples, also where steps use batches.

    Attributes
    ----------
    problem : Problem or None
        None only for a loaded simulation of a custom problem that was not given again.
    delta : float
    method : GradientDescent
    d, n : int
        Dimension and number of samples, n = round(delta d).
    seeds : tuple of int
    inputs : Inputs
    hold_hard : bool
    hard_overlap : ndarray, shape (m, k_h), or None
        Imposed initial overlap with the hard directions.
    hessian : dict of int to SimulatedHessian
        By step.
    statuses : tuple of Status
        One per seed.
    config : dict
        Settings that determine the numbers together with the seeds, as plain types.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem(target="linear", network=dmft.Network(activation="linear"))
    >>> method = dmft.GradientDescent(step_size=0.1, n_steps=2)
    >>> sim = dmft.simulate(problem, 3.0, method, d=20, seeds=[3, 4], workers=1)
    >>> sim.correlation.shape, sim.train_loss.shape, sim.status.name
    ((2, 3, 1, 1), (2, 3), 'SUCCESS')
    """

    _axes: ClassVar = {
        "S": "seed", "T": "step", "m": "neuron", "k": "direction", "k_h": "hard_direction"
    }  # fmt: skip
    _rows: ClassVar = ("seed", "step")

    problem: Problem | None = field(metadata=NOT_STORED)
    delta: Annotated[float, DELTA]
    method: GradientDescent = field(metadata=NOT_STORED)
    d: int
    n: int
    seeds: Annotated[tuple[int, ...], "S"]
    inputs: Inputs = field(metadata=NOT_STORED)
    hold_hard: bool
    hard_overlap: Annotated[Array | None, "m k_h"]
    correlation: Annotated[Array, "S T m m"]
    overlap: Annotated[Array, "S T m k"]
    gradient_covariance: Annotated[Array, "S T m m"]
    train_loss: Annotated[Array, "S T"]
    test_loss: Annotated[Array, "S T"]
    test_error: Annotated[Array, "S T"]
    gradient_norm: Annotated[Array, "S T"]
    hard_cosine: Annotated[Array, "S T"]
    second_layer: Annotated[Array, "S T m"]
    hessian: Annotated[dict[int, SimulatedHessian], Along("hessian_step")]
    statuses: Annotated[tuple[Status, ...], "S"]
    config: dict[str, Any] = field(default_factory=dict)
    trained_biases: Annotated[Array, "S T m"] | None = None

    @property
    def biases(self) -> Annotated[Array, "S T m"]:
        """b(t), shape (S, T+1, m); zero where there are none, NaN from where a run diverged."""
        if self.trained_biases is not None:
            return self.trained_biases
        fixed, _ = check_biases(self.config["problem"]["network"].get("biases"), self.m)
        reached = np.isfinite(self.train_loss)[..., np.newaxis]
        return np.where(reached, fixed or np.zeros(self.m), np.nan)

    @property
    def m(self) -> int:
        """Number of neurons."""
        return int(self.overlap.shape[2])

    @property
    def k(self) -> int:
        """Number of latent directions."""
        return int(self.overlap.shape[3])

    @property
    def steps(self) -> Annotated[NDArray[np.intp], "T", STEPS]:
        """Steps 0, ..., T."""
        return np.arange(self.method.n_steps + 1)

    @property
    def status(self) -> Status:
        """SUCCESS, or the status of the first seed that failed."""
        return first_failure(self.statuses)

    @functools.cached_property
    def mean(self) -> Annotated[Mapping[str, Array], EachOf("{}_mean", without="seed")]:
        """Mean over seeds of each quantity, by name."""
        return {name: np.asarray(getattr(self, name).mean(axis=0)) for name in _NAMES}

    @functools.cached_property
    def stderr(self) -> Annotated[Mapping[str, Array], EachOf("{}_mean_stderr", without="seed")]:
        """Standard error of each mean, by name; NaN with a single seed."""
        count = len(self.seeds)
        if count == 1:
            return {name: np.full_like(getattr(self, name)[0], np.nan) for name in _NAMES}
        return {
            name: np.asarray(getattr(self, name).std(axis=0, ddof=1) / np.sqrt(count))
            for name in _NAMES
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str], problem: Problem | None = None) -> Simulation:
        """Read a simulation written by :meth:`save`.

        Parameters
        ----------
        path : path-like
        problem : Problem, optional
            Needed with a custom label, activation or loss, whose code is not in the file.

        Raises
        ------
        ValueError
            If the file is not a simulation, is damaged, was written by a newer version, or belongs
            to another problem than the one given.
        """
        found = super().load(path)
        return replace(
            found,
            problem=problem_of_record(found.config, problem),
            method=GradientDescent.from_config(found.config["method"]),
            inputs=Inputs.from_config(found.config["inputs"]),
        )

    def check_settings(self) -> None:
        """Raise unless the stored fields of a simulation are those of its configuration."""
        config = self.config
        super().check_settings()
        for name in _FIELDS:
            value = getattr(self, name)
            if value != config[name]:
                raise ValueError(f"its {name} is {value}, that of its configuration is not")
        m, k = len(config["problem"]["network"]["second_layer"]), config["problem"]["target"]["k"]
        shape = len(self.seeds), config["method"]["n_steps"] + 1, m, k
        if self.overlap.shape != shape:
            raise ValueError(f"its overlaps must have shape {shape}, got {self.overlap.shape}")
        size, n_extreme = m * config["d"], config["n_extreme"]
        is_complete = size <= config["dense_limit"]
        shapes = (len(self.seeds), size if is_complete else 2 * n_extreme), (shape[0], n_extreme)
        if list(self.hessian) != config["hessian_steps"]:
            raise ValueError("it must have the Hessians of its configuration")
        for step, record in self.hessian.items():
            if (record.step, record.complete) != (step, is_complete):
                raise ValueError(
                    f"its Hessian at step {step} is of another step or not as complete"
                )
            if (record.eigenvalues.shape, record.smallest.shape) != shapes:
                raise ValueError(f"its eigenvalues at step {step} must have shape {shapes[0]}")
        hard, wanted = self.hard_overlap, config["hard_overlap"]
        if (hard is None) != (wanted is None) or (
            hard is not None and np.shape(wanted) != hard.shape
        ):
            raise ValueError("its hard_overlap is not that of its configuration")

    def _report(self) -> tuple[Lines, str]:
        from dmft.simulation.report import simulation_lines, simulation_table

        return simulation_lines(self), simulation_table([self])

    def __repr__(self) -> str:
        return (
            f"Simulation(delta={self.delta:g}, d={self.d}, n_steps={self.method.n_steps}, "
            f"m={self.m}, k={self.k}, seeds={len(self.seeds)}, inputs={self.inputs.law!r}, "
            f"status={self.status.name})"
        )


def simulate(
    problem: Problem,
    delta: float,
    method: GradientDescent,
    d: int,
    seeds: int | Iterable[int] = 8,
    *,
    inputs: str | Inputs | Mapping[str, Any] = "gaussian",
    hold_hard: bool = False,
    hard_overlap: ArrayLike | None = None,
    hessian_steps: Iterable[int] = (),
    n_extreme: int = 1,
    dense_limit: int = 4000,
    n_test: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] | bool | None = None,
    throw: bool = False,
    out: str | os.PathLike[str] | None = None,
) -> Simulation:
    r"""Run gradient descent at finite dimension, once for each seed.

    Each seed draws a uniformly random orthonormal latent directions, inputs and labels,
    and initial weights on spheres of radius ``init_radius``; an overlap stated by the problem
    (``initial_overlap``) and a Gram matrix (``init_gram``) are imposed exactly, the rest is uniform
    on the complement. With ``init_law="gaussian"`` weights are Gaussian and all of this holds in
    expectation only. Seeds run in parallel processes with one BLAS thread each; the result does not
    depend on how many.

    Mini-batches are drawn for each seed and step from a stream of their own: runs with and without
    them have the same data and initial weights.

    A run needs the memory of its inputs, 8 n d bytes (and 8 n_test d more for inputs that are not
    Gaussian), and little else; with ``fresh_batches`` three times 8 n d: those of the start,
    of the step before, and of the step while they are drawn. A Hessian with all its eigenvalues
    needs 16 (m d)^2 bytes.

    Parameters
    ----------
    problem : Problem
        Target, network, loss, initialisation, weight decay.
    delta : float
        Samples per input dimension; n = round(delta d).
    method : GradientDescent
        Step size and number of steps T.
    d : int
        Input dimension, at least k + m.
    seeds : int or iterable of int
        Number of seeds (0, ..., seeds - 1), or the seeds themselves. Runs of one seed at different
        d or n are independent.
    inputs : str, Inputs or mapping
        Law of the inputs, see `dmft.Inputs`.
    hold_hard : bool
        Set the hard components of the weights to zero at the start and after every step. That is
        what the limit describes at O(1) steps; left alone, the overlap starts at O(d^{-1/2}) and
        may grow. Hessians are those of the full space all the same.
    hard_overlap : array_like, broadcast to (m, k_h), optional
        Initial overlap imposed with the hard directions (the columns of
        ``problem.target.hard_basis``). By default it is what the random start gives.
    hessian_steps : iterable of int
        Steps at which the spectrum of the Hessian is recorded.
    n_extreme : int
        Number of eigenvectors of the smallest eigenvalues, and of eigenvalues at either end where
        not all are computed.
    dense_limit : int
        Largest order m d for which all eigenvalues are computed; beyond it the extreme ones, by
        Lanczos iteration with a Hessian that is never formed.
    n_test : int, optional
        Fresh samples for test loss and error of inputs that are not Gaussian; default
        min(n, 10000). For Gaussian inputs they are exact expectations given the weights.
    checkpoint : path-like, optional
        Folder that receives one file for every finished seed, at once. The same call resumes:
        complete files are read, damaged ones made again. Custom laws (a callable label, activation
        or loss) are told apart by name and by what they give at a few thousand points.
    workers : int, optional
        Processes; default one for each core, at most one for each seed, and as many as there is
        memory for. With 1 everything runs in this process.
    progress : callable or True, optional
        True for a progress bar. A function is called with 1 for every finished seed, those found
        in `checkpoint` included.
    throw : bool
        Raise :class:`dmft.NumericalFailure` instead of returning a status other than SUCCESS.
    out : path-like, optional
        Former name of `checkpoint`, deprecated.

    Returns
    -------
    Simulation

    Raises
    ------
    ValueError
        If an argument is not allowed, asks for more memory than there is (the message says what
        would fit), or `checkpoint` holds results of another configuration.
    OSError
        If `checkpoint` cannot be written to.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem(target="linear", network=dmft.Network(activation="linear"))
    >>> method = dmft.GradientDescent(step_size=0.1, n_steps=2)
    >>> sim = dmft.simulate(problem, 3.0, method, d=50, seeds=2, hessian_steps=[2], workers=1)
    >>> sim.overlap.shape, sim.hessian[2].eigenvalues.shape, sim.status.name
    ((2, 3, 1, 1), (2, 50), 'SUCCESS')
    """
    execution = Execution(
        progress=progress, checkpoint=renamed_out(checkpoint, out), throw=throw, workers=workers
    )
    plan = SimulationPlan.of(
        problem,
        delta,
        method,
        d,
        inputs=inputs,
        hold_hard=hold_hard,
        hard_overlap=hard_overlap,
        hessian_steps=hessian_steps,
        n_extreme=n_extreme,
        dense_limit=dense_limit,
        n_test=n_test,
    )
    chosen = check_seeds(seeds)
    available = available_memory()
    plan.check_memory(available, len(chosen))
    execution = replace(execution, workers=plan.side_by_side(available, check_workers(workers)))
    folder = execution.checkpoint
    store = None if folder is None else SeedStore(folder, plan.config_of_files)
    stored = {} if store is None else store.read(chosen)
    results = {seed: found for seed, found in stored.items() if complete(plan, *found)}
    with (
        contextlib.nullcontext() if store is None else store.open(),
        execution.shown(len(chosen), "seeds") as execution,
    ):
        for _ in results:
            execution.advance()
        missing = [seed for seed in chosen if seed not in results]
        results |= run_seeds(plan, missing, store, execution)
    stacked = {
        name: np.stack([results[seed][1][name] for seed in chosen])
        for name in results[chosen[0]][1]
    }
    statuses = tuple(Status[results[seed][0]] for seed in chosen)
    simulation = _assemble(problem, plan.config, chosen, statuses, stacked)
    failed = [seed for seed, status in zip(chosen, statuses, strict=True) if not status.ok]
    execution.settle(simulation.status, f"Seeds: {', '.join(map(str, failed))}.")
    return simulation


def _assemble(
    problem: Problem | None,
    config: dict[str, Any],
    seeds: tuple[int, ...],
    statuses: tuple[Status, ...],
    arrays: Mapping[str, NDArray[Any]],
) -> Simulation:
    """Put the stacked arrays of all seeds into a result."""
    hard_overlap = config["hard_overlap"]
    method = GradientDescent.from_config(config["method"])
    size = arrays["overlap"].shape[2] * (config["d"] - (method.constraint is not None))
    second_layer = arrays.get(SECOND_LAYER)
    if second_layer is None:  # it is not trained
        fixed = np.array(config["problem"]["network"]["second_layer"], dtype=np.float64)
        reached = np.isfinite(arrays["train_loss"])[..., np.newaxis]
        second_layer = np.where(reached, fixed, np.nan)
    parts: dict[str, Any] = {name: config[name] for name in _FIELDS}
    parts |= {name: arrays[name] for name in QUANTITIES}
    return Simulation(
        problem=problem,
        method=method,
        inputs=Inputs.from_config(config["inputs"]),
        hard_overlap=None if hard_overlap is None else np.array(hard_overlap, dtype=np.float64),
        seeds=seeds,
        **parts,
        test_error=arrays.get(OF_CLASSES, np.full_like(arrays["test_loss"], np.nan)),
        second_layer=second_layer,
        hessian={
            step: SimulatedHessian(
                step=step,
                complete=size <= config["dense_limit"],
                **{name: arrays[f"hessian/{step}/{name}"] for name in SPECTRAL},
            )
            for step in config["hessian_steps"]
        },
        statuses=statuses,
        config=config | own_laws_entry(problem),
        trained_biases=arrays.get(BIASES),
    )
