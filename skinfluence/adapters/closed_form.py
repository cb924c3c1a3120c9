"""Naive Bayes, discriminant analysis and nearest neighbours: models in closed form."""

import numpy as np
import scipy.sparse as sp
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.utils import column_or_1d

from skinfluence._utils._compat import rows_of_neighbours
from skinfluence._utils.validation import check_rows, check_sample_weight, check_targets
from skinfluence.design import design_of
from skinfluence.losses import SquaredError
from skinfluence.objective import Labels, objective_of

# What a fit in this precision and ours may differ by, of the largest score.
SAME = {np.dtype(np.float64): 1e-7, np.dtype(np.float32): 1e-3}
# Rows that are scored where what was counted is the same.
FEW = 64


@objective_of.register
def _(model: GaussianNB, X, y, sample_weight=None):
    from skinfluence.closed_form.gaussian import GaussianFamily

    X, codes, weights = _rows(model, X, y, sample_weight)
    family = made(
        GaussianFamily, X, codes, weights, len(model.classes_), model.priors, model.var_smoothing
    )
    return _problem(
        model,
        family,
        "Gaussian naive Bayes",
        model.predict_joint_log_proba,
        parts=lambda: zip((model.theta_, model.var_), family.moments, strict=True),
    )


@objective_of.register
def _(model: MultinomialNB, X, y, sample_weight=None):
    from skinfluence.closed_form.counting import MultinomialFamily

    return _counting(model, MultinomialFamily, "multinomial naive Bayes", X, y, sample_weight)


@objective_of.register
def _(model: ComplementNB, X, y, sample_weight=None):
    from skinfluence.closed_form.counting import ComplementFamily

    name = "complement naive Bayes"
    return _counting(model, ComplementFamily, name, X, y, sample_weight, norm=model.norm)


@objective_of.register
def _(model: BernoulliNB, X, y, sample_weight=None):
    from skinfluence.closed_form.counting import BernoulliFamily

    name, threshold = "Bernoulli naive Bayes", model.binarize
    return _counting(model, BernoulliFamily, name, X, y, sample_weight, threshold=threshold)


@objective_of.register
def _(model: LinearDiscriminantAnalysis, X, y, sample_weight=None):
    from skinfluence.closed_form.discriminants import LinearFamily

    _refuse_shrinkage(model)
    X, codes, weights = _rows(model, X, y, _none(model, sample_weight))
    pooled = model.solver == "svd"
    families = [
        made(
            LinearFamily,
            X,
            codes,
            weights,
            len(model.classes_),
            _given(model.priors),
            pooled=pooled,
            corrected=corrected,
            centred=pooled,
        )
        for corrected in ((False, True) if pooled else (False,))
    ]
    return _problem(model, families, "linear discriminant analysis", model.decision_function)


@objective_of.register
def _(model: QuadraticDiscriminantAnalysis, X, y, sample_weight=None):
    from skinfluence.closed_form.discriminants import QuadraticFamily

    _refuse_shrinkage(model)
    X, codes, weights = _rows(model, X, y, _none(model, sample_weight))
    svd = getattr(model, "solver", "svd") == "svd"
    options = {"shrinkage": model.reg_param if svd else 0.0}
    given = X, codes, weights, len(model.classes_), _given(model.priors)
    name = "quadratic discriminant analysis"
    try:
        family = made(QuadraticFamily, *given, corrected=False, **options)
        return _problem(model, family, name, model.decision_function)
    except ValueError:
        # Other versions of scikit-learn divide by one row less.
        family = made(QuadraticFamily, *given, corrected=True, **options)
        return _problem(model, family, name, model.decision_function)


@objective_of.register
def _(model: NearestCentroid, X, y, sample_weight=None):
    from skinfluence.closed_form.centroids import CentroidFamily, Centroids

    if model.metric != "euclidean" or model.shrink_threshold:
        raise ValueError(
            "Centroids must be the means of their classes. Got "
            f"metric={model.metric!r}, shrink_threshold={model.shrink_threshold!r}, which make something "
            "else of them. Fit with metric='euclidean' and without shrinking."
        )
    if sp.issparse(X):
        raise ValueError("Centroids are known of dense rows. Got sparse ones; pass X.toarray().")
    X, codes, weights = _rows(model, X, y, _none(model, sample_weight))
    priors = None
    if not (isinstance(model.priors, str) and model.priors == "empirical"):
        priors = np.asarray(model.class_prior_, dtype=float)
    family = made(CentroidFamily, X, codes, weights, len(model.classes_), priors)
    loss = Centroids(len(model.classes_), as_ratio=True)
    return _problem(
        model,
        family,
        "nearest centroids",
        model.decision_function,
        loss=loss,
        parts=lambda: [(model.centroids_, family.means)],
    )


@objective_of.register
def _(model: KNeighborsClassifier, X, y, sample_weight=None):
    X, codes, weights = _rows(model, X, y, _none(model, sample_weight))
    family = _neighbours(model, X, codes, weights, len(model.classes_))
    return _problem(
        model,
        family,
        "nearest neighbours",
        model.predict_proba,
        votes=True,
        parts=_held_rows(model, family),
    )


@objective_of.register
def _(model: KNeighborsRegressor, X, y, sample_weight=None):
    y = check_targets(X, y)
    weights = check_sample_weight(_none(model, sample_weight), X.shape[0])
    family = _neighbours(model, X, y, weights, None)
    parts = _held_rows(model, family)
    return _problem(model, family, "nearest neighbours", model.predict, parts=parts)


def _held_rows(model, family):
    """Pairs of the rows and targets that a fit of neighbours holds, and those of a family, for arrays."""
    held = rows_of_neighbours(model)
    if not all(isinstance(one, np.ndarray) for one in (*held, family.X)):
        return None
    return lambda: zip(held, (family.X, family.codes), strict=True)


def _rows(model, X, y, sample_weight):
    """Rows, positions of their classes and weights."""
    y = column_or_1d(y)
    check_rows(X, y)
    classes = np.asarray(model.classes_)
    if len(classes) < 2:
        raise ValueError(f"The model must have two classes or more. Got {len(classes)}.")
    codes = Labels.by_position(classes).codes(y)
    return X, codes, check_sample_weight(sample_weight, X.shape[0])


def _counting(model, family, name, X, y, sample_weight, **options):
    X, codes, weights = _rows(model, X, y, sample_weight)
    alpha = np.asarray(model.alpha, dtype=float)
    if not model.force_alpha:
        alpha = np.maximum(alpha, 1e-10)
    if not (alpha > 0).all():
        raise ValueError(
            f"alpha must be positive: a word that a class has not seen scores minus infinity. Got {alpha}. "
            "Fit with alpha=1e-10."
        )
    priors = model.class_prior
    if priors is None and not model.fit_prior:
        priors = np.full(len(model.classes_), 1.0 / len(model.classes_))
    found = made(family, X, codes, weights, len(model.classes_), alpha, _given(priors), **options)
    counts = (model.feature_count_, model.class_count_)
    return _problem(
        model,
        found,
        name,
        model.predict_joint_log_proba,
        parts=lambda: zip(counts, (found.features, found.counts), strict=True),
    )


def _neighbours(model, X, codes, weights, n_classes):
    from skinfluence.closed_form.neighbours import NeighbourFamily

    if np.ndim(codes) != 1:
        raise ValueError("Targets must be one column. Ask about one column at a time.")
    names = ("n_neighbors", "algorithm", "leaf_size", "metric", "p", "metric_params", "n_jobs")
    search = {name: getattr(model, name) for name in names}
    return made(NeighbourFamily, X, codes, weights, n_classes, model.weights, search)


def _given(priors):
    """Priors that sum to one, or None."""
    if priors is None:
        return None
    priors = np.asarray(priors, dtype=float)
    return priors


def _none(model, sample_weight):
    if sample_weight is not None and len(np.unique(sample_weight)) > 1:
        raise ValueError(
            f"{type(model).__name__} has no weights: sample_weight must be None. Got weights that differ."
        )
    return None


def _refuse_shrinkage(model):
    for name in ("shrinkage", "covariance_estimator"):
        value = getattr(model, name, None)
        if value is not None:
            raise ValueError(
                f"The covariances of {type(model).__name__} must be those of the rows. Got {name}={value!r}, "
                "which makes something else of them. Fit without; QuadraticDiscriminantAnalysis has "
                "reg_param."
            )


def made(family, *args, **options):
    """A family; what keeps it from being one as an error about the fit."""
    from skinfluence.closed_form.family import NoModelError

    try:
        return family(*args, **options)
    except NoModelError as error:
        raise ValueError(
            f"The model must be one that all its columns and rows determine. {error} {family.determined_by}"
        ) from error


def _problem(model, families, name, fitted_scores, votes=False, loss=None, parts=None):
    """The problem of the family that gives the scores of the fit.

    Several are the same but for what versions of scikit-learn divide by. Where ``parts`` gives pairs of what
    the fit and a family have counted, a few rows are scored to see that they do the same with it.
    """
    from skinfluence.closed_form import answers as _answers  # noqa: F401  registers the answers
    from skinfluence.closed_form.problem import ClosedProblem, Posterior, Votes

    families = families if isinstance(families, list) else [families]
    n_classes = families[0].n_classes
    labels = None
    if n_classes is None:
        loss = SquaredError()
    else:
        as_ratio = hasattr(model, "decision_function")
        if loss is None:
            loss = Votes(n_classes) if votes else Posterior(n_classes, as_ratio)
        labels = Labels.by_position(model.classes_)
    family = _of_fit(model, families, loss, fitted_scores, parts)
    X = family.X
    return ClosedProblem(
        design_of(X, 0.0),
        family.codes,
        family.weights,
        family,
        loss,
        labels,
        name,
        needs_all_classes=not votes and n_classes is not None,
    )


def _of_fit(model, families, loss, fitted_scores, parts):
    every = families[0].X
    precision = SAME[np.dtype(np.float32)] if _is_single(model) else SAME[np.dtype(np.float64)]
    few = np.linspace(0, every.shape[0] - 1, min(FEW, every.shape[0])).astype(np.intp)
    counted = parts is not None and all(
        np.shape(one) == np.shape(own)
        and _near(own, np.asarray(one, dtype=float), precision, least=0.0).all()
        for one, own in parts()
    )
    for X in [every[few], every] if counted else [every]:
        expected = np.asarray(fitted_scores(X), dtype=float).reshape(X.shape[0], -1)
        if np.isnan(expected).any():
            raise ValueError(
                "A fitted model must have a score for each class. Got NaN for a row it was fitted on: where "
                "no column varies there is no variance, say. Drop rows that are the same, or fit on columns "
                "that vary."
            )
        for family in families:
            found = np.asarray(loss.expand(family.scores(X))).reshape(X.shape[0], -1)
            wrong = ~_near(found, expected, precision).all(axis=1)
            if not wrong.any() or (X is every and _are_ties(family, wrong)):
                return family
    half = ""
    if _is_half(every):
        half = (
            " Of rows in half precision (float16) sums lose their digits: fit on X.astype(float)."
        )
    raise ValueError(
        "X, y and sample_weight must be those of the fit, the rows in the same order. Got others: the scores "
        f"of row {int(np.flatnonzero(wrong)[0])} are not those of the fitted model. Pass what was given to "
        f"fit.{half}"
    )


def _near(found, expected, precision, least=1.0):
    """Which numbers are those that were expected, to a share of the largest of these, and of ``least``."""
    return np.abs(found - expected) <= precision * (np.abs(expected).max() + least)


def _are_ties(family, wrong):
    """Whether rows have other neighbours because several are at one distance."""
    if not hasattr(family, "found") or family.X.shape[0] <= family.k:
        return False
    rows = family.X[np.flatnonzero(wrong)]
    distances, _ = family.found.kneighbors(rows, family.k + 1)
    return bool(np.isclose(distances[:, -2], distances[:, -1], rtol=1e-9).all())


def _is_half(X):
    """Whether numbers that are not whole have no more digits than half precision has."""
    values = X.data if sp.issparse(X) else X
    with np.errstate(over="ignore"):
        return bool(
            (values != np.round(values)).any() and (values.astype(np.float16) == values).all()
        )


def _is_single(model):
    for name in ("var_", "coef_", "feature_log_prob_", "means_"):
        if getattr(np.asarray(getattr(model, name, None)), "dtype", None) == np.float32:
            return True
    return False
