"""What holds the edges of the bulk: a fold of the real branch, or the support of the weights.

Below a square-root edge the density vanishes like a square root, and an eigenvalue that leaves the
bulk there has overlap zero at first. Where the support of D holds the edge (B + D becomes singular,
at a point that carries no mass, before the branch folds) neither is the case: the transition is
discontinuous (Bocchi, Biroli, Cammarota & Ricci-Tersenghi, arXiv:2604.27992).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from rmt._packing import packed_index
from rmt.real_branch import Kind

if TYPE_CHECKING:
    from rmt._packing import Array
    from rmt.law import HessianLaw

__all__ = ["EdgeKind", "edge_kinds"]

# An atom of no more than this mass that carries more than this share of the fold stands for a tail.
_RARE: Final = 0.01
_LARGE_SHARE: Final = 0.1


@dataclass(frozen=True)
class EdgeKind:
    """Kind of an edge, and how certain it is where the law of D is sampled.

    Attributes
    ----------
    name : "square-root", "support", "zero" or "none"
        As in `Edges.kind`.
    agreement : float
        Share of the replicates whose edge is of this kind; 1 without replicates.
    largest_share : float
        What the single most extreme atom contributes to the fold condition
        ``ratio E tr (I + c D)^{-1} D c (I + c D)^{-1} D c`` (1 for one neuron), relative to all.
    is_certain : bool
        Whether all replicates agree, and no rare atom (of mass 0.01 or less) makes up more than a
        tenth of the fold: such an atom stands for a tail whose end may hold the edge of the limit,
        unless ``support`` says where it ends.

    Examples
    --------
    >>> import rmt
    >>> left, right = rmt.HessianLaw([1.0], ratio=4.0).edge_kinds()
    >>> left.name, right.name, left.is_certain
    ('square-root', 'square-root', True)
    """

    name: Kind
    agreement: float
    largest_share: float
    is_certain: bool


def edge_kinds(law: HessianLaw) -> tuple[EdgeKind, EdgeKind]:
    """Say what holds the left and the right edge, and how certain that is.

    Returns
    -------
    left, right : EdgeKind

    References
    ----------
    Bocchi, Biroli, Cammarota and Ricci-Tersenghi, arXiv:2604.27992.

    Examples
    --------
    Spectral phase retrieval: below its threshold the edge is held by weights -1, reached only as z
    grows.

    >>> from rmt.closed_forms import SpectralPhaseRetrieval
    >>> left, right = SpectralPhaseRetrieval(0.25).law().edge_kinds()
    >>> left.name, right.name
    ('support', 'none')
    """
    left, right = (_edge_kind(law, end) for end in (0, 1))
    return left, right


def _edge_kind(law: HessianLaw, end: int) -> EdgeKind:
    name = law.edges().kind[end]
    same = [other.edges().kind[end] == name for other in law.replicates]
    agreement = float(np.mean(same)) if same else 1.0
    share, rare = (0.0, False) if name != "square-root" else _largest_share(law, end)
    certain = agreement == 1.0 and not (rare and share > _LARGE_SHARE)
    return EdgeKind(name, agreement, share, certain)


def _largest_share(law: HessianLaw, end: int) -> tuple[float, bool]:
    """Return the share of the fold that one atom carries at most, and whether the atom is rare."""
    branch = (law._scaled.right if end else law._scaled.left).branch
    atoms, b = branch.atoms, branch.edge.b
    d: Array = np.moveaxis(atoms.d[packed_index(atoms.m)], -1, 0)
    with np.errstate(all="ignore"):
        t = d @ np.linalg.inv(b + d) if atoms.m > 1 else d / (b + d)
        each = atoms.p * np.einsum("nij,nji->n", t, t)
        share = each / each.sum()
    largest = int(np.nanargmax(share)) if np.isfinite(share).any() else 0
    value = float(share[largest])
    return (value, bool(atoms.p[largest] <= _RARE)) if np.isfinite(value) else (0.0, False)
