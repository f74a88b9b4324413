"""Tables of run files: the one declaration of each of their options.

`dmft.config.options` says how a run file, the command line and Python follow from them. Defaults
and checks that a class or function of the library has are not repeated here: an option that is None
is not handed on.
"""

# ruff: noqa: RUF009 - `option` makes a field of a frozen dataclass

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

from dmft._numerics.accuracy import Accuracy, requested
from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_integer, check_real
from dmft.config.options import Settings, option
from dmft.config.own_laws import is_own, own_law
from dmft.model.activations import get_activation
from dmft.model.inputs import Inputs, get_inputs
from dmft.model.losses import get_loss
from dmft.simulation.simulation_plan import check_deltas, check_sizes
from dmft.studies.step_sizes import SimulationCheck, StepSizes
from dmft.training.methods import Method, method_from_config
from rmt.hard import check_criterion

__all__ = [
    "AlgorithmicGapSettings",
    "CurveGridSettings",
    "CurveSettings",
    "MethodSettings",
    "NetworkSettings",
    "ProblemSettings",
    "SamplingSettings",
    "ScanSettings",
    "SimulationSettings",
    "SpectrumSettings",
    "SweepSettings",
    "TargetSettings",
    "ThresholdSettings",
    "TrajectorySettings",
]

# -- checks --------------------------------------------------------------------------------------

Check = Callable[[str, Any], Any]
_positive: Check = partial(check_real, minimum=0.0, exclusive=True)


def _at_least(minimum: int) -> Check:
    return partial(check_integer, minimum=minimum)


def _each(check: Check) -> Check:
    return lambda name, values: tuple(check(name, value) for value in values)


def _bracket(name: str, bracket: tuple[float, float]) -> tuple[float, float]:
    lower, upper = (_positive(f"{name}[{index}]", end) for index, end in enumerate(bracket))
    if not lower < upper:
        raise ValueError(f"{name} must have lower < upper, got ({lower:g}, {upper:g})")
    return lower, upper


def _squared_cosine(name: str, value: float) -> float:
    value = check_real(name, value)
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} must be a squared cosine in (0, 1), got {value:g}")
    return value


def _overlap(
    name: str, value: float | Sequence[Sequence[float]]
) -> float | tuple[tuple[float, ...], ...]:
    if not isinstance(value, Sequence):
        return check_real(name, value)
    return tuple(tuple(check_real(name, entry) for entry in row) for row in value)


def _law(name: str, entry: Any) -> Any:
    """Return the name of a law of the catalogue, or a law of one's own or with parameters."""
    kind = {"activations": "activation", "losses": "loss"}[name]
    if is_own(entry):
        return own_law(kind, entry, "")
    found = get_activation(entry) if kind == "activation" else get_loss(entry)
    return found.name if isinstance(entry, str) else found


# -- options of several tables -------------------------------------------------------------------

_LAWS = "gaussian, rademacher, uniform, student-t, mixture"


def _bracket_option() -> Any:
    return option("range of delta to search", ("LO", "HI"), check=_bracket)


def _criterion(name: str, value: str) -> str:
    check_criterion(value)
    return value


def _criterion_option() -> Any:
    return option("hard outliers that count: negative, left or any", "WHICH", check=_criterion)


def _index_option() -> Any:
    return option("threshold of the j-th hard outlier", "J", check=_at_least(1))


def _delta_option() -> Any:
    return option("samples per dimension n/d", check=_positive)


def _sizes_option() -> Any:
    return option(
        "one size or several", "D", reads=int | tuple[int, ...], check=lambda _, d: check_sizes(d)
    )


def _seeds_option() -> Any:
    return option("number of runs of each size", "S", default=8, check=_at_least(1))


def _inputs_option() -> Any:
    return option(
        _LAWS, "LAW", reads=str | dict[str, Any], check=lambda _, inputs: get_inputs(inputs)
    )


# -- problem, method, sampling -------------------------------------------------------------------


@dataclass(frozen=True)
class TargetSettings(Settings):
    """Arguments of :class:`dmft.Target`."""

    label: str | dict[str, Any] | None = option(
        "a label of the catalogue, or file.py:function", "NAME",
        instead_of=("k", "hard_directions"),
    )  # fmt: skip
    k: int | None = option("of a label of your own: number of latent directions", "K")
    noise: float | None = option("add S times Gaussian noise", "S")
    hard_directions: list[int | list[float]] | None = option()
    classes: str | None = option("labels +-1: sign, logistic or component", "LAW")
    flip: float | None = option("of sign and component: probability of a flip", "P")
    slope: float | None = option("of logistic: its slope", "B")
    threshold: float | None = option("of classes: where they meet", "C")


@dataclass(frozen=True)
class NetworkSettings(Settings):
    """Arguments of :class:`dmft.Network`."""

    activation: str | dict[str, Any] | None = option(
        "activation: a catalogue name, or file.py:function", "NAME"
    )
    second_layer: list[float] | None = option()
    neurons: int | None = option(
        "number of neurons, with second-layer weights 1/M", "M", instead_of=("second_layer",),
        also=("--widths",),
    )  # fmt: skip
    biases: float | list[float] | dict[str, Any] | None = option(
        "initial biases, the same for all neurons", "B"
    )


@dataclass(frozen=True)
class ProblemSettings(Settings):
    """Arguments of :class:`dmft.Problem` other than target and network."""

    loss: str | dict[str, Any] | None = option(
        "loss: a catalogue name, or file.py:function", "NAME"
    )
    init_radius: float | list[float] | None = option("radius of the initial neurons", "R")
    weight_decay: float | None = option("weight decay", "LAMBDA")
    initial_overlap: list[list[float]] | None = option()
    init_gram: list[list[float]] | None = option()
    init_law: str | None = option()
    second_layer_weight_decay: float | None = option()
    bias_weight_decay: float | None = option()
    inputs: str | dict[str, Any] | None = option()
    spectral_start: str | dict[str, Any] | None = option(
        "start along the leading eigenvector of the data: optimal, clipped", "T"
    )


@dataclass(frozen=True)
class MethodSettings(Settings):
    """Arguments of :class:`dmft.GradientDescent`, or of :class:`dmft.GradientFlow`."""

    step_size: float | list[float] | dict[str, Any] | None = option("step size", "ETA")
    n_steps: int | None = option("number of steps", "T")
    batch_fraction: float | None = option("share of the samples in each step", "P")
    momentum: float | None = option("momentum, 0 to 1", "BETA")
    second_layer_step_size: float | list[float] | dict[str, Any] | None = option(
        "train the second layer too", "ETA"
    )
    fresh_batches: bool | None = option(
        "n samples of its own for each step, in place of the same ones again"
    )
    nesterov: bool | None = option("Nesterov's momentum in place of the heavy ball")
    constraint: str | None = option("sphere: neurons keep their norms", "NAME")
    t_max: float | None = option(
        "gradient flow to this time", "TIME", instead_of=("step_size", "n_steps", "times")
    )
    tol: float | None = option("tolerance of its steps", "TOL")
    times: list[float] | None = option()
    max_steps: int | None = option()
    bias_step_size: float | list[float] | dict[str, Any] | None = option(
        "train the biases too", "ETA"
    )
    bias_rate: float | None = option()

    def method(self) -> Method:
        """Return gradient descent or flow, whichever the table describes.

        Raises
        ------
        ValueError
            If it describes both or neither, or a value is not allowed.
        """
        settings = self.stated()
        flow = self.stated(*FLOW)
        others = settings.keys() - {*FLOW, *OF_BOTH}
        if flow and others:
            raise ValueError(
                f"{min(others)} belongs to gradient descent, t_max, tol, times, max_steps and "
                "bias_rate to gradient flow: give one or the other"
            )
        for name in ("t_max",) if flow else ("step_size", "n_steps"):
            if name not in settings:
                raise ValueError(
                    f"method.{name} is missing: gradient descent has step_size and n_steps, "
                    "gradient flow t_max"
                )
        return method_from_config(settings)


#: Options of the method that are those of gradient flow.
FLOW = ("t_max", "tol", "times", "max_steps", "bias_rate")

#: Options of either method.
OF_BOTH = ("constraint",)


#: Options of the sampling that are about an accuracy.
ACCURACY = ("rtol", "max_paths", "max_seconds")


@dataclass(frozen=True)
class SamplingSettings(Settings):
    """Arguments of :class:`dmft.Sampling`, or an accuracy in place of its ``n_paths``.

    Commands that can reach an accuracy (thresholds, curves, trajectories) do so where ``rtol`` is
    given; all others use ``n_paths``.
    """

    n_paths: int | None = option("paths per replicate, 2^p", "N", instead_of=ACCURACY)
    replicates: int | None = option("independent randomisations", "R")
    seed: int | None = option("seed of its random numbers")
    rank_tolerance: float | None = option()
    sobol_blocks: int | None = option()
    compression: float | None = option()
    rtol: float | None = option("relative error to reach, in place of N", "RTOL")
    max_paths: int | None = option("with --rtol: paths per replicate at most", "N")
    max_seconds: float | None = option("with --rtol: begin nothing that ends later", "SECONDS")

    @property
    def sampling(self) -> Sampling:
        """Return the sampling, of commands that do not reach an accuracy."""
        settings = self.stated()
        return Sampling(**{name: settings[name] for name in settings if name not in ACCURACY})

    @property
    def accuracy(self) -> Accuracy | None:
        """Return the accuracy to reach; None where none is stated."""
        return requested(self.rtol, self.max_paths, self.max_seconds)


# -- theory --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OfRuns(Settings):
    """Dimensions of runs whose law is drawn too, each by so many ``draws``."""

    _: KW_ONLY
    d: tuple[int, ...] | None = option(
        "also for runs of these sizes", "D", reads=int | tuple[int, ...],
        check=lambda _, d: check_sizes(d),
    )  # fmt: skip
    draws: int | None = option("of these: draws of n weights", "R", check=_at_least(2))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws is not None and self.d is None:
            raise ValueError(f"draws must come with a dimension d, got draws = {self.draws} alone")

    @property
    def of_size(self) -> dict[str, Any]:
        """Return the one dimension, with the draws; nothing where none is stated.

        Raises
        ------
        ValueError
            If there are several.
        """
        stated = self.stated("d", "draws")
        if "d" in stated and len(stated["d"]) > 1:
            raise ValueError(f"d must be one size here, got {list(stated['d'])}")
        return {**stated, "d": stated["d"][0]} if "d" in stated else stated


@dataclass(frozen=True)
class ThresholdSettings(OfRuns):
    """Arguments of :func:`dmft.find_delta_nn`."""

    bracket: tuple[float, float] | None = _bracket_option()
    step: int | None = option("horizon t of delta_NN(t)", "T", check=_at_least(0))
    scan_points: int | None = option("points of the first scan", "N", check=_at_least(2))
    criterion: str | None = _criterion_option()
    index: int | None = _index_option()


@dataclass(frozen=True)
class CurveGridSettings(Settings):
    """Arguments of :func:`dmft.delta_nn_curve` that its studies have too.

    Bracket, criterion and index are by default those of the threshold; ``n_steps``, the last step
    of the curve, that of the method.
    """

    bracket: tuple[float, float] | None = _bracket_option()
    n_steps: int | None = option(check=_at_least(0))
    steps: tuple[int, ...] | None = option(
        "horizons t of delta_NN(t)", "T", check=_each(_at_least(0))
    )
    points: int | None = option("values of delta to begin with", "N", check=_at_least(4))
    max_solves: int | None = option("values of delta at most", "N", check=_at_least(4))
    criterion: str | None = _criterion_option()
    index: int | None = _index_option()


@dataclass(frozen=True)
class CurveSettings(OfRuns, CurveGridSettings):
    """Arguments of :func:`dmft.delta_nn_curve`."""


@dataclass(frozen=True)
class AlgorithmicGapSettings(CurveGridSettings):
    """Arguments of :func:`dmft.algorithmic_gap`.

    Activations, losses and second layer are by default those of the run file; bracket, criterion
    and index those of the curve or of the threshold. ``step_sizes`` (0 for gradient flow) and
    ``time`` come together; ``network`` is the one they are about, ``d`` the dimension of runs at
    the largest step size.
    """

    activations: tuple[str | dict[str, Any], ...] | None = option(
        "one or several", "NAME", check=_each(_law)
    )
    losses: tuple[str | dict[str, Any], ...] | None = option(
        "one or several", "NAME", check=_each(_law)
    )
    widths: tuple[int, ...] | None = option("numbers of neurons", "M", check=_each(_at_least(1)))
    step_sizes: tuple[float, ...] | None = option(
        "0 for gradient flow", "ETA", check=lambda _, sizes: tuple(sizes)
    )
    time: float | None = option("time that all of them reach")
    network: str | None = option("which network (default: the first)", "NAME")
    compare_fresh: bool = option(default=True, off=("--no-fresh", "leave out fresh batches"))
    d: int | None = option("dimension of runs at the largest step", "D")
    seeds: int = option("number of runs at each delta", "S", default=8)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.step_sizes is None) != (self.time is None):
            raise ValueError("step_sizes and time must come together: one of them is missing")
        if self.d is not None and self.step_sizes is None:
            raise ValueError(
                "d must come with step_sizes and time: runs are made at the largest step size"
            )
        _ = self.step_axis, self.simulation

    @property
    def step_axis(self) -> StepSizes | None:
        """Return the step sizes to compare; None for none."""
        if self.step_sizes is None or self.time is None:
            return None
        return StepSizes(self.step_sizes, self.time, self.network, self.compare_fresh)

    @property
    def simulation(self) -> SimulationCheck | None:
        """Return the simulations at the largest step size; None for none."""
        return None if self.d is None else SimulationCheck(self.d, self.seeds)


@dataclass(frozen=True)
class TrajectorySettings(Settings):
    """Place of the trajectory."""

    delta: float | None = _delta_option()


@dataclass(frozen=True)
class SpectrumSettings(OfRuns):
    """Place of the Hessian; at the last step if the step is None."""

    delta: float | None = _delta_option()
    step: int | None = option("step at which to read the Hessian", "T", check=_at_least(0))


# -- finite dimension ----------------------------------------------------------------------------


@dataclass(frozen=True)
class SimulationSettings(Settings):
    """Arguments of :func:`dmft.simulate`; ``d`` holds ascending sizes, also where it is one."""

    d: tuple[int, ...] | None = _sizes_option()
    seeds: int = _seeds_option()
    delta: float | None = _delta_option()
    inputs: Inputs | None = _inputs_option()
    hessian_steps: tuple[int, ...] = option(
        "steps to read the Hessian at", "T", default=(), check=_each(_at_least(0))
    )
    hold_hard: bool | None = option(
        "keep hard directions at overlap 0", off=("--free", "let them move")
    )
    hard_overlap: float | tuple[tuple[float, ...], ...] | None = option(check=_overlap)
    n_extreme: int | None = option(check=_at_least(1))
    dense_limit: int | None = option(check=_at_least(0))
    n_test: int | None = option(check=_at_least(1))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hold_hard and self.hard_overlap is not None:
            raise ValueError("hold_hard = true keeps the hard overlap at 0: give no hard_overlap")


@dataclass(frozen=True)
class SweepSettings(Settings):
    """Arguments of :func:`dmft.sweep`.

    Either ``deltas`` or a ``bracket`` with so many ``points``; ``n_steps``, within which the hard
    direction must be recovered, is by default that of the method.
    """

    deltas: tuple[float, ...] | None = option(
        "samples per dimension n/d", "DELTA", check=lambda _, deltas: check_deltas(deltas),
        instead_of=("bracket",),
    )  # fmt: skip
    bracket: tuple[float, float] | None = _bracket_option()
    points: int = option(default=9, check=_at_least(2))
    d: tuple[int, ...] | None = _sizes_option()
    seeds: int = _seeds_option()
    n_steps: int | None = option("steps within which to recover", "T", check=_at_least(1))
    recovery: float = option(
        "squared cosine that counts as recovered", "R", default=0.5, check=_squared_cosine
    )
    hessian_step: int | None = option("step to read the Hessian at", "T", check=_at_least(0))
    inputs: Inputs | None = _inputs_option()
    recovery_draws: int | None = option(
        "runs drawn of each size and delta to predict recovery", "R", check=_at_least(1)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.deltas is not None and self.bracket is not None:
            raise ValueError("give either deltas, or bracket and points, not both")

    @property
    def grid(self) -> tuple[float, ...] | None:
        """Return the values of delta: as listed, or even in log over the bracket."""
        if self.deltas is not None or self.bracket is None:
            return self.deltas
        lower, upper = self.bracket
        powers = (index / (self.points - 1) for index in range(self.points))
        return tuple(float(f"{lower * (upper / lower) ** power:.4g}") for power in powers)


# -- scans ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScanSettings(Settings):
    """Arguments of :func:`dmft.scan`, which checks them: points over settings of the run file."""

    quantity: tuple[str, ...] | None = option(
        "what to compute, threshold or gap@40 say", "NAME", reads=str | tuple[str, ...],
        check=lambda _, names: (names,) if isinstance(names, str) else tuple(names),
    )  # fmt: skip
    design: str | None = option()
    axes: dict[str, Any] | None = option()
    points: int | list[dict[str, Any]] | None = option()
    seed: int | None = option()
