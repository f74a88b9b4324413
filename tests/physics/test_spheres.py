"""Neurons on spheres, m = 1, 2, 3: dynamics, Hessians and overlaps against runs of finite d."""

import pytest

import dmft

SPHERE = dmft.GradientDescent(0.2, 40, constraint="sphere")
STEPS = [0, 10, 40]
CASES = {
    1: (dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber"), 10.0),
    2: (dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, -0.5]), "pseudo-huber"), 12.0),
    3: (dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, -0.5, 0.7]), "pseudo-huber"), 12.0),
}


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.parametrize("m", CASES)
def test_theory_agrees_with_simulation(m):
    problem, delta = CASES[m]
    trajectory = dmft.solve(
        problem, delta, SPHERE, dmft.Sampling(n_paths=4096), hessian_steps=STEPS
    )
    runs = [
        dmft.simulate(problem, delta, SPHERE, d, 12, hold_hard=True, hessian_steps=STEPS, workers=1)
        for d in (80, 160)
    ]
    comparison = dmft.compare(trajectory, runs)
    assert not comparison.significant, comparison.table()
    # Without the normal forces it would not: they are many times the errors.
    law = trajectory.hessian(10)
    smallest = runs[-1].hessian[10].smallest[:, 0]
    assert abs(law.shifts[0]) > 10.0 * smallest.std(ddof=1) / 12**0.5


def test_the_transition_at_the_start_under_the_correlation_loss():
    """Weights -min(z^2, 5), whose outlier leaves the bulk on the left; the force moves both."""
    capped = dmft.Target({"name": "capped-square", "cap": 5.0})
    problem = dmft.Problem(capped, dmft.Network("quadratic"), "correlation")
    found = dmft.find_delta_nn(problem, SPHERE, (0.5, 1.2), step=0, criterion="left")
    assert found.value == pytest.approx(0.721012, abs=1e-6)
    assert found.stderr == 0.0
