"""Coefficients with their standard errors, tests and intervals."""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats

from skinfluence._utils.calls import level_outside
from skinfluence.inference.covariances import (
    CLUSTERED,
    check_kind,
    covariance,
    parameters_per_output,
)
from skinfluence.inference.groups import grouped, held
from skinfluence.pullbacks.naming import column_names, output_names

PENALISED = (
    "The model is penalised: its coefficients are biased towards zero, so the standard errors are of "
    "their spread alone, and there is no test and no interval (NaN)."
)


@dataclass(frozen=True, eq=False)
class CoefficientTable:
    """Coefficients of a fitted model, a line each; printed as a table.

    Attributes
    ----------
    names : list of str
        Of the features as the model sees them, ``"class: feature"`` for several outputs.
    coef, standard_error : ndarray of shape (p,)
    statistic, p_value, lower, upper : ndarray of shape (p,)
        Against zero, two-sided, and the ends of the interval; NaN for penalised models.
    kind : str
        Of the covariance.
    coverage : float
        Of the intervals.
    df : float
        Degrees of freedom of the statistic; ``inf`` for the normal distribution.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.inference import coefficient_table
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> table = coefficient_table(LinearRegression().fit(X[["bmi"]], y))
    >>> table.names, table.coef.round(1)
    (['bmi', 'intercept'], array([949.4, 152.1]))
    """

    names: list
    coef: np.ndarray
    standard_error: np.ndarray
    statistic: np.ndarray
    p_value: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    kind: str
    coverage: float
    df: float

    def to_frame(self):
        """The table as a pandas DataFrame, the names as its index."""
        from skinfluence._utils._optional import require

        pandas = require("pandas", extra="audit")
        columns = ("coef", "standard_error", "statistic", "p_value", "lower", "upper")
        values = {name: getattr(self, name) for name in columns}
        return pandas.DataFrame(values, index=self.names)

    def __repr__(self):
        width = max(7, *(len(name) for name in self.names))
        head = f"{'':{width}} {'coef':>10} {'std err':>10} {'stat':>8} {'p':>8} {'lower':>10} {'upper':>10}"
        lines = [head]
        for i, name in enumerate(self.names):
            lines.append(
                f"{name:{width}} {self.coef[i]:10.4g} {self.standard_error[i]:10.4g} "
                f"{self.statistic[i]:8.3f} {self.p_value[i]:8.3g} {self.lower[i]:10.4g} "
                f"{self.upper[i]:10.4g}"
            )
        law = "normal" if np.isinf(self.df) else f"t with {self.df:.4g} degrees of freedom"
        lines.append(f"standard errors: {self.kind}; {law}; intervals of {self.coverage:.0%}")
        return "\n".join(lines)


def coefficient_table(
    influence, kind="hc3", *, groups=None, coverage=0.95, df=None, method="auto", tol=1e-3
):
    """Coefficients of a fitted model with standard errors, tests against zero and intervals.

    Parameters
    ----------
    influence : Influence or estimator
    kind, groups, method, tol
        As in :func:`covariance`.
    coverage : float, default=0.95
        Of the intervals.
    df : float, default=None
        Degrees of freedom of the t statistic, ``inf`` for the normal distribution. None: the number
        of groups less one with ``groups``, ``n - edf`` for squared error, else ``inf``.

    Returns
    -------
    table : CoefficientTable

    Warns
    -----
    UserWarning
        For penalised models, whose statistics and intervals are NaN.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.inference import coefficient_table
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> table = coefficient_table(LinearRegression().fit(X, y), "hc3")
    >>> table.names[2], round(float(table.coef[2]), 1), round(float(table.standard_error[2]), 1)
    ('bmi', 519.8, 68.6)
    """
    influence = held(influence)
    check_kind(kind, groups)
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must lie between 0 and 1. Got {coverage!r} instead.")
    if df is not None and not df > 0:
        raise ValueError(f"df must be positive. Got {df!r} instead.")
    problem = influence.objective
    variance = np.diagonal(covariance(influence, kind, groups=groups, method=method, tol=tol))
    error, coef = np.sqrt(variance), coefficients(problem)
    if df is None:
        df = degrees_of_freedom(influence, kind, groups)
    statistic = np.divide(coef, error, out=np.full(len(coef), np.nan), where=error > 0)
    half = stats.t.ppf(0.5 + coverage / 2, df) * error
    p_value, lower, upper = 2 * stats.t.sf(np.abs(statistic), df), coef - half, coef + half
    if problem.penalty.any():
        warnings.warn(PENALISED, UserWarning, stacklevel=level_outside())
        statistic, p_value, lower, upper = (np.full(len(coef), np.nan) for _ in range(4))
    return CoefficientTable(
        names_of(influence),
        coef,
        error,
        statistic,
        p_value,
        lower,
        upper,
        kind,
        coverage,
        float(df),
    )


def coefficients(problem):
    """The parameters in the user's outputs and units, raveled: those of :func:`covariance`."""
    if problem.theta.ndim == 1:
        return np.array(problem.theta)
    seen = problem.loss.expand(problem.theta.T).T
    return problem.design.in_units(seen).ravel()


def names_of(influence):
    """Names of the parameters, in the order of :func:`covariance`."""
    problem, inputs = influence.objective, influence.data.inputs
    if problem.theta.ndim == 1:
        return [f"params[{j}]" for j in range(len(problem.theta))]
    names = column_names(inputs.raw)
    for _, step in inputs.steps:
        names = output_names(step, names)
    names = [
        str(names[j]) if names is not None else f"x{j}" for j in range(problem.design.n_features)
    ]
    names += ["intercept"] if problem.design.intercept else []
    outputs = problem.loss.expand(np.zeros(problem.loss.n_outputs)).shape[0]
    if outputs == 1:
        return names
    kinds = range(outputs) if problem.labels is None else problem.labels.classes.tolist()
    return [f"{one}: {name}" for one in kinds for name in names]


def degrees_of_freedom(influence, kind, groups):
    """Of the t statistic of a coefficient; ``inf`` for the normal distribution."""
    if groups is not None:
        return float(len(grouped(influence, groups)[0]) - 1)
    parts = influence.answers.deletions()
    if kind in CLUSTERED or not _is_squared(influence.objective):
        return np.inf
    return float(np.count_nonzero(influence.objective.weights) - parameters_per_output(parts))


def _is_squared(problem):
    from skinfluence.losses import SquaredError

    return isinstance(getattr(problem, "loss", None), SquaredError)
