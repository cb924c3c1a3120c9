"""What the bound of a squared hinge costs: `effect` with it and without, in one process.

    python -m benchmarks.bound_price [--rows 300] [--columns 10] [--rounds 9]

Questions of one edit about 20 test rows; medians over rounds, interleaved, of CPU seconds.
"""

import argparse
import time
from unittest import mock

import numpy as np
from sklearn.svm import LinearSVC

from skinfluence import Influence, edits
from skinfluence.smooth.optimum.piecewise_bound import PiecewiseBound

EDITS = {
    "remove a row": lambda X, y, i: edits.remove(i),
    "remove five": lambda X, y, i: edits.remove(list(range(i, i + 5))),
    "relabel": lambda X, y, i: edits.relabel(i, 1 - y[i]),
    "reweight": lambda X, y, i: edits.reweight(i, 3.0),
    "add a row": lambda X, y, i: edits.add(X[i] + 0.1, y[i]),
}


def seconds(inf, asked, X):
    """CPU seconds of a question."""
    start = time.process_time()
    for edit in asked:
        inf.effect(edit, X[:20], of="decision_function")
    return (time.process_time() - start) / len(asked)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    X = rng.standard_normal((args.rows, args.columns))
    y = (X[:, 0] + rng.standard_normal(args.rows) > 0).astype(int)
    inf = Influence(LinearSVC(tol=1e-8).fit(X, y), X, y)
    without = mock.patch.object(PiecewiseBound, "edited", lambda *_: np.inf)
    for name, edit in EDITS.items():
        asked = [edit(X, y, int(i)) for i in np.linspace(0, args.rows - 6, 60)]
        seconds(inf, asked, X)
        taken = []
        for _ in range(args.rounds):
            with without:
                plain = seconds(inf, asked, X)
            taken.append((plain, seconds(inf, asked, X)))
        plain, bounded = np.median(taken, axis=0)
        ratio = np.median([b / a for a, b in taken])
        print(f"{name:14s}{1e6 * plain:8.0f} us{1e6 * bounded:8.0f} us with the bound{ratio:7.2f}")


if __name__ == "__main__":
    main()
