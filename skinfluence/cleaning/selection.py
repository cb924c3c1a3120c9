"""The model of an audit from the command line: vectorised columns, one penalty chosen by LOO."""

import os
import sys
import tempfile
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from skinfluence import Influence
from skinfluence._utils._optional import require
from skinfluence._utils.memory import available_memory
from skinfluence._utils.progress import progress_bar
from skinfluence.cleaning.amounts import check_positive, note_on_amounts, of_logarithm
from skinfluence.cleaning.files import InputError
from skinfluence.cleaning.suspicions import notes_on_names
from skinfluence.cleaning.words import Words
from skinfluence.leave_one_out import loo_loss
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.statistics import BUDGET

# C of LogisticRegression, and 1/alpha of Ridge: decades first, then the half decades beside the best.
DECADES = np.logspace(-3, 2, 6)
HALF_DECADE = np.sqrt(10)

# How columns of numbers are scaled.
SCALINGS = ("standard", "squash", "quantile")

# Features of a column of texts.
TEXT_COMPONENTS = 30

# Up to this many parameters the matrix products are too small to share between threads.
MAX_PARAMETERS_OF_ONE_THREAD = 1000


# Arrays of shape (n_samples, n_classes, n_classes) that an audit holds at once: of 100 classes of 12
# rows it takes 1.7 GB, .3 of it for what is imported.
ARRAYS_OF_CLASS_PAIRS = 14
# Beyond a few classes, multiplications that still take minutes and not hours.
FEW_CLASSES, MAX_WORK = 20, 5e12


@dataclass(frozen=True, eq=False)
class Selection:
    """A fitted model and how its penalty was chosen.

    Attributes
    ----------
    preprocessing : Pipeline
        Fitted; turns the feature columns into ``X``.
    model : estimator
        Fitted on ``X``.
    X : ndarray of shape (n_samples, n_outputs_of_preprocessing)
        The vectorised rows.
    strength : float
        The chosen C (for Ridge, 1/alpha).
    scores : dict of float to float
        Mean leave-one-out loss of each value tried.
    influence : Influence
        Factored for the chosen model, on ``X``.
    whole : Influence
        Of the steps that move when a row leaves and the model behind them, on :attr:`table`.
    table : ndarray or DataFrame of shape (n_samples, n_columns)
        What those steps were fitted on: the columns as numbers, missing cells among them.
    notes : tuple of str
        What the reader should know about the choice, and about what stays as fitted on all rows.
    """

    preprocessing: Any
    model: Any
    X: np.ndarray
    strength: float
    scores: dict
    influence: Any
    whole: Any
    table: Any
    notes: tuple = ()

    @property
    def learner(self):
        """The steps of :attr:`whole` and the model, a Pipeline fitted on the table."""
        return self.whole.estimator

    @property
    def names(self):
        """Names of the columns of ``X``."""
        return list(self.preprocessing.get_feature_names_out())

    @property
    def columns(self):
        """How each column was read: dicts of ``column``, ``read_as`` and ``n_features``.

        None where the columns are numbers that were read as they are.
        """
        vectorizer = self.preprocessing[0]
        if not hasattr(vectorizer, "column_to_kind_"):
            return None
        words = {
            "numeric": "numbers",
            "datetime": "dates",
            "low_cardinality": "categories",
            "high_cardinality": "texts",
        }
        kinds, made = vectorizer.column_to_kind_, vectorizer.input_to_outputs_
        return [
            {
                "column": name,
                "read_as": words.get(kinds.get(name), "left out: it says nothing"),
                "n_features": len(made.get(name, ())),
            }
            for name in vectorizer.feature_names_in_
        ]


def select_model(
    problem,
    *,
    C=None,
    class_weight=None,
    text_components=TEXT_COMPONENTS,
    scaling="standard",
    log_target=False,
    budget=BUDGET,
    progress=False,
):
    """Vectorise the columns of a problem and fit the model with the lowest leave-one-out loss.

    Parameters
    ----------
    problem : AuditedTable
        What to audit.
    C : float, default=None
        Inverse penalty strength. Chosen by leave-one-out loss by default.
    class_weight : {None, "balanced"}, default=None
        Of the classifier.
    text_components : int, default=30
        Features of a column of texts; 0 for its words.
    scaling : {"standard", "squash", "quantile", "auto"}, default="standard"
        Of columns of numbers: to unit variance; with outliers pulled in; to the quantiles of a normal
        distribution; or the one with the lowest leave-one-out loss, at three times the price.
    log_target : bool, default=False
        Whether a numeric target is modelled by its logarithm.
    budget : float, default=60.0
        CPU seconds that may go into fitting the imputer and the scaler again for single rows.
    progress : bool, default=False
        Show a progress bar on a terminal.

    Returns
    -------
    selection : Selection
        The fitted model and the scores of the values tried.
    """
    if scaling == "auto":
        options = {"C": C, "class_weight": class_weight, "text_components": text_components}
        options |= {"log_target": log_target, "budget": budget}
        return _best_scaling(problem, progress=progress, **options)
    if problem.task == "classification":
        # Before texts become features: each column makes at least one.
        _check_classes(len(np.unique(problem.y)), *problem.X.shape)
    if log_target:
        check_positive(problem)
    preprocessing = _preprocessing(problem, text_components, scaling)
    table, moving = problem.X, preprocessing
    if len(preprocessing) > 1:
        # Single precision would round a mean without a row.
        table, moving = preprocessing[0].fit_transform(problem.X), preprocessing[1:]
        table = np.asarray(table, dtype=float)
    X = np.asarray(moving.fit_transform(table), dtype=float)
    if problem.task == "classification":
        _check_classes(len(np.unique(problem.y)), *X.shape)
    (strength, model, influence), scores = _lowest_loss(
        problem, X, C, class_weight, log_target, progress and sys.stderr.isatty()
    )
    learner = make_pipeline(*[step for _, step in moving.steps], model)
    notes = () if C is not None else _note_on_edge(problem, strength, scores)
    if problem.task == "regression":
        notes = (*notes, *note_on_amounts(problem, influence, X, log_target))
    selection = Selection(
        preprocessing=preprocessing,
        model=model,
        X=X,
        strength=strength,
        scores=dict(sorted(scores.items())),
        influence=influence,
        whole=Influence(learner, table, problem.y, budget=budget),
        table=table,
        notes=notes,
    )
    notes += (*notes_on_names(problem.X, selection.columns), *_note_on_held(selection, scaling))
    return replace(selection, notes=notes)


def _lowest_loss(problem, X, C, class_weight, log_target, progress):
    """The strength, model and Influence of lowest leave-one-out loss, and the loss of each strength tried."""
    scores, best = {}, None

    def consider(strength):
        """Fit and score one value; keep only the best factorisation in memory."""
        nonlocal best
        model = _model(problem, strength, class_weight, log_target).fit(X, problem.y)
        influence = Influence(model, X, problem.y)
        scores[strength] = float(np.mean(loo_loss(influence, "one-step")))
        if best is None or scores[strength] < scores[best[0]]:
            best = (strength, model, influence)

    with threads_for(problem, X):
        if C is not None:
            consider(float(C))
            return best, scores
        with progress_bar(len(DECADES), "penalties", progress) as advance:
            for strength in DECADES:
                consider(float(strength))
                advance(1)
                # The loss falls and then rises along the penalty; then, weaker only costs.
                if scores[float(strength)] > 1.1 * scores[best[0]]:
                    break
        centre = best[0]
        for strength in (centre / HALF_DECADE, centre * HALF_DECADE):
            consider(float(strength))
    return best, scores


def _note_on_held(selection, scaling):
    """What was learned from the rows and stays as it is when one of them is left out."""
    held = []
    texts = [one["column"] for one in selection.columns or () if one["read_as"] == "texts"]
    if texts:
        held.append(f"how texts ({', '.join(map(str, texts))}) become numbers")
    if scaling != "standard" and selection.columns is not None:
        held.append(f"the {scaling} scaling of numbers")
    if not held:
        return ()
    return (
        "Rows are left out of the model, the imputer and the scaler. Held as learned from all rows: "
        f"{', '.join(held)}.",
    )


def _best_scaling(problem, **options):
    """The selection of lowest leave-one-out loss over the ways to scale numbers."""
    found = {way: select_model(problem, scaling=way, **options) for way in SCALINGS}
    losses = {way: one.scores[one.strength] for way, one in found.items()}
    best = min(losses, key=losses.get)
    shown = ", ".join(f"{way} {loss:.4g}" for way, loss in losses.items())
    note = f"Numbers are scaled by {best!r}, which has the lowest leave-one-out loss ({shown})."
    return replace(found[best], notes=(note, *found[best].notes))


def _scaler(scaling, n_samples):
    """What becomes of columns of numbers before they are scaled to unit variance."""
    if scaling == "squash":
        return _skrub().SquashingScaler()
    if scaling == "quantile":
        return QuantileTransformer(
            output_distribution="normal", n_quantiles=min(1000, n_samples), random_state=0
        )
    if scaling != "standard":
        raise ValueError(f"scaling must be one of {', '.join(SCALINGS)} or auto. Got {scaling!r}.")
    return "passthrough"


def _note_on_edge(problem, strength, scores):
    if min(scores) < strength < max(scores):
        return ()
    name, side = ("C" if problem.task == "classification" else "1/alpha"), "largest"
    if strength == min(scores):
        side = "smallest"
    return (
        f"The chosen {name} = {strength:.3g} is the {side} value tried, so a still "
        f"{side.replace('est', 'er')} one may predict better. Choose it with --C.",
    )


def _check_classes(n_classes, n_samples, n_features):
    """Refuse more classes than memory holds or patience lasts, and say how many are fine."""
    available = available_memory()

    def fits(k):
        memory = 8 * (ARRAYS_OF_CLASS_PAIRS * n_samples * k**2 + 3 * (k * n_features) ** 2)
        work = n_samples**2 * (n_features * k + k**2) + (k * n_features) ** 3
        return memory < available and (k <= FEW_CLASSES or work < MAX_WORK)

    if fits(n_classes):
        return
    fine = next((k for k in range(n_classes, 1, -1) if fits(k)), 1)
    raise InputError(
        f"{n_classes} classes in {n_samples} rows with {n_features} features are too many for this "
        f"audit; about {fine} would be fine. Merge rare classes, leave out columns, audit "
        "fewer rows or, if the target is a quantity, pass --task regression."
    )


def threads_for(problem, X):
    """Context in which BLAS uses one thread if the model of a problem is small.

    A second thread gains little there, and where the cores are busy the threads wait for each other:
    the whole digits demo took 12 s with one thread and 55 s with two, on two busy cores.
    """
    n_outputs = len(np.unique(problem.y)) if problem.task == "classification" else 1
    small = n_outputs * X.shape[1] <= MAX_PARAMETERS_OF_ONE_THREAD
    return threadpool_limits(1 if small else None, user_api="blas")


def _preprocessing(problem, text_components, scaling):
    if problem.images is not None:
        # Pixels share one unit; scaling each to unit variance would blow up the nearly constant ones.
        return make_pipeline(MinMaxScaler())
    if problem.planted is not None:
        return make_pipeline(StandardScaler())
    from sklearn.impute import SimpleImputer

    skrub = _skrub()
    texts = (
        skrub.StringEncoder(n_components=text_components, random_state=0)
        if text_components
        else Words()
    )
    return make_pipeline(
        skrub.TableVectorizer(numeric=_scaler(scaling, len(problem.y)), high_cardinality=texts),
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
    )


def _skrub():
    """The package skrub, which makes a folder in HOME as it is imported, also where that cannot be."""
    names = ("SKB_DATA_DIRECTORY", "SKRUB_DATA_DIRECTORY")  # from skrub 0.7 on, and before
    try:
        return require("skrub", extra="audit")
    except OSError:
        before = dict(os.environ)
        with tempfile.TemporaryDirectory() as folder:
            os.environ.update(dict.fromkeys(names, folder))
            try:
                return require("skrub", extra="audit")
            finally:
                for name in names:
                    os.environ.pop(name)
                os.environ.update({name: before[name] for name in names if name in before})


def _model(problem, strength, class_weight=None, log_target=False):
    if problem.task == "regression":
        model = Ridge(alpha=1 / strength)
        return of_logarithm(model) if log_target else model
    # A tight tolerance, because leave-one-out formulas and refits are both about the optimum itself.
    # newton-cg reaches it at the price of a loose lbfgs: digits, C=1, 0.18 s against 3.4 s.
    return LogisticRegression(
        C=strength, class_weight=class_weight, solver="newton-cg", tol=1e-8, max_iter=1000
    )


def cleaning_score(audit, selection, problem):
    """Accuracy of leave-one-out predictions against the true labels, before and after cleaning.

    Parameters
    ----------
    audit : Audit
        The audit of the labels with errors.
    selection : Selection
        The model it was made with; its penalty is kept.
    problem : AuditedTable
        With the true labels.

    Returns
    -------
    score : dict of str to float
        By what the model was trained on. Rows that were dropped are predicted by the model fitted on
        the others, all other rows by leave-one-out: no row is predicted by a model that has seen it.
    """

    def accuracy(kept, y):
        X = selection.X[kept]
        weight = selection.model.get_params().get("class_weight")
        model = _model(problem, selection.strength, weight).fit(X, y)
        prediction = model.predict(selection.X)
        prediction[kept] = Influence(model, X, y).loo_predict(method="one-step")
        return float(np.mean(prediction == problem.y_true))

    rows = np.arange(len(problem.y))
    _, y_clean, kept = audit.apply(selection.X)
    return {
        "the labels as given": float(np.mean(audit.loo_prediction == problem.y_true)),
        "after the suggestions": accuracy(kept, y_clean),
        "the true labels": accuracy(rows, problem.y_true),
    }
