"""What :class:`~skinfluence.Influence` asks of a fitted problem, whatever its kind.

Each kind of :class:`~skinfluence.problem.Problem` has its :class:`Answers`, which :func:`answers_of`
finds. What a kind does not know, it refuses by name.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from skinfluence.answers.streams import Top, gathered, top_of
from skinfluence.design import Design
from skinfluence.quantity import Effect

__all__ = ["Answers", "Tests", "Top", "answers_of", "check_method"]

# The local methods answer around the parameters as fitted, the others from the optimum.
LOCAL = ("influence", "one-step")
METHODS = (*LOCAL, "auto", "exact")
EXACT_INSTEAD = "removal_effect, effect and loo_*, which are exact"
FEWER_TESTS = "Ask for fewer test points at a time, or aggregate='mean' over them."


@dataclass(frozen=True, eq=False)
class Tests:
    """Evaluation points as the problem sees them.

    Attributes
    ----------
    design : Design
        ``problem.design.like(X)``.
    y : ndarray of shape (n_test, ...) or None
        As the loss wants it.
    codes : ndarray of shape (n_test,) or None
        Class positions, or the targets: what a callable ``of`` gets.
    labels : Labels, default=None
        Of a classifier: what ``of="predict"`` and scorers ask for.
    offset : ndarray of shape (n_test,), default=None
        What stands beside their decision values; ``y`` has it with it.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.answers import Tests
    >>> from skinfluence.design import design_of
    >>> tests = Tests(design_of(np.array([[5.0]])), np.array([4.0]), np.array([4.0]))
    >>> tests.design.n_samples, tests.y
    (1, array([4.]))
    """

    design: Design
    y: np.ndarray | None
    codes: np.ndarray | None
    labels: object = None
    offset: np.ndarray | None = None


class Answers(ABC):
    """Derivatives and effects of edits of one fitted problem, by method.

    Attributes
    ----------
    problem : Problem
    effect_type : type
        What :meth:`effects` fills, an :class:`~skinfluence.quantity.Effect` or a subclass.
    certifies : bool
        Whether ``"auto"`` refines ``"one-step"``, at a price per row, until a bound is met.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import objective_of
    >>> from skinfluence.answers import Answers, answers_of
    >>> X, y = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([0.0, 1.0, 1.0, 4.0])
    >>> problem = objective_of(Ridge().fit(X, y), X, y)
    >>> answers = answers_of(problem, solver="auto", hold="auto", precision="float64", verbose=False)
    >>> isinstance(answers, Answers), answers.self_influence().round(2)
    (True, array([0.  , 0.03, 0.53, 0.89]))
    """

    problem = None
    effect_type = Effect
    certifies = False

    @abstractmethod
    def report(self):
        """How the fit and its factorisation are, a report with attributes to print."""

    @abstractmethod
    def holding(self, hold):
        """The answers under another meaning of edits, ``"C"`` or ``"lambda"``; these for None."""

    @property
    def held(self):
        """The answers with the statistics of the estimator itself, class weights say, as fitted."""
        return self

    @property
    def at_optimum(self):
        """The problem, at its optimum where the answers know that: where refits of it start."""
        return self.held.problem

    @property
    def concern(self):
        """What about the fit makes its answers misleading, in words or as the warning; None for nothing."""
        return None

    def polished(self):
        """The answers around the optimum of the problem.

        Raises
        ------
        ValueError
            For problems that are answered about as they were fitted.
        """
        raise ValueError(
            "polish=True takes Newton steps on smooth linear models. Got "
            f"{type(self.problem).__name__}, which is used as it was fitted. Leave it out, or fit "
            "with a smaller tol."
        )

    @property
    def optimum_bound(self):
        """How far the optimum that ``"auto"`` starts from may be off, in the norm of its Hessian.

        Infinite where nothing certifies it.
        """
        return np.inf

    # Derivatives

    def smoothed(self, smoothing):
        """The answers with derivatives of a smoothed loss, where the loss has kinks.

        ``"auto"`` is what each derivative does by default.
        """
        if smoothing != "auto":
            raise ValueError(
                "smoothing= is for models with a hinge. Got a model whose loss has derivatives; "
                "leave it out."
            )
        return self

    @abstractmethod
    def up_params(self, rows):
        """Eq. 1 for some training rows, shape (n_rows, n_outputs, n_columns)."""

    @abstractmethod
    def up_loss(self, tests, rows, aggregate):
        """Eq. 2, shape (n_test, n_rows), or (1, n_rows) of the mean; ``rows`` None for all."""

    @abstractmethod
    def pert_loss(self, tests, rows, aggregate, pull_back, out):
        """Eq. 5 into ``out`` of shape (n_test or 1, n_rows, n_inputs).

        ``pull_back(rows, V)`` takes gradients of shape (m, b, n_features) to the raw inputs.
        """

    def test_pulls(self, tests):
        """Gradients of test losses in the features of their own points, (n_test, n_features).

        Raises
        ------
        TypeError
            For a kind where they are not known.
        """
        self._refuse(
            "how the loss of a test point moves with its features",
            "frozen='accept' in influence_pert",
        )

    @abstractmethod
    def self_influence(self):
        """Minus the influence of each training row on its own loss, shape (n_samples,)."""

    # Edits

    @abstractmethod
    def quantity(self, tests, of, method):
        """The :class:`~skinfluence.quantity.Quantity` whose changes a method's effects are."""

    @abstractmethod
    def row_stream(self, quantity, rows, label, method, tol):
        """Effects of removing rows one at a time; of relabelling them where a label is given.

        Parameters
        ----------
        quantity : Quantity
        rows : ndarray of int, shape (m,)
        label : int or None
            Position of the new label in ``labels.classes``; None to remove.
        method : str
        tol : float

        Yields
        ------
        block : slice
            Of ``rows``.
        values : ndarray of shape (b, n_test, ...), or (b,) for a scalar
            NaN, with a warning, where an edit leaves no model.
        """

    @abstractmethod
    def effects(self, points, quantity, method, tol):
        """Effects of edits of any points.

        Parameters
        ----------
        points : list of Points
        quantity : Quantity
        method : str
        tol : float

        Returns
        -------
        values : ndarray of shape (n_test, n_edits, ...), or (n_edits,) for a scalar
        bound : ndarray of shape (n_edits,)
        used : ndarray of str, shape (n_edits,)
        leverage : ndarray of shape (n_edits,)
        more : arrays of shape (n_edits,)
            The other fields of ``effect_type``, if it has any.
        """

    @abstractmethod
    def own_removals(self, method, tol, rows=None):
        """Decision values of training rows, each without itself, (n_rows, n_outputs); None for all."""

    @abstractmethod
    def own_group_removals(self, removals, method, tol):
        """Decision values of each training row without its group, from one Points per group."""

    def row_steps(self, rows, label, method, tol):
        """Changes of the parameters under the edits of :meth:`row_stream`.

        Yields
        ------
        block : slice
            Of ``rows``.
        steps : ndarray of shape (b, ...)
            In the shape of the problem's parameters; NaN where an edit leaves no model.

        Raises
        ------
        TypeError
            For a kind without finitely many parameters, or whose steps are not known.
        """
        self._refuse("the change of its parameters without a row", "removal_effect and loo_*")

    def deletions(self):
        """What :mod:`skinfluence.diagnostics` are made of.

        Raises
        ------
        TypeError
            For a kind without a factored Hessian.
        """
        self._refuse("the diagnostics of a regression", "removal_effect and loo_*")

    def effect_on_others(self, answered, thorough=False):
        """Change of the mean leave-one-out loss of the other rows when each row is dropped.

        Parameters
        ----------
        answered : ndarray of shape (n_samples,), dtype=bool
            False for rows that have no leave-one-out model: they count for nobody, and get NaN.
        thorough : bool, default=False
            Learn how far the answers are off, whatever that costs; where it is cheap, by default.

        Returns
        -------
        effects : ndarray of shape (n_samples,)
            Of the weighted mean over all rows, in which the row itself does not count; negative:
            dropping the row helps the others.
        error : ndarray of shape (n_samples,)
            How far they are off: 0 where they are exact, else an estimate; NaN where there is none.

        Raises
        ------
        TypeError
            For a kind where it is not known.
        """
        self._refuse("what dropping a row does to the leave-one-out loss of the others", "loo_*")

    def knows(self, question):
        """Whether this kind answers a question that not every kind does, by its method's name."""
        own = getattr(type(self), question)
        return all(own is not getattr(refusing, question) for refusing in (Answers, EditsOnly))

    def _refuse(self, what, instead):
        raise TypeError(
            f"Not every kind of model knows {what}. Got {self.problem.model_name}, which does not; "
            f"use {instead} instead."
        )

    def row_effects(self, quantity, rows, label, method, tol, out=None):
        """All of :meth:`row_stream` as (n_test, m, ...), or (m,) for a scalar."""
        return gathered(
            self.row_stream(quantity, rows, label, method, tol), quantity, len(rows), out
        )

    def top(self, quantity, k, method, tol):
        """The k largest and smallest removal effects of each test point, streamed: a Top."""
        n = self.problem.n_samples
        return top_of(self.row_stream(quantity, np.arange(n), None, method, tol), n, k)


class EditsOnly(Answers):
    """Answers about a kind whose edits are known exactly and whose derivatives are refused by name."""

    def up_params(self, rows):
        self._refuse("the derivative of its parameters", EXACT_INSTEAD)

    def up_loss(self, tests, rows, aggregate):
        self._refuse("influence_up_loss", EXACT_INSTEAD)

    def pert_loss(self, tests, rows, aggregate, pull_back, out):
        self._refuse("influence_pert", "effect(edits.replace(...))")

    def self_influence(self):
        self._refuse("self_influence", EXACT_INSTEAD)


@singledispatch
def answers_of(problem, *, solver, hold, precision, verbose):
    """The :class:`~skinfluence.answers.Answers` of a problem, by its class.

    Parameters
    ----------
    problem : Problem
    solver, hold, precision, verbose
        As in :class:`~skinfluence.Influence`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import objective_of
    >>> from skinfluence.answers import answers_of
    >>> X, y = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([0.0, 1.0, 1.0, 4.0])
    >>> problem = objective_of(Ridge().fit(X, y), X, y)
    >>> asked = {"solver": "auto", "hold": "auto", "precision": "float64", "verbose": False}
    >>> answers_of(problem, **asked).problem is problem
    True
    """
    raise TypeError(
        "A kind of problem must have its answers: register them with "
        f"skinfluence.answers.answers_of.register. Got {type(problem).__name__} without."
    )


def check_method(method):
    """Refuse what is not one of the methods.

    Parameters
    ----------
    method : str

    Raises
    ------
    ValueError

    Examples
    --------
    >>> from skinfluence.answers import check_method
    >>> check_method("one-step")
    >>> try:
    ...     check_method("quick")
    ... except ValueError as error:
    ...     print(error)
    method must be one of ('influence', 'one-step', 'auto', 'exact'). Got 'quick' instead.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}. Got {method!r} instead.")
