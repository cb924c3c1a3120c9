"""Operations that ``torch.func`` cannot transform, and the same ones written so that it can."""

from contextlib import ExitStack, contextmanager

from skinfluence.neural.running import import_torch

# By the name of the function that torch calls.
ATTENTION = {"scaled_dot_product_attention", "multi_head_attention_forward"}
PLAIN = {"prelu", "rrelu", "_weight_norm"}
RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}


def ways_of(run, x):
    """What :func:`ways` has to enter for a function of rows, found out by one pass.

    Parameters
    ----------
    run : callable
    x : tensor
        A few rows.

    Returns
    -------
    names : tuple of str
        Of "attention", "plain" and "recurrent"; nothing for most modules.
    """
    torch, seen = import_torch(), set()

    class Watching(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            seen.add(getattr(function, "__name__", ""))
            return function(*args, **(kwargs or {}))

    with torch.no_grad(), Watching():
        run(x)
    chosen = (("attention", ATTENTION), ("plain", PLAIN), ("recurrent", RECURRENT))
    return tuple(name for name, functions in chosen if seen & functions)


@contextmanager
def ways(names):
    """Run torch inside with other kernels: attention by matrix products, ``PLAIN`` written out."""
    torch = import_torch()
    with ExitStack() as stack:
        if "attention" in names:
            # The fused kernels have no derivatives forward, and none of second order.
            attention = torch.nn.attention
            stack.enter_context(attention.sdpa_kernel(attention.SDPBackend.MATH))
        if "recurrent" in names:
            # The same of those of mkldnn and cuDNN, which has none at all in evaluation mode.
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        if "plain" in names:
            stack.enter_context(_plain_mode())
        yield


def _plain_mode():
    torch = import_torch()
    written = {"prelu": _prelu, "rrelu": _rrelu, "_weight_norm": _weight_norm}

    class Plain(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            other = written.get(getattr(function, "__name__", ""), function)
            return other(*args, **(kwargs or {}))

    return Plain()


def _prelu(input, weight):
    torch = import_torch()
    if weight.numel() > 1:
        weight = weight.reshape(-1, *[1] * (input.ndim - 2))
    return torch.where(input >= 0, input, weight * input)


def _rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, inplace=False, generator=None):
    # In evaluation mode, which is all that runs here.
    return import_torch().nn.functional.leaky_relu(input, 0.5 * (lower + upper))


def _weight_norm(v, g, dim=0):
    torch = import_torch()
    others = [axis for axis in range(v.ndim) if axis != (dim % v.ndim if dim != -1 else -1)]
    return v * (g / torch.linalg.vector_norm(v, dim=others, keepdim=True))
