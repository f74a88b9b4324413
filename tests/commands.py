"""The command line, called in this process."""

from dmft.cli import main


def called(capsys, arguments):
    """Exit code, stdout and stderr of a command."""
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err
