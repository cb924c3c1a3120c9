"""The pictures of an audit. Nothing here computes evidence; matplotlib is imported where it draws."""

import base64
import io

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.inspection.base import FAINT, GRID, INK, MANY, MARKED, POINTS, Display

COLORS = {"drop": MARKED, "relabel": POINTS, "keep": "#94a3b8", "planted": "#7c3aed"}

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "skinfluence",
}


class RankedLossDisplay(Display):
    """Leave-one-out losses from the most to the least suspicious row.

    Parameters
    ----------
    loss : ndarray of shape (n_samples,)
        Leave-one-out losses, descending.
    action : ndarray of shape (n_samples,)
        Suggested action of each.
    planted : ndarray of shape (n_samples,), dtype=bool, default=None
        True for the rows known to be wrong, in the same order.

    Attributes
    ----------
    points_ : dict of str to PathCollection
        The dots of each action.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(self, loss, action, *, planted=None):
        self.loss = loss
        self.action = action
        self.planted = planted

    @classmethod
    def from_audit(cls, audit, *, planted=None):
        """Take the losses and actions from an `Audit`; `planted` is in the order of its rows."""
        table = audit.table.sort_values("loo_loss", ascending=False, kind="stable")
        if planted is not None:
            planted = np.asarray(planted, dtype=bool)[table["row"].to_numpy()]
        return cls(table["loo_loss"].to_numpy(), table["action"].to_numpy(), planted=planted)

    def _draw(self, ax):
        rank = np.arange(1, len(self.loss) + 1)
        self.points_ = {}
        for action in ("keep", "drop", "relabel"):
            chosen = self.action == action
            if chosen.any():
                self.points_[action] = ax.scatter(
                    rank[chosen],
                    self.loss[chosen],
                    s=9,
                    color=COLORS[action],
                    label=f"{action} ({chosen.sum():,})",
                    rasterized=len(rank) > MANY,
                    zorder=2 if action == "keep" else 3,
                )
        if self.planted is not None:
            floor = -0.045 * max(self.loss.max(), 1e-12)
            ax.scatter(
                rank[self.planted],
                np.full(self.planted.sum(), floor),
                marker="|",
                s=36,
                linewidth=0.8,
                color=COLORS["planted"],
                label=f"planted error ({self.planted.sum():,})",
                rasterized=len(rank) > MANY,
            )
        ax.set(xlabel="rows, most surprising first", ylabel="leave-one-out loss")
        ax.legend(loc="upper right")


def figure_uri(draw, *, size=(6.4, 3.4)):
    """Draw on a fresh Axes and give the picture as an SVG data URI.

    A Figure of its own, not pyplot's: no global state, no window, no backend to choose.
    """
    matplotlib = require("matplotlib", extra="audit")
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, dpi=160, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def picture_uri(image):
    """One grey-scale or colour picture as a PNG data URI."""
    require("matplotlib", extra="audit")
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    options = {"cmap": "gray_r"} if np.ndim(image) == 2 else {}
    imsave(buffer, np.asarray(image), format="png", **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def draw_depth(ax, order, planted):
    """Share of the known errors found against the share of the rows looked at."""
    hits = np.cumsum(planted[order]) / max(1, planted.sum())
    depth = 100 * np.arange(1, len(order) + 1) / len(order)
    share = max(planted.mean(), 1e-12)
    ax.plot(depth, 100 * hits, color=COLORS["planted"], linewidth=2.2, label="this audit")
    ax.plot(
        depth,
        np.minimum(100, depth / share),
        color=FAINT,
        linewidth=1,
        linestyle=":",
        label="perfect order",
    )
    ax.plot([0, 100], [0, 100], color=FAINT, linewidth=1, linestyle="--", label="random order")
    ax.set(
        xlim=(0, 60), ylim=(0, 103), xlabel="rows looked at (%)", ylabel="planted errors found (%)"
    )
    ax.legend(loc="lower right")


def draw_reliability(ax, proba, codes):
    """How often the label agrees, against the leave-one-out probability of the favoured class."""
    confidence, agrees = proba.max(axis=1), proba.argmax(axis=1) == codes
    edges = np.linspace(1 / proba.shape[1], 1, 9)
    bins = np.clip(np.digitize(confidence, edges) - 1, 0, len(edges) - 2)
    counts = np.bincount(bins, minlength=len(edges) - 1)
    filled = counts > 0
    mean = np.bincount(bins, confidence, len(edges) - 1)[filled] / counts[filled]
    rate = np.bincount(bins, agrees, len(edges) - 1)[filled] / counts[filled]
    ax.bar(
        edges[:-1],
        counts / counts.max() * 0.25,
        width=np.diff(edges),
        align="edge",
        color=GRID,
        edgecolor="white",
        label="share of the rows",
    )
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--", label="as confident as right")
    ax.plot(mean, rate, color=COLORS["relabel"], marker="o", markersize=5, linewidth=1.8)
    ax.set(
        xlim=(edges[0], 1),
        ylim=(0, 1.03),
        xlabel="probability of the favoured class, row left out",
        ylabel="label agrees",
    )
    ax.legend(loc="upper left")


def draw_ceilings(ax, audit, n_classes=3, n_bins=12):
    """How often a class is given, against the chance that it is the right one."""
    noise, known = audit.noise, np.isfinite(audit.local_proba).all(axis=1)
    codes = np.searchsorted(audit.classes, audit.y)[known]
    right = noise.right(audit.local_proba[known])
    # The classes that lose the most, in their own colours; as many as can be told apart.
    worst = np.argsort(np.diag(noise.matrix), kind="stable")[:n_classes]
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--", label="all labels right")
    for k, color in zip(
        worst, (COLORS["relabel"], COLORS["drop"], COLORS["planted"]), strict=False
    ):
        bins = np.minimum((n_bins * right[:, k]).astype(int), n_bins - 1)
        counts = np.bincount(bins, minlength=n_bins)
        filled = counts > 0
        x = np.bincount(bins, right[:, k], n_bins)[filled] / counts[filled]
        y = np.bincount(bins, codes == k, n_bins)[filled] / counts[filled]
        model = np.bincount(bins, right @ noise.matrix[:, k], n_bins)[filled] / counts[filled]
        ax.plot(x, model, color=color, linewidth=1.2, linestyle=":")
        ax.plot(
            x,
            y,
            color=color,
            marker="o",
            markersize=5,
            linewidth=1.8,
            label=_short(audit.classes[k]),
        )
    ax.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="chance to be the right class", ylabel="given as it")
    ax.legend(loc="upper left")


def _short(label):
    """A label that fits a legend."""
    text = str(label).replace("$", r"\$")
    return text if len(text) <= 24 else text[:23] + "…"


def draw_predictions(ax, table, logarithmic=False):
    """Given target against the leave-one-out prediction, for a regressor; in logarithms where asked."""
    low, high = np.nanmin(table["given"]), np.nanmax(table["given"])
    ax.plot([low, high], [low, high], color=FAINT, linewidth=1, linestyle="--")
    _scatter_by_action(ax, table, table["suggested"], table["given"])
    ax.set(xlabel="prediction, row left out", ylabel="given")
    if logarithmic:
        ax.set(xscale="log", yscale="log")


def draw_effects(ax, table):
    """Loss of each row against what dropping it does to the others."""
    effect = 100 * table["effect_of_dropping"] / table["loo_loss"].mean()
    ax.axhline(0, color=FAINT, linewidth=1)
    _scatter_by_action(ax, table, table["loo_loss"], effect)
    ax.set(xlabel="leave-one-out loss of the row", ylabel="loss of the others if dropped (%)")


def draw_confusion(ax, table, classes):
    """Given against suggested labels of the rows to relabel or drop."""
    flagged = table[table["action"] != "keep"]
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    given = np.searchsorted(classes, np.asarray(flagged["given"]))
    suggested = np.searchsorted(classes, np.asarray(flagged["suggested"]))
    np.add.at(counts, (given, suggested), 1)
    ax.grid(False)
    ax.imshow(np.ma.masked_equal(counts, 0), cmap="Blues", vmin=-0.35 * max(1, counts.max()))
    for i, j in np.argwhere(counts):
        color = "white" if counts[i, j] > 0.6 * counts.max() else INK
        ax.text(j, i, counts[i, j], ha="center", va="center", fontsize=9, color=color)
    names = [str(label) for label in classes]
    turned = {"rotation": 45, "ha": "right"} if max(map(len, names)) > 3 else {}
    ax.set_xticks(range(len(classes)), names, **turned)
    ax.set_yticks(range(len(classes)), names)
    ax.set(xlabel="suggested", ylabel="given")


def draw_verification(ax, verification):
    """Predicted against refitted losses."""
    predicted, refit = verification["loo_loss"], verification["refit_loss"]
    top = 1.06 * np.nanmax([predicted.max(), refit.max()])
    low = max(0.0, 0.9 * np.nanmin([predicted.min(), refit.min()]))
    ax.plot([low, top], [low, top], color=FAINT, linewidth=1, linestyle="--", label="equal")
    ax.scatter(predicted, refit, s=34, color=COLORS["relabel"], zorder=3)
    ax.set(xlim=(low, top), ylim=(low, top), xlabel="predicted, no refit", ylabel="true refit")
    ax.set_aspect("equal")
    ax.legend(loc="upper left")


def draw_selection(ax, scores, strength, name="C"):
    """Mean leave-one-out loss of each penalty tried."""
    values = np.array(list(scores))
    ax.plot(values, list(scores.values()), color=INK, marker="o", markersize=4, linewidth=1.4)
    ax.plot(strength, scores[strength], marker="o", markersize=9, color=COLORS["relabel"])
    ax.set(
        xscale="log", xlabel=f"{name} (larger: weaker penalty)", ylabel="mean leave-one-out loss"
    )


def _scatter_by_action(ax, table, x, y):
    for action in ("keep", "drop", "relabel"):
        chosen = (table["action"] == action).to_numpy()
        if chosen.any():
            ax.scatter(
                x[chosen],
                y[chosen],
                s=9,
                color=COLORS[action],
                label=action,
                rasterized=len(table) > 1000,
                zorder=2 if action == "keep" else 3,
            )
    ax.legend(loc="best")
