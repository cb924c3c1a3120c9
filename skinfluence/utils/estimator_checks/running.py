"""Running the checks: one by one, all of an estimator, or as tests of pytest."""

import warnings
from dataclasses import replace
from unittest import SkipTest

from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning

from skinfluence.utils.estimator_checks import conventions, derivatives, effects, fits
from skinfluence.utils.estimator_checks.samples import samples_for
from skinfluence.utils.estimator_checks.subject import FIT_TOL, Subject, refit_by_clone

CHECKS = (
    fits.check_loss_derivatives,
    fits.check_fit_is_the_optimum,
    fits.check_predictions,
    derivatives.check_influence_up_params,
    derivatives.check_influence_up_loss,
    derivatives.check_influence_pert,
    derivatives.check_derivatives_agree,
    derivatives.check_weighted_sum_of_derivatives,
    effects.check_removal_effects,
    effects.check_local_methods,
    effects.check_every_edit,
    effects.check_groups,
    effects.check_leave_one_out,
    effects.check_certificates,
    conventions.check_weight_zero_is_absence,
    conventions.check_weight_two_is_repetition,
    conventions.check_order_of_rows,
    conventions.check_labels,
    conventions.check_asking_changes_nothing,
    conventions.check_pickling,
    conventions.check_bad_inputs,
    conventions.check_methods_of_the_estimator,
)


class SampleCheck:
    """One check on one sample: call it with the estimator.

    Attributes
    ----------
    name : str
        Of the check.
    sample : Sample
    """

    def __init__(self, function, subject):
        self.name = function.__name__
        self.sample = subject.sample
        self._function = function
        self._subject = subject

    def __call__(self, estimator):
        """Run it.

        Raises
        ------
        ContractError
            With the rule, what came, and what to do.
        unittest.SkipTest
            For estimators that the rule is not about.
        """
        subject = self._subject
        if repr(estimator.get_params()) != repr(subject.estimator.get_params()):
            subject = replace(subject, estimator=clone(estimator))
        self._function(subject)

    def __repr__(self):
        return f"{self.name}(sample={self.sample.name!r})"


def influence_checks_generator(estimator, *, data=None, refit=None, fit_tol=FIT_TOL):
    """Yield ``(estimator, check)`` for every check and sample; ``check(estimator)`` runs it.

    Parameters
    ----------
    estimator, data, refit, fit_tol
        As in :func:`check_influence`.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence.utils.estimator_checks import influence_checks_generator
    >>> estimator, check = next(influence_checks_generator(Ridge()))
    >>> callable(check)
    True
    """
    if isinstance(estimator, type):
        raise TypeError(f"Pass an instance, {estimator.__name__}(...). Got the class.")
    for sample in samples_for(estimator, data):
        # One subject for all checks: they share its refits.
        subject = Subject(clone(estimator), sample, refit or refit_by_clone, fit_tol)
        for function in CHECKS:
            yield estimator, SampleCheck(function, subject)


def check_influence(
    estimator,
    *,
    data=None,
    refit=None,
    fit_tol=FIT_TOL,
    expected_failed_checks=None,
    on_fail="raise",
    on_skip="ignore",
):
    """Check that influence and effects of an estimator are what they promise.

    Every answer is compared with refits of the estimator itself: derivatives with differences of
    refits, effects by every method with refits on the edited data, errors with their certificates;
    and weights, orders, labels, bad inputs, pickles and repeated questions with the conventions.

    Parameters
    ----------
    estimator : estimator
        An instance whose class has an objective, shipped or registered with
        :func:`skinfluence.objective_of`. It is cloned, never changed.
    data : tuple (X, y), default=None
        Training rows of numbers and targets; small, the estimator is refitted some hundred times.
        Made to fit the estimator's tags when None.
    refit : callable, default=None
        ``refit(estimator, X, y, sample_weight)``: a fitted estimator, where cloning and fitting is
        not right: to tighten a solver, or to hold a parameter that ``fit`` chooses. ``sample_weight``
        is None for estimators whose fit takes none.
    fit_tol : float, default=2e-3
        How far a fit may be from the optimum of its objective, relative to the range of the decision
        values. All other checks start from the optimum, so a loose solver fails no other one.
    expected_failed_checks : dict, default=None
        Reasons by name of the checks that may fail.
    on_fail : {"raise", "warn", "ignore"}, default="raise"
    on_skip : {"warn", "ignore"}, default="ignore"

    Returns
    -------
    results : list of dict
        With keys ``check_name``, ``sample``, ``status`` ("passed", "failed", "xfail", "skipped") and
        ``exception``.

    Raises
    ------
    ContractError
        At the first check that fails, with ``on_fail="raise"``.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence.utils.estimator_checks import check_influence
    >>> results = check_influence(Ridge(alpha=0.5))
    >>> sorted({one["status"] for one in results})
    ['passed', 'skipped']
    """
    for name, value, known in (
        ("on_fail", on_fail, ("raise", "warn", "ignore")),
        ("on_skip", on_skip, ("warn", "ignore")),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {known}. Got {value!r}.")
    expected = expected_failed_checks or {}
    options = {"data": data, "refit": refit, "fit_tol": fit_tol}
    results = []
    for one, check in influence_checks_generator(estimator, **options):
        status, exception = "passed", None
        try:
            check(one)
        except SkipTest as error:
            status, exception = "skipped", error
            if on_skip == "warn":
                warnings.warn(f"{check!r} skipped: {error}", SkipTestWarning, stacklevel=2)
        except Exception as error:
            status, exception = "xfail" if check.name in expected else "failed", error
            if status == "failed" and on_fail == "raise":
                raise
            if status == "failed" and on_fail == "warn":
                warnings.warn(f"{check!r} failed: {error}", UserWarning, stacklevel=2)
        results.append(
            {
                "check_name": check.name,
                "sample": check.sample.name,
                "status": status,
                "exception": exception,
            }
        )
    return results


def parametrize_with_influence_checks(
    estimators, *, data=None, refit=None, fit_tol=FIT_TOL, expected_failed_checks=None
):
    """Decorate a test of pytest to run every influence check of some estimators.

    Parameters
    ----------
    estimators : list of estimators
        Instances.
    data, refit, fit_tol
        As in :func:`check_influence`, for all of them.
    expected_failed_checks : callable, default=None
        From an estimator to a dict of reasons by the name of the check; those are marked xfail.

    Returns
    -------
    decorator : pytest.mark.parametrize

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression, Ridge
    >>> from skinfluence.utils.estimator_checks import parametrize_with_influence_checks
    >>> @parametrize_with_influence_checks([Ridge(), LogisticRegression()])
    ... def test_influence(estimator, check):
    ...     check(estimator)
    """
    import pytest

    cases = []
    for estimator in estimators:
        expected = expected_failed_checks(estimator) if expected_failed_checks else {}
        checks = influence_checks_generator(estimator, data=data, refit=refit, fit_tol=fit_tol)
        for one, check in checks:
            reason = expected.get(check.name)
            marks = [] if reason is None else [pytest.mark.xfail(reason=reason)]
            cases.append(pytest.param(one, check, marks=marks, id=f"{one}-{check!r}"))
    return pytest.mark.parametrize(("estimator", "check"), cases)
