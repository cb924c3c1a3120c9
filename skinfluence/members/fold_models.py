"""The models of the folds of a table, and the calibrators of what each says of the rows it has not seen."""

import warnings
from functools import cached_property

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.weights import unless_ones
from skinfluence.closed_form.family import NoModelError
from skinfluence.members.in_folds import Table

# Up to this size the models of parts of the rows are kept.
KEPT_BYTES = 2**29


def check_takes_weights(model, weights):
    """Refuse weights of rows that a model inside another, which would hand them on, does not take.

    Raises
    ------
    ValueError
    """
    if unless_ones(weights) is not None and not has_fit_parameter(model, "sample_weight"):
        heavy = weights[weights != 1.0][0]
        raise ValueError(
            "All models inside another must take weights where rows have some, as scikit-learn has it. Got "
            f"{type(model).__name__}, whose fit takes none, and a row of weight {heavy:g}. "
            "Leave weights at 1, and remove rows in place of giving them none."
        )


def fitted_to(problem, rows):
    """A model fitted to some rows of a table, and what it was given: X, y and weights or None.

    Parameters
    ----------
    problem : CalibratedProblem or Member
    rows : ndarray of int

    Raises
    ------
    NoModelError
    """
    y, own = problem.given_y[rows], problem.weights[rows]
    X, model = problem.design.X[rows], clone(problem.estimator)
    if problem.weighs_all:
        check_takes_weights(model, own)
    own = unless_ones(own) if has_fit_parameter(model, "sample_weight") else None
    given = {} if own is None else {"sample_weight": own}
    with warnings.catch_warnings():
        # Where its solver stops does not matter: answers are of its optimum.
        warnings.simplefilter("ignore")
        try:
            model.fit(X, y, **given)
        except ValueError as error:
            raise NoModelError(str(error)) from error
    if problem.labels is not None and len(model.classes_) < len(problem.labels.classes):
        every = np.arange(len(problem.labels.classes))
        lost = problem.labels.classes[np.setdiff1d(every, model.classes_)[0]]
        raise NoModelError(
            "Each class must have rows in two folds, or no model of the others knows it. Got one fold with "
            f"all the rows of class {lost}. Leave that class out of the fit, or give it more rows."
        )
    return model, X, y, own


class FoldModel:
    """A model fitted to some rows of a table, and what it says of others without one of them.

    Parameters
    ----------
    problem : CalibratedProblem or Member
    rows : ndarray of int
        Those that it is fitted to.

    Raises
    ------
    NoModelError
    """

    def __init__(self, problem, rows):
        self.as_chances = problem.response == "predict_proba"
        # A number, of two classes one, else one a class.
        self.one = problem.labels is None or len(problem.labels.classes) == 2
        model, *given = fitted_to(problem, rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.asked = problem.asked(model, *given)
        self.place = np.full(problem.n_samples, -1)
        self.place[rows] = np.arange(len(rows))

    def _scores(self, values):
        """One number for two classes and of a regression, else one a class, along the last axis."""
        if self.as_chances:
            return values[..., 1:] if self.one else values
        return values[..., None] if self.one else values

    def scores(self, X, method):
        """What it says of rows, (m, n_scores)."""
        return self._scores(self.asked.values(X, method))

    def scores_without(self, X, rows, method, tol):
        """What it says of rows of X without each of some of its own, (n_rows, m, n_scores)."""
        found = self.asked.values_without(X, self.place[rows], method, tol)
        return np.swapaxes(self._scores(found), 0, 1)

    def own_scores(self, rows, method, tol):
        """What it says of each of some of its rows without that, (n_rows, 1, n_scores)."""
        return self._scores(self.asked.own_values(self.place[rows], method, tol))[:, None]

    def moved_at(self, rows, X, method, tol):
        """What it says of rows of X without each of some of its own; of that itself for X None.

        Returns
        -------
        scores : ndarray of shape (n_rows, m, n_scores), m being 1 where X is None
        """
        if X is None:
            return self.own_scores(rows, method, tol)
        return self.scores_without(X, rows, method, tol)


class FoldModels:
    """A model fitted to parts of a table, and what it says of rows that it has not seen.

    Parameters
    ----------
    problem : CalibratedProblem or Member
    method : str
    n_folds : int
    """

    def __init__(self, problem, method, n_folds):
        self.problem, self.method, self.n_folds = problem, method, n_folds
        self._parts = {}
        # Models hold their rows and what these are in their own columns.
        n, d = problem.design.X.shape
        self._most = max(2 * n_folds, 1, KEPT_BYTES // (16 * n * d))

    def of(self, chosen):
        """The :class:`FoldModel` of the rows of a mask.

        Raises
        ------
        NoModelError
        """
        key = chosen.tobytes()
        if key not in self._parts:
            if len(self._parts) >= self._most:
                self._parts.pop(next(iter(self._parts)))
            try:
                self._parts[key] = FoldModel(self.problem, np.flatnonzero(chosen))
            except NoModelError as error:
                self._parts[key] = error
        if isinstance(self._parts[key], NoModelError):
            raise self._parts[key]
        return self._parts[key]

    @cached_property
    def whole(self):
        """The :class:`FoldModel` of all rows."""
        return self.of(np.ones(self.problem.design.n_samples, dtype=bool))

    def out_of_fold(self, fold):
        """What models of the other folds say of each row, (n_samples, n_scores)."""
        X = self.problem.design.X
        found = [self.of(fold != k).scores(X[fold == k], self.method) for k in range(self.n_folds)]
        out = np.empty((len(fold), found[0].shape[1]))
        for k, scores in enumerate(found):
            out[fold == k] = scores
        return out

    def moved_out_of_fold(self, fold, rows, tol):
        """The same without each of some rows, (n_rows, n_samples, n_scores)."""
        scores = np.repeat(self.out_of_fold(fold)[None], len(rows), axis=0)
        for k in range(self.n_folds):
            held = fold == k
            others = ~held[rows]
            if others.any() and held.any():
                asked = self.problem.design.X[held], rows[others], self.method, tol
                scores[np.ix_(others, held)] = self.of(~held).scores_without(*asked)
        return scores

    def moved_at(self, rows, X, tol):
        """As :meth:`FoldModel.moved_at`, of the model of all rows."""
        return self.whole.moved_at(rows, X, self.method, tol)


class Folds(Table):
    """A table cut into folds: the models of the others, and the calibrators.

    Parameters
    ----------
    problem : CalibratedProblem
    method : str
    """

    def __init__(self, problem, method):
        super().__init__(problem, method)
        self.parts = FoldModels(problem, method, problem.cuts.n_folds)

    def values(self, X):
        problem = self.problem
        self._check_counts(problem.y)
        fold = problem.cuts.of(problem.y)
        if problem.ensemble:
            return np.mean([self._of_fold(fold == k, X) for k in range(problem.cuts.n_folds)], 0)
        family = self._family(np.ones(len(fold), dtype=bool), self.parts.out_of_fold(fold))
        everything = self.parts.whole.scores(X, self.method)
        return family.shares(family.chances(family.curves, everything))

    def _of_fold(self, held, X):
        part = self.parts.of(~held)
        family = self._family(held, part.scores(self.problem.design.X[held], self.method))
        return family.shares(family.chances(family.curves, part.scores(X, self.method)))

    def _family(self, held, scores):
        problem = self.problem
        return problem.calibrator(scores, problem.y[held], problem.weights[held])

    def _check_counts(self, codes):
        classes, n_folds = self.problem.labels.classes, self.problem.cuts.n_folds
        counts = np.bincount(codes, minlength=len(classes))
        if counts.min() < n_folds:
            raise NoModelError(
                f"Every class must have as many rows as there are folds, {n_folds}. Got an edit that leaves "
                f"{counts.min()} to class {classes[counts.argmin()]}. Leave it more, or fit with fewer folds."
            )

    def without(self, rows, X, tol):
        problem = self.problem
        counts = np.bincount(problem.y, minlength=len(problem.labels.classes))
        few = counts[problem.y[rows]] <= problem.cuts.n_folds
        m, n_classes = 1 if X is None else X.shape[0], len(counts)
        if few.any():
            yield np.flatnonzero(few), self._no_values(int(few.sum()), X)
        asked = np.flatnonzero(~few)
        width = problem.n_samples if not problem.ensemble else problem.n_samples // 2
        for fold, group in problem.cuts.without(problem.y, rows[asked]) if len(asked) else ():
            some = asked[group]
            for block in row_blocks(len(some), 32 * n_classes * (width + m)):
                try:
                    found = self._moved(fold, rows[some[block]], X, tol)
                except NoModelError:
                    found = self._no_values(len(some[block]), X)
                yield some[block], found

    def _moved(self, fold, rows, X, tol):
        if not self.problem.ensemble:
            return self._moved_in_common(fold, rows, X, tol)
        return np.mean(
            [self._moved_fold(fold == k, rows, X, tol) for k in range(self.problem.cuts.n_folds)], 0
        )

    def _moved_fold(self, held, rows, X, tol):
        """Chances by the model beside one fold and its calibrators, without each row."""
        part = self.parts.of(~held)
        own = part.scores(self.problem.design.X[held], self.method)
        family, inside = self._family(held, own), held[rows]
        m = 1 if X is None else X.shape[0]
        out = np.empty((len(rows), m, self.problem.loss.n_outputs))
        if inside.any():
            # A row of the fold is none of the model's: the scores stay.
            place = (np.cumsum(held) - 1)[rows[inside]]
            found = [one for _, some in family.without(place) for one in some]
            out[inside] = _chances(family, found, self._scores_at(part, rows[inside], X))
        others = rows[~inside]
        if len(others):
            scores, at = self._moved_scores(part, held, others, X, tol)
            curves = family.under(scores, np.full(len(others), -1))
            out[~inside] = _chances(family, curves, at)
        return out

    def _moved_in_common(self, fold, rows, X, tol):
        """Chances by the model of all rows and calibrators of what others say of each."""
        whole = np.ones(len(fold), dtype=bool)
        family = self._family(whole, self.parts.out_of_fold(fold))
        scores = self.parts.moved_out_of_fold(fold, rows, tol)
        curves = family.under(scores, rows)
        return _chances(family, curves, self.parts.moved_at(rows, X, tol))

    def _moved_scores(self, part, held, rows, X, tol):
        """Scores of held rows and of those asked about, without each of some rows of the model."""
        asked = self.problem.design.take(np.flatnonzero(held))
        if X is None:
            found = part.scores_without(asked.X, rows, self.method, tol)
            return found, part.own_scores(rows, self.method, tol)
        both = asked.extended(self.problem.design.like(X)).X
        found = part.scores_without(both, rows, self.method, tol)
        return found[:, : asked.n_samples], found[:, asked.n_samples :]

    def _scores_at(self, part, rows, X):
        """Scores that do not move of what is asked about, for each of some rows, (n_rows, m, n_scores)."""
        if X is None:
            return part.scores(self.problem.design.X[rows], self.method)[:, None]
        at = part.scores(X, self.method)
        return np.broadcast_to(at, (len(rows), *at.shape))


def _chances(family, curves, scores):
    """Chances by each of some calibrators of its own scores, (b, m, n_classes); NaN for none."""
    out = np.full((*scores.shape[:2], family.n_classes), np.nan)
    for i, (curve, own) in enumerate(zip(curves, scores, strict=True)):
        if curve is not None:
            out[i] = family.shares(family.chances(curve, own))
    return out
