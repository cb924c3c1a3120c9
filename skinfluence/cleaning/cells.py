"""What the texts of a column mean: numbers, also with marks; truth values; nothing; or texts."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from skinfluence._utils._optional import require

# What pandas reads as missing, and empty cells.
MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"]
    + ["<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
)
# Words for nothing: among numbers they do not speak against a column of numbers.
NOTHING = frozenset(
    "- -- – — ? . .. ... n.d. nd n.a. na unknown missing none null nil tbd k.a. x * .".split()
)
# A column of texts is read as numbers if this share of its cells is, words for nothing aside.
MOSTLY = 0.75
TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

# Between thousands: spaces (also such that do not break) and apostrophes.
_BLANK = " \u00a0\u202f'\u2019"
_NUMBER = {
    ".": re.compile(rf"(?:[1-9]\d{{0,2}}(?:[,{_BLANK}]\d{{3}})+|\d+)?(?:\.\d+)?(?:[eE][+-]?\d+)?"),
    ",": re.compile(rf"(?:[1-9]\d{{0,2}}(?:[.{_BLANK}]\d{{3}})+|\d+)?(?:,\d+)?(?:[eE][+-]?\d+)?"),
}
_MARKED = re.compile(
    r"[<>≤≥~≈]?\s*([-+\u2212]?)\s*([$€£¥₹]|[A-Z]{3}\s)?\s*([-+\u2212]?)"
    rf"(\d[\d.,{_BLANK}]*(?:[eE][+-]?\d+)?|\.\d+)"
    r"\s*([$€£¥₹%‰]|°?[^\W\d_]{1,6}(?:/[^\W\d_]{1,4})?[²³]?)?"
)


@dataclass(frozen=True, eq=False)
class Column:
    """A column as it was read.

    Attributes
    ----------
    values : ndarray or None
        Numbers or truth values, NaN where missing; None for texts.
    missing : ndarray of bool
        Cells that say nothing.
    odd : list of int
        Cells of a column of numbers that are none, and so missing.
    marked : list of int
        Cells that are numbers after a mark was removed.
    comma : bool
        Whether the numbers have decimal commas.
    """

    values: Any
    missing: np.ndarray
    odd: list
    marked: list
    comma: bool = False


def read_column(cells, marks, *, comma=False):
    """Read texts as what they mean.

    Parameters
    ----------
    cells : ndarray of str
        The column as written.
    marks : collection of str
        What stands for nothing.
    comma : bool, default=False
        Whether a number that can be read both ways has a decimal comma.

    Returns
    -------
    column : Column
    """
    pd = require("pandas", extra="audit")
    missing = np.fromiter((text.strip() in marks for text in cells), bool, len(cells))
    known = cells[~missing]
    if not len(known):
        return Column(np.full(len(cells), np.nan), missing, [], [])
    values = pd.to_numeric(known, errors="coerce")
    if not np.isnan(values.astype(float)).any() and not comma:
        return Column(_spread(values, missing), missing, [], [])
    if all(text in TRUTH for text in known):
        truth = np.array([TRUTH[text] for text in known], dtype=object)
        full = np.full(len(cells), None, dtype=object)
        full[~missing] = truth
        return Column(full if missing.any() else full.astype(bool), missing, [], [])
    return _marked_numbers(cells, missing, comma)


def _spread(values, missing):
    if not missing.any():
        return values
    full = np.full(len(missing), np.nan)
    full[~missing] = values
    return full


def _marked_numbers(cells, missing, comma):
    texts, codes = np.unique(cells[~missing].astype(str), return_inverse=True)
    counts = np.bincount(codes)
    parts = [_parts(text) for text in texts.tolist()]
    alone = Counter({".": 0, ",": 0})
    units = Counter()
    for part, count in zip(parts, counts.tolist(), strict=True):
        if part is not None:
            units[part[2]] += count
            if len(part[1]) == 1:
                alone[next(iter(part[1]))] += count
    if not units:
        return Column(None, missing, [], [])
    style = "," if alone[","] > alone["."] or (comma and alone[","] == alone["."]) else "."
    unit = units.most_common(1)[0][0]
    accepted = {unit}
    if unit == "":
        accepted.update([u for u, _ in units.most_common() if u and u not in "%‰"][:1])
    elif unit not in "%‰":
        # A share beside plain numbers can mean 12 or 0.12; kilograms beside plain numbers mean one thing.
        accepted.add("")
    numbers, is_marked = np.full(len(texts), np.nan), np.zeros(len(texts), dtype=bool)
    for i, part in enumerate(parts):
        if part is None or part[2] not in accepted:
            continue
        sign, readings, _, both = part
        value = readings.get(style, next(iter(readings.values())) if both else None)
        if value is not None:
            numbers[i] = sign * value
            is_marked[i] = not _is_plain(texts[i])
    found = ~np.isnan(numbers)
    nothing = np.array([text.strip().lower() in NOTHING for text in texts])
    n_found, n_known = counts[found].sum(), counts.sum()
    if n_found < MOSTLY * (n_known - counts[nothing & ~found].sum()) or n_found < n_known / 2:
        return Column(None, missing, [], [])
    rows = np.flatnonzero(~missing)
    values = np.full(len(cells), np.nan)
    values[rows] = numbers[codes]
    odd = rows[~found[codes]]
    now_missing = missing.copy()
    now_missing[odd] = True
    return Column(
        values,
        now_missing,
        odd.tolist(),
        rows[is_marked[codes]].tolist(),
        comma=style == "," and alone[","] > 0,
    )


def _is_plain(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parts(text):
    """Sign, value by decimal mark, unit, and whether both marks are in it; None where no number is."""
    text = text.strip()
    if len(text) > 40:
        return None
    if text.lower().lstrip("+-") in ("inf", "infinity"):
        return -1 if text[0] == "-" else 1, {".": np.inf}, "", True
    found = _MARKED.fullmatch(text)
    if found is None:
        return None
    sign, currency, second, digits, unit = found.groups()
    if (sign and second) or (currency and unit):
        return None
    digits = digits.strip()
    values = {}
    for mark, number in _NUMBER.items():
        if number.fullmatch(digits):
            plain = re.sub(rf"[{_BLANK}{',' if mark == '.' else '.'}]", "", digits)
            values[mark] = float(plain.replace(",", "."))
    if not values:
        return None
    both = "." in digits and "," in digits
    negative = (sign or second) in ("-", "\u2212")
    return -1 if negative else 1, values, (currency or unit or "").strip(), both
