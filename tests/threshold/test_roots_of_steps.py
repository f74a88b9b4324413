"""Roots of a curve on several numbers of paths: windows of positive gap above the root."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import brentq

import dmft
import rmt
from dmft.hessian.gap_samples import EdgeAtGap, GapSample
from dmft.threshold import gap_memo
from dmft.threshold.doubts import with_doubt
from dmft.threshold.gap_memo import Evaluation, GapValues
from dmft.threshold.paths_on_request import Scan
from dmft.threshold.roots_of_steps import LocatedStep
from dmft.threshold.step_roots import Root, StepRoots
from dmft.threshold.threshold import Crossing
from rmt.status import Status

FINE = {3.9: 0.02, 4.1: -0.02, 4.3: -0.06}
# Where the gap turns negative, and positive again in a window if that is open.
LOWER, WINDOW = 2.0, (3.6, 5.2)
N_STEPS = 12


def memo(gaps, spread, n_paths):
    """Return a memo with gaps at deltas, whose two replicates differ by twice the spread."""
    found = {
        delta: Evaluation(
            GapSample(gap + spread * np.array([0.0, -1.0, 1.0]), np.zeros(3), 0.0, Status.SUCCESS)
        )
        for delta, gap in gaps.items()
    }
    values = SimpleNamespace(delta=np.array(list(gaps)), gap=np.array(list(gaps.values())))
    sampling = SimpleNamespace(n_paths=n_paths)
    return SimpleNamespace(
        samples=lambda _: (values, None, None), at=lambda _: found, sampling=sampling
    )


def located(fine):
    """Return a step with a root at 4.0, known to 0.01, on many paths."""
    crossing = Crossing(4.0, 3.9, 4.1, True, True, 0.01)
    edge = EdgeAtGap("square-root", True, np.zeros(3))
    root = Root(crossing, np.array([3.99, 4.01]), 0.0, -0.1, 0.01, edge)
    return LocatedStep(8, StepRoots(Status.SUCCESS, (root,)), fine)


@pytest.mark.parametrize(
    ("few", "doubtful"),
    [
        ({4.05: 0.01, 4.2: -0.03, 6.0: -0.3}, False),  # near the root noise decides
        ({4.8: -0.1, 6.0: -0.3}, False),
        ({4.8: 0.01, 6.0: -0.3}, True),  # positive again
        ({4.8: -0.02, 6.0: -0.3}, True),  # negative, but not beyond doubt
        ({3.0: 0.01}, False),  # below
    ],
)
def test_a_gap_that_is_not_clearly_negative_above_the_root_is_said(few, doubtful):
    fine = memo(FINE, 0.001, 8192)
    found = with_doubt(located(fine), [memo(few, 0.015, 1024), fine])
    assert found.status is (Status.MAX_STEPS if doubtful else Status.SUCCESS)
    assert found.roots.threshold.crossing.value == 4.0


@pytest.mark.parametrize(
    ("last", "replicates", "doubtful"),
    [
        (0.5, 0.0, False),  # no delta_NN on any number of paths, wherever the gap is zero below
        (0.02, 0.0, True),  # positive, but not beyond doubt
        (0.5, 0.48, True),  # as few paths have it
        (-0.5, 0.0, True),  # a root may be where the gap is in doubt
    ],
)
def test_a_gap_that_is_open_above_takes_no_more_paths(last, replicates, doubtful):
    below = (0.3, 0.001, -0.001) if last > 0.0 else (-0.2, -0.001, -0.1)
    gaps = dict(zip((1.0, 3.0, 9.0, 20.0), (*below, last), strict=True))
    found = {
        delta: Evaluation(
            GapSample(
                np.array([gap, gap + replicates - 0.01, gap + replicates + 0.01]), np.zeros(3), 0.0,
                Status.SUCCESS,
            )
        )
        for delta, gap in gaps.items()
    }  # fmt: skip
    values = GapValues(found, np.array(list(gaps.values())), np.full(len(gaps), 0.01))
    fine = SimpleNamespace(samples=lambda _: (values, None, None))
    step = LocatedStep(8, StepRoots(Status.NO_BRACKET), fine)
    assert step.is_doubtful(0.1) is doubtful
    scan = Scan(SimpleNamespace(values=lambda: values), np.nan, Status.NO_BRACKET, ())
    assert scan.is_doubtful(0.1) is doubtful


def gap(delta, height):
    """Return a gap with its sign change, and a hump in the window that ends in another one."""
    x = np.log(delta / WINDOW[0]) / np.log(WINDOW[1] / WINDOW[0])
    falls = 0.3 * np.log(LOWER / delta) if delta < WINDOW[0] else 0.3 * np.log(LOWER / WINDOW[0])
    if delta < 0.75 * WINDOW[0]:
        return falls
    hump = np.exp(-(((x - 0.5) / 0.35) ** 2))
    beyond = -0.5 * np.log(delta / WINDOW[1]) if delta > WINDOW[1] else 0.0
    return falls * (1.0 - hump) + height * hump + beyond


@pytest.fixture
def curve(monkeypatch):
    """Curves of that gap, known to 0.02 on 1024 paths, which see 0.01 less; and what was solved."""
    solved = []

    def laws(delta, height, n_paths):
        error = 0.02 * np.sqrt(1024 / n_paths)
        shifts = error * np.sqrt(8) * np.linspace(-1.5, 1.5, 8) / 1.0247
        middle = gap(delta, height) - 0.5 * error

        def law(value, replicates=()):
            return SimpleNamespace(
                replicates=replicates,
                hard_gap=lambda criterion, index: value,
                edges=lambda: SimpleNamespace(
                    left=-0.1, status=Status.SUCCESS, sides=(Status.SUCCESS, None)
                ),
                edge_kinds=lambda: (rmt.EdgeKind("square-root", 1.0, 0.0, True),) * 2,
                hard_levels=lambda _: rmt.HardLevels(
                    np.array([value]), np.zeros(1), ("square-root",), np.eye(1), np.eye(1)
                ),
                edge_sensitivity=lambda: (0.0, 0.0),
            )

        return law(middle, [law(middle + shift) for shift in shifts])

    def find(height, **settings):
        def solve_with(execution, problem, delta, method, sampling, **_):
            solved.append((sampling.n_paths, round(delta, 6)))
            return SimpleNamespace(
                n_steps=method.n_steps,
                status=Status.SUCCESS,
                hessian=lambda step, *, keep: laws(delta, height(step), sampling.n_paths),
                unstable_paths=SimpleNamespace(share_until=lambda step: 0.0),
                rank=1,
            )

        monkeypatch.setattr(gap_memo, "solve_with", solve_with)
        problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
        return dmft.delta_nn_curve(
            problem, dmft.GradientDescent(0.2, N_STEPS), (0.5, 16.0), [4, 8, N_STEPS],
            rtol=0.03, **settings,
        )  # fmt: skip

    return find, solved


def root_above(height, n_paths):
    """The root above the window as so many paths see it."""
    seen = 0.01 * np.sqrt(1024 / n_paths)
    return brentq(lambda delta: gap(delta, height) - seen, np.sqrt(WINDOW[0] * WINDOW[1]), 16.0)


@pytest.mark.parametrize("height", [-0.01, 0.01])
def test_a_sign_above_the_root_that_few_paths_do_not_tell_is_decided_on_more(curve, height):
    find, solved = curve
    result = find(lambda step: height)
    assert result.status is Status.SUCCESS
    n_paths = int(result.n_paths[0])
    if height < 0.0:
        np.testing.assert_allclose(result.value, LOWER, rtol=0.03)
        # More paths than the root has, at the one place in doubt.
        assert len([delta for n, delta in solved if n > n_paths]) == 1
    else:
        np.testing.assert_allclose(result.value, root_above(height, n_paths), atol=1e-3)
    assert np.all(result.error <= 0.03 * result.value)


@pytest.mark.parametrize(
    ("height", "settings", "status"),
    [(0.0, {}, Status.MAX_STEPS), (0.01, {"max_paths": 8192}, Status.MAX_PATHS)],
)
def test_a_sign_that_stays_in_doubt_is_said(curve, height, settings, status):
    find, _ = curve
    result = find(lambda step: height, **settings)
    assert result.statuses == (status,) * 3
    np.testing.assert_allclose(result.value, LOWER, rtol=0.03)
    assert "Near delta = 4.362 the gap is zero within its error" in result.detail
    # Its root is known as well as it is asked for.
    assert np.all(result.error <= 0.03 * result.value)


def test_a_curve_that_jumps_to_the_root_above_a_window_says_so(curve):
    find, _ = curve
    result = find(lambda step: 0.025 if step == N_STEPS else -0.03)
    np.testing.assert_allclose(result.value[:2], LOWER, rtol=0.03)
    assert result.value[2] == pytest.approx(root_above(0.025, int(result.n_paths[2])), rel=0.01)
    assert "delta_NN jumps from 1.9" in result.limit.detail
    assert "jumps" not in find(lambda step: 0.025).limit.detail
