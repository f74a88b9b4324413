"""What can be said on the command line, and the run file with it laid over."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any, NoReturn

from dmft.cli.exits import PROGRAM, UsageError

if TYPE_CHECKING:
    from dmft.config import RunFile
    from dmft.methods import GradientDescent, Method

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


class _Parser(argparse.ArgumentParser):
    """A parser that reports errors as one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


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
        "--bracket", nargs=2, type=float, metavar=("LO", "HI"), help="range of delta to search"
    )
    sub.add_argument("--step", type=int, metavar="T", help="horizon t of delta_NN(t)")
    sub.add_argument("--scan-points", type=int, metavar="N", help="points of the first scan")
    sub.add_argument(
        "--digits", type=int, metavar="N", help="at step 0: compute the root to N digits (mpmath)"
    )
    _add_method(sub, flow=True)
    _add_sampling(sub)
    _add_resources(_add_output(sub))

    sub = command("curve", "curve", "find delta_NN at all horizons, and its limit", _CURVE, _THEORY)
    _add_source(sub)
    sub.add_argument(
        "--bracket", nargs=2, type=float, metavar=("LO", "HI"), help="range of delta to search"
    )
    sub.add_argument("--steps", nargs="+", type=int, metavar="T", help="horizons t of delta_NN(t)")
    sub.add_argument("--points", type=int, metavar="N", help="values of delta to begin with")
    sub.add_argument("--max-solves", type=int, metavar="N", help="values of delta at most")
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
    sub.add_argument("--step", type=int, metavar="T", help="step at which to read the Hessian")
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
        "--deltas", nargs="+", type=float, metavar="DELTA", help="samples per dimension n/d"
    )
    _add_sizes(group)
    group.add_argument(
        "--recovery", type=float, metavar="R", help="squared cosine that counts as recovered"
    )
    group.add_argument("--hessian-step", type=int, metavar="T", help="step to read the Hessian at")
    # Not the n_steps of the method: that is the theory's, which looks at early steps.
    _add_method(sub, "budget", "steps within which to recover")
    _add_sampling(sub).add_argument(
        "--step", type=int, metavar="T", help="horizon t of the delta_NN(t) drawn in"
    )
    _add_output(sub)

    sub = command(
        "grokking", "grokking", "predict when runs of finite d learn a hard direction", _GROKKING
    )
    _add_source(sub)
    group = sub.add_argument_group("simulation, in place of what the run file says")
    group.add_argument("--delta", type=float, help="samples per dimension n/d")
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
        from dmft.results import software_version

        print(f"{PROGRAM} {software_version()}")
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
    group.add_argument("--noise", type=float, metavar="S", help="add S times Gaussian noise")
    group.add_argument("--classes", metavar="LAW", help="labels +-1: sign or logistic")
    group.add_argument("--flip", type=float, metavar="P", help="of sign: probability of a flip")
    group.add_argument("--slope", type=float, metavar="B", help="of logistic: its slope")
    group.add_argument("--threshold", type=float, metavar="C", help="of classes: where they meet")
    group.add_argument("--max-degree", type=int, metavar="L", help="highest degree (default: 8)")
    group.add_argument("--n-points", type=int, metavar="N", help="labels evaluated, 2^p")
    group.add_argument("--seed", type=int, help="of the sample points (default: 0)")


def _add_delta(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--delta", type=float, help="samples per dimension n/d")


def _add_gap(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("networks, in place of what the run file says")
    group.add_argument("--activations", nargs="+", metavar="NAME", help="one or several")
    group.add_argument("--losses", nargs="+", metavar="NAME", help="one or several")
    group.add_argument("--widths", nargs="+", type=int, metavar="M", help="numbers of neurons")
    group.add_argument(
        "--bracket", nargs=2, type=float, metavar=("LO", "HI"), help="range of delta to search"
    )
    group.add_argument("--steps", nargs="+", type=int, metavar="T", help="horizons t")
    group.add_argument("--points", type=int, metavar="N", help="values of delta to begin with")
    group.add_argument("--max-solves", type=int, metavar="N", help="values of delta at most")
    group = parser.add_argument_group("step sizes, in place of what the run file says")
    group.add_argument(
        "--step-sizes", nargs="+", type=float, metavar="ETA", help="0 for gradient flow"
    )
    group.add_argument("--time", type=float, metavar="TIME", help="time that all of them reach")
    group.add_argument("--network", metavar="NAME", help="which network (default: the first)")
    group.add_argument(
        "--no-fresh",
        action="store_false",
        dest="compare_fresh",
        default=None,
        help="leave out fresh batches",
    )
    group.add_argument("--d", type=int, metavar="D", help="simulate beside the largest step")
    group.add_argument("--seeds", type=int, metavar="S", help="number of runs at each delta")
    group.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")


def _add_simulation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("simulation, in place of what the run file says")
    group.add_argument("--delta", type=float, help="samples per dimension n/d")
    _add_sizes(group)
    group.add_argument(
        "--hessian-steps", nargs="*", type=int, metavar="T", help="steps to read the Hessian at"
    )
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--hold-hard", action="store_true", default=None, help="keep hard directions at overlap 0"
    )
    either.add_argument(
        "--free", action="store_false", dest="hold_hard", default=None, help="let them move"
    )


def _add_sizes(group: argparse._ArgumentGroup, *, inputs: bool = True) -> None:
    group.add_argument("--d", nargs="+", type=int, metavar="D", help="one size or several")
    group.add_argument("--seeds", type=int, metavar="S", help="number of runs of each size")
    if inputs:
        laws = "gaussian, rademacher, uniform, student-t, mixture"
        group.add_argument("--inputs", metavar="LAW", help=laws)
    group.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")


def _add_method(
    parser: argparse.ArgumentParser,
    n_steps: str = "n_steps",
    text: str = "number of steps",
    flow: bool = False,
) -> None:
    group = parser.add_argument_group("method, in place of what the run file says")
    group.add_argument("--step-size", type=float, metavar="ETA", help="step size")
    group.add_argument("--n-steps", type=int, metavar="T", dest=n_steps, help=text)
    group.add_argument(
        "--batch-fraction", type=float, metavar="P", help="share of the samples in each step"
    )
    group.add_argument("--momentum", type=float, metavar="BETA", help="momentum, 0 to 1")
    group.add_argument(
        "--second-layer-step-size", type=float, metavar="ETA", help="train the second layer too"
    )
    group.add_argument(
        "--fresh-batches",
        action="store_const",
        const=True,
        help="n samples of its own for each step, in place of the same ones again",
    )
    if flow:
        group.add_argument("--t-max", type=float, metavar="TIME", help="gradient flow to this time")
        group.add_argument("--tol", type=float, metavar="TOL", help="tolerance of its steps")


def _add_sampling(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("theory, in place of what the run file says")
    group.add_argument("--n-paths", type=int, metavar="N", help="paths per replicate, 2^p")
    group.add_argument("--replicates", type=int, metavar="R", help="independent randomisations")
    group.add_argument("--seed", type=int, help="seed of its random numbers")
    group.add_argument("--threads", type=int, metavar="N", help="threads (default: all cores)")
    return group


def _add_resources(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-memory", type=float, metavar="GB", help="end early rather than take more for paths"
    )
    group.add_argument(
        "--checkpoint", metavar="DIR", help="folder from which the same command goes on if stopped"
    )


def in_bytes(gigabytes: float | None) -> float | None:
    """Return what --max-memory says, as functions take it."""
    return None if gigabytes is None else 1e9 * gigabytes


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
    from dmft.config import load_preset, load_run

    if (arguments.file is None) == (arguments.preset is None):
        raise UsageError("give either a TOML run file or --preset NAME")
    run = load_run(arguments.file) if arguments.preset is None else load_preset(arguments.preset)
    return overlaid(arguments, run)


def overlaid(arguments: argparse.Namespace, run: RunFile) -> RunFile:
    """Return the run file with the overrides of the command line."""
    from dmft._validation import check_integer

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
    from dmft.methods import GradientDescent

    if not isinstance(run.method, GradientDescent):
        raise ValueError(
            f"{run.name}: [method] must have step_size and n_steps: this command runs gradient "
            "descent, not gradient flow"
        )
    return run.method


def _method(arguments: argparse.Namespace, in_file: Method) -> Method:
    """Return the method of the run file with the overrides of the command line."""
    from dmft.methods import GradientDescent, GradientFlow

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
    return GradientFlow(**{"t_max": in_file.t_max, "tol": in_file.tol, "times": times, **flow})


def setting(argument: Any, in_file: Any, key: str, option: str) -> Any:
    """Return the argument, else what the run file says, else complain that neither is given."""
    if argument is None and in_file is None:
        raise UsageError(f"{key} is not in the run file: add it, or give {option}")
    return in_file if argument is None else argument
