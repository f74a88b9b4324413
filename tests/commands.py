"""The command line, called in this process or in a shell, and checks of what it leaves."""

import json
import os
import signal
import subprocess
import sys

import pytest

from dmft.cli import main

RETRIEVAL = """
[target]
label = "phase-retrieval"
[network]
activation = "gelu"
[problem]
loss = "pseudo-huber"
"""

#: A run file of one step on few paths.
ONE_STEP = f"""{RETRIEVAL}
[method]
step_size = 0.2
n_steps = 1
[sampling]
n_paths = 64
replicates = 2
[trajectory]
delta = 3.0
"""
#: The command as a function of the shell.
DELTA_NN = f'delta-nn() {{ "{sys.executable}" -m dmft "$@"; }}\n'


def called(capsys, arguments):
    """Exit code, stdout and stderr of a command."""
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def shell(script, *arguments, folder, **environment):
    """Exit code, stdout and stderr of a script in which ``delta-nn`` is the command."""
    done = subprocess.run(
        ["bash", "-c", f"{DELTA_NN}set -o pipefail; {script}", "bash", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True, text=True, timeout=120, check=False, cwd=folder,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def hear_interrupts():
    """Undo what a shell does to jobs in the background: they, and their children, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def assert_one_line(result, *words):
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("delta-nn: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err


def commands_on(text, *command, options=()):
    """Fixtures ``run_file``, with this text, and ``call``, for commands on it.

    ``call(*arguments)`` has exit code, stdout and stderr of ``command`` followed by `arguments`, of
    which the first names the command if `command` does not; results go to ``call.out``. Another
    ``source`` takes the place of the file.
    """

    @pytest.fixture
    def run_file(tmp_path):
        path = tmp_path / "small.toml"
        path.write_text(text, encoding="utf-8")
        return path

    @pytest.fixture
    def call(tmp_path, run_file, capsys):
        out = tmp_path / "out"

        def run(*arguments, source=(str(run_file),)):
            name, *rest = map(str, (*command, *arguments))
            return called(capsys, [name, *source, *options, "--out", str(out), *rest])

        run.out = out
        return run

    return run_file, call


def json_of(answer):
    """A command with ``--json``, as ``call(*arguments)``: exit code, what it says, its error."""

    def command(*arguments, **source):
        code, out, err = answer(*arguments, **source)
        return code, json.loads(out) if out else None, err

    return command
