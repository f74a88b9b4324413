r"""Compiled kernels: gradient, curvature and loss of one sample per column; passes over the paths.

With :math:`f = \sum_j a_j \sigma(r_j)`,

.. math::

    g_j &= L'(f, y)\, a_j \sigma'(r_j) \\
    D_{jl} &= L''(f, y)\, a_j a_l \sigma'(r_j) \sigma'(r_l)
            + 1[j = l]\, L'(f, y)\, a_j \sigma''(r_j),

and :math:`r_j + b_j` in place of :math:`r_j` where there are biases.

Everything is serial and sums in a fixed order: same input, same bits. The codes of activations and
losses are those of the catalogues. One exponential serves a value and both its derivatives.

Samples are taken by blocks of `BLOCK`, whose numbers stay in the first-level cache from one loop to
the next; each quantity is a row of the block, at a constant place in it. A loop over a row has no
branches and no calls, and so runs on vector registers. What a row holds beyond the last sample is
computed and ignored: a sample has the same bits wherever it stands.

The passes over the basis of the paths, below, call these. They take their arguments in named
groups.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.elementary import BLOCK, JIT, erf_of, exponential, gaussian, log1p, tanh_of
from rmt._compiled import compiled

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


class BasisUpdate(NamedTuple):
    """Changes to the rows of a basis that a full pass makes before it uses them.

    ``stacked @ basis[:n_stored]`` gives new versions of the rows `reorthogonalised`, then (with
    ``from_rows @ pending`` added) the rows to be written behind those stored, then any other
    combinations asked for. Products of the rows `checked` with the basis are to be measured.
    """

    stacked: Array
    reorthogonalised: Indices
    from_rows: Array
    pending: Array
    checked: Indices
    n_stored: int


class Law(NamedTuple):
    """Second layer (m,), biases (m,) or (0,), codes of activation and loss, its parameter."""

    a: Array
    biases: Array
    activation: int
    loss: int
    parameter: float


class Samples(NamedTuple):
    """Labels (paths,), law of network and loss, and the curvature above which paths count.

    With `scales` (paths,), empty otherwise, the pre-activations of a sample are s times those that
    a kernel is given or finds (biases come after); its gradient and curvature are taken along the
    latter: s g, s^2 D.
    """

    y: Array
    law: Law
    limit: float
    scales: Array


class Predictor(NamedTuple):
    """Prediction ``weights @ gradients[chosen]`` of gradients, and residuals of the old ones."""

    weights: Array
    chosen: Indices
    gradients: Array
    residuals: Array


class Point(NamedTuple):
    """Outputs at a point: pre-activations and gradients (m, paths), losses (paths,).

    `above` (4,) is that of `gradient_kernel`.
    """

    r: Array
    g: Array
    losses: Array
    above: Array


class Innovation(NamedTuple):
    """Outputs of the comparison of gradients with their prediction.

    With ``innovation = g - weights @ gradients[chosen]``: `squares` (m,) are the sums of its
    squares, `with_gradients` (m, j) its products with the first j gradients, and the first m of
    `rows` are ``innovation + weights @ residuals[chosen]``.
    """

    rows: Array
    with_gradients: Array
    squares: Array


# Activation codes (dmft.model.activations).
QUADRATIC, GELU, TANH, ERF, SOFTPLUS, SILU, LINEAR = 0, 1, 2, 3, 4, 5, 6
RELU, LEAKY_RELU, ABS, CLIPPED_LINEAR = 7, 8, 9, 10
# Loss codes (dmft.model.losses).
SQUARE, PSEUDO_HUBER, LOGISTIC, SMOOTHED_HINGE, CORRELATION = 0, 1, 2, 3, 4
# and of families with a parameter (dmft.model.loss_families).
NORMALISED_SQUARE = 5

_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
_LEAK = 0.01  # dmft.model.activations.LEAK
# The rows of a block of samples: r, sigma'', sigma', sigma; f, y; L, L', L''.
_S2, _S1, _S = BLOCK, 2 * BLOCK, 3 * BLOCK
_F, _Y = 4 * BLOCK, 5 * BLOCK
_L, _L1, _L2 = 6 * BLOCK, 7 * BLOCK, 8 * BLOCK
# and from here on, three for each neuron, sigma, a sigma', a sigma''.
_NEURONS = 9 * BLOCK


# Of functions that Python does not call.
_INNER: dict[str, Any] = {**JIT, "no_cpython_wrapper": True}


# -- one sample: activation, loss, gradient, curvature -------------------------------------------


@compiled(**JIT)
def activate(code: int, block: Array) -> None:
    """Fill the rows `_S`, `_S1`, `_S2` of a block with activation `code` and its derivatives.

    On a kink the slope is the flatter one.
    """
    if code in (GELU, ERF):
        gaussian(block, 0.5 if code == GELU else 1.0)
    if code in (TANH, SOFTPLUS, SILU):
        scale = -2.0 if code == TANH else -1.0
        for i in range(BLOCK):
            block[_S2 + i] = scale * abs(block[i])
        exponential(block[_S2 : _S2 + BLOCK])
    if code == GELU:
        for i in range(BLOCK):
            r = block[i]
            density = _INV_SQRT_2PI * block[_S2 + i]
            tail = block[_S1 + i]
            cdf = tail if r < 0.0 else 1.0 - tail
            block[_S + i] = r * cdf
            block[_S1 + i] = cdf + r * density
            block[_S2 + i] = density * (2.0 - r * r)
    elif code == ERF:
        for i in range(BLOCK):
            r = block[i]
            slope = _TWO_OVER_SQRT_PI * block[_S2 + i]
            block[_S + i] = erf_of(r, block[_S1 + i])
            block[_S1 + i] = slope
            block[_S2 + i] = -2.0 * r * slope
    elif code == TANH:
        for i in range(BLOCK):
            e = block[_S2 + i]
            w = 1.0 / (1.0 + e)
            t = tanh_of(block[i], e)
            # sech^2 from e: 1 - tanh^2 would lose all digits in the tails.
            slope = 4.0 * e * w * w
            block[_S + i] = t
            block[_S1 + i] = slope
            block[_S2 + i] = -2.0 * t * slope
    elif code == SOFTPLUS:
        for i in range(BLOCK):
            r, e = block[i], block[_S2 + i]
            w = 1.0 / (1.0 + e)
            block[_S + i] = (r if r > 0.0 else 0.0) + log1p(e)
            block[_S1 + i] = w if r >= 0.0 else e * w
            block[_S2 + i] = e * w * w
    elif code == SILU:
        for i in range(BLOCK):
            r, e = block[i], block[_S2 + i]
            w = 1.0 / (1.0 + e)
            sigmoid = w if r >= 0.0 else e * w
            slope = e * w * w
            block[_S + i] = r * sigmoid
            block[_S1 + i] = sigmoid + r * slope
            # abs(r) * tanh(|r|/2) = r * tanh(r/2)
            block[_S2 + i] = slope * (2.0 - abs(r) * (1.0 - e) * w)
    elif code == QUADRATIC:
        for i in range(BLOCK):
            block[_S + i] = block[i] * block[i]
            block[_S1 + i] = 2.0 * block[i]
            block[_S2 + i] = 2.0
    else:
        # Linear between kinks.
        for i in range(BLOCK):
            r = block[i]
            if code == LINEAR:
                value, slope = r, 1.0
            elif math.isnan(r):
                value, slope = r, r
            elif code == RELU:
                value, slope = (r, 1.0) if r > 0.0 else (0.0, 0.0)
            elif code == LEAKY_RELU:
                value, slope = (r, 1.0) if r > 0.0 else (_LEAK * r, _LEAK)
            elif code == ABS:
                value, slope = abs(r), (1.0 if r > 0.0 else (-1.0 if r < 0.0 else 0.0))
            else:  # CLIPPED_LINEAR
                value, slope = (r, 1.0) if abs(r) < 1.0 else (math.copysign(1.0, r), 0.0)
            block[_S + i] = value
            block[_S1 + i] = slope
            block[_S2 + i] = 0.0


@compiled(**JIT)
def lose(code: int, parameter: float, block: Array) -> None:
    """Fill the rows `_L`, `_L1`, `_L2` of a block with loss `code` and its derivatives in f."""
    if code == SQUARE:
        for i in range(BLOCK):
            u = block[_F + i] - block[_Y + i]
            block[_L + i] = 0.5 * u * u
            block[_L1 + i] = u
            block[_L2 + i] = 1.0
    elif code == PSEUDO_HUBER:
        for i in range(BLOCK):
            u = block[_F + i] - block[_Y + i]
            size = abs(u)
            # Beyond 1e100 the 1 under the root is invisible, and u^2 would overflow.
            root = math.sqrt(1.0 + u * u)
            root = root if size < 1e100 else size
            w = 1.0 / root
            block[_L + i] = size * (size / (1.0 + root))
            block[_L1 + i] = u * w
            block[_L2 + i] = w * w * w
    elif code == LOGISTIC:
        for i in range(BLOCK):
            block[_L2 + i] = -abs(block[_Y + i] * block[_F + i])
        exponential(block[_L2 : _L2 + BLOCK])
        for i in range(BLOCK):
            y, e = block[_Y + i], block[_L2 + i]
            t = y * block[_F + i]
            w = 1.0 / (1.0 + e)
            block[_L + i] = (-t if t < 0.0 else 0.0) + log1p(e)
            block[_L1 + i] = -y * (e * w if t >= 0.0 else w)
            block[_L2 + i] = y * y * e * w * w
    elif code == CORRELATION:
        for i in range(BLOCK):
            f, y = block[_F + i], block[_Y + i]
            block[_L + i] = -f * y
            block[_L1 + i] = -y
            block[_L2 + i] = 0.0
    elif code == NORMALISED_SQUARE:
        for i in range(BLOCK):
            y = block[_Y + i]
            u = block[_F + i] - y
            w = 1.0 / (parameter + y)
            block[_L + i] = 0.5 * u * u * w
            block[_L1 + i] = u * w
            block[_L2 + i] = w
    else:  # SMOOTHED_HINGE
        for i in range(BLOCK):
            y = block[_Y + i]
            t = y * block[_F + i]
            d = 1.0 - t
            d = 1.0 if d > 1.0 else (0.0 if d < 0.0 else d)
            block[_L + i] = 0.5 * d * d if t > 0.0 else 0.5 - t
            block[_L1 + i] = -y * d
            block[_L2 + i] = y * y if 0.0 < d < 1.0 else 0.0 * d


@compiled(**_INNER)
def _room(m: int) -> Array:
    """Return a block for m neurons; what lies beyond the samples in it stays finite."""
    block = np.empty(_NEURONS + 3 * m * BLOCK)
    block[:] = 0.0
    return block


@compiled(**_INNER)
def _curvature_bounds(m: int, block: Array) -> None:
    """Fill row `_F` with ``max_j L' a_j sigma'' + max(L'', 0) |a sigma'|^2``, and `_S`.

    The latter with ``|a sigma'|^2``.
    """
    for i in range(BLOCK):
        block[_S + i] = 0.0
        block[_F + i] = -math.inf
    for j in range(m):
        first = _NEURONS + 3 * BLOCK * j
        own = block[first : first + 3 * BLOCK]
        for i in range(BLOCK):
            block[_S + i] += own[BLOCK + i] * own[BLOCK + i]
            bend = block[_L1 + i] * own[2 * BLOCK + i]
            largest = block[_F + i]
            block[_F + i] = bend if bend > largest else largest
    for i in range(BLOCK):
        bend = block[_L2 + i]
        block[_F + i] += (bend if bend > 0.0 else 0.0) * block[_S + i]


@compiled(**_INNER)
def _derivatives(
    r: Array,
    y: Array,
    law: Law,
    start: int,
    stop: int,
    limit: float,
    scales: Array,
    block: Array,
) -> None:
    """Fill a block with everything about samples start to stop, at most `BLOCK` of them.

    Bounds on the curvature take the place of f if there is a limit to compare them with. All is at
    pre-activations ``scales * r``, and none of it multiplied with the scales.
    """
    a, biases, activation, loss, parameter = law
    for i in range(stop - start):
        block[_Y + i] = y[start + i]
    for i in range(BLOCK):
        block[_F + i] = 0.0
    for j in range(len(a)):
        row = r[j]
        for i in range(stop - start):
            block[i] = row[start + i]
        if len(scales):
            for i in range(stop - start):
                block[i] *= scales[start + i]
        if len(biases):
            b = biases[j]
            for i in range(stop - start):
                block[i] += b
        activate(activation, block)
        c, first = a[j], _NEURONS + 3 * BLOCK * j
        own = block[first : first + 3 * BLOCK]
        for i in range(BLOCK):
            block[_F + i] += c * block[_S + i]
        for i in range(BLOCK):
            own[i] = block[_S + i]
            own[BLOCK + i] = c * block[_S1 + i]
            own[2 * BLOCK + i] = c * block[_S2 + i]
    lose(loss, parameter, block)
    if limit < math.inf:
        _curvature_bounds(len(a), block)


@compiled(**_INNER)
def _gradients(
    r: Array,
    samples: Samples,
    g: Array,
    loss_values: Array,
    above: Array,
    first: int,
    last: int,
    block: Array,
) -> None:
    """`gradient_kernel` for samples first to last."""
    y, law, limit, scales = samples
    m = len(law.a)
    for start in range(first, last, BLOCK):
        stop = min(start + BLOCK, last)
        n = stop - start
        _derivatives(r, y, law, start, stop, limit, scales, block)
        for i in range(n):
            loss_values[start + i] = block[_L + i]
        if len(scales):
            # What follows multiplies the slope of the loss with a sigma': once with the scale.
            for i in range(n):
                s = scales[start + i]
                block[_L1 + i] *= s
                block[_F + i] *= s * s
        if limit < math.inf:
            count = 0
            for i in range(n):
                count += block[_F + i] > limit
            if count:
                for i in range(n):
                    if block[_F + i] > limit:
                        square = 0.0
                        for j in range(m):
                            square += r[j, start + i] * r[j, start + i]
                        if len(scales):
                            square *= scales[start + i] * scales[start + i]
                        slope = block[_L1 + i]
                        above[0] += 1.0
                        above[1] += block[_L + i]
                        above[2] += slope * slope * block[_S + i]
                        above[3] += square
        for j in range(m):
            at = _NEURONS + (3 * j + 1) * BLOCK
            own, target = block[at : at + BLOCK], g[j]
            for i in range(n):
                target[start + i] = own[i] * block[_L1 + i]


@compiled(**JIT)
def gradient_kernel(r: Array, samples: Samples, g: Array, loss_values: Array, above: Array) -> None:
    """Fill `g` (m, N) with dl/dr and `loss_values` (N,) with l; `g` may be `r` itself.

    Of samples with scales, with s dl/dr at pre-activations s r. Adds to `above` (4,) the number of
    samples whose largest curvature may exceed the limit (see `curvature_bound_kernel`), their
    losses, and their squares of gradients and pre-activations.
    """
    _gradients(r, samples, g, loss_values, above, np.intp(0), r.shape[1], _room(len(r)))


@compiled(**JIT)
def second_layer_kernel(r: Array, y: Array, law: Law, mask: Array, out: Array) -> None:
    """Fill `out` (m,) with the sum over samples of ``dl/da = L' sigma(r)``.

    With a `mask` (N,), empty otherwise, each sample counts that much.
    """
    m, n = r.shape
    out[:] = 0.0
    block, unit = _room(m), np.empty(0)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        _derivatives(r, y, law, start, stop, math.inf, unit, block)
        for i in range(stop - start):
            weight = mask[start + i] if len(mask) else 1.0
            if weight != 0.0:
                slope = weight * block[_L1 + i]
                for j in range(m):
                    out[j] += slope * block[_NEURONS + 3 * BLOCK * j + i]


@compiled(**JIT)
def curvature_bound_kernel(r: Array, y: Array, law: Law, bound: Array) -> None:
    """Fill `bound` (N,) with ``max_j L' a_j sigma'' + max(L'', 0) |a sigma'|^2``.

    No eigenvalue of D is larger; for one neuron it is D itself where L'' >= 0.
    """
    m, n = r.shape
    block, unit = _room(m), np.empty(0)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        _derivatives(r, y, law, start, stop, -math.inf, unit, block)
        for i in range(stop - start):
            bound[start + i] = block[_F + i]


@compiled(**JIT)
def curvature_kernel(r: Array, y: Array, law: Law, D: Array) -> None:
    """Fill `D` (N, m, m) with d2l/dr dr."""
    m, n = r.shape
    block, unit = _room(m), np.empty(0)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        _derivatives(r, y, law, start, stop, math.inf, unit, block)
        for i in range(stop - start):
            slope, bend = block[_L1 + i], block[_L2 + i]
            for j in range(m):
                own = _NEURONS + 3 * BLOCK * j + i
                s1 = block[own + BLOCK]
                for p in range(j):
                    entry = bend * (s1 * block[_NEURONS + (3 * p + 1) * BLOCK + i])
                    D[start + i, j, p] = entry
                    D[start + i, p, j] = entry
                D[start + i, j, j] = bend * (s1 * s1) + slope * block[own + 2 * BLOCK]


@compiled(**JIT)
def loss_kernel(h: Array, y: Array, weights: Array, law: Law) -> float:
    """Return sum_i weights_i l(h_i, y_i), summed in order of i with compensation (Neumaier)."""
    m, n = h.shape
    total = 0.0
    lost = 0.0
    block, unit = _room(m), np.empty(0)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        _derivatives(h, y, law, start, stop, math.inf, unit, block)
        for i in range(stop - start):
            term = weights[start + i] * block[_L + i]
            new = total + term
            if abs(total) >= abs(term):
                lost += (total - new) + term
            else:
                lost += (term - new) + total
            total = new
    # An overflow leaves inf - inf in the compensation; the plain sum is then the answer.
    return total + lost if math.isfinite(lost) else total


# -- products of a few rows with the basis of the paths ------------------------------------------
#
# The basis is by far the largest array, and every product with it is limited by reading it. These
# kernels take it in slices of columns that stay in the second-level cache, and do to a slice all
# that is to be done before they move on. Four rows of the basis are taken at a time, with up to
# four right-hand sides, so that a number read serves as many operations as registers allow.
#
# They are kept short, for the sake of the time that they take to compile: a number of right-hand
# sides has no function of its own, rows are copied by a loop, and a column 0 is `np.intp(0)`.
# (numba types a literal by its value, and would compile what it is handed to once more.)

# Sums may be taken in any order (within a slice, always the same one); nan and inf are kept.
_JIT_SUMS: dict[str, Any] = {**JIT, "fastmath": {"reassoc", "contract", "nsz"}}
# Of functions that Python does not call.
_INNER_SUMS: dict[str, Any] = {**_JIT_SUMS, "no_cpython_wrapper": True}
_SLICE_NUMBERS = 49152  # numbers of the basis in a slice: 384 kB
_LEAST_COLUMNS, _MOST_COLUMNS = 64, 1024


@compiled(**_INNER_SUMS)
def _columns_per_slice(n_rows: int) -> int:
    """Columns of a slice, a multiple of 32."""
    columns = _SLICE_NUMBERS // max(n_rows, 1) // 32 * 32
    return max(_LEAST_COLUMNS, min(_MOST_COLUMNS, columns))


@compiled(**_INNER_SUMS)
def _aligned(n_rows: int, n_columns: int) -> Array:
    """Array that begins on a cache line, as those of ``dmft._numerics.aligned``."""
    numbers = np.empty(n_rows * n_columns + 7)
    first = (-(numbers.ctypes.data // 8)) % 8
    return numbers[first : first + n_rows * n_columns].reshape(n_rows, n_columns)


@compiled(**_INNER_SUMS)
def _four(row: Array, i: int) -> tuple[float, float, float, float]:
    """Return four numbers of a row."""
    return row[i], row[i + 1], row[i + 2], row[i + 3]


@compiled(**_INNER_SUMS)
def _add_four(row: Array, i: int, x0: float, x1: float, x2: float, x3: float) -> None:
    """Add to four numbers of a row."""
    row[i] += x0
    row[i + 1] += x1
    row[i + 2] += x2
    row[i + 3] += x3


@compiled(**_INNER_SUMS)
def _copy(source: Array, target: Array) -> None:
    """Copy a row; an assignment to a slice compiles the text of an error of shapes too."""
    for p in range(len(target)):
        target[p] = source[p]


@compiled(**_INNER_SUMS)
def _add_combination(
    coefficients: Array, basis: Array, n_rows: int, start: int, stop: int, out: Array, at: int
) -> None:
    """Add ``coefficients @ basis`` on columns start to stop to `out`, from column `at`."""
    n, last = stop - start, len(coefficients) - 1
    whole = n_rows // 4 * 4
    j = 0
    while j <= last:
        # One first, alone: memory delivers the slice faster to a loop that does little with it.
        n_rhs = min(last + 1 - j, 4) if j else 1
        j1, j2, j3 = min(j + 1, last), min(j + 2, last), min(j + 3, last)
        x = out[j, at : at + n]
        y = out[j1, at : at + n]
        z = out[j2, at : at + n]
        v = out[j3, at : at + n]
        for i in range(0, whole, 4):
            w0 = basis[i, start:stop]
            w1 = basis[i + 1, start:stop]
            w2 = basis[i + 2, start:stop]
            w3 = basis[i + 3, start:stop]
            c0, c1, c2, c3 = _four(coefficients[j], i)
            if n_rhs == 1:
                for p in range(n):
                    x[p] += c0 * w0[p] + c1 * w1[p] + c2 * w2[p] + c3 * w3[p]
                continue
            d0, d1, d2, d3 = _four(coefficients[j1], i)
            if n_rhs == 2:
                for p in range(n):
                    x[p] += c0 * w0[p] + c1 * w1[p] + c2 * w2[p] + c3 * w3[p]
                    y[p] += d0 * w0[p] + d1 * w1[p] + d2 * w2[p] + d3 * w3[p]
                continue
            e0, e1, e2, e3 = _four(coefficients[j2], i)
            if n_rhs == 3:
                for p in range(n):
                    x[p] += c0 * w0[p] + c1 * w1[p] + c2 * w2[p] + c3 * w3[p]
                    y[p] += d0 * w0[p] + d1 * w1[p] + d2 * w2[p] + d3 * w3[p]
                    z[p] += e0 * w0[p] + e1 * w1[p] + e2 * w2[p] + e3 * w3[p]
                continue
            f0, f1, f2, f3 = _four(coefficients[j3], i)
            for p in range(n):
                x[p] += c0 * w0[p] + c1 * w1[p] + c2 * w2[p] + c3 * w3[p]
                y[p] += d0 * w0[p] + d1 * w1[p] + d2 * w2[p] + d3 * w3[p]
                z[p] += e0 * w0[p] + e1 * w1[p] + e2 * w2[p] + e3 * w3[p]
                v[p] += f0 * w0[p] + f1 * w1[p] + f2 * w2[p] + f3 * w3[p]
        j += n_rhs
    for i in range(whole, n_rows):
        row = basis[i, start:stop]
        for j in range(last + 1):
            c = coefficients[j, i]
            x = out[j, at : at + n]
            for p in range(n):
                x[p] += c * row[p]


@compiled(**_INNER_SUMS)
def _add_products(
    rows: Array, n_rhs: int, at: int, basis: Array, n_rows: int, start: int, stop: int, out: Array
) -> None:
    """Add ``rows[:n_rhs] @ basis.T`` over columns start to stop to `out`; rows from column `at`."""
    n, last = stop - start, n_rhs - 1
    whole = n_rows // 4 * 4
    for j in range(0, n_rhs, 4):
        j1, j2, j3 = min(j + 1, last), min(j + 2, last), min(j + 3, last)
        x = rows[j, at : at + n]
        y = rows[j1, at : at + n]
        z = rows[j2, at : at + n]
        v = rows[j3, at : at + n]
        for i in range(0, whole, 4):
            w0 = basis[i, start:stop]
            w1 = basis[i + 1, start:stop]
            w2 = basis[i + 2, start:stop]
            w3 = basis[i + 3, start:stop]
            if j == last:
                x0 = x1 = x2 = x3 = 0.0
                for p in range(n):
                    x0 += x[p] * w0[p]
                    x1 += x[p] * w1[p]
                    x2 += x[p] * w2[p]
                    x3 += x[p] * w3[p]
                _add_four(out[j], i, x0, x1, x2, x3)
            elif j1 == last:
                x0 = x1 = x2 = x3 = 0.0
                y0 = y1 = y2 = y3 = 0.0
                for p in range(n):
                    x0 += x[p] * w0[p]
                    x1 += x[p] * w1[p]
                    x2 += x[p] * w2[p]
                    x3 += x[p] * w3[p]
                    y0 += y[p] * w0[p]
                    y1 += y[p] * w1[p]
                    y2 += y[p] * w2[p]
                    y3 += y[p] * w3[p]
                _add_four(out[j], i, x0, x1, x2, x3)
                _add_four(out[j1], i, y0, y1, y2, y3)
            elif j2 == last:
                x0 = x1 = x2 = x3 = 0.0
                y0 = y1 = y2 = y3 = 0.0
                z0 = z1 = z2 = z3 = 0.0
                for p in range(n):
                    x0 += x[p] * w0[p]
                    x1 += x[p] * w1[p]
                    x2 += x[p] * w2[p]
                    x3 += x[p] * w3[p]
                    y0 += y[p] * w0[p]
                    y1 += y[p] * w1[p]
                    y2 += y[p] * w2[p]
                    y3 += y[p] * w3[p]
                    z0 += z[p] * w0[p]
                    z1 += z[p] * w1[p]
                    z2 += z[p] * w2[p]
                    z3 += z[p] * w3[p]
                _add_four(out[j], i, x0, x1, x2, x3)
                _add_four(out[j1], i, y0, y1, y2, y3)
                _add_four(out[j2], i, z0, z1, z2, z3)
            else:
                x0 = x1 = x2 = x3 = 0.0
                y0 = y1 = y2 = y3 = 0.0
                z0 = z1 = z2 = z3 = 0.0
                v0 = v1 = v2 = v3 = 0.0
                for p in range(n):
                    x0 += x[p] * w0[p]
                    x1 += x[p] * w1[p]
                    x2 += x[p] * w2[p]
                    x3 += x[p] * w3[p]
                    y0 += y[p] * w0[p]
                    y1 += y[p] * w1[p]
                    y2 += y[p] * w2[p]
                    y3 += y[p] * w3[p]
                    z0 += z[p] * w0[p]
                    z1 += z[p] * w1[p]
                    z2 += z[p] * w2[p]
                    z3 += z[p] * w3[p]
                    v0 += v[p] * w0[p]
                    v1 += v[p] * w1[p]
                    v2 += v[p] * w2[p]
                    v3 += v[p] * w3[p]
                _add_four(out[j], i, x0, x1, x2, x3)
                _add_four(out[j1], i, y0, y1, y2, y3)
                _add_four(out[j2], i, z0, z1, z2, z3)
                _add_four(out[j3], i, v0, v1, v2, v3)
    for i in range(whole, n_rows):
        row = basis[i, start:stop]
        for j in range(n_rhs):
            x = rows[j, at : at + n]
            total = 0.0
            for p in range(n):
                total += x[p] * row[p]
            out[j, i] += total


@compiled(**_JIT_SUMS)
def combine_kernel(coefficients: Array, basis: Array, n_rows: int, out: Array) -> None:
    """Fill `out` (j, paths) with ``coefficients (j, n_rows) @ basis[:n_rows]``."""
    out[:] = 0.0
    n = out.shape[1]
    step = _columns_per_slice(n_rows)
    for start in range(0, n, step):
        stop = min(start + step, n)
        _add_combination(coefficients, basis, n_rows, start, stop, out, start)


@compiled(**_JIT_SUMS)
def average_kernel(rows: Array, basis: Array, n_rows: int, out: Array) -> None:
    """Fill `out` (j, n_rows) with ``rows (j, paths) @ basis[:n_rows].T``."""
    out[:] = 0.0
    n = rows.shape[1]
    step = _columns_per_slice(n_rows)
    for start in range(0, n, step):
        stop = min(start + step, n)
        _add_products(rows, rows.shape[0], start, basis, n_rows, start, stop, out)


@compiled(**_JIT_SUMS)
def remove_kernel(
    coefficients: Array,
    rows: Array,
    again: int,
    wanted: Array,
    combined: Array,
    basis: Array,
    n_rows: int,
    out: Array,
) -> None:
    """Subtract ``coefficients @ basis[:n_rows]`` from `rows`, and look at what is left.

    Fills `combined` with ``wanted @ basis[:n_rows]``, and `out` (again, n_rows) with the products
    of the first `again` rows, as they are now, with the basis.
    """
    minus = -coefficients
    out[:] = 0.0
    combined[:] = 0.0
    n = rows.shape[1]
    step = _columns_per_slice(n_rows)
    for start in range(0, n, step):
        stop = min(start + step, n)
        _add_combination(minus, basis, n_rows, start, stop, rows, start)
        _add_combination(wanted, basis, n_rows, start, stop, combined, start)
        if again:
            _add_products(rows, again, start, basis, n_rows, start, stop, out)


@compiled(**_INNER_SUMS)
def _subtract_prediction(
    predictor: Predictor, start: int, stop: int, g: Array, innovation: Innovation
) -> None:
    """`innovation_kernel` on columns start to stop; adds to products and squares."""
    weights, chosen, gradients, residuals = predictor
    rows, with_gradients, squares = innovation
    m = len(g)
    for j in range(m):
        rest = rows[j, start:stop]
        _copy(g[j, start:stop], rest)
        for i in range(len(chosen)):
            c = weights[j, i]
            if c != 0.0:
                row = gradients[chosen[i], start:stop]
                for p in range(stop - start):
                    rest[p] -= c * row[p]
        square = 0.0
        for p in range(stop - start):
            square += rest[p] * rest[p]
        squares[j] += square
    n_gradients = with_gradients.shape[1]
    _add_products(rows, m, start, gradients, n_gradients, start, stop, with_gradients)
    for j in range(m):
        rest = rows[j, start:stop]
        for i in range(len(chosen)):
            c = weights[j, i]
            if c != 0.0:
                row = residuals[chosen[i], start:stop]
                for p in range(stop - start):
                    rest[p] += c * row[p]


@compiled(**_JIT_SUMS)
def innovation_kernel(predictor: Predictor, g: Array, innovation: Innovation) -> None:
    """Compare gradients with their prediction: fills `innovation`."""
    innovation.with_gradients[:] = 0.0
    innovation.squares[:] = 0.0
    n = g.shape[1]
    step = _columns_per_slice(2 * innovation.with_gradients.shape[1])
    for start in range(0, n, step):
        stop = min(start + step, n)
        _subtract_prediction(predictor, start, stop, g, innovation)


@compiled(**_INNER_SUMS)
def _write_rows(update: BasisUpdate, basis: Array, start: int, stop: int, work: Array) -> None:
    """Bring the basis up to date on columns start to stop, and combine its rows.

    `work` receives ``stacked @ basis[:n_stored]`` as the basis is before.
    """
    stacked, reorthogonalised, from_rows, pending, _, n_stored = update
    n_again, n_new = len(reorthogonalised), len(from_rows)
    n = stop - start
    work[:, :n] = 0.0
    _add_combination(stacked, basis, n_stored, start, stop, work, np.intp(0))
    for i in range(n_again):
        _copy(work[i, :n], basis[reorthogonalised[i], start:stop])
    for i in range(n_new):
        target = basis[n_stored + i, start:stop]
        _copy(work[n_again + i, :n], target)
        for j in range(from_rows.shape[1]):
            c = from_rows[i, j]
            if c != 0.0:
                row = pending[j, start:stop]
                for p in range(n):
                    target[p] += c * row[p]


@compiled(**_JIT_SUMS)
def write_kernel(update: BasisUpdate, basis: Array, n: int, products: Array) -> None:
    """Bring the basis up to date; `products` receives those of the rows checked.

    All on the first n columns: of the basis there may be more, here and in other kernels.
    """
    products[:] = 0.0
    checked = update.checked
    n_rows = update.n_stored + len(update.from_rows)
    step = _columns_per_slice(n_rows)
    work = _aligned(len(update.stacked), step)
    look = _aligned(len(checked), step)
    for start in range(0, n, step):
        stop = min(start + step, n)
        _write_rows(update, basis, start, stop, work)
        for j in range(len(checked)):
            _copy(basis[checked[j], start:stop], look[j, : stop - start])
        _add_products(look, len(checked), np.intp(0), basis, n_rows, start, stop, products)


@compiled(**_JIT_SUMS, ahead="dmft._numerics.rehearsal")
def step_kernel(
    update: BasisUpdate,
    of_new: Array,
    basis: Array,
    samples: Samples,
    predictor: Predictor,
    point: Point,
    innovation: Innovation,
    n_rhs: int,
    mask: Array,
    products: Array,
) -> None:
    """Bring the basis up to date, find pre-activations and gradients, and average: one full pass.

    The last m combinations of `update` and `of_new` (m, new rows) give the pre-activations as
    combinations of the rows stored before and of the new ones.

    Fills `point` and `innovation`. With a `mask` (paths,), empty otherwise, the first m rows of the
    innovation are then multiplied with it. `products` receives the products with the basis, up to
    date, of the first `n_rhs` of these rows, of g if there is a mask, and of the rows checked.
    """
    r, g, losses, above = point
    rows = innovation.rows
    checked = update.checked
    products[:] = 0.0
    innovation.with_gradients[:] = 0.0
    innovation.squares[:] = 0.0
    above[:] = 0.0
    m, n = r.shape
    n_stored, n_new = update.n_stored, len(update.from_rows)
    n_rows = n_stored + n_new
    n_masked = m if len(mask) else 0
    first = len(update.stacked) - m
    step = _columns_per_slice(n_rows)
    work = _aligned(len(update.stacked), step)
    look = _aligned(n_rhs + n_masked + len(checked), step)
    block = _room(m)
    for start in range(0, n, step):
        stop = min(start + step, n)
        width = stop - start
        _write_rows(update, basis, start, stop, work)
        for j in range(m):
            target = r[j, start:stop]
            _copy(work[first + j, :width], target)
            for i in range(n_new):
                c = of_new[j, i]
                row = basis[n_stored + i, start:stop]
                for p in range(width):
                    target[p] += c * row[p]
        _gradients(r, samples, g, losses, above, start, stop, block)
        _subtract_prediction(predictor, start, stop, g, innovation)
        for j in range(n_masked):
            _copy(g[j, start:stop], look[n_rhs + j, :width])
            for i in range(start, stop):
                rows[j, i] *= mask[i]
        for j in range(n_rhs):
            _copy(rows[j, start:stop], look[j, :width])
        for j in range(len(checked)):
            _copy(basis[checked[j], start:stop], look[n_rhs + n_masked + j, :width])
        _add_products(look, len(look), np.intp(0), basis, n_rows, start, stop, products)


@compiled(**_JIT_SUMS)
def recycled_kernel(
    combination: Array,
    points: Array,
    n_points: int,
    samples: Samples,
    weights: Array,
    gradients: Array,
    n_gradients: int,
    point: Point,
    residuals: Array,
    products: Array,
) -> None:
    """`step_kernel` with the rows of a recycled subspace in place of the basis.

    Fills `point`, `residuals` (>= m, paths) with ``g - weights @ gradients``, and `products`
    (m, n_gradients) with its products with the gradients.
    """
    r, g, losses, above = point
    minus = -weights
    products[:] = 0.0
    above[:] = 0.0
    m, n = r.shape
    step = _columns_per_slice(n_points + n_gradients)
    block = _room(m)
    for start in range(0, n, step):
        stop = min(start + step, n)
        r[:, start:stop] = 0.0
        _add_combination(combination, points, n_points, start, stop, r, start)
        _gradients(r, samples, g, losses, above, start, stop, block)
        for j in range(m):
            _copy(g[j, start:stop], residuals[j, start:stop])
        _add_combination(minus, gradients, n_gradients, start, stop, residuals, start)
        _add_products(residuals, m, start, gradients, n_gradients, start, stop, products)
