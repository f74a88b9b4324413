"""The spectral law of the Hessian at a step of a run, and samples of its gap."""
