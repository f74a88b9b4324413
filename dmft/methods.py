"""The algorithms whose limit can be computed."""

from __future__ import annotations

from typing import Any

from dmft.gradient_descent import GradientDescent
from dmft.gradient_flow import GradientFlow

__all__ = ["METHODS", "Method", "method_from_config"]

Method = GradientDescent | GradientFlow
METHODS = (GradientDescent, GradientFlow)


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
    kind = GradientFlow if "t_max" in config else GradientDescent
    return kind.from_config(config)
