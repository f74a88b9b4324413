"""The names of the package, imported on first use (see ``dmft.__getattr__``)."""

from dmft._numerics.sampling import Sampling
from dmft.comparison.comparison import Comparison, compare
from dmft.comparison.run_data import RunData
from dmft.config.config import load_preset, load_run
from dmft.config.run_sources import preset_names
from dmft.hessian.finite_law import FiniteLaw
from dmft.io.results import software_version
from dmft.model.activations import Activation
from dmft.model.gaussian_mixture import GaussianMixture
from dmft.model.gradients import curvature
from dmft.model.independent_latents import IndependentLatents
from dmft.model.inputs import Inputs
from dmft.model.losses import Loss
from dmft.model.network import Network
from dmft.model.problem import Problem
from dmft.model.quantile_laws import Elliptical
from dmft.model.spectral_start import SpectralStart
from dmft.model.target import Target
from dmft.observables.risk_minimization import RiskMinimizer, erm_limit
from dmft.recovery.exponents import Hardness, hardness
from dmft.recovery.label_points import label_law
from dmft.recovery.spectral_methods import SpectralMethod, spectral_method
from dmft.scans.atlas import atlas
from dmft.scans.loading import load
from dmft.scans.scan_result import Scan
from dmft.scans.scans import scan
from dmft.simulation.simulation import SimulatedHessian, Simulation, simulate
from dmft.solver.stability import UnstablePaths
from dmft.studies.algorithmic_threshold import AlgorithmicGap, algorithmic_gap
from dmft.studies.cascade import Cascade, CascadeStage, cascade
from dmft.studies.fall_times import fall_step
from dmft.studies.grokking import Grokking, GrokkingDrop, predict_grokking
from dmft.studies.power_law import PowerLaw
from dmft.studies.recovery_draws import recovery_probability
from dmft.studies.recovery_result import RecoveryProbability
from dmft.studies.scaling_law import scaling_law
from dmft.studies.scaling_law_result import ScalingLaw
from dmft.studies.step_axis import StepAxis
from dmft.studies.step_sizes import SimulationCheck, StepSizes
from dmft.studies.sweep_laws import SweepPrediction, predict_sweep
from dmft.studies.sweep_result import Sweep
from dmft.studies.sweeps import sweep
from dmft.threshold.curve import ThresholdCurve
from dmft.threshold.extrapolation import Extrapolation
from dmft.threshold.gap_limit import GapLimit
from dmft.threshold.horizon import delta_nn_curve
from dmft.threshold.search import find_delta_nn
from dmft.threshold.sizes import ThresholdsAtSizes, delta_nn_at_sizes
from dmft.threshold.threshold import Crossing, Threshold
from dmft.training.gradient_descent import GradientDescent
from dmft.training.gradient_flow import GradientFlow
from dmft.training.schedules import Constant, Cosine, InverseTime, WarmUp
from dmft.trajectory.solving import solve
from dmft.trajectory.spectra import Spectrum, spectrum
from dmft.trajectory.trajectory import Trajectory
from rmt.status import NumericalFailure, Status

__version__ = software_version()

__all__ = [
    "Activation",
    "AlgorithmicGap",
    "Cascade",
    "CascadeStage",
    "Comparison",
    "Constant",
    "Cosine",
    "Crossing",
    "Elliptical",
    "Extrapolation",
    "FiniteLaw",
    "GapLimit",
    "GaussianMixture",
    "GradientDescent",
    "GradientFlow",
    "Grokking",
    "GrokkingDrop",
    "Hardness",
    "IndependentLatents",
    "Inputs",
    "InverseTime",
    "Loss",
    "Network",
    "NumericalFailure",
    "PowerLaw",
    "Problem",
    "RecoveryProbability",
    "RiskMinimizer",
    "RunData",
    "Sampling",
    "ScalingLaw",
    "Scan",
    "SimulatedHessian",
    "Simulation",
    "SimulationCheck",
    "SpectralMethod",
    "SpectralStart",
    "Spectrum",
    "Status",
    "StepAxis",
    "StepSizes",
    "Sweep",
    "SweepPrediction",
    "Target",
    "Threshold",
    "ThresholdCurve",
    "ThresholdsAtSizes",
    "Trajectory",
    "UnstablePaths",
    "WarmUp",
    "algorithmic_gap",
    "atlas",
    "cascade",
    "compare",
    "curvature",
    "delta_nn_at_sizes",
    "delta_nn_curve",
    "erm_limit",
    "fall_step",
    "find_delta_nn",
    "hardness",
    "label_law",
    "load",
    "load_preset",
    "load_run",
    "predict_grokking",
    "predict_sweep",
    "preset_names",
    "recovery_probability",
    "scaling_law",
    "scan",
    "simulate",
    "solve",
    "spectral_method",
    "spectrum",
    "sweep",
]
