"""Random edits of random pipelines against refits of the whole pipeline, and how they ended.

python -m benchmarks.pipeline_trials --n 5000 --seed 0     # a table; failures in full
python -m benchmarks.pipeline_trials --only 1234           # one trial
"""

import argparse
import os
import sys
import time
import warnings
from collections import Counter, defaultdict

import numpy as np

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def one(seed):
    """The trial of a seed and its outcomes."""
    from tests.pipeline_trials.judging import run

    with warnings.catch_warnings():
        # The fits' own; what questions say is recorded inside.
        warnings.simplefilter("ignore")
        return run(seed)


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline_trials", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--only", type=int, help="one seed, in full")
    given = parser.parse_args(argv)
    if given.only is not None:
        outcomes, trial = one(given.only)
        print(trial.about)
        for outcome in outcomes:
            print(f"  {outcome.kind} ({outcome.route}): {outcome.detail}")
        return int(any(outcome.failed for outcome in outcomes))
    start, counts, errors, failed = time.process_time(), Counter(), defaultdict(list), []
    families = defaultdict(Counter)
    for seed in range(given.seed, given.seed + given.n):
        try:
            outcomes, trial = one(seed)
        except Exception as error:
            failed.append(seed)
            print(f"seed {seed}: the trial itself: {type(error).__name__}: {error}", flush=True)
            continue
        for outcome in outcomes:
            counts[outcome.kind] += 1
            families[outcome.kind][trial.family] += 1
            if np.isfinite(outcome.error):
                errors[trial.method, outcome.route or trial.question].append(outcome.error)
            if outcome.failed:
                failed.append(seed)
                print(
                    f"seed {seed}: {outcome.kind}: {trial.about}\n    {outcome.detail}", flush=True
                )
        if (seed + 1 - given.seed) % 250 == 0:
            print(f"{seed + 1 - given.seed} trials, {len(set(failed))} failed", file=sys.stderr)
    seconds = time.process_time() - start
    print(f"{given.n} trials from seed {given.seed}, {seconds:.0f} CPU seconds")
    for kind, n in counts.most_common():
        parts = ", ".join(f"{name} {families[kind][name]}" for name in sorted(families[kind]))
        print(f"{n:6d}  {kind:28s} {parts}")
    print("relative L2 of the change: median, 99 %, largest")
    for (method, route), found in sorted(errors.items()):
        some = np.quantile(found, [0.5, 0.99, 1.0])
        print(f"  {method:10s} {route:24s} {len(found):5d}  " + "  ".join(f"{v:.0e}" for v in some))
    print(f"{len(set(failed))} trials failed: {sorted(set(failed))}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
