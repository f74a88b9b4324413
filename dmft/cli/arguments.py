"""Arguments of each command, from the options declared in `dmft.config.settings`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

from dmft.cli.argument_groups import (
    SIMULATION,
    add_method,
    add_output,
    add_preset,
    add_sampling,
    add_set,
    add_simulation,
    add_source,
    add_theory,
    add_workers,
)
from dmft.cli.exits import PROGRAM
from dmft.cli.parser import Parser, Version, add_options, integer

__all__ = ["command_parser"]

_THEORY = "n_paths, replicates or n_steps"  # what to reduce when memory runs out
_RESUME = (
    "Every seed is on disk as soon as it is finished: if the command is stopped, the same command "
    "goes on from there."
)
_CURVE = """One set of solves gives the gap at every step, and so the whole curve. Its limit as t
grows is extrapolated, with an interval; a curve that has not settled is a full result, and the
exit code 0, unless --require-limit is given."""
_CASCADE = """With several hard directions the j-th eigenvalue of A_h has a threshold of its own,
for the j-th feature; one set of solves gives them all. The key cascade.learned of a run file lists
overlaps with the hard directions, each of them a further stage: thresholds of the others once these
are learned."""
_SCALING_LAW = """For labels that stay the same when any one hard coordinate changes sign. Networks
of m neurons are m copies of the neuron of the run file, with second-layer weights and step sizes
of a/m and m times what it says. Beside them stand spectral methods, and the power laws that
thresholds, features recovered and test error follow."""
_SIMULATE = f"""Each size has a folder of seeds, NAME-simulation-d1000 (-held with --hold-hard).
{_RESUME}"""
_COMPARE = f"""The theory is the limit of large d at a fixed number of steps. There the overlap with
hard directions is exactly zero, while at finite d it starts near d^(-1/2) and may grow; so the
simulated weights are kept orthogonal to the hard directions, unless --free lets them move. Prints
deviations in standard errors. The exit code is 0 also where they exceed 3; the verdict says so.
{_RESUME}"""
_SWEEP = f"""A seed recovers when the squared cosine between a hard direction and the neurons
reaches R within the steps given. Draws in the theory's delta_NN. {_RESUME}"""
_RECOVERY = """Draws runs of dimension d in the few coordinates that gradient descent sees: these
have the law of runs at that d, and take n x rank numbers in place of n x d. A run recovers when the
squared cosine between a hard direction and the neurons reaches R within the steps given. Reads the
table [sweep] of the run file."""
_GROKKING = f"""Predicts the step at which the test loss falls, its median and a band over runs,
from the initial overlap with the hard direction and the noise of the data, and simulates
such runs (--seeds 0: not). Runs start with overlap d^(-1/2) unless --random-start. {_RESUME}"""
_HARDNESS = """Finds easy and hard directions, information and generative exponents, and the
samples per dimension delta_alg above which polynomial-time algorithms recover a hard direction,
each with an error estimate. Nothing but the label matters, so a catalogue name will do."""
_ERM_LIMIT = """Where gradient descent of one linear neuron ends: overlap, norm and losses of the
minimiser, with the ridge of --weight-decay and any inputs. SEPARABLE, NOT_UNIQUE: there is none."""
_SPECTRAL = """The leading eigenvectors of (1/n) sum_i T(y_i) x_i x_i^T, T the preprocessing of
labels, and the smallest delta at which one recovers latent directions. The network plays no part:
with --label NAME no run file is needed."""
_SCAN = """The table [scan] of the run file names quantities, axes (any keys of the file) and the
design. Computations that points share are done once, and each is on disk as soon as it is finished:
if the command is stopped, the same command goes on from there, and an edited scan keeps what it
shares. Where there is no value, the table says why; exit code 3 if that is anywhere the case."""
_GAP = """Networks are all combinations of activations, losses and widths; one of m neurons has
second-layer weights 1/m. Draws delta_NN(t) of each and delta_alg of the label and, with
--step-sizes and --time, delta_NN at that time against the step size (0: gradient flow). With
--label and no more: one GELU neuron, pseudo-Huber loss, 40 steps of size 0.2."""


class _Command(NamedTuple):
    name: str
    module: str
    text: str
    fill: Callable[[Parser], object]
    more: str = ""
    memory: str = "--d or --workers"
    aliases: tuple[str, ...] = ()


def command_parser() -> argparse.ArgumentParser:
    """Return the parser; ``run`` of what it parses names the function as ``module:function``."""
    parser = Parser(
        prog=PROGRAM,
        description="Numerical theory of feature learning in two-layer networks.",
        epilog=f"Start with: {PROGRAM} threshold --preset robust-phase-retrieval",
    )
    parser.add_argument("--version", action=Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.text,
            description=f"{command.text[0].upper()}{command.text[1:]}. {command.more}".strip(),
            aliases=command.aliases,
            fill=command.fill,
        )
        run = f"dmft.cli.{command.module}:run_{command.name.replace('-', '_')}"
        sub.set_defaults(run=run, memory=command.memory)
    return parser


# -- commands ------------------------------------------------------------------------------------


def _threshold(parser: Parser) -> None:
    add_source(parser)
    add_options(
        parser, "threshold", "bracket", "step", "scan_points", "criterion", "index", "d", "draws"
    )
    parser.add_argument(
        "--digits",
        type=integer,
        metavar="N",
        help="at step 0: compute the root to N digits (mpmath)",
    )
    add_theory(parser, accuracy=True)


def _curve(parser: Parser) -> None:
    add_source(parser)
    add_options(
        parser,
        "curve",
        "bracket",
        "steps",
        "points",
        "max_solves",
        "criterion",
        "index",
        "d",
        "draws",
    )
    parser.add_argument(
        "--require-limit", action="store_true", help="exit with 3 if the limit is not settled"
    )
    add_theory(parser, accuracy=True)


def _cascade(parser: Parser) -> None:
    add_source(parser)
    names = ("bracket", "steps", "features", "points", "max_solves", "criterion", "d", "draws")
    add_options(parser, "cascade", *names)
    add_theory(parser, accuracy=True)


def _scaling_law(parser: Parser) -> None:
    add_source(parser, networks=True)
    group = parser.add_argument_group("label, neuron and loss, in place of what the run file says")
    add_options(group, "target", "label")
    add_options(group, "network", "activation", "biases")
    add_options(group, "problem", "loss")
    names = ("bracket", "widths", "points", "max_solves", "criterion", "n_points")
    add_options(parser, "scaling-law", *names, steps="the horizon t")
    add_theory(parser)


def _algorithmic_gap(parser: Parser) -> None:
    table = "algorithmic-gap"
    add_options(add_source(parser, networks=True), "target", "label", prefix="")
    group = parser.add_argument_group("networks, in place of what the run file says")
    add_options(group, table, "activations", "losses", "widths", "bracket", steps="horizons t")
    add_options(group, table, "points", "max_solves", "criterion", "index")
    group = parser.add_argument_group("step sizes, in place of what the run file says")
    add_options(group, table, "step_sizes", "time", "network", "compare_fresh", "d", "seeds")
    add_workers(group)
    add_theory(parser)


def _trajectory(parser: Parser) -> None:
    add_source(parser)
    add_options(parser, "trajectory", "delta")
    add_theory(parser, accuracy=True)


def _spectrum(parser: Parser) -> None:
    add_source(parser)
    add_options(parser, "spectrum", "delta", "step", "d", "draws")
    parser.add_argument(
        "--flow", action="store_true", help="also draw edges and outliers along the steps up to T"
    )
    add_theory(parser, resources=False)


def _simulate(parser: Parser) -> None:
    add_source(parser)
    add_simulation(parser)
    add_method(parser)
    add_output(parser)


def _compare(parser: Parser) -> None:
    add_source(parser)
    add_simulation(parser)
    add_method(parser)
    add_sampling(parser)
    add_output(parser)


def _sweep(parser: Parser) -> None:
    add_source(parser)
    group = parser.add_argument_group(SIMULATION)
    add_options(group, "sweep", "deltas", "d", "seeds", "inputs")
    add_workers(group)
    add_options(group, "sweep", "recovery", "hessian_step", "recovery_draws")
    # Not the n_steps of the method: that is the theory's, which looks at early steps.
    add_method(parser, n_steps="sweep")
    group = add_sampling(parser)
    add_options(group, "threshold", step="horizon t of the delta_NN(t) drawn in")
    add_output(parser)


def _recovery(parser: Parser) -> None:
    add_source(parser)
    group = parser.add_argument_group("runs to predict, in place of what the run file says")
    add_options(group, "sweep", "deltas", "d", "recovery", "recovery_draws")
    group.add_argument("--seed", type=integer, help="of the runs drawn (default: 0)")
    add_workers(group)
    add_method(parser, n_steps="sweep")
    add_output(parser)


def _grokking(parser: Parser) -> None:
    add_source(parser)
    group = parser.add_argument_group(SIMULATION)
    add_options(group, "simulation", "delta", "d")
    add_options(group, "simulation", "seeds", prefix="")  # of which there may be none
    add_workers(group)
    add_options(group, "grokking", "drops", "n_draws", "max_draws")
    group.add_argument(
        "--random-start", action="store_true", help="start from random weights, as training does"
    )
    group.add_argument(
        "--recovery-draws", type=integer, metavar="R",
        help="runs drawn of each size to predict the probability of recovery (default: none)",
    )  # fmt: skip
    add_method(parser)
    add_sampling(parser)
    add_output(parser)


def _hardness(parser: Parser) -> None:
    group = parser.add_argument_group("which labels (one of)")
    group.add_argument(
        "label",
        nargs="?",
        metavar="LABEL",
        help="a catalogue name, a run file, or FILE.py:FUNCTION",
    )
    add_preset(group)
    group = parser.add_argument_group("settings")
    add_set(group)
    add_options(group, "target", "k", "noise", "classes", "flip", "slope", "threshold")
    group.add_argument(
        "--max-degree", type=integer, metavar="L", help="highest degree (default: 8)"
    )
    group.add_argument("--n-points", type=integer, metavar="N", help="labels evaluated, 2^p")
    group.add_argument("--seed", type=integer, help="of the sample points (default: 0)")
    add_output(parser)


def _erm_limit(parser: Parser) -> None:
    add_source(parser)
    add_options(parser, "trajectory", "delta")
    add_options(parser, "sampling", "replicates", "seed")
    add_output(parser)


def _spectral_method(parser: Parser) -> None:
    add_source(parser)
    add_options(parser, "trajectory", "delta")
    add_options(parser, "spectral-method", "preprocessing", "cap", "side", "bracket", "n_points")
    add_options(parser, "sampling", "replicates", "seed")
    add_output(parser)


def _show(parser: Parser) -> None:
    from dmft.cli.show import FORMATS

    parser.add_argument("file", metavar="FILE", help="a result file (.npz)")
    parser.add_argument(
        "--format", choices=FORMATS, default="text",
        help="print it (text, json), or write a table (csv, nc) or figure beside it "
        "(default: text)",
    )  # fmt: skip
    parser.add_argument("--out", metavar="PATH", help="write the table or figure there")
    parser.add_argument(
        "--force", action="store_true", help="overwrite a file of other contents, too"
    )


def _scan(parser: Parser) -> None:
    add_source(parser)
    parser.add_argument(
        "--list", action="store_true", help="list the quantities that there are, and end"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="count points, estimate time and memory, and end"
    )
    add_options(parser, "scan", "quantity")
    group = parser.add_argument_group("where it runs")
    add_workers(group)
    group.add_argument(
        "--dask", metavar="WHERE", help="tcp://HOST:PORT of a scheduler, or slurm, pbs, ..."
    )
    group.add_argument(
        "--jobs", type=integer, metavar="N", help="of a batch system: jobs at most (default: 10)"
    )
    add_output(parser)


def _presets(parser: Parser) -> None:
    parser.add_argument("--show", metavar="NAME", help="print the run file of a preset")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


_COMMANDS = (
    _Command(
        "threshold",
        "theory",
        "find delta_NN, where the Hessian grows a hard negative outlier",
        _threshold,
        memory=_THEORY,
    ),
    _Command(
        "curve", "curve", "find delta_NN at all horizons, and its limit", _curve, _CURVE, _THEORY
    ),
    _Command(
        "cascade",
        "cascade",
        "find the thresholds of all features, one after the other",
        _cascade,
        _CASCADE,
        _THEORY,
    ),
    _Command(
        "scaling-law",
        "scaling_law",
        "find the thresholds of all features at several widths, and power laws",
        _scaling_law,
        _SCALING_LAW,
        _THEORY,
    ),
    _Command(
        "algorithmic-gap",
        "algorithmic_gap",
        "set delta_NN of several networks against delta_alg",
        _algorithmic_gap,
        _GAP,
        _THEORY,
        aliases=("gap",),
    ),
    _Command(
        "trajectory",
        "theory",
        "follow the order parameters and losses",
        _trajectory,
        memory=_THEORY,
    ),
    _Command(
        "spectrum",
        "theory",
        "compute the Hessian's density, edges and outliers",
        _spectrum,
        memory=_THEORY,
    ),
    _Command("simulate", "simulation", "run gradient descent at finite d", _simulate, _SIMULATE),
    _Command("compare", "simulation", "set the theory against simulations", _compare, _COMPARE),
    _Command(
        "sweep", "sweep", "find the threshold in simulations, over a grid of delta", _sweep, _SWEEP
    ),
    _Command(
        "recovery",
        "recovery",
        "predict how often runs of finite d recover a hard direction",
        _recovery,
        _RECOVERY,
    ),
    _Command(
        "grokking",
        "grokking",
        "predict when runs of finite d learn a hard direction",
        _grokking,
        _GROKKING,
    ),
    _Command(
        "hardness",
        "hardness",
        "say which latent directions of a label law are hard, and how hard",
        _hardness,
        _HARDNESS,
        memory="n_points",
    ),
    _Command(
        "erm-limit",
        "companions",
        "find the minimiser of the convex risk of a linear neuron",
        _erm_limit,
        _ERM_LIMIT,
        memory="replicates",
    ),
    _Command(
        "spectral-method",
        "companions",
        "compute outliers, overlaps and threshold of a spectral method",
        _spectral_method,
        _SPECTRAL,
        memory="n_points",
    ),
    _Command(
        "show",
        "show",
        "print, redraw or convert a result file, without computing",
        _show,
        "Says what the file holds, which version wrote it, with which settings.",
    ),
    _Command(
        "scan",
        "scan",
        "compute any quantities over a grid of settings",
        _scan,
        _SCAN,
        memory="--workers or n_paths",
    ),
    _Command("presets", "presets", "list the presets", _presets),
)
