"""The dynamical mean-field engine: sample paths in coordinates that grow with the trajectory."""
