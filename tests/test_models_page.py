"""Which models are answered about, by name: nothing that is refused starts to answer by chance, and the page has all."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn import linear_model, naive_bayes, neighbors, svm
from sklearn.base import RegressorMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    RandomForestRegressor,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import KBinsDiscretizer
from sklearn.utils import all_estimators

from skinfluence import Influence
from skinfluence.objective import objective_of
from tests.versions import l1_logistic

PAGE = (Path(__file__).parents[1] / "doc" / "models.md").read_text(encoding="utf-8")
KNOWN, _, REFUSED_TABLE = PAGE.partition("## Refused")
# Answered about, in one form at least.
ANSWERED = {
    "ARDRegression",
    "BayesianRidge",
    "BernoulliNB",
    "CalibratedClassifierCV",
    "ComplementNB",
    "ElasticNet",
    "ElasticNetCV",
    "GammaRegressor",
    "GaussianNB",
    "GaussianProcessRegressor",
    "HuberRegressor",
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "KernelRidge",
    "Lasso",
    "LassoCV",
    "LinearDiscriminantAnalysis",
    "LinearRegression",
    "LinearSVC",
    "LinearSVR",
    "LogisticRegression",
    "LogisticRegressionCV",
    "MultiOutputClassifier",
    "MultiOutputRegressor",
    "MultinomialNB",
    "NearestCentroid",
    "OneVsOneClassifier",
    "OneVsRestClassifier",
    "PoissonRegressor",
    "QuadraticDiscriminantAnalysis",
    "Ridge",
    "RidgeCV",
    "RidgeClassifier",
    "RidgeClassifierCV",
    "SGDClassifier",
    "SGDRegressor",
    "SVC",
    "SVR",
    "StackingClassifier",
    "StackingRegressor",
    "TweedieRegressor",
    "VotingClassifier",
    "VotingRegressor",
}
# Opened, or made of other estimators that must be given.
LAYERS = {
    "ClassifierChain",
    "FixedThresholdClassifier",
    "FrozenEstimator",
    "GridSearchCV",
    "HalvingGridSearchCV",
    "HalvingRandomSearchCV",
    "OutputCodeClassifier",
    "Pipeline",
    "RFE",
    "RFECV",
    "RandomizedSearchCV",
    "RegressorChain",
    "SelfTrainingClassifier",
    "TransformedTargetRegressor",
    "TunedThresholdClassifierCV",
}
OTHERS = [
    (name, cls)
    for name, cls in all_estimators()
    if hasattr(cls, "predict") and name not in ANSWERED | LAYERS
]
rng = np.random.default_rng(0)
X = np.abs(rng.standard_normal((30, 3)))
LINE = X @ [1.0, 2.0, 0.5] + 0.3 * rng.standard_normal(30)
THREE = np.digitize(LINE, np.quantile(LINE, [0.3, 0.7]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "cls"), OTHERS, ids=[name for name, _ in OTHERS])
def test_what_is_not_on_the_page_does_not_answer(name, cls):
    y = LINE if issubclass(cls, RegressorMixin) else THREE
    try:
        model = cls().fit(X, y)
    except Exception as error:
        pytest.skip(f"It has no fit to ask about: {error}")
    with pytest.raises((TypeError, ValueError)):
        Influence(model, X, y)


# What the constructor makes by itself is another form, and what to change is said.
CHANGED = {
    "LinearSVR": "Fit with a small one",
    "SGDClassifier": "Fit with one of them",
    "VotingClassifier": "Fit with voting='soft'",
}
SEVERAL = {"MultiOutputClassifier", "MultiOutputRegressor"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(ANSWERED))
def test_with_its_defaults_a_model_is_answered_or_says_what_to_change(name):
    cls = dict(all_estimators())[name]
    regresses = issubclass(cls, RegressorMixin)
    y = LINE if regresses else THREE
    inside = linear_model.Ridge() if regresses else linear_model.LogisticRegression()
    if name.startswith(("Voting", "Stacking")):
        model = cls([("a", inside)])
    elif name in SEVERAL | {"OneVsOneClassifier", "OneVsRestClassifier"}:
        model = cls(inside)
    else:
        model = cls()
    y = np.column_stack([y > np.median(y), y > 0.5]).astype(int) if name in SEVERAL else y
    model = model.fit(X, y)
    if name in CHANGED:
        with pytest.raises((TypeError, ValueError), match=CHANGED[name]):
            Influence(model, X, y)
        assert f"`{name}" in KNOWN
        return
    found = Influence(model, X, y).loo_predict(indices=[0, 7])
    assert found.shape == (2, *np.shape(y)[1:])
    assert np.isfinite(np.asarray(found, dtype=float)).all()


def test_the_page_names_all_that_is_answered():
    unnamed = {name for name in ANSWERED if not re.search(rf"\b{name}\b", KNOWN)}
    # At the penalty that they chose, as their like.
    assert unnamed <= {"ElasticNetCV", "RidgeClassifierCV"}
    unknown = objective_of.dispatch(object)
    registered = {n for n, cls in all_estimators() if objective_of.dispatch(cls) is not unknown}
    # Registered to be refused in words of their own.
    refused = {"MultiTaskElasticNet", "MultiTaskLasso", "NuSVC", "NuSVR", "OneClassSVM"}
    assert registered == ANSWERED | refused


def test_the_refused_of_the_page_are_not_answered():
    named = set(
        re.findall(
            r"`([A-Z]\w+)`",
            "".join(
                line.split("|")[1] for line in REFUSED_TABLE.splitlines() if line.startswith("| ")
            ),
        )
    )
    assert {"NuSVR", "QuantileRegressor", "MLPClassifier"} <= named
    assert not named & ANSWERED


# A form of something that is answered about, and is not itself.
FORMS = {
    "softmax with L1": lambda: l1_logistic(solver="saga", max_iter=5000).fit(X, THREE),
    "SGD with L1": lambda: linear_model.SGDRegressor(penalty="l1").fit(X, LINE),
    "SGD of another loss": lambda: linear_model.SGDClassifier(loss="modified_huber").fit(X, THREE),
    "positive ridge": lambda: linear_model.Ridge(positive=True).fit(X, LINE),
    "Tweedie without a link": lambda: linear_model.TweedieRegressor(power=1, link="identity").fit(
        X, LINE + 5
    ),
    "linear machine with L1": lambda: svm.LinearSVC(penalty="l1", dual=False).fit(X, THREE),
    "one machine of all classes": lambda: svm.LinearSVC(multi_class="crammer_singer").fit(X, THREE),
    "two targets of a lasso": lambda: linear_model.Lasso().fit(X, np.column_stack([LINE, LINE])),
    "calibration in folds that are drawn": lambda: CalibratedClassifierCV(
        naive_bayes.GaussianNB(), cv=StratifiedKFold(2, shuffle=True, random_state=0)
    ).fit(X, THREE),
    "a stack of folds that are drawn": lambda: StackingRegressor(
        [("a", linear_model.Ridge())], cv=KFold(2, shuffle=True, random_state=0)
    ).fit(X, LINE),
    "a stack with a forest": lambda: StackingRegressor(
        [("a", linear_model.Ridge()), ("b", RandomForestRegressor(2))]
    ).fit(X, LINE),
    "counted votes": lambda: VotingClassifier([("a", linear_model.LogisticRegression())]).fit(
        X, THREE
    ),
    "a vote with a forest": lambda: VotingRegressor(
        [("a", linear_model.Ridge()), ("b", RandomForestRegressor(2))]
    ).fit(X, LINE),
    "a vote with a search": lambda: VotingRegressor([("a", linear_model.RidgeCV())]).fit(X, LINE),
    "a vote without probabilities": lambda: VotingClassifier(
        [("a", linear_model.LogisticRegression()), ("b", svm.SVC(probability=True))], voting="soft"
    ).fit(X, THREE),
    "a neighbourhood by radius": lambda: neighbors.RadiusNeighborsRegressor(5.0).fit(X, LINE),
    "no noise": lambda: GaussianProcessRegressor(RBF(), alpha=0.0, optimizer=None).fit(X, LINE),
    "noise per row": lambda: GaussianProcessRegressor(
        RBF() + WhiteKernel(), alpha=np.linspace(0.1, 1, 30), optimizer=None
    ).fit(X, LINE),
    "categories": lambda: naive_bayes.CategoricalNB().fit(
        KBinsDiscretizer(3, encode="ordinal").fit_transform(X), THREE
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_that_are_not_answered_are_refused(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = FORMS[name]()
    y = LINE if not hasattr(model, "classes_") else THREE
    rows = KBinsDiscretizer(3, encode="ordinal").fit_transform(X) if name == "categories" else X
    y = {
        "two targets of a lasso": np.column_stack([LINE, LINE]),
        "Tweedie without a link": LINE + 5,
    }.get(name, y)
    with pytest.raises((TypeError, ValueError)) as refusal:
        Influence(model, rows, y)
    # What to do is said: a model to fit, or what to ask about.
    assert re.search(r"[Ff]it|[Aa]sk|pass|add", str(refusal.value)), refusal.value
