"""Random edits of random pipelines against refits in plain arrays: how many bounds are violated.

python -m benchmarks.pipeline_edits --n 5000 --seed 0
"""

import argparse
import os
from collections import Counter

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    from tests.statistics.edit_trials import judge

    count = Counter()
    for seed in range(arguments.seed, arguments.seed + arguments.n):
        try:
            wrong = judge(seed)
        except Exception as error:
            wrong = [f"{type(error).__name__}: {error}"]
        count["no model" if wrong is None else "wrong" if wrong else "right"] += 1
        for line in wrong or ():
            print(f"seed {seed}: {line}", flush=True)
    print(dict(count))


if __name__ == "__main__":
    main()
