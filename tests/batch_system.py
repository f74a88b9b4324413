"""Stand-in for batch systems: commands that run a submitted job at once, in the background."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

#: What the commands that submit print, with the number of the job.
SAID = {
    "sbatch": "Submitted batch job {}",
    "qsub": "{}.server",
}
CANCEL = ("scancel", "qdel")


def install(folder, monkeypatch):
    """Put the commands on the path; what is submitted and cancelled is kept in the folder."""
    bin = folder / "bin"
    bin.mkdir()
    for name in (*SAID, *CANCEL):
        command = bin / name
        command.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{folder}" {name} "$@"\n'
        )
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}{os.pathsep}{os.environ['PATH']}")


def main(folder, name, *arguments):
    """Submit a job, whose number is that of its process, or cancel one."""
    if name in CANCEL:
        for number in re.findall(r"\d+", " ".join(arguments)):
            with open(folder / "cancelled", "a") as stream:
                stream.write(f"{number}\n")
            os.killpg(int(number), signal.SIGTERM)
        return
    script = Path(arguments[-1]).read_text()
    with open(folder / "scripts", "a") as stream:
        stream.write(script)
    with open(folder / "log", "a") as log:
        job = subprocess.Popen(
            ["bash", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    sys.stdout.write(SAID[name].format(job.pid))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
