"""The law against Hessians of simulated gradient descent with m d = 1600, steps 0, 5 and 20.

Two predictions are held to each simulated spectrum: the law of the trajectory (`dmft.solve`, which
knows nothing of the draw), and the law of the weights D_i read off the simulation itself.

*Distribution.* A draw of n weights moves the distribution by O(n^{-1/2}), as much as 0.01 where
m = 1: the trajectory's law is compared with the eigenvalues of all seeds together, the law of the
simulation's own weights, where only rigid fluctuations of O(1/n) remain, with each seed.

*Extreme eigenvalues.* For given weights they follow the Airy process at the edge: with
``w = (size a)^(-2/3)``, density ~ ``a sqrt(distance) / pi`` at the edge, the mean is 1.2065 w
inside the edge and the standard deviation 1.268 w (Tracy-Widom, real symmetric). The draw of the n
weights moves the edge itself: by O(n^{-1/2}), and where the most negative D are rare, at late
steps, also inwards on average. So

* beside the law of the simulation's own weights, the mean of (eigenvalue - edge) / w over S seeds
  must have the mean of the Tracy-Widom law within three of its standard deviations over sqrt(S);
* beside the trajectory's law, the prediction is the mean of edge_n +- 1.2065 w_n over laws of n
  atoms drawn from it (the simulation is not used), and its standard deviation that of edge_n
  together with 1.268 w_n; the mean over S seeds must be within three standard errors. (The spread
  of five seeds is no measure: for m = 3 at step 5 they differ by 0.002, forty seeds by 0.011,
  as predicted.)

The problems have bounded D, one easy direction, and no outlier (asserted).
"""

from functools import cache

import numpy as np
import problems
import pytest
from threadpoolctl import threadpool_limits

import dmft
import rmt
from rmt.overlay import TRACY_WIDOM_MEAN, TRACY_WIDOM_STD, airy_scale, kolmogorov_distance

STEPS = (0, 5, 20)
SEEDS = range(8)
SIZE = 1600


def label(z, eps):
    """One easy direction, both parities, noise."""
    return 0.5 * z[:, 0] + 0.5 * (z[:, 0] ** 2 - 1.0) + 0.5 * eps


def case(activation, *second_layer):
    return problems.Case(
        activation, activation, second_layer, label, 1, "pseudo-huber", 1.5, 0.5, max(STEPS)
    )


CASES = {1: case("erf", 1.0), 2: case("gelu", 0.7, -0.5), 3: case("tanh", 0.6, 0.5, -0.4)}
EACH = pytest.mark.parametrize(("m", "step"), [(m, step) for m in CASES for step in STEPS])


def weights_along_descent(case, d, seed):
    """Inputs (n, d) and, for each of the steps, the weights D (n, m, m)."""
    rng = np.random.default_rng(seed)
    value, slope, bend = problems.ACTIVATIONS[case.activation]
    _, loss1, loss2 = problems.LOSSES[case.loss]
    a = np.array(case.second_layer)
    n, m = round(case.delta * d), len(a)
    x = rng.standard_normal((n, d))
    y = case.label(x[:, : case.k], rng.standard_normal(n))
    # Orthogonal to the latent direction and to each other, as they are in the limit; left to
    # chance, products of d^(-1/2) are the largest fluctuation of all.
    theta = np.zeros((d, m))
    theta[case.k :] = np.linalg.qr(rng.standard_normal((d - case.k, m)))[0]
    theta *= case.init_radius
    found = {}
    for t in range(max(STEPS) + 1):
        r = x @ theta
        f = value(r) @ a
        s = a * slope(r)
        if t in STEPS:
            weights = loss2(f, y)[:, None, None] * s[:, :, None] * s[:, None, :]
            diagonal = np.arange(m)
            weights[:, diagonal, diagonal] += loss1(f, y)[:, None] * a * bend(r)
            found[t] = weights
        theta = theta - case.step_size * (x.T @ (loss1(f, y)[:, None] * s)) / n
    return x, found


def hessian(x, weights):
    """(1/n) sum_i D_i (x) x_i x_i^T."""
    n, d = x.shape
    m = weights.shape[1]
    h = np.empty((m, d, m, d))
    for a in range(m):
        for b in range(a + 1):
            h[a, :, b] = (x.T * weights[:, a, b]) @ x / n
            h[b, :, a] = h[a, :, b]  # symmetric in the inputs
    return h.reshape(m * d, m * d)


@cache
def simulated(m):
    """For each step, a list over seeds of (eigenvalues, law of the simulation's weights)."""
    case = CASES[m]
    runs = {step: [] for step in STEPS}
    with threadpool_limits(1):
        for seed in SEEDS:
            x, weights = weights_along_descent(case, SIZE // m, seed)
            for step in STEPS:
                law = rmt.HessianLaw(weights[step], len(x) / x.shape[1])
                runs[step].append((np.linalg.eigvalsh(hessian(x, weights[step])), law))
    return runs


@cache
def laws(m):
    """For each step, laws of the trajectory from independent seeds: their spread is its error."""
    problem, method = CASES[m].to_dmft()
    found = {step: [] for step in STEPS}
    for seed in range(8):
        trajectory = dmft.solve(
            problem,
            delta=CASES[m].delta,
            method=method,
            sampling=dmft.Sampling(n_paths=4096, replicates=2, seed=seed),
            hessian_steps=STEPS[1:],
        )
        for step in STEPS:
            law = trajectory.hessian(step)
            if step == 0:  # explicit, and far finer than is needed here
                law = coarser(law.replicates[0] if law.replicates else law)
            found[step].append(law)
    return found


def coarser(law, count=8192):
    """The law of at most ``count`` of the atoms: a stratified draw, or every so many."""
    order = np.lexsort((law.weights[:, 0, 0],))
    mass = np.cumsum(law.probabilities[order])
    chosen = np.searchsorted(mass, (np.arange(count) + 0.5) / count * mass[-1])
    return rmt.HessianLaw(law.weights[order[chosen]], law.ratio, support=law.support)


@pytest.mark.slow
@EACH
def test_distribution(m, step):
    runs, law = simulated(m)[step], laws(m)[step][0]
    everything = np.sort(np.concatenate([eigenvalues for eigenvalues, _ in runs]))
    assert kolmogorov_distance(law, everything) < 0.01
    for eigenvalues, own in runs[:2]:
        assert kolmogorov_distance(own, eigenvalues) < 0.005


DRAWS = 4  # add an eighth to the error that eight runs have


@cache
def expected_extremes(m, step):
    """Extreme eigenvalues, (left, right), from the law alone: mean, its error, and the spread.

    The draws from one law share the sampling error of that law's own paths.
    """
    d = SIZE // m
    n = round(CASES[m].delta * d)
    rng = np.random.default_rng(step)
    places, scales = [], []
    inwards = TRACY_WIDOM_MEAN * np.array([-1.0, 1.0])
    for law in laws(m)[step]:
        for _ in range(DRAWS):
            few = rmt.HessianLaw(law.weights[rng.integers(len(law.weights), size=n)], n / d)
            scales.append(airy_scale(few, m * d))
            places.append(np.array(few.edges()) + inwards * scales[-1])
    scale, place = np.nanmean(scales, axis=0), np.nanmean(places, axis=0)
    own = np.nanmean(np.reshape(places, (-1, DRAWS, 2)), axis=1)
    error = own.std(axis=0, ddof=1) / np.sqrt(len(own))
    return place, error, np.hypot(np.nanstd(places, axis=0, ddof=1), TRACY_WIDOM_STD * scale)


def deviation(m, step, side):
    """Mean extreme eigenvalue minus its prediction, and the standard error."""
    found = np.array([values[0 if side == 0 else -1] for values, _ in simulated(m)[step]])
    place, error, spread = expected_extremes(m, step)
    return found.mean() - place[side], np.hypot(error[side], spread[side] / np.sqrt(len(found)))


@pytest.mark.slow
@EACH
@pytest.mark.parametrize("side", [0, 1])
def test_extreme_eigenvalue(m, step, side):
    off, error = deviation(m, step, side)
    assert abs(off) < 3.0 * error
    # And the error is a small fraction of the width of the spectrum.
    left, right = laws(m)[step][0].edges()
    assert error < 0.02 * (right - left)


def reduced(m, step, side):
    """Distance of the extreme eigenvalue from the edge of its own weights, in Tracy-Widom units."""
    return np.array(
        [
            (own.edges()[0] - values[0] if side == 0 else values[-1] - own.edges()[1])
            / airy_scale(own, len(values))[side]
            for values, own in simulated(m)[step]
        ]
    )


SQUARE_ROOT = [
    (m, step, side) for m in CASES for step in STEPS for side in (0, 1) if (step, side) != (20, 0)
]


@pytest.mark.slow
@pytest.mark.parametrize(("m", "step", "side"), SQUARE_ROOT)
def test_tracy_widom_beside_own_weights(m, step, side):
    values = reduced(m, step, side)
    error = TRACY_WIDOM_STD / np.sqrt(len(values))
    assert abs(values.mean() - TRACY_WIDOM_MEAN) < 3.0 * error


@EACH
def test_no_outlier(m, step):
    law = laws(m)[step][0]
    if step:
        assert law.outliers(throw=False) == []
