"""What differs between scikit-learn 1.7 and 1.9; nothing else looks at versions or privates."""

import copy

import numpy as np
import sklearn
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute._iterative import IterativeImputer as IterativeImputer
from sklearn.model_selection._search import BaseSearchCV as BaseSearchCV
from sklearn.utils._param_validation import validate_parameter_constraints

SCIKIT_LEARN = tuple(map(int, sklearn.__version__.split(".")[:2]))
L1_REMEDY = (
    "Columns that come and go with a row are followed for two classes: fit OneVsRestClassifier of this "
    "model, or one with an L2 penalty (l1_ratio=0)."
)


def effective_l2(penalty, C, l1_ratio):
    """The factor on ``1/2 |coef|^2`` of a LogisticRegression, 0 for none.

    Parameters
    ----------
    penalty : str or None
        ``"deprecated"`` is the default from scikit-learn 1.8 on, where ``l1_ratio`` and
        ``C=inf`` say everything.
    C : float
    l1_ratio : float or None

    Raises
    ------
    ValueError
        For an L1 part.
    """
    if penalty is None or np.isinf(C):
        return 0.0
    share = l1_share(penalty, C, l1_ratio)
    if share > 0:
        raise ValueError(f"The penalty must be L2. Got an L1 share of {share}. {L1_REMEDY}")
    return 1.0 / C


def l1_share(penalty, C, l1_ratio):
    """The share of L1 in the penalty of a LogisticRegression; parameters as in :func:`effective_l2`."""
    if penalty is None or np.isinf(C):
        return 0.0
    # TODO(scikit-learn 1.10): drop the penalty argument.
    return float({"l1": 1.0, "l2": 0.0}.get(penalty, l1_ratio or 0.0))


def one_against_the_rest(eta):
    """Which class OneVsRestClassifier predicts from decision values (..., n_classes).

    Of several largest ones the first, and before scikit-learn 1.8 the last.
    """
    # TODO(scikit-learn 1.8 as minimum): drop this.
    if SCIKIT_LEARN < (1, 8):
        return eta.shape[-1] - 1 - eta[..., ::-1].argmax(axis=-1)
    return eta.argmax(axis=-1)


def refuse_old_multiclass(model, n_classes):
    """Refuse the one-vs-rest and two-class softmax fits that 1.8 removed."""
    # TODO(scikit-learn 1.8 as minimum): only liblinear on binary problems is left; drop this.
    multi_class = getattr(model, "multi_class", "deprecated")
    one_vs_rest = multi_class == "ovr" or model.solver == "liblinear"
    if n_classes > 2 and one_vs_rest:
        raise ValueError(
            "A classifier of three or more classes must be fitted as one softmax. Got a "
            "one-vs-rest fit (multi_class='ovr' or solver='liblinear'). Use solver='lbfgs', or "
            "wrap the model in OneVsRestClassifier."
        )
    if n_classes == 2 and multi_class == "multinomial":
        raise ValueError(
            "A binary classifier must be fitted with the logistic loss. Got "
            "multi_class='multinomial'; leave multi_class out."
        )


def pca_solver(transformer):
    """The ``svd_solver`` that a fitted PCA used."""
    return transformer._fit_svd_solver


def power_scale(transformer):
    """The scale that a fitted PowerTransformer divides by, 1 without ``standardize``."""
    return transformer._scaler.scale_ if transformer.standardize else 1.0


def imputation_limits(imputer):
    """The smallest and the largest value of each column that a fitted IterativeImputer fills in."""
    return imputer._min_value, imputer._max_value


def counts_and_weighting(vectorizer, texts):
    """The counts inside a fitted TfidfVectorizer and the TfidfTransformer that weights them."""
    return CountVectorizer.transform(vectorizer, texts), vectorizer._tfidf


def column_positions(transformer, X):
    """Positions in X of the columns of each part of a fitted ColumnTransformer, by name.

    Parameters
    ----------
    transformer : ColumnTransformer
    X : array-like of shape (n_rows, n_columns)
        A table may have its columns in another order than in ``fit``.

    Returns
    -------
    positions : dict of str to list of int
    """
    positions = transformer._transformer_to_input_indices
    if not (hasattr(X, "columns") and hasattr(transformer, "feature_names_in_")):
        return positions
    place = {name: i for i, name in enumerate(X.columns)}
    names = transformer.feature_names_in_
    return {part: [place[names[i]] for i in chosen] for part, chosen in positions.items()}


def vote_weights(model):
    """What each model of a fitted vote counts, those that were dropped left out; None for all alike."""
    return model._weights_not_none


def has_several_labels(model):
    """Whether a fitted RidgeClassifier has a column of targets for each label."""
    return model._label_binarizer.y_type_.startswith("multilabel")


def target_spread(model):
    """What a fitted GaussianProcessRegressor divides its targets by."""
    return float(np.ravel(model._y_train_std)[0])


def fitted_gamma(model):
    """The number that ``gamma="scale"`` or ``"auto"`` stood for when an SVC was fitted."""
    return float(model._gamma)


def write_gamma(model, gamma):
    """Give an SVC or SVR the number that its ``gamma`` stands for."""
    model._gamma = float(gamma)


def copy_output_config(transformer, like):
    """Tell a transformer the container for outputs that another one was told, by ``set_output`` say."""
    config = getattr(like, "_sklearn_output_config", None)
    if config is not None:
        transformer._sklearn_output_config = copy.deepcopy(config)


def take_fit(model, start):
    """Give an estimator what another one of its class has beyond parameters, libsvm's own copies included."""
    given = model.get_params(deep=False)
    vars(model).update({name: one for name, one in vars(start).items() if name not in given})


def write_svc(model, support, support_vectors, n_support, dual_coef, intercept):
    """Give an SVC, or a copy of one, what libsvm would have fitted, its own copies included.

    Parameters
    ----------
    model : SVC
        Changed; with what is not given here of a fit on the same features.
    support : ndarray of int, shape (n_support,)
        By class, then by row.
    support_vectors : ndarray or CSR array of shape (n_support, n_features)
    n_support : ndarray of int, shape (n_classes,)
    dual_coef : ndarray or CSR array of shape (n_classes - 1, n_support)
    intercept : ndarray of shape (n_pairs,)
    """
    model.support_ = support.astype(np.int32)
    model.support_vectors_ = support_vectors
    model._n_support = n_support.astype(np.int32)
    model.dual_coef_, model.intercept_ = dual_coef, intercept
    # libsvm counts the first of two classes as positive, scikit-learn the second.
    sign = -1.0 if len(n_support) == 2 else 1.0
    model._dual_coef_, model._intercept_ = sign * dual_coef, sign * intercept


def write_svr(model, support, support_vectors, dual_coef, intercept):
    """Give a copy of an SVR what libsvm would have fitted, its own copies included.

    Parameters
    ----------
    model : SVR
        Changed; with what is not given here of a fit on the same features.
    support : ndarray of int, shape (n_support,)
    support_vectors : ndarray or CSR array of shape (n_support, n_features)
    dual_coef : ndarray or CSR array of shape (1, n_support)
    intercept : ndarray of shape (1,)
    """
    model.support_ = support.astype(np.int32)
    model.support_vectors_ = support_vectors
    model._n_support = np.full(2, len(support), dtype=np.int32)
    model.dual_coef_, model.intercept_ = dual_coef, intercept
    model._dual_coef_, model._intercept_ = dual_coef, intercept.copy()
    vars(model).pop("n_iter_", None)


def check_parameters(estimator, but=()):
    """Refuse parameters that scikit-learn's own ``fit`` would refuse.

    Parameters
    ----------
    estimator : estimator
    but : iterable of str
        Parameters with rules of their own.

    Raises
    ------
    ValueError
    """
    rules = {k: v for k, v in estimator._parameter_constraints.items() if k not in but}
    given = {k: v for k, v in estimator.get_params(deep=False).items() if k in rules}
    validate_parameter_constraints(rules, given, type(estimator).__name__)


def rows_of_neighbours(model):
    """The rows that fitted neighbours hold, and their targets or positions of classes."""
    return model._fit_X, model._y
