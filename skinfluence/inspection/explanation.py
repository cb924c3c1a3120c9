"""Why this prediction: the training rows behind it, and the features they act through."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import is_classifier
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing

from skinfluence import edits
from skinfluence._utils._optional import require
from skinfluence._utils.influences import influence_of
from skinfluence._utils.untouched import transformed
from skinfluence.influence import Influence
from skinfluence.inspection.refits import refitted


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """A prediction, what it is made of, and which training rows it rests on. Made by `explain`.

    Attributes
    ----------
    prediction : object
        The predicted class or number.
    probability : float or None
        Of the predicted class, where the model has probabilities.
    decision : float
        The decision value for the predicted class: log odds of a logistic model of two classes; the
        linear predictor of a regressor.
    features : DataFrame or None
        Of a model with coefficients: ``feature``, its ``value`` as the model sees it and its
        ``contribution`` to the decision value, the largest first. With the intercept, which is a line
        of its own, all contributions sum to ``decision``, or of a ``TransformedTargetRegressor`` to what its
        regressor predicts; lines beyond those asked for are one.
    rows : DataFrame
        Of the training rows: ``row`` (position), ``given`` target; ``side``, "for" where the decision
        value falls without the row, "against" where it rises; ``effect`` of removing it on the decision
        value; ``prediction`` and ``probability`` (of the class predicted with it) without it;
        ``through``, the features whose contributions that changes most; ``refit``, the effect by a true
        refit, NaN where none was made.
    left_out : int or None
        The training row that is explained by the model without it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence import Influence
    >>> from skinfluence.inspection import explain
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = LogisticRegression(max_iter=5000, tol=1e-8).fit(X, y)
    >>> found = explain(Influence(model, X, y), row=70)
    >>> round(float(found.probability), 2), sorted(set(found.rows["side"]))
    (0.6, ['against', 'for'])
    """

    prediction: Any
    probability: float | None
    decision: float
    features: Any
    rows: Any
    left_out: int | None

    @property
    def largest_difference(self):
        """Between predicted and refitted effects, relative to the largest of them; NaN without refits."""
        known = self.rows.dropna(subset=["refit"])
        if not len(known):
            return np.nan
        scale = max(known["refit"].abs().max(), np.finfo(float).tiny)
        return float((known["effect"] - known["refit"]).abs().max() / scale)

    def to_frame(self, X=None):
        """The rows, beside what they are.

        Parameters
        ----------
        X : DataFrame or array-like of n_train rows, default=None
            Something to show of each training row.

        Returns
        -------
        frame : DataFrame
        """
        frame = self.rows.assign(through=[in_words(one) for one in self.rows["through"]])
        if X is None:
            return frame
        pd = require("pandas", extra="audit")
        shown = _safe_indexing(X, self.rows["row"].to_numpy())
        shown = shown if hasattr(shown, "columns") else pd.DataFrame(np.asarray(shown))
        shown = shown.reset_index(drop=True)
        shown.columns = [one if isinstance(one, str) else f"x{one}" for one in shown.columns]
        taken = {name: f"{name} (row)" for name in shown.columns if name in frame.columns}
        return pd.concat([frame, shown.rename(columns=taken)], axis=1)

    def __repr__(self):
        sure = "" if self.probability is None else f", probability={self.probability:.3g}"
        lines = [f"Explanation(prediction={self.prediction}{sure}, decision={self.decision:.3g})"]
        for side in ("for", "against"):
            some = self.rows[self.rows["side"] == side].head(3)
            for line in some.to_dict("records"):
                lines.append(
                    f"  {side}: row {line['row']} ({line['given']}), {line['effect']:+.3g} without it"
                    f"{' through ' + in_words(line['through'][:3]) if line['through'] else ''}"
                )
        return "\n".join(lines)

    def _repr_html_(self):
        from html import escape

        head = escape(repr(self).partition("\n")[0])
        parts = [f"<p><code>{head}</code></p>"]
        if self.features is not None:
            parts.append(self.features.to_html(index=False))
        return "".join([*parts, self.to_frame().to_html(index=False)])


def in_words(through):
    """Features and by how much each changes the decision value."""
    return ", ".join(f"{name} {change:+.2g}" for name, change in through)


def explain(influence, X=None, *, row=None, k=5, n_features=8, checks=1, names=None, method="auto"):
    """Say which training rows a prediction rests on, through which features, and check it.

    Parameters
    ----------
    influence : Influence or estimator
        Of the fitted model or pipeline and its training rows; or an estimator of skinfluence.
    X : array-like of shape (1, n_features), default=None
        The row whose prediction is explained.
    row : int, default=None
        A training row instead: its prediction by the model without it.
    k : int, default=5
        How many rows for and how many against the prediction.
    n_features : int, default=8
        How many features, of the prediction and of each row.
    checks : int, default=1
        How many rows for and against to refit without.
    names : list of str, default=None
        Of the features that the last step sees. From the pipeline or the columns by default.
    method : {"auto", "one-step", "exact", "influence"}, default="auto"
        How the rows are found. Their effects are those of the model fitted without them, transformers
        and all, from optimum to optimum; :meth:`~skinfluence.Influence.edited` has them without a refit.

    Returns
    -------
    explanation : Explanation

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence import Influence
    >>> from skinfluence.inspection import explain
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = LogisticRegression(max_iter=5000, tol=1e-8).fit(X, y)
    >>> found = explain(Influence(model, X, y), row=70)
    >>> int(found.prediction), bool(found.largest_difference < 1e-3)
    (2, True)
    >>> found.features["feature"][0], int(found.rows["row"][0])
    ('petal length (cm)', 106)
    """
    if (X is None) == (row is None):
        raise ValueError(
            "explain needs either X, one row, or row=, the position of a training row."
        )
    influence = influence_of(influence, "Explanations are of")
    numbers = {"k": k, "n_features": n_features, "checks": checks}
    for name, value in numbers.items():
        if int(value) != value or value < 0:
            raise ValueError(f"{name} must be a whole number from 0. Got {value!r}.")
    asked = _Question(influence, X, row)
    influence, X = asked.influence, asked.X
    before = _At(influence.estimator, X, names)
    start = _at_optimum(influence, X, names, before)
    effects = before.of_class(influence.removal_effect(X, of="decision_function", method=method)[0])
    lines = []
    for sign in (1.0, -1.0):
        for number, at in enumerate(_largest(-sign * effects, k)):
            lines.append(_line(asked, at, names, before, start, n_features, number < checks))
    # Found with the transformers held, told apart and ordered by what is reported.
    lines.sort(key=lambda line: (line["side"] == "against", -abs(line["effect"])))
    pd = require("pandas", extra="audit")
    columns = "row given side effect prediction probability through refit".split()
    return Explanation(
        prediction=before.prediction,
        probability=before.probability,
        decision=before.decision,
        features=before.table(n_features),
        rows=pd.DataFrame(lines, columns=columns),
        left_out=asked.row,
    )


class _Question:
    """The row to explain, and the model to explain: without the row where it is one of its own.

    Attributes
    ----------
    influence : Influence
    X : array-like of shape (1, n_features)
    row : int or None
    y, positions : ndarray
        Targets of its training rows, and what their numbers are to the user.
    """

    def __init__(self, influence, X, row):
        y, positions = influence.data.y, np.arange(influence.objective.n_samples)
        if row is not None:
            (row,) = influence.data.positions(np.array([row]))
            X, weight = influence.data.inputs.raw_rows([row]), influence.objective.sample_weight
            positions = np.delete(positions, row)
            raw, y = influence.data.inputs.raw_rows(positions), y[positions]
            weight = None if weight is None else weight[positions]
            influence = Influence(influence.edited(edits.remove(row)).estimator, raw, y, weight)
        texts = len(np.shape(X)) == 1 and all(isinstance(one, str) for one in X)
        if (len(np.shape(X)) != 2 and not texts) or np.shape(X)[0] != 1:
            raise ValueError(
                "X must be one row of shape (1, n_features), such as X[:1] or X.iloc[[0]]. "
                f"Got shape {np.shape(X)}."
            )
        self.influence, self.X, self.row = influence, X, None if row is None else int(row)
        self.y, self.positions = y, positions


def _at_optimum(influence, X, names, before):
    """The prediction at the optimum, from which effects are."""
    # Giving a row the weight it has changes nothing but where a fit stopped.
    weight = influence.objective.sample_weight
    same = edits.reweight(0, 1.0 if weight is None else weight[0])
    return _At(influence.edited(same).estimator, X, names, before)


def _line(asked, at, names, before, start, n_features, check):
    """A training row in the table of an explanation."""
    after = _At(asked.influence.edited(edits.remove(at)).estimator, asked.X, names, before)
    effect, refit = after.decision - start.decision, np.nan
    if check:
        model, *_ = refitted(asked.influence, at)
        refit = _At(model, asked.X, names, before).decision - start.decision
    return {
        "row": int(asked.positions[at]),
        "given": asked.y[at],
        "side": "for" if effect < 0 else "against",
        "effect": effect,
        "prediction": after.prediction,
        "probability": np.nan if after.probability is None else after.probability,
        "through": after.changes_from(start, n_features),
        "refit": refit,
    }


def ways_through(influence, X, rows, n_features, names=None):
    """The features that training rows act through on the prediction of one row.

    Parameters
    ----------
    influence : Influence
    X : array-like of shape (1, n_features)
        What is predicted.
    rows : array-like of int
        Training rows.
    n_features : int
        How many features, the strongest first.
    names : list of str, default=None
        As in :func:`explain`.

    Returns
    -------
    through : list of tuple
        For each row, names of features and the change of their part in the decision value for the
        predicted class when the row is dropped; empty where the model has no coefficients.
    """
    model = influence.estimator
    model = model[-1] if isinstance(model, Pipeline) else model
    if not hasattr(model, "coef_") or sp.issparse(model.coef_):
        return [()] * len(rows)
    before = _At(influence.estimator, X, names)
    start = _at_optimum(influence, X, names, before)
    found = []
    for row in rows:
        after = _At(influence.edited(edits.remove(int(row))).estimator, X, names, before)
        found.append(after.changes_from(start, n_features))
    return found


class _At:
    """What an estimator makes of one row: for one class, the one that it or another one predicts."""

    def __init__(self, estimator, X, names, other=None):
        model = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        self.prediction = estimator.predict(X)[0]
        self.label = self.prediction if other is None else other.label
        self.classes = model.classes_ if is_classifier(model) else None
        self.probability = None
        if self.classes is not None and hasattr(estimator, "predict_proba"):
            self.probability = float(self.of_class(estimator.predict_proba(X)[0]))
        self.parts, self.values = None, {}
        inner = model.regressor_ if isinstance(model, TransformedTargetRegressor) else model
        if hasattr(inner, "coef_") and not sp.issparse(inner.coef_):
            self._take_apart(estimator, inner, X, names)
        if self.classes is None and (self.parts is None or inner is not model):
            # Where targets went through a curve the parts add up to what it is undone on.
            self.decision = float(self.prediction)
        elif self.parts is None:
            if not hasattr(estimator, "decision_function"):
                raise TypeError(
                    f"explain needs decision values. Got {type(model).__name__}, which has none; ask "
                    "Influence.top which training rows the loss of a row rests on."
                )
            self.decision = float(self.of_class(np.asarray(estimator.decision_function(X))[0]))

    def of_class(self, values):
        """Of values for all classes, or of one for the second of two, those for the class."""
        if self.classes is None:
            return values
        at = int(np.flatnonzero(self.classes == self.label)[0])
        if values.ndim and values.shape[-1] == len(self.classes) and values.ndim == 2:
            return values[:, at]
        if values.ndim == 1 and values.shape == (len(self.classes),):
            return values[at]
        return values if at == 1 else -values

    def _take_apart(self, estimator, model, X, names):
        before = estimator[:-1] if isinstance(estimator, Pipeline) else None
        Z = X if before is None else transformed([before], X)
        if names is None:
            names = _names(before, X, Z)
        row = Z.toarray()[0] if sp.issparse(Z) else np.asarray(Z, dtype=float)[0]
        coef, intercept = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
        at, sign = 0, 1.0
        if self.classes is not None:
            at = int(np.flatnonzero(self.classes == self.label)[0])
            if len(coef) == 1:
                at, sign = 0, 1.0 if at == 1 else -1.0
        products = sign * coef[at] * row
        seen = np.flatnonzero((row != 0) | (products != 0))
        self.parts = {str(names[j]): float(products[j]) for j in seen}
        self.values = {str(names[j]): float(row[j]) for j in seen}
        self.intercept = float(sign * np.broadcast_to(intercept, len(coef))[at])
        self.decision = float(products.sum() + self.intercept)

    def table(self, n):
        """Contributions of the features, the largest first, the rest in one line."""
        if self.parts is None:
            return None
        pd = require("pandas", extra="audit")
        ranked = sorted(self.parts, key=lambda name: -abs(self.parts[name]))
        lines = [
            {"feature": name, "value": self.values[name], "contribution": self.parts[name]}
            for name in ranked[:n]
        ]
        rest = ranked[n:]
        if rest:
            total = sum(self.parts[name] for name in rest)
            lines.append({"feature": f"{len(rest)} others", "value": np.nan, "contribution": total})
        lines.append({"feature": "intercept", "value": 1.0, "contribution": self.intercept})
        return pd.DataFrame(lines)

    def changes_from(self, before, n):
        """The features whose contributions differ most, and by how much."""
        if self.parts is None or before.parts is None:
            return ()
        changes = {
            name: self.parts.get(name, 0.0) - before.parts.get(name, 0.0)
            for name in {**before.parts, **self.parts}
        }
        ranked = sorted(changes, key=lambda name: -abs(changes[name]))
        return tuple((name, changes[name]) for name in ranked[:n] if changes[name])


def _names(before, X, Z):
    if before is not None:
        try:
            return before.get_feature_names_out()
        except (AttributeError, NotImplementedError, ValueError):
            pass
    if before is None and hasattr(X, "columns"):
        return [str(name) for name in X.columns]
    if hasattr(Z, "columns"):
        return [str(name) for name in Z.columns]
    return [f"x{j}" for j in range(Z.shape[1])]


def _largest(values, k):
    """Positions of the k largest positive values, the largest first."""
    values = np.where(np.isfinite(values), values, -np.inf)
    order = np.argsort(-values, kind="stable")[:k]
    return order[values[order] > 0]
