"""Text of the hardness of a label."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.io.report_text import with_error
from dmft.model.classification import describe_label
from dmft.model.input_laws import describe_inputs
from rmt.status import Status

if TYPE_CHECKING:
    from dmft.io.report_text import Lines
    from dmft.recovery.exponents import Hardness
    from dmft.recovery.spectral_methods import SpectralMethod

__all__ = ["describe_preprocessing", "hardness_lines", "spectral_lines"]

_ROUNDING = 1e-9  # explained variances below this are zero to rounding


def hardness_lines(result: Hardness) -> Lines:
    """Write what a label decides: directions, rank tests, exponents, delta_alg."""
    target = result.config["target"]
    noise = f" + {target['noise']:g} noise" if target["noise"] else ""
    highest = result.config["max_degree"]

    def exponent(value: int | None) -> str:
        return f"none up to {highest}" if value is None else f"{value}"

    information = exponent(result.information_exponent)
    if result.information_status is Status.NONFINITE:
        information = "none: the label has no second moment"

    def basis(columns: np.ndarray[Any, Any]) -> str:
        return ", ".join(map(_direction, columns.T)) or "none"

    irrelevant = result.irrelevant_basis
    lines = [
        (
            "label",
            f"{describe_label(target)}{noise}, {result.k} latent direction{'s'[: result.k > 1]}",
        ),
        ("easy directions", basis(result.easy_basis)),
        ("hard directions", basis(result.hard_basis)),
        *([("not in the label", basis(irrelevant))] if irrelevant.size else []),
    ]
    for number, test in enumerate(result.rounds, start=1):
        shares = ", ".join(map(_share, test.explained.tolist(), test.stderr.tolist()))
        lines.append((f"rank test {number}", f"labels explain {shares}; {test.n_easy} easy"))
    flips = ["(" + ", ".join(f"{sign:+d}" for sign in flip) + ")" for flip in result.sign_flips]
    lines += [
        ("sign symmetries", " ".join(flips) or "none"),
        ("information exponent", information),
        ("generative exponent", exponent(result.generative_exponent)),
    ]
    if result.k_hard == 0:
        return [*lines, ("delta_alg", "0: no hard direction")]
    if irrelevant.shape == result.hard_basis.shape:
        nothing = "infinite: labels do not depend on the hard directions, nothing is to be learned"
        return [*lines, ("delta_alg", nothing)]
    value = with_error(result.delta_alg, result.delta_alg_stderr)
    if math.isinf(result.delta_alg):
        inverse = with_error(result.inverse_delta_alg, result.inverse_delta_alg_stderr)
        value = f"infinite: no number of order d samples is enough (1/delta_alg = {inverse})"
    return [*lines, ("delta_alg", value)]


def describe_preprocessing(entry: Any) -> str:
    """Name a preprocessing of labels, given by the entry of a configuration.

    Examples
    --------
    >>> describe_preprocessing({"preprocessing": "clipped", "cap": 3.0})
    'clipped at 3'
    """
    if isinstance(entry, str):
        return entry
    return str(entry["custom"]) if "custom" in entry else f"clipped at {entry['cap']:g}"


def spectral_lines(result: SpectralMethod, name: str = "") -> Lines:
    """Write a spectral method: label (after the name of the run), outliers, threshold."""
    config = result.config
    target, inputs = config["problem"]["target"], config["problem"].get("inputs")
    noise = f" + {target['noise']:g} noise" if target.get("noise") else ""
    label = f"{describe_label(target)}{noise}"
    found = zip(
        result.outlier, result.outlier_stderr, result.overlap, result.overlap_stderr, strict=True
    )
    outliers = [
        f"{with_error(value, error)}, squared overlap {with_error(overlap, overlap_error)}"
        for value, error, overlap, overlap_error in found
    ]
    threshold = with_error(result.threshold, result.threshold_stderr)
    if Status.UNBOUNDED_EDGE in (result.spectrum_status, result.threshold_status):
        outliers = [
            "none in the limit: T (times s^2, of scales s) is unbounded; clip it, at a cap that "
            "samples reach"
        ]
    if not result.threshold_status.ok:
        threshold = f"none found: {result.threshold_status.name}"
    return [
        ("label", f"{name}: {label}" if name else label),
        *([("inputs", describe_inputs(inputs))] if inputs else []),
        ("preprocessing", describe_preprocessing(config["preprocessing"])),
        ("delta", f"{config['delta']:g}"),
        (f"{config['side']} edge", with_error(result.edge, result.edge_stderr)),
        ("gap", with_error(result.gap, result.gap_stderr)),
        *(("outlier", words) for words in outliers or ["none"]),
        ("threshold", threshold),
    ]


def _share(value: float, stderr: float) -> str:
    return "0" if max(abs(value), stderr) < _ROUNDING else with_error(value, stderr)


def _direction(column: np.ndarray[Any, Any]) -> str:
    """Name a direction: a coordinate, or a combination of coordinates."""
    axes = np.flatnonzero(column)
    if len(axes) == 1:
        return f"z{axes[0] + 1}"
    terms = " ".join(f"{column[axis]:+.4g} z{axis + 1}" for axis in axes)
    return f"({terms})"
