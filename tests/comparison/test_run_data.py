"""Runs of one's own against the theory: the same as a simulation of the same numbers."""

import numpy as np
import pytest

import dmft
from dmft import RunData

PROBLEM = dmft.Problem("easy-hard", dmft.Network("gelu", [1.0, -0.5]), "pseudo-huber")
METHOD = dmft.GradientDescent(0.2, 4)
NAMES = ("norm", "overlap", "train_loss", "test_loss", "gradient_norm")


@pytest.fixture(scope="module")
def theory():
    return dmft.solve(PROBLEM, 3.0, METHOD, dmft.Sampling(256, 4))


@pytest.fixture(scope="module")
def run():
    return dmft.simulate(PROBLEM, 3.0, METHOD, 20, 4, workers=1)


def data(run, rows=slice(None), **changes):
    arrays = {name: getattr(run, name)[:, rows] for name in NAMES[1:]}
    return RunData(run.d, **{"norm": run.correlation[:, rows], **arrays, **changes})


def test_the_numbers_of_a_simulation_give_its_comparison(theory, run):
    own = dmft.compare(theory, data(run), quantities=NAMES)
    reference = dmft.compare(theory, run, quantities=NAMES)
    for name in NAMES:
        assert np.array_equal(own.quantities[name].ratio, reference.quantities[name].ratio)
    assert np.array_equal(own.hard_rms, reference.hard_rms)
    assert np.allclose(own.hard_cosine, reference.hard_cosine, atol=1e-12)
    assert own.samples == (60,)
    assert own.notes[0] == "not measured: gradient_covariance"


def test_steps_of_ones_own(theory, run, tmp_path):
    rows = [0, 2, 3]
    own = dmft.compare(theory, data(run, rows, steps=rows), quantities=["train_loss"])
    every = dmft.compare(theory, run, quantities=["train_loss"])
    assert own.quantities["train_loss"].steps.tolist() == rows
    ratio = every.quantities["train_loss"].ratio
    assert np.array_equal(own.quantities["train_loss"].ratio, ratio[rows])
    assert np.isnan(own.hard_rms[0, 1])
    own.save(tmp_path / "a")
    assert dmft.load(tmp_path / "a") == own
    assert own.plot() is not None
    assert "steps 0 to 3" in str(own)


def test_data_beside_a_simulation_is_extrapolated(theory, run):
    runs = [run, RunData(40, run.correlation)]
    found = dmft.compare(theory, runs, quantities=["norm", "train_loss"])
    assert found.extrapolated
    assert list(found.quantities) == ["norm"]


def test_steps_after_a_divergence_are_left_out(theory, run):
    loss = run.train_loss.copy()
    loss[1, 3:] = np.inf
    found = dmft.compare(theory, RunData(20, train_loss=loss))
    assert found.last_step == 2
    assert found.status is dmft.Status.DIVERGED
    assert found.regime_end is None


def test_nan_is_that_of_a_seed_that_has_diverged():
    loss, norm = np.ones((3, 5)), np.ones((3, 5))
    loss[1, 2], norm[1, 2:] = np.inf, np.nan
    data = RunData(20, train_loss=loss, norm=norm)
    assert data.status is dmft.Status.DIVERGED
    assert data.finite_until() == 1
    loss[1, 2] = 1.0
    with pytest.raises(ValueError, match=r"^norm must have no NaN, got one of seed 1 at step 4"):
        RunData(20, train_loss=loss, norm=norm, steps=[0, 2, 4, 6, 8])


def test_seeds_that_are_one_run_are_named_and_their_p_values_agree(theory, run):
    one = np.repeat(run.train_loss[:1] + 0.1, 4, axis=0)
    found = dmft.compare(theory, RunData(20, train_loss=one))
    assert "the seeds of d = 20 are identical in all that was measured" in found.notes[1]
    loss = found.quantities["train_loss"]
    assert np.all(np.isinf(loss.ratio))
    assert (loss.entry_p, loss.joint_p, found.p_value) == (0.0, 0.0, 0.0)
    assert "NOT compatible" in found.verdict()
    # One entry that does not fluctuate is enough, whatever the others do.
    mixed = np.array(run.train_loss)
    mixed[:, 0] = 5.0
    loss = dmft.compare(theory, RunData(20, train_loss=mixed)).quantities["train_loss"]
    assert (loss.entry_p, loss.joint_p) == (0.0, 0.0)
    assert np.isfinite(loss.ratio[1:]).all()


def test_one_neuron_needs_no_axes_of_its_own():
    problem = dmft.Problem("linear", dmft.Network("linear"), "square")
    theory = dmft.solve(problem, 4.0, dmft.GradientDescent(0.1, 2), dmft.Sampling(64, 2))
    ones = np.ones((3, 3)) + 0.1 * np.arange(3)[:, np.newaxis]
    found = dmft.compare(theory, RunData(10, norm=ones, overlap=ones))
    assert found.quantities["overlap"].theory.shape == (3, 1)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "RunData must have one of norm, .*; got none"),
        ({"norm": np.ones(3)}, r"norm must have axes \(seeds, steps, m, m\), got shape \(3,\)"),
        ({"overlap": np.ones((2, 3, 1))}, "overlap must have axes"),
        ({"train_loss": np.ones((0, 3))}, "train_loss must have axes"),
        ({"train_loss": [[1.0], [2.0, 3.0]]}, "train_loss must be an array of 2 axes"),
        ({"train_loss": "low"}, "train_loss must be an array of 2 axes"),
        ({"norm": np.ma.masked_less(np.eye(2), 0.5)}, "norm must be without masked entries"),
        ({"norm": np.ones((2, 3)), "train_loss": np.ones((2, 4))}, "as many seeds and steps"),
        ({"train_loss": np.ones((2, 2)), "steps": [1, 2]}, "steps must increase from 0"),
        ({"train_loss": np.ones((2, 2)), "steps": [0, 0.5]}, "steps must be 2 whole numbers"),
        ({"train_loss": np.ones((2, 2)), "n": 0}, "n must be"),
        ({"train_loss": np.ones((2, 2)), "inputs": "cauchy"}, "inputs must be"),
        ({"train_loss": np.ones((2, 2)), "hold_hard": 1}, "hold_hard must be True or False"),
    ],
)
def test_bad_data_is_one_line(settings, why):
    with pytest.raises(ValueError, match=why) as caught:
        RunData(20, **settings)
    assert "\n" not in str(caught.value)


def test_data_that_is_not_of_the_problem_is_refused(theory, run):
    with pytest.raises(ValueError, match=r"^norm of the data at d = 20 must have shape \(2, 2\)"):
        dmft.compare(theory, RunData(20, norm=np.ones((2, 3))))
    with pytest.raises(ValueError, match=r"^n of the data at d = 20 must be delta d = 60"):
        dmft.compare(theory, data(run, n=70))
    with pytest.raises(ValueError, match=r"^simulations must be of one setting; .* hold_hard"):
        dmft.compare(theory, [run, data(run, hold_hard=True)])
    with pytest.raises(ValueError, match=r"distinct dimensions d, got \[20, 20\]"):
        dmft.compare(theory, [run, data(run)])
    with pytest.raises(ValueError, match=r"must have measured what the theory has, got test_error"):
        dmft.compare(theory, RunData(20, test_error=np.ones((2, 3))))
    with pytest.raises(ValueError, match=r"a dmft.Simulation or dmft.RunData"):
        dmft.compare(theory, run.train_loss)
