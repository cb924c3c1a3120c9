"""Projected sign-gradient steps on training rows, judged by a true refit."""

import numbers
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from skinfluence._utils.progress import progress_bar
from skinfluence.attack.heads import checked_rows, head_of
from skinfluence.attack.targets import Box, Targets


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack made of the training rows, and what a true refit says.

    Attributes
    ----------
    rows : ndarray of int, shape (n_rows,)
        The training rows that were moved.
    X : ndarray of shape (n_rows, ...)
        What they are now: inside the box around what they were.
    flipped : ndarray of bool, shape (n_targets,)
        Whether the refitted model gets the target wrong: the estimator's own ``fit`` on the moved
        rows, not the attack's running solution. A target that was wrong before (``margins[0]``
        below zero) counts too.
    predictions : ndarray of shape (n_targets,)
        Labels from that model.
    margins : ndarray of shape (n_steps + 1, n_targets)
        Decision value of the true class minus the largest other one, before the attack and after
        each step with the model fitted again; a flip is a margin below zero.
    losses : ndarray of shape (n_steps + 1, n_targets)
    model : estimator
        The refitted last step of the pipeline.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence.attack import TrainingSetAttack
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> X, model = X / 16, LogisticRegression(C=0.1).fit(X[:100] / 16, y[:100])
    >>> attack = TrainingSetAttack(radius=0.1, low=0.0, high=1.0, n_rows=5, max_iter=5)
    >>> result = attack.run(model, X[:100], y[:100], X[150:151], y[150:151])
    >>> result.rows.shape, result.n_steps, result.flipped
    ((5,), 5, array([False]))
    """

    rows: np.ndarray
    X: np.ndarray
    flipped: np.ndarray
    predictions: np.ndarray
    margins: np.ndarray
    losses: np.ndarray
    model: object

    @property
    def n_steps(self):
        """Steps that were made."""
        return len(self.margins) - 1


class TrainingSetAttack:
    """Move training rows a little so that test points are misclassified.

    Each step moves the chosen rows by ``step`` times the sign of ``influence_pert``, back into the
    box, and fits the model again. Pictures within half a grey level of the originals are the same
    8-bit pictures.

    Parameters
    ----------
    radius : float or array-like broadcast to a row
        Half the width of the box around each value, in the units of X: ``0.499 / 255`` for pictures
        in 0 .. 1 whose 8-bit versions must not change.
    step : float or array-like, default=None
        ``radius / 25`` when None, as in the paper.
    low, high : float, default=None
        Smallest and largest value that any input may take.
    max_iter : int, default=100
    n_rows : int, default=1
        How many rows to move together: those whose ``influence_pert`` has the largest L1 norm.
    tries : int, default=1
        Where a target still stands at the end, start again with the next ``n_rows`` rows, so often;
        the try that raises the loss most is returned. (The paper tries two where it moves one.)
    shortlist : int, default=None
        Rank only so many rows by their inputs, the first by their features: saves passes through
        expensive transformers (all of them where it is ``n_rows``). All when None.
    verbose : bool, default=False
        Show a progress bar (needs tqdm).

    References
    ----------
    .. [1] P. W. Koh and P. Liang, "Understanding Black-box Predictions via Influence Functions",
       ICML 2017, section 5.2.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence.attack import TrainingSetAttack
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> model = LogisticRegression(C=0.1).fit(X[:100] / 16, y[:100])
    >>> attack = TrainingSetAttack(radius=0.1, low=0.0, high=1.0, n_rows=5, max_iter=20)
    >>> result = attack.run(model, X[:100] / 16, y[:100], X[150:151] / 16, y[150:151])
    >>> bool(result.margins[-1, 0] < result.margins[0, 0])
    True
    """

    def __init__(
        self,
        radius,
        step=None,
        *,
        low=None,
        high=None,
        max_iter=100,
        n_rows=1,
        tries=1,
        shortlist=None,
        verbose=False,
    ):
        self.radius = radius
        self.step = step
        self.low = low
        self.high = high
        self.max_iter = max_iter
        self.n_rows = n_rows
        self.tries = tries
        self.shortlist = shortlist
        self.verbose = verbose

    def run(self, estimator, X, y, X_test, y_test, *, sample_weight=None, rows=None):
        """Attack a fitted classifier.

        Parameters
        ----------
        estimator : classifier or Pipeline
            Fitted on X and y; it is not changed.
        X : ndarray of shape (n_train, ...)
        y : array-like of shape (n_train,)
        X_test : ndarray of shape (n_targets, ...)
            Test points to have misclassified, together; the attack stops when all are.
        y_test : array-like of shape (n_targets,)
            Their true labels.
        sample_weight : array-like of shape (n_train,), default=None
        rows : array-like of int or of bool, default=None
            The training rows to move; chosen (``n_rows``) when None.

        Returns
        -------
        result : AttackResult

        Raises
        ------
        TypeError
            For models that are no classifiers with a smooth objective or a hinge, and sparse features.
        ValueError
            For hinge machines of more than two classes, or with ``gamma="scale"``.
        """
        head, targets = self._start(estimator, X, y, X_test, y_test, sample_weight)
        return self._attack(head, targets, rows, y, sample_weight)

    def run_each(self, estimator, X, y, X_test, y_test, *, sample_weight=None, rows=None):
        """Attack test points one at a time, each from the training rows as they are.

        What does not depend on the target is done once: the features of all rows, and the factor.

        Parameters
        ----------
        estimator, X, y, X_test, y_test, sample_weight, rows
            As in :meth:`run`.

        Yields
        ------
        result : AttackResult
            Of the next target, alone.
        """
        head, targets = self._start(estimator, X, y, X_test, y_test, sample_weight)
        for t in range(len(targets.y)):
            yield self._attack(head, targets.only(t), rows, y, sample_weight)

    def _start(self, estimator, X, y, X_test, y_test, sample_weight):
        if not isinstance(self.max_iter, numbers.Integral) or self.max_iter < 1:
            raise ValueError(f"max_iter must be a positive integer. Got {self.max_iter!r} instead.")
        head = head_of(estimator, X, y, sample_weight)
        return head, Targets(head, X_test, y_test)

    def _attack(self, head, targets, rows, y, sample_weight):
        if rows is None:
            choices = self._strongest(head, targets)
        else:
            choices = [checked_rows(rows, head)]
        best = None
        for rows in choices:
            found = self._climb(head.again(), targets, rows)
            if best is None or found.losses[-1].mean() > best.losses[-1].mean():
                best = found
            if (found.margins[-1] < 0).all():
                best = found
                break
        model = best.head.refitted(y, sample_weight)
        predictions = model.predict(targets.features)
        return AttackResult(
            rows=best.rows,
            X=best.X,
            flipped=predictions != targets.y,
            predictions=predictions,
            margins=np.array(best.margins),
            losses=np.array(best.losses),
            model=model,
        )

    def _climb(self, head, targets, rows):
        X_rows = head.X[rows]
        box = Box(self.radius, self.low, self.high).of(X_rows)
        step = np.asarray(self.radius) / 25 if self.step is None else np.asarray(self.step)
        margins, losses = [targets.margins(head)], [targets.losses(head)]
        with progress_bar(self.max_iter, "steps", self.verbose) as advance:
            for _ in range(self.max_iter):
                standing = margins[-1] >= 0
                if not standing.any():
                    break
                gradient = head.input_gradient(rows, targets.loss_direction(head, standing), X_rows)
                X_rows = np.clip(X_rows + step * np.sign(gradient), *box)
                head.move(rows, X_rows)
                margins.append(targets.margins(head))
                losses.append(targets.losses(head))
                advance(1)
        return SimpleNamespace(head=head, rows=rows, X=X_rows, margins=margins, losses=losses)

    def _strongest(self, head, targets):
        """Sets of rows with the largest L1 norm of the gradient, falling, one for each try."""
        n, k = len(head.X), self.n_rows
        for name, value in (("n_rows", k), ("tries", self.tries)):
            if not isinstance(value, numbers.Integral) or not 1 <= value <= n:
                raise ValueError(f"{name} must lie between 1 and {n}. Got {value!r} instead.")
        direction = targets.loss_direction(head, np.ones(len(targets.y), dtype=bool))
        rows = np.flatnonzero(head.objective.weights > 0)
        needed = k * self.tries
        if self.shortlist is not None:
            sizes = head.sizes(rows, direction, in_features=True)
            rows = rows[np.argsort(-sizes, kind="stable")[: max(self.shortlist, needed)]]
        if len(rows) > k:
            sizes = head.sizes(rows, direction, in_features=False)
            rows = rows[np.argsort(-sizes, kind="stable")]
        return [rows[start : start + k] for start in range(0, min(needed, len(rows)), k)]
