"""What a fitted problem has, whatever its kind: rows, a loss, targets and weights at parameters."""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from sklearn.base import clone

__all__ = ["Chosen", "Problem"]

# Rows among which one is looked for that keeps a class, where an edit takes others.
SOME_ROWS = 256


def weight_of_kinds(kinds, weights, n_kinds):
    """The weight of each kind of targets, (n_kinds,).

    Parameters
    ----------
    kinds : ndarray of int, shape (n,)
        As of :meth:`Problem.kinds`.
    weights : ndarray of shape (n,)
    n_kinds : int
    """
    # From -1 on: targets of no kind come first, and do not count.
    return np.bincount(kinds + 1, weights, n_kinds + 1)[1:]


def amounts(counted, weights):
    """What each row counts in a statistic of the rows that an estimator makes itself, (n_rows,).

    Parameters
    ----------
    counted : {"weights", "rows", "rows left"}
        Weights; rows, whatever they weigh; or those of them that have weight.
    weights : ndarray of shape (n_rows,)
        Before those of classes.
    """
    if counted == "weights":
        return weights
    return (weights > 0).astype(float) if counted == "rows left" else np.ones(len(weights))


@dataclass(frozen=True)
class Chosen:
    """What an estimator chose on the rows: a refit would choose anew, while answers hold it.

    Parameters
    ----------
    words : str
        What it is, for messages.
    among_candidates : bool, default=False
        Whether it is a parameter that was chosen among others: the same estimator with the
        parameter given is what answers are about. Otherwise it is a number of its own, such as a
        precision, with which an estimator says other things too.
    given : estimator, default=None
        Not fitted, what fits with it given. None for a clone of the fitted one.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import RidgeCV
    >>> from skinfluence import objective_of
    >>> X, y = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([0.0, 1.0, 1.0, 4.0])
    >>> chosen = objective_of(RidgeCV(alphas=(0.1, 10.0)).fit(X, y), X, y).chosen
    >>> str(chosen), chosen.given
    ('alpha_ 0.1', None)
    """

    words: str
    among_candidates: bool = False
    given: object = None

    def __str__(self):
        return self.words


class Problem(ABC):
    """A loss on rows, weighted, at the fitted parameters; what a kind of problem must have.

    :class:`~skinfluence.objective.Objective` is the kind of smooth linear models. Another one is a
    folder with a subclass of this, one of :class:`~skinfluence.answers.Answers`, and the two put
    together by :func:`~skinfluence.answers.answers_of`; CONTRIBUTING shows a small one.

    Attributes
    ----------
    design : Design or alike
        With ``X``, ``n_samples``, ``n_features``, ``like(X)`` and ``take(rows)``.
    loss : Loss or alike
        With ``value``, ``expand``, ``check_y`` and what predictions need.
    y : ndarray of shape (n_samples, ...)
        As the loss wants it.
    weights : ndarray of shape (n_samples,)
        ``sample_weight`` times the factors of the classes.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights before class weights; what a relabelled row keeps.
    labels : Labels or None
        For classifiers.
    model_name : str
        What users call the kind, for messages.
    without_a_class : str
        Why there is no model without a class that is needed, for messages.
    without_rows : tuple of str
        Why there may be no model without several rows, and what to do, for messages.
    needs_all_classes : bool
        Whether a class, or the positive targets, without weight leave no optimum. A kind where
        that can be true says which by :meth:`kinds`.
    chosen : Chosen or None
        What the estimator, or a search around it, chose on the rows and a refit would choose anew,
        while answers hold it: a penalty, the parameters of a kernel, precisions.
    gamma_counts : {"weights", "rows", "rows left"} or None
        What ``gamma="scale"``, one over the variance of all cells, counts: weights; rows, whatever they
        weigh; or those of them that have weight. None for a gamma that was given, and without one.
    own_rows : str or None
        Of a problem made of models that have not all the same rows: which those have, for messages.
    in_folds : bool
        Whether rows are cut into folds by their order, where they count whatever they weigh.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.svm import SVC
    >>> from skinfluence import objective_of
    >>> from skinfluence.problem import Problem
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    >>> problem = objective_of(SVC(gamma=1.0).fit(X, y), X, y)
    >>> isinstance(problem, Problem), problem.n_samples, problem.weights
    (True, 4, array([1., 1., 1., 1.]))
    """

    model_name = "this model"
    without_a_class = "the optimum is at infinity"
    without_rows = (
        "it holds all the weight of a class, or of all, or decides a parameter alone, or has the only rows "
        "on the wrong side of an unpenalised model",
        "Split such a group; where it holds no class, a penalty helps too.",
    )
    needs_all_classes = False
    own_rows = None
    in_folds = False
    chosen = None
    gamma_counts = None

    @property
    def balanced(self):
        """What ``class_weight="balanced"`` counts, as ``gamma_counts`` does; None for given weights."""
        return None if self.labels is None else self.labels.balanced

    @property
    def curve(self):
        """What the user's targets go through before the loss sees them; None for nothing."""
        return getattr(self.loss, "curve", None)

    @property
    def classifies(self):
        """Whether targets are labels."""
        return self.labels is not None

    @property
    def offset(self):
        """What stands beside the decision values of the rows, (n_samples,); None for nothing."""
        of = getattr(self.loss, "offset_of", None)
        return None if of is None else of(self.y)

    @property
    def n_samples(self):
        """Rows given to ``fit``, those of weight zero included."""
        return self.design.n_samples

    @cached_property
    def total_weight(self):
        """``sum_i w_i``."""
        return float(self.weights.sum())

    @property
    def own_weights(self):
        """Weights of the rows before those of classes, (n_samples,)."""
        return self.weights if self.sample_weight is None else self.sample_weight

    def class_weights_of(self, y):
        """Weights of the classes of targets as the loss has them; 1 for a regression, (m,)."""
        if self.labels is None:
            return np.ones(len(y))
        return self.labels.class_weight[self.labels.codes_of(y)]

    def counted(self, sample_weight):
        """What each of some rows counts in gamma, (m,); None where that does not move with the rows."""
        return None if self.gamma_counts is None else amounts(self.gamma_counts, sample_weight)

    def keeps_weight(self, shift):
        """Whether more than round-off is left of the total weight once it moves by ``shift``."""
        return self.total_weight + shift > 1e-12 * self.total_weight

    @abstractmethod
    def holding(self, hold):
        """The same problem with another meaning of edits, ``"C"``, ``"lambda"`` or ``"auto"``.

        Raises
        ------
        ValueError
            For a meaning that the kind does not have.
        """

    def kinds(self, y):
        """Which of the kinds that must keep weight each target is; -1 for none of them."""
        raise NotImplementedError(f"{type(self).__name__} has needs_all_classes and no kinds().")

    @property
    def n_kinds(self):
        """How many kinds there are: classes, or one of positive targets."""
        return 1 if self.labels is None else len(self.labels.classes)

    @property
    def needing(self):
        """Problems of the same rows and targets each of which must keep weight in all its kinds.

        This one, or none; of several models that have each their own targets, those that need it.
        """
        return (self,) if self.needs_all_classes else ()

    @cached_property
    def own_kinds(self):
        """For each of :attr:`needing`: the kind of each training row, and the weight of each kind."""
        kinds = [one.kinds(self.y) for one in self.needing]
        weight = [
            weight_of_kinds(own, self.weights, one.n_kinds)
            for one, own in zip(self.needing, kinds, strict=True)
        ]
        return list(zip(self.needing, kinds, weight, strict=True))

    @cached_property
    def some_kinds(self):
        """How far apart a few rows all over the table stand; and for each of :attr:`needing` their kinds."""
        step = max(1, self.n_samples // SOME_ROWS)
        return step, [(one, one.kinds(self.y[::step])) for one in self.needing]

    def to_refit(self, model):
        """A model to fit on other rows that chooses nothing: what edits are compared with.

        Parameters
        ----------
        model : estimator
            Fitted.

        Returns
        -------
        model : estimator
            Not fitted, of the same parameters, and with what was chosen given.
        """
        given = None if self.chosen is None else self.chosen.given
        return clone(model if given is None else given)

    def on(self, X, rows, carried):
        """The same problem on the rows after an edit, at parameters that need not be its optimum.

        None, as here, for kinds that are fitted again by their estimator.

        Parameters
        ----------
        X : ndarray or CSR array
            Rows that are there, as the model is given them.
        rows : EditedRows
            Their targets and weights.
        carried : callable
            From parameters ``(n_outputs, n_columns)`` and a design to where they stand in its columns.
        """
        return None

    def kind_name(self, kind):
        """A kind of targets in words."""
        return f"class {self.labels.classes[kind]}"


def having_chosen(problem, words):
    """The same problem of a search, which chose parameters of the estimator among candidates.

    Parameters
    ----------
    problem : Problem
        Of what the search fitted with them.
    words : str or None
        What it chose; None for nothing.

    Returns
    -------
    problem : Problem
    """
    if words is None:
        return problem
    before, made = problem.chosen, copy.copy(problem)
    both = Chosen(words, among_candidates=True)
    if before is not None:
        both = replace(before, words=f"{words} and {before.words}")
    object.__setattr__(made, "chosen", both)
    return made


def refuse_chosen(problem, what):
    """Refuse a model that chose something on the rows, for what is about its refits whole.

    Parameters
    ----------
    problem : Problem
    what : str
        That is asked, in the plural.

    Raises
    ------
    TypeError
    """
    if problem.chosen is not None:
        raise TypeError(
            f"{what} are of models that chose nothing on the rows: with others they would choose anew. Got "
            f"one that chose {problem.chosen}. Ask about a model that is given them (best_estimator_ of a "
            "search, Ridge, a kernel with optimizer=None), or ask Influence.effect with frozen='accept'."
        )


def refuse_curve(problem, what):
    """Refuse transformed targets that predictions come back from by a curve.

    Raises
    ------
    TypeError
    """
    if problem.curve is not None:
        raise TypeError(
            f"{what} are of models of the targets themselves, or of a straight line of them. Got targets "
            f"that go through {problem.curve.transformer!r}. Ask in the transformed units: "
            "Influence(model.regressor_, X, z) with z the transformed targets."
        )


def check_hold_is_free(why, hold):
    """Refuse other meanings of edits for a kind that has one; ``why`` begins the message."""
    if hold not in ("auto", "C"):
        raise ValueError(f"{why}: hold must be 'auto' or 'C'. Got {hold!r}.")


def refuse_several_targets(problem, what):
    """Refuse a model of several targets for what is about one number per row.

    Raises
    ------
    ValueError
    """
    if problem.labels is None and np.ndim(problem.y) == 2:
        raise ValueError(
            f"{what} are of one target per row. Got a model of {problem.y.shape[1]} targets; fit one of "
            "them and ask about that."
        )


HAS = ("design", "loss", "y", "weights", "sample_weight", "labels")


def check_problem(problem):
    """Refuse what :class:`Problem` says a problem has and this one has not.

    Raises
    ------
    TypeError
        With the names that are missing.
    """
    if not isinstance(problem, Problem):
        raise TypeError(
            "objective_of must return an Objective, or another skinfluence.problem.Problem. Got "
            f"{type(problem).__name__}."
        )
    missing = [name for name in HAS if not hasattr(problem, name)]
    if problem.needs_all_classes and type(problem).kinds is Problem.kinds:
        missing.append("kinds")
    if missing:
        raise TypeError(
            f"A problem must have {', '.join(HAS)}, and kinds where it needs all classes. Got "
            f"{type(problem).__name__} without {', '.join(missing)}."
        )
