"""Scans on a cluster: a real scheduler, workers that die, and what is said when nobody is there."""

import os
import signal
import socket

import numpy as np
import pytest
from batch_system import install

import dmft
from dmft.scans import cluster as clusters
from dmft.scans.cluster import run_on_cluster
from dmft.scans.scans import question_of

TABLES = {
    "target": {"label": "phase-retrieval"},
    "problem": {"loss": "pseudo-huber"},
    "method": {"step_size": 0.2, "n_steps": 3},
    "sampling": {"n_paths": 64, "replicates": 2},
}
AXES = {"delta": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


@pytest.mark.slow
@pytest.mark.processes
def test_a_killed_worker_changes_no_bit(cluster, tmp_path):
    serial = dmft.scan(TABLES, AXES, ["train_loss", "norm"], workers=1)
    with cluster.get_client() as client:
        pids = list(client.run(os.getpid).values())
    killed = []

    def kill(count):
        if not killed:
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    address = cluster.scheduler_address
    found = dmft.scan(
        TABLES, AXES, ["train_loss", "norm"], dask=address, progress=kill, checkpoint=tmp_path
    )
    assert killed
    assert found.value.tobytes() == serial.value.tobytes()
    assert found.error.tobytes() == serial.error.tobytes()
    np.testing.assert_array_equal(found.statuses, serial.statuses)
    again = dmft.scan(TABLES, AXES, ["train_loss", "norm"], workers=1, checkpoint=tmp_path)
    assert again.value.tobytes() == serial.value.tobytes()


@pytest.mark.slow
@pytest.mark.processes
def test_a_task_that_no_worker_can_hold_is_refused(cluster, monkeypatch):
    tasks = list(question_of(TABLES, AXES, "norm").plan().tasks.values())
    monkeypatch.setattr(clusters, "bytes_of", lambda task: 1e15)
    with pytest.raises(ValueError, match="more than any worker has"):
        list(run_on_cluster(tasks, cluster.scheduler_address))


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(
    ("system", "line"), [("slurm", "#SBATCH -A physics"), ("pbs", "#PBS -A physics")]
)
def test_jobs_of_a_batch_system_with_what_the_configuration_says(
    system, line, tmp_path, monkeypatch
):
    """One job for each point at most; the account is from dask-jobqueue's own configuration."""
    dask = pytest.importorskip("dask")
    pytest.importorskip("dask_jobqueue")
    install(tmp_path, monkeypatch)
    two = {"delta": [1.0, 2.0]}
    with dask.config.set({f"jobqueue.{system}.account": "physics"}):
        found = dmft.scan(TABLES, two, "norm", dask=system, jobs=2)
    serial = dmft.scan(TABLES, two, "norm", workers=1)
    assert found == serial
    scripts = (tmp_path / "scripts").read_text()
    assert line in scripts
    assert 1 <= scripts.count("dask_worker") <= 3  # one that ends early is replaced
    assert (tmp_path / "cancelled").exists()


def test_no_scheduler_is_one_line(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(clusters, "_CONNECT_SECONDS", 0.2)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(ValueError, match="no Dask scheduler answers") as refused:
            dmft.scan(TABLES, AXES, "norm", dask=address)
    assert "\n" not in str(refused.value)


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(ValueError, match=r"pip install 'delta-nn\[cluster\]'"):
        dmft.scan(TABLES, AXES, "norm", dask="tcp://127.0.0.1:1")
