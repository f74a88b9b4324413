"""Inputs of other laws: theory against runs of two sizes, extrapolated to 1/d = 0."""

import dataclasses

import numpy as np
import pytest

import dmft

pytestmark = [pytest.mark.slow, pytest.mark.simulation]

SIZES, SEEDS = (150, 300), 12
SAMPLING = dmft.Sampling(n_paths=4096, replicates=8, seed=1)
CLUSTERS = dmft.GaussianMixture(
    [0.35, 0.65], [[1.0], [-0.6]], covariances=[0.5, 1.5], scales=[1.0, 1.6]
)
#: Problem, delta, method.
CASES = {
    "clusters of different mean, spread and scale": (
        dmft.Problem(
            dmft.Target(classes="component"),
            dmft.Network("tanh", [1.0, -0.5]),
            "logistic",
            inputs=CLUSTERS,
        ),
        3.0,
        dmft.GradientDescent(0.5, 8),
    ),
    "clusters, with everything else": (
        dmft.Problem(
            dmft.Target(classes="component"),
            dmft.Network("gelu", [1.0, -0.5], biases=[0.3, -0.2]),
            "logistic",
            weight_decay=0.1,
            inputs=CLUSTERS,
        ),
        3.0,
        dmft.GradientDescent(
            0.3,
            6,
            momentum=0.5,
            batch_fraction=0.5,
            second_layer_step_size=0.1,
            bias_step_size=0.1,
        ),
    ),
    "clusters on the sphere": (
        dmft.Problem(
            dmft.Target(classes="component"),
            dmft.Network("gelu", [1.0, -0.5]),
            "logistic",
            inputs=CLUSTERS,
        ),
        3.0,
        dmft.GradientDescent(0.3, 6, constraint="sphere"),
    ),
    "student-t scales": (
        dmft.Problem(
            "easy-hard",
            dmft.Network("gelu"),
            "pseudo-huber",
            inputs=dmft.Elliptical("student-t", degrees_of_freedom=3),
        ),
        4.0,
        dmft.GradientDescent(0.2, 10),
    ),
    "rademacher latents": (
        dmft.Problem(
            dmft.Target(lambda z, eps: z[:, 0] + z[:, 0] * z[:, 1] + 0.2 * eps, k=2),
            dmft.Network("gelu", [0.8, -0.5]),
            "pseudo-huber",
            inputs=dmft.IndependentLatents("rademacher"),
        ),
        4.0,
        dmft.GradientDescent(0.3, 10),
    ),
    "fresh batches of latents of two laws": (
        dmft.Problem(
            "easy-hard",
            dmft.Network("gelu"),
            "pseudo-huber",
            inputs=dmft.IndependentLatents(["uniform", "student-t"], 7),
        ),
        4.0,
        dmft.GradientDescent(0.2, 8, fresh_batches=True),
    ),
}


def runs(problem, delta, method, **more):
    return [
        dmft.simulate(problem, delta, method, d=d, seeds=SEEDS, workers=1, **more) for d in SIZES
    ]


@pytest.mark.parametrize("case", CASES)
def test_theory_agrees_with_runs(case):
    problem, delta, method = CASES[case]
    trajectory = dmft.solve(problem, delta, method, SAMPLING)
    found = dmft.compare(trajectory, runs(problem, delta, method, hold_hard=True))
    assert found.status.ok
    assert not found.significant, found.table()


def test_theory_of_other_clusters_is_refused():
    """The comparison has teeth: runs of another law are refused, and told by their numbers."""
    problem, delta, method = CASES["clusters of different mean, spread and scale"]
    other = dataclasses.replace(problem, inputs=dataclasses.replace(CLUSTERS, scales=[1.0, 3.2]))
    trajectory = dmft.solve(other, delta, method, SAMPLING)
    made = runs(problem, delta, method)
    with pytest.raises(ValueError, match="inputs"):
        dmft.compare(trajectory, made)
    data = [
        dmft.RunData(one.d, one.correlation, one.overlap, train_loss=one.train_loss) for one in made
    ]
    assert dmft.compare(trajectory, data).significant


def test_hessians_agree_with_runs():
    """Outliers of a hard direction under bounded scales: s^2 D and z / s."""
    problem = dmft.Problem(
        "phase-retrieval",
        dmft.Network("gelu"),
        "pseudo-huber",
        inputs=dmft.Elliptical(lambda u: 0.5 + u),
    )
    method = dmft.GradientDescent(0.2, 6)
    trajectory = dmft.solve(problem, 10.0, method, SAMPLING, hessian_steps=[0, 6])
    found = dmft.compare(
        trajectory, runs(problem, 10.0, method, hold_hard=True, hessian_steps=[0, 6])
    )
    assert [prediction.step for prediction in found.hessian] == [0, 6]
    assert found.status.ok
    assert not found.significant, found.table()


def test_gradients_of_scaled_inputs_are_those_of_runs():
    """G = E[(s g)(s g)^T], in theory and runs."""
    problem, delta, method = CASES["student-t scales"]
    trajectory = dmft.solve(problem, delta, method, SAMPLING)
    simulated = dmft.simulate(problem, delta, method, d=400, seeds=24, workers=1, hold_hard=True)
    times = np.arange(method.n_steps + 1)
    theory = trajectory.gradient_covariance[times, times]
    difference = simulated.mean["gradient_covariance"] - theory
    assert np.max(np.abs(difference / simulated.stderr["gradient_covariance"])) < 4.0
