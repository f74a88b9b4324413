"""Figure of a minimiser of the empirical risk: the margins of the data and of fresh data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.validation import check_instance
from dmft.model.catalogue import law_name
from dmft.model.classification import describe_label
from dmft.observables.risk_minimization import RiskMinimizer
from dmft.plotting.common import BLUE, GREY, VERMILLION, set_title
from rmt.canvas import drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_margins"]

_POINTS = 201
_SPREADS = 5.0


@drawing
def plot_margins(result: RiskMinimizer) -> Figure:
    """Draw the distribution functions of the margins of the data and of fresh data.

    Parameters
    ----------
    result : RiskMinimizer
        Of labels -1 and +1.

    Returns
    -------
    matplotlib.figure.Figure
        What is left of zero is misclassified.

    Raises
    ------
    ValueError
        If labels are others, or there is no minimiser.
    """
    check_instance("result", result, RiskMinimizer)
    if not math.isfinite(result.norm):
        raise ValueError(
            f"result must be a minimiser to be drawn; there is none: {result.status.name}"
        )
    if math.isnan(result.test_error):
        raise ValueError("result must be that of labels -1 and +1 to be drawn, by its margins")
    reach = _SPREADS * math.sqrt(result.norm)
    margins = np.linspace(-reach, reach, _POINTS)
    data, fresh = result.margin_cdf(margins), result.margin_cdf(margins, fresh=True)
    figure, (axes,) = new_figure((3.4, 2.6))
    axes.plot(margins, data, color=BLUE, label="data")
    axes.plot(margins, fresh, color=VERMILLION, linestyle="--", label="fresh data")
    axes.axvline(0.0, color=GREY, linestyle=":", linewidth=0.8)
    axes.set(xlabel=r"margin $y\,\langle\theta, x\rangle$", ylabel="distribution function")
    axes.legend(loc="upper left")
    problem, delta = result.config["problem"], result.config["delta"]
    words = f"{describe_label(problem['target'])}, {law_name(problem['loss'])} loss"
    set_title(figure, f"{words}, $\\lambda = {problem['weight_decay']:g}$, $\\delta = {delta:g}$")
    return figure
