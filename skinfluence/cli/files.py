"""The table a command is about, and where it may write."""

import os
from pathlib import Path

from skinfluence._utils.demos import DEMOS
from skinfluence.cleaning.files import InputError
from skinfluence.cleaning.tables import demo_problem, file_problem


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


NAMES = {"issues": "issues.csv", "report": "report.html", "cleaned": "cleaned.csv"}


def outputs(arguments):
    """What will be written where, by name."""
    wanted = {"issues": True, "report": arguments.html, "cleaned": arguments.cleaned}
    return {name: Path(arguments.out) / NAMES[name] for name in NAMES if wanted[name]}


def note_on_earlier(arguments):
    """What an earlier audit left in the folder that this one does not write over."""
    there = [Path(arguments.out) / name for name in NAMES.values()]
    left = [path for path in there if path not in outputs(arguments).values() and path.exists()]
    if not left:
        return ()
    many = len(left) > 1
    return (
        f"{' and '.join(map(str, left))} {'are' if many else 'is'} of an earlier audit, and "
        f"{'stay' if many else 'stays'} as {'they are' if many else 'it is'}.",
    )


def check_output(arguments):
    """Refuse a folder that is a file, and to write over the table that is read, by whatever path."""
    folder = Path(arguments.out)
    files = [path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()]
    if files:
        raise InputError(
            f"--out must be a folder, which is made where it is missing. Got {arguments.out}, where "
            f"{files[0]} is a file: name another one."
        )
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
