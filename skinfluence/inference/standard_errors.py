"""Standard errors of metrics and predictions, with the model's own estimation in them."""

import numbers

import numpy as np
from sklearn.utils import check_random_state

from skinfluence._utils.influences import refuse_offset
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.scoring import is_scorer, score_of
from skinfluence.inference.draws import METHODS, draws_of
from skinfluence.inference.groups import grouped, held, refuse_without_a_model
from skinfluence.quantity import as_called

SAMPLED = ("both", "train", "test")


def standard_error(
    influence,
    of,
    X=None,
    y=None,
    *,
    groups=None,
    sampled="both",
    method="auto",
    tol=1e-3,
):
    """Standard error of a metric, or of what the model says of single points.

    By the jackknife: how the quantity changes without each training row, and without each test
    point. The usual error of an AUROC, say, takes the model as given; here it is estimated too.

    Parameters
    ----------
    influence : Influence or estimator
        An :class:`~skinfluence.Influence`, or a fitted estimator of this package that holds its
        training data.
    of : str, scorer or callable
        As in :meth:`~skinfluence.Influence.removal_effect`: a scalar of all test points
        (``metrics.auroc(0)``, ``"neg_log_loss"``), or one value for each (``"predict_proba"``).
    X : array-like of shape (n_test, n_features), default=None
        A sample of its own. None: the training rows, each left out of the fit and of the metric
        together; for scalars.
    y : array-like of shape (n_test,), default=None
    groups : array-like of shape (n_train,), default=None
        Clusters of the training rows, which are left out together.
    sampled : {"both", "train", "test"}, default="both"
        What varies from sample to sample: training rows, test points or both. Values of single
        test points have the variation of the training rows alone.
    method, tol
        How the model without a row is found, as in :meth:`~skinfluence.Influence.removal_effect`.

    Returns
    -------
    error : float or ndarray of shape (n_test, ...)
        ``sqrt((n - 1) / n sum_i (d_i - mean d)^2)`` over training rows (or groups), with the same
        over test points added for a scalar.

    Notes
    -----
    A metric that counts, such as the AUROC at temperature 0, moves in steps, and single rows mostly
    move nothing: the part of the training rows is then noisy. A small temperature cures it. A
    penalty that pulls the model to one side is not in the error: it is a bias.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence import metrics
    >>> from skinfluence.inference import standard_error
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X[:, :5])
    >>> model = LogisticRegression().fit(X[::2], y[::2])
    >>> error = standard_error(model, metrics.auroc(0.1), X[1::2], y[1::2])
    >>> 0.003 < error < 0.02
    True
    """
    influence = held(influence)
    refuse_offset(influence.objective, "Errors of metrics are of")
    _check_sampled(sampled)
    if X is None:
        return _of_training_rows(influence, of, groups, sampled, method, tol)
    shape = influence.answers.quantity(influence.data.tests(X, y), of, method).shape
    if sampled == "test" and shape:
        raise ValueError(
            "sampled='test' is for a metric of all test points, one scalar. Got one value per test "
            "point, which varies with the training rows only."
        )
    variance = 0.0
    if sampled != "test":
        variance = _train_variance(influence, of, X, y, groups, method, tol)
    if sampled != "train" and not shape:
        variance += _spread(_without_test_points(influence, of, X, y, method))
    error = np.sqrt(variance)
    return error if shape else float(error)


def _check_sampled(sampled):
    if sampled not in SAMPLED:
        raise ValueError(f"sampled must be 'both', 'train' or 'test'. Got {sampled!r} instead.")


def bootstrap(
    influence,
    of="decision_function",
    X=None,
    y=None,
    *,
    n_resamples=1000,
    groups=None,
    sampled="both",
    method="influence",
    random_state=None,
):
    """Draws of a metric under resampling, with the model moved instead of refitted.

    Training rows (or groups) are drawn with replacement; the decision values of the test points
    move with how often each row was drawn, and the metric itself is evaluated at them.

    Parameters
    ----------
    influence : Influence or estimator
    of : "decision_function" or callable, default="decision_function"
        As in :func:`standard_error`; ``metrics.probability(k)`` for probabilities.
    X : array-like of shape (n_test, n_features)
    y : array-like of shape (n_test,), default=None
    n_resamples : int, default=1000
    groups : array-like of shape (n_train,), default=None
        Clusters of the training rows, which are drawn together.
    sampled : {"both", "train", "test"}, default="both"
        What is drawn anew, as in :func:`standard_error`: training rows, test points or both. Values of
        single test points have the draws of the training rows alone.
    method : {"influence", "exact"}, default="influence"
        ``"influence"``: decision values move linearly with how often each row was drawn. ``"exact"``: to
        the optimum on the rows of the draw, which is the bootstrap by refits, of smooth linear models.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    draws : ndarray of shape (n_resamples, ...)
        The quantity in each resample.

    Raises
    ------
    TypeError
        With ``"exact"``, for other models, for what learns from the rows besides the model, and for
        balanced class weights.
    ValueError
        With ``"exact"``, for a draw without a class that the fit needs.

    Notes
    -----
    ``"influence"`` costs a product of draws, rows and points. ``"exact"`` costs about three Hessians of
    all rows for each draw; of one output they are made together, and of more, one after the other.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.inference import bootstrap
    >>> from skinfluence.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = Ridge(alpha=0.1).fit(X, y)
    >>> bootstrap(model, X=X[:3], n_resamples=200, random_state=0).shape
    (200, 3)
    """
    influence = held(influence)
    refuse_offset(influence.objective, "Errors of metrics are of")
    _check_sampled(sampled)
    if not isinstance(n_resamples, numbers.Integral) or n_resamples < 1:
        raise ValueError(f"n_resamples must be a positive integer. Got {n_resamples!r} instead.")
    if not (callable(of) or of == "decision_function"):
        raise ValueError(
            "of must be 'decision_function' or a callable of decision values, such as "
            f"metrics.probability(1) or metrics.log_loss. Got {of!r} instead."
        )
    if method not in METHODS:
        raise ValueError(f"method must be 'influence' or 'exact'. Got {method!r} instead.")
    if X is None:
        raise ValueError("bootstrap needs X, the points at which the model is asked.")
    rng = check_random_state(random_state)
    eta, codes = _decision_values(influence, X, y, method)
    evaluate = _evaluator(of, codes)
    shape = np.shape(evaluate(eta, None))
    if sampled == "test" and shape:
        raise ValueError(
            "sampled='test' is for a metric of all test points, one scalar. Got values of shape "
            f"{shape}, which vary with the training rows only."
        )
    sampled = "train" if shape else sampled
    draws = np.empty((n_resamples, *shape))
    m = len(eta)
    models = None if sampled == "test" else draws_of(influence, X, y, groups, method)
    n = 0 if models is None else models.n
    for block in row_blocks(n_resamples, 8 * (eta.size + n)):
        size = block.stop - block.start
        now = np.broadcast_to(eta, (size, *eta.shape))
        if models is not None:
            counts = rng.multinomial(n, np.full(n, 1.0 / n), size=size)
            now = now + models.moved(counts)
        for i in range(size):
            rows = rng.randint(m, size=m) if sampled != "train" else None
            draws[block.start + i] = evaluate(now[i], rows)
    return draws


def _train_variance(influence, of, X, y, groups, method, tol):
    options = {"of": of, "method": method, "tol": tol}
    if groups is not None:
        names, position = grouped(influence, groups)
        groups = np.where(position >= 0, position, len(names))
        found = influence.removal_effect(X, y, groups=groups, **options)
        found = found[..., : len(names)] if found.ndim == 1 else found[:, : len(names)]
    else:
        rows = np.flatnonzero(influence.objective.weights > 0)
        found = influence.removal_effect(X, y, indices=rows, **options)
    return _spread(found, 1 if found.ndim > 1 else 0)


def _spread(changes, axis=0):
    """``(n - 1) / n sum (d - mean d)^2``, refusing changes that are not known."""
    refuse_without_a_model(changes)
    return (changes.shape[axis] - 1) * np.var(changes, axis=axis)


def _decision_values(influence, X, y, method):
    """Decision values at test points, as callables get them, and class positions or targets."""
    tests = influence.data.tests(X, y)
    quantity = influence.answers.quantity(tests, "decision_function", method)
    return quantity.before, tests.codes


def _evaluator(of, codes):
    """``function(eta, rows)``: a quantity over some of the test points, all when None."""
    if not callable(of):
        return lambda eta, rows: eta if rows is None else eta[rows]

    def evaluate(eta, rows):
        n_test = len(eta)
        if rows is None:
            return np.asarray(as_called(of, codes)(eta), dtype=float)
        # What was made for all test points, such as their groups, has to go along.
        one = of.take(rows, n_test) if hasattr(of, "take") else of
        some = None if codes is None else codes[rows]
        return np.asarray(as_called(one, some)(eta[rows]), dtype=float)

    return evaluate


def _without_test_points(influence, of, X, y, method):
    """The scalar without each test point, (n_test,)."""
    if is_scorer(of):
        tests = influence.data.tests(X, y)
        rows = np.arange(tests.design.n_samples)
        eta, problem = influence.answers.quantity(tests, of, method).eta, influence.objective
        return np.array(
            [
                score_of(of, problem.loss, problem.labels, np.delete(tests.codes, i))(
                    np.delete(eta, i, axis=0)
                )
                for i in rows
            ]
        )
    eta, codes = _decision_values(influence, X, y, method)
    if hasattr(of, "without_each"):
        return of.without_each(eta, codes)
    evaluate, rows = _evaluator(of, codes), np.arange(len(eta))
    return np.array([evaluate(eta, np.delete(rows, i)) for i in rows])


def _of_training_rows(influence, of, groups, sampled, method, tol):
    if sampled != "both" or groups is not None:
        raise ValueError(
            "Without X each training row is left out of the fit and of the metric together: sampled "
            "must be 'both', and groups None. Pass X and y for the parts."
        )
    X, y = influence.data.inputs.raw, influence.data.y
    if (influence.objective.weights == 0).any():
        raise ValueError("Training rows of weight zero are in no sample. Pass X and y.")
    if influence.answers.quantity(influence.data.tests(X, y), of, method).shape:
        raise ValueError("Without X, of= must be one scalar of all rows. Got one value per row.")
    found = influence.removal_effect(X, y, of=of, method=method, tol=tol)
    without = _without_test_points(influence, of, X, y, method)
    return float(np.sqrt(_spread(found + without)))
