"""The command line, called in this process."""

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


def called(capsys, arguments):
    """Exit code, stdout and stderr of a command."""
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


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
