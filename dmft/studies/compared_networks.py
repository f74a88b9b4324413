"""Networks that learn one label, made of activations, losses and widths, and their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dmft._numerics.validation import check_instance, check_integer
from dmft.model.biases import describe_biases
from dmft.model.losses import get_loss
from dmft.model.network import Network
from dmft.model.problem import Problem

__all__ = ["name_networks", "named_networks", "wide_networks"]


def wide_networks(
    base: Problem,
    activations: Sequence[object] = (),
    losses: Sequence[object] = (),
    widths: Sequence[int] = (),
) -> list[Problem]:
    """Return the problems with all combinations of activation, loss and width.

    A network of width m has second layer (1/m, ..., 1/m). Its initial neurons are independent, and
    orthogonal in the limit. The gradient of each of its neurons has a factor 1/m too: in the same
    time the neurons of wider networks move less.

    Parameters
    ----------
    base : Problem
        What is not varied is as here.
    activations, losses : sequence
        Catalogue names or objects; empty: that of `base`.
    widths : sequence of int
        Numbers of neurons; empty: the second layer of `base`.

    Returns
    -------
    list of Problem
        Activations vary slowest, widths fastest.

    Raises
    ------
    ValueError
        If a name or width is not allowed, or `base` has settings for each neuron (radii,
        overlaps, a Gram matrix) and a width is another.

    Examples
    --------
    >>> base = Problem("phase-retrieval", loss="pseudo-huber")
    >>> found = wide_networks(base, ["gelu", "softplus"], widths=[1, 2])
    >>> [(problem.network.activation.name, problem.network.second_layer) for problem in found]
    [('gelu', (1.0,)), ('gelu', (0.5, 0.5)), ('softplus', (1.0,)), ('softplus', (0.5, 0.5))]
    """
    layers: list[Sequence[float]] = [base.network.second_layer]
    if len(widths):
        checked = [check_integer("widths", m, minimum=1) for m in widths]
        layers = [(1.0 / m,) * m for m in checked]
    by_neuron = (base.init_gram, base.initial_overlap)
    is_common = isinstance(base.init_radius, float) and all(given is None for given in by_neuron)
    for layer in layers:
        if len(layer) != base.m and not is_common:
            raise ValueError(
                f"widths must be the {base.m} of the problem, whose initial_overlap, init_gram or "
                f"init_radius are stated for each neuron; got {len(layer)}"
            )
    return [
        replace(
            base,
            network=Network(activation, layer, biases=base.network.to_config().get("biases")),
            loss=get_loss(loss),
        )
        for activation in (activations or [base.network.activation])
        for loss in (losses or [base.loss])
        for layer in layers
    ]


def name_networks(problems: Sequence[Problem]) -> list[str]:
    """Name problems by their activation and by what else differs from the first.

    Raises
    ------
    ValueError
        If two of them would have the same name.

    Examples
    --------
    >>> gelu, square = Network("gelu"), Network("gelu", [0.5, 0.5])
    >>> first = Problem("phase-retrieval", gelu, "pseudo-huber")
    >>> name_networks([first, Problem("phase-retrieval", square, "square")])
    ['gelu', 'gelu, 2 neurons, square']
    """
    names = [_name(problem, problems[0]) for problem in problems]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"networks must differ, or be a mapping with a name for each; {names.count(name)} "
                f"are {name!r}"
            )
    return names


def _name(problem: Problem, first: Problem) -> str:
    parts = [problem.network.activation.name]
    if problem.m != first.m:
        parts.append(f"{problem.m} neuron{'s' if problem.m > 1 else ''}")
    elif problem.network.second_layer != first.network.second_layer:
        parts.append("second layer " + " ".join(f"{a:g}" for a in problem.network.second_layer))
    if problem.network.biases != first.network.biases:
        parts.append(describe_biases(problem.network.to_config()) or "no biases")
    if problem.loss != first.loss:
        parts.append(problem.loss.name)
    if problem.weight_decay != first.weight_decay:
        parts.append(f"weight decay {problem.weight_decay:g}")
    if problem.init_radius != first.init_radius and isinstance(problem.init_radius, float):
        parts.append(f"radius {problem.init_radius:g}")
    if (law := problem.inputs) != first.inputs:
        parts.append(f"inputs {'gaussian' if law is None else law.describe()}")
    return ", ".join(parts)


def named_networks(networks: object) -> dict[str, Problem]:
    """Return the problems by name.

    Raises
    ------
    ValueError
        If they are none, no problems, or two have the same name.

    Examples
    --------
    >>> list(named_networks([Problem("phase-retrieval", Network("gelu"))]))
    ['gelu']
    """
    if isinstance(networks, Mapping):
        named = {str(name): problem for name, problem in networks.items()}
    elif isinstance(networks, Sequence) and not isinstance(networks, str):
        for problem in networks:
            check_instance("networks", problem, Problem)
        named = dict(zip(name_networks(networks), networks, strict=True)) if networks else {}
    else:
        raise ValueError(
            f"networks must be problems by name, or a list of problems, got {networks!r}"
        )
    if not named:
        raise ValueError("networks must have at least one entry, got none")
    for problem in named.values():
        check_instance("networks", problem, Problem)
    return named
