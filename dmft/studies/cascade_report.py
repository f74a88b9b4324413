"""Text of a cascade."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft._numerics.value_text import text_table
from dmft.io.report_text import cell, paths_line, problem_lines
from dmft.solver.stability import SHARE_TOLERANCE
from dmft.threshold.report import jump_lines, runs_line, unstable_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dmft.io.report_text import Lines
    from dmft.studies.cascade import Cascade, CascadeStage

__all__ = ["cascade_lines", "cascade_table"]


def cascade_lines(result: Cascade, name: str = "") -> Lines:
    """Write a cascade: problem (after the name of the run), stages, what failed."""
    config = result.config
    lines = [*problem_lines(config, name), paths_line(config["sampling"], result.rtol)]
    curves = [
        (f"stage {index}, feature {curve.index}", curve)
        for index, stage in enumerate(result.stages, start=1)
        for curve in stage.curves
    ]
    for _, curve in curves[:1]:
        lines += runs_line(curve)
    if result.criterion != "negative":
        lines.append(("criterion", result.criterion))
    if result.makes_easy is not None and result.makes_easy.any():
        lines.append(("staircase", _staircase(result)))
    for index, stage in enumerate(result.stages):
        lines.append((f"stage {index + 1}", _stage(stage)))
    for place, curve in curves:
        lines += [(name, f"{place}: {text}") for name, text in jump_lines(curve)]
    lines += [("detail", f"{place}: {curve.detail}") for place, curve in curves if curve.detail]
    share = float(np.max(result.unstable_share, initial=0.0, where=result.unstable_share > 0.0))
    if share > SHARE_TOLERANCE:
        lines.append(unstable_line(f"up to {share:.1%} of an average at a threshold"))
    return lines


def _staircase(result: Cascade) -> str:
    """Say which hard directions become easy by which."""
    assert result.makes_easy is not None
    names = [_coordinates(column) for column in result.stages[0].hard.T]
    words = []
    for name, row in zip(names, result.makes_easy, strict=True):
        easy = [other for other, share in zip(names, row, strict=True) if share > 1e-6]
        if easy:
            words.append(f"{name} makes {' and '.join(easy)} easy")
    return "; ".join(words)


def _coordinates(direction: NDArray[np.float64]) -> str:
    """Write a direction in the latent coordinates."""
    axes = np.flatnonzero(np.abs(direction) > 1e-9)
    if len(axes) == 1:
        return f"z{axes[0] + 1}"
    return "(" + " ".join(f"{direction[axis]:+.3g} z{axis + 1}" for axis in axes) + ")"


def _stage(stage: CascadeStage) -> str:
    """Say what is learned, what is easy by it, and how many features are left."""
    n_hard = stage.hard.shape[1]
    left = f"{n_hard} hard direction{'s' if n_hard != 1 else ''}"
    if not stage.overlap.any():
        return f"nothing learned, {left}"
    made = f", {stage.made_easy} made easy by it" if stage.made_easy else ""
    overlap = "; ".join(" ".join(f"{x:.3g}" for x in row) for row in stage.overlap.tolist())
    return f"overlap {overlap}{made}, {left} left"


def cascade_table(result: Cascade) -> str:
    """Write a table: each feature of each stage, at the first and the last step."""
    head = (
        "stage",
        "feature",
        "first step",
        "delta_NN",
        "last step",
        "delta_NN",
        "at once",
        "status",
    )
    rows = []
    for index, stage in enumerate(result.stages):
        for j, curve in enumerate(stage.curves):
            at_once = "" if curve.multiplicity is None else str(int(curve.multiplicity[-1]))
            rows.append(
                (
                    str(index + 1),
                    str(j + 1),
                    str(curve.steps[0]),
                    cell(curve.value[0], curve.error[0]),
                    str(curve.steps[-1]),
                    cell(curve.value[-1], curve.error[-1]),
                    at_once if np.isfinite(curve.value[-1]) else "",
                    curve.status.name,
                )
            )
    return text_table(head, rows) if rows else ""
