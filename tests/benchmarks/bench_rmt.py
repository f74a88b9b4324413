"""Time and accuracy of rmt against a damped fixed-point iteration, in one run on one machine.

Run as a script: ``python tests/benchmarks/bench_rmt.py``. Set OPENBLAS_NUM_THREADS=1 for one core.
"""

import platform
from time import perf_counter

import numba
import numpy as np

import rmt
from rmt.closed_forms import TwoAtoms


@numba.njit(error_model="numpy")
def damped_scalar(x, height, d, ratio, tolerance, max_sweeps):
    """c <- half of itself and half of the map, for m = 1; returns Im s / pi and total sweeps."""
    out = np.empty(x.size)
    sweeps = 0
    c = 1j / ratio
    for i in range(x.size):
        z = complex(x[i], height)
        for _ in range(max_sweeps):
            sweeps += 1
            mean = 0.0j
            for weight in d:
                mean += weight / (1.0 + weight * c)
            new = 0.5 * c + 0.5 / (ratio * (mean / d.size - z))
            change = abs(new - c)
            c = new
            if change <= tolerance * abs(c):
                break
        out[i] = ratio * c.imag / np.pi
    return out, sweeps


def damped_matrix(x, height, weights, ratio, tolerance, max_sweeps):
    """Do the same for matrices with numpy, all points at once."""
    m = weights.shape[-1]
    eye = np.eye(m)
    out = np.empty(x.size)
    sweeps = 0
    c = 1j * eye / ratio
    for i, point in enumerate(x):
        z = complex(point, height)
        for _ in range(max_sweeps):
            sweeps += 1
            mean = np.linalg.solve(eye + weights @ c, weights).mean(axis=0)
            new = 0.5 * c + 0.5 * np.linalg.inv(mean - z * eye) / ratio
            change = np.abs(new - c).max()
            c = new
            if change <= tolerance * np.abs(c).max():
                break
        out[i] = ratio * np.trace(c).imag / (m * np.pi)
    return out, sweeps


def best(function, repeats=5):
    """Shortest time in milliseconds, and the last result."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        result = function()
        times.append(perf_counter() - start)
    return 1e3 * min(times), result


def residual(law, x):
    """Largest relative violation of c (E[(I + D c)^{-1} D] - x I) ratio = I by rmt's solution."""
    c = law.matrix_stieltjes(x)
    eye = np.eye(law.m)
    worst = 0.0
    for point, matrix in zip(x, c, strict=True):
        inside = np.linalg.solve(eye + law.weights @ matrix, law.weights)
        mean = np.einsum("n,nab->ab", law.probabilities, inside)
        defect = law.ratio * matrix @ (mean - point * eye) - eye
        worst = max(worst, float(np.abs(defect).max()))
    return worst


def random_weights(n, m, seed=0):
    z = np.random.default_rng(seed).standard_normal((n, m, m))
    return np.tanh(0.5 * (z + z.transpose(0, 2, 1)))


def density_scalar():
    """2000 signed weights, 400 points; the reference is the exact cubic on a law of two atoms."""
    print("density, m = 1, 2000 signed weights, 400 points")
    exact = TwoAtoms(1.0, -1.0, 0.5, 2.0)
    for label, weights in (
        ("two values (exact answer known)", np.repeat([1.0, -1.0], 1000)),
        ("tanh of a Gaussian", random_weights(2000, 1)[:, 0, 0]),
    ):
        law = rmt.HessianLaw(weights, 2.0)
        left, right = law.edges()
        x = np.linspace(left, right, 402)[1:-1]
        law.density(x)
        ours, density = best(lambda law=law, x=x: law.density(x))
        known = "exact" in label
        reference = exact.density(x) if known else density
        print(f"  {label}")
        if known:
            error = f"   error {np.abs(density - reference).max():8.1e} against the cubic"
        else:
            error = f"   error {residual(law, x):8.1e} in the equation of c"
        print(f"    rmt                         {ours:9.2f} ms{error}")
        for height, tolerance in ((1e-3, 1e-6), (1e-6, 1e-9)):
            arguments = (x, height, weights, 2.0, tolerance, 20000)
            damped_scalar(*arguments[:-1], 1)
            theirs, (other, sweeps) = best(lambda a=arguments: damped_scalar(*a), repeats=1)
            error = np.abs(other - reference).max()
            print(
                f"    damped, Im z = {height:.0e}       {theirs:9.2f} ms   error {error:8.1e} "
                f"against {'the cubic' if known else 'rmt'}   {sweeps / x.size:7.0f} sweeps a point"
                f"   ratio {theirs / ours:6.0f}"
            )


def density_matrix():
    """1000 weights, m = 2 and 4."""
    for m in (2, 4):
        weights = random_weights(1000, m)
        law = rmt.HessianLaw(weights, 2.0)
        left, right = law.edges()
        x = np.linspace(left, right, 102)[1:-1]
        law.density(x)
        ours, density = best(lambda law=law, x=x: law.density(x))
        print(
            f"density, m = {m}, 1000 weights: {ours / x.size:.3f} ms a point   "
            f"error {residual(law, x):8.1e} in the equation of c"
        )
        few = x[::20]
        theirs, (other, sweeps) = best(
            lambda few=few, weights=weights: damped_matrix(few, 1e-3, weights, 2.0, 1e-6, 3000),
            repeats=1,
        )
        error = np.abs(other - density[::20]).max()
        ratio = (theirs / few.size) / (ours / x.size)
        print(
            f"    damped, Im z = 1e-03        {theirs / few.size:9.2f} ms a point   "
            f"error {error:8.1e} against rmt   {sweeps / few.size:7.0f} sweeps   ratio {ratio:6.0f}"
        )


def gap_large():
    """Edges and gap of a law of 8 x 16384 samples, as a threshold search asks for."""
    n = 8 * 16384
    for m in (1, 2, 4):
        weights = random_weights(n, m)
        hard = np.random.default_rng(1).standard_normal((n, 1))
        rmt.HessianLaw(weights[:64], 3.0, hard=hard[:64]).hard_gap()

        def gap(weights=weights, hard=hard):
            law = rmt.HessianLaw(weights, 3.0, hard=hard)
            law.hard_gap()
            return law

        time, law = best(gap, repeats=3)
        print(
            f"hard_gap, m = {m}, {n} weights, validation included: {time:8.1f} ms   "
            f"residual {law.edges().residual:.1e}"
        )


def main():
    print(f"{platform.machine()}, numpy {np.__version__}, numba {numba.__version__}")
    density_scalar()
    density_matrix()
    gap_large()


if __name__ == "__main__":
    main()
