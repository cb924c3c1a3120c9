"""How much memory an answer needs, how much there is, and how to cut work into blocks."""

import os

import numpy as np

# Temporaries of one block of work. Large enough for BLAS to be at full speed, small enough
# that a laptop never notices.
BLOCK_BYTES = 2**26
# What fits anywhere: to ask the system takes as long as to factor a small Hessian.
SURE_BYTES = 2**20


def available_memory():
    """Memory this process may still take, in bytes (``inf`` where the system does not say)."""
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return float("inf")


def check_fits(shape, remedy, what="The result", itemsize=8):
    """Refuse an array that does not fit in memory, before any work is done.

    Raises
    ------
    MemoryError
        With the shape, the size needed, the memory there is, and ``remedy``.
    """
    needed = itemsize * float(np.prod([float(s) for s in shape]))
    if needed <= SURE_BYTES:
        return
    limit = available_memory()
    if needed > limit:
        raise MemoryError(
            f"{what} must fit in memory. An array of shape {tuple(int(s) for s in shape)} takes "
            f"{_shown(needed)}; {_shown(limit)} are available. {remedy}"
        )


def _shown(size):
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:,.1f} {unit}"
        size /= 1024


def row_blocks(n_rows, bytes_per_row, budget=BLOCK_BYTES):
    """Slices that cut rows into blocks of at most ``budget`` bytes.

    Parameters
    ----------
    n_rows : int or slice
        All rows, or a range of them.
    bytes_per_row, budget : int

    Examples
    --------
    >>> from skinfluence._utils.memory import row_blocks
    >>> list(row_blocks(5, bytes_per_row=8, budget=16))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    first, last = (n_rows.start, n_rows.stop) if isinstance(n_rows, slice) else (0, n_rows)
    step = int(max(1, min(last - first, budget // max(1, bytes_per_row))))
    for start in range(first, last, step):
        yield slice(start, min(start + step, last))
