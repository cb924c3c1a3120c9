"""One trial: fit, ask, compare."""

import re
import signal
import traceback
import warnings
from dataclasses import dataclass, replace

import numpy as np

from tests.trials import messages
from tests.trials.drawing import Edit, Question, draw
from tests.trials.judging import NoOptimumError, NotReachedError, UnsureError, judge_of
from tests.trials.passing import (
    NotFittedError,
    Passed,
    contained,
    contained_targets,
    edit_of,
    fingerprint,
    fit,
    state,
)

TIME_LIMIT = 20
LOCAL = ("influence", "one-step")
# Families whose local answers the oracle does not define, or that are exact.
CLOSED = ("SVC", "LinearSVC hinge", "KernelRidge")
INTERNAL = (
    "LinAlgError",
    "ZeroDivisionError",
    "IndexError",
    "AttributeError",
    "AssertionError",
    "KeyError",
    "FloatingPointError",
    "UnboundLocalError",
    "NameError",
    "RecursionError",
    "OverflowError",
    "MemoryError",
)


@dataclass
class Outcome:
    """How a trial, or one of its questions, ended."""

    kind: str
    detail: str = ""
    question: str = ""

    @property
    def failed(self):
        return self.kind in FAILURES


FAILURES = [
    "certificate violated",
    "exact wrong",
    "auto beyond its tolerance",
    "not its definition",
    "answer without an optimum",
    "NaN without a warning",
    "NaN where there is an answer",
    "internal error",
    "refusal not in the table",
    "false refusal",
    "bare warning",
    "warning not in the table",
    "false warning",
    "input modified",
    "hang",
    "harness",
]
FINE = ["right", "refused", "warned", "unsure", "not fitted"]


class HangError(Exception):
    """A trial beyond its time."""


def run(seed):
    """Outcomes of a trial, a list of :class:`Outcome`, and the trial."""
    found, trial = _within_time(seed)
    if [one.kind for one in found] == ["hang"]:
        # Compiling took the time? Then it is done now.
        found, trial = _within_time(seed)
    return found, trial


def _within_time(seed):
    trial = draw(seed)

    def ring(signum, frame):
        where = "".join(traceback.format_stack(frame)[-3:])
        raise HangError(where)

    # Seconds of the processor, so that a busy machine makes no hangs.
    old = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT)
    try:
        return Asking(trial).outcomes(), trial
    except HangError as error:
        return [Outcome("hang", str(error)[-600:])], trial
    except Exception as error:
        # A long run goes on.
        text = "".join(traceback.format_exception(error))
        return [Outcome("harness", text[-1500:])], trial
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


class Asking:
    """A fitted trial and its questions."""

    def __init__(self, trial):
        self.trial = trial
        self.options = trial.options
        # Whether the oracle took all the time there is: it is not asked again.
        self.unjudged = False
        self.passed = Passed(trial)
        p = self.passed
        self.X = contained(p.X, trial.container)
        self.y = contained_targets(p.labelled(p.y), trial.target_container)
        self.weights = None if p.weights is None else p.weights.copy()
        self.X_test = contained(p.shown(trial.X_test), trial.container)
        self.y_test = contained_targets(p.labelled(trial.y_test), "array")

    def outcomes(self):
        trial, found = self.trial, []
        said = []
        kept = [fingerprint(one) for one in (self.X, self.y, self.weights, self.X_test)]
        try:
            if trial.family != "module":
                self.model = fit(self.passed, self.X, self.y, self.weights)
                fitted = state(self.model)
        except NotFittedError as error:
            return [Outcome("not fitted", str(error)[:200])]
        except HangError:
            raise
        except Exception as error:
            return [self._refused(error, Question("fit"), messages.Facts(no_optimum=None), None)]
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                self.influence = self._influence()
        except HangError:
            raise
        except Exception as error:
            return [self._refused(error, Question("Influence"), None, None)]
        found += self._said(said, Question("Influence"), None)
        for question in trial.questions:
            try:
                found += self._ask(question)
            except HangError:
                raise
            except Exception as error:
                text = "".join(traceback.format_exception(error))
                found.append(Outcome("harness", text[-1500:], _shown(question)))
        after = [fingerprint(one) for one in (self.X, self.y, self.weights, self.X_test)]
        for name, a, b in zip(("X", "y", "sample_weight", "X_test"), kept, after, strict=True):
            if a != b:
                found.append(Outcome("input modified", name))
        if trial.family != "module" and state(self.model) != fitted:
            found.append(Outcome("input modified", "the estimator"))
        return found

    def _influence(self):
        from skinfluence import Influence
        from skinfluence.solvers import Exact

        options = dict(self.trial.options)
        if options.get("solver") in ("primal", "dual"):
            options["solver"] = Exact(options["solver"])
        if self.trial.family == "module":
            return self._module()
        return Influence(self.model, self.X, self.y, self.weights, **options)

    def _module(self):
        import torch

        from skinfluence.neural import ModuleInfluence

        p = self.passed
        judge = judge_of(self.trial, p.X, p.y, p.weights, p.params, "auto")
        theta = np.asarray(judge.before.theta[0], dtype=float)
        module = torch.nn.Linear(p.X.shape[1], 1).double()
        with torch.no_grad():
            module.weight.copy_(torch.tensor(theta[:-1])[None])
            module.bias.copy_(torch.tensor(theta[-1:]))
        decay = p.params["weight_decay"]
        self.theta = theta
        return ModuleInfluence(module, torch.nn.MSELoss(), p.X, p.y, p.weights, weight_decay=decay)

    # One question ------------------------------------------------------------------------------

    def _ask(self, question):
        trial = self.trial
        local = question.method in LOCAL and trial.family not in CLOSED
        # Methods of estimators take no options.
        self.options = {} if question.kind.endswith("method") else trial.options
        hold = self.options.get("hold", "auto")
        cases, unjudged = self._cases(question), f"{TIME_LIMIT} seconds of the oracle"
        if self.unjudged:
            return [Outcome("unsure", unjudged, _shown(question))]
        try:
            judge = self._judge(local, hold)
            truths = [self._truth(judge, question, edit, at) for edit, at, _ in cases]
            facts = self._facts(judge, truths)
        except HangError:
            self.unjudged = True
            return [Outcome("unsure", unjudged, _shown(question))]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            # What the oracle took is no time of the answer.
            signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT)
            try:
                answer, error = self._answer(question, cases), None
            except HangError:
                raise
            except Exception as raised:
                answer, error = None, raised
        signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT)
        try:
            if error is not None:
                outcome = self._refused(error, question, facts, judge)
                return [outcome, *self._said(said, question, facts)]
            return self._looked_at(question, cases, answer, said, judge, truths, facts)
        except HangError:
            self.unjudged = True
            return [Outcome("unsure", unjudged, _shown(question))]

    def _judge(self, local, hold):
        trial, p = self.trial, self.passed
        signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT)
        if local:
            # The definition is that of the problem as it was passed.
            return judge_of(trial, p.X, p.y, p.weights, p.params, hold)
        return judge_of(trial, trial.X, trial.y, trial.weights, trial.params, hold)

    def _looked_at(self, question, cases, answer, said, judge, truths, facts):
        """What was said and each value beside its truth, outcomes."""
        local = question.method in LOCAL and self.trial.family not in CLOSED
        out = self._said(said, question, facts)
        warned = [w for w in said if issubclass(w.category, UserWarning | RuntimeWarning)]
        # What is said not to be certified is held to the bound that is given for it.
        uncertified = any("could not be certified" in str(w.message) for w in warned)
        held = replace(question, method="auto") if uncertified and not local else question
        for case, truth, value, bound in zip(cases, truths, *answer, strict=True):
            again = truth
            if bound is not None and not local and not isinstance(truth, Exception):
                again = self._truth(judge, held, case[0], case[1], bound)
            out.append(self._compared(question, case, again, value, bound, warned, facts))
        return out

    def _cases(self, question):
        """(edit, test row or None, place in the answer) for each truth to compare."""
        trial, p = self.trial, self.passed
        kind = question.kind.split()[0]
        if kind == "effect":
            return [(edit, None, i) for i, edit in enumerate(question.edits)]
        rows = [r for r in question.rows if len(p.positions[r]) == 1]
        if kind == "removal":
            return [([Edit("remove", r)], None, i) for i, r in enumerate(rows)]
        if kind == "loo":
            return [([Edit("remove", r)], r, r) for r in rows]
        if kind == "relabel":
            k = len(trial.labels)
            return [
                ([] if c == trial.y[r] else [Edit("relabel", r, y=c)], None, (i, c))
                for i, r in enumerate(rows)
                for c in range(k)
            ]
        return [
            ([Edit("remove", int(r)) for r in np.flatnonzero(self._groups() == g)], None, g)
            for g in range(int(self._groups().max()) + 1)
        ]

    def _groups(self):
        n = len(self.trial.y)
        return np.arange(n) % min(n, 3)

    def _truth(self, judge, question, edit, at, bound=None):
        trial, p = self.trial, self.passed
        of = "decision_function" if at is not None else question.of
        X, y = trial.X_test, trial.y_test
        if at is not None:
            X, y = trial.X[[at]], trial.y[[at]]
        local = question.method in LOCAL and trial.family not in CLOSED
        try:
            if not local:
                if trial.family == "KernelRidge" and question.method == "influence":
                    raise UnsureError("influence of a kernel ridge regression")
                return judge.truth(
                    edit, X, y, of, question.method, question.tol, bound, at is not None
                )
            moved = [self._moved(term) for term in edit]
            moved = [one for part in moved for one in part]
            theta = self._fitted(judge)
            loose = 1.0
            if self.options.get("precision") == "mixed":
                loose, judge.mixed = 1e4, True
            if self.options.get("solver") == "cg":
                loose = 1e3
            return judge.definition(
                moved, theta, p.shown(X), y, of, question.method, loose, at is not None
            )
        except (UnsureError, NoOptimumError) as error:
            return error

    def _moved(self, term):
        """A term of the trial in the rows and units that were passed."""
        p = self.passed
        x = None if term.x is None else p.shown(term.x)
        if term.row < 0:
            return [Edit(term.kind, -1, x, term.y, term.weight)]
        at = p.positions[term.row]
        return [Edit(term.kind, int(i), x, term.y, term.weight / len(at)) for i in at]

    def _fitted(self, judge):
        trial = self.trial
        if trial.family == "module":
            return judge.problem.inner(self.theta[:-1], self.theta[-1:])
        if self.options.get("polish"):
            return judge.before.theta
        model = self.model
        if trial.family == "MEstimator":
            return judge.problem.inner(model.params_, 0.0)
        if trial.family == "OneVsRestClassifier":
            coef = np.vstack([one.coef_ for one in model.estimators_])
            return judge.problem.inner(
                coef, np.ravel([one.intercept_ for one in model.estimators_])
            )
        return judge.problem.inner(model.coef_, model.intercept_)

    def _facts(self, judge, truths):
        facts = messages.Facts()
        facts.no_optimum = any(isinstance(one, NoOptimumError) for one in truths)
        facts.not_reached = any(isinstance(one, NotReachedError) for one in truths)
        facts.pivot = min(judge.pivots, default=1.0)
        facts.lonely = judge.lonely()
        if hasattr(judge, "definition"):
            try:
                problem = judge.problem
                theta = self._fitted(judge) if hasattr(self, "influence") else None
                if theta is not None:
                    from tests.oracle.algebra import Factor

                    factor = Factor(problem.hessian(theta))
                    facts.pivot = min(facts.pivot, factor.pivot_in_double)
                    g = problem.gradient(theta).ravel()
                    facts.decrement = float(np.sqrt(max(0, g @ factor.solve(g))))
                    loss = problem.loss.value(problem.outputs(theta), problem.y)
                    total = (problem.weights * loss).sum() + (problem.penalty * theta**2).sum() / 2
                    facts.limit = float(np.sqrt(0.2 * abs(total) / len(problem.X)))
            except (ArithmeticError, NoOptimumError, UnsureError):
                facts.pivot = 0.0
        return facts

    def _answer(self, question, cases):
        """One value per case, and its bound or None."""
        p = self.passed
        kind, *rest = question.kind.split()
        asked = self.model if rest else self.influence
        options = {"method": question.method, "tol": question.tol}
        if kind == "loo":
            eta = np.asarray(asked.loo_decision_function(**options))
            return [eta[p.positions[at]] for _, _, at in cases], [None] * len(cases)
        options["of"] = question.of
        y = self.y_test if question.of == "loss" else None
        if kind == "effect":
            made = [edit_of(p, edit, None) for edit, _, _ in cases]
            if len(made) == 1:
                effect = self.influence.effect(made[0], self.X_test, y, **options)
                return [effect.values], [float(effect.bound)]
            effect = self.influence.effect(made, self.X_test, y, **options)
            return [effect.values[:, i] for i in range(len(made))], list(map(float, effect.bound))
        if kind == "groups":
            groups = np.empty(len(p.y), dtype=int)
            for row, at in enumerate(p.positions):
                groups[at] = self._groups()[row]
            found = asked.removal_effect(self.X_test, y, groups=groups, **options)
        else:
            rows = [r for r in question.rows if len(p.positions[r]) == 1]
            indices = [p.positions[r][0] for r in rows]
            ask = asked.removal_effect if kind == "removal" else asked.relabel_effect
            found = ask(self.X_test, y, indices=indices, **options)
        values = [
            found[:, at] if not isinstance(at, tuple) else found[:, at[0], at[1]]
            for *_, at in cases
        ]
        return values, [None] * len(cases)

    def _compared(self, question, case, truth, value, bound, warned, facts):
        value = np.asarray(value, dtype=np.longdouble)
        shown = _shown(question, case[0])
        nan = bool(np.isnan(value).any())
        if nan and not warned:
            return Outcome("NaN without a warning", f"truth {_numbers(truth)}", shown)
        if isinstance(truth, NoOptimumError):
            if nan or warned:
                return Outcome("refused", str(truth), shown)
            if facts.pivot > 0 or "weight" in str(truth):
                text = f"{_list(value)}; {truth}"
                return Outcome("answer without an optimum", text, shown)
            return Outcome("unsure", str(truth), shown)
        if isinstance(truth, UnsureError):
            return Outcome("unsure", str(truth), shown)
        if nan:
            if facts.pivot < messages.SINGULAR or facts.no_optimum:
                return Outcome("warned", "NaN", shown)
            return Outcome("NaN where there is an answer", f"pivot {facts.pivot:.0e}", shown)
        true, allowed, size = truth
        true = np.asarray(true).reshape(value.shape)
        error, allowed = np.abs(value - true), np.asarray(allowed).reshape(value.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            worst = float(np.where(error > 0, error / allowed, 0).max(initial=0))
        if worst <= 1.0:
            return Outcome("right", f"{worst:.2g}", shown)
        text = (
            f"{_list(value)} true {_list(true)} allowed {_list(allowed)} ({worst:.2g} times)"
            f" bound {bound} size {size:.2g} pivot {facts.pivot:.0e}"
        )
        if question.method in LOCAL:
            return Outcome("not its definition", text, shown)
        if any("certified" in str(w.message) or "stopped" in str(w.message) for w in warned):
            if bound is None or not np.isfinite(bound):
                return Outcome("warned", text, shown)
        if question.method == "exact":
            return Outcome("exact wrong", text, shown)
        if bound is None or not np.isfinite(bound):
            return Outcome("auto beyond its tolerance", text, shown)
        return Outcome("certificate violated", text, shown)

    # What is said ------------------------------------------------------------------------------

    def _refused(self, error, question, facts, judge):
        name, text = type(error).__name__, str(error)
        shown = _shown(question)
        frames = traceback.extract_tb(error.__traceback__)
        last = frames[-1] if frames else None
        where = f"{last.filename.rpartition('/')[2]}:{last.lineno} {last.name}" if last else ""
        detail = f"{name}: {text[:400]} [{where}]"
        if isinstance(error, NoOptimumError | UnsureError):
            return Outcome("unsure", text, shown)
        if name in INTERNAL or not any("skinfluence" in frame.filename for frame in frames):
            return Outcome("internal error", detail, shown)
        if facts is None or facts.no_optimum is None:
            facts = self._fit_facts()
        known, true = messages.classify(text, messages.REFUSALS, self.trial, question, facts)
        if known is None:
            return Outcome("refusal not in the table", detail, shown)
        if not true and known == "singular" and facts.not_reached:
            # Of an optimum that long double does not reach nothing says what its Hessian is.
            return Outcome("unsure", detail, shown)
        if not true:
            return Outcome("false refusal", f"{detail} pivot {facts.pivot:.1e}", shown)
        return Outcome("refused", known, shown)

    def _fit_facts(self):
        trial, p = self.trial, self.passed
        judge = judge_of(trial, p.X, p.y, p.weights, p.params, "auto")
        facts = messages.Facts()
        try:
            if hasattr(judge, "definition"):
                _ = judge.before
            else:
                judge.truth([], trial.X_test, trial.y_test, "decision_function", "exact", 1e-3)
        except NoOptimumError:
            facts.no_optimum = True
        except UnsureError:
            pass
        facts.pivot = min(judge.pivots, default=1.0)
        if hasattr(judge, "definition") and hasattr(self, "model"):
            if facts.no_optimum or self._lacks_a_class(judge):
                facts.no_optimum = True
                return facts
            facts.pivot = min(facts.pivot, self._facts(judge, []).pivot)
            try:
                from tests.oracle.algebra import Factor

                theta = self._fitted(judge)
                factor = Factor(judge.problem.hessian(theta))
                facts.pivot = min(facts.pivot, factor.pivot_in_double)
            except (ArithmeticError, NoOptimumError, UnsureError):
                facts.pivot = 0.0
        return facts

    def _lacks_a_class(self, judge):
        """Whether a fit left out a class without weight, as those of liblinear do."""
        coef = getattr(self.model, "coef_", None)
        return coef is not None and len(np.atleast_2d(coef)) < judge.problem.shape[0]

    def _said(self, said, question, facts):
        out = []
        for warning in said:
            text = str(warning.message)
            if issubclass(warning.category, RuntimeWarning):
                place = f"{warning.filename.rpartition('/')[2]}:{warning.lineno}"
                out.append(Outcome("bare warning", f"{text} [{place}]", _shown(question)))
                continue
            if issubclass(warning.category, FutureWarning | DeprecationWarning | ImportWarning):
                continue
            if issubclass(warning.category, ResourceWarning):
                continue
            if facts is None:
                facts = self._facts(self._judge_as_passed(), [])
            why, table = messages.warned_of(text)
            known, true = messages.classify(why, table, self.trial, question, facts)
            if known is not None and not true:
                # Questions about all rows are compared at a few of them.
                named = self._facts_of_rows(text, facts)
                _, true = messages.classify(why, table, self.trial, question, named)
            if known is None:
                out.append(Outcome("warning not in the table", text[:300], _shown(question)))
            elif not true:
                detail = f"{text[:300]} pivot {facts.pivot:.0e} decrement {facts.decrement:.1e}"
                detail += f" limit {facts.limit:.1e}"
                out.append(Outcome("false warning", detail, _shown(question)))
        return out

    def _facts_of_rows(self, text, facts):
        """Facts about the removals of the rows that a warning names, if it does."""
        named = re.match(r"Rows? (\d+(?:, \d+)*)", text)
        judge = self._judge_as_passed()
        if named is None or not hasattr(judge, "definition"):
            return facts
        for row in map(int, named[1].split(", ")):
            gone = [Edit("remove", row)], self.trial.X_test, self.trial.y_test, "decision_function"
            try:
                # The Hessian at the fit, which may have stopped early, and those at the optimum with
                # the row and without it.
                for theta in (self._fitted(judge), judge.before.theta):
                    judge.definition(gone[0], theta, *gone[1:], "one-step", 1.0)
                judge.truth(*gone, "exact", 1e-3)
            except NoOptimumError:
                facts = replace(facts, no_optimum=True)
            except UnsureError:
                facts = replace(facts, pivot=0.0)
        return replace(facts, pivot=min([facts.pivot, *judge.pivots]))

    def _judge_as_passed(self):
        p = self.passed
        return judge_of(self.trial, p.X, p.y, p.weights, p.params, "auto")


def _shown(question, edit=None):
    text = f"{question.kind} of={question.of} method={question.method} tol={question.tol:g}"
    if edit is not None:
        text += " edit=" + "+".join(f"{t.kind}({t.row})" for t in edit)
    return text


def _list(values):
    values = np.ravel(np.asarray(values, dtype=float))[:6]
    return "[" + ", ".join(f"{v:.5g}" for v in values) + "]"


def _numbers(truth):
    return str(truth) if isinstance(truth, Exception) else _list(truth[0])
