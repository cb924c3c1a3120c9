"""Writing several files so that either all of them are there afterwards or none is."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

# What spreadsheets run: the signs, and the white space that some skip before them.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_together(contents):
    """Write files: all of them or, when anything fails, none.

    Parameters
    ----------
    contents : dict of path to str or bytes
        What to write where, texts in UTF-8. Folders that do not exist are made.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skinfluence.cleaning.outputs import write_together
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_together({Path(folder) / "new" / "a.txt": "a"})
    ...     (Path(folder) / "new" / "a.txt").read_text()
    'a'
    """
    made, staged, replaced, stages = [], [], [], {}
    try:
        for i, (path, text) in enumerate(contents.items()):
            path = Path(path)
            stage = _stage_beside(path.parent, stages)
            content = text if isinstance(text, bytes) else text.encode("utf-8")
            (stage / f"new{i}").write_bytes(content)
            staged.append((stage, i, path))
        for _, _, path in staged:
            if path.is_dir():
                raise IsADirectoryError(f"{path} is a folder, so no file can be written there.")
            _make_folders(path.parent, made)
        for stage, i, path in staged:
            if path.exists():
                os.replace(path, stage / f"old{i}")
                replaced.append((stage / f"old{i}", path))
            else:
                replaced.append((None, path))
            os.replace(stage / f"new{i}", path)
    except BaseException:
        # What goes wrong here must not hide what went wrong there.
        for old, path in reversed(replaced):
            with contextlib.suppress(OSError):
                if old is None:
                    path.unlink(missing_ok=True)
                else:
                    os.replace(old, path)
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    finally:
        for stage in stages.values():
            shutil.rmtree(stage, ignore_errors=True)


def _stage_beside(folder, stages):
    """A hidden folder on the same disk as `folder`, so that moving a file there is a rename."""
    while not folder.exists():
        folder = folder.parent
    if folder not in stages:
        stages[folder] = Path(tempfile.mkdtemp(dir=folder, prefix=".skinfluence-"))
    return stages[folder]


def _make_folders(folder, made):
    """Make a folder and its parents, noting each new one in `made`, outermost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir()
        made.append(new)


def inert(value):
    """A text with an apostrophe before it where a spreadsheet would take it for a formula.

    Parameters
    ----------
    value : object
        Anything but a text is given back as it is; so is a text that is a number.

    Examples
    --------
    >>> from skinfluence.cleaning.outputs import inert
    >>> inert("=1+1"), inert("-1.5"), inert("a=b")
    ("'=1+1", '-1.5', 'a=b')
    """
    if not isinstance(value, str) or not value.startswith(FORMULA_STARTS):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value
