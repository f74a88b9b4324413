"""Edges and density: symmetries, exact moments, brute force, simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import rmt


def random_weights(rng, n, m, scale=1.0):
    x = rng.standard_normal((n, m, m)) * scale
    return x + x.transpose(0, 2, 1) + 0.3 * np.diag(np.arange(m))


def nodes(law, count=2000):
    """Chebyshev nodes and weights on the interval between the edges."""
    left, right = law.edges()
    angle = np.pi * (np.arange(count) + 0.5) / count
    x = 0.5 * (left + right) + 0.5 * (right - left) * np.cos(angle)
    return x, np.pi / count * 0.5 * (right - left) * np.sin(angle)


def fine_grid(law, count=4000):
    """Midpoints and widths of a grid that also resolves a peak at zero."""
    left, right = law.edges()
    u = np.linspace(0.0, 1.0, count) ** 3
    zero = law.shift
    ends = np.unique(np.concatenate([zero + (left - zero) * u, zero + (right - zero) * u]))
    return 0.5 * (ends[1:] + ends[:-1]), np.diff(ends)


def fixed_point(weights, p, ratio, z, sweeps=4000):
    """Naive twin: averaged iteration of c = (E[(I + D c)^{-1} D] - z)^{-1} / ratio."""
    eye = np.eye(weights.shape[-1])
    c = -eye / (ratio * z)
    for _ in range(sweeps):
        mean = np.einsum("n,nab->ab", p, np.linalg.solve(eye + weights @ c, weights))
        c = 0.5 * c + 0.5 * np.linalg.inv(mean - z * eye) / ratio
    return c


@pytest.mark.slow
@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_against_fixed_point(m):
    rng = np.random.default_rng(m)
    weights = random_weights(rng, 30, m)
    p = rng.random(30)
    p /= p.sum()
    law = rmt.HessianLaw(weights, 1.5, probabilities=p)
    for z in (0.5 + 0.5j, -2.0 + 0.3j, 20.0 + 0.1j):
        expected = fixed_point(weights, p, 1.5, z)
        np.testing.assert_allclose(law.matrix_stieltjes(z), expected, atol=1e-10)
        assert law.stieltjes(z) == pytest.approx(1.5 * np.trace(expected) / m, abs=1e-10)


@pytest.mark.parametrize("m", [2, 3])
def test_edge_is_the_maximum_of_the_concave_problem(m):
    """Brute force over B with a derivative-free optimiser, and from below by random B."""
    rng = np.random.default_rng(10 + m)
    weights = random_weights(rng, 6, m)
    ratio = 2.5
    law = rmt.HessianLaw(weights, ratio)
    left = law.edges().left
    rows, cols = np.tril_indices(m)

    def lowest(x):
        b = np.zeros((m, m))
        b[rows, cols] = b[cols, rows] = x
        total = b + weights
        if np.linalg.eigvalsh(total).min() <= 0 or np.linalg.eigvalsh(b).min() <= 0:
            return -np.inf
        value = weights - weights @ np.linalg.solve(total, weights)
        return np.linalg.eigvalsh(value.mean(axis=0) - b / ratio)[0]

    start = law._scaled.left.branch.edge.b[rows, cols]
    assert lowest(start) == pytest.approx(left, abs=1e-9)
    best = lowest(start)
    for _ in range(200):
        best = max(best, lowest(start + 0.3 * rng.standard_normal(start.size)))
    assert best <= left + 1e-9
    off = start + np.where(rows == cols, 0.5, 0.1)
    found = minimize(lambda x: -lowest(x), off, method="Nelder-Mead", options={"maxiter": 4000})
    assert -found.fun <= left + 1e-9
    assert -found.fun >= left - 1e-2 * abs(left)


@pytest.mark.slow
@pytest.mark.parametrize(("m", "ratio"), [(1, 0.4), (1, 3.0), (2, 0.6), (2, 4.0), (3, 2.0)])
def test_against_eigenvalues(m, ratio):
    """Edges, mass below a point and moments of a matrix of size ~ 700."""
    rng = np.random.default_rng(m)
    law = rmt.HessianLaw(random_weights(rng, 20, m), ratio)
    left, right = law.edges()
    width = right - left
    d = 700 // m
    eigenvalues = np.concatenate([np.linalg.eigvalsh(law.sample_matrix(d, s)) for s in range(3)])
    # The extreme eigenvalues fluctuate at d^(-2/3).
    assert eigenvalues.min() == pytest.approx(left, abs=0.05 * width)
    assert eigenvalues.max() == pytest.approx(right, abs=0.05 * width)
    for k, exact in enumerate(law.moments(4), start=1):
        sampled = np.mean(eigenvalues**k)
        assert sampled == pytest.approx(exact, abs=0.03 * np.mean(np.abs(eigenvalues) ** k))
    x, dx = fine_grid(law, 1000)
    density = law.density(x)
    for level in (0.25, 0.4, 0.7):
        at = left + level * width
        mass = (density * dx)[x < at].sum() + (law.atom_at_zero() if at > 0 else 0.0)
        assert np.mean(eigenvalues < at) == pytest.approx(mass, abs=0.01)
    assert np.mean(np.abs(eigenvalues) < 1e-9) == pytest.approx(law.atom_at_zero(), abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("ratio", [0.2, 1.0, 20.0])
def test_mass_and_moments(m, ratio):
    rng = np.random.default_rng(20 + m)
    law = rmt.HessianLaw(random_weights(rng, 12, m), ratio)
    x, dx = fine_grid(law)
    density = law.density(x)
    assert np.all(density >= 0)
    assert (density * dx).sum() + law.atom_at_zero() == pytest.approx(1.0, abs=1e-4)
    for k, exact in enumerate(law.moments(4), start=1):
        scale = (density * dx * np.abs(x) ** k).sum()
        assert (density * dx * x**k).sum() == pytest.approx(exact, abs=1e-3 * scale)


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    m=st.integers(1, 3),
    n=st.integers(1, 12),
    log_ratio=st.floats(-1.5, 2.5),
)
def test_random_laws_have_mass_one(seed, m, n, log_ratio):
    rng = np.random.default_rng(seed)
    ratio = float(np.exp(log_ratio))
    law = rmt.HessianLaw(random_weights(rng, n, m), ratio, probabilities=rng.dirichlet(np.ones(n)))
    edges = law.edges()
    assert edges.status.ok
    assert edges.residual <= 1e-9 * (edges.right - edges.left)
    x, dx = fine_grid(law)
    density = law.density(x)
    assert np.all(density >= 0)
    assert (density * dx).sum() + law.atom_at_zero() == pytest.approx(1.0, abs=1e-3)
    # Nothing outside, something just inside.
    width = edges.right - edges.left
    outside = law.stieltjes(np.array([edges.left - 1e-3 * width, edges.right + 1e-3 * width]))
    assert np.abs(outside.imag).max() < 1e-9
    if edges.left != 0:
        assert law.density(edges.left + 1e-6 * width) > 0
    if edges.right != 0:
        assert law.density(edges.right - 1e-6 * width) > 0


@pytest.mark.parametrize("m", [1, 3])
class TestSymmetries:
    def law(self, m, transform=lambda w: w, **kwargs):
        weights = random_weights(np.random.default_rng(3), 15, m)
        return rmt.HessianLaw(transform(weights), 2.0, **kwargs)

    def test_conjugation(self, m):
        z = np.array([[0.2 + 0.1j, 3.0 + 1.0j], [-1.0 + 1e-3j, 0.5j]])
        law = self.law(m)
        above, below = law.matrix_stieltjes(z), law.matrix_stieltjes(z.conj())
        assert above.shape == (2, 2, m, m)
        np.testing.assert_array_equal(above.conj(), below)
        np.testing.assert_allclose(above, above.swapaxes(-1, -2), atol=1e-12)
        imaginary = np.linalg.eigvalsh(above.imag)
        assert np.all(imaginary > 0)

    def test_scaling_and_shift(self, m):
        law, other = self.law(m), self.law(m, lambda w: 2.5 * w, shift=-0.7)
        np.testing.assert_allclose(np.array(other.edges()), 2.5 * np.array(law.edges()) - 0.7)
        x = np.linspace(*law.edges(), 30)[1:-1]
        np.testing.assert_allclose(other.density(2.5 * x - 0.7), law.density(x) / 2.5, atol=1e-9)
        exact = other.moments(2)
        first, second = law.moments(2)
        assert exact[0] == pytest.approx(2.5 * first - 0.7)
        assert exact[1] == pytest.approx(6.25 * second - 2 * 0.7 * 2.5 * first + 0.49)

    def test_reflection(self, m):
        law, mirror = self.law(m), self.law(m, lambda w: -w)
        left, right = law.edges()
        np.testing.assert_allclose(np.array(mirror.edges()), [-right, -left], rtol=1e-12)
        x = np.linspace(left, right, 30)[1:-1]
        np.testing.assert_allclose(mirror.density(-x), law.density(x), atol=1e-9)

    def test_order_and_splitting_of_atoms(self, m):
        law = self.law(m)
        order = np.random.default_rng(0).permutation(15)
        shuffled = self.law(m, lambda w: w[order])
        np.testing.assert_allclose(np.array(law.edges()), np.array(shuffled.edges()), rtol=1e-11)
        weights = np.concatenate([law.weights, law.weights, 1e3 * law.weights])
        p = np.concatenate([np.full(15, 0.3), np.full(15, 0.7), np.zeros(15)]) / 15
        split = rmt.HessianLaw(weights, 2.0, probabilities=p)
        np.testing.assert_allclose(np.array(law.edges()), np.array(split.edges()), rtol=1e-11)

    def test_rotation(self, m):
        q = np.linalg.qr(np.random.default_rng(1).standard_normal((m, m)))[0]
        law, turned = self.law(m), self.law(m, lambda w: q @ w @ q.T)
        np.testing.assert_allclose(np.array(law.edges()), np.array(turned.edges()), rtol=1e-10)
        z = 0.3 + 0.2j
        np.testing.assert_allclose(
            turned.matrix_stieltjes(z), q @ law.matrix_stieltjes(z) @ q.T, atol=1e-10
        )

    def test_large_z(self, m):
        z = 1e6 * np.exp(1j * np.array([0.1, 1.5, 3.0]))
        np.testing.assert_allclose(self.law(m).stieltjes(z) * -z, 1.0, atol=1e-4)


def test_commuting_weights_decouple():
    """D = U diag(a, b) U^T: the trace is the mean of two scalar laws, the edges their extremes."""
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((2, 40))
    u = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    weights = np.einsum("ai,ni,bi->nab", u, np.stack([a, 0.5 * b + 0.2], axis=1), u)
    law = rmt.HessianLaw(weights, 1.3)
    parts = [rmt.HessianLaw(a, 1.3), rmt.HessianLaw(0.5 * b + 0.2, 1.3)]
    left, right = law.edges()
    assert left == pytest.approx(min(p.edges().left for p in parts), abs=1e-10)
    assert right == pytest.approx(max(p.edges().right for p in parts), abs=1e-10)
    x = np.linspace(left, right, 101)[1:-1]
    expected = 0.5 * (parts[0].density(x) + parts[1].density(x))
    np.testing.assert_allclose(law.density(x), expected, atol=1e-8)


def test_independent_copies_of_signs():
    """D = +-1 on each neuron, all four combinations: two copies of the two-atom law."""
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=float)
    law = rmt.HessianLaw(signs[:, :, None] * np.eye(2), 2.0)
    exact = rmt.closed_forms.TwoAtoms(1.0, -1.0, 0.5, 2.0)
    np.testing.assert_allclose(np.array(law.edges()), exact.edges(), atol=1e-9)
    x = np.linspace(*exact.edges(), 60)[1:-1]
    np.testing.assert_allclose(law.density(x), exact.density(x), atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("ratio", [0.5, 2.0, 8.0])
def test_positive_weights_of_rank_one(m, ratio):
    """D = v v^T: the left edge is the atom at zero as long as there is one."""
    v = np.random.default_rng(m).standard_normal((8, m))
    law = rmt.HessianLaw(v[:, :, None] * v[:, None, :], ratio)
    left = law.edges().left
    atom = max(0.0, 1.0 - ratio / m)
    assert law.atom_at_zero() == pytest.approx(atom, abs=1e-12)
    assert (left == 0.0) == (ratio <= m)
    eigenvalues = np.linalg.eigvalsh(law.sample_matrix(600 // m, 0))
    assert eigenvalues.max() == pytest.approx(law.edges().right, rel=0.12)
    assert eigenvalues.min() == pytest.approx(left, abs=0.02 * law.edges().right)


@pytest.mark.parametrize("m", [2, 3])
def test_nearly_singular_weights_have_no_atom(m):
    """D = v v^T + 1e-9 I has full rank: eigenvalues are small, not zero."""
    v = np.random.default_rng(m).standard_normal((8, m))
    law = rmt.HessianLaw(v[:, :, None] * v[:, None, :] + 1e-9 * np.eye(m), 1.5)
    assert law.atom_at_zero() == 0.0


def test_atom_from_a_few_heavy_weights():
    """Three vectors carry nearly all the mass: the direction orthogonal to them has an atom."""
    v = np.random.default_rng(2).standard_normal((5, 4))
    p = np.array([0.3, 0.3, 0.3, 0.08, 0.02])
    ratio = 4.8
    law = rmt.HessianLaw(v[:, :, None] * v[:, None, :], ratio, probabilities=p)
    assert law.atom_at_zero() == pytest.approx((1 - ratio * 0.1) / 4, abs=1e-12)
    assert law.edges().left == 0.0
    eigenvalues = np.linalg.eigvalsh(law.sample_matrix(150, 0))
    assert np.mean(np.abs(eigenvalues) < 1e-10) == pytest.approx(law.atom_at_zero(), abs=4e-3)


def test_common_kernel():
    """D = d v v^T with a fixed v: half of the spectrum is an atom at zero."""
    v = np.array([0.6, 0.8])
    d = np.array([1.0, 2.0, -1.0])
    law = rmt.HessianLaw(d[:, None, None] * np.outer(v, v), 5.0)
    scalar = rmt.HessianLaw(d, 5.0)
    assert law.atom_at_zero() == pytest.approx(0.5, abs=1e-12)
    np.testing.assert_allclose(np.array(law.edges()), np.array(scalar.edges()), atol=1e-9)
    x = np.linspace(0.1, 1.0, 7)
    np.testing.assert_allclose(law.density(x), 0.5 * scalar.density(x), atol=1e-9)


def test_all_weights_zero():
    for weights in ([0.0, 0.0], np.zeros((2, 2, 2))):
        law = rmt.HessianLaw(weights, 1.0, shift=0.5)
        assert tuple(law.edges()) == (0.5, 0.5)
        assert law.atom_at_zero() == 1.0
        assert law.stieltjes(0.0) == pytest.approx(2.0)
        with pytest.raises(ValueError, match="z must avoid"):
            law.stieltjes(0.5)


def test_support_points_hold_the_edges_back():
    inner = np.linspace(-0.5, 0.8, 50)
    free = rmt.HessianLaw(inner, 0.1)
    held = rmt.HessianLaw(inner, 0.1, support=[-3.0, 4.0])
    assert held.edges().left < free.edges().left
    assert held.edges().right > free.edges().right
    # The boundary is attained: B = 3 on the left, B = 4 on the right.
    assert held.edges().left == pytest.approx(np.mean(3 * inner / (3 + inner)) - 3 / 0.1)
    assert held.edges().right == pytest.approx(np.mean(4 * inner / (4 - inner)) + 4 / 0.1)
    # A mass of 1e-14 at the support point has the same effect.
    p = np.append(np.full(50, (1 - 1e-14) / 50), 1e-14)
    massive = rmt.HessianLaw(np.append(inner, -3.0), 0.1, probabilities=p)
    assert massive.edges().left == pytest.approx(held.edges().left, rel=1e-5)


@pytest.mark.parametrize("m", [2, 3])
def test_matrix_support_points(m):
    """Weights d I with a support point: the matrix walk must stop where the scalar law does."""
    inner = np.linspace(-0.5, 0.8, 20)
    scalar = rmt.HessianLaw(inner, 0.1, support=[-3.0])
    law = rmt.HessianLaw(
        inner[:, None, None] * np.eye(m), 0.1, support=-3.0 * np.eye(m)[None, :, :]
    )
    assert law.edges().left == pytest.approx(scalar.edges().left, rel=1e-9)
    assert law.status.ok


def test_same_bits_again():
    weights = random_weights(np.random.default_rng(0), 5000, 2)
    first, second = (rmt.HessianLaw(weights, 2.0) for _ in range(2))
    assert tuple(first.edges()) == tuple(second.edges())
    np.testing.assert_array_equal(first.density([0.1, 0.2]), second.density([0.1, 0.2]))


def test_far_tails_of_a_quadrature():
    """Nodes with masses down to 1e-200 and weights up to 1e8 leave the answer untouched."""
    z, p = np.polynomial.hermite_e.hermegauss(150)
    law = rmt.HessianLaw(np.tanh(z), 2.0, probabilities=p / p.sum())
    reference = rmt.HessianLaw(np.tanh(np.linspace(-8, 8, 4001)), 2.0, probabilities=_normal(4001))
    assert law.status.ok
    np.testing.assert_allclose(np.array(law.edges()), np.array(reference.edges()), rtol=1e-3)


def _normal(count):
    z = np.linspace(-8, 8, count)
    p = np.exp(-0.5 * z**2)
    return p / p.sum()
