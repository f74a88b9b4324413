"""Runs that start along the leading eigenvector of their data, against gradient descent."""

import numpy as np
import pytest

import dmft
import rmt
from dmft.simulation.spectral_start import leading_eigenvector

STEPS = dmft.GradientDescent(step_size=0.2, n_steps=6)
SMALL = dmft.Sampling(n_paths=1024)
QUANTITIES = ("overlap", "train_loss", "test_loss", "gradient_norm")


def retrieval(**more):
    more = {"network": dmft.Network("gelu"), "loss": "pseudo-huber", **more}
    return dmft.Problem("phase-retrieval", **more, spectral_start="clipped")


CASES = {
    "one neuron": (retrieval(), STEPS, 4.0),
    "two neurons, two directions, the best preprocessing": (
        dmft.Problem(
            "product",
            dmft.Network("gelu", [1.0, -0.7]),
            "pseudo-huber",
            spectral_start=dmft.SpectralStart(share=[1.0, 0.5]),
        ),
        STEPS,
        3.0,
    ),
    "an easy direction beside a hard one": (
        dmft.Problem("easy-hard", dmft.Network("gelu"), "pseudo-huber", spectral_start="optimal"),
        STEPS,
        3.0,
    ),
    "batches, momentum, decay, second layer": (
        retrieval(weight_decay=0.1, init_radius=1.5),
        dmft.GradientDescent(0.2, 6, batch_fraction=0.5, momentum=0.5, second_layer_step_size=0.1),
        4.0,
    ),
    "inputs of two scales, biases, on the sphere": (
        retrieval(
            network=dmft.Network("gelu", biases=[0.3]),
            inputs=dmft.GaussianMixture([0.5, 0.5], [[0.0], [0.0]], scales=[1.0, 1.5]),
        ),
        dmft.GradientDescent(0.2, 6, constraint="sphere"),
        8.0,
    ),
    "a label with a mean, a function of one's own": (
        dmft.Problem(
            dmft.Target("linear", noise=0.5),
            dmft.Network("tanh"),
            spectral_start=lambda y: np.tanh(y**2),
        ),
        STEPS,
        12.0,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_theory_agrees_with_descent_from_the_eigenvector(name):
    problem, method, delta = CASES[name]
    theory = dmft.solve(problem, delta, method, SMALL)
    runs = dmft.simulate(problem, delta, method, d=300, seeds=12)
    assert theory.status.ok
    last = method.n_steps
    for step in (0, 1, last):
        for quantity in QUANTITIES:
            value, error = getattr(theory, quantity)[step], theory.stderr[quantity][step]
            of_runs = getattr(runs, quantity)[:, step]
            spread = of_runs.std(axis=0, ddof=1) / np.sqrt(12)
            deviation = np.abs(of_runs.mean(axis=0) - value)
            assert np.all(deviation <= 3.5 * np.hypot(spread, error) + 0.004), (quantity, step)
        norm = runs.correlation[:, step]
        spread = norm.std(axis=0, ddof=1) / np.sqrt(12)
        error = np.hypot(spread, theory.stderr["correlation"][step, step])
        deviation = np.abs(norm.mean(axis=0) - theory.correlation[step, step])
        assert np.all(deviation <= 3.5 * error + 0.004), ("correlation", step)


def test_the_eigenvector_is_remembered_by_its_data():
    """Without the past gradient, the loss on the data would be that on fresh data."""
    found = dmft.solve(retrieval(), 4.0, STEPS.until(0), SMALL)
    gap = found.test_loss[0] - found.train_loss[0]
    assert gap > 30 * found.stderr["train_loss"][0]
    exact = rmt.spectral_method(lambda y: np.clip(y, -3, 3), dmft.label_law("phase-retrieval"), 4.0)
    overlap = found.overlap[0, 0, 0]
    assert overlap**2 == pytest.approx(exact.outliers[0].hard_overlap, abs=0.005)
    np.testing.assert_allclose(found.correlation[0, 0], 1.0, rtol=1e-12)


def test_stationarity_in_coordinates():
    """The eigenvector obeys lambda M = E[g z] and lambda b = E[g q] on its own paths."""
    from dmft._numerics.sampling import Sampling
    from dmft.solver.spectral_start import start_of
    from dmft.solver.streams import GaussianStream

    problem, delta = retrieval(), 3.0
    leading = GaussianStream(Sampling(n_paths=2**15), 0, 3, 1).leading()
    labels = leading[0] ** 2
    start = start_of(problem, delta, [labels], [np.empty(0)], [leading])
    zeta, gradient = start.past[0]
    overlap, weight = start.weights[0, 0], start.weights[0, -1]
    q = zeta - gradient / np.sqrt(np.mean(gradient**2) * delta)
    r = overlap * leading[0] + weight * q
    np.testing.assert_allclose(np.clip(labels, -3, 3) * r, gradient, atol=0.02)
    eigenvalue = np.mean(gradient * leading[0]) / overlap
    assert np.mean(gradient * q) / weight == pytest.approx(eigenvalue, rel=0.01)
    law = dmft.label_law("phase-retrieval")
    exact = rmt.spectral_method(lambda y: np.clip(y, -3, 3), law, delta)
    assert eigenvalue == pytest.approx(exact.outliers[0].value, rel=0.01)


def test_below_the_threshold_nothing_is_recovered():
    found = dmft.solve(retrieval(), 0.3, STEPS, SMALL)
    assert np.all(found.overlap == 0.0)
    # Gradient descent from the eigenvector at d = 4800, six runs: .6095 +- .006.
    assert found.train_loss[0] == pytest.approx(0.6007, abs=0.002)


def test_neurons_that_start_equal_stay_equal():
    pair = dmft.solve(retrieval(network=dmft.Network("gelu", [0.5, 0.5])), 4.0, STEPS, SMALL)
    assert np.array_equal(pair.overlap[:, 0], pair.overlap[:, 1])


def test_hessian_and_its_outliers_along_the_run():
    """At step 0 the law is that of the paths; so are the outliers of runs."""
    problem, delta = retrieval(), 4.0
    theory = dmft.solve(problem, delta, STEPS, SMALL, keep_paths=True)
    runs = dmft.simulate(problem, delta, STEPS, d=400, seeds=6, hessian_steps=[0, 6])
    for step in (0, 6):
        smallest = runs.hessian[step].smallest[:, 0]
        law = theory.hessian(step)
        error = np.hypot(smallest.std(ddof=1) / np.sqrt(6), law.stderr("smallest_eigenvalue"))
        assert abs(smallest.mean() - law.smallest_eigenvalue()) < 3.5 * error + 0.03
    finite = theory.hessian(0, d=200, draws=4)
    assert finite.status.ok or finite.edge.shape == (4,)


def test_a_run_is_resumed_and_loaded_as_it_was(tmp_path):
    problem = retrieval(network=dmft.Network("gelu", [1.0, 0.5]))
    whole = dmft.solve(problem, 4.0, STEPS, SMALL)
    folder = tmp_path / "checkpoint"
    again = dmft.solve(problem, 4.0, STEPS, SMALL, checkpoint=folder)
    resumed = dmft.solve(problem, 4.0, STEPS, SMALL, checkpoint=folder)
    for other in (again, resumed):
        assert np.array_equal(whole.correlation, other.correlation)
    whole.save(tmp_path / "run.npz")
    loaded = dmft.Trajectory.load(tmp_path / "run.npz")
    assert loaded.problem == problem
    assert np.array_equal(loaded.response, whole.response, equal_nan=True)
    own = dmft.Problem("linear", spectral_start=np.tanh)
    assert dmft.Problem.of_record(own.to_config(), None) is None
    assert dmft.Problem.from_config(own.to_config(), preprocessing=np.tanh) == own


def test_flow_starts_there_too():
    flow = dmft.solve(retrieval(), 4.0, dmft.GradientFlow(1.0), SMALL)
    descent = dmft.solve(retrieval(), 4.0, dmft.GradientDescent(0.01, 100), SMALL)
    assert flow.overlap[-1, 0, 0] == pytest.approx(descent.overlap[-1, 0, 0], abs=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: retrieval(initial_overlap=[[0.1]]), "initial_overlap"),
        (lambda: retrieval(init_gram=[[1.0]]), "init_gram"),
        (lambda: retrieval(init_law="gaussian"), "init_law"),
        (lambda: dmft.Problem("linear", spectral_start="best"), "spectral_start"),
        (lambda: dmft.Problem("linear", spectral_start=3), "spectral_start"),
        (lambda: dmft.Problem("linear", spectral_start={"shares": 1}), "shares"),
        (lambda: dmft.Problem("linear", spectral_start={"share": [1.0, 0.5]}), "share"),
        (lambda: dmft.SpectralStart(share=1.5), "share"),
        (lambda: dmft.SpectralStart(share=[]), "share"),
        (lambda: dmft.SpectralStart(share=np.nan), "share"),
        (lambda: dmft.SpectralStart(cap=2.0), "cap"),
        (lambda: dmft.SpectralStart("clipped", cap=-1.0), "cap"),
        (lambda: solve_with(lambda y: y[:3]), "preprocessing"),
        (lambda: solve_with(lambda y: y / 0 * np.inf), "preprocessing"),
        (lambda: solve_with(lambda y: y.missing), "preprocessing"),
        (lambda: solve_with(np.square), "bounded above"),
        (lambda: dmft.solve(retrieval(), 4.0, FRESH, SMALL), "fresh_batches"),
        (lambda: dmft.find_delta_nn(retrieval(), STEPS, (1, 4), SMALL), "spectral_start"),
        (lambda: dmft.simulate(retrieval(), 4.0, STEPS, d=50, hold_hard=True), "hold_hard"),
        (lambda: dmft.simulate(retrieval(), 4.0, FRESH, d=50), "fresh_batches"),
    ],
)
def test_bad_input_is_one_clear_line(make, message):
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


FRESH = dmft.GradientDescent(0.2, 3, fresh_batches=True)


def solve_with(preprocessing):
    problem = dmft.Problem(dmft.Target("linear", noise=0.5), spectral_start=preprocessing)
    return dmft.solve(problem, 6.0, STEPS, SMALL)


def test_a_direction_that_one_cluster_alone_tells_is_learned():
    """z1 z2 in the second cluster: with z1 from the spectral method, z2 is not at zero for ever."""

    def label(z, eps, component):
        return np.where(component == 0, z[:, 0] ** 2, 9.0 + z[:, 0] * z[:, 1])

    clusters = dmft.GaussianMixture([0.5, 0.5], [[0.0, 0.0]] * 2, covariances=[1.0, 1.0])
    start = dmft.SpectralStart(lambda y: np.clip(y, -1.0, 2.0))
    problem = dmft.Problem(
        dmft.Target(label, k=2), dmft.Network("gelu"), inputs=clusters, spectral_start=start,
        init_radius=0.5,
    )  # fmt: skip
    found = dmft.solve(problem, 60.0, dmft.GradientDescent(0.05, 4), dmft.Sampling(512, 4))
    assert found.overlap[-1, 0, 1] > 5.0 * found.stderr["overlap"][-1, 0, 1] > 0.0


def test_eigenvectors_of_unbounded_preprocessings_are_exact():
    """The best T for z^2 goes to -infinity; one vector by LAPACK is that of the whole matrix."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 100))
    weights = 1.0 - 1.0 / X[:, 0] ** 2
    found = leading_eigenvector(X, weights, rng)
    _, vectors = np.linalg.eigh((X.T * weights) @ X / 400)
    assert abs(found @ vectors[:, -1]) == pytest.approx(1.0, abs=1e-12)
