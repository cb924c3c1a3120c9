"""A csv as it lies on the disk: its cells as texts, and its bytes with some cells replaced."""

import bz2
import gzip
import io
import lzma
import re
import zipfile
from dataclasses import dataclass
from typing import Any

from skinfluence._utils._optional import require

# Tried in this order until the header has more than one column.
SEPARATORS = (",", ";", "\t", "|")
OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
# The longer mark first: the one of UTF-32 is not known here.
MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


@dataclass(frozen=True, eq=False)
class TextTable:
    """A table of texts, and where they came from.

    Attributes
    ----------
    cells : DataFrame of str
        Every cell as written, without its quotes.
    text : str
        The whole file; it starts with `mark`, which is not part of it.
    start : int
        Where the header starts, after comments.
    sep, encoding, mark : str, str and bytes
        What separates cells, how the text is encoded, its byte order mark.
    """

    cells: Any
    text: str
    start: int
    sep: str
    encoding: str
    mark: bytes

    def edited(self, column, texts, drop):
        """The bytes of the file with cells of one column replaced and the lines of some rows left out.

        Parameters
        ----------
        column : str
            Where cells are replaced.
        texts : dict of int to str
            The new cells by row.
        drop : collection of int
            Rows to leave out.

        Returns
        -------
        content : bytes
            Everything else is as it was.
        """
        position, drop = list(self.cells.columns).index(column), set(drop)
        lines = self._lines()
        if len(lines) != len(self.cells) + 1:
            raise ValueError(
                f"the file has {len(lines) - 1} lines of data and {len(self.cells)} rows, so its cells "
                "cannot be replaced one by one. Leave out --cleaned."
            )
        parts, done = [], 0
        for row, (start, end) in enumerate(lines[1:]):
            if row in drop:
                parts.append(self.text[done:start])
                done = end
            elif row in texts:
                start, end = self._cell(start, position)
                parts += [self.text[done:start], self._quoted(texts[row], self.text[start:end])]
                done = end
        parts.append(self.text[done:])
        return self.mark + "".join(parts).encode(self.encoding)

    def _field(self):
        sep = re.escape(self.sep)
        return rf'(?:"[^"]*(?:""[^"]*)*"[^{sep}\r\n]*|[^{sep}"\r\n][^{sep}\r\n]*|)'

    def _lines(self):
        """Start and end of each line that holds a row, the header first."""
        field = self._field()
        line = re.compile(rf"{field}(?:{re.escape(self.sep)}{field})*(?:\r\n|\r|\n|\Z)")
        blank = " " if self.sep == "\t" else " \t"
        spans, at = [], self.start
        while at < len(self.text):
            found = line.match(self.text, at)
            if found is None or found.end() == at:
                break
            if found.group().rstrip("\r\n").strip(blank):
                spans.append(found.span())
            at = found.end()
        return spans

    def _cell(self, at, position):
        """Start and end of a cell of the line that starts at `at`."""
        field = re.compile(self._field())
        for _ in range(position):
            at = field.match(self.text, at).end() + 1
        return field.match(self.text, at).span()

    def _quoted(self, new, old):
        if old.startswith('"') or any(mark in new for mark in (self.sep, '"', "\r", "\n")):
            return '"' + new.replace('"', '""') + '"'
        return new


def read_text_table(path, suffix):
    """Read a csv as texts, whatever separates its columns and however it is encoded, and notes on it."""
    pd = require("pandas", extra="audit")
    content = _unpacked(path)
    notes = []
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    encoding = MARKS.get(mark, "utf-8")
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError:
        if mark or b"\x00" in content:
            raise
        encoding = "cp1252"
        text = content.decode(encoding)
        notes.append(f"{path.name} is not UTF-8; it was read as Windows-1252 (Latin-1).")
    start, sep = _preamble(text)
    body = text[start:]
    header, sep = _header(body, [sep] if sep else ["\t"] if suffix == ".tsv" else SEPARATORS)
    cells = pd.read_csv(io.StringIO(body), sep=sep, dtype=str, na_filter=False).fillna("")
    if start:
        notes.append(f"The lines of {path.name} before its header are not data.")
    if sep not in (",", "\t") or (sep == "\t" and suffix != ".tsv"):
        notes.append(f"The columns of {path.name} are separated by {sep!r}.")
    return TextTable(cells, text, start, sep, encoding, mark), header, notes


def _unpacked(path):
    """The bytes of a file, of the one file in an archive."""
    packed = path.suffix.lower()
    if packed == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [one for one in archive.namelist() if not one.endswith("/")]
            names = [one for one in names if not one.startswith("__MACOSX/")]
            if len(names) != 1:
                raise ValueError(f"it holds {len(names)} files. Unpack it and give one of them.")
            return archive.read(names[0])
    if packed == ".zst":
        try:
            from compression import zstd  # from Python 3.14 on
        except ImportError:
            zstandard = require("zstandard", extra="audit")
            with zstandard.open(path, "rb") as file:
                return file.read()
        return zstd.decompress(path.read_bytes())
    with OPENERS.get(packed, open)(path, "rb") as file:
        return file.read()


def _preamble(text):
    """Where the header starts, after ``sep=;`` and comments, and the separator if it is named."""
    at, sep = 0, None
    named = re.match(r'"?sep=(.)"?(?:\r\n|\r|\n)', text)
    if named:
        at, sep = named.end(), named.group(1)
    while text.startswith("#", at):
        here, after = (re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)").match(text, at), None)
        after = re.compile(r"[^\r\n]*").match(text, here.end()).group()
        # A header may start with a hash too: it has the cells of the next line.
        if after == "" or any(
            here.group().count(s) == after.count(s) > 0 for s in ([sep] if sep else SEPARATORS)
        ):
            break
        at = here.end()
    return at, sep


def _header(body, separators):
    """The names as written, before pandas makes them unique, and what separates them."""
    pd = require("pandas", extra="audit")
    best, chosen = [], separators[0]
    for sep in separators:
        row = pd.read_csv(
            io.StringIO(body), sep=sep, header=None, nrows=1, dtype=str, keep_default_na=False
        )
        names = [str(name).strip() for name in row.iloc[0]]
        if len(names) > len(best):
            best, chosen = names, sep
        if len(best) > 1:
            break
    return best, chosen
