"""Thresholds by criterion and index: which hard outlier, and how it sets in."""

import numpy as np
import pytest

import dmft
import rmt
from dmft.hessian.gap_samples import WhichOutlier, sample_gap

METHOD = dmft.GradientDescent(step_size=0.2, n_steps=2)
SAMPLING = dmft.Sampling(n_paths=512, replicates=4)


def constant_output(a, shift=0.0):
    """Infinitely many neurons r^2 under the loss (f-y)^2/(2(a+y)): D = (1-y)/(a+y).

    A neuron of radius zero with sigma(0) = sigma''(0) = 1 has such weights.
    """
    activation = dmft.Activation(lambda r: 1 + r * r / 2, lambda r: r, lambda r: 1 + 0 * r)
    loss = dmft.Loss(
        lambda f, y: (f - y) ** 2 / (2 * (a + abs(y))) + shift * f,
        lambda f, y: (f - y) / (a + abs(y)) + shift,
        lambda f, y: 1 / (a + abs(y)) + 0 * f,
    )
    return dmft.Problem("phase-retrieval", dmft.Network(activation), loss, init_radius=0.0)


def two_features(weight, loss="pseudo-huber"):
    label = dmft.Target(lambda z, eps: z[:, 0] ** 2 + weight * z[:, 1] ** 2, k=2)
    return dmft.Problem(label, dmft.Network("quadratic"), loss)


@pytest.mark.parametrize("a", [1.0, 3.0])
def test_discontinuous_threshold_and_its_overlap(a, tmp_path):
    """Threshold (1+a)/2, where the squared overlap jumps from 0 to a/(a+5)."""
    found = dmft.find_delta_nn(constant_output(a), METHOD, (0.3, 5), step=0)
    assert found.status.ok
    assert found.edge_kind == "support"
    assert found.edge_kind_is_certain
    assert found.value == pytest.approx((1 + a) / 2, abs=1e-3)
    assert found.jump == pytest.approx(a / (a + 5), abs=1e-3)
    assert found.is_discontinuous
    assert "discontinuous" in found.detail
    assert "finite d the jump is rounded" in found.detail
    assert "discontinuous: squared overlap" in str(found)
    found.save(tmp_path / "found")
    loaded = dmft.Threshold.load(tmp_path / "found.npz")
    names = ("value", "jump", "jump_stderr", "edge_kind", "criterion", "index", "multiplicity")
    assert [getattr(loaded, name) for name in names] == [getattr(found, name) for name in names]


def test_continuous_transitions_have_no_jump():
    """A square-root edge: the overlap starts at zero, on a curve at every step."""
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    curve = dmft.delta_nn_curve(problem, METHOD, (0.4, 5), sampling=SAMPLING)
    assert curve.edge_kinds == ("square-root",) * 3
    assert not curve.jump.any()
    assert curve.criterion == "negative"
    assert curve.index == 1


@pytest.mark.parametrize(("criterion", "constraint"), [("left", "sphere"), ("any", None)])
def test_capped_labels_under_the_correlation_loss(criterion, constraint):
    """BBP of the weights -min(z^2, 5): .721012, by quadrature of E[u^2] = E[u (z^2 - 1)]."""
    label = dmft.Target({"name": "capped-square", "cap": 5.0})
    problem = dmft.Problem(label, dmft.Network("quadratic"), "correlation")
    method = dmft.GradientDescent(step_size=0.05, n_steps=1, constraint=constraint)
    found = dmft.find_delta_nn(problem, method, (0.3, 5), step=0, criterion=criterion)
    assert found.status.ok
    assert found.value == pytest.approx(0.721012, abs=5e-7)
    assert found.jump == 0.0
    assert found.stderr == 0.0


def test_weight_decay_moves_negative_outliers_only():
    """H + lam I: outliers leave the bulk as before, and those near zero are negative no longer."""
    plain, decayed = (
        dmft.Problem(
            "phase-retrieval", dmft.Network("quadratic"), "pseudo-huber", weight_decay=decay
        )
        for decay in (0.0, 1.0)
    )
    left = [
        dmft.find_delta_nn(p, METHOD, (0.4, 5), step=0, criterion="left") for p in (plain, decayed)
    ]
    assert left[1].value == pytest.approx(left[0].value, rel=1e-6)
    assert len(left[1].crossings) == 1
    negative = dmft.find_delta_nn(decayed, METHOD, (0.4, 5), step=0)
    assert [crossing.opens for crossing in negative.crossings] == [True, False]
    assert negative.status is dmft.Status.NO_BRACKET
    digits = dmft.find_delta_nn(decayed, METHOD, (0.4, 5), step=0, criterion="left", digits=6)
    assert float(digits.digits) == pytest.approx(left[0].value, rel=2e-6)


def test_thresholds_of_two_features(tmp_path):
    """The second one later; saved and loaded with what they are about."""
    first, second = (
        dmft.delta_nn_curve(
            two_features(0.7), METHOD, (1, 30), [1], SAMPLING, points=4, criterion="left", index=j
        )
        for j in (1, 2)
    )
    assert first.status.ok
    assert second.status.ok
    assert second.value[0] - first.value[0] > 3 * np.hypot(first.error[0], second.error[0])
    second.save(tmp_path / "curve")
    loaded = dmft.ThresholdCurve.load(tmp_path / "curve.npz")
    assert (loaded.criterion, loaded.index) == ("left", 2)
    np.testing.assert_array_equal(loaded.jump, second.jump)
    assert "second hard outlier left of the bulk" in str(loaded)


def test_symmetric_features_appear_at_once():
    """Both directions of z1^2 + z2^2 have one threshold, of multiplicity two."""
    found = [
        dmft.find_delta_nn(
            two_features(weight), METHOD, (1, 30), 1, SAMPLING, scan_points=4, index=2
        )
        for weight in (1.0, 0.3)
    ]
    assert [threshold.multiplicity for threshold in found] == [2, 1]
    assert "second negative hard outlier" in str(found[0])


def test_one_line_for_what_cannot_be():
    """Unknown criteria, and indices beyond the number of hard outliers."""
    problem = two_features(0.7)
    with pytest.raises(ValueError, match="criterion must be one of negative, left, any"):
        dmft.find_delta_nn(problem, METHOD, (1, 40), criterion="lower")
    for call in (dmft.find_delta_nn, dmft.delta_nn_curve):
        with pytest.raises(ValueError, match=r"index must be in 1\.\.m k_h = 1\.\.2 \(1 neurons"):
            call(problem, METHOD, (1, 40), index=3)
    one = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
    with pytest.raises(ValueError, match="criterion must be negative or left"):
        dmft.find_delta_nn(one, METHOD, (0.5, 4), step=0, criterion="any", digits=5)


def test_certainty_is_that_of_the_edge_at_which_the_gap_is_read():
    """A few huge weights hold the right edge; the left one is sure, and tells nothing of it."""
    rng = np.random.default_rng(0)
    weights = np.concatenate([rng.uniform(-1, 0, 2000), np.exp(2 * rng.standard_normal(2000))])
    law = rmt.HessianLaw(weights, 0.7, hard=np.where(weights > 2, 20.0, 0.2))
    assert [kind.is_certain for kind in law.edge_kinds()] == [True, False]
    assert sample_gap(law, WhichOutlier("negative")).at_gap.is_certain
    assert not sample_gap(law, WhichOutlier("any")).at_gap.is_certain
