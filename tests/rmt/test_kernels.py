"""Every compiled kernel against a few lines of numpy."""

import numpy as np
import pytest

from rmt import hard
from rmt._packing import Atoms, kernels, pack, tensor_product, unpack

RNG = np.random.default_rng(7)


def random_atoms(m, n, k=None, ratio=2.0):
    weights = RNG.standard_normal((n, m, m))
    weights = weights + weights.transpose(0, 2, 1)
    p = RNG.random(n)
    p /= p.sum()
    hard = None if k is None else RNG.standard_normal((n, k))
    return weights, p, hard, Atoms.build(weights, p, hard, ratio)


def test_packing_round_trip():
    x = RNG.standard_normal((5, 3, 3))
    x = x + x.transpose(0, 2, 1)
    np.testing.assert_array_equal(unpack(pack(x)), x)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 31, 32, 100])
def test_real_resolvent_moments(m, n):
    weights, p, _, atoms = random_atoms(m, n)
    b = 12.0 * np.eye(m) + 0.3 * weights[0]
    size = m * (m + 1) // 2
    first, second = np.empty(size), np.empty((size, size))
    assert kernels().resolvent_moments(pack(b), atoms.d, atoms.p, first, second) == 0
    y = pack(np.linalg.inv(b + weights))
    np.testing.assert_allclose(first, p @ y, atol=1e-14)
    np.testing.assert_allclose(second, np.einsum("n,na,nb->ab", p, y, y), atol=1e-15)


def test_real_resolvent_moments_refuses_indefinite():
    weights, _, _, atoms = random_atoms(3, 50)
    b = -np.linalg.eigvalsh(weights).min() * 0.99 * np.eye(3)
    first, second = np.empty(6), np.empty((6, 6))
    code = kernels().resolvent_moments(pack(b), atoms.d, atoms.p, first, second)
    assert code == kernels().NOT_DEFINITE


@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("k", [1, 3])
def test_moments_with_hard_coordinates(m, k):
    weights, p, z, atoms = random_atoms(m, 45, k)
    b = 12.0 * np.eye(m)
    x = weights[3]
    zz, *found = hard._moments(atoms, b, x)
    y = np.linalg.inv(b + weights)
    np.testing.assert_allclose(zz, np.einsum("n,na,nb->ab", p, z, z), atol=1e-13)
    for packed, of_z in zip((y, y @ x @ y), found, strict=True):
        exact = np.einsum("n,nij,na,nb->iajb", p, packed, z, z).reshape(m * k, m * k)
        np.testing.assert_allclose(of_z, exact, atol=1e-13)


def test_scalar_sums():
    d = RNG.standard_normal(64)
    p = np.full(64, 1 / 64)
    pole = -d.min()
    tau = 0.7
    out = np.empty(3)
    kernels().scalar_sums(tau, d + pole, d, p, out)
    y = 1 / (tau + pole + d)
    expected = [(d * y).mean(), (d**2 * y**2).mean(), (d**2 * y**3).mean()]
    np.testing.assert_allclose(out, expected, rtol=1e-13)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_complex_solution_satisfies_the_equation(m):
    weights, p, _, atoms = random_atoms(m, 40, ratio=1.7)
    z = np.array([0.3 + 0.2j, -1.0 + 1e-3j, 5.0 + 0.0j, 0.1 + 0.0j])
    b, tangent = np.empty((2, 4, m, m), dtype=complex)
    passes, codes = np.zeros((2, 4), dtype=np.int64)
    offset = np.zeros((m, m))
    kernels().solve_points(z, atoms.d, atoms.p, 1.7, offset, 5.0, b, tangent, passes, codes)
    assert not codes.any()
    eye = np.eye(m)
    for i, point in enumerate(z):
        c = np.linalg.inv(b[i])
        mean = np.einsum("n,nab->ab", p, np.linalg.inv(eye + weights @ c) @ weights)
        np.testing.assert_allclose(1.7 * c @ (mean - point * eye), eye, atol=1e-10)
        np.testing.assert_allclose(c, c.T, atol=1e-12)
    # dB/dz by a finite difference, at the first point.
    h = 1e-5
    near, _ = np.empty((2, 1, m, m), dtype=complex)
    one = np.zeros((2, 1), dtype=np.int64)
    kernels().solve_points(z[:1] + h, atoms.d, atoms.p, 1.7, offset, 5.0, near, _, one[0], one[1])
    np.testing.assert_allclose((near[0] - b[0]) / h, tangent[0], rtol=2e-3, atol=1e-3)


def test_sums_do_not_depend_on_padding():
    """The same atoms, split with a zero-probability atom in between, give the same bits."""
    weights, p, _, atoms = random_atoms(2, 33)
    more = np.concatenate([weights, [np.full((2, 2), 1e9)]])
    again = Atoms.build(more, np.append(p, 0.0), None, 2.0)
    np.testing.assert_array_equal(atoms.d, again.d)
    np.testing.assert_array_equal(atoms.p, again.p)


def test_tensor_products_have_the_bits_of_numpy():
    a, b = np.random.default_rng(0).standard_normal((2, 3, 3))
    np.testing.assert_array_equal(tensor_product(a, b[:2]), np.kron(a, b[:2]))
