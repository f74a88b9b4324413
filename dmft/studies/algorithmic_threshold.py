r"""Compute algorithmic gaps: delta_NN of several networks over delta_alg of their label.

For one law of the labels there is a number of samples per dimension, delta_alg, above which some
polynomial-time algorithm recovers a hard direction (`dmft.hardness`). A network trained by gradient
descent needs delta_NN(t) for its Hessian at step t to point there (Montanari & Wang,
arXiv:2602.01434). How far it is from delta_alg depends on activation, loss, width and step size,
which are compared here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.execution import Execution
from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_choice, check_instance
from dmft.hessian.gap_samples import WhichOutlier
from dmft.io.folders import check_folder
from dmft.io.marks import DELTA, Along, ErrorOf
from dmft.io.saved_result import SavedResult
from dmft.model.biases import describe_biases
from dmft.model.losses import get_loss
from dmft.model.network import Network
from dmft.model.problem import Problem
from dmft.model.target import Target
from dmft.recovery.exponents import Hardness, hardness
from dmft.studies.step_axis import StepAxis, find_step_axis
from dmft.studies.step_sizes import SimulationCheck, StepSizes
from dmft.threshold.curve import ThresholdCurve
from dmft.threshold.horizon import delta_nn_curve
from dmft.threshold.question import POINTS, check_question, expected_solves
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from dmft.io.report_text import Lines
    from dmft.training.methods import Method
    from rmt.hard import Criterion

__all__ = ["AlgorithmicGap", "GapRatio", "algorithmic_gap", "name_networks", "wide_networks"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GapRatio:
    """Algorithmic gap delta_NN(t)/delta_alg of one network, at S steps.

    Attributes
    ----------
    value : ndarray, shape (S,)
        NaN where there is no delta_NN, or delta_alg is infinite.
    stderr : ndarray, shape (S,)
        Standard errors of both, and that of the interpolation of the curve, added in squares.
    """

    _axes: ClassVar = {"S": "step"}

    value: Annotated[FloatArray, "S"]
    stderr: Annotated[FloatArray, "S", ErrorOf("value")]


@dataclass(frozen=True, eq=False, repr=False)
class AlgorithmicGap(
    SavedResult,
    kind="algorithmic gap",
    settings=("target", "networks", "method", "sampling", "bracket"),
):
    """Algorithmic threshold of a label law, and delta_NN(t) of networks that learn it.

    Attributes
    ----------
    hardness : Hardness
        Of the label law: ``hardness.delta_alg`` with its error and status.
    curves : dict of str to ThresholdCurve
        delta_NN against the horizon for each network, by name. At step 0 it is the exact one.
    step_axis : StepAxis or None
        delta_NN at one time against the step size, for one of the networks.
    config : dict
        Target, networks (problems by name), method, sampling (with the seed) and bracket as plain
        types.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434; Mondelli and Montanari, arXiv:1708.05932.

    Examples
    --------
    >>> import dmft
    >>> network = dmft.Network("quadratic")
    >>> networks = {"r^2": dmft.Problem("phase-retrieval", network, "pseudo-huber")}
    >>> found = dmft.algorithmic_gap(
    ...     "phase-retrieval",
    ...     networks,
    ...     (0.5, 4),
    ...     method=dmft.GradientDescent(0.2, 0),
    ...     n_points=2**18,
    ... )
    >>> round(float(found.curves["r^2"].value[0]), 3), round(found.delta_alg, 3)
    (0.923, 0.5)
    """

    _rows: ClassVar = ("network", "step")
    _shown: ClassVar = ("curves", "delta_alg")

    hardness: Hardness
    curves: Annotated[dict[str, ThresholdCurve], Along("network")]
    step_axis: StepAxis | None
    config: dict[str, Any] = field(repr=False)

    @property
    def delta_alg(self) -> Annotated[float, DELTA]:
        """Algorithmic threshold of the label law."""
        return self.hardness.delta_alg

    @property
    def delta_alg_stderr(self) -> Annotated[float, DELTA]:
        """Standard error of `delta_alg`."""
        return self.hardness.delta_alg_stderr

    @property
    def gap(self) -> Annotated[dict[str, GapRatio], Along("network")]:
        """Algorithmic gap delta_NN(t)/delta_alg of each network."""
        return {name: self._ratio(curve) for name, curve in self.curves.items()}

    @property
    def status(self) -> Status:
        """SUCCESS if that of all parts is, otherwise the first other one."""
        statuses = [self.hardness.status, *(curve.status for curve in self.curves.values())]
        if self.step_axis is not None:
            statuses.append(self.step_axis.status)
        return first_failure(statuses)

    @property
    def detail(self) -> str:
        """Explanations of the statuses of the curves, each after the name of its network."""
        words = [f"{name}: {curve.detail}" for name, curve in self.curves.items() if curve.detail]
        return " ".join(words)

    def _report(self) -> tuple[Lines, str]:
        from dmft.studies.report import gap_lines, gap_tables

        return gap_lines(self), gap_tables(self)

    def _ratio(self, curve: ThresholdCurve) -> GapRatio:
        delta, error = self.delta_alg, self.delta_alg_stderr
        if not (math.isfinite(delta) and delta > 0.0):
            missing = np.full(len(curve.value), np.nan)
            return GapRatio(missing, missing)
        ratio = curve.value / delta
        own = curve.error / delta
        return GapRatio(ratio, np.hypot(own, ratio * error / delta))

    def check_settings(self) -> None:
        """Raise unless the settings are complete and allowed, those of all parts included."""
        super().check_settings()
        self.hardness.check_settings()
        for curve in self.curves.values():
            curve.check_settings()
        if self.curves.keys() != self.config["networks"].keys():
            raise ValueError("it has not one curve for each network")


def algorithmic_gap(
    target: Target | str,
    networks: Mapping[str, Problem] | Sequence[Problem],
    bracket: Sequence[float],
    *,
    method: Method,
    steps: Sequence[int] | None = None,
    sampling: Sampling | None = None,
    step_axis: StepSizes | None = None,
    simulate: SimulationCheck | None = None,
    points: int = POINTS,
    max_solves: int = 32,
    n_points: int | None = None,
    criterion: Criterion = "negative",
    index: int = 1,
    threads: int | None = None,
    progress: Callable[[int], None] | bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    max_memory: float | None = None,
    throw: bool = False,
) -> AlgorithmicGap:
    r"""Compute the algorithmic gaps delta_NN(t)/delta_alg of networks that learn one label.

    Parameters
    ----------
    target : Target or str
        Law of the labels, or a catalogue name; with a hard direction.
    networks : mapping of str to Problem, or sequence of Problem
        Problems with this target. Those of a sequence are named by `name_networks`.
    bracket : pair of float
        Where to look for every delta_NN, as in :func:`dmft.delta_nn_curve`.
    method : GradientDescent or GradientFlow
        Of the curves.
    steps : sequence of int, optional
        Horizons of the curves, as in :func:`dmft.delta_nn_curve`.
    sampling : Sampling, optional
    step_axis : StepSizes, optional
        Also find delta_NN at one time for several step sizes, of plain gradient descent.
    simulate : SimulationCheck, optional
        Runs to compare with, at the largest step size of the step axis that has a threshold.
    points, max_solves : int
        Of each curve, as in :func:`dmft.delta_nn_curve`.
    n_points : int, optional
        As in :func:`dmft.hardness`.
    criterion, index : optional
        Which hard outlier every delta_NN is about, as in :func:`dmft.find_delta_nn`; delta_alg is
        that of the label whatever they are.
    threads, max_memory
        As in :func:`dmft.delta_nn_curve`.
    progress : callable or True, optional
        Called with 1 after each solve; True for a progress bar.
    checkpoint : path-like, optional
        A folder in which the whole survives being killed: the same call goes on from there. Each
        network has a subfolder.
    throw : bool
        Raise :class:`dmft.NumericalFailure` instead of returning a status other than SUCCESS.

    Returns
    -------
    AlgorithmicGap

    Raises
    ------
    ValueError
        If a network has another target or there are two of the same name, there is no network of
        the name asked for, ``simulate`` comes without ``step_axis``, or as in
        :func:`dmft.delta_nn_curve`.
    OSError
        If ``checkpoint`` cannot be written to.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434; Mondelli and Montanari, arXiv:1708.05932; Troiani et al.,
    arXiv:2405.15480.

    Examples
    --------
    >>> import dmft
    >>> target = dmft.Target("phase-retrieval")
    >>> networks = wide_networks(dmft.Problem(target, loss="pseudo-huber"), ["quadratic", "gelu"])
    >>> method = dmft.GradientDescent(0.2, 0)
    >>> found = dmft.algorithmic_gap(target, networks, (0.5, 4), method=method, n_points=2**18)
    >>> round(found.delta_alg, 3)
    0.5
    >>> {name: round(float(ratio.value[0]), 2) for name, ratio in found.gap.items()}
    {'quadratic': 1.85, 'gelu': 3.39}
    """
    if isinstance(target, str):
        target = Target(target)
    check_instance("target", target, Target)
    sampling = Sampling() if sampling is None else sampling
    named = _named(networks)
    for name, problem in named.items():
        if problem.target != target:
            raise ValueError(
                f"networks must all have the target given, {target.description!r}; that of "
                f"{name!r} is another, {problem.target.description!r}"
            )
        check_question(problem, method, bracket, sampling)
        WhichOutlier.checked(problem, criterion, index)
    chosen = _chosen(step_axis, named)
    if simulate is not None:
        check_instance("simulate", simulate, SimulationCheck)
        if step_axis is None:
            raise ValueError("simulate must come with step_axis, which runs are compared with")
    asked = Execution(threads, progress, checkpoint, max_memory=max_memory, throw=throw)
    folders: dict[str, Path | None] = dict.fromkeys(named)
    if checkpoint is not None:
        folders |= _folders(check_folder(checkpoint), named)
    n_solves = len(named) * expected_solves(points)
    if step_axis is not None:
        n_solves += step_axis.n_searches * expected_solves()
    if simulate is not None and step_axis is not None:
        n_solves += len(simulate.factors) * (1 + step_axis.compare_fresh)
    with asked.shown(n_solves, "values of delta") as execution:
        curves = {
            name: delta_nn_curve(
                problem,
                method,
                bracket,
                steps,
                sampling,
                points=points,
                max_solves=max_solves,
                criterion=criterion,
                index=index,
                **replace(execution, checkpoint=folders[name]).options(),
            )
            for name, problem in named.items()
        }
        axis = None
        if step_axis is not None:
            path = folders[chosen]
            axis = find_step_axis(
                named[chosen],
                bracket,
                step_axis,
                sampling,
                name=chosen,
                simulate=simulate,
                criterion=criterion,
                index=index,
                execution=replace(
                    execution,
                    checkpoint=path and _sibling(path, "step-sizes"),
                ),
                constraint=method.constraint,
            )
        result = AlgorithmicGap(
            hardness=hardness(target, n_points=n_points, progress=execution.counting),
            curves=curves,
            step_axis=axis,
            config={
                "target": target.to_config(),
                "networks": {name: problem.to_config() for name, problem in named.items()},
                "method": method.to_config(),
                "sampling": sampling.to_config(),
                "bracket": [float(end) for end in bracket],
            },
        )
        execution.settle(result.status, result.detail)
        return result


def wide_networks(
    base: Problem,
    activations: Sequence[object] = (),
    losses: Sequence[object] = (),
    widths: Sequence[int] = (),
) -> list[Problem]:
    """Return the problems with all combinations of activation, loss and width.

    A network of width m has second layer (1/m, ..., 1/m). Its initial neurons are independent, and
    orthogonal in the limit. The gradient of each of its neurons has a factor 1/m too: in the same
    time the neurons of wider networks move less.

    Parameters
    ----------
    base : Problem
        What is not varied is as here.
    activations, losses : sequence
        Catalogue names or objects; empty: that of `base`.
    widths : sequence of int
        Numbers of neurons; empty: the second layer of `base`.

    Returns
    -------
    list of Problem
        Activations vary slowest, widths fastest.

    Raises
    ------
    ValueError
        If a name or width is not allowed, or `base` has settings for each neuron (radii,
        overlaps, a Gram matrix) and a width is another.

    Examples
    --------
    >>> base = Problem("phase-retrieval", loss="pseudo-huber")
    >>> found = wide_networks(base, ["gelu", "softplus"], widths=[1, 2])
    >>> [(problem.network.activation.name, problem.network.second_layer) for problem in found]
    [('gelu', (1.0,)), ('gelu', (0.5, 0.5)), ('softplus', (1.0,)), ('softplus', (0.5, 0.5))]
    """
    from dmft._numerics.validation import check_integer

    layers: list[Sequence[float]] = [base.network.second_layer]
    if len(widths):
        checked = [check_integer("widths", m, minimum=1) for m in widths]
        layers = [(1.0 / m,) * m for m in checked]
    by_neuron = (base.init_gram, base.initial_overlap)
    is_common = isinstance(base.init_radius, float) and all(given is None for given in by_neuron)
    for layer in layers:
        if len(layer) != base.m and not is_common:
            raise ValueError(
                f"widths must be the {base.m} of the problem, whose initial_overlap, init_gram or "
                f"init_radius are stated for each neuron; got {len(layer)}"
            )
    return [
        replace(
            base,
            network=Network(activation, layer, biases=base.network.to_config().get("biases")),
            loss=get_loss(loss),
        )
        for activation in (activations or [base.network.activation])
        for loss in (losses or [base.loss])
        for layer in layers
    ]


def name_networks(problems: Sequence[Problem]) -> list[str]:
    """Name problems by their activation and by what else differs from the first.

    Raises
    ------
    ValueError
        If two of them would have the same name.

    Examples
    --------
    >>> gelu, square = Network("gelu"), Network("gelu", [0.5, 0.5])
    >>> first = Problem("phase-retrieval", gelu, "pseudo-huber")
    >>> name_networks([first, Problem("phase-retrieval", square, "square")])
    ['gelu', 'gelu, 2 neurons, square']
    """
    names = [_name(problem, problems[0]) for problem in problems]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"networks must differ, or be a mapping with a name for each; {names.count(name)} "
                f"are {name!r}"
            )
    return names


def _name(problem: Problem, first: Problem) -> str:
    parts = [problem.network.activation.name]
    if problem.m != first.m:
        parts.append(f"{problem.m} neuron{'s' if problem.m > 1 else ''}")
    elif problem.network.second_layer != first.network.second_layer:
        parts.append("second layer " + " ".join(f"{a:g}" for a in problem.network.second_layer))
    if problem.network.biases != first.network.biases:
        parts.append(describe_biases(problem.network.to_config()) or "no biases")
    if problem.loss != first.loss:
        parts.append(problem.loss.name)
    if problem.weight_decay != first.weight_decay:
        parts.append(f"weight decay {problem.weight_decay:g}")
    if problem.init_radius != first.init_radius and isinstance(problem.init_radius, float):
        parts.append(f"radius {problem.init_radius:g}")
    return ", ".join(parts)


def _named(networks: object) -> dict[str, Problem]:
    """Return the problems by name."""
    if isinstance(networks, Mapping):
        named = {str(name): problem for name, problem in networks.items()}
    elif isinstance(networks, Sequence) and not isinstance(networks, str):
        for problem in networks:
            check_instance("networks", problem, Problem)
        named = dict(zip(name_networks(networks), networks, strict=True)) if networks else {}
    else:
        raise ValueError(
            f"networks must be problems by name, or a list of problems, got {networks!r}"
        )
    if not named:
        raise ValueError("networks must have at least one entry, got none")
    for problem in named.values():
        check_instance("networks", problem, Problem)
        if problem.inputs is not None:
            raise ValueError(
                "networks must have Gaussian inputs: delta_alg is that of standard Gaussian "
                f"latents, got {problem.inputs.describe()}"
            )
    return named


def _chosen(step_axis: StepSizes | None, named: Mapping[str, Problem]) -> str:
    """Name the network that the step axis is about."""
    if step_axis is None:
        return ""
    check_instance("step_axis", step_axis, StepSizes)
    if step_axis.network is None:
        return next(iter(named))
    return check_choice("network", step_axis.network, list(named))


def _folders(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Return a folder for each network, by its name as far as that can be one."""
    found: dict[str, Path] = {}
    for name in names:
        path = folder / (re.sub(r"[^\w.]+", "-", name).strip("-.").lower() or "network")
        while path in found.values():
            path = _sibling(path, "other")
        found[name] = path
    return found


def _sibling(path: Path, word: str) -> Path:
    """Return the path of a folder next to one."""
    return path.with_name(f"{path.name}-{word}")
