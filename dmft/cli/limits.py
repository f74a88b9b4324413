"""Limits of the system under which libraries fail without a message."""

from __future__ import annotations

import os

from dmft.cli.exits import UsageError

__all__ = ["check_address_space"]

_LEAST = 640 * 2**20  # with less numba cannot be loaded, or OpenBLAS ends the process
_SMALL = 2**32


def check_address_space(limit: int | None = None) -> None:
    """Check that the libraries can be loaded in the address space that ``ulimit -v`` leaves.

    A thread of OpenBLAS that cannot have its stack interrupts the process as Ctrl-C does; so there
    is only one where there is little room. Results do not depend on it.

    Parameters
    ----------
    limit : int, optional
        In bytes; by default that of this process.

    Raises
    ------
    UsageError
        If they cannot.
    """
    if limit is None:
        try:
            import resource
        except ImportError:  # no such limits
            return
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return
    if limit >= _SMALL:
        return
    if limit < _LEAST:
        raise UsageError(
            f"the address space is limited to {limit // 2**20} MiB (ulimit -v): "
            "too little to load the libraries"
        )
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
