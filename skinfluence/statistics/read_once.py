"""Steps that are fitted on many sets of the same rows, and read each row once."""

from sklearn.base import clone

from skinfluence.statistics.coded import codable, coded
from skinfluence.statistics.counted import countable, counted

# Which steps, and what reads a row once in their place.
KINDS = ((countable, counted), (codable, coded))


def read_once(step):
    """A step like another one, not fitted, that reads each row once; or that step itself.

    Parameters
    ----------
    step : transformer
        A vectoriser or an encoder, or columns, a union or a chain with some in it.
    """
    own = _instead_of(step)
    if own is not None:
        return own
    if not hasattr(step, "get_params") or isinstance(step, type):
        return step
    inside = {name: _instead_of(one) for name, one in step.get_params(deep=True).items()}
    inside = {name: one for name, one in inside.items() if one is not None}
    return clone(step).set_params(**inside) if inside else step


def _instead_of(step):
    for kind, made in KINDS:
        if kind(step):
            return made(step)
    return None
