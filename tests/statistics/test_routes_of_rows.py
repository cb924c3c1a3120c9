"""Rows behind imputers, encoders and vectorisers: the cheap ways give what refits give."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.base import clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import VarianceThreshold
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.utils import _safe_indexing

from skinfluence import Influence, edits
from skinfluence.inputs.routes import whole_pipeline
from skinfluence.smooth.batches.filled_cells import FilledCells
from skinfluence.statistics import chain_moves
from skinfluence.statistics.edited_rows import without
from skinfluence.statistics.removals import removals_of

N = 48
NEWTON = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 500}

# Of every kind of problem one, beside those of smooth losses.
OTHERS = [
    KernelRidge(kernel="rbf", gamma=0.3),
    SVC(tol=1e-9),
    SVR(tol=1e-9, gamma=0.5),
    LinearSVC(dual=True, loss="hinge", tol=1e-9, max_iter=10**6),
    Lasso(0.05, tol=1e-13, max_iter=10**5),
    LinearRegression(),
    Ridge(fit_intercept=False),
    HuberRegressor(tol=1e-9, max_iter=10**4),
    GaussianProcessRegressor(RBF() + WhiteKernel(), optimizer=None),
    GaussianNB(var_smoothing=1e-2),
    LinearDiscriminantAnalysis(),
    KNeighborsClassifier(),
]


def logistic(**params):
    return LogisticRegression(
        **{"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 500, **params}
    )


def holed(seed=0, n=N, share=0.15):
    """Three heavy-tailed columns with holes, one without, and a target."""
    rng = np.random.default_rng(seed)
    X = np.exp(0.7 * rng.standard_normal((n, 4))).round(2) + [0.0, 5.0, -3.0, 1.0]
    y = (X[:, 0] + X[:, 3] + rng.standard_normal(n) > 2.4).astype(int)
    X[:, :3][rng.random((n, 3)) < share] = np.nan
    X[5, :3] = np.nan
    return X, y


def decision(model, X):
    out = model.decision_function(X) if hasattr(model, "decision_function") else model.predict(X)
    if isinstance(model[-1], PoissonRegressor):
        out = np.log(out)
    return out.reshape(len(out), -1)


def refitted(model, X, y, rows, tests, weight=None):
    """Decision values of each row, and of tests, by pipelines fitted without it."""
    own, others = [], []
    for i in rows:
        kept = np.delete(np.arange(len(y)), i)
        left = {} if weight is None else {f"{model.steps[-1][0]}__sample_weight": weight[kept]}
        again = clone(model).fit(_safe_indexing(X, kept), y[kept], **left)
        own.append(decision(again, _safe_indexing(X, [i]))[0])
        others.append(decision(again, tests))
    return np.array(own), np.array(others)


def check(model, X, y, rows=None, ways=None, weight=None):
    """Own values and effects at all rows by both methods against refits; which ways they take.

    ``ways``: those that may be taken.
    """
    rows = np.arange(0, len(y), 5) if rows is None else rows
    left = {} if weight is None else {f"{model.steps[-1][0]}__sample_weight": weight}
    model.fit(X, y, **left)
    tests = _safe_indexing(X, np.arange(0, len(y), 7))
    own, others = refitted(model, X, y, rows, tests, weight)
    inf = Influence(model, X, y, weight)
    before, at_tests = decision(model, _safe_indexing(X, rows)), decision(model, tests)
    effects = inf.removal_effect(tests, indices=rows, of="decision_function", method="exact")
    effects = np.moveaxis(effects.reshape(len(at_tests), len(rows), -1), 0, 1)
    np.testing.assert_allclose(
        effects, others - at_tests, rtol=1e-6, atol=1e-6 * np.abs(others - at_tests).max()
    )
    largest = np.abs(own - before).max()
    for method, tol in (("exact", 1e-6), ("auto", 1e-3)):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            found = inf.loo_decision_function(indices=rows, method=method)
        found = found.reshape(own.shape)
        assert np.abs(found - own).max() <= tol * largest
    if ways is not None:
        found = inf.estimate("removal_effect", tests).routes
        assert set(found) <= set(ways), found
    return inf


FILLS = {"fills moved", "penalty moved", "nothing to move"}


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
@pytest.mark.parametrize(
    "scaler", [StandardScaler(), MinMaxScaler(), MaxAbsScaler(), None], ids=lambda s: str(s)
)
def test_fills_move_with_the_rows_behind_and_before_scalers(strategy, scaler):
    X, y = holed()
    steps = [SimpleImputer(strategy=strategy, add_indicator=strategy != "mean")]
    model = make_pipeline(*steps, *([scaler] if scaler else []), logistic(C=0.5))
    check(model, X, y, ways=FILLS)


@pytest.mark.parametrize(
    "last",
    [Ridge(3.0), PoissonRegressor(alpha=0.1, solver="newton-cholesky", tol=1e-12), logistic(C=0.1)],
    ids=lambda one: type(one).__name__,
)
def test_fills_move_before_other_losses_classes_and_weights(last):
    X, y = holed(1)
    target = y.astype(float)
    if isinstance(last, LogisticRegression):
        target = y + (X[:, 3] > 2.5)
    weight = np.random.default_rng(0).uniform(0.3, 2.0, len(y))
    check(
        make_pipeline(SimpleImputer(), StandardScaler(), last), X, target, ways=FILLS, weight=weight
    )


def test_fills_move_without_an_intercept_and_with_balanced_classes():
    X, y = holed(2)
    check(make_pipeline(SimpleImputer(), logistic(fit_intercept=False)), X, y, ways=FILLS)
    check(make_pipeline(SimpleImputer(), logistic(class_weight="balanced")), X, y, ways=FILLS)


@pytest.mark.parametrize("union", [ColumnTransformer, FeatureUnion], ids=lambda u: u.__name__)
def test_fills_that_a_union_weighs_move_by_as_much_more(union):
    X, y = holed()
    half, weights = slice(0, 3), {"filled": 3.0, "other": 0.2}
    parts = [
        ("filled", make_pipeline(SimpleImputer(), StandardScaler())),
        ("other", make_pipeline(SimpleImputer(strategy="median"), MinMaxScaler())),
    ]
    if union is ColumnTransformer:
        parts = [(*parts[0], half), (*parts[1], slice(3, X.shape[1]))]
    check(make_pipeline(union(parts, transformer_weights=weights), logistic()), X, y, ways=FILLS)


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()], ids=str)
@pytest.mark.parametrize("last", OTHERS, ids=lambda one: type(one).__name__)
def test_a_row_that_moves_no_fill_moves_the_scale_of_every_model(last, scaler):
    """Holes in one column: the imputer fills as before without such a row, the scaler divides by something else."""
    rng = np.random.default_rng(4)
    X = np.exp(rng.standard_normal((30, 3)))
    y = np.log(X).sum(axis=1) + rng.standard_normal(30)
    rows = np.array([3, 11, 19])
    X[rows, 0], X[3, 1], X[11, 2] = np.nan, 20.0, 30.0
    target = (y > 0).astype(int) if is_classifier(last) else y
    model = make_pipeline(SimpleImputer(), scaler, last).fit(X, target)
    found = outputs(Influence(model, X, target), rows)
    for i, value in zip(rows, found, strict=True):
        kept = np.arange(30) != i
        again = clone(model).fit(X[kept], target[kept])
        np.testing.assert_allclose(value, outputs(again, X[[i]])[0], rtol=1e-4, atol=1e-5)


def outputs(asked, rows):
    """Decision values, probabilities or predictions, the first there are: left out, or of a fitted model."""
    left_out = isinstance(asked, Influence)
    model = asked.estimator if left_out else asked
    names = ("decision_function", "predict_proba", "predict")
    name = next(one for one in names if hasattr(model, one))
    if left_out:
        return getattr(asked, f"loo_{name}")(indices=rows)
    return getattr(model, name)(rows)


def test_a_table_of_numbers_with_holes_and_words():
    X, y = holed(3)
    rng = np.random.default_rng(3)
    X = pd.DataFrame(X, columns=list("abcd"))
    X["colour"] = rng.choice(["red", "green", None], len(y), p=[0.6, 0.3, 0.1])
    X.loc[9, "colour"] = "violet"
    columns = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()),
                list("abc"),
            ),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["colour"]),
        ],
        remainder="passthrough",
    )
    check(make_pipeline(columns, logistic()), X, y, rows=np.array([0, 5, 9, 20]), ways=FILLS)
    union = FeatureUnion(
        [("filled", SimpleImputer()), ("scaled", make_pipeline(SimpleImputer(), MinMaxScaler()))]
    )
    check(make_pipeline(union, logistic()), X[list("abcd")], y, ways=FILLS)


def test_rows_that_have_no_hole_may_be_asked_about_where_others_have_some():
    """Fills move at test rows, where no training row is filled."""
    X, y = holed(4)
    filled = np.where(np.isnan(X), 1.5, X)
    model = make_pipeline(SimpleImputer(), StandardScaler(), logistic()).fit(filled, y)
    rows = np.arange(0, N, 5)
    _, others = refitted(model, filled, y, rows, X[:6])
    inf = Influence(model, filled, y)
    found = inf.removal_effect(X[:6], indices=rows, of="decision_function", method="exact")
    truth = (others - decision(model, X[:6]))[..., 0].T
    np.testing.assert_allclose(found, truth, rtol=1e-6, atol=1e-7 * np.abs(truth).max())
    assert "fitted again" not in inf.estimate("removal_effect", X[:6]).routes


def categories(seed=0, n=N):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "kind": rng.choice(list("abcdefg"), n, p=[0.4, 0.3, 0.1, 0.08, 0.06, 0.03, 0.03]),
            "size": rng.choice([1.0, 2.0, 3.0, np.nan], n),
            "flag": rng.choice(["yes", "no"], n),
        }
    )
    X.loc[2, "kind"], X.loc[11, "kind"], X.loc[4, "size"] = "once", "twice", 7.0
    X.loc[30, "kind"] = "twice"
    return X, (rng.random(n) + (X["kind"] == "a") > 0.8).astype(int).to_numpy()


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"min_frequency": 3},
        {"min_frequency": 0.05},
        {"max_categories": 4},
        {"min_frequency": 2, "handle_unknown": "infrequent_if_exist"},
        {"max_categories": 3, "handle_unknown": "infrequent_if_exist"},
        {"drop": "first"},
        {"drop": "if_binary"},
        {"sparse_output": False},
    ],
    ids=str,
)
def test_categories_that_go_join_the_rare_ones_or_are_dropped(params):
    X, y = categories()
    encoder = OneHotEncoder(**{"handle_unknown": "ignore", **params})
    rows = np.unique([2, 4, 11, *np.flatnonzero(X["kind"].isin(["e", "f", "g"])), 0, 20])
    with warnings.catch_warnings():
        # Rows with a category nobody else has are zeros where one is dropped; the encoder says so.
        warnings.filterwarnings("ignore", "Found unknown categories")
        own, _ = refitted(make_pipeline(encoder, logistic()), X, y, rows, X[:2])
        model = make_pipeline(encoder, logistic()).fit(X, y)
        found = Influence(model, X, y).loo_decision_function(indices=rows, method="exact")
    np.testing.assert_allclose(found, own[:, 0], rtol=1e-6, atol=1e-9)
    # Most rows move nothing, and the last of a category costs no fit.
    moves = chain_moves([model[0]], X, np.arange(len(y)))
    assert moves.other.mean() < 0.5
    if not params:
        assert not moves.other.any()
        assert moves.gone[2] and moves.gone[4]


def test_a_scaler_takes_a_column_of_zeros():
    X, y = categories()
    steps = OneHotEncoder(handle_unknown="ignore", sparse_output=False), StandardScaler()
    check(make_pipeline(*steps, logistic()), X, y, rows=np.array([0, 2, 4]), ways=FILLS)
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    check(
        make_pipeline(codes, StandardScaler(), logistic()),
        X[["kind", "flag"]],
        y,
        rows=np.array([0, 2]),
    )


def test_a_column_of_one_row_without_a_penalty_is_fitted_again():
    """Nothing would determine its coefficient."""
    X, y = categories()
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), logistic()).fit(X, y)
    inf = Influence(model, X, y)
    assert set(inf.estimate("removal_effect", X[:1]).routes) == {"nothing to move"}
    problem = replace(inf.objective, penalty=np.zeros_like(inf.objective.penalty))
    removals = removals_of(problem, [model[0]], X, np.arange(N), None)
    assert set(removals.again) >= {2, 4}


TEXTS = [
    " ".join(np.random.default_rng(i).choice("ham egg tea oil rye fig nut pea".split(), 3 + i % 4))
    + (f" word{i} twin{i // 14}" if i % 7 == 0 else "")
    for i in range(N)
]
TEXT_Y = np.array([int("egg" in text) ^ (i % 5 == 0) for i, text in enumerate(TEXTS)])


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"min_df": 2},
        {"min_df": 0.05},
        {"max_df": 0.4},
        {"max_df": 20},
        {"max_features": 7},
        {"binary": True},
    ],
    ids=str,
)
def test_words_that_go_and_words_over_a_limit(params):
    rows = np.arange(0, N, 2)
    model = make_pipeline(CountVectorizer(**params), logistic())
    own, _ = refitted(model, TEXTS, TEXT_Y, rows, TEXTS[:1])
    inf = Influence(model.fit(TEXTS, TEXT_Y), TEXTS, TEXT_Y)
    found = inf.loo_decision_function(indices=rows, method="exact")
    np.testing.assert_allclose(found, own[:, 0], rtol=1e-6, atol=1e-9)
    moves = chain_moves([model[0]], TEXTS, np.arange(N))
    if not params:
        assert not moves.other.any()
        assert np.flatnonzero(moves.gone).tolist() == list(range(0, N, 7))


def test_selected_columns_and_bins_at_equal_distances():
    X, y = holed(5)
    X = np.column_stack([np.nan_to_num(X, nan=1.0), np.r_[1.0, np.zeros(N - 1)]])
    steps = VarianceThreshold(), StandardScaler()
    check(make_pipeline(*steps, logistic()), X, y, rows=np.array([0, 1, 5]))
    bins = KBinsDiscretizer(4, encode="onehot", strategy="uniform")
    rows = np.unique([X[:, 0].argmax(), X[:, 1].argmin(), 3])
    inf = check(make_pipeline(bins, logistic()), X[:, :4], y, rows=rows)
    assert inf.estimate("removal_effect", X[:1, :4]).routes["nothing to move"] > N - 10


def one_step(last, before, after, scale, y, own, method):
    """The own value of a row after one Newton step from the fit, on plain arrays.

    In the units of the scaler as fitted: the columns before and after the edit, and by what each is divided
    more after it.
    """
    theta, counts = (
        np.append(last.coef_.ravel(), last.intercept_),
        isinstance(last, PoissonRegressor),
    )

    def derivatives(X, y, scale):
        Z = np.column_stack([X, np.ones(len(X))])
        chance = np.exp(Z @ theta) if counts else expit(Z @ theta)
        curved = chance if counts else chance * (1 - chance)
        weight = last.alpha * len(y) if counts else 1 / last.C
        penalty = weight * np.append(scale**2, 0.0)
        return Z.T @ (chance - y) + penalty * theta, (Z.T * curved) @ Z + np.diag(penalty)

    row = np.delete(np.arange(len(y)), own)
    gradient, hessian = derivatives(after[row], y[row], scale)
    if method == "influence":
        _, hessian = derivatives(before, y, np.ones_like(scale))
    return np.append(after[own], 1.0) @ (theta - np.linalg.solve(hessian, gradient))


@pytest.mark.parametrize("scaled", [False, True], ids=["", "scaled"])
@pytest.mark.parametrize("last", [logistic(C=3.0), PoissonRegressor(alpha=0.1, **NEWTON)], ids=repr)
@pytest.mark.parametrize("method", ["one-step", "influence"])
def test_local_methods_take_one_step_with_fills_and_scales_as_after_the_edit(method, last, scaled):
    X, y = holed(6)
    model = make_pipeline(SimpleImputer(), StandardScaler() if scaled else "passthrough", last)
    model.fit(X, y)
    inf = Influence(model, X, y)
    assert "fitted again" not in inf.estimate("loo", method=method).routes
    found = np.log(inf.loo_predict(method=method)) if not hasattr(last, "C") else None
    found = inf.loo_decision_function(method=method) if found is None else found
    filled = SimpleImputer().fit_transform(X)
    mean, size = (filled.mean(axis=0), filled.std(axis=0)) if scaled else (0.0, np.ones(4))
    for i in range(0, N, 6):
        kept = np.delete(np.arange(N), i)
        anew = SimpleImputer().fit(X[kept])
        ratio = anew.transform(X[kept]).std(axis=0) / size if scaled else size
        before, after = ((one - mean) / size for one in (filled, anew.transform(X)))
        truth = one_step(model[-1], before, after, ratio, y, i, method)
        np.testing.assert_allclose(found[i], truth, rtol=1e-9)


@pytest.mark.parametrize("method", ["one-step", "influence"])
@pytest.mark.parametrize("balanced", [False, True], ids=["", "balanced"])
def test_local_steps_of_several_classes_are_those_of_steps_fitted_again(balanced, method):
    X, _ = holed(9)
    y = np.digitize(X[:, 3], [1.6, 2.5])
    last = logistic(class_weight="balanced" if balanced else None)
    inf = Influence(make_pipeline(SimpleImputer(), last).fit(X, y), X, y)
    whole, rows = whole_pipeline(inf, method), np.arange(0, N, 5)
    again = np.concatenate(whole.group_values(rows[:, None], method))
    # Of balanced weights and fills what is of second order in both is not in the first.
    close = 0.1 if balanced and method == "influence" else 1e-10
    change = np.linalg.norm(again - inf.objective.eta[rows])
    assert np.linalg.norm(whole.own_values(rows, method, 1e-3) - again) < close * change
    ask = {"of": "decision_function", "method": method}
    effects = inf.removal_effect(X[:4], indices=rows[:3], **ask)
    one_by_one = [without(inf.objective, y, rows[[k]]) for k in range(3)]
    for k, one in whole.again(method).each(one_by_one, [X[:4]] * 3, method):
        expected = inf.objective.loss.expand(one.eta - inf.objective.eta[:4])
        assert np.linalg.norm(effects[:, k] - expected) < close * np.linalg.norm(expected)


def test_a_forgotten_fill_is_seen(monkeypatch):
    """What the scaler makes of it alone is not the answer."""
    X, y = holed(7)
    monkeypatch.setattr(
        FilledCells, "moved_rows", lambda self, which, v: (np.zeros_like(v), np.zeros(len(v)))
    )
    model = make_pipeline(SimpleImputer(), StandardScaler(), logistic())
    with pytest.raises(AssertionError):
        check(model, X, y)


def test_a_bound_that_forgets_that_rows_moved_is_no_bound():
    """Errors stay below the bounds, at every tolerance."""
    X, y = holed(8, share=0.4)
    model = make_pipeline(SimpleImputer(), StandardScaler(), logistic(C=10.0)).fit(X, y)
    inf = Influence(model, X, y)
    tests = np.nan_to_num(X[:5], nan=1.0)
    for i in range(0, N, 6):
        found = inf.effect(edits.remove(i), tests, of="decision_function", tol=0.3)
        assert found.route == "fills moved"
        exact = inf.effect(edits.remove(i), tests, of="decision_function", method="exact")
        lengths = np.sqrt(
            inf.answers.edit_solver().factor.leverages(
                inf.answers.problem.design.like(model[:-1].transform(tests))
            )[:, 0, 0]
        )
        grown = 1.0 / (1.0 - found.leverage)
        error = np.abs(found.values - exact.values)
        assert (error <= 2.0 * lengths * np.sqrt(grown) * found.bound + 1e-9).all()
