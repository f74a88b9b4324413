"""Text of a scaling law."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.value_text import text_table, value_text
from dmft.io.report_text import cell, paths_line, problem_lines
from dmft.solver.stability import SHARE_TOLERANCE
from rmt.status import Status

if TYPE_CHECKING:
    from dmft.io.report_text import Lines
    from dmft.studies.power_law import PowerLaw
    from dmft.studies.scaling_law_result import ScalingLaw

__all__ = ["scaling_law_lines", "scaling_law_table"]

_SHOWN = 4  # thresholds of a row
_UNTOLD, _FINEST = 1.0, 0.01  # errors of exponents: shown up to the one, not below the other


def scaling_law_lines(result: ScalingLaw, name: str = "") -> Lines:
    """Write a scaling law: problem (after the name of the run), label, what failed."""
    config = result.config
    lines = [*problem_lines(config, name), paths_line(config["sampling"])]
    shares = " ".join(f"{x:.3g}" for x in result.share[result.ranking] / result.variance)
    lines.append(("variance", f"{result.variance:.4g}; shares of the features: {shares}"))
    if result.criterion != "negative":
        lines.append(("criterion", result.criterion))
    unstable = result.unstable_share[np.isfinite(result.unstable_share)].max(initial=0.0)
    if unstable > SHARE_TOLERANCE:
        lines.append(("stability", f"{Status.UNSTABLE_PATHS.value} Share: {unstable:.2g}"))
    if result.detail:
        lines.append(("detail", result.detail))
    return lines


def scaling_law_table(result: ScalingLaw) -> str:
    """Write a table: each learner with its first thresholds, and the fitted exponents."""
    shown = result.ranking[:_SHOWN]
    head = (
        f"thresholds at step {result.step}",
        *(f"feature {j + 1}" for j in shown),
        "known",
        "delta_j",
        "features",
        "excess error",
        "if delta_j = 1/share",
    )
    rows = [
        (
            name,
            *(
                cell(x, dx)
                for x, dx in zip(result.threshold[i, shown], result.error[i, shown], strict=True)
            ),
            str(int(result.is_known[i].sum())),
            _exponent(result.thresholds_law(i)),
            _exponent(result.features_law(i)),
            _exponent(result.error_law(i)),
            _exponent(result.expected_error_law(i), with_error=False),
        )
        for i, name in enumerate(result.names)
    ]
    return text_table(head, rows)


def _exponent(fit: PowerLaw, *, with_error: bool = True) -> str:
    """Write an exponent with its error; nothing where the points do not tell it."""
    if not fit.stderr < _UNTOLD:
        return ""
    error = max(fit.stderr, _FINEST) if with_error else np.nan
    return value_text(fit.exponent, error, plain=".2f", most=2)
