"""Command ``hardness``: exponents and the algorithmic threshold of a label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.cli.exits import UsageError
from dmft.cli.output import Output, picked, progress, with_error
from dmft.cli.run_files import given, overrides, run_of_label
from rmt.status import Status

if TYPE_CHECKING:
    import argparse

    from dmft.model.target import Target
    from dmft.recovery.exponents import Hardness

__all__ = ["run_hardness"]

_SETTINGS = ("max_degree", "n_points", "seed")
_JSON = """k easy_basis hard_basis rank_tolerance sign_flips information_exponent
information_exponents information_status information_share information_share_stderr
information_margin generative_exponent generative_exponents generative_share
generative_share_stderr generative_margin delta_alg delta_alg_stderr inverse_delta_alg
inverse_delta_alg_stderr first_recovered"""
_ROUNDING = 1e-9  # explained variances below this are zero to rounding


@dataclass(frozen=True)
class _LabelRun:
    """Target with the name of its files."""

    name: str
    target: Target

    def to_config(self) -> dict[str, Any]:
        return {"target": self.target.to_config()}


def run_hardness(arguments: argparse.Namespace) -> int:
    """Compute exponents and the algorithmic threshold of a label."""
    from dmft.recovery.exponents import hardness, hardness_steps

    run = _label_run(arguments)
    values = {name: getattr(arguments, name) for name in _SETTINGS}
    settings = {name: value for name, value in values.items() if value is not None}
    with Output(arguments, run) as output:
        with progress(hardness_steps(run.target), "values of the easy coordinates") as advance:
            result = hardness(run.target, **settings, progress=advance)
        output.save("hardness", result)
        output.draw("hardness", "plot_hardness", result)
    data = {
        **picked(result, _JSON),
        "rank_tests": [picked(test, "explained stderr n_easy") for test in result.rounds],
        "delta_alg_infinite": math.isinf(result.delta_alg),
        "settings": {name: result.config[name] for name in _SETTINGS},
    }
    return output.report("hardness", result.status, data, _lines(run, result))


def _label_run(arguments: argparse.Namespace) -> _LabelRun:
    """Return the target, with the noise or the classes of the command line."""
    from dmft.config.config import load_preset, load_run
    from dmft.config.own_laws import is_own
    from dmft.model.target import Target

    label = arguments.label
    if (label is None) == (arguments.preset is None):
        raise UsageError("give either LABEL (a catalogue name or a TOML run file) or --preset NAME")
    stated, replaced = given(arguments, "target"), overrides(arguments, flags=False)
    if (k := stated.pop("k", None)) is not None:  # a label of one's own is tried with it
        replaced["target.k"] = k
    if label is None:
        run = load_preset(arguments.preset, replaced)
    elif not is_own(label) and (label.endswith(".toml") or Path(label).name != label):
        run = load_run(label, replaced)
    else:
        run = run_of_label(label, replaced)
    target = run.problem.target
    if stated:
        own = {} if target.classes is None else target.classes.to_config()
        if stated.get("classes", own.get("classes")) != own.get("classes"):
            own = {}  # parameters belong to their law
        settings = {"noise": target.noise, **own, **stated}
        target = Target(target.label, target.k, hard_directions=target.hard_directions, **settings)
    return _LabelRun(run.name, target)


def _lines(run: _LabelRun, result: Hardness) -> list[tuple[str, str]]:
    target = run.target
    noise = f" + {target.noise:g} noise" if target.noise else ""
    highest = result.config["max_degree"]

    def exponent(value: int | None) -> str:
        return f"none up to {highest}" if value is None else f"{value}"

    information = exponent(result.information_exponent)
    if result.information_status is Status.NONFINITE:
        information = "none: the label has no second moment"

    def basis(columns: np.ndarray[Any, Any]) -> str:
        return ", ".join(map(_direction, columns.T)) or "none"

    lines = [
        ("label", f"{target.description}{noise}, {result.k} latent direction{'s'[: result.k > 1]}"),
        ("easy directions", basis(result.easy_basis)),
        ("hard directions", basis(result.hard_basis)),
    ]
    for number, test in enumerate(result.rounds, start=1):
        shares = ", ".join(map(_share, test.explained.tolist(), test.stderr.tolist()))
        lines.append((f"rank test {number}", f"labels explain {shares}; {test.n_easy} easy"))
    flips = ["(" + ", ".join(f"{sign:+d}" for sign in flip) + ")" for flip in result.sign_flips]
    lines += [
        ("sign symmetries", " ".join(flips) or "none"),
        ("information exponent", information),
        ("generative exponent", exponent(result.generative_exponent)),
    ]
    if result.k_hard == 0:
        return [*lines, ("delta_alg", "0: no hard direction")]
    value = with_error(result.delta_alg, result.delta_alg_stderr)
    if math.isinf(result.delta_alg):
        inverse = with_error(result.inverse_delta_alg, result.inverse_delta_alg_stderr)
        value = f"infinite: no number of order d samples is enough (1/delta_alg = {inverse})"
    return [*lines, ("delta_alg", value)]


def _share(value: float, stderr: float) -> str:
    return "0" if max(abs(value), stderr) < _ROUNDING else with_error(value, stderr)


def _direction(column: np.ndarray[Any, Any]) -> str:
    """Name a direction: a coordinate, or a combination of coordinates."""
    axes = np.flatnonzero(column)
    if len(axes) == 1:
        return f"z{axes[0] + 1}"
    terms = " ".join(f"{column[axis]:+.4g} z{axis + 1}" for axis in axes)
    return f"({terms})"
