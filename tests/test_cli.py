"""The command line finds planted errors, explains every refusal in one line, leaves nothing behind."""

import json

import numpy as np
import pandas as pd
import pytest

import skinfluence
from skinfluence.cleaning import effects
from skinfluence.cli import main
from skinfluence.datasets import make_mixed_table
from tests.fewer import LONG


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Of two rows: the others are leave-one-out answers of all rows each, and are asked about elsewhere.
    monkeypatch.setattr(effects, "SHOWN", 2)


@pytest.fixture
def table(tmp_path):
    """A small table of mixed columns with planted errors, as a csv."""
    frame, _ = make_mixed_table(300, random_state=0)
    frame.to_csv(tmp_path / "data.csv", index=False)
    return frame


# What of an audit is not asked about: pictures, refits, the choice of a penalty.
SHORT = ["--no-html", "--verify", 0, "--C", 1]


def run(*arguments):
    return main(["audit", *map(str, arguments)])


def run_json(capsys, *arguments):
    assert run(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def written(folder):
    return sorted(path.name for path in folder.iterdir())


# What it holds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scaling", "words"),
    [
        ("standard", ["how texts (comment) become numbers"]),
        ("quantile", ["how texts (comment) become numbers", "the quantile scaling of numbers"]),
    ],
)
def test_what_stays_as_learned_from_all_rows_is_said(scaling, words, table, capsys):
    asked = ["data.csv", "--target", "renewed", "--id-column", "customer", "--no-html"]
    notes = run_json(capsys, *asked, "--C", 1, "--verify", 0, "--scaling", scaling)["notes"]
    (said,) = [one for one in notes if "Held as learned from all rows" in one]
    for part in words:
        assert part in said
    assert ("scaling of numbers" in said) == (scaling != "standard")


def test_rows_that_cost_more_than_the_budget_are_refused_with_a_remedy_that_works(tmp_path, capsys):
    """Rows that alone have a value in a column: the imputer is fitted again without each."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.standard_normal(60)})
    frame["label"] = np.where(frame["size"] + rng.standard_normal(60) > 0, "yes", "no")
    for i in range(3):
        frame[f"rare {i}"] = np.where(np.arange(60) == 7 * i, 1.5, np.nan)
    frame.to_csv(tmp_path / "rare.csv", index=False)
    asked = ["rare.csv", "--target", "label", "--no-html", "--C", 1, "--verify", 0, "--quiet"]
    assert run(*asked, "--budget", 1e-9) == 2
    said = capsys.readouterr().err
    assert "Got 3 rows that need it" in said and len(said.splitlines()) == 1
    assert run(*asked, "--budget", 1e-9, "--method", "one-step") == 0
    assert run(*asked, "--budget", 1e3) == 0


# What it finds ---------------------------------------------------------------------------------


@pytest.mark.parametrize("demo", ["breast-cancer", "digits"] if LONG else ["breast-cancer"])
def test_a_demo_finds_its_planted_errors(demo, capsys, tmp_path):
    """85 % of the errors in the first 15 % of the rows; cleaning brings the model towards the truth."""
    summary = run_json(capsys, "--demo", demo, "--verify", 2, "--no-html")
    share = {line["depth"]: line["share_found"] for line in summary["depths"]}
    assert share[0.15] >= 0.85
    score = summary["accuracy_on_true_labels"]
    assert score["the labels as given"] < score["after the suggestions"] <= 1
    for line in summary["verification"]:
        assert line["loo_loss"] == pytest.approx(line["refit_loss"], rel=0.05)
    assert written(tmp_path / "skinfluence-audit") == ["issues.csv"]


@pytest.mark.parametrize("demo", ["wine", "breast-cancer"])
def test_a_demo_prints_what_it_found_and_writes_a_report(demo, capsys, tmp_path):
    assert run("--demo", demo, "--flip-share", 0.08, "--verify", 3, "--out", "here") == 0
    out = capsys.readouterr().out
    for words in (
        "flipped",
        "Planted errors found",
        "at random",
        "true refits",
        "relabel",
        "report.html",
    ):
        assert words in out
    assert written(tmp_path / "here") == ["issues.csv", "report.html"]
    issues = pd.read_csv(tmp_path / "here" / "issues.csv")
    assert issues["planted"].sum() == round(0.08 * len(issues))
    np.testing.assert_array_equal(issues["planted"], issues["given"] != issues["true"])


def test_the_seed_decides(capsys):
    first = run_json(capsys, "--demo", "wine", "--no-html", "--verify", 0, "--seed", 1)
    again = run_json(capsys, "--demo", "wine", "--no-html", "--verify", 0, "--seed", 1)
    other = run_json(capsys, "--demo", "wine", "--no-html", "--verify", 0, "--seed", 2)
    assert first == again
    assert first["top"] != other["top"]


def test_a_table_of_mixed_columns_is_audited(table, capsys, tmp_path):
    arguments = ["data.csv", "--target", "renewed", "--id-column", "customer", "--verify", 2]
    summary = run_json(capsys, *arguments, "--cleaned", "--out", "out")
    assert summary["n_rows"] == 300 and summary["task"] == "classification"
    assert written(tmp_path / "out") == ["cleaned.csv", "issues.csv", "report.html"]
    issues = pd.read_csv(tmp_path / "out" / "issues.csv")
    np.testing.assert_array_equal(issues["id"], table["customer"][issues["row"]])
    cleaned = pd.read_csv(tmp_path / "out" / "cleaned.csv").set_index("customer")
    counts = issues["action"].value_counts()
    assert len(cleaned) == 300 - counts.get("drop", 0)
    for _, line in issues[issues["action"] == "relabel"].iterrows():
        assert cleaned.loc[line["id"], "renewed"] == line["suggested"]
    kept = issues.loc[issues["action"] == "keep", "id"]
    assert (cleaned.loc[kept, "renewed"] == issues.set_index("id").loc[kept, "given"]).all()


def test_parquet_is_read_like_csv(table, capsys):
    table.to_parquet("data.parquet")
    options = ["--target", "renewed", "--no-html", "--verify", 0, "--C", 0.1]
    from_csv = run_json(capsys, "data.csv", *options)
    from_parquet = run_json(capsys, "data.parquet", *options)
    assert from_csv["mean_loo_loss"] == pytest.approx(from_parquet["mean_loo_loss"], rel=1e-6)


def test_a_numeric_target_is_audited_by_ridge(table, capsys):
    summary = run_json(capsys, "data.csv", "--target", "spend", "--verify", 2)
    assert summary["task"] == "regression" and "loo_r2" in summary
    assert summary["loo_rmse"] == pytest.approx((2 * summary["mean_loo_loss"]) ** 0.5, rel=1e-9)
    assert summary["actions"]["relabel"] == 0
    for line in summary["verification"]:
        assert line["loo_loss"] == pytest.approx(line["refit_loss"], rel=1e-6)
    assert run("data.csv", "--target", "spend", "--verify", 0, "--no-html") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1/alpha" in out and "typical error" in out and "surprised" not in out
    assert "half the squared residual" in out and "row: its number, from 0 (the line below" in out


def test_task_can_be_forced(capsys):
    rng, visits = np.random.default_rng(0), np.arange(60) % 3
    frame = pd.DataFrame({"spend": visits + rng.standard_normal(60), "visits": visits})
    frame.to_csv("data.csv", index=False)
    options = ["data.csv", "--target", "visits", *SHORT]
    assert run_json(capsys, *options)["task"] == "classification"
    assert run_json(capsys, *options, "--task", "regression")["task"] == "regression"


def test_numeric_labels_keep_their_type_in_cleaned_csv(capsys, tmp_path):
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"x": rng.normal(size=200), "z": rng.normal(size=200)})
    frame["label"] = (frame["x"] > 0).astype(int)
    frame.loc[:9, "label"] = 1 - frame.loc[:9, "label"]
    frame.to_csv("data.csv", index=False)
    summary = run_json(capsys, "data.csv", "--target", "label", "--cleaned", "--no-html")
    assert summary["actions"]["relabel"] > 0
    cleaned = pd.read_csv(tmp_path / "skinfluence-audit" / "cleaned.csv")
    assert cleaned["label"].dtype == int
    assert (cleaned["label"] == (cleaned["x"] > 0)).mean() > 0.97


def test_a_class_with_one_row_is_set_aside_and_kept(table, capsys, tmp_path):
    table.loc[7, "renewed"] = "yess"
    table.to_csv("data.csv", index=False)
    options = ["data.csv", "--target", "renewed", "--no-html", "--cleaned", "--verify", 0]
    summary = run_json(capsys, *options)
    assert summary["n_rows"] == 299 and summary["n_set_aside"] == 1
    assert any("yess" in note for note in summary["notes"])
    issues = pd.read_csv(tmp_path / "skinfluence-audit" / "issues.csv")
    assert 7 not in set(issues["row"])
    np.testing.assert_array_equal(issues["given"], table["renewed"][issues["row"]])
    assert "yess" in set(pd.read_csv(tmp_path / "skinfluence-audit" / "cleaned.csv")["renewed"])
    assert run(*options) == 0
    assert "yess" in capsys.readouterr().out


def test_rows_have_the_number_of_the_file_wherever_they_are_named(table, capsys, tmp_path):
    table.loc[[0, 7], "renewed"] = ["yess", np.nan]
    table.to_csv("data.csv", index=False)
    asked = ["data.csv", "--target", "renewed", "--drop-missing-target"]
    asked += ["--features", "visits,spend", "--C", "1"]
    summary = run_json(capsys, *asked, "--no-html", "--verify", 4)
    assert summary["n_set_aside"] == 2
    issues = pd.read_csv(tmp_path / "skinfluence-audit" / "issues.csv")
    for name in ("top", "verification"):
        rows = [line["row"] for line in summary[name]]
        assert (
            rows == issues["row"].head(len(rows)).tolist() == [line["id"] for line in summary[name]]
        )
    first = summary["verification"][0]
    assert main(["explain", *asked, "--row", str(first["row"]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["given"] == first["given"]


def test_prices_are_said_to_spread_by_factors_and_audited_so_if_asked(capsys):
    rng = np.random.RandomState(0)
    x = rng.normal(size=(150, 2))
    price = np.exp(8 + x @ [0.8, -0.5] + 0.4 * rng.normal(size=150))
    price[[3, 40, 70]] /= 20
    frame = pd.DataFrame({"size": x[:, 0], "age": x[:, 1], "price": price})
    frame.to_csv("data.csv", index=False)
    asked = ["data.csv", "--no-html", "--verify", "1", "--C", "1"]
    plain = run_json(capsys, *asked, "--target", "price")
    assert [note for note in plain["notes"] if "--log-target audits the logarithm" in note]
    found = run_json(capsys, *asked, "--target", "price", "--log-target")
    assert {line["row"] for line in found["top"][:3]} == {3, 40, 70} and found["actions"][
        "drop"
    ] == 3
    assert abs(found["verification"][0]["difference"]) < 1e-6
    assert [note for note in found["notes"] if "logarithm of 'price'" in note]
    off = 2 * found["mean_loo_loss"]
    assert found["loo_factor"] == pytest.approx(np.exp(off**0.5), rel=1e-9)
    assert found["loo_r2_log"] == pytest.approx(1 - off / np.log(price).var(), rel=1e-6)
    assert "loo_factor" not in plain
    frame["price"] -= 1000
    frame.to_csv("data.csv", index=False)
    assert run(*asked, "--target", "price", "--log-target") == 2
    assert "above 0. Got -" in capsys.readouterr().err
    assert not any(
        "--log-target" in note for note in run_json(capsys, *asked, "--target", "price")["notes"]
    )


def test_a_class_of_two_rows_of_which_one_is_left_out_still_verifies(table, capsys):
    table.loc[[7, 8], "renewed"] = "maybe"
    table.to_csv("data.csv", index=False)
    summary = run_json(capsys, "data.csv", "--target", "renewed", "--no-html", "--verify", 3)
    assert all(line["refit_loss"] > 0 for line in summary["verification"])


def test_quiet_prints_nothing(capsys):
    assert run("--demo", "wine", "--quiet", "--no-html", "--verify", 1) == 0
    assert capsys.readouterr() == ("", "")


def test_markup_in_the_table_is_printed_as_it_is(table, capsys):
    table["renewed"] = table["renewed"].map({"yes": "[red]yes[/red]", "no": "[/]"})
    table.to_csv("data.csv", index=False)
    assert run("data.csv", "--target", "renewed", "--no-html", "--verify", 0) == 0
    assert "[red]yes[/red]" in capsys.readouterr().out


# What it refuses -------------------------------------------------------------------------------


def one_class(frame):
    return frame.assign(renewed="yes")


def empty_columns_only(frame):
    return frame[["renewed"]].assign(nothing=np.nan, void=None)


def missing_labels(frame):
    frame.loc[[3, 5], "renewed"] = None
    return frame


def all_distinct(frame):
    return frame.assign(renewed=[f"label {i}" for i in range(len(frame))])


def identifiers(frame):
    return frame.assign(renewed=np.arange(len(frame)))


def one_shared_class(frame):
    return frame.assign(renewed=["a"] * (len(frame) - 2) + ["b", "c"])


def infinite_numbers(frame):
    frame.loc[[1, 4], "visits"] = [np.inf, -np.inf]
    return frame


def huge_numbers(frame):
    frame.loc[2, "spend"] = 1e300
    return frame


def only_the_target(frame):
    return frame[["renewed"]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (one_class, "one class only ('yes')"),
        (missing_labels, "missing in 2 of 300 rows (first: rows 3, 5"),
        (all_distinct, "different value in each of its 300 rows"),
        (identifiers, "--task regression"),
        (one_shared_class, "1 class with more than one row; 'b', 'c' have one row"),
        (infinite_numbers, "column 'visits' holds infinite or huge numbers in 2 of 300 rows"),
        (huge_numbers, "column 'spend' holds infinite or huge numbers in 1 of 300 rows"),
        (only_the_target, "no columns are left"),
        (empty_columns_only, "'nothing', 'void' are missing in every row"),
    ],
)
def test_an_unfit_table_is_refused_in_one_line(table, change, words, capsys, tmp_path):
    change(table).to_csv("data.csv", index=False)
    assert run("data.csv", "--target", "renewed") == 2
    out, err = capsys.readouterr()
    assert words in err and out == ""
    assert err.startswith("skinfluence audit: error: ") and err.count("\n") == 1
    assert written(tmp_path) == ["data.csv"]


def test_a_column_without_any_value_is_left_out_with_a_note(table, capsys):
    table.assign(nothing=np.nan).to_csv("data.csv", index=False)
    with_it = run_json(capsys, "data.csv", "--target", "renewed", *SHORT)
    assert "Column 'nothing' is missing in every row: left out." in with_it["notes"]
    table.to_csv("data.csv", index=False)
    without = run_json(capsys, "data.csv", "--target", "renewed", *SHORT)
    assert with_it["top"] == without["top"]


def test_whole_numbers_that_do_not_repeat_are_a_quantity_unless_they_count_the_rows(table, capsys):
    prices = 1000 * np.random.RandomState(0).permutation(len(table)) + 7
    table.assign(renewed=prices**2).to_csv("data.csv", index=False)
    summary = run_json(capsys, "data.csv", "--target", "renewed", *SHORT)
    assert summary["task"] == "regression"


def test_a_suspect_and_an_order_can_be_named(table, capsys):
    table.to_csv("data.csv", index=False)
    asked = ["data.csv", "--target", "renewed", *SHORT]
    found = run_json(capsys, *asked, "--suspect", "given=no", "--score", "margin")
    assert {row["given"] for row in found["top"] if row["error_proba"] > 1e-12} <= {"no"}
    assert run("data.csv", "--target", "renewed", "--suspect", "given=perhaps") == 2
    assert "one of 'no', 'yes'. Got 'perhaps'" in capsys.readouterr().err
    assert run("data.csv", "--target", "renewed", "--suspect", "no") == 2
    assert "must be true=CLASS or given=CLASS" in capsys.readouterr().err
    table.assign(renewed=table["age"] > 40).astype({"renewed": float}).to_csv("data.csv")
    assert run("data.csv", "--target", "renewed", "--suspect", "given=7") == 2
    assert "one of '0', '1'. Got '7'" in capsys.readouterr().err, "each class once"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dta.csv", "--target", "renewed"], "no such file: dta.csv (did you mean data.csv?)"),
        (["nowhere/data.csv", "--target", "renewed"], "no such file"),
        (["data.csv", "--target", "Renewd"], "Did you mean 'renewed'?"),
        (["data.csv", "--target", "qqqqqq"], "It has 'customer'"),
        (["data.csv"], "--target"),
        ([], "--demo"),
        (["data.csv", "--demo", "wine"], "either a FILE"),
        (["data.csv", "--target", "renewed", "--drop-columns", "agee"], "Did you mean 'age'?"),
        (["data.csv", "--target", "renewed", "--drop-columns", "renewed"], "cannot be dropped"),
        (["data.csv", "--target", "renewed", "--task", "regression"], "not numeric"),
        (["data.xlsx", "--target", "renewed"], "only .csv"),
        ([".", "--target", "renewed"], "is a folder"),
        (["--demo", "wine", "--flip-share", 1.5], "--flip-share"),
        (["--demo", "titanic"], "invalid choice"),
        (
            ["--demo", "digits", "--top", "K-7"],
            "argument --top: must be a whole number from 0. Got 'K-7'",
        ),
        (["--demo", "wine", "--C", -1], "must be positive"),
        (["--demo", "wine", "--seed", -1], "must lie between"),
        (["--demo", "wine", "--top", -1], "must be a whole number from 0. Got '-1'"),
    ],
)
def test_a_wrong_call_is_refused_with_the_remedy(table, arguments, words, capsys, tmp_path):
    (tmp_path / "data.xlsx").write_text("x")
    assert run(*arguments) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert written(tmp_path) == ["data.csv", "data.xlsx"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("data.csv", b"", "is empty"),
        ("data.csv", b"a,b\n", "no rows"),
        ("data.csv", b"a,b\n1,2\n1,2,3\n", "cannot be read as csv"),
        ("data.csv", b"a,b\n\xff\xfe\x00,2\n", "cannot be read as csv"),
        ("data.parquet", b"not parquet at all", "cannot be read as parquet"),
    ],
)
def test_an_unreadable_file_is_refused_in_one_line(name, content, words, capsys, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert run(name, "--target", "b") == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


# What it reads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sep", [";", "\t", "|"])
def test_other_separators_are_recognised(table, sep, capsys):
    table.to_csv("data.csv", index=False, sep=sep, decimal="," if sep == ";" else ".")
    options = ["data.csv", "--target", "renewed", "--no-html", "--verify", 0, "--C", 0.1]
    summary = run_json(capsys, *options)
    assert summary["n_rows"] == 300
    assert any("separated by" in note for note in summary["notes"])
    if sep == ";":
        assert any("decimal commas" in note for note in summary["notes"])


def test_latin_1_is_read_with_a_note(table, capsys):
    table["plan"] = table["plan"].replace("plus", "größer")
    table.to_csv("data.csv", index=False, encoding="latin-1")
    options = ["data.csv", "--target", "plan", "--no-html", "--verify", 0, "--C", 0.1]
    assert run_json(capsys, *options[:2], "renewed", *options[3:])["n_rows"] == 300
    assert run(*options[:2], "renewed", *options[3:]) == 0
    assert "Windows-1252" in capsys.readouterr().out


def test_columns_of_one_name_are_refused(tmp_path, capsys):
    (tmp_path / "data.csv").write_text("a,b,a\n1,x,2\n2,y,3\n")
    assert run("data.csv", "--target", "b") == 2
    assert "more than one column named 'a'" in capsys.readouterr().err


def test_a_named_index_of_a_parquet_file_is_a_column(table, capsys):
    table.set_index("customer").to_parquet("data.parquet")
    options = ["--target", "renewed", "--no-html", "--verify", 0, "--C", 0.1]
    summary = run_json(capsys, "data.parquet", *options, "--id-column", "customer")
    assert summary["top"][0]["id"].startswith("C")


def test_a_column_of_lists_is_refused(table, capsys):
    table.assign(tags=[[1, 2]] * len(table)).to_parquet("data.parquet")
    assert run("data.parquet", "--target", "renewed") == 2
    err = capsys.readouterr().err
    assert "'tags' holds lists" in err and err.count("\n") == 1


@pytest.mark.parametrize("task", ["auto", "classification"])
@pytest.mark.parametrize("high", [1.0, 1.5])
def test_floats_can_be_classes(task, high, capsys, tmp_path):
    rng = np.random.RandomState(0)
    x = rng.normal(size=200)
    frame = pd.DataFrame({"x": x, "z": rng.normal(size=200), "label": np.where(x > 0, high, 0.0)})
    frame.loc[:9, "label"] = high - frame.loc[:9, "label"]
    frame.astype({"label": "Float64"}).to_parquet("data.parquet")
    frame.to_csv("data.csv", index=False)
    options = ["--target", "label", "--task", task, "--no-html", "--verify", 1, "--cleaned"]
    assert run_json(capsys, "data.parquet", *options)["task"] == "classification"
    assert run_json(capsys, "data.csv", *options)["task"] == "classification"
    cleaned = pd.read_csv(tmp_path / "skinfluence-audit" / "cleaned.csv")
    assert (cleaned["label"] == np.where(cleaned["x"] > 0, high, 0.0)).mean() > 0.97


def test_more_classes_than_can_be_audited_are_refused(capsys):
    rng = np.random.RandomState(0)
    label = [f"c{i}" for i in rng.randint(900, size=5000)]
    pd.DataFrame({"x": rng.normal(size=5000), "label": label}).to_csv("data.csv", index=False)
    assert run("data.csv", "--target", "label") == 2
    err = capsys.readouterr().err
    assert "would be fine" in err and err.count("\n") == 1


def test_the_version_is_said(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"skinfluence {skinfluence.__version__}\n"


def test_an_unforeseen_failure_is_one_line(table, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise np.linalg.LinAlgError("singular\nmatrix")

    monkeypatch.setattr("skinfluence.cli.audit.select_model", fail)
    assert run("data.csv", "--target", "renewed") == 2
    assert capsys.readouterr().err == "skinfluence audit: error: singular matrix\n"


def two_columns(n=120, wrong=6):
    """A csv of two numbers and a label, with errors far from the border."""
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"x": rng.normal(size=n), "z": rng.normal(size=n)})
    frame["label"] = np.where(frame["x"] > 0, "a", "b")
    rows = np.argsort(-frame["x"].abs())[:wrong]
    frame.loc[rows, "label"] = frame.loc[rows, "label"].map({"a": "b", "b": "a"})
    return frame


@pytest.mark.parametrize("link", ["same", "symbolic"])
def test_the_table_that_is_read_is_never_written_over(link, tmp_path, capsys, monkeypatch):
    """Refused before any work, by whatever path the table is reached."""
    monkeypatch.setattr("skinfluence.cli.files.file_problem", None)
    (tmp_path / "out").mkdir()
    two_columns().to_csv("out/cleaned.csv", index=False)
    before = (tmp_path / "out" / "cleaned.csv").read_bytes()
    name = "out/cleaned.csv"
    if link == "symbolic":
        name = "linked.csv"
        (tmp_path / name).symlink_to(tmp_path / "out" / "cleaned.csv")
    assert run(name, "--target", "label", *SHORT, "--cleaned", "--out", "out") == 2
    assert "would be written over" in capsys.readouterr().err
    assert (tmp_path / "out" / "cleaned.csv").read_bytes() == before
    assert written(tmp_path / "out") == ["cleaned.csv"]


def test_json_has_null_where_a_number_is_not_finite_and_says_so(capsys):
    frame = two_columns(60, 0)
    frame.assign(label=frame["x"] * 1e-200).to_csv("data.csv", index=False)
    assert run("data.csv", "--target", "label", *SHORT, "--json") == 0

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    summary = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert summary["loo_r2"] is None
    assert any("null" in note and "loo_r2" in note for note in summary["notes"])


def test_a_spreadsheet_runs_nothing_of_issues_csv(tmp_path):
    """Texts that begin like a formula come after an apostrophe; numbers stay numbers."""
    frame = two_columns()
    frame["label"] = frame["label"].map({"a": "=1+1", "b": "@SUM(A1)"})
    frame["name"] = [f"-{i}" if i % 2 else f"+cmd|{i}" for i in range(len(frame))]
    frame.to_csv("data.csv", index=False)
    assert run("data.csv", "--target", "label", "--id-column", "name", *SHORT, "--quiet") == 0
    issues = pd.read_csv(tmp_path / "skinfluence-audit" / "issues.csv", dtype=str)
    assert set(issues["given"]) == {"'=1+1", "'@SUM(A1)"}
    for row, name in zip(issues["row"].astype(int), issues["id"], strict=True):
        assert name == (f"-{row}" if row % 2 else f"'+cmd|{row}")


def test_a_column_of_lists_can_be_left_out_as_the_error_says(capsys, tmp_path):
    two_columns().assign(tags=[[1, 2]] * 120).to_parquet("data.parquet")
    options = ["--target", "label", "--verify", 0, "--C", 1, "--quiet"]
    assert run("data.parquet", *options, "--drop-columns", "tags") == 0
    assert "[1 2]" in (tmp_path / "skinfluence-audit" / "report.html").read_text()


def test_neither_a_reader_nor_a_home_is_needed(tmp_path):
    """Output goes into a pipe that nobody reads any more; HOME is a file, so no folder can be made in it."""
    import os
    import subprocess
    import sys

    two_columns().to_csv("data.csv", index=False)
    (tmp_path / "home").write_text("")
    environment = {**os.environ, "HOME": str(tmp_path / "home")}
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "skinfluence", "audit", "data.csv", "--target", "label"]
    done = subprocess.run(
        [*command, *map(str, SHORT)],
        env=environment,
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    # Old matplotlib says things of its own.
    assert done.returncode == 0 and b"Error" not in done.stderr and b"Traceback" not in done.stderr
    assert written(tmp_path / "skinfluence-audit") == ["issues.csv"]


# What it leaves behind -------------------------------------------------------------------------


def test_nothing_is_left_when_writing_fails(table, tmp_path, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    assert run("data.csv", "--target", "renewed", "--verify", 0, "--out", "a/b") == 2
    assert "disk full" in capsys.readouterr().err
    assert written(tmp_path) == ["data.csv"]


def test_nothing_is_left_when_interrupted(table, tmp_path, monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("skinfluence.cleaning.report.render", interrupt)
    assert run("data.csv", "--target", "renewed", "--verify", 0) == 130
    assert written(tmp_path) == ["data.csv"]


def test_files_of_an_earlier_audit_are_named(capsys):
    frame = two_columns()
    frame.to_csv("data.csv", index=False)
    options = ["data.csv", "--target", frame.columns[-1], "--verify", "0", "--no-html"]
    assert not any("earlier" in note for note in run_json(capsys, *options, "--cleaned")["notes"])
    (note,) = (note for note in run_json(capsys, *options)["notes"] if "earlier" in note)
    assert "cleaned.csv is of an earlier audit" in note


def test_an_output_folder_that_is_a_file_is_refused(table, tmp_path, capsys):
    table.to_csv("data.csv", index=False)
    for out in ("data.csv", "data.csv/below"):
        assert run("--demo", "wine", "--verify", 0, "--no-html", "--out", out) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"Got {out}, where data.csv is a file" in said


def test_a_missing_extra_is_named(monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "rich", None)
    assert run("--demo", "wine") == 2
    assert 'pip install "skinfluence[audit]"' in capsys.readouterr().err


def test_help_exits_with_0(capsys):
    assert main(["--help"]) == 0
    assert main(["audit", "--help"]) == 0
    assert main([]) == 2


UNSIGNED = {
    "uint8": np.array([0, 1], dtype=np.uint8),
    "UInt8": pd.array([0, 1], dtype="UInt8"),
    "category": pd.Categorical(np.array([0, 1], dtype=np.uint8)),
    "above 2**53": np.array([2**60, 2**60 + 1], dtype=np.uint64),
}


@pytest.mark.parametrize("kind", UNSIGNED)
def test_unsigned_targets_come_back_as_they_were(tmp_path, kind):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 2))
    positive = (X[:, 0] + 0.1 * rng.standard_normal(120) > 0).astype(int)
    positive[:4] = 1 - positive[:4]
    frame = pd.DataFrame(
        {"a": X[:, 0], "b": X[:, 1], "y": pd.Series(UNSIGNED[kind]).take(positive).to_numpy()}
    )
    if kind in ("UInt8", "category"):
        frame["y"] = frame["y"].astype(UNSIGNED[kind].dtype)
    frame.to_parquet(tmp_path / "t.parquet")
    options = ["--task", "classification", "--cleaned", "--no-html", "--verify", 0, "--quiet"]
    assert run(tmp_path / "t.parquet", "--target", "y", *options, "--out", tmp_path / "o") == 0
    cleaned = pd.read_csv(tmp_path / "o" / "cleaned.csv", dtype=str)
    assert set(cleaned["y"]) == {str(value) for value in UNSIGNED[kind]}


def priced(tmp_path, cells):
    pd.DataFrame({"x": np.arange(40.0), "price": cells}).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv", "--target", "price", "--quiet", "--no-html", "--out", tmp_path / "o"


@pytest.mark.parametrize("task", ["regression", "auto"])
def test_marks_of_what_is_missing_are_named(tmp_path, capsys, task):
    table = priced(tmp_path, ["?" if i == 9 else f"{i}.5" for i in range(40)])
    assert run(*table, "--task", task) == 2
    assert "read as missing: '?' (1 cell)" in capsys.readouterr().err


def test_thousands_with_separators_are_numbers(tmp_path):
    table = priced(tmp_path, [f"{i + 1000:,.2f}" for i in range(40)])
    assert run(*table, "--task", "regression") == 0
