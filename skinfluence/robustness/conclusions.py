"""Conclusions that rows hold up: a number of the model on one side of a level."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from numbers import Integral

import numpy as np

from skinfluence.answers import Tests
from skinfluence.editing.writing import innermost
from skinfluence.losses import SquaredError
from skinfluence.objective import Objective
from skinfluence.quantity import as_called
from skinfluence.smooth.optimum.row_space import refuse_turned


class Conclusion(ABC):
    """A number of the model that is positive while a conclusion holds.

    Subclasses say what it is of the decision values at some points, :meth:`of`, and of a fitted
    estimator, :meth:`number`; :meth:`begin` looks on which side of zero it is.
    """

    # Which side of the level the conclusion is on, 1 or -1; 0 before it is known.
    side = 0

    @abstractmethod
    def tests(self, influence):
        """The points whose decision values matter, as :class:`~skinfluence.answers.Tests`."""

    @abstractmethod
    def of(self, eta):
        """What rows are ranked by: the number, from the decision values at those points."""

    @abstractmethod
    def number(self, estimator):
        """The number, of a fitted estimator of the same kind."""

    def weights(self):
        """How the number is made of the decision values of :meth:`tests`, ``(weights, level)``.

        None where it is not linear in them.
        """
        return None

    # Whether the number is one of the model and its rows, not of the fitted estimator alone.
    of_rows = False

    def number_in(self, influence):
        """The number, of a model with its rows."""
        return self.number(influence.estimator)

    def effects(self, influence, answers, rows, label, method):
        """Changes of the number when each of some rows goes, or has another label; to rank them."""
        quantity = answers.quantity(self.tests(influence), self.of, method)
        return answers.row_effects(quantity, rows, label, method, 1e-3)

    def begin(self, influence):
        """Look at the model as it is: on which side it is."""
        self.check(influence)
        number = float(self.number_in(influence))
        if not number:
            raise ValueError(
                "A conclusion must be on one side of its level. Got a number right on it."
            )
        self.side = 1 if number > 0 else -1
        return number

    @abstractmethod
    def check(self, influence):
        """Refuse what the model does not have."""


@dataclass(eq=False)
class Prediction(Conclusion):
    """See :func:`prediction`."""

    x: object
    level: float | None = None
    _class: object = field(default=None, init=False, repr=False)

    def check(self, influence):
        self._row = as_rows(influence, self.x)
        self._log = is_log(influence)
        labels = influence.objective.labels
        if labels is None and self.level is None:
            raise ValueError("The prediction of a regression needs a level=. Got none.")
        if labels is not None and self.level is not None:
            raise ValueError(f"level= is for regressions. Got {self.level!r} and a classifier.")
        if labels is not None and several_values(influence):
            # The class is the side.
            self._class = int(
                np.flatnonzero(labels.classes == influence.estimator.predict(self._row)[0])[0]
            )
        if self.level is not None and self._log and not self.level > 0:
            raise ValueError(f"The level of a count model must be positive. Got {self.level!r}.")

    @property
    def _level(self):
        if self.level is None:
            return 0.0
        return float(np.log(self.level)) if self._log else float(self.level)

    def tests(self, influence):
        return influence.data.tests(self._row, None)

    def of(self, eta):
        one = eta[0]
        if self._class is None:
            return one - self._level
        return one[self._class] - np.delete(one, self._class).max()

    def number(self, estimator):
        return self.of(decisions(estimator, self._row, self._log))

    def weights(self):
        return None if self._class is not None else (np.array([1.0]), self._level)


@dataclass(eq=False)
class Order(Conclusion):
    """See :func:`order`."""

    x: object
    other: object

    def check(self, influence):
        self._rows = [as_rows(influence, self.x), as_rows(influence, self.other)]
        self._log = is_log(influence)
        labels = influence.objective.labels
        if labels is not None and several_values(influence):
            raise ValueError(
                f"An order needs one decision value per row. Got one for each of {len(labels.classes)} "
                "classes; ask with metric(lambda eta: eta[0, k] - eta[1, k], X, level=0.0)."
            )

    def tests(self, influence):
        first, second = (influence.data.tests(one, None).design for one in self._rows)
        return Tests(
            first.extended(second) if hasattr(first, "extended") else _both(first, second),
            None,
            None,
        )

    def of(self, eta):
        return eta[0] - eta[1]

    def number(self, estimator):
        first, second = (decisions(estimator, one, self._log)[0] for one in self._rows)
        return first - second

    def weights(self):
        return np.array([1.0, -1.0]), 0.0


@dataclass(eq=False)
class Coef(Conclusion):
    """See :func:`coef`."""

    j: int
    output: int = 0

    def check(self, influence):
        model = innermost(influence.estimator)
        if not hasattr(model, "coef_"):
            raise TypeError(f"A coefficient needs a linear model. Got {type(model).__name__}.")
        refuse_turned(influence.objective.design, "The sign of a coefficient")
        shape = np.atleast_2d(model.coef_).shape
        for value in (self.j, self.output):
            if not isinstance(value, Integral):
                raise TypeError(
                    "A coefficient is named by whole numbers, its column and its output: of a column with a "
                    f"name, list(X.columns).index(name). Got {value!r}."
                )
        if not (-shape[1] <= self.j < shape[1] and -shape[0] <= self.output < shape[0]):
            raise ValueError(
                f"There must be such a coefficient. Got column {self.j} and output {self.output} of "
                f"coef_ of shape {shape}."
            )
        self.j %= shape[1]

    def tests(self, influence):
        design = influence.objective.design
        points = np.zeros((2, design.n_features))
        points[0, self.j] = 1.0
        return Tests(design.like(points), None, None)

    def of(self, eta):
        moved = np.atleast_1d(eta[0] - eta[1])
        return moved[self.output]

    def number_of(self, estimator):
        """The coefficient."""
        return float(np.atleast_2d(innermost(estimator).coef_)[self.output, self.j])

    def number(self, estimator):
        return self.number_of(estimator)

    def weights(self):
        return np.array([1.0, -1.0]), 0.0


@dataclass(eq=False)
class Metric(Conclusion):
    """See :func:`metric`."""

    f: object
    X: object
    y: object = None
    level: float = 0.0
    ranked_by: object = None

    def check(self, influence):
        self._log = is_log(influence)
        self._codes = influence.data.tests(self.X, self.y).codes
        self._call = as_called(self.f, self._codes)
        ranked_by = self.f if self.ranked_by is None else self.ranked_by
        self._ranked_by = as_called(ranked_by, self._codes)

    def tests(self, influence):
        return influence.data.tests(self.X, self.y)

    def of(self, eta):
        return float(self._ranked_by(eta))

    def number(self, estimator):
        return float(self._call(decisions(estimator, self.X, self._log))) - self.level


def prediction(x, level=None):
    """The prediction for one row: its class, or on which side of a level it is.

    Parameters
    ----------
    x : array-like of shape (n_features,)
        As the rows given to ``fit``.
    level : float, default=None
        For a regression, in units of the target.

    Returns
    -------
    what : Conclusion
        For :func:`smallest_flip`.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence
    >>> from skinfluence.robustness import prediction, smallest_flip
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> inf = Influence(Ridge().fit(X, y), X, y)
    >>> flip = smallest_flip(inf, prediction([5.0], level=3.0))
    >>> round(flip.before, 3), round(flip.after, 3)
    (1.333, -1.0)
    """
    return Prediction(x, level)


def coef(j, output=0):
    """The sign of a coefficient of a linear model.

    Parameters
    ----------
    j : int
        The column, of what the model at the end of a pipeline sees.
    output : int, default=0
        The row of ``coef_``, of several classes.

    Returns
    -------
    what : Conclusion

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence
    >>> from skinfluence.robustness import coef, smallest_flip
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [1.0, 0.5, 0.0, 3.0]
    >>> smallest_flip(Influence(Ridge().fit(X, y), X, y), coef(0)).rows
    array([3])
    """
    return Coef(j, output)


def metric(f, X, y=None, level=0.0, *, ranked_by=None):
    """On which side of a level a function of the decision values at some rows is.

    Parameters
    ----------
    f : callable
        ``f(eta)`` or ``f(eta, y)``, one number: what ``of=`` takes, such as those of
        :mod:`skinfluence.metrics`. With y as class positions, or targets.
    X : array-like of shape (n_rows, n_features)
    y : array-like of shape (n_rows,), default=None
    level : float, default=0.0
    ranked_by : callable, default=None
        What rows are ranked by, where single rows mostly change nothing of ``f``, which counts: the
        same with a temperature, say. ``f`` itself when None.

    Returns
    -------
    what : Conclusion

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence
    >>> from skinfluence.robustness import metric, smallest_flip
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> inf = Influence(Ridge().fit(X, y), X, y)
    >>> flip = smallest_flip(inf, metric(lambda eta: eta.sum(), [[1.0], [5.0]], level=4.0))
    >>> flip.found, round(flip.before, 3), flip.rows
    (True, 1.179, array([3]))
    """
    return Metric(f, X, y, level, ranked_by)


def order(x, other):
    """Which of two rows has the larger decision value.

    Parameters
    ----------
    x, other : array-like of shape (n_features,)

    Returns
    -------
    what : Conclusion

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence
    >>> from skinfluence.robustness import order, smallest_flip
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [1.0, 0.5, 0.0, 3.0]
    >>> smallest_flip(Influence(Ridge().fit(X, y), X, y), order([3.0], [1.0])).rows
    array([3])
    """
    return Order(x, other)


def decisions(estimator, X, log):
    """Decision values of rows as a callable ``of=`` gets them: one or several per row."""
    for name in ("decision_function", "predict_joint_log_proba", "predict_proba"):
        # Naive Bayes and neighbours have no decision function: scores, or votes, of each class.
        if hasattr(estimator, name):
            return np.asarray(getattr(estimator, name)(X))
    values = np.asarray(estimator.predict(X))
    return np.log(values) if log else values


def several_values(influence):
    """Whether a classifier has a decision value for each class."""
    several = len(influence.objective.labels.classes) > 2
    return several or not hasattr(influence.estimator, "decision_function")


def is_log(influence):
    """Whether a regression predicts the exponential of its decision value."""
    problem = influence.objective
    smooth = isinstance(problem, Objective) and problem.labels is None
    return smooth and not isinstance(problem.loss, SquaredError)


def as_rows(influence, x):
    """One raw row as rows of one."""
    from skinfluence.editing.rows import raw_row

    raw = influence.data.inputs.raw
    return [x] if isinstance(raw, list) else raw_row(raw, x)


def _both(first, second):
    return first.like(np.vstack([first.X, second.X]))
