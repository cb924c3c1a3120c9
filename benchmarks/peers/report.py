"""The tables, from what the cells said, and the bars that they are held against."""

from datetime import date
from importlib.metadata import PackageNotFoundError, version

from benchmarks.peers.registry import package_of
from benchmarks.peers.works import WORKS

VERSIONS = (
    "skinfluence", "pyinfluence", "pyDVL", "captum", "dattri", "kronfluence", "statsmodels", "MAPIE",
    "bbai", "randalo", "scikit-learn", "torch", "numpy", "scipy",
)  # fmt: skip
COLUMNS = (
    "CPU, warm", "to ours", "wall, warm", "to ours", "CPU, first call", "to ours", "memory",
    "error", "to the floor", "to its products",
)  # fmt: skip
TORCH = ("pydvl", "captum", "dattri", "kronfluence")


def is_ours(result):
    return package_of(result["name"]) == "ours"


def cost(result, stage, key="cpu"):
    """Seconds of the whole work in one stage, or None."""
    said = result.get(stage)
    share = result.get("first", {}).get("share", 1.0)
    return None if said is None or said.get(key) is None else said[key] / share


def warm(result, key="cpu"):
    """Warm seconds; those of the first call where the time limit left nothing else."""
    return cost(result, "warm", key) or cost(result, "first", key)


def is_exact(result):
    return (result.get("first", {}).get("agreement") or {}).get("error", 1.0) <= 1e-4


def trouble(result, limit):
    """Why a cell has no times, or None."""
    if "absent" in result:
        return f"not installed: {result['absent']['why']}"
    if "failed" in result:
        return f"fails: {result['failed']['why']}"
    if "disagrees" in result:
        error = result["disagrees"]["agreement"]["error"]
        return f"disagrees with the truth (relative error {error:.1e}): not timed"
    if "first" not in result:
        if result.get("late"):
            return f"no answer within {limit:.0f} s"
        return f"ended by itself (exit code {result.get('code')}), most likely out of memory"
    return None


def floor(result):
    """CPU seconds of the arithmetic that the work cannot do without, at the rates of this cell."""
    first = result["first"]
    rates = result.get("warm", first)["rates"]
    sizes = result["floor"]
    flops = first.get("flops") or sizes.get("flops")
    if flops:
        return flops / rates["gemm"]
    return sizes["bytes"] / rates["write"] if "bytes" in sizes else None


def products(result):
    """CPU seconds of the products that the work needs, made by numpy in this cell, or None."""
    return result.get("warm", {}).get("products")


def _seconds(value):
    if value is None:
        return ""
    if value < 1:
        return f"{1e3 * value:.0f} ms" if value >= 0.01 else f"{1e3 * value:.2g} ms"
    return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"


def _times(value, reference):
    if not value or not reference:
        return ""
    ratio = value / reference
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.2g}x"


def _memory(result):
    said = result.get("memory", {}).get("extra")
    return "" if said is None else f"{said / 2**20:.0f} MB"


def _accuracy(result):
    agreed = result["first"]["agreement"]
    if agreed is None:
        return "not of single rows"
    text = f"{agreed['error']:.0e}"
    return text if is_exact(result) else f"{text}, Spearman {agreed['spearman']:.3f}"


def line(result, limit):
    """One cell in a line, while they run."""
    why = trouble(result, limit)
    head = f"{result['work']:14}{result['name']:36}"
    if why:
        return head + why
    return (
        f"{head}first {_seconds(cost(result, 'first')):>8}  warm {_seconds(warm(result)):>8}  "
        f"{_memory(result):>8}  error {_accuracy(result)}"
    )


def best_of_ours(results, exact=True):
    """The fastest of our own answers that equal the truth; of any if none does."""
    timed = [one for one in results if is_ours(one) and "first" in one]
    right = [one for one in timed if is_exact(one)] if exact else timed
    return min(right or timed, key=warm, default=None)


def section(work, results, limit):
    """The table of one work."""
    ours = best_of_ours(results)
    reference = {
        "warm": warm(ours) if ours else None,
        "wall": warm(ours, "wall") if ours else None,
        "first": cost(ours, "first") if ours else None,
    }
    rows = [
        "",
        f"**{WORKS[work].title}** (`{work}`)",
        "",
        f"| | {' | '.join(COLUMNS)} |",
        "|---|" + "---|" * len(COLUMNS),
    ]
    for one in results:
        why = trouble(one, limit)
        if why:
            rows.append(f"| {one['name']} | {why} |" + " |" * (len(COLUMNS) - 1))
            continue
        bottom = floor(one)
        share = one["first"]["share"]
        sampled = "" if share == 1.0 else f" (of {share:.2g} of the work)"
        cold = "" if "warm" in one else " (first)"
        cells = [
            one["name"] + sampled,
            _seconds(warm(one)) + cold,
            _times(warm(one), reference["warm"]),
            _seconds(warm(one, "wall")),
            _times(warm(one, "wall"), reference["wall"]),
            _seconds(cost(one, "first")),
            _times(cost(one, "first"), reference["first"]),
            _memory(one),
            _accuracy(one),
            _times(warm(one), bottom),
            _times(warm(one), products(one)),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def losses(by_work):
    """Where somebody as accurate is faster than we are, or we are far above the floor."""
    rows = ["", "**Where we lose**", ""]
    for work, results in by_work.items():
        ours = best_of_ours(results)
        if ours is None:
            if any(is_ours(one) for one in results):
                rows.append(f"- `{work}`: we have no answer.")
            continue
        error = (ours["first"]["agreement"] or {"error": 0.0})["error"]
        for one in results:
            if is_ours(one) or "first" not in one:
                continue
            theirs = one["first"]["agreement"]
            as_good = theirs is not None and theirs["error"] <= max(2.0 * error, 1e-4)
            if warm(one) < warm(ours):
                how = "as accurate" if as_good else f"relative error {_accuracy(one)}"
                rows.append(
                    f"- `{work}`: {one['name']} takes {_times(warm(one), warm(ours))} of our CPU "
                    f"time ({how})."
                )
        bottom = floor(ours)
        if bottom and warm(ours) > 2.0 * bottom:
            rows.append(f"- `{work}`: {ours['name']} is {_times(warm(ours), bottom)} the floor.")
    return rows if len(rows) > 3 else [*rows, "Nowhere in this run."]


def ratios(by_work):
    """The fastest exact torch package over ours, warm and on a first call."""
    rows = [
        "",
        "**The fastest torch package that is exact, to ours** (CPU seconds)",
        "",
        "| work | package | warm | first call | ours to the floor | ours to its products |",
        "|---|---|---|---|---|---|",
    ]
    for work, results in by_work.items():
        ours = best_of_ours(results)
        peers = [
            one
            for one in results
            if package_of(one["name"]) in TORCH and "first" in one and is_exact(one)
        ]
        if ours is None or not peers:
            continue
        fastest = min(peers, key=warm)
        soonest = min(peers, key=lambda one: cost(one, "first"))
        rows.append(
            f"| `{work}` | {fastest['name']} | {_times(warm(fastest), warm(ours))} | "
            f"{_times(cost(soonest, 'first'), cost(ours, 'first'))} | "
            f"{_times(warm(ours), floor(ours))} | {_times(warm(ours), products(ours))} |"
        )
    return rows


def versions():
    found = []
    for name in VERSIONS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} (not installed)")
    return ", ".join(found)


def table(results, absent, quick, limit, note=""):
    """All of it, as markdown, with the day."""
    by_work = {}
    for one in results:
        by_work.setdefault(one["work"], []).append(one)
    rows = [f"{date.today().isoformat()}. {versions()}.", ""]
    rows.append(f"One thread; {limit:.0f} s of wall time for a cell. {note}".strip())
    if quick:
        rows.append("Small works (`--quick`): what runs, not how fast.")
    rows += [f"- {name} is left out: {why}" for name, why in absent.items()]
    for work, mine in by_work.items():
        rows += section(work, mine, limit)
    return "\n".join([*rows, *ratios(by_work), *losses(by_work), ""])
