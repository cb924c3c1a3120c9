"""Every line of the page on bad input: what comes, and what is said."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from skinfluence.edits import Edit
from tests.versions import HAS_LEGACY_ATTRIBUTES

PAGE = (Path(__file__).parent.parent / "doc" / "bad_input.md").read_text(encoding="utf-8")
LINES = re.findall(r"^\| (.+?) \| `(.+)` \| (\w+): (.+) \|$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def names():
    found = {}
    exec("\n".join(re.findall(r"^>>> (.+)$", PAGE, re.MULTILINE)), found)
    return found


def test_no_line_of_the_tables_is_overlooked():
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and "`" in line]
    assert len(lines) == len(LINES) > 30


@pytest.mark.parametrize(
    ("question", "kind", "words"), [line[1:] for line in LINES], ids=[line[0] for line in LINES]
)
def test_what_comes_is_refused_in_these_words_and_changes_nothing(names, question, kind, words):
    if "l1_ratio=1.0" in question and not HAS_LEGACY_ATTRIBUTES:
        pytest.skip("scikit-learn 1.7 heeds l1_ratio with penalty='elasticnet' only.")
    inf, test, y = names["inf"], names["test"], names["y"][:3]
    rows, array = names["train"].copy(), names["array"].copy()
    before = inf.removal_effect(test, y)
    with warnings.catch_warnings(), pytest.raises(Exception, match=re.escape(words)) as caught:
        # The fits of the questions may say something of their own.
        warnings.simplefilter("ignore")
        asked = eval(question, names)
        if isinstance(asked, Edit):
            inf.effect(asked, test, y)
    assert kind in [base.__name__ for base in type(caught.value).__mro__]
    assert rows.equals(names["train"])
    np.testing.assert_array_equal(array, names["array"])
    np.testing.assert_array_equal(inf.removal_effect(test, y), before)
