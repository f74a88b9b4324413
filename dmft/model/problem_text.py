"""Text of a problem, as reports, tables and titles of figures have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dmft.model.biases import describe_neurons
from dmft.model.catalogue import law_name
from dmft.model.classification import describe_label
from dmft.model.input_laws import describe_inputs
from dmft.model.spectral_start import start_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["describe_problem"]


def describe_problem(config: Mapping[str, Any], *, inputs: bool = True) -> str:
    """Describe a problem in one line: what differs from the usual is named.

    Parameters
    ----------
    config : mapping
        As `Problem.to_config` returns it.
    inputs : bool
        Whether to name the law of the inputs, where it is no Gaussian.

    Examples
    --------
    >>> from dmft import Network, Problem
    >>> problem = Problem("phase-retrieval", Network("gelu", [1, -1]), weight_decay=0.1)
    >>> describe_problem(problem.to_config())
    'phase-retrieval, 2 gelu neurons, square loss, weight decay 0.1'
    """
    parts = [
        describe_label(config["target"]),
        describe_neurons(config["network"]),
        f"{law_name(config['loss'])} loss",
    ]
    if inputs and "inputs" in config:
        parts.append(f"{describe_inputs(config['inputs'])} inputs")
    if config["weight_decay"]:
        parts.append(f"weight decay {config['weight_decay']:g}")
    return ", ".join(parts) + start_text(config.get("spectral_start"))
