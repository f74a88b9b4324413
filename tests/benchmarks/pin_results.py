"""Pin some eighty results to their bits, and compare a later version with them.

    python tests/benchmarks/pin_results.py record before.npz     # with the version to be kept
    python tests/benchmarks/pin_results.py check before.npz      # with the version after a change

``record`` computes small results of every kind and writes their public quantities. ``check``
computes them again and prints, for each that is not the same to the last bit, the largest relative
difference; it exits with 1 if there is any. Two versions are compared on one machine: bits depend
on the processor's BLAS kernels. Names that only one version has are listed and are no difference.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import dmft
import rmt

PINS: dict[str, Callable[[], dict[str, object]]] = {}
SMALL = dmft.Sampling(n_paths=256, replicates=4, seed=0)
TINY = dmft.Sampling(n_paths=128, replicates=2, seed=3)
ORDER_PARAMETERS = (
    "weights",
    "overlap",
    "norm",
    "train_loss",
    "test_loss",
    "gradient_norm",
    "correlation",
)


def pin(name: str):
    def register(function):
        PINS[name] = function
        return function

    return register


def retrieval(**more):
    more = {"activation": "gelu", "second_layer": [1.0], "loss": "pseudo-huber", **more}
    network = dmft.Network(more.pop("activation"), more.pop("second_layer"))
    return dmft.Problem(more.pop("target", "phase-retrieval"), network, **more)


def descent(n_steps: int = 12, **more):
    return dmft.GradientDescent(**{"step_size": 0.2, "n_steps": n_steps, **more})


def of_trajectory(trajectory) -> dict[str, object]:
    out = {
        name: getattr(trajectory, name) for name in ORDER_PARAMETERS if hasattr(trajectory, name)
    }
    out |= {f"stderr.{name}": value for name, value in trajectory.stderr.items()}
    out |= {f"bias.{name}": value for name, value in trajectory.bias.items()}
    return out | {"rank": trajectory.rank, "status": trajectory.status.name}


def of_law(law) -> dict[str, object]:
    out: dict[str, object] = {"edges": list(law.edges()), "status": law.edges().status.name}
    if law.k_hard and law.edges().status.ok:
        out["hard_gap"] = law.hard_gap()
        out["outliers"] = [outlier.value for outlier in law.outliers("hard")]
        out["overlaps"] = [outlier.hard_overlap for outlier in law.outliers("hard")]
    left, right = law.edges()
    x = np.linspace(max(left, -2.0) + 1e-3, min(right, 4.0) - 1e-3, 9)
    return out | {"density": law.density(x), "cdf": law.cdf(x)}


def of_threshold(found) -> dict[str, object]:
    return {
        "value": found.value,
        "stderr": found.stderr,
        "status": found.status.name,
        "delta": found.delta,
        "gap": found.gap,
        "gap_stderr": found.gap_stderr,
        "crossings": [float(crossing) for crossing in found.crossings],
    }


def of_simulation(run) -> dict[str, object]:
    names = ("correlation", "overlap", "train_loss", "test_loss")
    out: dict[str, object] = {name: getattr(run, name) for name in names}
    for step, hessian in run.hessian.items():
        out[f"eigenvalues.{step}"] = hessian.eigenvalues
        out[f"hard_overlap.{step}"] = hessian.hard_overlap
    return out


# ------------------------------------------------------------------ solve

EASY_HARD = dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, 1.0]), "pseudo-huber")
SOLVED = {
    "gelu": (retrieval(), descent()),
    "quadratic": (retrieval(activation="quadratic"), descent()),
    "tanh-two": (
        retrieval(activation="tanh", second_layer=[1.0, -0.5], target="linear"),
        descent(),
    ),
    "erf": (retrieval(activation="erf", target="modulus"), descent()),
    "softplus": (retrieval(activation="softplus"), descent()),
    "silu-square": (retrieval(activation="silu", loss="square", target="staircase"), descent()),
    "linear": (retrieval(activation="linear", loss="square", target="linear"), descent()),
    "relu": (retrieval(activation="relu", second_layer=[1.0, -1.0]), descent()),
    "leaky-relu": (retrieval(activation="leaky-relu"), descent()),
    "abs": (retrieval(activation="abs"), descent()),
    "clipped-linear": (retrieval(activation="clipped-linear"), descent()),
    "easy-hard": (EASY_HARD, descent()),
    "product": (retrieval(target="product", second_layer=[1.0, 0.5, -1.0]), descent()),
    "four-neurons": (retrieval(second_layer=[1.0, 0.5, -0.5, -1.0]), descent(8)),
    "weight-decay": (retrieval(weight_decay=0.1), descent()),
    "radius": (retrieval(init_radius=0.3), descent()),
    "radii": (retrieval(second_layer=[1.0, -0.5], init_radius=[0.5, 2.0]), descent()),
    "gram": (
        retrieval(second_layer=[1.0, -0.5], init_gram=[[1.0, 0.4], [0.4, 1.0]]),
        descent(),
    ),
    "overlap": (
        retrieval(target="linear", initial_overlap=[[0.5]]),
        descent(),
    ),
    "noise": (
        retrieval(target=dmft.Target("phase-retrieval", noise=0.3)),
        descent(),
    ),
    "logistic": (
        retrieval(target=dmft.Target("linear", classes="sign", flip=0.1), loss="logistic"),
        descent(),
    ),
    "logistic-classes": (
        retrieval(target=dmft.Target("easy-hard", classes="logistic"), loss="smoothed-hinge"),
        descent(),
    ),
    "momentum": (retrieval(), descent(momentum=0.5)),
    "mini-batch": (retrieval(), descent(batch_fraction=0.5)),
    "mini-batch-momentum": (EASY_HARD, descent(batch_fraction=0.3, momentum=0.4)),
    "fresh-batches": (retrieval(), descent(8, fresh_batches=True)),
    "second-layer": (
        retrieval(second_layer=[1.0, -0.5], second_layer_weight_decay=0.1),
        descent(second_layer_step_size=0.1),
    ),
    "biases": (
        dmft.Problem("easy-hard", dmft.Network("relu", [1.0, -0.5], biases=[0.3, -0.2])),
        descent(momentum=0.5, bias_step_size=0.1),
    ),
    "correlation": (
        retrieval(target={"label": {"name": "capped-square", "cap": 5.0}}, loss="correlation"),
        descent(),
    ),
    "normalised-square": (retrieval(loss={"name": "normalised-square", "a": 1.0}), descent()),
    "spectral-start": (
        retrieval(second_layer=[1.0, -0.5], spectral_start={"share": [1.0, 0.5]}),
        descent(batch_fraction=0.5),
    ),
    "schedule": (retrieval(), descent(step_size=dmft.Cosine(0.3, 0.01))),
    "warm-up": (retrieval(), descent(step_size=dmft.WarmUp(0.3, 4))),
    "listed-steps": (retrieval(), descent(4, step_size=[0.1, 0.2, 0.3, 0.1])),
    "flow": (retrieval(), dmft.GradientFlow(t_max=4.0, tol=1e-2)),
    "flow-two": (EASY_HARD, dmft.GradientFlow(t_max=3.0, tol=1e-2)),
    "flow-biases": (EASY_HARD, dmft.GradientFlow(t_max=2.0, tol=1e-2, bias_rate=1.0)),
    "flow-linear": (
        retrieval(activation="linear", loss="square", target="linear", weight_decay=0.2),
        dmft.GradientFlow(t_max=5.0, tol=1e-3),
    ),
}
for name, (problem, method) in SOLVED.items():

    @pin(f"solve/{name}")
    def _(problem=problem, method=method):
        return of_trajectory(dmft.solve(problem, 4.0, method, SMALL))


SAMPLINGS = {
    "exact": {"rank_tolerance": 1e-12},
    "coarse": {"rank_tolerance": 1e-4},
    "compressed": {"rank_tolerance": 1e-5, "compression": 0.02},
    "one-sobol-block": {"sobol_blocks": 1},
    "seed": {"seed": 7},
    "eight": {"replicates": 8, "n_paths": 128},
}
for name, more in SAMPLINGS.items():

    @pin(f"solve/sampling-{name}")
    def _(more=more):
        settings = {"n_paths": 256, "replicates": 4, "seed": 0, **more}
        found = dmft.solve(retrieval(), 3.0, descent(40), dmft.Sampling(**settings))
        return of_trajectory(found)


@pin("solve/long")
def _():
    sampling = dmft.Sampling(n_paths=512, replicates=2, rank_tolerance=1e-5)
    return of_trajectory(dmft.solve(EASY_HARD, 6.0, descent(150), sampling))


@pin("solve/two-threads")
def _():
    return of_trajectory(dmft.solve(EASY_HARD, 6.0, descent(20), SMALL, threads=2))


@pin("solve/response")
def _():
    found = dmft.solve(retrieval(), 4.0, descent(6), SMALL)
    return {"R": found.response, "G": found.gradient_covariance}


@pin("solve/checkpoint")
def _():
    with tempfile.TemporaryDirectory() as folder:
        stop = {"left": 30}

        def advance(count):
            stop["left"] -= count
            if stop["left"] < 0:
                raise KeyboardInterrupt

        arguments = (EASY_HARD, 4.0, descent(20), SMALL)
        with contextlib.suppress(KeyboardInterrupt):
            dmft.solve(*arguments, checkpoint=folder, checkpoint_seconds=0.0, progress=advance)
        return of_trajectory(dmft.solve(*arguments, checkpoint=folder))


@pin("solve/file")
def _():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        dmft.solve(EASY_HARD, 4.0, descent(), SMALL).save(path)
        return of_trajectory(dmft.Trajectory.load(path))


@pin("solve/own-functions")
def _():
    problem = dmft.Problem(
        dmft.Target(lambda z, eps: np.tanh(z[:, 0]) * z[:, 1] + 0.1 * eps, k=2),
        dmft.Network(
            dmft.Activation(np.sin, np.cos, lambda r: -np.sin(r), name="sin"), [1.0, -1.0]
        ),
        "pseudo-huber",
    )
    return of_trajectory(dmft.solve(problem, 4.0, descent(), SMALL))


# ------------------------------------------------------------------ spectra

for name in ("gelu", "quadratic", "easy-hard", "logistic", "weight-decay", "second-layer", "flow"):

    @pin(f"hessian/{name}")
    def _(name=name):
        problem, method = SOLVED[name]
        found = dmft.solve(problem, 6.0, method, SMALL, keep_paths=True)
        law = found.hessian(found.n_steps)
        out = of_law(law)
        if name in ("gelu", "easy-hard"):
            out["all"] = [outlier.value for outlier in law.outliers()]
        return out


@pin("hessian/start")
def _():
    found = dmft.solve(retrieval(), 3.0, descent(), SMALL, hessian_steps=[0, 5])
    return {f"{k}.{step}": v for step in (0, 5) for k, v in of_law(found.hessian(step)).items()}


@pin("spectrum/easy-hard")
def _():
    found = dmft.spectrum(dmft.solve(EASY_HARD, 8.0, descent(), SMALL), 12)
    return {
        "x": found.x,
        "density": found.density,
        "edges": [found.left_edge, found.right_edge, found.left_edge_stderr],
        "outliers": [outlier.value for outlier in found.outliers],
        "gap": [found.hard_gap, found.hard_gap_stderr],
    }


RNG = np.random.default_rng(0)


def symmetric(factors: np.ndarray, signs: np.ndarray) -> np.ndarray:
    return np.einsum("nij,nj,nkj->nik", factors, signs, factors)


LAWS = {
    "constant": rmt.HessianLaw([1.0], 2.0),
    "two-atoms": rmt.HessianLaw([1.0, -1.0], 4.0),
    "samples": rmt.HessianLaw(RNG.normal(0.3, 1.0, 300), 3.0, hard=RNG.normal(size=(300, 1))),
    "atom": rmt.HessianLaw([1.0, 0.0, 2.0], 0.7),
    "shift": rmt.HessianLaw(RNG.normal(0.3, 1.0, 50), 3.0, shift=0.5),
    "matrices": rmt.HessianLaw(
        symmetric(RNG.normal(size=(80, 2, 2)), RNG.choice([-1.0, 1.0], size=(80, 2))),
        4.0,
        hard=RNG.normal(size=(80, 1)),
    ),
    "three": rmt.HessianLaw(symmetric(RNG.normal(size=(60, 3, 2)), np.ones((60, 2))), 1.5),
}
for name, law in LAWS.items():

    @pin(f"law/{name}")
    def _(law=law):
        z = np.array([-3.0 + 0.1j, 0.5 + 1.0j, 2.0 + 0.01j])
        more = {"s": law.stieltjes(z), "quantiles": law.quantiles([0.1, 0.5, 0.9])}
        return of_law(law) | more | {"atom": law.atom_at_zero()}


# ------------------------------------------------------------------ thresholds

THRESHOLDS = {
    "gelu-start": (retrieval(), 0, (0.5, 6.0)),
    "quadratic-start": (retrieval(activation="quadratic"), 0, (0.5, 4.0)),
    "two-start": (retrieval(second_layer=[1.0, -0.5]), 0, (0.5, 8.0)),
    "product-start": (retrieval(target="product", second_layer=[1.0, -1.0]), 0, (0.5, 8.0)),
    "modulus-start": (retrieval(target="modulus"), 0, (0.5, 8.0)),
    "square-start": (retrieval(loss="square"), 0, (0.5, 8.0)),
    "gelu": (retrieval(), 6, (1.2, 6.0)),
    "quadratic": (retrieval(activation="quadratic"), 6, (0.8, 6.0)),
    "easy-hard": (EASY_HARD, 6, (1.0, 9.0)),
    "no-bracket": (retrieval(), 6, (0.2, 0.5)),
}
for name, (problem, step, bracket) in THRESHOLDS.items():

    @pin(f"threshold/{name}")
    def _(problem=problem, step=step, bracket=bracket):
        return of_threshold(
            dmft.find_delta_nn(problem, descent(8), bracket, step, SMALL, scan_points=5)
        )


@pin("threshold/flow")
def _():
    flow = dmft.GradientFlow(t_max=2.0, tol=1e-2)
    return of_threshold(
        dmft.find_delta_nn(retrieval(), flow, (1.2, 6.0), None, SMALL, scan_points=5)
    )


for name, method in (("descent", descent(10)), ("flow", dmft.GradientFlow(t_max=3.0, tol=1e-2))):

    @pin(f"curve/{name}")
    def _(method=method):
        found = dmft.delta_nn_curve(retrieval(), method, (1.2, 6.0), sampling=SMALL, points=5)
        return {
            "value": found.value,
            "stderr": found.stderr,
            "steps": found.steps,
            "limit": [found.limit.value, found.limit.lower, found.limit.upper],
            "status": found.status.name,
        }


@pin("gap/small")
def _():
    found = dmft.algorithmic_gap(
        "phase-retrieval",
        {"gelu": retrieval(), "r^2": retrieval(activation="quadratic")},
        (0.5, 6.0),
        method=dmft.GradientFlow(t_max=1.0, tol=1e-2),
        sampling=TINY,
        points=5,
    )
    ratios = found.gap
    return {"delta_alg": found.delta_alg} | {f"{k}": v.value for k, v in ratios.items()}


# ------------------------------------------------------------------ labels

for name in (
    "phase-retrieval",
    "modulus",
    "linear",
    "product",
    "staircase",
    "easy-hard",
    "hermite3",
):

    @pin(f"hardness/{name}")
    def _(name=name):
        found = dmft.hardness(name, n_points=2**16, max_degree=4)
        return {
            "exponents": [found.information_exponent, found.generative_exponent],
            "delta_alg": [found.delta_alg, found.delta_alg_stderr],
            "status": found.status.name,
        }


# ------------------------------------------------------------------ finite dimension

RUNS = {
    "gelu": (retrieval(), descent(8), {"hessian_steps": (0, 8)}),
    "easy-hard": (EASY_HARD, descent(8), {"hold_hard": True, "hessian_steps": (8,)}),
    "lanczos": (retrieval(), descent(4), {"hessian_steps": (4,), "dense_limit": 10}),
    "options": (
        retrieval(second_layer=[1.0, -0.5]),
        descent(8, momentum=0.5, batch_fraction=0.5, second_layer_step_size=0.1),
        {},
    ),
    "fresh": (retrieval(), descent(5, fresh_batches=True), {}),
    "rademacher": (retrieval(), descent(5), {"inputs": "rademacher"}),
    "classes": (SOLVED["logistic"][0], descent(5), {}),
}
for name, (problem, method, more) in RUNS.items():

    @pin(f"simulate/{name}")
    def _(problem=problem, method=method, more=more):
        run = dmft.simulate(problem, 4.0, method, d=60, seeds=3, workers=1, **more)
        return of_simulation(run)


@pin("compare/gelu")
def _():
    theory = dmft.solve(retrieval(), 4.0, descent(6), SMALL, hessian_steps=[6])
    options = {"hold_hard": True, "hessian_steps": (6,), "workers": 1}
    runs = [dmft.simulate(retrieval(), 4.0, descent(6), d=d, seeds=4, **options) for d in (60, 120)]
    found = dmft.compare(theory, runs)
    ratios = {name: quantity.largest_ratio for name, quantity in found.quantities.items()}
    return ratios | {"p": found.p_value}


@pin("sweep/gelu")
def _():
    found = dmft.sweep(retrieval(), [2.0, 8.0], descent(20), d=40, seeds=3, workers=1)
    return {"probability": found.probability, "excess": found.excess_loss}


@pin("recovery/gelu")
def _():
    found = dmft.recovery_probability(retrieval(), [2.0, 8.0], 40, descent(20), draws=3, workers=1)
    return {"largest_cosine": found.largest_cosine, "rank": found.rank}


@pin("scan/gelu")
def _():
    tables = {
        "target": {"label": "phase-retrieval"},
        "problem": {"loss": "pseudo-huber"},
        "method": {"step_size": 0.2, "n_steps": 6},
        "sampling": {"n_paths": 256, "replicates": 4},
        "sweep": {"d": 40, "seeds": 3, "n_steps": 20},
    }
    axes = {"target.noise": [0.0, 0.5], "delta": [2.0, 8.0]}
    names = ["gap", "outlier", "left_edge", "test_loss", "norm@3", "recovery"]
    found = dmft.scan(tables, axes, names, workers=1)
    return {"value": found.value, "error": found.error}


@pin("grokking/quadratic")
def _():
    problem = retrieval(activation="quadratic")
    found = dmft.predict_grokking(problem, 8.0, descent(30), 500, sampling=SMALL)
    return {name: value for name, value in vars(found).items() if isinstance(value, np.ndarray)}


@pin("grokking/two")
def _():
    problem = retrieval(activation="quadratic", second_layer=[1.0, 1.0])
    found = dmft.predict_grokking(problem, 8.0, descent(20), 500, sampling=TINY, n_draws=4)
    return {name: value for name, value in vars(found).items() if isinstance(value, np.ndarray)}


def two_squares(loss):
    label = dmft.Target({"name": "two-squares", "weight": 0.3})
    return dmft.Problem(label, dmft.Network("quadratic", [1.0, 1.0]), loss)


@pin("grokking/drops")
def _():
    found = dmft.predict_grokking(
        two_squares("pseudo-huber"), 16.0, descent(8), 300, drops=2, n_draws=4, max_draws=4,
        sampling=SMALL,
    )  # fmt: skip
    return {"start": found.start, "test_loss": found.test_loss, "level": found.drops[0].fall_level,
            "cosine": found.drops[1].hard_cosine}  # fmt: skip


@pin("cascade/runs")
def _():
    found = dmft.cascade(
        two_squares("square"), descent(1), (0.5, 40.0), [1], SMALL, points=4, max_solves=4, d=60,
        draws=4, features=2,
    )  # fmt: skip
    return {"value": found.value, "error": found.error, "band": found.stages[0].curves[1].band}


# ------------------------------------------------------------------ without paths


@pin("spectral-method")
def _():
    law = dmft.label_law("product", n_points=2**14)
    found = rmt.spectral_method("optimal-scalar", law, 2.0)
    thresholds = rmt.direction_thresholds(law)
    return {
        "values": np.array([(o.value, o.hard_overlap) for o in found.outliers]),
        "errors": np.array([*found.value_stderr, *found.overlap_stderr, found.gap_stderr]),
        "threshold": np.array([found.threshold.value, found.threshold.stderr]),
        "directions": np.array([thresholds.value, thresholds.stderr]),
    }


@pin("spectral-method/scales")
def _():
    mixture = dmft.GaussianMixture([0.4, 0.6], [[0.0], [0.5]], scales=[1.0, 1.5])
    problem = dmft.Problem("modulus", inputs=mixture)
    found = dmft.spectral_method(problem, 6.0, "clipped", n_points=2**13)
    return {name: value for name, value in vars(found).items() if isinstance(value, np.ndarray)}


@pin("risk-minimizer")
def _():
    problem = dmft.Problem(
        dmft.Target(classes="component"),
        dmft.Network("linear"),
        "logistic",
        weight_decay=0.3,
        inputs=dmft.GaussianMixture([0.4, 0.6], [[1.2], [-0.8]], scales=[0.8, 1.3]),
    )
    found = dmft.erm_limit(problem, 3.0)
    numbers = [found.norm, found.train_loss, found.test_loss, found.test_error, *found.overlap]
    return {"values": np.array(numbers)}


# ------------------------------------------------------------------ record and check


def computed(chosen: str) -> Iterator[tuple[str, np.ndarray]]:
    for name, function in PINS.items():
        if chosen not in name:
            continue
        try:
            found = function()
        except Exception as error:
            found = {"raised": f"{type(error).__name__}: {error}"}
        for key, value in found.items():
            if value is None:
                value = np.nan
            array = np.asarray(value)
            if array.dtype == object:
                array = np.array([np.nan if entry is None else entry for entry in array.ravel()])
            yield f"{name}:{key}", array


def difference(old: np.ndarray, new: np.ndarray) -> str | None:
    if old.shape != new.shape or old.dtype.kind != new.dtype.kind:
        return f"{old.dtype}{old.shape} -> {new.dtype}{new.shape}: {old} -> {new}"[:200]
    if old.tobytes() == new.tobytes():
        return None
    if old.dtype.kind not in "fc":
        return f"{old} -> {new}"[:200]
    if np.array_equal(old, new, equal_nan=True):
        return None
    scale = np.nanmax(np.abs(old), initial=0.0)
    return f"{np.nanmax(np.abs(old - new)) / (scale or 1.0):.3g} of {scale:.4g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["record", "check"])
    parser.add_argument("file")
    parser.add_argument("--only", default="", help="pins with this in their name")
    arguments = parser.parse_args()
    found = dict(computed(arguments.only))
    for name, value in found.items():
        if name.endswith(":raised"):
            print(f"{name}  {value}")
    if arguments.action == "record":
        np.savez(arguments.file, **found)
        print(f"{len(PINS)} pins, {len(found)} quantities")
        return 0
    with np.load(arguments.file) as file:
        pinned = {name: file[name] for name in file.files if arguments.only in name.split(":")[0]}
    changed = 0
    for name in sorted(pinned.keys() & found.keys()):
        text = difference(pinned[name], found[name])
        if text is not None:
            changed += 1
            print(f"{name}  {text}")
    for name in sorted(pinned.keys() ^ found.keys()):
        print(f"{name}  only {'before' if name in pinned else 'now'}")
    print(f"{len(pinned.keys() & found.keys())} quantities compared, {changed} not the same bits")
    return int(changed > 0)


if __name__ == "__main__":
    sys.exit(main())
