"""Random matrices with weights: the spectral law of H = (1/n) sum_i D_i (x) x_i x_i^T.

`HessianLaw` takes curvature weights D_i and gives the spectrum of H in the limit of large n and d:
Stieltjes transform, density, edges with a certificate, outliers along hard latent directions and
all others, and the gap whose sign says whether there is a negative one in a hard direction
(Montanari & Wang, arXiv:2602.01434). `rmt.closed_forms` is a catalogue of spectral laws with exact
answers. This package knows nothing of where the weights come from.

Symbols, with their names in the code:

==================  ==========================================  ===============================
symbol              meaning                                     identifier
==================  ==========================================  ===============================
x_i, d, n           inputs, their dimension and number
D_i                 curvature weight of sample i, (m, m)        ``weights``
                    symmetric; its law is that of D
p_i                 mass of the atom D_i                        ``probabilities``
delta               n / d                                       ``ratio``
lambda, Lambda      multiple of I in H (weight decay), or a     ``shift``
                    symmetric (m, m) matrix: Lambda (x) I
z_h                 hard latent coordinates                     ``hard``
m, k_h              order of D, number of hard coordinates      ``m``, ``k_hard``
c(z)                c = (E[(I + Dc)^{-1} D] - z I)^{-1}/delta   ``matrix_stieltjes``
s(z)                E 1/(lambda - z) = delta tr c / m           ``stieltjes``
B                   c^{-1}                                      ``b``
B'                  dB/dz                                       ``tangent``
Y                   (B + D)^{-1}                                ``y``
F(B)                E[D - D Y D] - B/delta + Lambda = z I       `rmt.real_branch`
Phi_B               X -> E[D Y X Y D] = dF + 1/delta            ``phi``
A_h(z)              E[(I + Dc)^{-1} D (x) z_h z_h^T] - z I      ``hard_matrix``
gap                 lambda_min A_h(z0),                         ``hard_gap``
                    z0 = min(left edge, 0)
levels              all eigenvalues of A_h(z0), or at the edges ``hard_levels``
q, ghat             coordinates and gradients D depends on      ``Span``
A(z)                E[(D - D Y D) (x) q q^T]                    `rmt.span_outliers`
                    + U W^{-1} U^T - z I
W, U                E[Y (x) ghat ghat^T], E[D Y (x) q ghat^T]   `rmt.span_outliers`
==================  ==========================================  ===============================

Modules, from the ground up:

==================================  ============================================================
module                              subject
==================================  ============================================================
`rmt._kernels`                      averages of Y and Y (x) Y over the atoms; Newton for c(z)
`rmt.real_branch`                   F(B) = z I below the spectrum and the edge; zeros of det A(z)
`rmt.scalar_branch`                 m = 1: z(B) explicit, edges and inner edges
`rmt.matrix_branch`                 m > 1: Newton's method, walk to the fold
`rmt.stieltjes`                     c(z) for Im z >= 0; atom, distribution function, moments
`rmt.near_zero`                     resolution of the density next to the eigenvalue zero
`rmt.scaling`                       units of the weights, the two sides of the bulk
`rmt.law`                           `HessianLaw`: arguments, replicates, table of methods
`rmt.edges`                         edges, support intervals, sensitivity to extreme weights
`rmt.edge_kinds`                    what holds an edge: a fold, or the support of D
`rmt.bulk`                          s(z), density, distribution function, quantiles, moments
`rmt.hard`                          A_h(z), the gap, outliers in hard directions
`rmt.span`, `rmt.span_outliers`     coordinates and gradients of the inputs; A(z), its outliers
`rmt.outliers`                      all outliers of a law, smallest eigenvalue
`rmt.replicates`                    error bars over independent randomisations
`rmt.sampling`                      matrices of finite size drawn from a law
`rmt.overlay`                       a matrix compared with its law; Tracy-Widom scale
`rmt.plotting`                      figures
`rmt.closed_forms`                  Marchenko-Pastur, two atoms, spiked covariance, phase retrieval
`rmt.label_law`, `rmt.spectral`     spectral methods: law of a label, their outliers and thresholds
`rmt.preprocessing`                 the best preprocessing of labels for these
==================================  ============================================================
"""

from __future__ import annotations

from rmt import closed_forms
from rmt.edge_kinds import EdgeKind
from rmt.edges import Edges
from rmt.hard import HardLevels
from rmt.label_law import LabelLaw
from rmt.law import HessianLaw
from rmt.outliers import Outlier
from rmt.preprocessing import (
    DirectionThresholds,
    StepFunction,
    direction_thresholds,
    optimal_preprocessing,
)
from rmt.span import Span
from rmt.spectral import SpectralMethod, SpectralThreshold, spectral_method, spectral_threshold
from rmt.status import NumericalFailure, Status

__all__ = [
    "DirectionThresholds",
    "EdgeKind",
    "Edges",
    "HardLevels",
    "HessianLaw",
    "LabelLaw",
    "NumericalFailure",
    "Outlier",
    "Span",
    "SpectralMethod",
    "SpectralThreshold",
    "Status",
    "StepFunction",
    "closed_forms",
    "direction_thresholds",
    "optimal_preprocessing",
    "spectral_method",
    "spectral_threshold",
]
