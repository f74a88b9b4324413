"""The settings that result files hold as plain types: are they what they should be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_keys
from dmft.model.inputs import Inputs
from dmft.model.problem import Problem
from dmft.model.target import Target
from dmft.training.methods import method_from_config
from rmt._validation import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["check_own_laws", "check_settings"]

_SAMPLING = tuple(Sampling().to_config())
_MAKERS: dict[str, Callable[[Any], Any]] = {
    "problem": lambda config: Problem.of_record(config, None),
    "target": Target.of_record,
    "method": method_from_config,
    "sampling": lambda config: Sampling(**check_keys("sampling", config, _SAMPLING, _SAMPLING)),
    "inputs": Inputs.from_config,
}


def check_settings(config: Mapping[str, Any], *names: str) -> None:
    """Raise unless settings are complete and allowed.

    Parameters
    ----------
    config : mapping
    *names : str
        All keys that it must have, beside a problem perhaps ``own_laws`` too; ``problem``,
        ``networks`` (problems by name), ``target``, ``method``, ``sampling`` and ``inputs`` must
        hold what these make of themselves.

    Raises
    ------
    ValueError
        If a key is missing or one too many, or a setting is not allowed or incomplete.

    Examples
    --------
    >>> check_settings({"method": {"step_size": -1.0, "n_steps": 3}}, "method")
    Traceback (most recent call last):
    ...
    ValueError: step_size must be a positive finite number, got -1.0
    """
    more = ("own_laws",) if "problem" in names else ()
    check_keys("config", config, (*names, *more), names)
    check_own_laws(config.get("own_laws"))
    for name in names:
        if name in _MAKERS:
            _check(name, config[name])
    if "networks" in names:
        for problem in dict(config["networks"]).values():
            _check("problem", problem)


def check_own_laws(values: object) -> None:
    """Raise unless values of own laws are numbers, or None."""
    if values is not None and not (
        isinstance(values, list | tuple) and values and all(type(x) is float for x in values)
    ):
        raise ValueError(f"own_laws must be a list of numbers, got {shown(values)}")


def _check(name: str, config: Any) -> None:
    made = _MAKERS[name](config)
    # None for custom laws, whose code is not in the file.
    if made is not None and json.loads(json.dumps(made.to_config())) != config:
        raise ValueError(f"the settings of {name} must be complete, got {config}")
