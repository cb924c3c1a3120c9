"""Checks of the problem itself: its loss, its optimum, its decision values."""

import numpy as np

from skinfluence.leave_one_out import Outputs
from skinfluence.utils.estimator_checks.failing import relative_error, require
from skinfluence.utils.estimator_checks.subject import around, optimum, slope, smallest_error


def check_loss_derivatives(subject):
    """Gradient and Hessian of the loss are finite differences of its value and gradient."""
    subject.need_derivatives()
    subject.need_objective()
    loss, fitted = subject.problem.loss, subject.problem.eta
    # Where the fit is, and to both sides of it.
    eta = np.concatenate([fitted, 0.5 * fitted, fitted + 0.7])
    y = np.concatenate([subject.problem.y] * 3)
    for name, derivative, of in (
        ("gradient", loss.gradient, loss.value),
        ("hessian", loss.hessian, loss.gradient),
    ):
        error = smallest_error(
            derivative(eta, y), lambda step, of=of: _derivative(of, eta, y, step), 1e-6
        )
        require(
            error < 1e-6,
            f"The {name} of the loss must be the derivative of its {of.__name__} in eta.",
            f"a relative error of {error:.1e} in {type(loss).__name__}",
            f"Correct {type(loss).__name__}.{name}; its last axes are outputs, and sample weights belong "
            "to the objective.",
        )


def _derivative(of, eta, y, step):
    """Differences of a function of eta in each output, on a new last axis."""
    return np.stack(
        [slope([of(eta + h * e, y) for h in around(step)], step) for e in np.eye(eta.shape[1])],
        axis=-1,
    )


def check_fit_is_the_optimum(subject):
    """``fit`` ends where the objective is smallest, to the solver's own tolerance."""
    subject.need_objective()
    unweighted = np.ones(len(subject.y))
    for weight in [unweighted] + ([subject.weight] if subject.takes_weights else []):
        model = subject.fitted(subject.X, subject.y, weight)
        fitted = subject.influence_of(model, weight=weight).objective
        best = optimum(fitted)
        moved = np.abs(best.eta - fitted.eta).max() / max(np.ptp(best.eta), 1e-300)
        kind = "weights" if weight is subject.weight else "equal weights"
        require(
            moved <= subject.fit_tol,
            "fit must end at the optimum of objective_of(model, X, y, sample_weight).",
            f"decision values that move by {moved:.1e} of their range to the optimum, with {kind}",
            "If the solver is loose, tighten it or raise fit_tol. Otherwise correct the objective: the "
            "factor of the penalty (sum or mean form), the weights (sample_weight * class_weight), the "
            "penalty on the intercept, and the parameters' layout.",
        )


def check_predictions(subject):
    """Decision values become the estimator's own predictions and probabilities."""
    model, influence = subject.model, subject.influence_of(subject.model)
    tests = influence.data.tests(subject.sample.X_test, subject.sample.y_test)
    quantity = influence.answers.quantity(tests, "decision_function", "one-step")
    ours = Outputs(model, influence.objective, quantity.eta)
    X = subject.sample.X_test
    for name in ("predict", "predict_proba"):
        if not hasattr(model, name):
            continue
        try:
            found = getattr(ours, name)()
        except AttributeError:
            # A loss without probabilities, as documented.
            continue
        expected = getattr(model, name)(X)
        if expected.dtype.kind == "f":
            same = relative_error(found, expected) <= subject.fit_tol
        else:
            same = np.array_equal(found, expected)
        require(
            same,
            f"The objective's decision values must give the estimator's {name}.",
            f"{found[:3]} for {expected[:3]}",
            "Correct the parameters' layout, the order of the classes in Labels, the loss's mean or "
            "predict_proba.",
        )
