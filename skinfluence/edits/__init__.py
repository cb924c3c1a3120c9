"""Finite questions: what the model would be after a change of the training set.

An edit is a short list of weighted points. Removing a row or a group, relabelling, replacing,
adding and reweighting all become rows whose weight changes (``(row, dw)``) and new rows with a
weight. The constructors are what users write; the rest of this room says what they make of the
training rows. What the model becomes is the business of each kind of problem.
"""

from skinfluence.edits.constructors import Edit, add, relabel, remove, replace, reweight
from skinfluence.edits.points import NoOptimumError

__all__ = ["Edit", "NoOptimumError", "add", "relabel", "remove", "replace", "reweight"]
