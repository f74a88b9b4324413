"""What the documentation promises to be complete is complete."""

import re
from pathlib import Path

import pytest

import dmft
import rmt
import rmt.closed_forms

DOCS = Path(__file__).parents[1] / "docs"


def listed():
    """Names in the API index, by module."""
    names, module = set(), None
    for line in (DOCS / "api.rst").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.match(r"   (\w+)$", line):
            names.add(f"{module}.{found[1]}")
    return names


@pytest.mark.parametrize("package", [dmft, rmt, rmt.closed_forms])
def test_every_public_name_is_in_the_api_index(package):
    # Shared names and sub-modules stand under where they are made.
    elsewhere = {"closed_forms", "Status", "NumericalFailure"} if package is rmt else set()
    public = {f"{package.__name__}.{name}" for name in set(package.__all__) - elsewhere}
    assert public <= listed()


def test_every_name_in_the_api_index_exists():
    for name in listed():
        module, _, member = name.rpartition(".")
        assert hasattr({"dmft": dmft, "rmt": rmt}.get(module, rmt.closed_forms), member), name


def test_every_status_is_explained():
    table = (DOCS / "index.md").read_text(encoding="utf-8").partition("## Statuses")[2]
    for status in dmft.Status:
        assert f"`{status.name}`" in table, status.name


def test_the_tests_that_hold_an_equation_exist():
    text = (DOCS / "theory.md").read_text(encoding="utf-8")
    named = set(re.findall(r"tests/[\w/]+\.py", text))
    assert named
    assert all((DOCS.parent / name).is_file() for name in named)
