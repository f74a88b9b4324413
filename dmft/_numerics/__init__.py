"""Numerical tools that know no physics: kernels, quadrature, Sobol points, argument checks."""
