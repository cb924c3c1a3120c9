"""Steps that the models of one prediction have each for itself, and in common: they stand before all."""

import copy
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, _safe_indexing

from skinfluence._utils.stacking import n_rows
from skinfluence._utils.untouched import transformed

VOTES = (VotingClassifier, VotingRegressor)
SEVERAL = (OneVsRestClassifier, MultiOutputClassifier, MultiOutputRegressor, *VOTES)
# Rows at which steps are compared.
SEEN = 256


@dataclass(frozen=True, eq=False)
class Shared:
    """Steps inside the models of one prediction.

    Attributes
    ----------
    steps : list of (str, transformer)
        Of the first model.
    others : list of list of transformer
        Of each of the others.
    inside : estimator
        The prediction of the models behind them.
    one_target : bool
        Whether all are fitted to the same targets.
    """

    steps: list
    others: list
    inside: object
    one_target: bool


def steps_of(pipeline):
    """The steps of a pipeline before its last, but for those that do nothing."""
    return [(name, s) for name, s in pipeline.steps[:-1] if s not in (None, "passthrough")]


def shared_steps(estimator):
    """What the models of a vote, or a model for each class or target, go through in the same way.

    Parameters
    ----------
    estimator : estimator
        Fitted or not.

    Returns
    -------
    shared : Shared or None
        None where not each of them is a pipeline of steps of the same names and kinds, in a vote of the same
        parameters, too.
    """
    if not isinstance(estimator, SEVERAL):
        return None
    fitted = getattr(estimator, "estimators_", None)
    models = _given(estimator) if fitted is None else fitted
    if not models or not all(isinstance(one, Pipeline) for one in models):
        return None
    steps = [steps_of(one) for one in models]
    votes = isinstance(estimator, VOTES)
    # Those of votes may be others in each, which are asked one by one.
    kinds = [[(name, type(one), repr(one) if votes else "") for name, one in own] for own in steps]
    if not kinds[0] or any(own != kinds[0] for own in kinds):
        return None
    return Shared(
        steps[0],
        [[one for _, one in own] for own in steps[1:]],
        _behind(estimator, fitted),
        votes or len(models) == 1,
    )


def _given(estimator):
    """The models of an estimator that is not fitted."""
    if isinstance(estimator, VOTES):
        return [one for _, one in estimator.estimators if not isinstance(one, str)]
    return [estimator.estimator]


def _last(model):
    return model.steps[-1][1] if isinstance(model, Pipeline) else model


def _behind(estimator, fitted):
    """A copy whose models are those at the ends of the pipelines."""
    inside = copy.copy(estimator)
    for name in ("feature_names_in_", "n_features_in_"):
        vars(inside).pop(name, None)
    if isinstance(estimator, VOTES):
        inside.estimators = [(name, _last(one)) for name, one in estimator.estimators]
    else:
        inside.estimator = _last(estimator.estimator)
    if fitted is None:
        return inside
    inside.estimators_ = [_last(one) for one in fitted]
    if hasattr(estimator, "named_estimators_"):
        named = {name: _last(one) for name, one in estimator.named_estimators_.items()}
        inside.named_estimators_ = Bunch(**named)
    seen = getattr(inside.estimators_[0], "n_features_in_", None)
    if not isinstance(estimator, VOTES) and seen is not None:
        inside.n_features_in_ = seen
    return inside


def refuse_other_steps(estimator, shared, X, before, supervised):
    """Refuse steps that do not give each model the same rows.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    shared : Shared
        Of it.
    X : array-like
        Raw rows.
    before : list of transformer
        What they go through first.
    supervised : list of str
        Names of steps whose fit looks at the targets.

    Raises
    ------
    TypeError
    """
    n = n_rows(X)
    some = _safe_indexing(X, np.unique(np.linspace(0, n - 1, min(n, SEEN)).astype(np.intp)))
    rows = transformed(before, some)
    first = _plain(transformed([one for _, one in shared.steps], rows))
    differ = any(not _same(first, _plain(transformed(own, rows))) for own in shared.others)
    if not differ and (shared.one_target or not supervised):
        return
    why = "they are fitted to the targets of each" if supervised else "they give each other rows"
    names = ", ".join(supervised or [one for one, _ in shared.steps])
    own = _own_targets(estimator)
    raise TypeError(
        f"Steps inside the models of a {type(estimator).__name__} must be the same in all of them. Got "
        f"{names}: {why}. Ask about one model at a time: Influence(model.estimators_[k], X, {own})."
    )


def where_inside(estimator):
    """Where pipelines are that stand inside several models, as code behind a refusal; else nothing."""
    if shared_steps(estimator) is None:
        return ""
    return f" Here pipeline, y = model.estimators_[k], {_own_targets(estimator)}."


def _own_targets(estimator):
    """What one of the models was fitted to, as code."""
    if isinstance(estimator, VotingClassifier):
        return "model.le_.transform(y)"
    if isinstance(estimator, VotingRegressor):
        return "y"
    if isinstance(estimator, OneVsRestClassifier) and not estimator.multilabel_:
        return "y == model.classes_[k]"
    return "y[:, k]"


def _plain(X):
    X = X.to_numpy() if hasattr(X, "to_numpy") else X
    return X.toarray() if sp.issparse(X) else np.asarray(X)


def _same(one, other):
    if one.shape != other.shape:
        return False
    if one.dtype.kind not in "fiub" or other.dtype.kind not in "fiub":
        return bool((one == other).all())
    return bool(np.array_equal(one, other, equal_nan=True))
