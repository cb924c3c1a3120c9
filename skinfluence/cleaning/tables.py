"""From a file or a demo to a problem that can be audited: rows, target, ids, task.

Every way in which a user's table can be unfit for an audit is refused here, in one line each.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.datasets import load_demo

# A numeric target with more distinct values than this, or with fractions, is a quantity.
MAX_NUMERIC_CLASSES = 20

READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".parquet": "read_parquet",
    ".pq": "read_parquet",
}


TEXT = (".csv", ".tsv")
# Tried in this order until the header has more than one column.
SEPARATORS = (",", ";", "\t", "|")

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
        The table as read, the target included.
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


def file_problem(path, target, *, task="auto", id_column=None, drop_columns=()):
    """Read a table and turn it into a problem, or raise an InputError of one line."""
    frame, reading_notes = read_table(path)
    if target is None:
        raise InputError(
            "name the column to audit with --target. "
            f"Columns of {Path(path).name}: {_listed(frame.columns)}."
        )
    for column in [target, *([id_column] if id_column else []), *drop_columns]:
        _check_column(frame, column, path)
    if target in drop_columns or target == id_column:
        raise InputError(f"{target!r} is the target; it cannot be dropped or be the id column too.")
    y, task = _checked_target(frame[target], task)
    X = frame.drop(columns=list({target, *drop_columns, *([id_column] if id_column else [])}))
    _check_features(X, target)
    ids = frame[id_column].to_numpy() if id_column else np.arange(len(frame))
    rows, notes = np.arange(len(frame)), ()
    if task == "classification":
        rows, notes = _rows_of_shared_classes(y, target)
    return Problem(
        name=Path(path).name,
        frame=frame,
        rows=rows,
        X=X.iloc[rows],
        y=y[rows],
        ids=ids[rows],
        target=target,
        task=task,
        notes=(*reading_notes, *notes),
    )


def read_table(path):
    """Read a csv, tsv or parquet file: a DataFrame with string column names, and notes on it."""
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
    try:
        frame, notes = _read_csv(path, suffix) if suffix in TEXT else (pd.read_parquet(path), ())
    except InputError:
        raise
    except Exception as error:  # pandas and pyarrow raise a dozen kinds; all mean the same here.
        reason = " ".join(str(error).split())
        raise InputError(f"{path.name} cannot be read as {suffix[1:]}: {reason}") from error
    if any(name is not None for name in frame.index.names):
        # A named index of a parquet file is a column to everybody else.
        frame = frame.reset_index(allow_duplicates=True)
    if len(frame) == 0:
        raise InputError(f"{path.name} has a header but no rows.")
    frame.columns = [str(column) for column in frame.columns]
    _check_distinct(frame.columns, path)
    return frame.reset_index(drop=True), notes


def _read_csv(path, suffix):
    """Read a table as text, whatever separates its columns and however it is encoded."""
    pd = require("pandas", extra="audit")
    notes = []
    for encoding in ("utf-8", "cp1252"):
        try:
            header, sep = _header(path, suffix, encoding)
            frame = pd.read_csv(path, sep=sep, encoding=encoding)
            break
        except UnicodeDecodeError:
            with path.open("rb") as file:
                if encoding == "cp1252" or b"\x00" in file.read(2**20):
                    raise
            notes.append(f"{path.name} is not UTF-8; it was read as Windows-1252 (Latin-1).")
    _check_distinct(pd.Index([name for name in header if name]), path)
    if not isinstance(frame.index, pd.RangeIndex):
        raise InputError(
            f"{path.name}: its rows have more fields than its header. Name all columns."
        )
    if sep not in (",", "\t") or (sep == "\t" and suffix != ".tsv"):
        notes.append(f"The columns of {path.name} are separated by {sep!r}.")
    if sep == ";":
        comma = pd.read_csv(path, sep=sep, encoding=encoding, decimal=",")
        if _n_numeric(comma) > _n_numeric(frame):
            frame = comma
            notes.append("Its numbers have decimal commas.")
    return frame, tuple(notes)


def _header(path, suffix, encoding):
    """The names as written, before pandas makes them unique, and what separates them."""
    pd = require("pandas", extra="audit")
    best, chosen = [], ","
    for sep in ["\t"] if suffix == ".tsv" else SEPARATORS:
        row = pd.read_csv(
            path, sep=sep, encoding=encoding, header=None, nrows=1, dtype=str, keep_default_na=False
        )
        names = [str(name).strip() for name in row.iloc[0]]
        if len(names) > len(best):
            best, chosen = names, sep
        if len(best) > 1:
            break
    return best, chosen


def _n_numeric(frame):
    return frame.select_dtypes("number").shape[1]


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
    missing = int(target.isna().sum())
    if missing:
        first = ", ".join(str(row) for row in np.flatnonzero(target.isna())[:3])
        raise InputError(
            f"the target {name!r} is missing in {missing} of {n_rows} rows (first: row {first}, "
            "counting from 0). Fill them in or remove these rows first."
        )
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
    if not fractions and distinct == len(values):
        # Whole numbers that never repeat are more often a row number than a quantity: ask.
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


def _check_features(X, target):
    if X.shape[1] == 0:
        raise InputError(f"no columns are left besides the target {target!r}.")
    empty = [column for column in X.columns if X[column].isna().all()]
    if empty:
        raise InputError(
            f"column{'s' if len(empty) > 1 else ''} {_listed(empty)} "
            f"{'are' if len(empty) > 1 else 'is'} missing in every row. "
            f"Leave out with: --drop-columns {','.join(empty)}"
        )

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
