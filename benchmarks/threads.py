"""Do threads ever hurt? The hot paths with one and two threads, alone and beside a busy core.

    python benchmarks/threads.py [names] [--threads 2] [--repeats 5]

Medians of wall time in fresh processes, with nothing else running. Two BLAS threads beside another
process wait for each other at every small product; how often that happens is what this table shows.
The last column, two threads beside a busy core over one thread alone, should stay near 1.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings

from hot_paths import PATHS

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
BUSY = "import numpy as np; A = np.ones((600, 600))\nwhile True: A @ A"


def seconds(name, repeats):
    """Wall seconds of one hot path in this process."""
    warnings.simplefilter("ignore")
    call = PATHS[name]()
    call()
    out = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        out.append(time.perf_counter() - start)
    return out


def measured(name, repeats, threads):
    """Median wall seconds in a process with so many threads."""
    environment = {**os.environ, **dict.fromkeys(VARIABLES, str(threads))}
    command = [sys.executable, __file__, name, "--repeats", str(repeats), "--here"]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return statistics.median(json.loads(out.stdout))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(seconds(args.names[0], args.repeats)))
        return
    busy_threads = {**os.environ, **dict.fromkeys(VARIABLES, "1")}
    print(f"{'path':20}{'one, alone':>12}{'more, alone':>13}{'one, busy':>11}{'more, busy':>12}")
    for name in args.names or PATHS:
        alone = [measured(name, args.repeats, n) for n in (1, args.threads)]
        load = subprocess.Popen([sys.executable, "-c", BUSY], env=busy_threads)
        try:
            busy = [measured(name, args.repeats, n) for n in (1, args.threads)]
        finally:
            load.kill()
            load.wait()
        ratios = [value / alone[0] for value in (*alone, *busy)]
        print(
            f"{name:20}{alone[0]:10.3f} s{ratios[1]:12.2f}x{ratios[2]:10.2f}x{ratios[3]:11.2f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()
