"""The public edge says its types, and says that it does."""

import inspect
import typing
from importlib.resources import files

import pytest

from skinfluence import Influence, cleaning, edits, model_selection, solvers

FUNCTIONS = [
    edits.remove,
    edits.relabel,
    edits.replace,
    edits.add,
    edits.reweight,
    cleaning.audit,
    *[getattr(model_selection, name) for name in model_selection.__all__ if name.islower()],
    *[cls.__init__ for cls in (solvers.Exact, solvers.CG, solvers.LiSSA)],
    model_selection.LeaveOneOutSearch.__init__,
    *[
        method
        for cls in (Influence, cleaning.Audit)
        for name, method in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_")
    ],
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__qualname__)
def test_the_public_edge_is_typed(function):
    signature = inspect.signature(function)
    untyped = [
        name
        for name, one in signature.parameters.items()
        if name != "self" and one.annotation is inspect.Parameter.empty
    ]
    assert not untyped
    assert signature.return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__qualname__)
def test_help_says_types_by_their_names(function):
    """A union of all that is an array, written out, is forty lines of help; its hints are still types."""
    assert "numpy._typing" not in str(inspect.signature(function))
    # pandas is an optional package.
    assert typing.get_type_hints(function, localns={"DataFrame": object})


def test_the_package_says_that_it_is_typed():
    assert files("skinfluence").joinpath("py.typed").is_file()
