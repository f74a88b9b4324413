"""The span: coordinates and gradients of the inputs that the curvature weights depend on.

Weights D_i that come out of an algorithm run on the inputs x_i depend on them through

* *coordinates* q of x_i along finitely many directions (orthonormal in input space), and
* *gradients*: the algorithm has evaluated sum_i ghat_i x_i for finitely many ghat, E[ghat ghat^T]
  = I; across the coordinate directions the inputs are independent samples, but orthogonal to every
  ghat.

`rmt.span_outliers` computes the outliers they cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rmt._packing import Array
from rmt._validation import as_array, check_array, check_integer, check_real

__all__ = ["Span"]


class Span:
    """Coordinates and gradients that the weights depend on, for all samples.

    Both are given as combinations of the rows of a common basis: q = coordinates @ basis and
    ghat = gradients @ basis. Every average then is a transformation of one weighted Gram matrix.

    Parameters
    ----------
    basis : (rows, N) array, or sequence of (rows, N_b) arrays
        Functions of the sample, one column per sample of D (in blocks of samples, if a
        sequence). Arrays of float64 are not copied.
    coordinates : (K, rows) array, optional
        Coordinates of a sample along K orthonormal directions of input space; all rows of the
        basis, one by one, if left out.
    gradients : (R, rows) array, optional
        Normalised gradients, one for each sum over the inputs that the algorithm has evaluated;
        linearly independent (best orthonormal: E[ghat ghat^T] = I). The sums must lie in the span
        of the coordinate directions. None by default.
    latent : int, optional
        How many of the leading coordinates are latent directions, for overlaps. 0 by default.
    neurons : (m, K) array, optional
        Current weights of each neuron in the coordinates, for overlaps.
    hard : (K, k_h) array, optional
        Orthonormal columns: the hard directions in the coordinates; ``hard.T @ q`` must be the
        ``hard`` coordinates given to the law. None by default.
    tangent : bool, optional
        Whether neurons move on spheres: H is then the restriction to directions tangent to them,
        with ``<v_j, theta_j> = 0`` for each neuron. Needs ``neurons``. False by default.
    defect : float, optional
        Bound on the weight of directions that were left out of the span. Outliers are reported as
        ILL_CONDITIONED if it exceeds 1e-4.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is not finite; the message names it.

    Examples
    --------
    Weights that depend on one coordinate z of the inputs:

    >>> import numpy as np
    >>> import rmt
    >>> z = np.random.default_rng(0).standard_normal(20000)
    >>> law = rmt.HessianLaw(np.minimum(z**2, 9.0), 4.0, span=rmt.Span(z[None, :]))
    >>> [(o.side, round(o.value, 1), round(o.span_overlap, 1)) for o in law.outliers()]
    [('right', 4.8, 0.4)]
    """

    def __init__(
        self,
        basis: ArrayLike | Sequence[Array],
        coordinates: ArrayLike | None = None,
        gradients: ArrayLike | None = None,
        *,
        latent: int = 0,
        neurons: ArrayLike | None = None,
        hard: ArrayLike | None = None,
        tangent: bool = False,
        defect: float = 0.0,
    ) -> None:
        self.blocks = _blocks(basis)
        rows = len(self.blocks[0])
        self.coordinates = (
            np.eye(rows) if coordinates is None else _matrix(coordinates, "coordinates", rows)
        )
        self.gradients = (
            np.empty((0, rows)) if gradients is None else _matrix(gradients, "gradients", rows)
        )
        k = len(self.coordinates)
        if k == 0:
            raise ValueError("coordinates must hold at least one row, got none")
        self.latent = check_integer("latent", latent)
        if not 0 <= self.latent <= k:
            raise ValueError(f"latent must be from 0 to {k}, the coordinates, got {latent}")
        self.neurons = None if neurons is None else _matrix(neurons, "neurons", k)
        self.hard = np.empty((k, 0)) if hard is None else _matrix(hard, "hard", None, rows=k)
        gram = self.hard.T @ self.hard
        if np.abs(gram - np.eye(len(gram))).max(initial=0.0) > 1e-8:
            raise ValueError("hard must have orthonormal columns (to 1e-8)")
        if not isinstance(tangent, bool | np.bool_):
            raise ValueError(f"tangent must be True or False, got {tangent!r}")
        self.tangent = bool(tangent)
        if self.tangent and (self.neurons is None or not self.neurons.any(axis=1).all()):
            raise ValueError("neurons must be given for tangent directions, none of norm zero")
        unbounded = isinstance(defect, float) and defect == np.inf
        self.defect = np.inf if unbounded else check_real("defect", defect, minimum=0.0)

    @property
    def n_samples(self) -> int:
        """Number N of samples."""
        return sum(block.shape[1] for block in self.blocks)

    @property
    def n_coordinates(self) -> int:
        """Number K of coordinates, hard ones included."""
        return len(self.coordinates)

    @property
    def n_gradients(self) -> int:
        """Number R of gradients."""
        return len(self.gradients)

    def __repr__(self) -> str:
        return (
            f"Span(samples={self.n_samples}, coordinates={self.n_coordinates}, "
            f"gradients={self.n_gradients}, latent={self.latent}, k_hard={self.hard.shape[1]})"
        )

    @cached_property
    def free(self) -> Array:
        """(K, K - k_h) orthonormal columns across the hard ones; unit vectors where possible."""
        k, k_hard = self.hard.shape
        axes = np.flatnonzero(np.all(self.hard == 0.0, axis=1))
        involved = np.flatnonzero(np.any(self.hard != 0.0, axis=1))
        out = np.zeros((k, k - k_hard))
        out[axes, np.arange(len(axes))] = 1.0
        if len(involved) > k_hard:
            complement = np.linalg.qr(self.hard[involved], mode="complete")[0]
            out[involved[:, np.newaxis], np.arange(len(axes), k - k_hard)] = complement[:, k_hard:]
        return out

    @cached_property
    def moves(self) -> Array | None:
        """(m (K - k_h), p) orthonormal columns along which H is taken; None for all.

        Across the hard directions, in the coordinates of `free`, neuron index first; p is m less
        where neurons move on spheres.
        """
        if not self.tangent or self.neurons is None:
            return None
        rows = self.neurons @ self.free
        m, k = rows.shape
        out = np.zeros((m, k, m, k - 1))
        for j, row in enumerate(rows):
            out[j, :, j] = np.linalg.qr(row[:, np.newaxis], mode="complete")[0][:, 1:]
        return out.reshape(m * k, m * (k - 1))

    def restricted(self, mask: NDArray[np.bool_]) -> Span:
        """Return the span on a subset of the samples; mask has shape (N,)."""
        parts = np.split(mask, np.cumsum([block.shape[1] for block in self.blocks])[:-1])
        chosen = [block[:, part] for block, part in zip(self.blocks, parts, strict=True)]
        return Span(
            [block for block in chosen if block.shape[1]],
            self.coordinates,
            self.gradients,
            latent=self.latent,
            neurons=self.neurons,
            hard=self.hard,
            tangent=self.tangent,
            defect=self.defect,
        )


def _blocks(basis: ArrayLike | Sequence[Array]) -> tuple[Array, ...]:
    several = isinstance(basis, list | tuple) and len(basis) > 0 and _is_matrix(basis[0])
    blocks: Sequence[Any] = basis if several else [basis]  # type: ignore[assignment]
    out: list[Array] = []
    for block in blocks:
        array = as_array("basis", block)
        if array.ndim != 2 or array.size == 0 or (out and len(array) != len(out[0])):
            raise ValueError(f"basis must have shape (rows, N), not empty, got {array.shape}")
        if not np.isfinite(array.sum()) and not np.all(np.isfinite(array)):
            raise ValueError("basis must be finite, got entries that are NaN or infinite")
        out.append(array)
    return tuple(out)


def _is_matrix(block: Any) -> bool:
    try:
        return np.ndim(block) == 2
    except ValueError:  # rows of different lengths
        return False


def _matrix(value: ArrayLike, name: str, columns: int | None, rows: int | None = None) -> Array:
    array = check_array(name, value)
    wrong = array.ndim != 2 or (columns is not None and array.shape[1] != columns)
    if wrong or (rows is not None and array.shape[0] != rows):
        expected = f"({'*' if rows is None else rows}, {'*' if columns is None else columns})"
        raise ValueError(f"{name} must have shape {expected}, got {array.shape}")
    return array
