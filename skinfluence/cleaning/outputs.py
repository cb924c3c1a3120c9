"""Writing several files so that either all of them are there afterwards or none is."""

import os
import tempfile
from pathlib import Path


def write_together(contents):
    """Write texts to paths: all of them or, when anything fails, none.

    Parameters
    ----------
    contents : dict of path to str
        What to write where. Folders that do not exist are made.

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
    made, staged = [], []
    try:
        for path, text in contents.items():
            path = Path(path)
            _make_folders(path.parent, made)
            # In the same folder, so that the replacement is a rename and not a copy.
            handle, staging = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            staged.append((staging, path))
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
        for _, path in staged:
            if path.is_dir():
                raise IsADirectoryError(f"{path} is a folder, so no file can be written there.")
        _umask_permissions(staging for staging, _ in staged)
        for staging, path in staged:
            os.replace(staging, path)
    except BaseException:
        for staging, _ in staged:
            Path(staging).unlink(missing_ok=True)
        for folder in reversed(made):
            folder.rmdir()
        raise


def _make_folders(folder, made):
    """Make a folder and its parents, noting each new one in `made`, outermost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir()
        made.append(new)


def _umask_permissions(paths):
    """Give staged files the permissions an ordinary new file gets, not the private ones of mkstemp."""
    umask = os.umask(0)
    os.umask(umask)
    for path in paths:
        os.chmod(path, 0o666 & ~umask)
