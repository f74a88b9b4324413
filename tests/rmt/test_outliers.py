"""Hard directions: the gap, outliers and overlaps."""

import numpy as np
import pytest

import rmt


def planted(seed, n, m, k, strength=2.0):
    """Weights that depend on hard coordinates through even functions."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, k))
    frame = rng.standard_normal((k, m, m)) / np.sqrt(m)
    frame = frame + frame.transpose(0, 2, 1)
    noise = rng.standard_normal((n, m, m)) * 0.2
    weights = np.einsum("nk,kab->nab", np.tanh(strength * (z**2 - 1)), frame)
    return weights + noise + noise.transpose(0, 2, 1), z


@pytest.mark.slow
@pytest.mark.parametrize(
    ("m", "k", "ratio"), [(1, 1, 4.0), (1, 2, 6.0), (2, 1, 6.0), (2, 2, 8.0), (3, 1, 12.0)]
)
def test_against_simulation(m, k, ratio):
    """Value and overlap of every isolated outlier, over six matrices of size ~ 600."""
    weights, z = planted(m + 10 * k, 4000, m, k)
    law = rmt.HessianLaw(weights, ratio, hard=z)
    outliers = law.outliers()
    assert outliers, "the case should have an outlier"
    left, right = law.edges()
    d = 600 // m
    hard_rows = np.concatenate([a * d + np.arange(k) for a in range(m)])
    found = []
    for seed in range(6):
        values, vectors = np.linalg.eigh(law.sample_matrix(d, seed))
        overlaps = (vectors[hard_rows] ** 2).sum(axis=0)
        found.append((values, overlaps))
    for side in ("left", "right"):
        here = [o for o in outliers if o.side == side]
        for rank, outlier in enumerate(here if side == "left" else here[::-1]):
            index = rank if side == "left" else -1 - rank
            neighbours = [abs(outlier.value - o.value) for o in outliers if o is not outlier]
            isolation = min([abs(outlier.value - (left if side == "left" else right)), *neighbours])
            if isolation < 0.1 * (right - left):
                continue
            values = np.array([v[index] for v, _ in found])
            overlaps = np.array([o[index] for _, o in found])
            for sampled, exact, slack in (
                (values, outlier.value, 0.01 * (right - left)),
                (overlaps, outlier.hard_overlap, 0.02),
            ):
                error = sampled.std(ddof=1) / np.sqrt(len(sampled))
                assert abs(sampled.mean() - exact) < 4 * error + slack


@pytest.mark.parametrize("m", [1, 2])
def test_outliers_are_zeros_of_the_hard_matrix(m):
    weights, z = planted(3, 500, m, 2)
    law = rmt.HessianLaw(weights, 6.0, hard=z, shift=0.3)
    outliers = law.outliers()
    assert [o.value for o in outliers] == sorted(o.value for o in outliers)
    for outlier in outliers:
        assert outlier.vector.shape == (m, 2)
        assert np.linalg.norm(outlier.vector) == pytest.approx(1.0)
        a = law.hard_matrix(outlier.value)
        u = outlier.vector.ravel()
        np.testing.assert_allclose(a @ u, 0.0, atol=1e-8)
        # The overlap, by a central difference of A_h.
        h = 1e-5
        slope = u @ (law.hard_matrix(outlier.value + h) - law.hard_matrix(outlier.value - h)) @ u
        assert outlier.hard_overlap == pytest.approx(-2 * h / slope, rel=1e-5)
    negative = np.linalg.eigvalsh(law.hard_matrix(law.edges().left)) < 0
    assert negative.sum() == sum(o.side == "left" for o in outliers)


def test_hard_matrix_definition():
    """A_h(z) = E[(I + D c)^{-1} D (x) z z^T] - z I with c from the complex solver."""
    weights, z = planted(4, 200, 2, 2)
    law = rmt.HessianLaw(weights, 3.0, hard=z)
    for point in (law.edges().left - 0.5, law.edges().right + 0.5):
        c = law.matrix_stieltjes(point)
        assert np.abs(c.imag).max() < 1e-10
        mean = np.linalg.solve(np.eye(2) + weights @ c.real, weights)
        expected = np.einsum("nab,nj,nl->ajbl", mean, z, z).reshape(4, 4) / 200
        np.testing.assert_allclose(law.hard_matrix(point), expected - point * np.eye(4), atol=1e-9)


def test_shift_moves_everything_but_the_sign_of_the_gap():
    weights, z = planted(5, 400, 1, 1)
    plain = rmt.HessianLaw(weights, 4.0, hard=z)
    shifted = rmt.HessianLaw(weights, 4.0, hard=z, shift=0.05)
    for a, b in zip(plain.outliers(), shifted.outliers(), strict=True):
        assert b.value == pytest.approx(a.value + 0.05)
        assert b.hard_overlap == pytest.approx(a.hard_overlap)
    if plain.edges().left < -0.05:  # then z0 is the edge, in both
        assert plain.hard_gap() == pytest.approx(shifted.hard_gap(), rel=1e-12)


def test_gap_where_the_left_edge_is_positive():
    """With D > 0 and many samples the gap is read at z0 = 0, and at -shift with a shift."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((300, 1))
    law = rmt.HessianLaw(1.0 + 0.5 * z[:, 0] ** 2, 10.0, hard=z)
    assert law.edges().left > 0
    assert law.hard_gap() == pytest.approx(float(law.hard_matrix(0.0)[0, 0]), rel=1e-12)
    shifted = rmt.HessianLaw(1.0 + 0.5 * z[:, 0] ** 2, 10.0, hard=z, shift=0.2)
    assert shifted.hard_gap() == pytest.approx(float(shifted.hard_matrix(0.0)[0, 0]), rel=1e-12)
    assert shifted.hard_gap() == pytest.approx(float(law.hard_matrix(-0.2)[0, 0]), rel=1e-12)


@pytest.mark.parametrize("m", [1, 2])
def test_no_negative_outlier_of_a_positive_matrix(m):
    """D >= 0 and few samples: c has a pole at 0, and the gap is exactly or barely not negative."""
    rng = np.random.default_rng(m)
    v = rng.standard_normal((200, m))
    law = rmt.HessianLaw(v[:, :, None] * v[:, None, :], 0.5, hard=rng.standard_normal((200, 1)))
    assert law.hard_gap() >= 0
    assert [o for o in law.outliers() if o.side == "left"] == []


@pytest.mark.slow
def test_gap_is_continuous_and_changes_sign_with_the_outlier():
    rng = np.random.default_rng(6)
    z = rng.standard_normal((2000, 1))
    noise = rng.standard_normal((2000, 2, 2)) * 0.1
    frame = np.array([[1.0, 0.3], [0.3, 0.5]])
    weights = (1 / (z**2 + 0.3) - 1)[:, :, None] * frame + noise + noise.transpose(0, 2, 1)
    gaps, exists = [], []
    ratios = np.geomspace(0.2, 10.0, 60)
    for ratio in ratios:
        law = rmt.HessianLaw(weights, ratio, hard=z)
        gaps.append(law.hard_gap())
        exists.append(any(o.side == "left" for o in law.outliers()))
    gaps = np.array(gaps)
    assert gaps[0] > 0 > gaps[-1]
    np.testing.assert_array_equal(gaps < 0, exists)
    assert np.abs(np.diff(gaps)).max() < 0.25 * np.ptp(gaps)


def test_unbounded_below():
    weights, z = planted(7, 300, 1, 1)
    law = rmt.HessianLaw(weights, 4.0, hard=z, bounded_below=False)
    edges = law.edges()
    assert edges.left == -np.inf
    assert edges.status is rmt.Status.UNBOUNDED_EDGE is law.status
    assert law.hard_gap() == np.inf
    assert law.smallest_eigenvalue() == -np.inf
    assert all(o.side == "right" for o in law.outliers())
    reference = rmt.HessianLaw(weights, 4.0)
    x = np.linspace(*reference.edges(), 9)[1:-1]
    np.testing.assert_allclose(law.density(x), reference.density(x), atol=1e-10)


def test_smallest_eigenvalue():
    weights, z = planted(8, 1000, 1, 1)
    law = rmt.HessianLaw(weights, 6.0, hard=z)
    assert law.smallest_eigenvalue() == min([law.edges().left, *[o.value for o in law.outliers()]])
    assert rmt.HessianLaw(weights, 6.0).smallest_eigenvalue() == law.edges().left


def test_no_hard_columns():
    law = rmt.HessianLaw([1.0, -1.0], 2.0, hard=np.empty((2, 0)))
    assert law.k_hard == 0
    assert law.hard_gap() == np.inf
    assert law.outliers() == []


def spectral_method(seed, ratio):
    """D = 1/y - 1, y = z^2: left edge -1/ratio; an outlier exists for ratio > 1/2 only."""
    z = np.random.default_rng(seed).standard_normal((2000, 1))
    return rmt.HessianLaw(
        1 / z[:, 0] ** 2 - 1, ratio, hard=z, support=[-1.0], bounded_above=False, groups=8
    )


def test_outliers_that_are_noise_are_not_told_from_the_edge():
    """At the transition every other sample shows one; the limit has none."""
    found = [o for seed in range(12) for o in spectral_method(seed, 0.5).outliers()]
    assert len(found) >= 4
    assert not any(o.separated for o in found)
    for seed in range(4):
        (outlier,) = spectral_method(seed, 3.0).outliers()
        assert outlier.separated


def test_separation_is_the_distance_from_the_edge_beyond_both_errors():
    weights, z = planted(3, 3000, 2, 2)
    law = rmt.HessianLaw(weights, 8.0, hard=z, groups=8)
    left, right = law.edges()
    outliers, errors = law.outliers(), law.outlier_stderr()
    assert [o.side for o in outliers] == ["left", "left", "right"]
    assert [o.separated for o in outliers] == [True, False, False]
    of_left, of_right = law.edge_errors()
    assert left - outliers[0].value > errors[0] + of_left
    assert np.isnan(errors[1])  # missing in a replicate
    assert outliers[2].value - right < errors[2] + of_right
    plain = rmt.HessianLaw(weights, 8.0, hard=z).outliers()
    assert [o.value for o in plain] == [o.value for o in outliers]
    assert all(o.separated for o in plain)  # nothing is known of their errors


def test_one_weight_has_no_extreme_one_to_leave_out():
    one = rmt.HessianLaw([1.0], 4.0, hard=[[3.0]])
    law = rmt.HessianLaw([1.0], 4.0, hard=[[3.0]], replicates=[one, one])
    assert law.edge_errors() == (0.0, 0.0)
    assert [o.separated for o in law.outliers()] == [True]
