"""A symmetric matrix as shift: special cases, a naive twin, and matrices of finite size."""

from functools import partial

import numpy as np
import pytest

import rmt


def symmetric(rng, n, m, scale=1.0):
    x = scale * rng.standard_normal((n, m, m))
    return 0.5 * (x + x.transpose(0, 2, 1))


def blocks(rng, n=300):
    """Two neurons that do not interact, with their own hard coordinate."""
    z = rng.standard_normal((n, 1))
    weights = np.zeros((n, 2, 2))
    weights[:, 0, 0] = 0.9 - 1.5 * np.tanh(z[:, 0] ** 2 - 1.0) + 0.2 * rng.standard_normal(n)
    weights[:, 1, 1] = 0.6 + 0.8 * rng.standard_normal(n)
    return weights, z


@pytest.mark.parametrize("ratio", [4.0, 0.6])
def test_neurons_that_do_not_interact_have_their_own_shift(ratio):
    weights, z = blocks(np.random.default_rng(0))
    law = rmt.HessianLaw(weights, ratio, hard=z, shift=np.diag([0.35, -0.2]))
    parts = [
        rmt.HessianLaw(weights[:, j, j], ratio, hard=z, shift=shift)
        for j, shift in enumerate((0.35, -0.2))
    ]
    ends = np.array([part.edges() for part in parts])
    np.testing.assert_allclose(law.edges(), [ends[:, 0].min(), ends[:, 1].max()], atol=1e-11)
    x = np.linspace(*law.edges(), 9)[1:-1]
    for name in ("density", "cdf"):
        mean = np.mean([getattr(part, name)(x) for part in parts], axis=0)
        np.testing.assert_allclose(getattr(law, name)(x), mean, atol=1e-10)
    np.testing.assert_allclose(law.moments(4), np.mean([p.moments(4) for p in parts], axis=0))
    apart = sorted((place, mass / 2) for part in parts for place, mass in part.atoms())
    np.testing.assert_allclose(law.atoms(), apart)
    assert law.atom_at_zero() == pytest.approx(max(0.0, 1.0 - ratio))
    places = {outlier.value for part in parts for outlier in part.outliers()}
    outside = [place for place in places if not law.edges()[0] <= place <= law.edges()[1]]
    np.testing.assert_allclose([o.value for o in law.outliers()], sorted(outside), atol=1e-10)
    z0 = min(law.edges().left, 0.0)
    expected = min(part.hard_matrix(min(z0, part.edges().left))[0, 0] for part in parts)
    assert law.hard_gap() == pytest.approx(expected, abs=1e-6)  # a square root at the edge


def test_multiples_of_the_identity_are_numbers():
    weights = symmetric(np.random.default_rng(1), 50, 2)
    number = rmt.HessianLaw(weights, 2.0, shift=0.3)
    matrix = rmt.HessianLaw(weights, 2.0, shift=0.3 * np.eye(2))
    assert matrix.shift == number.shift == 0.3
    assert tuple(matrix.edges()) == tuple(number.edges())
    nearly = rmt.HessianLaw(weights, 2.0, shift=np.diag([0.3, 0.3 + 1e-9]))
    np.testing.assert_allclose(nearly.edges(), number.edges(), atol=1e-8)
    x = np.linspace(-1.0, 1.0, 5)
    np.testing.assert_allclose(nearly.density(x), number.density(x), atol=1e-7)
    one = rmt.HessianLaw([1.0, -1.0], 2.0, shift=[[0.3]])
    assert tuple(one.edges()) == tuple(rmt.HessianLaw([1.0, -1.0], 2.0, shift=0.3).edges())


def naive_fixed_point(weights, ratio, shift, z, sweeps=3000):
    """Iterate c = (E[(I + D c)^{-1} D] + Lambda - z)^{-1} / ratio from far above the axis."""
    m = len(shift)
    c = np.eye(m) * (-1.0 / (ratio * (z + 10j)))
    for _ in range(sweeps):
        mean = np.mean(np.linalg.inv(np.eye(m) + weights @ c) @ weights, axis=0)
        c = 0.5 * c + 0.5 * np.linalg.inv(mean + shift - z * np.eye(m)) / ratio
    return c


@pytest.mark.parametrize(("m", "ratio"), [(2, 3.0), (3, 0.7)])
def test_against_the_naive_twin_and_turned_frames(m, ratio):
    rng = np.random.default_rng(2)
    weights, shift = symmetric(rng, 30, m) + 0.3 * np.eye(m), symmetric(rng, 1, m)[0]
    law = rmt.HessianLaw(weights, ratio, shift=shift)
    for z in (0.2 + 0.4j, -1.0 + 0.3j):
        expected = naive_fixed_point(weights, ratio, shift, z)
        np.testing.assert_allclose(law.matrix_stieltjes(z), expected, atol=1e-9)
    turn = np.linalg.qr(rng.standard_normal((m, m)))[0]
    other = rmt.HessianLaw(turn @ weights @ turn.T, ratio, shift=turn @ shift @ turn.T)
    np.testing.assert_allclose(other.edges(), law.edges(), atol=1e-10)
    np.testing.assert_allclose(other.atoms(), law.atoms(), atol=1e-10)
    mirrored = rmt.HessianLaw(-weights, ratio, shift=-shift)
    np.testing.assert_allclose(mirrored.edges(), np.negative(law.edges())[::-1], atol=1e-10)


@pytest.mark.parametrize(("m", "ratio"), [(2, 3.0), (3, 1.5), (2, 0.6)])
def test_the_left_edge_is_the_maximum_over_b(m, ratio):
    rng = np.random.default_rng(3)
    weights, shift = symmetric(rng, 12, m) + np.eye(m), symmetric(rng, 1, m)[0]
    law = rmt.HessianLaw(weights, ratio, shift=shift)
    left = law.edges().left

    def bound(b):  # a bound from below on the edge, for every B > 0 with B + D > 0
        y = np.linalg.inv(b + weights)
        value = np.mean(weights - weights @ y @ weights, axis=0) - b / ratio + shift
        return np.linalg.eigvalsh(value)[0]

    b = law._scaled.left.branch.edge.b
    assert bound(b) == pytest.approx(left, abs=1e-8)
    lowest = min(np.linalg.eigvalsh(b)[0], np.linalg.eigvalsh(b + weights)[:, 0].min())
    for size in (1e-3, 0.1, 0.9):
        for direction in symmetric(rng, 20, m):
            step = size * lowest * direction / np.linalg.norm(direction)
            assert bound(b + step) <= left + 1e-9


@pytest.mark.parametrize("ratio", [3.0, 0.8])
def test_against_matrices(ratio):
    rng = np.random.default_rng(4)
    z = rng.standard_normal((3000, 1))
    weights = symmetric(rng, 3000, 2, 0.5) + 0.4 * np.eye(2)
    weights[:, 0, 0] -= 2.0 * (z[:, 0] ** 2 > 2.5)
    weights[:, 0, 1] += 0.5 * (z[:, 0] ** 2 > 2.5)
    weights[:, 1, 0] = weights[:, 0, 1]
    law = rmt.HessianLaw(weights, ratio, hard=z, shift=[[0.3, 0.2], [0.2, -0.5]])
    d = 400
    found, vectors = np.linalg.eigh(law.sample_matrix(d, seed=0))
    x = np.quantile(found, [0.1, 0.4, 0.9])
    at = np.searchsorted(found, x) / found.size
    np.testing.assert_allclose(law.cdf(x), at, atol=0.01)
    if ratio < 1.0:  # no outlier, but an atom for each eigenvalue of the shift
        assert [mass for _, mass in law.atoms()] == pytest.approx([0.1, 0.1])
        return
    lowest = law.outliers()[0]
    assert lowest.side == "left"
    assert found[0] == pytest.approx(lowest.value, abs=0.15)
    on_hard = vectors[:, 0].reshape(2, d)[:, 0]
    assert np.sum(on_hard**2) == pytest.approx(lowest.hard_overlap, abs=0.12)
    assert np.abs(on_hard @ lowest.vector[:, 0]) == pytest.approx(np.linalg.norm(on_hard), abs=0.1)


def test_without_weights_only_the_shift_is_left():
    law = rmt.HessianLaw(np.zeros((3, 2, 2)), 2.0, shift=np.diag([-0.4, 0.1]))
    assert tuple(law.edges()) == pytest.approx((-0.4, 0.1))
    assert law.atoms() == [pytest.approx((-0.4, 0.5)), pytest.approx((0.1, 0.5))]
    assert law.quantiles([0.2, 0.7]).tolist() == pytest.approx([-0.4, 0.1])


def test_sign_of_the_gap_where_the_shift_decides():
    """The gap of H turns negative where its smallest eigenvalue in a hard direction does."""
    weights, z = blocks(np.random.default_rng(5))
    law = partial(rmt.HessianLaw, weights, 40.0, hard=z)
    signs = []
    for force in (0.0, 0.3, 0.6, 1.0, 1.5):
        found = law(shift=np.diag([-force, 0.1]))
        below = [o for o in found.outliers() if o.value < min(found.edges().left, 0.0)]
        signs.append(found.hard_gap() < 0.0)
        assert signs[-1] == bool(below)
    assert signs[0] is False
    assert signs[-1] is True


def test_directions_tangent_to_spheres():
    """Outliers on the tangent space are those of matrices restricted to it."""
    rng = np.random.default_rng(6)
    n, d = 2400, 300
    q = rng.standard_normal((2, n))
    weights = np.minimum(q[0] ** 2, 9.0) + 0.8 * np.minimum(q[1] ** 2, 9.0)
    neuron = np.array([[0.8, 0.6]])
    plain = rmt.HessianLaw(weights, n / d, span=rmt.Span(q, neurons=neuron))
    span = rmt.Span(q, neurons=neuron, tangent=True)
    law = rmt.HessianLaw(weights, n / d, shift=-0.4, span=span)
    assert len(law.outliers()) == len(plain.outliers()) - 1 == 1
    x = rng.standard_normal((n, d))
    x[:, :2] = q.T
    h = (x.T * weights) @ x / n - 0.4 * np.eye(d)
    normal = np.zeros((d, 1))
    normal[:2, 0] = neuron[0]
    basis = np.linalg.qr(normal, mode="complete")[0][:, 1:]
    values, vectors = np.linalg.eigh(basis.T @ h @ basis)
    [outlier] = law.outliers()
    assert values[-1] == pytest.approx(outlier.value, rel=0.05)
    vector = (basis @ vectors[:, -1])[:2]
    assert np.sum(vector**2) == pytest.approx(outlier.span_overlap, abs=0.05)
    assert outlier.neuron_overlap[0, 0] == pytest.approx(0.0, abs=1e-20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shift": np.eye(3)}, r"shift must be a number or a symmetric \(2, 2\) matrix.*\(3, 3\)"),
        ({"shift": [0.1, 0.2]}, r"shift must be a number or a symmetric \(2, 2\) matrix"),
        ({"shift": [[0.0, 1.0], [0.0, 0.0]]}, "shift must be symmetric matrices"),
        ({"shift": [[np.nan, 0.0], [0.0, 0.0]]}, "shift must have finite entries"),
        ({"shift": "two"}, "shift must be a finite number, got 'two'"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        rmt.HessianLaw(np.eye(2)[np.newaxis], 2.0, **arguments)
    with pytest.raises(ValueError, match="neurons must be given for tangent directions"):
        rmt.Span(np.ones((2, 5)), tangent=True)
