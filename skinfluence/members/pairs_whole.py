"""A pipeline for each pair of classes: each is asked whole, of the rows of its two classes."""

from dataclasses import dataclass

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.members.fold_models import FoldModels
from skinfluence.members.in_folds import Table
from skinfluence.members.stacks import Member, OfModels
from skinfluence.objective import Labels


@dataclass(frozen=True, eq=False, kw_only=True)
class PairsOfPipelinesProblem(OfModels):
    """A pipeline for each pair of classes, and their training data.

    Parameters
    ----------
    design, y, weights, loss, labels, cuts, model_name, concern, models
        As of :class:`~skinfluence.members.stacks.OfModels`, without cuts. The loss is a
        :class:`~skinfluence.members.pairs.PairsLoss`, and models are in the order of its pairs.
    """

    without_a_class = "a fit knows no such class"
    without_rows = (
        "a model of a pair of classes has none, as it would if it were asked alone",
        "Split such a group.",
    )
    own_rows = "a OneVsOneClassifier, whose models have the rows of two classes each"

    def table(self, method):
        """The models of all pairs."""
        return PairedModels(self, method)

    def pair(self, k):
        """The model of a pair as a :class:`Member` of labels 0 and 1, and which rows are its own."""
        first, second = self.loss.first[k], self.loss.second[k]
        given = self.design, 1 * (self.codes == second), self.weights, Labels.by_position([0, 1])
        return Member(*given, *self.models[k]), np.isin(self.codes, (first, second))


class PairedModels(Table):
    """The models of all pairs of classes, fitted to a table; of other classes one knows nothing of a row.

    Parameters
    ----------
    problem : PairsOfPipelinesProblem
    method : str
    """

    def __init__(self, problem, method):
        super().__init__(problem, method)
        self.n_models = len(problem.models)
        self.pairs = []
        for k in range(self.n_models):
            member, own = problem.pair(k)
            self.pairs.append((FoldModels(member, method, 0), own))

    def values(self, X):
        return np.hstack([one.of(own).scores(X, self.method) for one, own in self.pairs])

    def without(self, rows, X, tol):
        for block in row_blocks(len(rows), 16 * self.n_models * (1 if X is None else X.shape[0])):
            some = rows[block]
            if X is None:
                out = self.values(self.problem.design.X[some])[:, None]
            else:
                out = np.repeat(self.values(X)[None], len(some), axis=0)
            for k, (one, own) in enumerate(self.pairs):
                there = np.flatnonzero(own[some])
                if len(there):
                    found = one.of(own).moved_at(some[there], X, self.method, tol)
                    out[there, :, k] = found[..., 0]
            yield np.arange(len(rows))[block], out
