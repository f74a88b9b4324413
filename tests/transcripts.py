"""Commands shown on a page of the documentation, and what they print.

A page shows a command as it is typed, with its output::

    ```console
    $ delta-nn hardness phase-retrieval
    problem ...
    ```

in the order in which they run, in one folder. Before a block, ``<!-- file: NAME -->`` says that it is
the file NAME of that folder; before an image, ``<!-- from: NAME -->`` that it is a copy of NAME, and
``<!-- slow -->`` that tests leave the command out. After a change of what commands print::

    python tests/transcripts.py docs/tutorial.md docs/commands/*.md

runs them, and writes output and figures into the pages.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_FILE = re.compile(r"<!-- file: (\S+) -->\n+```\w*\n(.*?)```", re.DOTALL)
_SHOWN = re.compile(r"(?P<slow><!-- slow -->\n+)?```console\n\$ (?P<command>.*?)\n(?P<output>.*?)```", re.DOTALL)
_FIGURE = re.compile(r"<!-- from: (\S+) -->\n+!\[[^\]]*\]\(([^)]+)\)")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def quick_commands(text):
    """Arguments and output of the commands of a page that tests run."""
    shown = (found for found in _SHOWN.finditer(text) if not found["slow"])
    return [(shlex.split(found["command"])[1:], found["output"]) for found in shown]


def lay_files(text, folder):
    """Write the files that the page shows."""
    for name, content in _FILE.findall(text):
        (Path(folder) / name).write_text(content, encoding="utf-8")


def run(command, folder):
    """What the command prints."""
    python = f'delta-nn() {{ "{sys.executable}" -m dmft "$@"; }}; python() {{ "{sys.executable}" "$@"; }}; '
    done = subprocess.run(
        ["bash", "-c", python + command], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"COLUMNS": "100", "MPLBACKEND": "Agg"},
    )  # fmt: skip
    return done.stdout + "".join(
        line for line in done.stderr.splitlines(keepends=True) if "error:" in line
    )


def assert_same(printed, shown):
    """Words are the same, and numbers within what the last digits of another machine may change."""
    printed, shown = (
        [line for line in text.splitlines() if not line.startswith("time  ")] for text in (printed, shown)
    )
    assert [_NUMBER.sub("#", line).split() for line in printed] == [
        _NUMBER.sub("#", line).split() for line in shown
    ]
    numbers = [[float(value) for value in _NUMBER.findall("\n".join(text))] for text in (printed, shown)]
    assert numbers[0] == pytest.approx(numbers[1], rel=0.02)


def renew(page):
    """Run all commands of a page, and write what they print, and their figures, where it stands."""
    page = Path(page)
    with tempfile.TemporaryDirectory() as folder:
        text = page.read_text(encoding="utf-8")
        lay_files(text, folder)

        def shown(found):
            sys.stdout.write(f"{page.name}: {found['command']}\n")
            printed = run(found["command"], folder)
            return f"{found['slow'] or ''}```console\n$ {found['command']}\n{printed}```"

        page.write_text(_SHOWN.sub(shown, text), encoding="utf-8")
        for source, target in _FIGURE.findall(text):
            (page.parent / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(folder) / source, page.parent / target)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        renew(name)
