"""``skinfluence audit``: rank the suspicious rows of a table, check the top ones, write a report."""

import contextlib
import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.answers import LOCAL
from skinfluence.cleaning import audit
from skinfluence.cleaning.decisions import Reviewed, fingerprint_of
from skinfluence.cleaning.files import InputError
from skinfluence.cleaning.outputs import inert, write_together
from skinfluence.cleaning.report import summarise
from skinfluence.cleaning.selection import cleaning_score, select_model, threads_for
from skinfluence.cli.arguments import model_options
from skinfluence.cli.files import check_output, note_on_earlier, outputs, problem_of
from skinfluence.cli.talking import collected_warnings, finite, status
from skinfluence.statistics import OverBudgetError


def run(arguments, command):
    """Audit, then write every file at once, then print."""
    for module in ["pandas", "rich", "tqdm", *(["jinja2", "matplotlib"] if arguments.html else [])]:
        require(module, extra="audit")
    check_output(arguments)
    talk = not (arguments.quiet or arguments.json)
    with collected_warnings() as warned:
        problem = problem_of(arguments)
        options = {**model_options(arguments), "budget": arguments.budget}
        selection = select_model(problem, progress=talk, **options)
        # One step of an imputer is a fit of it for each row: those methods describe the model alone.
        local = arguments.method in LOCAL
        influence = selection.influence if local else selection.whole
        # Of many classes each factor is as large as the answers.
        selection = dataclasses.replace(selection, influence=influence)
        with threads_for(problem, selection.X), _within(arguments.budget):
            with status("leaving out every row", talk):
                found = audit(
                    selection.model if local else selection.learner,
                    selection.X if local else selection.table,
                    problem.y,
                    ids=problem.ids,
                    method=arguments.method,
                    suspect=_suspected(arguments.suspect, problem),
                    score=arguments.score,
                    effects=True,
                    groups=problem.groups,
                    influence=influence,
                )
            verification = found.verify(arguments.verify, progress=talk)
            score = None if problem.y_true is None else _score(found, selection, problem, talk)
    # What was found first, then how the table was read.
    earlier = note_on_earlier(arguments)
    notes = (*found.notes, *problem.notes, *selection.notes, *warned, *earlier)
    found = dataclasses.replace(found, notes=notes)
    outcome = {
        "problem": problem,
        "selection": selection,
        "found": found,
        "verification": verification,
        "score": score,
    }
    with status("writing", talk):
        contents = _contents(arguments, command, **outcome)
        write_together(contents)
    if arguments.json:
        summary = _summary(arguments, files=contents, **outcome)
        print(json.dumps(finite(summary), indent=2, allow_nan=False))
    elif not arguments.quiet:
        from skinfluence.cleaning.printing import print_audit

        print_audit(top=arguments.top, files=contents, path=arguments.file, **outcome)


def _score(found, selection, problem, talk):
    """Accuracy against the truth, by what was done to the training set."""
    with status("fitting on the cleaned rows", talk):
        return cleaning_score(found, selection, problem)


def _suspected(suspect, problem):
    """The class that was named as text, as `audit` wants it."""
    if suspect is None:
        return None
    kind, text = suspect
    if problem.task == "regression":
        raise InputError(
            f"--suspect names a class, and the target {problem.target!r} is a quantity."
        )
    classes = np.unique(problem.y).tolist()
    named = {f"{c:g}" if isinstance(c, float) else str(c): c for c in classes}
    known = {str(c): c for c in classes} | named
    if text not in known:
        raise InputError(
            f"--suspect must name a class of {problem.target!r}, one of {', '.join(map(repr, named))}. "
            f"Got {text!r}."
        )
    return {kind: known[text]}


@contextlib.contextmanager
def _within(budget):
    """What takes too long is said with what the command line can do about it."""
    try:
        yield
    except OverBudgetError as error:
        raise InputError(
            f"leaving rows out may take --budget {budget:g} CPU seconds for fitting the imputer and "
            f"the scaler again. Got {error.fits} rows that need it, about {error.seconds:.3g} "
            "seconds. Raise --budget, or pass --method one-step, which leaves rows out of the model "
            "alone."
        ) from error


def _contents(arguments, command, *, problem, selection, found, verification, score):
    """What to write where."""
    paths = outputs(arguments)
    issues = _numbered(found.table, problem)
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


def _numbered(table, problem):
    """A table of rows with the numbers that they have in the file, where some may have been set aside."""
    return table.assign(row=problem.rows[table["row"]])


def _reviewed(arguments, problem):
    """What decisions about the rows of a file are about; None for a demo."""
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
        "top": records(_numbered(found.table.head(arguments.top), problem)),
        "verification": records(_numbered(verification, problem)),
        "files": [str(path) for path in files],
    }
    if problem.planted is not None:
        summary["planted"] = int(problem.planted.sum())
        summary["depths"] = records(found.depth_table(problem.planted))
        summary["accuracy_on_true_labels"] = score
    return summary
