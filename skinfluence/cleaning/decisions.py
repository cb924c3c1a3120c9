"""What a person decided about the rows of a table, as a file: of which table, and carrying it out."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.cleaning.files import READERS, InputError, read_table
from skinfluence.cleaning.outputs import FORMULA_STARTS
from skinfluence.cleaning.text_table import read_text_table

COLUMNS = ("table", "target", "row", "id", "given", "decision", "action", "label")
ACTIONS = ("relabel", "drop", "keep")

# What review.js writes after one more apostrophe.
_QUOTED = re.compile(rf"'+[{re.escape(''.join(FORMULA_STARTS))}]")


@dataclass(frozen=True, eq=False)
class Reviewed:
    """The table that a review is about.

    Attributes
    ----------
    name : str
        Of the file.
    fingerprint : str
        Of its bytes, so that decisions are not carried out on another one.
    target : str
        The column that is judged.
    rows : ndarray of int
        Positions in the table of the rows that were audited.
    written : dict
        Classes as the table writes them.
    given : ndarray
        Targets of the audited rows as the table writes them.
    """

    name: str
    fingerprint: str
    target: str
    rows: np.ndarray
    written: dict
    given: np.ndarray


@dataclass(frozen=True, eq=False)
class Decisions:
    """What was decided, by row of the table.

    Attributes
    ----------
    target : str
        The column that was judged.
    given : dict of int to str
        What the table said about each row that was decided.
    relabel : dict of int to str
        New targets.
    drop : tuple of int
        Rows to remove, ascending.
    keep : tuple of int
        Rows that stay as they are, ascending.
    ids : dict of int to str
        What the audit called each row that was decided; where it had no id, its number.
    """

    target: str
    given: dict
    relabel: dict
    drop: tuple
    keep: tuple
    ids: dict


def fingerprint_of(content):
    """A name for some bytes that others do not share."""
    return hashlib.sha256(content).hexdigest()[:16]


def fingerprint_of_targets(y, ids):
    """A name for rows in memory: what they are called and what target they carry."""
    texts = [f"{name!s}\x1f{label!s}" for name, label in zip(ids, y.tolist(), strict=True)]
    return fingerprint_of("\x1e".join(texts).encode("utf-8", "surrogatepass"))


def read_decisions(path, fingerprint):
    """Read a file of decisions about a table, or raise an InputError of one line.

    Parameters
    ----------
    path : path
        A csv that the review sheet of an audit saved.
    fingerprint : str
        Of the table.

    Returns
    -------
    decisions : Decisions
    """
    path = Path(path)
    cells = _cells_about(path, fingerprint)
    targets = set(cells["target"])
    given, ids, found = {}, {}, {action: {} for action in ACTIONS}
    for at, line in enumerate(cells.to_dict("records"), start=1):
        row, action, label = _decided(line, f"{path.name}, line {at}")
        if row in given:
            raise InputError(f"{path.name} decides twice about row {row}. Leave one line.")
        given[row] = unquoted(line["given"])
        ids[row] = unquoted(line["id"]) or line["row"].strip()
        found[action][row] = label
    return Decisions(
        target=unquoted(targets.pop()) if targets else "",
        given=given,
        relabel=found["relabel"],
        drop=tuple(sorted(found["drop"])),
        keep=tuple(sorted(found["keep"])),
        ids=ids,
    )


def _cells_about(path, fingerprint):
    """The cells of a file of decisions about one column of the table with this fingerprint, as text."""
    if not path.is_file():
        raise InputError(
            f"no such file: {path}. The button of the review sheet, report.html, saves decisions.csv where "
            "the browser saves what it downloads, mostly the folder Downloads: give that path, as in "
            "skinfluence apply TABLE ~/Downloads/decisions.csv"
        )
    try:
        source, _, _ = read_text_table(path, ".csv")
    except Exception as error:  # pandas raises a dozen kinds; all mean the same here.
        raise InputError(
            f"{path.name} cannot be read as csv: {' '.join(str(error).split())}"
        ) from error
    cells = source.cells
    missing = [name for name in COLUMNS if name not in cells.columns]
    if missing:
        raise InputError(
            f"{path.name} holds no decisions: it has no column {missing[0]!r}. Save them with the "
            "button of the review sheet, report.html."
        )
    others = sorted(set(cells["table"]) - {fingerprint})
    if others:
        raise InputError(
            f"{path.name} holds decisions about another table ({others[0]}; this one is "
            f"{fingerprint}): every row could be another one. Give the file that was audited, "
            "unchanged."
        )
    targets = set(cells["target"])
    if len(targets) > 1:
        raise InputError(
            f"{path.name} holds decisions about more than one column: {sorted(targets)}."
        )
    return cells


def _decided(line, place):
    """The row, what was decided about it and the label of one line; ``place`` says where that is."""
    row, action, label = line["row"].strip(), line["action"].strip(), unquoted(line["label"])
    if not row.isdecimal():
        raise InputError(f"{place}: row must be a number from 0. Got {row!r}.")
    if action not in ACTIONS:
        raise InputError(f"{place}: action must be one of {', '.join(ACTIONS)}. Got {action!r}.")
    if action == "relabel" and not label.strip():
        raise InputError(f"{place}: relabel needs a label. Got an empty one.")
    return int(row), action, label


def unquoted(text):
    """A cell without the apostrophe that keeps spreadsheets from running it."""
    return text[1:] if _QUOTED.match(text) else text


def cleaned_path(path):
    """Where the cleaned table goes if nobody says: beside the table, never compressed."""
    path = Path(path)
    suffix = next((s for s in reversed(path.suffixes) if s.lower() in READERS), path.suffix)
    stem = path.name[: path.name.rindex(suffix)] if suffix else path.name
    return path.with_name(f"{stem}.cleaned{suffix}")


def carry_out(path, decisions_path, out):
    """Carry out decisions on the file they are about.

    Parameters
    ----------
    path : path
        The table that was audited.
    decisions_path : path
        What the review sheet saved.
    out : path
        Where the cleaned table goes; the name says whether as csv or parquet.

    Returns
    -------
    content : bytes
        The cleaned table. A csv is as it was but for the cells and lines that were decided about.
    changes : list of dict
        ``row``, ``id``, ``before`` and ``after`` (None for a dropped row) of each change.
    decisions : Decisions
    """
    frame, _, source = read_table(path)
    decisions = read_decisions(decisions_path, fingerprint_of(Path(path).read_bytes()))
    target = decisions.target
    if decisions.given and target not in frame.columns:
        raise InputError(f"{Path(path).name} has no column {target!r}.")
    before = frame[target] if decisions.given else None
    for row, given in decisions.given.items():
        if row >= len(frame):
            raise InputError(
                f"{Path(decisions_path).name} decides about row {row}, and {Path(path).name} has "
                f"{len(frame)} rows."
            )
        if str(before.iloc[row]) != given:
            raise InputError(
                f"{Path(decisions_path).name} says that {target!r} of row {row} is {given!r}, and "
                f"{Path(path).name} says {str(before.iloc[row])!r}. Was one of them edited?"
            )
    relabel = {row: new for row, new in decisions.relabel.items() if new != decisions.given[row]}
    changes = [
        {
            "row": row,
            "id": decisions.ids[row],
            "before": decisions.given[row],
            "after": relabel.get(row),
        }
        for row in sorted([*relabel, *decisions.drop])
    ]
    return _content(frame, source, target, relabel, decisions.drop, out), changes, decisions


def _content(frame, source, target, relabel, drop, out):
    as_parquet = Path(out).suffix.lower() in (".parquet", ".pq")
    if source is not None and not as_parquet:
        return source.edited(target if relabel else frame.columns[0], relabel, drop)
    if relabel:
        frame = frame.assign(**{target: _with_labels(frame[target], relabel)})
    frame = frame.drop(index=list(drop))
    return frame.to_parquet(index=False) if as_parquet else frame.to_csv(index=False).encode()


def _with_labels(column: Any, relabel):
    """A column of a typed table with new values, in its type."""
    pd = require("pandas", extra="audit")
    if isinstance(column.dtype, pd.CategoricalDtype):
        known = {str(one): one for one in column.cat.categories}
        values = {row: known.get(text, text) for row, text in relabel.items()}
        column = column.cat.add_categories(
            [one for one in dict.fromkeys(values.values()) if one not in set(known.values())]
        )
    else:
        values = {row: _in_type(text, column) for row, text in relabel.items()}
    column = column.copy()
    for row, value in values.items():
        column.iloc[row] = value
    return column


def _in_type(text, column):
    pd = require("pandas", extra="audit")
    # Values that are there already need no reading; a bool "False" would be read as true.
    known = column[column.astype(str) == text]
    if len(known):
        return known.iloc[0]
    try:
        if pd.api.types.is_bool_dtype(column):
            raise ValueError
        return pd.Series([text]).astype(column.dtype).iloc[0]
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{text!r} is no value of the column {column.name!r}, which holds {column.dtype}."
        ) from error
