"""The command ``delta-nn``.

Exit codes: 0 done; 2 bad input, one line on stderr; 3 a numerical status other than success (what
was computed is still written); 130 interrupted. Whatever is slow to import is imported by the
command that needs it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rmt.status import NumericalFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from matplotlib.figure import Figure

    from dmft.config import RunFile
    from dmft.spectra import Spectrum
    from dmft.threshold import Threshold
    from dmft.trajectory import Trajectory
    from rmt.status import Status

__all__ = ["main"]

_DONE, _BAD_INPUT, _NUMERICAL, _INTERRUPTED = 0, 2, 3, 130
_PROGRAM = "delta-nn"
_FORMATS = ("png", "pdf", "svg")
_SCAN_POINTS = 9  # as find_delta_nn
_REFINEMENTS = 5  # what the root search usually takes after the scan


class _UsageError(Exception):
    """Bad input, with the one line that says so."""


class _Parser(argparse.ArgumentParser):
    """A parser that reports errors as one line."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; default: those of the process.

    Returns
    -------
    int
        Exit code.
    """
    try:
        arguments = _parser().parse_args(argv)
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe left; there is nobody to tell
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _DONE
    except NumericalFailure as failure:
        print(f"{_PROGRAM}: {failure}", file=sys.stderr)
        return _NUMERICAL
    except (ValueError, _UsageError) as error:
        message = str(error)
    except MemoryError:
        message = "not enough memory; reduce n_paths, replicates or n_steps"
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        message = f"{where}{error.strerror or error}"
    print(f"{_PROGRAM}: error: {' '.join(message.split())}", file=sys.stderr)
    return _BAD_INPUT


# -- arguments -----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        description="Numerical theory of feature learning in two-layer networks.",
        formatter_class=_help_format,
        epilog=f"Start with: {_PROGRAM} threshold --preset robust-phase-retrieval",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> _Parser:
        sub: _Parser = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            formatter_class=_help_format,
            allow_abbrev=False,
        )
        sub.set_defaults(run=run)
        return sub

    sub = command(
        "threshold", _threshold, "find delta_NN, where the Hessian grows a hard negative outlier"
    )
    _add_source(sub)
    sub.add_argument(
        "--bracket", nargs=2, type=float, metavar=("LO", "HI"), help="range of delta to search"
    )
    sub.add_argument("--step", type=int, metavar="T", help="horizon t of delta_NN(t)")
    sub.add_argument("--scan-points", type=int, metavar="N", help="points of the first scan")
    _add_numerics(sub)
    _add_output(sub)

    sub = command("trajectory", _trajectory, "follow the order parameters and losses")
    _add_source(sub)
    sub.add_argument("--delta", type=float, help="samples per dimension n/d")
    _add_numerics(sub)
    _add_output(sub)

    sub = command("spectrum", _spectrum, "compute the Hessian's density, edges and outliers")
    _add_source(sub)
    sub.add_argument("--delta", type=float, help="samples per dimension n/d")
    sub.add_argument("--step", type=int, metavar="T", help="step at which to read the Hessian")
    sub.add_argument(
        "--flow", action="store_true", help="also draw edges and outliers along the steps up to T"
    )
    _add_numerics(sub)
    _add_output(sub)

    sub = command("presets", _presets, "list the presets")
    sub.add_argument("--show", metavar="NAME", help="print the run file of a preset")
    sub.add_argument("--json", action="store_true", help="machine-readable output")
    return parser


def _help_format(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=26)


class _Version(argparse.Action):
    """Print the version, looked up only now."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from dmft.results import software_version

        print(f"{_PROGRAM} {software_version()}")
        parser.exit()


def _add_source(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to run (one of)")
    group.add_argument("file", nargs="?", metavar="FILE", help="a TOML run file")
    group.add_argument("--preset", metavar="NAME", help=f"see `{_PROGRAM} presets`")


def _add_numerics(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("in place of what the run file says")
    group.add_argument("--step-size", type=float, metavar="ETA", help="step size")
    group.add_argument("--n-steps", type=int, metavar="T", help="number of steps")
    group.add_argument("--n-paths", type=int, metavar="N", help="paths per replicate, 2^p")
    group.add_argument("--replicates", type=int, metavar="R", help="independent randomisations")
    group.add_argument("--seed", type=int, help="seed of the random numbers")
    group.add_argument("--threads", type=int, metavar="N", help="threads (default: all cores)")


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", default="results", metavar="DIR", help="folder for the files (default: results)"
    )
    group.add_argument(
        "--format", choices=_FORMATS, default="png", help="of the figure (default: png)"
    )
    group.add_argument("--json", action="store_true", help="print the result as JSON")


# -- commands ------------------------------------------------------------------------------------


def _threshold(arguments: argparse.Namespace) -> int:
    from dmft.threshold import find_delta_nn

    run = _run_file(arguments)
    stated = run.threshold
    bracket = _setting(arguments.bracket, stated.bracket, "threshold.bracket", "--bracket LO HI")
    scan_points = stated.scan_points if arguments.scan_points is None else arguments.scan_points
    scan_points = _SCAN_POINTS if scan_points is None else scan_points
    with _Output(arguments, run) as output:
        with _progress(scan_points + _REFINEMENTS, "values of delta") as progress:
            result = find_delta_nn(
                run.problem,
                run.method,
                bracket,
                stated.step if arguments.step is None else arguments.step,
                run.sampling,
                scan_points=scan_points,
                threads=arguments.threads,
                progress=progress,
            )
        output.save("threshold", result)
        from dmft.plotting import plot_threshold

        output.draw("threshold", plot_threshold(result))
    _report(arguments, run, "threshold", result.status, _threshold_json(result), output,
            _threshold_lines(result))  # fmt: skip
    return _DONE if result.status.ok else _NUMERICAL


def _trajectory(arguments: argparse.Namespace) -> int:
    from dmft.solver import solve

    run = _run_file(arguments)
    delta = _setting(arguments.delta, run.trajectory.delta, "trajectory.delta", "--delta")
    with _Output(arguments, run) as output:
        with _progress(_solver_steps(run, run.method.n_steps), "steps") as progress:
            result = solve(
                run.problem,
                delta,
                run.method,
                run.sampling,
                hessian_steps=(),
                threads=arguments.threads,
                progress=progress,
            )
        if result.steps.size:
            output.save("trajectory", result)
            from dmft.plotting import plot_trajectory

            output.draw("trajectory", plot_trajectory(result))
    _report(arguments, run, "trajectory", result.status, _trajectory_json(result), output,
            _trajectory_lines(result))  # fmt: skip
    return _DONE if result.status.ok else _NUMERICAL


def _spectrum(arguments: argparse.Namespace) -> int:
    from dmft._validation import check_integer
    from dmft.gradient_descent import GradientDescent
    from dmft.solver import solve
    from dmft.spectra import spectrum

    run = _run_file(arguments)
    delta = _setting(arguments.delta, run.spectrum.delta, "spectrum.delta", "--delta")
    step = run.spectrum.step if arguments.step is None else arguments.step
    step = run.method.n_steps if step is None else check_integer("step", step, minimum=0)
    if step > run.method.n_steps:
        raise ValueError(f"step must be in 0..n_steps = 0..{run.method.n_steps}, got {step}")
    with _Output(arguments, run) as output:
        with _progress(_solver_steps(run, step), "steps") as progress:
            # What happens after the step does not matter to it.
            trajectory = solve(
                run.problem,
                delta,
                GradientDescent(step_size=run.method.step_size, n_steps=step),
                run.sampling,
                keep_paths=True if arguments.flow else None,
                threads=arguments.threads,
                progress=progress,
            )
        if trajectory.n_steps >= step:
            result = spectrum(trajectory, step)
            status, data, lines = result.status, _spectrum_json(result), _spectrum_lines(result)
            output.save("spectrum", result)
            from dmft.plotting import plot_flow, plot_spectrum

            output.draw("spectrum", plot_spectrum(result))
            if arguments.flow:
                output.draw("flow", plot_flow(trajectory))
        else:
            status, last = trajectory.status, trajectory.n_steps
            data = {"delta": delta, "step": step, "steps_computed": last}
            lines = [("delta", f"{delta:g}"), ("no spectrum", f"last step computed: {last}")]
    _report(arguments, run, "spectrum", status, data, output, lines)
    return _DONE if status.ok else _NUMERICAL


def _presets(arguments: argparse.Namespace) -> int:
    from dmft.config import load_preset, preset_names, preset_text

    if arguments.show is not None:
        text = preset_text(arguments.show)
        if arguments.json:
            _print_json(load_preset(arguments.show).to_config())
        else:
            print(text, end="")
        return _DONE
    titles = {name: load_preset(name).title for name in preset_names()}
    if arguments.json:
        _print_json(titles)
    else:
        width = max(map(len, titles))
        for name, title in titles.items():
            print(f"{name:{width}}  {title}")
    return _DONE


def _run_file(arguments: argparse.Namespace) -> RunFile:
    """Read the run file or preset, with the overrides of the command line."""
    from dmft._validation import check_integer
    from dmft.config import load_preset, load_run

    if (arguments.file is None) == (arguments.preset is None):
        raise _UsageError("give either a TOML run file or --preset NAME")
    if arguments.threads is not None:
        check_integer("threads", arguments.threads, minimum=1)
    run = load_run(arguments.file) if arguments.preset is None else load_preset(arguments.preset)

    def stated(*names: str) -> dict[str, Any]:
        values = {name: getattr(arguments, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    return dataclasses.replace(
        run,
        method=dataclasses.replace(run.method, **stated("step_size", "n_steps")),
        sampling=dataclasses.replace(run.sampling, **stated("n_paths", "replicates", "seed")),
    )


def _setting(argument: Any, stated: Any, key: str, option: str) -> Any:
    if argument is None and stated is None:
        raise _UsageError(f"{key} is not in the run file: add it, or give {option}")
    return stated if argument is None else argument


def _solver_steps(run: RunFile, n_steps: int) -> int:
    return n_steps * (run.sampling.replicates + 1)


# -- files ---------------------------------------------------------------------------------------


class _Output:
    """The folder results go to; found fault with before the computation, not after it."""

    def __init__(self, arguments: argparse.Namespace, run: RunFile) -> None:
        self.folder = Path(arguments.out)
        self.files: list[Path] = []
        self._format = arguments.format
        self._name = run.name
        self._made: list[Path] = []
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time since the start."""
        return time.perf_counter() - self._start

    def __enter__(self) -> _Output:
        import tempfile

        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._made = missing
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            self._remove()
            reason = error.strerror or str(error)
            raise _UsageError(f"--out must be a folder to write to, got {self.folder}: {reason}")\
                from error  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        if not self.files:
            self._remove()

    def _remove(self) -> None:
        """Take away the folders made here, deepest first, if nothing is in them."""
        for path in self._made:
            with contextlib.suppress(OSError):
                path.rmdir()

    def save(self, kind: str, result: Threshold | Trajectory | Spectrum) -> None:
        path = self.folder / f"{self._name}-{kind}.npz"
        result.save(path)
        self.files.append(path)

    def draw(self, kind: str, figure: Figure) -> None:
        from dmft.plotting import save_figure

        path = self.folder / f"{self._name}-{kind}.{self._format}"
        self.files.append(save_figure(figure, path))


# -- what is said --------------------------------------------------------------------------------


@contextlib.contextmanager
def _progress(total: int, unit: str) -> Iterator[Callable[[int], None] | None]:
    """Show progress on a terminal, nothing in a pipe; safe to call from several threads."""
    if not sys.stderr.isatty() or total == 0:
        yield None
        return
    from tqdm import tqdm

    lock = threading.Lock()
    with tqdm(total=total, unit=f" {unit}", file=sys.stderr, leave=False, delay=0.3) as bar:

        def advance(count: int) -> None:
            with lock:
                bar.total = max(bar.total, bar.n + count)
                bar.update(count)

        yield advance


def _report(
    arguments: argparse.Namespace,
    run: RunFile,
    command: str,
    status: Status,
    data: dict[str, Any],
    output: _Output,
    lines: list[tuple[str, str]],
) -> None:
    from dmft.results import software_version

    if arguments.json:
        _print_json(
            {
                "command": command,
                "name": run.name,
                "version": software_version(),
                "status": status.name,
                "message": status.value,
                **data,
                "config": run.to_config(),
                "files": [str(path) for path in output.files],
                "seconds": round(output.seconds, 3),
            }
        )
        return
    problem, m = run.problem, run.problem.m
    sampling = run.sampling
    neurons = f"{m} {problem.network.activation.name} neuron{'s' if m > 1 else ''}"
    lines = [
        ("problem", f"{run.name}: {problem.target.name}, {neurons}, {problem.loss.name} loss"),
        ("method", f"gradient descent, step size {run.method.step_size:g}"),
        ("paths", f"{sampling.replicates} x {sampling.n_paths}, seed {sampling.seed}"),
        *lines,
        ("status", status.name if status.ok else f"{status.name}: {status.value}"),
        *(("wrote", str(path)) for path in output.files),
        ("time", f"{output.seconds:.1f} s"),
    ]
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        print(f"{name:{width}}  {text}")


def _print_json(data: Any) -> None:
    print(json.dumps(_plain(data), allow_nan=False))


def _plain(data: Any) -> Any:
    """Plain JSON types; NaN and infinities, which JSON does not have, become null."""
    if hasattr(data, "tolist"):
        data = data.tolist()
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def _with_error(value: float, stderr: float) -> str:
    """``value +- stderr`` to two digits of the error."""
    if not math.isfinite(value):
        return f"{value:g}"
    if stderr == 0.0:
        return f"{value:.6g} (quadrature)"
    if not math.isfinite(stderr):
        return f"{value:.6g} (error unknown)"
    digits = min(max(1 - math.floor(math.log10(stderr)), 0), 8)
    return f"{value:.{digits}f} +- {stderr:.{digits}f}"


def _threshold_json(result: Threshold) -> dict[str, Any]:
    return {
        "value": result.value,
        "stderr": result.stderr,
        "step": result.step,
        "bracket": result.bracket,
        "gap_at_bracket": result.gap_at_bracket,
        "crossings": [vars(crossing) for crossing in result.crossings],
        "residual": result.residual,
        "n_evaluations": result.n_evaluations,
        "delta": result.delta,
        "gap": result.gap,
        "gap_stderr": result.gap_stderr,
    }


def _threshold_lines(result: Threshold) -> list[tuple[str, str]]:
    def end(index: int) -> str:
        gap = _with_error(float(result.gap[index]), float(result.gap_stderr[index]))
        return f"{gap if gap != 'nan' else 'no value'} at {result.delta[index]:g}"

    crossings = ", ".join(
        f"{crossing.value:.4g} (outlier {'appears' if crossing.opens else 'disappears'})"
        for crossing in result.crossings
    )
    value = _with_error(result.value, result.stderr) if result.status.ok else "none found"
    return [
        (f"delta_NN(t={result.step})", value),
        ("crossings", crossings or "none"),
        ("gap", f"{end(0)}, {end(-1)}; {result.n_evaluations} evaluations"),
    ]


def _trajectory_json(result: Trajectory) -> dict[str, Any]:
    names = ("norm", "overlap", "train_loss", "test_loss", "gradient_norm")
    empty = result.steps.size == 0
    return {
        "delta": result.delta,
        "steps_computed": result.n_steps,
        "rank": result.rank,
        **{name: [] if empty else getattr(result, name) for name in names},
        "stderr": {name: [] if empty else result.stderr[name] for name in names},
    }


def _trajectory_lines(result: Trajectory) -> list[tuple[str, str]]:
    lines = [("delta", f"{result.delta:g}"), ("steps", f"{result.n_steps}")]
    if result.steps.size == 0:
        return lines

    def last(name: str) -> str:
        value, error = getattr(result, name)[-1], result.stderr[name][-1]
        return _with_error(float(value), float(error))

    lines += [("train loss", last("train_loss")), ("test loss", last("test_loss"))]
    lines.append(("gradient norm", last("gradient_norm")))
    return lines


def _spectrum_json(result: Spectrum) -> dict[str, Any]:
    return {
        "delta": result.delta,
        "step": result.step,
        "left_edge": result.left_edge,
        "left_edge_stderr": result.left_edge_stderr,
        "right_edge": result.right_edge,
        "right_edge_stderr": result.right_edge_stderr,
        "outliers": [vars(outlier) for outlier in result.outliers],
        "outlier_status": result.outlier_status.name,
        "hard_gap": result.hard_gap,
        "hard_gap_stderr": result.hard_gap_stderr,
        "atom_at_zero": result.atom_at_zero,
        "x": result.x,
        "density": result.density,
    }


def _spectrum_lines(result: Spectrum) -> list[tuple[str, str]]:
    lines = [
        ("delta, step", f"{result.delta:g}, {result.step}"),
        ("left edge", _with_error(result.left_edge, result.left_edge_stderr)),
        ("right edge", _with_error(result.right_edge, result.right_edge_stderr)),
    ]
    if result.atom_at_zero:
        lines.append(("atom at zero", f"{result.atom_at_zero:.6g}"))
    no_hard = math.isnan(result.hard_gap)
    gap = _with_error(result.hard_gap, result.hard_gap_stderr)
    lines.append(("hard gap", "no hard direction" if no_hard else gap))
    for outlier in result.outliers:
        value = _with_error(outlier.value, outlier.stderr)
        if outlier.hard_overlap > 0:
            overlap = _with_error(outlier.hard_overlap, outlier.hard_overlap_stderr)
            lines.append(("outlier", f"{value}, hard overlap {overlap}"))
        else:
            easy = sum(outlier.latent_overlap)
            lines.append(("outlier", f"{value}, overlap with easy directions {easy:.4f}"))
    if not result.outlier_status.ok:
        lines.append(("outliers", f"hard ones only: {result.outlier_status.value}"))
    if not result.outliers:
        lines.append(("outlier", "none"))
    return lines
