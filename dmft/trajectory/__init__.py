"""`solve` and its result, and spectra along it."""
