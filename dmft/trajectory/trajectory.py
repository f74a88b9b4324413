"""The result of a solve: order parameters along the trajectory, each with its standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.execution import Execution
from dmft._numerics.sampling import Sampling, bias_of_paths
from dmft._numerics.validation import check_integer
from dmft.io.records import read_record, write_record
from dmft.io.stored_settings import check_settings
from dmft.model.problem import Problem
from dmft.observables.classification_error import expected_test_error
from dmft.observables.generalization import LossAverage, expected_test_loss, pre_activation_weights
from dmft.observables.integrability import undefined_losses
from dmft.solver.replicates import run_replicates
from dmft.solver.runs import Run
from dmft.solver.stability import UnstablePaths
from dmft.training.gradient_descent import GradientDescent
from dmft.training.methods import Method, method_from_config
from rmt._blas import single_threaded_blas
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    import os

    from rmt import HessianLaw, Span

__all__ = ["Trajectory"]

FloatArray = NDArray[np.float64]

_KIND = "trajectory"
# Below this ratio of smallest to largest gradient innovation the response, which divides by the
# innovations, has lost its digits.
_RESPONSE_CONDITION = 1e-7


class Trajectory:
    r"""Order parameters of gradient descent for times 0, ..., T, with standard errors.

    Made by :func:`dmft.solve`. Arrays below are computed when first asked for and then kept.

    =======================  =========================  ==========================================
    attribute                shape                      quantity
    =======================  =========================  ==========================================
    ``correlation``          (T+1, T+1, m, m)           C(t, s) = lim Theta_t^T Theta_s
    ``overlap``              (T+1, m, k)                M(t) = lim Theta_t^T Theta_*
    ``gradient_covariance``  (T+1, T+1, m, m)           G(t, s) = E[g^t g^s^T]
    ``response``             (T+1, T+1, m, m)           R(t, s), zero for s >= t
    ``train_loss``           (T+1,)                     E[l(r^t, y)]
    ``test_loss``            (T+1,)                     E[l(h^t, phi(z, eps))] on fresh data
    ``test_error``           (T+1,)                     P(y f(h^t) < 0) on fresh data, labels +-1
    ``gradient_norm``        (T+1,)                     lim of the Frobenius norm of grad Risk
    ``second_layer``         (T+1, m)                   a(t); constant unless it is trained
    =======================  =========================  ==========================================

    ``stderr`` and ``bias`` map each of these names to an array of the same shape. Losses, gradient
    norm and G(t, t) are those of all samples also where steps use batches; the gradient at the
    earlier of two unequal times is that of the batch in ``gradient_covariance``, and the one that R
    responds to. Directions that are hard have overlap exactly zero. ``test_error`` is NaN where
    labels are not -1 and +1 (see ``Target.has_sign_labels``). If the run ended early, T is the last
    step computed (``n_steps``) and ``status`` says why.

    Attributes
    ----------
    problem : Problem or None
        None only for a loaded trajectory of a custom problem that was not given again.
    delta : float
    method : GradientDescent or GradientFlow
    sampling : Sampling
    status : Status
    n_steps : int
        Last step reached; equal to ``method.n_steps`` on success.
    response_status : Status
        ILL_CONDITIONED where R needs division by gradient innovations at rounding level; entries
        of ``response`` beyond ``response_steps`` are then NaN (missing).
    unstable_paths : UnstablePaths
        Paths with a curvature too large for the step, and their shares of the averages.
    stability_status : Status
        UNSTABLE_PATHS where they carry more than 1 % of an average.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.
    """

    def __init__(
        self,
        problem: Problem | None,
        delta: float,
        method: Method,
        sampling: Sampling,
        pooled: Run,
        replicates: list[Run],
        *,
        test_losses: FloatArray | None = None,
        test_errors: FloatArray | None = None,
    ) -> None:
        self.problem = problem
        self.delta = delta
        self.method = method
        self.sampling = sampling
        self._runs = [pooled, *replicates]
        self._problem_config: dict[str, Any] | None = None
        self._test_losses = test_losses
        self._test_errors = test_errors
        self._undefined: FloatArray | None = None  # losses
        self._values: dict[str, FloatArray] = {}
        self._spreads: dict[str, tuple[FloatArray, FloatArray]] = {}
        self._laws: dict[int, HessianLaw] = {}
        self._unstable_paths: UnstablePaths | None = None
        self._spans: tuple[int, list[Span]] | None = None  # of the step last asked for
        self._n_times = min(run.n_times for run in self._runs)
        failed = [run for run in self._runs if not run.status.ok and run.n_times == self._n_times]
        self.status = failed[0].status if failed else Status.SUCCESS

    # -- what was computed --------------------------------------------------------------------

    @property
    def m(self) -> int:
        """Number of neurons."""
        return int(self._runs[0].weights.shape[1])

    @property
    def k(self) -> int:
        """Number of latent directions."""
        return int(self._runs[0].latent.shape[0])

    @property
    def n_steps(self) -> int:
        """Last step reached."""
        return self._n_times - 1

    @property
    def steps(self) -> NDArray[np.intp]:
        """Steps computed, 0, ..., n_steps."""
        return np.arange(self._n_times)

    @property
    def times(self) -> FloatArray:
        """Time of each point computed, shape (T+1,): the sum of step sizes in gradient descent."""
        return self.method.times[: self._n_times]

    @property
    def rank(self) -> int:
        """Number of fresh directions kept in the run over all paths.

        Where some have been let go: the most that it held at a time recorded.
        """
        run = self._runs[0]
        if run.is_compressed:
            return int(run.counts[:, 1].max())
        return len(run.direction_step)

    @property
    def correlation(self) -> FloatArray:
        """C(t, s), shape (T+1, T+1, m, m)."""
        return self._value("correlation")

    @property
    def overlap(self) -> FloatArray:
        """M(t), shape (T+1, m, k)."""
        return self._value("overlap")

    @property
    def gradient_covariance(self) -> FloatArray:
        """G(t, s), shape (T+1, T+1, m, m)."""
        return self._value("gradient_covariance")

    @property
    def response(self) -> FloatArray:
        """R(t, s), shape (T+1, T+1, m, m), NaN beyond ``response_steps``."""
        return self._value("response")

    @property
    def norm(self) -> FloatArray:
        """C(t, t), shape (T+1, m, m), without forming C at unequal times."""
        return self._value("norm")

    @property
    def train_loss(self) -> FloatArray:
        """Train loss, shape (T+1,)."""
        return self._value("train_loss")

    @property
    def test_loss(self) -> FloatArray:
        """Test loss, shape (T+1,)."""
        return self._value("test_loss")

    @property
    def test_error(self) -> FloatArray:
        """Probability that the network has the wrong sign on fresh data, shape (T+1,), or NaN."""
        return self._value("test_error")

    @property
    def gradient_norm(self) -> FloatArray:
        """Frobenius norm of the gradient of the risk (without weight decay), shape (T+1,)."""
        return self._value("gradient_norm")

    @property
    def second_layer(self) -> FloatArray:
        """a(t), shape (T+1, m)."""
        return self._value("second_layer")

    @property
    def stderr(self) -> Mapping[str, FloatArray]:
        """Standard error of each quantity over replicates, by name."""
        return _ByQuantity(lambda name: self._spread(name)[0])

    @property
    def bias(self) -> Mapping[str, FloatArray]:
        """Bias of each quantity that finitely many paths leave, as far as replicates tell, by name.

        Values come from R times as many paths as those of each replicate, and the bias is inversely
        proportional to their number: ``(mean over replicates - value) / (R - 1)``. Small beside
        ``stderr``, but late in long runs: paths overfit the directions that the weights have moved
        in, by about their number over that of the paths. Where it is the larger of the two it is
        no more than an order of magnitude.
        """
        return _ByQuantity(self._bias)

    @property
    def response_steps(self) -> int:
        """Last time t for which R(t, .) is numerically reliable; 0 for a gradient flow.

        The directions that a flow opens belong to the stages of its integrator, not to its times.
        """
        if not isinstance(self.method, GradientDescent):
            return 0
        return min(_reliable_response(run, self._n_times) for run in self._runs)

    @property
    def response_status(self) -> Status:
        """SUCCESS, or ILL_CONDITIONED if R is missing for late times."""
        return Status.SUCCESS if self.response_steps == self.n_steps else Status.ILL_CONDITIONED

    @property
    def unstable_paths(self) -> UnstablePaths:
        """Paths whose curvature is too large for the step, at each step; see the class."""
        if self._unstable_paths is None:
            shares = [run.above[: self._n_times] for run in self._runs]
            self._unstable_paths = UnstablePaths.of_runs(shares)
        return self._unstable_paths

    @property
    def stability_status(self) -> Status:
        """SUCCESS, or UNSTABLE_PATHS if unstable paths carry more than 1 % of an average."""
        return self.unstable_paths.status

    @property
    def loss_status(self) -> Status:
        """SUCCESS, or UNDEFINED_AVERAGE if losses are infinite or undefined at some step.

        They are reported as infinite then, or NaN, with an error of NaN. The order parameters and
        Hessians are as `status` says: gradients of a robust loss are bounded where it is not.
        """
        if np.all(_undefined_losses(self) == 0.0):
            return Status.SUCCESS
        return Status.UNDEFINED_AVERAGE

    def per_replicate(self, name: str) -> Iterator[FloatArray]:
        """One array per replicate (solved on its own paths alone) of the quantity ``name``.

        Raises
        ------
        ValueError
            If there is no such quantity.
        """
        if name not in _QUANTITIES:
            raise ValueError(f"name must be one of {', '.join(_QUANTITIES)}; got {name!r}")
        for index in range(1, len(self._runs)):
            yield _of_run(self, name, index)

    # -- Hessian ------------------------------------------------------------------------------

    def hessian(self, step: int, *, keep: bool = True) -> HessianLaw:
        """Asymptotic law of the Hessian of the risk (with weight decay) at a step.

        At step 0 the weights D have an explicit law and deterministic quadrature is used (up to
        three Gaussians; scrambled Sobol points beyond). At later steps the weights are those of
        all paths of all replicates, and ``law.stderr`` is taken over replicates. The step is
        computed again from the seed if its paths were not kept.

        ``law.outliers()`` gives the outliers in all directions, from the coordinates and gradients
        of the paths (also computed again where they were not kept, see ``solve``);
        ``law.outliers("hard")`` does without them.

        Parameters
        ----------
        step : int
            0 to ``n_steps``.
        keep : bool
            Whether the trajectory keeps the law, which holds arrays as long as the paths, to answer
            at once when asked again.

        Returns
        -------
        rmt.HessianLaw

        Raises
        ------
        ValueError
            If the step is out of range, or the problem is unknown (loaded without it).
        NumericalFailure
            If the step has to be computed again and cannot be, for lack of memory.
        """
        from dmft.hessian.hessian import initial_law, sampled_law

        step = check_integer("step", step, minimum=0)
        if self.n_steps < 0:
            raise ValueError(f"step must have been computed, none was: {self.status.name}")
        if step > self.n_steps:
            raise ValueError(f"step must be in 0..{self.n_steps} (steps computed), got {step}")
        if self.problem is None:
            raise ValueError(
                "problem must be given to Trajectory.load for the Hessian of a custom problem"
            )
        if step in self._laws:
            return self._laws[step]
        if step == 0:
            law = initial_law(self.problem, self.delta, self.sampling)
        else:
            runs = self._runs
            if any(step not in run.pre_activations for run in runs):
                runs = self._again(step)
            spans = [partial(self._span, step, index) for index in range(len(runs))]
            law = sampled_law(self.problem, self.delta, runs, step, spans)
        if keep:
            self._laws[step] = law
        return law

    def _span(self, step: int, index: int) -> Span:
        """Coordinates and gradients that run number ``index`` knows at a step."""
        from dmft.hessian.hessian import sampled_span

        if self._spans is None or self._spans[0] != step:
            assert self.problem is not None  # hessian() asks for it
            runs = self._runs
            if any(run.is_truncated_at(step) for run in runs):
                raise NumericalFailure(
                    Status.ILL_CONDITIONED,
                    "Directions were let go that outliers depend on; compression must be 0 in "
                    "Sampling.",
                )
            if any(run.paths is None for run in runs):
                runs = self._again(step, keep_paths=True)
            fresh = self.method.fresh_batches
            self._spans = (
                step,
                [sampled_span(self.problem, run, step, fresh=fresh) for run in runs],
            )
        return self._spans[1][index]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_spans": None}  # views of the paths, which stay behind

    def _again(self, step: int, keep_paths: bool = False) -> list[Run]:
        assert self.problem is not None
        method = self.method.until(step)
        again = run_replicates(
            self.problem,
            self.delta,
            method,
            self.sampling,
            Execution(),
            hessian_steps=[step],
            keep_paths=keep_paths,
        )
        if min(run.n_times for run in again) <= step:
            status = Trajectory(
                self.problem, self.delta, method, self.sampling, again[0], again[1:]
            ).status
            raise NumericalFailure(status, f"Step {step} could not be computed again.")
        return again

    # -- files --------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write data, configuration, version and seed to one ``.npz`` file (atomically).

        Paths are not written: a Hessian asked of the loaded trajectory is computed again from the
        seed.

        Parameters
        ----------
        path : path-like
            The file; a missing ``.npz`` suffix is added.
        """
        problem = self.problem.to_config() if self.problem else self._problem_config
        assert problem is not None  # a loaded trajectory has one of the two
        stored = _Stored(
            problem=problem,
            delta=self.delta,
            method=self.method.to_config(),
            sampling=self.sampling.to_config(),
            runs=tuple(_without_paths(run) for run in self._runs),
            test_loss=np.stack([_test_loss(self, index) for index in range(len(self._runs))]),
            test_error=np.stack([_test_error(self, index) for index in range(len(self._runs))]),
        )
        write_record(path, _KIND, stored)

    @classmethod
    def load(cls, path: str | os.PathLike[str], problem: Problem | None = None) -> Trajectory:
        """Read a trajectory written by :meth:`save`.

        Parameters
        ----------
        path : path-like
        problem : Problem, optional
            Needed only for Hessians of a problem with a custom label, activation or loss, whose
            code is not in the file.

        Raises
        ------
        ValueError
            If the file is not a trajectory, is damaged, was written by a newer version, or belongs
            to another problem than the one given.
        """
        stored = read_record(path, _KIND, _Stored, _check)
        trajectory = cls(
            Problem.of_record(stored.problem, problem),
            stored.delta,
            method_from_config(stored.method),
            Sampling(**stored.sampling),
            stored.runs[0],
            list(stored.runs[1:]),
            test_losses=stored.test_loss,
            test_errors=stored.test_error,
        )
        trajectory._problem_config = stored.problem
        return trajectory

    def __repr__(self) -> str:
        stability = ""
        if not self.stability_status.ok:
            stability = f", stability={self.stability_status.name}"
        if self._undefined is not None and not self.loss_status.ok:
            stability += f", losses={self.loss_status.name}"
        return (
            f"Trajectory(delta={self.delta:g}, n_steps={self.n_steps}, m={self.m}, k={self.k}, "
            f"rank={self.rank}, status={self.status.name}{stability})"
        )

    # -- values and errors --------------------------------------------------------------------

    def _value(self, name: str) -> FloatArray:
        if name not in self._values:
            self._values[name] = _of_run(self, name, 0)
        return self._values[name]

    def _spread(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Return standard error and mean over replicates."""
        if name not in self._spreads:
            # Welford's update: one replicate in memory at a time.
            mean: FloatArray | float = 0.0
            squares: FloatArray | float = 0.0
            count = 0
            for array in self.per_replicate(name):
                count += 1
                with np.errstate(invalid="ignore"):  # infinite losses
                    difference = array - mean
                    mean = mean + difference / count
                    squares = squares + difference * (array - mean)
            error = np.sqrt(np.asarray(squares) / (count - 1) / count)
            self._spreads[name] = error, np.asarray(mean)
        return self._spreads[name]

    def _bias(self, name: str) -> FloatArray:
        with np.errstate(invalid="ignore"):
            return bias_of_paths(self._value(name), self._spread(name)[1], len(self._runs) - 1)


class _ByQuantity(Mapping[str, "FloatArray"]):
    """An array for each quantity, computed on access."""

    def __init__(self, compute: Callable[[str], FloatArray]) -> None:
        self._compute = compute

    def __getitem__(self, name: str) -> FloatArray:
        if name not in _QUANTITIES:
            raise KeyError(name)
        return self._compute(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_QUANTITIES)

    def __len__(self) -> int:
        return len(_QUANTITIES)


# -- what a file holds -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stored:
    """All of a trajectory but what is computed from the rest."""

    problem: dict[str, Any]
    delta: float
    method: dict[str, Any]
    sampling: dict[str, Any]
    runs: Annotated[tuple[Run, ...], "R"]
    test_loss: Annotated[FloatArray, "R T"]
    test_error: Annotated[FloatArray, "R T"]


def _without_paths(run: Run) -> Run:
    """Return a run without all that is as long as its paths."""
    return replace(
        run, latent=run.latent[:, :0], labels=run.labels[:0], pre_activations={}, paths=None
    )


def _check(stored: _Stored) -> None:
    settings = {"problem": stored.problem, "method": stored.method, "sampling": stored.sampling}
    check_settings(settings, *settings)
    m, k = len(stored.problem["network"]["second_layer"]), stored.problem["target"]["k"]
    for run in stored.runs:
        few = run.n_times > 0 and run.weights.shape[2] < k + m
        if few or (run.weights.shape[1], len(run.latent)) != (m, k):
            raise ValueError(f"its runs are not those of {m} neurons and {k} latent directions")
    n_runs, n_times = stored.test_loss.shape
    n_steps = method_from_config(stored.method).n_steps
    if n_times > n_steps + 1 or n_times != min(run.n_times for run in stored.runs):
        raise ValueError(f"it has test losses at {n_times} times, not those of its runs")
    if n_runs != stored.sampling["replicates"] + 1:
        raise ValueError(f"it has {n_runs} runs, not those of its sampling")


# -- the quantities of one run -----------------------------------------------------------------


def _two_times(rows: FloatArray) -> FloatArray:
    """Gram matrix of (T, m, n) rows as a (T, T, m, m) array."""
    n_times, m, width = rows.shape
    flat = rows.reshape(n_times * m, width)
    gram = (flat @ flat.T).reshape(n_times, m, n_times, m)
    return np.ascontiguousarray(gram.transpose(0, 2, 1, 3))


def _correlation(trajectory: Trajectory, index: int) -> FloatArray:
    return _two_times(trajectory._runs[index].weights[: trajectory._n_times])


def _norm(trajectory: Trajectory, index: int) -> FloatArray:
    B = trajectory._runs[index].weights[: trajectory._n_times]
    return B @ np.swapaxes(B, 1, 2)


def _overlap(trajectory: Trajectory, index: int) -> FloatArray:
    return trajectory._runs[index].weights[: trajectory._n_times, :, : trajectory.k]


def _gradient_covariance(trajectory: Trajectory, index: int) -> FloatArray:
    run, n = trajectory._runs[index], trajectory._n_times
    covariance = _two_times(run.gamma[:n])
    # Equal times from the average itself, which includes what the rank tolerance dropped.
    times = np.arange(n)
    covariance[times, times] = run.gradient_second_moment[:n]
    return covariance


def _reliable_response(run: Run, n_times: int) -> int:
    """Last t such that every gradient before t opened a well-scaled direction per neuron."""
    m = run.gamma.shape[1]
    largest = 0.0
    for t in range(n_times - 1):
        columns = np.flatnonzero(run.direction_step == t)
        if len(columns) < m:
            return t
        diagonal = np.abs(np.diagonal(run.gamma[t][:, columns]))
        largest = max(largest, float(diagonal.max()))
        if diagonal.min() < _RESPONSE_CONDITION * largest:
            return t
    return n_times - 1


def _response(trajectory: Trajectory, index: int) -> FloatArray:
    """R = sqrt(delta) B Gamma^{-1} on the fresh coordinates, times up to ``response_steps``."""
    from scipy.linalg import solve_triangular

    run, n = trajectory._runs[index], trajectory._n_times
    m, last = trajectory.m, trajectory.response_steps
    if n == 0:
        return np.empty((0, 0, m, m))
    size = m * last
    fresh = run.weights[: last + 1, :, trajectory.k + m :][:, :, :size]
    fresh = fresh.reshape((last + 1) * m, size)
    gamma = run.gamma[:last, :, :size].reshape(size, size)
    response = np.full((n, n, m, m), np.nan)
    response[: last + 1] = 0.0
    if size:
        solution = solve_triangular(gamma, fresh.T, trans="T", lower=True).T
        block = np.sqrt(trajectory.delta) * solution.reshape(last + 1, m, last, m)
        response[: last + 1, :last] = block.transpose(0, 2, 1, 3)
        times = np.arange(last + 1)
        response[: last + 1, :last][times[:, np.newaxis] <= times[np.newaxis, :last]] = 0.0
    return response


def _train_loss(trajectory: Trajectory, index: int) -> FloatArray:
    undefined = _undefined_losses(trajectory)
    losses = trajectory._runs[index].train_loss[: trajectory._n_times]
    return np.where(undefined == 0.0, losses, undefined)


def _undefined_losses(trajectory: Trajectory) -> FloatArray:
    """For each time 0, or what the loss is if it has no finite average: +-inf or NaN.

    That is decided by the tails of the label and of the network, for train and test loss alike.
    """
    if trajectory._undefined is None:
        if trajectory._test_losses is not None or trajectory.problem is None:
            losses = _test_loss(trajectory, 0)
            trajectory._undefined = np.where(np.isfinite(losses), 0.0, losses)
        else:
            trajectory._undefined = undefined_losses(
                trajectory.problem, *_pre_activations(trajectory)
            )
    return trajectory._undefined


def _pre_activations(trajectory: Trajectory) -> tuple[FloatArray, FloatArray | None]:
    """Weights of pre-activations of the run over all paths, and its second layer if trained."""
    weights = pre_activation_weights(_overlap(trajectory, 0), _norm(trajectory, 0))
    trained = trajectory.method.trains_second_layer
    return weights, _second_layer(trajectory, 0) if trained else None


def _second_layer(trajectory: Trajectory, index: int) -> FloatArray:
    return trajectory._runs[index].second_layer[: trajectory._n_times]


def _gradient_norm(trajectory: Trajectory, index: int) -> FloatArray:
    return np.sqrt(trajectory._runs[index].squared_gradient_norm[: trajectory._n_times])


def _test_loss(trajectory: Trajectory, index: int) -> FloatArray:
    if trajectory._test_losses is None:  # a loaded trajectory brings them
        assert trajectory.problem is not None
        average = LossAverage.of(
            trajectory.problem, *_pre_activations(trajectory), _undefined_losses(trajectory)
        )
        trajectory._test_losses = _on_fresh_data(
            trajectory, partial(expected_test_loss, average=average)
        )
    losses: FloatArray = trajectory._test_losses[index]
    return losses


def _test_error(trajectory: Trajectory, index: int) -> FloatArray:
    problem = trajectory.problem
    if trajectory._test_errors is None and (problem is None or not problem.target.has_sign_labels):
        return np.full(trajectory._n_times, np.nan)
    if trajectory._test_errors is None:
        trajectory._test_errors = _on_fresh_data(trajectory, expected_test_error)
    errors: FloatArray = trajectory._test_errors[index]
    return errors


def _on_fresh_data(trajectory: Trajectory, average: Callable[..., FloatArray]) -> FloatArray:
    """Averages over fresh data of each run, (replicates + 1, n_times)."""
    n_replicates = len(trajectory._runs) - 1
    trained = trajectory.method.trains_second_layer
    return np.stack(
        [
            average(
                trajectory.problem,
                _overlap(trajectory, i),
                _norm(trajectory, i),
                trajectory.sampling,
                range(n_replicates) if i == 0 else [i - 1],
                _second_layer(trajectory, i) if trained else None,
            )
            for i in range(n_replicates + 1)
        ]
    )


_QUANTITIES: dict[str, Callable[[Trajectory, int], FloatArray]] = {
    "correlation": _correlation,
    "norm": _norm,
    "overlap": _overlap,
    "gradient_covariance": _gradient_covariance,
    "response": _response,
    "train_loss": _train_loss,
    "test_loss": _test_loss,
    "test_error": _test_error,
    "gradient_norm": _gradient_norm,
    "second_layer": _second_layer,
}


def _of_run(trajectory: Trajectory, name: str, index: int) -> FloatArray:
    """Return a quantity of one run, with bits that do not depend on the number of threads."""
    with single_threaded_blas():
        return _QUANTITIES[name](trajectory, index)
