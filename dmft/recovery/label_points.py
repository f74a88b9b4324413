"""Points of the joint law of label and latent coordinates, for spectral methods of `rmt`."""

from __future__ import annotations

import numpy as np

from dmft._numerics.machine_memory import available_memory, check_fits
from dmft._numerics.sampling import Sampling, cubature_normals, power_of_two
from dmft._numerics.validation import check_instance, check_integer
from dmft.model.target import Target
from rmt.label_law import LabelLaw

__all__ = ["label_law"]


def label_law(
    target: Target | str, *, n_points: int = 2**18, replicates: int = 8, seed: int = 0
) -> LabelLaw:
    """Draw the joint law of the label and the latent coordinates of a target, for `rmt`.

    Parameters
    ----------
    target : Target or str
        The label, or its name in the catalogue, of Gaussian latents; or the target of a problem,
        whose latents have the law of its inputs.
    n_points : int
        Of all replicates together; rounded up to a power of two for each.
    replicates : int
        Independent Sobol sets, which give the error bars.
    seed : int

    Returns
    -------
    rmt.LabelLaw

    Raises
    ------
    ValueError
        If an argument is not allowed, or the points do not fit in memory.

    Examples
    --------
    The lowest threshold of a spectral method for z_1 z_2 is that of the best algorithms:

    >>> import dmft
    >>> import rmt
    >>> law = dmft.label_law("product", n_points=2**16)
    >>> found = rmt.spectral_threshold("optimal-scalar", law)
    >>> bool(abs(found.value - 0.59375) < 3 * found.stderr)
    True

    Under inputs of other laws points are z/s, with the scales s beside them:

    >>> heavy = dmft.Problem("modulus", inputs=dmft.Elliptical("laplace")).target
    >>> dmft.label_law(heavy, n_points=1024).scales.shape
    (1024,)
    """
    target = Target(target) if isinstance(target, str) else target
    check_instance("target", target, Target)
    inputs, k = target.inputs, target.k
    replicates = check_integer("replicates", replicates, minimum=2)
    n_points = check_integer("n_points", n_points, minimum=64 * replicates)
    # Uniform and normal points, of each replicate and together, label, mass and scale.
    n_normals = 1 + k + (0 if inputs is None else inputs.n_normals)
    check_fits("n_points", n_points, lambda n: 8.0 * 4 * (n_normals + 1) * n, available_memory())
    if inputs is None:
        return LabelLaw.from_function(
            target.sample_labels, k, n_points=n_points, replicates=replicates, seed=seed
        )
    sampling = Sampling(replicates=replicates, seed=seed)
    each = power_of_two(n_points / sampling.replicates)
    draws = [cubature_normals(sampling, i, n_normals, each) for i in range(sampling.replicates)]
    normals = np.concatenate(draws, axis=1)
    drawn = inputs.draw(np.ascontiguousarray(normals[1 : k + 1]), normals[k + 1 :])
    y = target.sample_labels(np.ascontiguousarray(drawn.z.T), normals[0], drawn.component)
    scales = drawn.scales if len(drawn.scales) else None
    return LabelLaw(y, drawn.reduced.T, scales=scales, groups=sampling.replicates)
