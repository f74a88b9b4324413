r"""Paths that a finite step makes linearly unstable, and their share of the averages.

Seen from a single sample, gradient descent is a map with the slope
:math:`1 - \eta (D / \delta + \lambda)`: the fraction :math:`1/\delta` is what a sample in
:math:`d` dimensions sees of its own step. Where

.. math:: \eta (D / \delta + \lambda) > 2

the sample is linearly unstable: it overshoots its minimum by more than its distance. Gradient
descent with such a step does so, and the theory follows it (with momentum, batches or a schedule
the limit is that of :meth:`dmft.GradientDescent.curvature_limits`); but averages carried by a few
such paths are noisy (and their standard errors with them), and are those of the step, not of the
problem. Gradient flow has no unstable paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft.io.marks import EachOf
from rmt.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SHARE_TOLERANCE", "UnstablePaths"]

FloatArray = NDArray[np.float64]

SHARE_TOLERANCE = 0.01
"""Unstable paths that carry more than this much of an average are reported as a status."""

_NAMES = ("fraction", "loss_share", "gradient_share", "pre_activation_share")


@dataclass(frozen=True, eq=False)
class UnstablePaths:
    r"""Paths with :math:`\eta (D / \delta + \lambda) > 2` along a trajectory.

    For several neurons D stands for a bound on its largest eigenvalue
    (:func:`dmft.model.gradients.curvature_bound`), which is D itself for one neuron and a convex
    loss. All are exactly zero for a gradient flow.

    Attributes
    ----------
    fraction : ndarray, shape (T+1,)
        Fraction of the paths.
    loss_share : ndarray, shape (T+1,)
        Their share of the train loss,
    gradient_share : ndarray, shape (T+1,)
        of ``E[|g|^2]``, g the gradient of the loss in the pre-activations r,
    pre_activation_share : ndarray, shape (T+1,)
        and of ``E[|r|^2]``.
    stderr : dict of str to ndarray
        Standard error over replicates of each of them, by name.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    >>> sampling = dmft.Sampling(n_paths=1024, replicates=8, seed=0)
    >>> coarse = dmft.solve(problem, 1.0, dmft.GradientDescent(0.2, 5), sampling)
    >>> coarse.unstable_paths.largest[1], coarse.stability_status.name
    ('pre_activation_share', 'UNSTABLE_PATHS')
    >>> fine = dmft.solve(problem, 1.0, dmft.GradientDescent(0.01, 5), sampling)
    >>> fine.unstable_paths.fraction, fine.stability_status.name
    (array([0., 0., 0., 0., 0., 0.]), 'SUCCESS')
    """

    _axes: ClassVar = {"T": "step"}

    fraction: Annotated[FloatArray, "T"]
    loss_share: Annotated[FloatArray, "T"]
    gradient_share: Annotated[FloatArray, "T"]
    pre_activation_share: Annotated[FloatArray, "T"]
    stderr: Annotated[dict[str, FloatArray], EachOf("{}_stderr")]

    @classmethod
    def of_runs(cls, runs: Sequence[FloatArray]) -> UnstablePaths:
        """Build it from the counts of the runs: that over all paths, then one for each replicate.

        Parameters
        ----------
        runs : sequence of ndarray, shape (T+1, 4)
        """
        error = np.std(runs[1:], axis=0, ddof=1) / np.sqrt(len(runs) - 1)
        fraction, loss, gradient, pre_activation = (column.copy() for column in runs[0].T)
        errors = {name: column.copy() for name, column in zip(_NAMES, error.T, strict=True)}
        return cls(fraction, loss, gradient, pre_activation, errors)

    @property
    def largest(self) -> tuple[float, str, int]:
        """The largest of these numbers, its name and its step (0, "", 0 if none)."""
        table = np.array([getattr(self, name) for name in _NAMES])
        if not table.any():
            return 0.0, "", 0
        index, step = np.unravel_index(np.argmax(table), table.shape)
        return float(table[index, step]), _NAMES[index], int(step)

    def share_until(self, step: int) -> float:
        """Return the largest of these numbers up to a step."""
        return float(max(np.max(getattr(self, name)[: step + 1]) for name in _NAMES))

    @property
    def status(self) -> Status:
        """UNSTABLE_PATHS if they are, or carry, more than `SHARE_TOLERANCE` of an average."""
        return Status.SUCCESS if self.largest[0] <= SHARE_TOLERANCE else Status.UNSTABLE_PATHS
