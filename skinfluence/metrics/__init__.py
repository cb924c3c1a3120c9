"""Quantities of a model to pass as ``of=``: what a metric would be without a row.

Each is a function of the decision values of all test points and of their classes (positions in
``classes_``) or targets, written in ``autograd.numpy`` so that it can be differentiated too. Some
are functions as they are (``of=margin``), the others are made for the question
(``of=auroc(temperature=0.1)``). One value per test point, or one for all.

Metrics that count (the AUROC, rates of decisions) move in steps. Their *temperature* T smooths
each step, ``[a > 0]``, into ``1 / (1 + exp(-a / T))``: the steps come back as T goes to 0, and
``temperature=0`` is the counting metric itself. Without temperature single rows mostly change
nothing; with one that is small beside the spread of the decision values they are ranked.

Effects are *after minus before*, so a positive effect on the AUROC or the margin means that the
row did harm, the other way round than for a loss.
"""

from skinfluence.metrics.groups import demographic_parity, equal_opportunity
from skinfluence.metrics.pairs import auroc
from skinfluence.metrics.rows import (
    log_loss,
    log_odds,
    margin,
    mean_loss,
    probability,
    squared_error,
)

__all__ = [
    "auroc",
    "demographic_parity",
    "equal_opportunity",
    "log_loss",
    "log_odds",
    "margin",
    "mean_loss",
    "probability",
    "squared_error",
]
