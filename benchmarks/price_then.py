"""Leave-one-out of whole pipelines, beside what an older version took with the transformers held.

    git worktree add --detach /tmp/then e501e02      # the last one that held them always
    python benchmarks/price_then.py /tmp/then        # random tables, breast cancer, heavy tails
    python benchmarks/price_then.py /tmp/then --data DIR   # a9a and Adult too, see benchmarks/data.py

Both versions answer about the same fits, one thread, ``"auto"`` to 1e-3: CPU seconds of their own
processes, which take turns; the least of ``--turns`` times ``--repeats``. The share of a factorisation
is part of every answer, loading and compiling are not.
"""

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path


def ask(path, repeats):
    """In a version's own process: the least seconds of leave-one-out of all rows, whole or held."""
    from skinfluence import Influence

    with open(path, "rb") as file:
        model, X, y = pickle.load(file)
    warnings.simplefilter("ignore")
    Influence(model, X, y).loo_decision_function()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        Influence(model, X, y).loo_decision_function()
        spent.append(time.process_time() - start)
    print(min(spent))


def tables(data):
    """Pipelines fitted on tables, by name: those of price.py and of pipeline_routes.py."""
    import price

    read = dict(price.WORKS)
    if data:
        import_of, C = price.READ["a9a dense"]
        read["a9a dense"] = lambda: import_of(data), C
    for name in (
        "breast cancer C=1",
        "digits 3 v 8",
        "heavy tails 4,601 x 57",
        "random 10,000 x 100",
        "random 20,000 x 50",
        "a9a dense",
    ):
        if name in read:
            make, C = read[name]
            yield f"scaler, {name}", lambda make=make, C=C: _scaled(price, *make(), C)
    if data:
        import pipeline_routes

        given = argparse.Namespace(data=data)
        for name in ("scaler", "categories", "holes, categories", "rare together"):
            make = pipeline_routes.SETS[name]
            yield f"{name}, Adult 10,000", lambda make=make: _fitted(*make(given, 10_000))


def _scaled(price, X, y, C):
    return price.scaled(X, y, C), X, y


def _fitted(X, y, model):
    return model.fit(X, y), X, y


def seconds(checkout, path, repeats):
    """CPU seconds of a version that is checked out in a folder."""
    own = os.environ | {"PYTHONPATH": str(checkout), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--ask", str(path)]
    command += ["--repeats", str(repeats)]
    found = subprocess.run(
        command, env=own, cwd=checkout, check=True, capture_output=True, text=True
    )
    return float(found.stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("then", nargs="?", help="folder of the older version")
    parser.add_argument("--data", help="folder of data sets; see benchmarks/data.py")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of names")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask:
        return ask(given.ask, given.repeats)
    if given.then is None:
        parser.error("say where the older version is checked out")
    now = Path(__file__).resolve().parents[1]
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit"
        for name, make in tables(given.data):
            if not any(part in name for part in given.only):
                continue
            path.write_bytes(pickle.dumps(make()))
            spent = [
                [seconds(version, path, given.repeats) for version in (Path(given.then), now)]
                for _ in range(given.turns)
            ]
            held, whole = (min(one) for one in zip(*spent, strict=True))
            print(
                f"{name:32s} held then {held:7.3f} s   whole now {whole:7.3f} s   {whole / held:.2f} times",
                flush=True,
            )
    return None


if __name__ == "__main__":
    sys.exit(main())
