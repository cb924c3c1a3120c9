"""What the tests write in another way for other versions of scikit-learn and scipy."""

import pytest
import scipy.sparse as sp
import sklearn
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.utils import estimator_checks

from tests.fewer import in_turn

# What the tests skip, with a reason, of versions that do it otherwise.
SCIKIT_LEARN = tuple(map(int, sklearn.__version__.split(".")[:2]))
# TODO(scikit-learn 1.8 and scipy 1.12 as minimum): drop this module.
HAS_LEGACY_ATTRIBUTES = "use_legacy_attributes" in LogisticRegressionCV().get_params()


def logistic_cv(cls=LogisticRegressionCV, *, legacy=False, **params):
    """A LogisticRegressionCV with an L2 penalty, without the warnings of what will change in it.

    From 1.8 on that takes ``l1_ratios`` and ``use_legacy_attributes``, which 1.7 does not have or
    warns about.
    """
    if HAS_LEGACY_ATTRIBUTES:
        params = {"l1_ratios": (0,), "use_legacy_attributes": legacy, **params}
    return cls(**{"scoring": "neg_log_loss", **params})


def l1_logistic(cls=LogisticRegression, *, share=1.0, **params):
    """A LogisticRegression with an L1 share; 1.7 reads it where ``penalty`` says so."""
    if HAS_LEGACY_ATTRIBUTES:
        return cls(l1_ratio=share, **params)
    if share == 1.0:
        return cls(penalty="l1", **params)
    return cls(penalty="elasticnet", l1_ratio=share, **params)


def random_csr(rng, shape, density):
    """Rows with some entries uniform, the others zero; scipy 1.11 has no ``random_array``."""
    return sp.csr_array(sp.random(*shape, density=density, format="csr", random_state=rng))


def parametrize_with_checks(estimators, **options):
    """scikit-learn's, with a list: 1.7 hands pytest a generator, which pytest 10 refuses.

    Every check is run on one estimator in three, at least one, and on all of them where
    ``SKINFLUENCE_LONG=1``.
    """
    mark = estimator_checks.parametrize_with_checks(estimators, **options)
    names, cases = mark.args
    return pytest.mark.parametrize(names, in_turn(list(cases), _check, 3), **mark.kwargs)


def _check(case):
    """The function of a case, which may carry marks."""
    check = getattr(case, "values", case)[1]
    return check.func.__name__
