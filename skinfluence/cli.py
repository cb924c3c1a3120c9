"""The command line: ``skinfluence audit FILE --target COLUMN``, ``skinfluence apply FILE decisions.csv``.

Parsing and talking only; the work is done in `skinfluence.cleaning`.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import shlex
import signal
import sys
import threading
import warnings
from collections import Counter
from pathlib import Path

OK, USER_ERROR, INTERRUPTED = 0, 2, 130


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments without the program name. ``sys.argv[1:]`` by default.

    Returns
    -------
    code : int
        0 when all went well, 2 for a mistake in the input (one line on stderr says which), 130 when
        interrupted.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    name = f"skinfluence {argv[0]}" if argv[:1] and argv[0] in COMMANDS else "skinfluence"
    try:
        with _terminated_like_interrupted():
            try:
                arguments = _parser().parse_args(argv)
            except SystemExit as stop:
                sys.stdout.flush()
                return int(stop.code or 0)
            COMMANDS[arguments.command](arguments, "skinfluence " + shlex.join(argv))
            sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has seen enough. Files are written before anything is printed.
        _discard_output()
        return OK
    except KeyboardInterrupt:
        print(f"{name}: interrupted, nothing written", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, ArithmeticError, MemoryError, ImportError, OSError) as error:
        # InputError and numpy's LinAlgError are ValueErrors. Anything else is a bug worth a traceback.
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"{name}: error: {reason}", file=sys.stderr)
        return USER_ERROR
    return OK


def _discard_output():
    """Send what is still to be flushed nowhere, so that the interpreter ends without a complaint."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def _terminated_like_interrupted():
    """SIGTERM raises KeyboardInterrupt, so that nothing half-written is left."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser():
    # Imports happen inside `main`, where an interruption is answered in one line.
    from skinfluence.datasets import DEMOS

    parser = argparse.ArgumentParser(
        prog="skinfluence", description="Which rows of a training set make its model wrong?"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_audit(commands, DEMOS)
    _add_apply(commands)
    _add_explain(commands)
    return parser


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
        "--verify", type=_count, default=10, metavar="K", help="refits without the top K rows"
    )
    model.add_argument(
        "--flip-share", type=float, default=0.1, help="share of labels a demo flips (default: 0.1)"
    )
    model.add_argument("--seed", type=_seed, default=0, help="which labels a demo flips")
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
        "--row", type=_count, required=True, metavar="I", help="row of the table, from 0"
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
    apply.add_argument("decisions", metavar="DECISIONS", help="decisions.csv of its review sheet")
    apply.add_argument(
        "--out",
        metavar="FILE",
        help="what to write (default: FILE with .cleaned before its ending)",
    )
    apply.add_argument("--json", action="store_true", help="print one JSON object")
    apply.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _audit(arguments, command):
    from skinfluence._utils._optional import require
    from skinfluence.answers import LOCAL
    from skinfluence.cleaning import audit
    from skinfluence.cleaning.outputs import write_together
    from skinfluence.cleaning.selection import cleaning_score, select_model, threads_for

    for module in ["pandas", "rich", "tqdm", *(["jinja2", "matplotlib"] if arguments.html else [])]:
        require(module, extra="audit")
    _check_output(arguments)
    talk = not (arguments.quiet or arguments.json)
    with _collected_warnings() as warned:
        problem = _problem(arguments)
        selection = select_model(problem, progress=talk, **_model_options(arguments))
        # One step of an imputer is a fit of it for each row: those methods describe the model alone.
        local = arguments.method in LOCAL
        influence = selection.influence if local else selection.whole
        with threads_for(problem, selection.X):
            with _status("leaving out every row", talk):
                found = audit(
                    selection.model if local else selection.learner,
                    selection.X if local else selection.table,
                    problem.y,
                    ids=problem.ids,
                    method=arguments.method,
                    groups=problem.groups,
                    influence=influence,
                )
            verification = found.verify(arguments.verify, progress=talk)
            score = None
            if problem.y_true is not None:
                with _status("fitting on the cleaned rows", talk):
                    score = cleaning_score(found, selection, problem)
    notes = (*problem.notes, *selection.notes, *found.notes, *warned)
    found = dataclasses.replace(found, notes=notes)
    outcome = {
        "problem": problem,
        "selection": selection,
        "found": found,
        "verification": verification,
        "score": score,
    }
    with _status("writing", talk):
        contents = _contents(arguments, command, **outcome)
        write_together(contents)
    if arguments.json:
        summary = _summary(arguments, files=contents, **outcome)
        print(json.dumps(_finite(summary), indent=2, allow_nan=False))
    elif not arguments.quiet:
        from skinfluence.cleaning.printing import print_audit

        print_audit(top=arguments.top, files=contents, **outcome)


def _model_options(arguments):
    weight = None if arguments.class_weight == "none" else arguments.class_weight
    return {
        "C": arguments.C,
        "class_weight": weight,
        "text_components": arguments.text_components,
        "scaling": arguments.scaling,
    }


def _explain(arguments, command):
    import numpy as np

    from skinfluence._utils._optional import require
    from skinfluence.cleaning.selection import select_model, threads_for
    from skinfluence.cleaning.tables import InputError
    from skinfluence.inspection import explain

    for module in ["pandas", "tqdm", *([] if arguments.json else ["rich"])]:
        require(module, extra="audit")
    if arguments.file is None:
        raise InputError("give a FILE with --target COLUMN and --row I")
    with _collected_warnings() as warned:
        problem = _file_problem(arguments)
        (at,) = np.nonzero(problem.rows == arguments.row)
        if not len(at):
            raise InputError(
                f"row {arguments.row} is not among the rows of the model: {problem.name} has rows 0 to "
                f"{len(problem.frame) - 1}, and {len(problem.frame) - len(problem.rows)} of them are "
                "set aside."
            )
        selection = select_model(problem, progress=not arguments.json, **_model_options(arguments))
        with threads_for(problem, selection.X):
            found = explain(
                selection.influence,
                row=int(at[0]),
                k=arguments.top,
                checks=arguments.verify,
                names=selection.names,
            )
    notes = [*problem.notes, *selection.notes, *warned]
    if arguments.json:
        print(json.dumps(_finite(_explained(problem, found, notes)), indent=2, allow_nan=False))
    else:
        from skinfluence.cleaning.printing import print_explanation

        print_explanation(problem, found, notes)


def _explained(problem, found, notes):
    """The JSON object of an explanation."""
    rows = [
        {
            **line,
            "row": int(problem.rows[line["row"]]),
            "id": _plain(problem.ids[line["row"]]),
            "through": [{"feature": name, "change": change} for name, change in line["through"]],
        }
        for line in found.rows.to_dict("records")
    ]
    features = None if found.features is None else found.features.to_dict("records")
    return {
        "source": problem.name,
        "row": int(problem.rows[found.left_out]),
        "id": _plain(problem.ids[found.left_out]),
        "given": _plain(problem.y[found.left_out]),
        "prediction": _plain(found.prediction),
        "probability": found.probability,
        "decision": found.decision,
        "features": features,
        "rows": [{name: _plain(value) for name, value in line.items()} for line in rows],
        "largest_difference": found.largest_difference,
        "notes": notes,
    }


def _plain(value):
    """A number or a text of Python's own."""
    return value.item() if hasattr(value, "item") else value


def _apply(arguments, command):
    from skinfluence._utils._optional import require
    from skinfluence.cleaning.decisions import carry_out, cleaned_path
    from skinfluence.cleaning.outputs import write_together

    for module in ["pandas", *([] if arguments.json or arguments.quiet else ["rich"])]:
        require(module, extra="audit")
    out = cleaned_path(arguments.file) if arguments.out is None else Path(arguments.out)
    for given in (arguments.file, arguments.decisions):
        _refuse_to_write_over(out, given)
    content, changes, decisions = carry_out(arguments.file, arguments.decisions, out)
    write_together({out: content})
    if arguments.json:
        summary = {"target": decisions.target, "decided": len(decisions.given), "file": str(out)}
        print(json.dumps({**summary, "changes": changes}, indent=2))
    elif not arguments.quiet:
        from skinfluence.cleaning.printing import print_changes

        print_changes(changes, decisions, out)


def _outputs(arguments):
    """What will be written where, by name."""
    folder = Path(arguments.out)
    names = ["issues", *(["report"] if arguments.html else [])]
    names += ["cleaned"] if arguments.cleaned else []
    return {name: folder / (name + (".html" if name == "report" else ".csv")) for name in names}


def _check_output(arguments):
    """Refuse to write over the table that is read, by whatever path it is reached."""
    if arguments.file is None:
        return
    for path in _outputs(arguments).values():
        _refuse_to_write_over(path, arguments.file)


def _refuse_to_write_over(path, given):
    from skinfluence.cleaning.tables import InputError

    source = Path(given)
    same = path.exists() and source.exists() and os.path.samefile(path, source)
    if same or path.resolve() == source.resolve():
        raise InputError(
            f"{path} would be written over {given}, which is read. Name another place with --out."
        )


def _problem(arguments):
    from skinfluence.cleaning.tables import InputError, demo_problem
    from skinfluence.datasets import DEMOS

    if (arguments.file is None) == (arguments.demo is None):
        raise InputError(
            "give either a FILE with --target COLUMN, or --demo with one of " + ", ".join(DEMOS)
        )
    if arguments.demo:
        return demo_problem(
            arguments.demo, flip_share=arguments.flip_share, random_state=arguments.seed
        )
    return _file_problem(arguments)


def _file_problem(arguments):
    from skinfluence.cleaning.tables import file_problem

    return file_problem(
        arguments.file,
        arguments.target,
        task=arguments.task,
        id_column=arguments.id_column,
        drop_columns=[name for name in arguments.drop_columns.split(",") if name],
        source_column=getattr(arguments, "source_column", None),
        features=[name for name in arguments.features.split(",") if name],
        na_values=[text.strip() for text in arguments.na_values.split(",") if text.strip()],
        keep_na=arguments.keep_na,
        drop_missing_target=arguments.drop_missing_target,
    )


def _contents(arguments, command, *, problem, selection, found, verification, score):
    """What to write where."""
    paths = _outputs(arguments)
    issues = found.table.assign(row=problem.rows[found.table["row"]])
    if problem.planted is not None:
        rows = found.table["row"].to_numpy()
        issues = issues.assign(true=problem.y_true[rows], planted=problem.planted[rows])
    contents = {paths["issues"]: _without_formulas(issues).to_csv(index=False)}
    if arguments.html:
        contents[paths["report"]] = found.to_html(
            title=f"Audit of {problem.name}",
            top=None if arguments.top <= 50 else arguments.top,
            details=None if problem.images is not None else _details(problem),
            images=problem.images,
            verification=verification,
            planted=problem.planted,
            selection=selection,
            cleaning_score=score,
            command=command,
            reviewed=_reviewed(arguments, problem),
        )
    if arguments.cleaned:
        contents[paths["cleaned"]] = _cleaned(problem, found.plan())
    return contents


def _reviewed(arguments, problem):
    """What decisions about the rows of a file are about; None for a demo."""
    from skinfluence.cleaning.decisions import Reviewed, fingerprint_of

    if arguments.file is None:
        return None
    return Reviewed(
        name=problem.name,
        fingerprint=fingerprint_of(Path(arguments.file).read_bytes()),
        target=problem.target,
        rows=problem.rows,
        written=_as_written(problem),
        given=problem.frame[problem.target].to_numpy()[problem.rows],
    )


def _without_formulas(table):
    """The table with an apostrophe before texts that a spreadsheet would run."""
    from skinfluence.cleaning.outputs import inert

    texts = [name for name in table.columns if not _is_number(table[name])]
    return table.assign(**{name: [inert(value) for value in table[name]] for name in texts})


def _is_number(column):
    return column.dtype.kind in "biuf"


def _details(problem):
    """The rows as a person knows them; lists and the like as texts."""
    rows = problem.frame.iloc[problem.rows]
    odd = [name for name in rows.columns if rows[name].map(_is_container).any()]
    return rows.assign(**{name: rows[name].map(str) for name in odd})


def _is_container(value):
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes))


def _cleaned(problem, plan):
    """The table as read with the plan carried out; rows that were set aside stay as they are."""
    rows = problem.rows
    # Labels as the table holds them: of several ways to write a class, the one most used.
    written = _as_written(problem)
    labels = dict(zip(rows[plan.relabel].tolist(), plan.labels.tolist(), strict=True))
    labels = {row: written[label] for row, label in labels.items()}
    if problem.source is not None:
        return problem.source.edited(problem.target, labels, rows[plan.drop].tolist())
    cleaned = problem.frame.copy()
    before = cleaned[problem.target]
    if labels:
        after = [labels.get(row, value) for row, value in before.items()]
        cleaned[problem.target] = type(before)(after, index=before.index, dtype=before.dtype)
    return cleaned.drop(index=rows[plan.drop]).to_csv(index=False)


def _as_written(problem):
    ways = {}
    cells = problem.frame[problem.target].iloc[problem.rows]
    for label, cell in zip(problem.y.tolist(), cells, strict=True):
        ways.setdefault(label, Counter())[cell] += 1
    return {label: found.most_common(1)[0][0] for label, found in ways.items()}


def _summary(arguments, *, problem, selection, found, verification, score, files):
    """The JSON object of ``--json``."""
    from skinfluence.cleaning.report import summarise

    def records(table):
        # Through pandas, so that numpy numbers and NaN become plain JSON.
        return json.loads(table.to_json(orient="records"))

    summary = {
        "source": problem.name,
        "task": problem.task,
        "n_rows": len(problem.y),
        "n_set_aside": len(problem.frame) - len(problem.rows),
        "n_features": selection.X.shape[1],
        "columns": selection.columns,
        "C": selection.strength,
        **summarise(found),
        **({} if found.noise_share is None else {"noise_share": found.noise_share}),
        "actions": {
            action: int((found.table["action"] == action).sum())
            for action in ("drop", "relabel", "keep")
        },
        "notes": list(found.notes),
        **({} if found.sources is None else {"sources": records(found.sources)}),
        "top": records(found.table.head(arguments.top)),
        "verification": records(verification),
        "files": [str(path) for path in files],
    }
    if problem.planted is not None:
        summary["planted"] = int(problem.planted.sum())
        summary["depths"] = records(found.depth_table(problem.planted))
        summary["accuracy_on_true_labels"] = score
    return summary


def _finite(value, where="", missing=None):
    """The same with null for numbers that are not finite, which JSON has no word for, and a note."""
    if missing is None:
        names = []
        value = _finite(value, where, names)
        if names:
            value["notes"].append(
                f"null stands for numbers that are not finite: {', '.join(dict.fromkeys(names))}."
            )
        return value
    if isinstance(value, dict):
        return {key: _finite(inner, key, missing) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner, where, missing) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        missing.append(where)
        return None
    return value


@contextlib.contextmanager
def _collected_warnings():
    """A list that receives what was warned of, each text once; nothing is printed."""
    texts = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        # Overflow in a line search that then steps back, and the like: harmless.
        warnings.simplefilter("ignore", RuntimeWarning)
        yield texts
    for warning in caught:
        text = " ".join(str(warning.message).split())
        ours = (
            issubclass(warning.category, UserWarning)
            and "skrub" not in Path(warning.filename).parts
        )
        if ours and text not in texts:
            texts.append(text)


@contextlib.contextmanager
def _status(message, show):
    """A spinner on stderr while something long runs, on a terminal only."""
    if not (show and sys.stderr.isatty()):
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(message + " …"):
        yield


def _positive(text):
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be positive and finite, got {text}")
    return value


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


COMMANDS = {"audit": _audit, "apply": _apply, "explain": _explain}


if __name__ == "__main__":
    sys.exit(main())
