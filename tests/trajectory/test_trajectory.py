"""The result object: files, recomputed Hessians, missing responses, names."""

import numpy as np
import pytest

import dmft

SAMPLING = dmft.Sampling(n_paths=512, replicates=4, seed=2)
METHOD = dmft.GradientDescent(0.2, 6)
PROBLEM = dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, -0.5]), "pseudo-huber")


@pytest.fixture(scope="module")
def trajectory():
    return dmft.solve(PROBLEM, 3.0, METHOD, SAMPLING)


def test_saved_trajectory_loads_back_with_every_digit(trajectory, tmp_path):
    path = tmp_path / "run.npz"
    trajectory.save(path)
    loaded = dmft.Trajectory.load(path)
    for name in trajectory.stderr:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(trajectory, name))
        np.testing.assert_array_equal(loaded.stderr[name], trajectory.stderr[name])
    assert loaded.problem == trajectory.problem
    assert loaded.method == METHOD
    assert loaded.sampling == SAMPLING
    assert loaded.status is trajectory.status


@pytest.mark.slow
def test_hessian_of_a_loaded_trajectory_is_computed_again_to_the_same_bits(trajectory, tmp_path):
    trajectory.save(tmp_path / "run")
    loaded = dmft.Trajectory.load(tmp_path / "run.npz")
    np.testing.assert_array_equal(loaded.hessian(4).weights, trajectory.hessian(4).weights)


def test_hessian_at_a_step_that_was_not_kept(trajectory):
    thin = dmft.solve(PROBLEM, 3.0, METHOD, SAMPLING, hessian_steps=[6])
    np.testing.assert_array_equal(thin.hessian(3).weights, trajectory.hessian(3).weights)


def test_custom_problem_needs_its_code_for_a_hessian_only(tmp_path):
    problem = dmft.Problem(dmft.Target(lambda z, eps: np.sin(z[:, 0])), loss="pseudo-huber")
    trajectory = dmft.solve(problem, 3.0, METHOD, SAMPLING)
    trajectory.save(tmp_path / "run.npz")
    loaded = dmft.Trajectory.load(tmp_path / "run.npz")
    np.testing.assert_array_equal(loaded.test_loss, trajectory.test_loss)
    with pytest.raises(ValueError, match=r"problem must be given to Trajectory\.load"):
        loaded.hessian(2)
    given = dmft.Trajectory.load(tmp_path / "run.npz", problem=problem)
    np.testing.assert_array_equal(given.hessian(2).weights, trajectory.hessian(2).weights)
    loaded.save(tmp_path / "again.npz")  # nothing is lost on the way through
    again = dmft.Trajectory.load(tmp_path / "again.npz", problem=problem)
    np.testing.assert_array_equal(again.test_loss, trajectory.test_loss)


def test_files_of_another_kind_are_refused(trajectory, tmp_path):
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(ValueError, match="path must be a delta-nn result file"):
        dmft.Trajectory.load(tmp_path / "text.npz")
    trajectory.save(tmp_path / "run.npz")
    with pytest.raises(ValueError, match="path must be a delta-nn threshold file"):
        dmft.Threshold.load(tmp_path / "run.npz")
    with pytest.raises(FileNotFoundError):
        dmft.Trajectory.load(tmp_path / "missing.npz")


def test_a_truncated_file_is_refused(trajectory, tmp_path):
    path = tmp_path / "run.npz"
    trajectory.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="path must be a delta-nn result file"):
        dmft.Trajectory.load(path)


def test_saving_into_a_missing_directory_leaves_nothing(trajectory, tmp_path):
    with pytest.raises(FileNotFoundError):
        trajectory.save(tmp_path / "missing" / "run.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [-1, 7, 2.5])
def test_hessian_step_out_of_range(trajectory, step):
    with pytest.raises(ValueError, match="step must be"):
        trajectory.hessian(step)


def test_unknown_quantity(trajectory):
    with pytest.raises(ValueError, match="name must be one of correlation"):
        next(trajectory.per_replicate("entropy"))
    assert "entropy" not in trajectory.stderr


def test_standard_error_is_that_of_the_replicates(trajectory):
    values = np.array(list(trajectory.per_replicate("train_loss")))
    assert values.shape == (4, 7)
    expected = values.std(axis=0, ddof=1) / 2
    np.testing.assert_allclose(trajectory.stderr["train_loss"], expected, rtol=1e-10)


def test_response_is_missing_where_it_would_be_a_ratio_of_rounding_errors():
    # A linear network on noiseless labels: the innovations fall by a constant factor per step.
    problem = dmft.Problem("linear", dmft.Network("linear"), "square")
    trajectory = dmft.solve(problem, 3.0, dmft.GradientDescent(0.1, 30), SAMPLING)
    last = trajectory.response_steps
    assert 4 < last < 30
    assert trajectory.response_status is dmft.Status.ILL_CONDITIONED
    assert np.isfinite(trajectory.response[: last + 1]).all()
    assert np.isnan(trajectory.response[last + 1 :]).all()


def test_response_of_a_linear_network_is_exact():
    # dM/dM(0): R solves the linear recursion whose kernel is Q(t, s) of the Marchenko-Pastur law:
    # R(t + 1, s) = eta E[(1 - eta x)^(t - s)] over its eigenvalues x.
    problem = dmft.Problem("linear", dmft.Network("linear"), "square")
    trajectory = dmft.solve(problem, 3.0, dmft.GradientDescent(0.1, 6), SAMPLING)
    moments = [1.0, 1.0, 1 + 1 / 3, 1 + 1 + 1 / 9]  # of Marchenko-Pastur with ratio 1/3
    for lag in range(4):
        binomial = [1, lag, lag * (lag - 1) / 2, lag * (lag - 1) * (lag - 2) / 6]
        expected = 0.1 * sum(b * (-0.1) ** j * moments[j] for j, b in enumerate(binomial))
        for s in range(6 - lag):
            assert abs(trajectory.response[s + lag + 1, s, 0, 0] - expected) < 2e-4


def test_another_problem_is_refused(trajectory, tmp_path):
    trajectory.save(tmp_path / "run.npz")
    with pytest.raises(ValueError, match="problem must be the one in the file; its target"):
        dmft.Trajectory.load(tmp_path / "run.npz", problem=dmft.Problem("product"))
    with pytest.raises(ValueError, match=r"problem must be a dmft\.Problem, got int"):
        dmft.Trajectory.load(tmp_path / "run.npz", problem=3)


def test_a_function_that_has_changed_is_refused_whatever_its_name(tmp_path):
    def problem(factor):
        def label(z, eps):
            return factor * z[:, 0] ** 2 + eps

        return dmft.Problem(dmft.Target(label), dmft.Network("linear"), "square", weight_decay=0.1)

    same, other = problem(1.0), problem(1.001)
    method = dmft.GradientDescent(0.1, 1)
    made = [
        dmft.solve(same, 2.0, method, dmft.Sampling(64, 2)),
        dmft.simulate(same, 2.0, method, d=10, seeds=1),
        dmft.erm_limit(same, 2.0),
    ]
    for result in made:
        result.save(tmp_path / "first.npz")
        dmft.load(tmp_path / "first.npz").save(tmp_path / "again.npz")
        assert dmft.load(tmp_path / "again.npz", problem(1.0)) == result
        with pytest.raises(ValueError, match=r"same names \(label\), but give other values"):
            dmft.load(tmp_path / "again.npz", other)
    two = dmft.simulate(same, 2.0, method, d=10, seeds=2)
    assert dmft.compare(made[0], two)
    with pytest.raises(ValueError, match="functions of the same names as the trajectory, which"):
        dmft.compare(dmft.solve(other, 2.0, method, dmft.Sampling(64, 2)), two)
    runs = dmft.sweep(same, [2.0], method, d=[10], seeds=1, hessian_step=1)
    with pytest.raises(ValueError, match="give other values"):
        dmft.predict_sweep(runs, problem=other)


def test_a_run_that_fails_at_once_is_empty_and_says_so():
    broken = dmft.Activation(lambda r: 1e200 * r, lambda r: np.full_like(r, 1e200), np.zeros_like)
    problem = dmft.Problem("phase-retrieval", dmft.Network(broken), "square")
    trajectory = dmft.solve(problem, 3.0, METHOD, SAMPLING)
    assert trajectory.status is dmft.Status.NONFINITE
    assert trajectory.n_steps == -1
    for name in trajectory.stderr:
        assert len(getattr(trajectory, name)) == len(trajectory.stderr[name]) == 0
    for read in (trajectory.hessian, lambda step: dmft.spectrum(trajectory, step)):
        with pytest.raises(ValueError, match="none was: NONFINITE"):
            read(0)
