"""Trajectories to an accuracy that is asked for."""

import numpy as np
import pytest
from small import easy_problem

import dmft
from dmft.solver import budget
from dmft.trajectory.to_accuracy import relative_errors

METHOD = dmft.GradientDescent(0.3, 6)


def solve(rtol, **settings):
    """Solve to an accuracy."""
    return dmft.solve(easy_problem(), 4.0, METHOD, rtol=rtol, threads=1, **settings)


@pytest.mark.parametrize("names", ["train_loss", ("norm", "overlap"), ("gradient_norm",)])
def test_errors_are_within_the_tolerance_at_every_time(names):
    result = solve(0.002, of=names)
    assert result.status.ok
    for name in [names] if isinstance(names, str) else names:
        size = np.abs(getattr(result, name)).reshape(METHOD.n_steps + 1, -1).max(axis=1)
        error = np.hypot(result.stderr[name], result.bias[name])
        largest = error.reshape(METHOD.n_steps + 1, -1).max(axis=1)
        assert np.all(largest[size > 0] <= 1.5 * 0.002 * size[size > 0])
        assert np.all(largest[size == 0] == 0)


def test_it_is_the_solve_on_the_paths_it_chose():
    result = solve(0.001)
    assert result.sampling.n_paths > 1024
    same = dmft.solve(easy_problem(), 4.0, METHOD, result.sampling, threads=2)
    np.testing.assert_array_equal(same.train_loss, result.train_loss)
    np.testing.assert_array_equal(same.stderr["norm"], result.stderr["norm"])


def test_a_budget_ends_with_the_best_that_was_reached(tmp_path):
    result = solve(1e-6, max_paths=2048)
    assert result.status is dmft.Status.MAX_PATHS
    assert result.n_steps == METHOD.n_steps
    assert result.sampling.n_paths == 2048
    statistical, bias = relative_errors(result, ["train_loss"])
    assert np.hypot(statistical, bias) > 1e-6
    result.save(tmp_path / "trajectory.npz")
    assert dmft.Trajectory.load(tmp_path / "trajectory.npz").status is dmft.Status.MAX_PATHS
    assert solve(1e-6, max_memory=2e7).status is dmft.Status.OUT_OF_MEMORY
    with pytest.raises(dmft.NumericalFailure, match="MAX_PATHS"):
        solve(1e-6, max_paths=1024, throw=True)


def test_more_paths_than_memory_holds_are_not_begun(monkeypatch):
    """Of the memory of the machine, with as many directions as runs on fewer paths have had."""
    plain = solve(1e-6, max_paths=2048)
    assert (plain.status, plain.sampling.n_paths) == (dmft.Status.MAX_PATHS, 2048)
    counted = []
    monkeypatch.setattr(budget, "rows_within", lambda *_: counted.append(plain.rank) or plain.rank)
    assert solve(1e-6, max_paths=2048).status is dmft.Status.MAX_PATHS
    assert counted
    monkeypatch.setattr(budget, "rows_within", lambda *_: 3)
    found = solve(1e-6, max_paths=2048)
    assert found.status is dmft.Status.OUT_OF_MEMORY
    assert found.sampling.n_paths == 1024


def test_what_has_no_error_needs_no_paths():
    problem = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")
    result = dmft.solve(problem, 4.0, METHOD, rtol=1e-9, of="overlap", threads=1)
    assert result.status.ok
    assert result.sampling.n_paths == 1024
    assert not result.overlap.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"of": "loss"}, "of must be one or several of correlation, .*; got 'loss'"),
        ({"of": ()}, "of must be one or several of .*; got none"),
        ({"of": "test_error"}, "of must not have test_error: labels are not -1 and"),
        ({"rtol": -1.0}, "rtol must be a positive finite number"),
        ({"rtol": 1e-320}, "rtol must be at least 1e-09, got 9.99989e-321: errors fall like"),
        ({"rtol": None, "max_paths": 2048}, "max_paths must come with rtol"),
    ],
)
def test_what_cannot_be_reached_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        solve(**({"rtol": 0.1} | settings))


@pytest.mark.slow
def test_a_bias_above_the_standard_error_has_a_status():
    """Late in a flow, 512 paths a replicate overfit; early they do not."""
    run = dmft.load_preset("robust-phase-retrieval-gelu")
    flow = dmft.GradientFlow(200.0, times=[0.0, 20.0, 200.0])
    sampling = dmft.Sampling(n_paths=512, rank_tolerance=1e-6)
    assert dmft.solve(run.problem, 10.0, flow, sampling).bias_status is dmft.Status.FINITE_PATHS
    assert dmft.solve(run.problem, 10.0, flow.until(1), sampling).bias_status.ok
