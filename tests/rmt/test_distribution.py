"""Support intervals, distribution function and quantiles."""

import numpy as np
import pytest

import rmt
from rmt.closed_forms import MarchenkoPastur, TwoAtoms


@pytest.mark.parametrize(
    "exact",
    [
        TwoAtoms(1.0, 10.0, 0.5, 0.1),
        TwoAtoms(1.0, -1.0, 0.5, 30.0),
        TwoAtoms(1.0, -1.0, 0.3, 0.4),
        TwoAtoms(1.0, 1.5, 0.3, 1.4),
        TwoAtoms(-2.0, -0.1, 0.5, 0.6),
    ],
    ids=repr,
)
def test_intervals_of_two_atoms(exact):
    intervals = exact.law().support_intervals()
    np.testing.assert_allclose(np.ravel(intervals), exact._critical(), rtol=1e-7, atol=1e-9)


def test_intervals_of_marchenko_pastur_with_an_atom():
    exact = MarchenkoPastur(0.3)
    law = rmt.HessianLaw([1.0], 0.3, shift=2.0)
    left, right = exact._bulk()
    np.testing.assert_allclose(law.support_intervals(), [(2.0 + left, 2.0 + right)], rtol=1e-9)
    assert law.edges().left == 2.0


def test_intervals_and_density_agree():
    rng = np.random.default_rng(0)
    weights = np.concatenate([rng.normal(-3, 0.1, 40), rng.normal(1, 0.1, 40), [9.0] * 20])
    law = rmt.HessianLaw(weights, 0.05)
    intervals = law.support_intervals()
    assert len(intervals) >= 3
    assert (intervals[0][0], intervals[-1][1]) == pytest.approx(tuple(law.edges()), rel=1e-9)
    for (a, b), (following, _) in zip(intervals, [*intervals[1:], (np.inf, 0)], strict=True):
        assert a < b < following
        inside = np.linspace(a, b, 12)[1:-1]
        assert np.all(law.density(inside) > 0)
        if np.isfinite(following):
            gap = np.linspace(b, following, 12)[1:-1]
            np.testing.assert_allclose(law.density(gap), 0.0, atol=1e-12)
            jump = law.atom_at_zero() if b < 0 < following else 0.0
            assert law.cdf(gap[-1]) - law.cdf(gap[0]) == pytest.approx(jump, abs=1e-12)
    # With few samples an eigenvalue belongs to a weight: 40 % of the 5 % are negative.
    assert law.cdf(-1.0) == pytest.approx(0.4 * 0.05, abs=1e-12)
    assert law.cdf(1.0) == pytest.approx(0.95 + 0.4 * 0.05, abs=1e-12)


def test_no_intervals_without_weight():
    assert rmt.HessianLaw([0.0], 1.0).support_intervals() == []
    with pytest.raises(ValueError, match="m = 1"):
        rmt.HessianLaw(np.eye(2)[None], 1.0).support_intervals()


@pytest.mark.parametrize(("m", "ratio"), [(1, 0.4), (1, 3.0), (2, 0.7), (3, 2.0)])
def test_cdf_is_the_integral_of_the_density(m, ratio):
    rng = np.random.default_rng(m)
    x = rng.standard_normal((10, m, m))
    law = rmt.HessianLaw(x + x.transpose(0, 2, 1), ratio, shift=0.3)
    left, right = law.edges()
    ends = np.linspace(0.35, right, 4001)
    middle = 0.5 * (ends[1:] + ends[:-1])
    integral = np.cumsum(law.density(middle)) * (ends[1] - ends[0])
    np.testing.assert_allclose(law.cdf(ends[1:]) - law.cdf(ends[0]), integral, atol=2e-5)
    h = 1e-9
    jump = law.cdf(0.3 + h) - law.cdf(0.3 - 1e-6)
    assert jump == pytest.approx(law.atom_at_zero(), abs=1e-5 if law.atom_at_zero() else 1e-2)
    assert law.cdf(left - 1.0) == 0.0
    assert law.cdf(right + 1.0) == 1.0
    assert law.cdf(right - 1e-9) == pytest.approx(1.0, abs=1e-8)
    assert np.all(np.diff(law.cdf(np.linspace(left, right, 200))) >= -1e-12)


def test_mass_between_gaps_is_exact():
    law = TwoAtoms(1.0, 10.0, 0.3, 0.1).law()
    (_, end), (start, _) = law.support_intervals()
    middle = 0.5 * (end + start)
    assert law.cdf(middle) == pytest.approx(0.9 + 0.1 * 0.3, abs=1e-12)
    eigenvalues = np.linalg.eigvalsh(law.sample_matrix(400, 0))
    assert np.mean(eigenvalues < middle) == pytest.approx(law.cdf(middle), abs=1e-9)


@pytest.mark.parametrize("ratio", [0.4, 3.0])
def test_quantiles_invert_the_cdf(ratio):
    law = rmt.HessianLaw([1.0, -1.0, 2.0], ratio, shift=0.1)
    q = np.array([[0.01, 0.2], [0.5, 0.999]])
    x = law.quantiles(q)
    assert x.shape == (2, 2)
    atom = x == 0.1
    assert atom.any() == (law.atom_at_zero() > 0.5)
    np.testing.assert_allclose(law.cdf(x)[~atom], q[~atom], atol=1e-9)
    with pytest.raises(ValueError, match="q must lie strictly"):
        law.quantiles(1.0)
    with pytest.raises(ValueError, match="bounded spectrum"):
        rmt.HessianLaw([1.0], 2.0, bounded_above=False).quantiles(0.5)


def test_mass_beside_an_atom_is_not_lost():
    # Weights far below the typical size put mass next to the atom at zero.
    law = rmt.HessianLaw([1.0] * 9 + [1e-8], ratio=0.4)
    atom = law.atom_at_zero()
    assert atom == pytest.approx(0.6)
    (left, _), *_ = intervals = law.support_intervals()
    assert left < 1e-7
    x = np.geomspace(intervals[0][0], intervals[0][1], 4001)[1:-1]
    narrow = np.trapezoid(law.density(x), x)
    assert narrow == pytest.approx(0.4 / 10, rel=1e-2)


@pytest.mark.parametrize("m", [6, 8])
def test_many_neurons(m):
    rng = np.random.default_rng(m)
    raw = rng.standard_normal((60, m, m))
    law = rmt.HessianLaw((raw + raw.transpose(0, 2, 1)) / 2, ratio=3.0)
    left, right = law.edges()
    x = 0.5 * (left + right) - 0.5 * (right - left) * np.cos(np.linspace(0, np.pi, 200))
    density = law.density(x)
    assert np.trapezoid(density, x) == pytest.approx(1.0, abs=1e-3)
    first, second = law.moments(2)
    assert np.trapezoid(density * x, x) == pytest.approx(first, abs=1e-3 * np.sqrt(second))
    assert np.trapezoid(density * x**2, x) == pytest.approx(second, rel=1e-3)
