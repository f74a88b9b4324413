"""Statuses of a computation, in words that say what to try next."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

__all__ = ["NumericalFailure", "Status", "first_failure"]


class Status(enum.Enum):
    """Outcome of a numerical computation.

    The value of each member is a sentence for a person: what happened and what to try next.
    Bad *input* is never a status: it raises ``ValueError`` where it enters. A status other than
    ``SUCCESS`` is an answer about the problem or the numerics, and sweeps carry it along.

    Examples
    --------
    >>> from rmt import Status
    >>> Status.SUCCESS.ok, Status.UNBOUNDED_EDGE.ok
    (True, False)
    """

    SUCCESS = "Converged."
    MAX_STEPS = "The iteration limit was reached; raise the limit or loosen the tolerance."
    DIVERGED = (
        "The trajectory diverged at the step reported; try a smaller step_size (a gradient flow "
        "grows without bound there)."
    )
    NONFINITE = (
        "A value overflowed or was not a number; check the label, activation and loss "
        "for large arguments."
    )
    UNPHYSICAL_BRANCH = (
        "No solution on the physical branch (Im c > 0) was found; start further from the real axis."
    )
    NO_BRACKET = (
        "No delta in the bracket separates a bulk without outlier from one whose outlier stays; "
        "widen the bracket: raise its upper end where the gap there is positive, lower its lower "
        "end where the gap is negative throughout."
    )
    NO_OUTLIER = "No eigenvalue separates from the bulk."
    UNBOUNDED_EDGE = (
        "The curvature weights D are unbounded below: the left edge is -infinity and no hard "
        "outlier exists in the limit; a matrix of finite size has an edge, fixed by the n weights "
        "it draws: ask for its law and threshold at a dimension d. The limit has an edge where "
        "loss, activation and the scales of the inputs keep D bounded below."
    )
    TOO_FEW_PATHS = (
        "The trajectory spans too many directions for the number of paths; raise n_paths or "
        "rank_tolerance (tol, of a gradient flow)."
    )
    FINITE_PATHS = (
        "Finitely many paths bias the value by more than its standard error: the run over all of "
        "them and those over parts of them disagree; raise n_paths, or ask for an accuracy (rtol)."
    )
    MAX_PATHS = (
        "The accuracy asked for takes more paths than max_paths and max_seconds allow: values and "
        "errors are those reached; raise these, or rtol."
    )
    OUT_OF_MEMORY = (
        "The paths of the next step do not fit in max_memory, or in the memory of the machine; "
        "raise max_memory or rank_tolerance (tol, of a gradient flow), or take fewer paths."
    )
    UNSTABLE_PATHS = (
        "Linearly unstable samples (step_size * (D / delta + weight_decay) > 2) carry more than "
        "1 % of an average; take a smaller step_size, or gradient flow, which has none."
    )
    NOT_SETTLED = (
        "The curve still moves, or is known too roughly to say where it ends; raise n_steps "
        "(t_max, of a gradient flow), or n_paths (the interval holds every limit that the late "
        "points allow)."
    )
    ILL_CONDITIONED = (
        "The matrix to be inverted is too ill-conditioned for a reliable answer; use fewer steps, "
        "a smaller rank_tolerance (tol, of a gradient flow) if directions were dropped, or "
        "compression = 0 if they were truncated."
    )
    UNRESOLVED = (
        "The numbers spread over more orders of magnitude than double precision resolves; rescale "
        "them, or leave out what is negligible."
    )
    UNDECIDED = (
        "Whether a direction is hard, or a coefficient zero, could not be decided within the "
        "sampling error, or the hard directions stated are not those found; raise n_points, or "
        "check hard_directions."
    )
    FAILED = (
        "The computation ended with an error, which the result quotes; mend the settings it names, "
        "or give it more memory, and run it again."
    )
    UNDEFINED_AVERAGE = (
        "An average over the samples is infinite or does not exist (heavy tails or poles of label, "
        "activation or loss); clip or transform the label, or take a loss that grows more slowly."
    )
    SEPARABLE = (
        "The data are separable, so the risk has no minimiser: the norm grows without bound; raise "
        "delta, or give a weight_decay."
    )
    NOT_UNIQUE = (
        "The risk has many minimisers, which fit all data: where gradient descent ends depends on "
        "its start; raise delta, or give a weight_decay."
    )
    NO_COEFFICIENT = (
        "No degree up to max_degree has a conditional mean that differs from zero: the hard "
        "directions do not enter the label, or only in higher degrees; raise max_degree."
    )

    @property
    def ok(self) -> bool:
        """Whether the computation succeeded."""
        return self is Status.SUCCESS


def first_failure(statuses: Iterable[Status]) -> Status:
    """Return the first status other than SUCCESS, which is that of the whole; SUCCESS if none is.

    Examples
    --------
    >>> first_failure([Status.SUCCESS, Status.DIVERGED, Status.NONFINITE]).name
    'DIVERGED'
    """
    return next((status for status in statuses if not status.ok), Status.SUCCESS)


class NumericalFailure(RuntimeError):  # noqa: N818 - it carries a Status, not an error code
    """Raised in place of a returned status when the caller asked for ``throw=True``.

    Attributes
    ----------
    status : Status
        What went wrong, and what to try next.
    detail : str
        Numbers that belong to it, possibly empty.

    Parameters
    ----------
    status, detail
        These.
    text : str
        What the message says in place of the status.

    Examples
    --------
    >>> try:
    ...     raise NumericalFailure(Status.NO_BRACKET, "gap is positive at both ends")
    ... except NumericalFailure as failure:
    ...     failure.status.name, failure.detail
    ('NO_BRACKET', 'gap is positive at both ends')
    """

    def __init__(self, status: Status, detail: str = "", text: str = "") -> None:
        self.status = status
        self.detail = detail
        self._text = text
        said = text or status.value
        super().__init__(f"{status.name}: {said}" + (f" {detail}" if detail else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        """Restore from the status, in another process too."""
        return type(self), (self.status, self.detail, self._text)
