"""Runs that somebody else made, as plain arrays, to be compared with the theory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.validation import check_array, check_integer
from dmft.model.inputs import Inputs, get_inputs
from dmft.observables.alignment import hard_cosine
from rmt.status import Status

if TYPE_CHECKING:
    from dmft.simulation.simulation import Simulation
    from dmft.trajectory.trajectory import Trajectory

__all__ = ["MEASURED", "ComparedRuns", "RunData"]

FloatArray = NDArray[np.float64]

# Axes of each quantity after those of seeds and steps.
_AXES: Final = {
    "norm": ("m", "m"),
    "overlap": ("m", "k"),
    "gradient_covariance": ("m", "m"),
    "gradient_norm": (),
    "train_loss": (),
    "test_loss": (),
    "test_error": (),
    "second_layer": ("m",),
    "biases": ("m",),
}
#: Names of the quantities that may be missing where they would be compared; a test error, a second
#: layer and biases are not everybody's.
MEASURED: Final = tuple(
    name for name in _AXES if name not in ("test_error", "second_layer", "biases")
)


@dataclass(frozen=True, eq=False)
class RunData:
    r"""Runs of gradient descent at one dimension, made by any program, to be compared.

    With S seeds (independent data and initial weights), recorded at T steps. What was not measured
    is left out. With one neuron (and one latent direction) axes of length 1 may be left out. A seed
    that diverged has an infinite number, and from that step on NaN or anything; NaN elsewhere is
    refused: a step or quantity that some seed lacks is left out for all.

    Parameters
    ----------
    d : int
        Dimension of the inputs.
    norm : array_like, shape (S, T, m, m), optional
        Products of the neurons, :math:`\Theta^T \Theta`, with weights as they stand in
        :math:`f(x) = \sum_j a_j \sigma(\theta_j^T x)` for inputs with entries of variance 1.
    overlap : array_like, shape (S, T, m, k), optional
        Products of neurons and latent directions (of length 1), :math:`\Theta^T \Theta_*`.
    gradient_covariance : array_like, shape (S, T, m, m), optional
        :math:`(1/n) \sum_i g_i g_i^T`, g the derivative of the loss of a sample in the
        pre-activations; of :math:`s_i g_i` where the inputs of the problem have scales.
    gradient_norm, train_loss, test_loss, test_error : array_like, shape (S, T), optional
    second_layer, biases : array_like, shape (S, T, m), optional
    steps : sequence of int, optional
        At which they were recorded, increasing from 0; default 0, 1, ..., T - 1.
    n : int, optional
        Number of samples; default: delta d, rounded, with the delta of the theory.
    inputs : str or Inputs
        Their law, ``"gaussian"`` by default; others are compared with a note.
    hold_hard : bool
        Whether the weights were kept orthogonal to the hard directions.

    Raises
    ------
    ValueError
        If nothing was measured, shapes do not belong together, an argument is out of range, or
        there is a NaN of a seed that has not diverged.

    Examples
    --------
    >>> import numpy as np
    >>> runs = RunData(d=100, train_loss=np.ones((4, 11)), overlap=np.zeros((4, 11)))
    >>> runs
    RunData(d=100, seeds=4, steps=0..10, overlap, train_loss)
    """

    d: int
    norm: FloatArray | None = None
    overlap: FloatArray | None = None
    gradient_covariance: FloatArray | None = None
    gradient_norm: FloatArray | None = None
    train_loss: FloatArray | None = None
    test_loss: FloatArray | None = None
    test_error: FloatArray | None = None
    second_layer: FloatArray | None = None
    steps: Sequence[int] | NDArray[np.intp] | None = field(default=None, kw_only=True)
    n: int | None = field(default=None, kw_only=True)
    inputs: str | Inputs = field(default="gaussian", kw_only=True)
    hold_hard: bool = field(default=False, kw_only=True)
    biases: FloatArray | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        store = object.__setattr__
        check_integer("d", self.d, minimum=1)
        if self.n is not None:
            check_integer("n", self.n, minimum=1)
        if not isinstance(self.hold_hard, bool):
            raise ValueError(f"hold_hard must be True or False, got {self.hold_hard!r}")
        store(self, "inputs", get_inputs(self.inputs))
        shape: tuple[int, ...] | None = None
        for name, axes in _AXES.items():
            given: ArrayLike | None = getattr(self, name)
            if given is None:
                continue
            array = _real(name, given, f"an array of {len(axes) + 2} axes")
            if array.ndim == 2:  # one neuron
                array = array.reshape(*array.shape, *(1 for _ in axes))
            if array.ndim != len(axes) + 2 or 0 in array.shape:
                words = ", ".join(("seeds", "steps", *axes))
                raise ValueError(f"{name} must have axes ({words}), got shape {array.shape}")
            if shape is not None and array.shape[:2] != shape:
                raise ValueError(
                    f"{name} must have as many seeds and steps as the others, {shape}, "
                    f"got {array.shape[:2]}"
                )
            shape = array.shape[:2]
            store(self, name, array)
        if shape is None:
            raise ValueError(f"RunData must have one of {', '.join(_AXES)}; got none")
        store(self, "steps", _checked_steps(self.steps, shape[1]))
        self._check_missing(shape)

    def _check_missing(self, shape: tuple[int, ...]) -> None:
        """Raise at a NaN before, and not at, the step at which its seed diverges."""
        diverged = np.zeros(shape, dtype=bool)
        for name in self.measured:
            array = getattr(self, name)
            diverged |= np.isinf(array).any(axis=tuple(range(2, array.ndim)))
        diverged = np.logical_or.accumulate(diverged, axis=1)
        for name in self.measured:
            array = getattr(self, name)
            missing = np.isnan(array).any(axis=tuple(range(2, array.ndim))) & ~diverged
            if missing.any():
                seed, row = np.argwhere(missing)[0].tolist()
                step = np.asarray(self.steps)[row]
                raise ValueError(
                    f"{name} must have no NaN, got one of seed {seed} at step {step}: leave out "
                    "what was not measured, with `steps` those of all seeds; inf says that a seed "
                    "diverged"
                )

    def __repr__(self) -> str:
        steps = np.asarray(self.steps)
        between = ".." if len(steps) == steps[-1] + 1 else ", ..., "
        return (
            f"RunData(d={self.d}, seeds={len(self.seeds)}, steps=0{between}{steps[-1]}, "
            f"{', '.join(self.measured)})"
        )

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the quantities that there are."""
        return tuple(name for name in _AXES if getattr(self, name) is not None)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Numbers of the seeds, 0, ..., S - 1."""
        return tuple(range(len(getattr(self, self.measured[0]))))

    @property
    def status(self) -> Status:
        """SUCCESS, or DIVERGED if an entry is infinite."""
        finite = all(np.isfinite(getattr(self, name)).all() for name in self.measured)
        return Status.SUCCESS if finite else Status.DIVERGED

    def finite_until(self) -> int:
        """Return the last recorded step before any entry that is not finite; -1 without any."""
        arrays = (getattr(self, name) for name in self.measured)
        bad = np.zeros(np.asarray(self.steps).shape, dtype=bool)
        for array in arrays:
            bad |= ~np.isfinite(array).all(axis=(0, *range(2, array.ndim)))
        good = np.asarray(self.steps)[: int(bad.argmax())] if bad.any() else np.asarray(self.steps)
        return int(good[-1]) if len(good) else -1

    def of_theory(self, trajectory: Trajectory) -> ComparedRuns:
        """Return the runs as `dmft.compare` takes those of a trajectory.

        Raises
        ------
        ValueError
            If shapes are not those of the trajectory's problem.
        """
        problem = trajectory.problem
        assert problem is not None  # compare has seen to it
        m, k = problem.m, problem.k
        sizes = {"m": m, "k": k}
        for name in self.measured:
            wanted = tuple(sizes[axis] for axis in _AXES[name])
            got = getattr(self, name).shape[2:]
            if got != wanted:
                raise ValueError(
                    f"{name} of the data at d = {self.d} must have shape {wanted} at each step "
                    f"({m} neurons, {k} latent directions), got {got}"
                )
        n = round(trajectory.delta * self.d) if self.n is None else self.n
        if abs(n / self.d - trajectory.delta) > 0.5 / self.d + 1e-9 * trajectory.delta:
            raise ValueError(
                f"n of the data at d = {self.d} must be delta d = {trajectory.delta * self.d:g}, "
                f"rounded, got {n}"
            )
        cosine = np.full((len(self.seeds), len(np.asarray(self.steps))), np.nan)
        if not problem.target.hard_basis.size:
            cosine = np.zeros_like(cosine)
        elif self.overlap is not None and self.norm is not None:
            cosine = hard_cosine(self.overlap, self.norm, problem.target.hard_basis)
        return ComparedRuns(self, n, self.norm, cosine, self.measured, self.finite_until())


@dataclass(frozen=True)
class ComparedRuns:
    """Runs of one dimension as a comparison reads them, whoever made them.

    Attributes
    ----------
    runs : Simulation or RunData
        All other attributes are theirs.
    n : int
    norm : ndarray, shape (S, T, m, m), or None
    hard_cosine : ndarray, shape (S, T)
    measured : tuple of str
        Names of the quantities that there are.
    last_step : int
        Up to which all seeds have gone; -1 where one has not begun.
    hessian : mapping of int to SimulatedHessian
        By step.
    """

    runs: Any
    n: int
    norm: FloatArray | None
    hard_cosine: FloatArray
    measured: tuple[str, ...]
    last_step: int
    hessian: Mapping[int, Any] = field(default_factory=dict)

    @classmethod
    def of_simulation(cls, run: Simulation) -> ComparedRuns:
        """Return those of a simulation."""
        missing = np.flatnonzero(np.isnan(run.train_loss).any(axis=0))
        last = int(missing[0]) - 1 if missing.size else run.method.n_steps
        return cls(
            run, run.n, run.correlation, run.hard_cosine, tuple(_AXES), last, dict(run.hessian)
        )

    @property
    def is_one_run(self) -> bool:
        """Whether several seeds have the same numbers throughout: independent ones have not."""
        each = (getattr(self, name) for name in self.measured)
        return len(self.seeds) > 1 and all(np.array_equal(a[1:], a[:-1]) for a in each)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runs, name)


def _real(name: str, given: ArrayLike, expected: str) -> FloatArray:
    """Return real numbers, some of which may be NaN or infinite: runs diverge."""
    is_masked = np.ma.is_masked(given)  # numbers under a mask were not measured
    if isinstance(given, np.ndarray) and given.dtype.kind in "fiu" and not is_masked:
        return given.astype(np.float64)
    return check_array(name, given, expected=expected)


def _checked_steps(steps: Any, count: int) -> NDArray[np.intp]:
    if steps is None:
        return np.arange(count)
    found = np.asarray(steps)
    if found.dtype.kind not in "iu" or found.shape != (count,):
        raise ValueError(f"steps must be {count} whole numbers, one for each step, got {steps!r}")
    if found[0] != 0 or np.any(np.diff(found) <= 0):
        raise ValueError(f"steps must increase from 0, got {found.tolist()}")
    return found.astype(np.intp)
