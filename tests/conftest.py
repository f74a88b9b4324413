"""Fixtures that tests of several rooms share."""

from contextlib import contextmanager

import pytest

from rmt import real_branch


@pytest.fixture
def cut_short(monkeypatch):
    """Context in which no edge converges: iterations along a real branch end after one step.

    Laws that are computed far away, by a search or a command, take no argument for it.
    """

    @contextmanager
    def context():
        with monkeypatch.context() as patched:
            patched.setattr(real_branch, "MAX_STEPS", 1)
            yield

    return context


@pytest.fixture
def too_few_steps(cut_short):
    """No edge converges throughout the test."""
    with cut_short():
        yield
