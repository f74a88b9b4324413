"""The file of a trajectory: its contents, and whether its parts belong together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from dmft.io.records import STORED_IF_SET
from dmft.io.stored_settings import check_own_laws, check_settings
from dmft.solver.runs import Run
from dmft.training.methods import method_from_config

__all__ = ["KIND", "StoredTrajectory", "without_paths"]

FloatArray = NDArray[np.float64]

KIND = "trajectory"


@dataclass(frozen=True)
class StoredTrajectory:
    """Settings, runs without paths, and averages over fresh data of a trajectory."""

    problem: dict[str, Any]
    delta: float
    method: dict[str, Any]
    sampling: dict[str, Any]
    runs: Annotated[tuple[Run, ...], "R"]
    test_loss: Annotated[FloatArray, "R T"]
    test_error: Annotated[FloatArray, "R T"]
    own_laws: tuple[float, ...] | None = field(default=None, metadata=STORED_IF_SET)

    def check(self) -> None:
        """Raise ValueError unless settings and runs are complete and belong together."""
        names = ("problem", "method", "sampling")
        check_settings({name: getattr(self, name) for name in names}, *names)
        check_own_laws(self.own_laws)
        m, k = len(self.problem["network"]["second_layer"]), self.problem["target"]["k"]
        for run in self.runs:
            is_narrow = run.n_times > 0 and run.weights.shape[2] < k + m
            if is_narrow or (run.weights.shape[1], len(run.latent)) != (m, k):
                raise ValueError(f"its runs are not those of {m} neurons and {k} latent directions")
        n_runs, n_times = self.test_loss.shape
        n_steps = method_from_config(self.method).n_steps
        if n_times > n_steps + 1 or n_times != min(run.n_times for run in self.runs):
            raise ValueError(f"it has test losses at {n_times} times, not those of its runs")
        if n_runs != self.sampling["replicates"] + 1:
            raise ValueError(f"it has {n_runs} runs, not those of its sampling")


def without_paths(run: Run) -> Run:
    """Return a run without its arrays over paths."""
    return replace(
        run,
        latent=run.latent[:, :0],
        labels=run.labels[:0],
        scales=None,
        pre_activations={},
        paths=None,
    )
