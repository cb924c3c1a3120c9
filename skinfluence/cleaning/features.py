"""Which features the influential rows act through: signs of artifacts in a training set."""

import numbers
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from skinfluence._utils._optional import require
from skinfluence._utils.influences import influence_of
from skinfluence.design.dense import DenseDesign
from skinfluence.design.sparse import SparseDesign
from skinfluence.objective import Objective
from skinfluence.pullbacks.naming import column_names, output_names
from skinfluence.smooth.optimum.existence import SeparableError
from skinfluence.smooth.optimum.newton import polish
from skinfluence.smooth.optimum.row_space import refuse_turned
from skinfluence.solvers import SingularHessianError, resolve_solver

NO_FIT = (
    "Without {name!r} the model is not determined: a parameter that is not penalised has no rows left. "
    "Fit with a penalty (C or alpha), or ask with k=0 for first order only."
)


@dataclass(frozen=True, eq=False, repr=False)
class Artifacts:
    """What each feature has to do with the rows that decide some predictions. Made by `artifacts`.

    Attributes
    ----------
    table : DataFrame
        A line for each feature, those whose absence was solved first, the largest ``effect`` first.
        ``feature``; ``rows``, how many training rows have it; ``lift``, the mean size of the influence
        of rows that have it (by how much they have it) over that of all rows; ``through``, the change
        of the mean test loss to first order, when the feature fades from all training rows (to its mean
        where the intercept is free, else to 0);
        ``effect``, that change when the feature is gone, solved exactly; NaN where it was not.
        Positive: the tests rely on the feature. Negative: it misleads them.
    loss : float
        The mean test loss of the model as it is, in the units of its loss (nats for logistic models).

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence import Influence
    >>> from skinfluence.cleaning import artifacts
    >>> from skinfluence.linear_model import LogisticRegression
    >>> rng = np.random.default_rng(0)
    >>> X, X_test = rng.standard_normal((200, 3)), rng.standard_normal((20, 3))
    >>> y, y_test = (X[:, 0] > 0).astype(int), (X_test[:, 0] > 0).astype(int)
    >>> X[:, 2] = y  # a leak, in the training rows only
    >>> model = LogisticRegression(tol=1e-8).fit(X, y)
    >>> wrong = model.predict(X_test) != y_test
    >>> found = artifacts(Influence(model, X, y), X_test[wrong], y_test[wrong], k=3)
    >>> found.table["feature"][0], bool(found.table["effect"][0] < 0)
    ('x2', True)
    """

    table: Any
    loss: float

    def __repr__(self):
        return f"Artifacts of {len(self.table)} features, mean test loss {self.loss:.3g}"

    def plot(self, ax=None, **options):
        """Draw the features whose absence was solved.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
        **options
            Of the bars.

        Returns
        -------
        display : ArtifactsDisplay
        """
        from skinfluence.inspection import ArtifactsDisplay

        return ArtifactsDisplay.from_artifacts(self, ax=ax, **options)


def artifacts(influence, X, y, *, k=10, min_rows=2):
    """Find the features through which training rows decide some predictions.

    An artifact is a feature that tells the label in the training set and not in the world: a word of
    one author, a mark on the pictures of one hospital. Its rows are influential, and they are so
    through it. Ask about test rows that the model gets wrong, or about such as lack the artifact.

    Parameters
    ----------
    influence : Influence or estimator
        Of a smooth linear model, alone or at the end of a pipeline. Features are the columns that
        the model itself sees; the transformers stay as fitted, in every answer here.
    X : array-like of shape (n_test, n_features)
    y : array-like of shape (n_test,)
        True labels, or targets.
    k : int, default=10
        Features whose absence is solved exactly: those with the largest ``through``.
    min_rows : int, default=2
        Leave out features that fewer training rows have.

    Returns
    -------
    found : Artifacts

    Raises
    ------
    TypeError
        For models that are not smooth and linear, and rows that are not in memory.
    ValueError
        Where nothing is left to determine an unpenalised parameter.

    Notes
    -----
    First order is one solve and two passes over the rows, for all features together; ``lift`` one
    pass for each test row. Each of the ``k`` exact answers is a fit, from the model as it is, to rows
    where the column is 0: what fitting the last step of the pipeline again on such rows would give.

    References
    ----------
    .. [1] X. Han, B. C. Wallace and Y. Tsvetkov, "Explaining Black Box Predictions and Unveiling Data
       Artifacts through Influence Functions", ACL 2020.

    Examples
    --------
    A column that gives the label away in training, and says nothing about the test rows:

    >>> import numpy as np
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skinfluence import Influence
    >>> from skinfluence.cleaning import artifacts
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = (X - X.mean(axis=0)) / X.std(axis=0)
    >>> rng = np.random.default_rng(0)
    >>> leak = np.where(np.arange(569) < 400, y, rng.integers(0, 2, 569))
    >>> X = np.column_stack([X, leak])
    >>> model = LogisticRegression(C=0.1).fit(X[:400], y[:400])
    >>> wrong = 400 + np.flatnonzero(model.predict(X[400:]) != y[400:])
    >>> found = artifacts(Influence(model, X[:400], y[:400]), X[wrong], y[wrong], k=3)
    >>> found.table["feature"][0], bool(found.table["effect"][0] < 0)
    ('x30', True)
    """
    for name, value, least in (("k", k, 0), ("min_rows", min_rows, 1)):
        if not isinstance(value, numbers.Integral) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}. Got {value!r}.")
    influence = influence_of(influence, "Artifacts are of")
    problem = influence.objective
    if not isinstance(problem, Objective):
        raise TypeError(
            f"artifacts needs a smooth linear model, such as LogisticRegression or Ridge. Got "
            f"{problem.model_name}."
        )
    if not isinstance(problem.design, DenseDesign | SparseDesign):
        raise TypeError(
            "artifacts needs the training rows in memory, as an array or a sparse matrix. Got "
            f"{type(problem.design).__name__}; ask about a sample of the rows."
        )
    refuse_turned(problem.design, "Features that rows act through")
    pd = require("pandas", extra="audit")
    tests = influence.data.labelled_tests(X, y, None)
    rows = influence.data.inputs.training_X
    asked = _Asked(problem, rows, tests)
    through = asked.through()
    counts = np.asarray((rows != 0).sum(axis=0)).ravel()
    size = np.abs(influence.influence_up_loss(X, y)).mean(axis=0)
    held = abs(rows)
    mass = np.asarray(held.sum(axis=0)).ravel()
    kept = np.flatnonzero(counts >= min_rows)
    order = kept[np.argsort(-np.abs(through[kept]), kind="stable")]
    names = _names(influence)
    effect = np.full(len(through), np.nan)
    for j in order[:k]:
        try:
            effect[j] = asked.without(j) - asked.loss
        except (SingularHessianError, SeparableError) as error:
            raise ValueError(NO_FIT.format(name=str(names[j]))) from error
    solved = order[:k][np.argsort(-np.abs(effect[order[:k]]), kind="stable")]
    order = np.concatenate([solved, order[k:]])
    lift = (held.T @ size)[order] / (mass[order] * max(size.mean(), np.finfo(float).tiny))
    table = {
        "feature": [str(names[j]) for j in order],
        "rows": counts[order],
        "lift": lift,
        "through": through[order],
        "effect": effect[order],
    }
    return Artifacts(pd.DataFrame(table), asked.loss)


class _Asked:
    """A model at its optimum, and the mean loss of some tests under it and others like it.

    Parameters
    ----------
    problem : Objective
    rows : ndarray or CSR array of shape (n_train, n_features)
        As the model was given them.
    tests : Tests
    """

    def __init__(self, problem, rows, tests):
        self.rows, self.tests = rows, tests
        self.solver = resolve_solver("auto", problem)
        self.factor = polish(self.solver.factor(problem), self.solver)
        self.objective = self.factor.objective
        self.loss = self._loss(self.objective)

    def _loss(self, objective):
        eta = self.tests.design.multiply(objective.theta.T)
        return float(objective.loss.value(eta, self.tests.y).mean())

    def through(self):
        """Derivative of the mean loss as each column of the training rows fades, (n_features,)."""
        objective, design = self.objective, self.tests.design
        g = objective.loss.gradient(design.multiply(objective.theta.T), self.tests.y)
        gradient = design.adjoint(g / len(g)).T
        s = self.factor.solve(gradient.reshape(-1, 1)).reshape(objective.theta.shape)
        # A cell z_ij changes its row's gradient by g_i in column j, and by its curvature in all.
        moved = objective.design.multiply(s.T)
        curved = np.einsum("ikl,il->ik", objective.weighted_hessians, moved)
        d = self.rows.shape[1]
        own = self.rows.T @ curved
        if objective.design.intercept and not objective.penalty[-1]:
            # To its mean: the same once the feature is gone, and test rows do not leave the data meanwhile.
            mean = self.rows.T @ objective.weights / objective.weights.sum()
            own -= mean[:, None] * curved.sum(axis=0)
        own *= objective.theta[:, :d].T
        pulled = self.rows.T @ objective.weighted_gradients
        return (own + pulled * s[:, :d].T).sum(axis=1)

    def without(self, j):
        """The mean loss of the model fitted to rows whose column ``j`` is 0."""
        theta = self.objective.theta.copy()
        theta[:, j] = 0.0
        was = self.objective.design
        # Of columns moved towards zero, which a free intercept does not see, the constant is 0 there.
        design = type(was)(_cleared(was.X, j), was.intercept, was.shift)
        start = replace(self.objective, design=design, theta=theta)
        return self._loss(polish(self.solver.factor(start), self.solver).objective)


def _cleared(rows, j):
    """Rows with one column of zeros."""
    if not sp.issparse(rows):
        out = np.array(rows)
        out[:, j] = 0.0
        return out
    out = sp.csr_array(rows, copy=True)
    out.data[out.indices == j] = 0.0
    out.eliminate_zeros()
    return out


def _names(influence):
    """What the columns that the model sees are called."""
    inputs = influence.data.inputs
    names = column_names(inputs.raw)
    for transformer in inputs.transformers:
        names = output_names(transformer, names)
    return names
