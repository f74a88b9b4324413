"""How much smaller the sampling error is than that of plain Monte Carlo with as many paths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import plain_paths
import pytest
from small import RETRIEVAL

import dmft
from dmft.solver import replicates as solver

STEPS = np.array([1, 5, 10])
REPLICATES, N_PATHS, SEEDS = 8, 1024, 16


def spread(values):
    """Standard deviation over seeds of C(t,t), root mean square over its entries."""
    values = np.array(values)[:, STEPS]
    rows, columns = np.tril_indices(values.shape[-1])
    return np.sqrt(np.var(values[:, :, rows, columns], axis=0, ddof=1).mean(axis=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("robust-phase-retrieval", 0.2),
        ("robust-phase-retrieval-gelu", 0.1),
        ("easy-hard", 0.09),
        ("product", 0.19),
    ],
)
def test_spread_of_the_norm_against_plain_monte_carlo(name, bound):
    """Measured over seeds, at a size where the reduction is less than at the sizes in use."""
    preset = dmft.load_preset(name)
    problem, delta = preset.problem, preset.trajectory.delta
    method = dmft.GradientDescent(preset.method.step_size, int(STEPS[-1]))
    ours = []
    for seed in range(SEEDS):
        sampling = dmft.Sampling(n_paths=N_PATHS, replicates=REPLICATES, seed=seed)
        ours.append(dmft.solve(problem, delta, method, sampling).norm)
    # The spread of plain Monte Carlo goes like 1/sqrt(N): measured at a quarter of the paths.
    n_plain = REPLICATES * N_PATHS // 4
    plain = [
        plain_paths.plain_monte_carlo(problem, delta, method, n_plain, 1000 + seed)[0]
        for seed in range(32)
    ]
    ratio = spread(ours) / (0.5 * spread(plain))
    assert ratio[:2].max() < bound, ratio


def tied(z, eps):
    """At a fixed z1 this is one class or nearly so."""
    return np.sign(z[:, 0] + 0.4 * (z[:, 1] ** 2 - 1.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "loss", "bound"),
    [
        (dmft.Target(tied, k=2, hard_directions=[1]), "pseudo-huber", 1.25),
        (dmft.Target("easy-hard", classes="sign", flip=0.1), "logistic", 1.0),
    ],
)
def test_order_by_label_costs_nothing_where_labels_are_tied(target, loss, bound, monkeypatch):
    """Against hard coordinates as Sobol coordinates of their own: no error is larger."""
    problem = dmft.Problem(target, dmft.Network("gelu", [1.0, 0.5]), loss)
    method = dmft.GradientDescent(0.3, 6)

    def errors():
        values = []
        for seed in range(24):
            sampling = dmft.Sampling(n_paths=512, replicates=2, seed=seed)
            found = dmft.solve(problem, 4.0, method, sampling)
            gap = found.hessian(6).hard_gap()
            values.append([found.train_loss[6], found.norm[6, 0, 0], gap])
        return np.std(values, axis=0, ddof=1)

    ours = errors()
    with monkeypatch.context() as patch:
        stream = solver._Shared.stream
        patch.setattr(
            solver._Shared, "stream", lambda self, i: stream(replace(self, antithetic=True), i)
        )
        apart = errors()
    assert np.all(ours < 1.3 * bound * apart), ours / apart


PAIR = dmft.Problem("product", dmft.Network("gelu", [0.8, -0.5]), "pseudo-huber")


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "n_steps"), [(PAIR, 40), (RETRIEVAL, 200)])
def test_plain_twin_follows_the_same_process(problem, n_steps):
    """Exact mode and plain numpy, on the same random numbers, agree to rounding however long."""
    method = dmft.GradientDescent(0.2, n_steps)
    sampling = dmft.Sampling(n_paths=1024, replicates=2, rank_tolerance=1e-12)
    solved = dmft.solve(problem, 3.0, method, sampling)
    leading, fresh = plain_paths.same_numbers(problem, sampling)
    norm, _ = plain_paths.run(problem, 3.0, method, leading, fresh, orthogonalise=True)
    np.testing.assert_allclose(solved.norm, norm, rtol=0, atol=1e-10)


def test_exact_runs_do_not_amplify_rounding():
    """The order of the paths changes nothing but rounding."""
    method = dmft.GradientDescent(0.2, 150)
    sampling = dmft.Sampling(n_paths=512, replicates=2, rank_tolerance=1e-12)
    leading, fresh = plain_paths.same_numbers(RETRIEVAL, sampling)
    order = np.random.default_rng(0).permutation(leading.shape[1])
    one, other = (
        plain_paths.run(RETRIEVAL, 6.0, method, a, b, orthogonalise=True)[0]
        for a, b in ((leading, fresh), (leading[:, order], lambda t: fresh(t)[:, order]))
    )
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
