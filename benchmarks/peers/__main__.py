"""Every work by every contestant, one fresh process each, and one table.

    python -m benchmarks.peers --data DIR [--quick] [--works ...] [--contestants ...]

In the environment of benchmarks/peers/requirements.txt (doc/peers.md). One thread everywhere.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from benchmarks.data import add_data_option
from benchmarks.peers import picture, report
from benchmarks.peers.registry import ADAPTERS, CONTESTANTS, load, package_of
from benchmarks.peers.works import WORKS

ROOT = Path(__file__).resolve().parents[2]
# Every adapter and every kind of question once.
QUICK = ("binary", "softmax", "self-binary", "pert", "mnist10k-1", "loo-ridge", "loo-plain", "cnn")
THREADS = ("OPENBLAS", "OMP", "MKL", "NUMBA", "NUMEXPR", "VECLIB_MAXIMUM")
# Seconds for imports and data, which the limit of a cell leaves out, and for making a problem.
LOADING = 900.0
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in THREADS}


def spawned(folder, work, name, limit):
    """What one cell said, and whether it ran into the time limit."""
    command = [sys.executable, "-m", "benchmarks.peers.cell", str(folder), work, name]
    out = folder / "said.jsonl"
    with out.open("w") as said, (folder / "errors.txt").open("a") as errors:
        process = subprocess.Popen(
            command,
            stdout=said,
            stderr=errors,
            cwd=ROOT,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,
        )
        late = not _ended(process, out, limit)
    stages = {}
    for line in out.read_text().splitlines():
        # Packages may print too.
        if line.startswith('{"stage"'):
            one = json.loads(line)
            stages[one.pop("stage")] = one
    return {"work": work, "name": name, "late": late, "code": process.returncode, **stages}


def _ended(process, out, limit):
    """Wait until a process ends, or end it ``limit`` seconds after it was ready to answer."""
    deadline = time.monotonic() + LOADING
    ready = False
    while time.monotonic() < deadline:
        try:
            process.wait(0.2)
            return True
        except subprocess.TimeoutExpired:
            if not ready and '{"stage": "floor"' in out.read_text():
                ready, deadline = True, time.monotonic() + limit
    # With what it started itself.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=None, metavar="WORK")
    parser.add_argument("--contestants", nargs="+", choices=ADAPTERS, default=list(ADAPTERS))
    parser.add_argument("--quick", action="store_true", help="a few works, small: does it run?")
    parser.add_argument("--limit", type=float, default=120.0, help="wall seconds of a cell's calls")
    parser.add_argument("--cache", help="keep problems and their fits in this folder")
    parser.add_argument("--out", default="peers", help="writes OUT.md, OUT.json and OUT.png")
    parser.add_argument("--note", default="", help="for the head of the table: what else ran")
    parser.add_argument("--list", action="store_true", help="only show works and contestants")
    args = parser.parse_args()
    args.works = args.works or (QUICK if args.quick else list(WORKS))

    absent = {name: why for name in ADAPTERS if (why := load(name)) is not None}
    cells = [
        (work, name)
        for work in args.works
        for adapter in ADAPTERS
        for other, name in CONTESTANTS
        if other == work and package_of(name) == adapter and adapter in args.contestants
    ]
    if args.list:
        sys.exit("\n".join(f"{work:14}{name}" for work, name in cells))
    limit = min(args.limit, 20.0) if args.quick else args.limit
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.cache or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "options.json").write_text(json.dumps([args.quick, args.data]))
        results = []
        for work in args.works:
            if not any(other == work for other, _ in cells):
                continue
            path = folder / f"{work}.pickle"
            if not path.exists():
                made = spawned(folder, work, "make", LOADING)
                if not path.exists():
                    results.append({"work": work, "name": "(data)", **made})
                    last = (folder / "errors.txt").read_text().strip().splitlines()
                    print(f"{work}: not made: {last[-1] if last else '?'}", flush=True)
                    continue
            for name in [name for other, name in cells if other == work]:
                result = spawned(folder, work, name, limit)
                results.append(result)
                print(report.line(result, limit), flush=True)
            if not args.cache:
                path.unlink()
            # After each work: what is there stands if the rest is cut short.
            text = report.table(results, absent, args.quick, limit, args.note)
            Path(f"{args.out}.md").write_text(text)
            Path(f"{args.out}.json").write_text(json.dumps(results, indent=1) + "\n")
        if find_spec("matplotlib"):
            picture.draw(results, f"{args.out}.png")
        print("\n" + text)


if __name__ == "__main__":
    main()
