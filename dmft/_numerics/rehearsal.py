"""Calls of the kernels of a threshold, on one path: they are then compiled, and kept on disk.

Run as a module by a second process, while the first one compiles `step_kernel`
(``rmt._ahead``). The order is that in which both save each other most: what is called inside
`step_kernel` as well comes first.
"""

from __future__ import annotations

import numpy as np

__all__ = ["rehearse"]


def rehearse() -> None:
    """Call every kernel that solves and gaps of one neuron call, but `step_kernel`."""
    from dmft._numerics import kernels
    from rmt._packing import LANES
    from rmt._packing import kernels as kernels_of_laws

    zero, zeros, first = np.zeros((1, 1)), np.zeros(1), np.zeros(1, dtype=np.intp)
    law = kernels.Law(np.ones(1), np.empty(0), kernels.QUADRATIC, kernels.SQUARE, 0.0)
    kernels.average_kernel(zero, zero, 1, zero)
    innovation = kernels.Innovation(zero, zero, zeros)
    kernels.innovation_kernel(kernels.Predictor(zero, first, zero, zero), zero, innovation)
    kernels.remove_kernel(zero, zero, 1, zero, zero, zero, 1, zero)
    samples = kernels.Samples(zeros, law, np.inf, np.empty(0))
    point = kernels.Point(zero, zero, zeros, np.zeros(4))
    kernels.recycled_kernel(zero, zero, 1, samples, zero, zero, 1, point, zero, zero)
    nothing = np.empty((0, 0))
    update = kernels.BasisUpdate(zero, first, nothing, nothing, first, 1)
    kernels.write_kernel(update, zero, 1, zero)
    kernels.curvature_kernel(zero, zeros, law, np.empty((1, 1, 1)))
    lanes, laws = np.ones(LANES), kernels_of_laws()
    laws.scalar_sums(1.0, lanes, lanes, lanes, np.empty(3))
    laws.weighted_sum(lanes, lanes[np.newaxis], np.empty(1))


if __name__ == "__main__":
    rehearse()
