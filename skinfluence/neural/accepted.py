"""What is accepted of a module: parameters that are named, rows that it runs on, one tensor as its output."""

import numpy as np

from skinfluence.neural.running import import_torch, in_words


def chosen_names(every, parameters):
    """Names of the parameters that are meant, in the module's order."""
    if not every:
        raise ValueError("The module must have parameters. Got none.")
    free = {name for name, value in every.items() if value.requires_grad}
    if not free:
        raise ValueError(
            "Parameters with requires_grad=False are held, and all of the module's are. Call "
            "requires_grad_(True) on those that were trained."
        )
    if parameters is None:
        return [name for name in every if name in free]
    wanted = [parameters] if isinstance(parameters, str) else list(parameters)
    for name in wanted:
        if not any(_belongs(one, name) for one in every):
            raise ValueError(
                "parameters must name parameters or parts of the module, such as "
                f"{', '.join(list(every)[:6])}. Got {name!r}."
            )
        if not any(_belongs(one, name) for one in free):
            raise ValueError(
                "Parameters with requires_grad=False are held. Got parameters= with "
                f"{name!r}, of which all are; call requires_grad_(True) on those that were trained."
            )
    return [one for one in every if one in free and any(_belongs(one, name) for name in wanted)]


def _belongs(parameter, name):
    return parameter == name or parameter.startswith(name + ".")


def works(call):
    """Whether torch can do what is called."""
    try:
        call()
    except (RuntimeError, NotImplementedError):
        return False
    return True


def wants_integers(network, X):
    """Whether the module runs on integer rows only, as an embedding does."""
    torch = import_torch()
    x = network.tensor(X)
    try:
        with torch.no_grad():
            network.module(x.clone())
        return False
    except Exception as error:
        if not bool((x == x.round()).all()):
            raise does_not_run(X, error) from error
        try:
            with torch.no_grad():
                network.module(x.long())
        except Exception:
            raise does_not_run(X, error) from error
    if np.asarray(X).dtype.kind == "f":
        raise ValueError(
            f"The module runs on integer rows only, such as tokens. Got {np.asarray(X).dtype}; pass "
            "X.astype(int)."
        )
    return True


def does_not_run(X, error):
    """The error of a module that raises on a batch."""
    return ValueError(
        f"The module must run on a batch of rows of shape {np.shape(X)[1:]}. It raised "
        f"{type(error).__name__}: {in_words(error)}"
    )


def check_output(out, n_rows):
    """Refuse what is not one real tensor with a line per row."""
    torch = import_torch()
    if not isinstance(out, torch.Tensor):
        found = type(out).__name__
        if isinstance(out, tuple | list):
            found += f" of {len(out)}; pass a module whose forward returns self.net(x)[0]"
        elif hasattr(out, "keys"):
            names = ", ".join(repr(name) for name in list(out.keys())[:5])
            found += f" with {names}; pass a module whose forward returns one of them"
        raise TypeError(
            "The module must return one tensor, of which the loss is taken. Got "
            f"{found}, as self.net = net in a torch.nn.Module of your own."
        )
    if out.is_complex():
        raise TypeError(
            f"The module must return real numbers. Got {out.dtype}; take .abs() or .real."
        )
    if out.ndim < 1 or len(out) != n_rows:
        raise ValueError(
            f"The module must return one line per row, {n_rows}. Got shape {tuple(out.shape)}."
        )
