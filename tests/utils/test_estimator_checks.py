"""The public checks: what is right passes, and each wrong model fails the check that is about it."""

import pickle
import warnings
from dataclasses import replace
from unittest import SkipTest

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import VotingRegressor
from sklearn.exceptions import SkipTestWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.multiclass import OneVsOneClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skinfluence.kernel_ridge
import skinfluence.linear_model as ours
from skinfluence import objective_of, svm
from skinfluence.adapters import linear_objective
from skinfluence.losses import Binomial, SquaredError
from skinfluence.objective import Labels
from skinfluence.utils.estimator_checks import (
    ContractError,
    check_influence,
    influence_checks_generator,
    parametrize_with_influence_checks,
)
from skinfluence.utils.estimator_checks.failing import agreement, relative_error
from skinfluence.utils.estimator_checks.running import CHECKS
from tests.fewer import samples_in_turn
from tests.registries import make_data

RIGHT = [
    ours.LogisticRegression(),
    ours.RidgeClassifier(class_weight="balanced"),
    ours.PoissonRegressor(alpha=0.1),
    skinfluence.kernel_ridge.KernelRidge(kernel="rbf", alpha=0.3),
    KernelRidge(kernel="poly", degree=2),
    svm.SVC(),
    GaussianNB(),
    OneVsOneClassifier(ours.RidgeClassifier()),
    VotingRegressor([("ridge", ours.Ridge()), ("kernel", KernelRidge(kernel="rbf"))]),
    TransformedTargetRegressor(ours.Ridge(), func=np.arcsinh, inverse_func=np.sinh),
    TransformedTargetRegressor(KernelRidge(kernel="rbf"), transformer=StandardScaler()),
]


@samples_in_turn(parametrize_with_influence_checks(RIGHT))
def test_what_is_right_passes(estimator, check):
    check(estimator)


# What is wrong ---------------------------------------------------------------------------------


def logistic(model, X, y, sample_weight, **changes):
    """The objective of a binary logistic regression, unless something is changed."""
    classes = model.classes_
    given = {
        "loss": Binomial(),
        "penalty": 1.0 / model.C,
        "weights": sample_weight,
        "sample_weight": sample_weight,
        "labels": Labels(classes, np.arange(2), np.ones(2)),
        **changes,
    }
    return linear_objective(model, X, np.searchsorted(classes, y), **given)


class Binary(linear_model.LogisticRegression):
    """Logistic regression that says it is binary only."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


class DoublePenalty(Binary):
    """Its objective has twice the penalty of its fit."""


class NoPenaltyOnAnything(Binary):
    """Its objective forgets the penalty."""


class PenalisedIntercept(Binary):
    """Its objective penalises the intercept."""


class DroppedWeight(Binary):
    """Its objective forgets the sample weights."""


class WrongGradient(Binary):
    """Its loss has a gradient that is a fifth too large."""


class WrongHessian(Binary):
    """Its loss has half the curvature."""


class MeanForm(Binary):
    """Its objective says that the penalty grows with the weights."""


class Overconfident(Binary):
    """Its loss claims a tenth of its true constant."""


class Mirrored(Binary):
    """Its classes are the wrong way round."""


class Unpicklable(Binary):
    """Its loss holds a lambda."""


class Writing(Binary):
    """Its objective writes to the estimator."""


class Unvalidated(Binary):
    """Its objective takes any y."""


class SteepLoss(Binomial):
    def _first(self, eta, y):
        return 1.2 * super()._first(eta, y)


class FlatLoss(Binomial):
    def _second(self, eta, y):
        return 0.5 * super()._second(eta, y)


class TimidLoss(Binomial):
    self_concordance = 0.1


class HoldingLoss(Binomial):
    def __init__(self):
        self.held = lambda eta: eta


def _penalised_intercept(model, X, y, w):
    return logistic(model, X, y, w, penalise_intercept=True)


def _mirrored(model, X, y, w):
    objective = logistic(model, X, y, w)
    labels = Labels(model.classes_, np.array([1, 0]), np.ones(2))
    return replace(objective, labels=labels)


def _writing(model, X, y, w):
    model.seen_ = len(y) + getattr(model, "seen_", 0)
    return logistic(model, X, y, w)


def _unvalidated(model, X, y, w):
    y = np.resize(y, X.shape[0])
    return logistic(model, X, y, w)


WRONG = {
    DoublePenalty: (
        lambda m, X, y, w: logistic(m, X, y, w, penalty=2.0 / m.C),
        "fit_is_the_optimum",
    ),
    NoPenaltyOnAnything: (
        lambda m, X, y, w: logistic(m, X, y, w, penalty=0.0),
        "fit_is_the_optimum",
    ),
    PenalisedIntercept: (_penalised_intercept, "fit_is_the_optimum"),
    DroppedWeight: (
        lambda m, X, y, w: logistic(m, X, y, np.ones(len(y))),
        "fit_is_the_optimum",
    ),
    WrongGradient: (lambda m, X, y, w: logistic(m, X, y, w, loss=SteepLoss()), "loss_derivatives"),
    WrongHessian: (lambda m, X, y, w: logistic(m, X, y, w, loss=FlatLoss()), "loss_derivatives"),
    MeanForm: (lambda m, X, y, w: logistic(m, X, y, w, natural_hold="lambda"), "removal_effects"),
    Overconfident: (lambda m, X, y, w: logistic(m, X, y, w, loss=TimidLoss()), "certificates"),
    Mirrored: (_mirrored, "labels"),
    Unpicklable: (lambda m, X, y, w: logistic(m, X, y, w, loss=HoldingLoss()), "pickling"),
    Writing: (_writing, "asking_changes_nothing"),
    Unvalidated: (_unvalidated, "bad_inputs"),
}


def _register(cls, function):
    def objective(model, X, y, sample_weight=None):
        w = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        return function(model, X, y, w)

    objective_of.register(cls, objective)


for _cls, (_function, _) in WRONG.items():
    _register(_cls, _function)
_register(Binary, logistic)


def failures(estimator, **options):
    results = check_influence(estimator, on_fail="ignore", **options)
    return {
        one["check_name"].removeprefix("check_"): one["exception"]
        for one in results
        if one["status"] == "failed"
    }


def test_the_model_that_is_made_wrong_is_right():
    assert failures(Binary(C=2.0)) == {}


@pytest.mark.parametrize("cls", WRONG, ids=lambda cls: cls.__name__)
def test_a_wrong_model_fails_the_check_about_it(cls):
    estimator, name = cls(C=0.5), f"check_{WRONG[cls][1]}"
    (check,) = (c for _, c in influence_checks_generator(estimator) if c.name == name)
    # A lambda cannot be pickled: that error says it best itself.
    with pytest.raises(
        (pickle.PicklingError, AttributeError) if cls is Unpicklable else ContractError
    ):
        check(estimator)


@pytest.mark.parametrize("cls", [Overconfident, Unvalidated], ids=lambda cls: cls.__name__)
def test_one_mistake_fails_one_check(cls):
    assert list(failures(cls(C=2.0))) == [WRONG[cls][1]]


def test_a_mean_form_that_is_none_shows_in_every_removal():
    """Derivatives in the weights, removals, groups and leave-one-out: all are off."""
    failed = failures(MeanForm(C=2.0))
    expected = {"influence_up_params", "influence_up_loss", "removal_effects", "leave_one_out"}
    assert expected | {"groups", "every_edit"} <= set(failed)
    assert "fit_is_the_optimum" not in failed


def test_messages_say_the_rule_what_came_and_what_to_do():
    with pytest.raises(ContractError) as raised:
        check_influence(DoublePenalty(C=2.0))
    message = str(raised.value)
    assert message.startswith("fit must end at the optimum")
    assert "Got decision values that move by" in message and "factor of the penalty" in message


# Users' estimators -----------------------------------------------------------------------------


class Sloppy(RegressorMixin, BaseEstimator):
    """A ridge regression by gradient descent that stops early, and takes no weights."""

    def __init__(self, alpha=1.0, n_steps=300):
        self.alpha = alpha
        self.n_steps = n_steps

    def fit(self, X, y):
        X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
        self.n_features_in_ = X.shape[1]
        self.coef_, self.intercept_, self.fit_intercept = np.zeros(X.shape[1]), 0.0, True
        step = 1.0 / (np.linalg.norm(X, 2) ** 2 + len(y) + self.alpha)
        for _ in range(self.n_steps):
            residual = X @ self.coef_ + self.intercept_ - y
            self.coef_ = self.coef_ - step * (X.T @ residual + self.alpha * self.coef_)
            self.intercept_ -= step * residual.sum()
        return self

    def predict(self, X):
        return np.asarray(X) @ self.coef_ + self.intercept_


def _sloppy(model, X, y, w):
    y = np.asarray(y, dtype=float)
    if y.shape != X.shape[:1] or not np.isfinite(y).all():
        raise ValueError(f"y must be finite, one per row. Got shape {y.shape}.")
    return linear_objective(
        model, X, y, loss=SquaredError(), penalty=model.alpha, weights=w, sample_weight=w
    )


_register(Sloppy, _sloppy)


def test_a_loose_solver_can_be_checked():
    """Truth is polished through the objective: only the check of the fit depends on the solver."""
    assert failures(Sloppy()) == {}
    assert list(failures(Sloppy(n_steps=20))) == ["fit_is_the_optimum"]
    assert failures(Sloppy(n_steps=20), fit_tol=0.5) == {}


def test_refit_says_how_to_refit():
    calls = []

    def refit(estimator, X, y, sample_weight):
        assert sample_weight is None
        calls.append(len(y))
        return Sloppy(estimator.alpha, n_steps=2000).fit(X, y)

    assert failures(Sloppy(n_steps=20), refit=refit) == {}
    assert min(calls) < max(calls)


def test_data_of_the_user(rng):
    X = rng.standard_normal((25, 2))
    y = np.where(X[:, 0] + rng.standard_normal(25) > 0, 3, 8)
    results = check_influence(linear_model.LogisticRegression(), data=(X, y))
    assert {one["sample"] for one in results} == {"data"}
    with pytest.raises(ValueError, match="at least 12 rows"):
        check_influence(linear_model.Ridge(), data=(X[:5], y[:5]))


# Running ---------------------------------------------------------------------------------------


def test_results_say_what_was_skipped_and_why():
    results = check_influence(KernelRidge())
    assert [one["check_name"] for one in results] == [check.__name__ for check in CHECKS]
    skipped = {
        one["check_name"]: str(one["exception"]) for one in results if one["status"] == "skipped"
    }
    assert "KernelProblem" in skipped["check_influence_up_params"]
    assert all(one["exception"] is None for one in results if one["status"] == "passed")
    with pytest.warns(SkipTestWarning) as seen:
        check_influence(KernelRidge(), on_skip="warn")
    assert len(seen) == len(skipped)


def test_failures_are_raised_warned_about_or_expected():
    wrong, expected = Unvalidated(C=2.0), {"check_bad_inputs": "it takes any y"}
    with pytest.raises(ContractError, match="A row too many"):
        check_influence(wrong)
    with pytest.warns(UserWarning, match="check_bad_inputs"):
        check_influence(wrong, on_fail="warn")
    statuses = {
        one["check_name"]: one["status"]
        for one in check_influence(wrong, expected_failed_checks=expected)
    }
    assert statuses["check_bad_inputs"] == "xfail"
    mark = parametrize_with_influence_checks([wrong], expected_failed_checks=lambda _: expected)
    marked = [case for case in mark.args[1] if case.marks]
    assert [case.values[1].name for case in marked] == ["check_bad_inputs"]
    assert marked[0].marks[0].kwargs["reason"] == "it takes any y"


def test_test_ids_name_the_estimator_the_check_and_the_sample():
    mark = parametrize_with_influence_checks([linear_model.LogisticRegression(C=2)])
    ids = [case.id for case in mark.args[1]]
    assert "LogisticRegression(C=2)-check_groups(sample='multiclass')" in ids
    assert len(set(ids)) == len(ids) == 2 * len(CHECKS)


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (linear_model.Ridge, TypeError, "instance"),
        (StandardScaler(), ValueError, "pass data"),
        (KernelRidge(kernel="precomputed"), ValueError, "pass data"),
    ],
    ids=["class", "transformer", "precomputed"],
)
def test_what_cannot_be_checked_is_refused(estimator, error, message):
    with pytest.raises(error, match=message):
        list(influence_checks_generator(estimator))


def test_pipelines_are_refused_with_the_way_out():
    with pytest.raises(TypeError, match="last step"):
        check_influence(make_pipeline(StandardScaler(), linear_model.Ridge()))


def test_options_are_checked():
    with pytest.raises(ValueError, match="on_fail must be one of"):
        check_influence(linear_model.Ridge(), on_fail="print")


def test_checking_warns_of_nothing_and_changes_nothing():
    model = ours.LogisticRegression(max_iter=3)
    before = pickle.dumps(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_influence(model, data=(*make_data("binary", 30, 2, 0),), fit_tol=1.0)
    assert pickle.dumps(model) == before


def test_a_check_that_does_not_apply_says_so_as_scikit_learns_do():
    checks = dict(
        (check.name, check) for _, check in influence_checks_generator(linear_model.Ridge())
    )
    with pytest.raises(SkipTest, match="not a classifier"):
        checks["check_labels"](linear_model.Ridge())


def test_agreement_tells_a_wrong_scale_from_a_wrong_order():
    expected = np.array([1.0, 2.0, 4.0, 8.0])
    scaled = agreement(2.0 * expected, expected)
    assert (scaled.pearson, scaled.spearman, scaled.slope) == pytest.approx((1.0, 1.0, 2.0))
    assert scaled.relative_l2 == pytest.approx(1.0)
    assert agreement(expected[::-1], expected).spearman == pytest.approx(-1.0)
    assert agreement(np.zeros(2), np.zeros(2)).relative_l2 == 0.0
    assert relative_error(np.ones(2), np.zeros(2)) == np.inf
