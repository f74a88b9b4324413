"""What can be said on the command line, and the run file with it laid over."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

from dmft.cli.exits import PROGRAM, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dmft.config.config import RunFile
    from dmft.training.methods import GradientDescent, Method

__all__ = [
    "command_parser",
    "descent_of",
    "in_bytes",
    "overlaid",
    "run_file",
    "setting",
    "stated",
]

_FORMATS = ("png", "pdf", "svg")


_THEORY = "n_paths, replicates or n_steps"  # what to reduce when memory runs out
_RESUME = (
    "Every seed is on disk as soon as it is finished: if the command is stopped, the same command "
    "goes on from there."
)
_CURVE = """One set of solves gives the gap at every step, and so the whole curve. Its limit as t
grows is extrapolated, with an interval; a curve that has not settled is a full result, and the
exit code 0, unless --require-limit is given."""
_SIMULATE = f"""Each size has a folder of seeds, NAME-simulation-d1000 (-held with --hold-hard).
{_RESUME}"""
_COMPARE = f"""The theory is the limit of large d at a fixed number of steps. There the overlap with
hard directions is exactly zero, while at finite d it starts near d^(-1/2) and may grow; so the
simulated weights are kept orthogonal to the hard directions, unless --free lets them move. Prints
deviations in standard errors. The exit code is 0 also where they exceed 3; the verdict says so.
{_RESUME}"""
_SWEEP = f"""A seed recovers when the squared cosine between a hard direction and the neurons
reaches R within the steps given. Draws in the theory's delta_NN. {_RESUME}"""
_GROKKING = f"""Predicts the step at which the test loss falls, its median and a band over runs,
from the initial overlap with the hard direction and the noise of the data, and simulates beside
it (--seeds 0: not). Runs start with overlap d^(-1/2) unless --random-start. {_RESUME}"""
_HARDNESS = """Finds easy and hard directions, information and generative exponents, and the
samples per dimension delta_alg above which polynomial-time algorithms recover a hard direction,
each with an error estimate. Nothing but the label matters, so a catalogue name will do."""

_GAP = """Networks are all combinations of activations, losses and widths; one of m neurons has
second-layer weights 1/m. Draws delta_NN(t) of each beside delta_alg of the label and, with
--step-sizes and --time, delta_NN at that time against the step size (0: gradient flow). With
--label and no more: one GELU neuron, pseudo-Huber loss, 40 steps of size 0.2."""


# What others call an option or a command.
_OPTIONS = {
    "dim": "d",
    "dimension": "d",
    "epochs": "n-steps",
    "eta": "step-size",
    "iterations": "n-steps",
    "jobs": "workers",
    "learning-rate": "step-size",
    "lr": "step-size",
    "output": "out",
    "processes": "workers",
}
_COMMANDS = {"hessian": "spectrum", "help": "--help", "sim": "simulate", "solve": "trajectory"}


class _Parser(argparse.ArgumentParser):
    """A parser that reports errors as one line, with what was probably meant."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._negative_number_matcher = re.compile(r"-(\d|\.\d|inf|nan)")  # also -1e3
        self._given: list[str] = []

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; what is left over is an error of the command that it was said to."""
        self._given = list(sys.argv[1:] if args is None else args)
        found, rest = super().parse_known_args(self._given, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        unknown = re.match(
            r"argument COMMAND: invalid choice: '(.*)' \(choose from (.*)\)$", message
        )
        if unknown is not None:
            name, names = unknown[1], unknown[2].replace("'", "").split(", ")
            near = [_COMMANDS[name]] if name in _COMMANDS else get_close_matches(name, names, n=1)
            message = f"unknown command {name!r}{_meant(near)}, commands: {', '.join(names)}"
        else:
            message += _meant(self._meant_options())
        raise UsageError(f"{message} (see {self.prog} --help)")

    def _meant_options(self) -> list[str]:
        """Return the options nearest to those given that there are not."""
        options = {name.lstrip("-"): name for name in self._option_string_actions}
        given = [text.partition("=")[0] for text in self._given if re.match(r"--?[A-Za-z]", text)]
        found = []
        for name in (name for name in given if name not in options.values()):
            wanted = name.lstrip("-").lower().replace("_", "-")
            wanted = _OPTIONS.get(wanted, wanted)
            near = [wanted] if wanted in options else get_close_matches(wanted, options, n=1)
            found += [options[match] for match in near]
        return found


def _meant(names: Sequence[str]) -> str:
    return f" (did you mean {' and '.join(dict.fromkeys(names))}?)" if names else ""


def _integer(text: str) -> int:
    """Whole number as a run file may have it."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, got {_short(text)}") from None
    if not -(2**63) <= value < 2**63:
        raise argparse.ArgumentTypeError(
            f"must be an integer of at most 64 bits, got {_short(text)}"
        )
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {_short(text)}") from None


def _short(text: str) -> str:
    return repr(text) if len(text) <= 40 else f"{text[:37]!r}..."


def command_parser() -> argparse.ArgumentParser:
    """Return the parser; ``run`` of what it parses names the function as ``module:function``."""
    parser = _Parser(
        prog=PROGRAM,
        description="Numerical theory of feature learning in two-layer networks.",
        formatter_class=_help_format,
        epilog=f"Start with: {PROGRAM} threshold --preset robust-phase-retrieval",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str, module: str, text: str, more: str = "", memory: str = "--d or --workers"
    ) -> _Parser:
        sub: _Parser = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}. {more}".strip(),
            formatter_class=_help_format,
            allow_abbrev=False,
        )
        sub.set_defaults(run=f"dmft.cli.{module}:run_{name}", memory=memory)
        return sub

    sub = command(
        "threshold",
        "theory",
        "find delta_NN, where the Hessian grows a hard negative outlier",
        memory=_THEORY,
    )
    _add_source(sub)
    sub.add_argument(
        "--bracket", nargs=2, type=_number, metavar=("LO", "HI"), help="range of delta to search"
    )
    sub.add_argument("--step", type=_integer, metavar="T", help="horizon t of delta_NN(t)")
    sub.add_argument("--scan-points", type=_integer, metavar="N", help="points of the first scan")
    sub.add_argument(
        "--digits",
        type=_integer,
        metavar="N",
        help="at step 0: compute the root to N digits (mpmath)",
    )
    _add_method(sub, flow=True)
    _add_sampling(sub)
    _add_resources(_add_output(sub))

    sub = command("curve", "curve", "find delta_NN at all horizons, and its limit", _CURVE, _THEORY)
    _add_source(sub)
    sub.add_argument(
        "--bracket", nargs=2, type=_number, metavar=("LO", "HI"), help="range of delta to search"
    )
    sub.add_argument(
        "--steps", nargs="+", type=_integer, metavar="T", help="horizons t of delta_NN(t)"
    )
    sub.add_argument("--points", type=_integer, metavar="N", help="values of delta to begin with")
    sub.add_argument("--max-solves", type=_integer, metavar="N", help="values of delta at most")
    sub.add_argument(
        "--require-limit", action="store_true", help="exit with 3 if the limit is not settled"
    )
    _add_method(sub, flow=True)
    _add_sampling(sub)
    _add_resources(_add_output(sub))

    sub = command("gap", "gap", "set delta_NN of several networks against delta_alg", _GAP, _THEORY)
    _add_source(sub).add_argument("--label", metavar="NAME", help="a label of the catalogue")
    _add_gap(sub)
    _add_method(sub, flow=True)
    _add_sampling(sub)
    _add_resources(_add_output(sub))

    sub = command("trajectory", "theory", "follow the order parameters and losses", memory=_THEORY)
    _add_source(sub)
    _add_delta(sub)
    _add_method(sub, flow=True)
    _add_sampling(sub)
    _add_resources(_add_output(sub))

    sub = command(
        "spectrum",
        "theory",
        "compute the Hessian's density, edges and outliers",
        memory=_THEORY,
    )
    _add_source(sub)
    _add_delta(sub)
    sub.add_argument("--step", type=_integer, metavar="T", help="step at which to read the Hessian")
    sub.add_argument(
        "--flow", action="store_true", help="also draw edges and outliers along the steps up to T"
    )
    _add_method(sub, flow=True)
    _add_sampling(sub)
    _add_output(sub)

    sub = command("simulate", "simulation", "run gradient descent at finite d", _SIMULATE)
    _add_source(sub)
    _add_simulation(sub)
    _add_method(sub)
    _add_output(sub)

    sub = command("compare", "simulation", "set the theory against simulations", _COMPARE)
    _add_source(sub)
    _add_simulation(sub)
    _add_method(sub)
    _add_sampling(sub)
    _add_output(sub)

    sub = command(
        "sweep", "sweep", "find the threshold in simulations, over a grid of delta", _SWEEP
    )
    _add_source(sub)
    group = sub.add_argument_group("simulation, in place of what the run file says")
    group.add_argument(
        "--deltas", nargs="+", type=_number, metavar="DELTA", help="samples per dimension n/d"
    )
    _add_sizes(group)
    group.add_argument(
        "--recovery", type=_number, metavar="R", help="squared cosine that counts as recovered"
    )
    group.add_argument(
        "--hessian-step", type=_integer, metavar="T", help="step to read the Hessian at"
    )
    # Not the n_steps of the method: that is the theory's, which looks at early steps.
    _add_method(sub, "budget", "steps within which to recover")
    _add_sampling(sub).add_argument(
        "--step", type=_integer, metavar="T", help="horizon t of the delta_NN(t) drawn in"
    )
    _add_output(sub)

    sub = command(
        "grokking", "grokking", "predict when runs of finite d learn a hard direction", _GROKKING
    )
    _add_source(sub)
    group = sub.add_argument_group("simulation, in place of what the run file says")
    group.add_argument("--delta", type=_number, help="samples per dimension n/d")
    _add_sizes(group, inputs=False)
    group.add_argument(
        "--random-start", action="store_true", help="start from random weights, as training does"
    )
    _add_method(sub)
    _add_sampling(sub)
    _add_output(sub)

    sub = command(
        "hardness",
        "hardness",
        "say which latent directions of a label law are hard, and how hard",
        _HARDNESS,
        memory="n_points",
    )
    _add_label(sub)
    _add_output(sub)

    sub = command("presets", "presets", "list the presets")
    sub.add_argument("--show", metavar="NAME", help="print the run file of a preset")
    sub.add_argument("--json", action="store_true", help="machine-readable output")
    return parser


def _help_format(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=26)


class _Version(argparse.Action):
    """Print the version, looked up only now."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from dmft.cli.streams import put
        from dmft.io.results import software_version

        put(f"{PROGRAM} {software_version()}")
        parser.exit()


def _add_source(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("what to run (one of)")
    group.add_argument("file", nargs="?", metavar="FILE", help="a TOML run file")
    group.add_argument("--preset", metavar="NAME", help=f"see `{PROGRAM} presets`")
    return group


def _add_label(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which labels (one of)")
    group.add_argument("label", nargs="?", metavar="LABEL", help="a catalogue name, or a run file")
    group.add_argument("--preset", metavar="NAME", help=f"see `{PROGRAM} presets`")
    group = parser.add_argument_group("settings")
    group.add_argument("--noise", type=_number, metavar="S", help="add S times Gaussian noise")
    group.add_argument("--classes", metavar="LAW", help="labels +-1: sign or logistic")
    group.add_argument("--flip", type=_number, metavar="P", help="of sign: probability of a flip")
    group.add_argument("--slope", type=_number, metavar="B", help="of logistic: its slope")
    group.add_argument("--threshold", type=_number, metavar="C", help="of classes: where they meet")
    group.add_argument(
        "--max-degree", type=_integer, metavar="L", help="highest degree (default: 8)"
    )
    group.add_argument("--n-points", type=_integer, metavar="N", help="labels evaluated, 2^p")
    group.add_argument("--seed", type=_integer, help="of the sample points (default: 0)")


def _add_delta(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--delta", type=_number, help="samples per dimension n/d")


def _add_gap(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("networks, in place of what the run file says")
    group.add_argument("--activations", nargs="+", metavar="NAME", help="one or several")
    group.add_argument("--losses", nargs="+", metavar="NAME", help="one or several")
    group.add_argument("--widths", nargs="+", type=_integer, metavar="M", help="numbers of neurons")
    group.add_argument(
        "--bracket", nargs=2, type=_number, metavar=("LO", "HI"), help="range of delta to search"
    )
    group.add_argument("--steps", nargs="+", type=_integer, metavar="T", help="horizons t")
    group.add_argument("--points", type=_integer, metavar="N", help="values of delta to begin with")
    group.add_argument("--max-solves", type=_integer, metavar="N", help="values of delta at most")
    group = parser.add_argument_group("step sizes, in place of what the run file says")
    group.add_argument(
        "--step-sizes", nargs="+", type=_number, metavar="ETA", help="0 for gradient flow"
    )
    group.add_argument("--time", type=_number, metavar="TIME", help="time that all of them reach")
    group.add_argument("--network", metavar="NAME", help="which network (default: the first)")
    group.add_argument(
        "--no-fresh",
        action="store_false",
        dest="compare_fresh",
        default=None,
        help="leave out fresh batches",
    )
    group.add_argument("--d", type=_integer, metavar="D", help="simulate beside the largest step")
    group.add_argument("--seeds", type=_integer, metavar="S", help="number of runs at each delta")
    group.add_argument(
        "--workers", type=_integer, metavar="N", help="processes (default: one per core)"
    )


def _add_simulation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("simulation, in place of what the run file says")
    group.add_argument("--delta", type=_number, help="samples per dimension n/d")
    _add_sizes(group)
    group.add_argument(
        "--hessian-steps",
        nargs="*",
        type=_integer,
        metavar="T",
        help="steps to read the Hessian at",
    )
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--hold-hard", action="store_true", default=None, help="keep hard directions at overlap 0"
    )
    either.add_argument(
        "--free", action="store_false", dest="hold_hard", default=None, help="let them move"
    )


def _add_sizes(group: argparse._ArgumentGroup, *, inputs: bool = True) -> None:
    group.add_argument("--d", nargs="+", type=_integer, metavar="D", help="one size or several")
    group.add_argument("--seeds", type=_integer, metavar="S", help="number of runs of each size")
    if inputs:
        laws = "gaussian, rademacher, uniform, student-t, mixture"
        group.add_argument("--inputs", metavar="LAW", help=laws)
    group.add_argument(
        "--workers", type=_integer, metavar="N", help="processes (default: one per core)"
    )


def _add_method(
    parser: argparse.ArgumentParser,
    n_steps: str = "n_steps",
    text: str = "number of steps",
    flow: bool = False,
) -> None:
    group = parser.add_argument_group("method, in place of what the run file says")
    group.add_argument("--step-size", type=_number, metavar="ETA", help="step size")
    group.add_argument("--n-steps", type=_integer, metavar="T", dest=n_steps, help=text)
    group.add_argument(
        "--batch-fraction", type=_number, metavar="P", help="share of the samples in each step"
    )
    group.add_argument("--momentum", type=_number, metavar="BETA", help="momentum, 0 to 1")
    group.add_argument(
        "--second-layer-step-size", type=_number, metavar="ETA", help="train the second layer too"
    )
    group.add_argument(
        "--fresh-batches",
        action="store_const",
        const=True,
        help="n samples of its own for each step, in place of the same ones again",
    )
    if flow:
        group.add_argument(
            "--t-max", type=_number, metavar="TIME", help="gradient flow to this time"
        )
        group.add_argument("--tol", type=_number, metavar="TOL", help="tolerance of its steps")


def _add_sampling(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("theory, in place of what the run file says")
    group.add_argument("--n-paths", type=_integer, metavar="N", help="paths per replicate, 2^p")
    group.add_argument(
        "--replicates", type=_integer, metavar="R", help="independent randomisations"
    )
    group.add_argument("--seed", type=_integer, help="seed of its random numbers")
    group.add_argument("--threads", type=_integer, metavar="N", help="threads (default: all cores)")
    return group


def _add_resources(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-memory", type=_number, metavar="GB", help="end early rather than take more for paths"
    )
    group.add_argument(
        "--checkpoint", metavar="DIR", help="folder from which the same command goes on if stopped"
    )


def in_bytes(gigabytes: float | None) -> float | None:
    """Return what --max-memory says, as functions take it."""
    from dmft._numerics.validation import check_real

    if gigabytes is None:
        return None
    return 1e9 * check_real("--max-memory", gigabytes, minimum=0.0, maximum=1e9, exclusive=True)


def _add_output(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", default="results", metavar="DIR", help="folder for the files (default: results)"
    )
    group.add_argument(
        "--format", choices=_FORMATS, default="png", help="of the figure (default: png)"
    )
    group.add_argument("--json", action="store_true", help="print the result as JSON")
    return group


def stated(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return those of the named arguments that the command has and that were given."""
    values = {name: getattr(arguments, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def until(method: Method, n_steps: int | None) -> Method:
    """Return the method with a horizon of its own, if one is stated.

    Steps are what they are in every other command: a schedule is not stretched.
    """
    return method if n_steps is None else method.until(n_steps)


def run_file(arguments: argparse.Namespace) -> RunFile:
    """Read the run file or preset, with the overrides of the command line."""
    from dmft.config.config import load_preset, load_run

    if (arguments.file is None) == (arguments.preset is None):
        how = "neither is given" if arguments.file is None else f"not both {arguments.file} and it"
        raise UsageError(f"give either a TOML run file or --preset NAME: {how}")
    run = load_run(arguments.file) if arguments.preset is None else load_preset(arguments.preset)
    return overlaid(arguments, run)


def overlaid(arguments: argparse.Namespace, run: RunFile) -> RunFile:
    """Return the run file with the overrides of the command line."""
    from dmft._numerics.validation import check_integer

    for name, value in stated(arguments, "threads", "workers").items():
        check_integer(name, value, minimum=1)
    sampling = stated(arguments, "n_paths", "replicates", "seed")
    if stated(arguments, "t_max"):  # a flow in place of the file's method has its own horizon
        run = dataclasses.replace(
            run,
            threshold=dataclasses.replace(run.threshold, step=None),
            spectrum=dataclasses.replace(run.spectrum, step=None),
            curve=dataclasses.replace(run.curve, n_steps=None, steps=None),
            gap=dataclasses.replace(run.gap, n_steps=None, steps=None),
        )
    return dataclasses.replace(
        run,
        method=_method(arguments, run.method),
        sampling=dataclasses.replace(run.sampling, **sampling),
    )


def descent_of(run: RunFile) -> GradientDescent:
    """Return the method of a run file, for what is about gradient descent only.

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


def _method(arguments: argparse.Namespace, in_file: Method) -> Method:
    """Return the method of the run file with the overrides of the command line."""
    from dmft.training.methods import GradientDescent, GradientFlow

    names = ("step_size", "n_steps", "batch_fraction", "momentum", "second_layer_step_size")
    descent = stated(arguments, *names, "fresh_batches")
    flow = stated(arguments, "t_max", "tol")
    if descent and flow:
        raise UsageError("give --step-size and --n-steps, or --t-max and --tol: not both")
    if isinstance(in_file, GradientDescent):
        if not flow:
            return dataclasses.replace(in_file, **descent)
        if "t_max" not in flow:
            raise UsageError("--tol belongs to gradient flow: give --t-max too")
        options = in_file.to_config().keys() - {"step_size", "n_steps"}
        if options:
            raise UsageError(
                "--t-max is full-batch gradient flow of the first layer; the run file has "
                f"{', '.join(sorted(options))}"
            )
        return GradientFlow(**flow)
    if descent:
        raise UsageError("the run file has a gradient flow: give --t-max and --tol, no steps")
    times = None if "t_max" in flow else in_file.times
    kept = {"t_max": in_file.t_max, "tol": in_file.tol, "max_steps": in_file.max_steps}
    return GradientFlow(**{**kept, "times": times, **flow})


def setting(argument: Any, in_file: Any, key: str, option: str) -> Any:
    """Return the argument, else what the run file says, else complain that neither is given."""
    if argument is None and in_file is None:
        raise UsageError(f"{key} is not in the run file: add it, or give {option}")
    return in_file if argument is None else argument
