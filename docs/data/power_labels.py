"""Labels whose features decrease like a power law."""

import numpy as np


def power_sum(z, eps, gamma):
    """Return sum_j j^-gamma z_j^2."""
    return z**2 @ np.arange(1.0, z.shape[1] + 1.0) ** -gamma
