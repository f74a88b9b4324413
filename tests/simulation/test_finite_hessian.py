"""The matrix-free Hessian against the matrix written down in full."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import dmft
from dmft.model.gradients import curvature
from dmft.model.inputs import Inputs
from dmft.simulation.descent import descend
from dmft.simulation.finite_data import ImposedOverlap, draw_run
from dmft.simulation.finite_hessian import FiniteHessian
from rmt._lanczos import extreme_eigenpairs
from rmt.status import Status


def random_hessian(m, n=37, d=11, decay=0.0, seed=0):
    """(operator, matrix) with the matrix built sample by sample with Kronecker products."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    D = rng.standard_normal((n, m, m))
    D = D + D.transpose(0, 2, 1)
    matrix = sum(np.kron(D[i], np.outer(X[i], X[i])) for i in range(n)) / n
    return FiniteHessian(X, D, decay), matrix + decay * np.eye(m * d)


def trained_hessian(target, second_layer, delta, d, steps):
    """Hessian of a short run."""
    problem = dmft.Problem(target, dmft.Network("gelu", second_layer), "pseudo-huber")
    imposed = ImposedOverlap.of(problem, None)
    data = draw_run(problem, round(delta * d), d, 0, Inputs(), imposed)
    found = []

    def visit(step, weights, r, _):
        if step == steps:
            found.append(FiniteHessian(data.X, curvature(problem, r, data.y)))

    method = dmft.GradientDescent(0.3, steps)
    descend(problem, data.X, data.y, data.weights, data.frame, method, observe=visit)
    return found[0], data.frame


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("n", [1, 6, 8, 37])
def test_product_is_that_of_the_matrix(m, n):
    hessian, matrix = random_hessian(m, n=n, decay=0.3, seed=m)
    v = np.random.default_rng(1).standard_normal(hessian.size)
    np.testing.assert_allclose(hessian.apply(v), matrix @ v, rtol=0, atol=1e-12)
    as_rows = hessian.apply(v.reshape(m, -1))
    np.testing.assert_array_equal(as_rows.ravel(), hessian.apply(v))
    np.testing.assert_array_equal(hessian.operator().matvec(v), hessian.apply(v))


@pytest.mark.parametrize("m", [1, 2, 3])
def test_dense_is_the_matrix(m):
    hessian, matrix = random_hessian(m, n=1200, decay=0.3, seed=m)  # more rows than one block
    np.testing.assert_allclose(hessian.dense(), matrix, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(hessian.dense(), hessian.dense().T)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("count", [1, 3])
def test_complete_spectrum(m, count):
    hessian, matrix = random_hessian(m, decay=0.3, seed=m)
    values, vectors = np.linalg.eigh(matrix)
    spectrum = hessian.spectrum(count)
    assert spectrum.complete
    assert spectrum.status is Status.SUCCESS
    np.testing.assert_allclose(spectrum.eigenvalues, values, rtol=0, atol=1e-12)
    assert spectrum.vectors.shape == (count, m, 11)
    for found, exact in zip(spectrum.vectors, vectors.T, strict=False):
        assert abs(found.ravel() @ exact) == pytest.approx(1.0, abs=1e-10)
    assert spectrum.residual < 1e-12


@pytest.mark.parametrize("size", [1, 2, 3])
def test_smallest_matrices(size):
    hessian, matrix = random_hessian(1, d=size)
    for limit in (0, 10):
        spectrum = hessian.spectrum(1, dense_limit=limit) if size > 1 else hessian.spectrum(1)
        values = np.linalg.eigvalsh(matrix)
        assert spectrum.eigenvalues[0] == pytest.approx(values[0], abs=1e-12)
        assert spectrum.eigenvalues[-1] == pytest.approx(values[-1], abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target", "second_layer", "delta", "steps"),
    [
        ("edge, two neurons", "easy-hard", [1.0, -0.5], 4.0, 0),
        ("edge after ten steps", "easy-hard", [1.0, -0.5], 4.0, 10),
        ("outlier, one neuron", "phase-retrieval", [1.0], 8.0, 10),
        ("outlier, two neurons", "easy-hard", [1.0, 0.8], 10.0, 10),
        ("edge at zero", "linear", [1.0], 1.2, 3),
    ],
)
def test_smallest_eigenvalue_without_the_matrix(name, target, second_layer, delta, steps):
    """Equal to dense eigenvalues to 1e-8 at m d = 1500, whether or not it leaves the bulk."""
    m = len(second_layer)
    hessian, frame = trained_hessian(target, second_layer, delta, 1500 // m, steps)
    exact, vectors = np.linalg.eigh(hessian.dense())
    count = 2
    spectrum = hessian.spectrum(count, dense_limit=1499)
    assert not spectrum.complete
    assert spectrum.status is Status.SUCCESS
    assert spectrum.eigenvalues.shape == (2 * count,)
    ends = np.concatenate([exact[:count], exact[-count:]])
    np.testing.assert_allclose(spectrum.eigenvalues, ends, rtol=0, atol=1e-8, err_msg=name)
    for i in range(count):  # the eigenvectors, and what they overlap with
        assert abs(spectrum.vectors[i].ravel() @ vectors[:, i]) > 1.0 - 1e-5
        exact_overlap = np.sum((vectors[:, i].reshape(m, -1) @ frame.T) ** 2)
        found_overlap = np.sum((spectrum.vectors[i] @ frame.T) ** 2)
        assert found_overlap == pytest.approx(exact_overlap, abs=1e-4)
    assert spectrum.residual < 1e-5


def test_beyond_the_limit_the_matrix_is_not_formed():
    """By the memory that the spectrum takes at its peak, in units of that of the matrix."""
    rng = np.random.default_rng(0)
    hessian = FiniteHessian(rng.standard_normal((1800, 600)), rng.standard_normal((1800, 2, 2)))
    size = hessian.size
    hessian.spectrum(1, dense_limit=0)  # what is compiled takes memory, too
    peaks = []
    for limit in (size - 1, size):
        tracemalloc.start()
        try:
            hessian.spectrum(1, dense_limit=limit)
            peaks.append(tracemalloc.get_traced_memory()[1] / (8 * size**2))
        finally:
            tracemalloc.stop()
    assert peaks[0] < 0.5 < 1.0 < peaks[1], peaks


def test_weight_decay_shifts_the_eigenvalues():
    plain, _ = random_hessian(2, n=300, d=100)
    shifted, _ = random_hessian(2, n=300, d=100, decay=0.25)
    for limit in (0, 4000):
        found = [h.spectrum(1, dense_limit=limit).eigenvalues for h in (plain, shifted)]
        np.testing.assert_allclose(found[1], found[0] + 0.25, rtol=0, atol=1e-9)


def test_same_seed_same_bits():
    hessian, _ = random_hessian(2, n=300, d=100)
    first, second = (hessian.spectrum(1, dense_limit=0, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.eigenvalues, second.eigenvalues)
    np.testing.assert_array_equal(first.vectors, second.vectors)


def test_failure_is_a_status(monkeypatch):
    X = np.random.default_rng(0).standard_normal((200, 100))
    D = np.ones((200, 1, 1))
    with monkeypatch.context() as patch:
        patch.setattr("rmt._lanczos._KRYLOV", 1)
        patch.setattr("rmt._lanczos._MAX_RESTARTS", 1)
        spectrum = FiniteHessian(X, D).spectrum(2, dense_limit=0)
    assert spectrum.status is Status.MAX_STEPS
    assert spectrum.eigenvalues.shape == (4,)
    assert np.isnan(spectrum.eigenvalues).all()
    assert np.isnan(spectrum.vectors).all()
    D[0] = np.inf
    for limit in (0, 4000):
        spectrum = FiniteHessian(X, D).spectrum(1, dense_limit=limit)
        assert spectrum.status is Status.NONFINITE
        assert np.isnan(spectrum.eigenvalues).all()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "diagonal",
    [
        np.zeros(50),
        np.full(50, 0.3),
        np.repeat([-1.0, 2.0], 25),
        np.append(np.zeros(300), -1e-3),
        1e100 * np.linspace(-1.0, 1.0, 80),
        np.geomspace(1e-6, 1.0, 200),
        np.array([1.0, -1.0] * 3),
    ],
    ids=["zero", "identity", "two values", "one of many", "large", "geometric", "six"],
)
def test_lanczos_on_awkward_spectra(diagonal, count):
    """Both ends, to 1e-8 of the width, also where neighbours are closer than that."""
    values, vectors, status = extreme_eigenpairs(lambda v: diagonal * v, len(diagonal), count)
    assert status is Status.SUCCESS
    unique = np.unique(diagonal)
    width = max(np.ptp(diagonal), np.abs(diagonal).max(), 1e-300)
    assert values[0] == pytest.approx(unique[0], abs=1e-8 * width)
    assert values[-1] == pytest.approx(unique[-1], abs=1e-8 * width)
    assert np.all(np.diff(values) >= -1e-9 * width)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(count), atol=1e-9)
    residuals = np.linalg.norm(
        vectors * diagonal / width - (values[:count] / width)[:, None] * vectors, axis=1
    )
    assert residuals.max() < 2e-6


def test_lanczos_resolves_close_eigenvalues():
    """Neighbours 1e-4 of the width apart are told apart, in the right order."""
    diagonal = np.concatenate([[-1.0001, -1.0], np.linspace(-0.9, 1.0, 998)])
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((1000, 1000)))[0]
    matrix = (q * diagonal) @ q.T
    values, vectors, _ = extreme_eigenpairs(lambda v: matrix @ v, 1000, 2)
    np.testing.assert_allclose(values[:2], [-1.0001, -1.0], atol=1e-9)
    assert abs(vectors[0] @ q[:, 0]) > 1.0 - 1e-3


def test_lanczos_reports_overflow():
    for factor in (1e200, np.inf, np.nan):
        _, _, status = extreme_eigenpairs(lambda v, factor=factor: v * factor, 50, 1)
        assert status is Status.NONFINITE
