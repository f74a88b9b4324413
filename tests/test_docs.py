"""What the documentation promises to be complete is complete."""

import importlib
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from transcripts import assert_same, lay_files, quick_commands

import dmft
import rmt
import rmt.closed_forms
from dmft.cli import main
from dmft.cli.arguments import _COMMANDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


# Pages that show commands with what they print.
PAGES = [DOCS / "tutorial.md", *sorted((DOCS / "commands").glob("*.md"))]
GUIDES = ("docs/theory.md", "docs/architecture.md", "CONTRIBUTING.md")


def listed():
    """Names in the API index, by module."""
    names, module = set(), None
    for line in (DOCS / "api.rst").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.match(r"   (\w+)$", line):
            names.add(f"{module}.{found[1]}")
    return names


def text_of(*names):
    return "\n".join((ROOT / name).read_text(encoding="utf-8") for name in names)


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
    table = (DOCS / "statuses.md").read_text(encoding="utf-8")
    for status in dmft.Status:
        assert f"`{status.name}`" in table, status.name


def test_every_command_has_a_page_with_its_options():
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "commands").glob("*.md"))
    commands = {command.name for command in _COMMANDS}
    assert set(re.findall(r"```{options} (\S+)", pages)) == commands


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_print_what_their_pages_show(page, tmp_path, monkeypatch, capsys):
    text = page.read_text(encoding="utf-8")
    lay_files(text, tmp_path)
    monkeypatch.chdir(tmp_path)
    for arguments, shown in quick_commands(text):
        main(arguments)
        assert_same(capsys.readouterr().out, shown)


def test_every_public_name_has_an_example():
    names = sorted(listed())
    lacking = [name for name in names if "Examples\n" not in (found(name).__doc__ or "")]
    assert lacking == []


def test_files_named_in_the_guides_exist():
    named = set(re.findall(r"\b(?:tests|dmft|rmt|docs)/[\w/]+\.\w+", text_of(*GUIDES)))
    assert named
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def found(dotted):
    """The module, function or class of a dotted name."""
    module, rest = dotted, []
    while True:
        try:
            thing = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            rest.insert(0, last)
    for name in rest:
        thing = getattr(thing, name)
    return thing


def test_functions_named_in_the_guides_exist():
    missing = []
    for dotted in sorted(set(re.findall(r"`((?:dmft|rmt)\.[\w.]+)`", text_of(*GUIDES)))):
        try:
            found(dotted)
        except (AttributeError, ValueError):
            missing.append(dotted)
    assert missing == []


def test_every_room_is_in_the_table_with_its_modules():
    table = text_of("docs/architecture.md").partition("## Rooms")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith("| `")]
    rooms = {name for row in rows for name in re.findall(r"`([\w.]+)`", row[0])}
    packages = {f"dmft.{path.parent.name}" for path in (ROOT / "dmft").glob("*/__init__.py")}
    assert rooms == packages | {"dmft._public", "rmt"}
    for row in rows:
        inside = [ROOT / name.replace(".", "/") for name in re.findall(r"`([\w.]+)`", row[0])]
        for module in re.findall(r"`(\w+)`", row[2]):
            assert any((room / f"{module}.py").is_file() for room in inside), (row[0], module)


def test_citation_changelog_and_version_agree():
    config = tomllib.loads(text_of("pyproject.toml"))
    stated = config["tool"]["hatch"]["version"]["fallback-version"]
    assert f"\nversion: {stated}\n" in text_of("CITATION.cff")
    newest = re.search(r"^## (\S+) - (\S+)", text_of("CHANGELOG.md"), re.MULTILINE)
    assert newest[1] == stated
    # Between releases the one before is installed, until that which the changelog opens is tagged.
    installed = version("delta-nn").partition("+")[0]
    assert numbers(installed) <= numbers(stated)


def numbers(text):
    return [int(part) for part in text.split(".")]
