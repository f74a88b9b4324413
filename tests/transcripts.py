"""Commands shown on a page of the documentation, and what they print.

A page shows a command as it is typed, with its output::

    ```console
    $ delta-nn hardness phase-retrieval
    label ...
    ```

in the order in which they run, in one folder. Before a block, ``<!-- file: NAME -->`` says that it
is the file NAME of that folder; before an image, ``<!-- from: NAME -->`` that it is a copy of NAME,
and before a command ``<!-- slow -->`` that tests leave it out. After a change of what commands
print::

    python tests/transcripts.py docs/tutorial.md docs/commands/*.md

runs them, and writes outputs and figures into the pages.
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
from commands import DELTA_NN

_FILE = re.compile(r"<!-- file: (\S+) -->\n+```\w*\n(.*?)```", re.DOTALL)
_SHOWN = re.compile(
    r"(?P<slow><!-- slow -->\n+)?```console\n\$ (?P<command>.*?)\n(?P<output>.*?)```", re.DOTALL
)
_FIGURE = re.compile(r"<!-- from: (\S+) -->\n+!\[[^\]]*\]\(([^)]+)\)")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_SHELL = DELTA_NN + f'python() {{ "{sys.executable}" "$@"; }}\n'


def quick_commands(text):
    """Arguments and output of the commands of a page that tests run."""
    shown = (found for found in _SHOWN.finditer(text) if not found["slow"])
    return [(shlex.split(found["command"])[1:], found["output"]) for found in shown]


def lay_files(text, folder):
    """Write the files that the page shows."""
    for name, content in _FILE.findall(text):
        (Path(folder) / name).write_text(content, encoding="utf-8")


def assert_same(printed, shown):
    """Words are the same, and numbers but for what the last digits of another machine change."""
    words, numbers = zip(_parts(printed), _parts(shown), strict=True)
    assert words[0] == words[1]
    assert numbers[0] == pytest.approx(numbers[1], rel=0.02)


def _parts(text):
    lines = [line for line in text.splitlines() if not line.startswith("time  ")]
    values = [float(value) for line in lines for value in _NUMBER.findall(line)]
    return [_NUMBER.sub("#", line).split() for line in lines], values


def _run(command, folder):
    sys.stdout.write(f"{command}\n")
    done = subprocess.run(
        ["bash", "-c", _SHELL + command], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"MPLBACKEND": "Agg"},
    )  # fmt: skip
    sys.stdout.write(done.stderr)
    return done.stdout


def renew(page):
    """Run all commands of a page, and write outputs and figures where they stand."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        lay_files(text, folder)

        def renewed(found):
            printed = _run(found["command"], folder)
            return f"{found['slow'] or ''}```console\n$ {found['command']}\n{printed}```"

        page.write_text(_SHOWN.sub(renewed, text), encoding="utf-8")
        for source, target in _FIGURE.findall(text):
            (page.parent / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(folder) / source, page.parent / target)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        renew(Path(name))
