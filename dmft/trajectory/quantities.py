"""Order parameters and losses of a trajectory, computed from the records of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

import numpy as np

from dmft.model.biases import check_biases
from dmft.model.layer_states import LayerStates
from dmft.observables.classification_error import expected_test_error
from dmft.observables.generalization import LossAverage, expected_test_loss, pre_activation_weights
from dmft.observables.integrability import undefined_losses
from dmft.training.gradient_descent import GradientDescent
from rmt._blas import single_threaded_blas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from dmft._numerics.sampling import Sampling
    from dmft.model.problem import Problem
    from dmft.solver.runs import Run
    from dmft.training.methods import Method
    from dmft.trajectory.stored import StoredTrajectory

    FloatArray = NDArray[np.float64]

__all__ = ["QUANTITIES", "ByQuantity", "Quantities"]

QUANTITIES: Final = (
    "correlation",
    "norm",
    "overlap",
    "gradient_covariance",
    "response",
    "train_loss",
    "test_loss",
    "test_error",
    "gradient_norm",
    "second_layer",
    "biases",
)
"""Names of the quantities, each a method of `Quantities`."""

# Below this ratio of smallest to largest gradient innovation the response, which divides by the
# innovations, has lost its digits.
_RESPONSE_CONDITION = 1e-7


class Quantities:
    """Quantities of the runs of a trajectory at the times that all of them reached.

    Each method takes the number of a run: 0 is the run over all paths, others are replicates.

    Parameters
    ----------
    problem, delta, method, sampling
        Those of the trajectory.
    runs : sequence of Run
    stored : StoredTrajectory, optional
        A file with the test losses and errors, which are computed otherwise.
    """

    def __init__(
        self,
        problem: Problem | None,
        delta: float,
        method: Method,
        sampling: Sampling,
        runs: Sequence[Run],
        stored: StoredTrajectory | None = None,
    ) -> None:
        self._problem, self._delta, self._method = problem, delta, method
        self._sampling, self._runs, self._stored = sampling, runs, stored
        self._spreads: dict[str, tuple[FloatArray, FloatArray]] = {}
        self.n_times = min(run.n_times for run in runs)

    def of_run(self, name: str, index: int) -> FloatArray:
        """Compute a quantity of one run, with bits that do not depend on the number of threads."""
        with single_threaded_blas():
            found: FloatArray = getattr(self, name)(index)
            return found

    def of_replicates(self, name: str) -> Iterator[FloatArray]:
        """Generate a quantity of each replicate."""
        for index in range(1, len(self._runs)):
            yield self.of_run(name, index)

    def spread(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Compute standard error and mean of a quantity over replicates."""
        if name not in self._spreads:
            # Welford's update: one replicate in memory at a time.
            mean: FloatArray | float = 0.0
            squares: FloatArray | float = 0.0
            count = 0
            for array in self.of_replicates(name):
                count += 1
                with np.errstate(invalid="ignore"):  # infinite losses
                    difference = array - mean
                    mean = mean + difference / count
                    squares = squares + difference * (array - mean)
            error = np.sqrt(np.asarray(squares) / (count - 1) / count)
            self._spreads[name] = error, np.asarray(mean)
        return self._spreads[name]

    def correlation(self, index: int) -> FloatArray:
        """Compute C(t, s)."""
        return _two_times(self._weights(index))

    def norm(self, index: int) -> FloatArray:
        """Compute C(t, t)."""
        B = self._weights(index)
        return B @ np.swapaxes(B, 1, 2)

    def overlap(self, index: int) -> FloatArray:
        """Return M(t)."""
        return self._weights(index)[:, :, : len(self._runs[0].latent)]

    def gradient_covariance(self, index: int) -> FloatArray:
        """Compute G(t, s); at equal times with the part that the rank tolerance discards."""
        run, times = self._runs[index], np.arange(self.n_times)
        covariance = _two_times(run.gamma[: self.n_times])
        covariance[times, times] = run.gradient_second_moment[: self.n_times]
        return covariance

    @cached_property
    def response_steps(self) -> int:
        """Last time up to which the response is numerically reliable in all runs."""
        if not isinstance(self._method, GradientDescent):
            return 0
        return min(_reliable_response(run, self.n_times) for run in self._runs)

    def response(self, index: int) -> FloatArray:
        """Compute R = sqrt(delta) B Gamma^{-1} on the fresh coordinates, up to `response_steps`."""
        from scipy.linalg import solve_triangular

        run, n, last = self._runs[index], self.n_times, self.response_steps
        m = run.weights.shape[1]
        if n == 0:
            return np.empty((0, 0, m, m))
        size = m * last
        start = int(np.count_nonzero(run.direction_step < 0))  # directions before the first step
        fresh = run.weights[: last + 1, :, len(run.latent) + m + start :][:, :, :size]
        fresh = fresh.reshape((last + 1) * m, size)
        gamma = run.gamma[:last, :, start : start + size].reshape(size, size)
        response = np.full((n, n, m, m), np.nan)
        response[: last + 1] = 0.0
        if size:
            solution = solve_triangular(gamma, fresh.T, trans="T", lower=True).T
            block = np.sqrt(self._delta) * solution.reshape(last + 1, m, last, m)
            response[: last + 1, :last] = block.transpose(0, 2, 1, 3)
            times = np.arange(last + 1)
            response[: last + 1, :last][times[:, np.newaxis] <= times[np.newaxis, :last]] = 0.0
        return response

    def train_loss(self, index: int) -> FloatArray:
        """Return E[l(r^t, y)]."""
        losses = self._runs[index].train_loss[: self.n_times]
        return np.where(self.undefined_losses == 0.0, losses, self.undefined_losses)

    def test_loss(self, index: int) -> FloatArray:
        """Return the loss on fresh data."""
        losses: FloatArray = self.test_losses[index]
        return losses

    def test_error(self, index: int) -> FloatArray:
        """Return the probability of a wrong sign on fresh data; NaN where labels are no signs."""
        errors: FloatArray = self.test_errors[index]
        return errors

    def gradient_norm(self, index: int) -> FloatArray:
        """Compute the Frobenius norm of the gradient of the risk."""
        return np.sqrt(self._runs[index].squared_gradient_norm[: self.n_times])

    def second_layer(self, index: int) -> FloatArray:
        """Return a(t)."""
        return self._runs[index].second_layer[: self.n_times]

    def biases(self, index: int) -> FloatArray:
        """Return b(t), zero where there are none."""
        run = self._runs[index]
        if run.biases is not None:
            return run.biases[: self.n_times]
        m = run.second_layer.shape[1]
        if self._problem is not None:
            fixed = self._problem.network.biases
        else:
            assert self._stored is not None
            fixed, _ = check_biases(self._stored.problem["network"].get("biases"), m)
        return np.tile(fixed or np.zeros(m), (self.n_times, 1))

    # -- averages over fresh data -------------------------------------------------------------

    @cached_property
    def undefined_losses(self) -> FloatArray:
        """For each time 0, or what the loss is if it has no finite average: +-inf or NaN.

        That is decided by the tails of the label and of the network, for train and test loss alike.
        """
        if self._stored is not None or self._problem is None:
            losses = self.test_loss(0)
            return np.where(np.isfinite(losses), 0.0, losses)
        return undefined_losses(self._problem, *self._pre_activations())

    @cached_property
    def test_losses(self) -> FloatArray:
        """Test losses of all runs, shape (replicates + 1, n_times)."""
        if self._stored is not None:
            return self._stored.test_loss
        assert self._problem is not None  # only files lack it
        average = LossAverage.of(self._problem, *self._pre_activations(), self.undefined_losses)
        return self._on_fresh_data(partial(expected_test_loss, average=average))

    @cached_property
    def test_errors(self) -> FloatArray:
        """Test errors of all runs, shape (replicates + 1, n_times)."""
        if self._stored is not None:
            return self._stored.test_error
        assert self._problem is not None  # only files lack it
        if not self._problem.target.has_sign_labels:
            return np.full((len(self._runs), self.n_times), np.nan)
        return self._on_fresh_data(expected_test_error)

    def _weights(self, index: int) -> FloatArray:
        """Return B_t."""
        return self._runs[index].weights[: self.n_times]

    def _trained_layers(self, index: int) -> LayerStates | None:
        """Return second layer and biases, as far as they are trained."""
        layer = self.second_layer(index) if self._method.trains_second_layer else None
        biases = self.biases(index) if self._method.trains_biases else None
        return None if layer is biases is None else LayerStates(layer, biases)

    def _pre_activations(self) -> tuple[FloatArray, LayerStates | None]:
        """Return weights of pre-activations over all paths, and the layers that are trained."""
        weights = pre_activation_weights(self.overlap(0), self.norm(0))
        return weights, self._trained_layers(0)

    def _on_fresh_data(self, average: Callable[..., FloatArray]) -> FloatArray:
        """Average over fresh data for each run."""
        n_replicates = len(self._runs) - 1
        return np.stack(
            [
                average(
                    self._problem,
                    self.overlap(i),
                    self.norm(i),
                    self._sampling,
                    range(n_replicates) if i == 0 else [i - 1],
                    self._trained_layers(i),
                )
                for i in range(n_replicates + 1)
            ]
        )


class ByQuantity(Mapping[str, "FloatArray"]):
    """An array for each quantity, computed on access."""

    def __init__(self, compute: Callable[[str], FloatArray]) -> None:
        self._compute = compute

    def __getitem__(self, name: str) -> FloatArray:
        if name not in QUANTITIES:
            raise KeyError(name)
        return self._compute(name)

    def __iter__(self) -> Iterator[str]:
        return iter(QUANTITIES)

    def __len__(self) -> int:
        return len(QUANTITIES)


def _two_times(rows: FloatArray) -> FloatArray:
    """Compute the Gram matrix of (T, m, n) rows as a (T, T, m, m) array."""
    n_times, m, width = rows.shape
    flat = rows.reshape(n_times * m, width)
    gram = (flat @ flat.T).reshape(n_times, m, n_times, m)
    return np.ascontiguousarray(gram.transpose(0, 2, 1, 3))


def _reliable_response(run: Run, n_times: int) -> int:
    """Find the last t such that every gradient before t has well-determined innovations."""
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
