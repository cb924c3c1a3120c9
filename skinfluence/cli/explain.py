"""``skinfluence explain``: why the model predicts what it predicts for a row."""

import json
from difflib import get_close_matches

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.cleaning.files import InputError, dropping
from skinfluence.cleaning.selection import select_model, threads_for
from skinfluence.cli.arguments import model_options
from skinfluence.cli.files import file_problem_of
from skinfluence.cli.talking import collected_warnings, finite, plain
from skinfluence.inspection import explain


def run(arguments, command):
    """Explain one row, and print it."""
    for module in ["pandas", "tqdm", *([] if arguments.json else ["rich"])]:
        require(module, extra="audit")
    if arguments.file is None:
        raise InputError("give a FILE with --target COLUMN and --row ROW")
    with collected_warnings() as warned:
        problem = file_problem_of(arguments)
        at = _place(problem, arguments.row, arguments.id_column)
        selection = select_model(problem, progress=not arguments.json, **model_options(arguments))
        with threads_for(problem, selection.X):
            found = explain(
                selection.influence,
                row=at,
                k=arguments.top,
                checks=arguments.verify,
                names=selection.names,
            )
    notes = [*problem.notes, *selection.notes, *warned]
    if arguments.json:
        print(json.dumps(finite(_explained(problem, found, notes)), indent=2, allow_nan=False))
    else:
        from skinfluence.cleaning.printing import print_explanation

        print_explanation(problem, found, notes)


def _place(problem, row, id_column):
    """Place of the row that ``--row`` names, by its id or else its number, among the rows of the model."""
    number = _number(row) if id_column is None else _with_id(problem, row, id_column)
    places = np.flatnonzero(problem.rows == number)
    if not len(places):
        aside = len(problem.frame) - len(problem.rows)
        raise InputError(
            f"--row must name a row of the model: {problem.name} has rows 0 to {len(problem.frame) - 1}"
            f"{f', and {aside} of them are set aside' if aside else ''}. Got {row}."
        )
    return int(places[0])


def _number(row):
    if not row.isdecimal():
        raise InputError(
            "--row must be a whole number from 0, or the id of a row with --id-column COLUMN. "
            f"Got {row!r}."
        )
    return int(row)


def _with_id(problem, row, id_column):
    ids = problem.frame[id_column].astype(str).to_numpy()
    numbers = np.flatnonzero(ids == row)
    if len(numbers) == 1:
        return numbers[0]
    by_number = f"to name a row by its number, pass {dropping([id_column])} for --id-column."
    if len(numbers):
        raise InputError(
            f"--row must name one row. Got {row!r}, which is the {id_column!r} of {len(numbers)} rows, "
            f"{numbers[0]} and {numbers[1]} (from 0) among them: {by_number}"
        )
    meant = get_close_matches(row, ids, n=1)
    hint = f" Did you mean {meant[0]!r}?" if meant else ""
    if row.isdecimal():
        hint = f" If that is its number: {by_number}"
    raise InputError(
        f"--row must be in the --id-column {id_column!r}, such as {ids[0]!r}. Got {row!r}.{hint}"
    )


def _explained(problem, found, notes):
    """The JSON object of an explanation."""
    rows = [
        {
            **line,
            "row": int(problem.rows[line["row"]]),
            "id": plain(problem.ids[line["row"]]),
            "through": [{"feature": name, "change": change} for name, change in line["through"]],
        }
        for line in found.rows.to_dict("records")
    ]
    features = None if found.features is None else found.features.to_dict("records")
    return {
        "source": problem.name,
        "row": int(problem.rows[found.left_out]),
        "id": plain(problem.ids[found.left_out]),
        "given": plain(problem.y[found.left_out]),
        "prediction": plain(found.prediction),
        "probability": found.probability,
        "decision": found.decision,
        "features": features,
        "rows": [{name: plain(value) for name, value in line.items()} for line in rows],
        "largest_difference": found.largest_difference,
        "notes": notes,
    }
