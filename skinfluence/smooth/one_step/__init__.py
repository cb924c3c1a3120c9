"""First order and one Newton step, from the factor of the fit."""
