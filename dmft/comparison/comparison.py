r"""Theory beside simulation: deviations in standard errors, quantity by quantity and step by step.

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
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_choice, check_instance
from dmft._numerics.value_text import value_text
from dmft.comparison.agreement import THREE_SIGMA, Agreement, measure_agreement
from dmft.comparison.smallest_eigenvalue import HessianPrediction, predict_smallest_at
from dmft.io.records import read_record, write_record
from dmft.io.stored_settings import check_settings
from dmft.model.classification import describe_label
from dmft.training.gradient_descent import describe_method
from dmft.trajectory.trajectory import Trajectory
from rmt.status import Status

if TYPE_CHECKING:
    import os

    from dmft.model.problem import Problem
    from dmft.simulation.simulation import Simulation

__all__ = [
    "QUANTITIES",
    "Comparison",
    "HessianPrediction",
    "QuantityComparison",
    "check_comparable",
    "compare",
]

FloatArray = NDArray[np.float64]

#: What can be compared, with the name it has in tables.
QUANTITIES: Final[dict[str, str]] = {
    "norm": "C(t,t)",
    "overlap": "M(t)",
    "gradient_covariance": "G(t,t)",
    "gradient_norm": "gradient norm",
    "train_loss": "train loss",
    "test_loss": "test loss",
    "test_error": "test error",
    "second_layer": "a(t)",
    "smallest_eigenvalue": "smallest eigenvalue",
    "hard_overlap": "its hard overlap",
}
_KIND = "comparison"
# Mean squared cosine with the hard directions from which a run is no longer at "O(1) steps".
_LEFT_REGIME: Final = 0.05
_LIMIT: Final = 3.0
# Entries beyond the limit are put down to chance above this p-value: two grades of doubt, for a
# verdict must not call half of all entries chance.
_CHANCE: Final = 0.05
# Degrees of freedom below which three standard errors are no rare event: one in fifty.
_FEW: Final = 6.5
_WIDTH: Final = 100


@dataclass(frozen=True, eq=False)
class QuantityComparison(Agreement):
    """One quantity along the steps, theory and simulation.

    An `Agreement` whose arrays have shape (n_steps, n_entries); a symmetric matrix has each of its
    entries once.

    Attributes
    ----------
    name : str
        A key of `QUANTITIES`.
    steps : ndarray of int, shape (n_steps,)
    labels : tuple of str, length n_entries
        Such as ``C12``; empty for a scalar.
    theory : ndarray
    runs : tuple of ndarray, shapes (S_j, n_steps, n_entries)
        The seeds of each size.
    """

    name: str
    steps: Annotated[NDArray[np.intp], "t"]
    labels: Annotated[tuple[str, ...], "e"]
    theory: Annotated[FloatArray, "t e"]
    runs: tuple[FloatArray, ...] = field(repr=False)

    @property
    def title(self) -> str:
        """Name in tables."""
        return QUANTITIES[self.name]

    @property
    def largest_ratio(self) -> float:
        """Largest deviation in standard errors, in absolute value."""
        return self.largest_until(None)[0]

    @property
    def where(self) -> tuple[int, str]:
        """Step and label of the largest ratio."""
        return self.largest_until(None)[1:]

    def largest_until(self, step: int | None) -> tuple[float, int, str]:
        """Largest |ratio| up to a step (None: all), with its step and label.

        Zero at step -1 if there is none.
        """
        chosen = self.steps >= 0 if step is None else self.steps <= step
        if not chosen.any() or not self.labels:
            return 0.0, -1, ""
        sizes = np.abs(self.ratio[chosen])
        row, column = np.unravel_index(int(sizes.argmax()), sizes.shape)
        return float(sizes[row, column]), int(self.steps[chosen][row]), self.labels[column]

    @property
    def n_beyond(self) -> int:
        """Number of entries beyond three standard errors."""
        return int(np.count_nonzero(np.abs(self.ratio) > _LIMIT))

    @property
    def compatible(self) -> bool:
        """Whether every entry is within three standard errors."""
        return self.n_beyond == 0


@dataclass(frozen=True, eq=False)
class Comparison:
    """Theory beside simulation at one or more dimensions.

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
        What a reader of the deviations should know.
    config : dict
        Problem, method, sampling and inputs as plain types.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.
    """

    quantities: dict[str, QuantityComparison]
    hessian: tuple[HessianPrediction, ...]
    delta: float
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

    @property
    def _freedom(self) -> float:
        """Fewest degrees of freedom of a standard error."""
        return min(float(q.degrees_of_freedom.min()) for q in self.quantities.values())

    # -- words ---------------------------------------------------------------------------------

    def verdict(self) -> str:
        """One sentence: do they agree."""
        total = sum(q.ratio.size for q in self.quantities.values())
        if not total:
            return "nothing to compare"
        worst = max(self.quantities.values(), key=lambda q: q.largest_ratio)
        chance = f"p = {self.p_value:.2g} over all tests"
        if self.compatible:
            which = f"all {total} entries" if total > 1 else "the one entry"
            within = f"{which} within 3 standard errors"
            numbers = f"(largest {worst.largest_ratio:.2f}; {chance})"
            if self.significant:
                return f"NOT compatible: {within}, but together more than chance gives {numbers}"
            return f"compatible: {within} {numbers}"
        beyond = sum(q.n_beyond for q in self.quantities.values())
        text = (
            f"{beyond} of {total} entries beyond 3 standard errors, the largest "
            f"{worst.largest_ratio:.2f} in {_place(worst)}"
        )
        if self.p_value > _CHANCE and self._freedom < _FEW:
            n_seeds = sum(len(seeds) for seeds in self.seeds)
            return (
                f"undecided, {n_seeds} seeds are few: {text}. At {self._freedom:.0f} degrees of "
                f"freedom a right theory has an entry there with probability "
                f"{_beyond_limit(self._freedom):.2g}, and entries of neighbouring steps move "
                f"together ({chance}); simulate 8 seeds or more"
            )
        if self.p_value > _CHANCE:
            return f"{text}: no more than chance gives ({chance})"
        text = f"NOT compatible: {text} ({chance})"
        end = self.regime_end
        if end:
            before = max(q.largest_until(end - 1)[0] for q in self.quantities.values())
            text += (
                f"; before step {end}, while the runs have not found a hard direction, the largest "
                f"is {before:.2f}"
            )
        return text

    def table(self) -> str:
        """Return the comparison as aligned text: one line a quantity, Hessians, notes, verdict.

        Columns: number of entries (steps times components); largest deviation in combined standard
        errors and where; this deviation and its error; family-wise p-value (of the most significant
        entry); joint p-value (of all entries together).
        """
        rows = [
            ["quantity", "entries", "max |dev|/err", "at", "deviation", "error", "p", "p joint"]
        ]
        for q in self.quantities.values():
            ratio, step, label = q.largest_until(None)
            row, column = list(q.steps).index(step), q.labels.index(label)
            rows.append(
                [
                    q.title,
                    str(q.ratio.size),
                    f"{ratio:.2f}" + (" *" if ratio > _LIMIT else "  "),
                    f"step {step}" + (f", {label}" if label else ""),
                    f"{q.deviation[row, column]:+.2e}",
                    f"{q.stderr[row, column]:.1e}",
                    f"{q.entry_p:.2g}",
                    f"{q.joint_p:.2g}",
                ]
            )
        parts = [self._header(), _aligned(rows, left=(0, 3))]
        if self.hessian:
            parts.append(self._hessian_table())
        if self.notes:
            parts.append("\n".join(_wrapped(f"note: {note}") for note in self.notes))
        return "\n\n".join([*parts, _wrapped(self.verdict())])

    __str__ = table

    def _header(self) -> str:
        runs = ", ".join(
            f"d = {d} (n = {n}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''})"
            for d, n, seeds in zip(self.sizes, self.samples, self.seeds, strict=True)
        )
        how = (
            "extrapolated to 1/d = 0 by weighted least squares"
            if self.extrapolated
            else "one size: no extrapolation, deviations of order 1/d are left in"
        )
        held = "; hard components held at zero" if self.hold_hard else ""
        paths, replicates = (self.config["sampling"][key] for key in ("n_paths", "replicates"))
        return "\n".join(
            [
                f"{_problem_line(self.config['problem'])}",
                f"delta = {self.delta:g}, {describe_method(self.config['method'])}, "
                f"steps 0 to {self.last_step}",
                f"theory:     {paths} paths, {replicates} replicates",
                f"simulation: {runs}{held}",
                f"            {how}",
            ]
        )

    def _hessian_table(self) -> str:
        rows = [["step", "smallest eigenvalue", "theory", "hard overlap", "theory", "predicted by"]]
        notes = []
        for h in self.hessian:
            rows.append(
                [
                    str(h.step),
                    _with_error(h.simulated, h.simulated_stderr),
                    _with_error(h.value, h.stderr),
                    _with_error(h.simulated_overlap, h.simulated_overlap_stderr),
                    _with_error(h.overlap, h.overlap_stderr),
                    h.kind if h.law == "limit" else f"{h.kind}, law of n weights",
                ]
            )
            if h.note:
                notes.append(_wrapped(f"step {h.step}: {h.note}"))
        return "\n".join([_aligned(rows, left=(5,)), *notes])

    # -- plain types and files -------------------------------------------------------------------

    def to_config(self) -> dict[str, Any]:
        """Return the summary as plain types: what `table` shows, with the configuration."""
        quantities = {}
        for name, q in self.quantities.items():
            ratio, step, label = q.largest_until(None)
            row, column = list(q.steps).index(step), q.labels.index(label)
            quantities[name] = {
                "entries": q.ratio.size,
                "largest_ratio": _plain(ratio),
                "step": step,
                "entry": label,
                "deviation": _plain(q.deviation[row, column]),
                "stderr": _plain(q.stderr[row, column]),
                "beyond": q.n_beyond,
                "p": q.entry_p,
                "joint_p": q.joint_p,
                "joint_statistic": _plain(q.joint_statistic),
                "components": q.n_components,
                "compatible": q.compatible,
            }
        return {
            **self.config,
            "delta": self.delta,
            "sizes": [
                {"d": d, "n": n, "seeds": list(seeds)}
                for d, n, seeds in zip(self.sizes, self.samples, self.seeds, strict=True)
            ],
            "extrapolated": self.extrapolated,
            "hold_hard": self.hold_hard,
            "last_step": self.last_step,
            "quantities": quantities,
            "hessian": [
                {key: _plain(value) for key, value in vars(entry).items()} for entry in self.hessian
            ],
            "regime_end": self.regime_end,
            "compatible": self.compatible,
            "largest_ratio": _plain(self.largest_ratio),
            "p": self.p_value,
            "status": self.status.name,
            "notes": list(self.notes),
            "verdict": self.verdict(),
        }

    def to_json(self) -> str:
        """Return `to_config` as JSON; numbers that are not finite become null."""
        return json.dumps(self.to_config(), allow_nan=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write data, configuration, version and seeds to one ``.npz`` file (atomically)."""
        write_record(path, _KIND, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Comparison:
        """Read a comparison written by :meth:`save`.

        Raises
        ------
        ValueError
            If the file is not a comparison, is damaged, or was written by a newer version.
        """
        return read_record(path, _KIND, cls, _check)

    def __repr__(self) -> str:
        return f"Comparison(delta={self.delta:g}, sizes={self.sizes}, {self.verdict()!r})"


def _check(comparison: Comparison) -> None:
    check_settings(comparison.config, "problem", "method", "sampling", "inputs")
    for name, quantity in comparison.quantities.items():
        shape = quantity.theory.shape
        arrays = [array for array in vars(quantity).values() if isinstance(array, np.ndarray)]
        if any(array.shape != shape for array in arrays if array.ndim != 1):
            raise ValueError(f"the arrays of {name} must all have shape {shape}")
        runs = [(len(seeds), *shape) for seeds in comparison.seeds]
        if [array.shape for array in quantity.runs] != runs or quantity.name != name:
            raise ValueError(f"the runs of {name} must have shapes {runs}")
        if name not in QUANTITIES:
            raise ValueError(f"it has an unknown quantity {name!r}")


def compare(
    trajectory: Trajectory,
    simulations: Simulation | Sequence[Simulation],
    *,
    quantities: Sequence[str] | None = None,
) -> Comparison:
    """Compare a trajectory of the theory with simulations at one or more dimensions.

    Parameters
    ----------
    trajectory : Trajectory
    simulations : Simulation or sequence of Simulation
        Of the same problem, delta and method, one for each dimension. With two or more, simulated
        values are extrapolated to 1/d = 0.
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
    """
    check_instance("trajectory", trajectory, Trajectory)
    runs = check_comparable(trajectory, simulations)
    if max(len(run.seeds) for run in runs) < 2:
        raise ValueError("simulations must have at least two seeds at some d, got one at each")
    problem = trajectory.problem
    assert problem is not None
    if isinstance(quantities, str):
        raise ValueError(f"quantities must be a sequence of names, got {quantities!r}")
    names = list(QUANTITIES) if quantities is None else list(quantities)
    for name in names:
        check_choice("quantities", name, QUANTITIES)
    last = _last_step(trajectory, runs)
    found: dict[str, QuantityComparison] = {}
    for name in names:
        if name in _READERS:
            labels, theory, stderr, samples = _read(name, trajectory, runs, last)
            if labels:
                found[name] = _measure(name, trajectory, runs, labels, theory, stderr, samples)
    hessian: tuple[HessianPrediction, ...] = ()
    wanted = [name for name in ("smallest_eigenvalue", "hard_overlap") if name in names]
    if wanted:
        hessian, eigen = _compare_hessians(trajectory, runs, last)
        found |= {name: eigen[name] for name in wanted if name in eigen}
    hard = problem.target.hard_basis
    none = np.zeros((len(runs), last + 1))
    along = [run.overlap[:, : last + 1] @ hard for run in runs]
    rms = np.stack([np.sqrt(np.mean(M**2, axis=(0, 2, 3))) for M in along]) if hard.size else none
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
        hard_cosine=np.stack([run.hard_cosine[:, : last + 1].mean(axis=0) for run in runs]),
        status=next((status for status in statuses if not status.ok), Status.SUCCESS),
        notes=(),
        config={
            "problem": problem.to_config(),
            "method": trajectory.method.to_config(),
            "sampling": trajectory.sampling.to_config(),
            "inputs": runs[0].inputs.to_config(),
        },
    )
    return _noted(result, trajectory, runs)


# -- what belongs together -----------------------------------------------------------------------


def check_comparable(
    trajectory: Trajectory, simulations: Simulation | Sequence[Simulation]
) -> list[Simulation]:
    """Return simulations by ascending d, checked to describe what the trajectory describes.

    Raises
    ------
    ValueError
        As `compare`.
    """
    from dmft.simulation.simulation import Simulation

    if isinstance(simulations, Simulation):
        simulations = [simulations]
    if not isinstance(simulations, Sequence) or not simulations:
        what = "none" if isinstance(simulations, Sequence) else type(simulations).__name__
        raise ValueError(
            f"simulations must be a dmft.Simulation or a non-empty sequence of them, got {what}"
        )
    for run in simulations:
        check_instance("simulations", run, Simulation)
    if trajectory.problem is None:
        raise ValueError("trajectory must know its problem: give it to Trajectory.load")
    if trajectory.n_steps < 0:
        raise ValueError(f"trajectory must have computed a step, got {trajectory.status.name}")
    runs = sorted(simulations, key=lambda run: run.d)
    for run in runs:
        theirs = {**_plain_problem(run), "delta": run.delta, **run.method.to_config()}
        ours = {
            **trajectory.problem.to_config(),
            "delta": trajectory.delta,
            **trajectory.method.to_config(),
        }
        _same(ours, theirs, f"the simulation at d = {run.d}", "the trajectory")
        _same(
            _between(runs[0]), _between(run), f"the simulation at d = {run.d}",
            f"the one at d = {runs[0].d}",
        )  # fmt: skip
    if runs[0].hard_overlap is not None:
        raise ValueError(
            "simulations must not start from a hard_overlap that the trajectory lacks; state it in "
            "the problem of both (Problem.with_hard_overlap)"
        )
    sizes = [run.d for run in runs]
    if len(set(sizes)) < len(sizes):
        raise ValueError(f"simulations must have distinct dimensions d, got {sizes}")
    return runs


def _plain_problem(run: Simulation) -> dict[str, Any]:
    config: dict[str, Any] = (
        run.config["problem"] if run.problem is None else run.problem.to_config()
    )
    return config


def _between(run: Simulation) -> dict[str, Any]:
    """Collect what simulations must share beside what the trajectory has too."""
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


def _last_step(trajectory: Trajectory, runs: Sequence[Simulation]) -> int:
    """Last step that the theory and every seed reached."""
    last = trajectory.n_steps
    for run in runs:
        missing = np.flatnonzero(np.isnan(run.train_loss).any(axis=0))
        last = min(last, int(missing[0]) - 1 if missing.size else run.method.n_steps)
    if last < 0:
        raise ValueError("simulations must have reached step 0, some seed diverged there")
    return last


# -- along the steps -----------------------------------------------------------------------------


def _pairs(m: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    rows, columns = np.triu_indices(m)
    return rows, columns


def _symmetric(letter: str, m: int) -> tuple[str, ...]:
    if m == 1:
        return ("",)
    apart = "," if m > 9 else ""
    return tuple(f"{letter}{i + 1}{apart}{j + 1}" for i, j in zip(*_pairs(m), strict=True))


def _overlap_directions(problem: Problem) -> tuple[FloatArray, list[str]]:
    """Latent directions (k, q) whose overlaps the theory predicts, with their names."""
    basis = problem.target.hard_basis
    if problem.starts_on_hard or not basis.shape[1]:
        return np.eye(problem.k), [str(i + 1) for i in range(problem.k)]
    projector = problem.target.easy_projector
    if np.array_equal(projector, np.diag(np.diag(projector))):
        axes = np.flatnonzero(np.diag(projector))
        return np.eye(problem.k)[:, axes], [str(i + 1) for i in axes]
    values, vectors = np.linalg.eigh(projector)
    easy = np.ascontiguousarray(vectors[:, values > 0.5])
    return easy, [f"e{i + 1}" for i in range(easy.shape[1])]


# name -> letter of its entries and the attribute of a simulation, whose axes are (S, T+1, ...).
_READERS: Final[dict[str, tuple[str, str]]] = {
    "norm": ("C", "correlation"),
    "overlap": ("M", "overlap"),
    "gradient_covariance": ("G", "gradient_covariance"),
    "gradient_norm": ("", "gradient_norm"),
    "train_loss": ("", "train_loss"),
    "test_loss": ("", "test_loss"),
    "test_error": ("", "test_error"),
    "second_layer": ("a", "second_layer"),
}


def _read(
    name: str, trajectory: Trajectory, runs: Sequence[Simulation], last: int
) -> tuple[tuple[str, ...], FloatArray, FloatArray, list[FloatArray]]:
    """Labels, theory, its error (T+1, entries), and seeds (S, T+1, entries) of each size.

    No labels where there is nothing to compare.
    """
    problem = trajectory.problem
    assert problem is not None
    letter, attribute = _READERS[name]
    has_no_classes = name == "test_error" and not problem.target.has_sign_labels
    if has_no_classes or (name == "second_layer" and not trajectory.method.trains_second_layer):
        return (), np.empty((0, 0)), np.empty((0, 0)), []  # nothing to compare
    value, error = getattr(trajectory, name), trajectory.stderr[name]
    samples = [np.asarray(getattr(run, attribute)) for run in runs]
    times = np.arange(trajectory.n_steps + 1)
    if name == "gradient_covariance":
        value, error = value[times, times], error[times, times]
    if name == "overlap":
        directions, names = _overlap_directions(problem)
        # The error of a rotated overlap, from the replicates themselves.
        each = np.stack([array @ directions for array in trajectory.per_replicate(name)])
        value = value @ directions
        error = each.std(axis=0, ddof=1) / np.sqrt(len(each))
        samples = [array @ directions for array in samples]
        labels: tuple[str, ...] = tuple(
            f"{letter}{j + 1}{i}" if value[0].size > 1 else ""
            for j in range(problem.m)
            for i in names
        )
    elif name == "second_layer":
        m = problem.m
        labels = tuple(f"{letter}{j + 1}" for j in range(m)) if m > 1 else ("",)
    elif value.ndim == 3:
        i, j = _pairs(problem.m)
        labels = _symmetric(letter, problem.m)
        value, error = value[:, i, j], error[:, i, j]
        samples = [array[:, :, i, j] for array in samples]
    else:
        labels = ("",)
    n = last + 1
    return (
        labels,
        value.reshape(len(value), -1)[:n],
        error.reshape(len(error), -1)[:n],
        [array.reshape(*array.shape[:2], -1)[:, :n] for array in samples],
    )


def _measure(
    name: str,
    trajectory: Trajectory,
    runs: Sequence[Simulation],
    labels: tuple[str, ...],
    theory: FloatArray,
    stderr: FloatArray,
    samples: Sequence[FloatArray],
    steps: Sequence[int] | None = None,
) -> QuantityComparison:
    found = measure_agreement(
        samples,
        [run.d for run in runs],
        theory,
        stderr,
        theory_freedom=trajectory.sampling.replicates - 1,
    )
    return QuantityComparison(
        **vars(found),
        name=name,
        steps=np.arange(len(theory)) if steps is None else np.asarray(steps, dtype=np.intp),
        labels=labels,
        theory=theory,
        runs=tuple(samples),
    )


# -- Hessian -------------------------------------------------------------------------------------


def _compare_hessians(
    trajectory: Trajectory, runs: Sequence[Simulation], last: int
) -> tuple[tuple[HessianPrediction, ...], dict[str, QuantityComparison]]:
    """Predictions at the steps recorded by all, and the comparisons along those steps."""
    recorded = set.intersection(*(set(run.hessian) for run in runs))
    every = [
        predict_smallest_at(trajectory, runs, step) for step in sorted(recorded) if step <= last
    ]
    compared = [entry for entry in every if entry.prediction.compared]
    columns = {
        "smallest_eigenvalue": [
            (entry.prediction.step, entry.prediction.value, entry.prediction.stderr, entry.values)
            for entry in compared
        ],
        "hard_overlap": [
            (
                entry.prediction.step,
                entry.prediction.overlap,
                entry.prediction.overlap_stderr,
                entry.overlaps,
            )
            for entry in compared
            if entry.overlaps is not None
        ],
    }
    found = {}
    for name, entries in columns.items():
        if not entries:
            continue
        steps, theory, stderr, seeds = zip(*entries, strict=True)
        found[name] = _measure(
            name,
            trajectory,
            runs,
            ("",),
            np.array(theory)[:, None],
            np.array(stderr)[:, None],
            [np.stack(of_size, axis=1)[:, :, None] for of_size in zip(*seeds, strict=True)],
            steps,
        )
    return tuple(entry.prediction for entry in every), found


# -- notes and words -----------------------------------------------------------------------------


def _noted(result: Comparison, trajectory: Trajectory, runs: Sequence[Simulation]) -> Comparison:
    """Add what a reader of the deviations should know."""
    from dataclasses import replace

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
    if free and problem.target.hard_basis.shape[1]:
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


def _beyond_limit(freedom: float) -> float:
    """Probability of more than three standard errors when these have few degrees of freedom."""
    from scipy.stats import t as student

    return float(2.0 * student.sf(_LIMIT, freedom))


def _place(quantity: QuantityComparison) -> str:
    step, label = quantity.where
    return f"{quantity.title} at step {step}" + (f", {label}" if label else "")


def _problem_line(problem: Mapping[str, Any]) -> str:
    def name(entry: str | Mapping[str, str]) -> str:
        return entry if isinstance(entry, str) else entry["custom"]

    network = problem["network"]
    m = len(network["second_layer"])
    parts = [
        describe_label(problem["target"]),
        f"{m} {name(network['activation'])} neuron{'s' if m > 1 else ''}",
        f"{name(problem['loss'])} loss",
    ]
    if problem["weight_decay"]:
        parts.append(f"weight decay {problem['weight_decay']:g}")
    return ", ".join(parts)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _with_error(value: float, stderr: float) -> str:
    """Value and standard error, rounded to two digits of the error."""
    return "-" if np.isnan(value) else value_text(value, stderr, most=10, plain=".5g")


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Columns of equal width, numbers to the right, the columns in `left` to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    """Numbers and names that JSON knows; numbers that are not finite become None."""
    if isinstance(value, Status):
        return value.name
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value
