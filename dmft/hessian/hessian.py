r"""The spectral law of the Hessian at a step of a trajectory.

The Hessian at step t is ``H = (1/n) sum_i D_i (x) x_i x_i^T + lam I``. Its bulk is that of
curvature weights D independent of the inputs, distributed as ``D^t = D(r^t, y)`` along the
self-consistent process (Montanari & Wang, arXiv:2602.01434). With neurons on spheres it is the
Hessian of the risk on these, with ``- diag(mu) (x) I`` in place of lam I and ``mu_j = E[g_j r_j] /
rho_j^2`` the normal forces (`dmft.training.constraints`), on the directions tangent to the spheres.
This module supplies the curvature weights, their hard latent coordinates, and the *support* of D,
which no finite sample shows: whether D is unbounded, and the values it only approaches far out in
the Gaussian tails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np

from dmft._numerics.machine_memory import available_memory, check_fits
from dmft._numerics.quadrature import gaussian_nodes
from dmft._numerics.sampling import Sampling, cubature_normals, power_of_two
from dmft.hessian.finite_law import DRAWS, FiniteLaw, check_dimension, check_draws, law_of_draws
from dmft.model.curvature_support import CurvatureSupport, curvature_support
from dmft.model.drawn_inputs import labels_and_scales, leading_rows, n_leading_normals, scaled
from dmft.model.gradients import curvature, pre_activation_gradient
from dmft.model.held_directions import held_directions
from dmft.observables.labelled_points import further_coordinates, labelled_points
from dmft.observables.verified_rules import curvature_rule
from dmft.solver.fresh_batches import neuron_factor
from dmft.training.constraints import Constraint, radii_of
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from dmft.model.problem import Problem
    from dmft.solver.runs import Run
    from rmt import HessianLaw, Span

    FloatArray = NDArray[np.float64]

__all__ = [
    "drawn_law",
    "initial_draws",
    "initial_law",
    "nested_draw",
    "sampled_law",
    "sampled_span",
]

_SOBOL_POINTS_AT_START = 2**15
_SEED_FAMILY: Final = 771  # of draws, apart from the streams that paths are made of


@overload
def initial_law(
    problem: Problem,
    delta: float,
    sampling: Sampling | None = None,
    *,
    constraint: Constraint | None = None,
    right_edge: bool = ...,
) -> HessianLaw: ...


@overload
def initial_law(
    problem: Problem,
    delta: float,
    sampling: Sampling | None = None,
    *,
    d: int,
    draws: int | None = None,
    constraint: Constraint | None = None,
) -> FiniteLaw: ...


@np.errstate(all="ignore")  # numbers that no float can hold are a status
def initial_law(
    problem: Problem,
    delta: float,
    sampling: Sampling | None = None,
    *,
    d: int | None = None,
    draws: int | None = None,
    constraint: Constraint | None = None,
    right_edge: bool = False,
) -> HessianLaw | FiniteLaw:
    """Compute the spectral law at step 0, where the distribution of D is explicit.

    Deterministic quadrature while at most three Gaussians enter (latent coordinates, neurons,
    noise) and two rules with panels at different places agree on the averages that edge and gap
    consist of, see `dmft.observables.verified_rules`. So they do where label, activation and loss
    are smooth but for kinks at fixed values of one Gaussian each, where the rules are split. The
    noise of classes is summed over. Otherwise scrambled Sobol points, one set for each replicate,
    so that the spectral law carries a standard error.

    Parameters
    ----------
    problem : Problem
    delta : float
    sampling : Sampling, optional
        Used without quadrature only: seed, number of replicates, and paths where they are more
        than 32768, which is the number of points for each replicate.
    d : int, optional
        Ask for the law of the n = delta d weights of a run of this dimension instead.
    draws : int, optional
        Of these: how many, 2 at least; default 32.
    constraint : "sphere", optional
        That of the method: the law is then that of the Hessian on spheres.
    right_edge : bool
        Whether the quadrature has to be right for what is read at the right edge, too.

    Returns
    -------
    rmt.HessianLaw
        With ``d``: FiniteLaw.

    Raises
    ------
    ValueError
        If n = delta d is less than 10 m, or there are fewer than two draws.
    NumericalFailure
        If the curvature overflows.
    """
    from rmt import Span

    _check_start(problem)
    if d is None and draws is not None:
        raise ValueError(f"draws must come with a dimension d, got draws = {draws} alone")
    if d is not None:
        return _initial_law_at(
            problem, delta, Sampling() if sampling is None else sampling, d, draws, constraint
        )
    k, m = problem.k, problem.m
    dimension = k + m + further_coordinates(problem)
    weights = problem.initial_weights()
    support = curvature_support(problem, weights)

    def law(nodes: FloatArray, probabilities: FloatArray | None = None, **more: Any) -> HessianLaw:
        samples = labelled_points(problem, nodes, probabilities)
        coordinates = samples.points[: k + m]
        r = samples.pre_activations(weights)
        span = Span(
            coordinates,
            latent=k,
            neurons=weights,
            hard=_hard_coordinates(problem, k + m),
            tangent=constraint is not None,
        )
        more |= {"probabilities": samples.weights, "scales": samples.scales, "span": span}
        more["constraint"] = constraint
        return _law(problem, delta, support, r, samples.labels, coordinates[:k], **more)

    kinks = axis_kinks(problem, weights, dimension)
    if kinks is not None:
        lowest = float(np.linalg.eigvalsh(support.points).min(initial=np.inf))
        lowest = lowest if support.bounded_below else -np.inf
        forces = constraint is not None
        highest = None
        if right_edge and support.bounded_above:
            highest = float(np.linalg.eigvalsh(support.points).max(initial=-np.inf))
        rule = curvature_rule(
            problem, weights, kinks, lowest, delta, highest=highest, forces=forces
        )
        if rule is not None:
            return law(*gaussian_nodes(dimension, *rule))
    sampling, classes = Sampling() if sampling is None else sampling, problem.target.classes
    # Random classes double every point, and every cluster has each.
    n_points = max(_SOBOL_POINTS_AT_START, sampling.n_paths)
    n_points //= 2 if classes is not None and classes.is_random else 1
    if problem.inputs is not None:
        n_points //= power_of_two(problem.inputs.n_components)
        n_points = max(n_points, 64)
    check_fits(
        "replicates",
        sampling.replicates,
        lambda count: 8.0 * count * dimension * n_points,
        available_memory(),
        least=2,
    )
    parts = [cubature_normals(sampling, i, dimension, n_points) for i in range(sampling.replicates)]
    return law(np.concatenate(parts, axis=1), replicates=[law(part) for part in parts])


def _initial_law_at(
    problem: Problem,
    delta: float,
    sampling: Sampling,
    d: int,
    draws: int | None,
    constraint: Constraint | None,
) -> FiniteLaw:
    """Compute the law of the weights of runs of dimension d at step 0."""
    n = round(delta * check_dimension(d, delta, problem.m))
    config = {"problem": problem.to_config(), "sampling": sampling.to_config()}
    return law_of_draws(
        initial_draws(problem, delta, n, sampling.seed, constraint),
        initial_law(problem, delta, sampling, constraint=constraint),
        DRAWS[1] if draws is None else check_draws(draws),
        config if constraint is None else {**config, "constraint": constraint},
        step=0,
        d=d,
        n=n,
        quantile=True,
    )


def initial_draws(
    problem: Problem, delta: float, n: int, seed: int, constraint: Constraint | None = None
) -> Iterator[HessianLaw]:
    """Generate spectral laws of n fresh samples at step 0, without end."""
    rng = np.random.default_rng([seed, _SEED_FAMILY])
    while True:
        yield drawn_law(problem, delta, n, rng, constraint)


def _check_start(problem: Problem) -> None:
    """Raise ValueError for a start that depends on the data: D is not explicit then."""
    if problem.spectral_start is not None:
        raise ValueError(
            "problem must start independent of the data for the law of D to be explicit, got a "
            "spectral_start; solve, and ask the trajectory for hessian(0)"
        )


def nested_draw(
    problem: Problem,
    delta: float,
    counts: Sequence[int],
    rng: np.random.Generator,
    constraint: Constraint | None = None,
) -> list[HessianLaw]:
    """Compute the laws at step 0 of the first n of samples drawn at random, in hard directions.

    Parameters
    ----------
    problem : Problem
    delta : float
    counts : sequence of int
        Each n, ascending.
    rng : numpy.random.Generator
        More samples begin with those that fewer have.
    constraint : "sphere", optional

    Returns
    -------
    list of rmt.HessianLaw
        For each n.
    """
    _check_start(problem)
    k, m, plain = problem.k, problem.m, problem.inputs is None
    n_rows = k + m + 1 if plain else n_leading_normals(problem)
    rows = np.ascontiguousarray(rng.standard_normal((counts[-1], n_rows)).T)
    if plain:
        labels, scales = problem.sample_labels(np.ascontiguousarray(rows[:k].T), rows[-1]), None
        r = problem.initial_weights() @ rows[: k + m]
    else:
        rows = leading_rows(problem, rows)
        labels, scales = labels_and_scales(problem, rows)
        r = scaled(problem.initial_weights() @ rows[: k + m], scales)
    return [
        _law(
            problem,
            delta,
            _no_support(problem),
            r[:, :n],
            labels[:n],
            rows[:k, :n],
            scales=None if scales is None else scales[:n],
            constraint=constraint,
        )
        for n in counts
    ]


def _no_support(problem: Problem) -> CurvatureSupport:
    """Return the support of D of a sample, which is no more than its values."""
    m = problem.m
    return CurvatureSupport(np.empty((0, m, m)), True, True, np.empty((0, m + 1)))


def drawn_law(
    problem: Problem,
    delta: float,
    n: int,
    rng: np.random.Generator,
    constraint: Constraint | None = None,
) -> HessianLaw:
    """Compute the spectral law at step 0 of n samples drawn at random, without support points.

    Parameters
    ----------
    problem : Problem
    delta : float
    n : int
    rng : numpy.random.Generator
    constraint : "sphere", optional

    Returns
    -------
    rmt.HessianLaw
    """
    from rmt import Span

    k, m = problem.k, problem.m
    weights, q = problem.initial_weights(), rng.standard_normal((k + m, n))
    if problem.inputs is None:
        labels = problem.sample_labels(np.ascontiguousarray(q[:k].T), rng.standard_normal(n))
        scales = np.empty(0)
    else:
        further = rng.standard_normal((n_leading_normals(problem) - k - m, n))
        rows = leading_rows(problem, np.concatenate([q, further]))
        labels, scales = labels_and_scales(problem, rows)
        q = rows[: k + m]
    hard = _hard_coordinates(problem, k + m)
    span = Span(q, latent=k, neurons=weights, hard=hard, tangent=constraint is not None)
    r, nothing = scaled(weights @ q, scales), _no_support(problem)
    more: dict[str, Any] = {"scales": scales, "constraint": constraint, "span": span}
    return _law(problem, delta, nothing, r, labels, q[:k], **more)


def axis_kinks(
    problem: Problem, weights: FloatArray, dimension: int
) -> tuple[tuple[float, ...], ...] | None:
    """Locate the kinks on the axis of each Gaussian; None if several Gaussians decide together."""
    breaks: list[set[float]] = [set() for _ in range(dimension)]
    network = problem.network
    kinks, biases = network.activation.kinks, network.biases or (0.0,) * network.m
    for row, bias in zip(weights, biases, strict=True) if kinks else ():
        places = np.flatnonzero(row)
        if len(places) > 1:
            return None
        if problem.inputs is not None and (
            np.any(places < problem.k)
            or (problem.inputs.has_scales and any(kink != bias for kink in kinks))
        ):
            return None
        for place in places.tolist():
            breaks[place] |= {
                (kink - bias) / float(row[place]) for kink in network.activation.kinks
            }
    return tuple(tuple(sorted(ends)) for ends in breaks)


def sampled_law(
    problem: Problem,
    delta: float,
    runs: Sequence[Run],
    step: int,
    spans: Sequence[Callable[[], Span]] | None = None,
    constraint: Constraint | None = None,
) -> HessianLaw:
    """Compute the spectral law from the paths of a solve at a step.

    Parameters
    ----------
    problem : Problem
    delta : float
    runs : sequence of Run
        The run over all paths, then one per replicate, each with pre-activations at ``step``.
    step : int
    spans : sequence of callable, optional
        For each run, a function that returns its `sampled_span`, for outliers in all directions.
    constraint : "sphere", optional
        That of the method.

    Returns
    -------
    rmt.HessianLaw
        Of the run over all paths, with those of the others as its ``replicates``.
    """
    # The support of all paths for the replicates too: where a second layer is trained theirs
    # differ by sampling noise, and the search is expensive.
    support = curvature_support(_problem_at(problem, runs[0], step), runs[0].weights[step])

    def law(index: int, **more: Any) -> HessianLaw:
        run = runs[index]
        at = _problem_at(problem, run, step)
        span = None if spans is None else spans[index]
        r = run.pre_activations[step]
        more |= {"constraint": constraint, "scales": run.scales}
        return _law(at, delta, support, r, run.labels, run.latent, span=span, **more)

    return law(0, replicates=[law(index) for index in range(1, len(runs))])


def _problem_at(problem: Problem, run: Run, step: int) -> Problem:
    """Return the problem with second layer and biases of a run at a step."""
    biases = None if run.biases is None else run.biases[step]
    return problem.with_layers(run.second_layer[step], biases)


def sampled_span(
    problem: Problem, run: Run, step: int, *, fresh: bool = False, tangent: bool = False
) -> Span:
    """Collect coordinates and gradients of the paths of a run before a step.

    Its ``defect`` is the truncation residual of the gradients so far, weighted as these are:
    ``sum_t w_t |g^t - its kept part| / sqrt(delta)`` with w_t the step size, or what momentum makes
    of it (`dmft.GradientDescent.direction_weights`).

    Parameters
    ----------
    problem : Problem
    run : Run
        With its paths.
    step : int
    fresh : bool
        Whether the Hessian is that of samples no step has seen: the neurons then count as far as
        they are correlated, and no gradients do.
    tangent : bool
        Whether neurons are on spheres.

    Returns
    -------
    rmt.Span
    """
    from rmt import Span

    if run.paths is None:
        raise ValueError("run must have kept its paths")
    k = problem.k
    n_coordinates, n_directions, n_rows = (int(count) for count in run.counts[step])
    neurons = run.weights[step]
    if fresh:
        neurons = np.concatenate([neurons[:, :k], neuron_factor(neurons, k)[0]], axis=1)
    return Span(
        run.paths.basis.blocks(n_rows),
        run.paths.coordinate_coefficients[:n_coordinates, :n_rows],
        run.paths.gradient_coefficients[:n_directions, :n_rows],
        latent=k,
        neurons=neurons[:, :n_coordinates],
        hard=_hard_coordinates(problem, n_coordinates),
        tangent=tangent,
        defect=float(run.left_out[step]),
    )


def _law(
    problem: Problem,
    delta: float,
    support: CurvatureSupport,
    r: FloatArray,
    labels: FloatArray,
    latent: FloatArray,
    *,
    scales: FloatArray | None = None,
    probabilities: FloatArray | None = None,
    replicates: Sequence[HessianLaw] = (),
    span: Span | Callable[[], Span] | None = None,
    constraint: Constraint | None = None,
) -> HessianLaw:
    from rmt import HessianLaw

    shift: float | FloatArray = problem.weight_decay
    with np.errstate(all="ignore"):
        weights = curvature(problem, r, labels)
        if scales is not None and len(scales):
            weights *= (scales**2)[:, np.newaxis, np.newaxis]
        if constraint is not None:
            shift = -np.diag(_normal_forces(problem, r, labels, probabilities))
    if not all(np.all(np.isfinite(values)) for values in (weights, support.points, shift)):
        raise NumericalFailure(Status.NONFINITE, "The curvature of the loss overflows.")
    # A hard direction with which the neurons overlap is no longer decoupled from the trajectory.
    held = held_directions(problem)
    return HessianLaw(
        weights,
        delta,
        hard=latent.T @ held if held.shape[1] else None,
        probabilities=probabilities,
        shift=shift,
        support=support.points,
        bounded_below=support.bounded_below,
        bounded_above=support.bounded_above,
        replicates=replicates,
        span=span,
    )


def _normal_forces(
    problem: Problem, r: FloatArray, labels: FloatArray, probabilities: FloatArray | None
) -> FloatArray:
    """Average the normal forces mu_j = E[g_j r_j] / rho_j^2, shape (m,)."""
    products = pre_activation_gradient(problem, r, labels)[0] * r
    mean = products.mean(axis=1) if probabilities is None else products @ probabilities
    return np.asarray(mean / radii_of(problem) ** 2)


def _hard_coordinates(problem: Problem, n_coordinates: int) -> FloatArray:
    """Return the hard basis in the coordinates of the paths, whose first k are the latent ones."""
    basis = held_directions(problem)
    out = np.zeros((n_coordinates, basis.shape[1]))
    out[: len(basis)] = basis
    return out
