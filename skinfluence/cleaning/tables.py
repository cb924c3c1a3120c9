"""From a file or a demo to a problem that can be audited: rows, target, ids, task.

Every way in which a user's table can be unfit for an audit is refused here, in one line each.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.cleaning.cells import MISSING, read_column
from skinfluence.cleaning.files import InputError, check_column, dropping, listed, read_table
from skinfluence.cleaning.suspicions import suspicions
from skinfluence.cleaning.target_column import (
    check_finite,
    checked_target,
    holds_objects,
    marks_in_words,
    meant_target,
    missing_target,
    rows_of_shared_classes,
)
from skinfluence.datasets import load_demo


@dataclass(frozen=True, eq=False)
class AuditedTable:
    """A training set ready for an audit.

    Attributes
    ----------
    name : str
        File name or name of the demo.
    frame : DataFrame
        The table as read, the target included; the cells of a csv as they are written.
    rows : ndarray of int
        Rows of `frame` that are audited; the next three attributes hold these rows only.
    X : DataFrame
        The columns used as features.
    y : ndarray
        The target.
    ids : ndarray
        Names of the rows.
    target : str
        Name of the target column.
    task : {"classification", "regression"}
        What kind of target it is.
    notes : tuple of str
        What the reader should know about the table.
    planted : ndarray of bool or None
        Rows known to be wrong, for a demo.
    y_true : ndarray or None
        The targets without the planted errors, for a demo.
    images : ndarray or None
        One picture per row, for a demo that has pictures.
    source : TextTable or None
        The csv as it lies on the disk.
    groups : ndarray of str or None
        Where the rows come from.
    """

    name: str
    frame: Any
    rows: np.ndarray
    X: Any
    y: np.ndarray
    ids: np.ndarray
    target: str
    task: str
    notes: tuple = ()
    planted: Any = None
    y_true: Any = None
    images: Any = None
    source: Any = None
    groups: Any = None


def demo_problem(name, *, flip_share=0.1, random_state=0):
    """Turn a demo set into a problem whose planted errors are known."""
    pd = require("pandas", extra="audit")
    if not 0 <= flip_share < 1:
        raise InputError(f"--flip-share must be at least 0 and below 1. Got {flip_share}.")
    demo = load_demo(name, flip_share=flip_share, random_state=random_state)
    X = pd.DataFrame(demo.X, columns=demo.feature_names)
    return AuditedTable(
        name=name,
        frame=X.assign(label=demo.y),
        rows=np.arange(len(X)),
        X=X,
        y=demo.y,
        target="label",
        ids=np.arange(len(X)),
        task="classification",
        planted=demo.flipped,
        y_true=demo.y_true,
        images=demo.images,
    )


def file_problem(
    path,
    target,
    *,
    task="auto",
    id_column=None,
    drop_columns=(),
    features=(),
    source_column=None,
    na_values=(),
    keep_na=False,
    drop_missing_target=False,
):
    """Read a table and turn it into a problem, or raise an InputError of one line.

    Parameters
    ----------
    path : path
        A csv, tsv or parquet file.
    target : str
        The column to audit.
    task : {"auto", "classification", "regression"}, default="auto"
        What kind of target it is.
    id_column : str, default=None
        Names the rows.
    drop_columns : collection of str, default=()
        Columns that are no features.
    features : collection of str, default=()
        The columns that are. All others by default.
    source_column : str, default=None
        Says where each row comes from; no feature.
    na_values : collection of str, default=()
        What else stands for nothing in a csv.
    keep_na : bool, default=False
        Whether "NA", "None", "null" and the like are values in a csv, as any other text.
    drop_missing_target : bool, default=False
        Whether rows without a target are set aside. They are refused otherwise.

    Returns
    -------
    problem : AuditedTable
    """
    frame, notes, source = read_table(path)
    named = [column for column in (id_column, source_column) if column]
    _check_roles(frame, path, target, named, drop_columns, features)
    X = frame.drop(columns=list({target, *drop_columns, *named}))
    if features:
        X = frame[list(dict.fromkeys(features))]
    targets, marks, read_as_missing = frame[target], {"", *na_values}, {}
    if source is not None:
        marks |= set() if keep_na else MISSING
        targets = meant_target(targets, marks, task)
        X, reading_notes = _meant(X, marks, keep_na, source.sep)
        notes = (*notes, *reading_notes)
        missing = targets.isna().to_numpy()
        texts = frame[target].to_numpy()[missing]
        read_as_missing = {text: int((texts == text).sum()) for text in dict.fromkeys(texts)}
    known = np.flatnonzero(targets.notna())
    if len(known) < len(targets):
        if not drop_missing_target or len(known) == 0:
            raise InputError(missing_target(targets, read_as_missing))
        notes = (
            *notes,
            f"{len(targets) - len(known)} of {len(targets)} rows have no {target!r}"
            f"{marks_in_words(read_as_missing)}. They are set aside: not in the model, not in the "
            "ranking, unchanged in cleaned.csv.",
        )
    y, task = checked_target(targets.iloc[known], task)
    X, more = _with_values(X, target)
    _check_features(X)
    notes = (*notes, *more)
    ids = frame[id_column].to_numpy() if id_column else np.arange(len(frame))
    rows = np.arange(len(y))
    if task == "classification":
        rows, more = rows_of_shared_classes(y, target)
        notes = (*notes, *more)
    notes = (*notes, *suspicions(X.iloc[known[rows]], y[rows], task))
    return AuditedTable(
        name=Path(path).name,
        frame=frame,
        rows=known[rows],
        X=X.iloc[known[rows]],
        y=y[rows],
        ids=ids[known[rows]],
        target=target,
        task=task,
        notes=tuple(notes),
        source=source,
        groups=None if source_column is None else _sources(frame[source_column], known[rows]),
    )


def _check_roles(frame, path, target, named, drop_columns, features):
    """Refuse columns that are not there, or that are two things at once."""
    if target is None:
        raise InputError(
            "name the column to audit with --target. "
            f"Columns of {Path(path).name}: {listed(frame.columns)}."
        )
    for column in [target, *named, *drop_columns, *features]:
        check_column(frame, column, path)
    if target in features:
        raise InputError(f"{target!r} is the target; it cannot be a feature too.")
    if features and drop_columns:
        raise InputError("give --features or --drop-columns, not both.")
    if target in drop_columns or target in named:
        raise InputError(f"{target!r} is the target; it cannot be dropped or be the id column too.")


def _sources(column, rows):
    """Where each row comes from, as texts; those that do not say so together."""
    texts = column.iloc[rows].astype(object)
    names = texts.where(texts.notna() & (texts.astype(str).str.strip() != ""), "(not said)")
    names = names.astype(str).to_numpy(dtype=str)
    if len(set(names)) < 2:
        raise InputError(
            f"the column {column.name!r} names one source only ({names[0]!r}), so there is nothing to "
            "compare. Leave out --source-column."
        )
    return names


def _meant(texts, marks, keep_na, sep):
    """The features of a csv as what they mean, and notes on what was read as what."""
    pd = require("pandas", extra="audit")
    columns, notes, commas, gone = {}, [], [], {}
    for name in texts.columns:
        cells = texts[name].to_numpy(dtype=object)
        column = read_column(cells, marks, comma=sep == ";")
        if column.values is not None:
            columns[name] = pd.Series(column.values)
        else:
            columns[name] = texts[name].mask(column.missing)
            if keep_na:
                # The vectoriser takes the bare words for nothing.
                words = sorted(MISSING - marks)
                columns[name] = columns[name].replace({word: f"text {word}" for word in words})
        if column.comma:
            commas.append(name)
        if column.odd or (column.marked and not column.comma):
            notes.append(_on_numbers(name, cells, column))
        for text in dict.fromkeys(cells[column.missing].tolist()):
            if text.strip() and text in marks:
                gone.setdefault(text, []).append(name)
    if commas:
        many = len(commas) > 1
        notes.append(
            f"The numbers of column{'s' if many else ''} {listed(commas)} have decimal commas."
        )
    if gone:
        words = "; ".join(f"{text!r} in {listed(names)}" for text, names in gone.items())
        notes.append(f"Read as missing: {words}. If these are values, pass --keep-na.")
    return pd.DataFrame(columns, index=texts.index), notes


def _on_numbers(name, cells, column):
    words = [f"Column {name!r} is read as numbers"]
    if column.marked and not column.comma:
        row = column.marked[0]
        words.append(f"{cells[row]!r} in row {row} as {column.values[row]:.15g}")
    if column.odd:
        row, many = column.odd[0], len(column.odd) > 1
        words.append(
            f"{len(column.odd)} cell{'s that are' if many else ' that is'} no number "
            f"{'are' if many else 'is'} missing, {'the first ' if many else ''}{cells[row]!r} in row {row}"
        )
    return f"{words[0]}: {'; '.join(words[1:])}."


def _with_values(X, target):
    """The columns that say something somewhere, and a note on the others."""
    empty = [column for column in X.columns if X[column].isna().all()]
    if len(empty) == X.shape[1]:
        raise InputError(
            f"no columns are left besides the target {target!r}"
            + (f": {listed(empty)} {_verb(empty)} missing in every row." if empty else ".")
        )
    if not empty:
        return X, ()
    names = f"Column{'s' if len(empty) > 1 else ''} {listed(empty)}"
    return X.drop(columns=empty), (f"{names} {_verb(empty)} missing in every row: left out.",)


def _verb(names):
    return "are" if len(names) > 1 else "is"


def _check_features(X):
    for column in X.columns:
        if holds_objects(X[column]):
            raise InputError(
                f"column {column!r} holds lists or other objects, not numbers or texts. "
                f"Leave out with: {dropping([column])}"
            )
        if _is_number(X[column]):
            check_finite(X[column], f"column {column!r}")


def _is_number(column):
    pd = require("pandas", extra="audit")
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
