"""Two hundred random laws that decouple, are of rank one, vanish or spread over many decades.

Whatever the weights, nothing but ValueError and NumericalFailure may be raised, a number that is
not NaN must be right, and the facts below hold, none of which needs the solver: total mass and
moments, monotony, the average over blocks for weights that decouple (each block a law of scalars),
covariance under scaling, reflection and rotation, Marchenko-Pastur for constant weights.
"""

import numpy as np
import pytest

import rmt
from rmt.closed_forms import MarchenkoPastur
from rmt.overlay import compare_spectrum

KINDS = ("plain", "dead", "spread", "constant", "rank one", "scaled", "in step", "zeros")
ROUND = 20


def weights_of(rng, kind, n, m):
    """(n, m) diagonals: the law is block-diagonal before it is rotated."""
    d = rng.standard_normal((n, m))
    if kind == "dead":  # a neuron without curvature
        d[:, 0] = 0.0
    elif kind == "spread":
        d *= 10.0 ** rng.integers(-6, 7, (n, m))
    elif kind == "constant":
        d[:] = rng.uniform(0.2, 5.0)
    elif kind == "rank one":
        d[np.arange(m) != rng.integers(0, m, (n, 1))] = 0.0
    elif kind == "scaled":  # one block far smaller than the other
        d *= 10.0 ** rng.integers(-4, 5, m)
    elif kind == "in step":  # multiples of the identity
        d[:] = d[:, :1] * 10.0 ** rng.integers(-6, 7, (n, 1))
    elif kind == "zeros":
        d[rng.random((n, m)) < 0.5] = 0.0
        d[0, 0] = 1.0
    return d


class Case:
    def __init__(self, seed):
        rng = self.rng = np.random.default_rng([14, seed])
        self.kind = KINDS[seed % len(KINDS)]
        self.m = int(rng.integers(1, 5))
        n = int(rng.integers(1, 12))
        self.ratio = float(np.exp(rng.uniform(np.log(0.1), np.log(20.0))))
        if rng.random() < 0.2:  # where atoms open
            self.ratio = float(rng.choice([1.0, self.m, 0.5]))
        self.p = rng.dirichlet(np.ones(n)) if rng.random() < 0.5 else np.full(n, 1 / n)
        self.d = weights_of(rng, self.kind, n, self.m)
        self.hard = rng.standard_normal((n, 1))
        self.shift = float(rng.choice([0.0, 0.0, 0.3]))
        self.rotation = np.eye(self.m)
        if rng.random() < 0.4:
            self.rotation = np.linalg.qr(rng.standard_normal((self.m, self.m)))[0]
        self.weights = self.rotated(self.rotation)
        self.coupled = rng.random() < 0.3
        if self.coupled:  # nearly decoupled
            x = rng.standard_normal((n, self.m, self.m))
            size = np.abs(self.weights).max(axis=(1, 2), keepdims=True)
            x = 10.0 ** -rng.integers(3, 15) * size * (x + x.transpose(0, 2, 1))
            self.weights = self.weights + x
        self.law = self.of(self.weights)

    def rotated(self, q):
        full = np.einsum("ab,nb,cb->nac", q, self.d, q)
        return 0.5 * (full + full.transpose(0, 2, 1))

    def of(self, weights, shift=None, hard=True):
        shift = self.shift if shift is None else shift
        return rmt.HessianLaw(weights, self.ratio, self.hard if hard else None, self.p, shift=shift)

    def points(self):
        """Points in the spectrum of every block, and next to the atom; ascending."""
        ends = [self.of(self.d[:, k], hard=False).edges() for k in range(self.m)]
        inside = [self.rng.uniform(left, right, 6) for left, right in ends]
        size = self.size()
        near = self.rng.choice([-1, 1], 6) * 10.0 ** self.rng.uniform(-12, 0, 6) * size
        return np.sort(np.concatenate([*inside, self.shift + near]))

    def size(self):
        left, right = self.law.edges()
        return max(abs(left - self.shift), abs(right - self.shift))


def cdf(law, x):
    """The distribution function, NaN where the law says that rounding hides it."""
    values = law.cdf(x, throw=False)
    left, right = law.edges()
    far = np.abs(x - law.shift) > 1e-2 * max(abs(left - law.shift), abs(right - law.shift))
    assert np.all(np.isfinite(values[far]))
    if np.isnan(values).any():
        with pytest.raises(rmt.NumericalFailure):
            law.cdf(x)
    return values


def assert_close(found, expected, tolerance):
    known = np.isfinite(found) & np.isfinite(expected)
    np.testing.assert_allclose(found[known], expected[known], rtol=0, atol=tolerance)


def check_mass_and_moments(case):
    """The moments by parts from the distribution function: E[x] = b - integral of F over (a, b)."""
    law = case.law
    left, right = law.edges()
    node, weight = np.polynomial.legendre.leggauss(24)
    total = np.zeros(2)
    middle = min(max(law.shift, left), right)
    for start, end in ((left, middle), (middle, right)):
        # Cells that shrink towards both ends.
        grid = 0.5 * (1.0 - np.cos(np.linspace(0.0, np.pi, 9)))
        cells = start + (end - start) * grid
        half = 0.5 * np.diff(cells)[:, None]
        x = 0.5 * (cells[1:] + cells[:-1])[:, None] + half * node
        values = law.cdf(x.ravel(), throw=False).reshape(x.shape)
        # What is hidden lies closer to the atom than matters here.
        values = np.where(np.isnan(values), law.atom_at_zero(), values)
        total += [np.sum(half * weight * values), np.sum(half * weight * values * 2 * x)]
    first, second = law.moments(2)
    scale = max(abs(left), abs(right), 1e-300)
    assert abs(right - total[0] - first) <= 2e-3 * scale
    assert abs(right**2 - total[1] - second) <= 4e-3 * scale**2


def check_density(case, x):
    law = case.law
    density = law.density(x, throw=False)
    assert np.all((density >= 0.0) | np.isnan(density))
    left, right = law.edges()
    node, weight = np.polynomial.legendre.leggauss(10)
    width = 1e-4 * (right - left)
    middle = case.rng.uniform(left, right, 12)
    middle = middle[np.abs(middle - law.shift) > 10 * width]
    cells = law.density((middle[:, None] + width * node).ravel()).reshape(-1, len(node))
    mass = width * cells @ weight
    step = law.cdf(middle + width) - law.cdf(middle - width)
    # Where an end of a band lies in the cell the rule is good to a few per cent.
    np.testing.assert_allclose(mass, step, rtol=0.05, atol=2e-6)


def check_blocks(case, x):
    """Decoupled weights: the average of the laws of the blocks."""
    law = case.law
    parts = [case.of(case.d[:, k], hard=False) for k in range(case.m)]
    left = min(part.edges().left for part in parts)
    right = max(part.edges().right for part in parts)
    assert law.edges() == pytest.approx((left, right), rel=0, abs=1e-7 * case.size())
    assert_close(cdf(law, x), np.mean([part.cdf(x) for part in parts], axis=0), 5e-6)
    atom = np.mean([part.atom_at_zero() for part in parts])
    far = np.abs(x - law.shift) > 1e-5 * case.size()
    exact = np.mean([part.density(x) for part in parts], axis=0)
    found = law.density(x, throw=False)
    known = far & np.isfinite(found) & np.isfinite(exact)
    floor = 1e-3 / max(case.size(), 1e-300)
    np.testing.assert_allclose(found[known], exact[known], rtol=1e-3, atol=floor)
    # Beyond twelve decades in one weight what is small is taken for rounding.
    if case.kind != "spread":
        assert law.atom_at_zero() == pytest.approx(atom, abs=1e-9)


def check_covariance(case, x):
    law = case.law
    values = cdf(law, x)
    left, right = law.edges()
    for power in case.rng.choice([-900, -300, 3, 400, 900], 2, replace=False):
        factor = 2.0 ** int(power)
        scaled = case.of(factor * case.weights, factor * case.shift)
        assert scaled.edges() == pytest.approx((factor * left, factor * right), rel=1e-9)
        assert scaled.status is law.status
        assert_close(cdf(scaled, factor * x), values, 3e-6)
        gaps = (scaled.hard_gap(throw=False), law.hard_gap(throw=False))
        assert gaps[0] == pytest.approx(factor * gaps[1], rel=1e-6, abs=1e-9 * factor * case.size())
    mirrored = case.of(-case.weights, -case.shift)
    assert mirrored.edges() == pytest.approx((-right, -left), rel=1e-9, abs=1e-9 * case.size())
    away = x[x != law.shift]
    assert_close(cdf(mirrored, -away), 1.0 - cdf(law, away), 3e-6)
    if case.m > 1:
        q = np.linalg.qr(case.rng.standard_normal((case.m, case.m)))[0]
        turned = q @ case.weights @ q.T
        turned = case.of(0.5 * (turned + turned.transpose(0, 2, 1)))
        assert turned.edges() == pytest.approx((left, right), rel=0, abs=1e-6 * case.size())
        outside = np.abs(x - law.shift) > 1e-5 * case.size()
        assert_close(cdf(turned, x[outside]), values[outside], 1e-5)


def check_hard(case):
    """The gap is negative where an outlier leaves both bulk and zero behind, and only there."""
    law = case.law
    gap = law.hard_gap()
    limit = min(law.edges().left, law.shift)
    below = [o for o in law.outliers() if o.side == "left" and o.value < limit]
    margin = 1e-9 * case.size()
    if abs(gap) > margin:
        assert (gap < 0) == bool(below)
    lowest = law.smallest_eigenvalue()
    assert lowest <= law.edges().left
    if below:
        assert lowest == below[0].value
        a = law.hard_matrix(below[0].value)
        assert np.abs(np.linalg.eigvalsh(a)).min() <= 1e-6 * (np.abs(a).max() + case.size())
        assert all(0.0 <= o.hard_overlap <= 1.0 for o in below)


def check_unresolved(case):
    """The edge is bounded from outside, and nothing that rests on it looks like a number."""
    law = case.law
    assert case.coupled or case.kind in ("scaled", "spread")
    assert law.status in (rmt.Status.MAX_STEPS, rmt.Status.UNRESOLVED)
    side = [not status.ok for status in law.edges().sides]
    parts = [case.of(case.d[:, k], hard=False).edges() for k in range(case.m)]
    room = (1e-2 if case.coupled else 1e-7) * case.size()
    assert law.edges().left <= min(part.left for part in parts) + room
    assert law.edges().right >= max(part.right for part in parts) - room
    assert law.edge_errors()[0] == np.inf or not side[0]
    with pytest.raises(rmt.NumericalFailure):
        law.outliers()
    if side[0]:
        with pytest.raises(rmt.NumericalFailure):
            law.hard_gap()
        assert np.isnan(law.hard_gap(throw=False))
        assert np.isnan(law.smallest_eigenvalue(throw=False))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(200 // ROUND))
def test_random_laws(block):
    unresolved = 0
    for seed in range(block * ROUND, (block + 1) * ROUND):
        case = Case(seed)
        law = case.law
        if not law.status.ok:  # an edge far closer to zero than the size of the weights
            unresolved += 1
            check_unresolved(case)
            continue
        x = case.points()
        values = cdf(law, x)
        known = values[np.isfinite(values)]
        assert np.all(np.diff(known) >= -3e-6)
        assert np.all((known >= 0.0) & (known <= 1.0))
        left, right = law.edges()
        beyond = 1e-9 * (case.size() + 1.0)
        assert law.cdf(left - beyond) == 0.0
        assert law.cdf(right + beyond) == 1.0
        check_mass_and_moments(case)
        check_density(case, x)
        check_covariance(case, x)
        check_hard(case)
        if not case.coupled:
            check_blocks(case, x)
            if case.kind == "constant":
                exact = MarchenkoPastur(case.ratio, case.d[0, 0])
                np.testing.assert_allclose(
                    law.density(x, throw=False), exact.density(x - case.shift), rtol=1e-5
                )
    assert unresolved <= 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, 200, 9))
def test_against_eigenvalues(seed):
    """Matrices of the size of a run; the distance of the right law is of the order of 1 / size."""
    case = Case(seed)
    # Whole numbers of each weight, so that the matrix has the weights of the law.
    n = len(case.p)
    law = rmt.HessianLaw(case.weights, max(1.0, round(case.ratio)), shift=case.shift)
    result = compare_spectrum(law, law.sample_matrix(n * (240 // case.m // n), seed))
    assert result.status.ok or result.status is rmt.Status.UNRESOLVED
    if result.status.ok:
        assert result.distance < 0.05  # blocks may be equal, of size d only
