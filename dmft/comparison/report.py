"""Write a comparison of theory and simulation: verdict, table, plain types."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dmft._numerics.plain_data import plain
from dmft._numerics.value_text import text_table, value_text
from dmft.comparison.quantities import LIMIT
from dmft.model.problem_text import describe_problem
from dmft.training.gradient_descent import describe_method

if TYPE_CHECKING:
    from dmft.comparison.comparison import Comparison
    from dmft.comparison.quantities import QuantityComparison

__all__ = ["summarise", "write_table", "write_verdict"]

# Entries beyond the limit are put down to chance above this p-value: two grades of doubt, for a
# verdict must not call half of all entries chance.
_CHANCE: Final = 0.05
# Degrees of freedom below which three standard errors are no rare event: one in fifty.
_FEW: Final = 6.5
_WIDTH: Final = 100


def write_verdict(comparison: Comparison) -> str:
    """Say in one sentence whether theory and simulation agree."""
    quantities = comparison.quantities.values()
    total = sum(q.ratio.size for q in quantities)
    if not total:
        return "nothing to compare"
    worst = max(quantities, key=lambda q: q.largest_ratio)
    chance = f"p = {comparison.p_value:.2g} over all tests"
    if comparison.compatible:
        which = f"all {total} entries" if total > 1 else "the one entry"
        within = f"{which} within 3 standard errors"
        numbers = f"(largest {worst.largest_ratio:.2f}; {chance})"
        if comparison.significant:
            return f"NOT compatible: {within}, but together more than chance gives {numbers}"
        return f"compatible: {within} {numbers}"
    freedom = min(float(q.degrees_of_freedom.min()) for q in quantities)
    beyond = sum(q.n_beyond for q in quantities)
    text = (
        f"{beyond} of {total} entries beyond 3 standard errors, the largest "
        f"{worst.largest_ratio:.2f} in {_place(worst)}"
    )
    if comparison.p_value > _CHANCE and freedom < _FEW:
        n_seeds = sum(len(seeds) for seeds in comparison.seeds)
        return (
            f"undecided, {n_seeds} seeds are few: {text}. At {freedom:.0f} degrees of "
            f"freedom a right theory has an entry there with probability "
            f"{_beyond_limit(freedom):.2g}, and entries of neighbouring steps move "
            f"together ({chance}); simulate 8 seeds or more"
        )
    if comparison.p_value > _CHANCE:
        return f"{text}: no more than chance gives ({chance})"
    text = f"NOT compatible: {text} ({chance})"
    end = comparison.regime_end
    if end:
        before = max(q.largest_until(end - 1)[0] for q in quantities)
        text += (
            f"; before step {end}, while the runs have not found a hard direction, the largest "
            f"is {before:.2f}"
        )
    return text


def write_table(comparison: Comparison) -> str:
    """Write a comparison as aligned text: one line a quantity, Hessians, notes, verdict.

    Columns: number of entries (steps times components); largest deviation in combined standard
    errors and where; this deviation and its error; family-wise p-value (of the most significant
    entry); joint p-value (of all entries together).
    """
    head = ["quantity", "entries", "max |dev|/err", "at", "deviation", "error", "p", "p joint"]
    rows = []
    for q in comparison.quantities.values():
        (step, label), at = q.where, _index_of_largest(q)
        rows.append(
            [
                q.title,
                str(q.ratio.size),
                f"{q.largest_ratio:.2f}" + (" *" if q.largest_ratio > LIMIT else "  "),
                f"step {step}" + (f", {label}" if label else ""),
                f"{q.deviation[at]:+.2e}",
                f"{q.stderr[at]:.1e}",
                f"{q.entry_p:.2g}",
                f"{q.joint_p:.2g}",
            ]
        )
    parts = [_header(comparison), text_table(head, rows, left=(0, 3))]
    if comparison.hessian:
        parts.append(_hessian_table(comparison))
    if comparison.notes:
        parts.append("\n".join(_wrapped(f"note: {note}") for note in comparison.notes))
    return "\n\n".join([*parts, _wrapped(write_verdict(comparison))])


def _header(comparison: Comparison) -> str:
    runs = ", ".join(
        f"d = {d} (n = {n}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''})"
        for d, n, seeds in zip(comparison.sizes, comparison.samples, comparison.seeds, strict=True)
    )
    how = (
        "extrapolated to 1/d = 0 by weighted least squares"
        if comparison.extrapolated
        else "one size: no extrapolation, deviations of order 1/d are left in"
    )
    held = "; hard components held at zero" if comparison.hold_hard else ""
    paths, replicates = (comparison.config["sampling"][key] for key in ("n_paths", "replicates"))
    return "\n".join(
        [
            describe_problem(comparison.config["problem"]),
            f"delta = {comparison.delta:g}, {describe_method(comparison.config['method'])}, "
            f"steps 0 to {comparison.last_step}",
            f"theory:     {paths} paths, {replicates} replicates",
            f"simulation: {runs}{held}",
            f"            {how}",
        ]
    )


def _hessian_table(comparison: Comparison) -> str:
    head = ["step", "smallest eigenvalue", "theory", "hard overlap", "theory", "predicted by"]
    rows, notes = [], []
    for h in comparison.hessian:
        rows.append(
            [
                str(h.step),
                _with_error(h.simulated, h.simulated_stderr),
                _with_error(h.value, h.stderr),
                _with_error(h.simulated_overlap, h.simulated_overlap_stderr),
                _with_error(h.overlap, h.overlap_stderr),
                h.kind if h.law == "limit" else f"{h.kind}, law of n weights",
            ]
        )
        if h.note:
            notes.append(_wrapped(f"step {h.step}: {h.note}"))
    return "\n".join([text_table(head, rows, left=(5,)), *notes])


def summarise(comparison: Comparison) -> dict[str, Any]:
    """Return the content of `write_table` as plain types, with the configuration."""
    quantities = {}
    for name, q in comparison.quantities.items():
        (step, label), at = q.where, _index_of_largest(q)
        quantities[name] = {
            "entries": q.ratio.size,
            "largest_ratio": plain(q.largest_ratio),
            "step": step,
            "entry": label,
            "deviation": plain(q.deviation[at]),
            "stderr": plain(q.stderr[at]),
            "beyond": q.n_beyond,
            "p": q.entry_p,
            "joint_p": q.joint_p,
            "joint_statistic": plain(q.joint_statistic),
            "components": q.n_components,
            "compatible": q.compatible,
        }
    return {
        **comparison.config,
        "delta": comparison.delta,
        "sizes": [
            {"d": d, "n": n, "seeds": list(seeds)}
            for d, n, seeds in zip(
                comparison.sizes, comparison.samples, comparison.seeds, strict=True
            )
        ],
        "extrapolated": comparison.extrapolated,
        "hold_hard": comparison.hold_hard,
        "last_step": comparison.last_step,
        "quantities": quantities,
        "hessian": [
            {key: plain(value) for key, value in vars(entry).items()}
            for entry in comparison.hessian
        ],
        "regime_end": comparison.regime_end,
        "compatible": comparison.compatible,
        "largest_ratio": plain(comparison.largest_ratio),
        "p": comparison.p_value,
        "status": comparison.status.name,
        "notes": list(comparison.notes),
        "verdict": write_verdict(comparison),
    }


def _index_of_largest(quantity: QuantityComparison) -> tuple[np.intp, ...]:
    return np.unravel_index(int(np.abs(quantity.ratio).argmax()), quantity.ratio.shape)


def _beyond_limit(freedom: float) -> float:
    """Return the probability of an entry beyond three standard errors (Student's law)."""
    from scipy.stats import t as student

    return float(2.0 * student.sf(LIMIT, freedom))


def _place(quantity: QuantityComparison) -> str:
    step, label = quantity.where
    return f"{quantity.title} at step {step}" + (f", {label}" if label else "")


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _with_error(value: float, stderr: float) -> str:
    """Write a value and its standard error, rounded to two digits of the error."""
    return "-" if np.isnan(value) else value_text(value, stderr, most=10, plain=".5g")
