"""Groups of arguments that commands share."""

from __future__ import annotations

import argparse

from dmft.cli.exits import PROGRAM
from dmft.cli.parser import add_options, integer, number

__all__ = [
    "SIMULATION",
    "add_method",
    "add_output",
    "add_preset",
    "add_sampling",
    "add_set",
    "add_simulation",
    "add_source",
    "add_theory",
    "add_workers",
]

SIMULATION = "simulation, in place of what the run file says"
_FORMATS = ("png", "pdf", "svg")


def add_source(parser: argparse.ArgumentParser, networks: bool = False) -> argparse._ArgumentGroup:
    """Add run file, preset, and the keys of problem and network; not those of `networks`."""
    source = parser.add_argument_group("what to run (one of)")
    source.add_argument("file", nargs="?", metavar="FILE", help="a TOML run file")
    add_preset(source)
    group = parser.add_argument_group("problem, in place of what the run file says")
    add_set(group)
    if not networks:
        add_options(group, "target", "label")
    add_options(group, "target", "k", "noise")
    if not networks:
        add_options(group, "network", "activation", "neurons", "biases")
        add_options(group, "problem", "loss")
    add_options(group, "problem", "init_radius", "weight_decay", "spectral_start")
    return source


def add_preset(group: argparse._ArgumentGroup) -> None:
    """Add the name of a preset."""
    group.add_argument("--preset", metavar="NAME", help=f"see `{PROGRAM} presets`")


def add_set(group: argparse._ArgumentGroup) -> None:
    """Add overrides of keys."""
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace any key, as in target.noise=0.3; may be repeated",
    )


def add_simulation(parser: argparse.ArgumentParser) -> None:
    """Add options of runs."""
    group = parser.add_argument_group(SIMULATION)
    add_options(group, "simulation", "delta", "d", "seeds", "inputs")
    add_workers(group)
    add_options(group, "simulation", "hessian_steps", "hold_hard")


def add_workers(group: argparse._ArgumentGroup) -> None:
    """Add the number of processes."""
    group.add_argument(
        "--workers", type=integer, metavar="N", help="processes (default: one per core)"
    )


def add_theory(
    parser: argparse.ArgumentParser, resources: bool = True, accuracy: bool = False
) -> None:
    """Add options of a solve: method, sampling, output, resources."""
    add_options(add_method(parser), "method", "t_max", "tol")
    group = add_sampling(parser)
    if accuracy:
        add_options(group, "sampling", "rtol", "max_paths", "max_seconds")
    group = add_output(parser)
    if resources:
        group.add_argument(
            "--max-memory",
            type=number,
            metavar="GB",
            help="end early rather than take more for paths",
        )
        group.add_argument(
            "--checkpoint",
            metavar="DIR",
            help="folder from which the same command goes on if stopped",
        )


def add_method(parser: argparse.ArgumentParser, n_steps: str = "method") -> argparse._ArgumentGroup:
    """Add options of gradient descent; `n_steps` names the table whose ``n_steps`` is meant."""
    group = parser.add_argument_group("method, in place of what the run file says")
    add_options(group, "method", "step_size")
    add_options(group, n_steps, "n_steps")
    add_options(
        group, "method", "batch_fraction", "momentum", "nesterov", "second_layer_step_size",
        "bias_step_size", "fresh_batches", "constraint",
    )  # fmt: skip
    return group


def add_sampling(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add options of the paths, and threads."""
    group = parser.add_argument_group("theory, in place of what the run file says")
    add_options(group, "sampling", "n_paths", "replicates", "seed")
    group.add_argument("--threads", type=integer, metavar="N", help="threads (default: all cores)")
    return group


def add_output(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add options of files and output."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", default="results", metavar="DIR", help="folder for the files (default: results)"
    )
    group.add_argument(
        "--format", choices=_FORMATS, default="png", help="of the figure (default: png)"
    )
    group.add_argument(
        "--force", action="store_true", help="overwrite files of other settings, too"
    )
    group.add_argument("--json", action="store_true", help="print the result as JSON")
    return group
