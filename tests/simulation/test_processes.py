"""Simulations in processes that may have no workers: the same bits, and they end."""

import os
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import multiprocessing
    import joblib
    import dmft

    def run(workers):
        problem = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
        method = dmft.GradientDescent(0.2, 2)
        one = dmft.simulate(problem, 3.0, method, d=20, seeds=2, workers=workers)
        more = dmft.sweep(problem, [2.0, 4.0], method, d=20, seeds=2, workers=workers)
        return one.correlation.tobytes(), one.test_loss.tobytes(), more.train_loss.tobytes()

    def tell(connection):
        connection.send(run(2))

    def forked():
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=tell, args=(theirs,))
        child.start()
        assert ours.poll(60)
        return ours.recv()

    def pooled(how):
        with multiprocessing.get_context(how).Pool(1) as pool:
            return pool.map_async(run, [2]).get(60)[0]

    if __name__ == "__main__":
        expected = run(1)
"""


def in_script(folder, code, **environment):
    """Run lines of code after SCRIPT in a process of its own; warnings are errors."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("workers must be at most the number of cores")
    script = folder / "script.py"
    lines = textwrap.dedent(SCRIPT) + textwrap.indent(textwrap.dedent(code), "    ")
    script.write_text(lines, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env=os.environ | environment,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_daemonic_and_forked_processes_run_serially(tmp_path):
    # Before there are any workers, while there are some, and in a child that imports all anew.
    code = """
        assert pooled("fork") == expected
        assert run(2) == expected
        assert pooled("fork") == expected
        assert forked() == expected
        assert pooled("spawn") == expected
    """
    in_script(tmp_path, code)


@pytest.mark.slow
@pytest.mark.processes
def test_without_joblibs_processes_all_runs_in_this_one(tmp_path):
    in_script(tmp_path, "assert run(2) == expected", JOBLIB_MULTIPROCESSING="0")


@pytest.mark.slow
@pytest.mark.processes
def test_joblib_may_run_a_task_where_it_was_asked_to(tmp_path):
    code = """
        import dmft.simulation.seed_runs
        with joblib.parallel_config(backend="threading", n_jobs=2):
            done = joblib.Parallel()(joblib.delayed(run)(2) for _ in range(2))
        assert done == [expected, expected]
        seed_runs = dmft.simulation.seed_runs
        assert seed_runs._in_worker(run, (1,), seed_runs.os.getpid())[0] == expected
        dmft.simulation.seed_runs.time.sleep(2 * dmft.simulation.seed_runs._WATCH_SECONDS)
    """
    in_script(tmp_path, code)
