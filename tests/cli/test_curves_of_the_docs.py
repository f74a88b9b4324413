"""Curves in docs/data: what the page says of them is what the command prints."""

from pathlib import Path

import pytest

import dmft
from dmft.threshold.report import curve_lines, curve_table

DOCS = Path(__file__).parents[2] / "docs"
CURVES = ("robust-phase-retrieval-gelu", "robust-phase-retrieval", "softplus", "modulus-gelu")


@pytest.mark.parametrize("name", CURVES)
def test_the_page_has_the_limit_and_the_table_of_the_curve(name):
    curve = dmft.ThresholdCurve.load(DOCS / "data" / f"{name}-curve.npz")
    page = (DOCS / "experiments.md").read_text(encoding="utf-8")
    lines = [" ".join(line.split()) for line in page.splitlines()]
    text = dict(curve_lines(curve))["limit"]
    assert f"limit {text}" in lines
    for row in curve_table(curve).splitlines():
        assert " ".join(row.split()) in lines
    assert (DOCS / "figures" / f"{name}-curve.png").is_file()
    assert curve.status is dmft.Status.SUCCESS
    assert curve.limit.status is dmft.Status.SUCCESS
