r"""Neurons on spheres: each keeps its norm, in gradient descent and in gradient flow.

After a step each row :math:`j` of the weights is scaled back to the radius :math:`\rho_j` that it
started with, whatever the step was made of,

.. math:: \theta_j \leftarrow \rho_j\, \theta_j / |\theta_j|;

with small steps that is the flow along the tangent part of the gradient,

.. math:: \dot\theta_j = -\nabla_j \mathrm{Risk} + \mu_j \theta_j, \qquad
          \mu_j = \langle\theta_j, \nabla_j \mathrm{Risk}\rangle / |\theta_j|^2.

:math:`\mu_j` is the normal force that holds neuron j, and the Hessian of the risk on the spheres is
:math:`H - \mathrm{diag}(\mu) \otimes I` on the directions tangent to them, in the setting of
Montanari & Wang, arXiv:2602.01434.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_choice

if TYPE_CHECKING:
    from dmft.model.problem import Problem
    from dmft.training.methods import Method

__all__ = [
    "CONSTRAINTS",
    "Constraint",
    "check_constrained",
    "check_constraint",
    "normal_forces",
    "onto_spheres",
    "radii_of",
]

Array = NDArray[np.float64]
Constraint = Literal["sphere"]

CONSTRAINTS: Final = ("sphere",)
"""Constraints by name."""


def check_constraint(value: object) -> Constraint | None:
    """Return the constraint of a method; None for none, also by that name.

    Raises
    ------
    ValueError
        If there is none of this name.

    Examples
    --------
    >>> check_constraint("ball")
    Traceback (most recent call last):
    ...
    ValueError: constraint must be one of 'sphere' or None; got 'ball'
    """
    if value is None or value == "none":
        return None
    check_choice("constraint", value, CONSTRAINTS, also=" or None")
    return "sphere"


def check_constrained(problem: Problem, method: Method) -> None:
    """Raise unless a method can be used on a problem.

    Raises
    ------
    ValueError
        If neurons are kept on spheres and the problem has weight decay, which then means nothing,
        or a neuron of radius zero.
    """
    if method.constraint is None:
        return
    if problem.weight_decay:
        raise ValueError(
            "weight_decay must be 0 with constraint = 'sphere': decay changes the norm of a neuron "
            f"alone, which the constraint holds, got {problem.weight_decay:g}"
        )
    if not np.all(np.diag(problem.gram) > 0.0):
        raise ValueError(
            "init_radius must be above 0 for every neuron with constraint = 'sphere', got "
            f"{problem.to_config()['init_radius']}"
        )


def radii_of(problem: Problem) -> Array:
    """Return the radii of the spheres (m,), the norms of the initial neurons in the limit."""
    return np.sqrt(np.diag(problem.gram))


def onto_spheres(weights: Array, radii: Array) -> tuple[Array, float]:
    """Scale each row back to its radius; return the rows and the largest factor.

    Examples
    --------
    >>> onto_spheres(np.array([[3.0, 4.0]]), np.ones(1))
    (array([[0.6, 0.8]]), 0.2)
    """
    largest = np.abs(weights).max(axis=1)  # whose square no float may hold
    rows = weights / largest[:, np.newaxis]
    factors = radii / np.sqrt(np.sum(rows**2, axis=1))
    return rows * factors[:, np.newaxis], float((factors / largest).max())


def normal_forces(weights: Array, gradient: Array) -> Array:
    """Return mu (m,), the components of the gradient along the rows over their norms.

    Examples
    --------
    >>> normal_forces(np.array([[2.0, 0.0]]), np.array([[1.0, 5.0]]))
    array([0.5])
    """
    return np.asarray(np.sum(weights * gradient, axis=1) / np.sum(weights**2, axis=1))
