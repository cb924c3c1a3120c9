"""Leave-one-out losses of rows on disk: memory, passes over the data, and cost per row.

    python benchmarks/out_of_core.py [--rows 1000000 3000000 10000000] [--columns 50]

Each size runs in a process of its own whose memory is limited to 4 GiB (``RLIMIT_DATA``; pages of
the file do not count). The files are written to a temporary directory and deleted.
"""

import argparse
import multiprocessing
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

LIMIT = 4 * 2**30
WRITTEN = 200_000
# Up to this many rows the answers are compared with those of rows in memory.
COMPARED = 1_000_000


class Counted:
    """An array on disk that counts how many of its rows are read."""

    def __init__(self, array):
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.rows_read = 0

    def __getitem__(self, rows):
        found = self.array[rows]
        self.rows_read += len(found)
        return found

    def passes(self):
        """Passes over all rows since the last time this was asked."""
        passes, self.rows_read = self.rows_read / len(self.array), 0
        return passes


class PeakMemory(threading.Thread):
    """The largest anonymous memory of this process while the context is open, in bytes."""

    def __enter__(self):
        self.daemon, self.peak, self.open = True, 0, True
        self.start()
        return self

    def __exit__(self, *error):
        self.open = False
        self.join()

    def run(self):
        while self.open:
            self.peak = max(self.peak, _anonymous_memory())
            time.sleep(0.01)


def _anonymous_memory():
    with open("/proc/self/status") as lines:
        fields = dict(line.split(":", 1) for line in lines)
    return 1024 * int(fields["RssAnon"].split()[0])


def write(folder, n, d, seed=0):
    """Rows of two overlapping classes, written a block at a time."""
    rng = np.random.default_rng(seed)
    coef = rng.standard_normal(d) / np.sqrt(d)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float64, (n, d))
    y = np.empty(n, dtype=np.int8)
    for start in range(0, n, WRITTEN):
        block = rng.standard_normal((min(WRITTEN, n - start), d))
        X[start : start + len(block)] = block
        score = block @ coef + rng.logistic(size=len(block))
        y[start : start + len(block)] = score > 0.5
    X.flush()
    np.save(folder / "y.npy", y)


def measure(folder, compare):
    """Fit, then ask for all leave-one-out losses; what it took."""
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    from skinfluence import Influence
    from skinfluence.distributed import fit
    from skinfluence.leave_one_out import loo_loss

    X = Counted(np.load(folder / "X.npy", mmap_mode="r"))
    y = np.load(folder / "y.npy")
    found = {"n": len(y), "GB": X.array.nbytes / 1e9}
    with PeakMemory() as memory:
        start = time.process_time(), time.perf_counter()
        model = fit(LogisticRegression(C=1.0), X, y)
        found["fit_cpu"], found["fit_wall"] = _since(start)
        found["fit_passes"] = X.passes()
        start = time.process_time(), time.perf_counter()
        losses = loo_loss(Influence(model, X, y), method="one-step")
        found["loo_cpu"], found["loo_wall"] = _since(start)
        found["loo_passes"] = X.passes()
    found["peak_GiB"] = memory.peak / 2**30
    found["mean_loss"] = float(losses.mean())
    if compare:
        inside = loo_loss(Influence(model, np.array(X.array), y), method="one-step")
        found["difference"] = float(np.abs(inside - losses).max())
    return found


def _since(start):
    return time.process_time() - start[0], time.perf_counter() - start[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--columns", type=int, default=50)
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    print(f"{'rows':>12} {'GB':>6} {'fit s':>7} {'passes':>7} {'LOO s':>7} {'passes':>7} "
          f"{'us/row':>7} {'GiB':>6}   largest difference from rows in memory")  # fmt: skip
    for n in options.rows:
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), n, options.columns)
            with spawn.Pool(1) as pool:
                r = pool.apply(measure, (Path(name), n <= COMPARED))
        print(
            f"{r['n']:12,} {r['GB']:6.2f} {r['fit_cpu']:7.1f} {r['fit_passes']:7.1f} "
            f"{r['loo_cpu']:7.1f} {r['loo_passes']:7.2f} {1e6 * r['loo_cpu'] / r['n']:7.2f} "
            f"{r['peak_GiB']:6.2f}   {r.get('difference', '')}",
            flush=True,
        )


if __name__ == "__main__":
    main()
