"""The object a user holds: a fitted model, its training data, and one factorisation.

What it is asked is of two kinds: derivatives, and effects of edits, of which leaving each row out is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skinfluence._utils.typing import Frozen, Hold, MatrixLike, Method, Names, Precision
from skinfluence._utils.validation import check_frozen_choice
from skinfluence.answers import answers_of
from skinfluence.answers.checks import warn_of
from skinfluence.editing import Edited
from skinfluence.editing.model import edited_model
from skinfluence.editing.sequence import model_after
from skinfluence.edits import Edit
from skinfluence.influence.data import ProblemData
from skinfluence.influence.derivatives import Derivatives
from skinfluence.influence.effects import Effects
from skinfluence.influence.estimates import estimate_of
from skinfluence.influence.left_out import LeftOut
from skinfluence.inputs import Inputs
from skinfluence.objective import refuse_unknown
from skinfluence.problem import check_problem
from skinfluence.quantity import Estimate
from skinfluence.smooth import answers as _answers  # noqa: F401  registers the answers
from skinfluence.solvers import SolveReport
from skinfluence.solvers.base import DistantFitError, SolverLike
from skinfluence.statistics import BUDGET, moving


class Influence(Derivatives, Effects, LeftOut):
    """What a fitted model would have been without, or with other, training rows.

    The objective is factored once, here; questions are then cheap. The estimator and the data are
    read, never changed, and questions may run concurrently.

    Parameters
    ----------
    estimator : estimator, Pipeline, search or wrapper
        Fitted. Searches, ``FrozenEstimator`` and ``TransformedTargetRegressor`` are opened: predictions
        and scores are in the units of ``y``, losses and decision values in those of its regressor.
        What a search chose, ``RidgeCV`` and its like included, is held in every what-if; ``frozen``
        says what becomes of that and of the transformers of a pipeline.
    X : array-like of shape (n_train, n_features)
        The rows given to ``fit``, in the same order; train indices refer to them.
    y : array-like of shape (n_train,)
        Or (n_train, n_targets) for ``Ridge`` and ``LinearRegression`` fitted on several targets.
    sample_weight : array-like of shape (n_train,), default=None
    offset : array-like of shape (n_train,), default=None
        What stands beside the features in the decision values of the fit, ``X @ coef_ + intercept_ +
        offset``: the log of an exposure, say. Of logistic regressions of two classes, and of Poisson,
        Gamma and Tweedie regressions, whose parameters are then those of a fit with it, by whatever
        software; the objective is otherwise that of the estimator. Test points and added rows bring
        their own.
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

    def __init__(
        self,
        estimator: Any,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        *,
        solver: SolverLike = "auto",
        hold: Hold = "auto",
        precision: Precision = "float64",
        polish: bool = False,
        frozen: Frozen = None,
        budget: float = BUDGET,
        verbose: bool = False,
    ) -> None:
        check_frozen_choice(frozen)
        options = {"solver": solver, "hold": hold, "precision": precision, "verbose": verbose}
        data = X, y, sample_weight, offset
        self._make(estimator, *data, polish=polish, same_fit=True, **options)
        self.frozen, self.budget = frozen, budget

    def _make(self, estimator, X, y, sample_weight, offset, *, polish, same_fit, **options):
        if not hasattr(estimator, "fit"):
            # No estimator: what it may be instead is known by its package.
            refuse_unknown(estimator)
        check_is_fitted(estimator)
        inputs = Inputs(estimator, X, y)
        problem = inputs.problem(y, sample_weight, offset, same_fit=same_fit)
        check_problem(problem)
        try:
            answers = moving(answers_of(problem, **options))
            answers = answers.polished() if polish else answers
        except DistantFitError as error:
            if not polish:
                raise
            answers = moving(error.polished())
        self._hold(estimator, answers, ProblemData(answers.problem, inputs, answers.concern))

    def _hold(self, estimator, answers, data):
        """Set what every Influence holds, of an estimator or of a module; where all of them begin."""
        self.estimator, self.answers, self.data = estimator, answers, data
        self.objective = data.problem
        self.frozen, self.budget = None, BUDGET
        warn_of(data.concern)

    def __repr__(self) -> str:
        return f"Influence({self.data.inputs.shown!r}, n_train={self.objective.n_samples})"

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

    def after(self, edit: Edit, *, frozen: Frozen = None) -> Influence:
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
        after = model_after(self, edit, frozen)
        data = ProblemData(
            after.answers.problem,
            after.inputs,
            gone=after.gone,
            left=after.left,
            followed=True,
            fitted_again=after.fitted_again,
        )
        made = type(self).__new__(type(self))
        made._hold(after.estimator, after.answers, data)
        made.frozen = "accept" if after.held else self.frozen
        made.budget = self.budget
        return made

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
        return estimate_of(self, question, X, edits, groups, indices, labels, method, frozen)

    def report(self) -> SolveReport:
        """How the systems are solved and how near the fit is to its optimum: a SolveReport.

        Its ``held`` names what the estimator or a search chose on all rows, which answers hold.
        """
        report, chosen = self.answers.report(), self.objective.chosen
        return report if chosen is None else replace(report, held=str(chosen))


def influence_of_fit(estimator, X, y, sample_weight):
    """An Influence on data that are known to be those of the fit, whatever the parameters are."""
    made = Influence.__new__(Influence)
    options = {"solver": "auto", "hold": "auto", "precision": "float64", "verbose": False}
    data = X, y, sample_weight, None
    made._make(estimator, *data, polish=False, same_fit=False, **options)
    return made
