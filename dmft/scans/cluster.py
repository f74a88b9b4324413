"""Tasks of a scan on a cluster, by Dask: a scheduler that is there, or jobs of a batch system.

Workers need this package, at this version, and no files of this machine: tasks and outcomes travel
through the scheduler. It gives the task of a worker that is lost to another one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from dmft._numerics.machine_memory import readable
from dmft._numerics.validation import check_choice, check_integer
from dmft.io.results import software_version
from dmft.scans.cost import bytes_of
from dmft.scans.readings import failed
from dmft.scans.running import WorkersLostError
from dmft.scans.tasks import Outcome, run_task, worker_identity

if TYPE_CHECKING:
    from dmft.scans.tasks import Task

__all__ = ["SYSTEMS", "check_address", "run_on_cluster"]

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
    try:
        import distributed
    except ImportError as error:
        raise ValueError(
            f"dask needs the extra cluster: pip install 'delta-nn[cluster]' ({error})"
        ) from None
    memory = {task.key: bytes_of(task) for task in tasks}
    with contextlib.ExitStack() as opened:
        if "://" in dask:
            client = opened.enter_context(_client(dask, dask))
        else:
            cluster = opened.enter_context(_cluster(dask, max(memory.values()), jobs, len(tasks)))
            client, patience = opened.enter_context(_client(cluster, dask)), float("inf")
        _wait_for_workers(client, patience, dask)
        declared = _check_workers(client, max(memory.values()), wait="://" in dask)
        futures = {}
        for task in tasks:
            wishes = {name: _WISHES[name](memory[task.key]) for name in declared}
            future = client.submit(
                run_task, task, key=f"delta-nn-{task.key}-{id(tasks)}", resources=wishes or None,
                retries=0, pure=False,
            )  # fmt: skip
            futures[future] = task
        try:
            yield from _finished(distributed, client, futures, patience, dask)
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


def _client(where: Any, name: str) -> Any:
    """Connect to a scheduler."""
    import distributed

    make: Any = distributed.Client
    try:
        return make(where, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise WorkersLostError(f"no Dask scheduler answers at {name}: {_line(error)}") from None


def _cluster(system: str, memory: float, jobs: int | None, n_tasks: int) -> Any:
    """Start jobs of a batch system, one worker each, that hold the largest task."""
    try:
        import dask_jobqueue
    except ImportError as error:
        raise ValueError(
            f"dask = {system!r} needs the extra cluster: pip install 'delta-nn[cluster]' ({error})"
        ) from None
    most = 10 if jobs is None else check_integer("jobs", jobs, minimum=1)
    wishes = ["--resources", f"memory={memory:.0f} cores=1"]
    try:
        cluster = getattr(dask_jobqueue, SYSTEMS[system])(
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
    return len(client.scheduler_info(n_workers=-1)["workers"])


def _check_workers(client: Any, memory: float, *, wait: bool) -> tuple[str, ...]:
    """Check version and memory of the workers; return the resources that all of them declare."""
    try:
        identities = client.run(worker_identity)
    except Exception as error:
        raise ValueError(
            f"workers must have delta-nn {software_version()} installed: {_line(error)}"
        ) from None
    for address, (version, _) in identities.items():
        if version != software_version():
            raise ValueError(
                f"workers must have delta-nn {software_version()} installed, {address} has "
                f"{version}"
            )
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    declared = [set(worker["resources"]) & set(_WISHES) for worker in workers]
    common = set.intersection(*declared) if declared else set()
    limits = []
    for worker in workers:
        stated = [worker["resources"][name] for name in common if name.lower() == "memory"]
        limit = worker.get("memory_limit") or float("inf")
        limits.append(min([limit, *stated]))
    if wait and limits and max(limits) < memory:
        raise ValueError(
            f"a computation needs about {readable(memory)}, more than the workers have "
            f"({readable(max(limits))}): start larger ones, or take fewer paths"
        )
    return tuple(sorted(common))


def _finished(
    distributed: Any, client: Any, futures: dict[Any, Task], patience: float, name: str
) -> Iterator[Outcome]:
    """Yield outcomes until all are there; raise when nobody works on them any more."""
    left, last_worker = set(futures), time.monotonic()
    while left:
        try:
            done = distributed.wait(left, timeout=_POLL_SECONDS, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            done = set()
        except Exception as error:  # futures are cancelled when the scheduler goes
            _n_workers(client, name)
            raise WorkersLostError(f"the Dask scheduler at {name}: {_line(error)}") from None
        for future in done:
            left.discard(future)
            yield _outcome(distributed, client, future, futures[future], name)
        if done or _n_workers(client, name):
            last_worker = time.monotonic()
        elif time.monotonic() - last_worker > patience:
            raise WorkersLostError(
                f"all workers of the Dask scheduler at {name} are lost; {len(left)} of "
                f"{len(futures)} computations are not done, the same command goes on once there "
                "are some"
            )


def _outcome(distributed: Any, client: Any, future: Any, task: Task, name: str) -> Outcome:
    if future.status == "finished":
        outcome: Outcome = future.result()
        return outcome
    if future.status == "cancelled":
        _n_workers(client, name)
        raise WorkersLostError(f"the Dask scheduler at {name} has dropped what it was given")
    error = future.exception()
    if isinstance(error, distributed.KilledWorker):
        needed = readable(bytes_of(task))
        error = ValueError(f"workers died of it, perhaps for want of memory (about {needed})")
    return Outcome(task.key, dict.fromkeys(task.readings, failed(error)))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
