"""What every experiment shares: options, numbers about agreement, a JSON of claims and a picture."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data import add_data_option, folder, load_enron, load_mnist

__all__ = [
    "Experiment",
    "agreement",
    "axes",
    "folder",
    "load_enron",
    "load_mnist",
    "scatter",
    "words",
]

RESULTS = Path(__file__).parent / "results"


class Experiment:
    """One script's options, and the claims it has looked at so far.

    Parameters
    ----------
    name : str
        Of its JSON and its picture.
    title : str
        What RESULTS.md calls it.
    doc : str
        The docstring of the script.
    **numbers : tuple
        Options that are integers, as ``(full, quick)``.
    """

    def __init__(self, name, title, doc, **numbers):
        parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
        add_data_option(parser)
        parser.add_argument("--quick", action="store_true", help="smaller: minutes become seconds")
        parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR")
        for option, (full, quick) in numbers.items():
            parser.add_argument(f"--{option}", type=int, help=f"{full}; {quick} with --quick")
        self.args = parser.parse_args()
        for option, values in numbers.items():
            if getattr(self.args, option) is None:
                setattr(self.args, option, values[self.args.quick])
        self.name, self.title = name, title
        self.settings = {option: getattr(self.args, option) for option in numbers}
        self.claims, self.start = [], time.process_time()

    def say(self, text):
        """A line of progress, with the CPU seconds so far."""
        print(f"[{time.process_time() - self.start:7.1f} s] {text}", flush=True)

    def claim(self, what, published, paper, today="", holds=None):
        """One row of RESULTS.md: what was published, ours as the paper did it, ours today.

        ``holds``: whether ours says what the paper says; None where there is nothing to compare.
        """
        row = {"what": what, "published": published, "paper": paper, "today": today}
        row["holds"] = None if holds is None else bool(holds)
        self.claims.append(row)
        mark = {None: " ", True: "+", False: "-"}[row["holds"]]
        self.say(f"{mark} {what}: published {published} | as the paper {paper} | today {today}")

    def save(self, figure=None):
        """Write the JSON and, beside it, the picture."""
        out = self.args.out
        out.mkdir(parents=True, exist_ok=True)
        text = {
            "title": self.title,
            "script": os.path.basename(sys.argv[0]),
            "quick": self.args.quick,
            "settings": self.settings,
            "cpu_seconds": round(time.process_time() - self.start, 1),
            "claims": self.claims,
        }
        (out / f"{self.name}.json").write_text(
            json.dumps(text, indent=1, ensure_ascii=False) + "\n"
        )
        if figure is not None:
            figure.savefig(out / f"{self.name}.png", dpi=80)
        self.say(f"written to {out / self.name}.json")


def axes(n=1, width=4.2, height=3.6):
    """A figure without a window, and ``n`` axes side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(1, n, figsize=(width * n, height), layout="constrained", squeeze=False)


def scatter(ax, predicted, actual, title):
    """Predicted against actual changes, and the line where they are equal."""
    ax.scatter(predicted, actual, s=9, alpha=0.7, linewidths=0)
    ends = [min(np.min(predicted), np.min(actual)), max(np.max(predicted), np.max(actual))]
    ax.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    ax.set(xlabel="predicted change of the test loss", ylabel="actual change", title=title)


def agreement(predicted, actual):
    """Pearson, Spearman, the slope of actual on predicted and the relative error in L2."""
    slope = predicted @ actual / (predicted @ predicted)
    error = np.linalg.norm(predicted - actual) / np.linalg.norm(actual)
    return {
        "pearson": float(stats.pearsonr(predicted, actual)[0]),
        "spearman": float(stats.spearmanr(predicted, actual)[0]),
        "slope": float(slope),
        "error": float(error),
    }


def words(found):
    """One line of what :func:`agreement` gives."""
    return (
        f"Pearson {found['pearson']:.4f}, Spearman {found['spearman']:.4f}, slope "
        f"{found['slope']:.3f}, relative error {found['error']:.1e}"
    )
