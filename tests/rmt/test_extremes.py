"""Laws that decouple, spread over many decades or are huge or tiny; every status arrives."""

import numpy as np
import pytest

import rmt
from rmt import Status, overlay
from rmt._packing import kernels
from rmt.closed_forms import MarchenkoPastur, SpectralPhaseRetrieval, TwoAtoms
from rmt.overlay import compare_spectrum

# -- phases ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_argument_of_determinants(seed):
    """C (X - i Y) C^T with diagonal X, Y has the arguments of its diagonal, whatever C."""
    rng = np.random.default_rng(seed)
    for _ in range(200):
        m = int(rng.integers(1, 6))
        frame = np.linalg.qr(rng.standard_normal((m, m)))[0] * rng.uniform(0.3, 3.0, m)
        if rng.random() < 0.2:
            frame = np.eye(m)[rng.permutation(m)]
        real = rng.choice([-1.0, 1.0], m) * rng.uniform(0.5, 2.0, m)
        minus = rng.uniform(0.1, 2.0, m) * 10.0 ** -rng.choice([0, 3, 8, 15, 18, 400], m)
        exact = np.where(minus > 0, np.arctan2(-minus, real), np.where(real < 0, -np.pi, 0.0))
        found = kernels()._argument_of_determinant((frame * (real - 1j * minus)) @ frame.T, m)
        assert found == pytest.approx(exact.sum(), abs=1e-12)


def test_argument_without_a_diagonal():
    """A pivot of order 2: both eigenvalues +-1 and a third direction."""
    for small in (0.0, 1e-17, 1e-3):
        b = np.array([[-1j * small, 1.0, 0.2], [1.0, -1j * small, 0.1], [0.2, 0.1, 0.05]])
        values = np.linalg.eigvalsh(b.real)
        expected = -np.pi * np.count_nonzero(values < 0)
        found = kernels()._argument_of_determinant(b.astype(complex), 3)
        assert found == pytest.approx(expected, abs=0.2 if small == 1e-3 else 1e-12)


# -- decoupled weights ----------------------------------------------------------------------------


def mixture(diagonals, ratio, x):
    return np.mean([rmt.HessianLaw(d, ratio).cdf(x) for d in diagonals], axis=0)


def test_cdf_of_two_blocks():
    law = rmt.HessianLaw([np.diag([1.0, 5.0])], ratio=5)
    assert law.cdf(2.7007) == pytest.approx(0.58870, abs=1e-5)
    x = np.linspace(-1.0, 11.0, 501)
    np.testing.assert_allclose(law.cdf(x), mixture([[1.0], [5.0]], 5, x), atol=1e-12)
    q = np.array([0.1, 0.45, 0.55, 0.9])
    np.testing.assert_allclose(law.cdf(law.quantiles(q)), q, atol=1e-9)
    result = compare_spectrum(law, law.sample_matrix(300, 0))
    assert result.distance < 0.01
    assert result.status.ok


@pytest.mark.parametrize("coupling", [1e-3, 1e-6, 1e-9, 1e-12, 1e-14])
def test_nearly_decoupled_blocks(coupling):
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    d = rng.standard_normal((6, 3)) + np.array([0.0, 3.0, -3.0])
    x = rng.standard_normal((6, 3, 3))
    weights = np.einsum("ab,nb,cb->nac", q, d, q) + coupling * (x + x.transpose(0, 2, 1))
    law = rmt.HessianLaw(0.5 * (weights + weights.transpose(0, 2, 1)), 3.0)
    left, right = law.edges()
    points = np.linspace(left - 0.1, right + 0.1, 300)
    exact = mixture(d.T, 3.0, points)
    np.testing.assert_allclose(law.cdf(points), exact, atol=2 * coupling + 1e-9)


@pytest.mark.parametrize("ratio", [0.4, 3.0])
def test_a_dead_neuron(ratio):
    d = np.array([1.0, -2.0, 0.5, 3.0])
    weights = np.zeros((4, 2, 2))
    weights[:, 0, 0] = d
    law = rmt.HessianLaw(weights, ratio)
    x = np.array([-3.0, -0.5, -1e-9, 0.0, 1e-9, 0.5, 4.0])
    np.testing.assert_allclose(law.cdf(x), mixture([d, 0 * d], ratio, x), atol=1e-6)
    assert law.atom_at_zero() == pytest.approx(0.5 + 0.5 * max(0.0, 1 - ratio))
    assert compare_spectrum(law, law.sample_matrix(200, 1)).distance < 0.02


def test_all_weights_zero():
    law = rmt.HessianLaw(np.zeros((3, 2, 2)), 2.0, shift=0.3)
    assert compare_spectrum(law, law.sample_matrix(20, 0)).distance == 0.0
    assert law.density(0.3) == 0.0


# -- next to zero ---------------------------------------------------------------------------------


def test_weights_of_many_decades():
    w = np.array([1e3, 1e-3])
    scalar = rmt.HessianLaw(w, 0.5)
    law = rmt.HessianLaw(w[:, None, None] * np.eye(2), 0.5)
    x = np.concatenate([np.geomspace(1e-9, 3e3, 200), -np.geomspace(1e-9, 3e3, 20)])
    np.testing.assert_allclose(law.cdf(x), scalar.cdf(x), atol=1e-9)
    np.testing.assert_allclose(law.density(x), scalar.density(x), rtol=1e-6, atol=1e-9)
    # A quarter of the mass lies at the small weight: 1/4 of all weights per dimension.
    exact = TwoAtoms(1e3, 1e-3, 0.5, 0.5)
    assert scalar.cdf(1.0) == pytest.approx(0.5 + 0.25, abs=1e-9)
    np.testing.assert_allclose(scalar.cdf([1e-7, 1e-2]), [0.5, 0.75], atol=1e-9)
    assert exact.atom_at_zero() == law.atom_at_zero() == 0.5


def test_what_rounding_hides_has_a_status():
    w = np.array([1.0, 1e-200])
    for weights in (w, w[:, None, None] * np.eye(2)):
        law = rmt.HessianLaw(weights, 0.5)
        assert law.cdf(1e-3) == pytest.approx(0.75, abs=1e-6)
        assert law.cdf(-1e-3) == 0.0
        with pytest.raises(rmt.NumericalFailure) as failure:
            law.cdf([1e-190, 1.0])
        assert failure.value.status is Status.UNRESOLVED
        np.testing.assert_array_equal(np.isnan(law.cdf([1e-190, 1.0], throw=False)), [True, False])


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_density_at_a_hard_edge(m, shift):
    for scale in (1.0, -2.0):
        law = rmt.HessianLaw(scale * np.eye(m)[None], 1.0, shift=shift)
        assert law.atom_at_zero() == 0.0
        assert law.density(shift) == np.inf
        with pytest.raises(ValueError, match="diverges"):
            law.stieltjes(shift)
        near = np.sign(scale) * 1e-6
        exact = 1.0 / (np.pi * np.sqrt(abs(scale) * 1e-6))
        assert law.density(shift + near) == pytest.approx(exact, rel=1e-3)
        assert law.density(shift - near) == 0.0


def test_where_the_density_diverges():
    # ratio P(D != 0) = 1 with zeros, both signs, a dead neuron, weights of rank one.
    assert rmt.HessianLaw([1.0, 2.0, 0.0, 0.0], 2.0).density(0.0) == np.inf
    assert rmt.HessianLaw([1.0, -1.0], 1.0).density(0.0) == np.inf
    assert rmt.HessianLaw([np.diag([1.0, 0.0])], 1.0).density(0.0) == np.inf
    rank_one = np.random.default_rng(0).standard_normal((7, 2))
    law = rmt.HessianLaw(rank_one[:, :, None] * rank_one[:, None, :], 2.0)
    assert law.density(0.0) == np.inf
    # Next to the critical ratio it does not.
    for ratio in (1.999, 2.001):
        law = rmt.HessianLaw([1.0, 2.0, 0.0, 0.0], ratio)
        assert law.density(0.0) == 0.0
    assert np.isfinite(rmt.HessianLaw([1.0, -1.0], 1.001).density(0.0))


# -- scale ----------------------------------------------------------------------------------------


def random_law(m, factor=1.0, ratio=2.0, hard=1.0, shift=0.0, seed=3):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((20, m, m))
    z = rng.standard_normal(20)
    return rmt.HessianLaw(factor * (x + x.transpose(0, 2, 1)), ratio, hard * z, shift=shift)


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("power", [-1000, -664, 531, 1010])
def test_huge_and_tiny_weights(m, power):
    plain, law = random_law(m), random_law(m, 2.0**power)
    left, right = plain.edges()
    assert law.edges() == pytest.approx((2.0**power * left, 2.0**power * right), rel=1e-12)
    x = np.linspace(left, right, 20)
    np.testing.assert_allclose(law.cdf(2.0**power * x), plain.cdf(x), atol=1e-10)
    density = law.density(2.0**power * x)
    np.testing.assert_allclose(density * 2.0**power, plain.density(x), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(law.quantiles(0.3) / 2.0**power, plain.quantiles(0.3), rtol=1e-9)
    assert law.hard_gap() == pytest.approx(2.0**power * plain.hard_gap(), rel=1e-9)
    assert [o.value / 2.0**power for o in law.outliers()] == pytest.approx(
        [o.value for o in plain.outliers()], rel=1e-9
    )
    assert law.moments(1) / 2.0**power == pytest.approx(plain.moments(1), rel=1e-9)
    assert law.atom_at_zero() == plain.atom_at_zero()


def test_ordinary_weights_are_not_scaled():
    for factor in (1e-50, 1.0, 1e50):
        law = random_law(2, factor)
        assert law._scaled.unit == law._scaled.left.unit == law._scaled.right.unit == 1.0


@pytest.mark.parametrize("m", [1, 2, 3])
def test_extreme_ratio(m):
    exact = MarchenkoPastur(1e10)
    law = rmt.HessianLaw(np.eye(m)[None], 1e10)
    assert law.edges() == pytest.approx(exact.edges(), rel=1e-12)
    assert law.status.ok
    x = np.linspace(*exact.edges(), 12)[1:-1]
    np.testing.assert_allclose(law.density(x), exact.density(x), rtol=1e-3)
    # Each of few samples is an eigenvalue of its own: (d / n) D |x|^2 / d.
    law = random_law(m, ratio=1e-10)
    values = np.linalg.eigvalsh(law.weights)
    left, right = law.edges()
    assert left == pytest.approx(1e10 * values.min(), rel=1e-4)
    assert right == pytest.approx(1e10 * values.max(), rel=1e-4)
    assert law.atom_at_zero() == pytest.approx(1.0 - 1e-10, abs=1e-15)


def test_ratio_beyond_all_digits():
    law = random_law(2, ratio=1e300)
    assert law.status is Status.UNRESOLVED
    with pytest.raises(rmt.NumericalFailure, match="UNRESOLVED"):
        law.hard_gap()
    assert law.edge_errors() == (np.inf, np.inf)


@pytest.mark.parametrize("m", [1, 2])
def test_far_from_the_spectrum(m):
    law = random_law(m)
    z = np.array([1e170, -1e300, 1e308j, 1e200 * (1 - 1j), -1e31])
    np.testing.assert_allclose(law.stieltjes(z), -1.0 / z, rtol=1e-12)
    np.testing.assert_array_equal(law.cdf([-1e300, 1e300]), [0.0, 1.0])
    assert law.density(1e300) == 0.0
    a = law.hard_matrix(-1e200)
    np.testing.assert_allclose(a, 1e200 * np.eye(m), rtol=1e-12, atol=10.0)


@pytest.mark.parametrize("m", [1, 2])
def test_extreme_hard_coordinates(m):
    for hard in (1e200, 1e7):
        law = random_law(m, hard=hard)
        assert law.edges() == random_law(m).edges()
        for call in (law.hard_gap, law.outliers, law.smallest_eigenvalue):
            with pytest.raises(rmt.NumericalFailure, match="UNRESOLVED"):
                call()
        assert law.outlier_status is Status.UNRESOLVED
        assert np.isnan(law.hard_gap(throw=False))
    law = random_law(m, hard=1e-200)
    assert law.hard_gap() == pytest.approx(-law.edges().left)
    assert law.outliers() == []


@pytest.mark.parametrize("factor", [1e200, 1e6])
def test_extreme_span(factor):
    z = np.random.default_rng(0).standard_normal((1, 200))
    law = rmt.HessianLaw(np.minimum(z[0] ** 2, 9.0), 4.0, span=rmt.Span(factor * z))
    assert law.outlier_status is Status.UNRESOLVED
    assert law.outliers(throw=False) == []
    with pytest.raises(rmt.NumericalFailure, match="UNRESOLVED"):
        law.smallest_eigenvalue()


@pytest.mark.parametrize("m", [1, 2])
def test_extreme_shift_and_support(m):
    law = random_law(m, shift=1e300)
    assert law.edges() == (1e300, 1e300)
    assert law.hard_gap() == pytest.approx(1e300)
    np.testing.assert_array_equal(law.moments(2), [1e300, np.inf])
    plain = random_law(m)
    law = rmt.HessianLaw(plain.weights, 2.0, plain.hard, support=[-1e200 * np.eye(m)])
    assert law.edges().left == pytest.approx(-5e199)
    assert law.edges().right == pytest.approx(plain.edges().right)
    assert law.hard_gap() == pytest.approx(5e199)
    np.testing.assert_array_equal(law.cdf([-1e199, 1e199]), [0.0, 1.0])


def test_moments_beyond_double_precision():
    assert rmt.HessianLaw([1e160], 2.0).moments(2)[0] == pytest.approx(1e160)
    assert rmt.HessianLaw([1e160], 2.0).moments(2)[1] == np.inf
    np.testing.assert_allclose(rmt.HessianLaw([1e-160], 2.0).moments(2)[:1], 1e-160)


# -- how thinly an edge is held -------------------------------------------------------------------


def test_tail_sensitivity():
    law = SpectralPhaseRetrieval(0.25).law()
    with_support = law.edges().left
    alone = rmt.HessianLaw(law.weights, 0.25, law.hard, law.probabilities, bounded_above=False)
    move = law.tail_sensitivity()
    assert move[0] == pytest.approx(alone.edges().left - with_support, abs=1e-12)
    assert move[1] == 0.0
    # Deeper into the tail of z the edge moves inwards.
    moves = [law.tail_sensitivity(mass)[0] for mass in (0.0, 1e-6, 1e-3, 1e-1)]
    assert np.all(np.diff(moves) > 0)
    z = law.hard[:, 0]
    keep = np.abs(z) < np.abs(z)[np.argsort(-np.abs(z))[1]]
    p = law.probabilities[keep]
    few = rmt.HessianLaw(law.weights[keep], 0.25, None, p / p.sum(), bounded_above=False)
    two = law.probabilities[~keep].sum() * 1.01
    assert law.tail_sensitivity(two)[0] == pytest.approx(few.edges().left - with_support)
    with pytest.raises(ValueError, match="mass must be at least 0 and below 1"):
        law.tail_sensitivity(1.0)
    plain = rmt.HessianLaw([1.0, -1.0], 2.0)
    assert plain.tail_sensitivity() == (0.0, 0.0)
    # Half of the law is left: weights +1, and -1 on the other side.
    expected = MarchenkoPastur(2.0).edges()[0] - plain.edges().left
    assert plain.tail_sensitivity(0.5) == pytest.approx((expected, -expected))


# -- every status arrives -------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 2])
def test_an_edge_that_did_not_converge(cut_short, m):
    good, law = random_law(m), random_law(m)
    with cut_short():
        law.edges()
    status = law.edges().status
    assert status in (Status.MAX_STEPS, Status.UNRESOLVED)
    assert law.edges().sides == (status, status)
    assert law.status is status
    # Bounds from outside: the bulk itself does not rest on them.
    assert law.edges().left <= good.edges().left
    assert law.edges().right >= good.edges().right
    x = np.linspace(*good.edges(), 9)[1:-1]
    np.testing.assert_allclose(law.cdf(x), good.cdf(x), atol=1e-12)
    for call in (law.hard_gap, law.outliers, law.smallest_eigenvalue):
        with pytest.raises(rmt.NumericalFailure) as failure:
            call()
        assert failure.value.status is status
    assert np.isnan(law.hard_gap(throw=False))
    assert np.isnan(law.smallest_eigenvalue(throw=False))
    assert law.outlier_status is status
    assert law.edge_errors() == (np.inf, np.inf)
    assert law.edge_sensitivity() == (np.inf, np.inf)
    result = compare_spectrum(law, good.sample_matrix(30, 0))
    assert result.status is status
    assert status.name in str(result)


@pytest.mark.parametrize("name", ["left_edge", "right_edge", "hard_gap", "smallest_eigenvalue"])
def test_one_replicate_failed(cut_short, name):
    laws = [random_law(1, seed=seed) for seed in range(4)]
    good = rmt.HessianLaw([1.0, -1.0], 2.0, [0.5, 1.0], replicates=laws)
    assert 0 < good.stderr(name) < np.inf
    assert good.status.ok
    laws = [random_law(1, seed=seed) for seed in range(4)]
    with cut_short():
        laws[2].edges()
    law = rmt.HessianLaw([1.0, -1.0], 2.0, [0.5, 1.0], replicates=laws)
    assert law.edges().status.ok
    assert law.status is Status.MAX_STEPS
    assert law.stderr(name) == np.inf
    assert law.edge_errors() == (np.inf, np.inf)


def test_statuses_of_a_comparison():
    law = rmt.HessianLaw([1.0, -1.0], 2.0, bounded_below=False)
    result = compare_spectrum(law, law.sample_matrix(20, 0))
    assert result.status is Status.UNBOUNDED_EDGE
    hidden = rmt.HessianLaw([1.0, 1e-200], 1.2)  # two fifths of the mass at 1e-200
    values = np.array([-1e-195, 1e-195, 0.5, 1.0])
    assert np.isnan(overlay.kolmogorov_distance(hidden, np.sort(values)))
    result = compare_spectrum(hidden, np.diag(values))
    assert result.status is Status.UNRESOLVED


def test_edges_are_pickled_with_their_statuses():
    import pickle

    made = rmt.Edges(-1.0, 2.0, (Status.SUCCESS, Status.MAX_STEPS), 1e-3)
    again = pickle.loads(pickle.dumps(made))
    assert (again, again.sides, again.residual) == (made, made.sides, 1e-3)
    assert again.status is Status.MAX_STEPS


def test_eigenvalues_alone_are_compared_like_their_matrix():
    law = rmt.HessianLaw([1.0, -1.0], 2.0)
    matrix = law.sample_matrix(100, 0)
    values = np.linalg.eigvalsh(matrix)
    ours, theirs = compare_spectrum(law, values[::-1]), compare_spectrum(law, matrix)
    assert ours.distance == theirs.distance
    assert np.array_equal(ours.eigenvalues, theirs.eigenvalues)
    assert np.all(np.diff(values) >= 0)  # those given are left as they are
    with pytest.raises(ValueError, match=r"^hessian must have finite entries, got 1 that"):
        compare_spectrum(law, [np.nan, 1.0])
