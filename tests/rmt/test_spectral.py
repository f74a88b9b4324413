"""Spectral methods: thresholds known in closed form, overlaps of matrices of finite size."""

import numpy as np
import pytest
from scipy.special import k0e, k1e

import dmft
import rmt


def hermite(label, nodes=160):
    z, p = np.polynomial.hermite_e.hermegauss(nodes)
    return rmt.LabelLaw(label(z), z[:, None], p / p.sum())


def product_law():
    """y = z_1 z_2: density K0(|y|)/pi, E[z_1^2 | y] = |y| K1/K0, E[z_1 z_2 | y] = y."""
    u, w = np.polynomial.legendre.leggauss(30)
    ends = np.concatenate([[0.0], np.logspace(-10, np.log10(45.0), 30)])
    half, middle = 0.5 * np.diff(ends)[:, None], 0.5 * (ends[1:] + ends[:-1])[:, None]
    y = (middle + half * u).ravel()
    p = (half * w).ravel() * k0e(y) * np.exp(-y) / np.pi
    a, y, p = np.tile(y * k1e(y) / k0e(y), 2), np.append(y, -y), np.tile(p, 2)
    moments = np.stack([np.stack([a, y], axis=-1), np.stack([y, a], axis=-1)], axis=-1)
    return rmt.LabelLaw(y, second_moments=moments, probabilities=p / p.sum())


def sign_law():
    moment = np.full((2, 2, 2), 2.0 / np.pi)
    moment[1] *= -1.0
    moment[:, [0, 1], [0, 1]] = 1.0
    return rmt.LabelLaw([1.0, -1.0], second_moments=moment)


@pytest.mark.parametrize("name", ["optimal", "optimal-scalar"])
@pytest.mark.parametrize(
    ("law", "known", "digits"),
    [
        (hermite(np.square), 0.5, 1e-9),
        (product_law(), 0.59375, 1e-5),  # as published, to five digits
        (sign_law(), np.pi**2 / 4, 1e-9),
    ],
    ids=["phase retrieval", "product", "sign of the product"],
)
def test_thresholds_of_the_optimal_preprocessing(name, law, known, digits):
    found = rmt.spectral_threshold(name, law)
    assert found.status.ok
    assert found.stderr == 0.0
    assert found.residual < 1e-7
    assert found.value == pytest.approx(known, rel=digits)
    assert found.crossings == (found.value,)
    above = rmt.spectral_method(name, law, 1.01 * found.value)
    below = rmt.spectral_method(name, law, 0.99 * found.value)
    assert len(above.outliers) >= 1
    assert below.outliers == ()
    assert above.gap < 0.0 < below.gap
    assert above.outliers[0].value == pytest.approx(1.0 / above.delta)


def test_closed_form_of_phase_retrieval_agrees():
    exact = rmt.closed_forms.SpectralPhaseRetrieval(0.25)
    found = rmt.spectral_method("optimal", hermite(np.square), 0.25, support=[1.0])
    assert found.edge == pytest.approx(-exact.edges()[0])
    assert found.gap == pytest.approx(exact.hard_gap())


def test_transition_of_an_edge_held_by_the_support_jumps():
    """T = (y - 1)/(a + y), y = z^2: threshold (1 + a)/2, overlap from 0 to a/(a + 5)."""
    a = 1.0
    law = hermite(np.square, 240)
    found = rmt.spectral_threshold(lambda y: (y - 1) / (y + a), law, support=[1.0])
    assert found.value == pytest.approx((1 + a) / 2, rel=1e-9)
    above = rmt.spectral_method(lambda y: (y - 1) / (y + a), law, 1.0001, support=[1.0])
    assert above.outliers[0].hard_overlap == pytest.approx(a / (a + 5), rel=2e-3)


@pytest.mark.parametrize(
    ("name", "known"), [("product", 0.5937511), ("sign-product", np.pi**2 / 4)]
)
def test_sampled_labels_agree_within_their_errors(name, known):
    law = dmft.label_law(
        dmft.Target(lambda z, eps: np.sign(z[:, 0] * z[:, 1]), k=2)
        if name == "sign-product"
        else name,
        n_points=2**16,
    )
    found = rmt.spectral_threshold("optimal-scalar", law)
    assert 0.0 < found.stderr < 0.03 * known
    assert abs(found.value - known) < 3.0 * found.stderr


def test_thresholds_by_direction():
    exact = rmt.direction_thresholds(product_law(), np.array([[1.0, 1.0], [1.0, -1.0]]).T)
    np.testing.assert_allclose(exact.value, 0.5937511, rtol=1e-6)
    assert np.all(exact.stderr == 0.0)
    along = rmt.direction_thresholds(product_law())  # z_1 itself: less is told of it
    assert np.all(along.value > exact.value)
    law = dmft.label_law(
        dmft.Target({"name": "power-law", "gamma": 1.0, "features": 4}, noise=0.5), n_points=2**15
    )
    found = rmt.direction_thresholds(law)
    bound = (2.0 * np.sum(np.arange(1, 5) ** -2.0) + 0.25) * np.arange(1, 5) ** 2 / 4.0
    assert np.all(np.diff(found.value) > 5.0 * found.stderr[1:])
    assert np.all(found.value < bound)
    best = rmt.spectral_threshold(rmt.optimal_preprocessing(law), law)
    assert best.value == pytest.approx(found.value[0], rel=0.05)
    nothing = rmt.LabelLaw.from_function(lambda z, eps: z[:, 0] ** 2, 2, n_points=2**14)
    assert rmt.direction_thresholds(nothing).value[1] == np.inf


def test_second_direction_comes_later():
    """One real T for y = z_1^2 + z_2^2 / 2: the weaker direction has the higher threshold."""
    law = rmt.LabelLaw.from_function(
        lambda z, eps: z[:, 0] ** 2 + 0.5 * z[:, 1] ** 2, 2, n_points=2**14
    )
    first = rmt.spectral_threshold(np.tanh, law)
    second = rmt.spectral_threshold(np.tanh, law, index=2)
    assert first.value + 10 * first.stderr < second.value
    between = rmt.spectral_method(np.tanh, law, np.sqrt(first.value * second.value))
    both = rmt.spectral_method(np.tanh, law, 1.5 * second.value)
    assert len(between.outliers) == 1
    assert len(both.outliers) == 2
    overlaps = both.outliers[0].latent_overlap
    assert overlaps[0] > 0.2
    assert overlaps[1] < 1e-4


def leading(rng, d, delta, label, k, preprocessing, scale=None):
    """Return leading eigenvalue and overlap of the matrix at finite d."""
    n = round(delta * d)
    x = rng.standard_normal((n, d))
    y, s = label(x[:, :k], rng)
    x[:, k:] *= np.reshape(s, (-1, 1))
    weights = np.asarray(preprocessing(y))
    weights = weights.reshape(n, *(weights.shape[1:] or (1, 1)))
    m = weights.shape[1]
    blocks = [[(x.T * weights[:, a, b]) @ x / n for b in range(m)] for a in range(m)]
    values, vectors = np.linalg.eigh(np.block(blocks))
    top = vectors[:, -1].reshape(m, d)
    return values[-1], float(np.sum(top[:, :k] ** 2))


CASES = {
    "phase retrieval": (
        lambda z, rng: (z[:, 0] ** 2, 1.0),
        1,
        lambda y: (y - 1) / (y + 1.5),
        lambda: hermite(np.square, 240),
        4.0,
    ),
    "two directions, matrix weights": (
        lambda z, rng: (np.sign(z[:, 0] * z[:, 1]), 1.0),
        2,
        lambda y: (
            np.eye(2)
            - np.linalg.inv(np.eye(2) + y[:, None, None] * np.array([[0, 1], [1, 0]]) * 2 / np.pi)
        ),
        sign_law,
        8.0,
    ),
    "a mean that depends on the label": (
        lambda z, rng: (z[:, 0] + 0.5 * rng.standard_normal(len(z)), 1.0),
        1,
        lambda y: np.tanh(y**2),
        lambda: rmt.LabelLaw.from_function(lambda z, eps: z[:, 0] + 0.5 * eps, 1, n_points=2**14),
        18.0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_overlap_of_matrices_of_finite_size(case):
    label, k, preprocessing, law, delta = CASES[case]
    found = rmt.spectral_method(preprocessing, law(), delta)
    rng = np.random.default_rng(1)
    means, errors = [], []
    for d in (100, 200):  # one over d is extrapolated
        runs = [leading(rng, d, delta, label, k, preprocessing) for _ in range(1600 // d)]
        means.append(np.mean(runs, axis=0))
        errors.append(np.std(runs, axis=0, ddof=1) / np.sqrt(len(runs)))
    limit = 2 * means[1] - means[0]
    error = np.hypot(2 * errors[1], errors[0])
    expected = [found.outliers[0].value, found.outliers[0].hard_overlap]
    assert np.all(np.abs(limit - expected) < 3.0 * error)


def test_inputs_of_two_scales():
    """Half of the inputs have scale 2 outside the latent direction; labels know nothing of it."""
    rng = np.random.default_rng(2)
    law = hermite(np.square, 240)
    z, p = law.latents[:, 0], law.probabilities / 2
    s = np.repeat([1.0, 2.0], len(z))
    joint = rmt.LabelLaw(np.tile(z**2, 2), (np.tile(z, 2) / s)[:, None], np.tile(p, 2), scales=s)
    transform = lambda y: (y - 1) / (y + 1.5)  # noqa: E731
    found = rmt.spectral_method(transform, joint, 12.0)
    runs = [
        leading(
            rng, 200, 12.0, lambda z, g: (z[:, 0] ** 2, g.choice([1.0, 2.0], len(z))), 1, transform
        )
        for _ in range(8)
    ]
    mean, error = np.mean(runs, axis=0), np.std(runs, axis=0, ddof=1) / np.sqrt(8)
    assert abs(mean[1] - found.outliers[0].hard_overlap) < 3.0 * error[1] + 0.02
    with pytest.raises(ValueError, match="scales"):
        rmt.spectral_method("optimal", joint, 1.0)


def test_no_outlier_is_a_status():
    law = rmt.LabelLaw([1.0, -1.0], second_moments=np.ones((2, 1, 1)))  # labels know nothing
    found = rmt.spectral_threshold(np.sign, law)
    assert found.status is rmt.Status.NO_BRACKET
    assert np.isnan(found.value)
    unbounded = rmt.spectral_method(np.asarray, hermite(np.square), 2.0, bounded_above=False)
    assert unbounded.status is rmt.Status.UNBOUNDED_EDGE
    assert unbounded.outliers == ()
    assert unbounded.threshold.status is rmt.Status.UNBOUNDED_EDGE


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda law: rmt.spectral_method("best", law, 1.0), "preprocessing"),
        (lambda law: rmt.spectral_method(lambda y: y[:1], law, 1.0), "preprocessing"),
        (lambda law: rmt.spectral_method("optimal", "product", 1.0), "target"),
        (lambda law: rmt.spectral_method("optimal", law, -1.0), "delta"),
        (lambda law: rmt.spectral_method("optimal", law, 1.0, side="top"), "side"),
        (lambda law: rmt.spectral_threshold("optimal", law, index=9), "index"),
        (lambda law: rmt.spectral_threshold("optimal", law, bracket=(2.0, 1.0)), "bracket"),
        (lambda law: rmt.LabelLaw([1.0, 2.0]), "latents"),
        (lambda law: rmt.LabelLaw([1.0, 2.0], [[1.0], [2.0]], [0.5, 0.4]), "probabilities"),
        (lambda law: rmt.LabelLaw([1.0], second_moments=[[[-1.0]]]), "semidefinite"),
        (lambda law: rmt.LabelLaw([1.0, 2.0], [[1.0], [2.0]], groups=3), "groups"),
        (lambda law: rmt.LabelLaw([1.0, 2.0], [[1.0], [2.0]], scales=[1.0, 0.0]), "scales"),
        (lambda law: rmt.LabelLaw([], np.empty((0, 1))), "labels"),
        (lambda law: rmt.spectral_method("optimal", hermite_pair(), 1.0), "inverse"),
        (lambda law: rmt.direction_thresholds(law, [[1.0]]), "directions"),
        (lambda law: rmt.optimal_preprocessing(law, [1.0]), "direction"),
        (lambda law: rmt.optimal_preprocessing(law, [0.0, 0.0]), "direction"),
        (lambda law: rmt.direction_thresholds(law, [[0.0], [0.0]]), "directions"),
        (lambda law: dmft.label_law("product", n_points=3), "n_points"),
        (lambda law: dmft.label_law(3), "target"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(sign_law())
    assert "\n" not in str(caught.value)


def hermite_pair():
    """Points of z_1 z_2 without groups: every label is its own bin, of a matrix of rank one."""
    z = np.random.default_rng(0).standard_normal((50, 2))
    return rmt.LabelLaw(z[:, 0] * z[:, 1], z)


def test_an_outlier_that_parts_of_the_points_lack_is_at_their_edges():
    """Its value has the error of that, and is not exact."""
    found = (rmt.Outlier(1.2, 0.1, np.ones((1, 1)), "right", 0.1, np.full(1, 0.1)),)
    value, overlap = rmt.spectral._spread(found, [(1.0, ()), (1.1, ()), (1.0, found)])
    np.testing.assert_allclose(value, [np.std([1.0, 1.1, 1.2], ddof=1) / np.sqrt(3)])
    np.testing.assert_allclose(overlap, [0.1 / 3])
