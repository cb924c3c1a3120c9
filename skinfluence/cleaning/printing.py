"""The audit on a terminal."""

import shlex
import sys

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.cleaning.effects import has_effects
from skinfluence.cleaning.formats import at_most, chance, number, percent, signed
from skinfluence.cleaning.report import summarise

OTHERS = (
    "Others if dropped: change of the other rows' mean loss; negative = dropping the row helps them, "
    "– = not known, or not of which sign."
)
LEGENDS = {
    "classification": (
        "LOO loss: how much the model without the row is surprised by its label, in nats; higher is more "
        "suspicious.\nwrong?: estimated chance that the label is wrong, – where nothing can be said. "
    ),
    "regression": (
        "suggested: the prediction of the model without the row. residual (z): given minus suggested, in "
        "robust standard deviations. LOO loss: half the squared residual. "
    ),
}
MAX_PRINTED_CLASSES, MAX_PRINTED_CHANGES = 6, 20
STYLES = {"drop": "dark_orange3", "relabel": "bold blue", "keep": "dim"}


def print_changes(changes, decisions, path):
    """Print what carrying out decisions changed.

    Parameters
    ----------
    changes : list of dict
        As :func:`skinfluence.cleaning.decisions.carry_out` gives them.
    decisions : Decisions
        What was decided.
    path : path
        What was written.
    """
    console = _console()
    dropped = len(decisions.drop)
    console.print(
        f"{len(decisions.given):,} decisions about {_escaped(repr(decisions.target))}: "
        f"{len(changes) - dropped:,} changed, {dropped:,} dropped, "
        f"{len(decisions.given) - len(changes):,} stay as they are"
    )
    if changes:
        table = _table()
        for name in ("row", "before", "after"):
            table.add_column(name)
        for line in changes[:MAX_PRINTED_CHANGES]:
            after = "[dim]dropped[/]" if line["after"] is None else _escaped(line["after"])
            table.add_row(_escaped(line["id"]), _escaped(line["before"]), after)
        console.print(table)
        if len(changes) > MAX_PRINTED_CHANGES:
            console.print(f"and {len(changes) - MAX_PRINTED_CHANGES:,} more; --json lists all\n")
    console.print(f"[bold]Written[/] {_escaped(path)}")


def print_explanation(problem, found, notes):
    """Print why a row is predicted as it is.

    Parameters
    ----------
    problem : AuditedTable
        The table.
    found : Explanation
        Of one of its rows, by the model without it.
    notes : sequence of str
        What the reader should know.
    """
    console = _console()
    labels = problem.task == "classification"

    def shown(value):
        return _escaped(value) if labels else number(float(value), 4)

    sure = "" if found.probability is None else f" with {percent(found.probability, 1)}"
    at = found.left_out
    console.print(
        f"\n[bold]{_escaped(problem.name)}[/], row {_escaped(problem.ids[at])}: given "
        f"[bold]{shown(problem.y[at])}[/], predicted without it [bold]{shown(found.prediction)}[/]{sure}"
    )
    what = "the log odds of the predicted class" if labels else "the prediction"
    if found.features is not None:
        total = found.features["contribution"].sum()
        through_curve = not np.isclose(total, found.decision, rtol=1e-6)
        made = "before it is turned into units of the target" if through_curve else what
        table = _table(title=f"What it is made of ({made}: {number(total)})")
        for name in ("feature", "value", "contribution"):
            table.add_column(name, justify="left" if name == "feature" else "right")
        for line in found.features.to_dict("records"):
            table.add_row(
                _escaped(line["feature"]), number(line["value"]), _change(line["contribution"], 3)
            )
        console.print(table)
    sides = ("Rows it rests on", "Rows that speak against it")
    if not labels:
        sides = ("Rows that raise it", "Rows that lower it")
    through = ["through"] if any(found.rows["through"]) else []
    for side, words in zip(("for", "against"), sides, strict=True):
        some = found.rows[found.rows["side"] == side]
        if not len(some):
            continue
        table = _table(title=words)
        for name in ("row", "given", "effect without it", "by refit", *through):
            table.add_column(
                name, justify="right" if name in ("effect without it", "by refit") else "left"
            )
        for line in some.to_dict("records"):
            refit = "" if line["refit"] != line["refit"] else _change(line["refit"], 4)
            ways = ", ".join(f"{name} {_part(change)}" for name, change in line["through"][:3])
            table.add_row(
                _escaped(problem.ids[line["row"]]),
                shown(line["given"]),
                _change(line["effect"], 4),
                refit,
                *([_escaped(ways)] if through else []),
            )
        console.print(table)
    values = (
        "" if found.features is None else "Values are those that the model sees, after scaling. "
    )
    ways = " Through: which contributions, as above, that changes most." if through else ""
    console.print(
        f"[dim]{values}Effect without it: change of {what} when that row is left out too; negative = "
        f"the row raises it.{ways} How columns are turned into features was learned from all rows.[/]\n"
    )
    for note in notes:
        console.print(f"[yellow]note:[/] {_escaped(note)}\n")


def print_audit(*, problem, selection, found, verification, score, top, files, path=None):
    """Print what was found: the ranked table, the refits, the planted truth, the files.

    Parameters
    ----------
    problem : AuditedTable
        What was audited.
    selection : Selection
        The model and its penalty.
    found : Audit
        The result.
    verification : DataFrame
        What `Audit.verify` returned.
    score : dict or None
        Accuracy against the truth by training set, for a demo.
    top : int
        Rows to print.
    files : iterable of path
        What was written.
    path : path, default=None
        What was read; None for a demo.
    """
    console = _console()
    _print_head(console, problem, selection, found)
    if top:
        console.print(_ranking(problem, found, top))
        others = OTHERS if has_effects(found.table) else ""
        console.print(f"[dim]{LEGENDS[problem.task]}{others}{_naming(problem)}[/]\n")
    _print_noise(console, found)
    _print_sources(console, found)
    for note in found.notes:
        console.print(f"[yellow]note:[/] {_escaped(note)}\n")
    _print_verification(console, verification)
    if problem.planted is not None:
        _print_truth(console, problem, found, score)
    console.print("[bold]Written[/] " + "\n        ".join(_escaped(path) for path in files))
    reports = [path for path in files if str(path).endswith(".html")]
    if reports:
        then = "." if path is None else "; then"
        console.print(
            f"[bold]Next[/]    open {_escaped(reports[0])} in a browser and decide about each row{then}"
        )
    if reports and path is not None:
        console.print(
            f"        skinfluence apply {_escaped(shlex.quote(str(path)))} ~/Downloads/decisions.csv\n"
            "        (or wherever your browser saved decisions.csv)"
        )


def _console():
    rich_console = require("rich.console", extra="audit")

    class Console(rich_console.Console):
        def on_broken_pipe(self):
            # rich would leave with exit code 1.
            raise BrokenPipeError

    # Off a terminal the width of nothing is 80: too narrow for the table, and nobody resizes a log.
    width = None if sys.stdout.isatty() else 110
    return Console(width=width, highlight=False)


def _print_head(console, problem, selection, found):
    counts = found.table["action"].value_counts()
    summary = summarise(found)
    kind = "classes" if problem.task == "classification" else None
    console.print(
        f"\n[bold]{_escaped(problem.name)}[/]: {len(problem.y):,} rows, {selection.X.shape[1]} "
        f"feature{'' if selection.X.shape[1] == 1 else 's'}"
        f"{f', {len(found.classes)} {kind}' if kind else ''}"
        f" · {type(selection.model).__name__}, "
        f"{'C' if kind else '1/alpha'} = {selection.strength:.3g}"
    )
    if problem.planted is not None:
        console.print(
            f"{problem.planted.sum():,} labels ({percent(problem.planted.mean(), 1)}) were flipped "
            "on purpose before the audit"
        )
    if problem.task == "classification":
        console.print(f"leave-one-out accuracy {percent(summary['loo_accuracy'], 1)}", end="")
    elif "loo_factor" in summary:
        console.print(f"leave-one-out R² of the logarithm {summary['loo_r2_log']:.3f}", end="")
        console.print(
            f" · typical error a factor of {number(summary['loo_factor'])} (root mean square)",
            end="",
        )
    else:
        console.print(f"leave-one-out R² {summary['loo_r2']:.3f}", end="")
        console.print(f" · typical error {number(summary['loo_rmse'])} (root mean square)", end="")
    console.print(f" · mean leave-one-out loss {summary['mean_loo_loss']:.4g}", end="")
    if found.noise_share is not None:
        share = "none claimed" if found.noise.told else "nothing can be said"
        if found.noise.claimed:
            share = f"at least {percent(found.noise_share, 1)}"
        console.print(f" · wrong labels: {share}", end="")
    console.print(
        f"\nsuggested: relabel {counts.get('relabel', 0):,}, drop {counts.get('drop', 0):,}, "
        f"keep {counts.get('keep', 0):,}\n"
    )


def _ranking(problem, found, top):
    table = _table()
    labels = problem.task == "classification"
    table.add_column("#", justify="right")
    table.add_column("row")
    table.add_column("given", justify="left" if labels else "right")
    table.add_column("suggested", justify="left" if labels else "right")
    table.add_column("proba" if labels else "residual (z)", justify="right")
    table.add_column("LOO loss", justify="right")
    if labels:
        table.add_column("wrong?", justify="right")
    effects = has_effects(found.table)
    if effects:
        table.add_column("others if dropped", justify="right")
    table.add_column("action")
    if problem.planted is not None:
        table.add_column("planted")
    mean = found.table["loo_loss"].mean()
    for line in found.table.head(top).to_dict("records"):
        given, suggested = line["given"], line["suggested"]
        cells = [
            str(line["rank"]),
            _escaped(line["id"]),
            _escaped(given) if labels else number(given, 4),
            _escaped(suggested) if labels else number(suggested, 4),
            percent(line["suggested_proba"]) if labels else number(line["residual_z"], 2),
            f"{line['loo_loss']:.2f}" if labels else number(line["loo_loss"]),
            *([chance(line["error_proba"])] if labels else []),
            *([signed(100 * line["effect_of_dropping"] / mean, 3)] if effects else []),
            f"[{STYLES[line['action']]}]{line['action']}[/]",
        ]
        if problem.planted is not None:
            cells.append("yes" if problem.planted[line["row"]] else "")
        table.add_row(*cells)
    return table


def _naming(problem):
    """How rows without ids are named; empty where they have ids."""
    if not np.array_equal(problem.ids, problem.rows):
        return ""
    below = "" if problem.source is None else " (the line below the header)"
    return f"\nrow: its number, from 0{below}."


def _change(value, decimals):
    """A change with its sign; no decimals from a thousand on, three digits where decimals show none."""
    if 0 < abs(value) < 10.0**-decimals:
        return _part(value, 3)
    text = f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+.{decimals}f}"
    return text.replace("-", "\u2212")


def _part(value, digits=2):
    """A change with its sign, to some digits."""
    return ("+" if value >= 0 else "") + number(value, digits)


def _print_noise(console, found):
    """The chances of each given label, by true label; for a handful of classes."""
    if found.noise is None or not found.noise.claimed or len(found.classes) > MAX_PRINTED_CLASSES:
        return
    table = _table(title="Which class is given as which (estimated, by true class)")
    table.add_column("true")
    for label in found.classes:
        table.add_column(_escaped(label), justify="right")
    for label, chances in zip(found.classes, found.noise.matrix.tolist(), strict=True):
        table.add_row(_escaped(label), *(percent(chance, 1) for chance in chances))
    console.print(table)


def _print_sources(console, found):
    """A line for each source, by the model without all of its rows."""
    if found.sources is None:
        return
    labels, mean = found.task == "classification", found.table["loo_loss"].mean()
    table = _table(title="Sources, each judged by the model without it")
    table.add_column("source")
    score = "accuracy" if labels else "R²"
    for name in ("rows", "relabel", "drop", "wrong", score, "others if dropped", "95 %"):
        if name != "wrong" or labels:
            table.add_column(name, justify="right")
    for line in found.sources.head(MAX_PRINTED_CHANGES).to_dict("records"):
        low, high = (signed(100 * line[name] / mean, 1) for name in ("effect_low", "effect_high"))
        table.add_row(
            _escaped(line["source"]),
            f"{line['n_rows']:,}",
            f"{line['relabel']:,}",
            f"{line['drop']:,}",
            *([percent(line["error_share"], 1)] if labels else []),
            percent(line["left_out_score"], 1) if labels else number(line["left_out_score"]),
            signed(100 * line["effect_of_dropping"] / mean, 1),
            f"{low} … {high}",
        )
    console.print(table)


def _print_verification(console, verification):
    known = verification["difference"].dropna().abs()
    if len(known) == 0:
        return
    table = _table(title=f"Checked by {len(known)} true refits")
    for name in ("row", "predicted LOO loss", "refitted LOO loss", "difference"):
        table.add_column(name, justify="left" if name == "row" else "right")
    for line in verification.dropna(subset=["refit_loss"]).to_dict("records"):
        table.add_row(
            _escaped(line["id"]),
            number(line["loo_loss"], 4),
            number(line["refit_loss"], 4),
            f"{line['difference']:+.1e}",
        )
    console.print(table)
    relative = (known / verification["refit_loss"].abs()).max()
    console.print(f"largest difference {known.max():.1e}, or {at_most(relative)} of the loss\n")


def _print_truth(console, problem, found, score):
    table = _table(title="Planted errors found")
    for name in ("looked at", "rows", "found", "of all errors", "at random"):
        table.add_column(name, justify="right")
    for line in found.depth_table(problem.planted).to_dict("records"):
        table.add_row(
            percent(line["depth"]),
            f"{line['rows']:,}",
            f"{line['found']:,}",
            f"[bold]{percent(line['share_found'], 1)}[/]",
            percent(line["random"], 1),
        )
    console.print(table)
    if score:
        console.print("Accuracy on the true labels, by leave-one-out, when trained on")
        for name, value in score.items():
            console.print(f"  {name:<28} {percent(value, 1)}")
    console.print()


def _table(title=None):
    table = require("rich.table", extra="audit").Table
    box = require("rich.box", extra="audit")
    if title is not None:
        # In one line, however narrow the table.
        text = require("rich.text", extra="audit").Text
        title = text(title, style="bold", no_wrap=True, overflow="ignore")
    return table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def _escaped(text):
    """Text of the user's, which may hold what rich would read as markup."""
    return require("rich.markup", extra="audit").escape(str(text))
