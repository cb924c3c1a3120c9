"""Checks of conventions: weights, orders, labels, what asking leaves alone, what is refused."""

import pickle
import warnings
from itertools import pairwise

import joblib
import numpy as np

from skinfluence import edits
from skinfluence.mixin import InfluenceMixin
from skinfluence.utils.estimator_checks.failing import relative_error, require, skip
from skinfluence.utils.estimator_checks.subject import with_rows

CLOSE = 1e-6


def _effects(subject, influence, **options):
    sample = subject.sample
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return influence.removal_effect(
            sample.X_test, sample.y_test, **{"method": "exact", **options}
        )


def _other_fit(subject, X, y, weight):
    model = subject.fitted(X, y, weight, subject.edited)
    return subject.influence_of(model, X, y, weight)


def _need_weights(subject):
    """Leave out a check of weights where the fit takes none, or counts rows whatever they weigh."""
    if not subject.takes_weights:
        skip("The estimator's fit takes no sample_weight.")
    if subject.problem.in_folds:
        skip("Rows count in folds, whatever they weigh.")
    if subject.problem.balanced == "rows":
        skip("Balanced class weights count rows here, whatever they weigh.")
    if subject.problem.gamma_counts == "rows":
        skip("The variance in gamma counts rows here, whatever they weigh.")


def check_weight_zero_is_absence(subject):
    """A row of weight zero changes no other row's effect, and has none."""
    _need_weights(subject)
    row = subject.removable[3]
    keep = np.setdiff1d(np.arange(len(subject.y)), row)
    weight = with_rows(subject.weight, row, 0.0)
    with_zero = _effects(subject, _other_fit(subject, subject.X, subject.y, weight))
    absent = _other_fit(subject, subject.X[keep], subject.y[keep], subject.weight[keep])
    error = relative_error(with_zero[:, keep], _effects(subject, absent))
    own = np.abs(with_zero[:, row]).max() / np.abs(with_zero).max()
    require(
        max(error, own) < CLOSE,
        "A row of weight zero must be as if it were absent.",
        f"effects of the others that differ by {error:.1e}, and its own of {own:.1e}",
        "Multiply the loss of each row by sample_weight, nothing else.",
    )


def check_weight_two_is_repetition(subject):
    """Removing a row of weight two is removing both of two equal rows."""
    _need_weights(subject)
    X, y, n = subject.X, subject.y, len(subject.y)
    row = subject.removable[3]
    weight = with_rows(subject.weight, row, 2.0 * subject.weight[row])
    double = _effects(subject, _other_fit(subject, X, y, weight))
    repeated = _other_fit(
        subject,
        np.vstack([X, X[row]]),
        np.append(y, y[row]),
        np.append(subject.weight, subject.weight[row]),
    )
    groups = np.append(np.arange(n), row)
    error = relative_error(double, _effects(subject, repeated, groups=groups))
    require(
        error < CLOSE,
        "A row of weight two must be as if it were there twice.",
        f"removal effects that differ by {error:.1e}",
        "Multiply the loss of each row by sample_weight; a mean-form penalty counts weights, not rows.",
    )


def check_order_of_rows(subject):
    """Answers follow the rows given to fit, and indices select them."""
    if subject.problem.in_folds:
        skip("Rows in another order are in other folds.")
    order = np.random.default_rng(0).permutation(len(subject.y))
    X, y, weight = subject.X[order], subject.y[order], subject.weight[order]
    found = _effects(subject, subject.influence)
    shuffled = _effects(subject, _other_fit(subject, X, y, weight))
    error = relative_error(shuffled, found[:, order])
    rows = order[:5]
    picked = relative_error(_effects(subject, subject.influence, indices=rows), found[:, rows])
    require(
        max(error, picked) < CLOSE,
        "Column i of an effect must be row i given to fit, and indices= must select rows.",
        f"differences of {error:.1e} after shuffling and {picked:.1e} after indices=",
        "The objective must keep the order of the rows.",
    )


def check_labels(subject):
    """Relabel effects: zero at the own label, classes in sorted order, equal to edits."""
    labels = subject.problem.labels
    if labels is None:
        skip("The estimator is not a classifier.")
    sample, influence = subject.sample, subject.influence
    row = subject.removable[2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = influence.relabel_effect(
            sample.X_test, sample.y_test, indices=[row], method="exact"
        )[:, 0]
    require(
        all(a < b for a, b in pairwise(labels.classes)),
        "Labels.classes must be sorted, as estimator.classes_ is.",
        str(labels.classes),
        "Pass model.classes_.",
    )
    for code, label in enumerate(labels.classes):
        expected = 0.0 * found[:, code]
        if label != subject.y[row]:
            edit = edits.relabel(row, label)
            expected = influence.effect(edit, sample.X_test, sample.y_test, method="exact").values
        # Relative to all labels: a change of nothing may leave the last bit of a loss.
        error = np.abs(found[:, code] - expected).max() / np.abs(found).max()
        require(
            error < CLOSE,
            "relabel_effect must be zero at a row's own label and follow the order of classes_.",
            f"a relative error of {error:.1e} at {label!r}",
            "Give Labels the targets and class weights in the order of classes_.",
        )


def check_asking_changes_nothing(subject):
    """Neither the estimator nor the data change, and the answer is the same the second time."""
    model, sample = subject.model, subject.sample

    def everything():
        data = (subject.X, subject.y, subject.weight, sample.X_test, sample.y_test)
        return joblib.hash((vars(model), data))

    before = everything()
    influence = subject.influence_of(model)
    first = _effects(subject, influence)
    if subject.has_derivatives:
        influence.influence_up_loss(sample.X_test, sample.y_test)
    again = _effects(subject, influence)
    require(
        everything() == before,
        "Asking must change neither the estimator nor the data.",
        "other attributes or arrays than before",
        "Copy before writing in objective_of.",
    )
    # The last bits of a product may follow where its arrays lie in memory.
    same = np.allclose(
        first, again, rtol=1e-12, atol=1e-13 * np.nanmax(np.abs(first)), equal_nan=True
    )
    require(
        same,
        "The same question must have the same answer.",
        f"answers that differ by up to {np.nanmax(np.abs(first - again)):.1e}",
        "Keep no state between questions.",
    )


def check_pickling(subject):
    """A pickled Influence answers as the original does."""
    again = pickle.loads(pickle.dumps(subject.influence))
    found, expected = _effects(subject, again), _effects(subject, subject.influence)
    error = relative_error(found, expected)
    require(
        error < 1e-12,
        "A pickled Influence must give the same answers.",
        f"a relative error of {error:.1e}",
        "Losses and designs must be picklable: no lambdas in their attributes.",
    )


def check_bad_inputs(subject):
    """NaN, another width, unknown labels and missing targets are errors that say so."""
    sample, influence = subject.sample, subject.influence
    T, t = sample.X_test, sample.y_test
    bad = {
        "NaN in X": lambda: influence.removal_effect(with_rows(T, 0, np.nan), t),
        "a column too few": lambda: influence.removal_effect(T[:, 1:], t),
        "a target too few": lambda: influence.removal_effect(T, t[1:]),
        "no target": lambda: influence.removal_effect(T),
        "an unknown method": lambda: influence.removal_effect(T, t, method="guess"),
        "a row too many": lambda: subject.influence_of(subject.model, subject.X, subject.y[1:]),
    }
    if influence.objective.labels is not None:
        unseen = np.array(t, dtype=object)
        unseen[0] = "never seen" if isinstance(t[0], str) else -987654
        bad["an unseen label"] = lambda: influence.removal_effect(T, unseen)
    else:
        bad["NaN in y"] = lambda: influence.removal_effect(T, with_rows(t, 0, np.nan))
    for name, ask in bad.items():
        try:
            ask()
        except (ValueError, TypeError) as error:
            got = "an error without a message" if not str(error) else None
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
        else:
            got = "an answer"
        require(
            got is None,
            f"{name[0].upper()}{name[1:]} must give one clear ValueError or TypeError.",
            got,
            "Validate in objective_of; test rows are validated by the estimator's n_features_in_.",
        )


def check_methods_of_the_estimator(subject):
    """The methods of an estimator with the mixin are those of Influence."""
    if not isinstance(subject.model, InfluenceMixin):
        skip("The estimator has no influence methods of its own.")
    found = _effects(subject, subject.model)
    expected = _effects(subject, subject.influence_of(subject.model))
    require(
        np.array_equal(found, expected, equal_nan=True),
        "The estimator's methods must be those of Influence on its training data.",
        f"removal effects that differ by up to {np.nanmax(np.abs(found - expected)):.1e}",
        "fit must remember X, y and sample_weight (InfluenceMixin left of the estimator).",
    )
