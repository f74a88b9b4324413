r"""Compare theory with simulation in standard errors, quantity by quantity and step by step.

Runs of `dmft.simulate` differ from the limit n, d to infinity (Montanari & Wang, arXiv:2602.01434)
by fluctuations of order d^(-1/2) and a bias of order 1/d; two or more sizes remove the bias. The
statistics are those of `dmft.comparison.agreement`.

What is compared is what the limit predicts at O(1) steps. On hard directions it says zero, while a
run of finite dimension starts with an overlap of order d^(-1/2) and random sign, which a negative
outlier of the Hessian amplifies. Runs with ``hold_hard`` stay in the regime of the theory; others
leave it after some log d steps, which the comparison reports and does not count as a deviation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_choice, check_instance
from dmft.comparison.agreement import THREE_SIGMA
from dmft.comparison.quantities import (
    QUANTITIES,
    QuantityComparison,
    compare_eigenvalues,
    compare_quantity,
)
from dmft.comparison.report import summarise, write_table, write_verdict
from dmft.comparison.run_data import MEASURED, ComparedRuns, RunData
from dmft.comparison.smallest_eigenvalue import HessianPrediction, predict_smallest_at
from dmft.io.marks import DELTA, STEPS
from dmft.io.saved_result import SavedResult
from dmft.model.custom_laws import same_own_laws
from dmft.trajectory.trajectory import Trajectory
from rmt.status import Status, first_failure

if TYPE_CHECKING:
    from dmft.io.report_text import Lines
    from dmft.simulation.simulation import Simulation

    Runs = Simulation | RunData

__all__ = ["Comparison", "check_comparable", "compare"]

FloatArray = NDArray[np.float64]

# Mean squared cosine with the hard directions from which a run is no longer at "O(1) steps".
_LEFT_REGIME: Final = 0.05


@dataclass(frozen=True, eq=False)
class Comparison(
    SavedResult, kind="comparison", settings=("problem", "method", "sampling", "inputs")
):
    """Comparison of theory and simulation at one or more dimensions.

    Attributes
    ----------
    quantities : dict of str to QuantityComparison
    hessian : tuple of HessianPrediction
        One for each step whose Hessian was recorded at every size.
    delta : float
    sizes : tuple of int
        Dimensions d, ascending.
    samples : tuple of int
        Numbers n.
    seeds : tuple of tuple of int
        For each size.
    last_step : int
        Last step compared.
    hold_hard : bool
    follows_hard : bool
        Whether the theory itself starts with an overlap on hard directions and follows it.
    hard_rms : ndarray, shape (J, last_step + 1)
        For each size, root mean square over seeds, neurons and hard directions of the overlap.
    hard_cosine : ndarray, shape (J, last_step + 1)
        Mean over seeds of the largest squared cosine between a hard direction and the neurons.
    status : Status
        SUCCESS, or why the theory or a run ended before the last step asked for, or a Hessian of
        the theory could not be computed.
    notes : tuple of str
        Explanations of the deviations.
    config : dict
        Problem, method, sampling and inputs as plain types.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem(target="linear", network=dmft.Network(activation="linear"))
    >>> method = dmft.GradientDescent(step_size=0.1, n_steps=2)
    >>> trajectory = dmft.solve(problem, 4.0, method, dmft.Sampling(n_paths=64))
    >>> runs = [dmft.simulate(problem, 4.0, method, d=50, seeds=8, workers=1)]
    >>> found = dmft.compare(trajectory, runs, quantities=["overlap"])
    >>> found.sizes, list(found.quantities), found.extrapolated
    ((50,), ['overlap'], False)
    """

    _axes: ClassVar = {"J": "size", "T": "step"}
    _rows: ClassVar = ("step",)

    quantities: dict[str, QuantityComparison]
    hessian: tuple[HessianPrediction, ...]
    delta: Annotated[float, DELTA]
    sizes: Annotated[tuple[int, ...], "J"]
    samples: Annotated[tuple[int, ...], "J"]
    seeds: Annotated[tuple[tuple[int, ...], ...], "J"]
    last_step: Annotated[int, "T"]
    hold_hard: bool
    follows_hard: bool
    hard_rms: Annotated[FloatArray, "J T+1"]
    hard_cosine: Annotated[FloatArray, "J T+1"]
    status: Status
    notes: tuple[str, ...]
    config: dict[str, Any] = field(repr=False)

    @property
    def steps(self) -> Annotated[NDArray[np.intp], "T", STEPS]:
        """Steps 0, ..., last_step."""
        return np.arange(self.last_step + 1)

    @property
    def extrapolated(self) -> bool:
        """Whether simulated values are extrapolated to 1/d = 0 (two sizes or more)."""
        return len(self.sizes) > 1

    @property
    def regime_end(self) -> int | None:
        """First step at which the mean ``hard_cosine`` exceeds 0.05 at some size, None if never.

        From there on runs learn hard directions, which the limit at O(1) steps does not describe;
        None also where the theory starts on hard directions itself.
        """
        if self.follows_hard:
            return None
        left = np.flatnonzero((self.hard_cosine > _LEFT_REGIME).any(axis=0))
        return int(left[0]) if len(left) else None

    @property
    def compatible(self) -> bool:
        """Whether every entry of every quantity is within three standard errors."""
        return all(quantity.compatible for quantity in self.quantities.values())

    @property
    def largest_ratio(self) -> float:
        """Largest deviation in standard errors, in absolute value, of all quantities."""
        return max((q.largest_ratio for q in self.quantities.values()), default=0.0)

    @property
    def p_value(self) -> float:
        """Of the two tests of every quantity the smallest p-value, times their number."""
        found = [p for q in self.quantities.values() for p in (q.entry_p, q.joint_p)]
        return min(1.0, len(found) * min(found, default=1.0))

    @property
    def significant(self) -> bool:
        """Whether the deviations are more than chance gives, at the level of three sigma.

        With some hundred entries and few seeds a ratio somewhat above three is no surprise: see
        `dmft.comparison.agreement`.
        """
        return self.p_value < THREE_SIGMA

    def _report(self) -> tuple[Lines, str]:
        return [], self.table()

    def verdict(self) -> str:
        """Say in one sentence whether theory and simulation agree."""
        return write_verdict(self)

    def table(self) -> str:
        """Return the comparison as aligned text: one line a quantity, Hessians, notes, verdict.

        Columns: number of entries (steps times components); largest deviation in combined standard
        errors and where; this deviation and its error; family-wise p-value (of the most significant
        entry); joint p-value (of all entries together).
        """
        return write_table(self)

    def to_config(self) -> dict[str, Any]:
        """Return the content of `table` as plain types, with the configuration."""
        return summarise(self)

    def to_json(self) -> str:
        """Return `to_config` as JSON; numbers that are not finite become null."""
        return json.dumps(self.to_config(), allow_nan=False)

    def check_settings(self) -> None:
        """Raise unless the settings are complete and allowed, and all runs have their shapes."""
        super().check_settings()
        for name, quantity in self.quantities.items():
            shape = quantity.theory.shape
            arrays = [array for array in vars(quantity).values() if isinstance(array, np.ndarray)]
            if any(array.shape != shape for array in arrays if array.ndim != 1):
                raise ValueError(f"the arrays of {name} must all have shape {shape}")
            runs = [(len(seeds), *shape) for seeds in self.seeds]
            if [array.shape for array in quantity.runs] != runs or quantity.name != name:
                raise ValueError(f"the runs of {name} must have shapes {runs}")
            if name not in QUANTITIES:
                raise ValueError(f"it has an unknown quantity {name!r}")

    def __repr__(self) -> str:
        return f"Comparison(delta={self.delta:g}, sizes={self.sizes}, {self.verdict()!r})"


def compare(
    trajectory: Trajectory,
    simulations: Runs | Sequence[Runs],
    *,
    quantities: Sequence[str] | None = None,
) -> Comparison:
    """Compare a trajectory of the theory with runs at one or more dimensions.

    Parameters
    ----------
    trajectory : Trajectory
    simulations : Simulation or RunData, or sequence of these
        Of the same problem, delta and method, one for each dimension. With two or more, simulated
        values are extrapolated to 1/d = 0. Runs of your own (`dmft.RunData`) are taken to be of
        this problem and method; they are compared in what all runs have measured, at the steps
        that all have recorded.
    quantities : sequence of str, optional
        Names in `QUANTITIES`. By default all that there are, a(t) where it is trained; the
        last two need Hessians recorded by every simulation, and are the only ones that cost more
        than arithmetic.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If simulations differ from the trajectory in problem, delta or method, or from each other
        in anything but the dimension and the seeds; if two have the same dimension; if there are
        not two seeds at any size; if a name is unknown; if the trajectory does not know its
        problem, or nothing was computed.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem(target="linear", network=dmft.Network(activation="linear"))
    >>> method = dmft.GradientDescent(step_size=0.1, n_steps=2)
    >>> trajectory = dmft.solve(problem, 4.0, method, dmft.Sampling(n_paths=64))
    >>> runs = [dmft.simulate(problem, 4.0, method, d=d, seeds=8, workers=1) for d in (50, 100)]
    >>> found = dmft.compare(trajectory, runs)
    >>> found.extrapolated, sorted(found.quantities)[:2], found.largest_ratio < 4
    (True, ['gradient_covariance', 'gradient_norm'], True)
    """
    check_instance("trajectory", trajectory, Trajectory)
    runs = check_comparable(trajectory, simulations, data=True)
    if max(len(run.seeds) for run in runs) < 2:
        raise ValueError("simulations must have at least two seeds at some d, got one at each")
    problem = trajectory.problem
    assert problem is not None
    if isinstance(quantities, str):
        raise ValueError(f"quantities must be a sequence of names, got {quantities!r}")
    names = list(QUANTITIES) if quantities is None else list(quantities)
    for name in names:
        check_choice("quantities", name, QUANTITIES)
    steps = _common_steps(trajectory, runs)
    last = int(steps[-1])
    each = {name: compare_quantity(name, trajectory, runs, steps) for name in names}
    found = {name: quantity for name, quantity in each.items() if quantity is not None}
    if not found and quantities is None:
        measured = ", ".join(min(runs, key=lambda run: len(run.measured)).measured)
        raise ValueError(f"simulations must have measured what the theory has, got {measured}")
    hessian: tuple[HessianPrediction, ...] = ()
    spectral = [name for name in ("smallest_eigenvalue", "hard_overlap") if name in names]
    if spectral:
        recorded = set.intersection(*(set(run.hessian) for run in runs))
        spectra = sorted(step for step in recorded if step <= last)
        smallest = [predict_smallest_at(trajectory, runs, step) for step in spectra]
        hessian = tuple(entry.prediction for entry in smallest)
        eigen = compare_eigenvalues(trajectory, runs, smallest)
        found |= {name: eigen[name] for name in spectral if name in eigen}
    hard = problem.target.hard_basis
    rms, cosine = np.zeros((2, len(runs), last + 1))
    for row, run in enumerate(runs):
        at = np.asarray(run.steps) <= last
        rows = np.asarray(run.steps)[at]
        if hard.size:
            M = None if run.overlap is None else run.overlap[:, at] @ hard
            rms[row], cosine[row] = np.nan, np.nan  # at steps not recorded
            rms[row, rows] = np.nan if M is None else np.sqrt(np.mean(M**2, axis=(0, 2, 3)))
        cosine[row, rows] = run.hard_cosine[:, at].mean(axis=0)
    statuses = [trajectory.status, *(run.status for run in runs)]
    statuses += [entry.status for entry in hessian]
    result = Comparison(
        quantities=found,
        hessian=hessian,
        delta=trajectory.delta,
        sizes=tuple(run.d for run in runs),
        samples=tuple(run.n for run in runs),
        seeds=tuple(tuple(run.seeds) for run in runs),
        last_step=last,
        hold_hard=runs[0].hold_hard,
        follows_hard=problem.starts_on_hard,
        hard_rms=rms,
        hard_cosine=cosine,
        status=first_failure(statuses),
        notes=(),
        config={
            "problem": problem.to_config(),
            "method": trajectory.method.to_config(),
            "sampling": trajectory.sampling.to_config(),
            "inputs": runs[0].inputs.to_config(),
        },
    )
    return _noted(result, trajectory, runs)


def _noted(result: Comparison, trajectory: Trajectory, runs: Sequence[Any]) -> Comparison:
    """Add notes that explain the deviations."""
    problem, last = trajectory.problem, result.last_step
    assert problem is not None
    notes = []
    if last < trajectory.method.n_steps:
        notes.append(
            f"compared up to step {last} of {trajectory.method.n_steps}: {result.status.name} after"
        )
    if not runs[0].inputs.is_gaussian:
        notes.append(
            f"inputs {runs[0].inputs.law!r}: the theory is for Gaussian ones, deviations show how "
            "far it reaches"
        )
    free = not (runs[0].hold_hard or problem.starts_on_hard)
    missing = [name for name in MEASURED if any(name not in run.measured for run in runs)]
    if missing:
        notes.append(f"not measured: {', '.join(missing)}")
    same = [str(run.d) for run in runs if run.is_one_run and np.asarray(run.steps)[-1]]
    if same:
        notes.append(
            f"the seeds of d = {', '.join(same)} are identical in all that was measured, which "
            "independent runs are not"
        )
    known = bool(np.isfinite(result.hard_rms[:, [0, -1]]).all())
    if free and known and problem.target.hard_basis.shape[1]:
        rms = ", ".join(
            f"{curve[0]:.2g} -> {curve[-1]:.2g} (d = {d})"
            for d, curve in zip(result.sizes, result.hard_rms, strict=True)
        )
        notes.append(f"overlap with hard directions, 0 in the limit: root mean square {rms}")
        end = result.regime_end
        if end is not None:
            shares = ", ".join(
                f"{curve[-1]:.2f} (d = {d})"
                for d, curve in zip(result.sizes, result.hard_cosine, strict=True)
            )
            notes.append(
                f"from step {end} on the runs learn a hard direction (mean squared cosine above "
                f"{_LEFT_REGIME:g}; at step {last} {shares}), which the limit at O(1) steps does "
                "not do: later deviations are expected; simulate with hold_hard to stay in it"
            )
    return replace(result, notes=tuple(notes))


def check_comparable(
    trajectory: Trajectory, simulations: Runs | Sequence[Runs], *, data: bool = False
) -> list[Any]:
    """Return simulations by ascending d, checked to describe what the trajectory describes.

    With `data`, runs of others (`RunData`) too.

    Raises
    ------
    ValueError
        As `compare`.
    """
    from dmft.simulation.simulation import Simulation

    allowed = (Simulation, RunData) if data else (Simulation,)
    if isinstance(simulations, allowed):
        simulations = [simulations]
    if not isinstance(simulations, Sequence) or not simulations:
        what = "none" if isinstance(simulations, Sequence) else type(simulations).__name__
        raise ValueError(
            f"simulations must be a dmft.Simulation{' or dmft.RunData' if data else ''}, or a "
            f"non-empty sequence of them, got {what}"
        )
    for run in simulations:
        check_instance("simulations", run, allowed)
    if trajectory.problem is None:
        raise ValueError("trajectory must know its problem: give it to Trajectory.load")
    if trajectory.n_steps < 0:
        raise ValueError(f"trajectory must have computed a step, got {trajectory.status.name}")
    found = sorted(simulations, key=lambda run: run.d)
    ours = _setting(trajectory.problem.to_config(), trajectory)
    runs: list[Any] = [run for run in found if isinstance(run, Simulation)]
    for run in runs:
        who, first = f"the simulation at d = {run.d}", f"the one at d = {runs[0].d}"
        problem = run.config["problem"] if run.problem is None else run.problem.to_config()
        _same(ours, _setting(problem, run), who, "the trajectory")
        _same(_setting_of_runs(runs[0]), _setting_of_runs(run), who, first)
        if not same_own_laws(run.config, trajectory.problem):
            raise ValueError(
                f"simulations must be of one setting; {who} has functions of the same names as "
                "the trajectory, which give other values"
            )
    if runs and runs[0].hard_overlap is not None:
        raise ValueError(
            "simulations must not start from a hard_overlap that the trajectory lacks; state it in "
            "the problem of both (Problem.with_hard_overlap)"
        )
    runs = [
        run.of_theory(trajectory) if isinstance(run, RunData) else ComparedRuns.of_simulation(run)
        for run in found
    ]
    for run in runs:
        _same(_of_runs(runs[0]), _of_runs(run), f"the one at d = {run.d}", "the first")
    sizes = [run.d for run in runs]
    if len(set(sizes)) < len(sizes):
        raise ValueError(f"simulations must have distinct dimensions d, got {sizes}")
    return runs


def _setting(problem: Mapping[str, Any], result: Trajectory | Simulation) -> dict[str, Any]:
    """Return the settings that theory and simulations share."""
    return {**problem, "delta": result.delta, **result.method.to_config()}


def _of_runs(run: ComparedRuns) -> dict[str, Any]:
    """Return the settings that simulations and runs of others have in common."""
    return {"inputs": run.inputs.to_config(), "hold_hard": run.hold_hard}


def _setting_of_runs(run: Simulation) -> dict[str, Any]:
    """Return the further settings that all simulations share."""
    overlap = None if run.hard_overlap is None else np.asarray(run.hard_overlap).tolist()
    return {
        "inputs": run.inputs.to_config(),
        "hold_hard": run.hold_hard,
        "hard_overlap": overlap,
    }


def _same(ours: Mapping[str, Any], theirs: Mapping[str, Any], who: str, whom: str) -> None:
    for key in {**ours, **theirs}:
        value, other = ours.get(key), theirs.get(key)
        if other != value:
            raise ValueError(
                f"simulations must be of one setting; {who} has {key} = {other}, {whom} has {value}"
            )


def _common_steps(trajectory: Trajectory, runs: Sequence[Any]) -> NDArray[np.intp]:
    """Return the steps that all runs recorded, up to the last that the theory and all reached."""
    last, steps = trajectory.n_steps, np.arange(trajectory.n_steps + 1)
    for run in runs:
        last = min(last, run.last_step)
        steps = np.intersect1d(steps, run.steps)
    if last < 0:
        raise ValueError("simulations must have reached step 0, some seed diverged there")
    return np.asarray(steps[steps <= last], dtype=np.intp)
