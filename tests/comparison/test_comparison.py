"""Theory beside simulation: what is compared with what, at which steps, and what the table says."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

import dmft
from dmft import GradientDescent, Network, Problem, Sampling, Target
from dmft.comparison.comparison import Comparison, compare
from dmft.comparison.quantities import QUANTITIES
from dmft.comparison.smallest_eigenvalue import predict_smallest
from dmft.trajectory.finite_law import finite_law
from rmt.overlay import TRACY_WIDOM_MEAN, airy_scale
from rmt.status import NumericalFailure, Status

SAMPLING = Sampling(n_paths=2048, replicates=8, seed=1)
METHOD = GradientDescent(0.3, 5)
DELTA = 6.0
PAIR = Problem("easy-hard", Network("gelu", [1.0, 0.8]), "pseudo-huber", weight_decay=0.05)
RETRIEVAL = Problem("phase-retrieval", Network("quadratic"), "pseudo-huber")
PRODUCT = Problem("product", Network("quadratic", [0.5, -0.5]), "pseudo-huber")


def simulate(problem=PAIR, d=100, seeds=6, **changes):
    settings = {"delta": DELTA, "method": METHOD, "hold_hard": True, "workers": 1} | changes
    return dmft.simulate(problem, d=d, seeds=seeds, **settings)


@pytest.fixture(scope="module")
def trajectory():
    return dmft.solve(PAIR, DELTA, METHOD, SAMPLING)


@pytest.fixture(scope="module")
def runs():
    return [simulate(d=d, hessian_steps=(3, 5), n_extreme=3) for d in (100, 200)]


@pytest.fixture(scope="module")
def comparison(trajectory, runs):
    return compare(trajectory, runs)


# ------------------------------------------------------------------ order parameters


_OF_HESSIANS = ("smallest_eigenvalue", "hard_overlap")


@pytest.mark.slow
def test_theory_agrees_with_simulation(comparison):
    assert not comparison.significant
    assert comparison.status.ok
    assert comparison.extrapolated
    assert comparison.sizes == (100, 200)
    assert comparison.samples == (600, 1200)
    assert comparison.last_step == METHOD.n_steps
    others = ("test_error", "second_layer", "biases", *_OF_HESSIANS)
    along = [name for name in QUANTITIES if name not in others]
    assert list(comparison.quantities)[: len(along)] == along


def test_values_are_those_of_theory_and_runs(comparison, trajectory, runs):
    q = comparison.quantities["norm"]
    assert q.labels == ("C11", "C12", "C22")
    assert q.theory.shape == (METHOD.n_steps + 1, 3)
    np.testing.assert_array_equal(q.theory[:, 1], trajectory.norm[:, 0, 1])
    np.testing.assert_array_equal(q.theory_stderr[:, 2], trajectory.stderr["norm"][:, 1, 1])
    small, large = (run.correlation[:, :, 0, 1] for run in runs)
    np.testing.assert_allclose(
        q.simulated[:, 1], 2 * large.mean(axis=0) - small.mean(axis=0), rtol=1e-12, atol=1e-14
    )
    # Variance of one run times d, pooled; the two means enter with weights -1 and 2.
    pooled = (100 * small.var(axis=0, ddof=1) + 200 * large.var(axis=0, ddof=1)) / 2
    np.testing.assert_allclose(
        q.simulated_stderr[:, 1], np.sqrt(pooled * (1 / 600 + 4 / 1200)), rtol=1e-12
    )
    np.testing.assert_allclose(q.deviation, q.simulated - q.theory, atol=1e-15)
    np.testing.assert_allclose(q.stderr, np.hypot(q.simulated_stderr, q.theory_stderr))
    # The start is on the sphere exactly: nothing fluctuates, and nothing deviates.
    np.testing.assert_array_equal(q.ratio[0, [0, 2]], 0.0)
    np.testing.assert_allclose(q.ratio[1:], (q.deviation / q.stderr)[1:])
    assert [array.shape for array in q.runs] == [(6, 6, 3)] * 2

    G = comparison.quantities["gradient_covariance"]
    times = np.arange(METHOD.n_steps + 1)
    np.testing.assert_array_equal(
        G.theory[:, 2], trajectory.gradient_covariance[times, times, 1, 1]
    )
    assert comparison.quantities["overlap"].labels == ("M11", "M21")  # z2 is hard
    for name in ("train_loss", "test_loss", "gradient_norm"):
        scalar = comparison.quantities[name]
        assert scalar.labels == ("",)
        np.testing.assert_array_equal(scalar.theory[:, 0], getattr(trajectory, name))
        np.testing.assert_array_equal(scalar.runs[1][:, :, 0], getattr(runs[1], name))


def test_largest_ratio_and_where(comparison):
    q = comparison.quantities["overlap"]
    step, label = q.where
    sizes = np.abs(q.ratio)
    assert q.largest_ratio == sizes.max()
    assert sizes[step, q.labels.index(label)] == sizes.max()
    assert q.largest_until(0)[0] == sizes[0].max()
    assert q.largest_until(-1) == (0.0, -1, "")
    assert comparison.largest_ratio == max(q.largest_ratio for q in comparison.quantities.values())


def test_another_delta_is_refused(runs):
    """The comparison has teeth: theory at fewer samples than the runs have."""
    wrong = dmft.solve(PAIR, 0.4 * DELTA, METHOD, SAMPLING)
    claimed = dataclasses.replace(runs[1], delta=0.4 * DELTA, hessian={})
    result = compare(wrong, claimed)
    assert result.significant
    assert not result.compatible
    assert "NOT compatible" in result.table()
    assert any(q.n_beyond for q in result.quantities.values())


def test_one_size_is_not_extrapolated(trajectory, runs):
    result = compare(trajectory, runs[0], quantities=["train_loss"])
    assert not result.extrapolated
    assert list(result.quantities) == ["train_loss"]
    q = result.quantities["train_loss"]
    np.testing.assert_allclose(q.simulated[:, 0], runs[0].train_loss.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(q.simulated_stderr[:, 0], runs[0].stderr["train_loss"], rtol=1e-10)
    assert "one size: no extrapolation" in result.table()


def test_a_single_run_at_one_of_two_sizes(trajectory, runs):
    alone = simulate(d=150, seeds=1)
    result = compare(trajectory, [alone, runs[0]], quantities=["train_loss"])
    np.testing.assert_allclose(result.quantities["train_loss"].degrees_of_freedom, 5, rtol=0.2)


def test_easy_directions_that_are_no_axes():
    """A rotated target has the overlaps of the straight one, up to sign and sampling error."""
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])  # columns: easy, hard

    def label(z, eps):
        z = z @ turn
        return np.tanh(z[:, 0]) + np.tanh(z[:, 1] ** 2 - 1.0)

    target = Target(label, k=2, hard_directions=turn[:, 1:])
    problem = Problem(target, PAIR.network, PAIR.loss)
    theory = dmft.solve(problem, DELTA, METHOD, SAMPLING)
    result = compare(theory, simulate(problem), quantities=["overlap"])
    q = result.quantities["overlap"]
    assert q.labels == ("M1e1", "M2e1")
    expected = theory.overlap @ turn[:, 0]
    np.testing.assert_allclose(np.abs(q.theory), np.abs(expected), atol=1e-12)
    assert not result.significant


# ------------------------------------------------------------------ outside the regime


def test_runs_that_learn_a_hard_direction_are_told_apart():
    method = GradientDescent(0.3, 40)
    theory = dmft.solve(RETRIEVAL, 8.0, method, SAMPLING)
    free = simulate(RETRIEVAL, d=100, delta=8.0, method=method, hold_hard=False, seeds=8)
    result = compare(theory, free)
    assert "overlap" not in result.quantities  # no easy direction
    end = result.regime_end
    assert end is not None
    assert result.hard_cosine[0, end] > 0.05
    assert np.all(result.hard_cosine[0, :end] <= 0.05)
    assert result.hard_rms[0, 0] == pytest.approx(0.1, rel=0.5)  # d^(-1/2)
    text = result.table()
    assert f"from step {end} on the runs learn a hard direction" in text
    assert "root mean square" in text
    assert not result.compatible
    assert "NOT compatible" in result.verdict()
    assert f"before step {end}" in result.verdict()
    held = simulate(RETRIEVAL, d=100, delta=8.0, method=method, seeds=8)
    quiet = compare(theory, held)
    assert quiet.regime_end is None
    assert not quiet.hard_rms.any()
    assert "learn a hard direction" not in quiet.table()
    assert quiet.largest_ratio < result.largest_ratio


def test_runs_that_diverge_are_compared_up_to_there():
    method = GradientDescent(50.0, 12)
    theory = dmft.solve(RETRIEVAL, DELTA, method, SAMPLING)
    run = simulate(RETRIEVAL, method=method)
    result = compare(theory, run)
    assert not result.status.ok
    assert result.last_step < 12
    assert np.isfinite(result.quantities["train_loss"].ratio).all()
    assert f"compared up to step {result.last_step} of 12: {result.status.name}" in result.table()


def test_other_inputs_are_named(trajectory):
    run = simulate(inputs="rademacher")
    result = compare(trajectory, run, quantities=["train_loss"])
    assert "inputs 'rademacher'" in result.table()
    assert result.config["inputs"]["law"] == "rademacher"


# ------------------------------------------------------------------ Hessian


def test_smallest_eigenvalue_and_overlap_of_an_outlier(comparison, trajectory, runs):
    (start, end) = comparison.hessian
    assert (start.step, end.step) == (3, 5)
    lowest = min(trajectory.hessian(5).outliers("hard"), key=lambda outlier: outlier.value)
    assert end.kind == "hard outlier"
    assert end.count == 1
    assert end.value == lowest.value
    assert end.overlap == lowest.hard_overlap
    assert end.edge == trajectory.hessian(5).edges().left
    small, large = (run.hessian[5].smallest[:, 0].mean() for run in runs)
    assert end.simulated == pytest.approx(2 * large - small, rel=1e-12)
    if end.compared:
        q = comparison.quantities["smallest_eigenvalue"]
        row = list(q.steps).index(5)
        assert q.theory[row, 0] == lowest.value
        assert q.theory_stderr[row, 0] == end.stderr > 0
        np.testing.assert_array_equal(q.runs[0][:, row, 0], runs[0].hessian[5].smallest[:, 0])


@pytest.mark.slow
def test_hessians_only_where_all_recorded_them(trajectory, runs):
    other = simulate(d=150, hessian_steps=(5,))
    result = compare(trajectory, [runs[0], other], quantities=["smallest_eigenvalue"])
    assert [entry.step for entry in result.hessian] == [5]
    assert set(result.quantities) <= {"smallest_eigenvalue"}
    without = compare(trajectory, [runs[0], simulate(d=150)])
    assert without.hessian == ()
    assert "smallest_eigenvalue" not in without.quantities


@pytest.mark.slow
def test_degenerate_outliers_are_compared_by_their_mean():
    """By symmetry z1 + z2 and z1 - z2 give the same outlier; the smaller of two is biased."""
    method = GradientDescent(0.2, 8)
    theory = dmft.solve(PRODUCT, 8.0, method, SAMPLING)
    settings = {"delta": 8.0, "method": method, "hessian_steps": (8,)}
    runs = [simulate(PRODUCT, d=d, n_extreme=2, seeds=8, **settings) for d in (150, 300)]
    result = compare(theory, runs, quantities=["smallest_eigenvalue", "hard_overlap"])
    (found,) = result.hessian
    assert found.kind == "hard outlier"
    assert found.count == 2
    assert found.compared
    assert not result.significant
    np.testing.assert_array_equal(
        result.quantities["smallest_eigenvalue"].runs[0][:, 0, 0],
        runs[0].hessian[8].smallest.mean(axis=1),
    )
    one = [simulate(PRODUCT, d=d, n_extreme=1, seeds=8, **settings) for d in (150, 300)]
    (refused,) = compare(theory, one, quantities=["smallest_eigenvalue"]).hessian
    assert not refused.compared
    assert "n_extreme = 2" in refused.note
    # The smallest by itself is too low by half the distance of the two, beyond its error.
    smallest = runs[1].hessian[8].smallest
    error = smallest.mean(axis=1).std(ddof=1) / np.sqrt(8)
    assert (smallest.mean(axis=1) - smallest[:, 0]).mean() > 2 * error


def test_edge_of_the_bulk_with_tracy_widom_shift():
    """Linear regression has the Hessian of Marchenko and Pastur at every step."""
    problem = Problem("linear", Network("linear"))
    theory = dmft.solve(problem, 4.0, METHOD, SAMPLING)
    runs = [
        simulate(problem, d=d, delta=4.0, hold_hard=False, hessian_steps=(2,), seeds=12)
        for d in (100, 200)
    ]
    result = compare(theory, runs, quantities=["smallest_eigenvalue", "hard_overlap"])
    (found,) = result.hessian
    assert found.kind == "edge"
    assert found.value == pytest.approx(0.25, abs=1e-9)
    assert "Tracy-Widom" in found.note
    assert np.isnan(found.overlap)
    assert "hard_overlap" not in result.quantities
    assert not result.significant
    shift = -TRACY_WIDOM_MEAN * airy_scale(theory.hessian(2), 100)[0]
    q = result.quantities["smallest_eigenvalue"]
    np.testing.assert_allclose(q.runs[0][:, 0, 0], runs[0].hessian[2].smallest[:, 0] - shift)
    spread = runs[0].hessian[2].smallest[:, 0].std(ddof=1) / np.sqrt(12)
    assert shift > 3 * spread  # without it the comparison would fail


@pytest.mark.slow
def test_bulk_that_is_unbounded_below_is_that_of_n_weights():
    problem = Problem("phase-retrieval", Network("quadratic"), "square")
    theory = dmft.solve(problem, DELTA, GradientDescent(0.01, 0), SAMPLING)
    settings = {"method": GradientDescent(0.01, 0), "hessian_steps": (0,), "seeds": 12}
    runs = [simulate(problem, d=d, **settings) for d in (100, 200)]
    result = compare(theory, runs)
    (found,) = result.hessian
    assert (found.kind, found.law, found.compared) == ("hard outlier", "n weights", True)
    assert (found.edge, found.reach) == (-np.inf, np.inf)
    assert not result.significant
    assert "no edge in the limit" in " ".join(result.table().split())
    assert json.loads(result.to_json())["hessian"][0]["edge"] is None
    # The theory is that of the largest size; what the other one differs by is taken off its runs.
    laws = [finite_law(theory, 0, d).lowest()[0] for d in (100, 200)]
    assert found.value == laws[1].mean()
    smallest = [run.hessian[0].smallest[:, 0].mean() for run in runs]
    shifted = smallest[0] - laws[0].mean() + laws[1].mean()
    assert found.simulated == pytest.approx(2 * smallest[1] - shifted, rel=1e-12)
    errors = [law.std(ddof=1) / np.sqrt(len(law)) for law in laws]
    assert found.stderr == pytest.approx(np.hypot(errors[0], 2 * errors[1]), rel=1e-12)


def test_further_paths_that_fail_are_a_status(trajectory, runs, monkeypatch):
    def fails(*_, **__):
        raise NumericalFailure(Status.OUT_OF_MEMORY, "of further paths")

    monkeypatch.setattr("dmft.trajectory.solving.solve", fails)
    monkeypatch.setattr("dmft.trajectory.finite_law.DRAWS", (512, 512))  # more than there are for
    result = compare(trajectory, runs)
    assert [found.status for found in result.hessian] == [Status.OUT_OF_MEMORY] * 2
    assert result.status is Status.OUT_OF_MEMORY
    assert "smallest_eigenvalue" not in result.quantities
    assert "overlap" in result.quantities
    assert "not compared: OUT_OF_MEMORY" in result.table()

    monkeypatch.setattr(type(trajectory), "hessian", fails)
    first, _ = compare(trajectory, runs).hessian
    assert (first.kind, first.compared, first.status) == ("none", False, Status.OUT_OF_MEMORY)
    assert first.simulated == result.hessian[0].simulated


@pytest.fixture(scope="module")
def initial_law():
    """One hard outlier on the left, overlap above one half."""
    theory = dmft.solve(RETRIEVAL, DELTA, GradientDescent(0.1, 0), SAMPLING)
    return theory.hessian(0)


def recorded(values, overlaps, d=1000):
    record = SimpleNamespace(
        smallest=np.asarray(values, dtype=float), overlaps=np.asarray(overlaps, dtype=float)
    )
    return SimpleNamespace(d=d, hessian={0: record})


def normal(count, scale):
    """Quantiles of a normal law of standard deviation `scale`, mean exactly zero."""
    z = norm.ppf((np.arange(count) + 0.5) / count)
    return scale * z / z.std(ddof=1)


def test_an_outlier_that_a_run_cannot_tell_from_the_edge_is_not_compared(initial_law):
    (outlier,) = (o for o in initial_law.outliers("hard") if o.side == "left")
    gap = initial_law.edges().left - outlier.value
    assert gap > 0
    for spread, compared in ((gap / 1.4, False), (gap / 1.6, True), (0.0, True)):
        values = outlier.value + normal(16, 1.0)[:, None] * spread
        run = recorded(values, np.full((16, 1), outlier.hard_overlap))
        found = predict_smallest(initial_law, [run], 0)
        assert found.prediction.compared is compared, spread
        assert found.prediction.simulated == pytest.approx(outlier.value, abs=1e-12)
        assert found.prediction.simulated_overlap == pytest.approx(outlier.hard_overlap)
        assert ("from the edge" in found.prediction.note) is not compared


def test_an_outlier_not_told_from_the_edge_is_not_counted(initial_law, monkeypatch):
    (outlier,) = (o for o in initial_law.outliers("hard") if o.side == "left")
    run = recorded(outlier.value + normal(16, 0.01)[:, None], np.full((16, 1), 0.6))
    assert predict_smallest(initial_law, [run], 0).prediction.kind == "hard outlier"
    doubtful = dataclasses.replace(outlier, separated=False)
    monkeypatch.setattr(initial_law, "outliers", lambda *_, **__: [doubtful])
    found = predict_smallest(initial_law, [run], 0).prediction
    assert found.kind == "edge"
    assert found.value == initial_law.edges().left


def test_an_eigenvalue_that_did_not_converge_is_not_compared(initial_law):
    run = recorded([[-0.5], [np.nan], [-0.6]], [[0.6], [np.nan], [0.6]])
    found = predict_smallest(initial_law, [run], 0).prediction
    assert not found.compared
    assert "missing" in found.note
    assert np.isnan(found.simulated)


def test_one_seed_has_a_value_and_no_error(initial_law):
    runs = [recorded([[-0.5]], [[0.6]], d=1000), recorded([[-0.6]], [[0.7]], d=2000)]
    found = predict_smallest(initial_law, runs, 0).prediction
    assert found.simulated == pytest.approx(-0.7)
    assert found.simulated_overlap == pytest.approx(0.8)
    assert np.isnan(found.simulated_stderr)


# ------------------------------------------------------------------ words and files


def test_table(comparison):
    lines = comparison.table().splitlines()
    assert lines[0] == "easy-hard, 2 gelu neurons, pseudo-huber loss, weight decay 0.05"
    assert "delta = 6, step size 0.3, steps 0 to 5" in lines[1]
    assert "2048 paths, 8 replicates" in lines[2]
    assert "d = 100 (n = 600, 6 seeds), d = 200 (n = 1200, 6 seeds)" in lines[3]
    assert "hard components held at zero" in lines[3]
    (head,) = (i for i, line in enumerate(lines) if line.startswith("quantity"))
    body = lines[head + 1 : head + 1 + len(comparison.quantities)]
    assert [line.split("  ")[0] for line in body] == [
        QUANTITIES[name] for name in comparison.quantities
    ]
    column = lines[head].index("at  ")
    assert {line[column : column + 4] for line in body} == {"step"}
    assert lines[-1] == comparison.verdict()
    assert max(map(len, lines)) <= 115


def test_verdicts(comparison):
    q = comparison.quantities["train_loss"]

    def verdict(ratio, p):
        changed = dataclasses.replace(q, ratio=np.full_like(q.ratio, ratio), entry_p=p, joint_p=0.5)
        result = dataclasses.replace(comparison, quantities={"train_loss": changed})
        return result.compatible, result.verdict()

    fine, text = verdict(2.9, 0.1)
    assert fine
    assert text.startswith("compatible: all 6 entries within 3 standard errors (largest 2.90")
    fine, text = verdict(-3.2, 0.1)
    assert not fine
    assert text.startswith("6 of 6 entries beyond 3")
    assert "no more than chance" in text
    fine, text = verdict(9.0, 1e-6)
    assert not fine
    assert text.startswith("NOT compatible: 6 of 6 entries beyond 3 standard errors, the largest 9")
    fine, text = verdict(np.inf, 0.0)
    assert not fine
    assert "inf" in text
    assert dataclasses.replace(comparison, quantities={}).verdict() == "nothing to compare"


def test_few_seeds_are_said_to_be_few(trajectory):
    """Two seeds: beyond three standard errors is one entry in five, by Cauchy's law."""
    result = compare(trajectory, simulate(seeds=2), quantities=["train_loss"])
    q = result.quantities["train_loss"]
    np.testing.assert_allclose(q.degrees_of_freedom, 1.0, rtol=0.05)
    wide = dataclasses.replace(q, ratio=np.full_like(q.ratio, 4.0), entry_p=0.3, joint_p=0.3)
    text = dataclasses.replace(result, quantities={"train_loss": wide}).verdict()
    assert text.startswith("undecided, 2 seeds are few: 6 of 6 entries beyond 3 standard errors")
    assert "with probability 0.2, " in text  # 2/pi arctan(1/3) = 0.2048
    assert text.endswith("simulate 8 seeds or more")
    assert "no more than chance" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    "problem",
    [
        Problem("easy-hard", Network("gelu", [1.0, 0.0]), "pseudo-huber"),
        Problem("easy-hard", Network("gelu", [0.0, 0.0]), "pseudo-huber"),
        Problem(
            "easy-hard", Network("gelu", [1.0, 1.0]), "pseudo-huber", init_gram=np.ones((2, 2))
        ),
        Problem("easy-hard", Network("gelu", [1.0, 1.0]), "pseudo-huber", init_radius=0.0),
    ],
    ids=["dead neuron", "dead network", "equal neurons", "zero weights"],
)
def test_neurons_that_do_not_fluctuate(problem):
    theory = dmft.solve(problem, 4.0, GradientDescent(0.2, 2), Sampling(n_paths=256))
    runs = [
        simulate(problem, d=d, delta=4.0, method=theory.method, hessian_steps=(2,))
        for d in (60, 120)
    ]
    result = compare(theory, runs)
    assert not result.significant, result.table()
    assert np.isfinite(result.largest_ratio)
    json.loads(result.to_json())


def test_file_round_trip(comparison, tmp_path):
    comparison.save(tmp_path / "comparison")
    loaded = Comparison.load(tmp_path / "comparison.npz")
    assert loaded.table() == comparison.table()
    assert loaded.to_config() == comparison.to_config()
    assert loaded.hessian == comparison.hessian
    for name, q in comparison.quantities.items():
        for field in dataclasses.fields(q):
            before, after = getattr(q, field.name), getattr(loaded.quantities[name], field.name)
            if field.name == "runs":
                for a, b in zip(before, after, strict=True):
                    np.testing.assert_array_equal(a, b)
            else:
                np.testing.assert_array_equal(before, after)
    with pytest.raises(ValueError, match="must be a delta-nn trajectory file"):
        dmft.Trajectory.load(tmp_path / "comparison.npz")


def test_json(comparison):
    data = json.loads(comparison.to_json())
    assert data["compatible"] is comparison.compatible
    assert data["problem"]["target"]["label"] == "easy-hard"
    assert data["sizes"] == [
        {"d": 100, "n": 600, "seeds": list(range(6))},
        {"d": 200, "n": 1200, "seeds": list(range(6))},
    ]
    assert data["quantities"]["norm"]["entries"] == 18
    assert data["verdict"] == comparison.verdict()


# ------------------------------------------------------------------ bad input


def test_settings_must_agree(trajectory, runs):
    small, large = runs
    replace = dataclasses.replace
    other = Problem("easy-hard", Network("tanh", [1.0, 0.8]), "pseudo-huber", weight_decay=0.05)
    for changed, message in (
        (replace(large, delta=5.0), "d = 200 has delta = 5.0, the trajectory has 6.0"),
        (replace(large, method=GradientDescent(0.3, 4)), "has n_steps = 4, the trajectory has 5"),
        (replace(large, method=GradientDescent(0.2, 5)), "has step_size = 0.2"),
        (replace(large, problem=other), "has network = .*tanh.*, the trajectory has .*gelu"),
        (replace(large, hold_hard=False), "hold_hard = False, the one at d = 100 has True"),
        (replace(large, inputs=dmft.Inputs("uniform")), "has inputs = .*uniform"),
        (replace(large, hard_overlap=np.ones((2, 1))), "has hard_overlap = "),
        (replace(large, d=100), r"distinct dimensions d, got \[100, 100\]"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            compare(trajectory, [small, changed])
        assert "\n" not in str(error.value)


def test_bad_arguments(trajectory, runs, tmp_path):
    alone = simulate(seeds=1)
    for simulations, message in (
        (None, "got NoneType"),
        ([], "got none"),
        ("x", "simulations must be a dmft.Simulation or dmft.RunData, got str"),
        (
            [runs[0], trajectory],
            "simulations must be a dmft.Simulation or dmft.RunData, got Trajectory",
        ),
        (alone, "at least two seeds"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(trajectory, simulations)
    with pytest.raises(ValueError, match=r"trajectory must be a dmft\.Trajectory, got Simulation"):
        compare(runs[0], runs[1])
    with pytest.raises(ValueError, match=r"quantities must be one of .*did you mean 'train_loss'"):
        compare(trajectory, runs, quantities=["train-los"])
    with pytest.raises(ValueError, match="quantities must be a sequence of names"):
        compare(trajectory, runs, quantities="norm")
    custom = Problem(Target(lambda z, eps: z[:, 0]), Network("linear"))
    dmft.solve(custom, 3.0, GradientDescent(0.1, 1), SAMPLING).save(tmp_path / "custom")
    unknown = dmft.Trajectory.load(tmp_path / "custom.npz")
    with pytest.raises(ValueError, match="trajectory must know its problem"):
        compare(unknown, runs)


def test_an_imposed_overlap_is_for_both(trajectory, runs):
    started = [dataclasses.replace(run, hard_overlap=np.ones((2, 1))) for run in runs]
    with pytest.raises(ValueError, match="hard_overlap that the trajectory lacks"):
        compare(trajectory, started)


@pytest.mark.simulation
def test_theory_and_simulation_from_the_same_overlap():
    """Mirrored paths in the theory, an imposed overlap in the runs: the same problem."""
    problem = RETRIEVAL.with_hard_overlap(0.3)
    method = GradientDescent(0.2, 6)
    theory = dmft.solve(problem, 6.0, method, SAMPLING)
    free = [dmft.simulate(problem, 6.0, method, d, 8, workers=1) for d in (150, 300)]
    result = compare(theory, free)
    assert not result.significant, result.table()
    assert "norm" in result.quantities


@pytest.mark.slow
def test_together_more_than_chance_is_not_called_compatible(trajectory, runs):
    result = compare(trajectory, runs)
    small = {
        name: dataclasses.replace(q, ratio=np.clip(q.ratio, -2.9, 2.9), entry_p=1.0, joint_p=1.0)
        for name, q in result.quantities.items()
    }
    verdict = dataclasses.replace(result, quantities=small).verdict()
    assert verdict.startswith("compatible: all")
    small["norm"] = dataclasses.replace(small["norm"], joint_p=1e-6)
    verdict = dataclasses.replace(result, quantities=small).verdict()
    assert verdict.startswith("NOT compatible: all")
    assert "together more than chance gives" in verdict
