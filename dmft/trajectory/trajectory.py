"""Result of a solve: order parameters along the trajectory, each with its standard error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.sampling import Sampling, bias_of_paths, is_biased
from dmft._numerics.validation import check_integer
from dmft.io.marks import DELTA, STEPS, TIME, EachOf
from dmft.io.quantities import public_arrays
from dmft.io.records import read_record, write_record
from dmft.io.result import Result
from dmft.model.custom_laws import own_laws, problem_of_record
from dmft.solver.runs import Run
from dmft.solver.stability import UnstablePaths
from dmft.solver.tolerances import compression_along, rank_tolerances
from dmft.training.methods import Method, method_from_config
from dmft.trajectory.quantities import QUANTITIES, ByQuantity, Quantities
from dmft.trajectory.rerun import runs_again, status_of
from dmft.trajectory.stored import KIND, StoredTrajectory, without_paths
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from dmft.hessian.finite_law import FiniteLaw
    from dmft.io.report_text import Lines
    from dmft.model.problem import Problem
    from rmt import HessianLaw, Span

__all__ = ["Trajectory"]

FloatArray = NDArray[np.float64]


class Trajectory(Result):
    r"""Order parameters of gradient descent for times 0, ..., T, with standard errors.

    Made by :func:`dmft.solve`. Arrays below are computed when first asked for and then kept.

    =======================  =========================  ==========================================
    attribute                shape                      quantity
    =======================  =========================  ==========================================
    ``correlation``          (T+1, T+1, m, m)           C(t, s) = lim Theta_t^T Theta_s
    ``overlap``              (T+1, m, k)                M(t) = lim Theta_t^T Theta_*
    ``gradient_covariance``  (T+1, T+1, m, m)           G(t, s) = E[g^t g^s^T]
    ``response``             (T+1, T+1, m, m)           R(t, s), of Theta_t to a force at step s < t
    ``train_loss``           (T+1,)                     E[l(r^t, y)]
    ``test_loss``            (T+1,)                     E[l(h^t, phi(z, eps))] on fresh data
    ``test_error``           (T+1,)                     P(y f(h^t) < 0) on fresh data, labels +-1
    ``gradient_norm``        (T+1,)                     lim of the Frobenius norm of grad Risk
    ``second_layer``         (T+1, m)                   a(t); constant unless it is trained
    ``biases``               (T+1, m)                   b(t); constant unless they are trained
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
        Linearly unstable paths, eta (D/delta + lambda) > 2, and their shares of the averages.
    stability_status : Status
        UNSTABLE_PATHS where they carry more than 1 % of an average.
    bias_status : Status
        FINITE_PATHS where finitely many paths bias a value by more than its standard error.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem(target="linear", network=dmft.Network(activation="linear"))
    >>> method = dmft.GradientDescent(step_size=0.1, n_steps=2)
    >>> trajectory = dmft.solve(problem, 4.0, method, dmft.Sampling(n_paths=64))
    >>> trajectory.correlation.shape, trajectory.stderr["train_loss"].shape, trajectory.status.name
    ((3, 3, 1, 1), (3,), 'SUCCESS')
    >>> round(trajectory.hessian(step=2).edges().left, 6)
    0.25
    """

    _axes: ClassVar = {"T": "step", "m": "neuron", "k": "direction"}
    _rows: ClassVar = ("step",)

    delta: Annotated[float, DELTA]
    status: Status

    def __init__(
        self,
        problem: Problem | None,
        delta: float,
        method: Method,
        sampling: Sampling,
        runs: list[Run],
        stored: StoredTrajectory | None = None,
    ) -> None:
        self.problem = problem
        self.delta = delta
        self.method = method
        self.sampling = sampling
        self.status = status_of(runs)
        self._runs = runs
        self._quantities = Quantities(problem, delta, method, sampling, runs, stored)
        self._n_times = self._quantities.n_times
        self._problem_config = None if stored is None else stored.problem
        self._own_laws = own_laws(problem) if stored is None else stored.own_laws
        self._laws: dict[int, HessianLaw] = {}
        self._spans: tuple[int, list[Span]] | None = None  # of the step last asked for

    @property
    def config(self) -> dict[str, Any]:
        """Problem, method and sampling as plain types."""
        problem = self.problem.to_config() if self.problem else self._problem_config
        assert problem is not None  # a loaded trajectory has one of the two
        method, sampling = self.method.to_config(), self.sampling.to_config()
        return {"problem": problem, "method": method, "sampling": sampling}

    # -- order parameters and losses ----------------------------------------------------------

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
    def steps(self) -> Annotated[NDArray[np.intp], "T", STEPS]:
        """Steps computed, 0, ..., n_steps."""
        return np.arange(self._n_times)

    @property
    def times(self) -> Annotated[FloatArray, "T", TIME]:
        """Time of each point computed, shape (T+1,): the sum of step sizes in gradient descent."""
        return self.method.times[: self._n_times]

    @property
    def rank(self) -> int:
        """Number of fresh directions in the run over all paths.

        Where some have been truncated: the most that it held at a time recorded.
        """
        run = self._runs[0]
        if run.is_compressed:
            return int(run.counts[:, 1].max())
        return len(run.direction_step)

    @property
    def rank_tolerance(self) -> Annotated[FloatArray, "T"]:
        """Rank tolerance of the run over all paths at each step, shape (T+1,).

        As stated in `Sampling`, or matched to the sampling errors.
        """
        used = self._runs[0].rank_tolerance
        if used is None:  # a file of before the tolerance could choose itself: it is stated
            n_paths = self.sampling.n_paths * self.sampling.replicates
            used = rank_tolerances(self.method, self.sampling, n_paths)
        return used[: self._n_times]

    @property
    def compression(self) -> float:
        """Fraction of a new direction below which others are discarded, stated or by default."""
        return compression_along(self.method, self.sampling)

    @cached_property
    def correlation(self) -> Annotated[FloatArray, "T T m m"]:
        """C(t, s), shape (T+1, T+1, m, m)."""
        return self._quantities.of_run("correlation", 0)

    @cached_property
    def overlap(self) -> Annotated[FloatArray, "T m k"]:
        """M(t), shape (T+1, m, k)."""
        return self._quantities.of_run("overlap", 0)

    @cached_property
    def gradient_covariance(self) -> Annotated[FloatArray, "T T m m"]:
        """G(t, s), shape (T+1, T+1, m, m)."""
        return self._quantities.of_run("gradient_covariance", 0)

    @cached_property
    def response(self) -> Annotated[FloatArray, "T T m m"]:
        """R(t, s), shape (T+1, T+1, m, m), zero for s >= t, NaN beyond ``response_steps``."""
        return self._quantities.of_run("response", 0)

    @cached_property
    def norm(self) -> Annotated[FloatArray, "T m m"]:
        """C(t, t), shape (T+1, m, m), without forming C at unequal times."""
        return self._quantities.of_run("norm", 0)

    @cached_property
    def train_loss(self) -> Annotated[FloatArray, "T"]:
        """Train loss, shape (T+1,)."""
        return self._quantities.of_run("train_loss", 0)

    @cached_property
    def test_loss(self) -> Annotated[FloatArray, "T"]:
        """Test loss, shape (T+1,)."""
        return self._quantities.of_run("test_loss", 0)

    @cached_property
    def test_error(self) -> Annotated[FloatArray, "T"]:
        """Probability that the network has the wrong sign on fresh data, shape (T+1,), or NaN."""
        return self._quantities.of_run("test_error", 0)

    @cached_property
    def gradient_norm(self) -> Annotated[FloatArray, "T"]:
        """Frobenius norm of the gradient of the risk (without weight decay), shape (T+1,)."""
        return self._quantities.of_run("gradient_norm", 0)

    @cached_property
    def second_layer(self) -> Annotated[FloatArray, "T m"]:
        """a(t), shape (T+1, m)."""
        return self._quantities.of_run("second_layer", 0)

    @cached_property
    def biases(self) -> Annotated[FloatArray, "T m"]:
        """b(t), shape (T+1, m); zero where there are none."""
        return self._quantities.of_run("biases", 0)

    @property
    def stderr(self) -> Annotated[Mapping[str, FloatArray], EachOf("{}_stderr")]:
        """Standard error of each quantity over replicates, by name."""
        return ByQuantity(lambda name: self._quantities.spread(name)[0])

    @property
    def bias(self) -> Annotated[Mapping[str, FloatArray], EachOf("{}_bias")]:
        """Bias of each quantity from finitely many paths, estimated from the replicates, by name.

        Values come from ``replicates`` times as many paths as those of each replicate, and the bias
        is inversely proportional to their number: ``(mean over replicates - value) / (replicates -
        1)``. Small compared with ``stderr``, but late in long runs: paths overfit the directions
        that the neurons have moved in, by about their number over that of the paths. Where it is
        the larger of the two it is no more than an order of magnitude.
        """
        return ByQuantity(self._bias)

    def _bias(self, name: str) -> FloatArray:
        with np.errstate(invalid="ignore"):
            mean = self._quantities.spread(name)[1]
            return bias_of_paths(getattr(self, name), mean, len(self._runs) - 1)

    @property
    def response_steps(self) -> int:
        """Last time t for which R(t, .) is numerically reliable; 0 for a gradient flow.

        The directions that a flow opens belong to the stages of its integrator, not to its times.
        """
        return self._quantities.response_steps

    @property
    def response_status(self) -> Status:
        """SUCCESS, or ILL_CONDITIONED if R is missing for late times."""
        return Status.SUCCESS if self.response_steps == self.n_steps else Status.ILL_CONDITIONED

    @cached_property
    def unstable_paths(self) -> UnstablePaths:
        """Linearly unstable paths at each step, and their shares of the averages."""
        return UnstablePaths.of_runs([run.above[: self._n_times] for run in self._runs])

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
        is_defined = np.all(self._quantities.undefined_losses == 0.0)
        return Status.SUCCESS if is_defined else Status.UNDEFINED_AVERAGE

    @property
    def bias_status(self) -> Status:
        """SUCCESS, or FINITE_PATHS if a bias is larger than the standard error at some time.

        Of train loss, norm and gradient norm; not below 1e-4 of the value.
        """
        for name in ("train_loss", "norm", "gradient_norm"):
            if is_biased(self.bias[name], self.stderr[name], getattr(self, name)).any():
                return Status.FINITE_PATHS
        return Status.SUCCESS

    def ended(self, status: Status) -> Trajectory:
        """Return the trajectory with the status of a computation that it is the best result of."""
        runs = [replace(self._runs[0], status=status), *self._runs[1:]]
        return Trajectory(self.problem, self.delta, self.method, self.sampling, runs)

    def per_replicate(self, name: str) -> Iterator[FloatArray]:
        """One array per replicate (solved on its own paths alone) of the quantity ``name``.

        Raises
        ------
        ValueError
            If there is no such quantity.
        """
        if name not in QUANTITIES:
            raise ValueError(f"name must be one of {', '.join(QUANTITIES)}; got {name!r}")
        yield from self._quantities.of_replicates(name)

    # -- Hessian ------------------------------------------------------------------------------

    @overload
    def hessian(self, step: int, *, keep: bool = True) -> HessianLaw: ...

    @overload
    def hessian(self, step: int, *, d: int, draws: int | None = None) -> FiniteLaw: ...

    def hessian(
        self, step: int, *, keep: bool = True, d: int | None = None, draws: int | None = None
    ) -> HessianLaw | FiniteLaw:
        """Compute the asymptotic spectral law of the Hessian (with weight decay) at a step.

        At step 0 the distribution of the curvature weights D is explicit and deterministic
        quadrature is used (up to three Gaussians; scrambled Sobol points beyond). At later steps
        they are those of all paths of all replicates, and ``law.stderr`` is over replicates. The
        step is computed again from the seed if its paths were not kept.

        ``law.outliers()`` gives the outliers in all directions, from the coordinates and gradients
        of the paths (also computed again where they were not kept, see ``solve``);
        ``law.outliers("hard")`` does without them.

        Parameters
        ----------
        step : int
            0 to ``n_steps``.
        keep : bool
            Whether the trajectory keeps the spectral law, which holds arrays as long as the paths,
            for later calls.
        d, draws : int, optional
            Ask for the law of the n = delta d weights of runs of dimension d instead: so many draws
            from the law of D, as in `dmft.trajectory.finite_law.finite_law`.

        Returns
        -------
        rmt.HessianLaw
            With ``d``: `FiniteLaw`.

        Raises
        ------
        ValueError
            If the step is out of range, or the problem is unknown (loaded without it). With
            ``d``: if n = delta d is less than 10 m, or every step takes fresh samples.
        NumericalFailure
            If the step has to be computed again and cannot be, for lack of memory.
        """
        from dmft.hessian.hessian import initial_law, sampled_law
        from dmft.trajectory.finite_law import law_at_dimension

        step = check_integer("step", step, minimum=0)
        if self.n_steps < 0:
            raise ValueError(f"step must have been computed, none was: {self.status.name}")
        if step > self.n_steps:
            raise ValueError(f"step must be in 0..{self.n_steps} (steps computed), got {step}")
        if self.problem is None:
            raise ValueError(
                "problem must be given to Trajectory.load for the Hessian of a custom problem"
            )
        if d is not None or draws is not None:
            return law_at_dimension(self, step, d, draws)
        if step in self._laws:
            return self._laws[step]
        if step == 0 and self.problem.spectral_start is None:
            constraint = self.method.constraint
            law = initial_law(self.problem, self.delta, self.sampling, constraint=constraint)
        else:
            runs = self._runs
            if any(step not in run.pre_activations for run in runs):
                runs = runs_again(self, step)
            spans = [partial(self._span, step, index) for index in range(len(runs))]
            law = sampled_law(self.problem, self.delta, runs, step, spans, self.method.constraint)
        if keep:
            self._laws[step] = law
        return law

    def _span(self, step: int, index: int) -> Span:
        """Return coordinates and gradients of run number ``index`` at a step."""
        from dmft.hessian.hessian import sampled_span

        if self._spans is None or self._spans[0] != step:
            assert self.problem is not None  # hessian() asks for it
            runs = self._runs
            if any(run.is_truncated_at(step) for run in runs):
                raise NumericalFailure(
                    Status.ILL_CONDITIONED,
                    "Directions that outliers depend on were truncated; compression must be 0 in "
                    "Sampling.",
                )
            if any(run.paths is None for run in runs):
                runs = runs_again(self, step, keep_paths=True)
            method = self.method
            on = {"fresh": method.fresh_batches, "tangent": method.constraint is not None}
            self._spans = (step, [sampled_span(self.problem, run, step, **on) for run in runs])
        return self._spans[1][index]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_spans": None}  # views of the paths, which stay behind

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
        write_record(path, KIND, self._record(), public=public_arrays(self))

    def _record(self) -> StoredTrajectory:
        return StoredTrajectory(
            **self.config,
            delta=self.delta,
            runs=tuple(without_paths(run) for run in self._runs),
            test_loss=self._quantities.test_losses,
            test_error=self._quantities.test_errors,
            own_laws=self._own_laws,
        )

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
        stored = read_record(path, KIND, StoredTrajectory, StoredTrajectory.check)
        return cls(
            problem_of_record(vars(stored), problem),
            stored.delta,
            method_from_config(stored.method),
            Sampling(**stored.sampling),
            list(stored.runs),
            stored,
        )

    def _report(self) -> tuple[Lines, str]:
        from dmft.trajectory.report import trajectory_lines

        return trajectory_lines(self), ""

    def __repr__(self) -> str:
        stability = ""
        if not self.stability_status.ok:
            stability = f", stability={self.stability_status.name}"
        if "undefined_losses" in vars(self._quantities) and not self.loss_status.ok:
            stability += f", losses={self.loss_status.name}"
        return (
            f"Trajectory(delta={self.delta:g}, n_steps={self.n_steps}, m={self.m}, k={self.k}, "
            f"rank={self.rank}, status={self.status.name}{stability})"
        )
