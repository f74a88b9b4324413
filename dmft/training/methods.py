"""The algorithms whose limit can be computed."""

from __future__ import annotations

from typing import Any

from dmft.training.gradient_descent import GradientDescent, describe_method
from dmft.training.gradient_flow import GradientFlow

__all__ = [
    "METHODS",
    "GradientDescent",
    "GradientFlow",
    "Method",
    "describe",
    "horizon",
    "method_from_config",
]

Method = GradientDescent | GradientFlow
METHODS = (GradientDescent, GradientFlow)


def describe(method: Method) -> str:
    """Name a method in a few words.

    Examples
    --------
    >>> describe(GradientDescent(0.2, 40)), describe(GradientFlow(100.0))
    ('gradient descent, step size 0.2', 'gradient flow, tolerance 0.001')
    """
    if isinstance(method, GradientDescent):
        return f"gradient descent, {describe_method(method.to_config())}"
    where = "" if method.constraint is None else " on spheres"
    return f"gradient flow{where}, tolerance {method.tol:g}"


def horizon(config: dict[str, Any], step: int) -> str:
    """Name a step of the method with this configuration, as users count: by time in a flow.

    Examples
    --------
    >>> horizon(GradientDescent(0.2, 40).to_config(), 40)
    '40'
    >>> horizon(GradientFlow(8.0, times=[0, 8]).to_config(), 1)
    '8'
    """
    return f"{config['times'][step]:.4g}" if "times" in config else str(step)


def method_from_config(config: dict[str, Any]) -> Method:
    """Return the method described by the output of its ``to_config``.

    Raises
    ------
    ValueError
        If a key is unknown or missing, or a value is not allowed.

    Examples
    --------
    >>> method_from_config({"t_max": 0.0, "tol": 0.01})
    GradientFlow(t_max=0.0, tol=0.01, times=[0.0])
    """
    if "t_max" in config:
        return GradientFlow.from_config(config)
    return GradientDescent.from_config(config)
