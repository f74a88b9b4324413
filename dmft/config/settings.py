"""What a run file may say about each command, checked; None where it is silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dmft._numerics.validation import check_integer, check_real
from dmft.model.activations import get_activation
from dmft.model.inputs import Inputs, get_inputs
from dmft.model.losses import get_loss
from dmft.simulation.simulation_plan import check_deltas, check_sizes
from dmft.studies.step_sizes import SimulationCheck, StepSizes

__all__ = [
    "CurveSettings",
    "GapSettings",
    "SimulationSettings",
    "SpectrumSettings",
    "SweepSettings",
    "ThresholdSettings",
    "TrajectorySettings",
]


@dataclass(frozen=True)
class ThresholdSettings:
    """Arguments of :func:`dmft.find_delta_nn`; None where the run file is silent.

    Attributes
    ----------
    bracket : tuple of float, optional
    step : int, optional
        The last step if None.
    scan_points : int, optional
    """

    bracket: tuple[float, float] | None = None
    step: int | None = None
    scan_points: int | None = None

    def __post_init__(self) -> None:
        if self.bracket is not None:
            _check_bracket(self.bracket)
        if self.step is not None:
            check_integer("step", self.step, minimum=0)
        if self.scan_points is not None:
            check_integer("scan_points", self.scan_points, minimum=2)


@dataclass(frozen=True)
class CurveSettings:
    """Arguments of :func:`dmft.delta_nn_curve`; None where the run file is silent.

    Attributes
    ----------
    bracket : tuple of float, optional
        That of the threshold if None.
    n_steps : int, optional
        Last step of the curve; that of the method if None.
    steps : tuple of int, optional
        Ascending.
    points : int, optional
    max_solves : int, optional
    """

    bracket: tuple[float, float] | None = None
    n_steps: int | None = None
    steps: tuple[int, ...] | None = None
    points: int | None = None
    max_solves: int | None = None

    def __post_init__(self) -> None:
        _check_curve(self)


@dataclass(frozen=True)
class GapSettings:
    """Arguments of :func:`dmft.algorithmic_gap`; None where the run file is silent.

    Attributes
    ----------
    activations, losses : tuple of str, optional
        Catalogue names; those of network and problem if None.
    widths : tuple of int, optional
        Numbers of neurons, with equal second-layer weights 1/m; the second layer of the network
        if None.
    bracket : tuple of float, optional
        That of the curve, or of the threshold, if None.
    n_steps : int, optional
        Last step of the curves; that of the method if None.
    steps : tuple of int, optional
        Ascending.
    points, max_solves : int, optional
    step_sizes : tuple of float, optional
        0 for gradient flow; only with ``time``.
    time : float, optional
    network : str, optional
        The one that the step sizes are about; the first if None.
    compare_fresh : bool
        Whether step sizes are also tried with samples of its own for each step.
    d : int, optional
        Dimension of runs beside the largest step size; no runs if None.
    seeds : int
    """

    activations: tuple[str, ...] | None = None
    losses: tuple[str, ...] | None = None
    widths: tuple[int, ...] | None = None
    bracket: tuple[float, float] | None = None
    n_steps: int | None = None
    steps: tuple[int, ...] | None = None
    points: int | None = None
    max_solves: int | None = None
    step_sizes: tuple[float, ...] | None = None
    time: float | None = None
    network: str | None = None
    compare_fresh: bool = True
    d: int | None = None
    seeds: int = 8

    def __post_init__(self) -> None:
        for name, check in (("activations", get_activation), ("losses", get_loss)):
            if getattr(self, name) is not None:
                names = tuple(check(entry).name for entry in getattr(self, name))
                object.__setattr__(self, name, names)
        if self.widths is not None:
            widths = tuple(check_integer("widths", m, minimum=1) for m in self.widths)
            object.__setattr__(self, "widths", widths)
        _check_curve(self)
        if self.step_sizes is not None:
            object.__setattr__(self, "step_sizes", tuple(self.step_sizes))
        if (self.step_sizes is None) != (self.time is None):
            raise ValueError("step_sizes and time must come together: one of them is missing")
        if self.d is not None and self.step_sizes is None:
            raise ValueError("d must come with step_sizes and time, beside which runs stand")
        _ = self.step_axis, self.simulation

    @property
    def step_axis(self) -> StepSizes | None:
        """What is asked about step sizes; None for nothing."""
        if self.step_sizes is None or self.time is None:
            return None
        return StepSizes(self.step_sizes, self.time, self.network, self.compare_fresh)

    @property
    def simulation(self) -> SimulationCheck | None:
        """Runs beside them; None for none."""
        return None if self.d is None else SimulationCheck(self.d, self.seeds)


@dataclass(frozen=True)
class TrajectorySettings:
    """Where to follow the trajectory.

    Attributes
    ----------
    delta : float, optional
    """

    delta: float | None = None

    def __post_init__(self) -> None:
        if self.delta is not None:
            check_real("delta", self.delta, minimum=0.0, exclusive=True)


@dataclass(frozen=True)
class SpectrumSettings:
    """Where to read the Hessian.

    Attributes
    ----------
    delta : float, optional
    step : int, optional
        The last step if None.
    """

    delta: float | None = None
    step: int | None = None

    def __post_init__(self) -> None:
        if self.delta is not None:
            check_real("delta", self.delta, minimum=0.0, exclusive=True)
        if self.step is not None:
            check_integer("step", self.step, minimum=0)


@dataclass(frozen=True)
class SimulationSettings:
    """Arguments of :func:`dmft.simulate`; None where the run file is silent.

    Attributes
    ----------
    d : tuple of int, optional
        Sizes, ascending; one size may be given as an integer.
    seeds : int
    delta : float, optional
    inputs : Inputs, optional
        A name or a table is turned into one.
    hessian_steps : tuple of int
    hold_hard : bool, optional
    hard_overlap : float or tuple of tuple of float, optional
        Not together with ``hold_hard``.
    n_extreme, dense_limit, n_test : int, optional
    """

    d: tuple[int, ...] | None = None
    seeds: int = 8
    delta: float | None = None
    inputs: Inputs | None = None
    hessian_steps: tuple[int, ...] = ()
    hold_hard: bool | None = None
    hard_overlap: float | tuple[tuple[float, ...], ...] | None = None
    n_extreme: int | None = None
    dense_limit: int | None = None
    n_test: int | None = None

    def __post_init__(self) -> None:
        if self.d is not None:
            object.__setattr__(self, "d", check_sizes(self.d))
        check_integer("seeds", self.seeds, minimum=1)
        if self.delta is not None:
            check_real("delta", self.delta, minimum=0.0, exclusive=True)
        if self.inputs is not None:
            object.__setattr__(self, "inputs", get_inputs(self.inputs))
        steps = (check_integer("hessian_steps", step, minimum=0) for step in self.hessian_steps)
        object.__setattr__(self, "hessian_steps", tuple(steps))
        if self.hard_overlap is not None:
            if self.hold_hard:
                raise ValueError(
                    "hold_hard = true keeps the hard overlap at 0: give no hard_overlap"
                )
            object.__setattr__(self, "hard_overlap", _overlap(self.hard_overlap))
        for name, least in (("n_extreme", 1), ("dense_limit", 0), ("n_test", 1)):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), minimum=least)


@dataclass(frozen=True)
class SweepSettings:
    """Arguments of :func:`dmft.sweep`; None where the run file is silent.

    Attributes
    ----------
    deltas : tuple of float, optional
        Ascending.
    bracket : tuple of float, optional
        In place of ``deltas``: their ends.
    points : int
        How many lie in the bracket.
    d : tuple of int, optional
        Sizes, ascending; one size may be given as an integer.
    seeds : int
    n_steps : int, optional
        Steps within which the hard direction must be recovered; None: those of the method.
    recovery : float
        Squared cosine between hard direction and neurons that counts as recovered, in (0, 1).
    hessian_step : int, optional
    inputs : Inputs, optional
        A name or a table is turned into one.
    """

    deltas: tuple[float, ...] | None = None
    bracket: tuple[float, float] | None = None
    points: int = 9
    d: tuple[int, ...] | None = None
    seeds: int = 8
    n_steps: int | None = None
    recovery: float = 0.5
    hessian_step: int | None = None
    inputs: Inputs | None = None

    def __post_init__(self) -> None:
        if self.deltas is not None:
            if self.bracket is not None:
                raise ValueError("give either deltas, or bracket and points, not both")
            object.__setattr__(self, "deltas", check_deltas(self.deltas))
        if self.bracket is not None:
            _check_bracket(self.bracket)
        check_integer("points", self.points, minimum=2)
        if self.d is not None:
            object.__setattr__(self, "d", check_sizes(self.d))
        check_integer("seeds", self.seeds, minimum=1)
        if self.n_steps is not None:
            check_integer("n_steps", self.n_steps, minimum=1)
        recovery = check_real("recovery", self.recovery)
        if not 0.0 < recovery < 1.0:
            raise ValueError(f"recovery must be a squared cosine in (0, 1), got {recovery:g}")
        if self.hessian_step is not None:
            check_integer("hessian_step", self.hessian_step, minimum=0)
        if self.inputs is not None:
            object.__setattr__(self, "inputs", get_inputs(self.inputs))

    @property
    def grid(self) -> tuple[float, ...] | None:
        """The values of delta: as listed, or even in log over the bracket, to four digits."""
        if self.deltas is not None or self.bracket is None:
            return self.deltas
        lower, upper = self.bracket
        powers = (index / (self.points - 1) for index in range(self.points))
        return tuple(float(f"{lower * (upper / lower) ** power:.4g}") for power in powers)


def _check_curve(settings: CurveSettings | GapSettings) -> None:
    """Check what is asked about thresholds along the horizon."""
    if settings.bracket is not None:
        _check_bracket(settings.bracket)
    if settings.n_steps is not None:
        check_integer("n_steps", settings.n_steps, minimum=0)
    if settings.steps is not None:
        steps = tuple(check_integer("steps", step, minimum=0) for step in settings.steps)
        object.__setattr__(settings, "steps", steps)
    for name in ("points", "max_solves"):
        if getattr(settings, name) is not None:
            check_integer(name, getattr(settings, name), minimum=4)


def _check_bracket(bracket: tuple[float, float]) -> None:
    for index, end in enumerate(bracket):
        check_real(f"bracket[{index}]", end, minimum=0.0, exclusive=True)
    lower, upper = bracket
    if not lower < upper:
        raise ValueError(f"bracket must have lower < upper, got ({lower:g}, {upper:g})")


def _overlap(
    value: float | Sequence[Sequence[float]],
) -> float | tuple[tuple[float, ...], ...]:
    if not isinstance(value, Sequence):
        return check_real("hard_overlap", value)
    rows = [[check_real("hard_overlap", entry) for entry in row] for row in value]
    return tuple(map(tuple, rows))
