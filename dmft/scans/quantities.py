"""Quantities of a scan: the one table of them. To add one, add a row and the function it reads by.

A row names the computation that the number is read from (`dmft.scans.computations`) and a function
of its result, which returns value, error and status. Quantities of one computation share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dmft._numerics.sampling import bias_of_paths, is_biased
from dmft._numerics.validation import check_choice
from dmft.hessian.gap_samples import WhichOutlier, sample_gap, standard_error
from dmft.scans import threshold_readings
from dmft.scans.companion_readings import COMPANIONS
from dmft.scans.readings import Quantity, Reading, ReadingName, failed
from rmt.outliers import by_rank
from rmt.status import Status

if TYPE_CHECKING:
    from dmft.config.config import RunFile
    from dmft.recovery.exponents import Hardness
    from dmft.scans.computations import Solved
    from dmft.studies.sweep_result import Sweep
    from rmt import HessianLaw
    from rmt.hard import Criterion

__all__ = ["QUANTITIES", "check_quantity", "quantity_table", "read"]

_ONE_SIGMA: Final = 0.682689492137


# -- Hessian -------------------------------------------------------------------------------------


def _of_law(
    read: Callable[[HessianLaw], Reading], *, right_edge: bool = False
) -> Callable[[Solved, ReadingName], Reading]:
    """Return a reading of the Hessian at a step, if the trajectory reaches it."""

    def of_step(solved: Solved, name: ReadingName) -> Reading:
        assert name.step is not None
        if name.step > solved.trajectory.n_steps:
            return Reading.missing(solved.trajectory.status)
        with np.errstate(all="ignore"):
            found = read(solved.hessian(name.step, right_edge=right_edge))
        share = solved.trajectory.unstable_paths.share_until(name.step)
        return found._replace(status=threshold_readings.stable(found.status, share))

    return of_step


def _sampled(value: float, replicates: np.ndarray[Any, Any], status: Status) -> Reading:
    """Return a number with its error over replicates, the bias of finitely many paths included."""
    if not len(replicates):
        return Reading.of(value, 0.0, status)
    stderr = float(standard_error(replicates, axis=0))
    bias = float(bias_of_paths(value, replicates.mean(), len(replicates)))
    return _with_bias(value, stderr, bias, status)


def _with_bias(value: float, stderr: float, bias: float, status: Status) -> Reading:
    """Return a number with its error and the bias of finitely many paths in one."""
    if status.ok and is_biased(bias, stderr, value):
        status = Status.FINITE_PATHS
    exact = stderr == 0.0 and not is_biased(bias, 0.0, value)
    return Reading.of(value, 0.0 if exact else math.hypot(stderr, bias), status)


def _gap_by(criterion: Criterion) -> Callable[[Solved, ReadingName], Reading]:
    """Return a reading of the gap: of the eigenvalue of A_h with the index stated, from 0."""

    def read(solved: Solved, name: ReadingName) -> Reading:
        which = WhichOutlier(criterion, 1 + (name.indices or (0,))[0])
        return _of_law(lambda law: _gap(law, which), right_edge=criterion == "any")(solved, name)

    return read


def _gap(law: HessianLaw, which: WhichOutlier) -> Reading:
    sample = sample_gap(law, which)
    if sample.status is Status.UNBOUNDED_EDGE:
        return Reading(math.inf, math.nan, sample.status)
    return _sampled(float(sample.gap[0]), sample.gap[1:], sample.status)


def _left_edge(law: HessianLaw) -> Reading:
    return Reading.of(law.edges().left, law.edge_errors()[0], law.status)


def _of_outlier(attribute: str) -> Callable[[HessianLaw], Reading]:
    """Return a number of the smallest outlier in a hard direction."""

    def read(law: HessianLaw) -> Reading:
        if not law.status.ok:
            return Reading.missing(law.status)
        found = [o for o in law.outliers("hard") if o.side == "left" and o.separated]
        if not found:
            return Reading.missing(Status.NO_OUTLIER)
        key = ("left", True, 0)
        others = [by_rank(other.outliers("hard")).get(key) for other in law.replicates]
        if any(other is None for other in others):  # it is an outlier of some replicates only
            return Reading.missing(Status.NO_OUTLIER)
        values = np.array([getattr(other, attribute) for other in others])
        return _sampled(float(getattr(found[0], attribute)), values, Status.SUCCESS)

    return read


def _has_hard(run: RunFile) -> None:
    if not run.problem.target.hard_basis.shape[1]:
        raise ValueError("the problem has no hard direction, so no gap or outlier in one")
    if run.problem.starts_on_hard:
        raise ValueError(
            "the problem starts with an overlap with the hard directions and follows it: there is "
            "no gap or outlier in one"
        )


# -- order parameters and losses -----------------------------------------------------------------


def _of_trajectory(
    attribute: str, *, is_loss: bool = False
) -> Callable[[Solved, ReadingName], Reading]:
    """Return an entry of a quantity of the trajectory at a step."""

    def read(solved: Solved, name: ReadingName) -> Reading:
        trajectory, step = solved.trajectory, name.step
        assert step is not None
        status = trajectory.status
        if step > trajectory.n_steps:
            return Reading.missing(status)
        if is_loss and status.ok:
            status = trajectory.loss_status
        value, stderr, bias = (
            _entry(values[step], name)
            for values in (
                getattr(trajectory, attribute),
                trajectory.stderr[attribute],
                trajectory.bias[attribute],
            )
        )
        status = threshold_readings.stable(status, trajectory.unstable_paths.share_until(step))
        return _with_bias(value, stderr, bias, status)

    return read


def _entry(values: np.ndarray[Any, Any], name: ReadingName) -> float:
    indices = name.indices or (0,) * values.ndim
    if any(index >= size for index, size in zip(indices, values.shape, strict=True)):
        raise ValueError(f"{name}: there are entries up to {[n - 1 for n in values.shape]}")
    return float(values[indices])


def _has_classes(run: RunFile) -> None:
    if not run.problem.target.has_sign_labels:
        raise ValueError("test_error is that of labels -1 and +1; these are others")


# -- label and runs of finite dimension ----------------------------------------------------------


def _exponent(name: str, status: str) -> Callable[[Hardness, ReadingName], Reading]:
    def read(result: Hardness, _: ReadingName) -> Reading:
        value = getattr(result, name)
        return Reading.of(math.nan if value is None else value, 0.0, getattr(result, status))

    return read


def _delta_alg(result: Hardness, _: ReadingName) -> Reading:
    return Reading.of(result.delta_alg, result.delta_alg_stderr, result.status)


def _recovery(result: Sweep, _: ReadingName) -> Reading:
    lower, upper = result.probability_interval(_ONE_SIGMA)
    return Reading.of(result.probability[0, 0], (upper[0, 0] - lower[0, 0]) / 2.0, result.status)


def _recovery_step(result: Sweep, _: ReadingName) -> Reading:
    # Runs that never recovered count as later than all others.
    steps = np.where(result.recovered[0, 0], result.recovery_step[0, 0], np.inf)
    return Reading(float(np.median(steps)), math.nan, result.status)


def _run_average(name: str) -> Callable[[Sweep, ReadingName], Reading]:
    def read(result: Sweep, _: ReadingName) -> Reading:
        values = getattr(result, name)[0, 0]
        known = values[np.isfinite(values)]
        if not len(known):
            return Reading.missing(result.status)
        error = known.std(ddof=1) / math.sqrt(len(known)) if len(known) > 1 else math.nan
        return Reading.of(known.mean(), error, result.status)

    return read


# -- the table -----------------------------------------------------------------------------------

_STDERR = "standard error and bias of finitely many paths"
_HALF = "half the 95 % interval"
_SEEDS = "standard error over the seeds that did not diverge"
_NONE = "none"

QUANTITIES: Final[Mapping[str, Quantity]] = {
    "threshold": Quantity(
        "delta_NN(t), the smallest delta above which the hard outlier stays",
        "standard error, bias and location",
        r"$\delta_{NN}$",
        "threshold",
        threshold_readings.threshold,
        at_step=True,
    ),
    "jump": Quantity(
        "squared overlap just above that threshold; 0 where it grows continuously",
        "standard error",
        "jump of the overlap",
        "threshold",
        threshold_readings.jump,
        at_step=True,
    ),
    "curve": Quantity(
        "delta_NN(t) on the curve of [curve], at its last step or @t",
        "standard error, bias and interpolation",
        r"$\delta_{NN}$",
        "curve",
        threshold_readings.on_curve,
        at_step=True,
    ),
    "limit": Quantity(
        "limit of that curve", _HALF, r"$\lim_t\,\delta_{NN}$", "curve", threshold_readings.limit
    ),
    "limit_lower": Quantity(
        "lower end of its 95 % interval",
        _NONE,
        r"$\delta_{NN}$",
        "curve",
        threshold_readings.limit_end("lower"),
    ),
    "limit_upper": Quantity(
        "upper end of its 95 % interval",
        _NONE,
        r"$\delta_{NN}$",
        "curve",
        threshold_readings.limit_end("upper"),
    ),
    "gap": Quantity(
        "smallest eigenvalue of A_h at the left edge, or 0; [j]: the next ones",
        _STDERR,
        r"gap  $\lambda_{\min}\,A_h$",
        "hessian",
        _gap_by("negative"),
        at_step=True,
        indices=1,
        check=_has_hard,
    ),
    "gap_left": Quantity(
        "smallest eigenvalue of A_h at the left edge, whatever its sign; [j]: the next ones",
        _STDERR,
        r"gap at the left edge",
        "hessian",
        _gap_by("left"),
        at_step=True,
        indices=1,
        check=_has_hard,
    ),
    "gap_any": Quantity(
        "that, or of -A_h at the right edge, the smaller one; [j]: the next ones",
        _STDERR,
        r"gap at either edge",
        "hessian",
        _gap_by("any"),
        at_step=True,
        indices=1,
        check=_has_hard,
    ),
    "left_edge": Quantity(
        "left edge of the bulk of the Hessian",
        "standard error, and sensitivity to the most extreme weight",
        "left edge",
        "hessian",
        _of_law(_left_edge),
        at_step=True,
    ),
    "outlier": Quantity(
        "smallest eigenvalue outside the bulk, in a hard direction",
        _STDERR,
        "smallest outlier",
        "hessian",
        _of_law(_of_outlier("value")),
        at_step=True,
        check=_has_hard,
    ),
    "outlier_overlap": Quantity(
        "squared overlap of its eigenvector with the hard directions",
        _STDERR,
        "overlap of the outlier",
        "hessian",
        _of_law(_of_outlier("hard_overlap")),
        at_step=True,
        check=_has_hard,
    ),
    "train_loss": Quantity(
        "train loss",
        _STDERR,
        "train loss",
        "trajectory",
        _of_trajectory("train_loss", is_loss=True),
        at_step=True,
    ),
    "test_loss": Quantity(
        "test loss",
        _STDERR,
        "test loss",
        "trajectory",
        _of_trajectory("test_loss", is_loss=True),
        at_step=True,
    ),
    "test_error": Quantity(
        "probability of the wrong class",
        _STDERR,
        "test error",
        "trajectory",
        _of_trajectory("test_error"),
        at_step=True,
        check=_has_classes,
    ),
    "gradient_norm": Quantity(
        "Frobenius norm of the gradient of the risk",
        _STDERR,
        "gradient norm",
        "trajectory",
        _of_trajectory("gradient_norm"),
        at_step=True,
    ),
    "norm": Quantity(
        "entry [i,j] of C(t, t)",
        _STDERR,
        r"$C(t,t)$",
        "trajectory",
        _of_trajectory("norm"),
        at_step=True,
        indices=2,
    ),
    "overlap": Quantity(
        "entry [neuron,direction] of M(t)",
        _STDERR,
        r"$M(t)$",
        "trajectory",
        _of_trajectory("overlap"),
        at_step=True,
        indices=2,
    ),
    "second_layer": Quantity(
        "entry [neuron] of a(t)",
        _STDERR,
        r"$a(t)$",
        "trajectory",
        _of_trajectory("second_layer"),
        at_step=True,
        indices=1,
    ),
    "biases": Quantity(
        "entry [neuron] of b(t)",
        _STDERR,
        r"$b(t)$",
        "trajectory",
        _of_trajectory("biases"),
        at_step=True,
        indices=1,
    ),
    "information_exponent": Quantity(
        "information exponent of the label, of Gaussian latents",
        "0: an integer, decided or UNDECIDED",
        "information exponent",
        "label",
        _exponent("information_exponent", "information_status"),
    ),
    "generative_exponent": Quantity(
        "generative exponent of the label, of Gaussian latents",
        "0: an integer, decided or UNDECIDED",
        "generative exponent",
        "label",
        _exponent("generative_exponent", "status"),
    ),
    "delta_alg": Quantity(
        "delta above which polynomial-time algorithms recover a hard direction, Gaussian latents",
        "standard error",
        r"$\delta_{\rm alg}$",
        "label",
        _delta_alg,
    ),
    "recovery": Quantity(
        "share of the runs at the largest sweep.d that recover a hard direction",
        "half the 68 % interval of Jeffreys",
        "recovery probability",
        "runs",
        _recovery,
    ),
    "recovery_step": Quantity(
        "median step at which runs recover, infinite if half of them do not",
        _NONE,
        "median step of recovery",
        "runs",
        _recovery_step,
    ),
    "run_train_loss": Quantity(
        "train loss of the runs at their end",
        _SEEDS,
        "train loss",
        "runs",
        _run_average("train_loss"),
    ),
    "run_test_loss": Quantity(
        "test loss of the runs at their end",
        _SEEDS,
        "test loss",
        "runs",
        _run_average("test_loss"),
    ),
    **COMPANIONS,
}


def check_quantity(text: object) -> ReadingName:
    """Read the name of a quantity as run files and Python have it.

    Raises
    ------
    ValueError
        If there is none of that name, or it has no such indices or no step.

    Examples
    --------
    >>> str(check_quantity("norm[0, 0]@20"))
    'norm[0,0]@20'
    """
    if not isinstance(text, str):
        raise ValueError(f"scan.quantity must be a name or a list of names, got {text!r}")
    name = ReadingName.parse(text)
    check_choice("scan.quantity", name.quantity, QUANTITIES)
    quantity = QUANTITIES[name.quantity]
    if name.indices and len(name.indices) != quantity.indices:
        allowed = f"{quantity.indices} indices" if quantity.indices else "no indices"
        raise ValueError(f"scan.quantity {name.quantity} has {allowed}, got {text!r}")
    if name.step is not None and not quantity.at_step:
        raise ValueError(f"scan.quantity {name.quantity} belongs to no step, got {text!r}")
    return name


def quantity_table() -> list[tuple[str, str, str]]:
    """Return name, meaning and error of every quantity, as the command lists them."""
    return [(name, entry.text, entry.error) for name, entry in QUANTITIES.items()]


def read(result: Any, name: ReadingName) -> Reading:
    """Read a quantity from the result of its computation; its failures are readings too."""
    try:
        return QUANTITIES[name.quantity].read(result, name)
    except Exception as error:  # of one number, which must not stop the others
        return failed(error)
