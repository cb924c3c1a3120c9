"""What a seed draws: rows, weights, a pipeline, an edit with the rows that it leaves, a question."""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import _safe_indexing

from skinfluence import edits
from tests.pipeline_trials.models import KERNELS, draw_model, positions, stochastic, targets
from tests.pipeline_trials.steps import draw_rows, draw_steps, stacked


@dataclass
class Trial:
    """Everything that a seed decides.

    Attributes
    ----------
    about : str
    family : str
    model : Pipeline
        Not fitted.
    X : ndarray, DataFrame or list of str
        Raw rows; ``y`` and ``weight`` go with them. No weight is None.
    edit : Edit
    kinds : list of str
        What it does.
    gone : list of int
        Rows that are not there as they were.
    X_after, y_after, weight_after
        What the pipeline is fitted on after the edit: the rows kept, then the new ones.
    kept : ndarray of int
    tests : ndarray of int
        The rows that the question is about.
    question : {"effect", "removal", "loo", "groups", "relabel"}
    method, tol, hold
    """

    about: str
    family: str
    model: object
    X: object
    y: np.ndarray
    weight: np.ndarray | None
    edit: object
    kinds: list
    gone: list
    X_after: object
    y_after: np.ndarray
    weight_after: np.ndarray | None
    kept: np.ndarray
    tests: np.ndarray
    question: str
    method: str
    tol: float
    hold: str


METHODS = {"auto": 0.45, "exact": 0.4, "one-step": 0.1, "influence": 0.05}


def groups_of(trial):
    """The rows of the edit are group 2, the others in turn 0 and 1."""
    groups = np.arange(len(trial.y)) % 2
    groups[trial.gone] = 2
    return groups


def draw(seed):
    """The trial of a seed, not fitted.

    Parameters
    ----------
    seed : int

    Returns
    -------
    trial : Trial
    """
    rng = np.random.default_rng(seed)
    family, params, last = draw_model(rng)
    kernel = family in KERNELS
    n = int(rng.integers(14, 30 if kernel else 56))
    X, signal = draw_rows(
        rng, n, tame=family in ("LinearSVC", "LinearSVC hinge", "PoissonRegressor")
    )
    y = targets(rng, family, params, signal)
    steps, said = draw_steps(rng, X, y)
    weight = _weights(rng, n, family)
    found = _edit(rng, X, y, weight, family)
    method = str(rng.choice(list(METHODS), p=list(METHODS.values())))
    if kernel and method in ("one-step", "influence"):
        method = "exact"
    question = _question(rng, found, family)
    tests = np.sort(rng.choice(n, min(n, 5), replace=False))
    if question == "loo":
        tests = np.array(found["gone"][:1])
    if question == "groups":
        tests = np.array(sorted(found["gone"]))
    hold = str(rng.choice(["auto", "auto", "C", "lambda"]))
    if kernel or question == "groups":
        # They take no other.
        hold = "auto"
    kept = np.delete(np.arange(n), found["gone"])
    new = found["new"]
    w_after = None
    if weight is not None or found["weighs"]:
        w_after = np.concatenate([found["weight"][kept], [w for _, _, w in new]])
    # Drawn apart, so that the other trials stay what they are.
    other = stochastic(np.random.default_rng([seed, 1]), family, params)
    if other is not None and w_after is None and "reweight" not in found["kinds"]:
        family, params, last = other
    about = f"{said}; {family} {params}; {' + '.join(found['kinds'])}; {question}, {method}, {hold}"
    return Trial(
        about=about,
        family=family,
        model=make_pipeline(*steps, last),
        X=X,
        y=y,
        weight=weight,
        edit=found["edit"],
        kinds=found["kinds"],
        gone=found["gone"],
        X_after=stacked(_safe_indexing(X, kept), [x for x, _, _ in new]),
        y_after=np.concatenate(
            [found["y"][kept], np.array([label for _, label, _ in new], y.dtype)]
        ),
        weight_after=w_after,
        kept=kept,
        tests=tests,
        question=question,
        method=method,
        tol=float(rng.choice([0.3, 1e-2, 1e-3, 1e-3, 1e-6])),
        hold=hold,
    )


def fitted(trial):
    """The pipeline of a trial on all rows, and what its model was given."""
    more = {} if trial.weight is None else {"sample_weight": trial.weight}
    with _quiet():
        steps, last = clone(trial.model[:-1]), clone(trial.model.steps[-1][1])
        Z = steps.fit_transform(trial.X, trial.y)
        last.fit(Z, trial.y, **more)
    return Pipeline([*steps.steps, (trial.model.steps[-1][0], last)]), Z


def steps_after(trial):
    """The steps of a trial's pipeline, fitted by scikit-learn after the edit, and what they give.

    By ``fit_transform``, as a pipeline gives its model the rows: where bins end at a row, ``transform``
    may put it into another one.
    """
    with _quiet():
        steps = clone(trial.model[:-1])
        return steps, steps.fit_transform(trial.X_after, trial.y_after)


def loose_steps(trial):
    """What another order of the rows does to the outputs of steps, relative to the largest; 0 of most.

    Powers are sought to 1e-8 of themselves, each time from other sums.
    """
    if "PowerTransformer" not in trial.about:
        return 0.0
    with _quiet():
        steps = clone(trial.model[:-1])
        first = steps.fit_transform(trial.X_after, trial.y_after)
        order = np.random.default_rng(0).permutation(len(trial.y_after))
        again = clone(steps).fit(_safe_indexing(trial.X_after, order), trial.y_after[order])
        apart = abs(again.transform(trial.X_after) - first).max()
    # More than this is no rounding of a search.
    return min(float(apart / abs(first).max()), 1e-6)


@contextmanager
def _quiet():
    with warnings.catch_warnings(), config_context(skip_parameter_validation=True):
        warnings.simplefilter("ignore")
        yield


def _weights(rng, n, family):
    if family == "OneVsRestClassifier" or rng.random() < 0.5:
        return None
    if rng.random() < 0.5:
        return rng.uniform(0.2, 3.0, n)
    # Some weigh nothing for the model, and count for a scaler.
    return rng.integers(0, 4, n) * rng.uniform(0.3, 1.0)


def _question(rng, found, family):
    kinds = found["kinds"]
    if kinds == ["remove"]:
        return str(rng.choice(["effect", "removal", "removal", "loo", "loo"]))
    if kinds == ["group"]:
        return str(rng.choice(["effect", "groups", "sources"]))
    if kinds == ["relabel"] and positions(family):
        return str(rng.choice(["effect", "relabel"]))
    return "effect"


def _edit(rng, X, y, weight, family):
    """An edit as the package writes it, and the rows that it leaves."""
    n = len(y)
    rows = rng.permutation(n)
    own = np.ones(n) if weight is None else weight
    y_after, w_after, gone, new = y.copy(), own.copy(), [], []
    total, kinds, weighs = None, [], False
    if rng.random() < 0.4:
        # The ways that single rows take.
        chosen = ["remove"]
    else:
        every = ["remove", "group", "group", "replace", "add", "relabel", "reweight"]
        chosen = list(dict.fromkeys(rng.choice(every, 1 if rng.random() < 0.7 else 2)))
    for kind in chosen:
        row = int(rows[0])
        if not kinds and rng.random() < 0.35:
            row = _extreme(rng, X)
        rows = rows[rows != row]
        if kind == "remove":
            one, gone = edits.remove(row), [*gone, row]
        elif kind == "group":
            size = int(np.ceil(rng.choice([0.01, 0.05, 0.1, 0.25]) * n))
            some = [row, *rows[: size - 1].tolist()]
            rows = rows[size - 1 :]
            one, gone = edits.remove(some), [*gone, *some]
        elif kind == "replace":
            x = _moved(rng, X, row)
            label = y[row]
            if rng.random() < 0.3:
                label = _other(rng, y, row, family)
                one = edits.replace(row, _as_row(x), label)
            else:
                one = edits.replace(row, _as_row(x))
            gone.append(row)
            new.append((x, label, own[row]))
        elif kind == "add":
            source, w = int(rng.integers(n)), float(rng.choice([1.0, 0.3, 2.0]))
            x = _moved(rng, X, source)
            one = edits.add(_as_row(x), y[row], sample_weight=w)
            new.append((x, y[row], w))
            weighs = weighs or w != 1.0
        elif kind == "relabel":
            y_after[row] = _other(rng, y, row, family)
            one = edits.relabel(row, y_after[row])
        else:
            w_after[row] = float(rng.choice([0.0, 0.0, 0.5, 2.0]))
            one, weighs = edits.reweight(row, w_after[row]), True
        kinds.append(str(kind))
        total = one if total is None else total + one
    return {
        "edit": total,
        "y": y_after,
        "weight": w_after,
        "gone": gone,
        "new": new,
        "kinds": kinds,
        "weighs": weighs,
    }


def _extreme(rng, X):
    """A row that a scaler, or an encoder, notices."""
    if isinstance(X, list):
        return int(np.argmax([len(text) for text in X]))
    if not isinstance(X, np.ndarray):
        count = X["colour"].map(X["colour"].value_counts())
        return int(np.argmin(count.fillna(len(X)).to_numpy()))
    return int(np.nanargmax(np.abs(X[:, 0] - np.nanmedian(X[:, 0]))))


def _other(rng, y, row, family):
    if positions(family):
        return (y[row] + int(rng.integers(1, y.max() + 1))) % (y.max() + 1)
    return float(np.round(abs(y[row]) + rng.uniform(0.5, 2.0), 1))


def _moved(rng, X, row):
    """A container of one raw row like another one."""
    x = _safe_indexing(X, [row])
    if isinstance(X, list):
        other = X[int(rng.integers(len(X)))].split()
        return [" ".join([*other[:2], str(rng.choice(["rye", "fresh", "egg"]))])]
    if isinstance(X, np.ndarray):
        x = x.copy()
        x[0, 0] = np.nan_to_num(x[0, 0]) * rng.uniform(-2, 2) + rng.uniform(0, 3)
        return x
    x = x.copy()
    x.iloc[0, 0] = float(np.nan_to_num(x.iloc[0, 0])) * rng.uniform(-2, 2) + rng.uniform(0, 3)
    if rng.random() < 0.3:
        x.iloc[0, -1] = rng.choice(["red", "violet", "cyan"])
    return x


def _as_row(x):
    """What the constructors of edits take: one row."""
    if isinstance(x, list):
        return x[0]
    return x[0] if isinstance(x, np.ndarray) else x.iloc[0]
