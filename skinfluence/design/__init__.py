"""Designs: how the decision values move with the parameters, ``eta = [X s] theta'``.

The intercept lives only here: it is the last column, of constant value ``intercept`` (1, or
liblinear's ``intercept_scaling``; 0 when there is none), and is never stored.

A free intercept takes up any shift of the other columns. Columns far from zero, compared with their
spread, are held as distances from their middle (:meth:`Design.centred`), as the sums of their
squares lose the spread.
"""

# Each says what it holds as it is imported.
from skinfluence.design import dense, sparse  # noqa: F401
from skinfluence.design.base import Design, design_of

__all__ = ["Design", "design_of"]
