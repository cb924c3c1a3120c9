"""A file as a table: its cells, the names of its columns, and what is wrong with either."""

import difflib
import shlex
from pathlib import Path

from skinfluence._utils._optional import require
from skinfluence.cleaning.text_table import read_text_table

READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".parquet": "read_parquet",
    ".pq": "read_parquet",
}
TEXT = (".csv", ".tsv")


class InputError(ValueError):
    """The input cannot be audited; the message says why and what to do, in one line."""


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
        raise InputError(f"{path.name} has more than one column named {listed(twice)}. Rename.")


def check_column(frame, column, path):
    if column in frame.columns:
        return
    by_lower = {name.lower(): name for name in frame.columns}
    close = difflib.get_close_matches(column.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"Did you mean {by_lower[close[0]]!r}?" if close else f"It has {listed(frame.columns)}."
    raise InputError(f"{Path(path).name} has no column {column!r}. {hint}")


def _closest_file(path):
    if not path.parent.is_dir():
        return ""
    names = [other.name for other in path.parent.iterdir() if other.is_file()]
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f" (did you mean {close[0]}?)" if close else ""


def dropping(names):
    """The option that leaves columns out, as a shell takes it."""
    return f"--drop-columns {shlex.quote(','.join(names))}"


def listed(names):
    names = [repr(str(name)) for name in names]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
