r"""Minimiser of the empirical risk of a linear neuron under a convex loss: its exact limit.

With n samples in d dimensions, :math:`n/d = \delta`, and ridge :math:`\lambda`, overlap, norm and
losses of the minimiser :math:`\theta` of

.. math:: \frac1n \sum_i \ell(\langle\theta, x_i\rangle, y_i) + \frac\lambda2 |\theta|^2

concentrate. With :math:`\omega = \langle M, z\rangle + S^{1/2} \xi` (the law of a pre-activation on
fresh data) and the proximal point r of V :math:`\ell` at :math:`\omega`, that is
:math:`r + V \ell'(r, y) = \omega` (the law of one on the data),

.. math::
    h = \lambda + E\Big[\frac{\ell''(r)}{1 + V \ell''(r)}\Big], \quad V = \frac1{\delta h}, \quad
    S = \frac{E[\ell'(r)^2]}{\delta h^2}, \quad \lambda M + E[\ell'(r)\, z] = 0,

and the squared norm is :math:`C = S + |M|^2` (Thrampoulidis, Abbasi and Hassibi, arXiv:1601.06233;
Loureiro et al., arXiv:2106.03791). It is where gradient descent ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.quadrature import gaussian_nodes
from dmft._numerics.sampling import Sampling, cubature_normals
from dmft._numerics.validation import check_instance, check_real
from dmft.io.report_text import with_error
from dmft.io.saved_result import SavedResult
from dmft.model.catalogue import law_name
from dmft.model.classification import describe_label
from dmft.model.problem import Problem
from dmft.observables.labelled_points import labelled, noise_coordinates
from dmft.observables.verified_rules import label_breaks
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dmft.io.report_text import Lines

__all__ = ["RiskMinimizer", "erm_limit"]

FloatArray = NDArray[np.float64]

# Tensor rules for each number of Gaussians: two whose solutions agree are exact.
_RULES = {
    2: (("medium", "fine"), ("fine", "fine-shifted")),
    3: (("coarse", "medium"), ("medium", "medium-shifted")),
}
_AGREEMENT = 1e-7
_SOBOL_POINTS = 2**13
# Steps of state evolution, and below which a root finder takes over; its largest residual.
_ITERATIONS, _NEAR, _RESIDUAL = 1000, 1e-2, 1e-10
_SMALLEST_RIDGE = 1e-7
# Newton's step squares the error: after one as small as this the next is rounding.
_MOST_NEWTON, _QUADRATIC, _WIDE = 60, 1e-9, 1e3
# A norm beyond which the minimiser is taken to have run off.
_LARGEST = 1e8
_NAMES = ("norm", "train_loss", "test_loss", "test_error")


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
        fixed point was not reached.
    config : dict
        Problem and delta as plain types.

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

    def _report(self) -> tuple[Lines, str]:
        problem = self.config["problem"]
        overlap = ", ".join(map(with_error, self.overlap, self.overlap_stderr))
        lines = [
            ("problem", f"{describe_label(problem['target'])}, {law_name(problem['loss'])} loss"),
            ("delta, ridge", f"{self.config['delta']:g}, {problem['weight_decay']:g}"),
            ("overlap", overlap),
            *(
                (name.replace("_", " "), with_error(value, getattr(self, f"{name}_stderr")))
                for name in _NAMES
                if not math.isnan(value := getattr(self, name))
            ),
            ("residual", f"{self.residual:.1e}"),
        ]
        return lines, ""

    def margin_cdf(self, margins: ArrayLike, *, fresh: bool = False) -> FloatArray:
        r"""Compute the distribution function of the margins :math:`y_i \theta\cdot x_i`.

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
            If labels are not -1 and +1, or there is no minimiser.
        """
        from scipy.special import ndtr

        problem = Problem.from_config(self.config["problem"])
        if not problem.target.has_sign_labels:
            raise ValueError("margins are those of labels -1 and +1; this problem has others")
        if not math.isfinite(self.norm):
            raise ValueError(f"there is no minimiser: {self.status.name}")
        points = next(_point_sets(problem, Sampling()))
        asked = np.atleast_1d(np.asarray(margins, dtype=np.float64))
        found = np.empty(asked.shape)
        spread = math.sqrt(self.noise)
        for index, margin in np.ndenumerate(asked):
            # r <= x exactly where omega <= x + V l'(x), for r grows with omega.
            omega = r = margin * points.y
            if not fresh:
                omega = r + self.susceptibility * _derivatives(problem, r, points.y)[1]
            below = ndtr((omega - self.overlap @ points.z) / spread)
            found[index] = points.mass @ np.where(points.y > 0.0, below, 1.0 - below)
        return found


def erm_limit(
    problem: Problem,
    delta: float,
    sampling: Sampling | None = None,
    *,
    throw: bool = False,
) -> RiskMinimizer:
    """Compute the minimiser of the empirical risk of one linear neuron under a convex loss.

    Parameters
    ----------
    problem : Problem
        One linear neuron, a convex loss, and the ridge as ``weight_decay``. Its start is of no
        account.
    delta : float
        Samples per dimension, n/d > 0.
    sampling : Sampling, optional
        Replicates and seed of the Sobol points used where no quadrature rule is exact.
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
    _check_convex(problem)
    status = _existence(problem, delta)
    values: dict[str, Any]
    if not status.ok:
        values = _missing(problem.k)
    else:
        values, status = _minimizer(problem, delta, sampling)
    config = {"problem": problem.to_config(), "delta": delta}
    result = RiskMinimizer(**values, status=status, config=config)
    if throw and not status.ok:
        raise NumericalFailure(status)
    return result


# -- points --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Points:
    """Weighted points: latent coordinates (k, N), noise of omega (N,), labels (N,), masses (N,)."""

    z: FloatArray
    xi: FloatArray
    y: FloatArray
    mass: FloatArray
    easy: FloatArray  # projector on the easy directions, (k, k): others have no overlap

    @classmethod
    def of(cls, problem: Problem, nodes: FloatArray, masses: FloatArray) -> _Points:
        points, y, weights = labelled(problem, nodes, masses)
        k = problem.k
        mass = masses if weights is None else weights
        return cls(points[:k], points[k], y, mass, problem.target.easy_projector)


def _dimension(problem: Problem) -> int:
    return problem.k + 1 + noise_coordinates(problem)


def _point_sets(problem: Problem, sampling: Sampling) -> Iterator[_Points]:
    """Yield tensor rules, coarse to fine with those that confirm them, and then Sobol points."""
    dimension = _dimension(problem)
    breaks = label_breaks(problem) if dimension in _RULES and problem.loss.smooth else None
    if breaks is not None:
        for name in dict.fromkeys(name for pair in _RULES[dimension] for name in pair):
            try:
                yield _Points.of(problem, *gaussian_nodes(dimension, name, breaks))
            except ValueError:  # a class boundary through a node, too many nodes
                break
    draws = [
        cubature_normals(sampling, index, dimension, _SOBOL_POINTS)
        for index in range(sampling.replicates)
    ]
    for nodes in (np.concatenate(draws, axis=1), *draws):
        yield _Points.of(problem, nodes, np.full(nodes.shape[1], 1.0 / nodes.shape[1]))


# -- the fixed point -----------------------------------------------------------------------------


def _minimizer(problem: Problem, delta: float, sampling: Sampling) -> tuple[dict[str, Any], Status]:
    sets = list(_point_sets(problem, sampling))
    n_rules = len(sets) - sampling.replicates - 1
    # A few points say where to begin on many.
    values, status = _fixed_point(problem, delta, sets[-1])
    if not status.ok:
        return _missing(problem.k), status
    start: FloatArray | None = _coordinates(values)
    for number, points in enumerate(sets[:n_rules]):
        # Does the solution on the rule before solve the equations here?
        if number and start is not None:
            values = _at(problem, delta, points, start)
            if values["residual"] < _AGREEMENT:
                return values | _errors(problem.k, []), Status.SUCCESS
        values, status = _fixed_point(problem, delta, points, start)
        start = _coordinates(values) if status.ok else None
    pooled, status = _fixed_point(problem, delta, sets[n_rules], start)
    start = _coordinates(pooled) if status.ok else None
    others = [_fixed_point(problem, delta, points, start) for points in sets[n_rules + 1 :]]
    failed = [status, *(other[1] for other in others)]
    status = next((status for status in failed if not status.ok), Status.SUCCESS)
    return pooled | _errors(problem.k, [values for values, _ in others]), status


def _coordinates(values: dict[str, Any]) -> FloatArray:
    """Return a solution as the root finder takes it."""
    V = values["susceptibility"]
    return np.concatenate([values["overlap"], [math.sqrt(values["noise"]), math.log(V)]])


def _errors(k: int, replicates: list[dict[str, Any]]) -> dict[str, Any]:
    """Return standard errors over replicates; zeros without any."""
    names = ("overlap", *_NAMES)
    if not replicates:
        return {f"{name}_stderr": np.zeros(k) if name == "overlap" else 0.0 for name in names}
    n = len(replicates)
    spread = {name: np.std([found[name] for found in replicates], axis=0, ddof=1) for name in names}
    errors: dict[str, Any] = {f"{name}_stderr": spread[name] / math.sqrt(n) for name in names}
    return {
        name: error if name == "overlap_stderr" else float(error) for name, error in errors.items()
    }


def _fixed_point(
    problem: Problem, delta: float, points: _Points, start: FloatArray | None = None
) -> tuple[dict[str, Any], Status]:
    """Solve the equations on points.

    Damped state evolution of the proximal algorithm finds the solution at a ridge of one, and a
    root finder follows it to the ridge asked for: without a ridge, where the norm may be large, the
    iteration would be slow.

    Parameters
    ----------
    start : ndarray, shape (k + 2,), optional
        Overlap, square root of S and logarithm of V on other points, from which the root finder
        starts at once.
    """
    k, asked = problem.k, problem.weight_decay

    def moments(x: FloatArray, lam: float) -> FloatArray:
        return _moments(problem, delta, points, x, lam)[2]

    def root(x: FloatArray, lam: float) -> FloatArray | None:
        return _root(lambda at: moments(at, lam), x)

    x = None if start is None else root(start, asked)
    if x is None:
        x, lam = np.concatenate([np.zeros(k), [1.0, 0.0]]), max(asked, 1.0)
        for _ in range(_ITERATIONS):
            step = moments(x, lam)
            if not np.all(np.isfinite(step)):
                return _missing(k), Status.NONFINITE
            x = x + 0.5 * step
            if np.abs(step).max() < _NEAR:
                break
        found = root(x, lam)
        factor = 0.25
        while found is not None and lam > asked:
            x = found
            if np.abs(x[: k + 1]).max() > _LARGEST:
                return _missing(k), Status.DIVERGED
            # The last step is to the ridge itself, which may be none.
            new = asked if factor * lam < max(asked, _SMALLEST_RIDGE) else factor * lam
            if (further := root(x, new)) is not None:
                found, lam = further, new
            elif factor > 0.95:
                return _missing(k), Status.MAX_STEPS
            else:
                factor = math.sqrt(factor)
        if found is None:
            return _missing(k), Status.MAX_STEPS
        x = found
    return _at(problem, delta, points, x), Status.SUCCESS


def _moments(
    problem: Problem, delta: float, points: _Points, x: FloatArray, lam: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return r, omega, and the step of state evolution, which is zero at the solution."""
    k, V = problem.k, math.exp(x[-1])
    omega = x[:k] @ points.z + x[k] * points.xi
    r, first, second = _proximal_point(problem, omega, points.y, V)
    if problem.loss.smooth:
        h = float(lam + points.mass @ (second / (1.0 + V * second)))
    else:  # by Gaussian integration by parts: a jump of l'' would be one of the equations
        h = float(lam + points.mass @ (points.xi * first) / x[k])
    drift = points.easy @ (lam * x[:k] + points.z @ (points.mass * first))
    hard = x[:k] - points.easy @ x[:k]
    spread = math.sqrt(delta * (points.mass @ first**2)) * V
    last = [spread - x[k], -math.log(delta * h) - x[k + 1]]
    return r, omega, np.concatenate([-drift / h - hard, last])


def _at(problem: Problem, delta: float, points: _Points, x: FloatArray) -> dict[str, Any]:
    """Return the values at a solution, and what it leaves of the equations."""
    k = problem.k
    r, omega, steps = _moments(problem, delta, points, x, problem.weight_decay)
    overlap, spread = x[:k], abs(float(x[k]))
    V = math.exp(x[k + 1])
    return {
        "overlap": overlap,
        "norm": float(spread**2 + overlap @ overlap),
        "train_loss": float(points.mass @ _derivatives(problem, r, points.y)[0]),
        "test_loss": float(points.mass @ _derivatives(problem, omega, points.y)[0]),
        "test_error": _test_error(problem, points, overlap, spread),
        "noise": spread**2,
        "susceptibility": V,
        "residual": float(np.abs(steps / _scale(x)).max()),
    }


def _scale(x: FloatArray) -> FloatArray:
    """Return the size of coordinates: of overlap and spread the larger, of the logarithm one."""
    size = max(float(np.abs(x[:-1]).max()), 1e-150)
    return np.append(np.full(len(x) - 1, size), 1.0)


def _root(equations: Callable[[FloatArray], FloatArray], start: FloatArray) -> FloatArray | None:
    """Return the root next to a point, if the root finder gets there.

    Twice, in units of the point and of the root: overlaps may be tiny.
    """
    from scipy.optimize import root

    x = start
    with np.errstate(all="ignore"):
        for _ in range(2):
            unit = _scale(x)

            def scaled(u: FloatArray, unit: FloatArray = unit) -> FloatArray:
                return equations(u * unit) / unit

            try:
                x = np.asarray(root(scaled, x / unit, method="hybr", tol=1e-14).x) * unit
                residual = np.abs(equations(x) / _scale(x)).max()
            except (ArithmeticError, ValueError):  # it tried numbers that no float can hold
                return None
        return x if residual < _RESIDUAL else None


def _test_error(problem: Problem, points: _Points, overlap: FloatArray, spread: float) -> float:
    """Return P(y omega < 0), the Gaussian of omega integrated in closed form."""
    from scipy.special import ndtr

    if not problem.target.has_sign_labels:
        return math.nan
    slope = np.sign(float(problem.network.second_layer[0]))
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.nan_to_num(slope * points.y * (overlap @ points.z) / spread)
    return float(points.mass @ ndtr(-margin))


def _missing(k: int) -> dict[str, Any]:
    nan = math.nan
    values: dict[str, Any] = dict.fromkeys(
        (*_NAMES, "noise", "susceptibility", "residual", *(f"{name}_stderr" for name in _NAMES)),
        nan,
    )
    return values | {"overlap": np.full(k, nan), "overlap_stderr": np.full(k, nan)}


# -- the loss ------------------------------------------------------------------------------------


def _derivatives(
    problem: Problem, r: FloatArray, y: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the loss at pre-activations (N,), and its first two derivatives in them."""
    a = float(problem.network.second_layer[0])
    loss = problem.loss
    with np.errstate(all="ignore"):
        value, first, second = (
            np.asarray(function(a * r, y), dtype=np.float64)
            for function in (loss.value, loss.derivative, loss.second_derivative)
        )
    return value, a * first, a * a * second


def _proximal_point(
    problem: Problem, omega: FloatArray, y: FloatArray, V: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Solve r + V l'(r, y) = omega; return r and the derivatives of the loss there.

    The left side grows at least as fast as r, so the root is within |V l'(omega)| of omega.
    Newton's steps that leave the bracket, or are not half of those before, are halvings.
    """
    first = _derivatives(problem, omega, y)[1]
    step = V * first
    low, high = np.minimum(omega, omega - step), np.maximum(omega, omega - step)
    wide = ~(np.abs(step) < _WIDE)
    if np.any(wide):  # found by doubling, or halvings would be many
        for sign, end in ((1.0, low), (-1.0, high)):
            left, reach = wide & (sign * first > 0.0), 1.0
            while np.any(left) and reach < _LARGEST:
                end[left] = omega[left] - sign * reach
                slope = _derivatives(problem, end, y)[1]
                left &= sign * (end + V * slope - omega) > 0.0
                reach *= 2.0
    with np.errstate(all="ignore"):
        r = omega - step / (1.0 + V * _derivatives(problem, omega, y)[2])
    r = np.where(np.isfinite(r), np.clip(r, low, high), 0.5 * (low + high))
    before = np.full_like(r, np.inf)
    for _ in range(_MOST_NEWTON):
        _, first, second = _derivatives(problem, r, y)
        excess = r + V * first - omega
        low, high = np.where(excess < 0.0, r, low), np.where(excess > 0.0, r, high)
        new = r - excess / (1.0 + V * second)
        slow = np.abs(new - r) > 0.5 * before
        new = np.where((new < low) | (new > high) | slow, 0.5 * (low + high), new)
        before = np.abs(new - r)
        moved = np.max(np.abs(new - r) / (1.0 + np.abs(r)), initial=0.0)
        r = new
        if moved < _QUADRATIC:
            break
    _, first, second = _derivatives(problem, r, y)
    r = r - (r + V * first - omega) / (1.0 + V * second)
    _, first, second = _derivatives(problem, r, y)
    # Next to its minimum the derivative is what rounding of r leaves; the other way round far off.
    return r, np.where(V * second > 1.0, (omega - r) / V, first), second


def _check_convex(problem: Problem) -> None:
    """Raise unless the network is one linear neuron and the loss convex."""
    if problem.m != 1 or problem.network.activation.name != "linear":
        what = f"{problem.m} {problem.network.activation.name} neurons"
        raise ValueError(f"problem must have one linear neuron, got {what}")
    if problem.network.second_layer[0] == 0.0:
        raise ValueError("problem must have a second layer that is not zero")
    f = np.linspace(-30.0, 30.0, 241)
    labels = (-1.0, 1.0) if problem.target.has_sign_labels else (-3.0, -1.0, 0.0, 1.0, 3.0)
    for y in labels:
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
    return bool(np.all(_derivatives(problem, far, np.array([1.0, -1.0]))[1] == 0.0))


def _inverse_separability(problem: Problem) -> float:
    """Return d/n at which data cease to be separable: min over t of E (xi - y <t, z>)_+^2."""
    from scipy.optimize import minimize
    from scipy.special import ndtr

    points = next(_point_sets(problem, Sampling()))
    signed = points.easy @ points.z * points.y

    def excess(t: FloatArray) -> tuple[float, FloatArray]:
        a = t @ signed
        tail = ndtr(-a)
        density = np.exp(-0.5 * a * a) / math.sqrt(2.0 * math.pi)
        value = points.mass @ ((1.0 + a * a) * tail - a * density)
        return float(value), signed @ (points.mass * 2.0 * (a * tail - density))

    best = minimize(excess, np.zeros(problem.k), jac=True, method="BFGS")
    return float(best.fun)
