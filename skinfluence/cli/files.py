"""The table a command is about, and where it may write."""

import os
from pathlib import Path

from skinfluence.cleaning.files import InputError
from skinfluence.cleaning.tables import demo_problem, file_problem
from skinfluence.datasets import DEMOS


def problem_of(arguments):
    """The learning problem of a file or of a demo."""
    if (arguments.file is None) == (arguments.demo is None):
        raise InputError(
            "give either a FILE with --target COLUMN, or --demo with one of " + ", ".join(DEMOS)
        )
    if arguments.demo:
        return demo_problem(
            arguments.demo, flip_share=arguments.flip_share, random_state=arguments.seed
        )
    return file_problem_of(arguments)


def file_problem_of(arguments):
    """The learning problem of a file."""
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


def outputs(arguments):
    """What will be written where, by name."""
    folder = Path(arguments.out)
    names = ["issues", *(["report"] if arguments.html else [])]
    names += ["cleaned"] if arguments.cleaned else []
    return {name: folder / (name + (".html" if name == "report" else ".csv")) for name in names}


def check_output(arguments):
    """Refuse to write over the table that is read, by whatever path it is reached."""
    if arguments.file is None:
        return
    for path in outputs(arguments).values():
        refuse_to_write_over(path, arguments.file)


def refuse_to_write_over(path, given):
    """Refuse a ``path`` that is the file ``given``, however it is reached."""
    source = Path(given)
    same = path.exists() and source.exists() and os.path.samefile(path, source)
    if same or path.resolve() == source.resolve():
        raise InputError(
            f"{path} would be written over {given}, which is read. Name another place with --out."
        )
