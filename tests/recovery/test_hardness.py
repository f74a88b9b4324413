"""Exponents and algorithmic thresholds of label laws, against values computed in other ways."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, special
from threadpoolctl import threadpool_limits

import dmft
from dmft.model.label_functions import TARGETS
from dmft.model.target import Target
from dmft.recovery.conditional_moments import conditional_moments
from dmft.recovery.exponents import Hardness, hardness, hardness_steps
from dmft.recovery.label_coefficients import hermite_energies
from rmt.status import NumericalFailure, Status

# Coefficients, highest power first.
HE3, HE4 = np.array([1.0, 0.0, -3.0, 0.0]), np.array([1.0, 0.0, -6.0, 0.0, 3.0])
POLYNOMIALS = {
    "phase-retrieval": np.array([1.0, 0.0, 0.0]),
    "hermite3": HE3,
    "hermite4": HE4,
    "hermite3-squared": np.polymul(HE3, HE3),
}
FEW = 2**18  # points: enough for three digits without easy directions


def density(u):
    return np.exp(-0.5 * u * u) / math.sqrt(2 * math.pi)


def second(u):
    return u * u - 1.0


def identity(u):
    return u


# -- twins ---------------------------------------------------------------------------------------


def on_level_sets(polynomial, function, n=150):
    """E[(E[f(z) | y])^2] for y a polynomial of z: sums over the roots, quadrature between folds."""
    slope = np.polyder(polynomial)

    def real_roots(coefficients):
        roots = np.roots(coefficients)
        return roots.real[np.abs(roots.imag) < 1e-7]

    def level_set(y):
        return real_roots(np.polysub(polynomial, [y]))

    folds = real_roots(slope)
    breaks = [-9.0, 9.0, *folds]
    breaks += [u for fold in folds for u in level_set(np.polyval(polynomial, fold))]
    breaks = np.unique(np.round(breaks, 7))
    x, w = np.polynomial.legendre.leggauss(n)
    angle, total = 0.5 * np.pi * (x + 1.0), 0.0
    for a, b in itertools.pairwise(breaks):
        # Square roots at the folds become smooth in the angle.
        u = a + 0.5 * (b - a) * (1.0 - np.cos(angle))
        weight = 0.25 * np.pi * (b - a) * np.sin(angle) * w
        for point, share in zip(u, weight, strict=True):
            roots = level_set(np.polyval(polynomial, point))
            mass = density(roots) / np.maximum(np.abs(np.polyval(slope, roots)), 1e-9)
            mean = mass @ function(roots) / mass.sum()
            total += share * density(point) * function(point) * mean
    return total


def with_noise(values, function, mass, noise):
    """E[(E[f | y + noise])^2] over atoms of mass, where the label has the values given."""
    eps, weight = np.polynomial.hermite_e.hermegauss(30)
    weight = weight / weight.sum()
    total = 0.0
    for value, share, here in zip(values, mass, function, strict=True):
        if share < 1e-12:
            continue
        y = value + noise * eps
        kernel = mass * np.exp(-0.5 * np.square((y[:, None] - values) / noise))
        total += share * here * (weight @ (kernel @ function / kernel.sum(axis=1)))
    return total


def half_line(n=1200, end=7.5):
    """Nodes and weights of |z|."""
    x, w = np.polynomial.legendre.leggauss(n)
    u = 0.5 * end * (x + 1.0)
    return u, end * w * density(u)


def product_nodes(n=1200):
    """Nodes, weights and E[z1^2 - 1 | y] of y = z1 z2 > 0, whose density is K0(|y|)/pi."""
    x, w = np.polynomial.legendre.leggauss(n)
    t = 1.5 * (x + 1.0)  # y = t^3 takes the logarithm out of the density
    y = t**3
    mass = 1.5 * w * 3.0 * t**2 * 2.0 * special.k0(y) / np.pi
    return y, mass, y * special.k1(y) / special.k0(y) - 1.0


EXACT = {
    "phase-retrieval": lambda: 2.0,
    "modulus": lambda: 2.0,  # its level sets are those of z^2
    "hermite4": lambda: on_level_sets(HE4, second),
    "hermite3-squared": lambda: on_level_sets(POLYNOMIALS["hermite3-squared"], second),
    "product": lambda: 1.0 + np.sum(np.square(product_nodes()[2]) * product_nodes()[1]),
    "easy-hard": lambda: 2.0,  # z1 known, the label tells z2^2
}


def test_the_twins_know_what_is_known_in_closed_form():
    assert on_level_sets(POLYNOMIALS["phase-retrieval"], second, 60) == pytest.approx(2.0, abs=1e-9)
    assert on_level_sets(HE3, lambda u: u**3 - 3 * u, 60) == pytest.approx(6.0, abs=1e-9)
    y, mass, _ = product_nodes()
    assert mass.sum() == pytest.approx(1.0, abs=1e-9)
    assert mass @ y**2 == pytest.approx(1.0, abs=1e-9)
    # y = z + s eps: E[z | y] = y / (1 + s^2).
    u, weight = half_line(400)
    u, weight = np.concatenate([-u, u]), np.concatenate([weight, weight]) / 2
    assert with_noise(u, u, weight, 0.5) == pytest.approx(0.8, abs=1e-9)


# -- the list ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "information", "generative", "k_hard"),
    [
        ("phase-retrieval", 2, 2, 1),
        ("modulus", 2, 2, 1),
        ("linear", 1, 1, 0),
        ("product", 2, 2, 2),
        ("staircase", 1, 1, 0),
        ("easy-hard", 2, 2, 1),
        ("hermite3", 3, 1, 0),
        ("hermite4", 4, 2, 1),
        ("hermite3-squared", 2, 2, 1),
    ],
)
def test_catalogue(name, information, generative, k_hard):
    easy = name == "easy-hard"
    result = hardness(name, n_points=2**22 if easy else 2**20)
    assert result.status is Status.SUCCESS
    assert (result.information_exponent, result.generative_exponent) == (information, generative)
    assert result.k_hard == k_hard
    np.testing.assert_array_equal(result.hard_basis, Target(name).hard_basis)
    assert sum(test.n_easy for test in result.rounds) == result.k - k_hard
    assert result.generative_margin > 10
    if k_hard == 0:
        assert (result.delta_alg, result.inverse_delta_alg) == (0.0, math.inf)
        return
    exact = EXACT[name]()
    assert result.inverse_delta_alg == pytest.approx(exact, abs=3 * result.inverse_delta_alg_stderr)
    assert result.delta_alg == pytest.approx(1 / exact, rel=2e-3 if easy else 5e-4)
    assert result.delta_alg_stderr < (1e-2 if easy else 1e-3) * result.delta_alg
    assert result.delta_alg * result.inverse_delta_alg == pytest.approx(1.0)


def test_the_list_covers_the_catalogue():
    assert set(EXACT) == {name for name, entry in TARGETS.items() if entry.hard_indices}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["phase-retrieval", "modulus", "hermite4", "hermite3-squared"])
def test_noisy_single_index(name):
    result = hardness(Target(name, noise=0.5), n_points=2**20)
    information = {"hermite4": 4}.get(name, 2)
    assert (result.information_exponent, result.generative_exponent) == (information, 2)
    u, weight = half_line()
    values = u if name == "modulus" else np.polyval(POLYNOMIALS[name], u)
    exact = with_noise(values, second(u), weight, 0.5)
    assert result.inverse_delta_alg == pytest.approx(exact, rel=5e-4)
    assert result.inverse_delta_alg == pytest.approx(exact, abs=3 * result.inverse_delta_alg_stderr)
    assert result.inverse_delta_alg_stderr < 5e-4 * exact


@pytest.mark.slow
def test_noisy_product():
    result = hardness(Target("product", noise=0.5), n_points=2**20)
    y, mass, diagonal = product_nodes()
    both, weight = np.concatenate([-y, y]), np.concatenate([mass, mass]) / 2
    even = np.concatenate([diagonal, diagonal])
    exact = with_noise(both, both, weight, 0.5) + with_noise(both, even, weight, 0.5)
    assert (result.information_exponent, result.generative_exponent) == (2, 2)
    assert result.inverse_delta_alg == pytest.approx(exact, abs=3 * result.inverse_delta_alg_stderr)
    assert result.inverse_delta_alg == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(("name", "information"), [("hermite3", 3), ("staircase", 1)])
def test_noise_leaves_easy_directions_easy(name, information):
    result = hardness(Target(name, noise=0.5), n_points=FEW)
    assert (result.information_exponent, result.generative_exponent) == (information, 1)
    assert (result.k_hard, result.delta_alg) == (0, 0.0)


def test_he3_tells_of_z_although_uncorrelated_with_it():
    result = hardness("hermite3", n_points=2**20)
    assert result.information_share[:3, 0] == pytest.approx([0.0, 0.0, 1.0], abs=1e-12)
    for degree, function, norm in ((1, identity, 1.0), (2, second, 2.0)):
        share, error = (
            result.generative_share[degree - 1, 0],
            result.generative_share_stderr[degree - 1, 0],
        )
        exact = on_level_sets(HE3, function) / norm
        assert share == pytest.approx(exact, abs=3 * error)
        assert share == pytest.approx(exact, rel=5e-4)


# -- several directions, and laws of one's own ---------------------------------------------------


def test_staircase_direction_by_direction():
    result = hardness("staircase", n_points=FEW)
    assert result.information_exponents == (1, 2)
    assert result.generative_exponents == (1, 1)


@pytest.mark.slow
def test_easy_and_hard_direction():
    result = hardness("easy-hard", n_points=2**18)
    np.testing.assert_array_equal(result.easy_basis, [[1.0], [0.0]])
    assert (result.information_exponents, result.generative_exponents) == ((1, 2), (1, 2))
    assert [test.n_easy for test in result.rounds] == [1, 0]
    np.testing.assert_array_equal(result.sign_flips, [[1, -1]])
    np.testing.assert_allclose(result.first_recovered, [[0.0, 0.0], [0.0, 1.0]], atol=1e-12)
    # Unconditionally z1 hides part of z2: the threshold would be higher.
    moments = conditional_moments(
        Target("easy-hard").sample_labels, np.zeros((2, 0)), np.eye(2), (2,),
        uses_noise=False, n_points=2**18, seed=0,
    )  # fmt: skip
    second_alone = moments.pairs.index(((0, 2), (0, 2)))
    assert 2 * moments.value[second_alone] < 0.9 * result.inverse_delta_alg


def test_exclusive_or_has_two_labels():
    # E[z1 z2 | y] = (2/pi) y and nothing else of degree 2, so G^2 = (4/pi^2) I.
    result = hardness(Target(lambda z, eps: np.sign(z[:, 0] * z[:, 1]), k=2), n_points=FEW)
    assert result.delta_alg == pytest.approx(math.pi**2 / 4, abs=3 * result.delta_alg_stderr)
    assert result.delta_alg == pytest.approx(math.pi**2 / 4, rel=5e-4)
    np.testing.assert_array_equal(result.sign_flips, [[-1, -1]])
    np.testing.assert_allclose(result.first_recovered, np.eye(2) / math.sqrt(2), atol=1e-3)


def test_parity_of_three_has_no_threshold():
    # Pairs of coordinates are independent of the parity: degree 3 is the first.
    result = hardness(
        Target(lambda z, eps: np.sign(z[:, 0] * z[:, 1] * z[:, 2]), k=3), n_points=FEW
    )
    assert (result.information_exponent, result.generative_exponent) == (3, 3)
    assert result.generative_exponents == (3, 3, 3)
    assert (result.delta_alg, result.status) == (math.inf, Status.SUCCESS)
    assert math.isnan(result.delta_alg_stderr)
    assert abs(result.inverse_delta_alg) < 1e-6
    # E[z1 z2 z3 | y] = (2/pi)^(3/2) y.
    total = result.generative_share[2].sum()
    assert total == pytest.approx((2 / math.pi) ** 3, rel=5e-3)
    assert len(result.sign_flips) == 3


def test_generative_exponent_four():
    # A band of |z| with E[z^2 - 1; band] = 0: its edges have equal a phi(a).
    lower = 0.5
    upper = math.sqrt(-special.lambertw(-(lower**2) * math.exp(-(lower**2)), -1).real)
    result = hardness(
        Target(lambda z, eps: (np.abs(z[:, 0]) > lower) & (np.abs(z[:, 0]) < upper)), n_points=FEW
    )
    assert (result.information_exponent, result.generative_exponent) == (4, 4)
    assert (result.delta_alg, result.k_hard) == (math.inf, 1)
    assert result.status is Status.SUCCESS


def on_two_sheets(function):
    """E[(E[f(z^2) | y])^2] for y an invertible function of u e^-u, u = z^2.

    Of u < 1 < v with u e^-u = v e^-v the first has the weight |1 - v|, the second |1 - u|.
    """
    x, w = np.polynomial.legendre.leggauss(150)
    total = 0.0
    for a, b in itertools.pairwise((0.0, 0.3, 0.8, 1.0, 1.2, 2.0, 3.0, 5.0, 8.0, 11.0)):
        z, weight = a + 0.5 * (b - a) * (x + 1.0), 0.5 * (b - a) * w
        u = z * z
        branch = special.lambertw(-u * np.exp(-u), -1).real, special.lambertw(-u * np.exp(-u)).real
        v = -np.where(u < 1.0, *branch)
        mean = np.abs(1.0 - v) * function(u) + np.abs(1.0 - u) * function(v)
        mean /= np.abs(1.0 - v) + np.abs(1.0 - u)
        total += 2.0 * np.sum(weight * density(z) * function(u) * mean)
    return total


@pytest.mark.slow
@pytest.mark.parametrize(
    "label",
    [
        lambda z, eps: z[:, 0] ** 2 * np.exp(-(z[:, 0] ** 2)),
        lambda z, eps: np.abs(z[:, 0]) * np.exp(-0.5 * z[:, 0] ** 2),
        lambda z, eps: np.log(z[:, 0] ** 2) - z[:, 0] ** 2,
    ],
)
def test_conditional_mean_that_cancels_for_every_label(label):
    """Of z^2 exp(-z^2) and its like E[z^2 - 1 | y] = 0: the two sheets, (u - 1)/|1 - u|, cancel."""
    assert on_two_sheets(lambda u: (u - 1.0) / math.sqrt(2.0)) == pytest.approx(0.0, abs=1e-15)
    fourth = on_two_sheets(lambda u: (u * u - 6.0 * u + 3.0) / math.sqrt(24.0))
    assert fourth == pytest.approx(0.2299567, abs=1e-6)
    for settings in ({}, {"n_points": FEW}):
        result = hardness(Target(label), **settings)
        assert (result.information_exponent, result.generative_exponent) == (4, 4)
        assert result.status is Status.SUCCESS
        assert (result.delta_alg, result.k_hard) == (math.inf, 1)
        assert abs(result.inverse_delta_alg) < 4.0 * result.inverse_delta_alg_stderr
        found, error = result.generative_share[3, 0], result.generative_share_stderr[3, 0]
        assert found == pytest.approx(fourth, abs=3.0 * error)
        assert error < 5e-3


@pytest.mark.slow
def test_conditional_mean_that_cancels_beside_other_directions():
    # Two coordinates: u = |z|^2 / 2 is exponential, y = u e^-u, and again E[u - 1 | y] = 0.
    def label(z, eps):
        u = 0.5 * np.square(z).sum(axis=1)
        return u * np.exp(-u)

    result = hardness(Target(label, k=2))
    assert (result.generative_exponents, result.status) == ((4, 4), Status.SUCCESS)
    assert result.delta_alg == math.inf


def test_the_odd_sheet_is_easy():
    result = hardness(Target(lambda z, eps: z[:, 0] * np.exp(-0.5 * z[:, 0] ** 2)), n_points=FEW)
    assert (result.generative_exponent, result.delta_alg, result.k_hard) == (1, 0.0, 0)
    exact = on_two_sheets(np.sqrt)
    assert exact == pytest.approx(0.674356, abs=1e-6)
    found, error = result.generative_share[0, 0], result.generative_share_stderr[0, 0]
    assert found == pytest.approx(exact, abs=3.0 * error)
    assert found == pytest.approx(exact, rel=2e-3)


def test_bits_do_not_depend_on_the_number_of_threads():
    def run(threads):
        with threadpool_limits(limits=threads, user_api="blas"):
            return hardness(
                Target(lambda z, eps: np.tanh(z @ [1.0, 0.5]) + z[:, 1] ** 2 + 0.1 * eps, k=2),
                n_points=2**17,
            )

    one, two = run(1), run(2)
    for name in ("hard_basis", "information_share", "information_share_stderr", "generative_share",
                 "generative_share_stderr", "first_recovered"):  # fmt: skip
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.inverse_delta_alg == two.inverse_delta_alg
    for left, right in zip(one.rounds, two.rounds, strict=True):
        np.testing.assert_array_equal(left.explained, right.explained)
        np.testing.assert_array_equal(left.stderr, right.stderr)


@pytest.mark.slow
def test_difference_of_exponentials_in_four_dimensions():
    # y = z1 z2 + z3 z4 = A - B, both exponential: E[(E[A | y] - 1)^2] = 3/4, in a rotated frame.
    target = Target(lambda z, eps: z[:, 0] * z[:, 1] + z[:, 2] * z[:, 3], k=4)
    result = hardness(target, n_points=2**20)
    assert result.inverse_delta_alg == pytest.approx(0.75, abs=3 * result.inverse_delta_alg_stderr)
    assert result.inverse_delta_alg == pytest.approx(0.75, rel=5e-3)
    assert result.generative_exponents == (2, 2, 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2, 3])
def test_squared_norm(k):
    # E[z_1^2 - 1 | y] = y/k - 1, of variance 2/k, and G is a multiple of the identity.
    result = hardness(Target(lambda z, eps: np.square(z).sum(axis=1), k=k), n_points=2**20)
    assert result.inverse_delta_alg == pytest.approx(2 / k, abs=3 * result.inverse_delta_alg_stderr)
    assert result.inverse_delta_alg == pytest.approx(2 / k, rel=5e-3)
    assert len(result.sign_flips) == 2**k - 1


def test_irrelevant_and_rotated_directions():
    # Only (z1 + z2)/sqrt(2) enters, as its square.
    result = hardness(Target(lambda z, eps: np.square(z[:, 0] + z[:, 1]), k=2), n_points=FEW)
    assert result.delta_alg == pytest.approx(0.5, rel=1e-3)
    np.testing.assert_allclose(result.first_recovered, np.full((2, 2), 0.5), atol=1e-3)
    result = hardness(Target(lambda z, eps: np.square(z[:, 0]), k=2), n_points=2**16, max_degree=4)
    assert result.information_exponents == result.generative_exponents == (2, None)
    np.testing.assert_allclose(result.first_recovered, [[1.0, 0.0], [0.0, 0.0]], atol=1e-3)


@pytest.mark.slow
def test_missing_stair_is_the_product():
    # Given z1, the label z1 + z2 z3 tells z2 z3.
    target = Target(lambda z, eps: z[:, 0] + z[:, 1] * z[:, 2], k=3)
    result = hardness(target, n_points=2**21)
    exact = EXACT["product"]()
    assert result.inverse_delta_alg == pytest.approx(exact, abs=3 * result.inverse_delta_alg_stderr)
    assert result.inverse_delta_alg == pytest.approx(exact, rel=5e-3)


def test_multiplicative_noise():
    # The sign of eps hides that of z: no coefficient of E[y | z], and the exponents of |z eps|.
    result = hardness(Target(lambda z, eps: z[:, 0] * eps), n_points=FEW)
    assert (result.information_exponent, result.generative_exponent) == (None, 2)
    # E[z1^2 - 1 | z1 z2], squared and averaged.
    assert result.inverse_delta_alg == pytest.approx(EXACT["product"]() - 1.0, rel=2e-3)
    np.testing.assert_array_equal(result.sign_flips, [[-1]])


def test_user_function_is_as_the_catalogue():
    mine = hardness(Target(lambda z, eps: z[:, 0] ** 4 - 6 * z[:, 0] ** 2 + 3), n_points=2**16)
    named = hardness("hermite4", n_points=2**16)
    assert mine.delta_alg == pytest.approx(named.delta_alg, rel=1e-9)


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "exact"),
    [
        (Target("phase-retrieval", noise=1.0), None),
        (Target("product"), "product"),
        (Target(lambda z, eps: np.square(z).sum(axis=1), k=2), 1.0),
    ],
)
def test_errors_are_honest(target, exact):
    if exact is None:
        u, weight = half_line()
        exact = with_noise(u * u, second(u), weight, 1.0)
    exact = EXACT[exact]() if isinstance(exact, str) else exact
    pulls = []
    for seed in range(8):
        result = hardness(target, n_points=2**16, seed=seed, max_degree=2)
        pulls.append((result.inverse_delta_alg - exact) / result.inverse_delta_alg_stderr)
    assert np.max(np.abs(pulls)) < 4
    assert np.std(pulls) > 0.05


def test_same_seed_same_bits():
    first, second = (hardness("product", n_points=2**16) for _ in range(2))
    assert first.inverse_delta_alg == second.inverse_delta_alg
    np.testing.assert_array_equal(first.generative_share, second.generative_share)
    other = hardness("product", n_points=2**16, seed=1)
    assert other.inverse_delta_alg != first.inverse_delta_alg


def test_coefficients_by_quadrature_and_by_sampling():
    # A jump away from zero: quadrature rules disagree, and say so.
    energies = hermite_energies(
        lambda z, eps: (z[:, 0] > 0.3) * 1.0, np.eye(1), 3, uses_noise=False, n_points=FEW, seed=0
    )
    assert not energies.exact
    p = special.ndtr(-0.3)
    exact = density(0.3) ** 2 / (p * (1 - p))
    assert energies.value[0, 0] == pytest.approx(exact, abs=5 * energies.stderr[0, 0] + 1e-6)
    assert energies.value[0, 0] == pytest.approx(exact, rel=1e-4)
    # E[y He2] = 0.3 phi(0.3).
    assert energies.value[1, 0] == pytest.approx(exact * 0.3**2 / 2, rel=1e-3)
    smooth = hermite_energies(
        lambda z, eps: np.sin(z[:, 0]), np.eye(1), 3, uses_noise=False, n_points=FEW, seed=0
    )
    assert smooth.exact
    variance = 0.5 * (1 - math.exp(-2))
    assert smooth.value[:, 0] == pytest.approx(
        [math.exp(-1) / variance, 0.0, math.exp(-1) / 6 / variance], abs=1e-10
    )


def test_profile_shows_the_conditional_means():
    profile = hardness("phase-retrieval", n_points=2**16).profile
    # E[z^2 - 1 | y] = y - 1, and nothing odd.
    np.testing.assert_allclose(profile.mean[1], (profile.y - 1) / math.sqrt(2), atol=1e-9)
    np.testing.assert_allclose(profile.mean[::2], 0.0, atol=1e-9)
    assert profile.probability.sum() == pytest.approx(1.0)
    assert np.all(np.diff(profile.y) > 0)


# -- statuses and the door -----------------------------------------------------------------------


def test_unclear_directions():
    target = Target(lambda z, eps: z[:, 0] ** 2 + 0.06 * z[:, 0])
    result = hardness(target, n_points=2**16)
    assert result.status is Status.UNDECIDED
    with pytest.raises(NumericalFailure, match="UNDECIDED"):
        hardness(target, n_points=2**16, throw=True)
    # What is stated stands where it is not clearly wrong.
    stated = Target(target.label, hard_directions=[0])
    assert hardness(stated, n_points=2**16).status is Status.UNDECIDED
    stated = Target(lambda z, eps: z[:, 0] ** 2, hard_directions=[])
    assert hardness(stated, n_points=2**16).status is Status.UNDECIDED


def test_easy_directions_stated_as_hard_are_refused():
    # E[z | z] = z: all of the variance.
    with pytest.raises(
        ValueError, match=r"labels explain (1|0\.999) \+- .* of the variance of \[1\]"
    ):
        hardness(Target(lambda z, eps: z[:, 0], hard_directions=[0]), n_points=2**16)


def test_labels_without_information():
    result = hardness(Target(lambda z, eps: np.ones(len(z))), n_points=2**16)
    assert result.status is Status.NO_COEFFICIENT
    assert (result.information_exponent, result.generative_exponent) == (None, None)
    assert (result.delta_alg, result.inverse_delta_alg) == (math.inf, pytest.approx(0.0, abs=1e-9))
    result = hardness(Target(lambda z, eps: eps), n_points=2**20)
    assert result.status is Status.NO_COEFFICIENT


def test_directions_that_do_not_enter_the_label_decide_nothing():
    """They are hard (no overlap in O(1) steps), but 1/delta_alg = 2 is that of the other one."""
    result = hardness(Target(lambda z, eps: (z[:, 0] - z[:, 1]) ** 2, k=2), n_points=2**18)
    assert (result.status, result.generative_exponents) == (Status.SUCCESS, (2, None))
    assert result.k_hard == 2
    assert np.allclose(result.irrelevant_basis[:, 0], np.sqrt([0.5, 0.5]))
    assert abs(result.inverse_delta_alg - 2.0) < 3.0 * result.inverse_delta_alg_stderr
    assert "not in the label      (+0.7071 z1 +0.7071 z2)" in result.summary()
    # Of a label that is z2 alone the first, hard, is not in it, and nothing is left.
    result = hardness(Target(lambda z, eps: z[:, 1] + eps, k=2), n_points=2**16)
    assert (result.status, result.delta_alg) == (Status.NO_COEFFICIENT, math.inf)
    assert result.irrelevant_basis.tolist() == [[1.0], [0.0]]
    assert "nothing is to be learned" in result.summary()
    assert hardness("product", n_points=2**16).irrelevant_basis.shape == (2, 0)


def test_labels_without_second_moment():
    result = hardness(Target(lambda z, eps: 1.0 / z[:, 0]), n_points=2**16)
    assert (result.status, result.information_status) == (Status.SUCCESS, Status.NONFINITE)
    assert (result.information_exponent, result.generative_exponent) == (None, 1)
    result = hardness(Target(lambda z, eps: np.exp(np.square(z[:, 0]))), n_points=2**16)
    assert (result.status, result.information_status) == (Status.SUCCESS, Status.NONFINITE)
    assert result.delta_alg == pytest.approx(0.5, rel=5e-3)
    # y = z1 / z2 is an angle theta up to half turns, on which |z| does not depend. So
    # E[G | y] = ((cos, sin)(2 theta)), and E[G M G] = M.
    result = hardness(Target(lambda z, eps: z[:, 0] / z[:, 1], k=2), n_points=2**18, throw=True)
    assert (result.status, result.information_status) == (Status.SUCCESS, Status.NONFINITE)
    assert result.information_exponents == (None, None)
    assert result.generative_exponents == (2, 2)
    assert result.delta_alg == pytest.approx(1.0, abs=3 * result.delta_alg_stderr)
    assert result.delta_alg == pytest.approx(1.0, rel=5e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": 3}, "target must be a dmft.Target, got int"),
        ({"target": "He3"}, "label must be one of .*'hermite3'"),
        ({"target": Target(lambda z, eps: z[:, 0], k=5)}, "target must have at most 4 .* got 5"),
        ({"max_degree": 1}, "max_degree must be an integer >= 2, got 1"),
        ({"n_points": 1000}, "n_points must be an integer >= 65536, got 1000"),
        ({"n_points": 100000}, "n_points must be a power of two, got 100000"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
    ],
)
def test_bad_input(settings, message):
    with pytest.raises(ValueError, match=message):
        hardness(**({"target": "linear"} | settings))


def test_save_and_load(tmp_path):
    for name in ("phase-retrieval", "easy-hard"):
        result = hardness(name, n_points=2**16, max_degree=4)
        result.save(tmp_path / "result")
        loaded = Hardness.load(tmp_path / "result.npz")
        for field in (
            "k", "delta_alg", "generative_exponents", "status", "information_status", "config"
        ):  # fmt: skip
            assert getattr(loaded, field) == getattr(result, field)
        np.testing.assert_array_equal(loaded.generative_share, result.generative_share)
        np.testing.assert_array_equal(loaded.sign_flips, result.sign_flips)
        assert len(loaded.rounds) == len(result.rounds)
        np.testing.assert_array_equal(loaded.rounds[-1].explained, result.rounds[-1].explained)
        assert (loaded.profile is None) == (result.profile is None)
    with pytest.raises(ValueError, match="must be a delta-nn spectrum file"):
        dmft.Spectrum.load(tmp_path / "result.npz")


def test_progress_adds_up():
    calls = []
    target = Target("easy-hard")
    hardness(target, n_points=2**16, progress=calls.append)
    assert sum(calls) == hardness_steps(target)


def test_the_package_has_the_function():
    # The function, not the module it comes from: the submodule must not shadow it.
    assert dmft.hardness is hardness
    assert dmft.Hardness is Hardness


def test_bessel_density():
    # The known density of the product, by which the twin stands.
    mean, _ = integrate.quad(lambda y: 2 * special.k0(y) / np.pi * y, 0, np.inf)
    assert mean == pytest.approx(2 / np.pi, rel=1e-9)
