"""The search: greedy on exact edits, tightened, verified by a refit, with a bound from below."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skinfluence import edits
from skinfluence._utils.influences import influence_of
from skinfluence.editing.whole import learned_from_rows
from skinfluence.objective import Objective
from skinfluence.problem import refuse_chosen, refuse_curve, refuse_several_targets
from skinfluence.robustness.bounds import lower_bound
from skinfluence.robustness.conclusions import Conclusion
from skinfluence.robustness.refits import refit_after
from skinfluence.solvers import SingularHessianError

BY = ("remove", "relabel")
# A round takes this share of the rows that are still thought to be missing, one at least.
SHARE = 0.25
# Rows given back are tried this often in vain before the set is left as it is.
TRIES = 40
# Rows added because a refit disagreed.
MORE = 10
NO_MODEL = (edits.NoOptimumError, SingularHessianError)


@dataclass(frozen=True, eq=False)
class Flip:
    """How many rows hold a conclusion up, as far as was found.

    Attributes
    ----------
    found : bool
        Whether a set was found that flips the conclusion.
    rows : ndarray of int
        The set; empty where none was found.
    labels : ndarray or None
        Their new labels, with ``by="relabel"``.
    lower_bound : int
        No set of fewer rows flips the conclusion: proved for linear and count models, and classifiers
        of two classes with a smooth loss, else 1. Two: every row was looked at alone.
    verified : bool
        Whether the user's estimator, fitted again on the edited rows, has the flipped conclusion.
    before, after : float
        The number behind the conclusion, with its level at 0: of the model as fitted, and of the
        refit (NaN where none was found).
    searched : int
        How many rows the search went up to.
    n_rows : int
        Training rows in all.
    by : {"remove", "relabel"}

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence
    >>> from skinfluence.robustness import prediction, smallest_flip
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> flip = smallest_flip(Influence(Ridge().fit(X, y), X, y), prediction([5.0], level=3.0))
    >>> flip.rows, flip.verified, flip.lower_bound
    (array([3]), True, 1)
    """

    found: bool
    rows: np.ndarray
    labels: Any
    lower_bound: int
    verified: bool
    before: float
    after: float
    searched: int
    n_rows: int
    by: str = field(default="remove")

    def __str__(self):
        done = "Removing" if self.by == "remove" else "Relabelling"
        least = f"Fewer than {self.lower_bound} cannot." if self.lower_bound > 1 else ""
        if not self.found:
            return f"No set of up to {self.searched} rows was found that flips it. {least}".strip()
        seen = "a refit says so" if self.verified else "a refit does not confirm it"
        rows = f"{len(self.rows)} of {self.n_rows} rows"
        return f"{done} {rows} flips it: {seen}. {least}".strip()


def smallest_flip(influence, what, by="remove", *, max_rows=None, frozen=None):
    """The smallest set of rows found whose removal, or relabelling, flips a conclusion.

    Parameters
    ----------
    influence : Influence or estimator
    what : Conclusion
        :func:`prediction`, :func:`coef`, :func:`significance`, :func:`metric` or :func:`order`.
    by : {"remove", "relabel"}, default="remove"
    max_rows : int, default=None
        Where to give up; half of the rows when None.
    frozen : {None, "accept", "refuse"}, default=None
        What becomes of transformers, balanced class weights and ``gamma="scale"``, as in
        :meth:`~skinfluence.Influence.edited`.

    Returns
    -------
    flip : Flip

    Notes
    -----
    Each round ranks all rows by the effect of one more of them on the model without those chosen so far,
    takes some of the best, and solves the model without them exactly. The first-order set (the rows by
    their effect on the fitted model, as in AMIP) is tried too, and the smaller of the two kept. Then rows
    are given back, the least first, while the conclusion stays flipped. The smallest set of all is a
    combinatorial question: what is found is an upper bound, ``lower_bound`` is one from below.

    References
    ----------
    .. [1] T. Broderick, R. Giordano and R. Meager, "An Automatic Finite-Sample Robustness Metric: When Can
       Dropping a Little Data Make a Big Difference?", 2020.
    .. [2] G. Cadamuro, R. Gilad-Bachrach and X. Zhu, "Debugging Machine Learning Models", ICML 2016 Workshop.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence import Influence, robustness
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X)
    >>> model = LogisticRegression(solver="newton-cholesky").fit(X, y)
    >>> flip = robustness.smallest_flip(Influence(model, X, y), robustness.coef(8))
    >>> flip.verified, bool(flip.lower_bound <= len(flip.rows) < 20)
    (True, True)
    """
    if not isinstance(what, Conclusion):
        raise TypeError(
            "what must be one of robustness.prediction, coef, significance, metric and order. Got "
            f"{type(what).__name__}."
        )
    if by not in BY:
        raise ValueError(f"by must be one of {BY}. Got {by!r} instead.")
    influence = influence_of(influence, "Conclusions are of")
    if by == "relabel" and influence.objective.labels is None:
        raise ValueError("by='relabel' needs a classifier. Got a regression; ask with by='remove'.")
    n = influence.objective.n_samples
    most = n // 2 if max_rows is None else int(max_rows)
    if not 1 <= most < n:
        raise ValueError(f"max_rows must lie between 1 and {n - 1}. Got {max_rows!r}.")
    refuse_chosen(influence.objective, "The fewest rows that flip a conclusion")
    refuse_several_targets(influence.objective, "Conclusions")
    refuse_curve(influence.objective, "Conclusions")
    before = what.begin(influence)
    frozen = influence.frozen if frozen is None else frozen
    held = frozen == "accept" or not learned_from_rows(influence)
    least = lower_bound(influence, what, by, most, held)
    search = Search(influence, what, by, most, frozen)
    found = search.run()
    rest = {"lower_bound": least, "before": before, "searched": most, "n_rows": n, "by": by}
    if found is None:
        nothing = np.empty(0, dtype=np.intp)
        return Flip(False, nothing, None, verified=False, after=np.nan, **rest)
    chosen, number = found
    rows = np.array(list(chosen), dtype=np.intp)
    labels = None if by == "remove" else np.array(list(chosen.values()))
    verified = bool(what.side * number <= 0)
    return Flip(True, rows, labels, verified=verified, after=float(number), **rest)


class Search:
    """The search for one conclusion.

    Parameters
    ----------
    influence : Influence
    what : Conclusion
        That has begun.
    by : str
    most : int
    frozen : {None, "accept", "refuse"}
    """

    def __init__(self, influence, what, by, most, frozen):
        self.influence, self.what, self.by = influence, what, by
        self.most, self.frozen = most, frozen
        self.excluded = set()

    def run(self):
        """Rows with their new labels (None where they go), and the number of a refit; None for none."""
        chosen = self._tightened(self._greedy({}))
        # Kinds that answer edits exactly alone have no first order.
        known = self.influence.answers.held.knows("up_loss")
        for method in ("one-step", "influence") if known else ("one-step",):
            fewer = self.most if chosen is None else len(chosen) - 1
            first = self._tightened(self._first_order(fewer, method))
            chosen = chosen if first is None else first
        if chosen is None:
            return None
        number = self._refitted(chosen)
        for _ in range(MORE):
            if self.what.side * number <= 0 or len(chosen) >= self.most:
                break
            # Right at the edge, where a fit stops decides: one row more.
            more = self._greedy(chosen, at_least=1)
            if more is None:
                break
            chosen, number = more, self._refitted(more)
        return chosen, number

    # Edits

    def _edit(self, chosen):
        if self.by == "remove":
            return edits.remove(list(chosen))
        return edits.relabel(list(chosen), list(chosen.values()))

    def _margin(self, chosen):
        """Of the model after an edit, solved exactly; infinite where there is none."""
        what, influence = self.what, self.influence
        try:
            if not chosen or what.of_rows:
                state = influence
                if chosen:
                    state = influence.after(self._edit(chosen), frozen=self.frozen)
                return float(what.side * what.number_in(state))
            after = influence.edited(self._edit(chosen), frozen=self.frozen)
        except NO_MODEL:
            return np.inf
        return float(what.side * what.number(after.estimator))

    def _refitted(self, chosen):
        """The number of the user's estimator, fitted again on the rows that are left."""
        refit, *rows = refit_after(self.influence, self._edit(chosen), self.frozen)
        if self.what.of_rows:
            asked = type(self.influence)(refit, *rows, frozen=self.frozen)
            return float(self.what.number_in(asked))
        return float(self.what.number(refit))

    # Choosing

    def _effects(self, influence, chosen, method="one-step"):
        """Change of the margin for one more row, and its new label: (n,) each; infinite for none."""
        answers = influence.answers.held
        if method == "one-step" and not isinstance(answers.problem, Objective):
            # A span rule, or as dear as the exact answer.
            method = "auto"
        n = self.influence.objective.n_samples
        rows = np.array([i for i in range(n) if i not in chosen and i not in self.excluded])
        out, labels = np.full(n, np.inf), None
        if self.by == "remove":
            out[rows] = self.what.side * self.what.effects(influence, answers, rows, None, method)
        else:
            classes = answers.problem.labels.classes
            ask = (influence, answers, rows)
            every = np.array(
                [self.what.effects(*ask, k, method) for k in range(len(classes))], dtype=float
            )
            every *= self.what.side
            best = np.nanargmin(every, axis=0)
            labels = np.empty(n, dtype=classes.dtype)
            labels[rows] = classes[best]
            out[rows] = every[best, np.arange(len(rows))]
        out[np.isnan(out)] = np.inf
        return out, labels

    def _greedy(self, chosen, at_least=0):
        """Rounds of the best rows, each on the model without those before; None if it does not flip."""
        chosen, margin = dict(chosen), self._margin(chosen)
        state = self.influence
        if chosen:
            state = state.after(self._edit(chosen), frozen=self.frozen)
        while (margin > 0 or at_least) and len(chosen) < self.most:
            change, labels = self._effects(state, chosen)
            order = np.argsort(change, kind="stable")
            order = order[change[order] < 0]
            if not len(order):
                return None
            missing = int(np.searchsorted(-np.cumsum(change[order]), margin)) + 1
            take = max(1, int(SHARE * missing), at_least)
            part = order[: min(take, self.most - len(chosen))]
            new = {int(i): None if labels is None else labels[i] for i in part}
            found, new = self._state_after(state, new)
            if found is None:
                continue
            state = found
            chosen.update(new)
            margin, at_least = float(self.what.side * self.what.number_in(state)), 0
        return chosen if margin <= 0 else None

    def _state_after(self, state, new):
        """The model after rows, or after the best of them where all leave none, and which they are.

        None, and the row is excluded from then on, where it leaves none either.
        """
        best = dict([next(iter(new.items()))])
        for some in (new, best) if len(new) > 1 else (new,):
            try:
                return state.after(self._edit(some), frozen=self.frozen), some
            except NO_MODEL:
                continue
        self.excluded.update(some)
        return None, some

    def _first_order(self, most, method):
        """The shortest prefix of the rows by their effect on the fitted model, of at most ``most``."""
        if most < 1:
            return None
        change, labels = self._effects(self.influence, {}, method)
        order = np.argsort(change, kind="stable")
        order = order[change[order] < 0][:most]
        if not len(order):
            return None

        def prefix(k):
            return {int(i): None if labels is None else labels[i] for i in order[:k]}

        if self._margin(prefix(len(order))) > 0:
            return None
        low, high = 0, len(order)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._margin(prefix(middle)) <= 0 else (middle, high)
        return prefix(high)

    def _tightened(self, chosen):
        """Rows given back, those of the least effect first, while the conclusion stays flipped."""
        if chosen is None or len(chosen) < 2:
            return chosen
        change, _ = self._effects(self.influence, {})
        failed = 0
        for row in sorted(chosen, key=lambda i: -change[i]):
            if failed >= TRIES or len(chosen) < 2:
                break
            fewer = {i: label for i, label in chosen.items() if i != row}
            if self._margin(fewer) <= 0:
                chosen = fewer
            else:
                failed += 1
        return chosen
