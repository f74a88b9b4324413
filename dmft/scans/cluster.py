"""Tasks of a scan on a cluster, by Dask: a scheduler that is there, or jobs of a batch system.

Workers need this package, at this version, and no files of this machine: tasks and outcomes travel
through the scheduler. It gives the task of a worker that is lost to another one.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import queue
import shlex
import shutil
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from dmft._numerics.machine_memory import readable
from dmft._numerics.validation import check_choice, check_integer
from dmft.io.results import software_version
from dmft.scans.cost import bytes_of
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
# What a class insists on, where the configuration file does not say it.
_NEEDED: Final = {"htcondor": {"disk": "1 GB"}}
_SCHEMES: Final = ("tcp", "tls")
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
        found = urllib.parse.urlsplit(dask)
        with contextlib.suppress(ValueError):  # of a port that is no number
            if found.scheme in _SCHEMES and found.hostname and found.port:
                return dask
        raise ValueError(f"dask must be an address like tcp://HOST:PORT, got {dask!r}")
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
        heard = opened.enter_context(_quiet())
        if "://" in dask:
            client = opened.enter_context(_closing(_client(dask, dask)))
        else:
            largest = max(memory.values())
            cluster = opened.enter_context(_closing(_cluster(dask, largest, jobs, len(tasks))))
            client, patience = opened.enter_context(_closing(_client(cluster, dask))), math.inf
        _wait_for_workers(client, patience, dask, heard)
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


@contextlib.contextmanager
def _closing(opened: Any) -> Iterator[Any]:
    """Close a client or a cluster; what goes wrong then matters to nobody."""
    try:
        yield opened
    finally:
        with contextlib.suppress(Exception):
            opened.close()


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"dask needs the extra cluster: pip install 'delta-nn[cluster]' ({error})"
        ) from None


class _Heard(logging.Handler):
    """Log that keeps the last exception, where Dask would print it and go on."""

    error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the exception of a record."""
        if record.exc_info:
            self.error = record.exc_info[1]


@contextlib.contextmanager
def _quiet() -> Iterator[_Heard]:
    """Keep Dask from logging, with tracebacks, what is raised here in one line."""
    _library("distributed")
    heard, of_dask = _Heard(), ("distributed", "tornado", "asyncio")
    known = list(logging.root.manager.loggerDict)
    loggers = [logging.getLogger(name) for name in known if name.partition(".")[0] in of_dask]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [heard], False
    try:
        yield heard
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate


def _client(where: Any, name: str) -> Any:
    """Connect to a scheduler."""
    make = _library("distributed").Client
    try:
        if isinstance(where, str):  # a client that cannot connect takes long to give up
            place = urllib.parse.urlsplit(where)
            socket.create_connection((place.hostname, place.port), _CONNECT_SECONDS).close()
        return make(where, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise WorkersLostError(f"no Dask scheduler answers at {name}: {_line(error)}") from None


def _cluster(system: str, memory: float, jobs: int | None, n_tasks: int) -> Any:
    """Start jobs of a batch system, one worker each, that hold the largest task."""
    kind = getattr(_library("dask_jobqueue"), SYSTEMS[system])
    command = shlex.split(kind.job_cls.submit_command)[0]
    if shutil.which(command) is None:
        raise WorkersLostError(
            f"{system}: there is no command {command} here: start from a login node, or give the "
            "address of a scheduler"
        )
    # A worker is killed at 95 % of what it has, and holds the network beside the task.
    memory = _SPARE * memory + _NETWORK
    most = 10 if jobs is None else check_integer("jobs", jobs, minimum=1)
    wishes = ["--resources", f"memory={memory:.0f},cores=1"]
    stated = _library("dask").config.get(f"jobqueue.{system}", {})
    needed = {
        name: value for name, value in _NEEDED.get(system, {}).items() if not stated.get(name)
    }
    # On a login node somebody else may have the usual port of the dashboard.
    scheduler = {"dashboard_address": ":0", **(stated.get("scheduler-options") or {})}
    cluster = None
    try:
        cluster = kind(
            cores=1, processes=1, memory=f"{memory:.0f}B", worker_extra_args=wishes,
            scheduler_options=scheduler, **needed,
        )  # fmt: skip
        cluster.scale(jobs=1)
        # Jobs that end, at their time limit say, are replaced as long as there is work.
        cluster.adapt(minimum_jobs=1, maximum_jobs=min(most, n_tasks))
    except Exception as error:  # of a configuration, or from the batch system
        if cluster is not None:
            with contextlib.suppress(Exception):
                cluster.close()
        raise WorkersLostError(f"{system}: no jobs can be started: {_line(error)}") from None
    return cluster


def _wait_for_workers(client: Any, patience: float, name: str, heard: _Heard) -> None:
    start = time.monotonic()
    while not _n_workers(client, name):
        if heard.error is not None:  # of a job that was not accepted
            said = str(heard.error).rpartition("stderr:")[2].strip() or repr(heard.error)
            raise WorkersLostError(
                f"{name}: no jobs can be started: {' '.join(said.split())[:200]}"
            )
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
        return Outcome.lost(task, "workers died of it", bytes_of(task))
    return Outcome.failed(task, error)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
