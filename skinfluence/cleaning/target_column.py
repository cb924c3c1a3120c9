"""What is to be predicted: the target column as numbers or classes, and the task."""

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.cleaning.cells import MISSING, read_column
from skinfluence.cleaning.files import InputError, listed
from skinfluence.cleaning.suspicions import is_identifier

# A numeric target with more distinct values than this, or with fractions, is a quantity.
MAX_NUMERIC_CLASSES = 20

# Words in a text that is no name of a class, and characters in the longest name.
WORDS_OF_FREE_TEXT, MAX_LABEL = 4, 1000

# A day as it is written, with or without a time.
DAY = (
    r"\s*(\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./](\d{4}|\d{2}))([ T]+\d{1,2}:.*)?\s*"
)

# Beyond this the square of a number, or a sum of squares, is not finite.
MAX_NUMBER = 1e100


def meant_target(texts, marks, task):
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


def missing_target(targets, texts):
    missing = np.flatnonzero(targets.isna())
    first = ("rows " if len(missing) > 1 else "row ") + ", ".join(str(row) for row in missing[:3])
    words = [text for text in texts if text in MISSING and text]
    return (
        f"the target {targets.name!r} is missing in {len(missing)} of {len(targets)} rows (first: "
        f"{first}, counting from 0){marks_in_words(texts)}. "
        + (f"If {listed(words)} is a class, pass --keep-na. " if words else "")
        + "Fill them in, or leave these rows out of the audit with --drop-missing-target."
    )


def marks_in_words(texts):
    shown = [text for text in texts if text.strip()]
    if not shown:
        return ""
    counts = {text: f"{texts[text]} cell{'s' if texts[text] > 1 else ''}" for text in shown[:8]}
    return f"; read as missing: {', '.join(f'{text!r} ({n})' for text, n in counts.items())}"


def checked_target(target, task):
    """The target as an array and its task, or one line on why it cannot be audited."""
    pd = require("pandas", extra="audit")
    name, n_rows = target.name, len(target)
    if pd.api.types.is_datetime64_any_dtype(target):
        raise InputError(f"the target {name!r} is a date. Give a column of classes or of numbers.")
    if pd.api.types.is_complex_dtype(target) or holds_objects(target):
        raise InputError(f"the target {name!r} holds no numbers or texts. Give a plain column.")
    numeric = pd.api.types.is_numeric_dtype(target) and not pd.api.types.is_bool_dtype(target)
    if numeric:
        check_finite(target, f"the target {name!r}")
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
        _refuse_dates(target, distinct)
        _refuse_free_text(target, distinct)
    if distinct == n_rows:
        raise InputError(
            f"the target {name!r} has a different value in each of its {n_rows} rows, so there are "
            "no classes to learn"
            + (
                ". Is it an id? If it is a quantity, pass --task regression."
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


def _refuse_dates(target, distinct):
    """Days as a csv holds them, each of which would be a class."""
    if distinct > MAX_NUMERIC_CLASSES and target.astype(str).str.fullmatch(DAY).all():
        raise InputError(
            f"the target {target.name!r} is a date ({distinct} different ones, the first "
            f"{target.iloc[0]!r}). Give a column of classes or of numbers."
        )


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


def rows_of_shared_classes(y, target):
    """Rows whose class has another row, and notes: on the others, and on classes that may be one."""
    classes, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    alone = classes[counts == 1]
    if len(classes) - len(alone) < 2:
        shared = classes[counts > 1]
        raise InputError(
            f"the target {target!r} has {len(shared)} class{'' if len(shared) == 1 else 'es'} with "
            f"more than one row; {listed(alone)} {'has' if len(alone) == 1 else 'have'} one row "
            "only. An audit needs at least two classes of two rows."
        )
    rows, notes = np.flatnonzero(counts[codes] > 1), _note_on_spellings(classes)
    if len(alone) == 0:
        return rows, notes
    many = len(alone) > 1
    return rows, (
        *notes,
        f"{len(alone)} class{'es have' if many else ' has'} one row only ({listed(alone)}). Without "
        f"that row no model knows the class, so {'these rows are' if many else 'the row is'} set "
        "aside: not in the model, not in the ranking, unchanged in cleaned.csv. Typing error?",
    )


def _note_on_spellings(classes):
    """Names that differ only in capitals and blanks: two ways to write one class, most likely."""
    alike = {}
    for name in classes.tolist():
        alike.setdefault(" ".join(str(name).split()).casefold(), []).append(name)
    alike = [names for names in alike.values() if len(names) > 1]
    if not alike:
        return ()
    shown = "; ".join(listed(names) for names in alike[:5]) + ("; …" if len(alike) > 5 else "")
    return (
        f"These classes differ in capitals or blanks only: {shown}. If they are one, write them alike and "
        "audit again: as they are, each is judged as a class of its own.",
    )


def holds_objects(column):
    """Whether some value is a list, dict, array or bytes."""
    if column.dtype != object:
        return "list" in str(column.dtype) or "struct" in str(column.dtype)
    kinds = (list, dict, tuple, set, bytes, np.ndarray)
    return any(isinstance(value, kinds) for value in column)


def check_finite(column, what):
    values = np.abs(column.to_numpy(dtype=float, na_value=np.nan))
    bad = np.flatnonzero(values > MAX_NUMBER)
    if len(bad):
        raise InputError(
            f"{what} holds infinite or huge numbers in {len(bad)} of {len(values)} rows (first: row "
            f"{bad[0]}, counting from 0: {column.iloc[bad[0]]}). Correct them, leave them empty, or "
            "leave the column out with --drop-columns."
        )
