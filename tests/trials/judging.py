"""Whether an answer is right, by the oracle, and by how much it may be off."""

from functools import cached_property

import numpy as np

from tests.oracle import KernelRidgeProblem, MachineProblem, minimise, problem_of
from tests.oracle.algebra import Factor, NotPositiveDefiniteError
from tests.oracle.optimum import rounding_size

LD = np.longdouble
EPS = float(np.finfo(float).eps)
# Relative error of the change that "exact" and the definitions of the local methods may have.
EXACT = 1e-6
# Units of float64 rounding in what is allowed besides.
ROUNDING = 40.0
# Roots of one over one minus a leverage from which on rows decide a parameter alone.
DECIDES = 10**5.5


class UnsureError(Exception):
    """The oracle does not know the answer well enough to judge."""


class NotReachedError(UnsureError):
    """The oracle did not arrive at an optimum that there is."""


class NoOptimumError(Exception):
    """There is no model after the edit, or none before it."""


def changes_of(edit, sample_weight, encode):
    """An edit of the trial as new sample weights and new rows."""
    changes, new = {}, []
    for term in edit:
        if term.kind == "remove":
            changes[term.row] = 0.0
        elif term.kind == "reweight":
            changes[term.row] = term.weight
        elif term.kind == "add":
            new.append((term.x, encode(term.y), term.weight))
        else:
            changes[term.row] = 0.0
            new.append((term.x, None if term.y is None else encode(term.y), ("own", term.row)))
    return changes, new


class Linear:
    """Truths of a model with decision values linear in its parameters."""

    mixed = False

    def __init__(self, trial, X, y, weights, params, hold):
        name = "LogisticRegression" if trial.family == "MEstimator" else trial.family
        if name == "module":
            # The mean of squared errors: twice the half squared error, over the total weight.
            name = "Ridge"
            total = len(X) if weights is None else float(np.sum(weights))
            params = {"alpha": params["weight_decay"] * total / 2}
            hold = "lambda"
        classes = None if trial.labels is None else np.arange(len(trial.labels))
        self.trial = trial
        self.problem = problem_of(name, params, X, y, weights, hold, classes)
        if trial.family == "module":
            self.problem.penalty[:] = self.problem.penalty[0]
        self.pivots = []

    @cached_property
    def before(self):
        return self._optimum(self.problem, None)

    def _optimum(self, problem, start):
        if not problem.has_optimum():
            raise NoOptimumError("a class, or all positive counts, without weight")
        if not (problem.weights > 0).any():
            raise NoOptimumError("no weight")
        try:
            found = minimise(problem, start)
        except NotPositiveDefiniteError as error:
            self.pivots.append(0.0)
            raise NoOptimumError(str(error)) from error
        self.pivots.append(found.factor.pivot_in_double)
        falls = self.trial.labels is not None or (problem.y[problem.weights > 0] == 0).any()
        if not found.converged and not problem.penalty.any() and falls:
            raise NoOptimumError(
                "unpenalised, and the iteration does not end: separable classes, or counts of zero"
            )
        if not found.converged:
            text = f"the oracle stopped at {found.error:.1e} after {found.n_iter} steps"
            raise NotReachedError(text)
        return found

    def after(self, edit):
        """Edited problem, from an edit of the trial."""
        problem = self.problem
        changes, new = changes_of(edit, problem.sample_weight, self._encode)
        points = []
        for x, target, weight in new:
            row = weight[1] if isinstance(weight, tuple) else None
            s = problem.sample_weight[row] if row is not None else LD(weight)
            if x is None:
                x = problem.X[row][: len(problem.X[row]) - bool(problem.intercept)]
            if target is None:
                target = problem.y[row]
            points.append((np.asarray(x, dtype=LD), target, s))
        return problem.edited(changes, points), changes, points

    def _encode(self, y):
        return self.problem.encode(np.array([y]))[0]

    def value(self, of, eta, y):
        """The quantity at decision values (m, n_outputs)."""
        if of == "decision_function":
            return eta[:, 0] if eta.shape[1] == 1 else eta
        if of == "loss":
            return self.problem.loss.value(eta, self.problem.encode(np.asarray(y)))
        if eta.shape[1] == 1:
            p = 1 / (1 + np.exp(-eta[:, 0]))
            return np.column_stack([1 - p, p])
        e = np.exp(eta - eta.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def _spread(self, of, eta, allowed, y, eta0, rounded):
        """How far a change may move when decision values after it do by ``allowed``.

        And those before it by ``rounded``.
        """
        if of == "decision_function":
            return allowed[:, 0] if eta.shape[1] == 1 else allowed
        # Losses and probabilities are rounded themselves, before the edit too.
        size = np.abs(self.value(of, eta, y)) + np.abs(self.value(of, eta0, y))
        out = self._moved(of, eta, allowed, y) + self._moved(of, eta0, rounded, y)
        return 1.1 * out + 1e-14 * (1 + size)

    def _moved(self, of, eta, allowed, y):
        base, out = self.value(of, eta, y), 0.0
        for k in range(eta.shape[1]):
            moved = [eta.copy(), eta.copy()]
            moved[0][:, k] += allowed[:, k]
            moved[1][:, k] -= allowed[:, k]
            with np.errstate(over="ignore"):
                ends = [np.abs(self.value(of, one, y) - base) for one in moved]
            out = out + np.maximum(*ends)
        return out

    def _rounded(self, rows, theta):
        """What rounding leaves of decision values, (m, n_outputs)."""
        sizes = (np.abs(rows) @ np.abs(theta).T).max(axis=1, keepdims=True)
        return ROUNDING * EPS * np.repeat(sizes, self.problem.loss.n_outputs, axis=1)

    def truth(self, edit, X, y, of, method, tol, bound=None, absolute=False):
        """True change at test rows, what is allowed, and the oracle's own error there.

        ``bound`` is the one reported, in the norm of the edited Hessian.
        """
        problem, (edited, _, _) = self.problem, self.after(edit)
        if not edited.has_optimum():
            raise NoOptimumError("a class, or all positive counts, without weight")
        before = self.before
        after = self._optimum(edited, before.theta)
        try:
            P = Factor(edited.hessian(before.theta))
            self.pivots.append(P.pivot_in_double)
        except NotPositiveDefiniteError as error:
            raise UnsureError("the Hessian after the edit is singular at the fit") from error
        d = after.theta - before.theta
        size = float(P.norm(d.ravel()))
        rows = problem.rows(X)
        D = problem.directions(rows)
        shape = len(rows), problem.loss.n_outputs
        n_P = P.inverse_norms(D).reshape(shape)
        n_0 = before.factor.inverse_norms(D).reshape(shape)
        n_1 = after.factor.inverse_norms(D).reshape(shape)
        eta0, eta1 = problem.outputs(before.theta, rows), problem.outputs(after.theta, rows)
        change = problem.outputs(d, rows)
        own = n_0 * before.error + n_1 * after.error
        start = n_0 * ROUNDING * EPS * float(rounding_size(problem, before.theta, before.factor))
        floor = start + n_1 * ROUNDING * EPS * float(
            rounding_size(edited, after.theta, after.factor)
        )
        reach = np.abs(rows) @ (np.abs(before.theta) + np.abs(after.theta)).T
        floor = floor + ROUNDING * EPS * reach.max(axis=1, keepdims=True)
        if method == "exact" or bound is None:
            relative = EXACT if method == "exact" else tol
            allowed = n_P * relative * size * 1.01 + EXACT * np.abs(change)
            if method == "exact" or self.problem_has_no_bound:
                allowed = n_P * EXACT * size + n_1 * EXACT * size + EXACT * np.abs(change)
        else:
            allowed = n_P * bound
        allowed = allowed + floor + own
        if absolute:
            allowed = allowed + 1e-10 * np.abs(eta1)
        if np.any(own > 0.3 * allowed):
            raise UnsureError("the oracle's own error counts")
        value = (
            self.value(of, eta1, y)
            if absolute
            else self.value(of, eta1, y) - self.value(of, eta0, y)
        )
        if of == "decision_function" and not absolute:
            value = change[:, 0] if shape[1] == 1 else change
        rounded = self._rounded(rows, before.theta) + start
        return value, self._spread(of, eta1, allowed, y, eta0, rounded), size

    def lonely(self):
        """Whether a kind of target that must have weight has one row of it only."""
        problem = self.problem
        if (problem.weights > 0).sum() <= 1:
            return True
        if problem.kinds is None:
            return False
        kinds = problem.kinds[1](problem.y)
        return any((problem.weights[kinds == k] > 0).sum() <= 1 for k in range(problem.kinds[0]))

    @property
    def problem_has_no_bound(self):
        return self.trial.family in ("MEstimator",) or (
            self.trial.params.get("loss") == "squared_hinge"
        )

    def definition(self, edit, theta, X, y, of, method, loose, absolute=False):
        """The local answers as they are defined, at the parameters as fitted."""
        problem = self.problem
        edited, changes, new = self.after(edit)
        if not (edited.weights > 0).any():
            raise NoOptimumError("no weight")
        if not edited.has_optimum():
            raise NoOptimumError("a class, or all positive counts, without weight")
        rows = list(changes)
        old, now = problem.weights[rows], edited.weights[rows]
        parts = [(problem.X[rows], problem.y[rows], now - old, now + old)]
        n = len(problem.X)
        if new:
            parts.append((edited.X[n:], edited.y[n:], edited.weights[n:], edited.weights[n:]))
        b = np.zeros(problem.shape, dtype=LD)
        rounded = []
        for part, targets, w, both in parts:
            if len(part):
                eta = (part @ theta.T) @ problem.basis.T
                g = problem.loss.gradient(eta, targets) @ problem.basis
                b += np.where(w[:, None] != 0, w[:, None] * g, 0).T @ part
                rounded.append((part, both, np.abs(g).max(axis=1)))
        b += (edited.penalty - problem.penalty) * theta
        own = problem if method == "influence" else edited
        try:
            factor = Factor(own.hessian(theta))
        except NotPositiveDefiniteError as error:
            self.pivots.append(0.0)
            raise NoOptimumError("singular") from error
        self.pivots.append(factor.pivot_in_double)
        if factor.smallest < 1e-13:
            raise UnsureError("singular in float64")
        before = self._growth(factor, problem, theta)
        if before > DECIDES:
            # Of a row that decides alone the step is of what it leaves, which is b at an optimum;
            # the step of the fit itself, where that stopped early, is no change by the edit.
            moved = np.broadcast_to(edited.penalty - problem.penalty, theta.shape)
            shift = np.diag(moved.ravel())
            fits = Factor(problem.hessian(theta) + shift).solve(problem.gradient(theta).ravel())
            step = fits - factor.solve(edited.gradient(theta).ravel())
        else:
            step = -factor.solve(b.ravel())
        rows = problem.rows(X)
        D = problem.directions(rows)
        shape = len(rows), problem.loss.n_outputs
        norms = factor.inverse_norms(D).reshape(shape)
        diagonal = np.sqrt(np.diagonal(factor.A))
        inverse = (factor.half_solve(np.diag(diagonal)) ** 2).sum()
        solve = EPS * len(step) * np.sqrt(inverse) * np.sqrt(((diagonal * step) ** 2).sum())
        if self.mixed:
            # Leverages are rounded to float32, which a step near leverage 1 enlarges.
            loose = loose * before**2
        size = factor.norm(step)
        spreads = (factor.half_solve(np.eye(len(diagonal))) ** 2).sum(axis=0)
        # Weights before and after are rounded, whatever their difference.
        for part, weight, g in rounded:
            own = factor.inverse_norms(problem.directions(part)).reshape(len(part), -1).max(axis=1)
            solve = solve + EPS * float((weight * g * own).sum())
            # Their sum is rounded in each column, along no row: where others hardly curve that is more.
            columns = np.tile((weight * g) @ np.abs(part), problem.shape[0])
            solve = solve + EPS * np.sqrt(float((columns**2 * spreads).sum()))
            if self.trial.family == "MEstimator":
                # Second derivatives by autograd are rounded relative to 1, not to themselves.
                along = np.abs(part @ step.reshape(problem.shape).T).max(axis=1)
                solve = solve + EPS * float((weight * along * own).sum())
        allowed = norms * (EXACT * loose * size + ROUNDING * loose * before * solve)
        step = step.reshape(problem.shape)
        eta0, change = problem.outputs(theta, rows), problem.outputs(step, rows)
        reach = np.abs(rows) @ (np.abs(theta) + np.abs(step)).T
        allowed = allowed + ROUNDING * EPS * reach.max(axis=1, keepdims=True)
        eta1 = eta0 + change
        value = (
            self.value(of, eta1, y)
            if absolute
            else self.value(of, eta1, y) - self.value(of, eta0, y)
        )
        if of == "decision_function" and not absolute:
            value = change[:, 0] if shape[1] == 1 else change
        rounded = self._rounded(rows, theta)
        return value, self._spread(of, eta1, allowed, y, eta0, rounded), float(size)

    def _growth(self, factor, problem, theta):
        """How much Woodbury's formula enlarges errors: sqrt of the largest eigenvalue of P^-1 H."""
        H = problem.hessian(theta)
        trace = float((factor.half_solve(H).T * factor.half_solve(np.eye(len(H))).T).sum())
        return max(1.0, np.sqrt(abs(trace)))


class Machine:
    """Truths of hinge machines, one-vs-one or one-vs-rest, by the duality gap of each binary one."""

    def __init__(self, trial, X, y, weights, params):
        self.trial, self.pivots, self.params = trial, [], params
        self.s = np.ones(len(X)) if weights is None else weights
        self.X, self.y = np.asarray(X, dtype=LD), np.asarray(y)
        self.classes = range(len(trial.labels))

    def _values(self, rows, y, s, X):
        k, params = len(self.classes), self.params
        C = LD(params["C"])
        if self.trial.family == "LinearSVC hinge":
            offset = params["intercept_scaling"] ** 2 if params["fit_intercept"] else 0.0
            options = "linear", params, False, offset
            parts = [(y == c, y != c) for c in (self.classes if k > 2 else (1,))]
        else:
            options = params["kernel"], params, True, 0.0
            parts = [(y == a, y == b) for a in self.classes for b in range(a + 1, k)]
            # Of two classes the second one is the positive one.
            parts = parts if k > 2 else [parts[0][::-1]]
        values, errors = [], []
        for up, down in parts:
            used = up | down
            signs = np.where(up, 1, -1)[used]
            machine = MachineProblem(rows[used], signs, C * s[used], *options)
            v, e = machine.values(X)
            values.append(v)
            errors.append(e)
        return (values[0], errors[0]) if len(parts) == 1 else map(np.column_stack, (values, errors))

    def lonely(self):
        """Whether a class has one row of weight only."""
        return any((self.s[self.y == c] > 0).sum() <= 1 for c in self.classes)

    def truth(self, edit, X, y, of, method, tol, bound=None, absolute=False):
        changes, new = changes_of(edit, self.s, int)
        s, rows, codes = np.array(self.s, dtype=LD), self.X, self.y
        for row, weight in changes.items():
            s[row] = weight
        for x, code, weight in new:
            row = weight[1] if isinstance(weight, tuple) else None
            x = self.X[row] if x is None else np.asarray(x, dtype=LD)
            rows = np.vstack([rows, x[None]])
            codes = np.append(codes, self.y[row] if code is None else code)
            s = np.append(s, self.s[row] if row is not None else LD(weight))
        for these, weights in ((self.y, self.s), (codes, s)):
            if not all((weights[these == c] > 0).any() for c in self.classes):
                raise NoOptimumError("a class without weight")
        if method in ("influence", "one-step"):
            raise UnsureError("local answers of hinge machines")
        X = np.asarray(X, dtype=LD)
        v0, e0 = self._values(self.X, self.y, self.s, X)
        v1, e1 = self._values(rows, codes, s, X)
        if not (np.isfinite(e0).all() and np.isfinite(e1).all()):
            raise UnsureError("the bias is not unique")
        change = v1 if absolute else v1 - v0
        scale = 1 + np.abs(v0).max() + np.abs(v1).max()
        allowed = EXACT * np.abs(v1 - v0).max() + 1e-8 * scale + e0 + e1
        if np.any(e0 + e1 > 1e-5 * scale):
            raise UnsureError("the oracle's own error counts")
        return change, allowed, float(np.abs(v1 - v0).max())


class KernelRidge:
    """Truths of kernel ridge regression, in closed form."""

    def __init__(self, trial, X, y, weights, params):
        self.trial, self.pivots = trial, []
        self.s = np.ones(len(X)) if weights is None else weights
        X = np.asarray(X, dtype=LD)
        self.problem = KernelRidgeProblem(X, y, self.s, params["alpha"], params["kernel"], params)

    def lonely(self):
        """Whether one row has all the weight."""
        return (self.s > 0).sum() <= 1

    def truth(self, edit, X, y, of, method, tol, bound=None, absolute=False):
        changes, new = changes_of(edit, self.s, float)
        points = []
        for x, target, weight in new:
            row = weight[1] if isinstance(weight, tuple) else None
            s = self.s[row] if row is not None else weight
            x = self.problem.X[row] if x is None else np.asarray(x, dtype=LD)
            target = self.problem.y[row] if target is None else target
            points.append((x, target, LD(s)))
        edited = self.problem.edited(changes, points)
        if not (edited.sample_weight > 0).any():
            raise NoOptimumError("no weight")
        try:
            v0, e0, p0 = self.problem.values(np.asarray(X, dtype=LD))
            v1, e1, p1 = edited.values(np.asarray(X, dtype=LD))
        except NotPositiveDefiniteError as error:
            self.pivots.append(0.0)
            raise UnsureError("the kernel matrix is singular in long double") from error
        self.pivots += [p0, p1]
        scale = np.abs(v0).max() + np.abs(v1).max() + np.abs(np.asarray(self.problem.y)).max()
        allowed = EXACT * np.abs(v1 - v0).max() + (1e-12 + 10 * EPS / min(p0, p1)) * scale
        return v1 if absolute else v1 - v0, allowed + e0 + e1, float(np.abs(v1 - v0).max())


def judge_of(trial, X, y, weights, params, hold):
    if trial.family in ("SVC", "LinearSVC hinge"):
        return Machine(trial, X, y, weights, params)
    if trial.family == "KernelRidge":
        return KernelRidge(trial, X, y, weights, params)
    return Linear(trial, X, y, weights, params, hold)
