"""What can be written after ``skinfluence``, and what it means."""

import argparse

from skinfluence import __version__
from skinfluence._utils.demos import DEMOS


class _OneLine(argparse.ArgumentParser):
    """A parser that says in one line what is wrong, and where all options are listed."""

    def error(self, message):
        self.exit(
            2, f"{self.prog}: error: {message.rstrip('.')}. All options: {self.prog} --help\n"
        )


def parser():
    """The parser of every command."""
    whole = _OneLine(
        prog="skinfluence", description="Which rows of a training set make its model wrong?"
    )
    whole.add_argument("--version", action="version", version=f"skinfluence {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_audit(commands, DEMOS)
    _add_apply(commands)
    _add_explain(commands)
    return whole


def _add_audit(commands, demos):
    audit = commands.add_parser(
        "audit",
        help="rank the suspicious rows of a labelled table",
        description=(
            "Fit a linear model, judge every row by the model that has not seen it, suggest what to "
            "drop or relabel, check the top rows by true refits, and write a report."
        ),
    )
    source = _add_source(audit, "what to audit")
    source.add_argument(
        "--demo", choices=demos, help="a data set from scikit-learn with some labels flipped"
    )
    source.add_argument(
        "--source-column",
        metavar="COLUMN",
        help="who labelled or sent each row; each source is judged by the model without it",
    )
    model = _add_model(audit)
    model.add_argument(
        "--method",
        choices=["auto", "one-step", "exact"],
        default="auto",
        help="how rows are left out: one Newton step, the top rows certified (auto, the default)",
    )
    model.add_argument(
        "--budget",
        type=_positive,
        default=60.0,
        metavar="S",
        help="CPU seconds for fitting the imputer and the scaler without single rows (default: 60)",
    )
    model.add_argument(
        "--verify", type=_count, default=10, metavar="K", help="refits without the top K rows"
    )
    model.add_argument(
        "--flip-share", type=float, default=0.1, help="share of labels a demo flips (default: 0.1)"
    )
    model.add_argument("--seed", type=_seed, default=0, help="which labels a demo flips")
    model.add_argument(
        "--suspect",
        type=_suspect,
        metavar="KIND=CLASS",
        help=(
            "what you know of the errors: true=CLASS, only members of that class were mislabelled, or "
            "given=CLASS, only labels of that class cannot be trusted"
        ),
    )
    model.add_argument(
        "--score",
        choices=["error_proba", "loo_loss", "margin", "trimmed", "self_influence"],
        help="what rows are ranked by (default: error_proba, of a numeric target loo_loss)",
    )
    output = audit.add_argument_group("what to show and write")
    output.add_argument("--top", type=_count, default=20, help="rows to print (default: 20)")
    output.add_argument(
        "--out", default="skinfluence-audit", metavar="DIR", help="folder to write to"
    )
    output.add_argument(
        "--html",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write report.html (default: yes)",
    )
    output.add_argument(
        "--cleaned", action="store_true", help="write cleaned.csv, with the suggestions carried out"
    )
    output.add_argument("--json", action="store_true", help="print one JSON object and no table")
    output.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _add_source(command, title):
    """The arguments that say which table is meant, and how it is read."""
    source = command.add_argument_group(title)
    source.add_argument("file", nargs="?", metavar="FILE", help="a csv, tsv or parquet table")
    source.add_argument("--target", metavar="COLUMN", help="the column of labels")
    source.add_argument(
        "--task",
        choices=["auto", "classification", "regression"],
        default="auto",
        help="what kind of target it is (default: by its values)",
    )
    source.add_argument("--id-column", metavar="COLUMN", help="names the rows; not a feature")
    source.add_argument(
        "--drop-columns",
        metavar="A,B",
        default="",
        help="columns to leave out, separated by commas",
    )
    source.add_argument(
        "--na-values",
        metavar="A,B",
        default="",
        help="further texts that stand for nothing in a csv, separated by commas",
    )
    source.add_argument(
        "--keep-na",
        action="store_true",
        help="take NA, None, null and the like in a csv for values; only empty cells are missing",
    )
    source.add_argument(
        "--drop-missing-target",
        action="store_true",
        help="set aside the rows whose target is missing",
    )
    source.add_argument(
        "--features", metavar="A,B", default="", help="the columns that are features (default: all)"
    )
    return source


def _add_model(command):
    """The arguments that say which model is fitted."""
    model = command.add_argument_group("how")
    model.add_argument(
        "--C", type=_positive, help="inverse penalty strength (default: lowest leave-one-out loss)"
    )
    model.add_argument(
        "--class-weight",
        choices=["none", "balanced"],
        default="none",
        help="balanced: classes count alike, however many rows they have",
    )
    model.add_argument(
        "--text-components",
        type=_count,
        default=30,
        metavar="N",
        help="features of a column of texts, 0 for its words (default: 30)",
    )
    model.add_argument(
        "--scaling",
        choices=["standard", "squash", "quantile", "auto"],
        default="standard",
        help=(
            "of numbers: to unit variance (default), outliers pulled in, to normal quantiles, or the "
            "one of lowest leave-one-out loss"
        ),
    )
    model.add_argument(
        "--log-target",
        action="store_true",
        help="model the logarithm of a target above 0 that spreads by factors, as prices do",
    )
    return model


def _add_explain(commands):
    explain = commands.add_parser(
        "explain",
        help="why the model predicts what it predicts for a row",
        description=(
            "Fit the model of an audit without one row, and say what its prediction for that row is "
            "made of: the features, the other rows that it rests on, through which features each of "
            "them acts, and by how much; checked by true refits."
        ),
    )
    _add_source(explain, "what to explain")
    explain.add_argument(
        "--row",
        required=True,
        metavar="ROW",
        help="row of the table: its id where there is an --id-column, else its number, from 0",
    )
    model = _add_model(explain)
    model.add_argument(
        "--verify", type=_count, default=1, metavar="K", help="refits for and against (default: 1)"
    )
    explain.add_argument(
        "--top", type=_count, default=5, metavar="K", help="rows for and against (default: 5)"
    )
    explain.add_argument("--json", action="store_true", help="print one JSON object")


def _add_apply(commands):
    apply = commands.add_parser(
        "apply",
        help="carry out what was decided in report.html",
        description=(
            "Write the audited table with the decisions carried out that the review sheet, "
            "report.html, saved as decisions.csv. A csv comes back as it is but for the cells and "
            "lines that were decided about."
        ),
    )
    apply.add_argument("file", metavar="FILE", help="the table that was audited")
    apply.add_argument(
        "decisions",
        metavar="DECISIONS",
        nargs="?",
        default="decisions.csv",
        help="what its review sheet saved, mostly in the folder Downloads (default: decisions.csv here)",
    )
    apply.add_argument(
        "--out",
        metavar="FILE",
        help="what to write (default: FILE with .cleaned before its ending)",
    )
    apply.add_argument("--json", action="store_true", help="print one JSON object")
    apply.add_argument("--quiet", action="store_true", help="print nothing but errors")


def model_options(arguments):
    """What `select_model` is told of the model."""
    weight = None if arguments.class_weight == "none" else arguments.class_weight
    return {
        "C": arguments.C,
        "class_weight": weight,
        "text_components": arguments.text_components,
        "scaling": arguments.scaling,
        "log_target": arguments.log_target,
    }


def _positive(text):
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be positive and finite, got {text}")
    return value


def _suspect(text):
    kind, _, label = text.partition("=")
    if kind not in ("true", "given") or not label:
        raise argparse.ArgumentTypeError(f"must be true=CLASS or given=CLASS. Got {text!r}.")
    return kind, label


def _seed(text):
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 2**32 - 1, got {text}")
    return value


def _count(text):
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0. Got {text!r}.")
    return value
