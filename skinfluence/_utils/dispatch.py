"""Functions of a class of estimators, which do not take a subclass for what it derives from.

A class with a ``transform`` or a ``predict`` of its own is another estimator, whatever it inherits.
"""

from functools import lru_cache, partial, singledispatch, wraps
from importlib import import_module

# What these write into classes that derive from scikit-learn's is the same function, computed elsewhere.
TRUSTED = frozenset({"sklearn", "skinfluence", "sklearnex", "daal4py", "imblearn"})
# They say how an estimator is described, asked for and shown, and nothing of what it gives.
DESCRIBE = frozenset(
    {
        "get_feature_names_out",
        "get_metadata_routing",
        "get_params",
        "get_support",
        "score",
        "set_output",
        "set_params",
    }
)


@lru_cache(maxsize=512)
def rewritten(cls, known):
    """The methods and properties of a class that one deriving from it has of its own.

    Parameters
    ----------
    cls : type
    known : type
        One that it derives from.

    Returns
    -------
    names : tuple of str
        In order; but for names that describe, and what packages wrote that keep the function.
    """
    names = set()
    for one in cls.__mro__[: cls.__mro__.index(known)]:
        if _package(one) not in TRUSTED:
            names |= {name for name in vars(one) if _does(known, name)}
    return tuple(sorted(names))


def _package(cls):
    # A class made in code without a module has none.
    return str(getattr(cls, "__module__", "")).partition(".")[0]


def _does(known, name):
    if name in DESCRIBE or name.startswith("__") or name.endswith("_request"):
        return False
    if name in getattr(known, "__abstractmethods__", ()):
        return False
    there = getattr(known, name, None)
    return callable(there) or isinstance(there, property)


def registered(function, cls):
    """The class that a single-dispatch function knows, of those that a class derives from."""
    return next((one for one in cls.__mro__ if one in function.registry), object)


def dispatched(function=None, *, registered_by=None):
    """``functools.singledispatch``, but that classes which rewrite what they derive from are unknown.

    Parameters
    ----------
    function : callable
        Called for classes that are not known.
    registered_by : str, default=None
        The module that registers classes, imported before the first is looked for, or registered by
        somebody else. It may stand above the one of the function, which could not import it itself.

    Returns
    -------
    function : callable
        With ``register``, ``dispatch`` and ``registry``. A class that is registered itself is known.
    """
    if function is None:
        return partial(dispatched, registered_by=registered_by)
    by_class = singledispatch(function)

    def complete():
        if registered_by is not None:
            import_module(registered_by)

    def register(cls, *implementation):
        # A class that is registered again is what it was registered as last.
        complete()
        return by_class.register(cls, *implementation)

    def dispatch(cls):
        complete()
        known = registered(by_class, cls)
        rewrites = known is not object and rewritten(cls, known)
        return by_class.dispatch(object if rewrites else cls)

    @wraps(function)
    def call(first, *args, **kwargs):
        return dispatch(type(first))(first, *args, **kwargs)

    call.register, call.dispatch, call.registry = register, dispatch, by_class.registry
    return call


def rewrites(cls):
    """Whether a class rewrites what the class of scikit-learn does that it has its ``fit`` from."""
    theirs = (one for one in cls.__mro__ if _package(one) == "sklearn")
    known = next((one for one in theirs if hasattr(one, "fit")), None)
    return known is not None and bool(rewritten(cls, known))
