"""`solve` and its result, and spectral laws along the trajectory."""
