"""Points of the spectral law at step 0, where it is no quadrature."""

import dmft
from dmft.hessian.hessian import initial_law


def test_more_paths_than_points_are_used_at_the_start():
    """Four Gaussians: scrambled Sobol points, whose error falls with the paths asked for."""
    problem = dmft.Problem(
        dmft.Target(lambda z, eps: z[:, 0] ** 2 + z[:, 1] + 0.1 * eps, k=2),
        dmft.Network("gelu"),
        "pseudo-huber",
    )
    few, many = (
        initial_law(problem, 3.0, dmft.Sampling(n_paths=n, replicates=4)) for n in (64, 2**16)
    )
    assert len(few.weights) == 4 * 2**15
    assert len(many.weights) == 4 * 2**16
