"""An edge that did not converge is a status in every result that rests on it."""

from __future__ import annotations

import numpy as np
import pytest
from commands import RETRIEVAL, commands_on

import dmft
from dmft import GradientDescent, Network, Problem, Sampling, Status
from dmft.trajectory.finite_law import finite_law

METHOD = GradientDescent(0.2, 1)
SAMPLING = Sampling(n_paths=128, replicates=4)
FAILED = {1: Status.MAX_STEPS, 2: Status.UNRESOLVED}  # by the number of neurons

run_file, call = commands_on(
    RETRIEVAL
    + """
[method]
step_size = 0.2
n_steps = 1
[sampling]
n_paths = 128
replicates = 4
[threshold]
bracket = [1.0, 6.0]
scan_points = 3
[curve]
bracket = [1.0, 6.0]
[trajectory]
delta = 3.0
[spectrum]
delta = 3.0
[simulation]
d = [40]
seeds = 4
hessian_steps = [1]
"""
)


def problem(m):
    return Problem("phase-retrieval", Network("gelu", [1.0, -0.5][:m]), "pseudo-huber")


@pytest.mark.slow
@pytest.mark.parametrize(("m", "step"), [(1, 0), (1, 1), (2, 1)])
def test_threshold_and_spectrum(too_few_steps, m, step):
    found = dmft.find_delta_nn(problem(m), METHOD, (1, 6), step, SAMPLING, scan_points=3)
    assert found.status is FAILED[m]
    assert np.isnan(found.value)
    assert set(found.statuses) == {FAILED[m]}
    trajectory = dmft.solve(problem(m), 3.0, METHOD, SAMPLING)
    result = dmft.spectrum(trajectory, step, points=32)
    assert result.status is FAILED[m]
    assert np.isnan(result.hard_gap)
    assert result.hard_gap_stderr == np.inf
    assert (result.left_edge_stderr, result.right_edge_stderr) == (np.inf, np.inf)
    drawn = finite_law(trajectory, step, 20, draws=2)
    assert drawn.status is FAILED[m]
    assert np.isnan(drawn.hard_gap).all()


@pytest.mark.slow
@pytest.mark.parametrize("m", FAILED)
def test_curves_and_comparison(too_few_steps, m):
    network = problem(m)
    curve = dmft.delta_nn_curve(network, METHOD, (1, 6), [1], SAMPLING, points=4, max_solves=4)
    assert curve.status is FAILED[m]
    assert set(curve.statuses) == {FAILED[m]}
    found = dmft.algorithmic_gap(
        network.target, [network], (1, 6), method=METHOD, steps=[1], sampling=SAMPLING,
        points=4, max_solves=4, n_points=2**16,
    )  # fmt: skip
    assert found.status is FAILED[m]
    trajectory = dmft.solve(network, 3.0, METHOD, SAMPLING)
    runs = dmft.simulate(network, 3.0, METHOD, 40, 4, hold_hard=True, hessian_steps=[1], workers=1)
    compared = dmft.compare(trajectory, runs)
    assert compared.status is FAILED[m]
    for prediction in compared.hessian:
        assert prediction.status is FAILED[m]
        assert not prediction.compared
        assert FAILED[m].name in prediction.note
    assert FAILED[m].name in compared.to_json()


def test_one_replicate_of_a_spectrum(cut_short):
    """The law itself is right; what fails is an error bar."""
    trajectory = dmft.solve(problem(1), 3.0, METHOD, SAMPLING)
    law = trajectory.hessian(1)
    good = law.hard_gap()
    with cut_short():
        law.replicates[2].edges()
    result = dmft.spectrum(trajectory, 1, points=32)
    assert result.status is Status.MAX_STEPS
    assert result.left_edge == law.edges().left
    assert result.left_edge_stderr == np.inf
    assert (np.isnan(result.hard_gap), result.hard_gap_stderr) == (True, np.inf)
    assert good == law.hard_gap()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["threshold", "curve", "spectrum", "compare"])
def test_command_line(too_few_steps, call, name):
    code, out, err = call(name)
    assert code == 3
    assert "MAX_STEPS" in out
    assert "no hard direction" not in out
    assert "Traceback" not in err
