"""Several fitted models of the same rows that make one prediction: each moves as it would alone."""
