"""Options of gradient descent in thresholds, studies and their files."""

import dataclasses

import numpy as np
import pytest
from algorithm_options import GELU, OPTIONS, PAIR, SAMPLING, bits, method_with

import dmft


@pytest.mark.slow
@pytest.mark.parametrize("name", ["batches", "all"])
def test_threshold_and_curve_agree(name):
    method = method_with(name, 4)
    sampling = dmft.Sampling(n_paths=512)
    curve = dmft.delta_nn_curve(GELU, method, (1.2, 8), sampling=sampling, points=6)
    assert np.array_equal(curve.times, method.times)
    one = dmft.find_delta_nn(GELU, method, (1.2, 8), step=4, sampling=sampling, scan_points=5)
    assert abs(one.value - curve.value[-1]) < one.stderr + 1e-3
    spectrum = dmft.spectrum(dmft.solve(GELU, 4.0, method, sampling), 4)
    assert spectrum.config["method"] == method.to_config()


def test_grokking_is_for_plain_descent():
    for name in OPTIONS:
        with pytest.raises(ValueError, match="method must be full-batch gradient descent"):
            dmft.predict_grokking(GELU, 6.0, method_with(name), 100)


def test_a_sweep_follows_its_schedule():
    method = method_with("schedule", 4)
    result = dmft.sweep(GELU, [2.0, 6.0], method, d=30, seeds=2, workers=1)
    assert result.config["method"] == method.to_config()
    assert np.isfinite(result.train_loss).all()


@pytest.mark.slow
def test_results_are_stored_with_the_method(tmp_path):
    method = method_with("all", 4)
    trajectory = dmft.solve(PAIR, 3.0, method, SAMPLING)
    trajectory.save(tmp_path / "trajectory")
    loaded = dmft.Trajectory.load(tmp_path / "trajectory.npz")
    assert loaded.method == method
    assert bits(loaded) == bits(trajectory)
    simulation = dmft.simulate(PAIR, 3.0, method, 30, 2, workers=1, checkpoint=tmp_path / "seeds")
    simulation.save(tmp_path / "simulation")
    for again in (
        dmft.Simulation.load(tmp_path / "simulation.npz"),
        dmft.simulate(PAIR, 3.0, method, 30, 2, workers=1, checkpoint=tmp_path / "seeds"),
    ):
        assert again.method == method
        assert np.array_equal(again.second_layer, simulation.second_layer)
    comparison = dmft.compare(trajectory, simulation)
    comparison.save(tmp_path / "comparison")
    text = dmft.Comparison.load(tmp_path / "comparison.npz").table()
    assert "batches of 0.4 n, momentum 0.7, second layer warm-up" in text
    other = dataclasses.replace(method, momentum=0.0)
    with pytest.raises(ValueError, match="momentum"):
        dmft.compare(dmft.solve(PAIR, 3.0, other, SAMPLING), simulation)
