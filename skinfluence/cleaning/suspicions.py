"""What about a table should make its reader pause: identifiers, give-aways, twins, sorted rows."""

import re

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.cleaning.files import dropping, listed

# Fewer rows look like anything.
MIN_ROWS = 20
# Words in a text that is a name rather than an identifier, and rather than a sentence.
MAX_WORDS_OF_AN_ID, MAX_WORDS_OF_A_NAME = 1, 5
# So large a share of the rows is most of them.
MOST = 0.8
# Days, with or without an hour: they differ from row to row and say something all the same.
DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([ T].*)?")
# A correlation beyond this is the target in other units.
SAME = 0.99999
# Of the labels that a column tells, and of the rows in which it does.
TELLS, COVERS = 0.995, 0.9


def suspicions(X, y, task):
    """Notes on columns and rows, each with a name or a number to look at.

    Parameters
    ----------
    X : DataFrame
        The features as they were read.
    y : ndarray
        The target.
    task : {"classification", "regression"}

    Returns
    -------
    notes : tuple of str
    """
    if len(y) < MIN_ROWS:
        return ()
    ids = [name for name in X.columns if is_identifier(X[name])]
    away = [name for name in X.columns if name not in ids and gives_away(X[name], y, task)]
    notes = []
    if ids:
        many = len(ids) > 1
        notes.append(
            f"Column{'s' if many else ''} {listed(ids)} name{'' if many else 's'} each row by "
            f"another value, as identifiers do; as {'features they' if many else 'a feature it'} can only "
            f"mislead. Name one with --id-column, or leave out with {dropping(ids[:8])}."
        )
    if away:
        many = len(away) > 1
        notes.append(
            f"Column{'s' if many else ''} {listed(away)} tell{'' if many else 's'} the target all but "
            f"perfectly. Written after it, {'they hide' if many else 'it hides'} errors: then leave out "
            f"with {dropping(away[:8])}."
        )
    return (*notes, *_note_on_twins(X, y, task), *_note_on_order(y, task))


def is_identifier(column):
    """Whether each row has another code or whole number, the numbers without large gaps."""
    known = column.dropna()
    if len(known) < MIN_ROWS or not known.is_unique:
        return False
    kind = known.to_numpy().dtype.kind
    if kind in "iu" or (kind == "f" and (known == np.round(known)).all()):
        values = known.to_numpy(dtype=float)
        span = values.max() - values.min()
        return bool(span < 2 * len(values) or np.all(np.diff(values) > 0))
    if kind in "fbcmM":
        return False
    texts = known.astype(str)
    if texts.map(lambda text: DATE.fullmatch(text.strip()) is not None).all():
        return False
    words = texts.str.split().str.len()
    return bool((words <= MAX_WORDS_OF_AN_ID).all() and not _are_numbers(texts))


def notes_on_names(X, columns):
    """Columns of names that were read as texts: what they became, and how to leave them out.

    Parameters
    ----------
    X : DataFrame
        The features as they were read.
    columns : list of dict, or None
        As of :class:`~skinfluence.cleaning.selection.Selection`.

    Returns
    -------
    notes : tuple of str
    """
    notes = []
    for one in columns or ():
        name, n = one["column"], one["n_features"]
        if one["read_as"] == "texts" and are_names(X[name]):
            first = str(X[name].dropna().iloc[0])
            notes.append(
                f"Column {str(name)!r} is read as texts and became {n} feature{'s' if n > 1 else ''}. It "
                f"looks like names: a few words, in most rows others (the first: {first!r}). Names tell "
                f"rows apart rather than classes; if so, leave it out with {dropping([name])}."
            )
    return tuple(notes)


def are_names(column):
    """Whether texts are of a few words, hardly any of them in two rows, as names of people or firms are."""
    texts = column.dropna().astype(str)
    if len(texts) < MIN_ROWS or is_identifier(column):
        return False
    words = texts.str.split().str.len()
    short = words.quantile(MOST) <= MAX_WORDS_OF_A_NAME and words.median() > MAX_WORDS_OF_AN_ID
    return bool(short and texts.nunique() > MOST * len(texts))


def _are_numbers(texts):
    pd = require("pandas", extra="audit")
    return bool(
        pd.to_numeric(texts, errors="coerce").notna().mean() > 0.5 and "." in "".join(texts)
    )


def gives_away(column, y, task):
    """Whether a column alone tells the target, all but perfectly."""
    pd = require("pandas", extra="audit")
    known = column.notna().to_numpy()
    if known.mean() < COVERS:
        return False
    values, y = column[known], y[known]
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if task == "regression":
        if not numeric:
            return False
        values = values.to_numpy(dtype=float)
        if min(np.ptp(values), np.ptp(y)) == 0:
            return False
        return bool(abs(np.corrcoef(values, y)[0, 1]) > SAME)
    classes, codes = np.unique(y, return_inverse=True)
    levels, at = np.unique(
        values.to_numpy(dtype=float) if numeric else values.astype(str).to_numpy(dtype=str),
        return_inverse=True,
    )
    if numeric and len(levels) > 2 * len(classes):
        return _in_runs(at, codes, len(classes))
    counts = np.zeros((len(levels), len(classes)), dtype=int)
    np.add.at(counts, (at, codes), 1)
    # A value of one row tells that row only; what all rows have tells nothing.
    shared = counts.sum(axis=1) > 1
    covered, told = counts[shared].sum(), counts[shared].max(axis=1).sum()
    usual = counts.sum(axis=0).max()
    return bool(
        covered >= COVERS * len(y) and told >= TELLS * covered and told - usual > 0.05 * covered
    )


def _in_runs(at, codes, n_classes):
    """Whether the classes lie side by side along the values, without a row out of place."""
    order = np.lexsort((codes, at))
    ends = np.flatnonzero(np.diff(codes[order]))
    if len(ends) != n_classes - 1:
        return False
    # A value on both sides of an end tells nothing there.
    return bool((at[order][ends] != at[order][ends + 1]).all())


def _note_on_twins(X, y, task):
    """Rows that are the same in every feature and differ in the target."""
    pd = require("pandas", extra="audit")
    if task == "regression":
        return ()
    keys = pd.util.hash_pandas_object(X, index=False).to_numpy()
    _, group = np.unique(keys, return_inverse=True)
    _, codes = np.unique(y, return_inverse=True)
    order = np.argsort(group, kind="stable")
    firsts = np.searchsorted(group[order], np.arange(group.max() + 1))
    mixed = np.minimum.reduceat(codes[order], firsts) != np.maximum.reduceat(codes[order], firsts)
    rows = np.flatnonzero(mixed[group])
    if not len(rows):
        return ()
    first = rows[0]
    other = next(row for row in rows if group[row] == group[first] and y[row] != y[first])
    names = X.index[[first, other]].tolist()
    return (
        f"{len(rows)} rows are the same as another one with another label (the first: row {names[0]}, "
        f"{str(y[first])!r}, and row {names[1]}, {str(y[other])!r}): of each such pair one label is "
        "wrong, or the columns do not tell the classes apart.",
    )


def _note_on_order(y, task):
    if task == "regression":
        return ()
    n_classes = len(np.unique(y))
    if np.sum(y[1:] != y[:-1]) != n_classes - 1:
        return ()
    return (
        "The rows are sorted by class: a column that counts or dates them tells the class, and a part "
        "of the rows is no sample of them.",
    )
