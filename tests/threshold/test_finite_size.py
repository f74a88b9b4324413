"""The threshold of runs of dimension d: a median over draws of n weights."""

import dataclasses

import numpy as np
import pytest

import dmft
from dmft import GradientDescent, Network, Problem, Sampling, Status
from dmft._numerics.execution import Execution
from dmft.hessian.finite_law import DrawnMedian
from dmft.threshold.finite_size import (
    FiniteSize,
    FiniteSizeMemo,
    _neighbours,
    _own_root,
    _pseudo_replicates,
)

FEW = Sampling(n_paths=256, replicates=4, seed=3)
METHOD = GradientDescent(0.05, 2)


def square(activation, **more):
    return Problem("phase-retrieval", Network(activation), "square", **more)


@pytest.mark.parametrize(
    ("activation", "d", "known"),
    [
        *(("quadratic", 500, 2.1), ("gelu", 500, 3.05)),
        *(pytest.param("quadratic", 2000, 3.5, marks=pytest.mark.slow),
          pytest.param("gelu", 2000, 5.35, marks=pytest.mark.slow)),
    ],
)  # fmt: skip
def test_square_loss_at_the_start(activation, d, known):
    """The numbers of the theory, section 4, which are known to about 5 %."""
    bracket = (0.7 * known, 2.0 * known)
    found = dmft.find_delta_nn(
        square(activation), METHOD, bracket, 0, FEW, d=d, draws=64, scan_points=4
    )
    assert found.status.ok
    assert found.draws == 64
    assert abs(found.value - known) < 3 * np.hypot(found.stderr, 0.05 * known)
    lower, upper = found.band
    assert lower < found.value - 2 * found.stderr < found.value + 2 * found.stderr < upper
    # The error of a median of so many draws with this spread.
    spread = 0.5 * (upper - lower)
    assert 0.5 < found.stderr / (1.25 * spread / found.draws**0.5) < 2.0
    assert f"delta_NN(t=0; d={d})" in str(found)


def test_the_limit_has_none_and_says_where_to_go():
    found = dmft.find_delta_nn(square("gelu"), METHOD, (1, 20), 0, FEW)
    assert found.status is Status.UNBOUNDED_EDGE
    assert "find_delta_nn(..., d=1000)" in found.detail
    assert "delta-nn threshold --d 1000" in found.detail
    assert found.d is None
    assert "of n weights;" not in str(found)


def test_bounded_weights_settle_at_the_limit():
    """r^2 under the pseudo-Huber loss: .92303 at step 0, approached as d grows."""
    problem = Problem("phase-retrieval", Network("quadratic"), "pseudo-huber")
    found = dmft.delta_nn_at_sizes(problem, METHOD, (0.5, 2), [200, 4000], 0, FEW, draws=64)
    assert found.limit.value == pytest.approx(0.92303, abs=2e-5)
    assert found.status.ok
    assert not found.drifts
    assert abs(found.value[1] - 0.92303) < 3 * found.stderr[1] < 0.05
    widths = found.upper - found.lower
    assert 2.0 < widths[0] / widths[1] < 10.0  # d^(-1/2) would be 4.5


def test_a_failure_of_the_limit_is_one_of_the_whole():
    problem = Problem("phase-retrieval", Network("quadratic"), "pseudo-huber")
    found = dmft.delta_nn_at_sizes(problem, METHOD, (0.95, 4), [200], 0, FEW, draws=8)
    assert found.limit.status is Status.NO_BRACKET  # it is .923
    assert not found.status.ok


def memo(d, sampling=FEW, draws=8, problem=None, highest=8.0, threads=None):
    problem = square("gelu") if problem is None else problem
    size = FiniteSize(d, draws, highest)
    return FiniteSizeMemo(size, problem, METHOD, sampling, Execution(threads=threads))


@pytest.mark.parametrize("step", [0, 2])
def test_the_gap_is_continuous_in_delta(step):
    """One more weight would be a jump: next to a number of the grid, and far from any."""
    gaps = memo(100)
    on_grid = _neighbours(400.0)[1] / 100
    for delta in (on_grid, 3.333):
        near = [gaps.evaluate(delta * (1 + e), [step])[step].sample for e in (-1e-9, 1e-9)]
        assert near[0].gap == pytest.approx(near[1].gap, rel=1e-6)
        assert near[0].edge == pytest.approx(near[1].edge, rel=1e-6)
    further = gaps.evaluate(1.02 * on_grid, [step])[step].sample.gap[0]
    assert 1e-4 < abs(further - near[0].gap[0]) < 1.0


def test_neighbours_of_n():
    assert _neighbours(7.9)[:2] == (7, 8)
    for n in np.geomspace(10, 1e7, 97):
        below, above, weight = _neighbours(n)
        assert below <= n < above
        assert np.log(n / below) == pytest.approx(weight * np.log(above / below))
        assert above <= 1.2 * below + 1


def test_draws_come_from_paths_and_then_from_further_solves():
    """1024 paths: 4 draws of 200 in each solve; the same again, on any number of threads."""
    first, again = memo(25, draws=8), memo(25, draws=8, threads=2)
    one, two = (m.evaluate(4.0, [1, 2]) for m in (first, again))
    for step in (1, 2):
        np.testing.assert_array_equal(one[step].sample.gap, two[step].sample.gap)
        assert len(first._drawn[4.0][step]) == 8
        assert len(np.unique(first._drawn[4.0][step])) == 8
    assert memo(25, draws=None).draws(2) == 8
    assert memo(5, draws=None).draws(2) == 24  # 1024 // 41, a multiple of the replicates
    assert memo(25, draws=None).draws(0) == 256
    assert memo(25, draws=9).draws(2) == 12


def test_draws_are_those_of_the_law_of_n_weights():
    """At the root of the threshold the gap of `Trajectory.hessian` is zero, with other draws."""
    problem = square("quadratic")
    found = dmft.find_delta_nn(problem, METHOD, (1, 6), 2, FEW, d=150, draws=16, scan_points=4)
    law = dmft.solve(problem, found.value, METHOD, FEW).hessian(2, d=150, draws=32)
    gap = law.gap
    nearest = np.argmin(np.abs(found.delta - found.value))
    assert abs(gap.value) < 3.5 * np.hypot(gap.stderr, found.gap_stderr[nearest])


def test_a_later_outlier_of_runs():
    """The second hard outlier takes more samples than the first, at a dimension d as well."""
    network = Network("quadratic", [0.5, -0.5])
    problem = Problem("product", network, "pseudo-huber")
    first, second = (
        dmft.find_delta_nn(
            problem, METHOD, (0.5, 20), 0, FEW, d=100, draws=8, scan_points=4, index=index
        )
        for index in (1, 2)
    )
    assert first.value < second.value
    assert second.which.index == 2
    assert (first.d, second.d) == (100, 100)


def test_pseudo_replicates_have_the_error_of_the_median():
    values = np.random.default_rng(1).standard_normal(64) ** 2
    rows = _pseudo_replicates(values, 8)
    assert rows[0] == np.median(values) == pytest.approx(rows[1:].mean())
    error = rows[1:].std(ddof=1) / 8**0.5
    assert error == pytest.approx(DrawnMedian.of(values).stderr)
    np.testing.assert_array_equal(_pseudo_replicates(np.full(8, 0.5), 4), np.full(5, 0.5))


def test_thresholds_of_single_draws():
    x = np.array([0.0, 1.0, 2.0, 3.0])
    assert _own_root(x, np.array([1.0, -1.0, 1.0, -3.0])) == pytest.approx(2.25)
    assert _own_root(x, np.array([1.0, 0.5, 0.2, 0.1])) == np.inf
    assert _own_root(x, np.array([-1.0, -0.5, -0.2, -0.1])) == -np.inf


@pytest.mark.slow
def test_curve_of_runs():
    curve = dmft.delta_nn_curve(
        square("quadratic"), METHOD, (0.4, 8), [0, 2], FEW, points=5, max_solves=6, d=60, draws=8
    )
    assert (curve.d, curve.draws) == (60, 8)
    assert np.isfinite(curve.value).all()
    assert np.all(curve.bias == 0.0)
    assert curve.band.shape == (2, 2)
    assert np.all(curve.band[0] <= curve.value)
    assert np.all(curve.value <= curve.band[1])
    assert "d = 60, 8 draws" in str(curve)


def test_steps_that_no_run_reaches_have_no_band():
    method = GradientDescent(3.0, 3)
    curve = dmft.delta_nn_curve(
        square("quadratic"), method, (1, 8), [0, 3], Sampling(64, 2), points=4, max_solves=4,
        d=60, draws=2,
    )  # fmt: skip
    assert curve.statuses[1] is Status.DIVERGED
    assert np.isnan(curve.band[:, 1]).all()


@pytest.mark.slow
def test_a_search_goes_on_where_it_was_stopped(tmp_path):
    def search(folder):
        return dmft.find_delta_nn(
            square("gelu"), METHOD, (2, 8), 2, FEW, d=60, draws=12, scan_points=3,
            checkpoint=folder,
        )  # fmt: skip

    first = search(tmp_path)
    assert sorted(path.name for path in next(tmp_path.glob("delta-2.0")).glob("draws-*"))
    assert search(tmp_path) == first == search(None)


def test_bad_input():
    fresh = GradientDescent(0.05, 2, fresh_batches=True)
    search = {"problem": square("gelu"), "method": METHOD, "bracket": (1, 8), "step": 0}
    for settings, message in (
        ({"d": 9}, r"d must give n = delta d >= 10 samples .* got d = 9, so n = 9 at delta = 1"),
        ({"d": 0}, "d must be an integer >= 1"),
        ({"d": 100, "draws": 1}, "draws must be an integer >= 2"),
        ({"draws": 8}, "draws must come with a dimension d"),
        ({"d": 100, "rtol": 0.1}, "rtol must not come with d"),
        ({"d": 100, "digits": 8}, "digits must not come with d"),
        ({"d": 100, "method": fresh}, "d must not come with fresh_batches"),
        ({"d": 10**18}, "d "),
    ):
        with pytest.raises(ValueError, match=message):
            dmft.find_delta_nn(**{**search, **settings})
    for d, message in ((100, "d must be a list"), ([], "at least one"), ([5], "n = delta d")):
        with pytest.raises(ValueError, match=message):
            dmft.delta_nn_at_sizes(square("gelu"), METHOD, (1, 8), d)
    two = dataclasses.replace(square("gelu"), network=Network("gelu", [1.0, 1.0]))
    with pytest.raises(ValueError, match=">= 20 samples"):
        dmft.find_delta_nn(**{**search, "problem": two, "d": 15})
