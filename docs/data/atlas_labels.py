"""Labels of the atlas that are no entries of the catalogue: two laws of signs."""

import numpy as np


def shell(z, eps):
    """Return +1 outside the median of |z|, -1 inside: a sign label of one hard direction."""
    return np.where(np.abs(z[:, 0]) > 0.6744897501960817, 1.0, -1.0)


def parity(z, eps):
    """Return sign(z1 z2): both directions are hard."""
    return np.where(z[:, 0] * z[:, 1] > 0.0, 1.0, -1.0)
