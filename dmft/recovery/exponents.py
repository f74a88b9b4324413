r"""Hardness of the latent directions of a label law: exponents and the algorithmic threshold.

Setting of Montanari & Wang, arXiv:2602.01434: :math:`z \sim N(0, I_k)`, a label y, easy directions
spanning E (`dmft.model.hard_directions`), :math:`z_H` the coordinates in the hard ones.

Information exponent
    Of a direction: the smallest degree l of a Hermite coefficient :math:`E[y\,He_a(z)]`,
    :math:`|a| = l`, that involves it, that is, whose tensor of degree l contracted with it is not
    zero. For k = 1 the smallest l >= 1 with :math:`E[y\,He_l(z)] \ne 0`.

Generative exponent
    Of a hard direction: the same with :math:`E[He_a(z_H) \mid y, z_E]`, as a function of y and
    :math:`z_E`, in place of the number. Easy directions have 1. For k = 1 the smallest l with
    :math:`E[He_l(z) \mid y]` not identically zero (Damian, Pillaud-Vivien, Lee & Bruna,
    arXiv:2403.05529).

Algorithmic threshold
    With :math:`G = E[z_H z_H^T - I \mid y, z_E]`, the samples per dimension above which
    polynomial-time algorithms can recover a hard direction weakly, the easy ones being known:

    .. math:: 1/\delta_{alg} = \max_{M \ge 0,\, |M|_F = 1} \big| E[G M G] \big|_F

    (Mondelli & Montanari, arXiv:1708.05932; Troiani, Dandi, Defilippis, Zdeborova, Loureiro &
    Krzakala, arXiv:2405.15480). The map :math:`M \mapsto E[GMG]` is self-adjoint and keeps
    matrices :math:`\ge 0`, so the maximum is its largest eigenvalue. For one hard direction it is
    :math:`E[(E[z^2 - 1 \mid y, z_E])^2]`.

The exponents of a law are the smallest of its hard directions, or of all if none is hard.

What counts as nonzero
    Coefficients are measured by their normalised Hermite energy, the fraction of the variance of
    the label or of :math:`He_a(z_H)` (`dmft.recovery.significance`). Where an energy that matters
    is not known to be zero, and not clearly nonzero, the status is UNDECIDED.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmft._numerics.machine_memory import available_memory, check_fits
from dmft._numerics.progress import shown_progress
from dmft._numerics.suggestions import nearest_power_of_two
from dmft._numerics.validation import check_instance, check_integer, check_progress
from dmft._numerics.workers import single_threaded_blas
from dmft.io.marks import DELTA
from dmft.io.saved_result import SavedResult
from dmft.model.hard_directions import (
    MAX_K,
    DirectionSearch,
    RankTest,
    find_hard,
    hard_subspace,
)
from dmft.model.target import Target
from dmft.model.target_inputs import with_gaussian_latents
from dmft.recovery.conditional_moments import (
    ConditionalMoments,
    Profile,
    conditional_moments,
    evaluations,
)
from dmft.recovery.directions import label_directions, with_zeros
from dmft.recovery.label_coefficients import HermiteEnergies, hermite_energies
from dmft.recovery.significance import Exponents, exponents_of, is_resolved, least, margin
from dmft.recovery.weak_recovery import inverse_threshold
from rmt.status import NumericalFailure, Status

if TYPE_CHECKING:
    from dmft.io.report_text import Lines

__all__ = ["Hardness", "hard_subspace", "hardness", "hardness_steps"]

Array = NDArray[np.float64]

_LOG2_POINTS = 21  # without easy directions, of one or two Gaussians
_LOG2_POINTS_OF_MANY = 22  # of more
_LOG2_POINTS_GIVEN_EASY = 24  # shared by the values of z_E
_FEWER_FOR_DETECTION = 8  # degrees above 2 are only asked whether they are there
_SMALLEST_N = 2**16
_LARGEST_DEGREE = 100  # far beyond those whose coefficients can be told from zero


@dataclass(frozen=True, eq=False, repr=False)
class Hardness(SavedResult, kind="hardness", settings=("target", "max_degree", "n_points", "seed")):
    r"""Hardness of the latent directions of a label law.

    Directions are numbered as the columns of ``easy_basis`` followed by those of ``hard_basis``.
    Standard errors include the loss by binning the labels.

    Attributes
    ----------
    k : int
        Number of latent directions.
    easy_basis, hard_basis : ndarray, shape (k, k_e), (k, k_h)
        Orthonormal bases of the easy and the hard directions.
    rounds : tuple of RankTest
        The rank tests that built up the easy subspace: explained variances, standard errors,
        directions.
    rank_tolerance : float
        The explained variance that makes a direction easy.
    sign_flips : ndarray, shape (s, k)
        Changes of sign of the latent coordinates, other than none, that leave the law of the
        label as it is.
    information_exponent, generative_exponent : int or None
        Of the law: the smallest of the hard directions, or of all if none is hard. None if nothing
        was found up to the degree scanned.
    information_exponents, generative_exponents : tuple of int or None
        One for each direction.
    information_share, information_share_stderr : ndarray, shape (L, k)
        Normalised Hermite energy of the label in degree l = 1..L, split over the directions.
    generative_share, generative_share_stderr : ndarray, shape (L, q)
        For degree l and each direction asked about (the hard ones, given the easy ones; all if none
        is hard), normalised Hermite energy of the conditional means:
        :math:`\sum_a (a_j/l) E[m_a^2]`, m_a the mean of the normalised Hermite product. NaN for
        degrees that were not needed.
    delta_alg, delta_alg_stderr : float
        Algorithmic threshold. 0 if no direction is hard: any delta will do. Infinity if the
        generative exponent exceeds 2 or is None: no delta is enough; its standard error is NaN.
    inverse_delta_alg, inverse_delta_alg_stderr : float
        1/delta_alg, as estimated also where delta_alg is infinite. Infinity if no direction is
        hard.
    first_recovered : ndarray, shape (k, k)
        The matrix M >= 0 of Frobenius norm 1 that maximises: its range is what is recovered right
        above delta_alg. Zero where delta_alg is 0 or infinite.
    profile : Profile or None
        Conditional means E[He_l(z)/sqrt(l!) | y] against y, for k = 1.
    status : Status
        Of hard directions, generative exponents and delta_alg, for which bounded functions of the
        label are enough. SUCCESS; UNDECIDED if sampling errors leave open whether something is
        zero, information exponents included, or the hard directions stated are not those found;
        NO_COEFFICIENT if there is no generative exponent up to the degree scanned.
    information_status : Status
        Of the information exponents. SUCCESS; NONFINITE if the label has no second moment, so that
        there are none; UNDECIDED; NO_COEFFICIENT if there is none up to the degree scanned.
    config : dict
        Target, degree, points and seed as plain types.

    Examples
    --------
    >>> found = hardness("modulus", n_points=2**16)
    >>> found.k_hard, found.information_exponent, found.generative_exponent, found.status.name
    (1, 2, 2, 'SUCCESS')
    """

    _axes: ClassVar = {
        "k": "direction", "easy": "easy_direction", "hard": "hard_direction", "L": "degree",
        "q": "asked_direction", "s": "flip", "irrelevant": "irrelevant_direction",
    }  # fmt: skip
    _rows: ClassVar = ("degree",)
    _shown: ClassVar = ("k", "k_hard", "information_exponent", "generative_exponent", "delta_alg")

    k: Annotated[int, "k"]
    easy_basis: Annotated[Array, "k easy"]
    hard_basis: Annotated[Array, "k hard"]
    rounds: tuple[RankTest, ...]
    rank_tolerance: float
    sign_flips: Annotated[NDArray[np.int64], "s k"]
    information_exponent: int | None
    generative_exponent: int | None
    information_exponents: Annotated[Exponents, "k"]
    generative_exponents: Annotated[Exponents, "k"]
    information_share: Annotated[Array, "L k"]
    information_share_stderr: Annotated[Array, "L k"]
    generative_share: Annotated[Array, "L q"]
    generative_share_stderr: Annotated[Array, "L q"]
    delta_alg: Annotated[float, DELTA]
    delta_alg_stderr: Annotated[float, DELTA]
    inverse_delta_alg: float
    inverse_delta_alg_stderr: float
    first_recovered: Annotated[Array, "k k"]
    profile: Profile | None = field(repr=False)
    status: Status
    information_status: Status
    config: dict[str, Any] = field(repr=False)

    @property
    def degrees(self) -> Annotated[NDArray[np.intp], "L"]:
        """Degrees 1, ..., L of the shares."""
        return np.arange(1, len(self.information_share) + 1)

    @property
    def k_hard(self) -> int:
        """Number of hard directions."""
        return int(self.hard_basis.shape[1])

    @property
    def irrelevant_basis(self) -> Annotated[Array, "k irrelevant"]:
        """Orthonormal basis (k, k_i) of the hard directions that labels do not depend on at all.

        Found by trying: combinations of coordinates in simple ratios.

        Examples
        --------
        >>> found = hardness(Target(lambda z, eps: z[:, 0] ** 2, k=2), n_points=2**16)
        >>> found.irrelevant_basis[:, 0], found.status.name
        (array([0., 1.]), 'SUCCESS')
        """
        shares = np.abs(self.generative_share) + self.generative_share_stderr
        return self.hard_basis[:, np.all(shares[:, : self.k_hard] == 0.0, axis=0)]

    def _report(self) -> tuple[Lines, str]:
        from dmft.recovery.report import hardness_lines

        return hardness_lines(self), ""

    @property
    def information_margin(self) -> float:
        """Smallest factor by which a deciding energy of the label exceeds its bound, or NaN."""
        return margin(
            self.information_share, self.information_share_stderr, self.information_exponents
        )

    @property
    def generative_margin(self) -> float:
        """The same for conditional means, over the hard directions (all if none is hard)."""
        asked = self.generative_exponents[-self.generative_share.shape[1] :]
        return margin(self.generative_share, self.generative_share_stderr, asked)


def hardness(
    target: Target | str,
    *,
    max_degree: int = 8,
    n_points: int | None = None,
    seed: int = 0,
    throw: bool = False,
    progress: Callable[[int], None] | bool | None = None,
) -> Hardness:
    r"""Find the hard directions of a label law, its exponents and its algorithmic threshold.

    Parameters
    ----------
    target : Target or str
        Law of the labels, or a catalogue name; up to 4 latent directions. Latents are standard
        Gaussian, whatever the inputs of a problem that the target is taken from.
    max_degree : int
        Degree up to which coefficients are looked for; at least 2.
    n_points : int, optional
        Number of labels evaluated for the conditional means, a power of two of at least 2^16.
        Default: 2^21 to 2^22, or 2^24 where there are easy and hard directions.
    seed : int
        Of the sample points; the result is reproducible.
    throw : bool
        Whether to raise :class:`NumericalFailure` for a status other than SUCCESS.
    progress : callable or True, optional
        True for a progress bar. A function is called with 1 as often as `hardness_steps` says, or
        once more.

    Returns
    -------
    Hardness

    Raises
    ------
    ValueError
        If an argument is not allowed, the label fails or returns non-finite numbers, or a direction
        stated to be hard is clearly easy.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434; Damian et al., arXiv:2403.05529; Mondelli and Montanari,
    arXiv:1708.05932; Troiani et al., arXiv:2405.15480.

    Examples
    --------
    >>> result = hardness("phase-retrieval", n_points=2**18)
    >>> result.information_exponent, result.generative_exponent, round(result.delta_alg, 3)
    (2, 2, 0.5)

    He3 has information exponent 3, yet labels tell of z: it is easy.

    >>> result = hardness(Target(lambda z, eps: z[:, 0] ** 3 - 3 * z[:, 0]), n_points=2**18)
    >>> result.information_exponent, result.generative_exponent, result.k_hard, result.delta_alg
    (3, 1, 0, 0.0)
    """
    if isinstance(target, str):
        target = Target(target)
    check_instance("target", target, Target)
    target = with_gaussian_latents(target)
    if target.k > MAX_K:
        raise ValueError(f"target must have at most {MAX_K} latent directions, got {target.k}")
    max_degree = check_integer("max_degree", max_degree, minimum=2, maximum=_LARGEST_DEGREE)
    check_fits(
        "max_degree",
        max_degree,
        lambda degree: 8.0 * degree * target.k * math.comb(target.k + degree, degree),
        available_memory(),
        least=2,
    )
    check_progress(progress)
    seed = check_integer("seed", seed, minimum=0, maximum=None)
    if n_points is not None:
        n_points = check_integer("n_points", n_points, minimum=_SMALLEST_N)
        if n_points & (n_points - 1):
            near = nearest_power_of_two(n_points, _SMALLEST_N, 2 * n_points)
            raise ValueError(
                f"n_points must be a power of two, got {n_points} (did you mean {near}?)"
            )
        check_fits(
            "n_points",
            n_points,
            lambda count: 8.0 * (target.k + int(target.uses_noise)) * count,  # the points
            available_memory(),
            least=_SMALLEST_N,
            halving=True,
        )

    n_steps = 1 if progress is None else hardness_steps(target)
    with shown_progress(progress, n_steps, "values of the easy coordinates") as counting:
        result = _hardness(target, max_degree, n_points, seed, counting)
    if throw and not result.status.ok:
        raise NumericalFailure(result.status)
    return result


@single_threaded_blas()
def _hardness(
    target: Target,
    max_degree: int,
    n_points: int | None,
    seed: int,
    progress: Callable[[int], None] | None,
) -> Hardness:
    search = find_hard(target.sample_labels, target.k, seed=seed, uses_noise=target.uses_noise)
    easy, hard, outside, agrees = label_directions(target, search)
    relevant = hard[:, ~outside]
    directions = np.hstack([easy, hard])
    asked = (relevant if relevant.size else hard) if hard.shape[1] else directions
    known = easy if hard.shape[1] else np.zeros((target.k, 0))
    if n_points is None:
        many = asked.shape[1] + int(target.uses_noise) > 2
        n_points = 2 ** (_LOG2_POINTS_OF_MANY if many else _LOG2_POINTS)
        n_points = 2**_LOG2_POINTS_GIVEN_EASY if known.size else n_points

    of_label = hermite_energies(
        target.sample_labels,
        directions,
        max_degree,
        uses_noise=target.uses_noise,
        n_points=min(n_points, 2**_LOG2_POINTS),
        seed=seed,
    )
    # What labels do not depend on has no energy; sampled ones would leave that undecided.
    of_label.value[:, easy.shape[1] :][:, outside] = 0.0
    of_label.stderr[:, easy.shape[1] :][:, outside] = 0.0
    information = exponents_of(of_label.value, of_label.stderr)
    moments, energy, error = _conditional(
        target, known, asked, max_degree, n_points, seed, bool(hard.shape[1]), progress
    )
    if hard.shape[1]:
        if outside.any():
            energy, error = (with_zeros(shares, outside) for shares in (energy, error))
        of_hard = exponents_of(energy, error)
        generative: Exponents = (1,) * easy.shape[1] + of_hard
        inverse, inverse_error, matrix = (
            inverse_threshold(moments, relevant)
            if relevant.size
            else (0.0, 0.0, np.zeros((target.k, target.k)))
        )
    else:
        generative, of_hard = (1,) * target.k, (1,) * target.k
        inverse, inverse_error, matrix = math.inf, 0.0, np.zeros((target.k, target.k))
    exponent = least(of_hard)
    if not hard.shape[1]:
        delta, delta_error = 0.0, 0.0
    elif least(exponents_of(energy[1:2], error[1:2])) is None:
        delta, delta_error = math.inf, math.nan
        matrix = np.zeros_like(matrix)
    else:
        delta, delta_error = 1.0 / inverse, inverse_error / inverse**2

    of_information = _information_status(of_label, information)
    status = _status(search, agrees, of_information, energy, error, of_hard)
    return Hardness(
        k=target.k,
        easy_basis=easy,
        hard_basis=hard,
        rounds=search.rounds,
        rank_tolerance=search.tolerance,
        sign_flips=target.sign_flips(),
        information_exponent=least(information[easy.shape[1] :] or information),
        generative_exponent=exponent,
        information_exponents=information,
        generative_exponents=generative,
        information_share=of_label.value,
        information_share_stderr=of_label.stderr,
        generative_share=energy,
        generative_share_stderr=error,
        delta_alg=delta,
        delta_alg_stderr=delta_error,
        inverse_delta_alg=inverse,
        inverse_delta_alg_stderr=inverse_error,
        first_recovered=matrix,
        profile=moments.profile if target.k == 1 else None,
        status=status,
        information_status=of_information,
        config={
            "target": target.to_config(),
            "max_degree": max_degree,
            "n_points": n_points,
            "seed": seed,
        },
    )


def hardness_steps(target: Target) -> int:
    """Return how often `hardness` reports progress, if the stated hard directions are right.

    Examples
    --------
    >>> hardness_steps(Target("phase-retrieval")), hardness_steps(Target("easy-hard"))
    (1, 512)
    """
    try:
        target = with_gaussian_latents(target)
        k_hard = target.hard_basis.shape[1]
    except ValueError:  # not clear numerically; hardness() says so
        return 1
    return evaluations(target.k - k_hard if k_hard else 0)


def _conditional(
    target: Target,
    known: Array,
    asked: Array,
    max_degree: int,
    n_points: int,
    seed: int,
    hard: bool,
    progress: Callable[[int], None] | None,
) -> tuple[ConditionalMoments, Array, Array]:
    """Return the moments of degrees 1 and 2, and energies with errors (L, q) of all degrees."""

    def moments(degrees: range, count: int) -> ConditionalMoments:
        return conditional_moments(
            target.sample_labels,
            known,
            asked,
            degrees,
            uses_noise=target.uses_noise,
            n_points=count,
            seed=seed,
            progress=progress,
        )

    q = asked.shape[1]
    energy = np.full((max_degree, q), np.nan)
    error = np.full((max_degree, q), np.nan)
    # One coordinate costs little, and all degrees of it make a figure.
    first = moments(range(1, (max_degree if q == 1 else 2) + 1), n_points)
    _fill(first, energy, error)
    if q > 1 and hard and max_degree > 2 and None in exponents_of(energy[:2], error[:2]):
        count = max(n_points // _FEWER_FOR_DETECTION, _SMALLEST_N)
        _fill(moments(range(3, max_degree + 1), count), energy, error)
    return first, energy, error


def _fill(moments: ConditionalMoments, energy: Array, error: Array) -> None:
    """Fill in the energies of the degrees there are, with their errors."""
    for degree in sorted({sum(a) for a, _ in moments.pairs}):
        for j in range(energy.shape[1]):
            weights = np.array(
                [a[j] / degree if a == b and sum(a) == degree else 0.0 for a, b in moments.pairs]
            )
            value, spread, loss = moments.combine(weights)
            energy[degree - 1, j] = value
            error[degree - 1, j] = math.hypot(spread, loss)


def _information_status(of_label: HermiteEnergies, information: Exponents) -> Status:
    if not of_label.finite:
        return Status.NONFINITE
    if not is_resolved(of_label.value, of_label.stderr, information):
        return Status.UNDECIDED
    return Status.NO_COEFFICIENT if least(information) is None else Status.SUCCESS


def _status(
    search: DirectionSearch,
    agrees: bool,
    of_information: Status,
    energy: Array,
    error: Array,
    of_hard: Exponents,
) -> Status:
    is_hard = 1 not in of_hard
    all_easy = set(of_hard) == {1} and search.hard.shape[1] == 0
    if not agrees or not (is_hard or all_easy):
        return Status.UNDECIDED
    if is_hard and not is_resolved(energy, error, of_hard):
        return Status.UNDECIDED
    if of_information is Status.UNDECIDED:
        return Status.UNDECIDED
    return Status.NO_COEFFICIENT if least(of_hard) is None else Status.SUCCESS
