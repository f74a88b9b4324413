"""Room for the rows of a basis that grows: in its budget, and in the memory of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dmft._numerics.machine_memory import available_memory

if TYPE_CHECKING:
    from dmft.solver.basis import OrthonormalBasis

__all__ = ["Room"]

# Before the basis grows by this many rows, or bytes if they are more, the machine is asked whether
# it has memory for them.
_ROWS_AHEAD, _BYTES_AHEAD = 32, 2**24


class Room:
    """Whether there is memory for more rows of a basis.

    Parameters
    ----------
    basis : OrthonormalBasis
    sizes : list of int
        Paths of each block.
    """

    def __init__(self, basis: OrthonormalBasis, sizes: list[int]) -> None:
        self._basis, self._largest = basis, max(sizes)
        self._ahead = max(_ROWS_AHEAD, _BYTES_AHEAD // (8 * basis.n_paths))
        # Rows that the machine has memory for, as far as known.
        self._known = basis.n_rows + self._ahead

    def has(self, n_rows: int) -> bool:
        """Whether there is memory for so many rows."""
        basis = self._basis
        if n_rows > basis.max_rows:
            return False
        if n_rows > self._known:
            numbers = (n_rows + self._ahead - basis.n_rows) * basis.n_paths
            if n_rows > basis.capacity:  # a block has its old rows beside it while it grows
                numbers += basis.n_rows * self._largest
            if 8.0 * numbers > available_memory():
                return False
            self._known = n_rows + self._ahead
        return True
