"""Three hundred random calls of the public functions, legal, extreme and wrong.

Whatever the arguments: no exception but ``ValueError`` (one line, from the door) and, for
``throw=True``, ``NumericalFailure``; no warning (warnings are errors in this suite); no NaN with
SUCCESS; and what the theory says of every result: C is positive semidefinite, gaps have signs that
fit the threshold, spectra have mass one, nothing depends on the number of threads.
"""

import numpy as np
import pytest

import dmft
import rmt

pytestmark = pytest.mark.slow

N_CALLS = 300
N_CHUNKS = 10
BAD = [
    True,
    "3",
    None,
    float("nan"),
    float("inf"),
    -1,
    0,
    1.5,
    [],
    [[]],
    {},
    2**70,
    1e400,
    1j,
    b"1",
]


INPUTS = (
    dmft.Elliptical("laplace"),
    {"law": "independent-latents", "latents": "uniform"},
)
BAD_INPUTS = (
    {"law": "independent-latents", "latents": ["uniform"] * 7},
    {"law": "elliptical", "degrees_of_freedom": 2.0},
    {"law": "gaussian-mixture", "weights": [1.0], "means": [[1e300] * 9]},
    "uniform",
)


class Draw:
    """Random arguments: ordinary ones, and now and then one that is extreme or wrong."""

    def __init__(self, seed):
        self.rng = np.random.default_rng([14, seed])
        # Half of all calls are ordinary throughout, so that physics is asserted of many.
        self.rate = self.rng.choice([0.0, 0.04])

    def one(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def value(self, *choices, extreme=()):
        """One of the choices, or an extreme or bad value in its place."""
        if self.rng.random() < self.rate:
            return self.one(*extreme, *BAD)
        return self.one(*choices)

    def target(self, classes=False, hard=False):
        if classes:
            return {
                "label": self.one("easy-hard", "product", *(() if hard else ("linear",))),
                "classes": self.value("sign", "logistic"),
                "threshold": self.value(0.0, 0.3),
            }
        kind = self.rng.integers(6)
        if kind == 1:
            return self.one(
                {"label": lambda z, eps: z[:, 0] ** 2 + 0.3 * eps},
                {"label": lambda z, eps: np.abs(z[:, 0] ** 2 - 0.5)},
                {"label": lambda z, eps: np.sign(z[:, 0] * z[:, 1]), "k": 2},
                {"label": lambda z, eps: np.minimum(z[:, 0] ** 2, 2.0)},
                {"label": lambda z, eps: np.ones(len(z))},
                {"label": lambda z, eps: np.tanh(z[:, 0]) * z[:, 1], "k": 2},
            )
        names = ("phase-retrieval", "modulus", "product", "easy-hard")
        names = names if hard else (*names, "linear", "staircase")
        return {
            "label": self.value(*names, extreme=("lniear", "")),
            "noise": self.value(0.0, 0.0, 0.5, extreme=(1e-300, 1e150)),
        }

    def network(self, most=3):
        m = int(self.rng.integers(1, most + 1))
        layer = np.round(self.rng.normal(0.0, 1.0, m), 2).tolist()
        if self.rng.random() < 0.15:
            layer[0] = 0.0  # a neuron without output
        if self.rng.random() < 0.2:
            layer = [layer[0]] * m
        names = ("gelu", "quadratic", "tanh", "erf", "softplus", "silu", "linear", "relu", "abs")
        return {
            "activation": self.value(*names, extreme=("gleu",)),
            "second_layer": self.value(layer, extreme=([1e200], [1e-200], [0.0, 0.0])),
            "biases": self.value(None, None, 0.5, extreme=(1e160, 1e-200)),
        }

    def problem(self, hard=False, most=3):
        classes = self.rng.random() < 0.15
        loss = (
            self.one("logistic", "smoothed-hinge")
            if classes
            else self.one("pseudo-huber", "pseudo-huber", "square")
        )
        more = {
            "loss": self.value(loss),
            "init_radius": self.value(1.0, 0.5, 2.0, extreme=(0.0, 1e-200, 1e160)),
            "weight_decay": self.value(0.0, 0.0, 0.1, extreme=(1e8, 1e300)),
            "inputs": self.value(None, None, None, None, *INPUTS, extreme=BAD_INPUTS),
        }
        target = dmft.Target(**self.target(classes, hard))
        return dmft.Problem(target, dmft.Network(**self.network(most)), **more)

    def method(self, flow=True, plain=False):
        if plain and self.rng.random() > self.rate:
            return dmft.GradientDescent(self.value(0.1, 0.3), self.value(2, 3))
        if flow and self.rng.random() < 0.25:
            return dmft.GradientFlow(
                t_max=self.value(0.5, 1.0, extreme=(1e-300,)),
                tol=self.value(1e-2, 3e-2),
                bias_rate=self.value(0.0, 0.0, 1.0),
            )
        fresh = self.rng.random() < 0.2
        return dmft.GradientDescent(
            step_size=self.value(0.1, 0.3, [0.1, 0.2, 0.3], extreme=(1e-300, 1e300)),
            n_steps=3,
            batch_fraction=self.value(1.0 if fresh else self.one(1.0, 0.5)),
            momentum=self.value(0.0, 0.0, 0.5),
            second_layer_step_size=self.value(0.0, 0.0, 0.1),
            fresh_batches=self.value(fresh),
            bias_step_size=self.value(0.0, 0.0, 0.1),
        )

    def sampling(self):
        return dmft.Sampling(
            n_paths=self.value(64, 64, 128, extreme=(2**40, 1)),
            replicates=self.value(2, 2, 3, extreme=(1, 10**9)),
            seed=self.value(0, 1, extreme=(2**63,)),
            rank_tolerance=self.value(1e-10, 1e-4, 0.0),
            sobol_blocks=self.value(1, 4),
            compression=self.value(None, 0.0, 0.02),
        )

    def delta(self):
        return self.value(0.5, 3.0, 8.0, extreme=(1e-300, 1e-6, 1e10, 1e300))


def finite_where_success(result, names, status):
    if status.ok:
        for name in names:
            array = np.asarray(getattr(result, name), dtype=float)
            assert np.all(np.isfinite(array)), f"{name} is not finite with SUCCESS"


def check_trajectory(found):
    finite_where_success(found, ["overlap", "norm", "train_loss", "gradient_norm"], found.status)
    m, T = found.norm.shape[1], len(found.norm)
    C = found.correlation
    matrix = C.transpose(0, 2, 1, 3).reshape(T * m, T * m)
    scale = np.abs(matrix).max(initial=0.0)
    if np.isfinite(scale) and T:
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12 * scale)
        assert np.linalg.eigvalsh(matrix / (scale or 1.0))[0] > -1e-10
        np.testing.assert_allclose(
            C[range(T), range(T)], found.norm, rtol=1e-10, atol=1e-12 * scale
        )


def call_solve(draw):
    threads = draw.value(1, 2, None)
    arguments = draw.problem(), draw.delta(), draw.method(), draw.sampling()
    found = dmft.solve(*arguments, threads=threads)
    check_trajectory(found)
    if draw.rng.random() < 0.2 and found.status.ok:
        again = dmft.solve(*arguments, threads=2)
        assert again.correlation.tobytes() == found.correlation.tobytes()
    return found


def call_hessian(draw):
    found = call_solve(draw)
    if not found.status.ok:
        return
    law = found.hessian(draw.value(0, found.n_steps))
    check_law(law)
    if law.k_hard and law.status.ok:
        outliers = law.outliers("hard")
        assert all(0.0 < outlier.hard_overlap <= 1.0 + 1e-9 for outlier in outliers)
        left = [outlier for outlier in outliers if outlier.value < min(law.edges().left, 0.0)]
        assert bool(left) == bool(law.hard_gap() < 0.0)


def check_law(law):
    edges = law.edges()
    if edges.status.ok:
        assert edges.left <= edges.right
        x = np.linspace(max(edges.left, -1e3), min(edges.right, 1e3), 7)
        density, below = law.density(x, throw=False), law.cdf(x, throw=False)
        assert not np.any(density < 0.0)
        assert np.all((below >= 0.0) & (below <= 1.0) | np.isnan(below))
        assert not np.any(np.diff(below) < -1e-6)


def call_law(draw):
    n, m = int(draw.rng.integers(1, 30)), int(draw.rng.integers(1, 4))
    weights = draw.rng.normal(size=(n, m, m)) * 10.0 ** draw.one(-3, 0, 0, 3)
    weights = weights + weights.transpose(0, 2, 1)
    hard = draw.rng.normal(size=(n, 1)) if draw.rng.random() < 0.5 else None
    law = rmt.HessianLaw(
        draw.value(weights, weights[:, 0, 0], extreme=([1e160], [1e-200, 1.0])),
        draw.value(0.5, 2.0, extreme=(1e10, 1e-10, 1e300)),
        draw.value(hard),
        shift=draw.value(0.0, 0.3),
    )
    check_law(law)
    law.stieltjes(draw.value(0.3 + 1.0j, extreme=(1e200, 1e-200j)), throw=False)
    law.quantiles(draw.value(0.5, [0.1, 0.9]))


def call_threshold(draw):
    problem = draw.problem(hard=True, most=2)  # a search with three neurons takes seconds
    found = dmft.find_delta_nn(
        problem,
        draw.method(),
        draw.value((0.5, 8.0), (1.0, 4.0), extreme=((1e-300, 1e300), (2.0, 1.0), (1,))),
        # Laws of more than two Gaussians at step 0 take seconds each.
        draw.value(0 if problem.m == problem.k == 1 else 2),
        draw.sampling(),
        scan_points=draw.value(4, 5),
        criterion=draw.value("negative", "left", "any", extreme=("top", None)),
        index=draw.value(1, extreme=(0, 2, 99)),
    )
    finite_where_success(found, ["value", "stderr", "residual", "jump"], found.status)
    assert found.status.ok == np.isfinite(found.value)
    if found.status.ok:
        assert found.bracket[0] <= found.value <= found.bracket[1]
        assert found.crossings[-1].opens
        # Above the threshold the outlier stays, just below it there is none.
        above = found.delta > found.value * (1.0 + 1e-6)
        assert np.all(found.gap[above] <= 1e-9)


def call_cascade(draw):
    found = dmft.cascade(
        draw.problem(True, 2), draw.method(), (0.5, 8.0), [2], draw.sampling(),
        points=draw.value(4, 5), max_solves=6, features=draw.value(1, extreme=(0, 99)),
        criterion=draw.value("negative", "left"), d=draw.value(None, extreme=(30, 1)),
        rtol=draw.value(None, extreme=(0.3, 0.0)), max_paths=draw.value(None, extreme=(64,)),
    )  # fmt: skip
    for curve in found.stages[0].curves:
        finite_where_success(curve, ["value", "stderr"], curve.status)


def call_scaling_law(draw):
    target = dmft.Target(lambda z, eps: z[:, 0] ** 2 + 0.5 * z[:, 1] ** 2 + 0.1 * eps, k=2)
    network = dmft.Network(draw.value("quadratic", "gelu"), biases=draw.value(0.0, 0.3))
    found = dmft.scaling_law(
        dmft.Problem(target, network, draw.value("pseudo-huber", "square", extreme=("logistic",))),
        draw.method(plain=True), (0.5, 30.0),
        draw.value((1,), (1, 2), extreme=((0,), (2, 2), None)),
        sampling=draw.sampling(), points=4, max_solves=4,
        n_points=draw.value(2**14, extreme=(1, 2**10)),
        criterion=draw.value("negative", "left", extreme=("any",)),
    )  # fmt: skip
    # A threshold that is located too roughly (MAX_STEPS) or biased (FINITE_PATHS) has a value, too.
    for one, value in zip(found.statuses, found.threshold.ravel(), strict=True):
        assert not one.ok or np.isfinite(value), one
    assert found.status.ok or found.detail


def call_spectral_method(draw):
    found = dmft.spectral_method(
        draw.problem(), draw.delta(),
        draw.value("optimal", "optimal-scalar", "clipped", extreme=("best", np.tanh, np.log)),
        cap=draw.value(None, extreme=(2.0, -1.0)), side=draw.value("right", "left"),
        n_points=draw.value(2**14, extreme=(1, 2**10)), replicates=draw.value(2, 4, extreme=(1,)),
        seed=draw.value(0, 5, extreme=(-1,)),
    )  # fmt: skip
    finite_where_success(found, ["edge", "gap", "edge_stderr"], found.spectrum_status)
    assert found.threshold_status.ok == np.isfinite(found.threshold)
    assert (found.overlap > -1e-9).all()
    assert (found.overlap < 1.0 + 1e-9).all()


def call_curve(draw):
    found = dmft.delta_nn_curve(
        draw.problem(True, 2), draw.method(), (0.5, 8.0), [2], draw.sampling(),
        points=draw.value(4, 5), max_solves=6,
    )  # fmt: skip
    finite_where_success(found, ["value", "stderr"], found.status)


def call_simulate(draw):
    run = dmft.simulate(
        draw.problem(),
        draw.delta(),
        draw.method(flow=draw.rng.random() < draw.rate),
        d=draw.value(10, 20, extreme=(1, 2, 10**9)),
        seeds=draw.value(1, 2, [3, 5]),
        hessian_steps=draw.value((), (0,), (2,), extreme=((99,), (-1,))),
        inputs=draw.value("gaussian", "gaussian", "rademacher"),
        hold_hard=draw.value(False, True),
        workers=1,
    )
    finite_where_success(run, ["correlation", "overlap", "train_loss"], run.status)


def call_grokking(draw):
    found = dmft.predict_grokking(
        draw.problem(True), draw.delta(), draw.method(plain=True), draw.value(50, [50, 100]),
        sampling=draw.sampling(), n_draws=draw.value(4, 5), drops=draw.value(1, extreme=(0, 2, 9)),
    )  # fmt: skip
    assert isinstance(found.status, dmft.Status)


def call_hardness(draw):
    found = dmft.hardness(
        dmft.Target(**draw.target()), n_points=draw.value(2**16), max_degree=draw.value(2, 3)
    )
    if found.status.ok and found.k_hard:
        assert found.delta_alg > 0.0


CALLS = [
    *(call_solve, call_solve, call_hessian, call_hessian, call_threshold, call_threshold),
    *(call_law, call_law, call_simulate, call_simulate, call_curve, call_grokking),
    call_cascade,
    call_scaling_law,
]


def one_call(seed):
    """Make the call with this number; return how it ended."""
    draw = Draw(seed)
    rare = {58: call_spectral_method, 59: call_hardness}
    call = rare.get(seed % 60, CALLS[seed % len(CALLS)])
    try:
        call(draw)
    except ValueError as error:
        return "refused" if str(error) and "\n" not in str(error) else f"wordy: {error}"
    except dmft.NumericalFailure as failure:
        return "failed" if not failure.status.ok else "failed with SUCCESS"
    return "answered"


@pytest.mark.parametrize("chunk", range(N_CHUNKS))
def test_random_calls_are_answered_or_refused_in_one_line(chunk):
    ended = [one_call(seed) for seed in range(chunk, N_CALLS, N_CHUNKS)]
    assert set(ended) <= {"answered", "refused", "failed"}
    # The generator is no use if everything is refused.
    assert ended.count("answered") > len(ended) // 2
