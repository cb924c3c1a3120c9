"""The fitted problem of a model in closed form, and what its scores mean."""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence.design import Design, design_of
from skinfluence.losses import Loss, Multinomial
from skinfluence.losses.base import decided
from skinfluence.objective import Labels
from skinfluence.problem import Chosen, Problem, check_hold_is_free


@dataclass(frozen=True, eq=False)
class ClosedProblem(Problem):
    """A model in closed form and its training data.

    Parameters
    ----------
    design : Design
    y : ndarray of shape (n_samples,)
        Positions of the classes, or targets.
    weights : ndarray of shape (n_samples,)
    family : Family
        Of the training rows, or of some of them.
    loss : Loss
        Of the family's scores.
    labels : Labels or None
    model_name : str
    needs_all_classes : bool
    chosen : Chosen, default=None
        As in :class:`~skinfluence.problem.Problem`.
    held : ndarray of int, default=None
        The rows that the family is of, where others were removed; None for all.
    """

    design: Design
    y: np.ndarray
    weights: np.ndarray
    family: object
    loss: Loss
    labels: Labels | None
    model_name: str
    needs_all_classes: bool
    chosen: Chosen | None = None
    held: np.ndarray | None = None

    without_a_class = "a fit knows no such class"

    @property
    def sample_weight(self):
        """The weights: there are no class weights."""
        return self.weights

    def kinds(self, y):
        return np.asarray(y, dtype=np.intp)

    def place(self, rows):
        """Where rows are among those of the family, -1 for those that were removed."""
        if self.held is None:
            return rows
        place = np.full(self.n_samples, -1)
        place[self.held] = np.arange(len(self.held))
        return place[rows]

    def check_counts(self, weights):
        """Refuse weights of rows that are there, where the estimator takes none.

        Raises
        ------
        ValueError
        """
        if not self.family.takes_weights and (weights != 1).any():
            raise ValueError(
                f"Rows of {self.model_name} count one each, or are not there: an edit may give "
                f"them weight 1 or 0. Got {weights[weights != 1][0]:g}."
            )

    def on(self, X, rows, carried):
        there = rows.weights > 0
        weights = rows.weights[there]
        self.check_counts(weights)
        family = self.family.again(X[there], rows.y[there], weights)
        held = None if there.all() else np.flatnonzero(there)
        own = {"y": rows.y, "weights": rows.weights, "held": held}
        return replace(self, design=design_of(X, 0.0), family=family, **own)

    def holding(self, hold):
        """The same problem: there is no penalty."""
        check_hold_is_free(f"Edits of {self.model_name} hold no penalty", hold)
        return self


class Posterior(Multinomial):
    """The log loss of scores that are logarithms of posterior probabilities, up to a constant.

    Parameters
    ----------
    n_classes : int
    as_ratio : bool
        Whether users see the difference of two scores as one decision value.
    """

    def __init__(self, n_classes, as_ratio):
        super().__init__(n_classes)
        self.as_ratio = as_ratio and n_classes == 2

    def expand(self, eta):
        return eta[..., 1:] - eta[..., :1] if self.as_ratio else eta


class Votes(Loss):
    """One minus the share of the neighbours that have the label."""

    def __init__(self, n_classes):
        self.n_outputs = n_classes

    def value(self, eta, y):
        picked = np.broadcast_to(np.asarray(y, dtype=np.intp), eta.shape[:-1])[..., None]
        return 1.0 - np.take_along_axis(eta, picked, axis=-1)[..., 0]

    def gradient(self, eta, y):
        return -np.eye(self.n_outputs)[np.asarray(y, dtype=np.intp)]

    def hessian(self, eta, y):
        return np.zeros((*eta.shape, self.n_outputs))

    def decide(self, eta):
        return decided(eta)

    def predict_proba(self, eta):
        return eta
