"""One cell in a process of its own: ``python -m benchmarks.peers.cell FOLDER WORK CONTESTANT``.

Prints lines of JSON: ``floor``, ``first`` (with the agreement), ``warm``, ``memory``. The parent ends
it when it takes too long, and what was printed by then stands.
"""

import ctypes
import json
import pickle
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import psutil
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits

from benchmarks.peers.registry import CONTESTANTS, load, package_of
from benchmarks.peers.works import WORKS

# Largest relative L2 error of what calls itself exact.
AGREES = 1e-4
REPEATS, WARM_SECONDS = 5, 20.0
MEMORY = 12 * 2**30


def save(problem, path):
    """What a maker returned; read back only by the process of the same run."""
    path.write_bytes(pickle.dumps(problem, protocol=5))


def say(stage, **what):
    print(json.dumps({"stage": stage, **what}), flush=True)


def _status(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    return 0


def measured(call):
    """The result, and CPU and wall seconds."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    result = call()
    return result, {"cpu": cpu_seconds() - cpu, "wall": time.perf_counter() - wall}


def cpu_seconds():
    """Of this process and of those that it started (bbai computes in one)."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(one.user + one.system for one in times)


def extra_memory(call):
    """The most memory above what was held before, in bytes; None where Linux does not tell."""
    try:
        # What was freed but kept would hide what is taken again.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return None
    before = _status("VmRSS")
    call()
    return max(0, _status("VmHWM") - before)


def gemm_rate():
    """Flops per CPU second of a 1,000 x 1,000 product, the best of three."""
    A = np.random.default_rng(0).standard_normal((1000, 1000))
    times = []
    for _ in range(3):
        start = time.process_time()
        A @ A
        times.append(time.process_time() - start)
    return 2e9 / min(times)


def write_rate():
    """Bytes per CPU second of filling a new array of 100 MB, the best of three."""
    times = []
    for _ in range(3):
        start = time.process_time()
        np.full(12_500_000, 1.0)
        times.append(time.process_time() - start)
    return 1e8 / min(times)


def agreement(found, problem):
    """Relative L2 error, Pearson and Spearman, of changes from ``base`` where there is one."""
    truth = problem.truth
    if hasattr(problem, "rows"):
        base = problem.base[problem.rows]
        found, truth = found[problem.rows] - base, truth - base
    if found.shape != truth.shape:
        raise ValueError(f"Answers have shape {found.shape}, the truth {truth.shape}.")
    found, truth = np.asarray(found, float).ravel(), truth.ravel()
    error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    if len(truth) > 1_000_000:
        found, truth = found[::17], truth[::17]
    return {
        "error": float(error),
        "pearson": float(np.corrcoef(found, truth)[0, 1]),
        "spearman": float(spearmanr(found, truth)[0]),
    }


def run(problem, one, repeats_wanted):
    answering = one.make(problem)
    work = WORKS[one.work]
    sizes = {"flops": work.flops, "bytes": work.bytes}
    say("floor", **{name: count(problem) for name, count in sizes.items() if count})
    answer, first = measured(answering.call)
    found = answer if answering.read is None else answering.read(answer)
    agreed = None
    if found is not None:
        found = np.asarray(found) * one.scale(problem)
        agreed = agreement(found, problem)
        wrong = one.exact and not agreed["error"] <= AGREES
        if wrong:
            say("disagrees", agreement=agreed)
            return
    flops = None if answering.flops is None else answering.flops(answer)
    products = None if work.products is None else work.products(problem)
    rates = {"gemm": gemm_rate(), "write": write_rate()}
    say("first", agreement=agreed, share=answering.share, flops=flops, rates=rates, **first)
    del answer, found
    repeats, bare, spent = [], [], 0.0
    while len(repeats) < repeats_wanted and (spent < WARM_SECONDS or not repeats):
        _, seconds = measured(answering.call)
        repeats.append(seconds)
        spent += seconds["wall"]
        rates = {
            "gemm": max(rates["gemm"], gemm_rate()),
            "write": max(rates["write"], write_rate()),
        }
        if products is not None:
            bare.append(measured(products)[1]["cpu"])
        # After each, so that a time limit leaves what there is.
        best = {key: min(one[key] for one in repeats) for key in ("cpu", "wall")}
        best["products"] = min(bare, default=None)
        say("warm", repeats=len(repeats), rates=rates, **best)
    say("memory", extra=extra_memory(answering.call))


def main(folder, work, name):
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    quick, data = json.loads((Path(folder) / "options.json").read_text())
    if name == "make":
        with threadpool_limits(1):
            save(WORKS[work].make(quick, data), Path(folder) / f"{work}.pickle")
        return
    why = load(package_of(name))
    if why is not None:
        say("absent", why=why)
        return
    problem = pickle.loads((Path(folder) / f"{work}.pickle").read_bytes())
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    with threadpool_limits(1):
        try:
            run(problem, CONTESTANTS[work, name], 1 if quick else REPEATS)
        except Exception as error:
            first_line = (str(error).strip() or repr(error)).splitlines()[0]
            say("failed", why=f"{type(error).__name__}: {first_line}"[:200])
            raise


if __name__ == "__main__":
    main(*sys.argv[1:])
