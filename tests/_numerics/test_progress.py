"""Progress: fractions add up, lines say what is left, a bar is there where it is asked for."""

import threading

import numpy as np
import pytest

import dmft
from dmft._numerics.progress import ProgressBar, ProgressLines, duration, in_parts, shown_progress

PROBLEM = dmft.Problem("phase-retrieval", dmft.Network("quadratic"), "pseudo-huber")
METHOD = dmft.GradientDescent(0.2, 3)
SAMPLING = dmft.Sampling(n_paths=64, replicates=2)


class Fractions(list):
    """Takes fractions of a step."""

    takes_fractions = True
    __call__ = list.append


def test_fractions_of_a_search_are_its_evaluations():
    fractions, whole = Fractions(), []
    found = [
        dmft.find_delta_nn(PROBLEM, METHOD, (1, 12), sampling=SAMPLING, progress=progress)
        for progress in (fractions, whole.append)
    ]
    assert len(fractions) > found[0].n_evaluations  # within a solve, too
    assert min(fractions) >= 0.0
    assert sum(fractions) == pytest.approx(found[0].n_evaluations, rel=1e-12)
    assert whole == [1] * found[1].n_evaluations


def test_parts_from_several_threads_are_one_step():
    taken = Fractions()
    with in_parts(taken, 100) as advance:
        threads = [threading.Thread(target=lambda: [advance(1) for _ in range(60)]) for _ in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(taken) == pytest.approx(1.0, rel=1e-12)  # 120 of 100 are not more than all
    steps = []
    with in_parts(steps.append, 100) as advance:
        assert advance is None
    assert steps == [1]


def test_lines_say_how_much_is_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    lines = []
    advance = ProgressLines(lines.append, 10, "solves")
    for now[0] in (30.0, 61.0, 100.0, 125.0):
        advance(1.5)
    advance.expect(4, 7200.0, "8 x 65536 paths")
    now[0] = 305.0
    advance(1)
    assert lines == [
        "3 of 10 solves, about 2 min left",  # 61 s for three, 142 s for seven
        "6 of 10 solves, about 83 s left",
        "8 x 65536 paths, about 2.0 h: 1 of 4 solves, about 9 min left",
    ]


def test_the_first_caller_says_the_total_of_all(capsys):
    """A command tells no total of its own: that of the computation is the one."""
    lines = []
    advance = ProgressLines(lines.append, seconds=0.0)
    axis = dmft.StepSizes([0.2, 0.4], 0.4, compare_fresh=False)
    found = dmft.algorithmic_gap(
        "phase-retrieval", {"r^2": PROBLEM}, (0.5, 4), method=METHOD, sampling=SAMPLING,
        steps=[0, 1], step_axis=axis, points=4, n_points=2**16, progress=advance,
    )  # fmt: skip
    assert found.curves
    # A curve that begins with 4 points, two thresholds with 9; each search adds five, roughly.
    assert lines[0].endswith("of 37 values of delta")
    advance = ProgressLines(lines.append, 2, "seeds")
    advance.announce(5, "steps")
    advance(1)
    assert advance._total == 2


def test_a_bar_goes_on_beyond_its_total():
    class Tqdm:
        def __init__(self, total, **options):
            self.total, self.n, self.closed = total, 0.0, False
            self.text = options["bar_format"]

        def update(self, count):
            self.n += count

        def close(self):
            self.closed = True

    with ProgressBar(Tqdm, 2, "steps") as bar:
        for _ in range(3):
            bar(1)
    assert (bar._bar.total, bar._bar.n, bar._bar.closed) == (3.0, 3.0, True)


def test_true_asks_for_a_bar(capsys):
    trajectory = dmft.solve(PROBLEM, 3.0, METHOD, SAMPLING, progress=True)
    shown = capsys.readouterr().err
    assert "9/9 steps" in shown
    plain = dmft.solve(PROBLEM, 3.0, METHOD, SAMPLING)
    np.testing.assert_array_equal(trajectory.norm, plain.norm)
    with shown_progress(None, 3, "steps") as progress:
        assert progress is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (89.0, "89 s"), (91.0, "2 min"), (5401.0, "1.5 h")]
)
def test_durations_are_written_in_their_unit(seconds, text):
    assert duration(seconds) == text
