"""`dmft.spectrum`: the density has the mass, the edges and the outliers of the law."""

import dataclasses

import numpy as np
import pytest

import dmft
from dmft import GradientDescent, Network, Problem, Sampling, Spectrum, Status
from dmft.trajectory.finite_law import finite_law

SAMPLING = Sampling(n_paths=256, replicates=4, seed=2)


def solved(target, activation, delta, n_steps=2, loss="pseudo-huber", **more):
    network = Network(activation, more.pop("second_layer", [1.0]))
    problem = Problem(target, network, loss, **more)
    return dmft.solve(problem, delta, GradientDescent(0.2, n_steps), SAMPLING)


CASES = {
    "one neuron": ("phase-retrieval", "gelu", 6.0, {}),
    "atom at zero": ("phase-retrieval", "gelu", 0.6, {}),
    "unbounded above": ("phase-retrieval", "quadratic", 8.0, {}),
    "weight decay": ("phase-retrieval", "quadratic", 8.0, {"weight_decay": 0.3}),
    "two neurons": ("product", "tanh", 3.0, {"second_layer": [0.5, -0.5]}),
}


# Two neurons at step 0 are four Gaussians: many Sobol points, slow, and nothing new.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "step"),
    [(name, step) for name in CASES for step in (0, 2) if (name, step) != ("two neurons", 0)],
)
def test_total_mass_is_one_and_the_mean_is_the_exact_one(name, step):
    target, activation, delta, more = CASES[name]
    trajectory = solved(target, activation, delta, **more)
    result = dmft.spectrum(trajectory, step)
    assert result.status.ok
    assert result.mass == pytest.approx(1.0, abs=2e-3)
    assert np.all(result.density >= 0)
    assert np.all(np.diff(result.x) > 0)
    law = trajectory.hessian(step)
    mean = np.trapezoid(result.x * result.density, result.x)
    mean += result.atom_at_zero * law.shift
    assert mean == pytest.approx(float(law.moments(1)[0]), abs=4e-3 * np.ptp(law.weights))


def test_it_reads_the_law():
    trajectory = solved("phase-retrieval", "gelu", 8.0)
    law = trajectory.hessian(2)
    result = dmft.spectrum(trajectory)
    assert (result.delta, result.step) == (8.0, 2)
    assert (result.left_edge, result.right_edge) == tuple(law.edges())
    assert (result.left_edge_stderr, result.right_edge_stderr) == law.edge_errors()
    assert result.right_edge_stderr >= law.stderr("right_edge")
    assert result.hard_gap == law.hard_gap()
    assert result.hard_gap_stderr == law.stderr("hard_gap")
    assert [o.value for o in result.outliers] == [o.value for o in law.outliers()]
    assert result.outliers[0].side == "left"
    assert result.outliers[0].value < result.left_edge
    replicates = np.array([other.outliers()[0].value for other in law.replicates])
    expected = replicates.std(ddof=1) / 2
    assert result.outliers[0].stderr == pytest.approx(expected, rel=1e-12)
    assert result.outliers[0].stderr > 0
    assert 0 < result.outliers[0].hard_overlap_stderr < 0.1
    assert result.x[0] >= result.left_edge
    assert result.x[-1] <= result.right_edge


def test_marchenko_pastur():
    problem = Problem("linear", Network("linear"), "square")
    trajectory = dmft.solve(problem, 4.0, GradientDescent(0.1, 1), SAMPLING)
    result = dmft.spectrum(trajectory, 1)
    a, b = 0.25, 2.25
    exact = 4.0 * np.sqrt(np.maximum((b - result.x) * (result.x - a), 0)) / (2 * np.pi * result.x)
    inner = (result.x > a + 1e-6) & (result.x < b - 1e-6)
    np.testing.assert_allclose(result.density[inner], exact[inner], atol=1e-6)
    assert result.mass == pytest.approx(1.0, abs=1e-3)
    assert np.isnan(result.hard_gap)
    assert result.outliers == ()
    assert result.left_edge_stderr < 1e-12  # every D is 1
    assert result.quantile(0.0) == pytest.approx(a)
    assert result.quantile(1.0) == pytest.approx(b)


def test_quadrature_has_no_error():
    result = dmft.spectrum(solved("phase-retrieval", "gelu", 8.0), 0)
    assert result.left_edge_stderr == result.hard_gap_stderr == 0.0
    assert result.outliers[0].stderr == 0.0


def test_unbounded_sides():
    above = dmft.spectrum(solved("phase-retrieval", "quadratic", 8.0))
    assert above.status.ok
    assert above.right_edge == np.inf
    assert np.isfinite(above.x).all()
    below = dmft.spectrum(solved("phase-retrieval", "quadratic", 8.0, n_steps=0, loss="square"), 0)
    assert below.status is Status.UNBOUNDED_EDGE
    assert below.left_edge == -np.inf
    assert below.mass == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize("target", ["phase-retrieval", "linear"])
def test_saved_and_loaded(tmp_path, target):
    result = dmft.spectrum(solved(target, "quadratic", 8.0), points=64)
    result.save(tmp_path / "spectrum.npz")
    loaded = Spectrum.load(tmp_path / "spectrum.npz")
    for name, value in vars(result).items():
        if name != "outliers":
            np.testing.assert_equal(getattr(loaded, name), value)
    np.testing.assert_equal(*([vars(one) for one in each.outliers] for each in (loaded, result)))
    assert loaded.config["sampling"]["seed"] == 2


def test_bad_arguments():
    trajectory = solved("phase-retrieval", "gelu", 2.0, n_steps=1)
    with pytest.raises(ValueError, match=r"step must be in 0\.\.1"):
        dmft.spectrum(trajectory, 2)
    with pytest.raises(ValueError, match="points must be an integer >= 16"):
        dmft.spectrum(trajectory, 1, points=3)


def test_easy_outliers_are_listed_with_their_overlap():
    problem = Problem("easy-hard", Network("gelu", [1.0, -0.7]), "pseudo-huber")
    trajectory = dmft.solve(problem, 6.0, GradientDescent(0.3, 4), SAMPLING)
    result = dmft.spectrum(trajectory)
    law = trajectory.hessian(4)
    assert [o.value for o in result.outliers] == [o.value for o in law.outliers("all")]
    assert all(len(o.latent_overlap) == 2 for o in result.outliers)
    # A direction is easy or hard, never both.
    for outlier in result.outliers:
        assert min(outlier.latent_overlap[0], outlier.hard_overlap) == 0.0
        assert outlier.latent_overlap[1] == pytest.approx(outlier.hard_overlap, abs=1e-12)
    hard = [o.value for o in result.outliers if o.hard_overlap > 0]
    assert hard == [o.value for o in law.outliers("hard")]


@pytest.fixture(scope="module")
def few_paths():
    """The preset easy-hard late in its run: one outlier, and at the edge one that is noise."""
    run = dmft.load_preset("easy-hard")
    return dmft.solve(run.problem, 8.0, run.method, Sampling(n_paths=1024), keep_paths=True)


@pytest.fixture(scope="module")
def marked(few_paths):
    return dmft.spectrum(few_paths, 40, points=64)


@pytest.mark.slow
def test_an_outlier_of_few_paths_at_the_edge_is_marked(marked, tmp_path):
    hard, noise = marked.outliers
    assert hard.separated
    assert hard.hard_overlap > 0.8
    assert abs(noise.value - marked.left_edge) < marked.left_edge_stderr
    assert sum(noise.latent_overlap) < 1e-3
    assert not noise.separated
    marked.save(tmp_path / "spectrum")
    assert [o.separated for o in Spectrum.load(tmp_path / "spectrum.npz").outliers] == [True, False]


@pytest.mark.slow
def test_marked_outliers_in_words_and_figures(few_paths, marked):
    from dmft._numerics.plain_data import plain
    from dmft.plotting import plot_flow, plot_spectrum
    from dmft.trajectory.report import spectrum_lines
    from rmt.plotting import plot_density

    lines = [text for name, text in spectrum_lines(marked) if name == "outlier"]
    assert len(lines) == 1
    assert "hard overlap" in lines[0]
    (text,) = (text for name, text in spectrum_lines(marked) if name == "at the edge")
    assert text.startswith("-0.05378 ")
    assert [o["separated"] for o in plain(marked.outliers)] == [True, False]

    def labels(axes):
        return axes.get_legend_handles_labels()[1]

    axes = plot_spectrum(marked).axes[0]
    assert sum(label.startswith("outlier") for label in labels(axes)) == 1
    assert "not told from the edge" in labels(axes)
    flow = plot_flow(few_paths, [30, 40]).axes[0]
    assert sorted(labels(flow)) == ["bulk", "edges", "hard outlier", "not told from the edge"]
    density = plot_density(few_paths.hessian(40)).axes[0]
    assert "not told from the edge" in labels(density)
    assert "other outlier, overlap" not in labels(density)


def test_only_marked_outliers_are_none():
    from dmft.trajectory.report import spectrum_lines

    result = dmft.spectrum(solved("phase-retrieval", "gelu", 8.0), points=64)
    marked = dataclasses.replace(
        result, outliers=tuple(dataclasses.replace(o, separated=False) for o in result.outliers)
    )
    assert ("outlier", "none") not in spectrum_lines(result)
    assert ("outlier", "none") in spectrum_lines(marked)


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 4])
def test_an_edge_that_did_not_converge_arrives_everywhere(cut_short, step):
    problem = Problem("easy-hard", Network("gelu"), "pseudo-huber")
    method, sampling = GradientDescent(0.2, 4), dmft.Sampling(n_paths=256, replicates=4)
    trajectory = dmft.solve(problem, 4.0, method, sampling)
    runs = dmft.simulate(problem, 4.0, method=method, d=40, seeds=4, hessian_steps=(step,))
    with cut_short():
        result = dmft.spectrum(trajectory, step, points=16)
        found = finite_law(trajectory, step, 40)
        (hessian,) = dmft.compare(trajectory, runs).hessian
    assert result.status is result.outlier_status is dmft.Status.MAX_STEPS
    assert np.isnan(result.hard_gap)
    assert result.hard_gap_stderr == result.left_edge_stderr == np.inf
    assert found.status is dmft.Status.MAX_STEPS
    assert np.isnan(found.hard_gap).all()
    assert not hessian.compared
    assert "MAX_STEPS" in hessian.note
    assert np.isnan([hessian.value, hessian.edge]).all()


def test_all_mass_between_two_points_of_the_scan():
    target = dmft.Target("easy-hard", noise=0.5)
    problem = dmft.Problem(target, dmft.Network("linear", [0.3, 0.3]), "square", weight_decay=0.1)
    sampling = dmft.Sampling(n_paths=64, replicates=2, seed=1)
    trajectory = dmft.solve(problem, 1.0, dmft.GradientDescent([0.1, 0.05], 2), sampling)
    found = dmft.spectrum(trajectory, 2)
    assert found.status.ok
    assert not np.any(found.density < 0.0)
