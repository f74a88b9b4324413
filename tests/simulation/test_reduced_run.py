"""Runs drawn in reduced coordinates: in law they are runs of gradient descent at that d."""

import numpy as np
import pytest
from algorithm_options import GELU, OPTIONS, method_with, pair_for
from scipy.stats import ks_2samp

import dmft
from dmft.simulation import reduced_run as module
from dmft.simulation.descent import descend
from dmft.simulation.finite_data import draw_run
from dmft.simulation.reduced_run import check_reducible, reduced_run
from dmft.simulation.simulation_plan import SimulationPlan

COUNT = 100


def plain_runs(plan, count):
    """Runs with a matrix of the data, which draw_run makes."""
    for seed in range(count):
        data = draw_run(plan.problem, plan.n, plan.d, seed, plan.inputs, plan.imposed)
        rng = np.random.default_rng(10_000 + seed)
        p = plan.method.batch_fraction
        yield descend(
            plan.problem, data.X, data.y, data.weights, data.frame, plan.method,
            scales=data.scales, masks=lambda _, rng=rng, p=p: rng.random(plan.n) < p,
        )  # fmt: skip


def statistics(runs, problem):
    """Norms, overlaps with every direction and losses at the last step, (count, numbers)."""
    rows = []
    for run in runs:
        overlap, easy = run.overlap[-1], run.overlap[-1]
        hard = np.abs(overlap @ problem.target.hard_basis).ravel()
        easy = (easy - easy @ problem.target.hard_basis @ problem.target.hard_basis.T).ravel()
        rows.append([*run.correlation[-1].ravel(), *hard, *easy, run.train_loss[-1]])
    return np.array(rows)


def assert_same_law(problem, method, d=24, delta=3.0):
    plan = SimulationPlan.of(problem, delta, method, d)
    drawn = statistics((reduced_run(plan, 0, i) for i in range(COUNT)), problem)
    plain = statistics(plain_runs(plan, COUNT), problem)
    p_values = [
        ks_2samp(a, b).pvalue
        for a, b in zip(drawn.T, plain.T, strict=True)
        if np.ptp(np.concatenate([a, b])) > 1e-9
    ]
    assert len(p_values) > 2
    assert min(p_values) > 1e-3 / len(p_values)


@pytest.mark.parametrize("name", [*OPTIONS, "plain"])
def test_every_option_of_descent_has_the_law_of_runs(name):
    method = dmft.GradientDescent(0.3, 8) if name == "plain" else method_with(name, 8)
    assert_same_law(pair_for(name) if name != "plain" else GELU, method)


@pytest.mark.parametrize("preset", ["gaussian-mixture", "student-t-inputs"])
def test_other_inputs_have_the_law_of_runs(preset):
    assert_same_law(dmft.load_preset(preset).problem, dmft.GradientDescent(0.2, 6))


def test_a_linear_neuron_learns_at_the_rate_of_the_limit():
    """Theory, section 8: M(t) at delta 3, ridge 1/2, from zero, exactly in the limit."""
    target = dmft.Target("linear", noise=1.0)
    problem = dmft.Problem(
        target, dmft.Network("linear"), "square", init_radius=0.0, weight_decay=0.5
    )
    plan = SimulationPlan.of(problem, 3.0, dmft.GradientDescent(0.1, 10), 20_000)
    run = reduced_run(plan, 0)
    expected = [0.1, 0.18166667, 0.34979584, 0.48846611]
    np.testing.assert_allclose(run.overlap[[1, 2, 5, 10], 0, 0], expected, atol=0.01)


def test_all_dimensions_are_exhausted():
    """With as many coordinates as dimensions it is the whole problem: n - d residuals stay."""
    target = dmft.Target("linear", noise=1.0)
    problem = dmft.Problem(target, dmft.Network("linear"), "square")
    plan = SimulationPlan.of(problem, 8.0, dmft.GradientDescent(0.6, 40), 5)
    runs = [reduced_run(plan, 0, i) for i in range(100)]
    assert {run.rank for run in runs} == {5}
    left = np.array([2.0 * plan.n * run.train_loss[-1] for run in runs])  # chi^2, n - d degrees
    assert abs(left.mean() - 35.0) < 4.0 * np.sqrt(2.0 * 35.0 / 100)


def test_small_innovations_do_not_matter(monkeypatch):
    plan = SimulationPlan.of(GELU, 6.0, dmft.GradientDescent(0.5, 30), 60)
    fewer = reduced_run(plan, 0)
    monkeypatch.setattr(module, "_TOLERANCE", 0.0)
    every = reduced_run(plan, 0)
    monkeypatch.setattr(module, "_TOLERANCE", 1e-3)
    rough = reduced_run(plan, 0)
    assert rough.rank < fewer.rank <= every.rank
    np.testing.assert_allclose(fewer.correlation, every.correlation, atol=2e-3)
    np.testing.assert_allclose(fewer.overlap, every.overlap, atol=2e-3)


def test_draws_are_a_function_of_seed_draw_and_size():
    plan = SimulationPlan.of(GELU, 3.0, dmft.GradientDescent(0.5, 4), 30)
    one = reduced_run(plan, 3, 5)
    assert np.array_equal(one.overlap, reduced_run(plan, 3, 5).overlap)
    for other in (reduced_run(plan, 3, 6), reduced_run(plan, 4, 5)):
        assert not np.array_equal(one.overlap, other.overlap)


def test_what_has_no_reduced_coordinates():
    fresh = dmft.GradientDescent(0.2, 4, fresh_batches=True)
    with pytest.raises(ValueError, match="method must not have fresh_batches"):
        check_reducible(SimulationPlan.of(GELU, 3.0, fresh, 30))
    started = dmft.load_preset("spectral-start").problem
    with pytest.raises(ValueError, match="problem must not have a spectral_start"):
        check_reducible(SimulationPlan.of(started, 3.0, dmft.GradientDescent(0.2, 4), 30))
    plan = SimulationPlan.of(GELU, 3.0, dmft.GradientDescent(0.2, 4), 30)
    with pytest.raises(ValueError, match=r"d must be .* for the memory there is"):
        check_reducible(plan, 10**12)
