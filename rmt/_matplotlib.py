"""Import matplotlib, also where the user's settings keep it from being imported.

An environment meant for notebooks names a backend that is not installed, and a ``matplotlibrc`` in
the working folder may be no such thing. Figures here depend on neither. To be imported before
anything of matplotlib.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__: list[str] = []


def _import_without_settings() -> None:
    """Import matplotlib as if the user had no settings of it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]  # imported half
    here, environment = Path.cwd(), dict(os.environ)
    os.environ |= {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
    os.chdir(Path(__file__).parent)  # a matplotlibrc in the working folder comes before all others
    try:
        import matplotlib  # noqa: F401
    finally:
        os.chdir(here)
        for name in ("MPLBACKEND", "MATPLOTLIBRC"):
            del os.environ[name]
        os.environ |= environment


try:
    import matplotlib  # noqa: F401
except (ValueError, OSError):  # a backend there is not, a file that cannot be read
    _import_without_settings()
