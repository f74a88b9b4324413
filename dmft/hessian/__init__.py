"""The law of the Hessian at a step of a run."""
