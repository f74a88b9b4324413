"""How many rows the basis of the paths may have within a budget of memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dmft.aligned import PADDING
from dmft.process import block_width
from dmft.window import WINDOW_LENGTH

if TYPE_CHECKING:
    from dmft.problem import Problem
    from dmft.sampling import Sampling

__all__ = ["rows_within"]

# Rows over all paths that a run holds besides the basis: for each neuron those of the window
# (points, gradients, what of these lies outside), and ten for the last point, pre-activations,
# gradients, what is not known of them, fresh Gaussians (both also of the step before), images of a
# step.
_ROWS_PER_NEURON = 3 * WINDOW_LENGTH + 10


def rows_within(
    max_memory: float,
    problem: Problem,
    sampling: Sampling,
    n_kept: int,
    mirrored: bool,
    batches: bool = False,
) -> int:
    """Rows that the basis of each run of a solve may have.

    All replicates are counted at a time, with the pre-activations kept of the run over all paths;
    so the answer does not depend on how many threads there are.

    Parameters
    ----------
    max_memory : float
        In bytes.
    problem : Problem
    sampling : Sampling
    n_kept : int
        Number of steps whose pre-activations are kept.
    mirrored : bool
        Whether every path comes twice.
    batches : bool
        Whether steps use batches, for which each path has a factor.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If the budget is too small for a single step; the message says what is needed.

    Examples
    --------
    >>> from dmft import Problem, Sampling
    >>> 500 < rows_within(1e9, Problem("linear"), Sampling(), 0, False) < 900
    True
    """
    m, k, replicates = problem.m, problem.k, sampling.replicates
    n_leading = k + m + int(problem.target.uses_noise)
    drawn = sampling.n_paths * replicates
    n_paths = 2 * drawn if mirrored else drawn
    base = (n_leading + m * sampling.sobol_blocks) * drawn
    base += (_ROWS_PER_NEURON * m + n_leading + k + 3) * n_paths  # of the runs at work
    base += (2 * n_kept * m + k + 1) * n_paths  # of those, and of the run over all paths
    if batches:  # factors of both, order of the paths, numbers drawn
        base += 5 * n_paths
    # A row over all paths; while it grows, a block of each run at work has its old rows beside it.
    of_replicate = n_paths // replicates
    width = block_width(of_replicate)
    blocks = max(replicates * min(width, of_replicate), block_width(n_paths))
    padding = PADDING * replicates * -(-of_replicate // width)
    row = n_paths + padding + (2 * blocks) // 3
    square = 4 * replicates  # coefficients of coordinates and gradients, also while they grow
    least = 1 + k + 5 * m  # with what two gradients open
    needed = 8 * (base + (row + square * least) * least)
    if max_memory < needed:
        raise ValueError(
            f"max_memory must be at least {needed} bytes ({_readable(needed)}) for the first step "
            f"with {replicates} x {sampling.n_paths} paths and pre-activations kept at {n_kept} "
            f"steps, got {max_memory:.15g}"
        )
    left = max_memory / 8 - base
    return int(2 * left / (row + math.sqrt(row**2 + 4 * square * left)))


def _readable(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.3g} MB"
