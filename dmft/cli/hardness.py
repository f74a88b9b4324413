"""Command ``hardness``: exponents and the algorithmic threshold of a label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.cli.exits import UsageError
from dmft.cli.output import Output, picked, progress
from dmft.cli.run_files import given, overrides, run_of_label

if TYPE_CHECKING:
    import argparse

    from dmft.model.target import Target

__all__ = ["run_hardness"]

_SETTINGS = ("max_degree", "n_points", "seed")
_JSON = """k easy_basis hard_basis irrelevant_basis rank_tolerance sign_flips information_exponent
information_exponents information_status information_share information_share_stderr
information_margin generative_exponent generative_exponents generative_share
generative_share_stderr generative_margin delta_alg delta_alg_stderr inverse_delta_alg
inverse_delta_alg_stderr first_recovered"""


@dataclass(frozen=True)
class _LabelRun:
    """Target with the name of its files."""

    name: str
    target: Target
    inputs: str | None = None  # of the problem, where they are not Gaussian

    def to_config(self) -> dict[str, Any]:
        return {"target": self.target.to_config()}


def run_hardness(arguments: argparse.Namespace) -> int:
    """Compute exponents and the algorithmic threshold of a label."""
    from dmft.recovery.exponents import hardness
    from dmft.recovery.report import hardness_lines

    run = _label_run(arguments)
    values = {name: getattr(arguments, name) for name in _SETTINGS}
    settings = {name: value for name, value in values.items() if value is not None}
    with Output(arguments, run) as output:
        with progress() as advance:
            result = hardness(run.target, **settings, progress=advance)
        output.save("hardness", result)
        output.draw("hardness", "plot_hardness", result)
    data = {
        **picked(result, _JSON),
        "rank_tests": [picked(test, "explained stderr n_easy") for test in result.rounds],
        "delta_alg_infinite": math.isinf(result.delta_alg),
        "settings": {name: result.config[name] for name in _SETTINGS},
    }
    lines = hardness_lines(result)
    if run.inputs is not None:
        lines.insert(1, ("latents", f"standard Gaussian, not those of the inputs ({run.inputs})"))
    return output.report("hardness", result.status, data, lines)


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
    law = run.problem.inputs
    return _LabelRun(run.name, target, None if law is None else law.describe())
