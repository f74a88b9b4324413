"""Laying a matrix over its law: dense, as an operator, with outliers, and bad input."""

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import rmt
from rmt.closed_forms import MarchenkoPastur, SpikedCovariance
from rmt.overlay import TRACY_WIDOM_MEAN, TRACY_WIDOM_STD, airy_scale, compare_spectrum


def random_weights(m, n=40, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, m, m))
    return x + x.transpose(0, 2, 1)


@pytest.mark.parametrize(("m", "ratio"), [(1, 3.0), (2, 0.4), (3, 1.5)])
def test_dense_and_operator_agree(m, ratio):
    law = rmt.HessianLaw(random_weights(m), ratio, shift=0.3)
    matrix = law.sample_matrix(600 // m, seed=0)
    dense = compare_spectrum(law, matrix)
    assert dense.distance < 0.01
    assert dense.size == 600
    np.testing.assert_array_equal(dense.smallest, dense.eigenvalues[:5])
    np.testing.assert_array_equal(dense.largest, dense.eigenvalues[-5:])
    materialised = compare_spectrum(law, aslinearoperator(matrix))
    assert materialised.distance == pytest.approx(dense.distance, abs=1e-9)
    lanczos = compare_spectrum(law, aslinearoperator(matrix), dense_limit=0, k_extreme=3)
    assert lanczos.distance is None
    assert lanczos.eigenvalues is None
    np.testing.assert_allclose(lanczos.smallest, dense.smallest[:3], rtol=1e-4)
    np.testing.assert_allclose(lanczos.largest, dense.largest[-3:], rtol=1e-4)
    assert "not computed" in str(lanczos)
    assert f"{dense.distance:.4f}" in str(dense)


def test_atom_counts_in_the_distance():
    law = rmt.HessianLaw([1.0], 0.25)
    matrix = law.sample_matrix(400, seed=0)
    assert compare_spectrum(law, matrix).distance < 0.01
    # A law with the wrong atom is far away.
    wrong = rmt.HessianLaw([1.0], 0.35)
    assert compare_spectrum(wrong, matrix).distance > 0.05


def test_outliers_come_first():
    law = SpikedCovariance(2.0, 3.0).law()
    result = compare_spectrum(law, law.sample_matrix(300, seed=0), k_extreme=2)
    (outlier,) = law.outliers()
    assert result.n_outliers == (0, 1)
    np.testing.assert_array_equal(result.expected_largest, [law.edges().right, outlier.value])
    np.testing.assert_array_equal(result.expected_smallest, [law.edges().left] * 2)
    assert result.largest[-1] == pytest.approx(outlier.value, rel=0.2)
    assert "outlier" in str(result)


def test_airy_scale_of_marchenko_pastur():
    """Left and right constants of Johnstone and of Soshnikov, at three ratios."""
    for ratio in (0.2, 3.0, 20.0):
        d = 1000
        n = ratio * d
        root_n, root_d = np.sqrt(n), np.sqrt(d)
        right = (root_n + root_d) / n * (1 / root_n + 1 / root_d) ** (1 / 3)
        left = abs(root_n - root_d) / n * abs(1 / root_d - 1 / root_n) ** (1 / 3)
        found = airy_scale(rmt.HessianLaw([1.0], ratio), d)
        assert found[1] == pytest.approx(right, rel=1e-3)
        if ratio > 1:
            assert found[0] == pytest.approx(left, rel=1e-3)
        else:  # the atom is the left edge
            assert np.isnan(found[0])


@pytest.mark.parametrize("m", [1, 2])
def test_airy_scale_against_the_curvature_of_z(m):
    """For m = 1 the density near the edge follows from F''(B); copies of it for m = 2."""
    d = np.random.default_rng(0).standard_normal(50)
    law = rmt.HessianLaw(d[:, None, None] * np.eye(m), 2.0)
    b = float(law._scaled.left.branch.edge.b[0, 0])
    curvature = 2 * np.mean(d**2 / (b + d) ** 3)  # |F''| of F = b (E[d / (b + d)] - 1 / ratio)
    coefficient = 2.0 / b**2 * np.sqrt(2.0 / curvature)
    exact = (1000 * coefficient) ** (-2 / 3)
    assert airy_scale(law, 1000)[0] == pytest.approx(exact, rel=1e-3)


@pytest.mark.slow
def test_tracy_widom_on_marchenko_pastur():
    """Mean and spread of the largest eigenvalue over 200 draws."""
    exact = MarchenkoPastur(3.0)
    law = exact.law()
    scale = airy_scale(law, 150)[1]
    values = [np.linalg.eigvalsh(law.sample_matrix(150, seed=s))[-1] for s in range(200)]
    reduced = (np.array(values) - law.edges().right) / scale
    # The correction of order d^(-1/3) is below one tenth here.
    assert reduced.mean() == pytest.approx(TRACY_WIDOM_MEAN, abs=3 * TRACY_WIDOM_STD / 200**0.5)
    assert reduced.std() == pytest.approx(TRACY_WIDOM_STD, rel=0.2)


def test_no_scale_without_a_square_root():
    assert np.isnan(airy_scale(rmt.HessianLaw([1.0], 1.0), 100)[0])  # hard edge at zero
    assert np.isnan(airy_scale(rmt.HessianLaw([0.0], 1.0), 100)).all()
    unbounded = rmt.HessianLaw([1.0, -1.0], 2.0, bounded_below=False, bounded_above=False)
    assert np.isnan(airy_scale(unbounded, 100)).all()


LAW = rmt.HessianLaw(random_weights(2), 2.0)
ODD = np.eye(6) + np.eye(6, k=1)


@pytest.mark.parametrize(
    ("hessian", "options", "message"),
    [
        (np.zeros((4, 6)), {}, "hessian must be square"),
        (np.zeros(3), {}, "m = 2"),
        (np.zeros((0, 0)), {}, "m = 2"),
        (np.eye(5), {}, "m = 2"),
        (ODD, {}, "symmetric"),
        (aslinearoperator(ODD), {}, "symmetric"),
        (np.full((4, 4), np.nan), {}, "4, 4|16 entries"),
        (aslinearoperator(np.full((4, 4), np.inf)), {}, "finite"),
        (1j * np.eye(4), {}, "real"),
        (aslinearoperator(1j * np.eye(4)), {}, "real"),
        ([[1.0], [1.0, 2.0]], {}, "rectangular"),
        (LinearOperator((4, 6), matvec=lambda v: v, dtype=float), {}, "square"),
        (np.eye(4), {"k_extreme": 0}, "k_extreme"),
        (np.eye(4), {"k_extreme": True}, "k_extreme"),
        (np.eye(4), {"dense_limit": -1}, "dense_limit"),
        (np.eye(4), {"tolerance": 0.0}, "tolerance"),
    ],
)
def test_bad_input(hessian, options, message):
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=message):
        compare_spectrum(LAW, hessian, **options)
