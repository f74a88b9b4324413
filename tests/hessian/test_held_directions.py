"""Later features: the hard directions that stay hard while the neurons overlap with others."""

import numpy as np
import pytest

import dmft
import rmt
from dmft.hessian.hessian import initial_law
from dmft.model.held_directions import held_directions

METHOD = dmft.GradientDescent(step_size=0.2, n_steps=6)
SAMPLING = dmft.Sampling(n_paths=512, replicates=4)


def features(overlap=None, weight=0.6):
    label = dmft.Target(lambda z, eps: z[:, 0] ** 2 + weight * z[:, 1] ** 2, k=2)
    network = dmft.Network("quadratic")
    return dmft.Problem(label, network, "pseudo-huber", initial_overlap=overlap)


@pytest.mark.parametrize(
    ("label", "k", "overlap", "held"),
    [
        (lambda z, e: z[:, 0] ** 2 + z[:, 1] ** 2, 2, [0.2, 0], [[0], [1]]),
        (lambda z, e: z[:, 0] * z[:, 1], 2, [0.2, 0], np.zeros((2, 0))),  # a staircase
        (lambda z, e: z[:, 0] + z[:, 1] ** 2 + z[:, 2] ** 2, 3, [0, 0.2, 0], [[0], [0], [1]]),
        (lambda z, e: z[:, 0] * z[:, 1] + z[:, 2] ** 2, 3, [0.2, 0, 0], [[0], [0], [1]]),
        (lambda z, e: z.prod(1), 4, [0.1, 0, 0, 0], None),
        (lambda z, e: (z**2).sum(1), 2, [0.2, 0.2], np.array([[1], [-1]]) / np.sqrt(2)),
    ],
)
def test_directions_that_stay_hard(label, k, overlap, held):
    """Given a learned direction, those it makes easy are not held, all others are."""
    problem = dmft.Problem(dmft.Target(label, k=k), initial_overlap=[overlap])
    found = held_directions(problem)
    held = np.eye(4)[:, 1:] if held is None else np.asarray(held, dtype=float)
    np.testing.assert_allclose(found @ found.T, held @ held.T, atol=1e-9)


def test_learned_features_grow_and_later_ones_stay_at_zero():
    """M of the learned direction moves, that of the other is zero to the last bit."""
    found = dmft.solve(features([[0.3, 0.0]]), 8.0, METHOD, SAMPLING, hessian_steps=[6])
    assert found.status.ok
    assert found.overlap[-1, 0, 0] > 0.4
    assert not found.overlap[:, 0, 1].any()
    law = found.hessian(6)
    assert law.k_hard == 1
    assert np.isfinite(law.hard_gap("left"))


def test_hessian_of_runs_with_one_feature_learned():
    """At step 0 the smallest eigenvalue along the later feature, and its overlap, d = 600."""
    problem, delta, d = features([[0.5, 0.0]]), 10.0, 600
    [outlier] = [o for o in initial_law(problem, delta).outliers("hard") if o.side == "left"]
    rng, found = np.random.default_rng(1), []
    for _ in range(4):
        x = rng.standard_normal((int(delta * d), d))
        y = x[:, 0] ** 2 + 0.6 * x[:, 1] ** 2
        theta = np.concatenate([[0.5, 0.0], rng.standard_normal(d - 2)])
        theta[2:] *= np.sqrt(0.75) / np.linalg.norm(theta[2:])
        f = (x @ theta) ** 2
        slope = (f - y) / np.sqrt(1 + (f - y) ** 2)
        bend = (1 + (f - y) ** 2) ** -1.5
        weights = 2 * slope + bend * 4 * f
        values, vectors = np.linalg.eigh(x.T @ (weights[:, None] * x) / len(x))
        place = int(np.argmax(vectors[1] ** 2))
        found.append((values[place], vectors[1, place] ** 2))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / 2
    assert abs(mean[0] - outlier.value) < 3 * error[0] + 10 / d
    assert abs(mean[1] - outlier.hard_overlap) < 3 * error[1] + 10 / d


def test_threshold_of_the_later_feature():
    """It is one of the problem with an overlap, and there is none once all are learned."""
    found = dmft.find_delta_nn(
        features([[0.5, 0.0]]), METHOD, (1, 40), 2, SAMPLING, scan_points=4, criterion="left"
    )
    assert found.status.ok
    assert found.index == 1
    with pytest.raises(ValueError, match=r"index must be in 1\.\.m k_h = 1\.\.1"):
        dmft.find_delta_nn(features([[0.5, 0.0]]), METHOD, (1, 40), 2, SAMPLING, index=2)
    with pytest.raises(ValueError, match="without overlap with one hard direction at least"):
        dmft.find_delta_nn(features([[0.5, 0.1]]), METHOD, (1, 40), 2, SAMPLING)


@pytest.mark.parametrize("k", [8, 16])
def test_many_hard_directions_are_found(k):
    """Up to 16, easy ones and staircases among them."""
    weights = np.arange(1, k + 1) ** -0.5
    squares = dmft.Target(lambda z, eps: (z**2 - 1) @ weights + 0.1 * eps, k=k)
    np.testing.assert_array_equal(squares.hard_basis, np.eye(k))
    stair = dmft.Target(
        lambda z, eps: z[:, 0] + z[:, 0] * z[:, 1] + (z[:, 2:] ** 2 - 1) @ weights[2:] / 2, k=k
    )
    if k == 8:
        np.testing.assert_allclose(stair.hard_basis, np.eye(k)[:, 2:], atol=1e-12)


def test_more_than_sixteen_must_be_stated():
    with pytest.raises(ValueError, match="k must be at most 16 for the hard directions"):
        _ = dmft.Target(lambda z, eps: (z**2).sum(1), k=17).hard_basis


@pytest.mark.parametrize("m", [1, 2])
def test_matrices_of_many_hard_coordinates(m):
    """Of six coordinates the block of four is that of a law with these alone; slopes, too."""
    rng = np.random.default_rng(0)
    z, a = rng.standard_normal((400, 6)), rng.standard_normal((400, m, m))
    weights = np.tanh(z[:, :1, None] ** 2 - 1) * np.eye(m) + 0.1 * (a + a.transpose(0, 2, 1))
    many, few = (rmt.HessianLaw(weights, 2.0, hard=z[:, :k]) for k in (6, 4))
    inner = np.concatenate([6 * j + np.arange(4) for j in range(m)])
    for point in (many.edges().left - 0.1, many.edges().left - 1e40):
        np.testing.assert_allclose(
            many.hard_matrix(point)[np.ix_(inner, inner)], few.hard_matrix(point), rtol=1e-12,
            atol=1e-12,
        )  # fmt: skip
    np.testing.assert_array_less(many.hard_levels().levels[0], few.hard_levels().levels[0] + 1e-9)
