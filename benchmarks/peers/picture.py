"""The picture of a run: CPU time of every contestant over that of ours, work by work.

python -m benchmarks.peers.picture peers.json peers.png
"""

import json
import sys
from pathlib import Path

from benchmarks.peers.report import best_of_ours, is_exact, is_ours, warm
from benchmarks.peers.works import WORKS


def rows_of(results):
    """Title, name, ratio and whether it is exact, of each contestant that answered."""
    rows = []
    for work in WORKS:
        mine = [one for one in results if one["work"] == work]
        ours = best_of_ours(mine)
        if ours is None:
            continue
        others = [one for one in mine if not is_ours(one) and "first" in one]
        others = sorted(others, key=lambda one: warm(one) / warm(ours))
        rows += [(work, one["name"], warm(one) / warm(ours), is_exact(one)) for one in others]
    return rows


def draw(results, path):
    """One bar for each contestant, on a logarithmic axis; 1 is ours."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = rows_of(results)
    works = [work for work in WORKS if any(row[0] == work for row in rows)]
    sizes = [sum(row[0] == work for row in rows) for work in works]
    fig, axes = plt.subplots(
        len(works), 1, sharex=True, squeeze=False, layout="constrained",
        figsize=(8.4, 0.26 * sum(sizes) + 0.5 * len(works) + 0.6),
        gridspec_kw={"height_ratios": [size + 0.6 for size in sizes]},
    )  # fmt: skip
    for ax, work in zip(axes[:, 0], works, strict=True):
        mine = [row for row in rows if row[0] == work][::-1]
        for place, (_, _, ratio, exact) in enumerate(mine):
            colour = "C0" if exact else "0.7"
            ax.barh(place, ratio - 1, left=1, color=colour, height=0.7)
            said = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
            ax.annotate(
                said, (max(ratio, 1), place), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize=8,
            )  # fmt: skip
        names = [name.replace("sklearn_refits", "scikit-learn") for _, name, *_ in mine]
        ax.set_yticks(range(len(mine)), names, fontsize=8)
        ax.set_title(WORKS[work].title, fontsize=9, loc="left")
        ax.set_xscale("log")
        ax.axvline(1, color="0.3", linewidth=1)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("CPU time over ours (blue: exact; grey: approximations and folds)")
    fig.savefig(path, dpi=100)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
