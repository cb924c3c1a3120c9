"""A csv with forty oddities comes back from the command line with the repaired cells changed and no other byte."""

import json

import numpy as np
import pytest

from skinfluence.cli import main

# What people's cells look like, as written between two commas.
ODDITIES = {
    "leading zeros": "007",
    "a number of 19 digits": "1152921504606846977",
    "more than 64 bits": "123456789012345678901234567890",
    "a country": "NA",
    "null": "null",
    "None": "None",
    "not a number": "NaN",
    "a spreadsheet's error": "#N/A",
    "nothing": "",
    "quoted nothing": '""',
    "a blank": " ",
    "blanks around": "  a b ",
    "quoted number": '"12"',
    "quoted comma": '"a, b"',
    "quoted quotes": '"say ""so"""',
    "two lines": '"two\nlines"',
    "an apostrophe": "it's",
    "decimal comma": '"1,5"',
    "thousands": '"1,234.50"',
    "Swiss thousands": "1'234.50",
    "plus": "+5",
    "no digit before the point": ".5",
    "no digit after it": "5.",
    "trailing zeros": "1.500",
    "exponent": "1e3",
    "hexadecimal": "0x1F",
    "minus zero": "-0",
    "infinity as a word": "infinity pool",
    "percent": "12 %",
    "money": "$12",
    "a unit": "3 kg",
    "less than": "<5",
    "a date": "2024-02-30",
    "a date the other way": "3/4/21",
    "a time": "24:00",
    "truth": "TRUE",
    "truth in small letters": "true",
    "a formula": "=1+1",
    "a backslash": "a\\b",
    "an umlaut": "ü",
    "a hash": "#1",
    "a tab": "a\tb",
    "a zero-width blank": "a\u200bb",
    "an emoji": "\U0001f600",
    "markup": "<b>x</b>",
    "a semicolon": "a;b",
    "a bar": "a|b",
}
N = 6 * len(ODDITIES)


def records(odd):
    """Lines of a table: an id, a number, an odd cell, and a label with errors far from the border."""
    x = np.random.RandomState(0).normal(size=N)
    codes = (x > 0).astype(int)
    wrong = np.argsort(-np.abs(x))[: 3 * 14 : 3]
    codes[wrong] = 1 - codes[wrong]
    # The same two classes, now and then in quotes.
    ways = [["no", "yes"], ['"no"', '"yes"']]
    labels = [ways[i % 5 == 0][code] for i, code in enumerate(codes)]
    cells = [odd[i % len(odd)] for i in range(N)]
    lines = [
        f"{i:04d},{value:.4f},{cell},{label}"
        for i, (value, cell, label) in enumerate(zip(x, cells, labels, strict=True))
    ]
    return lines, labels


def test_there_are_forty():
    assert len(ODDITIES) >= 40


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_only_repaired_cells_change(end, encoding, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines, labels = records(list(ODDITIES.values()))
    # A blank line in the middle and a comment before the header; the last line has no end.
    head = ["# exported on a Monday", "id,x,odd,label"]
    before = end.join([*head, *lines[:10], "", *lines[10:]])
    (tmp_path / "data.csv").write_bytes(before.encode(encoding))
    options = ["--id-column", "id", "--C", "1", "--verify", "0", "--no-html", "--cleaned", "--json"]
    assert main(["audit", "data.csv", "--target", "label", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    import csv

    with open(tmp_path / "skinfluence-audit" / "issues.csv", encoding="utf-8", newline="") as file:
        issues = {int(line["row"]): line for line in csv.DictReader(file)}
    assert found["actions"]["relabel"] >= 5
    after = []
    for row, line in enumerate(lines):
        issue = issues[row]
        assert issue["id"] == f"{row:04d}" and issue["given"] == labels[row].strip('"')
        if issue["action"] == "relabel":
            new = issue["suggested"]
            new = f'"{new}"' if labels[row].startswith('"') else new
            line = line[: -len(labels[row])] + new
        after.append(None if issue["action"] == "drop" else line)
    kept = [line for line in [*after[:10], "", *after[10:]] if line is not None]
    expected = end.join([*head, *kept]).encode(encoding)
    assert (tmp_path / "skinfluence-audit" / "cleaned.csv").read_bytes() == expected
    assert (tmp_path / "data.csv").read_bytes() == before.encode(encoding)


@pytest.mark.parametrize("name", ODDITIES)
def test_a_column_of_numbers_with_one_such_cell_comes_back_too(name, tmp_path):
    """And every other cell of the column is still a number to the audit."""
    from skinfluence.cleaning.tables import file_problem

    cells = [ODDITIES[name], *[f"{i}.25" for i in range(1, 40)]]
    lines, _ = records(cells)
    content = "\n".join(["id,x,odd,label", *lines]) + "\n"
    path = tmp_path / "data.csv"
    path.write_bytes(content.encode())
    problem = file_problem(path, "label", id_column="id")
    assert problem.X["odd"].dtype.kind in "fiu"
    assert problem.source.edited("label", {}, []) == content.encode()
    assert np.isfinite(problem.X["odd"].to_numpy()[1:40]).all()
