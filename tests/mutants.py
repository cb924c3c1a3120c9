"""Mistakes made by hand (mutants.toml), each in a copy of the checkout, and the tests that notice.

python -m tests.mutants                 # all of them: killed or survived
python -m tests.mutants --only losses   # those of files or names with this word
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).with_suffix(".toml")


def mutants():
    return tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]


def outcome(copy, mutant, timeout):
    """``"killed"`` by tests that fail, ``"survived"``, ``"moved"`` where the code is another, or what went wrong."""
    path = copy / mutant["file"]
    whole = path.read_text(encoding="utf-8") if path.exists() else ""
    if whole.count(mutant["old"]) != 1:
        return "moved"
    path.write_text(whole.replace(mutant["old"], mutant["new"]), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(copy), "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [*command, *mutant["tests"]],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "killed"
    finally:
        path.write_text(whole, encoding="utf-8")
    if done.returncode == 1:
        return "killed"
    return "survived" if done.returncode == 0 else f"not run:\n{done.stdout[-2000:]}"


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="a word in the name or the file")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for each")
    given = parser.parse_args(argv)
    chosen = [one for one in mutants() if given.only in one["name"] + one["file"]]
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        copy.mkdir()
        for part in ("skinfluence", "tests", "doc"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("setup.cfg", "pyproject.toml", "README.md", "CONTRIBUTING.md"):
            shutil.copy(ROOT / part, copy)
        for one in chosen:
            begin = time.time()
            found = outcome(copy, one, given.timeout)
            print(f"{found:8s} {time.time() - begin:5.0f} s  {one['name']}", flush=True)
            if found != "killed":
                survivors.append(one["name"])
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} killed")
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main())
