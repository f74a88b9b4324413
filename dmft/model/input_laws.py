r"""Laws of the inputs in theory and simulation: mixtures, elliptical ones, independent latents.

Inputs are :math:`x = \Theta_* z + s \cdot` (standard Gaussian on the orthogonal complement), with
any joint law of latent coordinates z, scale s > 0 and label: Gaussian mixtures (Loureiro et al.,
arXiv:2106.03791), elliptical inputs, non-Gaussian latents. The theory of Gaussian inputs holds with
:math:`\tilde z = z/s`, pre-activations :math:`r = s B q`, gradients :math:`s g` and curvatures
:math:`s^2 D` (Montanari & Wang, arXiv:2602.01434, is s = 1 and z Gaussian).

Every law is a function of standard normals, through quantiles where need be: Sobol points,
quadrature nodes and the random numbers of finite runs are drawn in one way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.validation import check_choice, check_keys
from dmft.model.gaussian_mixture import GaussianMixture
from dmft.model.independent_latents import IndependentLatents
from dmft.model.inputs import LAWS, Inputs
from dmft.model.law_sources import LawSource
from dmft.model.quantile_laws import Elliptical, Quantile, unit_interval

__all__ = ["InputLaw", "describe_inputs", "get_input_law"]

Array = NDArray[np.float64]
InputLaw = GaussianMixture | Elliptical | IndependentLatents
_KINDS: dict[str, Any] = {
    kind.law: kind for kind in (GaussianMixture, Elliptical, IndependentLatents)
}
_KEYS = {
    "gaussian-mixture": ("weights", "means", "covariances", "scales"),
    "elliptical": ("scales", "degrees_of_freedom"),
    "independent-latents": ("latents", "degrees_of_freedom"),
}


def get_input_law(
    inputs: object, *, quantile: Quantile | Sequence[Quantile] | None = None
) -> InputLaw | None:
    """Return the law of inputs given or described; None for standard Gaussian ones.

    Parameters
    ----------
    inputs : None, "gaussian", mapping, GaussianMixture, Elliptical or IndependentLatents
    quantile : callable or sequence of callable, optional
        The quantile function, where a table says it is custom; of several latent coordinates one
        for all that are, or one for each of these, in order.

    Raises
    ------
    ValueError
        If it describes no law.

    Examples
    --------
    >>> get_input_law({"law": "elliptical", "scales": "student-t", "degrees_of_freedom": 3.0})
    Elliptical(degrees_of_freedom=3.0, scales='student-t')
    >>> get_input_law("gaussian") is None
    True
    """
    if inputs is None or isinstance(inputs, InputLaw):
        return inputs
    if isinstance(inputs, str):
        inputs = {"law": inputs}
    if isinstance(inputs, Inputs):
        inputs = inputs.to_config()
    if not isinstance(inputs, Mapping):
        raise ValueError(
            "inputs must be 'gaussian', a dmft.GaussianMixture, dmft.Elliptical or "
            f"dmft.IndependentLatents, or a table of one, got {type(inputs).__name__}"
        )
    law = inputs.get("law")
    if law == "gaussian":
        check_keys("inputs", inputs, ("law",))
        return None
    if isinstance(law, str) and law in LAWS:
        raise ValueError(
            f"inputs of a problem must be 'gaussian', {', '.join(map(repr, _KINDS))}, got {law!r}: "
            "the theory does not have that law of all coordinates; simulate(inputs=...) does"
        )
    law = check_choice("inputs", law, ("gaussian", *_KINDS))
    settings = check_keys("inputs", inputs, ("law", *_KEYS[law]), required=("law",))
    del settings["law"]
    argument = getattr(_KINDS[law], "argument", None)
    if argument in settings:
        settings[argument] = _supplied(argument, settings[argument], quantile)
    for key in ("weights", "means") if law == "gaussian-mixture" else ():
        if key not in settings:
            raise ValueError(f"inputs 'gaussian-mixture' must have {key}, got {sorted(settings)}")
    found: InputLaw = _KINDS[law](**settings)
    return found


def _supplied(argument: str, entry: Any, quantile: Quantile | Sequence[Quantile] | None) -> Any:
    """Return the distribution of a table, with custom quantile functions in their places."""
    entries = entry if isinstance(entry, list | tuple) else [entry]
    custom = [one for one in entries if isinstance(one, Mapping)]
    for one in custom:
        check_keys(argument, one, ("custom", *LawSource.KEYS), required=("custom",))
    if not custom:
        return entry
    if quantile is None:
        raise ValueError(
            f"{argument} must be supplied: the configuration records only the name of a custom "
            f"quantile function, {custom[0]['custom']!r}"
        )
    given = list(quantile) if isinstance(quantile, list | tuple) else [quantile] * len(custom)
    if len(given) != len(custom):
        raise ValueError(
            f"quantile must be a function, or one for each of the {len(custom)} custom "
            f"{argument}, got {len(given)}"
        )
    rest = iter(given)
    filled = [next(rest) if isinstance(one, Mapping) else one for one in entries]
    return filled if isinstance(entry, list | tuple) else filled[0]


def describe_inputs(config: Mapping[str, Any] | None) -> str:
    """Name the law of inputs of a problem's configuration in a few words.

    Examples
    --------
    >>> describe_inputs(None), describe_inputs(IndependentLatents("uniform").to_config())
    ('gaussian', 'independent latents, uniform')
    """
    if config is None:
        return "gaussian"
    entry = config.get("scales" if config["law"] == "elliptical" else "latents")
    entries = entry if isinstance(entry, list | tuple) else [entry]
    named = [_Named(one["custom"]) for one in entries if isinstance(one, Mapping)]
    law = get_input_law(config, quantile=named or None)
    return "gaussian" if law is None else law.describe()


class _Named:
    """Stands in for a custom quantile function of which the name alone is known."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, u: Array) -> Array:
        return unit_interval(u)
