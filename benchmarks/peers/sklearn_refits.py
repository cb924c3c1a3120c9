"""scikit-learn alone: true refits without each row, sampled, and cross-validation."""

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_predict

from benchmarks.peers.models import unfitted
from benchmarks.peers.registry import Answering, contestant

LOO = ("loo-ridge", "loo-binary", "loo-plain", "loo-softmax", "enron-loo")
# Refits of a row that are timed.
REFITS = 10


def _estimator(problem):
    """Its default solver; as precise as leave-one-out needs."""
    return unfitted(problem) if problem.kind == "ridge" else unfitted(problem, max_iter=1_000)


def _own(problem, outputs):
    if problem.kind == "ridge":
        return outputs
    return outputs[np.arange(len(outputs)), problem.y]


def _folds(n_folds):
    def make(problem):
        model = _estimator(problem)
        method = "predict" if problem.kind == "ridge" else "predict_proba"

        def call():
            return cross_val_predict(model, problem.X, problem.y, cv=n_folds, method=method)

        return Answering(call, read=lambda outputs: _own(problem, outputs))

    return make


contestant("sklearn_refits: 5 folds", *LOO, exact=False)(_folds(5))
contestant("sklearn_refits: 10 folds", *LOO, exact=False)(_folds(10))


@contestant("sklearn_refits: every row", *LOO, exact=False)
def refits(problem):
    """Ten of the rows whose truth is known."""
    model, chosen = _estimator(problem), problem.rows[:REFITS]

    def call():
        out = problem.base.copy()
        for row in chosen:
            kept = np.delete(np.arange(len(problem.y)), row)
            model.fit(problem.X[kept], problem.y[kept])
            one = problem.X[[row]]
            outputs = model.predict(one) if problem.kind == "ridge" else model.predict_proba(one)
            out[row] = outputs[0] if problem.kind == "ridge" else outputs[0, problem.y[row]]
        return out

    def read(out):
        problem.rows, problem.truth = chosen, problem.truth[: len(chosen)]
        return out

    return Answering(call, share=len(chosen) / len(problem.y), read=read)


@contestant("sklearn_refits: RidgeCV", "loo-ridge")
def ridge_cv(problem):
    """Its own leave-one-out of ridge regression, fit included."""

    def call():
        model = RidgeCV(alphas=[problem.l2], fit_intercept=False, store_cv_results=True)
        return model.fit(problem.X, problem.y).cv_results_

    def read(squared):
        # It stores squared errors; the side of a leave-one-out residual is that of the residual.
        residual = problem.y - problem.base
        return problem.y - np.sign(residual) * np.sqrt(np.ravel(squared))

    return Answering(call, read=read)
