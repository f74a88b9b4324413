"""Arguments that are legal and absurd: a status, no exception, no warning, no wrong number."""

import numpy as np
import pytest

import dmft
import dmft.solver.process
from dmft import Status

SAMPLING = dmft.Sampling(n_paths=128, replicates=2, seed=0)
DESCENT = dmft.GradientDescent(0.2, 3)
FLOW = dmft.GradientFlow(2.0, times=[0.0, 0.5, 2.0], max_steps=1000)
FAILURES = {Status.DIVERGED, Status.NONFINITE, Status.MAX_STEPS, Status.TOO_FEW_PATHS}


def scaled(scale, noise=0.0):
    return dmft.Target(lambda z, eps: scale * z[:, 0] + noise * eps)


def make_problem(target="phase-retrieval", activation="gelu", layer=(1.0,), **settings):
    settings = {"loss": "pseudo-huber"} | settings
    return dmft.Problem(target, dmft.Network(activation, list(layer)), **settings)


PROBLEMS = {
    "radius 1e-200": make_problem(init_radius=1e-200),
    "radius 1e160": make_problem(init_radius=1e160),
    "radii 1e160, 0": make_problem(layer=(1.0, 1.0), init_radius=[1e160, 0.0]),
    "second layer 1e200": make_problem(layer=(1e200,)),
    "second layer 1e-200": make_problem(layer=(1e-200,)),
    "second layer 1e-320": make_problem(activation="quadratic", layer=(1e-320, -1.0)),
    "custom, second layer 1e160": make_problem(
        activation=dmft.Activation(np.square, lambda r: 2.0 * r, lambda r: 2.0 + 0.0 * r),
        layer=(1e160, -1.0),
    ),
    "decay 1e300": make_problem(weight_decay=1e300),
    "decay 1e8": make_problem(weight_decay=1e8),
    "label 1e200": make_problem(scaled(1e200)),
    "label 1e200, square": make_problem(scaled(1e200), loss="square"),
    "label 1e-300": make_problem(scaled(1e-300), loss="square"),
    "noise 1e150": make_problem(scaled(1.0, 1e150), loss="square"),
    "overlap 1e-200": make_problem(initial_overlap=[[1e-200]]),
}
OF_DELTA = (1e-300, 1e-6, 1e300)
METHODS = {
    "step 1e300": dmft.GradientDescent(1e300, 3),
    "step 1e-300": dmft.GradientDescent(1e-300, 3),
    "momentum": dmft.GradientDescent(1e300, 3, momentum=0.9),
    "batches": dmft.GradientDescent(1e160, 3, batch_fraction=0.5),
    "fresh": dmft.GradientDescent(1e300, 3, fresh_batches=True),
    "second layer": dmft.GradientDescent(0.1, 3, second_layer_step_size=1e300),
    "t_max 1e300": dmft.GradientFlow(1e300, times=[0.0, 1.0, 1e300], max_steps=1000),
}
NAMES = ("overlap", "norm", "train_loss", "test_loss", "gradient_norm", "second_layer")


def check(trajectory):
    """Numbers where there are any, and as many of them as it says."""
    assert trajectory.status in FAILURES | {Status.SUCCESS}
    if trajectory.status.ok:
        assert trajectory.n_steps == trajectory.method.n_steps
    for name in NAMES:
        assert len(getattr(trajectory, name)) == trajectory.n_steps + 1
        assert np.isfinite(getattr(trajectory, name)).all(), name
        assert np.isfinite(trajectory.stderr[name]).all(), name


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("method", [DESCENT, FLOW], ids=["descent", "flow"])
def test_any_problem_has_a_trajectory_or_a_status(name, method):
    check(dmft.solve(PROBLEMS[name], 4.0, method, SAMPLING, threads=1))


@pytest.mark.slow
@pytest.mark.parametrize("delta", OF_DELTA)
@pytest.mark.parametrize("method", [DESCENT, FLOW], ids=["descent", "flow"])
def test_any_delta_has_a_trajectory_or_a_status(delta, method):
    check(dmft.solve(make_problem(), delta, method, SAMPLING, threads=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_any_method_has_a_trajectory_or_a_status(name):
    problem = make_problem(layer=(1.0, 0.5))
    check(dmft.solve(problem, 4.0, METHODS[name], SAMPLING, threads=2))
    if isinstance(METHODS[name], dmft.GradientDescent):
        sim = dmft.simulate(problem, 4.0, METHODS[name], d=20, seeds=1, workers=1)
        assert sim.status in FAILURES | {Status.SUCCESS}
        assert not sim.status.ok or np.isfinite(sim.gradient_norm).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_any_problem_has_a_run_or_a_status(name):
    sim = dmft.simulate(
        PROBLEMS[name], 4.0, DESCENT, d=20, seeds=2, workers=1, hessian_steps=[0, 3]
    )
    assert sim.status in FAILURES | {Status.SUCCESS}
    if sim.status.ok:
        for array in (sim.correlation, sim.gradient_norm, sim.test_loss, sim.hard_cosine):
            assert np.isfinite(array).all()
        assert all(np.isfinite(hessian.eigenvalues).all() for hessian in sim.hessian.values())


def test_what_the_statuses_are():
    def status(problem, method=DESCENT):
        return dmft.solve(problem, 4.0, method, SAMPLING, threads=1).status

    for name in ("radius 1e160", "second layer 1e200", "label 1e200"):
        assert status(PROBLEMS[name]) is Status.NONFINITE, name  # before any step
    assert status(make_problem(), METHODS["step 1e300"]) is Status.DIVERGED
    assert status(PROBLEMS["decay 1e8"], FLOW) is Status.MAX_STEPS


def test_neurons_of_any_length_have_the_same_cosine():
    for radius in (1e-120, 1.0, 1e70):
        sim = dmft.simulate(
            make_problem(init_radius=radius),
            4.0,
            dmft.GradientDescent(0.1, 0),
            d=20,
            seeds=1,
            workers=1,
            hard_overlap=0.6 * radius,
        )
        np.testing.assert_allclose(sim.hard_cosine, 0.36, rtol=1e-12)


# -- flows that would not end ----------------------------------------------------------------------


def test_a_flow_ends_at_its_limit_with_what_it_has_reached():
    # For so short a time the weights only decay: C(t, t) = exp(-2 lambda t), to 1e-8.
    times = [0.0, 1e-9, 1e-8, 2.0]
    flow = dmft.GradientFlow(2.0, tol=1e-6, times=times, max_steps=1000)
    problem = make_problem(weight_decay=1e8)
    found = dmft.solve(problem, 4.0, flow, SAMPLING, threads=1)
    assert found.status is Status.MAX_STEPS
    assert found.n_steps == 2
    exact = np.exp(-2e8 * np.array(times[:3]))
    np.testing.assert_allclose(found.norm[:, 0, 0], exact, rtol=2e-4)
    with pytest.raises(dmft.NumericalFailure, match=r"MAX_STEPS.*raise the limit.*computed: 2"):
        dmft.solve(problem, 4.0, flow, SAMPLING, threads=1, throw=True)


@pytest.mark.slow
def test_what_cannot_be_reached_is_not_tried(monkeypatch):
    # Alone, weight decay has evaluations take a time of 125 / 1e8 at the most.
    evaluate, calls = dmft.solver.process.Process.evaluate, []

    def counted(self, *args, **settings):
        calls.append(self)
        return evaluate(self, *args, **settings)

    monkeypatch.setattr(dmft.solver.process.Process, "evaluate", counted)
    problem = make_problem(weight_decay=1e8)
    for t_max, reached in [(2e-3, True), (5.02e-3, False), (1.0, False)]:
        calls.clear()
        flow = dmft.GradientFlow(t_max, times=[0.0, 1e-8, t_max], max_steps=4000)
        found = dmft.solve(problem, 4.0, flow, SAMPLING, threads=1)
        assert found.status is (Status.SUCCESS if reached else Status.MAX_STEPS)
        assert found.n_steps == (2 if reached else 1)
        n_runs = 1 + SAMPLING.replicates
        assert len(calls) > 1600 * n_runs if reached else len(calls) < 200 * n_runs


def test_a_limit_that_is_not_met_changes_nothing():
    one, other = (
        dmft.solve(make_problem(), 4.0, flow, SAMPLING, threads=1)
        for flow in (dmft.GradientFlow(2.0), dmft.GradientFlow(2.0, max_steps=500))
    )
    assert one.status is other.status is Status.SUCCESS
    np.testing.assert_array_equal(one._runs[0].weights, other._runs[0].weights)


def test_the_limit_belongs_to_the_method():
    flow = dmft.GradientFlow(2.0, times=[0, 1, 2], max_steps=50)
    assert dmft.GradientFlow.from_config(flow.to_config()) == flow
    assert flow.until(1).max_steps == 50
    assert flow != dmft.GradientFlow(2.0, times=[0, 1, 2])
    assert "max_steps" not in dmft.GradientFlow(2.0).to_config()
    with pytest.raises(ValueError, match="max_steps must be an integer >= 1, got 0"):
        dmft.GradientFlow(2.0, max_steps=0)


def test_a_run_file_may_set_the_limit(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(
        '[target]\nlabel = "linear"\n[method]\nt_max = 2.0\nmax_steps = 70\n', encoding="utf-8"
    )
    assert dmft.load_run(file).method.max_steps == 70


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize(
    ("layer", "status"),
    [
        ([1e200], Status.NONFINITE),
        ([1e200, 1.0], Status.NONFINITE),
        ([1e-200], Status.SUCCESS),
        ([5e-324], Status.NO_BRACKET),
    ],
)
def test_any_second_layer_has_a_threshold_or_a_status(layer, status, step):
    problem = make_problem(layer=layer)
    found = dmft.find_delta_nn(problem, DESCENT, (1, 12), step, SAMPLING, scan_points=4)
    assert found.status is status
    assert np.isfinite(found.value) == found.status.ok
    if step == 0:
        curve = dmft.delta_nn_curve(problem, DESCENT, (1, 12), [0], sampling=SAMPLING, points=4)
        assert curve.statuses[0] is found.status
        assert np.isnan(curve.value[0]) != found.status.ok


def test_a_curvature_that_overflows_has_no_law():
    trajectory = dmft.solve(make_problem(layer=(1e70,)), 3.0, DESCENT.until(0), SAMPLING)
    assert np.isfinite(trajectory.hessian(0).weights).all()
    with pytest.raises(dmft.NumericalFailure, match=r"NONFINITE.*curvature of the loss overflows"):
        dmft.hessian.hessian.initial_law(make_problem(layer=(1e200,)), 3.0, SAMPLING)


def test_starts_of_runs_that_cannot_start():
    with pytest.raises(dmft.NumericalFailure, match=r"NONFINITE.*No step was computed"):
        dmft.predict_grokking(make_problem(layer=(1e200,)), 3.0, DESCENT, 100, sampling=SAMPLING)
    short = dmft.GradientDescent(5e-324, 3)
    found = dmft.predict_grokking(make_problem(), 3.0, short, 100, sampling=SAMPLING)
    assert found.status is Status.NO_OUTLIER


def test_numbers_of_samples_beyond_all_machines():
    with pytest.raises(ValueError, match=r"^d must be smaller, and other settings with it"):
        dmft.simulate(make_problem(), 1e308, DESCENT, 20)
    trajectory = dmft.solve(make_problem(), 1e300, DESCENT.until(0), SAMPLING)
    with pytest.raises(ValueError, match=r"^d must be smaller, and other settings with it"):
        dmft.trajectory.finite_law.finite_law(trajectory, 0, 10**18)


@pytest.mark.parametrize("points", [2**63 - 1, 10**9])
def test_numbers_of_deltas_that_nobody_waits_for(points):
    with pytest.raises(ValueError, match=r"^scan_points must be an integer .* above 1000000$"):
        dmft.find_delta_nn(make_problem(), DESCENT, (1, 12), scan_points=points)
    with pytest.raises(ValueError, match=r"^points must be an integer .* above 1000000$"):
        dmft.delta_nn_curve(make_problem(), DESCENT, (1, 12), points=points, max_solves=2**63 - 1)
