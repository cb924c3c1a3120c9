"""The page stands alone, says what it shows, and escapes what is the user's."""

import base64
import hashlib
import re
from collections import defaultdict
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, make_classification

from skinfluence.cleaning import audit
from skinfluence.cleaning.amounts import of_logarithm
from skinfluence.cleaning.formats import at_most, chance, number, percent, signed
from skinfluence.linear_model import LogisticRegression, Ridge


class Resources(HTMLParser):
    """Collects what a browser would load, and checks that tags are closed in order."""

    VOID = {"meta", "img", "br", "link", "input", "hr"}

    def __init__(self):
        super().__init__()
        self.loaded, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def resources(page):
    parser = Resources()
    parser.feed(page)
    assert parser.open == []
    return parser.loaded


@pytest.fixture(scope="module")
def found():
    X, y = make_classification(200, 5, flip_y=0.2, random_state=0)
    labels = np.array(["<b>no</b>", "yes & more"])[y]
    return audit(LogisticRegression().fit(X, labels), X, labels)


def test_the_page_loads_nothing_from_outside(found):
    page = found.to_html(verification=found.verify(3))
    assert all(link.startswith(("data:", "#")) for link in resources(page))
    assert page.count("<script") == 1 and not re.search(r"@import|url\(", page)


@pytest.fixture
def without_figures(monkeypatch):
    """They take most of the time of a page, and are not what the test is about."""
    monkeypatch.setattr(
        "skinfluence.cleaning.report._figures", lambda *_: defaultdict(lambda: None)
    )


def test_no_script_runs_but_the_one_of_the_page(found, without_figures):
    """The policy names it by its hash, so that markup that got past the escaping would do nothing."""
    page = found.to_html(top=1)
    script = page[page.index("<script>") + 8 : page.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)"', page).group(
        1
    )
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_labels_and_values_are_escaped(found):
    details = pd.DataFrame({"text": ["<script>alert(1)</script>"] * 200, "when": [pd.NaT] * 200})
    page = found.to_html(details=details)
    resources(page)
    assert "<b>no</b>" not in page and "&lt;b&gt;no&lt;/b&gt;" in page
    assert "alert(1)</script>" not in page and page.count("<script") == 1
    assert "missing" in page


def test_the_table_is_as_long_as_asked(found, without_figures):
    assert found.to_html(top=7).count('class="chip') == 7


def test_the_page_is_written_where_asked_and_is_reproducible(found, tmp_path):
    page = found.to_html(tmp_path / "report.html", title="My rows")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page
    assert "<title>My rows</title>" in page
    assert found.to_html(title="My rows") == page


def test_planted_errors_and_pictures_are_shown():
    rng = np.random.RandomState(0)
    X, y = make_classification(150, 4, class_sep=2, flip_y=0, random_state=0)
    planted = np.zeros(150, dtype=bool)
    planted[:15] = True
    result = audit(LogisticRegression().fit(X, y ^ planted), X, y ^ planted)
    page = result.to_html(planted=planted, images=rng.uniform(size=(150, 4, 4)))
    resources(page)
    assert "Against the planted truth" in page
    assert page.count("data:image/png") > 50


def test_where_nothing_can_be_said_the_page_says_so_and_has_no_number(without_figures):
    X, y = np.ones((60, 1)), np.repeat(["yes", "no"], 30)
    page = audit(LogisticRegression().fit(X, y), X, y).to_html(neighbours=False)
    assert "how many labels are wrong cannot be said" in page and "nan" not in page.lower()


def test_a_regression_has_its_own_words():
    X, y = load_diabetes(return_X_y=True)
    result = audit(Ridge().fit(X, y), X, y)
    page = result.to_html(verification=result.verify(0))
    resources(page)
    assert "residual (z)" in page and "in nats" not in page
    assert '<td class="r">' in page and "a factor" not in page


def test_a_model_of_the_logarithm_says_errors_as_factors():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(80, 2))
    y = np.exp(X[:, 0] + 0.3 * rng.normal(size=80))
    page = audit(of_logarithm(Ridge()).fit(X, y), X, y).to_html(neighbours=False)
    assert (
        "R² of the logarithm" in page and "× 1." in page and "in units of the target:" not in page
    )


def test_numbers_read_well():
    assert number(-1234567.0) == "\u22121,234,567"
    assert number(0.12345) == "0.123"
    assert percent(np.nan) == chance(np.nan) == "–"
    assert number(0) == "0"
    assert (number(6786, 4), number(22792, 4)) == ("6,786", "22,792"), "alike in one column"
    assert at_most(0) == at_most(3e-6) == "<\u202f0.01\u202f%" and at_most(np.nan) == "–"
    assert at_most(0.0012) == "0.12\u202f%"
    assert number(float("nan")) == "–"
    assert number(1.5e-7) == "1.50e\u221207"
    assert percent(0.1234, 1) == "12.3\u202f%"
    assert signed(-0.5) == "\u22120.50\u202f%"
    assert signed(0.00012, 3) == "+0.0001\u202f%" and signed(0.0) == "+0.00\u202f%"
    assert chance(1.0) == "≥\u202f95\u202f%"
