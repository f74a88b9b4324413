"""Run files: a problem, a method and what to compute, in TOML.

::

    title = "One line for the list of presets"

    [target]                      # law of the labels
    label = "phase-retrieval"     # a catalogue name, { name = "capped-square", cap = 5.0 }, or
                                  # "mine.py:parity" with k = 2, see below
    noise = 0.0                   # optional; so are k and hard_directions, and for labels +-1
                                  # classes = "sign" (with flip = 0.1) or "logistic" (with slope),
                                  # of the label less a threshold

    [network]                     # optional
    activation = "quadratic"      # or { name = "swish", beta = 1.5 }, or one of your own
    second_layer = [1.0]          # one weight per neuron; or `neurons = m`, for 1/m each
    biases = [0.5]                # one per neuron, one number for all, or a law:
                                  # { law = "gaussian", std = 0.5, mean = 0.0, seed = 0 }

    [problem]                     # optional
    loss = "pseudo-huber"         # or { name = "normalised-square", a = 1.0 }
    init_radius = 1.0             # or one for each neuron: [1.0, 0.5]
    weight_decay = 0.0            # and initial_overlap, an m x k matrix, init_gram, an m x m one,
                                  # init_law = "sphere" or "gaussian"
    second_layer_weight_decay = 0.0   # where the second layer is trained, and bias_weight_decay
    inputs = "gaussian"           # or a table, { law = "elliptical", scales = "student-t",
                                  # degrees_of_freedom = 3 }, { law = "independent-latents",
                                  # latents = "rademacher" } (or one law for each: ["rademacher",
                                  # "normal"]), { law = "gaussian-mixture", weights, means,
                                  # covariances, scales } (with classes = "component")
    spectral_start = "optimal"    # start along the leading eigenvector of the data ("none": do
                                  # not); or "clipped",
                                  # { preprocessing = "clipped", cap = 4.0, share = [1.0, 0.5] },
                                  # or "mine.py:preprocess", a function of the label

    [method]
    step_size = 0.2               # or a list, one for each step, or a schedule:
                                  # { schedule = "cosine", peak = 0.4, final = 0.0 }
    n_steps = 40                  # or gradient flow: t_max = 100.0, and tol, times
    batch_fraction = 1.0          # optional: share of the samples in each step,
    momentum = 0.0                # heavy ball, or Nesterov's with nesterov = true,
    constraint = "none"           # or "sphere": neurons keep their norms (flows too),
    fresh_batches = false         # whether each step has n samples of its own,
    second_layer_step_size = 0.0  # second layer trained with that (or a list, or a schedule),
    bias_step_size = 0.0          # and biases; those of a flow with bias_rate, relative to weights

    [sampling]                    # optional
    n_paths = 16384               # and replicates, seed, rank_tolerance, sobol_blocks, compression
    rtol = 0.01                   # relative error that thresholds, curves and trajectories
                                  # reach, in place of n_paths; within max_paths, max_seconds

    [threshold]                   # optional: what `delta-nn threshold` needs
    bracket = [1.0, 12.0]         # and step, scan_points; criterion = "left" or "any" for other
                                  # outliers than negative ones, index = 2 for the second of them

    [curve]                       # optional: delta_NN against the horizon, `delta-nn curve`
    bracket = [0.5, 16.0]         # default: that of [threshold]
    n_steps = 400                 # default: that of [method]; and steps, points, max_solves;
                                  # criterion, index: those of [threshold] by default

    [cascade]                     # optional: thresholds of all features, `delta-nn cascade`
    bracket = [0.5, 60.0]         # default: that of [curve]; and n_steps, steps, points,
    learned = [[0.3, 0.0]]        # max_solves, criterion, features; stages with these overlaps

    [scaling-law]                 # optional: `delta-nn scaling-law`
    widths = [1, 2, 4]            # neurons, copies of that of [network]; and bracket, n_steps,
                                  # steps (one), points, max_solves, criterion, n_points

    [algorithmic-gap]             # optional: networks against delta_alg
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
                                  # hessian_step, and recovery_draws: runs drawn to predict it,
                                  # `delta-nn recovery`

    [grokking]                    # optional: d, seeds and delta are those of [simulation]
    drops = 2                     # features that are learned one after the other; and n_draws,
                                  # max_draws

    [spectral-method]             # optional; delta is that of [trajectory]
    preprocessing = "optimal"     # or "optimal-scalar", "clipped" (with cap), or one of your own;
                                  # and side, bracket, n_points

    [scan]                        # optional: a grid over any of these keys, `delta-nn scan`
    quantity = ["threshold"]      # see `dmft.scans.quantities`
    design = "product"            # or zip, list, random, sobol; and points, seed of these
    [scan.axes]
    "target.noise" = { from = 0.0, to = 1.0, num = 8 }   # or scale = "log", or a list

Settings left out have the defaults of :class:`dmft.Target`, :class:`dmft.Network`,
:class:`dmft.Problem`, :class:`dmft.Sampling`, :func:`dmft.find_delta_nn`,
:func:`dmft.delta_nn_curve`, :func:`dmft.algorithmic_gap`, :func:`dmft.simulate` and
:func:`dmft.sweep`.

Labels, activations and losses of your own are Python: ``"file.py:object"``, the file beside the run
file, or ``"module.path:object"``; with parameters, ``{ python = "acts.py:swish", beta = 1.5 }``.
See `dmft.config.own_laws`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dmft._numerics.accuracy import Accuracy
from dmft._numerics.sampling import Sampling
from dmft.config.cascade_settings import CascadeSettings
from dmft.config.grokking_settings import GrokkingSettings
from dmft.config.options import (
    Settings,
    check_known,
    check_plain,
    converted,
    read_table,
    within,
)
from dmft.config.overrides import OF_PROBLEM, with_overrides
from dmft.config.own_entries import name_own, placed, target_of
from dmft.config.run_sources import (
    RunSource,
    preset_names,
    preset_text,
    source_of_file,
    source_of_preset,
)
from dmft.config.scaling_law_settings import ScalingLawSettings
from dmft.config.settings import (
    AlgorithmicGapSettings,
    CurveSettings,
    MethodSettings,
    NetworkSettings,
    ProblemSettings,
    SamplingSettings,
    ScanSettings,
    SimulationSettings,
    SpectrumSettings,
    SweepSettings,
    TargetSettings,
    ThresholdSettings,
    TrajectorySettings,
)
from dmft.config.spectral_settings import SpectralMethodSettings
from dmft.model.activations import Activation
from dmft.model.classification import COMPONENT
from dmft.model.inputs import Inputs
from dmft.model.law_sources import SourcedFunction, custom_entry
from dmft.model.losses import Loss
from dmft.model.network import Network
from dmft.model.problem import Problem
from dmft.simulation.simulation_plan import check_steps
from dmft.training.methods import Method

__all__ = [
    "TABLES",
    "AlgorithmicGapSettings",
    "CascadeSettings",
    "CurveSettings",
    "RunFile",
    "ScanSettings",
    "SimulationSettings",
    "SpectralMethodSettings",
    "SpectrumSettings",
    "SweepSettings",
    "ThresholdSettings",
    "TrajectorySettings",
    "load_preset",
    "load_run",
    "preset_names",
    "preset_text",
    "run_of",
]

#: Tables of a run file. Attributes of `RunFile` have underscores for dashes.
TABLES: dict[str, type[Settings]] = {
    "target": TargetSettings,
    "network": NetworkSettings,
    "problem": ProblemSettings,
    "method": MethodSettings,
    "sampling": SamplingSettings,
    "threshold": ThresholdSettings,
    "curve": CurveSettings,
    "cascade": CascadeSettings,
    "scaling-law": ScalingLawSettings,
    "algorithmic-gap": AlgorithmicGapSettings,
    "trajectory": TrajectorySettings,
    "spectrum": SpectrumSettings,
    "simulation": SimulationSettings,
    "sweep": SweepSettings,
    "grokking": GrokkingSettings,
    "spectral-method": SpectralMethodSettings,
    "scan": ScanSettings,
}
_COMMANDS = tuple(TABLES)[5:]
# Written only where something is stated: files from before these tables are equal to those after.
_LATER_TABLES = ("grokking", "scaling-law", "spectral-method")
_TEXTS = {"title": str, "description": str}
_GAP, _OLD_GAP = "algorithmic-gap", "gap"  # the old name is still read


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
    cascade : CascadeSettings
    scaling_law : ScalingLawSettings
    algorithmic_gap : AlgorithmicGapSettings
    trajectory : TrajectorySettings
    spectrum : SpectrumSettings
    simulation : SimulationSettings
    sweep : SweepSettings
    grokking : GrokkingSettings
    spectral_method : SpectralMethodSettings
    scan : ScanSettings
    title, description : str
        Empty if not given.
    accuracy : Accuracy or None
        That of thresholds, curves and trajectories; they use ``n_paths`` of the sampling if None.

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
    cascade: CascadeSettings = field(default_factory=CascadeSettings)
    scaling_law: ScalingLawSettings = field(default_factory=ScalingLawSettings)
    algorithmic_gap: AlgorithmicGapSettings = field(default_factory=AlgorithmicGapSettings)
    trajectory: TrajectorySettings = field(default_factory=TrajectorySettings)
    spectrum: SpectrumSettings = field(default_factory=SpectrumSettings)
    simulation: SimulationSettings = field(default_factory=SimulationSettings)
    sweep: SweepSettings = field(default_factory=SweepSettings)
    grokking: GrokkingSettings = field(default_factory=GrokkingSettings)
    spectral_method: SpectralMethodSettings = field(default_factory=SpectralMethodSettings)
    scan: ScanSettings = field(default_factory=ScanSettings)
    title: str = ""
    description: str = ""
    accuracy: Accuracy | None = None

    @property
    def accuracy_options(self) -> dict[str, Any]:
        """The accuracy as functions take it: ``rtol``, ``max_paths``, ``max_seconds``."""
        return {} if self.accuracy is None else self.accuracy.options()

    @property
    def gap(self) -> AlgorithmicGapSettings:
        """Former name of ``algorithmic_gap``."""
        return self.algorithmic_gap

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        name: str,
        *,
        source: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        folder: str | os.PathLike[str] = "",
    ) -> RunFile:
        """Check the tables of a run file.

        Parameters
        ----------
        config : mapping
            As a TOML parser returns it.
        name : str
        source : str, optional
            What messages call the file; default: `name`.
        overrides : mapping, optional
            Values by dotted key, as ``{"target.noise": 0.3}``, that replace those of the file
            before it is checked; None removes a key.
        folder : path-like
            Where the Python files of own laws are looked for; default: the working directory.

        Raises
        ------
        ValueError
            One line naming source, table and key, what was found and what is allowed.
        """
        try:
            if overrides:
                check_plain(config)
                config = with_overrides(config, overrides, TABLES)
            return cls._from_tables(config, name, folder)
        except ValueError as error:
            raise ValueError(f"{name if source is None else source}: {error}") from error

    @classmethod
    def _from_tables(
        cls, config: Mapping[str, Any], name: str, folder: str | os.PathLike[str]
    ) -> RunFile:
        check_plain(config)
        if _GAP in config and _OLD_GAP in config:
            raise ValueError(f"{_OLD_GAP}: it is the old name of [{_GAP}]: give one of them")
        names = {table: table for table in TABLES}  # those of the file, for messages
        if _OLD_GAP in config:
            names[_GAP] = _OLD_GAP
        check_known(config, {names[table]: kind for table, kind in TABLES.items()}, _TEXTS)
        texts = {key: converted(config[key], str, key) for key in _TEXTS if key in config}
        for table, needed in (("target", "label"), ("method", "step_size and n_steps, or t_max")):
            if table not in config:
                raise ValueError(f"[{table}]: missing table; it needs at least {needed}")
        tables: dict[str, Any] = {
            table: read_table(
                kind, names[table], placed(table, config.get(names[table], {}), folder)
            )
            for table, kind in TABLES.items()
        }
        settings = {table: found.stated() for table, found in tables.items()}
        for table in OF_PROBLEM:
            with within(table):
                name_own(table, settings[table])
        if "label" not in settings["target"] and settings["target"].get("classes") != COMPONENT:
            raise ValueError("target.label: missing; it has no default")
        with within("target"):
            target = target_of(settings["target"])
        with within("network"):
            network = Network(**settings["network"])
        with within("problem"):
            problem = Problem(target, network, **settings["problem"])
        with within("method"):
            method = tables["method"].method()
        with within("sampling"):
            sampling, accuracy = tables["sampling"].sampling, tables["sampling"].accuracy
        with within("problem"):
            problem.check_labels()
        asked = {_attribute(table): tables[table] for table in _COMMANDS}
        run = cls(name, problem, method, sampling, **asked, **texts, accuracy=accuracy)
        run._check_steps(names[_GAP])
        return run

    def _check_steps(self, gap_table: str) -> None:
        """Check that no step is beyond its horizon."""
        gap, sweep = self.algorithmic_gap, self.sweep
        for table, name, steps, horizon in (
            ("curve", "steps", self.curve.steps, self.curve.n_steps),
            ("cascade", "steps", self.cascade.steps, self.cascade.n_steps),
            ("scaling-law", "steps", self.scaling_law.steps, self.scaling_law.n_steps),
            (gap_table, "steps", gap.steps, gap.n_steps),
            ("simulation", "hessian_steps", self.simulation.hessian_steps, None),
            ("sweep", "hessian_step", sweep.stated("hessian_step").values(), sweep.n_steps),
        ):
            with within(table):
                last = self.method.n_steps if horizon is None else horizon
                check_steps(name, tuple(steps or ()), last)

    def to_config(self) -> dict[str, Any]:
        """Return tables of plain types, the inverse of :meth:`from_config`; None is left out."""
        problem = self.problem.to_config()
        asked = {table: getattr(self, _attribute(table)).stated() for table in _COMMANDS}
        config = {
            "title": self.title,
            "description": self.description,
            "target": problem.pop("target"),
            "network": problem.pop("network"),
            "problem": problem,
            "method": self.method.to_config(),
            "sampling": {**self.sampling.to_config(), **self.accuracy_options},
            **{k: v for k, v in asked.items() if v or k not in _LATER_TABLES},
        }
        return {
            name: {key: _plain(value) for key, value in table.items() if value is not None}
            if isinstance(table, dict)
            else table
            for name, table in config.items()
        }


def _attribute(table: str) -> str:
    return table.replace("-", "_")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, SourcedFunction):
        return custom_entry(value, value.__name__)
    if isinstance(value, Activation | Loss):
        return value.config
    return value.to_config() if isinstance(value, Inputs) else value


def load_run(path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> RunFile:
    """Read a run file.

    Parameters
    ----------
    path : path-like
        A TOML file, see `dmft.config.config`.
    overrides : mapping, optional
        Values by dotted key that replace those of the file, whether it has the key or not.

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
    ...     noisy = load_run(path, {"target.noise": 0.5})
    >>> run.name, run.problem.m, noisy.problem.target.noise
    ('own', 2, 0.5)
    """
    return run_of(source_of_file(path), overrides)


def load_preset(name: str, overrides: Mapping[str, Any] | None = None) -> RunFile:
    """Read a preset, a run file that comes with the package.

    Parameters
    ----------
    name : str
        One of :func:`preset_names`.
    overrides : mapping, optional
        As for :func:`load_run`.

    Returns
    -------
    RunFile

    Raises
    ------
    ValueError
        If there is no preset of that name; the message lists them, and the nearest. If an
        override is not allowed.

    Examples
    --------
    >>> load_preset("product").problem.m
    2
    >>> load_preset("product", {"network.activation": "erf"}).problem.network.activation.name
    'erf'
    """
    return run_of(source_of_preset(name), overrides)


def run_of(source: RunSource, overrides: Mapping[str, Any] | None = None) -> RunFile:
    """Check a run file that has been read, as `RunFile.from_config` does."""
    return RunFile.from_config(
        source.tables, source.name, source=source.where, overrides=overrides, folder=source.folder
    )
