"""The general solver against laws with exact answers, and those against mpmath."""

import mpmath
import numpy as np
import pytest

import rmt
from rmt.closed_forms import (
    MarchenkoPastur,
    SpectralPhaseRetrieval,
    SpikedCovariance,
    TwoAtoms,
)

BULKS = [
    MarchenkoPastur(4.0),
    MarchenkoPastur(1.0, 2.0),
    MarchenkoPastur(0.3),
    MarchenkoPastur(50.0),
    TwoAtoms(1.0, -1.0, 0.5, 3.0),
    TwoAtoms(2.0, -0.3, 0.2, 0.7),
    TwoAtoms(1.0, 8.0, 0.7, 15.0),
    TwoAtoms(-1.0, -3.0, 0.4, 0.5),
]


def identify(entry):
    return repr(entry)


@pytest.mark.parametrize("exact", BULKS, ids=identify)
def test_bulk(exact):
    law = exact.law()
    left, right = law.edges()
    assert law.status.ok
    np.testing.assert_allclose([left, right], exact.edges(), rtol=0, atol=1e-12 * (right - left))
    assert law.atom_at_zero() == pytest.approx(exact.atom_at_zero(), abs=1e-15)
    x = np.linspace(left, right, 203)[1:-1] + 1e-7
    np.testing.assert_allclose(law.density(x), exact.density(x), atol=1e-8)
    for height in (1e-6, 0.01, 1.0, 100.0):
        z = x + 1j * height * (right - left)
        np.testing.assert_allclose(law.stieltjes(z), exact.stieltjes(z), rtol=1e-8, atol=1e-10)
    outside = np.array([left - 0.1, left - 10.0, right + 0.1, right + 1e4])
    np.testing.assert_allclose(law.stieltjes(outside), exact.stieltjes(outside), rtol=1e-9)


@pytest.mark.parametrize("exact", BULKS, ids=identify)
def test_catalogue_satisfies_its_equation_in_mpmath(exact):
    """The Stieltjes transform from the catalogue solves the equation of c, seen with 30 digits."""
    law = exact.law()
    with mpmath.workdps(30):
        for z in (0.3 + 0.4j, -1.0 + 0.01j, 2.0 + 3.0j):
            guess = complex(exact.stieltjes(z)) / exact.ratio

            def equation(c, z=z):
                mean = mpmath.mpf(0)
                for d, p in zip(law.weights[:, 0, 0], law.probabilities, strict=True):
                    mean += p * d / (1 + d * c)
                return mean - 1 / (exact.ratio * c) - z

            root = mpmath.findroot(equation, mpmath.mpc(guess))
            assert abs(complex(root) - guess) < 1e-11 * abs(guess)
            assert root.imag > 0


def test_two_atoms_edges_in_mpmath():
    exact = TwoAtoms(2.0, -0.3, 0.2, 0.7)
    left, _ = exact.edges()

    def slope(c):
        return (
            1 / (exact.ratio * c**2)
            - exact.p1 * (exact.d1 / (1 + c * exact.d1)) ** 2
            - (1 - exact.p1) * (exact.d2 / (1 + c * exact.d2)) ** 2
        )

    with mpmath.workdps(30):
        b = rmt.HessianLaw([2.0, -0.3], 0.7, probabilities=[0.2, 0.8])._scaled.left.branch.edge.b[
            0, 0
        ]
        c = mpmath.findroot(slope, 1 / mpmath.mpf(b))
        z = exact.p1 * exact.d1 / (1 + c * exact.d1)
        z += (1 - exact.p1) * exact.d2 / (1 + c * exact.d2) - 1 / (exact.ratio * c)
        assert abs(float(z) - left) < 1e-13
        assert abs(float(1 / c) - b) < 1e-12  # B itself, to which A_h is sensitive at first order


@pytest.mark.parametrize("ratio", [0.5, 1.5, 4.0])
@pytest.mark.parametrize("spike", [-0.6, 0.3, 1.0, 3.0])
def test_spiked_covariance(ratio, spike):
    exact = SpikedCovariance(ratio, spike)
    outliers = [o for o in exact.law().outliers() if o.side == "right"]
    expected = exact.outlier()
    if expected is None:
        assert outliers == []
    else:
        assert len(outliers) == 1
        assert outliers[0].value == pytest.approx(expected[0], rel=1e-10)
        assert outliers[0].hard_overlap == pytest.approx(expected[1], rel=1e-8)
        np.testing.assert_allclose(np.abs(outliers[0].vector), [[1.0]])


def test_spiked_covariance_threshold_is_sharp():
    ratio = 4.0
    threshold = SpikedCovariance(ratio, 1.0).threshold
    above = SpikedCovariance(ratio, threshold * (1 + 1e-3)).law()
    below = SpikedCovariance(ratio, threshold * (1 - 1e-3)).law()
    assert [o.side for o in above.outliers()] == ["right"]
    assert below.outliers() == []


def test_small_variance_makes_a_left_outlier():
    """A variance below 1 - 1/sqrt(ratio) pulls out an eigenvalue on the left."""
    ratio, spike = 4.0, -0.8
    outlier = SpikedCovariance(ratio, spike).law().outliers()[0]
    assert outlier.side == "left"
    assert outlier.value == pytest.approx((1 + spike) * (1 + 1 / (ratio * spike)), rel=1e-10)


@pytest.mark.parametrize("ratio", [0.05, 0.25, 0.4, 0.5])
def test_phase_retrieval_below_threshold(ratio):
    exact = SpectralPhaseRetrieval(ratio)
    law = exact.law()
    assert law.edges().left == pytest.approx(-1 / ratio, abs=1e-6)
    assert law.hard_gap() == pytest.approx(1 / ratio - 2, abs=1e-6)
    assert law.edges().right == np.inf
    assert law.outliers() == []


@pytest.mark.parametrize("ratio", [0.51, 0.6, 2.0])
def test_phase_retrieval_above_threshold(ratio):
    law = SpectralPhaseRetrieval(ratio).law()
    assert law.hard_gap() < 0
    (outlier,) = law.outliers()
    assert outlier.value == pytest.approx(-1 / ratio, rel=1e-8)
    assert law.smallest_eigenvalue() == outlier.value < law.edges().left


def test_phase_retrieval_needs_the_support_point():
    """Without it the edge of a coarse quadrature is off: this is what `support` is for."""
    z, p = np.polynomial.hermite_e.hermegauss(40)
    law = rmt.HessianLaw(1 / z**2 - 1, 0.3, probabilities=p / p.sum(), bounded_above=False)
    assert abs(law.edges().left + 1 / 0.3) > 1e-3


@pytest.mark.parametrize(
    "make",
    [
        lambda: MarchenkoPastur(0.0),
        lambda: MarchenkoPastur(1.0, -1.0),
        lambda: TwoAtoms(1.0, 2.0, 1.5, 1.0),
        lambda: TwoAtoms(0.0, 2.0, 0.5, 1.0),
        lambda: SpikedCovariance(1.0, -1.0),
        lambda: SpectralPhaseRetrieval(np.nan),
        lambda: SpectralPhaseRetrieval(0.7).hard_gap(),
        lambda: SpectralPhaseRetrieval(0.7).edges(),
    ],
)
def test_bad_input(make):
    with pytest.raises(ValueError, match=r"must"):
        make()
