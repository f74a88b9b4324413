"""Two hundred random laws: mass, moments and branch, against computations made here.

The density is integrated by an adaptive Gauss-Kronrod rule of this file. The moments are compared
with the library's recursion and with a sum over non-crossing partitions: with a matrix D per block,
independent between blocks, in the order of the positions,

    lim E tr H^k / (m d) = sum over pi in NC(k) of ratio^(|pi| - k) E tr(D_pi(1) ... D_pi(k)) / m.
"""

import itertools
from string import ascii_lowercase as letters

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rmt

# -- quadrature ---------------------------------------------------------------------------------

_POSITIVE = [
    0.991455371120812639206854697526329,
    0.949107912342758524526189684047851,
    0.864864423359769072789712788640926,
    0.741531185599394439863864773280788,
    0.586087235467691130294144691693014,
    0.405845151377397166906606412076961,
    0.207784955007898467600689403773245,
]
_KRONROD = [
    0.022935322010529224963732008058970,
    0.063092092629978553290700663189204,
    0.104790010322250183839876322541518,
    0.140653259715525918745189590510238,
    0.169004726639267902826583426598550,
    0.190350578064785409913256402421014,
    0.204432940075298892414161999234649,
]
NODES = np.array([-x for x in _POSITIVE] + [0.0] + _POSITIVE[::-1])
KRONROD = np.array([*_KRONROD, 0.209482141084727828012999174891714, *_KRONROD[::-1]])
GAUSS = np.zeros(15)
GAUSS[1::2] = np.polynomial.legendre.leggauss(7)[1]


POWERS = np.arange(5)[:, None]


def integrate(density, ends, cdf=None, tolerance=1e-6, rounds=60):
    """Integrals of density(x) x^k and of density(x) |x|^k, k = 0 to 4, over the cells ``ends``.

    All cells of a round are evaluated in one call. A cell is halved while its two rules differ in
    an absolute moment by more than ``tolerance`` times that moment (the difference is the error of
    the coarser rule; at a square-root edge it falls by 2^1.5 per round), and while the mass found
    differs from the increment of ``cdf``: a narrow bump can slip through the nodes.
    """
    low, high = ends[:-1], ends[1:]
    signed, absolute = np.zeros(5), np.zeros(5)
    for _ in range(rounds):
        half = 0.5 * (high - low)
        x = 0.5 * (high + low)[:, None] + half[:, None] * NODES
        value = density(x.ravel()).reshape(x.shape) * half[:, None]
        size = value * np.abs(x) ** POWERS[:, None]
        fine, coarse = size @ KRONROD, size @ GAUSS
        scale = absolute + fine.sum(axis=1)
        split = np.any(np.abs(fine - coarse) > tolerance * scale[:, None], axis=0)
        if cdf is not None:
            split |= np.abs(fine[0] - (cdf(high) - cdf(low))) > tolerance
        absolute += fine[:, ~split].sum(axis=1)
        signed += ((value * x ** POWERS[:, None])[:, ~split] @ KRONROD).sum(axis=1)
        if not split.any():
            return signed, absolute
        low, high = low[split], high[split]
        middle = 0.5 * (low + high)
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    raise AssertionError("the density could not be integrated")


def mesh(law, near):
    """Cells left and right of the interval of half width ``near`` around zero.

    They shrink towards it: heavy weights put scales of all sizes there.
    """
    left, right = np.array(law.edges()) - law.shift
    sides = []
    for end in (left, right):
        if abs(end) > near:
            inner = np.sign(end) * near
            count = 2 + int(np.log(abs(end) / near))
            sides.append(law.shift + np.sort(np.geomspace(inner, end, count)))
    return sides


# -- moments ------------------------------------------------------------------------------------


def set_partitions(k):
    """Block label of each of k positions, labels in order of appearance."""
    if k == 0:
        yield ()
        return
    for head in set_partitions(k - 1):
        for label in range(max(head, default=-1) + 2):
            yield (*head, label)


def is_non_crossing(labels):
    return not any(
        labels[a] == labels[c] != labels[b] == labels[d]
        for a, b, c, d in itertools.combinations(range(len(labels)), 4)
    )


def expected_trace(labels, weights, p):
    """E tr(D_1 ... D_k), the same matrix where the labels are equal, else an independent one."""
    k = len(labels)
    terms, operands = [], []
    for label in range(max(labels) + 1):
        entries = [letters[i] + letters[(i + 1) % k] for i in range(k) if labels[i] == label]
        terms.append("".join(entries))
        # E[D (x) ... (x) D] with two indices of its own for each factor.
        own = [letters[k + 2 * j : k + 2 * j + 2] for j in range(len(entries))]
        recipe = "z," + ",".join("z" + pair for pair in own) + "->" + "".join(own)
        operands.append(np.einsum(recipe, p, *[weights] * len(own), optimize=True))
    return float(np.einsum(",".join(terms) + "->", *operands, optimize=True))


PARTITIONS = {k: [x for x in set_partitions(k) if is_non_crossing(x)] for k in range(1, 5)}


def exact_moments(weights, p, ratio):
    """First four moments by the sum over non-crossing partitions."""
    m = weights.shape[-1]
    return np.array(
        [
            sum(ratio ** (max(x) + 1 - k) * expected_trace(x, weights, p) for x in PARTITIONS[k])
            / m
            for k in range(1, 5)
        ]
    )


def test_catalan():
    assert [len(PARTITIONS[k]) for k in range(1, 5)] == [1, 2, 5, 14]
    # Marchenko-Pastur at ratio 1: the Catalan numbers.
    np.testing.assert_allclose(exact_moments(np.ones((1, 1, 1)), np.ones(1), 1.0), [1, 2, 5, 14])


def test_quadrature():
    """A semicircle in cells that do not know its edges."""

    def density(x):
        return np.sqrt(np.maximum(1.0 - x**2, 0.0)) * 2 / np.pi

    signed, absolute = integrate(density, np.array([-3.0, 0.2, 10.0]))
    np.testing.assert_allclose(signed, [1.0, 0.0, 0.25, 0.0, 0.125], atol=1e-6)
    np.testing.assert_allclose(absolute[::2], signed[::2], rtol=1e-12)
    np.testing.assert_allclose(absolute[1], 4 / (3 * np.pi), atol=1e-6)


# -- laws ---------------------------------------------------------------------------------------

TAILS = ("bounded", "normal", "student", "cauchy", "lognormal", "sparse")


def draw_weights(rng, tail, sign, n, m):
    """(n, m, m) symmetric weights: entries with the given tail; eigenvalues of the given sign."""
    shape = (n, m, m)
    power = 0.5 if sign == "rank one" else 1.0  # products double the exponent of the tail
    if tail == "bounded":
        x = rng.uniform(-1.0, 1.0, shape)
    elif tail == "normal":
        x = rng.standard_normal(shape)
    elif tail == "student":
        x = rng.standard_t(3.0, shape)
    elif tail == "cauchy":
        x = rng.standard_normal(shape) * np.abs(rng.standard_cauchy((n, 1, 1))) ** power
    elif tail == "lognormal":
        x = rng.standard_normal(shape) * np.exp(1.5 * power * rng.standard_normal((n, 1, 1)))
    else:
        x = rng.standard_normal(shape) * (rng.random((n, 1, 1)) < 0.5)
        x[0] = 1.0  # not all of them zero
    x = x + x.transpose(0, 2, 1)
    if sign == "mixed":
        return x
    if sign == "rank one":  # a network's Hessian with a small residual, of either sign
        return x[:, :, :1] * x[:, :, :1].transpose(0, 2, 1) * rng.choice([-1.0, 1.0], (n, 1, 1))
    values, vectors = np.linalg.eigh(x)
    values = np.abs(values) * (1.0 if sign == "positive" else -1.0)
    return np.einsum("nab,nb,ncb->nac", vectors, values, vectors)


@st.composite
def laws(draw):
    m = draw(st.integers(1, 4))
    n = draw(st.integers(3, 48))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tail = draw(st.sampled_from(TAILS))
    sign = draw(st.sampled_from(("mixed", "mixed", "positive", "negative", "rank one")))
    ratio = float(np.exp(draw(st.floats(np.log(0.2), np.log(20.0)))))
    weights = draw_weights(rng, tail, sign, n, m)
    p = None if draw(st.booleans()) else rng.dirichlet(np.ones(n))
    shift = draw(st.sampled_from((0.0, 0.0, 0.3)))
    return rmt.HessianLaw(weights, ratio, probabilities=p, shift=shift)


def check_branch(law, rng):
    """Im c > 0, the equation of c, and the conjugate below the axis, from far above to close by."""
    left, right = law.edges()
    size = max(abs(left - law.shift), abs(right - law.shift))
    x = np.concatenate([rng.uniform(left, right, 12), law.shift + size * 0.01 * rng.normal(size=4)])
    z = (x[:, None] + 1j * size * np.array([1e-6, 1e-3, 0.1, 10.0])).ravel()
    c = law.matrix_stieltjes(z)
    imaginary = np.linalg.eigvalsh(c.imag)
    assert np.all(imaginary > 0.0)
    eye = np.eye(law.m)
    # In terms of B = 1/c, as c is large next to an atom at zero.
    b = np.linalg.inv(c)
    inside = np.linalg.solve(b[:, None] + law.weights, law.weights)
    mean = np.einsum("n,qnab->qab", law.probabilities, b[:, None] @ inside)
    defect = mean - b / law.ratio - (z - law.shift)[:, None, None] * eye
    scale = np.abs(b).max(axis=(1, 2)) * (1 + 1 / law.ratio) + np.abs(z)
    assert np.all(np.abs(defect).max(axis=(1, 2)) <= 1e-8 * scale)
    np.testing.assert_array_equal(law.matrix_stieltjes(z.conj()), c.conj())
    np.testing.assert_allclose(law.stieltjes(z), law.ratio / law.m * np.trace(c, axis1=1, axis2=2))
    # On the axis, where `density` would clip a negative value.
    x = rng.uniform(left - 0.1 * size, right + 0.1 * size, 40)
    s = law.stieltjes(x)
    assert np.all(s.imag >= -1e-9 * np.abs(s))
    assert np.all(s.imag[(x < left) | (x > right)] <= 1e-9 * np.abs(s)[(x < left) | (x > right)])


def check(law):
    """Return the errors of total mass and of the first four moments (relative), by quadrature.

    Nearer to the atom at zero than 1e-4 of the median weight, the density is lost beside the
    pole: there the jump of `cdf` stands for both.
    """
    assert law.status.ok
    sizes = np.abs(law.weights).max(axis=(1, 2))
    near = 1e-4 * float(np.median(sizes[sizes > 0]))

    def density(x):
        values = law.density(x)
        assert np.all(values >= 0.0)
        return values

    atom = law.atom_at_zero()
    signed, absolute = np.zeros(5), np.zeros(5)
    for ends in mesh(law, near):
        parts = integrate(density, ends, law.cdf)
        signed, absolute = signed + parts[0], absolute + parts[1]
    jump = float(np.diff(law.cdf(law.shift + near * np.array([-1.0, 1.0])))[0])
    assert jump >= atom - 1e-6
    jump = jump * law.shift ** np.arange(5.0)
    signed, absolute = signed + jump, absolute + jump
    moments = law.moments(4)
    # Odd moments may vanish: relative to the absolute ones.
    return abs(signed[0] - 1.0), np.abs(signed[1:] - moments) / absolute[1:]


@pytest.mark.slow
@settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=200,
    suppress_health_check=list(HealthCheck),
)
@given(law=laws(), seed=st.integers(0, 2**32 - 1))
def test_mass_moments_and_branch(law, seed):
    mass, moments = check(law)
    assert mass <= 1e-4
    assert np.all(moments <= 1e-3)
    check_branch(law, np.random.default_rng(seed))
    raw = (
        law if law.shift == 0.0 else rmt.HessianLaw(law.weights, law.ratio, None, law.probabilities)
    )
    independent = exact_moments(law.weights, law.probabilities, law.ratio)
    scale = np.sqrt(independent[1]) ** np.arange(1, 5)
    assert np.all(
        np.abs(raw.moments(4) - independent) <= 1e-9 * np.maximum(scale, np.abs(independent))
    )


@pytest.mark.parametrize("m", [1, 2])
def test_no_atom_at_a_critical_ratio(m):
    """Rounding of the sum of the masses must not make an atom, nor blur the density next to it."""
    weights = draw_weights(np.random.default_rng(0), "lognormal", "positive", 14, m)
    law = rmt.HessianLaw(weights, 1.0)
    assert law.atom_at_zero() == 0.0
    x = 1e-8
    # A density C / sqrt(x) at the hard edge: the mass below x is 2 x times the density there.
    assert law.cdf(x) == pytest.approx(2 * x * law.density(x), rel=1e-2)
