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
R(t, s)             response of Theta_t to a force at s, (m, m)            ``response``
D                   second derivative of the loss in r, (m, m)             ``HessianLaw.weights``
A_h(z)              hard block whose zeros are the outliers                ``hard_matrix``
delta_NN(t)         smallest delta above which the hard outlier stays      ``find_delta_nn``,
                                                                           ``delta_nn_curve``
delta_alg           the same for the best polynomial-time algorithms       ``hardness``,
                                                                           ``algorithmic_gap``
==================  =====================================================  =======================
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dmft._public import *  # noqa: F403

    __version__: str


def __getattr__(name: str) -> Any:
    """Import the public names when the first of them is asked for.

    Until then the package costs nothing, and whoever imports part of it, as the command line does,
    is there to tell what went wrong with the rest.
    """
    if not name.startswith("_") or name in ("__all__", "__version__"):
        public = import_module("dmft._public")
        names = (*public.__all__, "__all__", "__version__")
        globals().update({entry: getattr(public, entry) for entry in names})
        if name in globals():
            return globals()[name]
    if name == "plotting":
        return import_module("dmft.plotting")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name[:2] == "__"), *__getattr__("__all__")})
