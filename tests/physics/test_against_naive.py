"""Coordinate form (the solver) against response form (naive.py): same numbers, other equations."""

from __future__ import annotations

import agreement
import naive
import numpy as np
import problems
import pytest

import dmft

pytestmark = pytest.mark.slow

CASES = {
    "m=1 gelu": problems.Case(
        "gelu", "gelu", (1.2,), problems.noisy_single_index, 1, "pseudo-huber",
        delta=2.0, step_size=0.6, n_steps=8,
    ),
    "m=1 quadratic": problems.Case(
        "quadratic", "quadratic", (0.5,), problems.phase_retrieval, 1, "pseudo-huber",
        delta=3.0, step_size=0.15, n_steps=8, hard=(0,),
    ),
    "m=1 logistic": problems.Case(
        "logistic", "silu", (2.0,), problems.sign_of_sum, 1, "logistic",
        delta=1.5, step_size=0.8, n_steps=8, weight_decay=0.1,
    ),
    "m=2 tanh": problems.Case(
        "tanh", "tanh", (1.0, -0.7), problems.easy_and_hard, 2, "square",
        delta=2.0, step_size=0.6, n_steps=8, hard=(1,), weight_decay=0.05,
    ),
    "m=2 erf": problems.Case(
        "erf", "erf", (0.8, 0.5), problems.staircase, 2, "pseudo-huber",
        delta=1.5, step_size=0.7, n_steps=8, init_radius=0.8,
    ),
}  # fmt: skip
NAIVE = {"seeds": range(16), "n_paths": 6250}  # 1e5 paths in all


def readings(run, case):
    return {
        "C": agreement.lower_triangle(run["C"]),
        "M": run["M"][..., case.easy],
        "G": agreement.lower_triangle(run["G"]),
        "R": agreement.lower_triangle(run["R"]),
        "train_loss": run["train_loss"],
        "test_loss": run["test_loss"],
    }


def run_naive(case, **changes):
    runs = [
        naive.response_form(seed=seed, n_paths=NAIVE["n_paths"], **case.settings() | changes)
        for seed in NAIVE["seeds"]
    ]
    assert max(run["factor_mismatch"] for run in runs) < 1e-10
    return readings({key: np.array([run[key] for run in runs]) for key in runs[0]}, case)


@pytest.fixture(scope="session", params=CASES)
def both(request):
    case = CASES[request.param]
    problem, method = case.to_dmft()
    trajectory = dmft.solve(
        problem,
        delta=case.delta,
        method=method,
        sampling=dmft.Sampling(n_paths=16384, replicates=16, seed=3),
    )
    names = {
        "C": "correlation",
        "M": "overlap",
        "G": "gradient_covariance",
        "R": "response",
        "train_loss": "train_loss",
        "test_loss": "test_loss",
    }
    value = readings({key: getattr(trajectory, name) for key, name in names.items()}, case)
    error = readings({key: trajectory.stderr[name] for key, name in names.items()}, case)
    return case, run_naive(case), value, error


@pytest.mark.parametrize("name", ["C", "M", "G", "R", "train_loss", "test_loss"])
def test_forms_agree(both, name):
    case, runs, value, error = both
    if value[name].size == 0:
        pytest.skip("no easy direction")
    result = agreement.compare(runs[name], value[name], error[name], theory_freedom=15)
    assert not result.significant, f"{case.name}, {name}: {result}"


def test_comparison_rejects_a_missing_onsager_term(both):
    """The comparison has teeth: the response form without its memory term is refused."""
    case, _, value, error = both
    wrong = run_naive(case, onsager=0.0)
    for name in ("G", "train_loss"):
        result = agreement.compare(wrong[name], value[name], error[name], theory_freedom=15)
        assert min(result.entry_p, result.joint_p) < 1e-6, f"{name}: {result}"
