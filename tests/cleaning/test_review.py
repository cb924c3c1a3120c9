"""Rows are decided about in the browser, and what was decided is carried out on the file, and only that."""

import numpy as np
import pandas as pd
import pytest

from skinfluence.cleaning import audit
from skinfluence.cleaning.decisions import COLUMNS, carry_out, fingerprint_of
from skinfluence.cleaning.files import InputError
from skinfluence.cleaning.neighbours import nearest
from skinfluence.cleaning.outputs import inert
from skinfluence.cli import main
from skinfluence.linear_model import LogisticRegression, Ridge
from tests.browser import Browser, found_chromium

needs_chromium = pytest.mark.skipif(not found_chromium(), reason="there is no chromium")

NASTY = ['<img src=x onerror="alert(1)">', "=1+1", "'=quoted", "</script><b>", 'a"b, c', "ñ\u2028é"]


def table_of(labels, n=240, wrong=16):
    """Three columns and labels that follow the first but for some errors far from the border."""
    x = np.random.RandomState(0).normal(size=n)
    codes = (x > 0).astype(int)
    rows = np.argsort(-np.abs(x))[: 9 * wrong : 9]
    codes[rows] = 1 - codes[rows]
    return pd.DataFrame(
        {
            "id": [f"{i:03d}" for i in range(n)],
            "x": x,
            "note": [NASTY[i % len(NASTY)] for i in range(n)],
            "label": np.array(labels, dtype=object)[codes],
        }
    )


@pytest.fixture
def audited(tmp_path, monkeypatch):
    """A csv with labels that look like a formula and like markup, audited in an empty folder."""
    monkeypatch.chdir(tmp_path)
    table_of(["=1+1", "<b>yes</b>"]).to_csv("data.csv", index=False, lineterminator="\r\n")
    options = [
        "--verify",
        "0",
        "--C",
        "1",
        "--quiet",
        "--id-column",
        "id",
        "--drop-columns",
        "note",
    ]
    assert main(["audit", "data.csv", "--target", "label", *options]) == 0
    return tmp_path


@pytest.fixture
def browser(tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()

    def start():
        return Browser(tmp_path / "profile", folder)

    return start


PROGRESS = "document.getElementById('progress').textContent"
SHOWN = "[...document.querySelectorAll('tbody.item')].filter((one) => !one.hidden).length"


@needs_chromium
def test_decisions_are_made_by_key_and_click_survive_a_reload_and_are_carried_out(audited, browser):
    page = audited / "skinfluence-audit" / "report.html"
    before = (audited / "data.csv").read_bytes()
    issues = pd.read_csv(audited / "skinfluence-audit" / "issues.csv", dtype=str)
    assert (issues["action"][:4] == "relabel").all()
    with browser() as chromium:
        chromium.open(page)
        assert chromium.run(PROGRESS).startswith("0 of 50 decided")
        chromium.press("a")
        assert chromium.run(PROGRESS).startswith("0 of 50 decided"), (
            "the first key marks the first row"
        )
        chromium.press("a", "r", "c")
        chromium.run("document.activeElement.value = 'a \"new\", one'")
        chromium.press("Enter")
        chromium.click("tbody.item:nth-of-type(4) button[data-do=change]")
        chromium.click("tbody.item:nth-of-type(4) button[data-change=drop]")
        chromium.click("tbody.item:nth-of-type(5) button[data-do=accept]")
        chromium.click("tbody.item:nth-of-type(5) button[data-do=undo]")
        assert chromium.run(PROGRESS) == "4 of 50 decided · 2 to relabel · 1 to drop · 1 to keep"
        chromium.open(page)
        assert chromium.run(PROGRESS) == "4 of 50 decided · 2 to relabel · 1 to drop · 1 to keep"
        assert not chromium.console
        assert all(url.startswith(("file:", "data:", "blob:")) for url in chromium.requested)
    with browser() as again:
        again.open(page)
        assert again.run(PROGRESS).startswith("4 of 50 decided")
        again.click("#save")
        again.download()
    decisions = audited / "saved" / "decisions.csv"
    assert main(["apply", "data.csv", str(decisions), "--quiet"]) == 0
    rows = issues["row"].astype(int).tolist()
    lines = before.split(b"\r\n")
    accepted, _, changed, dropped = (row + 1 for row in rows[:4])
    suggested = issues["suggested"][0].removeprefix("'").encode()
    lines[accepted] = lines[accepted].rsplit(b",", 1)[0] + b"," + suggested
    lines[changed] = lines[changed].rsplit(b",", 1)[0] + b',"a ""new"", one"'
    del lines[dropped]
    assert (audited / "data.cleaned.csv").read_bytes() == b"\r\n".join(lines)
    assert (audited / "data.csv").read_bytes() == before


@needs_chromium
def test_rows_are_filtered_and_searched_and_what_is_shown_accepted(audited, browser):
    issues = pd.read_csv(audited / "skinfluence-audit" / "issues.csv", dtype=str)
    n_suggested = (issues["action"] != "keep").sum()
    with browser() as chromium:
        chromium.open(audited / "skinfluence-audit" / "report.html")
        assert chromium.run(SHOWN) == 50
        for name, value in (("state", "suggested"), ("label", "=<b>yes</b>")):
            chromium.run(
                f"(() => {{ const e = document.getElementById('{name}'); e.value = '{value}';"
                "e.dispatchEvent(new Event('change')); })()"
            )
            if name == "state":
                assert chromium.run(SHOWN) == n_suggested
        wanted = issues[(issues["action"] != "keep") & (issues["given"] == "<b>yes</b>")]
        assert chromium.run(SHOWN) == len(wanted) < n_suggested
        chromium.click("#acceptall")
        assert chromium.run(PROGRESS).startswith(f"{len(wanted)} of 50 decided")
        chromium.press("/")
        for letter in wanted["id"].iloc[0]:
            chromium.press(letter)
        assert chromium.run(SHOWN) >= 1
        assert chromium.run("document.getElementById('search').value") == wanted["id"].iloc[0]
        chromium.press("Escape", "j")
        chromium.click("#forget")
        assert chromium.run(PROGRESS).startswith("0 of 50 decided")


@needs_chromium
def test_no_text_of_the_table_is_taken_for_markup(browser, tmp_path):
    """Labels, ids, cells of the details and of the neighbours; a class of each nasty kind."""
    rng = np.random.RandomState(0)
    codes = np.arange(120) % len(NASTY)
    X = np.eye(len(NASTY))[codes] * 3 + rng.normal(size=(120, len(NASTY)))
    labels = np.array(NASTY, dtype=object)[codes]
    details = pd.DataFrame({'<i>"': labels, "b": labels})
    found = audit(LogisticRegression().fit(X, labels), X, labels, ids=labels)
    found.to_html(tmp_path / "page.html", details=details, title=NASTY[0])
    with browser() as chromium:
        chromium.open(tmp_path / "page.html")
        chromium.press("j", "a", "c", "Escape", "d")
        assert (
            chromium.run(
                "document.querySelectorAll('td img, .item dl div > * > *, h1 *, option *').length"
            )
            == 0
        )
        given = chromium.run(
            "[...document.querySelectorAll('tbody.item')].map((e) => e.dataset.given)"
        )
        assert given == found.table["given"][: len(given)].tolist()
        shown = chromium.run("[...document.querySelectorAll('#labels option')].map((e) => e.value)")
        assert shown == found.classes.tolist()
        assert not chromium.console
        chromium.run("document.getElementById('acceptall').click()")
        chromium.click("#save")
        chromium.download()
    path = tmp_path / "saved" / "decisions.csv"
    assert len(found.plan(decisions=path)) == (found.table["action"][:50] != "keep").sum()


@needs_chromium
def test_a_numeric_target_is_dropped_kept_or_given_another_number(browser, tmp_path):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 2))
    y = X @ [1.0, 2.0] + 0.1 * rng.normal(size=60)
    y[7] += 30
    found = audit(Ridge().fit(X, y), X, y)
    found.to_html(tmp_path / "page.html")
    with browser() as chromium:
        chromium.open(tmp_path / "page.html")
        chromium.press("j", "c", "x", "Enter")
        assert chromium.run(PROGRESS).startswith("0 of")
        chromium.run("document.activeElement.value = '-1.5'")
        chromium.press("Enter", "a")
        chromium.click("#save")
        chromium.download()
    plan = found.plan(decisions=tmp_path / "saved" / "decisions.csv")
    assert plan.relabel.tolist() == [7] and plan.labels.tolist() == [-1.5]


# The file ---------------------------------------------------------------------------------------


def decided(path, lines, name="decisions.csv", **others):
    """A file of decisions as the page writes it."""
    base = {"table": fingerprint_of(path.read_bytes()), "target": "label", "decision": "change"}
    frame = pd.DataFrame([{**base, "id": "", "label": "", **line, **others} for line in lines])
    frame = frame.reindex(columns=list(COLUMNS)) if lines else pd.DataFrame(columns=list(COLUMNS))
    quoted = frame.map(lambda value: f"'{value}" if str(value)[:2] == "'=" else inert(value))
    quoted.to_csv(path.parent / name, index=False)
    return path.parent / name


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(b'code,label\r\n007,no\r\n"8,0",yes\r\n9,no\r\n')
    return path


def test_formulas_come_back_as_the_labels_they_were(csv):
    for label in ("=1+1", "'=1+1", "-x", "-1.5", "@a", "plain"):
        path = decided(csv, [{"row": 0, "given": "no", "action": "relabel", "label": label}])
        content, changes, _ = carry_out(csv, path, csv.with_name("out.csv"))
        assert content == csv.read_bytes().replace(b"007,no", f"007,{label}".encode())
        assert changes == [{"row": 0, "id": "0", "before": "no", "after": label}]


def test_nothing_decided_changes_nothing(csv):
    path = decided(csv, [])
    assert carry_out(csv, path, csv.with_name("out.csv"))[0] == csv.read_bytes()
    path = decided(csv, [{"row": 1, "given": "yes", "action": "keep"}])
    content, changes, decisions = carry_out(csv, path, csv.with_name("out.csv"))
    assert content == csv.read_bytes() and changes == [] and decisions.keep == (1,)


def test_a_spreadsheet_may_have_saved_the_decisions(csv):
    path = decided(csv, [{"row": 2, "given": "no", "action": "drop"}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b",", b";"))
    assert (
        carry_out(csv, path, csv.with_name("out.csv"))[0] == csv.read_bytes()[: -len(b"9,no\r\n")]
    )


@pytest.mark.parametrize(
    ("lines", "others", "words"),
    [
        ([{"row": 0, "given": "yes", "action": "drop"}], {}, "says that 'label' of row 0 is 'yes'"),
        ([{"row": 3, "given": "no", "action": "drop"}], {}, "has 3 rows"),
        ([{"row": -1, "given": "no", "action": "drop"}], {}, "row must be a number from 0"),
        ([{"row": 0, "given": "no", "action": "burn"}], {}, "relabel, drop, keep"),
        ([{"row": 0, "given": "no", "action": "relabel"}], {}, "relabel needs a label"),
        ([{"row": 0, "given": "no", "action": "drop"}] * 2, {}, "decides twice about row 0"),
        ([{"row": 0, "given": "no", "action": "drop"}], {"table": "0" * 16}, "about another table"),
        ([{"row": 0, "given": "no", "action": "drop"}], {"target": "gone"}, "no column 'gone'"),
    ],
)
def test_decisions_that_do_not_fit_the_table_are_refused(csv, lines, others, words, capsys):
    path = decided(csv, lines, **others)
    assert main(["apply", str(csv), str(path)]) == 2
    out, err = capsys.readouterr()
    assert words in err and err.startswith("skinfluence apply: error: ") and err.count("\n") == 1
    assert out == "" and not csv.with_name("data.cleaned.csv").exists()


def test_a_table_that_changed_since_the_audit_is_refused(csv, capsys):
    path = decided(csv, [{"row": 0, "given": "no", "action": "drop"}])
    csv.write_bytes(csv.read_bytes() + b"10,no\r\n")
    assert main(["apply", str(csv), str(path)]) == 2
    assert "about another table" in capsys.readouterr().err


def test_where_the_browser_saved_the_decisions_is_said(csv, capsys):
    """The name may be left out; it is a file of the folder that downloads go to."""
    for given in ([], ["mine.csv"]):
        assert main(["apply", str(csv), *given]) == 2
        error = capsys.readouterr().err
        assert f"no such file: {(*given, 'decisions.csv')[0]}" in error
        assert "skinfluence apply TABLE ~/Downloads/decisions.csv" in error


def test_the_page_of_a_command_says_a_command():
    X, y = np.arange(40.0)[:, None], np.arange(40) // 20
    found = audit(LogisticRegression().fit(X, y), X, y)
    page = found.to_html(command="skinfluence audit --demo made-up")
    assert "audit.plan(" not in page and "skinfluence apply TABLE" in page
    assert "audit.plan(" in found.to_html()


@pytest.mark.parametrize("at", ["data.csv", "decisions.csv"])
def test_what_is_read_is_never_written_over(csv, at, capsys):
    path = decided(csv, [{"row": 0, "given": "no", "action": "drop"}])
    before = csv.read_bytes(), path.read_bytes()
    assert main(["apply", str(csv), str(path), "--out", str(csv.with_name(at))]) == 2
    assert "would be written over" in capsys.readouterr().err
    assert (csv.read_bytes(), path.read_bytes()) == before


def test_what_was_changed_is_said(csv, capsys):
    lines = [
        {"row": 0, "given": "no", "action": "relabel", "label": "yes"},
        {"row": 1, "given": "yes", "action": "keep"},
        {"row": 2, "given": "no", "action": "drop", "id": "K343"},
    ]
    path = decided(csv, lines)
    assert main(["apply", str(csv), str(path)]) == 0
    out = capsys.readouterr().out
    assert "K343" in out, "rows are named as the audit names them"
    assert "1 changed, 1 dropped, 1 stay" in " ".join(out.split()) and "data.cleaned.csv" in out
    assert (
        csv.with_name("data.cleaned.csv").read_bytes() == b'code,label\r\n007,yes\r\n"8,0",yes\r\n'
    )


@pytest.mark.parametrize("dtype", ["int64", "category", "string", "float64", "Int64"])
def test_a_typed_column_of_a_parquet_file_keeps_its_type(tmp_path, dtype):
    labels = ["1", "2", "1"] if dtype != "string" else ["a", "b", "a"]
    column = pd.Series(labels)
    column = (
        column.astype(dtype)
        if dtype in ("category", "string")
        else pd.to_numeric(column).astype(dtype)
    )
    path = tmp_path / "data.parquet"
    pd.DataFrame({"x": [1.5, 2.5, 3.5], "label": column}).to_parquet(path)
    given, new = str(column[0]), "7"
    saved = decided(path, [{"row": 0, "given": given, "action": "relabel", "label": new}])
    out = tmp_path / "out.parquet"
    out.write_bytes(carry_out(path, saved, out)[0])
    cleaned = pd.read_parquet(out)
    assert str(cleaned["label"].dtype) == str(pd.read_parquet(path)["label"].dtype)
    assert float(cleaned["label"][0]) == 7 and cleaned["label"][1:].tolist() == column[1:].tolist()


def test_a_word_in_a_column_of_numbers_is_refused(tmp_path):
    path = tmp_path / "data.parquet"
    pd.DataFrame({"label": [1, 2, 1]}).to_parquet(path)
    saved = decided(path, [{"row": 0, "given": "1", "action": "relabel", "label": "one"}])
    with pytest.raises(InputError, match="'one' is no value of the column 'label'"):
        carry_out(path, saved, tmp_path / "out.parquet")


# Neighbours -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
def test_neighbours_are_those_of_all_distances(sparse):
    from scipy.sparse import csr_array
    from sklearn.metrics import pairwise_distances

    rng = np.random.RandomState(0)
    X = np.abs(rng.normal(size=(80, 5))) * (rng.uniform(size=(80, 5)) < 0.7) + 1e-3
    X[3] = X[11]
    y = (X[:, 0] > 0.5).astype(int)
    given = csr_array(X) if sparse else X
    found = audit(LogisticRegression().fit(given, y), given, y, effects=False)
    rows = np.array([3, 50, 0])
    others, same = nearest(found, rows, 4)
    apart = pairwise_distances(X[rows], X, metric="cosine" if sparse else "euclidean")
    # Equal rows are as far but for rounding.
    expected = np.argsort(apart.round(12), axis=1, kind="stable")
    for row, mine, theirs in zip(rows, others, expected, strict=True):
        assert mine.tolist() == [one for one in theirs if one != row][:4]
    assert others[0, 0] == 11 and same[0].tolist() == [True, False, False, False]
    assert not same[1:].any()
