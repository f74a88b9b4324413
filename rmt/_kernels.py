"""Array-only compiled kernels of the spectral law: private, no validation, numpy and numba only.

Atoms come packed and padded (see ``rmt._packing``): ``d`` has shape ``(size, n)`` with
``size = m (m + 1) / 2`` the lower triangle of every symmetric weight, row by row, and ``n`` a
multiple of ``LANES``. All averages are taken ``LANES`` atoms at a time into one accumulator per
lane, which lets the compiler vectorise without being allowed to reorder a sum: the order of
summation is fixed, so the same input gives the same bits.

``Y = (B + D)^{-1}`` throughout. Everything in `rmt` is an average of Y and of Y (x) Y.
"""

# njit erases the types of what it decorates; the typed surface is in the modules that call these.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from rmt._compiled import compiled

JIT: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy"}
_INNER: Final[dict[str, Any]] = {**JIT, "no_cpython_wrapper": True}  # Python does not call them
LANES = 32

OK = 0
NOT_DEFINITE = 1
NO_CONVERGENCE = 2
WRONG_BRANCH = 3


# -- small dense helpers ---------------------------------------------------------------------


@compiled(**_INNER)
def _order(size):
    """Return m with m (m + 1) / 2 == size."""
    m = 1
    while m * (m + 1) // 2 < size:
        m += 1
    return m


@compiled(**_INNER)
def _index_table(m):
    """Position of entry (i, j) in packed storage."""
    table = np.empty((m, m), np.int64)
    for i in range(m):
        for j in range(i + 1):
            table[i, j] = table[j, i] = i * (i + 1) // 2 + j
    return table


@compiled(**_INNER)
def _definite(a, m):
    """Whether a real symmetric (m, m) matrix is positive definite; ``a`` is overwritten."""
    for k in range(m):
        pivot = a[k, k]
        if not pivot > 0.0:
            return False
        for i in range(k + 1, m):
            factor = a[i, k] / pivot
            for j in range(k + 1, m):
                a[i, j] -= factor * a[k, j]
    return True


@compiled(**_INNER)
def _eliminate(a, rhs):
    """Solve ``a x = rhs`` in place (``rhs`` (n, q)) with partial pivoting; False if singular."""
    n, q = rhs.shape
    for k in range(n):
        best = k
        size = abs(a[k, k].real) + abs(a[k, k].imag)
        for i in range(k + 1, n):
            trial = abs(a[i, k].real) + abs(a[i, k].imag)
            if trial > size:
                best = i
                size = trial
        if not size > 0.0:
            return False
        if best != k:
            for j in range(k, n):
                a[k, j], a[best, j] = a[best, j], a[k, j]
            for j in range(q):
                rhs[k, j], rhs[best, j] = rhs[best, j], rhs[k, j]
        inverse = 1.0 / a[k, k]
        for i in range(k + 1, n):
            factor = a[i, k] * inverse
            for j in range(k + 1, n):
                a[i, j] -= factor * a[k, j]
            for j in range(q):
                rhs[i, j] -= factor * rhs[k, j]
    for k in range(n - 1, -1, -1):
        inverse = 1.0 / a[k, k]
        for j in range(q):
            total = rhs[k, j]
            for i in range(k + 1, n):
                total -= a[k, i] * rhs[i, j]
            rhs[k, j] = total * inverse
    return True


# -- real side: outside the bulk --------------------------------------------------------------


@compiled(**_INNER)
def _invert_real(b, d, start, m, index, y, inverse):
    """Write -Y for LANES atoms into ``y`` by symmetric sweeps; return the smallest pivot."""
    size = d.shape[0]
    for a in range(size):
        shift = b[a]
        for lane in range(LANES):
            y[a, lane] = d[a, start + lane] + shift
    low = np.inf
    for k in range(m):
        kk = index[k, k]
        for lane in range(LANES):
            inverse[lane] = 1.0 / y[kk, lane]
        for lane in range(LANES):
            if not y[kk, lane] >= low:
                low = y[kk, lane]
        for i in range(m):
            if i == k:
                continue
            ik = index[i, k]
            for j in range(i + 1):
                if j == k:
                    continue
                jk = index[j, k]
                ij = index[i, j]
                for lane in range(LANES):
                    y[ij, lane] -= y[ik, lane] * y[jk, lane] * inverse[lane]
        for i in range(m):
            if i != k:
                ik = index[i, k]
                for lane in range(LANES):
                    y[ik, lane] *= inverse[lane]
        for lane in range(LANES):
            y[kk, lane] = -inverse[lane]
    return low


@compiled(**_INNER)
def _total(lanes):
    """Add up an accumulator."""
    total = 0.0
    for lane in range(LANES):
        total += lanes[lane]
    return total


@compiled(**JIT)
def resolvent_moments(b, d, p, first, second):
    """Fill ``first`` (size,) = E[Y] and ``second`` (size, size) = E[Y_a Y_b] for real packed B.

    Returns NOT_DEFINITE (and leaves the outputs undefined) unless B + D > 0 for every atom.
    """
    size, n = d.shape
    m = _order(size)
    index = _index_table(m)
    y = np.empty((size, LANES))
    inverse = np.empty(LANES)
    weighted = np.empty(LANES)
    acc1 = np.zeros((size, LANES))
    acc2 = np.zeros((size, size, LANES))
    for start in range(0, n, LANES):
        low = _invert_real(b, d, start, m, index, y, inverse)
        if not low > 0.0:
            return NOT_DEFINITE
        for a in range(size):
            for lane in range(LANES):
                weighted[lane] = p[start + lane] * y[a, lane]
                acc1[a, lane] -= weighted[lane]
            for c in range(a + 1):
                for lane in range(LANES):
                    acc2[a, c, lane] += weighted[lane] * y[c, lane]
    for a in range(size):
        first[a] = _total(acc1[a])
        for c in range(a + 1):
            second[a, c] = second[c, a] = _total(acc2[a, c])
    return OK


@compiled(**JIT)
def resolvents(b, d, x, y_out, yxy_out):
    """Fill ``y_out`` and ``yxy_out`` (size, n) with packed Y and Y X Y of every atom.

    ``x`` is a symmetric (m, m) matrix. Returns NOT_DEFINITE unless B + D > 0 for every atom.
    """
    size, n = d.shape
    m = _order(size)
    index = _index_table(m)
    y = np.empty((size, LANES))
    inverse = np.empty(LANES)
    xy = np.empty((m, m, LANES))
    for start in range(0, n, LANES):
        low = _invert_real(b, d, start, m, index, y, inverse)
        if not low > 0.0:
            return NOT_DEFINITE
        for a in range(size):
            for lane in range(LANES):
                y_out[a, start + lane] = -y[a, lane]
        for i in range(m):
            for j in range(m):
                for lane in range(LANES):
                    xy[i, j, lane] = 0.0
                for k in range(m):
                    kj = index[k, j]
                    for lane in range(LANES):
                        xy[i, j, lane] += x[i, k] * y[kj, lane]
        for i in range(m):
            for j in range(i + 1):
                a = index[i, j]
                for lane in range(LANES):
                    yxy_out[a, start + lane] = 0.0
                for k in range(m):
                    ik = index[i, k]
                    for lane in range(LANES):
                        yxy_out[a, start + lane] += y[ik, lane] * xy[k, j, lane]
    return OK


@compiled(**JIT)
def weighted_sum(p, x, out):
    """Fill ``out`` (q,) with the averages sum_i p_i x_ci in the fixed order of summation."""
    q, n = x.shape
    acc = np.empty(LANES)
    for c in range(q):
        for lane in range(LANES):
            acc[lane] = 0.0
        for start in range(0, n, LANES):
            for lane in range(LANES):
                acc[lane] += p[start + lane] * x[c, start + lane]
        out[c] = _total(acc)


@compiled(**JIT)
def scalar_sums(tau, excess, d, p, out):
    """Fill ``out`` with E[t], E[t^2], E[t^2 y] for m = 1, where y = 1 / (B + D), t = D y.

    ``B + D = tau + excess``: B is measured from the last pole, so that a pole carrying a mass
    of 1e-30 is still resolved. Atoms with D = 0 must have been removed.
    """
    n = d.shape[0]
    acc = np.zeros((3, LANES))
    for start in range(0, n, LANES):
        for lane in range(LANES):
            y = 1.0 / (tau + excess[start + lane])
            t = d[start + lane] * y
            w = p[start + lane] * t
            acc[0, lane] += w
            acc[1, lane] += w * t
            acc[2, lane] += w * t * y
    for a in range(3):
        out[a] = _total(acc[a])


# -- complex side -----------------------------------------------------------------------------


@compiled(**_INNER)
def _complex_moments(b, d, p, m, index, yr, yi, ir, ii, wr, wi, acc1r, acc1i, acc2r, acc2i):
    """Accumulate E[Y] and E[Y (x) Y] lane by lane for complex (m, m) B.

    Symmetric sweeps without pivoting: Im(B + D) is negative definite on the physical branch,
    so no pivot vanishes there.
    """
    size, n = d.shape
    for a in range(size):
        for lane in range(LANES):
            acc1r[a, lane] = 0.0
            acc1i[a, lane] = 0.0
        for c in range(a + 1):
            for lane in range(LANES):
                acc2r[a, c, lane] = 0.0
                acc2i[a, c, lane] = 0.0
    for start in range(0, n, LANES):
        for i in range(m):
            for j in range(i + 1):
                a = index[i, j]
                br = b[i, j].real
                bi = b[i, j].imag
                for lane in range(LANES):
                    yr[a, lane] = d[a, start + lane] + br
                    yi[a, lane] = bi
        for k in range(m):
            kk = index[k, k]
            for lane in range(LANES):
                norm = 1.0 / (yr[kk, lane] * yr[kk, lane] + yi[kk, lane] * yi[kk, lane])
                ir[lane] = yr[kk, lane] * norm
                ii[lane] = -yi[kk, lane] * norm
            for i in range(m):
                if i == k:
                    continue
                ik = index[i, k]
                for lane in range(LANES):
                    wr[lane] = yr[ik, lane] * ir[lane] - yi[ik, lane] * ii[lane]
                    wi[lane] = yr[ik, lane] * ii[lane] + yi[ik, lane] * ir[lane]
                for j in range(i + 1):
                    if j == k:
                        continue
                    jk = index[j, k]
                    ij = index[i, j]
                    for lane in range(LANES):
                        yr[ij, lane] -= wr[lane] * yr[jk, lane] - wi[lane] * yi[jk, lane]
                        yi[ij, lane] -= wr[lane] * yi[jk, lane] + wi[lane] * yr[jk, lane]
            for i in range(m):
                if i != k:
                    ik = index[i, k]
                    for lane in range(LANES):
                        re = yr[ik, lane] * ir[lane] - yi[ik, lane] * ii[lane]
                        yi[ik, lane] = yr[ik, lane] * ii[lane] + yi[ik, lane] * ir[lane]
                        yr[ik, lane] = re
            for lane in range(LANES):
                yr[kk, lane] = -ir[lane]
                yi[kk, lane] = -ii[lane]
        for a in range(size):
            for lane in range(LANES):
                wr[lane] = p[start + lane] * yr[a, lane]
                wi[lane] = p[start + lane] * yi[a, lane]
                acc1r[a, lane] -= wr[lane]
                acc1i[a, lane] -= wi[lane]
            for c in range(a + 1):
                for lane in range(LANES):
                    acc2r[a, c, lane] += wr[lane] * yr[c, lane] - wi[lane] * yi[c, lane]
                    acc2i[a, c, lane] += wr[lane] * yi[c, lane] + wi[lane] * yr[c, lane]


@compiled(**_INNER)
def _assemble(b, ratio, m, index, first, second, value, jacobian):
    """F(B) = B - B E[Y] B - B / ratio and its derivative on packed symmetric matrices.

    dF[X] = (1 - 1/ratio) X - X E[Y] B - B E[Y] X + B E[Y X Y] B.
    """
    slope = 1.0 - 1.0 / ratio
    by = np.zeros((m, m), np.complex128)
    for i in range(m):
        for j in range(m):
            for k in range(m):
                by[i, j] += b[i, k] * first[index[k, j]]
    for i in range(m):
        for j in range(i + 1):
            total = slope * b[i, j]
            for k in range(m):
                total -= by[i, k] * b[k, j]
            value[index[i, j]] = total
    if m == 1:
        jacobian[0, 0] = slope - 2.0 * by[0, 0] + b[0, 0] * second[0, 0] * b[0, 0]
        return
    inner = np.empty((m, m), np.complex128)
    left = np.empty((m, m), np.complex128)
    for c in range(m):
        for e in range(c + 1):
            column = index[c, e]
            for i in range(m):
                for j in range(i + 1):
                    # E[Y X Y] for X = the basis matrix of entry (c, e).
                    total = second[index[i, c], index[e, j]]
                    if c != e:
                        total += second[index[i, e], index[c, j]]
                    inner[i, j] = inner[j, i] = total
            for i in range(m):
                for j in range(m):
                    total = 0.0j
                    for k in range(m):
                        total += b[i, k] * inner[k, j]
                    left[i, j] = total
            for i in range(m):
                for j in range(i + 1):
                    total = 0.0j
                    for k in range(m):
                        total += left[i, k] * b[k, j]
                    # - B E[Y] X - X E[Y] B, with (E[Y] B) = (B E[Y])^T.
                    if j == e:
                        total -= by[i, c]
                    if i == c:
                        total -= by[j, e]
                    if c != e:
                        if j == c:
                            total -= by[i, e]
                        if i == e:
                            total -= by[j, c]
                    if i == c and j == e:
                        total += slope
                    jacobian[index[i, j], column] = total


@compiled(**_INNER)
def _half_plane(b, m, work):
    """Whether -Im B is positive definite."""
    for i in range(m):
        for j in range(m):
            work[i, j] = -b[i, j].imag
    return _definite(work, m)


@compiled(**_INNER)
def _relative(b, x, m, factors, out):
    """Largest entry of B^{-1} X: the size of X where directions of B differ by many decades."""
    if m == 1:
        return abs(x[0, 0]) / abs(b[0, 0])
    factors[:, :] = b
    out[:, :] = x
    if not _eliminate(factors, out):
        return np.inf
    largest = 0.0
    for i in range(m):
        for j in range(m):
            largest = max(largest, abs(out[i, j]))
    return largest


@compiled(**_INNER)
def _newton(goal, high, damped, b, tangent, offset, d, p, ratio, m, index, lanes, moments):
    """Newton's method for F(B) + offset = goal I from ``b``, in place; returns (code, steps).

    ``high`` starts with averaged fixed-point sweeps, which map the half plane into itself and
    so cannot fail; ``damped`` shortens steps that would leave the half plane. ``tangent``
    receives dB/dz. On success the last step and the residual before it were below 1e-9, or at
    the level of rounding and below 1e-5; the step in every direction of B.
    """
    yr, yi, ir, ii, wr, wi, acc1r, acc1i, acc2r, acc2i = lanes
    first, second, value, jacobian, rhs, step, trial, factors, scaled = moments
    size = first.shape[0]
    work = np.empty((m, m))
    sweeps = 12 if high else 0
    limit = 40 if damped else 14
    previous = np.inf
    for iteration in range(sweeps + limit):
        _complex_moments(b, d, p, m, index, yr, yi, ir, ii, wr, wi, acc1r, acc1i, acc2r, acc2i)
        for a in range(size):
            first[a] = complex(_total(acc1r[a]), _total(acc1i[a]))
            for c in range(a + 1):
                second[a, c] = second[c, a] = complex(_total(acc2r[a, c]), _total(acc2i[a, c]))
        _assemble(b, ratio, m, index, first, second, value, jacobian)
        size_b = 0.0
        residual = 0.0
        for i in range(m):
            for j in range(i + 1):
                a = index[i, j]
                unit = 1.0 if i == j else 0.0
                rhs[a, 0] = goal * unit - offset[i, j] - value[a]
                rhs[a, 1] = unit
                size_b = max(size_b, abs(b[i, j]))
                residual = max(residual, abs(rhs[a, 0]))
        if not residual < np.inf:
            return NO_CONVERGENCE, iteration + 1
        if iteration < sweeps:
            for i in range(m):
                for j in range(m):
                    b[i, j] -= 0.5 * ratio * rhs[index[i, j], 0]
            continue
        if not _eliminate(jacobian, rhs):
            return NO_CONVERGENCE, iteration + 1
        for i in range(m):
            for j in range(m):
                step[i, j] = rhs[index[i, j], 0]
        size_step = _relative(b, step, m, factors, scaled)
        if not size_step < np.inf:
            return NO_CONVERGENCE, iteration + 1
        tolerance = abs(goal) + size_b * (1.0 + 1.0 / ratio)
        small = size_step <= 1e-9 and residual <= 1e-9 * tolerance
        # Where B is far smaller than D, forming B + D loses digits, and steps stop shrinking.
        stuck = size_step <= 1e-5 and residual <= 1e-5 * tolerance
        if small or (stuck and size_step >= 0.9 * previous):
            for i in range(m):
                for j in range(m):
                    b[i, j] += step[i, j]
                    tangent[i, j] = rhs[index[i, j], 1]
            return OK, iteration + 1
        if not damped and iteration > 6 and size_step > 0.9 * previous:
            return NO_CONVERGENCE, iteration + 1
        previous = size_step
        length = 1.0
        for _ in range(5):
            for i in range(m):
                for j in range(m):
                    trial[i, j] = b[i, j] + length * step[i, j]
            if not damped or _half_plane(trial, m, work):
                break
            length *= 0.5
        b[:, :] = trial
    return NO_CONVERGENCE, sweeps + limit


@compiled(**_INNER)
def _physical(b, tangent, m):
    """Whether B is the limit from the upper half plane of the solution with -Im B > 0.

    Moving z up by i eps changes -Im B by - eps Re dB/dz: this decides where -Im B is singular
    (in a gap of the spectrum, or of one of its blocks) and is negligible elsewhere. Imaginary
    parts at rounding level are removed.
    """
    factors = np.empty((m, m), np.complex128)
    scaled = np.empty((m, m), np.complex128)
    trial = np.empty((m, m), np.complex128)
    speed = _relative(b, tangent, m, factors, scaled)
    if not 0.0 < speed < np.inf:
        return False
    for i in range(m):
        for j in range(m):
            trial[i, j] = b[i, j].imag
    if _relative(b, trial, m, factors, scaled) <= 1e-10:
        for i in range(m):
            for j in range(m):
                b[i, j] = complex(b[i, j].real, 0.0)
    epsilon = 1e-8 / speed
    work = np.empty((m, m))
    for i in range(m):
        for j in range(m):
            work[i, j] = -b[i, j].imag - epsilon * tangent[i, j].real
    return _definite(work, m)


@compiled(**JIT)
def solve_points(z, d, p, ratio, offset, scale, b_out, tangent_out, steps_out, status_out):
    """Solve F(B) + offset = z I on the physical branch for a list of points with Im z >= 0.

    Every point starts from the tangent at its predecessor. Where Newton does not land on the
    physical branch, the point is reached from Im z ~ ``scale`` downwards.

    ``b_out``, ``tangent_out`` (Q, m, m) receive B and dB/dz, ``steps_out`` the number of
    passes over the atoms, ``status_out`` OK or a code.
    """
    size = d.shape[0]
    m = _order(size)
    index = _index_table(m)
    lanes = (
        np.empty((size, LANES)),
        np.empty((size, LANES)),
        np.empty(LANES),
        np.empty(LANES),
        np.empty(LANES),
        np.empty(LANES),
        np.empty((size, LANES)),
        np.empty((size, LANES)),
        np.empty((size, size, LANES)),
        np.empty((size, size, LANES)),
    )
    moments = (
        np.empty(size, np.complex128),
        np.empty((size, size), np.complex128),
        np.empty(size, np.complex128),
        np.empty((size, size), np.complex128),
        np.empty((size, 2), np.complex128),
        np.empty((m, m), np.complex128),
        np.empty((m, m), np.complex128),
        np.empty((m, m), np.complex128),
        np.empty((m, m), np.complex128),
    )
    b = np.empty((m, m), np.complex128)
    tangent = np.zeros((m, m), np.complex128)
    base = np.empty((m, m), np.complex128)
    base_tangent = np.zeros((m, m), np.complex128)
    z_base = 0.0j
    have_base = False
    for point in range(z.shape[0]):
        target = z[point]
        passes = 0
        code = NO_CONVERGENCE
        if have_base:
            b[:, :] = base + base_tangent * (target - z_base)
            code, steps = _newton(
                target, False, False, b, tangent, offset, d, p, ratio, m, index, lanes, moments
            )
            passes += steps
            if code == OK and not _physical(b, tangent, m):
                code = WRONG_BRANCH
        if code != OK:
            # From high above the real axis, where the fixed point is a contraction.
            eta = max(scale, target.imag)
            z_base = complex(target.real, target.imag + eta)
            for i in range(m):
                for j in range(m):
                    b[i, j] = -ratio * z_base if i == j else 0.0j
            code, steps = _newton(
                z_base, True, True, b, tangent, offset, d, p, ratio, m, index, lanes, moments
            )
            passes += steps
            factor = 0.2
            landed = code != OK
            # A height that cannot be told from the real axis (an error of 1e-7 at a square-root
            # edge), also next to zero, where the density may have a scale of its own.
            lowest = 1e-14 * scale
            if abs(target) > 0.0:
                lowest = min(lowest, 1e-8 * abs(target))
            for _ in range(200):
                if landed:
                    break
                base[:, :] = b
                base_tangent[:, :] = tangent
                if eta <= max(0.05 * scale, target.imag):
                    b[:, :] = base + base_tangent * (target - z_base)
                    code, steps = _newton(
                        target,
                        False,
                        False,
                        b,
                        tangent,
                        offset,
                        d,
                        p,
                        ratio,
                        m,
                        index,
                        lanes,
                        moments,
                    )
                    passes += steps
                    if code == OK:
                        if _physical(b, tangent, m):
                            landed = True
                            continue
                        code = WRONG_BRANCH
                if eta <= lowest:
                    b[:, :] = base
                    tangent[:, :] = base_tangent
                    code = OK
                    break
                while factor < 0.97:
                    goal = complex(target.real, target.imag + factor * eta)
                    b[:, :] = base + base_tangent * (goal - z_base)
                    trial_code, steps = _newton(
                        goal, False, True, b, tangent, offset, d, p, ratio, m, index, lanes, moments
                    )
                    passes += steps
                    if trial_code == OK and _physical(b, tangent, m):
                        break
                    factor = math.sqrt(factor)
                if factor >= 0.97:
                    code = NO_CONVERGENCE
                    break
                eta *= factor
                z_base = goal
                factor = max(0.2, factor * factor)
        steps_out[point] = passes
        status_out[point] = code
        b_out[point] = b
        tangent_out[point] = tangent
        have_base = code == OK
        if have_base:
            base[:, :] = b
            base_tangent[:, :] = tangent
            z_base = target


@compiled(**_INNER)
def _exchange(b, i, j, m):
    """Exchange rows and columns i and j of an (m, m) matrix in place."""
    for k in range(m):
        b[i, k], b[j, k] = b[j, k], b[i, k]
    for k in range(m):
        b[k, i], b[k, j] = b[k, j], b[k, i]


@compiled(**JIT)
def _argument_of_determinant(b, m):
    """Im log det of a symmetric matrix with -Im >= 0, continuous from +infinity; overwrites.

    Elimination by complete diagonal pivoting with blocks of order 1 and 2 (Bunch & Parlett 1971),
    which does not amplify rounding. Each block has a non-negative -Im, and its argument lies in
    [-pi, 0] or [-2 pi, 0]. Where a direction is real (in a gap of the spectrum of one of several
    decoupled blocks) the imaginary part of its pivot is rounding of either sign: it is taken as
    zero, so that the argument cannot jump by 2 pi.
    """
    total = 0.0
    k = 0
    while k < m:
        largest, diagonal = k, 0.0
        row, column, coupling = k, k, 0.0
        if k + 1 < m:
            for i in range(k, m):
                size = abs(b[i, i].real) + abs(b[i, i].imag)
                if size > diagonal:
                    largest, diagonal = i, size
                for j in range(k, i):
                    size = abs(b[i, j].real) + abs(b[i, j].imag)
                    if size > coupling:
                        row, column, coupling = i, j, size
        if diagonal >= 0.64 * coupling:
            if largest != k:
                _exchange(b, k, largest, m)
            pivot = b[k, k]
            if pivot.imag < 0.0:
                total += math.atan2(pivot.imag, pivot.real)
            elif pivot.real < 0.0:
                total -= math.pi
            if k + 1 < m and diagonal > 0.0:
                inverse = 1.0 / pivot
                for i in range(k + 1, m):
                    factor = b[i, k] * inverse
                    for j in range(k + 1, m):
                        b[i, j] -= factor * b[k, j]
            k += 1
            continue
        # column < row: k and k + 1 after the exchanges.
        _exchange(b, k, column, m)
        _exchange(b, k + 1, row, m)
        first, second, cross = b[k, k], b[k + 1, k + 1], b[k + 1, k]
        opposite = cross * cross - first * second
        # The off-diagonal entries rule: the determinant is close to -|cross|^2, at -pi.
        total += math.atan2(opposite.imag, opposite.real) - math.pi
        inverse = 1.0 / opposite
        for i in range(k + 2, m):
            one = (cross * b[k + 1, i] - second * b[k, i]) * inverse
            two = (cross * b[k, i] - first * b[k + 1, i]) * inverse
            for j in range(k + 2, m):
                b[i, j] -= one * b[k, j] + two * b[k + 1, j]
        k += 2
    return total


@compiled(**JIT)
def phases(b, d, p, of_b, of_shifted):
    """Fill Im log det B and E[Im log det(B + D)] for (Q, m, m) solutions B of `solve_points`."""
    m = b.shape[1]
    index = _index_table(m)
    work = np.empty((m, m), np.complex128)
    for point in range(b.shape[0]):
        work[:, :] = b[point]
        of_b[point] = _argument_of_determinant(work, m)
        total = 0.0
        for atom in range(p.shape[0]):
            if p[atom] > 0.0:
                for i in range(m):
                    for j in range(m):
                        work[i, j] = b[point, i, j] + d[index[i, j], atom]
                total += p[atom] * _argument_of_determinant(work, m)
        of_shifted[point] = total
