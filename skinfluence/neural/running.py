"""Running torch modules: where, in which precision and mode.

Nothing here knows of influence. torch is imported inside the functions.
"""

import copy
from contextlib import contextmanager

from skinfluence._utils._optional import require


def import_torch():
    """The torch package, or the extra that installs it."""
    return require("torch", extra="torch")


def check_module(module):
    """Refuse what is not a torch module, or is spread over several devices."""
    torch = import_torch()
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module. Got {type(module).__name__} instead.")
    devices = {str(value.device) for value in _values(module)}
    if len(devices) > 1:
        raise ValueError(
            f"The module must be on one device. Got {', '.join(sorted(devices))}; move it with "
            "module.to(device)."
        )


def _values(module):
    yield from module.parameters()
    yield from module.buffers()


def placed(module, device="auto", dtype=None):
    """The module on a device and in a precision: itself where it is so already, else a copy.

    Parameters
    ----------
    module : torch.nn.Module
    device : str or torch.device, default="auto"
        ``"auto"``: CUDA where there is one, else where the module is.
    dtype : {None, "float32", "float64"} or torch.dtype, default=None
        The module's own when None.

    Returns
    -------
    module : torch.nn.Module
        The caller's module is never moved or converted.
    device : torch.device
    dtype : torch.dtype
    """
    torch = import_torch()
    check_module(module)
    first = next(_values(module), None)
    own_device = torch.device("cpu") if first is None else first.device
    if isinstance(device, str) and device == "auto":
        device = "cuda" if torch.cuda.is_available() else own_device
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    floating = [value.dtype for value in _values(module) if value.is_floating_point()]
    own_dtype = floating[0] if floating else torch.get_default_dtype()
    dtype = own_dtype if dtype is None else _torch_dtype(dtype)
    if own_device != device or any(one != dtype for one in floating):
        # Conversion would take their imaginary parts away.
        refuse_complex(module)
        module = copy.deepcopy(module).to(device=device, dtype=dtype)
    return module, device, dtype


def _torch_dtype(dtype):
    torch = import_torch()
    known = {"float32": torch.float32, "float64": torch.float64}
    found = known.get(dtype, dtype) if isinstance(dtype, str) else dtype
    if found not in known.values():
        raise ValueError(f"dtype must be None, 'float32' or 'float64'. Got {dtype!r} instead.")
    return found


def in_words(error):
    """The first line of an error of torch, without a full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(". Please")[0].rstrip(". ")[:300]


def refuse_complex(module):
    """Refuse complex parameters and buffers: a real vector of parameters would hold half of them."""
    named = [*module.named_parameters(), *module.named_buffers()]
    for name, value in named:
        if value.is_complex():
            raise TypeError(
                f"Parameters and buffers must be real. Got {value.dtype} in {name!r}; keep the real "
                "and the imaginary parts as one real parameter (torch.view_as_complex in forward)."
            )


@contextmanager
def evaluating(module):
    """Evaluation mode inside; after it every part of the module has its own mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield module
    finally:
        for part, mode in modes:
            part.training = mode


def check_rowwise(function, x):
    """The number of outputs per row; refuse a function that is random or mixes the rows of a batch.

    Parameters
    ----------
    function : callable
        From a batch of rows to (b, n_outputs).
    x : tensor of shape (b, ...)
        A few rows.
    """
    torch = import_torch()
    with torch.no_grad():
        together, again = function(x), function(x)
        try:
            alone = torch.cat([function(one[None]) for one in x])
        except ValueError as error:
            # Batch normalisation by the batch's own statistics refuses a batch of one.
            raise ValueError(
                f"The module must take rows one at a time. It refused a batch of one: {error}"
            ) from error
    near = 1e-3 if together.dtype == torch.float32 else 1e-8
    scale = together.abs().max() + torch.finfo(together.dtype).tiny
    if not bool(((together - again).abs() <= near * scale).all()):
        raise ValueError(
            "The module must be deterministic in evaluation mode. Two passes over the same rows "
            "differ; is dropout applied as a function without training=self.training?"
        )
    if not bool(((together - alone).abs() <= near * scale).all()):
        raise ValueError(
            "The output for a row must not depend on the other rows of its batch. It does here; "
            "does a batch normalisation lack running statistics?"
        )
    return together.shape[1]


def kept_numbers(run, x):
    """Numbers per row that autograd keeps of a function of rows for the way back, the rows aside.

    Parameters
    ----------
    run : callable
        From a tensor of rows to their decision values.
    x : tensor of shape (b, ...)
    """
    torch = import_torch()

    def numbers(x):
        sizes = []

        def pack(tensor):
            same = tensor.numel() == x.numel() and torch.equal(tensor.flatten(), x.flatten())
            if not same:
                sizes.append(tensor.numel())
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with torch.enable_grad(), hooks:
            eta = run(x)
        return sum(sizes) + eta.numel()

    if len(x) == 1:
        return numbers(x)
    # What is kept once, such as weights, is in both.
    return (numbers(x) - numbers(x[:1])) / (len(x) - 1)
