"""Outliers of the Hessian along a trajectory: the span of a step, files, statuses."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from outlier_cases import CASES

import dmft
import rmt

SAMPLING = dmft.Sampling(n_paths=2048, replicates=8, seed=3)


def readings(outliers):
    return [(o.side, o.value, o.span_overlap, *o.latent_overlap) for o in outliers]


def solve(case, n_steps, sampling=SAMPLING, **more):
    problem, method = case.to_dmft(n_steps=n_steps)
    return dmft.solve(problem, case.delta, method, sampling, **more)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [(1.0,), (1.0, -0.7)])
@pytest.mark.parametrize("n_steps", [0, 1, 2, 5, 12, 20])
def test_linear_network_has_no_outlier(layer, n_steps):
    """D = a a^T is constant and H a Wishart matrix whatever gradient descent did with the data."""
    problem = dmft.Problem("linear", dmft.Network("linear", layer))
    method = dmft.GradientDescent(0.3, n_steps)
    trajectory = dmft.solve(problem, 3.0, method, dmft.Sampling(n_paths=512, seed=1))
    law = trajectory.hessian(n_steps)
    assert law.outliers() == []
    assert law.outlier_status.ok


@pytest.mark.parametrize("n_steps", [2, 5, 12])
def test_without_the_gradients_false_outliers_appear(n_steps):
    problem = dmft.Problem("linear", dmft.Network("linear"))
    method = dmft.GradientDescent(0.3, n_steps)
    trajectory = dmft.solve(problem, 3.0, method, dmft.Sampling(n_paths=512, seed=1))
    law = trajectory.hessian(n_steps)
    span = law.span
    wrong = rmt.HessianLaw(
        law.weights, law.ratio, span=rmt.Span(list(span.blocks), span.coordinates)
    )
    assert len(wrong.outliers()) >= 1


@pytest.mark.slow
def test_same_bits_from_kept_recomputed_and_loaded_paths(tmp_path):
    case = CASES["easy, m = 2"]
    kept = solve(case, 6)
    assert all(run.paths is not None for run in kept._runs)
    dropped = solve(case, 6, hessian_steps=[4])
    assert all(run.paths is None for run in dropped._runs)
    assert all(run.paths is None for run in solve(case, 2, keep_paths=False)._runs)
    kept.save(tmp_path / "t.npz")
    loaded = dmft.Trajectory.load(tmp_path / "t.npz", problem=kept.problem)
    for step in (1, 4):
        expected = kept.hessian(step)
        assert len(expected.outliers()) >= 1
        for other in (dropped, loaded):
            law = other.hessian(step)
            assert readings(law.outliers()) == readings(expected.outliers())
            np.testing.assert_array_equal(law.outlier_stderr(), expected.outlier_stderr())


def test_span_of_a_trajectory_has_the_prefixes_of_the_step():
    trajectory = solve(CASES["easy, m = 2"], 6)
    problem = trajectory.problem
    for step in (1, 3, 6):
        law = trajectory.hessian(step)
        span = law.span
        assert (span.n_coordinates, span.n_gradients) == (1 + 2 + 2 * step, 2 * step)
        w = np.concatenate(span.blocks, axis=1)
        np.testing.assert_allclose(w @ w.T / w.shape[1], np.eye(len(w)), atol=1e-10)
        r = span.neurons @ span.coordinates @ w
        labels = problem.sample_labels((span.coordinates[:1] @ w).T, np.zeros(w.shape[1]))
        weights = dmft.model.gradients.curvature(problem, r, labels)
        np.testing.assert_allclose(weights, law.weights, atol=1e-10)


@pytest.mark.slow
def test_law_of_a_trajectory_can_be_pickled():
    problem = dmft.Problem("easy-hard", dmft.Network("gelu", (1.0, 0.8)), "pseudo-huber")
    trajectory = dmft.solve(problem, 10.0, dmft.GradientDescent(0.3, 3), SAMPLING)
    if type(trajectory._runs[0]) is not sys.modules["dmft.solver.replicates"].Run:
        pytest.skip("doctests collected first have imported the module a second time")
    expected = readings(trajectory.hessian(3).outliers())
    assert expected
    law = pickle.loads(pickle.dumps(trajectory.hessian(3)))
    assert readings(law.outliers()) == expected
    again = pickle.loads(pickle.dumps(trajectory))
    assert readings(again.hessian(3).outliers()) == expected


@pytest.mark.slow
def test_rank_tolerance_does_not_matter_until_the_status_fires():
    """Directions dropped: the same answer within the defect, or no answer."""
    case = CASES["easy, m = 2"]
    step, found = 12, {}
    for tolerance in (1e-12, 1e-8, 1e-4, 1e-3, 1e-2):
        sampling = dmft.Sampling(n_paths=2048, replicates=8, seed=3, rank_tolerance=tolerance)
        law = solve(case, step, sampling).hessian(step)
        found[tolerance] = (law.span.defect, law.outlier_status, law.outliers(throw=False))
    _, status, reference = found[1e-12]
    assert status is rmt.Status.SUCCESS
    assert len(reference) == 1
    for defect, status, outliers in found.values():
        if defect > 1e-4:
            assert status is rmt.Status.ILL_CONDITIONED
            assert outliers == []
        else:
            assert status is rmt.Status.SUCCESS
            assert outliers[0].value == pytest.approx(reference[0].value, abs=1e-3)
    assert found[1e-2][1] is rmt.Status.ILL_CONDITIONED


def test_keep_paths_is_checked():
    with pytest.raises(ValueError, match="keep_paths must be True, False or None, got 1"):
        solve(CASES["two hard"], 1, keep_paths=1)
