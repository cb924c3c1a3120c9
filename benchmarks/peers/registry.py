"""The register of contestants: what an adapter must give, and for which works."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

# The names of the adapters, in the order of the table.
ADAPTERS = (
    "ours",
    "pyinfluence",
    "pydvl",
    "captum",
    "dattri",
    "kronfluence",
    "statsmodels",
    "mapie",
    "bbai",
    "randalo",
    "sklearn_refits",
)
CONTESTANTS = {}


@dataclass(frozen=True)
class Contestant:
    """One way of one package to do one work.

    Parameters
    ----------
    work : str
    name : str
        Package and method, as the table shows them.
    make : callable
        ``make(problem)`` prepares what needs no answer (tensors, a module with the weights) and
        returns an :class:`Answering`. Nothing in it is timed.
    exact : bool
        Whether the answer is meant to equal the reference. If so, it is not timed unless it does.
    scale : callable
        ``scale(problem)`` is the factor from its convention to ours.
    """

    work: str
    name: str
    make: Callable
    exact: bool
    scale: Callable


@dataclass(frozen=True)
class Answering:
    """What is timed: from weights and data to the whole answer, factorisation included.

    Parameters
    ----------
    call : callable
        Without arguments, returns the answer.
    share : float, default=1.0
        The part of the work that ``call`` does; times are divided by it (sampled refits).
    read : callable, default=None
        ``read(answer)`` is the answer as an array; not timed.
    flops : callable, default=None
        ``flops(answer)`` of the arithmetic that this call cannot do without, where it depends on
        how often it iterates.
    """

    call: Callable
    share: float = 1.0
    read: Callable | None = None
    flops: Callable | None = None


def contestant(name, *works, exact=True, scale=1.0):
    """Register ``make`` for these works under this name."""
    scaled = scale if callable(scale) else lambda problem: scale

    def register(make):
        for work in works:
            CONTESTANTS[work, name] = Contestant(work, name, make, exact, scaled)
        return make

    return register


def package_of(name):
    """The adapter that a contestant's name begins with."""
    return name.split(":")[0]


def load(adapter):
    """Import one adapter, which registers its contestants; None, or why it cannot be."""
    try:
        import_module(f"benchmarks.peers.{adapter}")
    except ImportError as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None
