"""The statistics of ``dmft.comparison.agreement`` in the form the tests of the theory ask for."""

from __future__ import annotations

import numpy as np

from dmft.comparison.agreement import measure_agreement


def compare(runs, theory, theory_error, more=None, more_scale=1.0, theory_freedom=7, floor=1e-10):
    """Compare the mean of ``runs`` (S, ...) with ``theory`` (...), without extrapolation.

    ``more`` (S', ...): further runs, used for the variance only; ``more_scale`` is the factor from
    their variance to that of ``runs``, a ratio of dimensions.
    """
    unit = 10**6
    return measure_agreement(
        [runs],
        [unit],
        theory,
        theory_error,
        theory_freedom=theory_freedom,
        variance_only=[] if more is None else [(more, round(unit * more_scale))],
        floor=floor,
    )


def lower_triangle(array):
    """Entries t >= s of an array (..., T+1, T+1, m, m) as (..., pairs, m, m): each pair once."""
    size = array.shape[-4]
    rows, columns = np.tril_indices(size)
    return array[..., rows, columns, :, :]


def diagonal(array):
    """Equal-time entries of an array (..., T+1, T+1, m, m): (..., T+1, m, m)."""
    steps = np.arange(array.shape[-4])
    return array[..., steps, steps, :, :]
