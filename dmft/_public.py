"""The names of the package, imported on first use (see ``dmft.__getattr__``)."""

from dmft.activations import Activation
from dmft.algorithmic_gap import AlgorithmicGap, algorithmic_gap
from dmft.comparison import Comparison, compare
from dmft.config import load_preset, load_run, preset_names
from dmft.extrapolation import Extrapolation
from dmft.gradient_descent import GradientDescent
from dmft.gradient_flow import GradientFlow
from dmft.grokking import Grokking, fall_step, predict_grokking
from dmft.hardness import Hardness, hardness
from dmft.horizon import ThresholdCurve, delta_nn_curve
from dmft.inputs import Inputs
from dmft.losses import Loss
from dmft.problem import Network, Problem, Target
from dmft.results import software_version
from dmft.sampling import Sampling
from dmft.schedules import Constant, Cosine, InverseTime, WarmUp
from dmft.simulation import SimulatedHessian, Simulation, simulate
from dmft.solving import solve
from dmft.spectra import Spectrum, spectrum
from dmft.stability import UnstablePaths
from dmft.step_axis import StepAxis
from dmft.step_sizes import SimulationCheck, StepSizes
from dmft.sweeps import Sweep, sweep
from dmft.threshold import Crossing, Threshold, find_delta_nn
from dmft.trajectory import Trajectory
from rmt.status import NumericalFailure, Status

__version__ = software_version()

__all__ = [
    "Activation",
    "AlgorithmicGap",
    "Comparison",
    "Constant",
    "Cosine",
    "Crossing",
    "Extrapolation",
    "GradientDescent",
    "GradientFlow",
    "Grokking",
    "Hardness",
    "Inputs",
    "InverseTime",
    "Loss",
    "Network",
    "NumericalFailure",
    "Problem",
    "Sampling",
    "SimulatedHessian",
    "Simulation",
    "SimulationCheck",
    "Spectrum",
    "Status",
    "StepAxis",
    "StepSizes",
    "Sweep",
    "Target",
    "Threshold",
    "ThresholdCurve",
    "Trajectory",
    "UnstablePaths",
    "WarmUp",
    "algorithmic_gap",
    "compare",
    "delta_nn_curve",
    "fall_step",
    "find_delta_nn",
    "hardness",
    "load_preset",
    "load_run",
    "predict_grokking",
    "preset_names",
    "simulate",
    "solve",
    "spectrum",
    "sweep",
]
