"""Blocks of paths: their leading coordinates, and the random numbers of a step on each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from numpy.typing import NDArray

    from dmft._numerics.workers import Mapper
    from dmft.solver.streams import GaussianStream

    FloatArray = NDArray[np.float64]
    S = TypeVar("S")

__all__ = ["BLOCK_PATHS", "PathBlocks", "block_width"]

# Paths that a thread works on at a time; compiled kernels take them in slices that fit a cache.
BLOCK_PATHS = 16384
# Few paths make two blocks, for two threads, down to this size of a block.
_LEAST_BLOCK = 1024


def block_width(n_paths: int) -> int:
    """Return the most paths of a block, of a run over so many."""
    return min(BLOCK_PATHS, max(_LEAST_BLOCK, n_paths // 2))


class PathBlocks:
    """The paths of all streams, split into blocks that stay in cache during a full pass.

    Parameters
    ----------
    streams : list of GaussianStream
    k : int
        Latent coordinates, the first of the leading ones.
    mirrors : sequence of callable
        Each changes signs of latent coordinates (k, n). With one, paths are antithetic pairs: the
        second half of each block are the mirror images of the first, with the same random numbers.
        With p of them there are 2^p images of each path, itself included.

    Attributes
    ----------
    leading : list of ndarray, shape (n_leading, paths of the block)
    """

    def __init__(
        self,
        streams: list[GaussianStream],
        k: int,
        mirrors: Sequence[Callable[[FloatArray], FloatArray]] = (),
    ) -> None:
        leading = [stream.leading() for stream in streams]
        total = sum(block.shape[1] for block in leading)
        width = block_width(total)
        self._n_images = 2 ** len(mirrors)
        width = max(1, width // self._n_images)
        # The streams and columns that the paths of a block (before any mirror) come from.
        self._pieces: list[list[tuple[int, slice]]] = []
        room = 0
        for index, of_stream in enumerate(leading):
            for start in range(0, of_stream.shape[1], width):
                stop = min(start + width, of_stream.shape[1])
                if stop - start > room:
                    self._pieces.append([])
                    room = width
                self._pieces[-1].append((index, slice(start, stop)))
                room -= stop - start
        self.leading = []
        for pieces in self._pieces:
            block = np.concatenate([leading[i][:, columns] for i, columns in pieces], axis=1)
            for mirror in mirrors:
                image = np.concatenate([mirror(block[:k]), block[k:]])
                block = np.concatenate([block, image], axis=1)
            self.leading.append(np.ascontiguousarray(block))
        used = [i for pieces in self._pieces for i, _ in pieces]
        self._splits_streams = len(used) > len(set(used))

    @property
    def sizes(self) -> list[int]:
        """Paths of each block."""
        return [block.shape[1] for block in self.leading]

    def filling(
        self,
        targets: list[FloatArray],
        streams: Sequence[S],
        draw: Callable[[S], FloatArray],
        run: Mapper,
    ) -> Callable[[int], None]:
        """Return a function that fills in the numbers of the streams, (..., paths of the block)."""
        drawn = list(run(draw, streams)) if self._splits_streams else None
        n_images = self._n_images

        def fill(b: int) -> None:
            numbers = [
                (draw(streams[i]) if drawn is None else drawn[i])[..., columns]
                for i, columns in self._pieces[b]
            ]
            together = np.concatenate(numbers, axis=-1)
            targets[b][...] = np.tile(together, n_images) if n_images > 1 else together

        return fill
