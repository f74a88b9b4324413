"""The bias of finitely many paths, and the time at which parts of them show it."""

import numpy as np
import pytest

import dmft
from dmft.hessian.gap_samples import sample_gap
from dmft.threshold.onset import bias_by_onset, step_of_onset

TIMES = np.geomspace(1.0, 1000.0, 40)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_a_function_of_time_over_paths_is_found_again(power):
    def of(n_paths):
        return (TIMES / n_paths) ** power

    found = bias_by_onset(TIMES, of(100), 8)
    late = TIMES > 20.0  # before that the time t/R lies before the first step
    np.testing.assert_allclose(found[late], of(800)[late], rtol=0.03)


def test_a_bias_of_second_order_that_stands_still_is_counted():
    assert bias_by_onset(TIMES, np.where(TIMES < 500, 0.0, 0.64), 8)[-1] == pytest.approx(0.01)


def test_unknown_differences_have_no_bias_and_do_not_spoil_the_others():
    differences = np.where(TIMES > 100, np.nan, 0.1)
    found = bias_by_onset(TIMES, differences, 8)
    assert np.isnan(found[TIMES > 100]).all()
    np.testing.assert_allclose(found[(TIMES > 8) & (TIMES <= 100)], 0.1)
    assert np.isnan(bias_by_onset(TIMES, np.full(40, np.nan), 8)).all()


def test_the_step_of_onset_is_the_first_at_a_replicates_share_of_the_time():
    times = np.arange(41) * 0.2
    assert step_of_onset(times, 40, 8) == 5
    assert step_of_onset(times, 41 - 1, 3) == 14  # not before the time: it would miss the bias
    assert step_of_onset(times, 1, 8) is None
    assert step_of_onset(np.array([0.0, 100.0]), 1, 8) is None


@pytest.mark.slow
def test_parts_of_the_paths_show_the_bias_of_all_of_them_early():
    """The gap of one GELU neuron late in a flow, on few paths, against 16 times as many.

    The value on few paths is off by several standard errors: by as much as its parts showed at an
    eighth of the time, within a factor of three, and by less than a law in 1/N would have it.
    """
    run, times = dmft.load_preset("robust-phase-retrieval-gelu"), [0.0, 12.5, 25.0, 100.0, 200.0]
    flow = dmft.GradientFlow(200.0, times=times)

    def gaps(n_paths, seed):
        sampling = dmft.Sampling(n_paths=n_paths, replicates=8, seed=seed, rank_tolerance=1e-6)
        trajectory = dmft.solve(run.problem, 10.0, flow, sampling, hessian_steps=[2, 4])
        return np.array([sample_gap(trajectory.hessian(step)).gap for step in (2, 4)])

    few = np.array([gaps(512, seed) for seed in range(4)])
    many = gaps(8192, 0)
    bias = few[:, 1, 0].mean() - many[1, 0]
    shown = (few[:, 0, 1:].mean(axis=1) - few[:, 0, 0]).mean()
    at_the_end = (few[:, 1, 1:].mean(axis=1) - few[:, 1, 0]).mean()
    error = few[:, 1, 0].std(ddof=1) / 2
    assert bias > 3 * error
    assert shown < bias + 3 * error
    assert bias - 3 * error < 3 * shown
    assert at_the_end / 7 > bias
