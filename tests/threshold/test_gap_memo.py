"""The gap at a delta, asked for at other steps: one folder of solves serves several searches."""

import numpy as np
import pytest

import dmft
from dmft._numerics.execution import Execution
from dmft.threshold.gap_memo import GapMemo

METHOD = dmft.GradientDescent(0.2, 3)
SAMPLING = dmft.Sampling(n_paths=64, replicates=2)
DELTA = 2.0


def memo(folder=None, loss="pseudo-huber", step_size=0.2):
    problem = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), loss)
    method = dmft.GradientDescent(step_size, METHOD.n_steps)
    return GapMemo(problem, method, SAMPLING, Execution(checkpoint=folder))


def gaps(found):
    return {step: entry.sample.gap.tolist() for step, entry in found.items()}


def test_other_steps_of_a_delta_are_added_and_have_the_same_bits(tmp_path):
    whole = gaps(memo().evaluate(DELTA, [1, 2, 3]))
    first = memo(tmp_path)
    first.evaluate(DELTA, [3])
    first.evaluate(DELTA, [1])
    assert gaps(first.evaluate(DELTA, [1, 3])) == {step: whole[step] for step in (1, 3)}
    assert first.n_solves == 1
    # Another search in the same folder; solves that are there are read.
    assert gaps(memo(tmp_path).evaluate(DELTA, [1, 2])) == {step: whole[step] for step in (1, 2)}
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert len(folders) == 3
    np.testing.assert_equal(gaps(memo(tmp_path).evaluate(DELTA, [3])), {3: whole[3]})
    assert sorted(path.name for path in tmp_path.iterdir()) == folders


@pytest.mark.parametrize("changed", [{"loss": "square"}, {"step_size": 0.1}])
def test_a_folder_of_another_search_is_refused(tmp_path, changed):
    memo(tmp_path).evaluate(DELTA, [3])
    with pytest.raises(ValueError, match="checkpoint must be a folder of the same solve"):
        memo(tmp_path, **changed).evaluate(DELTA, [1, 2])


def test_what_a_solve_took_is_known_when_it_is_read_again(tmp_path):
    """A budget of seconds rests on it."""
    first = memo(tmp_path)
    first.evaluate(DELTA, [3])
    (file,) = tmp_path.glob("*/seconds.txt")
    assert float(file.read_text()) == pytest.approx(first.seconds, abs=1e-3)
    file.write_text("1000\n")
    again = memo(tmp_path)
    again.evaluate(DELTA, [3])
    assert again.seconds == 1000.0
    file.write_text("no number")
    damaged = memo(tmp_path)
    damaged.evaluate(DELTA, [3])
    assert 0.0 < damaged.seconds < 100.0
