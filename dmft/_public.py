"""Dynamical mean-field theory of feature learning in two-layer networks.

``solve`` follows gradient descent in the limit n, d to infinity at n/d = delta; the trajectory's
``hessian(step)`` is the law of its Hessian (a :class:`rmt.HessianLaw`); ``find_delta_nn`` finds
where that Hessian grows an outlier in a hard direction. Setting and notation: Montanari and Wang,
arXiv:2602.01434.

==================  =====================================================  =======================
symbol              meaning                                                identifier
==================  =====================================================  =======================
delta               n/d, samples per input dimension                       ``delta``
m, k                neurons; latent directions                             ``problem.m``, ``.k``
phi(z, eps)         label                                                  ``Target.label``
sigma, a            activation; second layer                               ``Network``
L(f, y)             loss                                                   ``Problem.loss``
rho, lam            radius of initial weights; weight decay                ``init_radius``,
                                                                           ``weight_decay``
eta, T              step size; number of steps                             ``GradientDescent``
C(t, s)             Theta_t^T Theta_s, (m, m)                              ``correlation``
M(t)                Theta_t^T Theta_*, (m, k)                              ``overlap``
G(t, s)             E[g^t g^s^T], (m, m)                                   ``gradient_covariance``
R(t, s)             response of r^t to a force at s, (m, m)                ``response``
D                   second derivative of the loss in r, (m, m)             ``HessianLaw.weights``
A_h(z)              hard block whose zeros are the outliers                ``hard_matrix``
delta_NN(t)         smallest delta above which the hard outlier stays      ``find_delta_nn``,
                                                                           ``delta_nn_curve``
delta_alg           the same for the best polynomial-time algorithms       ``hardness``,
                                                                           ``algorithmic_gap``
==================  =====================================================  =======================
"""

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
from dmft.solver import solve
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
