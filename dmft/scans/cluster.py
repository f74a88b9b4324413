"""Tasks of a scan on a cluster, by Dask: a scheduler that is there, or jobs of a batch system.

Workers need this package, at this version, and no files of this machine: tasks and outcomes travel
through the scheduler. It gives the task of a worker that is lost to another one.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from dmft._numerics.machine_memory import readable
from dmft._numerics.validation import check_choice, check_integer
from dmft.io.results import software_version
from dmft.scans.cost import bytes_of
from dmft.scans.readings import failed
from dmft.scans.tasks import Outcome, run_task

if TYPE_CHECKING:
    from dmft.scans.tasks import Task

__all__ = ["SYSTEMS", "check_address", "run_on_cluster"]


class WorkersLostError(ValueError):
    """Workers or a scheduler that are lost, or cannot be had, so that a scan does not go on."""


#: Batch systems, and the class of dask-jobqueue that submits to them.
SYSTEMS: Final = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
    "moab": "MoabCluster",
    "oar": "OARCluster",
}
_CONNECT_SECONDS: Final = 10
_SPARE: Final = 1.2
_NETWORK: Final = 0.15e9
_POLL_SECONDS: Final = 0.25
_PATIENCE: Final = 30.0  # seconds without any worker, of a scheduler that others look after


def check_address(dask: str) -> str:
    """Check where the cluster is: an address or the name of a batch system.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if "://" in dask:
        return dask
    return check_choice(
        "dask", dask, SYSTEMS, also=", or the address of a scheduler, tcp://HOST:PORT"
    )


def run_on_cluster(
    tasks: Sequence[Task], dask: str, jobs: int | None = None, *, patience: float = _PATIENCE
) -> Iterator[Outcome]:
    """Yield the outcomes of tasks as workers of a cluster finish them.

    Parameters
    ----------
    tasks : sequence of Task
    dask : str
        As for `check_address`.
    jobs : int, optional
        Jobs at most, of a batch system: one worker each, one core; default: 10.
    patience : float
        Seconds to wait for a worker where none is left.

    Raises
    ------
    ValueError
        If Dask is not installed, there is no scheduler, its workers are too small or have another
        version, or all of them are lost; in one line.
    """
    check_address(dask)
    memory = {task.key: bytes_of(task) for task in tasks}
    with contextlib.ExitStack() as opened:
        if "://" in dask:
            client = opened.enter_context(_client(dask, dask))
        else:
            cluster = opened.enter_context(_cluster(dask, max(memory.values()), jobs, len(tasks)))
            client, patience = opened.enter_context(_client(cluster, dask)), float("inf")
        _wait_for_workers(client, patience, dask)
        declared = _check_workers(client, max(memory.values()))
        futures = {}
        for task in tasks:
            wishes = {name: _WISHES[name](memory[task.key]) for name in declared}
            future = client.submit(
                run_task, task, key=f"delta-nn-{task.key}-{id(tasks)}", resources=wishes or None,
                retries=0, pure=False,
            )  # fmt: skip
            futures[future] = task
        try:
            yield from _finished(client, futures, patience, dask)
        finally:
            with contextlib.suppress(Exception):  # what is left is not wanted any more
                client.cancel(list(futures), force=True)


# Resources that workers may declare (`dask worker --resources "memory=4e9 cores=1"`), and what a
# task asks of them.
_WISHES: Final[dict[str, Callable[[float], float]]] = {
    "memory": float,
    "MEMORY": float,
    "cores": lambda _: 1,
    "CORES": lambda _: 1,
}


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"dask needs the extra cluster: pip install 'delta-nn[cluster]' ({error})"
        ) from None


def _client(where: Any, name: str) -> Any:
    """Connect to a scheduler."""
    make = _library("distributed").Client
    try:
        return make(where, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise WorkersLostError(f"no Dask scheduler answers at {name}: {_line(error)}") from None


def _cluster(system: str, memory: float, jobs: int | None, n_tasks: int) -> Any:
    """Start jobs of a batch system, one worker each, that hold the largest task."""
    library = _library("dask_jobqueue")
    # A worker is killed at 95 % of what it has, and holds the network beside the task.
    memory = _SPARE * memory + _NETWORK
    most = 10 if jobs is None else check_integer("jobs", jobs, minimum=1)
    wishes = ["--resources", f"memory={memory:.0f},cores=1"]
    try:
        cluster = getattr(library, SYSTEMS[system])(
            cores=1, processes=1, memory=f"{memory:.0f}B", worker_extra_args=wishes
        )
        # Jobs that end, at their time limit say, are replaced as long as there is work.
        cluster.adapt(minimum_jobs=1, maximum_jobs=min(most, n_tasks))
    except Exception as error:  # of a configuration, or a command that is not there
        raise WorkersLostError(f"{system}: no jobs can be started: {_line(error)}") from None
    return cluster


def _wait_for_workers(client: Any, patience: float, name: str) -> None:
    start = time.monotonic()
    while not _n_workers(client, name):
        if time.monotonic() - start > patience:
            raise WorkersLostError(
                f"the Dask scheduler at {name} has no workers: start some, `dask worker {name}`"
            )
        time.sleep(_POLL_SECONDS)


def _n_workers(client: Any, name: str) -> int:
    if client.status != "running":
        raise WorkersLostError(
            f"the Dask scheduler at {name} is gone; what is finished is kept, and the same command "
            "goes on once there is one"
        )
    try:
        return len(client.nthreads())
    except Exception as error:  # of a connection that is being lost
        raise WorkersLostError(f"the Dask scheduler at {name} is gone: {_line(error)}") from None


def described(dask_worker: Any) -> tuple[str, dict[str, float], float]:
    """Return version, declared resources and memory of a worker; runs there."""
    limit = dask_worker.memory_manager.memory_limit or math.inf
    return software_version(), dict(dask_worker.state.total_resources), float(limit)


def _check_workers(client: Any, memory: float) -> tuple[str, ...]:
    """Check version and memory of the workers; return the resources that all of them declare."""
    version = software_version()
    try:
        workers = client.run(described)
    except Exception as error:
        raise ValueError(
            f"workers must have delta-nn {version} installed: {_line(error)}"
        ) from None
    largest, common = 0.0, set(_WISHES)
    for address, (theirs, resources, limit) in workers.items():
        if theirs != version:
            raise ValueError(
                f"workers must have delta-nn {version} installed, {address} has {theirs}"
            )
        common &= resources.keys()
        stated = [resources[name] for name in resources if name.lower() == "memory"]
        largest = max(largest, min([limit, *stated]))
    if largest < memory:
        raise ValueError(
            f"a computation needs about {readable(memory)}, more than any worker has "
            f"({readable(largest)}): start larger ones, or take fewer paths"
        )
    return tuple(sorted(common))


def _finished(
    client: Any, futures: dict[Any, Task], patience: float, name: str
) -> Iterator[Outcome]:
    """Yield outcomes until all are there; raise when nobody works on them any more."""
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for future in futures:
        future.add_done_callback(done.put)
    left, last_worker = len(futures), time.monotonic()
    while left:
        try:
            future = done.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            if _n_workers(client, name):
                last_worker = time.monotonic()
            elif time.monotonic() - last_worker > patience:
                raise WorkersLostError(
                    f"all workers of the Dask scheduler at {name} are lost; {left} of "
                    f"{len(futures)} computations are not done, the same command goes on once "
                    "there are some"
                ) from None
            continue
        left -= 1
        yield _outcome(client, future, futures[future], name)


def _outcome(client: Any, future: Any, task: Task, name: str) -> Outcome:
    if future.status == "finished":
        outcome: Outcome = future.result()
        return outcome
    if future.status == "cancelled":
        _n_workers(client, name)
        raise WorkersLostError(f"the Dask scheduler at {name} has dropped what it was given")
    error = future.exception()
    if isinstance(error, _library("distributed").KilledWorker):
        needed = readable(bytes_of(task))
        error = ValueError(f"workers died of it, perhaps for want of memory (about {needed})")
    return Outcome(task.key, dict.fromkeys(task.readings, failed(error)))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
