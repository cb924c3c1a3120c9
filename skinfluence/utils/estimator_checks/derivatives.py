"""Checks of the influence functions: against refits, and against each other."""

import numpy as np

from skinfluence.curvature import Curvature
from skinfluence.utils.estimator_checks.failing import relative_error, require, skip
from skinfluence.utils.estimator_checks.subject import around, slope, smallest_error

TOLERANCE = 1e-6
DERIVATIVE = (
    "The usual reasons: class weights or a mean-form penalty that do not move with the weight "
    "(natural_hold), a Hessian that is not the loss's, a wrong intercept column."
)


def _class_factor(subject):
    """What multiplies the sample weight of each row."""
    return subject.problem.weights / subject.problem.sample_weight


def _loss_slopes(subject, refits, step):
    """Derivative of the test losses from four refits."""
    return slope(list(subject.change([refit.eta for refit in refits]).T), step)


def _need_weights(subject):
    subject.need_derivatives()
    if not subject.takes_weights:
        skip("The estimator's fit takes no sample_weight.")


def check_influence_up_params(subject):
    """``d theta / d sample_weight_i`` is ``class weight / n`` times eq. 1."""
    _need_weights(subject)
    subject.need_objective()
    rows = subject.some_rows
    found = subject.influence.influence_up_params(indices=rows)
    found = found * _class_factor(subject)[rows, None, None] / len(subject.y)
    for i, row in enumerate(rows):

        def differences(step, i=i):
            return slope([refit.parameters for refit in subject.reweighted(step)[i]], step)

        error = smallest_error(found[i], differences, TOLERANCE)
        require(
            error < TOLERANCE,
            "influence_up_params must be n times the derivative of the parameters in a row's weight.",
            f"a relative error of {error:.1e} against differences of refits, for row {row}",
            DERIVATIVE,
        )


def check_influence_up_loss(subject):
    """``d test loss / d sample_weight_i`` is ``class weight / n`` times eq. 2."""
    _need_weights(subject)
    rows, sample = subject.some_rows, subject.sample
    found = subject.influence.influence_up_loss(sample.X_test, sample.y_test, indices=rows)
    found = found * _class_factor(subject)[rows] / len(subject.y)

    def differences(step):
        moved = subject.reweighted(step)
        return np.stack([_loss_slopes(subject, refits, step) for refits in moved], axis=1)

    error = smallest_error(found, differences, TOLERANCE)
    require(
        error < TOLERANCE,
        "influence_up_loss must be n times the derivative of test losses in a row's weight.",
        f"a relative error of {error:.1e} against differences of refits",
        DERIVATIVE,
    )


def check_influence_pert(subject):
    """Moving a training row by delta changes test losses by ``w_i / n`` times eq. 5 times delta."""
    subject.need_derivatives()
    rows, sample = subject.some_rows[1:3], subject.sample
    try:
        found = subject.influence.influence_pert(
            sample.X_test, sample.y_test, indices=rows, frozen="accept"
        )
    except TypeError as error:
        skip(f"No derivative in the features: {error}")
    found = found * subject.problem.weights[rows, None] / len(subject.y)

    def differences(step):
        expected = np.empty_like(found)
        for place in np.ndindex(found.shape[1:]):
            refits = []
            for h in around(step):
                X = np.array(subject.X)
                X[rows[place[0]], place[1]] += h
                refits.append(subject.after(X, derivative=True))
            expected[(slice(None), *place)] = _loss_slopes(subject, refits, step)
        return expected

    error = smallest_error(found, differences, TOLERANCE)
    require(
        error < TOLERANCE,
        "influence_pert must be n / w_i times the derivative of test losses in a row's features.",
        f"a relative error of {error:.1e} against differences of refits",
        "Both terms count, the Hessian's and the gradient's; a kernel needs its grad_combination.",
    )


def check_derivatives_agree(subject):
    """Eq. 2 follows from eq. 1, its diagonal is self_influence, its mean is aggregate='mean'."""
    subject.need_derivatives()
    influence, problem, sample = subject.influence, subject.problem, subject.sample
    own = influence.influence_up_loss(subject.X, subject.y)
    pairs = [
        ("self_influence()", influence.self_influence(), -own.diagonal()),
        (
            "aggregate='mean'",
            influence.influence_up_loss(subject.X, subject.y, aggregate="mean"),
            own.mean(axis=0),
        ),
    ]
    if subject.is_smooth_objective:
        tests = influence.data.tests(sample.X_test, sample.y_test)
        g = problem.loss.gradient(tests.design.multiply(problem.theta.T), tests.y)
        step = -len(subject.y) * np.linalg.solve(_hessian(problem), _row_gradients(problem))
        step = step.reshape(*problem.theta.shape, -1)
        expected = np.einsum("tk,td,kdi->ti", g, tests.design.dense_rows(), step)
        found = influence.influence_up_loss(sample.X_test, sample.y_test)
        pairs.append(("influence_up_loss", found, expected))
    for name, found, expected in pairs:
        error = relative_error(found, expected)
        require(
            error < 1e-8,
            f"{name} must be the same quantity as what it is defined by.",
            f"a relative error of {error:.1e}",
            "Look for a factor n, a sign, or class weights applied twice.",
        )


def check_weighted_sum_of_derivatives(subject):
    """``sum_i w_i d theta / d w_i`` is ``H^-1 R theta`` in sum form, 0 in mean form."""
    subject.need_derivatives()
    subject.need_objective()
    problem = subject.problem
    try:
        each = subject.influence.influence_up_params()
    except TypeError as error:
        skip(f"No vector of parameters: {error}")
    found = np.einsum("i,ikd->kd", problem.weights, each) / len(subject.y)
    expected = np.zeros_like(found)
    if problem.hold == "C":
        pull = np.linalg.solve(_hessian(problem), (problem.penalty * problem.theta).ravel())
        pull = problem.loss.expand(pull.reshape(problem.theta.shape).T).T
        if problem.design.intercept:
            pull[:, -1] *= problem.design.intercept
        expected = pull
    # Relative to the terms of the sum: in mean form they cancel.
    scale = np.abs(each * problem.weights[:, None, None]).sum(axis=0).max() / len(subject.y)
    error = np.abs(found - expected).max() / scale
    form = "H^-1 R theta" if problem.hold == "C" else "0"
    require(
        error < 1e-8,
        f"The weighted sum of the weight derivatives must be {form} where hold={problem.hold!r}.",
        f"a difference of {error:.1e} of its terms",
        "Correct the penalty or natural_hold, or the weights (sample_weight * class_weight).",
    )


def _hessian(problem):
    return Curvature(problem).dense()


def _row_gradients(problem):
    """``J_i' g_i`` of every row, its share of a mean-form penalty included, (n_parameters, n)."""
    rows = np.einsum("ik,id->kdi", problem.gradients, problem.design.dense_rows())
    rows += (problem.unit_penalty * problem.theta)[:, :, None]
    return rows.reshape(problem.n_parameters, -1)
