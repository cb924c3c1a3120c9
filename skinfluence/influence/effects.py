"""What happens at test points when rows are removed, relabelled, or edited in any other way."""

from __future__ import annotations

import numbers
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from skinfluence._utils.typing import Floats, Frozen, Hold, MatrixLike, Method, Names, Of
from skinfluence.answers import Top
from skinfluence.edits import Edit
from skinfluence.influence.answering import answering
from skinfluence.influence.data import Asked, check_effects_fit
from skinfluence.influence.groups import group_effects, members_of
from skinfluence.influence.several import effects_of_several
from skinfluence.quantity import Effect


class Effects(Asked):
    """Finite changes, after minus before."""

    def removal_effect(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        *,
        offset: ArrayLike | None = None,
        of: Of = "loss",
        method: Method = "auto",
        tol: float = 1e-3,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        groups: ArrayLike | None = None,
        frozen: Frozen = None,
        budget: float | None = None,
    ) -> Floats:
        """Change of a quantity at test points when each training row is removed.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)
        y : array-like of shape (n_test,), default=None
            Needed for the loss.
        offset : float or array-like of shape (n_test,), default=None
            Of the test points, where the model has an offset: needed there for all but
            ``of="decision_function"``.
        of : str, scorer or callable, default="loss"
            ``"loss"``, ``"decision_function"``, ``"predict_proba"``; ``"predict"``: of a classifier 1
            where the predicted class becomes another, of a regressor the change of the prediction;
            or a scorer, by name (``"accuracy"``, ``"roc_auc"``) or made by scikit-learn, of all test
            points together: a positive effect says that the score is *better* without the row.
            A callable gets the decision values of all test points, ``fn(eta)`` or ``fn(eta, y)``
            with class positions (or targets) as y, and returns one value per test point or one
            scalar.
        method : {"auto", "exact", "one-step", "influence"}, default="auto"
            ``"influence"``: first order. ``"one-step"``: one Newton step on the edited problem
            (exact for squared error). ``"auto"``: the step with a bound on its error, and more
            work on the rows where the bound is above ``tol``. ``"exact"``: solved to round-off.
            The last two measure from the optimum of the objective, to which they polish the fit
            on their own copy; the first two from the parameters as fitted.
            Hinge models: ``"auto"`` and ``"exact"`` follow the path of the solution, which is exact;
            all methods start from the optimum.
        tol : float, default=1e-3
            For ``"auto"``: error of the parameters relative to their change, in the norm of the
            edited Hessian.
        indices : array-like of int or of bool, default=None
            Training rows by position, or a mask of them (a Series is aligned by its index); all
            when None.
        labels : array-like of labels, default=None
            Training rows by the index of their frame, instead of ``indices``.
        groups : array-like of shape (n_train,), default=None
            Remove all rows of a group together; columns in the order of ``np.unique(groups)``. A
            Series has the index of the training rows.
        frozen, budget
            Of a pipeline, for this question; those of the object when None.

        Returns
        -------
        effect : ndarray of shape (n_test, n_train, ...)
            After minus before. For losses, positive is helpful.

        Raises
        ------
        OverBudgetError
            A ``RuntimeError``, with the estimate and the remedies.
        """
        if groups is not None:
            if indices is not None or labels is not None:
                raise ValueError("groups= and indices= or labels= cannot be given together.")
            named = members_of(self, groups)
            self.data.look_at_groups(named[1])
        asked = answering(self, method, frozen, budget)
        quantity = asked.quantity(self.data.tests(X, y, offset), of, method)
        if groups is not None:
            return group_effects(asked, quantity, X, named, method, tol)
        rows = self.data.positions(indices, labels)
        check_effects_fit(quantity, len(rows))
        return asked.row_effects(quantity, X, rows, None, method, tol)

    def relabel_effect(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        *,
        offset: ArrayLike | None = None,
        of: Of = "loss",
        method: Method = "auto",
        tol: float = 1e-3,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        frozen: Frozen = None,
        budget: float | None = None,
    ) -> Floats:
        """Change of a quantity at test points when each training row gets each other label.

        Parameters
        ----------
        X, y, offset, of, method, tol, indices, labels, frozen, budget
            As in :meth:`removal_effect`.

        Returns
        -------
        effect : ndarray of shape (n_test, n_train, n_classes, ...)
            After minus before; 0 at a row's own label. Classes in the order of ``classes_``.
        """
        if self.objective.labels is None:
            raise ValueError(
                "relabel_effect needs a classifier. For a regression use effect(edits.relabel(i, "
                "new_target), X, y)."
            )
        asked = answering(self, method, frozen, budget)
        quantity = asked.quantity(self.data.tests(X, y, offset), of, method)
        rows = self.data.positions(indices, labels)
        n_classes = len(self.objective.labels.classes)
        check_effects_fit(quantity, len(rows) * n_classes)
        shape = quantity.shape
        out = np.empty((*shape[:1], len(rows), n_classes, *shape[1:]))
        for label in range(n_classes):
            place = out[:, :, label] if shape else out[:, label]
            asked.row_effects(quantity, X, rows, label, method, tol, place)
        return out

    def effect(
        self,
        edits: Edit | Iterable[Edit],
        X: MatrixLike,
        y: ArrayLike | None = None,
        *,
        offset: ArrayLike | None = None,
        of: Of = "loss",
        method: Method = "auto",
        hold: Hold | None = None,
        tol: float = 1e-3,
        frozen: Frozen = None,
        budget: float | None = None,
    ) -> Effect:
        """Change of a quantity at test points under any edit of the training data.

        Parameters
        ----------
        edits : Edit or list of Edit
            From :mod:`skinfluence.edits`; an edit made of several is made together.
        X, y, offset, of, method, tol, frozen, budget
            As in :meth:`removal_effect`.
        hold : {None, "auto", "C", "lambda"}, default=None
            What these edits keep, if not what the object was made with.

        Returns
        -------
        effect : Effect
            With ``values`` of shape (n_test, ...) for one edit, (n_test, n_edits, ...) for a list.

        Raises
        ------
        ValueError
            For an edit that leaves nothing, a class without weight, or no optimum of a model without a
            penalty; in a list such an edit has NaN, with a warning that names it, where others have
            answers. For weights below zero; for a row that :meth:`after` took out.
        """
        single = isinstance(edits, Edit)
        edits = [edits] if isinstance(edits, Edit) else list(edits)
        self.data.look_at(edits)
        asked = answering(self, method, frozen, budget, hold)
        quantity = asked.quantity(self.data.tests(X, y, offset), of, method)
        better, effect_type = quantity.greater_is_better, asked.answers.effect_type

        def ask(some):
            return asked.edit_effects(some, quantity, X, method, tol)

        if single:
            values, *trust, route = ask(edits)
            values = values[:, 0] if quantity.shape else values[0]
            return effect_type(
                values, *[one[0] for one in trust], route=str(route[0]), greater_is_better=better
            )
        values, (*trust, route) = effects_of_several(ask, edits, quantity)
        return effect_type(values, *trust, route=route, greater_is_better=better)

    def top(
        self,
        X: MatrixLike,
        y: ArrayLike,
        k: int = 10,
        *,
        offset: ArrayLike | None = None,
        method: Method = "auto",
        tol: float = 1e-3,
        frozen: Frozen = None,
        budget: float | None = None,
    ) -> Top:
        """The ``k`` most helpful and most harmful training rows of each test point.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)
        y : array-like of shape (n_test,)
        k : int, default=10
        offset, method, tol, frozen, budget
            As in :meth:`removal_effect`.

        Returns
        -------
        top : Top

        Notes
        -----
        Streams over the training rows: the full matrix is never built.
        """
        if not isinstance(k, numbers.Integral) or k < 1:
            raise ValueError(f"k must be a positive integer. Got {k!r} instead.")
        asked = answering(self, method, frozen, budget)
        quantity = asked.quantity(self.data.tests(X, y, offset), "loss", method)
        return asked.top(quantity, X, min(int(k), self.objective.n_samples), method, tol)
