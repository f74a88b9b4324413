"""Records of one self-consistent run: time points as they are made, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

from dmft.io.records import NOT_STORED
from dmft.solver.paths import Paths
from rmt.status import Status

if TYPE_CHECKING:
    from typing import Any

    from dmft.solver.evaluation import Evaluation
    from dmft.solver.fresh_batches import AnyProcess

__all__ = ["Record", "Run"]

FloatArray = NDArray[np.float64]
IntegerArray = NDArray[np.intp]


@dataclass
class Run:
    """The record of one self-consistent run; everything else is computed from it.

    ``n_times`` is the number of time points reached (n_steps + 1 unless the run ended early).

    Attributes
    ----------
    weights : ndarray, shape (n_times, m, n_coordinates)
        B_t, zero on coordinates added later. Coordinates: z (k), xi (m), then fresh ones.
    gamma : ndarray, shape (n_times, m, n_directions)
        Gamma(t, v), the gradients on the kept directions.
    direction_step, direction_neuron : ndarray of int, shape (n_directions,)
        Which gradient added which direction (and the fresh coordinate that goes with it); step -1
        for that of an eigenvector that the run starts from.
    gradient_second_moment : ndarray, shape (n_times, m, m)
        E[g^t g^t^T].
    train_loss, squared_gradient_norm : ndarray, shape (n_times,)
        Those of all samples, also where steps use batches.
    counts : ndarray of int, shape (n_times, 3)
        Coordinates, directions and rows of the basis that ``paths`` held *before* each step.
    latent : ndarray, shape (k, n_paths)
        Divided by the scales of the inputs, where these have any.
    labels : ndarray, shape (n_paths,)
    pre_activations : dict of step to ndarray, shape (m, n_paths)
    left_out : ndarray, shape (n_times,)
        Truncation residuals before each time, summed: the weights
        |step_size g_residual| / sqrt(delta) that they would have received.
    above : ndarray, shape (n_times, 4)
        Of the paths that a step makes linearly unstable: fraction, and shares of loss, squared
        gradients and squared pre-activations.
    n_visits : int
        Evaluations by a full pass over the basis.
    second_layer : ndarray, shape (n_times, m)
        That of the network at each time.
    biases : ndarray, shape (n_times, m), or None
        Likewise; None where they are not trained.
    paths : Paths or None
        The coordinates and directions themselves, where they were kept. Those of an earlier step
        are the leading ones, see ``counts``.
    status : Status
    scales : ndarray, shape (n_paths,), or None
        Scales of the inputs, with which pre-activations are already multiplied; None where all are
        one.
    rank_tolerance : ndarray, shape (n_times,), or None
        The one in force at each time; not in files written before it could choose itself.
    """

    weights: Annotated[FloatArray, "T m c"]
    gamma: Annotated[FloatArray, "T m v"]
    direction_step: Annotated[IntegerArray, "opened"]
    direction_neuron: Annotated[IntegerArray, "opened"]
    gradient_second_moment: Annotated[FloatArray, "T m m"]
    train_loss: Annotated[FloatArray, "T"]
    squared_gradient_norm: Annotated[FloatArray, "T"]
    counts: Annotated[IntegerArray, "T 3"]
    latent: Annotated[FloatArray, "k N"]
    labels: Annotated[FloatArray, "N"]
    left_out: Annotated[FloatArray, "T"]
    above: Annotated[FloatArray, "T 4"]
    second_layer: Annotated[FloatArray, "T m"]
    pre_activations: dict[int, Annotated[FloatArray, "m N"]] = field(default_factory=dict)
    paths: Paths | None = field(default=None, metadata=NOT_STORED)
    status: Status = Status.SUCCESS
    n_visits: int = 0
    is_compressed: bool = False
    rank_tolerance: Annotated[FloatArray, "T"] | None = None
    biases: Annotated[FloatArray, "T m"] | None = None
    scales: Annotated[FloatArray, "N"] | None = None

    @property
    def n_times(self) -> int:
        """Number of time points reached."""
        return len(self.train_loss)

    def is_truncated_at(self, step: int) -> bool:
        """Whether directions that gradients added before a step were discarded before it."""
        if not self.is_compressed:
            return False
        return int(self.counts[step, 1]) < int(np.count_nonzero(self.direction_step < step))

    def __getstate__(self) -> dict[str, Any]:
        """Exclude the paths: large, and computed again from the seed when needed."""
        return {**self.__dict__, "paths": None}


class Record:
    """Collects the time points of a `Run`.

    Parameters
    ----------
    process : Process

    Attributes
    ----------
    status : Status
        How the run ended.
    left_out : float
        `Run.left_out` so far: summed truncation residuals.
    """

    def __init__(self, process: AnyProcess) -> None:
        self.status = Status.SUCCESS
        self._process = process
        self._weights = _Ragged(process.problem.m)
        self._gamma = _Ragged(process.problem.m)
        self._second_moment: list[FloatArray] = []
        self._numbers: list[tuple[float, float, float]] = []
        self._above: list[FloatArray] = []
        self._second_layer: list[FloatArray] = []
        self._biases: list[FloatArray] = []
        self._counts: list[tuple[int, int, int]] = []
        # Directions that the start was made with belong to a gradient before the first.
        self._direction_step: list[int] = [-1] * process.paths.n_directions
        self._direction_neuron: list[int] = [0] * process.paths.n_directions
        self._pre_activations: dict[int, FloatArray] = {}
        self.left_out = 0.0

    def add(
        self,
        weights: FloatArray,
        found: Evaluation,
        counts: tuple[int, int, int],
        *,
        weight: float,
        keep: bool,
        second_layer: FloatArray | None = None,
        biases: FloatArray | None = None,
    ) -> None:
        """Add a time point.

        Parameters
        ----------
        weights : ndarray, shape (m, n_coordinates)
        found : Evaluation
            At these weights, the last one of the process.
        counts : tuple of int
            What the paths held before it.
        weight : float
            The step that the gradient is used for.
        keep : bool
            Whether to keep the pre-activations.
        second_layer : ndarray, shape (m,), optional
            That of the problem if it is not given.
        biases : ndarray, shape (m,), optional
            Those that are trained.
        """
        t = len(self._numbers)
        if second_layer is None:
            second_layer = np.array(self._process.problem.network.second_layer)
        self._second_layer.append(second_layer)
        if biases is not None:
            self._biases.append(biases)
        paths = self._process.paths
        self._weights.append(paths.in_first_directions(weights, paths.n_leading))
        self._gamma.append(paths.in_first_directions(found.gamma))
        self._second_moment.append(found.second_moment)
        self._numbers.append((found.loss, found.square, self.left_out))
        self._above.append(found.above)
        self._counts.append(counts)
        self.add_directions(t, found)
        self.left_out += weight * found.truncation_residual / np.sqrt(self._process.delta)
        if keep:
            self._pre_activations[t] = self._scaled(np.concatenate(self._process.r, axis=1))

    def _scaled(self, r: FloatArray) -> FloatArray:
        scales = self._scales()
        return r if scales is None else r * scales

    def _scales(self) -> FloatArray | None:
        scales = np.concatenate(self._process.scales)
        return scales if len(scales) else None

    def add_directions(self, t: int, found: Evaluation) -> None:
        """Add the directions that an evaluation kept."""
        self._direction_step += [t] * len(found.kept)
        self._direction_neuron += found.kept.tolist()

    @property
    def n_times(self) -> int:
        """Number of time points so far."""
        return len(self._numbers)

    def state(self) -> dict[str, Any]:
        """Return everything recorded so far, in what ``dmft.io.snapshots.pack`` accepts."""
        more = {"biases": np.array(self._biases)} if self._biases else {}
        return {
            **more,
            "weights": self._weights.state(),
            "gamma": self._gamma.state(),
            "second_moment": np.array(self._second_moment),
            "numbers": np.array(self._numbers),
            "above": np.array(self._above),
            "second_layer": np.array(self._second_layer),
            "counts": np.array(self._counts),
            "direction_step": self._direction_step,
            "direction_neuron": self._direction_neuron,
            "steps": list(self._pre_activations),
            "values": list(self._pre_activations.values()),
            "left_out": self.left_out,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`.

        Raises
        ------
        ValueError
            If its arrays are not as long as each other, or of another number of neurons.
        """
        n, m = len(state["numbers"]), self._process.problem.m
        shapes = {"second_moment": (n, m, m), "numbers": (n, 3), "above": (n, 4)}
        for name, shape in (shapes | {"second_layer": (n, m), "counts": (n, 3)}).items():
            if n and state[name].shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {state[name].shape}")
        if np.shape(state.get("biases", np.zeros((n, m)))) != (n, m):
            raise ValueError(f"biases must have shape {(n, m)}")
        if any(state[name]["rows"].shape[:2] != (n, m) for name in ("weights", "gamma")):
            raise ValueError(f"weights and gamma must have {n} times and {m} neurons")
        self._weights.restore(state["weights"])
        self._gamma.restore(state["gamma"])
        self._second_moment = list(state["second_moment"])
        self._numbers = [(a, b, c) for a, b, c in state["numbers"].tolist()]
        self._above = list(state["above"])
        self._second_layer = list(state["second_layer"])
        self._biases = list(state.get("biases", ()))
        self._counts = [(a, b, c) for a, b, c in state["counts"].tolist()]
        self._direction_step = state["direction_step"]
        self._direction_neuron = state["direction_neuron"]
        self._pre_activations = dict(zip(state["steps"], state["values"], strict=True))
        self.left_out = state["left_out"]

    def run(self, keep_paths: bool, tolerances: FloatArray) -> Run:
        """Return everything recorded, under the rank tolerances of all steps."""
        process, m = self._process, self._process.problem.m
        numbers = np.array(self._numbers).reshape(-1, 3)
        return Run(
            weights=self._weights.padded(),
            gamma=self._gamma.padded(),
            direction_step=np.array(self._direction_step, dtype=np.intp),
            direction_neuron=np.array(self._direction_neuron, dtype=np.intp),
            gradient_second_moment=np.array(self._second_moment).reshape(-1, m, m),
            train_loss=numbers[:, 0].copy(),
            squared_gradient_norm=numbers[:, 1].copy(),
            latent=np.concatenate(process.latent, axis=1),
            labels=np.concatenate(process.labels),
            pre_activations=self._pre_activations,
            counts=np.array(self._counts, dtype=np.intp).reshape(-1, 3),
            paths=process.paths if keep_paths and not process.paths.is_truncated else None,
            is_compressed=process.paths.is_truncated,
            status=self.status,
            left_out=numbers[:, 2].copy(),
            above=np.array(self._above).reshape(-1, 4),
            second_layer=np.array(self._second_layer).reshape(-1, m),
            n_visits=process.n_full_passes,
            rank_tolerance=tolerances[: len(numbers)],
            biases=np.array(self._biases) if self._biases else None,
            scales=self._scales(),
        )


class _Ragged:
    """Rows of growing length, returned as one zero-padded array."""

    def __init__(self, m: int) -> None:
        self._rows: list[FloatArray] = []
        self._m = m

    def append(self, row: FloatArray) -> None:
        self._rows.append(row)

    def state(self) -> dict[str, Any]:
        return {"rows": self.padded(), "widths": [row.shape[1] for row in self._rows]}

    def restore(self, state: dict[str, Any]) -> None:
        pairs = zip(state["rows"], state["widths"], strict=True)
        self._rows = [row[:, :width] for row, width in pairs]

    def padded(self) -> FloatArray:
        width = max((row.shape[1] for row in self._rows), default=0)
        out = np.zeros((len(self._rows), self._m, width))
        for target, row in zip(out, self._rows, strict=True):
            target[:, : row.shape[1]] = row
        return out
