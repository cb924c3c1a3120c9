"""Iterations with the Hessian of the fit, with bounds in single precision."""
