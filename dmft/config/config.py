"""Run files: a problem, a method and what to compute, in TOML.

::

    title = "One line for the list of presets"

    [target]                      # law of the labels
    label = "phase-retrieval"     # a catalogue name
    noise = 0.0                   # optional; so are k and hard_directions, and for labels +-1
                                  # classes = "sign" (with flip = 0.1) or "logistic" (with slope),
                                  # of the label less a threshold

    [network]                     # optional
    activation = "quadratic"
    second_layer = [1.0]          # one weight per neuron; `neurons` may state their number

    [problem]                     # optional
    loss = "pseudo-huber"
    init_radius = 1.0             # or one for each neuron: [1.0, 0.5]
    weight_decay = 0.0            # and initial_overlap, an m x k matrix, init_gram, an m x m one,
                                  # init_law = "sphere" or "gaussian"
    second_layer_weight_decay = 0.0   # where the second layer is trained

    [method]
    step_size = 0.2               # or a list, one for each step, or a schedule:
                                  # { schedule = "cosine", peak = 0.4, final = 0.0 }
    n_steps = 40                  # or gradient flow: t_max = 100.0, and tol, times
    batch_fraction = 1.0          # optional: share of the samples in each step,
    momentum = 0.0                # heavy ball,
    fresh_batches = false         # whether each step has n samples of its own,
    second_layer_step_size = 0.0  # second layer trained with that (or a list, or a schedule)

    [sampling]                    # optional
    n_paths = 16384               # and replicates, seed, rank_tolerance, sobol_blocks, compression

    [threshold]                   # optional: what `delta-nn threshold` needs
    bracket = [1.0, 12.0]         # and step, scan_points

    [curve]                       # optional: delta_NN against the horizon, `delta-nn curve`
    bracket = [0.5, 16.0]         # default: that of [threshold]
    n_steps = 400                 # default: that of [method]; and steps, points, max_solves

    [gap]                         # optional: networks beside delta_alg, `delta-nn gap`
    activations = ["gelu", "quadratic"]   # default: that of [network]
    losses = ["pseudo-huber"]     # default: that of [problem]
    widths = [1, 2]               # neurons, second layer 1/m each; default: that of [network]
    bracket = [0.5, 16.0]         # default: that of [curve]; and n_steps, steps, points,
                                  # max_solves, as there
    step_sizes = [0, 0.1, 0.2]    # 0 is gradient flow; delta_NN with these at
    time = 8.0                    # this time, of
    network = "gelu"              # this network (default: the first); and compare_fresh = false
                                  # for none with fresh batches, d and seeds of runs

    [trajectory]                  # optional
    delta = 6.0

    [spectrum]                    # optional
    delta = 6.0                   # and step

    [simulation]                  # optional: finite d, for `delta-nn simulate` and `compare`
    d = [1000, 2000]              # one size or several
    seeds = 8
    delta = 6.0                   # default: that of [trajectory]
    inputs = "gaussian"           # or a table { law = "student-t", degrees_of_freedom = 5 }
    hessian_steps = [0, 40]       # and hold_hard, hard_overlap, n_extreme, dense_limit, n_test

    [sweep]                       # optional: the threshold seen in simulations, `delta-nn sweep`
    bracket = [1.0, 12.0]         # `points` values of delta, even in log; or a list `deltas`
    points = 9
    d = [500, 1000]
    n_steps = 400                 # default: that of [method]; and seeds, recovery, inputs,
                                  # hessian_step

Settings left out have the defaults of :class:`dmft.Target`, :class:`dmft.Network`,
:class:`dmft.Problem`, :class:`dmft.Sampling`, :func:`dmft.find_delta_nn`,
:func:`dmft.delta_nn_curve`, :func:`dmft.algorithmic_gap`, :func:`dmft.simulate` and
:func:`dmft.sweep`. Labels, activations and
losses of your own need Python: a run file knows the catalogues only.
"""

from __future__ import annotations

import codecs
import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from dmft._numerics.sampling import Sampling
from dmft.config.settings import (
    CurveSettings,
    GapSettings,
    SimulationSettings,
    SpectrumSettings,
    SweepSettings,
    ThresholdSettings,
    TrajectorySettings,
)
from dmft.model.inputs import Inputs
from dmft.model.network import Network
from dmft.model.problem import Problem
from dmft.model.target import Target
from dmft.simulation.simulation_plan import check_steps
from dmft.training.methods import Method, method_from_config

__all__ = [
    "CurveSettings",
    "GapSettings",
    "RunFile",
    "SimulationSettings",
    "SpectrumSettings",
    "SweepSettings",
    "ThresholdSettings",
    "TrajectorySettings",
    "load_preset",
    "load_run",
    "preset_names",
    "preset_text",
]

_T = TypeVar("_T")


# -- the file as written: one Struct per table; what is left out stays UNSET ----------------------


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    def settings(self) -> dict[str, Any]:
        """Return what the file states, without what it leaves out."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in values.items() if value is not UNSET}


class _Target(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    label: str
    k: int | UnsetType = UNSET
    noise: float | UnsetType = UNSET
    hard_directions: list[int | list[float]] | UnsetType = UNSET
    classes: str | UnsetType = UNSET
    flip: float | UnsetType = UNSET
    slope: float | UnsetType = UNSET
    threshold: float | UnsetType = UNSET


class _Network(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    activation: str | UnsetType = UNSET
    second_layer: list[float] | UnsetType = UNSET
    neurons: int | UnsetType = UNSET


class _Problem(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    loss: str | UnsetType = UNSET
    init_radius: float | list[float] | UnsetType = UNSET
    weight_decay: float | UnsetType = UNSET
    initial_overlap: list[list[float]] | UnsetType = UNSET
    init_gram: list[list[float]] | UnsetType = UNSET
    init_law: str | UnsetType = UNSET
    second_layer_weight_decay: float | UnsetType = UNSET


class _Method(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    step_size: float | list[float] | dict[str, Any] | UnsetType = UNSET
    n_steps: int | UnsetType = UNSET
    batch_fraction: float | UnsetType = UNSET
    momentum: float | UnsetType = UNSET
    fresh_batches: bool | UnsetType = UNSET
    second_layer_step_size: float | list[float] | dict[str, Any] | UnsetType = UNSET
    t_max: float | UnsetType = UNSET
    tol: float | UnsetType = UNSET
    times: list[float] | UnsetType = UNSET
    max_steps: int | UnsetType = UNSET


class _Sampling(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    n_paths: int | UnsetType = UNSET
    replicates: int | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    rank_tolerance: float | UnsetType = UNSET
    sobol_blocks: int | UnsetType = UNSET
    compression: float | UnsetType = UNSET


class _Threshold(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    bracket: tuple[float, float] | UnsetType = UNSET
    step: int | UnsetType = UNSET
    scan_points: int | UnsetType = UNSET


class _Curve(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    bracket: tuple[float, float] | UnsetType = UNSET
    n_steps: int | UnsetType = UNSET
    steps: list[int] | UnsetType = UNSET
    points: int | UnsetType = UNSET
    max_solves: int | UnsetType = UNSET


class _Gap(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    activations: list[str] | UnsetType = UNSET
    losses: list[str] | UnsetType = UNSET
    widths: list[int] | UnsetType = UNSET
    bracket: tuple[float, float] | UnsetType = UNSET
    n_steps: int | UnsetType = UNSET
    steps: list[int] | UnsetType = UNSET
    points: int | UnsetType = UNSET
    max_solves: int | UnsetType = UNSET
    step_sizes: list[float] | UnsetType = UNSET
    time: float | UnsetType = UNSET
    network: str | UnsetType = UNSET
    compare_fresh: bool | UnsetType = UNSET
    d: int | UnsetType = UNSET
    seeds: int | UnsetType = UNSET


class _Trajectory(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    delta: float | UnsetType = UNSET


class _Spectrum(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    delta: float | UnsetType = UNSET
    step: int | UnsetType = UNSET


class _Simulation(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    d: int | list[int] | UnsetType = UNSET
    seeds: int | UnsetType = UNSET
    delta: float | UnsetType = UNSET
    inputs: str | dict[str, Any] | UnsetType = UNSET
    hessian_steps: list[int] | UnsetType = UNSET
    hold_hard: bool | UnsetType = UNSET
    hard_overlap: float | list[list[float]] | UnsetType = UNSET
    n_extreme: int | UnsetType = UNSET
    dense_limit: int | UnsetType = UNSET
    n_test: int | UnsetType = UNSET


class _Sweep(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    deltas: list[float] | UnsetType = UNSET
    bracket: tuple[float, float] | UnsetType = UNSET
    points: int | UnsetType = UNSET
    d: int | list[int] | UnsetType = UNSET
    seeds: int | UnsetType = UNSET
    n_steps: int | UnsetType = UNSET
    recovery: float | UnsetType = UNSET
    hessian_step: int | UnsetType = UNSET
    inputs: str | dict[str, Any] | UnsetType = UNSET


class _File(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    target: _Target
    network: _Network = _Network()
    problem: _Problem = _Problem()
    method: _Method
    sampling: _Sampling = _Sampling()
    threshold: _Threshold = _Threshold()
    curve: _Curve = _Curve()
    gap: _Gap = _Gap()
    trajectory: _Trajectory = _Trajectory()
    spectrum: _Spectrum = _Spectrum()
    simulation: _Simulation = _Simulation()
    sweep: _Sweep = _Sweep()


_LARGEST_FILE = 2**24  # bytes

_TABLES: dict[str, type[_Table]] = {
    "target": _Target,
    "network": _Network,
    "problem": _Problem,
    "method": _Method,
    "sampling": _Sampling,
    "threshold": _Threshold,
    "curve": _Curve,
    "gap": _Gap,
    "trajectory": _Trajectory,
    "spectrum": _Spectrum,
    "simulation": _Simulation,
    "sweep": _Sweep,
}


# -- the file as used ----------------------------------------------------------------------------


@dataclass(frozen=True)
class RunFile:
    """A run file, read and checked.

    Attributes
    ----------
    name : str
        Name of the preset, or of the file without its suffix.
    problem : Problem
    method : GradientDescent or GradientFlow
    sampling : Sampling
    threshold : ThresholdSettings
    curve : CurveSettings
    gap : GapSettings
    trajectory : TrajectorySettings
    spectrum : SpectrumSettings
    simulation : SimulationSettings
    sweep : SweepSettings
    title, description : str
        Empty if not given.

    Examples
    --------
    >>> run = load_preset("robust-phase-retrieval")
    >>> run.problem.loss.name, run.method.n_steps
    ('pseudo-huber', 40)
    """

    name: str
    problem: Problem
    method: Method
    sampling: Sampling = field(default_factory=Sampling)
    threshold: ThresholdSettings = field(default_factory=ThresholdSettings)
    curve: CurveSettings = field(default_factory=CurveSettings)
    gap: GapSettings = field(default_factory=GapSettings)
    trajectory: TrajectorySettings = field(default_factory=TrajectorySettings)
    spectrum: SpectrumSettings = field(default_factory=SpectrumSettings)
    simulation: SimulationSettings = field(default_factory=SimulationSettings)
    sweep: SweepSettings = field(default_factory=SweepSettings)
    title: str = ""
    description: str = ""

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], name: str, *, source: str | None = None
    ) -> RunFile:
        """Check the tables of a run file.

        Parameters
        ----------
        config : mapping
            As a TOML parser returns it.
        name : str
        source : str, optional
            What messages call the file; default: `name`.

        Raises
        ------
        ValueError
            One line naming source, table and key, what was found and what is allowed.
        """
        source = name if source is None else source
        _check_values(config, source)
        _check_known_keys(config, source)
        try:
            tables = msgspec.convert(dict(config), _File)
        except msgspec.ValidationError as error:
            raise ValueError(f"{source}: {_type_message(str(error), config)}") from None

        def build(table: str, make: Callable[..., _T], *args: Any, **settings: Any) -> _T:
            try:
                return make(*args, **settings)
            except ValueError as error:
                raise ValueError(f"{source}: [{table}]: {error}") from error

        target = build("target", Target, **tables.target.settings())
        network = build("network", Network, **tables.network.settings())
        run = cls(
            name=name,
            problem=build("problem", Problem, target, network, **tables.problem.settings()),
            method=build("method", _method, **tables.method.settings()),
            sampling=build("sampling", Sampling, **tables.sampling.settings()),
            threshold=build("threshold", ThresholdSettings, **tables.threshold.settings()),
            curve=build("curve", CurveSettings, **tables.curve.settings()),
            gap=build("gap", GapSettings, **tables.gap.settings()),
            trajectory=build("trajectory", TrajectorySettings, **tables.trajectory.settings()),
            spectrum=build("spectrum", SpectrumSettings, **tables.spectrum.settings()),
            simulation=build("simulation", SimulationSettings, **tables.simulation.settings()),
            sweep=build("sweep", SweepSettings, **tables.sweep.settings()),
            title="" if tables.title is UNSET else tables.title,
            description="" if tables.description is UNSET else tables.description,
        )
        build("problem", run.problem.check_labels)
        simulated, swept, n_steps = run.simulation, run.sweep, run.method.n_steps
        horizon = n_steps if run.curve.n_steps is None else run.curve.n_steps
        build("curve", check_steps, "steps", run.curve.steps or (), horizon)
        horizon = n_steps if run.gap.n_steps is None else run.gap.n_steps
        build("gap", check_steps, "steps", run.gap.steps or (), horizon)
        build("simulation", check_steps, "hessian_steps", simulated.hessian_steps, n_steps)
        if swept.hessian_step is not None:
            budget = n_steps if swept.n_steps is None else swept.n_steps
            build("sweep", check_steps, "hessian_step", (swept.hessian_step,), budget)
        return run

    def to_config(self) -> dict[str, Any]:
        """Tables of plain types, the inverse of :meth:`from_config`; settings of None left out."""
        problem = self.problem.to_config()
        config = {
            "title": self.title,
            "description": self.description,
            "target": problem.pop("target"),
            "network": problem.pop("network"),
            "problem": problem,
            "method": self.method.to_config(),
            "sampling": self.sampling.to_config(),
            "threshold": vars(self.threshold),
            "curve": vars(self.curve),
            "gap": vars(self.gap),
            "trajectory": vars(self.trajectory),
            "spectrum": vars(self.spectrum),
            "simulation": vars(self.simulation),
            "sweep": vars(self.sweep),
        }
        return {
            name: {key: _plain(value) for key, value in table.items() if value is not None}
            if isinstance(table, dict)
            else table
            for name, table in config.items()
        }


def _method(**settings: Any) -> Method:
    """Gradient descent or flow, whichever the table describes."""
    descent = not settings.keys() & {"t_max", "tol", "times", "max_steps"}
    options = {"batch_fraction", "momentum", "second_layer_step_size", "fresh_batches"}
    extra = settings.keys() & {"step_size", "n_steps", *options}
    if extra and not descent:
        raise ValueError(
            f"{min(extra)} belongs to gradient descent, t_max, tol, times and max_steps to "
            "gradient flow: give one or the other"
        )
    for name in ("step_size", "n_steps") if descent else ("t_max",):
        if name not in settings:
            raise ValueError(
                f"method.{name} is missing: gradient descent has step_size and n_steps, "
                "gradient flow t_max"
            )
    return method_from_config(settings)


def _plain(value: Any) -> Any:
    return value.to_config() if isinstance(value, Inputs) else value


def load_run(path: str | os.PathLike[str]) -> RunFile:
    """Read a run file.

    Parameters
    ----------
    path : path-like
        A TOML file, see `dmft.config.config`.

    Returns
    -------
    RunFile

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not TOML, has an unknown key, a value of the wrong type or one that is not
        allowed. The message is one line naming file, table, key, and what is allowed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "own.toml")
    ...     _ = path.write_text(preset_text("product"), encoding="utf-8")
    ...     run = load_run(path)
    >>> run.name, run.problem.m
    ('own', 2)
    """
    path = Path(path)
    with path.open("rb") as stream:  # which may have no end
        contents = stream.read(_LARGEST_FILE + 1)
    if len(contents) > _LARGEST_FILE:
        raise ValueError(f"{path}: must be a TOML file of at most {_LARGEST_FILE} bytes")
    try:
        text = contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if contents.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            where = "this one is in UTF-16"
        else:
            where = f"it is not in line {contents.count(10, 0, error.start) + 1}"
        raise ValueError(f"{path}: must be a TOML file in UTF-8; {where}") from None
    return _parse(text, path.stem, str(path))


def preset_names() -> tuple[str, ...]:
    """Names of the presets that come with the package.

    Examples
    --------
    >>> "robust-phase-retrieval" in preset_names()
    True
    """
    folder = resources.files("dmft") / "presets"
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name[: -len(".toml")] for name in names if name.endswith(".toml")))


def preset_text(name: str) -> str:
    """Return the run file of a preset, as text to start your own from.

    Raises
    ------
    ValueError
        If there is no preset of that name; the message lists them, and the nearest.
    """
    names = preset_names()
    if name not in names:
        near = [entry for entry in names if name and name in entry]
        near = near or difflib.get_close_matches(name, names, n=2)
        hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
        raise ValueError(f"preset must be one of {', '.join(names)}; got {name!r}{hint}")
    return (resources.files("dmft") / "presets" / f"{name}.toml").read_text(encoding="utf-8")


def load_preset(name: str) -> RunFile:
    """Read a preset, a run file that comes with the package.

    Parameters
    ----------
    name : str
        One of :func:`preset_names`.

    Returns
    -------
    RunFile

    Raises
    ------
    ValueError
        If there is no preset of that name; the message lists them, and the nearest.

    Examples
    --------
    >>> load_preset("product").problem.m
    2
    """
    return _parse(preset_text(name), name, f"preset {name}")


def _parse(text: str, name: str, source: str) -> RunFile:
    try:
        config = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"{source}: {_TOO_DEEP}") from None
    except ValueError as error:  # of TOML, or a number of too many digits
        raise ValueError(f"{source}: not valid TOML: {_one_line(str(error))}") from None
    return RunFile.from_config(config, name, source=source)


# -- messages ------------------------------------------------------------------------------------


_DEEPEST = 16  # tables and arrays in one another; no setting needs more than four
_TOO_DEEP = "tables and arrays are nested too deeply"


def _check_values(config: Mapping[str, Any], source: str) -> None:
    """Refuse what can be no setting at all, before anything recursive is done with it."""
    todo: list[tuple[str, Any, int]] = [("", config, 0)]
    while todo:
        where, value, depth = todo.pop()
        if depth > _DEEPEST:
            raise ValueError(f"{source}: {_TOO_DEEP}")
        if isinstance(value, Mapping):
            for key, inner in value.items():
                todo.append((f"{where}.{key}" if where else f"{key}", inner, depth + 1))
        elif isinstance(value, list | tuple):
            todo += [(where, inner, depth + 1) for inner in value]
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(
                f"{source}: {_one_line(where)}: integers must have at most 64 bits (TOML), got one "
                f"of {value.bit_length()}"
            )


def _one_line(text: str) -> str:
    """Text of a file as it can stand in a message: short, and nothing a terminal would obey."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def _check_known_keys(config: Mapping[str, Any], source: str) -> None:
    for key, value in config.items():
        if key not in _File.__struct_fields__:
            message = _unknown(key, _File.__struct_fields__, key)
            raise ValueError(f"{source}: {_one_line(key)}: {message}")
        if key in _TABLES and isinstance(value, Mapping):
            allowed = _TABLES[key].__struct_fields__
            for inner in value:
                if inner not in allowed:
                    message = _unknown(inner, allowed, f"{key}.{inner}")
                    raise ValueError(f"{source}: {key}.{_one_line(inner)}: {message}")


def _unknown(key: str, allowed: tuple[str, ...], full: str) -> str:
    """Say what to do about an unknown key: the nearest name, or the table it belongs to."""
    near = difflib.get_close_matches(key, allowed, n=2, cutoff=0.6)
    elsewhere = [
        f"{name}.{key}" for name, table in _TABLES.items() if key in table.__struct_fields__
    ]
    hint = ""
    if near:
        hint = f" (did you mean {' or '.join(map(repr, near))}?)"
    elif elsewhere:
        hint = f" (did you mean {' or '.join(elsewhere)}?)"
    where = "keys here" if "." in full else "tables and keys"
    return f"unknown key{hint}; allowed {where}: {', '.join(allowed)}"


_WORDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "object": "a table",
    "array": "an array",
    "datetime": "a date",
    "null": "nothing",
}


def _type_message(message: str, config: Mapping[str, Any]) -> str:
    """Rephrase a message of msgspec: table.key, what was expected, what was found."""
    missing = re.fullmatch(r"Object missing required field `(\w+)`(?: - at `\$\.?(.*)`)?", message)
    if missing:
        key, table = missing.groups()
        if table:
            return f"{table}.{key}: missing; it has no default"
        required = _required(_TABLES[key]) if key in _TABLES else ""
        if key == "method":
            required = "step_size and n_steps, or t_max"
        return f"[{key}]: missing table; it needs at least {required}"
    match = re.fullmatch(
        r"Expected `(.+?)`(?: of length (\d+))?, got `?(.+?)`? - at `\$\.?(.*)`", message
    )
    if not match:
        return message
    expected, length, found, where = match.groups()
    names = " or ".join(_WORDS.get(name.strip(), name) for name in expected.split("|"))
    if length is not None:
        return f"{where}: must be {names} of length {length}, got length {found.split()[-1]}"
    shown = _at(config, where)
    shown = f" {shown}" if shown else ""
    return f"{where}: must be {names}, got {_WORDS.get(found, found)}{shown}"


def _required(table: type[_Table]) -> str:
    fields = msgspec.structs.fields(table)
    return ", ".join(entry.encode_name for entry in fields if entry.required)


def _at(config: Mapping[str, Any], where: str) -> str:
    """Return the value that a path such as ``network.second_layer[...]`` leads to, briefly."""
    value: Any = config
    for key in where.partition("[")[0].split("."):
        if not isinstance(value, Mapping) or key not in value:
            return ""
        value = value[key]
    if isinstance(value, Mapping):
        return ""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
