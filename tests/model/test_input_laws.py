"""Laws of the inputs: what they draw, what they refuse, which directions are hard under them."""

import json

import numpy as np
import pytest

import dmft
from dmft.model.curvature_support import curvature_support
from dmft.model.input_laws import get_input_law

CLUSTERS = dmft.GaussianMixture(
    [0.3, 0.7],
    [[1.0, 0.0], [-1.0, 0.5]],
    [[[1.0, 0.3], [0.3, 0.5]], [[2.0, 0.0], [0.0, 0.0]]],
    [1.0, 1.5],
)
LAWS = [
    CLUSTERS,
    dmft.Elliptical("student-t", degrees_of_freedom=7),
    dmft.Elliptical("exponential"),
    dmft.Elliptical("laplace"),
    dmft.IndependentLatents("rademacher"),
    dmft.IndependentLatents("uniform"),
    dmft.IndependentLatents("laplace"),
    dmft.IndependentLatents("student-t", degrees_of_freedom=7),
    dmft.IndependentLatents(["student-t", "rademacher"], degrees_of_freedom=7),
]


def drawn(law, n=2**16, k=2, seed=0):
    rng = np.random.default_rng(seed)
    return law.draw(rng.standard_normal((k, n)), rng.standard_normal((law.n_normals, n)))


@pytest.mark.parametrize("law", LAWS[1:], ids=lambda law: law.describe())
def test_laws_of_the_catalogue_are_standardised(law):
    z = drawn(law).z
    error = np.sqrt(np.mean(z**4) / z.size)
    assert abs(z.mean()) < 4.0 / np.sqrt(z.size)
    assert abs(np.mean(z**2) - 1.0) < 4.0 * error


def test_scales_and_latents_are_those_of_their_distributions():
    from scipy import stats

    s = dmft.Elliptical("student-t", degrees_of_freedom=3).quantiles(np.array([-3.0, 0.0, 2.0]))
    chi2 = stats.chi2(3).isf(stats.norm.cdf([-3.0, 0.0, 2.0]))
    np.testing.assert_allclose(s, np.sqrt(1.0 / chi2), rtol=1e-12)
    x = np.array([-7.0, -0.4, 3.0])
    u = stats.norm.cdf(x)
    for name, law in {
        "laplace": stats.laplace(scale=np.sqrt(0.5)),
        "uniform": stats.uniform(-np.sqrt(3.0), 2.0 * np.sqrt(3.0)),
        "student-t": stats.t(5, scale=np.sqrt(0.6)),
    }.items():
        found = dmft.IndependentLatents(name).quantiles(x)
        np.testing.assert_allclose(found, law.ppf(u), rtol=1e-9)


def test_each_latent_coordinate_may_have_a_law_of_its_own():
    def own(u):
        return 2.0 * u - 1.0

    law = dmft.IndependentLatents(["student-t", own, "normal", "student-t"], [3, 9])
    x = np.random.default_rng(0).standard_normal((4, 100))
    z = law.draw(x, np.empty((0, 100))).z
    three, nine = (dmft.IndependentLatents("student-t", freedom) for freedom in (3, 9))
    parts = (three, dmft.IndependentLatents(own), dmft.IndependentLatents("normal"), nine)
    np.testing.assert_array_equal(
        z, [part.quantiles(row) for part, row in zip(parts, x, strict=True)]
    )
    np.testing.assert_array_equal(z[2], x[2])
    assert law == dmft.IndependentLatents(law.latents, [3, None, None, 9])
    assert law.describe() == "independent latents, student-t(3), own, normal, student-t(9)"
    target = dmft.Target(lambda z, eps: z[:, 1] * z[:, 2] ** 2, k=4)
    problem = dmft.Problem(target, inputs=law)
    config = problem.to_config()
    supplied = {"label": target.label, "quantile": [own]}
    assert dmft.Problem.from_config(config, **supplied) == problem
    assert dmft.Problem.of_record(config, None) is None
    np.testing.assert_array_equal(problem.target.hard_basis, np.eye(4)[:, [0, 2, 3]])


def test_clusters_have_their_means_covariances_and_scales():
    found = drawn(CLUSTERS)
    assert set(found.scales) == {1.0, 1.5}
    for index in range(2):
        own = found.z[:, found.component == index]
        assert own.shape[1] / 2**16 == pytest.approx(CLUSTERS.weights[index], abs=0.01)
        np.testing.assert_allclose(own.mean(axis=1), CLUSTERS.means[index], atol=0.04)
        np.testing.assert_allclose(np.cov(own), CLUSTERS.covariances[index], atol=0.06)


def test_clusters_are_isotropic_unless_covariances_are_given():
    law = dmft.GaussianMixture([0.5, 0.5], [[0.0], [1.0]], scales=[1.0, 3.0])
    assert law.covariances == (((1.0,),), ((9.0,),))
    assert dmft.GaussianMixture([0.5, 0.5], [[0.0], [1.0]], [1.0, 9.0], [1.0, 3.0]) == law


def nan_at_a_half(u):
    return np.where(np.abs(u - 0.5) < 1e-9, np.nan, 1.0 + u)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dmft.GaussianMixture([0.5, 0.6], [[1.0], [2.0]]), "weights must be positive and"),
        (lambda: dmft.GaussianMixture([1.5, -0.5], [[1.0], [2.0]]), "weights must be positive and"),
        (lambda: dmft.GaussianMixture([], [[1.0]]), "weights must be positive and of sum 1"),
        (lambda: dmft.GaussianMixture([0.5, 0.5], [[1.0]]), "means must have shape"),
        (lambda: dmft.GaussianMixture([1.0], [1.0]), "means must be an array of shape"),
        (lambda: dmft.GaussianMixture([1.0], [[np.nan]]), "means must"),
        (lambda: dmft.GaussianMixture([1.0], [[0.0]], [[[-1.0]]]), "covariances must be symmetric"),
        (lambda: dmft.GaussianMixture([1.0], [[0.0]], [-1.0]), "covariances must be symmetric"),
        (
            lambda: dmft.GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]]),
            r"covariances must be symmetric and .* \(smallest eigenvalue -1\)",
        ),
        (
            lambda: dmft.GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]]),
            "covariances must be symmetric",
        ),
        (lambda: dmft.GaussianMixture([1.0], [[0.0]], np.eye(2)), "covariances must be positive"),
        (lambda: dmft.GaussianMixture([1.0], [[0.0]], scales=[0.0]), "scales must be 1 positive"),
        (lambda: dmft.GaussianMixture([1.0], [[0.0]], scales=[1.0, 1.0]), "scales must be 1"),
        (lambda: dmft.GaussianMixture([1.0], [[1e200]]), "must be at most 1e[+]30 in size"),
        (lambda: dmft.GaussianMixture([1.0], [[0.0]], scales=[1e-200]), "must be at most 1e[+]30"),
        (lambda: dmft.Elliptical(lambda u: 1 / (1 - u)), "must have a finite mean square"),
        (lambda: dmft.Elliptical("gauss"), "scales must be one of 'student-t'"),
        (lambda: dmft.Elliptical("student-t", 2.0), "degrees_of_freedom must be"),
        (lambda: dmft.Elliptical("laplace", 3.0), "degrees_of_freedom must be left out"),
        (lambda: dmft.Elliptical(nan_at_a_half), "must be finite between 0 and 1, is not at 0.5"),
        (lambda: dmft.Elliptical(lambda u: u - 0.1), "must be positive, got -0.1"),
        (lambda: dmft.Elliptical(lambda u: 2.0 - u), "does not decrease"),
        (lambda: dmft.Elliptical(lambda u: u[:3]), "must return an array of shape"),
        (lambda: dmft.Elliptical(lambda u: 1.0 / 0.0), "failed: ZeroDivisionError"),
        (lambda: dmft.IndependentLatents(lambda u: u + 0j), "must return real numbers"),
        (lambda: dmft.IndependentLatents("gaussian"), "latents must be one of 'rademacher'"),
        (lambda: dmft.IndependentLatents([]), "a law for each latent coordinate, got none"),
        (lambda: dmft.IndependentLatents([["normal"]]), "one law for each coordinate, got"),
        (lambda: dmft.IndependentLatents(["normal", "student-t"], [3, 4]), "each of the 1 latent"),
        (lambda: dmft.IndependentLatents(["normal"], 3), "degrees_of_freedom must be left out"),
        (
            lambda: dmft.Problem("linear", inputs=dmft.IndependentLatents(["normal", "uniform"])),
            "inputs must have a law for each of k = 1 latent coordinates, as the target has, got 2",
        ),
        (lambda: dmft.Problem("linear", inputs="rademacher"), "the theory does not have that law"),
        (lambda: dmft.Problem("linear", inputs=dmft.Inputs("uniform")), "the theory does not have"),
        (lambda: dmft.Problem("linear", inputs=3), "inputs must be 'gaussian', a dmft.Gaussian"),
        (lambda: dmft.Problem("linear", inputs={"law": "eliptical"}), "did you mean 'elliptical'"),
        (lambda: dmft.Problem("linear", inputs={"law": "gaussian-mixture"}), "must have weights"),
        (lambda: dmft.Problem("linear", inputs=CLUSTERS), "means of k = 1 latent coordinates"),
        (
            lambda: dmft.Problem(dmft.Target(classes="component")),
            "inputs must be a dmft.GaussianMixture of two clusters",
        ),
        (
            lambda: dmft.Problem(
                dmft.Target(classes="component"),
                inputs=dmft.GaussianMixture([0.2, 0.3, 0.5], [[0.0], [1.0], [2.0]]),
            ),
            "of two clusters",
        ),
        (
            lambda: dmft.Problem(dmft.Target(lambda z, eps, component: z[:, 0] * component)),
            "inputs must be a dmft.GaussianMixture for label",
        ),
        (
            lambda: dmft.Problem(
                dmft.Target(lambda z, eps, c: z[:, 0] * c), inputs=dmft.Elliptical("laplace")
            ),
            "whose third argument is a cluster, got elliptical, laplace",
        ),
        (
            lambda: dmft.Problem(
                dmft.Target(lambda z, eps, c: np.array([1.0])[c]),
                inputs=dmft.GaussianMixture([0.5, 0.5], [[0.0], [1.0]]),
            ),
            "failed on z .*IndexError",
        ),
        (lambda: dmft.Target(), "label must be left out with classes 'component', and given"),
        (lambda: dmft.Target("linear", classes="component"), "label must be left out"),
        (lambda: dmft.Target(classes="component", slope=1.0), "slope must be left out"),
        (lambda: dmft.Target(classes="component", threshold=0.0), "threshold must be left out"),
        (
            lambda: dmft.hardness(dmft.Target(classes="component")),
            "target must not depend on clusters",
        ),
    ],
)
def test_bad_inputs_are_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message) as info:
        make()
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.describe())
def test_settings_describe_the_same_law(law):
    config = json.loads(json.dumps(law.to_config()))
    assert get_input_law(config) == law
    assert hash(get_input_law(config)) == hash(law)
    problem = dmft.Problem("product", inputs=law)
    stored = json.loads(json.dumps(problem.to_config()))
    assert dmft.Problem.from_config(stored) == problem
    assert "inputs" not in dmft.Problem("product", inputs="gaussian").to_config()


def test_an_own_quantile_function_is_named_and_supplied():
    def half_to_three_halves(u):
        return 0.5 + u

    problem = dmft.Problem("linear", inputs=dmft.Elliptical(half_to_three_halves))
    config = problem.to_config()
    assert config["inputs"]["scales"] == {"custom": "half_to_three_halves"}
    with pytest.raises(ValueError, match="scales must be supplied"):
        dmft.Problem.from_config(config)
    assert dmft.Problem.from_config(config, quantile=half_to_three_halves) == problem
    assert dmft.Problem.of_record(config, None) is None


# -- hard directions -------------------------------------------------------------------------------

PLANE = [[1.0, 0.0], [-1.0, 0.0]]


@pytest.mark.parametrize(
    ("target", "inputs", "hard"),
    [
        # Symmetries of labels that inputs share.
        ("modulus", dmft.Elliptical("student-t", 3), [[1.0]]),
        ("product", dmft.Elliptical("laplace"), np.eye(2)),
        ("easy-hard", dmft.IndependentLatents("laplace"), [[0.0], [1.0]]),
        ("linear", dmft.Elliptical("exponential"), np.zeros((1, 0))),
        # z1 z2 = +-1 of signs tells of neither of them.
        ("product", dmft.IndependentLatents("rademacher"), np.eye(2)),
        # The sign of z1 z2^2 is that of z1 for signs.
        (lambda z, eps: z[:, 0] * z[:, 1] ** 2, dmft.IndependentLatents("rademacher"), None),
        # The cluster tells of the direction between the means, and of no other.
        (None, dmft.GaussianMixture([0.5, 0.5], PLANE), [[0.0], [1.0]]),
        (None, dmft.GaussianMixture([0.5, 0.5], [[0.0, 0.0]] * 2, [1.0, 3.0]), np.eye(2)),
        # A label that is even, of clusters that are not: the mean alone makes z easy.
        ("modulus", dmft.GaussianMixture([1.0], [[1.0]]), np.zeros((1, 0))),
        ("modulus", dmft.GaussianMixture([0.5, 0.5], [[1.0], [-1.0]]), [[1.0]]),
        # A covariance couples the second direction to the easy one in one cluster.
        (
            None,
            dmft.GaussianMixture([0.5, 0.5], PLANE, [np.eye(2), [[1.0, 0.5], [0.5, 1.0]]]),
            np.zeros((2, 0)),
        ),
    ],
)  # fmt: skip
def test_hard_directions_are_those_of_labels_under_the_inputs(target, inputs, hard):
    if target is None:
        target = dmft.Target(classes="component", k=2)
    elif callable(target):
        target = dmft.Target(target, k=2)
    if hard is None:
        hard = [[0.0], [1.0]]
    found = dmft.Problem(target, inputs=inputs).target.hard_basis
    np.testing.assert_array_equal(found, hard)


def test_directions_between_means_are_exact_whatever_their_components():
    means = np.array([0.6, 0.8 / np.sqrt(2), 0.8 / np.sqrt(2)])
    mixture = dmft.GaussianMixture([0.4, 0.6], [means, -means])
    basis = dmft.Problem(dmft.Target(classes="component", k=3), inputs=mixture).target.hard_basis
    assert basis.shape == (3, 2)
    assert np.abs(means @ basis).max() < 1e-15


def test_stated_directions_are_held_against_the_inputs():
    mixture = dmft.GaussianMixture([0.5, 0.5], PLANE)
    easy = dmft.Target(classes="component", k=2, hard_directions=[0])
    with pytest.raises(ValueError, match="hard_directions must be hard, yet labels explain"):
        _ = dmft.Problem(easy, inputs=mixture).target.hard_basis
    hard = dmft.Target(classes="component", k=2, hard_directions=[1])
    basis = dmft.Problem(hard, inputs=mixture).target.hard_basis
    np.testing.assert_array_equal(basis, [[0.0], [1.0]])


def test_pairs_need_inputs_that_are_symmetric():
    skewed = dmft.IndependentLatents(lambda u: -np.log1p(-u) - 1.0)
    assert not skewed.is_symmetric(np.eye(1))
    signs = dmft.IndependentLatents("rademacher")
    assert signs.is_symmetric(np.eye(2))
    assert not signs.is_symmetric(np.array([[0.6], [0.8]]))
    mixed = dmft.IndependentLatents(["normal", "normal", lambda u: -np.log1p(-u) - 1.0])
    assert mixed.is_symmetric(np.array([[0.6], [0.8], [0.0]]))
    assert not mixed.is_symmetric(np.array([[0.6], [0.0], [0.8]]))
    mixture = dmft.GaussianMixture([0.5, 0.5], PLANE)
    assert mixture.is_symmetric(np.eye(2)[:, 1:])
    assert not mixture.is_symmetric(np.eye(2)[:, :1])
    assert dmft.Problem("modulus", inputs=dmft.Elliptical("laplace")).target.is_even


def test_labels_of_signs_are_classes():
    target = dmft.Problem("product", inputs=dmft.IndependentLatents("rademacher")).target
    assert target.has_sign_labels
    assert not dmft.Target("product").has_sign_labels


# -- support of the curvature ----------------------------------------------------------------------


def test_the_support_is_that_of_s2_d():
    network = dmft.Network("gelu")
    plain = dmft.Problem("phase-retrieval", network, "pseudo-huber")
    lowest = np.linalg.eigvalsh(curvature_support(plain).points).min()
    bounded = dmft.Problem(
        "phase-retrieval", network, "pseudo-huber", inputs=dmft.Elliptical(lambda u: 0.5 + u)
    )
    support = curvature_support(bounded)
    assert support.bounded_below
    assert np.linalg.eigvalsh(support.points).min() == pytest.approx(2.25 * lowest, rel=1e-9)
    heavy = dmft.Problem(
        "phase-retrieval", network, "pseudo-huber", inputs=dmft.Elliptical("student-t", 3)
    )
    assert not curvature_support(heavy).bounded_below
    convex = dmft.Problem(
        dmft.Target(classes="component"),
        dmft.Network("linear"),
        "logistic",
        inputs=dmft.GaussianMixture([0.5, 0.5], [[1.0], [-1.0]], scales=[1.0, 2.0]),
    )
    support = curvature_support(convex)
    assert (support.bounded_below, support.bounded_above) == (True, True)
    assert support.points.min() == pytest.approx(0.0, abs=1e-12)
    assert support.points.max() == pytest.approx(1.0, rel=1e-6)  # s^2 / 4
