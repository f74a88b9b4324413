"""The solver against plain gradient descent at d = 1000, eight seeds, ten steps."""

from __future__ import annotations

import agreement
import finite_size
import numpy as np
import problems
import pytest

import dmft

D, SEEDS = 1000, range(8)
CHEAP_D, CHEAP_SEEDS = 250, range(1000, 1032)
CASES = {"m=1": problems.SINGLE, "m=2": problems.PAIR, "m=3": problems.TRIPLE}
OUTLIERS = {"m=1": problems.RETRIEVAL, "m=2": problems.RETRIEVAL_PAIR}
QUANTITIES = ("equal-time C", "M", "G", "train_loss", "test_loss")
SAMPLING = {"n_paths": 8192, "replicates": 8, "seed": 1}


def readings(runs, case):
    """The compared arrays, from the keys of finite_size or naive; leading axes untouched."""
    return {
        "equal-time C": agreement.diagonal(runs["C"]),
        "M": runs["M"][..., case.easy],
        "G": agreement.lower_triangle(runs["G"]),
        "train_loss": runs["train_loss"],
        "test_loss": runs["test_loss"],
    }


def simulate(case, hessian_steps=()):
    """Runs at D, and the cheap ones at CHEAP_D that only serve the variance."""
    runs = finite_size.ensemble(
        SEEDS, d=D, n_test=50_000, hessian_steps=hessian_steps, **case.settings()
    )
    cheap = finite_size.ensemble(
        CHEAP_SEEDS, d=CHEAP_D, n_test=12_500, hessian_steps=hessian_steps, **case.settings()
    )
    return runs, cheap


def compare_all(simulated, theory, error):
    """One Agreement per quantity; all arguments as returned by ``readings``."""
    runs, cheap = simulated
    return {
        name: agreement.compare(runs[name], cheap[name], CHEAP_D / D, theory[name], error[name])
        for name in QUANTITIES
    }


def compatible(result):
    """Three standard errors entry by entry, and jointly."""
    return result.worst < 3.0 and result.p_value > 0.0027


def trajectory_readings(trajectory, case):
    """Theory values and their standard errors, in the form of ``readings``."""
    names = {
        "C": "correlation",
        "M": "overlap",
        "G": "gradient_covariance",
        "train_loss": "train_loss",
        "test_loss": "test_loss",
    }
    value = {key: getattr(trajectory, name) for key, name in names.items()}
    error = {key: trajectory.stderr[name] for key, name in names.items()}
    return readings(value, case), readings(error, case)


@pytest.fixture(scope="session", params=CASES)
def pair(request):
    case = CASES[request.param]
    runs, cheap = simulate(case)
    problem, method = case.to_dmft()
    trajectory = dmft.solve(
        problem, delta=case.delta, method=method, sampling=dmft.Sampling(**SAMPLING)
    )
    return case, (readings(runs, case), readings(cheap, case)), trajectory


@pytest.mark.parametrize("name", QUANTITIES)
def test_theory_agrees_with_simulation(pair, name):
    case, simulated, trajectory = pair
    theory, error = trajectory_readings(trajectory, case)
    result = compare_all(simulated, theory, error)[name]
    assert compatible(result), f"{case.name}, {name}: {result}"


def test_solver_error_is_small_beside_the_simulation(pair):
    case, (runs, _), trajectory = pair
    _, error = trajectory_readings(trajectory, case)
    spread = runs["train_loss"].std(axis=0, ddof=1) / np.sqrt(len(SEEDS))
    assert np.median(error["train_loss"] / spread) < 0.5


def test_hard_overlap_is_exactly_zero(pair):
    case, _, trajectory = pair
    assert np.all(trajectory.overlap[..., list(case.hard)] == 0.0)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_comparison_rejects_another_delta(pair, factor):
    """The comparison has teeth: theory at a delta off by a tenth is refused."""
    case, simulated, _ = pair
    problem, method = case.to_dmft()
    trajectory = dmft.solve(
        problem, delta=factor * case.delta, method=method, sampling=dmft.Sampling(**SAMPLING)
    )
    theory, error = trajectory_readings(trajectory, case)
    assert not all(map(compatible, compare_all(simulated, theory, error).values()))


@pytest.mark.parametrize("label", OUTLIERS)
def test_hessian_outlier_agrees_with_simulation(label):
    case = OUTLIERS[label]
    step = case.n_steps
    runs, cheap = simulate(case, hessian_steps=(step,))
    problem, method = case.to_dmft()
    found = []
    for seed in range(8):
        trajectory = dmft.solve(
            problem,
            delta=case.delta,
            method=method,
            sampling=dmft.Sampling(n_paths=4096, replicates=2, seed=seed),
        )
        law = trajectory.hessian(step=step)
        lowest = min(law.outliers(), key=lambda outlier: outlier.value)
        found.append((lowest.value, lowest.hard_overlap))
    theory = np.mean(found, axis=0)
    error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    for column, key in enumerate((f"smallest:{step}", f"overlap:{step}")):
        result = agreement.compare(
            runs[key], cheap[key], CHEAP_D / D, theory[column], error[column]
        )
        assert compatible(result), f"{case.name}, {key}: {result}"
