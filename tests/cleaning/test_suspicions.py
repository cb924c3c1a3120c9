"""Notes on identifiers, give-aways, twins and sorted rows; targets that are no classes; packed files."""

import gzip
import zipfile

import numpy as np
import pandas as pd
import pytest

from skinfluence.cleaning.files import InputError, read_table
from skinfluence.cleaning.suspicions import notes_on_names, suspicions
from skinfluence.cleaning.tables import file_problem
from skinfluence.cli import main

N = 80
RNG = np.random.RandomState(0)
LABELS = RNG.choice(["no", "yes"], N)
PLAIN = pd.DataFrame({"x": RNG.normal(size=N), "k": RNG.randint(0, 9, N)})


def notes_on(y=LABELS, task="classification", **columns):
    return suspicions(PLAIN.assign(**columns), np.asarray(y), task)


def test_an_ordinary_table_makes_nobody_pause():
    assert notes_on() == ()
    assert notes_on(y=RNG.normal(size=N), task="regression") == ()


@pytest.mark.parametrize(
    "ids",
    [
        [f"C{i:04d}" for i in range(N)],
        np.arange(N),
        np.random.RandomState(0).permutation(N) + 10_000,
        [float(i) for i in range(N)],
        np.arange(N) * 1000,
        [f"{i:03x}-{i * 7919 % 977:04x}" for i in range(N)],
    ],
    ids=["codes", "numbers", "shuffled", "floats", "ascending", "keys"],
)
def test_an_identifier_is_named(ids):
    (note,) = notes_on(customer=ids)
    assert "'customer'" in note and "--drop-columns customer" in note


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([f"Ada {'van ' * (i % 2)}Nr{i}" for i in range(N)], True),
        ([f"Ada Nr{i}" if i % 9 else None for i in range(N)], True),
        ([f"it came late again, for the {i}. time, and broken" for i in range(N)], False),
        ([f"North {'ABCDE'[i % 5]} gate" for i in range(N)], False),
    ],
    ids=["names", "with gaps", "sentences", "places of many rows"],
)
def test_names_of_several_words_are_said_to_have_become_features(texts, said):
    """They are no identifiers to the reader of a table, and thirty features to the model."""
    X = PLAIN.assign(**{"full name": texts})
    columns = [{"column": name, "read_as": "numbers", "n_features": 1} for name in PLAIN]
    columns.append({"column": "full name", "read_as": "texts", "n_features": 30})
    notes = notes_on_names(X, columns)
    assert len(notes) == said and notes_on_names(X, None) == ()
    for note in notes:
        assert "'full name' is read as texts and became 30 features" in note
        assert note.endswith("--drop-columns 'full name'.")


def test_a_name_with_blanks_is_left_out_as_the_note_says():
    """The remedy is pasted into a shell."""
    (note,) = notes_on(**{"Customer No.": [f"C{i:04d}" for i in range(N)]})
    assert note.endswith("--drop-columns 'Customer No.'.")


@pytest.mark.parametrize(
    "values",
    [
        RNG.normal(size=N),
        RNG.permutation(10**6)[:N],
        [f"some words {i}" for i in range(N)],
        [f"C{i // 2}" for i in range(N)],
        pd.date_range("2020-01-01", periods=N),
        pd.date_range("2020-01-01", periods=N).strftime("%d.%m.%Y"),
        [f"{value:.3f}" for value in RNG.normal(size=N)],
    ],
    ids=[
        "measurements",
        "sparse numbers",
        "sentences",
        "twice each",
        "dates",
        "written dates",
        "numbers as texts",
    ],
)
def test_what_is_no_identifier_is_left_alone(values):
    assert not any("identifiers" in note for note in notes_on(column=values))


GIVE_AWAYS = {
    "a code": np.where(LABELS == "yes", 7, 3),
    "a word": np.where(LABELS == "yes", "granted", "refused"),
    "several words": [
        {"yes": ["a", "b"], "no": ["c", "d"]}[label][i % 2] for i, label in enumerate(LABELS)
    ],
    "a number": np.where(LABELS == "yes", 100, 0) + RNG.uniform(size=N),
    "a truth value": LABELS == "yes",
    "with gaps": pd.Series(np.where(LABELS == "yes", "granted", "refused")).where(
        RNG.uniform(size=N) > 0.05
    ),
}


@pytest.mark.parametrize("values", GIVE_AWAYS.values(), ids=GIVE_AWAYS)
def test_a_column_that_gives_the_label_away_is_named(values):
    (note,) = notes_on(outcome=values)
    assert "'outcome'" in note and "--drop-columns outcome" in note


def test_a_column_that_helps_gives_nothing_away():
    helps = np.where(LABELS == "yes", 2.0, 0.0) + RNG.normal(size=N)
    often = np.where(RNG.uniform(size=N) < 0.1, RNG.permutation(LABELS), LABELS)
    assert notes_on(a=helps, b=often, c="the same", d=np.arange(N) // 2 * 1.5) == ()
    mostly = np.where(np.arange(N) < 2, "yes", "no")
    assert notes_on(y=mostly[RNG.permutation(N)], rare=np.arange(N) % 3 == 0) == ()


def test_a_target_in_other_units_gives_itself_away():
    y = RNG.normal(size=N)
    (note,) = notes_on(
        y=y, task="regression", cents=100 * y + 3, noisy=y + 0.1 * RNG.normal(size=N)
    )
    assert "'cents'" in note and "noisy" not in note


def test_rows_with_a_twin_of_another_label_are_counted():
    X = pd.concat([PLAIN, PLAIN.iloc[[4, 9]]], ignore_index=True)
    labels = np.concatenate([LABELS, [LABELS[4], "no" if LABELS[9] == "yes" else "yes"]])
    (note,) = suspicions(X, labels, "classification")
    assert note.startswith("2 rows") and "row 9" in note and "row 81" in note


def test_rows_sorted_by_class_are_mentioned():
    (note,) = notes_on(y=np.sort(LABELS))
    assert "sorted by class" in note


def test_the_notes_reach_the_reader_and_the_columns_are_listed(tmp_path, capsys, monkeypatch):
    import json

    monkeypatch.chdir(tmp_path)
    frame = PLAIN.assign(id=[f"C{i}" for i in range(N)], day="2020-01-01", label=LABELS)
    frame["day"] = pd.date_range("2020-01-01", periods=N).strftime("%Y-%m-%d")
    frame.to_csv("data.csv", index=False)
    options = ["--verify", "0", "--C", "1"]
    assert main(["audit", "data.csv", "--target", "label", *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert any("identifiers" in note for note in found["notes"])
    read = {line["column"]: line for line in found["columns"]}
    assert read["x"]["read_as"] == "numbers" and read["day"]["read_as"] == "dates"
    assert read["id"]["read_as"] == "texts" and read["id"]["n_features"] == 30
    assert (
        "How the columns were read" in (tmp_path / "skinfluence-audit" / "report.html").read_text()
    )


# Targets ----------------------------------------------------------------------------------------


def test_classes_that_differ_in_capitals_or_blanks_are_named(tmp_path):
    names = ["OK", "ok ", "FAIL", "late"] * (N // 4)
    PLAIN.assign(label=names).to_csv(tmp_path / "data.csv", index=False)
    problem = file_problem(tmp_path / "data.csv", "label")
    assert set(problem.y) == set(names)
    (note,) = (note for note in problem.notes if "capitals" in note)
    assert "'OK', 'ok '." in note and "FAIL" not in note


def test_free_text_is_refused_before_it_is_made_an_array(tmp_path, monkeypatch):
    monkeypatch.setattr("skinfluence.cli.audit.select_model", None)
    texts = [f"words of all kinds, number {i % 60}" for i in range(N)]
    PLAIN.assign(label=texts).to_csv(tmp_path / "data.csv", index=False)
    with pytest.raises(InputError, match="is free text"):
        file_problem(tmp_path / "data.csv", "label")
    PLAIN.assign(label=["a", "b " * 5000] * (N // 2)).to_csv(tmp_path / "data.csv", index=False)
    with pytest.raises(InputError, match=r"label of 10,000 characters \(row 1\)"):
        file_problem(tmp_path / "data.csv", "label")


@pytest.mark.parametrize("form", ["%d.%m.%Y", "%Y-%m-%d %H:%M", "%m/%d/%y"])
def test_a_target_of_dates_is_refused_as_one(tmp_path, form):
    days = pd.date_range("2024-01-01", periods=N // 2).strftime(form)
    PLAIN.assign(label=[*days, *days]).to_csv(tmp_path / "data.csv", index=False)
    with pytest.raises(InputError, match="'label' is a date"):
        file_problem(tmp_path / "data.csv", "label")


def test_long_names_of_few_classes_are_fine(tmp_path):
    names = ["a class with a long name, of many words", "another one of these, as long as it"]
    PLAIN.assign(label=names * (N // 2)).to_csv(tmp_path / "data.csv", index=False)
    assert set(file_problem(tmp_path / "data.csv", "label").y) == set(names)


def test_more_classes_than_can_be_audited_are_refused_before_texts_are_read(tmp_path, monkeypatch):
    from skinfluence.cleaning.selection import select_model

    monkeypatch.setattr("skinfluence.cleaning.selection.available_memory", lambda: 1e6)
    monkeypatch.setattr("skinfluence.cleaning.selection._preprocessing", None)
    PLAIN.assign(label=[f"c{i // 2}" for i in range(N)]).to_csv(tmp_path / "data.csv", index=False)
    with pytest.raises(InputError, match="40 classes in 80 rows"):
        select_model(file_problem(tmp_path / "data.csv", "label"))


# Marks for nothing ------------------------------------------------------------------------------


@pytest.fixture
def gaps(tmp_path):
    frame = pd.DataFrame({"land": ["NA", "DE", "FR", "?"] * 10, "n": ["1", "2", "-", "3"] * 10})
    frame["label"] = ["NA", "x", "x", "NA"] * 9 + ["", "x", "NA", "x"]
    frame.to_csv(tmp_path / "data.csv", index=False)
    return tmp_path / "data.csv"


def test_a_class_named_na_is_a_class_with_keep_na(gaps):
    with pytest.raises(InputError, match=r"'NA' is a class, pass --keep-na"):
        file_problem(gaps, "label")
    problem = file_problem(gaps, "label", keep_na=True, drop_missing_target=True)
    assert set(problem.y) == {"NA", "x"} and len(problem.y) == 39
    assert problem.X["land"].notna().all()


def test_further_marks_are_missing_where_named(gaps):
    options = {"drop_missing_target": True, "keep_na": True}
    assert (file_problem(gaps, "label", **options).X["land"] == "?").any()
    problem = file_problem(gaps, "label", na_values=["?"], **options)
    assert problem.X["land"].isna().sum() == 10
    assert any("'?'" in note for note in problem.notes)


def test_rows_without_a_target_are_set_aside_where_asked_for(gaps):
    problem = file_problem(gaps, "land", drop_missing_target=True)
    assert 0 not in problem.rows and len(problem.rows) == 30
    assert any("10 of 40 rows have no 'land'" in note for note in problem.notes)


# Packed files -----------------------------------------------------------------------------------


def pack(path, content):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data.csv", content)
    elif path.suffix == ".zst":
        path.write_bytes(pytest.importorskip("zstandard").compress(content))
    else:
        path.write_bytes(gzip.compress(content))


@pytest.mark.parametrize("name", ["data.csv.gz", "data.csv.zip", "data.csv.zst"])
def test_packed_tables_are_read(name, tmp_path):
    content = b"a,label\r\n007,x\r\n008,y\r\n"
    pack(tmp_path / name, content)
    frame, _, source = read_table(tmp_path / name)
    assert frame["a"].tolist() == ["007", "008"]
    assert source.edited("label", {1: "x"}, []) == content.replace(b"008,y", b"008,x")


def test_an_archive_of_several_files_is_refused_by_their_number(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.csv.zip", "w") as archive:
        for name in ("a.csv", "b.csv"):
            archive.writestr(name, "a,b\n1,2\n")
    with pytest.raises(InputError, match="holds 2 files"):
        read_table(tmp_path / "data.csv.zip")
