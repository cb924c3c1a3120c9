"""Every experiment of the paper, and of later ones, and one table of what was published and what is.

    python -m benchmarks.paper --data DIR [--quick] [--only fig1 children ...] [--table]

Each runs in a process of its own and leaves a JSON and a picture in ``--out``; RESULTS.md is made of
all that are there. ``--table`` makes the table only.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.data import add_data_option

HERE = Path(__file__).parent
# Of the paper, in its order; then later systems, by year.
EXPERIMENTS = (
    "fig1", "fig2", "fig3", "children", "fig6", "appendix_b", "smaller",
    "kernel_cv", "svm_poison", "label_flips", "sketching", "artifacts", "groups", "parameters",
    "feedback",
)  # fmt: skip
BY_HAND = """\
Not run by this command, because each takes its own networks or hours; their numbers stand in the guide:

| figure | script | numbers |
|---|---|---|
| 2, right: a CNN | `python benchmarks/paper/fig2_cnn.py` | guide, *Networks* |
| 4: an RBF machine and a network's features | `python benchmarks/paper/fig4.py --data DIR` | printed |
| 5: training-set attack | `python benchmarks/paper/fig5.py --data DIR` | guide, *Attacks* |
"""
MARKS = {True: "yes", False: "**no**", None: ""}


def cell(text):
    return str(text).replace("|", "\\|")


def table(found):
    """RESULTS.md of the JSONs of experiments, in their order."""
    lines = [
        "# The paper, reproduced",
        "",
        "Koh and Liang (2017), and systems that came after it; made by",
        "`python -m benchmarks.paper --data DIR`. *As there* is ours at the settings of the paper, *today*",
        "what certified edits say; the last column, whether ours says what was published.",
        "",
        "<!-- results -->",
        "",
    ]
    for one in found:
        settings = ", ".join(f"{name} {value}" for name, value in one["settings"].items())
        quick = " (`--quick`)" if one["quick"] else ""
        lines += [
            f"## {one['title']}",
            "",
            f"`{one['script']}`{quick}: {settings}; {one['cpu_seconds']:.0f} CPU seconds.",
            "",
            "| what | published | as there | today | agrees |",
            "|---|---|---|---|---|",
        ]
        for claim in one["claims"]:
            cells = [cell(claim[name]) for name in ("what", "published", "paper", "today")]
            lines.append(f"| {' | '.join([*cells, MARKS[claim['holds']]])} |")
        lines.append("")
    return "\n".join([*lines, "## Longer ones", "", BY_HAND])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_data_option(parser)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=EXPERIMENTS)
    parser.add_argument("--table", action="store_true", help="make RESULTS.md of what is there")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR")
    args = parser.parse_args()
    failed = []
    for name in () if args.table else args.only:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-u", str(HERE / f"{name}.py"), "--out", str(args.out)]
        command += ["--data", args.data] if args.data else []
        command += ["--quick"] if args.quick else []
        # One that lacks its data says so, and the others go on.
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    paths = [args.out / f"{name}.json" for name in EXPERIMENTS]
    found = [json.loads(path.read_text()) for path in paths if path.exists()]
    (HERE / "RESULTS.md").write_text(table(found))
    print(
        f"{HERE / 'RESULTS.md'}: {len(found)} experiments; not run: {', '.join(failed) or 'none'}"
    )


if __name__ == "__main__":
    main()
