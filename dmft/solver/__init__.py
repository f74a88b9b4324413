r"""The dynamical mean-field engine: sample paths in coordinates that grow with the trajectory.

What is solved
--------------
The limit n, d -> infinity of gradient descent at n/d = delta is a self-consistent process for one
sample: its pre-activations r^t and gradients g^t, with averages over samples that enter the
dynamics (Celentano, Cheng & Montanari, arXiv:2112.07572; Montanari & Wang, arXiv:2602.01434). It is
used in *coordinate form*: with coordinates ``q = (z, xi, q^0, q^1, ...)`` and gradients
orthonormalised over samples,

    r^t = B_t q,    g^t = sum_{v <= t} Gamma(t, v) ghat^v,    q^t = zeta^t - ghat^t / sqrt(delta),
    grad^t = (E[g^t q^T], -Gamma(t, t) / sqrt(delta)),    B_{t+1} = B_t - eta (grad^t + lam B_t),

z (k) are the latent coordinates, xi (m) those of the initial weights, q^t (m) that of step t,
zeta^t (m) fresh Gaussians; B_t is (m, k + m + m t), lam the weight decay, and
E[ghat^t ghat^s^T] = I if t = s, else 0. It is gradient descent in a space that grows by m
dimensions a step; there is no fixed point to iterate, no response function and no kernel to invert.
Values are averages over all ``replicates`` x ``n_paths`` sample paths; standard errors come from
separate runs over the ``n_paths`` of each replicate.

How it is computed
------------------
*Orthonormal basis* (``basis``, ``paths``). All q and ghat are combinations of rows that are
orthonormal as sample averages, the only large array (rows x paths). Coordinates and directions are
tables of coefficients; averages with all of them are one product with the basis.

*Block Gram-Schmidt* (``residuals``, ``basis``, ``paths``). The m gradients of a step are
orthogonalised against the basis, then against each other; their residuals, and fresh Gaussians made
orthogonal to the basis, extend it. Where rounding allows, norms follow from Pythagoras in Gram
space, new rows stay pending until the next pass over the basis writes them, and those with large
cancellation are measured there and reorthogonalised in the pass after it: a *full pass* reads the
basis once, and a step needs one at most. For this family of low-synchronisation methods with
Pythagorean norms and delayed reorthogonalisation see Carson, Lund, Ma & Oktay (arXiv:2405.01298).

*Truncation by a tolerance* (``paths``, ``tolerances``). A direction that would receive a weight
below ``rank_tolerance`` is not kept; the sum of these residuals is recorded. By default the
tolerance grows with the step to what the errors of so many paths ask for. At the floor of the
tolerance a run is *exact*: fresh Gaussians keep their components along ill-determined directions,
so that rounding errors are not amplified (``orthogonality``).

*Recycled subspace* (``recycling``). Points and gradients of most steps lie in the span of those of
the last few full passes. Such a step is evaluated there, at a cost independent of the rank, and its
residual is measured; too large a residual leads to a full pass. Gradients of a full pass are
compared with a predictor (linear extrapolation) first, so that only innovations are orthogonalised.

*Thick-restart truncation* (``truncation``). Long runs are cut down now and then to the directions
along which recent gradients are large, as a thick restart does with a Krylov space.

*Antithetic pairs* (``blocks``). Directions that are hard have overlap zero at all times in the
limit, and gradients are projected off them. Where a run starts with an overlap there, paths are
pairs (z_h, ...) and (-z_h, ...): E[g z_h] is then proportional to the overlap, and no sampling
noise is amplified.

*Gradient flow* (``integrator``). Stabilised Runge-Kutta-Legendre steps of second order and adaptive
size, whose number of stages grows like the square root of step times the largest rate of decay
(Meyer, Balsara & Aslam 2014); each stage is an evaluation like any other.

*Random numbers tied to steps* (``streams``, ``masks``). The raw Gaussians and batches of a step are
a function of (seed, replicate, step) alone. Because they never depend on which earlier directions
were kept, runs at neighbouring delta see the same random numbers, and the gap is smooth in delta.

Modules
-------
================== ============================================================================
``replicates``     runs over all paths and over those of each replicate
``descent``        gradient descent: steps as evaluations
``integrator``     gradient flow: stages as evaluations
``process``        the gradient at a point, from the recycled subspace or by a full pass
``evaluation``     its result and averages
``gradients``      gradients of the loss on blocks of paths
``fresh_batches``  the process with new samples in each step
``paths``          coordinates and directions: tables of coefficients, Gram-Schmidt of gradients
``basis``          rows over the paths, orthonormal as sample averages; full passes
``residuals``      explicit and Gram-space residuals, pending rows, reorthogonalisation
``orthogonality``  which rows fresh Gaussians are made orthogonal to; exact runs
``recycling``      the recycled subspace and its predictor
``tolerances``     tolerances of truncation, stated or matched to the number of paths
``truncation``     which directions of a long run to keep
``coefficients``   coefficient vectors of different lengths, and tables of them
``blocks``         blocks of paths, antithetic pairs, filling in random numbers
``streams``        Gaussians of a replicate
``masks``          batches of a replicate
``runs``           records of runs
``stability``      linearly unstable paths and their share of the averages
``memory``         memory of a solve, rows within a budget
``budget``         work on more paths, within the budget of an accuracy
``checkpoints``    folders from which a solve resumes
``state``          declared state of objects in checkpoints
================== ============================================================================

The loops over paths are in ``dmft._numerics.kernels``.
"""
