r"""Minimiser of the empirical risk of a linear neuron under a convex loss: its exact limit.

With n samples in d dimensions, :math:`n/d = \delta`, and ridge :math:`\lambda`, overlap, norm and
losses of the minimiser :math:`\theta` of

.. math:: \frac1n \sum_i \ell(\langle\theta, x_i\rangle, y_i) + \frac\lambda2 |\theta|^2

concentrate. The inputs are :math:`x = \Theta_* z + s \cdot` (standard Gaussian on the orthogonal
complement), with any joint law of z, s and y (`dmft.Problem.inputs`). With
:math:`\omega = \langle M, z\rangle + s\, S^{1/2} \xi`, the law of a pre-activation on fresh data,
and the proximal point r of :math:`V s^2 \ell` at :math:`\omega`, that is
:math:`r + V s^2 \ell'(r, y) = \omega` (the law of one on the data),

.. math::
    h = \lambda + E\Big[\frac{s^2 \ell''(r)}{1 + V s^2 \ell''(r)}\Big], \quad
    V = \frac1{\delta h}, \quad S = \frac{E[s^2 \ell'(r)^2]}{\delta h^2}, \quad
    \lambda M + E[\ell'(r)\, z] = 0,

and the squared norm is :math:`C = S + |M|^2` (Thrampoulidis, Abbasi and Hassibi, arXiv:1601.06233;
Loureiro et al., arXiv:2106.03791). It is where gradient descent ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.progress import shown_progress
from dmft._numerics.sampling import Sampling
from dmft._numerics.validation import check_instance, check_progress, check_real
from dmft.io.records import NOT_STORED
from dmft.io.report_text import with_error
from dmft.io.saved_result import SavedResult
from dmft.model.catalogue import law_name
from dmft.model.classification import describe_label
from dmft.model.custom_laws import own_laws_entry, problem_of_record
from dmft.model.input_laws import describe_inputs
from dmft.model.problem import Problem
from dmft.observables.integrability import gradients_are_undefined
from dmft.observables.state_evolution import (
    SCALARS,
    bias_of,
    first_points,
    loss_derivatives,
    minimizer,
    missing,
)
from rmt._blas import single_threaded_blas
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from dmft.io.report_text import Lines

__all__ = ["RiskMinimizer", "erm_limit", "minimizer_lines"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class RiskMinimizer(SavedResult, kind="risk minimizer", settings=("problem", "delta")):
    r"""Minimiser of the empirical risk in the limit of large n and d.

    Attributes
    ----------
    overlap : ndarray, shape (k,)
        :math:`M = \Theta_*^T \theta`.
    norm : float
        :math:`C = |\theta|^2`.
    train_loss, test_loss : float
        Mean loss on the data and on fresh data, ridge not included.
    test_error : float
        Probability that the sign of the output is not the label; NaN unless labels are -1 and +1.
    noise : float
        S, the squared norm of the part of :math:`\theta` orthogonal to the latent directions.
    susceptibility : float
        V, the response of a sample's pre-activation to its own gradient.
    overlap_stderr, norm_stderr, train_loss_stderr, test_loss_stderr, test_error_stderr
        Standard errors of the same shapes; 0 where two quadrature rules agree.
    residual : float
        Largest relative residual of the fixed-point equations.
    status : Status
        SEPARABLE where the loss has no minimum, NOT_UNIQUE where it has many, MAX_STEPS where the
        fixed point was not reached, UNDEFINED_AVERAGE where inputs or labels have tails so heavy
        that an average does not exist. All numbers are NaN then.
    config : dict
        Problem and delta as plain types.
    problem : Problem or None
        None only for a loaded minimiser of a custom problem that was not given again.

    Examples
    --------
    >>> import dmft
    >>> target = dmft.Target("linear", classes="logistic")
    >>> problem = dmft.Problem(target, dmft.Network("linear"), "logistic", weight_decay=0.1)
    >>> found = dmft.erm_limit(problem, delta=4.0)
    >>> data, fresh = found.margin_cdf([0.0])[0], found.margin_cdf([0.0], fresh=True)[0]
    >>> print(f"{data:.3f} of the data misclassified, {fresh:.3f} of fresh data")
    0.222 of the data misclassified, 0.391 of fresh data
    """

    _axes: ClassVar = {"k": "direction"}
    _rows: ClassVar = ("direction",)
    _shown: ClassVar = ("norm", "train_loss", "test_loss")

    overlap: Annotated[FloatArray, "k"]
    norm: float
    train_loss: float
    test_loss: float
    test_error: float
    noise: float
    susceptibility: float
    overlap_stderr: Annotated[FloatArray, "k"]
    norm_stderr: float
    train_loss_stderr: float
    test_loss_stderr: float
    test_error_stderr: float
    residual: float
    status: Status
    config: dict[str, Any]
    problem: Problem | None = field(default=None, metadata=NOT_STORED)

    @classmethod
    def load(cls, path: str | os.PathLike[str], problem: Problem | None = None) -> RiskMinimizer:
        """Read a minimiser written by :meth:`save`.

        Parameters
        ----------
        path : path-like
        problem : Problem, optional
            Needed only for margins, and their figure, of a problem with a custom label or loss,
            whose code is not in the file.

        Raises
        ------
        ValueError
            If the file is of another kind, is damaged, was written by a newer version, or belongs
            to another problem than the one given.
        """
        found = super().load(path)
        return replace(found, problem=problem_of_record(found.config, problem))

    def _report(self) -> tuple[Lines, str]:
        return minimizer_lines(self), ""

    def margin_cdf(self, margins: ArrayLike, *, fresh: bool = False) -> FloatArray:
        r"""Compute the distribution function of the margins :math:`y_i (\theta\cdot x_i + b)`.

        With b the bias of the neuron, if it has one.

        Parameters
        ----------
        margins : array_like, shape (n,)
        fresh : bool
            Whether of fresh data, in place of those that the risk is of.

        Returns
        -------
        ndarray, shape (n,)

        Raises
        ------
        ValueError
            If labels are not -1 and +1, there is no minimiser, or the code of a loaded custom
            problem is not known.
        """
        from scipy.special import ndtr

        problem = self.problem
        if problem is None:
            raise ValueError(
                "problem must be given on loading, for the margins of a custom label or loss, "
                "whose code is not in the file"
            )
        if not problem.target.has_sign_labels:
            raise ValueError("margins are those of labels -1 and +1; this problem has others")
        if not math.isfinite(self.norm):
            raise ValueError(f"there is no minimiser: {self.status.name}")
        points = first_points(problem, Sampling())
        asked = np.atleast_1d(np.asarray(margins, dtype=np.float64))
        found = np.empty(asked.shape)
        spread = points.spread(math.sqrt(self.noise))
        bias = bias_of(problem)
        for index, margin in np.ndenumerate(asked):
            # r <= x exactly where omega <= x + V l'(x), for r grows with omega.
            omega = r = margin * points.y - bias
            if not fresh:
                slope = loss_derivatives(problem, r, points.y)[1]
                omega = r + self.susceptibility * points.squared(slope)
            below = ndtr((omega - self.overlap @ points.z) / spread)
            found[index] = points.mass @ np.where(points.y > 0.0, below, 1.0 - below)
        return found


def minimizer_lines(result: RiskMinimizer, name: str = "") -> Lines:
    """Write a minimiser: problem (after the name of the run), overlap, norm, losses."""
    problem = result.config["problem"]
    inputs = problem.get("inputs")
    words = f"{describe_label(problem['target'])}, {law_name(problem['loss'])} loss"
    return [
        ("problem", f"{name}: {words}" if name else words),
        *([("inputs", describe_inputs(inputs))] if inputs else []),
        ("delta, ridge", f"{result.config['delta']:g}, {problem['weight_decay']:g}"),
        ("overlap", _overlap_text(result)),
        *(
            (scalar.replace("_", " "), with_error(value, getattr(result, f"{scalar}_stderr")))
            for scalar in SCALARS
            if not math.isnan(value := getattr(result, scalar))
        ),
        ("residual", f"{result.residual:.1e}" if math.isfinite(result.residual) else "none"),
    ]


def _overlap_text(result: RiskMinimizer) -> str:
    """Write the overlaps: zero where rounding errors are all there is, "none" without any."""
    if np.isnan(result.overlap).any():
        return "none"
    least = np.finfo(np.float64).eps * math.sqrt(result.norm)
    shown = np.where(np.abs(result.overlap) <= least, 0.0, result.overlap)
    return ", ".join(map(with_error, shown, result.overlap_stderr))


@single_threaded_blas()
def erm_limit(
    problem: Problem,
    delta: float,
    sampling: Sampling | None = None,
    *,
    progress: Callable[[int], None] | bool | None = None,
    throw: bool = False,
) -> RiskMinimizer:
    """Compute the minimiser of the empirical risk of one linear neuron under a convex loss.

    Parameters
    ----------
    problem : Problem
        One linear neuron, with a fixed bias perhaps, a convex loss, and the ridge as
        ``weight_decay``; any law of the inputs. Its start is of no account.
    delta : float
        Samples per dimension, n/d > 0.
    sampling : Sampling, optional
        Replicates and seed of the Sobol points used where no quadrature rule is exact.
    progress : callable or True, optional
        True for a progress bar. A function is called with numbers of solutions that are done, of
        ``sampling.replicates + 2``.
    throw : bool
        Raise :class:`dmft.NumericalFailure` instead of returning a status other than SUCCESS.

    Returns
    -------
    RiskMinimizer

    Raises
    ------
    ValueError
        If the network is no linear neuron, the loss is not convex, or delta is not positive.

    References
    ----------
    Thrampoulidis, Abbasi and Hassibi, arXiv:1601.06233; Loureiro et al., arXiv:2106.03791; for
    separable data Candes and Sur, arXiv:1804.09753.

    Examples
    --------
    Ridge regression:

    >>> import dmft
    >>> problem = dmft.Problem("linear", dmft.Network("linear"), weight_decay=0.5)
    >>> found = dmft.erm_limit(problem, 3.0)
    >>> print(f"{found.overlap[0]:.8f}, {found.status.name}")
    0.61399906, SUCCESS
    """
    check_instance("problem", problem, Problem)
    delta = check_real("delta", delta, minimum=0.0, exclusive=True)
    sampling = Sampling() if sampling is None else sampling
    check_instance("sampling", sampling, Sampling)
    check_progress(progress)
    _check_convex(problem)
    status = _existence(problem, delta)
    if status.ok and gradients_are_undefined(problem):
        status = Status.UNDEFINED_AVERAGE
    values: dict[str, Any]
    if not status.ok:
        values = missing(problem.k)
    else:
        total = sampling.replicates + 2
        with shown_progress(progress, total, "solutions") as counting:
            values, status = minimizer(problem, delta, sampling, counting)
    config = {"problem": problem.to_config(), "delta": delta, **own_laws_entry(problem)}
    result = RiskMinimizer(**values, status=status, config=config, problem=problem)
    if throw and not status.ok:
        raise NumericalFailure(status)
    return result


def _check_convex(problem: Problem) -> None:
    """Raise unless the network is one linear neuron and the loss convex."""
    if problem.m != 1 or problem.network.activation.name != "linear":
        what = f"{problem.m} {problem.network.activation.name} neurons"
        raise ValueError(f"problem must have one linear neuron, got {what}")
    if problem.network.second_layer[0] == 0.0:
        raise ValueError("problem must have a second layer that is not zero")
    if problem.loss.name == "correlation" and problem.weight_decay == 0.0:
        raise ValueError("problem must have weight_decay > 0 with loss 'correlation', got 0")
    f = np.linspace(-30.0, 30.0, 241)
    labels = (-1.0, 1.0) if problem.target.has_sign_labels else (-3.0, -1.0, 0.0, 1.0, 3.0)
    for y in (y for y in labels if y > problem.loss.labels_above):
        with np.errstate(all="ignore"):
            second = np.asarray(problem.loss.second_derivative(f, np.full_like(f, y)))
        if np.any(second < -1e-12):
            at = f[int(np.argmin(second))]
            raise ValueError(
                f"problem must have a convex loss; that of {problem.loss.name!r} has second "
                f"derivative {second.min():.3g} at output {at:g}, label {y:g}"
            )


def _existence(problem: Problem, delta: float) -> Status:
    """Say whether there is one minimiser without ridge."""
    if problem.weight_decay > 0.0:
        return Status.SUCCESS
    if problem.loss.labels == "sign" and problem.target.has_sign_labels:
        if 1.0 / delta > _inverse_separability(problem):
            attained = _attains_minimum(problem)
            return Status.NOT_UNIQUE if attained else Status.SEPARABLE
        return Status.SUCCESS
    return Status.NOT_UNIQUE if delta <= 1.0 else Status.SUCCESS


def _attains_minimum(problem: Problem) -> bool:
    """Whether a margin loss is zero beyond some margin, so that separable data leave it free."""
    far = np.array([40.0, -40.0])
    return bool(np.all(loss_derivatives(problem, far, np.array([1.0, -1.0]))[1] == 0.0))


def _inverse_separability(problem: Problem) -> float:
    """Return d/n at which data cease to be separable: min over t of E (xi - y <t, z/s>)_+^2."""
    from scipy.optimize import minimize
    from scipy.special import ndtr

    points = first_points(problem, Sampling())
    signed = points.easy @ points.reduced * points.y

    def excess(t: FloatArray) -> tuple[float, FloatArray]:
        a = t @ signed
        tail = ndtr(-a)
        density = np.exp(-0.5 * a * a) / math.sqrt(2.0 * math.pi)
        value = points.mass @ ((1.0 + a * a) * tail - a * density)
        return float(value), signed @ (points.mass * 2.0 * (a * tail - density))

    best = minimize(excess, np.zeros(problem.k), jac=True, method="BFGS")
    return float(best.fun)
