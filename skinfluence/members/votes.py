"""Votes of models with steps of their own: each is asked whole, and what they say is averaged."""

from dataclasses import dataclass

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.members.fold_models import FoldModels
from skinfluence.members.in_folds import Table
from skinfluence.members.stacks import OfModels


@dataclass(frozen=True, eq=False, kw_only=True)
class VoteProblem(OfModels):
    """A vote of pipelines, and its training data.

    Parameters
    ----------
    design, y, weights, loss, labels, cuts, model_name, concern, models
        As of :class:`~skinfluence.members.stacks.OfModels`, without cuts.
    shares : ndarray of shape (n_models,)
        Sum to one.
    """

    shares: np.ndarray

    without_a_class = "a fit knows no such class"
    without_rows = (
        "one of its models has none, as it would if it were asked alone",
        "Split such a group.",
    )
    own_rows = "a vote of models with steps of their own, which are fitted again after each"

    def table(self, method):
        """The models of all rows."""
        return VotedModels(self, method)


class VotedModels(Table):
    """The models of a vote, fitted to a table.

    Parameters
    ----------
    problem : VoteProblem
    method : str
    """

    def __init__(self, problem, method):
        super().__init__(problem, method)
        self.n_models = len(problem.models)
        self.parts = [FoldModels(problem.member(k), method, 0) for k in range(self.n_models)]

    def _mean(self, said):
        """The weighted mean of what the models say: a number, or a chance for each class."""
        found = sum(share * one for share, one in zip(self.problem.shares, said, strict=True))
        if self.problem.labels is not None and found.shape[-1] == 1:
            return np.concatenate([1.0 - found, found], axis=-1)
        return found

    def values(self, X):
        return self._mean([one.whole.scores(X, self.method) for one in self.parts])

    def without(self, rows, X, tol):
        width = 16 * self.n_models * self.problem.loss.n_outputs
        for block in row_blocks(len(rows), width * (1 if X is None else X.shape[0])):
            said = [one.moved_at(rows[block], X, tol) for one in self.parts]
            yield np.arange(len(rows))[block], self._mean(said)
