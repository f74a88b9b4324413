"""Random matrices H = (1/n) sum_i D_i (x) x_i x_i^T + shift I with signed, matrix-valued weights.

Weights in (`HessianLaw`), spectrum out: Stieltjes transform, density, edges with a certificate,
outliers along hard latent directions and all others, and the gap that decides whether there is one
(Montanari & Wang, arXiv:2602.01434). `rmt.closed_forms` is a catalogue of laws with exact answers.
This package knows nothing of where the weights come from.

==================  ==========================================  ===============================
symbol              meaning                                     identifier
==================  ==========================================  ===============================
D_i                 weight of sample i, (m, m) symmetric        ``weights``
p_i                 mass of the atom D_i                        ``probabilities``
delta               n / d                                       ``ratio``
lambda              multiple of I in H (weight decay)           ``shift``
z_h                 hard latent coordinates                     ``hard``
m, k_h              order of D, number of hard coordinates      ``m``, ``k_hard``
c(z)                c = (E[(I + Dc)^{-1} D] - z I)^{-1}/delta   ``matrix_stieltjes``
s(z)                E 1/(lambda - z) = delta tr c / m           ``stieltjes``
B                   c^{-1}                                      ``b``
F(B)                E[D - D (B + D)^{-1} D] - B/delta = z I     ``rmt.edges``
A_h(z)              E[(I + Dc)^{-1} D (x) z_h z_h^T] - z I      ``hard_matrix``
q, ghat             coordinates and gradients D depends on      ``Span``
lambda_min A_h(z0)  z0 = min(left edge, -shift)                 ``hard_gap``
==================  ==========================================  ===============================
"""

from __future__ import annotations

from rmt import closed_forms
from rmt.edges import Edges
from rmt.law import HessianLaw
from rmt.outliers import Outlier
from rmt.span import Span
from rmt.status import NumericalFailure, Status

__all__ = [
    "Edges",
    "HessianLaw",
    "NumericalFailure",
    "Outlier",
    "Span",
    "Status",
    "closed_forms",
]
