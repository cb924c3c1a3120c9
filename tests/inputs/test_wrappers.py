"""Searches, frozen estimators and target wrappers are opened; all else is refused by name."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    GradientBoostingRegressor,
    RandomForestClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Ridge,
)
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    LeaveOneOut,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
)
from sklearn.neighbors import RadiusNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators

from skinfluence import Influence, edits
from skinfluence._utils.unsupported import advice_on
from skinfluence.inputs.wrappers import opened
from skinfluence.model_selection import LeaveOneOutSearch, loo_predict
from skinfluence.objective import objective_of
from tests.registries import NEWTON, make_data
from tests.truth import relative_error
from tests.versions import logistic_cv

LOGISTIC = LogisticRegression(**NEWTON)
GRID = {"C": [0.3, 3.0]}
ASK = {"method": "one-step"}


@pytest.fixture(scope="module")
def labelled():
    return make_data("binary", 60, 4, 1)


@pytest.fixture(scope="module")
def measured():
    X, y = make_data("regression", 40, 4, 1)
    return X, 50.0 + 7.0 * y


# Layers that are opened --------------------------------------------------------------------------

SEARCHES = {
    "grid": GridSearchCV(LOGISTIC, GRID, cv=3),
    "random": RandomizedSearchCV(LOGISTIC, GRID, n_iter=2, cv=3, random_state=0),
    "halving": HalvingGridSearchCV(LOGISTIC, GRID, cv=3, random_state=0),
    "leave-one-out": LeaveOneOutSearch(LOGISTIC, GRID),
    "of a search": GridSearchCV(GridSearchCV(LOGISTIC, GRID, cv=3), {"cv": [2]}, cv=2),
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_a_search_is_the_model_it_chose(search, labelled):
    X, y = labelled
    search.fit(X, y)
    best = search.best_estimator_
    best = getattr(best, "best_estimator_", best)
    expected = Influence(best, X, y).removal_effect(X[:5], y[:5], **ASK)
    for estimator in (search, FrozenEstimator(search)):
        found = Influence(estimator, X, y)
        np.testing.assert_array_equal(found.removal_effect(X[:5], y[:5], **ASK), expected)
        np.testing.assert_array_equal(found.loo_predict(), Influence(best, X, y).loo_predict())


def layered(model):
    """The same pipeline of a scaler and a model, wrapped in every order."""
    pipeline = make_pipeline(StandardScaler(), model)
    name = f"{type(model).__name__.lower()}__C"
    grid = {name: [0.5]}
    return {
        "search of a pipeline": GridSearchCV(pipeline, grid, cv=2),
        "pipeline of a search": make_pipeline(
            StandardScaler(), GridSearchCV(model, {"C": [0.5]}, cv=2)
        ),
        "pipeline of pipelines": make_pipeline(
            "passthrough", make_pipeline(StandardScaler(), GridSearchCV(model, {"C": [0.5]}, cv=2))
        ),
        "search of a search": GridSearchCV(
            GridSearchCV(pipeline, grid, cv=2), {"refit": [True]}, cv=2
        ),
    }


@pytest.mark.parametrize("name", layered(LOGISTIC))
def test_layers_may_come_in_any_order(name, labelled):
    X, y = labelled
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, **NEWTON)).fit(X, y)
    expected = Influence(plain, X, y)
    estimator = layered(LOGISTIC)[name].fit(X, y)
    for outer in (estimator, FrozenEstimator(estimator)):
        found = Influence(outer, X, y)
        for ask in (
            lambda i: i.influence_up_params(),
            lambda i: i.influence_pert(X[:3], y[:3]),
            lambda i: i.removal_effect(X[:3], y[:3]),
            lambda i: i.effect(edits.add(X[0], "no"), X[:3], y[:3]).values,
            lambda i: i.loo_score(frozen="accept"),
        ):
            np.testing.assert_allclose(ask(found), ask(expected), rtol=1e-9, atol=1e-15)


def test_transformers_are_seen_through_every_layer(labelled):
    """They are fitted again without the row, those that used y as well, by every method."""
    X, y = labelled
    for estimator in layered(LOGISTIC).values():
        inf = Influence(FrozenEstimator(estimator.fit(X, y)), X, y)
        assert inf.loo_predict(frozen="refuse").shape == (60,)
        assert inf.loo_predict(frozen="refuse", method="one-step").shape == (60,)
    leaking = make_pipeline(SelectKBest(k=2), LOGISTIC)
    search = GridSearchCV(leaking, {"selectkbest__k": [2]}, cv=2).fit(X, y)
    for outer in (search, FrozenEstimator(search), make_pipeline(StandardScaler(), search)):
        outer = outer if outer is not search else search
        inf = Influence(outer.fit(X, y) if outer is not search else outer, X, y)
        assert inf.loo_predict(frozen="refuse").shape == (60,)
        assert inf.loo_predict(frozen="refuse", method="one-step").shape == (60,)
        assert inf.loo_predict(frozen="accept").shape == (60,)


def test_a_search_that_kept_no_model_is_refused(labelled):
    X, y = labelled
    search = GridSearchCV(LOGISTIC, GRID, cv=2, refit=False).fit(X, y)
    with pytest.raises(TypeError, match="refit=True"):
        Influence(search, X, y)


def test_cross_validated_models_are_no_searches(labelled):
    """They have refit= and are models themselves."""
    X, y = labelled
    model = logistic_cv(Cs=[0.3], cv=2, scoring="accuracy").fit(X, y)
    assert opened(model) is None
    Influence(model, X, y)


# Targets through a straight line -----------------------------------------------------------------

LINES = {
    "StandardScaler": {"transformer": StandardScaler()},
    "MinMaxScaler": {"transformer": MinMaxScaler((-2, 5))},
    "a function": {"func": lambda y: 3.0 - 0.2 * y, "inverse_func": lambda z: (3.0 - z) / 0.2},
    "nothing": {},
}
REGRESSORS = {
    "Ridge": Ridge(alpha=2.0, solver="cholesky"),
    "LinearRegression": LinearRegression(),
    "pipeline": make_pipeline(StandardScaler(), Ridge(alpha=2.0, solver="cholesky")),
    "search": GridSearchCV(Ridge(solver="cholesky"), {"alpha": [2.0]}, cv=2),
}


@pytest.mark.parametrize("regressor", REGRESSORS.values(), ids=REGRESSORS)
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_straight_line_changes_no_answer(line, regressor, measured):
    """Ridge with a free intercept does not care for the units of y: answers are in y's own."""
    X, y = measured
    wrapped = TransformedTargetRegressor(regressor, **line).fit(X, y)
    found, expected = Influence(wrapped, X, y), Influence(regressor.fit(X, y), X, y)
    np.testing.assert_allclose(np.squeeze(found.objective.eta), wrapped.predict(X), rtol=1e-9)
    for ask in (
        lambda i: i.influence_up_params(),
        lambda i: i.influence_up_loss(X[:3], y[:3]),
        lambda i: i.influence_pert(X[:3], y[:3]),
        lambda i: i.removal_effect(X[:3], y[:3]),
        lambda i: i.removal_effect(X[:3], of="decision_function"),
        lambda i: i.effect(edits.relabel(3, 60.0), X[:3], y[:3]).values,
        lambda i: i.loo_predict(frozen="accept"),
    ):
        assert relative_error(ask(found), ask(expected)) < 1e-8


def test_leave_one_out_through_a_line_is_cross_validation(measured):
    X, y = measured
    model = TransformedTargetRegressor(Ridge(alpha=2.0), transformer=StandardScaler())
    expected = cross_val_predict(model, X, y, cv=LeaveOneOut())
    # The scaler is fitted anew in each fold, which a free intercept makes up for.
    np.testing.assert_allclose(Influence(model.fit(X, y), X, y).loo_predict(), expected, rtol=1e-8)


def test_weights_go_with_the_rows(measured):
    X, y = measured
    weight = np.linspace(0.5, 2, 40)
    model = TransformedTargetRegressor(Ridge(alpha=2.0), transformer=StandardScaler())
    model.fit(X, y, sample_weight=weight)
    plain = Ridge(alpha=2.0).fit(X, y, sample_weight=weight)
    found = Influence(model, X, y, weight).loo_predict()
    np.testing.assert_allclose(found, Influence(plain, X, y, weight).loo_predict(), rtol=1e-8)


def test_a_factor_alone_needs_no_intercept(measured):
    X, y = measured
    model = TransformedTargetRegressor(
        Ridge(fit_intercept=False), func=lambda y: 0.1 * y, inverse_func=lambda z: 10.0 * z
    ).fit(X, y)
    expected = Influence(Ridge(fit_intercept=False).fit(X, y), X, y).loo_predict()
    np.testing.assert_allclose(Influence(model, X, y).loo_predict(), expected, rtol=1e-8)


# Refused by name ---------------------------------------------------------------------------------

REFUSED = {
    "forest": (RandomForestClassifier(3), "cross_val_predict"),
    "tree": (DecisionTreeClassifier(), "Trees are piecewise constant"),
    "boosting": (GradientBoostingRegressor(n_estimators=3), "Trees are piecewise constant"),
    "neighbours": (RadiusNeighborsClassifier(9.0), "kneighbors"),
    "network": (MLPClassifier(max_iter=2), r"skinfluence\.neural"),
    "calibrated": (
        CalibratedClassifierCV(RandomForestClassifier(3), cv=2),
        r"clone\(model\.calibrated_classifiers_\[0\]\.estimator\)",
    ),
    "voting": (VotingClassifier([("a", LogisticRegression())]), r"model\.estimators_\[k\]"),
    "threshold": (TunedThresholdClassifierCV(LogisticRegression(), cv=2), r"model\.estimator_,"),
    "stacking": (
        StackingRegressor([("a", Ridge())], cv=KFold(2, shuffle=True, random_state=0)),
        "final_estimator_",
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("estimator", "advice"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("outer", ["alone", "pipeline", "search"])
def test_models_without_a_smooth_objective_say_what_to_do(estimator, advice, outer, labelled):
    X, y = labelled
    y = (y == "yes").astype(float)
    wrapped = {
        "alone": estimator,
        "pipeline": make_pipeline(StandardScaler(), estimator),
        "search": GridSearchCV(estimator, {}, cv=2),
    }[outer]
    with pytest.raises(TypeError, match=advice) as refusal:
        Influence(wrapped.fit(X, y), X, y)
    assert type(estimator).__name__ in str(refusal.value)


def test_every_predictor_of_scikit_learn_is_known_opened_or_advised_on():
    unknown = objective_of.dispatch(object)
    layers = {"Pipeline", "GridSearchCV", "RandomizedSearchCV", "TransformedTargetRegressor"}
    layers |= {"HalvingGridSearchCV", "HalvingRandomSearchCV", "FrozenEstimator"}
    nothing = [
        name
        for name, cls in all_estimators()
        if hasattr(cls, "predict")
        and objective_of.dispatch(cls) is unknown
        and name not in layers
        and advice_on(cls.__new__(cls)) is None
    ]
    assert nothing == []


def test_strangers_are_told_how_to_register(labelled):
    class Mine(BaseEstimator):
        def fit(self, X, y):
            self.fitted_ = True
            return self

    with pytest.raises(TypeError, match=r"Mine.*skinfluence\.objective_of\.register"):
        Influence(Mine().fit(*labelled), *labelled)


def test_function_transformers_of_the_rows_stay_what_they_were(labelled):
    X, y = labelled
    pipeline = make_pipeline(FunctionTransformer(), LOGISTIC).fit(X, y)
    np.testing.assert_array_equal(
        Influence(pipeline, X, y).loo_predict(), Influence(pipeline[-1], X, y).loo_predict()
    )


def test_a_search_over_regressors_of_transformed_targets(measured):
    """LeaveOneOutSearch and loo_predict know the wrapper too."""
    X, y = measured
    model = TransformedTargetRegressor(Ridge(alpha=2.0), transformer=StandardScaler())
    expected = cross_val_predict(model, X, y, cv=LeaveOneOut())
    np.testing.assert_allclose(loo_predict(model, X, y), expected, rtol=1e-8)
    search = LeaveOneOutSearch(model, {"regressor__alpha": [0.1, 2.0]}).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_allclose(scores[1], -0.5 * np.mean((expected - y) ** 2), rtol=1e-8)
