"""Raw rows, and the transformers before the model: up to three of them, one inside another."""

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif, f_regression
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

WORDS = "ham egg tea oil rye fig nut pea".split()


def draw_rows(rng, n, tame):
    """Raw rows and a signal in them.

    Parameters
    ----------
    rng : Generator
    n : int
    tame : bool
        Whether the solver of the model wants columns near zero.

    Returns
    -------
    X : ndarray, DataFrame or list of str
    signal : ndarray of shape (n,)
    """
    kind = rng.choice(["numbers", "table", "texts"], p=[0.65, 0.22, 0.13])
    if kind == "texts":
        X = [" ".join(rng.choice(WORDS, int(rng.integers(1, 6)))) for _ in range(n)]
        for i in rng.choice(n, 2, replace=False):
            X[i] += f" word{i}"
        return X, np.array([text.count("egg") - text.count("tea") for text in X], dtype=float)
    d = int(rng.integers(2, 6))
    tail = rng.uniform(0, 0.8 if tame else 1.6)
    X = rng.standard_normal((n, d)) * np.exp(tail * rng.standard_normal((n, d)))
    signal = X[:, 0] - np.median(X[:, 0])
    signal = signal / (np.abs(signal).mean() or 1.0)
    X = X + (0.0 if tame else rng.choice([0.0, 0.0, 30.0]))
    if rng.random() < 0.15:
        X[:, -1] = 2.0
        if rng.random() < 0.7:
            # One row decides the column.
            X[int(rng.integers(n)), -1] = 5.0
    if rng.random() < 0.3:
        # Ties at the extremes.
        X[:, 1] = np.round(X[:, 1])
    if rng.random() < 0.25:
        missing = rng.random((n, d)) < 0.08
        if rng.random() < 0.5:
            # In one column: a row with a hole then moves no fill.
            missing &= np.arange(d) == rng.integers(d)
        X[missing] = np.nan
        X[0] = np.nan_to_num(X[0])
    if kind == "numbers":
        return X, signal
    X = pd.DataFrame(X, columns=[f"x{j}" for j in range(d)])
    X["shape"] = rng.choice(["round", "long"], n, p=[0.8, 0.2])
    X["colour"] = rng.choice(["red", "green", "blue"], n, p=[0.6, 0.3, 0.1])
    X.loc[int(rng.integers(n)), "colour"] = "violet"
    return X, signal + (X["shape"] == "round")


def stacked(X, more):
    """Raw rows and containers of one row each below them."""
    if not more:
        return X
    if isinstance(X, list):
        return [*X, *(row for one in more for row in one)]
    if isinstance(X, np.ndarray):
        return np.vstack([X, *more])
    return pd.concat([X, *more], ignore_index=True)


def draw_steps(rng, X, y):
    """Transformers for raw rows, and what they are in words."""
    if isinstance(X, list):
        steps = _of_texts(rng)
    elif isinstance(X, np.ndarray):
        steps = _of_numbers(rng, X, y)
    else:
        steps = _of_tables(rng, X, y)
    return steps, " > ".join(" ".join(str(one).split()) for one in steps)


def scaler(rng):
    """A scaler with some of its options."""
    kind = rng.choice(["standard", "standard", "standard", "min-max", "max-abs", "robust"])
    if kind == "standard":
        options = [{}, {}, {"with_mean": False}, {"with_std": False}]
        return StandardScaler(**options[int(rng.integers(4))])
    if kind == "min-max":
        options = [{}, {"clip": True}, {"feature_range": (-1, 2)}]
        return MinMaxScaler(**options[int(rng.integers(3))])
    if kind == "max-abs":
        return MaxAbsScaler()
    options = [{}, {"with_centering": False}, {"with_scaling": False}]
    options += [{"quantile_range": (10.0, 80.0), "unit_variance": True}]
    return RobustScaler(**options[int(rng.integers(4))])


def imputer(rng):
    """A filler of holes."""
    strategy = str(rng.choice(["mean", "mean", "median", "most_frequent", "constant"]))
    return SimpleImputer(strategy=strategy, add_indicator=bool(rng.random() < 0.2))


def _selection(rng, y):
    score = f_classif if y.dtype.kind == "i" else f_regression
    return SelectKBest(score, k=2 if rng.random() < 0.7 else 1)


def _step(rng, y, n):
    """Any step that takes numbers without holes."""
    makers = [
        lambda: VarianceThreshold(float(rng.choice([0.0, 0.5]))),
        lambda: KBinsDiscretizer(
            3,
            encode=str(rng.choice(["onehot-dense", "ordinal"])),
            strategy=str(rng.choice(["uniform", "quantile"])),
        ),
        lambda: PCA(int(rng.integers(1, 3)), whiten=bool(rng.random() < 0.25), svd_solver="full"),
        lambda: _selection(rng, y),
        lambda: PowerTransformer(),
        lambda: PolynomialFeatures(2, include_bias=False),
        lambda: SplineTransformer(n_knots=3, extrapolation="linear"),
        lambda: QuantileTransformer(n_quantiles=int(min(10, n // 2))),
        lambda: Normalizer(),
        lambda: FeatureUnion([("scaled", scaler(rng)), ("turned", PCA(1, svd_solver="full"))]),
    ]
    weights = np.array([2, 2, 3, 3, 1, 2, 1, 1, 1, 1], dtype=float)
    return makers[rng.choice(len(makers), p=weights / weights.sum())]()


def _of_numbers(rng, X, y):
    steps = []
    if np.isnan(X).any():
        # A scaler looks past holes.
        steps = [imputer(rng)] if rng.random() < 0.75 else [StandardScaler(), imputer(rng)]
    for _ in range(max(int(rng.choice([1, 1, 2, 3])), 1) - (len(steps) > 1)):
        steps.append(scaler(rng) if rng.random() < 0.6 else _step(rng, y, len(X)))
    return steps


def _of_tables(rng, X, y):
    numbers = X.columns[:-2].tolist()
    inner = [imputer(rng)] if X[numbers].isna().any(axis=None) else []
    if rng.random() < 0.85:
        inner.append(scaler(rng))
    if rng.random() < 0.15:
        inner.append(KBinsDiscretizer(3, encode="onehot-dense", strategy="uniform"))
    if rng.random() < 0.2:
        words = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    else:
        limit = [{}, {}, {"min_frequency": 2}, {"max_categories": 2}, {"min_frequency": 0.1}]
        words = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            sparse_output=bool(rng.random() < 0.5),
            drop=[None, None, "first", "if_binary"][int(rng.integers(4))],
            **limit[int(rng.integers(5))],
        )
    parts = [
        ("numbers", make_pipeline(*inner) if inner else "passthrough", numbers),
        ("words", words, ["shape", "colour"]),
    ]
    steps = [ColumnTransformer(parts, sparse_threshold=0.0 if rng.random() < 0.6 else 1.0)]
    dense = steps[0].sparse_threshold == 0.0
    more = rng.random()
    if more < 0.15:
        steps.append(StandardScaler(with_mean=dense))
    elif more < 0.3:
        steps.append(MaxAbsScaler())
    elif more < 0.4:
        steps.append(_selection(rng, y))
    elif more < 0.5 and dense:
        steps.append(PCA(2, svd_solver="full"))
    elif more < 0.6:
        steps.append(VarianceThreshold())
    return steps


def _of_texts(rng):
    options = [{}, {"min_df": 2}, {"max_df": 0.6}, {"max_features": 6}, {"binary": True}]
    options = dict(options[int(rng.integers(5))])
    if rng.random() < 0.5:
        steps = [CountVectorizer(**options)]
        if rng.random() < 0.3:
            steps.append(TfidfTransformer())
    else:
        tf = [{}, {"sublinear_tf": True}, {"norm": "l1"}, {"smooth_idf": False}, {"norm": None}]
        steps = [TfidfVectorizer(**options, **tf[int(rng.integers(5))])]
    more = rng.random()
    if more < 0.2:
        steps.append(StandardScaler(with_mean=False))
    elif more < 0.35:
        steps.append(MaxAbsScaler())
    elif more < 0.5:
        steps.append(TruncatedSVD(2, algorithm="arpack"))
    return steps
