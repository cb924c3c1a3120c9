"""From a file or a demo to a problem that can be audited: rows, target, ids, task.

Every way in which a user's table can be unfit for an audit is refused here, in one line each.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.cleaning.cells import MISSING, read_column
from skinfluence.cleaning.suspicions import is_identifier, suspicions
from skinfluence.cleaning.text_table import read_text_table
from skinfluence.datasets import load_demo

# A numeric target with more distinct values than this, or with fractions, is a quantity.
MAX_NUMERIC_CLASSES = 20

# Words in a text that is no name of a class, and characters in the longest name.
WORDS_OF_FREE_TEXT, MAX_LABEL = 4, 1000

READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".parquet": "read_parquet",
    ".pq": "read_parquet",
}


TEXT = (".csv", ".tsv")

# Beyond this the square of a number, or a sum of squares, is not finite.
MAX_NUMBER = 1e100


class InputError(ValueError):
    """The input cannot be audited; the message says why and what to do, in one line."""


@dataclass(frozen=True, eq=False)
class Problem:
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
    return Problem(
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
    problem : Problem
    """
    frame, notes, source = read_table(path)
    if target is None:
        raise InputError(
            "name the column to audit with --target. "
            f"Columns of {Path(path).name}: {_listed(frame.columns)}."
        )
    named = [column for column in (id_column, source_column) if column]
    for column in [target, *named, *drop_columns, *features]:
        _check_column(frame, column, path)
    if target in features:
        raise InputError(f"{target!r} is the target; it cannot be a feature too.")
    if features and drop_columns:
        raise InputError("give --features or --drop-columns, not both.")
    if target in drop_columns or target in named:
        raise InputError(f"{target!r} is the target; it cannot be dropped or be the id column too.")
    X = frame.drop(columns=list({target, *drop_columns, *named}))
    if features:
        X = frame[list(dict.fromkeys(features))]
    targets, marks, read_as_missing = frame[target], {"", *na_values}, {}
    if source is not None:
        marks |= set() if keep_na else MISSING
        targets = _meant_target(targets, marks, task)
        X, reading_notes = _meant(X, marks, keep_na, source.sep)
        notes = (*notes, *reading_notes)
        missing = targets.isna().to_numpy()
        texts = frame[target].to_numpy()[missing]
        read_as_missing = {text: int((texts == text).sum()) for text in dict.fromkeys(texts)}
    known = np.flatnonzero(targets.notna())
    if len(known) < len(targets):
        if not drop_missing_target or len(known) == 0:
            raise InputError(_missing_target(targets, read_as_missing))
        notes = (
            *notes,
            f"{len(targets) - len(known)} of {len(targets)} rows have no {target!r}"
            f"{_marks_in_words(read_as_missing)}. They are set aside: not in the model, not in the "
            "ranking, unchanged in cleaned.csv.",
        )
    y, task = _checked_target(targets.iloc[known], task)
    X, more = _with_values(X, target)
    _check_features(X)
    notes = (*notes, *more)
    ids = frame[id_column].to_numpy() if id_column else np.arange(len(frame))
    rows = np.arange(len(y))
    if task == "classification":
        rows, more = _rows_of_shared_classes(y, target)
        notes = (*notes, *more)
    notes = (*notes, *suspicions(X.iloc[known[rows]], y[rows], task))
    return Problem(
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
            f"The numbers of column{'s' if many else ''} {_listed(commas)} have decimal commas."
        )
    if gone:
        words = "; ".join(f"{text!r} in {_listed(names)}" for text, names in gone.items())
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


def _meant_target(texts, marks, task):
    """The target of a csv as numbers where it is a quantity or counts, else as the texts it holds."""
    pd = require("pandas", extra="audit")
    cells = texts.to_numpy(dtype=object)
    missing = np.fromiter((text.strip() in marks for text in cells), bool, len(cells))
    known = cells[~missing]
    labels = texts.mask(missing)
    numbers = pd.to_numeric(known, errors="coerce")
    plain = len(known) > 0 and not np.isnan(numbers.astype(float)).any()
    if plain and task != "regression":
        whole = all(text.strip().lstrip("+-").isdigit() for text in known)
        padded = any(text.lstrip("+-").startswith("0") and len(text) > 1 for text in known)
        few = len(set(known)) <= MAX_NUMERIC_CLASSES or task == "classification"
        # "0042" is a code; and beyond 64 bits different numbers would become one.
        if (whole and padded and few) or (whole and numbers.dtype.kind == "f"):
            return labels
    if plain:
        if not missing.any():
            return pd.Series(numbers, name=texts.name)
        kind = {"i": "Int64", "u": "UInt64", "f": "float64"}[numbers.dtype.kind]
        full = pd.Series(np.nan if kind == "float64" else pd.NA, index=texts.index, dtype=kind)
        full[~missing] = numbers
        return full.rename(texts.name)
    if task == "classification" or not len(known):
        return labels
    column = read_column(cells, marks)
    if column.values is None or column.values.dtype.kind != "f":
        return labels
    values = column.values[~column.missing]
    if task == "auto" and len(np.unique(values)) <= MAX_NUMERIC_CLASSES:
        return labels
    return pd.Series(column.values, name=texts.name)


def _missing_target(targets, texts):
    missing = np.flatnonzero(targets.isna())
    first = ", ".join(str(row) for row in missing[:3])
    words = [text for text in texts if text in MISSING and text]
    return (
        f"the target {targets.name!r} is missing in {len(missing)} of {len(targets)} rows (first: row "
        f"{first}, counting from 0){_marks_in_words(texts)}. "
        + (f"If {_listed(words)} is a class, pass --keep-na. " if words else "")
        + "Fill them in, or leave these rows out of the audit with --drop-missing-target."
    )


def _marks_in_words(texts):
    shown = [text for text in texts if text.strip()]
    if not shown:
        return ""
    return (
        f"; read as missing: {', '.join(f'{text!r} ({texts[text]} cells)' for text in shown[:8])}"
    )


def read_table(path):
    """Read a csv, tsv or parquet file.

    Returns
    -------
    frame : DataFrame
        With string column names; the cells of a csv are the texts in it.
    notes : tuple of str
        What was recognised.
    source : TextTable or None
        The file itself, for a csv.
    """
    pd = require("pandas", extra="audit")
    path = Path(path)
    if not path.exists():
        raise InputError(f"no such file: {path}{_closest_file(path)}")
    if path.is_dir():
        raise InputError(f"{path} is a folder. Give one csv or parquet file.")
    # "data.csv.gz" is read as csv: pandas unpacks by the last suffix.
    suffix = next((s for s in reversed(path.suffixes) if s.lower() in READERS), path.suffix).lower()
    if suffix not in READERS:
        raise InputError(f"{path.name}: only {', '.join(READERS)} files can be read.")
    if path.stat().st_size == 0:
        raise InputError(f"{path.name} is empty.")
    if READERS[suffix] == "read_parquet":
        require("pyarrow", extra="audit")
    source, notes = None, ()
    try:
        if suffix in TEXT:
            source, header, notes = read_text_table(path, suffix)
            frame = source.cells
        else:
            frame = pd.read_parquet(path)
    except InputError:
        raise
    except Exception as error:  # pandas and pyarrow raise a dozen kinds; all mean the same here.
        reason = " ".join(str(error).split())
        raise InputError(f"{path.name} cannot be read as {suffix[1:]}: {reason}") from error
    if source is not None:
        _check_distinct(pd.Index([name for name in header if name]), path)
        if not isinstance(frame.index, pd.RangeIndex):
            raise InputError(
                f"{path.name}: its rows have more fields than its header. Name all columns."
            )
    if any(name is not None for name in frame.index.names):
        # A named index of a parquet file is a column to everybody else.
        frame = frame.reset_index(allow_duplicates=True)
    if len(frame) == 0:
        raise InputError(f"{path.name} has a header but no rows.")
    frame.columns = [str(column) for column in frame.columns]
    _check_distinct(frame.columns, path)
    return frame.reset_index(drop=True), tuple(notes), source


def _check_distinct(names, path):
    if not names.is_unique:
        twice = sorted(set(names[names.duplicated()]))
        raise InputError(f"{path.name} has more than one column named {_listed(twice)}. Rename.")


def _check_column(frame, column, path):
    if column in frame.columns:
        return
    by_lower = {name.lower(): name for name in frame.columns}
    close = difflib.get_close_matches(column.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"Did you mean {by_lower[close[0]]!r}?" if close else f"It has {_listed(frame.columns)}."
    raise InputError(f"{Path(path).name} has no column {column!r}. {hint}")


def _checked_target(target, task):
    """The target as an array and its task, or one line on why it cannot be audited."""
    pd = require("pandas", extra="audit")
    name, n_rows = target.name, len(target)
    if pd.api.types.is_datetime64_any_dtype(target):
        raise InputError(f"the target {name!r} is a date. Give a column of classes or of numbers.")
    if pd.api.types.is_complex_dtype(target) or _holds_objects(target):
        raise InputError(f"the target {name!r} holds no numbers or texts. Give a plain column.")
    numeric = pd.api.types.is_numeric_dtype(target) and not pd.api.types.is_bool_dtype(target)
    if numeric:
        _check_finite(target, f"the target {name!r}")
    distinct = int(target.nunique())
    if distinct == 1:
        raise InputError(
            f"the target {name!r} has one class only ({target.iloc[0]!r}). "
            "An audit needs at least two."
        )
    if task == "regression" and not numeric:
        raise InputError(
            f"--task regression needs numbers, and the target {name!r} is not numeric: "
            f"{_no_numbers(target)}."
        )
    if task == "auto":
        task = _guessed_task(target, distinct, numeric)
    if task == "regression":
        return target.to_numpy(dtype=float), task
    if not numeric:
        _refuse_free_text(target, distinct)
    if distinct == n_rows:
        raise InputError(
            f"the target {name!r} has a different value in each of its {n_rows} rows, so there are "
            "no classes to learn"
            + (
                ". If it is a quantity, pass --task regression."
                if numeric
                else f": is it an id, or a quantity with cells that are no numbers ({_no_numbers(target)})?"
            )
        )
    if not numeric:
        return target.astype(str).to_numpy(dtype=str), task
    if pd.api.types.is_integer_dtype(target):
        # Through float64 the largest would merge.
        unsigned = pd.api.types.is_unsigned_integer_dtype(target)
        return target.to_numpy(dtype=np.uint64 if unsigned else np.int64), task
    values = target.to_numpy(dtype=float)
    if np.any(values != np.round(values)):
        # Classes that are fractions are names: a model would take them for a quantity.
        return np.array([str(value) for value in target]), task
    return values, task


def _refuse_free_text(target, distinct):
    """Before an array as wide as the longest text is made of it."""
    texts = target.astype(str)
    words = texts.str.count(r"\S+").median()
    if distinct > max(MAX_NUMERIC_CLASSES, len(texts) / 5) and words >= WORDS_OF_FREE_TEXT:
        raise InputError(
            f"the target {target.name!r} is free text ({distinct} different texts in {len(texts)} rows, "
            f"{words:.0f} words in the middle one). Give a column of classes or of numbers."
        )
    if texts.str.len().max() > MAX_LABEL:
        row = int(texts.str.len().to_numpy().argmax())
        raise InputError(
            f"the target {target.name!r} has a label of {texts.str.len().max():,} characters (row "
            f"{target.index[row]}). Give a column of classes or of numbers."
        )


def _no_numbers(target):
    """In words, which cells are no numbers."""
    pd = require("pandas", extra="audit")
    cells = target.astype(str)
    bad = cells[pd.to_numeric(cells, errors="coerce").isna()]
    if not len(bad):
        return "its cells are texts that are numbers"
    return (
        f"{len(bad)} of {len(cells)} cells are no numbers, the first {bad.iloc[0]!r} in row "
        f"{bad.index[0]}; write 1234.5 without separators, and nothing where it is not known"
    )


def _guessed_task(target, distinct, numeric):
    if not numeric or distinct <= 2:
        return "classification"
    values = target.to_numpy(dtype=float)
    fractions = np.any(values != np.round(values))
    if not fractions and distinct == len(values) and is_identifier(target):
        # Whole numbers in a row are more often a row number than a quantity: ask.
        return "classification"
    return "regression" if fractions or distinct > MAX_NUMERIC_CLASSES else "classification"


def _rows_of_shared_classes(y, target):
    """Rows whose class has another row, and a note on the others, which no model can learn."""
    classes, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    alone = classes[counts == 1]
    if len(classes) - len(alone) < 2:
        shared = classes[counts > 1]
        raise InputError(
            f"the target {target!r} has {len(shared)} class{'' if len(shared) == 1 else 'es'} with "
            f"more than one row; {_listed(alone)} {'has' if len(alone) == 1 else 'have'} one row "
            "only. An audit needs at least two classes of two rows."
        )
    rows = np.flatnonzero(counts[codes] > 1)
    if len(alone) == 0:
        return rows, ()
    many = len(alone) > 1
    return rows, (
        f"{len(alone)} class{'es have' if many else ' has'} one row only ({_listed(alone)}). Without "
        f"that row no model knows the class, so {'these rows are' if many else 'the row is'} set "
        "aside: not in the model, not in the ranking, unchanged in cleaned.csv. Typing error?",
    )


def _with_values(X, target):
    """The columns that say something somewhere, and a note on the others."""
    empty = [column for column in X.columns if X[column].isna().all()]
    if len(empty) == X.shape[1]:
        raise InputError(
            f"no columns are left besides the target {target!r}"
            + (f": {_listed(empty)} {_verb(empty)} missing in every row." if empty else ".")
        )
    if not empty:
        return X, ()
    names = f"Column{'s' if len(empty) > 1 else ''} {_listed(empty)}"
    return X.drop(columns=empty), (f"{names} {_verb(empty)} missing in every row: left out.",)


def _verb(names):
    return "are" if len(names) > 1 else "is"


def _check_features(X):
    for column in X.columns:
        if _holds_objects(X[column]):
            raise InputError(
                f"column {column!r} holds lists or other objects, not numbers or texts. "
                f"Leave out with: --drop-columns {column}"
            )
        if _is_number(X[column]):
            _check_finite(X[column], f"column {column!r}")


def _is_number(column):
    pd = require("pandas", extra="audit")
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _holds_objects(column):
    """Whether some value is a list, dict, array or bytes."""
    if column.dtype != object:
        return "list" in str(column.dtype) or "struct" in str(column.dtype)
    kinds = (list, dict, tuple, set, bytes, np.ndarray)
    return any(isinstance(value, kinds) for value in column)


def _check_finite(column, what):
    values = np.abs(column.to_numpy(dtype=float, na_value=np.nan))
    bad = np.flatnonzero(values > MAX_NUMBER)
    if len(bad):
        raise InputError(
            f"{what} holds infinite or huge numbers in {len(bad)} of {len(values)} rows (first: row "
            f"{bad[0]}, counting from 0: {column.iloc[bad[0]]}). Correct them, leave them empty, or "
            "leave the column out with --drop-columns."
        )


def _closest_file(path):
    if not path.parent.is_dir():
        return ""
    names = [other.name for other in path.parent.iterdir() if other.is_file()]
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f" (did you mean {close[0]}?)" if close else ""


def _listed(names):
    names = [repr(str(name)) for name in names]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
