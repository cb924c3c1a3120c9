"""Huber regressions of few rows, some without an optimum: every answer against optima proved in long double.

    python -m benchmarks.huber_scale [--trials 600] [--seed 0]

8 to 60 rows, 1 to 12 columns, epsilon 1 to 3, alpha 0 to 10, weights, equal rows and columns; four edits of
every kind, three removals and own predictions of each. A table of how they ended by what there is before
and after: an optimum that is *regular*, one at a kink or with few digits (*irregular*), *no optimum* with a
scale above zero. The exit status says whether anything was wrong.
"""

import argparse
import sys
from collections import Counter

from tests.trials.huber import HuberTrial, judge


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    counts, wrong = Counter(), 0
    for seed in range(args.seed, args.seed + args.trials):
        found, faults = judge(HuberTrial(seed))
        counts.update(found)
        wrong += len(faults)
        for fault in faults:
            print(f"seed {seed}: {fault}", flush=True)
    print("| asked | before | after | ended | |\n| --- | --- | --- | --- | --- |")
    for key, count in sorted(counts.items()):
        print(f"| {' | '.join(key)} | {count} |")
    print(f"{args.trials} trials, {sum(counts.values())} answers and refusals, {wrong} wrong.")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
