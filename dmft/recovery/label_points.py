"""Points of the joint law of label and latent coordinates, for spectral methods of `rmt`."""

from __future__ import annotations

from dmft._numerics.validation import check_instance
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
        The label, or its name in the catalogue. Latent coordinates are Gaussian.
    n_points : int
        Of all replicates together.
    replicates : int
        Independent Sobol sets, which give the error bars.
    seed : int

    Returns
    -------
    rmt.LabelLaw

    Raises
    ------
    ValueError
        If an argument is not allowed.

    Examples
    --------
    The lowest threshold of a spectral method for z_1 z_2 is that of the best algorithms:

    >>> import dmft
    >>> import rmt
    >>> law = dmft.label_law("product", n_points=2**16)
    >>> found = rmt.spectral_threshold("optimal-scalar", law)
    >>> bool(abs(found.value - 0.59375) < 3 * found.stderr)
    True
    """
    target = Target(target) if isinstance(target, str) else target
    check_instance("target", target, Target)
    return LabelLaw.from_function(
        target.sample_labels, target.k, n_points=n_points, replicates=replicates, seed=seed
    )
