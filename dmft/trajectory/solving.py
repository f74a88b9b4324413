"""`solve`: the order parameters of a training algorithm in the limit n, d to infinity."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from dmft._numerics.accuracy import requested
from dmft._numerics.execution import Execution
from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_instance, check_real
from dmft.model.problem import Problem
from dmft.model.spectral_start import FRESH_EIGENVECTOR
from dmft.solver.replicates import run_replicates
from dmft.training.constraints import check_constrained
from dmft.training.methods import METHODS, Method
from dmft.trajectory.to_accuracy import ACCURATE, check_names, solve_to_accuracy
from dmft.trajectory.trajectory import Trajectory

__all__ = ["solve", "solve_with"]


def solve(
    problem: Problem,
    delta: float,
    method: Method,
    sampling: Sampling | None = None,
    *,
    hessian_steps: Iterable[int] | None = None,
    keep_paths: bool | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    max_memory: float | None = None,
    rtol: float | None = None,
    of: str | Sequence[str] = ACCURATE,
    max_paths: int | None = None,
    max_seconds: float | None = None,
    throw: bool = False,
) -> Trajectory:
    """Solve for the order parameters of gradient descent as n, d grow with n/d = delta.

    Parameters
    ----------
    problem : Problem
        Target, network, loss, initialisation, weight decay. With an initial overlap on a hard
        direction that direction moves; each path then comes twice, with z_hard and -z_hard.
        Overlaps below 1e-3 of the radius lose digits to rounding as the gradients settle.
    delta : float
        Samples per input dimension, n/d > 0.
    method : GradientDescent or GradientFlow
        Step size and number of steps T; or the last time, and the times asked for.
    sampling : Sampling, optional
        Number of paths (or of pairs of them), replicates and seed.
    hessian_steps : iterable of int, optional
        Steps whose pre-activations are kept in memory for :meth:`Trajectory.hessian`. By default
        all of them while they fit in 512 MB, otherwise the last one. A Hessian at any other step
        is still available: the run is repeated from its seed.
    keep_paths : bool, optional
        Whether the paths stay in memory for the outliers of a Hessian in all directions. By
        default while they fit in 256 MB and ``hessian_steps`` is not given. Without them, those
        outliers are still available: the run is repeated from its seed. Paths of a
        run with truncated directions (``Sampling.compression``) are never kept.
    threads : int, optional
        Threads at most; default: the number of cores, at most ``replicates``. Solves that are too
        small to gain from more than one use one. The result does not depend on it.
    progress : callable or True, optional
        True for a progress bar. A function is called with 1 after each step of each of the
        ``replicates + 1`` runs, possibly from several threads. With the number of steps found in
        ``checkpoint``, where there are some.
    checkpoint : path-like, optional
        A folder, made when missing, in which the solve survives being killed: the same call goes
        on from there, to the same bits, on any number of threads. One that is finished is read
        from it, without its paths. Custom laws are known by their name and by what they give at a
        few points. One solve at a time may use it.
    checkpoint_seconds : float
        Least time between two snapshots of a run, 0 for one after every step; they are taken less
        often where writing them would take more than a twentieth of the time.
    max_memory : float, optional
        Bytes that the arrays over paths may take, those of the replicates all counted at a time.
        The trajectory ends with status OUT_OF_MEMORY where they would take more; in a checkpoint
        such a run stays unfinished, and goes on where there is more. Pre-activations and paths
        are kept by default as far as they fit; paths never beyond. The interpreter and its
        libraries, about 0.2 GB, what an allocator does not give back at once, perhaps a quarter
        of it all, and Hessians read later are not counted.
    rtol : float, optional
        Relative error to be reached: the solve is repeated on more paths, ``n_paths`` of
        ``sampling`` are not used, until standard error and bias of the quantities `of` are within
        it at all times. An error counts relative to the largest entry of a quantity at that time.
    of : str or sequence of str
        Names of quantities, as in :class:`dmft.Trajectory`: train loss, test loss and norm if not
        given.
    max_paths, max_seconds : optional
        With `rtol`, as in :func:`dmft.find_delta_nn`. Where they, or memory, are not enough, the
        trajectory is the best one that was reached, with status MAX_PATHS or OUT_OF_MEMORY.
    throw : bool
        Raise :class:`dmft.NumericalFailure` instead of returning a status other than SUCCESS.

    Returns
    -------
    Trajectory
        If the run diverges, the trajectory up to the last step before, with status DIVERGED. If the
        gradient has no second moment, step 0 alone, with status UNDEFINED_AVERAGE.

    Raises
    ------
    ValueError
        If delta is not positive and finite, a Hessian step is outside 0..n_steps, the label
        function returns something unusable, ``checkpoint`` is a folder of another solve or in use,
        or ``max_memory`` is too small for a single step, or the machine for what the solve needs
        at the least; the message says which setting would fit.
    OSError
        If ``checkpoint`` cannot be written to.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434; Celentano, Cheng and Montanari, arXiv:2112.07572.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem(target="linear", network=dmft.Network(activation="linear"))
    >>> method = dmft.GradientDescent(step_size=0.1, n_steps=2)
    >>> trajectory = dmft.solve(problem, 3.0, method, dmft.Sampling(n_paths=1024, seed=1))
    >>> trajectory.overlap[1, 0, 0].round(3)  # eta E[z^2]
    np.float64(0.1)
    """
    sampling = Sampling() if sampling is None else sampling
    asked = Execution(threads, progress, checkpoint, checkpoint_seconds, max_memory, throw)
    accuracy = requested(rtol, max_paths, max_seconds)
    steps = hessian_steps if hessian_steps is None else list(hessian_steps)

    def solve_on(part: Execution, paths: Sampling) -> Trajectory:
        return solve_with(
            part, problem, delta, method, paths, hessian_steps=steps, keep_paths=keep_paths
        )

    _check(problem, method, sampling)
    with asked.shown(method.n_steps * (sampling.replicates + 1), "steps") as execution:
        if accuracy is None:
            return solve_on(execution, sampling)
        names = check_names(of, problem, method)
        n_kept = 1 if steps is None else len(set(steps))
        trajectory = solve_to_accuracy(
            accuracy, names, execution, problem, method, sampling, n_kept, solve_on
        )
        execution.settle(trajectory.status, f"Steps computed: {trajectory.n_steps}.")
        return trajectory


def solve_with(
    execution: Execution,
    problem: Problem,
    delta: float,
    method: Method,
    sampling: Sampling,
    *,
    hessian_steps: Iterable[int] | None = None,
    keep_paths: bool | None = None,
) -> Trajectory:
    """Solve as :func:`solve` does on given paths, with its arguments of execution in one."""
    _check(problem, method, sampling)
    delta = check_real("delta", delta, minimum=0.0, exclusive=True)
    if method.fresh_batches and problem.spectral_start is not None:
        raise ValueError(FRESH_EIGENVECTOR)
    if method.fresh_batches and problem.starts_on_hard:
        raise ValueError(
            "fresh_batches must be False for a problem that starts with an overlap with a hard "
            "direction: the response of hard directions is known for samples used again only"
        )
    runs = run_replicates(
        problem,
        delta,
        method,
        sampling,
        execution,
        hessian_steps=hessian_steps,
        keep_paths=keep_paths,
    )
    trajectory = Trajectory(problem, delta, method, sampling, runs)
    execution.settle(trajectory.status, f"Steps computed: {trajectory.n_steps}.")
    return trajectory


def _check(problem: Problem, method: Method, sampling: Sampling) -> None:
    """Raise unless arguments are of the classes they must be."""
    check_instance("problem", problem, Problem)
    check_instance("method", method, METHODS)
    check_instance("sampling", sampling, Sampling)
    check_constrained(problem, method)
