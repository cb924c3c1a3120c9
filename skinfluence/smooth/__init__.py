"""Smooth linear models: derivatives, edits and certificates from one factored Hessian."""
