"""What holds an edge, and the transitions there: continuous at a fold, a jump at the support."""

import pickle

import numpy as np
import pytest

import rmt
from rmt.closed_forms import MarchenkoPastur, SpectralPhaseRetrieval, SpikedCovariance


def normalised(a, ratio, *, sign=1.0, m=1, support=True):
    """Weights (1-y)/(a+y) with y = z^2: inf D = -1 is approached only as y grows."""
    z, p = np.polynomial.hermite_e.hermegauss(100)
    weights = sign * (1 - z**2) / (a + z**2)
    eye = np.eye(m)
    return rmt.HessianLaw(
        weights[:, None, None] * eye, ratio, hard=z[:, None], probabilities=p / p.sum(),
        support=-sign * eye[None] if support else None,
    )  # fmt: skip


@pytest.mark.parametrize("a", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("m", [1, 2])
def test_threshold_and_jump_of_a_support_edge(a, m):
    """The edge -1/delta, gap 1/delta - 2/(1+a), threshold (1+a)/2, overlap a/(a+5)."""
    threshold = (1 + a) / 2
    for factor in (0.99, 1.0001):
        law = normalised(a, factor * threshold, m=m)
        found = law.hard_levels()
        assert law.edges().kind[0] == "support"
        assert law.edge_kinds()[0].is_certain
        assert law.edges().left == pytest.approx(-1 / law.ratio, rel=1e-6)
        np.testing.assert_allclose(found.levels, 1 / law.ratio - 2 / (1 + a), atol=1e-6)
        assert found.kinds == ("support",) * m
    np.testing.assert_allclose(found.overlaps, a / (a + 5), rtol=2e-3)
    outliers = law.outliers("hard")
    assert len(outliers) == m
    assert outliers[0].hard_overlap == pytest.approx(a / (a + 5), rel=2e-3)


def test_right_edges_are_left_edges_of_the_reflected_weights():
    """-D has the support edge, the jump and the level on the right, where "any" alone looks."""
    left, right = normalised(1.0, 1.1), normalised(1.0, 1.1, sign=-1.0)
    assert right.edges().kind == left.edges().kind[::-1] == ("square-root", "support")
    one, other = left.hard_levels("negative"), right.hard_levels("any")
    np.testing.assert_allclose(other.levels[0], one.levels[0], rtol=1e-9)
    np.testing.assert_allclose(other.overlaps[0], one.overlaps[0], rtol=1e-9)
    assert other.kinds[0] == "support"
    assert len(other.levels) == 2
    assert right.hard_gap("left") > 0 > right.hard_gap("any")


@pytest.mark.parametrize("ratio", [0.5, 4.0])
def test_spikes_count_where_the_criterion_looks(ratio):
    """An eigenvalue leaves the bulk on the right for spikes above 1/sqrt(delta), not before."""
    for factor, count in ((0.99, 0), (1.01, 1)):
        law = SpikedCovariance(ratio, factor / np.sqrt(ratio)).law()
        assert (law.hard_levels("any").levels < 0).sum() == count
        assert not (law.hard_levels("left").levels < 0).any()
        assert law.hard_levels("any").overlaps[0] == 0.0


def test_left_outliers_need_not_be_negative():
    """A direction of less variance leaves Marchenko-Pastur on the left, above zero."""
    for spike, there in ((-0.55, True), (-0.45, False)):
        law = SpikedCovariance(4.0, spike).law()
        assert law.edges().left > 0
        assert law.hard_gap("negative") > 0
        assert (law.hard_gap("left") < 0) == there
        assert any(o.side == "left" for o in law.outliers("hard")) == there


def test_levels_count_outliers_with_their_multiplicity():
    """The j-th level is negative if and only if there are j outliers."""
    z, p = np.polynomial.hermite_e.hermegauss(40)
    y, x, w = (g.ravel() for g in np.meshgrid(z, z, z, indexing="ij"))
    mass = (p[:, None, None] * p[:, None] * p).ravel()
    weights = -np.tanh(y**2 + x**2 - 2) - 0.3 * np.tanh(w**2 - 1)
    law = rmt.HessianLaw(weights, 6.0, hard=np.stack([y, x, w], 1), probabilities=mass / mass.sum())
    levels = law.hard_levels("left").levels
    assert (levels < 0).sum() == len([o for o in law.outliers("hard") if o.side == "left"]) == 2
    assert levels[1] == pytest.approx(levels[0], abs=1e-12)
    assert levels[2] > 0
    assert [law.hard_gap("left", index) for index in (1, 2, 3)] == list(levels)


def test_kinds_of_plain_laws():
    """A fold; the eigenvalue zero of a matrix short of rank; no edge."""
    assert MarchenkoPastur(4.0).law().edges().kind == ("square-root", "square-root")
    assert MarchenkoPastur(0.5).law().edges().kind[0] == "zero"
    assert SpectralPhaseRetrieval(0.25).law().edges().kind == ("support", "none")
    zero = rmt.HessianLaw(np.zeros((1, 2, 2)), 2.0, support=[-np.eye(2)])
    assert zero.edges().kind == ("support", "zero")
    edges = zero.edges()
    assert pickle.loads(pickle.dumps(edges)).kind == edges.kind


def test_a_sample_alone_does_not_tell_what_holds_its_edge():
    """Its lowest weight stands for a tail; with the end of the support the kind is certain."""
    y = np.random.default_rng(0).standard_normal(4000) ** 2
    weights, ratio = (1 - y) / (1 + y), 0.4
    [sampled, _] = rmt.HessianLaw(weights, ratio, groups=4).edge_kinds()
    assert sampled.name == "square-root"
    assert sampled.largest_share > 0.1
    assert not sampled.is_certain
    [known, _] = rmt.HessianLaw(weights, ratio, support=[-1.0], groups=4).edge_kinds()
    assert known.name == "support"
    assert known.agreement == 1.0
    assert known.is_certain


def test_choices_are_checked():
    """One line for an unknown criterion and an index beyond m k_h."""
    law = normalised(1.0, 1.0, m=2)
    with pytest.raises(ValueError, match="criterion must be one of negative, left, any, got 'top'"):
        law.hard_gap("top")
    for index in (0, 3):
        with pytest.raises(ValueError, match=r"index must be in 1\.\.m k_h = 1\.\.2"):
            law.hard_gap("left", index)
