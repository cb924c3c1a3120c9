"""Run random trials and say how they ended.

python -m benchmarks.trials --n 10000 --seed 0 --jobs 2      # a table; failures in trials.json
python -m benchmarks.trials --n 100 --trait "heavy weights"  # of one kind
python -m benchmarks.trials --only 1234                      # one trial, with what it asked
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from itertools import count, islice

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def one(seed):
    """A trial as plain data."""
    import warnings

    from tests.trials.running import run

    begin = time.time()
    with warnings.catch_warnings():
        # The fits' and the harness's own; what questions say is recorded inside.
        warnings.simplefilter("ignore")
        outcomes, trial = run(seed)
    return {
        "seed": seed,
        "family": trial.family,
        "ours": trial.ours,
        "seconds": round(time.time() - begin, 2),
        "about": about(trial),
        "outcomes": [
            {"kind": o.kind, "detail": o.detail, "question": o.question, "failed": o.failed}
            for o in outcomes
        ],
    }


def about(trial):
    n, d = trial.X.shape
    options = ", ".join(f"{k}={v}" for k, v in trial.options.items())
    params = ", ".join(f"{k}={v}" for k, v in {**trial.params, **trial.fitting}.items())
    return (
        f"{'our ' if trial.ours else ''}{trial.family}({params}) n={n} d={d} [{options}] "
        f"{'; '.join(trial.traits)}; {trial.container}; transform {trial.transform}"
    )


def table(found):
    """Questions by outcome and family."""
    counts = defaultdict(Counter)
    for trial in found:
        for outcome in trial["outcomes"]:
            counts[outcome["kind"]][trial["family"]] += 1
    lines = []
    for kind in sorted(counts, key=_order):
        row = counts[kind]
        parts = ", ".join(f"{name} {row[name]}" for name in sorted(row))
        lines.append(f"{sum(row.values()):7d}  {kind:30s} {parts}")
    return "\n".join(lines)


def _order(kind):
    from tests.trials.running import FAILURES, FINE

    return (FINE + FAILURES).index(kind)


def _run(seeds, jobs):
    """Trials as plain data, in the order in which they end."""
    with multiprocessing.Pool(jobs, initializer=_leave_interrupts) as pool:
        yield from pool.imap_unordered(one, seeds, chunksize=4)


def _leave_interrupts():
    """To the process that asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _say(found, seconds):
    """The last trial where it failed, at once: a long run may be stopped; now and then how many there are."""
    kinds = sorted({o["kind"] for o in found[-1]["outcomes"] if o["failed"]})
    if kinds:
        print(f"seed {found[-1]['seed']}: {', '.join(kinds)}", file=sys.stderr, flush=True)
    if len(found) % 500 == 0:
        failed = sum(any(o["failed"] for o in t["outcomes"]) for t in found)
        print(f"{len(found)} trials, {failed} failed, {seconds:.0f} s", file=sys.stderr)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials", description=__doc__)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--trait", help="only trials with these words, such as 'heavy weights'")
    parser.add_argument("--only", type=int, help="one seed, in full")
    parser.add_argument("--out", default="trials.json", help="where failures are written")
    given = parser.parse_args(argv)
    if given.only is not None:
        trial = one(given.only)
        print(trial["about"])
        for outcome in trial["outcomes"]:
            print(f"  {outcome['kind']}: {outcome['question']}\n      {outcome['detail']}")
        return int(any(outcome["failed"] for outcome in trial["outcomes"]))
    seeds = count(given.seed)
    if given.trait:
        from tests.trials.drawing import draw

        seeds = (seed for seed in seeds if given.trait in about(draw(seed)))
    seeds = list(islice(seeds, given.n))
    begin, found = time.time(), []
    try:
        for trial in _run(seeds, given.jobs):
            found.append(trial)
            _say(found, time.time() - begin)
    except KeyboardInterrupt:
        # What there is, is said.
        print(f"stopped after {len(found)} of {len(seeds)} trials", file=sys.stderr)
    questions = sum(len(t["outcomes"]) for t in found)
    seconds = time.time() - begin
    print(f"{len(found)} trials from seed {given.seed}, {questions} answers, {seconds:.0f} s")
    print(table(found))
    failures = []
    for trial in sorted(found, key=lambda t: t["seed"]):
        failed = [o for o in trial["outcomes"] if o["failed"]]
        if failed:
            again = f"python -m benchmarks.trials --only {trial['seed']}"
            failures.append({**trial, "outcomes": failed, "again": again})
    with open(given.out, "w", encoding="utf-8") as file:
        json.dump(failures, file, indent=1)
    print(f"{len(failures)} trials with a failure: {given.out}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
