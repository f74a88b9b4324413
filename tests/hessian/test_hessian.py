"""From a problem to the law of its Hessian: explicit laws at step 0, support of the weights."""

import numpy as np
import pytest
from scipy.stats import norm

import dmft
from dmft._numerics.quadrature import normal_rule
from dmft.hessian.gap_samples import sample_gap
from dmft.hessian.hessian import initial_law
from dmft.model.curvature_support import curvature_support, describe_unbounded

SAMPLING = dmft.Sampling(n_paths=4096, replicates=8, seed=5)


def problem(activation="gelu", loss="pseudo-huber", label="phase-retrieval", a=(1.0,), **more):
    return dmft.Problem(label, dmft.Network(activation, a), loss, **more)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "below", "above"),
    [
        (problem("quadratic", "pseudo-huber"), True, False),
        (problem("gelu", "pseudo-huber"), True, True),
        (problem("quadratic", "square"), False, False),
        (problem("tanh", "square"), False, False),
        (problem("linear", "square"), True, True),
        (problem("tanh", "square", "easy-hard"), True, True),
        (problem("gelu", "square", "product", (1.0, -1.0)), False, False),
        (problem("gelu", "pseudo-huber", "product", (1.0, -1.0)), True, True),
        (problem("softplus", "square", "staircase"), False, False),
        (problem("tanh", "logistic", dmft.Target(lambda z, e: np.sign(z[:, 0]))), True, True),
    ],
)
def test_boundedness_of_the_curvature(case, below, above):
    support = curvature_support(case)
    assert (support.bounded_below, support.bounded_above) == (below, above)


def test_slowly_growing_labels_are_unbounded_too():
    label = dmft.Target(lambda z, eps: np.log1p(z[:, 0] ** 2), hard_directions=[0])
    assert not curvature_support(problem("quadratic", "square", label)).bounded_below


def test_support_holds_the_infimum_that_is_only_approached_far_out():
    # D = 4 r^2 L'' + 2 L' > -2, approached as the label grows at fixed r.
    assert abs(curvature_support(problem("quadratic")).points.min() + 2.0) < 1e-9


def test_unbounded_weights_are_a_status_not_a_number():
    trajectory = dmft.solve(
        problem("quadratic", "square"), 4.0, dmft.GradientDescent(0.02, 2), SAMPLING
    )
    for step in (0, 2):
        law = trajectory.hessian(step)
        edges = law.edges()
        assert edges.status is dmft.Status.UNBOUNDED_EDGE
        assert edges.left == -np.inf
        assert law.hard_gap() == np.inf
        assert all(outlier.side != "left" for outlier in law.outliers())


def test_quadrature_at_step_zero_agrees_with_sampled_paths():
    case = problem("gelu")
    law = initial_law(case, 4.0)
    assert law.replicates == ()
    from dmft.hessian.hessian import sampled_law

    trajectory = dmft.solve(case, 4.0, dmft.GradientDescent(0.1, 0), SAMPLING)
    sampled = sampled_law(case, 4.0, trajectory._runs, 0)
    assert abs(sampled.hard_gap() - law.hard_gap()) < 4 * sampled.stderr("hard_gap")
    assert abs(sampled.edges().left - law.edges().left) < 4 * sampled.stderr("left_edge") + 1e-4


def test_quadrature_at_step_zero_is_converged():
    # The same law from a coarser and a finer rule.
    from dmft._numerics.quadrature import gaussian_nodes

    case = problem("quadratic")
    support = curvature_support(case)
    gaps = []
    for rule in ("medium", "fine"):
        nodes, probabilities = gaussian_nodes(2, rule)
        from dmft.hessian.hessian import _law

        labels = case.sample_labels(nodes[:1].T, np.zeros(nodes.shape[1]))
        law = _law(case, 2.0, support, nodes[1:], labels, nodes[:1], probabilities=probabilities)
        gaps.append(law.hard_gap())
    assert abs(gaps[0] - gaps[1]) < 1e-5


@pytest.mark.slow
def test_many_gaussians_at_step_zero_come_with_a_standard_error():
    case = problem("gelu", label="product", a=(1.0, -1.0))
    law = initial_law(case, 4.0, SAMPLING)
    assert len(law.replicates) == 8
    assert 0 < law.stderr("hard_gap") < 1e-2


def test_weight_decay_shifts_the_spectrum():
    plain = initial_law(problem("gelu"), 4.0)
    for decay, same_gap in ((0.1, True), (1.0, False)):
        law = initial_law(problem("gelu", weight_decay=decay), 4.0)
        np.testing.assert_allclose(
            np.array(law.edges()), np.array(plain.edges()) + decay, atol=1e-9
        )
        # The gap is taken where the eigenvalues of H turn negative, or at the edge if that is
        # already negative.
        assert (law.edges().left < 0) == same_gap
        assert (law.hard_gap() == pytest.approx(plain.hard_gap(), abs=1e-9)) == same_gap
        (outlier,) = (o for o in law.outliers() if o.side == "left")
        assert (law.hard_gap() < 0) == (outlier.value < 0)


@pytest.mark.slow
def test_easy_problems_have_no_hard_block():
    law = initial_law(problem("tanh", "square", "staircase"), 3.0)
    with pytest.raises(ValueError, match="hard"):
        law.hard_gap()


def test_density_at_a_late_step_has_mass_one():
    trajectory = dmft.solve(problem("gelu"), 4.0, dmft.GradientDescent(0.2, 10), SAMPLING)
    law = trajectory.hessian(10)
    left, right = law.edges()
    x = np.linspace(left, right, 1500)
    assert abs(np.trapezoid(law.density(x), x) - 1) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("m", [2, 3])
def test_density_of_several_neurons_has_mass_one(m):
    case = problem("tanh", label="easy-hard", a=np.linspace(1, -0.5, m))
    trajectory = dmft.solve(
        case, 5.0, dmft.GradientDescent(0.2, 4), dmft.Sampling(n_paths=256, replicates=4)
    )
    law = trajectory.hessian(4)
    left, right = law.edges()
    theta = np.linspace(0, np.pi, 400)  # points cluster at the square-root edges
    x = 0.5 * (left + right) - 0.5 * (right - left) * np.cos(theta)
    assert abs(np.trapezoid(law.density(x), x) - 1) < 1e-3


def test_labels_that_overflow_far_out_are_unbounded():
    label = dmft.Target(lambda z, eps: np.exp(0.2 * z[:, 0] ** 2), hard_directions=[0])
    support = curvature_support(problem("quadratic", "square", label))
    assert (support.bounded_below, support.bounded_above) == (False, False)


def test_support_of_a_degenerate_start_is_that_of_its_own_weights():
    # At radius zero r = 0, and D = -a L'(y) s'' for tanh is 0: only L'' a^2 remains. The outlier
    # and its overlap are those of a finite-size Hessian (d = 500): 0.1139 and 0.390.
    law = initial_law(problem("tanh", init_radius=0.0), 4.0)
    (outlier,) = (o for o in law.outliers() if o.side == "left")
    assert abs(outlier.value - 0.1126) < 1e-3
    assert abs(outlier.hard_overlap - 0.390) < 5e-3
    # r^2 at r = 0: D = 2 L'(-y) lies in (-2, 0), whatever D may be elsewhere.
    right = initial_law(problem("quadratic", init_radius=0.0), 4.0).edges().right
    assert -2 < right < 0


def test_jumps_away_from_zero_are_integrated_exactly():
    label = dmft.Target(lambda z, eps: np.where(np.abs(z[:, 0]) > 0.7, 1.0, -1.0))
    case = problem("gelu", "logistic", label)
    law = initial_law(case, 3.0902, SAMPLING)
    assert law.replicates == ()
    # The gap vanishes at 3.0902, from quadrature split at the jump.
    assert abs(law.hard_gap()) < 1e-5
    smooth = dmft.Target(lambda z, eps: z[:, 0] ** 2)
    assert initial_law(problem("gelu", label=smooth), 3.0).replicates == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "k"),
    [
        (lambda z, eps: np.abs(z[:, 0] - z[:, 1]), 2),
        (lambda z, eps: np.clip(z[:, 0] * z[:, 1], -1.0, 1.0), 2),
        (lambda z, eps: np.where(z[:, 0] ** 2 > 1.0 + eps, 1.0, -1.0), 1),
    ],
)
def test_kinks_across_the_axes_are_sampled_with_an_error(label, k):
    target = dmft.Target(label, k=k, hard_directions=range(k))
    law = initial_law(problem("gelu", label=target), 3.0, SAMPLING)
    assert len(law.replicates) == 8
    assert 0 < law.stderr("hard_gap") < 1e-2


def test_kinks_that_nobody_declared_are_found():
    """User's own activation and loss with kinks, and the same ones written as the catalogue has."""
    plain = dmft.Activation(
        lambda r: np.clip(r, -1, 1), lambda r: 1.0 * (abs(r) < 1), lambda r: 0 * r
    )
    one = initial_law(problem(plain, a=(1.3,)), 2.0)
    other = initial_law(problem("clipped-linear", a=(1.3,)), 2.0)
    assert one.replicates == other.replicates == ()
    np.testing.assert_allclose(one.edges(), other.edges(), rtol=1e-9)

    # Squared hinge, labels +-1 of relu(r): D = L'' in 1 > y f, r > 0, so that its mean is exact.
    hinge = dmft.Loss(
        lambda f, y: 0.5 * np.maximum(1 - y * f, 0) ** 2,
        lambda f, y: -y * np.maximum(1 - y * f, 0),
        lambda f, y: 1.0 * (y * f < 1),
    )
    law = initial_law(
        problem("relu", hinge, dmft.Target("modulus", classes="sign", threshold=1)), 2
    )
    up = 2 * norm.sf(1.0)
    exact = up * (norm.cdf(1.0) - 0.5) + (1 - up) * 0.5
    assert law.replicates == ()
    assert law.moments(1)[0] == pytest.approx(exact, rel=1e-10)


def test_a_label_that_cannot_be_hashed():
    class Label:
        __hash__ = None

        def __call__(self, z, eps):
            return z[:, 0] ** 2

    case = problem("gelu", label=dmft.Target(Label()))
    assert curvature_support(case).bounded_below


CUBED_RELU = dmft.Activation(
    lambda r: np.maximum(r, 0) ** 3,
    lambda r: 3 * np.maximum(r, 0) ** 2,
    lambda r: 6 * np.maximum(r, 0),
    name="cubed relu",
)
CAUCHY = dmft.Loss(
    lambda f, y: np.log1p((f - y) ** 2),
    lambda f, y: 2 * (f - y) / (1 + (f - y) ** 2),
    lambda f, y: 2 * (1 - (f - y) ** 2) / (1 + (f - y) ** 2) ** 2,
    name="cauchy",
)


@pytest.mark.parametrize(
    ("activation", "loss", "factors", "direction"),
    [
        # D = 6 r^2 - 2 y.
        ("quadratic", "square", ["L' falls to -infinity"], "as y grows to +infinity"),
        ("gelu", "square", ["L' falls to -infinity"], "as y grows to +infinity"),
        # L' = -1 while f = r^3 is below y: D = -6 r, r up to y^(1/3).
        (
            CUBED_RELU,
            "pseudo-huber",
            ["a_j sigma''(r_j) grows to +infinity"],
            "as y grows to +infinity and r_j grows to +infinity",
        ),
        # L'' = -6/25 at f - y = 2, where (2 r)^2 = 4 (y + 2).
        (
            "quadratic",
            CAUCHY,
            ["in L'' (sum_j v_j a_j sigma'(r_j))^2"],
            "as y grows to +infinity and r_j ",
        ),
    ],
)
def test_what_makes_the_curvature_unbounded_is_named(activation, loss, factors, direction):
    problem = dmft.Problem("phase-retrieval", dmft.Network(activation), loss)
    assert not curvature_support(problem).bounded_below
    words = describe_unbounded(problem)
    found = words.split(" (at y", 1)[0]
    for factor in factors:
        assert factor in found
    assert found.count("infinity") == len(factors) + 1 + ("r_j" in direction)
    assert direction in found


def test_scales_of_inputs_are_named_where_they_are_the_reason():
    heavy = dmft.Elliptical("student-t", degrees_of_freedom=3)
    for loss, words in (
        ("pseudo-huber", ["s^2 D is unbounded below: the scales s", "with bounded scales"]),
        ("square", ["L' falls to -infinity", "scales s of the inputs are unbounded, too"]),
    ):
        problem = dmft.Problem("phase-retrieval", dmft.Network("gelu"), loss, inputs=heavy)
        found = describe_unbounded(problem)
        assert all(word in found for word in words)


@pytest.mark.parametrize(("activation", "loss"), [("gelu", CAUCHY), ("gelu", "pseudo-huber")])
def test_a_bounded_curvature_is_not_called_unbounded(activation, loss):
    problem = dmft.Problem("phase-retrieval", dmft.Network(activation), loss)
    assert curvature_support(problem).bounded_below


def gap_at_start(label, network, loss, delta, **more):
    case = dmft.Problem(dmft.Target(label), network, loss, **more)
    return sample_gap(initial_law(case, delta, dmft.Sampling(replicates=4)))


@pytest.mark.slow
def test_an_edge_held_between_the_points_of_a_grid():
    """D is smallest at an r that no grid has; by Gauss-Legendre on panels of width .02."""
    welsch = dmft.Loss(
        lambda f, y: 1 - np.exp(-((f - y) ** 2) / 2),
        lambda f, y: (f - y) * np.exp(-((f - y) ** 2) / 2),
        lambda f, y: (1 - (f - y) ** 2) * np.exp(-((f - y) ** 2) / 2),
    )
    sine = dmft.Activation(
        lambda r: np.sin(2 * r), lambda r: 2 * np.cos(2 * r), lambda r: -4 * np.sin(2 * r)
    )
    found = gap_at_start(
        lambda z, eps: np.where(np.abs(z[:, 0]) > 0.8, 1.0, -1.0),
        dmft.Network(sine, [2.0]),
        welsch,
        2.335,
        init_radius=2.5,
    )
    assert found.stderr == 0.0
    assert found.gap[0] == pytest.approx(4.9410893, abs=5e-7)


def test_an_edge_held_beside_a_kink():
    """D is smallest for r from above at the kink: L' a sigma'' = -2 / sqrt(2)."""
    ramp = dmft.Activation(
        lambda r: np.maximum(r - 0.507, 0) ** 2,
        lambda r: 2 * np.maximum(r - 0.507, 0),
        lambda r: 2.0 * (r > 0.507),
        kinks=(0.507,),
    )
    target = dmft.Target(lambda z, eps: np.where(np.abs(z[:, 0]) > 0.8, 1.0, -1.0))
    case = dmft.Problem(target, dmft.Network(ramp), "pseudo-huber")
    assert curvature_support(case).points.min() == pytest.approx(-np.sqrt(2), rel=1e-9)


def test_two_rules_with_common_panels_do_not_confirm_each_other():
    """Breaks around |z| = 1.5 made them the same rule there; the gap by other panels."""
    logcosh = dmft.Activation(
        lambda r: np.logaddexp(r, -r) - np.log(2.0),
        np.tanh,
        lambda r: 1 / np.cosh(np.minimum(np.abs(r), 300.0)) ** 2,
    )
    found = gap_at_start(
        lambda z, eps: np.exp(-200 * (np.abs(z[:, 0]) - 1.5) ** 2),
        dmft.Network(logcosh, [2.0]),
        "square",
        2.335,
    )
    assert abs(found.gap[0] - 0.80383377) < max(4 * found.stderr, 1e-7)
    one, _ = normal_rule("fine", (1.375, 1.5625))
    two, _ = normal_rule("fine-shifted", (1.375, 1.5625))
    assert not np.intersect1d(one[np.abs(one - 1.47) < 0.09], two).size


def test_a_factor_that_was_zero_is_named_too():
    # The deepest point of the nearer probe may lie where a factor of D vanishes.
    from dmft.model.curvature_support import _growth

    assert _growth(0.0, 1e3) > _growth(1.0, 1e3) > 0.0 == _growth(0.0, 0.0) > _growth(1.0, 0.0)
