"""scikit-learn's own tests of its classes, run on ours.

    python -m tests.substituted                  # options of pytest may follow

While they are collected, the classes of scikit-learn are replaced by ours wherever its tests find
them. What ours must do otherwise is listed with its reason; nothing else may fail.
"""

import sys
from importlib import import_module

import pytest

import skinfluence.kernel_ridge
import skinfluence.linear_model
import skinfluence.pipeline

MODULES = (
    "sklearn.linear_model.tests.test_base",
    "sklearn.linear_model.tests.test_logistic",
    "sklearn.linear_model.tests.test_ridge",
    "sklearn.linear_model._glm.tests.test_glm",
    "sklearn.tests.test_kernel_ridge",
    "sklearn.tests.test_pipeline",
)
OURS = (
    *[getattr(skinfluence.linear_model, name) for name in skinfluence.linear_model.__all__],
    skinfluence.kernel_ridge.KernelRidge,
    skinfluence.pipeline.Pipeline,
)
COPIES = "copy_X=False overwrites a copy: the caller's rows are what questions are about"
# Part of the name of a test, and why ours does otherwise.
EXPECTED = {
    "test_inplace_data_preprocessing[42-True-None]": COPIES,
    "test_inplace_data_preprocessing[42-False-None]": COPIES,
}
PLACES = []


def pytest_configure():
    """Put our classes where scikit-learn's are defined, and where its packages show them."""
    for mine in OURS:
        theirs = next(cls for cls in mine.__mro__[1:] if cls.__name__ == mine.__name__)
        home = theirs.__module__
        while home:
            module = import_module(home)
            if getattr(module, mine.__name__, None) is theirs:
                setattr(module, mine.__name__, mine)
                PLACES.append((module, mine.__name__, theirs))
            home = home.rpartition(".")[0]


def pytest_collection_modifyitems(items):
    # The tests hold ours by now; what ours call must be scikit-learn's again.
    for module, name, theirs in PLACES:
        setattr(module, name, theirs)
    for item in items:
        if hasattr(item.module, "make_pipeline"):
            item.module.make_pipeline = skinfluence.pipeline.make_pipeline
        for part, reason in EXPECTED.items():
            if part in item.nodeid:
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


if __name__ == "__main__":
    # Its own parametrisations are scikit-learn's business.
    quiet = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestRemovedIn10Warning"]
    arguments = [*quiet, *sys.argv[1:], "--pyargs", *MODULES]
    sys.exit(pytest.main(arguments, plugins=[sys.modules[__name__]]))
