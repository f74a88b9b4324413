"""Memory that a solve needs, and rows of the basis within a budget."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

from dmft._numerics.aligned import PADDING
from dmft._numerics.machine_memory import available_memory, check_fits, readable
from dmft.model.drawn_inputs import n_leading_normals
from dmft.solver.blocks import block_width
from dmft.solver.recycling import HISTORY_LENGTH

if TYPE_CHECKING:
    from dmft._numerics.sampling import Sampling
    from dmft.model.problem import Problem
    from dmft.training.methods import Method

__all__ = ["BudgetError", "check_solve", "rows_within", "surely_needed"]

# Rows over all paths that a run holds besides the basis: for each neuron those of the history
# (points, gradients, their residuals), and ten for the last point, pre-activations, gradients,
# their innovations, fresh Gaussians (both also of the step before), directional pre-activations.
_ROWS_PER_NEURON = 3 * HISTORY_LENGTH + 10
# Of these, rows that the first evaluation writes, whatever comes after it.
_ROWS_WRITTEN = 3 * HISTORY_LENGTH + 3
# Each time point recorded is five arrays, a few numbers and their places in lists.
_BYTES_PER_TIME = 700


class BudgetError(ValueError):
    """A budget in bytes that is too small, and the least one for a purpose."""

    def __init__(self, needed: int, given: float, purpose: str) -> None:
        self.needed, self.given, self.purpose = needed, given, purpose
        super().__init__(
            f"max_memory must be at least {needed} bytes ({readable(needed)}) {purpose}, "
            f"got {given:.15g}"
        )


def rows_within(
    max_memory: float | None, problem: Problem, method: Method, sampling: Sampling, n_kept: int
) -> int:
    """Return the rows that the basis of each run of a solve may have, if it fits in memory.

    All replicates are counted at a time, with the pre-activations kept of the run over all paths;
    so the answer does not depend on how many threads there are.

    Parameters
    ----------
    max_memory : float or None
        Budget in bytes, besides the memory of the machine.
    problem : Problem
    method : Method
    sampling : Sampling
    n_kept : int
        Number of steps whose pre-activations are kept.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        As `check_solve`, in the memory of the machine.
    BudgetError
        If the budget is too small for a single step; the message says what is needed.

    Examples
    --------
    >>> from dmft import GradientDescent, Problem, Sampling
    >>> 500 < rows_within(1e9, Problem("linear"), GradientDescent(0.1, 1), Sampling(), 0) < 900
    True
    """
    check_solve(problem, method, sampling, n_kept)
    if max_memory is None:
        return sys.maxsize
    m, k, replicates = problem.m, problem.k, sampling.replicates
    n_leading = n_leading_normals(problem)
    drawn = sampling.n_paths * replicates
    n_paths = 2 * drawn if problem.is_antithetic else drawn  # antithetic pairs
    base = (n_leading + m * sampling.sobol_blocks) * drawn
    base += (_ROWS_PER_NEURON * m + n_leading + k + 3) * n_paths  # of the runs at work
    base += (2 * n_kept * m + k + 1) * n_paths  # of those, and of the run over all paths
    if method.batch_fraction < 1.0:  # factors of both, order of the paths, numbers drawn
        base += 5 * n_paths
    # A row over all paths; while it grows, a block of each run at work has its old rows beside it.
    of_replicate = n_paths // replicates
    width = block_width(of_replicate)
    blocks = max(replicates * min(width, of_replicate), block_width(n_paths))
    padding = PADDING * replicates * -(-of_replicate // width)
    row = n_paths + padding + (2 * blocks) // 3
    square = 4 * replicates  # coefficients of coordinates and gradients, also while they grow
    least = 1 + k + 5 * m  # with the extension by two gradients
    needed = 8 * (base + (row + square * least) * least)
    if max_memory < needed:
        purpose = (
            f"for the first step with {replicates} x {sampling.n_paths} paths and pre-activations "
            f"kept at {n_kept} steps"
        )
        raise BudgetError(needed, max_memory, purpose)
    left = max_memory / 8 - base
    return int(2 * left / (row + math.sqrt(row**2 + 4 * square * left)))


def surely_needed(
    problem: Problem,
    method: Method,
    n_paths: int,
    replicates: int,
    n_kept: int,
    n_steps: int,
    sobol_blocks: int = 0,
) -> float:
    """Return the bytes that a solve takes at the least, if it goes on to its last step.

    The number of directions it will keep is not known, and not counted.

    Parameters
    ----------
    problem : Problem
    method : Method
    n_paths, replicates : int
    n_kept : int
        Number of steps whose pre-activations are kept.
    n_steps : int
    sobol_blocks : int

    Returns
    -------
    float
    """
    m, k = problem.m, problem.k
    n_leading = n_leading_normals(problem)
    drawn = n_paths * replicates
    n = 2 * drawn if problem.is_antithetic else drawn
    rows = 2 * n_leading + k + 3 if method.fresh_batches else _ROWS_WRITTEN * m + n_leading + k + 2
    pooled = (rows + m * n_kept) * n
    replicate = (rows / replicates + (1 + 1 / replicates) * m * n_kept + k + 1) * n
    numbers = (n_leading + m * sobol_blocks) * drawn + max(pooled, replicate)
    of_time = m * (k + 2 * m + 1) + 10
    # On new samples each step adds directions; on others their number is not known.
    added = 2 * m * m * n_steps if method.fresh_batches else 0
    packed = (of_time + added) * (n_steps + 1)
    return 8.0 * (numbers + packed * (1 + replicates)) + _BYTES_PER_TIME * (n_steps + 1)


def check_solve(
    problem: Problem,
    method: Method,
    sampling: Sampling,
    n_kept: int,
    available: float | None = None,
) -> None:
    """Raise unless a solve fits in memory, as far as can be known before it starts.

    Parameters
    ----------
    problem : Problem
    method : Method
    sampling : Sampling
    n_kept : int
        Number of steps whose pre-activations are kept.
    available : float, optional
        Bytes; default: those of the machine.

    Raises
    ------
    ValueError
        Naming the argument that would have to be smaller, and the largest value that fits.
    """

    def needed(**changed: int) -> float:
        values = {
            "n_paths": sampling.n_paths,
            "replicates": sampling.replicates,
            "n_kept": n_kept,
            "n_steps": method.n_steps,
            **changed,
        }
        return surely_needed(problem, method, **values, sobol_blocks=sampling.sobol_blocks)

    if available is None:
        available = available_memory()
    if needed() <= available:
        return
    choices = [
        ("n_kept", "the number of hessian_steps", n_kept, 0, False),
        ("n_paths", "n_paths", sampling.n_paths, 64, True),
        ("replicates", "replicates", sampling.replicates, 2, False),
        ("n_steps", "n_steps", method.n_steps, 0, False),
    ]
    # The first that would do alone; if none does, the one that does most.
    least = {key: needed(**{key: lowest}) for key, _, _, lowest, _ in choices}
    enough = [choice for choice in choices if least[choice[0]] <= available]
    chosen = enough[0] if enough else min(choices, key=lambda choice: least[choice[0]])
    key, name, value, lowest, halving = chosen
    check_fits(name, value, lambda x: needed(**{key: x}), available, least=lowest, halving=halving)
