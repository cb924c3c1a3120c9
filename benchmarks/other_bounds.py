"""Bounds of losses without self-concordance, against optima in long double, on random problems.

    python -m benchmarks.other_bounds [--trials 400] [--seed 0]

Squared hinges, squared tubes and Huber regressions, alone and behind a scaler that is fitted again. Each
trial asks for one edit: its effect and the model after it, at all rows, and compares their errors with
``bound`` and ``error_at``. *finite*: share with a bound; *error/bound* must not exceed 1, which the exit
status says.
"""

import argparse
import sys
from collections import defaultdict

import numpy as np

from skinfluence.solvers import SingularHessianError
from tests.oracle.algebra import NotPositiveDefiniteError
from tests.trials.bounds import Trial, compare


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found, left_out = defaultdict(list), defaultdict(int)
    for seed in range(args.seed, args.seed + args.trials):
        trial = Trial(seed)
        where = "behind a scaler" if trial.piped else "alone"
        try:
            both = compare(trial)
        except (NotPositiveDefiniteError, SingularHessianError, AssertionError) as error:
            left_out[f"{trial.kind} {where}: {type(error).__name__}: {str(error)[:90]}"] += 1
            continue
        for name, one in zip(("effect", "edited"), both, strict=True):
            found[trial.kind, where, name].append(one)
            if one.ratio > 1:
                print(f"seed {seed}: {trial.kind} {where}, {name}: error/bound {one.ratio:.3g}")
    print("| | asked | finite | violated | worst error/bound | median bound/change |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (kind, where, name), ones in sorted(found.items()):
        finite = np.array([np.isfinite(one.bound) for one in ones])
        ratio = np.array([one.ratio for one in ones])
        share = np.median([one.share for one in ones])
        print(
            f"| {kind} {where}, {name} | {len(ones)} | {finite.mean():.3f} | {np.count_nonzero(ratio > 1)} "
            f"| {ratio.max():.3f} | {share:.1e} |"
        )
    for reason, count in sorted(left_out.items()):
        print(f"Left out, {count}: {reason}")
    return any(one.ratio > 1 for ones in found.values() for one in ones)


if __name__ == "__main__":
    sys.exit(main())
