"""The run file with the options of the command line laid over its tables."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import TYPE_CHECKING, Any

from dmft._numerics.plain_data import digest
from dmft.cli.exits import UsageError
from dmft.config.overrides import LAWS, OF_PROBLEM, parse_override, parse_overrides

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from dmft.config.config import RunFile
    from dmft.config.options import Settings
    from dmft.config.run_sources import RunSource
    from dmft.training.methods import GradientDescent, Method

__all__ = [
    "bracket_of",
    "check_steps_of",
    "descent_of",
    "given",
    "needed",
    "overlaid",
    "overrides",
    "run_file",
    "run_of_horizon",
    "run_of_label",
    "run_source",
    "settings_stamp",
    "until",
    "which_of",
]

# Options of tables that mean steps of the method.
_HORIZONS = {
    "threshold": ("step",),
    "spectrum": ("step",),
    "curve": ("n_steps", "steps"),
    "cascade": ("n_steps", "steps"),
    "scaling-law": ("n_steps", "steps"),
    "algorithmic-gap": ("n_steps", "steps"),
}

# Tables of each command, besides problem, method and sampling.
_TABLES = {
    "threshold": ("threshold",),
    "curve": ("curve", "threshold"),
    "cascade": ("cascade", "curve", "threshold"),
    "scaling-law": ("scaling-law", "curve", "threshold"),
    "algorithmic-gap": ("algorithmic-gap", "curve", "threshold"),
    "trajectory": ("trajectory",),
    "spectrum": ("spectrum",),
    "simulate": ("simulation", "trajectory"),
    "compare": ("simulation", "trajectory"),
    "sweep": ("sweep", "threshold"),
    "grokking": ("grokking", "simulation", "trajectory"),
    "hardness": (),
    "erm-limit": ("trajectory",),
    "spectral-method": ("spectral-method", "trajectory"),
}
# Arguments that change nothing in a result, or are in the run file once it is read.
_NO_SETTINGS = (
    "checkpoint", "dask", "file", "flow", "force", "format", "jobs", "json", "label", "max_memory",
    "memory", "out", "preset", "require_limit", "run", "seeds", "set", "threads", "workers",
)  # fmt: skip
# Where only a label is given.
_LOSS = {"loss": "pseudo-huber"}
_METHOD = {"step_size": 0.2, "n_steps": 40}


def given(arguments: argparse.Namespace, table: str) -> dict[str, Any]:
    """Return the options of a table that were given on the command line."""
    prefix = f"{table}."
    return {
        name.removeprefix(prefix): value
        for name, value in vars(arguments).items()
        if name.startswith(prefix) and value is not None
    }


def needed(value: Any, key: str) -> Any:
    """Return a value, or complain that neither run file nor command line has it."""
    if value is None:
        from dmft.config.config import TABLES
        from dmft.config.options import declared

        table, name = key.split(".")
        metavar = declared(TABLES[table])[name][0].metavar
        option = " ".join([f"--{name}", *(metavar if isinstance(metavar, tuple) else ())])
        raise UsageError(f"{key} is not in the run file: add it, or give {option}")
    return value


def check_steps_of(stated: dict[str, Any], settings: Settings, name: str, n_steps: int) -> None:
    """Raise unless the steps of an option are in 0, ..., n_steps, as the command line has it."""
    from dmft.simulation.simulation_plan import check_steps

    value = getattr(settings, name)
    steps = value if isinstance(value, tuple) else () if value is None else (value,)
    try:
        check_steps(name, steps, n_steps)
    except ValueError as error:
        hint = "" if name in stated else f"; give --{name.replace('_', '-')}"
        raise UsageError(f"{error}{hint}") from None


def run_file(arguments: argparse.Namespace) -> RunFile:
    """Read the run file or preset, with the options of the command line."""
    from dmft.config.config import run_of

    return overlaid(arguments, run_of(run_source(arguments), overrides(arguments)))


def run_source(arguments: argparse.Namespace) -> RunSource:
    """Read the run file or preset, as it stands."""
    from dmft.config.run_sources import source_of_file, source_of_preset

    if (arguments.file is None) == (arguments.preset is None):
        how = "neither is given" if arguments.file is None else f"not both {arguments.file} and it"
        raise UsageError(f"give either a TOML run file or --preset NAME: {how}")
    if arguments.preset is None:
        return source_of_file(arguments.file)
    return source_of_preset(arguments.preset)


def run_of_label(label: str, stated: dict[str, Any]) -> RunFile:
    """Return the run file of a label alone, with overrides: one GELU neuron, pseudo-Huber loss."""
    from dmft.config.config import RunFile

    name, entry = label, label
    if label.lstrip().startswith("{"):  # a table of a name and parameters
        entry = parse_override(f"target.label={label}")[1]
        name = re.sub(r"[\W_]+", "-", label).strip("-")
    elif ":" in label:
        name = re.sub(r"\W+", "-", label.rpartition(":")[2])
    config = {"target": {"label": entry}, "problem": _LOSS, "method": _METHOD}
    return RunFile.from_config(config, name, source=f"label {label}", overrides=stated)


def overrides(arguments: argparse.Namespace, flags: bool = True) -> dict[str, Any]:
    """Return the keys of the run file that the command line replaces before it is read.

    Those of ``--set`` and, unless `flags` is False, of the flags of problem and network. Files of
    own laws are those of the working directory.
    """
    from dmft.config.own_entries import placed_override

    try:
        stated = parse_overrides(arguments.set)
    except ValueError as error:
        raise UsageError(f"argument --set: {error}") from None
    found: dict[str, Any] = {}
    for table in OF_PROBLEM if flags else ():
        for name, value in given(arguments, table).items():
            key = f"{table}.{name}"
            if key in stated:
                raise UsageError(f"{key} is given both by --set and by --{name.replace('_', '-')}")
            found[key] = parse_override(f"{key}={value}")[1] if value and key in LAWS else value
    found |= stated  # last: a key of a table that a flag gives
    return {key: placed_override(key, value, os.getcwd()) for key, value in found.items()}


def overlaid(arguments: argparse.Namespace, run: RunFile) -> RunFile:
    """Return the run file with the options of the command line."""
    from dmft._numerics.validation import check_integer
    from dmft.config.config import TABLES
    from dmft.config.options import declared

    for name in ("threads", "workers"):
        if getattr(arguments, name, None) is not None:
            check_integer(name, getattr(arguments, name), minimum=1)
    changes: dict[str, Any] = {"method": _method(given(arguments, "method"), run.method)}
    for table, kind in TABLES.items():
        attribute = table.replace("-", "_")
        settings = given(arguments, table)
        if given(arguments, "method").get("t_max") is not None:
            # A flow in place of the file's method has its own horizon.
            settings = {**dict.fromkeys(_HORIZONS.get(table, ())), **settings}
        if not settings or table in (*OF_PROBLEM, "method"):
            continue
        if table == "sampling":
            changes |= _sampled(settings, run)
            continue
        for name in tuple(settings):
            option, _ = declared(kind)[name]
            settings = {**dict.fromkeys(option.instead_of), **settings}
        changes[attribute] = dataclasses.replace(getattr(run, attribute), **settings)
    return dataclasses.replace(run, **changes)


def _sampled(stated: dict[str, Any], run: RunFile) -> dict[str, Any]:
    """Return sampling and accuracy of the run file with the options of the command line."""
    from dmft.config.settings import ACCURACY, SamplingSettings

    accuracy = {name: value for name, value in stated.items() if name in ACCURACY}
    paths = {name: value for name, value in stated.items() if name not in ACCURACY}
    if accuracy and "n_paths" in paths:
        name = next(iter(accuracy)).replace("_", "-")
        raise UsageError(f"give either --n-paths, or an accuracy (--{name}): not both")
    kept = {} if "n_paths" in paths else run.accuracy_options
    settings = SamplingSettings(**{**kept, **accuracy})
    return {
        "sampling": dataclasses.replace(run.sampling, **paths),
        "accuracy": settings.accuracy,
    }


def _method(stated: dict[str, Any], in_file: Method) -> Method:
    """Return the method of the run file with the options of the command line."""
    from dmft.config.settings import FLOW, OF_BOTH
    from dmft.training.methods import GradientDescent, GradientFlow

    flow = {name: value for name, value in stated.items() if name in FLOW}
    common = {name: value for name, value in stated.items() if name in OF_BOTH}
    descent = {name: value for name, value in stated.items() if name not in (*FLOW, *OF_BOTH)}
    if descent and flow:
        raise UsageError("give --step-size and --n-steps, or --t-max and --tol: not both")
    if isinstance(in_file, GradientDescent):
        if not flow:
            return dataclasses.replace(in_file, **descent, **common)
        if "t_max" not in flow:
            raise UsageError("--tol belongs to gradient flow: give --t-max too")
        options = in_file.to_config().keys() - {"step_size", "n_steps", *OF_BOTH}
        if options:
            raise UsageError(
                "--t-max is full-batch gradient flow of the first layer; the run file has "
                f"{', '.join(sorted(options))}"
            )
        return GradientFlow(**{"constraint": in_file.constraint, **flow, **common})
    if descent:
        raise UsageError("the run file has a gradient flow: give --t-max and --tol, no steps")
    times = None if "t_max" in flow else in_file.times
    kept: dict[str, Any] = {"t_max": in_file.t_max, "tol": in_file.tol}
    kept |= {"max_steps": in_file.max_steps, "bias_rate": in_file.bias_rate}
    kept["constraint"] = in_file.constraint
    return GradientFlow(**{**kept, "times": times, **flow, **common})


def settings_stamp(arguments: argparse.Namespace, config: Mapping[str, Any]) -> str:
    """Return a digest of the settings that a command's results depend on.

    Not of the number of seeds, of which more go on from fewer, nor of tables of other commands.
    """
    command = arguments.run.partition(":run_")[2].replace("_", "-")
    tables = (*OF_PROBLEM, "method", "sampling", *_TABLES.get(command, tuple(config)))
    settings = {name: config[name] for name in tables if name in config}
    for table in ("simulation", "sweep"):
        if table in settings:
            settings[table] = {**settings[table], "seeds": None}
    own = {
        name: value
        for name, value in vars(arguments).items()
        if "." not in name and name not in _NO_SETTINGS and value is not None and value is not False
    }
    return digest([command, settings, own], 16)


def run_of_horizon(arguments: argparse.Namespace, table: str) -> RunFile:
    """Return the run file of a command whose table has a horizon of its own."""
    run = run_file(arguments)
    settings = getattr(run, table)
    n_steps = given(arguments, "method").get("n_steps", settings.n_steps)
    changed = {table: dataclasses.replace(settings, n_steps=n_steps)}
    return dataclasses.replace(run, method=until(run.method, n_steps), **changed)


def bracket_of(run: RunFile, table: str) -> tuple[float, float]:
    """Return the bracket of a table; by default that of the curve, or that of the threshold.

    Raises
    ------
    UsageError
        If none is stated.
    """
    tables = (getattr(run, table.replace("-", "_")), run.curve, run.threshold)
    stated = (one.bracket for one in tables if one.bracket is not None)
    bracket: tuple[float, float] = needed(next(stated, None), f"{table}.bracket")
    return bracket


def which_of(run: RunFile, table: str, *names: str) -> dict[str, Any]:
    """Return criterion or index, as the threshold, then the curve, then a table states them."""
    found: dict[str, Any] = {}
    for one in (run.threshold, run.curve, getattr(run, table.replace("-", "_"))):
        found |= one.stated(*names)
    return found


def until(method: Method, n_steps: int | None) -> Method:
    """Return the method with a horizon of its own, if one is stated.

    Steps are what they are in every other command: a schedule is not stretched.
    """
    return method if n_steps is None else method.until(n_steps)


def descent_of(run: RunFile) -> GradientDescent:
    """Return the method of a run file, which must be gradient descent.

    Raises
    ------
    ValueError
        If it is a gradient flow.
    """
    from dmft.training.methods import GradientDescent

    if not isinstance(run.method, GradientDescent):
        raise ValueError(
            f"{run.name}: [method] must have step_size and n_steps: this command runs gradient "
            "descent, not gradient flow"
        )
    return run.method
