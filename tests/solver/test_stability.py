"""Paths that a finite step makes unstable: counted right, reported, stored; none in a flow."""

import json

import numpy as np
import pytest

import dmft
from dmft.cli import main
from dmft.model.gradients import curvature, curvature_bound, pre_activation_gradient
from dmft.solver.stability import UnstablePaths

SAMPLING = dmft.Sampling(n_paths=1024, replicates=4, seed=3)
NAMES = ("fraction", "loss_share", "gradient_share", "pre_activation_share")
QUADRATIC = dmft.Problem(
    "phase-retrieval", dmft.Network("quadratic"), "pseudo-huber", weight_decay=0.1
)


@pytest.fixture(scope="module")
def unstable():
    """Far too large a step for r^2 at this delta."""
    return dmft.solve(QUADRATIC, 0.5, dmft.GradientDescent(0.2, 12), SAMPLING)


def shares(problem, trajectory, step, high):
    """What the paths with D above the limit carry, from the pre-activations themselves."""
    run = trajectory._runs[0]
    r, y = run.pre_activations[step], run.labels
    g, loss = pre_activation_gradient(problem, r, y)
    parts = (np.ones_like(y), loss, np.sum(g**2, axis=0), np.sum(r**2, axis=0))
    return [np.sum(part[high(r, y)]) / np.sum(part) for part in parts]


def test_the_count_is_that_of_the_curvature(unstable):
    limit = 0.5 * (2.0 / 0.2 - 0.1)
    found = unstable.unstable_paths
    for step in range(13):
        expected = shares(
            QUADRATIC, unstable, step, lambda r, y: curvature(QUADRATIC, r, y)[:, 0, 0] > limit
        )
        np.testing.assert_allclose([getattr(found, n)[step] for n in NAMES], expected, rtol=1e-10)


def test_several_neurons_are_bounded_by_the_largest_eigenvalue():
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic", [1.0, 0.5]), "square")
    trajectory = dmft.solve(problem, 2.0, dmft.GradientDescent(0.05, 6), SAMPLING)
    limit = 2.0 * 2.0 / 0.05
    found = trajectory.unstable_paths
    for step in (0, 3, 6):
        expected = shares(
            problem, trajectory, step, lambda r, y: curvature_bound(problem, r, y) > limit
        )
        np.testing.assert_allclose([getattr(found, n)[step] for n in NAMES], expected, rtol=1e-10)
        r, y = trajectory._runs[0].pre_activations[step], trajectory._runs[0].labels
        largest = np.linalg.eigvalsh(curvature(problem, r, y))[:, -1]
        assert found.fraction[step] >= np.mean(largest > limit) - 1e-12
    assert found.fraction[0] > 0


def test_many_unstable_paths_are_a_status(unstable):
    found = unstable.unstable_paths
    assert unstable.stability_status is found.status is dmft.Status.UNSTABLE_PATHS
    assert "gradient flow" in unstable.stability_status.value
    assert "smaller step_size" in unstable.stability_status.value
    assert repr(unstable).endswith("stability=UNSTABLE_PATHS)")
    share, name, step = found.largest
    assert share > 0.1
    assert share == getattr(found, name)[step] == max(getattr(found, n).max() for n in NAMES)
    # The trajectory is nevertheless what gradient descent does.
    assert unstable.status is dmft.Status.SUCCESS
    for entry in NAMES:
        values, error = getattr(found, entry), found.stderr[entry]
        assert values.shape == error.shape == (13,)
        assert np.all((values > 0) & (values < 1) & (error > 0) & (error < 0.1))


def test_standard_errors_are_those_of_the_replicates(unstable):
    runs = np.array([run.above for run in unstable._runs[1:]])
    error = runs.std(axis=0, ddof=1) / 2
    for index, name in enumerate(NAMES):
        np.testing.assert_allclose(unstable.unstable_paths.stderr[name], error[:, index])


@pytest.mark.parametrize(
    ("network", "method"),
    [
        (dmft.Network("tanh"), dmft.GradientDescent(0.05, 20)),
        (dmft.Network("gelu", [1.0, -0.5]), dmft.GradientDescent(0.05, 5)),
        (dmft.Network("quadratic"), dmft.GradientFlow(1.0, tol=1e-2)),
    ],
)
def test_exactly_none(network, method):
    problem = dmft.Problem("phase-retrieval", network, "pseudo-huber")
    trajectory = dmft.solve(problem, 1.0, method, SAMPLING)
    found = trajectory.unstable_paths
    assert trajectory.stability_status is dmft.Status.SUCCESS
    assert found.largest == (0.0, "", 0)
    for name in NAMES:
        assert not getattr(found, name).any()
        assert not found.stderr[name].any()
    assert "stability" not in repr(trajectory)


def test_more_with_a_larger_step():
    """At the same point, strictly a question of where the line is drawn."""
    starts = []
    for step_size in (0.02, 0.05, 0.1, 0.2, 0.4, 0.8):
        method = dmft.GradientDescent(step_size, 0)
        found = dmft.solve(QUADRATIC, 1.0, method, SAMPLING).unstable_paths
        starts.append([getattr(found, name)[0] for name in NAMES])
    assert np.all(np.diff(starts, axis=0) >= 0)
    assert starts[0][0] < starts[-1][0]


def test_a_custom_activation_is_counted_like_the_catalogue():
    mine = dmft.Activation(lambda r: r**2, lambda r: 2 * r, lambda r: 2.0 + 0 * r, name="mine")
    method = dmft.GradientDescent(0.2, 3)
    problems = [
        dmft.Problem("phase-retrieval", dmft.Network(law), "pseudo-huber")
        for law in (mine, "quadratic")
    ]
    both = [dmft.solve(problem, 1.0, method, SAMPLING).unstable_paths for problem in problems]
    for name in NAMES:
        np.testing.assert_allclose(getattr(both[0], name), getattr(both[1], name), rtol=1e-8)


def test_the_line_is_at_one_percent():
    def found(value):
        return UnstablePaths.of_runs([np.array([[0.0, 0.0, value, 0.0]])] * 3)

    assert found(0.01).status is dmft.Status.SUCCESS
    assert found(0.0101).status is dmft.Status.UNSTABLE_PATHS
    assert found(0.5).largest == (0.5, "gradient_share", 0)


# -- files ---------------------------------------------------------------------------------------


def test_stored_with_the_trajectory(unstable, tmp_path):
    path = tmp_path / "run.npz"
    unstable.save(path)
    loaded = dmft.Trajectory.load(path)
    assert repr(loaded) == repr(unstable)
    for name in NAMES:
        ours, theirs = loaded.unstable_paths, unstable.unstable_paths
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()
        assert ours.stderr[name].tobytes() == theirs.stderr[name].tobytes()
    np.testing.assert_array_equal(loaded._runs[1].left_out, unstable._runs[1].left_out)


@pytest.mark.slow
def test_a_threshold_says_what_its_root_rests_on(tmp_path):
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    method = dmft.GradientDescent(0.8, 3)
    threshold = dmft.find_delta_nn(problem, method, (0.5, 8), sampling=SAMPLING, scan_points=4)
    at_root = dmft.solve(problem, threshold.value, method, SAMPLING).unstable_paths
    assert threshold.unstable_share == at_root.largest[0] > 0.01
    threshold.save(tmp_path / "threshold.npz")
    loaded = dmft.Threshold.load(tmp_path / "threshold.npz")
    assert loaded.unstable_share == threshold.unstable_share
    start = dmft.find_delta_nn(problem, method, (0.5, 4), step=0, scan_points=3)
    assert start.unstable_share == 0.0
    none = dmft.find_delta_nn(problem, method, (4, 5), step=0, scan_points=2)
    assert np.isnan(none.unstable_share)


# -- command line --------------------------------------------------------------------------------


@pytest.mark.slow
def test_printed_and_in_the_json(tmp_path, capsys):
    path = tmp_path / "small.toml"
    path.write_text(
        'target = { label = "phase-retrieval" }\nnetwork = { activation = "quadratic" }\n'
        'problem = { loss = "pseudo-huber" }\nmethod = { step_size = 0.8, n_steps = 2 }\n'
        "sampling = { n_paths = 256, replicates = 4 }\n"
        "threshold = { bracket = [0.5, 8.0], scan_points = 4 }\ntrajectory = { delta = 1.0 }\n"
    )

    def call(command, *arguments):
        assert main([command, str(path), "--out", str(tmp_path), *arguments]) == 0
        return capsys.readouterr().out

    assert "UNSTABLE_PATHS: Linearly unstable samples" in call("trajectory")
    data = json.loads(call("trajectory", "--json"))
    assert (data["status"], data["stability"]) == ("SUCCESS", "UNSTABLE_PATHS")
    assert len(data["unstable_paths"]["loss_share"]) == 3
    assert len(data["unstable_paths"]["stderr"]["fraction"]) == 3
    lines = call("trajectory", "--step-size", "0.001").splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("unstable paths")] == ["none"]
    assert "unstable paths" in call("threshold")
    assert json.loads(call("threshold", "--json"))["unstable_share"] > 0.01
    assert "unstable paths" not in call("threshold", "--step-size", "0.001")
