"""A binary model for each pair of classes, each of the rows of its two classes alone."""

from dataclasses import dataclass

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.answers import Tests, answers_of, check_method
from skinfluence.answers.checks import rows_alone, warn_alone
from skinfluence.design import Design
from skinfluence.edits.points import Points
from skinfluence.losses import Loss
from skinfluence.losses.chances import LogOfChance
from skinfluence.members.answers import MembersAnswers, MembersQuantity, members_of
from skinfluence.members.lost import quietly, warn_lost
from skinfluence.members.problem import OfMembers
from skinfluence.objective import Labels

LOST = "without it a model of a pair of classes has none, as it would if it were asked alone."


class PairsLoss(Loss):
    """The sum of the losses of the models that know a row's class; decisions are those of OneVsOneClassifier.

    Parameters
    ----------
    members : tuple of Problem
        Of classes 0 and 1, the first and the second of each pair.
    n_classes : int
    as_chance : bool
        Whether decision values are probabilities of the second class, whose loss is the log loss.
    """

    def __init__(self, members, n_classes, as_chance):
        self.members, self.n_classes, self.as_chance = members, n_classes, as_chance
        self.losses = [LogOfChance() if as_chance else one.loss for one in members]
        self.first, self.second = np.triu_indices(n_classes, 1)
        self.n_outputs = len(self.first)
        pairs = np.arange(self.n_outputs)
        self.signs = np.zeros((n_classes, self.n_outputs))
        self.signs[self.first, pairs], self.signs[self.second, pairs] = -1.0, 1.0

    def _parts(self, eta, y):
        """For each pair: its loss, its decision values, targets, and which rows are of it."""
        codes = np.asarray(y, dtype=np.intp)
        for k, loss in enumerate(self.losses):
            own = self.signs[codes, k] != 0
            code = 1 * (codes == self.second[k])
            target = code if self.as_chance else self.members[k].labels.targets[code]
            yield loss, eta[..., [k]], target, own

    def value(self, eta, y):
        return sum(
            np.where(own, loss.value(part, target), 0.0)
            for loss, part, target, own in self._parts(eta, y)
        )

    def gradient(self, eta, y):
        found = [
            np.where(own[..., None], loss.gradient(part, target), 0.0)
            for loss, part, target, own in self._parts(eta, y)
        ]
        return np.concatenate(found, axis=-1)

    def hessian(self, eta, y):
        found = [
            np.where(own[..., None], loss.hessian(part, target)[..., 0], 0.0)
            for loss, part, target, own in self._parts(eta, y)
        ]
        return np.concatenate(found, axis=-1)[..., None] * np.eye(self.n_outputs)

    def expand(self, eta):
        """Votes, and what decides between equal ones, (..., n_classes); of two classes the second's."""
        won = (eta > (0.5 if self.as_chance else 0.0)).astype(float)
        votes = won @ (self.signs > 0).T + (1.0 - won) @ (self.signs < 0).T
        votes[np.isnan(eta).any(axis=-1)] = np.nan
        sure = eta @ self.signs.T
        found = votes + sure / (3.0 * (np.abs(sure) + 1.0))
        return found[..., 1:] if self.n_classes == 2 else found

    def by_class(self, eta):
        """What each class has over all others together; votes would say of most rows the same."""
        return eta if self.n_classes == 2 else eta @ self.signs.T

    def decide(self, eta):
        found = self.expand(eta)
        if self.n_classes == 2:
            return (found[..., 0] > (0.5 if self.as_chance else 0.0)).astype(int)
        return found.argmax(axis=-1)


@dataclass(frozen=True, eq=False)
class PairsProblem(OfMembers):
    """Fitted problems of the rows of each pair of classes, whose votes make one prediction.

    Parameters
    ----------
    members : tuple of Problem
        Of the rows of their two classes, in the order of ``numpy.triu_indices``.
    design : Design
        All rows.
    y : ndarray of int, shape (n_samples,)
        Positions of the classes.
    weights : ndarray of shape (n_samples,)
        Before those that members give to classes.
    loss : PairsLoss
    labels : Labels
    model_name : str
    """

    members: tuple
    design: Design
    y: np.ndarray
    weights: np.ndarray
    loss: PairsLoss
    labels: Labels
    model_name: str

    needs_all_classes = True
    without_a_class = "a fit knows no such class"
    own_rows = "a OneVsOneClassifier, whose models have the rows of two classes each"

    def code(self, k, y):
        """Of positions of classes those in a pair, 0 or 1; -1 for other classes."""
        y = np.asarray(y, dtype=np.intp)
        first, second = self.loss.first[k], self.loss.second[k]
        return np.where(y == second, 1, np.where(y == first, 0, -1))

    def place(self, k):
        """Where rows are among those of a pair, -1 for rows of other classes, (n_samples,)."""
        there = self.code(k, self.y) >= 0
        return np.where(there, np.cumsum(there) - 1, -1)

    def points_of(self, k, points):
        """An edit as a member has it, of its own rows; None where it has none of them."""
        member, place = self.members[k], self.place(k)
        own = place[points.rows] >= 0
        rows = place[points.rows[own]]
        changes = self.changes_of(member, rows, points, own)
        gone = None if points.gone is None else place[points.gone][place[points.gone] >= 0]
        new, new_y, weights = None, None, np.empty(0)
        if points.new is not None:
            code = self.code(k, points.new_y)
            there = np.flatnonzero(code >= 0)
            if len(there):
                new_y = member.labels.targets[code[there]]
                weights = points.new_weights[there] * member.class_weights_of(new_y)
                new = member.design.like(points.new.X[there])
        if new is None and not len(rows):
            return None
        return Points(rows, changes, new, new_y, weights, gone)


class PairsAnswers(MembersAnswers):
    """Edits of a model for each pair of classes: rows of other classes are none of its business."""

    def _said(self, values):
        """Of what a member says its decision value, or the chance of its second class, (..., 1)."""
        return values[..., -1:]

    def _part(self, k, X):
        """The evaluation points as a member sees them."""
        return Tests(self.problem.members[k].design.like(X), None, None)

    def quantity(self, tests, of, method):
        check_method(method)
        parts = self._quantities(tests.design.X, method)
        return MembersQuantity(of, self.problem.loss, tests, _before(parts), parts)

    def _quantities(self, X, method):
        of = "predict_proba" if self.problem.loss.as_chance else "decision_function"
        return [one.quantity(self._part(k, X), of, method) for k, one in enumerate(self.members)]

    def row_stream(self, quantity, rows, label, method, tol):
        n, n_pairs = quantity.design.n_samples, len(self.members)
        alone = np.isin(rows, rows_alone(self.problem))
        if alone.any():
            warn_alone(self.problem, rows[alone])
        lost = []
        for block in row_blocks(len(rows), 8 * n * (n_pairs + 2)):
            some, known = rows[block], np.flatnonzero(~alone[block])
            moved = np.full((n, len(some), n_pairs), np.nan)
            with quietly():
                for k in range(n_pairs):
                    moved[:, known, k] = self._moved(
                        k, quantity.parts[k], some[known], label, method, tol
                    )
            lost.extend(some[known][np.isnan(moved[:, known]).any(axis=(0, 2))])
            yield block, quantity.change(np.swapaxes(moved, 0, 1))
        warn_lost(lost, LOST)

    def _moved(self, k, part, rows, label, method, tol):
        """What a member's decision values of points move by, for each row, (n_points, n_rows)."""
        problem, one = self.problem, self.members[k]
        n = part.design.n_samples
        out = np.zeros((n, len(rows)))
        own, place = problem.code(k, problem.y[rows]), problem.place(k)[rows]
        new = -1 if label is None else int(problem.code(k, label))
        # Rows of the pair leave it, or turn to the other side; those of other classes come in.
        some = (own >= 0) & (own != new)
        if some.any():
            found = one.row_effects(part, place[some], new if new >= 0 else None, method, tol)
            out[:, some] = self._said(found.reshape(n, some.sum(), -1))[..., 0]
        for i in np.flatnonzero(own < 0) if new >= 0 else ():
            found = one.effects([self._added(k, rows[i], new)], part, method, tol)[0]
            out[:, i] = self._said(found.reshape(n, 1, -1))[:, 0, 0]
        return out

    def _added(self, k, row, code):
        """A training row of another class as a new one of a pair."""
        member, nothing = self.problem.members[k], np.empty(0, dtype=np.intp)
        y = member.labels.targets[[code]]
        weights = self.problem.weights[[row]] * member.class_weights_of(y)
        new = member.design.like(self.problem.design.X[[row]])
        return Points(nothing, np.empty(0), new, y, weights, nothing)

    def effects(self, points, quantity, method, tol):
        moved, bound, used, leverage = self._after(points, quantity.parts, method, tol)
        values = quantity.change(np.swapaxes(moved, 0, 1))
        values = np.swapaxes(values, 0, 1) if quantity.shape else values
        return values, bound, used, leverage

    def _after(self, points, parts, method, tol):
        """What edits do to the decision values of all pairs, (n_points, n_edits, n_pairs), and the trust."""
        n, m = parts[0].design.n_samples, len(points)
        moved = np.zeros((n, m, len(self.members)))
        bound, leverage = np.zeros(m), np.zeros(m)
        words = [set() for _ in points]
        for k, (one, part) in enumerate(zip(self.members, parts, strict=True)):
            asked = [self.problem.points_of(k, each) for each in points]
            own = [i for i, each in enumerate(asked) if each is not None]
            if not own:
                continue
            values, *trust = one.effects([asked[i] for i in own], part, method, tol)
            moved[:, own, k] = self._said(values.reshape(n, len(own), -1))[..., 0]
            # Bounds are in the norm of the Hessian of each: only that nothing is left can be said of all.
            bound[own] = np.where((bound[own] == 0) & (trust[0] == 0), 0.0, np.inf)
            leverage[own] = np.fmax(leverage[own], trust[2])
            for i, name in zip(own, trust[1], strict=True):
                words[i].add(str(name))
        used = [one.pop() if len(one) == 1 else "by member" if one else method for one in words]
        return moved, bound, np.array(used), leverage

    def own_removals(self, method, tol, rows=None):
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        alone = np.isin(rows, rows_alone(self.problem))
        out = _before(self._quantities(self.problem.design.X[rows], method))
        with quietly():
            for k, one in enumerate(self.members):
                place = np.where(alone, -1, self.problem.place(k)[rows])
                own = place >= 0
                if own.any():
                    found = one.own_removals(method, tol, place[own])
                    out[own, k] = self._said(self._outputs(k, found))[:, 0]
        warn_lost(rows[~alone][np.isnan(out[~alone]).any(axis=1)], LOST)
        out[alone] = np.nan
        return out

    def _outputs(self, k, eta):
        """What a member says at decision values of its loss."""
        loss = self.problem.members[k].loss
        return loss.predict_proba(eta) if self.problem.loss.as_chance else loss.expand(eta)

    def own_group_removals(self, removals, method, tol):
        out = np.full((self.problem.n_samples, len(self.members)), np.nan)
        for one in removals:
            parts = self._quantities(self.problem.design.X[one.rows], method)
            moved = self._after([one], parts, method, tol)[0]
            out[one.rows] = _before(parts) + moved[:, 0]
        return out


def _before(parts):
    """Decision values of all pairs at their points, (n_points, n_pairs)."""
    return np.stack([one.before.reshape(one.design.n_samples, -1)[:, -1] for one in parts], axis=1)


@answers_of.register
def _(problem: PairsProblem, *, solver, hold, precision, verbose):
    options = {"solver": solver, "hold": hold, "precision": precision, "verbose": verbose}
    return PairsAnswers(problem, members_of(problem, [None] * len(problem.members), **options))
