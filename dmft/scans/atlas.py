"""The atlas: thresholds of many problems, computed once and shipped with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dmft.scans.scan_result import Scan

__all__ = ["atlas"]

_FOLDER: Final = Path(__file__).parent


def atlas(*, late: bool = False) -> Scan:
    r"""Load the atlas: :math:`\delta_{NN}(t)` of activations, labels, losses and widths.

    Of gradient descent with step size 0.2, with relative errors of at most 2 %, beside
    :math:`\delta_{\rm alg}`; from the scan files ``docs/data/atlas.toml`` and
    ``docs/data/atlas-late.toml``, which compute every number of it again.

    Parameters
    ----------
    late : bool
        A dozen problems with :math:`\delta_{NN}` at time 100 (step 500) too. Otherwise 320
        problems at step 0 and at time 8 (step 40).

    Returns
    -------
    Scan
        Quantities ``threshold@0``, ``threshold@40`` (and ``threshold@500``), ``delta_alg``. Where
        there is no threshold the status, and `Scan.detail`, say why.

    References
    ----------
    Montanari and Wang, arXiv:2602.01434.

    Examples
    --------
    >>> import dmft
    >>> found = dmft.atlas()
    >>> found.shape, found.axes[1:]
    ((5, 4, 8, 2), (('problem.loss',), ('network.activation',), ('network.second_layer',)))
    >>> found.grid("threshold@0")[0, 0, 1, 0].round(3)  # phase retrieval, pseudo-Huber, one GELU
    np.float64(1.693)
    """
    return Scan.load(_FOLDER / ("atlas-late.npz" if late else "atlas.npz"))
