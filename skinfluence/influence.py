"""The object a user holds: a fitted model, its training data, and one factorisation."""

import numbers
import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted

from skinfluence import edits as _edits
from skinfluence import leave_one_out
from skinfluence._utils.calls import level_outside
from skinfluence._utils.memory import check_fits
from skinfluence._utils.rows import groups_of, named
from skinfluence._utils.typing import (
    Floats,
    Frozen,
    Hold,
    MatrixLike,
    Method,
    Names,
    Of,
    Precision,
    Scoring,
)
from skinfluence._utils.validation import in_numpy, refuse_masked
from skinfluence.answers import Tests, Top, answers_of, warn_of
from skinfluence.editing import Edited
from skinfluence.editing.model import edited_model
from skinfluence.editing.sequence import influence_after
from skinfluence.edits import Edit
from skinfluence.inputs import Inputs
from skinfluence.objective import refuse_unknown
from skinfluence.problem import check_problem
from skinfluence.quantity import Effect, Estimate
from skinfluence.smooth import answers as _smooth
from skinfluence.solvers import SingularHessianError, SolveReport
from skinfluence.solvers.base import SolverLike
from skinfluence.statistics import (
    BUDGET,
    HELD,
    UNMOVED,
    any_learns,
    estimating,
    fill_total,
    moves_with_features,
    moving,
    rows_after,
    warn_held,
)

QUESTIONS = ("removal_effect", "relabel_effect", "effect", "top", "loo")
SMALLER = "Ask for fewer rows with indices=, aggregate='mean' over the test points, or use top()."


class Influence:
    """What a fitted model would have been without, or with other, training rows.

    The objective is factored once, here; questions are then cheap. The estimator and the data are
    read, never changed, and questions may run concurrently.

    Parameters
    ----------
    estimator : estimator, Pipeline, search or wrapper
        Fitted. Searches, ``FrozenEstimator`` and ``TransformedTargetRegressor`` (with a straight
        line) are opened. What a search chose, ``RidgeCV`` and its like included, is held in every
        what-if; ``frozen`` says what becomes of that and of the transformers of a pipeline.
    X : array-like of shape (n_train, n_features)
        The rows given to ``fit``, in the same order; train indices refer to them.
    y : array-like of shape (n_train,)
        Or (n_train, n_targets) for ``Ridge`` and ``LinearRegression`` fitted on several targets.
    sample_weight : array-like of shape (n_train,), default=None
    solver : {"auto", "exact", "cg", "lissa"} or solver object, default="auto"
        How linear systems are solved; see :mod:`skinfluence.solvers`.
    hold : {"auto", "C", "lambda"}, default="auto"
        What edits keep: the penalty ("C") or the penalty over the total weight ("lambda").
        ``"auto"`` is what refitting the estimator on the edited data would do.
    precision : {"float64", "mixed"}, default="float64"
        ``"mixed"``: Gram matrices, factorisation and leverages in float32, gradients and solves in
        float64; bounds include what float32 leaves.
    polish : bool, default=False
        Take Newton steps to the optimum of the objective first, on a copy of the parameters, and
        ask about the model there: for fits that stopped early. :meth:`report` says how far the
        model moved.
    frozen : {None, "accept", "refuse"}, default=None
        What becomes of the transformers of a pipeline in finite questions (effects and ``loo_*``).
        None: they see the edit too, as ``clone(pipeline).fit`` on the edited rows would; where that
        is not known they stay as fitted, which a warning says, and those whose ``fit`` used y are
        refused. ``"accept"``: they stay as fitted. ``"refuse"``: an error where anything would.
        What a fit chose on the rows, such as the penalty of a search, is held as well: a warning
        names it, ``"accept"`` is silent, ``"refuse"`` an error.
        ``influence_up_*`` and ``self_influence`` are derivatives with the transformers as fitted,
        as their paper defines them.
    budget : float, default=60.0
        CPU seconds that may go into fitting transformers again, where nothing cheaper is known. Beyond
        it an error says how long a question would take. Both can be given to each question too.
    verbose : bool, default=False
        Show a progress bar while edits are solved (needs tqdm).

    Attributes
    ----------
    frozen, budget
        As given.
    objective : Objective
        Loss, design, penalty and weights at the fitted parameters.
    answers : Answers
        What answers derivatives and edits, by method.

    Raises
    ------
    TypeError
        For an estimator whose objective is not known.
    ValueError
        For penalties without a Hessian (L1), data that do not belong to the model, a singular
        Hessian.

    Notes
    -----
    Signs and scales of ``influence_*`` follow Koh and Liang (2017): the Hessian is divided by
    ``n_train`` and a negative ``influence_up_loss`` is helpful. Effects are *after minus before*,
    so a positive ``removal_effect`` is helpful.

    References
    ----------
    .. [1] P. W. Koh and P. Liang, "Understanding Black-box Predictions via Influence Functions",
       ICML 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence import Influence
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=500).fit(X, y)
    >>> inf = Influence(model, X, y)
    >>> inf.removal_effect(X[:2], y[:2]).shape
    (2, 150)
    """

    # Rows that :meth:`after` took out, and whether it made this object.
    _gone: frozenset[int] = frozenset()
    _followed = False

    def __init__(
        self,
        estimator: Any,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        solver: SolverLike = "auto",
        hold: Hold = "auto",
        precision: Precision = "float64",
        polish: bool = False,
        frozen: Frozen = None,
        budget: float = BUDGET,
        verbose: bool = False,
    ) -> None:
        leave_one_out.check_choice(frozen)
        options = {"solver": solver, "hold": hold, "precision": precision, "verbose": verbose}
        self._make(estimator, X, y, sample_weight, polish=polish, same_fit=True, **options)
        self.frozen, self.budget = frozen, budget

    @classmethod
    def _of_fit(cls, estimator, X, y, sample_weight):
        """An Influence on data that are known to be those of the fit, whatever the parameters are."""
        made = cls.__new__(cls)
        options = {"solver": "auto", "hold": "auto", "precision": "float64", "verbose": False}
        made._make(estimator, X, y, sample_weight, polish=False, same_fit=False, **options)
        return made

    def _make(self, estimator, X, y, sample_weight, *, polish, same_fit, **options):
        if not hasattr(estimator, "fit"):
            # No estimator: what it may be instead is known by its package.
            refuse_unknown(estimator)
        check_is_fitted(estimator)
        inputs = Inputs(estimator, X, y)
        problem = inputs.problem(y, sample_weight, same_fit=same_fit)
        check_problem(problem)
        try:
            answers = moving(answers_of(problem, **options))
            answers = answers.polished() if polish else answers
        except _smooth.SaturatedFitError as error:
            if not polish:
                raise
            answers = moving(error.polished())
        self._hold(estimator, inputs, answers)

    def _hold(self, estimator, inputs, answers, fitted=True):
        """Set what every Influence holds, of an estimator or of a module; where all of them begin."""
        self.estimator = estimator
        self._inputs = inputs
        self.answers = answers
        self.objective = answers.problem
        # A model that was solved here is at its optimum, wherever that solution began.
        self._concern = answers.concern if fitted else None
        self.frozen, self.budget = None, BUDGET
        # Whether the steps of a pipeline are a function of the rows: looked at when it matters.
        self._refits = None
        # Whether they were fitted here on these rows, or seen to give what they gave.
        self._fitted_again = False
        warn_of(self._concern)

    def __repr__(self) -> str:
        return f"Influence({self._inputs.model!r}, n_train={self.objective.n_samples})"

    # Derivatives -------------------------------------------------------------------------------

    def influence_up_params(
        self, *, indices: ArrayLike | None = None, labels: Names | None = None
    ) -> Floats:
        """Derivative of the parameters when a training row is up-weighted, eq. 1.

        ``-Hbar^-1 (J_i' g_i)``: per unit of ``w_i / n_train``.

        Parameters
        ----------
        indices : array-like of int or of bool, default=None
            Training rows by position, or a mask of them (a Series is aligned by its index); all
            when None.
        labels : array-like of labels, default=None
            Training rows by the index of their frame, instead of ``indices``.

        Returns
        -------
        influence : ndarray of shape (n_train, n_outputs, n_features + fit_intercept)
            The intercept last, in the units of ``intercept_``.
        """
        return self.answers.up_params(self._rows(indices, labels))

    def influence_up_loss(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        aggregate: Literal["mean"] | None = None,
        smoothing: Literal["auto"] | float | None = "auto",
    ) -> Floats:
        """Derivative of test losses when a training row is up-weighted, eq. 2.

        ``-g_t' J_t Hbar^-1 J_i' g_i``: negative means that up-weighting the row lowers the loss.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)
        y : array-like of shape (n_test,)
        indices : array-like of int or of bool, default=None
            Training rows by position, or a mask of them (a Series is aligned by its index); all
            when None.
        labels : array-like of labels, default=None
            Training rows by the index of their frame, instead of ``indices``.
        aggregate : {None, "mean"}, default=None
            ``"mean"``: of the mean test loss, at the cost of one test point.
        smoothing : {"auto", None} or float, default="auto"
            For models with a hinge, which has no second derivative: the temperature of Koh and
            Liang's smooth hinge at the fitted parameters, or None for the derivative of the
            solution itself, which is zero for support vectors on the margin. ``"auto"``: 1e-3.

        Returns
        -------
        influence : ndarray of shape (n_test, n_train), or (n_train,) with ``aggregate="mean"``
        """
        rows = self._rows(indices, labels)
        tests = self._labelled_tests(X, y, aggregate)
        check_fits((1 if aggregate else tests.design.n_samples, len(rows)), SMALLER)
        some = None if indices is labels is None else rows
        out = self.answers.smoothed(smoothing).up_loss(tests, some, aggregate)
        return out[0] if aggregate else out

    def influence_pert(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        aggregate: Literal["mean"] | None = None,
        smoothing: Literal["auto"] | float | None = "auto",
        frozen: Frozen = None,
    ) -> Floats:
        """Derivative of test losses in the features of a training row, eq. 5.

        Moving training row i by a small ``delta`` changes the test loss by
        ``(w_i / n_train) * influence @ delta``.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)
        y : array-like of shape (n_test,)
        indices : array-like of int or of bool, default=None
            Training rows by position, or a mask of them (a Series is aligned by its index); all
            when None.
        labels : array-like of labels, default=None
            Training rows by the index of their frame, instead of ``indices``.
        aggregate : {None, "mean"}, default=None
            ``"mean"``: of the mean test loss, at the cost of one test point.
        smoothing : {"auto", None} or float, default="auto"
            As in :meth:`influence_up_loss`. ``"auto"``: None, which agrees with refits.
        frozen : {None, "accept", "refuse"}, default=None
            What becomes of what was learned from the rows besides the model: the statistics of the
            transformers of a pipeline, and ``gamma="scale"``. None: the choice of the object; if that
            is None too, they move with the row, and so do all rows and the test points; where that is
            not known all of them stay as fitted, which a warning says. ``"accept"``: they stay as
            fitted. ``"refuse"``: an error where they would.

        Returns
        -------
        influence : ndarray of shape (n_test, n_train, n_features), or (n_train, n_features)
            In the features given to ``fit``; through a pipeline whose transformers have a
            pullback (:func:`skinfluence.pipeline.pullback`).
        """
        rows = self._rows(indices, labels)
        tests = self._labelled_tests(X, y, aggregate)
        n_test = 1 if aggregate else tests.design.n_samples
        shape = (n_test, len(rows), self._inputs.n_raw_features)
        check_fits(shape, SMALLER)
        out = np.empty(shape)
        answers = self.answers.smoothed(smoothing)
        leave_one_out.check_choice(frozen)
        frozen = self.frozen if frozen is None else frozen
        why = None
        if frozen != "accept" and moves_with_features(self):
            try:
                fill_total(self, answers, tests, X, rows, aggregate, out)
                return out[0] if aggregate else out
            except TypeError as error:
                if frozen == "refuse":
                    raise
                why = error
        answers.pert_loss(tests, rows, aggregate, self._inputs.pull_back, out)
        if why is not None:
            warn_held(why)
        return out[0] if aggregate else out

    def self_influence(self) -> Floats:
        """Influence of each training row on its own loss, ``g_i' J_i Hbar^-1 J_i' g_i``.

        Returns
        -------
        influence : ndarray of shape (n_train,)
            ``-influence_up_loss`` of a row on itself: non-negative when C is held.
        """
        return self.answers.self_influence()

    # Edits -------------------------------------------------------------------------------------

    def removal_effect(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        *,
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
        whole = leave_one_out.whole_pipeline(self, method, frozen, budget)
        answers = leave_one_out.answers_for(self, frozen)
        quantity = answers.quantity(self._tests(X, y), of, method)
        if groups is not None:
            if indices is not None or labels is not None:
                raise ValueError("groups= and indices= or labels= cannot be given together.")
            return self._group_effects(quantity, method, tol, groups, answers, whole, X)
        rows = self._rows(indices, labels)
        self._check_effect_fits(quantity, len(rows))
        if whole is not None:
            return whole.row_effects(quantity, X, rows, None, method, tol)
        return answers.row_effects(quantity, rows, None, method, tol)

    def relabel_effect(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        *,
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
        X, y, of, method, tol, indices, labels, frozen, budget
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
        whole = leave_one_out.whole_pipeline(self, method, frozen, budget)
        answers = leave_one_out.answers_for(self, frozen)
        quantity = answers.quantity(self._tests(X, y), of, method)
        rows = self._rows(indices, labels)
        n_classes = len(self.objective.labels.classes)
        self._check_effect_fits(quantity, len(rows) * n_classes)
        shape = quantity.shape
        out = np.empty((*shape[:1], len(rows), n_classes, *shape[1:]))
        for label in range(n_classes):
            place = out[:, :, label] if shape else out[:, label]
            if whole is not None:
                whole.row_effects(quantity, X, rows, label, method, tol, place)
            else:
                answers.row_effects(quantity, rows, label, method, tol, place)
        return out

    def effect(
        self,
        edits: Edit | Iterable[Edit],
        X: MatrixLike,
        y: ArrayLike | None = None,
        *,
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
        X, y, of, method, tol, frozen, budget
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
            For an edit that leaves nothing, a class without weight, or classes that an
            unpenalised model separates; for weights below zero.
        """
        answers = leave_one_out.answers_for(self, frozen).holding(hold)
        whole = leave_one_out.whole_pipeline(self, method, frozen, budget)
        single = isinstance(edits, Edit)
        asked = [edits] if isinstance(edits, Edit) else list(edits)
        quantity = answers.quantity(self._tests(X, y), of, method)
        if whole is None:
            points = [self._resolve(edit) for edit in asked]
            values, *trust = answers.effects(points, quantity, method, tol)
            route = np.full(len(asked), HELD if any_learns(self._inputs.steps) else UNMOVED)
        else:
            whole = whole.holding(hold)
            after = [self._rows_after(edit) for edit in asked]
            found = whole.effects(
                after, lambda i: self._resolve(asked[i]), quantity, X, method, tol
            )
            values, *trust, route = found
        better = quantity.greater_is_better
        if single:
            values = values[:, 0] if quantity.shape else values[0]
            return answers.effect_type(
                values, *[one[0] for one in trust], route=str(route[0]), greater_is_better=better
            )
        return answers.effect_type(values, *trust, route=route, greater_is_better=better)

    def edited(self, edit: Edit, *, tol: float = 1e-8, frozen: Frozen = None) -> Edited:
        """The fitted estimator after an edit of the training data, as a refit would give it.

        Parameters
        ----------
        edit : Edit
            From :mod:`skinfluence.edits`.
        tol : float, default=1e-8
            Error of the parameters relative to their change, in the norm of the edited Hessian, of
            smooth models; kernel models are solved exactly.
        frozen : {None, "accept", "refuse"}, default=None
            What becomes of that which learned from the rows besides the model: the transformers of
            a pipeline, balanced class weights, ``gamma="scale"``. None: as the object was made with,
            and by default fitted again on the edited rows, as by ``clone(estimator).fit``.
            ``"accept"``: as fitted. ``"refuse"``: fitted again, whatever the object was made with.

        Returns
        -------
        edited : Edited
            With ``estimator``, ``error_at(X)`` and ``report``.

        Raises
        ------
        ValueError
            For an edit without a model (see :meth:`effect`), and for transformers that do not give
            what they gave when they are fitted again.

        Notes
        -----
        The estimator is a copy; it holds nothing of removed rows. Fitting it again, or a clone, is
        as with any other.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from skinfluence import Influence, edits
        >>> X, y = load_iris(return_X_y=True)
        >>> model = LogisticRegression(max_iter=500).fit(X, y)
        >>> after = Influence(model, X, y).edited(edits.remove([0, 77]))
        >>> after.estimator
        LogisticRegression(max_iter=500)
        >>> bool(after.error_at(X).max() < 1e-6)
        True
        """
        return edited_model(self, edit, tol, frozen)

    def after(self, edit: Edit, *, frozen: Frozen = None) -> "Influence":
        """The same object after an edit, for the next questions and the next edits.

        Rows keep their numbers: a removed row stays removed and its number is not given again,
        relabelled and replaced ones stay where they are, new rows are appended. Streams of
        corrections and removals speak of each row by one number.

        Parameters
        ----------
        edit : Edit
            From :mod:`skinfluence.edits`.
        frozen : {None, "accept", "refuse"}, default=None
            As in :meth:`edited`; with ``"accept"`` the next object holds too, unless it is told
            otherwise.

        Returns
        -------
        influence : Influence
            With ``estimator``, fitted as after a refit on the edited rows. This object stays as it is.

        Raises
        ------
        ValueError
            For an edit of a row that an earlier one removed, and as :meth:`edited`.

        Notes
        -----
        Smooth models keep their Hessian: an edit changes it by the rows that it touches, and a few
        gradients take the model to its optimum, where each is certified by its own gradient. It is
        formed anew when decision values have moved far enough for that to pay. Of a quadratic loss
        there is no pass over the rows but every 64th time.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from skinfluence import Influence, edits
        >>> X, y = load_iris(return_X_y=True)
        >>> inf = Influence(LogisticRegression(max_iter=500).fit(X, y), X, y)
        >>> for row in [77, 106, 133]:
        ...     inf = inf.after(edits.remove(row))
        >>> inf.estimator.coef_.shape
        (3, 4)
        """
        return influence_after(self, edit, frozen)

    def top(
        self,
        X: MatrixLike,
        y: ArrayLike,
        k: int = 10,
        *,
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
        method, tol, frozen, budget
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
        whole = leave_one_out.whole_pipeline(self, method, frozen, budget)
        answers = leave_one_out.answers_for(self, frozen)
        quantity = answers.quantity(self._tests(X, y), "loss", method)
        k = min(int(k), self.objective.n_samples)
        if whole is not None:
            return whole.top(quantity, X, k, method, tol)
        return answers.top(quantity, k, method, tol)

    def estimate(
        self,
        question: Literal["removal_effect", "relabel_effect", "effect", "top", "loo"],
        X: MatrixLike | None = None,
        *,
        edits: Edit | Iterable[Edit] | None = None,
        groups: ArrayLike | None = None,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        method: Method = "auto",
        frozen: Frozen = None,
    ) -> Estimate:
        """What a finite question costs: fits of transformers, their CPU seconds, memory.

        Two of the fits are made to see how long they take; nothing is kept of them.

        Parameters
        ----------
        question : {"removal_effect", "relabel_effect", "effect", "top", "loo"}
            The method that would be asked; ``"loo"`` for all ``loo_*``.
        X : array-like of shape (n_test, n_features), default=None
            The test points, one training row when None.
        edits : Edit or list of Edit, default=None
            Of ``effect``.
        groups, indices, labels, method, frozen
            As the question would be given them.

        Returns
        -------
        estimate : Estimate
            With ``routes``, ``fits``, ``seconds`` and ``memory``.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skinfluence import Influence
        >>> X, y = load_iris(return_X_y=True)
        >>> model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
        >>> Influence(model, X, y).estimate("loo").routes
        {'penalty moved': 150}
        """
        if question not in QUESTIONS:
            raise ValueError(f"question must be one of {QUESTIONS}. Got {question!r} instead.")
        whole = leave_one_out.whole_pipeline(self, method, frozen, np.inf)
        rows = self._rows(indices, labels)
        X = self._inputs.raw_rows([0]) if X is None else X
        n_test = self._tests(X, None).design.n_samples
        n_outputs = self.objective.loss.n_outputs
        if question == "effect" or groups is not None:
            if groups is not None:
                names, position = np.unique(np.asarray(groups), return_inverse=True)
                given = [_edits.remove(np.flatnonzero(position == i)) for i in range(len(names))]
            else:
                given = [edits] if isinstance(edits, Edit) else list(edits or ())
            numbers, n_edits = n_test * len(given), len(given)
        else:
            n_labels = 1
            if question == "relabel_effect":
                n_labels = len(self.objective.labels.classes)
            n_edits = len(rows) * max(n_labels - 1, 1)
            numbers = n_test * len(rows) * n_labels
            if question == "loo":
                numbers = len(rows) * n_outputs
        if whole is None:
            way = HELD if any_learns(self._inputs.steps) else UNMOVED
            return estimating.held(n_edits, way, numbers)
        if question == "effect" or groups is not None:
            after = [self._rows_after(edit) for edit in given]
            return estimating.of_edits(whole, after, X, method, numbers)
        relabels = question == "relabel_effect"
        return estimating.of_rows(whole, rows, relabels, X, method, numbers)

    # Leave one out -----------------------------------------------------------------------------

    def loo_decision_function(
        self,
        *,
        method: Method = "auto",
        tol: float = 1e-3,
        frozen: Frozen = None,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        budget: float | None = None,
    ) -> Floats:
        """Decision values of each training row from the model without it, (n_train, ...).

        NaN, with a warning, for the only row of a class.

        Parameters
        ----------
        method, tol
            As in :meth:`removal_effect`.
        frozen : {None, "accept", "refuse"}, default=None
            What becomes of the transformers of a pipeline, as of the object; that of the object
            when None.
        indices : array-like of int or of bool, default=None
            Training rows by position, or a mask of them; all when None.
        labels : array-like of labels, default=None
            Training rows by the index of their frame, instead of ``indices``.
        budget : float, default=None
            CPU seconds that may go into fitting transformers again; those of the object when None.

        Returns
        -------
        values : ndarray of shape (n_rows,) or (n_rows, n_classes)

        Raises
        ------
        OverBudgetError
            A ``RuntimeError``, with the estimate and the remedies.
        """
        rows = self._rows(indices, labels)
        found = self._loo(rows, method, tol, frozen, budget)
        return found.decision_function(rows[:, None])

    def loo_predict_proba(
        self,
        *,
        method: Method = "auto",
        tol: float = 1e-3,
        frozen: Frozen = None,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        budget: float | None = None,
    ) -> Floats:
        """Class probabilities of each training row without it, (n_train, n_classes).

        Parameters
        ----------
        method, tol, frozen, indices, labels, budget
            As in :meth:`loo_decision_function`.
        """
        rows = self._rows(indices, labels)
        return self._loo(rows, method, tol, frozen, budget).predict_proba(rows[:, None])

    def loo_predict(
        self,
        *,
        method: Method = "auto",
        tol: float = 1e-3,
        frozen: Frozen = None,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        budget: float | None = None,
    ) -> NDArray[Any]:
        """Predictions for each training row from the model without it, (n_train,).

        Parameters
        ----------
        method, tol, frozen, indices, labels, budget
            As in :meth:`loo_decision_function`.
        """
        rows = self._rows(indices, labels)
        return self._loo(rows, method, tol, frozen, budget).predict(rows[:, None])

    def loo_score(
        self,
        scoring: Scoring = None,
        *,
        method: Method = "auto",
        tol: float = 1e-3,
        frozen: Frozen = None,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        budget: float | None = None,
    ) -> float:
        """A scorer on the pooled leave-one-out outputs, of all rows or of some.

        Parameters
        ----------
        scoring : str or scorer, default=None
            As in scikit-learn; accuracy or R2 when None.
        method, tol, frozen, indices, labels, budget
            As in :meth:`loo_decision_function`.
        """
        rows = None if indices is labels is None else self._rows(indices, labels)
        options = {"method": method, "tol": tol, "frozen": frozen, "budget": budget}
        return leave_one_out.pooled_score(self, self._y(), scoring, rows, **options)

    def report(self) -> SolveReport:
        """How the systems are solved and how near the fit is to its optimum: a SolveReport.

        Its ``held`` names what the estimator or a search chose on all rows, which answers hold.
        """
        report, chosen = self.answers.report(), self.objective.chosen
        return report if chosen is None else replace(report, held=str(chosen))

    # Plumbing ----------------------------------------------------------------------------------

    def _y(self):
        """The training targets as the user gave them."""
        labels = self.objective.labels
        y = self.objective.y
        return y if labels is None else labels.classes[labels.codes_of(y)]

    def _loo(self, rows, method, tol, frozen, budget):
        every = len(rows) == self.objective.n_samples and (rows == np.arange(len(rows))).all()
        return leave_one_out.outputs(self, method, tol, frozen, None if every else rows, budget)

    def _rows(self, indices, labels=None):
        n = self.objective.n_samples
        if indices is None and labels is None:
            return np.arange(n)
        return named(indices, labels, "indices").positions(n, self._inputs.labels)

    def _encode_y(self, y):
        """The loss's y, class positions or targets for callables, and class weights."""
        refuse_masked(y=y)
        y, labels = in_numpy(y), self.objective.labels
        if labels is None:
            y, own = np.asarray(y, dtype=float), np.shape(self.objective.y)[1:]
            y = y if own else column_or_1d(y)
            if y.shape[1:] != own or not np.isfinite(y).all():
                raise ValueError(
                    f"y must be finite numbers, {own[0]} for each row. Got an array of shape {y.shape}."
                    if own
                    else "y must be a one-dimensional array of finite numbers."
                )
            y = self.objective.loss.check_y(y)
            return y, y, np.ones(len(y))
        codes = labels.codes(column_or_1d(y))
        return labels.targets[codes], codes, labels.class_weight[codes]

    def _tests(self, X, y):
        design = self.objective.design.like(self._inputs.transform(X))
        if y is None:
            return Tests(design, None, None, self.objective.labels)
        encoded, codes, _ = self._encode_y(y)
        if len(codes) != design.n_samples:
            raise ValueError(
                f"X and y must have one row each per test point. Got {design.n_samples} and "
                f"{len(codes)}."
            )
        return Tests(design, encoded, codes, self.objective.labels)

    def _labelled_tests(self, X, y, aggregate):
        if aggregate not in (None, "mean"):
            raise ValueError(f"aggregate must be None or 'mean'. Got {aggregate!r} instead.")
        if y is None:
            raise ValueError("The influence on test losses needs y, the labels of the test points.")
        return self._tests(X, y)

    def _encoded(self, y):
        encoded, _, weight = self._encode_y(y)
        return encoded, weight

    def _resolve(self, edit):
        transform_row, labels = self._inputs.transform_row, self._inputs.labels
        return _edits.resolve(edit, self.objective, transform_row, self._encoded, labels)

    def _rows_after(self, edit):
        raw_row, labels = self._inputs.raw_row, self._inputs.labels
        return rows_after(edit, self.objective, self._y(), raw_row, self._encoded, labels)

    def _group_effects(self, quantity, method, tol, groups, answers, whole, X):
        names, position = groups_of(groups, self.objective.n_samples, self._inputs.labels)
        self._check_effect_fits(quantity, len(names))
        members = np.split(
            np.argsort(position, kind="stable"), np.cumsum(np.bincount(position))[:-1]
        )
        values = np.full((*quantity.shape[:1], len(names), *quantity.shape[1:]), np.nan)
        points, kept, unanswered = [], [], []
        for i, rows in enumerate(members):
            try:
                if whole is None:
                    points.append(_edits.removal(self.objective, rows))
                else:
                    points.append(self._rows_after(_edits.remove(rows)))
                kept.append(i)
            except _edits.NoOptimumError:
                unanswered.append(i)
        if whole is None:
            unanswered += self._fill_groups(values, kept, points, quantity, method, tol, answers)
        elif points:
            found = whole.effects(
                points,
                lambda i: self._resolve(_edits.remove(members[kept[i]])),
                quantity,
                X,
                method,
                tol,
                strict=False,
            )[0]
            values[(slice(None), kept) if quantity.shape else kept] = found
        if unanswered:
            shown = ", ".join(str(name) for name in names[sorted(unanswered)[:5]])
            warnings.warn(
                f"Group {shown} holds all the weight of a class, or of all, or decides a parameter "
                "alone: without it there is no model to compare with, so its answers are NaN.",
                UserWarning,
                stacklevel=level_outside(),
            )
        return values

    def _fill_groups(self, values, groups, points, quantity, method, tol, answers):
        """Write the effects of edits at their ``groups`` of ``values``; say which have none."""
        if not points:
            return []
        try:
            found = answers.effects(points, quantity, method, tol)[0]
        except SingularHessianError:
            # One of them leaves a parameter undetermined: halve until it stands alone.
            if len(points) == 1:
                return groups
            half = len(points) // 2
            return [
                i
                for part in (slice(half), slice(half, None))
                for i in self._fill_groups(
                    values, groups[part], points[part], quantity, method, tol, answers
                )
            ]
        values[(slice(None), groups) if quantity.shape else groups] = found
        return []

    def _check_effect_fits(self, quantity, n_edits):
        shape = (*quantity.shape[:1], n_edits, *quantity.shape[1:])
        check_fits(shape, SMALLER)
