"""``skinfluence explain``: why the model predicts what it predicts for a row."""

import json

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.cleaning.files import InputError
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
        raise InputError("give a FILE with --target COLUMN and --row I")
    with collected_warnings() as warned:
        problem = file_problem_of(arguments)
        (at,) = np.nonzero(problem.rows == arguments.row)
        if not len(at):
            raise InputError(
                f"row {arguments.row} is not among the rows of the model: {problem.name} has rows 0 to "
                f"{len(problem.frame) - 1}, and {len(problem.frame) - len(problem.rows)} of them are "
                "set aside."
            )
        selection = select_model(problem, progress=not arguments.json, **model_options(arguments))
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
        print(json.dumps(finite(_explained(problem, found, notes)), indent=2, allow_nan=False))
    else:
        from skinfluence.cleaning.printing import print_explanation

        print_explanation(problem, found, notes)


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
