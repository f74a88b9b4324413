"""A budget of memory: kept to, used up, and without effect on any number where it suffices."""

import re
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import small
from small import easy_problem as make_problem

import dmft
from dmft.cli import main
from dmft.solver.memory import rows_within

SAMPLING = dmft.Sampling(n_paths=2048, replicates=4, seed=1, rank_tolerance=1e-10)
METHOD = dmft.GradientDescent(0.2, 60)
MB = 1e6


def solve(max_memory=None, problem=None, method=METHOD, sampling=SAMPLING, **settings):
    settings = {"threads": 2, "hessian_steps": ()} | settings
    problem = problem or make_problem()
    return small.solve(problem, 2.0, method, sampling, max_memory=max_memory, **settings)


def needed(**settings):
    with pytest.raises(ValueError, match=r"max_memory must be at least .* for the first") as caught:
        solve(1.0, **settings)
    return float(re.search(r"at least (\d+) bytes", str(caught.value))[1])


def assert_same_start(short, whole):
    n = short.n_steps + 1
    for ours, theirs in zip(short._runs, whole._runs, strict=True):
        width = ours.weights.shape[2]
        np.testing.assert_array_equal(ours.weights[:n], theirs.weights[:n, :, :width])
        np.testing.assert_array_equal(ours.train_loss[:n], theirs.train_loss[:n])


@pytest.fixture(scope="module")
def whole():
    return solve()


# -- the end ---------------------------------------------------------------------------------------


def test_the_trajectory_ends_where_the_memory_does(whole):
    least = needed()
    steps = []
    for budget in (least, 1.1 * least, 1.3 * least):
        short = solve(budget)
        steps.append(short.n_steps)
        assert short.status is dmft.Status.OUT_OF_MEMORY
        assert "raise max_memory or rank_tolerance" in short.status.value
        assert_same_start(short, whole)
        rows = rows_within(budget, short.problem, METHOD, SAMPLING, 0)
        assert rows - 2 < short._runs[0].counts[-1, 2] + 2 <= rows + 2
    assert 0 < steps[0] < steps[1] < steps[2] < 60
    with pytest.raises(dmft.NumericalFailure, match="OUT_OF_MEMORY"):
        solve(least, throw=True)


def test_enough_memory_changes_nothing(whole):
    for threads in (1, 3):
        limited = solve(1e9, threads=threads)
        assert limited.status is dmft.Status.SUCCESS
        assert limited.n_steps == whole.n_steps == 60
        assert_same_start(limited, whole)


def test_where_it_ends_does_not_depend_on_threads():
    budget = 1.2 * needed()
    one, three = solve(budget, threads=1), solve(budget, threads=3)
    assert one.n_steps == three.n_steps < 60
    assert [run.n_times for run in one._runs] == [run.n_times for run in three._runs]
    assert_same_start(one, three)


@pytest.mark.parametrize(
    "settings",
    [
        {"problem": make_problem(2)},
        {"problem": dmft.Problem("phase-retrieval", dmft.Network("gelu"), initial_overlap=[[0.2]])},
        {"method": dmft.GradientFlow(30.0, tol=1e-5)},
        {"method": dmft.GradientDescent(0.2, 60), "hessian_steps": range(0, 61, 3)},
    ],
    ids=["two neurons", "mirrored", "flow", "kept pre-activations"],
)
def test_any_problem_and_method(settings):
    least = needed(**settings)
    short = solve(1.15 * least, **settings)
    assert short.status is dmft.Status.OUT_OF_MEMORY
    assert 0 < short.n_steps < short.method.n_steps
    assert solve(least, **settings).n_steps <= short.n_steps


@pytest.mark.slow
def test_a_checkpoint_goes_on_with_more_memory(tmp_path, whole):
    least = needed()
    settings = {"checkpoint": tmp_path, "checkpoint_seconds": 0}
    assert solve(least, **settings).status is dmft.Status.OUT_OF_MEMORY
    more = solve(1.3 * least, **settings)
    assert more.status is dmft.Status.OUT_OF_MEMORY
    assert_same_start(more, whole)
    ticks = []
    full = solve(**settings, progress=ticks.append)
    assert full.status is dmft.Status.SUCCESS
    assert ticks[0] > 1  # of where it ended before
    assert_same_start(full, whole)


# -- the memory ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("keep_paths", [False, True])
@pytest.mark.parametrize("factor", [1.1, 1.6, 4.0])
@pytest.mark.parametrize("n_paths", [2048, 8192])
def test_arrays_keep_to_it(n_paths, factor, keep_paths):
    """The peak of what is allocated, but for the small arrays of the trajectory itself."""
    sampling = dmft.Sampling(n_paths=n_paths, replicates=4, seed=1, rank_tolerance=1e-8)
    problem = make_problem()
    settings = {"problem": problem, "sampling": sampling, "keep_paths": keep_paths}
    settings["hessian_steps"] = [10]
    budget = factor * needed(**settings)
    solve(problem=problem, method=dmft.GradientDescent(0.2, 1))  # what is found or loaded once
    tracemalloc.start()
    try:
        short = solve(budget, **settings)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < budget + 1.5 * MB
    if short.status is dmft.Status.OUT_OF_MEMORY:
        assert peak > 0.7 * budget


def test_pre_activations_and_paths_are_kept_as_far_as_they_fit():
    least = needed(hessian_steps=[60])
    tight = solve(20 * least, hessian_steps=None, keep_paths=True)
    assert list(tight._runs[0].pre_activations) == list(range(61))
    assert tight._runs[0].paths is not None
    tight = solve(2 * least, hessian_steps=None, keep_paths=True)
    assert list(tight._runs[0].pre_activations) in ([], [60])
    assert tight._runs[0].paths is None


RESIDENT = """
import pathlib, re, sys, dmft
problem = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
def solve(n_paths, n_steps, budget):
    sampling = dmft.Sampling(n_paths=n_paths, replicates=4, rank_tolerance=1e-12)
    dmft.solve(problem, 2.0, dmft.GradientDescent(0.2, n_steps), sampling, hessian_steps=(),
               keep_paths=False, threads=2, max_memory=budget)
    # Not ru_maxrss: a process inherits that of the one it was started from.
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1])
start = solve(64, 3, None)
print(solve(32768, 100, float(sys.argv[1]) or None) - start)
"""


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_resident_memory_keeps_to_it():
    """What the system says: with room for what allocators do, less than without the limit."""

    def grown(budget):
        command = [sys.executable, "-c", RESIDENT, str(budget)]
        out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        return float(out.stdout)

    assert grown(160 * MB) < 1.4 * 160 * MB < grown(0)


# -- bad input -------------------------------------------------------------------------------------


def test_too_little_says_what_is_needed():
    least = needed()
    with pytest.raises(ValueError, match=rf"{least:.0f} bytes .* with 4 x 2048 paths"):
        solve(0.99 * least)
    assert solve(least).n_steps > 0
    assert needed(hessian_steps=[1, 2]) > least + 2 * 8 * 4 * 2048
    for bad in (0, -1, "3", float("nan")):
        with pytest.raises(ValueError, match="max_memory must be a positive finite number, got"):
            solve(bad)


@pytest.mark.slow
def test_on_the_command_line(tmp_path, capsys):
    path = tmp_path / "small.toml"
    path.write_text(
        'target = { label = "phase-retrieval" }\nnetwork = { activation = "gelu" }\n'
        'problem = { loss = "pseudo-huber" }\nmethod = { step_size = 0.2, n_steps = 40 }\n'
        "sampling = { n_paths = 1024, replicates = 2 }\ntrajectory = { delta = 2.0 }\n"
    )
    command = ["trajectory", str(path), "--out", str(tmp_path), "--max-memory"]
    assert main([*command, "1"]) == 0
    assert main([*command, "0.001"]) == 2
    error = capsys.readouterr().err
    assert "got 0.001 GB" in error
    gigabytes = float(re.search(r"--max-memory must be at least ([\d.e-]+) GB", error)[1])
    assert main([*command, f"{0.99 * gigabytes}"]) == 2
    for bad in ("nan", "-1", "1e10"):
        assert main([*command, bad]) == 2
        assert f"--max-memory must be a number between 0 and 1e+09, got {float(bad)}" in (
            capsys.readouterr().err
        )
    assert main([*command, f"{1.1 * gigabytes}"]) == 3
    assert "OUT_OF_MEMORY: The paths of the next step" in capsys.readouterr().out


def test_an_exact_run_keeps_its_paths_within_a_budget():
    case = dmft.Problem("linear", dmft.Network("tanh"))
    sampling = dmft.Sampling(n_paths=1024, replicates=3, seed=1, rank_tolerance=0.0)
    method = dmft.GradientDescent(0.3, 10)
    trajectory = dmft.solve(case, 3.0, method, sampling, max_memory=4e7, keep_paths=True)
    assert trajectory._runs[0].paths is not None
