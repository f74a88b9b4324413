"""Spectral methods of a problem as results: thresholds that are known, inputs, files, bad input."""

import pickle

import numpy as np
import pytest

import dmft
import rmt
from dmft import Status

SMALL = {"n_points": 2**14}


def test_thresholds_are_those_of_the_best_algorithms():
    found = dmft.spectral_method("phase-retrieval", 1.0)
    assert found.status is Status.SUCCESS
    assert abs(found.threshold - 0.5) < 4 * found.threshold_stderr
    product = dmft.spectral_method("product", 2.0, "optimal-scalar")
    assert abs(product.threshold - 0.59375) < 4 * product.threshold_stderr
    assert product.latent_overlap.sum() == pytest.approx(product.overlap[0], rel=1e-9)


@pytest.mark.parametrize(
    ("name", "known"), [("linear", 0.5), ("phase-retrieval", 0.5), ("product", 0.59375)]
)
@pytest.mark.parametrize("n_points", [512, 4096, 8192, 2**14, 2**15])
def test_few_points_have_errors_that_cover_or_are_refused(name, known, n_points):
    arguments = {"problem": name, "preprocessing": "optimal-scalar", "n_points": n_points}
    if n_points < 2**14:
        with pytest.raises(ValueError, match=f"n_points must be at least 16384 .* {n_points}$"):
            dmft.spectral_method(delta=2.0, **arguments)
        return
    found = dmft.spectral_method(delta=2.0, **arguments)
    assert abs(found.threshold - known) < 3 * found.threshold_stderr < 0.4 * known
    fine = dmft.spectral_method(name, 2.0, "optimal-scalar", n_points=2**17)
    for moved, error in (
        (found.edge - fine.edge, found.edge_stderr),
        (found.overlap[0] - fine.overlap[0], found.overlap_stderr[0]),
    ):
        assert abs(moved) < 3 * error < 0.2


def test_labels_of_few_values_take_few_points():
    signs = dmft.Target(lambda z, eps: np.sign(z[:, 0] * z[:, 1]), 2)
    found = dmft.spectral_method(signs, 4.0, "optimal-scalar", n_points=1024)
    assert abs(found.threshold - np.pi**2 / 4) < 3 * found.threshold_stderr
    rare = dmft.Target(lambda z, eps: np.maximum(z[:, 0] ** 2 - 6.0, 0.0), 1)
    with pytest.raises(ValueError, match="n_points must be larger: 16384 points lie in 2 bins"):
        dmft.spectral_method(rare, 4.0, n_points=2**14)


def test_a_cap_that_no_sample_reaches_does_not_bound():
    arguments = {"problem": "phase-retrieval", "delta": 20.0, "n_points": 2**15}
    for changes in ({"preprocessing": "clipped", "cap": 50.0}, {"preprocessing": lambda y: y}):
        found = dmft.spectral_method(**arguments, **changes)
        assert found.status is Status.UNBOUNDED_EDGE
        assert np.isnan(found.threshold)
    # Threshold by quadrature; labels that never come near a cap are bounded themselves.
    known = dmft.spectral_method(**arguments, preprocessing="clipped", cap=15.0)
    assert abs(known.threshold - 2.9494384) < 3 * known.threshold_stderr
    bounded = dmft.Target(lambda z, eps: np.tanh(z[:, 0]) ** 2, 1)
    assert dmft.spectral_method(bounded, 2.0, "clipped", cap=50.0, n_points=2**14).status.ok


def test_clusters_are_told_by_their_covariance():
    """E[z^2 | y] = 2 for means +-1: 1/delta = 1, squared overlap 1/2 at delta = 3."""
    clusters = dmft.GaussianMixture([0.5, 0.5], [[1.0], [-1.0]])
    problem = dmft.Problem(dmft.Target(classes="component"), inputs=clusters)
    found = dmft.spectral_method(problem, 3.0)
    assert abs(found.threshold - 1.0) < 4 * found.threshold_stderr
    assert found.overlap[0] == pytest.approx(0.5, abs=4 * found.overlap_stderr[0])


def test_numbers_are_those_of_the_matrix():
    """Weights s^2 T(y) and coordinates z/s, against the leading eigenvector of runs."""
    mixture = dmft.GaussianMixture([0.5, 0.5], [[0.0], [0.0]], scales=[1.0, 2.0])
    target = dmft.Problem("modulus", inputs=mixture).target
    found = dmft.spectral_method(target, 8.0, "clipped", cap=3.0)
    d, seeds, rng = 400, 6, np.random.default_rng(0)
    values, overlaps = np.empty((2, seeds))
    for seed in range(seeds):
        n = 8 * d
        s = np.where(rng.random(n) < 0.5, 1.0, 2.0)
        x = s[:, None] * rng.standard_normal((n, d))
        weights = np.clip(np.abs(x[:, 0]), -3.0, 3.0)
        eigenvalues, vectors = np.linalg.eigh((x * weights[:, None]).T @ x / n)
        values[seed], overlaps[seed] = eigenvalues[-1], vectors[0, -1] ** 2
    for sample, value in ((values, found.outlier[0]), (overlaps, found.overlap[0])):
        assert abs(sample.mean() - value) < 3 * sample.std(ddof=1) / np.sqrt(seeds) + 0.005 * value


def test_a_result_is_saved_drawn_and_shown(tmp_path):
    def clip(y):
        return np.clip(y, -2.0, 2.0)

    named = dmft.spectral_method("phase-retrieval", 2.0, "clipped", cap=2.0, **SMALL)
    own = dmft.spectral_method("phase-retrieval", 2.0, clip, **SMALL)
    assert (own.threshold, own.overlap[0]) == (named.threshold, named.overlap[0])
    law = dmft.label_law("phase-retrieval", **SMALL)
    assert named.edge == rmt.spectral_method(clip, law, 2.0).edge
    assert np.trapezoid(named.density, named.x) == pytest.approx(1.0, abs=2e-3)
    below = dmft.spectral_method("phase-retrieval", 0.2, **SMALL)  # without an outlier
    for result in (named, own, below):
        result.save(tmp_path / "one")
        assert dmft.load(tmp_path / "one.npz") == result
        result.plot()
        assert len(result.to_dataframe()) == len(result.outlier)
    assert "squared overlap" in str(named)
    assert "preprocessing  clip\n" in str(own)


def test_what_is_unbounded_has_no_outlier_in_the_limit():
    heavy = dmft.Problem("modulus", inputs=dmft.Elliptical("student-t", degrees_of_freedom=3))
    for problem, rule, side in (
        ("phase-retrieval", lambda y: y, "right"),
        (heavy, "clipped", "right"),
        ("phase-retrieval", "optimal", "left"),  # E[z^2 | y] = y goes to zero
    ):
        found = dmft.spectral_method(problem, 2.0, rule, side=side)
        assert found.status is Status.UNBOUNDED_EDGE
        assert np.isnan(found.threshold)
        assert "unbounded; clip it" in str(found)
        said = str(found).rpartition("status")[2].strip()
        assert "preprocessing T" in said
        assert "D " not in said
        with pytest.raises(dmft.NumericalFailure) as failure:
            dmft.spectral_method(problem, 2.0, rule, side=side, throw=True)
        assert str(failure.value) == said
        again = pickle.loads(pickle.dumps(failure.value))  # as it comes from another process
        assert (again.status, str(again)) == (found.status, said)
        with pytest.raises(ValueError, match="must have a bulk to be drawn"):
            found.plot()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"problem": 3}, "problem must be a dmft.Problem or dmft.Target"),
        ({"delta": 0.0}, "delta must be"),
        ({"preprocessing": "best"}, "preprocessing must be 'optimal', 'optimal-scalar', 'clipped'"),
        ({"cap": 2.0}, "cap belongs to the preprocessing 'clipped'"),
        ({"side": "up"}, "side must be 'left' or 'right'"),
        ({"bracket": (3.0, 1.0)}, "bracket must have lower < upper"),
        ({"bracket": (1.0, 2.0, 3.0)}, "bracket must have lower < upper"),
        ({"n_points": 7}, "n_points must be"),
        ({"n_points": 10**15}, "n_points must be at most .* for the memory there is"),
        ({"replicates": 1}, "replicates must be"),
        ({"preprocessing": lambda y: y[:3]}, "must give one weight"),
        ({"preprocessing": lambda y: 1 / 0}, "failed: ZeroDivisionError"),
        ({"problem": dmft.Problem("modulus", inputs={"law": "elliptical"})}, "inputs have scales"),
    ],
)
def test_bad_input_is_one_line(changes, words):
    arguments = {"problem": "modulus", "delta": 2.0, **changes}
    with pytest.raises(ValueError, match=words) as info:
        dmft.spectral_method(**arguments)
    assert "\n" not in str(info.value)
