"""Look for a violated certificate: random edits of random small problems against tight refits.

    python -m benchmarks.certificates --trials 20000

The trials are those of ``tests/fuzzing.py``. Exits with 1 if a certificate is violated, or a
wrong bound is not in as many trials as show it: 700 to 16,000, by the bound.
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from tests.fuzzing import (
    FORMULAS,
    KINDS,
    LOSSES,
    SOLVERS,
    STAGES,
    TOLERANCES,
    VIOLATED,
    WRONG,
    failures,
    run,
)


def lines_of(groups):
    yield "| | edits | finite | violated | worst actual/bound | median bound/actual |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, group in groups:
        finite = [t for t in group if np.isfinite(t.bound)]
        resolved = [t for t in finite if t.error > 10 * t.noise and t.bound > 0]
        worst = max((t.ratio for t in resolved), default=0.0)
        loose = np.median([t.bound / t.error for t in resolved]) if resolved else np.nan
        bad = sum(t.violated for t in finite)
        share = len(finite) / max(len(group), 1)
        yield f"| {name} | {len(group)} | {share:.3f} | {bad} | {worst:.3f} | {loose:.2g} |"


def grouped(trials, key, order):
    table = defaultdict(list)
    for trial in trials:
        table[key(trial)].append(trial)
    return [(name, table[name]) for name in order if table[name]]


def report(trials):
    """The tables as markdown."""
    yield from lines_of([*grouped(trials, lambda t: t.problem.name, LOSSES), ("all", trials)])
    for key, order in (
        (lambda t: t.stage, STAGES),
        (lambda t: t.change.kind, KINDS),
        (lambda t: t.problem.form, SOLVERS),
        (lambda t: t.problem.objective.hold, ("C", "lambda")),
        (lambda t: t.tol, TOLERANCES),
    ):
        yield ""
        yield from lines_of(grouped(trials, key, order))
    yield ""
    yield "| worst actual/bound | " + " | ".join(FORMULAS + WRONG) + " |"
    yield "| --- " * (1 + len(FORMULAS + WRONG)) + "|"
    groups = [*grouped(trials, lambda t: t.problem.name, LOSSES), ("all", trials)]
    for loss, group in groups:
        yield f"| {loss} | " + " | ".join(worst_of(group, name) for name in FORMULAS + WRONG) + " |"
    counts = [ratios_of(trials, name) for name in FORMULAS + WRONG]
    yield "| checked | " + " | ".join(str(len(c)) for c in counts) + " |"
    yield "| violated | " + " | ".join(str((c > VIOLATED).sum()) for c in counts) + " |"


def ratios_of(trials, name):
    both = [{**t.formulas, **t.wrong} for t in trials]
    return np.array([one[name] for one in both if name in one])


def worst_of(trials, name):
    ratios = ratios_of(trials, name)
    if not len(ratios):
        return ""
    worst = f"{ratios.max():.3g}"
    return f"**{worst}**" if ratios.max() > VIOLATED else worst


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args(argv)
    began = time.perf_counter()

    def progress(done):
        if sys.stderr.isatty() or done % 2000 < 16:
            print(f"\r{done} / {arguments.trials}", end="", file=sys.stderr, flush=True)

    trials, refused = run(arguments.trials, arguments.seed, progress=progress)
    print(f" in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    vague = sum(np.isfinite(t.bound) and not t.noise < 0.1 * t.bound for t in trials)
    text = "\n".join(
        [
            *report(trials),
            "",
            f"Refused as singular: {refused} batches and edits. Truth itself known no better than "
            f"to a tenth of the bound: {vague} edits.",
        ]
    )
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    found = failures(trials)
    print(*found, sep="\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
