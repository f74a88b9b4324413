"""Quantities of a scan that are exact companions: risk minimisers and spectral methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from dmft.scans.readings import Quantity, Reading, ReadingName
from rmt.status import Status

if TYPE_CHECKING:
    from dmft.observables.risk_minimization import RiskMinimizer
    from dmft.recovery.spectral_methods import SpectralMethod
    from rmt.spectral import SpectralThreshold

__all__ = ["COMPANIONS"]


def _of_minimizer(name: str) -> Callable[[RiskMinimizer, ReadingName], Reading]:
    def read(result: RiskMinimizer, _: ReadingName) -> Reading:
        return Reading.of(getattr(result, name), getattr(result, f"{name}_stderr"), result.status)

    return read


def _overlap(result: RiskMinimizer, name: ReadingName) -> Reading:
    (place,) = name.indices or (0,)
    if place >= len(result.overlap):
        raise ValueError(f"{name}: there are entries up to {len(result.overlap) - 1}")
    return Reading.of(result.overlap[place], result.overlap_stderr[place], result.status)


def _threshold(result: SpectralThreshold, _: ReadingName) -> Reading:
    return Reading.of(result.value, result.stderr, result.status)


def _of_outlier(name: str) -> Callable[[SpectralMethod, ReadingName], Reading]:
    def read(result: SpectralMethod, asked: ReadingName) -> Reading:
        (place,) = asked.indices or (0,)
        values, errors = getattr(result, name), getattr(result, f"{name}_stderr")
        if not result.spectrum_status.ok:
            return Reading.missing(result.spectrum_status)
        if place >= len(values):
            return Reading.missing(Status.NO_OUTLIER)
        return Reading.of(values[place], errors[place], Status.SUCCESS)

    return read


def _gap(result: SpectralMethod, _: ReadingName) -> Reading:
    if not math.isfinite(result.gap):
        return Reading(result.gap, math.nan, result.spectrum_status)
    return Reading.of(result.gap, result.gap_stderr, result.spectrum_status)


_STDERR = "standard error; 0 where two quadratures agree"
_SAMPLED = "standard error, and binning of labels"

COMPANIONS: Final[Mapping[str, Quantity]] = {
    "erm_norm": Quantity(
        "squared norm of the minimiser of a convex risk of a linear neuron",
        _STDERR,
        r"$|\theta|^2$",
        "minimizer",
        _of_minimizer("norm"),
    ),
    "erm_overlap": Quantity(
        "entry [direction] of its overlap",
        _STDERR,
        r"$M$",
        "minimizer",
        _overlap,
        indices=1,
    ),
    "erm_train_loss": Quantity(
        "its loss on the data", _STDERR, "train loss", "minimizer", _of_minimizer("train_loss")
    ),
    "erm_test_loss": Quantity(
        "its loss on fresh data", _STDERR, "test loss", "minimizer", _of_minimizer("test_loss")
    ),
    "erm_test_error": Quantity(
        "its probability of the wrong class",
        _STDERR,
        "test error",
        "minimizer",
        _of_minimizer("test_error"),
    ),
    "spectral_threshold": Quantity(
        "smallest delta at which the method of [spectral-method] has an outlier",
        _SAMPLED,
        r"spectral threshold",
        "spectral-threshold",
        _threshold,
    ),
    "spectral_gap": Quantity(
        "its gap: negative where an outlier has left the bulk",
        _SAMPLED,
        "gap of the spectral method",
        "spectral-method",
        _gap,
    ),
    "spectral_outlier": Quantity(
        "its outlier [j] from the outside in",
        _SAMPLED,
        "outlier of the spectral method",
        "spectral-method",
        _of_outlier("outlier"),
        indices=1,
    ),
    "spectral_overlap": Quantity(
        "squared overlap of its eigenvector [j] with the latent directions",
        _SAMPLED,
        "overlap of the spectral method",
        "spectral-method",
        _of_outlier("overlap"),
        indices=1,
    ),
}
