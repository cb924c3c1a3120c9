"""A fitted estimator, steps and all, asked what it says of rows without one of its own."""

import numpy as np

from skinfluence._utils.alone import gives_rows_alone, is_own_function, treats_rows_alone
from skinfluence.answers import Tests, answers_of
from skinfluence.inputs.frozen import uses_y
from skinfluence.inputs.inputs import Inputs
from skinfluence.solvers.base import DistantFitError
from skinfluence.statistics import (
    BUDGET,
    Refits,
    WholePipeline,
    any_learns,
    fitted_leaves,
    moving,
    why_not,
)


class AskedModel:
    """What a model that is one of many in another says of rows; its steps are fitted again without a row.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    X : ndarray or CSR array of shape (n_rows, n_features)
        What it was fitted to.
    y : ndarray of shape (n_rows,)
    sample_weight : ndarray of shape (n_rows,) or None
    of : {"decision_function", "predict_proba", "predict"}
    same_fit : bool, default=False
        Refuse data that it was not fitted on, and steps of the user's own that look at other rows.

    Attributes
    ----------
    problem : Problem
    concern : str or None
        What about the fit misleads; answers are of its optimum.

    Raises
    ------
    TypeError
        For steps that no fit without a row is known of.
    """

    def __init__(self, estimator, X, y, sample_weight, of, *, same_fit=False):
        self.of = of
        try:
            self.inputs = Inputs(estimator, X)
        except ValueError as error:
            raise TypeError(
                "Steps inside a model that is fitted to parts of the rows must take arrays of numbers. Got "
                f"some that do not: {error}"
            ) from error
        if same_fit:
            _refuse_looking_at_others(self.inputs, X)
        self.problem = self.inputs.problem(y, sample_weight, same_fit=same_fit)
        options = {"solver": "auto", "hold": "auto", "precision": "float64", "verbose": False}
        try:
            answers = answers_of(self.problem, **options)
            self.answers, self.concern = moving(answers), answers.concern
        except DistantFitError as error:
            self.answers, self.concern = moving(error.polished()), str(error)
        self.whole = self._whole(X, y) if any_learns(self.inputs.steps) else None

    def _whole(self, X, y):
        inputs = self.inputs
        why = why_not(self.answers, inputs.steps, inputs.training_X, X, "auto")
        refits = Refits(inputs.transformers, X, y)
        if why is None and not refits.gives(inputs.training_X):
            why = "Fitted again on its rows a step does not give what it gave."
        if why is not None:
            raise TypeError(
                "Steps inside a model that is fitted to parts of the rows must be known without each of "
                f"them. Got {', '.join(name for name, _ in inputs.steps)}. {why}"
            )
        supervised = any(uses_y(one) for _, one in fitted_leaves(inputs.steps))
        given = self.answers, inputs.model, refits, inputs.training_X, supervised, BUDGET
        return WholePipeline(*given)

    def _quantity(self, X, method):
        design = self.problem.design.like(self.inputs.transform(X))
        return self.answers.quantity(Tests(design, None, None), self.of, method)

    def values(self, X, method):
        """What it says of rows, (m, ...)."""
        return self._quantity(X, method).before

    def values_without(self, X, rows, method, tol):
        """What it says of rows without each of some of its own, (m, n_rows, ...)."""
        quantity = self._quantity(X, method)
        if self.whole is None:
            moved = self.answers.row_effects(quantity, rows, None, method, tol)
        else:
            moved = self.whole.row_effects(quantity, X, rows, None, method, tol)
        return quantity.before[:, None] + moved

    def own_values(self, rows, method, tol):
        """What it says of each of some of its rows without that, (n_rows, ...)."""
        if self.whole is None:
            eta = self.answers.own_removals(method, tol, rows)
        else:
            eta = self.whole.own_values(rows, method, tol)
        loss = self.problem.loss
        if self.of == "predict_proba":
            return loss.predict_proba(eta)
        # A prediction is behind a link, where there is one.
        found = loss.mean(eta) if self.of == "predict" else loss.expand(eta)
        return found[:, 0] if np.shape(found)[1] == 1 else found


def _refuse_looking_at_others(inputs, X):
    """Refuse steps of the user's own that look at other rows: what these are is chosen here."""
    leaves = list(fitted_leaves(inputs.steps))
    names = [name for name, one in leaves if is_own_function(one) and not treats_rows_alone(one)]
    own = [name for name, one in leaves if not type(one).__module__.startswith("sklearn.")]
    if own and not names and not gives_rows_alone(inputs, X):
        names = own
    if names:
        raise TypeError(
            "Steps inside a model that is fitted to parts of the rows must give each row the same whatever "
            f"others are there. Got {', '.join(names)}, which gives rows of parts other values."
        )
