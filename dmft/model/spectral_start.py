r"""Spectral initialisation: neurons that start along the leading eigenvector of the data.

.. math:: \Theta^0_j = \rho_j \big(s_j v + \sqrt{1 - s_j^2}\, u_j\big), \qquad
          \frac1n \sum_i T(y_i)\, x_i x_i^T v = \lambda v,

with v the unit eigenvector of the largest eigenvalue, T a preprocessing function of the label, and
u_j independent random directions (Mondelli and Montanari, arXiv:1708.05932).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmft._numerics.frozen import set_fields
from dmft._numerics.user_functions import result_of
from dmft._numerics.validation import check_finite_array, check_keys, check_real
from dmft.model.law_sources import LawSource, custom_entry

if TYPE_CHECKING:
    from dmft.model.problem import Problem

__all__ = [
    "FRESH_EIGENVECTOR",
    "PREPROCESSINGS",
    "SpectralStart",
    "check_start",
    "get_spectral_start",
    "start_text",
    "stated_overlap",
]

Array = NDArray[np.float64]

#: Preprocessing functions by name.
PREPROCESSINGS: Final = ("optimal", "clipped")
#: Message for steps on samples of their own.
FRESH_EIGENVECTOR: Final = (
    "fresh_batches must be False with spectral_start: its eigenvector is one of data that the "
    "steps use, too"
)
_CAP = 3.0


@dataclass(frozen=True, init=False)
class SpectralStart:
    """Start along the leading eigenvector of (1/n) sum_i T(y_i) x_i x_i^T.

    The sign of the eigenvector, which nothing decides, is that of a positive overlap with the
    direction that it recovers.

    Parameters
    ----------
    preprocessing : {"optimal", "clipped"} or callable
        T, labels (N,) to numbers (N,): ``1 - 1/E[<u, z>^2 | y]`` for the direction u with the
        lowest threshold; ``clip(y, -cap, cap)``; or a function of one's own.
    share : float or sequence of m floats
        Cosine s_j, from -1 to 1, of each neuron with the eigenvector; 1 by default.
    cap : float, optional
        Of "clipped", default 3.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    Examples
    --------
    >>> SpectralStart().to_config()
    'optimal'
    >>> SpectralStart("clipped", share=[1.0, 0.5], cap=4.0).to_config()
    {'preprocessing': 'clipped', 'share': [1.0, 0.5], 'cap': 4.0}
    """

    preprocessing: str | Callable[[Array], Any]
    share: float | tuple[float, ...]
    cap: float | None

    def __init__(
        self,
        preprocessing: str | Callable[[Array], Any] = "optimal",
        share: float | ArrayLike = 1.0,
        cap: float | None = None,
    ) -> None:
        if not callable(preprocessing) and preprocessing not in PREPROCESSINGS:
            raise ValueError(
                f"spectral_start must be {', '.join(PREPROCESSINGS)} or a function of the label, "
                f"got {preprocessing!r}"
            )
        if cap is not None:
            if preprocessing != "clipped":
                raise ValueError("cap belongs to the preprocessing 'clipped' of spectral_start")
            cap = check_real("cap", cap, minimum=0.0, exclusive=True)
        elif preprocessing == "clipped":
            cap = _CAP
        shares = check_finite_array(
            "share", share, ndim=np.ndim(share), expected="a number or one for each neuron"
        )
        if shares.ndim > 1 or not shares.size or np.any(np.abs(shares) > 1.0):
            raise ValueError(f"share must be from -1 to 1, one for each neuron, got {share!r}")
        if not shares.any():
            raise ValueError("share must not be zero for all neurons, which would start at random")
        same = bool(np.all(shares == shares.flat[0]))
        value = float(shares.flat[0]) if same else tuple(shares.tolist())
        set_fields(self, preprocessing=preprocessing, share=value, cap=cap)

    def shares(self, m: int) -> Array:
        """Return the cosine of every neuron, shape (m,).

        Raises
        ------
        ValueError
            If there is not one for each.
        """
        if isinstance(self.share, tuple) and len(self.share) != m:
            raise ValueError(f"share must have m = {m} entries, got {len(self.share)}")
        return np.array(np.broadcast_to(self.share, (m,)))

    def gram(self, radii: Array) -> Array:
        """Return the Gram matrix (m, m) of neurons with radii (m,)."""
        s = self.shares(len(radii))
        along = radii * s
        gram = np.outer(along, along)
        gram[np.diag_indices(len(radii))] = radii**2
        return gram

    def weights(self, y: Array) -> Array:
        """Return T at labels (N,), but for "optimal", which depends on their law.

        Raises
        ------
        ValueError
            If T is "optimal"; if a function of one's own fails, or returns another shape or
            numbers not finite.
        """
        if self.cap is not None:
            return np.clip(y, -self.cap, self.cap)
        if isinstance(self.preprocessing, str):
            raise ValueError(
                f"preprocessing {self.preprocessing!r} depends on the law of the label"
            )
        return check_shape(
            result_of(self.preprocessing, y.copy(), failed="preprocessing: it failed: "), y
        )

    def to_config(self) -> str | dict[str, Any]:
        """Return the settings as plain types; a function becomes ``{"custom": name}``."""
        chosen: Any = self.preprocessing
        if callable(chosen):
            chosen = custom_entry(chosen, getattr(chosen, "__name__", "custom"))
        elif self.share == 1.0 and chosen == "optimal":
            return str(chosen)
        share = list(self.share) if isinstance(self.share, tuple) else self.share
        stated = {} if self.cap is None else {"cap": self.cap}
        return {"preprocessing": chosen, "share": share, **stated}


def check_shape(found: Any, y: Array) -> Array:
    """Return what a preprocessing function gave as finite numbers (N,)."""
    weights = check_finite_array(
        "preprocessing", found, ndim=1, expected="one finite number for each label"
    )
    if weights.shape != y.shape:
        raise ValueError(
            f"preprocessing must return one number for each label, shape {y.shape}, "
            f"got {weights.shape}"
        )
    return weights


def get_spectral_start(
    entry: object | None, preprocessing: object | None = None
) -> SpectralStart | None:
    """Return the spectral start of an entry of a configuration, or of an argument.

    None of None and of "none", by which a run file, a flag or an axis of a scan has no such start.

    Parameters
    ----------
    entry : SpectralStart, str, callable, mapping or None
    preprocessing : callable, optional
        The function of one's own, where the entry says that there was one.

    Raises
    ------
    ValueError
        If it is none of these, or a key or value is not allowed.

    Examples
    --------
    >>> get_spectral_start("clipped").cap
    3.0
    """
    if entry is None or isinstance(entry, SpectralStart):
        return entry
    if isinstance(entry, str) and entry == "none":
        return None
    if not isinstance(entry, Mapping):
        if not (isinstance(entry, str) or callable(entry)):
            raise ValueError(
                "spectral_start must be a SpectralStart, a name, a function or a table, "
                f"got {entry!r}"
            )
        return SpectralStart(entry)
    settings = check_keys("spectral_start", entry, ("preprocessing", "share", "cap"))
    chosen = settings.get("preprocessing")
    if isinstance(chosen, Mapping):
        check_keys("preprocessing", chosen, ("custom", *LawSource.KEYS), required=("custom",))
        if preprocessing is None:
            raise ValueError(
                f"preprocessing must be supplied: {chosen['custom']!r} is a function of one's own"
            )
        settings["preprocessing"] = preprocessing
    return SpectralStart(**settings)


def start_text(entry: str | Mapping[str, Any] | None) -> str:
    """Return what a report says of the entry of a configuration; nothing where there is none.

    Examples
    --------
    >>> start_text("optimal"), start_text(None)
    (', spectral start (optimal)', '')
    """
    if entry is None:
        return ""
    name = entry if isinstance(entry, str) else entry["preprocessing"]
    return f", spectral start ({name if isinstance(name, str) else name['custom']})"


def stated_overlap(problem: Problem) -> str:
    """Return the setting by which a problem starts with an overlap, for messages."""
    config = problem.to_config()
    name = "initial_overlap" if problem.spectral_start is None else "spectral_start"
    return f"{name} = {config[name]}"


def check_start(problem: Problem) -> None:
    """Raise unless a spectral start goes together with the other settings of a problem."""
    start = problem.spectral_start
    assert start is not None
    start.shares(problem.m)
    for name in ("initial_overlap", "init_gram"):
        if getattr(problem, name) is not None:
            raise ValueError(f"{name} must be left out with spectral_start, which decides it")
    if problem.init_law != "sphere":
        raise ValueError("init_law must be 'sphere' with spectral_start, got 'gaussian'")
