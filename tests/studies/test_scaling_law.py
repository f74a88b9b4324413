"""Scaling laws: thresholds of features for networks and spectral methods, and their power laws."""

import dataclasses

import numpy as np
import pytest

import dmft
import rmt
from dmft.studies import scaling_law as module

METHOD = dmft.GradientDescent(step_size=0.2, n_steps=3)
SAMPLING = dmft.Sampling(n_paths=512, replicates=4)
BRACKET = (1.0, 80.0)
FEW = {"n_points": 2**15, "points": 7, "max_solves": 9}


def power_label(gamma=1.0, k=3, noise=0.5):
    weights = np.arange(1.0, k + 1.0) ** -gamma
    return dmft.Target(lambda z, eps: z**2 @ weights, k, noise=noise, hard_directions=range(k))


def problem_of(target, **more):
    return dmft.Problem(target, dmft.Network("quadratic", **more), "pseudo-huber")


@pytest.fixture(scope="module")
def found():
    return dmft.scaling_law(
        problem_of(power_label()), METHOD, BRACKET, (1, 2), sampling=SAMPLING, **FEW
    )


def test_weaker_features_come_later_and_networks_after_the_spectral_method(found):
    assert found.status.ok
    assert np.all(np.diff(found.threshold, axis=1)[[0, 2, 3]] > 0.0)
    assert np.all(found.threshold[2:] > found.threshold[0])
    np.testing.assert_allclose(found.share, 2.0 / np.arange(1.0, 4.0) ** 2, rtol=2e-3)
    np.testing.assert_allclose(found.variance, 2.0 * np.sum(found.share / 2.0) + 0.25, rtol=2e-3)


def test_width_one_has_the_thresholds_of_the_outliers_one_after_the_other(found):
    """With z_j^2 itself in place of E[z_j^2 | y], and all of A_h in place of its blocks."""
    cascade = dmft.cascade(
        problem_of(power_label()), METHOD, BRACKET, [3], dmft.Sampling(4096, 8), points=7,
        max_solves=8,
    )  # fmt: skip
    value, error = cascade.value[0, :, 0], np.hypot(cascade.error[0, :, 0], found.error[2])
    assert np.all(error < 0.15 * value)
    assert np.all(np.abs(value - found.threshold[2]) < 3.0 * error)


def test_width_one_has_the_threshold_of_its_only_feature():
    one = dmft.scaling_law(
        problem_of("phase-retrieval"), METHOD, (0.5, 10), (1,), sampling=SAMPLING, **FEW
    )
    alone = dmft.find_delta_nn(
        problem_of("phase-retrieval"), METHOD, (0.5, 10), sampling=dmft.Sampling(4096, 8)
    )
    error = np.hypot(alone.error, one.error[2, 0])
    assert abs(alone.value - one.threshold[2, 0]) < 3.0 * error
    np.testing.assert_allclose(one.threshold[:2, 0], 0.5, rtol=0.02)  # of y = z^2


def test_a_feature_has_the_block_of_all_neurons():
    """Two neurons: the smallest eigenvalue of the block is one of A_h, the others are not."""
    problem = problem_of(power_label(), neurons=2)
    law = dmft.solve(problem, 10.0, METHOD, SAMPLING, hessian_steps=[3]).hessian(3)
    levels = module._levels_by_feature(law, "negative")
    every = law.hard_levels("negative").levels
    assert abs(levels.min() - every[0]) < 0.05 * abs(every[0])
    assert np.all(np.diff(levels) > 0.0)


def test_errors_contain_what_bins_of_labels_cost(monkeypatch):
    """Thresholds on half as many bins differ by what errors are more than those of paths alone."""

    def law(**more):
        return dmft.scaling_law(
            problem_of(power_label()), METHOD, (1.0, 20.0), (1,), sampling=SAMPLING, **FEW | more
        )

    found = law()
    fine = law(n_points=2**18)
    monkeypatch.setattr(module._FeatureMemo, "cost_of_bins", lambda *_: 0.0)
    alone, conditional = law(), rmt.LabelLaw.conditional
    monkeypatch.setattr(
        rmt.LabelLaw, "conditional", lambda law, joined=1: conditional(law, 2 * joined)
    )
    moved = law().threshold[2, 0] - found.threshold[2, 0]
    cost = np.sqrt(found.error[2, 0] ** 2 - alone.error[2, 0] ** 2)
    assert cost > 0.5 * alone.error[2, 0]
    assert 0.5 * cost < abs(moved) < 2.0 * cost
    assert abs(fine.threshold[2, 0] - found.threshold[2, 0]) < 2.0 * found.error[2, 0]


def test_weak_features_in_gaussian_noise_have_the_exact_exponent():
    """1/delta_j is 4 w_j^2 / Var(y) at least, and tends to it where noise prevails."""
    gamma, rank = 0.75, np.arange(1.0, 5.0)
    weights = 0.4 * rank**-gamma
    law = rmt.LabelLaw.from_function(lambda z, eps: z**2 @ weights + 4.0 * eps, 4, n_points=2**18)
    best = rmt.direction_thresholds(law)
    most = (2.0 * weights @ weights + 16.0) / (4.0 * weights**2)
    assert np.all(best.value < most + 3.0 * best.stderr)
    np.testing.assert_allclose(best.value, most, rtol=0.12)
    fit = dmft.PowerLaw.through(rank, best.value, best.stderr / best.value)
    assert abs(fit.exponent - 2.0 * gamma) < 3.0 * fit.stderr
    assert fit.stderr < 0.1


def test_known_features_are_subtracted_before_weaker_ones(found):
    """The last one alone in its noise."""
    alone = rmt.LabelLaw.from_function(
        lambda z, eps: z[:, 0] ** 2 / 3.0 + 0.5 * eps, 1, n_points=2**18
    )
    value = rmt.direction_thresholds(alone).value[0]
    assert abs(found.threshold[1, 2] / value - 1.0) < 0.05
    assert found.threshold[1, 0] == found.threshold[0, 0]


@pytest.fixture
def exact(found):
    """Five features with thresholds j^2, a share of 2/j^2 of the variance each."""
    share = 2.0 / np.arange(1.0, 6.0) ** 2
    threshold = np.tile(2.0 / share, (4, 1))
    return dataclasses.replace(
        found, share=share, threshold=threshold, error=0.01 * threshold,
        unstable_share=0.0 * threshold,
    )  # fmt: skip


def test_features_and_error_against_delta(exact):
    delta = np.array([0.5, 1.5, 5.0, 24.0, 30.0, 90.0])
    every = [0, 1, 2, 4, 5]
    np.testing.assert_array_equal(exact.n_features(delta)[2:], [[*every, np.nan]] * 2)
    np.testing.assert_array_equal(exact.n_features(delta)[0], [*every, 5])
    after = exact.share.sum() - np.cumsum([0.0, *exact.share])
    for learner, most in ((0, 5), (2, 1), (3, 2)):  # networks hold as many as they have neurons
        left = after[np.minimum(every, most)]
        np.testing.assert_allclose(exact.excess_error(delta)[learner, :5], left, atol=1e-12)


def test_exponents_of_an_exact_power_law(exact):
    assert exact.thresholds_law(0).exponent == pytest.approx(2.0)
    assert exact.features_law(3).exponent == pytest.approx(0.5)
    assert np.isnan(exact.error_law(2).exponent)  # a single neuron has a single drop
    assert exact.error_law(0).exponent == pytest.approx(exact.expected_error_law(0).exponent)
    unknown = dataclasses.replace(exact, error=0.3 * exact.threshold)
    assert unknown.thresholds_law(0).points == 0


def test_steps_that_are_too_large_are_said_to_be(exact):
    assert "stability" not in str(exact)
    assert "stability" in str(
        dataclasses.replace(exact, unstable_share=exact.share + 0.0 * exact.threshold)
    )


def test_features_without_a_share_of_the_variance(exact):
    """Their thresholds count, the test error knows nothing of them."""
    share = np.array([2.0, 0.5, 0.2, 0.0, 0.0])
    law = dataclasses.replace(exact, share=share)
    assert law.thresholds_law(0).points == 5
    assert law.error_law(0).points == law.expected_error_law(0).points == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda law: law.error_law(4), "learner must be an integer"),
        (lambda law: law.thresholds_law(-1), "learner must be an integer"),
        (lambda law: law.n_features([[1.0]]), "delta must be one number or a list of numbers"),
        (lambda law: law.excess_error("much"), "delta must be"),
    ],
)
def test_one_line_for_what_a_law_cannot_say(exact, call, message):
    with pytest.raises(ValueError, match=message):
        call(exact)


def test_errors_of_fits():
    x = np.geomspace(1.0, 100.0, 20)
    noisy = x**1.5 * np.exp(0.1 * np.random.default_rng(0).standard_normal(20))
    told, untold = (dmft.PowerLaw.through(x, noisy, np.full(20, e)) for e in (0.1, 0.001))
    assert abs(told.exponent - 1.5) < 3 * told.stderr
    assert untold.stderr == pytest.approx(told.stderr, rel=0.4)  # what points scatter counts
    assert np.isnan(dmft.PowerLaw.through(x[:2], noisy[:2], x[:2]).exponent)


def test_wide_networks_under_flow_are_as_fast():
    one = dmft.GradientFlow(1.0, times=[0.0, 0.5, 1.0])
    np.testing.assert_array_equal(module._faster(one, 4).times, 4 * one.times)
    schedule = dmft.GradientDescent([0.1, 0.2], 2, momentum=0.5)
    np.testing.assert_allclose(module._faster(schedule, 2).step_sizes, [0.2, 0.4])
    decayed = dataclasses.replace(problem_of("phase-retrieval"), weight_decay=0.3)
    assert module.widened(decayed, 3).weight_decay == pytest.approx(0.1)
    assert module.widened(decayed, 4).network.second_layer == (0.25,) * 4


def test_saved_drawn_and_written(found, tmp_path):
    found.save(tmp_path / "law")
    again = dmft.load(tmp_path / "law.npz")
    assert again == found
    assert len(np.ravel(found.plot())) == 3
    text = str(found)
    assert all(name in text for name in found.names)
    assert "shares of the features: 0.6" in text


def test_features_that_are_not_reached_are_said_to_be(found):
    short = dmft.scaling_law(
        problem_of(power_label()), METHOD, (1.0, 7.0), (1,), sampling=dmft.Sampling(256, 4), **FEW
    )
    assert short.status is dmft.Status.NO_BRACKET
    assert "1 neuron, feature 2" in short.detail or "1 neuron, feature 3" in short.detail
    assert np.isnan(short.threshold[2, 2])
    assert np.ravel(short.plot())[0].lines


def test_status_and_detail_are_of_the_same_threshold():
    few = {"sampling": dmft.Sampling(256, 4), "n_points": 2**14, "points": 4, "max_solves": 4}
    without = dmft.Target(lambda z, eps: z[:, 0] ** 2 + eps, 2, hard_directions=range(2))
    law = dmft.scaling_law(problem_of(without), METHOD, (1.0, 20.0), (1,), **few)
    assert law.status is dmft.Status.NO_OUTLIER
    assert law.detail.startswith("spectral method, feature 2: ")
    rough = dmft.scaling_law(problem_of("phase-retrieval"), METHOD, (0.1, 90.0), (1,), **few)
    assert rough.status is dmft.Status.MAX_STEPS
    assert rough.detail.startswith("1 neuron, feature 1: max_solves = 4 values of delta")


def test_a_gram_matrix_of_one_neuron_is_that_of_every_neuron():
    one = dataclasses.replace(problem_of("phase-retrieval"), init_gram=[[2.25]], init_radius=None)
    np.testing.assert_array_equal(module.widened(one, 3).gram, 2.25 * np.eye(3))
    assert module.widened(one, 1).init_radius == one.init_radius == 1.5


def own(label, k=2):
    return dmft.Target(label, k)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_points": 10**15}, "n_points must be at most .* for the memory there is"),
        ({"n_points": 2**10}, "n_points must be at least 16384"),
        ({"step": -1}, r"^step must be an integer >= 0, got -1"),
        ({"problem": problem_of(dmft.Target(lambda z, eps: 0.0 * eps + 2.0, 2))}, "that depends"),
        ({"problem": problem_of(dmft.Target(lambda z, eps: eps, 2))}, "label that depends on its"),
        ({"widths": ()}, r"widths must be one or more numbers of neurons, got \(\)"),
        ({"widths": 3}, "widths must be one or more numbers of neurons, got 3"),
        ({"widths": (2, 1)}, "widths must be different and ascending"),
        ({"widths": (0,)}, "widths must be an integer >= 1, got 0"),
        ({"widths": "12"}, "widths must be an integer"),
        ({"criterion": "any"}, "criterion must be 'negative' or 'left' here, got 'any'"),
        ({"criterion": "top"}, "criterion must be one of"),
        ({"step": 4}, r"step must be in 0\.\.n_steps = 0\.\.3, got 4"),
        ({"n_points": 3}, "n_points must be an integer >="),
        ({"problem": problem_of("phase-retrieval", neurons=2)}, "problem must have one neuron"),
        (
            {"problem": problem_of(own(lambda z, eps: z[:, 0] * z[:, 1]))},
            "label that is unchanged when any one of its hard coordinates",
        ),
        ({"problem": problem_of("linear")}, "problem must have a hard direction"),
        (
            {"method": dmft.GradientDescent(0.1, 2, second_layer_step_size=0.1)},
            "method must keep second layer and biases fixed",
        ),
        (
            {
                "problem": dataclasses.replace(
                    problem_of("phase-retrieval"), inputs=dmft.Elliptical("exponential")
                )
            },
            "problem must have Gaussian inputs",
        ),
    ],
)
def test_one_line_for_bad_input(changed, message):
    arguments = {"problem": problem_of(power_label()), "method": METHOD, "bracket": BRACKET}
    with pytest.raises(ValueError, match=message):
        dmft.scaling_law(**arguments | {"sampling": SAMPLING} | changed)
