"""Load a result of any kind from its file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dmft.comparison.comparison import Comparison
from dmft.hessian.finite_law import FiniteLaw
from dmft.io.results import OtherFileError, read_header
from dmft.observables.risk_minimization import RiskMinimizer
from dmft.recovery.exponents import Hardness
from dmft.recovery.spectral_methods import SpectralMethod
from dmft.scans.scan_result import Scan
from dmft.simulation.simulation import Simulation
from dmft.studies.algorithmic_threshold import AlgorithmicGap
from dmft.studies.cascade import Cascade
from dmft.studies.grokking import Grokking
from dmft.studies.recovery_result import RecoveryProbability
from dmft.studies.scaling_law_result import ScalingLaw
from dmft.studies.sweep_laws import SweepPrediction
from dmft.studies.sweep_result import Sweep
from dmft.threshold.curve import ThresholdCurve
from dmft.threshold.sizes import ThresholdsAtSizes
from dmft.threshold.threshold import Threshold
from dmft.trajectory.spectra import Spectrum
from dmft.trajectory.stored import KIND
from dmft.trajectory.trajectory import Trajectory

if TYPE_CHECKING:
    import os

    from dmft.io.result import Result
    from dmft.model.problem import Problem

__all__ = ["load", "load_kind"]

_SAVED: Final = (
    *(AlgorithmicGap, Cascade, Comparison, FiniteLaw, Grokking, Hardness, RecoveryProbability),
    *(
        RiskMinimizer,
        ScalingLaw,
        Scan,
        Simulation,
        SpectralMethod,
        Spectrum,
        Sweep,
        SweepPrediction,
        Threshold,
    ),
    *(ThresholdCurve, ThresholdsAtSizes),
)


def load(path: str | os.PathLike[str], problem: Problem | None = None) -> Result:
    """Load a result of any kind from its file.

    Parameters
    ----------
    path : path-like
        A file that the ``save`` of a result, or a command, has written.
    problem : Problem, optional
        For a trajectory, simulation or minimiser of a custom problem, whose code is not in
        the file.

    Returns
    -------
    Result
        An instance of the class that was saved.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no result file, is damaged, of a kind not known here or from a newer version; or
        a problem is given for a result that needs none.

    Examples
    --------
    >>> import dmft, tempfile
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    >>> method = dmft.GradientDescent(step_size=0.2, n_steps=10)
    >>> found = dmft.find_delta_nn(problem, method, (0.5, 4), step=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found.save(f"{folder}/threshold.npz")
    ...     dmft.load(f"{folder}/threshold.npz") == found
    True
    """
    return load_kind(path, read_header(path)["kind"], problem)


def load_kind(path: str | os.PathLike[str], kind: str, problem: Problem | None = None) -> Result:
    """Load a result as `load` does, of a kind that its header has been found to state."""
    with_problem: dict[str, type[Trajectory] | type[Simulation] | type[RiskMinimizer]] = {
        KIND: Trajectory, Simulation._kind: Simulation, RiskMinimizer._kind: RiskMinimizer
    }  # fmt: skip
    if kind in with_problem:
        return with_problem[kind].load(path, problem)
    if problem is not None:
        raise ValueError(f"problem must be None for a {kind} file, got {type(problem).__name__}")
    classes: dict[Any, Any] = {cls._kind: cls for cls in _SAVED}
    if kind not in classes:
        known = ", ".join(sorted([*classes, KIND]))
        raise OtherFileError(f"path must be a file of one result ({known}); {path} holds {kind!r}")
    found: Result = classes[kind].load(path)
    return found
