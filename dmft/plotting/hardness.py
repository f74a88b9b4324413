"""Figure of a label: its Hermite energies, and conditional means of Hermite polynomials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator
from scipy.special import ndtri

from dmft.model.classification import describe_label
from dmft.plotting.common import (
    BLUE,
    GREY,
    VERMILLION,
    color_of,
    format_number,
    look,
    name_of,
    new_figure,
    sentence,
    set_title,
)
from rmt.canvas import drawing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dmft.recovery.conditional_moments import Profile
    from dmft.recovery.exponents import Hardness

    FloatArray = NDArray[np.float64]

__all__ = ["plot_hardness"]

_CURVES = 4  # degrees drawn against the label
_TICK_LEVELS = (1e-3, 0.1, 0.5, 0.9, 0.999)  # so few that their numbers do not meet


@drawing
def plot_hardness(result: Hardness) -> Figure:
    """Draw conditional means of Hermite polynomials given the label, and energies by degree.

    Parameters
    ----------
    result : Hardness

    Returns
    -------
    matplotlib.figure.Figure
        For k = 1: conditional means of the normalised Hermite polynomials against the label (spaced
        by its quantiles), and their mean squares next to the squared Hermite coefficients of the
        label. For k > 1: both shares by degree, stacked by direction. Whiskers: standard errors.
    """
    figure, (left, right) = new_figure((7.0, 2.9), columns=2)
    if result.profile is not None:
        _draw_profile(left, result.profile)
        _bars(right, [result.information_share, result.generative_share],
              [result.information_share_stderr, result.generative_share_stderr],
              ["of the label", "of the polynomial, told by the label"])  # fmt: skip
        right.set_ylabel("share of the variance")
    else:
        names = _direction_names(result)
        first = result.k - result.generative_share.shape[1]
        _stack(left, result.information_share, result.information_share_stderr, names, 0)
        left.set_ylabel("share of the variance\nof the label")
        _stack(right, result.generative_share, result.generative_share_stderr, names, first)
        given = "\nand the easy coordinates" if first else ""
        right.set_ylabel(f"variance told by the label{given}")
    color = "black" if result.status.ok else VERMILLION
    set_title(figure, _title(result), color)
    return figure


def _title(result: Hardness) -> str:
    def shown(exponent: int | None) -> str:
        return "none found" if exponent is None else str(exponent)

    target = result.config["target"]
    noise = f" + {target['noise']:g} noise" if target["noise"] else ""
    if result.k_hard == 0:
        threshold = "no hard direction"
    elif np.isinf(result.delta_alg):
        threshold = r"$\delta_{\mathrm{alg}} = \infty$"
    else:
        number = format_number(result.delta_alg, result.delta_alg_stderr)
        threshold = rf"$\delta_{{\mathrm{{alg}}}} =\ ${number}"
    text = (
        f"{name_of(describe_label(target))}{noise},  information exponent "
        f"{shown(result.information_exponent)},  generative exponent "
        f"{shown(result.generative_exponent)},  {threshold}"
    )
    return text if result.status.ok else f"{text}\n{sentence(result.status)}"


def _draw_profile(axes: Axes, profile: Profile) -> None:
    """Draw conditional means against the normal score of the label, with labels as ticks."""
    cumulative = np.cumsum(profile.probability)
    score = ndtri(np.clip(cumulative - 0.5 * profile.probability, 1e-12, 1.0 - 1e-12))
    few = len(score) < 12  # a discrete label
    axes.axhline(0.0, color=GREY, linewidth=0.7, zorder=1)
    for index, mean in enumerate(profile.mean[:_CURVES]):
        axes.plot(
            score, mean, **look(index), marker="o" if few else None,
            label=rf"$\ell = {index + 1}$",
        )  # fmt: skip
    inside = np.abs(score) < 3.2
    shown = profile.mean[:_CURVES, inside] if inside.any() else profile.mean[:_CURVES]
    low, high = float(shown.min()), float(shown.max())
    pad = 0.08 * (high - low) + 0.05
    axes.set_ylim(low - pad, high + pad)
    if few:
        ticks = np.arange(len(score))
    else:
        axes.set_xlim(-3.2, 3.2)
        ticks = np.unique(np.searchsorted(score, ndtri(_TICK_LEVELS)).clip(0, len(score) - 1))
    axes.set_xticks(score[ticks], [f"{profile.y[tick]:.3g}" for tick in ticks])
    axes.set_xlabel("label y, spaced by its quantiles")
    axes.set_ylabel(r"$E[\,He_\ell(z)\,|\,y\,]\,/\,\sqrt{\ell!}$")
    axes.legend(loc="best", ncols=2)


def _bars(
    axes: Axes, shares: Sequence[FloatArray], errors: Sequence[FloatArray], names: Sequence[str]
) -> None:
    """Draw bars side by side, one group for each degree."""
    width = 0.8 / len(shares)
    for index, (share, error, name) in enumerate(zip(shares, errors, names, strict=True)):
        degree = np.arange(1, len(share) + 1)
        axes.bar(
            degree + (index - 0.5 * (len(shares) - 1)) * width, np.nan_to_num(share[:, 0]), width,
            yerr=np.nan_to_num(error[:, 0]), color=(BLUE, VERMILLION)[index], label=name,
            error_kw={"elinewidth": 1.0},
        )  # fmt: skip
    _finish(axes, len(shares[0]))


def _stack(
    axes: Axes, share: FloatArray, error: FloatArray, names: Sequence[str], first: int
) -> None:
    """Draw bars on top of each other, one colour for each direction; degrees not computed end."""
    computed = int(np.count_nonzero(np.isfinite(share).any(axis=1)))
    degree = np.arange(1, len(share) + 1)
    base = np.zeros(len(share))
    for index, name in enumerate(names[first:], start=first):
        height = np.nan_to_num(share[:, index - first])
        axes.bar(
            degree, height, 0.7, bottom=base, yerr=np.nan_to_num(error[:, index - first]),
            color=color_of(index), label=name, error_kw={"elinewidth": 1.0},
        )  # fmt: skip
        base += height
    _finish(axes, max(computed, 2))


def _finish(axes: Axes, degrees: int) -> None:
    axes.set_xlabel(r"degree $\ell$")
    axes.set_xlim(0.4, degrees + 0.6)
    axes.set_ylim(0.0, 1.3 * max(axes.get_ylim()[1], 1e-3))  # room for the legend
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper right")


def _direction_names(result: Hardness) -> list[str]:
    """Name directions by the coordinate axes they are, or by number."""
    names = []
    for index, column in enumerate(np.hstack([result.easy_basis, result.hard_basis]).T):
        axis = np.flatnonzero(np.abs(column) > 1e-12)
        name = f"$z_{axis[0] + 1}$" if len(axis) == 1 else f"direction {index + 1}"
        kind = "easy" if index < result.easy_basis.shape[1] else "hard"
        names.append(f"{name}, {kind}")
    return names
