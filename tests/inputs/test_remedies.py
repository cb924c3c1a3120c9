"""What refusals say to ask instead is code, and it answers: it is run here as it is written there."""

import re

import autograd.numpy as anp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import RFE, SelectKBest
from sklearn.linear_model import LogisticRegression, RANSACRegressor, Ridge
from sklearn.model_selection import KFold, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import (
    ClassifierChain,
    MultiOutputClassifier,
    MultiOutputRegressor,
    RegressorChain,
)
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    PowerTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.semi_supervised import SelfTrainingClassifier

from skinfluence import Influence, edits
from skinfluence.m_estimation import MEstimator
from skinfluence.pipeline import NoDerivativeError

N = 60
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 3))
LINE = X @ [1.0, -1.0, 0.5] + 0.5 * rng.standard_normal(N)
TWO = (LINE > 0).astype(int)
THREE = np.digitize(LINE, [-0.7, 0.7])
LOGISTIC = LogisticRegression()
ENCODED = make_pipeline(TargetEncoder(target_type="continuous"), Ridge())
# The name of the model stands in the advice; y is what the model was fitted on.
REFUSED = {
    "a stack of classifiers": (
        StackingClassifier([("a", LOGISTIC), ("b", RandomForestClassifier(3, random_state=0))]),
        THREE,
    ),
    "a stack of regressors": (
        StackingRegressor([("a", Ridge())], Ridge(), cv=KFold(3, shuffle=True, random_state=0)),
        LINE,
    ),
    "calibration": (
        CalibratedClassifierCV(LOGISTIC, cv=KFold(3, shuffle=True, random_state=0)),
        THREE,
    ),
    "bagging": (BaggingClassifier(LOGISTIC, n_estimators=3, random_state=0), TWO),
    "a chain": (
        ClassifierChain(LOGISTIC, order=[2, 0, 1]),
        np.column_stack([TWO, THREE > 0, THREE > 1]).astype(int),
    ),
    "a chain of regressors": (RegressorChain(Ridge()), np.column_stack([LINE, X[:, 0] ** 2])),
    "a tuned threshold": (TunedThresholdClassifierCV(LOGISTIC), TWO),
    "labels of its own": (SelfTrainingClassifier(LOGISTIC), np.where(np.arange(N) % 3, TWO, -1)),
    "columns that were kept": (RFE(LOGISTIC, n_features_to_select=2), TWO),
    "inliers": (RANSACRegressor(random_state=0), LINE),
    "counted votes": (VotingClassifier([("a", LOGISTIC), ("b", LogisticRegression(C=0.1))]), THREE),
    "labels that are strings": (
        MultiOutputClassifier(LOGISTIC),
        np.column_stack([TWO, THREE > 0]).astype(str),
    ),
    "steps of each class": (
        OneVsRestClassifier(make_pipeline(SelectKBest(k=2), LOGISTIC)),
        THREE,
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("outer", ["alone", "behind a scaler"])
@pytest.mark.parametrize("name", REFUSED)
def test_the_remedy_of_a_refusal_answers_as_it_is_written(name, outer):
    model, y = REFUSED[name]
    model = clone(model)
    if outer != "alone":
        model = make_pipeline(StandardScaler(), make_pipeline(PowerTransformer(), model))
    model = model.fit(X, y)
    with pytest.raises(TypeError) as refusal:
        Influence(model, X, y)
    said, _, here = str(refusal.value).partition(" Here ")
    code = re.search(r"((?:\w+ = [^;]+; )*)(Influence\(.*\))\.", said)
    place = {"np": np, "clone": clone, "Influence": Influence, "model": model, "X": X, "y": y}
    place["k"] = 1
    assert bool(here) == (outer != "alone")
    exec(here.removesuffix("."), place)
    exec(code[1], place)
    assert np.isfinite(eval(code[2], place).loo_decision_function()).all()


HIDDEN = 3


def predicts(params, x):
    """A network of one layer: its matrix, its column, and the intercepts of both."""
    first, second = params[: 3 * HIDDEN].reshape(3, HIDDEN), params[3 * HIDDEN : 4 * HIDDEN]
    bias = params[4 * HIDDEN :]
    return anp.tanh(x @ first + bias[:HIDDEN]) @ second + bias[HIDDEN]


def half_squared(params, x, y):
    return 0.5 * (y - predicts(params, x)) ** 2


def test_a_network_of_scikit_learn_is_an_m_estimator_from_its_weights():
    """As the refusal says; the refit is theirs, from where the network was. atol: where lbfgs ends."""
    exact = {"solver": "lbfgs", "max_iter": 20_000, "max_fun": 100_000, "tol": 1e-14}
    network = MLPRegressor(
        hidden_layer_sizes=(HIDDEN,), activation="tanh", alpha=1.0, random_state=0, **exact
    )
    network.fit(X, LINE)
    with pytest.raises(TypeError, match=r"init= what model\.coefs_"):
        Influence(network, X, LINE)
    weights = np.concatenate([one.ravel() for one in network.coefs_])
    start = np.concatenate([weights, *network.intercepts_])
    l2 = np.repeat([network.alpha, 0.0], [len(weights), len(start) - len(weights)])
    model = MEstimator(half_squared, len(start), l2=l2, init=start, decision=predicts).fit(X, LINE)
    np.testing.assert_allclose(model.predict(X), network.predict(X), atol=1e-3)
    found = Influence(model, X, LINE).effect(edits.remove([4, 9]), X, of="predict").values
    before, left = network.predict(X), np.delete(np.arange(N), [4, 9])
    change = network.set_params(warm_start=True).fit(X[left], LINE[left]).predict(X) - before
    assert np.abs(found - change).max() < 1e-2 * np.abs(change).max()


@pytest.mark.parametrize(
    ("model", "y"),
    [
        (VotingRegressor([("a", ENCODED), ("b", ENCODED)]), LINE),
        (MultiOutputRegressor(ENCODED), np.column_stack([LINE, X[:, 0]])),
    ],
    ids=["a vote", "several targets"],
)
def test_steps_that_fit_otherwise_are_asked_about_inside_one_of_several_models(model, y):
    rows = np.round(X)
    model = clone(model).fit(rows, y)
    with pytest.raises(ValueError, match="cross fitting") as refusal:
        Influence(model, rows, y)
    said, _, here = str(refusal.value).partition(" Here ")
    place = {"Influence": Influence, "model": model, "X": rows, "y": y, "k": 1}
    first, second = re.search(r"(Z = [^;]+); (Influence\(.*\))\.", said).groups()
    exec(f"{here.removesuffix('.')}; {first}", place)
    assert np.isfinite(eval(second, place).loo_predict()).all()


@pytest.mark.parametrize("k", [0, 2])
def test_the_remedy_of_a_derivative_that_ends_at_a_step_is_of_one_of_several_models(k):
    model = OneVsRestClassifier(make_pipeline(KBinsDiscretizer(3), LOGISTIC)).fit(X, THREE)
    with pytest.raises(NoDerivativeError) as refusal:
        Influence(model, X, THREE).influence_pert(X[:2], THREE[:2])
    said, _, here = str(refusal.value).partition(" Here ")
    place = {"Influence": Influence, "model": model, "X": X, "y": THREE, "k": k}
    exec(here.removesuffix("."), place)
    asked = eval(re.search(r"(Influence\(.*?, y\))\.", said)[1], place)
    assert np.isfinite(asked.influence_pert(asked.data.inputs.raw[:2], place["y"][:2])).all()


def test_words_for_several_labels_are_refused_as_what_they_are():
    labels = np.column_stack([TWO, THREE > 0]).astype(int)
    inf = Influence(MultiOutputClassifier(LOGISTIC).fit(X, labels), X, labels)
    for ask in (
        lambda: inf.removal_effect(X[:2], np.array([["a", "b"], ["c", "d"]])),
        lambda: inf.effect(edits.relabel([1], [["a", "b"]]), X[:2], labels[:2]),
    ):
        with pytest.raises(
            ValueError, match=r"each \(1\) or has it not \(0\)\. Got .*'a', 'b'.*zeros and ones"
        ):
            ask()
