"""Dynamical mean-field theory of gradient descent on two-layer networks."""

from dmft.activations import Activation
from dmft.gradient_descent import GradientDescent
from dmft.losses import Loss
from dmft.problem import Network, Problem, Target
from dmft.sampling import Sampling
from dmft.solver import solve
from dmft.trajectory import Trajectory
from rmt.status import NumericalFailure, Status
from dmft.threshold import Threshold, find_delta_nn
