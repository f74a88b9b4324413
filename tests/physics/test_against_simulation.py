"""The solver against plain gradient descent: d = 1000 with eight seeds, ten steps.

A second, sharper ensemble (d = 400, 200 seeds: three times smaller errors, no visible 1/d bias)
provides the variance and is compared as well; with it a delta wrong by 3 % is refused.
"""

from __future__ import annotations

import agreement
import finite_size
import numpy as np
import problems
import pytest

import dmft

pytestmark = [pytest.mark.slow, pytest.mark.simulation]

D, SEEDS = 1000, range(8)
MANY_D, MANY_SEEDS = 400, range(7000, 7200)
CHEAP_D, CHEAP_SEEDS = 300, range(9000, 9024)  # variance of the Hessian outlier only
CASES = {"m=1": problems.SINGLE, "m=2": problems.PAIR, "m=3": problems.TRIPLE}
#: Relative error in delta that the sharp comparison must refuse.
POWER = {"m=1": 0.03, "m=2": 0.03, "m=3": 0.06}
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


def simulate(case, seeds, d, hessian_steps=()):
    """One ensemble; the test set grows with d so that all variances fall as 1/d."""
    return finite_size.ensemble(
        seeds, d=d, n_test=50 * d, hessian_steps=hessian_steps, **case.settings()
    )


def sharp_comparison(many, theory, error):
    """One Agreement per quantity, from the sharp ensemble alone."""
    return {name: agreement.compare(many[name], theory[name], error[name]) for name in QUANTITIES}


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


def solve(case, factor=1.0):
    problem, method = case.to_dmft()
    trajectory = dmft.solve(
        problem, delta=factor * case.delta, method=method, sampling=dmft.Sampling(**SAMPLING)
    )
    return trajectory, *trajectory_readings(trajectory, case)


@pytest.fixture(scope="session", params=CASES)
def setting(request):
    """(label, runs, many, trajectory, theory, error); the runs as returned by ``readings``."""
    case = CASES[request.param]
    runs = readings(simulate(case, SEEDS, D), case)
    many = readings(simulate(case, MANY_SEEDS, MANY_D), case)
    return request.param, runs, many, *solve(case)


@pytest.mark.parametrize("name", QUANTITIES)
def test_theory_agrees_with_simulation(setting, name):
    label, runs, many, _, theory, error = setting
    result = agreement.compare(
        runs[name], theory[name], error[name], more=many[name], more_scale=MANY_D / D
    )
    assert not result.significant, f"{label}, {name}: {result}"


@pytest.mark.parametrize("name", QUANTITIES)
def test_theory_agrees_with_many_simulations(setting, name):
    label, _, many, _, theory, error = setting
    result = sharp_comparison(many, theory, error)[name]
    assert not result.significant, f"{label}, {name}: {result}"


def test_solver_error_is_small_beside_the_simulation(setting):
    _, _, many, _, _, error = setting
    for name in ("equal-time C", "train_loss", "test_loss"):
        spread = many[name].std(axis=0, ddof=1) / np.sqrt(len(MANY_SEEDS))
        moving = spread > 1e-10
        assert np.median(error[name][moving] / spread[moving]) < 0.5, name


def test_hard_overlap_is_exactly_zero(setting):
    label, _, _, trajectory, _, _ = setting
    assert np.all(trajectory.overlap[..., list(CASES[label].hard)] == 0.0)


@pytest.mark.parametrize("sign", [-1, 1])
def test_comparison_rejects_another_delta(setting, sign):
    """The comparison has teeth: theory at a slightly different delta is refused."""
    label, _, many, _, _, _ = setting
    _, theory, error = solve(CASES[label], factor=1.0 + sign * POWER[label])
    assert any(result.significant for result in sharp_comparison(many, theory, error).values())


@pytest.mark.parametrize("label", OUTLIERS)
def test_hessian_outlier_agrees_with_simulation(label):
    """Smallest eigenvalue and its hard overlap; eight solver seeds give the theory's error."""
    case = OUTLIERS[label]
    step = case.n_steps
    runs = simulate(case, SEEDS, D, hessian_steps=(step,))
    cheap = simulate(case, CHEAP_SEEDS, CHEAP_D, hessian_steps=(step,))
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
            runs[key], theory[column], error[column], more=cheap[key], more_scale=CHEAP_D / D
        )
        assert not result.significant, f"{case.name}, {key}: {result}"
