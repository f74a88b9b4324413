"""What the machine has: read from files like its own, compared at the door, and in a run."""

import math
import tracemalloc

import numpy as np
import pytest
from small import RETRIEVAL as PROBLEM

import dmft
import dmft.solver.room
from dmft._numerics.machine_memory import available_memory, check_fits
from dmft.hessian import hessian
from dmft.recovery import exponents
from dmft.simulation import simulation, simulation_plan
from dmft.simulation.simulation_plan import SimulationPlan
from dmft.solver import memory
from dmft.solver.memory import check_solve, surely_needed

GB = 1e9
DESCENT = dmft.GradientDescent(0.2, 40)


def write(root, **files):
    for name, text in files.items():
        file = root / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="ascii")


# -- what there is ---------------------------------------------------------------------------------


def test_a_machine_without_limits(tmp_path):
    write(tmp_path, proc__meminfo="MemTotal: 64 kB\nMemAvailable: 1000 kB\n")
    assert available_memory(tmp_path) == 1000 * 1024


@pytest.mark.parametrize("path", ["/", "/user/job"])
def test_control_groups_version_2(tmp_path, path):
    write(
        tmp_path,
        proc__meminfo="MemAvailable: 9000000 kB\n",
        proc__self__cgroup=f"0::{path}\n",
    )
    folder = tmp_path / "sys/fs/cgroup" / path.strip("/")
    write(
        folder,
        memory_dot_max="5000000\n",
        memory_dot_current="3000000\n",
        memory_dot_stat="anon 1500000\ninactive_file 1000000\n",
    )
    assert available_memory(tmp_path) == 5000000 - (3000000 - 1000000)
    write(folder, memory_dot_max="max\n")
    assert available_memory(tmp_path) == 9000000 * 1024


def test_the_tightest_of_nested_groups_counts(tmp_path):
    write(tmp_path, proc__meminfo="MemAvailable: 9000 kB\n", proc__self__cgroup="0::/outer/inner\n")
    for name, limit in (("outer", 700), ("outer/inner", 900)):
        write(
            tmp_path / "sys/fs/cgroup" / name,
            memory_dot_max=f"{limit}\n",
            memory_dot_current="100\n",
        )
    assert available_memory(tmp_path) == 600


def test_control_groups_version_1(tmp_path):
    write(
        tmp_path,
        proc__meminfo="MemAvailable: 9000000 kB\n",
        proc__self__cgroup="5:cpu,cpuacct:/x\n4:memory:/docker/abc\n",
        sys__fs__cgroup__memory__memory_dot_limit_in_bytes="4000000\n",
        sys__fs__cgroup__memory__memory_dot_usage_in_bytes="1500000\n",
        sys__fs__cgroup__memory__memory_dot_stat="total_inactive_file 500000\n",
    )
    assert available_memory(tmp_path) == 4000000 - (1500000 - 500000)
    # Without a limit there is a number so large that it means none.
    write(
        tmp_path,
        sys__fs__cgroup__memory__memory_dot_limit_in_bytes="9223372036854771712\n",
    )
    assert available_memory(tmp_path) == 9000000 * 1024


def test_files_that_say_nothing_are_no_limit(tmp_path):
    assert available_memory(tmp_path) > 0
    write(
        tmp_path,
        proc__meminfo="MemAvailable: many kB\n",
        proc__self__cgroup="nonsense\n0:\n",
        sys__fs__cgroup__memory_dot_max="\n",
    )
    assert available_memory(tmp_path) > 0
    assert 0 < available_memory() < math.inf


def test_a_limit_of_the_process_counts(monkeypatch, tmp_path):
    resource = pytest.importorskip("resource")
    write(tmp_path, proc__meminfo="MemAvailable: 9000000 kB\n", proc__self__statm="1000 10 1\n")
    limit = 2000 * resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert available_memory(tmp_path) == 1000 * resource.getpagesize()


# -- the largest that fits -------------------------------------------------------------------------


def test_the_number_named_fits_and_the_next_does_not():
    def needed(x):
        return 8.0 * x**2

    with pytest.raises(ValueError, match=r"d must be at most 11180 .*\(1 GB\), got 200000, which"):
        check_fits("d", 200_000, needed, GB)
    assert needed(11180) <= GB < needed(11181)
    with pytest.raises(ValueError, match="at most 8192 for"):
        check_fits("n", 2**24, needed, GB, halving=True)
    with pytest.raises(ValueError, match="d must be smaller, and other settings"):
        check_fits("d", 100, needed, 10.0, least=5)
    check_fits("d", 11180, needed, GB)
    check_fits("d", 10**9, needed, math.inf)


@pytest.mark.parametrize(
    ("settings", "n_steps", "n_kept", "name"),
    [
        ({"n_paths": 2**24}, 40, 1, "n_paths"),
        ({"replicates": 10**9}, 40, 1, "replicates"),
        ({"n_paths": 64, "replicates": 2}, 10**8, 1, "n_steps"),
        ({}, 10**5, 10**5, "the number of hessian_steps"),
    ],
)
def test_a_solve_names_what_is_too_large(settings, n_steps, n_kept, name):
    sampling, method = dmft.Sampling(**settings), dmft.GradientDescent(0.2, n_steps)
    with pytest.raises(ValueError, match=rf"^{name} must be at most \d+ for .*\(8 GB\)") as caught:
        check_solve(PROBLEM, method, sampling, n_kept, 8 * GB)
    fits = int(str(caught.value).split("at most ")[1].split()[0])
    values = {
        "n_paths": sampling.n_paths,
        "replicates": sampling.replicates,
        "n_kept": n_kept,
        "n_steps": n_steps,
    }
    key = "n_kept" if "hessian" in name else name
    blocks = {"sobol_blocks": sampling.sobol_blocks}
    assert surely_needed(PROBLEM, method, **{**values, key: fits}, **blocks) <= 8 * GB
    more = 2 * fits if name == "n_paths" else fits + 1
    assert surely_needed(PROBLEM, method, **{**values, key: more}, **blocks) > 8 * GB


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "method", "kept"),
    [
        (PROBLEM, dmft.GradientDescent(0.2, 2), (0, 1, 2)),
        (PROBLEM, dmft.GradientDescent(0.2, 150), ()),
        (PROBLEM, dmft.GradientDescent(0.2, 60, fresh_batches=True), ()),
        (PROBLEM, dmft.GradientFlow(1.0, times=[0.0, 1.0]), ()),
        (
            dmft.Problem(
                "product", dmft.Network("tanh", [1.0, 0.5]), initial_overlap=[[0.1, 0], [0, 0.1]]
            ),
            dmft.GradientDescent(0.2, 2),
            (),
        ),
    ],
)
def test_a_solve_takes_at_least_what_is_said(problem, method, kept):
    sampling = dmft.Sampling(n_paths=1024, replicates=3)

    def run():
        dmft.solve(problem, 4.0, method, sampling, hessian_steps=kept, threads=1)

    run()  # compile
    tracemalloc.start()
    try:
        run()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    least = surely_needed(
        problem, method, 1024, 3, len(kept), method.n_steps, sampling.sobol_blocks
    )
    assert 0.1 * peak < least < peak


# -- doors -----------------------------------------------------------------------------------------


@pytest.fixture
def small_machine(monkeypatch):
    for module in (memory, simulation, simulation_plan, exponents, hessian):
        monkeypatch.setattr(module, "available_memory", lambda: 4 * GB)


@pytest.mark.slow
def test_every_door_answers_at_once(small_machine):
    many = dmft.Sampling(n_paths=2**24)
    with pytest.raises(ValueError, match=r"^n_paths must be at most \d+ for the memory there is"):
        dmft.solve(PROBLEM, 4.0, DESCENT, many)
    with pytest.raises(ValueError, match=r"^n_paths must be at most"):
        dmft.find_delta_nn(PROBLEM, DESCENT, bracket=(1, 12), sampling=many)
    with pytest.raises(ValueError, match=r"^n_paths must be at most"):
        dmft.delta_nn_curve(PROBLEM, DESCENT, bracket=(1, 12), sampling=many)
    with pytest.raises(ValueError, match=r"^d must be at most"):
        dmft.simulate(PROBLEM, 4.0, DESCENT, d=200_000)
    with pytest.raises(ValueError, match=r"^d must be at most"):
        dmft.sweep(PROBLEM, [1.0, 2.0], DESCENT, d=200_000)
    with pytest.raises(ValueError, match=r"^d must be smaller"):
        dmft.simulate(PROBLEM, 1e300, DESCENT, d=100)
    with pytest.raises(ValueError, match=r"^seeds must be at most"):
        dmft.simulate(PROBLEM, 4.0, DESCENT, d=100, seeds=10**9)
    with pytest.raises(ValueError, match=r"^seeds must be at most"):
        dmft.simulate(PROBLEM, 4.0, DESCENT, d=200, seeds=10**6, hessian_steps=range(41))
    with pytest.raises(ValueError, match=r"^n_steps must be at most"):
        dmft.simulate(PROBLEM, 4.0, dmft.GradientDescent(0.2, 10**8), d=20, seeds=1)
    with pytest.raises(ValueError, match=r"^m d must be at most 15811 .*with dense_limit below"):
        dmft.simulate(
            PROBLEM, 1e-5, DESCENT, d=10**6, seeds=1, hessian_steps=[0], dense_limit=10**7
        )
    with pytest.raises(ValueError, match=r"^n_points must be at most"):
        dmft.hardness("product", n_points=2**40)
    three = dmft.Problem("product", dmft.Network("gelu", [1.0, 1.0, 0.5]))
    with pytest.raises(ValueError, match=r"^replicates must be at most"):
        dmft.hessian.hessian.initial_law(three, 2.0, dmft.Sampling(replicates=10**7))


def test_fewer_processes_where_there_is_memory_for_fewer():
    plan = SimulationPlan.of(PROBLEM, 4.0, dmft.GradientDescent(0.2, 1), d=10)
    of_run = 8 * (40 * 10 + 40)
    assert [plan.side_by_side(x * of_run, 8) for x in (0.5, 3.5, 100)] == [1, 3, 8]


# -- in the middle of a run ------------------------------------------------------------------------


def test_a_run_ends_where_the_memory_of_the_machine_does(monkeypatch):
    sampling = dmft.Sampling(n_paths=1024, replicates=2)
    method, asked, enough = dmft.GradientDescent(0.2, 80), [], math.inf

    def available():
        asked.append(None)
        return 1e9 if len(asked) < enough else 1e3

    monkeypatch.setattr(dmft.solver.room, "_ROWS_AHEAD", 4)
    monkeypatch.setattr(dmft.solver.room, "_BYTES_AHEAD", 0)
    monkeypatch.setattr(dmft.solver.room, "available_memory", available)
    whole = dmft.solve(PROBLEM, 4.0, method, sampling, threads=1)
    assert whole.status is dmft.Status.SUCCESS
    enough = len(asked)  # all but the last time, in the run of the last replicate
    asked.clear()
    short = dmft.solve(PROBLEM, 4.0, method, sampling, threads=1)
    assert short.status is dmft.Status.OUT_OF_MEMORY
    assert "memory of the machine" in short.status.value
    assert 0 <= short.n_steps < whole.n_steps
    n = short.n_steps + 1
    assert short._runs[-1].n_times == n < short._runs[0].n_times
    ours, theirs = short._runs[-1], whole._runs[-1]
    np.testing.assert_array_equal(ours.train_loss[:n], theirs.train_loss[:n])
    assert np.isfinite(short.test_loss).all()


def test_a_hessian_that_cannot_be_computed_again_says_why(monkeypatch):
    sampling = dmft.Sampling(n_paths=1024, replicates=2)
    found = dmft.solve(PROBLEM, 4.0, DESCENT, sampling, hessian_steps=[40], threads=1)
    monkeypatch.setattr(dmft.solver.room, "_ROWS_AHEAD", 4)
    monkeypatch.setattr(dmft.solver.room, "_BYTES_AHEAD", 0)
    monkeypatch.setattr(dmft.solver.room, "available_memory", lambda: 1e3)
    with pytest.raises(dmft.NumericalFailure, match=r"OUT_OF_MEMORY.*Step 20 could not"):
        found.hessian(20)
    assert found.hessian(40).edges().status.ok
