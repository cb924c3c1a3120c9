"""The candidates of one search: grouped by what they share, scanned, and certified at the top."""

import time
import warnings
from dataclasses import dataclass, field
from itertools import chain
from numbers import Real

import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from skinfluence._utils.calls import level_outside
from skinfluence._utils.untouched import untouched
from skinfluence._utils.weights import fit_weights
from skinfluence.answers import answers_of
from skinfluence.answers.checks import rows_alone, warn_alone
from skinfluence.influence import influence_of_fit
from skinfluence.inputs import Inputs
from skinfluence.inputs.frozen import check_frozen
from skinfluence.inputs.routes import whole_pipeline
from skinfluence.leave_one_out import Outputs, outputs, quick_method, resolve_scorer
from skinfluence.model_selection.failures import Failing, check_failures
from skinfluence.model_selection.path import (
    Scanned,
    certified,
    loss_error,
    penalty_parameter,
    scan,
)
from skinfluence.objective import Objective, centred
from skinfluence.statistics import moving

# What "exact" promises, relative to the largest change.
EXACT = 1e-6


@dataclass(eq=False)
class Trial:
    """One candidate and what is known of it."""

    index: int
    params: dict
    score: float = np.nan
    std: float = np.nan
    bound: float = np.nan
    method: str = ""
    fit_time: float = 0.0
    score_time: float = 0.0
    loss: tuple = ()
    error: str = ""
    # The candidates it shares a penalty path with, from the strongest penalty on.
    path: list = field(default_factory=list, repr=False)
    position: int = 0
    gain: float = 0.0
    # The loss of each row without itself, weighted; NaN for rows that have none.
    losses: object = field(default=None, repr=False)
    whole: bool = False
    # Held only while its transformers' output is.
    objective: object = None
    model: object = None

    @property
    def settled(self):
        return self.method != "one-step" or self.bound == 0.0


class Run:
    """One call of ``fit``.

    Parameters
    ----------
    options : LeaveOneOutSearch
    X, y, sample_weight
        As checked.
    """

    def __init__(self, options, X, y, sample_weight):
        self.options = options
        self.X, self.y, self.sample_weight = X, y, sample_weight
        self.said_alone = False
        self.held = []

    def _grouped(self, trials):
        """Candidates by transformer settings, then by model settings other than the penalty."""
        heads = {}
        for trial in trials:
            model_names, penalty_name = self._model_parameters(trial)
            head = _setting(trial, set(trial.params) - set(model_names))
            rest = (penalty_name, *_setting(trial, set(model_names) - {penalty_name}))
            heads.setdefault(head, {}).setdefault(rest, []).append(trial)
        return heads

    def score(self, trials):
        """Score all candidates in place."""
        heads, held = self._grouped(trials), []
        groups = [list(paths.values()) for paths in heads.values()]
        for paths in groups:
            inside = list(chain.from_iterable(paths))
            moves = self._moves(inside)
            if not moves:
                held.append(inside[0])
            for trial in inside:
                trial.whole = moves or self._is_balanced(trial)
        self._check_frozen(held)
        for paths in groups:
            inside = list(chain.from_iterable(paths))
            with self._failing(inside):
                self._scan_paths(paths, inside)
                self._settle(inside, trials)
            for trial in inside:
                trial.objective = trial.model = None
        check_failures(trials, self.options.error_score)

    def _scan_paths(self, paths, inside):
        """Scan candidates that share their transformers, those of a path together."""
        whole = all(trial.whole for trial in inside)
        features = None if whole else self._features(inside[0])
        for path in paths:
            with self._failing(path):
                if path[0].whole:
                    self._scan_whole(path)
                else:
                    self._scan(path, features)

    def _is_balanced(self, trial):
        """Whether class weights move with the rows."""
        inside = self._model(trial).get_params()
        weights = (one for name, one in inside.items() if name.endswith("class_weight"))
        return self.options.frozen != "accept" and any(isinstance(one, str) for one in weights)

    def _moves(self, trials):
        """Whether the transformers that candidates share are without the row too; else what that says."""
        if self.options.frozen == "accept":
            return False
        estimator = with_params(self.options.estimator, trials[0].params)
        if not isinstance(estimator, Pipeline | TransformedTargetRegressor):
            return False
        influence = self._first_that_fits(trials)
        if influence is None:
            return False
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            whole = whole_pipeline(influence, self._first_method(influence), self.options.frozen)
        if said:
            self.held.append(str(said[0].message))
        return whole is not None

    def _first_that_fits(self, trials):
        """About the first candidate that can be fitted; None where none can."""
        with warnings.catch_warnings():
            # What is held is said once for the whole search, what fails when it is scored.
            warnings.simplefilter("ignore")
            for trial in trials:
                try:
                    return self._influence(trial)
                except Exception:
                    continue
        return None

    def _check_frozen(self, held):
        """Once for the whole search, with every set of transformers that stay as fitted."""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            for trial in held if not self.held else ():
                estimator = with_params(self.options.estimator, trial.params)
                check_frozen(
                    estimator, None if self.options.frozen == "refuse" else self.options.frozen
                )
        messages = self.held + [str(one.message) for one in said]
        if messages:
            warnings.warn(messages[0], UserWarning, stacklevel=level_outside())

    def _influence(self, trial):
        """About the whole pipeline of a candidate, fitted."""
        start = time.perf_counter()
        model = with_params(self.options.estimator, trial.params)
        model.fit(untouched(self.X, model), self.y, **fit_weights(model, self.sample_weight))
        trial.fit_time += time.perf_counter() - start
        return influence_of_fit(model, self.X, self.y, self.sample_weight)

    def _first_method(self, influence):
        """What candidates are scanned with."""
        local = self.options.method != "exact" and isinstance(influence.objective, Objective)
        return "one-step" if local else "exact"

    def _scan_method(self, influence):
        """The same, but where steps would be fitted again for it: what is solved is solved for good."""
        first = self._first_method(influence)
        if first == "exact" or self.options.method == "one-step":
            return first
        quick = quick_method(influence, self.options.frozen)
        return first if quick == "one-step" else "exact"

    def _scan_whole(self, path):
        """Answer for each candidate about all of its pipeline."""
        for position, trial in enumerate(path):
            trial.path, trial.position = path, position
            self._score_whole(trial, None)
            if self.options.verbose:
                print(f"[LeaveOneOutSearch] {trial.params}: {trial.score:.6g}")

    def _score_whole(self, trial, method):
        with warnings.catch_warnings():
            # Answers start from the optimum, wherever the fit ended.
            warnings.filterwarnings("ignore", "The fit is not at the optimum")
            influence = self._influence(trial)
        start = time.perf_counter()
        method = self._scan_method(influence) if method is None else method
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Row .* only one of its class", UserWarning)
            found = outputs(influence, method, budget=self.options.budget)
        objective, eta = influence.objective, found.eta
        n = len(eta)
        bound = np.full(n, np.inf)
        if method == "exact":
            change = np.abs(eta - objective.eta) if isinstance(objective, Objective) else 0.0
            spread = np.full(n, EXACT * np.nanmax(change, initial=0.0))
            bound = loss_error(objective, np.arange(n), eta, spread)
        elif objective.loss.self_concordance == 0.0:
            bound = np.zeros(n)
        trial.score_time += time.perf_counter() - start
        self._score(trial, Scanned(objective, eta, bound, method), influence.estimator)

    def _model_parameters(self, trial):
        """Names of the candidate's parameters that belong to the last step; the penalty's name."""
        estimator = self.options.estimator
        prefix, model = "", estimator
        while isinstance(model, Pipeline):
            name = model.steps[-1][0]
            model = trial.params.get(prefix + name, model.steps[-1][1])
            prefix += name + "__"
        own = [name for name in trial.params if name.startswith(prefix)]
        own += [name for name in trial.params if prefix and name == prefix[:-2]]
        short, _ = penalty_parameter(model)
        if short is None or prefix + short not in trial.params:
            return own, None
        value = trial.params[prefix + short]
        # What is not a plain number goes to the estimator, which knows what to say of it.
        plain = isinstance(value, Real) and 0 < value < np.inf
        return own, prefix + short if plain else None

    def _features(self, trial):
        """Rows as the model of a candidate sees them, its transformers fitted."""
        estimator = with_params(self.options.estimator, trial.params)
        X = self.X
        while isinstance(estimator, Pipeline):
            start = time.perf_counter()
            if len(estimator.steps) > 1:
                X = estimator[:-1].fit_transform(untouched(X, estimator[:-1]), self.y)
            estimator = estimator.steps[-1][1]
            trial.fit_time += time.perf_counter() - start
        return X

    def _scan(self, path, features):
        """Fit at the strongest penalty by the estimator itself, then follow the path."""
        penalty_name = self._model_parameters(path[0])[1]
        strengths = [1.0] * len(path)
        if penalty_name is not None:
            strength = penalty_parameter(self._model(path[0]))[1]
            path = sorted(path, key=lambda trial: -strength(trial.params[penalty_name]))
            strengths = [strength(float(trial.params[penalty_name])) for trial in path]
        start = time.perf_counter()
        model = self._model(path[0])
        model.fit(untouched(features, model), self.y, **fit_weights(model, self.sample_weight))
        problem = Inputs(model, features).problem(self.y, self.sample_weight)
        if isinstance(problem, Objective):
            answers = scan(centred(problem.holding("auto")), np.array(strengths) / strengths[0])
        else:
            answers = self._each(path, features, model, problem)
        for position, trial in enumerate(path):
            found = next(answers)
            trial.path, trial.position = path, position
            trial.fit_time += time.perf_counter() - start
            trial.objective, trial.model = found.objective, model
            self._score(trial, found)
            if self.options.method == "exact":
                self._certify(trial)
            if self.options.verbose:
                print(f"[LeaveOneOutSearch] {trial.params}: {trial.score:.6g}")
            start = time.perf_counter()

    def _each(self, path, features, model, problem):
        """Exact answers about models without a penalty path: each candidate is fitted."""
        options = {"solver": "auto", "hold": "auto", "precision": "float64", "verbose": False}
        for trial in path:
            if trial is not path[0]:
                model = self._model(trial)
                model.fit(
                    untouched(features, model), self.y, **fit_weights(model, self.sample_weight)
                )
                problem = Inputs(model, features).problem(self.y, self.sample_weight)
            answers = answers_of(problem, **options)
            if self.options.frozen != "accept":
                answers = moving(answers)
            eta = answers.own_removals("exact", 1e-3)
            yield Scanned(problem, np.array(eta), np.zeros(len(eta)), "exact")

    def _model(self, trial):
        estimator = with_params(self.options.estimator, trial.params)
        while isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        return estimator

    def _score(self, trial, found, model=None):
        start = time.perf_counter()
        objective = found.objective
        outputs = Outputs(trial.model if model is None else model, objective, found.eta)
        alone = rows_alone(objective)
        if len(alone):
            found.eta[alone] = np.nan
            if not self.said_alone:
                warn_alone(objective, alone)
                self.said_alone = True
        trial.method = found.method
        trial.loss = _loss_key(objective.loss)
        if self.options.scoring is not None:
            scorer = resolve_scorer(self.options.scoring, objective)
            trial.score = outputs.score(self.y, scorer)
        else:
            rows = np.flatnonzero(~np.isnan(found.eta).any(axis=1))
            loss = outputs.loss(rows[:, None])
            weights = objective.sample_weight[rows]
            trial.score = -np.average(loss, weights=weights)
            trial.std = np.sqrt(np.average((loss + trial.score) ** 2, weights=weights))
            # Of rows that do not count nothing need be known.
            bounds = np.where(weights > 0, found.bound[rows], 0.0)
            trial.bound = np.average(bounds, weights=weights)
            trial.losses = np.full(len(found.eta), np.nan)
            trial.losses[rows] = weights * loss
        trial.score_time += time.perf_counter() - start

    def _certify(self, trial):
        if trial.settled:
            return
        if trial.whole:
            self._score_whole(trial, "exact")
            return
        start = time.perf_counter()
        self._score(trial, certified(trial.objective, self.options.method, self.options.tol))
        trial.score_time = time.perf_counter() - start

    def _settle(self, inside, trials):
        """Certify the best candidate, and those that may beat it once certified."""
        if self.options.method != "auto":
            return
        while True:
            scored = [trial for trial in trials if not np.isnan(trial.score)]
            if not scored:
                return
            best = max(scored, key=lambda trial: trial.score)
            hopeful = [
                trial
                for trial in inside
                if trial.score + _possible_gain(trial, best) > best.score and not trial.settled
            ]
            trial = best if best in inside and not best.settled else None
            trial = trial or max(hopeful, key=lambda trial: trial.score, default=None)
            if trial is None:
                return
            before = trial.score
            with self._failing([trial]):
                self._certify(trial)
            trial.gain = trial.score - before

    def _failing(self, trials):
        return Failing(trials, self.options.error_score)


def _setting(trial, names):
    """What identifies the values of some parameters: grids hand out the same objects each time."""
    return tuple((name, id(trial.params[name])) for name in sorted(names))


def _possible_gain(trial, best):
    """How much better than by one step a candidate may be, from what the best one gained.

    One-step errors grow with weaker penalties, two- to threefold per step of a usual grid. Along a
    path only the neighbours of the best are asked: if one wins, its own neighbours are next.
    """
    if trial.path is not best.path:
        return 3.0 * abs(best.gain)
    if trial.position == best.position + 1:
        return 3.0 * abs(best.gain)
    if trial.position == best.position - 1:
        return best.gain + 0.5 * abs(best.gain)
    return -np.inf


def _loss_key(loss):
    inner = getattr(loss, "loss", loss)
    plain = {k: v for k, v in vars(inner).items() if isinstance(v, int | float)}
    return (type(inner).__name__, tuple(sorted(plain.items())))


def with_params(estimator, params):
    """A clone with parameters, estimators among them cloned as well."""
    return clone(estimator).set_params(**{k: clone(v, safe=False) for k, v in params.items()})
