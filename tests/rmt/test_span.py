"""Outliers in the directions of a span: exact cases, algebra, statuses, bad input."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import rmt
from rmt import _packing


def planted(seed, n, m, k, strength=2.0):
    """Weights that depend on k coordinates."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, k))
    frame = rng.standard_normal((k, m, m)) / np.sqrt(m)
    frame = frame + frame.transpose(0, 2, 1)
    noise = rng.standard_normal((n, m, m)) * 0.2
    weights = np.einsum("nk,kab->nab", np.tanh(strength * (z**2 - 1)), frame)
    return weights + noise + noise.transpose(0, 2, 1), z


def assert_same(found, expected, tolerance=1e-8):
    assert [o.side for o in found] == [o.side for o in expected]
    for a, b in zip(found, expected, strict=True):
        assert a.value == pytest.approx(b.value, abs=tolerance)
        assert a.span_overlap == pytest.approx(b.span_overlap, abs=10 * tolerance)
        np.testing.assert_allclose(a.latent_overlap, b.latent_overlap, atol=10 * tolerance)


# ------------------------------------------------------------------ without gradients


@pytest.mark.parametrize(("m", "k", "ratio"), [(1, 1, 4.0), (1, 2, 6.0), (2, 2, 8.0), (3, 1, 12.0)])
def test_coordinates_alone_are_treated_like_hard_ones(m, k, ratio):
    """Two implementations of the same formula: blocks of packed products, and Gram matrices."""
    weights, z = planted(m + 10 * k, 3000, m, k)
    expected = rmt.HessianLaw(weights, ratio, hard=z, shift=0.3).outliers()
    assert len(expected) >= 1
    law = rmt.HessianLaw(weights, ratio, shift=0.3, span=rmt.Span(z.T, latent=k))
    found = law.outliers()
    assert_same(found, expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.abs(a.vector), np.abs(b.vector), atol=1e-6)
        assert a.hard_overlap == 0.0
        assert b.hard_overlap == b.span_overlap
    assert law.smallest_eigenvalue() == min(law.edges().left, found[0].value)


@pytest.mark.parametrize("spike", [1.0, -0.8])
def test_spiked_covariance(spike):
    ratio = 4.0
    scale = np.sqrt(1.0 + spike)
    span = rmt.Span([[-scale, scale]], latent=1, neurons=[[2.0]])
    (outlier,) = rmt.HessianLaw([1.0, 1.0], ratio, span=span).outliers()
    assert outlier.side == ("right" if spike > 0 else "left")
    value = (1.0 + spike) * (1.0 + 1.0 / (ratio * spike))
    overlap = (1.0 - 1.0 / (ratio * spike**2)) / (1.0 + 1.0 / (ratio * spike))
    assert outlier.value == pytest.approx(value, rel=1e-10)
    assert outlier.latent_overlap == pytest.approx([overlap], rel=1e-9)
    assert outlier.neuron_overlap == pytest.approx(np.array([[overlap]]), rel=1e-9)


def test_spike_below_threshold_has_no_outlier():
    span = rmt.Span([[-np.sqrt(1.4), np.sqrt(1.4)]])
    assert rmt.HessianLaw([1.0, 1.0], 4.0, span=span).outliers() == []


def test_blocks_zero_masses_and_basis_change_nothing():
    weights, z = planted(3, 2000, 2, 2)
    basis = np.vstack([np.ones(2000), z.T])
    coordinates = np.eye(3)[1:]
    plain = rmt.HessianLaw(weights, 8.0, span=rmt.Span(z.T, latent=2)).outliers()
    assert plain
    blocks = [basis[:, :700], basis[:, 700:]]
    assert_same(
        rmt.HessianLaw(weights, 8.0, span=rmt.Span(blocks, coordinates, latent=2)).outliers(),
        plain,
    )
    mixing = np.array([[1.0, 0.3, -0.2], [0.0, 2.0, 0.5], [0.1, 0.0, -1.0]])
    mixed = rmt.Span(mixing @ basis, coordinates @ np.linalg.inv(mixing), latent=2)
    assert_same(rmt.HessianLaw(weights, 8.0, span=mixed).outliers(), plain)
    padded = np.concatenate([weights[:5] * 9.0, weights])
    mass = np.r_[np.zeros(5), np.full(2000, 1 / 2000)]
    span = rmt.Span(np.concatenate([z[:5], z]).T, latent=2)
    law = rmt.HessianLaw(padded, 8.0, probabilities=mass, span=span)
    assert_same(law.outliers(), plain)


def test_rotated_hard_directions():
    """Hard directions oblique to the coordinates are projected out exactly."""
    weights, z = planted(15, 4000, 1, 2)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    hard = np.zeros((3, 1))
    hard[:2, 0] = turn[:, 1]
    rng = np.random.default_rng(0)
    coordinates = np.vstack([turn @ z.T, rng.standard_normal(4000)])
    law = rmt.HessianLaw(
        weights, 6.0, hard=z[:, 1:], span=rmt.Span(coordinates, latent=2, hard=hard)
    )
    by_hand = rmt.Span(np.vstack([z[:, 0], coordinates[2]]))
    alone = rmt.HessianLaw(weights, 6.0, hard=z[:, 1:]).outliers()
    rest = rmt.HessianLaw(weights, 6.0, span=by_hand).outliers()
    found = law.outliers()
    assert alone
    assert rest
    assert [o.value for o in found] == pytest.approx(sorted(o.value for o in alone + rest))
    assert_same(law.outliers("hard"), alone)
    for outlier in found:
        direction = outlier.vector[0, :2] @ turn
        if outlier.hard_overlap > 0:
            assert outlier.hard_overlap == outlier.span_overlap
            assert abs(direction[0]) < 1e-15
            np.testing.assert_allclose(
                outlier.latent_overlap, outlier.hard_overlap * turn[:, 1] ** 2
            )
        else:
            assert abs(direction[1]) < 1e-15


# ------------------------------------------------------------------ with gradients


def dependent(seed=0, n=4000, m=2):
    """Weights, basis, coordinates and gradients as an algorithm would leave them."""
    rng = np.random.default_rng(seed)
    w = np.linalg.qr(rng.standard_normal((n, 6)))[0].T * np.sqrt(n)
    gradients = np.array([[0.0, 0.8, 0.3, 0.2, 0.0, 0.0], [0.5, 0.0, -0.4, 0.3, 0.6, 0.0]])
    coordinates = np.array(
        [[0, 1.0, 0, 0, 0, 0], [0, -0.4, -0.1, 0.9, 0.1, 0], [0.3, 0, 0.2, 0, -0.3, 1.0]]
    )
    q, g = coordinates @ w, gradients @ w
    frame = rng.standard_normal((3, m, m))
    frame = frame + frame.transpose(0, 2, 1)
    features = np.stack(
        [
            np.tanh(q[0] ** 2 + q[0] * g[0] - 1.0),
            np.tanh(2.0 * q[1] ** 2 - 2.0),
            1.0 / (1.0 + g[1] ** 2),
        ]
    )
    weights = np.einsum("fn,fab->nab", features, frame)
    return weights, w, coordinates, gradients


def naive_matrix(weights, w, coordinates, gradients, b, z):
    """A(z) by plain sums over samples."""
    m, n = weights.shape[1], len(weights)
    q, g = (coordinates @ w).T, (gradients @ w).T
    y = np.linalg.inv(b + weights)
    dyd = weights - weights @ y @ weights
    big = np.einsum("nab,ni,nj->aibj", dyd, q, q) / n
    u = np.einsum("nab,ni,nj->aibj", weights @ y, q, g) / n
    ww = np.einsum("nab,ni,nj->aibj", y, g, g) / n
    k, r = q.shape[1], g.shape[1]
    big, u, ww = big.reshape(m * k, -1), u.reshape(m * k, -1), ww.reshape(m * r, -1)
    return big + u @ np.linalg.solve(ww, u.T) - z * np.eye(m * k)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_outliers_are_zeros_of_the_matrix_by_plain_sums(m):
    weights, w, coordinates, gradients = dependent(m=m)
    law = rmt.HessianLaw(weights, 10.0, span=rmt.Span(w, coordinates, gradients))
    outliers = law.outliers()
    assert len(outliers) >= 1
    for outlier in outliers:
        matrices = []
        step = 1e-5 * (1 + abs(outlier.value))
        for z in (outlier.value - step, outlier.value, outlier.value + step):
            b = np.linalg.inv(law.matrix_stieltjes(z).real)
            matrices.append(naive_matrix(weights, w, coordinates, gradients, b, z))
        u = outlier.vector.ravel()
        assert np.linalg.norm(u) == pytest.approx(1.0)
        np.testing.assert_allclose(matrices[1] @ u, 0.0, atol=1e-7)
        slope = u @ (matrices[2] - matrices[0]) @ u / (2 * step)
        assert outlier.span_overlap == pytest.approx(-1.0 / slope, rel=1e-3)


def test_eigenvalues_of_the_matrix_decrease():
    weights, w, coordinates, gradients = dependent(m=2)
    law = rmt.HessianLaw(weights, 6.0)
    left = law.edges().left
    levels = []
    for z in left - np.geomspace(1e-3, 10.0, 12):
        b = np.linalg.inv(law.matrix_stieltjes(z).real)
        levels.append(np.linalg.eigvalsh(naive_matrix(weights, w, coordinates, gradients, b, z)))
    assert np.all(np.diff(levels, axis=0) > 0)


def test_a_direction_the_weights_do_not_feel_changes_nothing():
    """A gradient and the coordinate it opens, q = zeta - ghat / sqrt(delta), of weight zero."""
    ratio = 5.0
    weights, z = planted(4, 50_000, 2, 1)
    rng = np.random.default_rng(1)
    fresh = rng.standard_normal((2, 50_000))
    basis = np.linalg.qr(np.vstack([np.ones(50_000), z.T, fresh]).T)[0].T * np.sqrt(50_000)
    coordinate = basis @ z[:, 0] / 50_000
    gradient = np.array([0.3, 0.5, np.sqrt(1 - 0.34), 0.0])
    opened = np.array([0.0, 0.0, 0.0, 1.0]) - gradient / np.sqrt(ratio)
    less = rmt.HessianLaw(weights, ratio, span=rmt.Span(basis, [coordinate], latent=1))
    more = rmt.HessianLaw(
        weights, ratio, span=rmt.Span(basis, [coordinate, opened], [gradient], latent=1)
    )
    assert len(less.outliers()) >= 1
    for a, b in zip(more.outliers(), less.outliers(), strict=True):
        assert a.value == pytest.approx(b.value, abs=2e-3)
        assert a.latent_overlap == pytest.approx(b.latent_overlap, abs=1e-2)


def test_hard_block_does_not_touch_the_span():
    def never():
        raise AssertionError("the span was asked for")

    weights, z = planted(11, 2000, 1, 1)
    law = rmt.HessianLaw(weights, 4.0, hard=z, span=never)
    law.edges(), law.hard_gap(), law.stieltjes(1j)
    assert law.outliers("hard")
    with pytest.raises(AssertionError, match="asked for"):
        law.outliers()


def test_groups_split_the_span():
    weights, z = planted(11, 4000, 1, 1)
    spans = rmt.Span(z.T, latent=1)
    law = rmt.HessianLaw(weights, 4.0, span=spans, groups=4)
    hard = rmt.HessianLaw(weights, 4.0, hard=z, groups=4)
    errors = law.outlier_stderr()
    assert np.all(errors > 0)
    np.testing.assert_allclose(errors, hard.outlier_stderr(), rtol=1e-6)


# ------------------------------------------------------------------ reliability


def test_missing_directions_are_a_status_and_leave_the_hard_outliers():
    weights, z = planted(12, 2000, 1, 2)
    span = rmt.Span(z.T, latent=2, hard=[[0.0], [1.0]], defect=1e-2)
    law = rmt.HessianLaw(weights, 6.0, hard=z[:, 1:], span=span)
    assert law.outliers("hard")
    assert law.outlier_status is rmt.Status.ILL_CONDITIONED
    with pytest.raises(rmt.NumericalFailure, match=r"ILL_CONDITIONED.*weight up to 1\.0e-02"):
        law.outliers()
    assert [o.value for o in law.outliers(throw=False)] == [o.value for o in law.outliers("hard")]


def test_linearly_dependent_gradients_are_a_status():
    weights, w, coordinates, gradients = dependent()
    span = rmt.Span(w, coordinates, np.vstack([gradients, gradients.sum(axis=0)]))
    law = rmt.HessianLaw(weights, 6.0, span=span)
    with pytest.raises(rmt.NumericalFailure, match="ghat"):
        law.outliers()
    assert law.outliers(throw=False) == []


# ------------------------------------------------------------------ bad input

GOOD = {"basis": np.ones((2, 5)) * np.arange(5), "coordinates": np.eye(2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"basis": np.ones(5)}, r"basis must have shape \(rows, N\)"),
        ({"basis": np.ones((0, 5))}, r"basis must have shape \(rows, N\)"),
        ({"basis": np.full((2, 5), np.nan)}, "basis must be finite"),
        ({"basis": np.ones((2, 5)) * 1j}, "basis must be a rectangular array of real numbers"),
        ({"basis": [np.ones((2, 5)), np.ones((3, 5))]}, r"basis must have shape \(rows, N\)"),
        ({"coordinates": np.eye(3)}, r"coordinates must have shape \(\*, 2\), got \(3, 3\)"),
        ({"coordinates": np.empty((0, 2))}, "coordinates must hold at least one row"),
        ({"coordinates": [[np.inf, 0.0]]}, "coordinates must have finite entries"),
        ({"coordinates": "text"}, "coordinates must be a rectangular array"),
        ({"gradients": np.ones((1, 3))}, r"gradients must have shape \(\*, 2\)"),
        ({"latent": 3}, "latent must be from 0 to 2, the coordinates, got 3"),
        ({"latent": 1.5}, "latent must be an integer, got 1.5"),
        ({"neurons": np.ones((1, 3))}, r"neurons must have shape \(\*, 2\)"),
        ({"hard": np.ones((3, 1))}, r"hard must have shape \(2, \*\)"),
        ({"hard": np.ones((2, 1))}, "hard must have orthonormal columns"),
        ({"defect": -1.0}, "defect must be a finite number >= 0, got -1.0"),
        ({"defect": "x"}, "defect must be a finite number >= 0"),
    ],
)
def test_bad_spans(change, message):
    with pytest.raises(ValueError, match=message):
        rmt.Span(**(GOOD | change))


def test_bad_combinations_of_law_and_span():
    span = rmt.Span(**GOOD)
    with pytest.raises(ValueError, match="span must hold one column per weight, 4, got 5"):
        rmt.HessianLaw(np.ones(4), 2.0, span=span)
    with pytest.raises(ValueError, match="span must be a Span or a callable, got list"):
        rmt.HessianLaw(np.ones(5), 2.0, span=[1])
    with pytest.raises(ValueError, match="one row of neurons per neuron, 1, got 2"):
        rmt.HessianLaw(np.ones(5), 2.0, span=rmt.Span(**GOOD, neurons=np.eye(2)))
    with pytest.raises(ValueError, match="as many hard directions as the law, 1, got 0"):
        rmt.HessianLaw(np.ones(5), 2.0, hard=np.ones(5), span=span)
    with pytest.raises(ValueError, match="span must return a Span, got int"):
        rmt.HessianLaw(np.ones(5), 2.0, span=partial(int, 3)).outliers()
    law = rmt.HessianLaw(np.ones(5), 2.0, span=span)
    with pytest.raises(ValueError, match="directions must be 'all' or 'hard', got 'soft'"):
        law.outliers("soft")
    with pytest.raises(ValueError, match="hard must be given"):
        law.outliers("hard")
    with pytest.raises(ValueError, match="at least 2 laws for outlier_stderr, got 0"):
        law.outlier_stderr()
    with pytest.raises(ValueError, match="span must be given"):
        rmt.HessianLaw(np.ones(5), 2.0, hard=np.ones(5)).outliers("all")


@pytest.mark.parametrize("m", [1, 2, 4])
def test_resolvents(m):
    """The kernel behind the Gram matrices, against numpy's inverse."""
    rng = np.random.default_rng(m)
    weights = rng.standard_normal((70, m, m))
    weights = weights + weights.transpose(0, 2, 1)
    x = np.diag(rng.random(m)) + 0.1
    atoms = _packing.Atoms.build(weights, np.full(70, 1 / 70), None, 2.0)
    b = (1.0 - np.linalg.eigvalsh(weights).min()) * np.eye(m)
    y, sandwich = (_packing.unpack(part.T)[:70] for part in atoms.resolvents(b, x))
    expected = np.linalg.inv(b + weights)
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(sandwich, expected @ x @ expected, rtol=1e-9, atol=1e-12)
