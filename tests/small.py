"""Problems and solves of small size, for tests of identities rather than of accuracy."""

import numpy as np

import dmft

SAMPLING = dmft.Sampling(n_paths=1024, replicates=8)
METHOD = dmft.GradientDescent(step_size=0.2, n_steps=6)
#: One hard direction.
RETRIEVAL = dmft.Problem("phase-retrieval", dmft.Network("gelu"), "pseudo-huber")


def easy_label(z, eps):
    """Return labels with one easy direction, both parities, and noise."""
    return np.tanh(z[:, 0]) + 0.5 * z[:, 0] ** 2 + 0.3 * eps


def easy_problem(m=1, **settings):
    """Return a problem of m <= 4 neurons with these labels."""
    network = dmft.Network("gelu", [1.0, -0.5, 0.7, 0.4][:m])
    return dmft.Problem(dmft.Target(easy_label), network, "pseudo-huber", **settings)


def solve(problem=RETRIEVAL, delta=4.0, method=METHOD, sampling=SAMPLING, **settings):
    """Solve on one thread, if no other number is given."""
    return dmft.solve(problem, delta, method, sampling, **{"threads": 1} | settings)
