"""The door of the law: validation, error bars, small promises."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import rmt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": []}, "weights must hold at least one weight"),
        ({"weights": [1.0, np.nan]}, "weights must have finite entries, got 1"),
        ({"weights": [1.0 + 1j]}, "weights must be a rectangular array of real numbers"),
        ({"weights": [[1.0, 2.0]]}, r"weights must have shape \(N,\) or \(N, m, m\)"),
        ({"weights": [[1.0], [2.0, 3.0]]}, "weights must be a rectangular array"),
        ({"weights": [[[1.0, 2.0], [0.0, 1.0]]]}, r"symmetric.*asymmetry of 2 in weights\[0\]"),
        ({"ratio": 0.0}, "ratio must be a positive finite number, got 0.0"),
        ({"ratio": -1.0}, "ratio must be a positive finite number, got -1.0"),
        ({"ratio": np.inf}, "ratio must be a positive finite number, got inf"),
        ({"ratio": "two"}, "ratio must be a positive finite number, got 'two'"),
        ({"probabilities": [0.5]}, r"probabilities must have shape \(2,\)"),
        ({"probabilities": [0.5, 0.6]}, "probabilities must sum to 1"),
        ({"probabilities": [1.5, -0.5]}, "probabilities must be non-negative"),
        ({"hard": [[1.0]]}, r"hard must have shape \(2, k_h\)"),
        ({"hard": [[1.0], [np.inf]]}, "hard must have finite entries"),
        ({"shift": np.nan}, "shift must be a finite number, got nan"),
        ({"support": [[[1.0, 0.0], [0.0, 1.0]]]}, r"support must hold \(1, 1\) matrices"),
        ({"support": [-np.inf]}, "support must have finite entries"),
        ({"bounded_below": 1}, "bounded_below must be True or False, got 1"),
        ({"groups": 3}, "groups must divide the number of weights 2, got 3"),
        ({"groups": [0, 1, 2]}, r"groups must have shape \(2,\)"),
        ({"groups": 1.5}, "groups must be an integer"),
        ({"groups": [0, 1], "probabilities": [1.0, 0.0]}, "groups must each have positive mass"),
        ({"replicates": [1.0]}, "replicates must hold HessianLaw objects, got float"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        rmt.HessianLaw(**{"weights": [1.0, -1.0], "ratio": 2.0, **arguments})


def test_bad_arguments_of_methods():
    law = rmt.HessianLaw([1.0, -1.0], 2.0)
    for call, message in [
        (law.hard_gap, "hard must be given"),
        (law.outliers, "hard must be given"),
        (lambda: law.hard_matrix(-9.0), "hard must be given"),
        (lambda: law.stieltjes(np.nan), "z must have finite entries"),
        (lambda: law.stieltjes("x"), "z must be an array of complex numbers"),
        (lambda: law.density(1j), "x must be a rectangular array of real numbers"),
        (lambda: law.moments(0), "order must be an integer >= 1"),
        (lambda: law.stderr("left_edge"), "at least 2 laws"),
        (lambda: law.stderr("gap"), "name must be one of"),
        (lambda: law.sample_matrix(0, 0), "d must be an integer >= 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    hard = rmt.HessianLaw([1.0, -1.0], 2.0, hard=[[1.0], [-1.0]])
    with pytest.raises(ValueError, match="z must lie outside the bulk"):
        hard.hard_matrix(0.0)


def test_tiny_asymmetry_is_removed():
    w = np.array([[[1.0, 0.5], [0.5 + 1e-10, -1.0]]])
    law = rmt.HessianLaw(w, 2.0)
    np.testing.assert_array_equal(law.weights, law.weights.transpose(0, 2, 1))


def test_attributes_and_immutability():
    weights = np.array([1.0, -1.0])
    law = rmt.HessianLaw(weights, 2, hard=[0.5, 0.3], shift=0.1)
    weights[0] = 99.0
    assert law.weights.shape == (2, 1, 1)
    assert law.weights[0, 0, 0] == 1.0
    assert (law.m, law.k_hard, law.ratio, law.shift) == (1, 1, 2.0, 0.1)
    np.testing.assert_allclose(law.probabilities, 0.5)
    assert law.status is rmt.Status.SUCCESS
    with pytest.raises(ValueError, match="read-only"):
        law.weights[0] = 0.0
    with pytest.raises(AttributeError):
        law.ratio = 3.0
    assert repr(law) == "HessianLaw(m=1, atoms=2, ratio=2, k_hard=1, shift=0.1)"


def test_edges_unpack_and_carry_a_certificate():
    edges = rmt.HessianLaw([1.0, -1.0], 2.0).edges()
    left, right = edges
    assert (edges.left, edges.right) == (left, right)
    assert edges.status.ok
    assert edges.residual >= 0
    again = pickle.loads(pickle.dumps(edges))
    assert tuple(again) == tuple(edges)
    assert again.status is edges.status


def test_groups_and_stderr():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((8 * 500, 1))
    weights = np.tanh(z[:, 0] ** 2 - 1) + 0.1 * rng.standard_normal(4000)
    law = rmt.HessianLaw(weights, 3.0, hard=z, groups=8)
    assert len(law.replicates) == 8
    values = [r.hard_gap() for r in law.replicates]
    assert law.stderr("hard_gap") == pytest.approx(np.std(values, ddof=1) / np.sqrt(8))
    for name in ("left_edge", "right_edge", "smallest_eigenvalue"):
        assert 0 < law.stderr(name) < 0.2
    labelled = rmt.HessianLaw(weights, 3.0, hard=z, groups=np.repeat(np.arange(8), 500))
    assert labelled.stderr("left_edge") == law.stderr("left_edge")
    given = rmt.HessianLaw(weights, 3.0, hard=z, replicates=law.replicates)
    assert given.stderr("hard_gap") == law.stderr("hard_gap")
    with pytest.raises(ValueError, match="groups must be None"):
        rmt.HessianLaw(weights, 3.0, hard=z, replicates=law.replicates, groups=8)
    with pytest.raises(ValueError, match="replicates must have m = 1 and k_hard = 0"):
        rmt.HessianLaw(weights, 3.0, replicates=law.replicates)
    unbounded = rmt.HessianLaw(weights, 3.0, hard=z, groups=8, bounded_below=False)
    assert unbounded.stderr("hard_gap") == 0.0


def test_stderr_is_honest():
    """Over 30 repetitions, the error bar describes the spread of the gap within a factor of 2."""
    gaps, errors = [], []
    for seed in range(30):
        z = np.random.default_rng(seed).standard_normal((8 * 250, 1))
        law = rmt.HessianLaw(np.tanh(z[:, 0] ** 2 - 1), 3.0, hard=z, groups=8)
        gaps.append(np.mean([r.hard_gap() for r in law.replicates]))
        errors.append(law.stderr("hard_gap"))
    assert 0.5 < np.std(gaps, ddof=1) / np.mean(errors) < 2.0


@pytest.mark.parametrize("m", [1, 2])
def test_edge_sensitivity(m):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, m, m))
    weights = x + x.transpose(0, 2, 1)
    law = rmt.HessianLaw(weights, 2.0)
    left, right = law.edge_sensitivity()
    assert left > 0 > right
    lowest = np.linalg.eigvalsh(weights)[:, 0].argmin()
    without = rmt.HessianLaw(np.delete(weights, lowest, axis=0), 2.0)
    assert left == pytest.approx(without.edges().left - law.edges().left, rel=1e-6)
    assert law.edge_sensitivity(5)[0] > left
    # A support point beyond the samples that holds the edge takes the sensitivity away.
    far = 20.0 * np.eye(m)[None]
    held = rmt.HessianLaw(weights, 0.5, support=np.concatenate([-far, far]))
    free = rmt.HessianLaw(weights, 0.5)
    assert held.edge_sensitivity()[0] < 0.5 * free.edge_sensitivity()[0]
    for count in (0, 400, 1.0):
        with pytest.raises(ValueError, match="count must be"):
            law.edge_sensitivity(count)
    assert rmt.HessianLaw(weights, 2.0, bounded_below=False).edge_sensitivity()[0] == 0.0


def test_heavy_tails():
    """Weights over ten orders of magnitude do not upset the solver."""
    z = np.geomspace(1e-5, 4.0, 3000)
    p = np.gradient(z) * np.exp(-0.5 * z**2)
    law = rmt.HessianLaw(1 / z**2 - 1, 0.8, probabilities=p / p.sum())
    assert law.status.ok
    x = np.linspace(law.edges().left, 30.0, 50)[1:]
    assert np.all(law.density(x) >= 0)
    assert np.all(np.diff(law.cdf(x)) > 0)


def test_scalar_and_shaped_arguments():
    law = rmt.HessianLaw([1.0, -1.0], 2.0)
    assert law.stieltjes(1j).shape == ()
    assert law.density(0.0).shape == ()
    assert law.density(np.zeros((2, 0))).shape == (2, 0)
    assert law.stieltjes(np.zeros(0)).shape == (0,)
    assert law.matrix_stieltjes(np.full((2, 3), 1j)).shape == (2, 3, 1, 1)
    points = np.array([[0.3, -9.0], [0.1, 0.2]])
    np.testing.assert_allclose(law.density(points)[1, 0], law.density(0.1), rtol=1e-9)
    assert law.density(-9.0) == 0.0


def test_sample_matrix():
    law = rmt.HessianLaw([1.0, -1.0, 5.0], 2.0, probabilities=[0.5, 0.5, 0.0], shift=0.5)
    h = law.sample_matrix(50, 1)
    np.testing.assert_array_equal(h, h.T)
    np.testing.assert_array_equal(h, law.sample_matrix(50, np.random.default_rng(1)))
    assert np.trace(h) / 50 == pytest.approx(0.5, abs=0.3)
    hard = rmt.HessianLaw([1.0, 1.0], 2.0, hard=[[3.0], [-3.0]])
    assert hard.sample_matrix(10, 0)[0, 0] == pytest.approx(9.0)


@pytest.mark.processes
def test_import_is_quick_and_does_not_load_numba():
    code = "import rmt, sys; assert 'numba' not in sys.modules and 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_delta_is_another_name_for_the_ratio():
    assert rmt.HessianLaw([1.0], delta=4.0).ratio == 4.0
    with pytest.raises(ValueError, match=r"one of the two; got ratio = 2.0 and delta = 3.0"):
        rmt.HessianLaw([1.0], 2.0, delta=3.0)
    with pytest.raises(ValueError, match=r"one of the two; got neither"):
        rmt.HessianLaw([1.0])
    with pytest.raises(ValueError, match=r"^delta must be"):
        rmt.HessianLaw([1.0], delta=-1.0)
