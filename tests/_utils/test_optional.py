"""Optional packages: a missing one names its extra, a broken one is not said to be missing."""

import pytest

from skinfluence._utils._optional import require


def test_a_missing_package_names_its_extra():
    with pytest.raises(ImportError, match=r"'nowhere', which is not installed.*influence\[audit\]"):
        require("nowhere.inside", extra="audit")


@pytest.mark.parametrize(
    "line",
    ["import nowhere", "from json import nothing", "raise ImportError('needs another version')"],
)
def test_a_package_that_cannot_be_imported_says_why(line, tmp_path, monkeypatch):
    """Its own missing requirement, or versions that do not go together."""
    (tmp_path / "brokenpackage.py").write_text(line + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="is installed but cannot be imported: ") as said:
        require("brokenpackage", extra="audit")
    assert str(said.value.__cause__) in str(said.value)
