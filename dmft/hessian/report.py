"""Text of the law of n weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.io.report_text import paths_line, problem_lines, with_error
from dmft.solver.stability import SHARE_TOLERANCE

if TYPE_CHECKING:
    from dmft.hessian.finite_law import DrawnMedian, FiniteLaw
    from dmft.io.report_text import Lines

__all__ = ["finite_json", "finite_lines", "with_band"]


def finite_lines(result: FiniteLaw, name: str = "", *, alone: bool = True) -> Lines:
    """Write the law of n weights: problem (after the name of the run), and medians over draws.

    Not `alone`, where lines of the limit come before: without what these say.
    """
    lines: Lines = []
    if alone:
        if "method" in result.config:
            lines = problem_lines(result.config, name)
        lines.append(paths_line(result.config["sampling"]))
        lines.append(("delta, step", f"{result.delta:g}, {result.step}"))
    hard = result.hard_overlaps > 0.0
    with_outlier = float(np.mean(np.any(hard, axis=1)))
    lines += [
        (f"d = {result.d}", f"n = {result.n}, {result.draws} draws; medians, and 68 % of the runs"),
        ("  left edge", with_band(result.left_edge)),
        ("  smallest", with_band(result.smallest_eigenvalue)),
    ]
    if not math.isnan(result.quantile):
        lines.append(("  quantile", f"{result.quantile:.4g}: m d cdf = 1 in the limit"))
    if not np.isnan(result.hard_gap).all():
        lines += [
            ("  hard gap", with_band(result.gap)),
            (
                "  hard overlap",
                f"{with_band(result.hard_overlap)}; an outlier in {with_outlier:.0%}",
            ),
        ]
    share = result.unstable_share
    if share > SHARE_TOLERANCE:
        text = f"carry {share:.1%} of an average: what single runs show rests on rare samples"
        lines.append(("unstable paths", text))
    return lines


def with_band(median: DrawnMedian) -> str:
    """Write a median with its error, and the band of single runs."""
    if not math.isfinite(median.value):
        return "not known"
    if median.stderr == 0.0:
        return f"{median.value:.6g} in every draw"
    text = with_error(median.value, median.stderr)
    return f"{text}, runs {median.lower:.3g} to {median.upper:.3g}"


def finite_json(result: FiniteLaw) -> dict[str, Any]:
    """Return the law of n weights as plain types: medians, not the draws."""
    names = ("left_edge", "smallest_eigenvalue", "hard_overlap", "gap")
    return {
        **{name: getattr(result, name) for name in ("d", "n", "draws", "quantile", "status")},
        **{name: vars(getattr(result, name)) for name in names},
        "stability": result.stability_status,
        "unstable_share": result.unstable_share,
    }
