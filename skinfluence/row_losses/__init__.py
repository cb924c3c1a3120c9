"""Losses of which every row has a gradient and a Hessian of its own in all parameters."""
