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
from dmft.model.input_laws import describe_inputs
from dmft.model.problem import Problem
from dmft.model.target import Target
from dmft.recovery.exponents import Hardness, hardness
from dmft.studies.compared_networks import name_networks, named_networks, wide_networks
from dmft.studies.step_axis import StepAxis, check_axis, find_step_axis
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
    hardness : Hardness or None
        Of the label law: ``hardness.delta_alg`` with its error and status. It is that of standard
        Gaussian latents; None if no network has Gaussian inputs.
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

    hardness: Hardness | None
    curves: Annotated[dict[str, ThresholdCurve], Along("network")]
    step_axis: StepAxis | None
    config: dict[str, Any] = field(repr=False)

    @property
    def delta_alg(self) -> Annotated[float, DELTA]:
        """Algorithmic threshold of the label law; NaN if no network has Gaussian inputs."""
        return math.nan if self.hardness is None else self.hardness.delta_alg

    @property
    def delta_alg_stderr(self) -> Annotated[float, DELTA]:
        """Standard error of `delta_alg`."""
        return math.nan if self.hardness is None else self.hardness.delta_alg_stderr

    @property
    def gap(self) -> Annotated[dict[str, GapRatio], Along("network")]:
        """Algorithmic gap delta_NN(t)/delta_alg of each network; NaN for those of other inputs."""
        return {name: self._ratio(curve) for name, curve in self.curves.items()}

    @property
    def other_inputs(self) -> dict[str, str]:
        """Inputs of the networks that have no Gaussian ones, in words; delta_alg is not theirs."""
        inputs = {name: one.get("inputs") for name, one in self.config["networks"].items()}
        return {name: describe_inputs(law) for name, law in inputs.items() if law is not None}

    @property
    def status(self) -> Status:
        """SUCCESS if that of all parts is, otherwise the first other one."""
        statuses = [] if self.hardness is None else [self.hardness.status]
        statuses += [curve.status for curve in self.curves.values()]
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
        is_known = "inputs" not in curve.config["problem"]
        if not (is_known and math.isfinite(delta) and delta > 0.0):
            missing = np.full(len(curve.value), np.nan)
            return GapRatio(missing, missing)
        ratio = curve.value / delta
        own = curve.error / delta
        return GapRatio(ratio, np.hypot(own, ratio * error / delta))

    def check_settings(self) -> None:
        """Raise unless the settings are complete and allowed, those of all parts included."""
        super().check_settings()
        if self.hardness is not None:
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
        Problems with this target. Those of a sequence are named by `name_networks`. Under inputs
        that are not standard Gaussian delta_NN is found as usual; delta_alg is not known there.
    bracket : pair of float
        Where to look for every delta_NN, as in :func:`dmft.delta_nn_curve`.
    method : GradientDescent or GradientFlow
        Of the curves.
    steps : sequence of int, optional
        Horizons of the curves, as in :func:`dmft.delta_nn_curve`.
    sampling : Sampling, optional
    step_axis : StepSizes, optional
        Also find delta_NN at one time for several step sizes, of descent with the other options
        of the method: momentum, batches, constraint; step sizes of second layer and biases in
        their ratio to that of the method.
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
        :func:`dmft.delta_nn_curve`; with a step axis also if the method has a schedule, or trains
        the second layer and gradient flow is among the step sizes.
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
    named = named_networks(networks)
    for name, problem in named.items():
        if problem.target != target:
            raise ValueError(
                f"networks must all have the target given, {target.description!r}; that of "
                f"{name!r} is another, {problem.target.description!r}"
            )
        check_question(problem, method, bracket, sampling)
        WhichOutlier.checked(problem, criterion, index)
    chosen = _chosen(step_axis, named)
    if step_axis is not None:
        check_axis(step_axis, method, named[chosen])
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
                method=method,
            )
        of_label = None
        if any(problem.inputs is None for problem in named.values()):
            of_label = hardness(target, n_points=n_points, progress=execution.counting)
        result = AlgorithmicGap(
            hardness=of_label,
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
