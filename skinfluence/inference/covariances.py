"""Covariances of coefficients: sandwiches, the jackknife, and both by clusters."""

import numpy as np

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence.edits import NoOptimumError
from skinfluence.edits.points import removal
from skinfluence.inference.groups import grouped, held

# How residuals are divided by what leverages leave, ``C_i^-power``.
POWERS = {"hc0": 0, "hc1": 0, "hc2": 0.5, "hc3": 1}
CLUSTERED = ("cr0", "cr1", "cr3")
DELETING = ("jackknife", "ij")
KINDS = ("nonrobust", *POWERS, *CLUSTERED, *DELETING)
FEWER_COLUMNS = "Ask standard_error(influence, of, X) for what the model says instead."


def covariance(influence, kind="hc3", *, groups=None, method="auto", tol=1e-3):
    """Covariance of the coefficients of a fitted model from sample to sample.

    Parameters
    ----------
    influence : Influence or estimator
        An :class:`~skinfluence.Influence`, or a fitted estimator of this package that holds its
        training data.
    kind : str, default="hc3"
        With scores ``s_i = w_i J_i' g_i``, the Hessian ``H`` and what leverages leave,
        ``C_i = I - w_i Lambda_i h_i``:

        - ``"hc0"``: ``H^-1 (sum_i s_i s_i') H^-1``. ``"hc1"``: times ``n / (n - edf)``.
        - ``"hc2"``, ``"hc3"``: gradients divided by the root of ``C_i``, or by ``C_i``.
        - ``"cr0"``: ``"hc0"`` with the sums of the scores of each group. ``"cr1"``: times
          ``G / (G - 1) (n - 1) / (n - edf)``.
        - ``"cr3"``: ``(G - 1) / G sum_g d_g d_g'``, with ``d_g`` the change of the coefficients
          without group g.
        - ``"jackknife"``: ``(n - 1) / n`` times the sum over rows, or over groups, of deletions
          about their mean.
        - ``"ij"``, the infinitesimal jackknife: the sum over rows, or groups, of derivatives in
          the weight about their mean; what :func:`bootstrap` draws from.
        - ``"nonrobust"``: ``phi H^-1``, for a model that is right.
    groups : array-like of shape (n_train,), default=None
        The cluster of each row, for ``"cr*"``, ``"jackknife"`` and ``"ij"``.
    method, tol
        How deletions of ``"jackknife"`` and ``"cr3"`` are found, as in
        :meth:`~skinfluence.Influence.removal_effect`.

    Returns
    -------
    covariance : ndarray of shape (p, p)
        p is n_outputs x (n_features + fit_intercept), in the order of
        ``influence_up_params(...)`` raveled: the intercept last for each output.

    Raises
    ------
    ValueError
        For an unknown kind, for rows of leverage 1 with ``"hc2"`` and ``"hc3"``, and for a row or
        a group without which there is no model.
    TypeError
        For a model without finitely many coefficients, or with kinks.

    Notes
    -----
    Sample weights are taken as they are (statsmodels' WLS), not as counts of rows. With a penalty
    this is the variance alone: the penalised estimate is biased, and its square is not in it.
    Transformers of a pipeline stay as they were fitted, as the coefficients are of their outputs.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.inference import covariance
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = LinearRegression().fit(X, y)
    >>> covariance(model, "hc3").shape
    (11, 11)
    """
    influence = held(influence)
    check_kind(kind, groups)
    parts = influence.answers.deletions()
    weighted = int(np.count_nonzero(influence.objective.weights))
    if kind == "nonrobust":
        return parts.dispersion * parts.inverse_hessian()
    if kind in ("jackknife", "cr3"):
        _refuse_moving(influence, kind)
        steps, n = deletions(influence, parts, groups, method, tol)
        centred = kind == "jackknife"
        return (n - 1) / n * _squares([(slice(None), steps)], None, centred)[0]
    if kind == "ij":
        position = None if groups is None else grouped(influence, groups)[1]
        rows = None if groups is not None else influence.objective.weights > 0
        return _squares(derivatives(influence), position, True, rows)[0]
    if kind in CLUSTERED:
        names, position = grouped(influence, groups)
        found, _ = _squares(parts.score_steps(0), position, False)
        return found * (_cluster_scale(parts, weighted, len(names)) if kind == "cr1" else 1.0)
    found, _ = _squares(parts.score_steps(POWERS[kind]), None, False)
    return found * (weighted / _left(parts, weighted) if kind == "hc1" else 1.0)


def check_kind(kind, groups):
    """Refuse kinds that are not known, or do not go with the groups."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}. Got {kind!r} instead.")
    if kind in CLUSTERED and groups is None:
        raise ValueError(f"kind={kind!r} is of clusters: pass groups=, the cluster of each row.")
    if groups is not None and kind not in CLUSTERED + DELETING:
        raise ValueError(
            f"kind={kind!r} takes rows as independent, and groups= says they are not. Use 'cr1', 'cr3', "
            "'jackknife' or 'ij'."
        )


def parameters_per_output(parts):
    """Effective degrees of freedom of one output: the number of parameters without a penalty."""
    outputs = getattr(getattr(parts, "objective", None), "loss", None)
    return parts.edf / (outputs.n_outputs if outputs is not None else 1)


def derivatives(influence):
    """Derivatives in the weight of each row, relative to it: ``(block, (b, K, p))``."""
    objective = influence.objective
    influence.answers.deletions().check_exact()
    scale = objective.weights / objective.n_samples
    for block in row_blocks(objective.n_samples, 24 * objective.n_parameters):
        rows = np.arange(objective.n_samples)[block]
        yield block, scale[rows, None, None] * influence.answers.up_params(rows)


def deletions(influence, parts, groups, method, tol):
    """Changes of the coefficients without each row of positive weight, or each group; how many."""
    weights = influence.objective.weights
    if groups is None:
        kept = np.flatnonzero(weights > 0)
        steps = np.concatenate([one for _, one in parts.steps(method, tol)])[kept]
        _refuse_unanswered(steps, kept, "Row")
        return steps, len(kept)
    names, position = grouped(influence, groups)
    points, order = [], np.argsort(position, kind="stable")
    members = np.split(order, np.searchsorted(position[order], np.arange(len(names))))[1:]
    for name, rows in zip(names, members, strict=True):
        try:
            points.append(removal(influence.objective, rows))
        except NoOptimumError as error:
            raise ValueError(
                f"Every group must leave a model behind. Group {name} does not. {error}"
            ) from error
    steps = parts.group_steps(points, method, tol)
    _refuse_unanswered(steps, names, "Group")
    return steps, len(names)


def _refuse_moving(influence, kind):
    weights = getattr(influence.data.inputs.model, "class_weight", None)
    if isinstance(weights, str):
        raise ValueError(
            f"kind={kind!r} deletes rows at the class weights of the fit, and they would move. Got "
            f"class_weight={weights!r}. Pass the weights as a dict, or use 'hc3' or 'cr1', which take "
            "them as given."
        )


def _refuse_unanswered(steps, names, what):
    lost = np.isnan(steps).any(axis=(1, 2))
    if lost.any():
        raise ValueError(
            f"Deletions need a model without each of them. {what} {np.asarray(names)[lost][0]} leaves "
            "none: it holds a class, or decides a coefficient alone. Penalise the model, or use 'hc1' "
            "or 'cr1'."
        )


def _squares(steps, position, centred, rows=None):
    """Sum over rows, or over groups, of the squares of steps, and how many were summed.

    Parameters
    ----------
    steps : iterable of (block, (b, K, p))
    position : ndarray of int or None
        The group of each row, -1 for none.
    centred : bool
        About their mean.
    rows : ndarray of bool, default=None
        Those that count for the mean; all when None.
    """
    total, summed, count, sums = 0.0, 0.0, 0, None
    for block, one in steps:
        flat = one.reshape(len(one), -1)
        if not count:
            check_fits((flat.shape[1], flat.shape[1]), FEWER_COLUMNS, "The covariance")
        count += len(flat) if rows is None else np.count_nonzero(rows[block])
        if position is None:
            total = total + flat.T @ flat
            summed = summed + flat.sum(axis=0)
            continue
        if sums is None:
            sums = np.zeros((position.max() + 1, flat.shape[1]))
        inside = position[block] >= 0
        np.add.at(sums, position[block][inside], flat[inside])
    if sums is not None:
        total, summed, count = sums.T @ sums, sums.sum(axis=0), len(sums)
    if centred:
        total = total - np.outer(summed, summed) / count
    return total, count


def _left(parts, n):
    left = n - parameters_per_output(parts)
    if not left > 1e-8 * n:
        raise ValueError(
            f"More rows than degrees of freedom are needed. Got {n} rows of positive weight and "
            f"{n - left:.4g}. Penalise the model, or use 'hc0', 'hc3' or 'jackknife'."
        )
    return left


def _cluster_scale(parts, n, n_groups):
    return n_groups / (n_groups - 1) * (n - 1) / _left(parts, n)
