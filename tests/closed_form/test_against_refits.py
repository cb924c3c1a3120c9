"""Every answer about a model in closed form is that of scikit-learn's fit on the other rows."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.base import clone, is_classifier
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid

from skinfluence import Influence, edits
from tests.fewer import LONG

# All rows are asked about; every third is compared with its refit, or each.
STEP = 1 if LONG else 3


@dataclass(frozen=True)
class Case:
    estimator: object
    counts: bool = False
    sparse: bool = False
    weighted: bool = False
    n_classes: int = 3
    # Smoothing of variances is shared by all rows, weighted or not.
    options: dict = field(default_factory=dict)

    def data(self, n=48, d=5, seed=0):
        rng = np.random.default_rng(seed)
        y = np.concatenate([np.arange(self.n_classes), rng.integers(0, self.n_classes, n)])[:n]
        X = rng.standard_normal((n, d)) * np.linspace(0.5, 3, d) + y[:, None] * np.linspace(1, 0, d)
        if self.counts:
            X = rng.poisson(np.exp(0.4 * X)).astype(float)
        weight = rng.uniform(0.3, 2.5, n) if self.weighted else None
        if not is_classifier(self.estimator):
            y = X[:, 0] + rng.standard_normal(n)
        else:
            y = np.array(["ant", "bee", "cow", "dog"])[y]
        return (sp.csr_array(X) if self.sparse else X), y, weight

    def fit(self, X, y, weight):
        model = clone(self.estimator)
        return model.fit(X, y) if weight is None else model.fit(X, y, sample_weight=weight)

    def scores(self, model, X):
        """What ``of="decision_function"`` means for the model."""
        for name in ("decision_function", "predict_joint_log_proba", "predict_proba", "predict"):
            if hasattr(model, name):
                return getattr(model, name)(X)


CASES = {
    "gaussian": Case(GaussianNB()),
    "gaussian, two classes": Case(GaussianNB(), n_classes=2),
    "gaussian, weights": Case(GaussianNB(), weighted=True),
    "gaussian, smoothing": Case(GaussianNB(var_smoothing=0.1)),
    "gaussian, priors": Case(GaussianNB(priors=[0.2, 0.3, 0.5])),
    "multinomial": Case(MultinomialNB(alpha=0.3), counts=True),
    "multinomial, sparse": Case(MultinomialNB(), counts=True, sparse=True),
    "multinomial, weights": Case(MultinomialNB(), counts=True, weighted=True, n_classes=2),
    "multinomial, no prior": Case(MultinomialNB(fit_prior=False), counts=True),
    "multinomial, alphas": Case(MultinomialNB(alpha=[0.1, 0.2, 1, 2, 3]), counts=True),
    "complement": Case(ComplementNB(), counts=True),
    "complement, norm": Case(ComplementNB(norm=True), counts=True, sparse=True),
    "complement, weights": Case(ComplementNB(alpha=2.0), counts=True, weighted=True),
    "bernoulli": Case(BernoulliNB(), counts=True),
    "bernoulli, threshold": Case(BernoulliNB(binarize=0.7, alpha=0.2)),
    "bernoulli, weights": Case(BernoulliNB(), counts=True, weighted=True, sparse=True),
    "lda": Case(LinearDiscriminantAnalysis()),
    "lda, two classes": Case(LinearDiscriminantAnalysis(), n_classes=2),
    "lda, lsqr": Case(LinearDiscriminantAnalysis(solver="lsqr")),
    "lda, eigen": Case(LinearDiscriminantAnalysis(solver="eigen"), n_classes=4),
    "lda, priors": Case(LinearDiscriminantAnalysis(priors=[0.2, 0.3, 0.5])),
    "lda, priors, lsqr": Case(LinearDiscriminantAnalysis(solver="lsqr", priors=[0.2, 0.3, 0.5])),
    "qda": Case(QuadraticDiscriminantAnalysis()),
    "qda, two classes": Case(QuadraticDiscriminantAnalysis(), n_classes=2),
    "qda, reg_param": Case(QuadraticDiscriminantAnalysis(reg_param=0.3)),
    "qda, priors": Case(QuadraticDiscriminantAnalysis(priors=[0.2, 0.3, 0.5])),
    "centroids": Case(NearestCentroid()),
    "centroids, two classes": Case(NearestCentroid(), n_classes=2),
    "centroids, shares": Case(NearestCentroid(priors="empirical")),
    "centroids, priors": Case(NearestCentroid(priors=[0.2, 0.3, 0.5])),
    "neighbours": Case(KNeighborsClassifier(5)),
    "neighbours, distance": Case(KNeighborsClassifier(4, weights="distance"), n_classes=2),
    "neighbours, cosine": Case(KNeighborsClassifier(3, metric="cosine"), sparse=True),
    "neighbours, regression": Case(KNeighborsRegressor(5)),
    "neighbours, inverse": Case(KNeighborsRegressor(5, weights=lambda d: 1 / (1 + d))),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    return request.param


def _take(X, y, weight, kept):
    return X[kept], y[kept], None if weight is None else weight[kept]


def _without(case, data, rows):
    kept = np.setdiff1d(np.arange(data[0].shape[0]), rows)
    return case.fit(*_take(*data, kept))


def _tests(case, n=7):
    return case.data(n, seed=1)[:2]


def test_removing_any_row_is_a_refit_without_it(case):
    data = case.data()
    model = case.fit(*data)
    X, _ = _tests(case)
    found = Influence(model, *data).removal_effect(X, of="decision_function")
    before = case.scores(model, X)
    for i in range(0, data[0].shape[0], STEP):
        after = case.scores(_without(case, data, [i]), X)
        assert_allclose(found[:, i], after - before, rtol=1e-9, atol=1e-9)


def test_leave_one_out_is_a_refit_for_each_row(case):
    data = case.data()
    inf = Influence(case.fit(*data), *data)
    rows = np.arange(0, data[0].shape[0], STEP)
    refits = {i: _without(case, data, [i]) for i in rows}
    own = [case.scores(one, data[0][[i]])[0] for i, one in refits.items()]
    assert_allclose(inf.loo_decision_function()[rows], own, rtol=1e-9, atol=1e-9)
    predicted = [one.predict(data[0][[i]])[0] for i, one in refits.items()]
    if is_classifier(case.estimator):
        assert (inf.loo_predict()[rows] == predicted).all()
        proba = [one.predict_proba(data[0][[i]])[0] for i, one in refits.items()]
        assert_allclose(inf.loo_predict_proba()[rows], proba, rtol=1e-8, atol=1e-12)
    else:
        assert_allclose(inf.loo_predict()[rows], predicted, rtol=1e-12)


def test_groups_leave_together(case):
    data = case.data()
    model = case.fit(*data)
    groups = np.arange(data[0].shape[0]) % 6
    X, _ = _tests(case)
    found = Influence(model, *data).removal_effect(X, of="decision_function", groups=groups)
    for g in range(6):
        after = case.scores(_without(case, data, np.flatnonzero(groups == g)), X)
        assert_allclose(found[:, g], after - case.scores(model, X), rtol=1e-9, atol=1e-9)


def test_rows_come_move_and_change_their_label(case):
    (X, y, weight), other = case.data(), case.data(seed=3)
    dense = [one.toarray() if sp.issparse(one) else one for one in (X, other[0])]
    model = case.fit(X, y, weight)
    tests, _ = _tests(case)
    edit = edits.remove(4) + edits.relabel(6, y[0]) + edits.replace(8, dense[1][2])
    edit += edits.add(dense[1][3], other[1][3])
    X2, y2 = dense[0].copy(), y.copy()
    y2[6], X2[8] = y[0], dense[1][2]
    X2, y2 = np.vstack([X2, dense[1][3]]), np.append(y2, other[1][3])
    w2 = None if weight is None else np.append(weight, 1.0)
    if sp.issparse(X):
        X2 = sp.csr_array(X2)
    kept = np.delete(np.arange(len(y2)), 4)
    after = case.scores(case.fit(*_take(X2, y2, w2, kept)), tests)
    found = Influence(model, X, y, weight).effect(edit, tests, of="decision_function")
    assert_allclose(found.values, after - case.scores(model, tests), rtol=1e-9, atol=1e-9)
    assert found.method_used == "exact" and found.bound == 0.0


def test_another_label_for_any_row_is_a_refit_with_it(case):
    if not is_classifier(case.estimator):
        pytest.skip("targets are numbers")
    X, y, weight = case.data()
    model = case.fit(X, y, weight)
    tests, _ = _tests(case)
    found = Influence(model, X, y, weight).relabel_effect(
        tests, of="decision_function", indices=[3, 20]
    )
    for i, row in enumerate([3, 20]):
        for k, label in enumerate(model.classes_):
            y2 = y.copy()
            y2[row] = label
            after = case.scores(case.fit(X, y2, weight), tests)
            assert_allclose(found[:, i, k], after - case.scores(model, tests), rtol=1e-9, atol=1e-9)


def test_rows_of_other_data_are_refused(case):
    X, y, weight = case.data()
    model = case.fit(X, y, weight)
    with pytest.raises(ValueError, match="those of the fit"):
        Influence(model, case.data(seed=5)[0], y, weight)
