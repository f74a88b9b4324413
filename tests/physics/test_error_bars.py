"""Two separate questions: is the reported error honest, and is it worth having?"""

from __future__ import annotations

import numpy as np
import problems
import pytest

import dmft

pytestmark = pytest.mark.slow

ETA, STEPS, DELTA = 0.1, 10, 3.0


def linear_solution(seed, noise):
    problem = dmft.Problem(
        target=dmft.Target(label="linear", noise=noise),
        network=dmft.Network(activation="linear", second_layer=[1.0]),
        loss="square",
        init_radius=1.0,
        weight_decay=0.5,
    )
    return dmft.solve(
        problem,
        delta=DELTA,
        method=dmft.GradientDescent(step_size=ETA, n_steps=STEPS),
        sampling=dmft.Sampling(n_paths=512, replicates=8, seed=seed),
    )


@pytest.fixture(scope="session", params=[0.0, 0.5], ids=["noiseless", "noisy"])
def coverage(request):
    """name -> (true errors, reported errors), each (40 seeds, steps 1..T)."""
    exact = problems.LinearNetwork(DELTA, ETA, 0.5, request.param, 1.0).solve(STEPS)
    exact["C"] = np.diag(exact["C"])
    steps = np.arange(1, STEPS + 1)
    table = {"M": [], "C": [], "train_loss": []}
    for seed in range(40):
        trajectory = linear_solution(seed, request.param)
        error = trajectory.stderr
        rows = {
            "M": (trajectory.overlap[steps, 0, 0], error["overlap"][steps, 0, 0]),
            "C": (
                trajectory.correlation[steps, steps, 0, 0],
                error["correlation"][steps, steps, 0, 0],
            ),
            "train_loss": (trajectory.train_loss[steps], error["train_loss"][steps]),
        }
        for name, (value, reported) in rows.items():
            table[name].append((np.abs(value - exact[name][steps]), reported))
    return {name: np.moveaxis(np.array(rows), 1, 0) for name, rows in table.items()}


@pytest.mark.parametrize("name", ["M", "C", "train_loss"])
def test_reported_error_is_honest(coverage, name):
    """True error below twice the reported one at least 85 % of the time (t with 7 dof: 91 %)."""
    true, reported = coverage[name]
    inside = true <= 2.0 * reported + 1e-12
    assert inside.mean() >= 0.85


@pytest.mark.parametrize("name", ["M", "C", "train_loss"])
def test_reported_error_is_not_inflated(coverage, name):
    """Nor is it padded: root mean square true error at least half the reported one."""
    true, reported = coverage[name]
    scale = np.sqrt((reported**2).mean())
    assert scale < 1e-12 or np.sqrt((true**2).mean()) > 0.5 * scale


@pytest.mark.parametrize("case", [problems.RETRIEVAL, problems.PAIR], ids=lambda case: case.name)
def test_error_shrinks_faster_than_plain_monte_carlo(case):
    """Sixteen times the paths: plain Monte Carlo would give a quarter of the error."""
    problem, method = case.to_dmft()

    def typical_error(n_paths):
        errors = []
        for seed in range(4):
            trajectory = dmft.solve(
                problem,
                delta=case.delta,
                method=method,
                sampling=dmft.Sampling(n_paths=n_paths, replicates=8, seed=seed),
            )
            diagonal = np.arange(case.n_steps + 1)
            errors.append(
                {
                    "train_loss": trajectory.stderr["train_loss"],
                    "test_loss": trajectory.stderr["test_loss"][1:],
                    "C": trajectory.stderr["correlation"][diagonal, diagonal][1:],
                }
            )
        return {key: np.sqrt(np.mean([e[key] ** 2 for e in errors])) for key in errors[0]}

    coarse, fine = typical_error(512), typical_error(8192)
    ratio = {key: fine[key] / coarse[key] for key in coarse}
    assert np.exp(np.mean(np.log(list(ratio.values())))) < 0.2, ratio


def test_the_bias_of_few_paths_is_told_by_the_replicates():
    """Late in a flow paths overfit: inversely proportional to their number, and of known sign."""
    problem = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
    flow = dmft.GradientFlow(400.0, 1e-2, [0.0, 400.0])
    few, many = (dmft.solve(problem, 6.0, flow, dmft.Sampling(n, seed=1)) for n in (512, 2048))
    off = few.bias["train_loss"][-1], many.bias["train_loss"][-1]
    assert off[0] < off[1] < 0.0
    assert 2.0 < off[0] / off[1] < 20.0


def test_bias_is_the_mean_of_the_replicates_against_the_value():
    problem = dmft.Problem("product", dmft.Network("gelu", [1.0, -0.5]), "pseudo-huber")
    found = dmft.solve(problem, 4.0, dmft.GradientDescent(0.2, 6), dmft.Sampling(256, 4))
    for name in ("norm", "correlation", "test_loss"):
        mean = np.mean(list(found.per_replicate(name)), axis=0)
        np.testing.assert_allclose(
            found.bias[name], (mean - getattr(found, name)) / 3, atol=1e-12, err_msg=name
        )
    assert set(found.bias) == set(found.stderr)
    with pytest.raises(KeyError):
        found.bias["loss"]
